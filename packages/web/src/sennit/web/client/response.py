"""A response as a program sees it: its head at once, its content as it is asked for.

`ClientResponse` stands on the pool's `IncomingResponse`; what it adds is meaning:
content codings taken off within bounds, text by its charset, JSON, links, cookies,
the redirects that led here, and saving to a file.

Content is read once: whole by `read`, which `Client.request` has done already, or
piece by piece. Whoever leaves it unread closes the response, which ``async with`` does.

Sources: RFC 9110 §8 (content), RFC 8288 (links). HARDENING h1-24.
"""

from __future__ import annotations

import asyncio
import json as _json
from typing import TYPE_CHECKING, Any, Final

from sennit.core.errors import ConnectionLost
from sennit.web.client.headers import Headers
from sennit.web.client.progress import Meter, metered
from sennit.web.client.setcookie import parse_set_cookie
from sennit.web.client.text import TextDecoder, charset_of, decode_text, parse_links
from sennit.web.decoding import ContentDecoder, DecodedTooLargeError, codings_of, decoded
from sennit.web.errors import BodyTooLargeError, WebError, WebUsageError

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType
    from typing import Self

    from sennit.web.client.messages import IncomingResponse, OutgoingRequest
    from sennit.web.client.progress import OnProgress
    from sennit.web.client.text import Link
    from sennit.web.client.urls import URL

__all__ = ["MAX_CONTENT", "ClientResponse", "StatusError"]

MAX_CONTENT: Final = 100 * 1024 * 1024
"""Octets of content that are read whole, decoded; what is larger is read piece by piece."""
MAX_LINE: Final = 1024 * 1024
"""Characters of one line."""
PATIENCE: Final = 1.0
"""Seconds that content is waited for which nobody wants, to keep the connection."""
_MAX_CODINGS: Final = 2


class StatusError(WebError):
    """A response is not what was asked for: 400 to 599, or for a download all but 2xx.

    Attributes:
        response: It.
        status: Its status.
    """

    def __init__(self, response: ClientResponse) -> None:
        what = "the server failed"
        if response.status < 500:
            what = "the request failed" if response.status >= 400 else "nothing of that came"
        text = f"{response.status} {response.reason}".rstrip()
        super().__init__(f"{text}: {what}: {response.method} {response.url}")
        self.response = response
        self.status = response.status


