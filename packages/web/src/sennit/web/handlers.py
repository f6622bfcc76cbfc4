"""What other strands answer, at a path of a site: DNS over HTTPS, for one.

An `IHTTPHandler` (``sennit.core.http``) knows nothing of this package, nor this package of what
it answers::

    site.put_child("dns-query", HandlerResource(web_handler("dns")))

In a configuration a handler is named where it is to be, by its plugin::

    [[service.site.handlers]]
    path = "/dns-query"
    handler = "dns"
    options = { service = "dns" }
"""

from __future__ import annotations

from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from sennit.core.http import HTTPQuestion
from sennit.web.resource import Resource
from sennit.web.response import HTTPError, Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from sennit.core.http import HTTPAnswer, IHTTPHandler
    from sennit.web.request import Request
    from sennit.web.server import Answer, Handler
    from sennit.web.wrappers import Wrapper

__all__ = ["HandlerResource", "mounted"]


class HandlerResource(Resource):
    """A leaf that an `IHTTPHandler` answers for, whatever the method.

    Args:
        handler: It; closing it is the affair of whoever made it.
    """

    leaf = True

    def __init__(self, handler: IHTTPHandler) -> None:
        self.handler = handler

    def render(self, request: Request) -> Answer:
        """Hand the request over, with all of its content."""
        if request.head.length == 0:
            return self._answer(request, b"")
        return self._read(request)

    async def _read(self, request: Request) -> Response:
        limit = self.handler.max_content
        if request.head.length > limit:
            raise HTTPError(413)
        answer: Any = self._answer(request, await request.read(limit))  # of `_answer`: not None
        return await answer if isawaitable(answer) else answer  # type: ignore[no-any-return]

    def _answer(self, request: Request, content: bytes) -> Answer:
        peer = request.peer
        question = HTTPQuestion(
            request.method,
            request.raw_path,
            request.query_string,
            request.head.headers,
            content,
            tuple(peer) if isinstance(peer, tuple) else peer,
            request.scheme == "https",
        )
        answer = self.handler.answer(question)
        if isawaitable(answer):
            return _later(answer)
        return _response(answer)


async def _later(answer: Awaitable[HTTPAnswer]) -> Response:
    return _response(await answer)


def _response(answer: HTTPAnswer) -> Response:
    return Response(answer.content, answer.status, answer.headers)


def mounted(handlers: Mapping[str, IHTTPHandler]) -> Wrapper:
    """A wrapper that has handlers answer paths, and leaves all others to what is inside.

    Args:
        handlers: By path, such as ``/dns-query``; percent-encoded where it must be.

    Raises:
        ValueError: One of them is no path.
    """
    table: dict[bytes, HandlerResource] = {}
    for path, handler in handlers.items():
        if not path.startswith("/") or "?" in path or not path.isascii():
            raise ValueError(f"found {path!r}; a path as it is asked for, such as /dns-query")
        table[path.encode("ascii")] = HandlerResource(handler)

    def wrap(inside: Handler) -> Handler:
        def handle(request: Request) -> Answer:
            found = table.get(request.head.path.partition(b"?")[0])
            return inside(request) if found is None else found.render(request)

        return handle

    return wrap
