"""CCC: the control connection goes back to clear text, data connections stay protected."""

from __future__ import annotations

import asyncio
import ftplib
import io
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from packages.ftp.tests.talking import FILES, HOST, factory, kept
from sennit.core import ClientTLS, ServerTLS, serve
from sennit.core.errors import ConnectionLost
from sennit.core.reactor.base import current_reactor
from sennit.core.stream import stream_handler
from sennit.ftp.client import FTPClient
from sennit.ftp.errors import FTPPermanentError, FTPUsageError
from sennit.ftp.limits import ClientLimits, Limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sennit.core.stream import Stream
    from sennit.core.testing.clock import Clock
    from sennit.core.testing.network import MemoryNetwork
    from sennit.ftp.server import FTPServerFactory

CA = trustme.CA(key_type=trustme.KeyType.ECDSA)
MADE = CA.issue_cert(HOST, "localhost", key_type=trustme.KeyType.ECDSA)
PAIR = MADE.private_key_and_cert_chain_pem.bytes()


def clearing(**options: Any) -> FTPServerFactory:
    """A server that allows CCC. (`Any`: the factory's options.)"""
    options.setdefault("tls", ServerTLS(PAIR))
    return factory(tls_mode="required", clear_control=True, **options)


def against(
    clock: Clock,
    network: MemoryNetwork,
    made: Any,
    main: Callable[[FTPClient], Awaitable[None]],
    *,
    implicit: bool = False,
    **options: Any,
) -> None:
    """Run a client over TLS against a server in memory. (`Any`: a factory, the client's.)"""
    port = 990 if implicit else 21

    async def run(_: object) -> None:
        tls = ServerTLS(PAIR) if implicit else None
        scheme = "tls" if implicit else "tcp"
        server = await network.host(HOST).run(serve, f"{scheme}://{HOST}:{port}", made, tls=tls)
        try:
            async with FTPClient.connect(
                f"ftp://u:p@{HOST}:{port}/",
                tls="implicit" if implicit else "explicit",
                client_tls=ClientTLS(trust=CA.cert_pem.bytes()),
                **options,
            ) as ftp:
                await main(ftp)
        finally:
            await server.close(0)

    clock.run(run)


async def everything_works(ftp: FTPClient) -> None:
    """Files and listings pass."""
    there = io.BytesIO()
    await ftp.get("large", there)
    assert there.getvalue() == FILES["large"]
    await ftp.put(io.BytesIO(b"x" * 300_000), "new")
    assert (await ftp.stat("new")).size == 300_000
    assert "large" in [each.name for each in await ftp.ls()]


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("active", [False, True])
def test_commands_pass_in_clear_and_data_over_tls(
    clock: Clock, memory_network: MemoryNetwork, implicit: bool, active: bool
) -> None:
    """RFC 4217 §12.3; data connections still resume the session that there was."""
    made = clearing()
    protocols = kept(made)

    async def main(ftp: FTPClient) -> None:
        await everything_works(ftp)
        assert ftp.secure
        assert "CCC" in ftp.features
        await ftp.clear_control()
        assert not ftp.secure
        assert protocols[0].transport.get_extra_info("sennit.tls") is None
        assert protocols[0].engine.private
        await everything_works(ftp)
        with pytest.raises(FTPPermanentError) as caught:
            await ftp.command("PROT", "C")
        assert caught.value.code == 503
        with pytest.raises(FTPUsageError, match="no TLS"):
            await ftp.clear_control()
        async with ftp.another() as other:
            assert not other.secure
            await everything_works(other)

    against(clock, memory_network, made, main, implicit=implicit, active=active)


