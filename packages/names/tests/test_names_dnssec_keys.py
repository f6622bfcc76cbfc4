"""Keys, signatures, digests and the canonical form, by the examples of the RFCs."""

from __future__ import annotations

import base64
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.names.codes import type_from_text
from sennit.names.dnssec.algorithms import PrivateKey, PublicKey
from sennit.names.dnssec.canonical import (
    SignedSet,
    is_expanded,
    label_count,
    seconds_left,
    serial_before,
    signed_owner,
    ttl_limit,
)
from sennit.names.dnssec.digests import cds_for, ds_for, ds_matches
from sennit.names.dnssec.keys import (
    ZoneKey,
    private_fields,
    private_from_text,
    private_to_text,
)
from sennit.names.dnssec.numbers import Algorithm, DigestType, algorithm_text
from sennit.names.errors import DNSUsageError, MessageFormatError
from sennit.names.message import RRset
from sennit.names.name import ROOT, Name
from sennit.names.presentation import tokens_of
from sennit.names.rdata import parse_rdata
from sennit.names.rdata.dnssec import DNSKEY, DS, RRSIG


def rrset(name: str, rdtype: str, *texts: str, ttl: int = 3600) -> RRset:
    number = type_from_text(rdtype)
    datas = [parse_rdata(number, tokens_of(text)) for text in texts]
    return RRset(Name(name), number, ttl, datas)


def dnskey(text: str) -> DNSKEY:
    found = parse_rdata(48, tokens_of(text))
    assert isinstance(found, DNSKEY)
    return found


def rrsig(text: str) -> RRSIG:
    found = parse_rdata(46, tokens_of(text))
    assert isinstance(found, RRSIG)
    return found


# ── examples ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("algorithm", "secret", "public", "tag", "digest", "signature"),
    [
        (
            Algorithm.ED25519,
            "ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=",
            "l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
            3613,
            "3aa5ab37efce57f737fc1627013fee07bdf241bd10f3b1964ab55c78e79a304b",
            (
                "oL9krJun7xfBOIWcGHi7mag5/hdZrKWw15jPGrHpjQeRAvTdszaPD+QLs3f"
                "x8A4M3e23mRZ9VrbpMngwcrqNAg=="
            ),
        ),
        (
            Algorithm.ED448,
            "xZ+5Cgm463xugtkY5B0Jx6erFTXp13rYegst0qRtNsOYnaVpMx0Z/c5EiA9x8wWbDDct/U3FhYWA",
            "3kgROaDjrh0H2iuixWBrc8g2EpBBLCdGzHmn+G2MpTPhpj/OiBVHHSfPodx1FYYUcJKm1MDpJtIA",
            9713,
            "6ccf18d5bc5d7fc2fceb1d59d17321402f2aa8d368048db93dd811f5cb2b19c7",
            (
                "3cPAHkmlnxcDHMyg7vFC34l0blBhuG1qpwLmjInI8w1CMB29FkEAIJUA0amxWndkmnBZ6SKiwZSAxGIL"
                "n/NBtOXft0+Gj7FSvOKxE/07+4RQvE581N3Aj/JtIyaiYVdnYtyMWbSNyGEY2213WKsJlwEA"
            ),
        ),
    ],
)
def test_the_examples_of_rfc_8080(
    algorithm: int, secret: str, public: str, tag: int, digest: str, signature: str
) -> None:
    """EdDSA signs without random numbers, so that signatures can be compared."""
    private = PrivateKey.from_secret(algorithm, base64.b64decode(secret))
    key = ZoneKey(Name("example.com"), private, 257)
    assert key.dnskey == dnskey(f"257 3 {algorithm:d} {public}")
    assert key.tag == tag
    assert key.ds().digest.hex() == digest
    mail = rrset("example.com", "MX", "10 mail.example.com.")
    signed = key.sign(mail, 1438207200, 1440021600)
    assert base64.b64encode(signed.signature).decode() == signature
    assert private.public.verify(signed.signature, SignedSet(mail).octets(signed))


