"""Domain names: always whole ones, in wire form, compared without regard to the case of letters.

A `Name` is the octets that stand on the wire (length-counted labels, the root's empty one
last), as they were written, and the same in lower case, which is what it compares, hashes
and looks up by. Lower case is one `bytes.lower` of the whole: no length octet is a letter,
since a label has at most 63 octets.

There are no relative names: text without a dot at its end is completed with an origin where
one is given, else it is taken as whole.

Sources: RFC 1035 §3.1, §5.1 (escapes), RFC 2181 §11 (any octet), RFC 4343 (case), RFC 4034
§6.1 (canonical order), RFC 5890 (names that are not ASCII, through the package ``idna``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sennit.names.errors import DNSUsageError, MessageFormatError, PresentationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["MAX_LABEL", "MAX_NAME", "MAX_POINTERS", "ROOT", "Name", "read_name", "trusted"]

MAX_NAME: Final = 255
"""Octets of a name, length octets included (RFC 1035 §2.3.4)."""
MAX_LABEL: Final = 63
"""Octets of a label."""
MAX_POINTERS: Final = 16
"""Compression pointers followed for one name."""

_PLAIN: Final = frozenset(
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_*/+=!#%&',:<>?[]^`{|}~"
)
"""Octets that stand for themselves in text."""


class Name:
    r"""A domain name, absolute; immutable by agreement.

    Args:
        text: In presentation form: ``www.example.org``, ``a\.b.example.``, ``.``; labels
            that are not ASCII are encoded by IDNA.
        origin: Completes text that does not end in a dot; the root when left out.

    Attributes:
        wire: Octets as on the wire, uncompressed, case kept.
        key: The same in lower case: what names are compared and looked up by.

    Raises:
        PresentationError: The text is no name.
    """

    __slots__ = ("key", "wire")

    wire: bytes
    key: bytes

    def __init__(self, text: str, origin: Name | None = None) -> None:
        wire = _parse(text, origin)
        self.wire = wire
        self.key = wire.lower()

    def __reduce__(self) -> tuple[object, tuple[bytes]]:
        return (Name.from_wire, (self.wire,))

    @classmethod
    def from_wire(cls, wire: bytes) -> Name:
        """The name that these octets are, all of them, uncompressed.

        Raises:
            MessageFormatError: They are no name.
        """
        name, end = read_name(wire, 0, {})
        if end != len(wire) or name.wire != wire:
            raise MessageFormatError("octets are left over behind a name", rule="RFC 1035 §3.1")
        return name

    @classmethod
    def from_labels(cls, labels: Iterable[bytes]) -> Name:
        """The name of these labels, most specific first, without the root's.

        Raises:
            DNSUsageError: A label is empty or too long, or the whole is.
        """
        parts: list[bytes] = []
        for label in labels:
            if not 0 < len(label) <= MAX_LABEL:
                raise DNSUsageError(f"a label has 1 to {MAX_LABEL} octets, not {len(label)}")
            parts.append(bytes((len(label),)) + label)
        wire = b"".join(parts) + b"\0"
        if len(wire) > MAX_NAME:
            raise DNSUsageError(f"a name has at most {MAX_NAME} octets, not {len(wire)}")
        return trusted(wire)

    @property
    def labels(self) -> tuple[bytes, ...]:
        """Its labels, most specific first, without the root's empty one."""
        wire = self.wire
        found: list[bytes] = []
        position = 0
        while length := wire[position]:
            found.append(wire[position + 1 : position + 1 + length])
            position += 1 + length
        return tuple(found)

    @property
    def is_root(self) -> bool:
        """Whether it is the root, ``.``."""
        return len(self.wire) == 1

    @property
    def is_wildcard(self) -> bool:
        """Whether its first label is ``*`` (RFC 4592 §2.1.1)."""
        return self.wire.startswith(b"\x01*")

    @property
    def parent(self) -> Name:
        """The name without its first label.

        Raises:
            DNSUsageError: It is the root.
        """
        wire = self.wire
        if len(wire) == 1:
            raise DNSUsageError("the root has no parent")
        return trusted(wire[1 + wire[0] :])

    @property
    def canonical(self) -> tuple[bytes, ...]:
        """What names sort by in canonical order: lower-case labels, the last first."""
        return trusted(self.key).labels[::-1]

    def ancestors(self) -> Iterator[Name]:
        """The name itself, then each name above it, down to the root."""
        wire = self.wire
        yield self
        while length := wire[0]:
            wire = wire[1 + length :]
            yield trusted(wire)

    def is_below(self, other: Name) -> bool:
        """Whether it is `other`, or stands beneath it."""
        key, suffix = self.key, other.key
        if not key.endswith(suffix):
            return False
        cut = len(key) - len(suffix)
        position = 0
        while position < cut:
            position += 1 + key[position]
        return position == cut

    def child(self, label: bytes) -> Name:
        """The name with one label before it.

        Raises:
            DNSUsageError: The label is empty or too long, or the whole is.
        """
        if not 0 < len(label) <= MAX_LABEL or len(self.wire) + 1 + len(label) > MAX_NAME:
            raise DNSUsageError(f"{label!r} cannot stand before {self}")
        return trusted(bytes((len(label),)) + label + self.wire)

    def rebased(self, old: Name, new: Name) -> Name:
        """The name with its end `old` replaced by `new` (DNAME, RFC 6672 §2.3).

        Raises:
            DNSUsageError: It is not beneath `old`, or would be too long.
        """
        if not self.is_below(old):
            raise DNSUsageError(f"{self} is not beneath {old}")
        wire = self.wire[: len(self.wire) - len(old.wire)] + new.wire
        if len(wire) > MAX_NAME:
            raise DNSUsageError(f"a name has at most {MAX_NAME} octets, not {len(wire)}")
        return trusted(wire)

    def relative_to(self, origin: Name | None) -> str:
        """In text, without `origin` at its end where it is beneath it: ``www``, ``@``.

        A name that ends in other letters than `origin` is written whole, so that reading it
        again gives the same octets.
        """
        if origin is None or not self.wire.endswith(origin.wire) or not self.is_below(origin):
            return str(self)
        cut = len(self.wire) - len(origin.wire)
        return _text(self.wire[:cut] + b"\0")[:-1] if cut else "@"

    def __str__(self) -> str:
        """Presentation form, with the dot at its end; octets that are not plain are escaped."""
        return _text(self.wire)

    def __repr__(self) -> str:
        return f"Name({str(self)!r})"

    def __len__(self) -> int:
        """How many labels it has, without the root's."""
        return len(self.labels)

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Name):
            return self.key == other.key
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.key)

    def __lt__(self, other: Name) -> bool:
        """Canonical order (RFC 4034 §6.1)."""
        return self.canonical < other.canonical

    def __le__(self, other: Name) -> bool:
        return self.canonical <= other.canonical

    def __gt__(self, other: Name) -> bool:
        return self.canonical > other.canonical

    def __ge__(self, other: Name) -> bool:
        return self.canonical >= other.canonical


