"""SOCKS 5 without I/O: both sides of the conversation (RFC 1928, RFC 1929)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sennit.core.endpoint.socks_engine import (
    Command,
    Established,
    Login,
    Refused,
    Relayed,
    Reply,
    Request,
    SocksClientEngine,
    SocksFault,
    SocksServerEngine,
    decode_datagram,
    encode_datagram,
)
from sennit.core.engine import CLOSED, NEED_DATA, PAUSED
from sennit.core.errors import UsageError

HELLO = b"\x05\x01\x00"
TO_NAME = b"\x05\x01\x00\x03\x0bexample.org\x01\xbb"
TO_V4 = b"\x05\x01\x00\x01\xc0\x00\x02\x07\x00\x50"
TO_V6 = b"\x05\x01\x00\x04" + b"\x20\x01\x0d\xb8" + bytes(11) + b"\x07" + b"\x00\x50"


def sent(engine: Any) -> bytes:
    return b"".join(engine.data_to_send())


def asked(request: bytes) -> tuple[SocksServerEngine, Any]:
    engine = SocksServerEngine()
    engine.receive_data(HELLO + request)
    event = engine.next_event()
    assert sent(engine)[:2] == b"\x05\x00"
    return engine, event


# ── the server's side ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("octets", "host", "port", "is_name"),
    [
        (TO_NAME, "example.org", 443, True),
        (TO_V4, "192.0.2.7", 80, False),
        (TO_V6, "2001:db8::7", 80, False),
        (b"\x05\x01\x00\x03\x09127.0.0.1\x00\x50", "127.0.0.1", 80, False),
        (b"\x05\x01\x00\x03\x03::1\x00\x50", "::1", 80, False),
    ],
)
def test_a_request_names_its_target(octets: bytes, host: str, port: int, is_name: bool) -> None:
    """RFC 1928 §4, §5; an address in a name's clothes counts as what it is."""
    engine, event = asked(octets)
    assert (event.command, event.host, event.port) == (Command.CONNECT, host, port)
    assert event.is_name is is_name
    assert host in repr(event)
    assert engine.next_event() is PAUSED
    engine.receive_data(b"ahead")
    assert engine.next_event() is PAUSED
    engine.accept_request("192.0.2.1", 4000)
    assert sent(engine) == b"\x05\x00\x00\x01\xc0\x00\x02\x01\x0f\xa0"
    assert engine.next_event() is CLOSED
    assert engine.release() == b"ahead"


@pytest.mark.parametrize("reply", [each for each in Reply if each])
def test_a_refusal_says_why(reply: Reply) -> None:
    """RFC 1928 §6."""
    engine, _ = asked(TO_NAME)
    engine.reject_request(reply)
    assert sent(engine) == bytes((5, reply, 0, 1)) + bytes(6)
    assert engine.next_event() is CLOSED
    assert reply.text
    client = SocksClientEngine("example.org", 443)
    client.receive_data(b"\x05\x00" + bytes((5, reply, 0, 1)) + bytes(6))
    refused = client.next_event()
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.reply) == (reply.text, reply)


def test_a_login_is_asked_for_and_held_until_it_is_answered() -> None:
    """RFC 1929 §2."""
    engine = SocksServerEngine(needs_login=True)
    engine.receive_data(b"\x05\x02\x00\x02")
    assert engine.next_event() is NEED_DATA
    assert sent(engine) == b"\x05\x02"
    engine.receive_data(b"\x01\x05alice\x06secret" + TO_V4)
    event = engine.next_event()
    assert isinstance(event, Login)
    assert (event.username, event.password) == (b"alice", b"secret")
    assert "secret" not in repr(event)
    assert engine.next_event() is PAUSED
    engine.accept_login()
    assert sent(engine) == b"\x01\x00"
    assert isinstance(engine.next_event(), Request)


def test_a_bad_login_ends_the_conversation() -> None:
    """RFC 1929 §2: the server closes."""
    engine = SocksServerEngine(needs_login=True)
    engine.receive_data(b"\x05\x01\x02\x01\x01a\x01b")
    assert isinstance(engine.next_event(), Login)
    assert sent(engine) == b"\x05\x02"
    engine.reject_login()
    assert sent(engine) == b"\x01\x01"
    assert engine.next_event() is CLOSED


@pytest.mark.parametrize(("needs", "offer"), [(True, b"\x00"), (False, b"\x02"), (False, b"")])
def test_a_client_that_offers_nothing_usable_is_told_so(needs: bool, offer: bytes) -> None:
    """RFC 1928 §3: X'FF'."""
    engine = SocksServerEngine(needs_login=needs)
    engine.receive_data(bytes((5, len(offer))) + offer)
    assert isinstance(engine.next_event(), SocksFault)
    assert sent(engine) == b"\x05\xff"


