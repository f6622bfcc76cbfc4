"""A DNS server: one object that serves UDP, TCP and TLS, and what its connections have in common.

::

    server = DNSServer(responder)
    async with serve(["udp://127.0.0.1:5300", "tcp://127.0.0.1:5300"], server) as running:
        await running.wait_closed()

`serve` asks it for a protocol per socket (UDP) and per connection (TCP; TLS, where it agrees on
``dot``, RFC 7858). `serve_dns` serves UDP and TCP on one port, whichever is free.

**The way of a plain query** over UDP is short: the transport receives it, `quick` of the
responder makes the answer's octets of its octets, the transport sends them. The engine, the
driver and the codec see only what `quick` does not answer.

**Who may what.** Rates of answers hold over UDP for clients that have proved nothing
(``serving/ratelimit.py``). Over connections there are limits on their number: one more than
allowed takes the place of the one that has been idle for longest.

Sources: RFC 1035 §4.2, RFC 7766, RFC 7858, RFC 9210. Not here: engines (``engine.py``), what is
done with a query (``serving/``), DNS over HTTPS (``doh.py``).
"""

from __future__ import annotations

import secrets
import time
from contextlib import aclosing
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final

from sennit.core.address import DatagramPath, InternetAddress
from sennit.core.datagram_driver import DatagramEngineProtocol
from sennit.core.driver import EngineProtocol, handles
from sennit.core.engine import PeerFault
from sennit.core.errors import ReactorNotRunningError
from sennit.core.policy.limits import ConnectionLimits, address_key
from sennit.core.reactor.base import current_reactor
from sennit.names.engine import UNWANTED_PORTS, DatagramServerEngine, StreamServerEngine
from sennit.names.errors import DNSUsageError
from sennit.names.events import DatagramQuery, StreamQuery
from sennit.names.limits import ServerLimits
from sennit.names.serving.answering import Asked, FunctionResponder, Serving, give_up
from sennit.names.serving.cookies import Cookies
from sennit.names.serving.queries import kind_of, truncated_reply
from sennit.names.serving.ratelimit import RateLimiter, Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from sennit.core._driver import Clock
    from sennit.core.address import Address
    from sennit.core.interfaces import IDelayedCall, IStreamTransport
    from sennit.names.interfaces import IResponder
    from sennit.names.name import Name
    from sennit.names.request import Request
    from sennit.names.serving.answering import Answers, Found
    from sennit.names.serving.watching import IQueryWatch
    from sennit.names.tsig import Key

__all__ = ["DNSServer", "DatagramServerProtocol", "PathServerProtocol", "StreamServerProtocol"]

_PLAIN: Final = 512
"""Octets of an answer over UDP to a client that says nothing else (RFC 1035 §2.3.4)."""
_MOST_FREE: Final = 1024
"""Addresses of this machine that are remembered to be free of rates."""
_EVERYWHERE: Final = ("0.0.0.0", "::")
_SEND: Final = Verdict.SEND
_SLIP: Final = Verdict.SLIP


