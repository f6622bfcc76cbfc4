"""Every type of record data, in both forms: examples, and what must hold for all of them."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packages.names.tests.record_data import EVERY, EXAMPLES, MNEMONICS, NAMES, made, parsed
from sennit.names.codes import RRType, type_from_text
from sennit.names.errors import DNSUsageError, MessageFormatError, PresentationError
from sennit.names.message import Message, Record
from sennit.names.name import Name
from sennit.names.presentation import tokens_of
from sennit.names.rdata import (
    GenericRdata,
    Rdata,
    parse_rdata,
    rdata_class,
    rdata_from_wire,
    read_rdata,
    register,
)
from sennit.names.rdata.fields import PlainName, Uint16
from sennit.names.rdata.gateway import AMTRELAY

if TYPE_CHECKING:
    from collections.abc import Iterator

ALL = [(mnemonic, text) for mnemonic, texts in EXAMPLES.items() for text in texts]
ORIGIN = Name("example.")


def again(rdata: Rdata, text: str, origin: Name | None = None) -> Rdata:
    return parse_rdata(rdata.rdtype, tokens_of(text, origin))


def test_there_is_an_example_of_every_type() -> None:
    """A in TSIG's module is another room's to test."""
    assert set(MNEMONICS) == set(EXAMPLES)
    assert {each for each in EXAMPLES if rdata_class(type_from_text(each)) is None} == set()


@pytest.mark.parametrize(("mnemonic", "text"), ALL)
def test_an_example_is_written_as_it_was_read(mnemonic: str, text: str) -> None:
    rdata = parsed(mnemonic, text)

    assert str(rdata) == text
    found = rdata_from_wire(rdata.rdtype, rdata.wire)
    assert found == rdata
    assert found.wire == rdata.wire
    assert str(found) == text
    assert hash(found) == hash(rdata)
    assert pickle.loads(pickle.dumps(rdata)) == rdata
    assert type(rdata).__name__ in repr(rdata)
    assert not rdata < found


@pytest.mark.parametrize(("mnemonic", "text"), ALL)
def test_an_example_is_read_in_the_form_of_unknown_types(mnemonic: str, text: str) -> None:
    """RFC 3597 §5: any type may be so written."""
    rdata = parsed(mnemonic, text)
    generic = GenericRdata(rdata.rdtype, rdata.wire)

    assert again(rdata, str(generic)) == rdata
    assert generic == rdata or rdata.folds


@pytest.mark.parametrize(("mnemonic", "text"), ALL)
def test_names_beneath_the_origin_are_written_relative_to_it(mnemonic: str, text: str) -> None:
    rdata = parsed(mnemonic, text)

    assert again(rdata, rdata.to_text(ORIGIN), ORIGIN) == rdata


@pytest.mark.parametrize("mnemonic", [each for each in MNEMONICS if each in EXAMPLES])
def test_what_is_made_comes_back_in_both_forms(mnemonic: str) -> None:
    @settings(max_examples=25, deadline=None)
    @given(made(mnemonic))
    def check(rdata: Rdata) -> None:
        found = rdata_from_wire(rdata.rdtype, rdata.wire)
        assert found.wire == rdata.wire
        assert found == rdata
        text = str(rdata)
        assert "\n" not in text
        assert text.isascii()
        assert again(rdata, text).wire == rdata.wire, text
        assert again(rdata, rdata.to_text(ORIGIN), ORIGIN).wire == rdata.wire

    check()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(NAMES, EVERY), min_size=1, max_size=6))
def test_a_message_of_any_records_comes_back(records: list[tuple[Name, Rdata]]) -> None:
    """With names compressed, where they may be."""
    message = Message(7, 0x8000, answers=[Record(n, data.rdtype, 60, data) for n, data in records])

    wire = message.to_wire()
    found = Message.from_wire(wire)

    assert found == message
    assert found.to_wire() == wire
    assert [each.rdata.canonical for each in found.answers] == [
        each.rdata.canonical for each in message.answers
    ]


@pytest.mark.parametrize("mnemonic", [each for each in MNEMONICS if each in EXAMPLES])
def test_no_octets_raise_anything_but_a_format_error(mnemonic: str) -> None:
    rdtype = type_from_text(mnemonic)
    wires = [parsed(mnemonic, text).wire for text in EXAMPLES[mnemonic]]

    def read(octets: bytes) -> None:
        try:
            found = read_rdata(rdtype, octets, 0, len(octets), {})
        except MessageFormatError as error:
            if not (error.rule or "").startswith("RFC "):
                raise AssertionError(f"no rule: {error}") from error
            return
        assert read_rdata(rdtype, found.wire, 0, len(found.wire), {}) == found
        # Text does not tell some octets apart: sizes of zero metres, zeros behind the last port.
        assert again(found, str(found)) == found or mnemonic in {"LOC", "WKS"}

    @settings(max_examples=30, deadline=None)
    @given(st.binary(max_size=60))
    def check(octets: bytes) -> None:
        read(octets)

    for wire in wires:
        for cut in range(len(wire)):
            read(wire[:cut])
            for octet in (0, 0xC0, 0xFF, wire[cut] ^ 1):
                read(wire[:cut] + bytes((octet,)) + wire[cut + 1 :])
        read(wire + b"\0")
    check()


@pytest.mark.parametrize("mnemonic", [each for each in MNEMONICS if each in EXAMPLES])
def test_no_text_raises_anything_but_a_presentation_error(mnemonic: str) -> None:
    rdtype = type_from_text(mnemonic)
    words = [
        word
        for text in EXAMPLES[mnemonic]
        for word in [each.text for each in tokens_of(text)._tokens]
    ]
    odd = [
        "",
        ".",
        "-",
        "\\",
        "\\300",
        "\\#",
        "99999999999",
        "a..b",
        '"',
        "é",
        "=",
        "alpn",
        "key1=a",
    ]

    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.sampled_from(words + odd) | st.text(max_size=6), max_size=10))
    def check(found: list[str]) -> None:
        try:
            rdata = parse_rdata(rdtype, tokens_of(" ".join(found)))
        except PresentationError:
            return
        assert again(rdata, str(rdata)) == rdata

    for text in EXAMPLES[mnemonic]:
        parts = text.split(" ")
        for at in range(len(parts)):
            check.hypothesis.inner_test(parts[:at])  # type: ignore[attr-defined]  # what @given wraps
            check.hypothesis.inner_test([*parts[:at], "?", *parts[at + 1 :]])  # type: ignore[attr-defined]  # as above
        check.hypothesis.inner_test([*parts, "?"])  # type: ignore[attr-defined]  # as above
    check()


@pytest.mark.parametrize(
    ("mnemonic", "texts"),
    [
        ("A", ["1.2.3", "1.2.3.256", "01.2.3.4", "::1", "1.2.3.4 5"]),
        ("AAAA", ["1.2.3.4", "::1::", "fe80::1%eth0"]),
        ("APL", ["3:00/0", "1:1.2.3.4/33", "1:1.2.3.4", "!!1:1.2.3.4/1", "2:1.2.3.4/8"]),
        ("CAA", ["0 is_sue x", '0 "" x', "256 issue x", "0 issue"]),
        ("DS", ["1 8 2 AABB", "1 8 2", "1 8 9", "1 NOALG 2 AA", "65536 8 9 AA"]),
        ("DNSKEY", ["256 3 8", "256 3 8 A", "256 3 8 ????"]),
        (
            "EUI48",
            ["00-00-5e-00-53", "00-00-5e-00-53-2a-00", "00:00:5e:00:53:2a", "0-0-5e-0-53-2g"],
        ),
        ("EUI48", ["0-0-5e-0-53-2a", "00-00-5e-00-53-a"]),  # two digits each (RFC 7043 §3.2)
        ("EUI64", ["00-00-5e-ef-10-00-00-a"]),
        (
            "AMTRELAY",
            ["10 2 1 1.2.3.4", "10 0 1 ::1", "10 0 4 .", "1 0 0 x", "256 0 0 .", "1 0 0 . 1"],
        ),
        ("HIP", ["2 AA", "2 AA AA==", "2 - AA=="][:1]),
        ("IPSECKEY", ["1 4 2 . AA==", "1 0 2 x AA==", "1 1 2 ::1 AA==", "1 2 2 1.2.3.4 AA=="]),
        ("LOC", ["91 N 0 E 0m", "90 0 1 N 0 E 0", "1 60 N 1 E 0", "1 N 181 E 0", "1 N 1 E", "1 X"]),
        ("LOC", ["1 N 1 E -100000.01", "1 N 1 E 0 90000001m", "1 1 1.1234 N 1 E 0m", "1 N 1 E 1x"]),
        ("MX", ["mail.example.", "65536 a.", "-1 a.", "1 a. b.", "+1 a.", "1_0 a.", "0x1 a."]),
        ("NSEC", ["a. NOTYPE", "a. TYPE65536", ""]),
        ("NSEC3", ["1 0 0 - -", "1 0 0 - 1 A", "1 0 0 zz 2t7b4g4v A", "1 0 0 - wxyz A"]),
        (
            "RRSIG",
            [
                "A 8 2 60 20240230000000 2024 1 a. AA==",
                "A 8 2 60 1 1 1 a.",
                "A 8 2 60 197 x 1 a. A=",
            ],
        ),
        ("RRSIG", ["A 8 2 60 19691231235959 1 1 a. AA==", "A 8 2 60 21070101000000 1 1 a. AA=="]),
        ("SSHFP", ["1 1 AA", "1 2 AA", "1 9"]),
        ("TLSA", ["3 1 1", "3 1 1 A", "256 1 1 AA"]),
        ("TXT", ["", "a" * 256, '"\\256"']),
        ("URI", ['1 1 ""', "1 1"]),
        ("WKS", ["1.2.3.4 tcp 65536", "1.2.3.4 tcp nosuch", "1.2.3.4"]),
        ("ZONEMD", ["1 1 1 AA", "1 2 1 AABB"]),
    ],
)
def test_text_that_is_no_data_of_its_type_is_refused(mnemonic: str, texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(PresentationError):
            parsed(mnemonic, text)


@pytest.mark.parametrize(
    ("mnemonic", "wires"),
    [
        ("A", ["010203", "0102030405", ""]),
        ("APL", ["0003000000", "00012100", "00011802c00000", "0001180401020300", "0001"]),
        ("CAA", ["0000", "00012d41", "000541"]),
        ("DS", ["00010802aabb", "00010809"]),
        ("DNSKEY", ["01000308"]),
        ("HIP", ["0002000141", "01020000aa", "0402000141"]),
        ("IPSECKEY", ["0104020000", "010102010203", "010302"]),
        ("AMTRELAY", ["0a", "0a0401020304", "0a01010203", "0a0101020304ff", "0a0003", "0a8363"]),
        ("SVCB", ["000100ffff0000"]),  # the key that never is one (RFC 9460 §14.3.2)
        (
            "LOC",
            [
                "01" + "12161380000000800000000098968000"[:30],
                "00" + "a216138000000080000000" + "00989680",
                "00" + "0916138000000080000000" + "00989680",
            ],
        ),
        (
            "NSEC",
            ["00000100", "0000210000", "000001ff0001ff", "000001" + "00" * 3, "0001" + "0140" * 2],
        ),
        ("NSEC3", ["010000000000", "0100000001"]),
        ("NSEC3PARAM", ["0100000002aa", "0100000000ff"]),
        ("TXT", ["", "05616263"]),
        ("ZONEMD", ["0000000101" + "01aabb"]),
    ],
)
def test_octets_that_are_no_data_of_their_type_are_refused(mnemonic: str, wires: list[str]) -> None:
    for wire in wires:
        with pytest.raises(MessageFormatError):
            rdata_from_wire(type_from_text(mnemonic), bytes.fromhex(wire))


@pytest.mark.parametrize(
    ("mnemonic", "wire"),
    [
        ("WKS", "c0000201" + "06" + "40" + "0000"),
        ("WKS", "c0000201" + "06" + "00"),
    ],
)
def test_what_has_two_forms_on_the_wire_is_kept_as_it_came(mnemonic: str, wire: str) -> None:
    """A copy that is kept in a zone file has signatures over these very octets."""
    rdata = rdata_from_wire(type_from_text(mnemonic), bytes.fromhex(wire))

    assert parsed(mnemonic, str(rdata)).wire == rdata.wire
    assert str(rdata).startswith("\\# ")


def test_a_relay_has_the_octets_of_the_rfc() -> None:
    """RFC 8777 §4.3.1: what IPSECKEY has in an octet of its own shares one with a bit here."""
    assert parsed("AMTRELAY", "10 0 1 203.0.113.15").wire.hex() == "0a01cb00710f"
    assert parsed("AMTRELAY", "128 1 3 a.example.").wire.hex() == "80830161076578616d706c6500"
    assert parsed("AMTRELAY", "0 1 0 .").wire.hex() == "0080"
    with pytest.raises(DNSUsageError):
        AMTRELAY(256)


# ── canonical form (RFC 4034 §6.2, RFC 6840 §5.1) ─────────────────────────────


def test_names_are_lower_cased_in_the_types_of_old_alone() -> None:
    lower = "NS MD MF CNAME SOA MB MG MR PTR MINFO MX RP AFSDB RT SIG PX NAPTR KX SRV DNAME RRSIG"
    plain = "NSEC SVCB HTTPS HIP IPSECKEY AMTRELAY LP DSYNC"

    for mnemonic in lower.split():
        rdata = parsed(mnemonic, EXAMPLES[mnemonic][0].replace("example.", "EXAMPLE."))
        assert b"EXAMPLE" in rdata.wire
        assert b"EXAMPLE" not in rdata.canonical, mnemonic
    for mnemonic in plain.split():
        rdata = parsed(mnemonic, EXAMPLES[mnemonic][-1].replace("example.", "EXAMPLE."))
        assert rdata.canonical == rdata.wire


def test_only_the_types_of_rfc_1035_compress_their_names() -> None:
    """RFC 3597 §4."""
    old = "NS MD MF CNAME SOA MB MG MR PTR MINFO MX"
    owner = Name("example.")
    compressed = {
        mnemonic
        for mnemonic, texts in EXAMPLES.items()
        for text in texts
        if len(Message(answers=[Record(owner, 1, 0, parsed(mnemonic, text))]).to_wire())
        < 12 + 9 + 10 + len(parsed(mnemonic, text).wire)
    }

    assert sorted(compressed) == sorted(old.split())


def test_records_of_a_set_are_in_order_of_their_canonical_octets() -> None:
    """RFC 4034 §6.3."""
    texts = ["10 b.example.", "2 Z.example.", "10 A.example."]

    found = sorted(parsed("MX", text) for text in texts)

    assert [str(each) for each in found] == ["2 Z.example.", "10 A.example.", "10 b.example."]
    assert parsed("MX", "10 A.example.") == parsed("MX", "10 a.EXAMPLE.")
    assert parsed("SVCB", "1 A.example.") != parsed("SVCB", "1 a.example.")


# ── what programs give ────────────────────────────────────────────────────────


def test_a_constructor_looks_at_its_fields() -> None:
    kind: Any = rdata_class(RRType.MX)  # wrong arguments are what this is about
    made = kind(10, exchange="mail.example.")
    assert str(made) == "10 mail.example."
    for wrong in ((), (10,), (10, "a.", 1)):
        with pytest.raises(TypeError):
            kind(*wrong)
    for values in ((-1, "a."), (65536, "a."), ("1", "a."), (1, 5), (1, "a..b")):
        with pytest.raises(DNSUsageError):
            kind(*values)
    with pytest.raises(TypeError):
        kind(10, "a.", nosuch=1)


def test_data_that_would_not_fit_a_record_is_refused() -> None:
    kind: Any = rdata_class(RRType.TXT)
    with pytest.raises(DNSUsageError):
        kind([b"x" * 255] * 300)
    with pytest.raises(PresentationError):
        parse_rdata(RRType.TXT, tokens_of(" ".join(["x" * 255] * 300)))
    with pytest.raises(DNSUsageError):
        GenericRdata(65280, bytes(65536))
    with pytest.raises(DNSUsageError):
        GenericRdata(65536, b"")


@pytest.fixture
def private() -> Iterator[type[Rdata]]:
    from sennit.names.rdata.registry import _classes, readers

    @register
    class Place(Rdata, rdtype=65281):
        """A type of one's own."""

        floor: Uint16
        host: PlainName

    yield Place
    del _classes[65281], readers[65281]


