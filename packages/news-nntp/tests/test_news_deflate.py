"""Octets deflated and inflated: both ways, in bounded pieces, and never too much."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core.testing.engines import assert_no_io
from sennit.news.deflate import Deflate
from sennit.news.errors import NNTPProtocolError


def inflated(reader: Deflate) -> bytes:
    """All there is."""
    found = b""
    while reader.waiting:
        piece = reader.decompress()
        assert len(piece) <= 65_536
        found += piece
    return found


def test_importing_it_leaves_the_sockets_alone() -> None:
    assert_no_io("sennit.news.deflate")


@given(st.lists(st.binary(max_size=300), max_size=10), st.integers(1, 50))
def test_what_is_deflated_is_inflated_however_it_is_cut(pieces: list[bytes], step: int) -> None:
    writer, reader = Deflate(), Deflate()
    wire = b"".join(writer.compress([piece]) for piece in pieces)
    found = b""
    for at in range(0, len(wire), step):
        reader.receive(wire[at : at + step])
        found += inflated(reader)
    assert found == b"".join(pieces)


def test_each_batch_can_be_read_by_itself() -> None:
    """RFC 8054 §2.2.2."""
    writer, reader = Deflate(), Deflate()
    for line in (b"DATE\r\n", b"QUIT\r\n"):
        reader.receive(writer.compress([line]))
        assert inflated(reader) == line


def test_much_of_little_comes_in_pieces_up_to_a_ratio() -> None:
    """HARDENING, defaults 18."""
    octets = b"\0" * (900 << 10)
    reader = Deflate(max_ratio=100)
    reader.receive(Deflate().compress([octets]))
    assert inflated(reader) == octets  # below a MiB nothing is too much
    reader.receive(Deflate().compress([b"\0" * (4 << 20)]))
    with pytest.raises(NNTPProtocolError) as refused:
        inflated(reader)
    assert refused.value.rule == "limit:ratio"


@pytest.mark.parametrize(
    "octets", [b"\xff" * 10, zlib.compress(b"x"), zlib.compress(b"x", wbits=-15)]
)
def test_what_is_not_deflated_or_has_an_end_is_refused(octets: bytes) -> None:
    reader = Deflate()
    reader.receive(octets)
    with pytest.raises(NNTPProtocolError):
        inflated(reader)
