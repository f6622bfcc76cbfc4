"""Writing what comes from elsewhere into a file: whole or not at all.

The octets go into a file beside the wanted one, are brought to the disk, and only then
take its name, so that nobody ever sees half a download under it and no old file is lost
to a new one that does not come. The disk is waited for in a thread.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Final

from sennit.core.commit import commit
from sennit.core.reactor.base import current_reactor

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable
    from typing import IO

    from sennit.core.interfaces import Buffer

__all__ = ["pour", "put_in_place", "save_atomically"]

BATCH: Final = 1024 * 1024
"""Octets that are written at once: going to a thread for each piece would cost more."""


async def save_atomically(path: str | os.PathLike[str], source: AsyncIterable[Buffer]) -> int:
    """Write all of `source` to a file; return the number of octets.

    Raises:
        OSError: It cannot be written. The file is then as it was.
    """
    target = os.fspath(path)
    folder, name = os.path.split(target)
    beside = os.path.join(folder, f".{name[:100]}.{secrets.token_hex(6)}.part")
    file = open(beside, "xb", buffering=0)  # noqa: SIM115 - closed below, on every way
    try:
        with file:
            octets = await pour(source, file)
        await put_in_place(beside, target)
    except BaseException:
        os.unlink(beside)
        raise
    return octets


async def pour(source: AsyncIterable[Buffer], file: IO[bytes]) -> int:
    """Write all of `source` to an open file, to the disk; return the number of octets.

    What came before `source` failed is in the file then.
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
