"""NNTP for Sennit: a server, a client, and the engines of both.

Everything is loaded when it is first used; importing this package loads nothing.
"""

from __future__ import annotations

from sennit.core.lazy import lazy_names
from sennit.news._version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sennit.news.access import Access, AccessRules
    from sennit.news.client import NNTPClient, Offered
    from sennit.news.client_engine import ClientEngine
    from sennit.news.client_reading import ArticleStream, FetchedArticle
    from sennit.news.client_replies import Capabilities, Overview
    from sennit.news.control import Control
    from sennit.news.engine import ServerEngine
    from sennit.news.errors import (
        ArticleError,
        DuplicateError,
        NewsError,
        NNTPPermanentError,
        NNTPProtocolError,
        NNTPReplyError,
        NNTPTransientError,
        NNTPUsageError,
        StoreError,
        TryLaterError,
    )
    from sennit.news.feeds import Feed, Feeder
    from sennit.news.injection import Injection
    from sennit.news.intake import Intake, IntakePolicy
    from sennit.news.interfaces import (
        Article,
        Filed,
        Group,
        History,
        IArticleReader,
        IArticleStore,
        IIntake,
        Wanted,
    )
    from sennit.news.limits import ClientLimits, Limits
    from sennit.news.moderation import HeldArticles, IModerators
    from sennit.news.server import NNTPServerFactory, NNTPServerProtocol
    from sennit.news.serving.lists import Listings
    from sennit.news.store.memory import MemoryStore
    from sennit.news.store.sqlite import SQLiteStore

__all__ = [
    "Access",
    "AccessRules",
    "Article",
    "ArticleError",
    "ArticleStream",
    "Capabilities",
    "ClientEngine",
    "ClientLimits",
    "Control",
    "DuplicateError",
    "Feed",
    "Feeder",
    "FetchedArticle",
    "Filed",
    "Group",
    "HeldArticles",
    "History",
    "IArticleReader",
    "IArticleStore",
    "IIntake",
    "IModerators",
    "Injection",
    "Intake",
    "IntakePolicy",
    "Limits",
    "Listings",
    "MemoryStore",
    "NNTPClient",
    "NNTPPermanentError",
    "NNTPProtocolError",
    "NNTPReplyError",
    "NNTPServerFactory",
    "NNTPServerProtocol",
    "NNTPTransientError",
    "NNTPUsageError",
    "NewsError",
    "Offered",
    "Overview",
    "SQLiteStore",
    "ServerEngine",
    "StoreError",
    "TryLaterError",
    "Wanted",
    "__version__",
]

_ROOMS = {
    "access": ("Access", "AccessRules"),
    "client": ("NNTPClient", "Offered"),
    "client_engine": ("ClientEngine",),
    "client_reading": ("ArticleStream", "FetchedArticle"),
    "client_replies": ("Capabilities", "Overview"),
    "control": ("Control",),
    "engine": ("ServerEngine",),
    "errors": (
        "ArticleError",
        "DuplicateError",
        "NNTPPermanentError",
        "NNTPProtocolError",
        "NNTPReplyError",
        "NNTPTransientError",
        "NNTPUsageError",
        "NewsError",
        "StoreError",
        "TryLaterError",
    ),
    "feeds": ("Feed", "Feeder"),
    "injection": ("Injection",),
    "intake": ("Intake", "IntakePolicy"),
    "interfaces": (
        "Article",
        "Filed",
        "Group",
        "History",
        "IArticleReader",
        "IArticleStore",
        "IIntake",
        "Wanted",
    ),
    "limits": ("ClientLimits", "Limits"),
    "moderation": ("HeldArticles", "IModerators"),
    "server": ("NNTPServerFactory", "NNTPServerProtocol"),
    "serving.lists": ("Listings",),
    "store.memory": ("MemoryStore",),
    "store.sqlite": ("SQLiteStore",),
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _ROOMS)
