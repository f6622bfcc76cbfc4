"""Header fields as a program sees them: by name, whatever the case, one or several.

`Headers` is what a response says; `fields_of` makes of what a caller gives what can
be sent, or raises: a CR, LF or NUL never gets further than here (HARDENING h1-25).

Sources: RFC 9110 §5.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, cast

from sennit.web.grammar import field_line

if TYPE_CHECKING:
    Field = tuple[bytes, bytes]
    Pair = tuple[str | bytes, str | bytes | None]
    HeadersIn = (
        Mapping[str, str] | Mapping[str, str | None] | Iterable[tuple[str, str]]
        | Iterable[tuple[bytes, bytes]] | Iterable[Pair] | None
    )  # fmt: skip

__all__ = [
    "Headers",
    "fields_of",
    "has_field",
    "left_out",
    "merged",
    "pairs_of",
    "with_defaults",
    "without",
]


class Headers(Mapping[str, str]):
    """Fields by name; names are compared without regard to case.

    As a mapping it has the values of one name joined by commas (RFC 9110 §5.3);
    `get_all` has them apart, which Set-Cookie needs.

    Args:
        raw: (lower-case name, value) octet pairs, wire order.

    Attributes:
        raw: As given.
    """

    __slots__ = ("raw",)

    def __init__(self, raw: Iterable[Field] = ()) -> None:
        self.raw: list[Field] = list(raw)

    def __repr__(self) -> str:
        return f"Headers({self.raw!r:.500})"

    def __getitem__(self, name: str) -> str:
        found = self.get_all(name)
        if not found:
            raise KeyError(name)
        return ", ".join(found)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        wanted = name.lower().encode("latin-1", "replace")
        return any(each == wanted for each, _ in self.raw)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.decode("latin-1") for name, _ in self.raw))

    def __len__(self) -> int:
        return len({name for name, _ in self.raw})

    def get_all(self, name: str) -> list[str]:
        """The values of each field of this name, in the order they came."""
        wanted = name.lower().encode("latin-1", "replace")
        return [value.decode("latin-1") for each, value in self.raw if each == wanted]

    def values_of(self, name: bytes) -> list[bytes]:
        """Likewise in octets, by a name in lower case."""
        return [value for each, value in self.raw if each == name]


def pairs_of(headers: HeadersIn) -> list[Pair]:
    """What a caller gives, as pairs, so that it can be looked at twice."""
    if headers is None:
        return []
    pairs: Iterable[object] = headers
    if isinstance(headers, Mapping):
        pairs = cast("Mapping[str, str | None]", headers).items()
    return list(cast("Iterable[Pair]", pairs))


def left_out(pairs: Iterable[Pair]) -> list[bytes]:
    """Names that a caller wants not to be sent: those whose value is ``None``."""
    return [_name(name) for name, value in pairs if value is None]


def with_defaults(headers: HeadersIn, **defaults: str) -> list[Pair]:
    """What a caller gives, and further fields where it gives none of their names.

    Args:
        headers: Of the caller.
        defaults: Values by name, with ``_`` for ``-``.
    """
    pairs = pairs_of(headers)
    names = {_name(name) for name, _ in pairs}
    for key, value in defaults.items():
        name = key.replace("_", "-")
        if name.encode("ascii") not in names:
            pairs.append((name, value))
    return pairs


def fields_of(headers: HeadersIn) -> list[Field]:
    """What a caller wants to send, checked: pairs of octets, names in lower case.

    A name whose value is ``None`` is left out.

    Raises:
        ValueError: A name that is none, or a value with CR, LF, NUL or another control.
    """
    found: list[Field] = []
    for name, value in pairs_of(headers):
        if value is None:
            continue
        field = (_name(name), value if isinstance(value, bytes) else _encoded(name, value))
        field_line(field)  # which raises where it could not be sent
        found.append(field)
    return found


def _name(name: str | bytes) -> bytes:
    return name.lower() if isinstance(name, bytes) else name.lower().encode("latin-1")


def _encoded(name: str | bytes, value: object) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"the value of {name!r} is a str or bytes, not {type(value).__name__}")
    try:
        return value.strip(" \t").encode("latin-1")
    except UnicodeEncodeError as error:
        raise ValueError(f"no header can hold {value!r:.100}: not latin-1") from error


def without(fields: Iterable[Field], *names: bytes) -> list[Field]:
    """The fields but those of these names, which are in lower case."""
    return [field for field in fields if field[0] not in names]


def merged(defaults: list[Field], own: list[Field]) -> list[Field]:
    """The default fields, save where there are others of the same name, and those others."""
    if not own:
        return list(defaults)
    names = {name for name, _ in own}
    return [field for field in defaults if field[0] not in names] + own


def has_field(fields: Iterable[Field], wanted: bytes) -> bool:
    """Whether there is a field of this name, which is in lower case."""
    for name, _ in fields:  # noqa: SIM110 - a generator costs three times as much
        if name == wanted:
            return True
    return False
