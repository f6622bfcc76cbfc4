"""TLS connections in memory: handshake, what it survives, flow control, the end."""

from __future__ import annotations

import gc
import io
import logging
import os
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from OpenSSL import SSL
from zope.interface.verify import verifyObject

from sennit.core import interfaces
from sennit.core.errors import (
    ConnectionAborted,
    ConnectionLost,
    LimitReachedError,
    ReactorError,
    TLSError,
    UsageError,
)
from sennit.core.interfaces import ITLSTransport, adapt
from sennit.core.protocol import Protocol
from sennit.core.testing.clock import Clock
from sennit.core.transport.memory import Link, memory_pair
from sennit.core.transport.tls import (
    ClientTLS,
    ServerTLS,
    TLSTransport,
    client_protocol,
    server_factory,
    server_protocol,
    upgrade,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sennit.core.deferred import Deferred
    from sennit.core.interfaces import IStreamTransport


class Recorder(Protocol):
    """Keeps what happens to it."""

    transport: TLSTransport  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self) -> None:
        self.events: list[str] = []
        self.received = bytearray()
        self.lost: list[Exception | None] = []
        self.keep_open = False

    def connection_made(self, transport: IStreamTransport) -> None:
        assert isinstance(transport, TLSTransport)
        self.transport = transport  # pyright: ignore[reportIncompatibleVariableOverride]
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> bool:
        self.events.append("eof")
        return self.keep_open

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("lost")
        self.lost.append(exc)


class Echo(Recorder):
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(data)


class Raw(Recorder):
    """A peer below TLS."""

    transport: Any

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("made")


CA = trustme.CA(key_type=trustme.KeyType.ECDSA)
LOCALHOST = CA.issue_cert("localhost", "127.0.0.1", key_type=trustme.KeyType.ECDSA)
TRUST = CA.cert_pem.bytes()


def pair_of(cert: trustme.LeafCert) -> tuple[bytes, bytes]:
    chain = b"".join(each.bytes() for each in cert.cert_chain_pems)
    return chain, cert.private_key_pem.bytes()


SERVER = ServerTLS(*pair_of(LOCALHOST))


class Ends:
    """A client and a server that talk TLS in memory."""

    def __init__(
        self,
        server_tls: ServerTLS = SERVER,
        client_tls: ClientTLS | None = None,
        *,
        server: Recorder | None = None,
        client: Recorder | None = None,
        host: str | None = "localhost",
        link: Link | None = None,
        pump: bool = True,
    ) -> None:
        self.clock = Clock()
        self.server = server or Recorder()
        self.client = client or Recorder()
        self.server_tls = server_protocol(self.server, server_tls)
        self.client_tls, self.done = client_protocol(
            self.client, client_tls or ClientTLS(trust=TRUST), host
        )
        self.error: list[BaseException] = []
        self.done.add_errback(self.error.append)
        link = link or Link()
        self.pair = memory_pair(
            self.client_tls, self.server_tls, reactor=self.clock, there=link, back=link
        )
        if pump:
            self.clock.pump()


class Hostile:
    """A peer that speaks to our server in octets of its own making."""

    def __init__(self, server_tls: ServerTLS = SERVER) -> None:
        self.clock = Clock()
        self.raw = Raw()
        self.server = Recorder()
        self.pair = memory_pair(
            self.raw, server_protocol(self.server, server_tls), reactor=self.clock
        )
        self.clock.pump()

    def send(self, octets: bytes) -> bytes:
        """Send; what came back."""
        self.raw.received.clear()
        self.raw.transport.write(octets)
        self.clock.pump()
        return bytes(self.raw.received)


class Hello:
    """A ClientHello taken apart (RFC 8446 §4.1.2), to be changed and put together again."""

    def __init__(self, name: bytes = b"localhost") -> None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        connection = SSL.Connection(context, None)
        connection.set_connect_state()
        connection.set_tlsext_host_name(name)
        with pytest.raises(SSL.WantReadError):
            connection.do_handshake()
        data = connection.bio_read(65536)[9:]
        self.version, self.random, data = data[:2], data[2:34], data[34:]
        self.session, data = data[1 : 1 + data[0]], data[1 + data[0] :]
        length = int.from_bytes(data[:2], "big")
        self.suites, data = data[2 : 2 + length], data[2 + length :]
        self.compressions, data = data[1 : 1 + data[0]], data[1 + data[0] :]
        data = data[2:]
        self.extensions: dict[int, bytes] = {}
        while data:
            kind, length = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
            self.extensions[kind] = data[4 : 4 + length]
            data = data[4 + length :]

    def name(self, name: bytes) -> Hello:
        entry = b"\0" + len(name).to_bytes(2, "big") + name
        self.extensions[0] = len(entry).to_bytes(2, "big") + entry
        return self

    def tls12(self, version: bytes = b"\x03\x03") -> Hello:
        self.version = version
        del self.extensions[43]
        return self

    def message(self) -> bytes:
        extensions = b"".join(
            kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value
            for kind, value in self.extensions.items()
        )
        body = self.version + self.random + bytes([len(self.session)]) + self.session
        body += len(self.suites).to_bytes(2, "big") + self.suites
        body += bytes([len(self.compressions)]) + self.compressions
        body += len(extensions).to_bytes(2, "big") + extensions
        return b"\x01" + len(body).to_bytes(3, "big") + body

    def record(self) -> bytes:
        message = self.message()
        return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def fatal_alert(octets: bytes) -> int:
    """The number of the fatal alert that a plain record carries."""
    assert octets[:1] == b"\x15", octets
    assert octets[5] == 2
    return octets[6]


def infos(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "sennit.tls"]


# ── the handshake ─────────────────────────────────────────────────────────────


