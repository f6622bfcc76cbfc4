"""What a TLS server shows and a TLS client believes: `ServerTLS` and `ClientTLS`.

Both are made once and used for every connection. A `ServerTLS` is reloaded while
it runs: connections that stand keep what they have, new ones get the new
certificates, and where the new files are bad the old pair stays.

Defaults: TLS 1.2 or later, AEAD suites first and forward secrecy always, no
compression (CVE-2012-4929), no renegotiation, the server's order of suites.

Not here: connections (``tls.py``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from secrets import token_bytes
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from sennit.core.errors import TLSError, UsageError
from sennit.core.transport._openssl import SSL, ffi, lib
from sennit.core.transport.tlsfiles import Loaded, load, names_of, trust_in, use
from sennit.core.transport.tlsnames import ascii_name, check_peer, server_name_problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sennit.core.deferred import Deferred
    from sennit.core.interfaces import IStreamProtocol
    from sennit.core.protocol import ProtocolFactory
    from sennit.core.transport.tls import TLSTransport
    from sennit.core.transport.tlsfiles import Pair, Password, Source
    from sennit.core.transport.tlsnames import ExpectedHost

    Chooser = Callable[[str], "ServerTLS | None"]

__all__ = ["CIPHERS", "ClientTLS", "ServerTLS"]

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:!aNULL:!eNULL:!PSK:!SRP:!SHA1"
"""Suites of TLS 1.2, in OpenSSL's words; those of TLS 1.3 are AEAD all."""
SESSIONS: Final = 256
"""Sessions a client remembers."""
LOGGED_PER_SECOND: Final = 10
"""Failed handshakes of one server that are logged one by one; the others are counted."""

_SHARED: Final = b"sennit"
"""The id under which all connections of a server resume each other's sessions."""
_VERSIONS: Final = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}
_OPTIONS: Final = SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE

# Alerts (RFC 8446 §6).
_UNRECOGNIZED_NAME: Final = 112
_INTERNAL_ERROR: Final = 80
_TLSEXT_OK: Final = 0
_TLSEXT_FATAL: Final = 2
_TLSEXT_NOACK: Final = 3


def _new_context(method: int, min_version: str, ciphers: str | None) -> SSL.Context:
    if min_version not in _VERSIONS:
        raise UsageError(f"min_version is TLSv1.2 or TLSv1.3, not {min_version!r}")
    context = SSL.Context(method)
    context.set_min_proto_version(_VERSIONS[min_version])
    context.set_options(_OPTIONS)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    # Into memory a write of any size succeeds whole: one call for all its records.
    context.clear_mode(lib.SSL_MODE_ENABLE_PARTIAL_WRITE)
    try:
        context.set_cipher_list((ciphers or CIPHERS).encode("ascii"))
    except SSL.Error as error:
        raise UsageError(f"no such cipher suites: {ciphers!r}") from error
    return context


def _alpn_names(alpn: Sequence[str | bytes]) -> tuple[bytes, ...]:
    if isinstance(alpn, (str, bytes)):
        raise UsageError(f"alpn is a sequence of names, not {alpn!r}")
    names = tuple(name.encode("ascii") if isinstance(name, str) else name for name in alpn)
    for name in names:
        if not 0 < len(name) < 256:
            raise UsageError(f"an ALPN name has 1 to 255 octets (RFC 7301 §3.1), not {name!r}")
    return names


class _Shown:
    """What one connection of a server shows: application data of the library's object.

    Attributes:
        alpn: The application protocols that it agrees on.
        context: What a program's own function has chosen, kept alive.
    """

    __slots__ = ("alpn", "context")

    def __init__(self, alpn: tuple[bytes, ...]) -> None:
        self.alpn = alpn
        self.context: SSL.Context | None = None


class _Certificates:
    """One loading of everything a server shows; replaced as a whole by a reload."""

    __slots__ = ("context", "named")

    def __init__(self, context: SSL.Context, named: dict[bytes, SSL.Context | None]) -> None:
        self.context = context
        self.named = named  # None: the default context itself


