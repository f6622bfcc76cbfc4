"""What stands around handlers: functions that take a handler and return another.

::

    site = Site(wrappers=[request_ids(), compress(), with_sessions(store)])

The first is outermost. A wrapper looks at the request before it calls the handler it was
given, and at the answer through `then`, which applies a function to a `Response` whichever
way it comes: at once, by a Deferred, or by a coroutine. A handler that has its answer at
once stays one, so a wrapper costs it a call or two and no Task. What the function gets is
its own to change: a handler may give one `Response` many times, and the cookie of one
client must not stay in it for the next.

An error that a handler raises to be answered (`HTTPError`) reaches `then` as its page, so
that it gets the same headers. An answer given piece by piece (``request.start``) is not a
`Response` any more when its handler returns: such wrappers leave it alone, or do what is
left to be done (`then`'s `begun`).
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from sennit.core.deferred import Deferred
from sennit.web.response import HTTPError, Response, error_page

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        Awaitable,
        Callable,
        Generator,
        Iterable,
    )

    from sennit.core.engine import FilePart
    from sennit.core.interfaces import Buffer
    from sennit.web.request import Request
    from sennit.web.server import Answer, Handler

    Wrapper = Callable[[Handler], Handler]
    Change = Callable[[Response], Response | Awaitable[Response]]

__all__ = ["Closing", "Later", "ask", "own", "then", "wrap"]


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


def then(
    answer: Answer, fn: Change, begun: Callable[[], Awaitable[None] | None] | None = None
) -> Answer:
    """Apply a function to a response whichever way it comes.

    Args:
        answer: What a handler returned.
        fn: Takes the response, gives it back changed, or another; may be a coroutine
            function. It is not called for an answer that is given piece by piece, nor for
            one that fails with anything but an `HTTPError`.
        begun: Called in its place for an answer that was given piece by piece.
    """
    if isinstance(answer, Response):
        return fn(own(answer))
    if isinstance(answer, Deferred):
        return answer.catch(HTTPError, _as_page).add_callback(_applied, fn, begun)
    if hasattr(answer, "__await__"):
        return Later(answer, fn, begun)
    # What is neither is a mistake of the handler's; the connection says so.
    what: object = answer
    return begun() if begun is not None and what is None else answer


def own(response: Response) -> Response:
    """A response that may be changed, though the one given is given again and again.

    Those of other kinds (`Upgrade`, streams) are good once anyway, and stay.
    """
    if type(response) is not Response:
        return response
    made = Response(response.body, response.status, reason=response.reason)
    made.headers = response.headers.copy()
    made.trailers = response.trailers
    return made


class Closing:
    """Content made of other content, which is closed with it: also where nobody began to take it.

    A generator that was never begun does nothing when it is closed, and a request of HEAD
    takes no content at all.

    Args:
        steps: Makes it.
        source: What of.
    """

    __slots__ = ("_source", "_steps")

    def __init__(
        self, steps: AsyncGenerator[Buffer | FilePart, None], source: AsyncIterable[object]
    ) -> None:
        self._steps = steps
        self._source = source

    def __aiter__(self) -> Closing:
        return self

    def __anext__(self) -> Awaitable[Buffer | FilePart]:
        return anext(self._steps)

    async def aclose(self) -> None:
        """Nobody takes what is left."""
        try:
            await self._steps.aclose()
        finally:
            close = getattr(self._source, "aclose", None)
            if close is not None:
                await close()


def _as_page(error: HTTPError) -> Response:
    return error_page(error.status, error.headers)


# Any: a response, or its awaitable.
def _applied(
    response: Response | None, fn: Change, begun: Callable[[], Awaitable[None] | None] | None
) -> Any:
    if response is None:
        return None if begun is None else begun()
    return fn(own(response))


class Later:
    """An answer that comes when it is awaited, and a function that is applied to it then.

    Not a coroutine of its own: one that is never awaited has to be closed, with all that it
    would await in turn.
    """

    __slots__ = ("_answer", "_begun", "_fn")

    # Any: a coroutine of whatever the handler gives; it is looked at when it is there.
    def __init__(
        self,
        answer: Any,
        fn: Change,
        begun: Callable[[], Awaitable[None] | None] | None = None,
    ) -> None:
        self._answer = answer
        self._fn = fn
        self._begun = begun

    def __await__(self) -> Generator[Any, Any, Response]:
        return self._run().__await__()

    async def _run(self) -> Any:
        try:
            response = await self._answer
        except HTTPError as error:
            response = error_page(error.status, error.headers)
        if isinstance(response, Response):
            changed = self._fn(own(response))
            return await changed if inspect.isawaitable(changed) else changed
        if response is None and self._begun is not None:
            done = self._begun()
            if done is not None:
                await done
        return response

    def close(self) -> None:
        """Nobody will await it."""
        close = getattr(self._answer, "close", None)
        if close is not None:
            close()
