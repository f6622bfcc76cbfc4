from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sennit.web.http2.priority import Order, parse_priority


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b"", (3, False)),
        (b"u=1", (1, False)),
        (b"i", (3, True)),
        (b"u=5, i", (5, True)),
        (b"i=?1,u=0", (0, True)),
        (b"i=?0", (3, False)),
        (b"u=2, u=4", (4, False)),
        (b"u=8", (3, False)),
        (b"u=-1", (3, False)),
        (b"u=1;x=y, foo=\"bar\", i", (1, True)),
        (b"u=1, i=5", (1, False)),
        (b"u=1,", (3, False)),
        (b"U=1", (3, False)),
        (b"u=1 i", (3, False)),
        (b"\xff", (3, False)),
    ],
)  # fmt: skip
def test_priorities_are_read_as_dictionaries(value: bytes, wanted: tuple[int, bool]) -> None:
    """RFC 9218 §4; what is no dictionary is ignored whole, a bad parameter by itself."""
    assert parse_priority(value) == wanted


def test_what_an_update_does_not_say_stays() -> None:
    assert parse_priority(b"i", (1, False)) == (1, True)


@given(st.binary(max_size=200))
def test_no_octets_raise(value: bytes) -> None:
    urgency, incremental = parse_priority(value)

    assert 0 <= urgency <= 7
    assert incremental in (True, False)


def _turns(order: Order, count: int) -> list[int]:
    found: list[int] = []
    for _ in range(count):
        found.append(number := order.first())
        order.turn_over(number)
    return found


def test_the_urgent_come_first_then_those_asked_for_first() -> None:
    order = Order()
    for number, urgency in ((9, 3), (1, 5), (7, 0), (3, 3)):
        order.add(number, (urgency, False))

    served: list[int] = []
    while order:
        served.append(number := order.first())
        order.turn_over(number)
        order.remove(number)

    assert served == [7, 3, 9, 1]
    with pytest.raises(LookupError):
        order.first()


def test_those_whose_pieces_are_of_use_share_and_leave_others_their_turn() -> None:
    order = Order()
    for number in (1, 3):
        order.add(number, (3, True))
    assert _turns(order, 4) == [1, 3, 1, 3]

    order.add(5, (3, False))

    turns = _turns(order, 8)
    assert turns.count(5) == 4
    assert {turns.count(1), turns.count(3)} == {2}


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "remove", "move", "turn"]), st.integers(0, 5),
                  st.integers(0, 7), st.booleans()),
        max_size=40,
    )
)  # fmt: skip
def test_whoever_is_there_is_served_and_nobody_else(
    steps: list[tuple[str, int, int, bool]],
) -> None:
    order = Order()
    there: dict[int, tuple[int, bool]] = {}
    for what, number, urgency, incremental in steps:
        if what == "add":
            order.add(number, (urgency, incremental))
            there.setdefault(number, (urgency, incremental))
        elif what == "remove":
            order.remove(number)
            there.pop(number, None)
        elif what == "move":
            order.move(number, (urgency, incremental))
            if number in there:
                there[number] = (urgency, incremental)
        elif there:
            order.turn_over(order.first())
        assert len(order) == len(there)
        if there:
            assert there[order.first()][0] == min(each for each, _ in there.values())
