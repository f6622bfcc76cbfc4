"""Static files: validators, ranges, variants, and every way out that was tried."""

from __future__ import annotations

import gzip
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.web import Resource, Site, StaticFiles, static
from sennit.web.dates import format_date
from sennit.web.mediatypes import media_type

PAGE = b"<h1>Hello</h1>\n"
LONG = bytes(range(256)) * 1024


class Answer:
    """A response, taken apart."""

    def __init__(self, octets: bytes) -> None:
        head, _, self.body = octets.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = dict(line.split(": ", 1) for line in lines)


class Files:
    """A folder that is served."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self.root = root
        self.clock = clock
        self.options: dict[str, Any] = {}
        self.resource: StaticFiles | None = None
        self.tree: Resource | None = None

    def serve(self, **options: Any) -> Files:
        if self.resource is not None:
            self.resource.close()
        self.resource = None
        self.options = options
        return self

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        if self.resource is None:
            self.resource = StaticFiles(self.root, **self.options)
        site = Site(self.tree or self.resource, clock=self.clock)
        transport = RecordingTransport(site.build_protocol(None))
        fields = "".join(
            f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()
        )
        request = f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n"
        self.clock.call_soon(transport.receive, request.encode("latin-1"))
        self.clock.pump()
        assert transport.errors == []
        return Answer(transport.take())


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    root = tmp_path / "public"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "index.html").write_bytes(PAGE)
    (root / "sub" / "page.html").write_bytes(PAGE)
    (root / "long.bin").write_bytes(LONG)
    (root / "empty.txt").write_bytes(b"")
    past = time.time() - 1000
    for path in root.rglob("*"):
        os.utime(path, (past, past))
    before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    with Clock() as clock:
        found = Files(root, clock)
        yield found
    if found.resource is not None:
        found.resource.close()
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) <= len(before)


def test_a_file_comes_with_its_type_and_validators(files: Files) -> None:
    answer = files.ask("/sub/page.html")
    assert (answer.status, answer.body) == (200, PAGE)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-length"] == str(len(PAGE))
    assert answer.headers["etag"].startswith('"')
    modified = format_date(int((files.root / "sub/page.html").stat().st_mtime))
    assert answer.headers["last-modified"] == modified
    assert answer.headers["accept-ranges"] == "bytes"


def test_a_long_file_and_an_empty_one_are_whole(files: Files) -> None:
    assert files.ask("/long.bin").body == LONG
    empty = files.ask("/empty.txt")
    assert (empty.status, empty.body, empty.headers["content-length"]) == (200, b"", "0")


def test_head_is_get_without_content(files: Files) -> None:
    for path in ("/long.bin", "/index.html"):
        whole, bare = files.ask(path), files.ask(path, "HEAD")
        assert bare.body == b""
        for answer in (bare, whole):
            answer.headers.pop("date")  # a second may have passed
        assert bare.headers == whole.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE"])
def test_other_methods_are_405(files: Files, method: str) -> None:
    for path in ("/index.html", "/missing"):
        answer = files.ask(path, method)
        assert answer.status == 405
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


def test_an_unknown_method_is_501_and_options_tells_the_known_ones(files: Files) -> None:
    assert files.ask("/", "BREW").status == 501
    assert files.ask("/", "OPTIONS").headers["allow"] == "GET, HEAD, OPTIONS"


def test_a_folder_is_its_index(files: Files) -> None:
    assert files.ask("/").body == PAGE
    assert files.ask("/sub/").status == 404
    assert files.serve(index=("none.html", "page.html")).ask("/sub/").body == PAGE


def test_a_folder_without_a_slash_is_sent_to_one_with_it(files: Files) -> None:
    answer = files.ask("/sub?a=b")
    assert (answer.status, answer.headers["location"]) == (301, "/sub/?a=b")
    assert files.ask("/none").status == 404


def test_a_mounted_folder_without_a_slash_is_sent_to_one_with_it(files: Files) -> None:
    """The links of its index would lead beside it otherwise."""
    tree = Resource()
    files.resource = StaticFiles(files.root)
    tree.put_child("files", files.resource)
    files.tree = tree
    answer = files.ask("/files?a=b")
    assert (answer.status, answer.headers["location"]) == (301, "/files/?a=b")
    assert files.ask("/files/").body == PAGE
    assert files.ask("/files/sub").headers["location"] == "/files/sub/"


# ── out of the folder ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/sub/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/%2E%2E/secret.txt",
        "/..%2fsecret.txt",
        "/..%5csecret.txt",
        "/%c0%ae%c0%ae/secret.txt",
        "//etc/passwd",
        "//secret.txt",
        "/sub//page.html",
        "/./index.html",
        "/index.html%00.txt",
        "/a%00.txt",
        "/.git/config",
        "/sub/.hidden",
        "/%2egit/config",
        "/etc/passwd",
        "/%zz",
        "/%",
        "/%2",
        "/%+1",
        "/%ff",
        "/sub/page.html/",
        "/sub/page.html/x",
        "/" + "a" * 300,
        "/" + "a/" * 2000,
        "/fifo",
        "/socket",
        "/forbidden.txt",
    ],
)
def test_every_way_out_is_the_same_404(files: Files, path: str) -> None:
    """HARDENING h1-19: missing, hidden, forbidden, outside: one answer."""
    (files.root.parent / "secret.txt").write_text("secret")
    (files.root / ".git").mkdir()
    (files.root / ".git" / "config").write_text("secret")
    (files.root / "sub" / ".hidden").write_text("secret")
    (files.root / "forbidden.txt").symlink_to("/root/none")
    os.mkfifo(files.root / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(os.path.relpath(files.root / "socket"))
        missing, answer = files.ask("/missing"), files.ask(path)
    assert (missing.status, missing.body) == (404, b"404 Not Found\n")
    assert (answer.status, answer.body) == (404, b"404 Not Found\n")
    del missing.headers["date"], answer.headers["date"]
    assert answer.headers == missing.headers


def test_well_known_is_not_hidden(files: Files) -> None:
    """RFC 8615."""
    (files.root / ".well-known").mkdir()
    (files.root / ".well-known" / "x").write_text("y")
    assert files.ask("/.well-known/x").body == b"y"


def test_links_are_not_followed_unless_that_is_asked_for(files: Files) -> None:
    """HARDENING h1-20."""
    outside = files.root.parent / "outside"
    outside.mkdir()
    (outside / "a.txt").write_text("a")
    (files.root / "folder").symlink_to(outside)
    (files.root / "file.txt").symlink_to(outside / "a.txt")
    (files.root / "inside.html").symlink_to("index.html")
    paths = ("/folder/a.txt", "/file.txt", "/inside.html", "/folder/", "/folder")
    for path in paths:
        assert files.ask(path).status == 404
    files.serve(follow=True)
    assert files.ask("/folder/a.txt").body == b"a"
    assert files.ask("/file.txt").body == b"a"


def test_a_link_that_takes_a_folders_place_between_two_steps_leads_nowhere(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HARDENING h1-20: there is no moment between a check and its use."""
    outside = files.root.parent / "outside"
    outside.mkdir()
    (outside / "page.html").write_text("secret")
    real_open = os.open
    swapped: list[bool] = []

    def open_and_swap(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if path == "sub" and not swapped:
            swapped.append(True)
            (files.root / "sub").rename(files.root / "was")
            (files.root / "sub").symlink_to(outside)
        return real_open(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", open_and_swap)
    assert files.ask("/sub/page.html").status == 404
    assert swapped


def test_a_folder_that_is_replaced_is_noticed(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert files.ask("/index.html").body == PAGE
    files.root.rename(files.root.parent / "old")
    files.root.mkdir()
    (files.root / "index.html").write_text("new")
    moment = time.monotonic() + 2
    monkeypatch.setattr(time, "monotonic", lambda: moment)
    assert files.ask("/index.html").body == b"new"


# ── conditions ────────────────────────────────────────────────────────────────

OLD = "Sun, 06 Nov 1994 08:49:37 GMT"
FUTURE = "Fri, 31 Dec 2100 23:59:59 GMT"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If_None_Match": "TAG"}, 304),
        ({"If_None_Match": "W/TAG"}, 304),
        ({"If_None_Match": '"x", TAG'}, 304),
        ({"If_None_Match": "*"}, 304),
        ({"If_None_Match": '"x"'}, 200),
        ({"If_None_Match": '"x"', "If_Modified_Since": FUTURE}, 200),
        ({"If_None_Match": "TAG", "If_Modified_Since": OLD}, 304),
        ({"If_Modified_Since": "DATE"}, 304),
        ({"If_Modified_Since": FUTURE}, 304),
        ({"If_Modified_Since": OLD}, 200),
        ({"If_Modified_Since": "yesterday"}, 200),
        ({"If_Match": "TAG"}, 200),
        ({"If_Match": "*"}, 200),
        ({"If_Match": "W/TAG"}, 412),
        ({"If_Match": '"x"'}, 412),
        ({"If_Match": "TAG", "If_Unmodified_Since": OLD}, 200),
        ({"If_Unmodified_Since": OLD}, 412),
        ({"If_Unmodified_Since": "DATE"}, 200),
        ({"If_Unmodified_Since": "yesterday"}, 200),
        ({"If_Match": "TAG", "If_None_Match": "TAG"}, 304),
        ({"If_Match": '"x"', "If_None_Match": "TAG"}, 412),
    ],
)
def test_preconditions_are_weighed_in_their_order(
    files: Files, headers: dict[str, str], status: int
) -> None:
    """RFC 9110 §13.2.2."""
    plain = files.ask("/index.html").headers
    given = {
        name: value.replace("TAG", plain["etag"]).replace("DATE", plain["last-modified"])
        for name, value in headers.items()
    }
    assert files.ask("/index.html", "HEAD", **given).status == status
    answer = files.ask("/index.html", **given)
    assert answer.status == status
    if status == 304:
        assert answer.body == b""
        assert answer.headers["etag"] == plain["etag"]
        assert "content-length" not in answer.headers


# ── ranges ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("asked", "first", "length"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-9", 0, 10),
        ("bytes=10-", 10, len(LONG) - 10),
        ("bytes=-10", len(LONG) - 10, 10),
        ("bytes=-99999999", 0, len(LONG)),
        ("bytes=5-99999999", 5, len(LONG) - 5),
        ("bytes=5-" + "9" * 30, 5, len(LONG) - 5),
        ("Bytes = 0-1", 0, 2),
        ("bytes=,0-1,", 0, 2),
        ("bytes=100000-200000", 100_000, 100_001),
    ],
)
def test_a_range_is_206(files: Files, asked: str, first: int, length: int) -> None:
    """RFC 9110 §14.2."""
    answer = files.ask("/long.bin", Range=asked)
    assert answer.status == 206
    assert answer.body == LONG[first : first + length]
    assert answer.headers["content-range"] == f"bytes {first}-{first + length - 1}/{len(LONG)}"