def test_both_protocols_are_connected_after_the_handshake_and_talk() -> None:
    ends = Ends(server=Echo())

    ends.client.transport.write(b"hello")
    ends.clock.pump()

    assert ends.client.received == b"hello"
    assert ends.done.outcome is not None
    assert ends.done.outcome.value is ends.client
    assert ends.server.events == ["made"]
    transport = ends.client.transport
    assert transport.tls_version == "TLSv1.3"
    assert "GCM" in transport.cipher or "CHACHA" in transport.cipher
    assert ends.server.transport.server_name == "localhost"
    assert transport.peer_certificate is not None
    assert ends.server.transport.peer_certificate is None
    assert not transport.session_reused


def test_the_transport_provides_what_it_declares() -> None:
    ends = Ends()

    assert verifyObject(interfaces.ITLSTransport, ends.client.transport)
    assert adapt(ITLSTransport, ends.client.transport) is ends.client.transport
    with pytest.raises(TypeError, match="ITLSTransport"):
        adapt(ITLSTransport, ends.pair.first)


def test_a_factory_is_asked_when_the_handshake_has_succeeded() -> None:
    built: list[Recorder] = []

    def factory() -> Recorder:
        built.append(Echo())
        return built[-1]

    clock = Clock()
    client = Recorder()
    lower, _ = client_protocol(client, ClientTLS(trust=TRUST), "localhost")
    below = server_factory(factory, SERVER).build_protocol(None)
    memory_pair(lower, below, reactor=clock)
    assert built == []
    clock.pump()

    assert [each.events for each in built] == [["made"]]


def test_a_factory_may_refuse_the_connection() -> None:
    class Refusing:
        def build_protocol(self, peer: object) -> None:
            return None

    clock = Clock()
    client = Recorder()
    lower, _ = client_protocol(client, ClientTLS(trust=TRUST), "localhost")
    memory_pair(lower, server_protocol(Refusing(), SERVER), reactor=clock)
    clock.pump()

    assert client.events == ["made", "eof", "lost"]
    assert client.lost == [None]


def test_a_client_whose_protocol_fails_or_is_refused_learns_it() -> None:
    class Failing(Recorder):
        def connection_made(self, transport: IStreamTransport) -> None:
            raise RuntimeError("a bug")

    class Refusing:
        def build_protocol(self, peer: object) -> None:
            return None

    for above in (Failing(), Refusing()):
        clock = Clock()
        clock.keep_errors = True
        lower, done = client_protocol(above, ClientTLS(trust=TRUST), "localhost")
        errors: list[BaseException] = []
        done.add_errback(errors.append)
        memory_pair(lower, server_protocol(Recorder(), SERVER), reactor=clock)
        clock.pump()

        assert isinstance(errors[0], ConnectionAborted)


