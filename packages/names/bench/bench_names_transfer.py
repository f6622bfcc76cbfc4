"""Server CPU of a zone given away (AXFR), per record, and of a zone changed, per update.

``names_axfr``: 100 000 addresses over TCP to one client that reads as fast as it can; ours, NSD
and BIND. ``names_update``: each update adds an address to a name of its own, eight connections
with eight under way each; ours and BIND, which both have each on the disk before they answer.
What the disk costs is not in the CPU; how many there are in a second is printed beside it.
"""

from __future__ import annotations

import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tools.benchmark import Benchmark, main
from tools.loads import HOST, TIMEOUT, LoadError

if TYPE_CHECKING:
    from tools.benchmark import Ready

ORIGIN = "example.org"
COUNT = 100_000
CONNECTIONS = 8
UNDER_WAY = 8


def zone_text(count: int) -> str:
    """The zone as a file."""
    head = (
        f"$ORIGIN {ORIGIN}.\n$TTL 3600\n@ IN SOA ns hostmaster 1 7200 3600 1209600 3600\n"
        "@ IN NS ns\nns IN A 127.0.0.1\n"
    )
    return head + "".join(
        f"h{at} IN A 10.{at >> 16 & 255}.{at >> 8 & 255}.{at & 255}\n" for at in range(count)
    )


def _read(sock: socket.socket, size: int, kept: bytearray) -> bytes:
    while len(kept) < size:
        data = sock.recv(65536)
        if not data:
            raise LoadError("the server ended the connection")
        kept += data
    found = bytes(kept[:size])
    del kept[:size]
    return found


def _message(sock: socket.socket, kept: bytearray) -> bytes:
    return _read(sock, int.from_bytes(_read(sock, 2, kept), "big"), kept)


class Transfers:
    """Takes the whole zone several times."""

    operation = "record"
    describe = f"AXFR of {COUNT:,} records"

    def __init__(self, times: int = 5) -> None:
        self._times = times

    def warm_up(self, port: int) -> None:
        """Once."""
        self._take(port)

    def run(self, port: int) -> int:
        """Several times; how many records came."""
        return sum(self._take(port) for _ in range(self._times))

    def _take(self, port: int) -> int:
        from sennit.names.message import Message, Question
        from sennit.names.name import Name

        query = Message(1, questions=[Question(Name(ORIGIN), 252)]).to_wire()
        kept = bytearray()
        found = 0
        with socket.create_connection((HOST, port), timeout=TIMEOUT) as sock:
            sock.sendall(len(query).to_bytes(2, "big") + query)
            while found < COUNT + 4:
                message = _message(sock, kept)
                if message[3] & 15:
                    raise LoadError(f"answered {message[3] & 15}")
                found += int.from_bytes(message[6:8], "big")
        return found


class Changes:
    """Sends updates, several at a time."""

    operation = "update"
    describe = f"updates of one record, {CONNECTIONS} x {UNDER_WAY} under way"

    def __init__(self, amount: int = 600) -> None:
        self._amount = amount

    def warm_up(self, port: int) -> None:
        """A few."""
        self._send(port, 64, "w")

    def run(self, port: int) -> int:
        """All of them."""
        began = time.perf_counter()
        self._send(port, self._amount, "u")
        rate = self._amount / (time.perf_counter() - began)
        sys.stderr.write(f"  {rate:,.0f} updates a second at port {port}\n")
        return self._amount

    def _send(self, port: int, amount: int, prefix: str) -> None:
        from sennit.names.update.message import Update

        def update(number: int) -> bytes:
            made = Update(ORIGIN).add(f"{prefix}{number}", 60, "A", "192.0.2.1")
            wire = made.message(number & 0xFFFF).to_wire()
            return len(wire).to_bytes(2, "big") + wire

        updates = [update(number) for number in range(amount)]
        socks = [
            socket.create_connection((HOST, port), timeout=TIMEOUT) for _ in range(CONNECTIONS)
        ]
        kept = [bytearray() for _ in socks]
        try:
            size = CONNECTIONS * UNDER_WAY
            for at in range(0, amount, size):
                batch = updates[at : at + size]
                for number, sock in enumerate(socks):
                    sock.sendall(b"".join(batch[number::CONNECTIONS]))
                for number, sock in enumerate(socks):
                    for _ in batch[number::CONNECTIONS]:
                        answer = _message(sock, kept[number])
                        if answer[3] & 15:
                            raise LoadError(f"answered {answer[3] & 15}")
        finally:
            for sock in socks:
                sock.close()


