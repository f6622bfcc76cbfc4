"""What an authority costs in itself: a plain answer, a zone file read, a record in memory.

``quick`` answers plain A queries for random names of zones of ten, ten thousand and a million
names: from the table of answers made before (``asked``: two thousand names again and again), or
straight out of the zone (``unheard``: no answer was made before). ``--load`` prints what it
costs to read a file, for us, named-checkzone and nsd-checkzone; ``--memory`` octets a record that
we, NSD and Knot keep.
"""

from __future__ import annotations

import gc
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tools.benchmark import Benchmark, main

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sennit.names.authority import Authority

ORIGIN = "example.org"
QUERIES = 20_000
LOADED = 200_000
IN_MEMORY = 1_000_000


def zone_lines(count: int) -> Iterator[str]:
    """A zone with an address for each of `count` names."""
    yield f"$ORIGIN {ORIGIN}.\n$TTL 3600\n"
    yield "@ IN SOA ns hostmaster 1 7200 3600 1209600 3600\n"
    yield "@ IN NS ns\n"
    yield "ns IN A 127.0.0.1\n"
    for at in range(count):
        yield f"host{at} IN A 10.{at >> 16 & 255}.{at >> 8 & 255}.{at & 255}\n"


def authority(count: int, *, answers: int = 100_000) -> Authority:
    """Ours, for such a zone."""
    from sennit.names.authority import Authority
    from sennit.names.zone.zonefile import read_zone

    # One string of many lines is no list of lines.
    lines = "".join(zone_lines(count)).splitlines(keepends=True)
    found = Authority([read_zone(lines)], answers=answers)
    gc.collect()
    gc.freeze()
    return found


def queries(count: int, names: int) -> list[bytes]:
    """Plain queries for random names."""
    from sennit.names.message import Message

    luck = random.Random(1)
    some = [
        Message.query(f"host{luck.randrange(count)}.{ORIGIN}", 1).to_wire() for _ in range(names)
    ]
    return [luck.choice(some) for _ in range(QUERIES)] if names < QUERIES else some


_ready: dict[tuple[int, bool], tuple[Authority, list[bytes]]] = {}


def _run(count: int, *, asked: bool, times: int) -> None:
    key = (count, asked)
    if key not in _ready:
        made = authority(count, answers=100_000 if asked else 1)
        _ready[key] = made, queries(count, 2_000 if asked else QUERIES)
        for wire in _ready[key][1]:
            made.quick(wire, 512, None)
    quick, wires = _ready[key][0].quick, _ready[key][1]
    for _ in range(times // QUERIES):
        for wire in wires:
            quick(wire, 512, None)


asked = Benchmark("names_quick_asked", operation="query", operations=10 * QUERIES)
unheard = Benchmark("names_quick_unheard", operation="query", operations=2 * QUERIES)


@asked.code("10 names")
def _asked_10(n: int) -> None:
    _run(10, asked=True, times=n)


@asked.code("10 000 names")
def _asked_10_000(n: int) -> None:
    _run(10_000, asked=True, times=n)


@asked.code("1 000 000 names")
def _asked_1_000_000(n: int) -> None:
    _run(1_000_000, asked=True, times=n)


@unheard.code("10 names")
def _unheard_10(n: int) -> None:
    _run(10, asked=False, times=n)


@unheard.code("10 000 names")
def _unheard_10_000(n: int) -> None:
    _run(10_000, asked=False, times=n)


@unheard.code("1 000 000 names")
def _unheard_1_000_000(n: int) -> None:
    _run(1_000_000, asked=False, times=n)


def _file(count: int) -> str:
    path = Path(tempfile.gettempdir()) / f"sennit-bench-{count}.zone"
    if not path.exists():
        beside = path.with_suffix(".new")
        with beside.open("w") as file:
            file.writelines(zone_lines(count))
        beside.replace(path)
    return str(path)


def load(rounds: int = 7) -> None:
    """Print CPU a record of reading the file, each in a process of its own, interleaved."""
    path = _file(LOADED)
    program = (
        "import sys; from sennit.names.zone.zonefile import read_zone; read_zone(*sys.argv[1:])"
    )
    commands = {
        "sennit": [sys.executable, "-c", program, path, ORIGIN],
        "named-checkzone": ["named-checkzone", ORIGIN, path],
        "nsd-checkzone": ["nsd-checkzone", ORIGIN, path],
    }
    spent: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            assert process.returncode == 0, name
            spent[name].append((usage.ru_utime + usage.ru_stime) / LOADED * 1e6)
    for name, figures in spent.items():
        print(
            f"{name}: {statistics.median(figures):.2f} µs a record "
            f"({min(figures):.2f} to {max(figures):.2f})"
        )


def memory() -> None:
    """Print octets a record: of ours in a process of its own, of the peers as they run."""
    from packages.names.tests.interop.peers import Peers

    program = (
        "import sys; from sennit.names.zone.zonefile import read_zone\n"
        "def size():\n"
        "    for line in open('/proc/self/smaps_rollup'):\n"
        "        if line.startswith('Pss:'): return int(line.split()[1]) * 1024\n"
        "read_zone(sys.argv[1], sys.argv[3])\n"
        "before = size()\n"
        "zone = read_zone(sys.argv[2], sys.argv[3])\n"
        "print(size() - before)\n"
    )
    small, large = _file(10), _file(IN_MEMORY)
    ours = subprocess.run(
        [sys.executable, "-c", program, small, large, ORIGIN], stdout=subprocess.PIPE, check=True
    )
    print(f"sennit {int(ours.stdout) / IN_MEMORY:.0f} octets a record")
    with tempfile.TemporaryDirectory() as folder:
        peers = Peers(Path(folder))
        try:
            for name, start in (("nsd", peers.nsd), ("knotd", peers.knotd)):
                sizes: list[int] = []
                for path in (small, large):
                    daemon = start({f"{ORIGIN}.": Path(path)})
                    sizes.append(daemon.memory())
                    daemon.stop()
                print(f"{name} {(sizes[1] - sizes[0]) / IN_MEMORY:.0f} octets a record")
        finally:
            peers.stop()


if __name__ == "__main__":
    if "--memory" in sys.argv:
        memory()
    elif "--load" in sys.argv:
        load()
    else:
        main(asked, unheard)
