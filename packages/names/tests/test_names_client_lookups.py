"""Typed look-ups, and the resolver that other strands get."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from packages.names.tests.client_servers import serve, zone_answers
from sennit.core.errors import NameLookupError, NoRecordsError, UnknownNameError
from sennit.core.plugin import installed
from sennit.core.resolver import RESOLVERS, IResolver, resolver
from sennit.names.client.lending import LentResolver
from sennit.names.client.stub import StubResolver
from sennit.names.codes import RRType
from sennit.names.errors import LookupFailedError, NoDataError, NoSuchNameError, ResponseError
from sennit.names.message import AD, Message, Record
from sennit.names.name import Name
from sennit.names.rdata import rdata_from_wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sennit.core.testing.clock import Clock
    from sennit.core.testing.network import MemoryNetwork

ZONE = (
    "example.org 60 SOA ns.example.org. root.example.org. 7 1 1 1 1",
    "example.org 60 NS ns.example.org.",
    "example.org 60 MX 20 mx2.example.org.",
    "example.org 60 MX 10 mx1.example.org.",
    "null.example 60 MX 0 .",
    "www.example.org 60 A 192.0.2.7",
    "www.example.org 60 AAAA 2001:db8::7",
    "four.example.org 60 A 192.0.2.4",
    "alias.example.org 60 CNAME www.example.org.",
    'text.example.org 60 TXT "one " "text"',
    "_x._tcp.example.org 60 SRV 2 0 5222 b.example.org.",
    "_x._tcp.example.org 60 SRV 1 0 5222 a.example.org.",
    "_no._tcp.example.org 60 SRV 0 0 0 .",
    "7.2.0.192.in-addr.arpa 60 PTR www.example.org.",
)


def ask(clock: Clock, fn: Callable[[], Awaitable[Any]]) -> Any:
    return clock.run(lambda _: fn())


@pytest.fixture
def stub(memory_network: MemoryNetwork) -> StubResolver:
    serve(memory_network, zone_answers(*ZONE))
    return StubResolver(["10.0.0.53"], hosts=None)


def test_each_type_gives_what_one_wants_of_it(clock: Clock, stub: StubResolver) -> None:
    async def main() -> None:
        assert await stub.a("www.example.org") == ["192.0.2.7"]
        assert await stub.aaaa("www.example.org") == ["2001:db8::7"]
        assert await stub.addresses("www.example.org") == ["2001:db8::7", "192.0.2.7"]
        assert await stub.addresses("four.example.org") == ["192.0.2.4"]
        assert await stub.addresses("192.0.2.99") == ["192.0.2.99"]
        assert [each.preference for each in await stub.mx("example.org")] == [10, 20]
        assert await stub.txt("text.example.org") == [b"one text"]
        assert [str(each.target) for each in await stub.srv("_x._tcp.example.org")] == [
            "a.example.org.",
            "b.example.org.",
        ]
        assert await stub.srv("_no._tcp.example.org") == []
        assert await stub.reverse("192.0.2.7") == [Name("www.example.org")]
        assert await stub.ns("example.org") == [Name("ns.example.org")]
        assert (await stub.soa("example.org")).serial == 7
        assert await stub.cname("alias.example.org") == Name("www.example.org")
        assert await stub.caa("www.example.org") == []
        with pytest.raises(NoSuchNameError):
            await stub.addresses("none.example.org")
        with pytest.raises(NoDataError):
            await stub.tlsa("www.example.org")
        with pytest.raises(NoSuchNameError):
            await stub.tlsa("www.example.org", 443)

    ask(clock, main)


def test_records_come_as_what_they_are_in_their_order(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    serve(
        memory_network,
        zone_answers(
            'example.org 60 CAA 0 issue "ca.example"',
            "example.org 60 SSHFP 4 2 " + "ab" * 32,
            'example.org 60 NAPTR 20 1 "s" "SIP+D2T" "" _sip._tcp.example.org.',
            'example.org 60 NAPTR 10 9 "s" "SIP+D2U" "" _sip._udp.example.org.',
            'example.org 60 URI 20 1 "https://b.example/"',
            'example.org 60 URI 10 1 "https://a.example/"',
            "_443._tcp.example.org 60 TLSA 3 1 1 " + "cd" * 32,
        ),
    )
    stub = StubResolver(["10.0.0.53"], hosts=None)

    async def main() -> None:
        (authority,) = await stub.caa("www.example.org")
        assert (authority.tag, authority.value) == (b"issue", b"ca.example")
        (key,) = await stub.sshfp("example.org")
        assert (key.algorithm, key.fingerprint_type) == (4, 2)
        assert [each.order for each in await stub.naptr("example.org")] == [10, 20]
        assert [each.target for each in await stub.uri("example.org")] == [
            b"https://a.example/",
            b"https://b.example/",
        ]
        (shown,) = await stub.tlsa("example.org", 443)
        assert (shown.usage, shown.selector, shown.matching_type) == (3, 1, 1)

    ask(clock, main)


def test_mail_goes_to_the_domain_itself_where_it_has_no_mx(
    clock: Clock, stub: StubResolver
) -> None:
    """RFC 5321 §5.1; RFC 7505: a null MX says that there is none."""

    async def main() -> None:
        (itself,) = await stub.mail_exchanges("www.example.org")
        assert (itself.preference, str(itself.exchange)) == (0, "www.example.org.")
        assert await stub.mail_exchanges("null.example") == []
        assert len(await stub.mail_exchanges("example.org")) == 2
        with pytest.raises(NoSuchNameError):
            await stub.mail_exchanges("none.example.org")

    ask(clock, main)


def bindings(memory_network: MemoryNetwork, table: dict[str, list[bytes]]) -> StubResolver:
    def answer(query: Message) -> Message:
        question = query.question
        reply = query.reply()
        for each in table.get(str(question.name), []):
            rdata = rdata_from_wire(question.rdtype, each)
            reply.answers.append(Record(question.name, question.rdtype, 60, rdata))
        return reply

    serve(memory_network, answer)
    return StubResolver(["10.0.0.53"], hosts=None)


def binding(priority: int, target: str, parameters: bytes = b"") -> bytes:
    return priority.to_bytes(2, "big") + Name(target).wire + parameters


def test_service_bindings_follow_their_aliases(clock: Clock, memory_network: MemoryNetwork) -> None:
    """RFC 9460 §2.4.2, §3."""
    stub = bindings(
        memory_network,
        {
            "example.org.": [binding(0, "svc.example")],
            "svc.example.": [
                binding(2, "."),
                binding(1, "best.example", bytes.fromhex("0003000220fb")),
            ],
            "to-nothing.example.": [binding(0, "plain.example")],
            "off.example.": [binding(0, ".")],
            "loop.example.": [binding(0, "loop.example")],
        },
    )

    async def main() -> None:
        best, other = await stub.https("example.org")
        assert (str(best.target), best.port, best.alpn) == ("best.example.", 8443, (b"http/1.1",))
        assert str(other.target) == "svc.example."
        (plain,) = await stub.svcb("to-nothing.example")
        assert str(plain.target) == "plain.example."
        assert await stub.https("off.example") == []
        with pytest.raises(ResponseError, match="alias"):
            await stub.https("loop.example")
        with pytest.raises(NoDataError):
            await stub.https("none.example")

    ask(clock, main)


# ── for others ────────────────────────────────────────────────────────────────


def test_the_package_registers_its_resolver() -> None:
    assert "names" in installed(RESOLVERS)
    made: IResolver = resolver(name="names", servers=["192.0.2.1"])
    assert isinstance(made, LentResolver)


def test_other_strands_get_small_tuples(clock: Clock, memory_network: MemoryNetwork) -> None:
    def authentic(query: Message) -> Message:
        reply = zone_answers(*ZONE)(query)
        if query.question.rdtype == RRType.TLSA:
            rdata = rdata_from_wire(int(RRType.TLSA), b"\3\1\1" + bytes(32))
            reply.rcode = 0
            reply.answers.append(Record(query.question.name, int(RRType.TLSA), 60, rdata))
        reply.flags |= AD
        return reply

    serve(memory_network, authentic)
    lent = LentResolver(StubResolver(["10.0.0.53"], hosts=None, trust_ad=True))

    async def main() -> None:
        async with lent:
            found = await lent.addresses("www.example.org")
            assert list(found) == ["2001:db8::7", "192.0.2.7"]
            assert found.authenticated
            assert list(await lent.addresses("www.example.org", socket.AF_INET)) == ["192.0.2.7"]
            assert list(await lent.addresses("www.example.org", socket.AF_INET6)) == ["2001:db8::7"]
            assert list(await lent.mx("example.org")) == [
                (10, "mx1.example.org"),
                (20, "mx2.example.org"),
            ]
            assert list(await lent.mx("null.example")) == []
            assert [each.host for each in await lent.srv("_x._tcp.example.org")] == [
                "a.example.org",
                "b.example.org",
            ]
            assert list(await lent.txt("text.example.org")) == [b"one text"]
            assert list(await lent.ptr("192.0.2.7")) == ["www.example.org"]
            (tlsa,) = await lent.tlsa("_25._tcp.mx.example")
            assert tlsa == (3, 1, 1, bytes(32))
            with pytest.raises(UnknownNameError):
                await lent.addresses("none.example.org")
            with pytest.raises(NoRecordsError):
                await lent.mx("www.example.org")
            with pytest.raises(NameLookupError):
                await lent.svcb("www.example.org")

    ask(clock, main)
    assert issubclass(LookupFailedError, NameLookupError)


def test_service_bindings_say_whether_they_are_authenticated(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """Each step of the aliases has to be, as with other types."""

    def authentic(query: Message) -> Message:
        reply = zone_answers(
            "a.example 60 HTTPS 1 . alpn=h2",
            "b.example 60 HTTPS 0 a.example.",
            "c.example 60 HTTPS 0 d.example.",
            "d.example 60 HTTPS 1 . port=8443",
        )(query)
        reply.flags |= 0 if str(query.question.name) == "d.example." else AD
        return reply

    serve(memory_network, authentic)
    lent = LentResolver(StubResolver(["10.0.0.53"], hosts=None, trust_ad=True))
    for name, authenticated in (("a", True), ("b", True), ("c", False), ("d", False)):
        found = ask(clock, lambda name=name: lent.svcb(f"{name}.example"))  # type: ignore[misc]
        assert [each.host for each in found] == ["d.example" if name in "cd" else "a.example"]
        assert found.authenticated is authenticated


def test_an_address_is_its_own_for_other_strands(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """As for the system's resolver: no server is asked for ``192.0.2.1``."""
    server = serve(memory_network, zone_answers(*ZONE))
    lent = LentResolver(StubResolver(["10.0.0.53"], hosts=None))

    async def main() -> None:
        assert list(await lent.addresses("192.0.2.1")) == ["192.0.2.1"]
        assert list(await lent.addresses("2001:DB8:0::1")) == ["2001:db8::1"]
        assert list(await lent.addresses("192.0.2.1", socket.AF_INET)) == ["192.0.2.1"]
        for text, family in (("192.0.2.1", socket.AF_INET6), ("::1", socket.AF_INET)):
            with pytest.raises(NoRecordsError):
                await lent.addresses(text, family)

    ask(clock, main)
    assert server.asked == []
