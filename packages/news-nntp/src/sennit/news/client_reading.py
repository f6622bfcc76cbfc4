"""What a client reads: articles whole and as streams, many at once, overviews, headers, lists.

`Reading` is the part of `NNTPClient` for what may be long. A response is read as it comes: what the
program does not read stays with the server, and no list is too long. Who leaves a stream before
its end lets the rest be read and thrown away, since it comes all the same; a connection on which
much is still to come is better closed.

Sources: RFC 3977 §6.1.2 (LISTGROUP), §6.2 (ARTICLE, HEAD, BODY), §7.3, §7.4 (NEWGROUPS, NEWNEWS),
§7.6 (LIST), §8 (OVER, HDR), RFC 2980 §2.6–§2.9 (XHDR, XOVER, XPAT), RFC 6048 §2 (COUNTS).
Not here: lines into values (``client_replies.py``).
"""

from __future__ import annotations

from collections import deque
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from sennit.news.client_connection import refusal
from sennit.news.client_engine import command
from sennit.news.client_replies import (
    OVERVIEW_FIELDS,
    parse_active,
    parse_counts,
    parse_created,
    parse_description,
    parse_format,
    parse_found,
    parse_header,
    parse_overview,
)
from sennit.news.client_session import LARGEST, Session, which
from sennit.news.errors import NNTPProtocolError, NNTPReplyError, NNTPUsageError
from sennit.news.grammar import is_field_name, parse_number
from sennit.news.interfaces import Article, Group

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
    from types import TracebackType
    from typing import Self

    from sennit.core._inbox import Inbox
    from sennit.news.client_engine import ClientEvent, Command
    from sennit.news.client_replies import Overview

    # What an article is read from, what stood behind its code, and what lets go of it.
    _Opened = tuple[AsyncGenerator[bytes, None], bytes, Callable[[], None]]

__all__ = ["ArticleStream", "FetchedArticle", "Reading"]

WINDOW: Final = 32
"""Articles that `fetch` asks for before the first has come."""
_NOT_THERE: Final = frozenset({420, 423, 430})
"""No such article (RFC 3977 §6.2.1)."""
_UNKNOWN: Final = frozenset({500, 501, 502, 503})
"""Codes with which servers answer what they do not know, or do not do."""


class FetchedArticle(Article):
    """An article as a server gave it.

    Attributes:
        number: In the group; 0 where it was asked for by its Message-ID.
    """

    __slots__ = ("number",)

    def __init__(self, number: int, message_id: bytes, octets: bytes) -> None:
        end = octets.find(b"\r\n\r\n")
        # A head alone comes without the empty line, which would stand behind it.
        super().__init__(message_id, octets, len(octets) + 2 if end < 0 else end + 4)
        self.number = number

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.number} {self.message_id!r}>"


