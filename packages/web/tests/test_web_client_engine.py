"""The client's engine: what it asks, and what it makes of every kind of answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sennit.core.engine import CLOSED, NEED_DATA, PAUSED, FilePart, NoEvent, PeerFault
from sennit.core.testing.engines import assert_no_io, converse, engine_suite
from sennit.web.client.limits import ResponseLimits
from sennit.web.errors import CutShortError, WebProtocolError, WebUsageError
from sennit.web.events import CHUNKED, BodyEnded, BodyReceived
from sennit.web.http1.client_engine import STREAMED, HTTP1ClientEngine
from sennit.web.http1.response_parsers import H11ResponseParser
from sennit.web.http1.responses import UNTIL_CLOSE, InformationalReceived, ResponseHead

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Sequence

    Make = Callable[..., HTTP1ClientEngine]


def gate_only(limits: ResponseLimits | None = None) -> HTTP1ClientEngine:
    return HTTP1ClientEngine(limits or ResponseLimits())


def with_h11(limits: ResponseLimits | None = None) -> HTTP1ClientEngine:
    limits = limits or ResponseLimits()
    return HTTP1ClientEngine(limits, H11ResponseParser(limits))


@pytest.fixture(params=[with_h11, gate_only], ids=["h11", "gate"])
def make(request: pytest.FixtureRequest) -> Make:
    found: Make = request.param
    return found


def asked(make: Make, method: bytes = b"GET", **more: Any) -> HTTP1ClientEngine:
    """An engine whose request has left."""
    engine = make(more.pop("limits", None))
    engine.send_request(method, b"/", b"example.com", **more)
    engine.data_to_send()
    return engine


def get() -> HTTP1ClientEngine:
    return asked(gate_only)


def get_by_h11() -> HTTP1ClientEngine:
    return asked(with_h11)


def head() -> HTTP1ClientEngine:
    return asked(gate_only, b"HEAD")


def sent(engine: HTTP1ClientEngine) -> bytes:
    return b"".join(bytes(each) for each in engine.data_to_send() if not isinstance(each, FilePart))


def events(engine: HTTP1ClientEngine, *pieces: bytes, eof: bool = False) -> list[Any]:
    """All that comes out; the octets of content joined."""
    found: list[Any] = []
    for piece in [*filter(None, pieces), *([None] if eof else [])]:
        if piece is None:
            engine.receive_eof()
        else:
            engine.receive_data(piece)
        while not isinstance(event := engine.next_event(), NoEvent):
            if found and isinstance(event, BodyReceived) and isinstance(found[-1], bytes):
                found[-1] += event.data
            else:
                found.append(event.data if isinstance(event, BodyReceived) else event)
    return found


def said(engine: HTTP1ClientEngine, data: bytes, *, eof: bool = False) -> list[object]:
    """The same in short: status, content, trailers; a fault's rule."""
    short: list[object] = []
    for event in events(engine, data, eof=eof):
        if isinstance(event, ResponseHead):
            short.append(event.status)
        elif isinstance(event, BodyEnded):
            short.append(event.trailers)
        elif isinstance(event, PeerFault):
            short.append(event.error.rule)
        elif isinstance(event, InformationalReceived):
            short.append((event.status, event.headers))
        else:
            short.append(event)
    return short


CONVERSATIONS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n",
    (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        b"HTTP/1.1 204 No Content\r\n\r\n"
    ),
    b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\nuntil the end",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nmore than was asked for",
]
TOKENS = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n",
    b"HTTP/1.0 ",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"\r\n",
    b"\r",
    b"\n",
    b": ",
    b"0\r\n",
    b"3\r\nabc\r\n",
]
ENDLESS = [b"A", b"\r\n", b"A: b\r\n", b" ", b"\0", b"HTTP/1.1 100 Continue\r\n\r\n"]