def test_a_server_that_refuses_leaves_all_protected(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    async def main(ftp: FTPClient) -> None:
        with pytest.raises(FTPPermanentError) as caught:
            await ftp.clear_control()
        assert caught.value.code == 534
        assert ftp.secure
        await everything_works(ftp)

    against(clock, memory_network, factory(tls_mode="required", tls=ServerTLS(PAIR)), main)


def test_there_is_nothing_to_take_off_in_clear(clock: Clock, memory_network: MemoryNetwork) -> None:
    async def main(_: object) -> None:
        async with (
            await memory_network.host(HOST).run(serve, f"tcp://{HOST}:21", factory()),
            FTPClient.connect(f"ftp://u:p@{HOST}/") as ftp,
        ):
            with pytest.raises(FTPUsageError, match="no TLS"):
                await ftp.clear_control()

    clock.run(main)


def test_a_server_that_says_yes_and_does_not_end_tls_is_given_up(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """What it says next could be in clear or not."""

    async def handle(stream: Stream) -> None:
        await stream.send_all(b"220 hello\r\n")
        while line := await stream.read_line():
            word = line.split()[0]
            code = {b"AUTH": b"234", b"USER": b"331", b"PASS": b"230", b"FEAT": b"500"}
            await stream.send_all(code.get(word, b"200") + b" so\r\n")
            if word == b"AUTH":
                await stream.start_tls(ServerTLS(PAIR), server_side=True)
            if word == b"CCC":
                await asyncio.sleep(100)  # virtual

    async def main(ftp: FTPClient) -> None:
        before = clock.time()
        with pytest.raises(ConnectionLost) as caught:
            await ftp.clear_control()
        assert caught.value.reason == "timeout"
        assert clock.time() - before == pytest.approx(3.0)
        assert ftp.closed

    limits = ClientLimits(settle=3.0)
    against(clock, memory_network, stream_handler(handle), main, limits=limits)


# ── on the kernel's sockets ───────────────────────────────────────────────────


def trusting() -> ssl.SSLContext:
    """What a client of the standard library believes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    CA.configure_trust(context)
    return context


async def visited(made: FTPServerFactory, visit: Callable[[int], None]) -> None:
    """Serve while somebody visits in a thread."""
    async with serve("tcp://127.0.0.1:0", made) as server:
        await current_reactor().defer_to_thread(visit, server.port)


class Hand:
    """A client by hand, over TLS and logged in."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.hear(b"220")
        self.ask(b"AUTH TLS", b"234")
        self.tls = trusting().wrap_socket(self.sock, server_hostname="localhost")
        self.sock = self.tls
        for line, code in [(b"USER u", b"331"), (b"PASS p", b"230"), (b"PWD", b"257")]:
            self.ask(line, code)

    def hear(self, code: bytes) -> None:
        """The next reply."""
        said = self.sock.recv(4096)
        assert said.startswith(code), said
        assert said.endswith(b"\r\n")

    def ask(self, line: bytes, code: bytes) -> None:
        """Say a line, hear the reply."""
        self.sock.sendall(line + b"\r\n")
        self.hear(code)


async def test_ftplib_takes_tls_off_and_goes_on() -> None:
    """It ends TLS by itself, and reads in clear only once the other end has as well."""
    made = clearing(must_resume=False)
    protocols = kept(made)

    def visit(port: int) -> None:
        with ftplib.FTP_TLS(context=trusting(), timeout=10) as client:
            client.connect("localhost", port)
            client.login("u", "p")
            client.prot_p()
            client.ccc()
            assert not protocols[0].engine.secure
            got: list[bytes] = []
            client.retrbinary("RETR motd", got.append)
            assert b"".join(got) == FILES["motd"]
            client.storbinary("STOR new", io.BytesIO(b"octets"))
            assert client.size("new") == 6

    await visited(made, visit)


async def test_commands_in_the_record_of_ccc_are_never_done() -> None:
    """HARDENING ftp-7."""
    made = clearing()
    protocols = kept(made)

    def visit(port: int) -> None:
        hand = Hand(port)
        with hand.sock:
            hand.ask(b"CCC\r\nDELE motd", b"421")
            assert hand.sock.recv(100) == b""

    await visited(made, visit)
    assert protocols[0].engine.secure


async def test_commands_under_tls_behind_ccc_end_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """HARDENING ftp-7: the reply would be in clear."""
    caplog.set_level("INFO", "sennit.ftp")
    made = clearing()

    def visit(port: int) -> None:
        hand = Hand(port)
        with hand.sock:
            hand.ask(b"CCC", b"200")
            hand.sock.sendall(b"PWD\r\n")
            raw = socket.socket(fileno=hand.tls.detach())
            with raw:
                raw.settimeout(10)
                heard = b""
                with pytest.raises(ConnectionResetError):
                    while octets := raw.recv(4096):
                        heard += octets
                assert b"257" not in heard

    await visited(made, visit)
    assert "TLS was not ended: TLS goes on after its end was asked for" in caplog.messages


async def test_who_does_not_end_tls_and_goes_on_in_clear_is_understood() -> None:
    """As curl does unless it is told otherwise, and how others treat it is why it can be told."""

    def visit(port: int) -> None:
        hand = Hand(port)
        hand.ask(b"CCC", b"200")
        with socket.socket(fileno=hand.tls.detach()) as raw:
            raw.settimeout(10)
            raw.sendall(b"PWD\r\nNOOP\r\n")
            heard = b""
            while heard.count(b"\r\n") < 2:
                octets = raw.recv(4096)
                assert octets
                heard += octets
            assert b"257 " in heard  # behind the server's close_notify

    await visited(clearing(), visit)


@pytest.mark.parametrize("how", ["silent", "closed"])
async def test_who_says_nothing_behind_ccc_is_let_go(how: str) -> None:
    """No more patience than for silence at any other time."""
    made = clearing(limits=Limits(idle=0.3))
    protocols = kept(made)

    def visit(port: int) -> None:
        hand = Hand(port)
        hand.ask(b"CCC", b"200")
        with socket.socket(fileno=hand.tls.detach()) as raw:
            raw.settimeout(10)
            if how == "closed":
                raw.shutdown(socket.SHUT_WR)
            with pytest.raises(ConnectionResetError) if how == "silent" else io.BytesIO():
                while raw.recv(4096):
                    pass

    await visited(made, visit)
    assert protocols[0].gone


async def test_tls_can_be_had_again_and_everything_begins_anew_then() -> None:
    """RFC 2228 §3: AUTH resets what was agreed on."""

    def visit(port: int) -> None:
        hand = Hand(port)
        hand.ask(b"CCC", b"200")
        hand.sock = hand.tls.unwrap()
        hand.ask(b"PWD", b"257")
        hand.ask(b"AUTH TLS", b"234")
        with trusting().wrap_socket(hand.sock, server_hostname="localhost") as again:
            hand.sock = again
            hand.ask(b"PWD", b"530")
            hand.ask(b"USER u", b"331")
            hand.ask(b"PASS p", b"230")

    await visited(clearing(), visit)
