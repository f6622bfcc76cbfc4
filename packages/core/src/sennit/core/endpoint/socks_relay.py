"""UDP ASSOCIATE: datagrams on behalf of one SOCKS client (RFC 1928 §7).

One socket faces the client, at the address where it connected, and one per family the
world. Datagrams are taken from the client's address alone, and handed back only
from addresses that it has sent to, so that a relay is no way in. Fragments are
dropped, which §7 allows. It all ends with the client's connection.
"""

from __future__ import annotations

from functools import partial

from sennit.core.address import InternetAddress
from sennit.core.deferred import gather
from sennit.core.endpoint.names import look_up
from sennit.core.endpoint.networks import host_of
from sennit.core.endpoint.socks_engine import (
    Request,
    SocksFault,
    decode_datagram,
    encode_datagram,
)
from sennit.core.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from sennit.core.deferred import Deferred
    from sennit.core.endpoint.socks import SocksServer
    from sennit.core.interfaces import IDelayedCall, IStreamTransport

__all__ = ["Relay", "associate"]

MAX_TARGETS: Final = 1024
"""Addresses that one client may have sent to; the oldest is forgotten."""
MAX_LOOK_UPS: Final = 16
"""Names looked up at one time for one client; datagrams for more are dropped."""
MAX_NAMES: Final = 256
"""Names remembered for one client."""


def associate(server: SocksServer, client: IStreamTransport, request: Request) -> Deferred[Relay]:
    """Open the sockets of a relay.

    Raises:
        UsageError: The client did not come over the internet.
    """
    local, peer = client.local, client.peer
    if not isinstance(local, InternetAddress) or not isinstance(peer, InternetAddress):
        raise UsageError("datagrams are relayed for clients that have an address")
    relay = Relay(server, peer.host, request.port)
    reactor = server.reactor
    opening = [reactor.listen_udp(partial(_Facing, relay, "front"), 0, local.host)]
    for name, host in (("4", "0.0.0.0"), ("6", "::")):
        opening.append(reactor.listen_udp(partial(_Facing, relay, name), 0, host))

    def opened(outcomes: Any) -> Relay:
        listeners = [each.value for each in outcomes if each.error is None]
        relay.listeners = listeners
        failed = outcomes[0].error or (outcomes[1].error and outcomes[2].error)
        if failed:
            relay.close()
            raise failed
        relay.address = listeners[0].addresses[0]
        relay.begin()
        return relay

    return gather(*opening, return_outcomes=True).add_callback(opened)


class Relay:
    """The datagrams of one client.

    Args:
        server: Whose it is, and whose rules hold.
        host: The client's address.
        port: Where it says it will send from; 0 when it does not know yet.

    Attributes:
        address: Where the client sends to.
        on_end: Called when nothing has come for the server's idle time.
    """

    def __init__(self, server: SocksServer, host: str, port: int) -> None:
        self._server = server
        self._host = host
        self._port = port
        self._sockets: dict[str, Any] = {}  # Any: datagram transports
        self._targets: dict[tuple[str, int], None] = {}
        self._names: dict[str, str] = {}
        self._looking: set[str] = set()
        self._client: tuple[str, int] | None = None
        self._timer: IDelayedCall | None = None
        self._moved = True
        self.closed = False
        self.listeners: list[Any] = []
        self.address: Any = None
        self.on_end: Callable[[], object] | None = None

    def begin(self) -> None:
        """Count as a tunnel, until `close`."""
        self._server.tunnels += 1
        self._timer = self._server.reactor.call_later(self._server.idle, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._moved:
            self._moved = False
            self._timer = self._server.reactor.call_later(self._server.idle, self._look)
        elif self.on_end is not None:
            self.on_end()

    def close(self) -> None:
        """The client has gone."""
        if self.closed:
            return
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.address is not None:
            self._server.tunnels -= 1
        for each in self.listeners:
            each.close()

    def opened(self, name: str, transport: Any) -> None:
        """A socket stands. (``Any``: a datagram transport.)"""
        self._sockets[name] = transport

    def received(self, name: str, data: bytes, peer: Any) -> None:
        """A datagram has come at one of the sockets. (``Any``: an `Address`.)"""
        if self.closed:
            return
        host, port = host_of(peer), int(peer[1])
        if name != "front":
            if self._client is not None and host is not None and (host, port) in self._targets:
                self._moved = True
                octets = encode_datagram(host, port, data)
                self._sockets["front"].sendto(octets, self._client)
            return
        if host is None or host != self._host or (self._port and port != self._port):
            return
        self._port = port
        self._client = (host, port)
        try:
            target, port, is_name, payload = decode_datagram(data)
        except SocksFault:
            return
        if not self._server.rules.permits_port(port):
            return
        self._moved = True
        if not is_name:
            self._send(target, port, payload)
        elif target in self._names:
            self._send(self._names[target], port, payload)
        elif len(self._looking) < MAX_LOOK_UPS and target not in self._looking:
            self._looking.add(target)
            look_up(self._server.reactor, target, port).add_callbacks(
                partial(self._found, target, port, payload), partial(self._unknown, target)
            )

    def _found(self, name: str, port: int, payload: bytes, found: Any) -> None:
        self._looking.discard(name)
        if self.closed:
            return
        for each in found:
            host = str(each[4][0])
            if self._server.rules.permits(host) and self._socket_for(host) is not None:
                if len(self._names) >= MAX_NAMES:
                    self._names.clear()
                self._names[name] = host
                self._send(host, port, payload)
                return

    def _unknown(self, name: str, error: BaseException) -> None:
        self._looking.discard(name)

    def _socket_for(self, host: str) -> Any:
        return self._sockets.get("6" if ":" in host else "4")

    def _send(self, host: str, port: int, payload: bytes) -> None:
        sock = self._socket_for(host)
        if sock is None or not self._server.rules.permits(host):
            return
        target = (host.partition("%")[0], port)
        self._targets.pop(target, None)
        if len(self._targets) >= MAX_TARGETS:
            del self._targets[next(iter(self._targets))]
        self._targets[target] = None
        sock.sendto(payload, (host, port))


class _Facing:
    """The protocol of one socket."""

    def __init__(self, relay: Relay, name: str) -> None:
        self._relay = relay
        self._name = name

    def connection_made(self, transport: Any) -> None:
        self._relay.opened(self._name, transport)

    def datagram_received(self, data: bytes, peer: Any) -> None:
        self._relay.received(self._name, data, peer)

    def error_received(self, exc: Exception) -> None:
        """A target refuses datagrams: SOCKS has no word for that."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The relay was closed."""

    def pause_writing(self) -> None:
        """What does not leave is dropped, as the network would."""

    def resume_writing(self) -> None:
        """There is room again."""
