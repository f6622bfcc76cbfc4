"""A UDP socket of a server: its datagrams, answered at once or in a while.

The way of a plain query is short: `quick` of the responder makes the answer's octets of its
octets, and the transport sends them. What it does not answer goes through the engine and the
driver. Rates of answers are looked at on both ways.

A socket that is bound to one address need not be told by which one a datagram came;
`PathServerProtocol` is for sockets that are bound to all.

Not here: what is done with a query (``answering.py``), the rates themselves (``ratelimit.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sennit.core.address import DatagramPath
from sennit.core.datagram_driver import DatagramEngineProtocol
from sennit.core.driver import handles
from sennit.names.engine import UNWANTED_PORTS, DatagramServerEngine
from sennit.names.events import DatagramQuery
from sennit.names.serving.answering import Asked, give_all_up
from sennit.names.serving.queries import kind_of, truncated_reply
from sennit.names.serving.ratelimit import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.core.address import InternetAddress
    from sennit.names.server import DNSServer
    from sennit.names.serving.answering import Found

__all__ = ["DatagramServerProtocol", "PathServerProtocol"]

_PLAIN: Final = 512
"""Octets of an answer over UDP to a client that says nothing else (RFC 1035 §2.3.4)."""
_MOST_FREE: Final = 1024
"""Addresses of this machine that are remembered to be free of rates."""
_SEND: Final = Verdict.SEND
_SLIP: Final = Verdict.SLIP


class DatagramServerProtocol(DatagramEngineProtocol[DatagramServerEngine, DatagramQuery]):
    """One UDP socket that is bound to one address.

    Args:
        server: Whose it is.
        local: The address.
    """

    # Such a socket need not be told by which address a datagram came, which costs.
    datagram_received_on_path: Any = None

    def __init__(self, server: DNSServer, local: InternetAddress) -> None:
        super().__init__(DatagramServerEngine(local.port), clock=server.clock)
        self.max_handlers = server.limits.datagrams_in_flight
        self._server = server
        self._quick = server.quick or _nothing
        self._rates = server.rates
        self._free: set[str] = set()
        self._unwanted = UNWANTED_PORTS | {local.port}
        self._send_to: Callable[[bytes, Any], object] = _nowhere
        # What responders gave to be waited for, until that is begun.
        self._unbegun: dict[int, Found] = {}

    def connection_made(self, transport: Any) -> None:
        """Queries may be answered."""
        self._send_to = transport.sendto
        super().connection_made(transport)

    def datagram_received(self, data: bytes, peer: Any) -> None:
        """A datagram has come: answer it from the responder's table, or go the long way."""
        if peer[1] in self._unwanted:
            self._drop(peer, "port")
            return
        try:
            quick = self._quick
            answer = quick(data, _PLAIN, peer)
        except Exception as error:
            self._report(error, "quick")
            answer = None
        if answer is None:
            self._take(data, DatagramPath(peer))
            return
        if peer[0] not in self._free and self._rates is not None:
            answer = self._within_rate(answer, data, peer)
            if answer is None:
                return
        watch = self._server.watch
        if watch is not None:
            watch.answered("udp", peer, data, answer)
        send = self._send_to
        send(answer, peer)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        super().connection_lost(exc)
        give_all_up(self._unbegun)

    def error_received(self, exc: Any) -> None:
        """A client cannot be reached (any more), which is its own affair."""

    # ── the long way ──────────────────────────────────────────────────────────

    def _send(self, data: Any, path: DatagramPath) -> None:
        # There is one address that it can leave from, and nothing to look up.
        try:
            self._send_to(data, path.peer)
        except Exception as error:
            self._report(error, "sendto")

    def _take(self, data: bytes, path: DatagramPath) -> None:
        self._path = path
        engine = self.engine
        before = engine.drops
        counted = sum(before.values()) if self._server.watch is not None else 0
        engine.receive_datagram(data, path)
        if self._server.watch is not None and sum(before.values()) > counted:
            self._server.watch.dropped("udp", path.peer, "no query")
        self.proceed()

    def _drop(self, peer: Any, reason: str) -> None:
        self.engine.drop_for(reason)
        if self._server.watch is not None:
            self._server.watch.dropped("udp", peer, reason)

    @handles(DatagramQuery)
    def answer_query(self, event: DatagramQuery) -> Any:
        """Answer a query: at once, or in a coroutine of its own (which `Any` stands for)."""
        server = self._server
        if len(self._open) >= self.max_handlers:
            # Before anybody begins to work on it.
            self.overflows += 1
            self.engine.internal_error(event.exchange)
            return None
        asked = server.serving.read(event.wire, event.path.peer, "udp", server.wall_clock())
        if not isinstance(asked, Asked):
            self._give(event, asked, proved=False)
            return None
        answer = asked.answer()
        if answer is None or isinstance(answer, bytes):
            self._give(event, answer, proved=asked.proved)
            return None
        self._unbegun[event.exchange] = answer
        return self._wait(event, asked, answer)

    async def _wait(self, event: DatagramQuery, asked: Asked, found: Found) -> None:
        del self._unbegun[event.exchange]
        self._give(event, await asked.only(found), proved=asked.proved)

    def _give(self, event: DatagramQuery, answer: bytes | None, *, proved: bool) -> None:
        peer = event.path.peer
        if answer is None:
            self._drop(peer, "no answer")
        elif not proved and self._rates is not None and peer[0] not in self._free:
            answer = self._within_rate(answer, event.wire, peer)
        if answer is None:
            self.engine.drop(event.exchange)
            return
        if self._server.watch is not None:
            self._server.watch.answered("udp", peer, event.wire, answer)
        self.engine.send_answer(event.exchange, answer)

    def _within_rate(self, answer: bytes, query: bytes, peer: Any) -> bytes | None:
        """The answer, one without its records, or none, as the rates have it."""
        rates = self._rates
        if rates is None:
            return answer
        network = rates.network(peer)
        if network == "local" and not self._server.limits.count_loopback:
            if len(self._free) >= _MOST_FREE:
                self._free.clear()
            self._free.add(peer[0])
            return answer
        verdict = rates.judge(network, kind_of(answer), self._now())
        if verdict is _SEND:
            return answer
        if self._server.watch is not None:
            self._server.watch.dropped("udp", peer, f"rate:{verdict.value}")
        return truncated_reply(query) if verdict is _SLIP else None


