"""What both engines share: all but the reading of frames.

`Conversation` has the verbs, writes frames, keeps the states of the closing
handshake and says whose turn it is. `WSProtoEngine` (``engine.py``) and
`FastEngine` (``fast.py``) take frames apart, each in its own way, and must come to
the same verdict on every sequence of octets.

**States.** Open until this side sends a Close frame or the peer's comes. After
ours, what still comes is read and judged; pings are answered, messages are thrown
away, since nobody waits for them any more (RFC 6455 §1.4). A peer's Close frame is
answered with its own code at once, unless ours has left already; then a server is
`CLOSED` and goes, while a client waits for the server to end the connection
(§7.1.1), and its driver bounds that wait. A broken rule queues a Close frame with
the code of the rule, tells `PeerFault` and is the end on either side (§7.1.7).

**Pings** are answered at once, save while `quiet` is set because the peer does not read:
then the last of them is answered later, as RFC 6455 §5.5.3 lets us.

**Writing** is ours under either engine. A client's frames are masked with keys
that come from outside (`key`): an engine has no randomness. Long payloads are not
copied where they need no mask.

Sources: RFC 6455 §5 to §7, RFC 7692 §6. Not here: the handshake (``handshake.py``),
time (the keep-alive and the limits of waiting are the driver's, ``server.py``).
"""

from __future__ import annotations

from sennit.core.engine import CLOSED, NEED_DATA, Untimed
from sennit.web.errors import WebUsageError
from sennit.web.websocket.deflate import Deflater, Inflater
from sennit.web.websocket.errors import WebSocketClosedError, WebSocketProtocolError
from sennit.web.websocket.events import OPENED, PeerClosed, PeerFault
from sennit.web.websocket.grammar import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    MAX_CONTROL,
    PING,
    PONG,
    RSV1,
    TEXT,
    Broken,
    close_payload,
    header,
)
from sennit.web.websocket.limits import WebSocketLimits
from sennit.web.websocket.masking import mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from sennit.core.engine import NoEvent
    from sennit.core.interfaces import Buffer
    from sennit.web.websocket.deflate import Agreed
    from sennit.web.websocket.events import Event

__all__ = ["Conversation"]

LONG: Final = 4096
"""Octets of payload from which on it is sent beside its header, not copied behind it."""

NOT_TEXT: Final = "text that is no UTF-8, or not what a compressor makes"
NOT_OCTETS: Final = "octets that are not what a compressor makes"
TOO_BIG: Final = "a message that is too big"
"""What both engines say of a fault that shows sooner or later, as the octets are cut."""

OPEN, CLOSING, CLOSE_DONE, OVER = 0, 1, 2, 3
"""States: nothing said of closing; our Close frame sent; both sent; nothing more to read."""


