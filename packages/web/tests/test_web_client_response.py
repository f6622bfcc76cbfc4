"""Responses as programs see them, downloads to files, and streams of events."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

import pytest

from packages.web.tests.client_stub import Answer, Sent, StubPool, client, echo, timed
from sennit.core.errors import ConnectError, ConnectionLost
from sennit.web.client.response import StatusError
from sennit.web.client.retries import Retries
from sennit.web.decoding import CodingBrokenError, DecodedTooLargeError, UnknownCodingError
from sennit.web.errors import BodyTooLargeError, WebProtocolError

if TYPE_CHECKING:
    from pathlib import Path

    from sennit.core.testing.clock import Clock

MIB = 1024 * 1024


# ── responses ─────────────────────────────────────────────────────────────────


async def test_headers_are_found_whatever_their_case() -> None:
    pool = StubPool([Answer(X_A=["1", "2"], Set_Cookie=["a=1", "b=2; Path=/"])])
    async with client(pool) as c:
        response = await c.get("")
    headers = response.headers
    assert headers["x-A"] == "1, 2"
    assert headers.get_all("X-a") == ["1", "2"]
    assert ("X-a" in headers, "y" in headers) == (True, False)
    assert (list(headers), len(headers)) == (["x-a", "set-cookie"], 2)
    assert headers.get("nothing") is None
    with pytest.raises(KeyError):
        headers["nothing"]
    assert response.cookies == {"a": "1", "b": "2"}


async def test_text_is_decoded_by_mark_header_or_as_utf8() -> None:
    cases: list[tuple[bytes, str, str]] = [
        ("ü".encode(), "text/plain", "ü"),
        (b"\xfc", "text/plain; charset=ISO-8859-1", "ü"),
        (b"\xfc", 'text/plain; charset="latin1"', "ü"),
        (b"\xfc", "text/plain; charset=nonsense", "\ufffd"),
        (b"\xfc", "text/plain; charset=rot13", "\ufffd"),
        (b"x", "text/plain; charset=zlib", "x"),
        (b"x", "text/plain; charset=idna", "x"),
        (b"\\q", "text/plain; charset=unicode-escape", "\\q"),
        (b"\xef\xbb\xbf\xc3\xbc", "text/plain; charset=latin-1", "ü"),
        ("ü".encode("utf-16"), "text/plain", "ü"),
        (b"", "text/plain", ""),
    ]
    pool = StubPool([Answer(200, body, content_type=kind) for body, kind, _ in cases])
    async with client(pool) as c:
        for _, kind, text in cases:
            assert (await c.get("")).text == text, kind


async def test_json_is_read_or_a_value_error() -> None:
    pool = StubPool([Answer(200, b'{"a": "\xc3\xbc"}'), Answer(200, b"<html>")])
    async with client(pool) as c:
        assert (await c.get("")).json() == {"a": "ü"}
        with pytest.raises(ValueError, match="Expecting"):
            (await c.get("")).json()


async def test_links_are_found_by_their_relation() -> None:
    """RFC 8288 §3.5."""
    link = (
        '<page?2>; rel="next prefetch"; title="a, b; \\"c\\"", </1>;rel=prev, '
        "<http://x.example/>; REL=help; rel=ignored, <http://[>; rel=bad, junk"
    )
    pool = StubPool([Answer(link=link), Answer()])
    async with client(pool) as c:
        links = (await c.get("a/b")).links
        assert (await c.get("a/b")).links == {}
    assert {rel: str(each.url) for rel, each in links.items()} == {
        "next": "http://example.com/a/page?2",
        "prefetch": "http://example.com/a/page?2",
        "prev": "http://example.com/1",
        "help": "http://x.example/",
    }
    assert links["next"].parameters["title"] == 'a, b; "c"'


async def test_an_answer_that_says_no_can_be_raised() -> None:
    pool = StubPool([Answer(404), Answer(503), Answer(204)])
    async with client(pool) as c:
        for status, words in ((404, "the request failed"), (503, "the server failed")):
            response = await c.get("x")
            assert not response.ok
            with pytest.raises(StatusError, match=f"{status} Why: {words}") as caught:
                response.raise_for_status()
            assert caught.value.response is response
        response = await c.get("x")
        assert response.raise_for_status() is response


async def test_content_is_read_piece_by_piece_and_its_trailers_then() -> None:
    pool = StubPool(
        [Answer(200, [b"a\nb", b"c\r\n", b"\xc3", b"\xbc"], trailers=[(b"x", b"y")])] * 4
    )
    async with client(pool) as c:
        async with c.stream("GET", "") as response:
            assert [piece async for piece in response] == [b"a\nb", b"c\r\n", b"\xc3", b"\xbc"]
            assert response.trailers["X"] == "y"
            with pytest.raises(ValueError, match="taken already"):
                await response.read()
        async with c.stream("GET", "") as response:
            assert "".join([text async for text in response.iter_text()]) == "a\nbc\r\nü"
        async with c.stream("GET", "") as response:
            assert [line async for line in response.iter_lines()] == ["a", "bc", "ü"]
        async with c.stream("GET", "") as response:
            with pytest.raises(ValueError, match="read"):
                _ = response.content
            assert await response.read() == await response.read() == b"a\nbc\r\n\xc3\xbc"
            assert [piece async for piece in response] == [response.content]


async def test_a_line_without_end_is_refused() -> None:
    pool = StubPool([Answer(200, [b"x" * 100] * 20)])
    async with client(pool) as c, c.stream("GET", "") as response:
        with pytest.raises(BodyTooLargeError):
            async for _ in response.iter_lines(max_line=1000):
                pass


async def test_codings_are_taken_off_and_counted(tmp_path: Path) -> None:
    """HARDENING h1-24: a bomb of gzip ends at the bound, whichever way it is read."""
    text = b"hello " * 1000
    bomb = gzip.compress(bytes(64 * MIB))
    pool = StubPool(
        [
            Answer(200, gzip.compress(text), content_encoding="gzip"),
            Answer(200, zlib.compress(gzip.compress(text)), content_encoding="gzip, deflate"),
            Answer(200, b"", content_encoding="gzip"),
        ]
        + [Answer(200, bomb, content_encoding="gzip") for _ in range(3)]
        + [Answer(200, gzip.compress(text)[:-5], content_encoding="gzip")]
        + [Answer(200, b"x", content_encoding="x-odd")]
        + [Answer(200, b"x", content_encoding="gzip, gzip, gzip")]
    )
    async with client(pool) as c:
        assert (await c.get("")).content == text
        assert (await c.get("")).content == text
        assert (await c.head("")).content == b""
        with pytest.raises(DecodedTooLargeError, match="100 times"):
            await c.get("")
        with pytest.raises(DecodedTooLargeError):
            async with c.stream("GET", "") as response:
                async for _ in response:
                    pass
        with pytest.raises(BodyTooLargeError):
            async with c.stream("GET", "") as response:
                await response.read(limit=1000)
        with pytest.raises(CodingBrokenError):
            await c.get("")
        with pytest.raises(UnknownCodingError):
            await c.get("")
        with pytest.raises(UnknownCodingError):
            await c.get("")
    raw = StubPool([Answer(200, bomb, content_encoding="gzip")])
    async with client(raw, decode=False) as c:
        assert (await c.get("")).content == bomb
        assert raw.sent[0]["accept-encoding"] is None


async def test_more_content_than_is_wanted_is_an_error() -> None:
    pool = StubPool([Answer(200, b"x" * 1001), Answer(200, b"x" * 1000)])
    async with client(pool, max_content=1000) as c:
        with pytest.raises(BodyTooLargeError):
            await c.get("")
        assert len((await c.get("")).content) == 1000


async def test_a_part_is_asked_for_as_it_is() -> None:
    pool = StubPool(echo)
    async with client(pool) as c:
        await c.get("", headers={"Range": "bytes=0-9"})
    assert pool.sent[0]["accept-encoding"] is None


async def test_interim_responses_are_told() -> None:
    seen: list[tuple[int, str]] = []

    def answer(sent: Sent) -> Answer:
        assert sent.request.on_informational is not None
        sent.request.on_informational(103, [(b"link", b"</x>")])
        return Answer()

    async with client(StubPool(answer)) as c:
        await c.get(
            "", on_informational=lambda status, headers: seen.append((status, headers["Link"]))
        )
    assert seen == [(103, "</x>")]


# ── files ─────────────────────────────────────────────────────────────────────


async def test_a_file_is_saved_whole(tmp_path: Path) -> None:
    seen: list[float | None] = []
    pool = StubPool([Answer(200, [b"x" * 100_000] * 30)])
    path = tmp_path / "down"
    path.write_bytes(b"old")
    async with client(pool) as c:
        response = await c.download(
            "", path, progress=lambda progress: seen.append(progress.fraction)
        )
    assert path.read_bytes() == b"x" * 3_000_000
    assert seen[-1] == 1.0
    assert response.status == 200
    assert [each.name for each in tmp_path.iterdir()] == ["down"]


async def test_a_file_that_does_not_come_whole_leaves_the_old_one(tmp_path: Path) -> None:
    pool = StubPool([Answer(200, [b"new"], end=ConnectionLost("reset")), Answer(404)])
    path = tmp_path / "down"
    path.write_bytes(b"old")
    async with client(pool) as c:
        with pytest.raises(ConnectionLost):
            await c.download("", path)
        with pytest.raises(StatusError):
            await c.download("", path)
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["down"]


async def test_a_download_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    pool = StubPool(
        [
            Answer(200, [b"0123"], end=ConnectionLost("reset"), etag='"v1"'),
            Answer(206, b"456789", content_range="bytes 4-9/10", etag='"v1"'),
        ]
    )
    path = tmp_path / "down"
    seen: list[tuple[int, int | None]] = []
    async with client(pool) as c:
        with pytest.raises(ConnectionLost):
            await c.download("", path, resume=True)
        assert sorted(each.name for each in tmp_path.iterdir()) == ["down.part", "down.part.json"]
        await c.download(
            "", path, resume=True, progress=lambda each: seen.append((each.done, each.total))
        )
    assert path.read_bytes() == b"0123456789"
    assert (pool.sent[1]["range"], pool.sent[1]["if-range"]) == ("bytes=4-", '"v1"')
    assert pool.sent[1]["accept-encoding"] == "identity"
    assert seen[-1] == (10, 10)
    assert [each.name for each in tmp_path.iterdir()] == ["down"]


@pytest.mark.parametrize("resume", [False, True])
async def test_a_download_that_breaks_off_is_tried_again(tmp_path: Path, resume: bool) -> None:
    cut = WebProtocolError("the content was cut short", "RFC 9112 §8")
    rest = (
        Answer(206, b"89", content_range="bytes 8-9/10") if resume else Answer(200, b"0123456789")
    )
    second = Answer(206, [b"4567"], end=cut, content_range="bytes 4-9/10")
    if not resume:
        second = Answer(200, [b"0123"], end=cut)
    pool = StubPool(
        [Answer(200, [b"0123"], end=ConnectionLost("reset"), etag='"v1"'), second, rest]
    )
    path = tmp_path / "down"
    async with client(pool, retries=Retries(3, first=0.001), timeout=5) as c:
        await c.download("", path, resume=resume, headers=[("X-Own", "1"), ("x-own", "2")])
    assert path.read_bytes() == b"0123456789"
    assert [each["range"] for each in pool.sent] == (
        [None, "bytes=4-", "bytes=8-"] if resume else [None] * 3
    )
    assert [each["x-own"] for each in pool.sent] == ["1, 2"] * 3
    pool = StubPool([Answer(200, [b"0123"], end=ConnectionLost("reset"), etag='"v1"')])
    async with client(pool, retries=Retries(3)) as c:
        with pytest.raises(ConnectionLost):
            await c.download("", path, resume=resume, retries=None)


@pytest.mark.parametrize(
    ("second", "wanted"),
    [
        # It has changed: all of it comes.
        (Answer(200, b"abcdef", etag='"v2"'), b"abcdef"),
        # All of it is there already.
        (Answer(416, content_range="bytes */4"), b"0123"),
    ],
)
async def test_a_file_that_changed_or_is_whole_is_seen(
    tmp_path: Path, second: Answer, wanted: bytes
) -> None:
    first = Answer(200, [b"0123"], end=ConnectionLost("reset"), last_modified="yesterday")
    path = tmp_path / "down"
    async with client(StubPool([first, second])) as c:
        with pytest.raises(ConnectionLost):
            await c.download("", path, resume=True)
        await c.download("", path, resume=True)
    assert path.read_bytes() == wanted


async def test_a_rest_that_does_not_fit_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "down"
    for odd in ("bytes 0-9/10", "bytes 5-9/10", "nonsense", "bytes 4-9/20"):
        first = Answer(200, [b"0123"], end=ConnectionLost("reset"), etag='"v1"')
        pool = StubPool([first, Answer(206, b"456789", content_range=odd)])
        async with client(pool) as c:
            with pytest.raises(ConnectionLost):
                await c.download("", path, resume=True)
            with pytest.raises(WebProtocolError):
                await c.download("", path, resume=True)
        for each in tmp_path.iterdir():
            each.unlink()
    async with client(StubPool([Answer(206, b"x", content_range="bytes 0-0/9")])) as c:
        with pytest.raises(WebProtocolError, match="nobody asked"):
            await c.download("", path, resume=True)


async def test_what_cannot_be_known_to_be_the_same_begins_anew(tmp_path: Path) -> None:
    """A weak ETag, another URL, a longer part than the file: nothing of that is built upon."""
    path = tmp_path / "down"
    pool = StubPool(
        [
            Answer(200, [b"0123"], end=ConnectionLost("reset"), etag='W/"v1"'),
            Answer(200, [b"0123"], end=ConnectionLost("reset"), etag='"v1"'),
            Answer(200, [b"0123"], end=ConnectionLost("reset"), etag='"v1"'),
            Answer(416, content_range="bytes */2"),
            Answer(200, b"ab"),
        ]
    )
    async with client(pool) as c:
        for url in ("a", "a", "b"):
            with pytest.raises(ConnectionLost):
                await c.download(url, path, resume=True)
        await c.download("b", path, resume=True)
    assert [each["range"] for each in pool.sent] == [None, None, None, "bytes=4-", None]
    assert path.read_bytes() == b"ab"


# ── server-sent events ────────────────────────────────────────────────────────


def stream(body: bytes, end: BaseException | None = None) -> Answer:
    return Answer(200, [body], end=end, content_type="text/event-stream")


def test_events_go_on_over_lost_connections(clock: Clock) -> None:
    """WHATWG HTML §9.2.3."""
    cut = WebProtocolError("the content was cut short", "RFC 9112 §8")
    pool = StubPool(
        [
            stream(b"retry: 1000\nid: 1\ndata: a\n\ndata: cut", end=cut),
            Answer(503, retry_after="7"),
            ConnectError("refused"),
            stream(b"data: b\n\n"),
            Answer(204),
        ]
    )

    async def main() -> None:
        async with client(pool) as c:
            source = c.events("events", headers={"X-Own": "1"})
            source._draw = lambda: 0.0
            found = [(each.data, each.id) async for each in source]
            assert found == [("a", "1"), ("b", "1")]
            assert not source.connected

    # 2 s after the first failure, 7 as it was asked to, 8 after the third, 1 after the end.
    assert timed(clock, main) == 2 + 7 + 8 + 1
    assert [each["last-event-id"] for each in pool.sent] == [None, "1", "1", "1", "1"]
    assert pool.sent[0]["accept"] == "text/event-stream"
    assert pool.sent[0]["x-own"] == "1"


@pytest.mark.parametrize("odd", [b"\x01", b"\x7f", b"x" * 5000])
def test_an_id_that_no_field_can_hold_is_not_sent_back(clock: Clock, odd: bytes) -> None:
    """HARDENING h1-24: what a server says does not become an error of the caller's."""
    pool = StubPool([stream(b"id: " + odd + b"\ndata: a\n\n"), Answer(204)])

    async def main() -> None:
        async with client(pool) as c:
            assert [each.data async for each in c.events("")] == ["a"]

    timed(clock, main)
    assert pool.sent[1]["last-event-id"] is None


async def test_what_fails_before_it_was_connected_is_told() -> None:
    pool = StubPool(
        [
            ConnectError("refused"),
            Answer(404),
            Answer(500),
            Answer(200, b"", content_type="text/html"),
        ]
    )
    async with client(pool) as c:
        for kind in (ConnectError, StatusError, StatusError, WebProtocolError):
            with pytest.raises(kind):
                async for _ in c.events("", patience=0):
                    pass


def test_patience_ends(clock: Clock) -> None:
    pool = StubPool([stream(b"data: a\n\n"), *[ConnectError("refused")] * 3])

    async def main() -> None:
        async with client(pool) as c:
            seen: list[str] = []
            with pytest.raises(ConnectError):
                async for event in c.events("", patience=2):
                    seen.append(event.data)  # noqa: PERF401 - it ends by an error
            assert seen == ["a"]

    timed(clock, main)
    assert len(pool.sent) == 4


async def test_an_event_too_large_ends_the_stream() -> None:
    pool = StubPool([stream(b"data: " + b"x" * (2 * MIB))])
    async with client(pool) as c:
        with pytest.raises(WebProtocolError, match="1048576 octets"):
            async for _ in c.events(""):
                pass
