from __future__ import annotations

import io
from typing import Any

import pytest
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from packages.web.tests.http2_frames import BEGIN, EMPTY_SETTINGS, GET, POST, Client, Fields, frame
from sennit.core.engine import CLOSED, CONNECTION, NEED_DATA, FilePart, PeerFault
from sennit.core.testing.engines import assert_no_io, converse, cut, engine_suite
from sennit.web.errors import WebUsageError
from sennit.web.events import CHUNKED, BodyEnded, BodyReceived, RequestHead, StreamReset
from sennit.web.http2 import framing
from sennit.web.http2.engine import HTTP2ServerEngine
from sennit.web.http2.framing import PREFACE
from sennit.web.http2.limits import HTTP2Limits
from sennit.web.limits import Limits


def connected(
    limits: HTTP2Limits | None = None, most: Limits | None = None
) -> tuple[HTTP2ServerEngine, Client]:
    engine = HTTP2ServerEngine(most, None, limits)
    engine.handle_timeout(1000.0)
    client = Client(engine)
    client.begin()
    client.frames.clear()
    return engine, client


def content(frames: list[tuple[int, int, int, bytes]], stream: int = 1) -> bytes:
    return b"".join(p for kind, _, number, p in frames if kind == framing.DATA and number == stream)


# ── the properties of every engine ────────────────────────────────────────────


def answer(engine: HTTP2ServerEngine, event: Any) -> None:
    if isinstance(event, RequestHead) and event.length == 0:
        engine.send_response(event.exchange, 200, [(b"x-a", b"b")], b"hello")
    elif isinstance(event, BodyReceived):
        engine.consumed(event.exchange, len(event.data))
    elif isinstance(event, BodyEnded):
        engine.send_response(event.exchange, 201, [], b"thanks")


def _conversations() -> list[bytes]:
    one = Encoder()
    whole = BEGIN + frame(framing.HEADERS, 5, 1, bytes(one.encode(GET)))
    two = Encoder()
    uploads = b"".join(
        [
            BEGIN,
            frame(framing.HEADERS, 4, 1, bytes(two.encode(POST))),
            frame(framing.HEADERS, 5, 3, bytes(two.encode(GET))),
            frame(framing.DATA, 0, 1, b"some content"),
            frame(framing.PING, 0, 0, b"12345678"),
            frame(framing.DATA, 8, 1, b"\x02more\0\0"),
            frame(framing.HEADERS, 5, 1, bytes(two.encode([(b"x-sum", b"1")]))),
        ]
    )
    three = Encoder()
    block = bytes(three.encode([*GET, (b"x-long", b"a" * 40)]))
    in_parts = b"".join(
        [
            BEGIN,
            frame(framing.HEADERS, 1, 1, block[:7]),
            frame(framing.CONTINUATION, 0, 1, block[7:9]),
            frame(framing.CONTINUATION, 4, 1, block[9:]),
            frame(framing.HEADERS, 4, 3, bytes(three.encode(POST))),
            frame(framing.RST_STREAM, 0, 3, b"\0\0\0\x08"),
            frame(framing.GOAWAY, 0, 0, bytes(8)),
        ]
    )
    return [whole, uploads, in_parts]


TestHTTP2ServerEngine = engine_suite(
    HTTP2ServerEngine,
    conversations=_conversations(),
    answer=answer,
    tokens=[
        PREFACE,
        EMPTY_SETTINGS,
        frame(framing.SETTINGS, 1, 0),
        frame(framing.DATA, 1, 1, b"abcd"),
        frame(framing.DATA, 0, 3),
        frame(framing.RST_STREAM, 0, 1, bytes(4)),
        frame(framing.PRIORITY, 0, 1, bytes(5)),
        frame(framing.CONTINUATION, 4, 1),
        frame(framing.HEADERS, 0x24, 5, bytes(5) + b"\x82"),
        frame(0x77, 0xFF, 9, b"?"),
    ],
    endless=[b"P", b"\0", PREFACE, frame(framing.PING, 0, 0, bytes(8))],
    limit=64 * 1024,
    in_order=False,
)


# An error of the connection ends what is open there, answered late or not: that property holds
# for clients that make none.
delattr(TestHTTP2ServerEngine, "test_pipelined_commands_are_answered_in_order")


@pytest.mark.parametrize("data", _conversations())
def test_late_answers_are_the_same_as_prompt_ones(data: bytes) -> None:
    prompt = converse(HTTP2ServerEngine(), [data], answer, eof=True)
    late = converse(HTTP2ServerEngine(), [data], answer, eof=True, late=True)

    assert late.events == prompt.events
    assert len(late.sent) == len(prompt.sent)


