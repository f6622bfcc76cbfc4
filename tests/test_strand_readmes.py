"""The READMEs of FTP and news, as pasted: a service in one terminal, its clients in another."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 30.0


class Told(NamedTuple):
    """What a README says to type.

    Attributes:
        package: The folder below ``packages``.
        serve: How the command begins that serves.
        port: Its port, which is replaced by a free one.
        needs: A program of others that is among the clients.
        prints: What the clients print, line by line, as patterns.
    """

    package: str
    serve: str
    port: str
    needs: str
    prints: list[str]


READMES = [
    Told("ftp", "sennit ftp serve files", "2121", "curl", [r".*hello\.txt", r"Hello\."]),
    Told(
        "news-nntp",
        "sennit news serve local.test",
        "1119",
        "bash",
        [r".*<.*@.*>.*", r"local\.test.*", r".*First.*"],
    ),
]


@pytest.mark.parametrize("told", READMES, ids=[each.package for each in READMES])
def test_what_the_readme_serves_its_clients_find(told: Told, tmp_path: Path) -> None:
    if shutil.which(told.needs) is None:
        pytest.skip(f"{told.needs} is not installed")
    readme = (ROOT / "packages" / told.package / "README.md").read_text()
    _, serve, ask, *_ = re.findall(r"^```sh\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert told.serve in serve
    serve = serve.replace(told.serve, f"exec {told.serve} --listen tcp://127.0.0.1:0")
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        ["bash", "-euc", serve],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            table = "".join(takewhile(lambda line: line != "ready\n", server.stdout))
            found = re.search(r"://127\.0\.0\.1:(\d+)", table)
            assert found is not None, table
            asked = subprocess.run(
                ["bash", "-euc", ask.replace(told.port, found[1])],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=LIMIT,
                check=False,
            )
        finally:
            server.send_signal(signal.SIGTERM)
            _, said = server.communicate(timeout=LIMIT)
    assert asked.returncode == 0, asked.stderr
    lines = asked.stdout.splitlines()
    for pattern in told.prints:
        assert any(re.fullmatch(pattern, line) for line in lines), (pattern, asked.stdout)
    assert server.returncode == 0, said
    assert "Traceback" not in said
