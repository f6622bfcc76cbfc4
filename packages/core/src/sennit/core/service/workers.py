"""One worker process, as its supervisor sees it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from sennit.core.deferred import Deferred
from sennit.core.reactor.pollers import READ
from sennit.core.service.control import Control
from sennit.core.service.sockets import SocketServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sennit.core.service.supervisor import Supervisor

__all__ = ["DRAINING", "ENDED", "READY", "STARTING", "Worker", "activated"]

STARTING: Final = "starting"
PREPARED: Final = "prepared"
READY: Final = "running"
DRAINING: Final = "draining"
ENDED: Final = "stopped"

ENVIRONMENT: Final = "SENNIT_WORKER"
"""As in ``worker.py``, which is not imported here: it loads what a node needs."""


class Worker:
    """A worker process.

    Args:
        supervisor: Whose it is.
        number: Its number, from 1; the one that follows it has the same.
        first: Whether it shows the table of services.
        held: Whether it waits for `begin` once everything is prepared.

    Attributes:
        state: ``starting``, ``prepared``, ``running``, ``draining`` or ``stopped``.
        exit_status: As a shell has it: 128 and the signal's number where one ended it;
            ``None`` while it lives.
        asked: Whether a ping is under way.
        table: Lines on its services, for the person who has started all this.
        services: Their names, where it was held.
    """

    def __init__(
        self, supervisor: Supervisor, number: int, *, first: bool, held: bool = False
    ) -> None:
        self._supervisor = supervisor
        self._held = held
        self._reactor = supervisor.reactor
        self._first = first
        self._process: subprocess.Popen[bytes] | None = None
        self._control = Control(self._reactor, _answer, self._told, _nothing)
        self._server: SocketServer | None = None
        self._channel: socket.socket | None = None
        self._places: list[Callable[[], object]] = []
        self._ready: Deferred[bool] = Deferred()
        self._waiters: list[Deferred[None]] = []
        self._began = monotonic()
        self.number = number
        self.state = STARTING
        self.exit_status: int | None = None
        self.asked = False
        self.table: list[str] = []
        self.services: list[str] = []

    def __repr__(self) -> str:
        return f"<Worker {self.number} {self.pid} {self.state}>"

    def __str__(self) -> str:
        return f"worker {self.number} (process {self.pid})"

    @property
    def pid(self) -> int:
        """Its process' number."""
        return 0 if self._process is None else self._process.pid

    @property
    def alive(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self.exit_status is None

    @property
    def lived(self) -> float:
        """Seconds since it was started."""
        return monotonic() - self._began

    @property
    def how_it_ended(self) -> str:
        """In words."""
        status = self.exit_status
        if status is None:
            return "it has not"
        if status > 128:
            try:
                return f"killed by {signal.Signals(status - 128).name}"
            except ValueError:
                return f"killed by signal {status - 128}"
        return f"status {status}"

    # ── its life ──────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Start the process. It gets three sockets and no other descriptor of ours."""
        ours: list[socket.socket] = []
        theirs: list[socket.socket] = []
        try:
            for _ in range(3):
                here, there = socket.socketpair()
                ours.append(here)
                theirs.append(there)
            fds = [each.fileno() for each in theirs]
            given = {
                "number": self.number,
                "workers": self._supervisor.count,
                "first": self._first,
                "held": self._held,
                "fds": fds,
            }
            self._process = subprocess.Popen(
                self._supervisor.command,
                pass_fds=[*fds, *activated()],
                env={**os.environ, ENVIRONMENT: json.dumps(given)},
                stdin=subprocess.DEVNULL,
                # Ctrl-C is for the supervisor, which tells its workers.
                process_group=0,
            )
        except OSError:
            for each in ours:
                each.close()
            raise
        finally:
            for each in theirs:
                each.close()
        self._supervisor.processes.add(self)
        self._control.attach(ours[0])
        self._channel = ours[1]
        self._channel.setblocking(False)
        self._server = SocketServer(self._supervisor.sockets, self._channel, self.number)
        self._reactor.watch(self._channel.fileno(), READ, self._on_question)
        hub = self._supervisor.hub
        if hub is None:
            ours[2].close()
        else:
            hub.adopt(ours[2])

    def begin(self) -> None:
        """Let one that was held, and is prepared, serve."""
        self._ready = Deferred()
        self.tell("begin")
        if not self.alive:
            self._settle(False)

    def became_ready(self, timeout: float) -> Deferred[bool]:
        """Fires with whether it serves: false when it ends before, or takes too long.

        One that is held is as ready as it can be when it is prepared.
        """
        call = self._reactor.call_later(timeout, self._settle, False)
        waiter: Deferred[bool] = Deferred()

        def settled(ready: bool) -> bool:
            call.cancel()
            waiter.callback(ready)
            return ready

        self._ready.add_callback(settled)
        return waiter

    def give_up_waiting(self) -> None:
        """Whoever waits until it serves is to wait no more."""
        self._settle(False)

    def _settle(self, ready: bool) -> None:
        if not self._ready.called:
            self._ready.callback(ready)

    def gone(self, timeout: float) -> Deferred[bool]:
        """Fires with whether its process has ended in time."""
        waiter: Deferred[bool] = Deferred()
        if not self.alive:
            waiter.callback(True)
            return waiter

        def over(ended: bool) -> None:
            if not waiter.called:
                call.cancel()
                waiter.callback(ended)

        call = self._reactor.call_later(timeout, over, False)
        end: Deferred[None] = Deferred()
        end.add_callback(lambda _: over(True))
        self._waiters.append(end)
        return waiter

    def look(self) -> None:
        """See whether its process has ended (after SIGCHLD)."""
        if self._process is None or self.exit_status is not None:
            return
        status = self._process.poll()
        if status is None:
            return
        self.exit_status = 128 - status if status < 0 else status
        self.state = ENDED
        self._close_server()
        self._control.close()
        waiting, self._waiters = self._waiters, []
        # Before whoever waits goes on: who follows it is to be known by then.
        self._supervisor.worker_ended(self)
        self._settle(False)
        for each in waiting:
            each.callback(None)

    def drain(self) -> None:
        """Let it come to an end."""
        if self.alive:
            self.state = DRAINING
            self._control.tell("drain")

    def kill(self) -> None:
        """End it now. Called in signal handlers too."""
        self.signal(signal.SIGKILL)

    def signal(self, signum: int) -> None:
        """Send it a signal."""
        if self._process is not None and self.exit_status is None:
            # Nobody has waited for it yet, so the number is still its own.
            try:
                os.kill(self._process.pid, signum)
            except ProcessLookupError:
                pass

    # ── talking ───────────────────────────────────────────────────────────────

    def ask(
        self, what: str, /, *, timeout: float | None = 30.0, **arguments: object
    ) -> Deferred[Any]:
        """Ask it something (``worker.py``)."""
        return self._control.ask(what, timeout=timeout, **arguments)

    def tell(self, what: str, /, **arguments: object) -> None:
        """Tell it something."""
        if self.alive:
            self._control.tell(what, **arguments)

    def _told(self, name: str, arguments: Mapping[str, Any]) -> None:
        if name == "prepared" and self.state == STARTING:
            self.state = PREPARED
            self.services = [str(each) for each in arguments["services"]]
            self._settle(True)
        elif name == "ready" and self.state in (STARTING, PREPARED):
            self.state = READY
            self.table = [str(each) for each in arguments["table"]]
            self._settle(True)

    # ── its sockets ───────────────────────────────────────────────────────────

    def _on_question(self, mask: int) -> None:
        if self._server is not None and not self._server.readable():
            self._close_server()

    def _close_server(self) -> None:
        server, self._server = self._server, None
        if server is not None and self._channel is not None:
            self._reactor.unwatch(self._channel.fileno())
            self._places += server.close()

    def let_go(self) -> None:
        """Nobody is to listen in its place, or somebody does: its sockets may go."""
        places, self._places = self._places, []
        for each in places:
            each()


def activated() -> list[int]:
    """Descriptors of socket activation, for workers to have too (sd_listen_fds(3))."""
    count = os.environ.get("LISTEN_FDS", "")
    if not (count.isascii() and count.isdigit()) or os.environ.get("LISTEN_PID") != str(
        os.getpid()
    ):
        return []
    return list(range(3, 3 + min(int(count), 1024)))


def _answer(name: str, arguments: Mapping[str, Any]) -> object:
    from sennit.core.errors import UsageError

    raise UsageError(f"a supervisor is not asked {name!r}")


def _nothing() -> None:
    """That it has gone is learnt from its process."""
