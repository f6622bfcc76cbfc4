"""Stream transports over descriptors that are no sockets: pipes, FIFOs, terminals, files.

`PipeTransport` is `SocketTransport` over one or two descriptors: a way in, a way
out, or both (two pipes, or one terminal). Marks, limits, half-close and the end are
those of every stream transport.

What is different underneath:

* Of a pipe's read end nothing is to be learnt but that there are octets, or that there
  will be none; it is registered with the poller only while somebody reads. (Its hang-up
  is reported without being asked for, and would come again and again.)
* The write end of a pipe is watched while idle, so that a reader which goes is news
  at once; it never becomes readable, but every poller says when it is broken. Where
  there is a way in too it goes on: a child that reads no more may still have much to say.
* ``EIO`` at the end of a terminal is its end (a pseudo-terminal says so when the last
  process on the other side has closed it).
* What cannot be waited for (regular files, ``/dev/null``: ``EPERM`` of ``epoll_ctl``) is
  read piece by piece, one turn of the loop after the other.

Not here: the standard streams of this process (``stdio.py``), children (``process.py``).
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from functools import partial

from sennit.core._implements import implements
from sennit.core.errors import ConnectionLost
from sennit.core.protocol import Protocol
from sennit.core.reactor.pollers import ERROR, HANGUP, ONCE, READ, WRITE
from sennit.core.transport.sending import CLOSING, GONE, OPEN
from sennit.core.transport.stream import SocketTransport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as RawSocket  # noqa: N812 - it is a type
    from collections.abc import Callable, Sequence
    from contextvars import Context
    from typing import Any, NoReturn

    from sennit.core.interfaces import Buffer, IStreamProtocol
    from sennit.core.reactor.base import Reactor
    from sennit.core.transport.stream import Owner

__all__ = ["Ends", "PipeTransport", "kind_of"]


def kind_of(fd: int) -> str:
    """What a descriptor is: ``pipe``, ``socket``, ``terminal``, ``device``, ``file`` or ``other``.

    Raises:
        OSError: It is not open.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode):
        return "pipe"
    if stat.S_ISSOCK(mode):
        return "socket"
    if stat.S_ISCHR(mode):
        return "terminal" if os.isatty(fd) else "device"
    return "file" if stat.S_ISREG(mode) else "other"


_NOBODY = Protocol()
"""Who a way out delivers to."""


class Ends:
    """Two descriptors (or one) in the place of a socket.

    Args:
        read_fd: Where octets come from; -1 for nowhere.
        write_fd: Where they go; -1 for nowhere; the same number for a terminal.
    """

    __slots__ = ("read_fd", "recv", "send", "sendmsg", "write_fd")

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self.read_fd = read_fd
        self.write_fd = write_fd
        self.recv: Callable[[int], bytes] = _no_octets
        self.send: Callable[[Any], int] = _no_room
        self.sendmsg: Callable[[Sequence[Any]], int] = _no_room
        if read_fd >= 0:
            terminal = stat.S_ISCHR(os.fstat(read_fd).st_mode)
            self.recv = partial(_read_terminal if terminal else os.read, read_fd)
        if write_fd >= 0:
            self.send = partial(os.write, write_fd)
            self.sendmsg = partial(os.writev, write_fd)

    def prepare(self) -> None:
        """Make both ends non-blocking."""
        for fd in {self.read_fd, self.write_fd} - {-1}:
            os.set_blocking(fd, False)

    def fileno(self) -> int:
        """The descriptor that files are sent to."""
        return self.write_fd if self.write_fd >= 0 else self.read_fd

    def recv_into(self, buffer: memoryview) -> int:
        """Read into a lent buffer."""
        try:
            return os.readv(self.read_fd, [buffer])
        except OSError as error:
            if error.errno == errno.EIO:
                return 0
            raise

    def close_out(self) -> None:
        """Close the way out, for good."""
        fd, self.write_fd = self.write_fd, -1
        if fd >= 0:
            os.close(fd)

    def close(self) -> None:
        """Close both."""
        if self.write_fd == self.read_fd:
            self.write_fd = -1
        self.close_out()
        fd, self.read_fd = self.read_fd, -1
        if fd >= 0:
            os.close(fd)

    # What a socket can tell, and these cannot.

    def getsockname(self) -> NoReturn:
        """There is no address."""
        raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))

    getpeername = getsockname

    def getsockopt(self, level: int, option: int) -> int:
        """No error waits."""
        return 0

    def setsockopt(self, *args: object) -> None:
        """There are no options."""


def _no_octets(size: int) -> bytes:
    return b""


def _no_room(data: object) -> int:
    raise BrokenPipeError(errno.EPIPE, "this transport has no way out")


def _read_terminal(fd: int, size: int) -> bytes:
    """Read from a terminal, whose end may be an error (see the module's docstring)."""
    try:
        return os.read(fd, size)
    except OSError as error:
        if error.errno == errno.EIO:
            return b""
        raise


