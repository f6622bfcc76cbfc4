"""Datagram transports for asyncio's users: the house's own, with asyncio's manners.

`loop.create_datagram_endpoint` looks up names, makes, binds and connects sockets as
asyncio does on every loop, and ends in `ReactorEventLoop._make_datagram_transport`,
which is `endpoint` here. What differs from `UDPTransport` is how asyncio says things:
an abort of one's own is no error to `connection_lost`, errors of the network come as
the system's own exceptions, one that is too long to send goes to `error_received`,
names are looked up by the kernel's caller, there is no hard limit for what waits, and
failures of the protocol go to the loop's exception handler.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
import typing
from asyncio import selector_events
from contextvars import copy_context

from sennit.core.errors import ConnectionLost, DatagramError, DatagramTooLongError
from sennit.core.reactor.loopbase import LastWord
from sennit.core.reactor.pollers import READ
from sennit.core.transport.datagrams import MAX_DATAGRAM, DatagramTransport
from sennit.core.transport.sending import CLOSING, GONE
from sennit.core.transport.udp import UDPTransport
from sennit.core.transport.unix_datagrams import MAX_UNIX_DATAGRAM, UnixDatagramTransport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sennit.core.interfaces import Buffer
    from sennit.core.reactor.eventloop import ReactorEventLoop

__all__ = ["LoopUDPTransport", "LoopUnixDatagramTransport", "endpoint"]


if not typing.TYPE_CHECKING:

    class _Kinds(selector_events._SelectorDatagramTransport, asyncio.DatagramTransport):
        """Both of what asyncio's are; before 3.12 the first of them is not the second."""


