"""The library that benchmark files are written with: Sennit and its peers, measured alike.

A benchmark file is ``packages/<name>/bench/bench_<what>.py``. It declares competitors
and calls `main`; `hatch run bench core` runs every file of core, `hatch run bench core
echo` runs ``bench_echo.py``. Each competitor runs in a process of its own, started afresh
in every round; rounds are interleaved, in another order each time, and at least seven.
The number is the CPU time (user and system, nanosecond clock, children included) that
the *server* spent per operation; the load comes from a third process (`tools.loads`).

::

    from tools import loads
    from tools.benchmark import Benchmark, Ready, main

    echo = Benchmark("echo", load=loads.echo(connections=64, size=1024))

    @echo.server("sennit")
    def sennit(ready: Ready) -> None:       # runs in its own process and serves for ever
        ...                                 # listen on port 0 of 127.0.0.1, then
        ready(port)                         # say which port it became

    @echo.server("uvloop", requires=["uvloop"])    # left out, by name, where it is missing
    def uvloop_peer(ready: Ready) -> None:
        import uvloop                       # import peers inside: the load imports this file
        ...

    @echo.program("nginx", program="nginx")        # a foreign program
    def nginx(port: int, folder: Path) -> list[str]:
        return ["nginx", "-p", str(folder), ...]   # must stay in the foreground

    echo.at_most("sennit", 1.15, of="uvloop")      # a bound: printed, and failed by --check
    echo.limit("sennit", "1.15 x uvloop or 1.10 x bare", lambda m: max(1.15 * m["uvloop"], …))

    if __name__ == "__main__":
        main(echo)

Kinds of competitors (one kind per `Benchmark`, save that servers and programs mix):

* `Benchmark.server`, `Benchmark.program`: need a `load`. ``measure="cpu"`` (the default)
  counts CPU per operation; ``measure="memory"`` counts private octets per operation
  (with `loads.idle`: octets per idle connection).
* `Benchmark.code`: ``def f(n: int) -> None`` does an operation `n` times; `operations`
  is that n. No load: the process times its own CPU.
* `Benchmark.python`: a function that returns source text, run by a fresh bare
  interpreter (``python -I``); ``measure="cpu"`` is CPU of the whole process, ``"memory"`` its peak
  resident set. With ``baseline="bare"`` the figure of that competitor in the same round
  is subtracted from the others'.

``certificate(rsa=True)`` gives paths of a throw-away certificate and key for
``localhost``; the same for every process of a run.

``python packages/core/bench/bench_echo.py --help`` lists what each file can be told.
Before the competitors of a round a fixed piece of work is timed: the spread of that
*control* is the noise of the machine, printed under each table.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from sennit.core.testing.loopback import free_port
from tools.processes import Child, cpu_time, private_memory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tools.loads import Load

__all__ = ["Benchmark", "Ready", "certificate", "main"]

ROOT: Final = Path(__file__).resolve().parent.parent
START_TIMEOUT: Final = 120.0
"""Seconds within which a competitor must be ready, also one that reads a million names first."""
RUN_TIMEOUT: Final = 180.0
"""Seconds that one competitor may take for one round."""
_CERTIFICATES: Final = "SENNIT_BENCH_CERTIFICATES"

Measure = Literal["cpu", "memory"]
Ready = Callable[[int], None]
"""What a server calls with its port once it listens."""


@dataclass(slots=True)
class _Competitor:
    name: str
    kind: Literal["server", "program", "code", "python"]
    function: Callable[..., object]
    requires: tuple[str, ...] = ()
    program: str | None = None

    def absent(self) -> str | None:
        """What is missing to run it, or None."""
        for module in self.requires:
            if importlib.util.find_spec(module) is None:
                return f"Python package {module}"
        if self.program is not None and shutil.which(self.program) is None:
            return f"program {self.program}"
        return None


@dataclass(slots=True)
class _Limit:
    name: str
    text: str
    value: Callable[[Mapping[str, float]], float]


class Result(NamedTuple):
    """One competitor's figures over the rounds, in the benchmark's unit."""

    median: float
    low: float
    high: float


@dataclass(slots=True)
class Benchmark:
    """Competitors that do the same work, and what is promised about them.

    Attributes:
        name: One word, names the table.
        load: What strikes the servers; None for `code` and `python`.
        measure: ``cpu`` or ``memory``.
        operations: For `code`: how often per round.
        operation: For `code` and `python`: what one operation is called.
        baseline: Competitor to subtract from the others (for `python`).
        references: Names that ratios are given against; by default those that bounds name.
    """

    name: str
    load: Load | None = None
    measure: Measure = "cpu"
    operations: int = 1
    operation: str = "run"
    baseline: str | None = None
    references: Sequence[str] = ()
    _competitors: dict[str, _Competitor] = field(default_factory=dict[str, _Competitor])
    _limits: list[_Limit] = field(default_factory=list[_Limit])
    _compared: list[str] = field(default_factory=list[str])

    def server(
        self, name: str, *, requires: Sequence[str] = ()
    ) -> Callable[[Callable[[Ready], None]], Callable[[Ready], None]]:
        """Declare a server: a function that serves for ever in a process of its own."""

        def add(function: Callable[[Ready], None]) -> Callable[[Ready], None]:
            self._add(_Competitor(name, "server", function, tuple(requires)))
            return function

        return add

    def program(
        self, name: str, *, requires: Sequence[str] = (), program: str | None = None
    ) -> Callable[[Callable[[int, Path], list[str]]], Callable[[int, Path], list[str]]]:
        """Declare a foreign server: a function of port and empty folder that gives its command."""

        def add(function: Callable[[int, Path], list[str]]) -> Callable[[int, Path], list[str]]:
            self._add(_Competitor(name, "program", function, tuple(requires), program))
            return function

        return add

    def code(
        self, name: str, *, requires: Sequence[str] = ()
    ) -> Callable[[Callable[[int], None]], Callable[[int], None]]:
        """Declare a function that does the operation as often as it is told."""

        def add(function: Callable[[int], None]) -> Callable[[int], None]:
            self._add(_Competitor(name, "code", function, tuple(requires)))
            return function

        return add

    def python(
        self, name: str, *, requires: Sequence[str] = ()
    ) -> Callable[[Callable[[], str]], Callable[[], str]]:
        """Declare a function that returns a program for a fresh interpreter."""

        def add(function: Callable[[], str]) -> Callable[[], str]:
            self._add(_Competitor(name, "python", function, tuple(requires)))
            return function

        return add

    def at_most(self, name: str, ratio: float, *, of: str) -> None:
        """Promise that `name` costs at most `ratio` times what `of` costs."""
        self._compare(of)
        self._limits.append(_Limit(name, f"{ratio:g} x {of}", lambda medians: ratio * medians[of]))

    def at_most_value(self, name: str, value: float) -> None:
        """Promise that `name` costs at most `value` in the table's unit."""
        self._limits.append(_Limit(name, f"{value:g} {self.unit}", lambda _: value))

    def limit(self, name: str, text: str, value: Callable[[Mapping[str, float]], float]) -> None:
        """Promise that `name` costs at most what `value` makes of everybody's medians."""
        self._limits.append(_Limit(name, text, value))

    @property
    def unit(self) -> str:
        """What the figures are: ``µs/echo``, ``octets/connection``."""
        of = self.load.operation if self.load is not None else self.operation
        if self.measure == "memory":
            return "MiB" if self.load is None else f"octets/{of}"
        return f"µs/{of}"

    def _add(self, competitor: _Competitor) -> None:
        if competitor.name in self._competitors:
            raise ValueError(f"{self.name} has two competitors named {competitor.name}")
        if competitor.kind in {"server", "program"} and self.load is None:
            raise ValueError(f"{self.name} has a server and no load")
        self._competitors[competitor.name] = competitor

    def _compare(self, name: str) -> None:
        if name not in self._compared:
            self._compared.append(name)


