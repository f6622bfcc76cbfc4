"""Going on with a changed configuration: prepare everything, then swap; or change nothing.

Services whose configuration did not change, tables ``[users.NAME]`` that they use included,
are not touched. One that changed is built and prepared beside the one that runs; it gets a
copy of the same listening sockets (``sockets.py``), so no connection is refused in between.
When everything that is new was prepared it begins, and what it replaces drains in the
background. Certificates are loaded
anew and swapped in place; services may do likewise with files of theirs
(`Service.prepare_reload`). Whatever fails before that leaves everything as it was
(HARDENING fault-18).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sennit.core.errors import ConfigError, SennitError, UsageError
from sennit.core.service.node import DRAINING, STOPPED, abandon, raise_all
from sennit.core.service.tree import StartError, begin_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.core.service.loading import ConfiguredService, NodeConfig
    from sennit.core.service.node import Entry, Node
    from sennit.core.transport.tls import ServerTLS

__all__ = ["PreparedReload", "ReloadReport", "prepare_reload"]


class ReloadReport:
    """What a reload changes; names of services, but for the last two.

    Attributes:
        added: Those that were not there.
        changed: Those that were replaced.
        removed: Those that are there no more.
        kept: Those that were not touched.
        certificates: Tables ``[tls.NAME]`` that were read anew.
        later: Keys that count at the next start only, such as ``[node] workers``.
    """

    __slots__ = ("added", "certificates", "changed", "kept", "later", "removed")

    def __init__(self) -> None:
        self.added: list[str] = []
        self.changed: list[str] = []
        self.removed: list[str] = []
        self.kept: list[str] = []
        self.certificates: list[str] = []
        self.later: list[str] = []

    def __repr__(self) -> str:
        return f"<ReloadReport {self}>"

    def __str__(self) -> str:
        parts = [
            f"{word} {', '.join(names)}"
            for word in ("added", "changed", "removed", "kept")
            if (names := getattr(self, word))
        ]
        if self.certificates:
            parts.append(f"read certificates {', '.join(self.certificates)} anew")
        if self.later:
            parts.append(f"only a restart takes up {', '.join(self.later)}")
        return "; ".join(parts) or "nothing"

    def to_json(self) -> dict[str, list[str]]:
        """The names by word."""
        return {word: list(getattr(self, word)) for word in self.__slots__}


class PreparedReload:
    """A reload of which nothing can fail any more but what services do when they begin.

    Attributes:
        report: What it changes.
    """

    def __init__(
        self,
        node: Node,
        config: NodeConfig,
        report: ReloadReport,
        fresh: list[Entry],
        certificates: list[tuple[ServerTLS, ServerTLS]],
        puts: list[Callable[[], object]],
    ) -> None:
        self._node = node
        self._config = config
        self._fresh = fresh
        self._certificates = certificates
        self._puts = puts
        self._over = False
        self.report = report

    async def commit(self) -> ReloadReport:
        """Swap.

        Raises:
            UsageError: It was ended already, or the node is at its end.
            Exception: What a new service met when it began; everything is as it was.
        """
        if self._over:
            raise UsageError("this reload has ended already")
        self._over = True
        node = self._node
        try:
            try:
                for each in self._fresh:
                    await begin_tree(each.tree, node.reactor)
                if node.state in (DRAINING, STOPPED):
                    # The end has begun meanwhile, and would not know of them.
                    raise UsageError(f"the node is {node.state}: it is not reloaded")
            except BaseException as error:
                await abandon(self._fresh)
                if isinstance(error, StartError):
                    raise self._config.located(error) from error
                raise
            for old, new in self._certificates:
                old.take_over(new)
            for put in self._puts:
                put()
            fresh = {each.configured.name: each for each in self._fresh}
            entries: dict[str, Entry] = {}
            for one in node.wanted(self._config):
                entries[one.name] = fresh.get(one.name) or node.entries[one.name]
            node.end_later(node.replaced(self._config, entries))
        finally:
            node.reload_ended()
        logging.getLogger("sennit.node").info("reloaded: %s", self.report)
        return self.report

    async def abort(self) -> None:
        """Give back what was prepared; harmless when it has ended already."""
        if not self._over:
            self._over = True
            try:
                await abandon(self._fresh)
            finally:
                self._node.reload_ended()


async def prepare_reload(node: Node) -> PreparedReload:
    """Read the configuration and prepare what it changes (for `Node.prepare_reload`).

    Raises:
        ConfigError: It cannot be used; everything is as it was.
    """
    config = node.config if node.reading is None else node.reading()
    report = ReloadReport()
    certificates = config.succeed(node.config)
    report.certificates = sorted(certificates)
    fresh_ones, kept = _compare(node, config, report)
    puts = await _ask_kept(config, kept)
    fresh = node.build(config, fresh_ones)
    try:
        await node.prepare(config, fresh)
    except BaseException:
        await abandon(fresh)
        raise
    return PreparedReload(node, config, report, fresh, list(certificates.values()), puts)


def _compare(
    node: Node, config: NodeConfig, report: ReloadReport
) -> tuple[list[ConfiguredService], list[Entry]]:
    """Which services are to be built, and which stay."""
    fresh: list[ConfiguredService] = []
    kept: list[Entry] = []
    there = node.entries
    wanted = node.wanted(config)
    for each in wanted:
        entry = there.get(each.name)
        if entry is None:
            report.added.append(each.name)
            fresh.append(each)
        elif (
            _same(entry.configured, each)
            and all(config.same_users(name, node.config) for name in entry.configured.users)
            and not entry.drained
            and not entry.tree.gave_up
        ):
            report.kept.append(each.name)
            kept.append(entry)
        else:
            # One that was brought down, or failed too often, gets another chance.
            report.changed.append(each.name)
            fresh.append(each)
    names = {each.name for each in wanted}
    report.removed = [name for name in there if name not in names]
    for table, old, new in (
        ("node", node.config.node, config.node),
        ("admin", node.config.admin, config.admin),
    ):
        if old != new:
            there_now = old if new is None else new
            fields: tuple[str, ...] = getattr(type(there_now), "__struct_fields__", ())
            report.later += [
                f"[{table}] {name}"
                for name in fields
                if getattr(old, name, None) != getattr(new, name, None)
            ]
    return fresh, kept


def _same(old: ConfiguredService, new: ConfiguredService) -> bool:
    return old.plugin.name == new.plugin.name and old.config == new.config


async def _ask_kept(config: NodeConfig, kept: list[Entry]) -> list[Callable[[], object]]:
    """Let services that stay get ready for other contents of their files."""
    puts: list[Callable[[], object]] = []
    errors: list[ConfigError] = []
    for each in kept:
        name = each.configured.name
        try:
            put = await each.tree.prepare_reload()
        except StartError as error:
            errors.append(config.located(error))
        except ConfigError as error:
            errors.append(config.placed(name, error))
        except (SennitError, OSError, ValueError) as error:
            errors.append(config.origin.error(("service", name), str(error)))
        else:
            if put is not None:
                puts.append(put)
    raise_all(errors)
    return puts
