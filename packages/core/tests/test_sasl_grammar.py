"""What SASL's mechanisms have in common on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core.auth.sasl.grammar import (
    MAX_MESSAGE,
    MalformedError,
    attributes,
    decode_base64,
    decode_saslname,
    encode_base64,
    encode_saslname,
    gs2_header,
    parse_gs2_header,
    prepare,
    prepare_name,
    prepare_password,
)


@pytest.mark.parametrize(
    ("given", "prepared"),
    [
        ("I\xadX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\xaa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("\U0001f600", "\U0001f600"),
    ],
)
def test_saslprep_maps_as_its_examples_say(given: str, prepared: str) -> None:
    """RFC 4013 §3; what Unicode 3.2 did not know is let pass."""
    assert prepare(given) == prepared


@pytest.mark.parametrize("given", ["\x07", "\u06271", "", "\xad", "a\0b", "\u200f", "\ufdd0"])
def test_saslprep_refuses_what_it_prohibits(given: str) -> None:
    """RFC 4013 §3, RFC 3454 §6."""
    with pytest.raises(MalformedError):
        prepare(given)


def test_a_name_and_a_password_have_their_bounds_in_octets() -> None:
    """HARDENING core-15."""
    assert prepare_name("n" * 255) == "n" * 255
    assert prepare_password("p" * 1024) == b"p" * 1024
    for name in ("n" * 256, "é" * 128, "n" * 65_536):
        with pytest.raises(MalformedError, match="255"):
            prepare_name(name)
    for password in ("p" * 1025, "é" * 513, "p" * 1_048_576):
        with pytest.raises(MalformedError, match="1024"):
            prepare_password(password)


@pytest.mark.parametrize(
    "data", [b"=", b"=====", b"YQ", b"YQ=", b"YQ==\n", b" YQ==", b"YR==", b"Y-Q=", b"YQ==YQ=="]
)
def test_base64_that_is_not_strict_is_refused(data: bytes) -> None:
    """HARDENING core-16; RFC 4648 §3."""
    with pytest.raises(MalformedError):
        decode_base64(data)


def test_base64_of_too_many_octets_is_refused_undecoded() -> None:
    with pytest.raises(MalformedError, match="more than"):
        decode_base64(encode_base64(bytes(MAX_MESSAGE + 3)))
    assert len(decode_base64(encode_base64(bytes(MAX_MESSAGE)))) == MAX_MESSAGE


@given(st.binary(max_size=200))
def test_base64_there_and_back_is_identity(data: bytes) -> None:
    assert decode_base64(encode_base64(data)) == data


@given(st.text().filter(lambda text: "\0" not in text and text.isprintable()))
def test_a_saslname_there_and_back_is_identity(name: str) -> None:
    encoded = encode_saslname(name)

    assert b"," not in encoded
    assert decode_saslname(encoded) == name


@pytest.mark.parametrize("data", [b"=", b"a=2c", b"=2", b"x=3E", b"=2=2C"])
def test_an_equals_sign_in_a_saslname_must_escape(data: bytes) -> None:
    """RFC 5802 §5.1."""
    with pytest.raises(MalformedError):
        decode_saslname(data)


@pytest.mark.parametrize("data", [b"", b"a", b"a=", b"ab=1", b"1=a", b"a=1,", b",a=1", b"a=\0b"])
def test_what_is_no_attribute_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        attributes(data)


def test_a_gs2_header_there_and_back() -> None:
    """RFC 5801 §4."""
    assert gs2_header("n", "") == b"n,,"
    assert gs2_header("p=tls-exporter", "a,b") == b"p=tls-exporter,a=a=2Cb,"
    assert parse_gs2_header(b"p=tls-exporter,a=a=2Cb,n=x") == ("p=tls-exporter", "a,b", b"n=x")


@pytest.mark.parametrize(
    "data", [b"", b"n", b"n,", b"x,,", b"p=,,", b"p=a b,,", b"n,b=x,", b"n,a=,"]
)
def test_what_is_no_gs2_header_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_gs2_header(data)


@given(st.binary(max_size=100))
def test_no_octets_make_the_grammar_raise_anything_else(data: bytes) -> None:
    for parse in (attributes, parse_gs2_header, decode_saslname, decode_base64):
        try:
            parse(data)
        except MalformedError:
            pass
