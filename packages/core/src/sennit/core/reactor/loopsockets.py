"""Connections of the reactor's asyncio loop: which transport asyncio's calls get.

asyncio's own code turns names into addresses and sockets (``create_connection``,
``create_server``, ``start_tls`` and their kin); what a socket becomes is decided
here. The transports themselves are in ``loopstreams.py``.
"""

from __future__ import annotations

import typing

from sennit.core.reactor.loopbase import number
from sennit.core.reactor.loopthreads import LoopThreads

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    import socket
    import ssl
    from collections.abc import Callable
    from typing import IO, Any

    from sennit.core.reactor.calls import DelayedCall
    from sennit.core.reactor.eventloop import ReactorEventLoop
    from sennit.core.reactor.loopstreams import LoopListener, LoopTransport

__all__ = ["LoopSockets"]


class LoopSockets(LoopThreads):
    """The part of `ReactorEventLoop` that watches descriptors and makes transports."""

    _listeners: dict[int, LoopListener]

    @property
    def _whole(self) -> ReactorEventLoop:
        """The loop that this is a part of."""
        return typing.cast("ReactorEventLoop", self)

    # ── descriptors ───────────────────────────────────────────────────────────

    def _ensure_fd_no_transport(self, fd: Any) -> None:
        """A descriptor of a transport is nobody else's to watch (asked by asyncio's methods).

        Raises:
            RuntimeError: It belongs to one.
        """
        found = number(fd)
        reactor = self._reactor
        if found not in reactor._descriptors:
            handler = reactor.handlers.get(found)
            if handler is not None:
                bound = getattr(handler, "args", (handler,))[0]
                owner = getattr(bound, "__self__", handler)
                raise RuntimeError(f"File descriptor {fd!r} is used by transport {owner!r}")

    def _add_reader(self, fd: Any, callback: Callable[..., object], *args: Any) -> DelayedCall:
        self._check_closed()
        return self._reactor.add_reader(number(fd), callback, *args)

    def _add_writer(self, fd: Any, callback: Callable[..., object], *args: Any) -> DelayedCall:
        self._check_closed()
        return self._reactor.add_writer(number(fd), callback, *args)

    def _remove_reader(self, fd: Any) -> bool:
        return not self._closed and self._reactor.remove_reader(number(fd))

    def _remove_writer(self, fd: Any) -> bool:
        return not self._closed and self._reactor.remove_writer(number(fd))

    # ── transports ────────────────────────────────────────────────────────────

    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: Any,
        waiter: asyncio.Future[None] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        server: Any = None,
    ) -> LoopTransport:
        from sennit.core.reactor.loopstreams import connected

        return connected(self._whole, sock, protocol, waiter, extra, server)

    def _make_datagram_transport(
        self,
        sock: socket.socket,
        protocol: Any,
        address: Any = None,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> Any:
        from sennit.core.reactor.loopdatagrams import endpoint

        return endpoint(self._whole, sock, protocol, address, waiter, extra)

    def _make_ssl_transport(
        self,
        rawsock: socket.socket,
        protocol: Any,
        sslcontext: ssl.SSLContext,
        waiter: asyncio.Future[None] | None = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        **timeouts: float | None,
    ) -> Any:
        from asyncio.sslproto import SSLProtocol

        from sennit.core.reactor.loopstreams import connected

        # Typed as ever longer ints and never-missing futures; asyncio itself passes these.
        make: Any = SSLProtocol
        layer = make(self, protocol, sslcontext, waiter, server_side, server_hostname, **timeouts)
        connected(self._whole, rawsock, layer, None, extra, server)
        return layer._app_transport

    def _start_serving(
        self,
        protocol_factory: Callable[[], Any],
        sock: socket.socket,
        sslcontext: ssl.SSLContext | None = None,
        server: Any = None,
        backlog: int = 100,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None:
        from sennit.core.reactor.loopstreams import LoopListener

        self._listeners[sock.fileno()] = LoopListener(
            self._whole,
            sock,
            protocol_factory,
            sslcontext,
            server,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
        )

    def _stop_serving(self, sock: socket.socket) -> None:
        listener = self._listeners.pop(sock.fileno(), None)
        if listener is not None:
            listener.pause_accepting()
        # asyncio's own closes the socket, and removes the path of a Unix one.
        super()._stop_serving(sock)
        if listener is not None:
            listener.close()

    async def _sendfile_native(
        self, transp: LoopTransport, file: IO[bytes], offset: int, count: int | None
    ) -> int:
        from sennit.core.transport.filepiece import FilePiece

        piece = FilePiece(file, offset, count)
        transp.send_piece(piece)
        try:
            return await piece.done
        finally:
            # Whatever became of it, the file is where what has left ends.
            file.seek(offset + piece.sent)
