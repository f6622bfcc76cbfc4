"""What strikes servers of FTP in benchmarks: ftplib, reading 256 KiB at a time.

The session that warmed the server up does the measured work too, and stays open until the
figure has been read: servers that have a process for each session would take it with them.

The files lie below a folder of /dev/shm that `shared_folder` makes: ``pub/large``, ``pub/warm``
and ``pub/small/0`` and so on to be fetched; what is stored goes into ``pub/up``, and the load
takes it away itself, since to do so costs a server more than a small transfer.
"""

from __future__ import annotations

import ftplib
import os
import secrets
import shutil
import ssl
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from tools.loads import HOST, MEBIBYTE, TIMEOUT, LoadError

if TYPE_CHECKING:
    import socket
    from collections.abc import Generator

__all__ = [
    "LARGE",
    "PASSWORD",
    "SMALL",
    "USER",
    "FTPLoad",
    "IdleLoad",
    "ListingLoad",
    "TransferLoad",
    "root",
    "shared_folder",
]

LARGE: Final = 1024
"""MiB of the large file."""
WARM: Final = 16
"""MiB of another one, to warm up with: Twisted has no REST."""
SMALL: Final = 1000
"""Small files."""
SMALL_SIZE: Final = 4096
"""Octets of each."""
USER: Final = "ftp"
PASSWORD: Final = "bench"
_FOLDER: Final = "SENNIT_BENCH_FTP"


def root() -> Path:
    """What the user sees as root."""
    return Path(os.environ[_FOLDER])


@contextmanager
def shared_folder(owner: tuple[int, int], many: int = 0) -> Generator[None]:
    """Have the files there; what runs in it, and its children, find them by `root`.

    With `many` there is a folder ``pub/many`` of so many empty files, and no large one.
    """
    if _FOLDER in os.environ:
        yield
        return
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="sennit-ftp-", dir=memory if memory.is_dir() else None))
    try:
        folder.chmod(0o755)
        small = folder / "pub" / "small"
        small.mkdir(parents=True)
        (folder / "pub" / "up").mkdir()
        piece = secrets.token_bytes(MEBIBYTE)
        (folder / "pub" / "many").mkdir()
        for number in range(many):
            (folder / "pub" / "many" / f"file-{number}.txt").touch()
        for name, size in (("large", 0 if many else LARGE), ("warm", WARM)):
            with (folder / "pub" / name).open("wb") as file:
                for _ in range(size):
                    file.write(piece)
        for number in range(SMALL):
            (small / str(number)).write_bytes(piece[:SMALL_SIZE])
        for each in (folder / "pub", folder / "pub" / "up"):
            os.chown(each, *owner)
        os.environ[_FOLDER] = str(folder)
        yield
    finally:
        shutil.rmtree(folder)


class _Resuming(ftplib.FTP_TLS):
    """FTP over TLS whose data connections resume the control connection's session."""

    def ntransfercmd(
        self, cmd: str, rest: int | str | None = None
    ) -> tuple[socket.socket, int | None]:
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        assert isinstance(self.sock, ssl.SSLSocket)
        session = self.sock.session
        wrapped = self.context.wrap_socket(conn, server_hostname=self.host, session=session)
        return wrapped, size


def _log_in(port: int, *, tls: bool) -> ftplib.FTP:
    if not tls:
        plain = ftplib.FTP(timeout=TIMEOUT)
        plain.connect(HOST, port)
        plain.login(USER, PASSWORD)
        return plain
    # Only the server is measured; whose certificate it is does not matter here.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    session = _Resuming(context=context, timeout=TIMEOUT)
    session.connect(HOST, port)
    session.login(USER, PASSWORD)
    session.prot_p()
    return session


class FTPLoad(Protocol):
    """A load of one or more sessions."""

    operation: str
    describe: str

    def warm_up(self, port: int) -> None:
        """Log in, and do a little of the work."""

    def run(self, port: int) -> int:
        """Do all of it."""
        ...