@pytest.mark.parametrize("dribble", [0.0, 5.0])
def test_a_stalled_handshake_is_aborted_and_logged_once(
    dribble: float, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING core-1: one deadline for all of the handshake, not one per octet."""
    caplog.set_level(logging.INFO, "sennit.tls")
    hostile = Hostile()
    hello = Hello().record()
    hostile.raw.transport.write(hello[:1])
    for n in range(1, 4):
        hostile.clock.advance(dribble or 3.3)
        if dribble:
            hostile.raw.transport.write(hello[n : n + 1])
    hostile.clock.advance(0.2)

    assert hostile.raw.events[-1] == "lost"
    assert hostile.server.events == []
    assert hostile.pair.second.close_reason == "timeout"
    assert len(infos(caplog)) == 1
    assert "handshake" in infos(caplog)[0]
    assert "10 s" in infos(caplog)[0]


@pytest.mark.parametrize(
    "octets", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 40, b"SSH-2.0-x\r\n", os.urandom(3000)]
)
def test_plaintext_on_a_tls_port_ends_in_one_line(
    octets: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING core-2 (RFC 8446 §6)."""
    caplog.set_level(logging.INFO, "sennit.tls")
    hostile = Hostile()
    answer = hostile.send(octets)
    if octets[0] == 0x16:  # pragma: no cover - one random start in 256
        return

    assert answer == b"" or answer[:1] == b"\x15"
    assert hostile.raw.events[-1] == "lost"
    assert hostile.server.events == []
    assert len(infos(caplog)) == 1
    assert caplog.records[0].levelno == logging.INFO
    assert caplog.records[0].exc_info is None


def test_http_in_clear_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sennit.tls")
    Hostile().send(b"GET / HTTP/1.1\r\n\r\n")

    assert "the peer speaks plain HTTP" in infos(caplog)[0]


def test_a_flood_of_bad_handshakes_does_not_flood_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """HARDENING Defaults 25: rate-limited."""
    caplog.set_level(logging.INFO, "sennit.tls")
    counted: list[TLSError] = []
    tls = ServerTLS(*pair_of(LOCALHOST), on_failure=counted.append)
    for _ in range(60):
        Hostile(tls).send(b"GET / HTTP/1.1\r\n\r\n")

    assert len(counted) == 60
    assert len(infos(caplog)) <= 22


@pytest.mark.parametrize("version", [b"\x03\x00", b"\x03\x01", b"\x03\x02"])
def test_old_versions_are_refused(version: bytes) -> None:
    """HARDENING core-4: alert protocol_version (RFC 8996)."""
    hostile = Hostile()
    answer = hostile.send(Hello().tls12(version).record())

    assert fatal_alert(answer) == 70
    assert hostile.server.events == []


@pytest.mark.parametrize(
    "suite", [b"\x00\x05", b"\x00\x03", b"\x00\x02", b"\x00\x01", b"\xc0\x10", b"\xc0\x11"]
)
def test_weak_suites_are_refused(suite: bytes) -> None:
    """HARDENING core-4: RC4, export, NULL; alert handshake_failure."""
    hello = Hello().tls12()
    hello.suites = suite

    assert fatal_alert(Hostile().send(hello.record())) == 40


def test_compression_is_never_negotiated() -> None:
    """HARDENING core-4 (CVE-2012-4929)."""
    hello = Hello().tls12()
    hello.compressions = b"\x01\x00"
    answer = Hostile().send(hello.record())
    assert answer[:1] == b"\x16"
    body = answer[9:]
    after_session = 35 + body[34]
    assert body[after_session + 2] == 0

    hello.compressions = b"\x01"
    answer = Hostile().send(hello.record())
    assert fatal_alert(answer)


def test_aead_suites_are_chosen_first() -> None:
    """Defaults 12: the server's order, not the client's."""
    hello = Hello().tls12()
    hello.suites = b"\xc0\x23\xc0\x2b\xc0\x27\xc0\x2f"  # CBC first
    answer = Hostile().send(hello.record())
    body = answer[9:]
    after_session = 35 + body[34]
    assert body[after_session : after_session + 2] == b"\xc0\x2b"


# ── renegotiation ─────────────────────────────────────────────────────────────


def _tls12_client() -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(b"ECDHE-ECDSA-AES128-GCM-SHA256")
    return context


def _drive(hostile: Hostile, connection: SSL.Connection) -> None:
    """Handshake of a library's client with our server."""
    for _ in range(6):
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            pass
        try:
            answer = hostile.send(connection.bio_read(65536))
        except SSL.WantReadError:
            break
        if answer:
            connection.bio_write(answer)
    assert hostile.server.events == ["made"]


def _prf(secret: bytes, label: bytes, seed: bytes, length: int) -> bytes:
    """RFC 5246 §5, with SHA-256."""
    import hmac

    seed = label + seed
    out, a = b"", seed
    while len(out) < length:
        a = hmac.digest(secret, a, "sha256")
        out += hmac.digest(secret, a + seed, "sha256")
    return out[:length]


def test_renegotiation_floods_are_refused_cheaply() -> None:
    """HARDENING core-3: 1 000 ClientHellos inside the session (RFC 5746)."""
    handshake = _server_cpu_of_a_handshake()

    # The best of some, as for the handshake: single readings of so little are up to ten times it.
    assert min(_server_cpu_of_a_flood() for _ in range(10)) < handshake


def _server_cpu_of_a_flood() -> float:
    """What a thousand ClientHellos inside a session cost, whose end is looked at."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    hostile = Hostile()
    connection = SSL.Connection(_tls12_client(), None)
    connection.set_connect_state()
    _drive(hostile, connection)
    master, server, client = (
        connection.master_key(),
        connection.server_random(),
        connection.client_random(),
    )
    assert master
    assert server
    assert client
    block = _prf(master, b"key expansion", server + client, 40)
    key, iv = AESGCM(block[:16]), block[32:36]
    hello = Hello().tls12().message()

    def record(number: int) -> bytes:
        # RFC 5288 §3; the Finished message was number 0.
        counter = number.to_bytes(8, "big")
        head = b"\x16\x03\x03"
        sealed = key.encrypt(iv + counter, hello, counter + head + len(hello).to_bytes(2, "big"))
        return head + (len(sealed) + 8).to_bytes(2, "big") + counter + sealed

    flood = b"".join(record(number) for number in range(1, 1001))
    began = time.process_time()
    answer = hostile.send(flood)
    spent = time.process_time() - began

    assert answer == b"" or answer[:1] == b"\x15"  # a reset may overtake the alert
    assert len(answer) < 100
    assert hostile.server.received == b""
    assert hostile.server.events == ["made", "lost"]
    return spent


def _server_cpu_of_a_handshake() -> float:
    best = 1.0
    for _ in range(3):
        hostile = Hostile()
        connection = SSL.Connection(_tls12_client(), None)
        connection.set_connect_state()
        began = time.process_time()
        _drive(hostile, connection)
        best = min(best, (time.process_time() - began) / 2)
    return best


def test_one_request_to_renegotiate_is_answered_with_an_alert() -> None:
    """RFC 5746 §4.5: no_renegotiation; the peer is not left waiting."""
    hostile = Hostile()
    connection = SSL.Connection(_tls12_client(), None)
    connection.set_connect_state()
    _drive(hostile, connection)
    connection.renegotiate()
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        pass
    answer = hostile.send(connection.bio_read(65536))

    assert answer[:1] == b"\x15"


# ── whom the client believes ──────────────────────────────────────────────────


def _certificate(
    *,
    names: list[str] | None = None,
    common_name: str = "localhost",
    begins: int = -1,
    ends: int = 1,
    signed_by_ca: bool = False,
) -> tuple[bytes, bytes]:
    """A certificate of any shape."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    issuer, signer = subject, key
    if signed_by_ca:
        issuer = x509.load_pem_x509_certificate(TRUST).subject
        loaded = serialization.load_pem_private_key(CA.private_key_pem.bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        signer = loaded
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=begins))
        .not_valid_after(now + datetime.timedelta(days=ends))
    )
    if names is not None:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
        )
    certificate = builder.sign(signer, hashes.SHA256())
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


