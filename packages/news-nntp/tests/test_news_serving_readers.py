"""What readers ask of groups and articles, answered out of stores that are quick and slow."""

from __future__ import annotations

import pytest
from news_serving import SlowStore, Talk, article, factory, file, filled

from sennit.news.access import Access
from sennit.news.store.memory import MemoryStore

ARTICLE_2 = (
    b"Path: here!not-for-mail\r\nFrom: somebody2@example.net\r\nNewsgroups: misc.test\r\n"
    b"Subject: the 2th\r\nDate: Fri, 15 Jan 2027 07:02:00 +0000\r\nMessage-ID: <2@example.net>\r\n"
    b"Xref: news.example misc.test:2\r\n"
)
BODY_2 = b"..a line of dots\r\n...\r\n..\r\n"


@pytest.fixture(params=[MemoryStore, SlowStore], ids=["quick", "slow"])
def talk(request: pytest.FixtureRequest) -> Talk:
    """A reader of a store that answers at once, or of one that does not."""
    talk = Talk(factory(filled(kind=request.param)))
    talk.say(b"GROUP misc.test")
    return talk


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b"GROUP misc.test", b"211 5 1 5 misc.test\r\n"),
        (b"GROUP misc.empty", b"211 0 1 0 misc.empty\r\n"),
        (b"GROUP ../x", b"411 No such newsgroup\r\n"),
        (b"GROUP a..b", b"411 No such newsgroup\r\n"),
        (b"LISTGROUP", b"211 5 1 5 misc.test list follows\r\n1\r\n2\r\n3\r\n4\r\n5\r\n.\r\n"),
        (b"LISTGROUP misc.test 4-", b"211 5 1 5 misc.test list follows\r\n4\r\n5\r\n.\r\n"),
        (b"LISTGROUP misc.test 5-3", b"211 5 1 5 misc.test list follows\r\n.\r\n"),
        (b"STAT", b"223 1 <1@example.net>\r\n"),
        (b"STAT 3", b"223 3 <3@example.net>\r\n"),
        (b"STAT 9", b"423 No article with that number\r\n"),
        (b"STAT <3@example.net>", b"223 0 <3@example.net>\r\n"),
        (b"STAT <9@example.net>", b"430 No such article\r\n"),
        (b"STAT <../../x@y>", b"430 No such article\r\n"),
        (b"NEXT", b"223 2 <2@example.net>\r\n"),
        (b"LAST", b"422 No previous article\r\n"),
        (b"ARTICLE 2", b"220 2 <2@example.net>\r\n" + ARTICLE_2 + b"\r\n" + BODY_2 + b".\r\n"),
        (b"HEAD 2", b"221 2 <2@example.net>\r\n" + ARTICLE_2 + b".\r\n"),
        (b"BODY <2@example.net>", b"222 0 <2@example.net>\r\n" + BODY_2 + b".\r\n"),
        (b"ARTICLE 9", b"423 No article with that number\r\n"),
        (b"ARTICLE <9@example.net>", b"430 No such article\r\n"),
        (b"OVER 9-", b"423 No articles in that range\r\n"),
        (b"OVER 5-3", b"423 No articles in that range\r\n"),
        (b"XOVER 9-", b"420 No article selected\r\n"),
        (b"OVER <9@example.net>", b"430 No such article\r\n"),
        (b"HDR Subject 1-2", b"225 Headers follow\r\n1 the 1th\r\n2 the 2th\r\n.\r\n"),
        (b"HDR Organization 1", b"225 Headers follow\r\n1 \r\n.\r\n"),
        (b"HDR :lines <2@example.net>", b"225 Headers follow\r\n0 3\r\n.\r\n"),
        (b"HDR Path <2@example.net>", b"225 Headers follow\r\n0 here!not-for-mail\r\n.\r\n"),
        (b"HDR Path <9@example.net>", b"430 No such article\r\n"),
        (b"HDR Subject <9@example.net>", b"430 No such article\r\n"),
        (b"HDR Subject 9-", b"423 No articles in that range\r\n"),
        (b"XHDR Subject 9-", b"420 No article selected\r\n"),
        (b"XHDR Foo 1", b"221 Headers follow\r\n1 (none)\r\n.\r\n"),
        (
            b"XHDR Subject <1@example.net>",
            b"221 Headers follow\r\n<1@example.net> the 1th\r\n.\r\n",
        ),
        # RFC 2980 §2.9, §3.3: words of one pattern, which knows sets.
        (b"XPAT Subject 1- the [24]*", b"221 Headers follow\r\n2 the 2th\r\n4 the 4th\r\n.\r\n"),
        (b"XPAT Subject 1-4 the [^24]th", b"221 Headers follow\r\n1 the 1th\r\n3 the 3th\r\n.\r\n"),
        (b"XPAT Subject 1- *2*,*4*", b"221 Headers follow\r\n.\r\n"),
        (b"XPAT Subject 9- *", b"221 Headers follow\r\n.\r\n"),
        (b"XPAT Subject <9@example.net> *", b"430 No such article\r\n"),
    ],
)
def test_readers_are_answered(talk: Talk, command: bytes, answer: bytes) -> None:
    assert talk.say(command) == answer


