"""How the overview is kept: rows of lines, and parts of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sennit.news.store.blocks import (
    block_of,
    cut,
    first_number,
    key_of,
    pack,
    place_of,
    unpack,
    unplace,
)

KEYS = st.integers(1, 1 << 30)
NUMBERS = st.integers(0, 2**31 - 1)


@given(KEYS, NUMBERS)
def test_a_block_knows_its_group_and_its_lowest_number(key: int, number: int) -> None:
    block = block_of(key, number)

    assert key_of(block) == key
    assert first_number(block) == number & ~31


@given(KEYS, NUMBERS)
def test_a_place_is_a_group_and_a_number(key: int, number: int) -> None:
    assert unplace(place_of(key, number)) == (key, number)


@given(st.lists(st.integers(0, 2**64 - 1)))
def test_numbers_that_were_packed_come_back(numbers: list[int]) -> None:
    assert list(unpack(pack(numbers))) == numbers


@given(
    st.sets(st.integers(0, 31)),
    st.sampled_from((0, 32, 96, 992, 99_968)),
    st.integers(-3, 40),
    st.integers(-3, 40),
    st.sampled_from((b"", b"5\t6", b"a subject\tof any length" * 20)),
)
def test_a_part_of_a_block_has_the_lines_of_its_range(
    there: set[int], first: int, low: int, high: int, fields: bytes
) -> None:
    lines = {first + number: b"%d\t%b\r\n" % (first + number, fields) for number in sorted(there)}

    part = cut(b"".join(lines.values()), first + low, first + high)

    wanted = range(first + low, first + high + 1)
    assert part == b"".join([line for number, line in lines.items() if number in wanted])
