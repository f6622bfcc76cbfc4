"""The pytest plugin, as those see it who use it."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import hypothesis
import pytest

# What the inner runs import must be there before: pytester forgets modules that an inner run
# loads, and asyncio does not bear being loaded twice.
from sennit.core import stream
from sennit.core.testing import _session, clock, loopback, memory

if TYPE_CHECKING:
    from _pytest.pytester import RunResult

pytest_plugins = ("pytester",)

LOADED = (hypothesis, stream, _session, clock, loopback, memory)
PLUGIN = "sennit.core.testing.pytest_plugin"


class Run:
    """Runs a test module with the plugin loaded."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester

    def __call__(
        self, source: str, *options: str, ini: str = "", subprocess: bool = False
    ) -> RunResult:
        self._pytester.makepyfile(source)
        self._pytester.makeini(f"[pytest]\nfilterwarnings = error\n{ini}")
        # An installed distribution brings the plugin along, a source tree does not.
        installed = any(each.value == PLUGIN for each in entry_points(group="pytest11"))
        load = () if installed else ("-p", PLUGIN)
        arguments = (*load, "-p", "no:cacheprovider", *options)
        if subprocess:
            return self._pytester.runpytest_subprocess(*arguments, timeout=60)
        return self._pytester.runpytest_inprocess(*arguments)


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    return Run(pytester)


def test_asynchronous_tests_and_fixtures_run_on_one_reactor_per_test(run: Run) -> None:
    result = run(
        """
        import asyncio
        import pytest
        from sennit.core.reactor.base import Reactor, current_reactor

        seen = []

        @pytest.fixture
        async def value():
            await asyncio.sleep(0)
            seen.append(current_reactor())
            return 5

        @pytest.fixture
        async def resource(value):
            await asyncio.sleep(0)
            seen.append(current_reactor())
            yield value + 1
            await asyncio.sleep(0)
            seen.append(current_reactor())

        async def test_one(resource, reactor):
            assert resource == 6
            assert isinstance(reactor, Reactor)
            assert current_reactor() is reactor
            seen.append(reactor)
            await asyncio.sleep(0)

        class TestClass:
            number = 0

            @pytest.fixture
            async def method(self):
                self.number = 7
                return self.number

            async def test_two(self, method):
                assert method == self.number == 7
                assert len(seen) == 4
                assert len(set(map(id, seen))) == 1
                assert current_reactor() is not seen[0]

        def test_plain(value):
            assert value == 5
        """
    )

    result.assert_outcomes(passed=3)


def test_a_failing_test_fails_and_what_it_left_behind_is_not_mentioned(run: Run) -> None:
    result = run(
        """
        import asyncio
        async def test_it(reactor):
            reactor.call_later(100, print)
            await asyncio.sleep(0)
            assert 1 == 2
        """
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*assert 1 == 2*"])
    result.stdout.no_fnmatch_line("*left behind*")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("reactor.call_later(100, print)", "*timer:*print*"),
        ("test_it.task = asyncio.ensure_future(asyncio.Event().wait())", "*Task *Event.wait*"),
        ("keep.append(socket.socket())", "*descriptor *: socket:*"),
        ("await reactor.listen_tcp(Protocol, 0, '127.0.0.1')", "*open: *Acceptor*"),
        ("loopback_pair(Protocol(), Protocol())", "*open: <SocketTransport*"),
        (
            "threading.Thread(target=gate.wait, name='stuck', daemon=True).start()",
            "*thread stuck*",
        ),
        ("fail(LookupError('lost'))", "*Nobody handled the error of a Deferred*lost*"),
        ("reactor.lost = Lost(reactor)", "*Nobody handled the error of a Deferred*lost*"),
        (
            "await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(int, 'x'))])",
            "*Task exception was never retrieved*invalid literal*",
        ),
    ],
)
def test_what_a_test_leaves_behind_fails_it(run: Run, body: str, message: str) -> None:
    source = f"""
        import asyncio, socket, threading
        import pytest
        from sennit.core.deferred import fail
        from sennit.core.protocol import Protocol

        keep = []
        gate = threading.Event()

        class Lost:
            # A ring, which the fixture's value holds.
            def __init__(self, reactor):
                self.ring = self, reactor, fail(LookupError("lost"))

        def teardown_module():
            gate.set()
            for each in keep:
                each.close()

        async def test_it(reactor, loopback_pair):
            {body}

        @pytest.mark.sennit(leaks=True)
        async def test_that_may(reactor, loopback_pair):
            {body}

        async def test_after():
            pass
        """
    result = run(source, "-W", "ignore::ResourceWarning")

    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*the test left behind:*", message])


