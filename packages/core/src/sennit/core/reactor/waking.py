"""What reaches a reactor from outside its turn: other threads, signals, foreign descriptors."""

from __future__ import annotations

import signal
import socket
import threading
from contextvars import Context, copy_context

from sennit.core.errors import ReactorError
from sennit.core.reactor.calls import DelayedCall
from sennit.core.reactor.pollers import ERROR, HANGUP, READ, WRITE
from sennit.core.reactor.turning import Turning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Waking"]


class _Descriptor:
    """What `add_reader` and `add_writer` know of one descriptor."""

    __slots__ = ("reader", "writer")

    def __init__(self) -> None:
        self.reader: DelayedCall | None = None
        self.writer: DelayedCall | None = None

    def mask(self) -> int:
        return (READ if self.reader else 0) | (WRITE if self.writer else 0)

    def handle(self, mask: int) -> None:
        reader, writer = self.reader, self.writer
        if reader is not None and mask & (READ | ERROR | HANGUP):
            _call(reader)
        if writer is not None and mask & (WRITE | ERROR | HANGUP):
            _call(writer)


def _call(call: DelayedCall) -> None:
    fn = call.fn
    if fn is None:
        return
    if call.context is None:
        fn(*call.args)
    else:
        call.context.run(fn, *call.args)


