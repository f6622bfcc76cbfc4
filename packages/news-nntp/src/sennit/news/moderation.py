"""Posts to moderated groups: who gets them, and the queue in which they wait.

`Intake` hands posts that nobody has approved to an `IModerators`. The one here, `HeldArticles`,
keeps them as files in a folder until somebody approves or rejects them; mailing them to a
moderator (RFC 5537 §3.5.1) is for another. Approving posts the article anew, with Approved in it.

A file's name is a hash: nothing that a peer wrote is ever part of a path. It is on the disk, and
its folder too, before the poster is told that it was taken.

Sources: RFC 5537 §3.5.1 (forwarding to a moderator), §3.9 (what a moderator does).
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from zope.interface import implementer

from sennit.core.interfaces import Interface
from sennit.core.reactor.base import current_reactor
from sennit.news.article import parse
from sennit.news.errors import DuplicateError, NNTPUsageError, StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sennit.news.interfaces import IIntake

__all__ = ["Held", "HeldArticles", "IModerators", "posting"]

T = TypeVar("T")

MAX_HELD: Final = 10_000
"""Posts that may wait for a moderator."""

_KEY: Final = re.compile(r"[0-9a-f]{32}")
_APPROVER: Final = re.compile(r"[!-~][ -~]{0,200}")


class IModerators(Interface):
    """Gets posts to moderated groups."""

    def submit(self, group: str, message_id: bytes, octets: bytes) -> Awaitable[None]:
        """Take a proto-article with Message-ID and Date; done when no power cut can lose it.

        Args:
            group: The first moderated group that it names.
            message_id: Its Message-ID.
            octets: The whole, without Path.

        Raises:
            DuplicateError: It waits already.
            StoreError: It cannot be kept now.
        """
        ...


def posting(intake: IIntake) -> Callable[[bytes], Awaitable[bytes]]:
    """Give what posts approved articles in this process."""

    def post(octets: bytes) -> Awaitable[bytes]:
        return intake.post(octets, poster="", host="", may_approve=True)

    return post


class Held:
    """A post that waits.

    Attributes:
        key: By which it is approved or rejected.
        group: The moderated group.
        when: Since when it waits, in POSIX seconds.
        octets: The proto-article.
    """

    __slots__ = ("group", "key", "octets", "when")

    def __init__(self, key: str, group: str, when: float, octets: bytes) -> None:
        self.key = key
        self.group = group
        self.when = when
        self.octets = octets

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.key} {self.group}>"


@implementer(IModerators)
class HeldArticles:
    """Posts that wait in a folder, which is made when the first one comes.

    Args:
        folder: The folder; nothing else is in it.
        limit: How many may wait.
    """

    def __init__(self, folder: str | Path, *, limit: int = MAX_HELD) -> None:
        self._folder = Path(folder)
        self._limit = limit

    async def submit(self, group: str, message_id: bytes, octets: bytes) -> None:
        """Keep a post."""
        key = sha256(message_id).hexdigest()[:32]
        await self._in_thread(lambda: self._write(key, group.encode() + b"\n" + octets))

    async def held(self) -> Sequence[Held]:
        """Give what waits, the longest waiting first."""
        return await self._in_thread(self._read_all)

    async def approve(
        self, key: str, post: Callable[[bytes], Awaitable[object]], approver: str
    ) -> bytes:
        """Post what waits, in the name of one who may approve; gives its Message-ID.

        Args:
            key: Of `Held`.
            post: Posts it: `NNTPClient.post` of a session that may approve, or `posting`.
            approver: The moderator's mail address.

        Raises:
            NNTPUsageError: Nothing of that key waits, or no address is like this.
            ArticleError: It is not taken, and waits still; `DuplicateError`: it was posted.
            TryLaterError, NNTPReplyError: It cannot be taken now, and waits still.
        """
        if not _APPROVER.fullmatch(approver) or "@" not in approver:
            raise NNTPUsageError(f"not a mail address: {approver[:64]!r}")
        held = await self._find(key)
        article = parse(held.octets, max_size=len(held.octets), proto=True)
        fields = [*article.fields, (b"approved", b"Approved: %b\r\n" % approver.encode())]
        octets = article.with_fields(fields).octets
        # Where it is there, it was approved, and the file outlived a power cut.
        with suppress(DuplicateError):
            await post(octets)
        await self._in_thread(lambda: self._remove(key))
        return article.message_id

    async def reject(self, key: str) -> None:
        """Throw away what waits.

        Raises:
            NNTPUsageError: Nothing of that key waits.
        """
        await self._find(key)
        await self._in_thread(lambda: self._remove(key))

    async def _find(self, key: str) -> Held:
        if _KEY.fullmatch(key):
            with suppress(FileNotFoundError):
                return await self._in_thread(lambda: self._read(key))
        raise NNTPUsageError(f"nothing waits as {key[:64]!r}")

    async def _in_thread(self, fn: Callable[[], T]) -> T:
        try:
            return await current_reactor().defer_to_thread(fn)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreError(f"the queue of moderators: {error.strerror}") from error

    # ── in a thread ──────────────────────────────────────────────────────────

    def _write(self, key: str, octets: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            names = os.listdir(folder)
            if key in names:
                raise DuplicateError("it waits for a moderator already")
            if len(names) >= self._limit:
                raise StoreError("too many posts wait for moderators")
            beside = f"{key}.part"
            try:
                # One that a power cut left is written anew.
                fd = os.open(
                    beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode=0o600, dir_fd=folder
                )
                with os.fdopen(fd, "wb") as file:
                    file.write(octets)
                    file.flush()
                    os.fsync(fd)
                os.rename(beside, key, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                with suppress(OSError):
                    os.unlink(beside, dir_fd=folder)
                raise
            os.fsync(folder)
        finally:
            os.close(folder)

    def _read(self, key: str) -> Held:
        path = self._folder / key
        group, _, octets = path.read_bytes().partition(b"\n")
        return Held(key, group.decode("utf-8", "replace"), path.stat().st_mtime, octets)

    def _read_all(self) -> list[Held]:
        found: list[Held] = []
        with suppress(FileNotFoundError):
            for name in os.listdir(self._folder):
                if _KEY.fullmatch(name):
                    with suppress(FileNotFoundError):
                        found.append(self._read(name))
        return sorted(found, key=lambda held: (held.when, held.key))

    def _remove(self, key: str) -> None:
        with suppress(FileNotFoundError):
            (self._folder / key).unlink()
