"""Dynamic update (RFC 2136): zones that are changed by messages, while they are served.

An `UpdatableZone` holds a zone, its file, its journal and its history. Updates wait in line; one
Task takes all that wait, works each out over the ones before it, has them written to the
journal with one fsync between them, in a thread, and only then changes the zone and lets them
be answered. Nobody sees what is not on the disk, and who was answered NOERROR loses nothing.

Now and then, and when it is closed, the zone file is written anew and the journal shortened to
the history.

`Updates` is the server's part: it finds the zone, looks who asks, and answers; for zones whose
primary is another server it passes the update on, where that is allowed (§6).

Not here: who verifies signatures (the server), how an update is worked out (``apply.py``).
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sennit.core.reactor.base import current_reactor
from sennit.names.codes import Rcode, RRType
from sennit.names.errors import DNSError, DNSUsageError, ZoneError
from sennit.names.transfer.access import AccessList
from sennit.names.update.apply import work_out
from sennit.names.update.history import Entry, History
from sennit.names.update.journal import Journal, JournalError, replay
from sennit.names.update.policy import Policy
from sennit.names.update.view import View
from sennit.names.zone.rules import FROM_OTHERS
from sennit.names.zone.zone import Changes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from sennit.names.message import Message
    from sennit.names.name import Name
    from sennit.names.request import Request
    from sennit.names.zone.chain import Chain
    from sennit.names.zone.rules import ZoneLimits
    from sennit.names.zone.zone import Zone

    Complete = Callable[[Zone, Changes], Changes]
    Forward = Callable[[Request], Awaitable[Message | bytes | None]]

__all__ = ["MAX_WAITING", "UpdatableZone", "Updates"]

_log = logging.getLogger("sennit.names.update")

MAX_WAITING: Final = 1000
"""Updates of one zone that may wait; one more is answered SERVFAIL."""
MAX_BATCH: Final = 100
"""Updates that share one fsync."""
MAX_RECORDS: Final = 1500
"""Records in those together: they are put into the zone in one go, which keeps the loop."""
LARGE: Final = 1000
"""Records in a change that is made to a copy of the zone, in a thread: all signatures, say."""
COMPACT_AT: Final = 4 << 20
"""Octets of a journal at which the zone file is written anew."""
_PIECE: Final = 300
"""Records that are worked out before others have their turn."""


def _apply(zone: Zone, changes: Changes) -> Chain:
    """Change a zone that nobody else has; its order, which is made when it is asked for."""
    zone.apply(changes)
    return zone.chain


class _Job:
    """What waits in line: a change of the zone, and who wants to know how it went.

    Attributes:
        edit: Changes a view; ``None`` where `make` makes the whole change.
        make: Makes a change out of the zone as it is; has a version of its own.
        size: About how many records are looked at.
    """

    __slots__ = ("done", "edit", "make", "size")

    def __init__(
        self,
        edit: Callable[[View], int] | None,
        make: Callable[[Zone], Changes] | None,
        size: int,
    ) -> None:
        self.edit = edit
        self.make = make
        self.size = size
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def answer(self, rcode: int) -> None:
        if not self.done.done():
            self.done.set_result(rcode)


class UpdatableZone:
    """A zone that can be changed, and its files.

    Args:
        zone: The zone as its file has it.
        path: The zone file; ``None`` keeps changes in memory alone.
        journal: The journal; beside the zone file, with ``.journal`` behind its name, when
            left out.
        policy: Who may change what by an update.
        limits: How many records there may be at a name.
        history: What IXFR is answered from.
        compact_at: Octets of the journal at which the zone file is written anew.

    Attributes:
        complete: Makes of a change what is to be made with it, such as signatures, in a thread;
            ``None`` where that is nothing. Updates that share an fsync are one change, and one
            version, where there is one.
        zone: The zone.
        policy: As given.
        history: As given.
    """

    def __init__(
        self,
        zone: Zone,
        path: Path | str | None = None,
        *,
        journal: Path | str | None = None,
        policy: Policy | None = None,
        limits: ZoneLimits = FROM_OTHERS,
        history: History | None = None,
        compact_at: int = COMPACT_AT,
    ) -> None:
        self.zone = zone
        self.complete: Complete | None = None
        self.policy = policy or Policy()
        self.history = History() if history is None else history
        self._limits = limits
        self._path = None if path is None else Path(path)
        self._journal: Journal | None = None
        self._compact_at = compact_at
        self._waiting: list[_Job] = []
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self.counts = {"updates": 0, "syncs": 0, "compactions": 0, "failures": 0}
        if self._path is not None:
            self._open(Path(journal) if journal is not None else self.journal_beside(self._path))
        elif journal is not None:
            raise DNSUsageError("a journal is of a zone file: give that too")
        zone.on_change.append(self.history.note)

    @staticmethod
    def journal_beside(path: Path) -> Path:
        """The journal of a zone file."""
        return path.with_name(path.name + ".journal")

    @property
    def kept(self) -> bool:
        """Whether its changes are on the disk, and there after a restart."""
        return self._journal is not None

    def __repr__(self) -> str:
        zone = self.zone
        return f"<UpdatableZone {zone.origin} at {zone.serial}, {len(self._waiting)} wait>"

    def _open(self, path: Path) -> None:
        """Open the journal, and bring the zone up to it."""
        zone = self.zone
        from sennit.names.zone.writer import remove_leftovers

        assert self._path is not None, "it has a journal"
        journal, entries = Journal.open(path, zone.origin, zone.serial)
        try:
            remove_leftovers(self._path)
            # What a zone's first change has to count is counted here, where nobody waits for it.
            zone.apply(Changes())
            applied = replay(zone, entries, journal.base)
            if not applied and journal.base != zone.serial:
                self._check_file()
            if applied is None:
                journal.set_aside()
                journal.rewrite((), zone.serial)
                entries = []
                _log.warning("%s: another zone file: its journal is set aside", zone.origin)
            elif journal.cut:
                _log.warning("%s: %d octets cut off its journal", zone.origin, journal.cut)
        except BaseException:
            journal.close()
            raise
        for entry in entries:
            self.history.append(entry)
        self._journal = journal

    def _check_file(self) -> None:
        """See that the zone is what its file has; another program may have just written that.

        Raises:
            ZoneError: It is not.
        """
        from sennit.names.zone.zonefile import read_zone

        zone = self.zone
        assert self._path is not None, "it has a journal"
        with suppress(FileNotFoundError):
            if read_zone(self._path, origin=zone.origin).serial != zone.serial:
                raise ZoneError(f"{self._path} was changed while it was read: try again")

    # ── changes ───────────────────────────────────────────────────────────────

    async def update(self, message: Message, permits: Callable[[Name, int], bool]) -> int:
        """Make the changes of an update, whole or not at all.

        Args:
            message: The update.
            permits: Whether its sender may change records of a type at a name.

        Returns:
            The response code. With NOERROR they are on the disk.
        """
        limits = self._limits
        return await self.edit(
            lambda view: work_out(view, message, permits, limits),
            len(message.answers) + len(message.authority),
        )

    async def edit(self, edit: Callable[[View], int], size: int = 1) -> int:
        """Change the zone by a program.

        Args:
            edit: Is given a view of the zone to change, and returns a response code; anything
                but NOERROR, and an exception, changes nothing.
            size: About how many records it looks at.

        Returns:
            What `edit` returned, or SERVFAIL: the disk failed, or too many wait.
        """
        return await self._wait_for(_Job(edit, None, size))

    async def change(self, make: Callable[[Zone], Changes]) -> bool:
        """Make one change that is given as a whole, such as new signatures.

        Args:
            make: Is given the zone as it is, in a thread, and tells the change, the SOA's too;
                one without records changes nothing.

        Returns:
            Whether it is made, and on the disk.
        """
        return await self._wait_for(_Job(None, make, 1)) == Rcode.NOERROR

    async def _wait_for(self, job: _Job) -> int:
        if self._closed or len(self._waiting) >= MAX_WAITING:
            return Rcode.SERVFAIL
        self._waiting.append(job)
        if self._task is None:
            # Its own Task, not that of who asks first, whose connection may go: others wait too.
            self._task = asyncio.get_running_loop().create_task(self._work())
        return await job.done

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch = self._next_batch()
                try:
                    if batch[0].make is not None:
                        await self._change(batch[0], batch[0].make)
                    else:
                        await self._commit(batch)
                finally:
                    for job in batch:
                        job.answer(Rcode.SERVFAIL)  # no effect on those that are answered
                if self._journal is not None and self._journal.size >= self._compact_at:
                    await self._compact()
        finally:
            self._task = None

    def _next_batch(self) -> list[_Job]:
        """Those at the head of the line that go together."""
        count, size = 1, self._waiting[0].size
        if self._waiting[0].make is None:
            most = min(len(self._waiting), MAX_BATCH)
            while count < most and size < MAX_RECORDS and self._waiting[count].make is None:
                size += self._waiting[count].size
                count += 1
        batch = self._waiting[:count]
        del self._waiting[:count]
        return batch

    async def _change(self, job: _Job, make: Callable[[Zone], Changes]) -> None:
        if job.done.done():
            return
        version = self.zone.version
        try:
            # Nothing else changes the zone meanwhile: all that does waits in this line.
            changes = await current_reactor().defer_to_thread(make, self.zone)
        except Exception:
            _log.exception("%s: a change failed", self.zone.origin)
            return
        entry = Entry.of(changes)
        if changes and entry is None:
            _log.error("%s: a change without a new serial is none", self.zone.origin)
        elif entry is None or await self._make([entry], version):
            job.answer(Rcode.NOERROR)

    async def _commit(self, batch: list[_Job]) -> None:
        """Work updates out, write them, make them, answer them."""
        zone = self.zone
        version = zone.version
        whole = View(zone)
        entries: list[Entry] = []
        made: dict[_Job, int] = {}  # the place among `entries` of what it changes
        codes: list[tuple[_Job, int]] = []
        worked = 0
        for job in batch:
            if job.done.done():
                continue  # whoever asked has gone before it was begun
            rcode, changes = self._work_out(whole, job)
            codes.append((job, rcode))
            if changes is not None and (entry := Entry.of(changes)) is not None:
                made[job] = len(entries)
                entries.append(entry)
            worked += job.size
            if worked >= _PIECE:
                worked = 0
                await asyncio.sleep(0)
        if self.complete is not None and entries:
            # What completes a change knows the zone as it is, so that all of them are one.
            completed = await self._completed(whole, self.complete)
            entries = completed or []
            made = dict.fromkeys(made, -1 if completed == [] else 0)
        done = await self._make(entries, version) if entries else 0
        self.counts["updates"] += len(codes)
        self.counts["failures"] += len(entries) - done
        for job, rcode in codes:
            lost = made.get(job, -1) >= done
            job.answer(Rcode.SERVFAIL if lost else rcode)

    async def _completed(self, whole: View, complete: Complete) -> list[Entry] | None:
        """All that was worked out as one change, completed; ``None`` where that fails."""
        changes = whole.changes()
        if not changes:
            return []
        try:
            # Signatures take their time, and there may be thousands of them.
            entry = Entry.of(await current_reactor().defer_to_thread(complete, self.zone, changes))
        except Exception:
            _log.exception("%s: a change could not be completed", self.zone.origin)
            return None
        return None if entry is None else [entry]

    def _work_out(self, whole: View, job: _Job) -> tuple[int, Changes | None]:
        view = View(whole)
        assert job.edit is not None
        try:
            rcode = job.edit(view)
        except Exception:
            _log.exception("%s: a change failed", self.zone.origin)
            return Rcode.SERVFAIL, None
        if rcode != Rcode.NOERROR:
            return rcode, None
        changes = view.changes()
        if not changes.removed and not changes.added:
            return rcode, None
        view.commit()
        return rcode, changes

    async def _make(self, entries: list[Entry], version: int) -> int:
        """Have changes written, then make them; how many of them were made."""
        zone, journal = self.zone, self._journal
        places: list[int] = []
        if journal is not None:
            reactor = current_reactor()
            try:
                places = await reactor.defer_to_thread(journal.append, entries)
            except (JournalError, OSError) as error:
                _log.error("%s: not written: %s", zone.origin, error)
                return 0
            self.counts["syncs"] += 1
        done = 0
        try:
            for entry in entries:
                after = None
                if entry.records > LARGE:
                    after = zone.snapshot()
                    await current_reactor().defer_to_thread(_apply, after, entry.changes)
                if zone.version != version + done:
                    raise ZoneError("it was changed by somebody else meanwhile")
                if after is None:
                    zone.apply(entry.changes)
                else:
                    zone.become(after, entry.changes)
                done += 1
        except Exception as error:
            # Whatever it was: the journal must not have what the zone has not.
            bug = not isinstance(error, ZoneError)
            _log.error("%s: not changed: %s", zone.origin, error, exc_info=bug)
            if journal is not None:
                await current_reactor().defer_to_thread(journal.take_back, places[done])
        return done

    # ── files ─────────────────────────────────────────────────────────────────

    async def _compact(self) -> None:
        path, journal = self._path, self._journal
        if path is None or journal is None:
            return
        from sennit.names.zone.writer import write_zone

        snapshot = self.zone.snapshot()
        kept = self.history.entries

        def write() -> None:
            write_zone(snapshot, path)
            journal.rewrite(kept, snapshot.serial)

        try:
            await current_reactor().defer_to_thread(write)
        except (OSError, DNSError) as error:
            # All is in the journal; it is tried again when that has grown once more.
            self._compact_at += COMPACT_AT
            _log.error("%s: zone file not written: %s", self.zone.origin, error)
        else:
            self.counts["compactions"] += 1
            self._compact_at = max(self._compact_at, 2 * journal.size)

    async def aclose(self, *, write: bool = True) -> None:
        """Finish what waits, and write the zone file anew where there are changes.

        Args:
            write: Leave the zone file and the journal as they are, if false.
        """
        self._closed = True
        if self._task is not None:
            await asyncio.wait([self._task])
        journal = self._journal
        if journal is not None:
            if write and journal.base != self.zone.serial:
                await self._compact()
            journal.close()
            self._journal = None
        if self.history.note in self.zone.on_change:
            self.zone.on_change.remove(self.history.note)


class Updates:
    """Answers UPDATE.

    Args:
        zones: The zones that can be changed.
        forward: Called with an update of a zone in `forwarded`: gives the primary's answer.
        forward_for: Who may have updates passed on.
        forwarded: Whether a zone is a copy of another server's.
    """

    def __init__(
        self,
        zones: Iterable[UpdatableZone] = (),
        *,
        forward: Forward | None = None,
        forward_for: AccessList | None = None,
        forwarded: Callable[[Name], bool] | None = None,
    ) -> None:
        self._zones: dict[Name, tuple[UpdatableZone, Policy]] = {}
        self._forward = forward
        self._forward_for = forward_for or AccessList()
        self._forwarded = forwarded
        for each in zones:
            self.add(each)

    def add(self, zone: UpdatableZone, policy: Policy | None = None) -> None:
        """Answer for another zone.

        Args:
            zone: The zone.
            policy: Who may change what by an update that comes this way; the zone's own when
                left out.

        Raises:
            DNSUsageError: There is one of this name.
        """
        origin = zone.zone.origin
        if origin in self._zones:
            raise DNSUsageError(f"{origin} is there already")
        self._zones[origin] = (zone, zone.policy if policy is None else policy)

    def get(self, origin: Name) -> UpdatableZone | None:
        """The zone of this name."""
        found = self._zones.get(origin)
        return None if found is None else found[0]

    def history(self, origin: Name) -> History | None:
        """The history of the zone of this name (what `TransferOut` asks for)."""
        found = self.get(origin)
        return None if found is None else found.history

    async def respond(self, request: Request) -> Any:
        """The answer to an update."""
        message = request.message
        reply = message.reply
        # RFC 2136 §3.1.1: one zone, named as its SOA.
        if len(message.questions) != 1 or message.questions[0].rdtype != RRType.SOA:
            return reply(Rcode.FORMERR)
        asked = message.questions[0]
        zone, policy = self._zones.get(asked.name, (None, None))
        if zone is None or policy is None or zone.zone.rdclass != asked.rdclass:
            if self._forwarded is not None and self._forwarded(asked.name):
                if self._forward is None or not self._forward_for.allows(request):
                    return reply(Rcode.REFUSED)
                return await self._forward(request)
            return reply(Rcode.NOTAUTH)
        if not policy.knows(request):
            # Before the prerequisites, which would tell a stranger what there is.
            return reply(Rcode.REFUSED)
        rcode = await zone.update(
            message, lambda name, rdtype: policy.allows(request, name, rdtype)
        )
        return reply(rcode)

    async def aclose(self) -> None:
        """Close all zones, their files written."""
        for zone, _ in self._zones.values():
            await zone.aclose()
