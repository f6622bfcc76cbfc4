"""From a TOML file, or from options of the command line, to services ready to start.

`load` reads and checks a whole file and starts nothing; `NodeConfig.build`
assembles its services. What is wrong is told in one `ConfigError`, each problem
with file, line, table and key.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sennit.core.errors import ConfigError, SennitError
from sennit.core.plugin import (
    BrokenPluginError,
    ServicePlugin,
    UnknownPluginError,
    find_service,
)
from sennit.core.service.config import NodeTable, ServiceConfig, TLSConfig
from sennit.core.service.filling import TablePath, World, allowed, fill, is_table
from sennit.core.service.lines import locate
from sennit.core.service.tree import MultiService, ServiceContext, StartError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sennit.core.auth.interfaces import IChecker
    from sennit.core.auth.plugin import UsersPlugin
    from sennit.core.interfaces import IService
    from sennit.core.ops.config import AdminConfig
    from sennit.core.service.tree import Surroundings
    from sennit.core.transport.tls import ServerTLS

    ConfiguredUsers = tuple[Any, UsersPlugin]  # Any: the plugin's own Struct

__all__ = [
    "ConfiguredService",
    "NodeConfig",
    "Origin",
    "SeveralConfigError",
    "from_options",
    "load",
]

SHOWN: Final = 8
"""Problems that one message names; the rest is counted."""

SINGLE: Final = ("node", "admin")
"""Tables that there is one of, without a name."""

_LARGEST: Final = 4 * 1024 * 1024
"""Octets of a configuration file; more is a mistake."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class SeveralConfigError(ConfigError):
    """A configuration has more than one thing wrong with it.

    Attributes:
        errors: Each of them, in the order of the file.
    """

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        self.errors = tuple(errors)
        first = self.errors[0]
        lines = [f"{len(self.errors)} problems", *(f"  {each}" for each in self.errors[:SHOWN])]
        if len(self.errors) > SHOWN:
            lines.append(f"  … and {len(self.errors) - SHOWN} more")
        super().__init__("\n".join(lines))
        self.file = first.file


class Origin:
    """Where values came from, to say so in errors.

    Args:
        file: The file's name as the user gave it; ``None`` for options.
        lines: Line of each path in it.
        arguments: Keys that the command line takes without an option.
    """

    def __init__(
        self,
        file: str | None,
        lines: Mapping[TablePath, int] | None = None,
        arguments: Iterable[str] = (),
    ) -> None:
        self.file = file
        self._lines = dict(lines or {})
        self._arguments = set(arguments)

    def line(self, path: TablePath) -> int | None:
        """The line of `path`, or of what holds it."""
        while path:
            if path in self._lines:
                return self._lines[path]
            path = path[:-1]
        return None

    def within(self, table: TablePath, key: str) -> TablePath:
        """The path of a key in a table, which may be one of a table within: ``upstream.check``.

        Keys have dots of their own (``zone."example.org".update``), so that what is in the file
        tells where the steps are; of a key that is not there, its deepest table does.
        """
        found = table
        left = key
        while True:
            length = len(found)
            steps = {
                path[length]
                for path in self._lines
                if len(path) > length and path[:length] == found
            }
            names = [each for each in steps if isinstance(each, str)]
            fitting = [each for each in names if f"{left}.".startswith(f"{each}.")]
            if not fitting:
                return (*found, left)
            step = max(fitting, key=len)
            found = (*found, step)
            if left == step:
                return found
            left = left[len(step) + 1 :]

    def error(self, path: TablePath, problem: str) -> ConfigError:
        """A `ConfigError` at `path`."""
        if self.file is None:
            return ConfigError(problem, key=self._option(path[2:]))
        # A path of one step is a key beside the tables.
        depth = 1 if path and path[0] in SINGLE else 2 if len(path) > 1 else 0
        table = ".".join(str(each) for each in path[:depth]) or None
        return ConfigError(
            problem, file=self.file, table=table, key=_key(path[depth:]), line=self.line(path)
        )

    def _option(self, path: TablePath) -> str | None:
        names = [str(each) for each in path if isinstance(each, str)]
        if not names:
            return None
        if names[0] in self._arguments:
            return names[0].upper()
        if names[0] == "listen":
            names = names[:1]
        return "--" + "-".join(names).replace("_", "-")


