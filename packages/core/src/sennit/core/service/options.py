"""A command per service type, made from the fields of its configuration.

Each key of the Struct is an option of the same name; what `[service.NAME]` would
say is collected and checked by the very code that checks files. Keys of a table
inside are options with a hyphen: ``[service.NAME.limits] idle`` is ``--limits-idle``.
"""

from __future__ import annotations

import enum
import inspect
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sennit.core.errors import MissingExtraError

try:
    import click
    import msgspec
except ImportError as error:  # pragma: no cover - tested in a process without it
    raise MissingExtraError(__name__, "sennit-core", "cli") from error

from sennit.core.plugin import find_service
from sennit.core.service.config import Listen, Secret
from sennit.core.service.filling import describe, fields_of
from sennit.core.service.settings import RunOptions

if TYPE_CHECKING:
    from sennit.core.service.loading import NodeConfig

__all__ = ["attribute_help", "run_options", "service_command"]

# `Any` in this module: type objects, and values as click hands them over.

_LEVELS: Final = ("debug", "info", "warning", "error")


class _Key:
    """One option: which key it fills, and how its text becomes a value."""

    __slots__ = ("convert", "many", "parameter", "path")

    def __init__(
        self,
        path: tuple[str, ...],
        parameter: click.Parameter,
        convert: Callable[[Any], Any],
        many: bool,
    ) -> None:
        self.path = path
        self.parameter = parameter
        self.convert = convert
        self.many = many


def service_command(
    name: str, run: Callable[[NodeConfig, RunOptions], int], called: str = ""
) -> click.Command:
    """The command ``sennit NAME``.

    Args:
        name: A service type.
        run: Runs a checked configuration as the options say.
        called: What is typed behind ``sennit``, where it is not the name alone.

    Raises:
        UnknownPluginError: There is no such service.
        BrokenPluginError: It cannot be loaded.
    """
    plugin = find_service(name)
    struct = plugin.config_type()
    keys = _keys(struct, plugin.positional)
    options = run_options()
    running = [str(each.name) for each in options]

    def callback(**given: Any) -> int:
        from sennit.core.service.loading import from_options

        values: dict[str, Any] = {}
        for index, key in enumerate(keys):
            value = given[f"key{index}"]
            if value is None or (key.many and not value):
                continue
            table = values
            for step in key.path[:-1]:
                table = table.setdefault(step, {})
            table[key.path[-1]] = (
                [key.convert(each) for each in value] if key.many else key.convert(value)
            )
        tls = {each: given[each] for each in ("certificate", "key") if given[each] is not None}
        if tls:
            # One certificate is all that options can give; it goes with every tls: URL, and
            # with STARTTLS and its like where the service has a key for that.
            if any(key.path == ("tls",) for key in keys):
                values.setdefault("tls", "main")
            values["listen"] = [
                {"url": url, "tls": "main"}
                if isinstance(url, str) and url.startswith(("tls:", "tls+"))
                else url
                for url in values.get("listen", [])
            ]
        config = from_options(plugin, values, tls=tls)
        return plugin.run(config, RunOptions(**{each: given[each] for each in running}), run)

    for index, key in enumerate(keys):
        key.parameter.name = f"key{index}"
    # One line each, as they stand (click's \b).
    lines = [f"sennit {called or name} {each}".rstrip() for each in plugin.example.split("\n")]
    example = "\b\nExample: " + "\n         ".join(lines)
    return click.Command(
        name,
        callback=callback,
        params=[*(key.parameter for key in keys), *_certificate_options(), *options],
        help=inspect.getdoc(struct) and f"{plugin.help}.",
        short_help=plugin.help,
        epilog=example,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )


def _certificate_options() -> list[click.Parameter]:
    """Options of every service for the one certificate that options can give."""
    return [
        click.Option(
            ["--certificate"], metavar="FILE", help="PEM certificate and chain for tls: URLs."
        ),
        click.Option(["--key"], metavar="FILE", help="PEM private key of the certificate."),
    ]


class _Workers(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic in newer ones
    """A number of processes, or ``cpus``."""

    name = "workers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        if value == "cpus":
            return "cpus"
        text = str(value)
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 1024):
            self.fail(f"{value!r} is neither a number from 1 to 1024 nor 'cpus'", param, ctx)
        return int(text)


def run_options() -> list[click.Option]:
    """Options of whatever runs services: what they say becomes `RunOptions`."""
    return [
        click.Option(
            ["--workers"],
            type=_Workers(),
            metavar="NUMBER|cpus",
            help="Processes that serve, under a supervisor. [default: one, without]",
        ),
        click.Option(
            ["--drain"],
            type=click.FloatRange(0, 86_400),
            metavar="SECONDS",
            help="Time that what is under way has to finish after a signal. [default: 30]",
        ),
        click.Option(
            ["--drain-delay"],
            type=click.FloatRange(0, 3600),
            metavar="SECONDS",
            help="Time before that with readiness denied and connections accepted. [default: 0]",
        ),
        click.Option(
            ["--user"],
            metavar="NAME",
            help="Whom to become once everything listens; needs root.",
        ),
        click.Option(
            ["--pid-file"],
            metavar="FILE",
            help="Where to hold the number of the process while it runs.",
        ),
        click.Option(
            ["--log-level"],
            type=click.Choice(_LEVELS),
            help="What the log on standard error begins at. [default: info]",
        ),
        click.Option(
            ["--log-format"],
            type=click.Choice(["text", "json"]),
            help="What its lines are. [default: text]",
        ),
        click.Option(
            ["--watch"],
            type=click.FloatRange(0, 3600),
            metavar="SECONDS",
            help="Name callbacks in the log that keep the loop longer, as 0.1. [default: none]",
        ),
    ]