_new: Final = object.__new__


def trusted(wire: bytes) -> Name:
    """A name of octets that are known to be one."""
    name: Name = _new(Name)
    name.wire = wire
    name.key = wire.lower()
    return name


ROOT: Final = trusted(b"\0")
"""The root, ``.``."""


def read_name(
    wire: bytes, position: int, names: dict[int, Name], depth: int = 0
) -> tuple[Name, int]:
    """A name in a message, compressed or not (RFC 1035 §4.1.4).

    Args:
        wire: The whole message.
        position: Where the name begins.
        names: Names of this message that were read already, by position; grows.
        depth: Pointers that were followed on the way here.

    Returns:
        The name, and the position behind it.

    Raises:
        MessageFormatError: It is cut, too long, has a label of an unknown kind, or a pointer
            that does not go back.
    """
    start = position
    try:
        length = wire[position]
        while 0 < length < 64:
            position += 1 + length
            length = wire[position]
        if not length:
            position += 1
            whole = wire[start:position]
        elif length < 0xC0:
            raise MessageFormatError(f"a label of kind {length >> 6:#x}", rule="RFC 6891 §5")
        else:
            target = (length & 0x3F) << 8 | wire[position + 1]
            known = names.get(target) if target < start else None
            if known is None:
                known = _follow(wire, target, start, names, depth)
            if position == start:
                return known, position + 2
            whole = wire[start:position] + known.wire
            position += 2
    except IndexError:
        raise MessageFormatError("a name that is cut off", rule="RFC 1035 §3.1") from None
    if len(whole) > MAX_NAME:
        raise MessageFormatError(f"a name of {len(whole)} octets", rule="RFC 1035 §2.3.4")
    name: Name = _new(Name)
    name.wire = whole
    name.key = whole.lower()
    names[start] = name
    return name, position


