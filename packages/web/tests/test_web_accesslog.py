"""The access log: its lines, what cannot be forged into them, and a stream that takes nothing."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from sennit.web.accesslog import BATCHES, AccessLog
from sennit.web.events import RequestHead
from sennit.web.http1.server import HTTP1ServerProtocol

STAMP = 784111777.0


class OneProtocol:
    """What the log asks of a connection."""

    client_name = "192.0.2.1"

    def __init__(self) -> None:
        self.asked: list[Callable[[], object]] = []

    def call_later(self, delay: float, fn: Callable[[], object]) -> None:
        self.asked.append(fn)


def protocol() -> HTTP1ServerProtocol:
    return cast("HTTP1ServerProtocol", OneProtocol())


def head(target: bytes = b"/", **fields: bytes) -> RequestHead:
    headers = [(name.replace("_", "-").encode(), value) for name, value in fields.items()]
    return RequestHead(b"GET", target, b"1.1", headers, b"a")


def logged(style: Any = "combined", **of: Any) -> str:
    stream = io.BytesIO()
    log = AccessLog(stream, style, wall_clock=lambda: STAMP)
    log.request(protocol(), head(**of), 200, 5)
    log.close()
    return stream.getvalue().decode("ascii")


def test_a_common_line_has_the_seven_fields() -> None:
    assert logged("common") == '192.0.2.1 - - [06/Nov/1994:08:49:37 +0000] "GET / HTTP/1.1" 200 5\n'


def test_a_combined_line_has_referer_and_agent_too() -> None:
    line = logged(referer=b"http://a/", user_agent=b"curl/8")
    assert line.endswith(' 200 5 "http://a/" "curl/8"\n')
    assert logged().endswith(' 200 5 "-" "-"\n')


@pytest.mark.parametrize(
    "agent",
    [
        b'x" 200 5\r\n127.0.0.1 - - "GET /forged',
        b"\x1b[2J",
        "\u2028\u009b".encode(),
        b"\\x0a",
        b"\x7f",
        b"\t",
    ],
)
def test_what_a_client_says_cannot_forge_a_line(agent: bytes) -> None:
    """HARDENING core-19: one line, controls escaped."""
    line = logged(user_agent=agent)
    assert line.count("\n") == 1
    assert line.count('"') == 6
    assert all(" " <= each <= "~" for each in line[:-1])


def test_a_field_is_at_most_1_kib() -> None:
    """HARDENING core-19."""
    assert len(logged("common", target=b"/" + b"a" * 8000)) < 1200


def test_lines_wait_for_others_and_leave_together() -> None:
    stream = io.BytesIO()
    log = AccessLog(stream, "common", wall_clock=lambda: STAMP)
    one = OneProtocol()
    for _ in range(3):
        log.request(cast("HTTP1ServerProtocol", one), head(), 200, 5)
    assert len(one.asked) == 1
    assert stream.getvalue() == b""
    one.asked[0]()
    log.close()
    assert stream.getvalue().count(b"\n") == 3


class Stuck(io.RawIOBase):
    """A pipe that nobody reads."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.taken: list[bytes] = []

    def write(self, data: Any) -> int:
        self.go.wait(10)
        self.taken.append(bytes(data))
        return len(data)


def test_a_stream_that_takes_nothing_loses_lines_and_counts_them() -> None:
    """HARDENING fault-14: nobody waits for the log."""
    stream = Stuck()
    log = AccessLog(cast("Any", stream), "common", wall_clock=lambda: STAMP)
    for _ in range(BATCHES + 10):
        log.request(protocol(), head(), 200, 5)
        log.flush()
    assert log.dropped >= 8
    stream.go.set()
    log.close()


def test_a_stream_that_fails_does_not_end_the_log() -> None:
    class Full(io.BytesIO):
        fail = True

        def write(self, data: Any) -> int:
            if self.fail:
                raise OSError(28, "No space left on device")
            return super().write(data)

    stream = Full()
    log = AccessLog(stream, "common", wall_clock=lambda: STAMP)
    log.request(protocol(), head(), 200, 5)
    log.flush()
    log.request(protocol(), head(), 200, 5)
    log.close()
    assert log.dropped == 2


def test_closing_closes_the_stream_when_it_owns_it() -> None:
    stream = io.BytesIO()
    log = AccessLog(stream, close_stream=True)
    log.close()
    log.close()
    assert stream.closed
    log.request(protocol(), head(), 200, 5)
