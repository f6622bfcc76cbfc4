"""What goes into the pool and what comes out: a request, and the response to it.

Both are of no version: connections of HTTP/1.1 and HTTP/2 take the one and make the
other. A connection puts content into an `Inbox` as it comes; whoever holds the
`IncomingResponse` takes it out, and the connection is told when there is room
again, so that a slow reader slows the server down and nothing else.

Deliberately elsewhere: everything that a response may *mean*: redirects, cookies,
codings, errors by status (``api.py``).
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Any

from sennit.core.deferred import Deferred
from sennit.core.engine import FilePart
from sennit.core.errors import ConnectionLost
from sennit.web.client.urls import URL
from sennit.web.errors import BodyTooLargeError, WebUsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
    from typing import Final, Protocol

    from sennit.core.interfaces import Buffer, IStreamProtocol, IStreamTransport
    from sennit.core.stream import Stream
    from sennit.web.client.limits import ClientTimeouts

    Field = tuple[bytes, bytes]
    Content = bytes | FilePart | AsyncIterable[Buffer | FilePart] | None
    Informed = Callable[[int, list[Field]], object]

    class Source(Protocol):
        """Where an inbox is filled from: one exchange of a connection."""

        def taken(self, octets: int) -> None:
            """The reader has taken so much: there is room for it again."""

        def abandon(self) -> None:
            """Nobody wants the rest."""

        def take_over(self, protocol: IStreamProtocol) -> IStreamTransport:
            """Give the connection to `protocol`, after 101 or 2xx to CONNECT."""
            ...


__all__ = ["IDEMPOTENT", "Inbox", "IncomingResponse", "OutgoingRequest"]

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
"""Methods that may be repeated by themselves (RFC 9110 §9.2.2)."""

_NO_LIMIT: Final = 1 << 62
_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}").fullmatch


class OutgoingRequest:
    """One request.

    Args:
        method: As it is sent; methods are case-sensitive.
        url: What is asked for. For CONNECT its host and port are.
        headers: (name, value) octet pairs in order. Host, and what frames the content,
            is added by itself.
        body: Octets; a part of a file, sent by ``sendfile`` where that goes; or an
            asynchronous iterable of such, asked for more as the server takes them.
        length: Octets of an iterable where they are known; else it is sent in chunks.
        timeouts: Instead of the pool's.
        on_informational: Called with status and headers of each interim response.
        upgrade: Whether 101 may be the answer; ``headers`` then carry Connection and Upgrade.
        expect_continue: Whether to wait for 100 before content is sent; ``None`` for
            where it pays: iterables and large content.
        repeatable: Whether it may be sent again when the connection failed before any
            answer; ``None`` for what method and body say.
        trailers: Fields to send after content in chunks, asked for when it has ended.
        extensions: What else a connection of some version may be told (``protocol`` of
            an extended CONNECT, ``priority``); unknown names are ignored.

    Attributes:
        deadline: When all of it must have ended, in the reactor's time: set by the
            pool where the time-outs say ``total``, since waiting counts too.
        expects: Whether it was sent with an expectation: set by the connection, which
            has not touched the content then before it was told to.

    Raises:
        ValueError: The method is none.
    """

    __slots__ = (
        "body",
        "deadline",
        "expect_continue",
        "expects",
        "extensions",
        "headers",
        "length",
        "method",
        "on_informational",
        "repeatable",
        "timeouts",
        "trailers",
        "upgrade",
        "url",
    )

    def __init__(
        self,
        method: str,
        url: URL | str,
        headers: Sequence[Field] = (),
        body: Content = None,
        *,
        length: int | None = None,
        timeouts: ClientTimeouts | None = None,
        on_informational: Informed | None = None,
        upgrade: bool = False,
        expect_continue: bool | None = None,
        repeatable: bool | None = None,
        trailers: Callable[[], Sequence[Field]] | None = None,
        extensions: dict[str, Any] | None = None,
    ) -> None:
        if _METHOD(method) is None:
            raise WebUsageError(f"a method cannot be {method!r:.100}")
        self.method = method
        self.url = URL.of(url)
        self.headers = headers
        self.body = body
        self.length = length
        self.timeouts = timeouts
        self.on_informational = on_informational
        self.upgrade = upgrade
        self.expect_continue = expect_continue
        self.repeatable = repeatable
        self.trailers = trailers
        self.extensions = extensions
        self.deadline: float | None = None
        self.expects = False

    def __repr__(self) -> str:
        return f"<OutgoingRequest {self.method} {self.url!s:.200}>"

    @property
    def streamed(self) -> bool:
        """Whether the content comes piece by piece, and can be had only once."""
        body = self.body
        return body is not None and not isinstance(body, (bytes, FilePart))

    @property
    def may_repeat(self) -> bool:
        """Whether it may be sent again when no octet of an answer has come."""
        body = self.body
        if self.streamed or self.upgrade or (isinstance(body, FilePart) and body.close_file):
            return False
        if self.repeatable is not None:
            return self.repeatable
        return self.method in IDEMPOTENT


class Inbox:
    """Content of one response between the connection, which fills it, and its reader.

    The connection calls `feed`, then `finish` or `fail` once; it looks at `size` and
    stops reading where that is too much, until `Source.taken` says that there is room.

    Attributes:
        size: Octets that wait and that `Source.taken` was not told of.
        ended: Whether nothing more will come: content whole, or an error.
        error: What ended it, if not its end.
        trailers: List of (lower-case name, value) octet pairs, once it has ended.
        source: Who fills it; ``None`` once it has ended.
    """

    __slots__ = (
        "_collected",
        "_most",
        "_pieces",
        "_waiter",
        "ended",
        "error",
        "size",
        "source",
        "trailers",
    )

    def __init__(self, source: Source) -> None:
        self.source: Source | None = source
        self._pieces: deque[bytes] = deque()
        self._waiter: Deferred[None] | None = None
        self.size = 0
        self._collected = 0
        """Octets that wait for a reader of the whole, who has taken them already."""
        self._most = -1
        """How many that may be; -1 where the reader takes piece by piece."""
        self.ended = False
        self.error: BaseException | None = None
        self.trailers: list[Field] = []

    # ── the connection's side ─────────────────────────────────────────────────

    def feed(self, data: bytes) -> None:
        """Octets have come; never empty."""
        self._pieces.append(data)
        if self._most >= 0:
            # To wake the reader for each piece would cost more than the piece.
            self._collected += len(data)
            if self._collected > self._most:
                self._wake()
            elif self.source is not None:
                self.source.taken(len(data))
        else:
            self.size += len(data)
            if self._waiter is not None:
                self._wake()

    def finish(self, trailers: list[Field]) -> None:
        """The content has come whole."""
        self.ended = True
        self.trailers = trailers
        self.source = None
        if self._waiter is not None:
            self._wake()

    def fail(self, error: BaseException) -> None:
        """Nothing more will come, and that is not the content's end."""
        if not self.ended:
            self.ended = True
            self.error = error
            self.source = None
            if self._waiter is not None:
                self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.called:
            waiter.callback(None)

    # ── the reader's side ─────────────────────────────────────────────────────

    async def next_piece(self) -> bytes:
        """The next octets; empty at the end.

        Raises:
            BaseException: What ended the content before its end.
        """
        pieces = self._pieces
        while not pieces:
            if self.ended:
                if self.error is not None:
                    raise self.error
                return b""
            await self._wait()
        data = pieces.popleft()
        self.size -= len(data)
        if self.source is not None:
            self.source.taken(len(data))
        return data

    async def _wait(self) -> None:
        if self._waiter is not None:
            raise WebUsageError("somebody reads this content already")
        waiter: Deferred[None] = Deferred()
        self._waiter = waiter
        try:
            await waiter
        finally:
            self._waiter = None

    async def read_whole(self, most: int) -> bytes:
        """All that waits and is to come.

        Raises:
            BodyTooLargeError: That is more than `most`.
            BaseException: What ended the content before its end.
        """
        if self._waiter is not None:
            raise WebUsageError("somebody reads this content already")
        self._collected, self.size = self.size, 0
        if not self.ended:
            self._most = most
            if self._collected and self.source is not None:
                self.source.taken(self._collected)
        while not self.ended and self._collected <= most:
            await self._wait()
        if self._collected > most:
            raise BodyTooLargeError(most)
        if self.error is not None:
            raise self.error
        self._collected = 0
        return self._join()

    def take_all(self) -> bytes:
        """All that waits."""
        size, self.size = self.size, 0
        if size and self.source is not None:
            self.source.taken(size)
        return self._join()

    def _join(self) -> bytes:
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return data


