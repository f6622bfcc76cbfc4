"""Upstream servers for the resolver's tests: a small tree of zones, and room for what is hostile.

`Internet` is an exchange: it hands each question to the server of its address. A server is a
function of question and transport; `zone_server` makes one of zones written as text, which
answers as RFC 1034 §4.3.2 says, referrals and glue included. What tests want wrong, they write
as a function of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from inspect import isawaitable
from typing import Any

from sennit.core.testing.clock import Clock
from sennit.names.client_engine import is_answer
from sennit.names.codes import Rcode, RRType, type_from_text
from sennit.names.errors import LookupTimeoutError, SpoofedError, UnreachableError
from sennit.names.message import AA, TC, Message, Question, Record
from sennit.names.name import Name
from sennit.names.presentation import tokens_of
from sennit.names.rdata import parse_rdata
from sennit.names.resolver.resolver import RecursiveResolver

Answering = Callable[[Message, str], "Message | Awaitable[Message | None] | None"]

ROOT = "198.51.100.1"
TLD = "198.51.100.2"
ORG = "198.51.100.3"
OTHER = "198.51.100.4"
"""Addresses of servers: of the root, of example., of www.example. and the like, of another zone."""


def record(text: str) -> Record:
    """A record written as ``owner ttl type data``."""
    tokens = tokens_of(text)
    owner = Name(tokens.text())
    ttl = int(tokens.text())
    rdtype = type_from_text(tokens.text())
    return Record(owner, rdtype, ttl, parse_rdata(rdtype, tokens))


def records(text: str) -> list[Record]:
    """Records, one a line."""
    return [record(line.strip()) for line in text.strip().splitlines() if line.strip()]


class TextZone:
    """A zone written as text, the SOA first."""

    def __init__(self, text: str) -> None:
        self.records = records(text)
        self.soa = self.records[0]
        self.origin = self.soa.name

    def answer(self, query: Message) -> Message:
        """As RFC 1034 §4.3.2."""
        question = query.question
        reply = query.reply()
        cut = self._cut(question)
        if cut is not None:
            reply.authority = [each for each in cut if each.rdtype in (2, 43)]
            targets = [each.rdata.target for each in cut if each.rdtype == 2]  # type: ignore[attr-defined]  # NS
            reply.additional = [
                each for each in self.records if each.rdtype in (1, 28) and each.name in targets
            ]
            return reply
        reply.flags |= AA
        self._fill(reply, question.name, question.rdtype)
        if question.rdtype == RRType.NS:
            targets = [each.rdata.target for each in reply.answers]  # type: ignore[attr-defined]  # NS
            reply.additional = [
                each for each in self.records if each.rdtype in (1, 28) and each.name in targets
            ]
        return reply

    def _cut(self, question: Question) -> list[Record] | None:
        for ancestor in reversed(list(question.name.ancestors())):
            if ancestor == self.origin or not ancestor.is_below(self.origin):
                continue
            found = [each for each in self.records if each.name == ancestor]
            if any(each.rdtype == RRType.NS for each in found):
                if ancestor == question.name and question.rdtype == RRType.DS:
                    return None
                return [each for each in found if each.rdtype in (2, 43)]
        return None

    def _fill(self, reply: Message, name: Name, rdtype: int) -> None:
        own = [each for each in self.records if each.name == name]
        found = [each for each in own if each.rdtype == rdtype]
        if found:
            reply.answers += found
            return
        alias = [each for each in own if each.rdtype == RRType.CNAME]
        if alias:
            reply.answers += alias
            data: Any = alias[0].rdata
            target: Name = data.target
            if target.is_below(self.origin) and len(reply.answers) < 20:
                self._fill(reply, target, rdtype)
            return
        for each in self.records:
            if each.rdtype == RRType.DNAME and name.is_below(each.name) and name != each.name:
                reply.answers.append(each)
                made = name.rebased(each.name, each.rdata.target)  # type: ignore[attr-defined]  # DNAME
                reply.answers.append(record(f"{name} {each.ttl} CNAME {made}"))
                return
        if not own and not any(each.name.is_below(name) for each in self.records):
            reply.rcode = Rcode.NXDOMAIN
        reply.authority.append(self.soa)


def zone_server(*texts: str) -> Answering:
    """A server of zones; the deepest that holds a name answers, and of others it is REFUSED."""
    zones = [TextZone(each) for each in texts]

    def answer(query: Message, transport: str) -> Message:
        name = query.question.name
        if query.question.rdtype == RRType.DS and not name.is_root:
            name = name.parent
        held = [each for each in zones if name.is_below(each.origin)]
        if not held:
            return query.reply(Rcode.REFUSED)
        return max(held, key=lambda each: len(each.origin)).answer(query)

    return answer


class Internet:
    """Servers by address, and what was asked of them.

    Attributes:
        asked: (address, transport, question as text) of each message.
        messages: The messages.
    """

    def __init__(self, servers: dict[str, Answering] | None = None) -> None:
        self.servers = servers or {}
        self.asked: list[tuple[str, str, str]] = []
        self.messages: list[Message] = []
        self.delay = 0.01
        self.down: set[str] = set()

    async def __call__(
        self,
        message: Message,
        server: tuple[str, int],
        transport: str,
        *,
        timeout: float,
        match_case: bool = False,
    ) -> Message:
        """What the server says, as octets would carry it."""
        assert timeout > 0
        self.asked.append((server[0], transport, str(message.question)))
        self.messages.append(message)
        answering = self.servers.get(server[0])
        if answering is None:
            raise UnreachableError("nobody listens there")
        if server[0] in self.down:
            await asyncio.sleep(timeout)
            raise LookupTimeoutError("down")
        await asyncio.sleep(min(self.delay, timeout))
        query = Message.from_wire(message.to_wire())
        found: Any = answering(query, transport)
        if isawaitable(found):
            try:
                async with asyncio.timeout(timeout):
                    found = await found
            except TimeoutError:
                raise LookupTimeoutError("too slow") from None
        if found is None:
            await asyncio.sleep(timeout)
            raise LookupTimeoutError("no answer")
        answer: Message = Message.from_wire(found.to_wire(1232 if transport == "udp" else 0xFFFF))
        if not is_answer(answer, query, match_case=match_case):
            raise SpoofedError("twenty of these")
        return answer

    def count(self, address: str = "", text: str = "") -> int:
        """How many messages went to an address, and asked for something."""
        return sum((not address or each[0] == address) and text in each[2] for each in self.asked)


ROOT_ZONE = f"""
. 86400 SOA a.root. admin. 1 1800 900 604800 86400
. 86400 NS a.root.
a.root. 86400 A {ROOT}
example. 86400 NS ns.example.
ns.example. 86400 A {TLD}
"""
EXAMPLE_ZONE = f"""
example. 3600 SOA ns.example. admin.example. 1 1800 900 604800 300
example. 3600 NS ns.example.
ns.example. 3600 A {TLD}
org.example. 3600 NS ns.org.example.
ns.org.example. 3600 A {ORG}
other.example. 3600 NS ns.other.example.
ns.other.example. 3600 A {OTHER}
"""
ORG_ZONE = f"""
org.example. 3600 SOA ns.org.example. admin.org.example. 1 1800 900 604800 60
org.example. 3600 NS ns.org.example.
ns.org.example. 3600 A {ORG}
www.org.example. 300 A 192.0.2.1
www.org.example. 300 A 192.0.2.2
alias.org.example. 300 CNAME www.org.example.
away.org.example. 300 CNAME host.other.example.
a.b.c.d.org.example. 300 A 192.0.2.9
old.org.example. 300 DNAME new.org.example.
x.new.org.example. 300 A 192.0.2.7
loop1.org.example. 300 CNAME loop2.org.example.
loop2.org.example. 300 CNAME loop1.org.example.
"""
OTHER_ZONE = f"""
other.example. 3600 SOA ns.other.example. admin.other.example. 1 1800 900 604800 60
other.example. 3600 NS ns.other.example.
ns.other.example. 3600 A {OTHER}
host.other.example. 300 A 192.0.2.50
"""
HINTS = {"a.root.": [ROOT]}


def internet() -> Internet:
    """A tree of four zones on four servers."""
    return Internet(
        {
            ROOT: zone_server(ROOT_ZONE),
            TLD: zone_server(EXAMPLE_ZONE),
            ORG: zone_server(ORG_ZONE),
            OTHER: zone_server(OTHER_ZONE),
        }
    )


def resolver(net: Internet, clock: Clock, **options: Any) -> RecursiveResolver:
    """A resolver on it, in the clock's time."""
    options.setdefault("root_hints", HINTS)
    options.setdefault("now", clock.time)
    return RecursiveResolver(exchange=net, **options)


def run(clock: Clock, work: Awaitable[Any]) -> Any:
    """Let time pass until a coroutine has ended."""

    async def main(_: Clock) -> Any:
        return await work

    return clock.run(main)


def texts(found: Iterable[Record]) -> list[str]:
    """Records as text, sorted."""
    return sorted(str(each) for each in found)


def truncated(answer: Message) -> Message:
    """An answer that was cut to nothing."""
    return Message(answer.id, answer.flags | TC, questions=answer.questions)
