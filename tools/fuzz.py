"""Fuzzes the engines of a package: ``hatch run fuzz web --seconds 60``.

A target is a file ``packages/<name>/tests/fuzz/fuzz_<what>.py`` with

* ``SEEDS``: a sequence of octet strings that the engine understands;
* ``def fuzz(data: bytes) -> None``: feeds them to the engine and raises when a promise is
  broken (any exception counts, `AssertionError` the most usual).

Inputs are made from the seeds by cutting, splicing, repeating and changing octets; those that
reach lines of ``sennit`` by a way not seen before become seeds themselves. The same
``--seed`` gives the same run. A failing input is made smaller, printed as a Python literal, and
belongs into a test.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tools.workspace import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from _typeshed import TraceFunction

    Target = Callable[[bytes], None]

__all__ = ["BrokenPromiseError", "explore", "load_target", "main"]

MAX_INPUT: Final = 16_384
"""Octets of the longest input."""
_TOKENS: Final = (b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b"\xff", b"0", b"-1", b"99999999999")


class BrokenPromiseError(Exception):
    """An input that breaks a promise.

    Attributes:
        data: The input, made as small as it would go.
        runs: How many inputs were tried before.
    """

    def __init__(self, data: bytes, runs: int) -> None:
        super().__init__(f"broken by {data!r} after {runs} inputs")
        self.data = data
        self.runs = runs


def load_target(path: Path) -> tuple[Target, Sequence[bytes]]:
    """Import a target file; return its function and seeds."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # noqa: PT018
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.fuzz, module.SEEDS


def _mutate(rng: random.Random, corpus: Sequence[bytes]) -> bytes:
    data = bytearray(rng.choice(corpus))
    for _ in range(1 << rng.randrange(4)):
        at = rng.randint(0, len(data))
        end = min(len(data), at + (1 << rng.randrange(7)))
        match rng.randrange(7):
            case 0:
                del data[at:end]
            case 1:
                data[at:at] = data[at:end] * rng.randint(1, 4)
            case 2 if data:
                data[min(at, len(data) - 1)] ^= 1 << rng.randrange(8)
            case 3:
                data[at:end] = rng.randbytes(rng.randint(1, 8))
            case 4:
                data[at:at] = rng.choice(_TOKENS)
            case 5:
                other = rng.choice(corpus)
                data[at:] = other[rng.randint(0, len(other)) :]
            case _:
                data[at:at] = rng.choice(corpus)
    return bytes(data[:MAX_INPUT])


class _Coverage:
    """Which steps from line to line inside `sennit` one run took."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, int, int]] = set()
        self._new = False

    def _calls(self, frame: FrameType, event: str, argument: object) -> TraceFunction | None:
        name = frame.f_code.co_filename
        if "/sennit/" not in name.replace("\\", "/"):
            return None
        last = frame.f_lineno

        def lines(frame: FrameType, event: str, argument: object) -> TraceFunction:
            nonlocal last
            step = (name, last, frame.f_lineno)
            if step not in self._seen:
                self._seen.add(step)
                self._new = True
            last = frame.f_lineno
            return lines

        return lines

    def is_new(self, target: Target, data: bytes) -> bool:
        """Run once; tell whether the way it took was new."""
        self._new = False
        before = sys.gettrace()
        sys.settrace(self._calls)
        try:
            target(data)
        finally:
            sys.settrace(before)
        return self._new


def _breaks(target: Target, data: bytes) -> bool:
    try:
        target(data)
    except Exception:
        return True
    return False


def _shrink(target: Target, data: bytes) -> bytes:
    """Leave out whatever is not needed to break the promise."""
    size = len(data) // 2
    tries = 0
    while size and tries < 5000:
        at = 0
        while at < len(data) and tries < 5000:
            tries += 1
            shorter = data[:at] + data[at + size :]
            if _breaks(target, shorter):
                data = shorter
            else:
                at += size
        size //= 2
    return data


def explore(
    target: Target, seeds: Sequence[bytes], *, seed: int, seconds: float, runs: int | None = None
) -> tuple[int, int]:
    """Try inputs until time or `runs` are used up; return how many, and how many ways they took.

    Raises:
        BrokenPromiseError: An input made the target raise.
    """
    rng = random.Random(seed)
    coverage = _Coverage()
    corpus: list[bytes] = []
    deadline = time.monotonic() + seconds
    count = 0
    pending = [b"", *seeds]
    while time.monotonic() < deadline and (runs is None or count < runs):
        data = pending.pop() if pending else _mutate(rng, corpus)
        count += 1
        try:
            if coverage.is_new(target, data) or len(corpus) <= len(seeds):
                corpus.append(data)
        except Exception as error:
            raise BrokenPromiseError(_shrink(target, data), count) from error
    return count, len(corpus)


def main(arguments: list[str] | None = None) -> int:
    """Fuzz the targets of a package; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="hatch run fuzz",
        description="Throw made-up octets at the engines of a package.",
        epilog="example: hatch run fuzz web http1 --seconds 300 --seed 7",
    )
    parser.add_argument("package", help="folder under packages/, such as web")
    parser.add_argument("names", nargs="*", metavar="NAME", help="fuzz_NAME.py; default: all")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each (default: 60)")
    parser.add_argument("--seed", type=int, default=None, help="repeats a run")
    options = parser.parse_args(arguments)
    folder = ROOT / "packages" / options.package / "tests" / "fuzz"
    files = {file.stem.removeprefix("fuzz_"): file for file in sorted(folder.glob("fuzz_*.py"))}
    unknown = [name for name in options.names if name not in files]
    if unknown or not files:
        known = ", ".join(files) or "none"
        parser.error(f"no target {' '.join(unknown)} in {folder.relative_to(ROOT)} ({known})")
    status = 0
    for name in options.names or files:
        seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
        target, seeds = load_target(files[name])
        print(f"{name}: seed {seed}, {options.seconds:.0f} s", flush=True)
        try:
            count, ways = explore(target, seeds, seed=seed, seconds=options.seconds)
        except BrokenPromiseError as finding:
            status = 1
            traceback.print_exception(finding.__cause__)
            print(f"{name}: {finding}")
        else:
            print(f"{name}: {count} inputs held, {ways} kept for the way they took")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
