"""The way out of a datagram transport: at once where the kernel takes it, else its queue.

What the kernel refuses waits, in order; for want of memory it is tried again in a while.
Past the hard limit datagrams are dropped, and counted.
"""

from __future__ import annotations

import errno
from contextvars import Context

from sennit.core.address import address_from_socket
from sennit.core.errors import DatagramError, DatagramTooLongError, UsageError
from sennit.core.reactor.pollers import WRITE
from sennit.core.transport.flow import FlowControl
from sennit.core.transport.sending import CLOSING, GONE, RETRY, owned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable
    from typing import Any, Final

    from sennit.core.address import Address, DatagramPath
    from sennit.core.errors import ConnectionLost
    from sennit.core.interfaces import Buffer, IDatagramProtocol
    from sennit.core.reactor.base import Reactor
    from sennit.core.reactor.calls import TimedCall

__all__ = ["BROKEN", "DROP_LIMIT", "NO_MEMORY", "OVERHEAD", "WARN_EVERY", "DatagramSending"]

DROP_LIMIT: Final = 1024 * 1024
"""Octets that wait to be sent past which datagrams are dropped; late ones are of little use."""
OVERHEAD: Final = 64
"""Octets that a waiting datagram counts beside its own, so that empty ones are bounded too."""
WARN_EVERY: Final = 10.0
"""Seconds between two warnings that datagrams are dropped."""

NO_MEMORY = frozenset({errno.ENOBUFS, errno.ENOMEM})
"""What passes by itself."""
BROKEN = frozenset({errno.EBADF, errno.ENOTSOCK})
"""What ends a transport: the descriptor is not its own any more."""


