"""What a message asks, and what is refused before anybody is asked for an answer.

`read_query` takes octets to a `Message` that can be answered, or to the reply that says why
not, or to nothing at all. It is all that a server believes of a query:

* QR, or fewer than twelve octets: dropped, since an answer to an answer makes a loop.
* An opcode that nobody serves: NOTIMP.
* Not one question (RFC 9619; none with a cookie asks for one, RFC 7873 §5.4), octets that are
  no message, records where a query has none: FORMERR.
* A version of EDNS that is not 0: BADVERS, with the version that is (RFC 6891 §6.1.3).

Replies to what could not be read have a header and nothing else.

`kind_of` says what an answer is for the rates, from its octets (``ratelimit.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sennit.names.codes import Opcode, OptionCode, Rcode, RRType
from sennit.names.edns import EDNS, PAYLOAD
from sennit.names.errors import MessageFormatError
from sennit.names.message import HEADER, QR, RD, TC, Message
from sennit.names.name import read_name

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = [
    "COOKIE",
    "KEEPALIVE",
    "NSID",
    "PADDING",
    "error_reply",
    "kind_of",
    "question_end",
    "read_query",
    "truncated_reply",
]

NSID: Final = int(OptionCode.NSID)
"""EDNS option: the server's name (RFC 5001)."""
COOKIE: Final = int(OptionCode.COOKIE)
"""EDNS option: cookies (RFC 7873)."""
KEEPALIVE: Final = int(OptionCode.KEEPALIVE)
"""EDNS option: how long a connection may idle (RFC 7828)."""
PADDING: Final = int(OptionCode.PADDING)
"""EDNS option: octets that hide a message's length (RFC 7830)."""

_QUERY: Final = int(Opcode.QUERY)
_SERVED: Final = frozenset({int(Opcode.QUERY), int(Opcode.NOTIFY), int(Opcode.UPDATE)})
_FORMERR: Final = int(Rcode.FORMERR)
_NOTIMP: Final = int(Rcode.NOTIMP)
_BADVERS: Final = int(Rcode.BADVERS)
_NEVER_ASKED: Final = frozenset({0, int(RRType.OPT), int(RRType.TSIG)})
"""Types that are in messages, or nowhere, and in no question."""
_NOT_SERVED: Final = frozenset({int(RRType.TKEY), int(RRType.MAILA), int(RRType.MAILB)})
"""Questions that are obsolete, or about things that this server does not have."""
_IXFR: Final = int(RRType.IXFR)
_OPT_OF_OURS: Final = b"\0\0\x29" + PAYLOAD.to_bytes(2, "big") + bytes(6)


def read_query(wire: bytes) -> Message | bytes | None:
    """A query that can be answered; or the octets of the reply that refuses it; or neither.

    Args:
        wire: What came.

    Returns:
        ``None`` where there must not be an answer.
    """
    if len(wire) < 12 or wire[2] & 0x80:
        return None
    opcode = wire[2] >> 3 & 0xF
    if opcode not in _SERVED:
        return error_reply(wire, _NOTIMP)
    asked = wire[4] << 8 | wire[5]
    if asked > 1:
        return error_reply(wire, _FORMERR)
    try:
        message = Message.from_wire(wire)
    except MessageFormatError:
        return error_reply(wire, _FORMERR)
    edns = message.edns
    if edns is not None and edns.version:
        reply = message.reply(_BADVERS)
        reply.edns = EDNS(dnssec_ok=edns.dnssec_ok)
        return reply.to_wire()
    if not asked:
        # With a cookie it asks for nothing but the server's own (RFC 7873 §5.4).
        if edns is None or edns.option(COOKIE) is None or opcode != _QUERY:
            return error_reply(wire, _FORMERR)
        return message
    question = message.questions[0]
    if opcode == _QUERY:
        rdtype = question.rdtype
        if message.answers or (message.authority and rdtype != _IXFR) or rdtype in _NEVER_ASKED:
            return error_reply(wire, _FORMERR)
        if rdtype in _NOT_SERVED:
            return message.reply(_NOTIMP).to_wire()
    return message


def error_reply(wire: bytes, rcode: int) -> bytes:
    """A header that says no more than a response code: the answer to what could not be read.

    Args:
        wire: The query, of twelve octets at least.
        rcode: Below 16.
    """
    flags = wire[2] << 8 & (0x7800 | RD)
    return wire[:2] + (QR | flags | rcode).to_bytes(2, "big") + bytes(8)


def question_end(wire: bytes) -> int:
    """Where the one question of a message ends; 0 where it has not one, uncompressed and whole."""
    if wire[4:6] != b"\0\1":
        return 0
    position, size = 12, len(wire)
    while position < size:
        length = wire[position]
        if length == 0:
            end = position + 5
            return end if end <= size else 0
        if length > 63:
            return 0
        position += 1 + length
    return 0


def truncated_reply(wire: bytes) -> bytes | None:
    """An answer without records and with TC, after which a client asks by TCP.

    Args:
        wire: The query.

    Returns:
        ``None`` where the question cannot be repeated.
    """
    end = question_end(wire)
    if not end:
        return None
    flags = QR | TC | wire[2] << 8 & (0x7800 | RD)
    more = wire[10:12] != b"\0\0"
    head = HEADER.pack(wire[0] << 8 | wire[1], flags, 1, 0, 0, int(more))
    return head + wire[12:end] + (_OPT_OF_OURS if more else b"")


def kind_of(answer: bytes) -> Hashable:
    """What an answer is, so that a client that wants many of the same kind is noticed.

    Those to one name are of one kind, whatever the type. What a zone does not have is of one
    kind for the zone, and so are referrals for the name that was referred: names can be made
    up. Errors are of one kind.
    """
    rcode = answer[3] & 0xF
    if rcode not in (0, 3):
        return "error"
    end = question_end(answer)
    if not end:
        return "none"
    if (rcode == 3 or answer[6:8] == b"\0\0") and answer[8:10] != b"\0\0":
        try:
            return "zone", read_name(answer, end, {})[0].key
        except MessageFormatError:  # pragma: no cover - an answer of our own
            return "error"
    return "name", answer[12 : end - 4].lower()