class ConfiguredService:
    """One ``[service.NAME]``, checked.

    Attributes:
        name: Its name.
        plugin: What its type means.
        config: Its values, of the plugin's own Struct.
        users: Names of the tables ``[users.NAME]`` that it asked for when it was built.
    """

    __slots__ = ("config", "name", "plugin", "users")

    def __init__(self, name: str, plugin: ServicePlugin, config: ServiceConfig) -> None:
        self.name = name
        self.plugin = plugin
        self.config = config
        self.users: set[str] = set()

    def __repr__(self) -> str:
        return f"<ConfiguredService {self.name}: {self.plugin.name}>"


class NodeConfig:
    """A whole configuration, checked; nothing is started.

    Attributes:
        origin: Where it came from.
        folder: Where its relative paths begin.
        tls: Certificates by name.
        services: Its services, in the order of the file.
        users: Users by name: what each table was filled into, and the plugin of its type.
        node: How the process runs.
        admin: How it is operated; ``None`` where the file does not say.
        file: The file, absolute; ``None`` when the values came from options.
    """

    def __init__(
        self,
        origin: Origin,
        folder: Path,
        tls: Mapping[str, TLSConfig],
        services: Iterable[ConfiguredService],
        *,
        node: NodeTable | None = None,
        admin: AdminConfig | None = None,
        users: Mapping[str, ConfiguredUsers] | None = None,
    ) -> None:
        self.origin = origin
        self.folder = folder
        self.tls = dict(tls)
        self.services = list(services)
        self.node = NodeTable() if node is None else node
        self.admin = admin
        self.file: Path | None = None
        self._contexts: dict[str, ServerTLS] = {}
        self.users = dict(users or {})
        self._checkers: dict[str, IChecker] = {}

    def server_tls(self, name: str) -> ServerTLS:
        """The loaded certificate of ``[tls.NAME]``, one object for all that refer to it.

        Raises:
            ConfigError: Its files cannot be used together, or TLS is not installed.
        """
        if name not in self._contexts:
            self._contexts[name] = self._load_tls(name)
        return self._contexts[name]

    @property
    def contexts(self) -> Mapping[str, ServerTLS]:
        """The certificates that are loaded, by name."""
        return dict(self._contexts)

    def checker(self, name: str) -> IChecker:
        """The users of ``[users.NAME]``, one object for all that refer to them.

        Raises:
            ConfigError: They cannot be used.
        """
        if name not in self._checkers:
            config, plugin = self.users[name]
            try:
                self._checkers[name] = plugin.build(config, self.folder)
            except ConfigError as error:
                if error.file is not None:
                    raise
                path: TablePath = ("users", name)
                path = path if error.key is None else (*path, error.key)
                raise self.origin.error(path, error.problem) from error
            except (SennitError, OSError, ValueError) as error:
                raise self.origin.error(("users", name), str(error)) from error
        return self._checkers[name]

    def succeed(self, old: NodeConfig) -> dict[str, tuple[ServerTLS, ServerTLS]]:
        """Load every certificate anew, and go on with the objects that `old` made for them.

        Services that stay hold those objects, so they are what is changed by a reload, once
        all of it is known to succeed (`ServerTLS.take_over`). Users whose table is what it
        was stay the same object, too.

        Args:
            old: The configuration that this one is to replace; it may be this one.

        Returns:
            By name: the object that is in use, and the one that has what is new.

        Raises:
            ConfigError: A certificate cannot be used; nothing was changed.
        """
        before = dict(old._contexts)
        errors: list[ConfigError] = []
        found: dict[str, tuple[ServerTLS, ServerTLS]] = {}
        for name in self.tls:
            try:
                fresh = self._load_tls(name)
            except ConfigError as error:
                errors.append(error)
                continue
            if name in before:
                found[name] = before[name], fresh
                self._contexts[name] = before[name]
            else:
                self._contexts[name] = fresh
        _raise(errors)
        for name, checker in old._checkers.items():
            if self.same_users(name, old):
                self._checkers.setdefault(name, checker)
        return found

    def same_users(self, name: str, old: NodeConfig) -> bool:
        """Whether ``[users.NAME]`` says here what it says in `old`."""
        return name in self.users and self.users[name] == old.users.get(name)

    def _load_tls(self, name: str) -> ServerTLS:
        config = self.tls[name]
        try:
            from sennit.core.transport.tls import ServerTLS

            return ServerTLS(
                config.certificate,
                config.key,
                chain=config.chain,
                password=None if config.password is None else config.password.reveal(),
                sni=[(each.certificate, each.key) for each in config.sni] or None,
                strict_sni=config.strict_sni,
                client_ca=config.client_ca,
                require_client_certificate=config.require_client_certificate,
                min_version=config.min_version,
            )
        except (SennitError, OSError, ValueError) as error:
            raise self.origin.error(("tls", name), str(error)) from error

    def build(self) -> tuple[MultiService, dict[str, IService]]:
        """Assemble every service; nothing is opened.

        Returns:
            The tree to start, and each service in it by name.

        Raises:
            ConfigError: A service cannot be assembled.
        """
        errors: list[ConfigError] = []
        for name in self.tls:
            try:
                self.server_tls(name)
            except ConfigError as error:
                errors.append(error)
        for name in self.users:
            try:
                self.checker(name)
            except ConfigError as error:
                errors.append(error)
        built: dict[str, IService] = {}
        for each in self.services if not errors else ():
            try:
                built[each.name] = self.build_service(each)
            except ConfigError as error:
                errors.append(error)
        _raise(errors)
        return MultiService("node", built.values()), built

    def build_service(
        self, each: ConfiguredService, surroundings: Surroundings | None = None
    ) -> IService:
        """Assemble one service; nothing is opened.

        Args:
            each: One of `services`.
            surroundings: What it shares with the others of its node.

        Raises:
            ConfigError: It cannot be assembled.
        """

        def users(name: str) -> IChecker:
            # Noted, since a reload that changes them must reach this service.
            each.users.add(name)
            return self.checker(name)

        context = ServiceContext(each.name, self.folder, self.server_tls, surroundings, users)
        try:
            return each.plugin.build(each.config, context)
        except ConfigError as error:
            raise self.placed(each.name, error) from error
        except SennitError as error:
            raise self.origin.error(("service", each.name), str(error)) from error
        except (OSError, ValueError) as error:
            problem = f"cannot be set up: {error}"
            raise self.origin.error(("service", each.name), problem) from error

    def located(self, error: StartError) -> ConfigError:
        """What a service said while it started, with the place in the file."""
        path: TablePath = ("service", error.service)
        if error.key is not None:
            path = self.origin.within(path, error.key)
            if error.index is not None:
                path = (*path, error.index)
        return self.origin.error(path, error.problem)

    def placed(self, name: str, error: ConfigError) -> ConfigError:
        """What a plugin said of its configuration, with the place in the file."""
        if error.file is not None or error.table is not None:
            return error
        path: TablePath = ("service", name)
        if error.key is not None:
            path = self.origin.within(path, error.key)
        return self.origin.error(path, error.problem)


