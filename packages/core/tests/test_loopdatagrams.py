"""`loop.create_datagram_endpoint` on the reactor's loop: all that asyncio documents of it."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.reactor.eventloop import new_event_loop
from sennit.core.reactor.loopdatagrams import LoopUDPTransport, LoopUnixDatagramTransport
from sennit.core.testing.loopback import refusing_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main())


class Recorder(asyncio.DatagramProtocol):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.came: asyncio.Queue[Any] = asyncio.Queue()
        self.errors: asyncio.Queue[Exception] = asyncio.Queue()
        self.events: list[str] = []
        self.ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("made")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.came.put_nowait((data, addr))

    def error_received(self, exc: Exception) -> None:
        self.errors.put_nowait(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("lost")
        self.ended.set_result(exc)


async def endpoint(*args: Any, **options: Any) -> tuple[Any, Recorder]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(Recorder, *args, **options)
    assert protocol.events == ["made"]
    return transport, protocol


def test_datagrams_go_both_ways() -> None:
    async def main() -> None:
        for host in ("127.0.0.1", "::1"):
            ours, server = await endpoint((host, 0))
            theirs, client = await endpoint(remote_addr=ours.get_extra_info("sockname")[:2])
            assert type(ours) is LoopUDPTransport
            assert isinstance(ours, asyncio.DatagramTransport)
            theirs.sendto(b"hello")
            data, addr = await server.came.get()
            assert (data, addr) == (b"hello", theirs.get_extra_info("sockname"))
            ours.sendto(b"back", addr)
            assert await client.came.get() == (b"back", ours.get_extra_info("sockname"))
            theirs.sendto(b"", ours.get_extra_info("sockname"))
            assert (await server.came.get())[0] == b""
            with pytest.raises(ValueError, match="Invalid address"):
                theirs.sendto(b"x", (host, 9))
            with pytest.raises(TypeError):
                theirs.sendto("text")
            for transport, protocol in ((ours, server), (theirs, client)):
                transport.close()
                assert transport.is_closing()
                assert await protocol.ended is None

    run(main)


def test_names_are_looked_up_and_families_chosen() -> None:
    async def main() -> None:
        ours, _ = await endpoint(("localhost", 0), family=socket.AF_INET)
        assert ours.get_extra_info("sockname")[0] == "127.0.0.1"
        theirs, client = await endpoint(
            local_addr=("127.0.0.1", 0),
            remote_addr=("localhost", ours.get_extra_info("sockname")[1]),
            family=socket.AF_INET,
        )
        assert theirs.get_extra_info("peername") == ours.get_extra_info("sockname")
        assert theirs.get_extra_info("socket").family == socket.AF_INET
        # What asyncio's users may do, the kernel's caller looks the name up.
        ours.sendto(b"x", ("localhost", theirs.get_extra_info("sockname")[1]))
        assert (await client.came.get())[0] == b"x"
        ours.close()
        theirs.close()
        plain, _ = await endpoint(family=socket.AF_INET)
        assert plain.get_extra_info("peername") is None
        plain.abort()
        with pytest.raises(ValueError, match="unexpected address family"):
            await endpoint()

    run(main)


def test_ports_are_shared_and_broadcasting_allowed_if_asked_for() -> None:
    async def main() -> None:
        first, _ = await endpoint(("127.0.0.1", 0), reuse_port=True, allow_broadcast=True)
        second, _ = await endpoint(first.get_extra_info("sockname"), reuse_port=True)
        ask = first.get_extra_info("socket").getsockopt
        assert ask(socket.SOL_SOCKET, socket.SO_BROADCAST)
        with pytest.raises(OSError, match="in use"):
            await endpoint(first.get_extra_info("sockname"))
        # With `allow_broadcast` asyncio does not connect the socket: the peer is remembered.
        third, received = await endpoint(("127.0.0.1", 0))
        fourth, _ = await endpoint(
            remote_addr=third.get_extra_info("sockname"), allow_broadcast=True
        )
        fourth.sendto(b"x")
        assert (await received.came.get())[0] == b"x"
        with pytest.raises(ValueError, match="Invalid address"):
            fourth.sendto(b"x", ("127.0.0.1", 9))
        for each in (first, second, third, fourth):
            each.close()

    run(main)


def test_a_socket_of_ones_own_may_be_given(tmp_path: Path) -> None:
    async def main() -> None:
        first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours, _ = await endpoint(sock=first)
        theirs, client = await endpoint(sock=second)
        assert type(ours) is LoopUnixDatagramTransport
        ours.sendto(b"x")
        assert (await client.came.get())[0] == b"x"
        ours.close()
        theirs.close()
        path = str(tmp_path / "x")
        named, server = await endpoint(path, family=socket.AF_UNIX)
        to, _ = await endpoint(None, path, family=socket.AF_UNIX)
        to.sendto(b"y")
        assert (await server.came.get())[0] == b"y"
        named.close()
        to.close()
        stream = socket.socket()
        with pytest.raises(ValueError, match=r"datagram|UDP"):
            await endpoint(sock=stream)
        stream.close()

    run(main)


def test_errors_come_as_the_systems_own() -> None:
    async def main() -> None:
        with refusing_socket("udp") as nobody:
            ours, protocol = await endpoint(remote_addr=nobody.getsockname())
            ours.sendto(b"x")
            assert isinstance(await protocol.errors.get(), ConnectionRefusedError)
        ours.sendto(bytes(70_000))
        error = await protocol.errors.get()
        assert isinstance(error, OSError)
        assert error.errno == errno.EMSGSIZE
        assert not ours.is_closing()
        ours.close()

    run(main)


def test_an_abort_is_no_error_and_both_names_outlive_it() -> None:
    async def main() -> None:
        ours, protocol = await endpoint(("127.0.0.1", 0))
        name = ours.get_extra_info("sockname")
        ours.abort()
        ours.abort()
        assert await protocol.ended is None
        assert ours.get_extra_info("sockname") == name
        assert ours.get_extra_info("nothing", 5) == 5
        ours.sendto(b"ignored", ("127.0.0.1", 9))

    run(main)


def test_failures_of_the_protocol_go_to_the_loops_handler() -> None:
    """HARDENING fault-10: the transport lives on, as asyncio's does."""

    class Fragile(Recorder):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            if data == b"bad":
                raise LookupError("a bug")
            super().datagram_received(data, addr)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        told: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: told.append(context))
        ours, protocol = await loop.create_datagram_endpoint(Fragile, ("127.0.0.1", 0))
        for data in (b"bad", b"good"):
            ours.sendto(data, ours.get_extra_info("sockname"))
        assert (await protocol.came.get())[0] == b"good"
        (context,) = told
        assert isinstance(context["exception"], LookupError)
        assert context["transport"] is ours
        ours.close()

    run(main)


def test_flow_control_has_asyncios_marks() -> None:
    async def main() -> None:
        ours, _ = await endpoint(("127.0.0.1", 0))
        assert ours.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
        ours.set_write_buffer_limits(high=100, low=10)
        assert ours.get_write_buffer_limits() == (10, 100)
        assert ours.get_write_buffer_size() == 0
        ours.close()

    run(main)


def test_a_cancelled_wait_gives_the_socket_back() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(endpoint(("127.0.0.1", 0)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        reactor: Any = loop
        assert len(reactor._reactor.handlers) == 1  # the wake-up

    run(main)