@pytest.mark.parametrize(
    ("secret", "key", "ds", "signature"),
    [
        (
            "GU6SnQ/Ou+xC5RumuIUIuJZteXT2z0O/ok1s38Et6mQ=",
            (
                "257 3 13 GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edb"
                "krSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA=="
            ),
            "55648 13 2 b4c8c1fe2e7477127b27115656ad6256f424625bf5c1e2770ce6d6e37df61d17",
            (
                "A 13 3 3600 20100909100439 20100812100439 55648 example.net. "
                "qx6wLYqmh+l9oCKTN6qIc+bw6ya+KJ8oMz0YP107epXA"
                "yGmt+3SNruPFKG7tZoLBLlUzGGus7ZwmwWep666VCw=="
            ),
        ),
        (
            "WURgWHCcYIYUPWgeLmiPY2DJJk02vgrmTfitxgqcL4vwW7BOrbawVmVe0d9V94SR",
            (
                "257 3 14 xKYaNhWdGOfJ+nPrL8/arkwf2EY3MDJ+SErKivBVSum1w/egsXvSADtNJ"
                "hyem5RCOpgQ6K8X1DRSEkrbYQ+OB+v8/uX45NBwY8rp65F6Glur8I/mlVNgF6W/qTI37m40"
            ),
            (
                "10771 14 4 72d7b62976ce06438e9c0bf319013cf801f09ecc84b8d7e9495f27e305c6a9b0"
                "563a9b5f4d288405c3008a946df983d6"
            ),
            (
                "A 14 3 3600 20100909102025 20100812102025 10771 example.net. "
                "/L5hDKIvGDyI1fcARX3z65qrmPsVz73QD1Mr5CEqOiLP95hxQouuroGCeZOvzFaxsT8Glr74"
                "hbavRKayJNuydCuzWTSSPdz7wnqXL5bdcJzusdnI0RSMROxxwGipWcJm"
            ),
        ),
    ],
)
def test_the_examples_of_rfc_6605(secret: str, key: str, ds: str, signature: str) -> None:
    public = dnskey(key)
    private = PrivateKey.from_secret(public.algorithm, base64.b64decode(secret))
    assert private.octets == public.public_key
    delegation = parse_rdata(43, tokens_of(ds))
    assert isinstance(delegation, DS)
    assert ds_for(Name("example.net"), public, delegation.digest_type) == delegation
    assert ds_matches(delegation, Name("EXAMPLE.net"), public)
    assert not ds_matches(delegation, Name("example.com"), public)
    www = rrset("www.example.net", "A", "192.0.2.1")
    signed = rrsig(signature)
    octets = SignedSet(www).octets(signed)
    verifier = PublicKey(public.algorithm, public.public_key)
    assert verifier.verify(signed.signature, octets)
    assert not verifier.verify(signed.signature, octets + b"x")
    assert not verifier.verify(signed.signature[:-1], octets)
    assert not verifier.verify(b"", octets)
    assert not verifier.verify(bytes(len(signed.signature)), octets)


def test_the_examples_of_rfc_5702() -> None:
    """§6.2; the key of §6.1 has 512 bits, which anybody can break today."""
    key = dnskey(
        "256 3 10 AwEAAdHoNTOW+et86KuJOWRDp1pndvwb6Y83nSVXXyLA3DLroROUkN6X0O6pnWnjJQujX/AyhqFD"
        "xj13tOnD9u/1kTg7cV6rklMrZDtJCQ5PCl/D7QNPsgVsMu1J2Q8g"
        "pMpztNFLpPBz1bWXjDtaR7ZQBlZ3PFY12ZTSncorffcGmhOL"
    )
    signature = rrsig(
        "A 10 3 3600 20300101000000 20000101000000 3740 example.net. "
        "tsb4wnjRUDnB1BUi+t6TMTXThjVnG+eCkWqjvvjhzQL1d0YRoOe0CbxrVDYd0xDtsuJRa"
        "eUw1ep94PzEWzr0iGYgZBWm/zpq+9fOuagYJRfDqfReKBzMweOL"
        "DiNa8iP5g9vMhpuv6OPlvpXwm9Sa9ZXIbNl1MBGk0fthPgxdDLw="
    )
    assert key.key_tag == 3740
    octets = SignedSet(rrset("www.example.net", "A", "192.0.2.91")).octets(signature)
    public = PublicKey(key.algorithm, key.public_key)
    assert public.verify(signature.signature, octets)
    assert not public.verify(signature.signature, octets[:-1] + b"x")
    short = dnskey(
        "256 3 8 AwEAAcFcGsaxxdgiuuGmCkVImy4h99CqT7jwY3pexPGcnUFtR2Fh36Bponcw"
        "tkZ4cAgtvd4Qs8PkxUdp6p/DlUmObdk="
    )
    assert short.key_tag == 9033
    with pytest.raises(MessageFormatError, match="512 bits"):
        PublicKey(short.algorithm, short.public_key)


