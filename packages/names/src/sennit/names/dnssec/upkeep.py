"""Keeps a zone signed while it is served: with each change, as signatures end, as keys go.

A `ZoneUpkeep` belongs to one zone that can be changed (`UpdatableZone`). It completes each update
with its signatures, so that both are one change, one version, one entry of the journal; and it
makes changes of its own: signatures anew before they end, a portion at a time, other keys when
their time has come. The keys and where they are in their lives are on the disk before they are
used.

A zone without a journal, whose file is somebody's own and stays unsigned, is signed whenever it
is read; its serial goes on from the last one that was served.

Sources: RFC 6781 §4.4, RFC 7583. Not here: what is signed (``signing.py``), which keys there are
(``rollover.py``).
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from sennit.core.reactor.base import current_reactor
from sennit.names.codes import RRType
from sennit.names.dnssec.digests import ds_matches
from sennit.names.dnssec.rollover import KeyState, Rollover
from sennit.names.dnssec.signing import MADE, ZoneSigner
from sennit.names.errors import DNSError
from sennit.names.rdata.dnssec import DS
from sennit.names.transfer.serial import advance, newer, with_serial
from sennit.names.zone.node import set_ttl
from sennit.names.zone.zone import Changes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from sennit.core.interfaces import IDelayedCall
    from sennit.core.reactor.base import Reactor
    from sennit.names.dnssec.keyfiles import KeyFolder
    from sennit.names.dnssec.rollover import RolloverPolicy
    from sennit.names.dnssec.signing import SigningPolicy
    from sennit.names.name import Name
    from sennit.names.rdata import Rdata
    from sennit.names.update.update import UpdatableZone
    from sennit.names.zone.zone import Zone

    FetchDS = Callable[[Name], Awaitable[Iterable[Rdata]]]

__all__ = ["ZoneUpkeep"]

_log = logging.getLogger("sennit.names.signing")

PAUSE: Final = 0.02
"""Seconds between two portions, in which others have their turn."""
DS_INTERVAL: Final = 3600.0
"""Seconds between two looks at the parent's DS records."""
RETRY: Final = 60.0
"""Seconds until it is tried again when the disk failed."""
ASLEEP: Final = 300.0
"""Seconds after which the wall clock is looked at again, which may have been put right."""
CLOCK_SLIP: Final = 60.0
"""Seconds by which the wall clock may go back and mean nothing."""
_SOA: Final = int(RRType.SOA)


