"""What a server does around the answer: queries read, cookies, rates, who answers what."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from sennit.core.ops.metrics import Registry
from sennit.names.codes import Opcode, Rcode, RRClass, RRType
from sennit.names.edns import EDNS, Option
from sennit.names.errors import DNSUsageError
from sennit.names.interfaces import IResponder
from sennit.names.limits import ServerLimits
from sennit.names.message import AA, CD, QR, RD, TC, Message, Question, Record
from sennit.names.name import Name
from sennit.names.rdata.address import A
from sennit.names.rdata.basic import HINFO, SOA, TXT
from sennit.names.recursion import LOCAL_NETS, RecursionClients
from sennit.names.request import Request
from sennit.names.serving.answering import BLOCK, Asked, Serving
from sennit.names.serving.cookies import Cookies, siphash24
from sennit.names.serving.dispatch import Dispatcher
from sennit.names.serving.queries import (
    COOKIE,
    KEEPALIVE,
    NSID,
    PADDING,
    error_reply,
    kind_of,
    question_end,
    read_query,
    truncated_reply,
)
from sennit.names.serving.ratelimit import RateLimiter, Verdict
from sennit.names.serving.watching import QueryLog, QueryMetrics, SeveralWatches

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PEER = ("192.0.2.7", 4444)
NOW = 1_800_000_000.0
QUERY = Message.query("www.example.org", id=0x1234)


def with_edns(*options: Option, **more: Any) -> bytes:
    message = Message.query("www.example.org", id=0x1234)
    message.edns = EDNS(options=options, **more)
    return message.to_wire()


# ── reading queries ───────────────────────────────────────────────────────────


def rcode_of(reply: Message | bytes | None) -> int:
    assert isinstance(reply, bytes)
    return Message.from_wire(reply).rcode


def test_a_query_is_read() -> None:
    message = read_query(QUERY.to_wire())

    assert isinstance(message, Message)
    assert message.question == Question(Name("www.example.org."), RRType.A)


def test_what_is_no_query_gets_no_answer() -> None:
    """An answer to an answer would make a loop (HARDENING dns-4)."""
    assert read_query(QUERY.reply().to_wire()) is None
    assert read_query(QUERY.to_wire()[:11]) is None
    assert read_query(b"") is None


@pytest.mark.parametrize("opcode", [1, 2, 3, 6, 15])
def test_an_opcode_that_nobody_serves_is_notimp(opcode: int) -> None:
    """HARDENING dns-4."""
    reply = read_query(Message(7, RD, opcode=opcode, questions=QUERY.questions).to_wire())

    assert rcode_of(reply) == Rcode.NOTIMP
    assert isinstance(reply, bytes)
    assert len(reply) == 12
    read = Message.from_wire(reply)
    assert (read.id, read.opcode, read.flags) == (7, opcode, QR | RD)


@pytest.mark.parametrize("count", [0, 2, 65_535])
def test_there_is_one_question(count: int) -> None:
    """HARDENING dns-3, RFC 9619."""
    wire = bytearray(QUERY.to_wire())
    wire[4:6] = count.to_bytes(2, "big")

    assert rcode_of(read_query(bytes(wire))) == Rcode.FORMERR


def test_counts_and_lengths_that_lie_are_formerr() -> None:
    """HARDENING dns-3: nothing is made by count."""
    wire = QUERY.to_wire()
    lies = [
        wire[:6] + b"\xff\xff" + wire[8:],  # answers that are not there
        (wire[:6] + b"\xff\xff" + wire[8:])[:12],  # no question either
        wire + b"\0",  # an octet behind
        wire[:-1],
        wire[:11] + b"\1" + wire[12:] + b"\0\0\1\0\1\0\0\0\0\0\3\1\2\3",  # an A of three octets
        wire[:11] + b"\1" + wire[12:] + b"\0\0\1\0\1\0\0\0\0\xff\xff\1\2\3\4",  # RDLENGTH
    ]
    for each in lies:
        assert rcode_of(read_query(each)) == Rcode.FORMERR, each


def test_names_that_are_none_are_formerr() -> None:
    """HARDENING dns-1, dns-2: loops, labels of unknown kinds, names that are too long."""
    head, tail = QUERY.to_wire()[:12], b"\0\1\0\1"
    for name in (
        b"\xc0\x0c",
        b"\xc0\xff",
        b"\x40abc\0",
        b"\x80abc\0",
        b"\x3fabc",
        b"".join(b"\x3f" + each * 63 for each in (b"a", b"b", b"c", b"d")) + b"\0",
    ):
        assert rcode_of(read_query(head + name + tail)) == Rcode.FORMERR


def test_records_where_a_query_has_none_are_formerr() -> None:
    soa = SOA(Name("a."), Name("b."), 1, 2, 3, 4, 5)
    answered = Message.query("example.org")
    answered.answers.append(Record(Name("example.org."), RRType.A, 1, A("192.0.2.1")))
    told = Message.query("example.org")
    told.authority.append(Record(Name("example.org."), RRType.SOA, 1, soa))
    since = Message.query("example.org", RRType.IXFR)
    since.authority = told.authority

    assert rcode_of(read_query(answered.to_wire())) == Rcode.FORMERR
    assert rcode_of(read_query(told.to_wire())) == Rcode.FORMERR
    assert isinstance(read_query(since.to_wire()), Message)  # RFC 1995 §3


@pytest.mark.parametrize("rdtype", [0, RRType.OPT, RRType.TSIG])
def test_what_is_in_no_zone_is_not_asked_for(rdtype: int) -> None:
    assert rcode_of(read_query(Message.query("a.", rdtype).to_wire())) == Rcode.FORMERR


@pytest.mark.parametrize("rdtype", [RRType.TKEY, RRType.MAILA, RRType.MAILB])
def test_obsolete_questions_are_notimp(rdtype: int) -> None:
    assert rcode_of(read_query(Message.query("a.", rdtype).to_wire())) == Rcode.NOTIMP


def opt(owner: bytes = b"\0", payload: int = 1232, ttl: int = 0, data: bytes = b"") -> bytes:
    return (
        owner
        + b"\0\x29"
        + payload.to_bytes(2, "big")
        + ttl.to_bytes(4, "big")
        + len(data).to_bytes(2, "big")
        + data
    )


def with_additional(*records: bytes) -> bytes:
    wire = QUERY.to_wire()
    return wire[:10] + len(records).to_bytes(2, "big") + wire[12:] + b"".join(records)


def test_an_opt_that_cannot_be_is_formerr() -> None:
    """HARDENING dns-5: two of them, not at the root, past its end, too many options."""
    for records in (
        [opt(), opt()],
        [opt(b"\1a\0")],
        [opt(data=b"\0\x0a\0\x09abc")],
        [opt(data=b"\0\x0a\0")],
        [opt(data=b"\xff\0\0\0" * 101)],
        [opt(data=b"\xff\0\0\0" * 1000)],
    ):
        assert rcode_of(read_query(with_additional(*records))) == Rcode.FORMERR
    assert isinstance(read_query(with_additional(opt(data=b"\xff\0\0\0" * 100))), Message)


def test_another_version_of_edns_is_badvers() -> None:
    """HARDENING dns-5, RFC 6891 §6.1.3: the answer says which version there is."""
    reply = read_query(with_additional(opt(ttl=1 << 16)))

    assert isinstance(reply, bytes)
    read = Message.from_wire(reply)
    assert read.rcode == Rcode.BADVERS
    assert read.edns is not None
    assert read.edns.version == 0


def test_a_payload_of_nothing_counts_as_512() -> None:
    """HARDENING dns-5."""
    message = read_query(with_additional(opt(payload=0)))

    assert isinstance(message, Message)
    assert message.edns is not None
    assert message.edns.payload == 512


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.binary(max_size=64), st.binary(min_size=12, max_size=12))
def test_no_octets_break_the_reading(data: bytes, head: bytes) -> None:
    for wire in (data, head + data):
        found = read_query(wire)
        if isinstance(found, bytes):
            reply = Message.from_wire(found)
            assert reply.flags & QR
            assert found[:2] == wire[:2]
            assert len(found) <= max(len(wire), 12) + 11
        if len(wire) >= 12:
            question_end(wire)
            kind_of(wire)
            truncated_reply(wire)


def test_an_answer_without_records_repeats_the_question() -> None:
    reply = truncated_reply(QUERY.to_wire())

    assert reply is not None
    read = Message.from_wire(reply)
    assert (read.id, read.flags, read.questions) == (0x1234, QR | TC | RD, QUERY.questions)
    assert read.edns is None
    told = truncated_reply(with_edns())
    assert told is not None
    assert Message.from_wire(told).edns is not None
    assert truncated_reply(bytes(12)) is None


def test_kinds_of_answers_are_by_name_by_zone_and_errors() -> None:
    def answer(name: str, rcode: int = 0, *, found: bool = False, zone: str = "") -> bytes:
        message = Message.query(name).reply(rcode)
        if found:
            message.answers.append(Record(Name(name), RRType.A, 1, A("192.0.2.1")))
        if zone:
            soa = SOA(Name("a."), Name("b."), 1, 2, 3, 4, 5)
            message.authority.append(Record(Name(zone), RRType.SOA, 1, soa))
        return message.to_wire()

    assert kind_of(answer("a.example", found=True)) == kind_of(answer("A.EXAMPLE", found=True))
    assert kind_of(answer("a.example", found=True)) != kind_of(answer("b.example", found=True))
    missing = {kind_of(answer(f"x{n}.example", 3, zone="example")) for n in range(9)}
    assert len(missing) == 1
    assert kind_of(answer("a.", 5)) == kind_of(answer("b.", 2)) == "error"
    assert kind_of(bytes(3) + b"\1" + bytes(8)) == "error"
    assert kind_of(bytes(12)) == "none"


# ── cookies ───────────────────────────────────────────────────────────────────


def test_siphash_is_that_of_its_authors() -> None:
    """The paper's own example (appendix A): octets 0 to 14 under the key 0 to 15."""
    assert siphash24(bytes(range(16)), bytes(range(15))) == 0xA129CA6149BE45E5


