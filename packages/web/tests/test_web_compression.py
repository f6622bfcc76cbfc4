"""Content codings: chosen, put on answers, taken off requests."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core.deferred import Deferred
from sennit.core.engine import FilePart
from sennit.core.interfaces import Buffer
from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.web import HTTPServer, Limits, Request, Response, Site, http_server, json, text
from sennit.web.compression import AT_ONCE, accepted_codings, compress, decode_requests
from sennit.web.decoding import ContentDecoder

LONG = "Hello, world. " * 200
OFFERED = ("zstd", "br", "gzip")


@pytest.fixture
def clock() -> Iterator[Clock]:
    with Clock() as found:
        yield found


def exchange(
    clock: Clock, server: HTTPServer, body: bytes = b"", method: str = "GET", **fields: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers, and content with its chunks put together."""
    server.clock = clock
    transport = RecordingTransport(server.build_protocol(None))
    given = {name.replace("_", "-"): value for name, value in fields.items()}
    if body:
        given["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    octets = f"{method} / HTTP/1.1\r\nHost: a\r\n{head}\r\n".encode() + body
    clock.call_soon(transport.receive, octets)
    clock.pump()
    answer, _, content = transport.take().partition(b"\r\n\r\n")
    first, *lines = answer.decode().split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if headers.get("transfer-encoding") == "chunked":
        content = b"".join(chunks(content))
    return int(first.split()[1]), headers, content


def chunks(content: bytes) -> list[bytes]:
    found: list[bytes] = []
    while content:
        size, _, content = content.partition(b"\r\n")
        octets = int(size, 16)
        if octets:
            found.append(content[:octets])
        content = content[octets + 2 :]
    return found


def plain(coding: str | None, content: bytes) -> bytes:
    decoder = ContentDecoder([coding] if coding else [])
    made = b"".join(decoder.decode(content))
    decoder.finish()
    return made


# ── choosing ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "liked"),
    [
        (None, []),
        ("", []),
        ("gzip", ["gzip"]),
        ("gzip, deflate, br, zstd", ["zstd", "br", "gzip"]),
        ("gzip;q=1.0, br;q=0.5, zstd;q=0", ["gzip", "br"]),
        ("x-gzip", ["gzip"]),
        ("*", ["zstd", "br", "gzip"]),
        ("*;q=0.1, gzip;q=0.5", ["gzip", "zstd", "br"]),
        ("br, *;q=0", ["br"]),
        ("identity, gzip;q=0.5", []),
        ("identity;q=0.5, gzip;q=0.5", ["gzip"]),
        ("GZIP ; Q=0.9", ["gzip"]),
        ("gzip;q=nan, br;q=inf, zstd;q=1e9", []),
        ("gzip;q=0.0001", []),
        ("gzip;q=2", []),
        ("gzip;q=-1", []),
        ("gzip;level=9;q=0.3", ["gzip"]),
    ],
)
def test_what_the_client_likes_best_comes_first(value: str | None, liked: list[str]) -> None:
    """RFC 9110 §12.5.3."""
    assert accepted_codings(value, OFFERED) == tuple(liked)


@given(st.text(max_size=200))
def test_no_field_makes_the_choice_raise(value: str) -> None:
    assert set(accepted_codings(value, OFFERED)) <= set(OFFERED)


# ── answers ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("coding", OFFERED)
def test_a_long_answer_is_compressed(clock: Clock, coding: str) -> None:
    def handler(request: Request) -> Response:
        response = text(LONG, headers={"etag": '"1"', "vary": "cookie"})
        response.set_header("content-length", str(len(LONG)))
        return response

    server = http_server(compress()(handler))
    status, headers, content = exchange(clock, server, Accept_Encoding=coding)
    assert (status, headers["content-encoding"]) == (200, coding)
    assert headers["content-length"] == str(len(content))
    assert headers["etag"] == 'W/"1"'
    assert headers["vary"] == "cookie, accept-encoding"
    assert plain(coding, content) == LONG.encode()
    _, headers, content = exchange(clock, server)
    assert "content-encoding" not in headers
    assert headers["vary"] == "cookie, accept-encoding"
    assert content == LONG.encode()
    _, headers, content = exchange(clock, server, method="HEAD", Accept_Encoding=coding)
    assert (headers["content-encoding"], content) == (coding, b"")


def always(response: Response) -> Callable[[Request], Response]:
    return lambda request: response