class ArticleStream:
    """An article that is read as it comes: ``async for piece in stream``, inside ``async with``.

    Attributes:
        number: In the group; 0 where it was asked for by its Message-ID.
        message_id: With its brackets.
    """

    __slots__ = ("_abandon", "_open", "_pieces", "message_id", "number")

    def __init__(self, opener: Callable[[], Awaitable[_Opened]]) -> None:
        self._open = opener
        self._pieces: AsyncGenerator[bytes, None] | None = None
        self._abandon: Callable[[], None] | None = None
        self.number = 0
        self.message_id = b""

    async def __aenter__(self) -> Self:
        """Ask for it; it begins to come.

        Raises:
            NNTPTransientError: There is no such article.
        """
        self._pieces, found, self._abandon = await self._open()
        try:
            self.number, self.message_id = parse_found(found)
        except BaseException:
            self._abandon()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of what was not read."""
        if self._pieces is not None:
            await self._pieces.aclose()
        if self._abandon is not None:
            # A generator that never began does not do so when it is closed.
            self._abandon()

    def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """Its octets, dots undone, cut anywhere."""
        if self._pieces is None:
            raise NNTPUsageError("an article is read inside `async with`")
        return self._pieces


class Reading(Session):
    """A session in which one reads."""

    _names: tuple[str, ...] | None = None

    # ── articles ──────────────────────────────────────────────────────────────

    async def article(self, article: int | bytes | str | None = None) -> FetchedArticle:
        """Give an article (ARTICLE, RFC 3977 §6.2.1).

        Args:
            article: Its number in the group that is selected, its Message-ID, or nothing for the
                selected article.

        Raises:
            NNTPTransientError: There is none (420, 423, 430), or no group is selected (412).
            NNTPProtocolError: It is longer than `max_article`.
        """
        return await self._whole("ARTICLE", 220, article)

    async def head(self, article: int | bytes | str | None = None) -> FetchedArticle:
        """Give the head of an article, as an article without a body (HEAD)."""
        return await self._whole("HEAD", 221, article)

    async def body(self, article: int | bytes | str | None = None) -> bytes:
        """Give the body of an article (BODY)."""
        return (await self._whole("BODY", 222, article)).octets

    async def _whole(
        self, word: str, code: int, article: int | bytes | str | None
    ) -> FetchedArticle:
        most = self._protocol.limits.max_article
        response = await self._ask(command(word, *which(article), max_block=most), code)
        return FetchedArticle(*parse_found(response.octets), response.block or b"")

    def open_article(
        self, article: int | bytes | str | None = None, *, part: str = "ARTICLE"
    ) -> ArticleStream:
        """Give an article to read as it comes, of any length::

            async with news.open_article(b"<1@example>") as article:
                async for piece in article: ...

        Args:
            article: As for `article`.
            part: ``ARTICLE``, ``HEAD`` or ``BODY``.
        """
        if part not in ("ARTICLE", "HEAD", "BODY"):
            raise NNTPUsageError(f"a part is ARTICLE, HEAD or BODY, not {part[:32]!r}")
        asked = command(part, *which(article), streamed=True)

        async def open_it() -> _Opened:
            first, inbox = await self._begin(asked, 220, 221, 222)
            return self._pieces(first, inbox), first.text, lambda: self._protocol.abandon(inbox)

        return ArticleStream(open_it)

    async def fetch(
        self,
        articles: Iterable[int | bytes | str],
        *,
        part: str = "ARTICLE",
        window: int = WINDOW,
        missing: Callable[[int | bytes | str], object] | None = None,
    ) -> AsyncGenerator[FetchedArticle, None]:
        """Give many articles, in order; the next are asked for before the first has come.

        Args:
            articles: Numbers in the group that is selected, or Message-IDs. Taken from as it goes.
            part: ``ARTICLE`` or ``HEAD``.
            window: Articles under way at a time.
            missing: Called with those that the server does not have, which are left out.

        Raises:
            NNTPReplyError: The server refuses one for another reason.
            NNTPProtocolError: One is longer than `max_article`.
        """
        if part not in ("ARTICLE", "HEAD"):
            raise NNTPUsageError(f"what is fetched is ARTICLE or HEAD, not {part[:32]!r}")
        if window < 1:
            raise NNTPUsageError("one article at least is under way")
        protocol = self._protocol
        most = protocol.limits.max_article
        before = self.logged_in
        source = iter(articles)
        under_way: deque[tuple[int | bytes | str, Command, Inbox[ClientEvent]]] = deque()
        try:
            while True:
                for each in source:
                    asked = command(part, *which(each), max_block=most)
                    under_way.append((each, asked, protocol.converse(asked)))
                    if len(under_way) >= window:
                        break
                if not under_way:
                    return
                each, asked, inbox = under_way[0]
                first = await protocol.first(inbox)
                under_way.popleft()
                if first.code == 480 and not before:
                    # Those behind it were refused, too. What else they got would, unread, hold up
                    # the answer to the login.
                    for _, _, unread in under_way:
                        protocol.abandon(unread)
                    if not await self._log_in(before=False):
                        raise refusal(480, first.text, part)
                    before = True
                    under_way.appendleft((each, asked, inbox))
                    under_way = deque(
                        (each, asked, protocol.converse(asked)) for each, asked, _ in under_way
                    )
                    continue
                if first.code in _NOT_THERE:
                    if missing is not None:
                        missing(each)
                    continue
                octets = b"".join([piece async for piece in self._pieces(first, inbox)])
                if first.code not in (220, 221):
                    raise refusal(first.code, first.text, part)
                yield FetchedArticle(*parse_found(first.text), octets)
        finally:
            for _, _, inbox in under_way:
                protocol.abandon(inbox)

    # ── overviews and headers ─────────────────────────────────────────────────

    async def over(
        self, low: int | bytes | str, high: int | None = None
    ) -> AsyncGenerator[Overview, None]:
        """Give the overviews of a range of the selected group, or of one article (OVER).

        Args:
            low: The first number, or a Message-ID.
            high: The last; without it all from `low` on.

        Raises:
            NNTPReplyError: No group is selected (412), or no such article (430).
            NNTPProtocolError: There are more than numbers in the range, or one that is none.
        """
        names = await self._overview_names()
        span = _span(low, high)
        words = ["OVER", "XOVER"]
        if self.capabilities.known and "OVER" not in self.capabilities:
            words = ["XOVER"]
        first, last = 0, LARGEST  # by a Message-ID there is one, with whatever number
        if isinstance(low, int):
            first, last = low, LARGEST if high is None else high
        left = last - first + 1
        async for line in self._listed(words, span, 224, none=_NOT_THERE):
            row = parse_overview(line, names)
            left -= 1
            if left < 0 or not first <= row.number <= last:
                raise NNTPProtocolError(f"no number of {span[0]!r}: {row!r}", "RFC 3977 §8.3.2")
            yield row

    async def _overview_names(self) -> tuple[str, ...]:
        """What the columns of the server's overviews are; asked for once."""
        if self._names is None:
            asked = command("LIST OVERVIEW.FMT")
            try:
                response = await self._ask(asked, 215)
            except NNTPReplyError as error:
                if error.code not in _UNKNOWN:
                    raise
                self._names = OVERVIEW_FIELDS
            else:
                self._names = parse_format(response.lines)
        return self._names

    async def hdr(
        self,
        name: str,
        low: int | bytes | str,
        high: int | None = None,
        *,
        pattern: str | None = None,
    ) -> AsyncGenerator[tuple[int, bytes], None]:
        """Give (number, content) of one header field (HDR, XHDR).

        Args:
            name: Of the field; ``:bytes`` and ``:lines`` where the server has them.
            low: As for `over`.
            high: Likewise.
            pattern: What the whole content matches (XPAT): ``*``, ``?``, sets such as ``[a-z]`` and
                ``[^0-9]``, and a backslash before each of these that means itself (RFC 2980 §3.3).
        """
        if not is_field_name(name.encode()):
            raise NNTPUsageError(f"not the name of a field: {name[:64]!r}")
        words = ["HDR", "XHDR"]
        if self.capabilities.known and "HDR" not in self.capabilities:
            words = ["XHDR"]
        arguments: tuple[str | bytes, ...] = (name, *_span(low, high))
        if pattern is not None:
            words = ["XPAT"]
            arguments = (*arguments, *pattern.split(" "))
        async for line in self._listed(words, arguments, 225, 221, none=_NOT_THERE):
            yield parse_header(line)

    # ── groups ────────────────────────────────────────────────────────────────

    async def listgroup(
        self, name: str | None = None, low: int = 1, high: int | None = None
    ) -> AsyncGenerator[int, None]:
        """Select a group and give the numbers of its articles (LISTGROUP, RFC 3977 §6.1.2).

        Args:
            name: The group; the one that is selected when left out, with all its numbers.
            low: The first number that is wanted.
            high: The last; without it all from `low` on.
        """
        arguments: tuple[str | bytes, ...] = () if name is None else (name,)
        if name is not None and (low != 1 or high is not None):
            arguments = (name, *_span(low, high))
        async for line in self._listed(["LISTGROUP"], arguments, 211):
            yield parse_number(line.strip())

    async def groups(self, wildmat: str | None = None) -> AsyncGenerator[Group, None]:
        """Give the groups that there are (LIST ACTIVE, RFC 3977 §7.6.3).

        Args:
            wildmat: Which; all when left out.
        """
        async for line in self.listing("ACTIVE", wildmat):
            yield parse_active(line)

    async def counts(self, wildmat: str | None = None) -> AsyncGenerator[Group, None]:
        """Give the groups with the numbers of their articles (LIST COUNTS, RFC 6048 §2.2).

        Of servers that do not know that, as `groups` does: no more articles than it says.
        """
        if self.capabilities.known and self.capabilities.has("LIST", "COUNTS"):
            async for line in self.listing("COUNTS", wildmat):
                yield parse_counts(line)
        else:
            async for group in self.groups(wildmat):
                yield group

    async def created(self, wildmat: str | None = None) -> AsyncGenerator[Group, None]:
        """Give when groups were made, and by whom (LIST ACTIVE.TIMES, RFC 3977 §7.6.4)."""
        async for line in self.listing("ACTIVE.TIMES", wildmat):
            yield parse_created(line)

    async def descriptions(
        self, wildmat: str | None = None
    ) -> AsyncGenerator[tuple[str, str], None]:
        """Give (group, description) (LIST NEWSGROUPS, RFC 3977 §7.6.6)."""
        async for line in self.listing("NEWSGROUPS", wildmat):
            yield parse_description(line)

    async def listing(
        self, keyword: str, argument: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Give the lines of any list (RFC 3977 §7.6.2, RFC 6048).

        Args:
            keyword: Such as ``ACTIVE``, ``DISTRIB.PATS``, ``MODERATORS``, ``MOTD``.
            argument: A wildmat, or what else the list takes.

        Raises:
            NNTPPermanentError: The server has none such (501, 503).
        """
        arguments = () if argument is None else (argument,)
        async for line in self._listed([f"LIST {keyword}"], arguments, 215):
            yield line

    async def newgroups(self, since: datetime | float) -> AsyncGenerator[Group, None]:
        """Give the groups that were made since (NEWGROUPS, RFC 3977 §7.3)."""
        async for line in self._listed(["NEWGROUPS"], (*_moment(since), "GMT"), 231):
            yield parse_active(line)

    async def newnews(self, wildmat: str, since: datetime | float) -> AsyncGenerator[bytes, None]:
        """Give the Message-IDs of what came since, in some groups (NEWNEWS, RFC 3977 §7.4)."""
        async for line in self._listed(["NEWNEWS"], (wildmat, *_moment(since), "GMT"), 230):
            yield line.strip()

    async def _listed(
        self,
        words: list[str],
        arguments: tuple[str | bytes, ...],
        *codes: int,
        none: frozenset[int] = frozenset(),
    ) -> AsyncGenerator[bytes, None]:
        """The lines of a response, by the first of some commands that the server knows."""
        word = words[0]
        others = _UNKNOWN if len(words) > 1 else ()
        asked = command(word, *arguments, streamed=True)
        first, inbox = await self._begin(asked, *codes, *none, *others)
        if first.code in others:
            word = words[1]
            asked = command(word, *arguments, streamed=True)
            first, inbox = await self._begin(asked, *codes, *none)
        if first.code in none:
            if isinstance(arguments[-1], bytes):
                raise refusal(first.code, first.text, word)
            return  # an empty range is no error
        async with aclosing(self._lines(first, inbox)) as batches:
            async for lines in batches:
                for line in lines:
                    yield line


def _span(low: int | bytes | str, high: int | None) -> tuple[str | bytes, ...]:
    """A range as commands name it, or a Message-ID."""
    only = which(low)
    if not isinstance(low, int) or high == low:
        return only
    if high is None:
        return (f"{low}-",)
    if high < low:
        raise NNTPUsageError(f"a range from {low} to {high} goes backwards")
    which(high)  # else its number is none
    return (f"{low}-{high}",)


def _moment(since: datetime | float) -> tuple[str, str]:
    """A time as NEWGROUPS and NEWNEWS take it, in UTC."""
    if isinstance(since, datetime):
        if since.tzinfo is None:
            raise NNTPUsageError("a time without a zone could mean many")
        since = since.astimezone(UTC)
    else:
        since = datetime.fromtimestamp(since, UTC)
    return since.strftime("%Y%m%d"), since.strftime("%H%M%S")