# --- One measurement ----------------------------------------------------------------------------


def certificate(*, rsa: bool = True) -> tuple[str, str]:
    """Give the paths of a throw-away certificate chain and key for ``localhost``."""
    import trustme

    folder = Path(os.environ[_CERTIFICATES])
    kind = "rsa" if rsa else "ec"
    chain, key = folder / f"{kind}.pem", folder / f"{kind}.key"
    if not chain.exists():
        key_type = trustme.KeyType.RSA if rsa else trustme.KeyType.ECDSA
        made = trustme.CA(key_type=key_type).issue_cert("localhost", key_type=key_type)
        made.private_key_pem.write_to_path(key)
        part = folder / f"{kind}.part"
        for piece in made.cert_chain_pems:
            piece.write_to_path(part, append=True)
        part.rename(chain)
    return str(chain), str(key)


def _await_port(port: int, child: Child) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            child.check_alive()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


class _Runner:
    """Runs one benchmark file's competitors; itself the file, as seen by its children."""

    def __init__(self, file: str, position: int, benchmark: Benchmark, folder: Path) -> None:
        self._self = [sys.executable, file, "--child", str(position)]
        self._benchmark = benchmark
        self._folder = folder
        self._count = 0

    def measure(self, competitor: _Competitor) -> float:
        """Run one competitor once; return its figure."""
        match competitor.kind:
            case "code":
                return self._code(competitor)
            case "python":
                return self._python(competitor)
            case "server":
                with Child([*self._self, "serve", competitor.name]) as server:
                    return self._served(server, int(server.line(START_TIMEOUT)))
            case "program":
                port = free_port()
                self._count += 1
                folder = self._folder / f"{self._benchmark.name}-{competitor.name}-{self._count}"
                folder.mkdir()
                command = competitor.function(port, folder)
                assert isinstance(command, list)
                with Child([str(part) for part in command], quiet=True) as server:  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
                    _await_port(port, server)
                    return self._served(server, port)

    def _served(self, server: Child, port: int) -> float:
        figure = cpu_time if self._benchmark.measure == "cpu" else private_memory
        with Child([*self._self, "drive", str(port)]) as load:
            load.line(RUN_TIMEOUT)  # warm
            before = figure(server.pid)
            load.tell("go")
            operations = int(load.line(RUN_TIMEOUT))
            after = figure(server.pid)
            server.check_alive()
            load.tell("end")
        spent = (after - before) / operations
        return spent / 1000 if self._benchmark.measure == "cpu" else spent

    def _code(self, competitor: _Competitor) -> float:
        with Child([*self._self, "code", competitor.name]) as child:
            return int(child.line(RUN_TIMEOUT)) / 1000 / self._benchmark.operations

    def _python(self, competitor: _Competitor) -> float:
        source = competitor.function()
        assert isinstance(source, str)
        if self._benchmark.measure == "memory":
            # A child's ru_maxrss begins with its parent's; the process's own word does not.
            source += "\nfor line in open('/proc/self/status'):\n"
            source += "    if line.startswith('VmHWM'): print(line.split()[1], flush=True)\n"
            ran = subprocess.run(
                [sys.executable, "-I", "-c", source],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                timeout=RUN_TIMEOUT,
            )
            return int(ran.stdout.split()[-1]) / 1024
        # Start-up is short, so that several make one figure: the quickest is the least disturbed.
        times: list[float] = []
        for _ in range(5):
            process = subprocess.Popen([sys.executable, "-I", "-c", source])
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise RuntimeError(f"{competitor.name} ended with status {process.returncode}")
            times.append(usage.ru_utime + usage.ru_stime)
        return min(times) * 1e6


