"""Zones that are changed, held by a service and by the one that takes its place at a reload.

A service whose configuration has changed is made anew, and gets ready while the old one still
answers. Both then have one and the same `UpdatableZone`, and what keeps it signed: a change that
is made through the old one meanwhile is there in the new one too, one journal has one writer,
and one folder of keys, too. Whoever lets go of it last closes it.

How it is signed is a matter of the one that was asked last to `Hold.sign`, which a service does
when it begins; when that one goes and an older one stays, as after a reload that failed at its
last step, it is signed as that one was told again.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from sennit.names.errors import DNSError, DNSUsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sennit.names.dnssec.upkeep import FetchDS, ZoneUpkeep
    from sennit.names.update.update import UpdatableZone

__all__ = ["Hold", "Signing", "hold", "zone_of"]

_log = logging.getLogger("sennit.names.update")


class Signing(NamedTuple):
    """How a zone is to be signed.

    Attributes:
        table: What was said of it; one that equals another means the same.
        make: Makes what does that.
        fetch_ds: Asks for the DS records that the parent has.
    """

    table: object
    make: Callable[[UpdatableZone, FetchDS], ZoneUpkeep]
    fetch_ds: FetchDS


class _Shared:
    """A zone and what keeps it signed.

    Attributes:
        served: The zone.
        owner: Name of the services that have it.
        holds: They, oldest first.
        signed_by: Whose word holds for how it is signed.
        upkeep: What does that.
        closed: Done when it is closed, which has begun; ``None`` before.
    """

    __slots__ = ("closed", "holds", "loop", "owner", "served", "signed_by", "upkeep")

    def __init__(self, served: UpdatableZone, owner: str) -> None:
        self.served = served
        self.owner = owner
        self.loop = asyncio.get_running_loop()
        self.holds: list[Hold] = []
        self.signed_by: Hold | None = None
        self.upkeep: ZoneUpkeep | None = None
        self.closed: asyncio.Future[None] | None = None


_shared: Final[dict[str, _Shared]] = {}


class Hold:
    """One service's share in a zone.

    Attributes:
        signing: How it is to be signed; set before `sign`.
    """

    def __init__(self, key: str, shared: _Shared) -> None:
        self.signing: Signing | None = None
        self._key = key
        self._shared = shared
        shared.holds.append(self)

    @property
    def served(self) -> UpdatableZone:
        """The zone."""
        return self._shared.served

    @property
    def upkeep(self) -> ZoneUpkeep | None:
        """What keeps it signed."""
        return self._shared.upkeep

    @property
    def is_first(self) -> bool:
        """Whether no service had it before."""
        return self._shared.holds[0] is self

    async def sign(self) -> None:
        """Have it signed as it is to be from now on.

        Raises:
            DNSError: A key cannot be used; it is signed as it was.
            OSError: The keys cannot be read or written; likewise.
        """
        shared, old = self._shared, self._shared.upkeep
        before = None if shared.signed_by is None else shared.signed_by.signing
        if _table(before) != _table(self.signing):
            if old is not None:
                await old.aclose()
            try:
                new = None
                if self.signing is not None:
                    new = self.signing.make(shared.served, self.signing.fetch_ds)
                    await new.prepare()
            except BaseException:
                if old is not None:
                    await old.prepare()
                    old.start()
                raise
            shared.upkeep = new
        elif old is not None and self.signing is not None:
            old.fetch_ds = self.signing.fetch_ds  # the other service's goes with that
        shared.signed_by = self

    async def release(self) -> None:
        """Let go of it; the last one closes it."""
        shared = self._shared
        shared.holds.remove(self)
        if shared.holds:
            if shared.signed_by is self:
                await self._sign_as_before(shared.holds[-1])
            return
        # Whoever wants it now waits until its files are written.
        shared.closed = shared.loop.create_future()
        try:
            if shared.upkeep is not None:
                await shared.upkeep.aclose()
            await shared.served.aclose()
        finally:
            del _shared[self._key]
            shared.closed.set_result(None)

    async def _sign_as_before(self, other: Hold) -> None:
        try:
            await other.sign()
        except (DNSError, OSError):
            _log.exception("%s: not signed as it was before", self.served.zone.origin)
        if self.upkeep is not None:
            self.upkeep.start()


async def hold(
    path: str | os.PathLike[str],
    owner: str,
    make: Callable[[], Awaitable[UpdatableZone]],
    *,
    kept: bool,
) -> Hold:
    """Hold the zone of a zone file, which a service of this name may have already.

    Args:
        path: The zone file.
        owner: Name of the service.
        make: Opens the zone where nobody has it.
        kept: Whether changes are to be written to the file.

    Raises:
        DNSUsageError: Another service has it, or has it otherwise.
    """
    key = os.path.realpath(path)
    while (found := _shared.get(key)) is not None and found.closed is not None:
        await asyncio.shield(found.closed)
    if found is None:
        found = _Shared(await make(), owner)
        _shared[key] = found
    elif found.owner != owner or found.loop is not asyncio.get_running_loop():
        raise DNSUsageError(f"{path} is in use: the service {found.owner} changes that zone")
    elif found.served.kept != kept:
        raise DNSUsageError(
            f"whether {found.served.zone.origin} is changed by updates, beside being signed, "
            "is taken up at a restart"
        )
    return Hold(key, found)


def zone_of(path: str | os.PathLike[str]) -> UpdatableZone | None:
    """The zone of a zone file that is changed by updates in this process now."""
    found = _shared.get(os.path.realpath(path))
    return found.served if found is not None and found.served.kept else None


def _table(signing: Signing | None) -> object:
    return None if signing is None else signing.table