@pytest.mark.parametrize(
    ("secret", "client", "host", "when", "server"),
    [
        (
            "e5e973e5a6b2a43f48e7dc849e37bfcf",
            "2464c4abcf10c957",
            "198.51.100.100",
            1559731985,
            "010000005cf79f111f8130c3eee29480",
        ),
        (
            "e5e973e5a6b2a43f48e7dc849e37bfcf",
            "2464c4abcf10c957",
            "198.51.100.100",
            1559734385,
            "010000005cf7a871d4a564a1442aca77",
        ),
        (
            "445536bcd2513298075a5d379663c962",
            "22681ab97d52c298",
            "2001:db8:220:1:59de:d0f4:8769:82b8",
            1559741961,
            "010000005cf7c609a6bb79d16625507a",
        ),
    ],
)
def test_cookies_are_those_of_the_rfc(
    secret: str, client: str, host: str, when: int, server: str
) -> None:
    """RFC 9018 appendix A: every make of server makes the same."""
    cookies = Cookies(bytes.fromhex(secret))

    made = cookies.make(bytes.fromhex(client), host, when)

    assert made.hex() == server
    assert cookies.check(bytes.fromhex(client), made, host, when)


def test_reserved_octets_of_another_server_are_hashed_as_they_came() -> None:
    """RFC 9018 appendix A.3."""
    cookies = Cookies(bytes.fromhex("e5e973e5a6b2a43f48e7dc849e37bfcf"))
    client = bytes.fromhex("fc93fc62807ddb86")
    server = bytes.fromhex("01abcdef5cf78f71a314227b6679ebf5")

    assert cookies.check(client, server, "203.0.113.203", 1559727985)


