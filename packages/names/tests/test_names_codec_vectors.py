"""Examples of the RFCs: what they write as text, and as octets."""

from __future__ import annotations

import pytest

from packages.names.tests.record_data import parsed
from sennit.names.codes import type_from_text
from sennit.names.errors import MessageFormatError, PresentationError
from sennit.names.name import Name
from sennit.names.presentation import tokens_of
from sennit.names.rdata import parse_rdata, rdata_from_wire
from sennit.names.rdata.dnssec import DNSKEY, NSEC, RRSIG
from sennit.names.rdata.location import LOC
from sennit.names.rdata.old import APL, WKS
from sennit.names.rdata.svcb import HTTPS, SVCB

_FOO_COM = "03666f6f076578616d706c6503636f6d00"
_FOO_ORG = "03666f6f076578616d706c65036f726700"


@pytest.mark.parametrize(
    ("text", "wire", "said"),
    [
        # Appendix D.1
        ("0 foo.example.com.", "0000" + _FOO_COM, "0 foo.example.com."),
        # Appendix D.2
        ("1 .", "000100", "1 ."),
        (
            "16 foo.example.com. port=53",
            "0010" + _FOO_COM + "000300020035",
            "16 foo.example.com. port=53",
        ),
        (
            "1 foo.example.com. key667=hello",
            "0001" + _FOO_COM + "029b000568656c6c6f",
            '1 foo.example.com. key667="hello"',
        ),
        (
            r'1 foo.example.com. key667="hello\210qoo"',
            "0001" + _FOO_COM + "029b000968656c6c6fd2716f6f",
            r'1 foo.example.com. key667="hello\210qoo"',
        ),
        (
            '1 foo.example.com. ( ipv6hint="2001:db8::1,2001:db8::53:1" )',
            "0001"
            + _FOO_COM
            + "00060020"
            + "20010db8"
            + "00" * 11
            + "01"
            + "20010db8"
            + "00" * 8
            + "00530001",
            "1 foo.example.com. ipv6hint=2001:db8::1,2001:db8::53:1",
        ),
        (
            '1 example.com. ( ipv6hint="2001:db8:122:344::192.0.2.33" )',
            "0001076578616d706c6503636f6d000006001020010db801220344" + "00000000c0000221",
            "1 example.com. ipv6hint=2001:db8:122:344::c000:221",
        ),
        (
            "16 foo.example.org. ( alpn=h2,h3-19 mandatory=ipv4hint,alpn ipv4hint=192.0.2.1 )",
            "0010"
            + _FOO_ORG
            + "0000000400010004"
            + "0001000902683205"
            + "68332d3139"
            + "00040004c0000201",
            '16 foo.example.org. mandatory=alpn,ipv4hint alpn="h2,h3-19" ipv4hint=192.0.2.1',
        ),
        (
            r'16 foo.example.org. alpn="f\\\\oo\\,bar,h2"',
            "0010" + _FOO_ORG + "0001000c08665c6f6f2c626172026832",
            r'16 foo.example.org. alpn="f\\\\oo\\,bar,h2"',
        ),
        (
            r"16 foo.example.org. alpn=f\\\092oo\092,bar,h2",
            "0010" + _FOO_ORG + "0001000c08665c6f6f2c626172026832",
            r'16 foo.example.org. alpn="f\\\\oo\\,bar,h2"',
        ),
    ],
)
def test_service_bindings_of_rfc_9460(text: str, wire: str, said: str) -> None:
    """Appendix D, success cases."""
    for mnemonic in ("SVCB", "HTTPS"):
        rdata = parsed(mnemonic, text)
        assert rdata.wire.hex() == wire
        assert str(rdata) == said
        assert rdata_from_wire(rdata.rdtype, rdata.wire) == rdata


@pytest.mark.parametrize(
    "params",
    [
        # Appendix D.3
        "key123=abc key123=def",
        "mandatory",
        "alpn",
        "port",
        "ipv4hint",
        "ipv6hint",
        "no-default-alpn=abc",
        "mandatory=key123",
        "mandatory=mandatory",
        "mandatory=key123,key123 key123=abc",
        # Others
        "alpn=h2 alpn=h3",
        "alpn=h2, ",
        "no-default-alpn",
        "port=65536",
        "port=+1",
        "port=",
        "ipv4hint=192.0.2.256",
        "ipv4hint=::1",
        "ipv6hint=fe80::1%1",
        "ech=???",
        "ech",
        "ohttp=1",
        "dohpath",
        r"dohpath=\255",
        "tls-supported-groups=29,29",
        "tls-supported-groups=x",
        "key65535=a",
        "key01=a",
        "key=a",
        "KEY1=a",
        "nosuch=a",
        "key3=abc",
        "key1=",
        r"alpn=\\",
        "=a",
    ],
)
def test_service_bindings_that_are_none_are_refused(params: str) -> None:
    """RFC 9460 appendix D.3, §2.1 to §8."""
    with pytest.raises(PresentationError):
        parsed("SVCB", f"1 foo.example.com. {params}")


