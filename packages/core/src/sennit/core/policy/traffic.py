r"""A log of what passes over a connection: ``with_traffic_log(factory)``.

Each event is one record at the given level of the logger ``sennit.traffic``::

    #7 203.0.113.9:40112 connected to 192.0.2.1:25
    #7 203.0.113.9:40112 > 24 octets: EHLO client.example\r\n
    #7 203.0.113.9:40112 < 27 octets: 250 server.example hello\r\n
    #7 203.0.113.9:40112 lost: clean

``>`` came from the peer, ``<`` was written to it. Octets are shown as Python
writes them, so no control character reaches a log, and cut after a number of them.
What must not be seen is taken out by `redact` before.

Looking changes nothing: octets pass as they were, and while the logger's level is
above the records' a connection is not wrapped at all.
"""

from __future__ import annotations

import logging
from itertools import count

from sennit.core.policy.wrapper import ProtocolWrapper, TransportWrapper, WrappingFactory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import IO, Any, Final, TypeAlias

    from sennit.core.deferred import Deferred
    from sennit.core.interfaces import Buffer, IStreamProtocol, IStreamTransport
    from sennit.core.protocol import ProtocolFactory

    Redact: TypeAlias = Callable[[str, bytes], bytes]

__all__ = ["TrafficLog", "with_traffic_log"]

SHOWN: Final = 1024
"""Octets shown of each piece."""

_numbers = count(1)


class TrafficLog:
    """Where the traffic of one connection is told.

    Args:
        peer: How the peer is called.
        logger: Who is told.
        level: At which level.
        shown: Octets shown of each piece.
        redact: ``redact(direction, octets)`` gives the octets to show, `direction`
            being ``>`` or ``<``; what it raises is logged in their place.
    """

    __slots__ = ("_level", "_logger", "_name", "_redact", "_shown")

    def __init__(
        self,
        peer: object,
        *,
        logger: logging.Logger,
        level: int,
        shown: int = SHOWN,
        redact: Redact | None = None,
    ) -> None:
        self._logger = logger
        self._level = level
        self._shown = shown
        self._redact = redact
        self._name = f"#{next(_numbers)} {peer}"

    def event(self, what: str) -> None:
        """Something happened."""
        self._logger.log(self._level, "%s %s", self._name, what)

    def octets(self, direction: str, data: Buffer, to: object = None) -> None:
        """Octets passed; `to` is the other end of a datagram."""
        length = memoryview(data).nbytes
        shown = bytes(memoryview(data).cast("B")[: self._shown]) if self._redact is None else b""
        if self._redact is not None:
            try:
                shown = self._redact(direction, bytes(data))[: self._shown]
            except Exception as error:
                self.event(f"{direction} {length} octets, not shown: redact failed: {error!r}")
                return
        more = " …" if length > self._shown and len(shown) == self._shown else ""
        whom = "" if to is None else f" {to}"
        self.event(f"{direction}{whom} {length} octets: {repr(shown)[2:-1]}{more}")


