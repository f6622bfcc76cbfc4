"""A file with the process' number, which only one process at a time can hold.

What tells a live file from a stale one is a lock (flock(2)), which the kernel drops when
the process ends, however it ends. The file appears with its content and its lock at once.
"""

from __future__ import annotations

import os
from pathlib import Path

from sennit.core.errors import SennitError

__all__ = ["PidFile", "PidFileHeldError", "read_pid"]

_TRIES = 10


class PidFileHeldError(SennitError):
    """Another process runs with this file.

    Attributes:
        path: The file.
        pid: The number in it, or ``None`` where it cannot be read.
    """

    def __init__(self, path: Path, pid: int | None) -> None:
        who = "another process" if pid is None else f"process {pid}"
        super().__init__(f"{path}: {who} runs already and holds this file")
        self.path = path
        self.pid = pid


class PidFile:
    """Holds `path` until `close`, or until the process ends.

    Args:
        path: The file; its folder must exist.

    Raises:
        PidFileHeldError: Another process holds it.
        OSError: It cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._pid = os.getpid()
        self._fd = self._acquire()

    def __repr__(self) -> str:
        return f"<PidFile {self.path}>"

    def _acquire(self) -> int:
        temporary = self.path.with_name(f".{self.path.name}.{self._pid}")
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        try:
            _lock(fd)
            os.write(fd, f"{self._pid}\n".encode())
            for _ in range(_TRIES):
                try:
                    os.link(temporary, self.path)
                except FileExistsError:
                    self._replace_stale(temporary)
                # Somebody else may have done the same at this moment.
                if self._is_ours(fd):
                    return fd
            raise PidFileHeldError(self.path, read_pid(self.path))
        except BaseException:
            os.close(fd)
            raise
        finally:
            temporary.unlink(missing_ok=True)

    def _replace_stale(self, temporary: Path) -> None:
        """Put ours in the place of a file that nobody holds.

        Raises:
            PidFileHeldError: Somebody does.
        """
        try:
            old = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW)
        except FileNotFoundError:
            return
        try:
            if not _lock(old):
                raise PidFileHeldError(self.path, read_pid(self.path))
            # Only the holder of the lock of the file that is there may replace it.
            if _same(old, self.path):
                os.rename(temporary, self.path)
        finally:
            os.close(old)

    def _is_ours(self, fd: int) -> bool:
        return _same(fd, self.path)

    def close(self) -> None:
        """Remove the file; harmless when that was done."""
        fd, self._fd = self._fd, -1
        if fd < 0 or os.getpid() != self._pid:
            return
        try:
            if _same(fd, self.path):
                try:
                    self.path.unlink()
                except PermissionError:
                    # The folder is not ours any more since privileges were given up.
                    os.truncate(fd, 0)
        except OSError:
            pass
        finally:
            os.close(fd)


def read_pid(path: str | Path) -> int | None:
    """The number in a file, or ``None`` where there is none."""
    try:
        with open(path, "rb") as file:
            text = file.read(32).strip()
    except OSError:
        return None
    return int(text) if text.isdigit() and len(text) < 12 else None


def _lock(fd: int) -> bool:
    """Take the lock of an open file, if nobody has it."""
    # Not on Windows, where nothing here is used.
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _same(fd: int, path: Path) -> bool:
    """Whether `path` is the open file."""
    try:
        there = os.stat(path, follow_symlinks=False)
    except OSError:
        return False
    mine = os.fstat(fd)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)