def _find(named: Mapping[bytes, SSL.Context | None], name: bytes) -> SSL.Context | bool | None:
    """The context for a name, exactly or by wildcard (RFC 9525 §6.3); False when there is none."""
    found: SSL.Context | bool | None = named.get(name, False)
    if found is False:
        dot = name.find(b".")
        if dot > 0:
            found = named.get(b"*" + name[dot:], False)
    return found


# ── the server ────────────────────────────────────────────────────────────────


class ServerTLS:
    """What a TLS server shows, and what it asks of its clients.

    Args:
        certificate: PEM file or octets; the certificate first, then what links it to a root.
        key: Its private key; left out where `certificate` holds it too.
        chain: Intermediate certificates, where they are not behind the certificate.
        password: Of encrypted keys; a function is asked at each loading.
        sni: Certificates for other names (RFC 6066 §3): a mapping from name (``*.example.org``
            fits one label) to ``(certificate, key)``; a sequence of such pairs, whose names are
            their SANs; or a function from name to another `ServerTLS`, or ``None`` for the
            default. One that raises ends the handshake with an alert.
        strict_sni: Refuse a name that no certificate was given for (alert
            ``unrecognized_name``), instead of showing the default one.
        client_ca: Authorities of client certificates; asks clients for one.
        require_client_certificate: End the handshake where the client shows none.
        alpn: Application protocols, the preferred first (RFC 7301). A client that offers
            others only is refused.
        min_version: ``TLSv1.2`` or ``TLSv1.3``.
        ciphers: Suites for TLS 1.2 in OpenSSL's words.
        resumption: Give session tickets, so that a client that comes back saves the most
            expensive part.
        on_failure: Called with the error of each handshake that failed (to count them).

    Raises:
        TLSError: A certificate or key cannot be used.
        UsageError: The arguments do not fit together.
    """

    tickets_wait = False
    """Whether tickets of TLS 1.3 leave with the first octets that are written, not before.

    A client that only sends, and closes without having read them, resets the connection by that:
    of what it sent, the last might be lost. Others want to see one before they say anything.
    """

    def __init__(
        self,
        certificate: Source,
        key: Source | None = None,
        *,
        chain: Source | None = None,
        password: Password = None,
        sni: Mapping[str, Pair] | Sequence[Pair] | Chooser | None = None,
        strict_sni: bool = False,
        client_ca: Source | None = None,
        require_client_certificate: bool = False,
        alpn: Sequence[str | bytes] = (),
        min_version: str = "TLSv1.2",
        ciphers: str | None = None,
        resumption: bool = True,
        on_failure: Callable[[TLSError], object] | None = None,
    ) -> None:
        if require_client_certificate and client_ca is None:
            raise UsageError("require_client_certificate needs client_ca, to check them against")
        self._certificate = certificate
        self._key = key
        self._chain = chain
        self._password = password
        self._chooser: Chooser | None = None
        self._more: list[tuple[str | None, Pair]] = []
        if callable(sni):
            self._chooser = sni
        elif isinstance(sni, Mapping):
            self._more = list(sni.items())
        elif sni is not None:
            self._more = [(None, pair) for pair in sni]
        self._strict_sni = strict_sni
        self._client_ca = client_ca
        self._require_client_certificate = require_client_certificate
        self._alpn = _alpn_names(alpn)
        self._min_version = min_version
        self._ciphers = ciphers
        self._resumption = resumption
        self.on_failure = on_failure
        self._log_second = self._log_count = 0
        self._current = self._load_all()

    @property
    def context(self) -> SSL.Context:
        """pyOpenSSL's context for the next connection."""
        return self._current.context

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of what it was loaded from, to observe them; octets have none."""
        sources = [self._certificate, self._key, self._chain, self._client_ca]
        sources += [source for _, pair in self._more for source in pair]
        paths = [os.fspath(each) for each in sources if each and not isinstance(each, bytes)]
        return tuple(dict.fromkeys(paths))

    def reload(self) -> None:
        """Read all files again; connections that stand are not touched.

        Raises:
            TLSError: Something cannot be used: all stays as it was, and an ERROR is logged.
        """
        try:
            self._current = self._load_all()
        except TLSError as error:
            import logging

            logging.getLogger("sennit.tls").error(
                "TLS certificates were not reloaded, the old ones stay: %s", error
            )
            raise

    def take_over(self, other: ServerTLS) -> None:
        """Show from now on what `other` was made with; connections that stand are not touched.

        Args:
            other: Made with other files or settings, and loaded already, so that nothing
                can fail here.
        """
        self._certificate, self._key, self._chain = other._certificate, other._key, other._chain
        self._password, self._client_ca = other._password, other._client_ca
        self._chooser, self._more = other._chooser, other._more
        self._strict_sni, self._min_version = other._strict_sni, other._min_version
        self._require_client_certificate = other._require_client_certificate
        self._alpn, self._ciphers = other._alpn, other._ciphers
        self._resumption, self._current = other._resumption, other._current

    @property
    def alpn(self) -> tuple[bytes, ...]:
        """Application protocols it agrees on, in order of preference."""
        return self._alpn

    def agreeing_on(self, alpn: Sequence[str | bytes]) -> ServerTLS:
        """These very certificates, for a service that speaks other application protocols.

        What it shows is always what this object shows, also after a reload.

        Args:
            alpn: Application protocols in order of preference (RFC 7301); for none, every
                client is served, whatever it offers.
        """
        return _Agreeing(self, alpn)

    def for_one_client(self) -> ServerTLS:
        """These certificates, for one client's connections: sessions are resumed among those alone.

        FTP's data connections show by that whose they are (RFC 4217 §10.2). What it shows stays
        as it is now, also after a reload, which would part the client from its sessions.
        `tickets_wait` is for the connections behind the first, which gives the session.
        """
        return _ForOneClient(self)

    def connection(self) -> SSL.Connection:
        """The library's object for one accepted connection."""
        connection = SSL.Connection(self.context, None)
        connection.set_accept_state()
        connection.set_app_data(_Shown(self._alpn))
        return connection

    def wrap(
        self,
        protocol: ProtocolFactory | IStreamProtocol,
        *,
        handshake_timeout: float = 10.0,
    ) -> TLSTransport:
        """A protocol for the transport below that speaks TLS and then delivers to `protocol`."""
        from sennit.core.transport.tls import server_protocol

        return server_protocol(protocol, self, handshake_timeout=handshake_timeout)

    def handshake_failed(self, error: TLSError, peer: str, *, touched: bool) -> None:
        """Log and count a handshake that failed (called by the connection, once).

        Args:
            error: Why.
            peer: Whose.
            touched: Whether it had sent anything; port scans and health checks do not.
        """
        import logging

        if self.on_failure is not None:
            self.on_failure(error)
        log = logging.getLogger("sennit.tls")
        level = logging.INFO if touched else logging.DEBUG
        if not log.isEnabledFor(level):
            return
        second = int(monotonic())
        if second != self._log_second:
            if self._log_count > LOGGED_PER_SECOND:
                log.info(
                    "%d more TLS handshakes failed in that second",
                    self._log_count - LOGGED_PER_SECOND,
                )
            self._log_second, self._log_count = second, 0
        self._log_count += 1
        if self._log_count <= LOGGED_PER_SECOND:
            # The reason is the library's or ours; what the peer sent is in no part of it.
            log.log(level, "%s", error, extra={"peer": peer, "phase": "TLS handshake"})

    # ── building ──────────────────────────────────────────────────────────────

    def _load_all(self) -> _Certificates:
        loaded = load(self._certificate, self._key, self._chain, self._password)
        default = self._build(loaded)
        named: dict[bytes, SSL.Context | None] = {
            name.lower().encode("ascii", "replace"): None for name in names_of(loaded.chain[0])
        }
        for name, (certificate, key) in self._more:
            other = load(certificate, key, None, self._password)
            names = names_of(other.chain[0]) if name is None else [name]
            if not names:
                raise TLSError(f"{other.where}: its certificate names no host", "no SAN")
            context = self._build(other)
            for each in names:
                named[ascii_name(each)] = context
        self._choose_by_name(default, named)
        return _Certificates(default, named)

    def _build(self, loaded: Loaded) -> SSL.Context:
        context = _new_context(SSL.TLS_SERVER_METHOD, self._min_version, self._ciphers)
        use(context, loaded)
        # Tickets carry the session, so no cache: the library's grows to 20 000 of them. The
        # library refuses to resume sessions with client certificates where this id is missing.
        context.set_session_id(_SHARED)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        if not self._resumption:
            context.set_options(SSL.OP_NO_TICKET)
        if self._client_ca is not None:
            for authority in trust_in(context, self._client_ca):
                context.add_client_ca(authority)
            mode = SSL.VERIFY_PEER
            if self._require_client_certificate:
                mode |= SSL.VERIFY_FAIL_IF_NO_PEER_CERT
            context.set_verify(mode)
        _choose_alpn(context)
        return context

    def _choose_by_name(
        self, context: SSL.Context, named: Mapping[bytes, SSL.Context | None]
    ) -> None:
        """Have the library ask us which certificate to show."""
        strict, chooser = self._strict_sni, self._chooser

        def choose(ssl: Any, alert: Any, _: Any) -> int:
            # Never an exception out of here: the library would carry on with the default
            # certificate as if nothing had happened (CVE-2026-27448).
            try:
                raw = lib.SSL_get_servername(ssl, lib.TLSEXT_NAMETYPE_host_name)
                if not raw:
                    return _TLSEXT_OK
                name: bytes = ffi.string(raw).lower()
                if server_name_problem(name):
                    alert[0] = _UNRECOGNIZED_NAME
                    return _TLSEXT_FATAL
                found = _find(named, name)
                if chooser is not None and found is False:
                    found = _ask(chooser, name.decode("ascii"), ssl)
                if found is False:
                    if strict:
                        alert[0] = _UNRECOGNIZED_NAME
                        return _TLSEXT_FATAL
                elif found is not None:
                    lib.SSL_set_SSL_CTX(ssl, found._context)  # type: ignore[union-attr]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
            except BaseException as error:
                import logging

                logging.getLogger("sennit.tls").error(
                    "Choosing a certificate by name failed", exc_info=error
                )
                alert[0] = _INTERNAL_ERROR
                return _TLSEXT_FATAL
            return _TLSEXT_OK

        callback = ffi.callback("int (*)(SSL *, int *, void *)", choose)
        lib.SSL_CTX_set_tlsext_servername_callback(context._context, callback)
        context.set_app_data((context.get_app_data(), callback))  # must live as long


