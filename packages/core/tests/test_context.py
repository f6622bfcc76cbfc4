"""Contexts: what was set up runs in the context it was set up in, and in no other.

The shape of most tests: something is set up where no variable is set, then fired from
a request that has one. It must see none.
"""

from __future__ import annotations

import asyncio
import socket
import time
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.deferred import Deferred
from sennit.core.protocol import Protocol
from sennit.core.reactor.base import Reactor, current_reactor, run
from sennit.core.reactor.eventloop import new_event_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Main = Callable[[], Coroutine[Any, Any, None]]
    Drive = Callable[[Main], None]

request_id: ContextVar[str] = ContextVar("request_id", default="none")


def native(main: Main) -> None:
    async def call(reactor: Reactor) -> None:
        await main()

    run(call)


def runner(main: Main) -> None:
    with asyncio.Runner(loop_factory=new_event_loop) as each:
        each.run(main())


def embedded(main: Main) -> None:
    asyncio.run(main())


def in_uvloop(main: Main) -> None:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as each:
        each.run(main())


@pytest.fixture(params=[native, runner, embedded, in_uvloop])
def drive(request: pytest.FixtureRequest) -> Drive:
    way: Drive = request.param
    return way


class Note:
    """Writes down, for each call of it, which request it saw."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, *_: object) -> None:
        self.seen.append(request_id.get())


async def request(*steps: Callable[[], object]) -> None:
    """A Task with a variable, which does these things, one a turn."""
    request_id.set("request")
    for step in steps:
        step()
        await asyncio.sleep(0)


async def quiet(turns: int = 5) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


def test_calls_and_timers_run_in_the_context_of_asking(drive: Drive) -> None:
    async def main() -> None:
        reactor = current_reactor()
        note = Note()
        reactor.call_later(0.001, note)
        reactor.call_soon(note)

        async def asking() -> None:
            request_id.set("request")
            reactor.call_soon(note)
            reactor.call_later(0.001, note)
            reactor.call_from_thread(note)
            reactor.call_soon(note, context=Context())
            request_id.set("later")

        await asyncio.ensure_future(asking())
        while len(note.seen) < 6:
            await asyncio.sleep(0.001)
        assert sorted(note.seen) == ["none"] * 3 + ["request"] * 3
        assert request_id.get() == "none"

    drive(main)


def test_a_turn_poked_from_inside_a_request_leaks_nothing_of_it(drive: Drive) -> None:
    """The turn runs what others have set up: it must not be the request's turn."""

    async def main() -> None:
        reactor = current_reactor()
        note = Note()
        here, there = socket.socketpair()
        here.setblocking(False)

        def readable() -> None:
            note(here.recv(10))

        reactor.add_reader(here.fileno(), readable)
        reactor.call_later(0.0005, note)
        waiting: Deferred[None] = Deferred()
        waiting.add_callback(note)
        reactor.call_later(0.001, waiting.callback, None)
        flushed = Note()
        await asyncio.ensure_future(
            request(
                lambda: reactor.call_soon(int),
                lambda: there.send(b"x"),
                lambda: time.sleep(0.002),
                lambda: reactor.flush_later(flushed),
                lambda: reactor.call_soon(int),
                lambda: reactor.call_later(0, int),
            )
        )
        while len(note.seen) < 3 or not flushed.seen:
            await asyncio.sleep(0)
        reactor.remove_reader(here.fileno())
        here.close()
        there.close()
        assert note.seen == ["none"] * 3
        assert flushed.seen == ["none"]

    drive(main)


def test_callbacks_of_a_deferred_see_what_they_were_added_with(drive: Drive) -> None:
    async def main() -> None:
        note = Note()
        deferred: Deferred[None] = Deferred()
        deferred.add_callback(note)

        async def adding() -> None:
            request_id.set("adder")
            deferred.add_callback(note)

        await asyncio.ensure_future(adding())
        deferred.add_callback(note)
        await asyncio.ensure_future(request(lambda: deferred.callback(None)))
        assert note.seen == ["none", "adder", "none"]

    drive(main)


def test_a_coroutine_goes_on_in_its_own_context_whoever_fires_it(drive: Drive) -> None:
    async def main() -> None:
        seen: list[str] = []
        gate: Deferred[None] = Deferred()

        async def waiter(name: str | None) -> None:
            if name is not None:
                request_id.set(name)
            await gate
            seen.append(request_id.get())

        waiters = [asyncio.ensure_future(waiter(name)) for name in (None, "a", "b")]
        await quiet()
        await asyncio.ensure_future(request(lambda: gate.callback(None)))
        await asyncio.gather(*waiters)
        assert sorted(seen) == ["a", "b", "none"]

    drive(main)


