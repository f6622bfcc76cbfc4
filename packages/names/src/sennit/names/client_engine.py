"""The client's side of one stream of DNS messages, over TCP or TLS, without I/O.

Each message has its length in front (RFC 1035 §4.2.2). Questions leave as they come, up to
`MAX_IN_FLIGHT` of them unanswered; answers come in any order and are told apart by their ids
(RFC 7766 §6.2.1.1, §7). An exchange is one question: `Answered` ends it, or, where it has
several messages (zone transfers), each is a `Part` until who reads them says `finish`.

Ids and time come from outside. A message that is none is the `PeerFault` of the exchange whose
id it has; a stream of messages that nobody asked for ends in one of the connection.

Sources: RFC 7766 (TCP), RFC 7858 (the same over TLS), RFC 5936 §2.2 (several messages), RFC 5452
§9 (`is_answer`, which over UDP guards against answers of others).
Not here: connections, their reuse, retries (``client/stream.py``).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from sennit.core.engine import CLOSED, CONNECTION, NEED_DATA, Belongs, Ends, PeerFault, Untimed
from sennit.core.framing.prefix import PrefixDecoder
from sennit.names.codes import Opcode, Rcode, RRType
from sennit.names.errors import DNSProtocolError, DNSUsageError, MessageFormatError
from sennit.names.message import QR, Message

if TYPE_CHECKING:
    from sennit.core.engine import NoEvent

__all__ = [
    "MAX_BAD",
    "MAX_IN_FLIGHT",
    "Answered",
    "Finished",
    "Part",
    "Query",
    "StreamEngine",
    "is_answer",
]

MAX_IN_FLIGHT: Final = 100
"""Questions that may wait for their answers on one connection; more wait to be sent."""
MAX_BAD: Final = 20
"""Messages without a question that are taken before the connection is given up."""
MAX_GIVEN_UP: Final = 1000
"""Questions given up whose answers may still come; then the connection ends."""
_UNREAD: Final = frozenset({Rcode.FORMERR, Rcode.SERVFAIL, Rcode.NOTIMP, Rcode.REFUSED})
"""Codes of answers whose server may not have read the question, and so repeat none."""
_TRANSFERS: Final = frozenset({RRType.AXFR, RRType.IXFR})


def is_answer(
    answer: Message, query: Message, *, match_case: bool = False, later: bool = False
) -> bool:
    """Whether a message answers `query`, its id aside.

    Args:
        answer: What came.
        query: What was asked.
        match_case: Whether letters must have the case that they were sent in.
        later: Whether other messages of the same answer came before (RFC 5936 §2.2.2: those
            of a transfer need no question).
    """
    if not answer.flags & QR or answer.opcode != query.opcode:
        return False
    if not answer.questions:
        if answer.rcode in _UNREAD or not query.questions:
            return True
        if query.opcode == Opcode.UPDATE:
            return True  # RFC 2136 §3.8: the sections may come back empty
        return later and query.questions[0].rdtype in _TRANSFERS
    if answer.questions != query.questions:
        return False
    return not match_case or all(
        one.name.wire == other.name.wire
        for one, other in zip(answer.questions, query.questions, strict=True)
    )


class Query:
    """A question to send.

    Args:
        message: What is asked.
        wire: Its octets, where they are not ``message.to_wire()`` (a signed one). Their id is
            used if it is free, else the next that is.
        number: The id to send it with, where `wire` is left out.
        several: Whether several messages answer it; `StreamEngine.finish` ends it then.

    Attributes:
        exchange: Its exchange, once it was sent; -1 before.
    """

    __slots__ = ("exchange", "message", "several", "wire")

    def __init__(
        self,
        message: Message,
        wire: bytes | None = None,
        *,
        number: int = 0,
        several: bool = False,
    ) -> None:
        if wire is None:
            wire = number.to_bytes(2, "big") + message.to_wire()[2:]
        if len(wire) > 0xFFFF:
            raise DNSUsageError(f"a message has at most 65535 octets, not {len(wire)}")
        self.message = message
        self.wire = wire
        self.several = several
        self.exchange = -1


class Answered(Ends):
    """The answer to a question.

    Attributes:
        message: What it says.
        data: Its octets.
    """

    __slots__ = ("data", "exchange", "message")

    def __init__(self, exchange: int, message: Message, data: bytes) -> None:
        self.exchange = exchange
        self.message = message
        self.data = data


class Part(Belongs):
    """One of the messages that answer a question (attributes as those of `Answered`)."""

    __slots__ = ("data", "exchange", "message")

    def __init__(self, exchange: int, message: Message, data: bytes) -> None:
        self.exchange = exchange
        self.message = message
        self.data = data


class Finished(Ends):
    """An exchange of several messages was finished by who reads them."""

    __slots__ = ("exchange",)

    def __init__(self, exchange: int) -> None:
        self.exchange = exchange


Event = Answered | Part | Finished | PeerFault
"""Every event a client's engine emits."""


class _Open:
    """A question that waits.

    Attributes:
        given_up: Whether nobody waits for its answer any more.
        answered: Whether one of several messages has come.
    """

    __slots__ = ("answered", "exchange", "given_up", "query")

    def __init__(self, exchange: int, query: Query) -> None:
        self.exchange = exchange
        self.query = query
        self.given_up = False
        self.answered = False


