"""Stream transports for asyncio's users: the house's own, with asyncio's manners.

What differs from `SocketTransport` is how asyncio says things: an abort of one's
own is no error to `connection_lost`, the system's errors come as they are, there
is no hard limit for what waits to be sent, and failures go to the loop's exception
handler. TLS is asyncio's `SSLProtocol` over such a transport.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import typing
from asyncio import constants
from asyncio.sslproto import SSLProtocol
from asyncio.transports import _FlowControlMixin
from contextvars import copy_context

from sennit.core.errors import ConnectionLost
from sennit.core.reactor.loopbase import LastWord
from sennit.core.transport.listening import Listener
from sennit.core.transport.sending import GONE
from sennit.core.transport.stream import SocketTransport

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from _socket import socket as RawSocket  # noqa: N812 - it is a type
    from collections.abc import Callable
    from typing import Any

    from sennit.core.interfaces import IStreamProtocol
    from sennit.core.reactor.eventloop import ReactorEventLoop

__all__ = ["LoopListener", "LoopTransport", "connected"]


class _Client:
    """Counts one connection with an `asyncio.Server`, from the beginning to the end."""

    __slots__ = ("_server",)

    def __init__(self, server: Any) -> None:
        self._server = server

    def connection_gone(self, transport: SocketTransport) -> None:
        if sys.version_info >= (3, 13):
            self._server._detach(transport)
        else:
            self._server._detach()

    def connection_come(self, transport: SocketTransport) -> None:
        if sys.version_info >= (3, 13):
            self._server._attach(transport)
        else:
            self._server._attach()


class LoopTransport(SocketTransport):
    """A stream transport that asyncio's users cannot tell from asyncio's."""

    __slots__ = ("_begun", "_failure", "_loop", "_sockname")

    # What `loop.start_tls` and `loop.sendfile` look for.
    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.TRY_NATIVE

    def __init__(
        self,
        loop: ReactorEventLoop,
        sock: RawSocket,
        protocol: Any,
        peer: object = None,
        server: Any = None,
    ) -> None:
        self._loop = loop
        self._begun = False
        self._sockname: object = None
        self._failure: BaseException | None = None
        client = _Client(server) if server is not None else None
        super().__init__(
            loop._reactor,
            sock,
            protocol,
            peer=peer,
            owner=client,
            context=copy_context() or None,
        )
        # asyncio's users write what they like and wait afterwards.
        self._hard = sys.maxsize
        if client is not None:
            client.connection_come(self)

    def begin(self, waiter: asyncio.Future[None] | None) -> None:
        """`start`, in a turn of its own, and tell who waits for that."""
        try:
            if not self.is_closing():
                self.start()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._force_close(error, "error")
            if waiter is None:
                self._loop.call_exception_handler(
                    {"message": "a connection could not begin", "exception": error}
                )
            elif not waiter.done():
                waiter.set_exception(error)
            return
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def start(self) -> None:
        """Tell the protocol that it is connected, then begin to read."""
        self._begun = True
        super().start()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """asyncio's questions; both ends' names are known after the end, too."""
        found = super().get_extra_info(name, default)
        if name == "sockname" and found is default and self._sockname is not None:
            return self._sockname
        return found

    @property
    def _protocol_paused(self) -> bool:
        return self._pressing

    if not typing.TYPE_CHECKING:

        @property
        def __class__(self):
            # `isinstance(transport, asyncio.Transport)` is asked here and there. It cannot be a
            # base: both would lay out slots. `type()` tells the truth.
            return _FlowControlMixin

    def abort(self, reason: str = "aborted") -> None:
        """Close now and throw away what is queued."""
        self._force_close(None, reason)

    def _force_close(self, error: BaseException | None, reason: str = "aborted") -> None:
        """The same, with an error for `connection_lost` (called by asyncio's TLS)."""
        if self._state != GONE:
            self._failure = error
            # Like asyncio, without a reset of our own making: the peer sees an end.
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
        self._force_close(error, "error")

    def _failed(self, error: OSError | None) -> None:
        self._failure = error or ConnectionResetError("the peer has gone")
        super()._failed(error)

    def finish(self) -> None:
        protocol = self._protocol
        try:
            self._sockname = self._sock.getsockname()
        except OSError:
            pass
        if self._error is not None:
            self._protocol = typing.cast("IStreamProtocol", LastWord(protocol, self._failure))
        self._failure = None
        if not self._begun:
            # Given up before it began; the order that asyncio keeps.
            self._begun = True
            self._deliver(protocol.connection_made, self)
        super().finish()


def connected(
    loop: ReactorEventLoop,
    sock: socket.socket,
    protocol: Any,
    waiter: asyncio.Future[None] | None,
    extra: dict[str, Any] | None,
    server: Any,
) -> LoopTransport:
    """A transport for a connected socket; it begins in the next turn."""
    peer = (extra or {}).get("peername")
    if peer is None:
        try:
            peer = sock.getpeername()
        except OSError:
            pass
    if sock.family != getattr(socket, "AF_UNIX", None) and sock.type == socket.SOCK_STREAM:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            # Reset meanwhile: reading will say so.
            pass
    transport = LoopTransport(loop, sock, protocol, peer, server)
    loop.call_soon(transport.begin, waiter)
    return transport


class LoopListener(Listener):
    """One socket of an `asyncio.Server`, which closes that socket itself."""

    def __init__(
        self,
        loop: ReactorEventLoop,
        sock: socket.socket,
        factory: Callable[[], Any],
        sslcontext: ssl.SSLContext | None,
        server: Any,
        handshake_timeout: float | None,
        shutdown_timeout: float | None,
    ) -> None:
        self._loop = loop
        self._server = server
        self._tls = sslcontext
        self._timeouts = (handshake_timeout, shutdown_timeout)
        self._protocol_factory = factory
        super().__init__(loop._reactor, [sock], factory)

    def take(self, sock: RawSocket, peer: object) -> None:
        """Make a transport of an accepted socket."""
        context = self._context
        if context is None:
            self._take(sock, peer)
        else:
            context.copy().run(self._take, sock, peer)

    def _take(self, sock: RawSocket, peer: object) -> None:
        loop = self._loop
        try:
            sock.setblocking(False)
            protocol = self._protocol_factory()
            if self._tls is not None:
                shaken: asyncio.Future[None] = loop.create_future()
                shaken.add_done_callback(self._shaken)
                protocol = typing.cast("Any", SSLProtocol)(
                    loop,
                    protocol,
                    self._tls,
                    shaken,
                    True,
                    None,
                    ssl_handshake_timeout=self._timeouts[0],
                    ssl_shutdown_timeout=self._timeouts[1],
                )
            transport = LoopTransport(loop, sock, protocol, peer or None, self._server)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            sock.close()
            self._failed(error)
            return
        try:
            transport.start()
        except OSError as error:
            transport._failed(error)

    def _shaken(self, future: asyncio.Future[None]) -> None:
        """A handshake has ended; a failed one has closed its transport by itself."""
        error = None if future.cancelled() else future.exception()
        if error is not None and self._loop.get_debug():
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        self._loop.call_exception_handler(
            {
                "message": "Error on transport creation for incoming connection",
                "exception": error,
            }
        )