def _ask(chooser: Chooser, name: str, ssl: Any) -> SSL.Context | bool:
    """What the program's own function says for a name."""
    chosen = chooser(name)
    if chosen is None:
        return False
    context = chosen.context
    # The library keeps its half of the context alive, this our half with its callbacks.
    shown = _shown(ssl)
    shown.context, shown.alpn = context, chosen._alpn
    return context


def _shown(ssl: Any) -> _Shown:
    """What a connection of the library's shows."""
    shown: _Shown = SSL.Connection._reverse_mapping[ssl].get_app_data()
    return shown


def _choose_alpn(context: SSL.Context) -> None:
    """Have the library ask us for the application protocol (RFC 7301 §3.2).

    Several services may show one certificate and speak different protocols: so it is the
    connection that knows which.
    """

    def choose(ssl: Any, out: Any, outlen: Any, offered: Any, length: int, _: Any) -> int:
        ours = _shown(ssl).alpn
        if not ours:
            return _TLSEXT_NOACK
        data: bytes = ffi.buffer(offered, length)[:]
        places: dict[bytes, int] = {}
        at = 0
        while at < length:
            places[data[at + 1 : at + 1 + data[at]]] = at + 1
            at += 1 + data[at]
        for name in ours:
            if name in places:
                out[0] = offered + places[name]  # the library copies it before it goes on
                outlen[0] = len(name)
                return _TLSEXT_OK
        return _TLSEXT_FATAL  # the library makes no_application_protocol (120) of it

    callback = ffi.callback(
        "int (*)(SSL *, unsigned char **, unsigned char *, const unsigned char *, "
        "unsigned int, void *)",
        choose,
        error=_TLSEXT_FATAL,
    )
    lib.SSL_CTX_set_alpn_select_cb(context._context, callback, ffi.NULL)
    context.set_app_data((context.get_app_data(), callback))


