"""Taking content codings off, step by step, so that a small message cannot become a large one.

Octets as they were sent go into `ContentDecoder.decode`, which gives them back decoded in
pieces of about `PIECE` octets, each made only when it is asked for: however much a message
would swell, no more of it is there at once. What has come out is counted against a cap and
against what went in, after each coding where there are two::

    decoder = ContentDecoder(codings_of(values), limit=10 * 1024 * 1024)
    async for chunk in body:
        for piece in decoder.decode(chunk):
            ...
    decoder.finish()

A server decodes requests with it and the client responses. ``gzip`` and ``deflate`` come with
Python; ``br`` and ``zstd`` with the extra ``compress``.

Sources: RFC 9110 §8.4 (Content-Encoding); RFC 1950-1952; RFC 7932 (br); RFC 8878 and
RFC 9659 (zstd, whose window is at most 8 MiB on the Web). HARDENING h1-16, h1-24.
Not here: choosing a coding and compressing (``compression.py``).
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING, Any, Final, Protocol

from sennit.core.errors import MissingExtraError
from sennit.web.errors import WebProtocolError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence

    from sennit.core.interfaces import Buffer

__all__ = [
    "PIECE",
    "CodingBrokenError",
    "ContentDecoder",
    "DecodedTooLargeError",
    "UnknownCodingError",
    "available_codings",
    "codings_of",
    "decoded",
]

PIECE: Final = 64 * 1024
"""Octets that come out in one piece, about: brotli may give a little more."""

RATIO: Final = 100
"""How many octets may come out for each that went in, once more than `FREE` have."""

FREE: Final = 1024 * 1024
"""Octets that may come out whatever went in: a page of blanks is no bomb."""

MAX_CODINGS: Final = 1
"""Codings one over the other; nobody sends two but to do harm."""

_WINDOW_LOG: Final = 23
_SLICE: Final = 16 * 1024
# What a step leaves of its input is copied, so the input is cut to size first.
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch


class CodingBrokenError(WebProtocolError):
    """The octets are not what their Content-Encoding says, or end too early."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "RFC 9110 §8.4", 400)


class DecodedTooLargeError(WebProtocolError):
    """The content would be larger than is allowed, or swells like no honest content does.

    Attributes:
        limit: Octets that were allowed, or ``None`` where it was the ratio.
    """

    def __init__(self, message: str, limit: int | None) -> None:
        super().__init__(message, "RFC 9110 §15.5.14", 413)
        self.limit = limit


class UnknownCodingError(WebProtocolError):
    """A coding that is not understood here, or more of them than are taken.

    Attributes:
        coding: Its name.
    """

    def __init__(self, message: str, coding: str) -> None:
        super().__init__(message, "RFC 9110 §15.5.16", 415)
        self.coding = coding


class _Stage(Protocol):
    """One coding, taken off a slice at a time.

    Attributes:
        ended: Whether what was coded has come to its end.
    """

    ended: bool

    def give(self, data: bytes) -> None:
        """Give it the next slice; only after the one before was taken off."""
        ...

    def take(self, room: int) -> bytes:
        """About `room` octets of output; empty once the slice is used up."""
        ...


_BROKEN: Final = "content that is no {}"


class _Deflated:
    """gzip (RFC 1952), several members in a row too, and deflate (RFC 1950)."""

    def __init__(self, name: str, wbits: int) -> None:
        self._name = name
        self._wbits = wbits
        self._inflater = zlib.decompressobj(wbits)
        self._begun = b""
        self._rest = b""
        self.ended = False

    def give(self, data: bytes) -> None:
        if self._wbits == zlib.MAX_WBITS and len(self._begun) < 2:
            data = self._begun + data
            self._begun = data[:2]
            if len(data) < 2:
                return
            # Some servers send deflate bare, without zlib's two octets around it, and
            # browsers take it; a check sum in those two octets tells (RFC 1950 §2.2).
            if data[0] & 15 != 8 or (data[0] << 8 | data[1]) % 31:
                self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._rest = data

    def take(self, room: int) -> bytes:
        while True:
            if self.ended:
                if not self._rest:
                    return b""
                if self._wbits != 16 + zlib.MAX_WBITS:
                    raise CodingBrokenError("octets behind the end of the deflated content")
                self._inflater = zlib.decompressobj(self._wbits)
                self.ended = False
            inflater = self._inflater
            try:
                found = inflater.decompress(self._rest, room)
            except zlib.error as error:
                raise CodingBrokenError(f"{_BROKEN.format(self._name)}: {error}") from error
            self._rest = inflater.unconsumed_tail
            if inflater.eof:
                self.ended = True
                self._rest = inflater.unused_data
            if found or not (self.ended and self._rest):
                return found