def _keys(
    struct: type[Any], positional: tuple[str, ...] = (), prefix: tuple[str, ...] = ()
) -> list[_Key]:
    helps = attribute_help(struct)
    found: list[_Key] = []
    fields = {each.encode_name: each for each in fields_of(struct)}
    ordered = [*(each for each in positional if each in fields)]
    ordered += [each for each in fields if each not in positional]
    for name in ordered:
        field = fields[name]
        inner = _inner(field.type)
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            found += _keys(inner, prefix=(*prefix, name))
            continue
        help_text = helps.get(field.name, "")
        key = _key(
            (*prefix, name), inner, field, help_text, argument=not prefix and name in positional
        )
        if key is not None:
            found.append(key)
    return found


def _key(
    path: tuple[str, ...], inner: Any, field: Any, help_text: str, *, argument: bool
) -> _Key | None:
    many = typing.get_origin(inner) is list
    item = _inner(typing.get_args(inner)[0]) if many else inner
    kind, metavar, convert = _click_type(item)
    if kind is None:
        # Tables within lists and the like: for a file, not for a line.
        return None
    default = _default(field)
    if argument:
        name = path[0]
        text = name.upper().replace("_", "-") + ("…" if many else "")
        return _Key(
            path,
            click.Argument(
                [name],
                type=kind,
                nargs=-1 if many else 1,
                required=field.required,
                metavar=text if field.required else f"[{text}]",
            ),
            convert,
            many,
        )
    option = "--" + "-".join(path).replace("_", "-")
    shown = f"{help_text} [default: {default}]" if default else help_text
    if field.required:
        shown = f"{shown} [required]".lstrip()
    parameter = (
        click.Option([f"{option}/--no-{option[2:]}"], default=None, help=shown)
        if item is bool
        else click.Option(
            [option], type=kind, multiple=many, default=None, metavar=metavar, help=shown
        )
    )
    return _Key(path, parameter, convert, many)


def _click_type(item: Any) -> tuple[Any, str | None, Callable[[Any], Any]]:
    """click's type, what help shows for it, and the value as a file would say it."""
    if typing.get_origin(item) is typing.Literal:
        choices = {str(each): each for each in typing.get_args(item)}
        return click.Choice(list(choices)), None, choices.__getitem__
    if isinstance(item, type) and issubclass(item, enum.Enum):
        members = {str(each.value): each.value for each in item}
        return click.Choice(list(members)), None, members.__getitem__
    if item is bool:
        return bool, None, bool
    if item is int:
        return int, "NUMBER", int
    if item is float:
        return float, "NUMBER", float
    if item is Listen:
        return str, "URL", str
    if item is Path:
        # Relative to where the command is run, not to a file that is not there.
        return str, "PATH", lambda text: str(Path(text).expanduser())
    if item is Secret:
        return str, "env:NAME|file:PATH", _secret
    if item is str:
        return str, "TEXT", str
    if isinstance(item, types.UnionType) or typing.get_origin(item) is typing.Union:
        words = describe(item)
        if Path in typing.get_args(item):
            return str, "PATH", str
        if str in typing.get_args(item):
            return str, words if len(words) < 30 else "TEXT", str
    return None, None, str


def _secret(text: str) -> dict[str, str]:
    """``env:NAME`` as the table that a file would have; a secret itself is refused there."""
    source, colon, name = text.partition(":")
    return {source: name} if colon and source in ("env", "file", "credential") else {}


def _inner(kind: Any) -> Any:
    """A type without ``Annotated`` and without ``None``."""
    while typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        rest = [each for each in typing.get_args(kind) if each is not type(None)]
        if len(rest) == 1:
            return _inner(rest[0])
    return kind


def _default(field: Any) -> str:
    """A default for help; empty where there is nothing to show."""
    if field.default is not msgspec.NODEFAULT:
        value = field.default
    elif field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()
    else:
        return ""
    if isinstance(value, list):
        return ", ".join(
            each.url if isinstance(each, Listen) else str(each)
            for each in typing.cast("list[object]", value)
        )
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, enum.Enum):
        return str(value.value)
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def attribute_help(struct: type[Any]) -> dict[str, str]:
    """What the ``Attributes:`` sections of a class and its bases say of each name."""
    found: dict[str, str] = {}
    for cls in reversed(struct.__mro__):
        document = cls.__dict__.get("__doc__")
        if not document:
            continue
        inside = False
        name = ""
        indent = 0
        for line in inspect.cleandoc(document).split("\n"):
            if not inside:
                inside = line.rstrip() == "Attributes:"
                continue
            text = line.strip()
            if text and not line.startswith(" "):
                break
            depth = len(line) - len(line.lstrip())
            if text and (not name or depth <= indent) and ":" in text:
                name, _, text = text.partition(":")
                indent = depth
                found[name] = text.strip()
            elif text and name:
                found[name] += " " + text
    return found
