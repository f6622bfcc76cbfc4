"""What a request carries: octets, files, iterables, forms, JSON; and how far it is."""

from __future__ import annotations

import asyncio
import io
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core.engine import FilePart
from sennit.web.client.multipart import Multipart, Part, new_boundary
from sennit.web.client.progress import Meter, Progress, metered
from sennit.web.client.uploads import (
    BytesUpload,
    Upload,
    encode_query,
    form_upload,
    json_upload,
    upload_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


def octets(upload: Upload) -> bytes:
    async def run() -> bytes:
        return b"".join([bytes(piece) async for piece in upload.pieces()])

    return asyncio.run(run())


async def numbers() -> AsyncIterator[bytes]:
    yield b"one "
    yield b""
    yield b"two"


class Again:
    """Pieces that can be had again and again."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"one "
        yield b"two"


def test_octets_and_text_are_what_they_are() -> None:
    for given_, kind in (
        (b"abc", None),
        (bytearray(b"abc"), None),
        (memoryview(b"abc"), None),
        ("abc", b"text/plain; charset=utf-8"),
    ):
        upload = upload_of(given_)
        assert (upload.open(), upload.length, upload.content_type) == (b"abc", 3, kind)
        assert octets(upload) == b"abc"
        assert upload.available


def test_a_file_is_sent_from_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(b"{}" * 500)
    upload = upload_of(path)
    assert (upload.length, upload.content_type, upload.repeatable) == (
        1000,
        b"application/json",
        True,
    )
    parts = [upload.open(), upload.open()]
    for part in parts:
        assert isinstance(part, FilePart)
        assert (part.offset, part.length, part.close_file) == (0, 1000, False)
    assert octets(upload) == b"{}" * 500
    with pytest.raises(FileNotFoundError):
        upload_of(tmp_path / "none")


def test_an_open_file_is_sent_from_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        file.read(4)
        upload = upload_of(file)
        assert upload.length == 6
        part = upload.open()
        assert isinstance(part, FilePart)
        assert (part.offset, part.length, part.close_file) == (4, 6, False)
        assert octets(upload) == octets(upload) == b"456789"
    memory = upload_of(io.BytesIO(b"abc"))
    assert not isinstance(memory.open(), FilePart)
    assert octets(memory) == octets(memory) == b"abc"
    with path.open() as text, pytest.raises(ValueError, match="'rb'"):
        upload_of(text)  # type: ignore[arg-type]  # the mistake that people make


async def test_a_pipe_is_read_once_and_its_length_not_known() -> None:
    read, write = os.pipe()
    os.write(write, b"from a pipe")
    os.close(write)
    with os.fdopen(read, "rb") as file:
        upload = upload_of(file)
        assert (upload.length, upload.repeatable) == (None, False)
        assert b"".join([bytes(each) async for each in upload.pieces()]) == b"from a pipe"
        assert not upload.available


def test_a_file_that_becomes_shorter_ends_the_request(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"0123456789")
    upload = upload_of(path)
    path.write_bytes(b"0123")
    with pytest.raises(OSError, match="shorter"):
        octets(upload)


def test_iterables_are_asked_for_piece_by_piece() -> None:
    upload = upload_of(numbers(), length=7)
    assert (upload.length, upload.repeatable, upload.available) == (7, False, True)
    upload.open()
    assert upload.available, "nothing of it was taken yet"
    assert octets(upload) == b"one two"
    assert not upload.available
    with pytest.raises(ValueError, match="only once"):
        octets(upload)
    again = upload_of(Again())
    assert octets(again) == octets(again) == b"one two"
    assert octets(upload_of([b"a", bytearray(b"b")])) == b"ab"


def test_what_cannot_be_sent_is_refused() -> None:
    for odd in (5, {"a": "b"}, None):
        with pytest.raises(TypeError, match="content is bytes"):
            upload_of(odd)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(TypeError, match="pieces of bytes"):
        octets(upload_of(["text"]))  # type: ignore[list-item]  # on purpose


def test_forms_and_queries_are_encoded() -> None:
    upload = form_upload({"a": "b c", "d": ["1", 2, None, 3.5], "e": True, "f": None, "ü": "&="})
    assert octets(upload) == b"a=b+c&d=1&d=2&d=3.5&e=true&%C3%BC=%26%3D"
    assert upload.content_type == b"application/x-www-form-urlencoded"
    assert encode_query([("a", "b c"), ("a", b"\xff")]) == "a=b%20c&a=%FF"
    with pytest.raises(TypeError, match="field 'a'"):
        encode_query({"a": object()})


def test_json_is_strict() -> None:
    upload = json_upload({"a": [1, "ü", None]})
    assert octets(upload) == '{"a":[1,"ü",null]}'.encode()
    assert upload.content_type == b"application/json"
    with pytest.raises(ValueError, match=r"Out of range|JSON"):
        json_upload(float("nan"))


# ── multipart ─────────────────────────────────────────────────────────────────


def test_a_form_with_files_is_written_as_browsers_write_it(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_bytes(b"<p>")
    form = Multipart(
        {"field": "välue", "n": 1},
        {
            "file": path,
            "named": ("../a.txt", b"text"),
            "typed": ("x", "y", "text/x-own"),
            "part": Part(b"z", headers={"X-Own": "1"}),
            "several": [b"1", b"2"],
        },
        boundary="BOUND",
    )
    body = octets(form)
    assert form.content_type == b"multipart/form-data; boundary=BOUND"
    assert form.length == len(body)
    assert form.repeatable
    assert body.decode().split("\r\n") == [
        "--BOUND",
        'Content-Disposition: form-data; name="field"',
        "",
        "välue",
        "--BOUND",
        'Content-Disposition: form-data; name="n"',
        "",
        "1",
        "--BOUND",
        'Content-Disposition: form-data; name="file"; filename="page.html"',
        "Content-Type: text/html; charset=utf-8",
        "",
        "<p>",
        "--BOUND",
        'Content-Disposition: form-data; name="named"; filename="a.txt"',
        "Content-Type: text/plain; charset=utf-8",
        "",
        "text",
        "--BOUND",
        'Content-Disposition: form-data; name="typed"; filename="x"',
        "Content-Type: text/x-own",
        "",
        "y",
        "--BOUND",
        'Content-Disposition: form-data; name="part"',
        "X-Own: 1",
        "",
        "z",
        "--BOUND",
        'Content-Disposition: form-data; name="several"; filename="file"',
        "Content-Type: application/octet-stream",
        "",
        "1",
        "--BOUND",
        'Content-Disposition: form-data; name="several"; filename="file"',
        "Content-Type: application/octet-stream",
        "",
        "2",
        "--BOUND--",
        "",
    ]


@pytest.mark.parametrize("odd", ["a\r\nX: y", "a\rb", "a\nb", "a\0b"])
def test_no_name_begins_a_part_of_its_own(odd: str) -> None:
    """HARDENING h1-25 (CVE-2023-49082)."""
    with pytest.raises(ValueError, match="line break"):
        Multipart({odd: "x"})
    with pytest.raises(ValueError, match="line break"):
        Multipart(files={"f": (odd, b"x")})
    with pytest.raises(ValueError, match="control octet"):
        Multipart(files={"f": ("f", b"x", odd)})
    with pytest.raises(ValueError, match="control octet"):
        Part(b"x", headers={"x-own": odd})
    with pytest.raises(ValueError, match="boundary"):
        Multipart({"a": "b"}, boundary=odd)


def test_a_quotation_mark_does_not_end_a_name() -> None:
    body = octets(Multipart({'a"; filename="x': "1"}, {"f": ('b".txt', b"")}, boundary="B"))
    assert b'name="a%22; filename=%22x"\r\n' in body
    assert b'filename="b%22.txt"\r\n' in body


def test_boundaries_are_new_each_time() -> None:
    assert new_boundary() != new_boundary()
    assert len(new_boundary()) <= 70
    for odd in ("", "x" * 71, "a b", "ä"):
        with pytest.raises(ValueError, match="boundary"):
            Multipart(boundary=odd)


def test_a_form_of_unknown_length_can_be_sent_once() -> None:
    form = Multipart(files={"f": numbers()}, boundary="B")
    assert (form.length, form.repeatable, form.available) == (None, False, True)
    assert b"one two" in octets(form)
    assert not form.available
    sized = Multipart(files={"f": Part(numbers(), "f", length=7)}, boundary="B")
    assert sized.length == len(octets(sized))


@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters='\r\n\0"', codec="utf-8"), max_size=20),
        st.text(st.characters(codec="utf-8"), max_size=50),
        max_size=4,
    )
)
def test_another_reader_finds_the_same_fields(fields: dict[str, str]) -> None:
    """Python's own parser of MIME is the other reader."""
    from email.parser import BytesParser
    from email.policy import HTTP

    form = Multipart(fields)
    assert form.content_type is not None
    message: Any = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: " + form.content_type + b"\r\n\r\n" + octets(form)
    )
    found = [part.get_payload(decode=True) for part in message.iter_parts()] if fields else []
    assert found == [value.encode() for value in fields.values()]


