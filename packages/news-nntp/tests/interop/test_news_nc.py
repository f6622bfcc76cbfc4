"""The server against netcat, over a real socket."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from sennit.core import run, serve
from sennit.news.server import NNTPServerFactory
from sennit.news.store import MemoryDirectory

if TYPE_CHECKING:
    from sennit.core.reactor.base import Reactor

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("nc") is None, reason="nc (netcat-openbsd) is not installed"),
]


def said_to_nc(data: bytes) -> bytes:
    """What netcat prints that sends this to a server and then ends its side."""
    factory = NNTPServerFactory(MemoryDirectory({b"motd": b"hello"}))

    async def main(reactor: Reactor) -> bytes:
        async with serve("tcp://127.0.0.1:0", factory) as server:
            port = server.port

            def talk() -> bytes:
                return subprocess.run(
                    ["nc", "-N", "127.0.0.1", str(port)],
                    input=data,
                    stdout=subprocess.PIPE,
                    timeout=20,
                    check=True,
                ).stdout

            return await reactor.defer_to_thread(talk)

    said = run(main)
    assert isinstance(said, bytes)
    return said


def test_netcat_gets_its_answers() -> None:
    assert said_to_nc(b"GET motd\r\nGET nothing\r\n") == b"+hello\r\n-nothing of that name\r\n"


def test_netcat_is_told_what_is_wrong() -> None:
    assert said_to_nc(b"\xff\xfe\r\n") == b"-I do not understand\r\n"
