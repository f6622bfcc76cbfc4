"""The answer to a question, out of zones: the algorithm of RFC 1034 §4.3.2.

`Lookup.steps` is a generator: it yields which name of which zone it wants to see (and for which
type), is sent that name's node, and returns when the sections are filled. So it does not matter
to it whether a zone is in memory or in a database, and whoever drives it may wait.

Sources: RFC 1034 §4.3.2, RFC 4592 (wildcards), RFC 6672 §3 (DNAME), RFC 2308 §3 (negative
answers), RFC 4035 §3.1 (DNSSEC), RFC 6604 (the response code behind aliases), RFC 8482 (ANY),
RFC 9471 (glue).
"""

from __future__ import annotations

from enum import Enum
from inspect import isawaitable
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from sennit.names.codes import Rcode, RRType
from sennit.names.errors import DNSUsageError
from sennit.names.message import Record
from sennit.names.name import Name, read_name, trusted
from sennit.names.rdata import basic
from sennit.names.zone.node import raw_rdatas, set_ttl, unpack
from sennit.names.zone.proofs import prover_of
from sennit.names.zone.rules import CNAME, DNAME, NS, SOA
from sennit.names.zone.zone import Zone

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from sennit.names.message import Question
    from sennit.names.zone.data import IZoneData
    from sennit.names.zone.node import Node
    from sennit.names.zone.proofs import Prover

    Find: TypeAlias = Callable[[bytes, int], "IZoneData | None"]
    """The zone that answers for a name (its key) and a type."""
    Steps: TypeAlias = Generator[tuple["IZoneData", bytes, int], "Node | None", bool]

__all__ = ["MAX_ADDITIONAL", "MAX_CHAIN", "AnyAnswer", "Lookup", "drive"]

MAX_CHAIN: Final = 11
"""Aliases that are followed for one question (HARDENING dns-10)."""
MAX_ADDITIONAL: Final = 13
"""Names whose addresses are added to an answer (HARDENING dns-13)."""

AnyAnswer: TypeAlias = Literal["hinfo", "smallest", "full"]
"""How ANY is answered (RFC 8482 §4): by an HINFO record that says so; by the smallest RRset;
or by all of them over a stream, and the smallest over UDP."""

_DS: Final = int(RRType.DS)
_ANY: Final = int(RRType.ANY)
_RRSIG: Final = int(RRType.RRSIG)
_BESIDE_ALIAS: Final = frozenset({CNAME, int(RRType.NSEC), _RRSIG, int(RRType.KEY)})
"""Types that are asked for at an alias itself."""
_TARGETS: Final = {
    NS: 0,
    int(RRType.MX): 2,
    int(RRType.AFSDB): 2,
    int(RRType.KX): 2,
    int(RRType.SRV): 6,
    int(RRType.SVCB): 2,
    int(RRType.HTTPS): 2,
}
"""Types that lead to hosts, and where the host's name stands in their data."""
_ADDRESSES: Final = (int(RRType.A), int(RRType.AAAA))
_HINFO: Final = basic.HINFO(cpu=b"RFC8482", os=b"")
_HINFO_TTL: Final = 3600


def drive(steps: Steps) -> bool:
    """What steps return that go through zones in memory alone."""
    try:
        zone, key, rdtype = next(steps)
        while True:
            node = zone.get_node(key, rdtype)
            assert not isawaitable(node), "zones in memory answer at once"
            zone, key, rdtype = steps.send(node)
    except StopIteration as end:
        return bool(end.value)


class _Met(Enum):
    """What was met on the way down to a name."""

    FOUND = 1
    MISSING = 2
    CUT = 3
    DNAME = 4