class DatagramSending(FlowControl):
    """Half of `DatagramTransport`: the attributes it names belong to both."""

    __slots__ = (
        "_connected",
        "_context",
        "_drops",
        "_known",
        "_out",
        "_peer",
        "_reactor",
        "_retry",
        "_send",
        "_sendto",
        "_size",
        "_sock",
        "_state",
        "_wants",
        "_warned",
    )

    # Any: a datagram with its destination as `socket` takes it, and ancillary data or None.
    _out: deque[tuple[bytes | memoryview, Any, Any]]
    # FlowControl pauses protocols of both kinds.
    _protocol: IDatagramProtocol  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleVariableOverride]
    _close_reason: str | None
    _connected: bool
    _context: Context | None
    _drops: dict[str, int] | None
    _known: object
    _peer: object
    _reactor: Reactor
    _retry: TimedCall | None
    _send: Callable[[bytes | memoryview], int]
    _sendto: Callable[[bytes | memoryview, Any], int]
    _size: int
    _sock: Any  # a socket, with or without the Python object around it
    _state: int
    _wants: int
    _warned: float

    def _watch(self, mask: int) -> None:
        raise TypeError("the transport's")  # pragma: no cover - overridden

    def _take_errors(self) -> int:
        raise TypeError("the transport's")  # pragma: no cover - overridden

    def _tell_error(self, error: OSError) -> None:
        raise TypeError("the transport's")  # pragma: no cover - overridden

    def _error_about(self, error: OSError, peer: object = None) -> OSError:
        raise TypeError("the transport's")  # pragma: no cover - overridden

    def _broken(self, error: OSError) -> None:
        raise TypeError("the transport's")  # pragma: no cover - overridden

    def _lose(self, error: ConnectionLost | None, reason: str) -> None:
        raise TypeError("the transport's")  # pragma: no cover - overridden

    @property
    def peer(self) -> Address | None:
        """The peer of a connected transport; ``None`` when it sends to whomever it is told."""
        return address_from_socket(self._peer) if self._connected else None

    def _count_drop(self, reason: str) -> None:
        if self._drops is None:
            self._drops = {}
        self._drops[reason] = self._drops.get(reason, 0) + 1

    def sendto(self, data: Buffer, addr: Any = None) -> None:
        """Send one datagram; ignored once the transport is closing.

        Args:
            data: Its octets.
            addr: Where to: host and port (the host in digits), a Unix socket's
                path, or whatever `datagram_received` was given as the peer. Left
                out on a connected transport.

        Raises:
            DatagramTooLongError: The system sends none that long.
            UsageError: `addr` is a name, of another family, missing, or not the
                peer of a connected transport.
            TypeError: `data` is not bytes-like.
        """
        if type(data) is not bytes:
            data = owned(data)
        if addr is not self._known:
            addr = self._destination(addr)
        if (self._out and self._behind(addr)) or self._state:
            self._queue(data, addr, None)
            return
        try:
            if addr is None:
                send = self._send
                send(data)
            else:
                sendto = self._sendto
                sendto(data, addr)
        except BlockingIOError:
            self._queue(data, addr, None)
        except OSError as error:
            self._not_sent(error, data, addr, None)

    def _destination(self, addr: Any) -> Any:
        """`addr` as `socket` takes it, which looks up no name and blocks for nothing."""
        if not self._connected:
            if addr is None:
                raise UsageError("a datagram needs an address: this transport is not connected")
            return self._checked(addr)
        if addr is not None and address_from_socket(addr) != address_from_socket(self._peer):
            raise UsageError(f"this transport is connected to {self.peer}, not to {addr!r}")
        return None

    def _checked(self, addr: Any) -> Any:
        """An address that a caller has given, in the socket's own form."""
        raise TypeError("the family's")  # pragma: no cover - overridden

    def send_on_path(self, data: Buffer, path: DatagramPath) -> None:
        """Send one datagram to `path.peer`, from `path.local` where that may be chosen.

        Raises:
            DatagramTooLongError: The system sends none that long.
            UsageError: The peer's address cannot be sent to.
        """
        self.sendto(data, path.peer)

    def _send_with(self, data: Buffer, addr: Any, ancillary: Any) -> None:
        """Send one datagram with ancillary data, which from now on is this object's own."""
        if type(data) is not bytes:
            data = owned(data)
        if self._state or (self._out and self._behind(addr)):
            self._queue(data, addr, ancillary)
            return
        try:
            self._transmit(data, addr, ancillary)
        except BlockingIOError:
            self._queue(data, addr, ancillary)
            return
        except OSError as error:
            try:
                done = self._not_sent(error, data, addr, ancillary)
            except BaseException:
                self._discard(ancillary)
                raise
            if not done:
                return
        self._discard(ancillary)

    def _transmit(self, data: bytes | memoryview, addr: Any, ancillary: Any) -> None:
        if ancillary is not None:
            if addr is None:
                self._sock.sendmsg([data], ancillary)
            else:
                self._sock.sendmsg([data], ancillary, 0, addr)
        elif addr is None:
            self._send(data)
        else:
            self._sendto(data, addr)

    def _not_sent(
        self,
        error: OSError,
        data: bytes | memoryview,
        addr: Any,
        ancillary: Any,
        queued: bool = False,
    ) -> bool:
        """The kernel did not take a datagram; whether it is done with all the same."""
        code = error.errno
        if code in NO_MEMORY:
            if not queued:
                self._queue(data, addr, ancillary, wait=False)
            self._send_later()
            return False
        if code in BROKEN:
            self._broken(error)
            return True
        if code == errno.EMSGSIZE:
            self._take_errors()
            problem = f"a datagram of {len(data)} octets is too long: {error.strerror}"
            if queued:
                self._tell_error(DatagramError(code, problem, peer=addr))
                return True
            raise DatagramTooLongError(problem) from error
        # What the network had to say of an earlier datagram comes out here, and this
        # one was not tried (RFC 1122 §4.1.3.3): tell it, then try.
        if self._take_errors() or (self._connected and self._pending(code)):
            if self._connected and not self._reports:
                self._tell_error(self._error_about(error, self._peer))
            if self._state == GONE:
                return True
            try:
                self._transmit(data, addr, ancillary)
                return True
            except BlockingIOError:
                if not queued:
                    self._queue(data, addr, ancillary)
                return False
            except OSError as second:
                error = second
        self._tell_error(self._error_about(error, self._peer if addr is None else addr))
        return True

    @property
    def _reports(self) -> bool:
        """Whether the system keeps a queue of errors for this socket (`_take_errors`)."""
        return False

    def _pending(self, code: int | None) -> bool:
        """Whether a connected socket says this of an earlier datagram."""
        return False

    def _queue(
        self, data: bytes | memoryview, addr: Any, ancillary: Any, *, wait: bool = True
    ) -> None:
        """Keep a datagram until the kernel takes it; past the hard limit drop it."""
        if self._state:
            self._discard(ancillary)
            return
        size = self._size + len(data) + OVERHEAD
        if size > self._hard:
            self._discard(ancillary)
            self._count_drop("limit:write-buffer")
            self._warn_of_drops()
            return
        self._out.append((data, addr, ancillary))
        self._size = size
        if wait:
            self._await_room()
        if size > self._high:
            self._pause()

    def _behind(self, addr: Any) -> bool:
        """Whether a datagram to `addr` waits because others do."""
        return True

    def _await_room(self) -> None:
        """Have the queue looked at when the kernel takes datagrams again."""
        if self._retry is None:
            self._watch(self._wants | WRITE)

    def _discard(self, ancillary: Any) -> None:
        """A datagram will not be sent; what it carried is given back."""

    def _warn_of_drops(self) -> None:
        now = self._reactor.time()
        if now - self._warned >= WARN_EVERY:
            self._warned = now
            import logging

            logging.getLogger("sennit").warning(
                "%r drops datagrams, limit:write-buffer: %d octets wait, the system takes none",
                self,
                self._size,
            )

    def _send_later(self) -> None:
        """The system has no memory: try again in a while, not before."""
        if self._retry is None and self._state != GONE:
            self._watch(self._wants & ~WRITE)
            self._retry_in(RETRY)

    def _retry_in(self, seconds: float) -> None:
        # It may tell the protocol to resume: in the protocol's context.
        context = Context() if self._context is None else self._context
        self._retry = self._reactor.call_at(
            self._reactor.time() + seconds, self._send_again, context=context
        )

    def _send_again(self) -> None:
        self._retry = None
        if self._state != GONE:
            self._flush()

    def _on_writable(self) -> None:
        self._flush()

    def _flush(self) -> None:
        """Send what waits, until the kernel refuses."""
        out = self._out
        while out:
            data, addr, ancillary = out[0]
            try:
                self._transmit(data, addr, ancillary)
            except BlockingIOError:
                break
            except OSError as error:
                if not self._not_sent(error, data, addr, ancillary, queued=True):
                    break
            if self._state == GONE:
                return
            self._discard(ancillary)
            out.popleft()
            self._size -= len(data) + OVERHEAD
        self._flushed()

    def _flushed(self) -> None:
        """What could be sent of the queue was."""
        if self._out:
            self._await_room()
        else:
            self._watch(self._wants & ~WRITE)
            if self._state == CLOSING:
                self._lose(None, self._close_reason or "clean")
                return
        if self._pressing:
            self._relieved(self._size)

    def get_write_buffer_size(self) -> int:
        """Octets that wait to be sent, 64 more for each datagram."""
        return self._size
