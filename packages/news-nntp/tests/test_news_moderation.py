"""Posts that wait for a moderator."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from news_articles import HOST, NOW, composed
from zope.interface.verify import verifyObject

from sennit.news.errors import ArticleError, DuplicateError, NNTPUsageError, StoreError
from sennit.news.intake import Intake
from sennit.news.moderation import HeldArticles, IModerators, posting
from sennit.news.store.memory import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

ID = b"<1@example.net>"


async def intake(*names: str) -> Intake:
    store = MemoryStore(host=HOST, clock=lambda: NOW)
    for name in names:
        await store.create_group(name, status="m")
    return Intake(store, path_host=HOST, clock=lambda: NOW)


@pytest.fixture
def queue(tmp_path: Path) -> HeldArticles:
    return HeldArticles(tmp_path / "held", limit=3)


def post(message_id: str = "<1@example.net>") -> bytes:
    return composed({"Message-ID": message_id, "Newsgroups": "mod.test"}, proto=True)


async def test_what_waits_is_kept_across_the_end_of_the_process(tmp_path: Path) -> None:
    queue = HeldArticles(tmp_path / "held")
    assert verifyObject(IModerators, queue)
    assert await queue.held() == []
    await queue.submit("mod.test", ID, post())
    (tmp_path / "held" / ("0" * 32 + ".part")).write_bytes(b"cut off")

    (held,) = await HeldArticles(tmp_path / "held").held()

    assert (held.group, held.octets) == ("mod.test", post())
    assert repr(held) == f"<Held {held.key} mod.test>"


async def test_a_file_is_never_called_what_a_poster_wrote(
    queue: HeldArticles, tmp_path: Path
) -> None:
    """HARDENING nntp-5: a Message-ID is no path."""
    await queue.submit("mod.test", b"<../../x@y>", post())
    (path,) = (tmp_path / "held").iterdir()
    assert len(path.name) == 32
    assert path.stat().st_mode & 0o077 == 0


async def test_a_post_waits_once_and_the_queue_has_a_bound(queue: HeldArticles) -> None:
    await queue.submit("mod.test", ID, post())
    with pytest.raises(DuplicateError):
        await queue.submit("mod.test", ID, post())
    for number in range(2):
        await queue.submit("mod.test", b"<x%d@y>" % number, post())
    with pytest.raises(StoreError, match="too many"):
        await queue.submit("mod.test", b"<x9@y>", post())


async def test_what_is_rejected_is_gone(queue: HeldArticles) -> None:
    await queue.submit("mod.test", ID, post())
    (held,) = await queue.held()
    await queue.reject(held.key)
    assert await queue.held() == []
    with pytest.raises(NNTPUsageError, match="nothing waits"):
        await queue.reject(held.key)


@pytest.mark.parametrize("key", ["", "../x", "0" * 32, "0" * 31 + "/"])
async def test_a_key_that_there_is_not_is_a_mistake_of_the_caller(
    queue: HeldArticles, key: str
) -> None:
    with pytest.raises(NNTPUsageError, match="nothing waits"):
        await queue.approve(key, posting(await intake("mod.test")), "mod@example.org")


@pytest.mark.parametrize("approver", ["", "nobody", "a@b\r\nControl: x", "a@\xe9"])
async def test_who_approves_has_a_mail_address(queue: HeldArticles, approver: str) -> None:
    with pytest.raises(NNTPUsageError, match="mail address"):
        await queue.approve("0" * 32, posting(await intake()), approver)


async def test_what_cannot_be_posted_waits_still(queue: HeldArticles) -> None:
    await queue.submit("mod.test", ID, post())
    (held,) = await queue.held()
    with pytest.raises(ArticleError, match="no newsgroup"):
        await queue.approve(held.key, posting(await intake()), "mod@example.org")
    assert len(await queue.held()) == 1


async def test_approving_again_what_was_posted_ends_its_waiting(queue: HeldArticles) -> None:
    """The file may outlive a power cut between the post and its removal."""
    there = await intake("mod.test")
    await queue.submit("mod.test", ID, post())
    (held,) = await queue.held()
    await there.post(
        post().replace(b"\r\n\r\n", b"\r\nApproved: a@b\r\n\r\n"),
        poster="",
        host="",
        may_approve=True,
    )
    assert await queue.approve(held.key, posting(there), "mod@example.org") == ID
    assert await queue.held() == []


@pytest.mark.parametrize("call", ["open", "fsync", "rename"])
async def test_a_disk_that_fails_leaves_nothing_half(
    queue: HeldArticles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """HARDENING fault-3: nothing is said to be taken, and it works when there is space again."""
    await queue.submit("mod.test", b"<0@y>", post())
    with monkeypatch.context() as patched:

        def full(*_: object, **__: object) -> int:
            raise OSError(28, "No space left on device")

        patched.setattr(os, call, full)
        with pytest.raises(StoreError, match="No space left"):
            await queue.submit("mod.test", ID, post())
    assert len(list((tmp_path / "held").iterdir())) == 1
    await queue.submit("mod.test", ID, post())
