"""Values of the wire against annotations, and back.

An annotation is turned into a function once (`Values.converter`), which takes what
the wire gave and returns what was declared: a dataclass, an `Enum`, a ``set`` … It
raises `MismatchError`, which says where something else stands. Nothing is coerced
that is not lossless: a whole number is a ``float``, a text is no number.

`Values.simplify` goes the other way, and makes of Python's values those that a wire
has. Wires differ in whether octets and dates are values of theirs (XML-RPC) or are
texts (JSON): there are two `Values`, `JSON_VALUES` and `XML_VALUES`.

Not here: the wires (``json_grammar.py``, ``xml_grammar.py``); what belongs to a
call (``exposing.py``).
"""

from __future__ import annotations

import binascii
import collections.abc as abc
import dataclasses
import math
import types
import typing
from base64 import b64decode, b64encode
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

from sennit.web.rpc.errors import MismatchError
from sennit.web.rpc.kinds import is_a, is_list, is_object, type_of

if TYPE_CHECKING:
    from collections.abc import Callable

    # `Any`: what a wire gives is known by looking at it, which is what these do.
    Converter = Callable[[Any], Any]

__all__ = ["JSON_VALUES", "XML_VALUES", "Values", "kind_of"]

_KINDS: Final[dict[type, str]] = {
    type(None): "nothing",
    bool: "a boolean",
    int: "a whole number",
    float: "a number",
    str: "a text",
    bytes: "octets",
    datetime: "a date with time",
    list: "a list",
    dict: "an object",
}
_LISTS: Final = (
    list, abc.Sequence, abc.MutableSequence, abc.Collection, abc.Iterable
)  # fmt: skip
_SETS: Final = (set, frozenset, abc.Set, abc.MutableSet)
_MAPPINGS: Final = (dict, abc.Mapping, abc.MutableMapping)
_TEXTS: Final = (str, UUID, Decimal, date, time)
_DEPTH: Final = 64
"""Values within values that are sent; deeper is most often an object that holds itself."""


def kind_of(value: object) -> str:
    """What a value is, in words that give nothing of it away."""
    return _KINDS.get(type(value), "something else")


def _is_record(kind: Any) -> bool:
    """Whether it is a dataclass."""
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def _is_subclass(kind: Any, base: type) -> bool:
    """`issubclass`, after which a checker still takes an `Any` for one."""
    return issubclass(kind, base)


def _mismatch(expected: str, value: object) -> MismatchError:
    return MismatchError(f"{expected} is expected, not {kind_of(value)}")