def test_a_secret_that_was_rolled_is_still_taken() -> None:
    """RFC 9018 appendix A.4: a cookie of the old secret is good, fresh ones have the new one."""
    old, new = (
        bytes.fromhex("dd3bdf9344b678b185a6f5cb60fca715"),
        bytes.fromhex("445536bcd2513298075a5d379663c962"),
    )
    client, host = bytes.fromhex("22681ab97d52c298"), "2001:db8:220:1:59de:d0f4:8769:82b8"
    server = bytes.fromhex("010000005cf7c57926556bd0934c72f8")

    assert Cookies(old).check(client, server, host, 1559741961)
    cookies = Cookies(old)
    cookies.roll(new)
    assert cookies.check(client, server, host, 1559741961)
    assert Cookies(new, [old]).check(client, server, host, 1559741961)
    cookies.roll(bytes(16))
    assert not cookies.check(client, server, host, 1559741961)


def test_a_cookie_is_good_for_its_client_and_an_hour() -> None:
    cookies = Cookies(b"k" * 16)
    made = cookies.make(b"c" * 8, "192.0.2.1", NOW)

    assert cookies.check(b"c" * 8, made, "192.0.2.1", NOW + 3600)
    assert cookies.check(b"c" * 8, made, "::ffff:192.0.2.1", NOW)
    assert cookies.check(b"c" * 8, made, "192.0.2.1", NOW - 300)
    assert not cookies.check(b"c" * 8, made, "192.0.2.1", NOW + 3601)
    assert not cookies.check(b"c" * 8, made, "192.0.2.1", NOW - 301)
    assert not cookies.check(b"d" * 8, made, "192.0.2.1", NOW)
    assert not cookies.check(b"c" * 8, made, "192.0.2.2", NOW)
    assert not cookies.check(b"c" * 8, made[:-1] + b"x", "192.0.2.1", NOW)
    assert not cookies.check(b"c" * 8, made + b"x", "192.0.2.1", NOW)
    assert not cookies.check(b"c" * 8, b"\2" + made[1:], "192.0.2.1", NOW)
    assert cookies.check(b"c" * 8, cookies.make(b"c" * 8, "no address", NOW), "no address", NOW)


