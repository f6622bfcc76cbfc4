"""Subprocesses and pipes for asyncio's users, on the house's transports.

What asyncio says of a process (its transport, protocols, streams and `communicate`) is
asyncio's own code; beneath it are our pipes (``transport/pipes.py``), with the manners
that asyncio's have, and our reaping (``transport/reaping.py``): no child watcher, no
signal handler, and any thread's loop may start processes.
"""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
import typing
from asyncio.base_subprocess import BaseSubprocessTransport
from asyncio.transports import _FlowControlMixin
from contextvars import copy_context

from sennit.core.errors import ConnectionLost
from sennit.core.reactor.loopbase import LastWord
from sennit.core.reactor.pollers import WRITE
from sennit.core.transport.pipes import Ends, PipeTransport
from sennit.core.transport.reaping import watch_child
from sennit.core.transport.sending import GONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sennit.core.reactor.eventloop import ReactorEventLoop
    from sennit.core.transport.reaping import ProcessStatus

    class _AsyncioSubprocess(asyncio.SubprocessTransport):
        """asyncio's transport of a process, with what it keeps private."""

        _proc: subprocess.Popen[bytes] | None

        def __init__(self, *args: Any, **kwargs: Any) -> None: ...
        def _process_exited(self, returncode: int) -> None: ...
        async def _wait(self) -> int: ...

else:
    _AsyncioSubprocess = BaseSubprocessTransport

__all__ = ["LoopPipe", "LoopSubprocess", "read_pipe", "start_subprocess", "write_pipe"]

_UNKNOWN = 255
"""The exit code of a child that somebody else has reaped (asyncio's word for it)."""


class _FileEnds(Ends):
    """One end, which belongs to a file object that asyncio's users gave."""

    __slots__ = ("file",)

    def __init__(self, file: Any, read_fd: int, write_fd: int) -> None:
        super().__init__(read_fd, write_fd)
        self.file = file

    def close_out(self) -> None:
        """The file closes it."""

    def close(self) -> None:
        self.read_fd = self.write_fd = -1
        self.file.close()


class LoopPipe(PipeTransport):
    """One end of a pipe that asyncio's users cannot tell from asyncio's.

    It has no slots of its own: asyncio's users put things onto transports, too.
    """

    def __init__(self, loop: ReactorEventLoop, ends: _FileEnds, protocol: Any) -> None:
        self._loop = loop
        self._begun = False
        self._failure: BaseException | None = None
        super().__init__(
            loop._reactor, ends, protocol, context=copy_context() or None, pipe=ends.file
        )
        # asyncio's users write what they like and wait afterwards.
        self._hard = sys.maxsize

    def begin(self, waiter: asyncio.Future[None] | None) -> None:
        """`start`, in a turn of its own, and tell who waits for that."""
        if not self.is_closing():
            try:
                self.start()
            except OSError as error:
                self._failed(error)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def start(self) -> None:
        """Tell the protocol that it is connected, then begin to read."""
        self._begun = True
        super().start()

    def is_reading(self) -> bool:
        """Whether octets would be delivered now."""
        return super().is_reading() and not self.is_closing()

    def write(self, data: Any) -> None:
        """Write at once what the pipe takes, as asyncio does; queue the rest."""
        super().write(data)
        if self._out and not self._cork and not self._mask & WRITE:
            self._flush()

    def write_eof(self) -> None:
        """The end of what is written is the end of the transport: there is no way in."""
        self.close()

    def can_write_eof(self) -> bool:
        """It can."""
        return True

    @property
    def _protocol_paused(self) -> bool:
        return self._pressing

    if not typing.TYPE_CHECKING:

        @property
        def __class__(self):
            # As `LoopTransport` says: asked by isinstance(), and no base that slots allow.
            return _FlowControlMixin

    def abort(self, reason: str = "aborted") -> None:
        """Close now and throw away what is queued."""
        if self._state != GONE:
            self._failure = None
            self._lose(ConnectionLost(reason, "reset"), reason)

    def _protocol_failed(self, error: BaseException, method: str) -> None:
        self._loop.call_exception_handler(
            {
                "message": f"Fatal error: protocol.{method}() call failed.",
                "exception": error,
                "transport": self,
                "protocol": self._protocol,
            }
        )
        if self._state != GONE:
            self._failure = error
            self._lose(ConnectionLost("error", "reset"), "error")

    def _failed(self, error: OSError | None) -> None:
        self._failure = error or BrokenPipeError()
        super()._failed(error)

    def finish(self) -> None:
        """The reactor's call at the end of the turn in which the pipe was lost."""
        protocol = self._protocol
        if self._error is not None:
            last: Any = LastWord(protocol, self._failure)
            self._protocol = last
        self._failure = None
        if not self._begun:
            # Given up before it began; the order that asyncio keeps.
            self._begun = True
            self._deliver(protocol.connection_made, self)
        super().finish()


