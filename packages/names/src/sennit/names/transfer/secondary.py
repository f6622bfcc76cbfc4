"""Copies of zones whose primary is another server, kept up to date.

A `SecondaryZone` asks its primaries for the SOA when it is due or when one of them sends word
(NOTIFY), and has what is new by IXFR, else by AXFR. What it has it keeps in a file, and beside
it when it was last seen to be right, so that a server that starts again serves it at once, and
knows how long. It is answered from until EXPIRE has passed without any primary confirming it;
then `Zone.expired` is set, and answers are SERVFAIL.

A transfer that breaks off or breaks a rule changes nothing: the copy there is stays.

`Secondaries` holds them, answers NOTIFY, and passes updates on to the primary.

Sources: RFC 1034 §4.3.5 and RFC 1035 §3.3.13 (timers), RFC 1995 (IXFR), RFC 1996 (NOTIFY),
RFC 5936 (AXFR), RFC 7314 (EXPIRE option), RFC 9103 (over TLS), RFC 2136 §6 (updates passed on).
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sennit.core.reactor.base import current_reactor
from sennit.names.client.udp import exchange_udp
from sennit.names.codes import Opcode, Rcode, RRType
from sennit.names.errors import DNSError, DNSUsageError, TransferError
from sennit.names.message import AA, TC, Message
from sennit.names.rdata.basic import SOA
from sennit.names.transfer.access import AccessList
from sennit.names.transfer.copyfile import Copy, load_copy, save_checked, save_copy
from sennit.names.transfer.gathering import Gathered
from sennit.names.transfer.incoming import Outcome, TransferIn, TransferLimits
from sennit.names.transfer.notify import is_news
from sennit.names.transfer.primary import ZoneStatus, ask_soa
from sennit.names.transfer.serial import newer, serial_of
from sennit.names.update.history import Entry, History
from sennit.names.zone.files import Reading
from sennit.names.zone.rules import FROM_OTHERS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from sennit.core.interfaces import IDelayedCall
    from sennit.core.reactor.base import Reactor
    from sennit.names.client.stream import StreamClient
    from sennit.names.name import Name
    from sennit.names.request import Request
    from sennit.names.transfer.primary import Primary
    from sennit.names.zone.rules import ZoneLimits
    from sennit.names.zone.zone import Changes, Zone
    from sennit.names.zone.zoneset import ZoneSet

__all__ = ["Secondaries", "SecondaryZone"]

_log = logging.getLogger("sennit.names.secondary")

LEAST: Final = 5.0
"""Seconds between two looks at least, whatever the SOA says."""
MOST: Final = 28 * 86400.0
"""Seconds between two looks at most."""
FIRST_RETRY: Final = 5.0
"""Seconds until a zone that was never had is tried for again; doubles up to an hour."""
JITTER: Final = 0.1
"""Part of a wait that may be left out, so that zones are not all looked at in one moment."""
QUERY_TIMEOUT: Final = 5.0
TRANSFER_TIMEOUT: Final = 60.0
"""Seconds without another message after which a transfer is given up."""
NEWS_PAUSE: Final = 1.0
"""Seconds between two looks that word of a change brings about: word may be forged, in crowds."""
WRITE_DELAY: Final = 5.0
"""Seconds between differences that came in and the file."""
MAX_TRANSFERS: Final = 10
"""Transfers under way at once."""


class SecondaryZone:
    """One copy.

    Args:
        origin: Name of the zone.
        primaries: The servers that have it, the preferred one first.
        zones: Where the copy is put.
        path: File that it is kept in; ``None`` for memory alone.
        history: What IXFR of others is answered from.
        limits: How much a transfer may bring.
        zone_limits: How many records may stand together in the zone.
        allow_notify: Who may send word, beside the primaries.
        least: Seconds between two looks at least.
        write_delay: Seconds between differences that came in and the file.
        chance: A random number from 0 to 1, for jitter.
        wall_clock: Seconds since 1970, for what is kept in the file.
        reactor: The current one when left out.
        in_thread: Runs what blocks elsewhere; the reactor's threads when left out.

    Attributes:
        origin: As given.
        history: As given.
        slots: Limits the transfers of several copies together (`Secondaries` has one for all).
        error: What went wrong last; empty when all is well.
    """

    def __init__(
        self,
        origin: Name,
        primaries: Iterable[Primary],
        zones: ZoneSet,
        *,
        path: Path | str | None = None,
        history: History | None = None,
        limits: TransferLimits | None = None,
        zone_limits: ZoneLimits = FROM_OTHERS,
        allow_notify: AccessList | None = None,
        least: float = LEAST,
        write_delay: float = WRITE_DELAY,
        chance: Callable[[], float] = random.random,
        wall_clock: Callable[[], float] = time.time,
        reactor: Reactor | None = None,
        in_thread: Callable[..., Awaitable[Any]] | None = None,
    ) -> None:
        self.origin = origin
        self.primaries = tuple(primaries)
        if not self.primaries:
            raise DNSUsageError(f"{origin} needs a primary to be a copy of")
        self.history = History() if history is None else history
        self.error = ""
        self._zones = zones
        self._path = None if path is None else Path(path)
        self._limits = limits or TransferLimits()
        self._zone_limits = zone_limits
        self._allow_notify = allow_notify or AccessList()
        self._least = least
        self._write_delay = write_delay
        self._chance = chance
        self._wall = wall_clock
        self._given_reactor = reactor
        self.slots = asyncio.Semaphore()
        self._in_thread = in_thread or self._defer
        self._zone: Zone | None = None
        self._deadline = 0.0  # when it expires, by the reactor's clock
        self._checked: float | None = None
        self._next = 0.0
        self._failures = 0
        self._again = False
        self._heard = -math.inf  # when word made it look, or is going to
        self._closed = False
        self._first: Primary | None = None  # who sent word
        self._timers: dict[str, IDelayedCall] = {}
        self._task: asyncio.Task[None] | None = None
        self._clients: dict[Primary, StreamClient] = {}
        self._written: int | None = None
        self._there = asyncio.Event()

    def __repr__(self) -> str:
        return f"<SecondaryZone {self.origin} {'-' if self._zone is None else self._zone.serial}>"

    @property
    def _reactor(self) -> Reactor:
        if self._given_reactor is None:
            self._given_reactor = current_reactor()
        return self._given_reactor

    def _defer(self, fn: Callable[..., Any], *args: Any, **named: Any) -> Awaitable[Any]:
        return self._reactor.defer_to_thread(fn, *args, **named)

    @property
    def serial(self) -> int | None:
        """Version of the copy; ``None`` for none."""
        return None if self._zone is None else self._zone.serial

    # ── life ──────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Take the copy from its file, if there is one, and look whether it is right."""
        if self._path is not None:
            try:
                found = await self._in_thread(load_copy, self._path, self.origin)
            except (DNSError, OSError) as error:
                found = None
                self._complain(f"the file of the copy is left aside: {error}")
            if found is not None:
                self._take_copy(found)
        self._begin()

    def _take_copy(self, found: Copy) -> None:
        zone = found.zone
        age = max(self._wall() - found.checked, 0.0)
        self._written = zone.serial
        zone.time_left = self._time_left
        self._zone = zone
        self._checked = self._reactor.time() - age
        self._set_deadline(found.expire - age)
        self._zones.replace(zone)
        self._there.set()

    async def aclose(self) -> None:
        """Stop looking; write what is not in the file yet."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()
        await self._write()

    async def wait(self) -> Zone:
        """The copy, as soon as there is one."""
        await self._there.wait()
        assert self._zone is not None
        return self._zone

    def status(self) -> ZoneStatus:
        """How it stands with the copy."""
        zone, now = self._zone, self._reactor.time()
        return ZoneStatus(
            self.origin,
            None if zone is None else zone.serial,
            "missing" if zone is None else "expired" if zone.expired else "current",
            None if self._checked is None else now - self._checked,
            max(self._next - now, 0.0),
            None if zone is None else self._time_left(),
            self.error,
        )

    # ── timers ────────────────────────────────────────────────────────────────

    def _later(self, what: str, delay: float, call: Callable[[], None]) -> None:
        timer = self._timers.pop(what, None)
        if timer is not None:
            timer.cancel()
        if not self._closed:
            self._timers[what] = self._reactor.call_later(delay, call)

    def _schedule(self, delay: float) -> None:
        self._look_later(min(max(delay, self._least), MOST) * (1.0 - JITTER * self._chance()))

    def _look_later(self, delay: float) -> None:
        self._next = self._reactor.time() + delay
        self._later("check", delay, self._begin)

    def _time_left(self) -> float:
        """Seconds until the copy may not be used any more."""
        return max(self._deadline - self._reactor.time(), 0.0)

    def _set_deadline(self, left: float) -> None:
        assert self._zone is not None
        left = max(left, 0.0)
        self._deadline = self._reactor.time() + left
        if left:
            self._zone.expired = False
            self._later("expire", left, self._expire)
        else:
            self._expire()

    def _expire(self) -> None:
        if self._zone is not None and not self._zone.expired:
            self._zone.expired = True
            _log.error(
                "%s: expired: no primary has confirmed serial %d", self.origin, self._zone.serial
            )

    def _look_for_news(self) -> None:
        """Look in a moment, once for all word that comes until then."""
        self._heard = self._reactor.time() + NEWS_PAUSE
        self._look_later(NEWS_PAUSE)

    def _begin(self) -> None:
        """Look now; once more behind a look that is under way."""
        timer = self._timers.pop("check", None)
        if timer is not None:
            timer.cancel()
        if self._closed:
            return
        if self._task is not None:
            self._again = True
            return
        self._task = asyncio.get_running_loop().create_task(self._look())

    def refresh(self) -> None:
        """Look now whether there is a new version."""
        self._begin()

    # ── one look ──────────────────────────────────────────────────────────────

    async def _look(self) -> None:
        try:
            good = await self._try_all()
        except asyncio.CancelledError:
            raise
        except Exception:
            _log.exception("%s: the look failed", self.origin)
            good = False
        finally:
            self._task = None
        self._failures = 0 if good else self._failures + 1
        if self._again:
            self._again = False
            self._look_for_news()
            return
        soa = None if self._zone is None else self._zone.soa.rdata
        if isinstance(soa, SOA):
            self._schedule(soa.refresh if good else soa.retry)
        else:
            self._schedule(min(FIRST_RETRY * 2 ** min(self._failures - 1, 10), 3600.0))

    async def _try_all(self) -> bool:
        """Ask primaries until one of them has it right; whether one had."""
        order = list(self.primaries)
        if self._first in order:
            order.remove(self._first)
            order.insert(0, self._first)
        problems: list[str] = []
        for primary in order:
            try:
                await self._try_one(primary)
            except (DNSError, OSError) as error:
                problems.append(f"{primary.server}: {error}")
                continue
            self.error = ""
            return True
        self._complain("; ".join(problems))
        return False

    def _complain(self, what: str) -> None:
        if what != self.error:
            _log.warning("%s: %s", self.origin, what)
        self.error = what

    async def _try_one(self, primary: Primary) -> None:
        soa, expire = await ask_soa(self.origin, lambda query: self._ask(primary, query))
        ours = self.serial
        theirs = serial_of(soa)
        if ours is None or newer(theirs, ours):
            async with self.slots:
                await self._transfer(primary)
            ours = self.serial
            if ours is None or newer(theirs, ours):
                # One of several servers behind an address may lag behind the others.
                raise TransferError(f"it speaks of serial {theirs}, and gives {ours}")
        elif theirs != ours:
            # Half the circle away is no newer, either: nobody says that ours is right.
            raise TransferError(f"serial {theirs} is older than ours, {ours}", rule="RFC 1982 §3.2")
        await self._confirmed(expire)

    async def _ask(self, primary: Primary, query: Message) -> Message:
        server = primary.server
        if server.scheme == "udp":
            answer = await exchange_udp(
                query,
                (server.host, server.port),
                timeout=QUERY_TIMEOUT,
                key=primary.key,
                reactor=self._reactor,
            )
            if not answer.flags & TC:
                return answer
        return await self._client(primary).exchange(query, timeout=QUERY_TIMEOUT, key=primary.key)

    def _client(self, primary: Primary) -> StreamClient:
        client = self._clients.get(primary)
        if client is None:
            client = self._clients[primary] = primary.client(self._reactor)
        return client

    # ── transfers ─────────────────────────────────────────────────────────────

    async def _transfer(self, primary: Primary) -> None:
        if self._zone is not None:
            try:
                await self._fetch(primary, incremental=True)
            except DNSError as error:
                # Whatever it was: the whole zone is asked for, which must be right.
                _log.info("%s: no differences from %s: %s", self.origin, primary.server, error)
            else:
                return
        await self._fetch(primary, incremental=False)

    async def _fetch(self, primary: Primary, *, incremental: bool) -> None:
        gathered = Gathered()
        transfer = TransferIn(
            self.origin,
            self.serial,
            incremental=incremental,
            limits=self._limits,
            keep=gathered.add,
        )
        await self._receive(primary, transfer)
        if transfer.outcome is Outcome.WHOLE:
            zone = await self._in_thread(gathered.zone, self.origin, self._zone_limits)
            await self._replace(zone)
        elif transfer.outcome is Outcome.CHANGES:
            await self._follow(transfer.changes)
        _log.info("%s: serial %d", self.origin, self.serial or 0)

    async def _receive(self, primary: Primary, transfer: TransferIn) -> None:
        reactor = self._reactor
        messages = self._client(primary).converse(
            transfer.query(),
            until=lambda message: transfer.receive(message, reactor.time()),
            timeout=TRANSFER_TIMEOUT,
            key=primary.key,
        )
        async with asyncio.timeout(self._limits.seconds):
            try:
                async for _ in messages:
                    pass
            finally:
                await messages.aclose()
        transfer.receive_eof()

    async def _follow(self, differences: list[Changes]) -> None:
        """Make the changes that a primary has made."""
        zone = self._zone
        assert zone is not None  # from which version would differences be else?
        before = zone.snapshot() if len(differences) > 1 else None
        try:
            for place, changes in enumerate(differences):
                if place:  # and not behind the last: who sees the version finds its history
                    await asyncio.sleep(0)
                zone.apply(changes, limits=self._zone_limits)
        except BaseException:
            # All of them or none: what was served before is served again.
            if before is not None:
                self._put(before)
            raise
        for entry in map(Entry.of, differences):
            if entry is not None:
                self.history.append(entry)
        self._later("write", self._write_delay, self._write_soon)

    async def _replace(self, zone: Zone) -> None:
        """Put another copy in the place of the one there is."""
        self.history.clear()
        old = Reading(replaced=[] if self._zone is None else [self._zone])
        self._put(zone)
        self._there.set()
        if old.replaced:
            await self._in_thread(old.let_go)
        await self._write()

    def _put(self, zone: Zone) -> None:
        if self._zone is not None:
            zone.on_change.extend(self._zone.on_change)
        zone.time_left = self._time_left
        self._zone = zone
        self._zones.replace(zone)

    async def _confirmed(self, expire: int | None) -> None:
        """A primary says that the copy is right."""
        zone = self._zone
        assert zone is not None
        soa = zone.soa.rdata
        assert isinstance(soa, SOA)
        now = self._reactor.time()
        left = float(soa.expire)
        if expire is not None and expire < soa.expire:
            # Its own copy may be older than that (RFC 7314 §4); what we knew before stays true.
            left = max(float(expire), self._deadline - now)
        self._checked = now
        self._set_deadline(left)
        if self._path is not None and self._written == zone.serial:
            try:
                await self._in_thread(save_checked, self._path, zone.serial, self._wall(), left)
            except OSError as error:
                self._complain(f"not kept on disk: {error}")

    # ── the file ──────────────────────────────────────────────────────────────

    def _write_soon(self) -> None:
        self._timers.pop("write", None)
        if self._task is not None:
            self._later("write", self._write_delay, self._write_soon)
            return
        self._task = asyncio.get_running_loop().create_task(self._write_alone())

    async def _write_alone(self) -> None:
        try:
            await self._write()
        finally:
            self._task = None
        if self._again:
            self._again = False
            self._begin()

    async def _write(self) -> None:
        path, zone = self._path, self._zone
        if path is None or zone is None or self._written == zone.serial:
            return
        snapshot = zone.snapshot()
        checked = self._checked if self._checked is not None else self._reactor.time()
        age = self._reactor.time() - checked
        left = max(self._deadline - checked, 0.0)
        soa = snapshot.soa.rdata
        assert isinstance(soa, SOA)
        try:
            await self._in_thread(
                save_copy, path, snapshot, self._wall() - age, left or float(soa.expire)
            )
        except (OSError, DNSError) as error:
            self._complain(f"not kept on disk: {error}")
        else:
            self._written = snapshot.serial

    # ── word of others ────────────────────────────────────────────────────────

    def notified(self, request: Request) -> int:
        """Word has come; the response code that it is answered with."""
        sender = next((each for each in self.primaries if each.sent(request)), None)
        if sender is None and not self._allow_notify.allows(request):
            return Rcode.REFUSED
        hint = next(
            (serial_of(each) for each in request.message.answers if isinstance(each.rdata, SOA)),
            None,
        )
        if is_news(hint, self.serial):
            self._first = sender
            now = self._reactor.time()
            if self._task is not None:
                self._again = True
            elif now >= self._heard + NEWS_PAUSE:
                self._heard = now
                self._begin()
            elif now >= self._heard:
                self._look_for_news()
        return Rcode.NOERROR

    async def forward(self, message: Message) -> Message:
        """Pass an update on to the primary; its answer (RFC 2136 §6).

        Raises:
            DNSError: None of them answered.
        """
        problem: DNSError | None = None
        for primary in self.primaries:
            try:
                return await self._client(primary).exchange(
                    message, timeout=QUERY_TIMEOUT, key=primary.key
                )
            except DNSError as error:
                problem = error
        assert problem is not None
        raise problem


class Secondaries:
    """The copies that a server has; answers NOTIFY.

    Args:
        zones: The copies.
        max_transfers: Transfers under way at once, of all copies together.
    """

    def __init__(
        self, zones: Iterable[SecondaryZone] = (), *, max_transfers: int = MAX_TRANSFERS
    ) -> None:
        self._slots = asyncio.Semaphore(max_transfers)
        self._zones: dict[Name, SecondaryZone] = {}
        for each in zones:
            self.add(each)

    def add(self, zone: SecondaryZone) -> None:
        """Hold another.

        Raises:
            DNSUsageError: There is one of this name.
        """
        if zone.origin in self._zones:
            raise DNSUsageError(f"{zone.origin} is there already")
        zone.slots = self._slots
        self._zones[zone.origin] = zone

    def get(self, origin: Name) -> SecondaryZone | None:
        """The copy of this name."""
        return self._zones.get(origin)

    def holds(self, origin: Name) -> bool:
        """Whether there is a copy of this name."""
        return origin in self._zones

    def history(self, origin: Name) -> History | None:
        """The history of a copy (what `TransferOut` asks for)."""
        found = self._zones.get(origin)
        return None if found is None else found.history

    async def start(self) -> None:
        """Start all."""
        await asyncio.gather(*(each.start() for each in self._zones.values()))

    async def aclose(self) -> None:
        """Stop all."""
        await asyncio.gather(*(each.aclose() for each in self._zones.values()))

    def status(self) -> list[ZoneStatus]:
        """How it stands with each."""
        return [each.status() for each in self._zones.values()]

    def respond(self, request: Request) -> Message:
        """The answer to NOTIFY."""
        message = request.message
        if (
            message.opcode != Opcode.NOTIFY
            or len(message.questions) != 1
            or message.questions[0].rdtype != RRType.SOA
        ):
            return message.reply(Rcode.FORMERR)
        zone = self._zones.get(message.questions[0].name)
        if zone is None:
            return message.reply(Rcode.NOTAUTH)
        return message.reply(zone.notified(request), AA)

    async def forward(self, request: Request) -> Message:
        """Pass an update on (what `Updates` asks for)."""
        message = request.message
        zone = self._zones[message.questions[0].name]
        passed = Message(
            message.id,
            opcode=message.opcode,
            questions=message.questions,
            answers=message.answers,
            authority=message.authority,
            additional=message.additional,
        )
        try:
            answer = await zone.forward(passed)
        except DNSError as error:
            _log.warning("%s: update not passed on: %s", zone.origin, error)
            return message.reply(Rcode.SERVFAIL)
        return message.reply(answer.rcode)
