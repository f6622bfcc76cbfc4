"""What an answer says to a question: the chain of aliases, the records at its end, or why none.

`read_answer` is what every resolver of this package makes a `Lookup` with. It follows aliases
through the answer section, at most `MAX_ALIASES` of them, each once; records that are not on the
way from the question to its end are never looked at, whoever put them there (RFC 5452 §6).

Sources: RFC 1034 §3.6.2 (aliases), RFC 2308 §2 (NXDOMAIN and no data), RFC 6672 §3.1 (DNAME, whose
CNAME the server makes), RFC 2181 §10.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sennit.names.codes import Rcode, RRType, rcode_text, type_text
from sennit.names.errors import (
    MessageFormatError,
    NoDataError,
    NoSuchNameError,
    ResponseError,
)
from sennit.names.message import Message, Question, RRset
from sennit.names.options import ExtendedError, found
from sennit.names.rdata.basic import CNAME, SOA

if TYPE_CHECKING:
    from sennit.names.name import Name
    from sennit.names.rdata import Rdata

__all__ = ["MAX_ALIASES", "MAX_TTL", "Chain", "Lookup", "follow", "negative_ttl", "read_answer"]

MAX_ALIASES: Final = 11
"""Aliases that are followed for one question (HARDENING dns-10)."""
MAX_TTL: Final = 86400
"""Seconds that anything is kept (HARDENING, defaults)."""
MAX_NEGATIVE: Final = 10800
"""Seconds that it is kept that there is nothing (RFC 2308 §5)."""

_ANY: Final = int(RRType.ANY)
_CNAME: Final = int(RRType.CNAME)


class Lookup(NamedTuple):
    """What was found.

    Attributes:
        question: What was asked, the name as it was completed by the search list.
        canonical_name: The name at the end of the aliases, whose records these are.
        rrset: The records.
        ttl: Seconds that they may be kept: the least on the way.
        authenticated: Whether they are proven: by our own validator, or by a server that is
            trusted to say so.
        message: The answer they came in; ``None`` where no server was asked (hosts file,
            ``localhost``).
    """

    question: Question
    canonical_name: Name
    rrset: RRset
    ttl: int
    authenticated: bool = False
    message: Message | None = None

    @property
    def rdatas(self) -> tuple[Rdata, ...]:
        """The data of the records."""
        return self.rrset.rdatas


class Chain(NamedTuple):
    """How far an answer leads.

    Attributes:
        name: The name at its end.
        rdatas: Data of the records there; none where the answer ends in nothing.
        ttl: The least on the way.
        aliases: How many there are.
    """

    name: Name
    rdatas: tuple[Rdata, ...]
    ttl: int
    aliases: int


def follow(message: Message, question: Question, most: int = MAX_ALIASES) -> Chain:
    """The way through an answer section.

    Raises:
        ResponseError: Its aliases go round, or are too many.
    """
    name = question.name
    ttl = MAX_TTL
    seen = {name.key}
    wanted = question.rdtype
    records: dict[bytes, list[tuple[int, int, Rdata]]] = {}
    for each in message.answers:
        if each.rdclass == question.rdclass:
            records.setdefault(each.name.key, []).append((each.rdtype, each.ttl, each.rdata))
    aliases = 0
    while True:
        here = records.get(name.key, ())
        ends = [each for each in here if each[0] == wanted or wanted == _ANY]
        if ends:
            least = min(ttl, *(each[1] for each in ends))
            return Chain(name, tuple(dict.fromkeys(each[2] for each in ends)), least, aliases)
        alias = next((each for each in here if each[0] == _CNAME), None)
        if alias is None or not isinstance(alias[2], CNAME):
            return Chain(name, (), ttl, aliases)
        ttl = min(ttl, alias[1])
        name = alias[2].target
        aliases += 1
        if aliases > most or name.key in seen:
            raise ResponseError(
                f"the aliases of {question.name} lead nowhere: a loop, or more than {most}",
                Rcode.SERVFAIL,
            )
        seen.add(name.key)


def negative_ttl(message: Message, name: Name) -> int | None:
    """Seconds for which the absence may be kept (RFC 2308 §5); ``None``: not at all."""
    for each in message.authority:
        if isinstance(each.rdata, SOA) and name.is_below(each.name):
            return min(each.ttl, each.rdata.minimum, MAX_NEGATIVE)
    return None


def read_answer(message: Message, question: Question, *, authenticated: bool = False) -> Lookup:
    """What an answer says, which must lead to its end.

    Raises:
        NoSuchNameError: NXDOMAIN.
        NoDataError: The name has no such records.
        ResponseError: The server answered with an error, or its aliases go round.
    """
    if message.rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
        raise ResponseError(
            f"{question}: the server answered {rcode_text(message.rcode)}{_reason(message)}",
            message.rcode,
        )
    chain = follow(message, question)
    if not chain.rdatas:
        if message.rcode == Rcode.NXDOMAIN:
            raise NoSuchNameError(f"{chain.name} does not exist{_reason(message)}")
        raise NoDataError(f"{chain.name} has no {type_text(question.rdtype)} records")
    rrset = RRset(chain.name, question.rdtype, chain.ttl, chain.rdatas, question.rdclass)
    return Lookup(question, chain.name, rrset, chain.ttl, authenticated, message)


def _reason(message: Message) -> str:
    """What the server says of it besides (RFC 8914)."""
    try:
        error = found(message.edns, ExtendedError)
    except MessageFormatError:
        return ""
    return "" if error is None else f" ({error})"
