"""The buffers that an upload is received into: used again, and never while somebody reads them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core import open_stream
from sennit.core.errors import ConnectionLost
from sennit.core.reactor.base import current_reactor
from sennit.ftp.data import FIRST_BUFFER, DataConnection, DataPort, make_connection

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


def test_the_first_buffer_of_an_upload_is_lent_to_the_next_one() -> None:
    def upload() -> memoryview[int]:
        connection: Any = make_connection(FIRST_BUFFER, (), (), plain=True)
        connection.connection_made(_Transport())
        connection.receive()
        come(connection, b"content")
        buffer: memoryview[int] = connection.get_buffer(-1)
        connection.eof_received()
        pieces = taken(connection)
        assert b"".join(pieces) == b"content"
        connection.give_back(pieces)
        return buffer

    assert upload().obj is upload().obj


async def test_strangers_do_not_fill_the_queue_before_the_client_has_come() -> None:
    """RFC 2577 §5; nobody waits for the connection yet, so nobody would accept."""
    port = DataPort(current_reactor(), "127.0.0.1", lambda: DataConnection(WINDOW))
    number = port.listen("127.0.0.1")
    for _ in range(2):
        stranger = await open_stream(f"tcp://127.0.0.1:{number}", local_address=("127.0.0.2", 0))
        with suppress(ConnectionLost):
            assert await stranger.receive_some() == b""
        await stranger.aclose(timeout=0)
    client = await open_stream(f"tcp://127.0.0.1:{number}")
    connection = await port.connection(5)
    assert not connection.closed
    connection.abort()
    await client.aclose(timeout=0)
