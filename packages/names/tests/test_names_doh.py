"""DNS over HTTPS: queries in requests, and how long their answers may be kept (RFC 8484)."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from zope.interface.verify import verifyObject

from sennit.core.http import HTTPAnswer, HTTPQuestion, IHTTPHandler
from sennit.core.testing.clock import Clock
from sennit.core.testing.network import MemoryNetwork
from sennit.names.codes import OptionCode, Rcode, RRType
from sennit.names.doh import DoHHandler, Forwarder, dns_handler, fresh_for
from sennit.names.edns import EDNS, Option
from sennit.names.errors import DNSUsageError
from sennit.names.message import QR, Message, Record
from sennit.names.name import Name
from sennit.names.rdata.address import A
from sennit.names.rdata.basic import SOA
from sennit.names.request import Request
from sennit.names.server import DNSServer
from sennit.names.serving.listening import serve_dns
from sennit.names.serving.running import announce, running_server, withdraw

KIND = b"application/dns-message"
PEER = ("192.0.2.1", 4444, 0, 0)


class Zone:
    """Answers A with a TTL of 60; names below ``none`` do not exist."""

    quick: Any = None

    def __init__(self) -> None:
        self.asked: list[Request] = []

    def respond(self, request: Request) -> Any:
        self.asked.append(request)
        name = request.message.question.name
        if name.labels[0] == b"silent":
            return None
        if name.labels[0] == b"late":
            return self._late(request)
        if name.labels[0] == b"none":
            reply = request.message.reply(Rcode.NXDOMAIN)
            soa = SOA(Name("ns."), Name("root."), 1, 2, 3, 4, 30)
            reply.authority.append(Record(Name("."), RRType.SOA, 3600, soa))
            return reply
        reply = request.message.reply()
        reply.answers += [Record(name, RRType.A, ttl, A("192.0.2.1")) for ttl in (60, 50)]
        return reply

    async def _late(self, request: Request) -> Message:
        return request.message.reply(Rcode.REFUSED)


def query(name: str = "www.example") -> bytes:
    return Message.query(name, id=0).to_wire()


def encoded(wire: bytes) -> str:
    return base64.urlsafe_b64encode(wire).rstrip(b"=").decode()


def question(method: str, text: str = "", content: bytes = b"", kind: bytes = KIND) -> HTTPQuestion:
    return HTTPQuestion(method, "/dns-query", text, [(b"content-type", kind)], content, PEER, True)


def asked(method: str, text: str = "", content: bytes = b"", kind: bytes = KIND) -> HTTPAnswer:
    answer = DoHHandler(DNSServer(Zone())).answer(question(method, text, content, kind))
    assert isinstance(answer, HTTPAnswer)
    return answer


def test_a_query_comes_by_get_and_by_post() -> None:
    """RFC 8484 §4.1."""
    for answer in (
        asked("GET", f"dns={encoded(query())}"),
        asked("GET", f"ct&dns={encoded(query())}&x=y"),
        asked("HEAD", f"dns={encoded(query())}"),
        asked("POST", content=query()),
        asked("POST", content=query(), kind=b"Application/DNS-Message; x=y"),
    ):
        assert answer.status == 200
        assert answer.headers == [(b"content-type", KIND), (b"cache-control", b"max-age=50")]
        assert len(Message.from_wire(answer.content).answers) == 2


def test_the_answer_is_not_cut_and_padded_for_who_pads() -> None:
    zone = Zone()
    message = Message.query("www.example")
    message.edns = EDNS(512, options=[Option(OptionCode.PADDING)])
    answer: Any = DoHHandler(DNSServer(zone)).answer(question("POST", content=message.to_wire()))

    assert len(answer.content) % 468 == 0
    assert zone.asked[0].transport == "https"
    assert zone.asked[0].max_size == 0xFFFF
    assert zone.asked[0].peer == PEER


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dns=",
        "dns",
        f"dns={encoded(query())}=",
        "dns=a+b/",
        "dns=a%20b",
        f"dns={encoded(query())}&dns={encoded(query())}",
        "dns=AAAA",
        f"dns={encoded(Message(0, QR).to_wire())}",
        "dns=a",
    ],
)
def test_what_is_no_query_is_400(text: str) -> None:
    assert asked("GET", text).status == 400


def test_content_that_is_no_query_is_400_415_or_413() -> None:
    assert asked("POST").status == 400
    assert asked("POST", content=bytes(11)).status == 400
    assert asked("POST", content=query(), kind=b"text/plain").status == 415
    assert asked("POST", content=bytes(65_536)).status == 413
    assert asked("POST", content=query("silent.example")).status == 400


def test_other_methods_are_405_and_told_which_there_are() -> None:
    for method in ("PUT", "DELETE", "PATCH", "dns"):
        answer = asked(method)
        assert answer.status == 405
        assert (b"allow", b"GET, HEAD, POST, OPTIONS") in answer.headers
    assert asked("OPTIONS").status == 204


def test_what_dns_refuses_is_an_answer_that_is_not_kept() -> None:
    """RFC 8484 §4.2.1: errors of DNS are no errors of HTTP."""
    answer = asked("POST", content=b"\0\0" + b"\x78" + bytes(9))

    assert answer.status == 200
    assert Message.from_wire(answer.content).rcode == Rcode.NOTIMP
    assert (b"cache-control", b"max-age=0") in answer.headers


async def test_an_answer_may_be_waited_for() -> None:
    answer: Any = DoHHandler(DNSServer(Zone())).answer(question("POST", content=query("late.a")))

    assert Message.from_wire((await answer).content).rcode == Rcode.REFUSED


def test_an_answer_is_kept_as_long_as_its_shortest_ttl_or_its_soa_says() -> None:
    """RFC 8484 §5.1, RFC 2308 §5."""
    positive = Message.query("a.").reply()
    assert fresh_for(positive.to_wire()) == 0
    positive.answers.append(Record(Name("a."), RRType.A, 7, A("192.0.2.1")))
    assert fresh_for(positive.to_wire()) == 7
    negative = Message.query("a.").reply(Rcode.NXDOMAIN)
    for ttl, minimum in ((3600, 30), (30, 3600)):
        soa = SOA(Name("ns."), Name("root."), 1, 2, 3, 4, minimum)
        negative.authority = [Record(Name("."), RRType.SOA, ttl, soa)]
        assert fresh_for(negative.to_wire()) == 30
    assert asked("POST", content=query("none.a")).headers[1][1] == b"max-age=30"
    positive.rcode = Rcode.SERVFAIL
    assert fresh_for(positive.to_wire()) == 0
    assert fresh_for(b"no message") == 0


def test_a_handler_asks_the_service_of_its_name_while_that_runs() -> None:
    handler = dns_handler(service="other")
    server = DNSServer(Zone(), name="other")
    later = DNSServer(Zone(), name="other")

    assert verifyObject(IHTTPHandler, handler)
    assert handler.answer(question("POST", content=query())) == HTTPAnswer(
        503,
        [(b"content-type", b"text/plain; charset=utf-8")],
        b"the DNS server does not run\n",
    )
    announce(server)
    assert running_server("other") is server
    assert handler.answer(question("POST", content=query())).status == 200  # type: ignore[union-attr]  # at once
    announce(later)
    withdraw(server)
    assert running_server("other") is later
    withdraw(later)
    assert running_server("other") is None
    assert running_server("dns") is None


def test_a_handler_asks_one_or_the_other() -> None:
    with pytest.raises(DNSUsageError, match="either"):
        dns_handler(service="dns", forward="192.0.2.1")
    with pytest.raises(DNSUsageError):
        dns_handler(forward="no server")
    with pytest.raises(DNSUsageError, match="needs a server"):
        Forwarder([])


def test_queries_are_forwarded_to_whoever_answers(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    zone = Zone()
    host = memory_network.host("10.0.0.53")
    memory_network.host("10.0.0.54")

    async def talk(_: object) -> list[HTTPAnswer]:
        handler = dns_handler(forward="10.0.0.54:53, 10.0.0.53:53")
        async with host.run(serve_dns, DNSServer(zone), "10.0.0.53", 53):
            answers: Any = [
                handler.answer(question("POST", content=wire))
                for wire in (
                    Message.query("www.example", id=0x1234).to_wire(),
                    query() + b"behind",
                    Message(9).to_wire(),
                )
            ]
            found = [await each for each in answers]
        late: Any = handler.answer(question("POST", content=query()))
        found.append(await late)
        await handler.aclose()
        return found

    answers = [Message.from_wire(each.content) for each in clock.run(talk)]
    assert [each.rcode for each in answers] == [
        Rcode.NOERROR,
        Rcode.FORMERR,
        Rcode.FORMERR,
        Rcode.SERVFAIL,
    ]
    assert answers[0].id == 0x1234
    assert len(answers[0].answers) == 2
    assert len(zone.asked) == 1