def test_a_secret_has_sixteen_octets() -> None:
    with pytest.raises(DNSUsageError, match="16 octets, not 3"):
        Cookies(b"abc")
    assert "k" not in repr(Cookies(b"k" * 16)).removeprefix("<Cookies, ").replace("secrets", "")


# ── rates ─────────────────────────────────────────────────────────────────────


def verdicts(limiter: RateLimiter, count: int, kind: str = "a", **more: Any) -> list[str]:
    peer = (more.get("host", "192.0.2.1"), 53)
    network = limiter.network(peer)
    return [limiter.judge(network, kind, more.get("now", 0.0)).value for _ in range(count)]


def test_twenty_answers_of_a_kind_a_second_then_every_second_one_is_cut() -> None:
    """HARDENING dns-6."""
    limiter = RateLimiter(ServerLimits())

    found = verdicts(limiter, 30)

    assert found == ["send"] * 20 + ["drop", "slip"] * 5
    assert (limiter.dropped, limiter.slipped) == (5, 5)
    assert verdicts(limiter, 1, now=0.06) == ["send"]
    assert verdicts(limiter, 21, now=10.0).count("send") == 20


def test_a_network_is_limited_as_one_and_others_are_not() -> None:
    limiter = RateLimiter(ServerLimits())
    for last in range(20):
        assert verdicts(limiter, 1, host=f"192.0.2.{last}") == ["send"]

    assert verdicts(limiter, 1, host="192.0.2.99") == ["drop"]
    assert verdicts(limiter, 1, host="192.0.3.1") == ["send"]
    assert verdicts(limiter, 1, "b", host="192.0.2.99") == ["send"]
    six = RateLimiter(ServerLimits(rate=1))
    assert verdicts(six, 1, host="2001:db8:0:1::1") == ["send"]
    assert verdicts(six, 1, host="2001:db8:0:ff::1") == ["drop"]
    assert verdicts(six, 1, host="2001:db8:0:100::1") == ["send"]


def test_a_network_has_a_rate_in_all_too() -> None:
    """Names under a wildcard can be made up without end."""
    limiter = RateLimiter(ServerLimits(network_rate=50))

    found = [limiter.judge(limiter.network(PEER), ("name", n), 0.0) for n in range(60)]

    assert found.count(Verdict.SEND) == 50


def test_without_slip_all_is_dropped_and_with_one_all_is_cut() -> None:
    assert set(verdicts(RateLimiter(ServerLimits(slip=0)), 40)[20:]) == {"drop"}
    assert set(verdicts(RateLimiter(ServerLimits(slip=1)), 40)[20:]) == {"slip"}


def test_rates_of_made_up_networks_take_no_more_than_their_bound() -> None:
    limiter = RateLimiter(ServerLimits(rates=100))
    for n in range(5000):
        limiter.judge(limiter.network((f"10.{n >> 8}.{n & 255}.1", 53)), "a", 0.0)

    assert len(limiter) == 100


def test_limits_that_cannot_be_are_refused() -> None:
    for wrong in (
        {"payload": 511},
        {"payload": 70_000},
        {"idle": 0},
        {"in_flight": 0},
        {"rate": -1},
        {"ipv4_prefix": 33},
    ):
        with pytest.raises(DNSUsageError):
            ServerLimits(**wrong)  # type: ignore[arg-type]  # numbers that are none


# ── answers ───────────────────────────────────────────────────────────────────


class Fixed:
    """Answers what it was given, to whoever asks."""

    def __init__(self, answer: Any = None) -> None:
        self.given = answer
        self.asked: list[Request] = []

    def respond(self, request: Request) -> Any:
        self.asked.append(request)
        if isinstance(self.given, Exception):
            raise self.given
        if callable(self.given):
            return self.given(request)
        if self.given is not None:
            return self.given
        reply = request.message.reply(flags=AA)
        reply.answers.append(Record(request.message.question.name, RRType.A, 60, A("192.0.2.1")))
        return reply

    def quick(self, wire: bytes, size: int, peer: object) -> bytes | None:
        return None


def ask(wire: bytes, responder: Any = None, transport: str = "udp", **options: Any) -> Any:
    serving = Serving(
        responder or Fixed(), limits=options.pop("limits", None) or ServerLimits(), **options
    )
    asked = serving.read(wire, PEER, transport, NOW)
    return asked.answer() if isinstance(asked, Asked) else asked


def read(wire: Any) -> Message:
    assert isinstance(wire, bytes)
    return Message.from_wire(wire)


