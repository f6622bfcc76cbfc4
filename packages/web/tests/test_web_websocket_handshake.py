"""The opening handshake as a judgement: heads of requests and answers, good and odd."""

from __future__ import annotations

from typing import Any

import pytest

from sennit.web.errors import WebUsageError
from sennit.web.events import RequestHead
from sennit.web.websocket.deflate import Deflate, agree, check_agreed, offer
from sennit.web.websocket.errors import WebSocketRefusedError
from sennit.web.websocket.handshake import (
    Accepted,
    ClientHandshake,
    Declined,
    accept,
    accept_key,
    check_subprotocols,
    parse_extensions,
    wants_websocket,
)

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 §1.3
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def head(*fields: tuple[str, str], **changes: Any) -> RequestHead:
    """A request for WebSocket; a field given replaces the one of its name, '' leaves it out."""
    found = {
        "host": "example.com",
        "sec-websocket-key": KEY.decode(),
        "sec-websocket-version": "13",
    }
    more = [field for field in fields if field[0] not in found]
    found.update({name: value for name, value in fields if name in found})
    headers = [(n.encode(), v.encode()) for n, v in [*found.items(), *more] if v]
    said: dict[str, Any] = {
        "method": b"GET",
        "target": b"/chat",
        "version": b"1.1",
        "host": b"example.com",
        "upgrade": b"websocket",
        **changes,
    }
    return RequestHead(headers=headers, **said)


def extended(*fields: tuple[str, str]) -> RequestHead:
    """An extended CONNECT (RFC 8441 §5)."""
    return head(
        ("sec-websocket-key", ""),
        *fields,
        method=b"CONNECT",
        version=b"2",
        upgrade=None,
        protocol=b"websocket",
    )


def accepted(request: RequestHead, **options: Any) -> tuple[Accepted, dict[bytes, bytes]]:
    verdict = accept(request, **options)
    assert isinstance(verdict, Accepted), verdict.why
    return verdict, dict(verdict.headers)


def declined(request: RequestHead, **options: Any) -> Declined:
    verdict = accept(request, **options)
    assert isinstance(verdict, Declined)
    return verdict


# ── servers ───────────────────────────────────────────────────────────────────


def test_the_rfcs_own_example() -> None:
    """RFC 6455 §1.3."""
    verdict, answer = accepted(head())

    assert verdict.status == 101
    assert answer == {b"upgrade": b"websocket", b"sec-websocket-accept": ACCEPT}
    assert accept_key(KEY) == ACCEPT
    assert (verdict.subprotocol, verdict.deflate) == (None, None)


def test_over_http2_there_is_no_key_and_the_answer_is_200() -> None:
    """RFC 8441 §5."""
    verdict, answer = accepted(extended(("sec-websocket-protocol", "chat")), subprotocols=["chat"])

    assert verdict.status == 200
    assert answer == {b"sec-websocket-protocol": b"chat"}
    assert declined(head(method=b"CONNECT", version=b"2", protocol=b"connect-udp")).status == 501
    assert declined(extended(("sec-websocket-version", "8"))).status == 426


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"method": b"POST"}, 405),
        ({"upgrade": None}, 426),
        ({"upgrade": b"h2c"}, 426),
        ({"version": b"1.0"}, 426),
        ({"length": 40}, 400),
        ({"length": -1}, 400),
    ],
)
def test_what_is_no_handshake_is_told_so(changes: dict[str, Any], status: int) -> None:
    """RFC 6455 §4.2.1; content behind a request to upgrade is refused (HARDENING h1-14)."""
    verdict = declined(head(**changes))

    assert verdict.status == status
    assert ((b"upgrade", b"websocket") in verdict.headers) is (status == 426)