@pytest.mark.parametrize(
    "response",
    [
        text("short"),
        Response(LONG.encode(), headers={"content-type": "image/png"}),
        Response(LONG.encode(), headers={"content-type": "application/zip"}),
        Response(LONG.encode()),
        text(LONG, headers={"content-encoding": "gzip"}),
        text(LONG, headers={"cache-control": "public, No-Transform"}),
        text(LONG, 206, {"content-range": "bytes 0-1/2"}),
    ],
)
def test_what_gains_nothing_is_left_alone(clock: Clock, response: Response) -> None:
    before = list(response.headers)
    server = http_server(compress()(always(response)))
    _, headers, content = exchange(clock, server, Accept_Encoding="gzip")
    assert content == response.body
    assert response.headers == before
    assert "vary" not in headers


def test_files_are_left_to_their_variants(clock: Clock, tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 5000)

    with path.open("rb") as file:
        part = FilePart(file, 0, 5000)
        kind = {"content-type": "text/plain"}
        for response in (Response(part, headers=kind), Response([b"x", part], headers=kind)):
            server = http_server(compress()(always(response)))
            _, headers, _ = exchange(clock, server, method="HEAD", Accept_Encoding="gzip")
            assert "content-encoding" not in headers


@pytest.mark.parametrize("coding", OFFERED)
def test_large_content_is_compressed_in_turns(clock: Clock, coding: str) -> None:
    value = [{"n": n, "text": "äöü" * 3} for n in range(20_000)]
    whole = json(value)
    server = http_server(compress()(lambda request: json(value)))
    _, headers, content = exchange(clock, server, Accept_Encoding=coding)
    assert isinstance(whole.body, bytes)
    assert len(whole.body) > 4 * AT_ONCE
    assert "content-length" not in headers
    assert plain(coding, content) == whole.body
    assert len(content) < len(whole.body) / 4


@pytest.mark.parametrize("coding", OFFERED)
def test_a_piece_of_a_stream_leaves_at_once(clock: Clock, coding: str) -> None:
    more: Deferred[None] = Deferred()
    closed: list[bool] = []

    async def pieces() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await more
            yield b""
            yield b"second"
        finally:
            closed.append(True)

    def handler(request: Request) -> Response:
        return Response(pieces(), headers={"content-type": "text/event-stream"})

    server = http_server(compress()(handler), clock=clock)
    transport = RecordingTransport(server.build_protocol(None))
    request = f"GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {coding}\r\n\r\n".encode()
    clock.call_soon(transport.receive, request)
    clock.pump()
    head, _, content = transport.take().partition(b"\r\n\r\n")
    assert b"content-encoding: " + coding.encode() in head
    begun = b"".join(chunks(content))
    decoder = ContentDecoder([coding])
    assert b"".join(decoder.decode(begun)) == b"first"
    clock.call_soon(more.callback, None)
    clock.pump()
    rest = b"".join(chunks(transport.take()))
    assert b"".join(decoder.decode(rest)) == b"second"
    decoder.finish()
    assert closed == [True]


def test_an_unknown_coding_is_refused_when_it_is_named() -> None:
    with pytest.raises(ValueError, match="compressor"):
        compress(["compressor"])


# ── requests ──────────────────────────────────────────────────────────────────


async def shown(request: Request) -> Response:
    content = await request.read(1024 * 1024 * 64)
    names = [name for name, _ in request.headers]
    return text(f"{len(content)} {content[:5]!r} {b'content-encoding' in names}")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
def test_coded_content_comes_decoded(clock: Clock, coding: str) -> None:
    whole = LONG.encode()
    content = {
        "gzip": gzip.compress(whole),
        "deflate": zlib.compress(whole),
        "br": brotli.compress(whole),
    }[coding]
    server = http_server(decode_requests()(shown))
    _, _, answer = exchange(clock, server, content, "POST", Content_Encoding=coding)
    assert answer == f"{len(LONG)} b'Hello' False".encode()
    _, _, answer = exchange(clock, server, b"plain", "POST")
    assert answer == b"5 b'plain' False"
    _, _, answer = exchange(clock, server, b"plain", "POST", Content_Encoding="identity")
    assert answer == b"5 b'plain' True"


def test_nobody_undoes_codings_unasked(clock: Clock) -> None:
    """HARDENING h1-16."""
    content = gzip.compress(b"Hello")
    status, headers, _ = exchange(
        clock, http_server(shown), content, "POST", Content_Encoding="gzip"
    )
    assert (status, headers["accept-encoding"]) == (415, "identity")

    async def passing_on(request: Request) -> Response:
        return Response(b"".join([bytes(each) async for each in request.encoded_body]))

    _, _, same = exchange(clock, http_server(passing_on), content, "POST", Content_Encoding="gzip")
    assert same == content


