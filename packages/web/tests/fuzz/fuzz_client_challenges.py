"""No WWW-Authenticate makes the reader raise, or the answer to Digest more than one line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sennit.web.client.auth import DigestAuth
from sennit.web.client.challenges import parse_challenges, parse_parameters
from sennit.web.client.urls import URL

if TYPE_CHECKING:
    from collections.abc import Coroutine

SEEDS = (
    b'Basic realm="simple", Newauth realm="apps", type=1, title="Login to \\"apps\\""',
    b'Digest realm="r", qop="auth, auth-int", algorithm=SHA-256, nonce="n", opaque="o"',
    b'Digest realm="r", qop=auth, algorithm=SHA-256-sess, nonce="n", stale=true, userhash=true',
    b"Negotiate YII==, , Bearer",
)
_URL = URL("http://example.com/")
_LINE = re.compile(rb"[\t -~\x80-\xff]*").fullmatch


def _result(coroutine: Coroutine[object, None, bytes | None]) -> bytes | None:
    try:
        coroutine.send(None)
    except StopIteration as done:
        found: bytes | None = done.value
        return found
    raise AssertionError("it waits for something")


def fuzz(data: bytes) -> None:
    """Read `data` and answer it."""
    parse_parameters(data)
    challenges = parse_challenges([data, data])
    auth = DigestAuth("u", "p", allow_md5=True, make_nonce=lambda: "c")
    for _ in range(2):
        coroutine = auth.answer("GET", _URL, challenges)
        answer = _result(coroutine)
        assert answer is None or _LINE(answer) is not None
