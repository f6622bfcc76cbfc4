"""The life of an ASGI application: told of the start and the end of its server.

The application is called once with a scope of type ``lifespan``, in a Task that
stays until the server ends. It is asked to start up, and what it leaves in
``scope["state"]`` every request gets a copy of. An application that knows nothing of
this raises, and is served all the same; one that says that it cannot start is not.

Source: the ASGI lifespan protocol, version 2.0.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from sennit.core.deferred import Deferred
from sennit.web.errors import WebError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    # `Any`: what stands in scopes and messages is between server and application.
    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Application = Callable[[Scope, Receive, Send], Awaitable[None]]

__all__ = ["Lifespan", "LifespanError"]

ASGI: Final = {"version": "3.0", "spec_version": "2.0"}
LEAST: Final = 1.0
"""Seconds that an application has to shut down, however short the server's own time is."""

_log = logging.getLogger("sennit.web.asgi")


class LifespanError(WebError):
    """An application said that it cannot start, or cannot shut down."""


class Lifespan:
    """One life of an application.

    Args:
        app: The ASGI application.
        needed: Whether one that knows nothing of lifespans is refused.

    Attributes:
        state: What it has left for its requests.
        supported: Whether it knows of lifespans; ``None`` until that is known.
    """

    def __init__(self, app: Application, *, needed: bool = False) -> None:
        self.state: dict[str, Any] = {}
        self.supported: bool | None = None
        self._app = app
        self._needed = needed
        self._task: asyncio.Task[None] | None = None
        self._messages: list[Message] = []
        self._asked: Deferred[None] | None = None
        self._started: Deferred[None] = Deferred()
        self._ended: Deferred[None] = Deferred()
        self._phase = "startup"

    def __repr__(self) -> str:
        return f"<Lifespan {self._phase} of {self._app!r:.60}>"

    async def startup(self) -> None:
        """Begin it; returns when the application has started.

        Raises:
            LifespanError: It said that it cannot, or it had to know of lifespans and does not.
        """
        scope: Scope = {"type": "lifespan", "asgi": dict(ASGI), "state": self.state}
        self._messages.append({"type": "lifespan.startup"})
        self._task = asyncio.ensure_future(self._run(scope))
        try:
            await self._started
        except BaseException:
            await self._cancel()
            raise

    async def shutdown(self, limit: float) -> None:
        """Ask it to shut down; returns when it has, or was cancelled.

        Args:
            limit: Seconds it may take, never taken for less than `LEAST`.

        Raises:
            LifespanError: It said that it cannot, or took too long.
        """
        task = self._task
        if task is None or task.done():
            return
        limit = max(limit, LEAST)
        self._phase = "shutdown"
        self._messages.append({"type": "lifespan.shutdown"})
        if self._asked is not None:
            asked, self._asked = self._asked, None
            asked.callback(None)
        try:
            async with asyncio.timeout(limit):
                await self._ended
                await asyncio.wait([task])
        except TimeoutError:
            raise LifespanError(f"the application did not shut down within {limit:g} s") from None
        finally:
            await self._cancel()

    async def _cancel(self) -> None:
        task = self._task
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])

    async def _run(self, scope: Scope) -> None:
        try:
            await self._app(scope, self._receive, self._send)
        except asyncio.CancelledError:
            self._over(LifespanError("its lifespan was cancelled"))
            raise
        except Exception as error:
            self._failed(error)
        else:
            if not self._started.fired and self._needed:
                self._over(LifespanError("it has no lifespan: it returned at once"))
            self._over(None)

    def _failed(self, error: Exception) -> None:
        if self.supported is None and not self._started.fired:
            # By the specification a server goes on then, and sends no more of this.
            self.supported = False
            if self._needed:
                refused = LifespanError(f"it has no lifespan: {type(error).__name__}: {error}")
                refused.__cause__ = error
                self._over(refused)
                return
            _log.info("the application has no lifespan: %s: %s", type(error).__name__, error)
            self._over(None)
            return
        if self._phase == "serving":
            _log.error("the application's lifespan has failed", exc_info=error)
        failed = LifespanError(f"its {self._phase} failed: {type(error).__name__}: {error}")
        failed.__cause__ = error
        self._over(failed)

    def _over(self, error: LifespanError | None) -> None:
        for each in (self._started, self._ended):
            if not each.fired:
                if error is None:
                    each.callback(None)
                else:
                    each.errback(error)
        # Nobody may be waiting for it.
        self._ended.add_errback(lambda _: None)

    async def _receive(self) -> Message:
        if self.supported is None:
            self.supported = True
        while not self._messages:
            if self._asked is None:
                self._asked = Deferred()
            await self._asked
        return self._messages.pop(0)

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "lifespan.startup.complete" and self._phase == "startup":
            self._phase = "serving"
            self._started.callback(None)
        elif kind == "lifespan.startup.failed" and self._phase == "startup":
            self._phase = "failed"
            self._over(LifespanError(str(message.get("message") or "it does not say why")))
        elif kind == "lifespan.shutdown.complete" and self._phase == "shutdown":
            self._phase = "ended"
            self._over(None)
        elif kind == "lifespan.shutdown.failed" and self._phase == "shutdown":
            self._phase = "failed"
            self._over(LifespanError(str(message.get("message") or "it does not say why")))
        else:
            raise RuntimeError(f"{kind!r} was not expected in the phase {self._phase!r}")
