"""The store: what adding and reading cost, and whether they cost more when it has grown.

``over`` and ``article`` read a store of 20 000 articles in the loop's thread, and by way of another
thread. ``--grow 10000 100000 1000000`` fills one store and prints, at each size, what the last
tenth of the articles cost to add (500 under way at a time), and what reading at random costs:
ARTICLE by number and by Message-ID, OVER of 100, and asking for a Message-ID that is not there.
``--made 10000000`` does the same with a store that was not filled by adding: its tables are written
as they would be, without waiting for the disk, in a third of the time; a hundredth more is added.
``--folder`` says where; the store is removed afterwards.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from sennit.core import run
from sennit.core.deferred import gather
from sennit.news.interfaces import Filed, IArticleReader
from sennit.news.store.blocks import BITS, LOW, block_of, pack, place_of
from sennit.news.store.schema import prepare
from sennit.news.store.sqlite import SQLiteStore
from sennit.news.store.state import digest_of
from tools.benchmark import Benchmark, main

BIG = "big.group"
"""Half of all articles are in this one, the others in a hundred small ones."""
SMALL = [f"small.group{number}" for number in range(100)]
BODY = b"A line of the body, about as long as lines mostly are in news.\r\n" * 8
DATE = b"Tue, 14 Nov 2023 22:13:20 +0000"
MADE = b"Subject: Made\r\nXref: localhost big.group:1\r\n" + b"X: y\r\n" * 42 + b"\r\n" + BODY
UNDER_WAY = 500
READS = 2_000


def filed(number: int) -> Filed:
    """The article of a number: about 900 octets."""
    message_id = b"<%d.%08x@news.example.net>" % (number, number * 2_654_435_761 & 0xFFFFFFFF)
    subject = b"Re: A subject of some words, and the number %d" % number
    sender = b"Somebody <somebody%d@example.net>" % (number % 5000)
    date = b"Tue, 14 Nov 2023 22:%02d:%02d +0000" % (number // 60 % 60, number % 60)
    references = b"<%d.1@news.example.net>" % (number // 7)
    groups = [BIG] if number % 2 else [SMALL[number // 2 % 100]]
    head = (
        b"Path: news.example.net!not-for-mail\r\nFrom: %b\r\nNewsgroups: %b\r\nSubject: %b\r\n"
        b"Date: %b\r\nMessage-ID: %b\r\nReferences: %b\r\n\r\n"
        % (sender, groups[0].encode(), subject, date, message_id, references)
    )
    octets = head + BODY
    fields = (subject, sender, date, message_id, references, b"%d\t8" % len(octets))
    return Filed(
        message_id,
        octets,
        len(head),
        groups=groups,
        overview=b"\t".join(fields),
        received=1_700_000_000.0 + number / 10,
    )


async def fill(store: SQLiteStore, begin: int, end: int) -> None:
    """Add the articles of some numbers, many under way at a time."""
    for at in range(begin, end, UNDER_WAY):
        await gather(*[store.add(filed(n)) for n in range(at, min(at + UNDER_WAY, end))])


def timed(read: Callable[[], object]) -> tuple[float, float]:
    """Give microseconds of CPU, and of the clock, that one of many calls takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(READS):
        read()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return cpu / READS * 1e6, wall / READS * 1e6


