"""An update as a client says it: what must hold, and what is to change (RFC 2136 §2).

::

    update = Update("example.org")
    update.require_absent("new.example.org")
    update.add("new.example.org", 300, "A", "192.0.2.1")
    message = update.message()

Names may be whole or relative to the zone; data are given as `Rdata` or as text. The message is
sent, signed or not, by who sends other queries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sennit.names.codes import META_TYPES, Opcode, RRClass, RRType, type_from_text, type_text
from sennit.names.errors import DNSUsageError
from sennit.names.message import Message, Question, Record
from sennit.names.name import Name
from sennit.names.presentation import tokens_of
from sennit.names.rdata import GenericRdata, Rdata, parse_rdata

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Update"]

_ANY: Final = 255
_NONE: Final = 254
_ANY_TYPE: Final = int(RRType.ANY)


class Update:
    """Changes of one zone that are made together, or not at all.

    Each method but `message` gives the update itself, so that calls can be strung together.

    Args:
        zone: Origin of the zone.
        rdclass: Its class.
    """

    def __init__(self, zone: Name | str, rdclass: int = int(RRClass.IN)) -> None:
        self.zone = Name(zone) if isinstance(zone, str) else zone
        self.rdclass = rdclass
        self._prerequisites: list[Record] = []
        self._changes: list[Record] = []

    def __repr__(self) -> str:
        return (
            f"<Update {self.zone}: {len(self._prerequisites)} prerequisites, "
            f"{len(self._changes)} changes>"
        )

    # ── prerequisites ─────────────────────────────────────────────────────────

    def require(
        self, name: Name | str, rdtype: int | str | None = None, *rdatas: Rdata | str
    ) -> Self:
        """A name must be in use, or have a type, or have exactly these records of it.

        Args:
            name: The name.
            rdtype: The type; left out, any will do.
            rdatas: All records of that type, whatever their TTL.
        """
        owner = self._name(name)
        if rdtype is None:
            return self._prerequisite(owner, _ANY_TYPE, _ANY)
        kind = _type(rdtype)
        if not rdatas:
            return self._prerequisite(owner, kind, _ANY)
        for each in rdatas:
            data = self._data(kind, each)
            self._prerequisites.append(Record(owner, kind, 0, data, self.rdclass))
        return self

    def require_absent(self, name: Name | str, rdtype: int | str | None = None) -> Self:
        """A name must not be in use, or must not have a type."""
        kind = _ANY_TYPE if rdtype is None else _type(rdtype)
        return self._prerequisite(self._name(name), kind, _NONE)

    # ── changes ───────────────────────────────────────────────────────────────

    def add(self, name: Name | str, ttl: int, rdtype: int | str, *rdatas: Rdata | str) -> Self:
        """Add records to a name.

        Args:
            name: The name.
            ttl: Seconds; those of its type that are there get it too.
            rdtype: Their type.
            rdatas: Their data.
        """
        if not 0 <= ttl <= 0x7FFFFFFF:
            raise DNSUsageError(f"a TTL is 0 to 2147483647, not {ttl}")
        if not rdatas:
            raise DNSUsageError("nothing to add")
        owner, kind = self._name(name), _type(rdtype)
        for each in rdatas:
            self._changes.append(Record(owner, kind, ttl, self._data(kind, each), self.rdclass))
        return self

    def delete(
        self, name: Name | str, rdtype: int | str | None = None, *rdatas: Rdata | str
    ) -> Self:
        """Delete all of a name, or all of a type, or these records of it."""
        owner = self._name(name)
        kind = _ANY_TYPE if rdtype is None else _type(rdtype)
        if not rdatas:
            self._changes.append(Record(owner, kind, 0, GenericRdata(kind, b""), _ANY))
        for each in rdatas:
            self._changes.append(Record(owner, kind, 0, self._data(kind, each), _NONE))
        return self

    def replace(self, name: Name | str, ttl: int, rdtype: int | str, *rdatas: Rdata | str) -> Self:
        """Put records in the place of all that a name has of their type."""
        return self.delete(name, rdtype).add(name, ttl, rdtype, *rdatas)

    def message(self, id: int = 0) -> Message:  # noqa: A002 - the RFC's word
        """The update as a message; its id is for who sends it to choose."""
        return Message(
            id,
            opcode=Opcode.UPDATE,
            questions=[Question(self.zone, int(RRType.SOA), self.rdclass)],
            answers=self._prerequisites,
            authority=self._changes,
        )

    def _prerequisite(self, name: Name, rdtype: int, rdclass: int) -> Self:
        self._prerequisites.append(Record(name, rdtype, 0, GenericRdata(rdtype, b""), rdclass))
        return self

    def _name(self, name: Name | str) -> Name:
        if isinstance(name, str):
            # ``www.example.org`` without its dot means itself, not www.example.org.example.org.
            plain = Name(name) if name != "@" else self.zone
            whole = plain if plain.is_below(self.zone) else Name(name, self.zone)
        else:
            whole = name
        if not whole.is_below(self.zone):
            raise DNSUsageError(f"{whole} is not in the zone {self.zone}")
        return whole

    def _data(self, rdtype: int, given: Rdata | str) -> Rdata:
        if isinstance(given, str):
            return parse_rdata(rdtype, tokens_of(given))
        if given.rdtype != rdtype:
            raise DNSUsageError(f"data of {type_text(given.rdtype)} for {type_text(rdtype)}")
        return given


def _type(given: int | str) -> int:
    rdtype = type_from_text(given) if isinstance(given, str) else int(given)
    if rdtype in META_TYPES or not 0 < rdtype <= 0xFFFF:
        raise DNSUsageError(f"{type_text(rdtype)} is no type of records")
    return rdtype
