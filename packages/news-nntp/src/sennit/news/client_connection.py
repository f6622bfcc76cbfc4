"""The client's engine on a transport: responses to who asked, and patience.

`NNTPClientProtocol` is core's `ClientEngineProtocol` with this package's engine. Whoever asks gets
a `Response`, or the inbox of one that is read as it comes. While the server owes octets it has a
while for the next ones; while the program does not read, it owes none.

Not here: what the commands are (``client.py``); how a connection begins (``client_opening.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.core._faultlog import escape
from sennit.core.client_driver import ClientEngineProtocol
from sennit.core.deferred import Deferred
from sennit.core.errors import ConnectionAborted, ConnectionDone
from sennit.news.client_engine import (
    BlockReceived,
    ClientEngine,
    ClientEvent,
    Command,
    Greeted,
    Leaving,
    Responded,
    ResponseBegun,
)
from sennit.news.errors import (
    NNTPPermanentError,
    NNTPProtocolError,
    NNTPReplyError,
    NNTPTransientError,
)
from sennit.news.limits import ClientLimits

if TYPE_CHECKING:
    from typing import Any

    from sennit.core._inbox import Inbox
    from sennit.core.errors import ConnectionLost
    from sennit.core.interfaces import IDelayedCall, IStreamTransport

__all__ = ["NNTPClientProtocol", "Response", "refusal", "shown"]


def shown(octets: bytes) -> str:
    """What a server said, for people: what is no UTF-8 and what terminals obey, escaped."""
    return escape(octets.decode("utf-8", "backslashreplace"))


class Response:
    """What a server answered.

    Attributes:
        code: Of three digits.
        octets: What stands behind it.
        block: The lines that followed, dots undone; ``None`` where none do.
    """

    __slots__ = ("block", "code", "octets")

    def __init__(self, code: int, octets: bytes, block: bytes | None = None) -> None:
        self.code = code
        self.octets = octets
        self.block = block

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.code} {self.text}>"

    @property
    def text(self) -> str:
        """`octets` for people."""
        return shown(self.octets)

    @property
    def words(self) -> list[bytes]:
        """The words behind the code."""
        return self.octets.split()

    @property
    def lines(self) -> list[bytes]:
        """The block's lines, without their CRLF."""
        block = self.block or b""
        return block.removesuffix(b"\r\n").split(b"\r\n") if block else []


def refusal(code: int, text: bytes, command: str) -> NNTPReplyError | NNTPProtocolError:
    """The error that stands for a response that is not what was asked for."""
    if code < 400:
        return NNTPProtocolError(
            f"{code} {shown(text[:200])} is no answer to {command}", "RFC 3977 §3.2"
        )
    kind = NNTPTransientError if code < 500 else NNTPPermanentError
    return kind(code, shown(text), command)


class NNTPClientProtocol(ClientEngineProtocol[ClientEngine, Command, ClientEvent, Response]):
    """One connection to a server.

    Args:
        limits: What the server is allowed.

    Attributes:
        greeting: Fires with the server's first words.
        farewell: What the server said when it left of its own accord; ``None`` before.
    """

    max_requests = 100_000
    """Each was asked for by the program, and has its own time: a feed queues many."""

    def __init__(self, limits: ClientLimits | None = None) -> None:
        self.limits = ClientLimits() if limits is None else limits
        super().__init__(ClientEngine(self.limits))
        # The engine bounds blocks where somebody keeps them.
        self.max_reply = self.limits.max_article * 2
        self.greeting: Deferred[Greeted] = Deferred()
        self.farewell: str | None = None
        self._heard = 0.0
        self._mark: object = None
        self._patience: IDelayedCall | None = None
        self._late = False

    def connection_made(self, transport: IStreamTransport) -> None:
        """The connection stands: the server owes its greeting."""
        super().connection_made(transport)
        self._begin_waiting()

    def data_received(self, data: bytes) -> None:
        """Octets have come."""
        self._heard = self._time()
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has gone; who waits is told why, where that is known."""
        if self._late:
            progress = self.limits.progress
            exc = ConnectionAborted(f"nothing came from the server in {progress:g} s", "timeout")
        elif self.farewell is not None:
            exc = ConnectionDone(f"the server left: {self.farewell}")
        super().connection_lost(exc)

    def combine(self, command: Command, parts: list[ClientEvent], end: ClientEvent) -> Response:
        """One response of its parts."""
        assert isinstance(end, Responded)
        block = end.data
        if parts:
            pieces = [each.data for each in parts if isinstance(each, BlockReceived)]
            block = b"".join([*pieces, block or b""])
        return Response(end.code, end.text, block)

    def event_received(self, event: ClientEvent) -> None:
        """The server greets, or leaves."""
        if isinstance(event, Greeted):
            if not self.greeting.fired:
                self.greeting.callback(event)
        elif isinstance(event, Leaving):
            self.farewell = shown(event.text)

    @property
    def over(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._lost is not None or self._draining or self.transport.is_closing()

    @property
    def unread(self) -> bool:
        """Whether what came is not read by the program, and holds up all that would come next."""
        return self._reading_paused and self._waiting > 0

    def abort(self, reason: str = "aborted") -> None:
        """Close now."""
        self._abort(reason)

    # ── patience ──────────────────────────────────────────────────────────────

    def _ask(self, asked: Any) -> Exception | None:
        # `Any`: the driver's own note of a request.
        if not self.busy:
            self._heard = self._time()
        error = super()._ask(asked)
        if error is None and self._patience is None:
            self._begin_waiting()
        return error

    def _begin_waiting(self) -> None:
        self._heard = self._time()
        self._wait(self.limits.progress)

    def _wait(self, seconds: float) -> None:
        self._patience = self._find_clock().call_at(self._time() + seconds, self._look)

    def _look(self) -> None:
        """See whether anything has come, or the server owes nothing."""
        self._patience = None
        if not self.busy and self.greeting.fired:
            return
        progress = self.limits.progress
        waited = self._time() - self._heard
        if waited < progress:
            self._wait(progress - waited)
        elif self._reading_paused or self._sends():
            # The program does not read, or what it sent is on its way still.
            self._begin_waiting()
        else:
            self._late = True
            self._abort("timeout")

    def _sends(self) -> bool:
        """Whether something waits to be sent, and has moved since this was asked last."""
        transport = self.transport
        waiting = transport.get_write_buffer_size()
        before, self._mark = self._mark, getattr(transport, "output_mark", lambda: waiting)()
        return waiting > 0 and before != self._mark

    def _went(self, error: ConnectionLost) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if not self.greeting.fired:
            self.greeting.errback(error)
        super()._went(error)

    def _fault(self, event: Any) -> None:
        if not self.greeting.fired:
            self.greeting.errback(event.error)
        super()._fault(event)

    # ── reading as it comes ───────────────────────────────────────────────────

    async def first(self, inbox: Inbox[ClientEvent]) -> ResponseBegun | Responded:
        """Wait for the first event of a response that was asked for by `converse`."""
        try:
            event = await inbox.get()
        except BaseException:
            self.abandon(inbox)
            raise
        if not isinstance(event, (ResponseBegun, Responded)):
            # The inbox closes when the connection is given away, which is never done here.
            raise ConnectionAborted("the connection was given away")  # pragma: no cover
        return event