@pytest.mark.parametrize("asked", ["bytes=-0", "bytes=262144-", "bytes=" + "9" * 31 + "-"])
def test_a_range_beyond_the_end_is_416(files: Files, asked: str) -> None:
    """HARDENING h1-21."""
    answer = files.ask("/long.bin", Range=asked)
    assert (answer.status, answer.headers["content-range"]) == (416, f"bytes */{len(LONG)}")


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=5-2",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=1e30-",
        "bytes=+1-2",
        "bytes=0-9,5-14",
        "bytes=0-0,0-0",
        "lines=0-1",
        "bytes 0-1",
        "bytes=" + ",".join(f"{n}-{n}" for n in range(1300)),
        "bytes=" + "," * 5000,
        "bytes=" + ",".join(f"{2 * n}-{2 * n}" for n in range(17)),
        "bytes=٠-١",
    ],
)
def test_other_ranges_are_ignored(files: Files, asked: str) -> None:
    """HARDENING h1-21: the whole, once."""
    answer = files.ask("/long.bin", Range=asked.encode().decode("latin-1"))
    assert answer.status == 200
    assert answer.body == LONG


def test_several_ranges_come_in_parts(files: Files) -> None:
    """RFC 9110 §14.6; HARDENING h1-21: at most 16."""
    asked = "bytes=" + ",".join(f"{20 * n}-{20 * n + 9}" for n in range(16))
    answer = files.ask("/long.bin", Range=asked)
    assert answer.status == 206
    kind, _, boundary = answer.headers["content-type"].partition("; boundary=")
    assert kind == "multipart/byteranges"
    assert answer.headers["content-length"] == str(len(answer.body))
    parts = answer.body.split(f"\r\n--{boundary}".encode())
    assert parts[0] == b""
    assert parts[-1] == b"--\r\n"
    for n, part in enumerate(parts[1:-1]):
        head, _, data = part.partition(b"\r\n\r\n")
        assert f"content-range: bytes {20 * n}-{20 * n + 9}/{len(LONG)}".encode() in head
        assert data == LONG[20 * n : 20 * n + 10]