def test_a_thread_sees_the_variables_of_who_asked_and_its_callback_of_who_added_it(
    drive: Drive,
) -> None:
    async def main() -> None:
        reactor = current_reactor()
        note = Note()

        holder: list[Deferred[str]] = []

        async def ask() -> None:
            request_id.set("request")
            holder.append(reactor.defer_to_thread(request_id.get))

        await asyncio.ensure_future(ask())
        asked = holder[0]
        asked.add_finally(note)
        assert await asked == "request"
        assert note.seen == ["none"]

    drive(main)


class Noting(Protocol):
    def __init__(self, seen: list[tuple[str, str]]) -> None:
        self.seen = seen

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.seen.append(("made", request_id.get()))

    def data_received(self, data: bytes) -> None:
        self.seen.append(("data", request_id.get()))
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.seen.append(("lost", request_id.get()))


@pytest.mark.parametrize("named", [False, True])
def test_a_connections_callbacks_run_in_the_context_its_listener_was_made_in(
    drive: Drive, named: bool
) -> None:
    async def main() -> None:
        seen: list[tuple[str, str]] = []
        listening: list[Any] = []

        async def listen() -> None:
            if named:
                request_id.set("server")
            listening.append(
                await current_reactor().listen_tcp(lambda: Noting(seen), 0, "127.0.0.1")
            )

        async def talk() -> None:
            request_id.set("client")
            reader, writer = await asyncio.open_connection("127.0.0.1", listening[0].port)
            writer.write(b"x")
            await reader.readexactly(1)
            writer.close()
            await writer.wait_closed()

        await asyncio.ensure_future(listen())
        await asyncio.ensure_future(talk())
        while len(seen) < 3:
            await asyncio.sleep(0)
        expected = "server" if named else "none"
        assert seen == [("made", expected), ("data", expected), ("lost", expected)]

    drive(main)


def test_what_one_connection_sets_another_does_not_see(drive: Drive) -> None:
    seen: list[tuple[str, str]] = []

    class Setting(Noting):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            request_id.set("set by the one before")

    async def main() -> None:
        async def listen() -> Any:
            request_id.set("server")
            return await current_reactor().listen_tcp(lambda: Setting(seen), 0, "127.0.0.1")

        listener = await asyncio.ensure_future(listen())
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            writer.write(b"x")
            await reader.readexactly(1)
            writer.close()
            await writer.wait_closed()
        assert [where for what, where in seen if what == "data"] == ["server"] * 2

    drive(main)


def test_a_variable_set_plainly_in_the_loop_is_gone_with_its_turn() -> None:
    seen: list[str] = []

    def main(reactor: Reactor) -> None:
        reactor.call_soon(request_id.set, "leak")
        reactor.call_later(0.001, lambda: seen.append(request_id.get()))
        reactor.call_later(0.001, reactor.stop)

    run(main)

    assert seen == ["none"]


def test_shutdown_hooks_and_readers_remember_theirs() -> None:
    note = Note()

    def main(reactor: Reactor) -> None:
        reactor.at_shutdown(note)
        named = copy_context()
        named.run(request_id.set, "hook")
        named.run(reactor.at_shutdown, note)
        named.run(reactor.stop)

    run(main)

    assert note.seen == ["hook", "none"]


@pytest.mark.bench
def test_the_cost_of_setting_up_is_small() -> None:
    """DESIGN: 50 ns per set-up allowed. Printed, since a machine under load tells little."""
    reactor = Reactor()

    def per_call(fn: Callable[[], object], times: int = 100_000) -> float:
        best = float("inf")
        for _ in range(5):
            began = time.process_time()
            for _ in range(times):
                fn()
            best = min(best, time.process_time() - began)
        return best / times * 1e9

    empty = per_call(lambda: None)
    capture = per_call(lambda: copy_context() or None) - empty

    def ask() -> None:
        reactor.call_soon(int)
        reactor._ready.clear()

    soon = per_call(ask) - empty
    full = copy_context()
    full.run(request_id.set, "request")
    captured = full.run(per_call, lambda: copy_context() or None) - empty
    reactor.close()
    print(f"\ncapture {capture:.0f} ns empty, {captured:.0f} ns set; call_soon {soon:.0f} ns")
    assert capture < 500
