"""Programs for coroutines: `run_process` awaits one, `open_process` talks with one.

Both own what they start. Whoever is cancelled, runs into a time-out or reads more
than there is room for leaves no process behind: the program and all its descendants are
asked to end (SIGTERM), killed five seconds later (SIGKILL), and waited for. To that end
the program has a process group of its own, so that keys pressed in a terminal do not
reach it unless ``process_group=None`` is asked for.

Not here: protocols for processes (`Reactor.spawn_process`, ``transport/process.py``).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from sennit.core.deferred import Deferred, succeed
from sennit.core.errors import (
    ConnectionLost,
    ProcessFailedError,
    ProcessLimitError,
    ProcessTimeoutError,
    UsageError,
)
from sennit.core.protocol import ProcessProtocol, Protocol
from sennit.core.reactor.base import current_reactor
from sennit.core.stream import Stream, StreamProtocol
from sennit.core.transport.process import GRACE

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Sequence
    from types import TracebackType
    from typing import IO, Any, Self, TypeAlias, Unpack

    from sennit.core.errors import ProcessError
    from sennit.core.interfaces import IReactor
    from sennit.core.transport.pipes import PipeTransport
    from sennit.core.transport.process import ProcessTransport, SpawnOptions
    from sennit.core.transport.reaping import ProcessStatus
    from sennit.core.transport.stream import SocketTransport

    Word: TypeAlias = str | bytes | os.PathLike[str]
    Input: TypeAlias = bytes | bytearray | memoryview | AsyncIterable[bytes] | IO[bytes] | int
    # What a callback returns is awaited if it can be.
    Output: TypeAlias = str | int | IO[bytes] | Stream | Callable[[bytes], object]

__all__ = ["OUTPUT_LIMIT", "Process", "ProcessResult", "open_process", "run_process"]

OUTPUT_LIMIT: Final = 16 * 1024 * 1024
"""Octets of standard output, and of standard error, that `run_process` keeps."""
_PIECE: Final = 64 * 1024
"""Octets of input that are handed over at a time."""
_SHOWN: Final = 200
"""Octets of standard error in the message of a failure."""


class ProcessResult:
    """What came of a program.

    Attributes:
        command: What ran: program and arguments.
        status: How it ended.
        stdout: What it said, if that was captured.
        stderr: What it said of errors, likewise.
        duration: Seconds from its start to its end.
    """

    __slots__ = ("command", "duration", "status", "stderr", "stdout")

    def __init__(
        self,
        command: Sequence[Word],
        status: ProcessStatus,
        stdout: bytes,
        stderr: bytes,
        duration: float,
    ) -> None:
        self.command = command
        self.status = status
        self.stdout = stdout
        self.stderr = stderr
        self.duration = duration

    @property
    def returncode(self) -> int | None:
        """As `subprocess` has it: the exit code, or the signal's number with a minus."""
        return self.status.returncode

    @property
    def success(self) -> bool:
        """Whether it exited with 0."""
        return self.status.success

    def __repr__(self) -> str:
        """Program, end and sizes."""
        return (
            f"<ProcessResult {os.fsdecode(self.command[0])!r} {self.status}, "
            f"{len(self.stdout)} octets out, {len(self.stderr)} of errors>"
        )


class _Life(ProcessProtocol):
    """Who waits for a process to exit, and to end."""

    def __init__(self) -> None:
        self.exited: ProcessStatus | None = None
        self.ended = False
        self._for_exit: list[Deferred[ProcessStatus]] = []
        self._for_end: list[Deferred[None]] = []

    def wait_exited(self) -> Deferred[ProcessStatus]:
        """Fires when the process has exited."""
        if self.exited is not None:
            return succeed(self.exited)
        waiter: Deferred[ProcessStatus] = Deferred(self._for_exit.remove)
        self._for_exit.append(waiter)
        return waiter

    def wait_ended(self) -> Deferred[None]:
        """Fires when the process and its pipes have gone."""
        if self.ended:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._for_end.remove)
        self._for_end.append(waiter)
        return waiter

    def process_exited(self, status: ProcessStatus) -> None:
        self.exited = status
        waiting, self._for_exit = self._for_exit, []
        for each in waiting:
            each.callback(status)

    def process_ended(self, status: ProcessStatus) -> None:
        self.ended = True
        waiting, self._for_end = self._for_end, []
        for each in waiting:
            each.callback(None)


