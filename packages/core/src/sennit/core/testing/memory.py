"""A transport for tests that only records.

`RecordingTransport` stands under a protocol in a unit test: what the protocol
writes is in `written`, what it does to the connection in `close_reason`,
`eof_written`, `reading`; `receive`, `receive_eof` and `lose` play the peer.

Whole programs are connected by `sennit.core.testing.network.MemoryNetwork`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from sennit.core._implements import implements
from sennit.core.deferred import Deferred, succeed
from sennit.core.errors import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    LimitReachedError,
    ReactorError,
)
from sennit.core.transport.filepiece import FilePiece
from sennit.core.transport.flow import FlowControl
from sennit.core.transport.sending import owned as _owned
from sennit.core.transport.stream import _NOBODY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import IO, Any, Final

    from sennit.core.address import Address
    from sennit.core.interfaces import (
        Buffer,
        IStreamProtocol,
        IStreamTransport,
    )
    from sennit.core.transport.memory import IBufferedProtocol

__all__ = ["RecordingTransport"]

READ_AT_ONCE: Final = 64 * 1024
"""Octets read of a file at a time."""


@implements("IStreamTransport")
class RecordingTransport(FlowControl):
    """A transport with nobody at the other end: it records, and does as the test says.

    Octets count as sent at once, unless `block` was called.

    Args:
        protocol: Who is delivered to; `connection_made` is called at once.
        local: This end's address.
        peer: The other end's.
        extra: What `get_extra_info` answers.

    Attributes:
        written: All octets that were sent.
        pieces: The same as they were written, one item per `write` or file.
        eof_written: Whether `write_eof` was called.
        aborted: Whether `abort` was called, or a limit or a bug had that effect.
        errors: Exceptions that the protocol raised; they end the connection.
        tls: The arguments of each `start_tls`, as dictionaries.
    """

    def __init__(
        self,
        protocol: IStreamProtocol | None = None,
        *,
        local: Address | None = None,
        peer: Address | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self._protocol = _NOBODY if protocol is None else protocol
        self._local = local
        self._peer = peer
        self._extra = extra or {}
        self._close_reason: str | None = None
        self._blocked = False
        self._waiting: list[bytes | memoryview | FilePiece] = []
        self._size = 0
        self._reading = True
        self._closing = False
        self._lost = False
        self.pieces: list[bytes] = []
        self.eof_written = False
        self.aborted = False
        self.errors: list[BaseException] = []
        self.tls: list[dict[str, Any]] = []
        if protocol is not None:
            self._call("connection_made", protocol.connection_made, self)

    # ── what the test looks at and does ───────────────────────────────────────

    @property
    def written(self) -> bytes:
        """All octets that were sent."""
        return b"".join(self.pieces)

    @property
    def closed(self) -> bool:
        """Whether the protocol closed or aborted the connection, or it was lost."""
        return self._closing

    @property
    def reading(self) -> bool:
        """Whether the protocol wants octets now."""
        return self._reading

    def take(self) -> bytes:
        """Return what was sent since the last `take`, and forget it."""
        data = self.written
        self.pieces.clear()
        return data

    def receive(self, data: bytes, *, cut: int | None = None) -> None:
        """Deliver octets to the protocol.

        Args:
            data: What the peer sent.
            cut: Octets to hand over at a time; all at once when left out.

        Raises:
            ReactorError: The protocol has paused reading or closed the connection.
        """
        step = cut or len(data) or 1
        for at in range(0, len(data), step):
            if not self._reading or self._closing:
                state = self._close_reason or "paused"
                raise ReactorError(f"{len(data) - at} octets have nobody to receive them: {state}")
            self._receive(data[at : at + step])

    def _receive(self, data: bytes) -> None:
        get_buffer = getattr(self._protocol, "get_buffer", None)
        if get_buffer is None:
            self._call("data_received", self._protocol.data_received, data)
            return
        while data and not self._closing:
            buffer = memoryview(get_buffer(len(data))).cast("B")
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            data = data[size:]
            updated = cast("IBufferedProtocol", self._protocol).buffer_updated
            self._call("buffer_updated", updated, size)

    def receive_eof(self) -> None:
        """The peer sends no more: close, unless the protocol keeps the way out open."""
        if not self._call("eof_received", self._protocol.eof_received):
            self.close()

    def lose(self, error: Exception | None = None) -> None:
        """The connection goes; the protocol is told."""
        if error is None:
            self._end(None, "clean")
        else:
            self._end(error, error.reason if isinstance(error, ConnectionLost) else "reset")

    def block(self) -> None:
        """From now on the peer does not read: octets wait here, and marks and limit count."""
        self._blocked = True

    def unblock(self, octets: int | None = None) -> None:
        """The peer reads again, all that waits and comes, or so many octets of it."""
        if octets is None:
            self._blocked = False
        self._send(octets)

    # ── IStreamTransport ──────────────────────────────────────────────────────

    @property
    def local(self) -> Address | None:
        """What it was made with."""
        return self._local

    @property
    def peer(self) -> Address | None:
        """What it was made with."""
        return self._peer

    @property
    def close_reason(self) -> str | None:
        """Why the connection ended or is ending; ``None`` while it is open."""
        return self._close_reason

    def write(self, data: Buffer) -> None:
        piece = data if type(data) is bytes else _owned(data)
        if self._closing:
            return
        if self.eof_written:
            raise ReactorError("write after write_eof")
        if not piece:
            return
        self._waiting.append(piece)
        self._size += len(piece)
        if not self._blocked:
            self._send(None)
        elif self._size > self._high:
            self._pause()
            if self._size > self._hard:
                self.aborted = True
                reason = "limit:write-buffer"
                self._end(
                    LimitReachedError(f"{self._size} octets wait for the peer", reason), reason
                )

    def writelines(self, pieces: Iterable[Buffer]) -> None:
        for piece in pieces:
            self.write(piece)

    def sendfile(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> Deferred[int]:
        piece = FilePiece(file, offset, count)
        if self._closing:
            piece.fail(ConnectionLost("the connection is closed", self._close_reason or "lost"))
            return piece.done
        self._waiting.append(piece)
        if self._blocked:
            self._pause()
        else:
            self._send(None)
        return piece.done

    def _send(self, octets: int | None) -> None:
        waiting = self._waiting
        while waiting and octets != 0:
            first = waiting[0]
            if isinstance(first, FilePiece):
                data = first.next_block(READ_AT_ONCE if octets is None else octets)
                first.advance(len(data))
                if not data:
                    del waiting[0]
                    first.finish()
                    continue
            else:
                data = bytes(first if octets is None else first[:octets])
                self._size -= len(data)
                if len(data) == len(first):
                    del waiting[0]
                else:
                    waiting[0] = first[len(data) :]
            self.pieces.append(bytes(data))
            if octets is not None:
                octets -= len(data)
        if self._closing and not self._lost and not waiting:
            self._end(None, self._close_reason or "clean")
        elif not any(isinstance(piece, FilePiece) for piece in waiting):
            # A file on its way keeps producers waiting, as it does on a socket.
            self._relieved(self._size)

    def write_eof(self) -> None:
        self.eof_written = True

    def can_write_eof(self) -> bool:
        return True

    def close(self, reason: str = "clean") -> None:
        if not self._closing:
            self._closing = True
            self._reading = False
            self._close_reason = reason
            if not self._waiting:
                self._end(None, reason)

    def abort(self, reason: str = "aborted") -> None:
        if not self._lost:
            self.aborted = True
            self._end(ConnectionAborted(f"aborted: {reason}", reason), reason)

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = not self._closing

    def is_reading(self) -> bool:
        return self._reading

    def get_write_buffer_size(self) -> int:
        return self._size

    def output_mark(self) -> object:
        first = self._waiting[0] if self._waiting else None
        return self._size, len(self._waiting), getattr(first, "sent", 0)

    def set_protocol(self, protocol: IStreamProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> IStreamProtocol:
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._extra.get(name, default)

    def start_tls(
        self,
        context: Any,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        handshake_timeout: float = 10.0,
    ) -> Deferred[IStreamTransport]:
        """Only recorded, in `tls`; the Deferred fires with this transport at once."""
        self.tls.append(
            {
                "context": context,
                "server_side": server_side,
                "server_hostname": server_hostname,
                "handshake_timeout": handshake_timeout,
            }
        )
        return succeed(self)

    # ── inside ────────────────────────────────────────────────────────────────

    def _call(self, method: str, fn: Callable[..., Any], *args: Any) -> Any:
        try:
            return fn(*args)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._protocol_failed(error, method)
            return None

    def _protocol_failed(self, error: BaseException, method: str) -> None:
        self.errors.append(error)
        self.aborted = True
        self._end(ConnectionAborted(f"{method} failed", "error"), "error")

    def _end(self, error: Exception | None, reason: str) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        self._reading = False
        if self._close_reason is None or error is not None:
            self._close_reason = reason
        waiting, self._waiting = self._waiting, []
        self._size = 0
        self._wake_waiters(error or ConnectionDone())
        for piece in waiting:
            if isinstance(piece, FilePiece):
                piece.fail(error or ConnectionDone())
        self._call("connection_lost", self._protocol.connection_lost, error)
