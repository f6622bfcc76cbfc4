"""The way out of a TLS connection: encrypting, flow control, and the end.

Octets are encrypted as late as possible: while the transport below is pressed
they wait here, uncopied, so that its marks bound what lies there and the marks
here what lies here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sennit.core.errors import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    LimitReachedError,
    ReactorError,
    TLSError,
)
from sennit.core.transport._openssl import SSL, describe_error
from sennit.core.transport.filepiece import FilePiece
from sennit.core.transport.sending import owned
from sennit.core.transport.stream import _NOBODY
from sennit.core.transport.tlsbase import CLOSING, GONE, HANDSHAKE, OPEN, STOPPING, TLSBase
from sennit.core.transport.tlscontext import ClientTLS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import IO

    from sennit.core.deferred import Deferred
    from sennit.core.interfaces import Buffer

__all__ = ["SHUTDOWN_TIMEOUT", "TLSWriting", "report"]

SHUTDOWN_TIMEOUT: Final = 5.0
"""Seconds without any progress after which a connection that closes is aborted."""
PIECE: Final = 64 * 1024
"""Octets encrypted at a time."""
FILE_AT_ONCE: Final = 1 << 20
"""Octets of a file sent in one turn, so that one fast peer does not keep the loop."""


_BOTH_SHUT: Final = int(SSL.SENT_SHUTDOWN) | int(SSL.RECEIVED_SHUTDOWN)


class TLSWriting(TLSBase):
    """Writing and closing."""

    __slots__ = ()

    # ── writing ───────────────────────────────────────────────────────────────

    def write(self, data: Buffer) -> None:
        """Queue octets; ignored after the loss.

        Raises:
            TypeError: `data` is not bytes-like.
            ReactorError: After `write_eof`.
        """
        if type(data) is not bytes:
            data = owned(data)
        if self._state != OPEN or self._eof_out:
            self._refuse_write()
            return
        size = len(data)
        if not size:
            return
        self._out.append(data)
        self._size = size = self._size + size
        if size > self._room:
            self._pressed()
        elif not self._corked and not self._queued:
            self._flush_soon()

    def writelines(self, pieces: Iterable[Buffer]) -> None:
        """`write` each piece; they leave together."""
        for piece in pieces:
            self.write(piece)

    def _refuse_write(self) -> None:
        if self._eof_out and self._state == OPEN:
            raise ReactorError("write after write_eof")

    def _flush_soon(self) -> None:
        """Send at the end of this turn, or now where there are no turns."""
        if self._lower_paused:
            return  # `resume_writing` goes on
        if self._reactor is None:
            self._flush()
        else:
            self._queued = True
            self._reactor.flush_later(self._flush)

    def _pressed(self) -> None:
        """Above the high mark: send at once what the transport below takes, then look again."""
        if not self._lower_paused:
            self._flush()
        if self._lower_paused and self._state == OPEN:
            self._pause()
            if self._size > self._hard:
                import logging

                logging.getLogger("sennit.tls").warning(
                    "Connection with %s aborted: limit:write-buffer, %d octets wait for a peer "
                    "that does not read",
                    self._lower.peer,
                    self._size,
                )
                self._error = LimitReachedError(
                    f"{self._size} octets wait for a peer that does not read",
                    "limit:write-buffer",
                )
                self.abort("limit:write-buffer")

    def _flush(self) -> None:
        """Encrypt and pass on what is queued, until the transport below is pressed."""
        self._queued = False
        state = self._state
        if self._lower_paused or self._error is not None or not OPEN <= state <= CLOSING:
            return
        out = self._out
        if out:
            try:
                if len(out) == 1 and type(out[0]) is bytes and self._size <= PIECE:
                    data: bytes | memoryview = out.pop()
                    self._size = 0
                    self._encrypt(data)
                else:
                    self._flush_many()
            except (SSL.Error, OSError) as error:
                lost = ConnectionLost(f"sending failed: {describe_error(error)}", "error")
                lost.__cause__ = error
                self._error = lost
                self.abort("error")
                return
        if not self._lower_paused:
            if not self._out:
                self._drained()
            if self._state == OPEN:
                self._room = self._high - self._lower.get_write_buffer_size()

    def _flush_many(self) -> None:
        """Encrypt a piece at a time, small ones together, large ones in views."""
        out = self._out
        of_files = 0
        while out and not self._lower_paused and self._state != GONE:
            first = out[0]
            if type(first) is FilePiece:
                block = first.next_block(PIECE)
                if not block:
                    del out[0]
                    first.finish()
                    continue
                first.advance(len(block))
                of_files += len(block)
                self._encrypt(block)
                if of_files >= FILE_AT_ONCE and self._reactor is not None:
                    if not self._lower_paused:
                        self._flush_soon()
                    return
                continue
            size = len(first)
            data: bytes | memoryview
            if size > PIECE:
                out[0] = memoryview(first)[PIECE:]
                data, size = memoryview(first)[:PIECE], PIECE
            else:
                count = 1
                while count < len(out) and type(out[count]) is not FilePiece:
                    size += len(out[count])
                    if size > PIECE:
                        size -= len(out[count])
                        break
                    count += 1
                data = first if count == 1 else b"".join(out[:count])
                del out[:count]
            self._size -= size
            self._encrypt(data)

    def _encrypt(self, data: bytes | memoryview) -> None:
        conn = self._conn
        size = len(data)
        sent = conn.send(data)
        while sent < size:  # where the library writes one record at a time
            sent += conn.send(memoryview(data)[sent:])
        # Headers and tags of at most five records, and what else the library had to say.
        room = size + 2048
        while True:
            octets = conn.bio_read(room)
            self._lower.write(octets)
            if len(octets) < room:
                return

    def _send_bio(self) -> bool:
        """Pass on what the library wants said; whether that was anything."""
        conn = self._conn
        some = False
        while True:
            try:
                octets = conn.bio_read(16384)
            except SSL.Error:
                return some
            some = True
            self._lower.write(octets)
            if len(octets) < 16384:
                return True

    def _drained(self) -> None:
        """Everything has been passed on: go on with what waited for that."""
        if self._state == CLOSING:
            self._say_goodbye()
            self._lower_close(self._close_reason or "clean")
            return
        if self._eof_out and not self._shut:
            self._say_goodbye()
            if self._state == STOPPING:
                self._relieved(0)
                self._half_stopped()
                return
            if self._eof_in:
                self.close()
        if self._state != GONE:
            self._relieved(0)

    def _half_stopped(self) -> None:
        raise TypeError("who stops TLS has this")  # pragma: no cover - overridden

    def _say_goodbye(self) -> None:
        """Send close_notify."""
        if not self._shut:
            self._shut = True
            try:
                self._conn.shutdown()
            except SSL.Error:
                pass  # the connection is broken already; it ends anyway
            self._send_bio()

    def pause_writing(self) -> None:
        """The transport below is pressed."""
        self._lower_paused = True
        self._room = 0
        self._pause()

    def resume_writing(self) -> None:
        """The transport below has room again."""
        self._lower_paused = False
        if self._state == HANDSHAKE:
            return
        self._flush()

    def get_write_buffer_size(self) -> int:
        """Octets that wait to be sent, here and below (those of files not counted)."""
        if self._state == GONE:
            return 0
        return self._size + self._lower.get_write_buffer_size()

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None, *, hard: int | None = None
    ) -> None:
        """Set the marks, here and in the transport below (`FlowControl`)."""
        super().set_write_buffer_limits(high, low, hard=hard)
        if self._state in {HANDSHAKE, OPEN}:
            self._lower.set_write_buffer_limits(self._high, self._low)
            self._room = min(self._room, self._high)

    def sendfile(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> Deferred[int]:
        """Send a piece of a file, in order with `write`, read as fast as the peer takes it.

        Args:
            file: Open for reading, until the Deferred has fired.
            offset: Octet to begin at.
            count: Octets to send; all up to the end when left out.

        Returns:
            Fires with the octets sent, fewer than `count` if the file ended first.
        """
        piece = FilePiece(file, offset, count)
        if self._state != OPEN or self._eof_out:
            piece.fail(ConnectionLost("the connection is closed", self.close_reason or "lost"))
            return piece.done
        self._out.append(piece)
        self._pause()
        if not self._corked and not self._queued:
            self._flush_soon()
        return piece.done

    def can_write_eof(self) -> bool:
        """Whether a half-close means what it says: since TLS 1.3.

        Before, a peer that gets close_notify throws away what it has not sent
        (RFC 5246 §7.2.1), though most do not. `write_eof` works with any version.
        """
        return self._state in {OPEN, CLOSING} and self.tls_version == "TLSv1.3"

    def write_eof(self) -> None:
        """Send close_notify once all that was written has left; reading goes on."""
        if self._eof_out or self._state != OPEN:
            return
        self._eof_out = True
        if not self._corked and not self._queued:
            self._flush_soon()

    # ── the end ───────────────────────────────────────────────────────────────

    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called or the connection has gone."""
        return self._state >= CLOSING or self._lower.is_closing()

    def close(self, reason: str = "clean") -> None:
        """Send what is queued and close_notify, then close. No more is received."""
        if self._state == HANDSHAKE:
            self.abort(reason)
            return
        if self._state != OPEN and self._state != STOPPING:
            return
        self._close_reason = reason
        self._state = CLOSING
        self._reading = False
        if self._session_due:
            self._keep_session()
        self._lower.pause_reading()
        self._expect_progress()
        if not self._corked and not self._queued:
            self._flush_soon()

    def abort(self, reason: str = "aborted") -> None:
        """Close now and throw away what is queued; a TCP peer sees a reset."""
        if self._state == GONE:
            return
        if self._state == HANDSHAKE:
            self._report_handshake(f"given up ({reason})", None)
        elif self._state < CLOSING:
            self._state = CLOSING
        self._reading = False
        self._shut = True
        self._close_reason = reason
        if self._error is None:
            self._error = ConnectionAborted(f"aborted: {reason}", reason)
        self._lower.abort(reason)

    def _why_gone(self) -> ConnectionLost | None:
        if self._state != GONE:
            return None
        return ConnectionLost("the connection has gone", self.close_reason or "lost")

    def drain(self) -> None:
        """Have the protocol above come to an end by itself, else close (`IDrainable`)."""
        if self._state == HANDSHAKE:
            self.abort("drained")
            return
        drain = getattr(self._protocol, "drain", None)
        if drain is not None:
            drain()
        else:
            self.close("drained")

    def _end(self, error: ConnectionLost, reason: str) -> None:
        """TLS is over: nothing more can be said; what was passed on still leaves."""
        self._error = error
        self._close_reason = reason
        self._state = CLOSING
        self._shut = True
        self._reading = False
        self._lower_close(reason)

    def _lower_close(self, reason: str) -> None:
        """Close the transport below, and see to it that it ends."""
        self._lower.close(reason)
        if self._state != GONE:
            self._expect_progress()

    def _expect_progress(self) -> None:
        """Look again later whether the peer takes what is left."""
        self._progress = self._position()
        self._call_later(SHUTDOWN_TIMEOUT, self._look_for_progress)

    def output_mark(self) -> object:
        """A value that changes while what waits to be sent makes progress, files included."""
        return self._position()

    def _position(self) -> tuple[int, int, int]:
        first = self._out[0] if self._out else None
        sent = first.sent if type(first) is FilePiece else 0
        return self._size, self._lower.get_write_buffer_size(), sent

    def _look_for_progress(self) -> None:
        self._timer = None
        if self._position() == self._progress:
            self.abort("timeout")
        else:
            self._expect_progress()

    def _protocol_failed(self, error: BaseException, method: str) -> None:
        """A method of the protocol has raised: that ends its connection, nothing else."""
        report(self._reactor, error, f"in {type(self._protocol).__qualname__}.{method}")
        if self._error is None:
            self._error = ConnectionAborted(f"{method} failed", "error")
        self.abort("error")

    def _report_handshake(self, reason: str, cause: BaseException | None) -> None:
        """Tell whoever waits why there will be no connection, once."""
        if self._error is not None or self._state != HANDSHAKE:
            return
        tls, done = self._tls, self._done
        self._done = None
        if isinstance(tls, ClientTLS):
            whom = self._host.name if self._host else str(self._lower.peer or "the server")
            error = TLSError(f"TLS handshake with {whom} failed: {reason}", reason)
        else:
            whom = str(self._lower.peer or "a peer")
            error = TLSError(f"TLS handshake with {whom} failed: {reason}", reason)
            if tls is not None:
                tls.handshake_failed(error, whom, touched=self._touched)
        error.__cause__ = cause
        self._error = error
        if done is not None and not done.called:
            done.errback(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport below has gone, and so has this one."""
        state = self._state
        if state == GONE:
            return
        if self._session_due and state == OPEN:
            self._keep_session()
        if state == HANDSHAKE:
            self._report_handshake(_lost_because(exc), exc)
        self._state = GONE
        self._reading = False
        self._pressing = True  # there will be no room any more (`writable`)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        error: Exception | None = self._error
        if error is None and not (self._eof_in and self._shut):
            error = exc
        told = state != HANDSHAKE or not self._notify
        protocol = self._protocol
        out, self._out = self._out, []
        self._size = 0
        if self._waiters:
            self._wake_waiters(error or ConnectionDone())
        cleared, self._cleared = self._cleared, None
        for piece in out:
            if type(piece) is FilePiece:
                piece.fail(error or ConnectionDone())
        if told:
            try:
                protocol.connection_lost(error)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as failure:
                report(self._reactor, failure, f"in {type(protocol).__qualname__}.connection_lost")
        if cleared is not None and not cleared.called:
            cleared.errback(error or ConnectionDone())
        if not isinstance(getattr(self._error, "__cause__", None), SSL.Error):
            # Else the library declares the session unfit to be resumed, on either side
            # (RFC 5246 §7.2.1 no longer asks for that).
            self._conn.set_shutdown(_BOTH_SHUT)
        # The protocol holds this object, and this object held the protocol.
        self._protocol = _NOBODY
        self._data_received = _NOBODY.data_received
        self._get_buffer = None
        self._above = self._tls = self._error = self._scratch = None
        del self._conn

    def _keep_session(self) -> None:
        self._session_due = False
        if isinstance(self._tls, ClientTLS):
            self._tls.remember(self._host, self._port(), self._conn)


def _lost_because(exc: Exception | None) -> str:
    if exc is None:
        return "the connection was closed"
    return f"the connection was lost ({getattr(exc, 'reason', type(exc).__name__)})"


def report(reactor: Any, error: BaseException, where: str) -> None:
    """Log an exception that nobody else will see."""
    tell: Callable[[BaseException, str], object] | None = getattr(reactor, "report", None)
    if tell is None:
        from sennit.core.reactor.lifecycle import log_error

        tell = log_error
    tell(error, where)