@pytest.mark.parametrize(
    ("shown", "host", "reason"),
    [
        (lambda: pair_of(LOCALHOST), "example.org", "is for localhost"),
        (lambda: pair_of(LOCALHOST), "127.0.0.2", "is for localhost"),
        (lambda: _certificate(names=["localhost"]), "localhost", "self-signed"),
        (
            lambda: _certificate(names=["localhost"], signed_by_ca=True, begins=-3, ends=-1),
            "localhost",
            "expired",
        ),
        (
            lambda: _certificate(names=["localhost"], signed_by_ca=True, begins=1, ends=3),
            "localhost",
            "not yet valid",
        ),
        (lambda: _certificate(signed_by_ca=True), "localhost", "names no host"),
        (
            lambda: _certificate(names=["127.0.0.1"], signed_by_ca=True),
            "127.0.0.1",
            "certificate",
        ),
        (lambda: pair_of(trustme.CA().issue_cert("localhost")), "localhost", "issuer"),
    ],
    ids=[
        "wrong name",
        "no IP SAN",
        "self-signed",
        "expired",
        "not yet valid",
        "CN only",
        "IP in a DNS SAN",
        "unknown authority",
    ],
)
def test_a_wrong_certificate_fails_before_any_octet_of_ours(
    shown: Callable[[], tuple[bytes, bytes]], host: str, reason: str
) -> None:
    """HARDENING core-5 (RFC 9525)."""
    ends = Ends(ServerTLS(*shown()), host=host)

    assert ends.client.events == []
    assert len(ends.error) == 1
    error = ends.error[0]
    assert isinstance(error, TLSError)
    assert host in str(error)
    assert reason in str(error)
    assert ends.server.received == b""


def test_an_address_is_verified_by_its_ip_san() -> None:
    ends = Ends(host="127.0.0.1")

    assert ends.error == []
    assert ends.server.transport.server_name is None  # RFC 6066 §3: no addresses in SNI


def test_verification_can_be_switched_off_by_name() -> None:
    ends = Ends(ServerTLS(*_certificate()), ClientTLS(verify=False), host=None)

    assert ends.client.events == ["made"]


def test_a_client_that_verifies_needs_a_name() -> None:
    with pytest.raises(UsageError, match="server_hostname"):
        client_protocol(Recorder(), ClientTLS(trust=TRUST), None)


def test_contexts_are_not_mistaken_for_the_other_side() -> None:
    with pytest.raises(UsageError, match="ServerTLS"):
        server_protocol(Recorder(), ClientTLS(trust=TRUST))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="ClientTLS"):
        client_protocol(Recorder(), SERVER, "localhost")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_a_server_that_is_not_tls_fails_the_clients_deferred() -> None:
    clock = Clock()
    raw = Raw()
    client = Recorder()
    lower, done = client_protocol(client, ClientTLS(trust=TRUST), "localhost")
    errors: list[BaseException] = []
    done.add_errback(errors.append)
    memory_pair(lower, raw, reactor=clock)
    clock.pump()
    raw.transport.write(b"220 mail.example.org ESMTP\r\n")
    clock.pump()

    assert client.events == []
    assert isinstance(errors[0], TLSError)
    assert "does not speak TLS" in str(errors[0])


def test_a_server_that_says_nothing_fails_the_clients_deferred_in_time() -> None:
    clock = Clock()
    lower, done = client_protocol(
        Recorder(), ClientTLS(trust=TRUST), "localhost", handshake_timeout=3
    )
    errors: list[BaseException] = []
    done.add_errback(errors.append)
    memory_pair(lower, Raw(), reactor=clock)
    clock.advance(2.9)
    assert not errors
    clock.advance(0.2)

    assert "3 s" in str(errors[0])


def test_a_client_may_give_up_waiting() -> None:
    clock = Clock()
    raw = Raw()
    client = Recorder()
    lower, done = client_protocol(client, ClientTLS(trust=TRUST), "localhost")
    done.add_errback(lambda error: None)
    memory_pair(lower, raw, reactor=clock)
    clock.pump()
    done.cancel()
    clock.pump()

    assert raw.events[-1] == "lost"
    assert client.events == []


def test_the_connection_ends_during_the_handshake() -> None:
    clock = Clock()
    raw = Raw()
    client = Recorder()
    lower, done = client_protocol(client, ClientTLS(trust=TRUST), "localhost")
    errors: list[BaseException] = []
    done.add_errback(errors.append)
    memory_pair(lower, raw, reactor=clock)
    clock.pump()
    raw.transport.abort()
    clock.pump()

    assert client.events == []
    assert isinstance(errors[0], TLSError)


# ── octets ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("chunk", [1, 2, 5, 100, 16_384])
def test_where_the_stream_is_cut_changes_nothing(chunk: int) -> None:
    size = 2_000 if chunk == 1 else 50_000
    ends = Ends(server=Echo(), link=Link(chunk=chunk))
    sent = os.urandom(size)
    ends.client.transport.write(sent)
    ends.clock.pump()
    ends.client.transport.close()
    ends.clock.pump()

    assert ends.client.received == sent
    assert ends.client.lost == [None]
    assert ends.server.lost == [None]


@pytest.mark.parametrize("size", [1, 16_384, 16_385, 65_536, 65_537, 1_000_000])
def test_writes_of_any_size_arrive_whole(size: int) -> None:
    ends = Ends()
    sent = os.urandom(size)
    ends.client.transport.write(sent)
    ends.client.transport.write(bytearray(b"tail"))
    ends.client.transport.writelines([b"", memoryview(b"-"), b"end"])
    ends.clock.pump()

    assert ends.server.received == sent + b"tail-end"


def test_what_is_written_in_data_received_leaves_in_one_record() -> None:
    class Chatty(Recorder):
        def data_received(self, data: bytes) -> None:
            for _ in range(100):
                self.transport.write(b"x")

    ends = Ends(server=Chatty())
    lower = ends.pair.second
    written: list[int] = []
    write = lower.write

    class Spy:
        def __getattr__(self, name: str) -> Any:
            return getattr(lower, name)

        def write(self, data: bytes) -> None:
            written.append(len(data))
            write(data)

    ends.server_tls._lower = Spy()  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    ends.client.transport.write(b"?")
    ends.clock.pump()

    assert ends.client.received == b"x" * 100
    assert len(written) == 1
    assert written[0] < 100 + 40


