"""A child process as a transport: its pipes, its end, and signals to it.

`spawn` (which is `Reactor.spawn_process`) starts a program with the descriptors it is
to have and tells a protocol what it says (`sennit.core.protocol.ProcessProtocol`). Each pipe
is a stream transport of its own with the marks and limits of all: while nobody reads,
the pipe fills and the child is held up by the kernel.

*Exited* and *ended* are two things. A process that has exited is gone, though its last
words may wait in a pipe; it has ended when its pipes are closed too. A pipe that
somebody else holds open (a grandchild in the background) is closed by us five seconds after
the exit, unless octets wait in it that the protocol has not taken yet.

Not here: how a program is started (``spawning.py``), how its end is learnt
(``reaping.py``), `run_process` for coroutines (``sennit.core.process``).
"""

from __future__ import annotations

import os
import signal
from contextvars import copy_context

from sennit.core._implements import implements
from sennit.core.deferred import Deferred, fail, succeed
from sennit.core.errors import ConnectionAborted, ReactorError, SpawnError, UsageError
from sennit.core.protocol import ProcessProtocol, Protocol
from sennit.core.reactor.pollers import READ
from sennit.core.transport.childplan import Plan, Terminal, set_window_size
from sennit.core.transport.pipes import Ends, PipeTransport
from sennit.core.transport.reaping import descendants, watch_child
from sennit.core.transport.spawning import Program, helper_error, spawn_error, start_program
from sennit.core.transport.stream import SocketTransport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import Any, Final, TypeAlias, TypedDict

    from sennit.core.interfaces import Buffer, IProcessProtocol
    from sennit.core.reactor.base import Reactor
    from sennit.core.reactor.calls import DelayedCall
    from sennit.core.transport.reaping import Child, ProcessStatus

    Word: TypeAlias = str | bytes | os.PathLike[str]

    class HasFileno:
        """A file or socket."""

        def fileno(self) -> int: ...

    class SpawnOptions(TypedDict, total=False):
        """What `spawn` takes beside protocol and command."""

        executable: Word | None
        env: Mapping[str, str] | None
        cwd: Word | None
        umask: int | None
        uid: int | None
        gid: int | None
        groups: Sequence[int] | None
        process_group: int | None
        session: bool
        pty: Terminal | bool
        descriptors: Mapping[int, int | str | Any] | None


__all__ = ["LINGER", "ProcessTransport", "Terminal", "spawn"]

LINGER: Final = 5.0
"""Seconds after the exit that a pipe may stay open which another process holds."""
GRACE: Final = 5.0
"""Seconds between SIGTERM and SIGKILL."""
_DEFAULT: Final[Mapping[int, str]] = {0: "w", 1: "r", 2: "r"}


class _PipeEnd:
    """The protocol at our end of one pipe: hands all on with the child's number of it."""

    __slots__ = ("_fd", "_process", "_received")

    def __init__(self, process: ProcessTransport, fd: int) -> None:
        self._process = process
        self._fd = fd
        self._received = process.protocol.pipe_data_received

    def connection_made(self, transport: object) -> None:
        """Nothing to do: the process is told of, not its pipes."""

    def data_received(self, data: bytes) -> None:
        self._received(self._fd, data)

    def eof_received(self) -> None:
        """The transport closes by itself."""

    def pause_writing(self) -> None:
        self._process.protocol.pause_writing(self._fd)

    def resume_writing(self) -> None:
        self._process.protocol.resume_writing(self._fd)

    def connection_lost(self, exc: Exception | None) -> None:
        self._process._call("pipe_connection_lost", self._fd, exc)


class _TerminalPipe(PipeTransport):
    """Our side of a child's terminal, which is kept until the child has exited.

    A program may close its standard streams a moment before it exits. Closing ours upon
    that would hang the terminal up, and SIGHUP would be what the program ended by.
    """

    __slots__ = ("at_end", "process")

    process: ProcessTransport

    def start(self) -> None:
        self.at_end = False
        super().start()

    def _on_eof(self) -> None:
        if self.process.status is not None:
            super()._on_eof()
            return
        self.at_end = True
        if self._registered:
            # It would be reported again and again.
            self._mask = self._registered = 0
            self._reactor.unwatch(self._fd)

    def child_exited(self) -> None:
        """Nobody is hung up any more."""
        if self.at_end and not self.is_closing():
            super()._on_eof()


