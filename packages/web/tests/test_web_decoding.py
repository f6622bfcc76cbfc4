"""Content codings: taken off in pieces, whatever the cuts, and never to more than is allowed."""

from __future__ import annotations

import gzip
import random
import tracemalloc
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core.errors import MissingExtraError
from sennit.web import decoding
from sennit.web.decoding import (
    PIECE,
    CodingBrokenError,
    ContentDecoder,
    DecodedTooLargeError,
    UnknownCodingError,
    available_codings,
    codings_of,
    decoded,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

MIB = 1024 * 1024


def _bare(data: bytes) -> bytes:
    made = zlib.compressobj(wbits=-15)
    return made.compress(data) + made.flush()


CODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda data: brotli.compress(data, quality=1),
    "zstd": decoding._zstd().compress,
}


def decode(name: str, coded: bytes, *, step: int = 10**9, limit: int | None = None) -> bytes:
    decoder = ContentDecoder([name], limit=limit)
    found: list[bytes] = []
    for at in range(0, len(coded), step):
        found.extend(decoder.decode(coded[at : at + step]))
    decoder.finish()
    return b"".join(found)


@pytest.mark.parametrize("name", CODERS)
@given(data=st.binary(max_size=2000), times=st.integers(1, 40), step=st.integers(1, 300))
def test_what_was_coded_comes_back_however_it_is_cut(
    name: str, data: bytes, times: int, step: int
) -> None:
    whole = data * times
    assert decode(name, CODERS[name](whole), step=step) == whole


