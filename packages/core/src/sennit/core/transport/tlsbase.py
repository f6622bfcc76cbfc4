"""What a TLS connection knows about itself: its state, and what the handshake agreed on.

The lowest layer of `sennit.core.transport.tls.TLSTransport`; above it stand
writing and closing (``tlswriting.py``), then handshake and reading (``tls.py``).
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

from sennit.core.errors import ReactorError, UsageError
from sennit.core.transport._openssl import SSL, lib
from sennit.core.transport.flow import FlowControl
from sennit.core.transport.stream import _NOBODY
from sennit.core.transport.tlscontext import ClientTLS, ServerTLS

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from cryptography import x509

    from sennit.core.address import Address
    from sennit.core.deferred import Deferred
    from sennit.core.errors import ConnectionLost, TLSError
    from sennit.core.interfaces import IDelayedCall, IStreamProtocol, IStreamTransport
    from sennit.core.protocol import ProtocolFactory
    from sennit.core.transport.tlsnames import ExpectedHost

__all__ = [
    "CLOSING",
    "GONE",
    "HANDSHAKE",
    "HANDSHAKE_TIMEOUT",
    "OPEN",
    "STOPPING",
    "TLSBase",
    "acknowledge_at_once",
    "certificate_dict",
]

HANDSHAKE_TIMEOUT: Final = 10.0
"""Seconds a handshake may take in all."""

HANDSHAKE: Final[int] = 0
OPEN: Final[int] = 1
STOPPING: Final[int] = 2  # TLS ends, the connection goes on
CLOSING: Final[int] = 3
GONE: Final[int] = 4


class TLSBase(FlowControl):
    """State of one TLS connection, and the answers of `ITLSTransport`."""

    __slots__ = (
        "__weakref__",
        "_above",
        "_answered",
        "_cleared",
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
        "_heard",
        "_host",
        "_lower",
        "_lower_paused",
        "_notify",
        "_old_server",
        "_out",
        "_progress",
        "_queued",
        "_reactor",
        "_reading",
        "_room",
        "_scratch",
        "_session_due",
        "_shut",
        "_size",
        "_state",
        "_tickets_wait",
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
        self._done: Deferred[Any] | None = done
        self._notify = notify  # whether the protocol has to be told that it is connected
        self._protocol = _NOBODY
        self._data_received: Callable[[bytes], object] = _NOBODY.data_received
        self._get_buffer: Callable[[int], Any] | None = None
        self._state = HANDSHAKE
        self._close_reason: str | None = None
        self._error: ConnectionLost | TLSError | None = None
        self._context: Context | None = None
        self._reactor: Any = None  # IReactor, with flush_later where it has that
        self._timer: IDelayedCall | None = None
        self._out: list[Any] = []  # of bytes, memoryview or FilePiece
        self._size = 0
        self._room = self._high  # octets that may be queued here before it is time to send
        self._corked = False
        self._queued = False
        self._reading = True
        self._eof_in = False  # the peer's close_notify has come
        self._eof_out = False  # ours was asked for
        self._shut = False  # and has been sent
        self._lower_paused = False
        self._session_due = False
        self._old_server = False  # a server that speaks TLS 1.2 here
        self._tickets_wait = False  # until something is written
        self._touched = False  # the peer has sent something
        self._progress: tuple[int, int, int] = (0, 0, 0)
        self._cleared: Deferred[IStreamTransport] | None = None  # of `stop_tls`
        self._answered = True  # whether that waits for the peer's close_notify
        self._heard = 0  # octets of TLS that came in its place
        self._scratch: Any = None

    def __repr__(self) -> str:
        """Class, state and what it runs over."""
        state = self.close_reason or ("handshake" if self._state == HANDSHAKE else "open")
        return f"<{type(self).__name__} {state} over {getattr(self, '_lower', None)!r}>"

    # ── state ─

    @property
    def close_reason(self) -> str | None:
        """Why the connection ended or is ending; ``None`` while it is open."""
        if self._close_reason is None and hasattr(self, "_lower"):
            return self._lower.close_reason
        return self._close_reason

    def _port(self) -> int:
        return getattr(self._lower.peer, "port", 0)

    def set_handshake_timeout(self, seconds: float) -> None:
        """How long the handshake may take in all; to be called before it begins."""
        self._handshake_timeout = seconds

    def _call_later(self, delay: float, fn: Callable[[], object]) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._reactor is not None and self._state != GONE:
            self._timer = self._reactor.call_later(delay, fn)

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
        if self._state == HANDSHAKE or not hasattr(self, "_conn"):
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

    def following(self) -> ClientTLS:
        """What to connect with where another connection has to resume this one's session.

        FTP's data connections do (RFC 4217 §10.2): that is how a server knows whose they are.

        Raises:
            ReactorError: The connection does not stand.
            UsageError: This end is the server's.
        """
        connection = self._live()
        if not isinstance(self._tls, ClientTLS):
            raise UsageError("a session is offered by clients")
        return self._tls.following(connection)

    @property
    def server_tls(self) -> ServerTLS:
        """What this end shows.

        Raises:
            UsageError: This end is the client's.
        """
        if not isinstance(self._tls, ServerTLS):
            raise UsageError("a client shows nothing unless it is asked")
        return self._tls

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
        if self._state in {OPEN, CLOSING}:
            if name == "cipher":
                bits = self._conn.get_cipher_bits()
                return self._conn.get_cipher_name(), self.tls_version, bits
            if name == "peercert":
                return certificate_dict(self._conn.get_peer_certificate(as_cryptography=True))
            if name == "sennit.tls":
                return self
        if name in {"compression", "ssl_object", "sslcontext"}:
            return None
        return self._lower.get_extra_info(name, default)


def acknowledge_at_once(lower: IStreamTransport) -> None:
    """Nothing is said that carries an acknowledgement.

    What a client sends in pieces, its close_notify last, would wait for one, by Nagle's rule, and
    that for the 40 ms of its delay.
    """
    option = getattr(socket, "TCP_QUICKACK", None)
    sock = lower.get_extra_info("socket")
    if option is not None and sock is not None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, option, 1)
        except OSError:
            pass  # a Unix socket, or the connection has gone


def certificate_dict(certificate: x509.Certificate | None) -> dict[str, Any] | None:
    """What `ssl.SSLSocket.getpeercert` says; ``None`` where there is no certificate."""
    if certificate is None:
        return None
    from cryptography import x509

    found: dict[str, Any] = {
        "subject": _distinguished(certificate.subject),
        "issuer": _distinguished(certificate.issuer),
        "version": certificate.version.value + 1,
        "serialNumber": f"{certificate.serial_number:X}",
        "notBefore": certificate.not_valid_before_utc.strftime("%b %d %H:%M:%S %Y GMT"),
        "notAfter": certificate.not_valid_after_utc.strftime("%b %d %H:%M:%S %Y GMT"),
    }
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return found
    found["subjectAltName"] = (
        *(("DNS", name) for name in names.get_values_for_type(x509.DNSName)),
        *(("IP Address", str(each)) for each in names.get_values_for_type(x509.IPAddress)),
        *(("email", name) for name in names.get_values_for_type(x509.RFC822Name)),
    )
    return found


def _distinguished(name: x509.Name) -> tuple[tuple[tuple[str, str], ...], ...]:
    return tuple(
        tuple((part.oid._name, str(part.value)) for part in relative) for relative in name.rdns
    )
