"""Iteration: from the deepest known delegation down to the servers that have the answer.

`Iterator.fetch` gets one link of an answer (`Entry`) and puts it into the cache. It asks a zone's
servers for no more of the name than they need to refer to the next (RFC 9156), judges each answer
by ``bailiwick.py``, and goes on from what referrals say. Whoever asks the same meanwhile waits for
the same work; work that would wait for itself (servers whose addresses are beneath each other)
is recognized and given up.

What a question may cost stands in its `Budget`, which all that it leads to draws on.

Sources: RFC 1034 §5.3.3, RFC 8109 (priming), RFC 9156 (minimisation), RFC 9520 (failures).
Not here: aliases, validation, stale data (``resolver.py``).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from sennit.names.codes import EDE, RRType, type_text
from sennit.names.message import Question
from sennit.names.name import ROOT, Name
from sennit.names.rdata.address import AAAA, A
from sennit.names.resolver.bailiwick import Step, Verdict, judge, root_servers
from sennit.names.resolver.entries import DNAME_TYPE, Delegation, Entry, Kind
from sennit.names.resolver.querying import Budget, NoAnswerError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sennit.core.endpoint.networks import Networks
    from sennit.names.resolver.cache import Cache
    from sennit.names.resolver.forward import Forward, Forwards
    from sennit.names.resolver.limits import ResolverLimits
    from sennit.names.resolver.querying import Upstream
    from sennit.names.resolver.servers import Server, Servers

    Address = tuple[str, int]

__all__ = ["BusyError", "Iterator", "Job", "StaleDelegationError", "failure"]

_A: Final = int(RRType.A)
_AAAA: Final = int(RRType.AAAA)
_DS: Final = int(RRType.DS)
_NS: Final = int(RRType.NS)

ROUNDS: Final = 3
"""How often a zone's silent servers are asked for one question."""
STEPS: Final = 64
"""Answers looked at for one link, whatever they are: no way down has so many."""

_log = logging.getLogger("sennit.names.resolver")


class Job:
    """A link that is being fetched.

    Attributes:
        waits: Jobs that it waits for.
        depth: How many stand above it.
    """

    __slots__ = ("depth", "task", "waits")

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.waits: set[Job] = set()
        self.task: asyncio.Task[Entry]

    def reaches(self, other: Job) -> bool:
        """Whether it waits for another, through however many."""
        seen: set[Job] = set()
        left: list[Job] = [self]
        while left:
            job = left.pop()
            if job is other:
                return True
            if job not in seen:
                seen.add(job)
                left.extend(job.waits)
        return False