def load(file: str | Path, *, environ: Mapping[str, str] | None = None) -> NodeConfig:
    """Read and check a configuration file. Nothing is started.

    Args:
        file: A TOML file.
        environ: Environment variables; the process's own when left out.

    Raises:
        ConfigError: It cannot be used; `SeveralConfigError` for several reasons.
    """
    shown = str(file)
    path = Path(file).absolute()
    text = _read(path, shown)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(shown, text, error) from None
    except ValueError:
        # Python's own limit, which the reader of TOML lets through.
        raise ConfigError("not TOML: a number with too many digits", file=shown) from None
    except RecursionError:
        raise ConfigError("tables are nested too deeply", file=shown) from None
    origin = Origin(shown, locate(text))
    config = _check(raw, origin, path.parent, environ)
    config.file = path
    return config


def from_options(
    plugin: ServicePlugin,
    values: Mapping[str, Any],  # Any: as tomllib would have read them
    *,
    tls: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> NodeConfig:
    """The configuration of one service, from options of the command line.

    Args:
        plugin: The service's type, and its name.
        values: As in ``[service.NAME]``.
        tls: As in ``[tls.main]``.
        folder: Where relative paths begin; the working directory when left out.

    Raises:
        ConfigError: The values cannot be used.
    """
    origin = Origin(None, arguments=plugin.positional)
    raw: dict[str, Any] = {"service": {plugin.name: {**values, "type": plugin.name}}}
    if tls:
        raw["tls"] = {"main": dict(tls)}
    return _check(raw, origin, (folder or Path.cwd()).absolute(), None, plugin)


def _read(path: Path, shown: str) -> str:
    try:
        if path.is_dir():
            raise ConfigError("found a folder, expected a TOML file", file=shown)
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise ConfigError(
            "there is no such file; `sennit new` writes one to begin with", file=shown
        ) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=shown) from None
    if len(data) > _LARGEST:
        raise ConfigError(f"found more than {_LARGEST} octets", file=shown)
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("found octets that are not UTF-8", file=shown, line=line) from None