class Values:
    """How values of Python stand on one kind of wire.

    Args:
        texts: Whether octets and dates are texts there (base64, ISO 8601).
    """

    def __init__(self, *, texts: bool) -> None:
        self._texts = texts
        self._made: dict[Any, Converter] = {}

    # ── from the wire ─────────────────────────────────────────────────────────

    def converter(self, annotation: Any) -> Converter:
        """The function that makes what is annotated of what the wire has.

        Args:
            annotation: Resolved, as `typing.get_type_hints` gives it. (`Any`: whatever
                may stand in an annotation.)

        Raises:
            TypeError: Nothing can be held against that annotation.
        """
        made = self._made.get(annotation)
        if made is None:
            # Whoever is asked for while it is being made (a tree of itself) gets this.
            self._made[annotation] = self._later(annotation)
            try:
                made = self._made[annotation] = self._build(annotation)
            except BaseException:
                del self._made[annotation]
                raise
        return made

    def _later(self, annotation: Any) -> Converter:
        return lambda value: self._made[annotation](value)  # noqa: PLW0108 - replaced by then

    def _build(self, annotation: Any) -> Converter:
        if annotation in (Any, object):
            return _as_it_is
        if annotation is None or annotation is type(None):
            return _nothing
        if isinstance(annotation, type) and (plain := self._plain(annotation)) is not None:
            return plain
        if isinstance(annotation, typing.NewType):
            return self.converter(annotation.__supertype__)
        # ``type Name = …`` of Python 3.12.
        if (alias := getattr(annotation, "__value__", None)) is not None:
            return self.converter(alias)
        origin = typing.get_origin(annotation)
        arguments = typing.get_args(annotation)
        if origin is typing.Annotated:
            return self.converter(arguments[0])
        if origin is Literal:
            return _one_of(arguments)
        if origin is typing.Union or origin is types.UnionType:
            return self._union(arguments)
        kind = origin or annotation
        if kind in _LISTS:
            return _list_of(self.converter(arguments[0] if arguments else Any))
        if kind in _SETS:
            whole = frozenset if kind in (frozenset, abc.Set) else set
            return _set_of(self.converter(arguments[0] if arguments else Any), whole)
        if kind in _MAPPINGS:
            return self._mapping(arguments)
        if kind is tuple:
            return self._tuple(arguments)
        if is_a(kind, type):
            return self._class(kind)
        raise TypeError(f"values cannot be held against {annotation!r:.100}")

    def _plain(self, kind: type) -> Converter | None:
        """Of types that a wire has, or has as texts."""
        if kind in (bool, str):
            return _exactly(kind)
        if kind is int:
            return _whole_number
        if kind is float:
            return _number
        if kind in (bytes, bytearray):
            return _from_base64 if self._texts else _exactly(bytes)
        if kind is datetime and not self._texts:
            return _exactly(datetime)
        if kind in (datetime, date, time):
            return _from_text(kind.fromisoformat, _KINDS.get(kind, f"a {kind.__name__}"))
        if kind is UUID:
            return _from_text(UUID, "a UUID")
        if kind is Decimal:
            return _from_text(_decimal, "a decimal number as text")
        return None

    def _union(self, members: tuple[Any, ...]) -> Converter:
        converters = [self.converter(each) for each in members]
        # 1 is an int to ``float | int``, though a float would do.
        exact = {each for each in members if each in (bool, int, str, float, type(None))}

        def convert(value: Any) -> Any:
            if type(value) in exact:
                return value
            problems: list[MismatchError] = []
            for each in converters:
                try:
                    return each(value)
                except MismatchError as error:
                    problems.append(error)
            # The one that came furthest is the likeliest to have been meant.
            raise max(problems, key=lambda error: len(error.where))

        return convert

    def _mapping(self, arguments: tuple[Any, ...]) -> Converter:
        key: Converter = _as_it_is
        if arguments and arguments[0] is not Any:
            kind = arguments[0]
            if not (
                kind in _TEXTS
                or typing.get_origin(kind) is Literal
                or (isinstance(kind, type) and issubclass(kind, Enum))
            ):
                raise TypeError(f"keys are texts on the wire, not {kind!r:.100}")
            key = self.converter(kind)
        value = self.converter(arguments[1] if arguments else Any)

        def convert(found: Any) -> Any:
            if not is_object(found):
                raise _mismatch("an object", found)
            made: dict[Any, Any] = {}
            for name, each in found.items():
                try:
                    made[key(name)] = value(each)
                except MismatchError as error:
                    error.where.insert(0, name[:64])
                    raise
            return made

        return convert

    def _tuple(self, arguments: tuple[Any, ...]) -> Converter:
        if not arguments:
            every = _list_of(_as_it_is)
            return lambda value: tuple(every(value))
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            every = _list_of(self.converter(arguments[0]))
            return lambda value: tuple(every(value))
        return _row([self.converter(each) for each in arguments], lambda *values: values)

    def _class(self, kind: Any) -> Converter:
        if _is_subclass(kind, Enum):
            members: list[Any] = list(kind)
            return _member_of({(type_of(each.value), each.value): each for each in members})
        if _is_record(kind):
            hints = typing.get_type_hints(kind)
            taken = [each for each in dataclasses.fields(kind) if each.init]
            required = {
                each.name
                for each in taken
                if each.default is dataclasses.MISSING
                and each.default_factory is dataclasses.MISSING
            }
            fields = {each.name: self.converter(hints[each.name]) for each in taken}
            return _object(fields, required, lambda values: kind(**values))
        if typing.is_typeddict(kind):
            hints = typing.get_type_hints(kind)
            fields = {name: self.converter(hint) for name, hint in hints.items()}
            return _object(fields, set(kind.__required_keys__), dict)
        if _is_subclass(kind, tuple) and hasattr(kind, "_fields"):
            hints = typing.get_type_hints(kind)
            return _row([self.converter(hints.get(each, Any)) for each in kind._fields], kind)
        if hasattr(kind, "__struct_fields__"):
            return self._struct(kind)
        raise TypeError(f"values cannot be held against {kind!r:.100}")

    def _struct(self, kind: Any) -> Converter:
        """Of msgspec's structs, which know how."""
        import msgspec

        there: tuple[type, ...] = () if self._texts else (bytes, datetime)

        def convert(value: Any) -> Any:
            try:
                return msgspec.convert(value, kind, builtin_types=there)
            except msgspec.ValidationError as error:
                raise MismatchError(str(error)[:200]) from None

        return convert

    # ── to the wire ───────────────────────────────────────────────────────────

    def simplify(self, value: Any, depth: int = _DEPTH) -> Any:
        """Make of a value one of those that the wire has. (`Any`: whatever it was.)

        Raises:
            ValueError: It has none, or is nested too deeply.
            TypeError: There is none for its type.
        """
        kind = type_of(value)
        if kind in (str, bool, int) or value is None:
            return value
        if kind is float:
            if not math.isfinite(value):
                raise ValueError(f"{value} is no number on the wire")
            return value
        if not depth:
            raise ValueError("values are nested too deeply, or hold themselves")
        depth -= 1
        if is_a(value, Enum):
            return self.simplify(value.value, depth)
        if is_a(value, abc.Mapping):
            return {self._key(name): self.simplify(each, depth) for name, each in value.items()}
        if is_a(value, bytes, bytearray, memoryview):
            octets = bytes(value)
            return b64encode(octets).decode("ascii") if self._texts else octets
        if is_a(value, list, tuple, set, frozenset):
            return [self.simplify(each, depth) for each in value]
        if is_a(value, datetime) and not self._texts:
            return value
        if is_a(value, date, time):
            return value.isoformat()
        if is_a(value, UUID, Decimal):
            return str(value)
        if _is_record(kind):
            names = [each.name for each in dataclasses.fields(value)]
        elif hasattr(kind, "__struct_fields__"):
            stored: dict[str, str] = dict(
                zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True)
            )
            return {
                name: self.simplify(getattr(value, field), depth) for name, field in stored.items()
            }
        else:
            for plain in (str, int, float):
                if is_a(value, plain):
                    return self.simplify(plain(value), depth)
            raise TypeError(f"a {kind.__qualname__} has no form on the wire")
        return {name: self.simplify(getattr(value, name), depth) for name in names}

    def _key(self, name: Any) -> str:
        if isinstance(name, Enum):
            name = name.value
        if isinstance(name, (UUID, Decimal, date, time)):
            name = str(name)
        if not isinstance(name, str):
            raise TypeError(f"keys are texts on the wire, not {kind_of(name)}")
        return name


