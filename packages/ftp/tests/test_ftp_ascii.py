"""Type A both ways: lines, cut anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core.interfaces import Buffer
from sennit.ftp.ascii import FromNetwork, ToNetwork

Converter = type[ToNetwork] | type[FromNetwork]


def converted(kind: Converter, *pieces: Buffer) -> bytes:
    converter = kind()
    return b"".join([converter.convert(each) for each in pieces]) + converter.finish()


@pytest.mark.parametrize(
    ("kept", "sent"),
    [
        (b"", b""),
        (b"a\nb\n", b"a\r\nb\r\n"),
        (b"\n\n", b"\r\n\r\n"),
        (b"no end", b"no end"),
        (b"a\rb\r", b"a\rb\r"),
        (b"a\r\nb", b"a\r\nb"),
        (b"\r\r\n\n", b"\r\r\n\r\n"),
        (b"\0\xff\x1a", b"\0\xff\x1a"),
    ],
)
def test_lines_are_sent_with_crlf(kept: bytes, sent: bytes) -> None:
    """RFC 959 §3.1.1.1; a file whose lines end with CRLF already goes as it is."""
    assert converted(ToNetwork, kept) == sent


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"", b""),
        (b"a\r\nb\r\n", b"a\nb\n"),
        (b"a\nb", b"a\nb"),
        (b"a\rb\r", b"a\rb\r"),
        (b"\r\r\n\r\n", b"\r\n\n"),
        (b"\r\0", b"\r\0"),
    ],
)
def test_lines_are_kept_with_lf_and_a_cr_alone_is_data(sent: bytes, kept: bytes) -> None:
    assert converted(FromNetwork, sent) == kept


OCTETS = st.lists(st.sampled_from([b"\r", b"\n", b"a", b"\r\n", b"\0"]), max_size=30).map(b"".join)


@given(st.sampled_from([ToNetwork, FromNetwork]), OCTETS, st.data())
def test_where_it_is_cut_changes_nothing(
    kind: Converter, octets: bytes, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=6)))
    pieces = [octets[a:b] for a, b in zip([0, *cuts], [*cuts, len(octets)], strict=True)]

    assert converted(kind, *pieces) == converted(kind, octets)


@given(OCTETS.map(lambda octets: octets.replace(b"\r", b"")))
def test_text_comes_back_as_it_was(octets: bytes) -> None:
    assert converted(FromNetwork, converted(ToNetwork, octets)) == octets


def test_any_buffer_will_do() -> None:
    assert converted(ToNetwork, bytearray(b"a\n"), memoryview(b"\nb")) == b"a\r\n\r\nb"
    assert converted(FromNetwork, bytearray(b"a\r"), memoryview(b"\nb")) == b"a\nb"
