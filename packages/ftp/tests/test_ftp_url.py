"""URLs of FTP: taken apart, and shown without their passwords."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.ftp.errors import FTPUsageError
from sennit.ftp.url import FTPURL, parse_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("ftp://h", FTPURL("ftp", "h", 21)),
        ("FTP://h/", FTPURL("ftp", "h", 21)),
        ("ftps://h/a/b", FTPURL("ftps", "h", 990, path="a/b")),
        ("ftpes://h:2121/", FTPURL("ftpes", "h", 2121)),
        ("ftp://me@h/", FTPURL("ftp", "h", 21, user="me")),
        ("ftp://me:@h/", FTPURL("ftp", "h", 21, user="me", password="")),
        ("ftp://m%40e:p%3A%2F@h/", FTPURL("ftp", "h", 21, user="m@e", password="p:/")),
        ("ftp://[::1]:21//etc", FTPURL("ftp", "::1", 21, path="/etc")),
        ("ftp://h/%2Fetc", FTPURL("ftp", "h", 21, path="/etc")),
        ("ftp://h/a%20b;type=a", FTPURL("ftp", "h", 21, path="a b", type="a")),
        ("ftp://h/%E4", FTPURL("ftp", "h", 21, path="\udce4")),
        ("ftp://h/a?b#c", FTPURL("ftp", "h", 21, path="a?b#c")),
    ],
)
def test_a_url_is_taken_apart(text: str, url: FTPURL) -> None:
    assert parse_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://h/",
        "ftp:/h",
        "ftp://",
        "ftp:///x",
        "ftp://h:0/",
        "ftp://h:65536/",
        "ftp://h:x/",
        "ftp://h/%0d%0aDELE%20x",
        "ftp://a%0A:b@h/",
        "ftp://a:%00@h/",
        "ftp://h/\nx",
        "ftp://h/100%",
        "ftp://a b/",
        "ftp://[::1/",
    ],
)
def test_what_is_no_url_is_refused(text: str) -> None:
    """HARDENING ftp-8: no CR, LF or NUL, encoded or not."""
    with pytest.raises(FTPUsageError):
        parse_url(text)


def test_a_password_never_shows() -> None:
    url = parse_url("ftps://me:hunter2@h:2121/a%20b")

    assert "hunter2" not in repr(url) + str(url)
    assert str(url) == "ftps://me@h:2121/a%20b"
    with pytest.raises(FTPUsageError) as raised:
        parse_url("ftp://me:hunter2@/")
    assert "hunter2" not in str(raised.value)


@given(st.text(max_size=40))
def test_any_text_is_a_url_or_is_refused(text: str) -> None:
    for head in ("", "ftp://", "ftp://h/"):
        try:
            url = parse_url(head + text)
        except FTPUsageError:
            continue
        assert not any(each in url.path for each in "\r\n\0")
        assert parse_url(str(url)).path == url.path
