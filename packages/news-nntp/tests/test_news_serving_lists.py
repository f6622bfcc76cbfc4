"""LIST and its kin."""

from __future__ import annotations

import pytest
from news_serving import SlowStore, Talk, article, done, factory, file, filled

from sennit.news.access import Access
from sennit.news.errors import NNTPUsageError
from sennit.news.limits import Limits
from sennit.news.serving.lists import Listings
from sennit.news.store.memory import MemoryStore

ACTIVE = [
    b"comp.lang.python 0 1 y",
    b"misc.empty 0 1 y",
    b"misc.test 5 1 y",
    b"secret.board 1 1 y",
]
LISTINGS = Listings(
    motd=["Welcome.", ".and a dot"],
    subscriptions=["misc.test", "secret.board"],
    distributions={"local": "This town"},
    distrib_pats=["10:local.*:local"],
    moderators=["*:%s@moderators.example"],
)


def block(*lines: bytes, first: bytes = b"215 List follows") -> bytes:
    return b"".join(line + b"\r\n" for line in (first, *lines, b"."))


@pytest.mark.parametrize("kind", [MemoryStore, SlowStore])
@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b"LIST", block(*ACTIVE)),
        (b"LIST ACTIVE misc.*", block(*ACTIVE[1:3])),
        (b"LIST ACTIVE misc.test,no.such", block(ACTIVE[2])),
        (b"LIST ACTIVE no.such", block()),
        (b"LIST COUNTS misc.test", block(b"misc.test 5 1 5 y")),
        (
            b"LIST ACTIVE.TIMES misc.test",
            block(b"misc.test 1799992800 usenet@example.net"),
        ),
        (b"LIST NEWSGROUPS misc.*", block(b"misc.test\tFor tests")),
        (
            b"XGTITLE misc.*",
            block(b"misc.test\tFor tests", first=b"282 List follows"),
        ),
        (b"LIST MOTD", block(b"Welcome.", b"..and a dot")),
        (b"LIST SUBSCRIPTIONS", block(b"misc.test")),
        (b"LIST SUBSCRIPTIONS comp.*", block()),
        (b"LIST DISTRIBUTIONS", block(b"local\tThis town")),
        (b"LIST DISTRIB.PATS", block(b"10:local.*:local")),
        (b"LIST MODERATORS", block(b"*:%s@moderators.example")),
        (
            b"LIST HEADERS RANGE",
            block(b":", b":bytes", b":lines", first=b"215 Headers and metadata"),
        ),
        (
            b"LIST OVERVIEW.FMT",
            block(
                b"Subject:",
                b"From:",
                b"Date:",
                b"Message-ID:",
                b"References:",
                b"Bytes:",
                b"Lines:",
                b"Xref:full",
                first=b"215 Order of fields in overview",
            ),
        ),
        (b"NEWGROUPS 20270115 060000 GMT", block(*ACTIVE, first=b"231 List follows")),
        (b"NEWGROUPS 270115 060001", block(first=b"231 List follows")),
        (b"NEWGROUPS 20271399 060001", b"501 No such date or time\r\n"),
        (
            b"NEWNEWS misc.test,!misc.e* 20270115 000000 GMT",
            block(
                *[b"<%d@example.net>" % number for number in range(1, 6)],
                first=b"230 New articles follow",
            ),
        ),
        (b"NEWNEWS * 20270115 073000 GMT", block(first=b"230 New articles follow")),
        (b"NEWNEWS * 20270199 073000 GMT", b"501 No such date or time\r\n"),
        (b"DATE", b"111 20270115080000\r\n"),
    ],
)
def test_lists_are_told(kind: type[MemoryStore], command: bytes, answer: bytes) -> None:
    access = Access("*") if b"SUBS" not in command else Access("*,!secret.*")
    talk = Talk(factory(filled(kind=kind), listings=LISTINGS, access=access))

    assert talk.say(command) == answer


def test_capabilities_name_the_lists_there_are() -> None:
    assert b"\r\nLIST ACTIVE ACTIVE.TIMES COUNTS HEADERS MOTD NEWSGROUPS OVERVIEW.FMT\r\n" in Talk(
        factory(listings=Listings(motd=["x"]))
    ).say(b"CAPABILITIES")


def test_newnews_may_be_switched_off() -> None:
    talk = Talk(factory(new_news=False))

    assert talk.code(b"NEWNEWS * 20270115 000000") == 500
    assert b"NEWNEWS" not in talk.say(b"CAPABILITIES")


def test_a_long_list_is_made_as_it_is_read() -> None:
    """HARDENING fault-15: a slow reader of a hundred thousand groups costs no memory."""
    store = filled(0)
    for number in range(5000):
        done(store.create_group(f"many.groups.number{number:06}"))
    talk = Talk(factory(store, limits=Limits(listed_at_once=100)))
    talk.clock.call_soon(talk.transport.block)
    talk.say(b"LIST ACTIVE many.*")
    assert talk.transport.get_write_buffer_size() < 100_000

    talk.clock.call_soon(talk.transport.unblock)
    talk.clock.pump()
    assert talk.transport.written.count(b"\r\nmany.groups.") == 5000


@pytest.mark.parametrize(
    "question", [b"LIST ACTIVE *x*y*z", b"GROUP misc.test\r\nXPAT subject 1- *x*y*z"]
)
def test_who_has_many_names_matched_does_not_keep_the_loop(question: bytes) -> None:
    """Half a second for a hundred thousand groups, of which none is told."""
    talk = Talk(factory(filled(30), limits=Limits(listed_at_once=2)))
    seen: list[bool] = []
    talk.clock.call_soon(talk.transport.receive, question + b"\r\n")
    talk.clock.call_soon(lambda: seen.append(talk.transport.written.endswith(b"\r\n.\r\n")))
    talk.clock.pump()

    assert seen == [False]
    assert talk.transport.written.endswith((b" follow\r\n.\r\n", b" follows\r\n.\r\n"))


def test_a_field_as_long_as_a_head_is_matched_a_part_at_a_time() -> None:
    """HARDENING nntp-4: what is matched in one turn is bounded, whatever the store has."""
    store, turns = filled(0), 0
    long = b"\r\nX-Long: " + b"\r\n ".join([b"a" * 900] * 70) + b"z\r\n\r\n"
    file(store, article(7).replace(b"\r\n\r\n", long, 1))
    talk = Talk(factory(store))
    assert talk.code(b"GROUP misc.test") == 211

    def count() -> None:
        nonlocal turns
        turns += 1
        if not talk.transport.written.endswith(b"\r\n.\r\n"):
            talk.clock.call_soon(count)

    talk.clock.call_soon(talk.transport.receive, b"XPAT x-long 1- *a*[y-z]\r\n")
    talk.clock.call_soon(count)
    talk.clock.pump()

    assert turns > 70 * 900 // 16_384
    assert b"\r\n1 aaa" in talk.transport.written


@pytest.mark.parametrize("line", ["a\r\nb", "a\0", "\n"])
def test_what_is_told_is_lines(line: str) -> None:
    with pytest.raises(NNTPUsageError):
        Listings(motd=[line])
    with pytest.raises(NNTPUsageError):
        Listings(distributions={"x": line})
