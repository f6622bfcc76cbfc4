"""The store: what adding and reading cost, and whether they cost more when it has grown.

``over`` and ``article`` read a store of 20 000 articles in the loop's thread, and by way of another
thread. ``--grow 10000 100000 1000000`` fills one store and prints, at each size, what the last
tenth of the articles cost to add (500 under way at a time), and what reading at random costs:
ARTICLE by number and by Message-ID, OVER of 100, and asking for a Message-ID that is not there.
``--folder`` says where; the store is removed afterwards.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sennit.core import run
from sennit.core.deferred import gather
from sennit.news.interfaces import Filed, IArticleReader
from sennit.news.store.sqlite import SQLiteStore
from tools.benchmark import Benchmark, main

BIG = "big.group"
"""Half of all articles are in this one, the others in a hundred small ones."""
SMALL = [f"small.group{number}" for number in range(100)]
BODY = b"A line of the body, about as long as lines mostly are in news.\r\n" * 8
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
    now: IArticleReader, size: int, luck: random.Random
) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is read, at random places."""
    high = size // 2

    def over() -> None:
        at = luck.randrange(1, high - 100)
        end = at + 99
        while at <= end:
            _, at = now.overview(BIG, at, end)

    yield "GROUP", lambda: now.group(BIG)
    yield "OVER of 100", over
    yield "ARTICLE n", lambda: now.article_at(BIG, luck.randrange(1, high))
    yield "ARTICLE id", lambda: now.article(filed(luck.randrange(size)).message_id)
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
    if "--grow" in sys.argv:
        parser = argparse.ArgumentParser()
        parser.add_argument("--grow", nargs="+", type=int)
        parser.add_argument("--folder", type=Path)
        arguments = parser.parse_args()
        place = Path(tempfile.mkdtemp(dir=arguments.folder))
        try:
            run(lambda _: grow(arguments.grow, place))
        finally:
            shutil.rmtree(place)
    else:
        main(over, article)