def reads(
    now: IArticleReader, size: int, luck: random.Random, made: bytes = b""
) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is read, at random places."""
    high = size if made else size // 2

    def over() -> None:
        at = luck.randrange(1, high - 100)
        end = at + 99
        while at <= end:
            _, at = now.overview(BIG, at, end)

    yield "GROUP", lambda: now.group(BIG)
    yield "OVER of 100", over
    yield "ARTICLE n", lambda: now.article_at(BIG, luck.randrange(1, high))

    def message_id() -> bytes:
        number = luck.randrange(1, size)
        return made % number if made else filed(number).message_id

    yield "ARTICLE id", lambda: now.article(message_id())
    yield "unknown id", lambda: now.history(b"<%d@nowhere.example>" % luck.randrange(1 << 60))


async def grow(sizes: list[int], folder: Path) -> None:
    """Print a table: a line for each size."""
    path = folder / "news.db"
    luck = random.Random(1)
    async with SQLiteStore.open(path) as store:
        await gather(*[store.create_group(name) for name in (BIG, *SMALL)])
        now = store.now
        assert now is not None
        before = 0
        for size in sizes:
            await fill(store, before, size - size // 10)
            wall, cpu = time.perf_counter(), time.process_time()
            await fill(store, size - size // 10, size)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            tenth = size // 10
            print(f"{size:>9,}  add {cpu / tenth * 1e6:.1f} ({wall / tenth * 1e6:.1f})", end="")
            for name, read in reads(now, size, luck):
                timed(read)
                used, took = timed(read)
                print(f"; {name} {used:.1f} ({took:.1f})", end="")
            octets = sum(each.stat().st_size for each in folder.iterdir())
            print(f"; {octets / size:.0f} octets an article", flush=True)
            before = size


def make(path: Path, size: int) -> None:
    """Write the tables of a store with so many articles, all of them in one group."""
    prepare(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        for name in ("synchronous = OFF", "cache_size = -262144", "temp_store = FILE"):
            raw.execute(f"PRAGMA {name}")
        raw.execute("CREATE TEMP TABLE digests (digest BLOB, article INTEGER)")
        raw.execute("INSERT INTO groups VALUES (1, ?, 1, ?, ?, 'y', '', 0, '')", (BIG, size, size))
        raw.execute("UPDATE settled SET article = ?", (size,))
        for begin in range(0, size + 1, 32_000):  # whole blocks
            numbers = range(max(begin, 1), min(begin + 32_000, size + 1))
            ids = {number: b"<%d@made.example.net>" % number for number in numbers}
            line = b"%d\tA subject of some words\tSomebody <s@example.net>\t" + DATE
            line += b"\t%b\t\t900\t8\tXref: localhost big.group:%d\r\n"
            blocks: dict[int, list[int]] = {}
            for number in numbers:
                blocks.setdefault(block_of(1, number), []).append(number)
            raw.execute("BEGIN")
            raw.executemany(
                "INSERT INTO digests VALUES (?, ?)", [(digest_of(ids[n]), n) for n in numbers]
            )
            raw.executemany(
                "INSERT INTO articles VALUES (?, ?, ?, NULL, ?)",
                [(n, ids[n], 1.6e9 + n / 10, pack([place_of(1, n)])) for n in numbers],
            )
            raw.executemany(
                "INSERT INTO bodies VALUES (?, ?, ?)", [(n, 300, MADE) for n in numbers]
            )
            raw.executemany(
                "INSERT INTO blocks VALUES (?, ?, ?)",
                [
                    (
                        block,
                        pack([n << BITS | n & LOW for n in there]),
                        b"".join([line % (n, ids[n], n) for n in there]),
                    )
                    for block, there in blocks.items()
                ],
            )
            raw.execute("COMMIT")
        raw.execute("INSERT INTO seen SELECT digest, article FROM digests ORDER BY digest")


async def grow_made(size: int, folder: Path) -> None:
    """Print a line for a store that was made."""
    path = folder / "news.db"
    make(path, size)
    async with SQLiteStore.open(path) as store:
        await gather(*[store.create_group(name) for name in SMALL])
        more = size // 100
        # So that nothing of the first ones is counted, which find no page in memory.
        await fill(store, 0, more // 2)
        wall, cpu = time.perf_counter(), time.process_time()
        await fill(store, more // 2, more)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        count = more - more // 2
        print(f"{size:>9,}  add {cpu / count * 1e6:.1f} ({wall / count * 1e6:.1f})", end="")
        now = store.now
        assert now is not None
        for name, read in reads(now, size, random.Random(1), b"<%d@made.example.net>"):
            timed(read)
            used, took = timed(read)
            print(f"; {name} {used:.1f} ({took:.1f})", end="")
        print(flush=True)


# ── at once, or by way of a thread ────────────────────────────────────────────

over = Benchmark("news-store-over", operations=100, operation="OVER of 10 000")
article = Benchmark("news-store-article", operations=5_000, operation="ARTICLE")

_folders: list[tempfile.TemporaryDirectory[str]] = []


async def _filled() -> Path:
    if not _folders:
        _folders.append(tempfile.TemporaryDirectory())
        async with SQLiteStore.open(Path(_folders[0].name) / "news.db") as store:
            await gather(*[store.create_group(name) for name in (BIG, *SMALL)])
            await fill(store, 0, 20_000)
    return Path(_folders[0].name) / "news.db"


def _over(count: int, *, threads: bool) -> None:
    async def read(_: object) -> None:
        async with SQLiteStore.open(await _filled(), threads=threads) as store:
            for _ in range(count):
                octets = 0
                async for piece in store.overview(BIG, 1, 10_000):
                    octets += len(piece)
                assert octets > 1_000_000

    run(read)


def _articles(count: int, *, threads: bool) -> None:
    async def read(_: object) -> None:
        async with SQLiteStore.open(await _filled(), threads=threads) as store:
            for number in range(count):
                assert await store.article_at(BIG, number % 10_000 + 1)

    run(read)


@over.code("at once")
def over_at_once(count: int) -> None:
    """In the loop's thread, a piece of 256 lines at a time."""
    _over(count, threads=False)


@over.code("in a thread")
def over_in_a_thread(count: int) -> None:
    """A hop for each piece."""
    _over(count, threads=True)


@article.code("at once")
def article_at_once(count: int) -> None:
    """In the loop's thread."""
    _articles(count, threads=False)


@article.code("in a thread")
def article_in_a_thread(count: int) -> None:
    """A hop for each article."""
    _articles(count, threads=True)


if __name__ == "__main__":
    if "--grow" in sys.argv or "--made" in sys.argv:
        parser = argparse.ArgumentParser()
        parser.add_argument("--grow", nargs="+", type=int)
        parser.add_argument("--made", type=int)
        parser.add_argument("--folder", type=Path)
        arguments = parser.parse_args()
        folder: Path | None = arguments.folder
        place = Path(tempfile.mkdtemp(dir=folder))
        try:
            if arguments.made:
                run(lambda _: grow_made(arguments.made, place))
            else:
                run(lambda _: grow(arguments.grow, place))
        finally:
            shutil.rmtree(place)
    else:
        main(over, article)
