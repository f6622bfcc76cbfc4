"""The client's cookies: read as browsers read them, sent where they belong."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.web.client import suffixes
from sennit.web.client.cookies import CookieJar
from sennit.web.client.setcookie import (
    MAX_AGE,
    default_path,
    domain_matches,
    parse_cookie_date,
    parse_set_cookie,
    path_matches,
)
from sennit.web.client.urls import URL

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_700_000_000.0
PUBLIC = {"com", "org", "co.uk", "uk", "github.io", "io"}


class Jar(CookieJar):
    """A jar with a clock to turn and a short list of suffixes."""

    def __init__(self, **options: int) -> None:
        self.now = NOW
        super().__init__(
            is_public_suffix=PUBLIC.__contains__, wall_clock=lambda: self.now, **options
        )

    def got(self, url: str, *fields: str | bytes) -> Jar:
        octets = [each.encode("latin-1") if isinstance(each, str) else each for each in fields]
        self.receive(URL(url), octets)
        return self

    def sends(self, url: str) -> str | None:
        found = self.field(URL(url))
        return None if found is None else found.decode("latin-1")


# ── reading one field (RFC 6265bis §5.6) ──────────────────────────────────────


@pytest.mark.parametrize(
    ("field", "name", "value"),
    [
        (b"a=b", b"a", b"b"),
        (b"  a  =  b c  ; Path=/", b"a", b"b c"),
        (b"a=b=c", b"a", b"b=c"),
        (b'a="b"', b"a", b'"b"'),
        (b"a=", b"a", b""),
        (b"a", b"", b"a"),
        (b"=a", b"", b"a"),
        (b"a=b;c=d", b"a", b"b"),
        (b"a=\tb\tc", b"a", b"b\tc"),
    ],
)
def test_name_and_value_are_what_stands_around_the_first_equals_sign(
    field: bytes, name: bytes, value: bytes
) -> None:
    found = parse_set_cookie(field)
    assert found is not None
    assert (found.name, found.value) == (name, value)


@pytest.mark.parametrize(
    "field",
    [b"", b";", b"=", b" ; Path=/", b"a=b\x00", b"a=b\r\nX: y", b"a\x7f=b", b"a=" + b"x" * 4096],
)
def test_what_sets_no_cookie_sets_none(field: bytes) -> None:
    assert parse_set_cookie(field) is None


def test_attributes_are_read_whatever_their_case_and_the_last_counts() -> None:
    found = parse_set_cookie(
        b"a=b; PATH=/x; path=/y; DOMAIN=.Example.COM; Max-Age=60; secure=x; HttpOnly; "
        b"SameSite=Strict; samesite=LAX; Unknown=1"
    )
    assert found is not None
    assert (found.path, found.domain, found.max_age) == ("/y", "example.com", 60)
    assert (found.secure, found.http_only, found.same_site) == (True, True, "lax")


def test_attributes_that_make_no_sense_are_passed_over() -> None:
    found = parse_set_cookie(
        b"a=b; Max-Age=1h; Max-Age=; Expires=never; Path=x; SameSite=Maybe; Domain="
        b"; Max-Age=" + b"9" * 2000
    )
    assert found is not None
    assert (found.max_age, found.expires, found.path) == (None, None, None)
    assert (found.domain, found.same_site) == ("", "")


def test_no_cookie_lives_longer_than_400_days() -> None:
    for said in (b"99999999999", b"9" * 1000):
        found = parse_set_cookie(b"a=b; Max-Age=" + said)
        assert found is not None
        assert found.max_age == MAX_AGE
    jar = Jar().got("http://a.com/", "a=b; Expires=Fri, 31 Dec 2199 23:59:59 GMT")
    assert next(iter(jar)).expires == NOW + MAX_AGE


# ── dates (RFC 6265bis §5.1.1) ────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Wed, 09 Jun 2021 10:18:14 GMT", 1623233894),
        ("Wednesday, 09-Jun-21 10:18:14 GMT", 1623233894),
        ("Wed Jun  9 10:18:14 2021", 1623233894),
        ("9 june 2021 10:18:14", 1623233894),
        ("2021 Jun 9 10:18:14x", 1623233894),
        ("10:18:14 Jun 9 21", 1623233894),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 1 Jan 70 0:0:0 GMT", 0),
        ("Mon, 31 Dec 69 23:59:59 GMT", 3155759999),
        ("Sat, 29 Feb 2020 00:00:00 GMT", 1582934400),
    ],
)
def test_dates_are_read_in_any_order(text: str, seconds: int) -> None:
    assert parse_cookie_date(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "Wed, 09 Jun 10:18:14 GMT",
        "Wed, 31 Jun 2021 10:18:14 GMT",
        "Sun, 29 Feb 2021 00:00:00 GMT",
        "Wed, 09 Jun 1600 10:18:14 GMT",
        "Wed, 09 Jun 2021 24:00:00 GMT",
        "Wed, 09 Jun 2021 10:60:00 GMT",
        "Wed, 09 Jun 2021 10:18:60 GMT",
        "Wed, 0 Jun 2021 10:18:14 GMT",
        "Wed, 009 Jun 20211 10:18:14 GMT",
    ],
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert parse_cookie_date(text) is None


@given(st.text(max_size=60))
def test_no_text_makes_the_reader_of_dates_raise(text: str) -> None:
    parse_cookie_date(text)


# ── domains and paths ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("host", "domain", "fits"),
    [
        ("example.com", "example.com", True),
        ("www.example.com", "example.com", True),
        ("example.com", "www.example.com", False),
        ("badexample.com", "example.com", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "0.0.1", False),
        ("::1", "1", False),
    ],
)
def test_a_host_is_its_domain_or_below_it(host: str, domain: str, fits: bool) -> None:
    """RFC 6265bis §5.1.3."""
    assert domain_matches(host, domain) is fits


@pytest.mark.parametrize(
    ("path", "wanted", "fits"),
    [
        ("/", "/", True),
        ("/a", "/", True),
        ("/a", "/a", True),
        ("/a/", "/a", True),
        ("/a/b", "/a/", True),
        ("/ab", "/a", False),
        ("/", "/a", False),
        ("/A", "/a", False),
    ],
)
def test_a_path_is_the_cookies_or_below_it(path: str, wanted: str, fits: bool) -> None:
    """RFC 6265bis §5.1.4."""
    assert path_matches(path, wanted) is fits


def test_a_cookie_without_a_path_gets_that_of_its_page() -> None:
    assert [default_path(each) for each in ("/", "/a", "/a/", "/a/b", "", "x")] == [
        "/",
        "/",
        "/a",
        "/a",
        "/",
        "/",
    ]


# ── the jar: what goes in (RFC 6265bis §5.7), what comes out (§5.8) ───────────

#: Where a response came from, its Set-Cookie, where a request goes, what it carries.
TABLE = [
    # Host only unless a domain is named.
    ("http://example.com/", "a=1", "http://example.com/", "a=1"),
    ("http://example.com/", "a=1", "http://www.example.com/", None),
    ("http://example.com/", "a=1; Domain=example.com", "http://www.example.com/", "a=1"),
    ("http://example.com/", "a=1; Domain=.example.com", "http://example.com/", "a=1"),
    ("http://www.example.com/", "a=1; Domain=example.com", "http://x.example.com/", "a=1"),
    ("http://www.example.com/", "a=1; Domain=EXAMPLE.com", "http://example.com/", "a=1"),
    ("http://example.com./", "a=1", "http://example.com/", "a=1"),
    # Ports do not matter.
    ("http://example.com:8080/", "a=1", "http://example.com:9090/", "a=1"),
    # Domains of others, below, and above what anybody owns.
    ("http://example.com/", "a=1; Domain=example.org", "http://example.org/", None),
    ("http://example.com/", "a=1; Domain=www.example.com", "http://www.example.com/", None),
    ("http://example.com/", "a=1; Domain=com", "http://example.com/", None),
    ("http://me.github.io/", "a=1; Domain=github.io", "http://you.github.io/", None),
    ("http://github.io/", "a=1; Domain=github.io", "http://github.io/", "a=1"),
    ("http://github.io/", "a=1; Domain=github.io", "http://me.github.io/", None),
    ("http://a.co.uk/", "a=1; Domain=co.uk", "http://b.co.uk/", None),
    ("http://example.com/", "a=1; Domain=ex\xe4mple.com", "http://example.com/", None),
    ("http://example.com/", "a=1; Domain=", "http://example.com/", "a=1"),
    # Names of one label, and addresses.
    ("http://localhost/", "a=1", "http://localhost/", "a=1"),
    ("http://localhost/", "a=1; Domain=localhost", "http://localhost/", "a=1"),
    ("http://localhost/", "a=1; Domain=localhost", "http://x.localhost/", None),
    ("http://127.0.0.1/", "a=1; Domain=127.0.0.1", "http://127.0.0.1/", "a=1"),
    ("http://127.0.0.1/", "a=1; Domain=0.0.1", "http://127.0.0.1/", None),
    ("http://[::1]/", "a=1", "http://[::1]/", "a=1"),
    # Paths.
    ("http://a.com/x/y", "a=1", "http://a.com/x/z", "a=1"),
    ("http://a.com/x/y", "a=1", "http://a.com/z", None),
    ("http://a.com/x/y", "a=1; Path=/", "http://a.com/z", "a=1"),
    ("http://a.com/", "a=1; Path=/x", "http://a.com/x/y", "a=1"),
    ("http://a.com/", "a=1; Path=/x", "http://a.com/xy", None),
    ("http://a.com/x/y", "a=1; Path=nonsense", "http://a.com/x/", "a=1"),
    # Secure: only over TLS, both ways.
    ("https://a.com/", "a=1; Secure", "https://a.com/", "a=1"),
    ("https://a.com/", "a=1; Secure", "http://a.com/", None),
    ("http://a.com/", "a=1; Secure", "https://a.com/", None),
    ("https://a.com/", "a=1; Secure", "wss://a.com/", "a=1"),
    ("https://a.com/", "a=1", "http://a.com/", "a=1"),
    # … and within this machine, as browsers and curl have it.
    ("http://127.0.0.1/", "a=1; Secure", "http://127.0.0.1/", "a=1"),
    ("http://[::1]/", "a=1; Secure", "http://[::1]/", "a=1"),
    ("http://localhost/", "a=1; Secure", "http://localhost/", "a=1"),
    ("http://app.localhost/", "a=1; Secure", "http://app.localhost/", "a=1"),
    ("http+unix://%2Frun%2Fx/", "a=1; Secure", "http+unix://%2Frun%2Fx/", "a=1"),
    ("http://1.127.0.0/", "a=1; Secure", "http://1.127.0.0/", None),
    ("http://localhost.example.com/", "a=1; Secure", "http://localhost.example.com/", None),
    # Prefixes, in any case.
    ("https://a.com/", "__Secure-a=1; Secure", "https://a.com/", "__Secure-a=1"),
    ("https://a.com/", "__Secure-a=1", "https://a.com/", None),
    ("https://a.com/", "__SECURE-a=1", "https://a.com/", None),
    ("https://a.com/", "__Host-a=1; Secure; Path=/", "https://a.com/", "__Host-a=1"),
    ("https://a.com/", "__Host-a=1; Secure", "https://a.com/", None),
    ("https://a.com/", "__Host-a=1; Path=/", "https://a.com/", None),
    ("https://a.com/", "__host-a=1; Secure; Path=/; Domain=a.com", "https://a.com/", None),
    ("https://a.com/", "=__Host-a=1; Secure; Path=/", "https://a.com/", None),
    ("https://a.com/", "__Host-a", "https://a.com/", None),
    # No name.
    ("http://a.com/", "value", "http://a.com/", "value"),
    # SameSite is kept and not asked for; HttpOnly is for scripts.
    ("https://a.com/", "a=1; SameSite=Strict; Secure", "https://a.com/", "a=1"),
    ("http://a.com/", "a=1; SameSite=None", "http://a.com/", "a=1"),
    ("http://a.com/", "a=1; HttpOnly", "http://a.com/", "a=1"),
    # What is over.
    ("http://a.com/", "a=1; Max-Age=0", "http://a.com/", None),
    ("http://a.com/", "a=1; Max-Age=-5", "http://a.com/", None),
    ("http://a.com/", "a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "http://a.com/", None),
    (
        "http://a.com/",
        "a=1; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
        "http://a.com/",
        "a=1",
    ),
]


@pytest.mark.parametrize(("origin", "field", "target", "sent"), TABLE)
def test_cookies_go_where_rfc_6265bis_says(
    origin: str, field: str, target: str, sent: str | None
) -> None:
    assert Jar().got(origin, field).sends(target) == sent


def test_a_cookie_ends_when_its_time_has_come() -> None:
    jar = Jar().got("http://a.com/", "a=1; Max-Age=60", "b=2")
    assert jar.sends("http://a.com/") == "a=1; b=2"
    jar.now += 60
    assert jar.sends("http://a.com/") == "b=2"
    assert len(jar) == 1


def test_the_later_replaces_the_earlier_and_keeps_its_place() -> None:
    jar = Jar().got("http://a.com/", "a=1")
    jar.now += 1
    jar.got("http://a.com/", "b=2")
    jar.now += 1
    jar.got("http://a.com/", "a=3", "a=x; Path=/deep")
    assert jar.sends("http://a.com/") == "a=3; b=2"
    assert jar.sends("http://a.com/deep") == "a=x; a=3; b=2"
    assert jar.got("http://a.com/", "a=; Max-Age=0").sends("http://a.com/") == "b=2"


def test_longer_paths_come_first_then_what_was_set_first() -> None:
    """RFC 6265bis §5.8.3."""
    jar = Jar()
    for field in ("a=1; Path=/", "b=2; Path=/x/y", "c=3; Path=/x"):
        jar.got("http://a.com/", field)
        jar.now += 1
    jar.got("http://a.com/", "d=4; Path=/")
    assert jar.sends("http://a.com/x/y") == "b=2; c=3; a=1; d=4"


def test_secure_cookies_are_left_alone_by_who_came_in_the_clear() -> None:
    """RFC 6265bis §5.7, step 16: a network attacker does not overwrite or shadow them."""
    jar = Jar().got("https://www.example.com/", "a=1; Secure; Domain=example.com; Path=/x")
    jar.got("http://www.example.com/", "a=evil; Domain=example.com; Path=/x")
    jar.got("http://example.com/", "a=evil; Path=/x/y")
    assert jar.sends("https://example.com/x/y") == "a=1"
    jar.got("http://www.example.com/", "a=other; Path=/")
    assert jar.sends("https://www.example.com/x") == "a=1; a=other"
    jar.got("https://www.example.com/", "a=2; Domain=example.com; Path=/x")
    assert jar.sends("https://example.com/x") == "a=2"


def test_no_site_fills_the_jar() -> None:
    jar = Jar(max_per_domain=50, max_cookies=100)
    jar.got("http://quiet.com/", "keep=1")
    for number in range(500):
        jar.now += 1
        jar.got("http://loud.com/", f"c{number}=1")
    assert len(jar) == 51
    assert jar.sends("http://quiet.com/") == "keep=1"
    assert "c499=1" in (jar.sends("http://loud.com/") or "")
    for number in range(500):
        jar.now += 1
        jar.got(f"http://h{number}.com/", "a=1")
    assert len(jar) <= 100


def test_what_is_not_secure_goes_first() -> None:
    jar = Jar(max_per_domain=2)
    for field in ("a=1; Secure", "b=2", "c=3; Secure"):
        jar.got("https://a.com/", field)
        jar.now += 1
    assert jar.sends("https://a.com/") == "a=1; c=3"


def test_a_cookie_field_has_its_bound() -> None:
    jar = Jar().got("http://a.com/", *(f"c{number}={'x' * 4000}" for number in range(10)))
    assert len(jar.sends("http://a.com/") or "") <= 16 * 1024


# ── without the list of suffixes ──────────────────────────────────────────────


def test_without_the_list_each_cookie_is_for_its_host_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suffixes, "_found", [None])
    jar = CookieJar()
    jar.receive(URL("http://www.example.com/"), [b"a=1; Domain=example.com", b"b=2; Domain=com"])
    assert jar.field(URL("http://www.example.com/")) == b"a=1"
    assert jar.field(URL("http://example.com/")) is None


def test_the_library_knows_what_nobody_owns() -> None:
    is_public = suffixes.find_suffixes()
    assert is_public is not None
    assert all(map(is_public, ("com", "co.uk", "github.io", "nosuchtld")))
    assert not any(map(is_public, ("example.com", "example.co.uk", "me.github.io")))
    jar = CookieJar()
    jar.receive(URL("http://me.github.io/"), [b"a=1; Domain=github.io", b"b=2"])
    assert jar.field(URL("http://me.github.io/")) == b"b=2"


# ── what programs do ──────────────────────────────────────────────────────────


def test_a_program_looks_sets_and_clears() -> None:
    jar = Jar()
    jar.set("a", "1", domain="Example.com")
    jar.set("b", "ü", domain="example.com", host_only=False, path="/x")
    assert jar.get("a") == "1"
    assert jar.get("a", domain="example.com") == "1"
    assert jar.get("a", domain="example.org") is None
    assert jar.field(URL("http://www.example.com/x")) == "b=ü".encode()
    assert "1" not in repr(next(iter(jar)))
    jar.got("http://other.com/", "c=3; Max-Age=9")
    jar.end_session()
    assert [each.name for each in jar] == [b"c"]
    jar.clear("other.com")
    assert len(jar) == 0
    jar.set("a", "1", domain="a.com")
    jar.clear()
    assert (len(jar), repr(jar)) == (0, "<CookieJar of 0 cookies>")


@pytest.mark.parametrize(
    ("name", "value", "domain", "path"),
    [
        ("a\r\n", "b", "a.com", "/"),
        ("a", "b\r\nX: y", "a.com", "/"),
        ("a=b", "c", "a.com", "/"),
        ("a", "b;c", "a.com", "/"),
        ("a", "b", "", "/"),
        ("a", "b", "a.com;", "/"),
        ("a", "b", "a.com", "x"),
        ("a", "b", "a.com", "/\0"),
    ],
)
def test_what_cannot_be_in_a_cookie_is_refused(
    name: str, value: str, domain: str, path: str
) -> None:
    """HARDENING h1-25."""
    with pytest.raises(ValueError, match="cookie"):
        Jar().set(name, value, domain=domain, path=path)


# ── files ─────────────────────────────────────────────────────────────────────


def test_a_jar_is_saved_and_read_back(tmp_path: Path) -> None:
    jar = Jar().got(
        "https://www.example.com/",
        "a=1; Max-Age=600; Secure; HttpOnly",
        "b=2; Domain=example.com; Path=/x; Max-Age=600",
        "session=3",
        "empty=; Max-Age=600",
    )
    file = tmp_path / "jar.txt"
    jar.save(file)
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    other = Jar()
    other.load(file)
    assert other.sends("https://www.example.com/x") == "b=2; a=1; empty="
    assert other.sends("http://example.com/x") == "b=2"
    assert {each.name for each in other if each.http_only} == {b"a"}
    jar.save(file, session=True)
    other.load(file)
    assert other.get("session") == "3"
    assert list(tmp_path.iterdir()) == [file]


def test_what_is_over_is_not_saved(tmp_path: Path) -> None:
    jar = Jar().got("http://a.com/", "a=1; Max-Age=5")
    jar.now += 10
    jar.save(tmp_path / "jar")
    assert b"a.com" not in (tmp_path / "jar").read_bytes()


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    jar = Jar()
    jar.set("a", "1", domain="a.com", expires=NOW + 60)
    target = tmp_path / "jar"
    target.mkdir()
    (target / "x").touch()
    with pytest.raises(OSError, match=r"irectory|Permission"):
        jar.save(target)
    assert [each.name for each in tmp_path.iterdir()] == ["jar"]


def test_lines_that_are_no_cookie_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "jar"
    good = "a.com\tFALSE\t/\tFALSE\t0\ta\t1\n"
    file.write_text(f"# comment\n\nnonsense\na.com\tFALSE\tx\tFALSE\t0\ta\t1\n{good}")
    jar = Jar()
    jar.load(file)
    assert [each.name for each in jar] == [b"a"]
    file.write_text("<html>\n")
    with pytest.raises(ValueError, match="no file of cookies"):
        jar.load(file)
    with pytest.raises(FileNotFoundError):
        jar.load(tmp_path / "none")


@given(st.binary(max_size=200))
def test_no_field_makes_the_jar_raise(field: bytes) -> None:
    jar = Jar()
    jar.receive(URL("https://www.example.com/a/b"), [field])
    assert jar.field(URL("https://other.org/")) is None
    sent = jar.field(URL("https://www.example.com/a/b"))
    assert sent is None or not {0, 10, 13} & set(sent)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names")
def test_a_jar_is_written_through_links_and_replaces_no_device(tmp_path: Path) -> None:
    """People give /dev/null for a jar that they do not keep, and some of them are root."""
    jar = CookieJar()
    jar.set("a", "1", domain="example.com", expires=4e9)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        jar.save(pipe)
        assert b"example.com" in os.read(reader, 1000)
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    real, link = tmp_path / "real", tmp_path / "link"
    link.symlink_to(real)
    jar.save(link)
    assert link.is_symlink()
    assert b"example.com" in real.read_bytes()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link", "pipe", "real"]
