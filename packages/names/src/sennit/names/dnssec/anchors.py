"""Trust anchors: the keys that are believed without anybody signing them.

An anchor is a DS or a DNSKEY record of a zone, mostly of the root; `ROOT_ANCHORS` are the root's
as IANA publishes them. A file of anchors holds such records in presentation form, one an entry::

    . IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D

A negative anchor says for a while that nothing beneath a name is to be validated (RFC 7646).

Sources: RFC 4033 §2, RFC 4035 §5, RFC 9718 (IANA's publication, its XML too), RFC 7646.
Not here: keys that are followed as they are rolled (``tracking.py``, RFC 5011).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sennit.names.codes import RRClass, RRType, class_from_text, type_from_text
from sennit.names.dnssec.numbers import ZONE_KEY
from sennit.names.errors import PresentationError
from sennit.names.name import ROOT, Name
from sennit.names.presentation import Entry, Tokens, seconds_from_text, split
from sennit.names.rdata import parse_rdata
from sennit.names.rdata.dnssec import DNSKEY, DS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["ROOT_ANCHORS", "TrustAnchors", "anchors_from_text", "anchors_from_xml"]

MAX_XML: Final = 1 << 20
"""Characters of a file of IANA's that are read."""

ROOT_ANCHORS: Final = """\
. IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D
. IN DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16
"""
"""The root's keys of 2017 and 2024, as IANA's root-anchors.xml has them."""


class TrustAnchors:
    """Anchors by zone.

    Args:
        anchors: Zones and the records that are believed of them.
    """

    __slots__ = ("_negative", "_zones")

    def __init__(self, anchors: Iterable[tuple[Name, DS | DNSKEY]] = ()) -> None:
        self._zones: dict[Name, list[DS | DNSKEY]] = {}
        self._negative: dict[Name, float] = {}
        for zone, record in anchors:
            self.add(zone, record)

    @classmethod
    def root(cls) -> TrustAnchors:
        """Those of the root, as they are built in."""
        return cls(anchors_from_text(ROOT_ANCHORS))

    @classmethod
    def from_text(cls, text: str, file: str = "") -> TrustAnchors:
        """Those of a file.

        Raises:
            PresentationError: An entry is no DS or DNSKEY record.
        """
        return cls(anchors_from_text(text, file))

    def add(self, zone: Name, record: DS | DNSKEY) -> None:
        """Believe a key of a zone."""
        known = self._zones.setdefault(zone, [])
        if record not in known:
            known.append(record)

    def replace(self, zone: Name, records: Iterable[DS | DNSKEY]) -> None:
        """Believe these keys of a zone and no others; none leaves it unknown again."""
        found = list(records)
        if found:
            self._zones[zone] = found
        else:
            self._zones.pop(zone, None)

    def of(self, zone: Name) -> tuple[DS | DNSKEY, ...]:
        """What is believed of a zone."""
        return tuple(self._zones.get(zone, ()))

    def above(self, name: Name) -> Name | None:
        """The closest zone with an anchor, `name` itself or above it."""
        zones = self._zones
        return next((each for each in name.ancestors() if each in zones), None)

    def distrust(self, name: Name, until: float) -> None:
        """Validate nothing at and beneath a name, until so many seconds of the wall clock."""
        self._negative[name] = until

    def trust_again(self, name: Name) -> None:
        """Take a negative anchor back."""
        self._negative.pop(name, None)

    def distrusted(self, name: Name, now: float) -> bool:
        """Whether a negative anchor stands at `name` or above, closer than any other anchor."""
        if not self._negative:
            return False
        for each in name.ancestors():
            until = self._negative.get(each)
            if until is not None:
                if now < until:
                    return True
                del self._negative[each]
            if each in self._zones:
                return False
        return False

    def __iter__(self) -> Iterator[Name]:
        return iter(tuple(self._zones))

    def __len__(self) -> int:
        return len(self._zones)

    def to_text(self) -> str:
        """As a file of anchors."""
        return "".join(
            f"{zone} IN {RRType(record.rdtype).name} {record.to_text()}\n"
            for zone, records in self._zones.items()
            for record in records
        )


def anchors_from_text(text: str, file: str = "") -> list[tuple[Name, DS | DNSKEY]]:
    """The anchors in a file, each with its zone; TTL and class may be left out.

    Raises:
        PresentationError: An entry is no DS or DNSKEY record.
    """
    found: list[tuple[Name, DS | DNSKEY]] = []
    for entry in split(text.splitlines(), file):
        try:
            found.append(_anchor(entry))
        except PresentationError as error:
            raise error.at(entry.line, file) from None
    return found


def _anchor(entry: Entry) -> tuple[Name, DS | DNSKEY]:
    if entry.blank:
        raise PresentationError("an anchor begins with the name of its zone")
    tokens = Tokens(entry.tokens, ROOT)
    zone = tokens.name()
    word = tokens.text()
    if seconds_from_text(word) is not None:
        word = tokens.text()
    if word.upper() in RRClass.__members__:
        if class_from_text(word) != RRClass.IN:
            raise PresentationError(f"an anchor of class {word!r}: only IN is validated")
        word = tokens.text()
    record = parse_rdata(type_from_text(word), tokens)
    if type(record) is DNSKEY:
        if record.flags & ZONE_KEY:
            return zone, record
    elif type(record) is DS:
        return zone, record
    raise PresentationError(f"{word!r:.40} is no anchor: DS and DNSKEY records of zones are")


def anchors_from_xml(text: str, now: str) -> list[tuple[Name, DS]]:
    """The anchors in IANA's root-anchors.xml (RFC 9718 §2); its signature is not looked at.

    Args:
        text: The file.
        now: The time, as ``2026-01-31T00:00:00+00:00``: keys that are not valid then are left out.

    Raises:
        PresentationError: It is no such file.
    """
    from xml.etree import ElementTree

    if len(text) > MAX_XML or "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise PresentationError("no file of root anchors: too large, or with a document type")
    from datetime import datetime

    try:
        moment = datetime.fromisoformat(now)
        root = ElementTree.fromstring(text)
        zone = Name(root.findtext("Zone", ".").strip())
        found: list[tuple[Name, DS]] = []
        for each in root.iter("KeyDigest"):
            begin, end = each.get("validFrom"), each.get("validUntil")
            if begin is not None and datetime.fromisoformat(begin) > moment:
                continue
            if end is not None and datetime.fromisoformat(end) <= moment:
                continue
            found.append(
                (
                    zone,
                    DS(
                        int(each.findtext("KeyTag", "")),
                        int(each.findtext("Algorithm", "")),
                        int(each.findtext("DigestType", "")),
                        bytes.fromhex(each.findtext("Digest", "")),
                    ),
                )
            )
    except (ElementTree.ParseError, ValueError, TypeError) as error:
        raise PresentationError(f"no file of root anchors: {error}") from error
    if root.tag != "TrustAnchor" or not found:
        raise PresentationError("a file of root anchors without a key that is valid now")
    return found
