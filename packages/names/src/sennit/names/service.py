"""The DNS service: zones, copies of zones and a resolver, at the endpoints of one configuration.

What is answered from is in place before anything listens: zone files are read, journals
replayed, copies of other servers' zones taken from their files. On a reload zone files that
have changed are read anew, and put in the place of the old ones in one step.

Not here: what the keys of a configuration become (``assembling.py``), the server itself
(``server.py``).
"""

from __future__ import annotations

import asyncio
import copy
import gc
import glob
import logging
import os
import sqlite3
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from sennit.core.errors import ConfigError
from sennit.core.reactor.base import current_reactor
from sennit.core.service.server import ServerService
from sennit.core.service.tree import StartError
from sennit.names.assembling import (
    access_of,
    cookies_of,
    identity_of,
    keys_of,
    limits_of,
    local_zones_of,
    name_of,
    policy_of,
    primaries_of,
    resolver_of,
    said_at,
    targets_of,
    upkeep_of,
)
from sennit.names.authority import Authority
from sennit.names.client.stub import StubResolver
from sennit.names.codes import Rcode
from sennit.names.config import ResolverTable
from sennit.names.errors import DNSError
from sennit.names.server import DNSServer
from sennit.names.serving.dispatch import Dispatcher
from sennit.names.serving.running import announce, withdraw
from sennit.names.serving.watching import QueryLog
from sennit.names.transfer.access import AccessList
from sennit.names.transfer.notify import Notifier
from sennit.names.transfer.outgoing import TransferOut
from sennit.names.transfer.secondary import Secondaries, SecondaryZone
from sennit.names.update.sharing import Hold, Signing, hold, zone_of
from sennit.names.update.update import UpdatableZone, Updates
from sennit.names.zone.awaited import AwaitedZone
from sennit.names.zone.check import check_zone
from sennit.names.zone.files import ZoneFiles, origin_of
from sennit.names.zone.sqlite import SQLiteZones
from sennit.names.zone.zoneset import ZoneSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sennit.core.interfaces import IReactor
    from sennit.core.service.tree import ServiceContext
    from sennit.names.client.lookups import Lookups
    from sennit.names.config import DNSConfig, SecondaryTable, ZoneTable
    from sennit.names.dnssec.refreshing import AnchorRefresh
    from sennit.names.dnssec.upkeep import FetchDS, ZoneUpkeep
    from sennit.names.message import Message
    from sennit.names.name import Name
    from sennit.names.rdata import Rdata
    from sennit.names.request import Request
    from sennit.names.resolver.localzones import LocalZones
    from sennit.names.resolver.resolver import RecursiveResolver
    from sennit.names.tsig import Key
    from sennit.names.zone.files import Reading
    from sennit.names.zone.sqlite import SQLiteZone
    from sennit.names.zone.zone import Zone

__all__ = ["DNSService", "build_dns", "sample_files", "try_dns"]

_log = logging.getLogger("sennit.names.service")

MANY_NAMES = 100_000
"""Names in all zones from which on Python's collector leaves them alone."""