async def _start(
    life: _Life, reactor: Any, command: Sequence[Word], options: SpawnOptions
) -> ProcessTransport:
    """Start a program; one that began in the moment of a cancellation is ended again."""
    try:
        transport: ProcessTransport = await reactor.spawn_process(life, command, **options)
    except BaseException:
        begun: ProcessTransport | None = getattr(life, "transport", None)
        if begun is not None:
            for pipe in begun.pipes.values():
                pipe.abort()
            await _end(begun, life)
        raise
    return transport


async def _end(transport: Any, life: _Life) -> None:
    """End a process and its descendants, and wait for that; at once when cancelled meanwhile."""
    transport.terminate(GRACE)
    try:
        await life.wait_ended()
    except BaseException:
        transport.kill()
        raise


class _Captured:
    """Keeps what comes, up to a limit."""

    def __init__(self, run: _Run, limit: int) -> None:
        self._run = run
        self._limit = limit
        self.pieces: list[bytes] = []
        self._size = 0

    def take(self, fd: int, data: bytes) -> None:
        room = self._limit - self._size
        self.pieces.append(data if len(data) <= room else data[:room])
        self._size += len(data)
        if self._size > self._limit:
            name = "standard output" if fd == 1 else "standard error"
            self._run.give_up(
                ProcessLimitError, f"said more than {self._limit} octets on its {name}"
            )
            self._run.transport.pipe(fd).abort("limit:output")


class _Handed:
    """Hands what comes on to a callback or stream, and reads no more until that is done."""

    def __init__(self, run: _Run, give: Callable[[bytes], Any]) -> None:
        self._run = run
        self._give = give
        self._waiting: Deferred[Any] | None = None

    def take(self, fd: int, data: bytes) -> None:
        try:
            given = self._give(data)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._failed(error, fd)
            return
        if not hasattr(given, "__await__"):
            return
        pipe = self._run.transport.pipe(fd)
        pipe.pause_reading()
        waiting = _driven(given)
        self._waiting = waiting

        def done(_: object) -> None:
            self._done(pipe)

        def failed(error: BaseException) -> None:
            self._failed(error, fd)

        waiting.add_callbacks(done, failed)

    def _done(self, pipe: Any) -> None:
        self._waiting = None
        pipe.resume_reading()

    def _failed(self, error: BaseException, fd: int) -> None:
        self._waiting = None
        self._run.transport.pipe(fd).abort("error")
        self._run.fail(error)

    def stop(self) -> None:
        """Wait for it no more."""
        if self._waiting is not None:
            self._waiting.cancel()


def _driven(awaitable: Any) -> Deferred[Any]:
    async def drive() -> Any:
        return await awaitable

    return Deferred.from_coroutine(drive())