class ZoneUpkeep:
    """Keeps one zone signed.

    Args:
        served: The zone. One without a file of its own is not written to any.
        folder: Where its keys are.
        keys: Which keys it is to have.
        policy: How it is signed.
        fetch_ds: Asks for the DS records that the parent has; without it somebody has to say
            when they are there (`ds_seen`).
        wall_clock: Seconds since 1970.
        reactor: The current one when left out.

    Attributes:
        fetch_ds: As given.
        rollover: Its keys.
        signer: What signs it.
    """

    def __init__(
        self,
        served: UpdatableZone,
        folder: KeyFolder,
        keys: RolloverPolicy,
        policy: SigningPolicy | None = None,
        *,
        fetch_ds: FetchDS | None = None,
        wall_clock: Callable[[], float] = time.time,
        reactor: Reactor | None = None,
    ) -> None:
        zone = served.zone
        self.rollover = Rollover(zone.origin, keys)
        self.signer = ZoneSigner(zone.origin, self.rollover.key_set(), policy)
        self._served = served
        self._folder = folder
        self.fetch_ds = fetch_ds
        self._wall = wall_clock
        self._reactor = reactor
        self._max_ttl = 0.0
        self._serial: int | None = None
        self._latest = 0.0  # what the wall clock said last
        self._stepped: float | None = None  # when keys went on, and the zone does not show it yet
        self._began = 0.0  # when the sweep under way was begun
        self._whole_sweep = 0.0  # when the next one is due
        self._next_ds = 0.0
        self._timer: IDelayedCall | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<ZoneUpkeep {self._served.zone.origin} {self.rollover.keys!r}>"

    # ── at the beginning ──────────────────────────────────────────────────────

    async def prepare(self) -> None:
        """Load the keys, or make them, and sign the zone from end to end.

        Raises:
            DNSError: A key cannot be used.
            OSError: The folder cannot be read or written.
        """
        reactor = self._reactor = self._reactor or current_reactor()
        self._closed = False
        now = self._wall()
        await reactor.defer_to_thread(self._folder.acquire)
        try:
            await reactor.defer_to_thread(self._load, now)
            # What is changed from here on is signed, and what was before by this.
            self._served.complete = self._complete
            if not await self._served.change(self._sign_whole):
                raise DNSError(f"{self._served.zone.origin} could not be signed")
            if not self._folder.shown:
                self._folder.shown = True
                await reactor.defer_to_thread(self._save, now)
            await self._remember()
        except BaseException:
            await self.aclose()
            raise
        self.rollover.swept(now, self._wall())
        self._whole_sweep = self._wall() + self._pace

    def _load(self, now: float) -> None:
        rollover = self.rollover
        rollover.keys, self._serial = self._folder.load(now)
        zone = self._served.zone
        self._max_ttl = max(set_ttl(each) for node in zone.nodes.values() for each in node.sets)
        if rollover.keys and not self._folder.shown:
            # It ended before anybody saw the last step, which counts from now on.
            rollover.shown(max(each.since for each in rollover.keys), now)
        if rollover.step(now, self._max_ttl):
            self._folder.shown = False
        self.signer.keys = rollover.key_set()
        self._save(now)

    def _sign_whole(self, zone: Zone) -> Changes:
        now = self._time()
        changes = self.signer.sign_whole(zone, now)
        serial = zone.serial
        if self._serial is not None and not newer(serial, self._serial) and serial != self._serial:
            serial = self._serial
        if changes or serial != zone.serial:
            changes = self._with_serial(zone, advance(serial), now, changes)
        return changes

    def _with_serial(self, zone: Zone, serial: int, now: float, changes: Changes) -> Changes:
        """Changes with another serial, whose signature is made anew."""
        soa = with_serial(zone.soa, serial)
        apex = zone.nodes[zone.origin.key]
        old = apex.get_signatures(_SOA)
        removed = [each for each in changes.removed if not _signs_soa(each.rdata)] + (
            [] if old is None else old.records()
        )
        added = [each for each in changes.added if not _signs_soa(each.rdata)]
        return Changes([zone.soa, *removed], [soa, *added, *self.signer.sign_record(soa, now)])

    @property
    def _pace(self) -> float:
        """Seconds between two looks at all signatures."""
        return self.signer.policy.refresh / 4

    # ── changes ───────────────────────────────────────────────────────────────

    def _complete(self, zone: Zone, changes: Changes) -> Changes:
        # Keys stay as long as somebody may have what they signed.
        self._max_ttl = max(self._max_ttl, *(each.ttl for each in changes.added), 0)
        return self.signer.complete(zone, changes, self._time())

    def _time(self) -> float:
        """Seconds since 1970. Where the clock was put back, all signatures are looked at.

        Those that were made before may be good from a time on that is still to come.
        """
        now = self._wall()
        if now < self._latest - CLOCK_SLIP:
            self._whole_sweep = self._next_ds = now
        self._latest = now
        return now

    async def replace_data(self, new: Zone) -> bool:
        """Take the data of another version of the zone, as its file has it; whether that went."""

        def make(zone: Zone) -> Changes:
            before = {each for each in zone.records() if each.rdtype not in MADE}
            behind = {each for each in new.records() if each.rdtype not in MADE}
            changes = Changes(list(before - behind), list(behind - before))
            if not changes:
                return changes
            serial = new.serial if newer(new.serial, zone.serial) else advance(zone.serial)
            kept = [each for each in changes.removed if each.rdtype != _SOA]
            come = [each for each in changes.added if each.rdtype != _SOA]
            soa = with_serial(new.soa, serial)
            return self._complete(zone, Changes([zone.soa, *kept], [soa, *come]))

        done = await self._served.change(make)
        await self._remember()
        return done

    def ds_seen(self, tag: int) -> None:
        """The parent has the DS of this key.

        Raises:
            DNSUsageError: No key waits for that.
        """
        self.rollover.ds_seen(tag, self._wall())
        self._wake(0.0)

    # ── as time goes ──────────────────────────────────────────────────────────

    def start(self) -> None:
        """Begin to look after the zone."""
        self._wake(0.0)

    def _wake(self, delay: float) -> None:
        if self._closed:
            return
        if self._timer is not None:
            self._timer.cancel()
        assert self._reactor is not None, "prepared"
        self._timer = self._reactor.call_later(delay, self._begin)

    def _begin(self) -> None:
        self._timer = None
        if self._task is None and not self._closed:
            self._task = asyncio.get_running_loop().create_task(self._look_and_wake())
            self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("%s: not looked after", self._served.zone.origin, exc_info=error)
            self._wake(RETRY)

    async def look(self) -> bool:
        """Do what is due, of signatures one portion; whether that went."""
        now = self._time()
        await self._look_at_parent(now)
        try:
            await self._step(now)
            return await self._sign_portion(now)
        except OSError as error:
            _log.error("%s: keys not written: %s", self._served.zone.origin, error)
            return False

    async def _look_and_wake(self) -> None:
        done = await self.look()
        now = self._wall()
        if not done:
            self._wake(RETRY)
        elif self.signer.sweeping:
            self._wake(PAUSE)
        else:
            times = [self._whole_sweep, self.rollover.next_time(self._max_ttl)]
            if self._waiting_for_ds and self.fetch_ds is not None:
                times.append(self._next_ds)
            due = min(each for each in times if each is not None)
            self._wake(min(max(due - now, PAUSE), ASLEEP))

    async def _step(self, now: float) -> None:
        """Let the keys go on, unless the zone does not show their last step yet."""
        assert self._reactor is not None, "prepared"
        if self._stepped is not None:
            return
        # In a thread: keys of RSA take seconds to be made.
        if not await self._reactor.defer_to_thread(self._go_on, now):
            return
        self._stepped = now
        self.signer.keys = self.rollover.key_set()
        self.signer.start_sweep(self._served.zone)
        self._began = now
        for each in self.rollover.keys:
            _log.info(
                "%s: key %d (%s) is %s",
                self._served.zone.origin,
                each.key.tag,
                each.role.value,
                each.state.value,
            )

    def _go_on(self, now: float) -> bool:
        """A step of the keys, on the disk; whether there was one. One that is not is undone."""
        rollover = self.rollover
        before, gone = [each.copy() for each in rollover.keys], [*rollover.removed]
        if not rollover.step(now, self._max_ttl):
            return False
        self._folder.shown = False
        try:
            self._save(now)
        except BaseException:
            self._folder.shown = True
            rollover.keys, rollover.removed = before, gone
            raise
        return True

    def _save(self, now: float) -> None:
        rollover = self.rollover
        self._folder.save(rollover.keys, rollover.removed, self._serial, now)
        rollover.removed.clear()
        self._folder.write_ds([each.key.ds() for each in rollover.ds_wanted()])

    async def _sign_portion(self, now: float) -> bool:
        """Make the next portion of signatures; whether that went."""
        signer, zone = self.signer, self._served.zone
        if not signer.sweeping:
            if now < self._whole_sweep and self._stepped is None:
                return True
            signer.start_sweep(zone)
            self._began = now
        due = signer.find_due(zone, now)
        if due or self._stepped is not None:

            def make(zone: Zone) -> Changes:
                soa = with_serial(zone.soa, advance(zone.serial))
                return signer.complete(zone, Changes([zone.soa], [soa]), now, renew=due)

            if not await self._served.change(make):
                signer.start_sweep(zone)  # what was found is to be found again
                return False
            if self._stepped is not None:
                # Nobody has seen the step before now, and waits are counted from there.
                self.rollover.shown(self._stepped, now)
                self._began = now
                self._stepped = None
                self._folder.shown = True
                assert self._reactor is not None, "prepared"
                await self._reactor.defer_to_thread(self._save, now)
            await self._remember()
        if not signer.sweeping:
            self.rollover.swept(self._began, self._wall())
            self._whole_sweep = now + self._pace
        return True

    async def _remember(self) -> None:
        """Keep the serial of a zone that has no file of its own."""
        if not self._served.kept:
            self._serial = self._served.zone.serial
            assert self._reactor is not None
            await self._reactor.defer_to_thread(self._save, self._wall())

    @property
    def _waiting_for_ds(self) -> bool:
        return any(
            each.is_vouched and each.state is KeyState.READY and each.ds is None
            for each in self.rollover.keys
        )

    async def _look_at_parent(self, now: float) -> None:
        """See whether the parent has the DS of keys that wait for it, and none of older ones."""
        if self.fetch_ds is None or now < self._next_ds or not self._waiting_for_ds:
            return
        self._next_ds = now + DS_INTERVAL
        origin = self._served.zone.origin
        try:
            there = [each for each in await self.fetch_ds(origin) if isinstance(each, DS)]
        except (DNSError, OSError) as error:
            _log.info("%s: the parent's DS is not known: %s", origin, error)
            return
        wanted = self.rollover.ds_wanted()
        if there and all(
            any(ds_matches(each, origin, key.key.dnskey) for key in wanted) for each in there
        ):
            for key in wanted:
                if any(ds_matches(each, origin, key.key.dnskey) for each in there):
                    self.rollover.ds_seen(key.key.tag, now)

    async def aclose(self) -> None:
        """Stop looking after the zone."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._served.complete = None
        self._folder.release()


def _signs_soa(rdata: Rdata) -> bool:
    return getattr(rdata, "type_covered", None) == _SOA
