"""Each mechanism's engine: the examples of its RFC, both sides together, and what must fail."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sennit.core.auth.credentials import (
    AnonymousCredentials,
    CertificateCredentials,
    PasswordCredentials,
    ProvenCredentials,
    TokenCredentials,
)
from sennit.core.auth.sasl.anonymous import AnonymousClient, AnonymousServer
from sennit.core.auth.sasl.cram_md5 import CramMD5Client, CramMD5Server
from sennit.core.auth.sasl.events import (
    Challenge,
    CredentialsGiven,
    Failed,
    KeysNeeded,
    Respond,
    SaltedPasswordNeeded,
    SecretNeeded,
    Succeeded,
)
from sennit.core.auth.sasl.external import ExternalClient, ExternalServer
from sennit.core.auth.sasl.grammar import MalformedError, prepare_name, prepare_password
from sennit.core.auth.sasl.keys import HASHES, ScramKeys
from sennit.core.auth.sasl.login import LoginClient, LoginServer
from sennit.core.auth.sasl.oauth import (
    OAuthBearerClient,
    OAuthBearerServer,
    XOAuth2Client,
    XOAuth2Server,
)
from sennit.core.auth.sasl.plain import PlainClient, PlainServer, parse_plain
from sennit.core.auth.sasl.scram import ScramClient, ScramServer
from sennit.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.core.auth.sasl.engine import ClientExchange, ServerExchange
    from sennit.core.auth.sasl.events import ClientEvent, ServerEvent

SECRET = b"s" * 32
KEYS = {name: ScramKeys.derive(name, b"pencil", b"0123456789abcdef", 4096) for name in HASHES}
SALTED = {
    (name, b"pencil"): hashlib.pbkdf2_hmac(HASHES[name], b"pencil", b"0123456789abcdef", 4096)
    for name in HASHES
}


def derived(event: ClientEvent) -> bytes:
    assert isinstance(event, SaltedPasswordNeeded)
    return hashlib.pbkdf2_hmac(event.hash_name, event.password, event.salt, event.iterations)


def talk(
    client: ClientExchange,
    server: ServerExchange,
    secret: ScramKeys | str | None = None,
    verdict: Callable[[CredentialsGiven], bool] = lambda given: True,
) -> tuple[ClientEvent, ServerEvent, CredentialsGiven | None]:
    """Let both sides talk to the end."""
    given_: CredentialsGiven | None = None
    mine = client.start()
    first = True
    while True:
        if isinstance(mine, SaltedPasswordNeeded):
            mine = client.supply(derived(mine))
        if not isinstance(mine, Respond):
            return mine, server.receive(None), given_
        theirs = server.receive(mine.data if first else mine.data or b"")
        first = False
        if isinstance(theirs, KeysNeeded | SecretNeeded):
            theirs = server.supply(secret)
        if isinstance(theirs, CredentialsGiven):
            given_ = theirs
            theirs = server.accept() if verdict(theirs) else server.reject("no")
        if isinstance(theirs, Challenge):
            mine = client.receive(theirs.data)
        elif isinstance(theirs, Succeeded):
            return client.finish(theirs.data), theirs, given_
        else:
            return mine, theirs, given_


# ── PLAIN ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        (b"\0tim\0tanstaaftanstaaf", ("", "tim", "tanstaaftanstaaf")),
        (b"Ursel\0Kurt\0xipj3plmq", ("Ursel", "Kurt", "xipj3plmq")),
    ],
)
def test_the_examples_of_plain_are_read_and_written(
    message: bytes, parts: tuple[str, str, str]
) -> None:
    """RFC 4616 §4."""
    assert parse_plain(message) == parts
    assert PlainClient(parts[1], parts[2], parts[0]).start() == Respond(message)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"tim tanstaaf",
        b"\0tim",
        b"\0\0\0\0",
        b"\0tim\0pass\0",
        b"\0\0pass",
        b"\0tim\0",
        b"\0\xff\0pass",
        b"\0tim\0\xff",
        b"\0" + b"n" * 256 + b"\0pass",
        b"\0tim\0" + b"p" * 1025,
        b"\0tim\0" + b"p" * 1_048_576,
        b"\0" + b"n" * 65_536 + b"\0pass",
        b"\0ti\x07m\0pass",
    ],
)
def test_a_malformed_message_of_plain_fails_and_never_raises(message: bytes) -> None:
    """HARDENING core-15, core-16."""
    event = PlainServer().receive(message)

    assert isinstance(event, Failed)
    assert event.malformed


def test_plain_without_an_initial_response_asks_for_one() -> None:
    """RFC 4422 §3."""
    server = PlainServer()
    assert server.receive(None) == Challenge(b"")
    event = server.receive(b"Ursel\0Kurt\0xipj3plmq")

    assert isinstance(event, CredentialsGiven)
    assert isinstance(event.credentials, PasswordCredentials)
    assert (event.credentials.name, event.credentials.password) == ("Kurt", "xipj3plmq")
    assert event.act_as == "Ursel"
    assert "xipj3plmq" not in repr(event)
    assert server.accept() == Succeeded(None)


# ── LOGIN, CRAM-MD5 ───────────────────────────────────────────────────────────


def test_login_asks_for_name_and_password() -> None:
    mine, theirs, given_ = talk(LoginClient("tim", "tanstaaf"), LoginServer())

    assert mine == theirs == Succeeded()
    assert given_ is not None
    assert isinstance(given_.credentials, PasswordCredentials)
    assert given_.credentials.password == "tanstaaf"


def test_login_takes_the_name_as_an_initial_response() -> None:
    server = LoginServer()
    assert server.receive(b"tim") == Challenge(b"Password:")
    assert isinstance(server.receive(b"x"), CredentialsGiven)


def test_the_example_of_cram_md5() -> None:
    """RFC 2195 §2."""
    client = CramMD5Client("tim", "tanstaaftanstaaf")
    assert client.start() == Respond(None)
    challenge = b"<1896.697170952@postoffice.reston.mci.net>"
    assert client.receive(challenge) == Respond(b"tim b913a602c7eda7a495b4e6e7334d3890")

    server = CramMD5Server("1896.697170952", "postoffice.reston.mci.net")
    assert server.receive(None) == Challenge(challenge)
    assert server.receive(b"tim b913a602c7eda7a495b4e6e7334d3890") == SecretNeeded("tim")
    assert isinstance(server.supply("tanstaaftanstaaf"), CredentialsGiven)


@pytest.mark.parametrize("secret", ["other", None])
def test_cram_md5_fails_alike_for_a_wrong_password_and_nobody(secret: str | None) -> None:
    _, theirs, given_ = talk(CramMD5Client("tim", "right"), CramMD5Server("n", "h"), secret)

    assert isinstance(theirs, Failed)
    assert not theirs.malformed
    assert given_ is None


def test_an_initial_response_where_the_server_speaks_first_is_malformed() -> None:
    event = CramMD5Server("n", "h").receive(b"x")
    assert isinstance(event, Failed)
    assert event.malformed


# ── EXTERNAL, ANONYMOUS ───────────────────────────────────────────────────────


def test_external_gives_what_the_channel_knows() -> None:
    """RFC 4422 appendix A."""
    known = CertificateCredentials(b"der")
    _, theirs, given_ = talk(ExternalClient("fred"), ExternalServer(known))

    assert theirs == Succeeded()
    assert given_ == CredentialsGiven(known, "fred")
    assert isinstance(talk(ExternalClient(), ExternalServer(None))[1], Failed)
    assert ExternalClient().start() == Respond(b"")


def test_anonymous_carries_its_trace() -> None:
    """RFC 4505 §3."""
    _, theirs, given_ = talk(AnonymousClient("sirhc"), AnonymousServer())

    assert theirs == Succeeded()
    assert given_ is not None
    assert isinstance(given_.credentials, AnonymousCredentials)
    assert given_.credentials.trace == "sirhc"
    for trace in (b"x" * 256, b"\xff", b"a\nb"):
        assert isinstance(AnonymousServer().receive(trace), Failed)


# ── OAUTHBEARER, XOAUTH2 ──────────────────────────────────────────────────────

BEARER = (
    b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01"
    b"auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"
)


def test_the_example_of_oauthbearer() -> None:
    """RFC 7628 §4.1."""
    token = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
    client = OAuthBearerClient(token, "user@example.com", host="server.example.com", port=143)
    assert client.start() == Respond(BEARER)

    event = OAuthBearerServer().receive(BEARER)
    assert isinstance(event, CredentialsGiven)
    assert isinstance(event.credentials, TokenCredentials)
    assert (event.credentials.token, event.act_as) == (token, "user@example.com")
    assert (event.credentials.host, event.credentials.port) == ("server.example.com", 143)


@pytest.mark.parametrize(
    ("client", "server", "said"),
    [
        (OAuthBearerClient("t", "u"), OAuthBearerServer("mail", "https://x/"), '"scope": "mail"'),
        (XOAuth2Client("t", "u"), XOAuth2Server(), '"status": "401"'),
    ],
    ids=["OAUTHBEARER", "XOAUTH2"],
)
def test_a_refused_token_is_told_why_and_then_fails(
    client: OAuthBearerClient | XOAuth2Client, server: ServerExchange, said: str
) -> None:
    """RFC 7628 §3.2.3, §4.3."""
    _, theirs, _ = talk(client, server, verdict=lambda given: False)

    assert isinstance(theirs, Failed)
    assert client.refusal is not None
    assert said in client.refusal
    event = client.finish()
    assert isinstance(event, Failed)


def test_the_example_of_xoauth2_is_accepted() -> None:
    message = b"user=someuser@example.com\x01auth=Bearer ya29.vF9dft4qmTc2Nvb3Rl\x01\x01"
    server = XOAuth2Server()
    event = server.receive(message)
    assert isinstance(event, CredentialsGiven)
    assert event.act_as == "someuser@example.com"
    assert server.accept() == Succeeded()


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n,,",
        b"n,,\x01\x01",
        b"n,,\x01auth=Basic eA==\x01\x01",
        b"n,,\x01auth=Bearer \x01\x01",
        b"n,,\x01auth=Bearer t\x01",
        b"p=tls-exporter,,\x01auth=Bearer t\x01\x01",
        b"n,,\x01port=999999\x01auth=Bearer t\x01\x01",
        b"n,,\x01auth=Bearer t\x01auth=Bearer u\x01\x01",
    ],
)
def test_a_malformed_message_of_oauthbearer_fails(message: bytes) -> None:
    event = OAuthBearerServer().receive(message)
    assert isinstance(event, Failed)
    assert event.malformed


# ── SCRAM ─────────────────────────────────────────────────────────────────────

Vector = tuple[str, str, str, str, bytes, bytes]
SHA1: Vector = (
    "SCRAM-SHA-1",
    "fyko+d2lbbFgONRv9qkxdawL",
    "3rfcNHYJY1ZVvWVs7j",
    "QSXCR+Q6sek8bf92",
    b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
    b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
)
SHA256: Vector = (
    "SCRAM-SHA-256",
    "rOprNGfwEbeRWgbNEkqO",
    "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
    "W22ZaJ0SNY7soEsUEjb6gQ==",
    (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    ),
    b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
)


@pytest.mark.parametrize("vector", [SHA1, SHA256], ids=["RFC 5802", "RFC 7677"])
def test_the_examples_of_scram_on_both_sides(
    vector: tuple[str, str, str, str, bytes, bytes],
) -> None:
    """RFC 5802 §5, RFC 7677 §3."""
    mechanism, mine, theirs, salt, final, verifier = vector
    client = ScramClient(mechanism, "user", "pencil", mine)
    first = f"n,,n=user,r={mine}".encode()
    server_first = f"r={mine}{theirs},s={salt},i=4096".encode()
    assert client.start() == Respond(first)
    assert client.supply(derived(client.receive(server_first))) == Respond(final)
    assert client.receive(verifier) == Respond(b"")
    assert client.finish() == Succeeded()

    server = ScramServer(mechanism, theirs, SECRET)
    assert server.receive(first) == KeysNeeded("user", mechanism)
    keys = ScramKeys.derive(mechanism, b"pencil", b64decode(salt), 4096)
    assert server.supply(keys) == Challenge(server_first)
    event = server.receive(final)
    assert isinstance(event, CredentialsGiven)
    assert isinstance(event.credentials, ProvenCredentials)
    assert server.accept() == Succeeded(verifier)


def test_sha_512_agrees_with_the_formulas_written_out_again() -> None:
    """No RFC has a vector: RFC 5802 §3 once more, from hashlib and hmac alone."""
    client = ScramClient("SCRAM-SHA-512", "user", "pencil", "abc")
    client.start()
    first = b"r=abcdef,s=" + b64encode(b"0123456789abcdef") + b",i=4096"
    response = client.supply(derived(client.receive(first)))

    salted = hashlib.pbkdf2_hmac("sha512", b"pencil", b"0123456789abcdef", 4096)
    client_key = hmac.new(salted, b"Client Key", hashlib.sha512).digest()
    message = b"n=user,r=abc," + first + b",c=biws,r=abcdef"
    signature = hmac.new(hashlib.sha512(client_key).digest(), message, hashlib.sha512).digest()
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    assert response == Respond(b"c=biws,r=abcdef,p=" + b64encode(proof))
    server_key = hmac.new(salted, b"Server Key", hashlib.sha512).digest()
    proved = b64encode(hmac.new(server_key, message, hashlib.sha512).digest())
    assert client.finish(b"v=" + proved) == Succeeded()


@pytest.mark.parametrize("mechanism", list(HASHES))
def test_scram_with_and_without_binding_succeeds(mechanism: str) -> None:
    """RFC 5802, RFC 9266; ``-PLUS`` names itself in what it proved."""
    bindings = {"tls-exporter": b"x" * 32}
    for plus in (False, True):
        name = mechanism + ("-PLUS" if plus else "")
        client = ScramClient(
            name,
            "us=e,r",
            "pencil",
            "abc",
            act_as="boss",
            binding=("tls-exporter", b"x" * 32) if plus else None,
        )
        server = ScramServer(name, "def", SECRET, bindings=bindings, plus_offered=True)
        mine, theirs, given_ = talk(client, server, KEYS[mechanism])
        assert isinstance(theirs, Succeeded)
        assert mine == Succeeded()
        assert given_ is not None
        assert isinstance(given_.credentials, ProvenCredentials)
        assert (given_.credentials.name, given_.act_as) == ("us=e,r", "boss")
        assert given_.credentials.mechanism == name


def test_a_channel_that_somebody_sits_in_fails() -> None:
    """RFC 5802 §6."""
    client = ScramClient(
        "SCRAM-SHA-256-PLUS", "user", "pencil", "abc", binding=("tls-exporter", b"x" * 32)
    )
    server = ScramServer("SCRAM-SHA-256-PLUS", "def", SECRET, bindings={"tls-exporter": b"y" * 32})
    _, theirs, _ = talk(client, server, KEYS["SCRAM-SHA-256"])
    assert isinstance(theirs, Failed)
    assert theirs.data == b"e=channel-bindings-dont-match"


def test_a_client_that_was_not_shown_plus_is_refused() -> None:
    """RFC 5802 §6: the flag ``y`` against a server that offered ``-PLUS``."""
    client = ScramClient("SCRAM-SHA-256", "user", "pencil", "abc", could_bind=True)
    server = ScramServer(
        "SCRAM-SHA-256", "def", SECRET, bindings={"tls-exporter": b"y"}, plus_offered=True
    )
    _, theirs, _ = talk(client, server, KEYS["SCRAM-SHA-256"])
    assert isinstance(theirs, Failed)
    assert theirs.data == b"e=server-does-support-channel-binding"

    honest = ScramServer("SCRAM-SHA-256", "def", SECRET)
    client = ScramClient("SCRAM-SHA-256", "user", "pencil", "abc", could_bind=True)
    assert talk(client, honest, KEYS["SCRAM-SHA-256"])[0] == Succeeded()


def test_a_user_who_is_not_there_looks_as_one_with_a_wrong_password() -> None:
    """HARDENING core-14: the same salt each time, the same failure to the letter."""
    firsts: list[ServerEvent] = []
    failures: list[ServerEvent] = []
    for keys in (None, None, KEYS["SCRAM-SHA-256"]):
        client = ScramClient("SCRAM-SHA-256", "nobody", "wrong", "abc")
        server = ScramServer("SCRAM-SHA-256", "def", SECRET, iterations=4096)
        first = client.start()
        assert isinstance(first, Respond)
        server.receive(first.data)
        challenge = server.supply(keys)
        assert isinstance(challenge, Challenge)
        firsts.append(challenge)
        final = client.supply(derived(client.receive(challenge.data)))
        assert isinstance(final, Respond)
        failures.append(server.receive(final.data))
    assert firsts[0] == firsts[1]
    assert isinstance(firsts[2], Challenge)
    assert isinstance(firsts[0], Challenge)
    assert len(firsts[0].data) == len(firsts[2].data)
    for event in failures:
        assert isinstance(event, Failed)
        assert event.data == b"e=invalid-proof"


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"r=abcdef,s=MDEyMzQ1Njc=,i=1", "iterations"),
        (b"r=abcdef,s=MDEyMzQ1Njc=,i=4095", "iterations"),
        (b"r=abcdef,s=MDEyMzQ1Njc=,i=2000000000", "iterations"),
        (b"r=abcdef,s=MDEyMzQ1Njc=,i=1000001", "iterations"),
        (b"r=abcdef,s=MDEyMzQ1Njc=,i=99999999999999999999", "iteration count"),
        (b"r=abcdef,s=MDEyMzQ1Njc=,i=-4096", "iteration count"),
        (b"r=xyzdef,s=MDEyMzQ1Njc=,i=4096", "begin with ours"),
        (b"r=abc,s=MDEyMzQ1Njc=,i=4096", "added nothing"),
        (b"r=abcdef,s=!!!,i=4096", "base64"),
        (b"r=abcdef,i=4096", "attributes"),
        (b"m=x,r=abcdef,s=MDEyMzQ1Njc=,i=4096", "extensions"),
        (b"e=unknown-user", "unknown-user"),
        (b"", "attribute"),
        (b"r=abcdef,s=MDEyMzQ1Njc=,i=4096" + b",x=1" * 50, "too many"),
    ],
)
def test_a_server_that_cheats_in_its_first_message_fails(message: bytes, why: str) -> None:
    """HARDENING core-17; RFC 5802 §5.1, RFC 7677 §4."""
    client = ScramClient("SCRAM-SHA-256", "user", "pencil", "abc")
    client.start()
    event = client.receive(message)
    assert isinstance(event, Failed)
    assert why in event.reason


@pytest.mark.parametrize(
    "verifier",
    [None, b"", b"v=", b"v=AAAA", b"v=" + b64encode(bytes(32)), b"e=invalid-proof", b"x=1"],
)
def test_success_without_the_servers_proof_is_none(verifier: bytes | None) -> None:
    """HARDENING core-17: never is a 2xx enough."""
    client = ScramClient("SCRAM-SHA-256", "user", "pencil", "abc")
    client.start()
    client.supply(derived(client.receive(b"r=abcdef,s=MDEyMzQ1Njc=,i=4096")))
    assert isinstance(client.finish(verifier), Failed)


def test_success_before_anything_was_proved_is_none() -> None:
    client = ScramClient("SCRAM-SHA-256", "user", "pencil", "abc")
    client.start()
    assert isinstance(client.finish(None), Failed)


@pytest.mark.parametrize(
    "final",
    [
        b"",
        b"c=biws,r=abcdef",
        b"c=biws,r=abcdef,p=!!",
        b"c=biws,r=abcdef,p=AAAA",
        b"c=biws,r=abcxyz,p=" + b64encode(bytes(32)),
        b"c=eSws,r=abcdef,p=" + b64encode(bytes(32)),
        b"r=abcdef,c=biws,p=" + b64encode(bytes(32)),
    ],
)
def test_a_client_that_cheats_in_its_last_message_fails(final: bytes) -> None:
    server = ScramServer("SCRAM-SHA-256", "def", SECRET)
    server.receive(b"n,,n=user,r=abc")
    server.supply(KEYS["SCRAM-SHA-256"])
    assert isinstance(server.receive(final), Failed)


def test_stored_keys_are_written_as_postgresql_does_and_bounded() -> None:
    """RFC 5803 §3."""
    keys = KEYS["SCRAM-SHA-256"]
    assert str(ScramKeys.parse(str(keys))) == str(keys)
    for text in ("", "SCRAM-SHA-256$1:AAAA$AAAA:AAAA", str(keys).replace("4096", "2000000")):
        with pytest.raises(MalformedError):
            ScramKeys.parse(text)


# ── all of them ───────────────────────────────────────────────────────────────

SERVERS: dict[str, Callable[[], ServerExchange]] = {
    "PLAIN": PlainServer,
    "LOGIN": LoginServer,
    "CRAM-MD5": lambda: CramMD5Server("n", "h"),
    "EXTERNAL": lambda: ExternalServer(CertificateCredentials(b"")),
    "ANONYMOUS": AnonymousServer,
    "OAUTHBEARER": OAuthBearerServer,
    "XOAUTH2": XOAuth2Server,
    "SCRAM-SHA-256": lambda: ScramServer("SCRAM-SHA-256", "def", SECRET),
    "SCRAM-SHA-256-PLUS": lambda: ScramServer(
        "SCRAM-SHA-256-PLUS", "def", SECRET, bindings={"tls-exporter": b"x"}
    ),
}
MESSAGES = st.one_of(
    st.none(),
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"\0tim\0pass",
            b"n,,n=user,r=abc",
            b"c=biws,r=abcdef,p=AAAA",
            BEARER,
            b"p=tls-exporter,,n=u,r=a",
        ]
    ),
)


@given(st.sampled_from(list(SERVERS)), st.lists(MESSAGES, max_size=5), st.booleans())
def test_no_octets_make_a_server_raise(name: str, messages: list[bytes | None], good: bool) -> None:
    server = SERVERS[name]()
    for message in messages:
        event = server.receive(message)
        if isinstance(event, KeysNeeded):
            event = server.supply(KEYS["SCRAM-SHA-256"] if good else None)
        elif isinstance(event, SecretNeeded):
            event = server.supply("pencil" if good else None)
        if isinstance(event, CredentialsGiven):
            event = server.accept() if good else server.reject("no")
        if not isinstance(event, Challenge):
            assert isinstance(event, Succeeded | Failed)
            with pytest.raises(UsageError):
                server.receive(b"more")
            return


CLIENTS: dict[str, Callable[[], ClientExchange]] = {
    "PLAIN": lambda: PlainClient("u", "p"),
    "LOGIN": lambda: LoginClient("u", "p"),
    "CRAM-MD5": lambda: CramMD5Client("u", "p"),
    "EXTERNAL": ExternalClient,
    "ANONYMOUS": AnonymousClient,
    "OAUTHBEARER": lambda: OAuthBearerClient("t"),
    "XOAUTH2": lambda: XOAuth2Client("t", "u"),
    "SCRAM-SHA-256": lambda: ScramClient("SCRAM-SHA-256", "user", "pencil", "abc"),
}


@given(
    st.sampled_from(list(CLIENTS)),
    st.lists(
        st.binary(max_size=60) | st.sampled_from([b"r=abcdef,s=MDEyMzQ1Njc=,i=4096", b"v=AAAA"]),
        max_size=4,
    ),
)
def test_no_octets_make_a_client_raise(name: str, challenges: list[bytes]) -> None:
    client = CLIENTS[name]()
    event = client.start()
    for challenge in challenges:
        event = client.receive(challenge)
        if isinstance(event, SaltedPasswordNeeded):
            event = client.supply(b"x" * 32)
        if isinstance(event, Failed):
            return
    if client.mutual:
        assert isinstance(client.finish(b"v=AAAA"), Failed)


WORDS = st.text(
    st.characters(exclude_categories=("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")),
    min_size=1,
    max_size=30,
)


@settings(max_examples=40, deadline=None)
@given(WORDS, WORDS)
def test_whatever_can_be_a_name_and_a_password_logs_in(name: str, password: str) -> None:
    """Client and server agree on all that SASLprep lets pass, by PLAIN and by SCRAM."""
    try:
        prepared_name, prepared = prepare_name(name), prepare_password(password)
        name.encode()
    except (MalformedError, UnicodeEncodeError):
        assume(False)
        return
    keys = ScramKeys.derive("SCRAM-SHA-1", prepared, b"0123456789abcdef", 4096)
    mine, _, given_ = talk(
        ScramClient("SCRAM-SHA-1", name, password, "abc"),
        ScramServer("SCRAM-SHA-1", "def", SECRET),
        keys,
    )
    assert mine == Succeeded()
    assert given_ is not None
    assert given_.credentials.name == prepared_name
    _, theirs, given_ = talk(PlainClient(name, password), PlainServer())
    assert theirs == Succeeded()
    assert given_ is not None
    assert isinstance(given_.credentials, PasswordCredentials)
    assert prepare_password(given_.credentials.password) == prepared


def test_an_abort_ends_the_exchange() -> None:
    server = LoginServer()
    server.receive(None)
    event = server.receive(None)
    assert isinstance(event, Failed)
    assert event.aborted


def test_a_message_beyond_the_limit_fails_unread() -> None:
    for make in SERVERS.values():
        server = make()
        if not server.client_first:
            server.receive(None)
        event = server.receive(b"n,," + b"x" * 12_300)
        assert isinstance(event, Failed)
        assert event.malformed
