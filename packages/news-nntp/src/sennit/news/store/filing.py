"""What all stores do alike: what a group may be called, and answers in coroutines.

A store that can be read at once has an `IArticleReader`; `Answering` makes of it the methods of
`IArticleStore` that read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, TypeVar

from sennit.news.article import is_group_name
from sennit.news.errors import NNTPUsageError, StoreError
from sennit.news.grammar import MAX_NUMBER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from sennit.news.interfaces import Article, Group, History, IArticleReader

__all__ = ["BATCH", "Answering", "check_group", "check_host", "check_line", "next_number"]

T = TypeVar("T")

BATCH: Final = 1000
"""Articles of which a batch tells."""


def check_group(name: str, status: str) -> None:
    """Refuse a name or status that a group cannot have.

    Raises:
        NNTPUsageError: It cannot.
    """
    if not is_group_name(name):
        raise NNTPUsageError(f"no group can be called {name[:64]!r}")
    alias = status[1:] if status[:1] == "=" else None
    if status not in ("y", "n", "m", "j", "x") and (alias is None or not is_group_name(alias)):
        raise NNTPUsageError(f"the status of a group is y, n, m, j, x or =NAME, not {status!r}")


def check_line(text: str) -> str:
    """Give one line back, with blanks in place of tabs.

    Raises:
        NNTPUsageError: It is several: they could pass for other lines of a reply.
    """
    if any(end in text for end in "\r\n\0"):
        raise NNTPUsageError(f"not one line: {text[:64]!r}")
    return text.replace("\t", " ")


def check_host(host: str) -> bytes:
    """Give the name that stands in Xref as octets.

    Raises:
        NNTPUsageError: It cannot stand there.
    """
    if not host or not host.isascii() or not host.isprintable() or " " in host:
        raise NNTPUsageError(f"not the name of a host: {host[:64]!r}")
    return host.encode()


def next_number(name: str, high: int) -> int:
    """Give the number behind `high`.

    Raises:
        StoreError: The group has no more (RFC 3977 §6): numbers are never given again.
    """
    if high >= MAX_NUMBER:
        raise StoreError(f"group {name} has given all its numbers")
    return high + 1


class Answering(ABC):
    """The methods of `IArticleStore` that read, by way of an `IArticleReader`."""

    @abstractmethod
    async def _ask(self, question: Callable[[IArticleReader], T]) -> T:
        """Put a question to a reader, in this thread or another."""

    async def group(self, name: str) -> Group | None:
        """Tell of a group, or that there is none."""
        return await self._ask(lambda reader: reader.group(name))

    async def history(self, message_id: bytes) -> History:
        """Tell whether an article is there, was, or neither."""
        return await self._ask(lambda reader: reader.history(message_id))

    async def article(self, message_id: bytes) -> Article | None:
        """Give an article by its Message-ID."""
        return await self._ask(lambda reader: reader.article(message_id))

    async def article_at(self, group: str, number: int) -> Article | None:
        """Give an article by its number."""
        return await self._ask(lambda reader: reader.article_at(group, number))

    async def locate(self, group: str, number: int) -> bytes | None:
        """Give the Message-ID of a number."""
        return await self._ask(lambda reader: reader.locate(group, number))

    async def neighbour(self, group: str, number: int, step: int) -> tuple[int, bytes] | None:
        """Give the next (`step` 1) or the one before (-1): number and Message-ID."""
        return await self._ask(lambda reader: reader.neighbour(group, number, step))

    async def number_in(self, group: str, message_id: bytes) -> int | None:
        """Give the number of an article in a group."""
        return await self._ask(lambda reader: reader.number_in(group, message_id))

    async def overview_of(self, message_id: bytes) -> bytes | None:
        """Give the fields of one article behind the number, without CRLF."""
        return await self._ask(lambda reader: reader.overview_of(message_id))

    async def overview(self, group: str, low: int, high: int) -> AsyncIterator[bytes]:
        """Give whole lines of the overview (number first, CRLF last), many in each piece."""
        at = low

        def piece(reader: IArticleReader) -> tuple[bytes, int]:
            return reader.overview(group, at, high)

        while at <= high:
            lines, at = await self._ask(piece)
            if lines:
                yield lines

    async def numbers(self, group: str, low: int, high: int) -> AsyncIterator[Sequence[int]]:
        """Give the numbers there are in a range, ascending, many in each piece."""
        at = low

        def piece(reader: IArticleReader) -> tuple[Sequence[int], int]:
            return reader.numbers(group, at, high)

        while at <= high:
            numbers, at = await self._ask(piece)
            if numbers:
                yield numbers
