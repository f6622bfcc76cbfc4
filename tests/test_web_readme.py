"""The first two programs of the web strand's README: one serves a page, the other fetches it."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from sennit.core.testing.loopback import free_port

README = Path(__file__).resolve().parent.parent / "packages/web/README.md"


def test_the_first_program_serves_what_the_second_fetches(tmp_path: Path) -> None:
    programs = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    port = str(free_port())
    first, second = (each.replace("8080", port) for each in programs[:2])
    assert len([line for line in first.splitlines() if line]) <= 3
    python = [sys.executable, "-X", "dev", "-W", "error", "-c"]

    with subprocess.Popen([*python, first], cwd=tmp_path, stderr=subprocess.PIPE) as server:
        try:
            for _ in range(500):
                # Nothing tells that a program of somebody else's listens now.
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", int(port))) == 0:
                        break
                time.sleep(0.02)
            fetched = subprocess.run(
                [*python, second],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
        finally:
            server.send_signal(signal.SIGINT)
            _, said = server.communicate(timeout=30)

    assert (fetched.returncode, fetched.stdout, fetched.stderr) == (0, "Hello\n\n", "")
    assert (server.returncode, said) == (0, b"")
