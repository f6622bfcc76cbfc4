"""Server CPU of reading: GROUP and OVER, ARTICLE by number and Message-ID; beside INN's nnrpd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from news_load import COUNT, ArticleLoad, OverLoad
from news_servers import run, serve_inn_reader, serve_ours

from tools.benchmark import Benchmark
from tools.peers import unpacked

if TYPE_CHECKING:
    from tools.benchmark import Ready
    from tools.loads import Load


def table(name: str, load: Load) -> Benchmark:
    """Ours, with its bound, and INN."""
    made = Benchmark(name, load=load, references=("inn",))

    @made.server("sennit")
    def sennit(ready: Ready) -> None:
        serve_ours(ready, reads=True)

    if unpacked("inn2", "usr/lib/news/bin/nnrpd"):

        @made.server("inn")
        def inn(ready: Ready) -> None:
            serve_inn_reader(ready)

        made.at_most("sennit", 2.0, of="inn")
    return made


OVER = table("news-over-10000", OverLoad(COUNT, 30))
OVER_FEW = table("news-over-100", OverLoad(100, 1000))
BY_NUMBER = table("news-article-number", ArticleLoad(2000, by_id=False))
BY_ID = table("news-article-id", ArticleLoad(2000, by_id=True))

if __name__ == "__main__":
    run(OVER, OVER_FEW, BY_NUMBER, BY_ID)