class Waking(Turning):
    """The part of `Reactor` that threads, signals and descriptors of others call upon."""

    def __init__(self, poller: str | None = None) -> None:
        super().__init__(poller)
        self._descriptors: dict[int, _Descriptor] = {}
        self._wake_sockets: tuple[socket.socket, socket.socket] | None = None
        self._woken = False
        self._signals: dict[int, tuple[DelayedCall, Any]] = {}
        self._running = False
        self._owns_thread = True

    # ── threads ───────────────────────────────────────────────────────────────

    def call_from_thread(
        self, fn: Callable[..., object], *args: Any, context: Context | None = None
    ) -> DelayedCall:
        """`call_soon` from any thread."""
        call = DelayedCall(fn, args, (copy_context() or None) if context is None else context)
        self._ready.append(call)
        self._wake()
        return call

    def _wake(self) -> None:
        """Make a poll that may be waiting return.

        The flag is lowered after the octet is read, and the ready queue is run
        after that: who finds it raised has queued before the queue is run. (Lowered
        before, it would stay raised for ever when the read takes the octet of
        somebody who has raised it in between.)
        """
        if not self._woken:
            self._woken = True
            sockets = self._wake_sockets
            if sockets is not None:
                try:
                    sockets[1].send(b"\0")
                except OSError:
                    # Full: a wake-up is under way. Closed: nothing waits any more.
                    pass

    def _on_wake(self, mask: int) -> None:
        if self._wake_sockets is not None:
            try:
                self._wake_sockets[0].recv(4096)
            except BlockingIOError:
                pass
        self._woken = False

    def _open_wake(self) -> None:
        """Make the pair of sockets that ends a poll from elsewhere."""
        if self._wake_sockets is None:
            here, there = socket.socketpair()
            here.setblocking(False)
            there.setblocking(False)
            self._woken = False
            self._wake_sockets = (here, there)
            self.watch(here.fileno(), READ, self._on_wake)

    def _close_wake(self) -> None:
        sockets = self._wake_sockets
        if sockets is not None:
            self._unwatch_signals()
            self._wake_sockets = None
            self.unwatch(sockets[0].fileno())
            sockets[0].close()
            sockets[1].close()

    # ── descriptors ───────────────────────────────────────────────────────────

    def add_reader(self, fd: int, fn: Callable[..., object], *args: Any) -> DelayedCall:
        """Call `fn(*args)` whenever `fd` can be read; replaces, and cancels, the one before.

        Raises:
            ReactorError: The descriptor belongs to a transport.
            OSError: The kernel cannot watch it.
        """
        entry = self._descriptor(fd, READ)
        before, entry.reader = entry.reader, DelayedCall(fn, args, copy_context() or None)
        if before is not None:
            before.cancel()
        return entry.reader

    def add_writer(self, fd: int, fn: Callable[..., object], *args: Any) -> DelayedCall:
        """Call `fn(*args)` whenever `fd` can be written; replaces, and cancels, the one before.

        Raises:
            ReactorError: The descriptor belongs to a transport.
            OSError: The kernel cannot watch it.
        """
        entry = self._descriptor(fd, WRITE)
        before, entry.writer = entry.writer, DelayedCall(fn, args, copy_context() or None)
        if before is not None:
            before.cancel()
        return entry.writer

    def _descriptor(self, fd: int, wanted: int) -> _Descriptor:
        """The entry of `fd`, which the poller watches for `wanted` too from now on."""
        entry = self._descriptors.get(fd)
        if entry is None:
            if fd in self.handlers:
                raise ReactorError(f"descriptor {fd} belongs to a transport")
            entry = _Descriptor()
            self.watch(fd, wanted, entry.handle)
            self._descriptors[fd] = entry
            return entry
        mask = entry.mask() | wanted
        try:
            self.rewatch(fd, mask)
        except FileNotFoundError:
            # Closed without a word to us, and the number given to another one.
            self._poller.register(fd, mask)
        return entry

    def remove_reader(self, fd: int) -> bool:
        """Stop calling the reader of `fd`; False when there was none."""
        entry = self._descriptors.get(fd)
        if entry is None or entry.reader is None:
            return False
        entry.reader.cancel()
        entry.reader = None
        self._descriptor_changed(fd, entry)
        return True

    def remove_writer(self, fd: int) -> bool:
        """Stop calling the writer of `fd`; False when there was none."""
        entry = self._descriptors.get(fd)
        if entry is None or entry.writer is None:
            return False
        entry.writer.cancel()
        entry.writer = None
        self._descriptor_changed(fd, entry)
        return True

    def _descriptor_changed(self, fd: int, entry: _Descriptor) -> None:
        mask = entry.mask()
        try:
            if mask:
                self.rewatch(fd, mask)
            else:
                del self._descriptors[fd]
                self.unwatch(fd)
        except (OSError, ValueError):
            # Closed before it was removed; the kernel has forgotten it by itself.
            pass

    # ── signals ───────────────────────────────────────────────────────────────

    def add_signal_handler(self, signum: int, fn: Callable[..., object], *args: Any) -> None:
        """Call `fn(*args)` in a turn of the loop when signal `signum` comes.

        Raises:
            ValueError: The number is no signal, or this is not the main thread.
            OSError: The signal cannot be caught.
        """
        before = self._signals.get(signum)
        call = DelayedCall(fn, args, copy_context() or None)
        previous = before[1] if before else signal.getsignal(signum)
        signal.signal(signum, self._on_signal)
        self._signals[signum] = (call, previous)
        if self._running:
            self._watch_signals()

    def remove_signal_handler(self, signum: int) -> bool:
        """Let the signal do what it did before; False when there was no handler."""
        entry = self._signals.pop(signum, None)
        if entry is None:
            return False
        signal.signal(signum, signal.SIG_DFL if entry[1] is None else entry[1])
        return True

    def _on_signal(self, signum: int, frame: object) -> None:
        entry = self._signals.get(signum)
        if entry is not None:
            call = entry[0]
            self._ready.append(DelayedCall(call.fn, call.args, call.context))
            # The interpreter's wake-up octet ends the poll of the main thread;
            # this one serves a poll that some other poller has swallowed it in.
            self._wake()

    def _watch_signals(self) -> None:
        # Inside another loop the wake-up descriptor is that loop's to set.
        if (
            self._wake_sockets is not None
            and self._owns_thread
            and threading.current_thread() is threading.main_thread()
        ):
            signal.set_wakeup_fd(self._wake_sockets[1].fileno(), warn_on_full_buffer=False)

    def _unwatch_signals(self) -> None:
        sockets = self._wake_sockets
        if sockets is not None and threading.current_thread() is threading.main_thread():
            previous = signal.set_wakeup_fd(-1)
            if previous not in (-1, sockets[1].fileno()):
                signal.set_wakeup_fd(previous)

    def forked(self) -> None:
        """This is a child of the process that it runs in: a signal here must not wake it there."""
        self._unwatch_signals()

    def handles_signal(self, signum: int) -> bool:
        """Whether `add_signal_handler` was called for it."""
        return signum in self._signals
