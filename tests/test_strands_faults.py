"""Services of FTP and news whose machine fails them, as processes."""

from __future__ import annotations

import re
import resource
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

SENNIT = [sys.executable, "-m", "sennit.core.service.cli"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits are those of Linux")


class Told:
    """A service that runs.

    Attributes:
        port: Where.
        log: What it has logged, once it has ended.
    """

    port = 0
    log = ""


@contextmanager
def served(where: Path, *words: str, descriptors: int = 256) -> Generator[Told]:
    """Run ``sennit`` with these words and so many descriptors."""
    told = Told()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with subprocess.Popen(
        [*SENNIT, *words, "--listen", "tcp://127.0.0.1:0"],
        cwd=where,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            if line == "ready\n":
                break
            said += line
        found = re.search(r"://127\.0\.0\.1:(\d+)", said)
        try:
            if found is not None:
                told.port = int(found[1])
                resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (descriptors, hard))
                yield told
        finally:
            process.terminate()
            told.log = process.communicate(timeout=20)[1]
    assert found is not None, told.log
    assert process.returncode == 0


class Talk:
    """A client, line by line."""

    def __init__(self, port: int, stack: ExitStack) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._lines = self._sock.makefile("rb")
        stack.callback(self.close)
        self.greeting = self._lines.readline()

    def say(self, text: bytes) -> bytes:
        """Say a line, and give the first one of the answer."""
        self._sock.sendall(text + b"\r\n")
        return self._lines.readline()

    def close(self) -> None:
        """Go, and wait until the server has closed its end, too."""
        if not self._lines.closed:
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)
                self._lines.read()
        self._lines.close()
        self._sock.close()


def use_up(port: int, stack: ExitStack) -> tuple[Talk, list[Talk]]:
    """Connect until nobody else is let in; the first, and those that can go."""
    talks: list[Talk] = []
    while not talks or talks[-1].greeting:
        talks.append(Talk(port, stack))
    return talks[0], talks[1:]


def test_descriptors_that_ran_out_cost_no_session_of_ftp(tmp_path: Path) -> None:
    """HARDENING fault-1: who is there goes on, though nothing more can be opened."""
    (tmp_path / "files").mkdir()
    with ExitStack() as stack, served(tmp_path, "ftp", "serve", "files", descriptors=40) as told:
        first, others = use_up(told.port, stack)

        assert first.say(b"USER anonymous").startswith(b"331")
        assert first.say(b"PASS me@example.org").startswith(b"230")
        assert first.say(b"EPSV").startswith(b"425")
        assert first.say(b"NOOP").startswith(b"200")
        for each in others:
            each.close()
        assert first.say(b"CWD /").startswith(b"250")
        assert first.say(b"EPSV").startswith(b"229")
    assert "Traceback" not in told.log


def test_descriptors_that_ran_out_cost_no_session_of_news(tmp_path: Path) -> None:
    """HARDENING fault-1."""
    words = ("news", "serve", "local.test", "--post", "local.*")
    post = b"From: a@example.org\r\nNewsgroups: local.test\r\nSubject: x\r\n\r\nx\r\n."
    with ExitStack() as stack, served(tmp_path, *words, descriptors=40) as told:
        first, others = use_up(told.port, stack)

        assert first.say(b"GROUP local.test").startswith(b"211 0 ")
        assert first.say(b"POST").startswith(b"340")
        assert first.say(post)[:3] in (b"240", b"441")
        assert first.say(b"NEWNEWS * 20000101 000000").startswith(b"230")
        for each in others:
            each.close()
    assert "Traceback" not in told.log