def test_what_is_written_from_elsewhere_leaves_once_at_the_end_of_the_turn() -> None:
    ends = Ends()
    for _ in range(10):
        ends.client.transport.write(b"x")
    assert ends.client.transport.get_write_buffer_size() == 10
    ends.clock.pump()

    assert ends.server.received == b"x" * 10
    assert ends.client.transport.get_write_buffer_size() == 0


def test_a_buffered_protocol_lends_its_own_memory() -> None:
    class Lending(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.buffer = bytearray(100)

        def get_buffer(self, sizehint: int) -> memoryview:
            return memoryview(self.buffer)

        def buffer_updated(self, count: int) -> None:
            self.received += self.buffer[:count]

    ends = Ends(server=Lending())
    sent = os.urandom(40_000)
    ends.client.transport.write(sent)
    ends.clock.pump()
    ends.client.transport.close()
    ends.clock.pump()

    assert ends.server.received == sent
    assert ends.server.events == ["made", "eof", "lost"]


def test_a_protocol_that_lends_nothing_loses_its_connection() -> None:
    class Mean(Recorder):
        def get_buffer(self, sizehint: int) -> bytearray:
            return bytearray()

        def buffer_updated(self, count: int) -> None: ...

    ends = Ends(server=Mean())
    ends.clock.keep_errors = True
    ends.client.transport.write(b"x")
    ends.clock.pump()

    assert ends.server.events[-1] == "lost"
    assert "empty buffer" in str(ends.clock.errors[0])
    ends.clock.errors.clear()


def test_reading_can_be_paused_and_resumed() -> None:
    class Pausing(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    ends = Ends(server=Pausing())
    sent = os.urandom(1_000_000)
    ends.client.transport.write(sent)
    ends.clock.pump()
    assert 0 < len(ends.server.received) < 300_000
    assert not ends.server.transport.is_reading()
    stood = len(ends.server.received)
    ends.clock.advance(60)
    assert len(ends.server.received) == stood
    for _ in range(1000):
        if len(ends.server.received) == len(sent):
            break
        ends.server.transport.resume_reading()
        ends.clock.pump()

    assert ends.server.received == sent


def test_the_end_is_not_told_before_the_octets_that_were_paused() -> None:
    class Pausing(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    ends = Ends(server=Pausing())
    sent = os.urandom(200_000)
    ends.client.transport.write(sent)
    ends.client.transport.close()
    ends.clock.pump()
    while ends.server.events[-1] == "made":
        ends.server.transport.resume_reading()
        ends.clock.pump()

    assert ends.server.received == sent
    assert ends.server.events == ["made", "eof", "lost"]
    assert ends.server.lost == [None]


# ── flow control ──────────────────────────────────────────────────────────────


def test_a_slow_reader_pauses_the_producer() -> None:
    """HARDENING core-7, over TLS: no growth past the mark and one write."""

    class Producer(Recorder):
        left = 3_000_000
        most = 0
        running = False

        def produce(self) -> None:
            self.running = True
            while self.left and self.events[-1] != "pause":
                self.transport.write(bytes(10_000))
                self.left -= 10_000
                self.most = max(self.most, self.transport.get_write_buffer_size())
            self.running = False

        def resume_writing(self) -> None:
            super().resume_writing()
            if not self.running:
                self.produce()

    producer = Producer()
    ends = Ends(client=producer)
    ends.server.transport.pause_reading()
    producer.produce()
    ends.clock.pump()
    assert producer.events[-1] == "pause"
    assert producer.left > 2_500_000
    ends.server.transport.resume_reading()
    ends.clock.pump()

    assert len(ends.server.received) == 3_000_000
    assert producer.most <= 64 * 1024 + 10_000 + 1_000
    assert producer.events[-1] == "resume"


def test_an_application_without_flow_control_is_cut_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """HARDENING core-8, over TLS."""
    ends = Ends()
    ends.server.transport.pause_reading()
    for _ in range(1000):
        ends.client.transport.write(bytes(64 * 1024))
    ends.clock.pump()

    assert isinstance(ends.client.lost[0], LimitReachedError)
    assert ends.client.transport.close_reason == "limit:write-buffer"
    warnings = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert len([each for each in warnings if "limit:write-buffer" in each.getMessage()]) == 1


def test_writable_waits_for_room() -> None:
    ends = Ends()
    transport = ends.client.transport
    ends.server.transport.pause_reading()
    transport.write(bytes(500_000))
    ends.clock.pump()
    waiting: Any = transport.writable()
    woken: list[object] = []
    waiting.add_callback(woken.append)
    ends.clock.pump()
    assert not woken
    ends.server.transport.resume_reading()
    ends.clock.pump()

    assert woken == [None]


def test_marks_reach_the_transport_below() -> None:
    ends = Ends()
    transport = ends.client.transport
    transport.set_write_buffer_limits(high=1000)
    assert ends.pair.first.get_write_buffer_limits() == (250, 1000)
    ends.server.transport.pause_reading()
    while ends.client.events == ["made"]:
        transport.write(bytes(100))
        ends.clock.pump()
    assert transport.get_write_buffer_size() <= 1000 + 200
    ends.server.transport.resume_reading()
    ends.clock.pump()

    assert ends.client.events == ["made", "pause", "resume"]


def test_a_file_is_sent_in_order_with_writes_and_with_back_pressure(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    path = tmp_path / "file"
    path.write_bytes(content)
    ends = Ends()
    with path.open("rb") as file:
        transport = ends.client.transport
        ends.server.transport.pause_reading()
        transport.write(b"head")
        sent = transport.sendfile(file, 10, 2_000_000)
        transport.write(b"tail")
        ends.clock.pump()
        assert ends.client.events[-1] == "pause"
        assert sent.outcome is None
        assert file.tell() < 500_000
        ends.server.transport.resume_reading()
        ends.clock.pump()
        assert sent.outcome is not None
        assert sent.outcome.value == 2_000_000

    assert ends.server.received == b"head" + content[10:2_000_010] + b"tail"


def test_a_file_without_descriptor_and_shorter_than_promised() -> None:
    ends = Ends()
    sent = ends.client.transport.sendfile(io.BytesIO(b"abc"), 1, 100)
    ends.client.transport.close()
    ends.clock.pump()

    assert sent.outcome is not None
    assert sent.outcome.value == 2
    assert ends.server.received == b"bc"
    assert ends.server.lost == [None]


def test_a_file_that_cannot_be_read_ends_the_connection() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    ends = Ends()
    sent = ends.client.transport.sendfile(Broken(b"abc"))
    errors: list[BaseException] = []
    sent.add_errback(errors.append)
    ends.clock.pump()

    assert isinstance(errors[0], ConnectionLost)
    assert ends.client.events[-1] == "lost"


# ── the end ───────────────────────────────────────────────────────────────────


def test_close_says_close_notify_and_both_ends_part_cleanly() -> None:
    ends = Ends()
    ends.client.transport.write(b"last words")
    ends.client.transport.close()
    ends.client.transport.write(b"ignored")
    ends.clock.pump()

    assert ends.server.received == b"last words"
    assert ends.server.events == ["made", "eof", "lost"]
    assert ends.server.lost == [None]
    assert ends.client.lost == [None]
    assert ends.client.transport.close_reason == "clean"
    assert ends.server.transport.close_reason == "clean"


def test_an_end_without_close_notify_is_told_from_a_clean_one() -> None:
    """A truncation attack: a FIN that the peer did not send (RFC 8446 §6.1)."""
    ends = Ends()
    ends.client.transport.write(b"partial")
    ends.clock.pump()
    ends.pair.first.close()
    ends.clock.pump()

    assert ends.server.received == b"partial"
    assert ends.server.events == ["made", "lost"]
    lost = ends.server.lost[0]
    assert isinstance(lost, ConnectionLost)
    assert lost.reason == "truncated"
    assert ends.server.transport.close_reason == "truncated"


def test_a_corrupted_record_ends_the_connection_with_an_alert() -> None:
    ends = Ends()
    good = ends.client_tls._conn
    good.send(b"secret")
    octets = bytearray(good.bio_read(65536))
    octets[-1] ^= 1
    ends.pair.first.write(bytes(octets))
    ends.clock.pump()

    assert ends.server.received == b""
    lost = ends.server.lost[0]
    assert isinstance(lost, ConnectionLost)
    assert "TLS failed" in str(lost)
    assert isinstance(ends.client.lost[0], ConnectionLost)
    assert "alert" in str(ends.client.lost[0])


def test_one_way_can_be_closed_and_the_other_goes_on() -> None:
    ends = Ends()
    ends.server.keep_open = True
    assert ends.client.transport.can_write_eof()
    ends.client.transport.write(b"request")
    ends.client.transport.write_eof()
    with pytest.raises(ReactorError, match="write_eof"):
        ends.client.transport.write(b"more")
    ends.clock.pump()
    assert ends.server.events == ["made", "eof"]
    ends.server.transport.write(b"answer" * 20_000)
    ends.clock.pump()
    assert ends.client.received == b"answer" * 20_000
    ends.server.transport.close()
    ends.clock.pump()

    assert ends.client.lost == [None]
    assert ends.server.lost == [None]


@pytest.mark.parametrize("when", ["made", "data"])
def test_one_way_is_closed_from_within_a_call_with_nothing_written(when: str) -> None:
    """An empty file of FTP: its connection is ended as soon as it stands."""

    class Ender(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if when == "made":
                transport.write_eof()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.write_eof()

    ends = Ends(client=Ender())
    ends.server.keep_open = True
    if when == "data":
        ends.server.transport.write(b"go")
        ends.clock.pump()

    assert ends.server.events[:2] == ["made", "eof"]


def test_a_file_on_its_way_shows_its_progress(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(1_000_000))
    ends = Ends(link=Link(bandwidth=100_000))
    ends.clock.advance(1.0)
    with (tmp_path / "file").open("rb") as file:
        transport = ends.client.transport
        transport.sendfile(file).add_errback(lambda _: None)
        marks: set[object] = set()
        for _ in range(8):
            ends.clock.advance(1.0)
            marks.add(transport.output_mark())
        assert len(marks) > 4
        transport.abort()
        ends.clock.pump()


def test_half_closing_means_what_it_says_since_tls_13_only() -> None:
    """RFC 5246 §7.2.1: before, the peer throws away what it has not sent."""
    context = ClientTLS(trust=TRUST)
    context.context.set_max_proto_version.__wrapped__(context.context, SSL.TLS1_2_VERSION)  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess]
    ends = Ends(client_tls=context)

    assert ends.client.transport.tls_version == "TLSv1.2"
    assert not ends.client.transport.can_write_eof()


def test_what_was_written_before_close_still_leaves_to_a_slow_reader() -> None:
    ends = Ends()
    ends.server.transport.pause_reading()
    ends.client.transport.write(bytes(1_000_000))
    ends.client.transport.close()
    ends.clock.pump()
    assert ends.client.events[-1] != "lost"
    ends.server.transport.resume_reading()
    ends.clock.pump()

    assert len(ends.server.received) == 1_000_000
    assert ends.server.lost == [None]


def test_closing_does_not_wait_for_ever_for_a_peer_that_reads_nothing() -> None:
    ends = Ends()
    ends.server.transport.pause_reading()
    ends.client.transport.write(bytes(1_000_000))
    ends.client.transport.close()
    ends.clock.advance(4.9)
    assert "lost" not in ends.client.events
    ends.clock.advance(6)

    assert ends.client.events[-1] == "lost"
    assert isinstance(ends.client.lost[0], ConnectionAborted)
    assert ends.client.transport.close_reason == "timeout"


def test_closing_waits_for_a_peer_that_reads_slowly() -> None:
    ends = Ends()
    ends.server.transport.pause_reading()
    ends.client.transport.write(bytes(1_000_000))
    ends.client.transport.close()
    for _ in range(40):
        ends.clock.advance(4)
        ends.server.transport.resume_reading()
        ends.clock.turn()
        ends.clock.turn()
        ends.server.transport.pause_reading()
        if len(ends.server.received) == 1_000_000:
            break
    ends.server.transport.resume_reading()
    ends.clock.pump()

    assert len(ends.server.received) == 1_000_000
    assert ends.client.lost == [None]


def test_abort_ends_at_once() -> None:
    ends = Ends()
    ends.client.transport.write(bytes(1_000_000))
    ends.client.transport.abort("idle")
    ends.clock.pump()

    lost = ends.client.lost[0]
    assert isinstance(lost, ConnectionAborted)
    assert lost.reason == "idle"
    assert isinstance(ends.server.lost[0], ConnectionLost)


@pytest.mark.parametrize("method", ["connection_made", "data_received", "eof_received"])
def test_a_protocol_that_raises_loses_its_connection_and_nothing_else(method: str) -> None:
    class Faulty(Recorder):
        pass

    def fail(self: Recorder, *args: object) -> None:
        if method == "connection_made":
            self.transport = args[0]  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
        raise RuntimeError("a bug")

    setattr(Faulty, method, fail)
    ends = Ends(server=Faulty(), pump=False)
    ends.clock.keep_errors = True
    ends.clock.pump()
    if ends.client.events == ["made"]:
        ends.client.transport.write(b"x")
        ends.client.transport.close()
        ends.clock.pump()

    assert [str(each) for each in ends.clock.errors] == ["a bug"]
    assert ends.server.events[-1] == "lost"
    assert len(ends.server.lost) == 1
    ends.clock.errors.clear()


def test_draining_reaches_the_protocol_above() -> None:
    class Drainable(Recorder):
        def drain(self) -> None:
            self.events.append("drain")

    ends = Ends(server=Drainable())
    ends.server_tls.drain()
    assert ends.server.events == ["made", "drain"]

    plain = Ends()
    plain.server_tls.drain()
    plain.clock.pump()
    assert plain.server.events[-1] == "lost"
    assert plain.pair.second.close_reason == "drained"

    shaking = Ends(pump=False)
    shaking.server_tls.drain()
    shaking.clock.pump()
    assert shaking.server.events == []


@pytest.mark.parametrize("end", ["close", "abort", "peer"])
def test_a_connection_that_has_gone_leaves_nothing_behind(end: str) -> None:
    """HARDENING fault-17: by counting references alone."""
    gc.collect()
    gc.disable()
    try:
        ends = Ends()
        ends.client.transport.write(b"hello")
        ends.clock.pump()
        gone: list[Any] = [weakref.ref(ends.server), weakref.ref(ends.server_tls)]
        gone.append(weakref.ref(ends.server_tls._conn))
        gone += [weakref.ref(ends.client), weakref.ref(ends.client_tls)]
        if end == "peer":
            ends.client.transport.close()
        else:
            getattr(ends.server.transport, end)()
        ends.clock.pump()
        clock = ends.clock
        del ends
        assert [each() for each in gone] == [None] * len(gone)
        assert clock.pending == []
    finally:
        gc.enable()


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.0\r\n\r\n"])
def test_a_handshake_that_failed_leaves_nothing_behind(data: bytes) -> None:
    gc.collect()
    gc.disable()
    try:
        hostile = Hostile()
        gone = weakref.ref(hostile.pair.second.get_protocol())
        hostile.raw.transport.write(data)
        hostile.raw.transport.close()
        hostile.clock.pump()
        clock = hostile.clock
        del hostile
        assert gone() is None
        assert clock.pending == []
    finally:
        gc.enable()


def test_a_lone_connection_and_close_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    """Health checks and port scans connect and close; that fills no log."""
    caplog.set_level(logging.INFO, "sennit.tls")
    hostile = Hostile()
    hostile.raw.transport.close()
    hostile.clock.pump()

    assert infos(caplog) == []


# ── start_tls ─────────────────────────────────────────────────────────────────


class Plain(Recorder):
    """Talks in clear first."""

    transport: Any

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("made")


def _upgraded(client_tls: ClientTLS | None = None) -> tuple[Clock, Plain, Plain, list[Any]]:
    clock = Clock()
    client, server = Plain(), Plain()
    memory_pair(client, server, reactor=clock)
    client.transport.write(b"STARTTLS\r\n")
    clock.pump()
    server.transport.write(b"220 go ahead\r\n")
    outcomes: list[Any] = []

    def use(protocol: Plain, deferred: Deferred[Any]) -> None:
        def done(transport: Any) -> None:
            protocol.transport = transport
            outcomes.append(transport)

        deferred.add_callbacks(done, outcomes.append)

    use(server, server.transport.start_tls(SERVER, server_side=True))
    clock.pump()
    assert client.received == b"220 go ahead\r\n"
    tls = client_tls or ClientTLS(trust=TRUST)
    use(client, client.transport.start_tls(tls, server_hostname="localhost"))
    clock.pump()
    return clock, client, server, outcomes


def test_a_live_connection_can_turn_to_tls_on_both_sides() -> None:
    clock, client, server, outcomes = _upgraded()
    assert len(outcomes) == 2
    assert all(isinstance(each, TLSTransport) for each in outcomes)
    client.transport.write(b"secret")
    clock.pump()
    client.transport.close()
    clock.pump()

    assert server.received == b"STARTTLS\r\nsecret"
    assert client.events == ["made", "lost"]
    assert server.events == ["made", "eof", "lost"]
    assert server.lost == [None]


def test_an_upgrade_that_fails_ends_the_connection_of_the_protocol() -> None:
    """Defaults 11: TLS that was asked for is never skipped."""
    _, client, server, outcomes = _upgraded(ClientTLS(trust=trustme.CA().cert_pem.bytes()))

    assert len(outcomes) == 2
    assert all(isinstance(each, TLSError) for each in outcomes)
    assert client.events == ["made", "lost"]
    assert server.events == ["made", "lost"]
    assert isinstance(client.lost[0], TLSError)


def test_octets_injected_after_starttls_are_not_taken_for_tls() -> None:
    """HARDENING Defaults 11: a plaintext tail never reaches the protocol as if protected."""
    clock = Clock()
    client, server = Plain(), Plain()
    memory_pair(client, server, reactor=clock)
    failed: list[BaseException] = []
    server.transport.start_tls(SERVER, server_side=True).add_errback(failed.append)
    client.transport.write(b"RSET\r\nMAIL FROM:<x>\r\n")
    clock.pump()

    assert server.received == b""
    assert isinstance(failed[0], TLSError)
    assert server.events == ["made", "lost"]


def test_a_closed_connection_is_not_upgraded() -> None:
    clock = Clock()
    client = Plain()
    memory_pair(client, Plain(), reactor=clock)
    client.transport.close()
    errors: list[BaseException] = []
    upgrade(client.transport, SERVER, server_side=True).add_errback(errors.append)

    assert isinstance(errors[0], ConnectionLost)


def test_a_paused_protocol_is_resumed_after_the_upgrade() -> None:
    clock = Clock()
    client, server = Plain(), Plain()
    memory_pair(client, server, reactor=clock)
    client.transport.pause_reading()
    done: list[Any] = []
    server.transport.start_tls(SERVER, server_side=True).add_callback(done.append)
    client.transport.start_tls(ClientTLS(trust=TRUST), server_hostname="localhost").add_callback(
        done.append
    )
    clock.pump()
    assert len(done) == 2
    done[0].write(b"hello")
    done[1].write(b"hello")
    clock.pump()

    assert client.received == server.received == b"hello"


def test_tls_runs_inside_tls() -> None:
    outer = Ends()
    clock = outer.clock
    done: list[Any] = []
    outer.server.transport.start_tls(SERVER, server_side=True).add_callback(done.append)
    outer.client.transport.start_tls(
        ClientTLS(trust=TRUST), server_hostname="localhost"
    ).add_callback(done.append)
    clock.pump()
    assert len(done) == 2
    sent = os.urandom(300_000)
    for each in done:
        each.write(sent)
    clock.pump()
    assert outer.server.received == outer.client.received == sent
    done[0].close()
    clock.pump()

    assert outer.client.lost == [None]
    assert outer.server.lost == [None]


# ── what it says of itself ────────────────────────────────────────────────────


def test_asyncios_questions_are_answered() -> None:
    ends = Ends()
    transport = ends.client.transport
    name, version, bits = transport.get_extra_info("cipher")

    assert name == transport.cipher
    assert version == "TLSv1.3"
    assert bits in {128, 256}
    assert transport.get_extra_info("compression", "?") is None
    assert transport.get_extra_info("ssl_object", "?") is None
    assert transport.get_extra_info("reactor") is ends.clock
    assert transport.get_extra_info("peername", "?") == "?"
    names = transport.get_extra_info("peercert")["subjectAltName"]
    assert ("DNS", "localhost") in names
    assert ("IP Address", "127.0.0.1") in names


@pytest.mark.parametrize("kind", ["tls-exporter", "tls-server-end-point"])
def test_both_ends_know_the_same_channel_binding(kind: str) -> None:
    ends, other = Ends(), Ends()
    ours = ends.client.transport.channel_binding(kind)

    assert len(ours) >= 32
    assert ours == ends.server.transport.channel_binding(kind)
    if kind == "tls-exporter":
        assert ours != other.client.transport.channel_binding(kind)


def test_a_channel_binding_that_is_not_known_is_refused() -> None:
    with pytest.raises(UsageError, match="tls-unique"):
        Ends().client.transport.channel_binding("tls-unique")


def test_what_the_handshake_will_say_cannot_be_asked_before() -> None:
    ends = Ends(pump=False)

    with pytest.raises(ReactorError, match="stands"):
        _ = ends.client_tls.cipher
    assert "handshake" in repr(ends.client_tls)


def test_callbacks_run_in_the_context_of_the_connection() -> None:
    from contextvars import ContextVar, copy_context

    variable: ContextVar[str] = ContextVar("variable", default="none")
    seen: list[str] = []

    class Looking(Recorder):
        def data_received(self, data: bytes) -> None:
            seen.append(variable.get())
            if len(seen) == 1:
                self.transport.pause_reading()

        def connection_lost(self, exc: Exception | None) -> None:
            seen.append(variable.get())

    def connect() -> Ends:
        variable.set("connection's")
        return Ends(server=Looking())

    ends = copy_context().run(connect)
    ends.client.transport.write(bytes(400_000))
    ends.clock.pump()
    ends.server.transport.resume_reading()
    ends.clock.pump()
    ends.client.transport.close()
    ends.clock.pump()

    assert len(seen) > 2
    assert set(seen) == {"connection's"}
