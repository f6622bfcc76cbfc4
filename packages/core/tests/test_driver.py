"""EngineProtocol: dispatch, order, inboxes, flow control, faults, the end."""

from __future__ import annotations

import asyncio
import io
import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pytest

from packages.core.tests.sketches.mailbox import (
    Append,
    Command,
    Idle,
    MailboxEngine,
)
from packages.core.tests.sketches.mailbox import (
    Event as MailEvent,
)
from packages.core.tests.sketches.multiplex import (
    Data,
    MultiplexEngine,
    Opened,
    frame,
)
from packages.core.tests.sketches.multiplex import (
    Event as StreamEvent,
)
from sennit.core._faultlog import RateLimit, escape
from sennit.core.commit import commit
from sennit.core.deferred import Deferred
from sennit.core.driver import EngineProtocol, handles
from sennit.core.engine import (
    CLOSED,
    NEED_DATA,
    PAUSED,
    SOLE,
    Belongs,
    FilePart,
    NoEvent,
    PeerFault,
    Untimed,
)
from sennit.core.errors import ConnectionLost, ProtocolError, UsageError
from sennit.core.protocol import Protocol
from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.core.transport.memory import memory_pair

if TYPE_CHECKING:
    from collections.abc import Callable


# ── a line engine, one exchange at a time ────────────────────────────────────


class Line:
    __slots__ = ("exchange", "text")

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.exchange = SOLE


class LineEngine(Untimed):
    def __init__(self) -> None:
        self._in = b""
        self.out: list[Any] = []
        self.over = False
        self.open = False

    def receive_data(self, data: bytes) -> None:
        self._in += data

    def receive_eof(self) -> None:
        self.over = True

    def close(self) -> None:
        self.over = True

    def next_event(self) -> Line | PeerFault | NoEvent:
        if self.open:
            return PAUSED
        line, found, rest = self._in.partition(b"\n")
        if not found:
            return CLOSED if self.over else NEED_DATA
        self._in = rest
        if line == b"bad":
            self.out.append(b"?")
            return PeerFault(ProtocolError("a bad line\r\nof \x1b[2J", "RFC 0 §0"))
        self.open = True
        return Line(line)

    def answer(self, *pieces: Any) -> None:
        if not self.open:
            raise UsageError("nothing to answer")
        self.open = False
        self.out += pieces

    def data_to_send(self) -> list[Any]:
        out, self.out = self.out, []
        return out

    def release(self) -> bytes:
        rest, self._in, self.open, self.over = self._in, b"", False, True
        return rest

    def internal_error(self, exchange: int) -> None:
        self.open = False
        self.out.append(b"ERROR\n")


LineEvent = Line | PeerFault


class Echo(EngineProtocol[LineEngine, LineEvent]):
    def __init__(self) -> None:
        super().__init__(LineEngine())

    @handles(Line)
    def echo(self, event: Line) -> None:
        if event.text == b"boom":
            raise RuntimeError("boom\x1b[2J")
        self.engine.answer(event.text + b"\n")


class AsyncEcho(EngineProtocol[LineEngine, LineEvent]):
    """Answers when told to."""

    def __init__(self, log: list[Any] | None = None) -> None:
        super().__init__(LineEngine())
        self.gates: dict[bytes, asyncio.Event] = {}
        self.log: list[Any] = [] if log is None else log

    def gate(self, text: bytes) -> asyncio.Event:
        return self.gates.setdefault(text, asyncio.Event())

    @handles(Line)
    async def echo(self, event: Line) -> None:
        self.log.append(("begun", event.text))
        try:
            await self.gate(event.text).wait()
        except asyncio.CancelledError:
            self.log.append(("cancelled", event.text))
            raise
        if event.text == b"boom":
            raise RuntimeError("boom")
        self.engine.answer(event.text + b"\n")
        self.log.append(("ended", event.text))


async def turn(times: int = 3) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


def run(main: Callable[[], Any]) -> Any:
    return asyncio.run(main())


# ── dispatch ─────────────────────────────────────────────────────────────────


def test_a_plain_handler_answers_within_data_received_in_one_write() -> None:
    transport = RecordingTransport(Echo())
    transport.receive(b"hello\n")
    assert transport.pieces == [b"hello\n"]


def test_pipelined_commands_are_answered_in_order() -> None:
    transport = RecordingTransport(Echo())
    transport.receive(b"a\nb\nc\nd")
    assert transport.written == b"a\nb\nc\n"
    transport.receive(b"\n")
    assert transport.written == b"a\nb\nc\nd\n"


def test_a_class_that_leaves_an_event_without_handler_is_refused() -> None:
    with pytest.raises(TypeError, match="Partial leaves events without a handler: Idle"):

        class Partial(EngineProtocol[MailboxEngine, MailEvent]):  # pyright: ignore[reportUnusedClass]
            @handles(Command, Append)
            def any(self, event: Command | Append) -> None: ...


def test_a_handler_of_no_event_is_refused() -> None:
    with pytest.raises(TypeError, match="handles Opened, which is not among the events"):

        class Wrong(EngineProtocol[LineEngine, LineEvent]):  # pyright: ignore[reportUnusedClass]
            @handles(Line, Opened)
            def any(self, event: Line | Opened) -> None: ...


def test_a_class_must_say_which_events_there_are() -> None:
    with pytest.raises(TypeError, match="does not say which events there are"):

        class Silent(EngineProtocol):  # type: ignore[type-arg]
            @handles(Line)
            def any(self, event: Line) -> None: ...


def test_a_coroutine_cannot_handle_what_begins_no_exchange() -> None:
    with pytest.raises(TypeError, match="begins no exchange"):

        class Wrong(EngineProtocol[MultiplexEngine, StreamEvent]):  # pyright: ignore[reportUnusedClass]
            @handles(Data)
            async def any(self, event: Data) -> None: ...


