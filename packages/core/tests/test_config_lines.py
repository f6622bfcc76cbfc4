"""Where each value of a TOML text stands."""

from __future__ import annotations

import tomllib
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core.service.lines import locate

TEXT = """\
# a comment = 1
top.level = 1
[service.site]   # [not.this]
type = "web"
listen = [
  "tcp://x#]",
  {url = "y", tls = 'main'}, # c
]
note = \"\"\"
a = 1 \\\"""
[no]
\"\"\"
"x y".z = 3
[[many]]
n = 1
[[many]]
n = 2
[many.sub]
when = 2024-01-01 00:00:00
raw = '''
it = 'this'
'''
last = true
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top", "level"), 2),
        (("service",), 3),
        (("service", "site"), 3),
        (("service", "site", "type"), 4),
        (("service", "site", "listen"), 5),
        (("service", "site", "listen", 0), 6),
        (("service", "site", "listen", 1, "tls"), 7),
        (("service", "site", "note"), 9),
        (("service", "site", "x y", "z"), 13),
        (("many", 0, "n"), 15),
        (("many", 1, "n"), 17),
        (("many", 1, "sub", "when"), 19),
        (("many", 1, "sub", "raw"), 20),
        (("many", 1, "sub", "last"), 23),
    ],
)
def test_a_value_is_found_on_its_line(path: tuple[str | int, ...], line: int) -> None:
    """TOML v1.0.0: strings of four kinds, dotted and quoted keys, arrays of tables."""
    tomllib.loads(TEXT)

    assert locate(TEXT)[path] == line


def test_words_inside_strings_are_no_keys() -> None:
    lines = locate(TEXT)

    assert ("no",) not in lines
    assert ("service", "site", "a") not in lines


def test_a_text_that_is_no_toml_does_no_harm() -> None:
    for text in ("[", "a", "a = ", "a = [", 'a = "', "[[x", "a = {", "= 1", "a = [" * 5000):
        locate(text)


_KEYS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1, max_size=8)
_VALUES = st.recursive(
    st.integers() | st.booleans() | st.text(st.characters(codec="utf-8"), max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=8,
)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, list):
        items = cast("list[object]", value)
        return "[\n" + "".join(f"{_toml(each)},\n" for each in items) + "]"
    table = cast("dict[str, object]", value)
    return "{" + ", ".join(f"{_string(key)} = {_toml(each)}" for key, each in table.items()) + "}"


def _string(text: str) -> str:
    escaped = "".join(
        f"\\u{ord(each):04x}" if ord(each) < 0x20 or each in '"\\\x7f' else each for each in text
    )
    return f'"{escaped}"'


def _paths(value: object, path: tuple[str | int, ...]) -> list[tuple[str | int, ...]]:
    found = [path]
    if isinstance(value, dict):
        for key, each in cast("dict[str, object]", value).items():
            found += _paths(each, (*path, key))
    elif isinstance(value, list):
        for index, each in enumerate(cast("list[object]", value)):
            found += _paths(each, (*path, index))
    return found


@given(st.dictionaries(_KEYS, _VALUES, max_size=4))
def test_every_value_of_any_document_is_found(document: dict[str, object]) -> None:
    text = "".join(f"{_string(key)} = {_toml(value)}\n" for key, value in document.items())
    assert tomllib.loads(text) == document

    lines = locate(text)

    expected = [path for key, value in document.items() for path in _paths(value, (key,))]
    assert set(lines) == set(expected)
    for key in document:
        assert text.split("\n")[lines[(key,)] - 1].startswith(_string(key))