def test_what_a_fixture_of_a_wider_scope_holds_is_no_leak_of_the_first_test(run: Run) -> None:
    done = run(
        """
        import socket
        import subprocess
        import threading
        import pytest

        @pytest.fixture(scope="module")
        def shared():
            ended = threading.Event()
            thread = threading.Thread(target=ended.wait)
            thread.start()
            with socket.socket() as sock, subprocess.Popen(["sleep", "30"]) as child:
                yield sock
                child.kill()
                ended.set()
                thread.join()

        async def test_first(shared):
            pass

        kept = []

        def teardown_module():
            kept[0].close()

        async def test_second_leaves_one_of_its_own(shared):
            kept.append(socket.socket())

        async def test_last(shared):
            pass
        """
    )
    done.assert_outcomes(passed=3, errors=1)
    done.stdout.fnmatch_lines(["*the test left behind:*", "*socket*"])


def test_what_ends_by_itself_right_after_the_test_is_no_leak(run: Run) -> None:
    result = run(
        """
        import asyncio
        from sennit.core.protocol import Protocol

        async def test_it(reactor, loopback_pair):
            pair = loopback_pair(Protocol(), Protocol())
            pair.first.close()
            await reactor.defer_to_thread(print)
        """
    )

    result.assert_outcomes(passed=1)


def test_a_test_that_takes_too_long_fails(run: Run) -> None:
    result = run(
        """
        import asyncio, pytest

        @pytest.mark.sennit(timeout=0.05)
        async def test_it():
            await asyncio.Event().wait()

        async def test_by_ini():
            await asyncio.Event().wait()
        """,
        ini="sennit_timeout = 0.1",
    )

    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*took more than 0.05 s*", "*took more than 0.1 s*"])


@pytest.mark.parametrize("poller", ["poll", "select"])
def test_the_poller_can_be_picked(run: Run, poller: str) -> None:
    result = run(
        f"""
        async def test_it(reactor):
            assert {poller!r} in type(reactor._poller).__name__.lower()

        def test_plain(reactor):
            assert {poller!r} in type(reactor._poller).__name__.lower()
        """,
        "--sennit-poller",
        poller,
    )

    result.assert_outcomes(passed=2)


def test_plain_tests_get_a_reactor_to_run(run: Run) -> None:
    result = run(
        """
        def test_it(reactor):
            async def main(reactor):
                return 5
            assert reactor.run(main) == 5
            assert reactor.run(main) == 5
        """
    )

    result.assert_outcomes(passed=1)


def test_the_virtual_clock_and_the_network_in_memory(run: Run) -> None:
    result = run(
        """
        from sennit.core.protocol import Protocol
        from sennit.core.stream import StreamProtocol, stream_handler

        async def shout(stream):
            async for line in stream.lines():
                await stream.send_all(line.upper() + b"\\n")

        def test_by_hand(clock, memory_network):
            assert memory_network.reactor is clock
            memory_network.listen("example:7", stream_handler(shout))
            client = clock.run_until(memory_network.connect("example:7", StreamProtocol))
            client.transport.write(b"hello\\n")
            clock.pump()
            assert client.take(100) == b"HELLO\\n"

        async def test_on_the_reactor(reactor, memory_network):
            assert memory_network.reactor is reactor
            memory_network.listen("example:7", stream_handler(shout))
            client = await memory_network.connect("example:7", StreamProtocol)
            await client.stream.send_all(b"hello\\n")
            assert await client.stream.read_line() == b"HELLO"

        def test_what_the_clock_was_told_fails(clock):
            clock.keep_errors = True
            clock.call_soon(lambda: 1 / 0)
            clock.pump()
            clock.keep_errors = False
        """
    )

    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*ZeroDivisionError*"])


