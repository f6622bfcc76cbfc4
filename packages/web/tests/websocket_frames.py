"""Frames of WebSocket made by hand, good and bad, and what engines and peers make of them.

`SCRIPTS` is what a conformance suite asks of an endpoint: octets to send, and what has
to come back, each from a section of RFC 6455 or RFC 7692. It knows nothing of Sennit: the
engines, servers over sockets and a server of somebody else's are held to the same list.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

__all__ = [
    "KEY",
    "SCRIPTS",
    "Answer",
    "Script",
    "close",
    "frame",
    "parse",
    "squeeze",
]

KEY = b"\x01\x82\x13\xf4"
BINARY, TEXT, CONTINUATION, CLOSE, PING, PONG = 2, 1, 0, 8, 9, 10


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    key: bytes | None = KEY,
    size: int | None = None,
    wide: int | None = None,
) -> bytes:
    """A frame, as a client sends it unless `key` is None.

    Args:
        opcode: Its opcode.
        payload: Unmasked.
        fin: Whether the message ends with it.
        rsv: Bits of 0x70.
        key: Its mask.
        size: What it says of its length, where that is a lie.
        wide: Octets of the extended length, where it takes more than it needs.
    """
    said = len(payload) if size is None else size
    if wide is None:
        wide = 0 if said < 126 else 2 if said < 65536 else 8
    masked = 0 if key is None else 0x80
    head = bytes(((0x80 if fin else 0) | rsv | opcode,))
    if wide == 0:
        head += bytes((masked | said,))
    elif wide == 2:
        head += bytes((masked | 126,)) + struct.pack(">H", said)
    else:
        head += bytes((masked | 127,)) + struct.pack(">Q", said)
    if key is None:
        return head + payload
    return head + key + bytes(octet ^ key[at & 3] for at, octet in enumerate(payload))


def close(code: int, reason: bytes = b"") -> bytes:
    """A client's Close frame."""
    return frame(CLOSE, struct.pack(">H", code) + reason)


def squeeze(data: bytes, bits: int = 12) -> bytes:
    """A message's payload, compressed by itself."""
    made = zlib.compressobj(-1, zlib.DEFLATED, -bits)
    return (made.compress(data) + made.flush(zlib.Z_SYNC_FLUSH))[:-4]


class Answer(NamedTuple):
    """A frame that came back.

    Attributes:
        opcode: Its opcode.
        payload: Decompressed, if it was; of a Close frame only its code.
    """

    opcode: int
    payload: bytes


def parse(data: bytes) -> tuple[list[Answer], bytes]:
    """The messages and control frames in what a server sent, and what is left over.

    Raises:
        AssertionError: It broke a rule: a mask, a longer length than needed, a reserved bit.
    """
    found: list[Answer] = []
    inflate = zlib.decompressobj(-15)
    message: list[bytes] = []
    opcode = -1
    squeezed = False
    while len(data) >= 2:
        first, size = data[0], data[1]
        assert size < 0x80, "a server's frame has a mask"
        begin = 2
        if size > 125:
            wide = 2 if size == 126 else 8
            if len(data) < 2 + wide:
                break
            begin += wide
            size = int.from_bytes(data[2:begin], "big")
            assert size >= (126 if wide == 2 else 65536), "a length longer than needed"
        if len(data) < begin + size:
            break
        payload = data[begin : begin + size]
        data = data[begin + size :]
        if first & 15 >= CLOSE:
            assert first & 0x70 == 0, "a reserved bit"
            assert first & 0x80, "a control frame in fragments"
            found.append(Answer(first & 15, payload[:2] if first & 15 == CLOSE else payload))
            if first & 15 == CLOSE:
                break
            continue
        assert first & 0x30 == 0, "a reserved bit"
        if opcode < 0:
            opcode = first & 15
            assert opcode in (TEXT, BINARY)
            squeezed = bool(first & 0x40)
        else:
            assert first & 0x7F == 0, "no continuation"
        message.append(payload)
        if first & 0x80:
            joined = b"".join(message)
            if squeezed:
                joined = inflate.decompress(joined + b"\x00\x00\xff\xff")
            found.append(Answer(opcode, joined))
            message, opcode = [], -1
    return found, data


class Script(NamedTuple):
    """One case.

    Attributes:
        name: What it is about.
        rule: The section.
        send: Octets of a client, after the handshake.
        expect: What an echo answers, in order. A Close frame stands for the end.
        deflate: Whether permessage-deflate was agreed on.
        codes: Other close codes that are as good.
    """

    name: str
    rule: str
    send: bytes
    expect: list[Answer]
    deflate: bool = False
    codes: tuple[int, ...] = ()


