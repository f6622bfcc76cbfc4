"""One server by whatever way answers: TCP behind UDP, with and without EDNS, cookies, padding."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from packages.names.tests.client_servers import serve, zone_answers
from sennit.names.client.cookies import MAX_SERVERS, CookieJar
from sennit.names.client.exchange import WITHOUT_EDNS, Upstream, padded
from sennit.names.client.stream import StreamClient
from sennit.names.client.udp import MAX_BAD, exchange_udp
from sennit.names.codes import OptionCode, Rcode
from sennit.names.edns import EDNS, Option
from sennit.names.errors import LookupTimeoutError, TSIGError, UnreachableError
from sennit.names.message import TC, Message
from sennit.names.rdata.tsig import TSIG
from sennit.names.tsig import Key, sign

if TYPE_CHECKING:
    from sennit.core.testing.clock import Clock
    from sennit.core.testing.network import MemoryNetwork

ANSWERS = zone_answers("www.example.org 60 A 192.0.2.7")
WHERE = ("10.0.0.53", 53)


def query(*, edns: bool = True) -> Message:
    return Message.query("www.example.org", edns=EDNS() if edns else None)


def address(answer: Message) -> str:
    return str(answer.answers[0].rdata)


def cookie_of(message: Message) -> bytes:
    assert message.edns is not None
    option = message.edns.option(OptionCode.COOKIE)
    assert option is not None
    return option.data


# ── TCP ───────────────────────────────────────────────────────────────────────


def test_forged_answers_make_it_ask_over_tcp(clock: Clock, memory_network: MemoryNetwork) -> None:
    """Dns-8: twenty that do not fit, and the question goes over TCP."""

    def forged(asked: Message) -> list[Message | bytes]:
        wire = ANSWERS(asked).to_wire()
        ids = [asked.id + number & 0xFFFF for number in range(1, MAX_BAD + 9)]
        return [each.to_bytes(2, "big") + wire[2:] for each in ids]

    server = serve(memory_network, forged, over_tcp=ANSWERS)
    upstream = Upstream(WHERE[0])
    assert address(clock.run(lambda _: upstream.ask(query()))) == "192.0.2.7"
    assert server.ways == ["udp", "tcp"]
    assert upstream.transport == "tcp"
    clock.run(lambda _: upstream.aclose())


def test_a_cut_answer_is_taken_where_that_is_asked_for(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    server = serve(memory_network, lambda asked: asked.reply(flags=TC))
    upstream = Upstream(WHERE[0], ignore_cut=True)
    assert clock.run(lambda _: upstream.ask(query())).flags & TC
    assert server.ways == ["udp"]


@pytest.mark.parametrize(
    "how", [{"server": "tcp://10.0.0.53"}, {"server": "10.0.0.53", "tcp": True}]
)
def test_tcp_may_be_all_there_is(
    clock: Clock, memory_network: MemoryNetwork, how: dict[str, object]
) -> None:
    server = serve(memory_network, ANSWERS, ways="tcp")
    upstream = Upstream(**how)  # type: ignore[arg-type]  # as the table above has them
    assert address(clock.run(lambda _: upstream.ask(query()))) == "192.0.2.7"
    assert server.ways == ["tcp"]
    clock.run(lambda _: upstream.aclose())


# ── EDNS ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("rcode", [Rcode.FORMERR, Rcode.NOTIMP])
def test_a_server_that_does_not_know_edns_is_asked_without_it(
    clock: Clock, memory_network: MemoryNetwork, rcode: int
) -> None:
    """RFC 6891 §7; and for a while it is not asked with it again."""

    def old(asked: Message) -> Message:
        return ANSWERS(asked) if asked.edns is None else asked.reply(rcode)

    server = serve(memory_network, old)
    upstream = Upstream(WHERE[0])
    for _ in range(2):
        assert address(clock.run(lambda _: upstream.ask(query()))) == "192.0.2.7"
    assert [each.edns is not None for each in server.queries] == [True, False, False]
    clock.advance(WITHOUT_EDNS + 1)
    clock.run(lambda _: upstream.ask(query()))
    assert [each.edns is not None for each in server.queries[3:]] == [True, False]


def test_a_server_that_swallows_edns_is_asked_without_it_after_two_silences(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    server = serve(memory_network, lambda asked: ANSWERS(asked) if asked.edns is None else None)
    upstream = Upstream(WHERE[0])
    for _ in range(2):
        with pytest.raises(LookupTimeoutError):
            clock.run(lambda _: upstream.ask(query(), timeout=1))
    assert address(clock.run(lambda _: upstream.ask(query()))) == "192.0.2.7"
    assert address(clock.run(lambda _: upstream.ask(query()))) == "192.0.2.7"
    assert [each.edns is not None for each in server.queries] == [True, True, False, False]


def test_formerr_with_an_opt_is_an_answer(clock: Clock, memory_network: MemoryNetwork) -> None:
    """Such a server knows EDNS, and dislikes the question."""

    def strict(asked: Message) -> Message:
        reply = asked.reply(Rcode.FORMERR)
        reply.edns = EDNS()
        return reply

    server = serve(memory_network, strict)
    upstream = Upstream(WHERE[0])
    assert clock.run(lambda _: upstream.ask(query())).rcode == Rcode.FORMERR
    assert len(server.asked) == 1


# ── cookies ───────────────────────────────────────────────────────────────────


def with_cookie(asked: Message, server: bytes, rcode: int = 0) -> Message:
    reply = ANSWERS(asked) if not rcode else asked.reply(rcode)
    reply.rcode = rcode
    reply.edns = EDNS(options=[Option(OptionCode.COOKIE, cookie_of(asked)[:8] + server)])
    return reply


def test_the_servers_cookie_comes_back_to_it(clock: Clock, memory_network: MemoryNetwork) -> None:
    """RFC 7873 §5: a client cookie per server, and then the server's beside it."""
    server = serve(memory_network, lambda asked: with_cookie(asked, b"S" * 16))
    upstream = Upstream(WHERE[0])
    for _ in range(2):
        clock.run(lambda _: upstream.ask(query()))
    first, second = map(cookie_of, server.queries)
    assert len(first) == 8
    assert second == first + b"S" * 16
    other = Upstream(WHERE[0])
    clock.run(lambda _: other.ask(query()))
    assert cookie_of(server.queries[2])[:8] != first


