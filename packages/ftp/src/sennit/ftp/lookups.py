"""What the server answers about single files and directories, and does with them.

`look_up` takes a `PathAsked`, asks the user's store, and answers the engine. What it cannot do
fails with `StoreError`, which has the reply's code.

Sources: RFC 959 §4.1.3; RFC 3659 §3 (MDTM), §4 (SIZE), §7 (MLST); draft-somers-ftp-mfxx (MFMT);
draft-bryan-ftpext-hash (HASH).
Elsewhere: transfers (``transfers.py``).
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from sennit.ftp.ascii import ToNetwork
from sennit.ftp.errors import FileUnavailableError, RestartError, StoreError
from sennit.ftp.grammar import quoted
from sennit.ftp.listing import fact_line, is_speakable, list_line, time_value
from sennit.ftp.paths import written

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from sennit.ftp.events import PathAsked
    from sennit.ftp.interfaces import Entry, IReader
    from sennit.ftp.server import FTPServerProtocol

__all__ = ["HASHES", "leave", "look_up"]

BLOCK: Final = 256 * 1024
"""Octets read at a time, and hashed without anybody else having a turn."""

HASHES: Final = {
    "MD5": "md5",
    "SHA-1": "sha1",
    "SHA-224": "sha224",
    "SHA-256": "sha256",
    "SHA-384": "sha384",
    "SHA-512": "sha512",
    "SHA3-256": "sha3_256",
    "SHA3-512": "sha3_512",
}
"""Algorithms of HASH as the draft, and the registry of hash functions, name them."""


async def look_up(session: FTPServerProtocol, event: PathAsked) -> None:
    """Do what is asked, and answer it.

    Raises:
        StoreError: It cannot be done.
    """
    await _ANSWERS[event.verb](session, event)


async def _change_directory(session: FTPServerProtocol, event: PathAsked) -> None:
    entry = await session.store.stat(event.path)
    if entry.kind != "dir":
        raise FileUnavailableError
    session.engine.accept_directory()


async def _rename_from(session: FTPServerProtocol, event: PathAsked) -> None:
    await session.store.stat(event.path)
    session.engine.accept_source()


async def _make_directory(session: FTPServerProtocol, event: PathAsked) -> None:
    await session.store.make_directory(event.path)
    session.engine.reply(257, quoted(written(event.path)) + " is there now")


async def _remove_directory(session: FTPServerProtocol, event: PathAsked) -> None:
    await session.store.remove_directory(event.path)
    session.engine.reply(250, "Removed")


async def _delete(session: FTPServerProtocol, event: PathAsked) -> None:
    await session.store.remove_file(event.path)
    session.engine.reply(250, "Deleted")


async def _size(session: FTPServerProtocol, event: PathAsked) -> None:
    entry = await session.store.stat(event.path)
    if entry.kind != "file":
        raise FileUnavailableError
    size = entry.size
    if event.ascii and size:
        if size > session.limits.max_ascii_size:
            raise StoreError("Its size in TYPE A is not worth reading it; try TYPE I")
        size = await _size_as_text(session, event)
    session.engine.reply(213, str(size))


async def _size_as_text(session: FTPServerProtocol, event: PathAsked) -> int:
    """Octets as they would be sent (RFC 3659 §4): that takes reading them."""
    reader = await session.store.open_reader(event.path)
    try:
        converter = ToNetwork()
        offset = size = 0
        while data := await reader.read(offset, BLOCK):
            offset += len(data)
            size += len(converter.convert(data))
            if offset > session.limits.max_ascii_size:
                raise StoreError("It grows")
        return size
    finally:
        reader.close()


async def _modified(session: FTPServerProtocol, event: PathAsked) -> None:
    entry = await session.store.stat(event.path)
    session.engine.reply(213, time_value(entry.modified))


async def _set_modified(session: FTPServerProtocol, event: PathAsked) -> None:
    store = session.store
    await store.set_modified(event.path, event.value)
    modified = event.value
    with suppress(FileUnavailableError):  # who may change it need not be able to look at it
        # Not every file system can keep every time: what it has kept is told.
        modified = (await store.stat(event.path)).modified
    session.engine.reply(213, f"Modify={time_value(modified)}; {_told(event)}")


async def _set_mode(session: FTPServerProtocol, event: PathAsked) -> None:
    await session.store.set_mode(event.path, int(event.value))
    session.engine.reply(200, "Mode set")


async def _facts(session: FTPServerProtocol, event: PathAsked) -> None:
    entry = await session.store.stat(event.path)
    line = fact_line(entry, event.facts, name=_told(event))
    session.engine.reply(250, "Facts:", line.removeprefix(" "), "End")


async def _status(session: FTPServerProtocol, event: PathAsked) -> None:
    """STAT with a path: a listing over the control connection."""
    store = session.store
    entries: list[Entry] = []
    most = session.limits.max_status_entries
    wanted = event.pattern
    entry = await store.stat(event.path)
    if entry.kind != "dir":
        if wanted is not None:
            raise FileUnavailableError
        entries = [entry]
    else:
        batches = store.list_directory(event.path)
        try:
            async for batch in batches:
                entries += batch if wanted is None else [e for e in batch if wanted.matches(e.name)]
                if len(entries) > most:
                    raise StoreError("There is too much for STAT; try LIST")
        finally:
            await leave(batches)
    now = session.wall_clock()
    lines = [list_line(each, now) for each in entries if is_speakable(each.name)]
    session.engine.reply(212 if entry.kind == "dir" else 213, "Status:", *lines, "End")


async def leave(batches: AsyncIterator[Sequence[Entry]]) -> None:
    """End a listing, read to its end or not: what it holds open is given back now."""
    aclose: Callable[[], Awaitable[None]] | None = getattr(batches, "aclose", None)
    if aclose is not None:
        await aclose()


async def _hash(session: FTPServerProtocol, event: PathAsked) -> None:
    reader = await session.store.open_reader(event.path)
    try:
        size = reader.entry.size
        end = size if event.end is None else min(event.end, size)
        if event.offset > size:
            raise RestartError
        digest = await _digest(reader, event, end)
    finally:
        reader.close()
    session.engine.reply(
        213, f"{event.algorithm} {event.offset}-{max(end, event.offset)} {digest} {_told(event)}"
    )


async def _digest(reader: IReader, event: PathAsked, end: int) -> str:
    digest = hashlib.new(HASHES[event.algorithm], usedforsecurity=False)
    offset = event.offset
    while offset < end:
        data = await reader.read(offset, min(BLOCK, end - offset))
        if not data:
            raise StoreError("The file has become shorter")
        digest.update(data)
        offset += len(data)
    return digest.hexdigest()


def _told(event: PathAsked) -> str:
    """The path, where a reply can tell it."""
    path = written(event.path)
    if not is_speakable(path):
        raise FileUnavailableError
    return path


_ANSWERS: Final[dict[str, Callable[[FTPServerProtocol, PathAsked], Awaitable[None]]]] = {
    "CWD": _change_directory,
    "RNFR": _rename_from,
    "MKD": _make_directory,
    "RMD": _remove_directory,
    "DELE": _delete,
    "SIZE": _size,
    "MDTM": _modified,
    "MFMT": _set_modified,
    "CHMOD": _set_mode,
    "MLST": _facts,
    "STAT": _status,
    "HASH": _hash,
}
"""What does what, by word."""
