"""The engine of a server of news."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from news_answers import answer, permitted

from sennit.core.engine import CLOSED, NEED_DATA, PAUSED, NoEvent, PeerFault
from sennit.core.testing.engines import assert_no_io, converse, cut, engine_suite
from sennit.news.deflate import Deflate
from sennit.news.engine import ServerEngine
from sennit.news.errors import NNTPUsageError
from sennit.news.events import (
    ArticleAsked,
    ArticleChecked,
    ArticleOffered,
    ArticlePosted,
    ArticleSent,
    ArticleTaken,
    Asked,
    DateAsked,
    GroupAsked,
    HeadersAsked,
    ListAsked,
    NewNewsAsked,
    OverviewAsked,
    Part,
    PasswordGiven,
    SASLBegun,
    SASLResponse,
    TLSAsked,
)
from sennit.news.grammar import MAX_NUMBER, unstuff
from sennit.news.limits import Limits
from sennit.news.session import Offers


def sent(engine: ServerEngine) -> bytes:
    return b"".join(engine.data_to_send())


def unpermitted(offers: Offers | None = None) -> ServerEngine:
    """An engine whose client may do nothing."""
    engine = ServerEngine(offers)
    engine.permit(reads=False, posts=False, feeds=False)
    return engine


def told(engine: ServerEngine, data: bytes) -> bytes:
    """What an engine answers by itself."""
    engine.receive_data(data)
    assert isinstance(engine.next_event(), (NoEvent, PeerFault))
    return sent(engine)


def event_of(engine: ServerEngine, data: bytes) -> object:
    engine.receive_data(data)
    return engine.next_event()


# ── what commands ask ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b"GROUP misc.test", GroupAsked("misc.test")),
        (b"group misc.test", GroupAsked("misc.test")),
        (b"LISTGROUP misc.test", GroupAsked("misc.test", (1, MAX_NUMBER))),
        (b"LISTGROUP misc.test 3-4", GroupAsked("misc.test", (3, 4))),
        (b"LISTGROUP", GroupAsked("here", (1, MAX_NUMBER))),
        (b"ARTICLE <a@b>", ArticleAsked(Part.ARTICLE, b"<a@b>")),
        (b"HEAD 7", ArticleAsked(Part.HEAD, None, "here", 7)),
        (b"body", ArticleAsked(Part.BODY, None, "here", 5, True)),
        (b"STAT 7", ArticleAsked(Part.STAT, None, "here", 7)),
        (b"OVER 2-9", OverviewAsked(None, "here", 2, 9)),
        (b"XOVER 2-", OverviewAsked(None, "here", 2, MAX_NUMBER, old=True)),
        (b"OVER", OverviewAsked(None, "here", 5, 5, True)),
        (b"OVER <a@b>", OverviewAsked(b"<a@b>")),
        (b"HDR Subject 2", HeadersAsked("Subject", None, "here", 2, 2)),
        (b"HDR :bytes <a@b>", HeadersAsked(":bytes", b"<a@b>")),
        (b"XHDR subject", HeadersAsked("subject", None, "here", 5, 5, True, 221)),
        (
            b"XPAT from 2-9 *x* y*",
            HeadersAsked("from", None, "here", 2, 9, code=221, pattern="*x* y*"),
        ),
        (
            b"XPAT from <a@b> [^a-z]*,!\\[x\xff",
            HeadersAsked("from", b"<a@b>", code=221, pattern="[^a-z]*,!\\[x\udcff"),
        ),
        (b"LIST", ListAsked("ACTIVE")),
        (b"LIST active.times a.*", ListAsked("ACTIVE.TIMES", "a.*")),
        (b"LIST HEADERS MSGID", ListAsked("HEADERS")),
        (b"XGTITLE a.*", ListAsked("NEWSGROUPS", "a.*", 282)),
        (b"XGTITLE", ListAsked("NEWSGROUPS", "here", 282)),
        (b"NEWNEWS * 20270101 000000 GMT", NewNewsAsked("*", b"20270101", b"000000")),
        (b"DATE", DateAsked()),
        (b"IHAVE <a@b>", ArticleOffered(b"<a@b>")),
        (b"STARTTLS", TLSAsked()),
        (b"AUTHINFO SASL plain AGEAYg==", SASLBegun("PLAIN", b"\0a\0b")),
        (b"AUTHINFO SASL PLAIN =", SASLBegun("PLAIN", b"")),
        (b"AUTHINFO SASL PLAIN", SASLBegun("PLAIN", None)),
    ],
)
def test_commands_become_events(line: bytes, event: object) -> None:
    engine = permitted()
    engine.session.group, engine.session.number = "here", 5

    assert event_of(engine, line + b"\r\n") == event
    assert sent(engine) == b""


@pytest.mark.parametrize(
    ("line", "code"),
    [
        # Words missing, too many, or of the wrong kind: RFC 3977 §3.2.1.
        (b"GROUP", 501),
        (b"GROUP a b", 501),
        (b"DATE now", 501),
        (b"MODE", 501),
        (b"MODE FAST", 501),
        (b"LIST NOTHING", 501),
        (b"LIST OVERVIEW.FMT *", 501),
        (b"LIST HEADERS ALL", 501),
        (b"LIST ACTIVE [a-z]", 501),
        (b"LIST ACTIVE \xff", 501),
        (b"NEWNEWS * 20270101 000000 CET", 501),
        (b"NEWGROUPS 20270101", 501),
        (b"HDR a:b 1", 501),
        (b"XPAT subject 1- [ab", 501),
        (b"XPAT subject 1- *\\", 501),
        (b"XPAT subject [^a-z]", 501),
        # RFC 3977 §5.2.1, §2: a keyword has three characters, and begins with a letter.
        (b"CAPABILITIES a=b", 501),
        (b"CAPABILITIES 1ab", 501),
        (b"CAPABILITIES ab", 501),
        (b"CAPABILITIES AUTOUPDATE", 101),
        (b"AUTHINFO FOO bar", 501),
        (b"AUTHINFO SASL PLAIN = =", 501),
        (b"AUTHINFO SASL PL+IN", 501),
        (b"AUTHINFO SASL " + b"A" * 21, 501),
        (b"AUTHINFO SASL", 501),
        (b"COMPRESS DEF/ATE", 501),
        (b"COMPRESS " + b"A" * 21, 501),
        (b"LIST ACTIVE " + b"a" * 499, 501),
        # What HARDENING nntp-4 sends.
        (b"OVER 1-99999999999", 501),
        (b"OVER -5", 501),
        (b"GROUP a*", 411),
        (b"GROUP \xff", 411),
        # And nntp-5.
        (b"ARTICLE <" + b"a" * 249 + b">", 501),
        (b"ARTICLE a@b", 501),
        (b"IHAVE a@b", 501),
        (b"IHAVE <a\0@b>", 501),
        (b"IHAVE <a @b>", 501),
        (b"CHECK a@b", 501),
        # No command at all.
        (b"", 500),
        (b"XFOO", 500),
        (b"\xff\xfe", 500),
        (b"QU\rIT", 500),
        (b" ARTICLE <a@b>", 500),
        (b"\tNEXT", 500),
        (b"DATE\rx", 501),
        (b"DATE x\ny", 501),
        # Nothing is selected.
        (b"ARTICLE", 412),
        (b"ARTICLE 5", 412),
        (b"OVER 1-5", 412),
        (b"NEXT", 412),
        (b"LISTGROUP", 412),
        (b"XGTITLE", 412),
        (b"HDR Subject", 412),
        # What there is not here.
        (b"HDR :score 1", 503),
        (b"LIST MOTD", 503),
        (b"COMPRESS DEFLATE", 500),
        (b"COMPRESS LZMA", 500),
        (b"AUTHINFO SASL FOO", 503),
        (b"AUTHINFO SASL PLAIN ???", 504),
        (b"AUTHINFO PASS x", 482),
        (b"AUTHINFO USER x", 381),
        (b"MODE READER", 200),
        (b"MODE STREAM", 203),
        (b"POST", 340),
        (b"HELP", 100),
        (b"CAPABILITIES", 101),
        (b"QUIT", 205),
    ],
)
def test_what_can_be_said_at_once_is(line: bytes, code: int) -> None:
    assert int(told(permitted(), line + b"\r\n")[:3]) == code


def test_an_article_that_is_none_and_one_that_cannot_be() -> None:
    engine = permitted()
    engine.session.group = "here"

    assert told(engine, b"STAT\r\n").startswith(b"420 ")
    assert told(engine, b"NEXT\r\n").startswith(b"420 ")
    assert told(engine, b"OVER\r\n").startswith(b"420 ")
    assert told(engine, b"STAT 0\r\n").startswith(b"423 ")
    assert told(engine, b"STAT 2147483648\r\n").startswith(b"423 ")


def test_help_tells_of_every_command() -> None:
    text = told(permitted(), b"HELP\r\n")

    assert b"\r\n  TAKETHIS message-id\r\n" in text
    assert text.endswith(b"\r\n.\r\n")


@pytest.mark.parametrize(
    "line",
    [
        b"AUTHINFO PASS top\0secret",
        b"AUTHINFO PASS top\nsecret",
        b" AUTHINFO PASS secret",
        b"authinfo\0PASS secret",
    ],
)
def test_a_password_is_in_no_fault(line: bytes) -> None:
    engine = permitted()
    event = event_of(engine, line + b"\r\n")

    assert isinstance(event, PeerFault)
    assert "secret" not in repr(event)
    assert "secret" not in repr(PasswordGiven(b"a", b"secret"))
    assert "secret" not in repr(SASLBegun("PLAIN", b"secret")) + repr(SASLResponse(b"secret"))


# ── who may, and when ─────────────────────────────────────────────────────────


def test_the_greeting_says_whether_one_may_post() -> None:
    for posts, code in ((True, b"200"), (False, b"201")):
        engine = ServerEngine()
        engine.permit(reads=True, posts=posts, feeds=False)
        engine.greet()
        assert sent(engine).startswith(code)


def test_nobody_posts_where_peers_feed() -> None:
    """RFC 3977 §5.1.2: 200 is for who may post, if behind MODE READER."""
    for offers, code in (
        (Offers(mode="transit"), b"201"),
        (Offers(mode="switching"), b"200"),
    ):
        engine = ServerEngine(offers)
        engine.permit(reads=True, posts=True, feeds=True)
        engine.greet("news.example")
        assert sent(engine) == code + b" news.example\r\n"


@pytest.mark.parametrize(
    ("login", "line", "code"),
    [
        (True, b"GROUP a", 480),
        (False, b"GROUP a", 502),
        (True, b"POST", 480),
        (False, b"POST", 440),
        (True, b"IHAVE <a@b>", 480),
        (False, b"CHECK <a@b>", 502),
        (False, b"MODE STREAM", 502),
        (False, b"LIST", 502),
        (False, b"DATE", 111),
    ],
)
def test_who_may_not_is_told_whether_a_login_helps(login: bool, line: bytes, code: int) -> None:
    engine = unpermitted(Offers(login=login))
    engine.receive_data(line + b"\r\n")
    event = engine.next_event()
    if isinstance(event, DateAsked):
        engine.answer(event, 111, "now")

    assert int(sent(engine)[:3]) == code


def test_mode_reader_makes_a_reader_of_a_peer() -> None:
    """RFC 3977 §3.4.2, §5.3: a server that switches."""
    engine = permitted(offers=Offers(mode="switching"))

    before = told(engine, b"CAPABILITIES\r\n")
    assert b"MODE-READER" in before
    assert b"\r\nREADER" not in before
    assert b"IHAVE" in before
    assert told(engine, b"GROUP a\r\n").startswith(b"401 MODE-READER")
    assert told(engine, b"POST\r\n").startswith(b"401 MODE-READER")
    assert told(engine, b"MODE READER\r\n").startswith(b"200")
    after = told(engine, b"CAPABILITIES\r\n")
    assert b"\r\nREADER\r\nPOST\r\n" in after
    assert b"MODE-READER" not in after
    assert b"IHAVE" not in after
    assert told(engine, b"CHECK <a@b>\r\n").startswith(b"502")
    assert isinstance(event_of(engine, b"GROUP a\r\n"), GroupAsked)


def test_no_mode_is_changed_after_a_login() -> None:
    """RFC 4643 §2.2: MODE-READER is not offered any more, and MODE READER is refused."""
    engine = permitted(offers=Offers(mode="switching", login=True))
    engine.session.logged_in = True

    assert b"MODE-READER" not in told(engine, b"CAPABILITIES\r\n")
    assert told(engine, b"GROUP a\r\n").startswith(b"500 ")
    assert told(engine, b"MODE READER\r\n").startswith(b"502 ")
    assert engine.next_event() is CLOSED


def test_over_tls_a_server_that_switches_is_for_both() -> None:
    """RFC 4642 §2.2.2: MODE-READER is not offered there, and changes nothing."""
    engine = permitted(offers=Offers(mode="switching", tls=True))
    engine.session.secure = True

    lines = told(engine, b"CAPABILITIES\r\n").split(b"\r\n")
    assert {b"READER", b"POST", b"IHAVE", b"STREAMING"} <= set(lines)
    assert b"MODE-READER" not in lines
    assert told(engine, b"MODE READER\r\n").startswith(b"200 ")
    assert isinstance(event_of(engine, b"IHAVE <a@b>\r\n"), ArticleOffered)


def test_a_server_for_peers_is_no_readers_and_one_for_readers_no_peers() -> None:
    """RFC 3977 §3.4: commands that are not there are 500, variants of those that are, 501."""
    peers = permitted(offers=Offers(mode="transit"))
    assert told(peers, b"GROUP a\r\n").startswith(b"500")
    assert isinstance(event_of(peers, b"STAT <a@b>\r\n"), ArticleAsked)
    peers = permitted(offers=Offers(mode="transit"))
    assert told(peers, b"MODE READER\r\n").startswith(b"502")
    assert peers.next_event() is CLOSED  # RFC 3977 §5.3.2
    readers = permitted(offers=Offers(mode="reader"))
    assert told(readers, b"IHAVE <a@b>\r\n").startswith(b"500")
    assert told(readers, b"MODE STREAM\r\n").startswith(b"501")
    assert b"STREAMING" not in told(readers, b"CAPABILITIES\r\n")


def test_capabilities_follow_what_happens() -> None:
    offers = Offers(
        login=True, passwords=True, mechanisms=["PLAIN"], tls=True, compress=True, lists=["MOTD"]
    )
    engine = permitted(offers=offers)

    before = told(engine, b"CAPABILITIES\r\n").split(b"\r\n")
    assert {b"AUTHINFO USER SASL", b"SASL PLAIN", b"STARTTLS", b"POST", b"IHAVE"} <= set(before)
    assert b"COMPRESS DEFLATE" not in before
    assert before[1] == b"VERSION 2"
    engine.receive_data(b"AUTHINFO USER a\r\nAUTHINFO PASS b c\r\n")
    event = engine.next_event()
    assert event == PasswordGiven(b"a", b"b c")
    assert isinstance(event, PasswordGiven)
    engine.answer(event, 281, "welcome")
    engine.permit(reads=True, posts=True, feeds=True, known=True)
    sent(engine)
    after = told(engine, b"CAPABILITIES\r\n")
    assert b"COMPRESS DEFLATE" in after
    assert b"AUTHINFO" not in after
    # RFC 4643 §2.2: who was shown others before the login notices it now.
    assert b"\r\nSASL PLAIN\r\n" in after
    assert b"STARTTLS" not in after
    assert b"MOTD" in after
    # RFC 4643 §2.3.2, RFC 4642 §2.2.2: not twice, and not the other way round.
    assert told(engine, b"AUTHINFO USER a\r\n").startswith(b"502")
    assert told(engine, b"STARTTLS\r\n").startswith(b"502")


def test_what_a_server_does_not_offer_is_told_apart_from_what_it_refuses() -> None:
    """RFC 3977 §3.2.1, §3.4; RFC 4642 §2.2.2: 580 where TLS cannot begin."""
    engine = permitted(offers=Offers(new_news=False))
    for line, code in (
        (b"AUTHINFO USER a", b"500"),
        (b"NEWNEWS * 20270101 000000", b"500"),
        (b"STARTTLS", b"580"),
    ):
        assert told(engine, line + b"\r\n").startswith(code)
    engine = permitted(offers=Offers(login=True))
    engine.session.secure = True
    assert told(engine, b"AUTHINFO USER a\r\n").startswith(b"501 ")
    assert told(engine, b"AUTHINFO SASL PLAIN\r\n").startswith(b"503 ")
    assert told(engine, b"STARTTLS\r\n").startswith(b"502 ")


def test_no_mode_is_changed_under_compression() -> None:
    """RFC 8054 §2.2.2."""
    offers = Offers(mode="switching", compress=True, login=True, mechanisms=["PLAIN"], tls=True)
    engine = permitted(offers=offers)
    engine.session.compressed = True

    assert told(engine, b"AUTHINFO USER a\r\n").startswith(b"502 ")
    capabilities = told(engine, b"CAPABILITIES\r\n")
    for label in (b"MODE-READER", b"AUTHINFO", b"SASL", b"STARTTLS", b"COMPRESS"):
        assert label not in capabilities
    assert told(engine, b"MODE READER\r\n").startswith(b"502 ")


@pytest.mark.parametrize("offers", [Offers(), Offers(compress=True, login=True, tls=True)])
def test_under_compression_neither_logins_nor_tls_nor_compression_begin(offers: Offers) -> None:
    """RFC 8054 §2.2.2: each of them is 502 then, whatever the server has."""
    engine = permitted(offers=offers)
    engine.session.compressed = True

    for line in (
        b"AUTHINFO USER a",
        b"AUTHINFO SASL PLAIN",
        b"STARTTLS",
        b"COMPRESS DEFLATE",
        b"COMPRESS SHRINK",
    ):
        assert told(engine, line + b"\r\n").startswith(b"502 ")


def test_an_algorithm_that_is_unknown_is_503() -> None:
    """RFC 8054 §2.2.2."""
    engine = permitted(offers=Offers(compress=True))

    assert told(engine, b"COMPRESS SHRINK\r\n").startswith(b"503 ")


def test_passwords_wait_for_tls() -> None:
    """HARDENING nntp-3: 483 before TLS."""
    engine = unpermitted(Offers(login=True, tls=True, private_mechanisms=["PLAIN"]))

    assert told(engine, b"AUTHINFO SASL EXAMPLE\r\n").startswith(b"503")  # RFC 4643 §2.4.3
    assert told(engine, b"AUTHINFO USER a\r\n").startswith(b"483")
    assert told(engine, b"AUTHINFO PASS b\r\n").startswith(b"483")
    assert told(engine, b"AUTHINFO SASL PLAIN =\r\n").startswith(b"483")
    assert b"AUTHINFO\r\n" in told(engine, b"CAPABILITIES\r\n")


def test_nothing_is_read_before_it_is_known_who_may_what() -> None:
    engine = ServerEngine()
    engine.receive_data(b"DATE\r\n")
    assert engine.next_event() is PAUSED

    engine.permit(reads=True, posts=False, feeds=False)
    assert engine.next_event() == DateAsked()


# ── articles that come ────────────────────────────────────────────────────────


def test_what_is_posted_comes_whole_with_its_dots_undone() -> None:
    engine = permitted()

    assert told(engine, b"POST\r\n").startswith(b"340")
    event = event_of(engine, b"a\r\n\r\n..b\r\n.\r\nDATE\r\n")
    assert event == ArticlePosted(b"a\r\n\r\n.b\r\n")
    assert engine.next_event() is PAUSED
    assert isinstance(event, ArticlePosted)
    engine.answer(event, 240, "taken")
    assert engine.next_event() == DateAsked()


def test_an_offer_that_is_wanted_is_sent() -> None:
    engine = permitted()
    event = event_of(engine, b"IHAVE <a@b>\r\n")
    assert isinstance(event, ArticleOffered)
    engine.answer(event, 335)
    event = event_of(engine, b"x\r\n.\r\n")
    assert event == ArticleSent(b"<a@b>", b"x\r\n")
    assert isinstance(event, ArticleSent)
    engine.answer(event, 235)
    assert sent(engine) == b"335 \r\n235 \r\n"
    assert engine.next_event() is NEED_DATA


@pytest.mark.parametrize("ending", [b"\n.\n", b"\r\n.\n", b"\n.\r\n", b".\r\n", b"\r.\r"])
def test_nothing_but_crlf_dot_crlf_ends_an_article(ending: bytes) -> None:
    """HARDENING nntp-1 (RFC 3977 §3.1.1): else commands could hide in articles."""
    engine = permitted()
    told(engine, b"POST\r\n")

    assert event_of(engine, b"a" + ending + b"QUIT\r\n") is NEED_DATA
    event = event_of(engine, b".\r\n")
    assert isinstance(event, ArticlePosted)
    # A dot that begins a line was doubled by who keeps to the rules.
    assert event.octets == unstuff(b"a" + ending + b"QUIT\r\n")


LONG = b"x" * 150 + b"\r\n"


@pytest.mark.parametrize("pieces", [1, 7, 10_000])
@pytest.mark.parametrize(
    ("command", "code"),
    [(b"POST", b"441 "), (b"IHAVE <a@b>", b"437 "), (b"TAKETHIS <a@b>", b"439 <a@b>")],
)
def test_an_article_too_long_is_read_and_thrown_away(
    command: bytes, code: bytes, pieces: int
) -> None:
    """HARDENING nntp-2: with its refusal, and the conversation goes on."""
    engine = permitted()
    data = command + b"\r\n" + LONG * 4 + b".\r\nDATE\r\n"
    size = -(-len(data) // pieces)
    talk = converse(engine, cut(data, range(size, len(data), size)), answer)

    assert b"\r\n" + code in b"\r\n" + talk.sent
    assert talk.sent.endswith(b"111 20270115080000\r\n")
    assert "an article of more than 200 octets" in repr(talk.events)


def test_an_article_without_end_ends_the_connection() -> None:
    engine = permitted(Limits(max_article=100, max_discarded=1000))
    engine.receive_data(b"POST\r\n")
    events = 0
    for _ in range(20):
        engine.receive_data(b"x" * 100)
        event = engine.next_event()
        events += isinstance(event, PeerFault)
        if event is CLOSED:
            break

    assert engine.next_event() is CLOSED
    assert events == 2
    assert b"\r\n400 " in sent(engine)


def test_takethis_of_who_may_not_is_read_to_its_end() -> None:
    """RFC 4644 §2.5.2: else the article would be taken for commands."""
    engine = unpermitted()

    assert told(engine, b"TAKETHIS <a@b>\r\nQUIT\r\n.\r\n").startswith(b"502")
    for line in (b"TAKETHIS a@b", b"TAKETHIS\ta@b", b" TAKETHIS <a@b>", b"takethis\t<a\0@b>"):
        engine = permitted()
        assert isinstance(event_of(engine, line + b"\r\nQUIT\r\n.\r\n"), PeerFault)
        assert engine.next_event() is NEED_DATA
        assert sent(engine).startswith(b"501")


# ── streaming ─────────────────────────────────────────────────────────────────


def test_many_offers_wait_and_are_answered_in_their_order() -> None:
    """RFC 4644 §2.1: and whoever is answered first does not overtake (RFC 3977 §3.5)."""
    engine = permitted()
    engine.receive_data(b"CHECK <1@x>\r\nTAKETHIS <2@x>\r\nhello\r\n.\r\nCHECK x\r\nDATE\r\n")

    first, second = engine.next_event(), engine.next_event()
    assert isinstance(first, ArticleChecked)
    assert isinstance(second, ArticleTaken)
    assert (second.message_id, second.octets) == (b"<2@x>", b"hello\r\n")
    assert first.exchange != second.exchange
    assert isinstance(engine.next_event(), PeerFault)
    assert engine.next_event() is PAUSED
    engine.answer(second, 239, b"<2@x>")
    assert sent(engine) == b""
    engine.answer(first, 438, b"<1@x>")
    assert sent(engine) == b"438 <1@x>\r\n239 <2@x>\r\n501 Not understood\r\n"
    assert engine.next_event() == DateAsked()


def test_no_more_offers_wait_than_may() -> None:
    engine = permitted()
    engine.receive_data(b"CHECK <a@x>\r\n" * 6)
    events = [engine.next_event() for _ in range(5)]

    assert events[4] is PAUSED
    assert isinstance(events[0], ArticleChecked)
    engine.answer(events[0], 238, b"<a@x>")
    assert isinstance(engine.next_event(), ArticleChecked)
    assert engine.next_event() is PAUSED


def test_no_more_octets_of_articles_wait_than_may() -> None:
    engine = permitted()
    engine.receive_data((b"TAKETHIS <a@x>\r\n" + LONG + b".\r\n") * 3)

    first = engine.next_event()
    assert isinstance(first, ArticleTaken)
    assert isinstance(engine.next_event(), ArticleTaken)
    assert engine.next_event() is PAUSED
    engine.answer(first, 239, b"<a@x>")
    assert isinstance(engine.next_event(), ArticleTaken)


def test_quit_waits_for_what_is_streamed() -> None:
    engine = permitted()
    engine.receive_data(b"CHECK <1@x>\r\nQUIT\r\n")
    event = engine.next_event()

    assert isinstance(event, ArticleChecked)
    assert engine.next_event() is PAUSED
    engine.answer(event, 238, b"<1@x>")
    assert engine.next_event() is CLOSED
    assert sent(engine) == b"238 <1@x>\r\n205 Bye\r\n"


# ── the end ───────────────────────────────────────────────────────────────────


def test_a_line_too_long_closes() -> None:
    engine = permitted()

    assert told(engine, b"x" * 1024).startswith(b"400")
    assert engine.next_event() is CLOSED


def test_a_command_too_long_is_refused_whole() -> None:
    """RFC 3977 §3.2.1: 501, and neither cut nor split."""
    engine = permitted()

    assert told(engine, b"LIST ACTIVE " + b"a" * 499 + b"\r\n").startswith(b"501")
    assert isinstance(event_of(engine, b"DATE\r\n"), DateAsked)


def test_a_login_by_sasl_may_be_longer_than_other_commands() -> None:
    """RFC 4643 §2.4.2: as long as the longest initial response."""
    event = event_of(permitted(), b"authinfo\tsasl  PLAIN " + b"QUFB" * 200 + b"\r\n")

    assert event == SASLBegun("PLAIN", b"AAA" * 200)
    assert told(permitted(), b"AUTHINFO PASS " + b"a" * 600 + b"\r\n").startswith(b"501")


def test_blanks_of_a_password_are_kept() -> None:
    """RFC 4643 §3.1: all behind the first one is the password."""
    engine = permitted()
    told(engine, b"AUTHINFO USER  a b\r\n")

    assert event_of(engine, b"AUTHINFO PASS  c \r\n") == PasswordGiven(b" a b", b" c ")


def test_512_octets_are_a_command() -> None:
    """RFC 3977 §3.1."""
    engine = permitted()
    line = b"LIST ACTIVE " + b"a" * 498 + b"\r\n"
    assert len(line) == 512

    assert isinstance(event_of(engine, line), ListAsked)


def test_what_is_closed_says_so_once_the_open_command_is_answered() -> None:
    engine = permitted()
    event = event_of(engine, b"DATE\r\nDATE\r\n")
    engine.close()
    assert engine.next_event() is PAUSED
    assert isinstance(event, DateAsked)
    engine.answer(event, 111, "now")

    assert engine.next_event() is CLOSED
    assert sent(engine) == b"111 now\r\n400 Closing down\r\n"


def test_answers_after_the_end_are_nobodys() -> None:
    engine = permitted()
    event = event_of(engine, b"LIST\r\n")
    assert isinstance(event, ListAsked)
    engine.begin_block(event, 215, "list")
    engine.leave("Too slow")
    engine.send_lines(event, b"x\r\n")
    engine.end_block(event)
    engine.answer(event, 215)
    engine.answer_block(event, 215, "", b"")
    engine.begin_block(event, 215, "")

    # Within a block there is no room for another response.
    assert sent(engine) == b"215 list\r\n"
    assert engine.next_event() is CLOSED


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"DATE\r\n", b"403 "),
        (b"IHAVE <a@b>\r\n", b"436 "),
        (b"CHECK <a@b>\r\n", b"431 <a@b>\r\n"),
        (b"TAKETHIS <a@b>\r\n.\r\n", b"400 "),
        (b"POST\r\n.\r\n", b"340 Send it\r\n441 "),
    ],
)
def test_a_failure_of_ours_is_said_in_the_words_of_the_command(data: bytes, said: bytes) -> None:
    engine = permitted()
    event = event_of(engine, data)
    assert isinstance(event, Asked)
    engine.internal_error(event.exchange)

    assert sent(engine).startswith(said)


def test_a_failure_within_a_block_ends_the_connection() -> None:
    """An end of the block would say that this was all."""
    engine = permitted()
    event = event_of(engine, b"LIST\r\n")
    assert isinstance(event, ListAsked)
    engine.begin_block(event, 215, "list")
    engine.internal_error()

    assert sent(engine) == b"215 list\r\n"
    assert engine.next_event() is CLOSED


def test_wrong_answers_are_refused() -> None:
    engine = permitted()
    event = event_of(engine, b"DATE\r\n")
    assert isinstance(event, DateAsked)

    with pytest.raises(NNTPUsageError, match="does not answer"):
        engine.answer(event, 211)
    with pytest.raises(NNTPUsageError, match="does not wait"):
        engine.answer(DateAsked(), 111)
    with pytest.raises(NNTPUsageError, match="not one line"):
        engine.answer(event, 111, "a\r\nb")
    with pytest.raises(NNTPUsageError, match="no block"):
        engine.send_lines(event, b"")
    with pytest.raises(NNTPUsageError, match="no block"):
        engine.end_block(event)
    engine.answer(event, 111, "now")
    with pytest.raises(NNTPUsageError, match="does not wait"):
        engine.answer(event, 111)
    with pytest.raises(NNTPUsageError, match="no login"):
        engine.challenge(SASLBegun("PLAIN", None), b"=")


# ── logins, TLS, compression ──────────────────────────────────────────────────


def test_sasl_goes_by_challenges_and_responses() -> None:
    """RFC 4643 §2.4: responses are longer than commands may be."""
    engine = permitted(Limits())
    event = event_of(engine, b"AUTHINFO SASL PLAIN\r\n")
    assert isinstance(event, SASLBegun)
    engine.challenge(event, b"=")
    assert sent(engine) == b"383 =\r\n"
    assert engine.in_transfer
    long = event_of(engine, b"QUFB" * 1000 + b"\r\n")
    assert isinstance(long, SASLResponse)
    assert long.data == b"AAA" * 1000
    assert engine.next_event() is PAUSED
    engine.challenge(event, b"eA==")
    response = event_of(engine, b"*\r\n")
    assert isinstance(response, SASLResponse)
    assert response.data is None
    engine.answer(event, 481, "no")
    assert told(engine, b"x" * 513 + b"\r\n").endswith(b"501 Not understood\r\n")


def test_a_response_that_is_no_base64_ends_the_exchange() -> None:
    engine = permitted()
    event = event_of(engine, b"AUTHINFO SASL PLAIN\r\n")
    assert isinstance(event, SASLBegun)
    engine.challenge(event, b"=")

    assert isinstance(event_of(engine, b"???\r\n"), PeerFault)
    assert sent(engine).endswith(b"504 That is no base64\r\n")
    assert isinstance(event_of(engine, b"DATE\r\n"), DateAsked)


def test_an_end_within_sasl_gives_it_up() -> None:
    engine = permitted()
    event = event_of(engine, b"AUTHINFO SASL PLAIN\r\n")
    assert isinstance(event, SASLBegun)
    engine.challenge(event, b"=")
    engine.receive_eof()

    response = engine.next_event()
    assert isinstance(response, SASLResponse)
    assert response.data is None
    engine.answer(event, 481)
    assert engine.next_event() is CLOSED


def test_starttls_reads_nothing_more() -> None:
    """HARDENING nntp-3: what came behind it is given up, not run."""
    engine = permitted()
    event = event_of(engine, b"STARTTLS\r\nPOST\r\n")
    assert isinstance(event, TLSAsked)
    engine.answer(event, 382)

    assert engine.next_event() is PAUSED
    assert sent(engine) == b"382 \r\n"
    assert engine.release() == b"POST\r\n"
    assert engine.next_event() is CLOSED


def compressed() -> tuple[ServerEngine, Deflate]:
    engine = permitted(Limits(), Offers(compress=True))
    engine.permit(reads=True, posts=True, feeds=True, known=True)
    assert told(engine, b"COMPRESS DEFLATE\r\n") == b"206 Compression active\r\n"
    return engine, Deflate()


def test_after_compress_all_is_deflated() -> None:
    """RFC 8054 §2.2."""
    engine, other = compressed()
    event = event_of(engine, other.compress([b"DATE\r\nCOMPRESS DEFLATE\r\n"]))
    assert isinstance(event, DateAsked)
    engine.answer(event, 111, "now")
    assert engine.next_event() is NEED_DATA
    other.receive(sent(engine))

    assert other.decompress() == b"111 now\r\n502 Compressed already\r\n"
    assert sent(engine) == b""


def test_octets_behind_compress_are_deflated_ones() -> None:
    engine = permitted(Limits(), Offers(compress=True))
    engine.permit(reads=True, posts=True, feeds=True, known=True)
    other = Deflate()
    engine.receive_data(b"COMPRESS DEFLATE\r\n" + other.compress([b"HELP\r\n"]))

    assert engine.next_event() is NEED_DATA
    clear, _, deflated = sent(engine).partition(b"\r\n")
    assert clear == b"206 Compression active"
    other.receive(deflated)
    assert other.decompress().startswith(b"100 ")


def test_a_bomb_is_not_inflated() -> None:
    """HARDENING, Defaults 18: a ratio of 100 after the first MiB."""
    engine, other = compressed()
    bomb = other.compress([bytes(64 * 1024 * 1024)])
    engine.receive_data(bomb)

    assert isinstance(engine.next_event(), PeerFault)
    assert engine.next_event() is CLOSED


def test_what_is_not_deflated_closes() -> None:
    engine, _ = compressed()

    assert isinstance(event_of(engine, b"\xff\xff\xff\xff"), PeerFault)
    assert engine.next_event() is CLOSED


def test_compression_is_for_who_is_known() -> None:
    for login, code in ((True, b"480"), (False, b"502")):
        engine = permitted(offers=Offers(compress=True, login=login))
        assert told(engine, b"COMPRESS DEFLATE\r\n").startswith(code)


# ── what every engine must keep ───────────────────────────────────────────────

TestServerEngine = engine_suite(
    permitted,
    conversations=[
        b"MODE READER\r\nGROUP misc.test\r\nOVER 1-3\r\nARTICLE 1\r\nNEXT\r\nQUIT\r\n",
        b"MODE STREAM\r\nCHECK <1@x>\r\nCHECK <2@x>\r\nTAKETHIS <1@x>\r\na\r\n.\r\nDATE\r\n",
        b"IHAVE <3@x>\r\nhead: x\r\n\r\n..body\r\n.\r\nPOST\r\nbody\r\n.\r\nLIST\r\n",
        b"AUTHINFO USER a\r\nAUTHINFO PASS b\r\nAUTHINFO SASL PLAIN\r\n=\r\nHELP\r\n",
        b"TAKETHIS <1@x>\r\n" + LONG * 3 + b".\r\nCHECK bad\r\nSTARTTLS\r\nxx",
    ],
    answer=answer,
    tokens=[
        b"CHECK <a@b>\r\n",
        b"TAKETHIS <a@b>\r\n",
        b".\r\n",
        b"..\r\n",
        b"\r\n",
        b"\r",
        b"\n",
        b"\0",
        b"POST\r\n",
        b"IHAVE <a@b>\r\n",
        b"QUIT\r\n",
        b"AUTHINFO SASL PLAIN\r\n",
        b"*\r\n",
        b"x" * 600,
    ],
    endless=[b"G", b"\r", b"LIST "],
    limit=1024,
)
"""Any split, pipelining, limits, no exception on any octets."""


@given(data=st.binary(max_size=300))
def test_answers_are_lines(data: bytes) -> None:
    talk = converse(permitted(), [data], answer, eof=True)

    assert not talk.sent or talk.sent.endswith(b"\r\n")


def test_the_engine_leaves_the_sockets_alone() -> None:
    assert_no_io("sennit.news.engine")
