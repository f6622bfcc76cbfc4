"""What the package offers: a change to this list is a change for users."""

from __future__ import annotations

from zope.interface.verify import verifyObject

import sennit.news
from sennit.news.interfaces import IArticleStore
from sennit.news.store.memory import MemoryStore


def test_what_the_package_offers() -> None:
    assert sorted(sennit.news.__all__) == sorted(
        [
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
    )


def test_everything_offered_is_there() -> None:
    for name in sennit.news.__all__:
        assert getattr(sennit.news, name) is not None


def test_the_memory_store_is_a_store() -> None:
    assert verifyObject(IArticleStore, MemoryStore())
