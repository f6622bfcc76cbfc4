"""Content codings put on answers, and taken off requests.

`compress` chooses what the client likes best of what there is, compresses content that is
in memory at once when it is small and piece by piece when it is large, and flushes after
each piece of content that streams, so that what an application has sent does not wait in
a compressor. `decode_requests` undoes what clients put on theirs, within caps.

Left alone: what is small, coded already, partial, said not to be transformed, or of a kind
that does not shrink (images, sound, films, archives), and files, which have compressed
variants beside them (``static.py``). Do not compress what holds a secret next to what a
stranger chose: its length would tell of the secret (BREACH).

Sources: RFC 9110 §8.4, §8.8.1 (a compressed variant is another representation, so its
entity tag is weak), §12.5.3 (Accept-Encoding), §12.5.5 (Vary); RFC 9111 §5.2.2.6
(no-transform); RFC 7932, RFC 8878. Not here: the decompressors (``decoding.py``).
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from sennit.core.engine import FilePart
from sennit.core.errors import MissingExtraError
from sennit.web.mediatypes import is_compressible
from sennit.web.response import HTTPError, Response
from sennit.web.wrappers import Closing, ask, then

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

    from sennit.core.interfaces import Buffer
    from sennit.web.request import Request
    from sennit.web.server import Answer, Handler
    from sennit.web.wrappers import Wrapper

__all__ = ["Compressor", "accepted_codings", "compress", "decode_requests"]

MINIMUM: Final = 1024
"""Octets below which compressing costs more than it saves: they fit in one packet anyway."""
AT_ONCE: Final = 64 * 1024
"""Octets that are compressed in one go; beyond, the loop gets a turn after each as many."""
MAX_LISTED: Final = 32
"""Codings of one Accept-Encoding that are looked at."""

_LEVELS: Final = {"gzip": 6, "br": 4, "zstd": 3}
_VARY = (b"vary", b"accept-encoding")


class Compressor(Protocol):
    """One coding, being put on."""

    def compress(self, data: Buffer, /) -> bytes:
        """What of it there is already."""
        ...

    def flush(self) -> bytes:
        """All that was given so far."""
        ...

    def finish(self) -> bytes:
        """The end."""
        ...


class _Gzip:
    def __init__(self, level: int) -> None:
        self._one = zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)

    def compress(self, data: Buffer) -> bytes:
        return self._one.compress(data)

    def flush(self) -> bytes:
        return self._one.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._one.flush(zlib.Z_FINISH)


class _Brotli:
    def __init__(self, level: int) -> None:
        import brotli

        self._one = brotli.Compressor(quality=level)

    def compress(self, data: Buffer) -> bytes:
        made: bytes = self._one.process(bytes(data))
        return made

    def flush(self) -> bytes:
        made: bytes = self._one.flush()
        return made

    def finish(self) -> bytes:
        made: bytes = self._one.finish()
        return made


class _Zstd:
    def __init__(self, level: int) -> None:
        from importlib import import_module

        try:
            zstd = import_module("compression.zstd")
        except ImportError:
            zstd = import_module("backports.zstd")
        self._one: Any = zstd.ZstdCompressor(level)  # of one of two modules
        self._block = zstd.ZstdCompressor.FLUSH_BLOCK
        self._frame = zstd.ZstdCompressor.FLUSH_FRAME

    def compress(self, data: Buffer) -> bytes:
        made: bytes = self._one.compress(data)
        return made

    def flush(self) -> bytes:
        made: bytes = self._one.flush(self._block)
        return made

    def finish(self) -> bytes:
        made: bytes = self._one.flush(self._frame)
        return made


_MAKERS: Final[dict[str, Callable[[int], Compressor]]] = {
    "zstd": _Zstd,
    "br": _Brotli,
    "gzip": _Gzip,
}


def accepted_codings(value: str | None, offered: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the offered codings that a client takes rather than none, best liked first.

    Args:
        value: Its Accept-Encoding; ``None`` when it has none.
        offered: Names in lower case, in the order in which equals are chosen.
    """
    if not value:
        return ()
    # Browsers say the same with every request; what is longer than theirs is not kept.
    return _liked(value, offered) if len(value) <= 256 else _liked.__wrapped__(value, offered)


@lru_cache(256)
def _liked(value: str, offered: tuple[str, ...]) -> tuple[str, ...]:
    weights: dict[str, float] = {}
    for item in value.lower().split(",", MAX_LISTED)[:MAX_LISTED]:
        name, _, rest = item.partition(";")
        name = name.strip(" \t")
        weight = 1.0
        for parameter in rest.split(";"):
            key, equals, number = parameter.partition("=")
            if equals and key.strip(" \t") == "q":
                weight = _weight(number.strip(" \t"))
        weights.setdefault("gzip" if name == "x-gzip" else name, weight)
    others = weights.get("*", 0.0)
    # What has no weight of its own is liked least (RFC 9110 §12.5.3).
    plain = weights.get("identity", 0.0)
    liked = [(weights.get(each, others), each) for each in offered]
    liked = [each for each in liked if each[0] > 0 and each[0] >= plain]
    liked.sort(key=lambda each: -each[0])
    return tuple(name for _, name in liked)


def _weight(text: str) -> float:
    """A qvalue (RFC 9110 §12.4.2); what is none weighs nothing."""
    whole, _, part = text.partition(".")
    if whole not in ("0", "1") or len(part) > 3 or not (part == "" or part.isdecimal()):
        return 0.0
    return min(int(whole) + (int(part) / 10 ** len(part) if part and part.isascii() else 0), 1.0)