def test_the_digest_of_rfc_4034_and_4509() -> None:
    key = dnskey(
        "256 3 5 AQOeiiR0GOMYkDshWoSKz9XzfwJr1AYtsmx3TGkJaNXVbfi/2pHm822aJ5iI9BMzNXxeYCmZ"
        "DRD99WYwYqUSdjMmmAphXdvxegXd/M5+X7OrzKBaMbCVdFLUUh6DhweJBjEVv5f2wwjM9XzcnOf+EPbt"
        "G9DMBmADjFDc2w/rljwvFw=="
    )
    owner = Name("dskey.example.com")
    assert str(ds_for(owner, key, 1)) == "60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118"
    assert ds_for(owner, key).digest.hex() == (
        "d4b7d520e7bb5f0f67674a0cceb1e3e0614b93c4f9e99b8383f6a1e4469da50a"
    )
    assert cds_for(owner, key).digest == ds_for(owner, key).digest
    with pytest.raises(DNSUsageError, match="digest 3"):
        ds_for(owner, key, DigestType.GOST)


# ── keys ──────────────────────────────────────────────────────────────────────

ALGORITHMS = [5, 7, 8, 10, 13, 14, 15, 16]


@pytest.fixture(scope="module")
def keys() -> dict[int, PrivateKey]:
    return {each: PrivateKey.generate(each, 1024) for each in ALGORITHMS}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_a_key_signs_it_verifies_and_no_other_does(
    keys: dict[int, PrivateKey], algorithm: int
) -> None:
    key = keys[algorithm]
    signature = key.sign(b"data")
    assert key.public.verify(signature, b"data")
    assert not key.public.verify(signature, b"other")
    assert not PrivateKey.generate(algorithm, 1024).public.verify(signature, b"data")
    damaged = bytes((signature[0] ^ 1,)) + signature[1:]
    assert not key.public.verify(damaged, b"data")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_keys_are_kept_in_both_forms(keys: dict[int, PrivateKey], algorithm: int) -> None:
    key = keys[algorithm]
    assert PrivateKey.from_pem(algorithm, key.to_pem()).octets == key.octets
    text = private_to_text(key)
    again = private_from_text(text + "Created: 20260101000000\n\n")
    assert again.octets == key.octets
    assert private_fields(text)["Algorithm"].split(" ")[0] == str(algorithm)
    assert private_to_text(again) == text
    for shown in (repr(key), repr(key.public), repr(ZoneKey(ROOT, key))):
        assert algorithm_text(algorithm) in shown


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Private-key-format"),
        ("nonsense", "without ':'"),
        ("Private-key-format: v2.0\n", "Private-key-format"),
        ("Private-key-format: v1.3\n", "number of its algorithm"),
        ("Private-key-format: v1.3\nAlgorithm: x (y)\n", "number of its algorithm"),
        ("Private-key-format: v1.3\nAlgorithm: 13\nPrivateKey: !\n", "no base64"),
        ("Private-key-format: v1.3\nAlgorithm: 13\nPrivateKey: AAAA\n", "no secret"),
        ("Private-key-format: v1.3\nAlgorithm: 15\nPrivateKey: AAAA\n", "no secret"),
        ("Private-key-format: v1.3\nAlgorithm: 8\nPrivateKey: AAAA\n", "no single secret"),
        ("Private-key-format: v1.3\nAlgorithm: 99\nPrivateKey: AAAA\n", "no single secret"),
        ("Private-key-format: v1.3\nAlgorithm: 8\nModulus: AAAA\n", "without PublicExponent"),
    ],
)
def test_what_is_no_private_key_is_refused(text: str, words: str) -> None:
    with pytest.raises(DNSUsageError, match=words):
        private_from_text(text)


