r"""What every engine must keep, as tests: `engine_suite` makes a test class of an engine.

::

    TestLineEngine = engine_suite(
        LineEngine,
        conversations=[b"one\r\ntwo\r\n"],
        answer=lambda engine, event: engine.send_line(event.text),
        tokens=[b"one", b"\r\n", b"\r", b"\0"],
        endless=[b"A"],
        limit=16_384,
    )

The properties, over the conversations, over pieces of them shuffled with the
tokens, and over any octets:

* where the stream is cut changes neither the events nor what is sent;
* commands that come all at once are answered as if each had waited for the answer
  to the one before;
* nothing that a peer sends raises, and no input makes events without end;
* the end of the stream, wherever it comes, leads to `CLOSED`, which stays;
* `close()`, wherever it comes, then the end of the stream, likewise;
* `release()` returns octets that were received last, and ends the engine;
* a time-out that was dealt with is not due any more;
* input without end, octet after octet, is refused within `limit`.

`converse` is the little driver behind it, good for an engine's own tests too.
`assert_no_io` says whether importing a module leaves the sockets alone.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sennit.core.engine import CLOSED, PAUSED, Belongs, FilePart, NoEvent, PeerFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sennit.core.engine import Engine

    # `Any`: the suite serves engines of every kind; what they emit is theirs.
    AnyEngine = Engine[Any]
    Answer = Callable[[Any, Any], object]

__all__ = [
    "Conversation",
    "Described",
    "assert_no_io",
    "converse",
    "cut",
    "describe",
    "engine_suite",
]


class Described(NamedTuple):
    """An event as comparable values.

    Attributes:
        name: Its type's name.
        attributes: Names and values of what it says.
    """

    name: str
    attributes: tuple[tuple[str, Any], ...]


IO_MODULES: Final = ("asyncio", "random", "select", "selectors", "socket", "ssl", "subprocess")
"""What an engine must not bring into a program."""

EVENTS_PER_OCTET: Final = 2
SPARE_EVENTS: Final = 16
"""No input makes more events than octets × the former + the latter."""


class Conversation(NamedTuple):
    """What an engine made of its input.

    Attributes:
        events: All events, described; octets of one body that came in several
            events one after another are put together, since only the cut decides.
        sent: All that was to be sent; of a file part, where it lies.
        last: Why there was no event in the end.
    """

    events: list[Described]
    sent: bytes
    last: NoEvent


def converse(
    engine: AnyEngine,
    pieces: Iterable[bytes],
    answer: Answer | None = None,
    *,
    eof: bool = False,
    late: bool = False,
) -> Conversation:
    """Give an engine its input piece by piece, and answer what it asks.

    Args:
        engine: A fresh one.
        pieces: The peer's octets.
        answer: Called with the engine and each event but a `PeerFault`; answers
            as a simple server would.
        eof: Whether the peer then sends no more.
        late: Answer only once the engine says that it has nothing else, as a
            handler that waits would.

    Raises:
        AssertionError: The engine makes more events than octets can mean.
    """
    talk = _Talk(engine, answer, late=late)
    for piece in pieces:
        talk.allowed += EVENTS_PER_OCTET * len(piece)
        engine.receive_data(piece)
        talk.go_on()
    if eof:
        engine.receive_eof()
        talk.go_on()
    return Conversation(talk.events, bytes(talk.sent), talk.last)


class _Talk:
    """One run of `converse`."""

    def __init__(self, engine: AnyEngine, answer: Answer | None, *, late: bool) -> None:
        self.engine = engine
        self.answer = answer
        self.late = late
        self.events: list[Described] = []
        self.before: Any = None  # the event before, to put octets together
        self.sent = bytearray()
        self.allowed = SPARE_EVENTS
        self.last: NoEvent = NoEvent.NEED_DATA

    def go_on(self) -> None:
        """Take what there is."""
        unanswered: list[Any] = []
        while True:
            event = self.engine.next_event()
            if isinstance(event, NoEvent):
                self._collect()
                if unanswered and self.answer is not None:
                    self.answer(self.engine, unanswered.pop(0))
                    continue
                self.last = event
                return
            self.allowed -= 1
            assert self.allowed >= 0, f"events without end, the last {event!r}"
            self._note(event)
            if isinstance(event, PeerFault) or self.answer is None:
                continue
            if self.late:
                unanswered.append(event)
            else:
                self.answer(self.engine, event)
                self._collect()

    def _note(self, event: Any) -> None:
        before, self.before = self.before, event
        described = describe(event)
        data = getattr(event, "data", None)
        if (
            data is not None
            and not isinstance(data, str)
            and not isinstance(getattr(before, "data", None), str)
            and issubclass(type(event), Belongs)
            and type(before) is type(event)
            and before.exchange == event.exchange
        ):
            attributes: dict[str, Any] = dict(self.events[-1].attributes)
            attributes["data"] += bytes(data)
            described = Described(described.name, tuple(attributes.items()))
            self.events.pop()
        self.events.append(described)

    def _collect(self) -> None:
        for piece in self.engine.data_to_send():
            if isinstance(piece, FilePart):
                self.sent += f"<file {piece.offset}+{piece.length}>".encode()
            else:
                self.sent += piece


def describe(event: object) -> Described:
    """An event as comparable values, whether or not it compares itself."""
    names: list[str] = []
    for base in type(event).__mro__:
        slots = base.__dict__.get("__slots__", ())
        names.extend([slots] if isinstance(slots, str) else slots)
    names.extend(getattr(event, "__dict__", ()))
    pairs = [
        (name, _comparable(getattr(event, name, None)))
        for name in sorted(set(names))
        if not name.startswith("__")
    ]
    return Described(type(event).__qualname__, tuple(pairs))


def _comparable(value: Any) -> object:
    if type(value) in (bytearray, memoryview):
        return bytes(value)
    if isinstance(value, BaseException):
        return (type(value).__qualname__, str(value))
    return value


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """`data` in pieces, cut at these places."""
    pieces: list[bytes] = []
    begin = 0
    for place in sorted({each for each in places if 0 < each < len(data)}):
        pieces.append(data[begin:place])
        begin = place
    pieces.append(data[begin:])
    return pieces


def assert_no_io(module: str) -> None:
    """Import a module in a fresh interpreter, and see that no I/O came with it.

    Raises:
        AssertionError: Some did; it says which.
    """
    program = (
        f"import sys; before = set(sys.modules); import {module}; "
        f"print(*sorted((set(sys.modules) - before) & set({IO_MODULES!r})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stdout.strip(), f"{module} brings {done.stdout.strip()}"


def engine_suite(
    make: Callable[[], AnyEngine],
    *,
    conversations: Sequence[bytes],
    answer: Answer | None = None,
    tokens: Sequence[bytes] = (),
    endless: Sequence[bytes] = (),
    limit: int = 16_384,
    in_order: bool = True,
    examples: int = 50,
) -> type:
    """A test class with the properties that every engine must keep (module docstring).

    Args:
        make: Makes a fresh engine.
        conversations: What well-behaved peers send, whole.
        answer: See `converse`.
        tokens: Octets that mean something to the protocol, for made-up input.
        endless: Octets that, repeated for ever, must not be taken for ever.
        limit: Octets of such a repetition within which the engine must refuse it
            (one read more is allowed).
        in_order: Whether late answers must leave in the same order as prompt
            ones; not so where exchanges stand side by side.
        examples: Inputs tried per property.

    Returns:
        The class; give it a name that begins with ``Test`` in a test module.
    """
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    checked = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
    )
    whole = st.sampled_from(list(conversations))
    pool = [*tokens, *conversations]
    mixed = st.lists(st.one_of(st.sampled_from(pool), st.binary(max_size=8)), max_size=12).map(
        b"".join
    )
    any_input = st.one_of(whole, mixed, st.binary(max_size=200))
    places = st.lists(st.integers(min_value=0, max_value=400), max_size=12)

    class EngineSuite:
        """Properties of one engine."""

        @checked
        @given(data=any_input, places=places)
        def test_where_the_stream_is_cut_changes_nothing(
            self, data: bytes, places: list[int]
        ) -> None:
            at_once = converse(make(), [data], answer, eof=True)
            in_pieces = converse(make(), cut(data, places), answer, eof=True)
            assert in_pieces == at_once

        @checked
        @given(data=whole)
        def test_octet_by_octet_is_the_same_as_at_once(self, data: bytes) -> None:
            at_once = converse(make(), [data], answer, eof=True)
            by_octets = converse(
                make(), [data[at : at + 1] for at in range(len(data))], answer, eof=True
            )
            assert by_octets == at_once

        @checked
        @given(data=any_input)
        def test_pipelined_commands_are_answered_in_order(self, data: bytes) -> None:
            prompt = converse(make(), [data], answer, eof=True)
            late = converse(make(), [data], answer, eof=True, late=True)
            assert late.last is prompt.last
            if in_order:
                assert late.sent == prompt.sent
            else:
                assert len(late.sent) == len(prompt.sent)

        @checked
        @given(data=st.one_of(any_input, st.binary(max_size=2000)))
        def test_no_octets_raise(self, data: bytes) -> None:
            engine = make()
            converse(engine, [data], None)
            converse(make(), [data], answer)

        @checked
        @given(data=any_input, at=st.integers(min_value=0, max_value=400))
        def test_the_end_of_the_stream_leads_to_closed(self, data: bytes, at: int) -> None:
            engine = make()
            assert converse(engine, [data[:at]], answer, eof=True).last is CLOSED
            assert engine.next_event() is CLOSED
            assert not engine.data_to_send()

        @checked
        @given(data=any_input, at=st.integers(min_value=0, max_value=400))
        def test_closing_answers_what_is_open_and_ends(self, data: bytes, at: int) -> None:
            engine = make()
            converse(engine, [data[:at]], answer)
            engine.close()
            assert converse(engine, [data[at:]], answer, eof=True).last is CLOSED

        @checked
        @given(data=any_input, at=st.integers(min_value=0, max_value=400))
        def test_release_returns_the_octets_received_last(self, data: bytes, at: int) -> None:
            engine = make()
            given_octets = data[:at]
            converse(engine, [given_octets], None)
            rest = engine.release()
            assert given_octets.endswith(rest)
            assert engine.next_event() is CLOSED
            assert not engine.data_to_send()
            assert engine.release() == b""

        @checked
        @given(data=any_input, at=st.integers(min_value=0, max_value=400))
        def test_a_timeout_that_was_dealt_with_is_not_due_any_more(
            self, data: bytes, at: int
        ) -> None:
            engine = make()
            now = 1000.0
            engine.handle_timeout(now)
            converse(engine, [data[:at]], answer)
            for _ in range(8):
                when = engine.next_timeout()
                if when is None:
                    break
                now = max(now, when)
                engine.handle_timeout(now)
                later = engine.next_timeout()
                assert later is None or later > now
                converse(engine, [], answer)
            converse(engine, [data[at:]], answer, eof=True)

        def test_endless_input_is_refused(self) -> None:
            for octets in endless:
                engine = make()
                block = (octets * (1024 // len(octets) + 1))[:1024]
                fed = 0
                refused = False
                while fed <= limit + 64 * 1024 and not refused:
                    talk = converse(engine, [block], answer)
                    fed += len(block)
                    refused = talk.last is CLOSED or any(
                        name == "error" for event in talk.events for name, _ in event.attributes
                    )
                    refused = refused or (talk.last is PAUSED and not talk.events)
                assert refused, f"{fed} octets of {octets!r} were taken"

    EngineSuite.__qualname__ = f"TestEngine[{getattr(make, '__qualname__', make)}]"
    return EngineSuite
