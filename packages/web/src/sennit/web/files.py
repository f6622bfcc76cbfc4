"""Opening files beneath a folder, and nowhere else.

Each segment is opened by itself, as `sennit.core.beneath` does (HARDENING h1-19, h1-20).

Where the system cannot open relative to a descriptor (Windows) the path is
resolved and compared instead; that has not been run.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from sennit.core import beneath

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Folder", "Opened", "acceptable"]

_BY_DESCRIPTOR: Final = os.open in os.supports_dir_fd
_CLOEXEC: Final = getattr(os, "O_CLOEXEC", 0)
# Nobody waits for the writer of a FIFO, or becomes the owner of a terminal.
_READ: Final = (
    os.O_RDONLY | _CLOEXEC | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)  # fmt: skip
_DIRECTORY: Final = os.O_RDONLY | _CLOEXEC | getattr(os, "O_DIRECTORY", 0)
_NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)


def acceptable(segment: str) -> bool:
    """Whether a segment may be a file's name: no dot file, no separator, nothing odd.

    ``.well-known`` is the one hidden name that the Web has an agreement about (RFC 8615).
    """
    if not segment or "/" in segment or "\\" in segment or "\0" in segment:
        return False
    if segment[0] == ".":
        return segment == ".well-known"
    return _BY_DESCRIPTOR or not (":" in segment or segment[-1] in ". ")


class Opened:
    """An open file or folder, closed by `close` unless somebody takes `fd`.

    Attributes:
        fd: Its descriptor.
        stat: What `fstat` says of it.
    """

    __slots__ = ("fd", "stat")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        try:
            self.stat = os.fstat(fd)
        except OSError:
            os.close(fd)
            raise

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.stat.st_mode)

    @property
    def is_folder(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.stat.st_mode)

    def close(self) -> None:
        """Give the descriptor back. Harmless when that was done."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def take(self) -> int:
        """The descriptor, from now on the caller's to close."""
        fd, self.fd = self.fd, -1
        return fd


class Folder(beneath.Folder):
    """A folder beneath which files are opened.

    Args:
        path: Where it is.
        follow: Whether links are followed, out of the folder too.

    Attributes:
        follow: As given.
    """

    def __init__(self, path: str | os.PathLike[str], *, follow: bool = False) -> None:
        super().__init__(path)
        self._nofollow = 0 if follow else _NOFOLLOW
        self.follow = follow

    def open(self, segments: Sequence[str], *, names: Sequence[str] = ()) -> list[Opened | None]:
        """Open what the segments lead to, and further names beside it.

        Args:
            segments: Each `acceptable`; empty for the folder itself.
            names: Names in the folder of what the last segment names, opened too where
                they are there.

        Returns:
            The first is what was asked for; then one per name.

        Raises:
            OSError: It cannot be opened. (What stands beside it does not matter.)
        """
        if not _BY_DESCRIPTOR:  # pragma: no cover - Windows
            return self._open_by_path(segments, names)
        if not segments:
            return [Opened(os.open(".", _DIRECTORY, dir_fd=self.own())), *(None for _ in names)]
        folder = self.descend(segments[:-1], follow=self.follow)
        try:
            found: list[Opened | None] = [
                Opened(os.open(segments[-1], _READ | self._nofollow, dir_fd=folder))
            ]
            for name in names:
                try:
                    found.append(Opened(os.open(name, _READ | self._nofollow, dir_fd=folder)))
                except OSError:
                    found.append(None)
            return found
        finally:
            self.leave(folder)

    def _open_by_path(
        self, segments: Sequence[str], names: Sequence[str]
    ) -> list[Opened | None]:  # pragma: no cover - Windows
        root = os.path.realpath(self.path)
        path = os.path.join(root, *segments)
        real = os.path.realpath(path)
        if not self.follow and os.path.normcase(real) != os.path.normcase(path):
            raise FileNotFoundError(path)
        found: list[Opened | None] = [Opened(os.open(path, _READ))]
        for name in names:
            try:
                found.append(Opened(os.open(os.path.join(os.path.dirname(path), name), _READ)))
            except OSError:
                found.append(None)
        return found