class _Run(_Life):
    """The protocol of `run_process`."""

    def __init__(self) -> None:
        super().__init__()
        self.sinks: dict[int, _Captured | _Handed] = {}
        self.problem: tuple[type[ProcessError], str] | None = None
        self.error: BaseException | None = None

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.sinks[fd].take(fd, data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        # What was captured then would pass for all that it said.
        if fd in self.sinks and isinstance(exc, ConnectionLost) and exc.reason == "reset":
            self.fail(exc)

    def give_up(self, kind: type[ProcessError], problem: str) -> None:
        """It did not do as it should: end it, and say so."""
        if self.problem is None and self.error is None and not self.ended:
            self.problem = kind, problem
            self.stop()

    def fail(self, error: BaseException) -> None:
        """What it talks with has failed."""
        if self.problem is None and self.error is None and not self.ended:
            self.error = error
            self.stop()

    def stop(self) -> None:
        """Ask it to end; what stands in somebody's way is not waited for."""
        self.transport.terminate(GRACE)
        for fd, sink in self.sinks.items():
            if isinstance(sink, _Handed) and not self.transport.pipe(fd).is_reading():
                self.transport.pipe(fd).abort()

    def kept(self, fd: int) -> bytes:
        """What was captured of a descriptor."""
        sink = self.sinks.get(fd)
        return b"".join(sink.pieces) if isinstance(sink, _Captured) else b""


async def run_process(
    command: Sequence[Word],
    *,
    input: Input | None = None,  # noqa: A002 - as subprocess.run calls it
    stdout: Output = "capture",
    stderr: Output = "capture",
    merge_stderr: bool = False,
    limit: int = OUTPUT_LIMIT,
    timeout: float | None = None,
    check: bool = False,
    reactor: IReactor | None = None,
    **options: Unpack[SpawnOptions],
) -> ProcessResult:
    """Run a program and wait for its end.

    Args:
        command: The program and its arguments. One without a slash is looked for in PATH.
        input: What it reads: octets, an asynchronous iterable of octets, or a file (whose
            descriptor it gets, if it has one). Nothing when left out (``/dev/null``).
        stdout: What becomes of what it says: ``"capture"``, ``"null"``, ``"inherit"``; a
            file or descriptor to write into; a `Stream`; or a function that is called with
            octets as they come. While what the function returns is awaited, or the
            stream takes no more, nothing is read and the program is held up.
        stderr: What becomes of what it says of errors, likewise.
        merge_stderr: Errors go where standard output goes, in order with it.
        limit: Octets captured of each at most.
        timeout: Seconds it may take.
        check: Whether to raise when it ends with anything other than 0.
        reactor: The current one when left out.
        options: What else `sennit.core.transport.process.spawn` takes: ``env``, ``cwd``,
            ``umask``, ``uid``, ``gid``, ``groups``, ``executable``, ``session``,
            ``process_group`` (0, one of its own, when left out), ``descriptors`` above 2.

    Returns:
        How it ended and what it said.

    Raises:
        SpawnError: It could not be started.
        ProcessTimeoutError: It took too long; `result` holds what was captured until then.
        ProcessLimitError: It said more than `limit` octets; likewise.
        ProcessFailedError: With `check`: it failed; likewise.
        UsageError: What is asked for cannot be.
    """
    _check_number("limit", limit, "octets", int)
    if timeout is not None:
        _check_number("timeout", timeout, "seconds", (int, float))
    here: Any = reactor or current_reactor()
    run = _Run()
    descriptors: dict[int, Any] = {**(options.pop("descriptors", None) or {})}
    if options.get("pty") or not descriptors.keys().isdisjoint({0, 1, 2}):
        raise UsageError("run_process has input, stdout and stderr for that; see open_process")
    descriptors[0], feed = _input(input)
    descriptors[1] = _output(run, 1, stdout, limit)
    descriptors[2] = "&1" if merge_stderr else _output(run, 2, stderr, limit)
    if any(what in ("r", "w", "rw") for fd, what in descriptors.items() if fd > 2):
        raise UsageError("run_process passes descriptors above 2 on, and makes no pipes of them")
    if not options.get("session"):
        options.setdefault("process_group", 0)
    began = here.time()
    options["descriptors"] = descriptors
    transport = await _start(run, here, command, options)
    timer = None
    if timeout is not None:
        timer = here.call_later(
            timeout, run.give_up, ProcessTimeoutError, f"took longer than {timeout:g} s"
        )
    feeding = None
    if feed is not None:
        feeding = Deferred.from_coroutine(_fed(transport.pipe(0), feed))
        feeding.add_errback(run.fail)
    try:
        await run.wait_ended()
    except BaseException:
        run.stop()
        await _end(transport, run)
        raise
    finally:
        if timer is not None:
            timer.cancel()
        if feeding is not None:
            feeding.cancel()
        for sink in run.sinks.values():
            if isinstance(sink, _Handed):
                sink.stop()
    if run.error is not None:
        raise run.error
    assert run.exited is not None
    result = ProcessResult(command, run.exited, run.kept(1), run.kept(2), here.time() - began)
    if run.problem is not None:
        kind, problem = run.problem
        raise kind(f"{transport.command!r} {problem}, and was killed", result)
    if check and not result.success:
        text = f"{transport.command!r} has failed: {result.status}"
        if said := result.stderr.strip()[-_SHOWN:]:
            text += f"; it said {said!r}"
        raise ProcessFailedError(text, result)
    return result


def _check_number(name: str, given: Any, unit: str, kind: type[int] | tuple[type, ...]) -> None:
    """See that a limit is one, before there is a program that nobody would end.

    Raises:
        UsageError: It is none.
    """
    number: Any = given  # `kind` says what it is, which the checkers do not follow
    # What is not a number (NaN) is not greater than 0 either.
    if not isinstance(given, kind) or not number >= 0:
        raise UsageError(f"{name} is a number of {unit} from 0 on, not {given!r}")


def _input(given: Any) -> tuple[Any, Any]:
    """What the child's standard input is to be, and what is written into it."""
    if given is None:
        return "null", None
    if issubclass(type(given), (bytes, bytearray, memoryview)) or hasattr(given, "__aiter__"):
        return "w", given
    if isinstance(given, int):
        return given, None
    try:
        return given.fileno(), None
    except (AttributeError, OSError, ValueError):
        if hasattr(given, "read"):
            return "w", given
    raise UsageError(
        f"input is octets, an asynchronous iterable of octets or a file, not {given!r}"
    )


def _output(run: _Run, fd: int, wanted: Any, limit: int) -> Any:
    """What a descriptor of the child is to be; its sink is put into `run`."""
    if wanted == "capture":
        run.sinks[fd] = _Captured(run, limit)
        return "r"
    if wanted in ("null", "inherit"):
        return wanted
    if isinstance(wanted, Stream):
        run.sinks[fd] = _Handed(run, wanted.send_all)
        return "r"
    if not isinstance(wanted, (str, int)):
        if hasattr(wanted, "fileno"):
            try:
                return wanted.fileno()
            except (OSError, ValueError):
                raise UsageError(
                    f"{wanted!r} is no file of the system's: capture the output, or hand over "
                    "a function such as its `write`"
                ) from None
        if callable(wanted):
            run.sinks[fd] = _Handed(run, wanted)
            return "r"
    elif isinstance(wanted, int):
        return wanted
    raise UsageError(
        "output is 'capture', 'null', 'inherit', a function of octets, a Stream, a file or a "
        f"descriptor, not {wanted!r}"
    )


async def _fed(pipe: PipeTransport | SocketTransport, given: Any) -> None:
    """Write a program's input, and close it."""
    try:
        if hasattr(given, "__aiter__"):
            async for piece in given:
                await pipe.writable()
                pipe.write(piece)
        elif hasattr(given, "read"):
            await pipe.sendfile(given, given.tell() if given.seekable() else 0)
        else:
            with memoryview(given) as whole, whole.cast("B") as view:
                for at in range(0, len(view), _PIECE):
                    await pipe.writable()
                    pipe.write(view[at : at + _PIECE])
    except ConnectionLost:
        pass  # it has read what it wanted
    finally:
        pipe.close()


class Process:
    """A program to talk with (made by `open_process`).

    Attributes:
        stdin: Its standard input, to be written to; ``None`` where that is no pipe.
        stdout: What it says, to be read; likewise.
        stderr: What it says of errors, likewise.
    """

    def __init__(
        self, command: Sequence[Word], reactor: IReactor | None, options: SpawnOptions
    ) -> None:
        self._command = command
        self._reactor = reactor
        self._options = options
        self._life = _Talk()
        self._transport: ProcessTransport | None = None
        self.stdin: Stream | None = None
        self.stdout: Stream | None = None
        self.stderr: Stream | None = None

    @property
    def transport(self) -> ProcessTransport:
        """The process below: signals, window size, further descriptors.

        Raises:
            UsageError: It has not been started: enter the block first.
        """
        if self._transport is None:
            raise UsageError("the program has not been started: async with open_process(…) as it")
        return self._transport

    @property
    def pid(self) -> int:
        """Its number."""
        return self.transport.pid

    @property
    def status(self) -> ProcessStatus | None:
        """How it ended; ``None`` while it runs."""
        return self._life.exited

    def stream(self, fd: int) -> Stream:
        """The pipe at its descriptor `fd`.

        Raises:
            UsageError: There is none.
        """
        self.transport.pipe(fd)
        return self._life.streams[fd].stream

    async def wait(self) -> ProcessStatus:
        """Wait until it has exited."""
        return await self._life.wait_exited()

    def send_signal(self, number: int) -> bool:
        """Send it, and it alone, a signal; False when it is gone."""
        return self.transport.send_signal(number)

    def terminate(self, grace: float = GRACE) -> None:
        """Ask it and its descendants to end; kill what is left after `grace` seconds."""
        self.transport.terminate(grace)

    def kill(self) -> None:
        """Kill it and its descendants."""
        self.transport.kill()

    async def __aenter__(self) -> Self:
        """Start it.

        Raises:
            SpawnError: It cannot be started.
        """
        reactor: Any = self._reactor or current_reactor()
        self._transport = await _start(self._life, reactor, self._command, self._options)
        streams = self._life.streams
        self.stdin, self.stdout, self.stderr = (
            streams[fd].stream if fd in streams else None for fd in (0, 1, 2)
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close its input, throw away what it still says, wait for its end.

        When the block has raised, or is cancelled here, it is ended first.
        """
        transport = self.transport
        try:
            if error is None:
                for fd, pipe in transport.pipes.items():
                    if fd == 0:
                        transport.close_pipe(0)
                    elif not pipe.is_closing():
                        pipe.set_protocol(Protocol())
                        pipe.resume_reading()
                await self._life.wait_ended()
        except BaseException:
            self._let_go()
            await _end(transport, self._life)
            raise
        if error is not None:
            self._let_go()
            await _end(transport, self._life)

    def _let_go(self) -> None:
        for pipe in self.transport.pipes.values():
            pipe.abort()


class _Talk(_Life):
    """The protocol of `open_process`: each pipe is a stream."""

    def __init__(self) -> None:
        super().__init__()
        self.streams: dict[int, StreamProtocol] = {}

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        made: dict[Any, StreamProtocol] = {}
        for fd, pipe in transport.pipes.items():
            if pipe not in made:
                made[pipe] = StreamProtocol()
                made[pipe].take_over(pipe)
                if pipe.can_write_eof() and not pipe.is_reading():
                    made[pipe].eof = True  # there is nothing to read of it
            self.streams[fd] = made[pipe]


def open_process(
    command: Sequence[Word],
    *,
    stdin: int | str | IO[bytes] = "w",
    stdout: int | str | IO[bytes] = "r",
    stderr: int | str | IO[bytes] = "inherit",
    reactor: IReactor | None = None,
    **options: Unpack[SpawnOptions],
) -> Process:
    """Start a program for the length of an ``async with`` block, to talk with it.

    Leaving the block closes the program's input, throws away what it still says and
    waits until it has ended; when the block raises or is cancelled, the program and its
    descendants are ended first.

    Args:
        command: The program and its arguments. One without a slash is looked for in PATH.
        stdin: ``"w"`` for a `Stream` to write to; or what else a descriptor can be
            (`sennit.core.transport.process.spawn`).
        stdout: ``"r"`` for a `Stream` to read from, likewise.
        stderr: ``"r"``, ``"&1"`` to have it in standard output, or else, likewise.
        reactor: The current one when left out.
        options: What else `spawn` takes; with ``pty`` the three above do not count, and
            ``stdin`` and ``stdout`` are one stream.
    """
    if not options.get("pty"):
        options["descriptors"] = {
            0: stdin,
            1: stdout,
            2: stderr,
            **(options.get("descriptors") or {}),
        }
        if not options.get("session"):
            options.setdefault("process_group", 0)
    return Process(command, reactor, options)
