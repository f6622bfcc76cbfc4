"""Plugins: what other distributions offer by name, found without loading it.

A distribution names its plugins as entry points; each group is a kind of thing
(`GROUPS`). `installed` reads the names, which is all that a list or a help text
needs; `find` loads the one that was asked for. A plugin that cannot be loaded
is reported by name and does not stop the rest.

How a strand makes a service of itself, in three small modules::

    # sennit/mail/plugin.py: imported to list and describe; loads nothing heavy
    from sennit.core.plugin import ServicePlugin

    smtp = ServicePlugin(
        "smtp",
        "Receive mail by SMTP",
        config="sennit.mail.config:SMTPConfig",
        build="sennit.mail.service:build_smtp",
        try_commands="sennit.mail.service:try_smtp",  # optional
    )

    # sennit/mail/config.py: the only module that needs msgspec (extra `service`)
    from sennit.core.service.config import Directory, Listen, ServiceConfig, listen_on

    class SMTPConfig(ServiceConfig, frozen=True, kw_only=True):
        '''Receive mail.

        Attributes:
            spool: Folder that holds the queue.
        '''

        listen: list[Listen] = listen_on("tcp://127.0.0.1:2525")
        spool: Directory

    # sennit/mail/service.py
    from sennit.core.service.server import ServerService

    def build_smtp(config: SMTPConfig, context: ServiceContext) -> Service:
        return ServerService(context.name, Factory(config), context.endpoints(config))

    def try_smtp(config: SMTPConfig, urls: Sequence[str]) -> list[str]:
        return [f"swaks --server {url.removeprefix('tcp://')}" for url in urls]

and in its ``pyproject.toml``::

    [project.entry-points."sennit.services"]
    smtp = "sennit.mail.plugin:smtp"

Nothing here needs more than the standard library.
"""  # noqa: D214 - the section belongs to the example

from __future__ import annotations

import importlib

from sennit.core.errors import MissingExtraError, SennitError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from importlib.metadata import EntryPoint
    from typing import Any, Final, Literal

    from sennit.core.interfaces import IService
    from sennit.core.service.loading import NodeConfig
    from sennit.core.service.settings import RunOptions
    from sennit.core.service.tree import ServiceContext

    Go = Callable[[NodeConfig, RunOptions], int]

__all__ = [
    "COMMANDS",
    "GROUPS",
    "KNOWN_SERVICES",
    "SERVICES",
    "BrokenPluginError",
    "InstalledPlugin",
    "ServicePlugin",
    "UnknownPluginError",
    "find",
    "find_service",
    "installed",
    "resolve",
]

SERVICES: Final = "sennit.services"
"""Services that a configuration can name: `ServicePlugin` objects."""

COMMANDS: Final = "sennit.commands"
"""Further sub-commands of `sennit`: click commands."""

GROUPS: Final = (
    SERVICES,
    COMMANDS,
    "sennit.endpoints",
    "sennit.reactors",
    "sennit.resolvers",
    "sennit.checkers",
    "sennit.http_clients",
    "sennit.web_handlers",
    "sennit.buses",
)
"""Every entry point group that Sennit reads."""

KNOWN_SERVICES: Final[Mapping[str, tuple[str, str]]] = {
    "web": ("sennit-web", "Serve files, resources and applications over HTTP"),
    "dns": ("sennit-names", "Answer DNS questions: authority, cache, resolver"),
    "smtp": ("sennit-mail", "Receive and relay mail by SMTP"),
    "imap": ("sennit-mail", "Give access to mailboxes by IMAP"),
    "pop3": ("sennit-mail", "Give access to mailboxes by POP3"),
    "ssh": ("sennit-conch-ssh", "Shells, SFTP and forwarding over SSH"),
    "telnet": ("sennit-conch-ssh", "Terminals over telnet"),
    "irc": ("sennit-words-irc-xmpp", "Chat by IRC"),
    "xmpp": ("sennit-words-irc-xmpp", "Chat and presence by XMPP"),
    "ftp": ("sennit-ftp", "Serve files by FTP and FTPS"),
    "news": ("sennit-news-nntp", "Serve newsgroups by NNTP"),
}
"""Services that strands are known to bring: name to (distribution, what it does)."""

_OTHER_NAMES: Final[Mapping[str, str]] = {
    "http": "web",
    "https": "web",
    "www": "web",
    "names": "dns",
    "domain": "dns",
    "mail": "smtp",
    "sftp": "ssh",
    "conch": "ssh",
    "xmpp-server": "xmpp",
    "jabber": "xmpp",
    "ftps": "ftp",
    "nntp": "news",
    "usenet": "news",
    "pop": "pop3",
}
"""What people type for services that have another name."""


class UnknownPluginError(UsageError):
    """No installed distribution offers a plugin of this name.

    Attributes:
        group: The entry point group that was searched.
        name: The name that was asked for.
        hint: What to do about it: the names there are, or what to install.
    """

    def __init__(self, group: str, name: str, hint: str) -> None:
        super().__init__(f"{_kind(group)} {name!r} is not installed: {hint}")
        self.group = group
        self.name = name
        self.hint = hint


