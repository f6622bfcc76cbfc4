"""A reactor inside a toolkit's loop, against a toolkit of a few lines; Cocoa's against a stand-in.

The real toolkits are in ``interop/test_windows.py``.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from sennit.core import Deferred, current_reactor, open_stream, serve, stream_handler
from sennit.core.errors import ReactorError
from sennit.core.reactor.base import Reactor, run
from sennit.core.reactor.windows import WindowHost
from sennit.core.stream import Stream


class Toolkit:
    """A loop such as those of toolkits: level-triggered descriptors, timers, nested runs."""

    def __init__(self) -> None:
        self.fds: dict[int, Callable[[], object]] = {}
        self.soon: deque[Callable[[], object]] = deque()
        self.timers: list[tuple[float, int, Timer]] = []
        self.quitting = False
        self.wakes = 0
        self.count = 0

    def exec(self) -> None:
        self.quitting = False
        while not self.quitting:
            self.step()

    def step(self) -> None:
        """One round, which waits for 10 ms at most."""
        wait = 0.0 if self.soon else 0.01
        for fd in select.select(list(self.fds), [], [], wait)[0]:
            if fd in self.fds:
                self.wakes += 1
                self.fds[fd]()
        while self.timers and self.timers[0][0] <= time.monotonic():
            timer = heapq.heappop(self.timers)[2]
            if timer.fn is not None:
                timer.fn()
        for _ in range(len(self.soon)):
            self.soon.popleft()()

    def after(self, delay: float, fn: Callable[[], object]) -> Timer:
        self.count += 1
        timer = Timer(fn)
        heapq.heappush(self.timers, (time.monotonic() + delay, self.count, timer))
        return timer


class Timer:
    """A call that a toolkit will make."""

    def __init__(self, fn: Callable[[], object]) -> None:
        self.fn: Callable[[], object] | None = fn

    def cancel(self) -> None:
        self.fn = None


class ToolkitHost(WindowHost):
    """That toolkit, with a reactor in it."""

    def __init__(self, toolkit: Toolkit | None = None, poller: str | None = None) -> None:
        self.toolkit = toolkit or Toolkit()
        super().__init__(poller)

    def watch(self, fd: int) -> None:
        self.toolkit.fds[fd] = self.turn

    def unwatch(self, fd: int) -> None:
        del self.toolkit.fds[fd]

    def call_soon(self, fn: Callable[[], object]) -> None:
        self.toolkit.soon.append(fn)

    def call_later(self, delay: float, fn: Callable[[], object]) -> Timer:
        return self.toolkit.after(delay, fn)

    def run_loop(self) -> None:
        self.toolkit.exec()

    def quit_loop(self) -> None:
        self.toolkit.quitting = True


async def shout(stream: Stream) -> None:
    await stream.send_all((await stream.read_line()).upper())


async def ask(url: str, text: bytes) -> bytes:
    stream = await open_stream(url)
    await stream.send_all(text + b"\r\n")
    answer = bytes(await stream.receive_some())
    stream.close()
    return answer


def test_coroutines_servers_and_threads_work_in_a_toolkits_loop() -> None:
    async def main(reactor: Reactor) -> list[object]:
        assert current_reactor() is reactor
        assert asyncio.get_running_loop() is reactor.event_loop
        async with serve("tcp://127.0.0.1:0", stream_handler(shout)) as server:
            found: list[object] = [await ask(server.urls[0], b"hello")]
        found.append(await asyncio.to_thread(lambda: 7))
        found.append(await reactor.defer_to_thread(lambda: 8))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        return found

    assert ToolkitHost().run(main) == [b"HELLO", 7, 8]


def test_between_turns_the_thread_is_the_toolkits() -> None:
    toolkit = Toolkit()
    seen: list[object] = []

    async def main(reactor: Reactor) -> None:
        await asyncio.sleep(0)
        done = asyncio.get_running_loop().create_future()

        def button() -> None:
            # A handler of the toolkit: no loop runs, but the reactor is known.
            seen.append(asyncio._get_running_loop())
            assert current_reactor() is reactor
            reactor.call_soon(done.set_result, None)

        toolkit.soon.append(button)
        await done

    ToolkitHost(toolkit).run(main)
    assert seen == [None]


def test_a_coroutine_begun_by_a_handler_of_the_toolkit_runs() -> None:
    toolkit = Toolkit()

    async def main(reactor: Reactor) -> int:
        answer: Deferred[int] = Deferred()

        async def work() -> int:
            await asyncio.sleep(0.001)
            return 42

        def button() -> None:
            Deferred.from_coroutine(work()).add_callback(answer.callback)

        toolkit.soon.append(button)
        return await answer

    assert ToolkitHost(toolkit).run(main) == 42


def test_when_the_user_quits_main_is_cancelled_and_servers_drain() -> None:
    toolkit = Toolkit()
    order: list[str] = []

    async def main(reactor: Reactor) -> None:
        reactor.at_shutdown(order.append, "hook")
        try:
            async with serve("tcp://127.0.0.1:0", stream_handler(shout)):
                toolkit.after(0.001, lambda: setattr(toolkit, "quitting", True))
                await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.001)  # the loop has ended; the reactor goes on by itself
            order.append("cancelled")
            raise

    assert ToolkitHost(toolkit).run(main) is None
    assert order == ["cancelled", "hook"]
    assert toolkit.fds == {}


def test_stopping_the_reactor_ends_the_toolkits_loop() -> None:
    def main(reactor: Reactor) -> None:
        reactor.call_later(0.001, reactor.stop)

    assert ToolkitHost().run(main) is None


def test_a_program_that_runs_the_toolkit_itself_enters_the_host() -> None:
    toolkit = Toolkit()
    answers: list[bytes] = []
    with ToolkitHost(toolkit) as reactor:
        server = serve("tcp://127.0.0.1:0", stream_handler(shout), reactor=reactor)

        def served(_: object) -> None:
            asked = Deferred.from_coroutine(ask(server.urls[0], b"hi"))
            asked.add_callback(answers.append)
            asked.add_finally(lambda: setattr(toolkit, "quitting", True))

        server.start().add_callback(served)
        toolkit.exec()

    assert answers == [b"HI"]
    assert not reactor.running
    with pytest.raises(ReactorError):
        current_reactor()


def test_turns_never_nest_and_a_dialog_inside_one_does_not_spin() -> None:
    """A modal loop inside a callback of the reactor: its descriptor would call for ever."""
    toolkit = Toolkit()
    host = ToolkitHost(toolkit)
    seen: list[int] = []

    async def main(reactor: Reactor) -> bytes:
        async with serve("tcp://127.0.0.1:0", stream_handler(shout)) as server:
            asking = asyncio.ensure_future(ask(server.urls[0], b"late"))
            await asyncio.sleep(0)
            before = toolkit.wakes
            for _ in range(20):  # a dialog, as far as the loop below can tell
                toolkit.step()
            seen.append(toolkit.wakes - before)
            return await asking

    assert host.run(main) == b"LATE"
    assert seen[0] <= 1


def test_a_dialog_in_a_handler_of_the_toolkit_does_not_hold_the_reactor_up() -> None:
    toolkit = Toolkit()

    async def main(reactor: Reactor) -> bytes:
        async with serve("tcp://127.0.0.1:0", stream_handler(shout)) as server:
            answer: Deferred[bytes] = Deferred()

            def dialog() -> None:
                Deferred.from_coroutine(ask(server.urls[0], b"meanwhile")).add_callback(
                    answer.callback
                )
                while not answer.called:
                    toolkit.step()

            toolkit.soon.append(dialog)
            return await answer

    assert ToolkitHost(toolkit).run(main) == b"MEANWHILE"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_exit_inside_a_turn_leaves_the_toolkits_loop(kind: type[BaseException]) -> None:
    ended: list[str] = []

    def main(reactor: Reactor) -> None:
        reactor.at_shutdown(ended.append, "hook")

        def leave() -> None:
            raise kind

        reactor.call_later(0.001, leave)

    with pytest.raises(kind):
        ToolkitHost().run(main)
    assert ended == ["hook"]


def test_a_signal_ends_it_in_good_order() -> None:
    async def main(reactor: Reactor) -> None:
        reactor.call_later(0.001, os.kill, os.getpid(), signal.SIGINT)
        await asyncio.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        ToolkitHost().run(main)


def test_an_error_of_main_is_raised() -> None:
    async def main(reactor: Reactor) -> None:
        await asyncio.sleep(0)
        raise LookupError("main")

    with pytest.raises(LookupError, match="main"):
        ToolkitHost().run(main)


def test_a_thread_that_runs_a_loop_is_refused() -> None:
    async def inside() -> None:
        with pytest.raises(ReactorError, match="asyncio loop"):
            ToolkitHost()

    asyncio.run(inside())

    async def main(reactor: Reactor) -> None:
        with pytest.raises(ReactorError, match=r"loop|another reactor"):
            ToolkitHost()

    run(main)


def test_a_second_host_in_the_thread_is_refused() -> None:
    with ToolkitHost(), pytest.raises(ReactorError, match="another reactor"):
        ToolkitHost()


# ── Cocoa ─────────────────────────────────────────────────────────────────────


class CoreFoundation(ModuleType):
    """As much of Core Foundation as its documentation says, over the toolkit above."""

    kCFRunLoopCommonModes = "common"  # noqa: N815 - its names
    kCFFileDescriptorReadCallBack = 1  # noqa: N815 - likewise

    def __init__(self, toolkit: Toolkit) -> None:
        super().__init__("CoreFoundation")
        self.toolkit = toolkit
        self.sources: list[object] = []

    def CFAbsoluteTimeGetCurrent(self) -> float:
        return time.time()

    def CFRunLoopGetCurrent(self) -> str:
        return "loop"

    def CFRunLoopTimerCreate(self, *arguments: Any) -> Any:
        _, when, interval, _, _, callout, info = arguments
        assert interval == 0
        return [when, callout, info, None]

    def CFRunLoopAddTimer(self, loop: str, timer: Any, mode: str) -> None:
        assert (loop, mode) == ("loop", "common")
        when, callout, info, _ = timer
        timer[3] = self.toolkit.after(when - time.time(), lambda: callout(timer, info))

    def CFRunLoopTimerInvalidate(self, timer: Any) -> None:
        timer[3].cancel()

    def CFFileDescriptorCreate(self, *arguments: Any) -> Any:
        _, fd, close, callout, info = arguments
        assert close is False
        return {"fd": fd, "callout": callout, "info": info}

    def CFFileDescriptorEnableCallBacks(self, descriptor: Any, types: int) -> None:
        assert types == 1

        def ready() -> None:
            # "Each callback type is disabled after it is made."
            del self.toolkit.fds[descriptor["fd"]]
            descriptor["callout"](descriptor, types, descriptor["info"])

        self.toolkit.fds[descriptor["fd"]] = ready

    def CFFileDescriptorInvalidate(self, descriptor: Any) -> None:
        self.toolkit.fds.pop(descriptor["fd"], None)

    def CFFileDescriptorCreateRunLoopSource(self, *arguments: Any) -> object:
        return object()

    def CFRunLoopAddSource(self, loop: str, source: object, mode: str) -> None:
        self.sources.append(source)

    def CFRunLoopRemoveSource(self, loop: str, source: object, mode: str) -> None:
        self.sources.remove(source)


def test_cocoas_host_does_as_its_documentation_says(monkeypatch: pytest.MonkeyPatch) -> None:
    toolkit = Toolkit()
    foundation = CoreFoundation(toolkit)
    helper = ModuleType("AppHelper")
    helper.runEventLoop = lambda installInterrupt: toolkit.exec()  # type: ignore[attr-defined]  # noqa: N803
    helper.stopEventLoop = lambda: setattr(toolkit, "quitting", True)  # type: ignore[attr-defined]  # a module takes any
    tools = ModuleType("PyObjCTools")
    tools.AppHelper = helper  # type: ignore[attr-defined]  # a module takes any
    monkeypatch.setitem(sys.modules, "CoreFoundation", foundation)
    monkeypatch.setitem(sys.modules, "PyObjCTools", tools)
    monkeypatch.delitem(sys.modules, "sennit.core.reactor.cocoa", raising=False)
    from sennit.core.reactor import cocoa

    async def main(reactor: Reactor) -> bytes:
        async with serve("tcp://127.0.0.1:0", stream_handler(shout)) as server:
            await asyncio.sleep(0.001)
            return await ask(server.urls[0], b"cocoa")

    assert cocoa.run(main) == b"COCOA"
    assert foundation.sources == []
    assert toolkit.fds == {}
    monkeypatch.delitem(sys.modules, "sennit.core.reactor.cocoa")
