"""TLS: a protocol on one side, a transport on the other.

`TLSTransport` is the protocol of a transport below (a socket, a Unix socket, a
memory pair, another TLS transport) and the transport of a protocol above. It
holds no socket: octets pass through OpenSSL's memory buffers.

The protocol above is told that it is connected when the handshake has
succeeded, and never otherwise. A handshake has one deadline for all of it.

Writing: what the protocol writes while its `data_received` runs leaves as one
record, in one write to the transport below, right after it; what is written from
elsewhere leaves once, at the end of the turn. Octets are encrypted as late as
possible: while the transport below is pressed they wait here, uncopied.

The end: `close` sends a close_notify alert and closes the transport below; it
does not wait for the peer's (RFC 8446 §6.1). A peer that takes nothing any more
is given `SHUTDOWN_TIMEOUT` seconds. When the peer's close_notify comes,
`eof_received` is called, as for a FIN. When the transport below ends *without*
one, octets may be missing that the peer meant to send: `connection_lost` gets a
`ConnectionLost` whose reason is ``truncated``. A protocol whose own framing says
that everything has come may well ignore that.

Not here: certificates, trust and names (``tlscontext.py``).
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final

from sennit.core._implements import implements
from sennit.core.deferred import Deferred
from sennit.core.errors import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    LimitReachedError,
    ReactorError,
    ReactorNotRunningError,
    TLSError,
    UsageError,
)
from sennit.core.protocol import adapt_factory
from sennit.core.reactor.calls import DelayedCall
from sennit.core.transport._openssl import (
    ERROR_WANT_READ,
    SCRATCH,
    SSL,
    describe_error,
    ffi,
    lib,
    scratch,
    verify_problem,
)
from sennit.core.transport.filepiece import FilePiece
from sennit.core.transport.flow import FlowControl
from sennit.core.transport.stream import _NOBODY, _owned
from sennit.core.transport.tlscontext import ClientTLS, ExpectedHost, ServerTLS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextvars import Context
    from typing import IO

    from sennit.core.address import Address
    from sennit.core.interfaces import Buffer, IDelayedCall, IStreamProtocol, IStreamTransport
    from sennit.core.protocol import ProtocolFactory

__all__ = [
    "HANDSHAKE_TIMEOUT",
    "SHUTDOWN_TIMEOUT",
    "ClientTLS",
    "ServerTLS",
    "TLSTransport",
    "client_protocol",
    "server_factory",
    "server_protocol",
    "upgrade",
]

HANDSHAKE_TIMEOUT: Final = 10.0
"""Seconds a handshake may take in all."""
SHUTDOWN_TIMEOUT: Final = 5.0
"""Seconds without any progress after which a connection that closes is aborted."""
PIECE: Final = 64 * 1024
"""Octets encrypted at a time."""
FILE_AT_ONCE: Final = 1 << 20
"""Octets of a file sent in one turn, so that one fast peer does not keep the loop."""

_BOTH_SHUT: Final = int(SSL.SENT_SHUTDOWN) | int(SSL.RECEIVED_SHUTDOWN)
_HANDSHAKE, _OPEN, _CLOSING, _GONE = 0, 1, 2, 3


@implements("ITLSTransport", "IStreamProtocol")
class TLSTransport(FlowControl):
    """One TLS connection over any stream transport.

    Made by `server_protocol`, `client_protocol` and `upgrade`. As a protocol it
    belongs to the transport below; the protocol above uses the transport half.
    """

    __slots__ = (
        "__weakref__",
        "_above",
        "_close_reason",
        "_conn",
        "_context",
        "_corked",
        "_data_received",
        "_done",
        "_eof_in",
        "_eof_out",
        "_error",
        "_get_buffer",
        "_handshake_timeout",
        "_host",
        "_lower",
        "_lower_paused",
        "_notify",
        "_out",
        "_progress",
        "_queued",
        "_reactor",
        "_reading",
        "_scratch",
        "_session_due",
        "_shut",
        "_size",
        "_state",
        "_timer",
        "_tls",
        "_touched",
    )

    _lower: IStreamTransport
    _conn: SSL.Connection

    def __init__(
        self,
        tls: ServerTLS | ClientTLS,
        above: ProtocolFactory | IStreamProtocol,
        *,
        host: ExpectedHost | None = None,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
        done: Deferred[Any] | None = None,
        notify: bool = True,
    ) -> None:
        FlowControl.__init__(self)
        self._tls: ServerTLS | ClientTLS | None = tls
        self._above: ProtocolFactory | IStreamProtocol | None = above
        self._host = host
        self._handshake_timeout = handshake_timeout
        self._done = done
        self._notify = notify  # whether the protocol has to be told that it is connected
        self._protocol = _NOBODY
        self._data_received: Callable[[bytes], object] = _NOBODY.data_received
        self._get_buffer: Callable[[int], Any] | None = None
        self._state = _HANDSHAKE
        self._close_reason: str | None = None
        self._error: ConnectionLost | TLSError | None = None
        self._context: Context | None = None
        self._reactor: Any = None  # IReactor, with flush_later where it has that
        self._timer: IDelayedCall | None = None
        self._out: list[Any] = []  # of bytes, memoryview or FilePiece
        self._size = 0
        self._corked = False
        self._queued = False
        self._reading = True
        self._eof_in = False  # the peer's close_notify has come
        self._eof_out = False  # ours was asked for
        self._shut = False  # and has been sent
        self._lower_paused = False
        self._session_due = False
        self._touched = False  # the peer has sent something
        self._progress: tuple[int, int, int] = (0, 0, 0)
        self._scratch: Any = None

    def __repr__(self) -> str:
        """Class, state and what it runs over."""
        state = self.close_reason or ("handshake" if self._state == _HANDSHAKE else "open")
        return f"<{type(self).__name__} {state} over {getattr(self, '_lower', None)!r}>"

    # ── the handshake ─────────────────────────────────────────────────────────

    def connection_made(self, transport: IStreamTransport) -> None:
        """The transport below stands: begin the handshake."""
        self._lower = transport
        self._context = copy_context() or None
        self._reactor = transport.get_extra_info("reactor")
        if self._reactor is None:
            self._reactor = _running_reactor()
        self._scratch = scratch()
        tls = self._tls
        if isinstance(tls, ClientTLS):
            self._conn = tls.connection(self._host, self._port())
        else:
            assert tls is not None
            self._conn = SSL.Connection(tls.context, None)
            self._conn.set_accept_state()
        self._call_later(self._handshake_timeout, self._handshake_timed_out)
        if isinstance(tls, ClientTLS):
            self._handshake()

    def _port(self) -> int:
        return getattr(self._lower.peer, "port", 0)

    def _call_later(self, delay: float, fn: Callable[[], object]) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._reactor is not None and self._state != _GONE:
            self._timer = self._reactor.call_later(delay, fn)

    def _handshake(self) -> None:
        """Go on with the handshake as far as what has come allows."""
        try:
            self._conn.do_handshake()
        except SSL.WantReadError:
            self._send_bio()
        except Exception as error:
            self._send_bio()
            self._handshake_failed(*self._explain(error))
        else:
            self._established()

    def _explain(self, error: Exception) -> tuple[str, BaseException | None]:
        """Why a handshake failed, for people."""
        reason = describe_error(error)
        if reason == "certificate verify failed":
            if self._host is not None and self._host.problem is not None:
                reason = self._host.problem
            else:
                reason = verify_problem(self._conn) or reason
        return reason, error

    def _established(self) -> None:
        """The handshake is done: the protocol above learns that it is connected."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        tls = self._tls
        if isinstance(tls, ClientTLS):
            problem = tls.check_alpn(self._conn.get_alpn_proto_negotiated())
            if problem is not None:
                self._handshake_failed(problem, None)
                return
            if tls.resume:
                # TLS 1.3 sends its tickets after the handshake; the first octets come behind them.
                self._session_due = True
                if self._conn.get_protocol_version_name() != "TLSv1.3":
                    self._keep_session()
        self._state = _OPEN
        above, self._above = self._above, None
        done, self._done = self._done, None
        self._corked = True
        try:
            if self._notify:
                protocol = _protocol_of(above, self._lower.peer)
                if protocol is None:
                    self.close()
                    return
                self.set_protocol(protocol)
                protocol.connection_made(self)
            if done is not None:
                done.callback(self if not self._notify else self._protocol)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._protocol_failed(error, "connection_made")
        finally:
            self._corked = False
            if self._state != _GONE:
                self._send_bio()
        if self._out or self._state == _CLOSING or self._pressing:
            self._flush()

    def _handshake_timed_out(self) -> None:
        self._timer = None
        seconds = f"{self._handshake_timeout:g} s"
        self._report_handshake(f"not done after {seconds}", None)
        self.abort("timeout")

    def _handshake_failed(self, reason: str, cause: BaseException | None) -> None:
        """The alert, if there is one, is on its way; the connection ends behind it."""
        self._report_handshake(reason, cause)
        self._lower_close("error")

    def _report_handshake(self, reason: str, cause: BaseException | None) -> None:
        """Tell whoever waits why there will be no connection, once."""
        if self._error is not None or self._state != _HANDSHAKE:
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

    def cancel(self, done: Deferred[Any]) -> None:
        """Whoever waited for the handshake does not want it any more."""
        self._done = None
        if self._state == _HANDSHAKE and hasattr(self, "_lower"):
            self.abort()

    # ── reading ───────────────────────────────────────────────────────────────

    def data_received(self, data: Any) -> None:
        """Octets have come from the transport below."""
        state = self._state
        if state == _OPEN:
            if self._eof_in:
                return  # behind the close_notify there is nothing (RFC 8446 §6.1)
            self._conn.bio_write(data)
            if self._reading:
                self._receive()
        elif state == _HANDSHAKE and self._error is None:
            self._touched = True
            self._conn.bio_write(data)
            self._handshake()
            if self._state == _OPEN and self._reading:
                self._receive()

    def _receive(self) -> None:
        """Decrypt and deliver what has come, as long as somebody wants it."""
        if self._get_buffer is not None:
            self._receive_buffered()
            return
        ssl, buffer = self._conn._ssl, self._scratch
        read = lib.SSL_read
        some = False
        self._corked = True
        try:
            while True:
                got = 0
                while got < SCRATCH:
                    result = read(ssl, buffer + got, SCRATCH - got)
                    if result <= 0:
                        break
                    got += result
                else:
                    result = 1
                # The library's complaint is the thread's: take it before anybody else is called.
                error: SSL.Error | None = None
                if result <= 0 and lib.SSL_get_error(ssl, result) != ERROR_WANT_READ:
                    error = self._failure_of(result)
                if got:
                    some = True
                    if self._session_due:
                        self._keep_session()
                    self._deliver(ffi.buffer(buffer, got)[:])
                if error is not None:
                    self._reading_ended(error)
                if result <= 0 or not self._reading or self._state != _OPEN:
                    break
        finally:
            self._corked = False
        if self._out or self._state == _CLOSING:
            self._flush()
        elif not some:
            self._send_bio()  # the library may have answered by itself (no_renegotiation)

    def _deliver(self, data: bytes) -> None:
        try:
            self._data_received(data)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._protocol_failed(error, "data_received")

    def _receive_buffered(self) -> None:
        """The same for a protocol that lends its buffer (asyncio's `BufferedProtocol`)."""
        get_buffer, conn = self._get_buffer, self._conn
        assert get_buffer is not None
        some = False
        self._corked = True
        try:
            while self._reading and self._state == _OPEN:
                try:
                    buffer = memoryview(get_buffer(-1)).cast("B")
                    if not len(buffer):
                        raise RuntimeError("get_buffer() returned an empty buffer")
                except Exception as error:
                    self._protocol_failed(error, "get_buffer")
                    break
                try:
                    got = conn.recv_into(buffer, min(len(buffer), SCRATCH))
                except SSL.WantReadError:
                    break
                except SSL.Error as error:
                    self._reading_ended(error)
                    break
                some = True
                if self._session_due:
                    self._keep_session()
                try:
                    self._protocol.buffer_updated(got)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
                except Exception as error:
                    self._protocol_failed(error, "buffer_updated")
        finally:
            self._corked = False
        if self._out or self._state == _CLOSING:
            self._flush()
        elif not some:
            self._send_bio()

    def _failure_of(self, result: int) -> SSL.Error:
        """The library's complaint as an exception."""
        try:
            self._conn._raise_ssl_error(self._conn._ssl, result)
        except SSL.Error as error:
            return error
        return SSL.Error("nothing was read")  # pragma: no cover - it always complains

    def _reading_ended(self, error: SSL.Error) -> None:
        """A close_notify has come, or something that is not TLS."""
        if self._state != _OPEN:
            return
        if not isinstance(error, SSL.ZeroReturnError):
            self._send_bio()
            reason = describe_error(error)
            lost = ConnectionLost(f"TLS failed: {reason}", "error")
            lost.__cause__ = error
            self._end(lost, "error")
            return
        self._eof_in = True
        keep: object = False
        try:
            keep = self._protocol.eof_received()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as failure:
            self._protocol_failed(failure, "eof_received")
        if not keep or self._eof_out:
            self.close()

    def eof_received(self) -> bool | None:
        """The transport below has seen the peer's end."""
        if self._state == _OPEN and not self._eof_in and self._reading:
            self._receive()
        state = self._state
        if state == _HANDSHAKE:
            self._handshake_failed("the peer closed the connection", None)
            return False
        if state == _OPEN:
            if self._eof_in:
                return True  # half-closed: the way out is ours to end
            self._end(
                ConnectionLost("the connection ended without close_notify", "truncated"),
                "truncated",
            )
            return False
        # What was written before `close` still leaves.
        return bool(self._out) and not self._shut

    def _keep_session(self) -> None:
        self._session_due = False
        if isinstance(self._tls, ClientTLS):
            self._tls.remember(self._host, self._port(), self._conn)

    def pause_reading(self) -> None:
        """Call `data_received` no more until `resume_reading`."""
        if self._reading and self._state == _OPEN:
            self._reading = False
            self._lower.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading."""
        if not self._reading and self._state == _OPEN:
            self._reading = True
            if not self._corked:
                # Octets may wait decryption here, and nothing below will say so.
                if self._reactor is not None:
                    self._reactor.queue(DelayedCall(self._receive_rest, (), self._context))
                else:
                    self._receive_rest()
            self._lower.resume_reading()

    def _receive_rest(self) -> None:
        if self._reading and self._state == _OPEN and not self._corked and not self._eof_in:
            self._receive()

    def is_reading(self) -> bool:
        """Whether octets would be delivered now."""
        return self._reading and self._state == _OPEN and not self._eof_in

    # ── writing ───────────────────────────────────────────────────────────────

    def write(self, data: Buffer) -> None:
        """Queue octets; ignored after the loss.

        Raises:
            TypeError: `data` is not bytes-like.
            ReactorError: After `write_eof`.
        """
        if type(data) is not bytes:
            data = _owned(data)
        if self._state != _OPEN or self._eof_out:
            self._refuse_write()
            return
        size = len(data)
        if not size:
            return
        self._out.append(data)
        self._size = size = self._size + size
        if size > self._high:
            self._pressed()
        elif not self._corked and not self._queued:
            self._flush_soon()

    def writelines(self, pieces: Iterable[Buffer]) -> None:
        """`write` each piece; they leave together."""
        for piece in pieces:
            self.write(piece)

    def _refuse_write(self) -> None:
        if self._eof_out and self._state == _OPEN:
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
        if self._size > self._high and self._state == _OPEN:
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
        if self._lower_paused or (state != _OPEN and state != _CLOSING) or self._shut:
            return
        out = self._out
        if out:
            try:
                if len(out) == 1 and type(out[0]) is bytes and self._size <= PIECE:
                    data = out.pop()
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
        if not self._out and not self._lower_paused:
            self._drained()

    def _flush_many(self) -> None:
        """Encrypt a piece at a time, small ones together, large ones in views."""
        out = self._out
        of_files = 0
        while out and not self._lower_paused and self._state != _GONE:
            first = out[0]
            if type(first) is FilePiece:
                data = first.next_block(PIECE)
                if not data:
                    del out[0]
                    first.finish()
                    continue
                first.advance(len(data))
                of_files += len(data)
                self._encrypt(data)
                if of_files >= FILE_AT_ONCE and self._reactor is not None:
                    if not self._lower_paused:
                        self._flush_soon()
                    return
                continue
            size = len(first)
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

    def _send_bio(self) -> None:
        """Pass on what the library wants said, if anything."""
        conn = self._conn
        while True:
            try:
                octets = conn.bio_read(16384)
            except SSL.Error:
                return
            self._lower.write(octets)
            if len(octets) < 16384:
                return

    def _drained(self) -> None:
        """Everything has been passed on: go on with what waited for that."""
        if self._state == _CLOSING:
            self._say_goodbye()
            self._lower_close(self._close_reason or "clean")
            return
        if self._eof_out and not self._shut:
            self._say_goodbye()
            if self._eof_in:
                self.close()
        self._relieved(0)

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
        self._pause()

    def resume_writing(self) -> None:
        """The transport below has room again."""
        self._lower_paused = False
        if self._state == _HANDSHAKE:
            return
        self._flush()

    def get_write_buffer_size(self) -> int:
        """Octets that wait to be sent, here and below (those of files not counted)."""
        if self._state == _GONE:
            return 0
        return self._size + self._lower.get_write_buffer_size()

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None, *, hard: int | None = None
    ) -> None:
        """Set the marks, here and in the transport below (`FlowControl`)."""
        super().set_write_buffer_limits(high, low, hard=hard)
        if self._state in {_HANDSHAKE, _OPEN}:
            self._lower.set_write_buffer_limits(self._high, self._low)

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
        if self._state != _OPEN or self._eof_out:
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
        return self._state in {_OPEN, _CLOSING} and self.tls_version == "TLSv1.3"

    def write_eof(self) -> None:
        """Send close_notify once all that was written has left; reading goes on."""
        if self._eof_out or self._state != _OPEN:
            return
        self._eof_out = True
        if not self._corked and not self._queued:
            self._flush_soon()

    # ── the end ───────────────────────────────────────────────────────────────

    @property
    def close_reason(self) -> str | None:
        """Why the connection ended or is ending; ``None`` while it is open."""
        if self._close_reason is None and hasattr(self, "_lower"):
            return self._lower.close_reason
        return self._close_reason

    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called or the connection has gone."""
        return self._state >= _CLOSING or self._lower.is_closing()

    def close(self, reason: str = "clean") -> None:
        """Send what is queued and close_notify, then close. No more is received."""
        if self._state == _HANDSHAKE:
            self.abort(reason)
            return
        if self._state != _OPEN:
            return
        self._close_reason = reason
        self._state = _CLOSING
        self._reading = False
        if self._session_due:
            self._keep_session()
        self._lower.pause_reading()
        self._expect_progress()
        if not self._corked and not self._queued:
            self._flush_soon()

    def abort(self, reason: str = "aborted") -> None:
        """Close now and throw away what is queued; a TCP peer sees a reset."""
        if self._state == _GONE:
            return
        if self._state == _HANDSHAKE:
            self._report_handshake(f"given up ({reason})", None)
        elif self._state == _OPEN:
            self._state = _CLOSING
        self._reading = False
        self._shut = True
        self._close_reason = reason
        if self._error is None:
            self._error = ConnectionAborted(f"aborted: {reason}", reason)
        self._lower.abort(reason)

    def drain(self) -> None:
        """Have the protocol above come to an end by itself, else close (`IDrainable`)."""
        if self._state == _HANDSHAKE:
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
        self._state = _CLOSING
        self._shut = True
        self._reading = False
        self._lower_close(reason)

    def _lower_close(self, reason: str) -> None:
        """Close the transport below, and see to it that it ends."""
        self._lower.close(reason)
        if self._state != _GONE:
            self._expect_progress()

    def _expect_progress(self) -> None:
        """Look again later whether the peer takes what is left."""
        self._progress = self._position()
        self._call_later(SHUTDOWN_TIMEOUT, self._look_for_progress)

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
        _report(self._reactor, error, f"in {type(self._protocol).__qualname__}.{method}")
        if self._error is None:
            self._error = ConnectionAborted(f"{method} failed", "error")
        self.abort("error")

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport below has gone, and so has this one."""
        state = self._state
        if state == _GONE:
            return
        if self._session_due and state == _OPEN:
            self._keep_session()
        if state == _HANDSHAKE:
            self._report_handshake(_lost_because(exc), exc)
        self._state = _GONE
        self._reading = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        error: Exception | None = self._error
        if error is None and not (self._eof_in and self._shut):
            error = exc
        told = state != _HANDSHAKE or not self._notify
        protocol = self._protocol
        out, self._out = self._out, []
        self._size = 0
        if self._waiters:
            self._wake_waiters(error or ConnectionDone())
        for piece in out:
            if type(piece) is FilePiece:
                piece.fail(error or ConnectionDone())
        if told:
            try:
                protocol.connection_lost(error)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as failure:
                _report(self._reactor, failure, f"in {type(protocol).__qualname__}.connection_lost")
        if isinstance(self._tls, ClientTLS) and not isinstance(
            getattr(self._error, "__cause__", None), SSL.Error
        ):
            # Else the library declares the session it has given us unfit to be resumed.
            self._conn.set_shutdown(_BOTH_SHUT)
        # The protocol holds this object, and this object held the protocol.
        self._protocol = _NOBODY
        self._data_received = _NOBODY.data_received
        self._get_buffer = None
        self._above = self._tls = self._error = self._scratch = None
        del self._conn

    # ── the protocol above ────────────────────────────────────────────────────

    def get_protocol(self) -> IStreamProtocol:
        """Who is delivered to."""
        return self._protocol

    def set_protocol(self, protocol: IStreamProtocol) -> None:
        """Deliver to `protocol` from now on."""
        self._protocol = protocol
        self._get_buffer = getattr(protocol, "get_buffer", None)
        if self._get_buffer is None:
            self._data_received = protocol.data_received

    def start_tls(
        self,
        context: Any,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
    ) -> Deferred[IStreamTransport]:
        """Talk TLS inside this TLS (`IStreamTransport.start_tls`)."""
        return upgrade(
            self,
            context,
            server_side=server_side,
            server_hostname=server_hostname,
            handshake_timeout=handshake_timeout,
        )

    # ── who it is between, and how ────────────────────────────────────────────

    @property
    def local(self) -> Address | None:
        """This end's address, as the transport below says."""
        return self._lower.local

    @property
    def peer(self) -> Address | None:
        """The other end's address, as the transport below says."""
        return self._lower.peer

    def _live(self) -> SSL.Connection:
        if self._state == _HANDSHAKE or not hasattr(self, "_conn"):
            raise ReactorError("only a connection that stands can say that")
        return self._conn

    @property
    def peer_certificate(self) -> bytes | None:
        """The peer's certificate in DER, ``None`` when it showed none."""
        certificate = self._live().get_peer_certificate(as_cryptography=True)
        if certificate is None:
            return None
        from cryptography.hazmat.primitives.serialization import Encoding

        return certificate.public_bytes(Encoding.DER)

    @property
    def tls_version(self) -> str:
        """``TLSv1.3`` or ``TLSv1.2``."""
        return self._live().get_protocol_version_name()

    @property
    def cipher(self) -> str:
        """OpenSSL's name of the cipher suite."""
        return self._live().get_cipher_name() or ""

    @property
    def alpn_protocol(self) -> str | None:
        """What ALPN agreed on (RFC 7301)."""
        return self._live().get_alpn_proto_negotiated().decode("latin-1") or None

    @property
    def server_name(self) -> str | None:
        """The name asked for by SNI (RFC 6066 §3)."""
        name = self._live().get_servername()
        return None if name is None else name.decode("latin-1")

    @property
    def session_reused(self) -> bool:
        """Whether the handshake resumed an earlier session."""
        return bool(lib.SSL_session_reused(self._live()._ssl))

    def channel_binding(self, kind: str) -> bytes:
        """Octets that only the two ends of this connection know, for SASL.

        Args:
            kind: ``tls-exporter`` (RFC 9266) or ``tls-server-end-point`` (RFC 5929 §4).

        Raises:
            UsageError: This connection has no binding of that kind.
        """
        connection = self._live()
        if kind == "tls-exporter":
            # Before 1.3 it is unique only with the extended master secret (RFC 9266 §3).
            if self.tls_version != "TLSv1.3" and not lib.SSL_get_extms_support(connection._ssl):
                raise UsageError("tls-exporter needs TLS 1.3 or the extended master secret")
            return connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
        if kind == "tls-server-end-point":
            if isinstance(self._tls, ClientTLS):
                certificate = connection.get_peer_certificate(as_cryptography=True)
            else:
                certificate = connection.get_certificate(as_cryptography=True)
            if certificate is None:
                raise UsageError("the server has no certificate")
            from cryptography.hazmat.primitives import hashes

            algorithm = certificate.signature_hash_algorithm
            if algorithm is None or algorithm.name in {"md5", "sha1"}:
                algorithm = hashes.SHA256()
            return certificate.fingerprint(algorithm)
        raise UsageError(
            f"channel bindings are tls-exporter and tls-server-end-point, not {kind!r}"
        )

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """asyncio's questions about TLS; all others go to the transport below."""
        if self._state in {_OPEN, _CLOSING}:
            if name == "cipher":
                bits = self._conn.get_cipher_bits()
                return self._conn.get_cipher_name(), self.tls_version, bits
            if name == "peercert":
                from sennit.core.transport.tlsinfo import certificate_dict

                return certificate_dict(self._conn.get_peer_certificate(as_cryptography=True))
            if name == "sennit.tls":
                return self
        if name in {"compression", "ssl_object", "sslcontext"}:
            return None
        return self._lower.get_extra_info(name, default)


