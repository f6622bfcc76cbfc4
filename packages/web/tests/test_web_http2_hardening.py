"""HARDENING h2-1 to h2-9, against the engine: what a hostile client gets, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hpack import Encoder

from packages.web.tests.http2_frames import BEGIN, GET, POST, Client, Fields, frame
from sennit.core.engine import CLOSED, CONNECTION, PeerFault
from sennit.web.events import BodyReceived, RequestHead, StreamReset
from sennit.web.http2 import framing
from sennit.web.http2.engine import HTTP2ServerEngine
from sennit.web.http2.framing import PREFACE, frame_head
from sennit.web.http2.limits import HTTP2Limits
from sennit.web.limits import Limits


def connected(limits: HTTP2Limits | None = None) -> tuple[HTTP2ServerEngine, Client]:
    engine = HTTP2ServerEngine(None, None, limits)
    engine.handle_timeout(1000.0)
    client = Client(engine)
    client.begin()
    client.frames.clear()
    return engine, client


def sent_away(client: Client, code: int) -> bool:
    return client.codes(framing.GOAWAY) == [code] and client.engine.next_event() is CLOSED


# ── h2-1 ──────────────────────────────────────────────────────────────────────


def test_rapid_reset_ends_the_connection_after_its_budget() -> None:
    """CVE-2023-44487."""
    engine, client = connected()
    begun = 0

    for stream in range(1, 2001, 2):
        events = client.say(
            client.headers(stream, GET) + frame(framing.RST_STREAM, 0, stream, b"\0\0\0\x08")
        )
        begun += sum(isinstance(event, RequestHead) for event in events)
        if engine.next_event() is CLOSED:
            break

    assert begun == 201
    assert sent_away(client, framing.ENHANCE_YOUR_CALM)


def test_the_budget_of_resets_fills_up_with_time() -> None:
    engine, client = connected()
    stream = 1
    for second in range(60):
        engine.handle_timeout(1000.0 + second)
        for _ in range(30):
            client.say(client.headers(stream, GET))
            client.say(frame(framing.RST_STREAM, 0, stream, b"\0\0\0\x08"))
            stream += 2

    assert client.codes(framing.GOAWAY) == []


def test_resets_that_a_client_provokes_are_paid_by_it_too() -> None:
    """CVE-2025-8671, MadeYouReset."""
    engine, client = connected()

    for stream in range(1, 2001, 2):
        client.say(client.headers(stream, GET) + frame(framing.WINDOW_UPDATE, 0, stream, bytes(4)))
        if engine.next_event() is CLOSED:
            break

    assert sent_away(client, framing.ENHANCE_YOUR_CALM)


def test_more_streams_than_allowed_are_refused_one_by_one() -> None:
    engine, client = connected()

    events: list[Any] = []
    for stream in range(1, 207, 2):
        events += client.say(client.headers(stream, GET))

    assert len(events) == 100
    assert client.codes(framing.RST_STREAM) == [framing.REFUSED_STREAM] * 3
    engine.send_response(1, 200)
    assert len(client.say(client.headers(207, GET))) == 1


# ── h2-2 ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [0, 1, 16_384])
def test_a_flood_of_continuations_ends_the_connection(size: int) -> None:
    """CVE-2024-27316."""
    _, client = connected()

    client.say(frame(framing.HEADERS, framing.END_STREAM, 1, b"\x82"))
    for sent in range(20):
        client.say(frame(framing.CONTINUATION, 0, 1, bytes(size)))
        if client.codes(framing.GOAWAY):
            assert sent <= 8
            break

    assert sent_away(client, framing.ENHANCE_YOUR_CALM)


def test_a_header_block_that_takes_too_long_ends_the_connection() -> None:
    engine, client = connected()
    client.say(frame(framing.HEADERS, framing.END_STREAM, 1, b"\x82"))

    engine.handle_timeout(1019.0)
    client.say(frame(framing.CONTINUATION, 0, 1, b"\x87"))
    assert engine.next_timeout() == 1020.0
    engine.handle_timeout(1020.0)
    client.take()
    client.hear()

    assert sent_away(client, framing.ENHANCE_YOUR_CALM)


def test_octets_of_a_frame_that_dribble_do_not_renew_its_time() -> None:
    engine, client = connected()
    data = client.headers(1, GET)
    for second, octet in enumerate(data[:12]):
        engine.handle_timeout(1000.0 + 2 * second)
        client.say(bytes([octet]))

    assert sent_away(client, framing.ENHANCE_YOUR_CALM)


# ── h2-3 ──────────────────────────────────────────────────────────────────────


def test_a_bomb_of_references_ends_the_connection_while_it_is_decoded() -> None:
    """CVE-2016-6581: one entry of 4 KiB, referred to thousands of times."""
    _, client = connected()
    encoder = Encoder()
    block = bytes(encoder.encode([*GET, (b"x-bomb", b"a" * 3900)]))
    client.say(frame(framing.HEADERS, 5, 1, block))

    client.say(frame(framing.HEADERS, 5, 3, b"\xbe" * 16_000))

    assert sent_away(client, framing.ENHANCE_YOUR_CALM)


def test_a_header_section_a_little_too_large_is_answered() -> None:
    """RFC 9113 §10.5.1: a server may answer with 431."""
    _, client = connected()
    many: Fields = [(b"x-%d" % number, b"1") for number in range(101)]
    large: Fields = [(b"x-%d" % number, b"a" * 1000) for number in range(17)]

    events = client.say(client.headers(1, [*GET, *many]))
    events += client.say(client.headers(3, [*GET, *large]))
    events += client.say(client.headers(5, [*GET[:3], (b":path", b"/" + b"a" * 8192)]))

    assert [event.error.status for event in events] == [431, 431, 414]
    assert client.codes(framing.GOAWAY) == []
    statuses = [section[0][1] for stream in (1, 3, 5) for section in client.fields(stream)]
    assert statuses == [b"431", b"431", b"414"]


# ── h2-4 ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "flood", [frame(framing.PING, 0, 0, bytes(8)), frame(framing.SETTINGS, 0, 0)]
)
def test_answers_that_nobody_reads_do_not_pile_up(flood: bytes) -> None:
    """CVE-2019-9512, CVE-2019-9515."""
    engine, client = connected()

    engine.receive_data(flood * 15_000)
    client.take()
    heard = client.hear()

    assert len(heard) == 101
    assert sent_away(client, framing.ENHANCE_YOUR_CALM)


@pytest.mark.parametrize(
    "flood", [frame(framing.PING, 0, 0, bytes(8)), frame(framing.SETTINGS, 0, 0)]
)
def test_control_frames_without_end_end_the_connection_though_answers_are_read(
    flood: bytes,
) -> None:
    engine, client = connected()

    for sent in range(1200):
        client.say(flood)
        if engine.next_event() is CLOSED:
            assert sent >= 990
            break

    assert sent_away(client, framing.ENHANCE_YOUR_CALM)


def test_a_frame_has_not_thousands_of_settings() -> None:
    _, client = connected()

    client.say(frame(framing.SETTINGS, 0, 0, b"\0\x04\0\0\xff\xff" * 2000))

    assert sent_away(client, framing.ENHANCE_YOUR_CALM)


# ── h2-5 ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "flood",
    [
        frame(framing.DATA, 0, 1),
        frame(framing.DATA, 0, 1, b"x"),
        frame(framing.DATA, framing.PADDED, 1, b"\xff" + bytes(255)),
        frame(framing.PRIORITY, 0, 1, bytes(5)),
        frame(framing.PRIORITY_UPDATE, 0, 0, b"\0\0\0\x01u=2"),
        frame(framing.WINDOW_UPDATE, 0, 0, b"\0\0\0\x01"),
        frame(0x70, 0, 0, b"unknown"),
        frame(framing.SETTINGS, framing.ACK, 0),
    ],
    ids=["empty", "tiny", "padding", "priority", "update", "window", "unknown", "ack"],
)
def test_frames_that_bring_nothing_end_the_connection_in_the_end(flood: bytes) -> None:
    """CVE-2019-9511, CVE-2019-9513, CVE-2019-9518."""
    engine, client = connected()
    client.say(client.headers(1, POST, end=False))

    for sent in range(1500):
        client.say(flood)
        if engine.next_event() is CLOSED:
            assert sent >= 900
            break

    assert sent_away(client, framing.ENHANCE_YOUR_CALM)


def test_empty_header_blocks_are_malformed_and_not_endless() -> None:
    engine, client = connected()

    stream = 1
    while engine.next_event() is not CLOSED:
        client.say(frame(framing.HEADERS, 5, stream))
        stream += 2

    assert stream == 403
    assert sent_away(client, framing.ENHANCE_YOUR_CALM)


def test_small_messages_of_a_tunnel_are_not_useless() -> None:
    engine, client = connected()
    fields: Fields = [(b":method", b"CONNECT"), (b":authority", b"example.org:443")]
    client.say(client.headers(1, fields, end=False))
    engine.send_response(1, 200)

    for _ in range(3000):
        engine.receive_data(frame(framing.DATA, 0, 1, b"x"))
        client.take()

    assert client.codes(framing.GOAWAY) == []


# ── h2-6 ──────────────────────────────────────────────────────────────────────


def test_answers_that_get_no_window_are_given_up() -> None:
    """CVE-2019-9517: window 0, an answer ready on every stream."""
    engine, client = connected()
    client.say(frame(framing.SETTINGS, 0, 0, b"\0\x04" + bytes(4)))
    for stream in range(1, 201, 2):
        client.say(client.headers(stream, GET))
        engine.send_response(stream, 200, [], None)
        engine.send_body(stream, bytes(65_536))
        assert not engine.may_send(stream)
    client.hear()

    engine.handle_timeout(1059.0)
    assert client.take() == []
    engine.handle_timeout(1060.0)
    events = client.take()
    client.hear()

    assert events == [StreamReset(stream, framing.CANCEL) for stream in range(1, 201, 2)]
    assert client.codes(framing.RST_STREAM) == [framing.CANCEL] * 100
    assert engine.open_streams == 0


def test_an_answer_that_moves_slowly_is_not_given_up() -> None:
    engine, client = connected()
    client.say(client.headers(1, GET))
    engine.send_response(1, 200, [], bytes(100_000))
    client.hear()

    for minute in range(1, 6):
        engine.handle_timeout(1000.0 + 59.0 * minute)
        for stream in (0, 1):
            client.say(frame(framing.WINDOW_UPDATE, 0, stream, (1000).to_bytes(4, "big")))

    assert client.codes(framing.RST_STREAM) == []


# ── h2-7 ──────────────────────────────────────────────────────────────────────

BAD_FIELDS: list[Fields] = [
    [*GET, (b"X-Upper", b"1")],
    [*GET, (b"x", b"a\r\nb")],
    [*GET, (b"x", b"a\nb")],
    [*GET, (b"x", b"a\0")],
    [*GET, (b"x", b" a")],
    [*GET, (b"x", b"a\t")],
    [*GET, (b"", b"a")],
    [*GET, (b"x y", b"a")],
    [*GET, (b"x:y", b"a")],
    [*GET[:3], (b"x", b"1"), (b":path", b"/")],
    [*GET, (b":path", b"/")],
    [*GET, (b":status", b"200")],
    [*GET, (b":unknown", b"1")],
    [*GET, (b"connection", b"close")],
    [*GET, (b"transfer-encoding", b"chunked")],
    [*GET, (b"upgrade", b"websocket")],
    [*GET, (b"keep-alive", b"1")],
    [*GET, (b"proxy-connection", b"close")],
    [*GET, (b"te", b"gzip")],
    [*GET[:3], (b":path", b"")],
    [*GET[:3], (b":path", b"no-slash")],
    [*GET[:3], (b":path", b"/a b")],
    [*GET[:3], (b":path", b"/#x")],
    [*GET[:3], (b":path", b"*")],
    GET[:3],
    GET[1:],
    [GET[0], *GET[2:]],
    [(b":method", b"G T"), *GET[1:]],
    [(b":method", b""), *GET[1:]],
    [GET[0], (b":scheme", b"ht tp"), *GET[2:]],
    [*GET[:2], (b":authority", b"user@example.org"), GET[3]],
    [*GET[:2], (b":authority", b""), GET[3]],
    [*GET[:2], GET[3]],
    [*GET, (b"host", b"other.example")],
    [*GET, (b"host", b"example.org"), (b"host", b"example.org")],
    [*GET, (b"content-length", b"5")],
    [(b":method", b"CONNECT"), *GET[1:]],
    [(b":method", b"CONNECT"), (b":authority", b"example.org")],
    [(b":protocol", b"websocket"), *GET],
]


@pytest.mark.parametrize("fields", BAD_FIELDS, ids=range(len(BAD_FIELDS)))
def test_malformed_fields_cost_their_stream_and_reach_nobody(fields: Fields) -> None:
    """RFC 9113 §8.2, §8.3; CVE-2025-57804."""
    engine, client = connected()

    events = client.say(client.headers(1, fields))

    [fault] = events
    assert isinstance(fault, PeerFault)
    assert fault.exchange == 1
    assert client.codes(framing.RST_STREAM) == [framing.PROTOCOL_ERROR]
    assert client.codes(framing.GOAWAY) == []
    [head] = client.say(client.headers(3, GET))
    assert isinstance(head, RequestHead)
    assert engine.open_streams == 1


@pytest.mark.parametrize(
    "value", [b"+5", b"-0", b"0x5", b"5_0", b"", b"5, 5", b"5 ", "٥".encode(), b"1" * 25]
)
@pytest.mark.parametrize("times", [1, 2])
def test_odd_lengths_reach_nobody_and_cost_their_stream_alone(value: bytes, times: int) -> None:
    """RFC 9113 §8.1.1: a proxy may have put others' requests on the same connection."""
    _, client = connected()
    client.say(client.headers(1, POST, end=False))
    odd = [(b"content-length", value), (b"content-length", b"5")][:times]

    events = client.say(client.headers(3, [*POST, *odd], end=False))

    assert [type(event) for event in events] == [PeerFault]
    assert client.codes(framing.RST_STREAM) == [framing.PROTOCOL_ERROR]
    assert client.codes(framing.GOAWAY) == []
    assert [type(event) for event in client.say(frame(framing.DATA, 0, 1, b"x"))] == [BodyReceived]


