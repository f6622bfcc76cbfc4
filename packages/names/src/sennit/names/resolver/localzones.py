"""Zones that the resolver answers by itself: local names, names of no use outside, blocked names.

A `LocalZone` has a kind, which says what becomes of names beneath it that have no data here; the
kinds are those that operators know from Unbound. `Blocklist` is for very many names of one kind:
a set, so that a look-up takes as many steps as the name has labels.

By default here are the names that must not leave a site: localhost, invalid, onion, test,
home.arpa and reverse names of addresses that are not the Internet's.

Sources: RFC 6303 (empty zones), RFC 6761 (special names), RFC 7686 (onion), RFC 8375 (home.arpa),
RFC 9462 §6.5 (resolver.arpa).
"""

from __future__ import annotations

from enum import Enum
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from sennit.names.codes import Rcode, RRType, type_from_text
from sennit.names.errors import DNSUsageError, PresentationError
from sennit.names.message import Record
from sennit.names.name import Name
from sennit.names.presentation import tokens_of
from sennit.names.rdata import parse_rdata, rdata_from_wire
from sennit.names.rdata.basic import CNAME, SOA

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "Blocklist",
    "LocalAnswer",
    "LocalKind",
    "LocalZone",
    "LocalZones",
    "default_zones",
    "read_blocklist",
    "read_record",
]

TTL: Final = 10800
"""Seconds that local answers may be kept, as RFC 6303 §3 has it."""
MOST_ALIASES: Final = 11
"""Aliases that are followed from zone to zone."""
MOST_BLOCKED: Final = 5_000_000
"""Names of a blocklist."""
_SOA: Final = int(RRType.SOA)
_CNAME: Final = int(RRType.CNAME)


class LocalKind(Enum):
    """What becomes of a name beneath a local zone."""

    STATIC = "static"
    """It has the zone's data, or it does not exist."""
    TRANSPARENT = "transparent"
    """It has the zone's data; names without any are looked up."""
    TYPETRANSPARENT = "typetransparent"
    """Likewise; of names with data other types are looked up, too."""
    REDIRECT = "redirect"
    """It has the data of the zone's own name."""
    REFUSE = "refuse"
    """It has the zone's data, or is refused."""
    DENY = "deny"
    """It has the zone's data, or there is no answer at all."""
    NXDOMAIN = "nxdomain"
    """It does not exist, whatever data the zone has."""
    NODATA = "nodata"
    """It exists, and has nothing."""
    NULL = "null"
    """It has the address of nowhere, 0.0.0.0 and ::."""


class LocalAnswer:
    """What a local zone says.

    Attributes:
        rcode: The response code; ``None`` for no answer at all.
        answers: Records of the answer section.
        authority: The SOA of an absence.
        blocked: Whether an operator keeps it from clients (RFC 8914 §4.16).
        target: Where its last alias leads, when that is for others to say.
    """

    __slots__ = ("answers", "authority", "blocked", "rcode", "target")

    def __init__(
        self,
        rcode: int | None,
        answers: Sequence[Record] = (),
        authority: Sequence[Record] = (),
        *,
        blocked: bool = False,
        target: Name | None = None,
    ) -> None:
        self.rcode = rcode
        self.answers = list(answers)
        self.authority = list(authority)
        self.blocked = blocked
        self.target = target


