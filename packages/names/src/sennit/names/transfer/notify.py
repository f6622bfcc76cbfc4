"""Word to the secondaries of a zone that there is a new version (RFC 1996).

`Notifier` watches the zones of a server. When one changes it waits a moment, since changes come
in crowds, then tells every server of the zone's NS records but the primary itself, and those it
was told of besides. Each is asked until it answers, with pauses that double.

Addresses of servers are taken from the zones that are here; for others there is `resolve`.

Not here: word that comes in (``secondary.py``).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from sennit.core.reactor.base import current_reactor
from sennit.names.client.udp import exchange_udp
from sennit.names.codes import Opcode, Rcode, RRType, rcode_text
from sennit.names.errors import DNSError
from sennit.names.message import AA, Message, Question
from sennit.names.rdata.address import AAAA, A
from sennit.names.rdata.basic import NS, SOA
from sennit.names.transfer.serial import newer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from sennit.core.interfaces import IDelayedCall
    from sennit.core.reactor.base import Reactor
    from sennit.names.name import Name
    from sennit.names.tsig import Key
    from sennit.names.zone.zone import Zone
    from sennit.names.zone.zoneset import ZoneSet

    Resolve = Callable[[Name], Awaitable[Iterable[str]]]
    Exchange = Callable[..., Awaitable[Message]]

__all__ = ["Notifier", "Target", "is_news", "notify_message"]

_log = logging.getLogger("sennit.names.notify")

DELAY: Final = 1.0
"""Seconds that further changes are waited for."""
FIRST_WAIT: Final = 5.0
"""Seconds until a server that does not answer is told again; doubles each time."""
TRIES: Final = 6
"""Times that it is told: once, and five retries (RFC 1996 §3.6)."""
MAX_TARGETS: Final = 100
"""Servers of one zone that are told."""
AT_ONCE: Final = 20
"""Servers that are told at the same time."""


class Target(NamedTuple):
    """A server that is told.

    Attributes:
        host: Its address.
        port: Its port.
        key: Signs what it is told.
    """

    host: str
    port: int = 53
    key: Key | None = None


def notify_message(zone: Zone) -> Message:
    """The message that says that a zone has this version."""
    message = Message(
        0,
        AA,
        opcode=Opcode.NOTIFY,
        questions=[Question(zone.origin, int(RRType.SOA), zone.rdclass)],
    )
    message.answers.append(zone.soa)
    return message


class Notifier:
    """Tells secondaries of changes.

    Args:
        zones: The zones there are.
        also: Servers that are told of any zone, beside those of its NS records.
        also_for: The same for single zones, by name, in the place of `also`.
        nameservers: Whether those of NS records are told.
        resolve: Finds addresses of servers that no zone here has.
        own: Addresses of this server, which it does not tell.
        delay: Seconds that further changes are waited for.
        reactor: The current one when left out.
        exchange: Sends one question over UDP.
    """

    def __init__(
        self,
        zones: ZoneSet,
        also: Iterable[Target] = (),
        *,
        also_for: Mapping[Name, Iterable[Target]] | None = None,
        nameservers: bool = True,
        resolve: Resolve | None = None,
        own: Iterable[str] = (),
        delay: float = DELAY,
        reactor: Reactor | None = None,
        exchange: Exchange = exchange_udp,
    ) -> None:
        self._zones = zones
        self._also = tuple(also)
        self._also_for = {name: tuple(each) for name, each in (also_for or {}).items()}
        self._nameservers = nameservers
        self._resolve = resolve
        self._own = frozenset(own)
        self._delay = delay
        self._reactor = reactor
        self._exchange = exchange
        self._told: dict[Name, int] = {}
        self._timers: dict[Name, IDelayedCall] = {}
        self._tasks: dict[Name, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(AT_ONCE)
        self._watching = False
        self.counts = {"sent": 0, "answered": 0, "failed": 0}

    def __repr__(self) -> str:
        return f"<Notifier of {len(self._zones)} zones, {len(self._tasks)} at work>"

    def start(self, *, tell: bool = True) -> None:
        """Watch the zones.

        Args:
            tell: Tell of the versions that they have now, which may have changed while
                nobody watched.
        """
        if self._watching:
            return
        self._watching = True
        self._reactor = self._reactor or current_reactor()
        self._zones.on_change.append(self.changed)
        for zone in self._zones:
            if tell:
                self.changed(zone)
            else:
                self._told[zone.origin] = zone.serial

    def changed(self, zone: Zone) -> None:
        """A zone may have a new version."""
        origin = zone.origin
        if not self._watching or self._zones.by_origin(origin) is not zone or zone.expired:
            return
        if self._told.get(origin) == zone.serial or origin in self._timers:
            return
        assert self._reactor is not None
        self._timers[origin] = self._reactor.call_later(self._delay, self._tell, origin)

    def _tell(self, origin: Name) -> None:
        del self._timers[origin]
        zone = self._zones.by_origin(origin)
        if zone is None or self._told.get(origin) == zone.serial:
            return
        self._told[origin] = zone.serial
        running = self._tasks.pop(origin, None)
        if running is not None:
            # What it says is out of date: whoever has not heard it hears the new one.
            running.cancel()
        task = asyncio.get_running_loop().create_task(self._tell_all(zone.snapshot()))
        self._tasks[origin] = task
        task.add_done_callback(lambda done: self._ended(origin, done))

    def _ended(self, origin: Name, task: asyncio.Task[None]) -> None:
        if self._tasks.get(origin) is task:
            del self._tasks[origin]
        if not task.cancelled() and task.exception() is not None:
            _log.error("%s: secondaries not told", origin, exc_info=task.exception())

    async def _tell_all(self, zone: Zone) -> None:
        targets = await self.targets(zone)
        await asyncio.gather(*(self._tell_one(zone, each) for each in targets))

    async def targets(self, zone: Zone) -> list[Target]:
        """Whom a zone's changes are told."""
        found = list(self._also_for.get(zone.origin, self._also))
        if self._nameservers:
            soa = zone.soa.rdata
            assert isinstance(soa, SOA)
            servers = zone.rrset(zone.origin, int(RRType.NS))
            for each in servers.rdatas if servers is not None else ():
                if isinstance(each, NS) and each.target != soa.mname:
                    found += [Target(host) for host in await self._addresses(each.target)]
        told = {each.host for each in self._also_for.get(zone.origin, self._also)}
        kept = [
            each
            for place, each in enumerate(dict.fromkeys(found))
            if each.host not in self._own and (place < len(told) or each.host not in told)
        ]
        return kept[:MAX_TARGETS]

    async def _addresses(self, name: Name) -> list[str]:
        zone = self._zones.find(name)
        if zone is not None:
            sets = (zone.rrset(name, int(RRType.A)), zone.rrset(name, int(RRType.AAAA)))
            return [
                each.address
                for rrset in sets
                if rrset is not None
                for each in rrset.rdatas
                if isinstance(each, A | AAAA)
            ]
        if self._resolve is None:
            return []
        try:
            return list(await self._resolve(name))
        except DNSError as error:
            _log.warning("no address of %s: %s", name, error)
            return []

    async def _tell_one(self, zone: Zone, target: Target) -> None:
        message = notify_message(zone)
        wait = FIRST_WAIT
        async with self._places:
            for left in range(TRIES - 1, -1, -1):
                self.counts["sent"] += 1
                began = self._now()
                try:
                    answer = await self._exchange(
                        message,
                        (target.host, target.port),
                        timeout=wait,
                        key=target.key,
                        reactor=self._reactor,
                    )
                except DNSError as error:
                    # Refused at once (nobody listens) counts as silence: it may be starting.
                    if left:
                        await self._pause(wait - (self._now() - began))
                        wait *= 2
                        continue
                    self.counts["failed"] += 1
                    _log.warning("%s: %s was not told: %s", zone.origin, target.host, error)
                    return
                self.counts["answered"] += 1
                if answer.rcode != Rcode.NOERROR:
                    _log.warning(
                        "%s: %s answers %s to word of serial %d",
                        zone.origin,
                        target.host,
                        rcode_text(answer.rcode),
                        zone.serial,
                    )
                return

    def _now(self) -> float:
        assert self._reactor is not None
        return self._reactor.time()

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            await asyncio.sleep(seconds)

    async def aclose(self) -> None:
        """Stop watching and telling."""
        if self._watching:
            self._watching = False
            self._zones.on_change.remove(self.changed)
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def is_news(hint: int | None, serial: int | None) -> bool:
    """Whether word of a version is worth asking about.

    Args:
        hint: The serial that was told; ``None`` for none.
        serial: The one that we have; ``None`` for none.
    """
    return hint is None or serial is None or newer(hint, serial)
