"""Answers link by link: from what is known, from proofs, from the iteration, validated.

A `Follower` follows a question to its end, alias by alias. Each link comes out of the cache, out of
proofs of absence that are known, or from the iteration; with a validator it is validated before it
is given to anybody who did not set CD, and what was found stays with it in the cache. What is past
its end is given where nobody answers in time (RFC 8767), and what is asked for in the last tenth of
its time is fetched again.

Sources: RFC 1034 §5.3.3, RFC 4035 §3.2 and §4, RFC 8020, RFC 8198, RFC 8767, RFC 9520.
Not here: clients (``resolver.py``), the way down (``iterate.py``).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sennit.names.codes import EDE, Rcode
from sennit.names.dnssec.verdict import Security
from sennit.names.errors import DNSUsageError
from sennit.names.message import CD, Message, Question
from sennit.names.resolver.aggressive import Denials
from sennit.names.resolver.answering import Found, compose
from sennit.names.resolver.bailiwick import alias_target
from sennit.names.resolver.checking import Checker
from sennit.names.resolver.entries import Entry, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.names.interfaces import IValidator
    from sennit.names.name import Name
    from sennit.names.resolver.cache import Cache
    from sennit.names.resolver.iterate import Iterator
    from sennit.names.resolver.limits import ResolverLimits
    from sennit.names.resolver.querying import Budget

__all__ = ["Follower"]


class Follower:
    """Follows questions to their ends.

    Args:
        cache: What is known.
        iterator: Gets what is not.
        limits: How much is done for one question.
        now: The time, in seconds.
        validator: Validates links; ``None`` for nobody.
        prefetch: Whether what is asked for is fetched again before it ends.

    Attributes:
        denials: Absences that are proved.
        prefetched: How often something was fetched ahead.
        gave_stale: How often a link was past its end.
    """

    def __init__(
        self,
        cache: Cache,
        iterator: Iterator,
        limits: ResolverLimits,
        now: Callable[[], float],
        validator: IValidator | None = None,
        *,
        prefetch: bool = True,
    ) -> None:
        self._cache = cache
        self._iterator = iterator
        self._limits = limits
        self._now = now
        self._prefetch = prefetch
        self._checker = None
        if validator is not None:
            self._checker = Checker(validator, limits, now, self._fetch_for_validator)
        self._background: set[asyncio.Task[Any]] = set()
        self._closed = False
        self.denials = Denials(limits)
        self.prefetched = 0
        self.gave_stale = 0

    def at_hand(self, name: Name, rdtype: int, *, check: bool) -> Found | None:
        """The whole answer where all of it is known, fresh, and validated if it has to be."""
        found = Found()
        now = self._now()
        current = name
        for _ in range(self._limits.restarts + 1):
            entry = self._known(current, rdtype, now)
            if entry is None or entry.kind is Kind.FAILURE:
                return None
            if (
                check
                and self._checker is not None
                and (entry.security in (Security.UNCHECKED, Security.BOGUS))
            ):
                return None
            self._consider_prefetch(entry, current, rdtype, now)
            following = self._add_link(found, entry, current, rdtype)
            if following is None:
                return found
            current = following
        return None

    def _known(self, name: Name, rdtype: int, now: float) -> Entry | None:
        told = self._iterator.told(name)
        entry = self._cache.find(name, rdtype, now)
        if entry is not None and told is not None and not entry.name.is_below(told):
            entry = None  # what stands above says nothing of what is looked up elsewhere
        if entry is None and self._checker is not None:
            entry = self.denials.answer(name, rdtype, now)
            if entry is not None and told is not None and not _within(entry.zone, told):
                return None
        return entry

    def _add_link(self, found: Found, entry: Entry, name: Name, rdtype: int) -> Name | None:
        """Add a link; where it leads, ``None`` at the end of the chain."""
        try:
            target = alias_target(entry, name, rdtype)
        except DNSUsageError:
            found.links.append((entry, name, None))
            found.rcode = int(Rcode.YXDOMAIN)
            return None
        found.links.append((entry, name, target))
        if target is None and entry.kind is Kind.NXDOMAIN:
            found.rcode = int(Rcode.NXDOMAIN)
        return target

    async def find(
        self, name: Name, rdtype: int, *, check: bool, budget: Budget | None = None
    ) -> Found:
        """Follow a question to its end."""
        found = Found()
        if budget is None:
            budget = self._iterator.budget()
        current = name
        seen = {name.key}
        patience = self._limits.client_wait if self._limits.stale else None
        for _ in range(self._limits.restarts + 1):
            entry, stale = await self._link(current, rdtype, budget, patience)
            found.stale |= stale
            if entry.kind is Kind.FAILURE:
                found.links.append((entry, current, None))
                return found.fail(entry.reason, entry.text)
            if stale and check and self._checker and entry.security is Security.UNCHECKED:
                return found.fail(int(EDE.OTHER), "stale, and never validated")
            if check and self._checker is not None and not stale:
                entry = await self._validated(self._checker, entry, current, rdtype, budget)
                if entry.security is Security.BOGUS:
                    found.links.append((entry, current, None))
                    return found.fail(entry.reason, entry.text)
                if entry.security is Security.UNCHECKED:
                    return found.fail(int(EDE.OTHER), "validation takes too long")
                if entry.security is Security.SECURE and entry.zone is not None:
                    self.denials.learn(entry.zone, entry, self._now())
            following = self._add_link(found, entry, current, rdtype)
            if following is None:
                return found
            if following.key in seen:
                return found.fail(int(EDE.OTHER), "aliases that lead in a circle")
            seen.add(following.key)
            current = following
        # Its links are known: to find it out again costs nobody a question.
        return found.fail(int(EDE.OTHER), "too many aliases")

    async def _validated(
        self, checker: Checker, entry: Entry, name: Name, rdtype: int, budget: Budget
    ) -> Entry:
        """A link with what validation found; where it was bogus, what another server says."""
        known = entry.security is not Security.UNCHECKED
        await checker.check(entry, name, rdtype, budget)
        if known or entry.security is not Security.BOGUS or entry.source is None:
            return entry
        budget.shunned.add(entry.source)
        other = await self._iterator.fetch(name, rdtype, budget)
        if other.kind is not Kind.FAILURE:
            await checker.check(other, name, rdtype, budget)
            if other.security not in (Security.BOGUS, Security.UNCHECKED):
                entry = other
        # For the next link it may be the only one there is.
        budget.shunned.clear()
        return entry

    async def _link(
        self, name: Name, rdtype: int, budget: Budget, patience: float | None
    ) -> tuple[Entry, bool]:
        """One link, from wherever it comes, and whether it is past its end."""
        now = self._now()
        entry = self._known(name, rdtype, now)
        if entry is not None and entry.kind is not Kind.FAILURE:
            self._consider_prefetch(entry, name, rdtype, now)
            return entry, False
        stale = self._cache.stale(name, rdtype, now) if patience is not None else None
        if entry is not None:
            if stale is not None:
                self.gave_stale += 1
                return stale, True
            return entry, False
        self._cache.misses += 1
        entry = await self._iterator.fetch(
            name, rdtype, budget, patience=patience if stale is not None else None
        )
        if entry.kind is Kind.FAILURE and stale is not None:
            self.gave_stale += 1
            return stale, True
        return entry, False

    def _consider_prefetch(self, entry: Entry, name: Name, rdtype: int, now: float) -> None:
        """Fetch anew what is asked for in the last tenth of its time."""
        if (
            self._prefetch
            and entry.kind is Kind.RECORDS
            and entry.ttl >= 10
            and entry.expires - now < entry.ttl * 0.1
            and not self._iterator.is_fetching(name, rdtype)
            and not self._cache.has_failed(name, rdtype, now)
            and not self._closed
        ):
            self.prefetched += 1
            self._start(self._iterator.fetch(name, rdtype, self._iterator.budget()))

    def _start(self, work: Any) -> None:
        """Let something run beside the answer. (`Any`: a coroutine of whatever result.)"""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _fetch_for_validator(self, name: Name, rdtype: int, budget: Budget) -> Message:
        """DS and DNSKEY for a validator, unvalidated: it validates them itself."""
        found = await self.find(name, rdtype, check=False, budget=budget)
        return self._unvalidated(found, Question(name, rdtype))

    async def fetch_anew(self, name: Name, rdtype: int) -> Message:
        """What servers say now, whatever is known, with signatures and unvalidated."""
        found = Found()
        entry = await self._iterator.fetch(name, rdtype, self._iterator.budget())
        if entry.kind is Kind.FAILURE:
            found.links.append((entry, name, None))
            return self._unvalidated(found.fail(entry.reason, entry.text), Question(name, rdtype))
        self._add_link(found, entry, name, rdtype)
        return self._unvalidated(found, Question(name, rdtype))

    def _unvalidated(self, found: Found, question: Question) -> Message:
        return compose(
            found,
            question,
            dnssec_ok=True,
            authentic=False,
            flags=CD,
            now=self._now(),
            stale_ttl=self._limits.stale_ttl,
        )

    async def aclose(self) -> None:
        """Give up what is under way."""
        self._closed = True
        tasks = list(self._background)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._checker is not None:
            await self._checker.aclose()


def _within(zone: Name | None, other: Name) -> bool:
    return zone is not None and zone.is_below(other)
