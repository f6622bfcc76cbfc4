"""What all handlers of a server's connection have in common.

Most of what readers ask can be answered at once, since most stores can be read so
(`IArticleReader`). `at_once` makes a plain handler of a coroutine function: it takes its first
step where it stands, and only one that has to wait becomes a Task.

Not here: the handlers, each in the module of what it answers.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from sennit.core.driver import EngineProtocol
from sennit.news.engine import ServerEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from sennit.core.auth.limits import LoginTries
    from sennit.core.auth.portal import AvatarSession
    from sennit.news.access import Access
    from sennit.news.events import ServerEvent
    from sennit.news.interfaces import IArticleReader, IArticleStore
    from sennit.news.server import NNTPServerFactory
    from sennit.news.serving.metrics import NewsMetrics

    Driver = EngineProtocol[ServerEngine, ServerEvent]
else:
    # The class that puts them together is the driver; these have a part of its handlers each.
    Driver = object

__all__ = ["Conversing", "at_once"]

S = TypeVar("S", bound="Conversing")
E = TypeVar("E")


class Conversing(Driver):
    """What handlers know of their connection.

    Attributes:
        server: What all connections have in common.
        access: What the client may do.
        host: Where it is, ``""`` when that is nowhere.
    """

    server: NNTPServerFactory
    store: IArticleStore
    now: IArticleReader | None
    access: Access
    host: str
    metrics: NewsMetrics | None
    tries: LoginTries
    login: AvatarSession[Access] | None

    def fresh_engine(self) -> ServerEngine:
        """An engine that reads nothing until `open`."""
        raise TypeError("the protocol makes its engines")  # pragma: no cover

    def open(self, *, secure: bool) -> None:
        """Let the engine read, now that it is known what is offered, and to whom."""
        raise TypeError("the protocol opens its engines")  # pragma: no cover

    def stop_waiting_for_login(self) -> None:
        """The client has logged in, or has gone."""
        raise TypeError("the protocol waits")  # pragma: no cover

    def grant(self, access: Access, *, known: bool) -> None:
        """Let the client do what an access says, from now on."""
        self.access = access
        takes = self.server.intake is not None
        self.engine.permit(
            reads=access.reads,
            posts=takes and access.posts,
            feeds=takes and access.transit,
            known=known,
        )


class _Rest:
    """What is left of a coroutine that has begun, to be awaited by a Task."""

    __slots__ = ("_coroutine", "_waits_for")

    # `Any`: what coroutines yield is between them and the loop.
    def __init__(self, coroutine: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        coroutine, waits_for = self._coroutine, self._waits_for
        while True:
            try:
                got: Any = yield waits_for
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:
                try:
                    waits_for = coroutine.throw(error)
                except StopIteration:
                    return
            else:
                try:
                    waits_for = coroutine.send(got)
                except StopIteration:
                    return


async def _finish(rest: _Rest) -> None:
    await rest


def at_once(
    answer: Callable[[S, E], Coroutine[Any, Any, None]],
) -> Callable[[S, E], Coroutine[Any, Any, None] | None]:
    """Answer without a Task where nothing waits; a Task costs more than most answers."""

    @wraps(answer)
    def handle(self: S, event: E) -> Coroutine[Any, Any, None] | None:
        if self.metrics is not None:
            self.metrics.asked(event)
        coroutine = answer(self, event)
        try:
            waits_for = coroutine.send(None)
        except StopIteration:
            return None
        return _finish(_Rest(coroutine, waits_for))

    return handle
