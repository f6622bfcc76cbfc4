"""The commands of a node: what ``sennit status`` and its kin are answered.

=============  ===================================================================
command        arguments; what comes back
=============  ===================================================================
``status``     the node and each service: state, URLs, uptime, connections, restarts
``ready``      whether it should get new work, and why not
``metrics``    ``format``: ``json``, or ``text`` for what ``accept`` asks for
``connections``  ``service``, ``peer``, ``state``, ``limit``; ``kill``: an id. Sockets for
               datagrams are named beside them
``tasks``      what every Task waits for
``drain``      ``name``: bring that service down; without it the whole node
``reload``     read the configuration again
``loglevel``   ``level``, ``logger``, ``seconds``
``dump``       stacks, and all that is open and awaited
=============  ===================================================================

Values are plain JSON, so that a supervisor can put those of its workers together.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from sennit.core.errors import SennitError, UsageError
from sennit.core.ops.admin import UnknownCommandError
from sennit.core.ops.datagrams import datagram_transports_of, drops_of, tally_of
from sennit.core.ops.instruments import (
    connections_of,
    label_of,
    measure,
    octets,
    process_metrics,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from sennit.core.reactor.calls import DelayedCall
    from sennit.core.service.node import Node
    from sennit.core.transport.datagrams import DatagramTransport
    from sennit.core.transport.stream import SocketTransport

__all__ = ["COMMANDS", "NodeCommands", "service_lines"]

_ARGUMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "status": (),
    "ready": (),
    "metrics": ("format", "accept"),
    "connections": ("service", "peer", "state", "limit", "kill"),
    "tasks": (),
    "drain": ("name",),
    "reload": (),
    "loglevel": ("level", "logger", "seconds"),
    "dump": (),
}

COMMANDS: Final = tuple(_ARGUMENTS)
"""Their names."""

STARVED: Final = 10.0
"""Seconds that work may wait for a thread before the node is not ready any more (fault-9)."""

TEMPORARY: Final = 600.0
"""Seconds that a log level lasts when it is not said."""

LEVELS: Final = ("debug", "info", "warning", "error", "critical")

STATES: Final = ("open", "half-closed", "closing", "gone")


class NodeCommands:
    """Does commands on a node (an `Administered`).

    Making one begins to measure the node's reactor, unless ``[admin] metrics`` is off.

    Args:
        node: On which.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._ids: WeakKeyDictionary[SocketTransport, str] = WeakKeyDictionary()
        self._numbers = count(1)
        self._levels: dict[str, tuple[int, DelayedCall | None]] = {}
        self._running: set[asyncio.Future[Any]] = set()
        admin = node.config.admin
        if admin is None or admin.metrics:
            process_metrics(measure(node.reactor).registry)

    async def command(self, name: str, arguments: Mapping[str, Any]) -> object:
        """Do a command.

        Raises:
            UnknownCommandError: There is none of that name.
            UsageError: Its arguments are wrong.
        """
        if name not in COMMANDS:
            raise UnknownCommandError(
                f"there is no command {name!r:.80}; there are: {', '.join(COMMANDS)}"
            )
        method: Callable[..., Awaitable[object]] = getattr(self, f"_{name}")
        known = _ARGUMENTS[name]
        for given in arguments:
            if given not in known:
                raise UsageError(
                    f"{name} has no argument {given!r:.80}; it has: {', '.join(known) or 'none'}"
                )
        return await method(**arguments)

    # ── how it is ─────────────────────────────────────────────────────────────

    async def _status(self) -> dict[str, Any]:
        from sennit.core._version import __version__

        node = self._node
        connections: dict[str, int] = {}
        for transport in connections_of(node.reactor):
            label = label_of(transport)
            connections[label] = connections.get(label, 0) + 1
        started = node.started
        return {
            "node": {
                "state": node.state,
                "pid": os.getpid(),
                "version": __version__,
                "python": platform.python_version(),
                "started": None if started is None else round(started.wall, 3),
                "uptime": None if started is None else round(monotonic() - started.monotonic, 3),
                "reloads": node.reloads,
                "not_ready": self._reasons(),
            },
            "services": [
                {
                    "name": name,
                    "type": entry.configured.plugin.name,
                    "state": entry.status,
                    "urls": list(entry.urls),
                    "uptime": round(monotonic() - entry.since.monotonic, 3),
                    "connections": connections.get(name, 0),
                    "restarts": entry.tree.restarts,
                    "trouble": entry.trouble,
                }
                for name, entry in node.entries.items()
            ],
        }

    async def _ready(self) -> dict[str, Any]:
        reasons = self._reasons()
        return {"ready": not reasons, "reasons": reasons}

    def _reasons(self) -> list[str]:
        reasons = list(self._node.ready())
        reactor = self._node.reactor
        for what, pool in (("a thread", reactor._threads), ("a name", reactor.resolver_threads)):
            if pool is not None and pool.oldest_age > STARVED:
                reasons.append(
                    f"work waits for {what} since {pool.oldest_age:.0f} seconds "
                    f"({pool.waiting} in all, {pool.size} threads)"
                )
        return reasons

    async def _metrics(self, format: str = "text", accept: str = "") -> object:  # noqa: A002 - the argument's name in the command
        from sennit.core.ops.metrics import registry_of

        if format not in ("json", "text"):
            raise UsageError(f"metrics are 'json' or 'text', not {format!r:.80}")
        reading = registry_of(self._node.reactor).read()
        if format == "json":
            return reading
        from sennit.core.ops.exposition import OPENMETRICS, render

        media_type, data = render(reading, _string("accept", accept) or OPENMETRICS)
        return {"type": media_type, "text": data.decode()}

    # ── connections ───────────────────────────────────────────────────────────

    async def _connections(
        self,
        service: str | None = None,
        peer: str | None = None,
        state: str | None = None,
        limit: Any = 1000,  # Any: what JSON gave, as all of these are
        kill: str | None = None,
    ) -> dict[str, Any]:
        if state is not None and state not in STATES:
            raise UsageError(f"a connection is {', '.join(STATES)}; not {state!r:.80}")
        if not isinstance(limit, int) or limit < 0:
            raise UsageError(f"a limit is a number from 0 on, not {limit!r:.80}")
        found: list[dict[str, Any]] = []
        total = killed = 0
        for transport in list(connections_of(self._node.reactor)):
            shown = self._connection(transport)
            if kill is not None:
                if shown["id"] == kill:
                    transport.abort("killed")
                    killed += 1
                continue
            if (
                (service is not None and shown["service"] != service)
                or (peer is not None and peer not in shown["peer"])
                or (state is not None and shown["state"] != state)
            ):
                continue
            total += 1
            if len(found) < limit:
                found.append(shown)
        if kill is not None:
            return {"killed": killed}
        datagrams = [
            _datagrams(transport)
            for transport in datagram_transports_of(self._node.reactor)
            if service in (None, label_of(transport)) and peer is None and state is None
        ]
        return {"total": total, "connections": found, "datagrams": datagrams}

    def _connection(self, transport: SocketTransport) -> dict[str, Any]:
        number = self._ids.get(transport)
        if number is None:
            # With the process's own, so that it is one connection of all workers'.
            number = self._ids[transport] = f"{os.getpid()}-{next(self._numbers)}"
        meter = self._node.reactor.meter
        began = None if meter is None else meter.opened.get(transport)
        counted = octets(transport._sock)
        protocol: Any = transport.get_protocol()
        names = [type(protocol).__qualname__]
        while hasattr(protocol, "get_protocol") and len(names) < 8:
            protocol = protocol.get_protocol()
            names.append(type(protocol).__qualname__)
        return {
            "id": number,
            "service": label_of(transport),
            "peer": str(transport.peer or ""),
            "local": str(transport.local or ""),
            "protocol": names[-1],
            "layers": names[:-1],
            "age": None if began is None else round(monotonic() - began, 3),
            "received": None if counted is None else counted[0],
            "sent": None if counted is None else counted[1],
            "queued": transport.get_write_buffer_size(),
            "reading": transport.is_reading(),
            "state": STATES[transport._state],
            "close_reason": transport.close_reason,
        }

    async def _tasks(self) -> list[dict[str, Any]]:
        from sennit.core.ops.dump import task_list

        return task_list(self._node.reactor)

    async def _dump(self) -> dict[str, Any]:
        from sennit.core.ops.dump import snapshot

        return snapshot(self._node.reactor, service_lines(self._node))

    # ── what is to be done ────────────────────────────────────────────────────

    async def _drain(self, name: str | None = None) -> dict[str, Any]:
        await self._to_its_end(self._node.drain(None if name is None else _string("name", name)))
        return {"drained": name}

    async def _reload(self) -> object:
        try:
            report = await self._to_its_end(self._node.reload())
        except SennitError as error:
            # Also for those who read the log and have not asked (HARDENING fault-18).
            logging.getLogger("sennit.admin").error(
                "not reloaded, everything is as it was: %s", error
            )
            raise
        return report.to_json()

    async def _to_its_end(self, doing: Awaitable[Any]) -> Any:  # Any: what it gives
        """Wait for something that goes on when whoever has asked for it goes away."""
        task = asyncio.ensure_future(doing)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _loglevel(
        self, level: str | None = None, logger: str = "", seconds: Any = TEMPORARY
    ) -> dict[str, Any]:
        name = "" if logger == "root" else _string("logger", logger)
        target = logging.getLogger(name or None)
        if level is None:
            return {"logger": name or "root", "level": _level_name(target.getEffectiveLevel())}
        if level not in LEVELS:
            raise UsageError(f"a level is {', '.join(LEVELS)}; not {level!r:.80}")
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds < 0:
            raise UsageError(f"seconds are a number from 0 on, not {seconds!r:.80}")
        before, timer = self._levels.pop(name, (target.level, None))
        if timer is not None:
            timer.cancel()
        target.setLevel(level.upper())
        if seconds:
            timer = self._node.reactor.call_later(seconds, self._level_back, name)
            self._levels[name] = (before, timer)
        return {
            "logger": name or "root",
            "level": level,
            "before": _level_name(before),
            "seconds": seconds,
        }

    def _level_back(self, name: str) -> None:
        before, _ = self._levels.pop(name)
        logging.getLogger(name or None).setLevel(before)

    def close(self) -> None:
        """Put back what was changed for a time."""
        for name, (_, timer) in list(self._levels.items()):
            if timer is not None:
                timer.cancel()
            self._level_back(name)


def _datagrams(transport: DatagramTransport) -> dict[str, Any]:
    """What there is to say of a socket for datagrams."""
    tally = tally_of(transport)
    return {
        "service": label_of(transport),
        "local": str(transport.local or ""),
        "peer": str(transport.peer or ""),
        "protocol": type(transport.get_protocol()).__qualname__,
        "received": None if tally is None else tally[0],
        "sent": None if tally is None else tally[2],
        "queued": transport.get_write_buffer_size(),
        "reading": transport.is_reading(),
        "drops": drops_of(transport),
    }


def service_lines(node: Node) -> list[str]:
    """A line on each service of a node, for a dump."""
    return [
        f"{name}: {entry.status} {' '.join(entry.urls)}".rstrip()
        for name, entry in node.entries.items()
    ]


def _string(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{name} is text, not {value!r:.80}")
    return value


def _level_name(level: int) -> str:
    return logging.getLevelName(level).lower() if level else "as its parent's"