@pytest.mark.parametrize(
    "params",
    [
        "0003000200350001000302683200",  # not ascending
        "0003000200350003000200350003",  # twice
        "00010000",
        "0001000100",
        "00010003036832",
        "000300010a",
        "00040003c00002",
        "00050000",
        "0006000420010db8",
        "00070001ff",
        "0002000101",
        "0000000200010001000302683200",
        "000000040004000100010003026832",
        "0000000200040001000302683200",
        "000200000003000200",
        "00020000",
        "000900011d",
        "ffff",
    ],
)
def test_octets_of_service_bindings_that_are_none_are_refused(params: str) -> None:
    with pytest.raises(MessageFormatError):
        rdata_from_wire(64, bytes.fromhex("000100" + params))


def test_parameters_of_a_service_binding_are_values() -> None:
    rdata = SVCB.from_text(
        "1 . alpn=h2,h3 no-default-alpn port=8443 ipv4hint=192.0.2.1,192.0.2.2 ech=AQID "
        "ipv6hint=2001:db8::1 dohpath=/dns-query{?dns} ohttp mandatory=alpn"
    )

    assert not rdata.is_alias
    assert rdata.alpn == (b"h2", b"h3")
    assert rdata.no_default_alpn
    assert rdata.port == 8443
    assert rdata.ipv4hint == ("192.0.2.1", "192.0.2.2")
    assert rdata.ipv6hint == ("2001:db8::1",)
    assert rdata.ech == b"\1\2\3"
    assert rdata.dohpath == "/dns-query{?dns}"
    assert rdata.ohttp
    assert rdata.mandatory == (1,)
    bare = HTTPS(1, Name("."), {})
    assert (bare.port, bare.alpn, bare.ipv4hint, bare.ech, bare.dohpath) == (
        None,
        (),
        (),
        None,
        None,
    )
    assert HTTPS(1, Name("."), {3: b"\1\0", 1: b"\2h2"}) == HTTPS.from_text("1 . alpn=h2 port=256")


def test_parameters_of_an_alias_do_not_count() -> None:
    """RFC 9460 §2.4.2: they are to be ignored, not refused."""
    rdata = SVCB.from_text("0 foo.example. mandatory=alpn")
    assert rdata.is_alias
    assert rdata_from_wire(64, rdata.wire) == rdata


# ── DNSSEC ────────────────────────────────────────────────────────────────────


def test_a_key_and_its_tag_of_rfc_4034() -> None:
    """§2.3, whose tag §3.3 has, and §5.4."""
    key = DNSKEY.from_text(
        "256 3 5 ( AQPSKmynfzW4kyBv015MUG2DeIQ3 Cbl+BBZH4b/0PY1kxkmvHjcZc8no"
        " kfzj31GajIQKY+5CptLr3buXA10h WqTkF7H6RfoRqXQeogmMHfpftf6z"
        " Mv1LyBUgia7za6ZEzOJBOztyvhjL 742iU/TpPSEDhm2SNKLijfUppn1U aNvv4w== )"
    )
    assert key.key_tag == 2642

    other = DNSKEY.from_text(
        "256 3 5 ( AQOeiiR0GOMYkDshWoSKz9Xz fwJr1AYtsmx3TGkJaNXVbfi/ 2pHm822aJ5iI9BMzNXxeYCmZ"
        " DRD99WYwYqUSdjMmmAphXdvx egXd/M5+X7OrzKBaMbCVdFLU Uh6DhweJBjEVv5f2wwjM9Xzc"
        " nOf+EPbtG9DMBmADjFDc2w/r"
        " ljwvFw== )"
    )
    assert other.key_tag == 60485
    assert DNSKEY(257, 3, 1, b"\1\2\3\4\5").key_tag == 0x0304


def test_a_signature_of_rfc_4034() -> None:
    """§3.3."""
    rdata = RRSIG.from_text(
        "A 5 3 86400 20030322173103 ( 20030220173103 2642 example.com."
        " oJB1W6WNGv+ldvQ3WDG0MQkg5IEhjRip8WTr PYGv07h108dUKGMeDPKijVCHX3DDKdfb+v6o )"
    )
    assert rdata.type_covered == 1
    assert rdata.labels == 3
    assert rdata.inception == 1045762263
    assert rdata.expiration == 1048354263
    assert str(rdata).startswith("A 5 3 86400 20030322173103 20030220173103 2642 example.com. ")
    assert RRSIG.from_text("A 8 1 60 1048354263 4294967295 1 a. AA==").inception == 4294967295


