from __future__ import annotations

import io
from typing import Any

import pytest
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from packages.web.tests.http2_frames import Fields, Server, frame
from sennit.core.engine import CLOSED, CONNECTION, NEED_DATA, FilePart, NoEvent, PeerFault
from sennit.core.testing.engines import assert_no_io, converse, cut, engine_suite
from sennit.web.client.limits import ResponseLimits
from sennit.web.errors import WebUsageError
from sennit.web.events import CHUNKED, BodyEnded, BodyReceived, StreamReset
from sennit.web.http1.responses import InformationalReceived, ResponseHead
from sennit.web.http2 import framing
from sennit.web.http2.client_engine import STREAMED, HTTP2ClientEngine
from sennit.web.http2.responses import RequestRefused

OK: Fields = [(b":status", b"200")]


def connected(
    limits: ResponseLimits | None = None, settings: bytes = b""
) -> tuple[HTTP2ClientEngine, Server]:
    engine = HTTP2ClientEngine(limits)
    engine.handle_timeout(1000.0)
    server = Server(engine)
    server.begin(settings)
    server.frames.clear()
    return engine, server


def asked(limits: ResponseLimits | None = None) -> tuple[HTTP2ClientEngine, Server]:
    engine, server = connected(limits)
    assert engine.send_request(b"GET", b"/", b"example.org") == 1
    server.hear()
    return engine, server


def _with_requests() -> HTTP2ClientEngine:
    engine = HTTP2ClientEngine()
    for _ in range(3):
        engine.send_request(b"GET", b"/", b"example.org")
    engine.data_to_send()
    return engine


def _conversations() -> list[bytes]:
    one = Encoder()
    begin = frame(framing.SETTINGS, 0, 0)
    return [
        b"".join(
            [
                begin,
                frame(framing.HEADERS, 4, 1, bytes(one.encode([(b":status", b"103")]))),
                frame(framing.HEADERS, 4, 1, bytes(one.encode(OK))),
                frame(framing.HEADERS, 5, 3, bytes(one.encode([(b":status", b"404")]))),
                frame(framing.DATA, 0, 1, b"hello"),
                frame(framing.RST_STREAM, 0, 5, b"\0\0\0\x07"),
                frame(framing.HEADERS, 5, 1, bytes(one.encode([(b"x-sum", b"1")]))),
            ]
        ),
        begin + frame(framing.GOAWAY, 0, 0, b"\0\0\0\x01\0\0\0\0"),
    ]


TestHTTP2ClientEngine = engine_suite(
    _with_requests,
    conversations=_conversations(),
    tokens=[
        frame(framing.SETTINGS, 0, 0),
        frame(framing.SETTINGS, 1, 0),
        frame(framing.HEADERS, 4, 1, b"\x88"),
        frame(framing.DATA, 1, 3, b"abcd"),
        frame(framing.RST_STREAM, 0, 1, bytes(4)),
        frame(framing.PUSH_PROMISE, 4, 1, b"\0\0\0\x02"),
        frame(framing.PING, 0, 0, bytes(8)),
    ],
    endless=[b"\0", frame(framing.PING, 0, 0, bytes(8))],
    limit=64 * 1024,
    in_order=False,
)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    frames=st.lists(
        st.builds(
            frame, st.integers(0, 17), st.integers(0, 255), st.integers(0, 6), st.binary(max_size=9)
        ),
        max_size=12,
    ),
    places=st.lists(st.integers(0, 300), max_size=8),
)
def test_no_frames_raise_and_their_cut_changes_nothing(
    frames: list[bytes], places: list[int]
) -> None:
    data = frame(framing.SETTINGS, 0, 0) + b"".join(frames)

    at_once = converse(_with_requests(), [data], None, eof=True)

    assert converse(_with_requests(), cut(data, places), None, eof=True) == at_once


def test_importing_it_brings_no_io() -> None:
    assert_no_io("sennit.web.http2.client_engine")


# ── requests ──────────────────────────────────────────────────────────────────


def test_a_request_has_the_pseudo_header_fields_of_the_rfc() -> None:
    engine, server = connected()

    engine.send_request(b"GET", b"/a?b", b"example.org", [(b"Accept", b"*/*"), (b"Host", b"x.org")])

    server.hear()
    assert server.fields(1) == [
        [
            (b":method", b"GET"),
            (b":authority", b"x.org"),
            (b":scheme", b"https"),
            (b":path", b"/a?b"),
            (b"accept", b"*/*"),
        ]
    ]