def test_an_answer_has_edns_where_the_query_had_it() -> None:
    """RFC 6891 §7; DO comes back (RFC 3225 §3)."""
    assert read(ask(QUERY.to_wire())).edns is None
    told = read(ask(with_edns(dnssec_ok=True))).edns
    assert told is not None
    assert (told.payload, told.version, told.dnssec_ok, told.options) == (1232, 0, True, ())


def test_rd_and_cd_come_back_and_ad_is_the_responders() -> None:
    query = Message.query("a.", flags=RD | CD)

    assert read(ask(query.to_wire())).flags == QR | AA | RD | CD
    assert read(ask(Message.query("a.", flags=0).to_wire())).flags == QR | AA


def many(request: Request) -> Message:
    reply = request.message.reply()
    name = request.message.question.name
    reply.answers = [Record(name, RRType.TXT, 1, TXT((b"x" * 100,))) for _ in range(30)]
    return reply


@pytest.mark.parametrize(
    ("payload", "most"), [(None, 512), (512, 512), (900, 900), (4096, 1232), (0, 512)]
)
def test_an_answer_that_is_too_long_is_cut_with_tc(payload: int | None, most: int) -> None:
    """HARDENING dns-5: no more than the client takes, and than we send."""
    wire = QUERY.to_wire() if payload is None else with_additional(opt(payload=payload))

    answer = ask(wire, Fixed(many))

    assert len(answer) <= most
    assert read(answer).flags & TC
    assert len(ask(wire, Fixed(many), "tcp")) > 3000


def test_octets_of_a_responder_are_sent_as_they_are_unless_too_long() -> None:
    octets = QUERY.reply(Rcode.NXDOMAIN).to_wire()

    assert ask(QUERY.to_wire(), Fixed(octets)) == octets
    assert read(ask(QUERY.to_wire(), Fixed(octets + bytes(600)))).flags & TC


def test_a_responder_that_fails_is_servfail_and_one_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)

    assert read(ask(with_edns(), Fixed(LookupError("boom")))).rcode == Rcode.SERVFAIL
    assert read(ask(with_edns(), Fixed(42))).rcode == Rcode.SERVFAIL
    assert "Fixed: respond failed for" in caplog.text
    assert "42" in caplog.text


def test_what_a_responder_keeps_is_not_changed() -> None:
    kept = QUERY.reply()
    kept.edns = EDNS(options=[Option(15, b"\0\1why")])
    responder = Fixed(kept)

    first = read(ask(with_edns(Option(NSID)), responder, nsid=b"ns1"))
    again = read(ask(QUERY.to_wire(), responder))

    assert first.edns is not None
    assert [each.code for each in first.edns.options] == [15, NSID]
    assert again.edns is None
    assert kept.edns.options == (Option(15, b"\0\1why"),)


def test_a_code_that_needs_edns_is_servfail_without_it() -> None:
    responder = Fixed(QUERY.reply(Rcode.BADCOOKIE))

    assert read(ask(QUERY.to_wire(), responder)).rcode == Rcode.SERVFAIL
    assert read(ask(with_edns(), responder)).rcode == Rcode.BADCOOKIE


def test_the_servers_name_is_told_where_it_has_one() -> None:
    told = read(ask(with_edns(Option(NSID)), nsid=b"ns1")).edns
    assert told is not None
    assert told.options == (Option(NSID, b"ns1"),)
    untold = read(ask(with_edns(Option(NSID)))).edns
    assert untold is not None
    assert untold.options == ()


def test_the_idle_time_is_told_over_connections_alone() -> None:
    """RFC 7828 §3.2.1, §3.3.2."""
    for transport, options in (
        ("udp", ()),
        ("https", ()),
        ("tcp", (Option(KEEPALIVE, b"\0\x64"),)),
        ("tls", (Option(KEEPALIVE, b"\0\x64"),)),
    ):
        told = read(ask(with_edns(Option(KEEPALIVE)), transport=transport)).edns
        assert told is not None
        assert told.options == options
    assert read(ask(with_edns(Option(KEEPALIVE, b"\0\1")), transport="tcp")).rcode == Rcode.FORMERR


@pytest.mark.parametrize("transport", ["tls", "https"])
@pytest.mark.parametrize("count", [0, 1, 4, 30])
def test_answers_are_padded_where_that_hides_something(transport: str, count: int) -> None:
    """RFC 8467 §4.1: in blocks, and only for who pads too."""

    def some(request: Request) -> Message:
        reply = many(request)
        del reply.answers[count:]
        return reply

    padded = ask(with_edns(Option(PADDING, bytes(20))), Fixed(some), transport)

    assert len(padded) % BLOCK == 0
    edns = read(padded).edns
    assert edns is not None
    assert [each.code for each in edns.options] == [PADDING]
    assert len(read(padded).answers) == count
    assert len(ask(with_edns(), Fixed(some), transport)) % BLOCK
    assert len(ask(with_edns(Option(PADDING)), Fixed(some), "tcp")) % BLOCK


