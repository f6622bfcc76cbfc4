"""No octets make a message raise anything but a format error; what is read is written the same."""

from __future__ import annotations

from sennit.names.edns import EDNS
from sennit.names.errors import MessageFormatError
from sennit.names.message import Message, Record, rrsets
from sennit.names.name import Name
from sennit.names.options import Cookie, ExtendedError, option_text
from sennit.names.presentation import tokens_of
from sennit.names.rdata import parse_rdata

_OWNER = Name("www.example.org.")


def _record(rdtype: int, text: str) -> Record:
    return Record(_OWNER, rdtype, 300, parse_rdata(rdtype, tokens_of(text)))


SEEDS = (
    Message.query(_OWNER, 15, id=7, edns=EDNS(options=[Cookie(b"12345678").option()])).to_wire(),
    Message(
        7,
        0x8400,
        answers=[_record(15, "10 mail.example.org."), _record(1, "192.0.2.1")],
        authority=[_record(6, "ns.example.org. root.example.org. 1 2 3 4 5")],
        additional=[_record(47, "a.example.org. A NS"), _record(65, "1 . alpn=h2 port=443")],
        edns=EDNS(options=[ExtendedError(18, "no").option()], dnssec_ok=True),
    ).to_wire(),
    Message(0, answers=[_record(16, '"a" "b"')] * 3).to_wire(),
)


def fuzz(data: bytes) -> None:
    """Read `data`, and hold what it is against itself."""
    try:
        message = Message.from_wire(data)
    except MessageFormatError as error:
        assert error.rule, "an error without the rule it is about"  # noqa: PT017 - no test
        return
    if message.edns is not None:
        for option in message.edns.options:
            assert option_text(option).isprintable()
    if message.tsig is None and len(data) < 16_000:
        wire = message.to_wire()
        assert Message.from_wire(wire) == message
        assert Message.from_wire(wire).to_wire() == wire
    for each in message.answers:
        str(each)
    rrsets(message.answers)
