"""A DNS service out of a configuration's text, and questions to it, for the service's tests."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from sennit.core.bus.memory import MemoryBus, MemoryCounters
from sennit.core.service.loading import load
from sennit.core.service.tree import ServiceContext, Surroundings
from sennit.names.client.stream import StreamClient
from sennit.names.client.udp import exchange_udp
from sennit.names.codes import type_from_text
from sennit.names.message import RD, Message
from sennit.names.service import DNSService
from sennit.names.tsig import Key

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from sennit.core.interfaces import IReactor
    from sennit.names.edns import EDNS

__all__ = ["KEY", "KEYS", "Asked", "a", "built", "context_of", "running", "write_zone"]

KEY = Key("mover.example", bytes(range(32)))
KEYS = '[service.names.keys."mover.example"]\nsecret = {file = "mover.secret"}\n'
"""The table of `KEY`."""


def write_zone(folder: Path, name: str, serial: int = 1, more: str = "") -> Path:
    """A zone file, with ns1 and www."""
    path = folder / "zones" / f"{name}.zone"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        "$TTL 300\n"
        f"@ SOA ns1 hostmaster ( {serial} 3600 600 86400 300 )\n"
        "  NS ns1\n"
        "ns1 A 127.0.0.1\n"
        f"www A 192.0.2.1\n{more}"
    )
    return path


def built(folder: Path, text: str, name: str = "names") -> DNSService:
    """The service of a table that begins with ``type``; tables of its own may follow."""
    (folder / "mover.secret").write_text(KEY.to_text().rpartition(":")[2])
    file = folder / f"{name}.toml"
    file.write_text(f'[service.{name}]\ntype = "dns"\n{text}')
    _, services = load(file).build()
    found = services[name]
    assert isinstance(found, DNSService)
    return found


class Asked:
    """A service that runs.

    Attributes:
        service: It itself.
        udp: Port.
        tcp: Port.
    """

    def __init__(self, service: DNSService) -> None:
        self.service = service
        ports = dict(re.findall(r"(\w+)://127\.0\.0\.1:(\d+)", " ".join(service.urls)))
        self.udp = int(ports.get("udp", 0))
        self.tcp = int(ports.get("tcp", 0))

    async def __call__(
        self,
        name: str,
        rdtype: str = "A",
        *,
        rdclass: int = 1,
        key: Key | None = None,
        edns: EDNS | None = None,
        tcp: bool = False,
        timeout: float = 5.0,
    ) -> Message:
        """The answer to a question."""
        query = Message.query(name, type_from_text(rdtype), rdclass=rdclass, flags=RD, edns=edns)
        return await self.send(query, key=key, tcp=tcp, timeout=timeout)

    async def send(
        self,
        message: Message,
        *,
        key: Key | None = None,
        tcp: bool = False,
        timeout: float = 5.0,
    ) -> Message:
        """The answer to a message."""
        if not tcp:
            return await exchange_udp(message, ("127.0.0.1", self.udp), timeout=timeout, key=key)
        async with StreamClient(("127.0.0.1", self.tcp)) as client:
            return await client.exchange(message, timeout=timeout, key=key)


@asynccontextmanager
async def running(
    folder: Path, reactor: IReactor, text: str, name: str = "names", *, listen: bool = True
) -> AsyncGenerator[Asked, None]:
    """A service that runs at ports of the system's choice."""
    where = 'listen = ["udp://127.0.0.1:0", "tcp://127.0.0.1:0"]\n' if listen else ""
    service = built(folder, where + text, name)
    await service.start(reactor)
    try:
        yield Asked(service)
    finally:
        await service.stop()


def a(message: Message) -> list[str]:
    """The data of an answer's records."""
    return [str(each.rdata) for each in message.answers]


def context_of(folder: Path, worker: int) -> ServiceContext:
    """What a service is told that is in this worker; 0 for one process."""

    def no_tls(name: str) -> object:
        raise AssertionError(name)

    surroundings = Surroundings(MemoryBus(), MemoryCounters(), worker=worker)
    return ServiceContext("names", folder, no_tls, surroundings)  # type: ignore[arg-type]  # never asked