def _syntax_error(shown: str, text: str, error: tomllib.TOMLDecodeError) -> ConfigError:
    match = re.search(r"^(.*) \(at (?:line (\d+), column (\d+)|end of document)\)$", str(error))
    if match is None:
        return ConfigError(f"not TOML: {error}", file=shown)
    line = int(match[2]) if match[2] else text.count("\n") + 1
    column = f", column {match[3]}" if match[3] else ""
    return ConfigError(f"not TOML: {match[1]}{column}", file=shown, line=line)


def _check(
    raw: Mapping[str, Any],
    origin: Origin,
    folder: Path,
    environ: Mapping[str, str] | None,
    plugin: ServicePlugin | None = None,
) -> NodeConfig:
    tables = {kind: _tables(raw, kind) for kind in ("tls", "users", "service")}
    world = World(folder, {kind: list(found) for kind, found in tables.items()}, environ)
    for key, value in raw.items():
        if key in SINGLE:
            if not isinstance(value, dict):
                world.add((key,), f"expected a table [{key}], found a value")
        elif key not in tables:
            found = "table" if isinstance(value, dict) else "key"
            world.add((key,), f"found an unknown {found}; {allowed(key, [*tables, *SINGLE])}")
        elif not isinstance(value, dict):
            world.add((key,), f"expected tables [{key}.NAME], found a value")
    if not tables["service"] and "service" not in raw:
        world.add((), "found no service; write a table [service.NAME] with a type")
    node = fill(NodeTable, _tables(raw, "node"), ("node",), world)
    admin: AdminConfig | None = None
    if "admin" in raw:
        from sennit.core.ops.config import AdminConfig

        admin = fill(AdminConfig, _tables(raw, "admin"), ("admin",), world)
    tls: dict[str, TLSConfig] = {}
    for name, table in tables["tls"].items():
        if _named(world, ("tls", name), table):
            filled = fill(TLSConfig, table, ("tls", name), world)
            if filled is not None:
                tls[name] = filled
    users: dict[str, ConfiguredUsers] = {}
    for name, table in tables["users"].items():
        if _named(world, ("users", name), table):
            found_users = _users(name, table, world)
            if found_users is not None:
                users[name] = found_users
    services: list[ConfiguredService] = []
    for name, table in tables["service"].items():
        if _named(world, ("service", name), table):
            service = _service(name, table, world, plugin)
            if service is not None:
                services.append(service)
    _check_collisions(services, admin, world)
    ordered = sorted(world.problems, key=lambda each: origin.line(each.path) or 0)
    _raise([origin.error(each.path, each.text) for each in ordered])
    return NodeConfig(origin, folder, tls, services, node=node, admin=admin, users=users)


def _tables(raw: Mapping[str, Any], kind: str) -> dict[str, Any]:
    found = raw.get(kind)
    return dict(found) if is_table(found) else {}


def _named(world: World, path: TablePath, table: object) -> bool:
    if not isinstance(table, dict):
        world.add(path, f"found a value, expected a table; write [{path[0]}.NAME] above it")
        return False
    if not _NAME.fullmatch(str(path[1])):
        world.add(path, "a name has letters, digits, '.', '_' and '-', at most 64 of them")
        return False
    return True