@pytest.mark.parametrize(
    ("size", "end"), [(3, True), (6, False), (6, True)], ids=["less", "more", "more-whole"]
)
def test_content_of_another_length_than_announced_costs_its_stream(size: int, end: bool) -> None:
    """RFC 9113 §8.1.1."""
    _, client = connected()
    client.say(client.headers(1, [*POST, (b"content-length", b"5")], end=False))

    events = client.say(frame(framing.DATA, int(end), 1, bytes(size)))

    assert [type(event) for event in events] == [PeerFault]
    assert client.codes(framing.RST_STREAM) == [framing.PROTOCOL_ERROR]
    assert client.codes(framing.GOAWAY) == []


@pytest.mark.parametrize(
    "fields",
    [[(b":path", b"/")], [(b"X", b"1")], [(b"content-length", b"3")], [(b"te", b"trailers")]],
)
def test_bad_trailers_cost_their_stream(fields: Fields) -> None:
    _, client = connected()
    client.say(client.headers(1, POST, end=False))

    events = client.say(client.headers(1, fields))

    assert [type(event) for event in events] == [PeerFault]
    assert client.codes(framing.RST_STREAM) == [framing.PROTOCOL_ERROR]


def test_content_that_is_too_large_is_refused_when_it_is_announced_and_when_it_comes() -> None:
    engine = HTTP2ServerEngine(Limits(body=10))
    client = Client(engine)
    client.begin()

    announced = client.say(client.headers(1, [*POST, (b"content-length", b"11")], end=False))
    client.say(client.headers(3, POST, end=False))
    come = client.say(frame(framing.DATA, 0, 3, bytes(11)))

    assert [event.error.status for event in announced + come] == [413, 413]
    assert client.codes(framing.RST_STREAM) == [framing.NO_ERROR] * 2