def test_importing_it_brings_no_io() -> None:
    assert_no_io("sennit.web.http2.engine")


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    frames=st.lists(
        st.builds(
            frame,
            st.integers(0, 17),
            st.integers(0, 255),
            st.integers(0, 6),
            st.binary(max_size=12),
        ),
        max_size=12,
    ),
    places=st.lists(st.integers(0, 300), max_size=8),
)
def test_no_frames_raise_and_their_cut_changes_nothing(
    frames: list[bytes], places: list[int]
) -> None:
    data = BEGIN + b"".join(frames)

    at_once = converse(HTTP2ServerEngine(), [data], answer, eof=True)

    assert converse(HTTP2ServerEngine(), cut(data, places), answer, eof=True) == at_once


# ── requests ──────────────────────────────────────────────────────────────────


def test_a_request_comes_out_as_in_any_version() -> None:
    _, client = connected()

    [head] = client.say(client.headers(1, [*GET, (b"cookie", b"a=1"), (b"cookie", b"b=2")]))

    assert (head.method, head.path, head.host, head.scheme) == (
        b"GET", b"/", b"example.org", b"https"
    )  # fmt: skip
    assert head.version == b"2"
    assert head.length == 0
    assert head.headers == [(b"host", b"example.org"), (b"cookie", b"a=1; b=2")]


def test_content_comes_as_it_is_sent_and_ends_with_trailers() -> None:
    _, client = connected()

    events = client.say(
        client.headers(1, POST, end=False)
        + frame(framing.DATA, 0, 1, b"some ")
        + frame(framing.DATA, framing.PADDED, 1, b"\x03more" + bytes(3))
        + client.headers(1, [(b"x-sum", b"7")])
    )

    assert events[0].length == CHUNKED
    assert events[1:] == [
        BodyReceived(1, b"some "),
        BodyReceived(1, b"more"),
        BodyEnded(1, [(b"x-sum", b"7")]),
    ]


def test_answers_leave_in_the_order_in_which_they_are_given() -> None:
    engine, client = connected()
    client.say(client.headers(1, GET) + client.headers(3, GET))

    engine.send_response(3, 200, [], b"three")
    engine.send_response(1, 200, [], b"one")

    assert [(number, p) for kind, _, number, p in client.hear() if kind == framing.DATA] == [
        (3, b"three"),
        (1, b"one"),
    ]
    assert engine.sent_of(3) == 5
    assert not engine.is_open(3)


def test_content_waits_for_its_window() -> None:
    """RFC 9113 §6.9: neither window may be overdrawn."""
    engine, client = connected()
    client.say(client.headers(1, GET))

    engine.send_response(1, 200, [], bytes(100_000))

    assert len(content(client.hear())) == 65_535
    client.say(frame(framing.WINDOW_UPDATE, 0, 1, (50_000).to_bytes(4, "big")))
    assert len(content(client.frames)) == 65_535
    client.say(frame(framing.WINDOW_UPDATE, 0, 0, (50_000).to_bytes(4, "big")))
    assert len(content(client.frames)) == 100_000
    assert client.frames[-1][1] == framing.END_STREAM


def test_a_smaller_initial_window_takes_from_open_streams_too() -> None:
    """RFC 9113 §6.9.2: a window may become negative."""
    engine, client = connected()
    client.say(client.headers(1, GET))
    engine.send_response(1, 200, [], bytes(70_000))
    assert len(content(client.hear())) == 65_535

    client.say(frame(framing.SETTINGS, 0, 0, b"\0\x04" + (100).to_bytes(4, "big")))
    client.say(frame(framing.WINDOW_UPDATE, 0, 0, (70_000).to_bytes(4, "big")))
    client.say(frame(framing.WINDOW_UPDATE, 0, 1, (65_435).to_bytes(4, "big")))
    assert len(content(client.frames)) == 65_535
    client.say(frame(framing.WINDOW_UPDATE, 0, 1, (10).to_bytes(4, "big")))

    assert len(content(client.frames)) == 65_545


def test_a_writer_is_told_when_there_is_room_again() -> None:
    engine, client = connected()
    client.say(client.headers(1, GET))
    engine.send_response(1, 200, [], None)
    engine.send_body(1, bytes(65_535 + 64 * 1024))
    client.hear()

    assert not engine.may_send(1)
    client.say(frame(framing.WINDOW_UPDATE, 0, 0, (1 << 20).to_bytes(4, "big")))
    client.say(frame(framing.WINDOW_UPDATE, 0, 1, (60_000).to_bytes(4, "big")))

    assert engine.roomy == [1]
    assert engine.may_send(1)


