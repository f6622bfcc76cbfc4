"""What the package offers: a change to this list is a change for users."""

from __future__ import annotations

from zope.interface.verify import verifyObject

import sennit.ftp
from sennit.ftp.interfaces import IFileStore
from sennit.ftp.store.memory import MemoryStore


def test_what_the_package_offers() -> None:
    assert sorted(sennit.ftp.__all__) == sorted(
        [
            "DirectoryRealm",
            "DirectoryStore",
            "Entry",
            "FilePath",
            "IFileStore",
            "IReader",
            "IWriter",
            "Limits",
            "MemoryStore",
            "Permissions",
            "Profile",
            "Quota",
            "Rates",
            "UserFiles",
            "anonymous_files",
            "ServerEngine",
            "ClientLimits",
            "FTPClient",
            "FTPError",
            "FTPMetrics",
            "FTPPermanentError",
            "FTPProtocolError",
            "FTPReplyError",
            "FTPServerFactory",
            "FTPServerProtocol",
            "FTPTransientError",
            "FTPURL",
            "FTPUsageError",
            "TransferError",
            "__version__",
            "parse_url",
        ]
    )


def test_everything_offered_is_there() -> None:
    for name in sennit.ftp.__all__:
        assert getattr(sennit.ftp, name) is not None


def test_the_memory_store_is_a_store() -> None:
    assert verifyObject(IFileStore, MemoryStore())
