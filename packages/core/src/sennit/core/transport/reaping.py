"""Waiting for children, each by itself, so that nobody else's are touched.

A child is watched through a descriptor of its own (``pidfd_open(2)``, Linux 5.3 and
later), which the poller waits for like any other; it is reaped by that descriptor's
word, never with ``waitpid(-1)``, which would take the children of other libraries.
Where there is no such descriptor a thread per child waits for that child alone.

Somebody else may be less considerate and reap a child of ours. It has ended all the
same, and `ProcessStatus` says that nobody knows how.

Sources: pidfd_open(2), waitid(2), wait4(2), proc(5) (``/proc/PID/task/TID/children``).
"""

from __future__ import annotations

import os
import signal
from contextvars import copy_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from sennit.core.reactor.base import Reactor

__all__ = ["Child", "ProcessStatus", "descendants", "watch_child"]

USE_PIDFD = True
"""Whether to ask for descriptors of processes (tests switch it off)."""

_LAST_WAIT: Final = 1.0
"""Seconds that a reactor which stops waits for a child it has killed."""


class ProcessStatus:
    """How a process ended.

    Attributes:
        exit_code: What it exited with, ``None`` when a signal killed it.
        signal: The signal that killed it, else ``None``.
        core_dumped: Whether it left a core dump.
        user_time: Seconds of CPU it used by itself, its reaped children included.
        system_time: Seconds of CPU the system used for it.
        max_rss: Octets of memory it had at most.
    """

    __slots__ = ("core_dumped", "exit_code", "max_rss", "signal", "system_time", "user_time")

    def __init__(
        self,
        exit_code: int | None = None,
        signal: int | None = None,
        *,
        core_dumped: bool = False,
        user_time: float = 0.0,
        system_time: float = 0.0,
        max_rss: int = 0,
    ) -> None:
        self.exit_code = exit_code
        self.signal = signal
        self.core_dumped = core_dumped
        self.user_time = user_time
        self.system_time = system_time
        self.max_rss = max_rss

    @property
    def known(self) -> bool:
        """False when somebody else reaped the child, and with it how it ended."""
        return self.exit_code is not None or self.signal is not None

    @property
    def success(self) -> bool:
        """Whether it exited with 0."""
        return self.exit_code == 0

    @property
    def returncode(self) -> int | None:
        """As `subprocess` has it: the exit code, or the signal's number with a minus."""
        return -self.signal if self.signal is not None else self.exit_code

    def __eq__(self, other: object) -> bool:
        """Whether both ended in the same way."""
        return (
            isinstance(other, ProcessStatus)
            and other.exit_code == self.exit_code
            and other.signal == self.signal
        )

    def __hash__(self) -> int:
        """As the way it ended."""
        return hash((self.exit_code, self.signal))

    def __str__(self) -> str:
        """Such as ``exit code 1``, ``killed by SIGTERM``."""
        if self.signal is not None:
            try:
                name = signal.Signals(self.signal).name
            except ValueError:
                name = f"signal {self.signal}"
            return f"killed by {name}" + (", core dumped" if self.core_dumped else "")
        if self.exit_code is None:
            return "ended; somebody else reaped it, so nobody knows how"
        return f"exit code {self.exit_code}"

    def __repr__(self) -> str:
        """The same, marked as what it is."""
        return f"<ProcessStatus {self}>"


def _status_of(waited: int, usage: Any = None) -> ProcessStatus:
    """The status for a number of ``waitpid``'s."""
    user, system, rss = 0.0, 0.0, 0
    if usage is not None:
        user, system = usage.ru_utime, usage.ru_stime
        # KiB on Linux, octets on macOS.
        rss = usage.ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024)
    if os.WIFSIGNALED(waited):
        return ProcessStatus(
            None,
            os.WTERMSIG(waited),
            core_dumped=os.WCOREDUMP(waited),
            user_time=user,
            system_time=system,
            max_rss=rss,
        )
    return ProcessStatus(os.WEXITSTATUS(waited), user_time=user, system_time=system, max_rss=rss)