@pytest.mark.parametrize(
    ("octets", "answer"),
    [
        (b"\x04\x01", b""),
        (b"GET / HTTP/1.1\r\n", b""),
        (HELLO + b"\x04\x01\x00\x01", b"\x05\x00"),
        (HELLO + b"\x05\x01\x00\x02\x00", b"\x05\x00\x05\x08\x00\x01" + bytes(6)),
        (HELLO + b"\x05\x01\x01\x01" + bytes(6), b"\x05\x00\x05\x01\x00\x01" + bytes(6)),
        (HELLO + b"\x05\x01\x00\x03\x00\x00\x50", b"\x05\x00\x05\x01\x00\x01" + bytes(6)),
        (HELLO + b"\x05\x01\x00\x03\x03a\0b\x00\x50", b"\x05\x00\x05\x01\x00\x01" + bytes(6)),
        (HELLO + b"\x05\x01\x00\x03\x03a\nb\x00\x50", b"\x05\x00\x05\x01\x00\x01" + bytes(6)),
        (HELLO + b"\x05\x01\x00\x03\x03a/b\x00\x50", b"\x05\x00\x05\x01\x00\x01" + bytes(6)),
        (HELLO + b"\x05\x01\x00\x03\x02\xffa\x00\x50", b"\x05\x00\x05\x01\x00\x01" + bytes(6)),
    ],
)
def test_what_is_no_socks_is_a_fault(octets: bytes, answer: bytes) -> None:
    engine = SocksServerEngine()
    engine.receive_data(octets)
    event = engine.next_event()
    assert isinstance(event, SocksFault)
    assert event.rule.startswith("RFC 19")
    assert sent(engine) == answer
    assert engine.next_event() is CLOSED
    assert engine.release() == b""


def test_a_command_that_nobody_knows_is_the_drivers_to_refuse() -> None:
    _, event = asked(b"\x05\x09\x00\x01" + bytes(6))
    assert event.command == 9


def test_bind_has_two_replies() -> None:
    """RFC 1928 §6."""
    engine, event = asked(b"\x05\x02" + TO_V4[2:])
    assert event.command == Command.BIND
    engine.accept_request("192.0.2.1", 4000, final=False)
    assert engine.next_event() is PAUSED
    engine.accept_request("192.0.2.7", 20)
    client = SocksClientEngine("192.0.2.7", 80, command=Command.BIND)
    client.receive_data(b"\x05\x00" + sent(engine))
    first, second = client.next_event(), client.next_event()
    assert type(first) is Established
    assert (first.port, type(second)) == (4000, Relayed)
    assert client.next_event() is CLOSED


def test_an_end_in_the_middle_is_a_fault() -> None:
    for engine in (SocksServerEngine(), SocksClientEngine("a", 1)):
        engine.receive_data(b"\x05")
        engine.receive_eof()
        assert isinstance(engine.next_event(), SocksFault)


def test_answers_to_what_was_not_asked_are_the_callers_fault() -> None:
    engine = SocksServerEngine()
    for call in (engine.accept_login, engine.reject_login):
        with pytest.raises(UsageError, match="no login waits"):
            call()
    for final in (True, False):
        with pytest.raises(UsageError, match="no request waits"):
            engine.accept_request("::1", 1, final=final)
    with pytest.raises(UsageError):
        engine.reject_request(Reply.NOT_ALLOWED)


# ── the client's side ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("host", "request_"),
    [("example.org", TO_NAME[:-2]), ("192.0.2.7", TO_V4[:-2]), ("2001:db8::7", TO_V6[:-2])],
)
def test_a_client_asks_in_the_form_that_fits(host: str, request_: bytes) -> None:
    """RFC 1928 §5: names are the proxy's to look up."""
    engine = SocksClientEngine(host, 443)
    assert sent(engine) == HELLO
    engine.receive_data(b"\x05\x00")
    assert engine.next_event() is NEED_DATA
    assert sent(engine) == request_ + b"\x01\xbb"
    engine.receive_data(TO_V4[:1] + b"\x00" + TO_V4[2:] + b"hello")
    event = engine.next_event()
    assert isinstance(event, Established)
    assert (event.host, event.port) == ("192.0.2.7", 80)
    assert engine.release() == b"hello"
    assert engine.next_event() is CLOSED


def test_a_client_logs_in_when_the_proxy_wants_that() -> None:
    """RFC 1929 §2."""
    engine = SocksClientEngine("a.example", 1, username="alice", password="sécret")
    assert sent(engine) == b"\x05\x02\x00\x02"
    engine.receive_data(b"\x05\x02")
    assert engine.next_event() is NEED_DATA
    assert sent(engine) == b"\x01\x05alice\x07s\xc3\xa9cret"
    engine.receive_data(b"\x01\x00")
    assert engine.next_event() is NEED_DATA
    assert sent(engine).startswith(b"\x05\x01\x00\x03")


