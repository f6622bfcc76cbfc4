"""Both WebSocket engines on the same octets: framing, control frames, text, sizes, compression.

HARDENING ws-1 to ws-6, each on both engines, at once and octet by octet.
"""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packages.web.tests.websocket_frames import (
    SCRIPTS,
    Answer,
    Script,
    close,
    frame,
    parse,
    squeeze,
)
from sennit.core.engine import CLOSED, NEED_DATA, NoEvent
from sennit.core.testing.engines import assert_no_io, engine_suite
from sennit.web.errors import WebUsageError
from sennit.web.websocket.conversation import Conversation
from sennit.web.websocket.deflate import Agreed, Deflate
from sennit.web.websocket.engine import WSProtoEngine
from sennit.web.websocket.errors import WebSocketClosedError
from sennit.web.websocket.events import (
    MessageReceived,
    Opened,
    PeerClosed,
    PeerFault,
    PieceReceived,
    PongReceived,
)
from sennit.web.websocket.fast import FastEngine
from sennit.web.websocket.grammar import encode_message, is_close_code
from sennit.web.websocket.limits import WebSocketLimits
from sennit.web.websocket.masking import SHORT, mask, mask_in_python

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
ENGINES = [FastEngine, WSProtoEngine]


@pytest.fixture(params=ENGINES, ids=["fast", "wsproto"])
def make(request: pytest.FixtureRequest) -> Any:
    return request.param


def opened(make: Any, **options: Any) -> Any:
    engine = make(**options)
    assert engine.next_event() == Opened()
    return engine


def client_of(make: Any, **options: Any) -> Any:
    return opened(make, client=True, key=lambda: b"\x01\x02\x03\x04", **options)


def sent(engine: Conversation) -> bytes:
    return b"".join(map(bytes, engine.data_to_send()))


def events(engine: Conversation) -> list[Any]:
    found: list[Any] = []
    while not isinstance(event := engine.next_event(), NoEvent):
        found.append(event)
    return found


def fault_code(engine: Any, data: bytes) -> int:
    """The code of the fault that `data` ends in, which is the code of the Close frame too."""
    engine.receive_data(data)
    found = events(engine)
    assert isinstance(found[-1], PeerFault), found
    assert engine.next_event() is CLOSED
    answers, rest = parse(sent(engine))
    assert not rest
    error: Any = found[-1].error
    code: int = error.code
    assert answers[-1] == Answer(CLOSE, struct.pack(">H", code))
    assert engine.close_code == code
    return code


# ── conformance ───────────────────────────────────────────────────────────────


def play(make: Any, script: Script, *, step: int | None = None) -> list[Answer]:
    """What an echo made of an engine answers to a script."""
    engine = opened(make, deflate=Agreed() if script.deflate else None)
    out = b""
    data = script.send
    for at in range(0, len(data), step or len(data)):
        engine.receive_data(data[at : at + (step or len(data))])
        while not isinstance(event := engine.next_event(), NoEvent):
            if isinstance(event, MessageReceived):
                engine.send_message(event.data)
        out += sent(engine)
    answers, rest = parse(out)
    assert not rest
    return answers


@pytest.mark.parametrize("script", SCRIPTS, ids=[each.name for each in SCRIPTS])
def test_an_echo_answers_as_the_rfc_says(make: Any, script: Script) -> None:
    assert play(make, script) == script.expect
    if len(script.send) < 2000:
        assert play(make, script, step=1) == script.expect
    else:
        assert play(make, script, step=65_537) == script.expect


# ── the properties of every engine ────────────────────────────────────────────

CONVERSATIONS = [
    frame(TEXT, b"hello") + frame(BINARY, b"\0" * 200) + close(1000, b"bye"),
    frame(TEXT, b"he", fin=False) + frame(PING, b"p") + frame(CONTINUATION, b"llo") + close(3000),
    frame(BINARY, b"x" * 300, fin=False) + frame(CONTINUATION) + frame(PONG, b"q") + frame(CLOSE),
    frame(TEXT, "κόσμε".encode(), fin=False) + frame(CONTINUATION, "😀".encode()),
]
TOKENS = [
    frame(TEXT, b"\xff"),
    frame(TEXT, b"a", key=None),
    frame(PING, b"x" * 126),
    frame(CONTINUATION, b"c"),
    frame(TEXT, squeeze(b"tight"), rsv=0x40),
    frame(3),
    close(1005),
    b"\x81\xfe",
    b"\x82\xff\x80",
]


