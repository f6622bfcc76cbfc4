"""Cookies: what is read of browsers, what is refused of applications."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.web.cookies import (
    MAX_COOKIES,
    cookie_field,
    expired_cookie_field,
    parse_cookies,
)

_TOKEN = st.text("!#$%&'*+-.^_`|~019azAZ", min_size=1, max_size=20)
_VALUE = st.text("!#$%&'()*+-./09:<=>?@AZ[]^_`az{|}~", max_size=40)


def test_pairs_come_apart_as_browsers_join_them() -> None:
    """RFC 6265 §3.1's own example."""
    assert parse_cookies("SID=31d4d96e407aad42; lang=en-US") == {
        "SID": "31d4d96e407aad42",
        "lang": "en-US",
    }


def test_of_several_of_one_name_the_first_counts() -> None:
    assert parse_cookies("a=1; a=2") == {"a": "1"}


def test_quotes_around_a_value_are_taken_off() -> None:
    assert parse_cookies('a="b c"; b="') == {"a": "b c", "b": '"'}


def test_a_bad_pair_leaves_its_neighbours_alone() -> None:
    value = b"a=1; nonsense; =x; b\x01=2; c=\x00; d=\xff; e e=1;;; f=3"
    assert parse_cookies(value) == {"a": "1", "f": "3"}


def test_values_may_be_utf8() -> None:
    assert parse_cookies("name=Zoë".encode()) == {"name": "Zoë"}


def test_no_more_pairs_are_looked_at_than_a_browser_keeps() -> None:
    assert len(parse_cookies("; ".join(f"c{n}=1" for n in range(5000)))) == MAX_COOKIES


def test_a_cookie_is_safe_unless_told_otherwise() -> None:
    assert cookie_field("id", "abc") == b"id=abc; Path=/; Secure; HttpOnly; SameSite=Lax"


def test_every_attribute_is_written_as_the_rfc_has_it() -> None:
    line = cookie_field(
        "id",
        "abc",
        max_age=60,
        expires=784111777.0,
        path="/app",
        domain=".Example.com",
        http_only=False,
        same_site="none",
        partitioned=True,
    )
    assert line == (
        b"id=abc; Max-Age=60; Expires=Sun, 06 Nov 1994 08:49:37 GMT; Domain=example.com; "
        b"Path=/app; Secure; SameSite=None; Partitioned"
    )


def test_a_forgotten_cookie_has_expired_by_both_clocks() -> None:
    line = expired_cookie_field("id", path="/app", domain="example.com")
    assert b"Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT" in line
    assert b"Domain=example.com; Path=/app" in line


@pytest.mark.parametrize(
    ("name", "value", "options"),
    [
        ("", "x", {}),
        ("a b", "x", {}),
        ("a=b", "x", {}),
        ("a", "x; Domain=evil.example", {}),
        ("a", "x\r\nSet-Cookie: b=c", {}),
        ("a", "x\0", {}),
        ("a", 'x"y', {}),
        ("a", "x,y", {}),
        ("a", "x y", {}),
        ("a", "é", {}),
        ("a", "x", {"path": "/a; Domain=evil.example"}),
        ("a", "x", {"path": "/a\r\nX: y"}),
        ("a", "x", {"path": "a"}),
        ("a", "x", {"domain": "a.example; Secure"}),
        ("a", "x", {"domain": "a..example"}),
        ("a", "x", {"domain": "-a.example"}),
        ("a", "x", {"domain": ""}),
        ("a", "x", {"same_site": "lax; Domain=x"}),
        ("a", "x", {"same_site": "none", "secure": False}),
        ("a", "x", {"partitioned": True, "secure": False}),
        ("__Secure-a", "x", {"secure": False}),
        ("__Host-a", "x", {"secure": False}),
        ("__Host-a", "x", {"domain": "a.example"}),
        ("__host-a", "x", {"path": "/a"}),
        ("a", "x" * 4096, {}),
    ],
)
def test_nothing_is_smuggled_into_a_cookie(name: str, value: str, options: Any) -> None:
    """HARDENING h1-15."""
    with pytest.raises(ValueError, match=r"cookie|[Ss]ame|secure|path"):
        cookie_field(name, value, **options)


@given(st.binary(max_size=300))
def test_no_field_makes_the_reader_raise(value: bytes) -> None:
    for name, content in parse_cookies(value).items():
        assert name
        assert not set(name) & set('()<>@,;:\\"/[]?={} \t')
        assert not any(ord(each) < 32 for each in content)


@given(st.dictionaries(_TOKEN, _VALUE, max_size=20))
def test_what_is_set_is_read_back(cookies: dict[str, str]) -> None:
    pairs = [
        cookie_field(name, value, secure=name.lower().startswith("__")).partition(b";")[0]
        for name, value in cookies.items()
    ]
    assert parse_cookies(b"; ".join(pairs)) == cookies
