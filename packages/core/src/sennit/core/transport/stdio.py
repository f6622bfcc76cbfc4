"""Standard input and output of this process as one stream transport.

They are not ours alone. Whether a descriptor blocks is a property of the open file
behind it, which a terminal or pipe shares with the shell, with ``stderr``, and with every
other program that was given it: ``O_NONBLOCK`` set on it makes *their* writes fail. So:

* Terminals, pipes and devices are opened anew through ``/proc/self/fd``, which makes an
  open file of our own; nothing is changed for anybody else.
* Where that cannot be done (sockets, other systems) the flag is set and taken back at
  the end.
* Files are duplicated, so that the place in them stays the one that is shared. They
  cannot be waited for, and need not be (``pipes.py``).

One socket as both, as inetd gives it, is a socket transport like any other.

When the connection has ended, a pipe or socket is given up, so that the other side learns
it: descriptors 0 and 1 then stand for ``/dev/null``, not for whatever is opened next.
Terminals, files and devices stay where they are.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys

from sennit.core.errors import UsageError
from sennit.core.transport.pipes import Ends, PipeTransport, kind_of
from sennit.core.transport.stream import SocketTransport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import Context
    from typing import Final

    from sennit.core.interfaces import IStreamProtocol
    from sennit.core.reactor.base import Reactor
    from sennit.core.transport.stream import Owner

__all__ = ["stdio_transport"]

_PTMX: Final = (5, 2)
"""Device number of ``/dev/ptmx``, which opened anew is another terminal."""


class _Taken:
    """Whether somebody has the standard streams: there is one pair of them."""

    by: object = None


class _Borrowed:
    """One standard descriptor, and our way to use it without harm to others.

    Attributes:
        number: 0 or 1.
        fd: What we read or write.
    """

    __slots__ = ("_kind", "_restore", "fd", "number")

    def __init__(self, number: int, flags: int) -> None:
        self.number = number
        self._kind = kind_of(number)
        self._restore = False
        self.fd = _opened_anew(number, flags) if self._kind in _REOPENED else -1
        if self.fd < 0:
            self.fd = _duplicate(number)
            if self._kind != "file":
                self._restore = os.get_blocking(number)
                os.set_blocking(number, False)

    def give_back(self) -> None:
        """Close ours; leave the standard one as it was, or as nothing."""
        fd, self.fd = self.fd, -1
        if fd < 0:
            return
        try:
            if self._restore:
                os.set_blocking(fd, True)
        finally:
            os.close(fd)
            if self._kind in ("pipe", "socket"):
                _replace(self.number)


_REOPENED = frozenset({"terminal", "pipe", "device"})


def _opened_anew(number: int, flags: int) -> int:
    """An open file of our own for a standard descriptor, -1 where that cannot be had."""
    path = f"/proc/self/fd/{number}"
    device = os.fstat(number).st_rdev
    if (os.major(device), os.minor(device)) == _PTMX and stat.S_ISCHR(os.fstat(number).st_mode):
        return -1
    try:
        fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return -1
    if not os.path.samestat(os.fstat(fd), os.fstat(number)):
        os.close(fd)
        return -1
    return fd


def _duplicate(number: int) -> int:
    import fcntl

    return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3)


def _replace(number: int) -> None:
    """Let a standard descriptor stand for ``/dev/null``."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.dup2(null, number, inheritable=True)
    finally:
        os.close(null)


class _StdioEnds(Ends):
    """The two standard descriptors as a way in and a way out."""

    __slots__ = ("_in", "_out")

    def __init__(self) -> None:
        self._in = _Borrowed(0, os.O_RDONLY)
        try:
            self._out = _Borrowed(1, os.O_WRONLY)
        except BaseException:
            self._in.give_back()
            raise
        super().__init__(self._in.fd, self._out.fd)

    def prepare(self) -> None:
        """They are made ready already."""

    def close_out(self) -> None:
        self.write_fd = -1
        self._out.give_back()

    def close(self) -> None:
        self.close_out()
        self.read_fd = -1
        self._in.give_back()
        _Taken.by = None


class _StdioSocket(SocketTransport):
    """The socket that is standard input and output."""

    __slots__ = ("_restore",)

    def __init__(
        self,
        reactor: Reactor,
        protocol: IStreamProtocol,
        owner: Owner | None,
        context: Context | None,
    ) -> None:
        self._restore = os.get_blocking(0)
        sock = socket.socket(fileno=_duplicate(0))
        sock.setblocking(False)
        super().__init__(reactor, sock, protocol, owner=owner, context=context)

    def finish(self) -> None:
        if self._restore:
            os.set_blocking(self._fd, True)
        _replace(0)
        _replace(1)
        _Taken.by = None
        super().finish()


def stdio_transport(
    reactor: Reactor,
    protocol: IStreamProtocol,
    *,
    owner: Owner | None = None,
    context: Context | None = None,
) -> PipeTransport | SocketTransport:
    """Standard input and output as a transport, which begins with its `start`.

    Args:
        reactor: Who waits for them.
        protocol: Who is delivered to.
        owner: Is told when the connection has ended.
        context: Where the protocol's methods are called; ``None`` for the empty one.

    Raises:
        UsageError: They are in use as a transport already.
        OSError: One of them is closed.
    """
    if _Taken.by is not None:
        raise UsageError("standard input and output are in use already")
    for number, name in ((0, "input"), (1, "output")):
        try:
            kind = kind_of(number)
        except OSError as error:
            raise OSError(error.errno, f"standard {name} is closed") from error
        if kind == "other":
            raise OSError(errno.EINVAL, f"standard {name} is no stream (a folder, a block device)")
    # What was printed before comes before. (None where the program has no console.)
    printed: object = sys.stdout
    if printed is not None:
        sys.stdout.flush()
    transport: PipeTransport | SocketTransport
    same = os.path.samestat(os.fstat(0), os.fstat(1))
    if same and kind_of(0) == "socket":
        transport = _StdioSocket(reactor, protocol, owner, context)
    else:
        transport = PipeTransport(reactor, _StdioEnds(), protocol, owner=owner, context=context)
    _Taken.by = transport
    return transport