def test_a_private_key_whose_numbers_do_not_agree_is_refused(keys: dict[int, PrivateKey]) -> None:
    lines = private_to_text(keys[8]).splitlines()
    lines[5] = "Prime1: AQAB"
    with pytest.raises(DNSUsageError, match="agree"):
        private_from_text("\n".join(lines))


def test_a_key_of_another_kind_than_its_algorithm_is_refused(keys: dict[int, PrivateKey]) -> None:
    for algorithm, key in ((13, 8), (8, 13), (13, 14), (15, 16), (16, 15), (99, 15)):
        with pytest.raises(DNSUsageError):
            PrivateKey(algorithm, keys[key].key)
    with pytest.raises(DNSUsageError, match="PEM"):
        PrivateKey.from_pem(8, b"nonsense")
    with pytest.raises(DNSUsageError, match="not supported"):
        PrivateKey.generate(3)
    with pytest.raises(DNSUsageError, match="bits"):
        PrivateKey.generate(8, 512)
    with pytest.raises(DNSUsageError, match="not supported"):
        PublicKey(99, b"key")
    with pytest.raises(DNSUsageError, match="single secret"):
        keys[8].secret()


@pytest.mark.parametrize(
    ("algorithm", "octets"),
    [
        (8, b""),
        (8, b"\x00"),
        (8, b"\x00\xff\xff"),
        (8, b"\x03\x01\x00"),
        (8, b"\x03\x01\x00\x01"),
        (8, b"\x03\x01\x00\x01" + bytes(128)),
        (8, b"\x03\x01\x00\x01" + b"\xff" * 64),  # 512 bits
        (8, b"\x03\x01\x00\x01" + b"\xff" * 513),  # more than 4096
        (8, b"\x01\x01" + b"\xff" * 128),  # exponent 1
        (8, b"\x05\x02\x00\x00\x00\x01" + b"\xff" * 128),  # an exponent that costs
        (13, b""),
        (13, bytes(64)),  # no point of the curve
        (13, bytes(63)),
        (14, b"\xff" * 96),
        (15, bytes(31)),
        (16, bytes(58)),
    ],
)
def test_keys_that_are_none_or_outside_our_limits_are_refused(
    algorithm: int, octets: bytes
) -> None:
    with pytest.raises(MessageFormatError):
        PublicKey(algorithm, octets)


@given(st.sampled_from([5, 8, 13, 14, 15, 16]), st.binary(max_size=300), st.binary(max_size=200))
def test_no_octets_of_a_key_or_signature_do_harm(
    algorithm: int, octets: bytes, signature: bytes
) -> None:
    try:
        key = PublicKey(algorithm, octets)
    except MessageFormatError:
        return
    assert not key.verify(signature, b"data")


def test_an_exponent_may_have_a_long_length_before_it(keys: dict[int, PrivateKey]) -> None:
    """RFC 3110 §2: one octet, or a zero and two."""
    octets = keys[8].octets
    long = b"\x00" + octets[0].to_bytes(2, "big") + octets[1:]
    assert PublicKey(8, long).verify(keys[8].sign(b"data"), b"data")


def test_what_a_key_does_not_sign() -> None:
    key = ZoneKey.generate(Name("example"), Algorithm.ED25519, sep=True)
    assert key.is_sep
    assert key.revoked().tag != key.tag
    with pytest.raises(DNSUsageError, match="not in"):
        key.sign(rrset("example.org", "A", "192.0.2.1"), 0, 1)
    signature = key.sign(rrset("a.example", "A", "192.0.2.1"), 0, 1)
    with pytest.raises(DNSUsageError, match="not signed"):
        key.sign(RRset(Name("a.example"), 46, 1, [signature]), 0, 1)


# ── canonical form ────────────────────────────────────────────────────────────


def head(labels: int, **changes: int) -> RRSIG:
    values = {"original_ttl": 3600, "expiration": 2000, "inception": 1000, **changes}
    return RRSIG(
        1,
        13,
        labels,
        values["original_ttl"],
        values["expiration"],
        values["inception"],
        1,
        Name("Example"),
        b"x",
    )


