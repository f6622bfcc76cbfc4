"""Runs the benchmarks of a package: ``hatch run bench core``, ``hatch run bench core echo tls``."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from pathlib import Path

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent


def _machine() -> str:
    model = "unknown processor"
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.system()} "
        f"{platform.release()}, {os.cpu_count()} x {model}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the files that were named, or all of the package; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="hatch run bench",
        description="Measure Sennit and its peers in one run; prints tables for bench/README.md.",
        epilog="example: hatch run bench core echo tls --rounds 9 --check; options behind the "
        "names go to each file (try: hatch run bench core echo --help)",
    )
    parser.add_argument("package", help="folder under packages/, such as core")
    parser.add_argument("names", nargs="*", metavar="NAME", help="bench_NAME.py; default: all")
    given = sys.argv[1:] if arguments is None else arguments
    # Options, and all that follows the first of them, are for the files.
    cut = next((n for n, each in enumerate(given) if n and each.startswith("-")), len(given))
    options = parser.parse_args(given[:cut])
    folder = ROOT / "packages" / options.package / "bench"
    files = {file.stem.removeprefix("bench_"): file for file in sorted(folder.glob("bench_*.py"))}
    unknown = [name for name in options.names if name not in files]
    if unknown or not files:
        known = ", ".join(files) or "none"
        parser.error(f"no benchmark {' '.join(unknown)} in {folder.relative_to(ROOT)} ({known})")
    print(f"{_machine()}.", flush=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    failed: list[str] = []
    for name in options.names or files:
        command = [sys.executable, str(files[name]), *given[cut:]]
        if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
