r"""Zone files: text in, a zone out (RFC 1035 §5).

A file is read line by line; no more of it than one entry is held. A line without parentheses is
taken apart by one regular expression, and the records that zones mostly have (addresses, names)
are put into octets right there; all else goes through `sennit.names.presentation` and the types'
own readers. Errors name file and line; several are told in one go, and none gives no zone.

Beyond RFC 1035: ``$TTL`` (RFC 2308 §4), ``$GENERATE`` (``generate.py``), TTLs such as ``1h30m``,
unknown types (RFC 3597). ``$INCLUDE`` names a file beneath the folder of the one it stands in,
or absolutely; origin and owner are afterwards what they were (RFC 1035 §5.1).

Writing is in ``writer.py``.
"""

from __future__ import annotations

import os
import re
from itertools import chain
from typing import TYPE_CHECKING, Final

from sennit.names.codes import RRClass, RRType, class_from_text, class_text, type_from_text
from sennit.names.errors import DNSError, PresentationError, ZoneError
from sennit.names.name import Name
from sennit.names.presentation import Token, Tokens, seconds_from_text, split
from sennit.names.rdata import parse_rdata
from sennit.names.zone.builder import Builder
from sennit.names.zone.generate import MAX_GENERATED, expand, numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sennit.names.zone.rules import ZoneLimits
    from sennit.names.zone.zone import Zone

__all__ = ["MAX_INCLUDES", "ZoneReader", "read_zone"]

MAX_INCLUDES: Final = 10
"""Files that are open inside each other."""
_NAMES_KEPT: Final = 10_000
"""Names of one origin that are remembered, so that what stands on many lines is read once."""

_WORDS: Final = re.compile(
    r'([A-Za-z0-9-]+=)?"([^"\\]*(?:\\.[^"\\]*)*)"'  # a quoted string; key="value" is one word
    r'|((?:[^ \t\r;()"\\]|\\.)+)'  # a word
    r"|;.*"  # a comment
    r"|([()])"  # entries over several lines
    r'|(["\\])',  # what does not end
    re.DOTALL,
)
_ODD: Final = re.compile(r"[^ \t\r\n!#%-'*-:<-\[\]-~]")
"""What takes more than splitting at blanks: all but printing ASCII without quotes, parentheses,
semicolons, backslashes and dollar signs."""
_TYPES: Final = {each.name: int(each) for each in RRType} | {
    each.name.lower(): int(each) for each in RRType
}
_CLASSES: Final = {each.name: int(each) for each in RRClass} | {
    each.name.lower(): int(each) for each in RRClass
}
_A: Final = int(RRType.A)
_MX: Final = int(RRType.MX)
_SOA: Final = int(RRType.SOA)
_ONE_NAME: Final = frozenset(
    int(each) for each in (RRType.NS, RRType.CNAME, RRType.PTR, RRType.DNAME)
)
_OCTETS: Final = {str(each): each for each in range(256)}
_PLAIN_LABEL: Final = re.compile(rb"[A-Za-z0-9_*-]{1,63}").fullmatch


def read_zone(
    source: str | os.PathLike[str] | Iterable[str],
    origin: Name | str | None = None,
    *,
    rdclass: int = 1,
    limits: ZoneLimits | None = None,
) -> Zone:
    """Read a zone.

    Args:
        source: The file's path; or lines, which are no file (there are no relative
            ``$INCLUDE`` then).
        origin: The zone's name, which relative names are completed with; when left out, it is
            the owner of the SOA, which has to be the first record and written in full, or
            behind a ``$ORIGIN``.
        rdclass: Its class.
        limits: How much it may hold; a file is the operator's own and has no limit unless
            told otherwise.

    Raises:
        ZoneError: It is no zone; every line that is wrong is told, up to some number.
        OSError: The file cannot be read.
    """
    reader = ZoneReader(origin, rdclass=rdclass, limits=limits)
    if isinstance(source, str | os.PathLike):
        reader.read_file(os.fspath(source))
    else:
        reader.read_lines(source)
    return reader.finish()


