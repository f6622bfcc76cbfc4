"""The server engine by itself: one command of 10 octets in, one line out."""

from __future__ import annotations

from sennit.news.engine import ServerEngine
from tools.benchmark import Benchmark, main

commands = Benchmark("news-commands", operations=50_000, operation="command")


@commands.code("one by one")
def one_by_one(count: int) -> None:
    """Each command comes by itself."""
    engine = ServerEngine()
    for _ in range(count):
        engine.receive_data(b"GET motd\r\n")
        engine.next_event()
        engine.accept_key(b"hello")
        engine.data_to_send()


@commands.code("pipelined by 64")
def pipelined(count: int) -> None:
    """Commands come 64 at a time."""
    engine = ServerEngine()
    for _ in range(count // 64):
        engine.receive_data(b"GET motd\r\n" * 64)
        for _ in range(64):
            engine.next_event()
            engine.accept_key(b"hello")
        engine.data_to_send()


commands.at_most("pipelined by 64", 1.1, of="one by one")

if __name__ == "__main__":
    main(commands)