def _small(make: Any) -> Any:
    return lambda: make(limits=WebSocketLimits(message=1000, fragments=8))


TestFastEngine = engine_suite(
    _small(FastEngine),
    conversations=CONVERSATIONS,
    tokens=TOKENS,
    endless=[b"\xff", frame(CONTINUATION, b"x", fin=False)],
)
TestWSProtoEngine = engine_suite(
    _small(WSProtoEngine),
    conversations=CONVERSATIONS,
    tokens=TOKENS,
    endless=[b"\xff", frame(CONTINUATION, b"x", fin=False)],
)


def test_importing_the_engines_brings_no_sockets() -> None:
    assert_no_io("sennit.web.websocket.engine")
    assert_no_io("sennit.web.websocket.fast")
    assert_no_io("sennit.web.websocket.handshake")


# ── both say the same ─────────────────────────────────────────────────────────

_payloads = st.one_of(
    st.binary(max_size=150),
    st.text(max_size=30).map(str.encode),
    st.sampled_from([b"\xe2\x82", b"\xff", b"\xed\xa0\x80", b"x" * 299, b"y" * 400]),
)
_frames = st.builds(
    frame,
    st.sampled_from([0, 0, 1, 1, 2, 8, 9, 10, 3, 15]),
    st.one_of(_payloads, _payloads.map(squeeze), st.sampled_from([b"\x03\xe8ok", b"\x03\xed"])),
    fin=st.booleans(),
    rsv=st.sampled_from([0, 0, 0, 0x40, 0x40, 0x20]),
    key=st.sampled_from([b"\0\0\0\0", b"\x01\x82\x13\xf4", b"\xff\xff\xff\xff", None]),
    size=st.sampled_from([None, None, None, None, 1 << 62, 1 << 63, 301]),
    wide=st.sampled_from([None, None, None, None, 8]),
)


def verdict(make: Any, data: bytes, step: int | None, **options: Any) -> Any:
    """All that is told and sent; pieces put together, and of a fault only its code."""
    engine = make(limits=WebSocketLimits(message=300, fragments=4), **options)
    found: list[Any] = []
    out = b""

    def go_on() -> NoEvent:
        nonlocal out
        while not isinstance(event := engine.next_event(), NoEvent):
            last = found[-1] if found else None
            unfinished = isinstance(last, PieceReceived) and not last.ended
            if isinstance(event, PeerFault):
                if unfinished:
                    # How much was told before depends on how the octets were cut.
                    found.pop()
                out += b"".join(map(bytes, engine.data_to_send()[:-1]))
                found.append(("fault", event.error.code))  # type: ignore[attr-defined]  # of that event
            elif isinstance(event, PieceReceived) and isinstance(last, PieceReceived):
                if unfinished:
                    whole: Any = last.data
                    found[-1] = PieceReceived(whole + event.data, event.ended)
                else:
                    found.append(event)
            else:
                found.append(event)
        return event

    for at in range(0, len(data), step or len(data) or 1):
        engine.receive_data(data[at : at + (step or len(data))])
        go_on()
    engine.receive_eof()
    last = go_on()
    out += sent(engine)
    return found, out if ("fault", engine.close_code) not in found else b"", last


@settings(
    max_examples=250,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    frames=st.lists(_frames, max_size=5),
    cut=st.integers(min_value=0, max_value=400),
    step=st.sampled_from([1, 2, 3, 7, None]),
    deflated=st.booleans(),
    pieces=st.booleans(),
    client=st.sampled_from([False, False, False, True]),
)
def test_both_engines_come_to_the_same_verdict(
    frames: list[bytes], cut: int, step: int | None, deflated: bool, pieces: bool, client: bool
) -> None:
    data = b"".join(frames)
    data = data[: max(len(data) - cut, 0)] if cut < 30 else data

    def judge(make: Any, step: int | None) -> Any:
        return verdict(
            make,
            data,
            step,
            deflate=Agreed() if deflated else None,
            pieces=pieces,
            client=client,
            key=lambda: b"\0\0\0\0",
        )

    expected = judge(FastEngine, None)
    assert judge(WSProtoEngine, None) == expected
    assert judge(FastEngine, step) == expected
    assert judge(WSProtoEngine, step) == expected


# ── ws-1: frames ──────────────────────────────────────────────────────────────


