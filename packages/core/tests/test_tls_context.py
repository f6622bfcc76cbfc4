"""What servers show and clients believe: certificates, SNI, ALPN, sessions, reload."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from OpenSSL import SSL

from sennit.core.errors import TLSError, UsageError
from sennit.core.protocol import Protocol
from sennit.core.testing.clock import Clock
from sennit.core.transport.memory import memory_pair
from sennit.core.transport.tls import (
    ClientTLS,
    ServerTLS,
    TLSFactory,
    client_protocol,
    server_protocol,
)
from sennit.core.transport.tlsbase import acknowledge_at_once
from sennit.core.transport.tlscontext import SESSIONS
from sennit.core.transport.tlsnames import ExpectedHost, server_name_problem

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sennit.core.interfaces import IStreamTransport

CA = trustme.CA(key_type=trustme.KeyType.ECDSA)
TRUST = CA.cert_pem.bytes()


def issue(*names: str, common_name: str | None = None) -> tuple[bytes, bytes]:
    """Certificate with chain, and key."""
    made = CA.issue_cert(*names, common_name=common_name, key_type=trustme.KeyType.ECDSA)
    chain = b"".join(each.bytes() for each in made.cert_chain_pems)
    return chain, made.private_key_pem.bytes()


LOCALHOST = issue("localhost")
EXAMPLE = issue("example.org", "*.example.org")
ALICE = issue("alice@example.org", common_name="alice")


class Talker(Protocol):
    transport: Any

    def __init__(self) -> None:
        self.made = 0
        self.received = b""
        self.lost: list[Exception | None] = []

    def connection_made(self, transport: IStreamTransport) -> None:
        self.transport = transport
        self.made += 1

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


class Met:
    """One connection between a server's and a client's context."""

    def __init__(
        self, server: ServerTLS, client: ClientTLS | None = None, host: str = "localhost"
    ) -> None:
        self.clock = Clock()
        self.server, self.client = Talker(), Talker()
        lower, done = client_protocol(self.client, client or ClientTLS(trust=TRUST), host)
        self.errors: list[BaseException] = []
        done.add_errback(self.errors.append)
        memory_pair(lower, server_protocol(self.server, server), reactor=self.clock)
        self.clock.pump()

    @property
    def subject(self) -> list[str]:
        """The DNS names the client was shown."""
        names = self.client.transport.get_extra_info("peercert")["subjectAltName"]
        return [name for kind, name in names if kind == "DNS"]

    def talk(self) -> Met:
        self.client.transport.write(b"hello")
        self.server.transport.write(b"hello")
        self.clock.pump()
        assert self.client.received == self.server.received == b"hello"
        return self

    def close(self) -> Met:
        self.client.transport.close()
        self.clock.pump()
        assert self.client.lost == self.server.lost == [None]
        return self


def at_most(client: ClientTLS, version: int) -> ClientTLS:
    """Make a client's context speak no later version."""
    client.context.set_max_proto_version(version)
    return client


# ── files ─────────────────────────────────────────────────────────────────────


def test_certificates_are_read_from_files(tmp_path: Path) -> None:
    chain, key = LOCALHOST
    (tmp_path / "chain.pem").write_bytes(chain)
    (tmp_path / "key.pem").write_bytes(key)
    (tmp_path / "both.pem").write_bytes(key + chain)

    for server in (
        ServerTLS(tmp_path / "chain.pem", tmp_path / "key.pem"),
        ServerTLS(str(tmp_path / "both.pem")),
        ServerTLS(chain + key),
    ):
        assert Met(server).talk().subject == ["localhost"]


def test_an_encrypted_key_needs_its_password() -> None:
    from cryptography.hazmat.primitives import serialization

    chain, key = LOCALHOST
    locked = serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"sesame"),
    )
    for password in ("sesame", b"sesame", lambda: "sesame"):
        Met(ServerTLS(chain, locked, password=password)).talk()
    Met(ServerTLS(chain, key, password="not needed")).talk()
    for wrong in ("open", None):
        with pytest.raises(TLSError, match="password"):
            ServerTLS(chain, locked, password=wrong)