def test_padding_leaves_no_room_beyond_what_may_be_sent() -> None:
    def whole(request: Request) -> Message:
        reply = request.message.reply()
        name = request.message.question.name
        reply.answers = [Record(name, RRType.TXT, 1, TXT((b"x" * 255,))) for _ in range(1000)]
        return reply

    padded = ask(with_edns(Option(PADDING)), Fixed(whole), "tls")
    assert len(padded) <= 0xFFFF


def cookie_in(answer: Any) -> bytes:
    edns = read(answer).edns
    assert edns is not None
    option = edns.option(COOKIE)
    return b"" if option is None else option.data


def test_a_client_with_a_cookie_gets_ours_and_is_known_by_it() -> None:
    """RFC 7873 §5.2."""
    cookies = Cookies(b"k" * 16)
    first = cookie_in(ask(with_edns(Option(COOKIE, b"c" * 8)), cookies=cookies))
    serving = Serving(Fixed(), limits=ServerLimits(), cookies=cookies)

    known = serving.read(with_edns(Option(COOKIE, first)), PEER, "udp", NOW + 60)
    old = serving.read(with_edns(Option(COOKIE, first)), PEER, "udp", NOW + 2000)
    other = serving.read(with_edns(Option(COOKIE, first)), ("192.0.2.8", 1), "udp", NOW)

    assert first[:8] == b"c" * 8
    assert len(first) == 24
    assert isinstance(known, Asked)
    assert known.proved
    assert cookie_in(known.answer()) == first
    assert isinstance(old, Asked)
    assert old.proved
    assert cookie_in(old.answer()) != first
    assert isinstance(other, Asked)
    assert not other.proved
    assert cookie_in(other.answer()) != first


def test_without_a_good_cookie_there_is_no_answer_where_one_is_required() -> None:
    """RFC 7873 §5.2.3: BADCOOKIE over UDP, with the cookie to come back with."""
    cookies = Cookies(b"k" * 16, required=True)
    wire = with_edns(Option(COOKIE, b"c" * 8))

    refused = ask(wire, cookies=cookies)

    assert read(refused).rcode == Rcode.BADCOOKIE
    assert read(ask(wire, cookies=cookies, transport="tcp")).rcode == Rcode.NOERROR
    again = with_edns(Option(COOKIE, cookie_in(refused)))
    assert read(ask(again, cookies=cookies)).rcode == Rcode.NOERROR
    assert read(ask(QUERY.to_wire(), cookies=cookies)).rcode == Rcode.NOERROR


@pytest.mark.parametrize("size", [0, 7, 9, 15, 41])
def test_a_cookie_of_another_length_is_formerr(size: int) -> None:
    """RFC 7873 §5.2.2."""
    assert read(ask(with_edns(Option(COOKIE, bytes(size))))).rcode == Rcode.FORMERR


def test_a_cookie_can_be_asked_for_without_a_question() -> None:
    """RFC 7873 §5.4."""
    query = Message(5, 0, edns=EDNS(options=[Option(COOKIE, b"c" * 8)]))

    answer = ask(query.to_wire(), cookies=Cookies(b"k" * 16))

    assert len(cookie_in(answer)) == 24
    assert read(ask(Message(5, 0, edns=EDNS()).to_wire())).rcode == Rcode.FORMERR


def test_class_ch_is_refused_unless_it_was_told_something() -> None:
    """HARDENING dns-4: nobody learns the version of a server unasked."""

    def asked(name: str, rdclass: int = RRClass.CH, rdtype: int = RRType.TXT) -> bytes:
        return Message.query(name, rdtype, rdclass=rdclass).to_wire()

    for name in ("version.bind", "hostname.bind", "id.server"):
        assert read(ask(asked(name))).rcode == Rcode.REFUSED
    told = read(ask(asked("ID.server"), identity={"id.server.": "ns1" * 120}))
    assert told.rcode == Rcode.NOERROR
    assert told.answers[0].rdclass == RRClass.CH
    assert isinstance(told.answers[0].rdata, TXT)
    assert b"".join(told.answers[0].rdata.strings) == b"ns1" * 120
    identity = {"id.server.": "ns1"}
    assert read(ask(asked("id.server", rdtype=RRType.A), identity=identity)).rcode == Rcode.REFUSED
    for rdclass in (RRClass.NONE, RRClass.ANY, RRClass.HS, 42):
        assert read(ask(asked("id.server", rdclass), identity=identity)).rcode == Rcode.REFUSED


