"""Datagrams over Unix sockets: `DatagramTransport` with paths for addresses, and descriptors.

They are kept in order and not lost on the way: a full receiver makes the sender
wait, and holds up nobody else. That there is room again the kernel tells only a
socket that is connected to that receiver; others try again, ever less often.

To be answered a sender needs a name of its own, which on Linux it is given in the
abstract space where it has none (unix(7), autobind).
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from contextvars import Context, copy_context

from sennit.core._implements import implements
from sennit.core.address import UnixAddress, address_from_socket
from sennit.core.deferred import maybe_deferred
from sennit.core.errors import ConnectError, UsageError
from sennit.core.reactor.pollers import READ
from sennit.core.transport.binding import remove_stale
from sennit.core.transport.datagram_sending import OVERHEAD
from sennit.core.transport.datagrams import DATAGRAMS_PER_TURN, OCTETS_PER_TURN, DatagramTransport
from sennit.core.transport.descriptors import (
    MAX_DESCRIPTORS,
    ReceivedDescriptors,
    close_all,
    duplicate,
    receive_flags,
    received,
    rights,
    room_for,
)
from sennit.core.transport.sending import GONE, RETRY
from sennit.core.transport.udp import DatagramListener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final

    from sennit.core.deferred import Deferred
    from sennit.core.interfaces import Buffer, IDatagramListener, IDatagramProtocol
    from sennit.core.protocol import DatagramFactory
    from sennit.core.reactor.base import Reactor
    from sennit.core.transport.datagrams import Owner

__all__ = ["UnixDatagramTransport", "connect_unix_datagram", "listen_unix_datagram"]

FIRST_RETRY: Final = 0.001
"""Seconds after which a receiver that was full is tried again for the first time."""
MAX_UNIX_DATAGRAM: Final = 212992
"""Octets of the longest datagram received unless asked otherwise: Linux' usual send buffer."""