# ── entries ───────────────────────────────────────────────────────────────────


def server_protocol(
    factory_or_protocol: ProtocolFactory | IStreamProtocol,
    context: ServerTLS,
    *,
    handshake_timeout: float = HANDSHAKE_TIMEOUT,
) -> TLSTransport:
    """A protocol for one accepted transport: TLS, then `factory_or_protocol` above it.

    A factory is asked for its protocol when the handshake has succeeded.

    Args:
        factory_or_protocol: Who is to be connected.
        context: What to show.
        handshake_timeout: Seconds for all of the handshake.
    """
    _need(context, ServerTLS)
    return TLSTransport(context, factory_or_protocol, handshake_timeout=handshake_timeout)


class server_factory:  # noqa: N801 - called like the functions beside it
    """A factory for a listener: each connection it accepts talks TLS first.

    Args:
        factory: Makes the protocols above, when their handshakes have succeeded.
        context: What to show; may be changed while the listener runs.
        handshake_timeout: Seconds for all of a handshake.
    """

    __slots__ = ("_factory", "_handshake_timeout", "context")

    def __init__(
        self,
        factory: ProtocolFactory,
        context: ServerTLS,
        *,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
    ) -> None:
        _need(context, ServerTLS)
        adapt_factory(factory)  # a TypeError here, not at the first connection
        self._factory = factory
        self.context = context
        self._handshake_timeout = handshake_timeout

    def build_protocol(self, peer: Any) -> TLSTransport:
        """The TLS side of one connection (no ``refusal``: there is nobody to say it to yet)."""
        return TLSTransport(
            self.context, self._factory, handshake_timeout=self._handshake_timeout
        )


