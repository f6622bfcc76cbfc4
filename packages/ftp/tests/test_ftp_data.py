"""The buffers that an upload is received into: used again, and never while somebody reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.ftp.data import make_connection

if TYPE_CHECKING:
    from sennit.ftp.data import DataConnection

WINDOW = 64


class _Transport:
    """Reads when it is told to: the test calls for it."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def receiving() -> Any:
    """A connection that lends its buffers."""
    connection = make_connection(WINDOW, (), (), plain=True)
    transport: Any = _Transport()
    connection.connection_made(transport)
    connection.receive()
    return connection


def come(connection: Any, octets: bytes) -> None:
    """Octets come, as many at a time as there is room lent."""
    while octets:
        buffer = connection.get_buffer(-1)
        count = min(len(buffer), len(octets))
        buffer[:count] = octets[:count]
        connection.buffer_updated(count)
        octets = octets[count:]


def taken(connection: DataConnection) -> list[bytes | memoryview]:
    """What `take` gives, where it need not wait."""
    with pytest.raises(StopIteration) as done:
        connection.take().send(None)
    found: list[bytes | memoryview] = done.value.value
    return found


def test_a_buffer_that_was_given_back_is_lent_again() -> None:
    connection = receiving()
    memory: set[int] = set()
    for number in range(20):
        come(connection, bytes((number,)) * WINDOW)
        pieces = taken(connection)
        assert b"".join(pieces) == bytes((number,)) * WINDOW
        memory |= {id(each.obj) for each in pieces if isinstance(each, memoryview)}
        connection.give_back(pieces)
        connection.get_buffer(-1)

    assert len(memory) <= 2


@given(st.lists(st.tuples(st.integers(1, 40), st.booleans()), max_size=60))
def test_nothing_is_written_over_before_it_was_given_back(steps: list[tuple[int, bool]]) -> None:
    """Whatever comes while something is written, what was taken stays as it was."""
    connection = receiving()
    held: list[tuple[list[bytes | memoryview], bytes]] = []
    sent = received = b""
    for number, (size, writes) in enumerate(steps):
        if len(sent) - len(received) < 2 * WINDOW:
            octets = bytes((number,)) * size
            come(connection, octets)
            sent += octets
        if writes and held:
            pieces, wanted = held.pop()
            assert b"".join(pieces) == wanted
            connection.give_back(pieces)
        if not held and len(sent) - len(received) >= WINDOW:
            pieces = taken(connection)
            wanted = b"".join(pieces)
            received += wanted
            held.append((pieces, wanted))
    for pieces, wanted in held:
        assert b"".join(pieces) == wanted
    received += b"".join(connection.rest())

    assert received == sent
