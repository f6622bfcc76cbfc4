"""Articles that come: POST, IHAVE, CHECK, TAKETHIS."""

from __future__ import annotations

import logging
import random
import tracemalloc

import pytest
from news_serving import FakeIntake, Talk, factory

from sennit.core.deferred import Deferred
from sennit.news.access import Access
from sennit.news.deflate import Deflate
from sennit.news.errors import ArticleError, DuplicateError, StoreError, TryLaterError
from sennit.news.interfaces import Wanted

POSTED = (
    b"From: me@example.net\r\nNewsgroups: misc.test\r\nSubject: hello\r\n\r\n.a line with a dot\r\n"
)
ON_THE_WIRE = POSTED.replace(b"\r\n.a", b"\r\n..a") + b".\r\n"
PEER = Access("*", "*", transit=True, name="peer.example")


def talking(intake: FakeIntake, access: Access = PEER) -> Talk:
    return Talk(factory(access=access, intake=intake))


def test_what_a_reader_posts_goes_to_the_intake() -> None:
    intake = FakeIntake()
    talk = talking(intake, Access("*", "misc.*", approve=True, name="alice"))

    assert talk.code(b"POST") == 340
    assert talk.say(ON_THE_WIRE) == b"240 Article received <posted@example.net>\r\n"
    assert intake.posted == [(POSTED, "alice", "192.0.2.7", True)]


def test_what_is_posted_elsewhere_than_one_may_is_refused() -> None:
    intake = FakeIntake()
    talk = talking(intake, Access("*", "comp.*"))

    assert talk.code(b"POST") == 340
    assert talk.say(ON_THE_WIRE) == b"441 you may not post there\r\n"
    assert intake.posted == []


