"""Compression of messages: what is agreed on, and the doing of it, bounded.

`Deflate` is what a program wants, `Agreed` what both sides have agreed on for one
connection; `offer`, `agree` and `check_agreed` are the negotiation. An offer that
is not to the letter of RFC 7692 §7.1, or cannot be kept, is declined: the next one
is looked at, and without any the messages are not compressed.

`Inflater` never makes more than it is allowed at a time, whatever the ratio.

Sources: RFC 7692 §5 to §7. Not here: the header field's grammar (``handshake.py``),
which frames are compressed (the engines).
"""

from __future__ import annotations

import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final

    from sennit.core.interfaces import Buffer

    Parameters = Sequence[tuple[str, str | None]]

__all__ = ["NAME", "Agreed", "Deflate", "Deflater", "Inflater", "agree", "check_agreed", "offer"]

NAME: Final = "permessage-deflate"
TAIL: Final = b"\x00\x00\xff\xff"
"""What ends each message and is not sent (RFC 7692 §7.2.1)."""
MAX_STREAMS: Final = 16
"""Times that one message may end the stream in its midst (BFINAL, RFC 7692 §7.2.3.4)."""
MIN_BITS: Final = 9
"""zlib makes no raw stream with a window of 256 octets."""


class Deflate:
    """How a program wants its messages compressed.

    The window and memory level are below zlib's own: 15 and 8 take 256 KiB per
    connection, these a tenth of it, and make messages a few hundredths longer.

    Attributes:
        window_bits: The largest window of either side, as a power of two; 9 to 15.
        memory: zlib's memory level of what we send; 1 to 9.
        level: zlib's level of what we send; 0 to 9, -1 for its default.
        context_takeover: Whether a message may refer to those before it.
        smallest: Octets below which a message is sent as it is.
    """

    __slots__ = ("context_takeover", "level", "memory", "smallest", "window_bits")

    def __init__(
        self,
        *,
        window_bits: int = 12,
        memory: int = 5,
        level: int = -1,
        context_takeover: bool = True,
        smallest: int = 64,
    ) -> None:
        if not MIN_BITS <= window_bits <= 15:
            raise ValueError(f"a window has {MIN_BITS} to 15 bits, not {window_bits!r}")
        if not 1 <= memory <= 9:
            raise ValueError(f"zlib's memory level is 1 to 9, not {memory!r}")
        if not -1 <= level <= 9:
            raise ValueError(f"zlib's level is -1 to 9, not {level!r}")
        self.window_bits = window_bits
        self.memory = memory
        self.level = level
        self.context_takeover = context_takeover
        self.smallest = smallest


class Agreed:
    """What both sides keep to, on one connection.

    Attributes:
        server_takeover: Whether the server's messages refer to earlier ones.
        client_takeover: Whether the client's do.
        server_bits: Window of the server's messages.
        client_bits: Window of the client's.
        wanted: Level and memory of what this side sends.
    """

    __slots__ = ("client_bits", "client_takeover", "server_bits", "server_takeover", "wanted")

    def __init__(
        self,
        wanted: Deflate | None = None,
        *,
        server_takeover: bool = True,
        client_takeover: bool = True,
        server_bits: int = 15,
        client_bits: int = 15,
    ) -> None:
        self.wanted = wanted or Deflate()
        self.server_takeover = server_takeover
        self.client_takeover = client_takeover
        self.server_bits = server_bits
        self.client_bits = client_bits

    def __repr__(self) -> str:
        return (
            f"Agreed(server_takeover={self.server_takeover}, client_takeover="
            f"{self.client_takeover}, server_bits={self.server_bits}, "
            f"client_bits={self.client_bits})"
        )


def offer(wanted: Deflate) -> str:
    """What a client asks for."""
    said = NAME
    if not wanted.context_takeover:
        said += "; server_no_context_takeover; client_no_context_takeover"
    if wanted.window_bits < 15:
        said += f"; server_max_window_bits={wanted.window_bits}"
    return said + "; client_max_window_bits"


def agree(wanted: Deflate, parameters: Parameters) -> tuple[str, Agreed] | None:
    """A server's answer to one offer, and what it means; ``None`` declines it.

    Args:
        wanted: What the server wants.
        parameters: Names with their values, as offered.
    """
    found = _read(parameters, bits_may_lack_value=True)
    if found is None:
        return None
    said = NAME
    server_takeover = client_takeover = wanted.context_takeover
    server_bits, client_bits = wanted.window_bits, 15
    if "server_no_context_takeover" in found:
        server_takeover = False
    if "client_no_context_takeover" in found:
        client_takeover = False
    if "server_max_window_bits" in found:
        asked = found["server_max_window_bits"]
        if asked < MIN_BITS:
            return None
        server_bits = min(server_bits, asked)
    if not server_takeover:
        said += "; server_no_context_takeover"
    if not client_takeover:
        said += "; client_no_context_takeover"
    if server_bits < 15:
        said += f"; server_max_window_bits={server_bits}"
    if "client_max_window_bits" in found:
        # Only who says that it can be told may be told (RFC 7692 §7.1.2.2).
        client_bits = min(wanted.window_bits, max(found["client_max_window_bits"], MIN_BITS))
        if client_bits < 15:
            said += f"; client_max_window_bits={client_bits}"
    return said, Agreed(
        wanted,
        server_takeover=server_takeover,
        client_takeover=client_takeover,
        server_bits=server_bits,
        client_bits=client_bits,
    )