@pytest.mark.parametrize("name", CODERS)
def test_a_long_message_comes_in_pieces_of_bounded_size(name: str) -> None:
    rest = random.Random(1).randbytes(MIB)
    coded = CODERS[name](rest + bytes(MIB // 2) + rest)
    decoder = ContentDecoder([name])
    pieces = list(decoder.decode(coded))
    decoder.finish()
    assert b"".join(pieces) == rest + bytes(MIB // 2) + rest
    assert max(map(len, pieces)) <= 2 * PIECE
    assert (decoder.taken, decoder.made) == (len(coded), 2 * MIB + MIB // 2)


@given(data=st.binary(max_size=500), step=st.integers(1, 50))
def test_deflate_without_its_wrapping_is_taken_as_browsers_take_it(data: bytes, step: int) -> None:
    coded = _bare(data)
    if coded[0] & 15 != 8:  # a bare stream that looks wrapped cannot be told from one that is
        assert decode("deflate", coded, step=step) == data


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_members_and_frames_in_a_row_are_one_content(name: str) -> None:
    coded = CODERS[name](b"one ") + CODERS[name](b"") + CODERS[name](b"two")
    assert decode(name, coded) == b"one two"
    assert decode(name, coded, step=1) == b"one two"


@pytest.mark.parametrize("name", CODERS)
@given(junk=st.binary(min_size=1, max_size=100))
def test_junk_is_a_fault_of_the_peer_and_nothing_else(name: str, junk: bytes) -> None:
    for coded in (junk, CODERS[name](b"hello")[:6] + junk, CODERS[name](b"hello") + junk):
        with suppress(CodingBrokenError):
            decode(name, coded)


@pytest.mark.parametrize("name", ["gzip", "deflate", "br"])
@pytest.mark.parametrize("step", [1, 1000])
def test_octets_behind_the_end_are_a_fault(name: str, step: int) -> None:
    with pytest.raises(CodingBrokenError):
        decode(name, CODERS[name](b"hello") + b"GET /", step=step)


@pytest.mark.parametrize("name", CODERS)
def test_content_that_ends_too_early_is_a_fault(name: str) -> None:
    coded = CODERS[name](b"hello, " * 100)
    for cut in range(1, len(coded)):
        with pytest.raises(CodingBrokenError, match=r"too early|no "):
            decode(name, coded[:cut])


def test_no_content_at_all_is_content() -> None:
    """An answer to HEAD names the coding and has no content."""
    ContentDecoder(["gzip"]).finish()


@pytest.mark.parametrize("name", CODERS)
def test_a_bomb_ends_at_the_ratio_and_never_holds_more_than_a_piece(name: str) -> None:
    """HARDENING h1-16, h1-24: 64 MiB of nothing, a thousand to one."""
    bomb = CODERS[name](bytes(64 * MIB))
    decoder = ContentDecoder([name])
    tracemalloc.start()
    made = 0
    with pytest.raises(DecodedTooLargeError, match="100 times") as caught:
        for piece in decoder.decode(bomb):
            made += len(piece)
    assert tracemalloc.get_traced_memory()[1] < MIB
    tracemalloc.stop()
    assert caught.value.status == 413
    assert made <= max(MIB, 100 * len(bomb))


@pytest.mark.parametrize("name", CODERS)
def test_content_ends_at_the_cap(name: str) -> None:
    """HARDENING h1-16: 413 at the cap."""
    honest = random.Random(2).randbytes(MIB // 4)
    coded = CODERS[name](honest)
    assert decode(name, coded, limit=len(honest)) == honest
    with pytest.raises(DecodedTooLargeError, match="more than 262143 octets") as caught:
        decode(name, coded, limit=len(honest) - 1)
    assert caught.value.limit == len(honest) - 1


def test_a_little_that_swells_much_is_allowed() -> None:
    """A page of blanks is no bomb: the ratio is asked for beyond 1 MiB."""
    assert decode("gzip", gzip.compress(bytes(MIB))) == bytes(MIB)


def test_plain_content_is_counted_too() -> None:
    decoder = ContentDecoder([], limit=5)
    assert list(decoder.decode(b"hello")) == [b"hello"]
    assert list(decoder.decode(b"")) == []
    with pytest.raises(DecodedTooLargeError):
        list(decoder.decode(b"!"))
    decoder.finish()


def test_two_codings_come_off_in_turn_where_two_are_taken() -> None:
    coded = zlib.compress(gzip.compress(b"hello"))
    decoder = ContentDecoder(codings_of([b"gzip", b"deflate"]), max_codings=2)
    found = b"".join(
        piece for at in range(len(coded)) for piece in decoder.decode(coded[at : at + 1])
    )
    decoder.finish()
    assert found == b"hello"


def test_what_swells_between_two_codings_is_counted_as_well() -> None:
    """A train of empty members swells inside and gives nothing out: it must end too."""
    train = gzip.compress(b"") * (4 * MIB // 20)
    coded = zlib.compress(train, 9)
    decoder = ContentDecoder(["gzip", "deflate"], max_codings=2)
    with pytest.raises(DecodedTooLargeError):
        list(decoder.decode(coded))


def test_nested_codings_are_refused() -> None:
    """HARDENING h1-16: more than one coding is refused with 415."""
    for codings in (["gzip", "gzip", "gzip"], ["gzip", "deflate"]):
        with pytest.raises(UnknownCodingError, match="at most") as caught:
            ContentDecoder(codings)
        assert caught.value.status == 415


def test_codings_are_read_from_their_fields() -> None:
    assert codings_of([]) == []
    assert codings_of([b"identity", b" , "]) == []
    assert codings_of([b"GZip , x-gzip", b"br,\tzstd"]) == ["gzip", "gzip", "br", "zstd"]
    for odd in (b"gzip;q=1", b"g zip", b"gzip\x00"):
        with pytest.raises(UnknownCodingError):
            codings_of([odd])


def test_a_coding_that_is_not_known_is_named() -> None:
    with pytest.raises(UnknownCodingError, match="'compress' is not known") as caught:
        ContentDecoder(["compress"])
    assert caught.value.coding == "compress"
    assert caught.value.status == 415


def test_a_coding_whose_extra_is_missing_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "brotli", None)
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    for name in ("br", "zstd"):
        with pytest.raises(MissingExtraError, match=r"sennit-web\[compress\]"):
            ContentDecoder([name])
    monkeypatch.setattr(decoding, "_available", [])
    assert available_codings() == ("gzip", "deflate")


def test_codings_are_offered_best_first() -> None:
    assert available_codings() == ("zstd", "br", "gzip", "deflate")
    assert available_codings() == ("zstd", "br", "gzip", "deflate")


async def test_content_is_decoded_as_it_is_asked_for() -> None:
    coded = gzip.compress(b"hello " * 100)

    async def content() -> AsyncIterator[bytes]:
        for at in range(0, len(coded), 7):
            yield coded[at : at + 7]

    found = [piece async for piece in decoded(content(), ContentDecoder(["gzip"]))]
    assert b"".join(found) == b"hello " * 100
