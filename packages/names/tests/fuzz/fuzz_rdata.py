"""Every type of record data: no octets and no text raise anything but their errors.

The first octet chooses the type; what follows is read as octets, and as text.
"""

from __future__ import annotations

from packages.names.tests.record_data import EXAMPLES, MNEMONICS, parsed
from sennit.names.codes import type_from_text
from sennit.names.errors import MessageFormatError, PresentationError
from sennit.names.presentation import tokens_of
from sennit.names.rdata import parse_rdata, read_rdata

TYPES = [type_from_text(each) for each in MNEMONICS]
UNLIKE = {type_from_text("LOC"), type_from_text("WKS")}
"""Types whose text does not tell all octets apart."""
SEEDS = tuple(
    bytes((at,)) + octets
    for at, mnemonic in enumerate(MNEMONICS)
    for text in EXAMPLES[mnemonic]
    for octets in (parsed(mnemonic, text).wire, text.encode())
)


def _octets(rdtype: int, data: bytes) -> None:
    try:
        rdata = read_rdata(rdtype, data, 0, len(data), {})
    except MessageFormatError as error:
        assert error.rule, "an error without the rule it is about"  # noqa: PT017 - no test
        return
    again = read_rdata(rdtype, rdata.wire, 0, len(rdata.wire), {})
    assert again == rdata
    assert again.wire == rdata.wire
    said = parse_rdata(rdtype, tokens_of(str(rdata)))
    assert said.wire == rdata.wire or rdtype in UNLIKE
    assert str(said) == str(rdata)


def _text(rdtype: int, text: str) -> None:
    try:
        rdata = parse_rdata(rdtype, tokens_of(text))
    except PresentationError:
        return
    assert read_rdata(rdtype, rdata.wire, 0, len(rdata.wire), {}) == rdata
    assert str(parse_rdata(rdtype, tokens_of(str(rdata)))) == str(rdata)


def fuzz(data: bytes) -> None:
    """Read `data` as data of the type that its first octet chooses."""
    if data:
        rdtype = TYPES[data[0] % len(TYPES)]
        _octets(rdtype, data[1:])
        _text(rdtype, data[1:].decode("latin-1"))
