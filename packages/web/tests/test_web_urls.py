"""URLs as the client reads them, and which proxy they go through."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sennit.web.client.messages import OutgoingRequest
from sennit.web.client.proxies import Proxies, Proxy, proxies_from_environment
from sennit.web.client.urls import MAX_URL, URL


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("http://example", ("http", "example", 80, b"/", "example")),
        ("HTTPS://EXAMPLE.com:443/A?b", ("https", "example.com", 443, b"/A?b", "example.com")),
        ("http://example:8080/", ("http", "example", 8080, b"/", "example:8080")),
        ("http://example:/?", ("http", "example", 80, b"/?", "example")),
        ("ws://example/chat", ("ws", "example", 80, b"/chat", "example")),
        ("wss://example/chat#x", ("wss", "example", 443, b"/chat", "example")),
        ("http://[2001:DB8::1]:81/", ("http", "2001:db8::1", 81, b"/", "[2001:db8::1]:81")),
        ("http://192.0.2.1/", ("http", "192.0.2.1", 80, b"/", "192.0.2.1")),
        ("http://user:p%40ss@example/", ("http", "example", 80, b"/", "example")),
        ("http://b\u00fccher.example/", ("http", "xn--bcher-kva.example", 80, b"/", None)),
        ("http://e/\u00e4?\u00f6=1", ("http", "e", 80, b"/%C3%A4?%C3%B6=1", "e")),
        ("http://e/a%20b%zz{}", ("http", "e", 80, b"/a%20b%25zz%7B%7D", "e")),
        ("http://e/a/./b/../c", ("http", "e", 80, b"/a/c", "e")),
        ("http://e/../..", ("http", "e", 80, b"/", "e")),
    ],
)
def test_a_url_is_taken_apart(text: str, parts: tuple[str, str, int, bytes, str | None]) -> None:
    url = URL(text)
    scheme, host, port, target, authority = parts

    assert (url.scheme, url.host, url.port, url.target) == (scheme, host, port, target)
    assert url.origin == (scheme, host, port)
    assert url.secure == (scheme in ("https", "wss"))
    if authority is not None:
        assert url.authority == authority
        assert url.host_field == authority.encode()


def test_user_and_password_are_kept_apart_and_never_shown() -> None:
    url = URL("http://us%3Aer:p%40ss@example/a#b")

    assert (url.username, url.password, url.fragment) == ("us:er", "p@ss", "b")
    assert str(url) == "http://example/a#b"
    assert "p@ss" not in repr(url)
    with pytest.raises(ValueError, match="http://…@") as caught:
        URL("http://user:secret@exa mple/")
    assert "secret" not in str(caught.value)


def test_a_socket_may_stand_where_the_host_stands() -> None:
    url = URL("http+unix://%2Frun%2FWeb.sock/a?b")

    assert (url.unix, url.authority, url.target) == ("/run/Web.sock", "localhost", b"/a?b")
    assert str(url) == "http+unix://%2Frun%2FWeb.sock/a?b"
    assert str(url.join("../c")) == "http+unix://%2Frun%2FWeb.sock/c"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example",
        "/a",
        "http:/example",
        "http://",
        "http:///a",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "1http://e/",
        "http://e:0/",
        "http://e:65536/",
        "http://e:+80/",
        "http://e:\u0661/",
        "http://[::1/",
        "http://[::1]x/",
        "http://[example]/",
        "http://exa%6Dple/",
        "http://a..b/",
        "http://-/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://1.2.3.4.5/",
        "http://999.1.1.1/",
        "http://e\\@evil/",
        "http+unix:///a",
        "http+unix://%00/a",
        "http://e/" + "a" * MAX_URL,
        *(f"http://e/{bad}" for bad in "\r\n\0\t \x7f"),
        *(f"http://e{bad}/" for bad in "\r\n\0\t \x7f"),
        "http://e/?a\r\nb: c",
        " http://e/",
    ],
)
def test_what_is_no_url_to_ask_for_is_refused(text: str) -> None:
    """HARDENING h1-25; CVE-2019-9740."""
    with pytest.raises(ValueError, match=r"."):
        URL(text)


@pytest.mark.parametrize("method", ["", "G T", "GET\r\n", "GET\0", "G\u00c4T", "G" * 65])
def test_what_is_no_method_is_refused(method: str) -> None:
    """HARDENING h1-25."""
    with pytest.raises(ValueError, match="method"):
        OutgoingRequest(method, "http://example/")


# RFC 3986 §5.4, with a base that a client can ask for.
BASE = "http://a/b/c/d;p?q"
REFERENCES = {
    "http://h/g": "http://h/g",
    "g": "http://a/b/c/g",
    "./g": "http://a/b/c/g",
    "g/": "http://a/b/c/g/",
    "/g": "http://a/g",
    "//g": "http://g/",
    "?y": "http://a/b/c/d;p?y",
    "g?y": "http://a/b/c/g?y",
    "#s": "http://a/b/c/d;p?q#s",
    "g#s": "http://a/b/c/g#s",
    ";x": "http://a/b/c/;x",
    "g;x?y#s": "http://a/b/c/g;x?y#s",
    "": "http://a/b/c/d;p?q",
    ".": "http://a/b/c/",
    "..": "http://a/b/",
    "../g": "http://a/b/g",
    "../..": "http://a/",
    "../../g": "http://a/g",
    "../../../g": "http://a/g",
    "/./g": "http://a/g",
    "/../g": "http://a/g",
    "g.": "http://a/b/c/g.",
    ".g": "http://a/b/c/.g",
    "./../g": "http://a/b/g",
    "./g/.": "http://a/b/c/g/",
    "g/./h": "http://a/b/c/g/h",
    "g/../h": "http://a/b/c/h",
    "g;x=1/../y": "http://a/b/c/y",
    "g?y/../x": "http://a/b/c/g?y/../x",
}


@pytest.mark.parametrize("reference", REFERENCES)
def test_references_are_resolved(reference: str) -> None:
    """RFC 3986 §5.4."""
    assert str(URL(BASE).join(reference)) == REFERENCES[reference]


def test_a_reference_keeps_the_login_of_its_base_and_only_there() -> None:
    base = URL("http://user:secret@a/b")

    assert base.join("c").username == "user"
    assert base.join("//other/c").username == ""
    assert base.with_query("x=1").target == b"/b?x=1"
    assert base.with_query(None).password == "secret"


def test_urls_are_compared_by_what_they_say() -> None:
    assert URL("HTTP://A:80/b/../c") == URL("http://a/c")
    assert hash(URL("HTTP://A/c")) == hash(URL("http://a/c"))
    assert URL("http://a/") != URL("http://u@a/")
    assert URL("http://a/") != "http://a/"
    assert URL.of("http://a/kept") is URL.of("http://a/kept")
    url = URL("http://a/")
    assert URL.of(url) is url
    with pytest.raises(TypeError):
        URL.of(b"http://a/")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    """What passes has nothing in it that would end a line or a word."""
    for each in (text, "http://" + text, "http://example/" + text):
        try:
            url = URL(each)
        except ValueError:
            continue
        assert not set(url.target + url.host_field) & set(b"\r\n\0 \t")
        assert URL(str(url)) == URL(str(URL(str(url))))


# ── proxies ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("http://p:3128", ("http", "p", 3128)),
        ("p:3128", ("http", "p", 3128)),
        ("http://p", ("http", "p", 80)),
        ("https://p", ("https", "p", 443)),
        ("https://p:80", ("https", "p", 80)),
        ("socks5://p", ("socks5", "p", 1080)),
        ("SOCKS5H://[::1]:9050/", ("socks5", "::1", 9050)),
    ],
)
def test_a_proxy_is_read(text: str, place: tuple[str, str, int]) -> None:
    proxy = Proxy(text)

    assert (proxy.scheme, proxy.host, proxy.port) == place
    assert proxy.forwards == (place[0] != "socks5")


@pytest.mark.parametrize(
    "text", ["ftp://p", "http://p/path", "socks4://p", "http://", "http://a b"]
)
def test_what_is_no_proxy_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Proxy(text)


def test_a_login_is_taken_from_the_url_and_not_shown() -> None:
    proxy = Proxy("http://us%65r:se%3Acret@p:3128")

    assert proxy.authorization == b"Basic dXNlcjpzZTpjcmV0"
    assert "cret" not in repr(proxy)
    assert Proxy("http://p", "a", "b").authorization == b"Basic YTpi"
    assert Proxy("http://p").authorization is None
    assert Proxy("socks5://u:p@p").authorization is None
    with pytest.raises(ValueError, match="colon"):
        Proxy("http://p", "a:b", "c")


def test_the_environment_says_which_proxies_there_are() -> None:
    proxies = proxies_from_environment(
        {
            "http_proxy": "http://one:1",
            "HTTPS_PROXY": "http://two:2",
            "all_proxy": "socks5://three:3",
            "no_proxy": "near.example, .inside.example,*.wild.example,10.0.0.0/8,[2001:db8::1]:80,"
            "ported.example:8080,Bücher.example,*.straße.example:81",
        }
    )

    def chosen(url: str) -> str | None:
        proxy = proxies.choose(URL(url))
        return None if proxy is None else proxy.host

    assert chosen("http://far.example/") == "one"
    assert chosen("ws://far.example/") == "one"
    assert chosen("https://far.example/") == "two"
    assert chosen("wss://far.example/") == "two"
    assert chosen("http+unix://%2Frun%2Fx/") is None
    for url in (
        "http://near.example/",
        "http://a.near.example/",
        "https://x.inside.example/",
        "http://inside.example./",
        "http://a.wild.example/",
        "http://10.1.2.3/",
        "http://[2001:db8::1]/",
        "http://ported.example:8080/",
        "http://bücher.example/",
        "http://a.xn--bcher-kva.example/",
        "http://a.straße.example:81/",
    ):
        assert chosen(url) is None, url
    for url in (
        "http://notnear.example/",
        "http://11.1.2.3/",
        "http://[2001:db8::1]:81/",
        "http://ported.example/",
        "http://straße.example/",
    ):
        assert chosen(url) == "one", url


def test_all_is_for_what_has_none_of_its_own_and_a_star_excepts_everything() -> None:
    proxies = proxies_from_environment({"ALL_PROXY": "socks5://p"})
    assert proxies.choose(URL("https://a/")) is not None
    proxies = proxies_from_environment({"ALL_PROXY": "socks5://p", "NO_PROXY": "*"})
    assert proxies.choose(URL("https://a/")) is None
    assert Proxies({}).choose(URL("http://a/")) is None


def test_a_field_of_a_request_is_no_variable_of_a_cgi_program() -> None:
    """CVE-2016-5385."""
    evil = {"HTTP_PROXY": "http://evil", "REQUEST_METHOD": "GET"}
    assert proxies_from_environment(evil).choose(URL("http://a/")) is None
    del evil["REQUEST_METHOD"]
    assert proxies_from_environment(evil).choose(URL("http://a/")) is not None


def test_a_variable_that_names_no_proxy_says_which() -> None:
    with pytest.raises(ValueError, match="https_proxy"):
        proxies_from_environment({"https_proxy": "gopher://p"})


def test_the_zone_of_an_address_stays_in_this_machine() -> None:
    """RFC 6874 §3: it says which interface to use, and no server knows that."""
    url = URL("http://[fe80::1%25eth0]:8080/x")
    assert (url.host, url.port) == ("fe80::1%eth0", 8080)
    assert url.host_field == b"[fe80::1]:8080"
    assert URL(str(url)) == url


def test_no_password_is_shown_however_long_it_is() -> None:
    with pytest.raises(ValueError, match="no port") as caught:
        URL(f"http://me:{'secret' * 100}@example.com:x/")
    assert "secret" not in str(caught.value)
    assert "example.com:x" in str(caught.value)