class BrokenPluginError(SennitError):
    """A plugin is installed and cannot be loaded.

    Attributes:
        name: The plugin's name.
        distribution: Who offers it.
        reason: What went wrong.
    """

    def __init__(self, name: str, distribution: str, reason: str) -> None:
        super().__init__(f"plugin {name!r} of {distribution} cannot be loaded: {reason}")
        self.name = name
        self.distribution = distribution
        self.reason = reason


class InstalledPlugin:
    """A plugin that an installed distribution offers, not loaded yet.

    Attributes:
        name: The name it goes by.
        group: Its entry point group.
    """

    __slots__ = ("_entry", "group", "name")

    def __init__(self, entry: EntryPoint) -> None:
        self._entry = entry
        self.name = entry.name
        self.group = entry.group

    def __repr__(self) -> str:
        return f"<InstalledPlugin {self.group} {self.name} of {self.distribution}>"

    @property
    def distribution(self) -> str:
        """The distribution that offers it; read from its metadata when asked for."""
        dist = self._entry.dist
        return "an unknown distribution" if dist is None else dist.name

    @property
    def version(self) -> str:
        """That distribution's version."""
        dist = self._entry.dist
        return "" if dist is None else dist.version

    @property
    def target(self) -> str:
        """``module:object`` as the entry point says it."""
        return self._entry.value

    def load(self) -> object:
        """Import the plugin's module and return its object.

        Raises:
            BrokenPluginError: That failed, whatever the reason.
        """
        try:
            found: object = self._entry.load()
        except MissingExtraError as error:
            raise BrokenPluginError(self.name, self.distribution, str(error)) from error
        except Exception as error:
            reason = f"{type(error).__name__}: {error} (in {self.target})"
            raise BrokenPluginError(self.name, self.distribution, reason) from error
        return found


def installed(group: str) -> dict[str, InstalledPlugin]:
    """The plugins of a group by name, none of them loaded.

    Where two distributions offer one name, the one that comes first on the
    path is taken, as for modules.
    """
    # Not at the top: it costs more to import than the rest of this module and its callers.
    from importlib.metadata import entry_points

    found: dict[str, InstalledPlugin] = {}
    for entry in entry_points(group=group):
        if entry.name not in found:
            found[entry.name] = InstalledPlugin(entry)
    return dict(sorted(found.items()))


def find(group: str, name: str) -> object:
    """Load the plugin of this name.

    Raises:
        UnknownPluginError: There is none; the message lists those there are.
        BrokenPluginError: It cannot be loaded.
    """
    plugins = installed(group)
    if name in plugins:
        return plugins[name].load()
    raise UnknownPluginError(group, name, _hint(group, name, list(plugins)))


def find_service(name: str) -> ServicePlugin:
    """Load the service plugin of this name.

    Raises:
        UnknownPluginError: There is none; the message lists those there are, or
            says which distribution to install.
        BrokenPluginError: It cannot be loaded, or is no `ServicePlugin`.
    """
    found = find(SERVICES, name)
    if not isinstance(found, ServicePlugin):
        entry = installed(SERVICES)[name]
        raise BrokenPluginError(
            name, entry.distribution, f"{entry.target} is no ServicePlugin but {found!r}"
        )
    return found


def resolve(target: str) -> object:
    """The object that ``module:name`` means.

    Raises:
        ImportError: The module cannot be imported.
        AttributeError: It has no such name.
    """
    module, _, names = target.partition(":")
    found: object = importlib.import_module(module)
    for name in names.split("."):
        found = getattr(found, name)
    return found


