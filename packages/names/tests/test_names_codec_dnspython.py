"""Ours and dnspython on the same records: octets of either are read by the other, and text.

What is made is the same in every run, since what is odd to the other side is its own affair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packages.names.tests.record_data import EVERY, EXAMPLES, MNEMONICS, NAMES, made, parsed
from sennit.names.codes import type_from_text, type_text
from sennit.names.edns import EDNS, Option
from sennit.names.message import Message, Question, Record
from sennit.names.presentation import tokens_of
from sennit.names.rdata import parse_rdata

if TYPE_CHECKING:
    from sennit.names.name import Name
    from sennit.names.rdata import Rdata

dns_message: Any = pytest.importorskip("dns.message")
dns_exception: Any = pytest.importorskip("dns.exception")
dns_rdata: Any = pytest.importorskip("dns.rdata")

STRICTER = {
    "GPOS": "its numbers have to be numbers",
    "HTTPS": "ECHConfigLists are looked into, aliases have no parameters",
    "SMIMEA": "as TLSA",
    "SVCB": "as HTTPS",
    "TLSA": "digests have the length of their matching type",
}
"""What dnspython refuses, and we take, as BIND does."""
_NAMES = "it does not have the names of all types"
ONE_WAY = {
    "CSYNC": _NAMES,
    "DSYNC": _NAMES,
    "KEY": "a key behind flags that say that there is none is too much to it",
    "NSEC": _NAMES,
    "NSEC3": _NAMES,
    "RRSIG": _NAMES,
    "SIG": _NAMES,
    "HTTPS": "it does not know all keys",
    "ISDN": "a subaddress of no octets is none to it",
    "L64": "it does not read groups without zeros before them, which BIND writes",
    "LOC": "it reads altitudes as floating point",
    "NID": "as L64",
    "SVCB": "as HTTPS",
}
"""Types whose text, where it is odd, only goes from dnspython to us."""

BOTH = [
    each
    for each in MNEMONICS
    if not issubclass(dns_rdata.get_rdata_class(1, type_from_text(each)), dns_rdata.GenericRdata)
]


def compare(mnemonic: str, rdata: Rdata, *, odd: bool = False) -> None:
    rdtype = rdata.rdtype
    try:
        theirs = dns_rdata.from_wire(1, rdtype, rdata.wire, 0, len(rdata.wire))
    except dns_exception.DNSException:
        if mnemonic in STRICTER:
            return
        raise
    if mnemonic == "ISDN" and rdata.wire.endswith(b"\0"):
        return
    assert theirs.to_wire() == rdata.wire
    assert theirs.to_digestable() == rdata.canonical or mnemonic in {"HINFO"}
    assert parse_rdata(rdtype, tokens_of(theirs.to_text())).wire == rdata.wire, theirs.to_text()
    if not odd or mnemonic not in ONE_WAY:
        assert dns_rdata.from_text(1, rdtype, str(rdata)).to_wire() == rdata.wire, str(rdata)


def test_most_types_are_known_to_both() -> None:
    assert len(BOTH) > 45


@pytest.mark.parametrize("mnemonic", BOTH)
def test_both_read_and_write_the_examples_alike(mnemonic: str) -> None:
    for text in EXAMPLES[mnemonic]:
        # It does not know all keys, nor groups without zeros before them.
        odd = mnemonic in {"SVCB", "NID", "L64"}
        compare(mnemonic, parsed(mnemonic, text), odd=odd)


@pytest.mark.parametrize("mnemonic", BOTH)
def test_both_read_and_write_what_is_made_alike(mnemonic: str) -> None:
    @settings(max_examples=20, deadline=None, derandomize=True)
    @given(made(mnemonic))
    def check(rdata: Rdata) -> None:
        compare(mnemonic, rdata, odd=True)

    check()


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(st.tuples(NAMES, EVERY), max_size=6), NAMES)
def test_both_read_each_others_messages(records: list[tuple[Name, Rdata]], asked: Name) -> None:
    """Compressed by either side."""
    message = Message(
        7,
        0x8180,
        questions=[Question(asked, 255)],
        answers=[
            Record(name, rdata.rdtype, 60, rdata)
            for name, rdata in records
            if type_text(rdata.rdtype) not in {*STRICTER, "ISDN"}
        ],
        edns=EDNS(options=[Option(65001, b"x")], dnssec_ok=True),
    )

    theirs = dns_message.from_wire(message.to_wire(), one_rr_per_rrset=True)

    assert len(theirs.answer) == len(message.answers)
    assert Message.from_wire(theirs.to_wire(max_size=65535)) == message
