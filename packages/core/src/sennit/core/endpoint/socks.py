"""A SOCKS 5 server: connections and datagrams on behalf of its clients.

`SocksServer` is a factory for `sennit.core.endpoint.listen.serve`; `SocksRules` says
who may use it and for what. An open proxy is found and abused within hours, and one
that reaches its own network opens that network. So by default only clients of this
machine are served, and no target is reached that is not public: loopback, private,
link-local (where hosters keep credentials) and reserved addresses must be allowed by
name. Names are looked up here, and each address that comes back is held against the
rules before it is tried, so a name that points inside does not get there.

Once the target answers, octets go straight from one transport to the other
(``joining.py``).

Sources: RFC 1928 (SOCKS 5), RFC 1929 (login).
"""

from __future__ import annotations

import errno
import socket
from functools import partial

from sennit.core.address import InternetAddress
from sennit.core.deferred import maybe_deferred
from sennit.core.endpoint.connect import connect_tcp
from sennit.core.endpoint.joining import Side, Tunnel
from sennit.core.endpoint.networks import Networks, host_of
from sennit.core.endpoint.socks_engine import (
    Command,
    Login,
    Reply,
    Request,
    SocksFault,
    SocksServerEngine,
)
from sennit.core.errors import LoginUnavailableError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from typing import Any, Final, TypeAlias

    from sennit.core.address import Address
    from sennit.core.auth.limits import LoginLimits, LoginTries
    from sennit.core.deferred import Deferred
    from sennit.core.interfaces import IDelayedCall, IStreamTransport
    from sennit.core.reactor.base import Reactor

    Check: TypeAlias = Callable[[str, str], bool | Awaitable[bool]]

__all__ = ["GUARDED", "SocksRules", "SocksServer", "SocksServerProtocol"]

HANDSHAKE_TIMEOUT: Final = 10.0
"""Seconds from the connection to its request."""
CONNECT_TIMEOUT: Final = 30.0
"""Seconds for look-up and connecting."""
BIND_TIMEOUT: Final = 60.0
"""Seconds that a bound port waits for its one connection."""
IDLE: Final = 600.0
"""Seconds without an octet after which a tunnel is cut."""
MAX_AHEAD: Final = 65536
"""Octets that a client may send before its bound port is connected to."""
GUARDED: Final = ("loopback", "private", "link-local", "special")
"""Groups of networks that are not reached unless they are allowed."""


class SocksRules:
    """Who may use the server, and for what.

    Args:
        clients: Networks that are served (a Unix socket's clients always are).
        allow: Targets that are reached whatever `deny` says.
        deny: Targets that are not.
        ports: Ports that may be asked for, such as ``80`` and ``1024-65535``.
        deny_ports: Ports that may not; 25, since an open door for spam is shut by others.

    Raises:
        UsageError: A network or a port is none.
    """

    __slots__ = ("_allow", "_clients", "_deny", "_deny_ports", "_ports")

    def __init__(
        self,
        *,
        clients: Iterable[str] = ("loopback",),
        allow: Iterable[str] = (),
        deny: Iterable[str] = GUARDED,
        ports: Iterable[str] = ("1-65535",),
        deny_ports: Iterable[str] = ("25",),
    ) -> None:
        self._clients = Networks(clients)
        self._allow = Networks(allow)
        self._deny = Networks(deny)
        self._ports = [_ports(each) for each in ports]
        self._deny_ports = [_ports(each) for each in deny_ports]

    def serves(self, peer: Any) -> bool:
        """Whether a client from there is served. (``Any``: an `Address` or what `accept` gave.)"""
        host = host_of(peer)
        return host is None or self._clients.trusts(host)

    def permits(self, host: str) -> bool:
        """Whether an address may be reached."""
        return host in self._allow or host not in self._deny

    def permits_port(self, port: int) -> bool:
        """Whether a port may be reached."""
        return any(port in each for each in self._ports) and not any(
            port in each for each in self._deny_ports
        )


def _ports(text: str) -> range:
    first, dash, last = str(text).partition("-")
    try:
        found = range(int(first), int(last if dash else first) + 1)
    except ValueError:
        found = range(0)
    if not found or found[0] < 1 or found[-1] > 65535:
        raise UsageError(f"{text!r} is no port such as 443, and no range such as 1024-65535")
    return found


