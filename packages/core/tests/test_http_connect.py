"""Tunnels through HTTP proxies, the engine: RFC 9110 §9.3.6, RFC 9112."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sennit.core.endpoint.http_connect import MAX_HEAD, ConnectFault, HTTPConnectEngine
from sennit.core.endpoint.socks_engine import Established, Refused
from sennit.core.engine import CLOSED, NEED_DATA
from sennit.core.errors import UsageError


def answer(*pieces: bytes, **options: Any) -> tuple[Any, bytes]:
    engine = HTTPConnectEngine("example.org", 443, **options)
    event: Any = NEED_DATA
    for at, piece in enumerate(pieces):
        engine.receive_data(piece)
        event = engine.next_event()
        if event is not NEED_DATA:
            engine.receive_data(b"".join(pieces[at + 1 :]))
            break
    return event, engine.release()


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("example.org", b"example.org:443"),
        ("192.0.2.7", b"192.0.2.7:443"),
        ("2001:db8::7", b"[2001:db8::7]:443"),
        ("bücher.example", b"xn--bcher-kva.example:443"),
    ],
)
def test_a_tunnel_is_asked_for_by_authority(host: str, target: bytes) -> None:
    """RFC 9110 §9.3.6, RFC 9112 §3.2.3."""
    (request,) = HTTPConnectEngine(host, 443).data_to_send()
    assert request == b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, target)


def test_a_login_goes_with_the_request() -> None:
    """RFC 7617 §2, in UTF-8."""
    engine = HTTPConnectEngine("a.example", 1, username="alice", password="sé:cret")
    (request,) = engine.data_to_send()
    (line,) = [each for each in request.split(b"\r\n") if each.startswith(b"Proxy-")]
    assert line.startswith(b"Proxy-Authorization: Basic ")
    assert b64decode(line.rpartition(b" ")[2]).decode() == "alice:sé:cret"
    assert engine.data_to_send() == []


@pytest.mark.parametrize(
    ("host", "port", "username"),
    [
        ("a b", 1, None),
        ("a\r\nX: y", 1, None),
        ("", 1, None),
        ("a", 0, None),
        ("a", 65536, None),
        ("ü" * 64, 1, None),
        ("a", 1, "a:b"),
        ("a", 1, "a\nb"),
    ],
)
def test_what_cannot_be_asked_is_refused_at_the_call(host: str, port: int, username: Any) -> None:
    with pytest.raises(UsageError):
        HTTPConnectEngine(host, port, username=username, password="x")


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 Connection established\r\n\r\n",
        b"HTTP/1.0 200 \r\nVia: x\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 204 x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_what_comes_behind_a_good_answer_is_the_tunnels(head: bytes) -> None:
    """RFC 9110 §9.3.6: any 2xx; content headers mean nothing."""
    event, rest = answer(head + b"\r\n\r\nhello")
    assert isinstance(event, Established)
    assert rest == b"\r\n\r\nhello"
    event, rest = answer(*(head[at : at + 1] for at in range(len(head))), b"hello")
    assert isinstance(event, Established)
    assert rest == b"hello"


@pytest.mark.parametrize(
    ("head", "options", "reason"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", {}, "the proxy answers 403 Forbidden"),
        (b"HTTP/1.1 502 \r\n\r\n", {}, "the proxy answers 502"),
        (b"HTTP/1.1 301 \xff\x80\r\n\r\n", {}, r"the proxy answers 301 \xff\x80"),
        (b"HTTP/1.1 407 Auth\r\n\r\n", {}, "the proxy wants a login (407)"),
        (
            b"HTTP/1.1 407 Auth\r\n\r\n",
            {"username": "a", "password": "b"},
            "the proxy does not accept the login (407)",
        ),
    ],
)
def test_a_refusal_says_the_status(head: bytes, options: Any, reason: str) -> None:
    event, _ = answer(head, **options)
    assert isinstance(event, Refused)
    assert event.reason == reason


@pytest.mark.parametrize(
    "head",
    [
        b"SSH-2.0-x\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 200 O\0K\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno field\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 9,
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 4000,
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * MAX_HEAD + b"\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_a_fault(head: bytes) -> None:
    event, rest = answer(head)
    assert isinstance(event, ConnectFault)
    assert event.rule.startswith("RFC 911")
    assert rest == b""


def test_an_end_inside_the_answer_is_a_fault() -> None:
    engine = HTTPConnectEngine("a", 1)
    engine.receive_data(b"HTTP/1.1 200")
    assert engine.next_event() is NEED_DATA
    engine.receive_eof()
    assert isinstance(engine.next_event(), ConnectFault)
    assert engine.next_event() is CLOSED


LINES = st.sampled_from(
    [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 C\r\n\r\n", b"HTTP/1.1 403 No\r\n", b"", b"HTTP/1."]
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    LINES, st.binary(max_size=30), st.sampled_from([b"\r\n\r\n", b"\r\n", b""]), st.integers(1, 9)
)
def test_where_the_octets_are_cut_changes_nothing(
    first: bytes, rest: bytes, end: bytes, step: int
) -> None:
    data = first + rest + end
    whole, left = answer(data)
    parts, other = answer(*(data[at : at + step] for at in range(0, len(data), step)))
    assert type(parts) is type(whole)
    if not isinstance(whole, ConnectFault):
        assert other == left