def client_protocol(
    factory_or_protocol: ProtocolFactory | IStreamProtocol,
    context: ClientTLS,
    server_hostname: str | None,
    *,
    handshake_timeout: float = HANDSHAKE_TIMEOUT,
) -> tuple[TLSTransport, Deferred[IStreamProtocol]]:
    """A protocol for one transport that connects: TLS, then `factory_or_protocol` above it.

    Args:
        factory_or_protocol: Who is to be connected.
        context: What to believe.
        server_hostname: Whom to ask for (SNI) and whose certificate to expect.
        handshake_timeout: Seconds for all of the handshake.

    Returns:
        The protocol for the transport below, and what fires with the protocol above
        once it is connected, or fails with `TLSError`.

    Raises:
        UsageError: There is no name to verify the server by.
    """
    _need(context, ClientTLS)
    host = _expected(context, server_hostname)
    transport = TLSTransport(
        context, factory_or_protocol, host=host, handshake_timeout=handshake_timeout
    )
    done: Deferred[IStreamProtocol] = Deferred(transport.cancel)
    transport._done = done
    return transport, done


def upgrade(
    transport: IStreamTransport,
    context: ServerTLS | ClientTLS,
    *,
    server_side: bool = False,
    server_hostname: str | None = None,
    handshake_timeout: float = HANDSHAKE_TIMEOUT,
) -> Deferred[IStreamTransport]:
    """Talk TLS on a connection that stands, from here on.

    The protocol stays the same and is not told anything but the outcome; it must
    use the new transport. Octets that came in clear before this call and were not
    used yet are the caller's affair: they must be thrown away with the connection,
    never taken for what came under TLS.

    Returns:
        Fires with the new transport when the handshake is done. When it fails, so
        does this, and the protocol gets its `connection_lost`.

    Raises:
        UsageError: The context is for the other side, or there is no name to verify.
    """
    _need(context, ServerTLS if server_side else ClientTLS)
    host = _expected(context, server_hostname) if isinstance(context, ClientTLS) else None
    if transport.is_closing():
        from sennit.core.deferred import fail

        return fail(ConnectionLost("the connection is closed", transport.close_reason or "lost"))
    protocol = transport.get_protocol()
    tls = TLSTransport(
        context, protocol, host=host, handshake_timeout=handshake_timeout, notify=False
    )
    done: Deferred[IStreamTransport] = Deferred(tls.cancel)
    tls._done = done
    tls.set_protocol(protocol)
    if getattr(transport, "_pressing", False):
        # It has told the protocol to pause and will tell us when to resume.
        tls._pressing = tls._lower_paused = True
    transport.set_protocol(tls)
    tls.connection_made(transport)
    transport.resume_reading()
    return done