class StreamEngine(Untimed):
    """One connection as the client sees it.

    Args:
        max_in_flight: Questions that may wait for answers.

    Attributes:
        answers: Messages that fitted a question, so far.
    """

    __slots__ = (
        "_bad",
        "_closed",
        "_closing",
        "_events",
        "_exchange",
        "_frames",
        "_given_up",
        "_max",
        "_numbers",
        "_open",
        "_out",
        "answers",
    )

    def __init__(self, *, max_in_flight: int = MAX_IN_FLIGHT) -> None:
        self.answers = 0
        self._max = max_in_flight
        self._frames = PrefixDecoder(2, max_length=0xFFFF)
        self._events: deque[Event] = deque()
        self._out: list[bytes] = []
        self._open: dict[int, _Open] = {}  # by id
        self._numbers: dict[int, int] = {}  # exchange: id
        self._exchange = 0
        self._given_up = 0
        self._bad = 0
        self._closed = False
        self._closing = False

    # ── octets ────────────────────────────────────────────────────────────────

    def receive_data(self, data: bytes) -> None:
        """Octets have come."""
        if not self._closed:
            self._frames.receive_data(data)

    def receive_eof(self) -> None:
        """The server sends no more: what waits is not answered."""
        self._closed = True

    def next_event(self) -> Event | NoEvent:
        """The next answer, or why there is none."""
        while True:
            if self._events:
                return self._events.popleft()
            frame = self._frames.next_frame()
            if frame is None:
                done = self._closed or (self._closing and not self._numbers)
                return CLOSED if done else NEED_DATA
            self._take(frame)

    def data_to_send(self) -> list[bytes]:
        """Questions, each with its length."""
        out, self._out = self._out, []
        return out

    def close(self) -> None:
        """Ask nothing new; the end comes when all is answered."""
        self._closing = True

    def release(self) -> bytes:
        """End, and return what was not read."""
        self._closed = True
        return self._frames.release()

    # ── questions ─────────────────────────────────────────────────────────────

    @property
    def in_flight(self) -> int:
        """Questions that wait for answers."""
        return len(self._numbers)

    def can_send(self, command: Query) -> bool:
        """Whether a question may leave now."""
        del command  # they are all alike
        return len(self._numbers) < self._max and not self._closed

    def send_command(self, command: Query) -> int:
        """Send a question; its exchange.

        Raises:
            DNSUsageError: The connection ends.
        """
        if self._closed or self._closing:
            raise DNSUsageError("the connection is closed: nothing can be asked over it")
        wire = command.wire
        number = first = int.from_bytes(wire[:2], "big")
        while number in self._open:
            # Fewer than 65 536 are ever open, see MAX_IN_FLIGHT and MAX_GIVEN_UP.
            number = number + 1 & 0xFFFF
        if number != first:
            # A signature stays good: it covers the original id, which TSIG repeats (RFC 8945 §4.2).
            wire = number.to_bytes(2, "big") + wire[2:]
        self._exchange += 1
        command.exchange = self._exchange
        self._open[number] = _Open(self._exchange, command)
        self._numbers[self._exchange] = number
        self._out.append(len(wire).to_bytes(2, "big") + wire)
        return self._exchange

    def cancel(self, exchange: int) -> bool:
        """Give a question up: its answer is dropped when it comes; until then its id is taken."""
        number = self._numbers.pop(exchange, None)
        if number is not None:
            self._open[number].given_up = True
            self._given_up += 1
            if self._given_up > MAX_GIVEN_UP:
                self._closing = True
        return True

    def finish(self, exchange: int) -> None:
        """All messages that answer a question have come: its reader says so."""
        number = self._numbers.pop(exchange, None)
        if number is not None:
            del self._open[number]
            self._events.append(Finished(exchange))

    # ── answers ───────────────────────────────────────────────────────────────

    def _take(self, frame: bytes) -> None:
        opened = self._open.get(int.from_bytes(frame[:2], "big")) if len(frame) >= 2 else None
        if opened is None:
            self._unasked("a message that answers no question")
            return
        query = opened.query
        if opened.given_up:
            if not query.several:
                del self._open[int.from_bytes(frame[:2], "big")]
                self._given_up -= 1
            return
        try:
            message = Message.from_wire(frame)
            if not is_answer(message, query.message, later=opened.answered):
                raise MessageFormatError("an answer to another question", rule="RFC 7766 §7")
        except MessageFormatError as error:
            self._end(opened)
            self._events.append(PeerFault(error, opened.exchange))
            return
        self.answers += 1
        if query.several:
            opened.answered = True
            self._events.append(Part(opened.exchange, message, frame))
        else:
            self._end(opened)
            self._events.append(Answered(opened.exchange, message, frame))

    def _end(self, opened: _Open) -> None:
        del self._open[self._numbers.pop(opened.exchange)]

    def _unasked(self, what: str) -> None:
        self._bad += 1
        if self._bad >= MAX_BAD:
            self._closed = True
            self._frames.release()
            self._events.append(
                PeerFault(DNSProtocolError(f"{what}, {self._bad} times", "RFC 7766 §7"), CONNECTION)
            )
