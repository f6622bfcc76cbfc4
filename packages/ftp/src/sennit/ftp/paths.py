"""What a client writes as a path, and the names that a store is asked by.

`resolve` makes a `FilePath` of text and a working directory; `written` the text of a path, as
replies tell it. A slash parts names, ``.`` is the directory itself and ``..`` the one above (TVFS,
RFC 3659 §6); all else is a name like any other: ``~``, backslashes, braces. Nothing leads above
the root: such a path is answered like one that is not there.

`split_listing` reads what stands behind LIST and NLST: letters of options, a path, and a pattern
in its last name, in which ``*`` alone means something. `Pattern` matches in time linear in the
name for each ``*``.

Elsewhere: what a path leads to, links and permissions (``store/``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sennit.ftp.errors import FileUnavailableError

if TYPE_CHECKING:
    from sennit.ftp.interfaces import FilePath

__all__ = ["Listing", "Pattern", "resolve", "split_listing", "written"]

MAX_PATH = 4096
"""Octets of a path where nobody says otherwise."""
MAX_DEPTH: Final = 128
"""Names of a path. Each is a directory to be opened: two thousand took milliseconds a command."""


def resolve(text: str, directory: FilePath = (), max_path: int = MAX_PATH) -> FilePath:
    """The path that a client means.

    Args:
        text: What it wrote.
        directory: Where it is.
        max_path: Octets that the path may have in full.

    Raises:
        FileUnavailableError: It leads above the root, is too long or too deep, or no name could
            be like that: answered like what is not there.
    """
    if "\0" in text or len(text) > max_path:
        raise FileUnavailableError
    names: list[str] = [] if text[:1] == "/" else list(directory)
    for name in text.split("/"):
        if name == "..":
            if not names:
                raise FileUnavailableError
            names.pop()
        elif name and name != ".":
            names.append(name)
    if len(names) > MAX_DEPTH:
        raise FileUnavailableError
    if sum(map(len, names)) + len(names) > max_path // 4:
        # Only then it is worth the work to count octets.
        try:
            size = sum(len(name.encode()) + 1 for name in names)
        except UnicodeEncodeError:
            raise FileUnavailableError from None
        if size > max_path:
            raise FileUnavailableError
    return tuple(names)


def written(path: FilePath) -> str:
    """A path as text, from the root down."""
    return "/" + "/".join(path)


class Listing(NamedTuple):
    """What LIST or NLST is asked for.

    Attributes:
        text: The directory or file, as the client wrote it; empty for where it is.
        pattern: Names wanted, or ``None`` for all.
        options: Letters of options.
    """

    text: str
    pattern: Pattern | None
    options: str


def split_listing(argument: str | None) -> Listing:
    """Read the argument of LIST or NLST.

    Options as ``ls`` has them come first, if any: clients send ``-la`` to every server.

    Raises:
        FileUnavailableError: A pattern stands elsewhere than in the last name, or a listing of
            all directories beneath is wanted (``-R``).
    """
    rest = (argument or "").lstrip(" ")
    options = ""
    while rest[:1] == "-":
        word, _, rest = rest.partition(" ")
        options += word[1:]
        rest = rest.lstrip(" ")
    if "R" in options:
        raise FileUnavailableError
    if "*" not in rest:
        return Listing(rest, None, options)
    head, slash, last = rest.rpartition("/")
    if "*" in head:
        raise FileUnavailableError
    return Listing(head + slash, Pattern(last, hidden="a" in options), options)


class Pattern:
    """Names with ``*`` for any characters.

    Args:
        text: The pattern.
        hidden: Whether it matches names that begin with a dot without saying so.
    """

    __slots__ = ("_hidden", "_parts", "text")

    def __init__(self, text: str, *, hidden: bool = False) -> None:
        self.text = text
        self._parts = text.split("*")
        self._hidden = hidden or text[:1] == "."

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Pattern):
            return NotImplemented
        return self.text == other.text and self._hidden == other._hidden

    def __hash__(self) -> int:
        return hash(self.text)

    def matches(self, name: str) -> bool:
        """Whether a name is one of those wanted."""
        if name[:1] == "." and not self._hidden:
            return False
        if len(self._parts) == 1:
            return name == self.text
        first, *middle, last = self._parts
        if not name.startswith(first) or len(name) < len(first) + len(last):
            return False
        at = len(first)
        end = len(name) - len(last)
        if not name.endswith(last):
            return False
        for part in middle:
            # The first place where it stands leaves most for the others.
            at = name.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return True
