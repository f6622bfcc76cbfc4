"""Server CPU per query over UDP: ours, NSD, twisted.names, dnspython on asyncio, and an echo.

All but the echo answer for one zone with an address for each name; dnsperf asks. ``names_few``
and ``names_many`` show what the number of names costs; ``names_signed`` asks for the records
of DNSSEC, too, of a zone where each set has a signature.
"""

from __future__ import annotations

import gc
import select
import socket
from typing import TYPE_CHECKING, Any

from tools import loads
from tools.benchmark import Benchmark, main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tools.benchmark import Ready

ORIGIN = "example.org"
SIGNATURE = bytes(range(64))
"""As long as one of ECDSA P-256; nobody here looks whether it is one."""


def addresses(count: int) -> list[tuple[str, str]]:
    """Names with their addresses."""
    return [
        (name, f"10.{at >> 16 & 255}.{at >> 8 & 255}.{at & 255}")
        for at, name in enumerate(loads.dns_names(count))
    ]


def zone_text(count: int, *, signed: bool = False) -> str:
    """The zone as a file."""
    lines = [
        f"$ORIGIN {ORIGIN}.",
        "$TTL 3600",
        "@ IN SOA ns hostmaster 1 7200 3600 1209600 3600",
        "@ IN NS ns",
        "ns IN A 127.0.0.1",
    ]
    for name, address in addresses(count):
        label = name.partition(".")[0]
        lines.append(f"{label} IN A {address}")
        if signed:
            lines.append(
                f"{label} IN RRSIG A 13 3 3600 20301231000000 20250101000000 4711 @ {_base64()}"
            )
    return "\n".join(lines) + "\n"


def _base64() -> str:
    import base64

    return base64.b64encode(SIGNATURE).decode("ascii")


def serve_ours(
    ready: Ready, count: int, *, signed: bool = False, url: str = "udp://127.0.0.1:0"
) -> None:
    """Our authority on our server, as the service runs it."""
    from sennit.core import Reactor, run, serve
    from sennit.names import Name, Record
    from sennit.names.authority import Authority
    from sennit.names.codes import RRType
    from sennit.names.rdata.address import A
    from sennit.names.rdata.basic import NS, SOA
    from sennit.names.rdata.dnssec import RRSIG
    from sennit.names.server import DNSServer
    from sennit.names.zone.zone import Zone

    origin = Name(ORIGIN)
    ns = Name(f"ns.{ORIGIN}")

    def records() -> Iterator[Record]:
        soa = SOA(ns, Name(f"hostmaster.{ORIGIN}"), 1, 7200, 3600, 1209600, 3600)
        yield Record(origin, RRType.SOA, 3600, soa)
        yield Record(origin, RRType.NS, 3600, NS(ns))
        yield Record(ns, RRType.A, 3600, A("127.0.0.1"))
        for text, address in addresses(count):
            name = Name(text)
            yield Record(name, RRType.A, 3600, A(address))
            if signed:
                rrsig = RRSIG(
                    RRType.A, 13, 3, 3600, 1924905600, 1735689600, 4711, origin, SIGNATURE
                )
                yield Record(name, RRType.RRSIG, 3600, rrsig)

    # Nothing of it is garbage: looking for some again and again doubles the time of reading, and
    # that of answers too, as long as it goes on.
    gc.disable()
    server = DNSServer(Authority([Zone.from_records(origin, records())]))
    gc.freeze()
    gc.enable()

    async def main_(reactor: Reactor) -> None:
        async with serve(url, server) as running:
            ready(running.port)
            await running.wait_closed()

    run(main_)


def nsd_command(port: int, folder: Path, count: int, *, signed: bool = False) -> list[str]:
    """NSD with one process that answers, and without its own limit of rates."""
    (folder / "zone").write_text(zone_text(count, signed=signed), encoding="ascii")
    (folder / "nsd.conf").write_text(
        f"""server:
  ip-address: 127.0.0.1
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
  rrl-ratelimit: 0
  minimal-responses: yes
remote-control:
  control-enable: no
zone:
  name: {ORIGIN}
  zonefile: zone
""",
        encoding="ascii",
    )
    return ["nsd", "-d", "-c", str(folder / "nsd.conf")]


answers = Benchmark("names_server", load=loads.dns_queries(10_000))


@answers.server("sennit")
def sennit(ready: Ready) -> None:
    """Ours."""
    serve_ours(ready, 10_000)


