"""Every exception this package raises on purpose, as one tree.

::

    FTPError
    ├── FTPProtocolError       the peer broke a rule (is a core ProtocolError)
    ├── FTPUsageError          the caller asked for what cannot be (is a ValueError)
    ├── FTPReplyError          the server's reply says no: `code`, `lines`
    │   ├── FTPTransientError      4yz: it may work later
    │   └── FTPPermanentError      5yz
    ├── TransferError          a transfer ended before it was whole
    └── StoreError             a store cannot do what it was asked: `code` of the reply
        ├── FileUnavailableError   550: missing or forbidden, told alike
        ├── FileBusyError          450: not now
        ├── FileNameError          553: no such name can be given
        ├── RestartError           554: the file has no such octet
        ├── QuotaError             552: more than the user may have
        └── NoSpaceError           452: the disk is full, or broken
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.core.errors import ProtocolError, SennitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "DifferentError",
    "FTPError",
    "FTPPermanentError",
    "FTPProtocolError",
    "FTPReplyError",
    "FTPTransientError",
    "FTPUsageError",
    "FileBusyError",
    "FileNameError",
    "FileUnavailableError",
    "NoSpaceError",
    "QuotaError",
    "RestartError",
    "StoreError",
    "TransferError",
]


class FTPError(SennitError):
    """Whatever this package raises on purpose, whoever was at fault."""


class FTPProtocolError(FTPError, ProtocolError):
    """The peer broke a rule of its protocol.

    Attributes:
        rule: The rule broken.
        reply_code: What a server answers to it.
    """

    def __init__(self, message: str, rule: str = "", reply_code: int = 500) -> None:
        super().__init__(message, rule)
        self.reply_code = reply_code


class FTPUsageError(FTPError, UsageError):
    """The caller asked for something that cannot be; nothing was changed."""


class FTPReplyError(FTPError):
    """The server answered, and the answer was no.

    Attributes:
        code: The reply's code.
        lines: Its lines, without codes.
        command: The command's word that was answered.
    """

    def __init__(self, code: int, lines: Sequence[str], command: str = "") -> None:
        super().__init__(f"{command + ': ' if command else ''}{code} {' / '.join(lines)[:500]}")
        self.code = code
        self.lines = tuple(lines)
        self.command = command


class FTPTransientError(FTPReplyError):
    """A reply of 4yz: the same may work later (RFC 959 §4.2)."""


class FTPPermanentError(FTPReplyError):
    """A reply of 5yz: the same will not work (RFC 959 §4.2)."""


class TransferError(FTPError):
    """A transfer ended before it was whole, though the replies may say otherwise."""


class DifferentError(TransferError):
    """A file came or went whole, and its hash is another here than there."""


class StoreError(FTPError):
    """A store cannot do what it was asked.

    Attributes:
        code: The reply's code (RFC 959 §5.4).
    """

    code = 550

    def __init__(self, message: str = "No such file or directory, or not allowed") -> None:
        super().__init__(message)


class FileUnavailableError(StoreError):
    """What is missing or forbidden; nobody is told which (RFC 2577 §5)."""


class FileBusyError(StoreError):
    """The file is in use."""

    code = 450


class FileNameError(StoreError):
    """A file or directory cannot have that name."""

    code = 553


class RestartError(StoreError):
    """The file has no such octet to go on from (RFC 1123 §4.1.3.4)."""

    code = 554

    def __init__(self, message: str = "The file has no such octet to go on from") -> None:
        super().__init__(message)


class QuotaError(StoreError):
    """It would be more than the user may have."""

    code = 552


class NoSpaceError(StoreError):
    """The disk has no room, or is broken."""

    code = 452