def test_parts_of_files_are_cut_into_frames_and_not_opened() -> None:
    engine, client = connected()
    client.say(client.headers(1, GET))
    file = io.BytesIO(bytes(range(256)) * 256)

    engine.send_response(1, 200, [], FilePart(file, 5, 40_000))
    pieces = [each for each in engine.data_to_send() if isinstance(each, FilePart)]

    assert [(part.offset, part.length) for part in pieces] == [
        (5, 16_384),
        (16_389, 16_384),
        (32_773, 7_232),
    ]


def test_the_file_is_closed_with_its_last_part_and_when_the_stream_is_reset() -> None:
    engine, client = connected()
    client.say(client.headers(1, GET) + client.headers(3, GET))
    first, second = io.BytesIO(bytes(20_000)), io.BytesIO(bytes(200_000))

    engine.send_response(1, 200, [], FilePart(first, 0, 20_000, close_file=True))
    parts = [each for each in engine.data_to_send() if isinstance(each, FilePart)]
    engine.send_response(3, 200, [], FilePart(second, 0, 200_000, close_file=True))
    client.say(frame(framing.RST_STREAM, 0, 3, b"\0\0\0\x08"))

    assert [part.close_file for part in parts] == [False, True]
    assert second.closed


def test_trailers_follow_the_content() -> None:
    engine, client = connected()
    client.say(client.headers(1, GET))

    engine.send_response(1, 200, [], None)
    engine.send_body(1, b"abc")
    engine.end_body(1, [(b"X-Sum", b"9")])

    kinds = [(kind, flags & framing.END_STREAM) for kind, flags, _, _ in client.hear()]
    assert kinds == [(framing.HEADERS, 0), (framing.DATA, 0), (framing.HEADERS, 1)]


def test_an_interim_response_comes_before_the_final_one() -> None:
    engine, client = connected()
    client.say(client.headers(1, [*POST, (b"expect", b"100-continue")], end=False))

    engine.send_informational(1, 103, [(b"link", b"</a.css>; rel=preload")])
    engine.send_informational(1, 100)
    engine.send_informational(1, 100)
    engine.send_response(1, 200)

    assert [kind for kind, *_ in client.hear()] == [framing.HEADERS] * 3 + [framing.RST_STREAM]


def test_head_has_the_fields_of_get_and_no_content() -> None:
    engine, client = connected()
    client.say(client.headers(1, [(b":method", b"HEAD"), *GET[1:]]))

    engine.send_response(1, 200, [], b"hello")

    [(kind, flags, _, _)] = client.hear()
    assert (kind, flags & framing.END_STREAM) == (framing.HEADERS, 1)


def test_an_answer_before_the_content_has_come_asks_for_no_more_of_it() -> None:
    """RFC 9113 §8.1: RST_STREAM with NO_ERROR after a complete response."""
    engine, client = connected()
    client.say(client.headers(1, POST, end=False))

    engine.send_response(1, 403, [], b"no")
    client.hear()

    assert client.codes(framing.RST_STREAM) == [framing.NO_ERROR]
    assert client.say(frame(framing.DATA, 1, 1, b"late")) == []
    assert engine.next_event() is NEED_DATA


def test_credit_is_given_back_when_content_was_consumed() -> None:
    engine, client = connected()
    client.say(client.headers(1, POST, end=False))
    for _ in range(10):
        client.say(frame(framing.DATA, 0, 1, bytes(16_384)))
    assert client.frames == []

    engine.consumed(1, 163_840)

    updates = [p for kind, _, n, p in client.hear() if kind == framing.WINDOW_UPDATE and n == 1]
    assert sum(int.from_bytes(p, "big") for p in updates) == 163_840


def test_a_client_that_sends_more_than_its_window_is_sent_away() -> None:
    """RFC 9113 §6.9.1."""
    _, client = connected()
    client.say(client.headers(1, POST, end=False))

    events: list[Any] = []
    for _ in range(17):
        events += client.say(frame(framing.DATA, 0, 1, bytes(16_384)))

    assert isinstance(events[-1], PeerFault)
    assert client.codes(framing.GOAWAY) == [framing.FLOW_CONTROL_ERROR]


