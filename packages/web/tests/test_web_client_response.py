"""Responses as programs see them, and streams of events."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

import pytest

from packages.web.tests.client_stub import Answer, Sent, StubPool, client, echo, timed
from sennit.core.errors import ConnectError
from sennit.web.client.response import StatusError
from sennit.web.decoding import CodingBrokenError, DecodedTooLargeError, UnknownCodingError
from sennit.web.errors import BodyTooLargeError, CutShortError, WebProtocolError

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


# ── server-sent events ────────────────────────────────────────────────────────


def stream(body: bytes, end: BaseException | None = None) -> Answer:
    return Answer(200, [body], end=end, content_type="text/event-stream")


def test_events_go_on_over_lost_connections(clock: Clock) -> None:
    """WHATWG HTML §9.2.3."""
    cut = CutShortError("the content was cut short")
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


def test_a_server_that_wants_no_pause_gets_a_short_one(clock: Clock) -> None:
    """Else one that closes at once would have us ask it as fast as we can, for ever."""
    pool = StubPool([*[stream(b"retry: 0\n\n")] * 10, Answer(204)])

    async def main() -> None:
        async with client(pool) as c:
            assert [each async for each in c.events("")] == []

    assert timed(clock, main) >= 1.0


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
