"""Two ends of a feed, each a process that may be killed: ``send`` and ``receive``.

Run as ``python news_process.py send STORE PORT COUNT`` and ``… receive STORE PORT``. The
first says on standard output what it has for good, and what has left its queue.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from news_articles import HOST, NOW, composed

from sennit.core.endpoint.listen import serve
from sennit.core.reactor.base import Reactor, current_reactor
from sennit.core.service.backoff import BackOff
from sennit.news.access import Access
from sennit.news.errors import DuplicateError
from sennit.news.feeds import Feed, Feeder
from sennit.news.intake import Intake
from sennit.news.server import NNTPServerFactory
from sennit.news.store.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from typing import Any

    from sennit.core.deferred import Deferred
    from sennit.news.interfaces import Filed

GROUP = "misc.test"


def say(text: str) -> None:
    print(text, flush=True)


class Telling(SQLiteStore):
    """A store that says which articles it has for good."""

    def add(self, filed: Filed) -> Deferred[list[tuple[str, int]]]:
        def tell(places: list[tuple[str, int]]) -> list[tuple[str, int]]:
            say(f"kept {filed.message_id.decode()}")
            return places

        return super().add(filed).add_callback(tell)

    def unqueue(self, feed: str, places: Sequence[int]) -> Deferred[None]:
        async def tell(_: None) -> None:
            say(f"unqueued {len(places)}")
            if not await self.queue_length(feed):
                say("empty")

        return super().unqueue(feed, places).add_callback(tell)


async def send(path: str, port: int, count: int) -> None:
    """Take articles in, from where the last process was, and feed them on."""
    async with Telling.open(path, host=HOST, clock=lambda: NOW) as store:
        await store.create_group(GROUP)
        feed = Feed("b.example.net", f"nntp://127.0.0.1:{port}/", window=4)
        feeder = Feeder(store, feed, back_off=BackOff(0.02, 0.05))
        intake = Intake(store, path_host=HOST, feeds=[feed], clock=lambda: NOW)
        intake.watch(feed.name, feeder.wake)
        await feeder.start(current_reactor())
        for number in range(count):
            with suppress(DuplicateError):
                await intake.take(composed({"Message-ID": f"<{number}@x>"}), "a")
        say("all kept")
        if not await store.queue_length(feed.name):
            say("empty")
        await forever()


async def receive(path: str, port: int) -> None:
    """Take what is offered."""
    async with SQLiteStore.open(path, host="b.example.net", clock=lambda: NOW) as store:
        await store.create_group(GROUP)
        factory = NNTPServerFactory(
            store,
            Intake(store, path_host="b.example.net", clock=lambda: NOW),
            access=Access(transit=True, name=HOST),
        )
        async with serve(f"tcp://127.0.0.1:{port}", factory):
            say("listening")
            await forever()


async def forever() -> None:
    """Wait for the end."""
    await asyncio.Event().wait()


def main(_: Reactor) -> Coroutine[Any, Any, None]:
    """One of the two, as the command line says."""
    role, where, port, *rest = sys.argv[1:]
    return send(where, int(port), int(rest[0])) if role == "send" else receive(where, int(port))


if __name__ == "__main__":
    Reactor().run(main)
