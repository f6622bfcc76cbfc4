"""Servers of news for benchmarks: ours, and INN, with the same articles in one group.

Both keep what they acknowledge in files below a folder of `shared_folder`: ours in a SQLite file,
INN in its traditional spool with its traditional overview (``tradspool``, ``tradindexed``).
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from news_load import COUNT, GROUP, Talk, article, stream

from sennit.core import Reactor, serve
from sennit.core import run as run_reactor
from sennit.news.access import Access
from sennit.news.intake import Intake, IntakePolicy
from sennit.news.server import NNTPServerFactory
from sennit.news.store.sqlite import SQLiteStore
from tools.benchmark import main

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "interop"))

from inn import Inn, start_inn, start_nnrpd

if TYPE_CHECKING:
    from collections.abc import Generator

    from sennit.news.session import Mode
    from tools.benchmark import Benchmark, Ready

__all__ = ["run", "serve_inn", "serve_inn_reader", "serve_ours", "shared_folder"]

_FOLDER: Final = "SENNIT_BENCH_NEWS"
_ACCESS: Final = Access("*", None, transit=True, name="feeder.example.net")
# Articles are of one day, and the clock goes on.
_POLICY: Final = IntakePolicy(max_age=1e10, max_ahead=1e10)


def shared() -> Path:
    """Where the files are that all servers of a run have."""
    return Path(os.environ[_FOLDER])


def _serve(path: Path, ready: Ready, *, mode: Mode) -> None:
    async def serve_it(_: Reactor) -> None:
        async with SQLiteStore.open(path, host="bench.example.org") as store:
            await store.create_group(GROUP)
            intake = Intake(store, path_host="bench.example.org", policy=_POLICY)
            factory = NNTPServerFactory(store, intake, access=_ACCESS, mode=mode)
            async with serve("tcp://127.0.0.1:0", factory) as server:
                ready(server.port)
                await server.wait_closed()

    run_reactor(serve_it)


def serve_ours(ready: Ready, *, reads: bool) -> None:
    """Ours with its defaults: what is acknowledged is on the disk."""
    if reads:
        _serve(shared() / "read.db", ready, mode="both")
        return
    folder = tempfile.mkdtemp(dir=shared())
    _serve(Path(folder) / "news.db", ready, mode="transit")


def serve_inn_reader(ready: Ready) -> None:
    """The nnrpd of the INN that was filled."""
    inn = Inn(shared() / "inn", 0, own_session=False)
    start_nnrpd(inn)
    ready(inn.reader_port)
    signal.pause()


def serve_inn(ready: Ready) -> None:
    """A fresh innd."""
    tempfile.tempdir = str(shared())
    inn = start_inn(groups=[GROUP], own_session=False)
    ready(inn.port)
    signal.pause()


@contextmanager
def shared_folder(*, filled: bool) -> Generator[None]:
    """Have both filled; what runs in it, and its children, find their files by `shared`."""
    if _FOLDER in os.environ:
        yield
        return
    folder = Path(tempfile.mkdtemp(prefix="sennit-news-"))
    folder.chmod(0o755)
    os.environ[_FOLDER] = str(folder)
    try:
        articles = [
            (b"<read.%d@bench.example.net>" % number, article(number))
            for number in range(1, COUNT + 1)
        ]
        if filled:
            _fill_inn(folder, articles)
            _fill_ours(folder / "read.db", articles)
        yield
    finally:
        del os.environ[_FOLDER]
        shutil.rmtree(folder, ignore_errors=True)


def _fill_inn(folder: Path, articles: list[tuple[bytes, bytes]]) -> None:
    # Its files name its folder, so it is made where it stays.
    made = tempfile.tempdir
    tempfile.tempdir = str(folder)
    try:
        inn = start_inn(groups=[GROUP])
    finally:
        tempfile.tempdir = made
    talk = Talk(inn.port)
    talk.say(b"MODE STREAM", b"203")
    stream(talk, articles)
    inn.run("ctlinnd", "-s", "shutdown", "filled")
    for process in inn.processes:
        process.wait(20)
    (folder / "inn").symlink_to(inn.folder)


def _fill_ours(path: Path, articles: list[tuple[bytes, bytes]]) -> None:
    from sennit.core.deferred import gather

    async def fill(_: Reactor) -> None:
        async with SQLiteStore.open(path, host="bench.example.org") as store:
            await store.create_group(GROUP)
            intake = Intake(store, path_host="bench.example.org", policy=_POLICY)
            for begin in range(0, len(articles), 500):
                batch = articles[begin : begin + 500]
                await gather(*[intake.take(octets, "feeder") for _, octets in batch])

    run_reactor(fill)


def run(*benchmarks: Benchmark, filled: bool = True) -> None:
    """Run a file's benchmarks, with servers that have articles, or have none."""
    with shared_folder(filled=filled):
        main(*benchmarks)
