"""The supervisor: holds the sockets, starts workers, and starts them again.

`become_supervisor` replaces the process that read the configuration by this one, which
knows of no service: it makes the sockets that its workers ask for, passes the messages of
the bus, and does what signals and the admin socket say.

* SIGTERM, SIGINT: deny readiness, wait the drain delay, let every worker drain; the second
  one ends all of them at once.
* SIGHUP: two-phase reload over all workers: each prepares, then each commits, or all abort.
* SIGUSR2: rolling restart: for each worker a new one is started, with the code that is on
  the disk now, and only when that serves does the old one drain.

A worker that ends by itself is followed by another, at once the first time, then with
growing waits. One that does not answer in time is killed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import weakref
from contextlib import AsyncExitStack
from time import monotonic
from typing import TYPE_CHECKING, Final, NoReturn, cast

from sennit.core.deferred import Deferred
from sennit.core.errors import SennitError, UsageError
from sennit.core.reactor.base import Reactor
from sennit.core.service.backoff import BackOff
from sennit.core.service.logs import set_up
from sennit.core.service.output import LineWriter
from sennit.core.service.sdnotify import ServiceManager, forget
from sennit.core.service.settings import Settings
from sennit.core.service.sockets import LocalSockets
from sennit.core.service.workers import DRAINING, READY, STARTING, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from types import FrameType
    from typing import Any

    from sennit.core.bus.unix import BusHub

__all__ = ["Supervisor", "become_supervisor", "interpreter_flags", "main"]

ENVIRONMENT: Final = "SENNIT_SUPERVISOR"
"""Variable that carries the settings over the change of program."""

LEFTOVER: Final = 15.0
"""Seconds beyond the drain limit after which a worker is killed."""

SAME_SIGNAL: Final = 0.2
"""Seconds within which a second signal is the first one told twice."""

RELOAD_TIMEOUT: Final = 60.0
"""Seconds that a worker may take to prepare or commit a reload."""

_ENDS: Final = (signal.SIGINT, signal.SIGTERM)


def become_supervisor(settings: Settings, arguments: Sequence[str]) -> NoReturn:
    """Replace this process by a supervisor; its number stays.

    Args:
        settings: How it runs.
        arguments: The command line that its workers are started with.
    """
    flags = interpreter_flags()
    environ = {
        **os.environ,
        ENVIRONMENT: json.dumps({"settings": settings.to_json(), "arguments": [*arguments]}),
    }
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    command = [sys.executable, *flags, "-m", "sennit.core.service.supervisor"]
    os.execve(sys.executable, command, environ)


def interpreter_flags() -> list[str]:
    """The options that this interpreter was started with, to start another alike."""
    # What comes after them: a script, -m and a module, or -c and code; then arguments.
    given = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]
    found: list[str] = []
    if not {"", os.getcwd()} & {*sys.path}:
        # A module of the folder that a node is started in must not be taken for one of the
        # library's, as `-m` would have it.
        found.append("-P")
    index = 0
    while index < len(given):
        each = given[index]
        if not each.startswith("-") or each[:2] in ("-m", "-c") or each == "-":
            break
        found.append(each)
        if each in ("-W", "-X"):
            index += 1
            found += given[index : index + 1]
        index += 1
    return found


class Supervisor:
    """The state of one supervisor.

    Args:
        settings: How it runs; `Settings.workers` is a number.
        arguments: The command line of its workers.
        command: The program before them; this interpreter and `sennit` when left out.
        reactor: Who runs it.
    """

    def __init__(
        self,
        settings: Settings,
        arguments: Sequence[str],
        *,
        command: Sequence[str] | None = None,
        reactor: Reactor | None = None,
    ) -> None:
        self.settings = settings
        self.reactor = Reactor() if reactor is None else reactor
        program = [sys.executable, *interpreter_flags(), "-m", "sennit.core.service.cli"]
        self.command = [*(program if command is None else command), *arguments]
        self.sockets = LocalSockets()
        self.hub: BusHub | None = None
        self.workers: dict[int, Worker] = {}
        # All that were started, those too that only a coroutine has.
        self.processes: weakref.WeakSet[Worker] = weakref.WeakSet()
        self.state = STARTING
        self.restarts = 0
        self.started: tuple[float, float] | None = None
        self.leaving: set[Worker] = set()
        self._followed: set[Worker] = set()
        self._backoffs: dict[int, BackOff] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        self._busy: str | None = None
        self._reload_wanted = False
        self._shown = False
        self._stop: Deferred[int] = Deferred()
        self._first: float | None = None
        self._status = 0
        self._manager = ServiceManager()
        self._log = logging.getLogger("sennit.supervisor")

    @property
    def count(self) -> int:
        """How many workers there are to be."""
        return self.settings.workers or 1

    # ── the run ───────────────────────────────────────────────────────────────

    def run(self) -> int:
        """Supervise until a signal comes; the exit status."""
        from sennit.core.service.pidfile import PidFile

        out = LineWriter(1, name="sennit-stdout")
        log = LineWriter(2, name="sennit-log", notice="… {} log lines were dropped")
        pid_file = None
        if self.settings.pid_file is not None:
            try:
                pid_file = PidFile(self.settings.pid_file)
            except (SennitError, OSError) as error:
                sys.stderr.write(f"sennit: {error}\n")
                return 1
        put_back = set_up(log, self.settings.log_level, self.settings.log_format)
        orders = (signal.SIGHUP, signal.SIGUSR2, signal.SIGUSR1, signal.SIGCHLD)
        before = {
            **{each: signal.signal(each, self._on_end) for each in _ENDS},
            **{each: signal.signal(each, self._on_order) for each in orders},
        }

        async def main(reactor: Reactor) -> None:
            await self._main(out)

        try:
            self.reactor.run(main, handle_signals=False)
        finally:
            for each in [*self.workers.values(), *self.leaving]:
                each.kill()
            self.reactor.close()
            self.sockets.close()
            for signum, handler in before.items():
                signal.signal(signum, handler)
            put_back()
            out.close()
            log.close()
            if pid_file is not None:
                pid_file.close()
        return self._status

    async def _main(self, out: LineWriter) -> None:
        from sennit.core.bus.unix import BusHub

        # As in runner.py: the handlers are not the reactor's.
        self.reactor._watch_signals()
        self.hub = BusHub(self.reactor)
        async with AsyncExitStack() as stack:
            if await self._first_workers():
                self.state = READY
                self.started = (_wall(), monotonic())
                for each in self.workers.values():
                    if not each.alive:  # it served, and ended before the last one did
                        self.worker_ended(each)
                try:
                    await self._administer(stack)
                except OSError as error:
                    self._status = 2
                    self._log.error("[admin] cannot be had: %s", error.strerror or error)
                else:
                    for line in self.workers[1].table:
                        out.write(line)
                    out.write("ready")
                    self._manager.ready(self._summary())
                    self._manager.watch(self.reactor)
                    if self.settings.hang_timeout:
                        self._later(self._watch())
                    await self._stop
            await self._end()
            self._manager.unwatch()

    async def _administer(self, stack: AsyncExitStack) -> None:
        settings = self.settings
        if settings.admin is None and not settings.probes:
            return
        from sennit.core.service.administration import WorkersCommands

        commands = WorkersCommands(self)
        if settings.admin is not None:
            from sennit.core.ops.admin import AdminServer

            server = AdminServer(commands, settings.admin, self.reactor)
            await stack.enter_async_context(server)
        if settings.probes:
            from sennit.core.ops.health import HealthServer

            probes = HealthServer(commands, [(url, None) for url in settings.probes], self.reactor)
            await stack.enter_async_context(probes)

    async def _first_workers(self) -> bool:
        """Start all workers; whether all of them serve."""
        # The first alone: it says what is wrong once, and others need the same sockets.
        numbers = range(1, self.count + 1)
        for group in ([1], [*numbers[1:]]):
            try:
                for number in group:
                    self.workers[number] = self._start_worker(number)
            except SennitError as error:
                self._log.error("%s", error)
                self._status = 1
                return False
            for each in [self.workers[number] for number in group]:
                ready = await self._until_ready(each)
                if self._stop.called:
                    return False
                if not ready:
                    self._log.error("worker %d did not come up", each.number)
                    self._status = each.exit_status or 1
                    return False
        return True

    def _start_worker(self, number: int, *, held: bool = False) -> Worker:
        """Start a worker.

        Raises:
            SennitError: There are too many processes, descriptors, or too little memory.
        """
        worker = Worker(self, number, first=not self._shown, held=held)
        try:
            worker.start()
        except OSError as error:
            problem = error.strerror or error
            raise SennitError(f"worker {number} cannot be started: {problem}") from error
        self._shown = True
        return worker

    async def _until_ready(self, worker: Worker) -> bool:
        """Wait until a worker serves, has ended, or takes too long."""
        if not await worker.became_ready(self.settings.start_timeout):
            if worker.alive and not self._stop.called:
                self._log.error(
                    "worker %d does not serve after %g s and is killed",
                    worker.number,
                    self.settings.start_timeout,
                )
                worker.kill()
            return False
        return True

    async def _end(self) -> None:
        """Let every worker drain; kill what is left after the limit."""
        self.state = DRAINING
        self._manager.stopping()
        everybody = [*self.workers.values(), *self.leaving]
        # Those that were to take another's place serve nobody.
        spare = [each for each in self._living() if each not in everybody]
        for each in spare:
            each.kill()
        for each in everybody:
            each.tell("deny")
        delay = self.settings.drain_delay
        if self._stop.called and delay and any(each.state == READY for each in everybody):
            self._log.info("not ready any more, and serving for %g s", delay)
            await self.sleep(delay)
        # Ours first: then the kernel refuses whom no worker would accept.
        self.sockets.close()
        for each in [*self.workers.values(), *self.leaving]:
            each.drain()
        deadline = monotonic() + self.settings.drain + LEFTOVER
        for each in [*self.workers.values(), *self.leaving]:
            if not await each.gone(max(deadline - monotonic(), 0.0)):
                self._log.error("worker %d did not end in time and is killed", each.number)
                each.kill()
                await each.gone(5.0)
                self._status = self._status or 1
        for each in spare:
            # Their end closes their sockets.
            await each.gone(5.0)
        for task in list(self._tasks):
            task.cancel()
        if self.hub is not None:
            self.hub.close()
        self._log.info("stopped")

    # ── workers that end ──────────────────────────────────────────────────────

    def worker_ended(self, worker: Worker) -> None:
        """A worker has ended, however."""
        if worker in self.leaving:
            self.leaving.discard(worker)
            worker.let_go()
            return
        if self.state == STARTING or self.workers.get(worker.number) is not worker:
            worker.let_go()
            return
        if self.state == DRAINING:
            if worker.exit_status:
                self._status = self._status or 1
            return
        self._log.error("%s has ended: %s", worker, worker.how_it_ended)
        if worker not in self._followed:
            self._later(self._follow(worker))

    def _living(self) -> list[Worker]:
        """Those whose end was not seen yet, wherever they are kept."""
        return [each for each in self.processes if each.alive]

    async def _follow(self, worker: Worker) -> None:
        """Start another in the place of one that has ended, until one serves."""
        number = worker.number
        old = worker
        backoff = self._backoffs.setdefault(number, BackOff(0.5, 30.0, settled=60.0))
        lived = worker.lived
        while self.state == READY and self.workers.get(number) is old:
            wait = backoff.failed(self.reactor.time(), lived) or 0.0
            if backoff.failures > 1:
                self._log.warning("worker %d is started again in %.1f s", number, wait)
                await self.sleep(wait)
                if self.state != READY or self.workers.get(number) is not old:
                    break
            try:
                new = self._start_worker(number)
            except SennitError as error:
                self._log.error("%s", error)
                lived = 0.0
                continue
            self.workers[number] = new
            self.restarts += 1
            # Its end is seen here, as long as it is not known to serve.
            self._followed.add(new)
            if await self._until_ready(new) and new.alive:
                self._followed.discard(new)
                self._log.info("%s serves", new)
                break
            lived = 0.0
            await new.gone(5.0)
            self._followed.discard(new)
            new.let_go()
            old = new
        # Only now: until the new one listened there, these sockets kept its callers.
        worker.let_go()

    async def _watch(self) -> None:
        """Ask every worker now and then whether it turns; kill one that does not answer."""
        limit = self.settings.hang_timeout
        while True:
            await self.sleep(limit / 3)
            for each in [*self.workers.values()]:
                if each.state == READY and not each.asked:
                    self._later(self._ping(each, limit))

    async def _ping(self, worker: Worker, limit: float) -> None:
        worker.asked = True
        try:
            await worker.ask("ping", timeout=limit)
        except TimeoutError:
            if worker.alive:
                self._log.error("%s has not answered for %g s and is killed", worker, limit)
                worker.kill()
        except SennitError:
            pass  # it has ended, which is seen elsewhere
        finally:
            worker.asked = False

    # ── orders ────────────────────────────────────────────────────────────────

    async def reload(self) -> dict[str, Any]:
        """Two-phase reload over all workers.

        Returns:
            What the first worker says it changes.

        Raises:
            SennitError: A worker could not prepare; nothing has changed in any.
        """
        async with self._doing("reloaded"):
            self._manager.reloading()
            try:
                return await self._reload()
            finally:
                self._manager.ready()

    async def _reload(self) -> dict[str, Any]:
        workers = [each for each in self.workers.values() if each.state == READY]
        if not workers:
            raise UsageError("no worker serves: there is nothing to reload")
        if self.settings.user is not None or self.settings.group is not None:
            return await self._reload_by_replacing()
        outcomes = await asyncio.gather(
            *(each.ask("prepare", timeout=RELOAD_TIMEOUT) for each in workers),
            return_exceptions=True,
        )
        failures = [each for each in outcomes if isinstance(each, BaseException)]
        if failures:
            for each in workers:
                # Those that failed have nothing to abort; it is harmless.
                await self._attempt(each, "abort")
            raise _as_sennit_error(failures[0])
        failed = [each for each in workers if not await self._attempt(each, "commit")]
        for each in failed:
            if each.alive:
                # It alone has not what the others have: one that starts anew will.
                self._log.error("%s could not commit a reload and is replaced", each)
                await self._replace(each)
        # No failure is among them.
        return cast("dict[str, Any]", outcomes[0])

    async def _reload_by_replacing(self) -> dict[str, Any]:
        """A reload by new workers, which wait until all of them are prepared.

        Those that serve have given up what it takes to read keys and bind ports.
        """
        old = [self.workers[number] for number in sorted(self.workers)]
        new: list[Worker] = []
        try:
            new.extend(self._start_worker(each.number, held=True) for each in old)
        except SennitError:
            for each in new:
                each.kill()
            raise
        ready = await asyncio.gather(*(self._until_ready(each) for each in new))
        if all(ready) and self.state == READY:
            for each in new:
                each.begin()
            ready = await asyncio.gather(*(self._until_ready(each) for each in new))
        if not all(ready) or self.state != READY:
            failed = next((each for each, good in zip(new, ready, strict=True) if not good), None)
            for each in new:
                each.kill()
                await each.gone(5.0)
                each.let_go()
            why = "the end has begun" if failed is None else f"{failed}: {failed.how_it_ended}"
            raise SennitError(f"the new workers did not come up ({why}); its log says more")
        for before, after in zip(old, new, strict=True):
            self._succeed(before, after)
        return {
            "added": [],
            "changed": new[0].services,
            "removed": [],
            "kept": [],
            "certificates": [],
            "later": [],
        }

    async def _attempt(self, worker: Worker, what: str) -> bool:
        try:
            await worker.ask(what, timeout=RELOAD_TIMEOUT)
        except (SennitError, TimeoutError) as error:
            self._log.error("%s could not %s a reload: %s", worker, what, error)
            return False
        return True

    async def restart(self) -> None:
        """Replace every worker, one after the other; no moment serves with fewer.

        Raises:
            SennitError: A new worker did not come up; those that were not replaced yet stay.
        """
        async with self._doing("restarted"):
            for number in sorted(self.workers):
                if self.state != READY:
                    return
                await self._replace(self.workers[number])
            self._log.info("all workers were replaced")

    async def _replace(self, old: Worker) -> None:
        new = self._start_worker(old.number)
        if not await self._until_ready(new):
            await new.gone(5.0)
            new.let_go()
            raise SennitError(
                f"the new worker {new.number} did not come up ({new.how_it_ended}); "
                "the old one goes on"
            )
        self._succeed(old, new)

    def _succeed(self, old: Worker, new: Worker) -> None:
        """Let a worker that serves take the place of another, which drains."""
        if self.state != READY or self.workers.get(old.number) is not old:
            # Meanwhile the old one has ended, and another took its place, or all are to end.
            self.leaving.add(new)
            new.drain()
            return
        self.workers[old.number] = new
        self.restarts += 1
        self._log.info("%s serves, %s drains", new, old)
        if old.alive:
            self.leaving.add(old)
            old.drain()
            self._later(self._see_off(old))
        else:
            old.let_go()

    async def _see_off(self, worker: Worker) -> None:
        """Kill a worker that does not drain in time."""
        if not await worker.gone(self.settings.drain + LEFTOVER) and worker.alive:
            self._log.error("%s did not drain in time and is killed", worker)
            worker.kill()

    def _doing(self, what: str) -> _Turn:
        """One thing at a time.

        Raises:
            UsageError: Something is under way, or the end.
        """
        return _Turn(self, what)

    def begin_doing(self, what: str) -> None:
        """Note what is under way (for `_doing`)."""
        if self.state != READY:
            raise UsageError(f"the workers are {self.state}: they are not {what}")
        if self._busy is not None:
            raise UsageError(f"the workers are being {self._busy} already")
        self._busy = what

    def end_doing(self) -> None:
        """It is done."""
        self._busy = None
        if self._reload_wanted:
            self._hang_up()

    def ready(self) -> list[str]:
        """Why there should be no new work; empty when there should."""
        if self.state != READY:
            return [f"the supervisor is {self.state}"]
        return [
            f"worker {each.number} is {each.state}"
            for each in self.workers.values()
            if each.state != READY
        ]

    def request_stop(self) -> None:
        """As after SIGTERM."""
        self._ended(int(signal.SIGTERM))

    def _hang_up(self) -> None:
        """Reload; after what is under way, which may have read the file before it changed."""
        self._reload_wanted = self._busy is not None and self.state == READY
        if not self._reload_wanted:
            self._later(self._order(self.reload, "not reloaded, everything is as it was"))

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        done: Deferred[None] = Deferred()
        call = self.reactor.call_later(seconds, done.callback, None)
        try:
            await done
        finally:
            call.cancel()

    def _summary(self) -> str:
        return f"{self.count} worker{'s' if self.count > 1 else ''} serving"

    def _later(self, work: Coroutine[Any, Any, object]) -> None:
        task: asyncio.Task[object] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.reactor.report(error, "in the supervisor")

    async def _order(self, work: Callable[[], Coroutine[Any, Any, object]], failed: str) -> None:
        try:
            await work()
        except SennitError as error:
            self._log.error("%s: %s", failed, error)

    # ── signals ───────────────────────────────────────────────────────────────

    def _on_end(self, signum: int, frame: FrameType | None) -> None:
        now = monotonic()
        if self._first is None:
            self._first = now
            self.reactor.call_from_thread(self._ended, signum)
        elif now - self._first >= SAME_SIGNAL:
            for each in [*self.workers.values(), *self.leaving]:
                each.kill()
            os._exit(128 + signum)

    def _ended(self, signum: int) -> None:
        if not self._stop.called:
            self._log.info("%s: the workers end", signal.Signals(signum).name)
            self._stop.callback(signum)
            for each in self.workers.values():
                each.give_up_waiting()

    def _on_order(self, signum: int, frame: FrameType | None) -> None:
        self.reactor.call_from_thread(self._ordered, signum)

    def _ordered(self, signum: int) -> None:
        if signum == signal.SIGCHLD:
            for each in self._living():
                each.look()
        elif signum == signal.SIGHUP:
            self._hang_up()
        elif signum == signal.SIGUSR2:
            self._later(self._order(self.restart, "not restarted"))
        else:
            for each in self.workers.values():
                # One that does not serve yet may not be ready for signals, and would end.
                if each.state == READY:
                    each.signal(signum)


class _Turn:
    """One thing that a supervisor does, and no other meanwhile."""

    def __init__(self, supervisor: Supervisor, what: str) -> None:
        self._supervisor = supervisor
        self._what = what

    async def __aenter__(self) -> None:
        self._supervisor.begin_doing(self._what)

    async def __aexit__(self, *exc: object) -> None:
        self._supervisor.end_doing()


def _as_sennit_error(error: BaseException) -> SennitError:
    if isinstance(error, SennitError):
        return error
    found = SennitError(str(error) or f"a worker does not answer ({type(error).__name__})")
    found.__cause__ = error
    return found


def _wall() -> float:
    from time import time

    return time()


def main(environ: Mapping[str, str] | None = None) -> int:
    """Run the supervisor that `become_supervisor` has asked for."""
    text = os.environ.pop(ENVIRONMENT, None) if environ is None else environ.get(ENVIRONMENT)
    if text is None:
        sys.stderr.write("sennit: supervisors are started by `sennit up --workers N`\n")
        return 2
    told: dict[str, Any] = json.loads(text)
    supervisor = Supervisor(Settings(**told["settings"]), told["arguments"])
    # Workers must not speak to the service manager in this process' name.
    forget(os.environ)
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(main())