def test_an_extended_connect_is_a_tunnel() -> None:
    """RFC 8441 §4, §5."""
    engine, client = connected()
    fields: Fields = [
        (b":method", b"CONNECT"),
        (b":protocol", b"websocket"),
        *GET[1:],
    ]
    [head] = client.say(client.headers(1, fields, end=False))
    assert head.protocol == b"websocket"

    engine.send_response(1, 200)
    events = client.say(frame(framing.DATA, 0, 1, b"x"))
    engine.send_body(1, b"y")

    assert events == [BodyReceived(1, b"x")]
    assert content(client.hear()) == b"y"
    engine.end_body(1)
    assert client.hear()[0][:3] == (framing.DATA, framing.END_STREAM, 1)
    assert client.say(frame(framing.DATA, 1, 1, b"z")) == [BodyReceived(1, b"z"), BodyEnded(1, [])]


def test_enable_connect_protocol_is_announced() -> None:
    engine = HTTP2ServerEngine()
    client = Client(engine)

    [settings_frame, *_] = client.hear()

    told = settings_frame[3]
    pairs = {told[at + 1]: int.from_bytes(told[at + 2 : at + 6], "big") for at in range(0, 30, 6)}
    assert pairs == {3: 100, 4: 256 * 1024, 6: 16 * 1024, 8: 1, 9: 1}


# ── what callers do wrong ─────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "field",
    [(b"x\r\ny", b"1"), (b"x", b"a\r\nb: c"), (b"x", b"a\0"), (b"", b"1"), (b":path", b"/")],
)
def test_what_cannot_be_a_field_is_refused_before_anything_is_sent(
    field: tuple[bytes, bytes],
) -> None:
    engine, client = connected()
    client.say(client.headers(1, GET))

    with pytest.raises(ValueError):
        engine.send_response(1, 200, [field], b"x")

    assert client.hear() == []
    engine.send_response(1, 200)
    assert client.hear()


def test_fields_of_http_1_connections_are_left_out() -> None:
    engine, client = connected()
    client.say(client.headers(1, GET))

    engine.send_response(1, 204, [(b"Connection", b"close"), (b"Keep-Alive", b"1")])

    [(_, _, _, block)] = client.hear()
    assert block == b"\x89"  # ":status: 204" of the static table, and nothing else


def test_less_content_than_announced_resets_the_stream() -> None:
    engine, client = connected()
    client.say(client.headers(1, GET))
    engine.send_response(1, 200, [(b"content-length", b"10")], None)
    engine.send_body(1, b"abc")

    with pytest.raises(WebUsageError, match="7 octets less"):
        engine.end_body(1)
    client.hear()

    assert client.codes(framing.RST_STREAM) == [framing.INTERNAL_ERROR]


def test_more_content_than_announced_is_refused() -> None:
    engine, client = connected()
    client.say(client.headers(1, GET))
    engine.send_response(1, 200, [(b"content-length", b"2")], None)

    with pytest.raises(WebUsageError):
        engine.send_body(1, b"abc")


def test_an_answer_is_given_once_and_to_what_was_asked() -> None:
    engine, client = connected()
    client.say(client.headers(1, POST, end=False))
    engine.send_response(1, 200, [], None)

    with pytest.raises(WebUsageError):
        engine.send_response(1, 200)
    with pytest.raises(WebUsageError):
        engine.send_response(3, 200)
    with pytest.raises(WebUsageError):
        engine.send_informational(1, 103)


def test_100_is_of_no_use_once_the_answer_has_begun() -> None:
    """An echo begins its answer, then reads (RFC 9110 §10.1.1)."""
    engine, client = connected()
    client.say(client.headers(1, [*POST, (b"expect", b"100-continue")], end=False))
    engine.send_response(1, 200, [], None)

    engine.send_informational(1, 100)

    assert [kind for kind, *_ in client.hear()] == [framing.HEADERS]


def test_what_is_said_to_a_stream_that_has_gone_is_ignored() -> None:
    engine, client = connected()
    events = client.say(client.headers(1, GET) + frame(framing.RST_STREAM, 0, 1, b"\0\0\0\x08"))
    file = io.BytesIO(b"abc")

    engine.send_response(1, 200, [], FilePart(file, 0, 3, close_file=True))
    engine.send_body(1, b"x")
    engine.end_body(1)
    engine.internal_error(1)

    assert events[1] == StreamReset(1, framing.CANCEL)
    assert file.closed
    assert client.hear() == []


def test_an_error_of_ours_is_500_or_cuts_the_stream() -> None:
    engine, client = connected()
    client.say(client.headers(1, GET) + client.headers(3, GET))
    engine.send_response(3, 200, [], None)
    client.hear()

    engine.internal_error(1)
    engine.internal_error(3)

    assert content(client.hear()) == b"500 Internal Server Error\n"
    assert client.codes(framing.RST_STREAM) == [framing.INTERNAL_ERROR]