class ServicePlugin:
    """A service that a configuration and the command line can name.

    The heavy parts are named, not given: ``"module:object"`` is imported when it
    is used. Where a strand has them at hand it may give the objects themselves.

    Args:
        name: The service's type: ``type = "echo"``, and ``sennit echo``.
        help: One line on what it does.
        config: The configuration, a subclass of `sennit.core.service.config.ServiceConfig`.
        build: ``build(config, context) -> Service``. It checks and assembles; it
            opens nothing (that is the service's `prepare`). `context` is a
            `sennit.core.service.tree.ServiceContext`.
        try_commands: ``try_commands(config, urls) -> list[str]``: commands that
            show the running service at work, for a person to paste. The URLs are those that
            it listens on, with this machine's own address where that is every interface.
        run: ``run(node, options, go) -> int``: runs the service where the command line asks for
            it; `go(node, options)` does what is done otherwise.
        schemes: What its URLs are called where people read them, by the scheme of the
            endpoint: ``{"tcp": "http", "tls": "https"}``.
        scale: ``any``: every worker runs it, and they share its sockets; ``one``: only the
            first worker does, as with a file that two must not write to.
        positional: Keys of the configuration that the command line takes as
            arguments without an option: ``("root",)`` gives ``sennit web DIR``.
        example: Arguments of an example in the command's help: ``"public/"``; several on a
            line each.
        sample: Values that a new configuration file begins with; keys left out
            are written as comments with their defaults.
        sample_files: ``sample_files() -> dict[str, str]``: files, by path relative
            to the new configuration, that make `sample` work.
    """

    __slots__ = (
        "_build",
        "_config",
        "_run",
        "_sample_files",
        "_try_commands",
        "example",
        "help",
        "name",
        "positional",
        "sample",
        "scale",
        "schemes",
    )

    def __init__(
        self,
        name: str,
        help: str,  # noqa: A002 - the word everybody uses for it
        *,
        config: str | type[Any],  # Any: a msgspec Struct, which this module must not import
        build: str | Callable[[Any, ServiceContext], IService],
        try_commands: str | Callable[[Any, Sequence[str]], list[str]] | None = None,
        run: str | Callable[[NodeConfig, RunOptions, Go], int] | None = None,
        schemes: Mapping[str, str] | None = None,
        scale: Literal["any", "one"] = "any",
        positional: Sequence[str] = (),
        example: str = "",
        sample: Mapping[str, object] | None = None,
        sample_files: str | Callable[[], Mapping[str, str]] | None = None,
    ) -> None:
        self.name = name
        self.help = help
        self.schemes: Mapping[str, str] = dict(schemes or {})
        if scale not in ("any", "one"):
            raise UsageError(f"scale is 'any' or 'one', not {scale!r}")
        self.scale = scale
        self.positional = tuple(positional)
        self.example = example
        self.sample: Mapping[str, object] = dict(sample or {})
        self._config = config
        self._build = build
        self._try_commands = try_commands
        self._run = run
        self._sample_files = sample_files

    def __repr__(self) -> str:
        return f"<ServicePlugin {self.name}>"

    def config_type(self) -> type[Any]:
        """The configuration Struct, imported now.

        Raises:
            BrokenPluginError: It cannot be imported.
        """
        found: type[Any] = self._resolve(self._config)
        return found

    def build(self, config: Any, context: ServiceContext) -> IService:
        """Assemble the service; nothing is opened yet.

        Raises:
            BrokenPluginError: The code that assembles it cannot be imported.
            ConfigError: The configuration cannot be used.
        """
        service: IService = self._resolve(self._build)(config, context)
        return service

    def try_commands(self, config: Any, urls: Sequence[str]) -> list[str]:
        """Commands that show the service at work.

        Args:
            config: The service's configuration.
            urls: Where it listens.
        """
        if self._try_commands is None:
            return []
        reachable = [_reachable(url) for url in urls]
        commands: list[str] = self._resolve(self._try_commands)(config, reachable)
        return commands

    def run(self, node: NodeConfig, options: RunOptions, go: Go) -> int:
        """Run a configuration that the command line has made; the exit status.

        Args:
            node: The configuration, of this one service.
            options: What the command line says of running.
            go: Runs it in this process, or under a supervisor.
        """
        if self._run is None:
            return go(node, options)
        status: int = self._resolve(self._run)(node, options, go)
        return status

    def shown(self, url: str) -> str:
        """An endpoint's URL as people of this protocol write it."""
        scheme, colon, rest = url.partition(":")
        return self.schemes.get(scheme, scheme) + colon + rest

    def sample_files(self) -> Mapping[str, str]:
        """Files that make the sample configuration work, by relative path."""
        if self._sample_files is None:
            return {}
        files: Mapping[str, str] = self._resolve(self._sample_files)()
        return files

    def _resolve(self, what: Any) -> Any:
        if not isinstance(what, str):
            return what
        try:
            return resolve(what)
        except MissingExtraError as error:
            raise BrokenPluginError(self.name, what.partition(":")[0], str(error)) from error
        except Exception as error:
            reason = f"{type(error).__name__}: {error} (in {what})"
            raise BrokenPluginError(self.name, what.partition(":")[0], reason) from error


def _reachable(url: str) -> str:
    """Where to connect for what listens there: every interface is no address for that."""
    for everywhere, here in (
        ("//0.0.0.0:", "//127.0.0.1:"),
        ("//[::]:", "//[::1]:"),
        ("//:", "//127.0.0.1:"),
    ):
        url = url.replace(everywhere, here, 1)
    return url


def _kind(group: str) -> str:
    return {SERVICES: "service type", COMMANDS: "command"}.get(group, f"plugin of {group}")


def _hint(group: str, name: str, names: list[str]) -> str:
    """What a person who asked for an unknown name should do."""
    there = "installed are " + ", ".join(names) if names else "none is installed"
    if group == SERVICES:
        known = _OTHER_NAMES.get(name.lower(), name.lower())
        if known in names:
            return f"did you mean {known!r}? ({there})"
        if known in KNOWN_SERVICES:
            distribution = KNOWN_SERVICES[known][0]
            called = "" if known == name else f"; its type is {known!r}"
            return f"pip install '{distribution}[service]'{called} ({there})"
    from difflib import get_close_matches

    close = get_close_matches(name, names, 1)
    return f"did you mean {close[0]!r}? ({there})" if close else there