class _Logged(ProtocolWrapper):
    """A protocol whose traffic is told."""

    __slots__ = ("_log", "_settings")

    _log: TrafficLog

    def __init__(self, wrapped: IStreamProtocol, settings: dict[str, Any]) -> None:
        super().__init__(wrapped)
        self._settings = settings

    def connection_made(self, transport: Any) -> None:
        """Begin to tell. (`Any`: a stream's transport, or one of datagrams.)"""
        self._log = log = TrafficLog(transport.peer or transport.local, **self._settings)
        log.event(f"connected to {transport.local}" if transport.peer else "open")
        kind = _LoggedDatagrams if hasattr(transport, "sendto") else _LoggedTransport
        self.wrapped.connection_made(kind(transport, log))

    def data_received(self, data: bytes) -> None:
        """Octets have come."""
        self._log.octets(">", data)
        self.wrapped.data_received(data)

    def datagram_received(self, data: bytes, peer: object) -> None:
        """A datagram has come."""
        self._log.octets(">", data, peer)
        inside: Any = self.wrapped
        inside.datagram_received(data, peer)

    def error_received(self, exc: Exception) -> None:
        """A datagram did not arrive."""
        self._log.event(f"error: {exc!r}")
        inside: Any = self.wrapped
        inside.error_received(exc)

    def eof_received(self) -> bool | None:
        """The peer sends no more."""
        self._log.event("> end")
        return self.wrapped.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has gone."""
        self._log.event(f"lost: {'clean' if exc is None else repr(exc)}")
        self.wrapped.connection_lost(exc)


class _LoggedBuffered(_Logged):
    """The same around a protocol that lends its buffer (asyncio's `BufferedProtocol`)."""

    __slots__ = ("_buffer",)

    def get_buffer(self, sizehint: int) -> Any:
        """The wrapped protocol's, remembered until octets are in it."""
        inside: Any = self.wrapped
        self._buffer = inside.get_buffer(sizehint)
        return self._buffer

    def buffer_updated(self, nbytes: int) -> object:
        """Octets have come."""
        self._log.octets(">", memoryview(self._buffer).cast("B")[:nbytes])
        inside: Any = self.wrapped
        more: object = inside.buffer_updated(nbytes)
        return more


class _LoggedTransport(TransportWrapper):
    """A transport that tells what is written to it."""

    __slots__ = ("_log",)

    def __init__(self, wrapped: IStreamTransport, log: TrafficLog) -> None:
        super().__init__(wrapped)
        self._log = log

    def write(self, data: Buffer) -> None:
        """Octets for the peer."""
        self._log.octets("<", data)
        self.wrapped.write(data)

    def writelines(self, pieces: Iterable[Buffer]) -> None:
        """Octets for the peer."""
        whole = [bytes(piece) for piece in pieces]
        self._log.octets("<", b"".join(whole))
        self.wrapped.writelines(whole)

    def sendfile(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> Deferred[int]:
        """A piece of a file for the peer."""
        size = "all" if count is None else f"{count} octets"
        self._log.event(f"< {size} of {getattr(file, 'name', file)!r} from {offset}")
        return self.wrapped.sendfile(file, offset, count)

    def write_eof(self) -> None:
        """Nothing more will be written."""
        self._log.event("< end")
        self.wrapped.write_eof()

    def close(self, reason: str = "clean") -> None:
        """The protocol closes."""
        self._log.event(f"closed: {reason}")
        self.wrapped.close(reason)

    def abort(self, reason: str = "aborted") -> None:
        """The protocol aborts."""
        self._log.event(f"aborted: {reason}")
        self.wrapped.abort(reason)

    def start_tls(self, context: Any, **options: Any) -> Deferred[IStreamTransport]:
        """TLS begins; what passes over it is told as well."""
        self._log.event("TLS begins")

        def moved(transport: IStreamTransport) -> IStreamTransport:
            self._log.event("TLS stands")
            self.wrapped = transport
            return self  # type: ignore[return-value]  # what is missing is found below

        return self.wrapped.start_tls(context, **options).add_callback(moved)

    def stop_tls(self, **options: Any) -> Deferred[IStreamTransport]:
        """TLS ends; what passes in clear is told as well."""
        self._log.event("TLS ends")

        def moved(transport: IStreamTransport) -> IStreamTransport:
            self.wrapped = transport
            return self  # type: ignore[return-value]  # what is missing is found below

        below: Any = self.wrapped  # a transport of TLS, or it fails as that would
        moving: Deferred[IStreamTransport] = below.stop_tls(**options).add_callback(moved)
        return moving


class _LoggedDatagrams(TransportWrapper):
    """A transport of datagrams that tells what is sent."""

    __slots__ = ("_log",)

    def __init__(self, wrapped: Any, log: TrafficLog) -> None:
        super().__init__(wrapped)
        self._log = log

    def sendto(self, data: Buffer, peer: object = None, **options: Any) -> Any:
        """A datagram for a peer. (`Any`: what the transport below takes and gives.)"""
        self._log.octets("<", data, peer)
        below: Any = self.wrapped
        return below.sendto(data, peer, **options)


def with_traffic_log(
    factory: ProtocolFactory,
    *,
    logger: str = "sennit.traffic",
    level: int = logging.DEBUG,
    shown: int = SHOWN,
    redact: Redact | None = None,
) -> WrappingFactory:
    """A factory that tells all that passes over its connections (see the module).

    Args:
        factory: Makes the protocols inside, of streams or of datagrams.
        logger: Name of the logger that is told.
        level: Level of the records.
        shown: Octets shown of each piece.
        redact: Takes out of the octets what must not be seen: ``redact(direction, octets)``.
    """
    told = logging.getLogger(logger)
    settings = {"logger": told, "level": level, "shown": shown, "redact": redact}

    def wrap(protocol: IStreamProtocol) -> IStreamProtocol:
        if not told.isEnabledFor(level):
            return protocol
        kind = _LoggedBuffered if hasattr(protocol, "get_buffer") else _Logged
        return kind(protocol, settings)

    return WrappingFactory(factory, wrap)
