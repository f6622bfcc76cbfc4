"""How much a client takes of servers, opens at once, and waits for, in one place each."""

from __future__ import annotations

from sennit.web.errors import WebUsageError

__all__ = ["ClientTimeouts", "PoolLimits", "ResponseLimits"]


class ResponseLimits:
    """What the client takes from one server; sizes in octets.

    Attributes:
        target: A status line. (By the name that the gate of requests has for its first line.)
        head: All field lines of a head, and of a trailer section.
        fields: Field lines of either.
        informational: Interim responses (1xx) to one request.
        chunk_line: One chunk-size line.
        chunk_extension: One chunk's extensions.
        chunk_extensions: All extensions of one message.
        body: One response's content as it comes on the wire; whoever reads it whole
            has a limit of his own.
        buffer: Content that waits for its reader, before the server is slowed down.
    """

    __slots__ = (
        "body",
        "buffer",
        "chunk_extension",
        "chunk_extensions",
        "chunk_line",
        "fields",
        "head",
        "informational",
        "target",
    )

    def __init__(
        self,
        *,
        target: int = 8 * 1024,
        head: int = 64 * 1024,
        fields: int = 100,
        informational: int = 16,
        chunk_line: int = 1024,
        chunk_extension: int = 256,
        chunk_extensions: int = 16 * 1024,
        body: int = 10**18,
        buffer: int = 256 * 1024,
    ) -> None:
        self.target = target
        self.head = head
        self.fields = fields
        self.informational = informational
        self.chunk_line = chunk_line
        self.chunk_extension = chunk_extension
        self.chunk_extensions = chunk_extensions
        self.body = body
        self.buffer = buffer


class PoolLimits:
    """How many connections there are at once. A host is scheme, name, port and proxy.

    Attributes:
        total: Connections in all.
        per_host: Connections to one host.
        idle: Connections kept without work, in all.
        idle_per_host: Likewise to one host.
        idle_time: Seconds one is kept without work.
        age: Seconds after which one takes no new work; ``None`` for no such limit.
        waiting: Requests that wait for a connection; one more fails at once.
        streams: Requests side by side on one HTTP/2 connection, where its server allows more.
    """

    __slots__ = (
        "age",
        "idle",
        "idle_per_host",
        "idle_time",
        "per_host",
        "streams",
        "total",
        "waiting",
    )

    def __init__(
        self,
        *,
        total: int = 100,
        per_host: int = 100,
        idle: int = 50,
        idle_per_host: int = 20,
        idle_time: float = 60.0,
        age: float | None = None,
        waiting: int = 10_000,
        streams: int = 100,
    ) -> None:
        for name, number, least in (
            ("total", total, 1),
            ("per_host", per_host, 1),
            ("idle", idle, 0),
            ("idle_per_host", idle_per_host, 0),
            ("waiting", waiting, 0),
            ("streams", streams, 1),
        ):
            if number < least:
                raise WebUsageError(f"{name} is {least} at least, not {number}")
        self.total = total
        self.per_host = per_host
        self.idle = idle
        self.idle_per_host = idle_per_host
        self.idle_time = idle_time
        self.age = age
        self.waiting = waiting
        self.streams = streams


class ClientTimeouts:
    """How long a request waits, in seconds; ``None`` for as long as it takes.

    Attributes:
        connect: For a connection to stand, proxies and TLS included.
        read: For the next octets of an answer; a reader that pauses is not counted.
        write: For the server to take octets of the request.
        pool: For a connection to be free.
        total: For all of it, from the call to the last octet of the answer.
        expect: For an answer to ``Expect: 100-continue``; then the content is sent anyway
            (RFC 9110 §10.1.1).
    """

    __slots__ = ("connect", "expect", "pool", "read", "total", "write")

    def __init__(
        self,
        *,
        connect: float | None = 10.0,
        read: float | None = 60.0,
        write: float | None = 60.0,
        pool: float | None = 60.0,
        total: float | None = None,
        expect: float = 1.0,
    ) -> None:
        for name, seconds in (
            ("connect", connect),
            ("read", read),
            ("write", write),
            ("pool", pool),
            ("total", total),
            ("expect", expect),
        ):
            if seconds is not None and not seconds > 0:
                raise WebUsageError(f"{name} is a number of seconds above 0, not {seconds!r}")
        self.connect = connect
        self.read = read
        self.write = write
        self.pool = pool
        self.total = total
        self.expect = expect
