"""Every exception this package raises on purpose, as one tree.

::

    NewsError
    ├── NNTPProtocolError      the peer broke a rule (is a core ProtocolError)
    ├── NNTPUsageError         the caller asked for what cannot be (is a ValueError)
    ├── NNTPReplyError         the server's reply says no: `code`, `text`
    │   ├── NNTPTransientError     4yz
    │   └── NNTPPermanentError     5yz
    ├── ArticleError           octets that are no article, or one that is not wanted: `reason`
    │   └── DuplicateError         one that there is, or was
    ├── TryLaterError          not now: 436, 431, or 400
    └── StoreError             a store cannot do what it was asked
"""

from __future__ import annotations

from sennit.core.errors import ProtocolError, SennitError, UsageError

__all__ = [
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
]


class NewsError(SennitError):
    """Whatever this package raises on purpose, whoever was at fault."""


class NNTPProtocolError(NewsError, ProtocolError):
    """The peer broke a rule of its protocol.

    Attributes:
        rule: The rule broken.
    """


class NNTPUsageError(NewsError, UsageError):
    """The caller asked for something that cannot be; nothing was changed."""


class NNTPReplyError(NewsError):
    """The server answered, and the answer was no.

    Attributes:
        code: The reply's code.
        text: What stands behind it.
        command: The command's words that were answered.
    """

    def __init__(self, code: int, text: str, command: str = "") -> None:
        super().__init__(f"{command + ': ' if command else ''}{code} {text[:500]}")
        self.code = code
        self.text = text
        self.command = command


class NNTPTransientError(NNTPReplyError):
    """A reply of 4yz: not now, or not this (RFC 3977 §3.2)."""


class NNTPPermanentError(NNTPReplyError):
    """A reply of 5yz: the server cannot do that (RFC 3977 §3.2)."""


class ArticleError(NewsError):
    """Octets that are no article (RFC 5536), or an article that is not wanted.

    Attributes:
        reason: In few words, for a reply's text: printable ASCII.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class DuplicateError(ArticleError):
    """An article that there is already, or was."""


class TryLaterError(NewsError):
    """The article may be wanted, and cannot be taken now."""


class StoreError(NewsError):
    """A store cannot do what it was asked: the disk is full, or broken."""