def _control() -> float:
    """CPU of a fixed piece of work, in milliseconds: system calls and bytecode, half and half."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        message = b"x" * 1024
        checksum = 0
        began = time.process_time_ns()
        for n in range(15_000):
            ours.send(message)
            data = theirs.recv(65536)
            checksum += sum(range(n & 31 | 16)) + len(data)
        return (time.process_time_ns() - began) / 1e6


# --- The children -------------------------------------------------------------------------------


def _say(text: object) -> None:
    print(text, flush=True)


def _be_child(benchmark: Benchmark, role: str, argument: str) -> None:
    """What a process that `_Runner` started does."""
    if role == "serve":
        benchmark._competitors[argument].function(_say)
    elif role == "drive":
        load, port = benchmark.load, int(argument)
        assert load is not None
        load.warm_up(port)
        _say("warm")
        sys.stdin.readline()
        _say(load.run(port))
        sys.stdin.readline()
    elif role == "code":
        function = benchmark._competitors[argument].function
        function(max(1, benchmark.operations // 10))
        began = _spent()
        function(benchmark.operations)
        _say(_spent() - began)


def _spent() -> int:
    """Nanoseconds of CPU that this process and its ended children have used."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time_ns() + int((children.ru_utime + children.ru_stime) * 1e9)


# --- Rounds and tables --------------------------------------------------------------------------


def _summary(figures: Sequence[float]) -> Result:
    return Result(statistics.median(figures), min(figures), max(figures))


