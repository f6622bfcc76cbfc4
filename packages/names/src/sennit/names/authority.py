"""Answers out of zones: the authority.

`Authority.respond` is the long way, through `sennit.names.zone.lookup`. `Authority.quick` is
the short one for plain queries (one question, no options): the octets of the name, type and
class are looked up as they stand, in lower case, in a table of answers made before; or, where
there is none yet, found in the zone and copied from it, since zones keep their records as they
are sent. What neither knows goes the long way. Both say the same, which a test asserts.

Names that a zone does not have are without number, so answers to them are not kept by name but
by what they say and where the zone's name begins in the question (``zone/absent.py``).

The tables forget all whenever a zone changes, and when they are full.

Sources: RFC 1034 §4.3.2, RFC 1035 §4.1, RFC 6891 §6.2.3 (sizes), RFC 3225 §3 (DO repeated),
RFC 7314 §2 (EXPIRE).
"""

from __future__ import annotations

from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final

from zope.interface import implementer

from sennit.names.codes import OptionCode, RRType
from sennit.names.edns import EDNS, PAYLOAD
from sennit.names.errors import DNSUsageError
from sennit.names.interfaces import IResponder
from sennit.names.message import AA, HEADER, QR, Message, Question
from sennit.names.name import trusted
from sennit.names.zone.absent import Shape, lookups_of, shape_of
from sennit.names.zone.lookup import Lookup, drive
from sennit.names.zone.proofs import prover_of
from sennit.names.zone.zoneset import ZoneSet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from sennit.names.message import Record
    from sennit.names.request import Request
    from sennit.names.zone.data import IZoneData
    from sennit.names.zone.lookup import AnyAnswer, Steps
    from sennit.names.zone.node import Node
    from sennit.names.zone.zone import Zone

    Entry = tuple[tuple[bytes, bytes, bytes, bytes], bytes]
    """Flags and counts by what of RD and CD is repeated; and what follows the question."""

__all__ = ["Authority"]

_KEPT_FLAGS: Final = (0, 0x0100, 0x0010, 0x0110)
"""What is repeated of a query's flags: nothing, RD, CD, both."""


def _kinds() -> dict[bytes, int]:
    """Flags and counts of queries that are plain: index of what is repeated, 4 more with OPT."""
    found: dict[bytes, int] = {}
    for index, flags in enumerate(_KEPT_FLAGS):
        for also in (0, 0x0020):  # dig says AD, which asks for AD in the answer: never ours
            for opt in (0, 1):
                octets = HEADER.pack(0, flags | also, 1, 0, 0, opt)[2:]
                found[octets] = index + 4 * opt
    return found


_KINDS: Final = _kinds()
_OPT: Final = b"\0\0\x29"
_OPT_PLAIN: Final = bytes(6)
_OPT_DO: Final = b"\0\0\x80\0\0\0"
_NS: Final = int(RRType.NS)
_DS_OCTETS: Final = RRType.DS.to_bytes(2, "big")
_LONGEST_KEPT: Final = 4096
"""Octets of an answer that is kept ready; longer ones go over streams, and are few."""
_MOST_HEADS: Final = 10_000
"""Combinations of counts that are remembered."""
_DIRECT: Final = frozenset(
    each.to_bytes(2, "big")
    for each in (
        RRType.A, RRType.AAAA, RRType.TXT, RRType.CAA, RRType.TLSA, RRType.SSHFP, RRType.DNSKEY,
    )
)  # fmt: skip
"""Types whose records lead nowhere: an answer is the set as it is kept."""
_REMEMBERED: Final = frozenset(
    int(each)
    for each in (
        RRType.A, RRType.AAAA, RRType.NS, RRType.SOA, RRType.MX, RRType.TXT, RRType.PTR,
        RRType.SRV, RRType.CAA, RRType.HTTPS, RRType.SVCB, RRType.CNAME, RRType.DS, RRType.DNSKEY,
        RRType.TLSA, RRType.NAPTR,
    )
)  # fmt: skip
"""Types whose answers are worth a place in the table, also that there are none."""
_ROTATED: Final = frozenset({int(RRType.A), int(RRType.AAAA)})


