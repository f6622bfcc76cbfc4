"""What ``sennit new`` writes: a commented configuration that works as it stands.

The text is made from the configuration Structs of the services asked for: what
a plugin's sample sets is set, every other key is a comment with its default.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sennit.core.errors import ConfigError, MissingExtraError

try:
    import msgspec
except ImportError as error:  # pragma: no cover - tested in a process without it
    raise MissingExtraError(__name__, "sennit-core", "cli") from error

from sennit.core.plugin import SERVICES, BrokenPluginError, find_service, installed
from sennit.core.service.config import Directory, Listen
from sennit.core.service.filling import fields_of
from sennit.core.service.options import attribute_help

if TYPE_CHECKING:
    from sennit.core.plugin import ServicePlugin

__all__ = ["node_text", "write_node"]

# `Any` in this module: values of fields, which may be anything.

_HEAD = """\
# A node: each table [service.NAME] is one service. NAME is yours to choose; it is
# what logs and commands call the service.
#
#   sennit check     is this file good?
#   sennit up        run it; Ctrl-C ends it
#   sennit services  what types there are
#
# Relative paths begin at this file's folder. Secrets are never written here, but
# named: {env = "NAME"}, {file = "path"} or {credential = "name"}.
"""

_TLS = """\
# A certificate is named once and referred to: listen = [{url = "tls://:8443", tls = "main"}]
#
# [tls.main]
# certificate = "cert.pem"
# key = "key.pem"
"""

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>It works</title>
<style>
  body { font: 18px/1.6 system-ui, sans-serif; max-width: 34em; margin: 15vh auto; padding: 0 1em;
         color: #1d2b36; background: #f6f4ef; }
  h1 { font-weight: 600; }
  code { background: #e7e2d6; border-radius: .3em; padding: .1em .4em; }
</style>
</head>
<body>
<h1>It works.</h1>
<p>This page is <code>public/index.html</code>. Change it, put files beside it, and reload.</p>
</body>
</html>
"""


def write_node(folder: Path, kinds: Sequence[str] = ()) -> list[Path]:
    """Write a node into `folder`; nothing that is there is changed.

    Args:
        folder: Made if it is not there.
        kinds: Types of the services to begin with; web (if installed) and echo
            when left out.

    Returns:
        The files written.

    Raises:
        ConfigError: A file is there already, or cannot be written.
        UnknownPluginError: There is no such service.
    """
    plugins = [find_service(kind) for kind in dict.fromkeys(kinds)] if kinds else _usual()
    files: dict[Path, str] = {folder / "sennit.toml": node_text(plugins)}
    for plugin in plugins:
        for name, text in _files(plugin).items():
            files.setdefault(folder / name, text)
    # The configuration must be new; what it serves may be there already.
    config = folder / "sennit.toml"
    if config.exists() or config.is_symlink():
        raise ConfigError("is there already; nothing was written", file=str(config))
    written: list[Path] = []
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
        except FileExistsError:
            if path == config or not path.is_file():
                raise ConfigError("is there already", file=str(path)) from None
            continue
        except OSError as error:
            raise ConfigError(f"cannot be written: {error.strerror}", file=str(path)) from None
        written.append(path)
    return written


def _usual() -> list[ServicePlugin]:
    """What to begin with where nothing was asked for: what is there and can be loaded."""
    there = installed(SERVICES)
    found: list[ServicePlugin] = []
    for kind in ("web", "echo"):
        if kind in there:
            try:
                plugin = find_service(kind)
                plugin.config_type()
            except BrokenPluginError:
                continue
            found.append(plugin)
    return found


def node_text(plugins: Sequence[ServicePlugin]) -> str:
    """A configuration with one service of each plugin."""
    return "\n".join([_HEAD, _TLS, *(_service_text(each) for each in plugins)])


def _service_text(plugin: ServicePlugin) -> str:
    struct = plugin.config_type()
    helps = attribute_help(struct)
    lines = [f"# {plugin.help}.", f"[service.{plugin.name}]", f'type = "{plugin.name}"']
    for field in fields_of(struct):
        comment = textwrap.wrap(helps.get(field.name, ""), 96)
        if field.encode_name in plugin.sample:
            text = _pair(field.encode_name, plugin.sample[field.encode_name])
        else:
            value = _default(field)
            if value is None:
                # Nothing to show for it: its help says what it is.
                text = f"# {field.encode_name} = …"
            else:
                shown = _pair(field.encode_name, value)
                text = shown if field.name == "listen" else f"# {shown}"
        lines += ["", *(f"# {each}" for each in comment), text]
    return "\n".join(lines) + "\n"


def _default(field: Any) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return None


def _pair(key: str, value: object) -> str:
    return f"{key} = {_toml(value)}"


def _toml(value: object) -> str:
    """A value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Listen):
        if value.tls is None:
            return _toml(value.url)
        return f"{{url = {_toml(value.url)}, tls = {_toml(value.tls)}}}"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        table = cast("Mapping[str, object]", value)
        return "{" + ", ".join(_pair(key, each) for key, each in table.items()) + "}"
    if isinstance(value, list | tuple | set | frozenset):
        return "[" + ", ".join(_toml(each) for each in cast("Sequence[object]", value)) + "]"
    if isinstance(value, msgspec.Struct):
        return _toml(msgspec.structs.asdict(value))
    # JSON's escapes are TOML's.
    return json.dumps(str(value), ensure_ascii=False)


def _files(plugin: ServicePlugin) -> Mapping[str, str]:
    """The plugin's own sample files, else a page in every folder its sample names."""
    files = plugin.sample_files()
    if files:
        return files
    folders = [
        plugin.sample[field.encode_name]
        for field in msgspec.structs.fields(plugin.config_type())
        if field.encode_name in plugin.sample and field.type == Directory
    ]
    return {f"{folder}/index.html": _PAGE for folder in folders}
