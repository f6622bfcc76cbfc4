"""Zones and requests for the tests of transfers and updates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sennit.names.codes import RRType, type_from_text
from sennit.names.message import Message, Question, Record
from sennit.names.name import ROOT, Name
from sennit.names.presentation import tokens_of
from sennit.names.rdata import parse_rdata
from sennit.names.rdata.basic import SOA
from sennit.names.request import Request
from sennit.names.transfer.serial import with_serial
from sennit.names.zone.zone import Changes, Zone

if TYPE_CHECKING:
    from collections.abc import Iterable

ORIGIN = Name("example.org.")

SOME = """
@ 3600 NS ns1
@ 3600 NS ns2
ns1 3600 A 192.0.2.1
ns2 3600 A 192.0.2.2
www 300 A 192.0.2.80
www 300 AAAA 2001:db8::80
mail 300 MX 10 www
"""


def record(text: str) -> Record:
    """``www 300 A 192.0.2.1``, names relative to example.org."""
    owner, ttl, kind, data = text.split(None, 3)
    rdtype = type_from_text(kind)
    return Record(
        Name(owner, ORIGIN), rdtype, int(ttl), parse_rdata(rdtype, tokens_of(data, ORIGIN))
    )


def soa(serial: int, *, refresh: int = 3600, retry: int = 600, expire: int = 86400) -> Record:
    rdata = SOA(
        mname=Name("ns1", ORIGIN),
        rname=Name("hostmaster", ORIGIN),
        serial=serial,
        refresh=refresh,
        retry=retry,
        expire=expire,
        minimum=300,
    )
    return Record(ORIGIN, RRType.SOA, 3600, rdata)


def records(text: str = SOME) -> list[Record]:
    return [record(line) for line in text.splitlines() if line.strip()]


def zone(serial: int = 1, text: str = SOME, **timers: int) -> Zone:
    return Zone.from_records(ORIGIN, [soa(serial, **timers), *records(text)])


def change(old: int, new: int, removed: Iterable[str] = (), added: Iterable[str] = ()) -> Changes:
    return Changes(
        [soa(old), *map(record, removed)],
        [soa(new), *map(record, added)],
    )


def grow(given: Zone, *added: str) -> None:
    """Give a zone records, and its next version."""
    old = given.soa
    new = with_serial(old, given.serial + 1)
    given.apply(Changes([old], [new, *map(record, added)]))


def anything(name: Name, rdtype: int) -> bool:
    """Lets an update change whatever it wants to."""
    del name, rdtype
    return True


def request(
    message: Message,
    *,
    host: str = "127.0.0.1",
    key: str | None = None,
    transport: str = "tcp",
    max_size: int = 0xFFFF,
) -> Request:
    return Request(
        message,
        message.to_wire(),
        (host, 5353),
        transport,
        key=None if key is None else Name(key),
        max_size=max_size,
    )


def axfr(name: Name = ORIGIN) -> Message:
    return Message(7, questions=[Question(name, RRType.AXFR)])


def ixfr(serial: int, name: Name = ORIGIN) -> Message:
    message = Message(7, questions=[Question(name, RRType.IXFR)])
    rdata = SOA(mname=ROOT, rname=ROOT, serial=serial, refresh=0, retry=0, expire=0, minimum=0)
    message.authority.append(Record(name, RRType.SOA, 0, rdata))
    return message


async def messages_of(found: Any) -> list[Message]:
    """All messages of an answer, whatever form it has."""
    if isinstance(found, Message):
        return [Message.from_wire(found.to_wire())]
    if isinstance(found, bytes):
        return [Message.from_wire(found)]
    if hasattr(found, "__aiter__"):
        return [
            Message.from_wire(each if isinstance(each, bytes) else each.to_wire())
            async for each in found
        ]
    return await messages_of(await found)
