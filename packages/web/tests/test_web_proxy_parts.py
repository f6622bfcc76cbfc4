"""What a proxy is made of: fields, translation, choice of upstreams, their health, checks."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core.errors import ConnectError
from sennit.core.testing.clock import Clock
from sennit.web import HTTPError, WebUsageError
from sennit.web.client.messages import OutgoingRequest
from sennit.web.client.urls import URL
from sennit.web.proxy.checks import HealthCheck
from sennit.web.proxy.fields import (
    check_pseudonym,
    check_way,
    end_to_end,
    forwards_left,
    request_fields,
    trailer_fields,
    via_field,
)
from sennit.web.proxy.health import Health, HealthRules, State
from sennit.web.proxy.translation import Translation, check_path
from sennit.web.proxy.upstream import (
    HashBy,
    LeastOpen,
    NoUpstreamError,
    RoundRobin,
    Upstream,
    Upstreams,
)


def pairs(*lines: str) -> list[tuple[bytes, bytes]]:
    split = (each.encode().partition(b": ") for each in lines)
    return [(name, value) for name, _, value in split]


# ── fields ────────────────────────────────────────────────────────────────────


def test_what_belongs_to_one_connection_stays_on_it() -> None:
    """RFC 9110 §7.6.1."""
    headers = pairs(
        "connection: close, X-Private,upgrade", "x-private: 1", "keep-alive: 5", "te: gzip",
        "transfer-encoding: chunked", "upgrade: h2c", "proxy-connection: x", "http2-settings: a",
        "proxy-authorization: Basic eDp5", "cookie: a=b", "x-public: 2",
    )  # fmt: skip
    assert end_to_end(headers) == pairs("cookie: a=b", "x-public: 2")
    assert end_to_end(pairs("cookie: a=b")) == pairs("cookie: a=b")


def test_a_client_cannot_have_what_frames_or_names_a_request_taken_off() -> None:
    headers = pairs("connection: content-type, host, content-encoding", "content-type: a/b")
    assert end_to_end(headers) == pairs("content-type: a/b")


def test_a_request_goes_on_without_framing_and_without_words_about_its_origin() -> None:
    headers = pairs(
        "host: a", "content-length: 5", "expect: 100-continue", "max-forwards: 3",
        "forwarded: for=1.1.1.1", "x-forwarded-for: 1.1.1.1", "x-forwarded-proto: https",
        "x_forwarded_for: 1.1.1.1", "x-forwarded_host: b", "x_real_ip: 1", "content_length: 9",
        "x-forwarded-prefix: /a", "x-forwarded-ssl: on",
        "transfer_encoding: chunked", "x_other_field: kept", "accept: */*", "te: trailers",
    )  # fmt: skip
    assert request_fields(headers) == pairs("x_other_field: kept", "accept: */*", "te: trailers")


def test_trailers_that_would_change_what_was_read_are_dropped() -> None:
    """RFC 9110 §6.5.1."""
    headers = pairs("grpc-status: 0", "content-length: 5", "set-cookie: a=b", "host: x")
    assert trailer_fields(headers) == pairs("grpc-status: 0")


def test_via_names_the_proxies_and_a_loop_ends() -> None:
    assert via_field([], b"1.1", "here") == (b"via", b"1.1 here")
    before = pairs("via: 1.0 a", "via: 1.1 b, 2.0 c")
    assert via_field(before, b"2", "here") == (b"via", b"1.0 a, 1.1 b, 2.0 c, 2.0 here")
    check_way(before)
    with pytest.raises(HTTPError) as caught:
        check_way(pairs("via: " + ", ".join(["1.1 here"] * 16)))
    assert caught.value.status == 508
    check_pseudonym("proxy.example:8080")
    for name in ("a b", "", "a\r\nx: y", "é"):
        with pytest.raises(WebUsageError):
            check_pseudonym(name)


def test_max_forwards_counts_for_options_and_trace() -> None:
    """RFC 9110 §7.6.2."""
    assert forwards_left("OPTIONS", pairs("max-forwards: 2")) == 2
    assert forwards_left("GET", pairs("max-forwards: 2")) is None
    assert forwards_left("OPTIONS", []) is None
    for value in ("-1", "a", "1" * 20, ""):
        with pytest.raises(HTTPError):
            forwards_left("TRACE", [(b"max-forwards", value.encode())])


# ── paths and names ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", [
    "/app/../admin", "/app/./x", "/..", "/a/%2e%2e/b", "/a/.%2E/b", "/a/..%2fb", "/a/..%5cb",
    "/a/..\\b", "/a%2f..%2fb",
])  # fmt: skip
def test_a_path_that_servers_read_differently_is_refused(path: str) -> None:
    with pytest.raises(HTTPError) as caught:
        check_path(path.encode())
    assert caught.value.status == 400


def test_an_ordinary_path_is_not() -> None:
    for path in ("/", "/a.b/c..d", "/...", "/a%20b", "/.well-known/x", "/a%2fb", "*"):
        check_path(path.encode())


def test_a_prefix_is_taken_off_on_the_way_in() -> None:
    translation = Translation("/shop/")
    assert translation.inward(b"/shop/cart?a=b") == b"/cart?a=b"
    assert translation.inward(b"/shop") == b"/"
    assert translation.inward(b"/shop?a") == b"/?a"
    assert Translation("").inward(b"/shop?a") == b"/shop?a"
    for path in (b"/", b"/shopping", b"/other/shop"):
        with pytest.raises(HTTPError) as caught:
            translation.inward(path)
        assert caught.value.status == 404
    for prefix in ("shop", "/a b", "/a?b", "//"):
        if prefix != "//":
            with pytest.raises(WebUsageError):
                Translation(prefix)


OUTWARD = [
    ("http://10.0.0.7:9000/app/cart?x#y", "https://example.com/shop/cart?x#y"),
    ("http://10.0.0.7:9000/app", "https://example.com/shop"),
    ("//10.0.0.7:9000/app/cart", "https://example.com/shop/cart"),
    ("http://10.0.0.7:9000/apple", "https://example.com/apple"),
    ("/app/cart", "/shop/cart"),
    ("/app?x", "/shop?x"),
    ("/apple", "/apple"),
    ("cart", "cart"),
    ("https://elsewhere.example/app/cart", "https://elsewhere.example/app/cart"),
    ("http://example.com/app/cart", "https://example.com/shop/cart"),
    ("", ""),
]


@pytest.mark.parametrize(("inside", "outside"), OUTWARD)
def test_names_of_the_inside_become_those_of_the_outside(inside: str, outside: str) -> None:
    upstream = URL("http://10.0.0.7:9000/app")
    made = Translation("/shop").outward(
        [(b"location", inside.encode())], upstream, b"/app", b"example.com", b"https"
    )
    assert made == [(b"location", outside.encode())]


def test_paths_and_domains_of_cookies_are_those_of_the_outside() -> None:
    upstream = URL("http://inside.example:9000/app")
    came = pairs(
        "set-cookie: a=b; Path=/app; HttpOnly",
        "set-cookie: a=b; path=/app/x;domain=inside.example; Secure",
        "set-cookie: a=b; Path=/; Domain=example.com",
        "set-cookie: a=path=/app",
    )
    made = Translation("/shop").outward(came, upstream, b"/app", b"example.com", b"https")
    assert made == pairs(
        "set-cookie: a=b; Path=/shop; HttpOnly",
        "set-cookie: a=b; Path=/shop/x; Secure",
        "set-cookie: a=b; Path=/; Domain=example.com",
        "set-cookie: a=path=/app",
    )
    same = Translation("").outward(came[3:], upstream, b"", b"example.com", b"https")
    assert same == came[3:]


@given(st.binary(), st.binary())
def test_no_response_makes_the_translation_raise(location: bytes, cookie: bytes) -> None:
    headers = [(b"location", location), (b"set-cookie", cookie)]
    Translation("/a").outward(headers, URL("http://x/b"), b"/b", b"h", b"http")


# ── health ────────────────────────────────────────────────────────────────────


def test_failures_one_after_the_other_bring_it_down_for_a_while() -> None:
    seen: list[tuple[State, State]] = []
    rules = HealthRules(fall=2, pause=10, longest_pause=25)
    health = Health(rules, lambda before, after: seen.append((before, after)))
    health.request_failed(0)
    health.request_done(0)
    health.request_failed(0)
    assert health.may_try(0)
    health.request_failed(1)
    assert not health.may_try(10)
    assert health.next_try() == 11
    # The pause is over: one request finds out.
    assert health.may_try(11)
    health.begin(11)
    assert not health.may_try(11)
    health.request_failed(12)
    assert health.next_try() == 32
    health.begin(32)
    health.request_failed(32)
    assert health.next_try() == 57  # no longer than the longest
    health.begin(57)
    health.request_given_up(58)
    assert health.may_try(58)
    health.begin(58)
    health.request_done(59)
    assert health.state is State.UP
    assert seen[0] == (State.UP, State.RESTING)
    assert seen[-1] == (State.TRIED, State.UP)
    health.request_failed(60)
    health.request_failed(60)
    assert health.next_try() == 70  # and begins anew


def test_checks_bring_it_down_and_up_again() -> None:
    health = Health(HealthRules(fall=2, rise=2))
    health.check_failed(0)
    health.check_done(0)
    health.check_failed(0)
    assert health.may_try(0)
    health.check_failed(0)
    assert health.state is State.SICK
    assert not health.may_try(1e9)
    assert health.next_try() is None
    health.check_failed(1)
    health.check_done(2)
    health.check_failed(3)
    health.check_done(4)
    assert not health.may_try(4)
    health.check_done(5)
    assert health.may_try(5)


def test_a_check_that_fails_while_requests_have_failed_makes_it_sick_at_once() -> None:
    health = Health(HealthRules(fall=2, rise=1))
    health.request_failed(0)
    health.request_failed(0)
    health.check_failed(1)
    assert health.state is State.SICK
    health.request_failed(2)
    health.request_done(2)
    assert not health.may_try(1000)
    health.check_done(3)
    assert health.may_try(3)


def test_one_that_came_up_gets_its_share_bit_by_bit() -> None:
    health = Health(HealthRules(fall=1, rise=1, slow_start=10))
    assert health.share(0) == 1.0
    health.check_failed(0)
    health.check_done(100)
    assert health.share(100) == 0.1
    assert health.share(105) == 0.5
    assert health.share(200) == 1.0


def test_rules_that_make_no_sense_are_refused() -> None:
    for wrong in ({"fall": 0}, {"rise": 0}, {"pause": 0}, {"pause": 400}, {"slow_start": -1}):
        options: dict[str, Any] = dict(wrong)
        with pytest.raises(WebUsageError):
            HealthRules(**options)


@given(st.lists(st.sampled_from([
    "begin", "request_done", "request_given_up", "request_failed", "check_done", "check_failed",
])))  # fmt: skip
def test_whatever_happens_good_checks_bring_it_up(happenings: list[str]) -> None:
    health = Health(HealthRules(fall=2, rise=2))
    now = 0.0
    for each in happenings:
        now += 7
        getattr(health, each)(now)
        assert health.may_try(now + 1000) or health.state in (State.SICK, State.TRIED)
    for _ in range(2):
        health.check_done(now)
    assert health.state is State.UP


# ── upstreams ─────────────────────────────────────────────────────────────────


def names(upstreams: Upstreams, count: int, key: str = "") -> str:
    found = [upstreams.choose(key, (), 0.0) for _ in range(count)]
    return "".join(each.url.host for each in found if each is not None)


def test_round_robin_spreads_by_weight() -> None:
    assert names(Upstreams(["http://a", "http://b", "http://c"]), 6) == "abcabc"
    weighted = Upstreams([Upstream("http://a", weight=5), "http://b", "http://c"])
    found = names(weighted, 14)
    assert Counter(found) == {"a": 10, "b": 2, "c": 2}
    assert "aaaaa" not in found


def test_least_open_looks_at_what_is_open_for_the_weight() -> None:
    upstreams = Upstreams(
        [Upstream("http://a", weight=2), Upstream("http://b")], policy=LeastOpen()
    )
    a, b = upstreams
    a.open, b.open = 1, 1
    assert names(upstreams, 3) == "aaa"
    a.open = 4
    assert names(upstreams, 3) == "bbb"


def test_a_key_stays_with_its_upstream_and_only_the_keys_of_one_that_goes_move() -> None:
    upstreams = Upstreams([f"http://{each}" for each in "abcd"], policy=HashBy())
    keys = [f"client {n}" for n in range(400)]
    before = {key: names(upstreams, 1, key) for key in keys}
    assert before == {key: names(upstreams, 1, key) for key in keys}
    assert all(60 < count < 140 for count in Counter(before.values()).values())
    gone = next(iter(upstreams))
    for _ in range(3):
        gone.health.request_failed(0)
    after = {key: names(upstreams, 1, key) for key in keys}
    assert {key for key in keys if before[key] != after[key]} == {
        key for key in keys if before[key] == "a"
    }
    assert len(names(upstreams, 3)) == 3  # without a key: any


def test_backups_get_requests_only_where_no_other_can() -> None:
    upstreams = Upstreams([Upstream("http://a", most_open=1), Upstream("http://b", backup=True)])
    assert names(upstreams, 2) == "aa"
    a, _ = upstreams
    a.open = 1
    assert names(upstreams, 1) == "b"


def test_what_is_down_gets_nothing_and_says_when_to_come_back() -> None:
    upstreams = Upstreams(["http://a", "http://b"], health=HealthRules(fall=1, pause=5))
    a, b = upstreams
    a.health.request_failed(0)
    assert names(upstreams, 2) == "bb"
    b.health.request_failed(2)
    with pytest.raises(NoUpstreamError) as caught:
        upstreams.choose("", (), 3.0)
    assert caught.value.retry_after == 2.0
    with pytest.raises(NoUpstreamError):
        upstreams.choose("", [a, b], 100.0)


def test_a_request_waits_for_room_in_order_and_not_for_ever(clock: Clock) -> None:
    upstreams = Upstreams([Upstream("http://a", most_open=1)], waiting=2)
    got: list[int] = []

    async def one(number: int) -> None:
        found = await upstreams.acquire("", (), clock.time, 10.0)
        got.append(number)
        await asyncio.sleep(1)
        upstreams.release(found)

    async def main(_: Clock) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(3):
                tasks.create_task(one(number))
            await asyncio.sleep(0.5)
            assert upstreams.waiting == 2
            with pytest.raises(NoUpstreamError, match="too many"):
                await upstreams.acquire("", (), clock.time, 10.0)
        assert got == [0, 1, 2]
        assert (upstreams.waiting, next(iter(upstreams)).open) == (0, 0)
        held = await upstreams.acquire("", (), clock.time, 10.0)
        with pytest.raises(NoUpstreamError, match="busy"):
            await upstreams.acquire("", (), clock.time, 3.0)
        assert upstreams.waiting == 0
        # Who gives up in the moment in which it is woken lets the next one go.
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(one(3))
            tasks.create_task(one(4))
            await asyncio.sleep(0.5)
            upstreams.release(held)
            first.cancel()
        assert got == [0, 1, 2, 4]

    clock.run(main)


def test_a_target_is_put_behind_the_upstreams_path() -> None:
    upstream = Upstream("http://a:8080/app/")
    url = upstream.at(b"/x//y%2f?q=a?b")
    assert url.target == b"/app/x//y%2f?q=a?b"
    assert (url.path, url.query, url.authority) == ("/app/x//y%2f", "q=a?b", "a:8080")
    assert str(url) == "http://a:8080/app/x//y%2f?q=a?b"
    assert Upstream("http+unix://%2Frun%2Fx.sock").at(b"/").unix == "/run/x.sock"


def test_upstreams_that_make_no_sense_are_refused() -> None:
    for url in ("ftp://a", "http://a?b", "http://u:p@a", "ws://a", "a"):
        with pytest.raises(ValueError):
            Upstream(url)
    for options in ({"weight": 0}, {"weight": float("inf")}, {"most_open": 0}):
        wrong: dict[str, Any] = dict(options)
        with pytest.raises(WebUsageError):
            Upstream("http://a", **wrong)
    for urls in ([], ["http://a", "http://a/"]):
        with pytest.raises(WebUsageError):
            Upstreams(urls)
    assert "http://a/ up" in repr(Upstreams(["http://a"], policy=RoundRobin()))


# ── checks ────────────────────────────────────────────────────────────────────


class Said:
    """Stands for a response."""

    def __init__(self, status: int, content: bytes = b"") -> None:
        self.status = status
        self._content = content

    @property
    async def body(self) -> Any:
        for at in range(0, len(self._content), 40_000):
            yield self._content[at : at + 40_000]

    async def aclose(self) -> None:
        """Nothing was held."""


def test_checks_ask_again_and_again_at_intervals_that_vary(clock: Clock) -> None:
    upstreams = Upstreams(["http://a", "http://b"], health=HealthRules(fall=2, rise=2))
    a, b = upstreams
    sick: set[str] = set()
    asked: list[float] = []

    async def send(request: OutgoingRequest) -> Any:
        if request.url.host == "a":
            asked.append(clock.time())
        assert request.url.target == b"/health"
        assert request.headers == [(b"host", b"checks")]
        if request.url.host in sick:
            raise ConnectError("refused")
        return Said(200)

    check = HealthCheck("/health", interval=10, jitter=0.2, host="checks")
    chances = iter([0.0, 0.5, 1.0, 0.5] * 100)

    async def main(_: Clock) -> None:
        task = asyncio.ensure_future(check.run(upstreams, send, lambda: next(chances)))
        await asyncio.sleep(30)
        assert a.health.state is b.health.state is State.UP
        sick.add("b")
        await asyncio.sleep(25)
        assert (a.health.state, b.health.state) == (State.UP, State.SICK)
        sick.clear()
        await asyncio.sleep(25)
        assert b.health.state is State.UP
        task.cancel()
        await asyncio.wait([task])

    clock.run(main)
    gaps = {round(later - earlier, 3) for earlier, later in itertools.pairwise(asked)}
    assert gaps <= {8.0, 10.0, 12.0}
    assert len(gaps) > 1


def test_what_an_answer_has_to_be(clock: Clock) -> None:
    upstream = Upstream("http://a")

    def verdict(check: HealthCheck, said: Said) -> bool:
        async def send(request: OutgoingRequest) -> Any:
            return said

        return clock.run(lambda _: check.ask(upstream, send))

    assert verdict(HealthCheck(), Said(204))
    assert not verdict(HealthCheck(), Said(500))
    assert verdict(HealthCheck(statuses={401}), Said(401))
    wanted = HealthCheck(content=b"ready")
    assert verdict(wanted, Said(200, b"x" * 50_000 + b"ready"))
    assert not verdict(wanted, Said(200, b"x" * 70_000 + b"ready"))
    for wrong in ({"path": "a"}, {"interval": 0}, {"timeout": 0}, {"jitter": 1}):
        options: dict[str, Any] = dict(wrong)
        with pytest.raises(WebUsageError):
            HealthCheck(**options)