TestGateOnly = engine_suite(
    get, conversations=CONVERSATIONS, tokens=TOKENS, endless=ENDLESS, limit=80 * 1024
)
TestH11 = engine_suite(
    get_by_h11, conversations=CONVERSATIONS, tokens=TOKENS, endless=ENDLESS, limit=80 * 1024
)
TestHead = engine_suite(
    head, conversations=CONVERSATIONS, tokens=TOKENS, endless=ENDLESS, limit=80 * 1024
)


@pytest.mark.parametrize("room", ["client_engine", "response_framing", "responses"])
def test_importing_the_engine_brings_no_io(room: str) -> None:
    assert_no_io(f"sennit.web.http1.{room}")


# ── requests ──────────────────────────────────────────────────────────────────


def test_a_request_is_written_with_host_first_and_its_content_behind_it() -> None:
    engine = gate_only()
    engine.send_request(b"POST", b"/a?b=c", b"example.com:8080", [(b"x-y", b"z")], b"hello")

    assert sent(engine) == (
        b"POST /a?b=c HTTP/1.1\r\nhost: example.com:8080\r\nx-y: z\r\n"
        b"content-length: 5\r\n\r\nhello"
    )


def test_a_host_among_the_fields_takes_the_place_of_the_other() -> None:
    engine = gate_only()
    engine.send_request(b"GET", b"/", b"example.com", [(b"HOST", b"other")])

    assert sent(engine) == b"GET / HTTP/1.1\r\nHOST: other\r\n\r\n"


@pytest.mark.parametrize(
    ("method", "line"), [(b"GET", b""), (b"DELETE", b""), (b"POST", b"content-length: 0\r\n")]
)
def test_only_methods_that_mean_content_say_that_there_is_none(method: bytes, line: bytes) -> None:
    """RFC 9110 §8.6."""
    engine = gate_only()
    engine.send_request(method, b"/", b"a")

    assert sent(engine) == method + b" / HTTP/1.1\r\nhost: a\r\n" + line + b"\r\n"


def test_content_of_unknown_length_leaves_in_chunks_with_trailers() -> None:
    engine = gate_only()
    exchange = engine.send_request(b"PUT", b"/", b"a", length=STREAMED)
    engine.send_body(exchange, b"hello")
    engine.send_body(exchange, b"")
    engine.send_body(exchange, memoryview(b"world"))
    engine.end_body(exchange, [(b"x-sum", b"1")])

    assert sent(engine) == (
        b"PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n5\r\nworld\r\n0\r\nx-sum: 1\r\n\r\n"
    )


def test_content_of_known_length_is_counted() -> None:
    engine = gate_only()
    exchange = engine.send_request(b"PUT", b"/", b"a", length=5)
    engine.send_body(exchange, b"hel")
    with pytest.raises(WebUsageError, match="1 octets more"):
        engine.send_body(exchange, b"lo!")
    with pytest.raises(WebUsageError, match="2 octets less"):
        engine.end_body(exchange)
    engine.send_body(exchange, b"lo")
    engine.end_body(exchange)

    assert sent(engine).endswith(b"content-length: 5\r\n\r\nhello")


def test_a_length_among_the_fields_must_be_the_contents() -> None:
    engine = gate_only()
    with pytest.raises(WebUsageError, match="says 4"):
        engine.send_request(b"PUT", b"/", b"a", [(b"content-length", b"4")], b"hello")
    engine.send_request(b"PUT", b"/", b"a", [(b"content-length", b"4")], length=STREAMED)

    assert sent(engine) == b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n"


def test_large_content_and_files_are_not_copied() -> None:
    engine = gate_only()
    large = bytes(100_000)
    engine.send_request(b"PUT", b"/", b"a", body=large)
    assert engine.data_to_send()[1] is large

    file: io.BytesIO = __import__("io").BytesIO(b"abcdef")
    engine = gate_only()
    part = FilePart(file, 1, 4)
    engine.send_request(b"PUT", b"/", b"a", body=part)
    start, piece = engine.data_to_send()
    assert isinstance(start, bytes)
    assert start.endswith(b"content-length: 4\r\n\r\n")
    assert piece is part


