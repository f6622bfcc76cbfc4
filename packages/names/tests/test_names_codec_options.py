"""The options of EDNS: octets, values, and the words that dig has for them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sennit.names.codes import EDE
from sennit.names.edns import EDNS, Option
from sennit.names.errors import DNSUsageError, MessageFormatError
from sennit.names.name import Name
from sennit.names.options import (
    DAU,
    DHU,
    N3U,
    NSID,
    Chain,
    ClientSubnet,
    Cookie,
    Expire,
    ExtendedError,
    KeyTag,
    KnownOption,
    Padding,
    ReportChannel,
    TCPKeepalive,
    ZoneVersion,
    edns_text,
    found,
    option_class,
    option_text,
)

VECTORS: list[tuple[KnownOption, str, str]] = [
    (NSID(b"gpdns-\1"), "6770646e732d01", 'NSID: 67 70 64 6e 73 2d 01 ("gpdns-.")'),
    (NSID(), "", "NSID:"),
    (ClientSubnet("192.0.2.77", 24), "00011800c00002", "CLIENT-SUBNET: 192.0.2.0/24/0"),
    (ClientSubnet("192.0.2.255", 25, 24), "00011918c0000280", "CLIENT-SUBNET: 192.0.2.128/25/24"),
    (ClientSubnet("2001:db8::1", 56), "0002380020010db8000000", "CLIENT-SUBNET: 2001:db8::/56/0"),
    (ClientSubnet("0.0.0.0", 0), "00010000", "CLIENT-SUBNET: 0.0.0.0/0/0"),
    (ClientSubnet(None, 0), "00000000", "CLIENT-SUBNET: 0/0/0"),
    (Cookie(b"12345678"), "3132333435363738", "COOKIE: 3132333435363738"),
    (
        Cookie(b"12345678", bytes(8)),
        "3132333435363738" + "00" * 8,
        "COOKIE: 3132333435363738" + "00" * 8,
    ),
    (Expire(694861), "000a9a4d", "EXPIRE: 694861 (1 week 1 day 1 hour 1 minute 1 second)"),
    (Expire(0), "00000000", "EXPIRE: 0 (0 seconds)"),
    (Expire(), "", "EXPIRE:"),
    (TCPKeepalive(105), "0069", "TCP KEEPALIVE: 10.5 secs"),
    (TCPKeepalive(), "", "TCP KEEPALIVE:"),
    (Padding(bytes(3)), "000000", "PAD: (3 bytes)"),
    (Chain(Name("Example.")), "074578616d706c6500", "CHAIN: Example."),
    (ReportChannel(Name("er.")), "02657200", "Report-Channel: er."),
    (KeyTag([20326, 38696]), "4f669728", "KEY-TAG: 20326, 38696"),
    (ExtendedError(18, "no\x1bway"), "00126e6f1b776179", "EDE: 18 (Prohibited): (no.way)"),
    (ExtendedError(EDE.FORGED_ANSWER), "0004", "EDE: 4 (Forged Answer)"),
    (ExtendedError(99, "x"), "006378", "EDE: 99: (x)"),
    (DAU([8, 13]), "080d", "DAU: 8 13"),
    (DHU([2]), "02", "DHU: 2"),
    (N3U([1]), "01", "N3U: 1"),
    (ZoneVersion(2, 0, b"\0\0\0\7"), "020000000007", "ZONEVERSION: SOA-SERIAL: 7, labels: 2"),
    (ZoneVersion(2, 9, b"\7"), "020907", "ZONEVERSION: 9: 07, labels: 2"),
    (ZoneVersion(), "", "ZONEVERSION:"),
]


@pytest.mark.parametrize(("value", "wire", "said"), VECTORS, ids=[each[2] for each in VECTORS])
def test_an_option_has_octets_and_words(value: KnownOption, wire: str, said: str) -> None:
    option = value.option()

    assert option == Option(type(value).code, bytes.fromhex(wire))
    assert type(value).read(option.data) == value
    assert hash(type(value).read(option.data)) == hash(value)
    assert str(value) == said
    assert option_text(option) == said
    assert found(EDNS(options=[Option(65001), option]), type(value)) == value
    assert option_class(option.code) is type(value)
    assert type(value).__name__ in repr(value)
    assert value != said


@pytest.mark.parametrize(
    ("code", "wires"),
    [
        # RFC 7871 §7.1.2: a wrong length, bits behind the prefix, no such family
        (8, ["", "000118", "0001180", "00011800c000", "00011800c0000200", "00011900c00002ff"]),
        (
            8,
            [
                "00012100c000020100",
                "00011821c00002",
                "00031800c00002",
                "0000010000",
                "00018100" + "00" * 17,
            ],
        ),
        (9, ["00", "0000000000"]),
        (10, ["", "31" * 7, "31" * 9, "31" * 15, "31" * 41]),
        (11, ["00", "000000"]),
        (13, ["", "0161", "c000", "0000"]),
        (14, ["", "00", "000000"]),
        (15, ["", "00", "0000ff"]),
        (18, [""]),
        (19, ["00", "8000", "0000", "000000000000000000"]),
    ],
)
def test_content_that_is_none_is_refused_and_printed_as_octets(code: int, wires: list[str]) -> None:
    kind = option_class(code)
    assert kind is not None
    for wire in wires:
        data = bytes.fromhex(wire[: len(wire) // 2 * 2])
        with pytest.raises(MessageFormatError):
            kind.read(data)
        assert option_text(Option(code, data)).startswith(f"OPT={code}:")
        with pytest.raises(MessageFormatError):
            found(EDNS(options=[Option(code, data)]), kind)


@settings(max_examples=200)
@given(st.integers(0, 20), st.binary(max_size=45))
def test_no_octets_raise_anything_but_a_format_error(code: int, data: bytes) -> None:
    text = option_text(Option(code, data))
    assert text.isprintable()
    kind = option_class(code)
    if kind is not None:
        try:
            value = kind.read(data)
        except MessageFormatError as error:
            assert error.rule.startswith("RFC ")  # noqa: PT017 - only where there is one
            return
        assert value.write() == data
        assert value.option() == Option(code, data)


def test_what_programs_give_is_looked_at() -> None:
    for make in (
        lambda: ClientSubnet("192.0.2.1", 33),
        lambda: ClientSubnet("192.0.2.1", 24, 33),
        lambda: ClientSubnet("nosuch", 1),
        lambda: ClientSubnet(None, 1),
        lambda: Cookie(b"1234567"),
        lambda: Cookie(b"12345678", b"1234567"),
        lambda: Expire(-1),
        lambda: TCPKeepalive(65536),
        lambda: KeyTag([]),
        lambda: KeyTag([65536]),
        lambda: ExtendedError(65536),
        lambda: DAU([256]),
        lambda: ZoneVersion(128),
    ):
        with pytest.raises(DNSUsageError):
            make()


def test_what_is_not_there_is_none() -> None:
    assert found(None, NSID) is None
    assert found(EDNS(), NSID) is None
    assert option_class(65001) is None
    assert option_text(Option(65001)) == "OPT=65001:"
    assert ExtendedError(99).reason == ""


def test_edns_is_printed_as_dig_does() -> None:
    edns = EDNS(4096, dnssec_ok=True, options=[NSID(b"a").option(), Option(65001, b"hey\0")])

    assert edns_text(edns) == (
        ";; OPT PSEUDOSECTION:\n"
        "; EDNS: version: 0, flags: do; udp: 4096\n"
        '; NSID: 61 ("a")\n'
        '; OPT=65001: 68 65 79 00 ("hey.")'
    )
    assert "flags:; udp: 1232" in edns_text(EDNS())
