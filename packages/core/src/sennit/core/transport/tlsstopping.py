"""Going back from TLS to clear text on a connection that goes on: the mirror of `start_tls`.

Both sides say close_notify, and what follows is in clear (FTP's CCC, RFC 4217 §12.3; TLS itself
allows it: RFC 8446 §6.1). The library reads one record at a time out of its memory buffer, so that
the octets behind the peer's close_notify are still there when it has been read.

Octets that come under TLS after this side has asked for the end are said by a peer that ought to
wait: they end the connection, since they would be answered in clear.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from sennit.core.deferred import Deferred, fail
from sennit.core.errors import ConnectionLost
from sennit.core.transport._openssl import SSL, describe_error, ffi, lib, scratch
from sennit.core.transport.stream import _NOBODY, _fill
from sennit.core.transport.tlsbase import GONE, OPEN, STOPPING
from sennit.core.transport.tlswriting import _BOTH_SHUT, SHUTDOWN_TIMEOUT, TLSWriting

if TYPE_CHECKING:
    from sennit.core.interfaces import IStreamTransport

__all__ = ["TLSStopping"]

MOST_HEARD: Final = 16 * 1024
"""Octets of TLS that may come before the peer ends it: tickets and keys are less by far."""

RECORD_TYPES: Final = frozenset(range(20, 25))
"""First octets of records (RFC 8446 §5.1, RFC 6520): no text begins like that."""


class TLSStopping(TLSWriting):
    """The end of TLS before the end of the connection."""

    __slots__ = ()

    def stop_tls(
        self, *, timeout: float = SHUTDOWN_TIMEOUT, answered: bool = True, hold: float = 0.0
    ) -> Deferred[IStreamTransport]:
        """Talk in clear from here on (`ITLSTransport.stop_tls`)."""
        if self._state != OPEN or self._eof_in or self._eof_out:
            return fail(ConnectionLost("TLS has ended already", self.close_reason or "lost"))
        done: Deferred[IStreamTransport] = Deferred(lambda _: self.abort())
        self._cleared = done
        self._answered = answered
        self._state = STOPPING
        if hold > 0 and self._reactor is not None:
            self._call_later(hold, partial(self._hold_no_more, timeout))
        else:
            self._eof_out = True
            self._call_later(timeout, self._not_stopped)
        if not self._reading:
            self._reading = True
            self._lower.resume_reading()
        if self._old_server:
            # One read works through all that has come again: no more may come than a little.
            lib.SSL_set_mode(self._conn._ssl, lib.SSL_MODE_AUTO_RETRY)
        if not self._corked:
            self._go_on_stopping()
        return done

    def _go_on_stopping(self) -> None:
        """Send what was written, and close_notify; look for the peer's."""
        self._flush()
        if self._state == STOPPING:
            self._look_for_end()

    def _hold_no_more(self, timeout: float) -> None:
        self._timer = None
        self._call_later(timeout, self._not_stopped)
        self._eof_out = True
        self._flush()

    def _not_stopped(self) -> None:
        self._timer = None
        self.abort("timeout")

    def _received_stopping(self, data: bytes) -> None:
        """Octets have come from the transport below."""
        if not self._answered and data[0] not in RECORD_TYPES:
            self._conn.bio_write(data)
            self._ended_in()
            return
        self._answered = True  # a record has begun: what is cut is told by the library from now on
        self._conn.bio_write(data)
        if not self._corked:
            self._look_for_end()
        if self._state == STOPPING and not self._eof_in:
            self._heard += len(data)
            if self._heard > MOST_HEARD:
                self._end_heard(None)

    def _look_for_end(self) -> None:
        """Read what has come: nothing but the close_notify is expected."""
        if self._eof_in:
            return
        error: SSL.Error | None = None
        try:
            self._conn.recv(1)
        except SSL.WantReadError:
            self._send_bio()  # a new key was asked for, say
            return
        except SSL.Error as problem:
            error = problem.with_traceback(None)
        self._end_heard(error)

    def _end_heard(self, error: SSL.Error | None) -> None:
        """The peer's close_notify has come, or what must not."""
        if isinstance(error, SSL.ZeroReturnError):
            self._ended_in()
            return
        if error is None:
            text = "TLS goes on after its end was asked for"
        else:
            text = f"TLS failed: {describe_error(error)}"
        self._error = ConnectionLost(text, "error")
        self._error.__cause__ = error
        self.abort("error")

    def _ended_in(self) -> None:
        """The peer has ended it; what is behind that is kept for who reads in clear."""
        self._eof_in = True
        if self._shut:
            self._half_stopped()
            return
        self._eof_out = True  # nothing is held back any more
        self._lower.pause_reading()  # until the way out is free
        if not self._corked:
            self._flush()

    def _half_stopped(self) -> None:
        """One of the two has said that it is over; with the other that is all."""
        if self._state != STOPPING or not self._eof_in or not self._shut:
            return
        rest = self._take_rest()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._session_due:
            self._keep_session()
        self._conn.set_shutdown(_BOTH_SHUT)  # the session may still be resumed
        done, self._cleared = self._cleared, None
        lower, protocol = self._lower, self._protocol
        self._state = GONE
        self._pressing = True  # there will be no room here any more (`writable`)
        self._protocol = _NOBODY
        self._data_received = _NOBODY.data_received
        self._get_buffer = None
        self._above = self._tls = self._scratch = None
        del self._conn
        lower.set_protocol(protocol)
        lower.resume_reading()
        assert done is not None
        done.callback(lower)
        if rest and not lower.is_closing():
            self._pass_on(lower, rest)

    def _take_rest(self) -> bytes:
        """What came behind the close_notify, or instead of it."""
        connection: Any = self._conn  # `Any`: pyOpenSSL has no name for its buffer that is public
        buffer, rest = scratch(), b""
        while (got := lib.BIO_read(connection._into_ssl, buffer, 65536)) > 0:
            rest += ffi.buffer(buffer, got)[:]
        return rest

    def _pass_on(self, lower: IStreamTransport, rest: bytes) -> None:
        protocol: Any = lower.get_protocol()  # `Any`: of asyncio's other kind, perhaps
        try:
            if getattr(protocol, "get_buffer", None) is None:
                protocol.data_received(rest)
            else:
                _fill(protocol.get_buffer, protocol.buffer_updated, rest)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._protocol = protocol
            self._protocol_failed(error, "data_received")
            self._protocol = _NOBODY
            lower.abort("error")