class DNSService(ServerService):
    """One DNS server at its endpoints.

    Args:
        config: What it was told.
        context: Its name and surroundings.

    Attributes:
        zones: The zones it answers from.
        server: The server.
    """

    def __init__(self, config: DNSConfig, context: ServiceContext) -> None:
        self._config = config
        self._check_workers(context)
        self.zones = ZoneSet()
        self._files = ZoneFiles([str(each) for each in config.zones], folder=context.folder)
        self._tables = {name_of(name, "zone"): table for name, table in config.zone.items()}
        self._at = {name_of(name, "zone"): f"zone.{name}" for name in config.zone}
        keys = keys_of(config)
        self._policies = {
            name_of(name, "zone"): policy_of(table.update, keys, f"zone.{name}.update")
            for name, table in config.zone.items()
        }
        self._secondaries = Secondaries()
        for name, table in config.secondary.items():
            made = self._secondary(name, table, keys)
            said_at(f"secondary.{name}", self._secondaries.add, made)
        self._resolving = config.resolver or ResolverTable()
        wanted = config.resolver is not None or config.recursion
        self.resolver: RecursiveResolver | None = None
        self._anchors: AnchorRefresh | None = None
        if wanted:
            self.resolver, self._anchors = resolver_of(self._resolving, config.payload)
        self._forward_rules = {
            name_of(name, "secondary"): access_of(
                each.forward_updates, keys, f"secondary.{name}.forward_updates"
            )
            for name, each in config.secondary.items()
        }
        self._updates = Updates(
            forward=self._forward,
            forward_for=AccessList(["any"]),  # which zone's rules hold is looked up in `_forward`
            forwarded=self._secondaries.holds,
        )
        self._notifier = self._make_notifier(keys)
        self._tells = context.worker <= 1  # of several workers one is enough
        self._stub: StubResolver | None = None
        self._holds: dict[Name, Hold] = {}
        self._tasks: set[asyncio.Task[bool]] = set()
        self._read_anew: dict[Name, Zone] = {}
        self._awaited: dict[Name, AwaitedZone] = {}
        self._database: SQLiteZones | None = None
        self._sources: list[SQLiteZone] = []
        self._opened = AsyncExitStack()
        self._authority = Authority(
            self.zones,
            any_answer=config.any,
            rotate=config.rotate,
            payload=config.payload,
        )
        for name in config.secondary:
            awaited = AwaitedZone(name_of(name, "secondary"))
            self._awaited[awaited.origin] = awaited
            self._authority.add_source(awaited)
        self.zones.on_change.append(self._arrived)
        self.server = DNSServer(
            Dispatcher(
                self._authority,
                self.resolver,
                self._make_transfers(keys),
                self._secondaries,
                self._updates,
                self._resolving.allow if wanted else (),
            ),
            limits=limits_of(config),
            keys=keys,
            cookies=cookies_of(config),
            nsid=config.nsid.encode(),
            identity=identity_of(config),
            watch=QueryLog() if config.query_log else None,
            name=context.name,
        )
        super().__init__(context.name, self.server, context.endpoints(config, alpn=["dot"]))

    def _check_workers(self, context: ServiceContext) -> None:
        """See that nothing is changed by one process which others answer from, too."""
        if not context.worker:
            return
        config = self._config
        changing = next(
            (f"zone.{name}" for name, table in config.zone.items() if table.update or table.sign),
            next((f"secondary.{name}" for name in config.secondary), None),
        )
        if changing is None and config.resolver is not None and config.resolver.anchor_state:
            changing = "resolver.anchor_state"
        if changing is not None:
            raise ConfigError(
                "zones that are copied, updated or signed, and keys of who is trusted, are kept by "
                "one process, and several workers would each have their own: run this service "
                "without workers",
                key=changing,
            )

    def _secondary(
        self, name: str, table: SecondaryTable, keys: Mapping[Name, Key]
    ) -> SecondaryZone:
        at = f"secondary.{name}"
        return SecondaryZone(
            name_of(name, "secondary"),
            primaries_of(table, keys, at),
            self.zones,
            path=table.file,
            allow_notify=access_of(table.allow_notify, keys, f"{at}.allow_notify"),
        )

    def _single_tables(self) -> Iterator[tuple[str, Name, ZoneTable | SecondaryTable]]:
        """What is said of single zones: where, of which, and what."""
        config = self._config
        for name, table in config.zone.items():
            yield f"zone.{name}", name_of(name, "zone"), table
        for name, copied in config.secondary.items():
            yield f"secondary.{name}", name_of(name, "secondary"), copied

    def _make_transfers(self, keys: Mapping[Name, Key]) -> TransferOut:
        return TransferOut(
            self.zones,
            access_of(self._config.transfer, keys, "transfer"),
            allow_for={
                name: access_of(table.transfer, keys, f"{at}.transfer")
                for at, name, table in self._single_tables()
                if table.transfer is not None
            },
            history=lambda name: self._updates.history(name) or self._secondaries.history(name),
        )

    def _make_notifier(self, keys: Mapping[Name, Key]) -> Notifier:
        config = self._config
        return Notifier(
            self.zones,
            targets_of(config.notify, keys, "notify"),
            also_for={
                name: targets_of(table.notify, keys, f"{at}.notify")
                for at, name, table in self._single_tables()
                if table.notify is not None
            },
            nameservers=config.notify_nameservers,
            resolve=self._resolve,
        )

    @property
    def _lookups(self) -> Lookups:
        """Who looks names up for us: the resolver that is here, else the system's servers."""
        if self.resolver is not None:
            return self.resolver
        if self._stub is None:
            self._stub = StubResolver()
        return self._stub

    async def _resolve(self, name: Name) -> Sequence[str]:
        """Addresses of a name server that is in no zone of ours."""
        return await self._lookups.addresses(name)

    def _arrived(self, zone: Zone) -> None:
        """A copy is there, perhaps for the first time."""
        awaited = self._awaited.pop(zone.origin, None)
        if awaited is not None:
            self._authority.remove_source(awaited)

    async def _forward(self, request: Request) -> Message:
        """Pass an update on to the primary of a copy, for who may have that."""
        origin = request.message.questions[0].name
        if not self._forward_rules[origin].allows(request):
            return request.message.reply(Rcode.REFUSED)
        return await self._secondaries.forward(request)

    # ── life ──────────────────────────────────────────────────────────────────

    async def prepare(self, reactor: IReactor) -> None:
        """Read the zones, then bind every endpoint.

        Raises:
            StartError: A zone cannot be read, or an address not be listened on.
        """
        try:
            reading = await reactor.defer_to_thread(self._files.read)
            if reading.errors:
                raise StartError(self.name, "\n".join(reading.errors), key="zones")
            self._check_tables(reading)
            await self._take(reading, reactor)
            if self._config.sqlite is not None:
                await self._open_database(self._config.sqlite)
            self._spare_collector()
            await self._secondaries.start()
            await super().prepare(reactor)
        except BaseException:
            await self._close()
            raise

    def examine(self) -> list[str]:
        """Read the zone files; what is odd in them.

        Raises:
            StartError: A zone cannot be read, or does not fit what is said of it.
        """
        reading = self._files.read()
        if reading.errors:
            raise StartError(self.name, "\n".join(reading.errors), key="zones")
        self._check_tables(reading)
        return [str(each) for zone in reading.zones for each in check_zone(zone)]

    async def _take(self, reading: Reading, reactor: IReactor) -> None:
        """Put zones that were read to use, with what belongs to them."""
        paths = self._files.paths()
        for index, zone in enumerate(reading.zones):
            table = self._tables.get(zone.origin)
            path = paths[zone.origin]
            if table is not None and (table.update or table.sign is not None):
                reading.zones[index] = await self._make_changeable(zone, path, table, reactor)
            elif (changed := zone_of(path)) is not None:
                # The service that this one takes the place of may change it until then.
                reading.zones[index] = changed.zone
        reading.put_into(self.zones)

    def _spare_collector(self) -> None:
        """Let the collector not walk through the zones, where these are large.

        What was read is kept, and none of it is in a cycle, so that it goes as it should when a
        zone is replaced. Each full collection would look at it for nothing: with a million names
        a query costs 5 µs without that, and 11 µs with it.
        """
        if sum(map(len, self.zones)) >= MANY_NAMES:
            gc.freeze()

    async def _make_changeable(
        self, zone: Zone, path: str, table: ZoneTable, reactor: IReactor
    ) -> Zone:
        at = self._at[zone.origin]
        # The file of a zone that is only signed is somebody's own, and stays as it is.
        kept = bool(table.update)

        async def make() -> UpdatableZone:
            return await reactor.defer_to_thread(UpdatableZone, zone, path if kept else None)

        try:
            held = await hold(path, self.name, make, kept=kept)
            self._holds[zone.origin] = held
            self._updates.add(held.served, self._policies[zone.origin])
            if table.sign is not None:
                sign = table.sign

                def keep_signed(served: UpdatableZone, fetch_ds: FetchDS) -> ZoneUpkeep:
                    return upkeep_of(served, sign, fetch_ds)

                held.signing = Signing(sign, keep_signed, self._fetch_ds)
                keep_signed(held.served, self._fetch_ds)  # what is wrong with it is told now
            if held.is_first:
                await held.sign()
        except (DNSError, OSError) as error:
            key = f"{at}.sign" if table.sign is not None else f"{at}.update"
            raise StartError(self.name, str(error), key=key) from error
        if not kept and not held.is_first:
            self._read_anew[zone.origin] = zone
        return held.served.zone

    async def _fetch_ds(self, origin: Name) -> Sequence[Rdata]:
        """The DS records that the parent of a zone has."""
        return (await self._lookups.lookup(origin, "DS")).rdatas

    def _check_tables(self, reading: Reading) -> None:
        """See that what was read fits what was said of it."""
        self._check_copies(reading)
        if self._config.zones and not reading.zones:
            patterns = ", ".join(map(str, self._config.zones))
            raise StartError(
                self.name,
                f"there is no zone file at {patterns}; one is named after its zone, such as "
                "zones/example.org.zone",
                key="zones",
            )
        read = [each.origin for each in reading.zones]
        for name, at in self._at.items():
            if self._secondaries.holds(name):
                problem = f"{name} is a copy: say that in its table secondary"
                raise StartError(self.name, problem, key=at)
            if name not in read:
                there = ", ".join(map(str, read)) or "none"
                raise StartError(
                    self.name, f"there is no file of a zone {name}; there are: {there}", key=at
                )

    def _check_copies(self, reading: Reading) -> None:
        for zone in reading.zones:
            if self._secondaries.holds(zone.origin):
                raise StartError(
                    self.name,
                    f"{zone.origin} has a zone file and is a copy of another server's, too",
                    key="zones",
                )

    async def _open_database(self, path: Path) -> None:
        try:
            self._database = await self._opened.enter_async_context(SQLiteZones(path))
            self._put_sources(await self._database.zones())
        except (DNSError, sqlite3.Error, OSError) as error:
            raise StartError(self.name, f"{path}: {error}", key="sqlite") from error

    def _put_sources(self, sources: list[SQLiteZone]) -> None:
        for each in self._sources:
            self._authority.remove_source(each)
        for each in sources:
            self._authority.add_source(each)
        self._sources = sources

    async def begin(self) -> None:
        """Accept, and tell others of our zones.

        Raises:
            StartError: A zone that was signed otherwise cannot be signed as it is to be.
        """
        for origin, held in self._holds.items():
            try:
                await held.sign()
            except (DNSError, OSError) as error:
                raise StartError(self.name, str(error), key=f"{self._at[origin]}.sign") from error
        await super().begin()
        if self._tells:
            self._notifier.start()
        for held in self._holds.values():
            if held.upkeep is not None:
                held.upkeep.start()
        self._replace_data(self._read_anew)
        if self._anchors is not None:
            self._anchors.start()
        announce(self.server)

    def _replace_data(self, zones: Mapping[Name, Zone]) -> None:
        """Have zones that are only signed go on with what is in their files now."""
        for origin, zone in zones.items():
            upkeep = self._holds[origin].upkeep
            if upkeep is not None:
                task = asyncio.get_running_loop().create_task(upkeep.replace_data(zone))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def prepare_reload(self) -> Callable[[], object] | None:
        """Read the zone files that have changed, beside the zones in use; and lists of names.

        Zones that are changed by updates are left alone: their files are written by us.

        Raises:
            StartError: One of them is wrong; all zones stay as they are.
        """
        files = copy.deepcopy(self._files)
        reading = await current_reactor().defer_to_thread(files.read)
        if reading.errors:
            raise StartError(self.name, "\n".join(reading.errors), key="zones")
        self._check_copies(reading)
        sources = [] if self._database is None else await self._database.zones()
        resolver = self.resolver
        local: LocalZones | None = None
        if resolver is not None and self._resolving.block:
            local = await current_reactor().defer_to_thread(local_zones_of, self._resolving)
        signed = {
            each.origin: each
            for each in reading.zones
            if each.origin in self._holds and not self._tables[each.origin].update
        }
        reading.zones = [each for each in reading.zones if not self._updates.get(each.origin)]
        reading.removed = [each for each in reading.removed if not self._updates.get(each)]

        def put() -> None:
            self._files = files
            reading.put_into(self.zones)
            self._put_sources(sources)
            if resolver is not None and local is not None:
                resolver.local_zones = local
            self._spare_collector()
            self._replace_data(signed)
            for zone in reading.zones:
                _log.info("%s: zone %s, serial %d", self.name, zone.origin, zone.serial)
            current_reactor().defer_to_thread(reading.let_go)

        return put

    async def end(self, drain: float) -> None:
        """End every connection, then write what is not on the disk yet."""
        withdraw(self.server)
        try:
            await super().end(drain)
        finally:
            await self._close()

    async def _close(self) -> None:
        await self._notifier.aclose()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._secondaries.aclose()
        for held in self._holds.values():
            await held.release()
        self._holds.clear()
        # Zones that another service has as well tell this one of nothing more.
        for zone in self.zones:
            self.zones.remove(zone.origin)
        await self._opened.aclose()
        if self._anchors is not None:
            await self._anchors.aclose()
        if self.resolver is not None:
            await self.resolver.aclose()
        if self._stub is not None:
            await self._stub.aclose()