class ClientResponse:
    """One response.

    Attributes:
        incoming: What the pool gave: version, transport, content in octets.
        status: Three digits.
        headers: Its fields, by name.
        history: The responses that led here, redirects first to last.
        elapsed: Seconds from the call to the head; once the content was read, to its end.
    """

    __slots__ = (
        "_clock",
        "_content",
        "_decode",
        "_max_content",
        "_ratio",
        "_started",
        "_taken",
        "elapsed",
        "headers",
        "history",
        "incoming",
        "status",
    )

    def __init__(
        self,
        incoming: IncomingResponse,
        *,
        started: float,
        clock: Callable[[], float],
        history: tuple[ClientResponse, ...] = (),
        decode: bool = True,
        max_content: int | None = MAX_CONTENT,
        ratio: int | None = 100,
    ) -> None:
        self.incoming = incoming
        self.status = incoming.status
        self.headers = Headers(incoming.headers)
        self.history = history
        self._started = started
        self._clock = clock
        self._decode = decode
        self._max_content = max_content
        self._ratio = ratio
        self._content: bytes | None = None
        self._taken = False
        self.elapsed = clock() - started

    def __repr__(self) -> str:
        return f"<ClientResponse {self.status} {self.method} {self.url!s:.200}>"

    # ── the head ──────────────────────────────────────────────────────────────

    @property
    def request(self) -> OutgoingRequest:
        """The request that it answers, the last one where there were redirects."""
        return self.incoming.request

    @property
    def method(self) -> str:
        """The method of that request."""
        return self.incoming.request.method

    @property
    def url(self) -> URL:
        """The address of that request."""
        return self.incoming.request.url

    @property
    def reason(self) -> str:
        """The phrase beside the status; empty in HTTP/2, which has none."""
        return self.incoming.reason.decode("latin-1")

    @property
    def version(self) -> str:
        """``1.0``, ``1.1`` or ``2``."""
        return self.incoming.version.decode("ascii")

    @property
    def ok(self) -> bool:
        """Whether the status says so: below 400."""
        return self.status < 400

    def raise_for_status(self) -> Self:
        """Nothing, where the request succeeded.

        Raises:
            StatusError: The status is from 400 to 599.
        """
        if self.status >= 400:
            raise StatusError(self)
        return self

    @property
    def cookies(self) -> dict[str, str]:
        """Names and values of the cookies that this response sets, whether they are kept or not."""
        found: dict[str, str] = {}
        for value in self.headers.values_of(b"set-cookie"):
            parsed = parse_set_cookie(value)
            if parsed is not None:
                name = parsed.name.decode("utf-8", "replace")
                found[name] = parsed.value.decode("utf-8", "replace")
        return found

    @property
    def links(self) -> dict[str, Link]:
        """The links of its Link fields by relation (RFC 8288): ``response.links["next"].url``."""
        found: dict[str, Link] = {}
        for link in parse_links(self.headers.get("link", ""), self.url):
            for rel in link.rel:
                found.setdefault(rel, link)
        return found

    @property
    def charset(self) -> str | None:
        """The charset that Content-Type names, where it is one that can be decoded."""
        return charset_of(self.headers.get("content-type", ""))

    @property
    def trailers(self) -> Headers:
        """Fields behind the content, once that has been read."""
        return Headers(self.incoming.trailers)

    @property
    def length(self) -> int | None:
        """Octets of content as they come on the wire, where that is known."""
        return self.incoming.length

    # ── content, whole ────────────────────────────────────────────────────────

    async def read(self, limit: int | None = None) -> bytes:
        """All of the content; again and again the same.

        Args:
            limit: Octets at most, instead of the client's ``max_content``.

        Raises:
            BodyTooLargeError: There are more; nothing of it can be had any more.
            WebProtocolError: It is not what its head says.
            ConnectionLost: The connection ended first.
        """
        if self._content is None:
            limit = self._max_content if limit is None else limit
            coded = self._decode and self.headers.values_of(b"content-encoding")
            if coded:
                pieces = [piece async for piece in self._pieces(limit)]
                self._content = b"".join(pieces)
            else:
                self._begin()
                self._content = await self.incoming.read(limit)
                self.elapsed = self._clock() - self._started
                self.request.body = None
        return self._content

    @property
    def content(self) -> bytes:
        """All of the content, which has been read.

        Raises:
            WebUsageError: It has not: ``await response.read()`` first.
        """
        if self._content is None:
            raise WebUsageError("the content has not been read: await response.read() first")
        return self._content

    @property
    def text(self) -> str:
        """The content as text: by its byte order mark, its header, or as UTF-8."""
        return decode_text(self.content, self.charset)

    def json(self) -> Any:
        """The content as JSON (RFC 8259: UTF-8, whatever the header says).

        Raises:
            ValueError: It is none.
        """
        return _json.loads(self.content)

    # ── content, piece by piece ───────────────────────────────────────────────

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The content piece by piece, content codings taken off."""
        return self._pieces(None)

    async def iter_raw(self) -> AsyncIterator[bytes]:
        """The content as it comes on the wire, codings and all."""
        self._begin()
        try:
            async for piece in self.incoming.body:
                yield piece
            self.elapsed = self._clock() - self._started
        finally:
            await self.aclose()

    async def _pieces(self, limit: int | None) -> AsyncIterator[bytes]:
        if self._content is not None:
            if self._content:
                yield self._content
            return
        codings = (
            codings_of(self.headers.values_of(b"content-encoding"))
            if self._decode and self.method != "HEAD"
            else []
        )
        decoder = ContentDecoder(codings, limit=limit, ratio=self._ratio, max_codings=_MAX_CODINGS)
        try:
            async for piece in decoded(self.iter_raw(), decoder):
                yield piece
        except DecodedTooLargeError as error:
            if error.limit is None:
                raise
            raise BodyTooLargeError(error.limit) from error
        finally:
            # However it ends: a connection with half a body on it is of no use.
            await self.aclose()

    async def iter_text(self) -> AsyncIterator[str]:
        """The content as text, piece by piece."""
        decoder = TextDecoder(self.charset)
        async for piece in self:
            text = decoder.decode(piece)
            if text:
                yield text
        text = decoder.decode(b"", final=True)
        if text:
            yield text

    async def iter_lines(self, max_line: int = MAX_LINE) -> AsyncIterator[str]:
        """The content line by line, without their ends (LF or CRLF).

        Args:
            max_line: Characters of one line.

        Raises:
            BodyTooLargeError: A line is longer.
        """
        parts: list[str] = []
        size = 0
        async for text in self.iter_text():
            lines = text.split("\n")
            for at, line in enumerate(lines):
                size += len(line)
                if size > max_line:
                    await self.aclose()
                    raise BodyTooLargeError(max_line)
                parts.append(line)
                if at + 1 < len(lines):
                    yield "".join(parts).removesuffix("\r")
                    parts, size = [], 0
        rest = "".join(parts)
        if rest:
            yield rest

    async def save(
        self, path: str | os.PathLike[str], *, progress: OnProgress | None = None
    ) -> int:
        """Write the content to a file, which appears whole or not at all.

        Args:
            path: Where to; what stands there is replaced.
            progress: Called with a `Progress` now and then.

        Returns:
            The number of octets.

        Raises:
            OSError: The file cannot be written.
        """
        from sennit.web.client.saving import save_atomically

        return await save_atomically(path, self.observed(progress))

    def observed(self, progress: OnProgress | None, offset: int = 0) -> AsyncIterator[bytes]:
        """The content piece by piece, `progress` being told of it."""
        pieces = self.__aiter__()
        if progress is None:
            return pieces
        total = self.length
        if total is not None:
            # What comes is longer than what was sent, nobody knows how much.
            coded = self._decode and "content-encoding" in self.headers
            total = None if coded else total + offset
        return metered(pieces, Meter(progress, total, self._clock, offset))

    def _begin(self) -> None:
        if self._taken:
            raise WebUsageError("the content has been taken already")
        self._taken = True

    async def aclose(self) -> None:
        """Give the connection back; what was not read is gone. Harmless later."""
        # What was sent was sent: a response that is kept must not keep a file open.
        self.request.body = None
        await self.incoming.aclose()

    async def discard(self, most: int = 64 * 1024) -> None:
        """Be done with the content: read what is left of it if that is little, else drop it.

        Whatever becomes of it, it fails nobody: what it belonged to was understood already.
        """
        length = self.incoming.length
        if self._taken or (length is not None and length > most):
            await self.aclose()
            return
        self._taken = True
        self.request.body = None
        try:
            if self.incoming.inbox.ended:
                await self.incoming.read(most)
            else:
                async with asyncio.timeout(PATIENCE):
                    await self.incoming.read(most)
        except (WebError, ConnectionLost, TimeoutError):
            await self.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