def _follow(wire: bytes, target: int, start: int, names: dict[int, Name], depth: int) -> Name:
    if target >= start:
        raise MessageFormatError(
            "a compression pointer that does not go back", rule="RFC 1035 §4.1.4"
        )
    if depth >= MAX_POINTERS:
        raise MessageFormatError(
            f"more than {MAX_POINTERS} compression pointers in a name", rule="RFC 1035 §4.1.4"
        )
    return read_name(wire, target, names, depth + 1)[0]


def _text(wire: bytes) -> str:
    if len(wire) == 1:
        return "."
    out: list[str] = []
    position = 0
    while length := wire[position]:
        label = wire[position + 1 : position + 1 + length]
        position += 1 + length
        if _PLAIN.issuperset(label):
            out.append(label.decode("ascii"))
        else:
            out.append("".join(map(_escaped, label)))
        out.append(".")
    return "".join(out)


def _escaped(octet: int) -> str:
    if octet in _PLAIN:
        return chr(octet)
    if 0x21 <= octet <= 0x7E:
        return "\\" + chr(octet)
    return f"\\{octet:03d}"


def _parse(text: str, origin: Name | None) -> bytes:
    if text == ".":
        return b"\0"
    if text == "@" and origin is not None:
        return origin.wire
    if not text:
        raise PresentationError("an empty name; the root is written as '.'")
    if not text.isascii():
        text = _to_ascii(text)
    if "\\" not in text:
        labels = text.encode("ascii").split(b".")
        absolute = not labels[-1]
        if absolute:
            labels.pop()
    else:
        labels, absolute = _unescape(text)
    tail = b"\0" if absolute or origin is None else origin.wire
    for label in labels:
        if not label:
            raise PresentationError(f"{text!r} is no name: an empty label")
        if len(label) > MAX_LABEL:
            raise PresentationError(
                f"{text[:80]!r} is no name: a label has at most {MAX_LABEL} octets, "
                f"not {len(label)}"
            )
    wire = b"".join([bytes((len(label),)) + label for label in labels]) + tail
    if len(wire) > MAX_NAME:
        raise PresentationError(
            f"{text[:80]!r}… is no name: {len(wire)} octets, at most {MAX_NAME} are allowed"
        )
    return wire


def _unescape(text: str) -> tuple[list[bytes], bool]:
    labels: list[bytes] = []
    label = bytearray()
    octets = text.encode("ascii")
    position, size = 0, len(octets)
    ended = False
    while position < size:
        octet = octets[position]
        position += 1
        ended = False
        if octet == 0x2E:
            labels.append(bytes(label))
            label.clear()
            ended = True
        elif octet == 0x5C:
            digits = octets[position : position + 3]
            if digits[:1].isdigit():
                if len(digits) < 3 or not digits.isdigit() or int(digits) > 255:
                    raise PresentationError(f"{text[:80]!r} is no name: escapes are \\000 to \\255")
                label.append(int(digits))
                position += 3
            elif digits:
                label.append(digits[0])
                position += 1
            else:
                raise PresentationError(f"{text[:80]!r} is no name: a backslash at its end")
        else:
            label.append(octet)
    if not ended:
        labels.append(bytes(label))
    return labels, ended


def _to_ascii(text: str) -> str:
    try:
        import idna
    except ImportError:
        raise PresentationError(
            f"{text!r} is not ASCII: write its A-labels (xn--…), or "
            "pip install 'sennit-names[idna]'"
        ) from None
    try:
        return ".".join(
            label if label.isascii() else idna.encode(label, uts46=True).decode("ascii")
            for label in text.split(".")
        )
    except idna.IDNAError as error:
        raise PresentationError(f"{text!r} is no name: {error}") from error