def test_secrets_are_never_put_into_the_table() -> None:
    """RFC 7541 §7.1.3."""
    engine, server = connected()

    for _ in range(2):
        engine.send_request(b"GET", b"/", b"example.org", [(b"authorization", b"Basic c2VjcmV0")])
    first, second = server.hear()

    assert first[0] == second[0] == framing.HEADERS
    assert len(second[3]) > len(b"Basic c2VjcmV0") * 5 // 8


def test_content_waits_for_windows_and_ends_with_trailers() -> None:
    engine, server = connected()
    number = engine.send_request(b"POST", b"/", b"example.org", length=STREAMED)

    engine.send_body(number, bytes(140_000))
    assert sum(len(p) for kind, *_, p in server.hear() if kind == framing.DATA) == 65_535
    assert not engine.may_send(number)
    for stream in (0, 1):
        server.say(frame(framing.WINDOW_UPDATE, 0, stream, (100_000).to_bytes(4, "big")))
    assert engine.roomy == [1]
    engine.end_body(number, [(b"x-sum", b"1")])
    server.hear()

    assert sum(len(p) for kind, *_, p in server.frames if kind == framing.DATA) == 140_000
    assert server.frames[-1][0] == framing.HEADERS
    assert server.frames[-1][1] & framing.END_STREAM


def test_whole_content_says_its_length_and_a_file_stays_a_file() -> None:
    engine, server = connected()

    engine.send_request(b"POST", b"/", b"example.org", [], b"abc")
    engine.send_request(b"PUT", b"/", b"example.org", [], FilePart(io.BytesIO(b"xyz"), 0, 3))
    engine.send_request(b"POST", b"/", b"example.org")
    server.hear()

    lengths = [dict(section)[b"content-length"] for n in (1, 3, 5) for section in server.fields(n)]
    assert lengths == [b"3", b"3", b"0"]
    assert [p for kind, *_, p in server.frames if kind == framing.DATA] == [b"abc", b"xyz"]


@pytest.mark.parametrize(
    ("method", "target", "host", "fields"),
    [
        (b"G T", b"/", b"x", []),
        (b"GET\r\n", b"/", b"x", []),
        (b"GET", b"/ a", b"x", []),
        (b"GET", b"/\r\n", b"x", []),
        (b"GET", b"", b"x", []),
        (b"GET", b"/", b"x\r\ny", []),
        (b"GET", b"/", b"", []),
        (b"GET", b"/", b"x", [(b"a", b"1\r\nb: 2")]),
        (b"GET", b"/", b"x", [(b"a b", b"1")]),
        (b"GET", b"/", b"x", [(b"a", b"\0")]),
        (b"GET", b"/", b"x", [(b"content-length", b"+1")]),
    ],
)
def test_what_cannot_be_said_is_refused_before_anything_is_sent(
    method: bytes, target: bytes, host: bytes, fields: Fields
) -> None:
    """HARDENING h1-25, on HTTP/2."""
    engine, server = connected()

    with pytest.raises(ValueError):
        engine.send_request(method, target, host, fields)

    assert server.hear() == []
    assert engine.send_request(b"GET", b"/", b"x") == 1


def test_the_server_says_how_many_requests_it_takes() -> None:
    engine, server = connected(settings=b"\0\x03\0\0\0\x02")
    assert engine.room == 2

    engine.send_request(b"GET", b"/", b"x")
    engine.send_request(b"GET", b"/", b"x")

    assert engine.room == 0
    with pytest.raises(WebUsageError):
        engine.send_request(b"GET", b"/", b"x")
    server.hear()
    server.say(server.headers(1, OK))
    assert engine.room == 1


# ── answers ───────────────────────────────────────────────────────────────────


def test_an_answer_comes_with_what_belongs_to_it() -> None:
    engine, server = asked()

    events = server.say(
        server.headers(1, [(b":status", b"103"), (b"link", b"</a>")], end=False)
        + server.headers(1, [(b":status", b"200"), (b"content-length", b"5")], end=False)
        + frame(framing.DATA, 0, 1, b"hello")
        + server.headers(1, [(b"x-sum", b"1")])
    )

    assert events[0] == InformationalReceived(1, 103, [(b"link", b"</a>")])
    assert (events[1].status, events[1].version, events[1].announced) == (200, b"2", 5)
    assert events[2:] == [BodyReceived(1, b"hello"), BodyEnded(1, [(b"x-sum", b"1")])]
    assert engine.next_event() is NEED_DATA