@pytest.mark.parametrize("kind", ["tcp", "tcp6", "unix"])
def test_loopback_pairs(run: Run, kind: str) -> None:
    result = run(
        f"""
        import socket
        import pytest
        from sennit.core.stream import StreamProtocol

        async def test_it(loopback_pair):
            first, second = StreamProtocol(), StreamProtocol()
            try:
                loopback_pair(first, second, {kind!r}, buffer=4096)
            except OSError:
                pytest.skip("not on this machine")
            await first.stream.send_all(b"hello\\n")
            assert await second.stream.read_line() == b"hello"
            await first.stream.aclose()
            await second.stream.aclose()
        """
    )

    outcomes = result.parseoutcomes()
    assert outcomes in ({"passed": 1}, {"skipped": 1})


def test_asynchronous_fixtures_of_a_wider_scope_are_refused(run: Run) -> None:
    result = run(
        """
        import pytest

        @pytest.fixture(scope="module")
        async def wide():
            return 1

        async def test_it(wide):
            pass
        """
    )

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*'wide' has the scope module*use the scope function*"])


def test_in_strict_mode_only_marked_tests_are_taken(run: Run) -> None:
    result = run(
        """
        import pytest
        from sennit.core.reactor.base import current_reactor

        @pytest.mark.sennit
        async def test_marked():
            current_reactor()

        async def test_other():
            current_reactor()
        """,
        ini="sennit_mode = strict",
    )

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*async def functions are not natively supported*"])


def test_an_unknown_mode_or_timeout_is_a_usage_error(run: Run) -> None:
    assert run("", ini="sennit_mode = sometimes").ret == pytest.ExitCode.USAGE_ERROR
    assert run("", ini="sennit_timeout = soon").ret == pytest.ExitCode.USAGE_ERROR


def test_tests_of_anyio_are_left_to_it(run: Run) -> None:
    pytest.importorskip("anyio")
    result = run(
        """
        import asyncio
        import pytest
        from sennit.core.reactor.eventloop import ReactorEventLoop

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.fixture
        async def theirs(anyio_backend):
            return asyncio.get_running_loop()

        @pytest.mark.anyio
        async def test_theirs(theirs):
            assert asyncio.get_running_loop() is theirs
            assert not isinstance(theirs, ReactorEventLoop)

        @pytest.fixture
        async def ours():
            return asyncio.get_running_loop()

        async def test_ours(ours):
            assert asyncio.get_running_loop() is ours
            assert isinstance(ours, ReactorEventLoop)
        """
    )

    result.assert_outcomes(passed=2)


def test_properties_may_be_coroutines(run: Run) -> None:
    result = run(
        """
        import asyncio
        from hypothesis import given, settings, strategies as st

        @settings(max_examples=5, database=None)
        @given(number=st.integers())
        async def test_it(number):
            await asyncio.sleep(0)
            assert isinstance(number, int)

        @settings(max_examples=20, database=None)
        @given(number=st.integers(0, 9))
        async def test_bad(number):
            await asyncio.sleep(0)
            assert number == 0
        """
    )

    result.assert_outcomes(passed=1, failed=1)


def test_a_plain_run_imports_nothing_of_sennit_but_the_plugin(run: Run) -> None:
    result = run(
        """
        import sys

        def test_it():
            loaded = {name for name in sys.modules if name.startswith("sennit.")}
            assert loaded <= {
                "sennit.core", "sennit.core._version", "sennit.core.lazy", "sennit.core.testing",
                "sennit.core.testing.pytest_plugin",
            }
        """,
        subprocess=True,
    )

    result.assert_outcomes(passed=1)


def test_a_fixture_of_the_same_name_is_somebody_elses(run: Run) -> None:
    result = run(
        """
        import socket
        import pytest

        @pytest.fixture
        def reactor():
            return "theirs"

        kept = []

        def teardown_module():
            kept[0].close()

        def test_it(reactor):
            assert reactor == "theirs"
            kept.append(socket.socket())
        """
    )

    result.assert_outcomes(passed=1)
