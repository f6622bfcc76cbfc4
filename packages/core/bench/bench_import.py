"""Importing: CPU and memory of a plain TCP program, on top of the bare interpreter."""

from __future__ import annotations

from pathlib import Path

from tools.benchmark import Benchmark, main

PROGRAM = "import sennit.core.reactor.base, sennit.core.transport.listening"
SOURCES = Path(__file__).resolve().parents[1] / "src"


def ours() -> str:
    """The reactor and TCP; and that nothing heavy came along."""
    return f"""
import sys
sys.path.insert(0, {str(SOURCES)!r})
{PROGRAM}
heavy = {{"asyncio", "OpenSSL", "ssl", "dataclasses", "inspect", "logging"}} & set(sys.modules)
assert not heavy, heavy
"""


imports = Benchmark("import", operation="import", baseline="bare")


@imports.python("bare")
def bare() -> str:
    """Nothing."""
    return ""


@imports.python("sennit")
def sennit() -> str:
    """Reactor and TCP."""
    return ours()


@imports.python("asyncio")
def asyncio_peer() -> str:
    """What the standard library costs."""
    return "import asyncio"


@imports.python("twisted", requires=["twisted"])
def twisted_peer() -> str:
    """The same parts of Twisted."""
    return "from twisted.internet import reactor, protocol"


imports.at_most("sennit", 0.7, of="asyncio")

memory = Benchmark("import_memory", measure="memory", operation="import")
for declare in (sennit, asyncio_peer, twisted_peer):
    needs = ["twisted"] if declare is twisted_peer else []
    memory.python(declare.__name__.removesuffix("_peer"), requires=needs)(declare)
memory.limit("sennit", "20 MiB", lambda median: 20.0)

if __name__ == "__main__":
    main(imports, memory)