@implements("IDatagramTransport", "IDescriptorTransport")
class UnixDatagramTransport(DatagramTransport):
    """One Unix datagram socket (arguments as for `DatagramTransport`)."""

    __slots__ = ("_delay", "_descriptors_received", "_full", "_most")

    def __init__(
        self,
        reactor: Reactor,
        sock: socket.socket,
        protocol: IDatagramProtocol,
        *,
        connected: bool = False,
        max_size: int = MAX_UNIX_DATAGRAM,
        owner: Owner | None = None,
        context: Context | None = None,
    ) -> None:
        self._descriptors_received: Callable[[ReceivedDescriptors], object] | None = None
        self._most = MAX_DESCRIPTORS
        # Receivers that something waits for, and seconds until they are tried again.
        self._full: set[Any] = set()
        self._delay = FIRST_RETRY
        super().__init__(
            reactor,
            sock,
            protocol,
            connected=connected,
            max_size=max_size,
            owner=owner,
            context=context,
        )

    def set_protocol(self, protocol: IDatagramProtocol) -> None:
        """Deliver to `protocol` from now on, descriptors only if it takes them."""
        self._descriptors_received = getattr(protocol, "descriptors_received", None)
        self._most = getattr(protocol, "max_descriptors", MAX_DESCRIPTORS)
        super().set_protocol(protocol)

    def _checked(self, addr: Any) -> Any:
        if isinstance(addr, UnixAddress):
            addr = addr.path
        if isinstance(addr, bytes):
            return addr
        if not isinstance(addr, str) or not addr:
            raise UsageError(f"{addr!r} is no path of a Unix socket")
        return "\0" + addr[1:] if addr.startswith("@") else addr

    def _reader(self) -> Callable[[int], object]:
        if self._descriptors_received is None:
            return self._on_event
        return self._on_event_with_descriptors

    def _on_event_with_descriptors(self, mask: int) -> None:
        """Receive a batch with what is attached to each datagram."""
        if mask != READ and not self._go_on_reading(mask):
            return
        if not self._reading:
            self._park()
            return
        batch, octets = self._batch, 0
        for taken in range(batch):
            try:
                data, ancillary, flags, peer = self._sock.recvmsg(
                    self._max_size, room_for(self._most), receive_flags()
                )
            except BlockingIOError:
                self._batch = max(taken, 1)
                return
            except (OSError, MemoryError) as error:
                if not self._receive_failed(error):
                    return
                continue
            octets += len(data)
            came = ReceivedDescriptors(received(ancillary))
            try:
                self._deliver(data, peer, came, flags)
            finally:
                came.close()
            if octets >= OCTETS_PER_TURN or not self.is_reading():
                return
        if batch < DATAGRAMS_PER_TURN:
            self._batch = batch * 2

    def _deliver(self, data: bytes, peer: Any, came: ReceivedDescriptors, flags: int) -> None:
        if flags & socket.MSG_TRUNC:
            self._too_long(peer)
            return
        if flags & socket.MSG_CTRUNC or len(came) > self._most:
            # The kernel has closed those that there was no room for.
            self._count_drop("limit:descriptors")
            return
        if not self._connected:
            self._known = peer
        method = "descriptors_received"
        try:
            if len(came) and self._descriptors_received is not None:
                self._descriptors_received(came)
            if self._reading:
                method = "datagram_received"
                self._datagram_received(data, peer)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._protocol_failed(error, method)

    def send_descriptors(self, fds: Sequence[int], data: Buffer, addr: Any = None) -> None:
        """Send one datagram with descriptors attached, which are duplicated at once.

        Raises:
            UsageError: No descriptor, or more than 253; or `addr` is none to send to.
            OSError: One of them is not open.
            DatagramTooLongError: The system sends none that long.
        """
        if addr is not self._known:
            addr = self._destination(addr)
        if self._state:
            return
        self._send_with(data, addr, rights(duplicate(fds)))

    def _transmit(self, data: bytes | memoryview, addr: Any, ancillary: Any) -> None:
        try:
            super()._transmit(data, addr, ancillary)
        except OSError as error:
            if error.errno == errno.ETOOMANYREFS:
                # So many are under way that have not been received: later, as without memory.
                raise OSError(errno.ENOBUFS, error.strerror) from error
            raise

    def _behind(self, addr: Any) -> bool:
        return self._connected or addr in self._full

    def _queue(
        self, data: bytes | memoryview, addr: Any, ancillary: Any, *, wait: bool = True
    ) -> None:
        self._full.add(addr)
        super()._queue(data, addr, ancillary, wait=wait)

    def _await_room(self) -> None:
        if self._connected:
            super()._await_room()
        elif self._retry is None:
            # The poller would call it writable again and again.
            self._retry_in(self._delay)
            self._delay = min(2 * self._delay, RETRY)

    def _flush(self) -> None:
        """Send what waits to whoever takes it, in the order of each receiver."""
        if self._connected:
            super()._flush()
            return
        out, at = self._out, 0
        full: set[Any] = set()
        while at < len(out):
            data, addr, ancillary = out[at]
            if addr in full:
                at += 1
                continue
            try:
                self._transmit(data, addr, ancillary)
            except BlockingIOError:
                full.add(addr)
                continue
            except OSError as error:
                if not self._not_sent(error, data, addr, ancillary, queued=True):
                    full.add(addr)
                    continue
            if self._state == GONE:
                return
            self._discard(ancillary)
            del out[at]
            self._size -= len(data) + OVERHEAD
            self._delay = FIRST_RETRY
        self._full = full
        self._flushed()

    def _discard(self, ancillary: Any) -> None:
        """Close the duplicates of what was sent, or will not be."""
        if ancillary is not None:
            close_all(received(ancillary))

    def _pending(self, code: int | None) -> bool:
        return False  # what a Unix socket says is of the datagram at hand


