"""Threads of the reactor's asyncio loop: its default executor, and look-ups of names."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import warnings
from contextvars import Context

from sennit.core.reactor.loopcalls import LoopCalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sennit.core.threads import ThreadPool

__all__ = ["LoopThreads"]

_PATIENCE = 300.0
"""Seconds `shutdown_default_executor` waits at most (asyncio's runner's own figure)."""


class LoopThreads(LoopCalls):
    """The part of `ReactorEventLoop` that has others do what blocks."""

    _pool: ThreadPool | None = None
    _pool_shut = False

    def run_in_executor(  # type: ignore[override]  # asyncio's own is typed more loosely
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run `func` in a thread: of `executor`, else of the reactor's kind of pool."""
        self._check_closed()
        if self._debug:
            self._check_callback(func, "run_in_executor")
        if executor is not None or self._default_executor is not None:
            return super().run_in_executor(executor, func, *args)
        if self._pool_shut:
            raise RuntimeError("Executor shutdown has been called")
        if self._pool is None:
            from sennit.core.threads import ThreadPool

            self._pool = ThreadPool(name="asyncio")
        return self._in_pool(self._pool, func, *args)

    def _in_pool(
        self, pool: ThreadPool, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self.create_future()
        deferred = pool.defer(self._reactor, func, *args)

        def succeeded(value: Any) -> None:
            if not future.done():
                future.set_result(value)

        def failed(error: BaseException) -> None:
            if not future.done():
                _fail(future, error)

        def given_up(future: asyncio.Future[Any]) -> None:
            if future.cancelled():
                deferred.cancel()

        deferred.add_callbacks(succeeded, failed)
        future.add_done_callback(given_up, context=Context())
        return future

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - asyncio's name for it
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """Look a name up, in the reactor's threads for that."""
        import socket

        return await self._in_pool(
            self._resolver_pool(), socket.getaddrinfo, host, port, family, type, proto, flags
        )

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> Any:
        """Look an address up, in the reactor's threads for that."""
        import socket

        return await self._in_pool(self._resolver_pool(), socket.getnameinfo, sockaddr, flags)

    def _resolver_pool(self) -> ThreadPool:
        reactor = self._reactor
        if reactor.resolver_threads is None:
            from sennit.core.threads import ThreadPool

            reactor.resolver_threads = ThreadPool(name="sennit-resolver")
        return reactor.resolver_threads

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait for what runs in the default executor; it takes no more work.

        Args:
            timeout: Seconds; what runs longer is left to itself, with a warning.
        """
        self._pool_shut = True
        pool, self._pool = self._pool, None
        if pool is not None:
            done: asyncio.Future[None] = self.create_future()
            patience = _PATIENCE if timeout is None else timeout

            def wait() -> None:
                pool.close(patience, finish=True)
                self._reactor.call_from_thread(_set_done, done)

            threading.Thread(target=wait, name="asyncio-shutdown", daemon=True).start()
            await done
            if pool.busy:
                warnings.warn(
                    f"{pool.busy} threads of the executor still run after {patience} seconds",
                    RuntimeWarning,
                    stacklevel=2,
                )
        shut_down: Any = super().shutdown_default_executor
        if timeout is None or self._default_executor is None:
            await shut_down()
            return
        try:
            # Python 3.11's takes no time limit, and later ones' does the same.
            async with asyncio.timeout(timeout):
                await shut_down()
        except TimeoutError:
            warnings.warn(
                f"the executor's threads still run after {timeout} seconds",
                RuntimeWarning,
                stacklevel=2,
            )
            executor: Any = self._default_executor
            executor.shutdown(wait=False)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    """Give a future the error of a thread, as asyncio translates it."""
    if isinstance(error, (asyncio.CancelledError, concurrent.futures.CancelledError)):
        future.cancel()
        return
    translated: Exception
    if isinstance(error, StopIteration):
        translated = RuntimeError("the function in the thread raised StopIteration")
    elif type(error) is concurrent.futures.InvalidStateError:
        translated = asyncio.InvalidStateError(*error.args)
    else:
        future.set_exception(error)
        return
    translated.__cause__ = error
    future.set_exception(translated)


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