class _Brotli:
    """br (RFC 7932)."""

    def __init__(self) -> None:
        import brotli

        self._decompressor = brotli.Decompressor()
        self._error: type[Exception] = brotli.error
        self._rest = b""
        self.ended = False

    def give(self, data: bytes) -> None:
        self._rest = data

    def take(self, room: int) -> bytes:
        data, self._rest = self._rest, b""
        if self.ended:
            if data:
                raise CodingBrokenError("octets behind the end of the br content")
            return b""
        try:
            # Asked until nothing comes: `can_accept_more_data` says so too early, while
            # output waits whose input was used up (brotli 1.2.1).
            found = self._decompressor.process(data, output_buffer_limit=room)
        except self._error as error:
            raise CodingBrokenError(_BROKEN.format("br")) from error
        self.ended = self._decompressor.is_finished()
        return found


class _Zstd:
    """zstd (RFC 8878), several frames in a row too."""

    def __init__(self) -> None:
        zstd = _zstd()
        self._kind: Callable[..., _ZstdDecompressor] = zstd.ZstdDecompressor
        self._options = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
        self._decompressor: _ZstdDecompressor = self._kind(options=self._options)
        self._error: type[Exception] = zstd.ZstdError
        self._rest = b""
        self.ended = False

    def give(self, data: bytes) -> None:
        self._rest = data

    def take(self, room: int) -> bytes:
        while True:
            data, self._rest = self._rest, b""
            if self.ended:
                if not data:
                    return b""
                self._decompressor = self._kind(options=self._options)
                self.ended = False
            decompressor = self._decompressor
            if not data and decompressor.needs_input:
                return b""
            try:
                found = decompressor.decompress(data, room)
            except self._error as error:
                raise CodingBrokenError(_BROKEN.format("zstd")) from error
            if decompressor.eof:
                self.ended = True
                self._rest = decompressor.unused_data
            if found or not (self.ended and self._rest):
                return found


class _ZstdDecompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _zstd() -> Any:  # one of two modules, the first of which checkers for 3.11 do not know
    """Python's own module (3.14), or its backport."""
    from importlib import import_module

    try:
        return import_module("compression.zstd")
    except ImportError:
        return import_module("backports.zstd")


_STAGES: Final[dict[str, Callable[[], _Stage]]] = {
    "gzip": lambda: _Deflated("gzip", 16 + zlib.MAX_WBITS),
    "deflate": lambda: _Deflated("deflate", zlib.MAX_WBITS),
    "br": _Brotli,
    "zstd": _Zstd,
}
_ALIASES: Final = {"x-gzip": "gzip"}
_available: list[str] = []


def available_codings() -> tuple[str, ...]:
    """The codings that can be taken off here, best first: what Accept-Encoding offers."""
    if not _available:
        for name in ("zstd", "br"):
            try:
                _STAGES[name]()
            except ImportError:
                continue
            _available.append(name)
        _available.extend(("gzip", "deflate"))
    return tuple(_available)


def codings_of(values: Iterable[bytes]) -> list[str]:
    """The codings that Content-Encoding fields name, in the order they were put on.

    ``identity`` is left out, and an old name is given as the new one.

    Args:
        values: The values of all fields of that name.

    Raises:
        UnknownCodingError: Something that is no name.
    """
    found: list[str] = []
    for value in values:
        for each in value.split(b","):
            each = each.strip(b" \t")
            if not each:
                continue
            if _NAME(each) is None:
                raise UnknownCodingError(f"no content coding: {each!r:.80}", "")
            name = each.decode("ascii").lower()
            if name != "identity":
                found.append(_ALIASES.get(name, name))
    return found


