"""The README of the names strand, as pasted: its commands, its programs, its configuration."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sennit.core.service.loading import load
from sennit.core.testing.loopback import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

README = (Path(__file__).resolve().parent.parent / "packages/names/README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
LIMIT = 30.0


def blocks(language: str) -> list[str]:
    return [text for each, text in BLOCKS if each == language]


@pytest.fixture
def port() -> str:
    """One that is free for UDP and TCP."""
    return str(free_port())


@pytest.fixture
def environment() -> dict[str, str]:
    """One in which `sennit` is the command of this checkout."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def started(tmp_path: Path, environment: dict[str, str]) -> Iterator[list[subprocess.Popen[str]]]:
    """Programs that run in the background; they are interrupted at the end."""
    running: list[subprocess.Popen[str]] = []
    yield running
    for each in running:
        if each.poll() is None:
            each.send_signal(signal.SIGINT)
        try:
            each.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            each.kill()
            each.communicate()


def is_answered(port: str) -> bool:
    query = bytes.fromhex("2a2a010000010000000000000000010001")
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.1)
        sock.connect(("127.0.0.1", int(port)))
        try:
            sock.send(query)
            return sock.recv(100)[:2] == query[:2]
        except OSError:
            # Nobody listens yet; there is nothing that tells when.
            threading.Event().wait(0.02)
            return False


def wait(port: str) -> None:
    assert any(is_answered(port) for _ in range(500))


def test_the_commands_serve_a_zone_and_ask_for_it(
    tmp_path: Path,
    port: str,
    environment: dict[str, str],
    started: list[subprocess.Popen[str]],
) -> None:
    _, serve, ask = blocks("sh")
    here = f"--listen udp://127.0.0.1:{port} --listen tcp://127.0.0.1:{port}"
    assert "sennit dns zones/*.zone " in serve
    script = serve.replace("sennit dns zones/*.zone", f"exec sennit dns zones/*.zone {here}")
    server = subprocess.Popen(
        ["bash", "-euc", script],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    started.append(server)
    wait(port)
    first = ask.splitlines()[0].replace("5300", port)
    said = subprocess.run(
        ["bash", "-euc", first],
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=True,
    )
    assert said.stdout == "192.0.2.80\n"
    server.send_signal(signal.SIGTERM)
    out, _ = server.communicate(timeout=LIMIT)
    assert server.returncode == 0
    assert f"sennit dig @127.0.0.1 -p {port} home.example" in out


def test_the_first_program_serves_what_the_second_looks_up(
    tmp_path: Path,
    port: str,
    environment: dict[str, str],
    started: list[subprocess.Popen[str]],
) -> None:
    first, second = (each.replace("5300", port) for each in blocks("python"))
    # Not `-X dev`: asyncio then says on standard error what took long, as on a busy machine.
    python = [sys.executable, "-W", "error", "-c"]
    server = subprocess.Popen(
        [*python, first], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    started.append(server)
    wait(port)
    found = subprocess.run(
        [*python, second],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    server.send_signal(signal.SIGINT)
    _, said = server.communicate(timeout=LIMIT)
    assert (found.returncode, found.stdout, found.stderr) == (
        0,
        "10 mail.home.example.\n['192.0.2.25']\n",
        "",
    )
    assert (server.returncode, said) == (0, "")


def test_the_configuration_is_a_good_one(tmp_path: Path) -> None:
    import trustme

    (text,) = blocks("toml")
    issued = trustme.CA().issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    (tmp_path / "mover.secret").write_text("c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0\n")
    (tmp_path / "sennit.toml").write_text(text)
    _, built = load(tmp_path / "sennit.toml").build()
    assert set(built) == {"names"}
