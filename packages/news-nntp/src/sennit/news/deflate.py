"""Octets deflated on their way out and inflated on their way in (RFC 8054): both sides, no I/O.

The streams are raw DEFLATE (RFC 1951) and never end while the connection lasts; each batch is
flushed so that the peer can read it. What comes is inflated in pieces of bounded size, however
much it would become, and no more than a ratio is taken: few octets must not make the other side
work without end.

Sources: RFC 8054 §2.2.2, §6. Not here: when it begins (the engines).
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from sennit.news.errors import NNTPProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sennit.core.interfaces import Buffer

__all__ = ["Deflate"]

_PIECE: Final = 64 * 1024
"""Octets that one call inflates to at most."""
_FREE: Final = 1 << 20
"""Octets inflated before the ratio counts."""


class Deflate:
    """Both directions of one connection from the moment on at which compression begins.

    Args:
        max_ratio: Octets that may come out for each that came in, after the first MiB.
    """

    __slots__ = ("_compressor", "_decompressor", "_in", "_more", "_ratio", "_taken", "_total")

    def __init__(self, max_ratio: int = 100) -> None:
        self._ratio = max_ratio
        self._compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        self._decompressor = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        self._in = bytearray()
        self._more = False
        self._taken = 0
        self._total = 0

    def compress(self, pieces: Iterable[Buffer]) -> bytes:
        """Deflate octets, flushed, so that the peer sees all of them."""
        compress = self._compressor.compress
        out = [compress(piece) for piece in pieces]
        out.append(self._compressor.flush(zlib.Z_SYNC_FLUSH))
        return b"".join(out)

    def receive(self, data: Buffer) -> None:
        """Take octets of the peer, for `decompress`."""
        self._in += data

    @property
    def waiting(self) -> bool:
        """Whether `decompress` may have more to give."""
        return bool(self._in) or self._more

    def decompress(self) -> bytes:
        """Inflate a piece of what came.

        Raises:
            NNTPProtocolError: It is no DEFLATE, has an end, or becomes too much.
        """
        data = bytes(self._in[:_PIECE])
        self._taken += len(data)
        try:
            out = self._decompressor.decompress(data, _PIECE)
        except zlib.error as error:
            raise NNTPProtocolError(f"not deflated: {error}", "RFC 8054 §2.2.2") from error
        tail = len(self._decompressor.unconsumed_tail)
        self._taken -= tail
        del self._in[: len(data) - tail]
        # What was read may become more than a piece: the rest is within zlib.
        self._more = len(out) == _PIECE
        self._total += len(out)
        if self._decompressor.eof:
            raise NNTPProtocolError("the deflated stream has ended", "RFC 8054 §2.2.2")
        if self._total > _FREE and self._total > self._ratio * self._taken:
            raise NNTPProtocolError(
                f"deflated more than {self._ratio} times: {self._total} octets", "limit:ratio"
            )
        return out