@implements("IProcessTransport")
class ProcessTransport:
    """A child process (made by `spawn`).

    Attributes:
        command: What runs, for messages.
        protocol: Who is told.
    """

    def __init__(self, reactor: Reactor, protocol: IProcessProtocol, program: Program) -> None:
        self._reactor = reactor
        self._program = program
        self.protocol = protocol
        self.command = program.name
        self._pipes: dict[int, PipeTransport | SocketTransport] = {}
        self._open: set[PipeTransport | SocketTransport] = set()
        self._child: Child | None = None
        self._status: ProcessStatus | None = None
        self._made = False
        self._ended = False
        self._linger: DelayedCall | None = None
        self._killing: DelayedCall | None = None
        self._condemned: list[int] = []
        self._own_group = program.session or program.process_group == 0

    def __repr__(self) -> str:
        """Class, program, number and state."""
        state = "running" if self._status is None else str(self._status)
        number = "" if self._child is None else f" {self.pid}"
        return f"<{type(self).__name__} {self.command!r}{number} {state}>"

    @property
    def pid(self) -> int:
        """The number of the process."""
        if self._child is None:
            raise ReactorError("the process has not been started")
        return self._child.pid

    @property
    def status(self) -> ProcessStatus | None:
        """How it ended; ``None`` while it runs."""
        return self._status

    @property
    def ended(self) -> bool:
        """Whether it and all its pipes are gone."""
        return self._ended

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """``reactor``, ``pid``."""
        if name == "reactor":
            return self._reactor
        return self.pid if name == "pid" else default

    # ── its pipes ─────────────────────────────────────────────────────────────

    @property
    def pipes(self) -> Mapping[int, PipeTransport | SocketTransport]:
        """Our ends, by the child's numbers; a terminal is at 0 and at 1."""
        return dict(self._pipes)

    def pipe(self, fd: int) -> PipeTransport | SocketTransport:
        """Our end of the pipe at the child's descriptor `fd`.

        It may be given a protocol of its own, such as a `Stream`'s.

        Raises:
            UsageError: There is none.
        """
        try:
            return self._pipes[fd]
        except KeyError:
            known = ", ".join(map(str, sorted(self._pipes))) or "none"
            raise UsageError(
                f"no pipe at descriptor {fd} of {self!r}; there are: {known}"
            ) from None

    def write(self, data: Buffer, fd: int = 0) -> None:
        """Queue octets for its standard input, or for `fd`; ignored when it reads no more."""
        self.pipe(fd).write(data)

    def writable(self, fd: int = 0) -> Awaitable[None]:
        """Wait until more may be written; free when there is room.

        Fails with `ConnectionLost` when it reads no more.
        """
        return self.pipe(fd).writable()

    def close_pipe(self, fd: int = 0) -> None:
        """Close a pipe once what was written has left; at 0 the child sees the end of its input."""
        pipe = self.pipe(fd)
        if pipe is self._pipes.get(1) and fd == 0:
            pipe.write_eof()  # a terminal, which is the way out too
        else:
            pipe.close()

    def pause_reading(self, fd: int | None = None) -> None:
        """Read no more of `fd`, or of all; the child is held up once the pipe is full."""
        for pipe in self._pipes.values() if fd is None else (self.pipe(fd),):
            pipe.pause_reading()

    def resume_reading(self, fd: int | None = None) -> None:
        """Go on reading."""
        for number, pipe in self._pipes.items() if fd is None else ((fd, self.pipe(fd)),):
            if fd is not None or number != 0 or pipe is self._pipes.get(1):
                pipe.resume_reading()

    def set_window_size(self, rows: int, columns: int) -> None:
        """Tell a child on a terminal that its window has changed (it gets SIGWINCH).

        Raises:
            UsageError: It has no terminal.
        """
        if not self._program.terminal:
            raise UsageError(f"{self!r} has no terminal")
        pipe = self._pipes[0]
        if isinstance(pipe, PipeTransport) and not pipe.is_closing():
            set_window_size(pipe.fileno(), rows, columns)

    # ── signals ───────────────────────────────────────────────────────────────

    def send_signal(self, number: int) -> bool:
        """Send the process a signal, and it alone; False when it is gone.

        Raises:
            PermissionError: It runs as somebody we may not signal.
        """
        return self._child is not None and self._child.send_signal(number)

    def terminate(self, grace: float = GRACE) -> None:
        """Ask it and all its descendants to end (SIGTERM); kill who is left after `grace`."""
        if self._ended or self._killing is not None:
            return
        self._signal_tree(signal.SIGTERM)
        self._killing = self._reactor.call_later(grace, self._kill_left)

    def kill(self) -> None:
        """Kill it and all its descendants (SIGKILL), there and then."""
        if not self._ended:
            self._signal_tree(signal.SIGKILL)

    def _kill_left(self) -> None:
        self._killing = None
        self._signal_tree(signal.SIGKILL)

    def _signal_tree(self, number: int) -> None:
        """Signal the process, its process group if that is its own, and all its descendants.

        Those that have left the group are found through ``/proc`` while their parents
        live, and remembered by descriptors that stand for them whatever becomes of the numbers.
        """
        child = self._child
        if child is None:
            return
        if child.status is None:
            for pid in descendants(child.pid):
                try:
                    self._condemned.append(os.pidfd_open(pid))
                except (AttributeError, OSError):
                    _try(os.kill, pid, number)
        # A group whose leader has gone is safe to name for as long as it has members,
        # and it was not long ago that it had.
        if not self._own_group or not _try(os.killpg, child.pid, number):
            _try(child.send_signal, number)
        for fd in self._condemned:
            _try(signal.pidfd_send_signal, fd, number)

    # ── its life ──────────────────────────────────────────────────────────────

    def started(self, pid: int) -> None:
        """It has a number: wait for its end (called by `spawn`)."""
        self._reactor.dependants.add(self)
        self._child = watch_child(self._reactor, pid, self._exited)

    def runs(self) -> None:
        """It runs its program: tell the protocol, begin to read (called by `spawn`)."""
        self._made = True
        self._call("connection_made", self)
        for pipe in set(self._pipes.values()):
            if not pipe.is_closing():
                pipe.start()
        if self._status is not None:
            self._tell_exit()

    def give(self, fd: int, pipe: PipeTransport | SocketTransport) -> None:
        """Our end of a pipe (called by `spawn`)."""
        self._pipes[fd] = pipe
        self._open.add(pipe)

    def never_ran(self) -> None:
        """Its program could not be run: forget it without a word (called by `spawn`)."""
        self._ended = True
        if self._killing is not None:
            self._killing.cancel()
            self._killing = None
        self._forget_condemned()
        self._reactor.dependants.discard(self)
        for pipe in tuple(self._open):
            pipe.set_protocol(Protocol())
            pipe.abort()
        self._open.clear()

    def _call(self, name: str, *args: object) -> None:
        method: Callable[..., object] = getattr(self.protocol, name)
        try:
            method(*args)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._reactor.report(error, f"in {type(self.protocol).__qualname__}.{name} of {self!r}")

    def _exited(self, status: ProcessStatus) -> None:
        self._status = status
        if self._made:
            self._tell_exit()

    def _tell_exit(self) -> None:
        self._call("process_exited", self._status)
        for pipe in tuple(self._open):
            if isinstance(pipe, _TerminalPipe):
                pipe.child_exited()
        if self._open:
            self._linger = self._reactor.call_later(LINGER, self._lingered)
        else:
            self._end()

    def _lingered(self) -> None:
        """Somebody else holds pipes open, or the protocol has not taken all that came."""
        for pipe in tuple(self._open):
            if isinstance(pipe, PipeTransport):
                pipe.read_now()
                if pipe.is_closing() or (not pipe.is_reading() and pipe.waiting_octets()):
                    continue
            pipe.abort("lingered")
        self._linger = self._reactor.call_later(LINGER, self._lingered) if self._open else None

    def connection_gone(self, transport: SocketTransport) -> None:
        """A pipe is closed (called by it)."""
        self._open.discard(transport)
        if not self._open and self._status is not None and self._made:
            self._end()

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._killing is not None:
            # Those that were asked to end and have not let a sign of life be seen.
            self._killing.cancel()
            self._kill_left()
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        self._forget_condemned()
        self._reactor.dependants.discard(self)
        self._call("process_ended", self._status)
        # Which holds this object in its turn.
        self.protocol = ProcessProtocol()

    def _forget_condemned(self) -> None:
        for fd in self._condemned:
            os.close(fd)
        self._condemned.clear()

    def reactor_stopped(self) -> None:
        """The reactor ends, and with it every child (its pipes are told by themselves)."""
        self.kill()


