r"""$GENERATE: many records out of one line, in the form that BIND gave it.

``$GENERATE 1-254/2 host-${0,3} A 192.0.2.$`` makes a record for each number of the range. In
owner and data ``$`` is the number, ``${OFFSET,WIDTH,BASE}`` the number plus an offset, padded
with zeros to a width, in base d, o, x or X; or n or N, nibbles from the last to the first with
dots between them, as names beneath ip6.arpa have them. ``\$`` is a dollar sign.

Source: the BIND 9 Administrator Reference Manual, "$GENERATE".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sennit.names.errors import PresentationError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_GENERATED", "expand", "numbers"]

MAX_GENERATED: Final = 65_536
"""Records that one $GENERATE makes."""
_RANGE: Final = re.compile(r"([0-9]{1,10})-([0-9]{1,10})(?:/([0-9]{1,10}))?", re.ASCII)
_FIELD: Final = re.compile(r"\\.|\$\{([^}]*)\}|\$", re.DOTALL)
_INSIDE: Final = re.compile(r"([+-]?[0-9]{1,10})(?:,([0-9]{1,3})(?:,([doxXnN]))?)?", re.ASCII)


def numbers(text: str, most: int = MAX_GENERATED) -> range:
    """The numbers of ``START-STOP`` or ``START-STOP/STEP``.

    Raises:
        PresentationError: It is no such range, or has more than `most` numbers.
    """
    found = _RANGE.fullmatch(text)
    if found is None:
        raise PresentationError(f"{text!r:.40} is no range: write such as 1-10 or 0-255/2")
    start, stop, step = int(found[1]), int(found[2]), int(found[3] or 1)
    if step < 1 or stop < start or stop > 0x7FFFFFFF:
        raise PresentationError(f"{text!r:.40} is no range: it goes up, to at most 2147483647")
    whole = range(start, stop + 1, step)
    if len(whole) > most:
        raise PresentationError(f"{text} are {len(whole)} records; {most} are allowed at once")
    return whole


def expand(template: str, number: int) -> str:
    """A template with a number put in.

    Raises:
        PresentationError: What stands in braces is none of the forms.
    """
    return "".join(_pieces(template, number))


def _pieces(template: str, number: int) -> Iterator[str]:
    position = 0
    for found in _FIELD.finditer(template):
        yield template[position : found.start()]
        position = found.end()
        text = found[0]
        if text == "\\$":
            yield "$"
        elif text.startswith("\\"):
            yield text
        elif found[1] is None:
            yield str(number)
        else:
            yield _formatted(found[1], number)
    yield template[position:]


def _formatted(inside: str, number: int) -> str:
    found = _INSIDE.fullmatch(inside)
    if found is None:
        raise PresentationError(
            f"${{{inside:.40}}}: write ${{OFFSET}}, ${{OFFSET,WIDTH}} or ${{OFFSET,WIDTH,BASE}}, "
            "with base d, o, x, X, n or N"
        )
    value = number + int(found[1])
    width = int(found[2] or 0)
    base = found[3] or "d"
    if value < 0:
        raise PresentationError(f"${{{inside:.40}}} makes {value} of {number}; 0 is the least")
    if width > 255:
        raise PresentationError(f"${{{inside:.40}}}: a width is at most 255")
    if base in "nN":
        digits = format(value, "x" if base == "n" else "X")[::-1]
        # A dot counts as a place of the width, as in BIND.
        text = ".".join(digits)
        while len(text) < width:
            text += ".0" if len(text) + 1 < width else "."
        return text
    return format(value, base).rjust(width, "0")
