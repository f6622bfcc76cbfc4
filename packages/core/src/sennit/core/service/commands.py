"""The sub-commands of `sennit`: ``up``, ``check``, ``new``, ``services``, and the plugins'.

A command that a plugin brings is loaded when its name is used; listing names
loads none of them.
"""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from pkgutil import resolve_name
from signal import SIGTERM
from typing import TYPE_CHECKING, Any, Final

from sennit.core.errors import ConfigError, MissingExtraError, SennitError

try:
    import click
except ImportError as error:  # pragma: no cover - tested in a process without it
    raise MissingExtraError(__name__, "sennit-core", "cli") from error

from sennit.core._version import __version__
from sennit.core.plugin import (
    COMMANDS,
    KNOWN_SERVICES,
    SERVICES,
    BrokenPluginError,
    InstalledPlugin,
    UnknownPluginError,
    installed,
)
from sennit.core.service.operate import OPERATIONS
from sennit.core.service.showing import show_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sennit.core.service.loading import NodeConfig
    from sennit.core.service.settings import RunOptions

__all__ = ["SennitCommand", "execute", "run_node"]

DEFAULT_FILE: Final = "sennit.toml"
"""What ``sennit up`` reads when no file is named."""

_FULL: Final = (errno.ENOSPC, errno.EFBIG, errno.EIO)

_FILE = click.argument("file", default=DEFAULT_FILE, type=click.Path(), metavar="[FILE]")


def execute(arguments: Sequence[str]) -> int:
    """Run the command; every failure becomes a message and a status."""
    try:
        # Workers are started with the same arguments.
        given = list(arguments)
        result = sennit.main(given, prog_name="sennit", standalone_mode=False, obj=[*given])
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (ConfigError, UnknownPluginError, BrokenPluginError, MissingExtraError) as error:
        _fail(str(error))
        return 2
    except SennitError as error:
        _fail(str(error))
        return 1
    except click.Abort:
        _fail("interrupted")
        return 130
    except KeyboardInterrupt:
        return 130
    except SystemExit as stop:
        # SIGTERM has stopped the reactor: a good end of a server, which does not come by here, and
        # none of a tool, which has not done what it was to do.
        if stop.code != 0:
            raise
        return 128 + SIGTERM
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter must not try again.
        sys.stdout = None
        return 0
    except OSError as error:
        if error.errno not in _FULL or error.filename is not None:
            raise
        _fail(f"what is printed cannot be written: {error.strerror}")
        sys.stdout = None
        return 1
    return result if isinstance(result, int) else 0


def _fail(message: str) -> None:
    from sennit.core.service.logs import escape

    lines = [escape(line, 4096) for line in message.split("\n")]
    click.echo("sennit: " + "\n".join(lines), err=True)


class SennitCommand(click.Group):
    """The group whose further commands are plugins."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Ours first, then those of plugins."""
        return [*self.commands, *(name for name in _plugins() if name not in self.commands)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, loaded now if a plugin brings it."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        plugin = _plugins().get(cmd_name)
        if plugin is None:
            return None
        if plugin.group == SERVICES:
            return _service_command(cmd_name)
        found = plugin.load()
        if not isinstance(found, click.Command):
            reason = f"{plugin.target} is no click command but {found!r}"
            raise BrokenPluginError(cmd_name, plugin.distribution, reason)
        if cmd_name in installed(SERVICES):
            if not isinstance(found, click.Group):
                reason = f"{plugin.target} is no group of commands, and there is a service, too"
                raise BrokenPluginError(cmd_name, plugin.distribution, reason)
            found.add_command(_Serve(cmd_name))
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say what would have been right."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            raise click.UsageError(_no_command(name, self.list_commands(ctx)), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading the plugins'."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, each.get_short_help_str(80)) for name, each in self.commands.items()]
            )
        services = [
            (name, _about(each)) for name, each in _plugins().items() if each.group == SERVICES
        ]
        if services:
            with formatter.section("Services (run one from options)"):
                formatter.write_dl(services)
        tools = [
            (name, _about(each)) for name, each in _plugins().items() if each.group == COMMANDS
        ]
        if tools:
            with formatter.section("Tools"):
                formatter.write_dl(tools)


class _Serve(click.Command):
    """``sennit NAME serve``, where NAME is a group of tools and a service, too.

    The service's options are made when it is used.
    """

    def __init__(self, service: str) -> None:
        plugin = installed(SERVICES)[service]
        super().__init__("serve", short_help=_about(plugin))
        self._service = service

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        command = _service_command(self._service, f"{self._service} serve")
        return command.make_context(info_name, args, parent, **extra)


def _service_command(service: str, called: str = "") -> click.Command:
    from sennit.core.service.options import service_command

    return service_command(service, run_node, called)


_found: dict[str, InstalledPlugin] | None = None


def _plugins() -> dict[str, InstalledPlugin]:
    """Plugins that make commands; read once per process, which runs one command."""
    global _found
    if _found is None:
        # A service that has tools of its own is a command among them: `sennit NAME serve`.
        _found = {**installed(SERVICES), **installed(COMMANDS)}
    return _found


