"""Server CPU per cached answer over UDP: our resolver beside our authority, and Unbound.

All names are in the cache before the first query is counted. ``names_resolver_few`` and
``names_resolver_full`` show what the number of entries costs; ``names_resolver_long`` is the way
that an answer takes which is in the cache and not among those kept as octets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench_names_server import addresses, serve_ours, zone_text

from tools import loads
from tools.benchmark import Benchmark, main

if TYPE_CHECKING:
    from pathlib import Path

    from tools.benchmark import Ready


def serve_resolver(ready: Ready, count: int, *, tails: bool = True) -> None:
    """Our resolver on our server, its cache filled."""
    from sennit.core import Reactor, run, serve
    from sennit.names import Message, Name
    from sennit.names.codes import RRType
    from sennit.names.rdata.address import A
    from sennit.names.request import Request
    from sennit.names.resolver.entries import Entry, Kind
    from sennit.names.resolver.limits import ResolverLimits
    from sennit.names.resolver.resolver import RecursiveResolver
    from sennit.names.server import DNSServer

    limits = ResolverLimits(cache_octets=1 << 30, tails=50_000 if tails else 0)
    resolver = RecursiveResolver(limits=limits, prefetch=False)
    every = max(1, count // 50_000)

    async def main_(reactor: Reactor) -> None:
        now = reactor.time()
        for at, (text, address) in enumerate(addresses(count)):
            name = Name(text)
            data = [A(address)]
            resolver.cache.put(Entry(Kind.RECORDS, name, RRType.A, 86400, rdatas=data), now)
            if at % every == 0:
                query = Message.query(name)
                resolver.respond(Request(query, query.to_wire(), ("127.0.0.1", 1)))
        server = DNSServer(resolver)
        async with serve("udp://127.0.0.1:0", server) as running:
            ready(running.port)
            await running.wait_closed()

    run(main_)


def unbound_command(port: int, folder: Path, count: int) -> list[str]:
    """Unbound with one thread, whose cache is filled out of a zone that it has beside it."""
    (folder / "zone").write_text(zone_text(count), encoding="ascii")
    (folder / "unbound.conf").write_text(
        f"""server:
  interface: 127.0.0.1
  port: {port}
  num-threads: 1
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: "{folder}/unbound.pid"
  use-syslog: no
  do-daemonize: no
  do-ip6: no
  module-config: "iterator"
  minimal-responses: yes
  msg-cache-size: 200m
  rrset-cache-size: 400m
remote-control:
  control-enable: no
auth-zone:
  name: example.org
  zonefile: zone
  for-downstream: no
  for-upstream: yes
""",
        encoding="ascii",
    )
    return ["unbound", "-d", "-p", "-c", str(folder / "unbound.conf")]


cached = Benchmark("names_resolver", load=loads.dns_queries(10_000))


@cached.server("sennit")
def sennit(ready: Ready) -> None:
    """Our resolver."""
    serve_resolver(ready, 10_000)


@cached.server("authority")
def authority(ready: Ready) -> None:
    """Our authority."""
    serve_ours(ready, 10_000)


@cached.program("unbound", program="unbound")
def unbound(port: int, folder: Path) -> list[str]:
    """Unbound."""
    return unbound_command(port, folder, 10_000)


cached.at_most("sennit", 1.3, of="authority")

sizes: list[Benchmark] = []
for label, names in (("few", 10), ("full", 200_000)):
    found = Benchmark(f"names_resolver_{label}", load=loads.dns_queries(names))

    def add(benchmark: Benchmark, count: int) -> None:
        """Declare both servers with so many names."""

        @benchmark.server("sennit")
        def ours(ready: Ready) -> None:
            serve_resolver(ready, count)

        @benchmark.program("unbound", program="unbound")
        def theirs(port: int, folder: Path) -> list[str]:
            return unbound_command(port, folder, count)

    add(found, names)
    sizes.append(found)

long_way = Benchmark("names_resolver_long", load=loads.dns_queries(10_000))


@long_way.server("sennit")
def without_tails(ready: Ready) -> None:
    """Each answer is made anew out of the cache."""
    serve_resolver(ready, 10_000, tails=False)


if __name__ == "__main__":
    main(cached, *sizes, long_way)