def build_dns(config: DNSConfig, context: ServiceContext) -> DNSService:
    """Assemble the service; nothing is opened yet."""
    return DNSService(config, context)


def try_dns(config: DNSConfig, urls: Sequence[str]) -> list[str]:
    """A look-up per endpoint."""
    names = [
        str(origin_of(path))
        for pattern in config.zones
        for path in sorted(glob.glob(str(pattern)))
        if not os.path.basename(path).startswith(".")
    ]
    name = next(iter([*names, *config.secondary]), "localhost")
    rdtype = "A" if name == "localhost" else "SOA"
    found: list[str] = []
    for url in urls:
        scheme, _, place = url.partition("://")
        host, _, port = place.rpartition(":")
        how = {"udp": "", "tcp": " +tcp", "tls": " +tls", "dot": " +tls"}.get(scheme)
        if how is not None:
            found.append(f"sennit dig @{host.strip('[]')} -p {port} {name} {rdtype}{how}")
    return found


def sample_files() -> dict[str, str]:
    """A zone for a new configuration to serve."""
    return {
        "zones/home.example.zone": """\
$TTL 1h
@       SOA     ns1 hostmaster ( 1 1h 15m 2w 5m )
        NS      ns1
ns1     A       127.0.0.1
www     A       192.0.2.80
"""
    }