def _text(text: str) -> Answer:
    return Answer(TEXT, text.encode())


def _octets(data: bytes) -> Answer:
    return Answer(BINARY, data)


def _closed(code: int | None) -> Answer:
    return Answer(CLOSE, b"" if code is None else struct.pack(">H", code))


BYE = close(1000)
DONE = _closed(1000)
UNICODE = "Hello-µ@ßöäüàá-UTF-8!! 😀 κόσμε"
LIMIT = 1024 * 1024


def _scripts() -> list[Script]:
    made: list[Script] = []

    def add(
        name: str,
        rule: str,
        send: bytes,
        *expect: Answer,
        deflate: bool = False,
        codes: tuple[int, ...] = (),
    ) -> None:
        made.append(Script(name, rule, send, list(expect), deflate, codes))

    # Framing: every form of the length, both kinds.
    for size in (0, 1, 125, 126, 127, 128, 65535, 65536, LIMIT):
        add(f"text of {size}", "RFC 6455 §5.2", frame(TEXT, b"*" * size) + BYE,
            Answer(TEXT, b"*" * size), DONE)  # fmt: skip
        add(f"octets of {size}", "RFC 6455 §5.2", frame(BINARY, b"\xfe" * size) + BYE,
            Answer(BINARY, b"\xfe" * size), DONE)  # fmt: skip
    add("a mask of zeros", "RFC 6455 §5.3", frame(TEXT, b"hi", key=bytes(4)) + BYE,
        _text("hi"), DONE)  # fmt: skip
    add("no mask", "RFC 6455 §5.1", frame(TEXT, b"hi", key=None), _closed(1002))
    add("no mask on a ping", "RFC 6455 §5.1", frame(PING, b"", key=None), _closed(1002))
    add("a short length in 2 octets", "RFC 6455 §5.2", frame(BINARY, b"x", wide=2), _closed(1002))
    add("a short length in 8 octets", "RFC 6455 §5.2", frame(BINARY, b"x", wide=8), _closed(1002))
    add("a length of 2^63", "RFC 6455 §5.2", frame(BINARY, b"", size=1 << 63), _closed(1002))
    add("a length of 2^62", "RFC 6455 §7.4.1", frame(BINARY, b"", size=1 << 62), _closed(1009))
    add("one octet more than the limit", "RFC 6455 §7.4.1",
        frame(BINARY, b"", size=LIMIT + 1), _closed(1009))  # fmt: skip
    # Pings and pongs.
    for size in (0, 1, 125):
        add(f"a ping of {size}", "RFC 6455 §5.5.2", frame(PING, b"\xff" * size) + BYE,
            Answer(PONG, b"\xff" * size), DONE)  # fmt: skip
    add("a ping of 126", "RFC 6455 §5.5", frame(PING, b"x" * 126), _closed(1002))
    add("pongs that nobody asked for", "RFC 6455 §5.5.3",
        frame(PONG, b"x") + frame(PONG) + frame(TEXT, b"a") + BYE, _text("a"), DONE)  # fmt: skip
    add("a pong of 126", "RFC 6455 §5.5", frame(PONG, b"x" * 126), _closed(1002))
    add("ten pings", "RFC 6455 §5.5.2", b"".join(frame(PING, b"%d" % n) for n in range(10)) + BYE,
        *(Answer(PONG, b"%d" % n) for n in range(10)), DONE)  # fmt: skip
    # Reserved bits.
    for rsv in (0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70):
        add(f"reserved bits {rsv >> 4}", "RFC 6455 §5.2", frame(TEXT, b"x", rsv=rsv), _closed(1002))
        add(f"reserved bits {rsv >> 4} on a ping", "RFC 6455 §5.2",
            frame(PING, b"", rsv=rsv), _closed(1002))  # fmt: skip
    add("reserved bits after a message", "RFC 6455 §5.2",
        frame(TEXT, b"a") + frame(BINARY, b"b", rsv=0x20), _text("a"), _closed(1002))  # fmt: skip
    # Opcodes.
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        add(f"opcode {opcode}", "RFC 6455 §5.2", frame(opcode, b"x"), _closed(1002))
        add(f"opcode {opcode} after a message", "RFC 6455 §5.2",
            frame(TEXT, b"a") + frame(opcode), _text("a"), _closed(1002))  # fmt: skip
    # Fragments.
    add("two fragments", "RFC 6455 §5.4",
        frame(TEXT, b"he", fin=False) + frame(CONTINUATION, b"llo") + BYE,
        _text("hello"), DONE)  # fmt: skip
    add("fragments without content", "RFC 6455 §5.4",
        frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) + frame(CONTINUATION) + BYE,
        _text(""), DONE)  # fmt: skip
    add("a ping between fragments", "RFC 6455 §5.4",
        frame(BINARY, b"a", fin=False) + frame(PING, b"p") + frame(CONTINUATION, b"b") + BYE,
        Answer(PONG, b"p"), _octets(b"ab"), DONE)  # fmt: skip
    add("a ping in fragments", "RFC 6455 §5.5", frame(PING, b"p", fin=False), _closed(1002))
    add("a pong in fragments", "RFC 6455 §5.5", frame(PONG, b"p", fin=False), _closed(1002))
    add("a Close in fragments", "RFC 6455 §5.5", frame(CLOSE, b"", fin=False), _closed(1002))
    add("the continuation of nothing", "RFC 6455 §5.4", frame(CONTINUATION, b"x"), _closed(1002))
    add("the continuation of what has ended", "RFC 6455 §5.4",
        frame(TEXT, b"a") + frame(CONTINUATION, b"x"), _text("a"), _closed(1002))  # fmt: skip
    add("a message inside another", "RFC 6455 §5.4",
        frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), _closed(1002))  # fmt: skip
    add("octets that go on with text", "RFC 6455 §5.4",
        frame(BINARY, b"a", fin=False) + frame(TEXT, b"b", fin=False), _closed(1002))  # fmt: skip
    add("a message octet by octet", "RFC 6455 §5.4",
        frame(TEXT, b"", fin=False)
        + b"".join(frame(CONTINUATION, bytes((each,)), fin=False) for each in UNICODE.encode())
        + frame(CONTINUATION) + BYE, _text(UNICODE), DONE)  # fmt: skip
    add("the limit, in fragments", "RFC 6455 §7.4.1",
        frame(BINARY, b"x" * (LIMIT // 2), fin=False) + frame(CONTINUATION, b"y" * (LIMIT // 2))
        + BYE, _octets(b"x" * (LIMIT // 2) + b"y" * (LIMIT // 2)), DONE)  # fmt: skip
    add("more than the limit, in fragments", "RFC 6455 §7.4.1",
        frame(BINARY, b"x" * (LIMIT // 2), fin=False)
        + frame(CONTINUATION, b"", size=LIMIT // 2 + 1), _closed(1009))  # fmt: skip
    # UTF-8: good, cut, bad.
    add("text", "RFC 6455 §8.1", frame(TEXT, UNICODE.encode()) + BYE, _text(UNICODE), DONE)
    add("text cut inside a character", "RFC 6455 §8.1",
        frame(TEXT, b"\xe2\x82", fin=False) + frame(CONTINUATION, b"\xac") + BYE,
        _text("€"), DONE)  # fmt: skip
    for name, text in (
        ("first", "\x00"), ("last of 2", "\u07ff"), ("last of 3", "\uffff"),
        ("before the surrogates", "\ud7ff"), ("behind them", "\ue000"),
        ("no character", "\ufffe"), ("last", "\U0010ffff"),
    ):  # fmt: skip
        add(f"the {name} character", "RFC 3629 §3", frame(TEXT, text.encode()) + BYE,
            _text(text), DONE)  # fmt: skip
    bad = {
        "an octet that is none": b"a\xffb",
        "a continuation alone": b"\x80",
        "five octets": b"\xf8\x88\x80\x80\x80",
        "six octets": b"\xfc\x84\x80\x80\x80\x80",
        "a slash of two octets": b"\xc0\xaf",
        "a NUL of three octets": b"\xe0\x80\x80",
        "a high surrogate": b"\xed\xa0\x80",
        "a low surrogate": b"\xed\xbf\xbf",
        "a pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
        "more than there are": b"\xf4\x90\x80\x80",
        "a character cut at the end": b"\xe2\x82",
        "the first octet of a character": b"caf\xc3",
    }
    for name, octets in bad.items():
        add(f"text with {name}", "RFC 6455 §8.1", frame(TEXT, octets), _closed(1007))
    add("a bad octet in the second fragment", "RFC 6455 §8.1",
        frame(TEXT, b"good", fin=False) + frame(CONTINUATION, b"\xff", fin=False),
        _closed(1007))  # fmt: skip
    add("a character cut by the end of the message", "RFC 6455 §8.1",
        frame(TEXT, b"\xe2\x82", fin=False) + frame(CONTINUATION), _closed(1007))  # fmt: skip
    add("bad text before its frame has ended", "RFC 6455 §8.1",
        frame(TEXT, b"ab\xffcd", size=1000), _closed(1007))  # fmt: skip
    # Close.
    add("a Close without a word", "RFC 6455 §5.5.1", frame(CLOSE), _closed(None), codes=(1000,))
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999,
                 4000, 4999):  # fmt: skip
        add(f"a Close with {code}", "RFC 6455 §7.4", close(code), _closed(code), codes=(1000,))
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
        add(f"a Close with {code}", "RFC 6455 §7.4", close(code), _closed(1002))
    add("a Close with a reason", "RFC 6455 §5.5.1", close(1000, "ünd".encode()), DONE)
    add("a Close with the longest reason", "RFC 6455 §5.5.1", close(1000, b"x" * 123), DONE)
    add("a Close of one octet", "RFC 6455 §5.5.1", frame(CLOSE, b"\x03"), _closed(1002))
    add("a Close of 126", "RFC 6455 §5.5", frame(CLOSE, b"\x03\xe8" + b"x" * 124), _closed(1002))
    add("a Close with a bad reason", "RFC 6455 §5.5.1", close(1000, b"\xff\xfe"), _closed(1007),
        codes=(1002,))  # fmt: skip
    add("a ping behind a Close", "RFC 6455 §5.5.1", BYE + frame(PING, b"late"), DONE)
    add("a message behind a Close", "RFC 6455 §5.5.1", BYE + frame(TEXT, b"late"), DONE)
    add("a Close inside a message", "RFC 6455 §5.4", frame(TEXT, b"a", fin=False) + BYE, DONE)
    # Compression.
    for size in (0, 1, 100, 10_000, LIMIT):
        data = (b"compress me " * (size // 12 + 1))[:size]
        add(f"compressed text of {size}", "RFC 7692 §7.2",
            frame(TEXT, squeeze(data), rsv=0x40) + BYE, Answer(TEXT, data), DONE,
            deflate=True)  # fmt: skip
    add("plain text beside compressed", "RFC 7692 §6",
        frame(TEXT, b"plain") + frame(TEXT, squeeze(b"tight"), rsv=0x40) + BYE,
        _text("plain"), _text("tight"), DONE, deflate=True)  # fmt: skip
    data = squeeze(b"fragmented and compressed " * 50)
    add("compressed in fragments", "RFC 7692 §6.1",
        frame(BINARY, data[:5], fin=False, rsv=0x40) + frame(PING, b"p")
        + frame(CONTINUATION, data[5:]) + BYE,
        Answer(PONG, b"p"), _octets(b"fragmented and compressed " * 50), DONE,
        deflate=True)  # fmt: skip
    add("the RFC's own example", "RFC 7692 §7.2.3.1",
        frame(TEXT, b"\xf2\x48\xcd\xc9\xc9\x07\x00", rsv=0x40) + BYE, _text("Hello"), DONE,
        deflate=True)  # fmt: skip
    add("a block without compression", "RFC 7692 §7.2.3.3",
        frame(TEXT, b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", rsv=0x40) + BYE,
        _text("Hello"), DONE, deflate=True)  # fmt: skip
    add("two blocks", "RFC 7692 §7.2.3.5",
        frame(TEXT, b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", rsv=0x40) + BYE,
        _text("Hello"), DONE, deflate=True)  # fmt: skip
    add("RSV1 on a continuation", "RFC 7692 §6.1",
        frame(TEXT, data[:5], fin=False, rsv=0x40) + frame(CONTINUATION, data[5:], rsv=0x40),
        _closed(1002), deflate=True)  # fmt: skip
    add("RSV1 on a ping", "RFC 7692 §5", frame(PING, b"", rsv=0x40), _closed(1002), deflate=True)
    add("RSV2 beside RSV1", "RFC 6455 §5.2", frame(TEXT, data, rsv=0x60), _closed(1002),
        deflate=True)  # fmt: skip
    add("what no compressor makes", "RFC 7692 §7.2.2",
        frame(BINARY, b"\xff\xff\xff\xff", rsv=0x40), _closed(1007), deflate=True,
        codes=(1002,))  # fmt: skip
    add("compressed text that is no UTF-8", "RFC 6455 §8.1",
        frame(TEXT, squeeze(b"ab\xff"), rsv=0x40), _closed(1007), deflate=True)  # fmt: skip
    add("a megabyte that becomes two", "RFC 6455 §7.4.1",
        frame(BINARY, squeeze(bytes(2 * LIMIT)), rsv=0x40), _closed(1009),
        deflate=True)  # fmt: skip
    return made


SCRIPTS = _scripts()
"""Every case."""
