"""Basic, Digest and bearer tokens: who is let through, who is not, and how often it is tried."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core.address import InternetAddress
from sennit.core.auth.checkers import CallableChecker, MemoryUsers, TokenChecker
from sennit.core.auth.credentials import TokenCredentials
from sennit.core.auth.limits import LoginLimits
from sennit.core.auth.portal import Portal, Realm
from sennit.core.deferred import Deferred
from sennit.core.errors import LoginDenied, LoginUnavailableError
from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.web import HTTPServer, Request, Response, WebUsageError, http_server, text
from sennit.web.auth import parse_parameters, require_login

PASSWORDS = {"ann": "secret", "zoë": "größe"}
PEER = InternetAddress("192.0.2.1", 5000)
LOCAL = InternetAddress("192.0.2.2", 80)


@pytest.fixture
def clock() -> Iterator[Clock]:
    with Clock(1000.0) as found:
        yield found


def who(request: Request) -> Response:
    return text(f"{request.user} {request.state.get('avatar')}")


class Client:
    """One connection of a client."""

    def __init__(self, clock: Clock, server: HTTPServer, peer: Any = PEER) -> None:
        self.clock = clock
        self.server = server
        server.clock = clock
        self.peer = peer
        self.open()

    def open(self) -> None:
        """Connect anew."""
        protocol = self.server.build_protocol(None)
        self.transport = RecordingTransport(protocol, peer=self.peer, local=LOCAL)

    def begin(self, authorization: str | None = None, path: str = "/") -> None:
        field = "" if authorization is None else f"Authorization: {authorization}\r\n"
        request = f"GET {path} HTTP/1.1\r\nHost: a\r\n{field}\r\n".encode()
        self.clock.call_soon(self.transport.receive, request)
        self.clock.pump()

    def end(self) -> tuple[int, dict[str, str], str]:
        head, _, body = self.transport.take().decode().partition("\r\n\r\n")
        if not head:
            return 0, {}, ""
        first, *lines = head.split("\r\n")
        return int(first.split()[1]), dict(each.split(": ", 1) for each in lines), body

    def get(self, authorization: str | None = None, path: str = "/") -> tuple[int, str]:
        self.begin(authorization, path)
        self.clock.advance(1.5)
        status, headers, body = self.end()
        return status, headers.get("www-authenticate", body)


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def served(clock: Clock, scheme: Any = "basic", **options: Any) -> HTTPServer:
    portal = options.pop("portal", None) or Portal(None, [MemoryUsers(PASSWORDS)])
    options.setdefault("limits", LoginLimits(clock=clock))
    options.setdefault("wall_clock", clock.time)
    options.setdefault("allow_plaintext", True)
    return http_server(require_login(portal, scheme, realm="the shop", **options)(who))


# ── Basic ─────────────────────────────────────────────────────────────────────


def test_who_shows_nothing_is_asked(clock: Clock) -> None:
    client = Client(clock, served(clock))
    assert client.get() == (401, 'Basic realm="the shop", charset="UTF-8"')
    assert client.get("Bearer abc")[0] == 401


def test_who_shows_a_good_password_is_let_through(clock: Clock) -> None:
    client = Client(clock, served(clock))
    assert client.get(basic("ann", "secret")) == (200, "ann None")
    assert client.get(basic("zoë", "größe")) == (200, "zoë None")
    assert client.get(basic("ann", "secret").replace("Basic", "bASIC")) == (200, "ann None")


def test_an_unknown_name_and_a_wrong_password_get_the_same_answer_a_second_later(
    clock: Clock,
) -> None:
    """HARDENING, defaults 13."""
    answers: list[tuple[int, dict[str, str], str]] = []
    for name in ("ann", "nobody"):
        client = Client(clock, served(clock))
        client.begin(basic(name, "guess"))
        clock.advance(0.9)
        assert client.end()[0] == 0
        clock.advance(0.2)
        status, headers, body = client.end()
        headers.pop("date", None)
        answers.append((status, headers, body))
    assert answers[0] == answers[1]
    assert answers[0][0] == 401


@pytest.mark.parametrize(
    "shown",
    [
        "Basic",
        "Basic !!!!",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b"\xff:\xff").decode(),
        "Basic " + base64.b64encode(b"a\0b:c").decode(),
        basic("", ""),
        basic("ann", "x" * 2000),
        basic("n" * 300, "x"),
    ],
)
def test_malformed_credentials_are_a_try_like_others(clock: Clock, shown: str) -> None:
    client = Client(clock, served(clock))
    client.begin(shown)
    assert client.end()[0] == 0
    clock.advance(1.5)
    assert client.end()[0] == 401


def test_nobody_is_heard_a_fourth_time_on_a_connection(clock: Clock) -> None:
    """HARDENING, defaults 13: three tries."""
    client = Client(clock, served(clock))
    for _ in range(3):
        assert client.get(basic("ann", "guess"))[0] == 401
    client.begin(basic("ann", "secret"))
    status, headers, _ = client.end()
    assert (status, headers["connection"]) == (429, "close")
    client.open()
    assert client.get(basic("ann", "secret"))[0] == 200


def test_an_address_that_fails_again_and_again_is_not_heard_for_a_while(clock: Clock) -> None:
    limits = LoginLimits(clock=clock, per_address=5)
    client = Client(clock, served(clock, limits=limits))
    for _ in range(5):
        client.open()
        client.get(basic("ann", "guess"))
    client.open()
    assert client.get(basic("ann", "secret"))[0] == 429
    other = Client(clock, client.server, InternetAddress("198.51.100.1", 1))
    assert other.get(basic("ann", "secret"))[0] == 200


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
def test_secrets_are_not_asked_for_in_clear(clock: Clock, scheme: str) -> None:
    """HARDENING, defaults 13: no credentials in clear unless switched on by name."""
    client = Client(clock, served(clock, scheme, allow_plaintext=False))
    assert client.get()[0] == 403
    assert client.get(basic("ann", "secret"))[0] == 403


def test_the_realm_of_the_portal_gives_an_avatar_and_hears_of_its_end(clock: Clock) -> None:
    gone: list[str] = []
    realm = Realm()

    @realm.provides(str, logout=gone.append)
    def things_of(name: str) -> str:
        return f"<{name}'s things>"

    portal = Portal(realm, [MemoryUsers(PASSWORDS)])
    client = Client(clock, served(clock, portal=portal, interface=str))
    assert client.get(basic("ann", "secret")) == (200, "ann <ann's things>")
    assert gone == ["<ann's things>"]


def test_a_checker_that_cannot_be_asked_is_503(clock: Clock) -> None:
    def away(credentials: object) -> str:
        raise LoginUnavailableError("away")

    portal = Portal(None, [CallableChecker(away)])
    assert Client(clock, served(clock, portal=portal)).get(basic("ann", "x"))[0] == 503


def test_behind_a_proxy_each_client_is_counted_by_itself(clock: Clock) -> None:
    """One connection of a trusted proxy has the requests of many."""
    server = served(clock)

    def believing(request: Request) -> Any:
        request.came_from(InternetAddress(request.header("x-for") or "", 1))
        return guarded(request)

    guarded, server.handler = server.handler, believing
    client = Client(clock, server)

    def get(name: str, host: str) -> int:
        octets = (
            f"GET / HTTP/1.1\r\nHost: a\r\nX-For: {host}\r\n"
            f"Authorization: {basic('ann', name)}\r\n\r\n"
        )
        clock.call_soon(client.transport.receive, octets.encode())
        clock.advance(1.5)
        return client.end()[0]

    assert [get("guess", "198.51.100.1") for _ in range(31)] == [401] * 30 + [429]
    assert get("secret", "198.51.100.1") == 429
    assert get("secret", "198.51.100.2") == 200


# ── bearer tokens ─────────────────────────────────────────────────────────────


def test_a_token_is_validated_by_the_portal(clock: Clock) -> None:
    def validate(shown: TokenCredentials) -> str | None:
        return "ann" if shown.token == "good.token==" else None

    portal = Portal(None, [TokenChecker(validate)])
    client = Client(clock, served(clock, "bearer", portal=portal))
    assert client.get() == (401, 'Bearer realm="the shop"')
    assert client.get("Bearer good.token==") == (200, "ann None")
    assert client.get("Bearer bad")[0] == 401
    assert client.get("Bearer two words")[0] == 401


# ── Digest ────────────────────────────────────────────────────────────────────


def sha256(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def digest(challenge: str, name: str, password: str, count: int = 1, **changed: str) -> str:
    """What a client answers (RFC 7616 §3.4), written from the RFC."""
    asked = parse_parameters(challenge.partition(" ")[2])
    assert asked is not None
    uri = changed.pop("uri", "/")
    middle = f"{asked['nonce']}:{count:08x}:c:auth"
    first = sha256(f"{name}:{asked['realm']}:{password}")
    fields = {
        "username": name,
        "realm": asked["realm"],
        "nonce": asked["nonce"],
        "uri": uri,
        "algorithm": "SHA-256",
        "qop": "auth",
        "nc": f"{count:08x}",
        "cnonce": "c",
        "response": sha256(f"{first}:{middle}:{sha256('GET:' + uri)}"),
        **changed,
    }
    shown = ", ".join(
        f"{each}={value}" if each in ("nc", "qop", "algorithm") else f'{each}="{value}"'
        for each, value in fields.items()
    )
    return f"Digest {shown}"


def challenge_of(client: Client) -> str:
    status, challenge = client.get()
    assert status == 401
    return challenge


def test_a_digest_is_good_once_per_count(clock: Clock) -> None:
    client = Client(clock, served(clock, "digest", allow_plaintext=False))
    challenge = challenge_of(client)
    assert challenge.startswith('Digest realm="the shop", qop="auth", algorithm=SHA-256, nonce="')
    assert "stale" not in challenge
    shown = digest(challenge, "ann", "secret")
    assert client.get(shown) == (200, "ann None")
    assert client.get(digest(challenge, "ann", "secret", 2)) == (200, "ann None")
    status, again = client.get(shown)
    assert status == 401
    assert again.endswith("stale=true")


def test_a_digest_of_an_umlaut_is_utf8(clock: Clock) -> None:
    client = Client(clock, served(clock, "digest"))
    shown = digest(challenge_of(client), "zoë", "größe")
    assert client.get(shown.encode().decode("utf-8"))[0] == 200


def test_counts_may_overtake_each_other_within_a_window(clock: Clock) -> None:
    client = Client(clock, served(clock, "digest"))
    challenge = challenge_of(client)

    def at(count: int) -> int:
        return client.get(digest(challenge, "ann", "secret", count))[0]

    assert [at(count) for count in (5, 3, 4, 100, 60)] == [200] * 5
    assert [at(count) for count in (3, 100, 60, 10, 0)] == [401] * 5
    assert at(61) == 200


def test_a_nonce_is_good_for_some_minutes(clock: Clock) -> None:
    client = Client(clock, served(clock, "digest"))
    challenge = challenge_of(client)
    client.transport.take()
    clock.advance(301)
    client.open()
    status, again = client.get(digest(challenge, "ann", "secret"))
    assert status == 401
    assert "stale=true" in again
    assert client.get(digest(again, "ann", "secret"))[0] == 200


def test_a_nonce_that_was_not_made_here_is_stale(clock: Clock) -> None:
    challenge = challenge_of(Client(clock, served(clock, "digest")))
    client = Client(clock, served(clock, "digest"))
    assert "stale=true" in client.get(digest(challenge, "ann", "secret"))[1]
    shared = "k" * 32
    challenge = challenge_of(Client(clock, served(clock, "digest", key=shared)))
    client = Client(clock, served(clock, "digest", key=shared))
    assert client.get(digest(challenge, "ann", "secret"))[0] == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"response": "0" * 64},
        {"response": ""},
        {"uri": "/other"},
        {"realm": "other"},
        {"algorithm": "MD5"},
        {"qop": "auth-int"},
        {"nc": "1"},
        {"cnonce": ""},
        {"username": "nobody"},
        {"username": ""},
        {"nonce": "x"},
    ],
)
def test_a_digest_that_is_not_to_the_letter_is_refused(clock: Clock, changed: Any) -> None:
    client = Client(clock, served(clock, "digest"))
    shown = digest(challenge_of(client), "ann", "secret", **changed)
    status, again = client.get(shown)
    assert status == 401
    assert "stale" not in again
    for missing in ("Digest", "Digest x", 'Digest username="ann"', 'Digest a="b", a="c"'):
        client.open()
        assert client.get(missing)[0] == 401


def test_digests_may_come_from_elsewhere(clock: Clock) -> None:
    async def stored(name: str, realm: str) -> str | None:
        return sha256(f"{name}:{realm}:secret") if name == "ann" else None

    client = Client(clock, served(clock, "digest", portal=Portal(), digests=stored))
    assert client.get(digest(challenge_of(client), "ann", "secret"))[0] == 200
    assert client.get(digest(challenge_of(client), "bob", "secret"))[0] == 401


# ── what is refused when it is made ───────────────────────────────────────────


def test_a_realm_is_printable_and_a_scheme_known(clock: Clock) -> None:
    for realm in ('a"b', "a\r\nX: y", "é"):
        with pytest.raises(WebUsageError):
            require_login(Portal(), realm=realm)
    with pytest.raises(WebUsageError):
        require_login(Portal(), "ntlm")  # type: ignore[arg-type]  # that is the point


@given(st.text(max_size=200))
def test_no_field_makes_the_reader_raise(value: str) -> None:
    parse_parameters(value)


def test_the_reader_costs_linear_time() -> None:
    begun = time.process_time()
    for value in ('a="' + "\\" * 16000, "a=b," * 4000 + "x", " " * 16000, "a" * 16000, "a=" * 8000):
        parse_parameters(value)
    assert time.process_time() - begun < 1


def test_counts_that_were_forgotten_cannot_be_used_again(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sennit.web.auth.MAX_NONCES", 2)
    client = Client(clock, served(clock, "digest"))
    challenges = [challenge_of(client) for _ in range(4)]
    first = digest(challenges[0], "ann", "secret")
    assert client.get(first)[0] == 200
    for challenge in challenges[1:3]:
        assert client.get(digest(challenge, "ann", "secret"))[0] == 200
    # The first was forgotten, and with it all nonces of its time.
    assert "stale=true" in client.get(first)[1]
    fresh = challenge_of(client)
    assert client.get(digest(fresh, "ann", "secret"))[0] == 200


def test_a_count_far_ahead_costs_no_memory(clock: Clock) -> None:
    """Counts have 32 bits; so many bits of those before it are 512 MiB."""
    import tracemalloc

    client = Client(clock, served(clock, "digest"))
    challenge = challenge_of(client)
    assert client.get(digest(challenge, "ann", "secret"))[0] == 200
    shown = digest(challenge, "ann", "secret", 0xFFFFFFFF)
    tracemalloc.start()
    try:
        assert client.get(shown)[0] == 200
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()
    assert client.get(shown)[0] == 401


def test_streams_at_a_time_are_no_way_to_more_tries(clock: Clock) -> None:
    """HARDENING, defaults 13: also where all of them are asked before the first has failed."""
    pytest.importorskip("h2")
    from hpack import Encoder

    from packages.web.tests.http2_frames import BEGIN, GET, frame
    from sennit.web.http2 import framing

    asked: list[Deferred[str]] = []

    def slow(credentials: object) -> Deferred[str]:
        asked.append(Deferred())
        return asked[-1]

    server = served(clock, portal=Portal(None, [CallableChecker(slow)]))
    client = Client(clock, server)
    encoder = Encoder()
    fields = [*GET, (b"authorization", basic("ann", "guess").encode())]
    flags = framing.END_HEADERS | framing.END_STREAM
    octets = BEGIN + b"".join(
        frame(framing.HEADERS, flags, stream, bytes(encoder.encode(fields)))
        for stream in range(1, 21, 2)
    )
    clock.call_soon(client.transport.receive, octets)
    clock.pump()
    for count in range(1, 4):
        assert len(asked) == count
        clock.call_soon(asked[-1].errback, LoginDenied("no"))
        clock.pump()
    clock.advance(2)
    assert len(asked) == 3
