"""The reactor: one loop over descriptors, timers, a ready queue and threads.

`turning` is its turn, `waking` what reaches it from outside; this module is its life.

A reactor lives by itself (`Reactor.run`), under asyncio's `Runner`
(``eventloop.py``), or inside a loop that somebody else runs (``foreign.py``),
which waits on one descriptor and calls `Reactor.turn`.

Not here: sockets (``sennit.core.transport``), asyncio (``eventloop.py``).
"""

from __future__ import annotations

import os
import sys
import threading
from contextvars import Context, copy_context

from sennit.core._implements import implements
from sennit.core.errors import ReactorError, ReactorNotRunningError
from sennit.core.reactor.calls import DelayedCall
from sennit.core.reactor.waking import Waking

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from os import PathLike
    from typing import Any, Protocol, TypeVar, Unpack, overload

    from sennit.core.deferred import Deferred
    from sennit.core.interfaces import (
        IDatagramListener,
        IDatagramProtocol,
        IListener,
        IProcessProtocol,
        IProcessTransport,
        IStreamProtocol,
    )
    from sennit.core.ops.instruments import Meter
    from sennit.core.ops.watch import BlockingWatch
    from sennit.core.protocol import DatagramFactory, ProtocolFactory
    from sennit.core.reactor.eventloop import ReactorEventLoop
    from sennit.core.resolver import IResolver
    from sennit.core.testing.network import MemoryNetwork
    from sennit.core.threads import ThreadPool
    from sennit.core.transport.process import SpawnOptions

    T = TypeVar("T")

    class Dependant(Protocol):
        """Whatever must end when its reactor does."""

        def reactor_stopped(self) -> None: ...

    class SocketSource(Protocol):
        """Makes listening sockets, or has them already (on reload, in a worker).

        Each method gives sockets that are the caller's own to close, and what to call
        when it has: the last to call that ends the place, which may be shared.
        """

        def tcp(
            self, host: str, port: int, backlog: int, reuse_port: bool
        ) -> tuple[list[socket.socket], Callable[[], object]]:
            """Listening at a numeric `host`, or at every interface where it is empty."""
            ...

        def unix(
            self, path: str, backlog: int, mode: int
        ) -> tuple[list[socket.socket], Callable[[], object]]:
            """Listening at a path; its file is the source's to remove."""
            ...

        def fd(self, number: int) -> tuple[list[socket.socket], Callable[[], object]]:
            """A copy of an inherited socket of any kind."""
            ...

        def udp(
            self, host: str, port: int, reuse_port: bool
        ) -> tuple[list[socket.socket], Callable[[], object]]:
            """One datagram socket bound to a numeric `host`, this process' own."""
            ...

    class Host(Protocol):
        """A loop that a reactor lives in, as the reactor sees it (``foreign.py``)."""

        owns_thread: bool

        def request_turn(self) -> None:
            """Call `Reactor.turn` soon; asked for once per turn at most."""

        def turn_ended(self, delay: float | None) -> None:
            """The next turn is due in `delay` seconds; ``None`` when only an event can want it."""

        def stop(self) -> object:
            """Begin to shut down and end the reactor; it has been asked to stop."""

        def event_loop(self) -> asyncio.AbstractEventLoop:
            """The asyncio loop of this thread, where there is one."""
            ...

    class Blocked(Protocol):
        """A thread that waits for what a reactor does (``threads.py``)."""

        def give_up(self) -> None: ...


__all__ = ["Reactor", "current_loop", "current_meter", "current_reactor", "run"]


class _Current(threading.local):
    reactor: Reactor | None = None


_current = _Current()


def _forget_parents_reactor() -> None:
    """In a forked child: the poller and the wake-up are its parent's, which goes on using them."""
    reactor, _current.reactor = _current.reactor, None
    if reactor is not None:
        reactor.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents_reactor)


