"""What readers ask of groups and articles: GROUP to HDR.

A group that may not be read is one that there is not, to who is known; to others a login may open
it. Articles are sent as they lie in the store, overviews as its ready-made lines: nothing here
touches the octets of a line.

Sources: RFC 3977 §6.1, §6.2, §8.3, §8.5; RFC 2980 §2.6, §2.8, §2.9. Not here: lists
(``serving/lists.py``).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from sennit.core.driver import handles
from sennit.news.events import (
    ArticleAsked,
    GroupAsked,
    HeadersAsked,
    NeighbourAsked,
    OverviewAsked,
    Part,
)
from sennit.news.interfaces import History
from sennit.news.overview import field_of, header_of, in_overview, newsgroups_of
from sennit.news.serving.conversing import Conversing, at_once
from sennit.news.wildmat import parse_pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sennit.news.interfaces import Article

__all__ = ["AnswersReaders"]

_LARGE: Final = 65_536
"""Octets of an article after which others have their turn."""
_MATCHED: Final = 16_384
"""Characters of contents that are matched before others have their turn: a few milliseconds."""


class AnswersReaders(Conversing):
    """The handlers of what readers ask."""

    @handles(GroupAsked)
    @at_once
    async def tell_group(self, event: GroupAsked) -> None:
        """GROUP, LISTGROUP."""
        engine, name = self.engine, event.group
        group = None
        if self.access.may_read(name):
            now = self.now
            group = now.group(name) if now is not None else await self.store.group(name)
        elif engine.session.login_helps:
            engine.answer(event, 480, "Log in first")
            return
        if group is None:
            engine.answer(event, 411, "No such newsgroup")
            return
        session = engine.session
        session.group = name
        session.number = group.low if group.count else 0
        text = f"{group.count} {group.low} {group.high} {name}"
        if event.listed is None:
            engine.answer(event, 211, text)
            return
        engine.begin_block(event, 211, f"{text} list follows")
        async for numbers in self.store.numbers(name, *event.listed):
            engine.send_lines(event, b"".join([b"%d\r\n" % number for number in numbers]))
            await self.writable()
        engine.end_block(event)

    @handles(NeighbourAsked)
    @at_once
    async def tell_neighbour(self, event: NeighbourAsked) -> None:
        """LAST, NEXT."""
        engine, now = self.engine, self.now
        place = event.group, event.number, event.step
        if now is not None:
            found = now.neighbour(*place)
        else:
            found = await self.store.neighbour(*place)
        if found is None:
            if event.step > 0:
                engine.answer(event, 421, "No next article")
            else:
                engine.answer(event, 422, "No previous article")
            return
        engine.session.number = found[0]
        engine.answer(event, 223, b"%d %b" % found)

    @handles(ArticleAsked)
    @at_once
    async def tell_article(self, event: ArticleAsked) -> None:
        """ARTICLE, HEAD, BODY, STAT."""
        engine, part = self.engine, event.part
        number = event.number
        message_id = event.message_id
        article: Article | None = None
        if part is Part.STAT and (message_id is None or self.access.reads_all):
            message_id = await self._stat(event)
            if message_id is not None:
                engine.answer(event, 223, b"%d %b" % (number, message_id))
        else:
            now = self.now
            if message_id is not None:
                article = await self._fetch(message_id)
            elif now is not None:
                article = now.article_at(event.group, number)
            else:
                article = await self.store.article_at(event.group, number)
            if article is not None:
                message_id = article.message_id
                code, text = part.value, b"%d %b" % (number, message_id)
                if part is Part.ARTICLE:
                    engine.answer_block(event, code, text, article.octets)
                elif part is Part.HEAD:
                    engine.answer_block(event, code, text, article.head)
                elif part is Part.BODY:
                    engine.answer_block(event, code, text, article.body)
                else:
                    engine.answer(event, code, text)
            else:
                message_id = None
        if message_id is not None:
            if number:
                engine.session.number = number
            if article is not None and len(article.octets) > _LARGE:
                # One takes milliseconds, deflated; many are asked for at once.
                await asyncio.sleep(0)
        elif event.message_id is not None:
            engine.answer(event, 430, "No such article")
        elif event.current:
            engine.answer(event, 420, "No current article")
        else:
            engine.answer(event, 423, "No article with that number")

    async def _stat(self, event: ArticleAsked) -> bytes | None:
        now, message_id = self.now, event.message_id
        if message_id is None:
            if now is not None:
                return now.locate(event.group, event.number)
            return await self.store.locate(event.group, event.number)
        if now is not None:
            known = now.history(message_id)
        else:
            known = await self.store.history(message_id)
        return message_id if known is History.PRESENT else None

    async def _fetch(self, message_id: bytes) -> Article | None:
        """An article by its Message-ID, if it is in a group that may be read."""
        now = self.now
        if now is not None:
            article = now.article(message_id)
        else:
            article = await self.store.article(message_id)
        if article is None or self.access.reads_all:
            return article
        return article if self._may_see(article) else None

    def _may_see(self, article: Article) -> bool:
        return any(map(self.access.may_read, newsgroups_of(article.head)))

    # ── overviews and headers ─────────────────────────────────────────────────

    @handles(OverviewAsked)
    @at_once
    async def tell_overview(self, event: OverviewAsked) -> None:
        """OVER, XOVER."""
        engine, now = self.engine, self.now
        if event.message_id is not None:
            fields = await self._overview_of(event.message_id)
            if fields is None:
                engine.answer(event, 430, "No such article")
            else:
                engine.answer_block(event, 224, "Overview follows", b"0\t%b\r\n" % fields)
            return
        begun = False
        if now is not None:
            at, high = event.low, event.high
            while at <= high:
                lines, at = now.overview(event.group, at, high)
                if lines:
                    if not begun:
                        engine.begin_block(event, 224, "Overview follows")
                        begun = True
                    engine.send_lines(event, lines)
                if at <= high:
                    await self.writable()
        else:
            async for lines in self.store.overview(event.group, event.low, event.high):
                if not begun:
                    engine.begin_block(event, 224, "Overview follows")
                    begun = True
                engine.send_lines(event, lines)
                await self.writable()
        if begun:
            engine.end_block(event)
        elif event.current or event.old:
            engine.answer(event, 420, "No article selected")
        else:
            engine.answer(event, 423, "No articles in that range")

    async def _overview_of(self, message_id: bytes) -> bytes | None:
        if not self.access.reads_all and await self._fetch(message_id) is None:
            return None
        if self.now is not None:
            return self.now.overview_of(message_id)
        return await self.store.overview_of(message_id)

    @handles(HeadersAsked)
    @at_once
    async def tell_headers(self, event: HeadersAsked) -> None:
        """HDR, XHDR, XPAT."""
        engine = self.engine
        # Old readers are told so of a field that is not there (RFC 2980 §2.6).
        nothing = b"(none)" if event.code == 221 and not event.pattern else b""
        if event.message_id is not None:
            content = await self._header_of(event.message_id, event.field)
            if content is None:
                engine.answer(event, 430, "No such article")
                return
            # The old ones have the Message-ID where HDR has no number (RFC 2980 §2.6).
            name = event.message_id if event.code == 221 else b"0"
            named = await _matching([(name, content)], event.pattern)
            lines = _lines(named, nothing)
            engine.answer_block(event, event.code, "Headers follow", lines)
            return
        begun = False
        pieces = self.store.headers(event.group, event.low, event.high, event.field)
        async for batch in pieces:
            if not begun:
                engine.begin_block(event, event.code, "Headers follow")
                begun = True
            named = [(b"%d" % number, content) for number, content in batch]
            if event.pattern:
                named = await _matching(named, event.pattern)
            engine.send_lines(event, _lines(named, nothing))
            await self.writable()
        if begun:
            engine.end_block(event)
        elif event.current:
            engine.answer(event, 420, "No current article")
        elif event.pattern:
            # Of XPAT "this includes an empty list" (RFC 2980 §2.9).
            engine.answer_block(event, 221, "Headers follow", b"")
        elif event.code == 221:
            engine.answer(event, 420, "No article selected")
        else:
            engine.answer(event, 423, "No articles in that range")

    async def _header_of(self, message_id: bytes, field: str) -> bytes | None:
        if in_overview(field):
            fields = await self._overview_of(message_id)
            return None if fields is None else field_of(fields, field)
        article = await self._fetch(message_id)
        return None if article is None else header_of(article.head, field)


async def _matching(
    named: Sequence[tuple[bytes, bytes]], pattern: str
) -> Sequence[tuple[bytes, bytes]]:
    """Those whose contents a pattern matches; others have their turn now and then."""
    if not pattern:
        return named
    matcher = parse_pattern(pattern)
    found: list[tuple[bytes, bytes]] = []
    matched = 0
    for each in named:
        content = each[1].decode("utf-8", "surrogateescape")
        states = matcher.follow("")
        # One alone may be as long as an article.
        for at in range(0, len(content), _MATCHED):
            part = content[at : at + _MATCHED]
            states = matcher.follow(part, states)
            matched += len(part)
            if matched >= _MATCHED:
                matched = 0
                await asyncio.sleep(0)
        if matcher.accepts(states):
            found.append(each)
    # Nothing may be sent at all.
    await asyncio.sleep(0)
    return found


def _lines(named: Sequence[tuple[bytes, bytes]], nothing: bytes) -> bytes:
    """Lines of HDR."""
    return b"".join([b"%b %b\r\n" % (name, content or nothing) for name, content in named])