class _Manners(DatagramTransport):
    """What asyncio's users expect of a datagram transport."""

    if not typing.TYPE_CHECKING:
        # The two below have them: of several bases only one may.
        __slots__ = ()

    _address: Any
    _loop: ReactorEventLoop
    _begun: bool
    _extra: dict[str, Any]
    _failure: BaseException | None

    def prepare(self, loop: ReactorEventLoop, address: Any, extra: dict[str, Any] | None) -> None:
        """Say whom it is for, before it begins.

        Args:
            loop: Whose users see it.
            address: Whom a connected socket sends to (as asyncio was given it), or ``None``.
            extra: What `get_extra_info` knows besides.
        """
        self._loop = loop
        self._begun = False
        self._failure = None
        self._extra = dict(extra or {})
        self._address = address
        try:
            self._extra["sockname"] = self._sock.getsockname()
        except OSError:
            pass
        # asyncio's users write what they like and wait afterwards.
        self._hard = sys.maxsize

    def begin(self, waiter: asyncio.Future[None] | None) -> None:
        """`start`, in a turn of its own, and tell who waits for that."""
        if self._state != GONE:
            self._begun = True
            try:
                self._protocol.connection_made(self)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                self._protocol_failed(error, "connection_made")
            if self._state < CLOSING:
                self._join_reactor()
                try:
                    self._watch(READ if self._reading else 0)
                except Exception as error:
                    # Nothing that the kernel can watch.
                    self._force_close(error, "error")
                    if waiter is not None and not waiter.done():
                        waiter.set_exception(error)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """asyncio's questions; both ends' names are known after the end, too."""
        if name == "socket":
            return super().get_extra_info(name, default)
        if name in self._extra:
            return self._extra[name]
        return super().get_extra_info(name, default)

    def sendto(self, data: Buffer, addr: Any = None) -> None:
        """Send one datagram (`asyncio.DatagramTransport.sendto`); errors go to the protocol.

        Raises:
            ValueError: `addr` is not the peer of a connected socket.
            TypeError: `data` is not bytes-like.
        """
        try:
            super().sendto(data, addr)
        except DatagramTooLongError as error:
            self._tell_error(OSError(errno.EMSGSIZE, str(error)))

    def _destination(self, addr: Any) -> Any:
        peer: Any = self._address
        if peer is None and self._connected:
            peer = self._peer
        if peer is None:
            return addr
        if addr is not None and tuple(addr[:2]) != tuple(peer[:2]):
            raise ValueError(f"Invalid address: must be None or {peer}")
        # Given with `allow_broadcast`, asyncio leaves the socket unconnected.
        return None if self._connected else peer

    def abort(self, reason: str = "aborted") -> None:
        """Close now and throw away what is queued."""
        self._force_close(None, reason)

    def _force_close(self, error: BaseException | None, reason: str = "aborted") -> None:
        if self._state != GONE:
            self._failure = error
            self._lose(ConnectionLost(reason, reason), reason)

    def _broken(self, error: OSError) -> None:
        self._force_close(error, "error")

    def _error_about(self, error: OSError, peer: object = None) -> OSError:
        return error

    def _kept(self, error: OSError) -> OSError:
        """An error from the kernel's queue, as the system would raise it."""
        return OSError(error.errno, error.strerror)

    def _tell_error(self, error: OSError) -> None:
        if isinstance(error, DatagramError):
            error = OSError(error.errno, error.strerror)
        super()._tell_error(error)

    def _protocol_failed(self, error: BaseException, method: str) -> None:
        self._loop.call_exception_handler(
            {
                "message": f"protocol.{method}() call failed.",
                "exception": error,
                "transport": self,
                "protocol": self._protocol,
            }
        )

    def finish(self) -> None:
        """The reactor's call at the end of the turn in which the transport was closed."""
        protocol, failure = self._protocol, self._failure
        self._failure = None
        self._error = None
        if not self._begun:
            # Given up before it began; the order that asyncio keeps.
            self._begun = True
            try:
                protocol.connection_made(self)
            except Exception as error:
                self._protocol_failed(error, "connection_made")
        if failure is not None:
            self._protocol = typing.cast("Any", LastWord(protocol, failure))
        super().finish()

    if not typing.TYPE_CHECKING:

        @property
        def __class__(self):
            # `isinstance(transport, asyncio.DatagramTransport)` is asked here and there (and
            # `asyncio.Transport`, which asyncio's own are, too). It cannot be a base: both would
            # lay out slots. `type()` tells the truth.
            return _Kinds


class LoopUDPTransport(_Manners, UDPTransport):
    """A UDP transport that asyncio's users cannot tell from asyncio's."""

    __slots__ = ("_address", "_begun", "_extra", "_failure", "_loop")


class LoopUnixDatagramTransport(_Manners, UnixDatagramTransport):
    """The same over a Unix socket."""

    __slots__ = ("_address", "_begun", "_extra", "_failure", "_loop")


def endpoint(
    loop: ReactorEventLoop,
    sock: socket.socket,
    protocol: Any,
    address: Any = None,
    waiter: asyncio.Future[None] | None = None,
    extra: dict[str, Any] | None = None,
) -> LoopUDPTransport | LoopUnixDatagramTransport:
    """A transport for a socket that `create_datagram_endpoint` made or was given.

    Args:
        loop: asyncio's view of the reactor.
        sock: Bound or connected, not blocking.
        protocol: An asyncio datagram protocol.
        address: Whom it was connected to.
        waiter: Is told once the protocol was.
        extra: For `get_extra_info`.
    """
    try:
        sock.getpeername()
        connected = True
    except OSError:
        connected = False
    unix = sock.family == getattr(socket, "AF_UNIX", None)
    kind = LoopUnixDatagramTransport if unix else LoopUDPTransport
    transport = kind(
        loop._reactor,
        sock,
        protocol,
        connected=connected,
        max_size=MAX_UNIX_DATAGRAM if unix else MAX_DATAGRAM,
        context=copy_context() or None,
    )
    transport.prepare(loop, address, extra)
    loop.call_soon(transport.begin, waiter)
    return transport