def serve_ours(ready: Ready, count: int) -> None:
    """Our server, as the service puts it together."""
    from sennit.core import Reactor, run
    from sennit.names import (
        AccessList,
        Dispatcher,
        DNSServer,
        Policy,
        TransferOut,
        UpdatableZone,
        Updates,
        serve_dns,
    )
    from sennit.names.authority import Authority
    from sennit.names.zone.zonefile import read_zone
    from sennit.names.zone.zoneset import ZoneSet

    async def serve(reactor: Reactor) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "zone"
            path.write_text(zone_text(count), encoding="ascii")
            zone = read_zone(path)
            updates = Updates(
                [UpdatableZone(zone, path, policy=Policy(["grant loopback zonesub"]))]
            )
            zones = ZoneSet([zone])
            transfers = TransferOut(zones, AccessList(["loopback"]), history=updates.history)
            server = DNSServer(Dispatcher(Authority(zones), transfers=transfers, update=updates))
            async with serve_dns(server, HOST, 0) as running:
                ready(running.port)
                await running.wait_closed()

    run(serve)


def named_command(port: int, folder: Path, count: int) -> list[str]:
    """BIND with one thread."""
    (folder / "zone").write_text(zone_text(count), encoding="ascii")
    (folder / "named.conf").write_text(
        f"""options {{ directory "{folder}"; pid-file none; session-keyfile none;
  listen-on port {port} {{ {HOST}; }}; listen-on-v6 {{ none; }}; recursion no; notify no;
  allow-transfer {{ any; }}; dnssec-validation no; tcp-clients 100; update-quota 1000; }};
controls {{ }};
logging {{ channel none {{ null; }}; category default {{ none; }}; }};
zone "{ORIGIN}" {{ type primary; file "zone"; allow-update {{ any; }}; }};
""",
        encoding="ascii",
    )
    return ["named", "-f", "-n", "1", "-c", str(folder / "named.conf")]


def nsd_command(port: int, folder: Path, count: int) -> list[str]:
    """NSD with one process that answers."""
    (folder / "zone").write_text(zone_text(count), encoding="ascii")
    (folder / "nsd.conf").write_text(
        f"""server:
  ip-address: {HOST}
  port: {port}
  server-count: 1
  username: ""
  chroot: ""
  zonesdir: "{folder}"
  database: ""
  pidfile: "{folder}/nsd.pid"
  zonelistfile: "{folder}/zone.list"
  xfrdfile: "{folder}/xfrd.state"
  xfrdir: "{folder}"
  logfile: "{folder}/nsd.log"
remote-control:
  control-enable: no
zone:
  name: {ORIGIN}
  zonefile: zone
  provide-xfr: {HOST} NOKEY
""",
        encoding="ascii",
    )
    return ["nsd", "-d", "-c", str(folder / "nsd.conf")]


axfr = Benchmark("names_axfr", load=Transfers())


@axfr.server("sennit")
def sennit_axfr(ready: Ready) -> None:
    """Ours."""
    serve_ours(ready, COUNT)


@axfr.program("nsd", program="nsd")
def nsd_axfr(port: int, folder: Path) -> list[str]:
    """NSD."""
    return nsd_command(port, folder, COUNT)


@axfr.program("bind", program="named")
def bind_axfr(port: int, folder: Path) -> list[str]:
    """BIND."""
    return named_command(port, folder, COUNT)


update = Benchmark("names_update", load=Changes())


@update.server("sennit")
def sennit_update(ready: Ready) -> None:
    """Ours."""
    serve_ours(ready, 1000)


@update.program("bind", program="named")
def bind_update(port: int, folder: Path) -> list[str]:
    """BIND."""
    return named_command(port, folder, 1000)


if __name__ == "__main__":
    main(axfr, update)
