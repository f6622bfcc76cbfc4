"""Where in a TOML text each value stands, so that an error can name its line.

`tomllib` says what a text means and not where. `locate` reads a text that
tomllib has accepted, so it need not check anything: it follows headers, keys,
strings, arrays and inline tables, and notes the line on which each began.

Source: TOML v1.0.0 (https://toml.io/en/v1.0.0).
"""

from __future__ import annotations

import re
import tomllib

__all__ = ["locate"]

Path = tuple[str | int, ...]

_BLANK = re.compile(r"[ \t]*")
_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRINGS = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_PLAIN_VALUE = re.compile(r"[^,\]}#\r\n]+")


def locate(text: str) -> dict[Path, int]:
    """The line, counted from one, of every table, key and array item of `text`.

    Args:
        text: A TOML document that `tomllib.loads` accepts.

    Returns:
        Lines by path: ``("service", "site", "listen", 0)``. A path that was not
        understood is left out.
    """
    reader = _Reader(text)
    try:
        reader.read()
    except (IndexError, RecursionError, ValueError):
        # Not understood: what was found so far still helps.
        pass
    return reader.lines


class _Reader:
    """Goes through a document once."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._counted_to = 0
        self._line = 1
        self._items: dict[Path, int] = {}

    def read(self) -> None:
        table: Path = ()
        while True:
            self._skip(_SPACE)
            if self._at >= len(self._text):
                return
            if self._text.startswith("[[", self._at):
                self._at += 2
                name = self._key(table=())
                number = self._items.get(name, 0)
                self._items[name] = number + 1
                table = (*name, number)
                self._note(name)
                self._note(table)
                self._at = self._text.index("]]", self._at) + 2
            elif self._text[self._at] == "[":
                self._at += 1
                table = self._key(table=())
                for length in range(1, len(table) + 1):
                    self._note(table[:length])
                self._at = self._text.index("]", self._at) + 1
            else:
                self._pair(table)

    def _pair(self, table: Path) -> None:
        path = self._key(table)
        for length in range(len(table) + 1, len(path) + 1):
            self._note(path[:length])
        self._at = self._text.index("=", self._at) + 1
        self._skip(_BLANK)
        self._value(path)

    def _key(self, table: Path) -> Path:
        """Read a dotted key; with array tables on its way resolved to their last item."""
        path = table
        while True:
            self._skip(_BLANK)
            if self._text[self._at] in "\"'":
                part: str = tomllib.loads(f"k = {self._take(_STRINGS)}")["k"]
            else:
                part = self._take(_BARE_KEY)
            path = (*path, part)
            self._skip(_BLANK)
            if not self._text.startswith(".", self._at):
                return path
            self._at += 1
            if path in self._items:
                path = (*path, self._items[path] - 1)

    def _value(self, path: Path) -> None:
        first = self._text[self._at]
        if first in "\"'":
            self._take(_STRINGS)
        elif first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        else:
            self._skip(_PLAIN_VALUE)

    def _array(self, path: Path) -> None:
        self._at += 1
        number = 0
        while True:
            self._skip(_SPACE)
            if self._text[self._at] == "]":
                self._at += 1
                return
            item = (*path, number)
            self._note(item)
            self._value(item)
            number += 1
            self._skip(_SPACE)
            if self._text[self._at] == ",":
                self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while True:
            self._skip(_SPACE)
            if self._text[self._at] == "}":
                self._at += 1
                return
            self._pair(path)
            self._skip(_SPACE)
            if self._text[self._at] == ",":
                self._at += 1

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise ValueError("not as tomllib reads it")
        self._at = match.end()
        return match[0]

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        if match is not None:
            self._at = match.end()

    def _note(self, path: Path) -> None:
        self._line += self._text.count("\n", self._counted_to, self._at)
        self._counted_to = self._at
        self.lines.setdefault(path, self._line)
