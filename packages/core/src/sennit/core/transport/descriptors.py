"""Descriptors of open files sent over Unix sockets: SCM_RIGHTS (unix(7), cmsg(3)).

Sending: descriptors are attached to octets (a datagram, or the first octet of a
piece of a stream) and duplicated there and then, so that the caller may close
its own. The duplicates are closed once they have left, or will not.

Receiving: a protocol that has a method ``descriptors_received(descriptors)`` gets
a `ReceivedDescriptors` just before the octets they came with (a stream's octets may
begin with earlier ones; never do descriptors come after theirs). What it does not
take before it returns is closed. More than `max_descriptors` at once ends a stream
with the reason ``limit:descriptors``, and drops a datagram. They are never
inherited by programs this one starts. What is sent to a protocol without that
method the kernel throws away.

`UnixTransport` is what listeners and connectors of Unix sockets make.
"""

from __future__ import annotations

import array
import errno
import os
import socket

from sennit.core._implements import implements
from sennit.core.errors import ConnectionLost, LimitReachedError, UsageError
from sennit.core.transport.sending import OPEN, owned
from sennit.core.transport.stream import SocketTransport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as RawSocket  # noqa: N812 - it is a type
    from collections.abc import Callable, Sequence
    from contextvars import Context
    from typing import Any, Final

    from sennit.core.interfaces import Buffer, IStreamProtocol
    from sennit.core.reactor.base import Reactor
    from sennit.core.transport.stream import Owner

__all__ = [
    "MAX_DESCRIPTORS",
    "MOST_SENT",
    "ReceivedDescriptors",
    "UnixTransport",
    "close_all",
    "duplicate",
    "receive_flags",
    "received",
    "rights",
    "room_for",
]

MAX_DESCRIPTORS: Final = 16
"""Descriptors received at once; a protocol's attribute `max_descriptors` says otherwise."""
MOST_SENT: Final = 253
"""Descriptors that the kernel takes with one message (SCM_MAX_FD, unix(7))."""
_SIZE: Final = array.array("i").itemsize
_CLOEXEC: Final[int] = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class ReceivedDescriptors:
    """Descriptors that a peer has sent; those that nobody takes are closed."""

    __slots__ = ("_fds",)

    def __init__(self, fds: list[int]) -> None:
        self._fds = fds

    def __len__(self) -> int:
        """How many have not been taken."""
        return len(self._fds)

    def __repr__(self) -> str:
        return f"<ReceivedDescriptors {self._fds}>"

    def take(self) -> int:
        """The next one, which is the caller's own from now on.

        Raises:
            UsageError: There is none left.
        """
        if not self._fds:
            raise UsageError("every descriptor that came was taken")
        return self._fds.pop(0)

    def take_all(self) -> list[int]:
        """All that are left, which are the caller's own from now on."""
        fds, self._fds = self._fds, []
        return fds

    def close(self) -> None:
        """Close those that were not taken."""
        close_all(self.take_all())


def duplicate(fds: Sequence[int]) -> list[int]:
    """Copies of descriptors, not inherited by other programs.

    Raises:
        UsageError: They are none, or more than can be sent at once.
        OSError: One is not open, or the process has too many; none is left behind.
    """
    if not 0 < len(fds) <= MOST_SENT:
        raise UsageError(f"one sends 1 to {MOST_SENT} descriptors at once, not {len(fds)}")
    copies: list[int] = []
    try:
        for fd in fds:
            copies.append(os.dup(fd))  # noqa: PERF401 - those made are closed when one fails
    except BaseException:
        close_all(copies)
        raise
    return copies


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors, whatever closing says."""
    for fd in fds:
        try:
            os.close(fd)
        except OSError:
            pass


def rights(fds: Sequence[int]) -> list[tuple[int, int, bytes]]:
    """Descriptors as ancillary data."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes())]


def received(ancillary: Sequence[tuple[int, int, bytes]]) -> list[int]:
    """The descriptors in what came beside octets."""
    fds: list[int] = []
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            whole = array.array("i")
            whole.frombytes(data[: len(data) - len(data) % _SIZE])
            fds.extend(whole)
    if not _CLOEXEC:
        for fd in fds:
            os.set_inheritable(fd, False)
    return fds


def room_for(most: int) -> int:
    """Octets for the ancillary data of so many descriptors."""
    return socket.CMSG_SPACE(most * _SIZE)


def receive_flags() -> int:
    """Flags of a ``recvmsg`` that takes descriptors."""
    return _CLOEXEC


class _Piece:
    """Octets with descriptors attached, in the queue of a transport.

    Attributes:
        sent: For `output_mark`: it leaves in one go.
    """

    __slots__ = ("data", "fds")
    sent = 0

    def __init__(self, fds: list[int], data: bytes | memoryview) -> None:
        self.fds = fds
        self.data = data

    def fail(self, error: BaseException) -> None:
        """It will not leave."""
        close_all(self.fds)
        self.fds = []


