"""A client by hand, and a server for it: what tests of the server have in common."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sennit.core import open_stream, serve
from sennit.core.auth.checkers import AnonymousChecker, MemoryUsers
from sennit.core.auth.limits import LoginLimits
from sennit.core.auth.portal import Portal, Realm
from sennit.core.errors import ConnectionLost
from sennit.ftp.interfaces import IFileStore
from sennit.ftp.server import FTPServerFactory, FTPServerProtocol
from sennit.ftp.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sennit.core.stream import Stream
    from sennit.core.testing.clock import Clock
    from sennit.core.testing.network import MemoryNetwork

__all__ = ["FILES", "HOST", "Talk", "converse", "factory", "kept", "portal", "read_all"]

HOST = "10.0.0.1"
"""The server's address in memory."""
FILES = {
    "motd": b"hello\nworld\n",
    "empty": b"",
    "large": bytes(range(256)) * 4096,
    "dir/a.txt": b"A",
    "dir/b.txt": b"BB",
    "dir/.hidden": b"",
    "dir/sub/c": b"CCC",
}
"""What there is."""


def portal(store: IFileStore) -> Portal:
    """Lets in ``u`` with ``p``, and nobody in particular."""
    realm = Realm()

    @realm.provides(IFileStore)
    def open_store(name: str) -> IFileStore:
        return store

    return Portal(realm, [MemoryUsers({"u": "p"}), AnonymousChecker()])


def factory(store: IFileStore | None = None, **options: Any) -> FTPServerFactory:
    """A server of these files, in clear unless told otherwise. (`Any`: the factory's.)"""
    options.setdefault("tls_mode", "off")
    options.setdefault("login_limits", LoginLimits(delay=1.0))
    return FTPServerFactory(portal(MemoryStore(FILES) if store is None else store), **options)


def kept(made: FTPServerFactory) -> list[FTPServerProtocol]:
    """The protocols that a factory makes from now on."""
    protocols: list[FTPServerProtocol] = []
    build = made.build_protocol

    def keep(peer: object) -> FTPServerProtocol:
        protocols.append(build(peer))
        return protocols[-1]

    made.build_protocol = keep  # type: ignore[method-assign]  # it is looked at what comes out
    return protocols


class Talk:
    """One control connection, as its client has it.

    Args:
        stream: What carries it.
        host: Where data connections go.
    """

    def __init__(self, stream: Stream, host: str = HOST) -> None:
        self.stream = stream
        self.host = host

    @classmethod
    async def open(cls, url: str = f"tcp://{HOST}:21", *, login: bool = True, **how: Any) -> Talk:
        """Connect, hear the greeting, and log in."""
        stream = await open_stream(url, **how)
        talk = cls(stream, url.rpartition("/")[2].rpartition(":")[0].strip("[]"))
        assert (await talk.reply()).startswith("220 ")
        if login:
            await talk.log_in()
        return talk

    async def log_in(self) -> None:
        """Be the user that there is, and transfer octets."""
        await self.expect("331", "USER u")
        await self.expect("230", "PASS p")
        await self.expect("200", "TYPE I")

    async def reply(self) -> str:
        """The next reply, whole."""
        line = await self.stream.read_line()
        lines = [line.decode().rstrip("\r\n")]
        if line[3:4] == b"-":
            end = line[:3] + b" "
            while True:
                line = await self.stream.read_line()
                lines.append(line.decode().rstrip("\r\n"))
                if line.startswith(end):
                    break
        return "\n".join(lines)

    async def ask(self, line: str) -> str:
        """Say a line; the reply."""
        await self.stream.send_all(line.encode() + b"\r\n")
        return await self.reply()

    async def expect(self, code: str, line: str) -> str:
        """Say a line whose reply is of that code."""
        found = await self.ask(line)
        assert found.startswith(code), f"{line}: {found}"
        return found

    async def port(self) -> int:
        """Where the server listens for data."""
        found = re.search(r"\|\|\|([0-9]+)\|", await self.expect("229", "EPSV"))
        assert found is not None
        return int(found[1])

    async def data(self) -> Stream:
        """A data connection."""
        return await open_stream(f"tcp://{self.host}:{await self.port()}")

    async def fetch(self, line: str) -> bytes:
        """What a transfer gives."""
        data = await self.data()
        await self.expect("150", line)
        octets = await read_all(data)
        await data.aclose()
        end = await self.reply()
        assert end.startswith("226"), end
        return octets

    async def store(self, line: str, octets: bytes) -> str:
        """Send octets; the last reply."""
        data = await self.data()
        begun = await self.ask(line)
        if not begun.startswith("150"):
            return begun
        try:
            await data.send_all(octets)
            await data.aclose()
        except ConnectionLost:
            pass  # the reply says why
        return await self.reply()

    async def over(self) -> bool:
        """Whether the server has closed, having said no more."""
        return await self.stream.receive_some() == b""


async def read_all(stream: Stream) -> bytes:
    """All octets up to the end."""
    pieces: list[bytes] = []
    while piece := await stream.receive_some():
        pieces.append(piece)
    return b"".join(pieces)


def converse(
    clock: Clock,
    network: MemoryNetwork,
    made: FTPServerFactory,
    main: Callable[[], Awaitable[None]],
    url: str = f"tcp://{HOST}:21",
    **options: Any,
) -> None:
    """Run a client against a server in memory; all connections have gone in the end."""
    host = network.host(HOST)

    async def talk(_: object) -> None:
        server = await host.run(serve, url, made, **options)
        try:
            await main()
        finally:
            await server.close(0)

    clock.run(talk)