def _about(plugin: InstalledPlugin) -> str:
    """A line on a service or tool that is not loaded."""
    if plugin.name in KNOWN_SERVICES:
        about = KNOWN_SERVICES[plugin.name][1]
        return about if plugin.group == SERVICES else f"Tools of its client, and serve: {about}"
    if plugin.target.startswith("sennit.core.service."):
        # The core's own, whose modules load nothing else.
        own = resolve_name(plugin.target)
        return own.get_short_help_str(80) if isinstance(own, click.Command) else str(own.help)
    return f"brought by {plugin.distribution}"


def _no_command(name: str, names: list[str]) -> str:
    from difflib import get_close_matches

    if name in KNOWN_SERVICES:
        return (
            f"service {name!r} is not installed: pip install '{KNOWN_SERVICES[name][0]}[service]'"
        )
    close = get_close_matches(name, names, 1)
    if close:
        return f"no command {name!r}; did you mean {close[0]!r}?"
    hint = ""
    if Path(name).suffix == ".toml":
        hint = f" Did you mean `sennit up {name}`?"
    return f"no command {name!r}.{hint} There are: {', '.join(names)}"


@click.group(
    cls=SennitCommand,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: sennit new mynode && sennit up mynode/sennit.toml",
)
@click.version_option(__version__, "-V", "--version", message="sennit %(version)s")
def sennit() -> None:
    """Run network services from one file, or one of them from options."""


def _up(file: str, check: bool, **given: Any) -> int:
    """Run the services of FILE (sennit.toml) until Ctrl-C or SIGTERM."""
    from sennit.core.service.loading import load
    from sennit.core.service.settings import RunOptions

    config = load(file)
    if check:
        return _report_check(config, file)
    return run_node(config, RunOptions(**given))


class _Up(click.Command):
    """``sennit up``, whose options are read when it is used: they need more imports."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        if len(self.params) == 2:
            from sennit.core.service.options import run_options

            self.params += run_options()
        return super().get_params(ctx)


up = _FILE(
    click.option("--check", is_flag=True, help="Check the file and start nothing.")(
        click.command(
            "up", cls=_Up, epilog="Example: sennit up --workers 2 examples/node/sennit.toml"
        )(_up)
    )
)
sennit.add_command(up)


@sennit.command(epilog="Example: sennit check examples/node/sennit.toml")
@_FILE
def check(file: str) -> int:
    """Check FILE (sennit.toml) and the files it names (certificates, zones …); start nothing."""
    from sennit.core.service.loading import load

    return _report_check(load(file), file)


def _report_check(config: NodeConfig, file: str) -> int:
    from sennit.core.service.tree import Service, StartError

    _, built = config.build()
    for each in config.services:
        service = built[each.name]
        try:
            # What is no `Service` has nothing to be looked through.
            remarks = service.examine() if isinstance(service, Service) else []
        except StartError as error:
            raise config.located(error) from error
        urls = ", ".join(listen.url for listen in each.config.listen)
        click.echo(f"{each.name}  {each.plugin.name}  {urls}")
        for remark in remarks:
            click.echo(f"  {remark}")
    click.echo(f"{file}: good")
    return 0


def run_node(config: NodeConfig, options: RunOptions) -> int:
    """Run a checked configuration (also for the plugins' commands)."""
    from sennit.core.service.runner import run

    return run(config, options, arguments=click.get_current_context().find_root().obj)


@sennit.command(epilog="Example: sennit new mynode --service web")
@click.argument("directory", default=".", type=click.Path(), metavar="[DIR]")
@click.option(
    "--service",
    "kinds",
    multiple=True,
    metavar="TYPE",
    help="A service to begin with; may be given again. [default: web if installed, and echo]",
)
def new(directory: str, kinds: tuple[str, ...]) -> int:
    """Write a commented sennit.toml, and what it serves, into DIR (here)."""
    from sennit.core.service.scaffold import write_node

    folder = Path(directory)
    for path in write_node(folder, kinds):
        click.echo(f"wrote {path}")
    file = folder / DEFAULT_FILE
    click.echo(f"now try: sennit up{'' if directory == '.' else f' {file}'}")
    return 0


@sennit.command(epilog="Example: sennit services")
def services() -> int:
    """List the services that are installed, and those that could be."""
    from sennit.core.plugin import find_service

    there = installed(SERVICES)
    rows: list[tuple[str, str, str]] = []
    status = 0
    for name, entry in there.items():
        try:
            about = find_service(name).help
        except BrokenPluginError as error:
            about = f"BROKEN: {error.reason}"
            status = 1
        rows.append((name, f"{entry.distribution} {entry.version}", about))
    rows += [
        (name, "not installed", f"{about}: pip install '{distribution}[service]'")
        for name, (distribution, about) in KNOWN_SERVICES.items()
        if name not in there
    ]
    show_table(("type", "from", "what it does"), rows)
    return status


for each in OPERATIONS:
    sennit.add_command(each)
