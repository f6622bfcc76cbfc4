"""No octets make what reads fields and paths for applications raise what it does not say."""

from __future__ import annotations

from sennit.web.auth import parse_authorization, parse_parameters
from sennit.web.compression import accepted_codings
from sennit.web.request import Request, decode_segments
from sennit.web.response import HTTPError, Response, text
from sennit.web.routing import Match, Router
from sennit.web.sessions.signing import Signer
from sennit.web.sse import Event
from sennit.web.virtualhosts import host_name

SEEDS = (
    b'Digest username="a\\"b", nonce=c, nc=00000001',
    b"gzip;q=0.5, br;q=1.0, *;q=0",
    b"/users/7/files/a/b%2Fc",
    b"/x/12345678-1234-5678-1234-567812345678/1.5",
    b"a.Example.:8080",
    b"cGF5bG9hZA.3e8.bWFj",
    b"one\r\ntwo\nthree",
)


def _answer(request: Request) -> Response:
    return text("")


_signer = Signer(b"0123456789abcdef", "fuzz")
_router = Router()
for _pattern in ("/users/{id:int}/files/{path:path}", "/x/{u:uuid}/{f:float}", "/{a}/{b}"):
    _router.add(_pattern, _answer)


def fuzz(data: bytes) -> None:
    """Take `data` for each of them."""
    words = data.decode("latin-1")
    parse_parameters(parse_authorization(words)[1])
    assert set(accepted_codings(words, ("br", "gzip"))) <= {"br", "gzip"}
    assert host_name(words) == host_name(words.upper()) or not words.isascii()
    assert _signer.verify(words) is None
    for line in Event(words).encoded.decode().split("\n")[:-2]:
        assert line.startswith("data: ")
    try:
        segments = decode_segments(b"/" + data)
    except HTTPError:
        return
    found = _router.match(segments, "GET")
    if isinstance(found, Match) and "path" in found.params:
        assert ".." not in found.params["path"].split("/")
