"""Files put in a store and looked for there: what tests of stores have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sennit.core import run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sennit.ftp import Entry, FilePath, IFileStore

__all__ = ["listed", "put", "trial"]


def trial(work: Callable[[], Awaitable[None]]) -> None:
    """Run a test's coroutine; a decorator."""

    async def main(_: object) -> None:
        await work()

    run(main)


async def put(store: IFileStore, path: FilePath, *pieces: bytes, **how: Any) -> None:
    """Store a file. (`Any`: the options of `open_writer`.)"""
    writer = await store.open_writer(path, **how)
    await writer.write(pieces)
    await writer.commit()


async def listed(store: IFileStore, path: FilePath = ()) -> dict[str, Entry]:
    """List a directory."""
    return {each.name: each async for batch in store.list_directory(path) for each in batch}
