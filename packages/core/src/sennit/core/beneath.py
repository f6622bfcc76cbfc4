"""Files beneath a folder, and nowhere else: every name is opened by itself.

`Folder.descend` opens one directory after the other, each relative to the descriptor of the one
before, without following links: there is no moment between a check and its use, and no string
that a ``..`` could hide in. What is done in the directory it gives (``dir_fd=``) is done there,
wherever that may have been moved to since.

A file that is sent from needs no more than a `Descriptor`.

Elsewhere: which names there can be, and what may be done (whoever serves files knows).
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

__all__ = ["Descriptor", "Folder"]

_REOPEN_AFTER: Final = 1.0
"""Seconds for which the folder's own descriptor is believed to be the folder still."""
_CLOEXEC: Final = getattr(os, "O_CLOEXEC", 0)
_NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
# To look for names in a directory needs no right to list it (Linux: a descriptor for that).
_PASSAGE: Final = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | _CLOEXEC


class Descriptor:
    """A descriptor as a file to send from, until it is closed.

    What `os.fdopen` makes asks the system five questions first, to which the answers
    are known here: it is a regular file, and nobody minds where it stands. It has what
    transports and engines ask of a file, and no more.
    """

    __slots__ = ("_at", "_fd", "closed")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._at = 0
        self.closed = False

    def fileno(self) -> int:
        """The descriptor."""
        return self._fd

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int) -> int:
        """Stand at an octet, counted from the beginning."""
        self._at = offset
        return offset

    def tell(self) -> int:
        """Where it stands."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """The next octets; all that are left when no number is given."""
        if size < 0:
            size = max(0, os.fstat(self._fd).st_size - self._at)
        data = os.pread(self._fd, size, self._at)
        self._at += len(data)
        return data

    def close(self) -> None:
        """Give the descriptor back. Harmless when that was done."""
        if not self.closed:
            self.closed = True
            os.close(self._fd)

    def __del__(self) -> None:
        self.close()


class Folder:
    """A folder beneath which files are opened.

    Args:
        path: Where it is. It need not be there yet.

    Attributes:
        path: Where it is, absolute.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: str = os.path.abspath(path)
        self._fd = -1
        self._known: tuple[int, int] | None = None
        self._looked = float("-inf")

    def close(self) -> None:
        """Give the folder's own descriptor back; it is opened again when it is needed."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._known = None

    def __del__(self) -> None:
        self.close()

    def own(self) -> int:
        """The folder's descriptor; opened anew when another folder has taken its place.

        Raises:
            OSError: It cannot be opened.
        """
        now = time.monotonic()
        if self._fd >= 0 and now - self._looked < _REOPEN_AFTER:
            return self._fd
        found = os.stat(self.path)
        known = (found.st_dev, found.st_ino)
        if self._fd < 0 or known != self._known:
            self.close()
            self._fd = os.open(self.path, _PASSAGE)
            self._known = known
        self._looked = now
        return self._fd

    def descend(self, names: Sequence[str], *, follow: bool = False) -> int:
        """Open the directory that the names lead to, for what takes ``dir_fd``.

        Args:
            names: From this folder down, each one name: never ``..``, nor one with a slash.
            follow: Whether links are followed, wherever they lead.

        Returns:
            A descriptor, to be given back by `leave`. It may not be read from.

        Raises:
            OSError: It cannot be opened.
        """
        folder = own = self.own()
        flags = _PASSAGE if follow else _PASSAGE | _NOFOLLOW
        for name in names:
            try:
                below = os.open(name, flags, dir_fd=folder)
            finally:
                if folder != own:
                    os.close(folder)
            folder = below
        return folder

    def leave(self, folder: int) -> None:
        """Give back what `descend` gave; the folder's own descriptor stays open."""
        if folder != self._fd:
            os.close(folder)