@pytest.mark.parametrize(
    ("certificate", "key", "problem"),
    [
        (b"", LOCALHOST[1], "holds no PEM certificate"),
        (b"-----BEGIN CERTIFICATE-----\nMIIB", LOCALHOST[1], "holds no PEM certificate"),
        (LOCALHOST[0], b"", "holds no PEM private key"),
        (LOCALHOST[0], LOCALHOST[1][:-40], "holds no PEM private key"),
        (LOCALHOST[0], EXAMPLE[1], "does not belong"),
        ("/nonexistent/cert.pem", LOCALHOST[1], "No such file"),
        (LOCALHOST[0], "/nonexistent/key.pem", "No such file"),
        (
            LOCALHOST[0],
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "cannot be read",
        ),
    ],
)
def test_certificates_that_cannot_be_used_are_refused_by_name(
    certificate: bytes | str, key: bytes | str, problem: str
) -> None:
    with pytest.raises(TLSError, match=problem):
        ServerTLS(certificate, key)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ServerTLS(*LOCALHOST, min_version="TLSv1.1"),
        lambda: ServerTLS(*LOCALHOST, require_client_certificate=True),
        lambda: ServerTLS(*LOCALHOST, alpn="h2"),
        lambda: ServerTLS(*LOCALHOST, alpn=[""]),
        lambda: ServerTLS(*LOCALHOST, ciphers="NONSENSE"),
        lambda: ServerTLS(*LOCALHOST, sni={"bad..name": EXAMPLE}),
        lambda: ClientTLS(key=LOCALHOST[1]),
        lambda: ClientTLS(min_version="SSLv3"),
    ],
)
def test_arguments_that_do_not_fit_are_the_callers_fault(make: Callable[[], object]) -> None:
    with pytest.raises(UsageError):
        make()


def test_without_pyopenssl_the_module_says_which_extra_is_missing() -> None:
    code = """
import sys
sys.modules["OpenSSL"] = None
from sennit.core.errors import MissingExtraError
for name in ("tls", "tlsbase", "tlscontext", "tlsfiles", "tlsnames", "tlswriting", "_openssl"):
    try:
        __import__("sennit.core.transport." + name)
    except MissingExtraError as error:
        assert "sennit-core[tls]" in str(error), error
    else:
        raise AssertionError(name)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


# ── reload ────────────────────────────────────────────────────────────────────


def test_a_reload_shows_the_new_certificate_and_leaves_live_connections_alone(
    tmp_path: Path,
) -> None:
    """HARDENING app-4."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(LOCALHOST[0])
    key.write_bytes(LOCALHOST[1])
    server = ServerTLS(cert, key)
    old = Met(server)
    renewed = issue("localhost", "renewed.example")
    cert.write_bytes(renewed[0])
    key.write_bytes(renewed[1])
    server.reload()

    assert Met(server).talk().subject == ["localhost", "renewed.example"]
    assert old.talk().close().client.lost == [None]


