"""The reactor as asyncio's loop: what `asyncio.get_running_loop` returns under `run`.

`ReactorEventLoop` takes from asyncio what is the same on every loop (names to
addresses to sockets, `asyncio.Server`, subprocesses, pipes, datagrams, the
``sock_`` family) and puts the reactor beneath it: its ready queue, timers,
descriptors, signals and threads, and its transports (``loopstreams.py``).

It comes in two ways. A reactor that runs has one made when the first coroutine is
driven (`Reactor.event_loop`), which ends with the run. `new_event_loop` makes a
loop with a reactor of its own, for `asyncio.Runner` and whoever else takes a loop;
closing that loop closes the reactor.

Not here: the reactor inside a loop that somebody else runs (``foreign.py``).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import signal
import sys
import threading
import typing
from contextvars import Context, copy_context
from selectors import EVENT_READ, EVENT_WRITE, SelectorKey
from time import monotonic

from sennit.core.reactor.base import Reactor
from sennit.core.reactor.calls import DelayedCall
from sennit.core.reactor.lifecycle import run_shutdown_calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable
    from typing import IO, Any

    from sennit.core.reactor.calls import TimedCall
    from sennit.core.reactor.loopstreams import LoopListener, LoopTransport
    from sennit.core.threads import ThreadPool

    class _AsyncioLoop(asyncio.SelectorEventLoop):
        """asyncio's loop with what it keeps private, and its subclasses build on."""

        _closed: bool
        _debug: bool
        _default_executor: object
        _internal_fds: int

        def _check_closed(self) -> None: ...
        def _check_running(self) -> None: ...
        def _check_thread(self) -> None: ...
        def _check_callback(self, callback: object, method: str) -> None: ...
        def _set_coroutine_origin_tracking(self, enabled: bool) -> None: ...
        def _asyncgen_firstiter_hook(self, agen: Any) -> None: ...
        def _asyncgen_finalizer_hook(self, agen: Any) -> None: ...
        def _stop_serving(self, sock: socket.socket) -> None: ...

else:
    _AsyncioLoop = asyncio.SelectorEventLoop

__all__ = ["LoopCall", "ReactorEventLoop", "end_tasks", "new_event_loop"]

_EXECUTOR_PATIENCE = 300.0
"""Seconds `shutdown_default_executor` waits at most (asyncio's own figure)."""

logger = logging.getLogger("asyncio")


class LoopCall(DelayedCall):
    """A call asked for through asyncio's interface (its `asyncio.Handle`)."""

    __slots__ = ()