BAD = [b"\r", b"\n", b"\0", b"\r\nX: y"]


@pytest.mark.parametrize("bad", [*BAD, b" "])
def test_controls_and_spaces_in_what_callers_give_are_refused_before_an_octet_leaves(
    bad: bytes,
) -> None:
    """HARDENING h1-25."""
    engine = gate_only()
    for method, target, host, field in (
        (b"GE" + bad + b"T", b"/", b"a", (b"x", b"y")),
        (b"GET", b"/" + bad, b"a", (b"x", b"y")),
        (b"GET", b"/", b"a" + bad, (b"x", b"y")),
        (b"GET", b"/", b"a", (b"x" + bad, b"y")),
        (b"GET", b"/", b"a", (b"host", b"y" + bad)),
    ):
        with pytest.raises(ValueError, match=r"cannot be|control octet"):
            engine.send_request(method, target, host, [field])
    if bad != b" ":
        with pytest.raises(ValueError, match="control octet"):
            engine.send_request(b"GET", b"/", b"a", [(b"x", b"y" + bad)])

    assert engine.data_to_send() == []
    assert engine.ready


@pytest.mark.parametrize(
    "field",
    [
        (b"transfer-encoding", b"chunked"),
        (b"expect", b"100-continue"),
        (b"content-length", b"+1"),
        (b"", b"x"),
    ],
)
def test_what_frames_the_message_is_the_engines_own_affair(field: tuple[bytes, bytes]) -> None:
    engine = gate_only()
    with pytest.raises(ValueError, match=r"own affair|cannot be"):
        engine.send_request(b"GET", b"/", b"a", [field])
    with pytest.raises(ValueError, match=r"twice|cannot be|own affair"):
        engine.send_request(b"GET", b"/", b"a", [(b"host", b"a"), (b"host", b"b"), field])
    assert engine.data_to_send() == []


def test_a_second_request_waits_for_the_end_of_the_first_answer(make: Make) -> None:
    engine = asked(make)
    with pytest.raises(WebUsageError):
        engine.send_request(b"GET", b"/", b"a")
    assert said(engine, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na") == [200, b"a"]
    assert not engine.ready
    assert said(engine, b"b") == [b"b", []]
    assert engine.ready
    assert engine.send_request(b"GET", b"/", b"a") == 2


# ── answers ───────────────────────────────────────────────────────────────────


def test_an_answer_comes_out_with_all_that_was_learnt(make: Make) -> None:
    engine = asked(make)
    found = events(engine, b"HTTP/1.1 200 Very good\r\nX-Y:  z \t\r\nContent-Length: 2\r\n\r\nab")

    response, content, end = found
    assert (response.status, response.reason, response.version) == (200, b"Very good", b"1.1")
    assert response.headers == [(b"x-y", b"z"), (b"content-length", b"2")]
    assert (response.length, response.announced, response.keep_alive) == (2, 2, True)
    assert content == b"ab"
    assert end == BodyEnded(1, [])


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("status", [b"200 OK", b"204 No", b"304 No", b"404 No"])
def test_head_and_some_statuses_have_no_content_whatever_they_announce(
    make: Make, method: bytes, status: bytes
) -> None:
    """RFC 9112 §6.3, rule 1."""
    engine = asked(make, method)
    response = events(engine, b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n")[0]

    none = method == b"HEAD" or status[0] == 51 or status[:3] == b"204"
    assert response.announced == 5
    assert response.length == (0 if none else 5)
    assert engine.ready == none


def test_content_in_chunks_ends_with_trailers_and_the_connection_goes_on(make: Make) -> None:
    engine = asked(make)
    data = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
        b'5;x="y"\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 7\r\n\r\n'
    )

    assert said(engine, data) == [200, b"hello!", [(b"x-sum", b"7")]]
    assert engine.ready


def test_content_without_a_length_ends_with_the_connection(make: Make) -> None:
    engine = asked(make)
    found = events(engine, b"HTTP/1.1 200 OK\r\n\r\nsome", b" more", eof=True)

    assert found[0].length == UNTIL_CLOSE
    assert found[1:] == [b"some more", BodyEnded(1, [])]
    assert engine.next_event() is CLOSED


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n", True),
        (b"HTTP/1.2 200 OK\r\n", True),
    ],
)
def test_the_server_says_whether_the_connection_goes_on(head: bytes, kept: bool) -> None:
    """RFC 9112 §9.3."""
    engine = asked(gate_only)
    said(engine, head + b"Content-Length: 0\r\n\r\n")

    assert engine.ready == kept
    assert engine.next_event() is (NEED_DATA if kept else CLOSED)