def test_what_is_signed_is_in_lower_case_sorted_and_without_repetition() -> None:
    """RFC 4034 §6.2, §6.3: owner, signer and the names of old types; the TTL that was signed."""
    shuffled = RRset(
        Name("WWW.Example"),
        15,
        1,
        rrset("x", "MX", "20 B.example.", "10 c.example.", "10 C.EXAMPLE.").rdatas,
    )
    octets = SignedSet(shuffled).octets(head(2))
    tidy = rrset("www.example", "MX", "10 c.example.", "20 b.example.", ttl=9)
    assert octets == SignedSet(tidy).octets(head(2))
    assert b"WWW" not in octets
    assert b"\x07Example" not in octets
    assert octets.count(b"\x01c\x07example") == 1
    assert octets.index(b"\x01c\x07example") < octets.index(b"\x01b\x07example")


def test_names_inside_nsec_keep_their_case() -> None:
    """RFC 6840 §5.1."""
    octets = SignedSet(rrset("a.example", "NSEC", "B.example. A")).octets(head(2))
    assert b"\x01B\x07example" in octets


@pytest.mark.parametrize(
    ("owner", "labels", "signed"),
    [
        ("www.a.example", 3, "www.a.example"),
        ("www.a.example", 2, "*.a.example"),
        ("www.a.example", 0, "*"),
        ("*.a.example", 2, "*.a.example"),
        ("*.a.example", 1, "*.example"),
        ("www.a.example", 4, None),
        ("*.a.example", 3, None),
        (".", 0, "."),
    ],
)
def test_the_labels_field_tells_which_name_was_signed(
    owner: str, labels: int, signed: str | None
) -> None:
    """RFC 4035 §5.3.2."""
    found = signed_owner(Name(owner), labels)
    assert found == (None if signed is None else Name(signed))
    assert is_expanded(Name(owner), head(labels)) == (labels < label_count(Name(owner)))
    if signed is None:
        with pytest.raises(DNSUsageError, match="labels"):
            SignedSet(rrset(owner, "A", "192.0.2.1")).octets(head(labels))


def test_times_are_compared_in_serial_arithmetic() -> None:
    """RFC 1982; signatures over the turn of 2106 are good."""
    top = 1 << 32
    assert serial_before(top - 1, 0)
    assert not serial_before(0, top - 1)
    assert not serial_before(5, 5)
    across = head(2, inception=top - 100, expiration=100)
    assert seconds_left(across, top - 50) == 150
    assert seconds_left(across, top + 50) == 50
    assert seconds_left(across, top + 401) == 0
    assert seconds_left(across, top - 401) == -1
    assert seconds_left(across, top + 200) == 1  # within the skew


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_of_two_times_at_most_one_is_before_the_other(first: int, second: int) -> None:
    assert not (serial_before(first, second) and serial_before(second, first))


def test_a_ttl_is_bounded_by_the_signature() -> None:
    """RFC 4035 §5.3.3."""
    assert ttl_limit(9999, head(2, expiration=100_000), 1500) == 3600
    assert ttl_limit(60, head(2), 1500) == 60
    assert ttl_limit(9999, head(2), 1500) == 500
    assert ttl_limit(9999, head(2), 9000) == 0


def test_a_stub_or_a_codec_does_not_load_cryptography() -> None:
    program = (
        "import sys, sennit.names.dnssec.denial, sennit.names.dnssec.canonical, "
        "sennit.names.dnssec.anchors, sennit.names.dnssec.verdict, sennit.names.dnssec.digests; "
        "print([n for n in ('cryptography', 'socket', 'ssl', 'asyncio') if n in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert found.stdout.decode().strip() == "[]"


@pytest.mark.parametrize("module", ["algorithms", "keys", "validation"])
def test_without_cryptography_the_extra_is_named(module: str) -> None:
    program = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from sennit.core.errors import MissingExtraError\n"
        f"try:\n    import sennit.names.dnssec.{module}\n"
        "except MissingExtraError as error:\n    print(error)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert "sennit-names[dnssec]" in found.stdout.decode()