class LocalZone:
    """A zone that is answered here.

    Args:
        name: Its name.
        kind: What becomes of names beneath it.
        records: Its data, in presentation form, owners relative to the zone:
            ``www 300 IN A 192.0.2.1``; or `Record`.
    """

    def __init__(
        self,
        name: Name | str,
        kind: LocalKind | str = LocalKind.STATIC,
        records: Iterable[str | Record] = (),
    ) -> None:
        self.name = Name(name) if isinstance(name, str) else name
        try:
            self.kind = LocalKind(kind)
        except ValueError:
            kinds = ", ".join(each.value for each in LocalKind)
            raise DNSUsageError(f"{kind!r} is no kind of local zone: {kinds}") from None
        self._data: dict[bytes, dict[int, list[Record]]] = {}
        self._above: set[bytes] = set()
        for each in records:
            self._add(read_record(each, self.name) if isinstance(each, str) else each)

    def _add(self, record: Record) -> None:
        if not record.name.is_below(self.name):
            raise DNSUsageError(f"{record.name} is not in the local zone {self.name}")
        types = self._data.setdefault(record.name.key, {})
        types.setdefault(record.rdtype, []).append(record)
        self._above.update(each.key for each in record.name.ancestors())

    @property
    def _soa(self) -> list[Record]:
        own = self._data.get(self.name.key, {}).get(_SOA)
        return own or [Record(self.name, _SOA, TTL, _EMPTY_SOA)]

    def answer(self, name: Name, rdtype: int) -> LocalAnswer | None:
        """What it says of a name beneath it; ``None`` where the name is to be looked up."""
        kind = self.kind
        if kind is LocalKind.NXDOMAIN:
            return LocalAnswer(int(Rcode.NXDOMAIN), authority=self._soa, blocked=True)
        if kind is LocalKind.NODATA:
            return LocalAnswer(int(Rcode.NOERROR), authority=self._soa, blocked=True)
        if kind is LocalKind.NULL:
            nowhere = _NOWHERE.get(rdtype)
            if nowhere is None:
                return LocalAnswer(int(Rcode.NOERROR), authority=self._soa, blocked=True)
            return LocalAnswer(
                int(Rcode.NOERROR), [Record(name, rdtype, TTL, nowhere)], blocked=True
            )
        types = self._data.get(self.name.key if kind is LocalKind.REDIRECT else name.key)
        if types is not None:
            found = types.get(rdtype) or types.get(_CNAME)
            if found is not None:
                alias = found[0].rdata if rdtype != _CNAME else None
                return LocalAnswer(
                    int(Rcode.NOERROR),
                    [Record(name, each.rdtype, each.ttl, each.rdata) for each in found],
                    target=alias.target if isinstance(alias, CNAME) else None,
                )
            if kind is LocalKind.TYPETRANSPARENT:
                return None
            return LocalAnswer(int(Rcode.NOERROR), authority=self._soa)
        if kind in (LocalKind.TRANSPARENT, LocalKind.TYPETRANSPARENT):
            return None
        if kind is LocalKind.REFUSE:
            return LocalAnswer(int(Rcode.REFUSED), blocked=True)
        if kind is LocalKind.DENY:
            return LocalAnswer(None, blocked=True)
        exists = name == self.name or name.key in self._above or kind is LocalKind.REDIRECT
        return LocalAnswer(int(Rcode.NOERROR if exists else Rcode.NXDOMAIN), authority=self._soa)


class Blocklist:
    """Very many names that clients are kept from, with all that is beneath them.

    Args:
        names: The names.
        kind: What is said of them: ``nxdomain``, ``nodata``, ``null``, ``refuse`` or ``deny``.
        allowed: Names that are looked up all the same, with all that is beneath them.
    """

    def __init__(
        self,
        names: Iterable[Name | str],
        kind: LocalKind | str = LocalKind.NXDOMAIN,
        allowed: Iterable[Name | str] = (),
    ) -> None:
        self._names = {_key(each) for each in names}
        self._allowed = {_key(each) for each in allowed}
        self.kind = LocalKind(kind)

    def __len__(self) -> int:
        """How many names."""
        return len(self._names)

    def answer(self, name: Name, rdtype: int) -> LocalAnswer | None:
        """What is said of a name; ``None`` where it is not blocked."""
        wire = name.key
        names, allowed = self._names, self._allowed
        while True:
            if wire in allowed:
                return None
            if wire in names:
                return LocalZone(Name.from_wire(wire), self.kind).answer(name, rdtype)
            length = wire[0]
            if not length:
                return None
            wire = wire[1 + length :]


class LocalZones:
    """All local zones, and blocklists behind them.

    Args:
        zones: The zones; a later one takes the place of an earlier one of the same name.
        blocklists: Asked in order where no zone has an answer.
    """

    def __init__(
        self, zones: Iterable[LocalZone] = (), blocklists: Iterable[Blocklist] = ()
    ) -> None:
        self._zones = {each.name.key: each for each in zones}
        self._blocklists = tuple(blocklists)

    def __len__(self) -> int:
        """How many zones."""
        return len(self._zones)

    def without(self, names: Iterable[Name]) -> LocalZones:
        """The same, without zones that hold one of these names (it is known elsewhere)."""
        # The root as a forward is for what has no place of its own.
        gone = {above.key for name in names for above in name.ancestors() if not name.is_root}
        return LocalZones(
            [each for key, each in self._zones.items() if key not in gone], self._blocklists
        )

    def answer(self, name: Name, rdtype: int) -> LocalAnswer | None:
        """What the deepest zone that holds a name says; ``None`` where it is to be looked up.

        Aliases are followed as far as it is known here where they lead.
        """
        found = self._look(name, rdtype)
        if found is None or found.target is None:
            return found
        answers = found.answers
        for _ in range(MOST_ALIASES):
            following = self._look(found.target, rdtype)
            if following is None:
                return LocalAnswer(found.rcode, answers, target=found.target)
            found = following
            answers = answers + found.answers
            if found.target is None:
                return LocalAnswer(found.rcode, answers, found.authority, blocked=found.blocked)
        return LocalAnswer(int(Rcode.SERVFAIL))

    def _look(self, name: Name, rdtype: int) -> LocalAnswer | None:
        wire = name.key
        zones = self._zones
        while True:
            zone = zones.get(wire)
            if zone is not None:
                found = zone.answer(name, rdtype)
                if found is not None or zone.kind in (
                    LocalKind.TRANSPARENT,
                    LocalKind.TYPETRANSPARENT,
                ):
                    return found
            length = wire[0]
            if not length:
                break
            wire = wire[1 + length :]
        for blocklist in self._blocklists:
            found = blocklist.answer(name, rdtype)
            if found is not None:
                return found
        return None


