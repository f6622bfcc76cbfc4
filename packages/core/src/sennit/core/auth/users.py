"""From ``[users.NAME]`` to a checker: what the entry points of ``plugin.py`` name."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sennit.core.auth.checkers import MemoryUsers, PasswordChecker
from sennit.core.auth.hashes import Argon2Policy, ScryptPolicy
from sennit.core.auth.passwords import HashingThreads, PasswordHasher
from sennit.core.errors import ConfigError, SennitError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sennit.core.auth.interfaces import IChecker
    from sennit.core.auth.users_config import (
        FileUsersConfig,
        HashedUsersConfig,
        MemoryUsersConfig,
        PAMUsersConfig,
        SQLUsersConfig,
    )
    from sennit.core.database.pool import Pool

__all__ = ["build_file", "build_memory", "build_pam", "build_sql", "hasher_of"]


def hasher_of(config: HashedUsersConfig) -> PasswordHasher:
    """The hasher that a configuration describes.

    Raises:
        MissingExtraError: It wants Argon2id, and cryptography is not installed.
        UsageError: Numbers that do not fit together.
    """
    policy: Argon2Policy | ScryptPolicy
    if config.hash == "argon2id":
        policy = Argon2Policy(config.memory, config.passes)
        # So that a missing library is told of now and not at the first login.
        Argon2Policy(64, 1).hash(b"probe", bytes(16))
    else:
        policy = ScryptPolicy()
    threads = HashingThreads(config.hash_threads or None)
    return PasswordHasher(policy, scram=config.scram, iterations=config.iterations, threads=threads)


def build_file(config: FileUsersConfig, folder: Path) -> IChecker:
    """Users in a file."""
    from sennit.core.auth.userfile import PasswordFile

    return PasswordChecker(PasswordFile(config.file), hasher_of(config))


def build_sql(config: SQLUsersConfig, folder: Path) -> IChecker:
    """Users in a database; a file of SQLite is looked for beside the configuration."""
    from sennit.core.auth.sqlusers import SQLUsers

    try:
        driver = importlib.import_module(config.driver)
    except ImportError as error:
        raise ConfigError(f"cannot be imported: {error}", key="driver") from error
    secret = config.connect_from
    connect = secret.reveal() if secret is not None else config.connect or ""
    options: dict[str, Any] = {}
    if config.driver == "sqlite3":
        connect = str(folder / connect)
        # Another thread than the one that connected may use it, one at a time.
        options["check_same_thread"] = False
    lookup = _marked(driver, config.driver, "lookup", config.lookup)
    update = _marked(driver, config.driver, "update", config.update)
    database = _OpenedLate(driver, connect, options, config.size)
    return PasswordChecker(SQLUsers(database, lookup, update or None), hasher_of(config))


def _marked(driver: Any, name: str, key: str, statement: str) -> str:
    """A statement with parameters marked as the driver wants it (PEP 249, paramstyle)."""
    from sennit.core.auth.sqlusers import LOOKUP, UPDATE

    if getattr(driver, "paramstyle", "") not in ("format", "pyformat"):
        return statement
    if "?" not in statement or "%" in statement:
        return statement  # a question mark may be an operator
    marked = statement.replace("?", "%s")
    if statement not in (LOOKUP, UPDATE):
        raise ConfigError(f"{name} marks parameters by %s, not by ?: write {marked!r}", key=key)
    return marked


def build_pam(config: PAMUsersConfig, folder: Path) -> IChecker:
    """The users of this machine."""
    from sennit.core.auth.pam import PAMUsers

    return PAMUsers(config.service)


def build_memory(config: MemoryUsersConfig, folder: Path) -> IChecker:
    """A few users, in the configuration itself."""
    try:
        return MemoryUsers({name: each.reveal() for name, each in config.passwords.items()})
    except SennitError as error:
        raise ConfigError(f"a name or password has {error}", key="passwords") from error


class _OpenedLate:
    """A pool that is opened by its first statement, since checking a file must open nothing."""

    def __init__(self, driver: Any, connect: str, options: dict[str, Any], size: int) -> None:
        from sennit.core.database.pool import Pool

        self._pool = Pool(driver, connect, options=options, size=size, name="sennit-users")
        self._begun = False

    async def _opened(self) -> Pool:
        if not self._begun:
            # It keeps no connection, so opening it waits for nothing, and whoever
            # comes meanwhile finds it open.
            self._begun = True
            await self._pool.open()
        return self._pool

    async def fetch_one(self, sql: str, parameters: Sequence[object] = ()) -> Any:
        """The first row. (`Any`: the driver's.)"""
        return await (await self._opened()).fetch_one(sql, list(parameters))

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> Any:
        """Run a statement. (`Any`: the number of rows, as the driver says it.)"""
        return await (await self._opened()).execute(sql, list(parameters))
