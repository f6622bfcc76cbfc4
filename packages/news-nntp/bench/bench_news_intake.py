"""Server CPU of streaming intake: CHECK and TAKETHIS; ours beside INN's innd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from news_load import StreamLoad
from news_servers import run, serve_inn, serve_ours

from tools.benchmark import Benchmark
from tools.peers import unpacked

if TYPE_CHECKING:
    from tools.benchmark import Ready

INTAKE = Benchmark("news-intake", load=StreamLoad(3000), references=("inn",))


@INTAKE.server("sennit")
def sennit(ready: Ready) -> None:
    """Ours: what it acknowledges is on the disk."""
    serve_ours(ready, reads=False)


if unpacked("inn2", "usr/lib/news/bin/innd"):

    @INTAKE.server("inn")
    def inn(ready: Ready) -> None:
        """INN: what it acknowledges is with the kernel."""
        serve_inn(ready)


if __name__ == "__main__":
    run(INTAKE, filled=False)
