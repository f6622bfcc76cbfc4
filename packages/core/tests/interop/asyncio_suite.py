"""Run the interpreter's own ``test.test_asyncio`` on asyncio's, uvloop's and Sennit's loop.

    python asyncio_suite.py --loops asyncio uvloop sennit --json outcomes.json --modules test_ssl

The rule is the same for every loop, and none of them may pick its tests:

* Every test of every module of ``test.test_asyncio`` is run (those for Windows skip themselves).
* Before a module is imported, whatever makes a real loop makes one of the loop under test:
  ``asyncio.SelectorEventLoop`` (``asyncio.EventLoop``) with or without a selector, and asyncio's
  default policy, and with it ``asyncio.new_event_loop``, ``asyncio.run`` and ``asyncio.Runner``.
  asyncio itself, the control, is left as it is.
* ``test.test_asyncio``'s own way to close a loop looks at a private attribute that loops which are
  no ``BaseEventLoop`` do not have; for a loop under test the same is done in public methods.
* Tests that look into asyncio's own insides (a mocked selector, a private attribute) are not left
  out. They count as they fall.
* Each module runs in a process of its own (a long one in several, by test class). A test that has
  not ended in time is killed with its process, and counts as failed; those behind it are run in
  another process.
* What failed is run a second time in a fresh process, for machines that are slow or busy; the
  second outcome counts.

Results: per loop, test id (without ``test.test_asyncio.``) → outcome and, for failures, why.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import unittest
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

PACKAGE = "test.test_asyncio"
LOOPS = ("asyncio", "uvloop", "sennit")
PASSED, FAILED, SKIPPED, EXPECTED, LATE = "passed", "failed", "skipped", "expected", "late"
GOOD = frozenset({PASSED, EXPECTED})
"""Outcomes that count as passing (a failure that the test itself expects is one)."""
BAD = frozenset({FAILED, LATE})
"""Outcomes that count as failing."""
PATIENCE = 10.0
"""Seconds one test may take."""
RESTARTS = 8
"""Times that a module is taken up again behind a test that did not end."""
LONG = {
    "test_events": 4,
    "test_ssl": 2,
    "test_sock_lowlevel": 3,
    "test_subprocess": 3,
    "test_tasks": 4,
}
"""Modules that take long: begun first, their test classes shared out among so many processes."""


# ── in the process of one module ──────────────────────────────────────────────


def _sennit_loop() -> type:
    from sennit.core.reactor.base import Reactor
    from sennit.core.reactor.eventloop import ReactorEventLoop

    class SennitLoop(ReactorEventLoop):
        def __init__(self) -> None:
            reactor = Reactor()
            super().__init__(reactor, owns_reactor=True)
            reactor._event_loop = self

    return SennitLoop


def _uvloop_loop() -> type:
    import uvloop

    made: type = uvloop.Loop
    return made


def put_in_place(name: str) -> None:
    """Make asyncio make loops of this kind from now on."""
    under_test: tuple[type, ...] = ()
    if name != "asyncio":
        base: Any = {"sennit": _sennit_loop, "uvloop": _uvloop_loop}[name]()

        class LoopUnderTest(base):  # type: ignore[misc]  # one of two classes
            """In the place of `asyncio.SelectorEventLoop`."""

            def __new__(cls, selector: Any = None) -> Any:
                return base.__new__(cls)

            def __init__(self, selector: Any = None) -> None:
                base.__init__(self)
                if selector is not None:
                    # Its own poller is the loop's affair; this one would be left open.
                    selector.close()

        under_test = (LoopUnderTest,)
        patched: Any = asyncio
        default_policy: Any = (
            getattr(asyncio, "_DefaultEventLoopPolicy", None) or asyncio.DefaultEventLoopPolicy
        )

        class PolicyUnderTest(default_policy):  # type: ignore[misc]  # as above
            _loop_factory = LoopUnderTest

        for attribute in ("SelectorEventLoop", "EventLoop"):
            if hasattr(asyncio, attribute):
                setattr(patched, attribute, LoopUnderTest)
        for attribute in ("DefaultEventLoopPolicy", "_DefaultEventLoopPolicy"):
            if hasattr(asyncio, attribute):
                setattr(patched, attribute, PolicyUnderTest)

    utils: Any = importlib.import_module(f"{PACKAGE}.utils")
    as_ever: Any = utils.TestCase.close_loop

    def close_loop(loop: Any) -> None:
        ours: bool = issubclass(type(loop), under_test)
        if ours:
            if not loop.is_closed():
                loop.run_until_complete(loop.shutdown_default_executor())
            # What comes next looks whether the executor is gone, too.
            as_ever(_Closing(loop))
        else:
            as_ever(loop)

    utils.TestCase.close_loop = staticmethod(close_loop)


class _Closing:
    """A loop whose default executor is gone, where that cannot be looked up."""

    _default_executor = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.close = loop.close


class _Recorder(unittest.TestResult):
    """Writes each outcome as a line of JSON, so that a killed process loses one test alone."""

    def __init__(self, write: Callable[[list[Any]], None]) -> None:
        super().__init__()
        self._write = write
        self._outcome = PASSED
        self._why = ""

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._outcome, self._why = PASSED, ""
        self._write(["begin", short(test.id())])

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        self._write(["end", short(test.id()), self._outcome, self._why])

    def _failed(self, test: Any, error: Any) -> None:
        why = "".join(traceback.format_exception(*error))
        if isinstance(test, unittest.TestCase):
            self._outcome, self._why = FAILED, self._why + why
        else:
            # A module or class could not be set up or taken down.
            self._write(["end", short(test.id()), FAILED, why])

    def addError(self, test: Any, err: Any) -> None:
        self._failed(test, err)

    def addFailure(self, test: Any, err: Any) -> None:
        self._failed(test, err)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            self._failed(test, err)

    def addSkip(self, test: Any, reason: str) -> None:
        if isinstance(test, unittest.TestCase):
            self._outcome, self._why = SKIPPED, reason

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        self._outcome = EXPECTED

    def addUnexpectedSuccess(self, test: Any) -> None:
        self._outcome, self._why = FAILED, "passed, which the test does not expect"


def short(name: str) -> str:
    """A test's name without what is the same for all."""
    return name.removeprefix(PACKAGE + ".")