@answers.server("sennit-any")
def sennit_any(ready: Ready) -> None:
    """Ours, bound to every address: each answer leaves from the one that was asked."""
    serve_ours(ready, 10_000, url="udp://0.0.0.0:0")


@answers.program("nsd", program="nsd")
def nsd(port: int, folder: Path) -> list[str]:
    """NSD."""
    return nsd_command(port, folder, 10_000)


@answers.server("twisted", requires=["twisted"])
def twisted_peer(ready: Ready) -> None:
    """twisted.names with an authority whose records are made beforehand."""
    from importlib import import_module

    from twisted.internet import reactor

    # Without types.
    authority: Any = import_module("twisted.names.authority")
    dns: Any = import_module("twisted.names.dns")
    server: Any = import_module("twisted.names.server")

    class Names(authority.FileAuthority):  # type: ignore[misc]  # a base without types
        def loadFile(self, filename: object) -> None:  # noqa: N802 - their name
            soa = dns.Record_SOA(f"ns.{ORIGIN}", f"hostmaster.{ORIGIN}", 1, 7200, 3600, 86400, 3600)
            self.soa: Any = (ORIGIN.encode(), soa)
            self.records: Any = {ORIGIN.encode(): [soa, dns.Record_NS(f"ns.{ORIGIN}", 3600)]}
            for name, address in addresses(10_000):
                self.records[name.encode()] = [dns.Record_A(address, 3600)]

    factory = server.DNSServerFactory(authorities=[Names("none")], verbose=0)
    factory.noisy = False
    port = reactor.listenUDP(0, dns.DNSDatagramProtocol(factory), interface="127.0.0.1")
    reactor.callWhenRunning(ready, port.getHost().port)
    reactor.run()


@answers.server("dnspython", requires=["dns"])
def dnspython_peer(ready: Ready) -> None:
    """Messages of dnspython on asyncio, records looked up in a dictionary."""
    import asyncio

    import dns.flags
    import dns.message
    import dns.rrset

    table = {
        f"{name}.": dns.rrset.from_text(f"{name}.", 3600, "IN", "A", address)
        for name, address in addresses(10_000)
    }

    class Answers(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            query = dns.message.from_wire(data)
            reply = dns.message.make_response(query)
            reply.flags |= dns.flags.AA
            reply.answer.append(table[query.question[0].name.to_text()])
            self.transport.sendto(reply.to_wire(), addr)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Answers, ("127.0.0.1", 0))
        ready(transport.get_extra_info("sockname")[1])
        await asyncio.Event().wait()

    asyncio.run(serve())


answers.at_most("sennit", 0.4, of="twisted")
answers.at_most("sennit", 2.5, of="nsd")

echo = Benchmark("names_echo", load=loads.dns_queries(10_000, echo=True))


@echo.server("echo")
def bare_echo(ready: Ready) -> None:
    """The least that a UDP server in Python can do: send back what came, marked as an answer."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    poller = select.epoll()
    poller.register(sock.fileno(), select.EPOLLIN)
    ready(sock.getsockname()[1])
    while True:
        poller.poll()
        while True:
            try:
                data, peer = sock.recvfrom(4096)
            except BlockingIOError:
                break
            sock.sendto(data[:2] + b"\x84" + data[3:], peer)


sizes: list[Benchmark] = []
for label, names in (("few", 10), ("many", 1_000_000)):
    found = Benchmark(f"names_{label}", load=loads.dns_queries(names))
    sizes.append(found)

    def add(benchmark: Benchmark, count: int) -> None:
        """Declare both servers with so many names."""

        @benchmark.server("sennit")
        def ours(ready: Ready) -> None:
            serve_ours(ready, count)

        @benchmark.program("nsd", program="nsd")
        def theirs(port: int, folder: Path) -> list[str]:
            return nsd_command(port, folder, count)

    add(found, names)

signed = Benchmark("names_signed", load=loads.dns_queries(10_000, dnssec=True))


@signed.server("signed")
def with_signatures(ready: Ready) -> None:
    """The answers have their signatures."""
    serve_ours(ready, 10_000, signed=True)


@signed.server("unsigned")
def without_signatures(ready: Ready) -> None:
    """The same queries to the zone without them."""
    serve_ours(ready, 10_000)


@signed.program("nsd", program="nsd")
def nsd_signed(port: int, folder: Path) -> list[str]:
    """NSD, with signatures."""
    return nsd_command(port, folder, 10_000, signed=True)


signed.at_most("signed", 1.5, of="unsigned")

if __name__ == "__main__":
    main(answers, echo, *sizes, signed)