@pytest.mark.parametrize(
    ("failing", "posted", "sent", "streamed"),
    [
        (ArticleError("too\r\nstrange \xe9"), b"441 too??strange ?", b"437 too??", b"439 <a@x>"),
        (DuplicateError("duplicate"), b"441 duplicate", b"437 duplicate", b"439 <a@x>"),
        (TryLaterError("busy"), b"441 Try again later", b"436 Try again later", b"400 "),
        (StoreError("disk full"), b"441 Try again later", b"436 Try again later", b"400 "),
    ],
)
def test_what_is_not_taken_is_said_in_the_words_of_the_command(
    failing: Exception,
    posted: bytes,
    sent: bytes,
    streamed: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """RFC 3977 §6.3, RFC 4644 §2.5.2; HARDENING fault-3: never taken without being kept."""
    caplog.set_level(logging.CRITICAL)
    intake = FakeIntake()
    intake.failing = failing
    talk = talking(intake)

    talk.say(b"POST")
    assert talk.say(ON_THE_WIRE).startswith(posted)
    assert talk.code(b"IHAVE <a@x>") == 335
    assert talk.say(ON_THE_WIRE).startswith(sent)
    assert talk.say(b"TAKETHIS <a@x>\r\n" + ON_THE_WIRE).startswith(streamed)
    assert talk.transport.closed is (streamed == b"400 ")


def test_what_is_not_taken_again_and_again_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """HARDENING 25: a few lines of a kind in a minute."""
    caplog.set_level(logging.INFO)
    intake = FakeIntake()
    intake.failing = TryLaterError("disk full")
    talk = talking(intake)
    for _ in range(50):
        talk.say(b"POST")
        assert talk.say(ON_THE_WIRE).startswith(b"441")

    assert 0 < caplog.text.count("disk full") <= 5


def test_offers_are_weighed() -> None:
    intake = FakeIntake()
    intake.wanted = {b"<no@x>": Wanted.NO, b"<later@x>": Wanted.LATER}
    talk = talking(intake)

    assert talk.code(b"IHAVE <no@x>") == 435
    assert talk.code(b"IHAVE <later@x>") == 436
    assert talk.say(b"CHECK <no@x>\r\nCHECK <later@x>\r\nCHECK <yes@x>\r\n") == (
        b"438 <no@x>\r\n431 <later@x>\r\n238 <yes@x>\r\n"
    )


def test_what_is_offered_and_sent_is_taken_under_its_name() -> None:
    intake = FakeIntake()
    talk = talking(intake)

    talk.say(b"IHAVE <a@x>")
    assert talk.code(ON_THE_WIRE) == 235
    assert talk.say(b"MODE STREAM\r\nTAKETHIS <b@x>\r\n" + ON_THE_WIRE).endswith(b"239 <b@x>\r\n")
    assert intake.taken == [
        (POSTED, "peer.example", b"<a@x>"),
        (POSTED, "peer.example", b"<b@x>"),
    ]


def test_a_peer_without_a_name_is_called_by_its_address() -> None:
    intake = FakeIntake()
    talking(intake, Access("*", transit=True)).say(b"TAKETHIS <b@x>\r\n" + ON_THE_WIRE)

    assert intake.taken[0][1] == "192.0.2.7"


class WaitingIntake(FakeIntake):
    """Takes articles when it is told to.

    Attributes:
        waiting: What each article waits for, by Message-ID.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[bytes | None, Deferred[None]] = {}

    async def take(self, octets: bytes, peer: str, message_id: bytes | None = None) -> None:
        waiting = self.waiting[message_id] = Deferred()
        await waiting
        await super().take(octets, peer, message_id)


def test_many_articles_are_taken_side_by_side_and_answered_in_order() -> None:
    """So that one wait for the disk is enough for all of them."""
    intake = WaitingIntake()
    talk = talking(intake)
    data = b"".join(b"TAKETHIS <%d@x>\r\n" % number + ON_THE_WIRE for number in range(5))

    assert talk.say(data + b"DATE\r\n") == b""
    assert len(intake.waiting) == 5
    for number in (4, 3, 1, 0):
        talk.clock.call_soon(intake.waiting[b"<%d@x>" % number].callback, None)
    talk.clock.pump()
    assert talk.transport.take() == b"239 <0@x>\r\n239 <1@x>\r\n"
    talk.clock.call_soon(intake.waiting[b"<2@x>"].callback, None)
    talk.clock.pump()
    assert talk.transport.take() == (
        b"239 <2@x>\r\n239 <3@x>\r\n239 <4@x>\r\n111 20270115080000\r\n"
    )


def test_articles_that_wait_for_the_disk_are_bounded() -> None:
    """HARDENING fault-15: a peer that sends faster than the disk writes."""
    intake = WaitingIntake()
    talk = talking(intake)
    body = b"x" * 70 + b"\r\n"
    head = b"From: a@b\r\nNewsgroups: misc.test\r\nSubject: x\r\n\r\n"
    wire = head + body * 13_000 + b".\r\n"
    data = b"".join(b"TAKETHIS <%d@x>\r\n" % number + wire for number in range(12))
    sent = 0

    def send() -> int:
        """Send while the server reads."""
        at = sent
        while talk.transport.reading and at < len(data):
            talk.clock.call_soon(talk.transport.receive, data[at : at + 65_536])
            talk.clock.pump()
            at += 65_536
        return at

    sent = send()
    assert len(intake.waiting) == 5
    assert sent < 6_000_000
    for number in range(12):
        talk.clock.call_soon(intake.waiting[b"<%d@x>" % number].callback, None)
        talk.clock.pump()
        sent = send()
    assert talk.transport.written.count(b"239 ") == 12
    assert talk.transport.reading


def test_ten_thousand_offers_at_once_are_answered_in_their_order() -> None:
    """RFC 4644 §2.4: however many a peer sends without reading."""
    intake = FakeIntake()
    intake.wanted = {b"<%d@x>" % number: Wanted.NO for number in range(0, 10_000, 3)}
    talk = talking(intake)

    said = talk.say(b"".join(b"CHECK <%d@x>\r\n" % number for number in range(10_000)))

    expected = [b"%d <%d@x>" % (238 if number % 3 else 438, number) for number in range(10_000)]
    assert said.split(b"\r\n")[:-1] == expected


def test_articles_and_offers_come_behind_each_other() -> None:
    """RFC 4644 §2.1; and IHAVE from who does not wait for the answer is read as it would be."""
    intake = FakeIntake()
    talk = talking(intake)

    said = talk.say(
        b"TAKETHIS <1@x>\r\n" + ON_THE_WIRE + b"CHECK <2@x>\r\n"
        b"IHAVE <2@x>\r\n" + ON_THE_WIRE + b"TAKETHIS <3@x>\r\n" + ON_THE_WIRE + b"DATE\r\n"
    )

    codes = [line.partition(b" ")[0] for line in said.split(b"\r\n")[:-1]]
    assert codes == [b"239", b"238", b"335", b"235", b"239", b"111"]
    assert [each[2] for each in intake.taken] == [b"<1@x>", b"<2@x>", b"<3@x>"]
    assert {each[0] for each in intake.taken} == {POSTED}


def test_what_is_deflated_is_inflated_no_further_than_it_is_read() -> None:
    """RFC 8054 §7, Defaults 18: memory is bounded where the ratio still is allowed."""
    intake = FakeIntake()
    talk = Talk(factory(access=PEER, intake=intake, compress=True))
    assert talk.code(b"COMPRESS DEFLATE") == 206
    other = Deflate()
    noise = random.Random(1)
    # A line that cannot be deflated, and ninety times as much that can.
    pieces = noise.randbytes(700).hex().encode() + b"\r\n" + (b"x" * 98 + b"\r\n") * 500
    data = other.compress([b"POST\r\n", *[pieces] * 400, b".\r\nDATE\r\n"])
    tracemalloc.start()
    try:
        for at in range(0, len(data), 16_384):
            talk.clock.call_soon(talk.transport.receive, data[at : at + 16_384])
            talk.clock.pump()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    other.receive(talk.transport.take())
    assert other.decompress() == b"340 Send it\r\n441 Article too long\r\n111 20270115080000\r\n"
    assert len(data) < 1_000_000
    assert most < 4_000_000


def test_a_peer_that_goes_cancels_nothing_that_was_begun_for_good() -> None:
    intake = WaitingIntake()
    talk = talking(intake)
    talk.say(b"TAKETHIS <a@x>\r\n" + ON_THE_WIRE)
    talk.clock.call_soon(talk.transport.lose, None)
    talk.clock.pump()

    assert talk.transport.errors == []
