"""Sessions: what is remembered, for how long, under which name, and where."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from sennit.core.deferred import Deferred
from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.web import Request, Response, Site, WebUsageError, text
from sennit.web.sessions.interfaces import ISessionStore, Record
from sennit.web.sessions.session import Session
from sennit.web.sessions.signing import Signer
from sennit.web.sessions.stores import MemorySessions, SignedCookies, SQLiteSessions, decoded
from sennit.web.sessions.wrapping import with_sessions

if TYPE_CHECKING:
    from sennit.core import Reactor

KEY = "0123456789abcdef0123456789abcdef"


class Wall:
    """A wall clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Iterator[Clock]:
    with Clock() as found:
        yield found


@pytest.fixture
def wall() -> Wall:
    return Wall()


class Browser:
    """Asks a site, and keeps its cookies."""

    def __init__(self, clock: Clock, site: Site) -> None:
        self.clock = clock
        self.site = site
        self.cookies: dict[str, str] = {}
        self.headers: list[str] = []

    def get(self, path: str) -> str:
        self.site.clock = self.clock
        transport = RecordingTransport(self.site.build_protocol(None))
        jar = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        field = f"Cookie: {jar}\r\n" if jar else ""
        request = f"GET {path} HTTP/1.1\r\nHost: a\r\n{field}\r\n".encode()
        self.clock.call_soon(transport.receive, request)
        self.clock.pump()
        head, _, body = transport.take().decode().partition("\r\n\r\n")
        self.headers = head.split("\r\n")
        for line in self.headers:
            if line.startswith("set-cookie: "):
                for name, morsel in SimpleCookie(line[12:]).items():
                    if morsel["max-age"] == "0":
                        self.cookies.pop(name, None)
                    else:
                        self.cookies[name] = morsel.value
        return body

    @property
    def set(self) -> list[str]:
        """What Set-Cookie said in the last answer."""
        return [each[12:] for each in self.headers if each.startswith("set-cookie: ")]


def shop(store: ISessionStore, wall: Wall, **options: Any) -> Site:
    site = Site(wrappers=[with_sessions(store, wall_clock=wall, **options)])

    @site.route("/put/{what}")
    async def put(request: Request, what: str) -> Response:
        request.session["what"] = what
        return text("put")

    @site.route("/look")
    def look(request: Request) -> Response:
        return text(str(dict(request.session)))

    @site.route("/in/{who}")
    def log_in(request: Request, who: str) -> Response:
        request.session.log_in(who)
        return text("in")

    @site.route("/out")
    def log_out(request: Request) -> Response:
        request.session.log_out()
        return text("out")

    @site.route("/fail")
    def fail(request: Request) -> Response:
        request.session["broken"] = object()
        return text("fail")

    return site


@pytest.fixture(params=["memory", "signed"])
def store(request: pytest.FixtureRequest, wall: Wall) -> ISessionStore:
    if request.param == "memory":
        return MemorySessions(wall_clock=wall)
    return SignedCookies(KEY, wall_clock=wall)


# ── one client ────────────────────────────────────────────────────────────────


def test_what_was_put_in_is_there_with_the_next_request(
    clock: Clock, store: ISessionStore, wall: Wall
) -> None:
    browser = Browser(clock, shop(store, wall))
    assert browser.get("/look") == "{}"
    assert browser.set == []
    assert browser.get("/put/apples") == "put"
    assert browser.get("/look") == "{'what': 'apples'}"
    assert browser.set == []
    other = Browser(clock, browser.site)
    assert other.get("/look") == "{}"


def test_a_cookie_is_as_safe_as_can_be(clock: Clock, wall: Wall) -> None:
    browser = Browser(clock, shop(MemorySessions(wall_clock=wall), wall, secure=True))
    browser.get("/put/x")
    (line,) = browser.set
    name, _, rest = line.partition("=")
    assert name == "__Host-session"
    assert rest.partition(";")[2] == " Path=/; Secure; HttpOnly; SameSite=Lax"
    assert len(rest.partition(";")[0]) >= 43  # 256 bits
    assert "cache-control: no-store" in browser.headers


def test_a_cookie_may_be_kept_and_go_to_a_whole_domain(clock: Clock, wall: Wall) -> None:
    options = {"keep": True, "domain": "example.com", "secure": True, "same_site": "strict"}
    browser = Browser(clock, shop(MemorySessions(wall_clock=wall), wall, **options))
    browser.get("/put/x")
    expected = "Max-Age=1800; Domain=example.com; Path=/; Secure; HttpOnly; SameSite=Strict"
    assert browser.set[0].partition("; ")[2] == expected


