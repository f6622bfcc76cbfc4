"""Downloads: files that come whole or not at all, and go on where they were interrupted."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest

from packages.web.tests.client_stub import Answer, StubPool, client
from sennit.core.errors import ConnectionLost
from sennit.web.client.response import StatusError
from sennit.web.client.retries import Retries
from sennit.web.errors import CutShortError, WebProtocolError

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_file_is_saved_whole(tmp_path: Path) -> None:
    seen: list[float | None] = []
    pool = StubPool([Answer(200, [b"x" * 100_000] * 30)])
    path = tmp_path / "down"
    path.write_bytes(b"old")
    async with client(pool) as c:
        response = await c.download(
            "", path, progress=lambda progress: seen.append(progress.fraction)
        )
    assert path.read_bytes() == b"x" * 3_000_000
    assert seen[-1] == 1.0
    assert response.status == 200
    assert [each.name for each in tmp_path.iterdir()] == ["down"]


async def test_a_file_that_does_not_come_whole_leaves_the_old_one(tmp_path: Path) -> None:
    pool = StubPool([Answer(200, [b"new"], end=ConnectionLost("reset")), Answer(404)])
    path = tmp_path / "down"
    path.write_bytes(b"old")
    async with client(pool) as c:
        with pytest.raises(ConnectionLost):
            await c.download("", path)
        with pytest.raises(StatusError):
            await c.download("", path)
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["down"]


async def test_a_download_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    pool = StubPool(
        [
            Answer(200, [b"0123"], end=ConnectionLost("reset"), etag='"v1"'),
            Answer(206, b"456789", content_range="bytes 4-9/10", etag='"v1"'),
        ]
    )
    path = tmp_path / "down"
    seen: list[tuple[int, int | None]] = []
    async with client(pool) as c:
        with pytest.raises(ConnectionLost):
            await c.download("", path, resume=True)
        assert sorted(each.name for each in tmp_path.iterdir()) == ["down.part", "down.part.json"]
        await c.download(
            "", path, resume=True, progress=lambda each: seen.append((each.done, each.total))
        )
    assert path.read_bytes() == b"0123456789"
    assert (pool.sent[1]["range"], pool.sent[1]["if-range"]) == ("bytes=4-", '"v1"')
    assert pool.sent[1]["accept-encoding"] == "identity"
    assert seen[-1] == (10, 10)
    assert [each.name for each in tmp_path.iterdir()] == ["down"]


@pytest.mark.parametrize("resume", [False, True])
async def test_a_download_that_breaks_off_is_tried_again(tmp_path: Path, resume: bool) -> None:
    cut = CutShortError("the content was cut short")
    rest = (
        Answer(206, b"89", content_range="bytes 8-9/10") if resume else Answer(200, b"0123456789")
    )
    second = Answer(206, [b"4567"], end=cut, content_range="bytes 4-9/10")
    if not resume:
        second = Answer(200, [b"0123"], end=cut)
    pool = StubPool(
        [Answer(200, [b"0123"], end=ConnectionLost("reset"), etag='"v1"'), second, rest]
    )
    path = tmp_path / "down"
    async with client(pool, retries=Retries(3, first=0.001), timeout=5) as c:
        await c.download("", path, resume=resume, headers=[("X-Own", "1"), ("x-own", "2")])
    assert path.read_bytes() == b"0123456789"
    assert [each["range"] for each in pool.sent] == (
        [None, "bytes=4-", "bytes=8-"] if resume else [None] * 3
    )
    assert [each["x-own"] for each in pool.sent] == ["1, 2"] * 3
    pool = StubPool([Answer(200, [b"0123"], end=ConnectionLost("reset"), etag='"v1"')])
    async with client(pool, retries=Retries(3)) as c:
        with pytest.raises(ConnectionLost):
            await c.download("", path, resume=resume, retries=None)


@pytest.mark.parametrize(
    ("second", "wanted"),
    [
        # It has changed: all of it comes.
        (Answer(200, b"abcdef", etag='"v2"'), b"abcdef"),
        # All of it is there already.
        (Answer(416, content_range="bytes */4"), b"0123"),
    ],
)
async def test_a_file_that_changed_or_is_whole_is_seen(
    tmp_path: Path, second: Answer, wanted: bytes
) -> None:
    first = Answer(200, [b"0123"], end=ConnectionLost("reset"), last_modified="yesterday")
    path = tmp_path / "down"
    async with client(StubPool([first, second])) as c:
        with pytest.raises(ConnectionLost):
            await c.download("", path, resume=True)
        await c.download("", path, resume=True)
    assert path.read_bytes() == wanted


async def test_a_rest_that_does_not_fit_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "down"
    for odd in ("bytes 0-9/10", "bytes 5-9/10", "nonsense", "bytes 4-9/20"):
        first = Answer(200, [b"0123"], end=ConnectionLost("reset"), etag='"v1"')
        pool = StubPool([first, Answer(206, b"456789", content_range=odd)])
        async with client(pool) as c:
            with pytest.raises(ConnectionLost):
                await c.download("", path, resume=True)
            with pytest.raises(WebProtocolError):
                await c.download("", path, resume=True)
        for each in tmp_path.iterdir():
            each.unlink()
    async with client(StubPool([Answer(206, b"x", content_range="bytes 0-0/9")])) as c:
        with pytest.raises(WebProtocolError, match="nobody asked"):
            await c.download("", path, resume=True)


async def test_what_cannot_be_known_to_be_the_same_begins_anew(tmp_path: Path) -> None:
    """A weak ETag, another URL, a longer part than the file: nothing of that is built upon."""
    path = tmp_path / "down"
    pool = StubPool(
        [
            Answer(200, [b"0123"], end=ConnectionLost("reset"), etag='W/"v1"'),
            Answer(200, [b"0123"], end=ConnectionLost("reset"), etag='"v1"'),
            Answer(200, [b"0123"], end=ConnectionLost("reset"), etag='"v1"'),
            Answer(416, content_range="bytes */2"),
            Answer(200, b"ab"),
        ]
    )
    async with client(pool) as c:
        for url in ("a", "a", "b"):
            with pytest.raises(ConnectionLost):
                await c.download(url, path, resume=True)
        await c.download("b", path, resume=True)
    assert [each["range"] for each in pool.sent] == [None, None, None, "bytes=4-", None]
    assert path.read_bytes() == b"ab"


# ── what is there already ─────────────────────────────────────────────────────


@pytest.mark.parametrize("resume", [False, True])
async def test_what_a_link_leads_to_is_replaced_and_who_may_read_it_stays(
    tmp_path: Path, resume: bool
) -> None:
    (tmp_path / "there").mkdir()
    real, link = tmp_path / "there" / "real", tmp_path / "link"
    real.write_bytes(b"old")
    real.chmod(0o600)
    link.symlink_to(real)
    async with client(StubPool([Answer(200, b"new", etag='"v"')])) as c:
        await c.download("", link, resume=resume)
    assert (link.is_symlink(), real.read_bytes()) == (True, b"new")
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert list((tmp_path / "there").iterdir()) == [real]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names")
@pytest.mark.parametrize("resume", [False, True])
async def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path, resume: bool) -> None:
    """Likewise a device: who runs as root must not lose /dev/null to a download."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        async with client(StubPool([Answer(200, b"new", etag='"v"')])) as c:
            await c.download("", pipe, resume=resume)
        assert os.read(reader, 10) == b"new"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


