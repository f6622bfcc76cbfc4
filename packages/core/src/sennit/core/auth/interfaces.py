"""The contracts of authentication: checkers, sources of keys, realms, stores of users.

They live here rather than in `sennit.core.interfaces` because only programs that
authenticate need them, and declare them with zope's own `implementer`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sennit.core.interfaces import Interface

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from sennit.core.auth.credentials import Credentials
    from sennit.core.auth.sasl.keys import ScramKeys

__all__ = ["Avatar", "IChecker", "IKeySource", "IRealm", "ISQLDatabase", "IUserStore"]


class IChecker(Interface):
    """Knows for some kinds of credentials whether they are good."""

    @property
    def credential_types(self) -> Collection[type[Credentials]]:
        """The kinds it understands."""
        ...

    def check(self, credentials: Any) -> str | Awaitable[str]:
        """The name of whom the credentials are of. (`Any`: one of `credential_types`.)

        Raises:
            LoginDenied: They are not good.
            LoginUnavailableError: That cannot be found out now.
        """
        ...


class IKeySource(Interface):
    """A checker that can also hand out what challenge and response need of a user."""

    @property
    def key_mechanisms(self) -> Collection[str]:
        """Mechanisms it may have keys for: ``SCRAM-SHA-256`` and its like, ``CRAM-MD5``."""
        ...

    def scram_keys(self, name: str, mechanism: str) -> Awaitable[ScramKeys | None]:
        """A user's keys; ``None`` when there are none."""
        ...

    def secret(self, name: str) -> Awaitable[str | None]:
        """A user's password in clear, where it is kept so."""
        ...


class IRealm(Interface):
    """Turns a name into what its owner may use: an avatar."""

    @property
    def interfaces(self) -> Collection[Any]:
        """What avatars can be had as. (`Any`: interfaces, or classes.)"""
        ...

    def open_avatar(self, name: str, interface: Any) -> Avatar | Awaitable[Avatar]:
        """The avatar of `name` as a provider of `interface`.

        Raises:
            LoginDenied: This user has none.
        """
        ...

    def may_act_as(self, name: str, other: str) -> bool | Awaitable[bool]:
        """Whether `name`, who has logged in, may act as `other`."""
        ...


class IUserStore(Interface):
    """Users and their entries (`sennit.core.auth.passwords`)."""

    def lookup(self, name: str) -> Awaitable[str | None]:
        """A user's entry; ``None`` when there is no such user, or none who may log in.

        Raises:
            LoginUnavailableError: That cannot be found out now.
        """
        ...

    def replace(self, name: str, old: str, new: str) -> Awaitable[bool]:
        """Put `new` in the place of `old`, wholly or not at all.

        Returns:
            False when the entry is not `old` any more, or nothing can be written here.
        """
        ...


class ISQLDatabase(Interface):
    """What `SQLUsers` asks of a database; `sennit.core.database.Pool` has it."""

    def fetch_one(self, sql: str, parameters: Sequence[object] = ...) -> Awaitable[Any]:
        """The first row, a sequence of columns, or ``None``. (`Any`: the driver's.)"""
        ...

    def execute(self, sql: str, parameters: Sequence[object] = ...) -> Awaitable[Any]:
        """Run a statement and commit; how many rows it changed. (`Any`: -1 or ``None`` of some.)"""
        ...


class Avatar:
    """What a realm gives: the object, and what to call when its user leaves.

    Args:
        value: Provides the interface that was asked for.
        logout: Called once; may be a coroutine function.
    """

    __slots__ = ("logout", "value")

    def __init__(self, value: Any, logout: Callable[[], object] | None = None) -> None:
        self.value = value
        self.logout = logout