@pytest.mark.parametrize("coding", ["gzip, gzip", "gzip, gzip, gzip", "compress", "x y"])
def test_more_than_one_coding_and_unknown_ones_are_415(clock: Clock, coding: str) -> None:
    """HARDENING h1-16."""
    server = http_server(decode_requests(["gzip", "br"])(shown))
    status, headers, _ = exchange(clock, server, b"xx", "POST", Content_Encoding=coding)
    assert (status, headers["accept-encoding"]) == (415, "gzip, br")


def test_what_swells_beyond_the_cap_is_413(clock: Clock) -> None:
    """HARDENING h1-16: 10 MiB decoded, whatever it was before, and a ratio of 100."""
    small = gzip.compress(b"\0" * 1000)
    server = http_server(decode_requests(limit=999)(shown))
    assert exchange(clock, server, small, "POST", Content_Encoding="gzip")[0] == 413
    bomb = gzip.compress(b"\0" * 12 * 1024 * 1024)
    server = http_server(decode_requests()(shown))
    assert exchange(clock, server, bomb, "POST", Content_Encoding="gzip")[0] == 413
    honest = gzip.compress(b"\0" * 1024 * 1024)
    assert exchange(clock, server, honest, "POST", Content_Encoding="gzip")[0] == 200


@pytest.mark.parametrize("cut", [b"nonsense", gzip.compress(b"Hello" * 100)[:-9]])
def test_broken_content_is_400(clock: Clock, cut: bytes) -> None:
    server = http_server(decode_requests()(shown))
    assert exchange(clock, server, cut, "POST", Content_Encoding="gzip")[0] == 400


def test_a_decoded_form_is_a_form(clock: Clock) -> None:
    async def form(request: Request) -> Response:
        async with await request.form() as found:
            return text(found["a"])

    site = Site(wrappers=[decode_requests()], limits=Limits(body=5000))
    site.route("/", methods=("POST",))(form)
    content = gzip.compress(b"a=" + b"x" * 3000)
    kind = "application/x-www-form-urlencoded"
    fields = {"Content_Encoding": "gzip", "Content_Type": kind}
    assert exchange(clock, site, content, "POST", **fields)[2] == b"x" * 3000
    large = gzip.compress(b"a=" + b"x" * 6000)
    assert exchange(clock, site, large, "POST", **fields)[0] == 413


def test_content_may_be_taken_without_waiting(clock: Clock) -> None:
    async def taking(request: Request) -> Response:
        found: list[bytes] = []
        while not request.body.ended:
            piece = request.body.take()
            if piece is None:
                if request.body.ended:
                    break
                piece = await anext(request.body, b"")
            found.append(bytes(piece))
        return text(str(len(b"".join(found))))

    content = gzip.compress(LONG.encode() * 100)
    server = http_server(decode_requests()(taking))
    _, _, answer = exchange(clock, server, content, "POST", Content_Encoding="gzip")
    assert answer == str(len(LONG) * 100).encode()


async def echoing(scope: Any, receive: Any, send: Any) -> None:
    content, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        content += message["body"]
        more = message["more_body"]
    names = [name for name, _ in scope["headers"]]
    told = b"%d %d" % (len(content), b"content-encoding" in names)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": told})


def test_hosted_applications_get_it_decoded_or_as_it_came(clock: Clock) -> None:
    from sennit.web.hosting.asgi import ASGI

    content = gzip.compress(b"x" * 5000)
    fields = {"Content_Encoding": "gzip"}
    raw = Site()
    raw.mount("/", ASGI(echoing))
    told = exchange(clock, raw, content, "POST", **fields)[2]
    assert told == b"%d 1" % len(content)
    decoded = Site(wrappers=[decode_requests()])
    decoded.mount("/", ASGI(echoing))
    assert exchange(clock, decoded, content, "POST", **fields)[2] == b"5000 0"
    assert exchange(clock, decoded, b"plain", "POST")[2] == b"5 0"


def test_hosted_applications_have_limits_of_their_own(clock: Clock) -> None:
    from sennit.web.hosting.asgi import ASGI

    site = Site(limits=Limits(body=1000))
    site.route("/large", methods=("POST",), limit=5000)(shown)
    site.mount("/", ASGI(echoing), limit=10)
    assert exchange(clock, site, b"x" * 10, "POST")[2] == b"10 0"
    assert exchange(clock, site, b"x" * 11, "POST")[0] == 413


