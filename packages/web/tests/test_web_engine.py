"""The HTTP/1.1 server engine: examples of RFC 9110 and 9112, properties, hostile peers.

Every test runs with the gate alone, and with every parser behind it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

from sennit.core.engine import CLOSED, CONNECTION, NEED_DATA, PAUSED, FilePart, PeerFault
from sennit.core.testing.engines import assert_no_io, engine_suite
from sennit.web.errors import WebProtocolError, WebUsageError
from sennit.web.events import BodyEnded, BodyReceived, RequestReceived
from sennit.web.http1.engine import DateLine, HTTP1ServerEngine
from sennit.web.http1.parsers import H11ServerEngine, HTTPToolsServerEngine
from sennit.web.limits import Limits

GET = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: example.com\r\n"

Make = Callable[..., HTTP1ServerEngine]


ENGINES = [HTTP1ServerEngine, H11ServerEngine, HTTPToolsServerEngine]


@pytest.fixture(params=ENGINES, ids=["gate", "h11", "httptools"])
def make(request: pytest.FixtureRequest) -> Make:
    found: Make = request.param
    return found


def ask(engine: HTTP1ServerEngine, data: bytes) -> RequestReceived:
    engine.receive_data(data)
    event = engine.next_event()
    assert isinstance(event, RequestReceived)
    return event


def sent(engine: HTTP1ServerEngine) -> bytes:
    return b"".join(bytes(piece) for piece in engine.data_to_send() if isinstance(piece, bytes))


def answer_simply(engine: Any, event: Any) -> None:
    """Answer once all of the request has come, as a simple server does."""
    if (isinstance(event, RequestReceived) and event.length == 0) or isinstance(event, BodyEnded):
        engine.send_response(event.exchange, 200, [(b"x", b"y")], b"ok")


CONVERSATIONS = [
    GET,
    GET * 3,
    POST + b"Content-Length: 5\r\n\r\nhello" + GET,
    POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + GET,
    POST + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2,
    b"GET / HTTP/1.0\r\n\r\n",
    GET[:-2] + b"Connection: close\r\n\r\n" + GET,
    POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
]
TOKENS = [
    b"\r\n",
    b"\r",
    b"\n",
    b"\0",
    b" ",
    b":",
    b"Host: a\r\n",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"0\r\n\r\n",
    b"3\r\nabc\r\n",
    b"GET / HTTP/1.1\r\n",
]
ENDLESS = [b"A", b"\r\n", b"A: b\r\n", b" ", b"\0"]

TestHTTPToolsEngine = engine_suite(
    HTTPToolsServerEngine,
    conversations=CONVERSATIONS,
    answer=answer_simply,
    tokens=TOKENS,
    endless=ENDLESS,
    limit=32 * 1024,
)
TestH11Engine = engine_suite(
    H11ServerEngine,
    conversations=CONVERSATIONS,
    answer=answer_simply,
    tokens=TOKENS,
    endless=ENDLESS,
    limit=32 * 1024,
)
TestGateEngine = engine_suite(
    HTTP1ServerEngine,
    conversations=CONVERSATIONS,
    answer=answer_simply,
    tokens=TOKENS,
    endless=ENDLESS,
    limit=32 * 1024,
)


@pytest.mark.parametrize("room", ["http1.engine", "events", "http1.framing", "grammar"])
def test_importing_the_engine_brings_no_io(room: str) -> None:
    assert_no_io(f"sennit.web.{room}")


# ── requests ──────────────────────────────────────────────────────────────────


def test_a_request_waits_for_its_answer_then_the_next_comes_out(make: Make) -> None:
    """HARDENING h1-12: the second is not seen before the first is answered."""
    engine = make()
    first = ask(engine, GET + GET)

    assert engine.next_event() is PAUSED
    engine.send_response(first.exchange, 200, [], b"one")
    second = engine.next_event()

    assert isinstance(second, RequestReceived)
    assert second.exchange == first.exchange + 1
    assert sent(engine) == b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none"


def test_content_comes_in_pieces_then_its_end(make: Make) -> None:
    engine = make()
    head = ask(engine, POST + b"Content-Length: 5\r\n\r\nhel")

    assert engine.next_event() == BodyReceived(head.exchange, b"hel")
    assert engine.next_event() is NEED_DATA
    engine.receive_data(b"lo" + GET)
    assert engine.next_event() == BodyReceived(head.exchange, b"lo")
    assert engine.next_event() == BodyEnded(head.exchange, [])
    assert engine.next_event() is PAUSED


def test_chunks_come_without_their_framing_and_trailers_with_the_end(make: Make) -> None:
    """RFC 9112 §7.1."""
    engine = make()
    head = ask(engine, POST + b"Transfer-Encoding: chunked\r\n\r\n4;x=y\r\nWiki\r\n5\r\npedia")

    got = b""
    while isinstance(event := engine.next_event(), BodyReceived):
        got += event.data
    engine.receive_data(b"\r\n0\r\nA: b\r\n\r\n")

    assert got == b"Wikipedia"
    assert event is NEED_DATA
    assert engine.next_event() == BodyEnded(head.exchange, [(b"a", b"b")])


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Content-Length: 5, 5\r\n\r\nhello", 400),
        (POST + b"Transfer-Encoding: xchunked\r\n\r\n", 501),
        (b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (GET[:-2] + b"a: b\r\n" * 100 + b"\r\n", 431),
        (GET[:-2] + b"Upgrade: websocket\r\nContent-Length: 3\r\n\r\nabc", 400),
        (GET[:-2] + b"Expect: x\r\n\r\n", 417),
    ],
)
def test_a_broken_rule_is_answered_and_ends_the_connection(
    make: Make, data: bytes, status: int
) -> None:
    """HARDENING h1-1 to h1-14: the status named there, then nothing of what follows."""
    for pieces in ([data + GET], [data[at : at + 1] for at in range(len(data))]):
        engine = make()
        event: object = None
        for piece in pieces:
            engine.receive_data(piece)
            if (event := engine.next_event()) is not NEED_DATA:
                break
        assert isinstance(event, PeerFault)
        assert isinstance(event.error, WebProtocolError)
        assert event.exchange == CONNECTION
        assert event.error.status == status
        page = sent(engine)
        assert page.startswith(b"HTTP/1.1 %d " % status)
        assert b"connection: close\r\n" in page
        assert engine.next_event() is CLOSED
        engine.receive_data(GET)
        assert engine.next_event() is CLOSED
        assert engine.unread


@pytest.mark.parametrize("body", [b"0x5\r\nhello\r\n0\r\n\r\n", b"5\r\nhelloXX0\r\n\r\n", b"5\n"])
def test_broken_chunks_end_the_exchange_with_400(make: Make, body: bytes) -> None:
    """HARDENING h1-4, h1-5."""
    engine = make()
    head = ask(engine, POST + b"Transfer-Encoding: chunked\r\n\r\n" + body + GET)
    while not isinstance(event := engine.next_event(), PeerFault):
        assert isinstance(event, BodyReceived)

    assert event.exchange == head.exchange
    assert sent(engine).startswith(b"HTTP/1.1 400 ")
    assert engine.next_event() is CLOSED
    # The handler that had begun to answer is not told off for it.
    engine.send_response(head.exchange, 200, [], b"late")
    assert sent(engine) == b""


def test_content_over_the_limit_is_413_before_any_of_it_is_asked_for(make: Make) -> None:
    engine = make(Limits(body=10))
    engine.receive_data(POST + b"Expect: 100-continue\r\nContent-Length: 11\r\n\r\n")

    assert isinstance(engine.next_event(), PeerFault)
    assert sent(engine).startswith(b"HTTP/1.1 413 Content Too Large\r\n")


def test_a_fault_in_content_cuts_a_response_that_has_begun(make: Make) -> None:
    """No end of the body is faked: the connection is cut."""
    engine = make()
    head = ask(engine, POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n")
    engine.send_response(head.exchange, 200, [], None)
    engine.send_body(head.exchange, b"abc")

    assert isinstance(engine.next_event(), PeerFault)
    assert engine.cut
    assert not sent(engine).endswith(b"0\r\n\r\n")
    assert engine.next_event() is CLOSED


def test_the_end_of_the_stream_within_content_is_a_fault(make: Make) -> None:
    """RFC 9112 §8."""
    engine = make()
    ask(engine, POST + b"Content-Length: 5\r\n\r\nhel")
    engine.receive_eof()
    assert isinstance(engine.next_event(), BodyReceived)
    assert isinstance(engine.next_event(), PeerFault)
    assert engine.next_event() is CLOSED


def test_a_client_that_closes_its_side_is_still_answered(make: Make) -> None:
    engine = make()
    head = ask(engine, GET)
    engine.receive_eof()
    assert engine.next_event() is PAUSED
    engine.send_response(head.exchange, 200, [], b"x")
    assert sent(engine).endswith(b"x")
    assert engine.next_event() is CLOSED


# ── responses ─────────────────────────────────────────────────────────────────


def test_a_response_has_the_date_and_its_length(make: Make) -> None:
    """RFC 9110 §6.6.1, §8.6."""
    engine = make(None, DateLine(b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"))
    head = ask(engine, GET)
    engine.send_response(head.exchange, 200, [(b"content-type", b"text/plain")], b"Hello")
    assert sent(engine) == (
        b"HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        b"content-type: text/plain\r\ncontent-length: 5\r\n\r\nHello"
    )
    assert (engine.status, engine.sent) == (200, 5)


@pytest.mark.parametrize(
    ("request_octets", "last"),
    [
        (GET, b""),
        (GET[:-2] + b"Connection: close\r\n\r\n", b"connection: close\r\n"),
        (b"GET / HTTP/1.0\r\n\r\n", b"connection: close\r\n"),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", b"connection: keep-alive\r\n"),
    ],
)
def test_connection_says_what_becomes_of_it(make: Make, request_octets: bytes, last: bytes) -> None:
    """RFC 9112 §9.3."""
    engine = make()
    head = ask(engine, request_octets)
    engine.send_response(head.exchange, 200, [], b"")
    assert sent(engine) == b"HTTP/1.1 200 OK\r\n" + last + b"content-length: 0\r\n\r\n"
    assert engine.next_event() is (CLOSED if b"close" in last else NEED_DATA)


def test_the_application_may_end_the_connection(make: Make) -> None:
    engine = make()
    head = ask(engine, GET)
    engine.send_response(head.exchange, 200, [(b"Connection", b"close")], b"")
    assert sent(engine).count(b"onnection") == 1
    assert engine.next_event() is CLOSED


def test_a_head_request_gets_the_length_and_no_content(make: Make) -> None:
    """RFC 9110 §9.3.2."""
    engine = make()
    head = ask(engine, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    engine.send_response(head.exchange, 200, [], b"Hello")
    assert sent(engine) == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
    head = ask(engine, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    engine.send_response(head.exchange, 200, [], None)
    engine.send_body(head.exchange, b"ignored")
    engine.end_body(head.exchange)
    assert sent(engine) == b"HTTP/1.1 200 OK\r\n\r\n"
    ask(engine, GET)


@pytest.mark.parametrize("status", [204, 304])
def test_no_content_and_not_modified_have_none(make: Make, status: int) -> None:
    """RFC 9110 §15.3.5, §15.4.5."""
    engine = make()
    head = ask(engine, GET)
    engine.send_response(head.exchange, status, [], b"ignored")
    answer = sent(engine)
    assert answer.endswith(b"\r\n\r\n")
    assert b"content-length" not in answer
    ask(engine, GET)


def test_a_file_that_does_not_leave_is_closed(make: Make) -> None:
    engine = make()
    head = ask(engine, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    file = io.BytesIO(b"abcdef")
    engine.send_response(head.exchange, 200, [], FilePart(file, 0, 6, close_file=True))
    assert b"content-length: 6\r\n" in sent(engine)
    assert file.closed


def test_files_and_octets_leave_in_order_and_are_counted(make: Make) -> None:
    engine = make()
    head = ask(engine, GET)
    part = FilePart(io.BytesIO(b"abcdef"), 1, 3)
    engine.send_response(head.exchange, 206, [], [b"<", part, b">"])
    out = engine.data_to_send()
    assert out[1:] == [b"<", part, b">"]
    assert b"content-length: 5\r\n" in bytes(out[0])  # type: ignore[arg-type]  # octets


def test_content_of_unknown_length_is_chunked(make: Make) -> None:
    """RFC 9112 §7.1."""
    engine = make()
    head = ask(engine, GET)
    engine.send_response(head.exchange, 200, [], None)
    engine.send_body(head.exchange, b"Hello")
    engine.send_body(head.exchange, b"")
    engine.send_body(head.exchange, b"x" * 20_000)
    engine.end_body(head.exchange, [(b"digest", b"abc")])
    assert sent(engine) == (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nHello\r\n4e20\r\n"
        + b"x" * 20_000
        + b"\r\n0\r\ndigest: abc\r\n\r\n"
    )
    assert engine.next_event() is NEED_DATA


def test_to_a_client_of_1_0_its_end_is_that_of_the_connection(make: Make) -> None:
    engine = make()
    head = ask(engine, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    engine.send_response(head.exchange, 200, [], None)
    engine.send_body(head.exchange, b"Hello")
    engine.end_body(head.exchange)
    assert sent(engine) == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nHello"
    assert engine.next_event() is CLOSED


def test_an_announced_length_is_kept_to(make: Make) -> None:
    engine = make()
    head = ask(engine, GET)
    engine.send_response(head.exchange, 200, [(b"Content-Length", b"5")], None)
    engine.send_body(head.exchange, b"Hel")
    with pytest.raises(WebUsageError, match="more than Content-Length"):
        engine.send_body(head.exchange, b"lo!")
    with pytest.raises(WebUsageError, match="less than Content-Length"):
        engine.end_body(head.exchange)
    assert engine.cut
    assert engine.next_event() is CLOSED


@pytest.mark.parametrize(
    ("status", "headers", "reason"),
    [
        (200, [(b"x", b"a\r\nX: y")], None),
        (200, [(b"x", b"a\rb")], None),
        (200, [(b"x", b"a\nb")], None),
        (200, [(b"x", b"a\0b")], None),
        (200, [(b"x\r\n", b"a")], None),
        (200, [(b"x y", b"a")], None),
        (200, [(b"", b"a")], None),
        (200, [(b"x:", b"a")], None),
        (200, [], b"OK\rX"),
        (200, [], b"OK\nX"),
        (200, [], b"OK\0"),
        (200, [(b"transfer-encoding", b"chunked")], None),
        (200, [(b"content-length", b"7")], None),
        (200, [(b"content-length", b"x")], None),
        (200, [(b"content-length", b"1"), (b"content-length", b"1")], None),
        (99, [], None),
        (1000, [], None),
        (100, [], None),
        (101, [], None),
    ],
)
def test_what_would_split_or_garble_a_response_is_refused_before_the_first_octet(
    make: Make, status: int, headers: list[tuple[bytes, bytes]], reason: bytes | None
) -> None:
    """HARDENING h1-15."""
    engine = make()
    head = ask(engine, GET)
    with pytest.raises(ValueError, match=r"."):
        engine.send_response(head.exchange, status, headers, b"x", reason=reason)
    assert engine.data_to_send() == []
    engine.send_response(head.exchange, 200, [], b"x")
    assert sent(engine).endswith(b"x")


def test_a_second_answer_is_refused(make: Make) -> None:
    engine = make()
    head = ask(engine, GET)
    engine.send_response(head.exchange, 200, [], b"x")
    with pytest.raises(WebUsageError):
        engine.send_response(head.exchange, 200, [], b"x")
    with pytest.raises(WebUsageError):
        engine.send_body(head.exchange, b"x")


def test_a_failed_handler_is_500_or_a_cut(make: Make) -> None:
    engine = make()
    head = ask(engine, GET)
    engine.internal_error(head.exchange)
    assert sent(engine).startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    head = ask(engine, GET)
    engine.send_response(head.exchange, 200, [], None)
    engine.send_body(head.exchange, b"x")
    engine.internal_error(head.exchange)
    assert engine.cut
    assert engine.next_event() is CLOSED


# ── expectations, unread content, the end ─────────────────────────────────────


def test_100_is_sent_once_and_only_to_who_waits(make: Make) -> None:
    """RFC 9110 §10.1.1."""
    engine = make()
    head = ask(engine, POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    engine.send_informational(head.exchange, 100)
    engine.send_informational(head.exchange, 100)
    assert sent(engine) == b"HTTP/1.1 100 Continue\r\n\r\n"
    engine.receive_data(b"hi")
    assert isinstance(engine.next_event(), BodyReceived)
    assert isinstance(engine.next_event(), BodyEnded)
    engine.send_response(head.exchange, 200, [], b"")
    assert b"close" not in sent(engine)
    head = ask(engine, POST + b"Content-Length: 2\r\n\r\n")
    engine.send_informational(head.exchange, 100)
    assert sent(engine) == b""


def test_100_is_of_no_use_once_the_answer_has_begun(make: Make) -> None:
    """An echo begins its answer, then reads (RFC 9110 §10.1.1)."""
    engine = make()
    head = ask(engine, POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    engine.send_response(head.exchange, 200, [], None)
    engine.send_informational(head.exchange, 100)
    assert b"100 Continue" not in sent(engine)
    with pytest.raises(WebUsageError):
        engine.send_informational(head.exchange, 103)


def test_early_hints_come_before_the_answer(make: Make) -> None:
    """RFC 8297."""
    engine = make()
    head = ask(engine, GET)
    engine.send_informational(head.exchange, 103, [(b"link", b"</a.css>; rel=preload")])
    engine.send_response(head.exchange, 200, [], b"")
    assert sent(engine).startswith(
        b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n"
    )


def test_a_final_answer_in_place_of_100_ends_the_connection(make: Make) -> None:
    engine = make()
    head = ask(engine, POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    engine.send_response(head.exchange, 403, [], b"")
    assert b"connection: close\r\n" in sent(engine)
    assert engine.next_event() is CLOSED


def test_a_little_unread_content_is_thrown_away(make: Make) -> None:
    engine = make()
    head = ask(engine, POST + b"Content-Length: 5\r\n\r\n")
    engine.send_response(head.exchange, 404, [], b"")
    assert b"close" not in sent(engine)
    assert engine.next_event() is NEED_DATA
    engine.receive_data(b"hello" + GET)
    assert isinstance(engine.next_event(), RequestReceived)


def test_much_unread_content_ends_the_connection(make: Make) -> None:
    engine = make(Limits(swallow=10))
    head = ask(engine, POST + b"Content-Length: 11\r\n\r\n")
    engine.send_response(head.exchange, 404, [], b"")
    assert b"connection: close\r\n" in sent(engine)
    assert engine.next_event() is CLOSED
    assert engine.unread
    engine = make(Limits(swallow=10))
    head = ask(engine, POST + b"Transfer-Encoding: chunked\r\n\r\n")
    engine.send_response(head.exchange, 404, [], b"")
    engine.receive_data(b"b\r\nhello world\r\n")
    assert engine.next_event() is CLOSED
    assert engine.unread


def test_draining_finishes_what_is_under_way(make: Make) -> None:
    """HARDENING fault-4: the answer carries Connection: close."""
    engine = make()
    head = ask(engine, GET)
    engine.close()
    assert engine.next_event() is PAUSED
    engine.send_response(head.exchange, 200, [], b"x")
    assert b"connection: close\r\n" in sent(engine)
    assert engine.next_event() is CLOSED


def test_draining_an_idle_connection_ends_it_at_once(make: Make) -> None:
    engine = make()
    engine.close()
    assert engine.next_event() is CLOSED


def test_draining_waits_for_a_head_that_has_begun(make: Make) -> None:
    engine = make()
    engine.receive_data(GET[:10])
    assert engine.next_event() is NEED_DATA
    engine.close()
    assert engine.next_event() is NEED_DATA
    head = ask(engine, GET[10:])
    engine.send_response(head.exchange, 200, [], b"x")
    assert engine.next_event() is CLOSED


def test_switching_hands_over_what_was_not_read(make: Make) -> None:
    """RFC 9110 §7.8."""
    engine = make()
    fields = b"Connection: upgrade\r\nUpgrade: chat\r\n\r\n"
    head = ask(engine, GET[:-2] + fields + b"first words")
    assert head.upgrade == b"chat"
    engine.send_response(head.exchange, 101, [(b"connection", b"upgrade"), (b"upgrade", b"chat")])
    assert engine.next_event() is PAUSED
    assert sent(engine).startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert engine.release() == b"first words"
    assert engine.next_event() is CLOSED