_EMPTY_SOA: Final = SOA(Name("localhost."), Name("nobody.invalid."), 1, 3600, 1200, 604800, TTL)
_NOWHERE: Final = {
    int(each): rdata_from_wire(each, bytes(size))
    for each, size in ((RRType.A, 4), (RRType.AAAA, 16))
}


def _key(name: Name | str) -> bytes:
    return (Name(name) if isinstance(name, str) else name).key


def read_record(text: str, origin: Name) -> Record:
    """A record written as ``owner [ttl] [class] type data``."""
    if "\r" in text or "\n" in text or "\0" in text:
        raise DNSUsageError(f"{text!r} is no record")
    tokens = tokens_of(text, origin)
    owner = tokens.name()
    ttl = 3600
    word = tokens.text()
    if word.isascii() and word.isdigit() and len(word) <= 9:
        ttl = int(word)
        word = tokens.text()
    if word.upper() == "IN":
        word = tokens.text()
    rdtype = type_from_text(word)
    return Record(owner, rdtype, ttl, parse_rdata(rdtype, tokens))


def read_blocklist(lines: Iterable[str], file: str = "") -> list[Name]:
    """Names of a blocklist, one a line: alone, as in a hosts file, or ``||name^``.

    ``#`` and ``!`` begin comments. Names of hosts files that are no names of the outside
    (``localhost`` and its like) are left out.

    Raises:
        PresentationError: A line is none, or there are too many.
    """
    names: list[Name] = []
    for number, whole in enumerate(lines, 1):
        line = whole.partition("#")[0].strip()
        if not line or line.startswith("!"):
            continue
        words = line.split()
        if len(words) > 1 and _is_address(words[0]):
            words = [each for each in words[1:] if "." in each]
        elif len(words) > 1:
            raise PresentationError("one name a line", line=number, file=file)
        for word in words:
            text = word.removeprefix("||").removesuffix("^").removeprefix("*.")
            if _is_address(text):
                continue
            try:
                names.append(Name(text))
            except PresentationError as error:
                raise error.at(number, file) from None
        if len(names) > MOST_BLOCKED:
            raise PresentationError(f"more than {MOST_BLOCKED} names", line=number, file=file)
    return names


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


_EMPTY: Final = (
    "invalid onion test home.arpa resolver.arpa "
    # RFC 6303 §4.2 to §4.6, and the networks of RFC 6598 and RFC 5737
    "10.in-addr.arpa 168.192.in-addr.arpa 0.in-addr.arpa 127.in-addr.arpa "
    "254.169.in-addr.arpa 2.0.192.in-addr.arpa 100.51.198.in-addr.arpa "
    "113.0.203.in-addr.arpa 255.255.255.255.in-addr.arpa "
    f"{'0.' * 32}ip6.arpa 1.{'0.' * 31}ip6.arpa d.f.ip6.arpa 8.e.f.ip6.arpa 9.e.f.ip6.arpa "
    "a.e.f.ip6.arpa b.e.f.ip6.arpa 8.b.d.0.1.0.0.2.ip6.arpa"
)


def default_zones() -> list[LocalZone]:
    """The zones that are answered here unless somebody says otherwise."""
    empty = _EMPTY.split()
    empty += [f"{each}.172.in-addr.arpa" for each in range(16, 32)]
    empty += [f"{each}.100.in-addr.arpa" for each in range(64, 128)]
    zones = [LocalZone(each + ".") for each in empty]
    zones += [
        LocalZone("localhost.", LocalKind.REDIRECT, ["@ 10800 A 127.0.0.1", "@ 10800 AAAA ::1"]),
        LocalZone("127.in-addr.arpa.", LocalKind.STATIC, ["1.0.0 10800 PTR localhost."]),
        LocalZone(f"1.{'0.' * 31}ip6.arpa.", LocalKind.STATIC, ["@ 10800 PTR localhost."]),
    ]
    return zones
