"""How much a user may keep, and how much there is.

`Usage` counts what lies beneath a root and is shared by all sessions that have it for theirs;
`Quota` says how much of it one user may add to. An `Account` is both, and the only thing that
stores ask: what comes is taken before it is written, and given back where it is not kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.ftp.errors import FTPUsageError, QuotaError

if TYPE_CHECKING:
    from typing import Final

__all__ = ["Account", "Quota", "Usage"]


class Quota:
    """The most that may lie beneath a root.

    Args:
        octets: In all files together; ``None`` for no bound.
        files: Files and directories; ``None`` for no bound.
    """

    __slots__ = ("files", "octets")

    def __init__(self, octets: int | None = None, files: int | None = None) -> None:
        if any(each is not None and each < 0 for each in (octets, files)):
            raise FTPUsageError(f"a quota is no less than 0: {octets!r} octets, {files!r} files")
        self.octets: Final = octets
        self.files: Final = files

    def __repr__(self) -> str:
        return f"Quota(octets={self.octets!r}, files={self.files!r})"


class Usage:
    """What lies beneath a root.

    Attributes:
        octets: Of all files together, those too that are being received.
        files: Files and directories, the root not counted.
    """

    __slots__ = ("files", "octets")

    def __init__(self, octets: int = 0, files: int = 0) -> None:
        self.octets = octets
        self.files = files

    def __repr__(self) -> str:
        return f"Usage(octets={self.octets}, files={self.files})"


class Account:
    """One user's quota on what there is.

    Args:
        quota: ``None`` for no bounds at all.
        usage: What there is, shared with others who use it.
    """

    __slots__ = ("quota", "usage")

    def __init__(self, quota: Quota | None = None, usage: Usage | None = None) -> None:
        self.quota = quota or Quota()
        self.usage = usage or Usage()

    def demand(self, octets: int = 0, files: int = 0, *, instead_of: int = 0) -> None:
        """Make sure that so much more would be within the quota.

        Args:
            octets: That come. Nothing is always within it.
            files: Likewise.
            instead_of: Octets that are counted now and will go when these are kept.

        Raises:
            QuotaError: It would not.
        """
        quota, usage = self.quota, self.usage
        if (
            quota.octets is not None
            and octets > 0
            and usage.octets + octets - instead_of > quota.octets
        ):
            raise QuotaError(f"That would be more than the {quota.octets} octets you may have")
        if quota.files is not None and files > 0 and usage.files + files > quota.files:
            raise QuotaError(f"That would be more than the {quota.files} files you may have")

    def add(self, octets: int = 0, files: int = 0) -> None:
        """Count so much more, or less. Never counts below nothing: others change files too."""
        usage = self.usage
        usage.octets = max(usage.octets + octets, 0)
        usage.files = max(usage.files + files, 0)