def _checked(file: Any, problem: str) -> int:
    fd: int = file.fileno()
    mode = os.fstat(fd).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)):
        raise ValueError(problem)
    return fd


def read_pipe(
    loop: ReactorEventLoop, file: Any, protocol: Any, waiter: asyncio.Future[None] | None
) -> LoopPipe:
    """A transport that reads from a file object; it begins in the next turn.

    Raises:
        ValueError: It is no pipe, socket or character device.
    """
    fd = _checked(file, "Pipe transport is for pipes/sockets only.")
    pipe = LoopPipe(loop, _FileEnds(file, fd, -1), protocol)
    loop.call_soon(pipe.begin, waiter)
    return pipe


def write_pipe(
    loop: ReactorEventLoop, file: Any, protocol: Any, waiter: asyncio.Future[None] | None
) -> LoopPipe:
    """A transport that writes to a file object; it begins in the next turn.

    Raises:
        ValueError: It is no pipe, socket or character device.
    """
    fd = _checked(file, "Pipe transport is only for pipes, sockets and character devices")
    pipe = LoopPipe(loop, _FileEnds(file, -1, fd), protocol)
    loop.call_soon(pipe.begin, waiter)
    return pipe


class LoopSubprocess(_AsyncioSubprocess):
    """asyncio's transport of a process; what it asks of a loop is how to start one."""

    def _start(
        self,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        **kwargs: Any,
    ) -> None:
        popen: Any = subprocess.Popen  # its overloads know no such mapping
        self._proc = popen(
            args,
            shell=shell,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            universal_newlines=False,
            bufsize=bufsize,
            **kwargs,
        )


async def start_subprocess(
    loop: ReactorEventLoop,
    protocol: Any,
    args: Any,
    shell: bool,
    stdin: Any,
    stdout: Any,
    stderr: Any,
    bufsize: int,
    extra: dict[str, Any] | None = None,
    **kwargs: Any,
) -> LoopSubprocess:
    """Start a process, connect its pipes, and wait for its end from now on."""
    waiter: asyncio.Future[None] = loop.create_future()
    transport = LoopSubprocess(
        loop,
        protocol,
        args,
        shell,
        stdin,
        stdout,
        stderr,
        bufsize,
        waiter=waiter,
        extra=extra,
        **kwargs,
    )

    def ended(status: ProcessStatus) -> None:
        code = status.returncode
        if code is None:
            # `Popen.poll`, which asyncio's transport calls when it is closed, may have been first.
            process = transport._proc
            code = None if process is None else process.returncode
        # A turn later, when what the process wrote last has been delivered.
        loop.call_soon(transport._process_exited, _UNKNOWN if code is None else code)

    watch_child(loop._reactor, transport.get_pid() or 0, ended, kill_at_stop=False)
    try:
        await waiter
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        transport.close()
        await transport._wait()
        raise
    return transport
