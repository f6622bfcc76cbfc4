"""Pages for errors: an application's own, in place of a line of text.

::

    Site(wrappers=[error_pages({404: not_found_page, 500: "<h1>That is our fault</h1>"})])

A page never says what went wrong inside: that is in the log, once. What pages show of the
request is for their author to escape (`html.escape`); a page that is a template does it by
itself (HARDENING h1-22).
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Any

from sennit.core._faultlog import log_bug
from sennit.core.deferred import Deferred
from sennit.core.errors import ConnectionLost, ProtocolError
from sennit.web.errors import WebUsageError
from sennit.web.grammar import REASONS
from sennit.web.response import Response, error_page, html
from sennit.web.wrappers import ask, own, then

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from sennit.web.request import Request
    from sennit.web.server import Answer, Handler
    from sennit.web.wrappers import Wrapper

    Page = str | Callable[[Request, int], Response]

__all__ = ["error_pages"]

_PLACES = re.compile(r"\{(?:status|reason|path|request_id)\}")


def error_pages(pages: Mapping[int, Page], *, default: Page | None = None) -> Wrapper:
    """A wrapper that replaces the server's own lines for errors by pages.

    An answer that a handler gave on purpose, with content of its own, stays as it is:
    replaced is what was raised as an `HTTPError`, what nothing was found for, and, where
    there is a page for 500, what was raised by mistake.

    Args:
        pages: By status: a function of the request and the status, or an HTML page in which
            ``{status}``, ``{reason}``, ``{path}`` and ``{request_id}`` are replaced, escaped.
        default: For all other statuses of 400 and above.

    Raises:
        WebUsageError: A status is no error.
    """
    for status in pages:
        if not 400 <= status <= 599:
            raise WebUsageError(f"{status} is no error")
    table = dict(pages)
    catches = 500 in table or default is not None

    def page_for(request: Request, response: Response) -> Response:
        page = table.get(response.status, default)
        if page is None:
            return response
        if isinstance(page, str):
            made = html(_filled(page, request, response.status), response.status)
        else:
            made = own(page(request, response.status))
            made.status = response.status
        there = {name for name, _ in made.headers}
        made.headers += [
            each
            for each in response.headers
            if each[0] not in there and each[0] not in (b"content-type", b"content-length")
        ]
        return made

    def wrap(handler: Handler) -> Handler:
        def call(request: Request) -> Answer:
            def change(response: Response) -> Response:
                if response.status < 400 or response.body != error_page(response.status).body:
                    return response
                return page_for(request, response)

            def failed(error: BaseException) -> Response:
                # Not ours: the client has gone, or broke a rule; or an answer has begun.
                if (
                    not isinstance(error, Exception)
                    or isinstance(error, (ConnectionLost, ProtocolError))
                    or not request.connection.engine.is_open(request.head.exchange)
                ):
                    raise error
                log_bug("HTTP", request.peer, "the handler", error)
                return page_for(request, error_page(500))

            if not catches:
                return then(ask(handler, request), change)
            try:
                answer = ask(handler, request)
            except Exception as error:
                return failed(error)
            changed = then(answer, change)
            if isinstance(changed, Deferred):
                return changed.add_errback(failed)
            if hasattr(changed, "__await__"):
                return _Caught(changed, failed)
            return changed

        return call

    return wrap


class _Caught:
    """An answer that is awaited, and what becomes of its failure."""

    __slots__ = ("_answer", "_failed")

    # Any: whatever the handler gives to be awaited.
    def __init__(self, answer: Any, failed: Callable[[BaseException], Response]) -> None:
        self._answer = answer
        self._failed = failed

    def __await__(self) -> Generator[Any, Any, Any]:
        try:
            steps: Generator[Any, Any, Any] = self._answer.__await__()
            return (yield from steps)
        except Exception as error:
            return self._failed(error)

    def close(self) -> None:
        """Nobody will await it."""
        close = getattr(self._answer, "close", None)
        if close is not None:
            close()


def _filled(page: str, request: Request, status: int) -> str:
    """A page with its places filled; other braces, as of style sheets, stay."""
    named = {
        "{status}": str(status),
        "{reason}": REASONS.get(status, b"").decode("ascii"),
        "{path}": request.path,
        "{request_id}": str(request.state.get("request_id", "")),
    }
    # In one pass, so that what is put in is not looked at again.
    return _PLACES.sub(lambda match: escape(named[match[0]]), page)