class Conversation(Untimed):
    """One side of one WebSocket, without the reading of frames.

    Args:
        client: Which side: a client masks what it sends and must not be masked to.
        limits: What the peer can make too large.
        deflate: What was agreed on about compression, if anything.
        key: Gives four unforeseeable octets at each call; a client needs it.
        pieces: Whether messages are told piece by piece as they come.

    Attributes:
        close_code: How the WebSocket closed, as this side sees it: the peer's code;
            1005 when its Close frame had none, 1006 when there was none; of a peer that
            broke a rule, the code it was told. ``None`` before that.
        close_reason: What came with it.
        sent_code: The code of our own Close frame; ``None`` before it was sent.
    """

    def __init__(
        self,
        *,
        client: bool = False,
        limits: WebSocketLimits | None = None,
        deflate: Agreed | None = None,
        key: Callable[[], bytes] | None = None,
        pieces: bool = False,
    ) -> None:
        if client and key is None:
            raise WebUsageError("a client's engine needs octets for its masks")
        self.client = client
        self.limits = limits or WebSocketLimits()
        self.close_code: int | None = None
        self.close_reason = ""
        self.sent_code: int | None = None
        self._key = key if client else None
        self._pieces = pieces
        self._max_message = most = self.limits.message
        # Compressed octets of one message: those that compression cannot make smaller, and
        # what frames them, but no endless train of empty blocks.
        self._max_wire = most + (most >> 6) + 1024
        self._max_fragments = self.limits.fragments
        self._state = OPEN
        self._begun = False
        # Whether `next_event` has to look at the state first.
        self._unusual = True
        self._eof = False
        self._out: list[Buffer] = []
        self._quiet = False
        self._owed: bytes | None = None  # the payload of a pong that is to be sent later
        self._sending = -1  # opcode of the message that is being sent in fragments
        self._squeezing = False  # whether that one is compressed
        self._smallest = 0
        self._deflater: Deflater | None = None
        self._inflater: Inflater | None = None
        if deflate is not None:
            ours = (deflate.client_bits, deflate.client_takeover)
            theirs = (deflate.server_bits, deflate.server_takeover)
            if not client:
                ours, theirs = theirs, ours
            self._deflater = Deflater(*ours, deflate.wanted)
            self._inflater = Inflater(*theirs)
            self._smallest = deflate.wanted.smallest

    # ── what each engine does in its own way ──────────────────────────────────

    def receive_data(self, data: bytes) -> None:
        """Take octets from the peer, cut anywhere."""
        raise TypeError("frames are read by a subclass")  # pragma: no cover

    def _read(self) -> Event | NoEvent:
        """The next event out of what was received; `NEED_DATA` when there is none.

        Raises:
            Broken: The peer broke a rule.
        """
        raise TypeError("frames are read by a subclass")  # pragma: no cover

    def _forget(self) -> bytes:
        """Read no more; what was not read."""
        raise TypeError("frames are read by a subclass")  # pragma: no cover

    # ── reading ───────────────────────────────────────────────────────────────

    def receive_eof(self) -> None:
        """The peer sends no more."""
        self._eof = True

    def next_event(self) -> Event | NoEvent:
        """The next thing the peer said, or why there is nothing.

        The first one is `Opened`. Never raises on what the peer sent.
        """
        if self._unusual:
            event = self._look_around()
            if event is not None:
                return event
        try:
            event = self._read()
        except Broken as broken:
            return self._fail(broken)
        if event is NEED_DATA and (self._eof or self._state > CLOSING):
            return self._end()
        return event

    def _look_around(self) -> Event | NoEvent | None:
        """What comes of the state, if anything, before what was received."""
        if not self._begun:
            self._begun = True
            self._unusual = False
            return OPENED
        if self._state == OVER:
            return CLOSED
        if self._state == CLOSE_DONE:
            return self._end()
        self._unusual = False
        return None

    def _end(self) -> Event | NoEvent:
        """Nothing more will be read."""
        if self._state < CLOSE_DONE:
            # The connection ended without a Close frame (§7.1.5).
            self._state = OVER
            self._unusual = True
            self._note(1006, "")
            return PeerClosed(1006)
        self._forget()
        if self.client and not self._eof and self._state != OVER:
            return NEED_DATA
        self._state = OVER
        return CLOSED

    def _closed_by_peer(self, code: int, reason: str) -> PeerClosed:
        """The peer's Close frame has come: answer it, if ours has not left yet (§5.5.1)."""
        self._note(code, reason)
        if self._state == OPEN:
            self._say_close(close_payload(None if code == 1005 else code))
            self.sent_code = code
        self._state = CLOSE_DONE
        self._unusual = True
        self._forget()
        return PeerClosed(code, reason)

    def _fail(self, broken: Broken) -> PeerFault:
        """Fail the connection (§7.1.7)."""
        text = str(broken)
        self._note(broken.code, text)
        if self._state == OPEN:
            self._say_close(close_payload(broken.code, text))
            self.sent_code = broken.code
        self._state = OVER
        self._unusual = True
        self._forget()
        return PeerFault(WebSocketProtocolError(text, broken.rule, broken.code))

    def note_loss(self) -> None:
        """The connection has gone, without a Close frame of the peer if none has come."""
        self._note(1006, "")
        self._state = OVER
        self._unusual = self._begun = True

    def _note(self, code: int, reason: str) -> None:
        if self.close_code is None:
            self.close_code = code
            self.close_reason = reason

    def release(self) -> bytes:
        """End, and hand over what was received and not read."""
        self._state = OVER
        self._unusual = self._begun = True
        return self._forget()

    # ── writing ───────────────────────────────────────────────────────────────

    def data_to_send(self) -> list[Buffer]:
        """What to send now, in order; each piece is given once."""
        out = self._out
        if out:
            self._out = []
        return out

    @property
    def closing(self) -> bool:
        """Whether no message can be sent any more."""
        return self._state != OPEN

    @property
    def sending(self) -> bool:
        """Whether a message that is sent in fragments has not ended."""
        return self._sending >= 0

    def send_message(self, data: str | Buffer) -> None:
        """Queue a whole message, `str` as text and octets as binary.

        Raises:
            WebSocketClosedError: This side has said good-bye, or must not say more.
            WebUsageError: Another message is being sent in fragments.
            ValueError: The text has lone surrogates: it has no UTF-8.
        """
        if self._state or self._sending >= 0:
            self._refuse_message()
        if type(data) is str:
            payload: Buffer = data.encode()
            first = FIN | TEXT
        elif isinstance(data, (bytes, bytearray, memoryview)):
            payload = data
            first = FIN | BINARY
        else:
            payload, first = self._octets_of(data)
        if self._deflater is not None and len(payload) >= self._smallest:
            payload = self._deflater.compress(payload, final=True)
            first |= RSV1
        size = len(payload)
        key = self._key
        if key is not None:
            self._send_masked(first, payload)
        elif size < 126:
            self._out.append(bytes((first, size)) + payload)
        elif size < LONG:
            self._out.append(header(first, size) + payload)
        else:
            self._out += (header(first, size), payload)

    def send_fragment(self, data: str | Buffer, *, final: bool) -> None:
        """Queue a part of a message as a frame of its own.

        Args:
            data: `str` for a text message, octets for a binary one.
            final: Whether the message ends with it. (It may be empty.)

        Raises:
            WebSocketClosedError: This side has said good-bye, or must not say more.
            WebUsageError: The message was begun as one of the other kind.
            ValueError: The text has lone surrogates: it has no UTF-8.
        """
        if self._state:
            self._refuse_message()
        payload, first = self._octets_of(data)
        opcode = first & 15
        if self._sending < 0:
            first = opcode
            self._squeezing = self._deflater is not None
            if self._squeezing:
                first |= RSV1
            self._sending = opcode
        elif opcode != self._sending:
            raise WebUsageError("a message is all text or all octets")
        else:
            first = CONTINUATION
        if self._squeezing and self._deflater is not None:
            payload = self._deflater.compress(payload, final=final)
        if final:
            first |= FIN
            self._sending = -1
        self._send_frame(first, payload)

    def ping(self, payload: bytes = b"") -> None:
        """Queue a ping; the peer answers with a pong of the same payload.

        Raises:
            ValueError: The payload is too long for a control frame.
            WebSocketClosedError: The WebSocket has closed.
        """
        self._send_control(PING, payload)

    def pong(self, payload: bytes = b"") -> None:
        """Queue a pong that nobody asked for (§5.5.3: a one-sided sign of life).

        Raises:
            ValueError: The payload is too long for a control frame.
            WebSocketClosedError: The WebSocket has closed.
        """
        self._send_control(PONG, payload)

    @property
    def quiet(self) -> bool:
        """Whether pings wait for their answers: the peer does not take what is sent."""
        return self._quiet

    @quiet.setter
    def quiet(self, value: bool) -> None:
        self._quiet = value
        owed = self._owed
        if owed is not None and not value:
            self._owed = None
            if self._state < CLOSE_DONE:
                self._send_frame(FIN | PONG, owed)

    def _answer_ping(self, payload: bytes) -> None:
        if self._quiet:
            self._owed = payload
        else:
            self._send_frame(FIN | PONG, payload)

    def close(self, code: int | None = 1001, reason: str = "") -> None:
        """Say good-bye, once; `CLOSED` when the peer has said it too.

        Args:
            code: Why (§7.4.1); ``None`` for a Close frame without a word.
            reason: For people; at most 123 octets in UTF-8.

        Raises:
            ValueError: No such code may be sent, or the reason is too long.
        """
        payload = close_payload(code, reason)
        if self._state == OPEN:
            self._say_close(payload)
            self.sent_code = 1005 if code is None else code
            self._state = CLOSING

    def internal_error(self, exchange: int) -> None:
        """This side has failed (§7.4.1)."""
        self.close(1011)

    def _refuse_message(self) -> None:
        if self._state:
            code = self.close_code
            raise WebSocketClosedError(1006 if code is None else code, self.close_reason)
        raise WebUsageError("a message is being sent in fragments: end it first")

    def _octets_of(self, data: str | Buffer) -> tuple[Buffer, int]:
        if isinstance(data, str):
            return data.encode(), FIN | TEXT
        given: object = data
        if isinstance(given, (bytes, bytearray, memoryview)):  # pyright: ignore[reportUnnecessaryIsInstance]
            return data, FIN | BINARY
        raise TypeError(f"a message is str or octets, not {type(given).__name__}")

    def _send_control(self, opcode: int, payload: bytes) -> None:
        if len(payload) > MAX_CONTROL:
            raise ValueError(f"a control frame carries at most {MAX_CONTROL} octets")
        if self._state >= CLOSE_DONE:
            self._refuse_message()
        self._send_frame(FIN | opcode, payload)

    def _say_close(self, payload: bytes) -> None:
        self._send_frame(FIN | CLOSE, payload)

    def _send_frame(self, first: int, payload: Buffer) -> None:
        if self._key is not None:
            self._send_masked(first, payload)
        elif len(payload) < LONG:
            self._out.append(header(first, len(payload)) + payload)
        else:
            self._out += (header(first, len(payload)), payload)

    def _send_masked(self, first: int, payload: Buffer) -> None:
        assert self._key is not None
        key = self._key()
        octets = payload if type(payload) is bytes else bytes(payload)
        self._out.append(header(first, len(octets), 0x80) + key + mask(octets, key))