def test_a_login_gets_a_new_name_and_the_old_one_leads_nowhere(clock: Clock, wall: Wall) -> None:
    """Whoever planted or saw the name before the login has nothing of it (session fixation)."""
    store = MemorySessions(wall_clock=wall)
    browser = Browser(clock, shop(store, wall))
    browser.get("/put/apples")
    thief = Browser(clock, browser.site)
    thief.cookies = dict(browser.cookies)
    browser.get("/in/ann")
    assert browser.cookies != thief.cookies
    assert browser.get("/look") == "{'what': 'apples', '_user': 'ann'}"
    assert thief.get("/look") == "{}"
    assert thief.cookies == {}
    assert len(store) == 1


def test_a_name_that_a_client_made_up_is_never_taken(
    clock: Clock, store: ISessionStore, wall: Wall
) -> None:
    browser = Browser(clock, shop(store, wall))
    for planted in ("x" * 43, "x" * 9000, "", "a.b.c", "é"):
        browser.cookies = {"session": planted}
        browser.get("/put/apples")
        assert browser.cookies["session"] != planted


def test_a_logout_forgets_all_of_it(clock: Clock, store: ISessionStore, wall: Wall) -> None:
    browser = Browser(clock, shop(store, wall))
    browser.get("/in/ann")
    before = dict(browser.cookies)
    browser.get("/out")
    assert browser.cookies == {}
    assert browser.get("/look") == "{}"
    if isinstance(store, MemorySessions):
        browser.cookies = before
        assert browser.get("/look") == "{}"


# ── time ──────────────────────────────────────────────────────────────────────


def test_a_session_that_nobody_uses_is_over(clock: Clock, store: ISessionStore, wall: Wall) -> None:
    browser = Browser(clock, shop(store, wall, idle=100.0, absolute=1000.0))
    browser.get("/put/x")
    for _ in range(5):
        wall.now += 50
        assert browser.get("/look") == "{'what': 'x'}"
    wall.now += 100
    assert browser.get("/look") == "{}"
    assert browser.cookies == {}


def test_a_session_is_over_at_its_time_however_much_it_is_used(
    clock: Clock, store: ISessionStore, wall: Wall
) -> None:
    browser = Browser(clock, shop(store, wall, idle=100.0, absolute=1000.0))
    browser.get("/put/x")
    for _ in range(19):
        wall.now += 50
        assert browser.get("/look") == "{'what': 'x'}"
    browser.get("/put/y")
    wall.now += 50
    assert browser.get("/look") == "{}"


def test_a_login_begins_the_time_anew(clock: Clock, wall: Wall) -> None:
    store = MemorySessions(wall_clock=wall)
    browser = Browser(clock, shop(store, wall, idle=100.0, absolute=150.0))
    browser.get("/put/x")
    wall.now += 90
    browser.get("/in/ann")
    wall.now += 90
    assert "ann" in browser.get("/look")


def test_what_was_not_changed_is_saved_only_to_say_that_it_is_in_use(
    clock: Clock, wall: Wall
) -> None:
    class Counting(MemorySessions):
        saved = 0

        async def save(self, token: str | None, record: Record, expires: float) -> str | None:
            self.saved += 1
            return await super().save(token, record, expires)

    store = Counting(wall_clock=wall)
    browser = Browser(clock, shop(store, wall, idle=100.0))
    browser.get("/put/x")
    for _ in range(20):
        wall.now += 1
        browser.get("/look")
    assert store.saved == 3


# ── two requests at a time ────────────────────────────────────────────────────


def test_a_session_that_was_ended_does_not_come_back(clock: Clock, wall: Wall) -> None:
    store = MemorySessions(wall_clock=wall)
    site = shop(store, wall)
    waiting: list[Deferred[None]] = []

    @site.route("/slow")
    async def slow(request: Request) -> Response:
        waiting.append(Deferred())
        await waiting[0]
        request.session["late"] = True
        return text("slow")

    browser = Browser(clock, site)
    browser.get("/in/ann")
    site.clock = clock
    transport = RecordingTransport(site.build_protocol(None))
    jar = f"session={browser.cookies['session']}"
    request = f"GET /slow HTTP/1.1\r\nHost: a\r\nCookie: {jar}\r\n\r\n".encode()
    clock.call_soon(transport.receive, request)
    clock.pump()
    browser.get("/out")
    clock.call_soon(waiting[0].callback, None)
    clock.pump()
    assert b"slow" in (answer := transport.take())
    assert b"set-cookie" not in answer
    assert len(store) == 0


# ── faults ────────────────────────────────────────────────────────────────────


@pytest.mark.filterwarnings("ignore")
def test_what_has_no_json_form_is_the_applications_fault(
    clock: Clock, store: ISessionStore, wall: Wall
) -> None:
    browser = Browser(clock, shop(store, wall))
    browser.get("/fail")
    assert browser.headers[0].startswith("HTTP/1.1 500 ")


