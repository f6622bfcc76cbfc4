"""All that a WebSocket's peer can make too large or too long, in one place."""

from __future__ import annotations

__all__ = ["WebSocketLimits", "WebSocketTimeouts"]


class WebSocketLimits:
    """What is taken from one peer.

    Attributes:
        message: Octets of one message, decompressed. With ``pieces`` it bounds the whole
            message all the same: raise it where long ones are read by pieces.
        fragments: Frames that one message may come in.
        waiting: Octets of messages that wait to be read, above which reading from the
            peer pauses.
    """

    __slots__ = ("fragments", "message", "waiting")

    def __init__(
        self, *, message: int = 1024 * 1024, fragments: int = 1024, waiting: int = 64 * 1024
    ) -> None:
        self.message = message
        self.fragments = fragments
        self.waiting = waiting


class WebSocketTimeouts:
    """How long a peer may take; seconds, ``None`` for as long as it likes.

    Attributes:
        ping_interval: Between two pings of ours that keep the connection alive.
        ping_timeout: For any sign of life after such a ping.
        close: For the peer's Close frame and the end of the connection after ours.
        write: Without progress of what is sent.
    """

    __slots__ = ("close", "ping_interval", "ping_timeout", "write")

    def __init__(
        self,
        *,
        ping_interval: float | None = 20.0,
        ping_timeout: float | None = 20.0,
        close: float = 10.0,
        write: float | None = 60.0,
    ) -> None:
        self.ping_interval = ping_interval
        self.ping_timeout = ping_timeout
        self.close = close
        self.write = write