def test_a_range_of_what_has_changed_is_the_whole(files: Files) -> None:
    """RFC 9110 §13.1.5; HARDENING h1-21."""
    plain = files.ask("/long.bin").headers
    for good in (plain["etag"], plain["last-modified"]):
        assert files.ask("/long.bin", Range="bytes=0-0", If_Range=good).status == 206
    for stale in ('"x"', "W/" + plain["etag"], OLD, FUTURE, "junk"):
        answer = files.ask("/long.bin", Range="bytes=0-0", If_Range=stale)
        assert (answer.status, answer.body) == (200, LONG)


def test_a_range_of_a_head_request_is_ignored(files: Files) -> None:
    """RFC 9110 §14.2: Range is for GET."""
    assert files.ask("/long.bin", "HEAD", Range="bytes=0-0").status == 200


# ── variants ──────────────────────────────────────────────────────────────────


@pytest.fixture
def packed(files: Files) -> Files:
    for ending, data in ((".gz", gzip.compress(PAGE)), (".br", b"brotli"), (".zst", b"zstd")):
        (files.root / f"index.html{ending}").write_bytes(data)
    return files


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("gzip, br, zstd", "br"),
        ("gzip, zstd", "zstd"),
        ("br;q=0.5, gzip;q=0.9", "gzip"),
        ("br;q=0, gzip", "gzip"),
        ("*", "br"),
        ("*;q=0.1, gzip;q=0.2", "gzip"),
        ("GZIP", "gzip"),
        ("gzip;q=0", None),
        ("gzip;q=x", None),
        ("identity", None),
        ("", None),
        ("deflate", None),
    ],
)
def test_a_variant_is_sent_to_who_takes_it(
    packed: Files, accepted: str, coding: str | None
) -> None:
    """RFC 9110 §12.5.3."""
    plain = packed.ask("/index.html")
    answer = packed.ask("/index.html", Accept_Encoding=accepted)
    assert answer.headers.get("content-encoding") == coding
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["vary"] == plain.headers["vary"] == "accept-encoding"
    assert (answer.headers["etag"] != plain.headers["etag"]) is (coding is not None)
    if coding == "gzip":
        assert gzip.decompress(answer.body) == PAGE