class ZoneReader:
    """Reads files into one zone.

    Args:
        origin: The zone's name, or ``None``: see `read_zone`.
        rdclass: Its class.
        limits: How much it may hold.
        most_generated: Records that one $GENERATE may make.
        allow_include: Whether $INCLUDE may be used.
    """

    def __init__(
        self,
        origin: Name | str | None = None,
        *,
        rdclass: int = 1,
        limits: ZoneLimits | None = None,
        most_generated: int = MAX_GENERATED,
        allow_include: bool = True,
    ) -> None:
        self._origin = Name(origin) if isinstance(origin, str) else origin
        self._rdclass = rdclass
        self._limits = limits
        self._most_generated = most_generated
        self._allow_include = allow_include
        self._builder = None if self._origin is None else self._build(self._origin)
        self._open: list[str] = []
        self._file = ""
        self._line = 0
        self._default_ttl: int | None = None
        self._last_ttl: int | None = None
        self._owner: tuple[bytes, bytes] | None = None
        self._names: dict[str, tuple[bytes, bytes]] = {}
        self.files: list[str] = []
        """Paths of all files that were read."""

    def _build(self, origin: Name) -> Builder:
        return Builder(origin, self._rdclass, self._limits)

    def finish(self) -> Zone:
        """The zone.

        Raises:
            ZoneError: It is none.
        """
        if self._builder is None:
            raise ZoneError("there is no record", file=self._file)
        self._builder.file = self.files[0] if self.files else ""
        return self._builder.finish()

    def read_file(self, path: str) -> None:
        """Read a file.

        Raises:
            OSError: It cannot be read.
            ZoneError: There is too much that is wrong.
        """
        known = os.path.realpath(path)
        if known in self._open:
            raise PresentationError(f"{path} includes itself")
        if len(self._open) >= MAX_INCLUDES:
            raise PresentationError(f"more than {MAX_INCLUDES} files include each other")
        # Octets that are no UTF-8 become surrogates, which whoever reads the text refuses.
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="\n") as lines:
            before = self._file
            self._open.append(known)
            self.files.append(path)
            try:
                self.read_lines(lines, path)
            finally:
                self._open.pop()
                self._set_file(before)

    def read_lines(self, lines: Iterable[str], file: str = "") -> None:
        """Read lines.

        Raises:
            ZoneError: There is too much that is wrong.
        """
        self._set_file(file)
        rest = iter(lines)
        number = 0
        odd = _ODD.search
        for line in rest:
            number += 1
            self._line = number
            try:
                if odd(line) is None:
                    words = line.split()
                    if words:
                        self._entry(words, None, line[0] in " \t")
                    continue
                tokens = _simple_tokens(line)
                if tokens is None:
                    counted = _Counted(line, rest)
                    try:
                        entry = next(split(counted), None)
                    finally:
                        number += counted.more
                    tokens = [] if entry is None else entry.tokens
                if tokens:
                    self._entry([each.text for each in tokens], tokens, line[0] in " \t")
            except ZoneError:
                raise
            except (DNSError, UnicodeError, OSError, ValueError) as error:
                self._fault(error)

    def _set_file(self, file: str) -> None:
        self._file = file
        if self._builder is not None:
            self._builder.file = file

    def _fault(self, error: Exception) -> None:
        builder = self._builder
        if isinstance(error, UnicodeError):
            text = "octets that are no UTF-8; write them as \\DDD"
        elif isinstance(error, OSError):
            text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        else:
            text = getattr(error, "message", None) or str(error)
        if builder is None:
            raise ZoneError(text, line=self._line, file=self._file) from error
        builder.file = self._file
        builder.fault(text, self._line)

    # ── entries ───────────────────────────────────────────────────────────────

    def _entry(self, words: list[str], tokens: list[Token] | None, blank: bool) -> None:
        """One entry: its words, and the same with what is known of quotes where there are any."""
        if blank:
            if self._owner is None:
                raise PresentationError("the first record has no owner")
            self._record(words, tokens, 0)
            return
        first = words[0]
        if first[:1] == "$" and tokens is not None and not tokens[0].quoted:
            self._directive(words, tokens)
            return
        self._owner = self._names.get(first) or self._read_name(first)
        self._record(words, tokens, 1)

    def _record(self, words: list[str], tokens: list[Token] | None, position: int) -> None:
        """A record whose owner is known: TTL and class in either order, type, data."""
        ttl: int | None = None
        rdclass: int | None = None
        size = len(words)
        while True:
            if position >= size:
                raise PresentationError("a record without a type")
            text = words[position]
            position += 1
            rdtype = _TYPES.get(text)
            if rdtype is not None:
                break
            if rdclass is None and text in _CLASSES:
                rdclass = _CLASSES[text]
            elif ttl is None and text[:1].isdigit():
                ttl = seconds_from_text(text)
                if ttl is None:
                    raise PresentationError(
                        f"{text!r:.40} is no TTL: write seconds up to 2147483647, or such as 1h30m"
                    )
            elif rdclass is None and text.upper().startswith("CLASS"):
                rdclass = class_from_text(text)
            else:
                rdtype = type_from_text(text)
                break
        if rdclass is not None and rdclass != self._rdclass:
            raise PresentationError(
                f"a record of class {class_text(rdclass)} in a zone of class "
                f"{class_text(self._rdclass)}"
            )
        rdata = self._data(rdtype, words, tokens, position)
        if ttl is None:
            ttl = self._default_ttl if self._default_ttl is not None else self._last_ttl
            if ttl is None:
                if rdtype != _SOA:
                    raise PresentationError("a record without a TTL: write one, or $TTL above it")
                ttl = int.from_bytes(rdata[-4:], "big")
        self._last_ttl = ttl
        assert self._owner is not None, "whoever calls has seen to it"
        wire, key = self._owner
        builder = self._builder
        if builder is None:
            if rdtype != _SOA:
                raise PresentationError("the first record is not the SOA: give the zone's name")
            self._origin = Name.from_wire(wire)
            builder = self._builder = self._build(self._origin)
            builder.file = self._file
        builder.add(wire, key, rdtype, ttl, rdata, self._line)

    def _data(
        self, rdtype: int, words: list[str], tokens: list[Token] | None, position: int
    ) -> bytes:
        left = len(words) - position
        if left == 1:
            text = words[position]
            if rdtype == _A:
                parts = text.split(".")
                if len(parts) == 4:
                    a, b, c, d = parts
                    try:
                        return bytes((_OCTETS[a], _OCTETS[b], _OCTETS[c], _OCTETS[d]))
                    except KeyError:
                        pass  # no plain address: the type's own reader says what is wrong
            elif rdtype in _ONE_NAME:
                return self._name(text)[0]
        elif left == 2 and rdtype == _MX:
            text = words[position]
            if len(text) <= 5 and text.isascii() and text.isdigit() and int(text) <= 0xFFFF:
                return int(text).to_bytes(2, "big") + self._name(words[position + 1])[0]
        left_over = tokens[position:] if tokens else [Token(each) for each in words[position:]]
        return parse_rdata(rdtype, Tokens(left_over, self._origin)).wire

    def _name(self, text: str) -> tuple[bytes, bytes]:
        """A name's octets, as written and in lower case; names in data are often the same."""
        found = self._names.get(text)
        if found is None:
            if len(self._names) >= _NAMES_KEPT:
                self._names.clear()
            found = self._names[text] = self._read_name(text)
        return found

    def _read_name(self, text: str) -> tuple[bytes, bytes]:
        origin = self._origin
        wire = b""
        if origin is not None and text.isascii():
            label = text.encode("ascii")
            if _PLAIN_LABEL(label) and len(label) + len(origin.wire) < 255:
                wire = bytes((len(label),)) + label + origin.wire
        if not wire:
            if origin is None and not (text.endswith(".") and not text.endswith("\\.")):
                raise PresentationError(f"{text!r:.80} is relative, and there is no origin yet")
            wire = Name(text, origin).wire
        key = wire.lower()
        return wire, wire if key == wire else key

    # ── directives ────────────────────────────────────────────────────────────

    def _directive(self, words: list[str], tokens: list[Token]) -> None:
        what = words[0].upper()
        given = words[1:]
        if what == "$ORIGIN":
            self._expect(what, given, 1, 1)
            self._set_origin(Name.from_wire(self._name(given[0])[0]))
        elif what == "$TTL":
            self._expect(what, given, 1, 1)
            ttl = seconds_from_text(given[0])
            if ttl is None:
                raise PresentationError(
                    f"$TTL {given[0]:.40}: write seconds up to 2147483647, or such as 1h30m"
                )
            self._default_ttl = ttl
        elif what == "$INCLUDE":
            self._expect(what, given, 1, 2)
            self._include(given)
        elif what == "$GENERATE":
            if len(given) < 4:
                raise PresentationError("$GENERATE needs a range, an owner, a type and data")
            self._generate(tokens[1:])
        else:
            raise PresentationError(f"{what:.40} is none of $ORIGIN, $TTL, $INCLUDE and $GENERATE")

    @staticmethod
    def _expect(what: str, given: list[str], least: int, most: int) -> None:
        if not least <= len(given) <= most:
            raise PresentationError(f"{what} with {len(given)} words behind it")

    def _set_origin(self, origin: Name | None) -> None:
        self._origin = origin
        self._names.clear()

    def _include(self, given: list[str]) -> None:
        if not self._allow_include:
            raise PresentationError("$INCLUDE is not allowed here")
        path = given[0]
        if not os.path.isabs(path):
            if not self._file:
                raise PresentationError(f"$INCLUDE {path:.80}: relative to what? This is no file")
            path = os.path.join(os.path.dirname(self._file), path)
        kept = (self._origin, self._owner, self._line, self._file)
        if len(given) == 2:
            self._set_origin(Name.from_wire(self._name(given[1])[0]))
        try:
            self.read_file(path)
        finally:
            origin, self._owner, self._line, file = kept
            self._set_file(file)
            self._set_origin(origin)

    def _generate(self, words: list[Token]) -> None:
        whole = numbers(words[0].text, self._most_generated)
        owner = self._owner
        for number in whole:
            filled = [Token(expand(each.text, number), each.quoted) for each in words[1:]]
            self._owner = self._name(filled[0].text)
            self._record([each.text for each in filled], filled, 1)
        self._owner = owner


def _simple_tokens(line: str) -> list[Token] | None:
    """The words of a line that is an entry of its own; ``None`` where it takes another reader."""
    found: list[Token] = []
    for key, quoted, word, parenthesis, broken in _WORDS.findall(line.rstrip("\n")):
        if word:
            found.append(Token(word))
        elif key:
            found.append(Token(key + quoted))
        elif parenthesis or broken:
            return None
        elif quoted:
            found.append(Token(quoted, True))
        elif '""' in line:
            return None  # an empty string and a comment look alike here
    return found


class _Counted:
    """A line and those behind it, counted as they are taken."""

    def __init__(self, line: str, rest: Iterator[str]) -> None:
        self.more = -1
        self._lines = chain((line,), rest)

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.more += 1
            yield line