@implements("IStreamTransport")
class PipeTransport(SocketTransport):
    """A stream transport over a way in, a way out, or both.

    Args:
        reactor: Who waits for the descriptors.
        ends: The descriptors, from now on this object's own.
        protocol: Who is delivered to.
        owner: Is told when all has gone.
        context: Where the protocol's methods are called; ``None`` for the empty one.
        pipe: What ``get_extra_info("pipe")`` is answered with.
    """

    __slots__ = (
        "_dropped",
        "_idle_mask",
        "_in_mask",
        "_out_handler",
        "_out_lost",
        "_out_mask",
        "_pipe",
        "_split",
        "_turn",
    )

    def __init__(
        self,
        reactor: Reactor,
        ends: Ends,
        protocol: IStreamProtocol,
        *,
        owner: Owner | None = None,
        context: Context | None = None,
        pipe: object = None,
    ) -> None:
        self._split = ends.read_fd != ends.write_fd
        self._in_mask = self._out_mask = 0
        self._out_lost: ConnectionLost | None = None
        self._dropped = False
        self._pipe = pipe
        self._turn: Any = None  # the `DelayedCall` that reads what cannot be waited for
        out_handler = self._on_out_event
        if context is not None:
            out_handler = partial(context.run, out_handler)  # type: ignore[call-arg]  # as in stream
        self._out_handler: Callable[[int], object] = out_handler
        self._idle_mask = 0
        if ends.write_fd >= 0:
            mode = os.fstat(ends.write_fd).st_mode
            # A socket is readable for other reasons than its end.
            self._idle_mask = READ if stat.S_ISFIFO(mode) else ONCE if stat.S_ISSOCK(mode) else 0
        ends.prepare()
        lookalike: Any = ends  # as much of a socket as is used
        sock: RawSocket = lookalike
        super().__init__(reactor, sock, _NOBODY, owner=owner, context=context)
        self.set_protocol(protocol)
        if ends.read_fd < 0:
            self._reading = False
            self._eof_in = True

    def start(self) -> None:
        """Tell the protocol that it is connected, then begin to read."""
        # While paused no descriptor is watched by which it would learn that the reactor ends.
        self._reactor.dependants.add(self)
        super().start()

    def __repr__(self) -> str:
        """Class, descriptors and state."""
        ends = self._ends
        state = self._close_reason or "open"
        return f"<{type(self).__name__} in={ends.read_fd} out={ends.write_fd} {state}>"

    @property
    def _ends(self) -> Ends:
        ends: Any = self._sock
        return ends  # type: ignore[no-any-return]  # what the constructor was given

    def fileno(self) -> int:
        """The way out's descriptor, else the way in's; -1 once it is closed."""
        return self._ends.fileno()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """asyncio's questions: ``pipe``, ``reactor``."""
        if name == "pipe":
            return default if self._pipe is None else self._pipe
        return self._reactor if name == "reactor" else default

    def set_protocol(self, protocol: IStreamProtocol) -> None:
        """Deliver to `protocol` from now on (its `connection_made` is the caller's affair)."""
        if self._ends.read_fd < 0:
            # It need not know how to receive.
            self._protocol = protocol
            return
        if not self._split:
            super().set_protocol(protocol)
            return
        # The base would put the handler where it is not: there are two.
        registered, self._registered = self._registered, 0
        super().set_protocol(protocol)
        self._registered = registered
        if self._in_mask:
            self._reactor.handlers[self._ends.read_fd] = self._handler

    # ── waiting for two descriptors ───────────────────────────────────────────

    def _watch(self, mask: int) -> None:
        if not self._split:
            try:
                super()._watch(mask)
            except PermissionError:
                self._take_turns(mask)
            return
        self._mask = self._registered = mask
        ends = self._ends
        wanted = mask & READ
        if ends.read_fd >= 0 and wanted != self._in_mask:
            if not wanted:
                self._in_mask = 0
                self._reactor.unwatch(ends.read_fd)
            elif self._turn is None:
                try:
                    self._reactor.watch(ends.read_fd, READ, self._handler)
                    self._in_mask = READ
                except PermissionError:
                    self._take_turns(mask)
        wanted = WRITE if mask & WRITE else self._idle_mask
        if ends.write_fd >= 0 and self._out_lost is None and wanted != self._out_mask:
            if not wanted:
                self._reactor.unwatch(ends.write_fd)
            elif self._out_mask:
                self._reactor.rewatch(ends.write_fd, wanted)
            else:
                self._reactor.watch(ends.write_fd, wanted, self._out_handler)
            self._out_mask = wanted

    def _unwatch_out(self) -> None:
        if self._out_mask:
            self._out_mask = 0
            self._reactor.unwatch(self._ends.write_fd)

    def _take_turns(self, mask: int) -> None:
        """The kernel cannot wait for the way in, because it never waits: read in the next turn."""
        if not self._split:
            self._mask = mask
            self._registered = 0
        if mask & READ and self._turn is None:
            self._turn = self._reactor.call_soon(self._read_in_turn)

    def _read_in_turn(self) -> None:
        self._turn = None
        if self._state == GONE or not self._mask & READ:
            return
        self._handler(READ)
        if self._reading and self._mask & READ and not self._eof_in:
            self._turn = self._reactor.call_soon(self._read_in_turn)

    def _on_out_event(self, mask: int) -> None:
        """The way out is writable, or broken."""
        if self._state == GONE:
            return
        if mask & (ERROR | HANGUP) or (mask & READ and not mask & WRITE):
            if self._eof_in and not self._out:
                # Whoever read has gone in good order: nothing was on its way.
                self.close()
                return
            self._not_sent(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)))
        elif mask & WRITE:
            self._on_writable()

    def waiting_octets(self) -> int:
        """Octets in the way in that nobody has read yet; 0 where the kernel does not tell."""
        import fcntl
        import termios

        if self._state == GONE or self._ends.read_fd < 0:
            return 0
        try:
            told = fcntl.ioctl(self._ends.read_fd, termios.FIONREAD, bytes(4))
        except OSError:
            return 0
        return int.from_bytes(told, sys.byteorder)

    def read_now(self) -> None:
        """Deliver what has come, without waiting for the poller's word."""
        if self._reading and not self._eof_in and self._state < CLOSING:
            self._handler(READ)

    # ── the way in ends ───────────────────────────────────────────────────────

    def _on_eof(self) -> None:
        if not self._split or self._ends.write_fd < 0 or self._out_lost is not None:
            # No way is left, whatever the protocol would like.
            self._eof_in = True
            self._mask &= ~READ
            self._deliver(self._protocol.eof_received)
            lost = self._out_lost
            if lost is not None and self._dropped:
                self._lose(lost, "reset")
            else:
                self.close()
            return
        self._mask &= ~READ
        super()._on_eof()

    # ── the way out ends ──────────────────────────────────────────────────────

    def write(self, data: Buffer) -> None:
        """Queue octets; ignored after the loss, and when nobody reads them any more.

        Raises:
            TypeError: `data` is not bytes-like.
            ReactorError: After `write_eof`.
        """
        if self._out_lost is None:
            super().write(data)
        elif data:
            self._dropped = True

    def _not_sent(self, error: OSError) -> None:
        if error.errno not in (errno.EPIPE, errno.EIO) or self._eof_in or self._state >= CLOSING:
            super()._not_sent(error)
            return
        # Nobody reads, but somebody may still write.
        lost = ConnectionLost(str(error), "reset")
        lost.__cause__ = error
        self._out_lost = lost
        out, self._out = self._out, []
        self._dropped = bool(out)
        self._size = 0
        self._answer = b""
        for piece in out:
            if not isinstance(piece, (bytes, memoryview)):
                piece.fail(lost)
        self._mask &= ~WRITE
        self._pressing = True  # there will be no room any more
        if self._split:
            self._unwatch_out()
        else:
            self._watch(self._mask)
        self._wake_waiters(lost)

    def _why_gone(self) -> ConnectionLost | None:
        return self._out_lost or super()._why_gone()

    def can_write_eof(self) -> bool:
        """Where the way out is a descriptor of its own."""
        return self._split

    def write_eof(self) -> None:
        """Close the way out once all that was written has left.

        A terminal in its usual mode is sent its end-of-file character, which says
        so to a reader at the beginning of a line; nothing says it to one in raw mode.
        """
        if self._out_lost is not None:
            return
        if not self._split and self._state == OPEN:
            self.write(_end_of_file(self._fd))
        super().write_eof()

    def _shut_out(self) -> None:
        if self._split and not self._eof_in:
            self._idle_mask = 0
            self._unwatch_out()
            # Like sockets, at the end of the turn: an event of this one may be on its way.
            self._reactor.ended(self._ends.close_out)
        self._ended_out()

    # ── the end ───────────────────────────────────────────────────────────────

    def _lose(self, error: ConnectionLost | None, reason: str) -> None:
        if self._state != GONE and self._split:
            if self._in_mask:
                self._in_mask = 0
                self._reactor.unwatch(self._ends.read_fd)
            self._unwatch_out()
            self._mask = self._registered = 0
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._reactor.dependants.discard(self)
        super()._lose(error, reason)

    def close(self, reason: str = "clean") -> None:
        """Send what is queued, then close. No more is received."""
        super().close(reason)
        if self._state != GONE and self._in_mask:
            # Whoever writes to us should not wait for ever while we send what is left.
            self._mask &= ~READ
            self._in_mask = 0
            self._reactor.unwatch(self._ends.read_fd)

    def finish(self) -> None:
        """The reactor's call at the end of the turn in which the connection was lost."""
        super().finish()
        self._out_handler = _forgotten


def _end_of_file(fd: int) -> bytes:
    """The character that a terminal in its usual mode takes for the end; nothing in raw mode."""
    import termios

    try:
        attributes: list[Any] = termios.tcgetattr(fd)
    except termios.error:
        return b""
    if not attributes[3] & termios.ICANON:
        return b""
    character: bytes = attributes[6][termios.VEOF]
    return character


def _forgotten(mask: int) -> None:
    """In the place of a bound method that would hold the transport in a ring."""