def test_a_proof_of_rfc_4034() -> None:
    """§4.3."""
    rdata = NSEC.from_text("host.example.com. ( A MX RRSIG NSEC TYPE1234 )")
    assert rdata.wire.hex() == (
        "04686f7374076578616d706c6503636f6d00" + "0006400100000003" + "041b" + "00" * 26 + "20"
    )
    assert rdata.types == (1, 15, 46, 47, 1234)
    assert NSEC(Name("a."), (47, 1, 1)).types == (1, 47)


def test_a_hashed_proof_of_rfc_5155() -> None:
    """Appendix A."""
    rdata = parsed(
        "NSEC3",
        "1 1 12 aabbccdd ( 2t7b4g4vsa5smi47k61mv5bv1a22bojr MX DNSKEY NS SOA NSEC3PARAM RRSIG )",
    )
    assert rdata.wire.hex() == (
        "0101000c04aabbccdd14174eb2409fe28bcb4887a1836f957f0a8425e27b000722010000000290"
    )
    assert parsed("NSEC3PARAM", "1 0 12 aabbccdd").wire.hex() == "0100000c04aabbccdd"


# ── others ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # RFC 1876 §4
        ("42 21 54 N 71 06 18 W -24m 30m", "42 21 54.000 N 71 6 18.000 W -24.00m 30m 10000m 10m"),
        (
            "42 21 43.952 N 71 5 6.344 W -24m 1m 200m",
            "42 21 43.952 N 71 5 6.344 W -24.00m 1m 200m 10m",
        ),
        (
            "52 14 05 N 00 08 50 E 10m",
            "52 14 5.000 N 0 8 50.000 E 10.00m 1m 10000m 10m",
        ),
        ("32 7 19 S 116 2 25 E 10m", "32 7 19.000 S 116 2 25.000 E 10.00m 1m 10000m 10m"),
        (
            "42 21 28.764 N 71 00 51.617 W -44m 2000m",
            "42 21 28.764 N 71 0 51.617 W -44.00m 2000m 10000m 10m",
        ),
        (
            "90 N 180 W 42849672.95 90000000m 0 0.09",
            "90 0 0.000 N 180 0 0.000 W 42849672.95m 90000000m 0.00m 0.09m",
        ),
        ("0 n 0 e -100000.00m", "0 0 0.000 N 0 0 0.000 E -100000.00m 1m 10000m 10m"),
    ],
)
def test_places_of_rfc_1876(text: str, said: str) -> None:
    assert str(parsed("LOC", text)) == said
    assert str(parsed("LOC", said)) == said


def test_a_place_is_thousandths_of_a_second() -> None:
    rdata = LOC.from_text("42 21 54 N 71 06 18 W -24m 30m")
    assert rdata.wire.hex() == "00331613" + "8917 2dd0 70be 15f0 0098 8d20".replace(" ", "")


def test_octets_of_others_are_those_of_their_rfcs() -> None:
    # RFC 3123 §5, RFC 1035 §3.4.2, RFC 6742 §2, RFC 7043 §3.2, RFC 8659 §4.1.1, RFC 7553 §4.5
    assert parsed("APL", "1:192.168.32.0/21 !1:192.168.38.0/28").wire.hex() == (
        "00011503c0a820" + "00011c83c0a826"
    )
    assert isinstance(parsed("APL", ""), APL)
    wks = parsed("WKS", "192.0.2.3 TCP ( smtp 80 domain )")
    assert isinstance(wks, WKS)
    assert wks.ports == (25, 53, 80)
    assert wks.wire.hex() == "c000020306" + "0000004000000400" + "0000" + "80"
    assert parsed("NID", "10 0014:4fff:ff20:ee64").wire.hex() == "000a00144fffff20ee64"
    assert parsed("L32", "10 10.1.02.0".replace("02", "2")).wire.hex() == "000a0a010200"
    assert parsed("EUI48", "00-00-5E-00-53-2a").wire.hex() == "00005e00532a"
    assert parsed("CAA", '0 issue "ca1.example.net"').wire == b"\0\5issueca1.example.net"
    assert parsed("URI", '10 1 "ftp://a"').wire == b"\0\x0a\0\1ftp://a"
    assert parsed("NSAP", "0x47.0005.80").wire.hex() == "47000580"


def test_unknown_types_and_classes_of_rfc_3597() -> None:
    """§5."""
    origin = Name("example.")
    for mnemonic, text, wire in (
        ("TYPE731", r"\# 6 abcdef ( 01 23 45 )", "abcdef012345"),
        ("TYPE62347", r"\# 0", ""),
        ("A", r"\# 4 0A000001", "0a000001"),
        ("TYPE1", r"\# 4 0A 00 00 02", "0a000002"),
        ("TYPE1", "10.0.0.2", "0a000002"),
    ):
        rdata = parse_rdata(type_from_text(mnemonic), tokens_of(text, origin))
        assert rdata.wire.hex() == wire
