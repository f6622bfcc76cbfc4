"""The server's engine by itself: commands of a reader in, answers out; articles of a peer in."""

from __future__ import annotations

from sennit.core.engine import NoEvent
from sennit.news.engine import ServerEngine
from sennit.news.events import ArticleAsked, ArticleTaken
from sennit.news.limits import Limits
from tools.benchmark import Benchmark, main

ARTICLE = b"Subject: of some words\r\nFrom: a@b.example\r\n" * 4 + b"\r\n" + b"x" * 72 + b"\r\n"
TAKEN = b"TAKETHIS <1234567890@news.example.net>\r\n" + ARTICLE + b".\r\n"

commands = Benchmark("news-commands", operations=50_000, operation="command")
articles = Benchmark("news-takethis", operations=20_000, operation="article")


def _engine() -> ServerEngine:
    engine = ServerEngine(limits=Limits())
    engine.permit(reads=True, posts=True, feeds=True)
    engine.session.group, engine.session.number = "misc.test", 1
    return engine


def _answer(engine: ServerEngine) -> None:
    event = engine.next_event()
    assert isinstance(event, ArticleAsked)
    engine.answer_block(event, 220, b"7 <a@b>", ARTICLE)


@commands.code("one by one")
def one_by_one(count: int) -> None:
    """Each ARTICLE comes by itself."""
    engine = _engine()
    for _ in range(count):
        engine.receive_data(b"ARTICLE 7\r\n")
        _answer(engine)
        engine.data_to_send()


@commands.code("pipelined by 64")
def pipelined(count: int) -> None:
    """They come 64 at a time."""
    engine = _engine()
    for _ in range(count // 64):
        engine.receive_data(b"ARTICLE 7\r\n" * 64)
        for _ in range(64):
            _answer(engine)
        engine.data_to_send()


@articles.code("streamed by 50")
def streamed(count: int) -> None:
    """TAKETHIS with 270 octets each, fifty at a time, cut where 64 KiB end or nowhere."""
    engine = _engine()
    for _ in range(count // 50):
        engine.receive_data(TAKEN * 50)
        while not isinstance(event := engine.next_event(), NoEvent):
            assert isinstance(event, ArticleTaken)
            engine.answer(event, 239, event.message_id)
        engine.data_to_send()


commands.at_most("pipelined by 64", 1.1, of="one by one")

if __name__ == "__main__":
    main(commands, articles)
