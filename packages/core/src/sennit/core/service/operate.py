"""The commands that talk to a running node: ``sennit status`` and its kin.

Each asks the node's admin socket (`sennit.core.ops.admin`) and shows what came
back: as tables for people, or with ``--json`` as it is. The socket is the one of
the configuration file (``[admin] socket``; nothing else of the file is looked at,
so a file with a mistake in it does not keep anybody from a running node), or what
``--socket`` says.

Whatever comes from peers is escaped before a terminal sees it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from sennit.core.errors import ConfigError, MissingExtraError

try:
    import click
except ImportError as error:  # pragma: no cover - tested in a process without it
    raise MissingExtraError(__name__, "sennit-core", "cli") from error

from sennit.core.service.showing import harmless, show_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["OPERATIONS", "find_socket"]

DEFAULT_FILE: Final = "sennit.toml"
"""Whose admin socket is asked when no file is named."""

DEFAULT_SOCKET: Final = "run/admin.sock"
"""As `sennit.core.ops.config.AdminConfig` has it, which would need msgspec."""


def find_socket(file: str | None, socket: str | None) -> str:
    """Where the node of a configuration file listens for commands.

    Raises:
        ConfigError: The file cannot be read, or has no ``[admin]``.
    """
    if socket is not None:
        return socket
    import tomllib

    shown = file or DEFAULT_FILE
    path = Path(shown).absolute()
    try:
        raw = tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(
            "there is no such file; name the one that the node was started with, "
            "or its --socket PATH",
            file=shown,
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot be read: {error}; or give --socket PATH", file=shown) from None
    admin: Any = raw.get("admin")
    if not isinstance(admin, dict):
        raise ConfigError(
            "there is no table [admin], without which a node has no admin socket", file=shown
        )
    named: Any = cast("dict[str, Any]", admin).get("socket", DEFAULT_SOCKET)
    if not isinstance(named, str):
        raise ConfigError("expected a path", file=shown, table="admin", key="socket")
    return str(path.parent / Path(named).expanduser())


def _ask(where: Mapping[str, Any], command: str, timeout: float | None = 30.0, **more: Any) -> Any:
    from sennit.core.ops.admin import ask_blocking

    given = {name: value for name, value in more.items() if value is not None}
    path = find_socket(where["file"], where["socket"])
    return ask_blocking(path, command, timeout=timeout, **given)


# ── how it is shown ───────────────────────────────────────────────────────────


def _json(found: object) -> None:
    click.echo(json.dumps(found, indent=2))


def _seconds(value: float | None) -> str | None:
    """``3 d 4 h``: the two largest units."""
    if value is None:
        return None
    if value < 60:
        return f"{value:.1f} s"
    left = int(value)
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def _octets(value: float | None) -> str | None:
    if value is None:
        return None
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


# ── commands ──────────────────────────────────────────────────────────────────

_WHERE = (
    click.argument("file", required=False, type=click.Path(), metavar="[FILE]"),
    click.option(
        "--socket", type=click.Path(), help="The node's admin socket, instead of the file's."
    ),
    click.option("--json", "as_json", is_flag=True, help="Show what the node said, as JSON."),
)


def _command(
    example: str, *options: Callable[[Any], Any]
) -> Callable[[Callable[..., int | None]], click.Command]:
    """A command with the arguments that all have."""

    def make(fn: Callable[..., int | None]) -> click.Command:
        made: Any = fn
        for each in reversed((*_WHERE, *options)):
            made = each(made)
        name = fn.__name__.strip("_")
        return click.command(name, epilog=f"Example: {example}")(made)

    return make


@_command("sennit status examples/node/sennit.toml")
def _status(as_json: bool, **where: Any) -> int:
    """Show a running node and its services: state, URLs, connections, restarts."""
    found = _ask(where, "status")
    if as_json:
        _json(found)
        return 0
    node = found["node"]
    click.echo(
        f"{node['state']}, process {node['pid']}, "
        f"up {_seconds(node['uptime']) or 'not yet'}, reloaded {node['reloads']} times"
    )
    for reason in node["not_ready"]:
        click.echo(f"not ready: {harmless(reason)}")
    show_table(
        ("service", "type", "state", "up", "connections", "restarts", "urls"),
        (
            (
                each["name"],
                each["type"],
                each["state"],
                _seconds(each["uptime"]),
                each["connections"],
                each["restarts"],
                " ".join(each["urls"]),
            )
            for each in found["services"]
        ),
    )
    if "workers" in found:
        show_table(
            ("worker", "process", "state", "up"),
            (
                (each["number"], each["pid"], each["state"], _seconds(each["uptime"]))
                for each in found["workers"]
            ),
        )
    return 0


@_command("sennit ready && echo send it work")
def _ready(as_json: bool, **where: Any) -> int:
    """Say whether a running node should get new work; the status is 0 if so, else 1."""
    found = _ask(where, "ready")
    if as_json:
        _json(found)
    elif found["ready"]:
        click.echo("ready")
    for reason in () if as_json else found["reasons"]:
        click.echo(f"not ready: {harmless(reason)}")
    return 0 if found["ready"] else 1


@_command("sennit metrics | grep sennit_connections_active")
def _metrics(as_json: bool, **where: Any) -> None:
    """Show what a running node has counted, as OpenMetrics."""
    if as_json:
        _json(_ask(where, "metrics", format="json"))
    else:
        click.echo(_ask(where, "metrics", format="text")["text"], nl=False)


@_command(
    "sennit connections --service site --state closing",
    click.option("--service", help="Those of this service."),
    click.option("--peer", help="Those whose peer has this in its address."),
    click.option("--state", help="open, half-closed or closing."),
    click.option("--limit", type=click.IntRange(0), default=1000, show_default=True),
    click.option("--kill", metavar="ID", help="End this one now, and show none."),
)
def _connections(
    as_json: bool,
    file: str | None,
    socket: str | None,
    **filters: Any,
) -> int:
    """List the connections of a running node: peer, service, age, octets, state."""
    found = _ask({"file": file, "socket": socket}, "connections", **filters)
    if as_json:
        _json(found)
        return 0
    if filters["kill"] is not None:
        killed = found["killed"]
        click.echo("ended" if killed else f"there is no connection {harmless(filters['kill'])}")
        return 0 if killed else 1
    show_table(
        ("id", "service", "peer", "age", "in", "out", "queued", "state", "protocol", "why"),
        (
            (
                each["id"],
                each["service"],
                each["peer"],
                _seconds(each["age"]),
                _octets(each["received"]),
                _octets(each["sent"]),
                _octets(each["queued"]),
                each["state"],
                "/".join([*each["layers"], each["protocol"]]),
                each["close_reason"],
            )
            for each in found["connections"]
        ),
    )
    if found["total"] > len(found["connections"]):
        click.echo(f"… and {found['total'] - len(found['connections'])} more (see --limit)")
    if found.get("datagrams"):  # none, or a node that knows nothing of them
        show_table(
            ("datagrams of", "local", "peer", "received", "sent", "queued", "dropped", "protocol"),
            (
                (
                    each["service"],
                    each["local"],
                    each["peer"],
                    each["received"],
                    each["sent"],
                    _octets(each["queued"]),
                    ", ".join(f"{count} {why}" for why, count in each["drops"].items()),
                    each["protocol"],
                )
                for each in found["datagrams"]
            ),
        )
    return 0


@_command("sennit tasks")
def _tasks(as_json: bool, **where: Any) -> None:
    """List what every Task of a running node waits for, down to the innermost line."""
    found = _ask(where, "tasks")
    if as_json:
        _json(found)
        return
    for each in found:
        worker = f"worker {each['worker']}: " if "worker" in each else ""
        click.echo(f"{worker}{harmless(each['name'])}: {harmless(each['coroutine'])}")
        for place in each["waits"]:
            click.echo(f"    {harmless(place)}")


@_command(
    "sennit drain --name site",
    click.option("--name", help="Bring this service down alone; a reload brings it back."),
)
def _drain(as_json: bool, name: str | None, **where: Any) -> None:
    """Let a running node finish what is under way and end; or one service of it."""
    found = _ask(where, "drain", timeout=None, name=name)
    if as_json:
        _json(found)
    else:
        click.echo("the node ends" if name is None else f"{harmless(name)} is down")


@_command("sennit reload && sennit status")
def _reload(as_json: bool, **where: Any) -> None:
    """Have a running node read its configuration again: all of it works, or nothing changes."""
    found = _ask(where, "reload", timeout=None)
    if as_json:
        _json(found)
        return
    told = False
    for word, names in cast("dict[str, Any]", found).items():
        if isinstance(names, list) and names:
            click.echo(f"{word}: {', '.join(map(harmless, cast('list[object]', names)))}")
            told = True
    if not told:
        click.echo("nothing has changed")


@_command("sennit restart && sennit status")
def _restart(as_json: bool, **where: Any) -> None:
    """Replace every worker by one that runs the code on the disk, one after the other."""
    found = _ask(where, "restart", timeout=None)
    if as_json:
        _json(found)
    else:
        click.echo(f"replaced workers {', '.join(map(str, found['restarted']))}")


@_command(
    "sennit loglevel --logger sennit.peer --for 60 debug",
    click.option("--logger", default="", help="Of this logger, instead of all.", metavar="NAME"),
    click.option(
        "--for",
        "seconds",
        type=click.FloatRange(0),
        default=600.0,
        show_default=True,
        help="Seconds after which it is as before; 0 for never.",
    ),
)
def _loglevel(as_json: bool, logger: str, seconds: float, **where: Any) -> None:
    """Change what a running node logs, for a time: LEVEL is debug, info, warning or error."""
    found = _ask(where, "loglevel", level=where["level"], logger=logger, seconds=seconds)
    if as_json:
        _json(found)
    elif "before" not in found:
        click.echo(f"{harmless(found['logger'])}: {harmless(found['level'])}")
    else:
        until = f"for {_seconds(found['seconds'])}" if found["seconds"] else "until it ends"
        click.echo(
            f"{harmless(found['logger'])}: {found['level']} {until} (before: {found['before']})"
        )


# LEVEL comes before FILE: it is what one types.
_loglevel.params.insert(0, click.Argument(["level"], required=False, metavar="[LEVEL]"))


@_command("sennit dump > stuck.txt")
def _dump(as_json: bool, **where: Any) -> None:
    """Show what a running node does this moment: stacks, Tasks, timers, descriptors."""
    from sennit.core.ops.dump import text_of

    found = _ask(where, "dump")
    if as_json:
        _json(found)
        return
    if "workers" not in found:
        click.echo(text_of(found))
        return
    for number, one in cast("dict[str, Any]", found["workers"]).items():
        click.echo(f"worker {number}")
        click.echo(text_of(one))


OPERATIONS: Final = (
    _status,
    _ready,
    _metrics,
    _connections,
    _tasks,
    _drain,
    _reload,
    _restart,
    _loglevel,
    _dump,
)
"""The commands, in the order in which they are listed."""