class IncomingResponse:
    """The head of a response, and the way to its content.

    Read `body` to its end, or call `aclose`: until then its connection is not free.

    Attributes:
        request: What it answers.
        status: Three digits.
        reason: The phrase beside it; empty in HTTP/2.
        version: ``b"1.0"``, ``b"1.1"`` or ``b"2"``.
        headers: List of (lower-case name, value) octet pairs, wire order.
        length: Octets of content where that is known, else ``None``.
        inbox: Where its content arrives.
        transport: Of its connection, for those who ask who is at the other end.
    """

    __slots__ = (
        "headers",
        "inbox",
        "length",
        "reason",
        "request",
        "status",
        "transport",
        "version",
    )

    def __init__(
        self,
        request: OutgoingRequest,
        status: int,
        reason: bytes,
        version: bytes,
        headers: list[Field],
        length: int | None,
        inbox: Inbox,
        transport: IStreamTransport,
    ) -> None:
        self.request = request
        self.status = status
        self.reason = reason
        self.version = version
        self.headers = headers
        self.length = length
        self.inbox = inbox
        self.transport = transport

    def __repr__(self) -> str:
        return f"<IncomingResponse {self.status} {self.request.url!s:.200}>"

    def __del__(self) -> None:
        source = self.inbox.source
        if source is not None:
            # Whoever forgot it would else hold a connection for ever.
            source.abandon()

    def header(self, name: bytes) -> bytes | None:
        """The first value of a field, its name in lower case; ``None`` where there is none."""
        for each, value in self.headers:
            if each == name:
                return value
        return None

    @property
    def trailers(self) -> list[Field]:
        """Fields after the content, once that has ended."""
        return self.inbox.trailers

    @property
    def body(self) -> AsyncIterator[bytes]:
        """The content, piece by piece as it comes."""
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[bytes]:
        inbox = self.inbox
        while data := await inbox.next_piece():
            yield data

    async def read(self, limit: int | None = None) -> bytes:
        """The rest of the content, whole.

        Args:
            limit: Octets; ``None`` for all there are.

        Raises:
            BodyTooLargeError: There are more; the connection is given up then.
        """
        try:
            return await self.inbox.read_whole(_NO_LIMIT if limit is None else limit)
        except BaseException:
            # What was taken is lost with this call, so nobody can want the rest.
            self.drop()
            raise

    async def aclose(self) -> None:
        """Give the connection back, or drop it where content is still to come."""
        self.drop()

    def drop(self) -> None:
        """The same, at once."""
        source = self.inbox.source
        if source is not None:
            source.abandon()
            self.inbox.fail(ConnectionLost("the response was closed", "aborted"))

    def take_over(self, protocol: IStreamProtocol) -> IStreamTransport:
        """Give the connection to `protocol` after 101, or 2xx to CONNECT.

        Its `connection_made` is called, then `data_received` with what came already.

        Raises:
            WebUsageError: The response is none of those.
        """
        source = self.inbox.source
        if source is None:
            raise WebUsageError(f"no connection to take over after {self.status}")
        return source.take_over(protocol)

    def stream(self) -> Stream:
        """The connection as a `Stream`, after 101 or 2xx to CONNECT."""
        from sennit.core.stream import StreamProtocol

        protocol = StreamProtocol()
        self.take_over(protocol)
        return protocol.stream