class DNSServer:
    """Serves one responder over whatever carries DNS; the factory of its protocols.

    Args:
        responder: Knows the answers: an authority, a resolver, a `Dispatcher`, or one's own; or
            a function of a `Request` that does what `IResponder.respond` does.
        limits: What clients may do.
        keys: Keys of TSIG by name (a `Keyring`).
        cookies: Makes server cookies: `Cookies` with a secret that other servers share;
            ``True`` for one with a secret of its own, ``False`` for none.
        nsid: The server's name, for clients that ask for it (RFC 5001).
        identity: Text that is told in class CH, such as ``{"id.server.": "ns1"}``; all other
            questions of that class are refused.
        watch: Is told of every query: a `QueryLog`, `QueryMetrics`.
        name: The service's name, for metrics; there are some where the reactor is measured.
        wall_clock: Seconds since the epoch, for cookies and signatures.
        clock: Tells monotonic time and calls back; the transport's reactor by default.

    Attributes:
        connections: The connections that stand.
    """

    alpn = ("dot",)
    """What its connections speak, for TLS to agree on (RFC 7858 §3.1 leaves it to the port)."""

    def __init__(
        self,
        responder: IResponder | Callable[[Request], Answers],
        *,
        limits: ServerLimits | None = None,
        keys: Mapping[Name, Key] | None = None,
        cookies: Cookies | bool = True,
        nsid: bytes = b"",
        identity: Mapping[str, str] | None = None,
        watch: IQueryWatch | None = None,
        name: str = "dns",
        wall_clock: Callable[[], float] = time.time,
        clock: Clock | None = None,
    ) -> None:
        made: Any = responder  # one of the two, or neither
        if not callable(getattr(made, "respond", None)):
            if not callable(made) or isinstance(made, type):
                raise DNSUsageError(f"neither a responder nor a function: {responder!r}")
            function: Any = made
            made = FunctionResponder(function)
        if cookies is True:
            cookies = Cookies(secrets.token_bytes(16))
        self.limits = limits or ServerLimits()
        self.serving = Serving(
            made,
            limits=self.limits,
            keys=keys,
            cookies=cookies or None,
            nsid=nsid,
            identity=identity,
        )
        self.quick: Callable[[bytes, int, object], bytes | None] | None
        self.quick = getattr(made, "quick", None)
        self.name = name
        self.watch = watch
        self.wall_clock = wall_clock
        self.clock = clock
        self.connections: set[StreamServerProtocol] = set()
        # The total is kept by closing idle ones; see `admit`.
        self._per_address = ConnectionLimits(
            max_per_address=self.limits.per_address,
            max_connections=1 << 30,
            count_loopback=self.limits.count_loopback,
        )
        rated = self.limits.rate or self.limits.network_rate
        self.rates = RateLimiter(self.limits) if rated else None
        self._measured = False

    def __repr__(self) -> str:
        return f"<DNSServer {self.name} of {self.serving.responder!r}>"

    # ── what `serve` asks for ─────────────────────────────────────────────────

    def build_protocol(self, peer: Address | None) -> StreamServerProtocol:
        """The protocol of a connection."""
        del peer  # its transport tells, and knows what is behind a proxy
        self._measure()
        return StreamServerProtocol(self)

    def build_datagram_protocol(self, local: Address | None) -> DatagramServerProtocol:
        """The protocol of a UDP socket.

        Raises:
            DNSUsageError: It is no UDP socket.
        """
        self._measure()
        if not isinstance(local, InternetAddress):
            raise DNSUsageError(f"DNS in datagrams goes over UDP, not over {local}")
        if local.host in _EVERYWHERE:
            return PathServerProtocol(self, local)
        return DatagramServerProtocol(self, local)

    def run(self, *urls: str, **options: Any) -> None:
        """Serve until Ctrl-C or SIGTERM: all there is of a small program.

        Args:
            urls: Where, such as ``udp://127.0.0.1:5300``.
            options: Those of `sennit.core.serve`. (`Any`: they are checked there.)
        """
        from sennit.core import run, serve

        async def main(reactor: object) -> None:
            async with serve(urls, self, **options) as server:
                await server.wait_closed()

        try:
            run(main)
        except KeyboardInterrupt:
            # That is how one ends it.
            return

    # ── one query, whoever carries it ─────────────────────────────────────────

    def answer(
        self, wire: bytes, peer: Any, transport: str = "https"
    ) -> bytes | Awaitable[bytes | None] | None:
        """The answer to a query that came by some other way, such as HTTP.

        Args:
            wire: Its octets.
            peer: Who asks. (`Any`: as `socket` names it.)
            transport: What carried it; ``https`` for DNS over HTTPS.

        Returns:
            Octets; ``None`` for no answer; or what becomes one of them.
        """
        if self.quick is not None:
            found = self.quick(wire, 0xFFFF, peer)
            if found is not None:
                self._note(transport, peer, wire, found)
                return found
        asked = self.serving.read(wire, peer, transport, self.wall_clock())
        if not isinstance(asked, Asked):
            self._note(transport, peer, wire, asked)
            return asked
        answer = asked.answer()
        if answer is None or isinstance(answer, bytes):
            self._note(transport, peer, wire, answer)
            return answer
        return self._wait(asked, answer, transport)

    async def _wait(self, asked: Asked, found: Found, transport: str) -> bytes | None:
        answer = await asked.only(found)
        request = asked.request
        self._note(transport, request.peer, request.wire, answer)
        return answer

    def _note(self, transport: str, peer: Any, query: bytes, answer: bytes | None) -> None:
        if self.watch is None:
            return
        if answer is None:
            self.watch.dropped(transport, peer, "no answer")
        else:
            self.watch.answered(transport, peer, query, answer)

    def _measure(self) -> None:
        """Count queries once the reactor is measured; a program without metrics has none."""
        if self._measured:
            return
        try:
            reactor: Any = current_reactor()
        except ReactorNotRunningError:
            return
        # A test's clock measures nothing.
        if getattr(reactor, "meter", None) is not None:
            from sennit.core.ops.metrics import registry_of
            from sennit.names.serving.watching import QueryMetrics, SeveralWatches

            self._measured = True
            metrics = QueryMetrics(self.name, registry_of(reactor))
            self.watch = metrics if self.watch is None else SeveralWatches([self.watch, metrics])

    # ── connections ───────────────────────────────────────────────────────────

    def admit(self, connection: StreamServerProtocol) -> str | None:
        """Count a connection; the limit's name where there is one too many."""
        reason = self._per_address.admit(connection.peer)
        if reason is not None:
            return reason
        if len(self.connections) >= self.limits.connections:
            idle = [each for each in self.connections if not each.busy]
            if not idle:
                self._per_address.release(connection.peer)
                return "limit:connections"
            min(idle, key=lambda each: each.last_used).make_room()
        self.connections.add(connection)
        return None

    def release(self, connection: StreamServerProtocol) -> None:
        """A connection has gone; harmless for one that was not admitted."""
        if connection in self.connections:
            self.connections.discard(connection)
            self._per_address.release(connection.peer)


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
        _give_all_up(self._unbegun)

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
        if not self._server.limits.count_loopback and address_key(peer) == "local":
            if len(self._free) >= _MOST_FREE:
                self._free.clear()
            self._free.add(peer[0])
            return answer
        verdict = rates.judge(peer, kind_of(answer), self._now())
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