def test_events_may_be_named_by_an_attribute_and_generic_bases_are_left_alone() -> None:
    T = TypeVar("T", bound=LineEngine)

    class Base(EngineProtocol[T, LineEvent], Generic[T]):
        @handles(Line)
        def echo(self, event: Line) -> None:
            self.engine.answer(b"base")

    class Leaf(Base[LineEngine]):
        def echo(self, event: Line) -> None:
            self.engine.answer(b"leaf")

    class Named(EngineProtocol[LineEngine, Any]):
        events = (Line, PeerFault)

        @handles(Line)
        def echo(self, event: Line) -> None:
            self.engine.answer(b"named")

    for protocol, said in (
        (Base(LineEngine()), b"base"),
        (Leaf(LineEngine()), b"leaf"),
        (Named(LineEngine()), b"named"),
    ):
        transport = RecordingTransport(protocol)
        transport.receive(b"x\n")
        assert transport.written == said


def test_an_event_is_handled_as_its_base_and_a_foreign_one_ends_the_connection() -> None:
    class Loud(Line):
        pass

    class Engine(LineEngine):
        def next_event(self) -> Any:
            event = super().next_event()
            if isinstance(event, Line):
                return Loud(event.text) if event.text != b"odd" else "odd"
            return event

    class Protocol(EngineProtocol[LineEngine, LineEvent]):
        @handles(Line)
        def echo(self, event: Line) -> None:
            self.engine.answer(event.text)

    transport = RecordingTransport(Protocol(Engine()))
    transport.receive(b"a\n")
    transport.receive(b"b\n")
    assert transport.written == b"ab"
    transport.receive(b"odd\n")
    assert transport.close_reason == "error"


def test_octets_for_each_turn_of_the_loop_are_limited() -> None:
    """HARDENING defaults 4: at most 256 KiB parsed per connection and turn."""

    class Small(Echo):
        max_parse = 10

    clock = Clock()
    transport = RecordingTransport(Small(), extra={"reactor": clock})
    transport.receive(b"123456789\n" * 3 + b"x\n")
    assert transport.take() == b"123456789\n"
    assert not transport.reading
    clock.pump()
    assert transport.take() == b"123456789\n" * 2 + b"x\n"
    assert transport.reading


def test_the_end_of_the_stream_waits_for_octets_not_parsed_yet() -> None:
    class Small(Echo):
        max_parse = 2

    clock = Clock()
    transport = RecordingTransport(Small(), extra={"reactor": clock})
    transport.receive(b"a\nb\nc\n")
    transport.receive_eof()
    assert not transport.closed
    clock.pump()
    assert transport.written == b"a\nb\nc\n"
    assert transport.close_reason == "clean"


def test_events_for_each_turn_of_the_loop_are_limited() -> None:
    clock = Clock()
    transport = RecordingTransport(Echo(), extra={"reactor": clock})
    transport.receive(b"x\n" * 1000)
    first = len(transport.take())
    assert 0 < first < 400
    assert not transport.reading
    clock.pump()
    assert first + len(transport.take()) == 2000
    assert transport.reading


# ── handlers that wait ───────────────────────────────────────────────────────


def test_a_coroutine_handler_answers_when_it_ends() -> None:
    async def main() -> None:
        protocol = AsyncEcho()
        transport = RecordingTransport(protocol)
        transport.receive(b"a\nb\n")
        await turn()
        assert protocol.log == [("begun", b"a")]
        assert protocol.busy
        assert transport.written == b""
        protocol.gate(b"a").set()
        await turn()
        assert transport.written == b"a\n"
        protocol.gate(b"b").set()
        await turn()
        assert transport.written == b"a\nb\n"
        assert not protocol.busy

    run(main)


def test_the_next_command_waits_for_a_handler_that_has_answered_but_not_ended() -> None:
    class Slow(EngineProtocol[LineEngine, LineEvent]):
        log: list[str]

        @handles(Line)
        async def work(self, event: Line) -> None:
            self.log.append(f"begin {event.text.decode()}")
            self.engine.answer(event.text)
            self.proceed()
            await asyncio.sleep(0)
            self.log.append(f"end {event.text.decode()}")

    async def main() -> None:
        protocol = Slow(LineEngine())
        protocol.log = []
        transport = RecordingTransport(protocol)
        transport.receive(b"a\nb\nc\n")
        await turn(12)
        assert protocol.log == ["begin a", "end a", "begin b", "end b", "begin c", "end c"]
        assert transport.written == b"abc"

    run(main)


def test_a_handler_may_return_a_deferred() -> None:
    class Later(EngineProtocol[LineEngine, LineEvent]):
        waiting: Deferred[bytes]

        @handles(Line)
        def work(self, event: Line) -> Deferred[None]:
            self.waiting = Deferred()
            return self.waiting.add_callback(self.engine.answer)

    protocol = Later(LineEngine())
    transport = RecordingTransport(protocol)
    transport.receive(b"a\nb\n")
    assert protocol.busy
    protocol.waiting.callback(b"one")
    assert transport.written == b"one"
    protocol.waiting.errback(ValueError("no"))
    assert transport.written == b"oneERROR\n"
    assert not protocol.busy


def test_anything_else_that_a_handler_returns_is_a_bug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Odd(EngineProtocol[LineEngine, LineEvent]):
        @handles(Line)
        def work(self, event: Line) -> int:
            return 7

    transport = RecordingTransport(Odd(LineEngine()))
    transport.receive(b"a\n")
    assert transport.written == b"ERROR\n"
    assert "returned 7" in caplog.text


def test_handlers_run_in_the_connections_context_not_in_one_anothers() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="none")

    class Nosy(EngineProtocol[LineEngine, LineEvent]):
        seen: list[str]

        @handles(Line)
        async def work(self, event: Line) -> None:
            self.seen.append(variable.get())
            variable.set(event.text.decode())
            await asyncio.sleep(0)
            self.engine.answer(b"")

    async def main() -> None:
        protocol = Nosy(LineEngine())
        protocol.seen = []
        RecordingTransport(protocol).receive(b"a\nb\nc\n")
        await turn(12)
        assert protocol.seen == ["none"] * 3

    run(main)


