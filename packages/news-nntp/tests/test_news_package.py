"""What the package offers: a change to this list is a change for users."""

from __future__ import annotations

from zope.interface.verify import verifyObject

import sennit.news
from sennit.news.interfaces import IDirectory
from sennit.news.store import MemoryDirectory


def test_what_the_package_offers() -> None:
    assert sorted(sennit.news.__all__) == sorted(
        [
            "ClientEngine",
            "IDirectory",
            "Limits",
            "MemoryDirectory",
            "ServerEngine",
            "NNTPClientProtocol",
            "NNTPError",
            "NNTPProtocolError",
            "NNTPRefusedError",
            "NNTPServerFactory",
            "NNTPServerProtocol",
            "NNTPUsageError",
            "__version__",
            "get",
        ]
    )


def test_everything_offered_is_there() -> None:
    for name in sennit.news.__all__:
        assert getattr(sennit.news, name) is not None


def test_the_memory_directory_is_a_directory() -> None:
    assert verifyObject(IDirectory, MemoryDirectory({}))