class Lookup:
    """One question, and the sections of its answer.

    Args:
        find: Gives the zone for a name.
        question: What is asked.
        dnssec_ok: Whether records of DNSSEC are wanted.
        any_answer: How ANY is answered.
        stream: Whether it came over a stream, where no address is forged.

    Attributes:
        rcode: Response code.
        authoritative: Whether the answer is (AA).
        answers: Records of the section.
        authority: Records of the section.
        additional: Records of the section.
        glue: How many of `additional` the referral cannot do without (RFC 9471).
        plain: Whether it is the same for nobody else than who asks for this name: no wildcard,
            no name that does not exist, nothing beneath a delegation or a DNAME; and all of it
            out of zones in memory.
    """

    __slots__ = (
        "_any",
        "_find",
        "_question",
        "_sent",
        "_signed",
        "_stream",
        "additional",
        "answers",
        "authoritative",
        "authority",
        "glue",
        "plain",
        "rcode",
    )

    def __init__(
        self,
        find: Find,
        question: Question,
        *,
        dnssec_ok: bool = False,
        any_answer: AnyAnswer = "hinfo",
        stream: bool = False,
    ) -> None:
        self._find = find
        self._question = question
        self._signed = dnssec_ok
        self._any = any_answer
        self._stream = stream
        self._sent: set[tuple[bytes, int]] = set()
        self.rcode = int(Rcode.NOERROR)
        self.authoritative = True
        self.answers: list[Record] = []
        self.authority: list[Record] = []
        self.additional: list[Record] = []
        self.glue = 0
        self.plain = True

    def steps(self) -> Steps:
        """Fill the sections; false where no zone holds the name asked for."""
        name, rdtype = self._question.name, self._question.rdtype
        seen: set[bytes] = set()
        while len(seen) < MAX_CHAIN and name.key not in seen:
            zone = self._zone(name.key, rdtype)
            if zone is None or zone.expired:
                # Behind an alias it is for the one who asks to go on.
                if not seen and zone is not None:
                    self.rcode = int(Rcode.SERVFAIL)
                    self.authoritative = self.plain = False
                return bool(seen) or zone is not None
            seen.add(name.key)
            if type(zone) is not Zone:
                self.plain = False
            target = yield from self._look(zone, name, rdtype, first=len(seen) == 1)
            if target is None:
                break
            name = target
        return True

    def _zone(self, key: bytes, rdtype: int) -> IZoneData | None:
        zone = self._find(key, rdtype)
        if rdtype == _DS and zone is not None and len(key) > 1 and zone.origin.key == key:
            # DS belongs to the zone above (RFC 4035 §3.1.4.1).
            return self._find(key[1 + key[0] :], rdtype) or zone
        return zone

    def _walk(
        self, zone: IZoneData, key: bytes, rdtype: int
    ) -> Generator[tuple[IZoneData, bytes, int], Node | None, tuple[_Met, Node | None, bytes]]:
        """Go down from the zone's name to `key`; what was met, its node, and its key."""
        own = zone.origin.key
        if type(zone) is Zone and not zone.cuts:
            node = zone.nodes.get(key)
            if node is not None:
                return _Met.FOUND, node, key
        starts: list[int] = []
        position = 0
        while len(key) - position > len(own):
            starts.append(position)
            position += 1 + key[position]
        at = own
        node = yield zone, own, rdtype if len(key) == len(own) else NS
        for start in reversed(starts):
            if node is not None and node.packed(DNAME) is not None:
                return _Met.DNAME, node, at
            below = key[start:]
            child = yield zone, below, NS if start else rdtype
            if child is None:
                return _Met.MISSING, node, at
            node, at = child, below
            if child.packed(NS) is not None and (start or rdtype != _DS):
                return _Met.CUT, node, at
        return _Met.FOUND, node, at

    def _look(
        self, zone: IZoneData, name: Name, rdtype: int, *, first: bool
    ) -> Generator[tuple[IZoneData, bytes, int], Node | None, Name | None]:
        """Answer for a name out of its zone; the name to go on with, behind an alias."""
        met, node, at = yield from self._walk(zone, name.key, rdtype)
        if met is _Met.CUT:
            assert node is not None
            self.plain = False
            self.authoritative = not first
            yield from self._refer(zone, node, at)
            return None
        if met is _Met.DNAME:
            assert node is not None
            self.plain = False
            target = self._rewrite(node, at, name)
            # Who asks for CNAME has it with that.
            return None if rdtype in (CNAME, _ANY) else target
        prover = prover_of(zone) if self._signed else None
        proof: list[bytes] = []
        expanded = met is _Met.MISSING
        if expanded:
            self.plain = False
            node = yield zone, b"\1*" + at, rdtype
            if node is None:
                self.rcode = int(Rcode.NXDOMAIN)
                proof = prover.no_name(name.key, at) if prover else []
                yield from self._deny(zone, prover, proof)
                return None
            proof = prover.expanded(name.key, at) if prover else []
        if node is None:
            # A zone elsewhere that has nothing at its own name: there is no SOA to deny with.
            self.rcode = int(Rcode.SERVFAIL)
            self.authoritative = self.plain = False
            return None
        alias = node.packed(CNAME)
        if alias is not None and rdtype not in _BESIDE_ALIAS and rdtype != _ANY:
            self._add(self.answers, node, CNAME, name)
            yield from self._prove(zone, prover, proof)
            return read_name(next(raw_rdatas(alias)), 0, {})[0]
        found = self._sets(node, rdtype, secure=prover is not None)
        if found or (rdtype == _ANY and node.sets):
            if rdtype == _ANY and not found:
                self.answers.append(Record(name, _HINFO.rdtype, _HINFO_TTL, _HINFO, zone.rdclass))
            for packed in found:
                self.answers += unpack(name, packed).records()
                self._sent.add((name.key, packed[4] << 8 | packed[5]))
                if rdtype != _RRSIG:
                    self._sign(self.answers, node, packed, name)
            if found:
                yield from self._prove(zone, prover, proof)
                for packed in found:
                    yield from self._lead(packed, name)
            return None
        if prover:
            proof = prover.no_data_expanded(name.key, at) if expanded else prover.no_data(name.key)
        yield from self._deny(zone, prover, proof)
        return None

    def deny(self, zone: IZoneData, rcode: int, proof: Iterable[bytes]) -> Steps:
        """Fill the sections as for a name that is known not to be there, or to lack the type."""
        self.rcode = rcode
        yield from self._deny(zone, prover_of(zone) if self._signed else None, proof)
        return True

    def _sets(self, node: Node, rdtype: int, *, secure: bool) -> list[bytes]:
        """The sets of a node that answer a type."""
        if rdtype not in (_ANY, _RRSIG):
            packed = node.packed(rdtype)
            return [] if packed is None else [packed]
        signatures = [each for each in node.sets if each[4:6] == b"\0\x2e"]
        if rdtype == _RRSIG:
            # As with ANY, some of them are an answer, and many would be a weapon.
            return signatures if self._stream and self._any == "full" else signatures[:1]
        others = [each for each in node.sets if each[4:6] != b"\0\x2e"]
        if self._stream and self._any == "full":
            return others
        if self._any == "hinfo" and not secure:
            return []
        # Where signatures are wanted, HINFO would be one record that has none.
        return [min(others, key=len)] if others else []

    # ── sections ──────────────────────────────────────────────────────────────

    def _add(
        self, section: list[Record], node: Node, rdtype: int, name: Name, ttl: int | None = None
    ) -> bool:
        """Add a set and its signatures, once; whether there is one."""
        packed = node.packed(rdtype)
        if packed is None:
            return False
        if (name.key, rdtype) in self._sent:
            return True
        self._sent.add((name.key, rdtype))
        records = unpack(name, packed).records()
        if ttl is not None:
            for each in records:
                each.ttl = ttl
        section += records
        self._sign(section, node, packed, name, ttl)
        return True

    def _sign(
        self,
        section: list[Record],
        node: Node,
        packed: bytes,
        name: Name,
        ttl: int | None = None,
    ) -> None:
        if not self._signed:
            return
        signatures = node.packed_signatures(packed[4] << 8 | packed[5])
        if signatures is not None:
            records = unpack(name, signatures).records()
            if ttl is not None:
                for each in records:
                    each.ttl = ttl
            section += records

    def _deny(
        self, zone: IZoneData, prover: Prover | None, proof: Iterable[bytes]
    ) -> Generator[tuple[IZoneData, bytes, int], Node | None, None]:
        """The SOA, which tells for how long (RFC 2308 §3), and the proof."""
        apex = yield zone, zone.origin.key, SOA
        packed = apex.packed(SOA) if apex is not None else None
        if apex is None or packed is None:
            self.rcode = int(Rcode.SERVFAIL)
            self.authoritative = self.plain = False
            return
        ttl = min(set_ttl(packed), int.from_bytes(packed[-4:], "big"))
        self._add(self.authority, apex, SOA, zone.origin, ttl)
        yield from self._prove(zone, prover, proof)

    def _prove(
        self, zone: IZoneData, prover: Prover | None, proof: Iterable[bytes]
    ) -> Generator[tuple[IZoneData, bytes, int], Node | None, None]:
        for key in proof:
            node = yield zone, key, _ANY
            if node is not None and prover is not None:
                self._add(self.authority, node, prover.rdtype, node.name)

    def _rewrite(self, node: Node, at: bytes, name: Name) -> Name | None:
        """Follow a DNAME (RFC 6672 §3.1)."""
        packed = node.packed(DNAME)
        assert packed is not None
        self._add(self.answers, node, DNAME, node.name)
        to = read_name(next(raw_rdatas(packed)), 0, {})[0]
        try:
            target = name.rebased(trusted(at), to)
        except DNSUsageError:
            self.rcode = int(Rcode.YXDOMAIN)
            return None
        rdclass = packed[6] << 8 | packed[7]
        self.answers.append(
            Record(name, CNAME, set_ttl(packed), basic.CNAME(target=target), rdclass)
        )
        return target

    def _refer(
        self, zone: IZoneData, node: Node, at: bytes
    ) -> Generator[tuple[IZoneData, bytes, int], Node | None, None]:
        """Name the servers of a zone beneath (RFC 1034 §4.3.2, 3b)."""
        packed = node.packed(NS)
        assert packed is not None
        self.authority += unpack(node.name, packed).records()
        if self._signed:
            prover = prover_of(zone)
            if not self._add(self.authority, node, _DS, node.name) and prover is not None:
                yield from self._prove(zone, prover, prover.no_data(at))
        own = zone.origin
        hosts = [read_name(each, 0, {})[0] for each in raw_rdatas(packed)][:MAX_ADDITIONAL]
        # First what a referral cannot do without: hosts beneath the name it is about.
        cut = trusted(at)
        hosts.sort(key=lambda host: not host.is_below(cut))
        for host in hosts:
            if host.is_below(own):
                glue = yield zone, host.key, _ANY
                if glue is not None:
                    for rdtype in _ADDRESSES:
                        self._add(self.additional, glue, rdtype, host)
                if host.is_below(cut):
                    self.glue = len(self.additional)

    def _lead(
        self, packed: bytes, owner: Name
    ) -> Generator[tuple[IZoneData, bytes, int], Node | None, None]:
        """Add the addresses of the hosts that a set leads to."""
        rdtype = packed[4] << 8 | packed[5]
        start = _TARGETS.get(rdtype)
        if start is None:
            return
        hosts: dict[Name, None] = {}
        for rdata in raw_rdatas(packed):
            host = read_name(rdata, start, {})[0]
            if host.is_root:
                if rdtype not in (RRType.SVCB, RRType.HTTPS):
                    continue  # RFC 2782: no such service
                host = owner  # RFC 9460 §2.5.2
            hosts[host] = None
            if len(hosts) == MAX_ADDITIONAL:
                break
        for host in hosts:
            zone = self._find(host.key, 1)
            if zone is None or zone.expired:
                continue
            met, node, _ = yield from self._walk(zone, host.key, _ANY)
            if type(zone) is not Zone:
                self.plain = False
            if met is _Met.FOUND and node is not None:
                for each in _ADDRESSES:
                    self._add(self.additional, node, each, host)
