"""Which messages are answers to a question: the rules, without I/O.

Source: RFC 5452 §9 (id, question, class and type must be the question's; address and port are
the transport's affair).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sennit.names.codes import Opcode, Rcode, RRType
from sennit.names.message import QR

if TYPE_CHECKING:
    from sennit.names.message import Message

__all__ = ["is_answer"]

_UNREAD: Final = frozenset({Rcode.FORMERR, Rcode.SERVFAIL, Rcode.NOTIMP, Rcode.REFUSED})
"""Codes of answers whose server may not have read the question, and so repeat none."""
_TRANSFERS: Final = frozenset({RRType.AXFR, RRType.IXFR})


def is_answer(
    answer: Message, query: Message, *, match_case: bool = False, later: bool = False
) -> bool:
    """Whether a message answers `query`, its id aside.

    Args:
        answer: What came.
        query: What was asked.
        match_case: Whether letters must have the case that they were sent in.
        later: Whether other messages of the same answer came before (RFC 5936 §2.2.2: those
            of a transfer need no question).
    """
    if not answer.flags & QR or answer.opcode != query.opcode:
        return False
    if not answer.questions:
        if answer.rcode in _UNREAD or not query.questions:
            return True
        if query.opcode == Opcode.UPDATE:
            return True  # RFC 2136 §3.8: the sections may come back empty
        return later and query.questions[0].rdtype in _TRANSFERS
    if answer.questions != query.questions:
        return False
    return not match_case or all(
        one.name.wire == other.name.wire
        for one, other in zip(answer.questions, query.questions, strict=True)
    )
