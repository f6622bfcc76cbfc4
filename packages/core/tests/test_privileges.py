"""Giving up privileges: in processes of their own, since there is no way back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.errors import UsageError
from sennit.core.service.privileges import CAPABILITIES, Privileges, capability_number

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

as_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root has privileges to give up"
)

NOBODY = 65534


def in_process(code: str) -> str:
    """What a process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def fields(pid: int | str) -> dict[str, str]:
    """``/proc/PID/status``."""
    with open(f"/proc/{pid}/status") as file:
        return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}


# ── names ─────────────────────────────────────────────────────────────────────


def test_capabilities_have_the_numbers_of_the_kernel() -> None:
    """capabilities(7), linux/capability.h."""
    assert capability_number("CAP_NET_BIND_SERVICE") == 10
    assert capability_number("net_raw") == 13
    assert capability_number("cap_setpcap") == 8
    assert CAPABILITIES[40] == "CAP_CHECKPOINT_RESTORE"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"user": "no-such-user"}, "there is no user 'no-such-user'"),
        ({"user": "nobody", "group": "no-such"}, "there is no group 'no-such'"),
        ({"user": "nobody", "capabilities": ["CAP_NET_BIND_SERVIC"]}, "did you mean CAP_NET_BIND"),
        ({"capabilities": ["CAP_NET_RAW"]}, "say which"),
        ({"user": "123456"}, "has no group of its own"),
    ],
)
def test_a_mistake_is_told_before_anything_listens(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Privileges(**arguments)


def test_a_user_who_is_not_root_becomes_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(os, "getgid", lambda: 1000)

    with pytest.raises(UsageError, match="only root can become another user"):
        Privileges("nobody")
    assert not Privileges().changes_ids


# ── giving up ─────────────────────────────────────────────────────────────────


@as_root
def test_everything_is_given_up_for_good() -> None:
    printed = in_process(
        """
        import os, threading
        from sennit.core.service.privileges import Privileges
        privileges = Privileges("nobody", no_new_privs=True)
        privileges.forbid_new()
        done = threading.Event()
        threading.Thread(target=done.wait, daemon=True).start()
        privileges.drop()
        for task in os.listdir("/proc/self/task"):
            print(open(f"/proc/self/task/{task}/status").read())
        for back in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.seteuid(0),
                     lambda: os.setgroups([0]), lambda: open("/etc/shadow")):
            try:
                back()
            except PermissionError:
                continue
            print("HAD BACK")
        done.set()
        """
    )

    assert "HAD BACK" not in printed
    lines = [line.split() for line in printed.splitlines()]
    of = {
        name: [line[1:] for line in lines if line and line[0] == f"{name}:"]
        for name in ("Uid", "Gid", "Groups", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")
    }
    # In every thread, those that ran before too.
    assert of["Uid"] == [[str(NOBODY)] * 4] * 2
    assert len({tuple(each) for each in of["Gid"]}) == 1
    assert "0" not in of["Gid"][0]
    assert all("0" not in each for each in of["Groups"])
    assert all(int(each[0], 16) == 0 for each in of["CapPrm"] + of["CapEff"] + of["CapAmb"])
    assert any(int(each[0], 16) == 0 for each in of["CapBnd"])
    assert of["NoNewPrivs"] == [["1"], ["1"]]


@as_root
def test_a_capability_is_kept_and_handed_to_children() -> None:
    printed = in_process(
        """
        import socket, subprocess
        from sennit.core.service.privileges import Privileges
        Privileges("nobody", capabilities=["CAP_NET_BIND_SERVICE"]).drop()
        socket.create_server(("127.0.0.1", 1)).close()
        status = subprocess.run(["/bin/cat", "/proc/self/status"], cwd="/",
                                capture_output=True, text=True, check=True).stdout
        if f"CapEff:\t{1 << 10:016x}" in status:
            print("child too", flush=True)
        try:
            socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
        except PermissionError:
            print("no other")
        """
    )

    assert printed.split("\n") == ["child too", "no other", ""]


@as_root
def test_further_groups_are_those_that_were_named() -> None:
    printed = in_process(
        """
        import os
        from sennit.core.service.privileges import Privileges
        Privileges("nobody", group="daemon", groups=["adm"]).drop()
        import grp
        print(grp.getgrgid(os.getgid()).gr_name, [grp.getgrgid(each).gr_name
              for each in os.getgroups()])
        """
    )

    assert printed == "daemon ['adm']\n"


# ── a node ────────────────────────────────────────────────────────────────────


def low_port() -> int:
    """A free port that only root may listen on."""
    for port in range(1023, 600, -1):
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    pytest.skip("no privileged port is free")


@as_root
@pytest.mark.parametrize("workers", [None, 2])
def test_a_node_listens_as_root_and_serves_as_nobody(
    sennit: Callable[..., Any], workers: int | None
) -> None:
    port = low_port()
    options = [] if workers is None else ["--workers", str(workers)]
    process = sennit(
        '[node]\nuser = "nobody"\nno_new_privs = true\n'
        f'[service.who]\ntype = "who"\nlisten = ["tcp://127.0.0.1:{port}"]\n',
        *options,
    )

    served_by = int(process.who()[0])
    status = fields(served_by)
    assert status["Uid"].split() == [str(NOBODY)] * 4
    assert int(status["CapEff"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert not any("run as root" in line for line in process.log)
    if workers is not None:
        assert served_by in process.workers()
        # The supervisor stays who it is: it binds, and reads nothing of peers.
        assert fields(process.pid)["Uid"].split()[0] == "0"

    # The file is root's alone, as a key would be: only new workers can read it.
    process.write((process.folder / "sennit.toml").read_text() + 'word = "new"\n')
    process.signal(signal.SIGHUP)
    if workers is None:
        process.wait_for("not reloaded, everything is as it was: sennit.toml: cannot be read")
        assert process.who()[3:] == []
    else:
        process.wait_for("node - stopped", workers)
        assert process.who()[3] == "new"
        process.write("this is no TOML")
        process.signal(signal.SIGHUP)
        process.wait_for("not reloaded, everything is as it was: the new workers did not")
        assert {tuple(process.who()[3:]) for _ in range(6)} == {("new",)}
    process.signal(signal.SIGTERM)
    assert process.wait() == 0


@as_root
def test_running_as_root_is_warned_of(sennit: Callable[..., Any]) -> None:
    process = sennit('[service.who]\ntype = "who"\n')

    assert sum("services run as root" in line for line in process.log) == 1


@as_root
def test_no_octet_of_a_peer_is_read_before(sennit: Callable[..., Any], tmp_path: Path) -> None:
    """What cannot be given up ends the node before it accepts."""
    process = sennit('[node]\nuser = "no-such-user"\n[service.who]\ntype = "who"\n', ready=False)

    assert process.wait() == 2
    assert process.log == ["sennit: sennit.toml:1: [node] there is no user 'no-such-user'"]


@as_root
def test_nothing_is_imported_after_privileges_have_gone(tmp_path: Path) -> None:
    """The interpreter may lie where its new user cannot look."""
    config = tmp_path / "sennit.toml"
    config.write_text('[service.echo]\ntype = "echo"\nlisten = ["tcp://127.0.0.1:0"]\n')
    code = """
        import sys
        from sennit.core.service.cli import main
        from sennit.core.service.privileges import Privileges

        class Nothing:
            def find_spec(self, name, path=None, target=None):
                raise ModuleNotFoundError(f"{name} is imported late", name=name)

        change = Privileges._change

        def change_and_forbid(self):
            change(self)
            sys.meta_path.insert(0, Nothing())

        Privileges._change = change_and_forbid
        sys.exit(main())
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), "up", str(config), "--user", "nobody"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            if any(line == "ready\n" for line in process.stdout):
                process.send_signal(signal.SIGTERM)
            said = process.stderr.read()
            status = process.wait(30)
        finally:
            process.kill()

    assert (status, "imported late" in said) == (0, False), said