def _give_all_up(unbegun: dict[int, Found]) -> None:
    while unbegun:
        give_up(unbegun.popitem()[1])


class StreamServerProtocol(EngineProtocol[StreamServerEngine, StreamQuery | PeerFault]):
    """One connection, in clear or over TLS.

    Args:
        server: Whose it is.

    Attributes:
        peer: Who is connected, as `socket` names it.
        last_used: When octets came last, in monotonic seconds.
    """

    def __init__(self, server: DNSServer) -> None:
        super().__init__(StreamServerEngine(server.limits), clock=server.clock)
        self.max_handlers = server.limits.in_flight
        self.peer: Any = None
        self.last_used = 0.0
        self._server = server
        self._kind = "tcp"
        self._alarm: IDelayedCall | None = None
        self._mark: object = None
        # What responders gave to be waited for, until that is begun.
        self._unbegun: dict[int, Found] = {}

    # ── what the transport calls ──────────────────────────────────────────────

    def connection_made(self, transport: Any) -> None:
        """The connection stands, unless there are too many."""
        self.peer = transport.get_extra_info("peername")
        if transport.get_extra_info("cipher"):
            self._kind = "tls"
        super().connection_made(transport)
        self.last_used = self._time()
        reason = self._server.admit(self)
        if reason is not None:
            self._abort(reason)
            if self._server.watch is not None:
                self._server.watch.dropped(self._kind, self.peer, reason)

    def data_received(self, data: bytes) -> None:
        """Octets have come."""
        self.last_used = self._time()
        super().data_received(data)

    def pause_writing(self) -> None:
        """The client does not read: nothing more is taken from it, and it has so much time."""
        super().pause_writing()
        self._watch_output()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has gone."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._server.release(self)
        super().connection_lost(exc)
        _give_all_up(self._unbegun)

    # ── queries ───────────────────────────────────────────────────────────────

    @handles(StreamQuery)
    def answer_query(self, event: StreamQuery) -> Any:
        """Answer a query: at once, or in a coroutine of its own (which `Any` stands for)."""
        server = self._server
        wire = event.wire
        if server.quick is not None:
            found = server.quick(wire, 0xFFFF, self.peer)
            if found is not None:
                self._give(event, found)
                return None
        asked = server.serving.read(wire, self.peer, self._kind, server.wall_clock())
        if not isinstance(asked, Asked):
            self._give(event, asked)
            return None
        answer = asked.answer()
        if answer is None or isinstance(answer, bytes):
            self._give(event, answer)
            return None
        self._unbegun[event.exchange] = answer
        return self._wait(event, asked, answer)

    async def _wait(self, event: StreamQuery, asked: Asked, found: Found) -> None:
        del self._unbegun[event.exchange]
        if isawaitable(found):
            self._give(event, await asked.later(found))
            return
        async with aclosing(asked.several(found)) as messages:
            async for each in messages:
                self.engine.send_part(event.exchange, each)
                self._tell(event, each)
                # As fast as the client reads, however long it is.
                await self.writable()
        self.engine.drop(event.exchange)

    def _give(self, event: StreamQuery, answer: bytes | None) -> None:
        if answer is None:
            self.engine.drop(event.exchange)
            if self._server.watch is not None:
                self._server.watch.dropped(self._kind, self.peer, "no answer")
            return
        self.engine.send_answer(event.exchange, answer)
        self._tell(event, answer)

    def _tell(self, event: StreamQuery, answer: bytes) -> None:
        if self._server.watch is not None:
            self._server.watch.answered(self._kind, self.peer, event.wire, answer)

    # ── the end ───────────────────────────────────────────────────────────────

    def make_room(self) -> None:
        """End an idle connection, whose place another one takes."""
        if self._server.watch is not None:
            self._server.watch.dropped(self._kind, self.peer, "limit:connections")
        self._server.release(self)
        self._abort("limit:connections")

    def _finish(self) -> None:
        super()._finish()
        self._watch_output()

    def _watch_output(self) -> None:
        """Look in a while whether the client has taken anything of what it is sent."""
        if self._alarm is None and self.transport.get_write_buffer_size():
            self._mark = _output_mark(self.transport)
            self._alarm = self._find_clock().call_at(
                self._time() + self._server.limits.write, self._look_at_output
            )

    def _look_at_output(self) -> None:
        self._alarm = None
        if not self.transport.get_write_buffer_size():
            return
        if _output_mark(self.transport) == self._mark:
            self._abort("limit:write")
        else:
            self._watch_output()


def _output_mark(transport: IStreamTransport) -> object:
    """A value that changes while what waits to be sent makes progress."""
    mark: Callable[[], object] | None = getattr(transport, "output_mark", None)
    return transport.get_write_buffer_size() if mark is None else mark()