def listen_unix_datagram(
    reactor: Reactor,
    factory: DatagramFactory,
    path: str,
    *,
    mode: int = 0o666,
    max_size: int = MAX_UNIX_DATAGRAM,
    paused: bool = False,
) -> Deferred[IDatagramListener]:
    """Receive datagrams at a Unix socket.

    Args:
        reactor: Whose turns receive them.
        factory: Makes the protocol.
        path: In the file system, or ``@name`` in Linux' abstract space. A socket
            file that nobody serves is replaced; ours is removed at the end.
        mode: Permissions of the socket file.
        max_size: Octets of the longest datagram to receive.
        paused: Receive nothing before `resume_accepting`.

    Returns:
        Fires with the listener. Fails with `OSError` when somebody receives there
        (EADDRINUSE), or the path is another kind of file (EEXIST).
    """

    def listen() -> DatagramListener:
        sock, unlink = _bound(path, mode)
        try:
            return DatagramListener(
                reactor,
                [sock],
                factory,
                transport=UnixDatagramTransport,
                max_size=max_size,
                paused=paused,
                release=unlink,
            )
        except BaseException:
            sock.close()
            unlink()
            raise

    return maybe_deferred(listen)


def connect_unix_datagram(
    reactor: Reactor,
    factory: DatagramFactory,
    path: str,
    *,
    local_path: str | None = None,
    max_size: int = MAX_UNIX_DATAGRAM,
) -> Deferred[IDatagramProtocol]:
    """Exchange datagrams with one Unix socket.

    Args:
        reactor: Whose turns receive.
        factory: Makes the protocol.
        path: The peer's, ``@name`` in the abstract space.
        local_path: This end's, so that the peer can answer; one that the system
            makes up when left out (Linux; elsewhere there are no answers then).
        max_size: Octets of the longest datagram to receive.

    Returns:
        Fires with the protocol, after its `connection_made`. Fails with `ConnectError`.
    """
    from sennit.core.protocol import adapt_datagram_factory

    build = adapt_datagram_factory(factory)
    context = copy_context() or None

    def connect() -> IDatagramProtocol:
        sock, unlink = _client_socket(path, local_path)
        try:
            protocol = build(address_from_socket(sock.getsockname()))
            transport = UnixDatagramTransport(
                reactor,
                sock,
                protocol,
                connected=True,
                max_size=max_size,
                context=None if context is None else context.copy(),
            )
        except BaseException:
            sock.close()
            unlink()
            raise
        transport.when_closed(unlink)
        transport.start()
        return protocol

    return maybe_deferred(connect)


def _client_socket(path: str, local_path: str | None) -> tuple[socket.socket, Callable[[], None]]:
    try:
        if local_path is not None:
            sock, unlink = _bound(local_path, 0o666)
        else:
            sock, unlink = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), _nothing
            sock.setblocking(False)
            if sys.platform == "linux":
                sock.bind("")
        try:
            sock.connect(_name(path))
        except BaseException:
            sock.close()
            unlink()
            raise
    except OSError as error:
        text = error.strerror or str(error)
        raise ConnectError(f"cannot connect to unix datagram {path}: {text}", [error]) from error
    return sock, unlink


def _bound(path: str, mode: int) -> tuple[socket.socket, Callable[[], None]]:
    """A bound socket, and what removes its file if that is still ours."""
    abstract = path.startswith("@")
    if not abstract:
        remove_stale(path, socket.SOCK_DGRAM)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    unlink = _nothing
    try:
        sock.setblocking(False)
        sock.bind(_name(path))
        if not abstract:
            found = os.lstat(path)
            ours = found.st_dev, found.st_ino

            def unlink() -> None:
                try:
                    now = os.lstat(path)
                    # Only what we made: somebody else may receive there by now.
                    if (now.st_dev, now.st_ino) == ours:
                        os.unlink(path)
                except OSError:
                    pass

            # Between these two anybody may send; the mode keeps people out from then on.
            os.chmod(path, mode)
    except OSError as error:
        sock.close()
        unlink()
        # A path that is too long has no number of its own.
        raise OSError(
            error.errno or errno.ENAMETOOLONG,
            f"cannot listen on unix datagram {path}: {error.strerror or error}",
        ) from error
    return sock, unlink


def _name(path: str) -> str:
    return "\0" + path[1:] if path.startswith("@") else path


def _nothing() -> None:
    """There is no file."""
