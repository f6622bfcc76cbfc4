"""Articles out of files into a store: mbox files, and folders with a file for each article.

Files are read, and articles made of what is in them, in a thread, some hundreds at a time, which go
to the disk together. An article that the store has is not added again, but filed in groups in which
it is not yet, if its body is the same: who was interrupted begins again, or where
`Imported.position` said that all before was done.

In archives not everything is an article. With a group given, mail becomes one: Newsgroups, Path and
Subject are added where they are missing, and a Message-ID made of the octets, always the same one.
Xref is left out, which is each server's own. What still is no article is counted, with the reason.

Sources: RFC 4155 (mbox, and that there are many of them: here a line ``From …`` behind an empty one
begins a message, and ``>From`` in it has one ``>`` too many), RFC 5536 (what an article is).
Not here: what comes from peers and readers (``intake.py``), from other servers (``pull.py``).
"""

from __future__ import annotations

import os
import re
from collections import Counter
from hashlib import sha256
from itertools import islice
from pathlib import Path
from time import time
from typing import IO, TYPE_CHECKING, Final

from sennit.core.reactor.base import current_reactor
from sennit.news.article import MAX_ARTICLE, is_group_name, parse, parse_date
from sennit.news.errors import ArticleError, DuplicateError, NNTPUsageError, StoreError
from sennit.news.interfaces import Filed
from sennit.news.overview import header_of, overview
from sennit.news.wildmat import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sennit.news.interfaces import IArticleStore
    from sennit.news.wildmat import Wildmat

    Source = Iterator[tuple[bytes | None, int]]

__all__ = [
    "Imported",
    "Refusals",
    "filed_from",
    "folder_articles",
    "import_folder",
    "import_mbox",
    "mbox_articles",
]

_BATCH: Final = 500
"""Articles that are under way to the disk at a time."""
_BATCH_OCTETS: Final = 8 << 20
_BATCH_READ: Final = 5_000
"""Messages that are read at a time when few of them are for the store."""
_PIECE: Final = 1 << 20
"""Octets of a line that are read at a time."""
_EMPTY: Final = re.compile(rb"(?im)^(?:path|newsgroups|subject|message-id):[ \t]*\r\n(?![ \t])")
_REASONS: Final = 50
"""Reasons that are told apart."""


class Refusals:
    """What was no article.

    Attributes:
        refused: How many, by reason.
    """

    __slots__ = ("refused",)

    def __init__(self) -> None:
        self.refused: Counter[str] = Counter()

    def refuse(self, reason: str) -> None:
        """Count what is no article."""
        if reason not in self.refused and len(self.refused) >= _REASONS:
            reason = "other reasons"
        self.refused[reason] += 1


class Imported(Refusals):
    """How far it is.

    Attributes:
        added: Articles that are in the store now.
        filed: Articles that were in the store, and are in more of its groups now.
        duplicates: Articles that it knew, there or as gone.
        refused: How many were no articles, by reason.
        unwanted: Articles in no group that is wanted.
        position: Of an mbox file the octets, of a folder the files that are done with.
        size: How many there are.
    """

    __slots__ = ("added", "duplicates", "filed", "position", "size", "unwanted")

    def __init__(self, position: int, size: int) -> None:
        super().__init__()
        self.added = self.filed = self.duplicates = self.unwanted = 0
        self.position = position
        self.size = size

    def __repr__(self) -> str:
        return (
            f"<Imported {self.added} articles, {self.filed} filed in more groups, "
            f"{self.duplicates} known, {self.unwanted} unwanted, {self.refused.total()} refused; "
            f"at {self.position} of {self.size}>"
        )


# ── what is in files ──────────────────────────────────────────────────────────


def mbox_articles(
    file: IO[bytes], start: int = 0, *, max_size: int = MAX_ARTICLE
) -> Iterator[tuple[bytes | None, int]]:
    """Give what is in an mbox file: octets with lines ended by CRLF, and where the next begins.

    Args:
        file: Open for reading octets.
        start: Where a message begins.
        max_size: Octets that one may have; ``None`` comes in place of one that has more.
    """
    file.seek(start)
    lines: list[bytes] = []
    size = 0
    begun = False
    empty = True  # the line before was, or there was none
    at = start
    while line := file.readline(_PIECE):
        if empty and line.startswith(b"From "):
            if begun:
                yield _joined(lines, size, max_size), at
            lines, size, begun = [], 0, True
            empty = False
        elif begun:
            text = line.rstrip(b"\r\n")
            empty = not text
            if text.startswith(b">") and text.lstrip(b">").startswith(b"From "):
                text = text[1:]
            size += len(text) + 2
            if size <= max_size + 2:
                lines.append(text)
        else:
            empty = not line.strip()
        at += len(line)
    if begun:
        yield _joined(lines, size, max_size), at