def test_sessions_are_missed_by_name(clock: Clock) -> None:
    site = Site()

    @site.route("/")
    def root(request: Request) -> Response:
        with pytest.raises(WebUsageError, match="with_sessions"):
            request.session["a"] = 1
        return text("told")

    assert Browser(clock, site).get("/") == "told"


@pytest.mark.parametrize(
    "options", [{"idle": 0.0}, {"idle": 10.0, "absolute": 5.0}, {"cookie": "a b"}, {"path": "x"}]
)
def test_what_does_not_fit_is_refused_when_it_is_made(options: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        with_sessions(MemorySessions(), **options)


def test_a_session_is_a_mapping_of_text() -> None:
    session = Session(None, 1.0)
    with pytest.raises(TypeError):
        session[1] = 2  # type: ignore[index]  # that is the point
    session["secret"] = "do not show"
    assert "do not show" not in repr(session)
    del session["secret"]
    assert len(session) == 0
    session.changed = False
    session.touch()
    assert session.changed


# ── stores ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("made", [MemorySessions(), SignedCookies(KEY), SQLiteSessions(":memory:")])
def test_stores_keep_their_promise(made: object) -> None:
    assert verifyObject(ISessionStore, made)


def test_memory_is_bounded_and_what_has_expired_goes_first(wall: Wall) -> None:
    store = MemorySessions(3, wall_clock=wall)

    async def fill() -> None:
        first = await store.save(None, Record({"n": 1}, 0, 0), wall.now + 1000)
        second = await store.save(None, Record({"n": 2}, 0, 0), wall.now + 10)
        await store.save(None, Record({"n": 3}, 0, 0), wall.now + 1000)
        wall.now += 20
        await store.save(None, Record({"n": 4}, 0, 0), wall.now + 1000)
        assert first is not None
        assert second is not None
        assert await store.load(second) is None
        assert await store.load(first) == Record({"n": 1}, 0, 0)
        await store.save(None, Record({"n": 5}, 0, 0), wall.now + 1000)
        assert await store.load(first) is None
        assert len(store) == 3

    asyncio.run(fill())


def test_a_record_is_bounded() -> None:
    with pytest.raises(ValueError, match="octets"):
        asyncio.run(MemorySessions().save(None, Record({"x": "y" * 70_000}, 0, 0), 1e12))
    with pytest.raises(ValueError, match="octets"):
        asyncio.run(SignedCookies(KEY).save(None, Record({"x": "y" * 4000}, 0, 0), 1e12))


async def test_sqlite_keeps_sessions_beyond_the_process(
    reactor: Reactor, tmp_path: Path, wall: Wall
) -> None:
    path = tmp_path / "sessions.db"
    record = Record({"cart": ["ä", 1, None]}, 1.0, 2.0)
    async with SQLiteSessions(path, wall_clock=wall) as store:
        token = await store.save(None, record, wall.now + 100)
        assert token is not None
        assert await store.load("nobody's") is None
        assert await store.save("nobody's", record, wall.now + 100) is None
        gone = await store.save(None, record, wall.now + 5)
    assert token.encode() not in path.read_bytes()
    async with SQLiteSessions(path, wall_clock=wall) as store:
        assert await store.load(token) == record
        changed = Record({"cart": []}, 1.0, 3.0)
        assert await store.save(token, changed, wall.now + 100) == token
        assert await store.load(token) == changed
        wall.now += 50
        assert gone is not None
        assert await store.load(gone) is None
        await store.delete(token)
        assert await store.load(token) is None
        assert await store.save(token, changed, wall.now + 100) is None
        wall.now += 1000
        await store.save(None, record, wall.now + 100)
        assert await store._pool.fetch_value("SELECT count(*) FROM sennit_sessions") == 1


# ── signatures ────────────────────────────────────────────────────────────────


class Secret:
    def reveal(self) -> str:
        return "x" * 32


def test_keys_are_changed_one_for_the_other() -> None:
    old, new = Signer("o" * 32, "t"), Signer("n" * 32, "t", ["o" * 32])
    text_of_old = old.sign(b"payload", 5.0)
    assert new.verify(text_of_old) == (b"payload", 5)
    assert old.verify(new.sign(b"payload", 5.0)) is None
    assert Signer(Secret(), "t").verify(Signer("x" * 32, "t").sign(b"a", 1)) == (b"a", 1)


def test_a_purpose_is_not_another() -> None:
    assert Signer(KEY, "one").verify(Signer(KEY, "other").sign(b"x", 1.0)) is None


@pytest.mark.parametrize("key", ["short", b"", b"x" * 15])
def test_weak_keys_are_refused(key: Any) -> None:
    with pytest.raises(WebUsageError):
        Signer(key, "t")
    with pytest.raises(WebUsageError):
        SignedCookies(KEY, old_keys=[key])
    assert KEY not in repr(Signer(KEY, "t"))


def test_every_changed_octet_is_noticed() -> None:
    signer = Signer(KEY, "t")
    good = signer.sign(b"payload", 1000.0)
    for at in range(len(good) - 1):
        for other in "Ab_.":
            if good[at] != other:
                assert signer.verify(good[:at] + other + good[at + 1 :]) is None


def test_a_cookie_that_was_not_signed_is_no_session(wall: Wall) -> None:
    store = SignedCookies(KEY, max_age=100.0, wall_clock=wall)
    other = Signer(KEY, "session cookie")
    record = b'[1, 2, {"a": 3}]'
    assert asyncio.run(store.load(other.sign(record, wall.now))) == Record({"a": 3}, 1, 2)
    for fake in (
        "",
        "x" * 5000,
        other.sign(b"no record", wall.now),
        other.sign(record, wall.now - 101),
        other.sign(record, wall.now + 61),
        Signer("y" * 32, "session cookie").sign(record, wall.now),
    ):
        assert asyncio.run(store.load(fake)) is None


@given(st.text(max_size=200))
def test_nothing_that_was_not_signed_verifies(fake: str) -> None:
    assert Signer(KEY, "t").verify(fake) is None


@given(st.binary(max_size=100), st.integers(0, 2**40))
def test_what_was_signed_verifies(payload: bytes, when: int) -> None:
    signer = Signer(KEY, "t")
    assert signer.verify(signer.sign(payload, when)) == (payload, when)


@pytest.mark.parametrize(
    "octets",
    [b"", b"[", b"[" * 5000, b"{}", b"[1, 2]", b"[1, 2, 3]", b'["a", 2, {}]', b"[true, 1, {}]"],
)
def test_a_record_that_is_none_is_none(octets: bytes) -> None:
    """What stands in a table may have been written by another version, or by anybody."""
    assert decoded(octets) is None


# ── answers that have begun ───────────────────────────────────────────────────


def streaming_shop(store: ISessionStore, wall: Wall) -> Site:
    site = shop(store, wall)

    @site.route("/stream/{what}")
    async def stream(request: Request, what: str) -> None:
        session = request.session
        if what == "out":
            session.log_out()
        elif what == "in":
            session.log_in("ann")
        elif what == "put":
            session["what"] = "put"
        writer = request.start(200, {"content-length": "2"})
        writer.send(b"ok")
        writer.end()

    return site


def test_an_answer_that_has_begun_ends_and_keeps_sessions_all_the_same(
    clock: Clock, wall: Wall, caplog: pytest.LogCaptureFixture
) -> None:
    browser = Browser(clock, streaming_shop(MemorySessions(wall_clock=wall), wall))
    browser.get("/put/apples")
    assert browser.get("/stream/put") == "ok"
    assert browser.get("/look") == "{'what': 'put'}"
    assert browser.get("/stream/nothing") == "ok"
    assert browser.get("/stream/out") == "ok"
    assert caplog.records == []
    assert browser.get("/look") == "{}"


@pytest.mark.parametrize("known", [False, True])
def test_a_name_that_the_client_cannot_be_told_is_warned_of(
    clock: Clock, wall: Wall, caplog: pytest.LogCaptureFixture, known: bool
) -> None:
    """The old name leads nowhere all the same: it may be somebody else's by now."""
    browser = Browser(clock, streaming_shop(MemorySessions(wall_clock=wall), wall))
    if known:
        browser.get("/put/apples")
    assert browser.get("/stream/in") == "ok"
    assert "request.start" in caplog.text
    assert browser.get("/look") == "{}"


def test_a_cookie_for_other_sites_goes_over_tls_only(clock: Clock, wall: Wall) -> None:
    """Browsers take it in no other way, and it cannot be written in another."""
    for options in ({"same_site": "none"}, {"cookie": "__Host-shop"}):
        browser = Browser(clock, shop(MemorySessions(wall_clock=wall), wall, **options))
        assert browser.get("/put/x") == "put"
        assert "Secure" in browser.set[0]
    with pytest.raises(ValueError, match="secure"):
        with_sessions(MemorySessions(), same_site="none", secure=False)


def test_memory_holds_no_tokens_and_does_not_look_through_all_for_each(wall: Wall) -> None:
    store = MemorySessions(1000, wall_clock=wall)

    async def fill(count: int) -> float:
        begun = time.process_time()
        for _ in range(count):
            token = await store.save(None, Record({}, 0, 0), wall.now + 1000)
            assert token is not None
            assert token not in repr(vars(store)) if count == 1 else True
        return time.process_time() - begun

    asyncio.run(fill(1))
    filling = asyncio.run(fill(1000))
    assert asyncio.run(fill(1000)) < 5 * filling + 0.05
    assert len(store) == 1000
