"""INN on loopback: innd for feeds, nnrpd for readers, innxmit to feed us; made for one test.

`Inn` writes every file that INN reads into a folder of its own, starts innd (transit, from
127.0.0.1), nnrpd on another port when asked, and ends both by the ids of their processes. Started
as root, INN runs as the user ``news``; otherwise as whoever starts it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from sennit.core.testing.loopback import free_port
from tools.peers import unpacked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = [
    "GROUPS",
    "Inn",
    "end_inn",
    "free_port",
    "inn_program",
    "inn_running",
    "start_inn",
    "start_nnrpd",
]

GROUPS: Final = ("local.test", "local.general", "local.moderated")
"""What there is in a fresh INN; the last is moderated."""
_START: Final = 10.0
"""Seconds that innd or nnrpd may take until it answers; commonly a tenth of one."""


def inn_program(name: str) -> Path:
    """Where a program of INN is; the test is skipped where it is not."""
    found = unpacked("inn2", f"usr/lib/news/bin/{name}")
    if found is None:
        pytest.skip("inn2 is not unpacked")
    return found


def _user() -> str:
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid()).pw_name
    try:
        pwd.getpwnam("news")
    except KeyError:
        pytest.skip("INN does not run as root, and there is no user news")
    return "news"


@dataclass
class Inn:
    """An INN that runs.

    Attributes:
        folder: All of its files.
        port: Of innd, on 127.0.0.1: for IHAVE and streaming.
        reader_port: Of nnrpd; 0 when it was not asked for.
        processes: What was started.
        own_session: Start processes in sessions of their own, with what they start; benchmarks
            do not, since they end all of theirs by their group.
    """

    folder: Path
    port: int
    reader_port: int = 0
    processes: list[subprocess.Popen[bytes]] = field(
        default_factory=list["subprocess.Popen[bytes]"]
    )
    own_session: bool = True

    @property
    def environment(self) -> dict[str, str]:
        """What programs of INN need in their environment."""
        libraries = str(inn_program("innd").parent.parent)
        return {
            "PATH": os.environ.get("PATH", "/usr/bin"),
            "LD_LIBRARY_PATH": libraries,
            "INNCONF": str(self.folder / "etc/inn.conf"),
        }

    def run(self, name: str, *words: str) -> str:
        """Run a program of INN to its end, and give what it printed."""
        done = subprocess.run(
            [inn_program(name), *words],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=20,
            check=False,
        )
        output = done.stdout.decode(errors="replace")
        assert done.returncode == 0, f"{name} {words}: {output}"
        return output

    def spooled(self, group: str) -> dict[int, bytes]:
        """The articles in a group as they lie on its disk, dots not doubled, by number."""
        folder = self.folder / "spool/articles" / group.replace(".", "/")
        articles: dict[int, bytes] = {}
        if folder.is_dir():
            for path in folder.iterdir():
                if path.name.isdigit():
                    octets = path.read_bytes().removesuffix(b".\r\n")
                    articles[int(path.name)] = octets.replace(b"\r\n..", b"\r\n.")
        return articles

    def batch(self, *message_ids: str) -> list[str]:
        """Lines on articles that it has, for innxmit. (ctlinnd flush would take a second.)"""
        return [f"{self.run('grephistory', each).strip()} {each}\n" for each in message_ids]

    def feed(self, host: str, port: int, batch: Iterable[str], *words: str) -> str:
        """Have innxmit offer a server what is in a batch; gives what it prints."""
        path = self.folder / "tmp/batch"
        path.write_text("".join(batch))
        if os.getuid() == 0:
            shutil.chown(path, "news", "news")
        return self.run("innxmit", *words, "-P", str(port), host, str(path))

    def log(self) -> str:
        """What innd wrote on the articles that it was offered."""
        path = self.folder / "log/news"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, name: str, port: int, *words: str) -> None:
        """Start a server, and wait until it answers."""
        with (self.folder / f"{name}.output").open("wb") as output_file:
            process = subprocess.Popen(
                [inn_program(name), *words],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output_file,
                stderr=subprocess.STDOUT,
                start_new_session=self.own_session,
            )
        self.processes.append(process)
        deadline = time.monotonic() + _START
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 2) as client:
                client.settimeout(2)
                # Within TLS (-S) the server waits for the client to begin.
                if "-S" in words or client.recv(3)[:1] == b"2":
                    return
            output = (self.folder / f"{name}.output").read_text(errors="replace")
            assert process.poll() is None, f"{name} ended: {output}"
            assert time.monotonic() < deadline, f"{name} does not answer: {output}"
            time.sleep(0.02)  # refused at once while nobody listens yet

    def stop(self) -> None:
        """End what runs. There is nothing to keep, and innd sees SIGTERM only at its next event."""
        for process in self.processes:
            with suppress(ProcessLookupError):
                if self.own_session:
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    process.kill()
            process.wait(10)


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _configuration(
    folder: Path, groups: Iterable[str], readers: str, user: str, *, streaming: bool
) -> dict[str, str]:
    programs = inn_program("innd").parent
    paths = {
        "pathnews": folder,
        "pathbin": programs,
        "pathcontrol": programs / "control",
        "pathfilter": folder / "filter",
        "pathdb": folder / "db",
        "pathetc": folder / "etc",
        "pathrun": folder / "run",
        "pathlog": folder / "log",
        "pathhttp": folder / "log",
        "pathtmp": folder / "tmp",
        "pathspool": folder / "spool",
        "pathoverview": folder / "spool/overview",
        "pathoutgoing": folder / "spool/outgoing",
        "pathincoming": folder / "spool/incoming",
        "patharticles": folder / "spool/articles",
        "patharchive": folder / "spool/archive",
    }
    settings = {
        "domain": "example.net",
        "pathhost": "inn.example.net",
        "fromhost": "inn.example.net",
        "mta": "/bin/false",
        "hismethod": "hisv6",
        "ovmethod": "tradindexed",
        "enableoverview": "true",
        "maxartsize": str(1 << 20),
        "localmaxartsize": str(1 << 20),
        "runasuser": user,
        "runasgroup": user,
        "bindaddress": "127.0.0.1",
        "nnrpdcheckart": "false",
        # Old articles are for tests as good as new ones.
        "artcutoff": "0",
        **paths,
    }
    names = [(name, "m" if name.endswith("moderated") else "y") for name in groups]
    names += [(name, "n") for name in ("control", "control.cancel", "junk")]
    return {
        "etc/inn.conf": "".join(f"{name}: {value}\n" for name, value in settings.items()),
        "etc/storage.conf": "method tradspool {\n newsgroups: *\n class: 0\n}\n",
        "etc/newsfeeds": "ME:!*::\nours/sennit.example.org:local.*:Tf,Wnm:ours\n",
        "etc/incoming.conf": (
            f"streaming: {str(streaming).lower()}\nmax-connections: 100\n"
            'peer us {\n hostname: "127.0.0.1"\n}\n'
        ),
        "etc/readers.conf": readers,
        "etc/control.ctl": "all:*:*:drop\n",
        "etc/expire.ctl": "/remember/:11\n*:A:1:10:never\n",
        "db/active": "".join(f"{name} 0000000000 0000000001 {flag}\n" for name, flag in names),
        "db/active.times": "",
        "db/newsgroups": "".join(f"{name}\tA group\n" for name, _ in names),
        "db/history": "",
    }


def _readers(folder: Path, users: Mapping[str, str]) -> str:
    """Everybody on loopback may read and post; with users, whoever has logged in."""
    if not users:
        return (
            'auth "all" {\n hosts: "127.0.0.1"\n default: "<all>"\n}\n'
            'access "all" {\n users: "<all>"\n newsgroups: "*"\n access: RPA\n}\n'
        )
    lines: list[str] = []
    for name, password in users.items():
        hashed = subprocess.run(
            ["openssl", "passwd", "-6", password], capture_output=True, text=True, check=True
        )
        lines.append(f"{name}:{hashed.stdout.strip()}\n")
    # nnrpd runs it as whom it has become, who may not go where INN was unpacked.
    program = inn_program("auth/passwd/ckpasswd")
    (folder / "auth").mkdir()
    for path in (program, *program.parents[3].glob("libinn.so*")):
        shutil.copy(path, folder / "auth")
    check = f"LD_LIBRARY_PATH={folder}/auth exec {folder}/auth/ckpasswd -f {folder}/etc/passwords"
    _write(folder, {"etc/passwords": "".join(lines), "auth/check": f"#!/bin/sh\n{check}\n"})
    (folder / "auth/check").chmod(0o755)
    return (
        f'auth "users" {{\n hosts: "127.0.0.1"\n auth: "{folder}/auth/check"\n}}\n'
        'access "users" {\n users: "*"\n newsgroups: "*"\n access: RPA\n}\n'
    )


@pytest.fixture(name="inn")
def inn_running() -> Iterator[Inn]:
    """An INN with innd and nnrpd, for one test."""
    inn = start_inn(readers=True)
    try:
        yield inn
    finally:
        end_inn(inn)


def start_inn(
    *,
    readers: bool = False,
    groups: Iterable[str] = GROUPS,
    users: Mapping[str, str] | None = None,
    streaming: bool = True,
    own_session: bool = True,
) -> Inn:
    """Make an INN, and start it; `end_inn` is for the caller to call.

    Args:
        readers: Start nnrpd too.
        groups: What groups it has; one whose name ends in ``moderated`` is.
        users: Names and passwords of those who may read; without any, everybody.
        streaming: Let peers stream; else they have IHAVE.
        own_session: As of `Inn`.
    """
    user = _user()
    inn_program("innd")
    # Not below pytest's folder, into which the user `news` could not go.
    folder = Path(tempfile.mkdtemp(prefix="sennit-inn-"))
    inn = Inn(folder, free_port(), own_session=own_session)
    try:
        folder.chmod(0o755)
        for name in ("articles", "overview", "incoming", "outgoing", "archive", "innfeed"):
            (folder / "spool" / name).mkdir(parents=True)
        for name in ("run", "tmp", "log", "filter"):
            (folder / name).mkdir()
        _write(
            folder,
            _configuration(
                folder, groups, _readers(folder, users or {}), user, streaming=streaming
            ),
        )
        if os.getuid() == 0:
            for path in (folder, *folder.rglob("*")):
                shutil.chown(path, user, user)
        inn.run("makedbz", "-i", "-o")
        inn.start("innd", inn.port, "-d", "-4", "127.0.0.1", "-P", str(inn.port))
        if readers:
            start_nnrpd(inn)
    except BaseException:
        end_inn(inn)
        raise
    return inn


def start_nnrpd(inn: Inn) -> None:
    """Start the server for readers; it needs no innd but to post."""
    inn.reader_port = free_port()
    words = ("-D", "-f", "-b", "127.0.0.1", "-p", str(inn.reader_port))
    inn.start("nnrpd", inn.reader_port, *words)


def end_inn(inn: Inn) -> None:
    """End an INN, and remove its files."""
    inn.stop()
    shutil.rmtree(inn.folder, ignore_errors=True)
