"""Redirects: which method goes where, and what of the request goes along."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.web.client.redirects import RedirectError, follow
from sennit.web.client.urls import URL

HERE = URL("https://example.com/a/b?c#frag")
SECRET = [
    (b"authorization", b"Basic x"),
    (b"cookie", b"a=b"),
    (b"proxy-authorization", b"Basic y"),
    (b"host", b"example.com"),
    (b"accept", b"*/*"),
    (b"referer", b"https://example.com/"),
]


@pytest.mark.parametrize(
    ("method", "status", "then"),
    [
        ("GET", 301, "GET"),
        ("HEAD", 301, "HEAD"),
        ("POST", 301, "GET"),
        ("PUT", 301, "PUT"),
        ("POST", 302, "GET"),
        ("DELETE", 302, "DELETE"),
        ("GET", 303, "GET"),
        ("HEAD", 303, "HEAD"),
        ("POST", 303, "GET"),
        ("PUT", 303, "GET"),
        ("DELETE", 303, "GET"),
        ("POST", 307, "POST"),
        ("PATCH", 307, "PATCH"),
        ("POST", 308, "POST"),
    ],
)
def test_methods_change_as_browsers_change_them(method: str, status: int, then: str) -> None:
    """RFC 9110 §15.4.2 to §15.4.9."""
    step = follow(method, HERE, [], status, b"/x")
    assert step.method == then
    assert step.keeps_content == (method == then)


def test_what_describes_content_goes_with_it() -> None:
    """RFC 9110 §15.4."""
    fields = [
        (b"content-type", b"text/plain"),
        (b"content-length", b"3"),
        (b"content-encoding", b"gzip"),
        (b"transfer-encoding", b"chunked"),
        (b"expect", b"100-continue"),
        (b"x-own", b"y"),
    ]
    assert follow("POST", HERE, fields, 303, b"/x").headers == [(b"x-own", b"y")]
    assert follow("POST", HERE, fields, 307, b"/x").headers == fields


def test_within_an_origin_everything_goes_along() -> None:
    step = follow("GET", HERE, SECRET, 302, b"d")
    assert (str(step.url), step.same_origin) == ("https://example.com/a/d#frag", True)
    assert step.headers == SECRET
    assert follow("GET", HERE, SECRET, 302, b"https://EXAMPLE.com:443/").same_origin


@pytest.mark.parametrize(
    "location",
    [
        b"https://example.org/",
        b"https://example.com:8443/",
        b"http://example.com/",
        b"//www.example.com/",
        b"https://example.com.evil.example/",
        b"https://example.com@evil.example/",
    ],
)
def test_credentials_and_cookies_stay_with_their_origin(location: bytes) -> None:
    """HARDENING h1-23: other host, other port, https to http (CVE-2022-21712)."""
    step = follow("GET", HERE, SECRET, 302, location)
    assert not step.same_origin
    kept = {name for name, _ in step.headers}
    assert kept == ({b"accept"} if not step.url.secure else {b"accept", b"referer"})


def test_a_server_does_not_choose_who_we_are() -> None:
    step = follow("GET", HERE, [], 302, b"https://user:pw@evil.example/")
    assert (step.url.username, step.url.password) == ("", "")


@pytest.mark.parametrize(
    "location",
    [
        b"file:///etc/passwd",
        b"ftp://example.com/",
        b"data:text/plain,x",
        b"javascript:alert(1)",
        b"ws://example.com/",
        b"http+unix://%2Frun%2Fdocker.sock/",
        b"https://example.com/\rX-Injected: 1",
        b"https://example.com/\r\n\r\nGET /",
        b"/a\x00b",
        b"https://",
        b"http://[::1",
        b"http://127.1/",
    ],
)
def test_where_no_redirect_may_lead_none_does(location: bytes) -> None:
    """HARDENING h1-23: only http and https; a line break in Location is an error."""
    with pytest.raises(RedirectError):
        follow("GET", HERE, [], 302, location)


def test_within_a_unix_socket_redirects_are_followed() -> None:
    here = URL("http+unix://%2Frun%2Fx.sock/a")
    step = follow("GET", here, [], 302, b"/b")
    assert (step.url.unix, step.url.path, step.same_origin) == ("/run/x.sock", "/b", True)


def test_locations_are_read_as_people_write_them() -> None:
    assert follow("GET", HERE, [], 302, b" /a b ").url.path == "/a%20b"
    assert follow("GET", HERE, [], 302, "/ä".encode()).url.path == "/%C3%A4"
    assert follow("GET", HERE, [], 302, b"/\xe4").url.path == "/%C3%A4"


def test_a_fragment_goes_along_where_there_is_no_other() -> None:
    """RFC 9110 §10.2.2."""
    assert follow("GET", HERE, [], 302, b"/x").url.fragment == "frag"
    assert follow("GET", HERE, [], 302, b"/x#own").url.fragment == "own"


@given(st.binary(max_size=100))
def test_no_location_raises_anything_else(location: bytes) -> None:
    try:
        step = follow("GET", HERE, SECRET, 302, location)
    except RedirectError:
        return
    assert step.url.scheme in ("http", "https")
    if not step.same_origin:
        assert not {b"authorization", b"cookie"} & {name for name, _ in step.headers}