class TransferLoad:
    """Transfers over one session.

    Args:
        verb: ``RETR`` or ``STOR``.
        small: The small files, one after another; else the large one, counted in MiB.
        tls: Over explicit TLS, data too.
        amount: How many of them, or MiB of the large one.
    """

    def __init__(self, verb: str, *, small: bool = False, tls: bool = False, amount: int) -> None:
        self.operation = "file" if small else "MiB"
        what = f"{amount:,} files of {SMALL_SIZE:,} octets" if small else f"{amount:,} MiB"
        self.describe = f"{verb} of {what}{' over TLS' if tls else ''} (ftplib)"
        self._verb = verb
        self._small = small
        self._tls = tls
        self._amount = amount
        self._session: ftplib.FTP | None = None

    def warm_up(self, port: int) -> None:
        self._session = _log_in(port, tls=self._tls)
        self._session.cwd("pub")
        self._session.voidcmd("TYPE I")
        if self._small:
            self._transfer_small(20)
        else:
            self._transfer_large("warm", WARM)

    def run(self, port: int) -> int:
        if self._small:
            self._transfer_small(self._amount)
        else:
            self._transfer_large("large", self._amount)
        return self._amount

    def _transfer_small(self, count: int) -> None:
        content = bytes(SMALL_SIZE)
        for number in range(count):
            if self._verb == "RETR":
                self._retrieve(f"small/{number}", SMALL_SIZE)
            else:
                self._store(f"up/{number}", content, 1)
        self._tidy(count * SMALL_SIZE)

    def _transfer_large(self, name: str, mebibytes: int) -> None:
        if self._verb == "RETR":
            self._retrieve(name, mebibytes * MEBIBYTE)
        else:
            self._store(f"up/{name}", secrets.token_bytes(MEBIBYTE), mebibytes)
            self._tidy(mebibytes * MEBIBYTE)

    def _retrieve(self, name: str, want: int) -> None:
        session = self._session
        assert session is not None
        buffer = bytearray(256 * 1024)
        got = 0
        with session.transfercmd(f"RETR {name}") as conn:
            while count := conn.recv_into(buffer):
                got += count
            _end(conn)
        session.voidresp()
        if got != want:
            raise LoadError(f"{name} had {got} octets instead of {want}")

    def _store(self, name: str, piece: bytes, times: int) -> None:
        session = self._session
        assert session is not None
        with session.transfercmd(f"STOR {name}") as conn:
            for _ in range(times):
                conn.sendall(piece)
            _end(conn)
        session.voidresp()

    def _tidy(self, octets: int) -> None:
        """Take away what was stored, if it is whole."""
        if self._verb != "STOR":
            return
        stored = 0
        for each in (root() / "pub" / "up").iterdir():
            stored += each.stat().st_size
            each.unlink()
        if stored != octets:
            raise LoadError(f"{stored} octets were stored instead of {octets}")


def _end(conn: socket.socket) -> None:
    if isinstance(conn, ssl.SSLSocket):
        try:
            conn.unwrap()
        except (ssl.SSLError, OSError):
            pass  # some servers close without a word, or answer it with data's end


class ListingLoad:
    """Listings of the directory ``many``, ten over one session; an operation is one listing.

    Args:
        command: ``LIST`` or ``MLSD``.
        entries: Files there.
    """

    def __init__(self, command: str, entries: int) -> None:
        self.operation = "listing"
        self.describe = f"{command} of {entries:,} files (ftplib)"
        self._command = command
        self._entries = entries
        self._session: ftplib.FTP | None = None

    def warm_up(self, port: int) -> None:
        self._session = _log_in(port, tls=False)
        self._session.cwd("pub/many")
        self._session.voidcmd("TYPE A")
        self._list()

    def run(self, port: int) -> int:
        for _ in range(10):
            self._list()
        return 10

    def _list(self) -> None:
        assert self._session is not None
        listing = bytearray()
        with self._session.transfercmd(self._command) as conn:
            while piece := conn.recv(256 * 1024):
                listing += piece
        self._session.voidresp()
        found = sum(b"type=dir" not in line for line in listing.splitlines())
        if abs(found - self._entries) > 1:  # vsftpd says ``total`` first, as ls does
            raise LoadError(f"{found} files are listed instead of {self._entries}")


class IdleLoad:
    """Sessions that have logged in and say nothing more; an operation is one of them."""

    def __init__(self, sessions: int, *, tls: bool = False) -> None:
        self.operation = "session"
        self.describe = f"{sessions} sessions{' over TLS' if tls else ''}, logged in (ftplib)"
        self._sessions = sessions
        self._tls = tls
        self._held: list[ftplib.FTP] = []

    def warm_up(self, port: int) -> None:
        self._open(port, self._sessions // 10)

    def run(self, port: int) -> int:
        self._open(port, self._sessions)
        return self._sessions

    def _open(self, port: int, count: int) -> None:
        for _ in range(count):
            self._held.append(_log_in(port, tls=self._tls))