# ── h2-8 ──────────────────────────────────────────────────────────────────────

MISPLACED: list[tuple[Callable[[Client], bytes], int]] = [
    (lambda it: it.headers(2, GET), framing.PROTOCOL_ERROR),
    (lambda it: it.headers(0, GET), framing.PROTOCOL_ERROR),
    (lambda it: it.headers(3, GET), framing.PROTOCOL_ERROR),
    (lambda _: frame(framing.DATA, 0, 13, b"x"), framing.PROTOCOL_ERROR),
    (lambda _: frame(framing.DATA, 0, 2, b"x"), framing.PROTOCOL_ERROR),
    (lambda _: frame(framing.RST_STREAM, 0, 13, bytes(4)), framing.PROTOCOL_ERROR),
    (lambda _: frame(framing.WINDOW_UPDATE, 0, 13, b"\0\0\0\1"), framing.PROTOCOL_ERROR),
    (lambda _: frame(framing.WINDOW_UPDATE, 0, 0, bytes(4)), framing.PROTOCOL_ERROR),
    (
        lambda _: frame(framing.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"),
        framing.FLOW_CONTROL_ERROR,
    ),
    (lambda _: frame(framing.PUSH_PROMISE, 4, 5, bytes(4)), framing.PROTOCOL_ERROR),
    (lambda _: frame(framing.CONTINUATION, 4, 5), framing.PROTOCOL_ERROR),
    (lambda it: it.headers(5, POST, end=False), framing.PROTOCOL_ERROR),
    (lambda it: it.headers(7, GET), framing.STREAM_CLOSED),
    (lambda _: frame(framing.DATA, 0, 11, b"x"), framing.STREAM_CLOSED),
    (lambda _: frame(framing.SETTINGS, 0, 1), framing.PROTOCOL_ERROR),
    (lambda _: frame(framing.SETTINGS, 0, 0, b"12345"), framing.FRAME_SIZE_ERROR),
    (lambda _: frame(framing.SETTINGS, 1, 0, bytes(6)), framing.FRAME_SIZE_ERROR),
    (
        lambda _: frame(framing.SETTINGS, 0, 0, b"\0\x04\xff\xff\xff\xff"),
        framing.FLOW_CONTROL_ERROR,
    ),
    (lambda _: frame(framing.SETTINGS, 0, 0, b"\0\x02\0\0\0\x02"), framing.PROTOCOL_ERROR),
    (lambda _: frame(framing.SETTINGS, 0, 0, b"\0\x05\0\0\0\1"), framing.PROTOCOL_ERROR),
    (lambda _: frame(framing.PING, 0, 0, b"short"), framing.FRAME_SIZE_ERROR),
    (lambda _: frame(framing.PING, 0, 1, bytes(8)), framing.PROTOCOL_ERROR),
    (lambda _: frame(framing.GOAWAY, 0, 0, b"1234"), framing.FRAME_SIZE_ERROR),
    (lambda _: frame(framing.RST_STREAM, 0, 5, b"123"), framing.FRAME_SIZE_ERROR),
    (lambda _: frame(framing.PRIORITY_UPDATE, 0, 0, bytes(4)), framing.PROTOCOL_ERROR),
    (lambda _: frame(framing.DATA, 8, 5, b"\x05abc"), framing.PROTOCOL_ERROR),
    (lambda _: frame_head(16_385, framing.DATA, 0, 5), framing.FRAME_SIZE_ERROR),
    (lambda _: frame(framing.HEADERS, 5, 13, b"\xff\xff\xff"), framing.COMPRESSION_ERROR),
    (
        lambda _: frame(framing.HEADERS, 1, 13) + frame(framing.PING, 0, 0, bytes(8)),
        framing.PROTOCOL_ERROR,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("octets", "code"), MISPLACED, ids=range(len(MISPLACED)))
def test_what_breaks_the_order_of_frames_has_the_code_of_the_rfc(
    octets: Callable[[Client], bytes], code: int
) -> None:
    """RFC 9113 §5.1, §6. 5: open; 7: half-closed; 11: ended on both sides; 3: passed over."""
    engine, client = connected()
    client.say(client.headers(5, POST, end=False))
    client.say(client.headers(7, GET))
    client.say(client.headers(11, GET))
    engine.send_response(11, 200)
    client.hear()
    client.frames.clear()

    client.say(octets(client))

    assert client.codes(framing.GOAWAY) + client.codes(framing.RST_STREAM) == [code]


def test_what_comes_on_a_stream_that_was_reset_by_us_is_passed_over() -> None:
    """RFC 9113 §5.1: it may have been on its way."""
    engine, client = connected()
    client.say(client.headers(1, POST, end=False))
    engine.reset(1)
    client.hear()

    events = client.say(
        frame(framing.DATA, 0, 1, b"late")
        + frame(framing.WINDOW_UPDATE, 0, 1, b"\0\0\0\1")
        + client.headers(1, [(b"x", b"1")])
        + client.headers(3, [*GET, (b"x", b"1")])
    )

    assert [type(event) for event in events] == [RequestHead]
    assert client.codes(framing.GOAWAY) == []


# ── h2-9 ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01",
        PREFACE + frame(framing.PING, 0, 0, bytes(8)),
        PREFACE + frame(framing.SETTINGS, framing.ACK, 0),
    ],
)
def test_whoever_does_not_speak_http2_is_let_go(octets: bytes) -> None:
    engine = HTTP2ServerEngine()
    client = Client(engine)

    [fault] = client.say(octets)

    assert fault.exchange == CONNECTION
    assert sent_away(client, framing.PROTOCOL_ERROR)