@pytest.mark.parametrize(
    "key", ["", "short", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ==x", "!" * 22 + "=="]
)
def test_a_broken_key_is_refused(key: str) -> None:
    """RFC 6455 §4.2.1: sixteen octets in base64, once."""
    assert declined(head(("sec-websocket-key", key))).status == 400


def test_two_keys_are_refused() -> None:
    request = head()
    request.headers.append((b"sec-websocket-key", KEY))

    assert declined(request).status == 400


@pytest.mark.parametrize("version", ["", "8", "13, 8", "013", "14"])
def test_another_version_is_told_which_is_spoken(version: str) -> None:
    """RFC 6455 §4.4."""
    verdict = declined(head(("sec-websocket-version", version)))

    assert verdict.status == 426
    assert (b"sec-websocket-version", b"13") in verdict.headers


@pytest.mark.parametrize("upgrade", [b"websocket", b"WebSocket", b"h2c, websocket"])
def test_upgrade_is_a_list_and_knows_no_case(upgrade: bytes) -> None:
    assert wants_websocket(head(upgrade=upgrade))
    accepted(head(upgrade=upgrade))
    assert not wants_websocket(head(upgrade=b"websockets"))


def test_the_servers_order_of_subprotocols_counts() -> None:
    """RFC 6455 §4.2.2."""
    request = head(("sec-websocket-protocol", "a, b"), ("sec-websocket-protocol", "c"))

    verdict, answer = accepted(request, subprotocols=["c", "a"])
    assert verdict.subprotocol == "c"
    assert answer[b"sec-websocket-protocol"] == b"c"
    verdict, answer = accepted(request, subprotocols=["z"])
    assert verdict.subprotocol is None
    assert b"sec-websocket-protocol" not in answer


@pytest.mark.parametrize("names", ["a, a", "a b", "a;b", '"a"'])
def test_a_broken_list_of_subprotocols_is_refused(names: str) -> None:
    assert declined(head(("sec-websocket-protocol", names))).status == 400


def test_subprotocols_are_tokens_each_once() -> None:
    assert check_subprotocols(["a", "b.1"]) == ("a", "b.1")
    for wrong in (["a b"], ["a", "a"], [""], ["a\r\nx: y"], "chat"):
        with pytest.raises(WebUsageError):
            check_subprotocols(wrong)


# ── ws-7: origins ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("origin", "welcome"),
    [
        ("https://example.com", True),
        ("HTTPS://Example.COM", True),
        ("https://example.com:444", False),
        ("https://evil.example", False),
        ("https://example.com.evil.example", False),
        ("null", False),
        ("", True),
    ],
)
def test_a_page_of_another_origin_is_refused(origin: str, welcome: bool) -> None:
    """HARDENING ws-7: with the user's cookies and all; programs say no origin."""
    request = head(("origin", origin), ("cookie", "session=1"))
    verdict = accept(request, origins=["https://example.com"])

    assert isinstance(verdict, Accepted) is welcome
    if isinstance(verdict, Declined):
        assert verdict.status == 403


@pytest.mark.parametrize(
    ("origin", "host", "welcome"),
    [
        ("https://example.com", b"example.com", True),
        ("https://example.com", b"example.com:443", True),
        ("http://example.com:80", b"example.com", True),
        ("http://example.com:8080", b"example.com:8080", True),
        ("http://example.com:8080", b"example.com", False),
        ("https://sub.example.com", b"example.com", False),
        ("null", b"example.com", False),
        ("file://", b"example.com", False),
        ("chrome-extension://example.com", b"example.com", False),
    ],
)
def test_the_same_origin_is_that_of_the_host_that_is_asked(
    origin: str, host: bytes, welcome: bool
) -> None:
    """HARDENING ws-7."""
    verdict = accept(head(("origin", origin), host=host), origins="same")

    assert isinstance(verdict, Accepted) is welcome


def test_a_function_sees_a_missing_origin_too() -> None:
    seen: list[str | None] = []

    def decide(origin: str | None) -> bool:
        seen.append(origin)
        return origin is not None

    assert declined(head(), origins=decide).status == 403
    accepted(head(("origin", "https://a.example")), origins=decide)
    assert seen == [None, "https://a.example"]


def test_two_origins_are_none() -> None:
    request = head(("origin", "https://a.example"), ("origin", "https://b.example"))

    assert declined(request, origins=["https://a.example"]).status == 403


