"""Forms: fields and uploads, whole and cut up, small and hostile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.web import MissingFieldError
from sennit.web.forms import Form, FormError, FormLimits, read_form
from sennit.web.multipart import (
    MultipartReader,
    PartBegun,
    PartData,
    parse_parameters,
    safe_file_name,
)

if TYPE_CHECKING:
    from sennit.core import Reactor

KIND = "multipart/form-data; boundary=XX"


def part(name: str, value: bytes, file_name: str | None = None, more: str = "") -> bytes:
    given_name = "" if file_name is None else f'; filename="{file_name}"'
    head = f'--XX\r\nContent-Disposition: form-data; name="{name}"{given_name}\r\n{more}\r\n'
    return head.encode() + value + b"\r\n"


END = b"--XX--\r\n"


async def pieces(data: bytes, size: int = 65536) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def read(
    data: bytes, kind: str = KIND, limits: FormLimits | None = None, size: int = 65536
) -> Form:
    return asyncio.run(read_form(kind, pieces(data, size), limits))


def refused(data: bytes, kind: str = KIND, limits: FormLimits | None = None) -> int:
    with pytest.raises(FormError) as caught:
        read(data, kind, limits)
    return caught.value.status


# ── what browsers send ────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [1, 7, 65536])
def test_fields_and_uploads_come_apart_wherever_the_stream_is_cut(size: int) -> None:
    data = (
        part("title", "Zoë".encode())
        + part("picture", b"\x89PNG\r\n--X", "a.png", "Content-Type: image/png\r\n")
        + part("title", b"second")
        + END
    )
    form = read(data, size=size)
    assert form["title"] == "Zoë"
    assert form.get_all("title") == ["Zoë", "second"]
    assert dict(form) == {"title": "Zoë"}
    upload = form.uploads["picture"]
    assert (upload.file_name, upload.content_type, upload.size) == ("a.png", "image/png", 9)
    assert asyncio.run(upload.read()) == b"\x89PNG\r\n--X"


def test_an_urlencoded_form_is_read_as_browsers_write_it() -> None:
    form = read(b"a=1&b=two+words&a=%C3%A9&empty=&flag", "application/x-www-form-urlencoded")
    assert form.fields == [
        ("a", "1"),
        ("b", "two words"),
        ("a", "é"),
        ("empty", ""),
        ("flag", ""),
    ]


def test_other_content_is_no_form() -> None:
    assert refused(b"{}", "application/json") == 415
    assert refused(b"{}", "") == 415


def test_names_are_unescaped_as_browsers_escape_them() -> None:
    form = read(part("a%22b%0D%0Ac%41", b"x") + END)
    assert list(form) == ['a"b\r\nc%41']


def test_curl_escapes_by_backslash() -> None:
    data = b'--XX\r\nContent-Disposition: form-data; name="a\\"b\\\\c"\r\n\r\nx\r\n' + END
    assert list(read(data)) == ['a"b\\c']


def test_an_empty_file_field_is_an_upload_without_name() -> None:
    form = read(part("picture", b"", "") + END)
    assert (form.files[0].file_name, form.files[0].size) == ("", 0)


def test_what_stands_behind_the_end_says_nothing() -> None:
    assert read(part("a", b"1") + END + b"junk" * 100)["a"] == "1"


# ── what nobody honest sends ──────────────────────────────────────────────────


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        f"multipart/form-data; boundary={'x' * 71}",
        f"multipart/form-data; boundary={'x' * 1024}",
        'multipart/form-data; boundary="a\r\nb"',
        'multipart/form-data; boundary="ends with "',
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=a; nonsense",
    ],
)
def test_a_boundary_that_is_none_is_refused(kind: str) -> None:
    """HARDENING h1-17."""
    assert refused(part("a", b"1") + END, kind) == 400


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"XX",
        part("a", b"1"),
        part("a", b"1") + b"--XX",
        b"preamble\r\n" + part("a", b"1") + END,
        b"\r\n" + part("a", b"1") + END,
        b"--XX\r\n\r\nno headers\r\n" + END,
        b'--XX\r\nContent-Disposition: attachment; name="a"\r\n\r\nx\r\n' + END,
        b"--XX\r\nContent-Disposition: form-data\r\n\r\nx\r\n" + END,
        b'--XX\r\nContent-Disposition: form-data; name="a"; name="b"\r\n\r\nx\r\n' + END,
        b'--XX\r\nContent-Disposition: form-data; name="a"\r\nContent-Disposition: x\r\n\r\n'
        b"x\r\n" + END,
        b'--XX\r\nContent-Disposition: form-data;\r\n name="a"\r\n\r\nx\r\n' + END,
        b'--XX\nContent-Disposition: form-data; name="a"\n\nx\n--XX--\n',
        b'--XX\r\nContent-Disposition: form-data; name="a\0"\r\n\r\nx\r\n' + END,
        part("a", b"1", more="Content-Transfer-Encoding: base64\r\n") + END,
    ],
)
def test_a_broken_form_is_refused(data: bytes) -> None:
    """HARDENING h1-17."""
    assert refused(data) == 400


def test_a_hundred_thousand_parts_are_refused_at_the_thousandth() -> None:
    """HARDENING h1-17."""
    assert refused(part("a", b"1") * 100_000 + END) == 413
    assert len(read(part("a", b"") * 1000 + END).fields) == 1000


def test_a_parts_headers_are_bounded_in_all() -> None:
    """HARDENING h1-17."""
    assert refused(b"--XX\r\nA: " + b"x" * 1024 * 1024 + b"\r\n\r\n" + END) == 400
    many = b"".join(b"A%d: %b\r\n" % (n, b"x" * 3000) for n in range(4))
    assert refused(part("a", b"1", more=many.decode()) + END) == 400


def test_what_counts_is_all_fields_together() -> None:
    """HARDENING h1-17."""
    data = b"".join(part(f"f{n}", b"x" * 20_000) for n in range(60)) + END
    assert refused(data) == 413
    limits = FormLimits(fields=10)
    assert refused(part("a", b"1") * 11 + END, limits=limits) == 413


def test_an_urlencoded_form_is_bounded_too() -> None:
    kind = "application/x-www-form-urlencoded"
    assert refused(b"a=" + b"x" * 1024 * 1024, kind) == 413
    assert refused(b"a&" * 1000, kind) == 413
    assert len(read(b"&".join([b"a=1"] * 1000), kind).fields) == 1000


@pytest.mark.parametrize(
    "content", [b"\r\n--X" * 200_000, b"\r\n" * 400_000, b"-" * 800_000, b"\r\n--XX-" * 100]
)
def test_near_boundaries_cost_linear_time(content: bytes) -> None:
    reader = MultipartReader("XX")
    begun = time.process_time()
    reader.receive_data(part("a", b"", "f")[:-2] + content)
    assert time.process_time() - begun < 2


# ── names of files ────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("raw", "safe"),
    [
        ("photo.jpg", "photo.jpg"),
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("C:\\Users\\x\\photo.jpg", "photo.jpg"),
        ("C:\\x", "x"),
        ("C:x", "x"),
        ("..\\..\\x", "x"),
        ("a\0b.txt", "ab.txt"),
        ("a\r\nb", "ab"),
        ("a%0D%0Ab%2Fc", "ab%2Fc"),
        ("", ""),
        (".", ""),
        ("..", ""),
        ("a/..", ""),
        ("C:..", ""),
        ("a/", ""),
        ("\u202ex", "\u202ex"),
        ("x" * 300 + ".jpg", "x" * 251 + ".jpg"),
        ("é" * 200, "é" * 127),
        ("x." + "y" * 300, "x." + "y" * 253),
    ],
)
def test_only_the_last_component_of_a_name_is_offered(raw: str, safe: str) -> None:
    """HARDENING h1-18."""
    assert safe_file_name(raw) == safe


def test_the_name_that_was_sent_is_kept_apart() -> None:
    """HARDENING h1-18."""
    upload = read(part("f", b"x", "..\\..\\evil.sh") + END).files[0]
    assert (upload.file_name, upload.raw_file_name) == ("evil.sh", "..\\..\\evil.sh")


@given(st.text(max_size=400))
def test_no_name_leads_out_of_a_folder(raw: str) -> None:
    name = safe_file_name(raw)
    assert not {"/", "\\", "\0"} & set(name)
    assert name not in (".", "..")
    assert len(name.encode("utf-8", "replace")) <= 255


# ── disk ──────────────────────────────────────────────────────────────────────


async def test_a_large_upload_goes_to_a_temporary_file(reactor: Reactor, tmp_path: Path) -> None:
    content = bytes(range(256)) * 8 * 1024
    data = part("f", content, "big") + part("g", b"small", "small") + END
    form = await read_form(KIND, pieces(data))
    big, small = form.files
    assert not big.in_memory
    assert small.in_memory
    assert big.size == len(content)
    assert await big.read() == content
    assert b"".join([each async for each in big.chunks()]) == content
    await big.save(tmp_path / "saved")
    await small.save(tmp_path / "small")
    assert (tmp_path / "saved").read_bytes() == content
    assert (tmp_path / "small").read_bytes() == b"small"
    assert big.file.read(3) == b"\0\1\2"
    assert small.file.read() == b"small"
    with pytest.raises(FileExistsError):
        await small.save(tmp_path / "saved")
    form.close()
    with pytest.raises(ValueError, match="closed"):
        big.file.read()


async def test_many_small_uploads_do_not_stay_in_memory_for_ever(reactor: Reactor) -> None:
    limits = FormLimits(memory=1000, memory_in_all=2500)
    data = b"".join(part(f"f{n}", b"x" * 900, "f") for n in range(5)) + END
    async with await read_form(KIND, pieces(data), limits) as form:
        assert [each.in_memory for each in form.files] == [True, True, False, False, False]
        assert [await each.read() for each in form.files] == [b"x" * 900] * 5


async def test_a_form_that_turns_out_bad_leaves_no_file_open(reactor: Reactor) -> None:
    """Warnings are errors: an open file would tell."""
    data = part("f", b"x" * 5000, "f")
    with pytest.raises(FormError):
        await read_form(KIND, pieces(data), FormLimits(memory=100))


# ── anything ──────────────────────────────────────────────────────────────────


def taken_apart(data: bytes, cut: Callable[[bytes], list[bytes]]) -> Any:
    reader = MultipartReader("XX", FormLimits(parts=5, part_headers=200))
    found: list[Any] = []
    try:
        for piece in cut(data):
            for event in reader.receive_data(piece):
                if isinstance(event, PartData):
                    if found and isinstance(found[-1], bytes):
                        found[-1] += event.data
                    else:
                        found.append(event.data)
                elif isinstance(event, PartBegun):
                    found.append((event.name, event.raw_file_name, event.headers))
                else:
                    found.append("end")
        reader.receive_eof()
    except FormError:
        # Where it is cut decides how much comes out before the fault.
        return "broken"
    return found


_FRAGMENTS = st.sampled_from(
    [part("a", b"x"), part("b", b"y", "f"), END, b"--XX", b"\r\n", b"--", b"\n", b"A: b", b"\0"]
)


@given(st.lists(st.one_of(_FRAGMENTS, st.binary(max_size=20)), max_size=12).map(b"".join))
def test_where_a_form_is_cut_changes_nothing(data: bytes) -> None:
    whole = taken_apart(data, lambda each: [each])
    assert taken_apart(data, lambda each: [each[n : n + 1] for n in range(len(each))]) == whole


@given(st.text(max_size=200))
def test_no_field_makes_the_reader_of_parameters_raise_anything_else(value: str) -> None:
    try:
        parse_parameters(value)
    except FormError:
        pass


def test_parameters_cost_linear_time() -> None:
    begun = time.process_time()
    for value in ("a" + ";" * 16000, "a" + '; b="' + "\\" * 16000, "a" + "; b=" * 4000):
        with pytest.raises(FormError):
            parse_parameters(value + "\0x")
    assert time.process_time() - begun < 2


def test_a_field_that_did_not_come_is_the_clients_fault() -> None:
    form = read(part("a", b"1") + END)
    for missing in (lambda: form["b"], lambda: form.uploads["b"]):
        with pytest.raises(MissingFieldError, match="'b' is missing") as caught:
            missing()
        assert caught.value.status == 400
        assert isinstance(caught.value, KeyError)
    assert form.get("b") is None
    assert "b" not in form


async def test_a_file_that_could_not_be_written_whole_is_not_there(
    reactor: Reactor, tmp_path: Path
) -> None:
    data = part("file", b"x" * 5000, "a.bin") + END
    form = await read_form(KIND, pieces(data), FormLimits(memory=1000))
    (upload,) = form.files
    assert not upload.in_memory
    form.close()
    with pytest.raises(ValueError, match="closed"):
        await upload.save(tmp_path / "stored")
    assert not (tmp_path / "stored").exists()


def _two_octets_at_a_time(kind: str, head: bytes, tail: bytes, count: int) -> int:
    """Octets that reading such a form takes at most."""
    import tracemalloc

    async def content() -> AsyncIterator[bytes]:
        yield head
        for at in range(count):
            yield b"%02d" % (at % 100)
        yield tail

    tracemalloc.start()
    try:
        asyncio.run(read_form(kind, content())).close()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("file_name", [None, "a.bin"])
def test_what_dribbles_in_takes_little_more_than_its_size(file_name: str | None) -> None:
    """HARDENING, defaults 7: memory stays within the limit, whatever it comes in."""
    count = 50_000
    head = part("f", b"", file_name)[:-2]
    assert _two_octets_at_a_time(KIND, head, b"\r\n" + END, count) < 6 * 2 * count
    kind = "application/x-www-form-urlencoded"
    assert _two_octets_at_a_time(kind, b"f=", b"", count) < 6 * 2 * count
