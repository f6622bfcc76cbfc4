"""Frames of RFC 6455 and what may stand in them: headers, close codes, close payloads.

Nothing here knows a state: functions of octets, and the one exception with which
the engines say among themselves that the peer broke a rule.

Sources: RFC 6455 §5.2 (headers), §5.5.1 and §7.4 (Close), the IANA registry of close codes.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from sennit.core.interfaces import Buffer

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "FIN",
    "MAX_CONTROL",
    "MAX_REASON",
    "PING",
    "PONG",
    "RSV1",
    "TEXT",
    "Broken",
    "close_payload",
    "encode_message",
    "header",
    "is_close_code",
    "read_close",
]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
"""Opcodes (RFC 6455 §5.2)."""
FIN: Final = 0x80
RSV1: Final = 0x40
MAX_CONTROL: Final = 125
"""Octets of a control frame's payload (RFC 6455 §5.5)."""
MAX_REASON: Final = MAX_CONTROL - 2
"""Octets of a close reason in UTF-8."""


class Broken(Exception):  # noqa: N818 - never leaves an engine
    """The peer broke a rule.

    Attributes:
        code: The status code that answers it.
        rule: Which one.
    """

    def __init__(self, text: str, rule: str, code: int = 1002) -> None:
        super().__init__(text)
        self.rule = rule
        self.code = code


def header(first: int, size: int, masked: int = 0) -> bytes:
    """A frame's header without the key.

    Args:
        first: FIN, RSV bits and opcode.
        size: Octets of payload.
        masked: 0x80 where a key follows, else 0.
    """
    if size < 126:
        return bytes((first, masked | size))
    if size < 65536:
        return bytes((first, masked | 126, size >> 8, size & 255))
    return bytes((first, masked | 127)) + size.to_bytes(8, "big")


def encode_message(data: str | Buffer) -> bytes:
    """A server's frame of one whole message, for whom many get the same octets.

    ``Broadcast(encode=encode_message)`` encodes a message once for all its members
    (`WebSocket.member`). It is neither masked nor compressed, which every client takes
    (RFC 7692 §6: compression is a matter of each message).
    """
    if isinstance(data, str):
        payload: Buffer = data.encode()
        return header(FIN | TEXT, len(payload)) + payload
    return header(FIN | BINARY, len(data)) + data


def is_close_code(code: int) -> bool:
    """Whether a Close frame may carry it (RFC 6455 §7.4).

    1004 to 1006 and 1015 never go over the wire. 1012 and 1013 were registered later.
    So was 1014, which is for gateways, but wsproto does not take it, and both engines
    shall say the same.
    """
    return 1000 <= code <= 1003 or 1007 <= code <= 1013 or 3000 <= code <= 4999


def close_payload(code: int | None, reason: str = "") -> bytes:
    """What a Close frame carries.

    Raises:
        ValueError: No such code may be sent, there is a reason without a code, or the
            reason is too long or no text.
    """
    if code is None:
        if reason:
            raise ValueError("a close reason needs a code")
        return b""
    if not is_close_code(code):
        raise ValueError(f"no Close frame may carry {code!r}")
    said = reason.encode()
    if len(said) > MAX_REASON:
        raise ValueError(f"a close reason has at most {MAX_REASON} octets, not {len(said)}")
    return code.to_bytes(2, "big") + said


def read_close(payload: bytes) -> tuple[int, str]:
    """Code and reason of a peer's Close frame; 1005 when there is none.

    Raises:
        Broken: 1002 or, for the text, 1007.
    """
    if not payload:
        return 1005, ""
    if len(payload) == 1:
        raise Broken("a Close frame of one octet", "RFC 6455 §5.5.1")
    code = payload[0] << 8 | payload[1]
    if not is_close_code(code):
        raise Broken(f"a Close frame with the code {code}", "RFC 6455 §7.4")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise Broken("a close reason that is no UTF-8", "RFC 6455 §5.5.1", 1007) from None
