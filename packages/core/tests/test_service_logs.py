"""Log lines: one per event whatever a peer wrote, and never a wait."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core.ops.records import (
    FIELD,
    FIELDS,
    JSONFormatter,
    RepeatFilter,
    TextFormatter,
    escape,
    formatter,
)
from sennit.core.service.logs import LinesHandler, set_up
from sennit.core.service.output import WAITING, LineWriter

if TYPE_CHECKING:
    from collections.abc import Iterator


def record(
    message: str, *arguments: object, name: str = "sennit.web", **extra: object
) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.INFO, "x.py", 1, message, arguments, None)
    made.__dict__.update(extra)
    return made


# ── format ────────────────────────────────────────────────────────────────────


def test_fields_stand_in_a_fixed_order() -> None:
    line = TextFormatter().format(
        record("refused %s", "it", service="site", peer="127.0.0.1:5", phase="head", duration=0.5)
    )

    time, level, service, peer, message = line.split(maxsplit=4)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time)
    assert (level, service, peer) == ("INFO", "site", "127.0.0.1:5")
    assert message == "refused it phase=head duration=0.500"


def test_a_record_without_service_is_named_after_its_logger() -> None:
    assert TextFormatter().format(record("x")).split()[2:4] == ["web", "-"]


@pytest.mark.parametrize(
    ("given_text", "written"),
    [
        ("a\r\n2030-01-01T00:00:00.000Z ERROR forged", "a\\r\\n2030-01-01T00:00:00.000Z ERROR"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\u2028b\u2029c", "a\\u2028b\\u2029c"),
        ("\x9b2J\x85", "\\x9b2J\\x85"),
        ("\0\x7f\t", "\\x00\\x7f\\t"),
        ("\u202eevil\u200b", "\\u202eevil\\u200b"),
        ("\udcff", "\\udcff"),
        ("grün ☃", "grün ☃"),
    ],
)
def test_controls_are_written_as_escapes(given_text: str, written: str) -> None:
    """HARDENING core-19 (CWE-117)."""
    line = TextFormatter().format(record("user %s", given_text))

    assert written in line
    assert len(line.splitlines()) == 1


def test_a_peer_or_service_with_blanks_stays_one_field() -> None:
    line = TextFormatter().format(record("x", service="a b", peer="c d"))

    assert ' "a b" "c d" ' in line


def test_a_value_with_quotes_cannot_be_taken_for_two() -> None:
    line = TextFormatter().format(record("x", phase='a" rule="RFC 1', rule="", reason="a=b"))

    assert line.endswith('x phase="a\\" rule=\\"RFC 1" rule=- reason=a=b')


# ── JSON ──────────────────────────────────────────────────────────────────────


def test_a_record_is_one_json_object_with_the_fields_it_has() -> None:
    line = JSONFormatter().format(
        record("refused %s", "it", service="site", peer="127.0.0.1:5", duration=0.25, connection=7)
    )

    found = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert found == {
        "level": "info",
        "logger": "sennit.web",
        "message": "refused it",
        "service": "site",
        "peer": "127.0.0.1:5",
        "connection": 7,
        "duration": 0.25,
    }


def test_an_exception_is_a_list_of_lines() -> None:
    try:
        raise ValueError("one\ntwo \x1b[2J")
    except ValueError as error:
        made = logging.LogRecord("x", logging.ERROR, "x", 1, "oh", (), (ValueError, error, None))

    line = JSONFormatter().format(made)

    assert "\n" not in line
    assert json.loads(line)["exception"][-2:] == ["ValueError: one", "two \\x1b[2J"]


def test_a_traceback_that_was_made_text_already_is_written_too() -> None:
    made = record("oh")
    made.exc_text = "Traceback\nValueError: x"

    assert json.loads(JSONFormatter().format(made))["exception"] == ["Traceback", "ValueError: x"]
    assert TextFormatter().format(made).splitlines()[1:] == [
        "    | Traceback",
        "    | ValueError: x",
    ]


@given(
    st.sampled_from(FIELDS),
    st.one_of(st.text(max_size=50), st.integers(), st.floats(), st.booleans(), st.binary()),
    st.text(max_size=50),
)
def test_whatever_a_record_holds_is_one_line_of_json(field: str, value: Any, text: str) -> None:
    """HARDENING core-19; RFC 8259 has no NaN and RFC 8259 §6 no numbers without end."""

    def no_constant(name: str) -> None:
        raise AssertionError(name)

    line = JSONFormatter().format(record("said %s", text, **{field: value}))

    assert len(line.splitlines()) == 1
    assert line.isascii()
    assert line.isprintable()
    found = json.loads(line, parse_constant=no_constant)
    assert field in found


def test_a_field_whose_text_fails_says_so() -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError

    assert json.loads(JSONFormatter().format(record("x", peer=Odd())))["peer"] == "<RuntimeError>"


def test_there_are_two_forms_and_no_third() -> None:
    assert isinstance(formatter("text"), TextFormatter)
    assert isinstance(formatter("json"), JSONFormatter)
    with pytest.raises(ValueError, match="'text' or 'json', not 'xml'"):
        formatter("xml")


@given(st.text(), st.integers(min_value=8, max_value=64))
def test_no_text_is_longer_than_its_limit_or_more_than_a_line(text: str, limit: int) -> None:
    shown = escape(text, limit)

    assert len(shown.encode()) <= limit
    assert len(shown.splitlines()) <= 1


def test_a_field_has_at_most_one_kibibyte() -> None:
    """HARDENING core-19: field <= 1 KiB."""
    line = TextFormatter().format(record("%s", "\x1b" * 100_000, peer="é" * 100_000))

    message = line.split(maxsplit=4)
    assert len(message[3].encode()) <= FIELD
    assert len(message[4].encode()) <= FIELD


def test_a_traceback_cannot_be_taken_for_a_record() -> None:
    try:
        raise ValueError("x\n2030-01-01T00:00:00.000Z ERROR node - forged\x1b[2J")
    except ValueError as error:
        made = record("failed")
        made.exc_info = (type(error), error, error.__traceback__)

    first, *rest = TextFormatter().format(made).split("\n")

    assert first.endswith("failed")
    assert rest
    assert all(line.startswith("    | ") for line in rest)
    assert "\x1b" not in "".join(rest)


def test_a_long_traceback_keeps_both_ends() -> None:
    def down(depth: int) -> None:
        if depth:
            # Two functions in turn, so that Python does not fold equal lines by itself.
            across(depth - 1)
        else:
            raise ValueError("at the bottom")

    def across(depth: int) -> None:
        down(depth)

    made = record("failed")
    try:
        down(200)
    except ValueError as error:
        made.exc_info = (type(error), error, error.__traceback__)

    lines = TextFormatter().format(made).split("\n")

    assert len(lines) <= 62
    assert "Traceback" in lines[1]
    assert "at the bottom" in lines[-1]


def test_a_log_call_that_was_written_wrong_is_still_written() -> None:
    assert "cannot be formatted" in TextFormatter().format(record("%d", "x"))


# ── repetition ────────────────────────────────────────────────────────────────


def test_what_repeats_is_counted_instead() -> None:
    now = 0.0
    repeats = RepeatFilter(burst=2, interval=10.0, clock=lambda: now)

    passed = [repeats.filter(record("from %s", each)) for each in range(10)]
    assert passed == [True, True] + [False] * 8
    assert repeats.filter(record("something else"))

    now = 11.0
    later = record("from %s", "x")
    assert repeats.filter(later)
    assert later.getMessage() == "from x (8 more like this were left out)"


def test_access_logs_are_never_thinned_out() -> None:
    repeats = RepeatFilter(burst=1)

    assert all(repeats.filter(record("GET %s", 1, name="sennit.web.access")) for _ in range(50))


def test_what_is_logged_need_be_no_text() -> None:
    repeats = RepeatFilter(burst=1)
    made = record("")
    given: Any = {"a": ["dict"]}
    made.msg = given
    assert repeats.filter(made)
    assert not repeats.filter(made)


def test_the_kinds_that_are_remembered_are_bounded() -> None:
    repeats = RepeatFilter()

    for number in range(5000):
        repeats.filter(record(f"message {number}"))

    assert len(repeats._kinds) <= 512


# ── writing without waiting ───────────────────────────────────────────────────


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for each in (reading, writing):
        try:
            os.close(each)
        except OSError:
            pass


def test_lines_come_out_in_order(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    writer = LineWriter(writing)

    for number in range(100):
        assert writer.write(f"line {number}")
    assert writer.close()

    assert os.read(reading, 65536).decode().split("\n") == [
        *(f"line {number}" for number in range(100)),
        "",
    ]


def test_a_pipe_that_nobody_reads_costs_no_wait_and_lines_are_counted(
    pipe: tuple[int, int],
) -> None:
    """HARDENING fault-14: never blocks, drops and counts."""
    reading, writing = pipe
    writer = LineWriter(writing, notice="{} lines were dropped")

    results = [writer.write("x" * 200) for _ in range(WAITING * 3)]
    assert not all(results)
    assert writer.dropped == results.count(False)
    assert not writer.flush(0.01)

    everything = bytearray()
    reader = threading.Thread(target=_drain, args=(reading, everything))
    reader.start()
    assert writer.flush(20.0)
    assert writer.write("the last")
    assert writer.close()
    os.close(writing)
    reader.join(20.0)

    lines = everything.decode().split("\n")
    told = [int(line.split()[0]) for line in lines if line.endswith("were dropped")]
    assert sum(told) == writer.dropped == results.count(False)
    assert lines[-2] == "the last"
    assert lines.count("x" * 200) == results.count(True)


def _drain(fd: int, into: bytearray) -> None:
    while data := os.read(fd, 65536):
        into += data


def test_a_reader_that_has_gone_ends_the_writing_and_nothing_else(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.close(reading)
    writer = LineWriter(writing)

    writer.write("nobody hears this")

    assert writer.flush(5.0)
    assert not writer.write("nor this")
    assert writer.close()


def test_a_disk_that_was_full_gets_lines_again(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """HARDENING fault-14: what is dropped meanwhile is counted."""
    reader, fd = pipe
    really = os.write
    room = [6]

    def write(where: int, data: Any) -> int:
        if where != fd:
            return really(where, data)
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = really(where, data[: room[0]])
        room[0] -= count
        return count

    monkeypatch.setattr("os.write", write)
    writer = LineWriter(fd, notice="… {} log lines were dropped")
    writer.write("first")
    assert writer.flush()
    room[0] = 3
    writer.write("second")
    assert writer.flush()
    assert (writer.dropped, writer.write("third")) == (1, True)
    assert writer.flush()
    room[0] = 1000
    writer.write("fourth")

    assert writer.close()
    assert os.read(reader, 1000).decode() == ("first\nsec\n… 2 log lines were dropped\nfourth\n")


def test_a_descriptor_made_non_blocking_by_others_is_written_whole(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.set_blocking(writing, False)
    writer = LineWriter(writing)
    everything = bytearray()

    for number in range(500):
        writer.write(f"{number:01000}")
    reader = threading.Thread(target=_drain, args=(reading, everything))
    reader.start()
    assert writer.close(20.0)
    os.close(writing)
    reader.join(20.0)

    assert [int(line) for line in everything.decode().split()] == list(range(500))


def test_set_up_sends_the_root_loggers_records_and_can_be_undone(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    before = logging.getLogger().handlers[:]
    writer = LineWriter(writing)

    put_back = set_up(writer, "warning")
    logging.getLogger("sennit.x").warning("heard", extra={"service": "s"})
    logging.getLogger("sennit.x").info("not heard")
    put_back()
    writer.close()

    assert logging.getLogger().handlers == before
    text = os.read(reading, 65536).decode()
    assert text.count("\n") == 1
    assert " WARNING s - heard" in text


def test_a_handler_writes_what_its_formatter_says(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    writer = LineWriter(writing)
    handler = LinesHandler(writer)

    handler.emit(record("plain"))
    writer.close()

    assert os.read(reading, 100) == b"plain\n"