def test_a_zone_transfer_takes_a_connection() -> None:
    """RFC 5936 §4.2."""
    wire = Message.query("example.org", RRType.AXFR).to_wire()

    assert read(ask(wire)).rcode == Rcode.FORMERR
    assert read(ask(wire, transport="tcp")).rcode == Rcode.NOERROR


# ── who answers what ──────────────────────────────────────────────────────────


class Part:
    """A responder that says its own name, or that it holds nothing."""

    def __init__(self, word: str, *, holds: bool = True, later: bool = False) -> None:
        self.word = word
        self.holds = holds
        self.later = later

    def respond(self, request: Request) -> Any:
        answer = None
        if self.holds:
            answer = request.message.reply()
            answer.answers.append(
                Record(Name("."), RRType.HINFO, 0, HINFO(self.word.encode(), b""))
            )
        return self._wait(answer) if self.later else answer

    async def _wait(self, answer: Message | None) -> Message | None:
        return answer

    def quick(self, wire: bytes, size: int, peer: object) -> bytes | None:
        return self.word.encode() if self.holds else None


async def said(dispatcher: Dispatcher, message: Message, host: str = "10.0.0.1") -> str:
    answer: Any = dispatcher.respond(Request(message, message.to_wire(), (host, 1)))
    if hasattr(answer, "__await__"):
        answer = await answer
    if answer.answers:
        cpu: bytes = answer.answers[0].rdata.cpu
        return cpu.decode()
    return str(Rcode(answer.rcode).name)


@pytest.mark.parametrize("later", [False, True])
async def test_a_query_goes_to_whom_it_is_for(later: bool) -> None:
    full = Dispatcher(
        Part("authority", later=later),
        Part("resolver"),
        Part("transfers"),
        Part("notify"),
        Part("update"),
    )
    cache = Dispatcher(Part("authority", holds=False, later=later), Part("resolver", later=later))
    query, unwished = Message.query("a."), Message.query("a.", flags=0)

    assert await said(full, query) == "authority"
    assert await said(full, Message.query("a.", RRType.AXFR)) == "transfers"
    assert await said(full, Message.query("a.", RRType.IXFR)) == "transfers"
    assert await said(full, Message(1, opcode=Opcode.NOTIFY, questions=query.questions)) == "notify"
    assert await said(full, Message(1, opcode=Opcode.UPDATE, questions=query.questions)) == "update"
    assert await said(cache, query) == "resolver"
    assert await said(cache, query, "127.0.0.1") == "resolver"
    assert await said(cache, query, "fe80::1%eth0") == "resolver"
    assert await said(cache, query, "198.51.100.1") == "REFUSED"  # HARDENING dns-6
    assert await said(cache, unwished) == "REFUSED"


async def test_what_is_for_nobody_is_refused() -> None:
    nobody = Dispatcher()
    query = Message.query("a.")

    for message in (
        query,
        Message.query("a.", RRType.AXFR),
        Message(1, opcode=Opcode.NOTIFY, questions=query.questions),
        Message(1, opcode=Opcode.UPDATE, questions=query.questions),
    ):
        assert await said(nobody, message) == "REFUSED"
    assert await said(Dispatcher(Part("a", holds=False)), query) == "REFUSED"
    assert await said(Dispatcher(resolver=Part("r"), allow_recursion=()), query) == "REFUSED"


def test_quick_answers_come_from_the_zones_first_and_the_cache_for_some() -> None:
    wire, stranger, friend = QUERY.to_wire(), ("198.51.100.1", 1), ("10.0.0.1", 1)
    both = Dispatcher(Part("authority"), Part("resolver"))
    cache = Dispatcher(Part("authority", holds=False), Part("resolver"))

    assert both.quick(wire, 512, stranger) == b"authority"
    assert cache.quick(wire, 512, friend) == b"resolver"
    assert cache.quick(wire, 512, stranger) is None
    assert cache.quick(wire, 512, "/run/a.sock") == b"resolver"
    assert Dispatcher(Part("authority")).quick(wire, 512, stranger) == b"authority"
    assert Dispatcher().quick(wire, 512, friend) is None


def test_a_dispatcher_is_a_responder_and_says_to_whom() -> None:
    found = Dispatcher(Part("a"), update=Part("u"))

    assert verifyObject(IResponder, found)
    assert repr(found) == "<Dispatcher to authority, update>"


def test_clients_that_were_looked_up_are_remembered_up_to_a_bound() -> None:
    found = RecursionClients(LOCAL_NETS)
    for n in range(10_000):
        assert found.allows((f"10.1.{n >> 8}.{n & 255}", 1))
    assert len(found._known) <= 4096


