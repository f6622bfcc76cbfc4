"""Articles that come: POST, IHAVE, CHECK, TAKETHIS.

What becomes of an article is the intake's affair; here is who may give it one, and how its answer
is said. An article is acknowledged when the intake has it for good, and never before. What cannot
be taken now is offered again: 436, 431, and behind TAKETHIS, which has no such code, the end of the
connection (RFC 4644 §2.5.2).

Sources: RFC 3977 §6.3; RFC 4644 §2.4, §2.5. Not here: the intake (``intake.py``).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from sennit.core._faultlog import escape
from sennit.core.driver import handles
from sennit.news.article import parse
from sennit.news.errors import ArticleError, StoreError, TryLaterError
from sennit.news.events import (
    ArticleChecked,
    ArticleOffered,
    ArticlePosted,
    ArticleSent,
    ArticleTaken,
)
from sennit.news.interfaces import Wanted
from sennit.news.serving.conversing import Conversing, at_once

if TYPE_CHECKING:
    from sennit.news.interfaces import IIntake

__all__ = ["TakesArticles"]

_log = logging.getLogger("sennit.news.server")

_OFFERED: Final = {
    Wanted.YES: (335, "Send it"),
    Wanted.NO: (435, "Not wanted"),
    Wanted.LATER: (436, "Not now"),
}
_CHECKED: Final = {Wanted.YES: 238, Wanted.NO: 438, Wanted.LATER: 431}


class TakesArticles(Conversing):
    """The handlers of articles that come."""

    @property
    def _intake(self) -> IIntake:
        intake = self.server.intake
        assert intake is not None  # without one nobody may post or offer
        return intake

    @property
    def _name(self) -> str:
        """Of the peer, as the intake is to know it."""
        return self.access.name or self.host

    @handles(ArticlePosted)
    async def post(self, event: ArticlePosted) -> None:
        """The article behind POST."""
        access = self.access
        try:
            if not access.posts_all:
                limit = self.server.limits.max_article
                article = parse(event.octets, max_size=limit, proto=True)
                if not access.may_post(article.groups):
                    raise ArticleError("you may not post there")
            message_id = await self._intake.post(
                event.octets,
                poster=access.name,
                host=self.host,
                may_approve=access.approve,
            )
        except ArticleError as error:
            self._note("posted", "refused", error)
            self.engine.answer(event, 441, _reason(error))
        except (TryLaterError, StoreError) as error:
            self._note("posted", "failed", error)
            self.engine.answer(event, 441, "Try again later")
        else:
            self._note("posted", "taken")
            self.engine.answer(event, 240, b"Article received " + message_id)

    @handles(ArticleOffered)
    @at_once
    async def weigh_offer(self, event: ArticleOffered) -> None:
        """IHAVE."""
        wanted = await self._intake.wants(event.message_id, self._name)
        self.engine.answer(event, *_OFFERED[wanted])

    @handles(ArticleSent)
    async def take_sent(self, event: ArticleSent) -> None:
        """The article behind IHAVE."""
        try:
            await self._intake.take(event.octets, self._name, event.message_id)
        except ArticleError as error:
            self._note("offered", "refused", error)
            self.engine.answer(event, 437, _reason(error))
        except (TryLaterError, StoreError) as error:
            self._note("offered", "failed", error)
            self.engine.answer(event, 436, "Try again later")
        else:
            self._note("offered", "taken")
            self.engine.answer(event, 235, "Article received")

    @handles(ArticleChecked)
    @at_once
    async def weigh_check(self, event: ArticleChecked) -> None:
        """CHECK."""
        wanted = await self._intake.wants(event.message_id, self._name)
        self.engine.answer(event, _CHECKED[wanted], event.message_id)

    @handles(ArticleTaken)
    async def take_streamed(self, event: ArticleTaken) -> None:
        """TAKETHIS."""
        try:
            await self._intake.take(event.octets, self._name, event.message_id)
        except ArticleError as error:
            self._note("streamed", "refused", error)
            self.engine.answer(event, 439, event.message_id)
        except (TryLaterError, StoreError) as error:
            self._note("streamed", "failed", error)
            self.engine.leave("Cannot take articles now")
        else:
            self._note("streamed", "taken")
            self.engine.answer(event, 239, event.message_id)

    def _note(self, how: str, outcome: str, error: Exception | None = None) -> None:
        if self.metrics is not None:
            self.metrics.article(how, outcome)
        if error is None:
            return
        # How many there are is counted; a full disk is not to fill the log's, too.
        suppressed = self.server.told.admit((self._name, outcome))
        if suppressed is not None:
            level = logging.ERROR if isinstance(error, StoreError) else logging.INFO
            more = f" ({suppressed} more were not logged)" if suppressed else ""
            name = escape(self._name)
            _log.log(level, "article of %s %s: %s%s", name, outcome, escape(error), more)


def _reason(error: ArticleError) -> bytes:
    """Why, in what a response may hold."""
    octets = error.reason.encode("ascii", "replace")
    return octets.translate(_PRINTABLE)


_PRINTABLE: Final = bytes(each if 32 <= each < 127 else 63 for each in range(256))
