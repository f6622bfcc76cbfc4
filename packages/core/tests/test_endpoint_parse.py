"""Endpoints as URLs: what is understood, and what is said about the rest."""

from __future__ import annotations

from typing import Any

import pytest

from sennit.core import plugin
from sennit.core.endpoint.parse import SCHEMES, parse_endpoint
from sennit.core.endpoint.schemes import (
    PREFIXES,
    TABLE,
    Prefix,
    Scheme,
    connect_to,
    known_schemes,
    listen_at,
    load_endpoint,
)
from sennit.core.errors import EndpointSyntaxError, UsageError


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("tcp://127.0.0.1:80", "127.0.0.1", 80),
        ("tcp://127.0.0.1:80/", "127.0.0.1", 80),
        ("tcp://:8080", "", 8080),
        ("tcp://localhost:0", "localhost", 0),
        ("tcp://[::1]:80", "::1", 80),
        ("tcp://[fe80::1%eth0]:80", "fe80::1%eth0", 80),
        ("tcp://[::ffff:192.0.2.1]:65535", "::ffff:192.0.2.1", 65535),
        ("tls://example.org:443", "example.org", 443),
        ("tcp://bücher.example:00080", "bücher.example", 80),
    ],
)
def test_hosts_and_ports(url: str, host: str, port: int) -> None:
    endpoint = parse_endpoint(url)
    assert (endpoint.host, endpoint.port, endpoint.path) == (host, port, "")
    assert endpoint.secure is url.startswith("tls")
    assert str(endpoint) == url
    assert url in repr(endpoint)
    assert endpoint == parse_endpoint(url)
    assert hash(endpoint) == hash(parse_endpoint(url))
    assert endpoint != url


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("unix:run/x.sock", "run/x.sock"),
        ("unix:/run/x.sock", "/run/x.sock"),
        ("unix:///run/x.sock", "/run/x.sock"),
        ("unix:@name", "@name"),
        ("tls+unix:run/x.sock", "run/x.sock"),
    ],
)
def test_paths(url: str, path: str) -> None:
    endpoint = parse_endpoint(url)
    assert (endpoint.path, endpoint.host, endpoint.port) == (path, "", 0)
    assert endpoint.secure is url.startswith("tls")


def test_descriptors() -> None:
    assert parse_endpoint("fd:3").fd == 3
    assert parse_endpoint("tcp://:1").fd == -1


def test_options() -> None:
    endpoint = parse_endpoint("tcp://:80?backlog=100&reuse_port=yes")
    assert endpoint.number("backlog", 5) == 100
    assert endpoint.flag("reuse_port")
    endpoint = parse_endpoint("tcp://:80?")
    assert endpoint.number("backlog", 5) == 5
    assert not endpoint.flag("reuse_port")
    assert parse_endpoint("unix:x?mode=660").number("mode", 0, base=8) == 0o660


def test_a_scheme_of_a_plugin_keeps_all_it_says() -> None:
    endpoint = parse_endpoint("serial+x:/dev/tty0?speed=9600&speed2=abc")
    assert endpoint.scheme == "serial+x"
    assert endpoint.path == "/dev/tty0"
    assert endpoint.options == {"speed": "9600", "speed2": "abc"}
    assert endpoint.scheme not in SCHEMES