def _need(context: object, kind: type) -> None:
    if not isinstance(context, kind):
        raise UsageError(f"this side needs a {kind.__name__}, not {type(context).__name__}")


def _expected(context: ClientTLS, server_hostname: str | None) -> ExpectedHost | None:
    if not server_hostname:
        if context.verify:
            raise UsageError("without server_hostname there is nothing to verify the server by")
        return None
    return ExpectedHost(server_hostname, verify=context.verify)


def _protocol_of(above: Any, peer: Address | None) -> IStreamProtocol | None:
    """The protocol itself, or a factory's."""
    if not isinstance(above, type) and (
        hasattr(above, "data_received") or hasattr(above, "get_buffer")
    ):
        protocol: IStreamProtocol = above
        return protocol
    return adapt_factory(above)(peer)


def _lost_because(exc: Exception | None) -> str:
    if exc is None:
        return "the connection was closed"
    return f"the connection was lost ({getattr(exc, 'reason', type(exc).__name__)})"


def _running_reactor() -> Any:
    """Who waits for us, over a transport that does not say."""
    from sennit.core.reactor.base import current_reactor

    try:
        return current_reactor()
    except ReactorNotRunningError:
        return None


def _report(reactor: Any, error: BaseException, where: str) -> None:
    report = getattr(reactor, "report", None)
    if report is None:
        from sennit.core.reactor.lifecycle import log_error as report
    report(error, where)
