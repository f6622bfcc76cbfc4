"""No octets and no text make a name raise anything but its errors; both forms come back."""

from __future__ import annotations

from sennit.names.errors import MessageFormatError, PresentationError
from sennit.names.name import Name, read_name
from sennit.names.wire import Writer

SEEDS = (
    b"\3www\7example\3org\0",
    b"\7example\0\3www\xc0\0\1a\xc0\x09",
    rb"a\.b\032c.\\.example.",
    b"*._tcp.Example.org.",
    b"\1a" * 127 + b"\0",
)


def _octets(data: bytes) -> None:
    position = 0
    names: dict[int, Name] = {}
    writer = Writer()
    read: list[Name] = []
    try:
        while position < len(data) and len(read) < 300:
            name, behind = read_name(data, position, names)
            assert behind > position
            position = behind
            assert Name(str(name)).wire == name.wire
            read.append(name)
            writer.name(name)
    except MessageFormatError as error:
        assert error.rule, "an error without the rule it is about"  # noqa: PT017 - no test
    wire, position, names = bytes(writer.out), 0, {}
    for name in read:
        found, position = read_name(wire, position, names)
        assert found == name


def _text(text: str) -> None:
    origin = Name("example.org.")
    try:
        name = Name(text, origin)
    except PresentationError:
        return
    assert len(name.wire) <= 255
    assert Name(str(name)).wire == name.wire
    assert Name(name.relative_to(origin), origin).wire == name.wire


def fuzz(data: bytes) -> None:
    """Take `data` as octets, and as text."""
    _octets(data)
    _text(data.decode("latin-1"))
    _text(data.decode("ascii", "ignore"))