def test_a_preface_that_dribbles_has_ten_seconds() -> None:
    engine = HTTP2ServerEngine()
    engine.handle_timeout(1000.0)
    client = Client(engine)
    for second, octet in enumerate(BEGIN):
        engine.handle_timeout(1000.0 + second)
        client.say(bytes([octet]))
        if engine.next_event() is CLOSED:
            assert second == 10
            break

    assert sent_away(client, framing.PROTOCOL_ERROR)


# ── time, besides ─────────────────────────────────────────────────────────────


def test_content_that_comes_too_slowly_is_answered_with_408() -> None:
    """As h1-10: 240 octets a second after 5 s, and octets alone do not renew it."""
    engine, client = connected()
    client.say(client.headers(1, POST, end=False))
    events: list[Any] = []
    second = 0
    while not events:
        second += 1
        engine.handle_timeout(1000.0 + second)
        events += client.take()
        client.say(frame(framing.DATA, 0, 1, b"slow"))
        engine.consumed(1, 4)
    client.hear()

    assert second == 6
    assert events[-1].error.status == 408
    assert client.codes(framing.RST_STREAM) == [framing.NO_ERROR]


def test_content_that_its_handler_does_not_take_is_not_late() -> None:
    engine, client = connected()
    client.say(client.headers(1, POST, end=False) + frame(framing.DATA, 0, 1, b"wait"))

    engine.handle_timeout(1100.0)
    assert client.take() == []
    engine.consumed(1, 4)
    engine.handle_timeout(1104.0)
    assert client.take() == []
    engine.handle_timeout(1106.0)

    assert client.take()[0].error.status == 408


def test_a_connection_without_requests_is_let_go_after_a_while() -> None:
    engine, client = connected()
    client.say(client.headers(1, GET))
    engine.handle_timeout(1200.0)
    assert client.take() == []
    engine.send_response(1, 200)

    engine.handle_timeout(1259.0)
    assert client.take() == []
    engine.handle_timeout(1260.0)
    client.take()
    client.hear()

    assert sent_away(client, framing.NO_ERROR)