class _Selector:
    """In the place of asyncio's selector: the reactor's poller waits, this only tells of what."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor

    def get_key(self, fd: int) -> SelectorKey:
        """What is waited for (asked by the `repr` of asyncio's own transports)."""
        entry = self._reactor._descriptors[fd]
        events = (EVENT_READ if entry.reader else 0) | (EVENT_WRITE if entry.writer else 0)
        return SelectorKey(fd, fd, events, None)

    def close(self) -> None:
        """Nothing to give back."""


def _quick_call_soon(reactor: Reactor) -> Callable[..., LoopCall]:
    """`call_soon` without a look at anything: asyncio calls it for every step of every Task."""
    append = reactor._ready.append

    def call_soon(
        callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> LoopCall:
        call = LoopCall(callback, args, (copy_context() or None) if context is None else context)
        append(call)
        return call

    return call_soon


class ReactorEventLoop(_AsyncioLoop):
    """A reactor, as asyncio sees it.

    Args:
        reactor: Whose turns are this loop's.
        owns_reactor: Whether closing the loop closes the reactor.
    """

    def __init__(self, reactor: Reactor, *, owns_reactor: bool = False) -> None:
        self._reactor = reactor
        self._owns_reactor = owns_reactor
        self._thread_id: int | None = None
        self._before: tuple[Any, asyncio.AbstractEventLoop | None] = (None, None)
        self._listeners: dict[int, LoopListener] = {}
        self._pool: ThreadPool | None = None
        self._pool_shut = False
        super().__init__(_Selector(reactor))  # type: ignore[arg-type]  # as much of one as is used

    # Where asyncio has the two ends of its own wake-up pair.
    _ssock = _csock = None

    # Private, but the base class is made to have them replaced: asyncio's other loops do so.
    def _make_self_pipe(self) -> None:
        """The reactor has its own."""
        self._internal_fds += 1

    def _close_self_pipe(self) -> None:
        """The reactor has its own."""
        self._internal_fds -= 1

    def _write_to_self(self) -> None:
        self._reactor._wake()

    def __repr__(self) -> str:
        """Class and state, as asyncio's loops say them."""
        return (
            f"<{type(self).__name__} running={self.is_running()} "
            f"closed={self.is_closed()} debug={self.get_debug()}>"
        )

    @property
    def reactor(self) -> Reactor:
        """Whose loop it is."""
        return self._reactor

    # ── the ready queue and time ──────────────────────────────────────────────

    def set_debug(self, enabled: bool) -> None:
        """Check threads and time callbacks, or do not."""
        super().set_debug(enabled)
        if enabled:
            self.__dict__.pop("call_soon", None)
        else:
            self.__dict__["call_soon"] = _quick_call_soon(self._reactor)

    def call_soon(  # type: ignore[override]  # a handle, but not of asyncio's class
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> LoopCall:
        """Call back in the next turn. This form is used in debug mode and once it is closed."""
        self._check_closed()
        self._check_thread()
        self._check_callback(callback, "call_soon")
        call = LoopCall(
            self._timed,
            (callback, *args),
            (copy_context() or None) if context is None else context,
        )
        self._reactor.queue(call)
        return call

    def call_soon_threadsafe(  # type: ignore[override]  # as above
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> LoopCall:
        """`call_soon` from any thread."""
        self._check_closed()
        if self._debug:
            self._check_callback(callback, "call_soon_threadsafe")
            callback, args = self._timed, (callback, *args)
        call = LoopCall(callback, args, (copy_context() or None) if context is None else context)
        self._reactor._ready.append(call)
        self._reactor._wake()
        return call

    def call_later(  # type: ignore[override]  # as above
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> TimedCall:
        """Call back in `delay` seconds, not before."""
        if delay is None:  # pyright: ignore[reportUnnecessaryComparison]  # a common slip
            raise TypeError("delay must not be None")
        return self.call_at(monotonic() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]  # as above
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> TimedCall:
        """Call back when `time` has come to `when`."""
        if when is None:  # pyright: ignore[reportUnnecessaryComparison]  # as above
            raise TypeError("when cannot be None")
        if self._closed:
            self._check_closed()
        if self._debug:
            self._check_thread()
            self._check_callback(callback, "call_at")
            callback, args = self._timed, (callback, *args)
        return self._reactor.call_at(when, callback, *args, context=context)

    def _timed(self, callback: Callable[..., object], *args: Any) -> None:
        """In debug mode: call, and say if it kept the loop for long."""
        began = monotonic()
        callback(*args)
        took = monotonic() - began
        if took >= self.slow_callback_duration:
            owner: object = getattr(callback, "__self__", None)
            what: object = callback
            if isinstance(owner, asyncio.Task):
                what = typing.cast("object", owner)
            logger.warning("Executing %r took %.3f seconds", what, took)

    def time(self) -> float:
        """The reactor's time: monotonic seconds."""
        return monotonic()

    # ── running ───────────────────────────────────────────────────────────────

    def enter_thread(self) -> None:
        """Be asyncio's running loop of this thread, until `leave_thread`."""
        if self._thread_id is not None:
            return
        self._set_coroutine_origin_tracking(self._debug)
        self._thread_id = threading.get_ident()
        self._before = (sys.get_asyncgen_hooks(), asyncio._get_running_loop())
        sys.set_asyncgen_hooks(
            firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook
        )
        asyncio._set_running_loop(self)

    def leave_thread(self) -> None:
        """Undo `enter_thread`."""
        if self._thread_id is None:
            return
        self._thread_id = None
        (hooks, loop), self._before = self._before, (None, None)
        asyncio._set_running_loop(loop)
        self._set_coroutine_origin_tracking(False)
        sys.set_asyncgen_hooks(*hooks)

    def run_forever(self) -> None:
        """Turn until `stop`; one turn when that was called before.

        Raises:
            RuntimeError: It runs already, is closed, or another loop has this thread.
        """
        self._check_closed()
        self._check_running()
        reactor = self._reactor
        stopping = reactor._stopping
        reactor.begin()
        try:
            self.enter_thread()
            if stopping:
                Context().run(reactor._turns, once=True)
            else:
                reactor.spin()
        finally:
            self.leave_thread()
            reactor.leave()

    def stop(self) -> None:
        """End `run_forever`, or `Reactor.run`, after this turn."""
        self._reactor.stop()

    def close(self) -> None:
        """Close the loop, and the reactor if it is the loop's own.

        Raises:
            RuntimeError: It runs.
        """
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        reactor = self._reactor
        if self._owns_reactor:
            # asyncio's rule: what was to be called and has not been is forgotten.
            ready = [call for call in reactor._ready if type(call) is not LoopCall]
            reactor._ready.clear()
            reactor._ready.extend(ready)
            reactor._heap.clear()
            reactor._dead_timers = 0
            # Connections that are left tell their protocols, which may want the loop for it.
            self.enter_thread()
            reactor.end()
            reactor.close()
        else:
            self._shut()

    def reactor_ended(self) -> None:
        """The reactor's run is over, and so is this loop (called by `Reactor.end`)."""
        self.leave_thread()
        self._shut()

    def _shut(self) -> None:
        self.__dict__.pop("call_soon", None)
        for sock in list(self._listeners):
            self._listeners.pop(sock).close()
        if self._pool is not None:
            self._pool.close(0)
            self._pool = None
        super().close()

    # ── descriptors and signals ───────────────────────────────────────────────

    def _add_reader(self, fd: Any, callback: Callable[..., object], *args: Any) -> DelayedCall:
        self._check_closed()
        return self._reactor.add_reader(_number(fd), callback, *args)

    def _add_writer(self, fd: Any, callback: Callable[..., object], *args: Any) -> DelayedCall:
        self._check_closed()
        return self._reactor.add_writer(_number(fd), callback, *args)

    def _remove_reader(self, fd: Any) -> bool:
        return not self._closed and self._reactor.remove_reader(_number(fd))

    def _remove_writer(self, fd: Any) -> bool:
        return not self._closed and self._reactor.remove_writer(_number(fd))

    def add_signal_handler(  # type: ignore[override]  # typed by hand, as above
        self, sig: int, callback: Callable[..., object], *args: Any
    ) -> None:
        """Call back in a turn of the loop when the signal comes.

        Raises:
            TypeError: A coroutine (function) cannot be called back.
            ValueError: The number is no signal.
            RuntimeError: The signal cannot be caught, or this is not the main thread.
        """
        if hasattr(callback, "__await__") or inspect.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        _check_signal(sig)
        self._check_closed()
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("signal handlers are set in the main thread only")
        try:
            self._reactor.add_signal_handler(sig, callback, *args)
        except OSError as error:
            raise RuntimeError(f"sig {sig} cannot be caught") from error

    def remove_signal_handler(self, sig: int) -> bool:
        """Let the signal do what it did before; False when there was no handler."""
        _check_signal(sig)
        return self._reactor.remove_signal_handler(sig)

    # ── threads ───────────────────────────────────────────────────────────────

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
            if future.done():
                return
            if isinstance(error, StopIteration):
                stopped = RuntimeError("the function in the thread raised StopIteration")
                stopped.__cause__ = error
                error = stopped
            if isinstance(error, asyncio.CancelledError):
                future.cancel()
            else:
                future.set_exception(error)

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
        """Wait for what runs in the default executor; it takes no more work."""
        self._pool_shut = True
        pool, self._pool = self._pool, None
        if pool is not None:
            done: asyncio.Future[None] = self.create_future()

            def wait() -> None:
                pool.close(_EXECUTOR_PATIENCE if timeout is None else timeout, finish=True)
                self._reactor.call_from_thread(_set_done, done)

            threading.Thread(target=wait, name="asyncio-shutdown", daemon=True).start()
            await done
        await super().shutdown_default_executor()

    async def shutdown_asyncgens(self) -> None:
        """Close asynchronous generators; the reactor's shutdown hooks come first."""
        if self._owns_reactor:
            await run_shutdown_calls(self._reactor)
        await super().shutdown_asyncgens()

    # ── transports ────────────────────────────────────────────────────────────

    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: Any,
        waiter: asyncio.Future[None] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        server: Any = None,
    ) -> LoopTransport:
        from sennit.core.reactor.loopstreams import connected

        return connected(self, sock, protocol, waiter, extra, server)

    def _make_ssl_transport(
        self,
        rawsock: socket.socket,
        protocol: Any,
        sslcontext: ssl.SSLContext,
        waiter: asyncio.Future[None] | None = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        **timeouts: float | None,
    ) -> Any:
        from asyncio.sslproto import SSLProtocol

        from sennit.core.reactor.loopstreams import connected

        # Typed as ever longer ints and never-missing futures; asyncio itself passes these.
        make: Any = SSLProtocol
        layer = make(self, protocol, sslcontext, waiter, server_side, server_hostname, **timeouts)
        connected(self, rawsock, layer, None, extra, server)
        return layer._app_transport

    def _start_serving(
        self,
        protocol_factory: Callable[[], Any],
        sock: socket.socket,
        sslcontext: ssl.SSLContext | None = None,
        server: Any = None,
        backlog: int = 100,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None:
        from sennit.core.reactor.loopstreams import LoopListener

        self._listeners[sock.fileno()] = LoopListener(
            self,
            sock,
            protocol_factory,
            sslcontext,
            server,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
        )

    def _stop_serving(self, sock: socket.socket) -> None:
        listener = self._listeners.pop(sock.fileno(), None)
        if listener is not None:
            listener.pause_accepting()
        # asyncio's own closes the socket, and removes the path of a Unix one.
        super()._stop_serving(sock)
        if listener is not None:
            listener.close()

    async def _sendfile_native(
        self, transp: LoopTransport, file: IO[bytes], offset: int, count: int | None
    ) -> int:
        sent: int = await transp.sendfile(file, offset, count)
        file.seek(offset + sent)
        return sent


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _number(fd: Any) -> int:
    """The descriptor of a number or file.

    Raises:
        ValueError: It is neither, or a closed file.
    """
    if isinstance(fd, int):
        number = fd
    else:
        try:
            number = int(fd.fileno())
        except (AttributeError, TypeError, ValueError):
            raise ValueError(f"Invalid file object: {fd!r}") from None
    if number < 0:
        raise ValueError(f"Invalid file descriptor: {number}")
    return number


def _check_signal(sig: object) -> None:
    if not isinstance(sig, int):
        raise TypeError(f"sig must be an int, not {sig!r}")
    if sig not in signal.valid_signals():
        raise ValueError(f"invalid signal number {sig}")


def new_event_loop() -> ReactorEventLoop:
    """Make an asyncio loop with a reactor of its own.

    For ``asyncio.Runner(loop_factory=new_event_loop)`` and whoever else takes a
    loop or a factory of loops. Closing the loop closes the reactor.
    """
    reactor = Reactor()
    loop = ReactorEventLoop(reactor, owns_reactor=True)
    reactor._event_loop = loop
    return loop


async def end_tasks(loop: ReactorEventLoop) -> None:
    """Cancel what still runs on the loop, wait for it, and report what failed.

    Awaited last in a run; asynchronous generators and the default executor end too.
    """
    me = asyncio.current_task()
    tasks = [task for task in asyncio.all_tasks(loop) if task is not me]
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            loop.call_exception_handler(
                {
                    "message": "a task failed while the run ended",
                    "exception": error,
                    "task": task,
                }
            )
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
