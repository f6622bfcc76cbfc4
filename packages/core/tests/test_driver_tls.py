"""Engines over TLS, server and client, on every host: from the first octet, and by STARTTLS."""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from sennit.core.client_driver import ClientEngineProtocol
from sennit.core.driver import EngineProtocol, handles
from sennit.core.endpoint.connect import connect
from sennit.core.endpoint.listen import serve
from sennit.core.engine import CLOSED, NEED_DATA, SOLE, Ends, FilePart, NoEvent, Untimed
from sennit.core.errors import ConnectionLost, ProtocolError, TLSError
from sennit.core.reactor.base import Reactor, run
from sennit.core.transport.tls import ClientTLS, ServerTLS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

CA = trustme.CA(key_type=trustme.KeyType.ECDSA)
STRANGE = trustme.CA(key_type=trustme.KeyType.ECDSA)
LEAF = CA.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
CHAIN = b"".join(each.bytes() for each in LEAF.cert_chain_pems)
SERVER = ServerTLS(CHAIN, LEAF.private_key_pem.bytes())
CLIENT = ClientTLS(trust=CA.cert_pem.bytes())
STRANGER = ClientTLS(trust=STRANGE.cert_pem.bytes())


def of_asyncio(server_side: bool, trust: trustme.CA = CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    if server_side:
        LEAF.configure_cert(context)
    else:
        trust.configure_trust(context)
    return context


@dataclass(slots=True)
class Line(Ends):
    """A line; to a client, a reply."""

    text: bytes
    exchange: int = SOLE


@dataclass(slots=True)
class Asked:
    """A line that asks for something."""

    text: bytes
    exchange: int = SOLE


class _Lines(Untimed):
    """Lines in and out."""

    def __init__(self) -> None:
        self._in = b""
        self.out: list[Any] = []
        self._over = False

    def receive_data(self, data: bytes) -> None:
        self._in += data

    def receive_eof(self) -> None:
        self._over = True

    close = receive_eof

    def next_line(self) -> bytes | NoEvent:
        line, found, rest = self._in.partition(b"\n")
        if not found:
            return CLOSED if self._over else NEED_DATA
        self._in = rest
        return line

    def data_to_send(self) -> list[Any]:
        out, self.out = self.out, []
        return out

    def release(self) -> bytes:
        rest, self._in = self._in, b""
        return rest


class AskedEngine(_Lines):
    def next_event(self) -> Asked | NoEvent:
        line = self.next_line()
        return line if isinstance(line, NoEvent) else Asked(line)

    def say(self, text: bytes) -> None:
        self.out.append(text + b"\n")

    def internal_error(self, exchange: int) -> None:
        self.say(b"ERROR")


class AskingEngine(_Lines):
    def next_event(self) -> Line | NoEvent:
        line = self.next_line()
        return line if isinstance(line, NoEvent) else Line(line)

    def can_send(self, command: bytes) -> bool:
        return True

    def send_command(self, command: bytes) -> int:
        self.out.append(command + b"\n")
        return SOLE

    def cancel(self, exchange: int) -> bool:
        return False


class Host:
    """Where both ends run, and what it takes for TLS."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.native = name in {"reactor", "inside asyncio"}
        self.server_tls: Any = SERVER if self.native else of_asyncio(True)
        self.client_tls: Any = CLIENT if self.native else of_asyncio(False)
        self.strange_tls: Any = STRANGER if self.native else of_asyncio(False, STRANGE)

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def limited() -> None:
            async with asyncio.timeout(20):
                await main()

        if self.name == "reactor":

            async def with_reactor(reactor: Reactor) -> None:
                await limited()

            run(with_reactor)
        elif self.name == "uvloop":
            uvloop = pytest.importorskip("uvloop")
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(limited())
        else:
            asyncio.run(limited())

    async def serve(self, factory: Callable[[], Any], *, tls: bool) -> tuple[Any, int]:
        if self.native:
            url = f"{'tls' if tls else 'tcp'}://127.0.0.1:0"
            ours = await serve(url, factory, tls=self.server_tls if tls else None)
            return ours, ours.port
        theirs = await asyncio.get_running_loop().create_server(
            factory, "127.0.0.1", 0, ssl=self.server_tls if tls else None
        )
        return theirs, theirs.sockets[0].getsockname()[1]

    async def connect(self, factory: Callable[[], Any], port: int, *, tls: bool) -> Any:
        if self.native:
            return await connect(
                f"{'tls' if tls else 'tcp'}://127.0.0.1:{port}",
                factory,
                tls=self.client_tls if tls else None,
                server_hostname="localhost" if tls else None,
            )
        _, protocol = await asyncio.get_running_loop().create_connection(
            factory,
            "127.0.0.1",
            port,
            ssl=self.client_tls if tls else None,
            server_hostname="localhost" if tls else None,
        )
        return protocol

    async def close(self, server: Any) -> None:
        if self.native:
            await server.close()
        else:
            server.close()
            await server.wait_closed()


@pytest.fixture(params=["reactor", "inside asyncio", "asyncio", "uvloop"])
def host(request: pytest.FixtureRequest) -> Host:
    return Host(request.param)


class Serving(EngineProtocol[AskedEngine, Asked]):
    def __init__(self, host: Host, file: Path | None = None) -> None:
        super().__init__(AskedEngine())
        self._host = host
        self._file = file
        self.failed: list[BaseException] = []

    @handles(Asked)
    async def ask(self, event: Asked) -> None:
        if event.text == b"STARTTLS":
            self.engine.say(b"GO")
            try:
                await self.start_tls(self._host.server_tls, AskedEngine())
            except BaseException as error:
                self.failed.append(error)
                raise
            return
        if event.text == b"FILE" and self._file is not None:
            size = self._file.stat().st_size
            self.engine.out.append(FilePart(self._file.open("rb"), 0, size, close_file=True))
        await asyncio.sleep(0)
        self.engine.say(event.text.upper())


class Asking(ClientEngineProtocol[AskingEngine, bytes, Line, Line]):
    def __init__(self) -> None:
        super().__init__(AskingEngine())


def check(host: Host, factory: Callable[[], Any], tls: bool, body: Any) -> None:
    async def main() -> None:
        server, port = await host.serve(factory, tls=tls)
        client = None
        try:
            client = await host.connect(Asking, port, tls=tls)
            await body(client)
        finally:
            if client is not None:
                client.close()
                await client.finished()
            await host.close(server)

    host.run(main)


def test_requests_are_answered_in_order_over_tls(host: Host) -> None:
    async def body(client: Asking) -> None:
        replies = [client.request(b"r%d" % number) for number in range(50)]
        for number, reply in enumerate(replies):
            assert (await reply).text == b"R%d" % number

    check(host, lambda: Serving(host), True, body)


def test_a_file_leaves_over_tls_in_order(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "file"
    content = b"x" * 1_500_000 + bytes(range(11, 256))
    path.write_bytes(content)

    async def body(client: Asking) -> None:
        # The file has no line end: what is said after it stands in the same line.
        before, file, after = map(client.request, (b"before", b"FILE", b"after"))
        assert (await before).text == b"BEFORE"
        assert (await file).text == content + b"FILE"
        assert (await after).text == b"AFTER"

    check(host, lambda: Serving(host, path), True, body)


def test_tls_is_started_in_between_and_fresh_engines_go_on(host: Host) -> None:
    servers: list[Serving] = []

    def make() -> Serving:
        servers.append(Serving(host))
        return servers[0]

    async def body(client: Asking) -> None:
        assert (await client.request(b"clear")).text == b"CLEAR"
        assert (await client.request(b"STARTTLS")).text == b"GO"
        old = client.engine
        await client.start_tls(host.client_tls, AskingEngine(), server_hostname="localhost")
        assert client.engine is not old
        replies = [client.request(b"s%d" % number) for number in range(20)]
        for number, reply in enumerate(replies):
            assert (await reply).text == b"S%d" % number
        assert not servers[0].failed
        # Behind TLS, too, a peer that goes is told of.
        client.transport.abort()
        with pytest.raises(ConnectionLost):
            await client.request(b"more")

    check(host, make, False, body)


def test_octets_in_clear_behind_starttls_end_the_connection(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """RFC 3207 §4.2, CVE-2011-0411: what came in clear is not taken for what comes under TLS."""
    servers: list[Serving] = []

    def make() -> Serving:
        servers.append(Serving(host))
        return servers[0]

    async def body(client: Asking) -> None:
        first = client.request(b"STARTTLS\ninjected")  # in one segment
        first.add_errback(lambda _: None)  # the reset may be faster than the answer
        await client.finished()
        assert [type(each) for each in servers[0].failed] == [ProtocolError]

    with caplog.at_level(logging.INFO, "sennit"):
        check(host, make, False, body)
    # The peer's fault, not ours: one line, no traceback.
    assert [each.levelname for each in caplog.records if each.name != "asyncio"] == ["INFO"]


def test_a_handshake_that_fails_ends_the_connection_and_says_why(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    servers: list[Serving] = []

    def make() -> Serving:
        servers.append(Serving(host))
        return servers[0]

    async def body(client: Asking) -> None:
        assert (await client.request(b"STARTTLS")).text == b"GO"
        with pytest.raises(TLSError, match="certificate"):
            await client.start_tls(host.strange_tls, AskingEngine(), server_hostname="localhost")
        with pytest.raises(ConnectionLost):
            await client.request(b"secret")
        await servers[0].finished()
        assert [type(each) for each in servers[0].failed] == [TLSError]

    with caplog.at_level(logging.INFO, "sennit"):
        check(host, make, False, body)
    assert [each.levelname for each in caplog.records if each.name != "asyncio"] == ["INFO"]


def test_a_reply_in_clear_behind_the_agreement_ends_the_connection(host: Host) -> None:
    """The same from the other side: a client must not take it for the first one under TLS."""

    class Forged(Serving):
        @handles(Asked)
        async def ask(self, event: Asked) -> None:
            self.engine.say(b"GO\nwelcome, whoever you are")

    async def body(client: Asking) -> None:
        assert (await client.request(b"STARTTLS")).text == b"GO"
        with pytest.raises(ProtocolError):
            await client.start_tls(host.client_tls, AskingEngine(), server_hostname="localhost")

    check(host, lambda: Forged(host), False, body)


def test_a_handshake_that_stands_still_is_given_up(host: Host) -> None:
    """HARDENING core-1: one limit for the whole handshake."""

    async def body(client: Asking) -> None:
        # This server answers, and then knows nothing of TLS.
        assert (await client.request(b"no tls")).text == b"NO TLS"
        with pytest.raises(TLSError):
            await client.start_tls(
                host.client_tls,
                AskingEngine(),
                server_hostname="localhost",
                handshake_timeout=0.1,
            )

    class Deaf(Serving):
        @handles(Asked)
        async def ask(self, event: Asked) -> None:
            if event.text.isascii():
                self.engine.say(event.text.upper())

    check(host, lambda: Deaf(host), False, body)
