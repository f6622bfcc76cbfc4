"""What stands around handlers: functions that take a handler and return another.

::

    site = Site(wrappers=[request_ids(), compress(), with_sessions(store)])

The first is outermost. A wrapper looks at the request before it calls the handler it was
given, and at the answer through `then`, which applies a function to a `Response` whichever
way it comes: at once, by a Deferred, or by a coroutine. A handler that has its answer at
once stays one, so a wrapper costs it a call or two and no Task.

An error that a handler raises to be answered (`HTTPError`) reaches `then` as its page, so
that it gets the same headers. An answer given piece by piece (``request.start``) is not a
`Response` any more when its handler returns: such wrappers leave it alone.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from sennit.core.deferred import Deferred
from sennit.web.response import HTTPError, Response, error_page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable

    from sennit.web.request import Request
    from sennit.web.server import Answer, Handler

    Wrapper = Callable[[Handler], Handler]
    Change = Callable[[Response], Response | Awaitable[Response]]

__all__ = ["Later", "ask", "then", "wrap"]


def wrap(handler: Handler, wrappers: Iterable[Wrapper]) -> Handler:
    """Put wrappers around a handler, the first outermost."""
    for each in reversed(list(wrappers)):
        handler = each(handler)
    return handler


def ask(handler: Handler, request: Request) -> Answer:
    """Call a handler; an `HTTPError` that it raises at once becomes its page."""
    try:
        return handler(request)
    except HTTPError as error:
        return error_page(error.status, error.headers)


def then(answer: Answer, fn: Change) -> Answer:
    """Apply a function to a response whichever way it comes.

    Args:
        answer: What a handler returned.
        fn: Takes the response, gives it back changed, or another; may be a coroutine
            function. It is not called for an answer that is given piece by piece, nor for
            one that fails with anything but an `HTTPError`.
    """
    if isinstance(answer, Response):
        return fn(answer)
    if isinstance(answer, Deferred):
        return answer.catch(HTTPError, _as_page).add_callback(_applied, fn)
    if hasattr(answer, "__await__"):
        return Later(answer, fn)
    return answer


def _as_page(error: HTTPError) -> Response:
    return error_page(error.status, error.headers)


def _applied(response: Response | None, fn: Change) -> Any:  # Any: a response, or its awaitable
    return response if response is None else fn(response)


class Later:
    """An answer that comes when it is awaited, and a function that is applied to it then.

    Not a coroutine of its own: one that is never awaited has to be closed, with all that it
    would await in turn.
    """

    __slots__ = ("_answer", "_fn")

    # Any: a coroutine of whatever the handler gives; it is looked at when it is there.
    def __init__(self, answer: Any, fn: Change) -> None:
        self._answer = answer
        self._fn = fn

    def __await__(self) -> Generator[Any, Any, Response]:
        return self._run().__await__()

    async def _run(self) -> Any:
        try:
            response = await self._answer
        except HTTPError as error:
            response = error_page(error.status, error.headers)
        if isinstance(response, Response):
            changed = self._fn(response)
            return await changed if inspect.isawaitable(changed) else changed
        return response

    def close(self) -> None:
        """Nobody will await it."""
        close = getattr(self._answer, "close", None)
        if close is not None:
            close()
