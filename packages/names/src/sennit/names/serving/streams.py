"""A connection of a server, in clear or over TLS: its queries, its limits, its end.

Each query is an exchange of its own, answered when its answer is there (RFC 7766 §7). What a
client may not do: be one too many (`DNSServer.admit`), or ask without reading, for longer than
`ServerLimits.write`. The rest is the engine's affair.

Sources: RFC 7766, RFC 7858. Not here: what is done with a query (``answering.py``).
"""

from __future__ import annotations

from contextlib import aclosing
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from sennit.core.driver import EngineProtocol, handles
from sennit.core.engine import PeerFault
from sennit.core.policy.timeouts import output_mark
from sennit.names.engine import StreamServerEngine
from sennit.names.events import StreamQuery
from sennit.names.serving.answering import Asked, give_all_up

if TYPE_CHECKING:
    from sennit.core.interfaces import IDelayedCall
    from sennit.names.server import DNSServer
    from sennit.names.serving.answering import Found

__all__ = ["StreamServerProtocol"]


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
        give_all_up(self._unbegun)

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
            self._mark = output_mark(self.transport)
            self._alarm = self._find_clock().call_at(
                self._time() + self._server.limits.write, self._look_at_output
            )

    def _look_at_output(self) -> None:
        self._alarm = None
        if not self.transport.get_write_buffer_size():
            return
        if output_mark(self.transport) == self._mark:
            self._abort("limit:write")
        else:
            self._watch_output()
