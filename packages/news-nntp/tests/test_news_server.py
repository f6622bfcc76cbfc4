"""The server's protocol: who is greeted how, what limits do, the end of a connection."""

from __future__ import annotations

import logging
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from news_serving import FakeIntake, SlowStore, Talk, article, factory, file, filled

from sennit.core.ops.metrics import Registry
from sennit.core.testing.clock import Clock
from sennit.news.access import NOBODY, Access, AccessRules
from sennit.news.errors import NNTPUsageError, StoreError
from sennit.news.server import NNTPServerFactory
from sennit.news.serving.metrics import NewsMetrics
from sennit.news.store.memory import MemoryStore

if TYPE_CHECKING:
    from sennit.news.interfaces import Group


def test_a_reader_is_greeted_and_answered() -> None:
    talk = Talk(factory())

    assert talk.greeting.startswith(b"201 ")
    assert talk.say(b"GROUP misc.test") == b"211 5 1 5 misc.test\r\n"
    assert talk.say(b"STAT") == b"223 1 <1@example.net>\r\n"
    assert talk.say(b"QUIT") == b"205 Bye\r\n"
    assert talk.transport.close_reason == "clean"


def test_commands_that_come_together_are_answered_in_order() -> None:
    """RFC 3977 §3.5."""
    talk = Talk(factory())

    codes = [
        line[:3]
        for line in talk.say(b"GROUP misc.test\r\nNEXT\r\nSTAT 9\r\nDATE\r\nQUIT\r\n").splitlines()
    ]
    assert codes == [b"211", b"223", b"423", b"111", b"205"]


def test_the_end_of_input_ends_the_connection() -> None:
    talk = Talk(factory())
    talk.clock.call_soon(talk.transport.receive_eof)
    talk.clock.pump()

    assert talk.transport.closed


def test_who_may_post_and_feed_is_said_by_the_address() -> None:
    rules = AccessRules(
        [("192.0.2.0/24", Access("*", "misc.*")), ("198.51.100.1", Access(None, transit=True))]
    )
    server = factory(access=rules, intake=FakeIntake())

    assert Talk(server, peer="192.0.2.1").greeting.startswith(b"200 ")
    peer = Talk(server, peer="198.51.100.1")
    assert peer.code(b"GROUP misc.test") == 502
    assert peer.code(b"CHECK <new@x>") == 238
    stranger = Talk(server, peer="203.0.113.9")
    assert stranger.code(b"GROUP misc.test") == 502
    assert stranger.code(b"IHAVE <new@x>") == 502


def test_without_an_intake_nobody_posts() -> None:
    talk = Talk(factory(access=Access("*", "*", transit=True)))

    assert talk.greeting.startswith(b"201 ")
    assert talk.code(b"POST") == 440
    assert talk.code(b"CHECK <a@b>") == 502


# ── time ──────────────────────────────────────────────────────────────────────


def test_who_says_nothing_is_closed_after_ten_minutes() -> None:
    """HARDENING nntp-7: 400, then the end; not before 600 s."""
    talk = Talk(factory())
    talk.say(b"DATE")

    talk.clock.advance(599.0)
    assert not talk.transport.closed
    talk.clock.advance(2.0)
    assert talk.transport.take() == b"400 Nothing came for too long\r\n"
    assert talk.transport.close_reason == "idle"


def test_a_command_begins_the_ten_minutes_anew() -> None:
    talk = Talk(factory())
    for _ in range(5):
        talk.clock.advance(500.0)
        assert talk.code(b"DATE") == 111

    assert not talk.transport.closed


def test_an_article_that_stops_coming_is_waited_for_a_minute() -> None:
    """Defaults 2: no progress in a transfer for 60 s."""
    talk = Talk(factory(access=Access("*", "*"), intake=FakeIntake()))
    talk.say(b"POST\r\nSubject: x\r\n")

    talk.clock.advance(55.0)
    talk.say(b"From: y\r\n")
    talk.clock.advance(55.0)
    assert not talk.transport.closed
    talk.clock.advance(70.0)
    assert talk.transport.close_reason == "stalled"


def test_a_reader_that_stops_reading_is_waited_for_a_minute() -> None:
    talk = Talk(factory())
    talk.clock.call_soon(talk.transport.block)
    talk.say(b"HELP")

    talk.clock.advance(150.0)
    assert talk.transport.close_reason == "stalled"


