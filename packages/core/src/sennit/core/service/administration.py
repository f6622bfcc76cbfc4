"""Commands to a supervisor: asked of every worker, and put together.

What comes back has the shape that a single node's answer has (``ops/commands.py``), so
that whoever shows it need not know of workers: services are listed once, their counts
summed; connections and tasks say whose they are. ``status`` has ``workers`` beside it, and
``restart`` is a command that only a supervisor has.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from sennit.core.errors import ConnectionLost, SennitError, UsageError
from sennit.core.ops.admin import UnknownCommandError
from sennit.core.service.control import ControlError
from sennit.core.service.workers import READY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sennit.core.service.supervisor import Supervisor
    from sennit.core.service.workers import Worker

__all__ = ["WorkersCommands"]

COMMANDS: Final = (
    "status",
    "ready",
    "metrics",
    "connections",
    "tasks",
    "drain",
    "reload",
    "restart",
    "loglevel",
    "dump",
)

PATIENCE: Final = 20.0
"""Seconds for one worker's answer."""

SHORT_PATIENCE: Final = 2.0
"""The same where it is asked how things are: one that hangs must not hide the others."""

# `Any` in this module: answers, which are whatever JSON gives.


class WorkersCommands:
    """Does commands on all workers of a supervisor (an `Administered`).

    Args:
        supervisor: Whose.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._running: set[asyncio.Future[Any]] = set()

    async def command(self, name: str, arguments: Mapping[str, Any]) -> object:
        """Do a command.

        Raises:
            UnknownCommandError: There is none of that name.
            UsageError: Its arguments are wrong.
            SennitError: It could not be done.
        """
        if name not in COMMANDS:
            raise UnknownCommandError(
                f"there is no command {name!r:.80}; there are: {', '.join(COMMANDS)}"
            )
        method: Callable[[Mapping[str, Any]], Awaitable[object]] = getattr(self, f"_{name}")
        return await method(arguments)

    async def _ask(
        self, name: str, arguments: Mapping[str, Any], *, silent: list[str] | None = None
    ) -> list[tuple[Worker, dict[str, Any]]]:
        """Every worker that serves and what it answers; one that has just ended is left out.

        Args:
            name: The command.
            arguments: Its arguments.
            silent: Where it is given, workers that do not answer soon are named there, and
                left out, in place of an error.

        Raises:
            UsageError: The command is wrong.
            SennitError: A worker could not do it, or none serves.
        """
        workers = [each for each in self._supervisor.workers.values() if each.state == READY]
        patience = PATIENCE if silent is None else SHORT_PATIENCE
        answers = await asyncio.gather(
            *(
                each.ask("admin", timeout=patience, name=name, arguments=dict(arguments))
                for each in workers
            ),
            return_exceptions=True,
        )
        found: list[tuple[Worker, dict[str, Any]]] = []
        for worker, answer in zip(workers, answers, strict=True):
            if isinstance(answer, ConnectionLost):
                continue
            if isinstance(answer, ControlError) and answer.kind == "usage":
                raise UsageError(str(answer))
            if isinstance(answer, TimeoutError):
                if silent is not None:
                    silent.append(f"worker {worker.number} does not answer")
                    continue
                raise SennitError(f"{worker} does not answer")
            if isinstance(answer, BaseException):
                raise answer
            found.append((worker, answer))
        if not found:
            raise SennitError("; ".join(silent or ()) or "no worker serves")
        return found

    # ── how it is ─────────────────────────────────────────────────────────────

    async def _status(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        from sennit.core._version import __version__

        supervisor = self._supervisor
        silent: list[str] = []
        answers = await self._ask("status", arguments, silent=silent)
        services: dict[str, dict[str, Any]] = {}
        for _, answer in answers:
            for each in answer["services"]:
                if each["name"] in services:
                    _join(services[each["name"]], each)
                else:
                    services[each["name"]] = each
        started = supervisor.started
        return {
            "node": {
                "state": supervisor.state,
                "pid": os.getpid(),
                "version": __version__,
                "python": platform.python_version(),
                "started": None if started is None else round(started[0], 3),
                "uptime": None if started is None else round(monotonic() - started[1], 3),
                "reloads": max(answer["node"]["reloads"] for _, answer in answers),
                "not_ready": [
                    *silent,
                    *self._reasons(
                        [(worker, answer["node"]["not_ready"]) for worker, answer in answers]
                    ),
                ],
            },
            "services": list(services.values()),
            "workers": [
                {
                    "number": each.number,
                    "pid": each.pid,
                    "state": each.state,
                    "uptime": round(each.lived, 3),
                }
                for each in supervisor.workers.values()
            ],
        }

    async def _ready(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        if self._supervisor.state != READY:
            reasons = self._supervisor.ready()
        else:
            # Others take what one that hangs does not.
            answers = await self._ask("ready", arguments, silent=[])
            reasons = self._reasons([(each, answer["reasons"]) for each, answer in answers])
        return {"ready": not reasons, "reasons": reasons}

    def _reasons(self, answers: Sequence[tuple[Worker, Sequence[str]]]) -> list[str]:
        """Why there should be no new work: not one worker short of many, but none that would.

        A worker that restarts leaves the others to serve; they all take from one queue.
        """
        if self._supervisor.state != READY:
            return self._supervisor.ready()
        if any(not reasons for _, reasons in answers):
            return []
        return [f"worker {each.number}: {why}" for each, reasons in answers for why in reasons]

    async def _metrics(self, arguments: Mapping[str, Any]) -> object:
        from sennit.core.ops.metrics import merge

        wanted = arguments.get("format", "text")
        if wanted not in ("json", "text"):
            raise UsageError(f"metrics are 'json' or 'text', not {wanted!r:.80}")
        answers: list[tuple[Worker, Any]] = await self._ask("metrics", {"format": "json"})
        reading = merge([*(answer for _, answer in answers), self._own()])
        if wanted == "json":
            return reading
        from sennit.core.ops.exposition import OPENMETRICS, render

        media_type, data = render(reading, str(arguments.get("accept") or OPENMETRICS))
        return {"type": media_type, "text": data.decode()}

    def _own(self) -> list[dict[str, Any]]:
        """What the supervisor itself counts."""
        supervisor = self._supervisor
        hub = supervisor.hub
        serving = sum(each.state == READY for each in supervisor.workers.values())
        return [
            _metric("sennit_workers", "gauge", "Workers that serve.", serving),
            _metric(
                "sennit_worker_restarts",
                "counter",
                "Workers that were started in the place of another.",
                supervisor.restarts,
            ),
            _metric(
                "sennit_bus_dropped_messages",
                "counter",
                "Messages between workers that were dropped, since a worker was slow.",
                0 if hub is None else hub.dropped,
            ),
        ]

    async def _connections(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        answers = await self._ask("connections", arguments)
        if "killed" in answers[0][1]:
            return {"killed": sum(answer["killed"] for _, answer in answers)}
        found = [
            {**each, "worker": worker.number}
            for worker, answer in answers
            for each in answer["connections"]
        ]
        limit = arguments.get("limit", 1000)
        return {
            "total": sum(answer["total"] for _, answer in answers),
            "connections": found[:limit],
            "datagrams": [
                {**each, "worker": worker.number}
                for worker, answer in answers
                for each in answer["datagrams"]
            ],
        }

    async def _tasks(self, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        answers: list[tuple[Worker, Any]] = await self._ask("tasks", arguments)
        return [{**each, "worker": worker.number} for worker, answer in answers for each in answer]

    async def _dump(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        answers = await self._ask("dump", arguments)
        return {"workers": {str(worker.number): answer for worker, answer in answers}}

    # ── what is to be done ────────────────────────────────────────────────────

    async def _drain(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        for each in arguments:
            if each != "name":
                raise UsageError(f"drain has no argument {each!r:.80}; it has: name")
        name = arguments.get("name")
        if name is None:
            self._supervisor.request_stop()
        else:
            await self._to_its_end(self._drain_service(str(name)))
        return {"drained": name}

    async def _drain_service(self, name: str) -> None:
        supervisor = self._supervisor
        workers = [each for each in supervisor.workers.values() if each.state == READY]
        limit = supervisor.settings.drain + PATIENCE
        # Those that were replaced may still listen; that they go meanwhile is as good.
        answers = await asyncio.gather(
            *(
                each.ask("admin", timeout=limit, name="drain", arguments={"name": name})
                for each in [*workers, *supervisor.leaving]
            ),
            return_exceptions=True,
        )
        results = answers[: len(workers)]
        failed = [each for each in results if isinstance(each, Exception)]
        # A service of scale "one" is in the first worker alone; the others do not know it.
        if failed and len(failed) == len(results):
            error = failed[0]
            if isinstance(error, ControlError) and error.kind == "usage":
                raise UsageError(str(error))
            raise error

    async def _reload(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        _none("reload", arguments)
        try:
            found: dict[str, Any] = await self._to_its_end(self._supervisor.reload())
        except SennitError as error:
            logging.getLogger("sennit.admin").error(
                "not reloaded, everything is as it was: %s", error
            )
            raise
        return found

    async def _restart(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        _none("restart", arguments)
        await self._to_its_end(self._supervisor.restart())
        return {"restarted": sorted(self._supervisor.workers)}

    async def _loglevel(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        answers = await self._ask("loglevel", arguments)
        return answers[0][1]

    async def _to_its_end(self, doing: Awaitable[Any]) -> Any:
        """Wait for something that goes on when whoever has asked for it goes away."""
        task = asyncio.ensure_future(doing)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)


def _join(there: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add one worker's view of a service to that of others."""
    there["connections"] += more["connections"]
    there["restarts"] += more["restarts"]
    there["uptime"] = max(there["uptime"], more["uptime"])
    if more["trouble"] is not None:
        there["trouble"], there["state"] = more["trouble"], more["state"]


def _metric(name: str, kind: str, about: str, value: float) -> dict[str, Any]:
    return {
        "name": name,
        "type": kind,
        "help": about,
        "samples": [{"labels": {}, "value": value}],
    }


def _none(name: str, arguments: Mapping[str, Any]) -> None:
    if arguments:
        raise UsageError(f"{name} has no arguments")