@implements("IStreamTransport", "IDescriptorTransport")
class UnixTransport(SocketTransport):
    """One connection of a Unix stream socket (arguments as for `SocketTransport`)."""

    __slots__ = ("_descriptors_received", "_most")

    def __init__(
        self,
        reactor: Reactor,
        sock: RawSocket,
        protocol: IStreamProtocol,
        peer: object = None,
        owner: Owner | None = None,
        context: Context | None = None,
    ) -> None:
        self._descriptors_received: Callable[[ReceivedDescriptors], object] | None = None
        self._most = MAX_DESCRIPTORS
        super().__init__(reactor, sock, protocol, peer, owner, context)
        self._ask_for_descriptors(protocol)

    def set_protocol(self, protocol: IStreamProtocol) -> None:
        """Deliver to `protocol` from now on, descriptors only if it takes them."""
        super().set_protocol(protocol)
        self._ask_for_descriptors(protocol)

    def _ask_for_descriptors(self, protocol: IStreamProtocol) -> None:
        self._descriptors_received = getattr(protocol, "descriptors_received", None)
        if self._descriptors_received is None:
            self._recv = self._sock.recv
            return
        if hasattr(protocol, "get_buffer"):
            raise UsageError(
                f"{type(protocol).__qualname__} lends buffers, which no descriptors come with: "
                "receive octets with data_received"
            )
        self._most = getattr(protocol, "max_descriptors", MAX_DESCRIPTORS)
        self._recv = self._receive_with_descriptors

    def _receive_with_descriptors(self, size: int, flags: int = 0, /) -> bytes:
        """In the place of ``recv``: octets, after the descriptors that came with them.

        Raises:
            BlockingIOError: There is nothing, or nobody any more to deliver to.
        """
        data, ancillary, said, _ = self._sock.recvmsg(size, room_for(self._most), flags | _CLOEXEC)
        if not ancillary and not said & socket.MSG_CTRUNC:
            return data
        came = ReceivedDescriptors(received(ancillary))
        try:
            if said & socket.MSG_CTRUNC or len(came) > self._most:
                # The kernel has closed those that there was no room for.
                problem = f"more than {self._most} descriptors came at once"
                self._lose(LimitReachedError(problem, "limit:descriptors"), "limit:descriptors")
            elif self._descriptors_received is not None:
                self._descriptors_received(came)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._protocol_failed(error, "descriptors_received")
        finally:
            came.close()
        if self.is_closing():
            raise BlockingIOError(errno.EAGAIN, "nobody is delivered to any more")
        return data

    def send_descriptors(self, fds: Sequence[int], data: Buffer = b"\0") -> None:
        """Send octets with descriptors attached to the first, in order with `write`.

        Args:
            fds: Descriptors, or at least numbers of them; they are duplicated at once.
            data: At least one octet.

        Raises:
            UsageError: No octet, no descriptor, or more than 253 of these.
            OSError: One of them is not open.
            ConnectionLost: The connection has gone, or is being closed.
        """
        piece = owned(data)
        if not len(piece):
            raise UsageError("descriptors travel with at least one octet")
        if self._state != OPEN:
            raise ConnectionLost("the connection is closed", self._close_reason or "lost")
        copies = duplicate(fds)
        if self._answer:
            self._queue_answer()
        self._out.append(_Piece(copies, piece))
        self._size += len(piece)
        if self._size >= self._high:
            self._pressed()
        elif not self._cork and not self._queued:
            self._flush_soon()

    def _send_file_piece(self, piece: Any) -> bool:
        """Send a piece with descriptors; whether it is done with. (`Any`: or one of a file.)"""
        if not isinstance(piece, _Piece):
            return super()._send_file_piece(piece)
        try:
            sent = self._sock.sendmsg([piece.data], rights(piece.fds))
        except OSError as error:
            if error.errno == errno.ETOOMANYREFS:
                # So many are under way that have not been received: later, as without memory.
                raise OSError(errno.ENOBUFS, error.strerror) from error
            raise
        self._size -= sent
        close_all(piece.fds)
        piece.fds = []
        if sent == len(piece.data):
            self._out.pop(0)
            return True
        self._out[0] = memoryview(piece.data)[sent:]
        return False

    def _holds_files(self) -> bool:
        """Whether a file is on its way; descriptors take no time."""
        return not all(isinstance(piece, (bytes, memoryview, _Piece)) for piece in self._out)

    def finish(self) -> None:
        """The reactor's call at the end of the turn in which the connection was lost."""
        self._descriptors_received = None
        self._recv = self._sock.recv  # no ring through this object
        super().finish()
