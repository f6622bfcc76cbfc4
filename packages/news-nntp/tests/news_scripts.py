"""A news server that says what a test has written down for it, and notes what it hears."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import trustme

from sennit.core.endpoint.listen import serve
from sennit.core.errors import ConnectionLost, TLSError
from sennit.core.stream import stream_handler
from sennit.core.testing.clock import Clock
from sennit.core.testing.network import MemoryNetwork
from sennit.core.transport.tls import ClientTLS, ServerTLS
from sennit.news.client import NNTPClient

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
    from typing import Any

    from sennit.core.stream import Stream

    Reply = bytes | list[bytes] | Callable[[Stream], Awaitable[None]]
    # `Any`: a dictionary of replies of one kind is none of `Reply` to a checker.
    Replies = Mapping[bytes, Any]

T = TypeVar("T")

NAME = "news.example"
"""Whose certificate it is."""

READER = (
    b"101 these\r\nVERSION 2\r\nREADER\r\nPOST\r\nOVER MSGID\r\nHDR\r\nLIST ACTIVE COUNTS\r\n.\r\n"
)
"""Capabilities of a server that has all that readers want."""
USER_ONLY = b"101 c\r\nVERSION 2\r\nREADER\r\nAUTHINFO USER\r\n.\r\n"
"""Those of one that lets log in by name and password."""


class Script:
    """What a server says.

    Args:
        replies: By command: the whole line, or its first words. Octets as they are sent; a list
            of them for one time after the other; a coroutine function for all else. What follows
            an article that came behind a command stands under that command and `` article``.
        greeting: Its first words.

    Attributes:
        heard: Lines of commands, without CRLF.
        articles: What came behind commands, dots doubled, without the last line.
    """

    def __init__(
        self, replies: Replies | None = None, *, greeting: bytes = b"200 hello\r\n"
    ) -> None:
        self.replies: dict[bytes, Reply] = {b"CAPABILITIES": READER, b"QUIT": b"205 bye\r\n"}
        self.replies.update(replies or {})
        self.greeting = greeting
        self.heard: list[bytes] = []
        self.articles: list[bytes] = []

    async def __call__(self, stream: Stream) -> None:
        """Play it for one connection."""
        try:
            await stream.send_all(self.greeting)
            while True:
                line = await stream.read_until(b"\r\n")
                self.heard.append(line)
                if line.startswith(b"TAKETHIS"):
                    await self._take(stream)
                    await self._say(stream, line)
                    continue
                said = await self._say(stream, line)
                if said[:3] in (b"335", b"340"):
                    await self._take(stream)
                    await self._say(stream, line.split()[0] + b" article")
                if line == b"QUIT":
                    return
        except (ConnectionLost, TLSError):
            pass  # the client is what is tested

    async def _take(self, stream: Stream) -> None:
        octets = b"\r\n"
        while not octets.endswith(b"\r\n.\r\n"):
            octets += await stream.read_until(b"\n", limit=1 << 20) + b"\n"
        self.articles.append(octets[2:-3])

    async def _say(self, stream: Stream, line: bytes) -> bytes:
        words = line
        while words not in self.replies and b" " in words:
            words = words.rpartition(b" ")[0]
        reply = self.replies.get(words, b"500 what?\r\n")
        if not isinstance(reply, bytes):
            if callable(reply):
                await reply(stream)
                return b""
            reply = reply.pop(0) if len(reply) > 1 else reply[0]
        await stream.send_all(reply)
        return reply

    def commands(self, word: bytes) -> list[bytes]:
        """Those that begin with a word."""
        return [each for each in self.heard if re.match(re.escape(word) + rb"\b", each)]


def certificates() -> tuple[ServerTLS, ClientTLS]:
    """A certificate of `NAME`, and who believes it."""
    authority = trustme.CA()
    issued = authority.issue_cert(NAME)
    server = ServerTLS(issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes())
    return server, ClientTLS(trust=authority.cert_pem.bytes())


def play(main: Callable[[Clock], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function on a memory network, and see that nothing is left behind."""
    with Clock() as clock:
        network = MemoryNetwork(clock)
        result = clock.run(main)
        network.close()
        clock.pump()
        return result


@asynccontextmanager
async def talking(
    replies: Replies | None = None,
    *,
    greeting: bytes = b"200 hello\r\n",
    **options: Any,  # of `NNTPClient.connect`,
) -> AsyncGenerator[tuple[NNTPClient, Script], None]:
    """A client that is connected to a script, and the script."""
    script = Script(replies, greeting=greeting)
    async with serving(script) as url, NNTPClient.connect(url, **options) as news:
        yield news, script


@asynccontextmanager
async def serving(
    script: Callable[[Stream], Coroutine[Any, Any, None]],
    host: str = "10.0.0.1",
    *,
    tls: ServerTLS | None = None,
) -> AsyncGenerator[str, None]:
    """Let a script serve on a host of the memory network; where it is, as a URL."""
    scheme = "tcp" if tls is None else "tls"
    async with serve(f"{scheme}://{host}:119", stream_handler(script), tls=tls):
        yield f"{'nntp' if tls is None else 'nntps'}://{host}:119/"
