"""Who a request came from, as proxies say it: reading, believing, writing."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core.address import InternetAddress, UnixAddress
from sennit.core.errors import UsageError
from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.web import AccessLog, Request, Response, Site, WebUsageError, text
from sennit.web.proxy.forwarded import (
    ForwardedError,
    Forwarder,
    Hop,
    Style,
    TrustedPeers,
    read_hops,
    trust_forwarded,
)


def fields(**values: str) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").encode(), each.encode()) for name, each in values.items()]


def forwarded(*values: str) -> list[tuple[bytes, bytes]]:
    return [(b"forwarded", each.encode()) for each in values]


# ── reading ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("values", "hops"),
    [
        (['for="_gazonk"'], [Hop("")]),
        (['For="[2001:db8:cafe::17]:4711"'], [Hop("2001:db8:cafe::17", 4711)]),
        (
            ["for=192.0.2.60;proto=http;by=203.0.113.43"],
            [Hop("192.0.2.60", 0, "http")],
        ),
        (["for=192.0.2.43, for=198.51.100.17"], [Hop("192.0.2.43"), Hop("198.51.100.17")]),
        (["for=192.0.2.43", 'for="[2001:db8:cafe::17]"'],
         [Hop("192.0.2.43"), Hop("2001:db8:cafe::17")]),
        (["for=unknown"], [Hop("")]),
        (['for="192.0.2.43:47011";HOST="example.com:8080";Proto=HTTPS ,'],
         [Hop("192.0.2.43", 47011, "https", "example.com:8080")]),
        (['for="192.0.2.43:_p"; ext="a \\"quoted\\" thing"'], [Hop("192.0.2.43")]),
        (["host=a"], [Hop("", 0, "", "a")]),
        ([""], []),
        ([", ,"], []),
    ],
)  # fmt: skip
def test_forwarded_is_read(values: list[str], hops: list[Hop]) -> None:
    """RFC 7239 §4, with its examples."""
    assert read_hops(forwarded(*values), "forwarded") == hops


@pytest.mark.parametrize(
    "value",
    [
        "for", "for=", "for=a b", 'for="a', "for=[::1]", 'for="[::1"', "for=1.2.3", "for=1.2.3.999",
        'for="[::g]"', "for=1.2.3.4;for=5.6.7.8", 'for="1.2.3.4:99999"', "proto=ftp", 'host="a b"',
        'host="a/b"', "for=1.2.3.4 proto=http", "for=\x00", "=a", "for=1.2.3.4;=",
        'for="' + "\\a" * 50_000, ", ".join(["for=1.2.3.4"] * 33),
    ],
)  # fmt: skip
def test_forwarded_that_cannot_be_read_is_an_error(value: str) -> None:
    with pytest.raises(ForwardedError):
        read_hops(forwarded(value), "forwarded")


@pytest.mark.parametrize(
    ("headers", "hops"),
    [
        (fields(x_forwarded_for="192.0.2.1"), [Hop("192.0.2.1")]),
        (fields(x_forwarded_for="192.0.2.1:80, [::1]:90, ::2, unknown"),
         [Hop("192.0.2.1", 80), Hop("::1", 90), Hop("::2"), Hop("")]),
        (fields(x_forwarded_for="<script>, 192.0.2.1"), [Hop("192.0.2.1")]),
        (fields(x_forwarded_for="192.0.2.1", x_forwarded_proto="https", x_forwarded_host="a:1"),
         [Hop("192.0.2.1", 0, "https", "a:1")]),
        (fields(x_forwarded_for="192.0.2.1, 192.0.2.2", x_forwarded_proto="https"),
         [Hop("192.0.2.1", 0, "https"), Hop("192.0.2.2", 0, "https")]),
        (fields(x_forwarded_for="192.0.2.1, 192.0.2.2", x_forwarded_proto="https, http"),
         [Hop("192.0.2.1", 0, "https"), Hop("192.0.2.2", 0, "http")]),
        (fields(x_forwarded_for="192.0.2.1", x_forwarded_proto="ftp, http"),
         [Hop("192.0.2.1", 0, "http")]),
        (fields(x_forwarded_for="192.0.2.1", x_forwarded_host="a", x_forwarded_port="8080"),
         [Hop("192.0.2.1", 0, "", "a:8080")]),
        (fields(x_forwarded_for="192.0.2.1", x_forwarded_host="a", x_forwarded_port="443",
                x_forwarded_proto="https"), [Hop("192.0.2.1", 0, "https", "a")]),
        (fields(x_forwarded_proto="https"), []),
        (fields(forwarded="for=192.0.2.1"), []),
    ],
)  # fmt: skip
def test_x_forwarded_is_read_from_the_end_on(
    headers: list[tuple[bytes, bytes]], hops: list[Hop]
) -> None:
    assert read_hops(headers, "x-forwarded") == hops


@pytest.mark.parametrize(
    "headers",
    [
        fields(x_forwarded_for="192.0.2.1, localhost"),
        fields(x_forwarded_for="192.0.2.1,"),
        fields(x_forwarded_for="192.0.2.1", x_forwarded_proto="gopher"),
        fields(x_forwarded_for="192.0.2.1", x_forwarded_host="a b"),
        fields(x_forwarded_for="192.0.2.1", x_forwarded_host="a", x_forwarded_port="0"),
        fields(x_forwarded_for="1.1.1.1" + ",1.1.1.1" * 32),
    ],
)
def test_x_forwarded_whose_last_entry_cannot_be_read_is_an_error(
    headers: list[tuple[bytes, bytes]],
) -> None:
    with pytest.raises(ForwardedError):
        read_hops(headers, "x-forwarded")


@given(st.text() | st.text('for="[1.2]:,;=\\_ '), st.sampled_from(["forwarded", "x-forwarded"]))
def test_no_octets_make_the_reader_raise_anything_else(value: str, style: Style) -> None:
    name = "forwarded" if style == "forwarded" else "x-forwarded-for"
    try:
        read_hops([(name.encode(), value.encode())], style)
    except ForwardedError:
        pass


# ── believing ─────────────────────────────────────────────────────────────────


def test_the_client_is_the_first_from_the_end_that_is_not_trusted() -> None:
    trusted = TrustedPeers("10.0.0.0/8")
    proxy = InternetAddress("10.0.0.1", 5)
    headers = fields(x_forwarded_for="127.0.0.1, 203.0.113.9, 10.0.0.3, 10.0.0.2")
    found = trusted.client_of(proxy, headers, "x-forwarded")
    assert found is not None
    assert found.client == "203.0.113.9"
    inside = trusted.client_of(proxy, fields(x_forwarded_for="10.0.0.3, 10.0.0.2"), "x-forwarded")
    assert inside is not None
    assert inside.client == "10.0.0.3"
    assert trusted.client_of(proxy, [], "x-forwarded") is None


def test_strangers_are_never_believed() -> None:
    """HARDENING default 23: what a client writes about itself means nothing."""
    trusted = TrustedPeers(["10.0.0.0/8", "unix"])
    headers = fields(x_forwarded_for="127.0.0.1", forwarded="for=127.0.0.1")
    styles: list[Style] = ["forwarded", "x-forwarded"]
    for peer in (InternetAddress("192.0.2.1", 5), InternetAddress("2002:a00:1::", 5)):
        for style in styles:
            assert trusted.client_of(peer, headers, style) is None
    assert not TrustedPeers(()).trusts(InternetAddress("127.0.0.1", 5))
    assert not TrustedPeers(()).trusts(UnixAddress(""))
    assert trusted.trusts(UnixAddress("/run/x"))
    assert trusted.trusts(InternetAddress("::ffff:10.0.0.1", 5))
    with pytest.raises(UsageError):
        TrustedPeers("not-a-network")


@pytest.fixture
def clock() -> Iterator[Clock]:
    with Clock() as found:
        yield found


def ask(clock: Clock, headers: str, *, peer: str = "10.0.0.1", **options: Any) -> bytes:
    """What a site behind `trust_forwarded` says of a request."""

    def tell(request: Request) -> Response:
        port = getattr(request.peer, "port", None)
        host = getattr(request.peer, "host", None)
        return text(f"{host} {port} {request.scheme} {request.secure} {request.host}")

    log = io.BytesIO()
    wrapper = trust_forwarded("10.0.0.0/8", **options)
    access_log = AccessLog(log, wall_clock=lambda: 0.0)
    site = Site(clock=clock, wrappers=[wrapper], access_log=access_log)
    site.route("/")(tell)
    transport = RecordingTransport(site.build_protocol(None), peer=InternetAddress(peer, 5000))
    lines = "".join(f"{each}\r\n" for each in headers.splitlines())
    head = f"GET / HTTP/1.1\r\nHost: inside\r\n{lines}\r\n"
    clock.call_soon(transport.receive, head.encode())
    clock.pump()
    access_log.close()
    status, _, rest = transport.take().partition(b"\r\n")
    body = rest.partition(b"\r\n\r\n")[2]
    logged = log.getvalue().split(b" ")[0]
    return body + b" | " + logged if b"200" in status else status[9:12]


def test_a_request_says_whom_the_proxy_saw(clock: Clock) -> None:
    headers = "X-Forwarded-For: 192.0.2.7\nX-Forwarded-Proto: https\nX-Forwarded-Host: example.com"
    assert ask(clock, headers) == b"192.0.2.7 0 https True example.com | 192.0.2.7"
    headers = "Forwarded: for=192.0.2.7;proto=https;host=example.com"
    expected = b"192.0.2.7 0 https True example.com | 192.0.2.7"
    assert ask(clock, headers, style="forwarded") == expected
    assert ask(clock, "Forwarded: for=unknown", style="forwarded") == (
        b"None None http False inside | -"
    )


def test_a_request_of_a_stranger_says_who_that_is(clock: Clock) -> None:
    headers = "X-Forwarded-For: 192.0.2.7\nX-Forwarded-Proto: https\nX-Forwarded-Host: example.com"
    told = ask(clock, headers, peer="203.0.113.1")
    assert told == b"203.0.113.1 5000 http False inside | 203.0.113.1"


def test_the_style_that_is_not_read_changes_nothing(clock: Clock) -> None:
    """A proxy that writes one hands the other on as the client wrote it."""
    assert ask(clock, "Forwarded: for=127.0.0.1;proto=https") == (
        b"10.0.0.1 5000 http False inside | 10.0.0.1"
    )


def test_what_a_trusted_proxy_says_that_cannot_be_read_is_refused(clock: Clock) -> None:
    """To ignore it would take the client for the proxy."""
    assert ask(clock, "X-Forwarded-For: nonsense") == b"400"
    assert ask(clock, "Forwarded: for=nonsense", style="forwarded") == b"400"


def test_a_style_is_one_of_two() -> None:
    style: Any = "x-real-ip"
    with pytest.raises(WebUsageError, match="style"):
        trust_forwarded("loopback", style=style)
    with pytest.raises(WebUsageError, match="style"):
        Forwarder([style])


# ── writing ───────────────────────────────────────────────────────────────────

CLIENT = InternetAddress("192.0.2.7", 5000)


def test_a_proxy_replaces_what_a_stranger_wrote() -> None:
    came = fields(x_forwarded_for="127.0.0.1", x_forwarded_proto="https", forwarded="for=127.0.0.1")
    made = Forwarder(["x-forwarded", "forwarded"]).fields(CLIENT, "http", "example.com", came)
    assert made == [
        (b"x-forwarded-for", b"192.0.2.7"),
        (b"x-forwarded-proto", b"http"),
        (b"x-forwarded-host", b"example.com"),
        (b"forwarded", b'for=192.0.2.7;proto=http;host="example.com"'),
    ]
    assert Forwarder(()).fields(CLIENT, "http", "a", came) == []


def test_a_proxy_adds_to_what_a_trusted_one_wrote() -> None:
    came = fields(
        x_forwarded_for="203.0.113.5", x_forwarded_proto="https", x_forwarded_host="a",
        forwarded="for=203.0.113.5;proto=https", x_forwarded_prefix="/a",
    )  # fmt: skip
    forwarder = Forwarder(["x-forwarded", "forwarded"], trusted="192.0.2.0/24")
    assert forwarder.fields(CLIENT, "http", "inside", came) == [
        (b"x-forwarded-for", b"203.0.113.5, 192.0.2.7"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"a"),
        (b"x-forwarded-prefix", b"/a"),
        (b"forwarded", b'for=203.0.113.5;proto=https, for=192.0.2.7;proto=http;host="inside"'),
    ]


def test_what_is_written_is_read_the_same() -> None:
    styles: list[Style] = ["x-forwarded", "forwarded"]
    for style in styles:
        for peer in (CLIENT, InternetAddress("2001:db8::1", 5), UnixAddress("")):
            made = Forwarder([style]).fields(peer, "https", "a:8080", [])
            assert read_hops(made, style) == [Hop(getattr(peer, "host", ""), 0, "https", "a:8080")]