PLACES = "tcp://127.0.0.1:8080, tcp://[::1]:8080 or tcp://:8080"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "write SCHEME:…, such as tcp://127.0.0.1:8080 or unix:run/web.sock"),
        ("8080", "write SCHEME:…, such as tcp://127.0.0.1:8080 or unix:run/web.sock"),
        ("TCP://:80", "write SCHEME:…, such as tcp://127.0.0.1:8080 or unix:run/web.sock"),
        ("+tcp://:80", "write SCHEME:…, such as tcp://127.0.0.1:8080 or unix:run/web.sock"),
        ("://:80", "write SCHEME:…, such as tcp://127.0.0.1:8080 or unix:run/web.sock"),
        ("127.0.0.1:80", "write SCHEME:…, such as tcp://127.0.0.1:8080 or unix:run/web.sock"),
        ("tcp://a b:80", "blanks and control characters are not allowed"),
        ("tcp://:80\n", "blanks and control characters are not allowed"),
        ("unix:a\0b", "blanks and control characters are not allowed"),
        ("tcp:127.0.0.1:80", f"two slashes follow the colon: {PLACES}"),
        ("tcp:", f"two slashes follow the colon: {PLACES}"),
        ("tcp://", f"the port is missing: {PLACES}"),
        ("tcp://127.0.0.1", f"the port is missing: {PLACES}"),
        ("tcp://[::1]", f"the port is missing: {PLACES}"),
        ("tcp://::1:80", f"write {PLACES}"),
        ("tcp://127.0.0.1:", f"write {PLACES}"),
        ("tcp://127.0.0.1:http", f"write {PLACES}"),
        ("tcp://127.0.0.1:-1", f"write {PLACES}"),
        ("tcp://127.0.0.1:+80", f"write {PLACES}"),
        ("tcp://127.0.0.1:8_0", f"write {PLACES}"),
        ("tcp://127.0.0.1:٨٠", f"write {PLACES}"),
        ("tcp://127.0.0.1:123456", f"write {PLACES}"),
        ("tcp://127.0.0.1:80/path", f"write {PLACES}"),
        ("tcp://user@host:80", f"write {PLACES}"),
        ("tcp://host#x:80", f"write {PLACES}"),
        ("tcp://127.0.0.1:65536", "a port is at most 65535, not 65536"),
        ("tcp://[1:2]:80", "[1:2] is no IPv6 address"),
        ("tcp://[::::]:80", "[::::] is no IPv6 address"),
        ("tcp://[127.0.0.1]:80", "[127.0.0.1] is no IPv6 address"),
        ("tcp://:80?backlog", "option 'backlog' has no value: write backlog=…"),
        ("tcp://:80?backlog=1&backlog=2", "option 'backlog' is given twice"),
        (
            "tcp://:80?mode=600",
            "no option 'mode' for tcp; there are: backlog, reuse_port",
        ),
        ("unix:x?reuse_port=yes", "no option 'reuse_port' for unix; there are: backlog, mode"),
        ("fd:3?backlog=1", "no option 'backlog' for fd; there are: none"),
        ("tcp://:80?reuse_port=1", "option reuse_port is yes or no, not '1'"),
        ("tcp://:80?backlog=", "option backlog is a number from 0 to 65535, not ''"),
        ("tcp://:80?backlog=-1", "option backlog is a number from 0 to 65535, not '-1'"),
        ("tcp://:80?backlog=0x10", "option backlog is a number from 0 to 65535, not '0x10'"),
        ("tcp://:80?backlog=٣", "option backlog is a number from 0 to 65535, not '٣'"),
        ("tcp://:80?backlog=65536", "option backlog is a number from 0 to 65535, not '65536'"),
        (
            "tcp://:80?backlog=" + "1" * 19,
            f"option backlog is a number from 0 to 65535, not {'1' * 19!r}",
        ),
        ("unix:x?mode=888", "option mode is a number from 0 to 777, octal, not '888'"),
        ("unix:x?mode=1777", "option mode is a number from 0 to 777, octal, not '1777'"),
        ("unix:", "write a path, such as unix:run/web.sock"),
        ("unix://", "write a path, such as unix:run/web.sock"),
        ("unix:@", "write a path, such as unix:run/web.sock"),
        ("tls+unix:", "write a path, such as tls+unix:run/web.sock"),
        ("fd:", "write the number of a descriptor, such as fd:3"),
        ("fd:-1", "write the number of a descriptor, such as fd:3"),
        ("fd:stdin", "write the number of a descriptor, such as fd:3"),
        ("fd:1234567", "write the number of a descriptor, such as fd:3"),
    ],
)
def test_what_is_wrong_is_said_with_what_would_be_right(url: str, problem: str) -> None:
    with pytest.raises(EndpointSyntaxError) as caught:
        parse_endpoint(url)
    assert caught.value.problem == problem
    assert caught.value.url == url
    assert str(caught.value) == f"{url!r}: {problem}"
    assert isinstance(caught.value, UsageError)
    assert isinstance(caught.value, ValueError)


# ── rows ──────────────────────────────────────────────────────────────────────