@implements("IReactor")
class Reactor(Waking):
    """One loop; as many as one likes per process, one running per thread.

    Args:
        poller: ``epoll``, ``kqueue``, ``poll`` or ``select``; the best of the
            platform when it is left out.
        threads: Size of the pool of `defer_to_thread`; by the number of cores when left out.

    Raises:
        ValueError: The platform has no such poller.
    """

    socket_source: SocketSource | None = None
    """Who makes listening sockets; ``None``: whoever listens makes its own."""
    network: MemoryNetwork | None = None
    """Where endpoints are, for a test in memory; ``None``: in the kernel."""
    resolver: IResolver | None = None
    """Who looks names up for connecting (`sennit.core.resolver`); ``None``: the system."""

    def __init__(self, poller: str | None = None, *, threads: int | None = None) -> None:
        super().__init__(poller)
        # Those that end with the reactor, though they may have no descriptor watched.
        self.dependants: set[Dependant] = set()
        self._host: Host | None = None
        self._closed = False
        self._thread: int | None = None
        self._shutdown_calls: list[DelayedCall] = []
        self._event_loop: ReactorEventLoop | None = None
        self._thread_count = threads
        self._threads: ThreadPool | None = None
        # Threads that wait for this one; None while it has not begun or has ended.
        self.blocked: set[Blocked] | None = None
        self.resolver_threads: ThreadPool | None = None
        self.names_awaited = 0  # from `resolver`

    def defer_to_thread(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> Deferred[T]:
        """Run `fn` in the thread pool; the Deferred fires in this thread."""
        if self._threads is None:
            from sennit.core.threads import ThreadPool

            self._threads = ThreadPool(self._thread_count, "sennit-worker")
        return self._threads.defer(self, fn, *args, **kwargs)

    @property
    def thread_pool(self) -> ThreadPool | None:
        """The pool of `defer_to_thread`, once something was asked of it."""
        return self._threads

    def in_own_thread(self) -> bool:
        """Whether the caller is in the thread in which this reactor runs."""
        return self._thread == threading.get_ident()

    def fileno(self) -> int:
        """The one descriptor that tells another loop of all events (``foreign.py``).

        Raises:
            ReactorError: This kind of poller has none.
        """
        fd = self._poller.fileno()
        if fd is None:
            raise ReactorError(
                f"{type(self._poller).__name__} has no descriptor that another loop could watch: "
                "a reactor inside another loop needs epoll or kqueue"
            )
        return fd

    # ── life cycle ────────────────────────────────────────────────────────────

    @property
    def running(self) -> bool:
        """Whether it turns now, by itself or inside another loop."""
        return self._running

    def begin(self, host: Host | None = None) -> None:
        """Become this thread's reactor (for `run` and those who turn it themselves).

        Raises:
            ReactorError: It runs already, it was closed, or another loop has the thread.
        """
        if self._closed:
            raise ReactorError("this reactor was closed")
        if self._running:
            raise ReactorError("this reactor runs already")
        # Inside another loop of asyncio's kind the thread, and the interpreter's wake-up
        # descriptor, are that loop's.
        self._owns_thread = host is None or host.owns_thread
        if self._owns_thread:
            if _current.reactor is not None:
                raise ReactorError("another reactor runs in this thread")
            _current.reactor = self
        self._running = True
        self._stopping = False
        self._thread = threading.get_ident()
        if self.blocked is None:
            self.blocked = set()
        self._host = host
        self._open_wake()
        if self._signals:
            self._watch_signals()
        if host is not None:
            self._outside = self._request_turn
            if self._ready or self._heap or self._flushes:
                self._request_turn()
        elif self._event_loop is not None and not self._event_loop.is_closed():
            self._event_loop.enter_thread()

    def leave(self) -> None:
        """Let go of the thread, and keep all that waits for the next `begin`."""
        if self._signals and self._owns_thread:
            self._unwatch_signals()
        self._running = False
        self._stopping = False
        self._thread = None
        if _current.reactor is self:
            _current.reactor = None

    def end(self, *, at_once: bool = False) -> None:
        """Undo `begin`: what still waits is forgotten, signals do what they did before.

        Args:
            at_once: The program is to end this moment: tell nobody, wait for nothing.
        """
        interrupt: BaseException | None = None
        if not at_once:
            for each in list(self.dependants):
                each.reactor_stopped()
            for handler in list(self.handlers.values()):
                _tell_stopped(handler)
            interrupt = self._run_out()
        loop = self._event_loop
        if loop is not None:
            loop.reactor_ended()
        for signum in list(self._signals):
            self.remove_signal_handler(signum)
        self._close_wake()
        for fd in list(self._descriptors):
            self.remove_reader(fd)
            self.remove_writer(fd)
        self._tell_blocked()
        for pool in (self._threads, self.resolver_threads):
            if pool is not None:
                pool.close(0 if at_once else 5)
        self._threads = self.resolver_threads = None
        self._forget_waiting()
        self._outside = None
        self.leave()
        self._host = None
        if interrupt is not None:
            raise interrupt

    def _tell_blocked(self) -> None:
        """Let go of threads that wait for this reactor, which will not turn again."""
        blocked, self.blocked = self.blocked, None
        for each in list(blocked or ()):
            each.give_up()

    def _run_out(self) -> BaseException | None:
        """A few turns without waiting, in which what was closed tells its protocols so."""
        self._outside = None
        interrupt: BaseException | None = None
        for _ in range(8):
            try:
                Context().run(self._turns)
            except (KeyboardInterrupt, SystemExit) as error:
                interrupt = error
            if not self._ready and not self._flushes and not self._endings:
                break
        return interrupt

    def close(self) -> None:
        """Give the poller's descriptor back; the reactor cannot run again."""
        if self._running:
            raise ReactorError("a running reactor cannot be closed: stop it first")
        if not self._closed:
            self._closed = True
            self._tell_blocked()
            self._poller.close()

    def abandon(self) -> None:
        """Give descriptors back and call nobody: the loop it lived in has gone."""
        self._outside = None
        if self._wake_sockets is not None:
            self._wake_sockets[0].close()
            self._wake_sockets[1].close()
            self._wake_sockets = None
        self._host = None
        self._running = False
        self.close()

    def stop(self) -> None:
        """End `run` in good order; harmless when it is ending already."""
        self._stopping = True
        if self._outside is not None:
            self._outside()

    def at_shutdown(self, fn: Callable[..., object], *args: Any) -> DelayedCall:
        """Call `fn(*args)` when the reactor stops, the last asked for first.

        What it returns, if it is a Deferred or awaitable, is waited for.
        """
        call = DelayedCall(fn, args, copy_context() or None)
        # Those that were cancelled go: servers come and go while a reactor stays.
        self._shutdown_calls[:] = [each for each in self._shutdown_calls if each.fn is not None]
        self._shutdown_calls.append(call)
        return call

    def pop_shutdown_call(self) -> DelayedCall | None:
        """The hook asked for last, taken off the list (for the one who ends the run)."""
        return self._shutdown_calls.pop() if self._shutdown_calls else None

    if TYPE_CHECKING:

        @overload
        def run(self, main: None = None, *, handle_signals: bool = True) -> None: ...
        @overload
        def run(
            self,
            main: Callable[[Reactor], Coroutine[Any, Any, T]],
            *,
            handle_signals: bool = True,
        ) -> T: ...
        @overload
        def run(
            self, main: Callable[[Reactor], Deferred[T]], *, handle_signals: bool = True
        ) -> T: ...
        @overload
        def run(self, main: Callable[[Reactor], None], *, handle_signals: bool = True) -> None: ...
        @overload
        def run(
            self, main: Callable[..., object] | None = None, *, handle_signals: bool = True
        ) -> object: ...

    def run(
        self, main: Callable[[Reactor], object] | None = None, *, handle_signals: bool = True
    ) -> object:
        """Turn until `main` has ended, then shut down in good order.

        Args:
            main: Called with the reactor in the first turn. If it returns a
                coroutine or a Deferred, `run` ends with that, else (and without
                `main`) with `stop`.
            handle_signals: SIGINT and SIGTERM cancel `main`, or stop; a second
                one raises `SystemExit` with 128 + its number there and then.
                Only in the main thread, and only where nobody handles them.

        Returns:
            The outcome of `main`.

        Raises:
            ReactorError: It runs already, was closed, or this thread has a loop.
            KeyboardInterrupt: SIGINT ended a `main` that did not return by itself.
            SystemExit: SIGTERM did (status 0).
        """
        if "asyncio" in sys.modules:
            import asyncio

            try:
                asyncio.get_running_loop()
            except RuntimeError:
                pass
            else:
                raise ReactorError("this thread runs a loop already; await in it, or use serve()")
        from sennit.core.reactor.lifecycle import Run

        return Run(self, handle_signals=handle_signals).run(main)

    def spin(self) -> None:
        """Turn until `stop`, each turn that follows a polluted one in a fresh context."""
        while not self._stopping:
            context = Context()
            context.run(self._turns, context)
        self._stopping = False

    def turn(self) -> None:
        """One turn without waiting, for a host (``foreign.py``)."""
        if self._outside is None:
            # Called from inside a turn: they never nest.
            return
        self._outside = None
        try:
            Context().run(self._turns)
        finally:
            host = self._host
            if host is not None:
                self._outside = self._request_turn
                if self._stopping:
                    self._stopping = False
                    host.stop()
                host.turn_ended(self._wait())

    def _request_turn(self) -> None:
        """Ask the host for one turn; not again before that turn has ended."""
        host = self._host
        if host is not None:
            self._outside = _already_asked
            host.request_turn()

    def report(self, error: BaseException, where: str) -> None:
        """Log an exception that nobody else will see.

        Where asyncio's loop was given an exception handler, that one gets it.
        """
        loop = self._event_loop
        if loop is not None and loop.get_exception_handler() is not None:
            loop.call_exception_handler(
                {"message": f"Unhandled {type(error).__name__} {where}", "exception": error}
            )
            return
        super().report(error, where)

    # ── asyncio ───────────────────────────────────────────────────────────────

    @property
    def event_loop(self) -> asyncio.AbstractEventLoop:
        """This reactor as asyncio's loop, made when first asked for; the host's when embedded."""
        if self._host is not None:
            return self._host.event_loop()
        if self._event_loop is None or self._event_loop.is_closed():
            from sennit.core.reactor.eventloop import ReactorEventLoop

            self._event_loop = ReactorEventLoop(self)
        if self._thread == threading.get_ident():
            self._event_loop.enter_thread()
        return self._event_loop

    @property
    def made_event_loop(self) -> ReactorEventLoop | None:
        """`event_loop` if it was ever asked for."""
        return self._event_loop

    # ── observing ─────────────────────────────────────────────────────────────

    def watch_blocking(self, threshold: float = 0.1) -> BlockingWatch:
        """Name callbacks that keep the loop for more than `threshold` seconds in the log.

        From now on the reactor is measured, which costs a little per event; call
        ``stop()`` of what is returned to have no more of the watch.

        Raises:
            UsageError: `threshold` is less than a millisecond.
        """
        from sennit.core.ops.watch import watch_blocking

        return watch_blocking(self, threshold)

    # ── sockets ───────────────────────────────────────────────────────────────

    def listen_tcp(
        self,
        factory: ProtocolFactory,
        port: int,
        host: str = "",
        *,
        backlog: int = 1024,
        reuse_port: bool = False,
    ) -> Deferred[IListener]:
        """Accept TCP connections; an empty `host` means every interface of both families."""
        from sennit.core.transport import listening

        return listening.listen_tcp(
            self, factory, port, host, backlog=backlog, reuse_port=reuse_port
        )

    def connect_tcp(
        self,
        factory: ProtocolFactory,
        host: str,
        port: int,
        *,
        timeout: float = 30.0,
        local_address: tuple[str, int] | None = None,
    ) -> Deferred[IStreamProtocol]:
        """Connect to the first address of `host` that answers (RFC 8305)."""
        from sennit.core.endpoint import connect

        return connect.connect_tcp(
            self, factory, host, port, timeout=timeout, local_address=local_address
        )

    def listen_unix(
        self, factory: ProtocolFactory, path: str, *, backlog: int = 1024, mode: int = 0o666
    ) -> Deferred[IListener]:
        """Accept connections to a Unix socket; replaces a socket file that nobody serves."""
        from sennit.core.transport import listening

        return listening.listen_unix(self, factory, path, backlog=backlog, mode=mode)

    def connect_unix(
        self, factory: ProtocolFactory, path: str, *, timeout: float = 30.0
    ) -> Deferred[IStreamProtocol]:
        """Connect to a Unix socket."""
        from sennit.core.endpoint import connect

        return connect.connect_unix(self, factory, path, timeout=timeout)

    def listen_udp(
        self, factory: DatagramFactory, port: int, host: str = "", **options: Any
    ) -> Deferred[IDatagramListener]:
        """Receive UDP datagrams; options: `sennit.core.endpoint.udp.listen_udp`."""
        from sennit.core.endpoint import udp

        return udp.listen_udp(self, factory, port, host, **options)

    def connect_udp(
        self, factory: DatagramFactory, host: str, port: int, **options: Any
    ) -> Deferred[IDatagramProtocol]:
        """Exchange UDP datagrams with one peer; options: `sennit.core.endpoint.udp.connect_udp`."""
        from sennit.core.endpoint import udp

        return udp.connect_udp(self, factory, host, port, **options)

    def listen_multicast(
        self, factory: DatagramFactory, port: int, groups: Sequence[str] = (), **options: Any
    ) -> Deferred[IDatagramListener]:
        """Receive from multicast groups; options: `sennit.core.endpoint.udp.listen_multicast`."""
        from sennit.core.endpoint import udp

        return udp.listen_multicast(self, factory, port, groups, **options)

    def listen_unix_datagram(
        self, factory: DatagramFactory, path: str, **options: Any
    ) -> Deferred[IDatagramListener]:
        """Receive datagrams at a Unix socket; options: `sennit.core.transport.unix_datagrams`."""
        from sennit.core.transport import unix_datagrams

        return unix_datagrams.listen_unix_datagram(self, factory, path, **options)

    def connect_unix_datagram(
        self, factory: DatagramFactory, path: str, **options: Any
    ) -> Deferred[IDatagramProtocol]:
        """Exchange datagrams with one Unix socket (`sennit.core.transport.unix_datagrams`)."""
        from sennit.core.transport import unix_datagrams

        return unix_datagrams.connect_unix_datagram(self, factory, path, **options)

    # ── processes ─────────────────────────────────────────────────────────────

    def spawn_process(
        self,
        protocol: IProcessProtocol,
        command: Sequence[str | bytes | PathLike[str]],
        **options: Unpack[SpawnOptions],
    ) -> Deferred[IProcessTransport]:
        """Start a program (`sennit.core.transport.process.spawn` says how); fires when it runs."""
        from sennit.core.transport import process

        # The Any: a Deferred of a class is not one of its contract, since both ways lead into it.
        starting: Deferred[Any] = process.spawn(self, protocol, command, **options)
        return starting


def _already_asked() -> None:
    """A host owes the reactor a turn; nothing to do."""


def _tell_stopped(handler: Callable[[int], object]) -> None:
    """Tell the owner of a descriptor, if it is one of ours, that its reactor stops."""
    bound = getattr(handler, "args", (handler,))[0]
    owner = getattr(bound, "__self__", None)
    stopped = getattr(owner, "reactor_stopped", None)
    if stopped is not None:
        stopped()


def current_reactor() -> Reactor:
    """The reactor that runs in this thread.

    Inside an asyncio loop that somebody else runs, an embedded one, made on the spot.

    Raises:
        ReactorNotRunningError: There is neither.
    """
    reactor = _current.reactor
    if reactor is not None:
        return reactor
    if "asyncio" in sys.modules:
        import asyncio

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            from sennit.core.reactor.foreign import reactor_in

            return reactor_in(loop)
    raise ReactorNotRunningError(
        "no reactor runs in this thread: call this from run(main), or inside a running asyncio loop"
    )


def current_meter() -> Meter | None:
    """What counts in this thread's reactor; ``None`` where nothing does, or none runs.

    For servers that count from their next connection on: a program without metrics loads nothing
    of them.
    """
    try:
        reactor = current_reactor()
    except ReactorNotRunningError:
        return None
    # A test's clock has none, and measures nothing.
    meter: Meter | None = getattr(reactor, "meter", None)
    return meter


def current_loop() -> asyncio.AbstractEventLoop:
    """asyncio's loop of this thread: the running one, or the running reactor's, made on demand.

    Raises:
        ReactorNotRunningError: Neither runs.
    """
    if "asyncio" in sys.modules:
        import asyncio

        try:
            return asyncio.get_running_loop()
        except RuntimeError:
            pass
    return current_reactor().event_loop


if TYPE_CHECKING:

    @overload
    def run(main: None = None, *, poller: str | None = None, host: str | None = None) -> None: ...
    @overload
    def run(
        main: Callable[[Reactor], Coroutine[Any, Any, T]],
        *,
        poller: str | None = None,
        host: str | None = None,
    ) -> T: ...
    @overload
    def run(
        main: Callable[[Reactor], Awaitable[T]],
        *,
        poller: str | None = None,
        host: str | None = None,
    ) -> T: ...
    @overload
    def run(
        main: Callable[[Reactor], None], *, poller: str | None = None, host: str | None = None
    ) -> None: ...


def run(
    main: Callable[[Reactor], object] | None = None,
    *,
    poller: str | None = None,
    host: str | None = None,
) -> object:
    """Make a reactor, run `main` with it, and give everything back (see `Reactor.run`).

    Args:
        main: As for `Reactor.run`.
        poller: ``epoll``, ``kqueue``, ``poll`` or ``select``; the best one when left out.
        host: The loop to live in, of the entry points ``sennit.reactors``: ``qt``, ``gtk``,
            ``tk``, ``cocoa``; the reactor's own when left out.

    Raises:
        UnknownPluginError: There is no such host; the text lists those there are.
        BrokenPluginError: What it needs is not installed; the text says how it is.
    """
    if host is not None:
        from sennit.core.plugin import find

        make: Any = find("sennit.reactors", host)
        return make(poller=poller).run(main)
    reactor = Reactor(poller)
    run_it: Any = reactor.run  # its overloads are for callers
    try:
        return run_it(main)
    finally:
        reactor.close()
