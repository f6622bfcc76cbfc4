"""9 000 connections that are kept and idle after a request each: what one holds of memory.

With those that warm up that is what fits into the 10 000 that `serve` admits by default.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from bench_hello import hello

from tools import loads
from tools.benchmark import Benchmark, main

ASK = (
    b"GET / HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\n\r\n"
)
COMPARED = ("sennit", "aiohttp", "uvicorn-httptools-uvloop", "twisted.web")

idle = Benchmark("idle", load=loads.idle(connections=9_000, ask=ASK), measure="memory")
for each in COMPARED:
    # The very servers of the other table.
    idle._competitors[each] = hello._competitors[each]
idle.at_most("sennit", 0.5, of="aiohttp")

if __name__ == "__main__":
    main(idle)
