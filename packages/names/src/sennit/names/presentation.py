r"""Presentation form: text as zone files and people write it (RFC 1035 §5.1).

`split` takes text apart into entries (lines, or what parentheses hold together) of tokens;
`Tokens` is the cursor that record types read one entry with. Escapes stay in a token until it
is read as what it is (a name, a string), since ``\.`` means another thing in each.

Sources: RFC 1035 §5.1, RFC 3597 §5 (``\#``), RFC 9460 §2.1.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from sennit.names.errors import PresentationError
from sennit.names.name import Name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = [
    "Entry",
    "Token",
    "Tokens",
    "address_text",
    "generic_text",
    "packed_address",
    "printable",
    "quoted",
    "seconds_from_text",
    "split",
    "tokens_of",
    "unescape",
]

T = TypeVar("T")

_MAPPED = bytes(10) + b"\xff\xff"
_KEY = re.compile(r"[A-Za-z0-9-]+=")
_SPECIAL = re.compile(r"""[;()"\\\x0b\x0c\x1c-\x1f\x7f-\U0010ffff]""")
_GENERIC = "\\#"
_BLANKS = " \t\r"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class Token(NamedTuple):
    """A word.

    Attributes:
        text: As written, escapes kept, without quotes.
        quoted: Whether it stood in quotes.
    """

    text: str
    quoted: bool = False


class Entry(NamedTuple):
    """What stands on a line, or on several that parentheses hold together.

    Attributes:
        line: Number of its first line, from 1.
        blank: Whether it begins with a blank: the owner is the last one's.
        tokens: Its words.
    """

    line: int
    blank: bool
    tokens: list[Token]


def split(lines: Iterable[str], file: str = "") -> Iterator[Entry]:
    """Take text apart, line by line, holding no more than one entry.

    Raises:
        PresentationError: Quotes or parentheses do not match.
    """
    tokens: list[Token] = []
    depth = 0
    begun = 0
    blank = False
    number = 0
    for number, whole in enumerate(lines, 1):
        line = whole.rstrip("\n")
        position, size = 0, len(line)
        if not depth:
            begun, blank = number, line[:1] in (" ", "\t")
            if not _SPECIAL.search(line):
                # Most lines of most zones: words and blanks.
                if words := line.split():
                    yield Entry(begun, blank, [Token(each) for each in words])
                continue
        while position < size:
            mark = line[position]
            if mark in _BLANKS:
                position += 1
            elif mark == ";":
                break
            elif mark == "(":
                depth += 1
                position += 1
            elif mark == ")":
                if not depth:
                    raise PresentationError("')' without '('", line=number, file=file)
                depth -= 1
                position += 1
            elif mark == '"':
                text, position = _quoted(line, position + 1, number, file)
                tokens.append(Token(text, True))
            else:
                start = position
                while position < size:
                    mark = line[position]
                    if mark == "\\":
                        position += 1
                    elif mark in ' \t\r;()"':
                        break
                    position += 1
                word = line[start:position]
                if mark == '"' and position < size and _KEY.fullmatch(word):
                    # key="value" is one word (RFC 9460 §2.1)
                    text, position = _quoted(line, position + 1, number, file)
                    word += text
                tokens.append(Token(word))
        if not depth and tokens:
            yield Entry(begun, blank, tokens)
            tokens = []
    if depth:
        raise PresentationError("'(' without ')'", line=begun, file=file)


def _quoted(line: str, position: int, number: int, file: str) -> tuple[str, int]:
    start = position
    while position < len(line):
        mark = line[position]
        if mark == "\\":
            position += 1
        elif mark == '"':
            return line[start:position], position + 1
        position += 1
    raise PresentationError("a quoted string that does not end", line=number, file=file)


def unescape(text: str) -> bytes:
    r"""The octets of a character-string: ``\"`` and ``\034`` are one octet each; UTF-8 else.

    Raises:
        PresentationError: An escape is none, or the text has what cannot be encoded.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise PresentationError("octets that are no UTF-8; write them as \\DDD") from None
    if "\\" not in text:
        return text.encode()
    out = bytearray()
    position, size = 0, len(text)
    while position < size:
        mark = text[position]
        position += 1
        if mark != "\\":
            out += mark.encode()
            continue
        digits = text[position : position + 3]
        if digits[:1].isdigit():
            if len(digits) < 3 or not (digits.isascii() and digits.isdigit()) or int(digits) > 255:
                raise PresentationError(f"{text[:60]!r}: escapes are \\000 to \\255")
            out.append(int(digits))
            position += 3
        elif digits:
            out += digits[0].encode()
            position += 1
        else:
            raise PresentationError(f"{text[:60]!r}: a backslash at its end")
    return bytes(out)


def generic_text(octets: bytes) -> str:
    r"""Record data as ``\# LENGTH HEX`` (RFC 3597 §5), which `Tokens.generic` reads."""
    return f"\\# {len(octets)} {octets.hex().upper()}".rstrip()


def quoted(octets: bytes) -> str:
    """Octets as a quoted character-string."""
    return '"' + "".join(map(_QUOTED.__getitem__, octets)) + '"'