def spawn(
    reactor: Reactor,
    protocol: IProcessProtocol,
    command: Sequence[Word],
    *,
    executable: Word | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Word | None = None,
    umask: int | None = None,
    uid: int | None = None,
    gid: int | None = None,
    groups: Sequence[int] | None = None,
    process_group: int | None = None,
    session: bool = False,
    pty: Terminal | bool = False,
    descriptors: Mapping[int, int | str | Any] | None = None,
) -> Deferred[ProcessTransport]:
    """Start a program (`Reactor.spawn_process`).

    Args:
        reactor: Where its pipes and its end are waited for; a child still there when
            it stops is killed.
        protocol: Is told what the child says and how it ends.
        command: The program and its arguments. One without a slash is looked for in PATH.
        executable: The file to run, where it is not the first of `command`.
        env: All of its environment; this process's when left out.
        cwd: Where it begins; here when left out. A relative program is relative to it.
        umask: File mode mask.
        uid: User to become (a number), and likewise
        gid: group and
        groups: supplementary groups. Whoever gives a `uid` should give all three.
        process_group: Group to put it into; 0 for one of its own, which the signals
            of the terminal's keys do not reach, and `terminate` reaches wholly.
        session: Make it the leader of a session of its own, without a terminal.
        pty: Give it a pseudo-terminal for standard input, output and error, which is
            its controlling one. What it says comes from descriptor 1.
        descriptors: By the child's numbers what each is to be: ``"r"`` a pipe that we
            read, ``"w"`` a pipe that we write, ``"rw"`` a socket for both, ``"null"``
            for ``/dev/null``, ``"inherit"`` for ours of the same number, ``"&1"`` for
            the same as the child's 1, or a number or file of ours. It is ``{0: "w",
            1: "r", 2: "r"}`` when left out; what is left out of 0, 1 and 2 is
            ``"null"``. The child has no other.

    Returns:
        Fires with the process when it runs its program; fails with `SpawnError` when it cannot.

    Raises:
        UsageError: What is asked for cannot be: a NUL in an argument, say.
    """
    terminal = Terminal() if pty is True else pty or None
    program = Program(
        command,
        executable=executable,
        env=env,
        cwd=cwd,
        umask=umask,
        uid=uid,
        gid=gid,
        groups=groups,
        process_group=process_group,
        session=session or terminal is not None,
        terminal=terminal is not None,
    )
    if descriptors is None:
        descriptors = {} if terminal is not None else _DEFAULT
    plan = Plan(descriptors, terminal)
    process = ProcessTransport(reactor, protocol, program)
    try:
        try:
            plan.open()
        except OSError as error:
            raise SpawnError(program.name, f"no pipes: {error.strerror}", error.errno) from error
        program.fds = plan.theirs
        pid, told = start_program(program)
    except SpawnError as error:
        plan.close()
        return fail(error)
    except BaseException:
        plan.close()
        raise
    plan.close_theirs()
    process.started(pid)
    _connect(plan, process)
    if told < 0:
        process.runs()
        return succeed(process)
    try:
        return _Launch(process, program, told).done
    except OSError as error:  # nothing that the poller can wait for
        os.close(told)
        process.kill()
        process.never_ran()
        return fail(spawn_error(program, error, error.strerror or ""))