def test_a_masked_frame_of_a_server_is_a_fault(make: Any) -> None:
    """HARDENING ws-1 (RFC 6455 §5.1)."""
    engine = client_of(make)
    engine.receive_data(frame(TEXT, b"hi"))

    (found,) = events(engine)

    assert isinstance(found, PeerFault)
    assert found.error.code == 1002  # type: ignore[attr-defined]  # of that event
    assert engine.next_event() is CLOSED


def test_a_client_masks_with_the_octets_it_is_given(make: Any) -> None:
    """RFC 6455 §5.3."""
    engine = client_of(make)
    engine.send_message(b"\0\0\0\0\0")
    engine.send_message("hello")

    assert sent(engine) == (
        b"\x82\x85\x01\x02\x03\x04\x01\x02\x03\x04\x01\x81\x85\x01\x02\x03\x04" + b"igohn"
    )


def test_a_client_needs_octets_for_its_masks(make: Any) -> None:
    with pytest.raises(WebUsageError, match="masks"):
        make(client=True)


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 125, SHORT, SHORT + 1, SHORT + 2, 70_001])
def test_a_mask_comes_off_as_it_went_on(size: int) -> None:
    data = bytes(at * 7 & 255 for at in range(size))
    plain = bytes(octet ^ b"\x01\x82\x13\xf4"[at & 3] for at, octet in enumerate(data))

    assert mask_in_python(data, b"\x01\x82\x13\xf4") == plain
    assert mask(data, b"\x01\x82\x13\xf4") == plain
    assert mask(mask(data, b"abcd"), b"abcd") == data


# ── ws-2: control frames ──────────────────────────────────────────────────────


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1014, 1015, 1016, 2999, 5000])
def test_a_close_code_that_never_goes_over_the_wire_is_a_fault(make: Any, code: int) -> None:
    """HARDENING ws-2 (RFC 6455 §7.4)."""
    assert fault_code(opened(make), close(code)) == 1002
    with pytest.raises(ValueError, match="Close frame"):
        opened(make).close(code)


def test_a_bad_close_reason_is_1007(make: Any) -> None:
    """HARDENING ws-2."""
    assert fault_code(opened(make), close(1000, b"\xff")) == 1007


def test_control_frames_are_short_and_whole(make: Any) -> None:
    """HARDENING ws-2 (RFC 6455 §5.5)."""
    assert fault_code(opened(make), frame(PING, b"x" * 126)) == 1002
    assert fault_code(opened(make), frame(PING, b"x", fin=False)) == 1002
    assert fault_code(opened(make), frame(CLOSE, b"\x03")) == 1002
    engine = opened(make)
    for verb in (engine.ping, engine.pong):
        with pytest.raises(ValueError, match="125"):
            verb(b"x" * 126)
    with pytest.raises(ValueError, match="123"):
        engine.close(1000, "x" * 124)
    assert not sent(engine)


def test_a_ping_is_answered_between_fragments(make: Any) -> None:
    """RFC 6455 §5.4, §5.5.2."""
    engine = opened(make)
    engine.receive_data(frame(TEXT, b"a", fin=False) + frame(PING, b"now"))

    assert events(engine) == []
    assert sent(engine) == b"\x8a\x03now"


def test_pongs_are_told(make: Any) -> None:
    engine = opened(make)
    engine.ping(b"p")
    engine.receive_data(frame(PONG, b"p"))

    assert events(engine) == [PongReceived(b"p")]
    assert sent(engine) == b"\x89\x01p"


# ── ws-3: text ────────────────────────────────────────────────────────────────


def test_bad_text_is_seen_in_the_fragment_it_is_in(make: Any) -> None:
    """HARDENING ws-3: before the message, even the frame, has ended (RFC 6455 §8.1)."""
    engine = opened(make)
    engine.receive_data(frame(TEXT, b"fine", fin=False))
    assert engine.next_event() is NEED_DATA

    whole = frame(CONTINUATION, b"so \xff far" + b"x" * 1000)

    assert fault_code(engine, whole[: 8 + 4]) == 1007