@pytest.mark.parametrize(
    ("certificate", "key"),
    [
        (b"", LOCALHOST[1]),
        (LOCALHOST[0][:300], LOCALHOST[1]),
        (LOCALHOST[0], EXAMPLE[1]),
        (LOCALHOST[0], LOCALHOST[1][:100]),
        (None, LOCALHOST[1]),
    ],
    ids=["empty", "half-written", "mismatch", "half a key", "gone"],
)
def test_a_reload_of_bad_files_keeps_the_old_pair(
    certificate: bytes | None, key: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING app-4, fault-18: an ERROR line, and the caller learns it too."""
    cert_file, key_file = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert_file.write_bytes(EXAMPLE[0])
    key_file.write_bytes(EXAMPLE[1])
    server = ServerTLS(cert_file, key_file)
    if certificate is None:
        cert_file.unlink()
    else:
        cert_file.write_bytes(certificate)
    key_file.write_bytes(key)
    with pytest.raises(TLSError):
        server.reload()

    Met(server, host="example.org").talk()
    errors = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "the old ones stay" in errors[0].getMessage()


# ── SNI ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", ["mapping", "sequence", "function"])
def test_the_name_asked_for_picks_the_certificate(form: str) -> None:
    """RFC 6066 §3; RFC 9525 §6.3 for wildcards."""
    other = ServerTLS(*EXAMPLE)

    def choose(name: str) -> ServerTLS | None:
        return other if name.endswith("example.org") else None

    choices: dict[str, Any] = {
        "mapping": {"example.org": EXAMPLE, "*.example.org": EXAMPLE},
        "sequence": [EXAMPLE],
        "function": choose,
    }
    server = ServerTLS(*LOCALHOST, sni=choices[form])

    assert Met(server).talk().subject == ["localhost"]
    assert "example.org" in Met(server, host="example.org").talk().subject
    assert "example.org" in Met(server, host="www.example.org").talk().subject
    assert "example.org" in Met(server, host="WWW.Example.ORG.").talk().subject
    assert Met(server, host="a.b.example.org").errors


def test_an_internationalized_name_is_asked_for_by_its_a_label() -> None:
    server = ServerTLS(*LOCALHOST, sni={"bücher.example": issue("xn--bcher-kva.example")})
    met = Met(server, host="Bücher.example")

    assert met.errors == []
    assert met.server.transport.server_name == "xn--bcher-kva.example"


def test_an_unknown_name_gets_the_default_unless_names_are_strict() -> None:
    """HARDENING core-6."""
    client = ClientTLS(verify=False)
    Met(ServerTLS(*LOCALHOST), client, "unknown.example").talk()
    met = Met(ServerTLS(*LOCALHOST, strict_sni=True), client, "unknown.example")

    assert met.server.made == 0
    assert "unrecognized name" in str(met.errors[0])
    Met(ServerTLS(*LOCALHOST, strict_sni=True)).talk()


def test_a_function_that_raises_ends_the_handshake_and_is_logged_once(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """HARDENING core-6 (CVE-2026-27448)."""

    def choose(name: str) -> ServerTLS:
        raise LookupError("the database is down")

    met = Met(ServerTLS(*EXAMPLE, sni=choose), ClientTLS(verify=False), "localhost")

    assert met.server.made == 0
    assert met.client.made == 0
    assert "internal error" in str(met.errors[0])
    errors = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert len(errors) == 1
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "name",
    [
        b"a\0b.example",
        b"a..b",
        b".",
        b".a",
        b"a" * 64,
        b"a." * 127 + b"aa",
        b"x" * 256,
        b"x" * 1000,
        b"\xff\xfe",
        b"a b",
        b"-a",
        b"",
    ],
)
def test_names_that_are_none_end_the_handshake(name: bytes) -> None:
    """HARDENING core-6: never carried on with the default certificate."""
    server = ServerTLS(*LOCALHOST)
    talker = Talker()
    raw = Talker()
    clock = Clock()
    memory_pair(raw, server_protocol(talker, server), reactor=clock)
    clock.pump()
    raw.transport.write(_hello_for(name))
    clock.pump()

    assert raw.received[:1] == b"\x15", raw.received[:10]
    assert raw.received[5] == 2  # fatal
    assert talker.made == 0
    assert len(raw.lost) == 1


def _hello_for(name: bytes) -> bytes:
    """A ClientHello that asks for `name`, whatever that is."""
    connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    connection.set_connect_state()
    connection.set_tlsext_host_name(b"placeholder")
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    message = connection.bio_read(65536)[5:]
    at = message.index(b"placeholder")
    old = 11

    def longer(where: int, width: int, octets: bytes) -> bytes:
        value = int.from_bytes(octets[where : where + width], "big") + len(name) - old
        return octets[:where] + value.to_bytes(width, "big") + octets[where + width :]

    session = message[38]
    suites = int.from_bytes(message[39 + session : 41 + session], "big")
    compressions = message[41 + session + suites]
    extensions = 42 + session + suites + compressions
    for where, width in ((1, 3), (extensions, 2), (at - 7, 2), (at - 5, 2), (at - 2, 2)):
        message = longer(where, width, message)
    message = message[:at] + name + message[at + old :]
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def test_the_helper_above_makes_good_names_too() -> None:
    talker, raw, clock = Talker(), Talker(), Clock()
    memory_pair(raw, server_protocol(talker, ServerTLS(*LOCALHOST)), reactor=clock)
    clock.pump()
    raw.transport.write(_hello_for(b"a-much-longer-name.example"))
    clock.pump()

    assert raw.received[:1] == b"\x16"


@pytest.mark.parametrize(
    "name", ["a..b", "-a.example", "a\0b", "a b", "x" * 254, "256.1.1.1", ":::1"]
)
def test_a_client_refuses_names_that_are_none(name: str) -> None:
    with pytest.raises(UsageError):
        ExpectedHost(name, verify=True)


def test_names_with_an_underscore_pass() -> None:
    assert server_name_problem(b"_dmarc.my_host.example") is None


# ── ALPN ──────────────────────────────────────────────────────────────────────


def test_the_servers_preference_decides_the_application_protocol() -> None:
    """RFC 7301 §3.2."""
    server = ServerTLS(*LOCALHOST, alpn=["h2", "http/1.1"], sni=[EXAMPLE])
    both = ClientTLS(trust=TRUST, alpn=[b"http/1.1", "h2"])
    one = ClientTLS(trust=TRUST, alpn=["foo", "http/1.1"])

    assert Met(server, both).talk().client.transport.alpn_protocol == "h2"
    assert Met(server, both, "example.org").talk().server.transport.alpn_protocol == "h2"
    assert Met(server, one).talk().server.transport.alpn_protocol == "http/1.1"
    assert Met(server).talk().client.transport.alpn_protocol is None
    assert Met(ServerTLS(*LOCALHOST), both).talk().client.transport.alpn_protocol is None
    other = one.offering(["h2"])
    assert (one.alpn, other.alpn) == ((b"foo", b"http/1.1"), (b"h2",))
    assert Met(server, other).talk().client.transport.alpn_protocol == "h2"


def test_no_application_protocol_in_common_ends_the_handshake() -> None:
    """RFC 7301 §3.2: alert no_application_protocol; also behind SNI."""
    server = ServerTLS(*LOCALHOST, alpn=["h2"], sni=[EXAMPLE])
    client = ClientTLS(trust=TRUST, alpn=["imap"])
    for host in ("localhost", "example.org"):
        met = Met(server, client, host)
        assert met.server.made == 0
        assert "application protocol" in str(met.errors[0])


def test_one_certificate_serves_services_that_speak_different_protocols() -> None:
    server = ServerTLS(*LOCALHOST, sni=[EXAMPLE])
    web = server.agreeing_on(["h2", "http/1.1"])
    old = server.agreeing_on(["http/1.1"])
    both = ClientTLS(trust=TRUST, alpn=["h2", "http/1.1"])

    assert Met(web, both).talk().client.transport.alpn_protocol == "h2"
    assert Met(web, both, "example.org").talk().server.transport.alpn_protocol == "h2"
    assert Met(old, both).talk().server.transport.alpn_protocol == "http/1.1"
    assert Met(server, both).talk().server.transport.alpn_protocol is None
    assert Met(server.agreeing_on([]), both).talk().server.transport.alpn_protocol is None
    assert Met(web).talk().server.transport.alpn_protocol is None
    assert "application protocol" in str(Met(web, ClientTLS(trust=TRUST, alpn=["x"])).errors[0])
    with pytest.raises(UsageError):
        server.agreeing_on("h2")


def test_what_is_reloaded_and_taken_over_is_shown_with_every_protocol(tmp_path: Path) -> None:
    """HARDENING app-4: new handshakes use the new pair, whichever service they are with."""
    both = ClientTLS(trust=TRUST, alpn=["h2", "http/1.1"])
    path = tmp_path / "pair.pem"
    path.write_bytes(LOCALHOST[1] + LOCALHOST[0])
    server = ServerTLS(path)
    web = server.agreeing_on(["h2"])
    assert web.files == (str(path),)
    assert Met(web, both).talk().subject == ["localhost"]

    path.write_bytes(EXAMPLE[1] + EXAMPLE[0])
    web.reload()
    met = Met(web, both, "example.org").talk()
    assert met.subject == ["example.org", "*.example.org"]
    assert met.server.transport.alpn_protocol == "h2"
    path.write_bytes(b"half of it")
    with pytest.raises(TLSError):
        web.reload()
    assert Met(web, both, "example.org").talk().server.transport.alpn_protocol == "h2"

    web.take_over(ServerTLS(*LOCALHOST))
    assert Met(web, both).talk().subject == ["localhost"]
    assert Met(web, both).talk().server.transport.alpn_protocol == "h2"
    assert Met(server, both).talk().server.transport.alpn_protocol is None


def test_failed_handshakes_are_counted_where_the_certificate_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failed: list[TLSError] = []
    server = ServerTLS(*LOCALHOST, on_failure=failed.append)

    Met(server.agreeing_on(["h2"]), ClientTLS(trust=TRUST, alpn=["x"]))

    assert len(failed) == 1


def test_a_server_chosen_by_name_agrees_on_its_own_protocols() -> None:
    other = ServerTLS(*EXAMPLE, alpn=["http/1.1"])
    server = ServerTLS(*LOCALHOST, alpn=["h2"], sni=lambda _: other)
    both = ClientTLS(trust=TRUST, alpn=["h2", "http/1.1"])

    assert Met(server, both, "example.org").talk().server.transport.alpn_protocol == "http/1.1"
    assert Met(server, both).talk().server.transport.alpn_protocol == "h2"


# ── client certificates ───────────────────────────────────────────────────────


def test_a_client_certificate_is_verified_and_seen() -> None:
    server = ServerTLS(*LOCALHOST, client_ca=TRUST, require_client_certificate=True)
    client = ClientTLS(trust=TRUST, certificate=ALICE[0], key=ALICE[1])
    met = Met(server, client).talk()

    from cryptography import x509

    shown = x509.load_der_x509_certificate(met.server.transport.peer_certificate)
    assert shown.subject.rfc4514_string().startswith("CN=alice")


def test_without_a_client_certificate_a_server_that_requires_one_refuses() -> None:
    server = ServerTLS(*LOCALHOST, client_ca=TRUST, require_client_certificate=True)
    met = Met(server)

    assert met.server.made == 0
    assert "certificate required" in str(met.client.lost[0])  # TLS 1.3 tells it afterwards
    optional = ServerTLS(*LOCALHOST, client_ca=TRUST)
    assert Met(optional).talk().server.transport.peer_certificate is None


def test_a_client_certificate_of_another_authority_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "sennit.tls")
    stranger = trustme.CA().issue_cert("mallory@example.org")
    client = ClientTLS(
        trust=TRUST,
        certificate=stranger.cert_chain_pems[0].bytes(),
        key=stranger.private_key_pem.bytes(),
    )
    for require in (True, False):
        server = ServerTLS(*LOCALHOST, client_ca=TRUST, require_client_certificate=require)
        assert Met(server, client).server.made == 0
    assert "issuer" in caplog.text


# ── sessions ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@pytest.mark.parametrize("host", ["localhost", "example.org"])
def test_a_session_is_resumed(version: int, host: str) -> None:
    server = ServerTLS(*LOCALHOST, sni=[EXAMPLE])
    client = at_most(ClientTLS(trust=TRUST), version)
    reused: list[tuple[bool, bool]] = []
    for _ in range(4):
        met = Met(server, client, host).talk()
        reused.append((met.client.transport.session_reused, met.server.transport.session_reused))
        met.close()

    assert reused == [(False, False)] + [(True, True)] * 3


def test_a_session_is_resumed_with_client_certificates() -> None:
    server = ServerTLS(*LOCALHOST, client_ca=TRUST, require_client_certificate=True)
    client = ClientTLS(trust=TRUST, certificate=ALICE[0], key=ALICE[1])
    Met(server, client).talk().close()
    met = Met(server, client).talk()

    assert met.server.transport.session_reused
    assert met.server.transport.peer_certificate is not None


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_connections_that_follow_one_resume_its_session(version: int) -> None:
    """FTP's data connections: any number of them, however they end (RFC 4217 §10.2)."""
    server = ServerTLS(*LOCALHOST)
    leader = Met(server, at_most(ClientTLS(trust=TRUST, resume=False), version)).talk()
    following = leader.client.transport.following()

    for end in ("close", "abort", "close"):
        met = Met(server, following).talk()
        assert met.client.transport.session_reused
        assert met.server.transport.session_reused
        getattr(met.client.transport, end)()
        met.clock.pump()
    with pytest.raises(UsageError):
        leader.server.transport.following()


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@pytest.mark.parametrize("sni", [None, {"localhost": LOCALHOST}])
def test_sessions_of_one_client_are_resumed_by_nobody_else(
    version: int, sni: dict[str, tuple[bytes, bytes]] | None
) -> None:
    """FTP's data connections: a session says whose they are (RFC 4217 §10.2)."""
    server = ServerTLS(*LOCALHOST, sni=sni)
    mine, other = server.for_one_client(), server.for_one_client()
    leader = Met(mine, at_most(ClientTLS(trust=TRUST, resume=False), version)).talk()
    assert leader.server.transport.server_tls is mine
    with pytest.raises(UsageError):
        _ = leader.client.transport.server_tls
    following = leader.client.transport.following()
    # Kept: the library takes the session of a connection that is thrown away open for a bad one.
    kept: list[Met] = []

    def resumes(shown: ServerTLS) -> bool:
        kept.append(Met(shown, following).talk())
        return bool(kept[-1].server.transport.session_reused)

    assert resumes(mine)
    assert not resumes(other)
    assert not resumes(server)
    server.reload()
    assert resumes(mine)


@pytest.mark.parametrize("end", ["close", "abort"])
def test_one_client_resumes_by_session_id_where_it_wants_no_tickets(end: str) -> None:
    """curl over TLS 1.2 (RFC 5246 §7.4.1.2); however the connections before it ended."""
    server = ServerTLS(*LOCALHOST)
    mine, other = server.for_one_client(), server.for_one_client()
    client = at_most(ClientTLS(trust=TRUST, resume=False), SSL.TLS1_2_VERSION)
    client.context.set_options(SSL.OP_NO_TICKET)
    leader = Met(mine, client).talk()
    following = leader.client.transport.following()

    for _ in range(3):
        met = Met(mine, following).talk()
        assert met.server.transport.session_reused
        getattr(met.server.transport, end)()
        met.clock.pump()
    assert not Met(other, following).talk().server.transport.session_reused
    assert mine.context.get_timeout() == 86_400  # a mirror may take longer than the usual two hours


def test_tickets_may_leave_with_what_is_written_first() -> None:
    """A client that only sends leaves nothing unread, which would end in a reset (FTP's STOR)."""
    server = ServerTLS(*LOCALHOST).for_one_client()
    first = Met(server)
    server.tickets_wait = True
    met = Met(server)

    with pytest.raises(SSL.WantReadError):
        first.server.transport._conn.bio_read(16_384)
    for _ in range(3):
        met.client.transport.write(b"x" * 20_000)
        met.clock.pump()
    assert len(met.server.received) == 60_000
    assert met.server.transport._conn.bio_read(16_384)  # they wait in the library


def test_a_factory_may_want_sessions_of_its_own_for_each_client() -> None:
    class Own:
        own_tls_sessions = True

        def build_protocol(self, peer: object) -> Talker:
            return Talker()

    server = ServerTLS(*LOCALHOST)

    assert TLSFactory(Own(), server).build_protocol(None)._tls is not server
    assert TLSFactory(Talker, server).build_protocol(None)._tls is server


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="this system has no such option")
def test_with_tickets_that_wait_what_comes_is_acknowledged_at_once() -> None:
    """Else close_notify, which Nagle's rule holds back, comes 40 ms later."""
    one, other = socket.socketpair()
    with one, other, socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        with client, accepted:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            for sock in (accepted, one, None):
                below: Any = _Below(sock)
                acknowledge_at_once(below)

            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK)


