"""Kinds of parameters in paths: which segments they take, and what they make of them.

What comes from the wire is read to the letter: ASCII digits, at most 18 of them; no sign,
no exponent, no ``nan``. So each value has few spellings, and none that surprises.
Elsewhere: patterns and what they lead to (``routing.py``).
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CONVERTERS", "Converter"]


class Converter:
    """A kind of parameter: which segments it takes, and what it makes of them.

    Args:
        convert: Takes a decoded segment; raises `ValueError` when it is none of this kind.
        to_text: The way back, for `Router.url_for`; `ValueError` when there is none.
        rank: Where it stands among other kinds at the same place; smaller is tried first.
        tail: Whether it takes the rest of the path, however many segments.
    """

    __slots__ = ("convert", "rank", "tail", "to_text")

    def __init__(
        self,
        convert: Callable[[str], Any],
        to_text: Callable[[Any], str] = str,
        *,
        rank: int = 50,
        tail: bool = False,
    ) -> None:
        self.convert = convert
        self.to_text = to_text
        self.rank = rank
        self.tail = tail


def _int(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ValueError
    return int(text)


_FLOAT = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18})?").fullmatch
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}").fullmatch


def _float(text: str) -> float:
    if _FLOAT(text) is None:
        raise ValueError
    return float(text)


def _uuid(text: str) -> uuid.UUID:
    if _UUID(text) is None:
        raise ValueError
    return uuid.UUID(text)


def _str(text: str) -> str:
    if not text:
        raise ValueError
    return text


def _number_text(value: Any) -> str:  # Any: a caller's; what is no number fails to convert
    text = f"{value:f}" if isinstance(value, float) else str(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def _path(text: str) -> str:
    return text


CONVERTERS: Final[dict[str, Converter]] = {
    "int": Converter(_int, rank=10),
    "float": Converter(_float, _number_text, rank=20),
    "uuid": Converter(_uuid, rank=30),
    "str": Converter(_str, rank=90),
    "path": Converter(_path, rank=100, tail=True),
}
"""The kinds that every router knows; `Router.add_converter` adds to one router's."""
