"""What there is: LIST, NEWGROUPS, NEWNEWS, DATE.

Lists are made a few hundred lines at a time, so that neither a slow reader nor a store of a hundred
thousand groups fills memory or keeps the loop.

Sources: RFC 3977 §7.1, §7.3, §7.4, §7.6, §8.4, §8.6; RFC 6048 §2; RFC 2980 §2.5.1.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from sennit.core.driver import handles
from sennit.news.errors import NNTPProtocolError, NNTPUsageError
from sennit.news.events import DateAsked, ListAsked, NewGroupsAsked, NewNewsAsked
from sennit.news.grammar import date_text, parse_date
from sennit.news.overview import OVERVIEW_FMT
from sennit.news.serving.conversing import Conversing, at_once
from sennit.news.wildmat import EVERYTHING, parse_wildmat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sennit.news.interfaces import Group
    from sennit.news.wildmat import Wildmat

__all__ = ["AnswersLists", "Listings"]


class Listings:
    """What the operator tells readers; what is empty is not offered.

    Args:
        motd: The message of the day, in lines.
        subscriptions: Groups for who has none yet.
        distributions: What each distribution is, by name.
        distrib_pats: Lines ``weight:wildmat:value``.
        moderators: Lines ``wildmat:address``, with ``%s`` for the group.

    Raises:
        NNTPUsageError: A line is more than one.
    """

    __slots__ = ("_lines",)

    def __init__(
        self,
        *,
        motd: Sequence[str] = (),
        subscriptions: Sequence[str] = (),
        distributions: Mapping[str, str] | None = None,
        distrib_pats: Sequence[str] = (),
        moderators: Sequence[str] = (),
    ) -> None:
        self._lines: dict[str, Sequence[str]] = {
            "MOTD": motd,
            "SUBSCRIPTIONS": subscriptions,
            "DISTRIBUTIONS": [f"{name}\t{what}" for name, what in (distributions or {}).items()],
            "DISTRIB.PATS": distrib_pats,
            "MODERATORS": moderators,
        }
        for lines in self._lines.values():
            for line in lines:
                if any(each in line for each in "\r\n\0"):
                    raise NNTPUsageError(f"not one line: {line[:64]!r}")

    @property
    def offered(self) -> list[str]:
        """The keywords of LIST that there is something for."""
        return [keyword for keyword, lines in self._lines.items() if lines]

    def lines(self, keyword: str) -> Sequence[str]:
        """What there is for a keyword."""
        return self._lines[keyword]


def _active(group: Group) -> str:
    return f"{group.name} {group.high} {group.low} {group.status}\r\n"


def _times(group: Group) -> str:
    return f"{group.name} {group.created:.0f} {group.creator or 'unknown'}\r\n"


def _counts(group: Group) -> str:
    return f"{group.name} {group.high} {group.low} {group.count} {group.status}\r\n"


def _newsgroups(group: Group) -> str:
    return f"{group.name}\t{group.description}\r\n" if group.description else ""


_LINES: Final[dict[str, Callable[[Group], str]]] = {
    "ACTIVE": _active,
    "ACTIVE.TIMES": _times,
    "COUNTS": _counts,
    "NEWSGROUPS": _newsgroups,
}

_OVERVIEW_FMT: Final = b"".join(each + b"\r\n" for each in OVERVIEW_FMT)
_HEADERS: Final = b":\r\n:bytes\r\n:lines\r\n"
"""Every field of a head, and these (RFC 3977 §8.6.2)."""


class AnswersLists(Conversing):
    """The handlers of what readers ask of the whole server."""

    @handles(ListAsked)
    @at_once
    async def tell_list(self, event: ListAsked) -> None:
        """LIST, XGTITLE."""
        engine, keyword = self.engine, event.keyword
        if keyword == "OVERVIEW.FMT":
            engine.answer_block(event, 215, "Order of fields in overview", _OVERVIEW_FMT)
            return
        if keyword == "HEADERS":
            engine.answer_block(event, 215, "Headers and metadata", _HEADERS)
            return
        wildmat = parse_wildmat(event.wildmat) if event.wildmat else EVERYTHING
        line = _LINES.get(keyword)
        if line is not None:
            await self._tell_groups(event, event.code, line, wildmat)
            return
        lines = self.server.listings.lines(keyword)
        if keyword == "SUBSCRIPTIONS":
            may_read = self.access.may_read
            lines = [each for each in lines if wildmat.matches(each) and may_read(each)]
        block = "".join(f"{each}\r\n" for each in lines).encode()
        engine.answer_block(event, 215, "List follows", block)

    async def _tell_groups(
        self,
        event: ListAsked | NewGroupsAsked,
        code: int,
        line: Callable[[Group], str],
        wildmat: Wildmat,
        since: float = 0.0,
    ) -> None:
        engine = self.engine
        may_read, matches = self.access.may_read, wildmat.matches
        groups = await self._groups(wildmat)
        everything = wildmat is EVERYTHING and self.access.reads_all
        engine.begin_block(event, code, "List follows")
        step = self.server.limits.listed_at_once
        for at in range(0, len(groups), step):
            some = groups[at : at + step]
            if not everything:
                # A few µs each, and perhaps none of a hundred thousand.
                some = [each for each in some if matches(each.name) and may_read(each.name)]
                await asyncio.sleep(0)
            text = "".join([line(each) for each in some if each.created >= since])
            if text:
                engine.send_lines(event, text.encode())
            await self.writable()
        engine.end_block(event)

    async def _groups(self, wildmat: Wildmat) -> Sequence[Group]:
        """Give all groups, or those that a wildmat names."""
        may_read = self.access.may_read
        if wildmat.names is not None:
            # Readers ask so for what they have subscribed to: each is looked up.
            found: Iterable[Group | None] = [
                await self.store.group(name) for name in wildmat.names if may_read(name)
            ]
            return [group for group in found if group is not None]
        return await self.store.groups()

    @handles(NewGroupsAsked)
    @at_once
    async def tell_new_groups(self, event: NewGroupsAsked) -> None:
        """NEWGROUPS."""
        since = self._moment(event)
        if since is not None:
            await self._tell_groups(event, 231, _active, EVERYTHING, since)

    @handles(NewNewsAsked)
    @at_once
    async def tell_new_news(self, event: NewNewsAsked) -> None:
        """NEWNEWS."""
        since = self._moment(event)
        if since is None:
            return
        engine, may_read = self.engine, self.access.may_read
        matches = parse_wildmat(event.wildmat).matches
        engine.begin_block(event, 230, "New articles follow")
        pieces = self.store.new_news(since, lambda name: matches(name) and may_read(name))
        async for batch in pieces:
            engine.send_lines(event, b"".join([each + b"\r\n" for each in batch]))
            await self.writable()
        engine.end_block(event)

    def _moment(self, event: NewGroupsAsked | NewNewsAsked) -> float | None:
        try:
            return parse_date(event.date, event.time, self.server.wall_clock())
        except NNTPProtocolError:
            self.engine.answer(event, 501, "No such date or time")
            return None

    @handles(DateAsked)
    @at_once
    async def tell_date(self, event: DateAsked) -> None:
        """DATE."""
        self.engine.answer(event, 111, date_text(self.server.wall_clock()))