def test_a_request_that_says_close_is_the_last() -> None:
    engine = asked(gate_only, headers=[(b"connection", b"close")])
    said(engine, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    assert engine.next_event() is CLOSED


def test_interim_answers_come_before_the_final_one(make: Make) -> None:
    engine = asked(make)
    data = (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    )

    assert said(engine, data) == [(103, [(b"link", b"</a>")]), 200, []]


def test_a_status_line_may_end_behind_the_status(make: Make) -> None:
    assert said(asked(make), b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n") == [200, []]


def test_an_upgrade_gives_up_the_octets_behind_its_head(make: Make) -> None:
    engine = asked(
        make, headers=[(b"connection", b"upgrade"), (b"upgrade", b"websocket")], upgrade=True
    )
    data = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00"
    (response,) = events(engine, data)

    assert response.takes_over
    assert engine.next_event() is PAUSED
    assert engine.release() == b"\x81\x00"
    assert engine.next_event() is CLOSED


def test_a_tunnel_has_no_content_whatever_the_answer_announces(make: Make) -> None:
    """RFC 9110 §9.3.6."""
    engine = make(None)
    engine.send_request(b"CONNECT", b"example.com:443", b"example.com:443")
    (response,) = events(engine, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")

    assert response.takes_over
    assert engine.release() == b"abc"


def test_a_tunnel_that_is_refused_is_an_answer_as_any_other(make: Make) -> None:
    engine = make(None)
    engine.send_request(b"CONNECT", b"example.com:443", b"example.com:443")

    assert said(engine, b"HTTP/1.1 403 No\r\nContent-Length: 1\r\n\r\na") == [403, b"a", []]


# ── content of requests that meets its answer half-way ────────────────────────


def test_a_refusal_stops_the_content_and_ends_the_connection_with_it() -> None:
    """RFC 9112 §9.6: what is left unsent makes the connection useless."""
    engine = asked(gate_only, b"PUT", length=1000)
    engine.send_body(1, b"some")
    assert said(engine, b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n") == [413, []]

    assert not engine.sending
    engine.data_to_send()
    engine.send_body(1, b"more")
    assert engine.data_to_send() == []
    assert engine.next_event() is CLOSED


def test_an_answer_that_comes_early_lets_the_content_go_on() -> None:
    engine = asked(gate_only, b"PUT", length=STREAMED)
    assert said(engine, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na") == [200, b"a", []]
    assert not engine.ready
    engine.send_body(1, b"more")
    engine.end_body(1)

    assert sent(engine) == b"4\r\nmore\r\n0\r\n\r\n"
    assert engine.ready


def test_content_that_is_given_up_ends_the_connection_after_the_answer() -> None:
    engine = asked(gate_only, b"PUT", length=STREAMED)
    engine.stop_body()

    assert said(engine, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") == [200, []]
    assert engine.next_event() is CLOSED


def test_content_that_waits_for_100_says_so() -> None:
    engine = gate_only()
    engine.send_request(b"PUT", b"/", b"a", length=3, expect_continue=True)

    assert sent(engine) == (
        b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n"
    )


# ── hostile and broken servers ────────────────────────────────────────────────

OK = b"HTTP/1.1 200 OK\r\n"
HOSTILE = [
    b"HTTP/0.9 200 OK\r\n\r\n",
    b"HTTP/2.0 200 OK\r\n\r\n",
    b"http/1.1 200 OK\r\n\r\n",
    b"ICY 200 OK\r\n\r\n",
    b"SSH-2.0-x\r\n\r\n",
    b"HTTP/1.1 20 OK\r\n\r\n",
    b"HTTP/1.1 2000 OK\r\n\r\n",
    b"HTTP/1.1 099 OK\r\n\r\n",
    b"HTTP/1.1  200 OK\r\n\r\n",
    b"HTTP/1.1 200 O\0K\r\n\r\n",
    b"HTTP/1.1 200 OK\n\n",
    b"\r\nHTTP/1.1 200 OK\r\n\r\n",
    OK + b"A: b\nC: d\r\n\r\n",
    OK + b"A: b\r\n c\r\n\r\n",
    OK + b"A : b\r\n\r\n",
    OK + b": b\r\n\r\n",
    OK + b"A: b\rc\r\n\r\n",
    OK + b"A: \0\r\n\r\n",
    OK + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    OK + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
    OK + b"Content-Length: 4, 4\r\n\r\nabcd",
    OK + b"Content-Length: +4\r\n\r\nabcd",
    OK + b"Content-Length: -4\r\n\r\nabcd",
    OK + b"Content-Length: 0x4\r\n\r\nabcd",
    OK + b"Content-Length: \r\n\r\nabcd",
    OK + b"Content-Length: 4444444444444444444444444\r\n\r\nabcd",
    OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: identity\r\n\r\nab",
    OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n5;" + b"a" * 300 + b"\r\nhello\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 17 + OK + b"\r\n",
    b"HTTP/1.1 200 " + b"A" * 1024 * 1024 + b"\r\n\r\n",
    b"HTTP/1.1 200 " + b"A" * 8185 + b"\r\n\r\n",
    OK + b"A: " + b"b" * 1024 * 1024 + b"\r\n\r\n",
    OK + b"A: b\r\n" * 101 + b"\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 101 + b"\r\n",
]


@pytest.mark.parametrize("data", HOSTILE, ids=[repr(each[:60]) for each in HOSTILE])
def test_a_server_that_breaks_the_rules_is_heard_no_more(make: Make, data: bytes) -> None:
    """HARDENING h1-24, and h1-1 to h1-6 from the other side; the same wherever it is cut."""
    engine = asked(make)
    whole = converse(engine, [data])
    fault = said(asked(make), data)[-1]

    assert isinstance(fault, str), fault
    assert fault
    assert engine.next_event() is CLOSED
    assert not engine.ready
    if len(data) < 400:
        for cut in range(1, len(data)):
            assert converse(asked(make), [data[:cut], data[cut:]]) == whole, cut
    by_pieces = [data[at : at + 4096] for at in range(0, len(data), 4096)]
    assert converse(asked(make), by_pieces).events == whole.events


def test_a_head_of_its_full_size_passes(make: Make) -> None:
    fields = b"".join(b"X-%d: %b\r\n" % (at, b"a" * 630) for at in range(99))
    data = OK + fields + b"Content-Length: 0\r\n\r\n"

    assert 60_000 < len(data) < 65_536
    assert said(asked(make), data) == [200, []]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200",
        OK + b"A: b\r\n",
        OK + b"Content-Length: 5\r\n\r\nhell",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
def test_an_answer_that_is_cut_short_is_an_error(make: Make, data: bytes) -> None:
    """RFC 9112 §8: never taken for the whole."""
    engine = asked(make)
    assert str(said(engine, data, eof=True)[-1]).startswith("RFC 9112 §")
    assert engine.answered == bool(data)
    assert engine.next_event() is CLOSED


def test_octets_that_nobody_asked_for_end_the_connection(make: Make) -> None:
    """HARDENING h1-24: an idle connection that speaks is never used again."""
    engine = asked(make)
    whole = OK + b"Content-Length: 0\r\n\r\n"
    assert said(engine, whole + whole)[-1] == "RFC 9112 §9.2"
    assert not engine.ready

    engine = asked(make)
    said(engine, whole)
    assert engine.ready
    fault = events(engine, b"\r\n")[-1]
    assert isinstance(fault, PeerFault)
    assert isinstance(fault.error, WebProtocolError)
    assert not engine.ready
    assert engine.next_event() is CLOSED


def test_content_has_a_limit_where_one_is_set(make: Make) -> None:
    limits = ResponseLimits(body=4)
    for data in (
        OK + b"Content-Length: 5\r\n\r\nhello",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        OK + b"\r\nhello",
    ):
        assert said(asked(make, limits=limits), data, eof=True)[-1] == "RFC 9110 §15.5.14"


def test_giving_up_ends_the_connection() -> None:
    engine = asked(gate_only)
    said(engine, OK + b"Content-Length: 5\r\n\r\nhe")
    assert engine.awaited == 3
    assert engine.cancel(1)
    assert not engine.cancel(1)
    assert engine.next_event() is CLOSED


def test_a_closing_engine_finishes_what_is_open() -> None:
    engine = asked(gate_only)
    engine.close()
    assert said(engine, OK + b"Content-Length: 2\r\n\r\nhi") == [200, b"hi", []]
    assert engine.next_event() is CLOSED
    with pytest.raises(WebUsageError):
        engine.send_request(b"GET", b"/", b"a")


@pytest.mark.parametrize(
    ("octets", "what"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Le", "head"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n1234", "content"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n1234\r\n", "content"),
    ],
)
def test_an_answer_that_is_cut_short_is_an_error_of_its_own(
    make: Make, octets: bytes, what: str
) -> None:
    """RFC 9112 §8: it is no answer, but it may be worth another try."""
    engine = asked(make)
    engine.receive_data(octets)
    while engine.next_event() is not NEED_DATA:
        pass
    engine.receive_eof()
    fault = engine.next_event()
    assert isinstance(fault, PeerFault)
    assert isinstance(fault.error, CutShortError)
    assert f"the {what} was cut short" in str(fault.error)


# ── properties ────────────────────────────────────────────────────────────────

NAMES = st.from_regex(rb"\A[a-z][a-z0-9-]{0,15}\Z").filter(
    lambda name: (
        name not in (b"content-length", b"transfer-encoding", b"connection", b"trailer", b"host")
    )
)
VALUES = st.from_regex(rb"\A(?:[!-~](?:[ -~]{0,20}[!-~])?)?\Z")
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=6)


@settings(max_examples=60, deadline=None)
@given(
    status=st.integers(200, 599).filter(lambda status: status not in (204, 304)),
    fields=FIELDS,
    content=st.lists(st.binary(min_size=1, max_size=50), max_size=4),
    chunked=st.booleans(),
    places=st.lists(st.integers(1, 400), max_size=6),
)
def test_what_a_server_writes_is_what_comes_out(
    status: int,
    fields: Sequence[tuple[bytes, bytes]],
    content: list[bytes],
    chunked: bool,
    places: list[int],
) -> None:
    lines = b"".join(b"%b: %b\r\n" % field for field in fields)
    if chunked:
        lines += b"transfer-encoding: chunked\r\n"
        body = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in content) + b"0\r\n\r\n"
    else:
        body = b"".join(content)
        lines += b"content-length: %d\r\n" % len(body)
    data = b"HTTP/1.1 %d x\r\n%b\r\n%b" % (status, lines, body)
    cuts = sorted({place for place in places if place < len(data)})
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    for make in (get, get_by_h11):
        found = events(make(), *pieces)
        assert found[0].status == status
        assert found[0].headers[:-1] == list(fields)
        assert found[0].length == (CHUNKED if chunked else sum(map(len, content)))
        assert b"".join(each for each in found if isinstance(each, bytes)) == b"".join(content)
        assert found[-1] == BodyEnded(1, [])