def _joined(lines: list[bytes], size: int, max_size: int) -> bytes | None:
    """Make octets of lines."""
    # The empty line in front of the next message is not this one's, unless it ends its head.
    if lines and not lines[-1] and lines.index(b"") < len(lines) - 1:
        lines = lines[:-1]
        size -= 2
    if size > max_size:
        return None
    return b"".join([line + b"\r\n" for line in lines])


def folder_articles(
    folder: str | os.PathLike[str], start: int = 0, *, max_size: int = MAX_ARTICLE
) -> Iterator[tuple[bytes | None, int]]:
    """Give what is in the files of a folder, and of those in it; and how many files that is.

    Files come by name, those called by numbers by number; hidden ones, and links, do not.

    Args:
        folder: Where they are.
        start: Files to leave out.
        max_size: Octets that one may have; ``None`` comes in place of one that has more.
    """
    for count, path in enumerate(islice(_files(Path(folder)), start, None), start + 1):
        with path.open("rb") as file:
            octets = file.read(max_size + 1)
        lines = octets.split(b"\n")
        if not lines[-1]:
            lines.pop()
        whole = b"".join([line.rstrip(b"\r") + b"\r\n" for line in lines])
        yield (None if max(len(octets), len(whole)) > max_size else whole), count


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names, key=_by_number):
            path = Path(place, name)
            if not name.startswith(".") and path.is_file() and not path.is_symlink():
                yield path


def _by_number(name: str) -> tuple[int, str]:
    digits = name if name.isascii() and name.isdigit() and len(name) <= 18 else ""
    return (int(digits) if digits else -1), name


# ── articles of it ────────────────────────────────────────────────────────────


def filed_from(octets: bytes, group: str | None, wanted: Wildmat, received: float | None) -> Filed:
    """Make an article of octets, as a store takes it.

    Args:
        octets: What was in a file.
        group: The only group into which it goes.
        wanted: Groups into which it may go, where none is given.
        received: When it came; ``None``: when its Date says.

    Raises:
        ArticleError: They are none.
    """
    try:
        article = parse(octets, max_size=len(octets))
    except ArticleError:
        amended = _amended(octets, group)
        if amended is octets:
            raise
        article = parse(amended, max_size=len(amended))
    if b"xref" in article:
        head = b"".join(field for name, field in article.fields if name != b"xref")
        whole = head + b"\r\n" + article.octets[article.body_at :]
        article = parse(whole, max_size=len(whole))
    groups = [each for each in article.groups if wanted.matches(each)]
    if group is not None:
        groups = [group]
    expires = article.content(b"expires")
    if received is None:
        received = article.date or 0.0
    return Filed(
        article.message_id,
        article.octets,
        article.body_at,
        groups=groups,
        overview=overview(article),
        received=received,
        expires=None if expires is None else parse_date(expires),
    )


def _amended(octets: bytes, group: str | None) -> bytes:
    """Add what mail does not have, if it is to be made an article."""
    if group is None:
        return octets
    end = octets.find(b"\r\n\r\n") + 2
    # Mail may have fields with nothing in them, which articles may not.
    head = _EMPTY.sub(b"", octets[:end])
    made = b"<%b@import.invalid>" % sha256(octets).hexdigest()[:40].encode()
    missing = [
        name + b": " + content + b"\r\n"
        for name, content in (
            (b"Path", b"not-for-mail"),
            (b"Newsgroups", group.encode()),
            (b"Subject", b"(none)"),
            (b"Message-ID", made),
        )
        if not header_of(head, name.decode())
    ]
    return b"".join([*missing, head, octets[end:]]) if missing else octets


def _batch(
    source: Source, imported: Imported, make: Callable[[bytes], Filed]
) -> tuple[list[Filed], int]:
    """Read some articles (in a thread); gives where they end."""
    found: list[Filed] = []
    octets, position = 0, imported.position
    for read, (whole, position) in enumerate(source, 1):  # noqa: B007 - where the last one ends
        article = _article(whole, imported, make)
        if article is not None:
            found.append(article)
        # What is not kept costs time, too: who waits is told, and may stop it.
        octets += _BATCH_OCTETS // 8 if whole is None else len(whole)
        if len(found) >= _BATCH or read >= _BATCH_READ or octets >= _BATCH_OCTETS:
            break
    return found, position


def _article(
    whole: bytes | None, imported: Imported, make: Callable[[bytes], Filed]
) -> Filed | None:
    """Make an article of a message; None, and counted, where it is none that is wanted."""
    if whole is None:
        imported.refuse("too large")
        return None
    try:
        article = make(whole)
    except ArticleError as error:
        imported.refuse(error.reason)
        return None
    if not article.groups:
        imported.unwanted += 1
        return None
    return article