class Child:
    """A process that is being waited for (made by `watch_child`).

    Attributes:
        pid: Its number, which is its own for as long as `status` is ``None``.
        status: How it ended; ``None`` while it runs.
    """

    __slots__ = (
        "__weakref__",
        "_context",
        "_ended",
        "_fd",
        "_kill_at_stop",
        "_reactor",
        "pid",
        "status",
    )

    def __init__(
        self,
        reactor: Reactor,
        pid: int,
        ended: Callable[[ProcessStatus], object],
        *,
        kill_at_stop: bool,
    ) -> None:
        self._reactor = reactor
        self._ended: Callable[[ProcessStatus], object] | None = ended
        self._context = copy_context() or None
        self._fd = -1
        self._kill_at_stop = kill_at_stop
        self.pid = pid
        self.status: ProcessStatus | None = None

    def send_signal(self, number: int) -> bool:
        """Send it a signal; False when it has ended.

        Raises:
            PermissionError: It runs as somebody we may not signal.
        """
        if self.status is not None:
            return False
        try:
            if self._fd >= 0:
                # By the descriptor: whoever reaped it elsewhere may have freed the number.
                signal.pidfd_send_signal(self._fd, number)
            else:
                os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def begin(self) -> None:
        """Begin to wait for it."""
        if USE_PIDFD and hasattr(os, "pidfd_open"):
            try:
                self._fd = os.pidfd_open(self.pid)
            except ProcessLookupError:
                # Reaped before we came; the callback is not called from here.
                self._reactor.call_soon(self._finish, ProcessStatus())
                return
            except OSError:
                pass  # an old kernel, a sandbox, or no descriptor left
        if self._fd < 0:
            self._wait_in_thread()
            return
        from sennit.core.reactor.pollers import READ

        try:
            self._reactor.watch(self._fd, READ, self._on_event)
        except OSError:
            # `select` takes no high numbers.
            fd, self._fd = self._fd, -1
            os.close(fd)
            self._wait_in_thread()

    def _wait_in_thread(self) -> None:
        import threading

        thread = threading.Thread(target=self._wait, name=f"sennit-wait-{self.pid}", daemon=True)
        self._reactor.dependants.add(self)
        thread.start()

    def _wait(self) -> None:
        try:
            _, waited, usage = os.wait4(self.pid, 0)
        except ChildProcessError:
            status = ProcessStatus()
        else:
            status = _status_of(waited, usage)
        try:
            self._reactor.call_from_thread(self._finish, status)
        except RuntimeError:
            pass  # the reactor has been closed meanwhile

    def _on_event(self, mask: int) -> None:
        status = self._reap()
        if status is not None:
            self._finish(status)

    def _reap(self) -> ProcessStatus | None:
        """Take what the kernel keeps of it; ``None`` while it runs."""
        try:
            # Only looked at: that it is our zombie makes the number safe for `wait4`,
            # which tells what the process has used, too.
            found = os.waitid(os.P_PIDFD, self._fd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None:
                return None
            pid, waited, usage = os.wait4(self.pid, os.WNOHANG)
        except ChildProcessError:
            return ProcessStatus()
        return _status_of(waited, usage) if pid else ProcessStatus()

    def _release(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._reactor.unwatch(fd)
            # Like sockets, at the end of the turn.
            self._reactor.ended(lambda: os.close(fd))
        self._reactor.dependants.discard(self)

    def _finish(self, status: ProcessStatus) -> None:
        if self.status is not None:
            return
        self.status = status
        self._release()
        ended, self._ended = self._ended, None
        context, self._context = self._context, None
        if ended is not None:
            if context is None:
                ended(status)
            else:
                context.run(ended, status)

    def reactor_stopped(self) -> None:
        """The reactor ends: so does the child, which nobody would wait for any more."""
        if self.status is not None:
            return
        if not self._kill_at_stop:
            self._release()
            return
        try:
            self.send_signal(signal.SIGKILL)
        except PermissionError:
            pass
        status: ProcessStatus | None = None
        if self._fd >= 0:
            import select

            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            if poll.poll(_LAST_WAIT * 1000):
                status = self._reap()
        # Without a descriptor its thread reaps it, whenever it ends.
        self._finish(status or ProcessStatus())


def watch_child(
    reactor: Reactor,
    pid: int,
    ended: Callable[[ProcessStatus], object],
    *,
    kill_at_stop: bool = True,
) -> Child:
    """Wait for a child of this process, and reap it.

    Args:
        reactor: Where it is waited for.
        pid: The child, which nobody has waited for yet.
        ended: Called once, in the reactor's thread and the caller's context, never
            from inside this call.
        kill_at_stop: Whether the child is killed when the reactor stops before it
            has ended. Else nobody waits for it any more.
    """
    child = Child(reactor, pid, ended, kill_at_stop=kill_at_stop)
    child.begin()
    return child


def descendants(pid: int) -> list[int]:
    """Children of a process, and theirs, parents first; none where ``/proc`` does not tell."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        try:
            tasks = os.listdir(f"/proc/{parent}/task")
        except OSError:
            continue
        for task in tasks:
            try:
                with open(f"/proc/{parent}/task/{task}/children") as file:
                    children = [int(each) for each in file.read().split()]
            except OSError:
                continue
            found += children
            waiting += children
    return found
