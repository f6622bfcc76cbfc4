"""Two libraries and the gate read requests the same way: the differential properties.

An engine with a library's parser ends the connection where the two disagree, so engines
that say the same of any octets are parsers that do. The known leniencies, with their
reasons, stand in the docstring of ``http1/parsers.py``; each has an example here.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sennit.core.errors import MissingExtraError
from sennit.core.testing.engines import converse
from sennit.web.errors import WebProtocolError
from sennit.web.events import BodyEnded, PeerFault, RequestHead
from sennit.web.http1.engine import HTTP1ServerEngine
from sennit.web.http1.parsers import (
    H11Parser,
    H11ServerEngine,
    HTTPToolsParser,
    HTTPToolsServerEngine,
)
from sennit.web.http1.verdict import Refused
from sennit.web.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.core.testing.engines import Conversation
    from sennit.web.http1.parsers import Parser

LIMITS = Limits(body=4096)
ENGINES: list[Callable[[Limits], HTTP1ServerEngine]] = [H11ServerEngine, HTTPToolsServerEngine]
TOKEN = "!#$%&'*+-.^_`|~0123456789abcXYZ"


def talk(engine: HTTP1ServerEngine, pieces: list[bytes]) -> Conversation:
    def answer(engine: HTTP1ServerEngine, event: object) -> None:
        if (isinstance(event, RequestHead) and event.length == 0) or isinstance(event, BodyEnded):
            engine.send_response(event.exchange, 200, [], b"ok")

    return converse(engine, pieces, answer, eof=True)


def octets(text: str) -> st.SearchStrategy[bytes]:
    return st.text(text, min_size=1, max_size=12).map(lambda each: each.encode("latin-1"))


METHODS = st.sampled_from([b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS", b"SOURCE", b"M-SEARCH"])
TARGETS = st.one_of(
    st.sampled_from([b"/", b"*", b"http://a/b?c", b"http://a", b"a:1", b'/"<>{}|\\^`', b"//x/.."]),
    st.binary(max_size=12).map(lambda each: b"/" + bytes(33 + octet % 94 for octet in each)),
)
NAMES = st.one_of(
    octets(TOKEN),
    st.sampled_from([b"Connection", b"Upgrade", b"Expect", b"Transfer-Encoding", b"Trailer"]),
)
VALUES = st.one_of(
    st.binary(max_size=12).map(lambda each: bytes(octet for octet in each if 32 <= octet != 127)),
    st.sampled_from([b"close", b"keep-alive", b"upgrade", b"h2c", b"100-continue", b"\t x \t"]),
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=4).map(
    lambda found: b"".join(b"%b: %b\r\n" % each for each in found)
)


def in_chunks(pieces: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in pieces) + b"0\r\n"


def length_told(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


BODIES = st.one_of(
    st.just(b"\r\n"),
    st.binary(max_size=40).map(length_told),
    st.tuples(st.lists(st.binary(min_size=1, max_size=20), max_size=3), FIELDS).map(
        lambda each: b"Transfer-Encoding: chunked\r\n\r\n" + in_chunks(each[0]) + each[1] + b"\r\n"
    ),
)
VERSIONS = st.sampled_from([b"1.1", b"1.0", b"1.7"])
REQUESTS = st.tuples(METHODS, TARGETS, VERSIONS, FIELDS, BODIES).map(
    lambda each: b"%b %b HTTP/%b\r\nHost: a\r\n%b%b" % each
)


@given(st.lists(REQUESTS, min_size=1, max_size=3), st.data())
@settings(max_examples=250, deadline=None)
def test_what_is_nearly_always_good_is_read_the_same_by_all(
    requests: list[bytes], data: st.DataObject
) -> None:
    """Well-formed requests of every kind: what the gate lets through the libraries read alike."""
    stream = b"".join(requests)
    cut = data.draw(st.integers(0, len(stream)))
    whole = talk(HTTP1ServerEngine(LIMITS), [stream])
    for make in ENGINES:
        assert talk(make(LIMITS), [stream[:cut], stream[cut:]]) == whole, make


@given(REQUESTS, st.data())
@settings(max_examples=250, deadline=None)
def test_what_is_broken_in_one_place_is_read_the_same_by_all(
    request: bytes, data: st.DataObject
) -> None:
    """One octet changed, left out or put in, anywhere."""
    at = data.draw(st.integers(0, len(request) - 1))
    instead = data.draw(st.sampled_from([b"", b"\0", b"\r", b"\n", b" ", b":", b"0", b"\xff"]))
    stream = request[:at] + instead + request[at + data.draw(st.integers(0, 1)) :]
    whole = talk(HTTP1ServerEngine(LIMITS), [stream])
    for make in ENGINES:
        assert talk(make(LIMITS), [stream]) == whole, make


# ── the known leniencies ──────────────────────────────────────────────────────


@pytest.mark.parametrize("method", [b"SOURCE", b"M-SEARCH", b"get", b"PRI", b"DESCRIBE", b"X" * 32])
def test_a_method_that_llhttp_does_not_know_passes_all_the_same(method: bytes) -> None:
    stream = method + b" / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"

    for make in ENGINES:
        said = talk(make(LIMITS), [stream])
        assert [each.name for each in said.events] == ["RequestHead", "BodyReceived", "BodyEnded"]


def test_an_offer_of_h2c_with_content_is_an_offer() -> None:
    stream = (
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
        b"Content-Length: 2\r\n\r\nhiGET / HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    for make in ENGINES:
        assert talk(make(LIMITS), [stream]) == talk(HTTP1ServerEngine(LIMITS), [stream])


# ── disagreement ends the connection ──────────────────────────────────────────


def parsers() -> list[Parser]:
    return [H11Parser(LIMITS), HTTPToolsParser()]


def head(raw: bytes, **other: object) -> RequestHead:
    fields = [(b"host", b"a"), (b"content-length", b"2")]
    found = RequestHead(b"POST", b"/", b"1.1", fields, b"a", 2)
    found.raw = raw
    for name, value in other.items():
        setattr(found, name, value)
    return found


GOOD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"


@pytest.mark.parametrize("at", [0, 1], ids=["h11", "httptools"])
@pytest.mark.parametrize(
    "seen",
    [
        head(GOOD, target=b"/x"),
        head(GOOD, method=b"PUT"),
        head(GOOD, headers=[(b"host", b"a")]),
        head(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n"),
        head(b"POST / HTTP/1.1\r\n"),
    ],
    ids=["target", "method", "fields", "refused", "not-whole"],
)
def test_a_head_that_a_library_reads_otherwise_is_refused(at: int, seen: RequestHead) -> None:
    with pytest.raises(Refused) as caught:
        parsers()[at].begin(seen)
    assert caught.value.status == 400


@pytest.mark.parametrize("at", [0, 1], ids=["h11", "httptools"])
def test_content_that_a_library_reads_otherwise_is_refused(at: int) -> None:
    parser = parsers()[at]
    parser.begin(head(GOOD))
    parser.content(b"h", b"h")
    with pytest.raises(Refused):
        parser.content(b"x", b"i")

    parser = parsers()[at]
    raw = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    fields = [(b"host", b"a"), (b"transfer-encoding", b"chunked")]
    parser.begin(head(raw, headers=fields, length=-1))
    with pytest.raises(Refused):
        parser.content(b"", b"x\r\n")


def test_an_engine_whose_parser_disagrees_says_so_and_ends() -> None:
    class Contrary:
        def begin(self, head: RequestHead) -> None:
            raise Refused(400, "the parser does not agree", "RFC 9112 §2.2")

        def content(self, piece: bytes, wire: bytes) -> None:
            raise AssertionError("there is no content")

    engine = HTTP1ServerEngine(parser=Contrary())
    engine.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)

    event = engine.next_event()
    assert isinstance(event, PeerFault)
    assert isinstance(event.error, WebProtocolError)
    assert event.error.status == 400
    (page,) = engine.data_to_send()
    assert isinstance(page, bytes)
    assert page.startswith(b"HTTP/1.1 400 ")


def test_without_its_extra_the_engine_of_httptools_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "httptools", None)

    with pytest.raises(MissingExtraError, match="fast"):
        HTTPToolsServerEngine()


def test_a_server_loads_no_parser_unless_it_is_asked_for() -> None:
    """Nor does it wait for one: the gate alone is the default."""
    code = (
        "import sys; from sennit.web import Site; Site(); "
        "print(sorted({'h11', 'httptools'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