def check_agreed(wanted: Deflate, parameters: Parameters) -> Agreed | None:
    """What a server's answer to `offer` means; ``None`` when it answers something else.

    Args:
        wanted: What was offered.
        parameters: Names with their values, as the server said.
    """
    found = _read(parameters, bits_may_lack_value=False)
    if found is None:
        return None
    server_bits = found.get("server_max_window_bits", 15)
    if wanted.window_bits < 15 and server_bits > wanted.window_bits:
        # It was asked to keep to it, and has not said that it will (§7.1.2.1).
        return None
    server_takeover = "server_no_context_takeover" not in found
    if server_takeover and not wanted.context_takeover:
        return None
    client_bits = found.get("client_max_window_bits", 15)
    if client_bits < MIN_BITS:
        return None
    return Agreed(
        wanted,
        server_takeover=server_takeover,
        client_takeover=wanted.context_takeover and "client_no_context_takeover" not in found,
        server_bits=server_bits,
        client_bits=min(client_bits, wanted.window_bits),
    )


def _read(parameters: Parameters, *, bits_may_lack_value: bool) -> dict[str, int] | None:
    """The parameters by name, each with its bits; ``None`` for what RFC 7692 §7.1 has not."""
    found: dict[str, int] = {}
    for name, value in parameters:
        if name in found:
            return None
        if name in ("server_no_context_takeover", "client_no_context_takeover"):
            if value is not None:
                return None
            found[name] = 0
        elif name in ("server_max_window_bits", "client_max_window_bits"):
            if value is None:
                if not bits_may_lack_value or name == "server_max_window_bits":
                    return None
                found[name] = 15
            elif value in _BITS:
                found[name] = int(value)
            else:
                return None
        else:
            return None
    return found


_BITS = frozenset(str(bits) for bits in range(8, 16))


class Deflater:
    """Compresses the messages of one side.

    Args:
        bits: Its window.
        takeover: Whether messages refer to those before them.
        wanted: zlib's level and memory.
    """

    __slots__ = ("_bits", "_stream", "_takeover", "_wanted")

    def __init__(self, bits: int, takeover: bool, wanted: Deflate) -> None:
        self._bits = bits
        self._takeover = takeover
        self._wanted = wanted
        # `Any`: zlib does not name the type of its objects.
        self._stream: Any = None

    def compress(self, data: Buffer, *, final: bool) -> bytes:
        """Some of a message, such that all of it so far can be read by the peer."""
        stream = self._stream
        if stream is None:
            wanted = self._wanted
            stream = self._stream = zlib.compressobj(
                wanted.level, zlib.DEFLATED, -self._bits, wanted.memory
            )
        made: bytes = stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)
        if not final:
            return made
        if not self._takeover:
            self._stream = None
        if made:
            return made[:-4]
        # zlib does not flush twice: the first octet of an empty block, whose rest is
        # the tail (§7.2.3.6).
        return b"\x00"


class Inflater:
    """Decompresses the messages of one side, never more at a time than there is room for.

    Args:
        bits: Its window.
        takeover: Whether messages refer to those before them.
    """

    __slots__ = ("_bits", "_ends", "_stream", "_takeover")

    def __init__(self, bits: int, takeover: bool) -> None:
        # A window of 256 octets is read with one of 512: that knows more, never less.
        self._bits = max(bits, MIN_BITS)
        self._takeover = takeover
        # Made when it is needed: many connections never say anything compressed.
        self._stream: Any = None
        self._ends = 0

    def feed(self, data: Buffer, room: int) -> bytes:
        """Octets of a message, decompressed.

        Args:
            data: Compressed.
            room: How many may come of them. When there are more, one more than that is
                returned and the rest is lost: the message is too big.

        Raises:
            zlib.error: It is not what a compressor makes.
        """
        stream = self._stream
        if stream is None:
            stream = self._stream = zlib.decompressobj(-self._bits)
        if not stream.eof:
            made: bytes = stream.decompress(data, room + 1)
            if not stream.eof or not stream.unused_data:
                return made
            data = stream.unused_data
        else:
            made = b""
        # A block marked as the last one, and more behind it.
        parts = [made]
        room -= len(made)
        while data and room >= 0:
            self._ends += 1
            if self._ends > MAX_STREAMS:
                raise zlib.error("a message of too many streams")
            stream = self._stream = zlib.decompressobj(-self._bits)
            made = stream.decompress(data, room + 1)
            parts.append(made)
            room -= len(made)
            data = stream.unused_data
        return b"".join(parts)

    def end(self, room: int) -> bytes:
        """What remains once the message is over; then the next one may come.

        Raises:
            zlib.error: As `feed`.
        """
        made = self.feed(TAIL, room)
        self._ends = 0
        if not self._takeover:
            self._stream = None
        return made