# ── compression ───────────────────────────────────────────────────────────────


def negotiated(offered: str, **wanted: Any) -> str | None:
    """What a server says to a client's offer; None when it declines."""
    wanted.setdefault("window_bits", 15)
    wish = Deflate(**wanted)
    _, answer = accepted(head(("sec-websocket-extensions", offered)), deflate=wish)
    said = answer.get(b"sec-websocket-extensions")
    return None if said is None else said.decode()


@pytest.mark.parametrize(
    "odd",
    [
        "server_max_window_bits=99",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=010",
        "server_max_window_bits",
        "server_max_window_bits=8",  # zlib makes no such window
        "client_max_window_bits=99",
        "client_max_window_bits=0",
        "server_no_context_takeover=1",
        "client_no_context_takeover=",
        "client_no_context_takeover; client_no_context_takeover",
        "unknown",
        "unknown=1",
    ],
)
def test_an_odd_offer_is_declined(odd: str) -> None:
    """HARDENING ws-6 (RFC 7692 §7.1); declined or malformed, never agreed to."""
    if odd.endswith("="):
        assert declined(head(("sec-websocket-extensions", f"permessage-deflate; {odd}"))).status
        return
    assert negotiated(f"permessage-deflate; {odd}") is None
    assert negotiated(f"permessage-deflate; {odd}, permessage-deflate") == "permessage-deflate"


@pytest.mark.parametrize(
    ("offered", "wanted", "said"),
    [
        ("permessage-deflate", {}, "permessage-deflate"),
        ("x-other, permessage-deflate", {}, "permessage-deflate"),
        (
            "permessage-deflate",
            {"window_bits": 12},
            "permessage-deflate; server_max_window_bits=12",
        ),
        (
            "permessage-deflate; client_max_window_bits",
            {"window_bits": 12},
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
        ),
        (
            'permessage-deflate; server_max_window_bits="10"; client_max_window_bits=11',
            {},
            "permessage-deflate; server_max_window_bits=10; client_max_window_bits=11",
        ),
        (
            "permessage-deflate;server_no_context_takeover ; client_no_context_takeover",
            {},
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ),
        (
            "permessage-deflate",
            {"context_takeover": False},
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ),
    ],
)
def test_what_is_agreed(offered: str, wanted: dict[str, Any], said: str) -> None:
    """RFC 7692 §7.1."""
    assert negotiated(offered, **wanted) == said


def test_without_a_wish_to_compress_nothing_is_agreed() -> None:
    verdict, answer = accepted(head(("sec-websocket-extensions", "permessage-deflate")))

    assert verdict.deflate is None
    assert b"sec-websocket-extensions" not in answer


@pytest.mark.parametrize("odd", ["a b", "a; =1", 'a; b="c d"', "a; b=", ";", "a;b;", '"a"'])
def test_a_list_of_extensions_is_to_the_letter(odd: str) -> None:
    """RFC 6455 §9.1."""
    with pytest.raises(ValueError, match="extension"):
        parse_extensions([odd.encode()])
    assert declined(head(("sec-websocket-extensions", odd))).status == 400


def test_extensions_come_over_several_fields() -> None:
    assert parse_extensions([b"a, b; c", b'd; e=f; g="h"', b" , "]) == [
        ("a", []),
        ("b", [("c", None)]),
        ("d", [("e", "f"), ("g", "h")]),
    ]


def test_each_side_agrees_with_what_the_other_offers() -> None:
    for bits in range(9, 16):
        for takeover in (True, False):
            ours = Deflate(window_bits=bits, context_takeover=takeover)
            for other in (Deflate(window_bits=9), Deflate(window_bits=15, context_takeover=False)):
                ((_, parameters),) = parse_extensions([offer(ours).encode()])
                found = agree(other, parameters)
                assert found is not None
                said, theirs = found
                ((_, parameters),) = parse_extensions([said.encode()])
                mine = check_agreed(ours, parameters)
                assert mine is not None
                assert repr(mine).replace(f"client_bits={mine.client_bits}", "") == repr(
                    theirs
                ).replace(f"client_bits={theirs.client_bits}", "")
                assert mine.client_bits <= theirs.client_bits