class _Agreeing(ServerTLS):
    """`ServerTLS.agreeing_on`: another's certificates, application protocols of its own.

    Args:
        base: Whose certificates.
        alpn: The protocols.
    """

    def __init__(self, base: ServerTLS, alpn: Sequence[str | bytes]) -> None:
        # Nothing is loaded here: all is asked of the other, whenever it is wanted.
        self._base = base
        self._alpn = _alpn_names(alpn)

    @property
    def context(self) -> SSL.Context:
        return self._base.context

    @property
    def files(self) -> tuple[str, ...]:
        return self._base.files

    def reload(self) -> None:
        self._base.reload()

    def take_over(self, other: ServerTLS) -> None:
        self._base.take_over(other)

    def handshake_failed(self, error: TLSError, peer: str, *, touched: bool) -> None:
        self._base.handshake_failed(error, peer, touched=touched)


_ONE_CLIENT_LASTS: Final = 86_400
"""Seconds for which one client's sessions can be resumed (RFC 5246 §F.1.4: a day at most).

The library's two hours are less than long mirrors take on one control connection.
"""


class _ForOneClient(ServerTLS):
    """`ServerTLS.for_one_client`: another's certificates, sessions of its own.

    Args:
        base: Whose certificates.
    """

    def __init__(self, base: ServerTLS) -> None:
        self._base = base
        self._alpn = base._alpn
        self._pinned = base.context
        self._group = token_bytes(16)
        # Clients of TLS 1.2 without tickets (curl asks for none) resume by session id (RFC 5246
        # §7.4.1.2), which the library has to remember. It keeps none of those that got tickets.
        lib.SSL_CTX_set_session_cache_mode(self._pinned._context, SSL.SESS_CACHE_SERVER)
        lib.SSL_CTX_set_timeout(self._pinned._context, _ONE_CLIENT_LASTS)

    @property
    def context(self) -> SSL.Context:
        return self._pinned

    @property
    def files(self) -> tuple[str, ...]:
        return self._base.files

    def reload(self) -> None:
        self._base.reload()

    def take_over(self, other: ServerTLS) -> None:
        self._base.take_over(other)

    def handshake_failed(self, error: TLSError, peer: str, *, touched: bool) -> None:
        self._base.handshake_failed(error, peer, touched=touched)

    def connection(self) -> SSL.Connection:
        # A connection takes the id from its context when it is made, and keeps it where the
        # context is another one for its name (SNI); no session of another id is resumed.
        raw = self._pinned._context
        lib.SSL_CTX_set_session_id_context(raw, self._group, len(self._group))
        try:
            return super().connection()
        finally:
            lib.SSL_CTX_set_session_id_context(raw, _SHARED, len(_SHARED))


