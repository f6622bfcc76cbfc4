"""All that a peer can make too large, too many or too slow in HTTP/2, in one place."""

from __future__ import annotations

__all__ = ["HTTP2Limits"]


class HTTP2Limits:
    """What is taken from one peer; sizes in octets, times in seconds.

    Attributes:
        streams: Requests open at a time.
        stream_window: Content of one message that may come before it is read.
        window: Likewise of all of one connection.
        block: One header block as it is on the wire (HEADERS and CONTINUATION).
        continuations: CONTINUATION frames of one header block.
        controls: Answers to control frames that may wait to be sent.
        resets: Streams given up at once (CVE-2023-44487), whoever had to reset them.
        reset_rate: How many more a second.
        useless: Frames at once that bring nothing: empty or tiny ones, pings, settings,
            priorities, unknown types, windows that hardly open (CVE-2019-9511 and its kin).
        useless_rate: How many more a second.
        buffer: Content of one answer that waits for its window before its writer does.
        preface: For the peer's preface, settings included.
        head: For a whole header block, or the rest of a frame.
        write: Without progress of what is to be sent.
        idle: Without a request.
        body_grace: Before content has to come at `body_rate`.
        body_rate: Octets of content a second, on average; 0 for no such limit.
        drain: For the peer to learn that no more requests are wanted.
    """

    __slots__ = (
        "block",
        "body_grace",
        "body_rate",
        "buffer",
        "continuations",
        "controls",
        "drain",
        "head",
        "idle",
        "preface",
        "reset_rate",
        "resets",
        "stream_window",
        "streams",
        "useless",
        "useless_rate",
        "window",
        "write",
    )

    def __init__(
        self,
        *,
        streams: int = 100,
        stream_window: int = 256 * 1024,
        window: int = 1024 * 1024,
        block: int = 32 * 1024,
        continuations: int = 8,
        controls: int = 100,
        resets: int = 200,
        reset_rate: float = 33.0,
        useless: int = 1000,
        useless_rate: float = 100.0,
        buffer: int = 64 * 1024,
        preface: float = 10.0,
        head: float = 20.0,
        write: float = 60.0,
        idle: float = 60.0,
        body_grace: float = 5.0,
        body_rate: float = 240.0,
        drain: float = 1.0,
    ) -> None:
        if not 65_535 <= stream_window < 1 << 31 or not 65_535 <= window < 1 << 31:
            raise ValueError("windows have 65 535 octets at least (RFC 9113 §6.9.2)")
        self.streams = streams
        self.stream_window = stream_window
        self.window = window
        self.block = block
        self.continuations = continuations
        self.controls = controls
        self.resets = resets
        self.reset_rate = reset_rate
        self.useless = useless
        self.useless_rate = useless_rate
        self.buffer = buffer
        self.preface = preface
        self.head = head
        self.write = write
        self.idle = idle
        self.body_grace = body_grace
        self.body_rate = body_rate
        self.drain = drain