def test_a_program_may_add_a_type(private: type[Rdata]) -> None:
    rdata = parse_rdata(65281, tokens_of("3 Host", ORIGIN))

    assert isinstance(rdata, private)
    assert rdata.wire == b"\0\3\4Host\7example\0"
    assert repr(rdata) == "Place(floor=3, host=Name('Host.example.'))"
    record = Record(ORIGIN, 65281, 60, rdata)
    assert record.to_text(ORIGIN) == "@ 60 IN TYPE65281 3 Host"
    assert Message.from_wire(Message(answers=[record]).to_wire()).answers == [record]


def test_a_field_without_a_codec_is_refused_when_the_class_is_made() -> None:
    with pytest.raises(TypeError, match="no codec"):

        class Wrong(Rdata, rdtype=65282):  # pyright: ignore[reportUnusedClass]  # never made
            floor: int


# ── unknown types (RFC 3597) ──────────────────────────────────────────────────


def test_data_of_an_unknown_type_are_octets() -> None:
    rdata = parse_rdata(65280, tokens_of(r"\# 4 ( 0A00 0001 )"))

    assert rdata == GenericRdata(65280, b"\n\0\0\1")
    assert str(rdata) == r"\# 4 0A000001"
    assert str(GenericRdata(65280, b"")) == r"\# 0"
    assert rdata_from_wire(65280, rdata.wire) == rdata
    for text in ("a b", r"\# 4 0A", r"\# 65536 00", r"\# 1 0g", r"\#", r"\# x"):
        with pytest.raises(PresentationError):
            parse_rdata(65280, tokens_of(text))


def test_a_known_type_in_the_form_of_unknown_ones_must_be_data_of_that_type() -> None:
    """RFC 3597 §5."""
    assert str(parse_rdata(RRType.A, tokens_of(r"\# 4 0A000001"))) == "10.0.0.1"
    for text in (r"\# 3 0A0000", r"\# 0"):
        with pytest.raises(PresentationError):
            parse_rdata(RRType.A, tokens_of(text))
    with pytest.raises(PresentationError, match="compressed"):
        parse_rdata(RRType.MX, tokens_of(r"\# 4 0001C000"))