def _rounds(
    runner: _Runner, benchmark: Benchmark, chosen: Sequence[_Competitor], rounds: int
) -> tuple[dict[str, list[float]], list[float]]:
    figures: dict[str, list[float]] = {each.name: [] for each in chosen}
    control: list[float] = []
    for number in range(rounds):
        control.append(_control())
        # Each round begins with another one and every second runs backwards.
        order = [*chosen[number % len(chosen) :], *chosen[: number % len(chosen)]]
        for competitor in order if number % 2 == 0 else reversed(order):
            figures[competitor.name].append(runner.measure(competitor))
        if sys.stderr.isatty():
            print(f"\r{benchmark.name}: round {number + 1}/{rounds} ", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    if benchmark.baseline in figures:
        base = figures.pop(benchmark.baseline)
        for name, values in figures.items():
            figures[name] = [value - under for value, under in zip(values, base, strict=True)]
        figures[benchmark.baseline] = base
    return figures, control


def _table(benchmark: Benchmark, results: Mapping[str, Result]) -> str:
    """The results as a Markdown table."""
    references = [n for n in (benchmark.references or benchmark._compared) if n in results]
    head = ["", benchmark.unit, "lowest", "highest", *(f"x {name}" for name in references)]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for name, result in sorted(results.items(), key=lambda item: item[1].median):
        label = name
        if benchmark.baseline in results:
            label += " (whole)" if name == benchmark.baseline else f" (over {benchmark.baseline})"
        figures = [f"{value:,.2f}" if value < 1000 else f"{value:,.0f}" for value in result]
        ratios = [f"{result.median / results[other].median:.2f}" for other in references]
        rows.append([label, *figures, *ratios])
    widths = [max(len(row[n]) for row in rows) for n in range(len(head))]
    lines: list[str] = []
    for row in rows:
        cells = [
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _verdicts(benchmark: Benchmark, results: Mapping[str, Result]) -> list[tuple[bool, str]]:
    medians = {name: result.median for name, result in results.items()}
    verdicts: list[tuple[bool, str]] = []
    for limit in benchmark._limits:
        if limit.name not in medians:
            continue
        try:
            allowed = limit.value(medians)
        except KeyError as missing:
            verdicts.append((True, f"{limit.name} at most {limit.text}: not known, no {missing}"))
            continue
        kept = medians[limit.name] <= allowed
        verdicts.append(
            (
                kept,
                f"{limit.name} at most {limit.text}: {medians[limit.name]:,.2f} of {allowed:,.2f}, "
                + ("kept" if kept else "NOT KEPT"),
            )
        )
    return verdicts


def _run(
    file: str, position: int, benchmark: Benchmark, options: argparse.Namespace, folder: Path
) -> bool:
    present: list[_Competitor] = []
    absent: list[str] = []
    for competitor in benchmark._competitors.values():
        if options.only and competitor.name not in options.only:
            continue
        reason = competitor.absent()
        if reason is None:
            present.append(competitor)
        else:
            absent.append(f"{competitor.name} (no {reason})")
    print(f"\n### {benchmark.name}\n")
    load = benchmark.load
    print(f"{load.describe if load is not None else benchmark.operation}; ", end="")
    what = "CPU" if benchmark.measure == "cpu" else "memory"
    print(f"{what}, medians of {options.rounds} interleaved rounds.\n")
    if not present:
        print(f"Nobody to measure; absent: {', '.join(absent) or 'nobody of these names'}.")
        return True
    runner = _Runner(file, position, benchmark, folder)
    figures, control = _rounds(runner, benchmark, present, options.rounds)
    results = {name: _summary(values) for name, values in figures.items()}
    print(_table(benchmark, results), flush=True)
    noise = _summary(control)
    spread = (noise.high - noise.low) / noise.median
    print(f"\nControl {noise.median:.1f} ms, spread {spread:.0%}.", end="")
    print(f" Absent: {', '.join(absent)}." if absent else "")
    verdicts = _verdicts(benchmark, results)
    for _, text in verdicts:
        print(f"- {text}")
    if options.json is not None:
        line = {
            "benchmark": benchmark.name,
            "unit": benchmark.unit,
            "control_ms": control,
            "figures": figures,
        }
        with options.json.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")
    sys.stdout.flush()
    return all(kept for kept, _ in verdicts)


def _options(file: str, benchmarks: Sequence[Benchmark]) -> argparse.Namespace:
    name = Path(file).name
    parser = argparse.ArgumentParser(
        prog=name,
        description=f"Measures {', '.join(each.name for each in benchmarks)}.",
        epilog=f"example: python {name} --only sennit --only uvloop --rounds 9",
    )
    add = parser.add_argument
    add("tables", nargs="*", metavar="TABLE", help="these tables only")
    add("--only", action="append", metavar="NAME", help="these competitors only")
    add("--rounds", type=int, default=7, metavar="N", help="interleaved rounds (default: 7)")
    add("--check", action="store_true", help="exit 1 when a bound is not kept")
    add("--json", type=Path, metavar="FILE", help="append every figure to FILE, a line per table")
    # What the runner says to its own children: table, role, argument.
    add("--child", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def main(*benchmarks: Benchmark) -> None:
    """Run the benchmarks of one file, as its command line says."""
    file = str(Path(sys.argv[0]).resolve())
    options = _options(file, benchmarks)
    if options.child:
        position, role, argument = options.child
        _be_child(benchmarks[int(position)], role, argument)
        return
    unknown = set(options.tables) - {each.name for each in benchmarks}
    if unknown:
        raise SystemExit(f"no table named {', '.join(sorted(unknown))} in {Path(file).name}")
    with tempfile.TemporaryDirectory(prefix="sennit-bench-") as folder:
        os.environ[_CERTIFICATES] = folder
        # Children find the workspace's tools as this process did.
        os.environ["PYTHONPATH"] = os.pathsep.join(
            [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        kept = True
        run = functools.partial(_run, options=options, folder=Path(folder))
        for position, benchmark in enumerate(benchmarks):
            if not options.tables or benchmark.name in options.tables:
                kept &= run(file, position, benchmark)
    if options.check and not kept:
        raise SystemExit(1)
