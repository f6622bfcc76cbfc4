"""The log of what passes over a connection."""

from __future__ import annotations

import asyncio
import io
import logging
from typing import Any

import pytest

from sennit.core.policy.traffic import with_traffic_log
from sennit.core.protocol import Protocol
from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.core.transport.memory import memory_pair


class Echo(Protocol):
    """Sends back what comes."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def eof_received(self) -> None:
        self.transport.writelines([b"by", b"e"])


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The records, without the number and name of the connection."""
    return [record.getMessage().partition(" ")[2] for record in caplog.records]


def worn(protocol: Any, **settings: Any) -> Any:
    """A protocol whose traffic is told."""
    found = with_traffic_log(lambda: protocol, **settings).build_protocol(None)
    assert found is not None
    return found


@pytest.fixture(autouse=True)
def _listen(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "sennit.traffic")


def test_every_event_and_both_ways_are_told(caplog: pytest.LogCaptureFixture) -> None:
    transport = RecordingTransport()
    protocol = worn(Echo())
    protocol.connection_made(transport)
    protocol.data_received(b"hello\r\n")
    protocol.eof_received()
    protocol.wrapped.transport.sendfile(io.BytesIO(b"abc"), 1, 2)
    protocol.wrapped.transport.write_eof()
    protocol.wrapped.transport.close()
    protocol.connection_lost(None)

    assert transport.written == b"hello\r\nbyebc"
    lines = [line.partition(" ")[2] if line.startswith("None ") else line for line in told(caplog)]
    assert lines[:1] == ["open"]
    assert lines[1:] == [
        "> 7 octets: hello\\r\\n",
        "< 7 octets: hello\\r\\n",
        "> end",
        "< 3 octets: bye",
        lines[5],
        "< end",
        "closed: clean",
        "lost: clean",
    ]
    assert "2 octets of" in lines[5]


def test_a_connection_is_told_by_number_and_peer(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        worn(Echo()).connection_made(RecordingTransport())
    numbers = [record.getMessage().split()[0] for record in caplog.records]
    assert len(set(numbers)) == 2


def test_controls_do_not_reach_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """HARDENING core-19."""
    protocol = worn(Protocol())
    protocol.connection_made(RecordingTransport())
    protocol.data_received(b"\x1b[2J\r\nfake line\x9b\x00'\"")
    assert caplog.records[-1].getMessage().isprintable()


def test_long_pieces_are_cut_and_say_so(caplog: pytest.LogCaptureFixture) -> None:
    protocol = worn(Protocol(), shown=4)
    protocol.connection_made(RecordingTransport())
    protocol.data_received(b"abcdefgh")
    assert told(caplog)[-1].endswith("> 8 octets: abcd …")


def test_secrets_are_taken_out(caplog: pytest.LogCaptureFixture) -> None:
    def redact(direction: str, octets: bytes) -> bytes:
        return b"PASS ***" if octets.startswith(b"PASS ") else octets

    inner = Echo()
    protocol = worn(inner, redact=redact)
    transport = RecordingTransport()
    protocol.connection_made(transport)
    protocol.data_received(b"PASS secret\r\n")

    assert transport.written == b"PASS secret\r\n"
    assert "secret" not in caplog.text


def test_a_filter_that_fails_shows_nothing_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def redact(direction: str, octets: bytes) -> bytes:
        raise LookupError("no idea")

    transport = RecordingTransport()
    protocol = worn(Echo(), redact=redact)
    protocol.connection_made(transport)
    protocol.data_received(b"secret")

    assert transport.written == b"secret"
    assert "redact failed" in caplog.text
    assert "secret" not in caplog.text


def test_a_protocol_that_lends_its_buffer_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    class Lender(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.buffer = bytearray(16)
            self.got = b""

        def get_buffer(self, sizehint: int) -> bytearray:
            return self.buffer

        def buffer_updated(self, nbytes: int) -> None:
            self.got += bytes(self.buffer[:nbytes])

    clock = Clock()
    lender = Lender()
    peer = Protocol()
    memory_pair(peer, worn(lender), reactor=clock)
    peer.transport.write(b"abc")
    clock.pump()
    assert lender.got == b"abc"
    assert any(line.endswith("> 3 octets: abc") for line in told(caplog))


def test_datagrams_are_told_with_their_peers(caplog: pytest.LogCaptureFixture) -> None:
    class Transport:
        peer = None
        local = ("127.0.0.1", 53)

        def __init__(self) -> None:
            self.sent: list[tuple[bytes, object]] = []

        def sendto(self, data: bytes, peer: object = None) -> None:
            self.sent.append((data, peer))

    class Answer:
        transport: Any

        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, peer: object) -> None:
            self.transport.sendto(data[::-1], peer)

        def error_received(self, exc: Exception) -> None:
            """Nothing to do."""

    transport = Transport()
    protocol = worn(Answer())
    protocol.connection_made(transport)
    protocol.datagram_received(b"abc", "192.0.2.1:9")
    protocol.error_received(OSError("refused"))

    assert transport.sent == [(b"cba", "192.0.2.1:9")]
    text = caplog.text
    assert "> 192.0.2.1:9 3 octets: abc" in text
    assert "< 192.0.2.1:9 3 octets: cba" in text
    assert "refused" in text


def test_below_the_level_nothing_is_worn(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sennit.traffic")
    inner = Echo()
    assert worn(inner) is inner