def test_badcookie_is_asked_again_with_the_right_one(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    def strict(asked: Message) -> Message:
        good = cookie_of(asked)[8:] == b"G" * 16
        return with_cookie(asked, b"G" * 16, 0 if good else Rcode.BADCOOKIE)

    server = serve(memory_network, strict)
    upstream = Upstream(WHERE[0])
    assert address(clock.run(lambda _: upstream.ask(query()))) == "192.0.2.7"
    assert server.ways == ["udp", "udp"]


@pytest.mark.parametrize("what", ["badcookie for ever", "another cookie"])
def test_what_cookies_cannot_mend_goes_over_tcp(
    clock: Clock, memory_network: MemoryNetwork, what: str
) -> None:
    def bad(asked: Message) -> Message:
        if what == "badcookie for ever":
            return with_cookie(asked, b"N" * 16, Rcode.BADCOOKIE)
        reply = ANSWERS(asked)
        reply.edns = EDNS(options=[Option(OptionCode.COOKIE, b"stranger" + b"S" * 16)])
        return reply

    server = serve(memory_network, bad, over_tcp=ANSWERS)
    upstream = Upstream(WHERE[0])
    assert address(clock.run(lambda _: upstream.ask(query()))) == "192.0.2.7"
    assert server.ways[-1] == "tcp"
    clock.run(lambda _: upstream.aclose())


def test_a_question_without_edns_has_no_cookie(clock: Clock, memory_network: MemoryNetwork) -> None:
    server = serve(memory_network, ANSWERS)
    clock.run(lambda _: Upstream(WHERE[0]).ask(query(edns=False)))
    assert server.queries[0].edns is None


def test_no_more_cookies_are_kept_than_allowed() -> None:
    jar = CookieJar()
    first = jar.option("first").data
    for number in range(MAX_SERVERS):
        jar.option(number)
    assert jar.option("first").data != first


# ── padding ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["a.example", "a" * 60 + ".example", ("a" * 60 + ".") * 3 + "b"])
def test_padded_questions_are_multiples_of_a_block(name: str) -> None:
    """RFC 8467 §4.1: 128 octets for questions."""
    message = Message.query(name, edns=EDNS(options=[Option(OptionCode.NSID)]))
    longer = padded(message)
    assert len(longer.to_wire()) % 128 == 0
    assert longer.edns is not None
    assert [each.code for each in longer.edns.options] == [OptionCode.NSID, OptionCode.PADDING]
    assert message.edns is not None
    assert len(message.edns.options) == 1


# ── signatures ────────────────────────────────────────────────────────────────

KEY = Key("client.example", b"0123456789abcdef0123456789abcdef")
OTHER = Key("client.example", b"another secret of the same name!")


def signed(asked: Message, key: Key = KEY) -> bytes:
    assert asked.tsig is not None
    assert isinstance(asked.tsig.rdata, TSIG)
    mac = asked.tsig.rdata.mac
    return sign(ANSWERS(asked).to_wire(), key, int(time.time()), request_mac=mac)[0]


@pytest.mark.parametrize("way", ["udp", "tcp"])
def test_questions_are_signed_and_answers_verified(
    clock: Clock, memory_network: MemoryNetwork, way: str
) -> None:
    server = serve(memory_network, signed)
    upstream = Upstream(f"{way}://10.0.0.53", key=KEY)

    async def main(_: Clock) -> None:
        assert address(await upstream.ask(query())) == "192.0.2.7"
        await upstream.aclose()

    clock.run(main)
    assert server.queries[0].tsig is not None
    assert server.queries[0].tsig.name == KEY.name


def test_an_answer_signed_wrongly_is_dropped_and_the_right_one_awaited(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """RFC 8945 §5.3: it may be somebody else's."""

    def three(asked: Message) -> list[Message | bytes]:
        return [signed(asked, OTHER), ANSWERS(asked), signed(asked)]

    serve(memory_network, three)
    assert address(clock.run(lambda _: exchange_udp(query(), WHERE, key=KEY))) == "192.0.2.7"


def test_answers_without_a_signature_say_so_in_the_end(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    serve(memory_network, ANSWERS)
    with pytest.raises(TSIGError, match="not signed"):
        clock.run(lambda _: exchange_udp(query(), WHERE, key=KEY, timeout=1))

    async def over_tcp(_: Clock) -> None:
        async with StreamClient(WHERE) as client:
            with pytest.raises(TSIGError, match="not signed"):
                await client.exchange(query(), key=KEY)

    clock.run(over_tcp)


def test_the_octets_of_an_answer_may_be_had(clock: Clock, memory_network: MemoryNetwork) -> None:
    serve(memory_network, ANSWERS)
    seen: list[bytes] = []
    answer = clock.run(lambda _: exchange_udp(query(), WHERE, received=seen.append))
    assert [Message.from_wire(each) for each in seen] == [answer]


def test_an_upstream_may_be_asked_again_after_it_was_closed(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    serve(memory_network, ANSWERS)
    upstream = Upstream("tcp://10.0.0.53")

    async def main(_: Clock) -> None:
        for _again in range(2):
            assert address(await upstream.ask(query())) == "192.0.2.7"
            await upstream.aclose()

    clock.run(main)


def test_a_server_that_is_not_there_is_unreachable_over_tcp_too(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    memory_network.host(WHERE[0])
    upstream = Upstream("tcp://10.0.0.53")
    with pytest.raises(UnreachableError):
        clock.run(lambda _: upstream.ask(query()))
