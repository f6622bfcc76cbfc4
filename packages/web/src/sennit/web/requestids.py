"""A name for each request, in its answer, in the logs, and for whoever is asked next.

`request_ids` believes a name only of peers that are trusted, such as the proxy in front;
for everybody else it makes one. `current_request_id` tells it anywhere below the handler,
and `RequestIDFilter` puts it into every line of the log that comes from there.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import AsyncIterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from sennit.core.deferred import Deferred
from sennit.core.endpoint.networks import Networks
from sennit.web.wrappers import ask, then

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable

    from sennit.core.engine import FilePart
    from sennit.core.interfaces import Buffer
    from sennit.web.request import Request
    from sennit.web.response import Response
    from sennit.web.server import Answer, Handler
    from sennit.web.wrappers import Wrapper

__all__ = ["RequestIDFilter", "current_request_id", "request_ids"]

_GOOD = re.compile(r"[0-9A-Za-z+/=_.:-]{1,128}").fullmatch
_current: ContextVar[str] = ContextVar("sennit_request_id", default="")
_LENGTH: Final = 12
"""Octets of a name that is made here: enough that two never meet."""


def current_request_id() -> str:
    """The name of the request that is being answered here; empty where none is."""
    return _current.get()


def request_ids(
    header: str = "x-request-id",
    *,
    trusted: Iterable[str] = (),
    make: Callable[[], str] | None = None,
) -> Wrapper:
    """A wrapper that names requests.

    The name stands in ``request.state["request_id"]`` and in the answer's header.

    Args:
        header: That it comes and goes in.
        trusted: Networks of peers whose names are believed, as ``10.0.0.0/8`` or
            ``loopback``; a peer over a Unix socket is named ``unix``.
        make: Makes one; random hexadecimal digits when left out.

    Raises:
        UsageError: What is trusted is no network.
    """
    names = list(trusted)
    unix = "unix" in names
    networks = Networks([each for each in names if each != "unix"])
    field = header.lower()
    octets = field.encode("ascii")
    fresh = make or _random

    def wrap(handler: Handler) -> Handler:
        def call(request: Request) -> Answer:
            given = request.header(field)
            if given is None or _GOOD(given) is None or not _believed(request, networks, unix):
                given = fresh()
            name = given
            request.state["request_id"] = name

            def change(response: Response) -> Response:
                response.headers = [
                    *(each for each in response.headers if each[0] != octets),
                    (octets, name.encode("latin-1")),
                ]
                if isinstance(response.body, AsyncIterable):
                    response.body = _NamedContent(response.body, name)
                return response

            # A coroutine runs in a copy of this context, which its Task takes when it begins:
            # later, so it is told again then.
            token = _current.set(name)
            try:
                answer = ask(handler, request)
            finally:
                _current.reset(token)
            if hasattr(answer, "__await__") and not isinstance(answer, Deferred):
                answer = _Named(answer, name)
            return then(answer, change)

        return call

    return wrap


class _Named:
    """A coroutine, or what is like one, that runs with a request's name."""

    __slots__ = ("_coroutine", "_name")

    # Any: a coroutine of whatever the handler gives.
    def __init__(self, coroutine: Any, name: str) -> None:
        self._coroutine = coroutine
        self._name = name

    def __await__(self) -> Generator[Any, Any, Any]:
        token = _current.set(self._name)
        try:
            steps: Generator[Any, Any, Any] = self._coroutine.__await__()
            return (yield from steps)
        finally:
            _current.reset(token)

    def close(self) -> None:
        """Nobody will await it."""
        close = getattr(self._coroutine, "close", None)
        if close is not None:
            close()


class _NamedContent:
    """Content each piece of which is made with a request's name."""

    __slots__ = ("_name", "_steps")

    def __init__(self, body: AsyncIterable[Buffer | FilePart], name: str) -> None:
        self._steps = aiter(body)
        self._name = name

    def __aiter__(self) -> _NamedContent:
        return self

    def __anext__(self) -> Awaitable[Buffer | FilePart]:
        return _Named(anext(self._steps), self._name)

    async def aclose(self) -> None:
        """Nobody takes what is left."""
        close = getattr(self._steps, "aclose", None)
        if close is not None:
            await _Named(close(), self._name)


def _random() -> str:
    return os.urandom(_LENGTH).hex()


def _believed(request: Request, networks: Networks, unix: bool) -> bool:
    # Who is connected: not whom it says that it speaks for.
    host: str | None = getattr(request.connection.peer, "host", None)
    return unix if host is None else networks.trusts(host)


class RequestIDFilter(logging.Filter):
    """Gives every record an attribute ``request_id``, for a formatter to show; ``-`` for none."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let it pass, named."""
        record.request_id = _current.get() or "-"
        return True