async def test_a_responder_that_fails_later_is_servfail_too() -> None:
    async def fails(request: Request) -> Message:
        raise LookupError("later")

    serving = Serving(Fixed(fails), limits=ServerLimits())
    asked = serving.read(QUERY.to_wire(), PEER, "tcp", NOW)
    assert isinstance(asked, Asked)
    found: Any = asked.answer()
    assert read(await asked.only(found)).rcode == Rcode.SERVFAIL


async def test_an_answer_of_no_messages_is_none() -> None:
    async def nothing(request: Request) -> AsyncIterator[Message]:
        return
        yield request.message.reply()

    serving = Serving(Fixed(nothing), limits=ServerLimits())
    asked = serving.read(QUERY.to_wire(), PEER, "udp", NOW)
    assert isinstance(asked, Asked)
    found: Any = asked.answer()
    assert await asked.only(found) is None


# ── several messages ──────────────────────────────────────────────────────────


async def all_of(wire: bytes, responder: Fixed) -> list[Message]:
    asked = Serving(responder, limits=ServerLimits()).read(wire, PEER, "tcp", NOW)
    assert isinstance(asked, Asked)
    answer: Any = asked.answer()
    return [Message.from_wire(each) async for each in asked.several(answer)]


async def test_several_messages_are_finished_one_by_one() -> None:
    async def three(request: Request) -> AsyncIterator[Message]:
        for _ in range(3):
            yield request.message.reply()

    found = await all_of(with_edns(), Fixed(three))

    assert [each.edns is not None for each in found] == [True, False, False]


@pytest.mark.parametrize("asked", [True, False])
async def test_messages_that_come_as_octets_have_an_opt_where_the_query_had_one(
    asked: bool,
) -> None:
    """RFC 6891 §6.1.1; a transfer's are octets."""

    async def three(request: Request) -> AsyncIterator[bytes]:
        for _ in range(3):
            yield request.message.reply().to_wire()

    found = await all_of(with_edns() if asked else QUERY.to_wire(), Fixed(three))

    assert [each.edns is not None for each in found] == [asked, False, False]


@pytest.mark.parametrize("after", [0, 2])
async def test_a_transfer_that_fails_is_servfail_or_ends(
    after: int, caplog: pytest.LogCaptureFixture
) -> None:
    closed: list[str] = []

    async def some(request: Request) -> AsyncIterator[Message]:
        try:
            for _ in range(after):
                yield request.message.reply()
            raise LookupError("boom")
        finally:
            closed.append("closed")

    found = [each.rcode for each in await all_of(QUERY.to_wire(), Fixed(some))]

    assert found == ([Rcode.NOERROR] * after or [Rcode.SERVFAIL])
    assert closed == ["closed"]


# ── who is told ───────────────────────────────────────────────────────────────


def test_queries_are_logged_with_what_was_asked_and_no_more_than_allowed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "sennit.names.queries")
    now = [0.0]
    log = QueryLog(2, time=lambda: now[0])
    query = Message.query("a\\010b.example", RRType.MX).to_wire()
    for _ in range(5):
        log.answered("udp", PEER, query, error_reply(query, Rcode.REFUSED))
    now[0] = 2.0
    log.answered("tcp", PEER, bytes(12), error_reply(bytes(12), Rcode.FORMERR))
    log.dropped("udp", PEER, "port")

    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == lines[1] == f"udp {PEER} QUERY a\\010b.example. IN MX REFUSED 12"
    assert lines[2] == f"tcp {PEER} QUERY - - - FORMERR 12 (3 more were not logged)"
    assert lines[3] == f"udp {PEER} dropped: port"
    assert len(lines) == 4
    assert vars(caplog.records[0])["qtype"] == "MX"


def test_queries_are_counted_by_transport_type_code_and_reason() -> None:
    registry = Registry()
    metrics = SeveralWatches([QueryMetrics("dns", registry)])
    query = Message.query("a.example", RRType.MX).to_wire()
    odd = Message.query("a.example", 65280).to_wire()
    for _ in range(3):
        metrics.answered("udp", PEER, query, error_reply(query, Rcode.REFUSED))
    metrics.answered("udp", PEER, odd, error_reply(odd, Rcode.NOERROR))
    metrics.dropped("udp", PEER, "port")

    counted = {
        (family["name"], *sample["labels"].values()): sample["value"]
        for family in registry.read()
        for sample in family["samples"]
    }
    assert counted["sennit_names_queries", "dns", "udp", "MX"] == 3
    assert counted["sennit_names_queries", "dns", "udp", "other"] == 1
    assert counted["sennit_names_answers", "dns", "REFUSED"] == 3
    assert counted["sennit_names_dropped", "dns", "port"] == 1