@implementer(IResponder)
class Authority:
    """Answers for zones.

    Args:
        zones: The zones; a `ZoneSet` may be changed while it is in use.
        sources: Zones that are elsewhere (SQLite, a program). A zone in memory of the same name
            comes first.
        any_answer: How ANY is answered (RFC 8482).
        rotate: Give addresses of a name in another order each time.
        payload: Octets of a datagram at most; a server with another `ServerLimits.payload` does
            not take it.
        answers: Answers that are kept ready.
    """

    knows_a_part = True
    """What it does not have is for others to answer; a server of it alone refuses that."""

    def __init__(
        self,
        zones: ZoneSet | Iterable[Zone] = (),
        *,
        sources: Iterable[IZoneData] = (),
        any_answer: AnyAnswer = "hinfo",
        rotate: bool = False,
        payload: int = PAYLOAD,
        answers: int = 100_000,
    ) -> None:
        if any_answer not in ("hinfo", "smallest", "full"):
            raise DNSUsageError(f"any_answer is hinfo, smallest or full, not {any_answer!r}")
        self.zones = zones if isinstance(zones, ZoneSet) else ZoneSet(zones)
        self._sources: dict[bytes, IZoneData] = {}
        for each in sources:
            if each.origin.key in self._sources:
                raise DNSUsageError(f"there are two sources of the zone {each.origin}")
            self._sources[each.origin.key] = each
        self._any: AnyAnswer = any_answer
        self._rotate = rotate
        self._turn = 0
        self._payload = payload
        self._most = answers
        self._class = self.zones.rdclass.to_bytes(2, "big")
        self._plain: dict[bytes, Entry] = {}
        self._with_opt: dict[bytes, dict[bytes, Entry]] = {_OPT_PLAIN: {}, _OPT_DO: {}}
        # OPT of an answer: our payload, and what else was in the query's.
        self._opt_tails = {
            each: _OPT + payload.to_bytes(2, "big") + each for each in (_OPT_PLAIN, _OPT_DO)
        }
        self._heads: dict[bytes, tuple[bytes, bytes, bytes, bytes]] = {}
        self._shaped: dict[Shape, Entry] = {}
        self.zones.on_change.append(self._forget)

    @property
    def payload(self) -> int:
        """Octets of a datagram at most, which OPT of its short answers tells."""
        return self._payload

    def add_source(self, source: IZoneData) -> None:
        """Answer for a zone that is elsewhere, too; it takes the place of one of its name."""
        self._sources[source.origin.key] = source
        self._forget()

    def remove_source(self, source: IZoneData) -> None:
        """Answer for it no more."""
        self._sources.pop(source.origin.key, None)
        self._forget()

    def __repr__(self) -> str:
        return f"<Authority for {len(self.zones) + len(self._sources)} zones>"

    def _forget(self, zone: Zone | None = None) -> None:
        del zone  # whichever it was: an answer may come out of several
        self._plain.clear()
        self._shaped.clear()
        for table in self._with_opt.values():
            table.clear()

    # ── the long way ──────────────────────────────────────────────────────────

    def _find(self, key: bytes, rdtype: int) -> IZoneData | None:
        """The deepest zone that holds a name; one in memory before one elsewhere."""
        del rdtype
        found: IZoneData | None = self.zones.find_key(key)
        if self._sources:
            least = -1 if found is None else len(found.origin.key)
            while len(key) > least:
                other = self._sources.get(key)
                if other is not None:
                    return other
                if len(key) == 1:
                    break
                key = key[1 + key[0] :]
        return found

    def respond(self, request: Request) -> Message | Awaitable[Message | None] | None:
        """The answer; ``None`` where no zone of ours holds the name."""
        question = request.message.question
        if question.rdclass != self.zones.rdclass:
            return None
        lookup = Lookup(
            self._find,
            question,
            dnssec_ok=request.dnssec_ok,
            any_answer=self._any,
            stream=request.transport != "udp",
        )
        steps = lookup.steps()
        try:
            zone, key, rdtype = next(steps)
            while True:
                node = zone.get_node(key, rdtype)
                if isawaitable(node):
                    return self._wait(request, lookup, steps, node)
                zone, key, rdtype = steps.send(node)
        except StopIteration as end:
            return self._message(request, lookup) if end.value else None

    async def _wait(
        self, request: Request, lookup: Lookup, steps: Steps, waited: Awaitable[Node | None]
    ) -> Message | None:
        """Go on with a zone that is elsewhere."""
        try:
            zone, key, rdtype = steps.send(await waited)
            while True:
                node = zone.get_node(key, rdtype)
                zone, key, rdtype = steps.send(await node if isawaitable(node) else node)
        except StopIteration as end:
            return self._message(request, lookup) if end.value else None

    def _message(self, request: Request, lookup: Lookup) -> Message:
        message = request.message.reply(lookup.rcode, AA if lookup.authoritative else 0)
        message.answers = lookup.answers
        message.authority = lookup.authority
        message.additional = lookup.additional
        if self._rotate:
            message.answers = self._rotated(message.answers)
        if lookup.glue and not message.answers:
            self._keep_glue(message, lookup, request)
        edns = request.message.edns
        if edns is not None and edns.options and edns.option(OptionCode.EXPIRE) is not None:
            self._tell_expire(message)
        return message

    def _tell_expire(self, message: Message) -> None:
        """Say with an SOA how long a copy of the zone may be used (RFC 7314 §2)."""
        from sennit.names.options import Expire
        from sennit.names.rdata.basic import SOA

        asked = message.question
        for each in message.answers:
            if each.name == asked.name and isinstance(each.rdata, SOA):
                zone = self.zones.by_origin(asked.name)
                seconds = each.rdata.expire if zone is None else zone.expire
                message.edns = EDNS(options=[Expire(seconds).option()])

    def _keep_glue(self, message: Message, lookup: Lookup, request: Request) -> None:
        """Let a referral that has no room for its glue be asked for again by TCP (RFC 9471 §3)."""
        whole = len(lookup.additional)
        message.additional = lookup.additional[: lookup.glue]
        room = request.max_size - (11 if request.message.edns is not None else 0)
        if len(message.to_wire()) > room:
            # The writer cuts the additional section without a word; the others with TC.
            message.authority += message.additional
            message.additional = []
        else:
            message.additional = lookup.additional[:whole]

    def _rotated(self, records: list[Record]) -> list[Record]:
        """The addresses at the end of an answer, from another one on each time."""
        first = len(records)
        while first and records[first - 1].rdtype in _ROTATED:
            first -= 1
        many = records[first:]
        if len(many) < 2 or len({each.rdtype for each in many}) > 1:
            return records
        self._turn += 1
        cut = self._turn % len(many)
        return records[:first] + many[cut:] + many[:cut]

    # ── the short way ─────────────────────────────────────────────────────────

    def quick(self, wire: bytes, size: int, peer: object) -> bytes | None:
        """The answer to a plain query, out of the table or straight out of the zone."""
        del peer
        kind = _KINDS.get(wire[2:12])
        if kind is None:
            return None
        if kind < 4:
            key = wire[12:-4].lower() + wire[-4:]
            entry = self._plain.get(key) or self._missing(self._plain, key, b"")
            if entry is None or len(wire) + len(entry[1]) > size:
                return None
            return wire[:2] + entry[0][kind] + wire[12:] + entry[1]
        opt = wire[-11:]
        table = self._with_opt.get(opt[5:])
        if table is None or opt[:3] != _OPT:
            return None
        key = wire[12:-15].lower() + wire[-15:-11]
        entry = table.get(key) or self._missing(table, key, opt[5:])
        if entry is None:
            return None
        answer = wire[:2] + entry[0][kind - 4] + wire[12:-11] + entry[1]
        room = opt[3] << 8 | opt[4]
        if len(answer) > (room if room < self._payload else self._payload) and len(answer) > 512:
            return None
        return answer

    def _missing(self, table: dict[bytes, Entry], key: bytes, opt: bytes) -> Entry | None:
        """The entry for a query that the table does not have, if it is one for the short way."""
        if key[-2:] != self._class or len(key) < 5:
            return None
        name = rest = key[:-4]
        zones = self.zones.zones
        while (zone := zones.get(rest)) is None:
            if len(rest) < 2:
                return None
            rest = rest[1 + rest[0] :]
        if zone.expired or (self._sources and self._find(name, 1) is not zone):
            return None
        # Whatever the zone has is a name, and so is what was asked for if it is there.
        node = zone.nodes.get(name)
        rdtype = key[-4:-2]
        if node is None or (zone.cuts and _is_hidden(zone, node, name)):
            if node is None or rdtype != _DS_OCTETS:
                return self._absent(zone, key, opt)
        elif rdtype in _DIRECT:
            for packed in node.sets:
                if packed[4:6] == rdtype:
                    entry, turned = self._copied(key, opt, node, packed)
                    return entry if turned else self._kept(table, key, entry)
        if int.from_bytes(rdtype, "big") not in _REMEMBERED or self._rotate or self._sources:
            return None
        return self._made(table, key, opt)

    def _copied(self, key: bytes, opt: bytes, node: Node, packed: bytes) -> tuple[Entry, bool]:
        """The entry of a set that leads nowhere: the set as it is kept; and if it was turned."""
        tail = packed[2:]
        count = packed[:2]
        turned = self._rotate and count != b"\0\1" and key[-4:-2] in (b"\0\1", b"\0\x1c")
        if turned:
            tail = self._turn_on(packed)
        if opt:
            if opt == _OPT_DO:
                signatures = node.packed_signatures(_number(key[-4:-2]))
                if signatures is not None:
                    tail += signatures[2:]
                    count = (_number(count) + _number(signatures)).to_bytes(2, "big")
            tail += self._opt_tails[opt]
            counts = count + b"\0\0\0\1"
        else:
            counts = count + b"\0\0\0\0"
        return (self._heads.get(counts) or self._head(counts), tail), turned

    def _kept(self, table: dict[Any, Entry], key: object, entry: Entry) -> Entry:
        """An entry, which is there the next time unless it is too long."""
        if len(entry[1]) <= _LONGEST_KEPT:
            if len(table) >= self._most:
                table.clear()
            table[key] = entry
        return entry

    def _turn_on(self, packed: bytes) -> bytes:
        """The records of a set of addresses, from another one on each time."""
        self._turn += 1
        each = 16 if packed[5] == 1 else 28
        cut = 2 + self._turn % _number(packed) * each
        return packed[cut:] + packed[2:cut]

    def _made(self, table: dict[bytes, Entry], key: bytes, opt: bytes) -> Entry | None:
        """An entry of what the long way says."""
        name = trusted(key[:-4])
        question = Question(name, key[-4] << 8 | key[-3], self.zones.rdclass)
        lookup = Lookup(self._find, question, dnssec_ok=opt == _OPT_DO, any_answer=self._any)
        if not drive(lookup.steps()) or not lookup.plain or lookup.rcode:
            return None
        entry = self._entry(lookup, question, opt)
        return None if entry is None else self._kept(table, key, entry)

    def _absent(self, zone: Zone, key: bytes, opt: bytes) -> Entry | None:
        """The entry for a name that the zone does not have, or that a delegation hides."""
        if _number(key[-4:-2]) not in _REMEMBERED:
            return None
        rdtype, signed = _number(key[-4:-2]), opt == _OPT_DO
        prover = prover_of(zone) if signed else None
        shape = shape_of(zone, key[:-4], rdtype, prover, opt)
        if not isinstance(shape, Shape):
            packed = None if shape is None or key[-4:-2] not in _DIRECT else shape.packed(rdtype)
            if shape is None or packed is None:
                return None
            return self._copied(key, opt, shape, packed)[0]
        entry = self._shaped.get(shape)
        if entry is None:
            one, other = (
                self._entry(lookup, question, opt)
                for question, lookup in lookups_of(shape, zone, self._find, dnssec_ok=signed)
            )
            if one is None or one != other:
                return None
            entry = self._kept(self._shaped, shape, one)
        return entry

    def _entry(self, lookup: Lookup, question: Question, opt: bytes) -> Entry | None:
        """The entry of what a look-up found; ``None`` where it is too long for any message."""
        flags = QR | (AA if lookup.authoritative else 0)
        message = Message(
            0, flags, rcode=lookup.rcode, questions=[question], answers=lookup.answers,
            authority=lookup.authority, additional=lookup.additional,
        )  # fmt: skip
        octets = message.to_wire()
        if octets[2] & 2:
            return None
        counts, tail = octets[6:12], octets[16 + len(question.name.wire) :]
        if opt:
            tail += self._opt_tails[opt]
            counts = counts[:4] + (_number(counts[4:]) + 1).to_bytes(2, "big")
        return self._head(counts, flags | lookup.rcode), tail

    def _head(self, counts: bytes, flags: int = QR | AA) -> tuple[bytes, bytes, bytes, bytes]:
        """Flags and counts, by what of the query's flags is repeated; shared by many entries."""
        key = counts if flags == QR | AA else counts + flags.to_bytes(2, "big")
        heads = self._heads.get(key)
        if heads is None:
            if len(self._heads) >= _MOST_HEADS:
                self._heads.clear()
            several = [(flags | kept).to_bytes(2, "big") + b"\0\1" + counts for kept in _KEPT_FLAGS]
            heads = self._heads[key] = (several[0], several[1], several[2], several[3])
        return heads


def _is_hidden(zone: Zone, node: Node, name: bytes) -> bool:
    """Whether a delegation or a DNAME stands above the name, or it is a delegation itself."""
    cuts, size = zone.cuts, len(zone.origin.key)
    if name in cuts and len(name) > size and node.packed(_NS) is not None:
        return True
    while len(name) > size:
        name = name[1 + name[0] :]
        if name in cuts:
            return True
    return False


def _number(octets: bytes) -> int:
    return octets[0] << 8 | octets[1]
