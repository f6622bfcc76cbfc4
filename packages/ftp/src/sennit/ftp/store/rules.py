"""What a user may do in which directory, and what names there can be.

`Permissions` are words by directory; those of the nearest directory above a file hold for it,
since it is the directory that is listed, written to and removed from. Both stores ask here, and
give one answer to whoever asks for what is missing, forbidden or not to be named (RFC 2577 §5).

Sources: RFC 3659 §7.5.5 (letters of the fact ``perm``).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, cast

from sennit.ftp.errors import (
    FileNameError,
    FileUnavailableError,
    FTPUsageError,
    RestartError,
)
from sennit.ftp.listing import is_speakable

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sennit.ftp.interfaces import FilePath

    Words = str | Collection[str]

__all__ = [
    "APPEND",
    "CHANGE",
    "CREATE",
    "DELETE",
    "LIST",
    "MKDIR",
    "PERMISSION_WORDS",
    "READ",
    "RENAME",
    "WRITE",
    "Names",
    "Permissions",
    "check_mode",
    "free_names",
    "may_go_on",
    "where_to_write",
]

LIST: Final = 1
READ: Final = 2
CREATE: Final = 4
WRITE: Final = 8
APPEND: Final = 16
DELETE: Final = 32
RENAME: Final = 64
MKDIR: Final = 128
CHANGE: Final = 256

PERMISSION_WORDS: Final[dict[str, int]] = {
    "list": LIST,  # see what is in the directory
    "read": READ,  # fetch its files
    "create": CREATE,  # store files under names that are free
    "write": WRITE,  # replace files
    "append": APPEND,  # write behind what is in a file
    "delete": DELETE,  # remove files and empty directories
    "rename": RENAME,  # take a name away; giving it asks for "create" or "mkdir"
    "mkdir": MKDIR,  # make directories
    "change": CHANGE,  # set permission bits and times
    "nothing": 0,
    "view": LIST | READ,
    "upload": CREATE | APPEND | MKDIR,
    "all": LIST | READ | CREATE | WRITE | APPEND | DELETE | RENAME | MKDIR | CHANGE,
}
"""Words for what may be done in a directory, and for some of them together."""

TEMPORARY: Final = re.compile(r"\.sennit-[0-9a-f]{16}\.part")
"""Names of files that are being received."""
LONGEST_NAME: Final = 255
"""Octets of a name that is given."""

_NO_NAMES: Final = frozenset({"", ".", ".."})


class Permissions:
    """What may be done where.

    Args:
        given: Words (`PERMISSION_WORDS`) for all there is, or such by directory, as
            ``{"/": "view", "/incoming": ["create"]}``; what is said of a directory holds beneath
            it too, up to one of which something else is said.

    Raises:
        FTPUsageError: Some word is none, or something that is said of no directory.
    """

    __slots__ = ("_by_directory", "_deepest", "_everywhere")

    def __init__(self, given: Words | Mapping[str, Words] = "all") -> None:
        by_name = cast("Mapping[str, Words]", given) if isinstance(given, Mapping) else {"/": given}
        self._by_directory: dict[FilePath, int] = {}
        for directory, words in by_name.items():
            path = tuple(each for each in directory.split("/") if each)
            if not directory.startswith("/") or any(each in {".", ".."} for each in path):
                raise FTPUsageError(f"permissions are of a directory such as /a/b: {directory!r}")
            if path in self._by_directory:
                raise FTPUsageError(f"permissions of {directory!r} are given twice")
            self._by_directory[path] = _flags(words)
        self._everywhere = self._by_directory.pop((), 0)
        self._deepest = max(map(len, self._by_directory), default=0)

    @classmethod
    def of(cls, given: Words | Mapping[str, Words] | Permissions) -> Permissions:
        """Take what stands for permissions, or is some."""
        return given if isinstance(given, Permissions) else cls(given)

    def at(self, directory: FilePath) -> int:
        """What may be done in a directory: the sum of `LIST` and so on."""
        if self._by_directory:
            for end in range(min(len(directory), self._deepest), 0, -1):
                found = self._by_directory.get(directory[:end])
                if found is not None:
                    return found
        return self._everywhere

    def can_see(self, path: FilePath) -> bool:
        """Whether the user may know what stands at a path.

        That is so where its directory may be listed. A directory of which something is said can
        be entered in any case: somebody may write in it and see nothing else.
        """
        return bool(not path or self.at(path[:-1]) & LIST or self.is_named(path))

    def is_named(self, path: FilePath) -> bool:
        """Whether something is said of this directory, or of one beneath it.

        Such a one keeps its name: elsewhere, other permissions would hold for it.
        """
        return any(each[: len(path)] == path for each in self._by_directory)

    def need(self, flags: int, directory: FilePath) -> None:
        """Make sure that all of this may be done there.

        Raises:
            FileUnavailableError: It may not.
        """
        if self.at(directory) & flags != flags:
            raise FileUnavailableError

    def letters(self, path: FilePath, *, is_directory: bool) -> str:
        """Tell what may be done with a file or directory (RFC 3659 §7.5.5).

        Args:
            path: Which.
            is_directory: What it is.
        """
        at = self.at(path[:-1])
        if not is_directory:
            return _FILE_LETTERS[at]
        inside = self.at(path) if self._by_directory else at
        if path and not (self._by_directory and self.is_named(path)):
            return _INSIDE_LETTERS[inside] + _OUTSIDE_LETTERS[at]
        return _INSIDE_LETTERS[inside]


def _flags(words: Words) -> int:
    flags = 0
    for word in words.split() if isinstance(words, str) else words:
        if word not in PERMISSION_WORDS:
            raise FTPUsageError(
                f"no permission is called {word!r}, but these are: {', '.join(PERMISSION_WORDS)}"
            )
        flags |= PERMISSION_WORDS[word]
    return flags


class _Letters(dict[int, str]):
    """Letters by flags, put together when they are first asked for."""

    def __init__(self, *letters: tuple[int, str]) -> None:
        super().__init__()
        self._letters = letters

    def __missing__(self, flags: int) -> str:
        made = self[flags] = "".join(letter for flag, letter in self._letters if flags & flag)
        return made


_FILE_LETTERS: Final = _Letters(
    (APPEND, "a"), (DELETE, "d"), (RENAME, "f"), (READ, "r"), (WRITE, "w")
)
_INSIDE_LETTERS: Final = _Letters((CREATE, "c"), (LIST, "el"), (MKDIR, "m"), (DELETE, "p"))
_OUTSIDE_LETTERS: Final = _Letters((DELETE, "d"), (RENAME, "f"))


class Names:
    """Which names there are, and which can be given.

    Args:
        hidden: Whether names that begin with a dot are there.
    """

    __slots__ = ("_hidden",)

    def __init__(self, *, hidden: bool = True) -> None:
        self._hidden = hidden

    def shows(self, name: str) -> bool:
        """Whether a name that stands in a directory is told to anybody."""
        if name.startswith(".") and (not self._hidden or TEMPORARY.fullmatch(name)):
            return False
        return is_speakable(name)

    def find(self, path: FilePath) -> None:
        """Make sure that all names of a path are some that are told.

        Raises:
            FileUnavailableError: They are not, so nothing is there.
        """
        for name in path:
            if not self.can_be(name):
                raise FileUnavailableError

    def can_be(self, name: str) -> bool:
        """Whether a name can be one that is told."""
        return (
            name not in _NO_NAMES
            and "/" not in name
            and self.shows(name)
            # No character of UTF-8 is longer than four octets.
            and (len(name) * 4 <= LONGEST_NAME or len(name.encode()) <= LONGEST_NAME)
        )

    def give(self, path: FilePath) -> None:
        """Make sure that a path's last name can be given, and its others are there to be found.

        Raises:
            FileUnavailableError: It is the root, or the others are not.
            FileNameError: It cannot be given.
        """
        if not path:
            raise FileUnavailableError
        self.find(path[:-1])
        if not self.can_be(path[-1]):
            raise FileNameError("No file or directory can have that name")


# ── what both stores do alike ─────────────────────────────────────────────────


def may_go_on(allowed: int) -> bool:
    """Tell whether a part of a file is worth keeping: whether its end may be written later."""
    return bool(allowed & (APPEND | WRITE))


def where_to_write(allowed: int, there: int | None, offset: int, append: bool) -> int | None:
    """Tell where a file is written that is to be received.

    Args:
        allowed: What may be done in its directory.
        there: Octets of the file that is there; ``None`` when there is none.
        offset: As of ``IFileStore.open_writer``.
        append: Likewise.

    Returns:
        The octet of the file that is there; ``None`` when a new file is to take its place.

    Raises:
        FileUnavailableError: That may not be done.
        RestartError: The file has no such octet.
    """
    if there is None:
        if not allowed & CREATE:
            raise FileUnavailableError
        if offset:
            raise RestartError
        return None
    if not append and offset == 0:
        if not allowed & WRITE:
            raise FileUnavailableError
        return None
    at = there if append else offset
    # To go on from an octet that is there writes what is there anew.
    if not allowed & (APPEND if at >= there else WRITE):
        raise FileUnavailableError
    if at > there:
        raise RestartError
    return at


def free_names(proposed: str, *, bare: bool) -> Sequence[str]:
    """Give names to try for STOU, the best first.

    Args:
        proposed: What they begin with.
        bare: Whether it may be the proposal itself.
    """
    stem, dot, ending = proposed.rpartition(".")
    if not stem:
        stem, dot, ending = proposed, "", ""
    names = [proposed] if bare else []
    names += [f"{stem}-{secrets.token_hex(4)}{dot}{ending}" for _ in range(8)]
    return names


def check_mode(mode: int) -> int:
    """Give permission bits that may be set: no more than read, write and execute.

    Raises:
        FileUnavailableError: There are others, such as set-user-ID.
    """
    if mode & ~0o777:
        raise FileUnavailableError("These permission bits cannot be set")
    return mode
