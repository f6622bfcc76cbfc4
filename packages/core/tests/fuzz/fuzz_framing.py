"""No octets make a decoder do anything but give frames or refuse, however they are cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sennit.core.errors import ProtocolError
from sennit.core.framing.line import LineDecoder, encode_line
from sennit.core.framing.netstring import NetstringDecoder, encode_netstring
from sennit.core.framing.prefix import PrefixDecoder, encode_prefixed

if TYPE_CHECKING:
    from sennit.core.framing.octets import Octets

    Result = tuple[list[bytes], str, bytes]

SEEDS = (
    b"HELO example\r\nQUIT\r\n\r\n",
    b"one\ntwo\rthree\r\n\0",
    b"5:hello,0:,11:hello world,",
    b"999999999:x",
    b"01:a,",
    b"\x00\x00\x00\x05hello\x00\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\x05\x00hello",
)

LIMIT = 20


def decode(decoder: Octets, next_frame: Callable[[], bytes | None], pieces: list[bytes]) -> Result:
    """All frames, the rule that was broken, and what is left."""
    frames: list[bytes] = []
    broken = ""
    for piece in pieces:
        decoder.receive_data(piece)
        try:
            while (frame := next_frame()) is not None:
                frames.append(frame)
        except ProtocolError as error:
            broken = error.rule
            assert decoder.waiting == 0
        assert decoder.waiting <= LIMIT + 8
    return frames, broken, decoder.release()


def _lines(pieces: list[bytes]) -> Result:
    decoder = LineDecoder(max_line=LIMIT)
    result = decode(decoder, decoder.next_line, pieces)
    for line in result[0]:
        assert len(line) <= LIMIT
        assert line + b"\r\n" == encode_line(line)
    return result


def _loose_lines(pieces: list[bytes]) -> Result:
    decoder = LineDecoder(None, max_line=LIMIT)
    return decode(decoder, decoder.next_line, pieces)


def _netstrings(pieces: list[bytes]) -> Result:
    decoder = NetstringDecoder(max_length=LIMIT)
    result = decode(decoder, decoder.next_netstring, pieces)
    _is_prefix(b"".join(map(encode_netstring, result[0])), result, pieces)
    return result


def _prefixed(pieces: list[bytes]) -> Result:
    decoder = PrefixDecoder(2, "little", max_length=LIMIT)
    result = decode(decoder, decoder.next_frame, pieces)
    encoded = b"".join(encode_prefixed(frame, 2, "little") for frame in result[0])
    _is_prefix(encoded, result, pieces)
    return result


def _is_prefix(encoded: bytes, result: Result, pieces: list[bytes]) -> None:
    """What was decoded, encoded again, is what came; with the rest it is all of it."""
    whole = b"".join(pieces)
    assert whole.startswith(encoded)
    if not result[1]:
        assert encoded + result[2] == whole


def fuzz(data: bytes) -> None:
    """The first octet says where the rest is cut; the outcome must be that of single octets."""
    step, data = (data[0] or 1, data[1:]) if data else (1, b"")
    single = [data[at : at + 1] for at in range(len(data))]
    cut = [data[at : at + step] for at in range(0, len(data), step)]
    for decode_all in (_lines, _loose_lines, _netstrings, _prefixed):
        assert decode_all(cut) == decode_all(single)