def compress(
    codings: Sequence[str] = ("zstd", "br", "gzip"),
    *,
    minimum: int = MINIMUM,
    levels: dict[str, int] | None = None,
) -> Wrapper:
    """A wrapper that compresses answers.

    Args:
        codings: Those to offer, the one preferred first. ``br`` and ``zstd`` need the
            extra ``compress``.
        minimum: Octets of content below which it is left alone.
        levels: How hard each tries, in place of 6 (gzip), 4 (br) and 3 (zstd).

    Raises:
        MissingExtraError: A coding is not installed.
        ValueError: One is not known.
    """
    chosen = {**_LEVELS, **(levels or {})}
    for name in codings:
        if name not in _MAKERS:
            raise ValueError(f"no content coding {name!r}; there are {', '.join(_MAKERS)}")
        try:
            _MAKERS[name](chosen[name])
        except ImportError as error:
            raise MissingExtraError(f"coding {name}", "sennit-web", "compress") from error
    offered = tuple(codings)

    def wrap(handler: Handler) -> Handler:
        def call(request: Request) -> Answer:
            def change(response: Response) -> Response:
                return _compressed(request, response, offered, chosen, minimum)

            return then(ask(handler, request), change)

        return call

    return wrap


def _compressed(
    request: Request,
    response: Response,
    offered: tuple[str, ...],
    levels: dict[str, int],
    minimum: int,
) -> Response:
    body = response.body
    if isinstance(body, FilePart) or response.status in (204, 206, 304) or response.status < 200:
        return response
    kind = b""
    etag = None
    final = False
    for name, value in response.headers:
        if name == b"content-type":
            kind = value
        elif name == b"etag":
            etag = value
        elif name in (b"content-encoding", b"content-range"):
            return response
        elif name == b"cache-control":
            final = final or b"no-transform" in value.lower()
    if final or not kind or not is_compressible(kind.partition(b";")[0].strip().lower()):
        return response
    size: int | None = None
    if isinstance(body, (list, tuple)):
        parts = cast("Sequence[Buffer | FilePart]", body)
        if any(isinstance(each, FilePart) for each in parts):
            return response
        body = b"".join(cast("Sequence[Buffer]", parts))
    if not isinstance(body, AsyncIterable):
        size = len(cast("Buffer", body))
        if size < minimum:
            return response
    _add_vary(response)
    liked = accepted_codings(request.header("accept-encoding"), offered)
    if not liked:
        return response
    coding = liked[0]
    headers = [each for each in response.headers if each[0] != b"content-length"]
    if etag is not None and not etag.startswith(b"W/"):
        headers[headers.index((b"etag", etag))] = (b"etag", b"W/" + etag)
    headers.append((b"content-encoding", coding.encode("ascii")))
    response.headers = headers
    made = _MAKERS[coding](levels[coding])
    if isinstance(body, AsyncIterable):
        response.body = Closing(_flowing(body, made), body)
    elif size is not None and size > AT_ONCE:
        response.body = _in_turns(memoryview(cast("Buffer", body)), made)
    else:
        response.body = made.compress(cast("Buffer", body)) + made.finish()
    return response


def _add_vary(response: Response) -> None:
    """Say that the answer depends on Accept-Encoding, whether this one was compressed or not."""
    for name, value in response.headers:
        if name == b"vary":
            listed = {each.strip() for each in value.lower().split(b",")}
            if b"accept-encoding" in listed or b"*" in listed:
                return
    response.headers = [*response.headers, _VARY]


async def _flowing(
    body: AsyncIterable[Buffer | FilePart], made: Compressor
) -> AsyncGenerator[bytes, None]:
    """Pieces as they come: each leaves at once, whole."""
    async for piece in body:
        if isinstance(piece, FilePart):
            raise TypeError("pieces of files cannot be compressed: send them as they are")
        found = made.compress(piece) + made.flush()
        if found:
            yield found
    yield made.finish()


async def _in_turns(body: memoryview, made: Compressor) -> AsyncIterator[bytes]:
    """Much content, a part of it at a time."""
    for at in range(0, len(body), AT_ONCE):
        found = made.compress(body[at : at + AT_ONCE])
        if found:
            yield found
    yield made.finish()


# ── requests ──────────────────────────────────────────────────────────────────


def decode_requests(
    codings: Sequence[str] | None = None, *, limit: int | None = None, ratio: int | None = None
) -> Wrapper:
    """A wrapper that undoes the content coding of requests.

    What is too much is answered 413, what is broken 400, and a coding that is not taken, or
    more than one, 415 with what is (HARDENING h1-16).

    Args:
        codings: Those to take; all that are installed when left out.
        limit: Octets of decoded content; when left out, the limit of content that the route
            has, or else the site.
        ratio: How many octets each may become once a MiB has come out; 100 when left out.
    """
    from sennit.web.decoding import (
        RATIO,
        ContentDecoder,
        UnknownCodingError,
        available_codings,
        codings_of,
    )

    taken = tuple(available_codings() if codings is None else codings)
    refusal = {"accept-encoding": ", ".join(taken) or "identity"}

    def wrap(handler: Handler) -> Handler:
        def call(request: Request) -> Answer:
            head = request.head
            if not head.encoded or not head.length:
                return handler(request)
            try:
                listed = [value for name, value in head.headers if name == b"content-encoding"]
                names = codings_of(listed)
                if not set(names) <= set(taken):
                    raise HTTPError(415, refusal)
                decoder = ContentDecoder(names, limit=limit, ratio=ratio or RATIO)
            except UnknownCodingError:
                raise HTTPError(415, refusal) from None
            request.decode(decoder)
            return handler(request)

        return call

    return wrap