def test_who_must_log_in_has_a_minute_to() -> None:
    """HARDENING, Defaults 1."""
    from sennit.core.auth.portal import Portal

    talk = Talk(factory(access=NOBODY, portal=Portal()))
    assert talk.code(b"GROUP misc.test") == 480
    talk.clock.advance(40.0)
    assert talk.code(b"DATE") == 111
    talk.clock.advance(19.0)
    assert not talk.transport.closed
    talk.clock.advance(2.0)

    assert talk.transport.take() == b"400 No login in time\r\n"
    assert talk.transport.close_reason == "limit:login"


def test_who_need_not_log_in_has_all_the_time() -> None:
    from sennit.core.auth.portal import Portal

    talk = Talk(factory(portal=Portal()))
    talk.clock.advance(100.0)

    assert talk.code(b"GROUP misc.test") == 211


# ── faults ────────────────────────────────────────────────────────────────────


def test_a_server_that_closes_says_so() -> None:
    """HARDENING fault-4: SIGTERM."""
    talk = Talk(factory())
    talk.clock.call_soon(talk.protocol.wrapped.drain)  # type: ignore[attr-defined]  # a Driver
    talk.clock.pump()

    assert talk.transport.take() == b"400 Closing down\r\n"
    assert talk.transport.close_reason == "drained"


def test_a_server_that_closes_takes_the_article_that_comes() -> None:
    """HARDENING fault-4: what is under way is finished."""
    intake = FakeIntake()
    talk = Talk(factory(access=Access("*", "*"), intake=intake))
    talk.say(b"POST\r\nSubject: x\r\n")
    talk.clock.call_soon(talk.protocol.wrapped.drain)  # type: ignore[attr-defined]  # a Driver
    talk.clock.pump()
    assert not talk.transport.closed

    answer = talk.say(b"\r\nbody\r\n.\r\n")
    assert answer.startswith(b"240 ")
    assert answer.endswith(b"400 Closing down\r\n")
    assert len(intake.posted) == 1


SCRIPT = (
    b"GROUP misc.test\r\nOVER 1-\r\nARTICLE 2\r\nCHECK <n@x>\r\nTAKETHIS <n@x>\r\n"
    b"Subject: x\r\n\r\nbody\r\n.\r\nPOST\r\nSubject: y\r\n\r\nbody\r\n.\r\nLIST\r\n"
)


def test_a_peer_may_vanish_at_any_octet() -> None:
    """HARDENING fault-7: nothing is raised, nothing is left."""
    server = factory(access=Access("*", "*", transit=True), intake=FakeIntake())
    clock = Clock()
    for place in range(len(SCRIPT)):
        talk = Talk(server, clock=clock)
        talk.say(SCRIPT[:place] or b"\r\n")
        clock.call_soon(talk.transport.lose, ConnectionResetError("reset"))
        clock.pump()
        assert talk.transport.errors == []
    clock.advance(1000.0)


