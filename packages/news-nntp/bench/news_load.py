"""What strikes servers of news in benchmarks, and the articles that they have.

The session that warmed the server up does the measured work too, and stays open until the figure
has been read: INN has a process for each session, and would take it with it.
"""

from __future__ import annotations

import random
import socket
from typing import Final

from tools.loads import HOST, TIMEOUT, LoadError

__all__ = [
    "COUNT",
    "GROUP",
    "ArticleLoad",
    "OverLoad",
    "StreamLoad",
    "Talk",
    "article",
    "stream",
]

GROUP: Final = "bench.group"
COUNT: Final = 10_000
"""Articles in the group that is read."""
WINDOW: Final = 64
"""Articles under way at once when they are streamed."""
_BODY: Final = b"A line of the body, about as long as lines mostly are in news.\r\n" * 24


def article(number: int, prefix: str = "read") -> bytes:
    """An article of about 2 KiB, dots doubled where there are any."""
    return (
        b"Path: feeder.example.net!not-for-mail\r\n"
        b"From: Somebody <somebody%d@example.net>\r\nNewsgroups: %b\r\n"
        b"Subject: Re: A subject of some words, and the number %d\r\n"
        b"Date: Sat, 28 Nov 2026 %02d:%02d:%02d +0000\r\nMessage-ID: <%b.%d@bench.example.net>\r\n"
        b"References: <%d.1@bench.example.net>\r\n"
        b"User-Agent: a newsreader, and its version\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        % (
            number % 5000, GROUP.encode(), number, number // 3600 % 12, number // 60 % 60,
            number % 60, prefix.encode(), number, number // 7,
        )
        + _BODY
    )  # fmt: skip


class Talk:
    """One session with a server."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self.socket.makefile("rb", 1 << 16)
        self.answer(b"2")

    def answer(self, code: bytes) -> bytes:
        """Read one response."""
        line = self._file.readline()
        self.acknowledge()
        if not line.startswith(code):
            raise LoadError(f"{code!r} was expected, not {line[:200]!r}")
        return line

    def say(self, line: bytes, code: bytes) -> bytes:
        """Say a command, and read its response."""
        self.socket.sendall(line + b"\r\n")
        self.acknowledge()
        return self.answer(code)

    def acknowledge(self) -> None:
        """Do not wait before the next octets are acknowledged.

        INN waits for that between a response's first line and its block, 40 ms at a time.
        """
        if hasattr(socket, "TCP_QUICKACK"):
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def block(self) -> int:
        """Read a block to its end; gives its lines."""
        for lines, line in enumerate(self._file):
            if line == b".\r\n":
                return lines
        raise LoadError("the block has no end")


class _Session:
    """A load that has one session, from its warming up on."""

    def __init__(self, operation: str, describe: str) -> None:
        self.operation = operation
        self.describe = describe
        self._talk: Talk | None = None

    def talk(self, port: int) -> Talk:
        """The session."""
        if self._talk is None:
            self._talk = Talk(port)
        return self._talk


class OverLoad(_Session):
    """GROUP and OVER of its last articles, again and again."""

    def __init__(self, articles: int, times: int) -> None:
        super().__init__("GROUP+OVER", f"GROUP and OVER of {articles} of {COUNT} articles")
        self._articles = articles
        self._times = times

    def warm_up(self, port: int) -> None:
        """A tenth of it."""
        self.talk(port).say(b"MODE READER", b"20")
        self._work(self.talk(port), max(1, self._times // 10))

    def run(self, port: int) -> int:
        """All of it."""
        return self._work(self.talk(port), self._times)

    def _work(self, talk: Talk, times: int) -> int:
        for _ in range(times):
            high = int(talk.say(b"GROUP " + GROUP.encode(), b"211").split()[3])
            talk.say(b"OVER %d-%d" % (high - self._articles + 1, high), b"224")
            lines = talk.block()
            if lines != self._articles:
                raise LoadError(f"{lines} lines of overview, not {self._articles}")
        return times


class ArticleLoad(_Session):
    """ARTICLE at random, by number or by Message-ID."""

    def __init__(self, times: int, *, by_id: bool) -> None:
        by = "Message-ID" if by_id else "number"
        super().__init__("ARTICLE", f"ARTICLE by {by}, of {COUNT} articles of 2 KiB, at random")
        self._times = times
        self._by_id = by_id

    def warm_up(self, port: int) -> None:
        """A tenth of it."""
        talk = self.talk(port)
        talk.say(b"MODE READER", b"20")
        talk.say(b"GROUP " + GROUP.encode(), b"211")
        self._work(talk, self._times // 10)

    def run(self, port: int) -> int:
        """All of it."""
        return self._work(self.talk(port), self._times)

    def _work(self, talk: Talk, times: int) -> int:
        chance = random.Random(1)
        for _ in range(times):
            number = chance.randrange(1, COUNT + 1)
            asked = b"<read.%d@bench.example.net>" % number if self._by_id else b"%d" % number
            talk.say(b"ARTICLE " + asked, b"220")
            if talk.block() < 30:
                raise LoadError("an article is too short")
        return times


def stream(talk: Talk, articles: list[tuple[bytes, bytes]]) -> None:
    """Offer articles (Message-ID, octets) by CHECK, and send them by TAKETHIS."""
    for begin in range(0, len(articles), WINDOW):
        batch = articles[begin : begin + WINDOW]
        talk.socket.sendall(b"".join(b"CHECK %b\r\n" % message_id for message_id, _ in batch))
        for _ in batch:
            talk.answer(b"238")
        talk.socket.sendall(
            b"".join(
                b"TAKETHIS %b\r\n%b.\r\n" % (message_id, octets) for message_id, octets in batch
            )
        )
        for _ in batch:
            talk.answer(b"239")


class StreamLoad(_Session):
    """Articles streamed by CHECK and TAKETHIS."""

    def __init__(self, count: int) -> None:
        super().__init__("article", f"CHECK and TAKETHIS of articles of 2 KiB, {WINDOW} under way")
        self._count = count

    def warm_up(self, port: int) -> None:
        """A tenth of it."""
        self.talk(port).say(b"MODE STREAM", b"203")
        self._work(self.talk(port), "warm", self._count // 10)

    def run(self, port: int) -> int:
        """All of it."""
        return self._work(self.talk(port), "run", self._count)

    def _work(self, talk: Talk, prefix: str, count: int) -> int:
        batch = [
            (b"<%b.%d@bench.example.net>" % (prefix.encode(), number), article(number, prefix))
            for number in range(count)
        ]
        stream(talk, batch)
        return count
