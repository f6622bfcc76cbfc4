"""A server with a few articles, and one client of it on a recording transport, in virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from zope.interface import implementer

from sennit.core.address import InternetAddress
from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.news.article import parse
from sennit.news.errors import ArticleError, DuplicateError
from sennit.news.interfaces import Filed, IIntake, Wanted
from sennit.news.overview import overview
from sennit.news.server import NNTPServerFactory
from sennit.news.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from sennit.news.interfaces import IArticleReader

T = TypeVar("T")
U = TypeVar("U")

NOW = 1_800_000_000.0
"""15 January 2027, 08:00 UTC."""

GROUPS = {
    "misc.test": "For tests",
    "comp.lang.python": "The language",
    "secret.board": "Not for all",
    "misc.empty": "",
}


def done(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine gives that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    raise AssertionError("it waits")


def article(number: int, groups: str = "misc.test", *, body: bytes = b"Hello.\r\n") -> bytes:
    """An article as it comes."""
    return (
        b"Path: here!not-for-mail\r\n"
        b"From: somebody%d@example.net\r\n"
        b"Newsgroups: %b\r\n"
        b"Subject: the %dth\r\n"
        b"Date: Fri, 15 Jan 2027 07:%02d:00 +0000\r\n"
        b"Message-ID: <%d@example.net>\r\n"
        b"\r\n"
        b"%b"
    ) % (number, groups.encode(), number, number % 60, number, body)


def file(store: MemoryStore, octets: bytes) -> None:
    """Put an article into a store."""
    parsed = parse(octets)
    done(
        store.add(
            Filed(
                parsed.message_id,
                octets,
                parsed.body_at,
                groups=[each for each in parsed.groups if each in GROUPS],
                overview=overview(parsed),
                received=NOW - 3600,
            )
        )
    )


def filled(articles: int = 5, kind: type[MemoryStore] = MemoryStore) -> MemoryStore:
    """A store with articles 1 to `articles` in misc.test, and one more in secret.board."""
    store = kind(host="news.example", clock=lambda: NOW - 7200)
    for name, description in GROUPS.items():
        done(store.create_group(name, description=description, creator="usenet@example.net"))
    for number in range(1, articles + 1):
        body = b".a line of dots\r\n..\r\n.\r\n" if number == 2 else b"Hello.\r\n"
        file(store, article(number, body=body))
    file(store, article(999_999, "secret.board"))
    return store


class SlowStore(MemoryStore):
    """One that answers nothing at once."""

    @property
    def now(self) -> IArticleReader:
        return None  # type: ignore[return-value]  # other stores have none; this one is made so

    async def _ask(self, question: Callable[[IArticleReader], U]) -> U:
        await asyncio.sleep(0)
        return await super()._ask(question)


@implementer(IIntake)
class FakeIntake:
    """Takes what it is given, and says what a test wants.

    Attributes:
        posted: (octets, poster, host, may_approve) of what was posted.
        taken: (octets, peer, message_id) of what peers sent.
        wanted: What is said to offers, by Message-ID; all else is wanted.
        failing: Raised instead of taking.
    """

    def __init__(self) -> None:
        self.posted: list[tuple[bytes, str, str, bool]] = []
        self.taken: list[tuple[bytes, str, bytes | None]] = []
        self.wanted: dict[bytes, Wanted] = {}
        self.failing: Exception | None = None

    async def wants(self, message_id: bytes, peer: str) -> Wanted:
        return self.wanted.get(message_id, Wanted.YES)

    async def take(self, octets: bytes, peer: str, message_id: bytes | None = None) -> None:
        if self.failing is not None:
            raise self.failing
        if any(message_id == each for _, _, each in self.taken):
            raise DuplicateError("duplicate")
        self.taken.append((octets, peer, message_id))

    async def post(self, octets: bytes, *, poster: str, host: str, may_approve: bool) -> bytes:
        if self.failing is not None:
            raise self.failing
        if b"\r\n\r\n" not in octets:
            raise ArticleError("no empty line, so no body")
        self.posted.append((octets, poster, host, may_approve))
        return b"<posted@example.net>"


class Talk:
    """One client of a server.

    Args:
        factory: Builds the protocol.
        clock: Virtual time; one of its own when left out.
        peer: Where it comes from.

    Attributes:
        clock: Virtual time.
        transport: What the server writes to.
        protocol: The server's.
    """

    def __init__(
        self, factory: NNTPServerFactory, *, clock: Clock | None = None, peer: str = "192.0.2.7"
    ) -> None:
        self.clock = Clock() if clock is None else clock
        self.transport = RecordingTransport(peer=InternetAddress(peer, 40000))
        self.protocol = factory.build_protocol(None)
        self.transport.set_protocol(self.protocol)
        self.clock.call_soon(self.protocol.connection_made, self.transport)
        self.clock.pump()
        self.greeting = self.transport.take()

    def say(self, data: bytes) -> bytes:
        """What is answered to octets; to a line when they have no end."""
        if not data.endswith(b"\n"):
            data += b"\r\n"
        self.clock.call_soon(self.transport.receive, data)
        self.clock.pump()
        return self.transport.take()

    def code(self, data: bytes) -> int:
        """The code of what is answered."""
        return int(self.say(data)[:3])


def factory(store: MemoryStore | None = None, **options: Any) -> NNTPServerFactory:
    """A server's factory, with a wall clock that stands."""
    return NNTPServerFactory(store or filled(), wall_clock=lambda: NOW, **options)