@pytest.mark.parametrize("text", [b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xe2\x82", b"caf\xc3"])
def test_surrogates_and_cut_characters_are_no_text(make: Any, text: bytes) -> None:
    """HARDENING ws-3."""
    assert fault_code(opened(make), frame(TEXT, text)) == 1007
    in_two = frame(TEXT, text[:1], fin=False) + frame(CONTINUATION, text[1:])
    assert fault_code(opened(make), in_two) == 1007


def test_lone_surrogates_are_not_sent(make: Any) -> None:
    engine = opened(make)
    with pytest.raises(ValueError, match="surrogates"):
        engine.send_message("\ud800")
    with pytest.raises(ValueError, match="surrogates"):
        engine.send_fragment("\ud800", final=True)
    with pytest.raises(ValueError, match="surrogates"):
        engine.close(1000, "\udfff")
    assert not sent(engine)


# ── ws-4, ws-5: sizes ─────────────────────────────────────────────────────────


def test_lengths_are_judged_before_anything_is_kept(make: Any) -> None:
    """HARDENING ws-4: 2^63 is no length, 2^62 is too big, a longer form than needed a fault."""
    assert fault_code(opened(make), frame(BINARY, b"", size=1 << 63)[:10]) == 1002
    assert fault_code(opened(make), frame(BINARY, b"", size=1 << 62)) == 1009
    assert fault_code(opened(make), frame(BINARY, b"x", wide=2)) == 1002
    assert fault_code(opened(make), frame(BINARY, b"x" * 200, wide=8)) == 1002


def test_a_message_of_a_hundred_times_the_limit_in_fragments_is_1009(make: Any) -> None:
    """HARDENING ws-4: as soon as the limit is passed."""
    limits = WebSocketLimits(message=10_000)
    engine = opened(make, limits=limits)
    engine.receive_data(frame(BINARY, b"x" * 4000, fin=False))
    engine.receive_data(frame(CONTINUATION, b"x" * 4000, fin=False))
    assert engine.next_event() is NEED_DATA

    assert fault_code(engine, frame(CONTINUATION, b"x" * 4000, fin=False)[:8]) == 1009


@pytest.mark.parametrize("payload", [b"", b"x"], ids=["empty", "one octet"])
def test_a_flood_of_fragments_ends_at_1024(make: Any, payload: bytes) -> None:
    """HARDENING ws-5."""
    engine = opened(make)
    engine.receive_data(frame(BINARY, payload, fin=False))
    for _ in range(1023):
        engine.receive_data(frame(CONTINUATION, payload, fin=False))
        assert engine.next_event() is NEED_DATA

    assert fault_code(engine, frame(CONTINUATION, payload, fin=False)) == 1009


@pytest.mark.parametrize("step", [2, 3])
def test_a_message_that_dribbles_in_takes_no_more_than_twice_its_size(make: Any, step: int) -> None:
    """HARDENING ws-5: what waits is octets, and not an object for each few of them."""
    size = 96 * 1024
    engine = opened(make, limits=WebSocketLimits(message=size))
    data = memoryview(frame(TEXT, b"x" * size))
    engine.receive_data(bytes(data[:14]))
    tracemalloc.start()
    try:
        for at in range(14, len(data) - 1, step):
            engine.receive_data(bytes(data[at : at + step]))
            engine.next_event()
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert taken <= 2 * size + 32 * 1024


# ── ws-6: compression ─────────────────────────────────────────────────────────


def bomb(size: int) -> bytes:
    """`size` zeros, compressed, and compressed well."""
    made = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = bytes(1 << 20)
    parts = [made.compress(block) for _ in range(size >> 20)]
    return b"".join(parts) + made.flush(zlib.Z_SYNC_FLUSH)[:-4]


def test_a_message_that_swells_is_1009_and_takes_no_memory(make: Any) -> None:
    """HARDENING ws-6: 60 KiB that would become 64 MiB."""
    data = frame(BINARY, bomb(64 << 20), rsv=0x40)
    engine = opened(make, deflate=Agreed())
    tracemalloc.start()
    try:
        assert fault_code(engine, data) == 1009
        assert tracemalloc.get_traced_memory()[1] < 6 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.soak
def test_a_mebibyte_that_would_become_a_gibibyte_is_1009(make: Any) -> None:
    """HARDENING ws-6, at its full size."""
    engine = opened(make, deflate=Agreed())
    assert fault_code(engine, frame(BINARY, bomb(1 << 30), rsv=0x40)) == 1009


def test_rsv1_without_an_agreement_is_1002(make: Any) -> None:
    """HARDENING ws-6."""
    assert fault_code(opened(make), frame(TEXT, squeeze(b"x"), rsv=0x40)) == 1002


def test_empty_blocks_are_no_way_around_the_limit(make: Any) -> None:
    """A compressed message may be as long as one that cannot be compressed, not longer."""
    engine = opened(make, deflate=Agreed(), limits=WebSocketLimits(message=1000))
    engine.receive_data(frame(BINARY, b"\x00\x00\x00\xff\xff" * 300, fin=False, rsv=0x40))
    assert engine.next_event() is NEED_DATA

    again = frame(CONTINUATION, b"\x00\x00\x00\xff\xff" * 300, fin=False)

    assert fault_code(engine, again) == 1009


def test_streams_that_end_inside_a_message_are_few(make: Any) -> None:
    """RFC 7692 §7.2.3.4 lets a block be the last one, and others follow; not thousands."""
    last = zlib.compressobj(-1, zlib.DEFLATED, -15)
    once = last.compress(b"Hello") + last.flush()
    engine = opened(make, deflate=Agreed())
    engine.receive_data(frame(TEXT, once + squeeze(b" again"), rsv=0x40))
    assert events(engine) == [MessageReceived("Hello again")]

    assert fault_code(opened(make, deflate=Agreed()), frame(TEXT, once * 50, rsv=0x40)) == 1007


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("bits", [9, 15])
def test_what_one_side_compresses_the_other_reads(make: Any, takeover: bool, bits: int) -> None:
    """RFC 7692 §7.2, with and without what earlier messages said."""
    agreed = Agreed(
        Deflate(smallest=0),
        server_takeover=takeover,
        client_takeover=takeover,
        server_bits=bits,
        client_bits=bits,
    )
    for theirs in ENGINES:
        server, client = opened(make, deflate=agreed), client_of(theirs, deflate=agreed)
        for speaker, listener in ((server, client), (client, server)):
            sizes: list[int] = []
            for text in ("same old story " * 40, "same old story " * 40, "", "x", ""):
                speaker.send_message(text)
                data = sent(speaker)
                sizes.append(len(data))
                listener.receive_data(data)
                assert events(listener) == [MessageReceived(text)]
            assert (sizes[1] < sizes[0]) is takeover
            speaker.send_fragment("one ", final=False)
            speaker.send_fragment("two", final=False)
            speaker.send_fragment("", final=True)
            listener.receive_data(sent(speaker))
            assert events(listener) == [MessageReceived("one two")]


def test_short_messages_are_not_compressed(make: Any) -> None:
    engine = opened(make, deflate=Agreed(Deflate(smallest=10)))
    engine.send_message(b"x" * 9)
    assert sent(engine) == b"\x82\x09" + b"x" * 9

    engine.send_message(b"x" * 10)
    assert sent(engine)[0] == 0xC2


# ── the closing handshake ─────────────────────────────────────────────────────


def test_a_peers_close_is_answered_with_its_code_and_ends_a_server(make: Any) -> None:
    """RFC 6455 §5.5.1, §7.1.1."""
    engine = opened(make)
    engine.receive_data(close(3001, b"done"))

    assert engine.next_event() == PeerClosed(3001, "done")
    assert engine.next_event() is CLOSED
    assert sent(engine) == b"\x88\x02\x0b\xb9"
    assert (engine.close_code, engine.close_reason) == (3001, "done")


def test_a_client_waits_for_the_server_to_end_the_connection(make: Any) -> None:
    """RFC 6455 §7.1.1."""
    engine = client_of(make)
    engine.receive_data(b"\x88\x02\x03\xe8")

    assert engine.next_event() == PeerClosed(1000)
    assert engine.next_event() is NEED_DATA
    engine.receive_data(b"anything at all")
    assert engine.next_event() is NEED_DATA
    engine.receive_eof()
    assert engine.next_event() is CLOSED


def test_after_our_close_messages_are_thrown_away_and_pings_answered(make: Any) -> None:
    """RFC 6455 §1.4, §5.5.2."""
    engine = opened(make)
    engine.close(1000, "enough")
    assert sent(engine) == b"\x88\x08\x03\xe8enough"
    engine.close(1001)
    engine.receive_data(frame(TEXT, b"late") + frame(PING, b"p"))
    engine.receive_data(frame(TEXT, b"la", fin=False) + frame(CONTINUATION, b"ter"))

    assert events(engine) == []
    assert sent(engine) == b"\x8a\x01p"
    with pytest.raises(WebSocketClosedError):
        engine.send_message(b"no")
    engine.receive_data(close(1000))
    assert events(engine) == [PeerClosed(1000)]
    assert engine.next_event() is CLOSED
    assert not sent(engine)


def test_a_fault_after_our_close_is_told_and_not_answered(make: Any) -> None:
    engine = opened(make)
    engine.close(1000)
    sent(engine)
    engine.receive_data(frame(TEXT, b"\xff"))

    (found,) = events(engine)

    assert isinstance(found, PeerFault)
    assert not sent(engine)
    assert engine.next_event() is CLOSED


def test_the_end_of_the_stream_is_1006(make: Any) -> None:
    """RFC 6455 §7.1.5."""
    engine = opened(make)
    engine.receive_data(frame(TEXT, b"cut short")[:8])
    engine.receive_eof()

    assert events(engine) == [PeerClosed(1006)]
    assert engine.next_event() is CLOSED
    assert engine.close_code == 1006
    with pytest.raises(WebSocketClosedError) as caught:
        engine.send_message("x")
    assert caught.value.code == 1006


def test_a_failure_of_ours_is_1011(make: Any) -> None:
    engine = opened(make)
    engine.internal_error(0)

    assert sent(engine) == b"\x88\x02\x03\xf3"


def test_a_close_without_a_word(make: Any) -> None:
    engine = opened(make)
    engine.close(None)

    assert sent(engine) == b"\x88\x00"
    with pytest.raises(ValueError, match="code"):
        opened(make).close(None, "why")


# ── sending ───────────────────────────────────────────────────────────────────


def test_messages_take_the_shortest_header(make: Any) -> None:
    """RFC 6455 §5.2."""
    engine = opened(make)
    for size, head in (
        (0, b"\x82\x00"),
        (125, b"\x82\x7d"),
        (126, b"\x82\x7e\x00\x7e"),
        (65535, b"\x82\x7e\xff\xff"),
        (65536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ):
        engine.send_message(bytearray(size))
        assert sent(engine) == head + bytes(size)
        assert encode_message(bytes(size)) == head + bytes(size)
    assert encode_message("hé") == b"\x81\x03h\xc3\xa9"


def test_long_payloads_are_not_copied(make: Any) -> None:
    engine = opened(make)
    payload = b"x" * 100_000
    engine.send_message(payload)

    assert any(piece is payload for piece in engine.data_to_send())


def test_a_message_in_fragments(make: Any) -> None:
    """RFC 6455 §5.4."""
    engine = opened(make)
    engine.send_fragment("he", final=False)
    assert engine.sending
    engine.ping(b"p")
    engine.send_fragment("llo", final=True)
    assert not engine.sending

    assert sent(engine) == b"\x01\x02he\x89\x01p\x80\x03llo"


def test_fragments_of_one_message_are_of_one_kind_and_not_mixed_with_others(make: Any) -> None:
    engine = opened(make)
    engine.send_fragment(b"a", final=False)
    with pytest.raises(WebUsageError, match="text"):
        engine.send_fragment("b", final=True)
    with pytest.raises(WebUsageError, match="fragments"):
        engine.send_message(b"c")
    with pytest.raises(TypeError, match="int"):
        opened(make).send_message(3)

    assert sent(engine) == b"\x02\x01a"


# ── reading by pieces, and the rest ───────────────────────────────────────────


def test_pieces_are_told_as_they_come(make: Any) -> None:
    engine = opened(make, pieces=True)
    whole = frame(TEXT, "aé€😀".encode(), fin=False) + frame(CONTINUATION, b"end")
    engine.receive_data(whole[:8])
    assert events(engine) == [PieceReceived("a", False)]
    engine.receive_data(whole[8:9])
    assert events(engine) == [PieceReceived("é", False)]
    engine.receive_data(whole[9:])
    told = events(engine)

    assert "".join(each.data for each in told) == "€😀end"
    assert [each.ended for each in told][-1] is True
    engine.receive_data(frame(BINARY))
    assert events(engine) == [PieceReceived(b"", True)]


def test_releasing_ends_an_engine_and_gives_back_what_was_not_read(make: Any) -> None:
    engine = opened(make)
    engine.receive_data(b"rest")

    assert engine.release() == b"rest"
    assert engine.next_event() is CLOSED


def test_codes_of_the_registry() -> None:
    good = [code for code in range(5001) if is_close_code(code)]
    assert good[:12] == [1000, 1001, 1002, 1003, *range(1007, 1014), 3000]
    assert good[-1] == 4999


@pytest.mark.parametrize(
    "wrong", [{"window_bits": 8}, {"window_bits": 16}, {"memory": 0}, {"level": 10}]
)
def test_odd_wishes_for_compression_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="not"):
        Deflate(**wrong)  # type: ignore[arg-type]  # on purpose