async def test_a_folder_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    pool = StubPool([])
    async with client(pool) as c:
        with pytest.raises(IsADirectoryError):
            await c.download("", tmp_path)
    assert not pool.sent


async def test_a_name_may_be_as_long_as_names_may_be(tmp_path: Path) -> None:
    """Letters of three octets each: what stands beside it must not become too long by them."""
    path = tmp_path / ("\u6f22" * 84)
    async with client(StubPool([Answer(200, b"new")])) as c:
        await c.download("", path)
    assert path.read_bytes() == b"new"


async def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("sennit.web.client.saving._write", full)
    path = tmp_path / "down"
    path.write_bytes(b"old")
    async with client(StubPool([Answer(200, b"new")])) as c:
        with pytest.raises(OSError, match="No space left"):
            await c.download("", path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "other",
    [
        Answer(206, b"XXXXXX", content_range="bytes 4-9/10", etag='"v2"'),
        Answer(416, content_range="bytes */4", etag='"v2"'),
    ],
)
async def test_a_rest_of_another_version_is_not_put_behind_what_is_there(
    tmp_path: Path, other: Answer
) -> None:
    """RFC 9110 §15.3.7: not every server asks for If-Range."""
    path = tmp_path / "down"
    first = Answer(200, [b"0123"], end=ConnectionLost("reset"), etag='"v1"')
    pool = StubPool([first, other, Answer(200, b"abcdef", etag='"v2"')])
    async with client(pool) as c:
        with pytest.raises(ConnectionLost):
            await c.download("", path, resume=True)
        await c.download("", path, resume=True)
    assert path.read_bytes() == b"abcdef"
    assert [each["range"] for each in pool.sent] == [None, "bytes=4-", None]
    assert list(tmp_path.iterdir()) == [path]


async def test_two_downloads_at_once_do_not_write_into_one_part(tmp_path: Path) -> None:
    """The later one fails and leaves the other alone; without `resume` each has its own."""
    fcntl = pytest.importorskip("fcntl")
    path, part = tmp_path / "down", tmp_path / "down.part"
    async with client(StubPool(lambda _: Answer(200, b"fast", etag='"v"'))) as c:
        with part.open("wb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            other.write(b"others")
            other.flush()
            with pytest.raises(BlockingIOError, match="under way"):
                await c.download("", path, resume=True)
            assert part.read_bytes() == b"others"
            await c.download("", path)
            assert path.read_bytes() == b"fast"
        await c.download("", path, resume=True)
    assert list(tmp_path.iterdir()) == [path]
