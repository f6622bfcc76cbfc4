"""Zones given to others: AXFR and IXFR, whole messages at a time.

`TransferOut` answers those that an access list allows; nobody, unless told. A transfer is of the
zone as it was when it was asked for, whatever changes meanwhile. Messages are made one by one,
as the connection takes them, and each leaves the loop to others before the next is begun.

What a zone holds is packed nearly as it is sent (``zone/node.py``): a name is written once per
message, its records point to it, and their data are copied, with names in full.

Sources: RFC 5936 (AXFR), RFC 1995 (IXFR; §2 over UDP, §4 form), RFC 7314 (EXPIRE), RFC 9103 §8
(over TLS).
Not here: connections, signatures and back-pressure (the server's).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from sennit.names.codes import OptionCode, Rcode, RRType
from sennit.names.edns import EDNS
from sennit.names.message import AA, HEADER, QR, RD, Message, Record
from sennit.names.options import Expire
from sennit.names.rdata.basic import SOA
from sennit.names.transfer.access import AccessList
from sennit.names.transfer.serial import newer
from sennit.names.wire import Writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping

    from sennit.names.name import Name
    from sennit.names.request import Request
    from sennit.names.update.history import Entry, History
    from sennit.names.zone.node import Node
    from sennit.names.zone.zone import Zone
    from sennit.names.zone.zoneset import ZoneSet

__all__ = ["MAX_TRANSFERS", "MESSAGE", "TransferOut", "difference_messages", "zone_messages"]

MESSAGE: Final = 0x4000
"""Octets at which a message is full enough: as far as compression reaches (RFC 1035 §4.1.4)."""
MAX_TRANSFERS: Final = 10
"""Transfers under way at once; one more is answered SERVFAIL, and the secondary tries again."""
_FEW: Final = 100
"""Records of differences that are sent whatever the zone has."""
_AXFR: Final = int(RRType.AXFR)
_IXFR: Final = int(RRType.IXFR)
_SOA_OCTETS: Final = int(RRType.SOA).to_bytes(2, "big")
_POINTED: Final = 0x4000
_ROOM: Final = 0xFFFF - 512
"""Octets of a message that leave room for a signature."""


def _edns(message: Message, expire: int) -> EDNS | None:
    """What an answer has of EDNS: EXPIRE where that was asked for (RFC 7314 §2)."""
    asked = message.edns
    if asked is None:
        return None
    options = [] if asked.option(OptionCode.EXPIRE) is None else [Expire(expire).option()]
    return EDNS(dnssec_ok=asked.dnssec_ok, options=options)


class _Pages:
    """Messages of a transfer, as they fill."""

    __slots__ = ("_count", "_first", "_flags", "_id", "_opt", "_question", "writer")

    def __init__(self, message: Message, expire: int) -> None:
        self._id = message.id
        edns = _edns(message, expire)
        self._opt = b"" if edns is None else edns.write(0)
        self._flags = QR | AA | message.flags & RD
        self._question = message.questions[0]
        self._first = True
        self._begin()

    def _begin(self) -> None:
        self.writer = writer = Writer()
        self._count = 0
        writer.out += bytes(12)
        if self._first:
            question = self._question
            writer.name(question.name)
            writer.out += question.rdtype.to_bytes(2, "big") + question.rdclass.to_bytes(2, "big")

    def is_full(self, record: Record) -> bool:
        """Whether another message is to be begun before this record."""
        size = len(self.writer.out)
        more = len(record.name.wire) + 10 + len(record.rdata.wire)
        return bool(self._count) and (size >= MESSAGE or size + more > _ROOM)

    def take(self) -> bytes:
        """The message so far; another is begun."""
        out = self.writer.out
        out += self._opt
        first, more = int(self._first), int(bool(self._opt))
        HEADER.pack_into(out, 0, self._id, self._flags, first, self._count, 0, more)
        self._first = False
        self._opt = b""
        self._begin()
        return bytes(out)

    def add(self, record: Record) -> None:
        """Append a record, names in its data compressed."""
        writer = self.writer
        out = writer.out
        writer.name(record.name)
        out += (
            record.rdtype.to_bytes(2, "big")
            + record.rdclass.to_bytes(2, "big")
            + record.ttl.to_bytes(4, "big")
            + b"\0\0"
        )
        at = len(out)
        record.rdata.write(writer)
        out[at - 2 : at] = (len(out) - at).to_bytes(2, "big")
        self._count += 1

    def add_node(self, node: Node, *, soa: bool) -> Iterator[bytes]:
        """Append the records of a node; gives the messages that it fills."""
        name = node.name
        pointer = b""
        for packed in node.sets:
            if not soa and packed[4:6] == _SOA_OCTETS:
                continue
            position, size = 2, len(packed)
            while position < size:
                behind = position + 12 + (packed[position + 10] << 8 | packed[position + 11])
                out = self.writer.out
                size_now = len(out)
                if self._count and (
                    size_now >= MESSAGE or size_now + 256 + behind - position > _ROOM
                ):
                    yield self.take()
                    out = self.writer.out
                    pointer = b""
                if pointer:
                    out += pointer
                else:
                    here = len(out)
                    self.writer.name(name)
                    if out[here] >= 0xC0:
                        pointer = bytes(out[here : here + 2])
                    elif here < _POINTED and out[here]:
                        pointer = (0xC000 | here).to_bytes(2, "big")
                out += packed[position + 2 : behind]
                self._count += 1
                position = behind


def zone_messages(message: Message, zone: Zone) -> Iterator[bytes]:
    """The messages that answer a question with a whole zone.

    Args:
        message: The question.
        zone: A snapshot: it must not change meanwhile.
    """
    pages = _Pages(message, zone.expire)
    soa = zone.soa
    pages.add(soa)
    for node in zone.stored_nodes():
        if node.sets:
            yield from pages.add_node(node, soa=False)
    if pages.is_full(soa):
        yield pages.take()
    pages.add(soa)
    yield pages.take()


def difference_messages(message: Message, zone: Zone, entries: Iterable[Entry]) -> Iterator[bytes]:
    """The messages that answer a question with differences (RFC 1995 §4).

    Args:
        message: The question.
        zone: The newest version.
        entries: Differences, oldest first, each following on the one before.
    """
    pages = _Pages(message, zone.expire)
    soa = zone.soa
    pages.add(soa)
    for entry in entries:
        for records in (entry.changes.removed, entry.changes.added):
            for record in sorted(records, key=_soa_first):
                if pages.is_full(record):
                    yield pages.take()
                pages.add(record)
    if pages.is_full(soa):
        yield pages.take()
    pages.add(soa)
    yield pages.take()


def _soa_first(record: Record) -> bool:
    return record.rdtype != RRType.SOA


class TransferOut:
    """Answers AXFR and IXFR.

    Args:
        zones: The zones there are.
        allow: Who may have them; nobody when left out.
        allow_for: The same for single zones, by name, in the place of `allow`.
        history: Gives the history of a zone, by name, where there is one.
        max_transfers: Transfers under way at once.

    Attributes:
        running: Transfers under way.
        counts: ``whole``, ``differences``, ``current``, ``refused``, ``busy``: answers so far.
    """

    def __init__(
        self,
        zones: ZoneSet,
        allow: AccessList | None = None,
        *,
        allow_for: Mapping[Name, AccessList] | None = None,
        history: Callable[[Name], History | None] | None = None,
        max_transfers: int = MAX_TRANSFERS,
    ) -> None:
        self._zones = zones
        self._allow = allow or AccessList()
        self._allow_for = dict(allow_for or {})
        self._history = history
        self._max = max_transfers
        self.running = 0
        self.counts = dict.fromkeys(("whole", "differences", "current", "refused", "busy"), 0)

    def respond(self, request: Request) -> Any:
        """The answer: one message, or several, one by one."""
        message = request.message
        if len(message.questions) != 1 or message.questions[0].rdtype not in {_AXFR, _IXFR}:
            return message.reply(Rcode.FORMERR)
        question = message.questions[0]
        over_udp = request.transport == "udp"
        if question.rdtype == _AXFR and over_udp:
            return message.reply(Rcode.FORMERR)  # RFC 5936 §4.2 has it over TCP alone
        zone = self._zones.by_origin(question.name)
        allowed = self._allow_for.get(question.name, self._allow)
        if not allowed.allows(request):
            # Also where there is no such zone: strangers do not learn which there are.
            self.counts["refused"] += 1
            return message.reply(Rcode.REFUSED)
        if zone is None or zone.rdclass != question.rdclass:
            return message.reply(Rcode.NOTAUTH)
        if zone.expired:
            return message.reply(Rcode.SERVFAIL)
        if question.rdtype == _IXFR:
            return self._differences(request, zone, over_udp)
        return self._several(message, zone.snapshot(), None)

    def _differences(self, request: Request, zone: Zone, over_udp: bool) -> Any:
        message = request.message
        had = next((each.rdata for each in message.authority if isinstance(each.rdata, SOA)), None)
        if had is None:
            return message.reply(Rcode.FORMERR)
        if not newer(zone.serial, had.serial):
            # Current, or ahead of us, which is not ours to mend (RFC 1995 §2).
            self.counts["current"] += 1
            return self._soa_alone(message, zone)
        history = None if self._history is None else self._history(zone.origin)
        entries = None if history is None else history.since(had.serial, zone.serial)
        changed = sum(each.records for each in entries or ())
        # Names are counted first, which is quick, records only where they might matter.
        if changed > max(len(zone), _FEW) and changed > _records(zone):
            entries = None  # the zone is shorter than its differences
        if not over_udp:
            return self._several(message, zone.snapshot(), entries)
        if entries is not None:
            pages = difference_messages(message, zone, entries)
            only, rest = next(pages), next(pages, None)
            if rest is None and len(only) <= request.max_size:
                self.counts["differences"] += 1
                return only
        # It does not fit: the SOA alone, and the asker comes back over TCP (RFC 1995 §2).
        return self._soa_alone(message, zone)

    def _soa_alone(self, message: Message, zone: Zone) -> Message:
        answer = message.reply(flags=AA)
        answer.answers.append(zone.soa)
        answer.edns = _edns(message, zone.expire)
        return answer

    async def _several(
        self, message: Message, zone: Zone, entries: list[Entry] | None
    ) -> AsyncIterator[Message | bytes]:
        if self.running >= self._max:
            self.counts["busy"] += 1
            yield message.reply(Rcode.SERVFAIL)
            return
        self.running += 1
        self.counts["whole" if entries is None else "differences"] += 1
        try:
            if entries is None:
                pages = zone_messages(message, zone)
            else:
                pages = difference_messages(message, zone, entries)
            for page in pages:
                yield page
                # Others have their turn behind each 16 KiB, however fast the connection is.
                await asyncio.sleep(0)
        finally:
            self.running -= 1


def _records(zone: Zone) -> int:
    return sum(
        int.from_bytes(packed[:2], "big") for node in zone.nodes.values() for packed in node.sets
    )