# ── progress ──────────────────────────────────────────────────────────────────


def test_progress_is_told_now_and_then_and_at_the_end() -> None:
    seen: list[tuple[int, float | None, bool]] = []
    time = 0.0

    def note(progress: Progress) -> None:
        seen.append((progress.done, progress.fraction, progress.finished))

    meter = Meter(note, 100, lambda: time)
    for _ in range(10):
        meter.count(10)
        time += 0.04
    meter.finish()
    assert seen == [
        (10, 0.1, False),
        (40, 0.4, False),
        (70, 0.7, False),
        (100, 1.0, False),
        (100, 1.0, True),
    ]
    assert meter.progress.rate == pytest.approx(250)
    assert meter.progress.remaining == 0


def test_progress_says_what_it_knows() -> None:
    unknown = Progress(50, None, 2.0)
    assert (unknown.fraction, unknown.rate, unknown.remaining) == (None, 25.0, None)
    assert Progress(0, 0, 0.0).fraction == 1.0
    assert Progress(0, 10, 0.0).remaining is None
    resumed = Progress(600, 1000, 1.0, offset=500)
    assert (resumed.rate, resumed.remaining, resumed.fraction) == (100.0, 4.0, 0.6)


def test_what_passes_a_meter_is_the_same() -> None:
    seen: list[int] = []

    async def run() -> list[bytes]:
        meter = Meter(lambda progress: seen.append(progress.done), None, lambda: 0.0)
        return [bytes(each) async for each in metered(BytesUpload(b"abc").pieces(), meter)]

    assert asyncio.run(run()) == [b"abc"]
    assert seen == [3, 3]
