"""Servers of ours on loopback, for peers to transfer zones from and to, and to update."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from sennit.names.authority import Authority
from sennit.names.name import Name
from sennit.names.server import DNSServer
from sennit.names.serving.dispatch import Dispatcher
from sennit.names.serving.listening import serve_dns
from sennit.names.transfer.access import AccessList
from sennit.names.transfer.notify import Notifier, Target
from sennit.names.transfer.outgoing import TransferOut
from sennit.names.transfer.primary import Primary
from sennit.names.transfer.secondary import Secondaries, SecondaryZone
from sennit.names.tsig import Key, Keyring
from sennit.names.update.policy import Policy
from sennit.names.update.update import UpdatableZone, Updates
from sennit.names.zone.zonefile import read_zone
from sennit.names.zone.zoneset import ZoneSet

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable
    from pathlib import Path

    from sennit.names.zone.zone import Zone

HOST = "127.0.0.1"
ORIGIN = Name("example.org")
KEY = Key("transfer.example", b"0123456789abcdef0123456789abcdef")
ZONE = """\
$ORIGIN example.org.
$TTL 300
@ 3600 IN SOA ns1 hostmaster 1 3600 600 86400 300
@ 3600 IN NS ns1
ns1 IN A 127.0.0.1
www IN A 192.0.2.80
www IN AAAA 2001:db8::80
mail IN MX 10 www
*.wild IN TXT "a wild card"
alias IN CNAME www
sub IN NS ns.sub
ns.sub IN A 192.0.2.53
_sip._tcp IN SRV 0 5 5060 www
odd IN TYPE65280 \\# 3 010203
"""


class Ours:
    """One of our servers, with a zone that can be changed.

    Attributes:
        holder: The zone.
        transfers: Who gives it.
        updates: Who takes updates.
    """

    def __init__(
        self,
        path: Path,
        *,
        allow: Iterable[str] = (f"key:{KEY.name}",),
        policy: Iterable[str] = (f"grant {KEY.name} zonesub ANY",),
        text: str = ZONE,
        key: Key = KEY,
    ) -> None:
        path.write_text(text)
        self.holder = UpdatableZone(read_zone(path, origin=ORIGIN), path, policy=Policy(policy))
        self.zones = ZoneSet([self.holder.zone])
        self.updates = Updates([self.holder])
        self.transfers = TransferOut(self.zones, AccessList(allow), history=self.updates.history)
        self.server = DNSServer(
            Dispatcher(Authority(self.zones), transfers=self.transfers, update=self.updates),
            keys=Keyring([key]),
        )
        self.port = 0
        self.notifier: Notifier | None = None

    @property
    def zone(self) -> Zone:
        return self.holder.zone

    def tell(self, *ports: int) -> None:
        """Tell secondaries at these ports of changes from now on."""
        self.notifier = Notifier(
            self.zones,
            [Target(HOST, port) for port in ports],
            nameservers=False,
            delay=0.05,
        )
        self.notifier.start(tell=False)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Ours]:
        async with serve_dns(self.server, HOST, 0) as listening:
            self.port = listening.port
            try:
                yield self
            finally:
                if self.notifier is not None:
                    await self.notifier.aclose()
                await self.updates.aclose()


class OurCopy:
    """One of our servers with a copy; where word of changes comes in."""

    def __init__(self) -> None:
        self.zones = ZoneSet()
        self.held = Secondaries()
        self.transfers = TransferOut(
            self.zones, AccessList([f"key:{KEY.name}"]), history=self.held.history
        )
        self.server = DNSServer(
            Dispatcher(Authority(self.zones), notify=self.held, transfers=self.transfers),
            keys=Keyring([KEY]),
        )
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[OurCopy]:
        async with serve_dns(self.server, HOST, 0) as listening:
            self.port = listening.port
            try:
                yield self
            finally:
                await self.held.aclose()

    async def copy(self, port: int, key: Key | None = KEY, **options: Any) -> SecondaryZone:
        """Begin to be a copy of what a server at this port has."""
        found = SecondaryZone(
            ORIGIN, [Primary(f"{HOST}:{port}", key)], self.zones, least=0.2, **options
        )
        self.held.add(found)
        await found.start()
        return found


async def until(reached: Callable[[], object], what: str, seconds: float = 15.0) -> None:
    """Wait until it is so; the other program tells nobody when, so it is looked at now and then."""
    async with asyncio.timeout(seconds):
        while not reached():
            await asyncio.sleep(0.02)
    assert reached(), what


async def tool(fn: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """Run a program of others while our server answers it."""
    return await asyncio.to_thread(fn, *args, **named)