# ── priorities ────────────────────────────────────────────────────────────────


def _asked(client: Client, stream: int, priority: bytes) -> None:
    client.say(client.headers(stream, [*GET, (b"priority", priority)]))


def _order(client: Client) -> list[int]:
    return [number for kind, _, number, _ in client.hear() if kind == framing.DATA]


def test_what_is_urgent_leaves_first() -> None:
    """RFC 9218 §10."""
    engine, client = connected()
    for stream, priority in ((1, b"u=5"), (3, b"u=1"), (5, b"")):
        _asked(client, stream, priority)
    for stream in (1, 3, 5):
        engine.send_response(stream, 200, [], bytes(20_000))

    assert _order(client) == [3, 3, 5, 5, 1, 1]


def test_incremental_answers_take_turns() -> None:
    engine, client = connected()
    for stream in (1, 3):
        _asked(client, stream, b"i")
    for stream in (1, 3):
        engine.send_response(stream, 200, [], bytes(20_000))

    assert _order(client) == [1, 3, 1, 3]


def test_a_priority_update_counts_before_and_after_the_request() -> None:
    """RFC 9218 §7.1."""
    engine, client = connected()
    client.say(frame(framing.PRIORITY_UPDATE, 0, 0, b"\0\0\0\x03u=0"))
    for stream in (1, 3, 5):
        _asked(client, stream, b"u=4")
    engine.pressed = True
    for stream in (1, 3, 5):
        engine.send_response(stream, 200, [], bytes(20_000))
    client.say(frame(framing.PRIORITY_UPDATE, 0, 0, b"\0\0\0\x05u=2"))
    engine.pressed = False

    assert _order(client) == [3, 3, 5, 5, 1, 1]


# ── the end ───────────────────────────────────────────────────────────────────


def test_closing_says_so_in_two_steps_and_answers_what_comes_between() -> None:
    """RFC 9113 §6.8."""
    engine, client = connected()
    client.say(client.headers(1, GET))

    engine.close()
    goaway, ping = client.hear()
    [late] = client.say(client.headers(3, GET))
    client.say(frame(framing.PING, framing.ACK, 0, ping[3]))
    refused = client.say(client.headers(5, GET))
    engine.send_response(1, 200)
    engine.send_response(late.exchange, 200)

    assert int.from_bytes(goaway[3][:4], "big") == 2**31 - 1
    assert refused == []
    assert client.codes(framing.RST_STREAM) == [framing.REFUSED_STREAM]
    goodbyes = [payload for kind, *_, payload in client.frames if kind == framing.GOAWAY]
    lasts = [int.from_bytes(payload[:4], "big") for payload in goodbyes]
    assert lasts == [2**31 - 1, 3]
    assert engine.next_event() is CLOSED


def test_a_client_that_answers_no_ping_is_taken_to_know_after_a_second() -> None:
    engine, client = connected()

    engine.close()
    client.hear()
    assert engine.next_event() is NEED_DATA
    assert engine.next_timeout() == 1001.0
    engine.handle_timeout(1001.0)

    assert engine.next_event() is CLOSED
    client.hear()
    assert client.codes(framing.GOAWAY) == [0, 0]


def test_a_client_that_says_goodbye_is_answered_and_let_go() -> None:
    engine, client = connected()
    client.say(client.headers(1, GET) + frame(framing.GOAWAY, 0, 0, bytes(8)))

    assert engine.next_event() is NEED_DATA
    engine.send_response(1, 200, [], b"bye")

    assert content(client.hear()) == b"bye"
    assert engine.next_event() is CLOSED


def test_the_end_of_the_input_ends_what_was_not_asked_whole() -> None:
    engine, client = connected()
    client.say(client.headers(1, GET) + client.headers(3, POST, end=False))

    engine.receive_eof()
    events = client.take()
    engine.send_response(1, 200, [], b"x")

    assert events == [StreamReset(3, framing.CANCEL)]
    assert content(client.hear()) == b"x"
    assert engine.next_event() is CLOSED


def test_a_fault_of_the_connection_is_an_event_with_its_reply_queued() -> None:
    engine, client = connected()

    [fault] = client.say(frame(framing.DATA, 0, 0, b"x"))

    assert fault.exchange == CONNECTION
    assert fault.error.rule == "RFC 9113 §6"
    assert client.codes(framing.GOAWAY) == [framing.PROTOCOL_ERROR]
    assert engine.next_event() is CLOSED
