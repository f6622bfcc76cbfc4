"""Socket activation by systemd's own program: `systemd-socket-activate` starts a node."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from sennit.core.testing.loopback import free_port

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.interop

LIMIT = 30.0
NODE = """\
[service.web]
type = "echo"
listen = ["systemd:web"]

[service.other]
type = "echo"
listen = ["systemd:other"]
"""


def echoed(port: int) -> bytes:
    end = time.monotonic() + LIMIT
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as sock:
                sock.sendall(b"hello")
                return sock.recv(5)
        except ConnectionRefusedError:
            # The program that listens in our stead has just been started itself.
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def test_a_node_is_started_by_its_first_connection(tmp_path: Path) -> None:
    program = shutil.which("systemd-socket-activate")
    if program is None:
        pytest.skip("systemd-socket-activate is not installed")
    (tmp_path / "sennit.toml").write_text(NODE)
    ports = [free_port(), free_port()]
    process = subprocess.Popen(
        [
            program,
            *(f"--listen=127.0.0.1:{port}" for port in ports),
            "--fdname=web:other",
            sys.executable,
            "-m",
            "sennit.core.service.cli",
            "up",
            str(tmp_path / "sennit.toml"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        for port in ports:
            assert echoed(port) == b"hello"
    finally:
        process.terminate()
        out, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, out.decode()
    assert b"systemd" in out or b"127.0.0.1" in out