class SocksServer:
    """Makes the protocols of a SOCKS server's connections.

    Args:
        rules: Who may use it and for what; safe ones when left out.
        check: ``check(username, password)`` says whether a login is good, now or later;
            without it nobody needs to log in.
        logins: How often logins may fail from one address, and how long the answer to
            one that failed is kept back; without it guessing is as fast as `check`.
        bind: Whether BIND opens ports for clients.
        udp: Whether UDP ASSOCIATE relays datagrams for clients.
        handshake_timeout: Seconds from a connection to its request.
        connect_timeout: Seconds for look-up and connecting.
        idle: Seconds without an octet after which a tunnel is cut.
        reactor: The current one when left out.

    Attributes:
        tunnels: Tunnels that stand.
    """

    def __init__(
        self,
        rules: SocksRules | None = None,
        *,
        check: Check | None = None,
        logins: LoginLimits | None = None,
        bind: bool = False,
        udp: bool = True,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
        connect_timeout: float = CONNECT_TIMEOUT,
        idle: float = IDLE,
        reactor: Reactor | None = None,
    ) -> None:
        self.rules = SocksRules() if rules is None else rules
        self.check = check
        self.logins = logins
        self.bind = bind
        self.udp = udp
        self.handshake_timeout = handshake_timeout
        self.connect_timeout = connect_timeout
        self.idle = idle
        self._reactor = reactor
        self.tunnels = 0

    @property
    def reactor(self) -> Reactor:
        """Whose connections these are."""
        if self._reactor is not None:
            return self._reactor
        from sennit.core.reactor.base import current_reactor

        return current_reactor()

    def build_protocol(self, peer: Address | None) -> SocksServerProtocol | None:
        """A protocol for a client, or ``None`` where it is not served."""
        return SocksServerProtocol(self) if self.rules.serves(peer) else None