def packed_address(text: str) -> bytes:
    """The octets of an IPv4 or IPv6 address in text.

    Raises:
        PresentationError: It is none; or one with a zone (``%eth0``), which no record can hold.
    """
    parts = text.split(".")
    try:
        if len(parts) == 4 and ":" not in text:
            packed = bytes(map(int, parts))
            if "{}.{}.{}.{}".format(*packed) == text:  # no signs, no zeros before digits
                return packed
        elif "%" not in text:
            return IPv6Address(text).packed
    except ValueError:
        pass
    raise PresentationError(f"{text!r:.60} is no address")


def address_text(packed: bytes) -> str:
    """An address of 4 or 16 octets in text (RFC 5952)."""
    if len(packed) == 4:
        return "{}.{}.{}.{}".format(*packed)
    if packed.startswith(_MAPPED):
        return "::ffff:{}.{}.{}.{}".format(*packed[12:])  # RFC 5952 §5; not so before Python 3.13
    return str(IPv6Address(packed))


def printable(octets: bytes) -> str:
    """Octets as text for people: what is not printable ASCII is a dot."""
    return "".join([chr(each) if 0x20 <= each <= 0x7E else "." for each in octets])


_QUOTED = [
    "\\" + chr(octet)
    if octet in b'"\\'
    else chr(octet)
    if 0x20 <= octet <= 0x7E
    else f"\\{octet:03d}"
    for octet in range(256)
]


class Tokens:
    """The words of one entry, read one after the other.

    Args:
        tokens: The words.
        origin: Completes relative names; they are whole where there is none.

    Attributes:
        position: Index of the next one.
    """

    __slots__ = ("_tokens", "origin", "position")

    def __init__(self, tokens: Sequence[Token], origin: Name | None = None) -> None:
        self._tokens = tokens
        self.origin = origin
        self.position = 0

    @property
    def at_end(self) -> bool:
        """Whether all have been read."""
        return self.position >= len(self._tokens)

    def next(self) -> Token:
        """The next word.

        Raises:
            PresentationError: There is none.
        """
        if self.position >= len(self._tokens):
            raise PresentationError("something is missing at the end of the entry")
        self.position += 1
        return self._tokens[self.position - 1]

    def peek(self) -> Token | None:
        """The next word, which stays the next; ``None`` at the end."""
        return None if self.at_end else self._tokens[self.position]

    def text(self) -> str:
        """The next word as it is written."""
        return self.next().text

    def name(self) -> Name:
        """The next word as a domain name."""
        return Name(self.next().text, self.origin)

    def string(self) -> bytes:
        """The next word as a character-string of at most 255 octets."""
        octets = unescape(self.next().text)
        if len(octets) > 255:
            raise PresentationError(f"a string has at most 255 octets, not {len(octets)}")
        return octets

    def number(self, most: int) -> int:
        """The next word as a number from 0 to `most`."""
        text = self.next().text
        if not (text.isascii() and text.isdigit() and len(text) <= 18) or int(text) > most:
            raise PresentationError(f"{text!r:.40} is no number from 0 to {most}")
        return int(text)

    def seconds(self) -> int:
        """The next word as seconds, ``3600`` or ``1h30m``."""
        text = self.next().text
        value = seconds_from_text(text)
        if value is None:
            raise PresentationError(
                f"{text!r:.40} is no time: write seconds, or such as 1h30m, 2d, 1w"
            )
        return value

    def said(self, parse: Callable[[str], T]) -> T:
        """What `parse` makes of the next word."""
        return parse(self.next().text)

    def rest(self) -> list[str]:
        """All words that are left, as they are written."""
        found = [each.text for each in self._tokens[self.position :]]
        self.position = len(self._tokens)
        return found

    def expect_end(self) -> None:
        """See that nothing is left.

        Raises:
            PresentationError: Something is.
        """
        if not self.at_end:
            raise PresentationError(f"{self._tokens[self.position].text!r:.60} is too much")

    def generic(self) -> bytes | None:
        r"""The octets of ``\# LENGTH HEX``, all that is left; ``None`` where it is not that."""
        token = self.peek()
        if token is None or token.text != _GENERIC or token.quoted:
            return None
        self.position += 1
        length = self.number(0xFFFF)
        text = "".join(self.rest())
        try:
            octets = bytes.fromhex(text)
        except ValueError:
            raise PresentationError(f"{text[:60]!r} is not hexadecimal") from None
        if len(octets) != length:
            raise PresentationError(f"\\# says {length} octets, and {len(octets)} follow")
        return octets


def seconds_from_text(text: str) -> int | None:
    """Seconds of ``3600`` or ``1h30m``, at most 2147483647 (RFC 2181 §8); ``None`` for neither."""
    total = 0
    digits = ""
    for mark in text.lower():
        if mark.isascii() and mark.isdigit() and len(digits) < 11:
            digits += mark
        elif mark in _UNITS and digits:
            total += int(digits) * _UNITS[mark]
            digits = ""
        else:
            return None
    if not text:
        return None
    total += int(digits) if digits else 0
    return total if total <= 0x7FFFFFFF else None


def tokens_of(text: str, origin: Name | None = None) -> Tokens:
    """The words of one entry given as text.

    Raises:
        PresentationError: Quotes or parentheses do not match, or it is more than one entry.
    """
    entries = list(split(text.splitlines()))
    if len(entries) > 1:
        raise PresentationError("more than one entry")
    return Tokens(entries[0].tokens if entries else [], origin)
