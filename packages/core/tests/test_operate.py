"""What the commands of an operator show, and that nothing of a peer's reaches the terminal raw."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.errors import ConfigError
from sennit.core.ops import admin
from sennit.core.service import operate
from sennit.core.service.cli import main

if TYPE_CHECKING:
    from pathlib import Path

NODE = {
    "state": "running",
    "pid": 7,
    "version": "1",
    "python": "3",
    "started": 1.0,
    "uptime": 93_784.0,
    "reloads": 2,
    "not_ready": ["service 'b' is failed: OSError: \x1b[2J"],
}
SERVICE = {
    "name": "site",
    "type": "web",
    "state": "running",
    "urls": ["tcp://127.0.0.1:80"],
    "uptime": 5.0,
    "connections": 3,
    "restarts": 1,
    "trouble": None,
}
CONNECTION = {
    "id": "7-1",
    "service": "site",
    "peer": "192.0.2.1:5\x1b[2J",
    "local": "",
    "protocol": "HTTP",
    "layers": ["TLS"],
    "age": 61.0,
    "received": 5,
    "sent": 2048,
    "queued": 0,
    "reading": True,
    "state": "open",
    "close_reason": None,
}


class Asked:
    """Stands in for the node."""

    def __init__(self) -> None:
        self.answer: Any = {}
        self.calls: list[tuple[str, str, dict[str, Any]]] = []

    def __call__(self, path: str, command: str, timeout: float | None, **arguments: Any) -> Any:
        self.calls.append((path, command, arguments))
        return self.answer


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    monkeypatch.setattr(admin, "ask_blocking", asked)
    return asked


def sennit(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert main([*arguments, "--socket", "x.sock"]) == status
    return capsys.readouterr().out


def test_status_is_a_line_on_the_node_and_a_table(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    asked.answer = {"node": NODE, "services": [SERVICE]}
    lines = sennit(capsys, "status").splitlines()
    assert lines[0] == "running, process 7, up 1 d 2 h, reloaded 2 times"
    assert lines[1] == "not ready: service 'b' is failed: OSError: \\x1b[2J"
    assert lines[2].split() == [*operate_heads()]
    assert lines[3].split() == ["site", "web", "running", "5.0", "s", "3", "1", SERVICE["urls"][0]]  # type: ignore[index]  # a table of mixed values
    assert json.loads(sennit(capsys, "status", "--json")) == asked.answer


def operate_heads() -> tuple[str, ...]:
    return ("service", "type", "state", "up", "connections", "restarts", "urls")


def test_workers_are_listed_below_the_services_that_they_share(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = {"number": 2, "pid": 9, "state": "ready", "uptime": 1.0}
    asked.answer = {"node": NODE, "services": [SERVICE], "workers": [worker]}
    assert sennit(capsys, "status").splitlines()[-1].split() == ["2", "9", "ready", "1.0", "s"]
    asked.answer = [{"name": "t", "coroutine": "f", "worker": 2, "waits": []}]
    assert sennit(capsys, "tasks") == "worker 2: t: f\n"
    kinds = ("services", "tasks", "deferreds", "timers", "ready", "descriptors")
    one: dict[str, Any] = {name: {"count": 0, "first": []} for name in kinds}
    asked.answer = {"workers": {"2": {"pid": 9, "threads": [], **one}}}
    assert sennit(capsys, "dump").startswith("worker 2\nprocess 9\nservices: 0\n")


def test_a_peers_name_is_escaped_before_the_terminal_sees_it(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    """HARDENING core-19."""
    asked.answer = {"total": 3, "connections": [CONNECTION]}
    out = sennit(capsys, "connections", "--service", "site", "--peer", "192")
    assert "\x1b" not in out
    assert "192.0.2.1:5\\x1b[2J" in out
    assert "1 min 1 s" in out
    assert "2.0 KiB" in out
    assert "TLS/HTTP" in out
    assert "… and 2 more" in out
    assert asked.calls == [
        ("x.sock", "connections", {"service": "site", "peer": "192", "limit": 1000})
    ]


def test_ending_a_connection_that_is_not_there_is_a_failure(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    asked.answer = {"killed": 1}
    assert sennit(capsys, "connections", "--kill", "7-1") == "ended\n"
    asked.answer = {"killed": 0}
    assert "no connection 7-9" in sennit(capsys, "connections", "--kill", "7-9", status=1)


def test_ready_tells_by_its_status(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    asked.answer = {"ready": True, "reasons": []}
    assert sennit(capsys, "ready") == "ready\n"
    asked.answer = {"ready": False, "reasons": ["the node is draining"]}
    assert sennit(capsys, "ready", status=1) == "not ready: the node is draining\n"
    assert json.loads(sennit(capsys, "ready", "--json", status=1)) == asked.answer


def test_the_other_commands_show_what_came_back(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    asked.answer = {"type": "x", "text": "a 1\n"}
    assert sennit(capsys, "metrics") == "a 1\n"
    asked.answer = [{"name": "t", "coroutine": "f", "cancelling": 0, "waits": ["f (a.py:1)"]}]
    assert sennit(capsys, "tasks") == "t: f\n    f (a.py:1)\n"
    asked.answer = {"drained": "site"}
    assert sennit(capsys, "drain", "--name", "site") == "site is down\n"
    assert sennit(capsys, "drain") == "the node ends\n"
    asked.answer = {"added": [], "changed": ["site"], "kept": ["a", "b"]}
    assert sennit(capsys, "reload") == "changed: site\nkept: a, b\n"
    asked.answer = {"added": []}
    assert sennit(capsys, "reload") == "nothing has changed\n"
    asked.answer = {"logger": "root", "level": "debug", "before": "info", "seconds": 0}
    assert sennit(capsys, "loglevel", "debug", "--for", "0") == (
        "root: debug until it ends (before: info)\n"
    )
    assert asked.calls[-1] == ("x.sock", "loglevel", {"level": "debug", "logger": "", "seconds": 0})


# ── which node ────────────────────────────────────────────────────────────────


def test_the_socket_is_that_of_the_file_whatever_else_is_in_it(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('[admin]\n[service.x]\ntype = "no such thing"\n')
    assert operate.find_socket(str(file), None) == str(tmp_path / "run" / "admin.sock")
    file.write_text('[admin]\nsocket = "/run/x.sock"\n')
    assert operate.find_socket(str(file), None) == "/run/x.sock"
    assert operate.find_socket(str(file), "given.sock") == "given.sock"


def test_the_commands_look_where_the_node_listens() -> None:
    """The default is written down twice, since the commands do without msgspec."""
    config = pytest.importorskip("sennit.core.ops.config")
    assert operate.DEFAULT_SOCKET == config.DEFAULT_SOCKET


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[node]\n", "no table"),
        ("admin = 5\n", "no table"),
        ("[admin]\nsocket = 5\n", "expected a path"),
        ("[admin\n", "cannot be read"),
    ],
)
def test_a_file_that_names_no_socket_is_said_to(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "a.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=problem):
        operate.find_socket(str(file), None)
    with pytest.raises(ConfigError, match="there is no such file"):
        operate.find_socket(str(tmp_path / "none.toml"), None)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, None), (0.04, "0.0 s"), (59.9, "59.9 s"), (60, "1 min 0 s"), (3600, "1 h 0 min")],
)
def test_a_span_of_time_is_shown_in_two_units(seconds: float | None, shown: str | None) -> None:
    assert operate._seconds(seconds) == shown


def test_octets_are_shown_in_a_unit_that_fits() -> None:
    shown = [operate._octets(value) for value in (None, 0, 1023, 1024, 1 << 30, 1 << 60)]
    assert shown == [None, "0 B", "1023 B", "1.0 KiB", "1.0 GiB", "1048576.0 TiB"]
