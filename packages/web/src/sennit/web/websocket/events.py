"""What a WebSocket engine tells: messages or pieces of them, pongs, the peer's good-bye.

Pings are answered by the engine and are not told. Messages come by the tens of
thousands a second, so these are plain slotted classes.
"""

from __future__ import annotations

from sennit.core.engine import SOLE, Belongs, Ends, PeerFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = [
    "OPENED",
    "Event",
    "MessageReceived",
    "Opened",
    "PeerClosed",
    "PeerFault",
    "PieceReceived",
    "PongReceived",
]


class Opened:
    """The WebSocket is open: the first event, always. It begins the one exchange."""

    __slots__ = ()
    exchange: int = SOLE

    def __repr__(self) -> str:
        return "Opened()"

    def __eq__(self, other: object) -> bool:
        return type(other) is Opened

    def __hash__(self) -> int:
        return hash(Opened)


OPENED: Final = Opened()


class MessageReceived(Belongs):
    """A whole message.

    Attributes:
        data: `str` for a text message, `bytes` for a binary one.
    """

    __slots__ = ("data",)
    exchange: int = SOLE

    def __init__(self, data: str | bytes) -> None:
        self.data = data

    def __repr__(self) -> str:
        return f"MessageReceived({type(self.data).__name__} of {len(self.data)})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not MessageReceived:
            return NotImplemented
        return type(self.data) is type(other.data) and self.data == other.data

    __hash__ = None  # type: ignore[assignment]  # compared, never kept in sets


class PieceReceived(Belongs):
    """Some of a message, where messages are read by pieces.

    Attributes:
        data: `str` for a text message, `bytes` for a binary one; may be empty.
        ended: Whether the message ends with it.
    """

    __slots__ = ("data", "ended")
    exchange: int = SOLE

    def __init__(self, data: str | bytes, ended: bool) -> None:
        self.data = data
        self.ended = ended

    def __repr__(self) -> str:
        return f"PieceReceived({type(self.data).__name__} of {len(self.data)}, {self.ended})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not PieceReceived:
            return NotImplemented
        return (
            type(self.data) is type(other.data)
            and self.data == other.data
            and self.ended == other.ended
        )

    __hash__ = None  # type: ignore[assignment]  # compared, never kept in sets


class PongReceived(Belongs):
    """A pong came, asked for or not.

    Attributes:
        payload: What it carries: that of the ping it answers (RFC 6455 §5.5.3).
    """

    __slots__ = ("payload",)
    exchange: int = SOLE

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def __repr__(self) -> str:
        return f"PongReceived({self.payload!r})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not PongReceived:
            return NotImplemented
        return self.payload == other.payload

    __hash__ = None  # type: ignore[assignment]  # compared, never kept in sets


class PeerClosed(Ends):
    """The peer has said good-bye, or has gone without a word. Nothing follows.

    Attributes:
        code: Its status code; 1005 when it gave none, 1006 when there was no Close frame.
        reason: What it said.
    """

    __slots__ = ("code", "reason")
    exchange: int = SOLE

    def __init__(self, code: int, reason: str = "") -> None:
        self.code = code
        self.reason = reason

    def __repr__(self) -> str:
        return f"PeerClosed({self.code}, {self.reason!r})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not PeerClosed:
            return NotImplemented
        return self.code == other.code and self.reason == other.reason

    __hash__ = None  # type: ignore[assignment]  # compared, never kept in sets


Event = Opened | MessageReceived | PieceReceived | PongReceived | PeerClosed | PeerFault
"""Every event a WebSocket engine emits."""