def _each(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _each(test)
        else:
            yield test


class Job(NamedTuple):
    """What one process does: the tests of a module that are its share."""

    loop: str
    module: str
    path: str
    share: int = 0
    shares: int = 1
    skip: Collection[str] = ()
    only: Collection[str] | None = None

    def takes(self, test: unittest.TestCase) -> bool:
        """Whether a test is to be run."""
        name = short(test.id())
        if self.only is not None and name not in self.only:
            return False
        mine = zlib.crc32(type(test).__qualname__.encode()) % self.shares == self.share
        return mine and name not in self.skip


def run_job(job: Job) -> None:
    """Run tests in this process, and write what becomes of them."""
    loop, module = job.loop, job.module
    put_in_place(loop)
    support: Any = importlib.import_module("test.support")
    support.use_resources = {"cpu": None, "walltime": None, "subprocess": None}
    with Path(job.path).open("a", encoding="utf-8", buffering=1) as lines:

        def write(entry: list[Any]) -> None:
            lines.write(json.dumps(entry) + "\n")

        try:
            found = unittest.defaultTestLoader.loadTestsFromName(f"{PACKAGE}.{module}")
        except unittest.SkipTest:
            # All of it is for another system.
            found = unittest.TestSuite()
        tests = unittest.TestSuite(test for test in _each(found) if job.takes(test))
        tests.run(_Recorder(write))
        write(["done", time.process_time() + sum(os.times()[2:4])])
        lines.flush()
    # What a failed test has left behind (a thread, a process) must not keep this one.
    os._exit(0)


# ── the runs ──────────────────────────────────────────────────────────────────


class ModuleRun:
    """One module on one loop, in as many processes as it takes.

    Attributes:
        outcomes: Test id → outcome and reason.
    """

    def __init__(self, job: Job, folder: Path):
        self.job = job
        self.outcomes: dict[str, tuple[str, str]] = {}
        self._folder = folder
        self._restarts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._running: str | None = None
        self._finished = False
        self.cpu = 0.0

    def start(self) -> None:
        """Begin, or go on behind what was done."""
        again = "" if self.job.only is None else "again-"
        tag = f"{self.job.loop}-{self.job.module}-{self.job.share}-{again}{self._restarts}"
        self._path = self._folder / f"{tag}.lines"
        self._path.touch()
        task = self._folder / f"{tag}.job"
        job = self.job._replace(path=str(self._path), skip=list(self.outcomes))
        task.write_text(json.dumps(job))
        work = self._folder / tag
        work.mkdir()
        with (self._folder / f"{tag}.log").open("wb") as log:
            self._process = subprocess.Popen(
                # Modules find the same things on every loop, whatever it is that starts them.
                [sys.executable, os.path.abspath(__file__), "--job", str(task)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=work,
                env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONASYNCIODEBUG": ""},
                start_new_session=True,
            )
        self._offset = 0
        self._since = time.monotonic()

    def poll(self) -> bool:
        """Look how it goes; whether it is over."""
        process = self._process
        assert process is not None
        ended = process.poll() is not None
        self._read()
        if not ended and time.monotonic() - self._since <= PATIENCE:
            return False
        self._kill(process)
        if self._finished:
            return True
        if self._running is not None:
            code = process.returncode
            why = f"its process ended ({code})" if ended else f"not done in {PATIENCE:.0f} s"
            self.outcomes[self._running] = (LATE, why)
            self._running = None
        else:
            self.outcomes[f"{self.job.module} ({self._restarts})"] = (LATE, "no test was running")
        self._restarts += 1
        if self._restarts > RESTARTS:
            return True
        self.start()
        return False

    def _read(self) -> None:
        with self._path.open("rb") as lines:
            lines.seek(self._offset)
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                self._since = time.monotonic()
                kind, *rest = json.loads(line)
                if kind == "begin":
                    self._running = rest[0]
                elif kind == "end":
                    name, outcome, why = rest
                    self.outcomes[name] = (outcome, why)
                    self._running = None
                else:
                    self._finished = True
                    self.cpu = float(rest[0])

    @staticmethod
    def _kill(process: subprocess.Popen[bytes]) -> None:
        """End the process and what it has started, which has its session."""
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()

    def give_up(self) -> None:
        """End it now."""
        if self._process is not None:
            self._kill(self._process)


def _run_all(runs: list[ModuleRun], jobs: int) -> None:
    waiting = list(runs)
    active: list[ModuleRun] = []
    try:
        while waiting or active:
            while waiting and len(active) < jobs:
                run = waiting.pop(0)
                active.append(run)
                run.start()
            active = [run for run in active if not run.poll()]
            time.sleep(0.02)
    finally:
        for run in active:
            run.give_up()


def modules() -> list[str]:
    """The modules of ``test.test_asyncio``, those that take long first.

    Raises:
        ImportError: This interpreter came without them.
    """
    package = importlib.import_module(PACKAGE)
    found = sorted(
        each.name for each in pkgutil.iter_modules(package.__path__) if each.name[:5] == "test_"
    )
    return sorted(found, key=lambda name: name not in LONG)


def run_suite(
    loops: Collection[str] = LOOPS, names: Collection[str] | None = None, jobs: int = 2
) -> dict[str, dict[str, tuple[str, str]]]:
    """Run the suite on each of these loops: loop → test id → outcome and reason."""
    names = modules() if names is None else names
    results: dict[str, dict[str, tuple[str, str]]] = {loop: {} for loop in loops}
    with tempfile.TemporaryDirectory(prefix="asyncio-suite-") as folder:
        runs = [
            ModuleRun(Job(loop, name, "", share, LONG.get(name, 1)), Path(folder))
            for name in names
            for loop in loops
            for share in range(LONG.get(name, 1))
        ]
        _run_all(runs, jobs)
        again: list[ModuleRun] = []
        for run in runs:
            results[run.job.loop].update(run.outcomes)
            failed = [name for name, (outcome, _) in run.outcomes.items() if outcome == FAILED]
            if failed:
                again.append(ModuleRun(run.job._replace(only=failed), Path(folder)))
        _run_all(again, jobs)
        for run in again:
            results[run.job.loop].update(run.outcomes)
    return results


def count(outcomes: dict[str, tuple[str, str]]) -> int:
    """How many passed."""
    return sum(outcome in GOOD for outcome, _ in outcomes.values())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--job")
    parser.add_argument("--loops", nargs="+", default=LOOPS)
    parser.add_argument("--modules", nargs="+")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json")
    options = parser.parse_args()
    if options.job:
        job = Job(*json.loads(Path(options.job).read_text()))
        # As a test module of the interpreter's sees it: not among ours.
        del sys.path[0]
        run_job(job)
    began = time.monotonic()
    results = run_suite(options.loops, options.modules, options.jobs)
    for loop, outcomes in results.items():
        bad = sorted(name for name, (what, _) in outcomes.items() if what in BAD)
        print(f"{loop}: {count(outcomes)} of {len(outcomes)} pass, {len(bad)} fail")
    print(f"{time.monotonic() - began:.0f} s")
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