def _try(send: Callable[[int, int], object] | Callable[[int], object], *args: int) -> bool:
    """Whether a signal could be sent."""
    function: Callable[..., object] = send
    try:
        function(*args)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _connect(plan: Plan, process: ProcessTransport) -> None:
    """Make transports of our ends."""
    reactor, context = process._reactor, copy_context() or None
    if plan.terminal_fd >= 0:
        end = _PipeEnd(process, 1)
        ends = Ends(plan.terminal_fd, plan.terminal_fd)
        pipe = _TerminalPipe(reactor, ends, end, owner=process, context=context)
        pipe.process = process
        process.give(0, pipe)
        process.give(1, pipe)
    for number, (what, fd) in plan.ours.items():
        end = _PipeEnd(process, number)
        if what == "rw":
            import socket

            sock = socket.socket(fileno=fd)
            sock.setblocking(False)
            process.give(
                number,
                SocketTransport(reactor, sock, end, owner=process, context=context),
            )
            continue
        ends = Ends(fd, -1) if what == "r" else Ends(-1, fd)
        process.give(number, PipeTransport(reactor, ends, end, owner=process, context=context))


class _Launch:
    """A helper on its way to become the program; `done` fires when it has."""

    def __init__(self, process: ProcessTransport, program: Program, told: int) -> None:
        self._process = process
        self._program = program
        self._told = told
        self._said = b""
        self._reactor = process._reactor
        self._context = copy_context() or None
        self.done: Deferred[ProcessTransport] = Deferred(self._cancelled)
        os.set_blocking(told, False)
        self._reactor.watch(told, READ, self._on_event)

    def _on_event(self, mask: int) -> None:
        try:
            said = os.read(self._told, 4096)
        except BlockingIOError:
            return
        if said:
            self._said += said
            return
        self._release()
        process = self._process
        if self._said:
            process.never_ran()
            self.done.errback(helper_error(self._program, self._said))
            return
        if self._context is None:
            self._runs()
        else:
            self._context.run(self._runs)

    def _runs(self) -> None:
        self._process.runs()
        self.done.callback(self._process)

    def _release(self) -> None:
        fd, self._told = self._told, -1
        if fd >= 0:
            self._reactor.unwatch(fd)
            self._reactor.ended(lambda: os.close(fd))

    def _cancelled(self, done: Deferred[ProcessTransport]) -> None:
        self._release()
        self._process.kill()
        self._process.never_ran()

    def reactor_stopped(self) -> None:
        """The reactor ends before the program began."""
        self._release()
        if not self.done.called:
            self._process.never_ran()
            self.done.errback(ConnectionAborted("the reactor stopped", "drained"))
