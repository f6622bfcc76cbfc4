"""A PostgreSQL of one's own: a new cluster in a folder of its own, gone when the test is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sennit.core.testing.loopback import free_port

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

__all__ = ["PostgresURL", "postgres_server"]


class PostgresURL(str):
    """The URL of a running server on loopback, as psycopg and asyncpg take it.

    Attributes:
        folder: Where its Unix socket lies.
        port: Its TCP port; the socket's name has it, too.
        pid: Of its first process.
    """

    folder: str
    port: int
    pid: int

    @property
    def unix(self) -> str:
        """The same database through the Unix socket."""
        return f"postgresql://postgres@/postgres?host={self.folder}&port={self.port}"


def _program(name: str) -> str:
    """A server program of the newest release installed; Debian keeps them off PATH."""
    found = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3])
    )
    program = str(found[-1]) if found else shutil.which(name)
    if program is None:
        pytest.skip(f"PostgreSQL ({name}) is not installed")
    return program


def _as_postgres() -> tuple[int, int] | None:
    """User and group of a child, which the server wants not to be root."""
    if os.geteuid() != 0:
        return None
    import pwd

    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("as root this needs a user postgres")
    return user.pw_uid, user.pw_gid


def _ready(data: Path) -> bool:
    """Whether the server says so in the eighth line of its pid file."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) > 7 and lines[7].strip() == "ready"


@contextmanager
def postgres_server(options: Sequence[str] = ()) -> Generator[PostgresURL, None, None]:
    """Start a new server and give its URL; superuser ``postgres``, no password.

    Args:
        options: More settings, each as ``name=value``.
    """
    initdb, postgres = _program("initdb"), _program("postgres")
    who = _as_postgres()
    # A short path: the name of a Unix socket has 107 octets at most.
    folder = Path(tempfile.mkdtemp(prefix="sennit-pg-", dir="/tmp"))
    try:
        if who:
            os.chown(folder, *who)
        data = folder / "data"
        made = subprocess.run(
            [initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            user=who and who[0],
            group=who and who[1],
            extra_groups=who and [],
        )
        if made.returncode:
            raise AssertionError(f"initdb failed: {made.stdout}{made.stderr}")
        server = None
        port = 0
        for _ in range(3):
            port = free_port()
            settings = ["fsync=off", "listen_addresses=127.0.0.1", f"port={port}"]
            settings += [f"unix_socket_directories={folder}", "max_connections=40", *options]
            command = [postgres, "-D", str(data), *(f"--{each}" for each in settings)]
            server = _started(command, folder, who)
            if server is not None:
                break
            # Somebody may have taken the port in between; another one then.
        if server is None:
            raise AssertionError(f"PostgreSQL did not start: {(folder / 'log').read_text()}")
        url = PostgresURL(f"postgresql://postgres@127.0.0.1:{port}/postgres")
        url.folder, url.port, url.pid = str(folder), port, server.pid
        try:
            yield url
        finally:
            _end(server)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _started(
    command: list[str], folder: Path, who: tuple[int, int] | None
) -> subprocess.Popen[bytes] | None:
    """A server that takes connections, or ``None``."""
    with (folder / "log").open("ab") as out:
        server: subprocess.Popen[bytes] = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            # A Ctrl-C at the terminal is for the tests.
            start_new_session=True,
            user=who and who[0],
            group=who and who[1],
            extra_groups=who and [],
        )
    deadline = time.monotonic() + 30
    while server.poll() is None and time.monotonic() < deadline:
        if _ready(folder / "data"):
            return server
        time.sleep(0.02)
    _end(server)
    return None


def _end(server: subprocess.Popen[bytes]) -> None:
    """Have the server drop its clients and end."""
    if server.poll() is None:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(10)
