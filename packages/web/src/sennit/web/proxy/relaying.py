"""What both kinds of proxy do with a message: send it on as it comes, hand its answer back.

Content is never held: a piece is taken from one side when the other has room for it.
Half an answer is broken off, so that nobody can take it for a whole one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.core.errors import SennitError
from sennit.web.client.messages import OutgoingRequest
from sennit.web.client.urls import URL
from sennit.web.proxy.fields import end_to_end, trailer_fields
from sennit.web.response import HTTPError, Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.web.client.limits import ClientTimeouts
    from sennit.web.client.messages import IncomingResponse
    from sennit.web.proxy.content import Content
    from sennit.web.request import Request

    Field = tuple[bytes, bytes]

__all__ = ["hand_back", "outgoing", "url_at"]


def url_at(base: URL, target: bytes) -> URL:
    """The URL of a request target: path and query stay as they were written.

    Which of a path's forms is meant is for the server to say (RFC 3986 §6.2.2 is for
    those who ask, not for those in between).

    Args:
        base: Says scheme, host and port.
        target: Path and query, in octets.
    """
    found = URL.__new__(URL)
    for each in URL.__slots__:
        setattr(found, each, getattr(base, each))
    found.target = target
    path, mark, query = target.decode("ascii").partition("?")
    found.path = path
    found.query = query if mark else None
    return found


def outgoing(
    request: Request,
    method: str,
    url: URL,
    headers: list[Field],
    content: Content | None,
    timeouts: ClientTimeouts,
    *,
    upgrade: bool = False,
) -> OutgoingRequest:
    """A request as it goes on.

    Args:
        request: As it came; interim responses go back to it.
        method: Of the one that goes on.
        url: Where to.
        headers: Its fields.
        content: What it carries.
        timeouts: How long to wait.
        upgrade: Whether 101 may be the answer.
    """
    head = request.head

    def inform(status: int, fields: list[Field]) -> None:
        # 100 is said when the content is read; HTTP/1.0 knows no others (RFC 9110 §15.2).
        if status not in (100, 101) and head.version != b"1.0":
            request.inform(status, end_to_end(fields))

    def trailers() -> list[Field]:
        return [] if content is None else trailer_fields(content.trailers())

    return OutgoingRequest(
        method,
        url,
        headers,
        None if content is None else content.pieces(),
        length=head.length if content is not None and head.length >= 0 else None,
        timeouts=timeouts,
        on_informational=inform,
        upgrade=upgrade,
        expect_continue=head.expect_continue,
        trailers=trailers,
    )


async def hand_back(
    request: Request,
    response: IncomingResponse,
    headers: list[Field],
    broke: Callable[[BaseException], object],
) -> Response | None:
    """Give an answer to the client as it comes; what a handler returns then.

    Args:
        request: What is answered.
        response: The answer.
        headers: The fields that go back.
        broke: Called where it broke off.

    Raises:
        HTTPError: 502, it cannot be said.
    """
    reason = response.reason or None
    inbox = response.inbox
    untold = request.method == "HEAD" and not any(n == b"content-length" for n, _ in headers)
    if inbox.ended and inbox.error is None and not untold:
        # It came whole with its head: one answer, one turn. (Not where nobody has said how
        # much GET would have: nothing is not what we know, RFC 9110 §8.6.)
        body = inbox.take_all()
        if not response.trailers:
            return Response(body, response.status, headers, reason=reason)
        trailers = trailer_fields(response.trailers)
        return Response(body, response.status, headers, reason=reason, trailers=trailers)
    try:
        writer = request.start(response.status, headers, reason=reason)
    except ValueError as error:
        raise HTTPError(502) from error
    if not inbox.size:
        # The first octet may be long in coming.
        writer.flush()
    try:
        while piece := await inbox.next_piece():
            await writer.write(piece)
    except (SennitError, OSError) as error:
        if inbox.error is not error:
            raise  # it is the client that has gone
        broke(error)
        writer.abort()
        return None
    writer.end(trailer_fields(response.trailers))
    return None