class PathServerProtocol(DatagramServerProtocol):
    """A UDP socket that is bound to every address: answers leave from the one that was asked."""

    _send_by: Callable[[bytes, DatagramPath], object]

    def _send(self, data: Any, path: DatagramPath) -> None:
        try:
            self.transport.send_on_path(data, path)
        except Exception as error:
            self._report(error, "sendto")

    def connection_made(self, transport: Any) -> None:
        """Queries may be answered."""
        self._send_by = transport.send_on_path
        super().connection_made(transport)

    # (The base class has taken the name away from its own.)
    def datagram_received_on_path(self, data: bytes, path: DatagramPath) -> None:
        """A datagram has come, as to `datagram_received`."""
        peer = path.peer
        if peer[1] in self._unwanted:
            self._drop(peer, "port")
            return
        try:
            quick = self._quick
            answer = quick(data, _PLAIN, peer)
        except Exception as error:
            self._report(error, "quick")
            answer = None
        if answer is None:
            self._take(data, path)
            return
        if peer[0] not in self._free and self._rates is not None:
            answer = self._within_rate(answer, data, peer)
            if answer is None:
                return
        watch = self._server.watch
        if watch is not None:
            watch.answered("udp", peer, data, answer)
        send = self._send_by
        send(answer, path)


def _nothing(wire: bytes, size: int, peer: object) -> bytes | None:
    """Stands for a responder that answers nothing quickly."""
    del wire, size, peer
    return None


def _nowhere(data: bytes, peer: Any) -> None:
    """Stands for a transport that is not there yet."""
    del data, peer