# ── clients ───────────────────────────────────────────────────────────────────

NONCE = b"the sample nonce"


def client(**options: Any) -> ClientHandshake:
    return ClientHandshake(NONCE, **options)


AGREED = [
    (b"upgrade", b"WebSocket"),
    (b"connection", b"Upgrade"),
    (b"sec-websocket-accept", ACCEPT),
]


def test_what_a_client_asks() -> None:
    """RFC 6455 §4.1."""
    asked = client(
        subprotocols=["a", "b"],
        deflate=Deflate(),
        origin="https://example.com",
        headers=[(b"cookie", b"x=y")],
    )

    assert asked.headers == [
        (b"connection", b"Upgrade"),
        (b"upgrade", b"websocket"),
        (b"sec-websocket-key", KEY),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-protocol", b"a, b"),
        (
            b"sec-websocket-extensions",
            b"permessage-deflate; server_max_window_bits=12; client_max_window_bits",
        ),
        (b"origin", b"https://example.com"),
        (b"cookie", b"x=y"),
    ]
    over = client(over_http2=True)
    assert over.headers == [(b"sec-websocket-version", b"13")]
    assert over.check(200, []).status == 200


def test_an_answer_that_agrees() -> None:
    found = client(subprotocols=["a"], deflate=Deflate(window_bits=15)).check(
        101,
        [
            *AGREED,
            (b"sec-websocket-protocol", b"a"),
            (b"sec-websocket-extensions", b"permessage-deflate; server_max_window_bits=10"),
        ],
    )

    assert found.subprotocol == "a"
    assert found.deflate is not None
    assert found.deflate.server_bits == 10


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, AGREED),
        (404, []),
        (101, AGREED[1:]),
        (101, [(b"upgrade", b"h2c"), *AGREED[1:]]),
        (101, [AGREED[0], AGREED[2]]),
        (101, AGREED[:2]),
        (101, [*AGREED[:2], (b"sec-websocket-accept", b"x" + ACCEPT[1:])]),
        (101, [*AGREED, (b"sec-websocket-accept", ACCEPT)]),
        (101, [*AGREED, (b"sec-websocket-protocol", b"other")]),
        (101, [*AGREED, (b"sec-websocket-protocol", b"a"), (b"sec-websocket-protocol", b"a")]),
        (101, [*AGREED, (b"sec-websocket-extensions", b"x-other")]),
        (101, [*AGREED, (b"sec-websocket-extensions", b"permessage-deflate, permessage-deflate")]),
        (101, [*AGREED, (b"sec-websocket-extensions", b"permessage-deflate; b=")]),
        (101, [*AGREED, (b"sec-websocket-extensions", b"permessage-deflate")]),  # 12 bits, please
        (
            101,
            [
                *AGREED,
                (
                    b"sec-websocket-extensions",
                    b"permessage-deflate; server_max_window_bits=12; client_max_window_bits",
                ),
            ],
        ),
    ],
)
def test_an_answer_that_does_not_agree_is_refused(
    status: int, headers: list[tuple[bytes, bytes]]
) -> None:
    """RFC 6455 §4.1, RFC 7692 §7.1: a server that says something else is not believed."""
    with pytest.raises(WebSocketRefusedError) as caught:
        client(subprotocols=["a"], deflate=Deflate()).check(status, headers)
    assert caught.value.status == status
    assert caught.value.headers == headers


def test_compression_that_was_not_offered_is_refused() -> None:
    with pytest.raises(WebSocketRefusedError, match="extension"):
        client().check(101, [*AGREED, (b"sec-websocket-extensions", b"permessage-deflate")])


def test_fields_that_are_made_here_are_not_for_callers() -> None:
    for name in (b"Host", b"Sec-WebSocket-Key", b"connection", b"origin"):
        with pytest.raises(WebUsageError, match="made by the handshake"):
            client(headers=[(name, b"x")])
    with pytest.raises(WebUsageError, match="sixteen"):
        ClientHandshake(b"short")
