"""Server-sent events: read as the standard says, whatever the cuts, and bounded."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sennit.core.testing.engines import assert_no_io
from sennit.web.client.eventstream import EventParser, ServerSentEvent


def read(
    data: bytes, *, step: int = 10**9, parser: EventParser | None = None
) -> list[ServerSentEvent]:
    parser = parser or EventParser()
    found: list[ServerSentEvent] = []
    for at in range(0, len(data), step):
        found += parser.feed(data[at : at + step])
    return found


def test_the_examples_of_the_standard() -> None:
    """WHATWG HTML §9.2.6."""
    assert read(b"data: YHOO\ndata: +2\ndata: 10\n\n") == [ServerSentEvent("YHOO\n+2\n10")]
    parser = EventParser()
    stream = (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\n"
        b"data:  third event\n\n"
    )
    assert read(stream, parser=parser) == [
        ServerSentEvent("first event", id="1"),
        ServerSentEvent("second event"),
        ServerSentEvent(" third event"),
    ]
    assert read(b"data\n\ndata\ndata\n\ndata:") == [ServerSentEvent(""), ServerSentEvent("\n")]
    assert read(b"data:test\n\ndata: test\n\n") == [ServerSentEvent("test")] * 2


def test_lines_end_in_any_way_and_are_cut_anywhere() -> None:
    for end in (b"\n", b"\r", b"\r\n"):
        stream = end.join((b"event: add", b"data: 1", b"data: 2", b"", b"data: 3", b"", b""))
        for step in range(1, len(stream) + 1):
            assert read(stream, step=step) == [
                ServerSentEvent("1\n2", "add"),
                ServerSentEvent("3"),
            ]


def test_an_id_lasts_until_the_next_and_one_with_nul_is_ignored() -> None:
    parser = EventParser(last_id="0")
    found = read(b"data: a\n\nid: 7\ndata: b\n\nid: \x00\ndata: c\n\nid: 8\n\n", parser=parser)
    assert [each.id for each in found] == ["0", "7", "7"]
    assert parser.last_id == "8"


def test_the_id_of_an_event_that_is_not_complete_does_not_count_yet() -> None:
    parser = EventParser()
    read(b"id: 1\ndata: a\n\nid: 2\ndata: b\n", parser=parser)
    assert parser.last_id == "1"


def test_retry_is_digits_or_nothing() -> None:
    parser = EventParser()
    for odd in (b"retry: -1\n", b"retry: 1s\n", b"retry:\n", "retry: ١\n".encode()):
        parser.feed(odd)
        assert parser.retry is None
    parser.feed(b"retry: 2500\n")
    assert parser.retry == 2500
    parser.feed(b"retry: " + b"9" * 5000 + b"\n")
    assert parser.retry == 24 * 3600 * 1000


def test_one_byte_order_mark_is_passed_over_and_bad_utf8_is_replaced() -> None:
    assert read(b"\xef\xbb\xbfdata: a\n\n", step=1) == [ServerSentEvent("a")]
    assert read(b"\n\xef\xbb\xbfdata: a\n\n") == []
    assert read(b"data: \xff\n\n") == [ServerSentEvent("\ufffd")]


def test_fields_nobody_knows_and_events_without_data_are_passed_over() -> None:
    assert read(b"hello\nx: y\nevent: add\n\nDATA: a\n\n:\n\ndata: b\n\n") == [ServerSentEvent("b")]


def test_an_event_that_is_too_large_ends_the_stream() -> None:
    for endless in (b"data: " + b"x" * 2000, b"data: xxxx\n" * 200, b"id: 1\n" * 300):
        parser = EventParser(1000)
        for at in range(0, len(endless), 100):
            parser.feed(endless[at : at + 100])
        assert parser.fault == "an event of more than 1000 octets"
        assert parser.feed(b"\n\ndata: a\n\n") == []


def test_comments_keep_a_stream_awake_for_ever() -> None:
    parser = EventParser(100)
    for _ in range(1000):
        assert parser.feed(b": ping\n") == []
    assert parser.feed(b"data: a\n\n") == [ServerSentEvent("a")]


@given(st.binary(max_size=300), st.integers(1, 20))
def test_no_octets_raise_and_cuts_change_nothing(data: bytes, step: int) -> None:
    one, two = EventParser(200), EventParser(200)
    assert read(data, parser=one) == read(data, step=step, parser=two) or one.fault or two.fault
    assert (one.last_id, one.retry) == (two.last_id, two.retry) or one.fault or two.fault


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_characters="\r\0", codec="utf-8")),
            st.text(st.characters(exclude_characters="\r\n\0", codec="utf-8"), min_size=1).map(
                lambda text: "e" + text
            ),
        ),
        max_size=5,
    )
)
def test_what_is_written_is_what_is_read(events: list[tuple[str, str]]) -> None:
    lines: list[str] = []
    for data, kind in events:
        lines += [f"event: {kind}", *(f"data: {line}" for line in data.split("\n")), "", ""]
    stream = "\n".join(lines).encode()
    assert [(each.data, each.event) for each in read(stream + b"\n")] == events


def test_the_parser_does_no_io() -> None:
    assert_no_io("sennit.web.client.eventstream")


def test_the_fuzz_target_likes_its_seeds() -> None:
    path = Path(__file__).parent / "fuzz" / "fuzz_client_events.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for seed in module.SEEDS:
        module.fuzz(seed)