@pytest.mark.parametrize("kind", [MemoryStore, SlowStore])
def test_a_reader_may_vanish_while_its_answer_waits(
    kind: type[MemoryStore], caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING fault-7."""
    store = filled(1000, kind)
    talk = Talk(factory(store))
    talk.say(b"GROUP misc.test")
    talk.clock.call_soon(talk.transport.block)
    talk.say(b"OVER 1-")
    talk.clock.call_soon(talk.transport.lose, ConnectionResetError("reset"))
    talk.clock.pump()

    assert talk.transport.errors == []
    assert caplog.text == ""


def test_a_slow_store_that_fails_costs_one_command(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(SlowStore):
        async def group(self, name: str) -> Group | None:
            await super().group(name)
            raise StoreError("disk on fire")

    caplog.set_level(logging.CRITICAL)
    talk = Talk(factory(filled(kind=Broken)))

    assert talk.code(b"GROUP misc.test") == 403
    assert talk.code(b"DATE") == 111


def test_a_store_that_fails_costs_one_command(caplog: pytest.LogCaptureFixture) -> None:
    store = filled()

    def broken(name: str) -> None:
        raise StoreError("disk on fire")

    talk = Talk(factory(store))
    caplog.set_level(logging.CRITICAL)
    store.now.group = broken  # type: ignore[method-assign]  # a disk that fails

    assert talk.code(b"GROUP misc.test") == 403
    assert talk.code(b"DATE") == 111


def test_a_slow_reader_is_sent_no_more_than_it_takes() -> None:
    """HARDENING fault-15: the store is not asked for what would only wait."""
    store = filled(0)
    for number in range(1, 3001):
        file(store, article(number))
    talk = Talk(factory(store))
    talk.say(b"GROUP misc.test")
    pieces = 0
    ask = store.now.overview

    def counted(group: str, low: int, high: int) -> tuple[bytes, int]:
        nonlocal pieces
        pieces += 1
        return ask(group, low, high)

    store.now.overview = counted  # type: ignore[method-assign]  # to see what it is asked
    talk.clock.call_soon(talk.transport.block)
    talk.say(b"OVER 1-\r\nOVER 1-\r\n")

    waiting = talk.transport.get_write_buffer_size()
    assert 1 <= pieces <= 3
    assert waiting <= 200_000
    # It reads on, at its own pace, and gets all of it, twice.
    for _ in range(100):
        talk.clock.call_soon(talk.transport.unblock)
        talk.clock.pump()
        talk.clock.call_soon(talk.transport.block)
        talk.clock.pump()
    written = talk.transport.written
    assert written.count(b"\r\n3000\t") == 2
    assert written.endswith(b"\r\n.\r\n")


def test_a_client_that_only_sends_is_not_read_for_ever() -> None:
    """HARDENING fault-15: commands without anybody to read the answers."""
    talk = Talk(factory())
    talk.clock.call_soon(talk.transport.block)
    talk.say(b"HELP\r\n" * 40_000)

    assert not talk.transport.reading
    assert talk.transport.get_write_buffer_size() < 128 * 1024


def test_a_client_that_asks_much_at_once_does_not_keep_the_loop() -> None:
    """What asks nobody is answered a little at a time, too."""
    talk = Talk(factory())
    seen: list[int] = []
    talk.clock.call_soon(talk.transport.receive, b"MODE READER\r\n" * 10_000)
    talk.clock.call_soon(lambda: seen.append(talk.transport.written.count(b"\n")))
    talk.clock.pump()

    assert 0 < seen[0] < 2000
    assert talk.transport.written.count(b"\n") == 10_000


def test_a_client_that_asks_for_many_large_articles_does_not_keep_the_loop() -> None:
    """Each is copied, or deflated: milliseconds, in which nobody else is answered."""
    store = filled(0)
    file(store, article(7, body=b"x" * 98 + b"\r\n"))
    file(store, article(8, body=(b"x" * 98 + b"\r\n") * 1000))
    talk = Talk(factory(store))
    seen: list[int] = []
    for number, most in ((7, 64), (8, 1)):
        talk.transport.take()
        asked = b"ARTICLE <%d@example.net>\r\n" % number * 64
        talk.clock.call_soon(talk.transport.receive, asked)
        talk.clock.call_soon(lambda: seen.append(talk.transport.written.count(b"220 0 <")))
        talk.clock.pump()

        assert 0 < seen[-1] <= most
        assert talk.transport.written.count(b"220 0 <") == 64


# ── what it is made of ────────────────────────────────────────────────────────


def test_what_is_no_store_or_intake_or_mode_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="IArticleStore"):
        NNTPServerFactory(object())
    with pytest.raises(TypeError, match="IIntake"):
        NNTPServerFactory(filled(), object())
    with pytest.raises(NNTPUsageError, match="not proxy"):
        NNTPServerFactory(filled(), mode="proxy")  # type: ignore[arg-type]  # that is the point


def test_one_connection_too_many_is_told_so() -> None:
    assert factory().refusal("limit:connections") == (
        b"400 Too many connections (limit:connections)\r\n"
    )


def test_commands_articles_and_logins_are_counted() -> None:
    registry = Registry()
    server = factory(access=Access("*", "*"), intake=FakeIntake())
    server.metrics = NewsMetrics("news", registry)
    talk = Talk(server)
    talk.say(b"GROUP misc.test\r\nSTAT\r\nSTAT\r\nPOST\r\na: b\r\n\r\nx\r\n.\r\nPOST\r\nx\r\n.\r\n")
    server.metrics.login("accepted")

    counted = registry.counter("sennit_news_commands", "…", ("service", "kind"))
    assert counted.labels("news", "article").value == 2
    assert counted.labels("news", "group").value == 1
    articles = registry.counter("sennit_news_articles", "…", ("service", "how", "outcome"))
    assert articles.labels("news", "posted", "taken").value == 1
    assert articles.labels("news", "posted", "refused").value == 1
    logins = registry.counter("sennit_news_logins", "…", ("service", "outcome"))
    assert logins.labels("news", "accepted").value == 1


def test_an_idle_connection_costs_little() -> None:
    """HARDENING fault-16: 12 KiB each at most, those of the socket and its buffers included."""
    server = factory(access=Access("*", "*", transit=True), intake=FakeIntake())
    clock = Clock()
    talks = [Talk(server, clock=clock) for _ in range(50)]
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(200):
            talk = Talk(server, clock=clock)
            talk.say(b"GROUP misc.test\r\nARTICLE\r\n")
            talks.append(talk)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (after - before) / 200 < 8 * 1024
