"""Which class has the data of which type, loaded when it first turns up; a program may add its own.

To add a type here: write its class in the module of its family, or in one of its own, and put a
line into `_HOMES`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from sennit.names.codes import RRType, type_text
from sennit.names.errors import MessageFormatError, PresentationError
from sennit.names.rdata.base import GenericRdata, Rdata

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.names.name import Name
    from sennit.names.presentation import Tokens

__all__ = [
    "known_types",
    "parse_rdata",
    "rdata_class",
    "rdata_from_wire",
    "read_rdata",
    "readers",
    "register",
]

_HOMES: Final = {
    "address": "A AAAA",
    "alias": "DNAME",
    "basic": "NS CNAME SOA PTR MX TXT HINFO SPF AVC NINFO RESINFO WALLET",
    "certificate": "CAA CERT DHCID HIP OPENPGPKEY SMIMEA SSHFP TLSA",
    "dnssec": "DS CDS DLV DNSKEY CDNSKEY KEY RRSIG SIG NSEC NSEC3 NSEC3PARAM",
    "gateway": "IPSECKEY AMTRELAY",
    "location": "LOC",
    "locator": "NID L32 L64 LP EUI48 EUI64",
    "old": "MD MF MB MG MR MINFO RP X25 ISDN GPOS NSAP WKS APL",
    "service": "SRV NAPTR URI KX AFSDB RT PX DSYNC",
    "svcb": "SVCB HTTPS",
    "tsig": "TSIG",
    "zone": "CSYNC ZONEMD",
}
"""Types by the module of their class."""

_MODULES: Final = {
    int(RRType[mnemonic]): (module, mnemonic)
    for module, mnemonics in _HOMES.items()
    for mnemonic in mnemonics.split()
}
_classes: Final[dict[int, type[Rdata]]] = {}
readers: Final[dict[int, Callable[[bytes, int, int, dict[int, Name]], Rdata]]] = {}
"""`Rdata.read` of the types that turned up so far, for who reads many."""


def rdata_class(rdtype: int) -> type[Rdata] | None:
    """The class of a type's data; ``None`` for a type that has none here."""
    found = _classes.get(rdtype)
    if found is None and rdtype in _MODULES:
        module, name = _MODULES[rdtype]
        found = register(getattr(import_module(f"{__package__}.{module}"), name))
    return found


def known_types() -> list[str]:
    """Mnemonics of the types that have a class here, those of programs (`register`) left out."""
    return [mnemonic for mnemonics in _HOMES.values() for mnemonic in mnemonics.split()]


def register(kind: type[Rdata]) -> type[Rdata]:
    """Make a type's class known, in the place of one that is; usable as a decorator."""
    _classes[kind.rdtype] = kind
    readers[kind.rdtype] = kind.read
    return kind


def read_rdata(rdtype: int, wire: bytes, position: int, end: int, names: dict[int, Name]) -> Rdata:
    """The record data in ``wire[position:end]``, part of a message.

    Raises:
        MessageFormatError: It is no data of this type.
    """
    kind = _classes.get(rdtype) or rdata_class(rdtype)
    if kind is None:
        return GenericRdata(rdtype, wire[position:end])
    return kind.read(wire, position, end, names)


def rdata_from_wire(rdtype: int, wire: bytes) -> Rdata:
    """The record data that these octets are, names uncompressed.

    Raises:
        MessageFormatError: They are no data of this type.
    """
    rdata = read_rdata(rdtype, wire, 0, len(wire), {})
    if len(rdata.wire) != len(wire):
        raise MessageFormatError("a compressed name outside of a message", rule="RFC 3597 §4")
    return rdata


def parse_rdata(rdtype: int, tokens: Tokens) -> Rdata:
    r"""Record data in presentation form: the type's own, or ``\# 4 0A000001`` (RFC 3597 §5).

    Raises:
        PresentationError: It is no data of this type.
    """
    generic = tokens.generic()
    kind = rdata_class(rdtype)
    if generic is not None:
        try:
            return rdata_from_wire(rdtype, generic)
        except MessageFormatError as error:
            raise PresentationError(f"{error} (of type {type_text(rdtype)})") from error
    if kind is None:
        raise PresentationError(
            f"{type_text(rdtype)} has no presentation form here: write \\# LENGTH HEX (RFC 3597 §5)"
        )
    return kind.parse(tokens)
