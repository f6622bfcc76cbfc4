"""Servers in memory for the client's tests: functions that make answers, over UDP and TCP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from sennit.core.framing.prefix import PrefixProtocol
from sennit.names.codes import type_from_text
from sennit.names.message import AA, RA, Message, Record
from sennit.names.name import Name
from sennit.names.presentation import tokens_of
from sennit.names.rdata import parse_rdata
from sennit.names.rdata.basic import CNAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.core.testing.network import MemoryNetwork

__all__ = ["FakeServer", "record", "records", "serve", "zone_answers"]


class Answers(Protocol):
    """Makes the answers to a query: a message, its octets, several, or none."""

    def __call__(self, query: Message, /) -> Message | bytes | list[Message | bytes] | None: ...


def record(text: str) -> Record:
    """``www.example.org 60 A 192.0.2.7``."""
    name, ttl, rdtype, data = text.split(None, 3)
    number = type_from_text(rdtype)
    return Record(Name(name), number, int(ttl), parse_rdata(number, tokens_of(data)))


def records(*texts: str) -> list[Record]:
    """Several of them."""
    return [record(each) for each in texts]


def zone_answers(*texts: str, soa: str = "") -> Callable[[Message], Message]:
    """Answers like a resolver that knows these records, aliases followed."""
    known = records(*texts)
    apex = record(soa) if soa else None

    def answer(query: Message) -> Message:
        question = query.question
        reply = query.reply(flags=RA)
        name = question.name
        for _ in range(20):
            here = [each for each in known if each.name == name]
            found = [each for each in here if each.rdtype in (question.rdtype, 5)]
            reply.answers += found
            if not found or found[0].rdtype == question.rdtype:
                break
            alias = found[0].rdata
            assert isinstance(alias, CNAME)
            name = alias.target
        if not any(each.rdtype == question.rdtype for each in reply.answers):
            if not any(each.name == name for each in known):
                reply.rcode = 3
            if apex is not None:
                reply.authority.append(apex)
        return reply

    return answer


class FakeServer:
    """A server over UDP and TCP.

    Attributes:
        asked: What it was asked, over both: (``udp`` or ``tcp``, the query, who asked).
        answers: Makes the answers; may be replaced.
        over_tcp: Makes those over TCP, where they are others.
    """

    def __init__(self, answers: Answers, over_tcp: Answers | None = None) -> None:
        self.asked: list[tuple[str, Message, Any]] = []
        self.answers = answers
        self.over_tcp = over_tcp

    @property
    def queries(self) -> list[Message]:
        """What it was asked."""
        return [query for _, query, _ in self.asked]

    @property
    def ways(self) -> list[str]:
        """How it was asked."""
        return [way for way, _, _ in self.asked]

    def take(self, way: str, wire: bytes, peer: object) -> list[bytes]:
        """The answers to a query, as octets."""
        query = Message.from_wire(wire)
        self.asked.append((way, query, peer))
        make = self.over_tcp if way == "tcp" and self.over_tcp is not None else self.answers
        made = make(query)
        if made is None:
            return []
        several: list[Message | bytes] = made if isinstance(made, list) else [made]
        return [each if isinstance(each, bytes) else each.to_wire() for each in several]


class _Datagrams:
    def __init__(self, server: FakeServer) -> None:
        self._server = server

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, peer: Any) -> None:
        for each in self._server.take("udp", data, peer):
            self.transport.sendto(each, peer)

    def error_received(self, exc: OSError) -> None:
        """Whoever asked has gone."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The test is over."""

    def pause_writing(self) -> None:
        """Never."""

    def resume_writing(self) -> None:
        """Never."""


class _Stream(PrefixProtocol):
    width = 2
    max_length = 0xFFFF

    def __init__(self, server: FakeServer) -> None:
        super().__init__()
        self._server = server

    def frame_received(self, frame: bytes) -> None:
        for each in self._server.take("tcp", frame, None):
            self.send_frame(each)


def serve(
    network: MemoryNetwork,
    answers: Answers,
    host: str = "10.0.0.53",
    port: int = 53,
    *,
    over_tcp: Answers | None = None,
    ways: str = "udp tcp",
) -> FakeServer:
    """Start one on a host of the network."""
    server = FakeServer(answers, over_tcp)
    owner = network.host(host)
    if "udp" in ways:
        owner.run(network.listen_udp, lambda: _Datagrams(server), port, host)
    if "tcp" in ways:
        owner.run(network.listen_tcp, lambda: _Stream(server), port, host)
    return server


def authoritative(answers: Callable[[Message], Message]) -> Callable[[Message], Message]:
    """The same answers, with AA and without RA."""

    def answer(query: Message) -> Message:
        reply = answers(query)
        reply.flags = reply.flags & ~RA | AA
        return reply

    return answer