# ── the client ────────────────────────────────────────────────────────────────


class ClientTLS:
    """What a TLS client believes and shows.

    The server's chain and its name are verified unless `verify` is off: the name
    against the certificate's SAN alone, never its CN; an IP address against IP SANs
    (RFC 9525).

    Args:
        trust: Authorities to believe: PEM file or octets, or a hashed folder; those of the
            system when left out.
        certificate: To show where a server asks for one.
        key: Its private key; left out where `certificate` holds it too.
        password: Of an encrypted key.
        alpn: Application protocols to offer, the preferred first (RFC 7301).
        min_version: ``TLSv1.2`` or ``TLSv1.3``.
        ciphers: Suites for TLS 1.2 in OpenSSL's words.
        verify: Off only for tests and for peers verified by other means.
        resume: Remember sessions per host and port, and offer them.

    Raises:
        TLSError: A certificate or key cannot be used.
        UsageError: The arguments do not fit together.
    """

    def __init__(
        self,
        *,
        trust: Source | None = None,
        certificate: Source | None = None,
        key: Source | None = None,
        password: Password = None,
        alpn: Sequence[str | bytes] = (),
        min_version: str = "TLSv1.2",
        ciphers: str | None = None,
        verify: bool = True,
        resume: bool = True,
    ) -> None:
        if key is not None and certificate is None:
            raise UsageError("a key without a certificate")
        self.verify = verify
        self.resume = resume
        self._made_with: dict[str, Any] = {
            "trust": trust,
            "certificate": certificate,
            "key": key,
            "password": password,
            "min_version": min_version,
            "ciphers": ciphers,
            "verify": verify,
            "resume": resume,
        }
        self._alpn = _alpn_names(alpn)
        self._sessions: dict[tuple[str, int], SSL.Session] = {}
        context = _new_context(SSL.TLS_CLIENT_METHOD, min_version, ciphers)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # sessions are kept here
        if certificate is not None:
            use(context, load(certificate, key, None, password))
        if self._alpn:
            context.set_alpn_protos(list(self._alpn))
        if verify:
            if trust is None:
                context.set_default_verify_paths()
            else:
                trust_in(context, trust)
            context.set_verify(SSL.VERIFY_PEER, check_peer)
        else:
            context.set_verify(SSL.VERIFY_NONE)
        self.context = context

    @property
    def alpn(self) -> tuple[bytes, ...]:
        """Application protocols it offers."""
        return self._alpn

    def offering(self, alpn: Sequence[str | bytes]) -> ClientTLS:
        """The same, with other application protocols to offer; files are read again.

        Raises:
            TLSError: A certificate or key cannot be used any more.
        """
        return ClientTLS(alpn=alpn, **self._made_with)

    def wrap(
        self,
        protocol: ProtocolFactory | IStreamProtocol,
        server_hostname: str | None,
        *,
        handshake_timeout: float = 10.0,
    ) -> tuple[TLSTransport, Deferred[IStreamProtocol]]:
        """A protocol for the transport below, and what fires once TLS stands."""
        from sennit.core.transport.tls import client_protocol

        return client_protocol(protocol, self, server_hostname, handshake_timeout=handshake_timeout)

    def connection(self, host: ExpectedHost | None, port: int) -> SSL.Connection:
        """A connection that asks for `host` and offers the session kept for it, if there is one."""
        connection = SSL.Connection(self.context, None)
        connection.set_connect_state()
        if host is not None:
            connection.set_app_data(host)
            if not host.is_address:
                connection.set_tlsext_host_name(host.name.encode("ascii"))
        if self.resume and self._sessions:
            # A ticket is used once, lest two connections be linked by it (RFC 8446 §C.4).
            session = self._sessions.pop((host.name if host else "", port), None)
            if session is not None:
                connection.set_session(session)
        return connection

    def following(self, leader: SSL.Connection) -> ClientTLS:
        """The same, for connections that belong to one that stands and resume its session.

        Args:
            leader: The library's object of the one that stands.
        """
        return _Following(self, leader)

    def remember(self, host: ExpectedHost | None, port: int, connection: SSL.Connection) -> None:
        """Keep the session of a connection for the next one to the same place."""
        session = connection.get_session()
        if session is None:
            return
        sessions = self._sessions
        key = (host.name if host else "", port)
        sessions.pop(key, None)
        sessions[key] = session
        if len(sessions) > SESSIONS:
            del sessions[next(iter(sessions))]

    def check_alpn(self, chosen: bytes) -> str | None:
        """What is wrong with the server's choice, if anything (RFC 7301 §3.2)."""
        if chosen and chosen not in self._alpn:
            return "the server chose an application protocol that was not offered"
        return None


class _Following(ClientTLS):
    """`ClientTLS.following`: another's trust, and the session of one connection.

    Args:
        base: Whose trust, certificate and settings.
        leader: The connection whose session is offered, always the newest that it has: over
            TLS 1.3 tickets come while it is used.
    """

    def __init__(self, base: ClientTLS, leader: SSL.Connection) -> None:
        self.verify = base.verify
        self.resume = False  # nothing is remembered: there is the leader's
        self._made_with = base._made_with
        self._alpn = base._alpn
        self._sessions = {}
        self.context = base.context
        self._leader = leader

    def following(self, leader: SSL.Connection) -> ClientTLS:
        return _Following(self, leader)

    def connection(self, host: ExpectedHost | None, port: int) -> SSL.Connection:
        connection = super().connection(host, port)
        # One ticket for several connections links them; these are meant to be linked.
        session = self._leader.get_session()
        if session is not None:
            connection.set_session(session)
        return connection
