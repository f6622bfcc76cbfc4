"""JSON-RPC over connections of messages: both sides call, limits, the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from sennit.core.errors import ConnectionLost, UsageError
from sennit.core.testing.clock import Clock
from sennit.web.rpc.errors import TOO_BUSY, RPCError
from sennit.web.rpc.exposing import Methods
from sennit.web.rpc.jsonrpc_peer import JSONRPCPeer
from sennit.web.rpc.limits import RPCLimits


@pytest.fixture
def clock() -> Iterator[Clock]:
    with Clock() as found:
        yield found


class Side:
    """One end of a connection of messages in memory."""

    def __init__(self) -> None:
        self.other: Side = self
        self.came: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self.room = asyncio.Event()
        self.room.set()

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        while (message := await self.came.get()) is not None:
            yield message

    async def send(self, message: str) -> None:
        await self.room.wait()
        self.other.came.put_nowait(message)

    def end(self) -> None:
        self.other.came.put_nowait(None)

    async def next(self) -> str:
        message = await self.came.get()
        assert isinstance(message, str)
        return message


def pair() -> tuple[Side, Side]:
    one, other = Side(), Side()
    one.other, other.other = other, one
    return one, other


def test_either_side_calls_the_other_and_back(clock: Clock) -> None:
    ours, theirs = Methods(), Methods()

    @theirs.method
    async def greet(peer: JSONRPCPeer) -> str:
        return "Hello " + await peer.call_as(str, "name")

    @ours.method
    def name() -> str:
        return "you"

    async def main(_: Clock) -> None:
        here, there = pair()
        async with JSONRPCPeer(there, theirs) as server, JSONRPCPeer(here, ours) as client:
            assert await client.call("greet") == "Hello you"
            assert await server.call("name") == "you"
            await client.notify("greet")
            with pytest.raises(RPCError, match="no such method"):
                await client.call("name")

    clock.run(main)


def test_batches_and_nonsense_are_answered(clock: Clock) -> None:
    methods = Methods()
    methods.method(name="one")(lambda: 1)
    exchanges: list[tuple[str | bytes, str]] = [
        ('{"jsonrpc":"2.0","method":"one","id":1}', '{"jsonrpc":"2.0","id":1,"result":1}'),
        (b'{"jsonrpc":"2.0","method":"one","id":1}', '{"jsonrpc":"2.0","id":1,"result":1}'),
        (
            '[{"jsonrpc":"2.0","method":"one","id":1},{"jsonrpc":"2.0","method":"one"}]',
            '[{"jsonrpc":"2.0","id":1,"result":1}]',
        ),
        ("{", "-32700"),
        ("[]", "-32600"),
        ("[1,1,1,1]", "-32600"),
        ("5", "-32600"),
        (" " * 1001, "-32600"),
        # Answers that nobody awaits get none; the one behind them does.
        ('{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no"}}', ""),
        ('{"jsonrpc":"2.0","id":9,"result":1}', ""),
        ('{"jsonrpc":"2.0","method":"one"}', ""),
        ('{"jsonrpc":"2.0","method":"one","id":2}', '{"jsonrpc":"2.0","id":2,"result":1}'),
    ]

    async def main(_: Clock) -> None:
        here, there = pair()
        async with JSONRPCPeer(there, methods, limits=RPCLimits(message=1000, batch=3)):
            for message, answer in exchanges:
                there.came.put_nowait(message)
                if answer:
                    assert answer in await here.next()

    clock.run(main)


def test_more_calls_at_once_than_may_be_are_refused_and_answers_still_read(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    methods = Methods()

    @methods.method
    async def ask_back(peer: JSONRPCPeer) -> int:
        return await peer.call_as(int, "one")

    async def main(_: Clock) -> None:
        here, there = pair()
        async with JSONRPCPeer(there, methods, limits=RPCLimits(in_flight=2)):
            for identity in (1, 2, 3):
                message = f'{{"jsonrpc":"2.0","method":"ask_back","id":{identity}}}'
                there.came.put_nowait(message)
                there.came.put_nowait('{"jsonrpc":"2.0","method":"ask_back"}')
            there.came.put_nowait('[{"jsonrpc":"2.0","method":"ask_back","id":4},5]')
            found = [await here.next() for _ in range(5)]
            assert sum('"method":"one"' in each for each in found) == 2
            refused = [each for each in found if "method" not in each]
            assert [str(TOO_BUSY) in each for each in refused] == [True, True, True]
            assert sum('"id":4' in each and "-32600" in each for each in refused) == 1
            # What the first two wait for gets through.
            there.came.put_nowait('{"jsonrpc":"2.0","id":1,"result":7}')
            assert await here.next() == '{"jsonrpc":"2.0","id":1,"result":7}'

    clock.run(main)
    assert sum("dropped" in each.message for each in caplog.records) == 1


def test_a_side_that_does_not_read_is_not_read_either(clock: Clock) -> None:
    async def main(_: Clock) -> None:
        _here, there = pair()
        there.room.clear()
        for _n in range(1000):
            there.came.put_nowait("{")
        async with JSONRPCPeer(there, limits=RPCLimits(in_flight=4)):
            await asyncio.sleep(1)
            assert there.came.qsize() > 980

    clock.run(main)


def test_the_end_fails_what_is_awaited_and_cancels_what_is_at_work(clock: Clock) -> None:
    methods = Methods()
    ended: list[str] = []

    @methods.method
    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("work")

    async def main(_: Clock) -> None:
        here, there = pair()
        server = JSONRPCPeer(there, methods)
        async with JSONRPCPeer(here) as client, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(server.run())
            call = tasks.create_task(_lost(client))
            await asyncio.sleep(1)
            here.end()
            await running
            assert ended == ["work"]
            there.end()
            assert await call
            with pytest.raises(ConnectionLost):
                await client.call("work")
            with pytest.raises(UsageError):
                await client.run()

    async def _lost(client: JSONRPCPeer) -> bool:
        with pytest.raises(ConnectionLost):
            await client.call("work")
        return True

    clock.run(main)


def test_a_call_that_is_given_up_is_forgotten(clock: Clock) -> None:
    async def main(_: Clock) -> None:
        here, _there = pair()
        async with JSONRPCPeer(here) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await client.call("work")
            here.came.put_nowait('{"jsonrpc":"2.0","id":1,"result":7}')
            await asyncio.sleep(1)
            awaited: Any = client._awaited
            assert awaited == {}

    clock.run(main)


def test_what_breaks_the_connection_is_raised_where_it_runs(clock: Clock) -> None:
    class Broken(Side):
        async def __aiter__(self) -> AsyncIterator[str | bytes]:
            yield "{"
            raise ValueError("broken")

    async def main(_: Clock) -> None:
        with pytest.raises(ValueError, match="broken"):
            async with JSONRPCPeer(Broken()):
                await asyncio.sleep(1)

    clock.run(main)
