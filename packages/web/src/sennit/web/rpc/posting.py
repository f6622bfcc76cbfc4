"""Calls by messages to a URL: what both protocols' clients over HTTP have in common.

Not here: the pool of connections (``sennit.web.client.pool``); what a message says
(``jsonrpc.py``, ``xmlrpc.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sennit.web.client.messages import OutgoingRequest
from sennit.web.client.pool import Pool
from sennit.web.client.urls import URL
from sennit.web.errors import BodyTooLargeError, WebProtocolError
from sennit.web.response import HTTPError, Response
from sennit.web.rpc.calling import Caller
from sennit.web.rpc.limits import RPCLimits

if TYPE_CHECKING:
    from typing import ClassVar, Protocol, Self

    from sennit.web.client.api import Client
    from sennit.web.client.limits import ClientTimeouts
    from sennit.web.client.messages import IncomingResponse
    from sennit.web.request import Request
    from sennit.web.response import HeadersIn
    from sennit.web.rpc.conversion import Values

    class ISender(Protocol):
        """What takes a request to where its URL leads: a `Pool`."""

        async def send(self, request: OutgoingRequest) -> IncomingResponse:
            """Send it; the response's head has come then."""
            ...


__all__ = ["PostingCaller", "check_posted", "media_type"]


class PostingCaller(Caller):
    """Calls functions at a URL; a context manager that closes the pool it made itself.

    Args:
        url: Where they are.
        client: What to send by: a `sennit.web.client.api.Client`, whose cookies and login are
            for its calls too, or a bare pool; a pool of its own when left out.
        headers: Of every request, besides those of the protocol.
        timeouts: How long to wait; the pool's own times when left out.
        limits: What one message may be.
    """

    _wire: ClassVar[Values]
    """Values as the protocol has them."""
    _content_type: ClassVar[bytes]
    """Of every message."""
    _wanted: ClassVar[tuple[str, ...]]
    """Media types of answers."""

    def __init__(
        self,
        url: str | URL,
        *,
        client: Client | ISender | None = None,
        headers: HeadersIn = None,
        timeouts: ClientTimeouts | None = None,
        limits: RPCLimits | None = None,
    ) -> None:
        super().__init__(self._wire)
        self.limits = limits or RPCLimits()
        self._url = URL.of(url)
        self._own = Pool() if client is None else None
        # `Any`: which of the two kinds it is, is looked at when it is used.
        self._client: Any = self._own if client is None else client
        self._headers = [
            (b"content-type", self._content_type),
            (b"accept", ", ".join(self._wanted).encode("ascii")),
            *Response(headers=headers).headers,
        ]
        self._timeouts = timeouts

    async def _post(self, message: bytes) -> bytes:
        """Send a message and wait for what comes back; empty where nothing does.

        Raises:
            WebProtocolError: The answer is none, or too large.
        """
        headers = list(self._headers)
        try:
            # A call is never repeated by itself: it may have been worked on already.
            if hasattr(self._client, "stream"):
                options: dict[str, Any] = {"content": message, "follow_redirects": False}
                if self._timeouts is not None:
                    options["timeout"] = self._timeouts
                async with self._client.stream(
                    "POST", self._url, headers=headers, **options
                ) as answer:
                    return await self._content_of(answer.incoming, answer)
            request = OutgoingRequest(
                "POST", self._url, headers, message, timeouts=self._timeouts, repeatable=False
            )
            response: IncomingResponse = await self._client.send(request)
            try:
                return await self._content_of(response, response)
            finally:
                await response.aclose()
        except BodyTooLargeError as error:
            raise WebProtocolError(
                f"an answer of more than {self.limits.message} octets", "limit:message"
            ) from error

    async def _content_of(self, head: IncomingResponse, source: Any) -> bytes:
        """The content of an answer, if it is one. (`Any`: what can be read.)"""
        if head.status == 204:
            return b""
        found = media_type(head.header(b"content-type"))
        # Some servers give errors of the protocol the status of errors of HTTP.
        if found in self._wanted:
            return bytes(await source.read(self.limits.message))
        if head.status // 100 == 2 and not await source.read(self.limits.message):
            return b""
        raise WebProtocolError(
            f"answered {head.status} with {found[:64]!r}, not {self._wanted[0]}",
            "RFC 9110 §15",
            head.status,
        )

    async def aclose(self) -> None:
        """Close the pool, if it is its own."""
        if self._own is not None:
            await self._own.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def media_type(value: bytes | str | None) -> str:
    """The media type that a Content-Type names, in lower case, without parameters."""
    if value is None:
        return ""
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    return text.partition(";")[0].strip().lower()


def check_posted(request: Request, wanted: tuple[str, ...]) -> None:
    """Whether a request carries a message.

    A media type that no form can have also keeps other sites' pages from calling
    with a visitor's cookies: a browser asks first (CORS).

    Raises:
        HTTPError: 415, its content is of another kind.
    """
    if media_type(request.header("content-type")) not in wanted:
        raise HTTPError(415, {"accept": ", ".join(wanted)})
