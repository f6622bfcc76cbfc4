"""``sennit web --reload``: serve, and start anew when a file of the application changes.

A parent runs the same command as its child, watches files and ends the child
gracefully when one of them changes, then starts the next. What does not start says so
and leaves the parent waiting for the next change. Which files matter the child knows:
those of all modules that it has imported and that are nobody's installed ones; it writes
their names into a file that the parent watches, too.

For development: between two children nobody listens, and one process serves.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import site
import sys
import sysconfig
import tempfile
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from sennit.core.deferred import Deferred
from sennit.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from sennit.core.observe.files import Observer
    from sennit.core.observe.statpoll import FileEvent
    from sennit.core.reactor.base import Reactor
    from sennit.core.service.loading import NodeConfig
    from sennit.core.service.settings import RunOptions
    from sennit.web.config import WebConfig

__all__ = [
    "Reloader",
    "own_files",
    "refuse_reload",
    "report_files",
    "reporting_files",
    "run_web",
]

ENVIRONMENT: Final = "SENNIT_WEB_RELOADING"
"""Names the file that a child writes the names of its files into."""
PATIENCE: Final = 3.0
"""Seconds that a child has to answer what is under way before it is ended at once."""
SETTLE: Final = 0.2
"""Seconds without another change: editors write a file in several steps."""
REPORT_EVERY: Final = 1.0
"""Seconds after which a child looks again whether it has imported more."""


def run_web(
    node: NodeConfig, options: RunOptions, go: Callable[[NodeConfig, RunOptions], int]
) -> int:
    """Run a web service that was asked for on the command line.

    Args:
        node: Its configuration.
        options: How to run.
        go: Runs it in this process.

    Raises:
        ConfigError: It is to be reloaded, and by several workers.
    """
    config = cast("WebConfig", node.services[0].config)
    if not config.reload or ENVIRONMENT in os.environ:
        return go(node, options)
    if options.workers is not None:
        raise ConfigError("--reload is for one process: leave --workers out")
    from sennit.core.service.supervisor import interpreter_flags

    program = [sys.executable, *interpreter_flags(), "-m", "sennit.core.service.cli"]
    folder = config.app_dir or node.folder
    return Reloader([*program, *sys.argv[1:]], folder).run()


def refuse_reload(config: WebConfig) -> None:
    """Refuse a service that says `reload` where nobody would start it anew.

    Raises:
        ConfigError: It is not a child of `Reloader`.
    """
    if config.reload and ENVIRONMENT not in os.environ:
        problem = "found true; that is for development: sennit web --reload …, without a file"
        raise ConfigError(problem, key="reload")


# ── in the child ──────────────────────────────────────────────────────────────


def report_files(error: BaseException | None = None) -> None:
    """Tell a parent, if there is one, which files this process was made of.

    Args:
        error: Why it could not start; where that happened is among them.
    """
    target = os.environ.get(ENVIRONMENT)
    if target is None:
        return
    names = sorted(own_files(error))
    temporary = f"{target}.new"
    Path(temporary).write_text(json.dumps(names), "utf-8")
    os.replace(temporary, target)


def own_files(error: BaseException | None = None) -> set[str]:
    """Files of imported modules, and of a failure, that nobody has installed."""
    found: set[str] = set()
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str):
            found.add(file)
    while error is not None:
        found.update(frame.filename for frame in traceback.extract_tb(error.__traceback__))
        if isinstance(error, SyntaxError) and error.filename:
            found.add(error.filename)
        error = error.__cause__ or error.__context__
    installed = _installed()
    return {
        path
        for path in map(os.path.realpath, found)
        if path.endswith(".py") and not path.startswith(installed) and os.path.exists(path)
    }


def _installed() -> tuple[str, ...]:
    """Folders of the library and of what is installed."""
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    paths |= {*site.getsitepackages(), site.getusersitepackages()}
    return tuple(f"{os.path.realpath(each)}{os.sep}" for each in paths if each)


@contextmanager
def reporting_files() -> Generator[None]:
    """Tell a parent what is imported in here, whatever becomes of it, and from then on."""
    try:
        yield
    except BaseException as error:
        report_files(error)
        raise
    report_files()
    if ENVIRONMENT in os.environ:
        from sennit.core.reactor.base import current_reactor

        reactor = current_reactor()
        reactor.call_later(REPORT_EVERY, _look_again, reactor, len(sys.modules))


def _look_again(reactor: Reactor, count: int) -> None:
    now = len(sys.modules)
    if now != count:
        report_files()
    reactor.call_later(REPORT_EVERY, _look_again, reactor, now)


# ── in the parent ─────────────────────────────────────────────────────────────


class Reloader:
    """Runs a command, and runs it anew when files change.

    Args:
        command: The program of the child and its arguments.
        folder: Where the application lies: watched too, since what could not be imported
            is nobody's file yet.
        tell: Takes lines for the person at the terminal.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: str | os.PathLike[str],
        *,
        tell: Callable[[str], object] | None = None,
    ) -> None:
        self._command = list(command)
        self._folder = os.path.abspath(folder)
        self._tell = tell or _to_terminal
        self._list = ""
        self._files: set[str] = set()
        self._observer: Observer | None = None
        self._changed: Deferred[str] = Deferred()
        self._stopping = False

    def run(self) -> int:
        """Go on until a signal comes; the exit status."""
        from sennit.core.reactor.base import Reactor

        reactor = Reactor()
        with tempfile.TemporaryDirectory(prefix="sennit-reload-") as folder:
            self._list = os.path.join(folder, "files")
            try:
                reactor.run(self._main, handle_signals=False)
            finally:
                reactor.close()
        return 0

    async def _main(self, reactor: Reactor) -> None:
        for signum in (signal.SIGINT, signal.SIGTERM):
            reactor.add_signal_handler(signum, self._stop)
        await self._watch(reactor)
        try:
            while not self._stopping:
                await self._one_child(reactor)
        finally:
            if self._observer is not None:
                self._observer.close()

    def _stop(self) -> None:
        self._stopping = True
        self._wake("")

    def _wake(self, path: str) -> None:
        if not self._changed.fired:
            self._changed.callback(path)

    async def _one_child(self, reactor: Reactor) -> None:
        """Run a child until a file changes, it ends by itself, or a signal comes."""
        environ = {**os.environ, ENVIRONMENT: self._list}
        self._changed = Deferred()
        child = await asyncio.create_subprocess_exec(*self._command, env=environ)
        ended = asyncio.ensure_future(child.wait())
        changed = self._changed.as_future()
        both: list[asyncio.Future[Any]] = [ended, changed]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not self._changed.fired:
            self._tell(f"ended with status {await ended}; waiting for a change")
            await changed
        path = await changed
        if path:
            self._tell(f"{_short(path)} has changed: starting anew")
        await self._end(child, ended)

    async def _end(self, child: asyncio.subprocess.Process, ended: asyncio.Future[int]) -> None:
        for _ in range(2):
            if ended.done():
                return
            # The first lets it answer what is under way, the second does not.
            child.send_signal(signal.SIGTERM)
            await asyncio.wait([ended], timeout=PATIENCE)
        if not ended.done():
            child.kill()
            await ended

    # ── files ─────────────────────────────────────────────────────────────────

    async def _watch(self, reactor: Reactor) -> None:
        """Observe what is to be observed now."""
        from sennit.core.observe.files import observe

        old = self._observer
        self._observer = observe(
            [self._folder, self._list, *sorted(self._files)],
            self._event,
            settle=SETTLE,
            reactor=reactor,
        )
        await self._observer.started
        if old is not None:
            old.close()

    def _event(self, event: FileEvent) -> None:
        path = os.path.realpath(event.path)
        if path == os.path.realpath(self._list):
            self._read_list()
        elif path in self._files or path.endswith(".py"):
            self._wake(path)

    def _read_list(self) -> None:
        try:
            found: Any = json.loads(Path(self._list).read_text("utf-8"))
        except (OSError, ValueError):
            return
        files = {str(each) for each in found}
        # What a child that failed has not imported is still a reason to start another one.
        if files <= self._files:
            return
        self._files |= files
        from sennit.core.reactor.base import current_reactor

        watching = asyncio.ensure_future(self._watch(current_reactor()))
        watching.add_done_callback(_result_of)


def _result_of(task: asyncio.Future[None]) -> None:
    if not task.cancelled():
        task.result()


def _short(path: str) -> str:
    """A path as people say it: from the working folder, where it lies in there."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def _to_terminal(line: str) -> None:
    sys.stderr.write(f"sennit: {line}\n")
    sys.stderr.flush()
