"""Values of the wire against annotations; which functions may be called, and with what."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypedDict
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core.deferred import Deferred, succeed
from sennit.core.testing.clock import Clock
from sennit.web.errors import WebUsageError
from sennit.web.request import Request
from sennit.web.rpc.conversion import JSON_VALUES, XML_VALUES
from sennit.web.rpc.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MismatchError,
    RPCError,
)
from sennit.web.rpc.exposing import Methods, exposed


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Place(NamedTuple):
    x: int
    y: int


class Options(TypedDict, total=False):
    deep: bool


@dataclass
class Item:
    name: str
    price: float = 0.0
    tags: list[str] = field(default_factory=lambda: list[str]())


@dataclass
class Tree:
    value: int
    children: list[Tree] = field(default_factory=lambda: list[Tree]())


@dataclass
class Even:
    value: int

    def __post_init__(self) -> None:
        if self.value % 2:
            raise ValueError("an even number, please")


class Struct(msgspec.Struct, rename="camel"):
    first_name: str
    born: int = 0


UserId = NewType("UserId", int)

FITS: list[tuple[Any, Any, Any]] = [
    (int, 1, 1),
    (float, 1, 1.0),
    (float, 1.5, 1.5),
    (str, "a", "a"),
    (bool, True, True),
    (None, None, None),
    (Any, {"a": [1]}, {"a": [1]}),
    (object, 3, 3),
    (int | None, None, None),
    (float | int, 1, 1),
    (list[int], [1, 2], [1, 2]),
    (list, [1, "a"], [1, "a"]),
    (Sequence[str], ["a"], ["a"]),
    (tuple[int, str], [1, "a"], (1, "a")),
    (tuple[int, ...], [1, 2], (1, 2)),
    (tuple, [1], (1,)),
    (set[int], [1, 1], {1}),
    (frozenset[int], [1], frozenset({1})),
    (dict[str, int], {"a": 1}, {"a": 1}),
    (Mapping[str, Any], {"a": 1}, {"a": 1}),
    (dict[Colour, int], {"red": 1}, {Colour.RED: 1}),
    (Literal["a", 1], 1, 1),
    (Colour, "blue", Colour.BLUE),
    (Place, [1, 2], Place(1, 2)),
    (Options, {"deep": True}, {"deep": True}),
    (Item, {"name": "n", "price": 2}, Item("n", 2.0)),
    (Tree, {"value": 1, "children": [{"value": 2}]}, Tree(1, [Tree(2)])),
    (Struct, {"firstName": "Ada", "born": 1815}, Struct("Ada", 1815)),
    (UserId, 7, 7),
    (Annotated[int, "at a table"], 7, 7),
    (date, "2026-02-03", date(2026, 2, 3)),
    (UUID, "12345678123456781234567812345678", UUID("12345678123456781234567812345678")),
    (Decimal, "1.50", Decimal("1.50")),
]


@pytest.mark.parametrize(("annotation", "value", "made"), FITS)
def test_what_was_declared_is_made_of_what_came(annotation: Any, value: Any, made: Any) -> None:
    for values in (JSON_VALUES, XML_VALUES):
        found = values.converter(annotation)(value)
        assert found == made
        assert type(found) is type(made)


MISFITS: list[tuple[Any, Any, str]] = [
    (int, True, "a whole number is expected, not a boolean"),
    (int, 1.0, "a whole number is expected, not a number"),
    (int, "1", "a whole number is expected, not a text"),
    (float, "1", "a number is expected, not a text"),
    (float, 10**400, "a number is too large"),
    (float, True, "a number is expected, not a boolean"),
    (bool, 1, "a boolean is expected, not a whole number"),
    (str, None, "a text is expected, not nothing"),
    (None, 0, "nothing is expected, not a whole number"),
    (list[int], {"a": 1}, "a list is expected, not an object"),
    (list[int], [1, "a"], "[1]: a whole number is expected, not a text"),
    (tuple[int, str], [1], "a list of 2 is expected, not of 1"),
    (tuple[int, str], [1, 2], "[1]: a text is expected, not a whole number"),
    (tuple[int, str], 1, "a list of 2 is expected, not a whole number"),
    (set[Any], [[1]], "a list or an object cannot be in a set"),
    (dict[str, int], {"a": "b"}, "a: a whole number is expected, not a text"),
    (dict[str, int], [], "an object is expected, not a list"),
    (Literal["a", 1], True, "a value is none of those that are possible"),
    (Literal["a", 1], [1], "one of several values is expected, not a list"),
    (Colour, "green", "a value is none of those that are possible"),
    (Item, {"price": 1}, "the field 'name' is missing"),
    (Item, {"name": 1}, "name: a text is expected, not a whole number"),
    (Item, {"name": "a", "__class__": 1}, "there is no field '__class__'"),
    (Item, "a", "an object is expected, not a text"),
    (list[Item], [{"name": "", "tags": [0.5]}], "[0].tags[0]: a text is expected, not a number"),
    (Item | None, {"name": 1}, "name: a text is expected, not a whole number"),
    (Even, {"value": 1}, "an even number, please"),
    (Struct, {"firstName": 1}, "Expected `str`, got `int` - at `$.firstName`"),
    (date, "3 February", "a text is not a date"),
    (date, 5, "a date, as text, is expected, not a whole number"),
    (UUID, "1" * 200, "a UUID is expected, not a long text"),
    (Decimal, "NaN", "a text is not a decimal number as text"),
    (Decimal, "a", "a text is not a decimal number as text"),
]


@pytest.mark.parametrize(("annotation", "value", "problem"), MISFITS)
def test_something_else_is_refused_with_the_place_where_it_stands(
    annotation: Any, value: Any, problem: str
) -> None:
    with pytest.raises(MismatchError) as caught:
        JSON_VALUES.converter(annotation)(value)
    assert caught.value.sentence == problem == str(caught.value)


def test_octets_and_dates_with_time_are_texts_in_json_and_values_in_xml() -> None:
    noon = datetime(2026, 2, 3, 12)  # noqa: DTZ001 - XML-RPC has no time zones
    assert JSON_VALUES.converter(bytes)("AP8=") == b"\x00\xff"
    assert JSON_VALUES.converter(datetime)("2026-02-03T12:00:00") == noon
    assert JSON_VALUES.simplify([b"\x00\xff", noon]) == ["AP8=", "2026-02-03T12:00:00"]
    assert XML_VALUES.converter(bytes)(b"\x00") == b"\x00"
    assert XML_VALUES.converter(datetime)(noon) == noon
    assert XML_VALUES.simplify([bytearray(b"\x00"), noon]) == [b"\x00", noon]
    for value in ("AP8", "!", 5):
        with pytest.raises(MismatchError):
            JSON_VALUES.converter(bytes)(value)
    with pytest.raises(MismatchError):
        XML_VALUES.converter(datetime)("2026-02-03T12:00:00")


def test_an_annotation_that_nothing_can_be_held_against_is_noticed_when_it_is_declared() -> None:
    for annotation in (dict[int, str], dict[bytes, str], complex, type, "later", Deferred[int]):
        with pytest.raises(TypeError):
            JSON_VALUES.converter(annotation)
    # And the next time too.
    with pytest.raises(TypeError):
        JSON_VALUES.converter(complex)


def test_values_of_python_become_values_of_the_wire() -> None:
    tree = Tree(1, [Tree(2)])
    assert JSON_VALUES.simplify(tree) == {"value": 1, "children": [{"value": 2, "children": []}]}
    assert JSON_VALUES.simplify({Colour.RED: Colour.BLUE}) == {"red": "blue"}
    assert JSON_VALUES.simplify(Place(1, 2)) == [1, 2]
    assert JSON_VALUES.simplify(Struct("Ada")) == {"firstName": "Ada", "born": 0}
    assert JSON_VALUES.simplify((1.5, None, True, {3})) == [1.5, None, True, [3]]
    assert JSON_VALUES.simplify(Decimal("1.50")) == "1.50"
    assert JSON_VALUES.simplify({date(2026, 2, 3): UUID(int=0)}) == {
        "2026-02-03": "00000000-0000-0000-0000-000000000000"
    }

    class Name(str):
        pass

    assert type(JSON_VALUES.simplify(Name("a"))) is str


def test_values_without_a_form_on_the_wire_are_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    for value in (float("nan"), float("inf"), loop):
        with pytest.raises(ValueError, match=r"number|nested"):
            JSON_VALUES.simplify(value)
    unwritable: list[Any] = [object(), {1: 2}, Item, {(): 1}]
    for value in unwritable:
        with pytest.raises(TypeError):
            JSON_VALUES.simplify(value)
    loop.clear()


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
))  # fmt: skip
def test_no_value_makes_a_converter_raise_anything_but_a_mismatch(value: Any) -> None:
    for annotation, _, _ in FITS:
        for values in (JSON_VALUES, XML_VALUES):
            with contextlib.suppress(MismatchError):
                values.converter(annotation)(value)


# ── functions ─────────────────────────────────────────────────────────────────


def call(methods: Methods, name: str, *arguments: Any, **named: Any) -> Any:
    with Clock() as clock:
        return clock.run(lambda _: methods.call(JSON_VALUES, name, arguments, named, {}))


def code_of(methods: Methods, name: str, *arguments: Any, **named: Any) -> tuple[int, str]:
    with pytest.raises(RPCError) as caught:
        call(methods, name, *arguments, **named)
    return caught.value.code, caught.value.message


def test_plain_functions_coroutines_and_deferreds_can_be_called() -> None:
    methods = Methods()

    @methods.method
    def add(a: int, b: int = 2) -> int:
        return a + b

    @methods.method(name="math.later")
    async def later(a: int) -> int:
        return a + 1

    @methods.method
    def sooner(a: int) -> Deferred[Item]:
        return succeed(Item("n", a))

    assert call(methods, "add", 1) == call(methods, "add", 1, b=2) == call(methods, "add", a=1) == 3
    assert call(methods, "math.later", 1) == 2
    assert call(methods, "sooner", 1) == {"name": "n", "price": 1, "tags": []}
    assert [each.name for each in methods] == ["add", "math.later", "sooner"]
    assert len(methods) == 3


def test_arguments_are_held_against_the_functions_annotations() -> None:
    methods = Methods()

    @methods.method
    def buy(item: Item, /, *more: Item, gift: bool = False, **notes: str) -> int:
        return 1 + len(more) + gift + len(notes)

    @methods.method
    def one(a: int, *, b: int) -> int:
        return a + b

    item = {"name": "n"}
    assert call(methods, "buy", item, item, gift=True, card="x") == 4
    assert call(methods, "one", 1, b=2) == 3
    for arguments, named, problem in (
        ([], {}, "the argument 'item' is missing"),
        ([1], {}, "item: an object is expected, not a whole number"),
        ([item, {}], {}, "more: the field 'name' is missing"),
        ([item], {"gift": 1}, "gift: a boolean is expected, not a whole number"),
        ([item], {"card": 1}, "card: a text is expected, not a whole number"),
    ):
        assert code_of(methods, "buy", *arguments, **named) == (INVALID_PARAMS, problem)
    assert code_of(methods, "one", 1) == (INVALID_PARAMS, "the argument 'b' is missing")
    problem = "takes 1 arguments by position, not 2"
    assert code_of(methods, "one", 1, 2) == (INVALID_PARAMS, problem)
    assert code_of(methods, "one", 1, a=1, b=1) == (INVALID_PARAMS, "takes 'a' once")
    assert code_of(methods, "one", 1, c=1) == (INVALID_PARAMS, "takes no argument 'c'")


def test_only_what_was_declared_can_be_called() -> None:
    """HARDENING nev-4."""
    methods = Methods()

    class Files:
        secret = "s"

        @exposed
        def read(self, name: str) -> str:
            return name

        def erase(self, name: str) -> str:
            return "gone"

    methods.add_object(Files(), "files.")
    assert call(methods, "files.read", "a") == "a"
    for name in (
        "files.erase", "files.secret", "files.__class__", "__class__", "_x", "a.b", "", "read",
        "files", "files.read.__call__", "add", "find",
    ):  # fmt: skip
        assert code_of(methods, name, "a") == (METHOD_NOT_FOUND, "there is no such method")


def test_names_that_cannot_be_are_refused_when_they_are_declared() -> None:
    methods = Methods()

    def function() -> None: ...

    def _hidden() -> None: ...

    for name in ("_a", "a._b", "a.__b__", "1a", "a b", "a\n", "rpc.x", "system.x", "a..b", "é"):
        with pytest.raises(WebUsageError):
            methods.add(function, name)
    with pytest.raises(WebUsageError):
        methods.method(_hidden)
    methods.add(function)
    with pytest.raises(WebUsageError, match="already"):
        methods.add(function)
    with pytest.raises(WebUsageError, match="marks no method"):
        methods.add_object(Item("a"))


def test_a_parameter_for_the_request_is_no_argument() -> None:
    methods = Methods()

    @methods.method
    def whoami(request: Request, prefix: str) -> str:
        return f"{prefix}{request!r}"

    @methods.method
    def between(a: int, request: Request, b: int) -> object:
        return [a, request, b]

    request: Any = "the request"
    with Clock() as clock:
        ask = methods.call(JSON_VALUES, "whoami", ["> "], {}, {Request: request})
        assert clock.run(lambda _: ask) == "> 'the request'"
        ask = methods.call(JSON_VALUES, "whoami", [], {"prefix": "> "}, {Request: request})
        assert clock.run(lambda _: ask) == "> 'the request'"
        ask = methods.call(JSON_VALUES, "between", [1, 2], {}, {Request: request})
        assert clock.run(lambda _: ask) == [1, "the request", 2]
    problem = (INVALID_PARAMS, "takes no argument 'request'")
    assert code_of(methods, "whoami", prefix="", request="mine") == problem
    problem = (INVALID_PARAMS, "this function cannot be called by this way")
    assert code_of(methods, "whoami", "") == problem

    def hidden(request: Request, /) -> None: ...

    with pytest.raises(TypeError, match="known by its name"):
        methods.add(hidden)


def test_an_error_meant_to_be_told_is_told_and_another_is_logged_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    methods = Methods()

    @methods.method
    def told() -> None:
        raise RPCError(7, "no more", {"left": 0})

    @methods.method
    async def untold() -> None:
        raise KeyError("the password is wonderland")

    @methods.method
    def unwritable() -> object:
        return object()

    assert code_of(methods, "told") == (7, "no more")
    assert not caplog.records
    for name in ("untold", "unwritable"):
        assert code_of(methods, name) == (INTERNAL_ERROR, "internal error")
        assert [each.exc_info is not None for each in caplog.records] == [True]
        caplog.clear()
    gc.collect()