@pytest.mark.parametrize(
    ("options", "octets", "problem"),
    [
        ({}, b"\x05\xff", "the proxy wants a login"),
        ({}, b"\x05\x02", "the proxy wants a login"),
        ({"username": "a", "password": "b"}, b"\x05\xff", "the proxy wants another login"),
        ({"username": "a", "password": "b"}, b"\x05\x02\x01\x01", "does not accept the login"),
        ({}, b"\x05\x00\x05\x05", "connection refused"),
        ({}, b"\x05\x00\x05\x77", "reply 119"),
        ({}, b"\x05\x00\x05\x06", "TTL expired"),
    ],
)
def test_what_a_proxy_refuses_is_said(options: Any, octets: bytes, problem: str) -> None:
    engine = SocksClientEngine("a.example", 1, **options)
    engine.receive_data(octets)
    event = engine.next_event()
    assert isinstance(event, Refused)
    assert problem in event.reason
    assert problem in repr(event)


@pytest.mark.parametrize(
    "octets",
    [
        b"HTTP/1.1 400 Bad",
        b"\x04\x00",
        b"\x05\x01",
        b"\x05\x00\x04",
        b"\x05\x00\x05\x00\x00\x02\x00",
    ],
)
def test_what_a_proxy_must_not_say_is_a_fault(octets: bytes) -> None:
    engine = SocksClientEngine("a.example", 1)
    engine.receive_data(octets)
    assert isinstance(engine.next_event(), SocksFault)
    login = SocksClientEngine("a.example", 1, username="a", password="b")
    login.receive_data(b"\x05\x02\x09\x00")
    assert isinstance(login.next_event(), SocksFault)


@pytest.mark.parametrize(
    ("host", "port", "options"),
    [
        ("", 1, {}),
        ("a b", 1, {}),
        ("a\r\nb", 1, {}),
        ("a" * 256, 1, {}),
        ("ü" * 64, 1, {}),
        ("a", 65536, {}),
        ("a", 1, {"username": ""}),
        ("a", 1, {"username": "a", "password": "b" * 256}),
        ("a", 1, {"username": "a"}),
    ],
)
def test_what_cannot_be_asked_is_refused_at_the_call(host: str, port: int, options: Any) -> None:
    with pytest.raises(UsageError):
        SocksClientEngine(host, port, **options)


def test_names_of_the_whole_world_are_encoded() -> None:
    engine = SocksClientEngine("bücher.example", 1)
    engine.receive_data(b"\x05\x00")
    assert engine.next_event() is NEED_DATA
    assert b"xn--bcher-kva.example" in sent(engine)


# ── datagrams ─────────────────────────────────────────────────────────────────


@given(st.ip_addresses().map(str) | st.just("a.example"), st.integers(0, 65535), st.binary())
def test_datagrams_carry_where_they_go(host: str, port: int, data: bytes) -> None:
    """RFC 1928 §7."""
    found = decode_datagram(encode_datagram(host, port, data))
    assert found[1:] == (port, host == "a.example", data)


@given(st.binary(max_size=40))
def test_no_datagram_does_harm(data: bytes) -> None:
    try:
        host, port, is_name, payload = decode_datagram(data)
    except SocksFault:
        return
    assert data.endswith(payload)
    assert 0 <= port <= 65535
    assert host or is_name


def test_fragments_of_datagrams_are_refused() -> None:
    """RFC 1928 §7: who does not support fragmentation must drop them."""
    whole = encode_datagram("192.0.2.1", 5, b"x")
    with pytest.raises(SocksFault, match="fragment"):
        decode_datagram(whole[:2] + b"\x01" + whole[3:])


# ── properties ────────────────────────────────────────────────────────────────


def converse(engine: Any, pieces: list[bytes]) -> tuple[list[str], bytes, bytes]:
    """Everything that an engine says of some octets, when all that it asks is granted."""
    seen: list[str] = []
    out = b""
    for piece in pieces:
        engine.receive_data(piece)
        while (event := engine.next_event()) not in (NEED_DATA, CLOSED):
            out += sent(engine)
            seen.append(repr(event))
            if isinstance(event, Login):
                engine.accept_login()
            elif isinstance(event, Request):
                engine.accept_request("192.0.2.1", 1)
            if event is PAUSED:
                raise AssertionError("nothing is open")
        out += sent(engine)
    over = engine.next_event() is CLOSED
    return seen, out, engine.release() if over else b""


OPENINGS = st.sampled_from(
    [b"", HELLO, HELLO + TO_NAME, HELLO + TO_V6, b"\x05\x01\x02\x01\x01a\x01b", b"\x05\x00" + TO_V4]
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(OPENINGS, st.binary(max_size=40), st.integers(1, 9), st.integers(0, 2))
def test_where_the_octets_are_cut_changes_nothing(
    opening: bytes, rest: bytes, step: int, which: int
) -> None:
    def make() -> Any:
        if which == 2:
            return SocksClientEngine("a.example", 1, username="a", password="b")
        return SocksServerEngine(needs_login=which == 1)

    data = opening + rest
    pieces = [data[at : at + step] for at in range(0, len(data), step)] or [b""]
    whole = converse(make(), [data])
    parts = converse(make(), pieces)
    assert parts[1] == whole[1]
    if not any("rror" in each or "Fault" in each for each in whole[0]):
        assert parts == whole
