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

Not here: certificates, trust and names (``tlscontext.py``); going back to clear text
(``tlsstopping.py``).
"""

from __future__ import annotations

from contextvars import copy_context
from socket import MSG_PEEK
from typing import TYPE_CHECKING, Any

from sennit.core._implements import implements
from sennit.core.deferred import Deferred
from sennit.core.errors import (
    ConnectionAborted,
    ConnectionLost,
    ReactorNotRunningError,
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
from sennit.core.transport.tlsbase import (
    CLOSING,
    GONE,
    HANDSHAKE,
    HANDSHAKE_TIMEOUT,
    OPEN,
    STOPPING,
    acknowledge_at_once,
)
from sennit.core.transport.tlscontext import ClientTLS, ServerTLS
from sennit.core.transport.tlsnames import ExpectedHost
from sennit.core.transport.tlsstopping import TLSStopping
from sennit.core.transport.tlswriting import SHUTDOWN_TIMEOUT

if TYPE_CHECKING:
    from sennit.core.address import Address
    from sennit.core.interfaces import IStreamProtocol, IStreamTransport
    from sennit.core.protocol import ProtocolFactory

__all__ = [
    "HANDSHAKE_TIMEOUT",
    "SHUTDOWN_TIMEOUT",
    "ClientTLS",
    "ServerTLS",
    "TLSFactory",
    "TLSTransport",
    "client_protocol",
    "server_factory",
    "server_protocol",
    "upgrade",
]


@implements("ITLSTransport", "IStreamProtocol")
class TLSTransport(TLSStopping):
    """One TLS connection over any stream transport.

    Made by `server_protocol`, `client_protocol` and `upgrade`. As a protocol it
    belongs to the transport below; the protocol above uses the transport half.
    """

    __slots__ = ()

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
            self._conn = tls.connection()
        self._call_later(self._handshake_timeout, self._handshake_timed_out)
        if isinstance(tls, ClientTLS):
            self._handshake()

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
        return reason, error.with_traceback(None) if isinstance(error, SSL.Error) else error

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
        elif self._conn.get_protocol_version_name() == "TLSv1.2":
            # One record at a time: a read must not work through a flood of ClientHellos.
            self._old_server = True
            lib.SSL_clear_mode(self._conn._ssl, lib.SSL_MODE_AUTO_RETRY)
        else:
            self._tickets_wait = tls is not None and tls.tickets_wait
            if self._tickets_wait:
                acknowledge_at_once(self._lower)
        self._state = OPEN
        above, self._above = self._above, None
        done, self._done = self._done, None
        self._corked = True
        try:
            if self._notify:
                protocol = _protocol_of(above, self._lower.peer)
                if protocol is not None:
                    self.set_protocol(protocol)
                    protocol.connection_made(self)
                else:
                    self.close("shed")
            if done is not None and self._close_reason != "shed":
                done.callback(self._protocol if self._notify else self)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._protocol_failed(error, "connection_made")
        finally:
            self._corked = False
            if self._state != GONE and not self._tickets_wait:
                self._send_bio()
        if done is not None and not done.called:
            reason = self._close_reason or "error"
            done.errback(self._error or ConnectionAborted(f"ended at once: {reason}", reason))
        if self._out or self._state == CLOSING or self._pressing or self._eof_out:
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

    def cancel(self, done: Deferred[Any]) -> None:
        """Whoever waited for the handshake does not want it any more."""
        self._done = None
        if self._state == HANDSHAKE and hasattr(self, "_lower"):
            self.abort()

    # ── reading ───────────────────────────────────────────────────────────────

    def data_received(self, data: Any) -> None:
        """Octets have come from the transport below."""
        state = self._state
        if state == OPEN:
            if self._eof_in:
                return  # behind the close_notify there is nothing (RFC 8446 §6.1)
            self._conn.bio_write(data)
            if self._reading:
                self._receive()
        elif state == HANDSHAKE and self._error is None:
            self._touched = True
            self._conn.bio_write(data)
            self._handshake()
            if self._state == OPEN and self._reading:
                self._receive()
        elif state == STOPPING:
            self._received_stopping(data)

    def _receive(self) -> None:
        """Decrypt and deliver what has come, as long as somebody wants it."""
        if self._get_buffer is not None:
            self._receive_buffered()
            return
        ssl, buffer = self._conn._ssl, self._scratch
        read = lib.SSL_read
        some = False
        lib.ERR_clear_error()  # what another connection of this thread may have left
        self._corked = True
        try:
            while True:
                got = result = 0
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
                if result <= 0 or not self._reading or self._state != OPEN:
                    break
        finally:
            self._corked = False
        self._received(some)

    def _received(self, some: bool) -> None:
        """Send what was written meanwhile, and what the library itself has to say."""
        if self._old_server and self._state == OPEN and self._send_bio():
            # no_renegotiation: nothing else makes the library speak by itself in TLS 1.2.
            # Who asks for that gets the alert, and no second try (RFC 5746; 1 000 would come).
            self._end(ConnectionLost("the peer wanted to renegotiate", "error"), "error")
        elif self._out or self._state != OPEN or (self._eof_out and not self._shut):
            self._flush()
            if self._state == STOPPING:
                self._look_for_end()
        elif not some and not self._tickets_wait:
            # With tickets that wait, a new key waits, too: it is due before the next octets written
            # (RFC 8446 §4.6.3).
            self._send_bio()

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
            while self._reading and self._state == OPEN:
                try:
                    conn.recv(1, MSG_PEEK)  # its buffer is asked for when there is something
                except SSL.WantReadError:
                    break
                except SSL.Error as error:
                    self._reading_ended(error)
                    break
                try:
                    buffer = memoryview(get_buffer(-1)).cast("B")
                    if not len(buffer):
                        raise RuntimeError("get_buffer() returned an empty buffer")
                except Exception as error:
                    self._protocol_failed(error, "get_buffer")
                    break
                got = conn.recv_into(buffer, min(len(buffer), SCRATCH))
                some = True
                if self._session_due:
                    self._keep_session()
                try:
                    self._protocol.buffer_updated(got)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
                except Exception as error:
                    self._protocol_failed(error, "buffer_updated")
        finally:
            self._corked = False
        self._received(some)

    def _failure_of(self, result: int) -> SSL.Error:
        """The library's complaint as an exception."""
        try:
            self._conn._raise_ssl_error(self._conn._ssl, result)
        except SSL.Error as error:
            # Its traceback would hold the caller's frame, and that frame holds it.
            return error.with_traceback(None)
        return SSL.Error("nothing was read")  # pragma: no cover - it always complains

    def _reading_ended(self, error: SSL.Error) -> None:
        """A close_notify has come, or something that is not TLS."""
        if self._state != OPEN:
            if self._state == STOPPING:
                self._end_heard(error)
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
        if self._state == OPEN and not self._eof_in and self._reading:
            self._receive()
        state = self._state
        if state == HANDSHAKE:
            self._handshake_failed("the peer closed the connection", None)
            return False
        if state in (OPEN, STOPPING):
            if self._eof_in and state == OPEN:
                return True  # half-closed: the way out is ours to end
            self._end(
                ConnectionLost("the connection ended without close_notify", "truncated"),
                "truncated",
            )
            return False
        # What was written before `close` still leaves.
        return bool(self._out) and not self._shut

    def pause_reading(self) -> None:
        """Call `data_received` no more until `resume_reading`."""
        if self._reading and self._state == OPEN:
            self._reading = False
            self._lower.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading."""
        if not self._reading and self._state == OPEN:
            self._reading = True
            if not self._corked:
                # Octets may wait decryption here, and nothing below will say so.
                if self._reactor is not None:
                    self._reactor.queue(DelayedCall(self._receive_rest, (), self._context))
                else:
                    self._receive_rest()
            self._lower.resume_reading()

    def _receive_rest(self) -> None:
        if self._reading and self._state == OPEN and not self._corked and not self._eof_in:
            self._receive()

    def is_reading(self) -> bool:
        """Whether octets would be delivered now."""
        return self._reading and self._state == OPEN and not self._eof_in

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


class TLSFactory:
    """A factory for a listener: each connection it accepts talks TLS first.

    Args:
        factory: Makes the protocols above, when their handshakes have succeeded. Where it has
            ``own_tls_sessions``, and that is true, each connection has sessions of its own
            (`ServerTLS.for_one_client`).
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
        adapt_factory(factory)  # its TypeError here, not at the first connection
        self._factory = factory
        self.context = context
        self._handshake_timeout = handshake_timeout

    def build_protocol(self, peer: Any) -> TLSTransport:
        """The TLS side of one connection (no ``refusal``: there is nobody to say it to yet)."""
        context = self.context
        if getattr(self._factory, "own_tls_sessions", False):
            context = context.for_one_client()
        return TLSTransport(context, self._factory, handshake_timeout=self._handshake_timeout)


server_factory = TLSFactory
"""The name beside `server_protocol`."""


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
    # A factory worn around another shows that one's attributes, a protocol class's among them.
    if (
        not isinstance(above, type)
        and not hasattr(above, "build_protocol")
        and (hasattr(above, "data_received") or hasattr(above, "get_buffer"))
    ):
        protocol: IStreamProtocol = above
        return protocol
    return adapt_factory(above)(peer)


def _running_reactor() -> Any:
    """Who waits for us, over a transport that does not say."""
    from sennit.core.reactor.base import current_reactor

    try:
        return current_reactor()
    except ReactorNotRunningError:
        return None