@pytest.mark.parametrize(
    ("method", "status"), [(b"HEAD", b"200"), (b"GET", b"304"), (b"GET", b"204")]
)
def test_an_answer_without_content_may_say_what_length_it_would_have(
    method: bytes, status: bytes
) -> None:
    """RFC 9110 §8.6."""
    engine, server = connected()
    engine.send_request(method, b"/", b"x")

    engine.send_request(method, b"/", b"x")
    server.hear()
    server.frames.clear()
    fields: Fields = [(b":status", status), (b"content-length", b"9")]

    at_once = server.say(server.headers(1, fields))
    later = server.say(server.headers(3, fields, end=False) + frame(framing.DATA, 1, 3))

    for head, end in (at_once, later):
        assert (head.length, head.announced) == (0, 9)
        assert end == BodyEnded(head.exchange, [])
    assert server.frames == []
    assert engine.room == 100


def test_credit_is_given_when_content_was_consumed() -> None:
    engine, server = asked()
    server.say(server.headers(1, OK, end=False))
    for _ in range(12):
        server.say(frame(framing.DATA, 0, 1, bytes(16_384)))
    assert server.codes(framing.WINDOW_UPDATE) == []

    engine.consumed(1, 12 * 16_384)

    assert [n for kind, _, n, _ in server.hear() if kind == framing.WINDOW_UPDATE][-1] == 1


def test_a_reset_says_whether_the_server_did_anything() -> None:
    """RFC 9113 §8.7."""
    engine, server = connected()
    for _ in range(2):
        engine.send_request(b"GET", b"/", b"x")

    events = server.say(
        frame(framing.RST_STREAM, 0, 1, b"\0\0\0\x02")
        + frame(framing.RST_STREAM, 0, 3, b"\0\0\0\x07")
    )

    assert events == [StreamReset(1, 2), StreamReset(3, 7)]
    assert [isinstance(event, RequestRefused) for event in events] == [False, True]


def test_goodbye_refuses_what_came_too_late_and_lets_the_rest_be_answered() -> None:
    """RFC 9113 §6.8."""
    engine, server = connected()
    for _ in range(3):
        engine.send_request(b"GET", b"/", b"x")

    events = server.say(frame(framing.GOAWAY, 0, 0, b"\0\0\0\x01\0\0\0\0"))

    assert [(type(event), event.exchange) for event in events] == [
        (RequestRefused, 3),
        (RequestRefused, 5),
    ]
    assert (engine.room, engine.ending, engine.goodbye) == (0, True, 0)
    assert len(server.say(server.headers(1, OK))) == 2
    assert engine.next_event() is CLOSED


def test_an_answer_before_the_request_was_sent_whole_ends_it() -> None:
    engine, server = connected()
    number = engine.send_request(b"POST", b"/", b"x", length=STREAMED)
    engine.send_body(number, b"abc")

    events = server.say(server.headers(1, [(b":status", b"403")]))
    engine.send_body(number, b"more")
    engine.end_body(number)

    assert [type(event) for event in events] == [ResponseHead, BodyEnded]
    assert server.codes(framing.RST_STREAM) == [framing.CANCEL]


def test_a_request_that_is_cancelled_costs_its_stream() -> None:
    engine, server = asked()

    assert engine.cancel(1)

    server.hear()
    assert server.codes(framing.RST_STREAM) == [framing.CANCEL]
    assert server.say(server.headers(1, OK)) == []
    assert engine.room == 100


def test_websocket_over_a_stream_asks_only_servers_that_know_it() -> None:
    """RFC 8441 §3."""
    engine, _ = connected()
    with pytest.raises(WebUsageError, match="RFC 8441"):
        engine.send_request(b"CONNECT", b"/", b"x", protocol=b"websocket")

    engine, server = connected(settings=b"\0\x08\0\0\0\x01")
    number = engine.send_request(b"CONNECT", b"/chat", b"x", protocol=b"websocket")
    server.hear()
    [head] = server.say(server.headers(number, OK, end=False))
    engine.send_body(number, b"abc")

    assert head.takes_over
    assert head.length == CHUNKED
    assert server.hear()[0][3] == b"abc"
    assert (b":protocol", b"websocket") in server.fields(number)[0]


def test_the_end_of_the_input_ends_what_is_open() -> None:
    engine, server = asked()

    engine.receive_eof()

    assert server.take() == [StreamReset(1, framing.CANCEL)]
    assert engine.next_event() is CLOSED


def test_a_silent_server_is_asked_for_a_sign_of_life() -> None:
    engine, server = asked()

    engine.handle_timeout(1030.0)
    [ping] = server.hear()
    assert ping[0] == framing.PING
    engine.handle_timeout(1031.0)
    server.say(frame(framing.PING, framing.ACK, 0, ping[3]))
    engine.handle_timeout(1061.0)
    server.hear()
    engine.handle_timeout(1071.0)

    [fault] = server.take()
    assert fault.exchange == CONNECTION
    assert engine.next_event() is CLOSED


# ── a hostile server (h1-24, on HTTP/2) ───────────────────────────────────────


