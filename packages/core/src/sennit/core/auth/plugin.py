"""Kinds of users that a configuration can name: ``[users.NAME]`` with a ``type``.

Each is an entry point of the group ``sennit.checkers`` that names a `UsersPlugin`; the
core brings ``file``, ``sql``, ``pam`` and ``memory``. A service refers to them by name::

    # in its configuration
    users: Annotated[str, refers("users")]

    # in its build
    portal = context.portal(config.users, realm)
"""

from __future__ import annotations

from sennit.core.plugin import BrokenPluginError, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any, Final

    from sennit.core.auth.interfaces import IChecker

__all__ = ["CHECKERS", "UsersPlugin", "file", "memory", "pam", "sql"]

CHECKERS: Final = "sennit.checkers"
"""The group of entry points."""


class UsersPlugin:
    """A kind of users.

    Args:
        name: The ``type`` of the table.
        help: One line on what it is.
        config: ``"module:Struct"``, a `sennit.core.service.config.Table`.
        build: ``"module:function"``, called with the filled Struct and the folder in which
            the configuration is; gives an `IChecker`.
    """

    __slots__ = ("_build", "_config", "help", "name")

    def __init__(
        self,
        name: str,
        help: str,  # noqa: A002 - as in ServicePlugin
        *,
        config: str,
        build: str,
    ) -> None:
        self.name = name
        self.help = help
        self._config = config
        self._build = build

    def __repr__(self) -> str:
        return f"<UsersPlugin {self.name}>"

    def config_type(self) -> type[Any]:
        """The configuration Struct, imported now. (`Any`: a msgspec Struct.)

        Raises:
            BrokenPluginError: It cannot be imported.
        """
        found: Any = self._resolve(self._config)
        return found  # type: ignore[no-any-return]  # an entry point says what it likes

    def build(self, config: Any, folder: Path) -> IChecker:
        """The checker.

        Raises:
            ConfigError: The configuration cannot be used.
            BrokenPluginError: The code that makes it cannot be imported.
        """
        build: Any = self._resolve(self._build)
        checker: IChecker = build(config, folder)
        return checker

    def _resolve(self, target: str) -> object:
        try:
            return resolve(target)
        except (ImportError, AttributeError) as error:
            raise BrokenPluginError(self.name, target.partition(":")[0], str(error)) from error


file: Final = UsersPlugin(
    "file",
    "Users in a file, a line each (`sennit passwd` writes it)",
    config="sennit.core.auth.users_config:FileUsersConfig",
    build="sennit.core.auth.users:build_file",
)
sql: Final = UsersPlugin(
    "sql",
    "Users in a table of a database",
    config="sennit.core.auth.users_config:SQLUsersConfig",
    build="sennit.core.auth.users:build_sql",
)
pam: Final = UsersPlugin(
    "pam",
    "The users of this machine, by PAM",
    config="sennit.core.auth.users_config:PAMUsersConfig",
    build="sennit.core.auth.users:build_pam",
)
memory: Final = UsersPlugin(
    "memory",
    "A few users, in the configuration itself",
    config="sennit.core.auth.users_config:MemoryUsersConfig",
    build="sennit.core.auth.users:build_memory",
)
