"""One message to a URL and its answer back: what calls over HTTP have in common.

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

if TYPE_CHECKING:
    from typing import Protocol, Self

    from sennit.web.client.limits import ClientTimeouts
    from sennit.web.client.messages import IncomingResponse
    from sennit.web.request import Request
    from sennit.web.response import HeadersIn

    class ISender(Protocol):
        """What takes a request to where its URL leads: a `Pool`, or what stands before one."""

        async def send(self, request: OutgoingRequest) -> IncomingResponse:
            """Send it; the response's head has come then."""
            ...


__all__ = ["Poster", "check_posted", "media_type"]


class Poster:
    """Posts messages to one URL; a context manager that closes the pool it made itself.

    Args:
        url: Where to.
        pool: What to send by; one of its own when left out.
        headers: Of every request, besides those of the protocol.
        timeouts: Instead of the pool's.
        most: Octets of an answer.
    """

    def __init__(
        self,
        url: str | URL,
        pool: ISender | None,
        headers: HeadersIn,
        timeouts: ClientTimeouts | None,
        most: int,
    ) -> None:
        self.url = URL.of(url)
        self._own = None if pool is not None else Pool()
        self._pool: Any = pool or self._own  # one of the two
        self._headers = Response(headers=headers).headers
        self._timeouts = timeouts
        self._most = most

    async def post(self, message: bytes, kind: bytes, wanted: tuple[str, ...]) -> bytes:
        """Send a message and wait for what comes back; empty where nothing does.

        Args:
            message: The content.
            kind: Its media type.
            wanted: Media types of an answer.

        Raises:
            WebProtocolError: The answer is none, or too large.
        """
        headers = [
            (b"content-type", kind),
            (b"accept", ", ".join(wanted).encode("ascii")),
            *self._headers,
        ]
        # A call is never repeated by itself: it may have been worked on already.
        request = OutgoingRequest(
            "POST", self.url, headers, message, timeouts=self._timeouts, repeatable=False
        )
        response = await self._pool.send(request)
        try:
            if response.status == 204:
                return b""
            found = media_type(response.header(b"content-type"))
            # Some servers give errors of the protocol the status of errors of HTTP.
            if found not in wanted:
                if response.status // 100 == 2 and not response.length:
                    content = await response.read(self._most)
                    if not content:
                        return b""
                raise WebProtocolError(
                    f"answered {response.status} with {found[:64]!r}, not {wanted[0]}",
                    "RFC 9110 §15",
                    response.status,
                )
            content = await response.read(self._most)
        except BodyTooLargeError as error:
            raise WebProtocolError(
                f"an answer of more than {self._most} octets", "limit:message"
            ) from error
        finally:
            await response.aclose()
        return bytes(content)

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