def test_broken_content_ends_hosted_applications(clock: Clock) -> None:
    from sennit.web.hosting.asgi import ASGI

    seen: list[str] = []

    async def watching(scope: Any, receive: Any, send: Any) -> None:
        seen.append((await receive())["type"])

    site = Site(wrappers=[decode_requests()])
    site.mount("/", ASGI(watching))
    site.clock = clock
    transport = RecordingTransport(site.build_protocol(None))
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 8\r\n\r\n"
    clock.call_soon(transport.receive, head + b"nonsense")
    clock.pump()
    assert seen == ["http.disconnect"]
    assert transport.take().startswith(b"HTTP/1.1 400 ")


def test_lists_are_joined_and_mixed_with_no_files(clock: Clock) -> None:
    parts: list[Buffer] = [LONG.encode(), bytearray(b"more"), memoryview(b"and more")]
    response = Response(parts, headers={"content-type": "text/plain", "vary": "*"})
    server = http_server(compress(levels={"gzip": 1})(always(response)))
    _, headers, content = exchange(clock, server, Accept_Encoding="gzip")
    assert plain("gzip", content) == b"".join(parts)
    assert headers["vary"] == "*"


@pytest.mark.parametrize("waits", [False, True])
def test_content_that_turns_out_too_much_is_413_under_hosted_applications(
    clock: Clock, caplog: pytest.LogCaptureFixture, waits: bool
) -> None:
    """Nobody knew before how much it is; the application has not begun to answer."""
    from sennit.web.hosting.asgi import ASGI

    async def reading(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    site = Site(clock=clock)
    site.mount("/", ASGI(reading), limit=10)
    transport = RecordingTransport(site.build_protocol(None))
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    content = b"5\r\n12345\r\n6\r\n123456\r\n0\r\n\r\n"
    for octets in (head, content) if waits else (head + content,):
        clock.call_soon(transport.receive, octets)
        clock.pump()
    assert transport.take().startswith(b"HTTP/1.1 413 ")
    assert not [each for each in caplog.records if each.levelname == "ERROR"]


class Given:
    """Content that says whether it was closed."""

    def __init__(self) -> None:
        self.closed = 0

    def __aiter__(self) -> Given:
        return self

    async def __anext__(self) -> bytes:
        return LONG.encode()

    async def aclose(self) -> None:
        self.closed += 1


def test_content_that_nobody_takes_is_closed_under_the_compressor(clock: Clock) -> None:
    """HEAD takes none, and nothing is taken of an answer that cannot be sent."""
    given = Given()

    def handler(request: Request) -> Response:
        return Response(given, headers={"content-type": "text/plain"})

    server = http_server(compress()(handler))
    _, headers, content = exchange(clock, server, method="HEAD", Accept_Encoding="gzip")
    assert (headers["content-encoding"], content, given.closed) == ("gzip", b"", 1)


def test_content_of_an_answer_that_cannot_be_sent_is_closed(clock: Clock) -> None:
    given = Given()
    server = http_server(lambda request: Response(given, headers={"x-a": "b\r\nc: d"}))
    assert exchange(clock, server)[0] == 500
    assert given.closed == 1


def test_not_to_be_transformed_holds_in_whichever_field_it_stands(clock: Clock) -> None:
    response = text(LONG)
    response.headers += [(b"cache-control", b"no-transform"), (b"cache-control", b"private")]
    _, headers, _ = exchange(clock, http_server(compress()(always(response))), Accept_Encoding="br")
    assert "content-encoding" not in headers


@pytest.mark.parametrize("limit", [2000, 20_000])
def test_a_route_limits_its_content_decoded_too(clock: Clock, limit: int) -> None:
    """Whether that is less than the site takes, or more."""
    site = Site(wrappers=[decode_requests()], limits=Limits(body=10_000))
    site.route("/", methods=("POST",), limit=limit)(shown)
    for size, status in ((limit, 200), (limit + 1, 413)):
        coded = gzip.compress(b"x" * size)
        assert exchange(clock, site, coded, "POST", Content_Encoding="gzip")[0] == status
    # What is too long before it is decoded is refused before it has come.
    site.clock = clock
    transport = RecordingTransport(site.build_protocol(None))
    head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: {limit + 1}"
    clock.call_soon(transport.receive, f"{head}\r\nExpect: 100-continue\r\n\r\n".encode())
    clock.pump()
    assert transport.take().startswith(b"HTTP/1.1 413 ")
