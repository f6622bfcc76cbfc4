"""A DNS server: one object that serves UDP, TCP and TLS, and what its connections have in common.

::

    server = DNSServer(responder)
    async with serve(["udp://127.0.0.1:5300", "tcp://127.0.0.1:5300"], server) as running:
        await running.wait_closed()

`serve` asks it for a protocol per socket (UDP) and per connection (TCP; TLS, where it agrees on
``dot``, RFC 7858). `serve_dns` serves UDP and TCP on one port, whichever is free.

**Who may what.** Rates of answers hold over UDP for clients that have proved nothing
(``serving/ratelimit.py``). Over connections there are limits on their number: one more than
allowed takes the place of the one that has been idle for longest.

Sources: RFC 1035 §4.2, RFC 7766, RFC 7858, RFC 9210. Not here: engines (``engine.py``),
sockets and connections, and what is done with a query (``serving/``), DNS over HTTPS (``doh.py``).
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any, Final

from sennit.core.address import InternetAddress
from sennit.core.policy.limits import ConnectionLimits
from sennit.core.reactor.base import current_meter
from sennit.names.errors import DNSUsageError
from sennit.names.limits import ServerLimits
from sennit.names.serving.answering import Asked, FunctionResponder, Serving
from sennit.names.serving.cookies import Cookies
from sennit.names.serving.datagrams import DatagramServerProtocol, PathServerProtocol
from sennit.names.serving.dispatch import Dispatcher
from sennit.names.serving.ratelimit import RateLimiter
from sennit.names.serving.streams import StreamServerProtocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from sennit.core._driver import Clock
    from sennit.core.address import Address
    from sennit.names.interfaces import IResponder
    from sennit.names.name import Name
    from sennit.names.request import Request
    from sennit.names.serving.answering import Answers, Found
    from sennit.names.serving.watching import IQueryWatch
    from sennit.names.tsig import Key

__all__ = ["DNSServer"]

_EVERYWHERE: Final = ("0.0.0.0", "::")


class DNSServer:
    """Serves one responder over whatever carries DNS; the factory of its protocols.

    Args:
        responder: Knows the answers: an authority (all other names are refused), a resolver, a
            `Dispatcher`, or one's own; or a function of a `Request` that does what
            `IResponder.respond` does.
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
        if getattr(made, "knows_a_part", False):
            made = Dispatcher(made)
        if cookies is True:
            cookies = Cookies(secrets.token_bytes(16))
        self.limits = limits or ServerLimits()
        payload: int | None = getattr(made, "payload", None)
        if payload is not None and payload != self.limits.payload:
            raise DNSUsageError(
                f"the responder answers in datagrams of {payload} octets and the server in "
                f"{self.limits.payload}: give both the same payload"
            )
        self.serving = Serving(
            made,
            limits=self.limits,
            keys=keys,
            cookies=cookies or None,
            nsid=nsid,
            identity=identity,
            wall_clock=wall_clock,
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
        if not self._measured and (meter := current_meter()) is not None:
            from sennit.names.serving.watching import QueryMetrics, SeveralWatches

            self._measured = True
            metrics = QueryMetrics(self.name, meter.registry)
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