def test_interim_responses_are_counted() -> None:
    _, server = asked()

    events: list[Any] = []
    for _ in range(17):
        events += server.say(server.headers(1, [(b":status", b"103")], end=False))

    assert isinstance(events[-1], PeerFault)
    assert len(events) == 17
    assert server.codes(framing.RST_STREAM) == [framing.PROTOCOL_ERROR]


def test_fields_without_end_end_the_connection() -> None:
    engine, server = asked()
    server.say(frame(framing.HEADERS, 0, 1, b"\x88"))
    for _ in range(20):
        server.say(frame(framing.CONTINUATION, 0, 1, bytes(4096)))

    assert server.codes(framing.GOAWAY) == [framing.ENHANCE_YOUR_CALM]
    assert engine.next_event() is CLOSED


def test_an_answer_that_ends_before_its_announced_content_is_a_fault() -> None:
    _, server = asked()

    events = server.say(server.headers(1, [*OK, (b"content-length", b"7")]))

    assert [type(event) for event in events] == [PeerFault]


def test_more_content_than_announced_costs_its_stream() -> None:
    _, server = asked()
    server.say(server.headers(1, [*OK, (b"content-length", b"3")], end=False))

    [fault] = server.say(frame(framing.DATA, 0, 1, b"abcd"))

    assert fault.exchange == 1
    assert server.codes(framing.RST_STREAM) == [framing.PROTOCOL_ERROR]


def test_more_content_than_is_taken_costs_its_stream() -> None:
    _, server = asked(ResponseLimits(body=10))
    server.say(server.headers(1, OK, end=False))

    [fault] = server.say(frame(framing.DATA, 0, 1, bytes(11)))

    assert "10 octets" in str(fault.error)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b":status", b"20")],
        [(b":status", b"abc")],
        [*OK, *OK],
        [*OK, (b"X", b"1")],
        [*OK, (b"connection", b"close")],
        [*OK, (b"x", b"a\r\nb")],
        [(b"x", b"1"), *OK],
        [*OK, (b":path", b"/")],
        [*OK, (b"content-length", b"x")],
        [(b":status", b"101")],
    ],
)
def test_a_malformed_answer_costs_its_stream(fields: Fields) -> None:
    _, server = asked()

    events = server.say(server.headers(1, fields, end=False))

    assert [type(event) for event in events] == [PeerFault]
    assert server.codes(framing.RST_STREAM) + server.codes(framing.GOAWAY) == [1]


@pytest.mark.parametrize(
    "octets",
    [
        frame(framing.PUSH_PROMISE, 4, 1, b"\0\0\0\x02\x88"),
        frame(framing.HEADERS, 5, 2, b"\x88"),
        frame(framing.HEADERS, 5, 3, b"\x88"),
        frame(framing.PRIORITY_UPDATE, 0, 0, b"\0\0\0\x01u=1"),
        frame(framing.DATA, 0, 3, b"x"),
    ],
)
def test_what_a_server_may_not_do_ends_the_connection(octets: bytes) -> None:
    engine, server = asked()

    server.say(octets)

    assert server.codes(framing.GOAWAY) == [framing.PROTOCOL_ERROR]
    assert isinstance(engine.next_event(), NoEvent)


def test_content_before_a_head_costs_its_stream() -> None:
    _, server = asked()

    [fault] = server.say(frame(framing.DATA, 0, 1, b"xyz?"))

    assert isinstance(fault, PeerFault)


def test_answers_that_were_under_way_when_they_were_given_up_do_no_harm() -> None:
    """RFC 9113 §5.1: a client may give up as many large answers as it likes."""
    engine, server = connected()
    for _ in range(300):
        number = engine.send_request(b"GET", b"/", b"example.org")
        server.hear()
        engine.cancel(number)
    said = b"".join(server.headers(number, OK, end=False) for number in range(1, 601, 2))
    content = frame(framing.DATA, 0, 1, bytes(16_000))[framing.HEAD :]
    said += b"".join(
        frame(framing.DATA, 0, number, content) for number in range(1, 601, 2) for _ in range(10)
    )
    assert server.say(said) == []
    assert engine.send_request(b"GET", b"/", b"example.org") == 601, "it goes on"


def test_more_than_was_under_way_does() -> None:
    """HARDENING h2-5: a window is let out once, and the end comes once."""
    engine, server = asked()
    engine.cancel(1)
    said = server.headers(1, OK, end=False) + frame(framing.DATA, 1, 1, b"the end")
    assert server.say(said) == []
    events = server.say(frame(framing.DATA, 1, 1) * 2000)
    assert isinstance(events[0], PeerFault)
    assert "reset" in str(events[0].error)