class _Below:
    """A transport that says which socket it has."""

    def __init__(self, sock: socket.socket | None) -> None:
        self._sock = sock

    def get_extra_info(self, name: str) -> Any:
        return self._sock


def test_a_session_survives_the_servers_abort() -> None:
    server, client = ServerTLS(*LOCALHOST), ClientTLS(trust=TRUST)
    met = Met(server, client).talk()
    met.server.transport.abort()
    met.clock.pump()

    assert Met(server, client).talk().client.transport.session_reused


def test_a_session_is_not_offered_to_another_host_or_when_switched_off() -> None:
    server, client = ServerTLS(*LOCALHOST, sni=[EXAMPLE]), ClientTLS(trust=TRUST)
    Met(server, client).talk().close()
    assert not Met(server, client, "example.org").talk().client.transport.session_reused

    forgetful = ClientTLS(trust=TRUST, resume=False)
    stubborn = ServerTLS(*LOCALHOST, resumption=False)
    for shown, believed in ((server, forgetful), (stubborn, ClientTLS(trust=TRUST))):
        for _ in range(2):
            met = Met(shown, believed).talk()
            assert not met.client.transport.session_reused
            met.close()


def test_a_reloaded_server_does_a_full_handshake_again() -> None:
    server, client = ServerTLS(*LOCALHOST), ClientTLS(trust=TRUST)
    Met(server, client).talk().close()
    server.reload()

    met = Met(server, client).talk()
    assert not met.client.transport.session_reused


def test_a_client_remembers_a_limited_number_of_sessions() -> None:
    server, client = ServerTLS(*LOCALHOST), ClientTLS(trust=TRUST)
    met = Met(server, client).talk()
    connection = met.client.transport._conn
    for n in range(SESSIONS + 50):
        client.remember(ExpectedHost(f"host{n}.example", verify=False), 443, connection)

    assert len(client._sessions) == SESSIONS


def test_the_systems_authorities_are_believed_by_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "system.pem"
    path.write_bytes(TRUST)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    server = ServerTLS(*LOCALHOST)
    Met(server, ClientTLS()).talk()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))

    assert Met(server, ClientTLS()).errors


def test_old_generations_of_contexts_are_freed_by_reload() -> None:
    import gc
    import weakref

    server = ServerTLS(*LOCALHOST, sni=[EXAMPLE], alpn=["h2"])
    gc.collect()
    gc.disable()
    try:
        old = weakref.ref(server.context)
        server.reload()
        assert old() is None
    finally:
        gc.enable()