class SocksServerProtocol:
    """One client until its request is met.

    Args:
        server: What it may do.
    """

    transport: IStreamTransport

    def __init__(self, server: SocksServer) -> None:
        self._server = server
        self._engine = SocksServerEngine(needs_login=server.check is not None)
        self._timer: IDelayedCall | None = None
        self._waiting: Deferred[Any] | None = None
        self._tries: LoginTries | None = None
        self._lost: Callable[[], object] | None = None
        self._bound_to: object = None
        self._ahead = 0

    def __repr__(self) -> str:
        return "<SocksServerProtocol>"

    def connection_made(self, transport: IStreamTransport) -> None:
        """The client has connected; it has only so much time to say what it wants."""
        self.transport = transport
        server = self._server
        self._timer = server.reactor.call_later(
            server.handshake_timeout, transport.abort, "timeout"
        )

    def data_received(self, data: bytes) -> None:
        """Octets of the conversation; what comes while a request is met waits."""
        if self._lost is not None:
            self._more_ahead(data)
            return
        self._engine.receive_data(data)
        self._proceed()

    def _more_ahead(self, data: bytes) -> None:
        """What comes while a bound port waits is kept for its tunnel; a relay's means nothing."""
        if self._bound_to is None:
            return
        self._engine.receive_data(data)
        self._ahead += len(data)
        if self._ahead > MAX_AHEAD:
            self.transport.pause_reading()

    def eof_received(self) -> bool | None:
        """The client sends no more: whatever was begun for it ends."""
        self._engine.receive_eof()
        if self._waiting is None and self._lost is None:
            self._proceed()
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone: nobody waits for what was begun."""
        self._stop_timer()
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()
        lost, self._lost = self._lost, None
        if lost is not None:
            lost()

    def pause_writing(self) -> None:
        """What is said here is short."""

    def resume_writing(self) -> None:
        """What is said here is short."""

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send(self) -> None:
        self.transport.writelines(self._engine.data_to_send())

    def _proceed(self) -> None:
        if self._waiting is not None or self.transport.is_closing():
            return
        event = self._engine.next_event()
        self._send()
        if isinstance(event, SocksFault):
            # It is owed no more than what the engine has said.
            self.transport.close("error")
        elif isinstance(event, Login):
            self._log_in(event)
        elif isinstance(event, Request):
            self._stop_timer()
            self._meet(event)

    # ── logging in ────────────────────────────────────────────────────────────

    def _log_in(self, login: Login) -> None:
        check = self._server.check
        assert check is not None  # the engine asks for a login only then
        limits = self._server.logins
        if limits is not None:
            self._tries = limits.tries(self.transport.peer)
            if self._tries.exhausted:
                self._not_logged_in()
                return
        try:
            name, password = login.username.decode(), login.password.decode()
        except UnicodeDecodeError:
            self._logged_in(False)
            return
        self._wait_for(maybe_deferred(check, name, password), self._logged_in, self._not_checked)

    def _wait_for(
        self,
        waiting: Deferred[Any],
        then: Callable[[Any], object],
        failed: Callable[[BaseException], object],
    ) -> None:
        """Go on when it fires, unless the client has gone meanwhile; read nothing until then."""
        self.transport.pause_reading()
        self._waiting = waiting

        def fired(value: Any) -> None:
            if self._waiting is waiting:
                self._waiting = None
                then(value)

        def broke(error: BaseException) -> None:
            if self._waiting is waiting:
                self._waiting = None
                failed(error)

        waiting.add_callbacks(fired, broke)

    def _logged_in(self, good: bool) -> None:
        if good is True:
            self._engine.accept_login()
            self._send()
            self.transport.resume_reading()
            self._proceed()
        elif self._tries is None:
            self._not_logged_in()
        else:
            # One more that failed; its answer is kept back.
            self._wait_for(
                maybe_deferred(self._tries.failed), self._not_logged_in, self._not_logged_in
            )

    def _not_logged_in(self, _: object = None) -> None:
        self._engine.reject_login()
        self._send()
        self.transport.close("error")

    def _not_checked(self, error: BaseException) -> None:
        # That nobody can say now is told by who checks, and a crowd brings it about at will.
        if not isinstance(error, LoginUnavailableError):
            self._server.reactor.report(error, "while a SOCKS login was checked")
        self._not_logged_in()

    # ── requests ──────────────────────────────────────────────────────────────

    def _meet(self, request: Request) -> None:
        server, rules = self._server, self._server.rules
        if request.command == Command.CONNECT:
            if not rules.permits_port(request.port):
                self._refuse(Reply.NOT_ALLOWED)
                return
            side = Side()
            self._wait_for(
                connect_tcp(
                    server.reactor,
                    lambda: side,
                    request.host,
                    request.port,
                    timeout=server.connect_timeout,
                    permit=rules.permits,
                ),
                partial(self._connected, side),
                self._not_connected,
            )
        elif request.command == Command.BIND and server.bind:
            self._bind(request)
        elif request.command == Command.UDP_ASSOCIATE and server.udp:
            self._associate(request)
        else:
            self._refuse(Reply.COMMAND_NOT_SUPPORTED)

    def _refuse(self, reply: Reply) -> None:
        self._engine.reject_request(reply)
        self._send()
        self.transport.close("error")

    def _not_connected(self, error: BaseException) -> None:
        self._refuse(_reply_to(error))

    def _connected(self, side: Side, _: object) -> None:
        """The target answers: tell the client, and join the two."""
        ours = side.transport.local
        host, port = _shown(ours)
        self._engine.accept_request(host, port)
        self._send()
        self._join(side)

    def _join(self, side: Side) -> None:
        """Let octets pass between the client and the side that was reached for it."""
        server, client = self._server, self.transport

        def over() -> None:
            server.tunnels -= 1

        near = Side()
        server.tunnels += 1
        tunnel = Tunnel(near, side, server.reactor, server.idle, over)
        if not side.stands or side.transport.is_closing():
            near.transport, near.stands = client, True
            tunnel.ended(side, None)
            return
        client.set_protocol(near)
        if rest := self._engine.release():
            near.data_received(rest)
        near.connection_made(client)

    # ── BIND ──────────────────────────────────────────────────────────────────

    def _bind(self, request: Request) -> None:
        """Open a port for one connection (RFC 1928 §4, as FTP needs it)."""
        from sennit.core.transport.binding import tcp_sockets
        from sennit.core.transport.listening import Listener

        ours = self.transport.local
        if request.is_name or not isinstance(ours, InternetAddress):
            self._refuse(Reply.ADDRESS_TYPE_NOT_SUPPORTED)
            return
        expected = Networks([request.host])
        anyone = request.host in ("0.0.0.0", "::")
        reactor = self._server.reactor
        protocol = self

        class Once:
            """Takes the one connection, from whom it was expected and may come."""

            def build_protocol(self, peer: Any) -> Side | None:
                if not anyone and peer.host not in expected:
                    return None
                if not protocol._server.rules.permits(peer.host):
                    return None
                return _BoundSide(protocol)

        try:
            listener = Listener(reactor, tcp_sockets(ours.host, 0, backlog=1), Once())
        except OSError:
            self._refuse(Reply.GENERAL_FAILURE)
            return
        self._engine.accept_request(*_shown(listener.addresses[0]), final=False)
        self._send()
        self._bound_to = listener
        timer = reactor.call_later(BIND_TIMEOUT, self._nobody_came)

        def over() -> None:
            timer.cancel()
            listener.close()

        self._lost = over

    def _nobody_came(self) -> None:
        self._end_wait()
        self._refuse(Reply.TTL_EXPIRED)

    def _end_wait(self) -> None:
        lost, self._lost = self._lost, None
        if lost is not None:
            lost()

    def bound(self, side: Side) -> None:
        """The connection that a bound port waited for has come."""
        if self._lost is None:
            side.transport.abort()
            return
        self._end_wait()
        self._engine.accept_request(*_shown(side.transport.peer))
        self._send()
        self._join(side)

    # ── UDP ASSOCIATE ─────────────────────────────────────────────────────────

    def _associate(self, request: Request) -> None:
        from sennit.core.endpoint.socks_relay import associate

        if not isinstance(self.transport.local, InternetAddress):
            # A client on a Unix socket has no address that datagrams could come from.
            self._refuse(Reply.COMMAND_NOT_SUPPORTED)
            return
        self._wait_for(
            maybe_deferred(associate, self._server, self.transport, request),
            self._associated,
            self._not_connected,
        )

    def _associated(self, relay: Any) -> None:  # Any: a `sennit.core.endpoint.socks_relay.Relay`
        self._engine.accept_request(*_shown(relay.address))
        self._send()
        self._lost = relay.close
        # It ends with this connection (§7), whose octets mean nothing any more.
        relay.on_end = lambda: self.transport.close("idle")
        self._engine.release()
        self.transport.resume_reading()


class _BoundSide(Side):
    """The side that came to a bound port."""

    def __init__(self, protocol: SocksServerProtocol) -> None:
        super().__init__()
        self._protocol = protocol

    def connection_made(self, transport: IStreamTransport) -> None:
        super().connection_made(transport)
        self._protocol.bound(self)


def _shown(address: Any) -> tuple[str, int]:
    """Host and port for a reply. (``Any``: a Unix socket's address has none.)"""
    if isinstance(address, InternetAddress):
        return address.host.partition("%")[0], address.port
    return "0.0.0.0", 0


_BY_ERRNO: Final = {
    errno.EACCES: Reply.NOT_ALLOWED,
    errno.EPERM: Reply.NOT_ALLOWED,
    errno.ENETUNREACH: Reply.NETWORK_UNREACHABLE,
    errno.ENETDOWN: Reply.NETWORK_UNREACHABLE,
    errno.EHOSTUNREACH: Reply.HOST_UNREACHABLE,
    errno.ETIMEDOUT: Reply.HOST_UNREACHABLE,
    errno.ECONNREFUSED: Reply.CONNECTION_REFUSED,
}


def _reply_to(error: BaseException) -> Reply:
    """What RFC 1928 §6 has for a connection that did not come about.

    Of several attempts the first that went out into the network counts; that the
    rules kept others back is said only when none did.
    """
    attempts: tuple[BaseException, ...] = getattr(error, "attempts", ())
    found: list[Reply] = []
    for each in attempts:
        if isinstance(each, (socket.gaierror, UnicodeError)):
            found.append(Reply.HOST_UNREACHABLE)
        else:
            number = getattr(each, "errno", None)
            found.append(_BY_ERRNO.get(number or 0, Reply.GENERAL_FAILURE))
    for reply in found:
        if reply is not Reply.NOT_ALLOWED:
            return reply
    return found[0] if found else Reply.GENERAL_FAILURE
