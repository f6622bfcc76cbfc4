"""`WebSocket`: one WebSocket as a handler or a client's program has it, with ``await``.

::

    async def chat(ws: WebSocket) -> None:
        async for message in ws:
            await ws.send(message)

**Receiving.** ``async for`` gives whole messages, `str` or `bytes`, until either side
has closed; `receive` gives one, or raises. While messages wait that nobody reads,
reading from the peer pauses (`WebSocketLimits.waiting`). Where messages are read by
pieces (option ``pieces``), `receive_pieces` gives those of one as they come.

**Sending.** `send` queues at once and costs no coroutine; awaiting what it returns waits
for room, which is all that flow control asks of a loop that sends. A message whose
length is not known beforehand is sent by pieces with ``async with ws.message() as m``,
or by giving `send` an asynchronous iterable; whoever else sends meanwhile waits.

**The end.** `close` says good-bye and waits for the peer's. A handler that returns closes
with 1000, one that fails with 1011 and one line in the log; one that still runs when the
connection goes is cancelled. ``async for`` ends quietly after a Close frame of the peer,
whatever its code (`close_code`), and raises `WebSocketClosedError` where the peer went
without one.

Not here: the protocol beneath (``protocol.py``).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, cast

from sennit.core._driver import BLOCKED, FINISHING, GONE, PRESSED
from sennit.core._faultlog import log_fault
from sennit.core._inbox import EVENT_WEIGHT
from sennit.core.deferred import Deferred
from sennit.core.driver import handles
from sennit.core.errors import ConnectionLost, UsageError
from sennit.web.errors import WebUsageError
from sennit.web.websocket.errors import WebSocketClosedError
from sennit.web.websocket.events import (
    MessageReceived,
    PeerFault,
    PieceReceived,
)
from sennit.web.websocket.protocol import WebSocketProtocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
    from types import TracebackType
    from typing import Self

    from sennit.core.address import Address
    from sennit.core.interfaces import Buffer, IStreamTransport
    from sennit.web.client.messages import IncomingResponse
    from sennit.web.request import Request

    Message = str | bytes

__all__ = ["Member", "OutgoingMessage", "WebSocket", "WebSocketSession"]


class WebSocketSession(WebSocketProtocol):
    """The protocol under a `WebSocket`: its messages wait in an inbox.

    Args:
        engine: A fresh engine of the side that this is. (`Any`, as the others: those of
            `WebSocketProtocol`.)
        handler: What is run with the `WebSocket`; without one somebody else has it, and
            the connection lasts until that one closes.
        options: Those of `WebSocketProtocol`.

    Attributes:
        websocket: What is given to the handler.
    """

    # Who waits to send does not stop who reads: two ends that both sent, and read only what
    # they could answer, would wait for each other for ever. What is read is bounded by itself.
    _blocked = BLOCKED & ~PRESSED

    def __init__(
        self,
        engine: Any,
        handler: Callable[[WebSocket], Awaitable[object]] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(engine, **options)
        self.websocket = WebSocket(self)
        self._handler = handler
        self._held_open: Deferred[None] | None = None
        self._gone: list[Deferred[None]] = []
        self._pings: dict[bytes, Deferred[float | None]] = {}
        self._ping_count = 0
        self._line: list[Deferred[None]] = []  # who waits for the end of a message by pieces
        self._behind: list[Buffer] = []  # what goes out after it
        # What waits to be read. An inbox of the driver's would end with the connection, and
        # takes a fifth of what an echo costs in all.
        self.queue: deque[MessageReceived | PieceReceived] = deque()
        self.no_more = False
        self.fault: BaseException | None = None
        self.waiter: Deferred[None] | None = None

    # ── the handler ───────────────────────────────────────────────────────────

    def opened(self) -> Any:
        if self._handler is None:
            self._held_open = Deferred(_let_go)
            return self._held_open
        return self._run(self._handler)

    async def _run(self, handler: Callable[[WebSocket], Awaitable[object]]) -> None:
        try:
            await handler(self.websocket)
        except WebSocketClosedError:
            if not self.engine.closing:
                raise
        finally:
            self._stop_reading()
        self.say_close(1000)

    def let_go(self) -> None:
        """Whoever had this WebSocket has done with it."""
        held, self._held_open = self._held_open, None
        if held is not None and not held.fired:
            held.callback(None)

    # ── events ────────────────────────────────────────────────────────────────

    @handles(MessageReceived, PieceReceived)
    def keep_message(self, event: MessageReceived | PieceReceived) -> None:
        """A message, or some of one: for whoever reads."""
        if self.no_more:
            return
        self._waiting += EVENT_WEIGHT + len(event.data)
        self.queue.append(event)
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            waiter.callback(None)

    def _fault(self, event: PeerFault) -> None:
        # What was read before it shall be read, then it is raised; the driver would
        # cancel a handler that does not wait in an inbox of its own.
        error = event.error
        log_fault(type(self).__qualname__, self._peer(), error.rule, error)
        self.fault = error
        for handler in self._open.values():
            handler.fault = error

    def _stop_reading(self) -> None:
        """Nobody reads any more; what comes is thrown away."""
        self.no_more = True
        self.queue.clear()
        self._waiting = 0
        if self._reading_paused and not self._turning:
            self._watch_reading()

    def relieve(self) -> None:
        """Something was read: go on reading from the peer, if that had to pause."""
        if not self._turning:
            self._watch_reading()

    def pong_received(self, payload: bytes) -> None:
        if payload not in self._pings:
            return
        # It answers the pings before it too (RFC 6455 §5.5.3).
        for each in list(self._pings):
            self._pings.pop(each).callback(self._time())
            if each == payload:
                break

    def closed(self, code: int, reason: str) -> None:
        pings, self._pings = self._pings, {}
        for ping in pings.values():
            ping.callback(None)
        gone, self._gone = self._gone, []
        for each in gone:
            each.callback(None)
        self._next_in_line()
        self.no_more = True
        waiter, self.waiter = self.waiter, None
        if waiter is not None:
            waiter.callback(None)
        self.let_go()

    def _expected(self, handler: Any, error: BaseException) -> bool:
        # A handler that waited for room, or for the lock, when the peer went.
        lost = isinstance(error, (ConnectionLost, WebSocketClosedError)) and self._held & (
            GONE | FINISHING
        )
        return bool(lost) or super()._expected(handler, error)

    # ── what the WebSocket asks of it ─────────────────────────────────────────

    async def wait_closed(self) -> None:
        """Wait until nothing more comes; on a client, until the connection has gone."""
        if self.engine.close_code is None:
            gone: Deferred[None] = Deferred()
            self._gone.append(gone)
            await gone
        if self._handler is None:
            await self.finished()

    async def ask_for_pong(self) -> float:
        """Send a ping and wait for its pong; the seconds between."""
        self._ping_count += 1
        payload = b"%d" % self._ping_count
        sent = self._time()
        self.send_ping(payload)
        answered: Deferred[float | None] = Deferred()
        self._pings[payload] = answered
        came = await answered
        if came is None:
            raise self.closed_error()
        return came - sent

    def closed_error(self) -> WebSocketClosedError:
        """What is raised when nothing comes or goes any more."""
        code = self.engine.close_code
        return WebSocketClosedError(1006 if code is None else code, self.engine.close_reason)

    async def turn(self) -> None:
        """Wait until no message by pieces is under way."""
        while self.engine.sending:
            waiting: Deferred[None] = Deferred()
            self._line.append(waiting)
            await waiting
            if self.engine.closing:
                raise self.closed_error()

    def send_piece(self, data: str | Buffer, *, final: bool) -> None:
        """Queue some of a message; after the last, what had to wait for it."""
        self.engine.send_fragment(data, final=final)
        if final:
            self.flush()
            behind, self._behind = self._behind, []
            if behind:
                self._out.writelines(behind)
            self._next_in_line()

    def _next_in_line(self) -> None:
        line, self._line = self._line, []
        for each in line:
            each.callback(None)

    def write_frame(self, data: Buffer) -> None:
        """Send a frame made elsewhere (`encode_message`), where the engine has none under way."""
        if self.engine.sending:
            self._behind.append(data)
        else:
            self.flush()
            self._out.write(data)

    @property
    def behind(self) -> int:
        """Octets that wait for the end of a message by pieces."""
        return sum(map(len, self._behind))


def _let_go(held: Deferred[None]) -> None:
    """The connection has gone: nobody has to be told by an error."""
    held.callback(None)


class WebSocket:
    """One WebSocket (the module's docstring tells how it is used).

    Args:
        session: The protocol beneath.

    Attributes:
        request: What it began with, on a server; ``None`` on a client.
        response: What the server answered, on a client; ``None`` on a server.
    """

    __slots__ = ("_member", "_session", "request", "response")

    def __init__(self, session: WebSocketSession) -> None:
        self._session = session
        self._member: Member | None = None
        self.request: Request | None = None
        self.response: IncomingResponse | None = None

    def __repr__(self) -> str:
        code = self.close_code
        return f"<WebSocket {'open' if code is None else f'closed {code}'}>"

    # ── what it is ────────────────────────────────────────────────────────────

    @property
    def subprotocol(self) -> str | None:
        """What both sides speak above WebSocket, if anything was agreed."""
        return self._session.subprotocol

    @property
    def close_code(self) -> int | None:
        """How it closed, ``None`` while it has not.

        The peer's code; 1005 when its Close frame had none, 1006 when there was none; of
        a peer that broke a rule, the code it was told.
        """
        return self._session.engine.close_code

    @property
    def close_reason(self) -> str:
        """What came with `close_code`."""
        return self._session.engine.close_reason

    @property
    def closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._session.engine.closing

    @property
    def transport(self) -> IStreamTransport:
        """What it goes over."""
        return self._session.transport

    @property
    def peer(self) -> Address | None:
        """Who is there."""
        return self._session.transport.peer

    @property
    def secure(self) -> bool:
        """Whether it goes over TLS."""
        return self._session.secure

    @property
    def member(self) -> IStreamTransport:
        """This WebSocket as a member of a `sennit.core.Broadcast`.

        The broadcast encodes with `encode_message`::

            everybody = Broadcast("close", encode=encode_message)
            everybody.add(ws.member)
            everybody.send("hello")
        """
        if self._member is None:
            self._member = Member(self._session)
        # It has those methods of a transport that a broadcast calls.
        return cast("IStreamTransport", self._member)

    # ── receiving ─────────────────────────────────────────────────────────────

    async def receive(self) -> Message:
        """The next message; waits for it.

        Raises:
            WebSocketClosedError: None will come.
            WebSocketProtocolError: The peer broke a rule.
        """
        event = await self._next()
        if type(event) is MessageReceived:
            return event.data
        if event is None:
            raise self._session.closed_error()
        return await self._rest_of(cast("PieceReceived", event))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        event = await self._next()
        if type(event) is MessageReceived:
            return event.data
        if event is None:
            if self.close_code == 1006:
                raise self._session.closed_error()
            raise StopAsyncIteration
        return await self._rest_of(cast("PieceReceived", event))

    async def receive_pieces(self) -> AsyncIterator[Message]:
        """The next message as its pieces come, each `str` or each `bytes`.

        It has to be iterated to its end before the next message is received.

        Raises:
            WebSocketClosedError: None will come, or not the whole of it.
            WebSocketProtocolError: The peer broke a rule.
        """
        while True:
            event = await self._next()
            if event is None:
                raise self._session.closed_error()
            if type(event) is MessageReceived:
                yield event.data
                return
            piece = cast("PieceReceived", event)
            yield piece.data
            if piece.ended:
                return

    async def _next(self) -> MessageReceived | PieceReceived | None:
        """The next event that is a message or some of one; ``None`` when nothing comes."""
        session = self._session
        while not session.queue:
            if session.no_more:
                if session.fault is not None:
                    raise session.fault
                return None
            if session.waiter is not None:
                raise UsageError("two coroutines wait for the messages of one WebSocket")
            waiter: Deferred[None] = Deferred()
            session.waiter = waiter
            try:
                await waiter
            finally:
                if session.waiter is waiter:
                    session.waiter = None
        event = session.queue.popleft()
        session._waiting -= EVENT_WEIGHT + len(event.data)
        if session._reading_paused:
            session.relieve()
        return event

    async def _rest_of(self, piece: PieceReceived) -> Message:
        parts: list[Any] = [piece.data]
        while not piece.ended:
            event = await self._next()
            if event is None:
                raise self._session.closed_error()
            piece = cast("PieceReceived", event)
            parts.append(piece.data)
        whole: Message = parts[0][:0].join(parts)
        return whole

    # ── sending ───────────────────────────────────────────────────────────────

    def send(self, data: str | Buffer | AsyncIterable[str | Buffer]) -> Awaitable[None]:
        """Send a message: `str` as text, octets as binary, or the pieces of one as they are made.

        What is whole is queued at once, whether or not the result is awaited; awaiting it
        waits for room.

        Raises:
            WebSocketClosedError: The WebSocket is closed or closing.
            ValueError: The text has lone surrogates.
            TypeError: It is none of those.
        """
        session = self._session
        engine = session.engine
        if isinstance(data, (str, bytes, bytearray, memoryview)):
            if engine.sending:
                return self._send_later(data)
            engine.send_message(data)
            return session.writable()
        if not hasattr(data, "__aiter__"):
            raise TypeError(f"a message is str, octets or pieces of one, not {data!r:.60}")
        return self._send_pieces(data)

    async def _send_later(self, data: str | Buffer) -> None:
        await self._session.turn()
        self._session.engine.send_message(data)
        await self._session.writable()

    async def _send_pieces(self, pieces: AsyncIterable[str | Buffer]) -> None:
        async with self.message() as message:
            async for piece in pieces:
                await message.send(piece)

    def message(self, *, text: bool = False) -> OutgoingMessage:
        """A message that is sent by pieces: ``async with ws.message() as message: …``.

        Args:
            text: What an empty message is; else the first piece says it.
        """
        return OutgoingMessage(self._session, text=text)

    async def ping(self) -> float:
        """Ask whether the peer is there; the seconds that its answer took.

        Raises:
            WebSocketClosedError: It closed, or was closed, before it answered.
        """
        return await self._session.ask_for_pong()

    async def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Say good-bye, and wait until the peer has too, for a limited time.

        Messages that come after it are thrown away. Harmless when it is closed already.

        Raises:
            ValueError: No such code may be sent, or the reason has more than 123 octets.
        """
        session = self._session
        session.say_close(code, reason)
        await session.wait_closed()

    # ── as a context ──────────────────────────────────────────────────────────

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close(1000 if kind is None else 1011)


class OutgoingMessage:
    """A message that is sent by pieces; made by `WebSocket.message`.

    Leaving the context ends the message. A context that is left by an error cannot take
    back what was sent: the WebSocket closes with 1011, so that the peer does not take it
    for whole.
    """

    __slots__ = ("_begun", "_open", "_session", "_text")

    def __init__(self, session: WebSocketSession, *, text: bool) -> None:
        self._session = session
        self._text = text
        self._begun = False
        self._open = False

    async def __aenter__(self) -> Self:
        await self._session.turn()
        self._open = True
        return self

    async def send(self, piece: str | Buffer) -> None:
        """Send some of the message, and wait for room.

        Raises:
            WebSocketClosedError: The WebSocket is closed or closing.
            WebUsageError: It is text where the piece before was octets, or the reverse; or
                the context was left.
        """
        if not self._open:
            raise WebUsageError("pieces are sent inside `async with ws.message()`")
        session = self._session
        if not self._begun:
            # Another one may have begun since; then it is that one's turn.
            await session.turn()
            self._begun = True
        self._text = isinstance(piece, str)
        session.send_piece(piece, final=False)
        await session.writable()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open = False
        session = self._session
        if kind is None:
            if not self._begun:
                await session.turn()
            session.send_piece("" if self._text else b"", final=True)
            await session.writable()
        elif self._begun:
            session.say_close(1011)


class Member:
    """What a `sennit.core.Broadcast` needs of a transport, where frames must keep their order."""

    __slots__ = ("_session",)

    def __init__(self, session: WebSocketSession) -> None:
        self._session = session

    def is_closing(self) -> bool:
        """Whether nothing may be sent any more: a Close frame is the last one."""
        session = self._session
        return session.engine.closing or session.transport.is_closing()

    def get_write_buffer_size(self) -> int:
        """Octets that wait."""
        session = self._session
        return session.transport.get_write_buffer_size() + (
            session.behind if session.engine.sending else 0
        )

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Move the marks of the transport."""
        self._session.transport.set_write_buffer_limits(high=high, low=low)

    def write(self, data: Buffer) -> None:
        """Send a whole frame (`encode_message`)."""
        self._session.write_frame(data)

    def writable(self) -> Awaitable[None]:
        """Wait for room."""
        return self._session.transport.writable()

    def abort(self, reason: str = "aborted") -> None:
        """Cut the connection."""
        self._session.transport.abort(reason)
