"""What a server of news counts, once somebody wants to know.

Series are looked up once and kept: a command costs one addition, and a server without metrics
nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sennit.core.ops.metrics import CounterValue, Registry

__all__ = ["NewsMetrics"]

_CAPITALS: Final = re.compile("(?<=[a-z])(?=[A-Z])")


class NewsMetrics:
    """Counts what is asked by kind, articles that come and logins by outcome.

    Args:
        service: A label that tells this server from others of the process.
        registry: Where.
    """

    def __init__(self, service: str, registry: Registry) -> None:
        self._service = service
        self._commands = registry.counter(
            "sennit_news_commands", "Commands that were answered.", ("service", "kind")
        )
        self._articles = registry.counter(
            "sennit_news_articles", "Articles that came.", ("service", "how", "outcome")
        )
        self._logins = registry.counter(
            "sennit_news_logins", "Logins that were tried.", ("service", "outcome")
        )
        self._kinds: dict[type, CounterValue] = {}

    def asked(self, event: object) -> None:
        """Something was asked."""
        kind = type(event)
        found = self._kinds.get(kind)
        if found is None:
            # "article" of ArticleAsked, "new news" of NewNewsAsked.
            name = _CAPITALS.sub(" ", kind.__name__.removesuffix("Asked")).lower()
            found = self._kinds[kind] = self._commands.labels(self._service, name)
        found.value += 1

    def article(self, how: str, outcome: str) -> None:
        """An article came: posted, offered or streamed; taken, refused or failed."""
        self._articles.labels(self._service, how, outcome).value += 1

    def login(self, outcome: str) -> None:
        """A login was tried."""
        self._logins.labels(self._service, outcome).value += 1