# ── converters ────────────────────────────────────────────────────────────────


def _as_it_is(value: Any) -> Any:
    return value


def _nothing(value: Any) -> None:
    if value is not None:
        raise _mismatch("nothing", value)


def _whole_number(value: Any) -> int:
    if type(value) is not int:
        raise _mismatch("a whole number", value)
    return value


def _number(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise MismatchError("a number is too large") from None
    raise _mismatch("a number", value)


def _exactly(kind: type) -> Converter:
    def convert(value: Any) -> Any:
        if type(value) is not kind:
            raise _mismatch(_KINDS[kind], value)
        return value

    return convert


def _from_base64(value: Any) -> bytes:
    if type(value) is not str:
        raise _mismatch("a text in base64", value)
    try:
        return b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise MismatchError("a text is not base64") from None


def _from_text(make: Callable[[str], Any], expected: str) -> Converter:
    def convert(value: Any) -> Any:
        if type(value) is not str:
            raise _mismatch(f"{expected}, as text,", value)
        if len(value) > 100:
            raise MismatchError(f"{expected} is expected, not a long text")
        try:
            return make(value)
        except ValueError:
            raise MismatchError(f"a text is not {expected}") from None

    return convert


def _decimal(text: str) -> Decimal:
    try:
        made = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(str(error)) from None
    if not made.is_finite():
        raise ValueError("not finite")
    return made


def _one_of(choices: tuple[Any, ...]) -> Converter:
    # True is 1 to Python, and not to whoever wrote the annotation.
    known: dict[tuple[type, Any], Any] = {(type(each), each): each for each in choices}
    return _member_of(known)


def _member_of(known: dict[tuple[type, Any], Any]) -> Converter:
    def convert(value: Any) -> Any:
        kind = type_of(value)
        if kind in _KINDS and kind not in (list, dict):
            found = known.get((kind, value), known)
            if found is not known:
                return found
            raise MismatchError("a value is none of those that are possible")
        raise _mismatch("one of several values", value)

    return convert


def _list_of(item: Converter) -> Converter:
    def convert(value: Any) -> list[Any]:
        if not is_list(value):
            raise _mismatch("a list", value)
        made: list[Any] = []
        for at, each in enumerate(value):
            try:
                made.append(item(each))
            except MismatchError as error:
                error.where.insert(0, at)
                raise
        return made

    return convert


def _set_of(item: Converter, whole: Callable[[list[Any]], Any]) -> Converter:
    every = _list_of(item)

    def convert(value: Any) -> Any:
        try:
            return whole(every(value))
        except TypeError:
            raise MismatchError("a list or an object cannot be in a set") from None

    return convert


def _row(items: list[Converter], make: Callable[..., Any]) -> Converter:
    def convert(value: Any) -> Any:
        if not is_list(value):
            raise _mismatch(f"a list of {len(items)}", value)
        if len(value) != len(items):
            raise MismatchError(f"a list of {len(items)} is expected, not of {len(value)}")
        made: list[Any] = []
        for at, (item, each) in enumerate(zip(items, value, strict=True)):
            try:
                made.append(item(each))
            except MismatchError as error:
                error.where.insert(0, at)
                raise
        return make(*made)

    return convert


def _object(
    fields: dict[str, Converter], required: set[str], make: Callable[[dict[str, Any]], Any]
) -> Converter:
    def convert(value: Any) -> Any:
        if not is_object(value):
            raise _mismatch("an object", value)
        made: dict[str, Any] = {}
        for name, each in value.items():
            item = fields.get(name)
            if item is None:
                raise MismatchError(f"there is no field {name[:64]!r}")
            try:
                made[name] = item(each)
            except MismatchError as error:
                error.where.insert(0, name)
                raise
        missing = required - made.keys()
        if missing:
            raise MismatchError(f"the field {min(missing)!r} is missing")
        try:
            return make(made)
        except ValueError as error:
            # A dataclass that checks itself when it is made.
            raise MismatchError(str(error)[:200]) from None

    return convert


JSON_VALUES: Final = Values(texts=True)
"""What JSON has: octets are base64, dates are ISO 8601."""
XML_VALUES: Final = Values(texts=False)
"""What XML-RPC has: octets and dates with time are values of their own."""
