"""TCP: echo, streaming both ways, accepting; server CPU per operation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tools import loads
from tools.benchmark import Benchmark, main

if TYPE_CHECKING:
    from collections.abc import Mapping

sys.path.insert(0, str(Path(__file__).parent))

from tcp_servers import add_servers

echo = Benchmark("echo", load=loads.echo(connections=64, size=1024))
add_servers(echo, "echo")


def echo_bound(median: Mapping[str, float]) -> float:
    """1.15 x uvloop; where Python itself is slow in this run, 1.10 x the bare loop."""
    if median["bare"] > 1.05 * median["uvloop"]:
        return 1.10 * median["bare"]
    return 1.15 * median["uvloop"]


echo.limit("sennit", "1.15 x uvloop, or 1.10 x bare where bare > 1.05 x uvloop", echo_bound)
echo.at_most("sennit", 0.5, of="twisted")

stream_in = Benchmark("stream_in", load=loads.stream_in())
add_servers(stream_in, "sink")
stream_in.at_most("sennit", 1.1, of="uvloop")

stream_out = Benchmark("stream_out", load=loads.stream_out())
add_servers(stream_out, "source")
stream_out.at_most("sennit", 1.1, of="uvloop")

accept = Benchmark("accept", load=loads.accept_one())
add_servers(accept, "farewell")
accept.at_most("sennit", 1.1, of="uvloop")

accept_echo = Benchmark("accept_echo", load=loads.accept_echo())
add_servers(accept_echo, "echo")
accept_echo.at_most("sennit", 1.1, of="uvloop")

idle = Benchmark("idle", load=loads.idle(), measure="memory")
add_servers(idle, "sink")
idle.limit("sennit", "1.4 KiB", lambda median: 1.4 * 1024)

if __name__ == "__main__":
    main(echo, stream_in, stream_out, accept, accept_echo, idle)