class ContentDecoder:
    """Takes the codings off one message's content.

    Args:
        codings: Their names in the order they were put on (`codings_of`); none for
            content that is only counted.
        limit: Octets of decoded content at most; ``None`` for as many as the ratio allows.
        ratio: Octets out for each octet in, beyond `free`; ``None`` for any.
        free: Octets out that the ratio is not asked for.
        max_codings: How many codings are taken.

    Attributes:
        limit: As given; may be set until the first octets come.
        taken: Octets that went in.
        made: Octets that came out.

    Raises:
        UnknownCodingError: A coding that is not known, or too many.
        MissingExtraError: One that needs the extra ``compress``.
    """

    def __init__(
        self,
        codings: Sequence[str],
        *,
        limit: int | None = None,
        ratio: int | None = RATIO,
        free: int = FREE,
        max_codings: int = MAX_CODINGS,
    ) -> None:
        if len(codings) > max_codings:
            raise UnknownCodingError(
                f"{len(codings)} content codings, and {max_codings} at most are taken",
                ", ".join(codings)[:200],
            )
        self._stages: list[_Stage] = []
        for name in reversed(codings):
            make = _STAGES.get(name)
            if make is None:
                raise UnknownCodingError(f"content coding {name!r:.80} is not known here", name)
            try:
                self._stages.append(make())
            except ImportError as error:
                raise MissingExtraError(
                    f"content coding {name!r}", "sennit-web", "compress"
                ) from error
        self._made = [0] * len(self._stages)
        self.limit = limit
        self._ratio = ratio
        self._free = free
        self.taken = 0
        self.made = 0

    def decode(self, data: Buffer) -> Iterator[bytes]:
        """Decode what came next, in pieces made as they are asked for.

        All of them have to be taken before the next call.

        Raises:
            CodingBrokenError: The octets are not what they are said to be.
            DecodedTooLargeError: There would be too many of them.
        """
        if not self._stages:
            self.taken += len(data)
            self._count(len(data))
            if data:
                yield bytes(data)
            return
        view = memoryview(data)
        for at in range(0, len(view), _SLICE):
            part = bytes(view[at : at + _SLICE])
            self.taken += len(part)
            yield from self._run(0, part)

    def _run(self, at: int, data: bytes) -> Iterator[bytes]:
        stage = self._stages[at]
        last = at + 1 == len(self._stages)
        stage.give(data)
        while piece := stage.take(PIECE):
            if last:
                self._count(len(piece))
                yield piece
            else:
                made = self._made[at] = self._made[at] + len(piece)
                self._weigh(made)
                yield from self._run(at + 1, piece)

    def _count(self, octets: int) -> None:
        self.made += octets
        self._weigh(self.made)

    def _weigh(self, made: int) -> None:
        """Whether so many octets may have come out so far, of whichever coding."""
        limit, ratio = self.limit, self._ratio
        if limit is not None and made > limit:
            raise DecodedTooLargeError(f"more than {limit} octets of content", limit)
        if ratio is not None and made > self._free and made > ratio * self.taken:
            raise DecodedTooLargeError(
                f"{self.taken} octets that swell to more than {ratio} times as many", None
            )

    def finish(self) -> None:
        """Say that all has gone in.

        No content at all is content, whatever its coding: answers to HEAD have none.

        Raises:
            CodingBrokenError: It ends too early.
        """
        if self.taken and not all(stage.ended for stage in self._stages):
            raise CodingBrokenError("coded content that ends too early")


async def decoded(content: AsyncIterable[Buffer], decoder: ContentDecoder) -> AsyncIterator[bytes]:
    """Content with its codings taken off, as fast as it is asked for.

    Raises:
        CodingBrokenError: It is not what it is said to be, or ends too early.
        DecodedTooLargeError: There is too much of it.
    """
    async for chunk in content:
        for piece in decoder.decode(chunk):
            yield piece
    decoder.finish()
