"""One run of a node: bring services up, say so, wait, bring them down.

`run` is what ``sennit up`` and ``sennit NAME`` do with a checked configuration.
Everything is bound before anything is accepted; then a table and the line
``ready`` go to standard output. The first SIGINT or SIGTERM stops accepting and
lets what is under way finish; the second ends the process there and then
(HARDENING, defaults 26; fault-4, fault-5).
"""

from __future__ import annotations

import os
import signal
import sys
from time import monotonic
from typing import TYPE_CHECKING, Final

from sennit.core.deferred import Deferred
from sennit.core.errors import ConfigError
from sennit.core.reactor.base import Reactor
from sennit.core.service.logs import set_up
from sennit.core.service.output import LineWriter
from sennit.core.service.tables import Row, render
from sennit.core.service.tree import DRAIN_SECONDS, StartError, leaves

if TYPE_CHECKING:
    from types import FrameType

    from sennit.core.interfaces import IService
    from sennit.core.service.loading import NodeConfig
    from sennit.core.service.tree import MultiService

__all__ = ["run"]

LEFTOVER: Final = 10.0
"""Seconds beyond the drain limit after which a service that does not end is given up."""

SAME_SIGNAL: Final = 0.2
"""Seconds within which a second signal is the first one told twice."""

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def run(config: NodeConfig, *, drain: float = DRAIN_SECONDS, level: str = "info") -> int:
    """Run every service of `config` until a signal comes.

    Args:
        config: A checked configuration.
        drain: Seconds that what is under way may take to finish.
        level: Level of the log on standard error.

    Returns:
        The exit status: 0, or 1 when a service did not end well.

    Raises:
        ConfigError: A service cannot be brought up because of the configuration,
            such as a port in use. Nothing is left running.
    """
    return _Run(config, drain, level).run()


class _Run:
    """The state of one run."""

    def __init__(self, config: NodeConfig, drain: float, level: str) -> None:
        self._config = config
        self._drain = drain
        self._out = LineWriter(1, name="sennit-stdout")
        self._log = LineWriter(2, name="sennit-log", notice="… {} log lines were dropped")
        self._level = level
        self._stop: Deferred[int] = Deferred()
        self._status = 0
        self._reactor = Reactor()
        self._first: float | None = None

    def run(self) -> int:
        tree, services = self._config.build()
        put_back = set_up(self._log, self._level)
        reactor = self._reactor
        before = {each: signal.signal(each, self._on_signal) for each in _SIGNALS}

        async def main(reactor: Reactor) -> None:
            await self._main(reactor, tree, services)

        try:
            reactor.run(main, handle_signals=False)
        finally:
            self._disarm()
            reactor.close()
            for signum, handler in before.items():
                signal.signal(signum, handler)
            put_back()
            self._out.close()
            self._log.close()
        return self._status

    async def _main(
        self, reactor: Reactor, tree: MultiService, services: dict[str, IService]
    ) -> None:
        import logging

        log = logging.getLogger("sennit.node")
        try:
            await tree.start(reactor)
        except StartError as error:
            raise self._config.located(error) from None
        except ExceptionGroup as group:
            found = _start_errors(group)
            if not found:
                raise
            raise _several([self._config.located(each) for each in found]) from None
        self._tell(services)
        _notify_systemd(b"READY=1")
        signum = await self._stop
        _notify_systemd(b"STOPPING=1")
        log.info(
            "%s: no new connections, %g seconds for those that are there",
            signal.Signals(signum).name,
            self._drain,
        )
        from asyncio import timeout

        try:
            async with timeout(self._drain + LEFTOVER):
                await tree.stop(self._drain)
        except TimeoutError:
            self._status = 1
            log.error("a service did not end in time and is given up")
        except Exception as error:
            self._status = 1
            log.error("a service did not end well", exc_info=error)
        else:
            log.info("stopped")

    def _tell(self, services: dict[str, IService]) -> None:
        """The table, and `ready`."""
        rows: list[Row] = []
        for each in self._config.services:
            urls = tuple(getattr(services[each.name], "urls", ()))
            commands = each.plugin.try_commands(each.config, urls)
            shown = tuple(each.plugin.shown(url) for url in urls)
            rows.append(Row(each.name, each.plugin.name, shown, tuple(commands)))
        for line in render(rows, terminal=sys.stdout is not None and sys.stdout.isatty()):
            self._out.write(line)
        self._out.write("ready")

    # ── signals ───────────────────────────────────────────────────────────────

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        """Take a signal where Python has interrupted whatever it was doing.

        Not through the reactor: a loop that does not turn must end at a second signal
        too. So nothing here may take a lock, as logging and threads do.
        """
        now = monotonic()
        if self._first is None:
            self._first = now
            self._arm()
            self._reactor.call_from_thread(self._signalled, signum)
        elif now - self._first >= SAME_SIGNAL:
            # No clean-up: who sends a second one has seen the first take too long. No
            # moment leaves half a file behind (HARDENING, durability rule).
            os._exit(128 + signum)

    def _signalled(self, signum: int) -> None:
        if not self._stop.called:
            self._stop.callback(signum)

    def _arm(self) -> None:
        """End the process even if the loop never turns again."""
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, _overdue)
            signal.setitimer(signal.ITIMER_REAL, self._drain + 2 * LEFTOVER)

    def _disarm(self) -> None:
        if self._first is not None and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _overdue(signum: int, frame: FrameType | None) -> None:
    import select

    if select.select([], [2], [], 0)[1]:
        os.write(2, b"sennit: did not end in time; the loop does not turn\n")
    os._exit(1)


def _notify_systemd(state: bytes) -> None:
    """Tell a service manager that asked for it (sd_notify(3)); who did not hears nothing."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    import socket

    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(state, "\0" + path[1:] if path.startswith("@") else path)
    except OSError:
        # It does not listen: that is no reason not to serve.
        pass


def _start_errors(group: ExceptionGroup[Exception]) -> list[StartError]:
    """Those of a group that are about the configuration, if all of them are."""
    matched, rest = group.split(StartError)
    return [] if matched is None or rest is not None else leaves(matched)


def _several(errors: list[ConfigError]) -> ConfigError:
    from sennit.core.service.loading import SeveralConfigError

    return errors[0] if len(errors) == 1 else SeveralConfigError(errors)
