"""The probes and metrics of a running `sennit up`, as curl and Prometheus' own parser see them."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]

FILE = """
[admin]
listen = ["unix:probe.sock"]

[node]
watch = 0.5
log_format = "json"

[service.site]
type = "echo"
listen = ["unix:echo.sock"]
"""


class Node:
    """`sennit up` in a folder, and commands to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def sennit(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", _MAIN, *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def curl(self, path: str, *options: str) -> tuple[int, str]:
        done = subprocess.run(
            [
                *("curl", "-s", "--max-time", "10", "-w", "\n%{http_code}", *options),
                *("--unix-socket", str(self.folder / "probe.sock"), f"http://node{path}"),
            ],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        body, _, code = done.stdout.rpartition("\n")
        return int(code), body


_MAIN = "from sennit.core.service.cli import main; raise SystemExit(main())"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    pytest.importorskip("prometheus_client")
    folder = tmp_path_factory.mktemp("node")
    (folder / "sennit.toml").write_text(FILE)
    with (
        open(folder / "log", "wb") as log,
        subprocess.Popen(
            [sys.executable, "-c", _MAIN, "up"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line == "ready\n":
                    break
            else:
                raise AssertionError((folder / "log").read_text())
            yield Node(folder)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)


def test_curl_finds_the_node_alive_and_ready(node: Node) -> None:
    assert node.curl("/livez") == (200, "ok\n")
    assert node.curl("/readyz") == (200, "ready\n")
    assert node.curl("/nothing")[0] == 404
    assert node.curl("/livez", "-X", "POST", "-d", "x")[0] == 400
    code, head = node.curl("/livez", "--head")
    assert code == 200
    assert "Content-Length: 3" in head


def test_a_scraper_gets_the_form_it_asks_for(node: Node) -> None:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics  # pyright: ignore[reportUnknownVariableType]  # it has no types
    from prometheus_client.parser import text_string_to_metric_families as prometheus

    asks = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
    code, text = node.curl("/metrics", "-H", asks)
    assert code == 200
    families: Any = openmetrics(text)  # type: ignore[no-untyped-call]  # theirs
    names = {each.name for each in families}
    assert {"sennit_connections", "sennit_loop_turn_seconds", "process_open_fds"} <= names
    families = prometheus(node.curl("/metrics")[1])
    old = {each.name for each in families}
    assert names <= old


def test_the_command_line_asks_the_same_node(node: Node) -> None:
    found = json.loads(node.sennit("status", "--json").stdout)
    assert found["services"][0]["name"] == "site"
    assert found["node"]["state"] == "running"
    assert "site" in node.sennit("status").stdout
    assert node.sennit("ready").returncode == 0
    assert node.sennit("ready").stdout == "ready\n"
    assert "# EOF" in node.sennit("metrics").stdout
    assert "NodeRun._main" in node.sennit("tasks").stdout
    assert "thread MainThread" in node.sennit("dump").stdout
    assert node.sennit("reload").stdout.startswith("kept: site")
    assert node.sennit("loglevel", "--for", "5", "debug").stdout.startswith("root: debug for 5")
    assert node.sennit("loglevel").stdout == "root: debug\n"


def test_a_connection_is_seen_and_ended_from_the_command_line(node: Node) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(node.folder / "echo.sock"))
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
        listed: Any = json.loads(node.sennit("connections", "--service", "site", "--json").stdout)
        (shown,) = listed["connections"]
        assert shown["id"] in node.sennit("connections").stdout
        assert node.sennit("connections", "--kill", shown["id"]).stdout == "ended\n"
        sock.settimeout(10)
        assert sock.recv(1) == b""
        again = node.sennit("connections", "--kill", shown["id"])
        assert (again.returncode, again.stdout[:8]) == (1, "there is")


def test_a_service_that_is_drained_makes_the_probe_fail_until_a_reload(node: Node) -> None:
    assert node.sennit("drain", "--name", "site").stdout == "site is down\n"
    code, body = node.curl("/readyz")
    assert code == 503
    assert "drained" in body
    assert node.sennit("ready").returncode == 1
    assert node.sennit("reload").returncode == 0
    assert node.curl("/readyz")[0] == 200


def test_usr1_writes_a_dump_to_the_log_as_json(node: Node) -> None:
    import os

    pid = json.loads(node.sennit("status", "--json").stdout)["node"]["pid"]
    os.kill(pid, signal.SIGUSR1)
    deadline = time.monotonic() + 10
    while "descriptors: " not in (node.folder / "log").read_text():
        assert time.monotonic() < deadline
    for line in (node.folder / "log").read_text().splitlines():
        assert set(json.loads(line)) >= {"time", "level", "logger", "message"}


def test_a_node_that_is_not_there_is_said_not_to_be(node: Node) -> None:
    found = node.sennit("status", "--socket", str(node.folder / "none.sock"))
    assert found.returncode == 1
    assert "no running node answers" in found.stderr
    (node.folder / "other.toml").write_text("[service.x]\n")
    found = node.sennit("status", "other.toml")
    assert found.returncode == 2
    assert "there is no table [admin]" in found.stderr
