"""The server's protocol on a recording transport, in virtual time."""

from __future__ import annotations

import pytest

from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.ftp.limits import Limits
from sennit.ftp.server import FTPServerFactory
from sennit.ftp.store import MemoryDirectory

DIRECTORY = MemoryDirectory({b"motd": b"hello", b"other": b"world"})


def answered(data: bytes, *, limits: Limits | None = None, eof: bool = False) -> RecordingTransport:
    """A transport on which a server has received this."""
    return served(data, Clock(), limits=limits, eof=eof)


def served(
    data: bytes, clock: Clock, *, limits: Limits | None = None, eof: bool = False
) -> RecordingTransport:
    """The same by this clock."""
    transport = RecordingTransport()

    def connect() -> None:
        protocol = FTPServerFactory(DIRECTORY, limits).build_protocol(None)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        transport.receive(data)
        if eof:
            transport.receive_eof()

    clock.call_soon(connect)
    clock.pump()
    return transport


def test_what_the_directory_has_is_given() -> None:
    assert answered(b"GET motd\r\n").written == b"+hello\r\n"


def test_what_it_does_not_have_is_refused() -> None:
    assert answered(b"GET nothing\r\n").written == b"-nothing of that name\r\n"


def test_pipelined_commands_are_answered_in_order() -> None:
    assert answered(b"GET motd\r\nGET other\r\n").written == b"+hello\r\n+world\r\n"


def test_the_end_of_input_closes_once_all_was_answered() -> None:
    transport = answered(b"GET motd\r\n", eof=True)

    assert transport.written == b"+hello\r\n"
    assert transport.closed


def test_quit_closes() -> None:
    transport = answered(b"QUIT\r\n")

    assert transport.written == b"+bye\r\n"
    assert transport.closed


def test_a_line_without_an_end_closes() -> None:
    transport = answered(b"G" * 100, limits=Limits(max_line=64))

    assert transport.written.startswith(b"-")
    assert transport.closed


def test_a_client_that_says_nothing_is_not_waited_for_for_ever() -> None:
    clock = Clock()
    transport = served(b"GET motd\r\n", clock, limits=Limits(idle=30.0))

    clock.advance(29.0)
    assert not transport.closed
    clock.advance(2.0)

    assert transport.close_reason == "idle"


def test_what_is_no_directory_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="IDirectory"):
        FTPServerFactory(object())
