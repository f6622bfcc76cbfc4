"""Validation of links, and what becomes of what it finds.

`Checker.check` has a link validated, once for all who wait for it, and writes what was found
into the entry: it stays with it in the cache, which keeps what is secure no longer than its
signatures are good, and what is bogus for a minute at most.

Work is bounded twice: by the validator for each answer (signatures, hashes), and by the budget
of the question for the DS and DNSKEY that it has fetched.

Sources: RFC 4035 §4.3, §4.7, §5.3.3, RFC 6840 §5.9. Not here: the validation (``dnssec``).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from sennit.names.codes import EDE, Rcode, RRType
from sennit.names.dnssec.verdict import Security
from sennit.names.message import QR, Message, Question, Record
from sennit.names.resolver.answering import records_of
from sennit.names.resolver.entries import DNAME_TYPE, Entry, Kind, covered_type

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from sennit.names.dnssec.verdict import Link
    from sennit.names.interfaces import IValidator
    from sennit.names.name import Name
    from sennit.names.resolver.limits import ResolverLimits
    from sennit.names.resolver.querying import Budget

__all__ = ["Checker", "as_message"]

_log = logging.getLogger("sennit.names.resolver")
_RRSIG: Final = int(RRType.RRSIG)


class Checker:
    """Has links validated.

    Args:
        validator: Who does it.
        limits: How long what is bogus is kept.
        now: The time, in seconds.
        fetch: Gets what the validator needs, within a budget.
    """

    def __init__(
        self,
        validator: IValidator,
        limits: ResolverLimits,
        now: Callable[[], float],
        fetch: Callable[[Name, int, Budget], Awaitable[Message]],
    ) -> None:
        self._validator = validator
        self._limits = limits
        self._now = now
        self._fetch = fetch
        self._under_way: dict[int, asyncio.Task[None]] = {}

    async def check(self, entry: Entry, name: Name, rdtype: int, budget: Budget) -> None:
        """Find out what a link is worth, unless it is known; it is in `Entry.security` then.

        When the question's time is over before, it is `Security.UNCHECKED` still.

        Args:
            entry: The link.
            name: What it was found for.
            rdtype: The type that was asked for.
            budget: What that may cost.
        """
        if entry.security is not Security.UNCHECKED:
            return
        task = self._under_way.get(id(entry))
        if task is None:
            task = asyncio.get_running_loop().create_task(
                self._validate(entry, name, rdtype, budget)
            )
            self._under_way[id(entry)] = task
            task.add_done_callback(lambda _: self._under_way.pop(id(entry), None))
        await asyncio.wait({task}, timeout=max(0.0, budget.deadline - self._now()))

    async def _validate(self, entry: Entry, name: Name, rdtype: int, budget: Budget) -> None:
        message, question = as_message(entry, name, rdtype)

        failed = False

        async def fetch(wanted: Name, kind: int) -> Message:
            nonlocal failed
            answer = await self._fetch(wanted, kind, budget)
            failed |= answer.rcode == Rcode.SERVFAIL
            return answer

        try:
            verdict = await self._validator.validate(message, question, fetch)
        except Exception:
            _log.exception("while validating %s", question)
            entry.reason = int(EDE.OTHER)
            self._found(entry, Security.BOGUS, self._limits.failure_ttl)
            return
        if verdict.security is Security.BOGUS:
            entry.reason = int(EDE.DNSSEC_BOGUS if verdict.info_code is None else verdict.info_code)
            entry.text = verdict.reason
            # What could not be asked for may be there in a moment.
            most = self._limits.failure_ttl if failed else self._limits.bogus_ttl
            self._found(entry, Security.BOGUS, most)
            return
        link = verdict.links[-1] if verdict.links else None
        if link is not None and link.zone is not None:
            entry.zone = link.zone
            if verdict.security is Security.SECURE:
                entry.authority = _proven(entry.authority, link)
        self._found(entry, verdict.security, verdict.ttl)

    def _found(self, entry: Entry, security: Security, most: float) -> None:
        entry.security = security
        if security in (Security.BOGUS, Security.SECURE):
            entry.expires = min(entry.expires, self._now() + most)

    async def aclose(self) -> None:
        """Give up what is under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _proven(records: Iterable[Record], link: Link) -> tuple[Record, ...]:
    """The records of a proof whose signatures were verified, with these.

    Others may stand beside them, said to be signed by another zone: the validator passes them
    over, and what is concluded from proofs (RFC 8198) must not lean on them.
    """
    proven = {(each.name, each.rdtype) for each in link.proof}
    return tuple(
        each
        for each in records
        if (each.name, covered_type(each.rdata) if each.rdtype == _RRSIG else each.rdtype) in proven
    )


def as_message(entry: Entry, name: Name, rdtype: int) -> tuple[Message, Question]:
    """A link as the answer to a question that it alone answers."""
    if entry.kind is Kind.RECORDS:
        # Of a DNAME its own name is asked about: what it makes of others is arithmetic.
        owner = entry.name if entry.rdtype == DNAME_TYPE else name
        question = Question(owner, entry.rdtype)
        answers: list[Record] = records_of(entry, owner, None, int(entry.ttl), signed=True)
        rcode = Rcode.NOERROR
    else:
        question = Question(entry.name, entry.rdtype)
        answers = []
        rcode = Rcode.NXDOMAIN if entry.kind is Kind.NXDOMAIN else Rcode.NOERROR
    message = Message(
        0,
        QR,
        rcode=int(rcode),
        questions=[question],
        answers=answers,
        authority=entry.authority,
    )
    return message, question