class Iterator:
    """Fetches links of answers from those who have them.

    Args:
        cache: Where they go, and delegations come from.
        servers: What is known of servers.
        upstream: Asks them.
        limits: How much is done.
        now: The time, in seconds.
        hints: Addresses of the root's servers, by name.
        forwards: Where questions are forwarded to.
        stubs: Addresses and ports of zones' servers, by zone.
        port: Where the servers of delegations listen.
        ipv6: Whether servers are asked at addresses of IPv6.
        minimise: ``relaxed`` (what breaks is asked for whole), ``strict``, or ``off``.
        avoid: Addresses that no delegation may send us to.
    """

    def __init__(
        self,
        cache: Cache,
        servers: Servers,
        upstream: Upstream,
        limits: ResolverLimits,
        now: Callable[[], float],
        *,
        hints: Mapping[Name, tuple[str, ...]],
        forwards: Forwards,
        stubs: Mapping[Name, tuple[Address, ...]],
        port: int = 53,
        ipv6: bool = True,
        minimise: str = "relaxed",
        avoid: Networks | None = None,
    ) -> None:
        self._cache = cache
        self._servers = servers
        self._upstream = upstream
        self._limits = limits
        self._now = now
        self._forwards = forwards
        self._port = port
        self._types = (_A, _AAAA) if ipv6 else (_A,)
        self._ipv6 = ipv6
        self._minimise = minimise
        self._avoid = avoid
        self._hints = Delegation(ROOT, tuple(hints), dict(hints), 0)
        self._stubs = {
            zone.key: Delegation(zone, (), {}, 0, addresses=addresses)
            for zone, addresses in stubs.items()
        }
        self._told = {each for each in (*stubs, *forwards.zones) if not each.is_root}
        self._jobs: dict[tuple[bytes, int], Job] = {}
        self._at_zone: dict[bytes, int] = {}
        self._priming: asyncio.Task[None] | None = None
        self._primed_until = 0.0
        self.joined = 0
        self.refused = 0

    @property
    def jobs(self) -> int:
        """How many links are being fetched."""
        return len(self._jobs)

    def budget(self) -> Budget:
        """What a new question may cost."""
        limits = self._limits
        return Budget(limits.question_queries, self._now() + limits.question_time)

    # ── one link ──────────────────────────────────────────────────────────────

    def told(self, name: Name) -> Name | None:
        """The deepest zone above a name that an operator named servers for, save the root."""
        places = self._told
        return next((each for each in name.ancestors() if each in places), None) if places else None

    def is_fetching(self, name: Name, rdtype: int) -> bool:
        """Whether a link is being fetched."""
        return (name.key, rdtype) in self._jobs

    async def fetch(
        self,
        name: Name,
        rdtype: int,
        budget: Budget,
        parent: Job | None = None,
        *,
        patience: float | None = None,
    ) -> Entry:
        """Get a link from its servers, once for all who ask for it meanwhile.

        Args:
            name: Whose.
            rdtype: Of which type.
            budget: What it may cost.
            parent: What it is needed for.
            patience: Seconds after which the wait is given up, while the work goes on.

        Returns:
            What is in the cache from now on, of whatever kind; a failure where there is nothing.
        """
        entry, joined = await self._fetch(name, rdtype, budget, parent, patience)
        # Who began it may have spent its means; ours are left.
        left = budget.queries > 0 and budget.deadline > self._now()
        if joined and parent is None and patience is None and not entry.stays and left:
            entry, _ = await self._fetch(name, rdtype, budget, parent, patience)
        return entry

    async def _fetch(
        self, name: Name, rdtype: int, budget: Budget, parent: Job | None, patience: float | None
    ) -> tuple[Entry, bool]:
        """The same, and whether others had begun it."""
        key = (name.key, rdtype)
        job = self._jobs.get(key)
        joined = job is not None
        if job is None:
            depth = 0 if parent is None else parent.depth + 1
            if depth > self._limits.depth:
                return failure(name, rdtype, "servers of servers of servers", stays=False), joined
            if len(self._jobs) >= self._limits.jobs:
                self.refused += 1
                return failure(name, rdtype, "too many questions at work", stays=False), joined
            job = self._jobs[key] = Job(depth)
            job.task = asyncio.get_running_loop().create_task(
                self._run(name, rdtype, budget, job), name=f"{name} {type_text(rdtype)}"
            )
            job.task.add_done_callback(lambda _: self._jobs.pop(key, None))
        else:
            self.joined += 1
            if parent is not None and job.reaches(parent):
                return failure(name, rdtype, "servers that need each other", stays=False), joined
        if parent is not None:
            parent.waits.add(job)
        try:
            left = max(0.0, budget.deadline - self._now())
            if patience is not None:
                left = min(left, patience)
            await asyncio.wait({job.task}, timeout=left)
        finally:
            if parent is not None:
                parent.waits.discard(job)
        if not job.task.done() or job.task.cancelled():
            return failure(name, rdtype, "the question's time is over", stays=False), joined
        return job.task.result(), joined

    async def _run(self, name: Name, rdtype: int, budget: Budget, job: Job) -> Entry:
        question = Question(name, rdtype)
        given = budget.queries
        try:
            return await self._get(name, rdtype, budget, job)
        except NoAnswerError as error:
            entry = failure(name, rdtype, str(error))
            # A question that spent its means on the way says nothing of servers' names, nor of
            # names that its aliases lead to, whoever's they are.
            spent = budget.queries <= 0 or budget.deadline <= self._now()
            partial = job.depth or given < self._limits.question_queries
            entry.stays = not (partial and spent) and not isinstance(error, BusyError)
            if entry.stays:
                self._cache.put(entry, self._now())
            return entry
        except Exception:
            _log.exception("while looking up %s", question)
            return failure(name, rdtype, "internal error", stays=False)

    async def _get(self, name: Name, rdtype: int, budget: Budget, job: Job) -> Entry:
        forward = self._forwards.find(name, rdtype)
        if forward is not None:
            try:
                return await self._forward(forward, name, rdtype, budget)
            except NoAnswerError:
                if not forward.fallback:
                    raise
        try:
            return await self._descend(name, rdtype, budget, job)
        except StaleDelegationError as error:
            # The parent may know better servers by now.
            self._cache.drop_delegation(error.zone)
            try:
                return await self._descend(name, rdtype, budget, job)
            except StaleDelegationError as again:
                raise NoAnswerError(str(again)) from again

    async def _forward(self, forward: Forward, name: Name, rdtype: int, budget: Budget) -> Entry:
        transports = {each.address: each.transport for each in forward.servers}
        tried: set[Address] = set(budget.shunned)
        why = "no forwarder answers"
        rounds = 1
        while True:
            now = self._now()
            server = self._servers.choose(transports, forward.zone, now, tried)
            if server is None:
                if rounds >= ROUNDS or not tried or "does not answer" not in why:
                    raise NoAnswerError(why)
                rounds += 1
                tried.clear()
                continue
            tried.add(server.address)
            try:
                answer, _ = await self._upstream.ask(
                    name,
                    rdtype,
                    server,
                    budget,
                    transport=transports[server.address],
                    recurse=True,
                )
            except NoAnswerError as error:
                self._stop_if_spent(budget, error)
                why = str(error)
                continue
            step = judge(answer, name, rdtype, forward.zone, self._limits, forwarded=True)
            if step.verdict is Verdict.ANSWER:
                return self._keep(step, server.address)
            why = f"{server.address[0]}: {step.why}"

    async def _descend(self, name: Name, rdtype: int, budget: Budget, job: Job) -> Entry:
        """Go down from delegation to delegation."""
        cut = self._deepest(name, rdtype)
        begun_at = cut
        shown = 0  # labels beneath the cut
        count = 0  # queries that showed less than the whole name
        whole = self._minimise == "off"
        size = len(name)
        for _ in range(STEPS):
            below = size - len(cut.zone)
            if not whole:
                step_by = 1
                if count >= self._limits.single_labels:
                    left = max(1, self._limits.minimised - count)
                    step_by = -(-(below - shown) // left)
                shown += step_by
                whole = shown >= below or count >= self._limits.minimised
            if whole:
                asked, kind = name, rdtype
            else:
                asked, kind = _tail(name, len(cut.zone) + shown), _A
                known = self._cache.get(asked, _A, self._now())
                if known is not None:
                    # An NXDOMAIN that is not proved is not believed for what is beneath.
                    whole = known.kind is Kind.NXDOMAIN
                    continue
                count += 1
            try:
                step = await self._ask_zone(cut, asked, kind, budget, job)
            except NoAnswerError as error:
                if whole or isinstance(error, BusyError):
                    if cut is begun_at and cut.ttl:
                        self._stop_if_spent(budget, error)
                        raise StaleDelegationError(str(error), cut.zone) from error
                    raise
                self._stop_if_spent(budget, error)
                if self._minimise == "strict":
                    raise
                whole = True
                continue
            if step.delegation is not None:
                # It ends with the one that led here at the latest: a zone that was taken away
                # does not live on in zones beneath it. The root is not taken away.
                until = None if cut.zone.is_root or not cut.expires else cut.expires
                cut = step.delegation
                self._cache.put_delegation(cut, self._now(), until)
                if step.ds is not None:
                    self._cache.put(step.ds, self._now())
                shown = 0
                whole = self._minimise == "off" or count >= self._limits.minimised
                continue
            entry = self._keep(step, step.source)
            if whole or (entry.kind is Kind.RECORDS and entry.rdtype == DNAME_TYPE):
                return entry
            if entry.kind is Kind.NXDOMAIN:
                if self._minimise == "strict":
                    return self._cache.put(
                        Entry(
                            Kind.NXDOMAIN,
                            name,
                            rdtype,
                            entry.ttl,
                            authority=entry.authority,
                            rank=entry.rank,
                            zone=entry.zone,
                        ),
                        self._now(),
                    )
                whole = True
        raise NoAnswerError("too many steps")

    def _keep(self, step: Step, source: Address | None) -> Entry:
        now = self._now()
        for each in step.entries:
            each.source = source
        kept = [self._cache.put(each, now) for each in step.entries]
        return kept[0]

    def _stop_if_spent(self, budget: Budget, error: NoAnswerError) -> None:
        if budget.queries <= 0:
            raise NoAnswerError("too many upstream queries for one question") from error
        if budget.deadline <= self._now():
            raise NoAnswerError("the question's time is over") from error

    def _deepest(self, name: Name, rdtype: int) -> Delegation:
        """Where to begin: the deepest delegation or stub zone, else the root."""
        within = name.parent if rdtype == _DS and not name.is_root else name
        found = self._cache.delegation(within, self._now())
        wire = within.key
        stubs = self._stubs
        if stubs:
            least = 0 if found is None else len(found.zone.wire)
            while len(wire) >= least:
                stub = stubs.get(wire)
                if stub is not None:
                    return stub
                if not wire[0]:
                    break
                wire = wire[1 + wire[0] :]
        if found is not None:
            return found
        self._prime()
        return self._hints

    # ── a zone's servers ──────────────────────────────────────────────────────

    async def _ask_zone(
        self, cut: Delegation, name: Name, rdtype: int, budget: Budget, job: Job
    ) -> Step:
        """Ask a zone's servers until one says something that can be believed."""
        key = cut.zone.key
        at_work = self._at_zone.get(key, 0)
        if at_work >= self._limits.zone_fetches and not cut.zone.is_root:
            self.refused += 1
            raise BusyError(f"too many questions at work at the servers of {cut.zone}")
        self._at_zone[key] = at_work + 1
        try:
            return await self._ask_servers(cut, name, rdtype, budget, job)
        finally:
            left = self._at_zone[key] - 1
            if left:
                self._at_zone[key] = left
            else:
                del self._at_zone[key]

    async def _ask_servers(
        self, cut: Delegation, name: Name, rdtype: int, budget: Budget, job: Job
    ) -> Step:
        zone = cut.zone
        addresses, unknown = self._known_addresses(cut)
        lookups = 0
        tried: set[Address] = set(budget.shunned)
        silent: set[Address] = set()
        rounds = 1
        why = f"no server of {zone} can be reached"
        while True:
            server = self._servers.choose(addresses, zone, self._now(), tried)
            if (server is None or server.pause > self._now()) and unknown:
                lookups += 1
                more = await self._look_up_server(unknown.pop(0), budget, job)
                addresses.update(dict.fromkeys(more))
                if lookups >= self._limits.ns_lookups:
                    unknown.clear()
                self._stop_if_spent(budget, NoAnswerError(why))
                continue
            if server is None:
                if not silent or rounds >= ROUNDS:
                    raise NoAnswerError(why)
                rounds += 1
                tried -= silent
                silent.clear()
                continue
            tried.add(server.address)
            try:
                answer, _ = await self._upstream.ask(name, rdtype, server, budget)
            except NoAnswerError as error:
                self._stop_if_spent(budget, error)
                why = str(error)
                silent.add(server.address)
                continue
            step = judge(answer, name, rdtype, zone, self._limits)
            if step.verdict in (Verdict.ANSWER, Verdict.REFERRAL):
                step.source = server.address
                return step
            why = f"{server.address[0]} for {zone}: {step.why}"
            self._note_fault(server, zone, step)

    def _note_fault(self, server: Server, zone: Name, step: Step) -> None:
        if step.verdict is Verdict.LAME:
            server.mark_lame(zone, self._now())
        else:
            server.mark_doubtful(zone, self._now())

    def _known_addresses(self, cut: Delegation) -> tuple[dict[Address, None], list[Name]]:
        """Addresses of a zone's servers, each once, and the servers that have none yet."""
        found: dict[Address, None] = dict.fromkeys(cut.addresses)
        unknown: list[Name] = []
        for server in cut.servers:
            addresses = self._usable(cut.glue.get(server, ()), cut)
            if not addresses:
                now = self._now()
                for rdtype in self._types:
                    entry = self._cache.get(server, rdtype, now)
                    if entry is not None:
                        addresses.extend(self._usable(_addresses(entry), cut))
            if addresses:
                found.update(dict.fromkeys(addresses[: self._limits.ns_addresses]))
            elif not server.is_below(cut.zone) or cut.zone.is_root:
                unknown.append(server)  # one within the zone cannot be found without the zone
        return found, unknown

    def _usable(self, addresses: tuple[str, ...] | list[str], cut: Delegation) -> list[Address]:
        avoid = self._avoid if cut is not self._hints else None
        return [
            (each, self._port)
            for each in addresses
            if (self._ipv6 or ":" not in each) and (avoid is None or each not in avoid)
        ]

    async def _look_up_server(self, server: Name, budget: Budget, job: Job) -> list[Address]:
        """Addresses of a server that no glue came for."""
        for rdtype in self._types:
            entry = self._cache.find(server, rdtype, self._now())
            if entry is None:
                entry = await self.fetch(server, rdtype, budget, job)
            addresses = self._usable(_addresses(entry)[: self._limits.ns_addresses], _NOWHERE)
            if addresses:
                return addresses
            if entry.kind is not Kind.NODATA:
                break
        return []

    # ── the root ──────────────────────────────────────────────────────────────

    def _prime(self) -> None:
        """Ask the root for its servers (RFC 8109), beside the question that needs them."""
        if self._priming is not None or self._primed_until > self._now():
            return
        if not self._hints.servers:
            return
        self._primed_until = self._now() + 60.0
        self._priming = asyncio.get_running_loop().create_task(self._primed(), name="priming")

    async def _primed(self) -> None:
        budget = self.budget()
        addresses, _ = self._known_addresses(self._hints)
        tried: set[Address] = set()
        try:
            while (server := self._servers.choose(addresses, ROOT, self._now(), tried)) is not None:
                tried.add(server.address)
                try:
                    answer, _ = await self._upstream.ask(ROOT, _NS, server, budget)
                except NoAnswerError:
                    if budget.queries <= 0 or budget.deadline <= self._now():
                        return
                    continue
                found = root_servers(answer, self._limits)
                if found is not None:
                    self._cache.put_delegation(found, self._now())
                    return
        finally:
            self._priming = None

    async def aclose(self) -> None:
        """Give up all that is under way."""
        tasks: list[asyncio.Task[Any]] = [each.task for each in self._jobs.values()]
        if self._priming is not None:
            tasks.append(self._priming)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


class BusyError(NoAnswerError):
    """Too much is at work already."""


class StaleDelegationError(NoAnswerError):
    """No server of a delegation that was known before answers."""

    def __init__(self, message: str, zone: Name) -> None:
        super().__init__(message)
        self.zone = zone


_NOWHERE: Final = Delegation(ROOT, (), {}, 0)


def failure(name: Name, rdtype: int, text: str, *, stays: bool = True) -> Entry:
    """An entry that says that nobody answered."""
    entry = Entry(Kind.FAILURE, name, rdtype, 0, reason=int(EDE.NO_REACHABLE_AUTHORITY), text=text)
    entry.stays = stays
    return entry


def _addresses(entry: Entry) -> list[str]:
    return [each.address for each in entry.rdatas if isinstance(each, A | AAAA)]


def _tail(name: Name, labels: int) -> Name:
    """The last so many labels of a name."""
    for ancestor in name.ancestors():
        if len(ancestor) <= labels:
            return ancestor
    return ROOT