def test_a_coroutine_handler_without_a_loop_is_an_internal_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    transport = RecordingTransport(AsyncEcho())
    transport.receive(b"a\n")
    assert transport.written == b"ERROR\n"
    assert "no reactor runs" in caplog.text


# ── errors ───────────────────────────────────────────────────────────────────


def test_a_failing_handler_gives_the_protocols_error_reply_and_one_log_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """HARDENING core-19, defaults 25: one line, the peer's octets escaped."""
    transport = RecordingTransport(Echo())
    transport.receive(b"boom\nok\n")
    assert transport.written == b"ERROR\nok\n"
    assert len(caplog.records) == 1
    record = caplog.records[0]
    assert record.levelno == logging.ERROR
    assert "echo failed" in record.getMessage()
    assert "\x1b" not in caplog.text
    assert "\\x1b[2J" in caplog.text
    assert "test_driver.py" in caplog.text  # the traceback is there


def test_a_failing_coroutine_likewise(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        protocol = AsyncEcho()
        transport = RecordingTransport(protocol)
        transport.receive(b"boom\nok\n")
        protocol.gate(b"boom").set()
        protocol.gate(b"ok").set()
        await turn(6)
        assert transport.written == b"ERROR\nok\n"

    run(main)
    assert len(caplog.records) == 1


def test_log_lines_of_one_kind_are_limited(caplog: pytest.LogCaptureFixture) -> None:
    transport = RecordingTransport(Echo())
    for _ in range(50):
        transport.receive(b"boom\n")
    assert len(caplog.records) == 5


def test_a_rate_limit_says_how_many_it_suppressed() -> None:
    now = [0.0]
    each = RateLimit(2, 60.0, lambda: now[0])
    assert [each.admit("a") for _ in range(4)] == [0, 0, None, None]
    assert each.admit("b") == 0
    now[0] = 61
    assert each.admit("a") == 2


def test_escaping_keeps_one_line_and_bounds_it() -> None:
    """HARDENING core-19."""
    assert escape("a\r\nb\x9b\u2028\x1b[2J") == "a\\r\\nb\\x9b\\u2028\\x1b[2J"
    assert len(escape("x" * 5000)) < 1100
    assert escape("né") == "né"


def test_a_peers_fault_is_answered_by_the_engine_and_logged_at_info(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    transport = RecordingTransport(Echo())
    transport.receive(b"bad\nok\n")
    assert transport.written == b"?ok\n"
    assert [each.levelno for each in caplog.records] == [logging.INFO]
    assert "RFC 0 §0" in caplog.text
    assert "\x1b" not in caplog.text


def test_an_engine_that_raises_ends_its_connection_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(LineEngine):
        def next_event(self) -> Any:
            if self._in:
                raise ZeroDivisionError
            return NEED_DATA

    class Fragile(EngineProtocol[LineEngine, LineEvent]):
        @handles(Line)
        def work(self, event: Line) -> None: ...

    transport = RecordingTransport(Fragile(Broken()))
    transport.receive(b"x")
    assert transport.close_reason == "error"
    assert "ZeroDivisionError" in caplog.text


# ── what belongs to an open exchange ─────────────────────────────────────────


class Mailbox(EngineProtocol[MailboxEngine, MailEvent]):
    def __init__(self, clock: Any = None) -> None:
        super().__init__(MailboxEngine(), clock=clock)
        self.stored: list[bytes] = []
        self.log: list[object] = []

    @handles(Command)
    def command(self, event: Command) -> None:
        if event.name == b"LOGOUT":
            self.engine.bye()
        else:
            self.engine.answer(b"OK")

    @handles(Append)
    async def append(self, event: Append) -> None:
        self.engine.want_literal()
        body = self.body(event)
        data = b"".join([bytes(chunk) async for chunk in body])
        assert body.ended
        assert body.end is not None
        self.stored.append(data)
        self.engine.answer(b"OK %d" % len(data))

    @handles(Idle)
    async def idle(self, event: Idle) -> None:
        try:
            done = await self.inbox(event).get()
        except BaseException as error:
            self.log.append(error)
            raise
        self.log.append(done)
        self.engine.answer(b"OK idled")


def test_a_literal_arrives_while_its_command_waits_for_it() -> None:
    """The continuation leaves when the handler begins to wait (RFC 9051 §4.3)."""

    async def main() -> None:
        protocol = Mailbox()
        transport = RecordingTransport(protocol)
        transport.receive(b"a APPEND {10}\r\n")
        await turn()
        assert transport.take() == b"+ go ahead\r\n"
        transport.receive(b"hello")
        transport.receive(b"world\r\nb NOOP\r\n")
        await turn()
        assert protocol.stored == [b"helloworld"]
        assert transport.take() == b"a OK 10\r\nb OK\r\n"

    run(main)


def test_a_literal_that_came_before_it_was_asked_for_waits_for_no_more_octets() -> None:
    """A client that does not wait for its continuation is served all the same."""

    async def main() -> None:
        protocol = Mailbox()
        transport = RecordingTransport(protocol)
        transport.receive(b"a APPEND {10}\r\nhelloworld\r\nb NOOP\r\n")
        await turn()
        assert protocol.stored == [b"helloworld"]
        assert transport.take() == b"+ go ahead\r\na OK 10\r\nb OK\r\n"

    run(main)


def test_done_reaches_the_handler_of_idle_and_pushes_leave_meanwhile() -> None:
    """RFC 2177: untagged responses while idling, DONE ends it."""

    async def main() -> None:
        protocol = Mailbox()
        transport = RecordingTransport(protocol)
        transport.receive(b"a IDLE\r\n")
        await turn()
        assert transport.take() == b"+ idling\r\n"
        assert protocol.push(protocol.engine.send_exists, 4)
        assert transport.take() == b"* EXISTS 4\r\n"
        transport.receive(b"DO")
        transport.receive(b"NE\r\n")
        await turn()
        assert transport.take() == b"a OK idled\r\n"

    run(main)


def test_a_fault_is_raised_where_the_handler_waits_for_its_inbox(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        protocol = Mailbox()
        transport = RecordingTransport(protocol)
        transport.receive(b"a IDLE\r\n")
        await turn()
        transport.receive(b"what?\r\n")
        await turn()
        assert isinstance(protocol.log[0], ProtocolError)
        assert transport.written == b"+ idling\r\n* BAD\r\n* BYE\r\n"
        assert transport.close_reason == "clean"

    run(main)
    assert [each.levelno for each in caplog.records if each.levelno > logging.INFO] == []


class Streams(EngineProtocol[MultiplexEngine, StreamEvent]):
    def __init__(self) -> None:
        super().__init__(MultiplexEngine())
        self.log: list[object] = []
        self.gates: dict[int, asyncio.Event] = {}

    def consumed(self, event: Any) -> None:
        if isinstance(event, Data):
            self.engine.grant(event.exchange, len(event.data))

    @handles(Opened)
    async def serve(self, event: Opened) -> None:
        number = event.exchange
        try:
            if event.request == b"count":
                size = 0
                async for chunk in self.body(event):
                    size += len(chunk)
                self.engine.send(number, b"%d" % size, end=True)
            elif event.request == b"wait":
                await self.gates.setdefault(number, asyncio.Event()).wait()
                self.engine.send(number, b"waited", end=True)
            elif event.request == b"much":
                inbox = self.inbox(event)
                for _ in range(5):
                    self.engine.send(number, b"x" * 1000)
                    while self.engine.unsent(number):
                        await inbox.get()
                    await self.writable()
                self.engine.send(number, b"", end=True)
            else:
                raise RuntimeError("what?")
        except asyncio.CancelledError:
            self.log.append(("cancelled", number))
            raise


def test_answers_of_a_multiplexed_protocol_leave_out_of_order() -> None:
    async def main() -> None:
        protocol = Streams()
        transport = RecordingTransport(protocol)
        transport.receive(frame(b"O", 1, b"wait") + frame(b"O", 2, b"count") + frame(b"E", 2))
        await turn()
        assert transport.take() == frame(b"D", 2, b"0") + frame(b"E", 2)
        assert protocol.open_exchanges == 1
        protocol.gates[1].set()
        await turn()
        assert transport.take() == frame(b"D", 1, b"waited") + frame(b"E", 1)

    run(main)


def test_credit_is_given_as_a_body_is_read_and_awaited_where_it_is_spent() -> None:
    async def main() -> None:
        transport = RecordingTransport(Streams())
        transport.receive(frame(b"O", 1, b"count"))
        for _ in range(5):
            transport.receive(frame(b"D", 1, b"y" * 1000))
            await turn()
            assert transport.take() == frame(b"W", 1, (1000).to_bytes(2, "big"))
        transport.receive(frame(b"E", 1))
        await turn()
        assert transport.take() == frame(b"D", 1, b"5000") + frame(b"E", 1)

        transport.receive(frame(b"O", 2, b"much"))
        await turn()
        assert transport.take() == frame(b"D", 2, b"x" * 1000)
        for _ in range(4):
            transport.receive(frame(b"W", 2, (1000).to_bytes(2, "big")))
            await turn()
        assert transport.take() == frame(b"D", 2, b"x" * 1000) * 4 + frame(b"E", 2)

    run(main)


def test_a_reset_cancels_the_handler_of_its_exchange_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        protocol = Streams()
        transport = RecordingTransport(protocol)
        transport.receive(frame(b"O", 1, b"wait") + frame(b"O", 2, b"wait"))
        await turn()
        transport.receive(frame(b"R", 1))
        await turn()
        assert protocol.log == [("cancelled", 1)]
        assert protocol.open_exchanges == 1
        protocol.gates[2].set()
        await turn()
        assert transport.written == frame(b"D", 2, b"waited") + frame(b"E", 2)

    run(main)
    assert not caplog.records


def test_more_exchanges_than_the_limit_wait_for_their_turn() -> None:
    class Few(Streams):
        max_handlers = 2

    async def main() -> None:
        protocol = Few()
        transport = RecordingTransport(protocol)
        transport.receive(
            frame(b"O", 1, b"wait")
            + frame(b"O", 2, b"wait")
            + frame(b"O", 3, b"count")
            + frame(b"D", 3, b"abc")
            + frame(b"E", 3)
            + frame(b"O", 4, b"count")
            + frame(b"R", 4)
        )
        await turn()
        assert protocol.open_exchanges == 2
        assert transport.written == b""
        protocol.gates[1].set()
        await turn(5)
        assert transport.written.endswith(frame(b"D", 3, b"3") + frame(b"E", 3))
        assert protocol.open_exchanges == 1
        assert protocol._waiting == 0

    run(main)


def test_an_exchange_that_had_to_wait_can_have_its_inbox_in_a_plain_method() -> None:
    class One(EngineProtocol[MultiplexEngine, StreamEvent]):
        max_handlers = 1
        boxes: dict[int, Any]
        held: dict[int, Deferred[None]]

        @handles(Opened)
        def serve(self, event: Opened) -> Deferred[None]:
            self.boxes[event.exchange] = self.inbox(event)
            return self.held.setdefault(event.exchange, Deferred())

    protocol = One(MultiplexEngine())
    protocol.boxes, protocol.held = {}, {}
    transport = RecordingTransport(protocol)
    transport.receive(frame(b"O", 1) + frame(b"O", 2) + frame(b"D", 2, b"abc"))
    assert [*protocol.boxes] == [1]
    protocol.held[1].callback(None)
    assert [*protocol.boxes] == [1, 2]
    assert protocol.boxes[2].take() == Data(2, b"abc")


def test_what_belongs_to_nobody_is_dropped_and_credited() -> None:
    transport: RecordingTransport

    class Deaf(EngineProtocol[MultiplexEngine, StreamEvent]):
        def consumed(self, event: Any) -> None:
            if isinstance(event, Data):
                self.engine.grant(event.exchange, len(event.data))

        @handles(Opened)
        def serve(self, event: Opened) -> None:
            """Does not read."""

    transport = RecordingTransport(Deaf(MultiplexEngine()))
    transport.receive(frame(b"O", 1) + frame(b"D", 1, b"abc"))
    assert transport.written == frame(b"W", 1, b"\0\3")


def test_a_plain_method_may_take_what_belongs_itself() -> None:
    class Direct(EngineProtocol[MultiplexEngine, StreamEvent]):
        got = b""

        @handles(Opened)
        def serve(self, event: Opened) -> None: ...

        @handles(Data)
        def data(self, event: Data) -> None:
            self.got += event.data

    protocol = Direct(MultiplexEngine())
    RecordingTransport(protocol).receive(frame(b"O", 1) + frame(b"D", 1, b"abc"))
    assert protocol.got == b"abc"


def test_an_inbox_can_be_taken_from_without_waiting() -> None:
    class Taker(EngineProtocol[MultiplexEngine, StreamEvent]):
        @handles(Opened)
        def serve(self, event: Opened) -> Deferred[None]:
            self.box = self.inbox(event)
            self.held = Deferred[None]()
            return self.held

    protocol = Taker(MultiplexEngine())
    transport = RecordingTransport(protocol)
    transport.receive(frame(b"O", 1))
    assert protocol.box.take() is None
    transport.receive(frame(b"D", 1, b"abc") + frame(b"E", 1))
    assert len(protocol.box) == 2
    first = protocol.box.take()
    assert isinstance(first, Data)
    assert not protocol.box.ended
    assert isinstance(protocol.box.take(), Belongs)
    assert protocol.box.ended
    assert protocol.box.take() is None
    protocol.held.callback(None)
    assert not protocol.busy
    with pytest.raises(ValueError, match="has ended"):
        protocol.inbox(Opened(1, b""))


def test_reading_pauses_while_an_inbox_holds_too_much() -> None:
    class Sleepy(EngineProtocol[MailboxEngine, MailEvent]):
        max_waiting = 1000

        def __init__(self) -> None:
            super().__init__(MailboxEngine())
            self.wake = asyncio.Event()
            self.size = 0

        @handles(Command, Idle)
        def other(self, event: Command | Idle) -> None: ...

        @handles(Append)
        async def append(self, event: Append) -> None:
            self.engine.want_literal()
            self.flush()
            await self.wake.wait()
            async for chunk in self.body(event):
                self.size += len(chunk)
            self.engine.answer(b"OK")

    async def main() -> None:
        protocol = Sleepy()
        transport = RecordingTransport(protocol)
        transport.receive(b"a APPEND {2000}\r\n")
        await turn()
        transport.receive(b"x" * 900)
        assert transport.reading
        transport.receive(b"x" * 900)
        assert not transport.reading
        protocol.wake.set()
        await turn()
        assert transport.reading
        transport.receive(b"x" * 200 + b"\r\n")
        await turn()
        assert protocol.size == 2000
        assert transport.written.endswith(b"a OK\r\n")

    run(main)


def test_reading_pauses_though_the_engine_would_take_more() -> None:
    """An engine may never say PAUSED; the inbox of its handler fills all the same."""

    class Sleepy(EngineProtocol[MultiplexEngine, StreamEvent]):
        max_waiting = 1000

        @handles(Opened)
        def serve(self, event: Opened) -> Deferred[None]:
            self.box = self.inbox(event)
            self.held = Deferred[None]()
            return self.held

    protocol = Sleepy(MultiplexEngine())
    transport = RecordingTransport(protocol)
    transport.receive(frame(b"O", 1))
    given = 0
    while transport.reading:
        assert given <= protocol.max_waiting
        transport.receive(frame(b"D", 1, b"x" * 240))
        given += 240
    while protocol.box.take() is not None:
        pass
    assert transport.reading


def test_reading_pauses_while_too_much_waits_behind_an_open_command() -> None:
    class Small(AsyncEcho):
        max_waiting = 100

    async def main() -> None:
        protocol = Small()
        transport = RecordingTransport(protocol)
        transport.receive(b"a\n")
        await turn()
        transport.receive(b"b\n" * 40)
        assert transport.reading
        transport.receive(b"b\n" * 40)
        assert not transport.reading
        protocol.gate(b"a").set()
        protocol.gate(b"b").set()
        await turn(400)
        assert transport.reading
        assert transport.written == b"a\n" + b"b\n" * 80

    run(main)


# ── flow control on the way out ──────────────────────────────────────────────


def test_no_event_is_taken_while_the_transport_is_above_its_mark() -> None:
    """HARDENING core-7: a peer that asks without reading stops being served."""

    class Big(EngineProtocol[LineEngine, LineEvent]):
        answered = 0

        @handles(Line)
        def work(self, event: Line) -> None:
            self.answered += 1
            self.engine.answer(b"x" * 50_000)

    protocol = Big(LineEngine())
    transport = RecordingTransport(protocol)
    transport.block()
    transport.receive(b"x\n" * 20)
    assert protocol.answered < 5
    assert not transport.reading
    transport.unblock()
    assert protocol.answered == 20
    assert len(transport.written) == 20 * 50_000
    assert transport.reading


def test_a_producer_pauses_at_the_high_mark_and_goes_on_at_the_low_one() -> None:
    """HARDENING core-7: no growth past the mark and one write."""

    class Producer(EngineProtocol[LineEngine, LineEvent]):
        made = 0

        @handles(Line)
        async def work(self, event: Line) -> None:
            for _ in range(64):
                self.made += 1
                self.engine.out.append(b"x" * 10_000)
                await self.writable()
            self.engine.answer()

    async def main() -> None:
        protocol = Producer(LineEngine())
        transport = RecordingTransport(protocol)
        transport.block()
        transport.receive(b"go\n")
        await turn()
        assert protocol.made == 7
        assert transport.get_write_buffer_size() == 70_000
        transport.unblock(54_000)
        await turn()
        assert 7 < protocol.made < 16
        transport.unblock()
        await turn(30)
        assert protocol.made == 64
        assert len(transport.written) == 640_000

    run(main)


def test_a_producer_whose_peer_keeps_up_still_lets_the_loop_turn() -> None:
    class Producer(EngineProtocol[LineEngine, LineEvent]):
        @handles(Line)
        async def work(self, event: Line) -> None:
            while True:
                self.engine.out.append(b"x")
                await self.writable()

    async def main() -> None:
        protocol = Producer(LineEngine())
        transport = RecordingTransport(protocol)
        transport.receive(b"go\n")
        await turn(10)  # would never come back
        transport.lose()
        await turn()
        assert not protocol.busy

    run(main)


def test_waiting_for_room_fails_when_the_connection_goes() -> None:
    async def main() -> None:
        protocol = AsyncEcho()
        transport = RecordingTransport(protocol)
        transport.block()
        protocol.engine.out.append(b"x" * 100_000)
        waiting = protocol.writable()
        transport.lose(ConnectionLost("gone", "reset"))
        with pytest.raises(ConnectionLost):
            await waiting
        with pytest.raises(ConnectionLost):
            await protocol.writable()

    run(main)


# ── files ────────────────────────────────────────────────────────────────────


class Files(EngineProtocol[LineEngine, LineEvent]):
    file: Any

    @handles(Line)
    def work(self, event: Line) -> None:
        part = FilePart(self.file, 2, int(event.text), close_file=True)
        self.engine.answer(b"<", part, b">")


def test_file_parts_leave_in_order_and_the_file_is_closed_after() -> None:
    protocol = Files(LineEngine())
    protocol.file = io.BytesIO(b"0123456789")
    transport = RecordingTransport(protocol)
    transport.receive(b"5\n")
    assert transport.written == b"<23456>"
    assert protocol.file.closed


def test_a_file_that_ends_early_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    protocol = Files(LineEngine())
    protocol.file = io.BytesIO(b"0123")
    transport = RecordingTransport(protocol)
    transport.receive(b"5\n")
    assert transport.aborted
    assert "ended after 2 octets" in caplog.text
    assert protocol.file.closed


def test_files_that_never_left_are_closed_with_the_connection() -> None:
    protocol = Files(LineEngine())
    transport = RecordingTransport(protocol)
    sent, unsent = io.BytesIO(b"x" * 100), io.BytesIO(b"x" * 100)
    transport.block()
    protocol.file = sent
    transport.receive(b"50\n")
    protocol.engine.out.append(FilePart(unsent, 0, 5, close_file=True))
    transport.lose(ConnectionLost("gone", "reset"))
    assert sent.closed or transport._waiting  # the recording transport keeps its pieces
    assert unsent.closed


# ── time ─────────────────────────────────────────────────────────────────────


def test_the_engines_timers_are_driven_by_one_timer_armed_lazily() -> None:
    clock = Clock()
    protocol = Mailbox(clock)
    transport = RecordingTransport(protocol)
    for _ in range(10):
        clock.advance(100)
        transport.receive(b"a NOOP\r\n")
        assert len(clock.pending) == 1
    transport.take()
    clock.advance(1799)
    assert not transport.closed
    clock.advance(1)
    assert transport.written == b"* BYE idle for too long\r\n"
    assert transport.close_reason == "clean"
    assert not clock.pending


def test_the_timer_goes_with_the_connection() -> None:
    clock = Clock()
    transport = RecordingTransport(Mailbox(clock))
    assert len(clock.pending) == 1
    transport.lose()
    assert not clock.pending


# ── the end ──────────────────────────────────────────────────────────────────


def test_half_close_answers_what_was_asked_and_then_closes() -> None:
    async def main() -> None:
        protocol = AsyncEcho()
        transport = RecordingTransport(protocol)
        transport.receive(b"a\nb\n")
        transport.receive_eof()
        await turn()
        assert not transport.closed
        protocol.gate(b"a").set()
        protocol.gate(b"b").set()
        await turn(6)
        assert transport.written == b"a\nb\n"
        assert transport.close_reason == "clean"

    run(main)


def test_an_engine_that_does_not_know_the_end_is_closed_when_idle() -> None:
    class Forgetful(LineEngine):
        def receive_eof(self) -> None: ...

    class Protocol(EngineProtocol[LineEngine, LineEvent]):
        @handles(Line)
        def work(self, event: Line) -> None:
            self.engine.answer(event.text)

    transport = RecordingTransport(Protocol(Forgetful()))
    transport.receive(b"a\n")
    transport.receive_eof()
    assert transport.close_reason == "clean"


def test_drain_finishes_what_is_open_and_closes() -> None:
    """HARDENING defaults 26."""

    async def main() -> None:
        protocol = AsyncEcho()
        transport = RecordingTransport(protocol)
        transport.receive(b"a\n")
        await turn()
        protocol.drain()
        assert not transport.closed
        protocol.gate(b"a").set()
        await turn()
        assert transport.written == b"a\n"
        assert transport.close_reason == "drained"

    run(main)


def test_an_idle_connection_drains_at_once() -> None:
    transport = RecordingTransport(protocol := Echo())
    protocol.drain()
    protocol.drain()
    assert transport.close_reason == "drained"


def test_a_connection_that_drains_before_it_stands_ends_once_it_does() -> None:
    protocol = Echo()
    protocol.drain()
    transport = RecordingTransport(protocol)
    assert transport.close_reason == "drained"


def test_handlers_are_cancelled_when_the_connection_goes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        protocol = AsyncEcho()
        transport = RecordingTransport(protocol)
        transport.receive(b"a\n")
        await turn()
        finished = protocol.finished()
        transport.lose(ConnectionLost("reset", "reset"))
        await finished
        assert protocol.log == [("begun", b"a"), ("cancelled", b"a")]
        assert not protocol.busy

    run(main)
    assert not caplog.records


def test_commit_holds_cancellation_back_until_the_step_is_whole() -> None:
    class Durable(EngineProtocol[LineEngine, LineEvent]):
        log: list[str]
        disk: asyncio.Event

        @handles(Line)
        async def store(self, event: Line) -> None:
            async with commit():
                self.log.append("writing")
                await self.disk.wait()
                self.log.append("written")
            self.log.append("never")

    async def main() -> None:
        protocol = Durable(LineEngine())
        protocol.log = []
        protocol.disk = asyncio.Event()
        transport = RecordingTransport(protocol)
        transport.receive(b"a\n")
        await turn()
        transport.lose(ConnectionLost("reset", "reset"))
        await turn()
        assert protocol.busy
        protocol.disk.set()
        await protocol.finished()
        assert protocol.log == ["writing", "written"]

    run(main)


def test_a_handler_cancelled_by_somebody_else_tells_the_peer_and_is_no_bug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        protocol = AsyncEcho()
        transport = RecordingTransport(protocol)
        transport.receive(b"a\n")
        await turn()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await turn()
        assert transport.written == b"ERROR\n"
        assert not protocol.busy

    run(main)
    assert not caplog.records


def test_a_handler_that_fails_by_a_cancellation_nobody_asked_for_is_a_bug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Confused(EngineProtocol[LineEngine, LineEvent]):
        @handles(Line)
        async def work(self, event: Line) -> None:
            await asyncio.sleep(0)
            raise asyncio.CancelledError

    async def main() -> None:
        transport = RecordingTransport(Confused(LineEngine()))
        transport.receive(b"a\n")
        await turn()
        assert transport.written == b"ERROR\n"

    run(main)
    assert len(caplog.records) == 1


def test_a_handler_cancelled_before_its_first_step_leaves_nothing_behind() -> None:
    async def main() -> None:
        protocol = AsyncEcho()
        transport = RecordingTransport(protocol)
        transport.receive(b"a\n")
        transport.lose()
        await protocol.finished()
        assert protocol.log in ([], [("begun", b"a"), ("cancelled", b"a")])

    run(main)


def test_a_handler_that_works_on_after_the_last_answer_is_not_cut_short() -> None:
    class Tidy(EngineProtocol[LineEngine, LineEvent]):
        tidied = False
        wait: asyncio.Event

        @handles(Line)
        async def work(self, event: Line) -> None:
            self.engine.answer(b"bye")
            self.engine.over = True
            self.proceed()
            await self.wait.wait()
            self.tidied = True

    async def main() -> None:
        protocol = Tidy(LineEngine())
        protocol.wait = asyncio.Event()
        transport = RecordingTransport(protocol)
        transport.receive(b"a\n")
        await turn()
        assert transport.written == b"bye"
        assert transport.eof_written
        assert not transport.closed
        protocol.wait.set()
        await turn()
        assert protocol.tidied
        assert transport.close_reason == "clean"

    run(main)


class Lingering(Echo):
    linger = 2.0


def test_lingering_lets_a_peer_that_still_sends_read_the_last_answer() -> None:
    """RFC 9112 §9.6: half-close, throw away what comes, until the peer closes."""
    clock = Clock()
    protocol = Lingering()
    transport = RecordingTransport(protocol, extra={"reactor": clock})
    transport.receive(b"a\n")
    protocol.drain()
    assert transport.eof_written
    assert not transport.closed
    transport.receive(b"b\n" * 1000)
    assert transport.written == b"a\n"
    transport.receive_eof()
    assert transport.close_reason == "drained"
    assert not clock.pending


def test_lingering_ends_by_itself() -> None:
    clock = Clock()
    protocol = Lingering()
    transport = RecordingTransport(protocol, extra={"reactor": clock})
    protocol.drain()
    clock.advance(1.9)
    assert not transport.closed
    clock.advance(0.1)
    assert transport.closed


def test_lingering_begins_once_when_the_last_handler_ends() -> None:
    class Slow(EngineProtocol[LineEngine, LineEvent]):
        linger = 2.0

        @handles(Line)
        def work(self, event: Line) -> Deferred[None]:
            return waiting

    waiting: Deferred[None] = Deferred()
    clock = Clock()
    transport = RecordingTransport(protocol := Slow(LineEngine()), extra={"reactor": clock})
    transport.receive(b"a\n")
    protocol.engine.over = True
    protocol.engine.answer(b"bye")  # which leaves, and closes, where the handler ends
    waiting.callback(None)
    assert transport.eof_written
    transport.receive_eof()
    assert transport.closed
    assert not clock.pending


def test_a_peer_that_has_closed_its_side_is_not_waited_for() -> None:
    transport = RecordingTransport(Lingering())
    transport.receive_eof()
    assert transport.close_reason == "clean"


def test_a_timeout_from_outside_closes_with_its_reason() -> None:
    transport = RecordingTransport(protocol := Echo())
    assert not protocol.busy
    protocol.timed_out("idle")
    assert transport.close_reason == "idle"


def test_nothing_is_pushed_to_a_connection_that_has_gone() -> None:
    protocol = Echo()
    transport = RecordingTransport(protocol)
    assert protocol.push(protocol.engine.out.append, b"x")
    transport.block()
    assert not protocol.push(protocol.engine.out.append, b"y" * 100_000)
    transport.lose()
    assert not protocol.push(protocol.engine.out.append, b"z")
    assert protocol.engine.out == []


# ── changing over ────────────────────────────────────────────────────────────


def test_another_protocol_takes_over_with_the_octets_not_read() -> None:
    class Other(Protocol):
        got = b""

        def data_received(self, data: bytes) -> None:
            self.got += data

    other = Other()

    class Upgrade(EngineProtocol[LineEngine, LineEvent]):
        @handles(Line)
        async def work(self, event: Line) -> None:
            self.engine.answer(b"switching\n")
            self.switch_protocol(other)

    async def main() -> None:
        transport = RecordingTransport(Upgrade(LineEngine()))
        transport.receive(b"upgrade\nrest")
        await turn()
        assert transport.written == b"switching\n"
        assert other.got == b"rest"
        assert transport.get_protocol() is other
        transport.receive(b"more")
        assert other.got == b"restmore"
        assert not transport.closed

    run(main)


class StartTLS(EngineProtocol[LineEngine, LineEvent]):
    @handles(Line)
    async def work(self, event: Line) -> None:
        if event.text == b"tls":
            self.engine.answer(b"go\n")
            await self.start_tls("context", LineEngine())
        else:
            self.engine.answer(event.text)


def test_start_tls_goes_on_with_a_fresh_engine() -> None:
    async def main() -> None:
        protocol = StartTLS(LineEngine())
        before = protocol.engine
        transport = RecordingTransport(protocol)
        transport.receive(b"tls\n")
        await turn()
        assert transport.take() == b"go\n"
        assert transport.tls[0]["context"] == "context"
        assert transport.tls[0]["server_side"] is True
        assert protocol.engine is not before
        transport.receive(b"hello\n")
        await turn()
        assert transport.take() == b"hello"

    run(main)


def test_octets_in_clear_after_start_tls_end_the_connection() -> None:
    """HARDENING defaults 11: the plaintext tail is thrown away and the connection closed."""

    async def main() -> None:
        transport = RecordingTransport(StartTLS(LineEngine()))
        transport.receive(b"tls\ninjected\n")
        await turn()
        assert transport.aborted
        assert not transport.tls

    run(main)


# ── on other transports and loops ────────────────────────────────────────────


class Collect(Protocol):
    def __init__(self) -> None:
        self.got = b""
        self.lost = False

    def data_received(self, data: bytes) -> None:
        self.got += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


def test_a_driver_runs_over_memory_under_a_clock_with_coroutines() -> None:
    clock = Clock()
    client = Collect()
    protocol = Mailbox()
    pair = memory_pair(client, protocol, reactor=clock)
    pair.first.write(b"a APPEND {5}\r\n")
    clock.pump()
    assert client.got == b"+ go ahead\r\n"
    pair.first.write(b"hello\r\nb LOGOUT\r\n")
    clock.pump()
    assert client.got.endswith(b"a OK 5\r\n* BYE\r\nb OK\r\n")
    assert client.lost


def test_a_handler_gets_what_came_with_its_request_without_waiting() -> None:
    class AtOnce(EngineProtocol[MultiplexEngine, StreamEvent]):
        got: tuple[bytes, ...] = ()

        @handles(Opened)
        def serve(self, event: Opened) -> None:
            with pytest.raises(StopIteration) as read:
                self.body(event).read(10_000).send(None)
            self.got += (read.value.value,)

    protocol = AtOnce(MultiplexEngine())
    RecordingTransport(protocol).receive(
        frame(b"O", 1) + frame(b"D", 1, b"abc") + frame(b"D", 1, b"def") + frame(b"E", 1)
        + frame(b"O", 3) + frame(b"D", 3, b"x") + frame(b"E", 3)
    )  # fmt: skip
    assert protocol.got == (b"abcdef", b"x")
    assert not protocol.busy


class TakesAll(EngineProtocol[MultiplexEngine, StreamEvent]):
    """Keeps what came on each stream."""

    def __init__(self) -> None:
        super().__init__(MultiplexEngine())
        self.got: list[tuple[int, bytes]] = []
        self.taken: list[object] = []

    @handles(Opened)
    async def serve(self, event: Opened) -> None:
        self.got.append((event.exchange, await self.body(event).read(10_000)))

    def consumed(self, event: Any) -> None:
        self.taken.append(event)


def test_what_another_exchange_begins_with_is_not_lost_to_a_handler_that_waits() -> None:
    """It stands behind what that one takes ahead, and is dealt with right after."""

    async def main() -> None:
        protocol = TakesAll()
        transport = RecordingTransport(protocol)
        transport.receive(frame(b"O", 1) + frame(b"D", 1, b"a") + frame(b"O", 3))
        await turn()
        assert protocol.open_exchanges == 2
        transport.receive(frame(b"D", 3, b"x") + frame(b"E", 3) + frame(b"D", 1, b"b"))
        transport.receive(frame(b"E", 1))
        await turn()
        assert sorted(protocol.got) == [(1, b"ab"), (3, b"x")]

    run(main)


def test_a_handler_that_waits_gets_no_more_of_a_turn_than_is_taken_in_one() -> None:
    """A peer that sends one octet per frame does not keep the loop from the others."""

    async def main() -> None:
        protocol = TakesAll()
        transport = RecordingTransport(protocol)
        transport.receive(frame(b"O", 1))
        await turn()

        transport.receive(frame(b"D", 1, b"x") * 1000)

        assert len(protocol.taken) <= 4 * protocol.max_events
        while len(protocol.taken) < 1000:
            before = len(protocol.taken)
            await turn(1)
            assert before < len(protocol.taken) <= before + 4 * protocol.max_events
        transport.receive(frame(b"E", 1))
        await turn()
        assert protocol.got == [(1, b"x" * 1000)]

    run(main)


def test_small_pieces_are_put_together_and_nobody_elses_grows() -> None:
    """Two octets at a time would take fifty times their size."""
    from sennit.core._inbox import add_piece
    from sennit.core.interfaces import Buffer

    given = bytearray(b"a" * 2000)
    pieces: list[Buffer] = []
    large = memoryview(b"b" * 5000)
    coming: list[Buffer] = [b"first", given, b"c", b"d", large, *[b"ef"] * 100_000]
    for each in coming:
        add_piece(pieces, each)
    assert b"".join(pieces) == b"first" + b"a" * 2000 + b"cd" + b"b" * 5000 + b"ef" * 100_000
    assert len(given) == 2000
    assert pieces[0] == b"first"
    assert large in pieces
    assert len(pieces) < 10