def test_an_overview_has_a_line_for_each_article(talk: Talk) -> None:
    lines = talk.say(b"OVER 2-3").split(b"\r\n")

    assert lines[0] == b"224 Overview follows"
    assert lines[1] == (
        b"2\tthe 2th\tsomebody2@example.net\tFri, 15 Jan 2027 07:02:00 +0000\t<2@example.net>\t\t"
        b"221\t3\tXref: news.example misc.test:2"
    )
    assert [line[:2] for line in lines[1:]] == [b"2\t", b"3\t", b".", b""]
    assert talk.say(b"OVER <2@example.net>").split(b"\r\n")[1] == b"0" + lines[1][1:]


def test_a_group_leads_from_article_to_article(talk: Talk) -> None:
    """RFC 3977 §6.1: the current article, and what moves it."""
    assert talk.say(b"NEXT\r\nNEXT\r\nSTAT\r\n") == (
        b"223 2 <2@example.net>\r\n223 3 <3@example.net>\r\n223 3 <3@example.net>\r\n"
    )
    talk.say(b"HEAD <5@example.net>")
    assert talk.say(b"LAST") == b"223 2 <2@example.net>\r\n"
    talk.say(b"BODY 5")
    assert talk.code(b"NEXT") == 421
    assert talk.code(b"OVER") == 224
    assert talk.code(b"HDR Subject") == 225
    talk.say(b"GROUP nothing.like.that")
    assert talk.say(b"STAT") == b"223 5 <5@example.net>\r\n"
    talk.say(b"GROUP misc.empty")
    assert talk.code(b"STAT") == 420
    assert talk.code(b"LISTGROUP misc.test") == 211
    assert talk.say(b"STAT") == b"223 1 <1@example.net>\r\n"


def test_a_current_article_that_went_is_none_any_more() -> None:
    store = filled()
    talk = Talk(factory(store))
    talk.say(b"GROUP misc.test\r\nSTAT 3\r\n")
    coroutine = store.remove(b"<3@example.net>")
    with pytest.raises(StopIteration):
        coroutine.send(None)

    for command in (b"STAT", b"ARTICLE", b"OVER", b"HDR Subject"):
        assert talk.code(command) == 420
    assert talk.say(b"NEXT") == b"223 4 <4@example.net>\r\n"


@pytest.mark.parametrize("kind", [MemoryStore, SlowStore])
def test_what_may_not_be_read_is_not_there(kind: type[MemoryStore]) -> None:
    """The same answer for what is missing and what is forbidden (Defaults 22)."""
    talk = Talk(factory(filled(kind=kind), access=Access("*,!secret.*")))

    assert talk.say(b"GROUP secret.board") == talk.say(b"GROUP nothing.like.that")
    for command in (b"ARTICLE", b"STAT", b"OVER", b"HDR Subject", b"HDR Path"):
        assert talk.code(command + b" <999999@example.net>") == 430
        assert talk.code(command + b" <1@example.net>") in (220, 223, 224, 225)
    assert b"secret" not in talk.say(b"LIST")
    assert b"secret" not in talk.say(b"LIST ACTIVE secret.board")
    assert b"999999" not in talk.say(b"NEWNEWS * 20270101 000000 GMT")


def test_an_article_in_a_group_that_may_be_read_is_read() -> None:
    store = filled()
    file(store, article(7, "secret.board,misc.test"))
    talk = Talk(factory(store, access=Access("*,!secret.*")))

    assert talk.code(b"ARTICLE <7@example.net>") == 220
