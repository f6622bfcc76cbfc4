"""How a process runs: what the command line says, then what the file says.

Plain values that go through JSON, since a supervisor gets them from the process that read
the configuration and is to load nothing itself.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sennit.core.service.config import NodeTable

__all__ = ["RunOptions", "Settings", "processors"]


class RunOptions:
    """What the command line says of running; ``None`` where it does not.

    Attributes:
        drain: Seconds that what is under way has to finish at the end.
        drain_delay: Seconds of denied readiness before.
        workers: A number, or ``"cpus"``.
        user: Whom to become.
        pid_file: Where the process' number goes.
        log_level: Level of the log on standard error.
        log_format: ``text`` or ``json``.
        watch: Seconds that a callback may keep the loop; 0 for no watch.
        more: Options that other modules add (`sennit.core.service.options.run_options`).
    """

    __slots__ = (
        "drain",
        "drain_delay",
        "log_format",
        "log_level",
        "more",
        "pid_file",
        "user",
        "watch",
        "workers",
    )

    def __init__(
        self,
        *,
        drain: float | None = None,
        drain_delay: float | None = None,
        workers: int | str | None = None,
        user: str | None = None,
        pid_file: str | None = None,
        log_level: str | None = None,
        log_format: str | None = None,
        watch: float | None = None,
        **more: Any,  # Any: values as click hands them over
    ) -> None:
        self.drain = drain
        self.drain_delay = drain_delay
        self.workers = workers
        self.user = user
        self.pid_file = pid_file
        self.log_level = log_level
        self.log_format = log_format
        self.watch = watch
        self.more = more


class Settings:
    """How the process runs, as `sennit.core.service.config.NodeTable` has it, all said.

    Attributes:
        workers: How many; ``None`` for one process without a supervisor.
        drain: Seconds.
        drain_delay: Seconds.
        user: Name or number.
        group: Name or number.
        groups: Names or numbers.
        capabilities: Names.
        no_new_privs: As there.
        pid_file: Absolute.
        start_timeout: Seconds.
        hang_timeout: Seconds; 0 for never.
        bus: A URL, or ``None``.
        resolver: Name of the plugin that looks names up, or ``None`` for the system.
        log_level: ``debug``, ``info``, ``warning`` or ``error``.
        log_format: ``text`` or ``json``.
        watch: Seconds; 0 for no watch.
        admin: Absolute path of the admin socket, or ``None``.
        probes: URLs at which a supervisor answers probes.
        more: Further options, as plain values.
    """

    workers: int | None = None
    drain: float = 30.0
    drain_delay: float = 0.0
    user: str | None = None
    group: str | None = None
    groups: list[str] | None = None
    capabilities: list[str]
    no_new_privs: bool = False
    pid_file: str | None = None
    start_timeout: float = 60.0
    hang_timeout: float = 30.0
    bus: str | None = None
    resolver: str | None = None
    log_level: str = "info"
    log_format: str = "text"
    watch: float = 0.0
    admin: str | None = None
    probes: list[str]
    more: dict[str, Any]

    def __init__(self, **values: Any) -> None:  # Any: JSON
        self.capabilities = []
        self.probes = []
        self.more = {}
        known = {*Settings.__annotations__}
        for name, value in values.items():
            if name not in known:
                raise TypeError(f"there is no setting {name!r}")
            setattr(self, name, value)

    @classmethod
    def merged(cls, table: NodeTable, options: RunOptions, admin: str | None = None) -> Settings:
        """What the options say, else what the table says."""
        found = cls(
            drain=table.drain if options.drain is None else options.drain,
            drain_delay=table.drain_delay if options.drain_delay is None else options.drain_delay,
            user=table.user if options.user is None else options.user,
            group=table.group,
            groups=table.groups,
            capabilities=list(table.capabilities),
            no_new_privs=table.no_new_privs,
            start_timeout=table.start_timeout,
            hang_timeout=table.hang_timeout,
            bus=table.bus,
            resolver=table.resolver,
            log_level=options.log_level or table.log_level,
            log_format=options.log_format or table.log_format,
            watch=table.watch if options.watch is None else options.watch,
            admin=admin,
            more=dict(options.more),
        )
        workers = table.workers if options.workers is None else options.workers
        found.workers = processors() if workers == "cpus" else None
        if workers is not None and workers != "cpus":
            found.workers = int(workers)
        if options.pid_file is not None:
            found.pid_file = os.path.abspath(options.pid_file)
        elif table.pid_file is not None:
            found.pid_file = str(table.pid_file)
        return found

    def to_json(self) -> Mapping[str, Any]:
        """Every setting by name."""
        return {name: getattr(self, name) for name in Settings.__annotations__}


def processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