def _users(name: str, table: Mapping[str, Any], world: World) -> ConfiguredUsers | None:
    """``[users.NAME]``, filled into what the plugin of its type says."""
    from sennit.core.auth.plugin import CHECKERS, UsersPlugin
    from sennit.core.plugin import find, installed

    path: TablePath = ("users", name)
    kind = table.get("type")
    if not isinstance(kind, str):
        there = ", ".join(installed(CHECKERS))
        problem = "key 'type' is missing; it is" if kind is None else f"type {kind!r} is not"
        world.add(path, f"{problem} a kind of users (installed are {there})")
        return None
    try:
        plugin = find(CHECKERS, kind)
        if not isinstance(plugin, UsersPlugin):
            world.add((*path, "type"), f"plugin {kind!r} is no UsersPlugin but {plugin!r}")
            return None
        struct = plugin.config_type()
    except UnknownPluginError as error:
        world.add((*path, "type"), f'found "{kind}", which is not installed: {error.hint}')
        return None
    except BrokenPluginError as error:
        world.add((*path, "type"), str(error))
        return None
    values = {key: value for key, value in table.items() if key != "type"}
    config = fill(struct, values, path, world)
    return None if config is None else (config, plugin)


def _service(
    name: str, table: Mapping[str, Any], world: World, plugin: ServicePlugin | None
) -> ConfiguredService | None:
    path: TablePath = ("service", name)
    kind = table.get("type")
    if kind is None:
        from sennit.core.plugin import SERVICES, installed

        there = ", ".join(installed(SERVICES)) or "none"
        world.add(path, f"key 'type' is missing; it is the kind of service (installed are {there})")
        return None
    if not isinstance(kind, str):
        world.add((*path, "type"), f"expected a string, found {kind!r}")
        return None
    try:
        plugin = plugin or find_service(kind)
        struct = plugin.config_type()
    except UnknownPluginError as error:
        world.add((*path, "type"), f'found "{kind}", which is not installed: {error.hint}')
        return None
    except BrokenPluginError as error:
        world.add((*path, "type"), str(error))
        return None
    values = {key: value for key, value in table.items() if key != "type"}
    try:
        config = fill(struct, values, path, world)
    except (TypeError, NotImplementedError) as error:
        # msgspec does not take every annotation; that is the plugin's fault, not the file's.
        world.add(path, f"the configuration of plugin {kind!r} is broken: {error}")
        return None
    if config is None:
        return None
    if not config.listen:
        world.add((*path, "listen"), "found no endpoint; a service listens at one at least")
    for index, each in enumerate(config.listen):
        if each.tls is not None and not each.url.startswith(("tls:", "tls+", "fd:")):
            better = re.sub(r"^(tcp|unix):", _with_tls, each.url)
            world.add(
                (*path, "listen", index),
                f'found a certificate for "{each.url}", where nothing is encrypted; '
                f'write "{better}", or leave tls out',
            )
    return ConfiguredService(name, plugin, config)


def _with_tls(match: re.Match[str]) -> str:
    return "tls:" if match[1] == "tcp" else "tls+unix:"


def _check_collisions(
    services: Iterable[ConfiguredService], admin: AdminConfig | None, world: World
) -> None:
    """Two of our own at one place: no need to try that.

    And no use: whoever shares a place for the time of a reload would do so for good.
    """
    seen: dict[str, str] = {}
    for index, one in enumerate(() if admin is None else admin.listen):
        _collide(seen, "[admin]", ("admin", "listen", index), one.url, world)
    for service in services:
        path = ("service", service.name, "listen")
        for index, each in enumerate(service.config.listen):
            _collide(seen, f"[service.{service.name}]", (*path, index), each.url, world)


def _collide(seen: dict[str, str], table: str, path: TablePath, url: str, world: World) -> None:
    place = re.sub(r"^tls(\+unix)?:", lambda m: "unix:" if m[1] else "tcp:", url)
    place = place.partition("?")[0]
    if place.endswith(":0"):
        return
    if place in seen:
        world.add(path, f'found "{url}", where {seen[place]} listens already')
    seen.setdefault(place, table)


def _key(path: TablePath) -> str | None:
    """``listen[1].tls``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text or None


def _raise(errors: list[ConfigError]) -> None:
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise SeveralConfigError(errors)