def test_a_variant_older_than_its_file_is_not_sent(packed: Files) -> None:
    os.utime(packed.root / "index.html.gz", (0, 0))
    answer = packed.ask("/index.html", Accept_Encoding="gzip")
    assert "content-encoding" not in answer.headers
    assert answer.body == PAGE


def test_variants_can_be_left_alone(packed: Files) -> None:
    answer = packed.serve(precompressed=False).ask("/index.html", Accept_Encoding="gzip")
    assert "content-encoding" not in answer.headers
    assert "vary" not in answer.headers


def test_a_packed_file_by_its_own_name_is_what_it_is(packed: Files) -> None:
    answer = packed.ask("/index.html.gz", Accept_Encoding="gzip")
    assert answer.headers["content-type"] == "application/gzip"
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.HTML", b"text/html; charset=utf-8"),
        ("a.js", b"text/javascript; charset=utf-8"),
        ("a.tar.gz", b"application/gzip"),
        ("a.woff2", b"font/woff2"),
        ("a", b"application/octet-stream"),
        ("a.unheard-of", b"application/octet-stream"),
        ("a.json", b"application/json"),
    ],
)
def test_types_are_by_name(name: str, kind: bytes) -> None:
    assert media_type(name) == kind


# ── listings, headers, failures ───────────────────────────────────────────────


