"""Writing what comes from elsewhere into a file: whole or not at all.

The octets go into a file beside the wanted one, are brought to the disk, and only then
take its name, so that nobody ever sees half a download under it and no old file is lost
to a new one that does not come. The disk is waited for in a thread.

What a link leads to is replaced and not the link, and a file that was there before
keeps its permissions. A device or a pipe is no file that could be replaced (and who runs
as root must not lose ``/dev/null`` to a download): it gets the octets as they come.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from typing import TYPE_CHECKING, Final

from sennit.core.commit import commit
from sennit.core.reactor.base import current_reactor

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable
    from typing import IO

    from sennit.core.interfaces import Buffer

__all__ = ["destination", "is_special", "keep_mode", "pour", "put_in_place", "save_atomically"]

BATCH: Final = 1024 * 1024
"""Octets that are written at once: going to a thread for each piece would cost more."""


def destination(path: str | os.PathLike[str]) -> str:
    """Where a file really goes: what a link leads to; a device or pipe as it is named.

    Raises:
        OSError: A folder is there, or nobody may look.
    """
    target = os.fspath(path)
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
    return os.path.realpath(target) if stat.S_ISREG(mode) else target


def is_special(path: str) -> bool:
    """Whether what is there is a device, a pipe or a socket, and cannot be replaced."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def keep_mode(file: IO[bytes], target: str) -> None:
    """Give a file the permissions of the one that it will replace, if there is one."""
    try:
        mode = stat.S_IMODE(os.stat(target).st_mode) & 0o777
    except OSError:
        return
    if os.name == "posix":
        os.fchmod(file.fileno(), mode)


async def save_atomically(path: str | os.PathLike[str], source: AsyncIterable[Buffer]) -> int:
    """Write all of `source` to a file; return the number of octets.

    Raises:
        OSError: It cannot be written. The file is then as it was.
    """
    target = destination(path)
    if is_special(target):
        # Not held back when cancelled: a pipe may have no reader for ever.
        with await current_reactor().defer_to_thread(_open_special, target) as special:
            return await pour(source, special, sync=False)
    folder, name = os.path.split(target)
    name = os.fsencode(name)[:100].decode("utf-8", "ignore")
    beside = os.path.join(folder, f".{name}.{secrets.token_hex(6)}.part")
    file = open(beside, "xb", buffering=0)  # noqa: SIM115 - closed below, on every way
    try:
        with file:
            keep_mode(file, target)
            octets = await pour(source, file)
        await put_in_place(beside, target)
    except BaseException:
        try:
            os.unlink(beside)
        except FileNotFoundError:
            pass  # it has its name already, and the folder did not get to the disk
        raise
    return octets


def _open_special(path: str) -> IO[bytes]:
    return open(path, "wb", buffering=0)


async def pour(source: AsyncIterable[Buffer], file: IO[bytes], *, sync: bool = True) -> int:
    """Write all of `source` to an open file; return the number of octets.

    What came before `source` failed is in the file then.

    Args:
        source: What is written.
        file: Where to.
        sync: Whether to wait until it is on the disk.
    """
    waiting: list[Buffer] = []
    size = octets = 0
    try:
        async for piece in source:
            waiting.append(piece)
            size += len(piece)
            if size >= BATCH:
                batch, octets = b"".join(waiting), octets + size
                waiting.clear()
                size = 0
                await _in_thread(_write, file, batch)
    except BaseException:
        _write(file, b"".join(waiting))
        raise
    await _in_thread(_write, file, b"".join(waiting))
    if sync:
        await _in_thread(os.fsync, file.fileno())
    return octets + size


async def _in_thread(fn: Callable[..., object], *args: object) -> None:
    """Wait for the disk; not less long when cancelled, since the thread goes on writing."""
    async with commit():
        await current_reactor().defer_to_thread(fn, *args)


async def put_in_place(beside: str, target: str) -> None:
    """Give a file its name, on the disk too."""
    await _in_thread(_rename, beside, target)


def _write(file: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        written = file.write(view)
        view = view[written:]


def _rename(beside: str, target: str) -> None:
    os.replace(beside, target)
    if os.name == "posix":
        folder = os.open(os.path.dirname(target) or ".", os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