async def _import(
    store: IArticleStore,
    source: Source,
    imported: Imported,
    make: Callable[[bytes], Filed],
    progress: Callable[[Imported], object] | None,
) -> Imported:
    reactor = current_reactor()
    while True:
        articles, position = await reactor.defer_to_thread(_batch, source, imported, make)
        await _make_groups(store, articles)
        await _add(store, articles, imported)
        over = position == imported.position
        imported.position = position
        if progress is not None:
            progress(imported)
        if over:
            return imported


async def _make_groups(store: IArticleStore, articles: Sequence[Filed]) -> None:
    for name in dict.fromkeys(name for article in articles for name in article.groups):
        if await store.group(name) is None:
            await store.create_group(name)


async def _add(store: IArticleStore, articles: Sequence[Filed], imported: Imported) -> None:
    """Add articles, all under way at once."""
    failure: StoreError | None = None
    known: list[Filed] = []
    for article, adding in [(each, store.add(each)) for each in articles]:
        try:
            await adding
            imported.added += 1
        except DuplicateError:
            known.append(article)
        except StoreError as error:
            # The others are waited for, since they are under way.
            failure = error
    more = [each for each in known if await _has_elsewhere(store, each)]
    imported.duplicates += len(known) - len(more)
    for filing in [store.file_in(each.message_id, each.groups) for each in more]:
        try:
            if await filing:
                imported.filed += 1
            else:
                imported.duplicates += 1
        except StoreError as error:
            failure = error
    if failure is not None:
        raise failure


async def _has_elsewhere(store: IArticleStore, article: Filed) -> bool:
    """Whether the store has an article, and not yet in all its groups."""
    for group in article.groups:
        if await store.number_in(group, article.message_id) is None:
            found = await store.article(article.message_id)
            # Not another one of that Message-ID: else who has written an archive could have what
            # only some may read here shown to those who read its group.
            return found is not None and found.body == article.octets[article.body_at :]
    return False


def _maker(
    group: str | None, wanted: Wildmat, by_date: bool, clock: Callable[[], float]
) -> Callable[[bytes], Filed]:
    if group is not None and not is_group_name(group):
        raise NNTPUsageError(f"no group can be called {group[:64]!r}")
    return lambda octets: filed_from(octets, group, wanted, None if by_date else clock())


async def import_mbox(
    store: IArticleStore,
    path: str | os.PathLike[str],
    *,
    group: str | None = None,
    wanted: Wildmat = EVERYTHING,
    start: int = 0,
    by_date: bool = False,
    max_size: int = MAX_ARTICLE,
    progress: Callable[[Imported], object] | None = None,
    clock: Callable[[], float] = time,
) -> Imported:
    """Put the articles of an mbox file into a store; groups are made.

    Args:
        store: Where they go.
        path: The file.
        group: Put all of them into this group, mail too; else into those that they name.
        wanted: Into which of those.
        start: Octets to leave out: a `position` that was told before.
        by_date: They count as received when their Date says, and not now, for expiry and NEWNEWS.
        max_size: Octets that an article may have.
        progress: Told after each batch; all before its `position` is on the disk.
        clock: Tells the time, in POSIX seconds.

    Raises:
        OSError: The file cannot be read.
        StoreError: The store cannot keep an article.
        NNTPUsageError: There can be no such group, or there is no message in the file.
    """
    make = _maker(group, wanted, by_date, clock)
    with await current_reactor().defer_to_thread(lambda: Path(path).open("rb")) as file:
        imported = Imported(start, os.fstat(file.fileno()).st_size)
        source = mbox_articles(file, start, max_size=max_size)
        await _import(store, source, imported, make, progress)
    if imported.position == start < imported.size:
        raise NNTPUsageError(
            f"{path} is no mbox file: no line of it begins with 'From ' (behind an empty one). "
            "A file that is one article goes in with its folder"
        )
    return imported


async def import_folder(
    store: IArticleStore,
    path: str | os.PathLike[str],
    *,
    group: str | None = None,
    wanted: Wildmat = EVERYTHING,
    start: int = 0,
    by_date: bool = False,
    max_size: int = MAX_ARTICLE,
    progress: Callable[[Imported], object] | None = None,
    clock: Callable[[], float] = time,
) -> Imported:
    """Put the articles of a folder, a file for each, into a store; as `import_mbox`.

    Args:
        store: Where they go.
        path: The folder; those in it are looked into, too.
        group: As there.
        wanted: As there.
        start: Files to leave out.
        by_date: As there.
        max_size: As there.
        progress: As there.
        clock: As there.

    Raises:
        OSError: It, or a file in it, cannot be read.
        StoreError: The store cannot keep an article.
        NNTPUsageError: There can be no such group.
    """
    make = _maker(group, wanted, by_date, clock)
    folder = Path(path)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder")
    count = await current_reactor().defer_to_thread(lambda: sum(1 for _ in _files(folder)))
    imported = Imported(start, count)
    source = folder_articles(folder, start, max_size=max_size)
    return await _import(store, source, imported, make, progress)
