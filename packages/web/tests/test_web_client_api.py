"""The client that programs use, on a pool that answers from a table and a clock turned by hand."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest

from packages.web.tests.client_stub import BASE, Answer, StubPool, client, echo, timed
from sennit.core.errors import ConnectError, ConnectionLost
from sennit.web.client.api import Client
from sennit.web.client.auth import BasicAuth, BearerAuth, DigestAuth
from sennit.web.client.cookies import CookieJar
from sennit.web.client.limits import ClientTimeouts
from sennit.web.client.redirects import RedirectError, TooManyRedirectsError
from sennit.web.client.retries import Retries
from sennit.web.client.urls import URL
from sennit.web.decoding import CodingBrokenError
from sennit.web.errors import CutShortError, RequestTimeoutError, UnansweredError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sennit.core.testing.clock import Clock
    from sennit.web.client.messages import OutgoingRequest
    from sennit.web.client.progress import Progress
    from sennit.web.client.response import ClientResponse

MIB = 1024 * 1024


# ── requests ──────────────────────────────────────────────────────────────────


async def test_a_request_says_who_asks_and_what_it_can_read() -> None:
    pool = StubPool(echo)
    async with client(pool, headers={"X-Own": "1", "User-Agent": "me"}) as c:
        response = await c.get("a", params={"q": "x y"}, headers={"x-own": "2", "Accept": None})
    assert pool.lines == ["GET http://example.com/a?q=x%20y"]
    assert pool.sent[0].request.headers == [
        (b"accept-encoding", b"zstd, br, gzip, deflate"),
        (b"user-agent", b"me"),
        (b"x-own", b"2"),
    ]
    assert (response.status, response.reason, response.version) == (200, "Why", "1.1")
    assert (response.ok, response.content, str(response.url)) == (
        True,
        b"",
        "http://example.com/a?q=x%20y",
    )


async def test_every_method_has_its_verb() -> None:
    pool = StubPool(echo)
    async with client(pool) as c:
        for verb in (c.get, c.head, c.post, c.put, c.patch, c.delete, c.options):
            await verb("x")
    assert [each.split()[0] for each in pool.lines] == [
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
    ]


async def test_relative_urls_stand_below_the_base_as_links_do() -> None:
    c = Client("http://example.com/v1", params={"key": "1"}, pool=StubPool(echo))
    assert str(c.url("people")) == "http://example.com/v1/people?key=1"
    assert str(c.url("people?a=b", {"c": "d"})) == "http://example.com/v1/people?a=b&key=1&c=d"
    assert str(c.url("/top")) == "http://example.com/top?key=1"
    assert str(c.url("https://other.example/")) == "https://other.example/?key=1"
    with pytest.raises(ValueError, match="absolute"):
        Client(pool=StubPool(echo)).url("people")


async def test_content_is_sent_in_every_form(tmp_path: Path) -> None:
    path = tmp_path / "up.json"
    path.write_bytes(b"[1]")

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    pool = StubPool(echo)
    async with client(pool) as c:
        for given in (b"x", "ü", path, pieces()):
            await c.post("", content=given)
        await c.post("", json={"a": None})
        await c.post("", json=None)
        await c.post("", data={"a": "b"})
        await c.post("", data={"a": "b"}, files={"f": path})
        await c.post("", content=b"x", headers={"Content-Type": "own/type"})
    assert [each.body for each in pool.sent[:7]] == [
        b"x",
        "ü".encode(),
        b"[1]",
        b"onetwo",
        b'{"a":null}',
        b"null",
        b"a=b",
    ]
    assert [each["content-type"] for each in pool.sent[:7]] == [
        None,
        "text/plain; charset=utf-8",
        "application/json",
        None,
        "application/json",
        "application/json",
        "application/x-www-form-urlencoded",
    ]
    assert (pool.sent[7]["content-type"] or "").startswith("multipart/form-data; boundary=")
    assert pool.sent[7].request.length == len(pool.sent[7].body)
    assert pool.sent[8]["content-type"] == "own/type"


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"X": "a\r\nY: b"}},
        {"headers": {"X\r\nY": "b"}},
        {"headers": {"X": "a\0"}},
        {"headers": {"X Y": "a"}},
        {"headers": {"X": "☃"}},
        {"cookies": {"a": "b\r\nX: y"}},
        {"cookies": {"a;b": "c"}},
        {"content": b"x", "json": 1},
        {"data": "text"},
        {"files": {"a\r\nb": b"x"}},
        {"auth": ("a:b", "c")},
        {"timeout": -1},
    ],
)
async def test_what_cannot_be_sent_is_refused_and_nothing_is_sent(options: Any) -> None:
    """HARDENING h1-25."""
    pool = StubPool(echo)
    async with client(pool) as c:
        with pytest.raises(ValueError, match=r".+"):
            await c.get("", **options)
        for method, url in (("GE T", ""), ("GET\r\nX: y", ""), ("GET", "a\r\nb"), ("GET", "a b")):
            with pytest.raises(ValueError, match=r".+"):
                await c.request(method, url)
    assert pool.sent == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"header": {"X-A": "1"}}, "no option header"),
        ({"params": "a=1"}, "pairs of name and value"),
        ({"auth": "me:pw"}, "(name, password)"),
    ],
)
async def test_what_was_meant_otherwise_is_told(options: Any, words: str) -> None:
    """An option that is misspelt is not left aside without a word."""
    pool = StubPool(echo)
    async with client(pool) as c:
        with pytest.raises(TypeError, match=re.escape(words)) as caught:
            await c.get("", **options)
    assert "me:pw" not in str(caught.value)
    assert not pool.sent


async def test_a_closed_client_says_so() -> None:
    c = client(StubPool(echo))
    await c.aclose()
    with pytest.raises(ValueError, match="closed"):
        await c.get("")


# ── redirects ─────────────────────────────────────────────────────────────────


async def test_redirects_are_followed_and_remembered() -> None:
    pool = StubPool(
        [Answer(302, b"moved", location="/b"), Answer(301, location="c"), Answer(200, b"!")]
    )
    async with client(pool) as c:
        response = await c.get("a")
    assert pool.lines == [f"GET {BASE}a", f"GET {BASE}b", f"GET {BASE}c"]
    assert (response.content, str(response.url)) == (b"!", f"{BASE}c")
    assert [(each.status, str(each.url)) for each in response.history] == [
        (302, f"{BASE}a"),
        (301, f"{BASE}b"),
    ]


async def test_redirects_in_a_circle_end() -> None:
    """HARDENING h1-23: 50 hops."""
    pool = StubPool(lambda sent: Answer(302, location="/again"))
    async with client(pool) as c:
        with pytest.raises(TooManyRedirectsError, match="more than 10"):
            await c.get("")
        assert len(pool.sent) == 11
        assert (await c.get("", follow_redirects=False)).status == 302
    async with client(pool, follow_redirects=False) as c:
        assert (await c.get("")).status == 302
    async with client(pool, max_redirects=2) as c:
        with pytest.raises(TooManyRedirectsError):
            await c.get("")


async def test_a_redirect_without_location_is_an_answer() -> None:
    async with client(StubPool([Answer(302), Answer(304), Answer(300, location="/x")])) as c:
        assert [(await c.get("")).status for _ in range(3)] == [302, 304, 300]


@pytest.mark.parametrize(
    "location",
    ["http://evil.example/", "https://example.com/", "http://example.com:81/", "//www.example.com"],
)
async def test_secrets_do_not_leave_their_origin(location: str) -> None:
    """HARDENING h1-23: whichever way they were given."""
    pool = StubPool([Answer(302, location=location, set_cookie="jar=1"), Answer(200)])
    async with client(pool, auth=("me", "pw"), headers={"Proxy-Authorization": "Basic x"}) as c:
        await c.get("", cookies={"own": "1"}, headers={"X-Own": "1"})
    first, second = pool.sent
    assert first["authorization"] is not None
    assert first["cookie"] == "own=1"
    assert first["proxy-authorization"] is not None
    for name in ("authorization", "proxy-authorization"):
        assert second[name] is None
    # A cookie of the jar goes where cookies go: to the host, whatever its port and scheme.
    assert second["cookie"] == (
        None if "example.com" not in location or "www" in location else "jar=1"
    )
    assert second["x-own"] == "1"


async def test_secrets_in_headers_do_not_leave_their_origin_either() -> None:
    pool = StubPool([Answer(302, location="http://evil.example/"), Answer(), Answer()])
    async with client(pool, headers={"Authorization": "Bearer x", "Cookie": "a=b"}) as c:
        await c.get("")
        await c.get("http://evil.example/")
    assert pool.sent[0]["authorization"] == "Bearer x"
    for sent in pool.sent[1:]:
        assert (sent["authorization"], sent["cookie"]) == (None, None)


async def test_within_an_origin_the_login_goes_along() -> None:
    pool = StubPool([Answer(302, location="/b"), Answer()])
    async with Client(pool=pool) as c:
        await c.get("http://me:pw@example.com/a", cookies={"own": "1"})
    assert pool.sent[1]["authorization"] == pool.sent[0]["authorization"] != None  # noqa: E711 - three
    assert pool.sent[1]["cookie"] == "own=1"


@pytest.mark.parametrize("location", ["file:///etc/passwd", "/a\rX: y", "ftp://x/"])
async def test_a_redirect_that_is_not_for_us_is_an_error(location: str) -> None:
    """HARDENING h1-23."""
    pool = StubPool([Answer(302, location=location)])
    async with client(pool) as c:
        with pytest.raises(RedirectError):
            await c.get("")
    assert len(pool.sent) == 1


async def test_content_is_sent_again_where_it_can_be_had_again(tmp_path: Path) -> None:
    path = tmp_path / "up"
    path.write_bytes(b"content")

    async def once() -> AsyncIterator[bytes]:
        yield b"content"

    pool = StubPool([Answer(307, location="/b"), Answer(), Answer(303, location="/c"), Answer()])
    async with client(pool) as c:
        await c.put("a", content=path)
        await c.put("a", content=path)
    assert [each.body for each in pool.sent] == [b"content", b"content", b"content", b""]
    assert [each["content-type"] for each in pool.sent][2:] == ["application/octet-stream", None]
    pool = StubPool([Answer(307, location="/b"), Answer(303, location="/c"), Answer()])
    async with client(pool) as c:
        with pytest.raises(RedirectError, match="only once"):
            await c.put("a", content=once())
        assert (await c.post("a", content=once())).ok


# ── cookies ───────────────────────────────────────────────────────────────────


async def test_cookies_are_kept_and_sent_back() -> None:
    pool = StubPool(
        [Answer(302, location="/b", set_cookie=["a=1", "s=2; Secure"]), Answer(), Answer()]
    )
    async with client(pool, cookies={"named": "0"}) as c:
        await c.get("")
        await c.get("", headers={"Cookie": "mine=1"})
        assert c.cookies is not None
        assert c.cookies.get("a") == "1"
    assert [each["cookie"] for each in pool.sent] == ["named=0", "named=0; a=1", "mine=1"]


async def test_a_jar_is_shared_and_can_be_left_out() -> None:
    jar = CookieJar()
    pool = StubPool(lambda sent: Answer(set_cookie="a=1"))
    async with client(pool, cookies=jar) as c:
        await c.get("")
    async with client(pool, cookies=jar) as c:
        await c.get("")
    async with client(pool, cookies=False) as c:
        await c.get("")
        await c.get("")
    assert [each["cookie"] for each in pool.sent] == [None, "a=1", None, None]
    with pytest.raises(ValueError, match="base_url"):
        Client(cookies={"a": "b"}, pool=pool)


# ── logins ────────────────────────────────────────────────────────────────────

_DIGEST = 'Digest realm="r", qop="auth", algorithm=SHA-256, nonce="{}"'


async def test_a_challenge_is_answered_once() -> None:
    pool = StubPool(
        [
            Answer(401, www_authenticate=_DIGEST.format("n1")),
            Answer(200, b"in"),
            Answer(200, b"in"),
            Answer(401, www_authenticate=_DIGEST.format("n2") + ", stale=true"),
            Answer(200, b"in"),
            Answer(401, www_authenticate=_DIGEST.format("n3")),
            Answer(401, www_authenticate=_DIGEST.format("n4")),
        ]
    )
    async with client(pool, auth=DigestAuth("me", "pw")) as c:
        assert [(await c.post("", content=b"x")).status for _ in range(4)] == [200, 200, 200, 401]
    values = [each["authorization"] or "" for each in pool.sent]
    assert [("n1" in each, "n2" in each, "n3" in each) for each in values] == [
        (False, False, False),
        (True, False, False),
        (True, False, False),
        (True, False, False),
        (False, True, False),
        (False, True, False),
        (False, False, True),
    ]
    assert all(each.body == b"x" for each in pool.sent)


async def test_a_challenge_to_content_that_is_gone_is_the_answer() -> None:
    async def once() -> AsyncIterator[bytes]:
        yield b"content"

    pool = StubPool([Answer(401, www_authenticate=_DIGEST.format("n"))])
    async with client(pool, auth=DigestAuth("me", "pw")) as c:
        assert (await c.put("", content=once())).status == 401


async def test_a_login_of_the_call_or_the_url_goes_before_the_clients() -> None:
    pool = StubPool(echo)
    async with client(pool, auth=BearerAuth("client")) as c:
        await c.get("")
        await c.get("", auth=("a", "b"))
        await c.get("", auth=None)
        await c.get("http://u:p@example.com/")
        await c.get("http://other.example/")
        await c.get("", headers={"Authorization": "Own x"})
    assert [each["authorization"] for each in pool.sent] == [
        "Bearer client",
        "Basic YTpi",
        None,
        "Basic dTpw",
        None,
        "Own x",
    ]


async def test_a_netrc_is_asked_when_told_to(tmp_path: Path) -> None:
    file = tmp_path / "netrc"
    file.write_text("machine example.com login me password pw\n")
    pool = StubPool(echo)
    async with client(pool, netrc=file) as c:
        await c.get("")
        await c.get("http://other.example/")
    assert [each["authorization"] for each in pool.sent] == ["Basic bWU6cHc=", None]


# ── retries and time ──────────────────────────────────────────────────────────


def test_failures_are_tried_again_after_a_while(clock: Clock) -> None:
    pool = StubPool(
        [
            ConnectError("refused"),
            Answer(503, retry_after="5"),
            ConnectionLost("reset"),
            Answer(200, b"!"),
        ]
    )

    async def main() -> None:
        async with client(pool, retries=Retries(3, draw=lambda: 0.5)) as c:
            response = await c.get("")
            assert response.content == b"!"
            assert response.elapsed == pytest.approx(0.25 + 5.25 + 1.0)

    assert timed(clock, main) == pytest.approx(6.5)
    assert len(pool.sent) == 4


def test_content_that_is_cut_off_is_asked_for_again(clock: Clock) -> None:
    cut = CutShortError("the content was cut short")
    pool = StubPool(
        [
            Answer(200, [b"ha"], end=ConnectionLost("reset")),
            Answer(200, [b"hal"], end=cut),
            Answer(200, b"half no more"),
            Answer(200, b"ha", content_encoding="gzip"),
        ]
    )

    async def main() -> None:
        async with client(pool, retries=Retries(3, draw=lambda: 0.5)) as c:
            assert (await c.get("")).content == b"half no more"
            with pytest.raises(CodingBrokenError):
                await c.get("")

    assert timed(clock, main) == pytest.approx(0.75)


def test_what_may_not_be_repeated_fails_at_once(clock: Clock) -> None:
    pool = StubPool([ConnectionLost("reset"), Answer(503), ConnectionLost("reset")])

    async def once() -> AsyncIterator[bytes]:
        yield b"x"

    async def main() -> None:
        async with client(pool, retries=3) as c:
            with pytest.raises(ConnectionLost):
                await c.post("", content=b"x")
            assert (await c.post("", content=b"x")).status == 503
            with pytest.raises(ConnectionLost):
                await c.put("", content=once())

    assert timed(clock, main) == 0


def test_without_retries_a_failure_is_one(clock: Clock) -> None:
    pool = StubPool([ConnectError("refused"), ConnectError("refused")])

    async def main() -> None:
        async with client(pool) as c:
            with pytest.raises(ConnectError):
                await c.get("")
        async with client(pool, retries=5) as c:
            with pytest.raises(ConnectError):
                await c.get("", retries=None)

    assert timed(clock, main) == 0


def test_one_deadline_holds_for_all_tries(clock: Clock) -> None:
    pool = StubPool(lambda sent: Answer(503, retry_after="4"))

    async def main() -> None:
        async with client(pool, retries=Retries(5, draw=lambda: 0.0), timeout=10) as c:
            assert (await c.get("")).status == 503

    assert timed(clock, main) == 8
    assert [each.request.timeouts.total for each in pool.sent if each.request.timeouts] == [
        10,
        6,
        2,
    ]


def test_a_closed_connection_gives_a_call_no_more_time(clock: Clock) -> None:
    async def hook(_: OutgoingRequest) -> None:
        await asyncio.sleep(1)

    pool = StubPool([UnansweredError("closed"), Answer(200)])

    async def main() -> None:
        async with client(pool, timeout=5, on_request=hook) as c:
            await c.put("", content=[b"a", b"b"])

    timed(clock, main)
    limits = [each.request.timeouts for each in pool.sent]
    assert [each and each.total for each in limits] == [5, 4]


def test_time_that_is_up_before_a_redirect_is_up(clock: Clock) -> None:
    pool = StubPool([Answer(302, location="/b"), Answer()])

    async def slow(_: object) -> None:
        await asyncio.sleep(5)

    async def main() -> None:
        async with client(pool, on_response=slow) as c:
            with pytest.raises(RequestTimeoutError, match="whole answer"):
                await c.get("", timeout=3)

    timed(clock, main)


async def test_time_limits_are_given_to_the_pool() -> None:
    pool = StubPool(echo)
    own = ClientTimeouts(read=1)
    async with client(pool, timeout=ClientTimeouts(read=7)) as c:
        await c.get("")
        await c.get("", timeout=own)
        await c.get("", timeout=9)
        await c.get("", timeout=None)
    found = [
        (each.request.timeouts.read, each.request.timeouts.total)
        for each in pool.sent
        if each.request.timeouts
    ]
    assert found == [(7, None), (1, None), (7, 9), (7, None)]


# ── hooks and progress ────────────────────────────────────────────────────────


async def test_hooks_see_and_change_what_passes() -> None:
    seen: list[str] = []

    async def sign(request: OutgoingRequest) -> None:
        request.headers = [*request.headers, (b"x-signed", b"1")]

    pool = StubPool([Answer(302, location="/b"), Answer()])

    def note_request(request: OutgoingRequest) -> None:
        seen.append(request.method)

    def note_response(response: ClientResponse) -> None:
        seen.append(str(response.status))

    hooks = [sign, note_request]
    async with client(pool, on_request=hooks, on_response=note_response) as c:
        await c.get("")
    assert seen == ["GET", "302", "GET", "200"]
    assert [each["x-signed"] for each in pool.sent] == ["1", "1"]


async def test_a_hook_that_raises_ends_the_call_and_frees_the_connection() -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("no")

    pool = StubPool([Answer(200, [b"x"], end=ConnectionLost())])
    async with client(pool, on_response=refuse) as c:
        with pytest.raises(RuntimeError, match="no"):
            await c.get("")


async def test_progress_of_an_upload_is_told(tmp_path: Path) -> None:
    path = tmp_path / "up"
    path.write_bytes(b"x" * MIB)
    seen: list[tuple[int, int | None, bool]] = []

    def note(progress: Progress) -> None:
        seen.append((progress.done, progress.total, progress.finished))

    pool = StubPool(echo)
    async with client(pool) as c:
        await c.put("", content=path, upload_progress=note)
    assert pool.sent[0].body == b"x" * MIB
    assert seen[-1] == (MIB, MIB, True)


# ── odds and ends ─────────────────────────────────────────────────────────────


def test_what_is_shown_has_no_secrets() -> None:
    pool = StubPool(echo)
    c = Client("http://me:secret@example.com/", auth=BasicAuth("a", "secret"), pool=pool)
    assert "secret" not in repr(c)
    assert repr(Client(pool=pool)) == "<Client>"
    assert "secret" not in repr(c.events("http://a:secret@b/"))


def test_the_environment_names_proxies_only_when_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    from sennit.web.client import proxies

    asked: list[object] = []

    def note(environ: object) -> None:
        asked.append(environ)

    monkeypatch.setattr(proxies, "proxies_from_environment", note)
    Client(pool=StubPool(echo))
    assert asked == []
    Client(pool=StubPool(echo), trust_env=True)
    assert len(asked) == 1


def test_urls_may_be_given_as_they_are() -> None:
    c = Client(pool=StubPool(echo))
    url = URL("http://example.com/x?y")
    assert c.url(url) == url
    assert str(c.url(url, {"a": 1})) == "http://example.com/x?y&a=1"
