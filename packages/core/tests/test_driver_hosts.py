"""One EngineProtocol on every host: the reactor, asyncio's own transports, uvloop."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from packages.core.tests.sketches.mailbox import (
    Append,
    Command,
    Idle,
    MailboxEngine,
)
from packages.core.tests.sketches.mailbox import (
    Event as MailEvent,
)
from sennit.core.driver import EngineProtocol, handles
from sennit.core.engine import CLOSED, NEED_DATA, SOLE, FilePart, NoEvent, Untimed
from sennit.core.reactor.base import Reactor, run

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class Ask:
    __slots__ = ("exchange", "text")

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.exchange = SOLE


class FileEngine(Untimed):
    """Each line asks for the file; ``end`` ends."""

    def __init__(self) -> None:
        self._in = b""
        self.out: list[Any] = []
        self._over = False

    def receive_data(self, data: bytes) -> None:
        self._in += data

    def receive_eof(self) -> None:
        self._over = True

    close = receive_eof

    def next_event(self) -> Ask | NoEvent:
        line, found, rest = self._in.partition(b"\n")
        if not found:
            return CLOSED if self._over else NEED_DATA
        self._in = rest
        return Ask(line)

    def data_to_send(self) -> list[Any]:
        out, self.out = self.out, []
        return out

    def release(self) -> bytes:
        return self._in

    def internal_error(self, exchange: int) -> None:
        self.out.append(b"ERROR")


class FileServer(EngineProtocol[FileEngine, Ask]):
    def __init__(self, path: Path) -> None:
        super().__init__(FileEngine())
        self.path = path

    @handles(Ask)
    def ask(self, event: Ask) -> None:
        size = self.path.stat().st_size
        part = FilePart(self.path.open("rb"), 0, size, close_file=True)
        self.engine.out += [b"<" + event.text, part, b">"]


class StreamServer(EngineProtocol[FileEngine, Ask]):
    """Makes much, as fast as it is taken."""

    def __init__(self) -> None:
        super().__init__(FileEngine())
        self.highest = 0

    @handles(Ask)
    async def ask(self, event: Ask) -> None:
        for _ in range(200):
            self.engine.out.append(b"x" * 20_000)
            await self.writable()
            self.highest = max(self.highest, self.transport.get_write_buffer_size())


class Mailbox(EngineProtocol[MailboxEngine, MailEvent]):
    def __init__(self) -> None:
        super().__init__(MailboxEngine())
        self.eager: list[bool] = []

    @handles(Command)
    async def command(self, event: Command) -> None:
        self.eager.append(bool(self._turning))
        assert asyncio.current_task() is not None
        async with asyncio.timeout(5):
            if event.name == b"SLOW":
                await asyncio.sleep(0.01)
        if event.name == b"LOGOUT":
            self.engine.bye()
        else:
            self.engine.answer(b"OK")

    @handles(Append)
    async def append(self, event: Append) -> None:
        self.engine.want_literal()
        data = await self.body(event).read(1000)
        self.engine.answer(b"OK %d" % len(data))

    @handles(Idle)
    async def idle(self, event: Idle) -> None:
        await self.inbox(event).get()
        self.engine.answer(b"OK")


def on_reactor(
    factory: Callable[[], Any], client: Callable[[int], Coroutine[Any, Any, None]]
) -> None:
    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_tcp(factory, 0, "127.0.0.1")
        try:
            await asyncio.wait_for(client(listener.port), 20)
        finally:
            listener.close()

    run(main)


def on_asyncio(
    factory: Callable[[], Any], client: Callable[[int], Coroutine[Any, Any, None]]
) -> None:
    asyncio.run(_serve_plainly(factory, client))


def on_uvloop(
    factory: Callable[[], Any], client: Callable[[int], Coroutine[Any, Any, None]]
) -> None:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_plainly(factory, client))


async def _serve_plainly(
    factory: Callable[[], Any], client: Callable[[int], Coroutine[Any, Any, None]]
) -> None:
    protocols: list[Any] = []

    def make() -> Any:
        protocols.append(factory())
        return protocols[-1]

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    try:
        await asyncio.wait_for(client(port), 20)
        for protocol in protocols:
            await asyncio.wait_for(protocol.finished(), 20)
    finally:
        server.close()
        await server.wait_closed()


hosts = pytest.mark.parametrize("host", [on_reactor, on_asyncio, on_uvloop])


@hosts
def test_coroutine_handlers_answer_pipelined_commands(host: Any) -> None:
    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"a NOOP\r\nb SLOW\r\nc APPEND {5}\r\n")
        assert await reader.readuntil(b"+ go ahead\r\n") == b"a OK\r\nb OK\r\n+ go ahead\r\n"
        writer.write(b"hello\r\nd IDLE\r\n")
        await reader.readuntil(b"+ idling\r\n")
        writer.write(b"DONE\r\ne LOGOUT\r\n")
        assert await reader.read() == b"d OK\r\n* BYE\r\ne OK\r\n"
        writer.close()
        await writer.wait_closed()

    host(Mailbox, client)


@hosts
def test_files_leave_in_order_with_what_is_around_them(host: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    content = bytes(range(256)) * 4096 * 2
    path.write_bytes(content)

    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"a\nb\n")
        writer.write_eof()
        assert await reader.read() == b"<a" + content + b">" + b"<b" + content + b">"
        writer.close()
        await writer.wait_closed()

    host(lambda: FileServer(path), client)


@hosts
def test_a_producer_is_held_back_by_a_slow_reader(host: Any) -> None:
    """HARDENING core-7."""
    servers: list[StreamServer] = []

    def make() -> StreamServer:
        servers.append(StreamServer())
        return servers[0]

    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1000)
        writer.write(b"a\n")
        size = 0
        while size < 200 * 20_000:
            size += len(await reader.read(50_000))
        writer.close()
        await writer.wait_closed()

    host(make, client)
    assert servers[0].highest <= 64 * 1024 + 20_000


class Refusing(EngineProtocol[MailboxEngine, MailEvent]):
    linger = 5.0

    def __init__(self) -> None:
        super().__init__(MailboxEngine())

    @handles(Command, Append, Idle)
    def any(self, event: Command | Append | Idle) -> None:
        self.engine.bye()


@hosts
def test_a_peer_that_goes_on_sending_gets_the_last_answer(host: Any) -> None:
    """RFC 9112 §9.6: octets that nobody reads would reset the connection."""

    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"!bad\r\n")
        for _ in range(100):
            writer.write(b"x" * 50_000)
            await writer.drain()
        assert await reader.read() == b"* BAD\r\n* BYE\r\n"
        writer.close()
        await writer.wait_closed()

    host(Refusing, client)


def test_handlers_begin_within_data_received_on_the_reactor() -> None:
    protocols: list[Mailbox] = []

    def make() -> Mailbox:
        protocols.append(Mailbox())
        return protocols[0]

    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"a NOOP\r\n")
        await reader.readuntil(b"\r\n")
        writer.write(b"b SLOW\r\n")
        await reader.readuntil(b"\r\n")
        writer.close()
        await writer.wait_closed()

    on_reactor(make, client)
    assert protocols[0].eager == [True, True]
