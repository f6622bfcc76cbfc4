"""FTP for Sennit: a server, a client, and the engines of both.

Everything is loaded when it is first used; importing this package loads nothing.
"""

from __future__ import annotations

from sennit.core.lazy import lazy_names
from sennit.ftp._version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sennit.ftp.client import FTPClient
    from sennit.ftp.engine import Profile, ServerEngine
    from sennit.ftp.errors import (
        FTPError,
        FTPPermanentError,
        FTPProtocolError,
        FTPReplyError,
        FTPTransientError,
        FTPUsageError,
        TransferError,
    )
    from sennit.ftp.interfaces import Entry, FilePath, IFileStore, IReader, IWriter
    from sennit.ftp.limits import ClientLimits, Limits
    from sennit.ftp.rates import Rates
    from sennit.ftp.server import FTPServerFactory, FTPServerProtocol
    from sennit.ftp.store.directory import DirectoryStore
    from sennit.ftp.store.memory import MemoryStore
    from sennit.ftp.store.quota import Quota
    from sennit.ftp.store.realm import DirectoryRealm, UserFiles, anonymous_files
    from sennit.ftp.store.rules import Permissions
    from sennit.ftp.url import FTPURL, parse_url
    from sennit.ftp.watching import FTPMetrics

__all__ = [
    "FTPURL",
    "ClientLimits",
    "DirectoryRealm",
    "DirectoryStore",
    "Entry",
    "FTPClient",
    "FTPError",
    "FTPMetrics",
    "FTPPermanentError",
    "FTPProtocolError",
    "FTPReplyError",
    "FTPServerFactory",
    "FTPServerProtocol",
    "FTPTransientError",
    "FTPUsageError",
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
    "ServerEngine",
    "TransferError",
    "UserFiles",
    "__version__",
    "anonymous_files",
    "parse_url",
]

_ROOMS = {
    "client": ("FTPClient",),
    "engine": ("Profile", "ServerEngine"),
    "errors": (
        "FTPError",
        "FTPPermanentError",
        "FTPProtocolError",
        "FTPReplyError",
        "FTPTransientError",
        "FTPUsageError",
        "TransferError",
    ),
    "interfaces": ("Entry", "FilePath", "IFileStore", "IReader", "IWriter"),
    "limits": ("ClientLimits", "Limits"),
    "rates": ("Rates",),
    "server": ("FTPServerFactory", "FTPServerProtocol"),
    "store.directory": ("DirectoryStore",),
    "store.memory": ("MemoryStore",),
    "store.quota": ("Quota",),
    "store.realm": ("DirectoryRealm", "UserFiles", "anonymous_files"),
    "store.rules": ("Permissions",),
    "url": ("FTPURL", "parse_url"),
    "watching": ("FTPMetrics",),
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _ROOMS)