def test_a_row_says_what_may_follow_the_colon() -> None:
    row = Scheme("serial", form="opaque", options={"speed": "number", "raw": "flag"})
    endpoint = parse_endpoint("serial:/dev/tty0?speed=9600", row)
    assert (endpoint.path, endpoint.row, endpoint.secure) == ("/dev/tty0", row, False)
    for url, problem in (
        ("serial:x?speed=fast", "option speed is a number from 0 to 65535, not 'fast'"),
        ("serial:x?raw=1", "option raw is yes or no, not '1'"),
        ("serial:x?baud=1", "no option 'baud' for serial; there are: speed, raw"),
    ):
        with pytest.raises(EndpointSyntaxError) as caught:
            parse_endpoint(url, row)
        assert caught.value.problem == problem


def only_serial(group: str) -> dict[str, None]:
    return {"serial": None}


def test_a_plugin_gives_a_row_and_is_loaded_by_use(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Scheme("serial", form="path", listen=lambda *a, **k: (a, k))
    asked: list[str] = []

    def find(group: str, name: str) -> object:
        asked.append(f"{group} {name}")
        return row

    monkeypatch.setattr(plugin, "find", find)
    monkeypatch.setattr(plugin, "installed", only_serial)
    endpoint = load_endpoint("serial:/dev/tty0")
    assert endpoint.row is row
    assert endpoint.path == "/dev/tty0"
    assert asked == ["sennit.endpoints serial"]
    assert known_schemes()[-1] == "serial"
    reactor, factory = object(), object()
    listened: Any = listen_at(endpoint, factory, reactor=reactor)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    args, options = listened
    assert args == (endpoint, factory)
    assert options == {"reactor": reactor, "limits": None, "paused": False}
    with pytest.raises(EndpointSyntaxError, match="one connects to"):
        connect_to(endpoint, factory, reactor=reactor, timeout=1)  # type: ignore[arg-type]  # stand-ins


def test_a_plugin_that_gives_no_row_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(group: str, name: str) -> object:
        return print

    monkeypatch.setattr(plugin, "find", find)
    monkeypatch.setattr(plugin, "installed", only_serial)
    with pytest.raises(plugin.BrokenPluginError, match="it is no Scheme but"):
        load_endpoint("serial:x")


def test_where_one_cannot_listen_the_row_says_so() -> None:
    row = Scheme("line", form="opaque", no_listen="a line has nobody to accept")
    endpoint = parse_endpoint("line:x", row)
    with pytest.raises(EndpointSyntaxError, match="a line has nobody to accept"):
        listen_at(endpoint, object(), reactor=object())  # type: ignore[arg-type]  # stand-ins: it is refused before


def test_every_function_that_a_row_names_is_there() -> None:
    rows: list[Scheme | Prefix] = [*TABLE.values(), *PREFIXES.values()]
    for row in rows:
        for target in (row.listen, row.connect):
            assert target is None or callable(target) or callable(plugin.resolve(target))


def test_what_is_wrong_inside_a_wrapped_url_is_said_of_the_whole() -> None:
    url = "haproxy+tls+unix:r?version=1&mode=6000"
    with pytest.raises(EndpointSyntaxError, match="option mode is a number") as caught:
        parse_endpoint(url)
    assert caught.value.url == url


@pytest.mark.parametrize(
    "url",
    [
        "tcp://alice:s3cret@example.org:80",
        "socks5+tcp://alice:s3cret@example.org:80?proxy=127.0.0.1:1080",
        "socks5+tcp://example.org:80?prox=alice:s3cret@127.0.0.1:1080",
        "http-connect+tcp://example.org:80?proxy=alice:s3cret/?&@127.0.0.1&x=1",
        "socks5+tcp://example.org:80?nonsense=1&login=alice:s3cret",
        "socks5://alice:s3cret@127.0.0.1:1080",
    ],
)
def test_a_password_in_a_url_that_is_refused_is_not_repeated(url: str) -> None:
    """It would be in every log that hears of the mistake."""
    with pytest.raises(EndpointSyntaxError) as caught:
        parse_endpoint(url)
    assert "s3cret" not in str(caught.value)
    assert "…" in str(caught.value)
