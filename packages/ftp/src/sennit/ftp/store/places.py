"""What is done at one place: a descriptor of a directory, and a name there.

All of it is what the system can be asked in one or two calls; none follows a link.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from sennit.ftp.errors import FileUnavailableError, NoSpaceError
from sennit.ftp.store.root import DIRECTORY, sweep
from sennit.ftp.store.rules import TEMPORARY

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "FLAGS",
    "change_mode",
    "check_room",
    "check_writable",
    "kind_of",
    "look",
    "make_directory",
    "sweep_directory",
    "sync_and_close",
]

_EFFECTIVE: Final = os.access in os.supports_effective_ids
FLAGS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""How files are opened: nobody waits for the other end of a FIFO, or owns a terminal by it."""


def kind_of(mode: int) -> str:
    """The kind of an `Entry`."""
    if stat.S_ISREG(mode):
        return "file"
    return "dir" if stat.S_ISDIR(mode) else "other"


def look(name: str, place: int) -> os.stat_result | None:
    """What stands there, links not followed; ``None`` for nothing."""
    try:
        return os.lstat(name, dir_fd=place)
    except FileNotFoundError:
        return None


def make_directory(name: str, place: int, mode: int) -> None:
    """Make one with these permission bits."""
    os.mkdir(name, 0o700, dir_fd=place)
    fd = os.open(name, DIRECTORY, dir_fd=place)
    try:
        os.fchmod(fd, mode)  # whatever the umask of the process
    except PermissionError:
        pass  # a file system without permission bits
    finally:
        os.close(fd)


def check_writable(place: int) -> None:
    """Refuse at once what the system will refuse when the file is made."""
    if not os.access(".", os.W_OK | os.X_OK, dir_fd=place, effective_ids=_EFFECTIVE):
        raise FileUnavailableError


def check_room(place: int, size: int) -> None:
    """Refuse what was announced and has no room on the disk (ALLO)."""
    room = os.statvfs(place)
    if size > room.f_bavail * room.f_frsize:
        raise NoSpaceError("The disk has no room for that")


def change_mode(name: str, place: int, mode: int) -> None:
    """Set permission bits of a file or directory."""
    if kind_of(os.lstat(name, dir_fd=place).st_mode) == "other":
        raise FileUnavailableError
    try:
        fd = os.open(name, os.O_RDONLY | FLAGS, dir_fd=place)
    except PermissionError:
        # Who may not read a file may have it changed nevertheless, being its owner.
        if not hasattr(os, "O_PATH"):
            raise
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
        try:
            if stat.S_ISLNK(os.fstat(fd).st_mode):
                raise FileUnavailableError from None
            os.chmod(f"/proc/self/fd/{fd}", mode)
        finally:
            os.close(fd)
        return
    try:
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def sync_and_close(places: Sequence[int]) -> None:
    """See that what is in directories is on the disk; give their descriptors back."""
    try:
        for each in places:
            os.fsync(each)
    finally:
        for each in places:
            os.close(each)


def sweep_directory(name: str, place: int) -> bool:
    """Remove what a crash has left in a directory; whether there was something."""
    fd = os.open(name, DIRECTORY, dir_fd=place)
    try:
        with os.scandir(fd) as found:
            left = [each.name for each in found if TEMPORARY.fullmatch(each.name)]
        return sum(sweep(fd, each) for each in left) > 0
    finally:
        os.close(fd)