def test_a_listing_is_escaped_and_only_made_when_asked_for(files: Files) -> None:
    """HARDENING h1-22."""
    odd = "<img src=x onerror=alert(1)>"
    for name in (odd, 'a"b', "%41", ".hidden", "sp ace"):
        (files.root / "sub" / name).write_text("x")
    (files.root / "sub" / "link").symlink_to("/etc")
    assert files.ask("/sub/").status == 404
    answer = files.serve(listing=True).ask("/sub/")
    page = answer.body.decode()
    assert "<img" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert 'href="./%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E"' in page
    assert 'href="./a%22b"' in page
    assert 'href="./%2541"' in page
    assert 'href="./deep/"' in page
    assert ".hidden" not in page
    assert "link" not in page
    assert answer.headers["content-security-policy"] == "default-src 'none'"


def test_nothing_of_a_target_comes_back_unescaped(files: Files) -> None:
    """HARDENING h1-22."""
    (files.root / "<b>").mkdir()
    assert b"<script" not in files.ask("/<script>alert(1)</script>").body
    answer = files.ask('/<b>?"><script>')
    assert answer.status == 301
    assert b"<script" not in answer.body
    assert "<" not in answer.headers["location"]


def test_headers_and_age_are_said(files: Files) -> None:
    files.serve(headers={"X-Y": "z"}, max_age=60)
    answer = files.ask("/index.html")
    assert answer.headers["x-y"] == "z"
    assert answer.headers["cache-control"] == "max-age=60"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_without_descriptors_it_is_503(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """HARDENING fault-1 at this height: one request fails, and may be tried again."""

    def full(*args: Any, **kwargs: Any) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", full)
    answer = files.ask("/index.html")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")


def test_what_may_be_kept_is_said_by_pattern(files: Files) -> None:
    files.serve(
        cache_control={"sub/*.html": "max-age=31536000, immutable", "*.html": "no-cache"},
        max_age=60,
    )
    (files.root / "sub" / "deep" / "page.html").write_bytes(PAGE)

    def said(path: str, **headers: str) -> str | None:
        return files.ask(path, **headers).headers.get("cache-control")

    assert said("/sub/page.html") == "max-age=31536000, immutable"
    assert said("/sub/deep/page.html") == "max-age=31536000, immutable"
    assert said("/index.html") == said("/") == "no-cache"
    assert said("/long.bin") == said("/long.bin", Range="bytes=0-0") == "max-age=60"
    etag = files.ask("/index.html").headers["etag"]
    assert said("/index.html", If_None_Match=etag) == "no-cache"
    assert files.ask("/nothing.html").headers.get("cache-control") is None


def test_a_file_that_is_replaced_is_sent_as_it_is_now(files: Files) -> None:
    """What is kept of a file is kept by what it is, not by its name (HARDENING h1-20)."""
    before = files.ask("/index.html")
    assert files.ask("/index.html").headers == before.headers
    new = files.root / "new"
    new.write_bytes(b"another page")
    new.rename(files.root / "index.html")
    answer = files.ask("/index.html")
    assert (answer.status, answer.body) == (200, b"another page")
    assert answer.headers["etag"] != before.headers["etag"]
    (files.root / "index.html").unlink()
    (files.root / "index.html").symlink_to(files.root / "long.bin")
    assert files.ask("/index.html").status == 404


def test_a_variant_that_was_not_there_is_looked_for_again_in_a_second(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    opened: list[str] = []
    open_ = os.open

    def note(path: str, flags: int, *args: Any, **kwargs: Any) -> int:
        opened.append(path)
        return open_(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", note)
    for accepted in ("gzip", "gzip, br", "gzip, br"):
        assert "content-encoding" not in files.ask("/index.html", Accept_Encoding=accepted).headers
    assert opened.count("index.html.gz") == opened.count("index.html.br") == 1
    assert opened.count("index.html") == 3
    (files.root / "index.html.br").write_bytes(b"brotli")
    now += 1.1
    assert files.ask("/index.html", Accept_Encoding="gzip, br").body == b"brotli"


def test_what_is_kept_of_files_is_bounded(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static, "_KEPT", 3)
    for at in range(10):
        (files.root / f"{at}.txt").write_bytes(b"x" * at)
        assert files.ask(f"/{at}.txt", Accept_Encoding="gzip").body == b"x" * at
    resource = files.resource
    assert resource is not None
    assert len(resource._described) <= 3
    assert len(resource._lacking) <= 3
