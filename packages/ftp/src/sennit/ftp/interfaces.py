"""What the server asks of its surroundings: whose files they are, and where they lie.

A login gives an avatar, which is an `IFileStore`: what one user sees, with his permissions, his
quota and his root. It is asked by `FilePath`, which cannot leave the root by what it is: the names
between two slashes, never ``""``, ``.`` or ``..``, without ``/`` and NUL. The server makes them of
what a client wrote (``sennit.ftp.paths``).

Methods fail with `StoreError` and its like (``sennit.ftp.errors``), which the server turns into
replies; what is missing and what is forbidden fail alike (RFC 2577 §5 says why).
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, TypeAlias

from sennit.core.interfaces import Interface

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from sennit.core.interfaces import Buffer

__all__ = ["Entry", "FilePath", "IDrainingWriter", "IFileStore", "IReader", "IWriter"]

FilePath: TypeAlias = tuple[str, ...]
"""The names from the root down; the root is ``()``."""


class Entry:
    """A file or directory as its store tells of it.

    Attributes:
        name: Its name in its directory; empty for the root.
        kind: ``"file"``, ``"dir"``, or ``"other"``, which can be listed and not opened. In the
            listings of other servers also ``"link"``; no store of ours tells of one.
        size: Octets; of a directory whatever the store has. -1 where a server did not tell.
        modified: POSIX seconds.
        mode: Permission bits, as Unix has them (0o644).
        owner: Whose it is, as shown in listings.
        group: Likewise.
        permissions: What this user may do with it: letters of the fact ``perm`` (RFC 3659 §7.5.5).
        unique: The same for two names of one file, and only then; empty when unknown.
        links: Names that it has.
        target: Where a link leads, as its server tells.
    """

    __slots__ = (
        "group",
        "kind",
        "links",
        "mode",
        "modified",
        "name",
        "owner",
        "permissions",
        "size",
        "target",
        "unique",
    )

    def __init__(
        self,
        name: str,
        kind: str,
        *,
        size: int = 0,
        modified: float = 0.0,
        mode: int = 0o644,
        owner: str = "ftp",
        group: str = "ftp",
        permissions: str = "",
        unique: str = "",
        links: int = 1,
        target: str = "",
    ) -> None:
        self.name = name
        self.kind = kind
        self.size = size
        self.modified = modified
        self.mode = mode
        self.owner = owner
        self.group = group
        self.permissions = permissions
        self.unique = unique
        self.links = links
        self.target = target

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.kind} {self.name!r} of {self.size} octets>"


class IReader(Interface):
    """A file that is being sent."""

    @property
    def entry(self) -> Entry:
        """What is read; its size is that of the moment of opening."""
        ...

    @property
    def file(self) -> IO[bytes] | None:
        """A file of the system, for ``sendfile``; ``None`` where there is none."""
        ...

    def read(self, offset: int, length: int) -> Awaitable[bytes]:
        """Give up to `length` octets from `offset` on; nothing at the end."""
        ...

    def close(self) -> None:
        """Forget it; harmless when it was."""


class IWriter(Interface):
    """A file that is being received. What was written appears whole, by `commit`, or not at all.

    A file that is resumed or appended to is the exception: it grows where it is, since the
    client counts on what has arrived. A store may keep what has come of new files likewise.
    """

    @property
    def keeps(self) -> bool:
        """Whether `abort` leaves what has been written where it is, to be gone on with."""
        ...

    @property
    def path(self) -> FilePath:
        """Where it will be: a name that the store has found for STOU."""
        ...

    def write(self, pieces: Sequence[Buffer]) -> Awaitable[None]:
        """Write the pieces, in order, at the end of what was written; done when it is done.

        Their memory is used again once it is done: what waits for longer is to be copied.

        Raises:
            QuotaError: It would be more than the user may have, or the disk has no room.
        """
        ...

    def commit(self) -> Awaitable[None]:
        """All has come: make it last, and give it its name."""
        ...

    def abort(self) -> Awaitable[None]:
        """It will not come: undo, unless it `keeps` that. Harmless after `commit`."""
        ...


class IDrainingWriter(IWriter, Interface):
    """A writer that may go on by itself with what has come meanwhile: one that has a thread."""

    @property
    def drains(self) -> bool:
        """Whether it can for this file."""
        ...

    def write_on(
        self, pieces: Sequence[Buffer], more: Callable[[], Buffer | None]
    ) -> Awaitable[None]:
        """`write`, and behind the pieces what `more` gives, until it gives nothing.

        Args:
            pieces: As for `write`.
            more: Asked in whatever thread; what it gives is good until it is asked again.

        Raises:
            QuotaError: As `write`.
        """
        ...


class IFileStore(Interface):
    """The files of one user: his avatar."""

    def stat(self, path: FilePath) -> Awaitable[Entry]:
        """Tell what stands there."""
        ...

    def list_directory(self, path: FilePath) -> AsyncIterator[Sequence[Entry]]:
        """Give what is in a directory, in batches and no order, without links that lead out."""
        ...

    def open_reader(self, path: FilePath) -> Awaitable[IReader]:
        """Open a file to be sent."""
        ...

    def open_writer(
        self,
        path: FilePath,
        *,
        offset: int = 0,
        append: bool = False,
        unique: bool = False,
        size: int | None = None,
    ) -> Awaitable[IWriter]:
        """Open a file to be received.

        Args:
            path: The file; with `unique` the directory, or a file whose name is a proposal.
            offset: Octet of an existing file from which on it is written anew (REST).
            append: Write behind what is there (APPE); the file need not be there.
            unique: Find a name that is free (STOU).
            size: Octets that were announced (ALLO): refused at once where there is no room.
        """
        ...

    def make_directory(self, path: FilePath) -> Awaitable[None]:
        """Make a directory."""
        ...

    def remove_directory(self, path: FilePath) -> Awaitable[None]:
        """Remove an empty directory."""
        ...

    def remove_file(self, path: FilePath) -> Awaitable[None]:
        """Remove a file."""
        ...

    def rename(self, source: FilePath, target: FilePath) -> Awaitable[None]:
        """Give a file or directory another name."""
        ...

    def set_mode(self, path: FilePath, mode: int) -> Awaitable[None]:
        """Set the permission bits (SITE CHMOD)."""
        ...

    def set_modified(self, path: FilePath, modified: float) -> Awaitable[None]:
        """Set the time of the last change, POSIX seconds (MFMT)."""
        ...
