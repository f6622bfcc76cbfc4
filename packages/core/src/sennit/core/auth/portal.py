"""The portal: credentials and an interface in, an avatar out.

A protocol asks a `Portal` for what it can work with, and knows neither who checks
passwords nor what stands behind the avatar::

    realm = Realm()

    @realm.provides(IMailbox)
    async def open_mailbox(name: str) -> Mailbox:
        return await Mailbox.open(name)

    portal = Portal(realm, [MemoryUsers({"alice": "wonderland"})])

    async with await portal.login(PasswordCredentials("alice", "wonderland"), IMailbox) as session:
        session.avatar.list_messages()

The answer to a name that is not known and to a wrong password is the same
`LoginDenied`, after the same work.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from zope.interface import implementer

from sennit.core.auth.credentials import ProvenCredentials
from sennit.core.auth.interfaces import Avatar, IRealm
from sennit.core.auth.sasl.grammar import MAX_NAME, MalformedError, prepare_name
from sennit.core.auth.sasl.keys import DEFAULT_ITERATIONS
from sennit.core.errors import LoginDenied, LoginUnavailableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from types import TracebackType
    from typing import Self

    from sennit.core.auth.credentials import Credentials
    from sennit.core.auth.interfaces import IChecker
    from sennit.core.auth.sasl.keys import ScramKeys

__all__ = ["Avatar", "AvatarSession", "Portal", "Realm"]

T = TypeVar("T")
M = TypeVar("M", bound="Callable[[str], object]")


class AvatarSession(Generic[T]):
    """One login: its avatar, until `logout`.

    Leave it as an async context manager, or call `logout`; either does it once.

    Attributes:
        avatar: What the user may use.
        name: Whom the avatar is of.
        authenticated: Who has logged in: another than `name` where a realm allows it.
        interface: What the avatar was asked for as.
    """

    __slots__ = ("_logout", "authenticated", "avatar", "interface", "name")

    def __init__(
        self,
        avatar: T,
        name: str,
        authenticated: str,
        interface: object,
        logout: Callable[[], object] | None = None,
    ) -> None:
        self.avatar = avatar
        self.name = name
        self.authenticated = authenticated
        self.interface = interface
        self._logout = logout

    def __repr__(self) -> str:
        state = "" if self._logout is None else " in"
        return f"<{type(self).__name__} {self.name[:64]!r}{state}>"

    async def logout(self) -> None:
        """The user leaves; harmless when that was said already."""
        logout, self._logout = self._logout, None
        if logout is not None:
            await _settled(logout())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.logout()


@implementer(IRealm)
class Realm:
    """Avatars by interface, each made by a function.

    Args:
        may_act_as: ``may_act_as(name, other)``: whether one user may act as another.
            Nobody may when it is left out.
    """

    def __init__(
        self, may_act_as: Callable[[str, str], bool | Awaitable[bool]] | None = None
    ) -> None:
        self._makers: dict[Any, tuple[Callable[[str], object], Callable[[Any], object] | None]] = {}
        self._may_act_as = may_act_as

    @property
    def interfaces(self) -> tuple[Any, ...]:
        """What avatars can be had as."""
        return tuple(self._makers)

    def provides(
        self,
        interface: object,
        *,
        logout: Callable[[Any], object] | None = None,  # Any: what the function makes
    ) -> Callable[[M], M]:
        """Register the function that makes avatars of this interface; a decorator.

        Args:
            interface: An interface, or a class.
            logout: Called with the avatar when its user leaves; may be a coroutine function.
        """

        def register(make: M) -> M:
            self._makers[interface] = (make, logout)
            return make

        return register

    async def open_avatar(self, name: str, interface: Any) -> Avatar:
        """The avatar of `name`, made by the function registered for `interface`."""
        make, logout = self._makers[interface]
        value = await _settled(make(name))
        return Avatar(value, None if logout is None else lambda: logout(value))

    async def may_act_as(self, name: str, other: str) -> bool:
        """As the function given says; nobody may without one."""
        return self._may_act_as is not None and await _settled(self._may_act_as(name, other))


class Portal:
    """Where credentials become avatars.

    Args:
        realm: Makes the avatars; several may be added by `register_realm`.
        checkers: Are asked in this order, each for the kinds it understands.
    """

    def __init__(self, realm: IRealm | None = None, checkers: Iterable[IChecker] = ()) -> None:
        self._realms: list[IRealm] = [] if realm is None else [realm]
        self._checkers = list(checkers)

    def register(self, checker: IChecker) -> None:
        """Ask one more checker, after those there are."""
        self._checkers.append(checker)

    def register_realm(self, realm: IRealm) -> None:
        """Have the avatars of one more realm, for interfaces that those there are do not have."""
        self._realms.append(realm)

    def understands(self, kind: type[Credentials]) -> bool:
        """Whether any checker takes credentials of this kind."""
        return any(kind in each.credential_types for each in self._checkers)

    def has_keys(self, mechanism: str) -> bool:
        """Whether any checker may have keys for ``SCRAM-SHA-256`` and its like, or ``CRAM-MD5``."""
        return any(mechanism in getattr(each, "key_mechanisms", ()) for each in self._checkers)

    async def scram_keys(self, name: str, mechanism: str) -> ScramKeys | None:
        """A user's keys, of the first checker that has some."""
        for each in self._checkers:
            if mechanism in getattr(each, "key_mechanisms", ()):
                source: Any = each  # Any: an IKeySource, which has just been seen
                keys: ScramKeys | None = await source.scram_keys(name, mechanism)
                if keys is not None:
                    return keys
        return None

    def scram_iterations(self, mechanism: str) -> int:
        """The iterations that a user who is not there is said to have: those of most who are."""
        for each in self._checkers:
            if mechanism in getattr(each, "key_mechanisms", ()):
                return int(getattr(each, "iterations", DEFAULT_ITERATIONS))
        return DEFAULT_ITERATIONS

    async def secret(self, name: str) -> str | None:
        """A user's password in clear, of the first checker that keeps it so."""
        for each in self._checkers:
            if "CRAM-MD5" in getattr(each, "key_mechanisms", ()):
                source: Any = each  # Any: an IKeySource, which has just been seen
                secret: str | None = await source.secret(name)
                if secret is not None:
                    return secret
        return None

    async def check(self, credentials: Credentials) -> str:
        """The name of whom these credentials are of; no avatar is opened.

        Every checker that understands them is asked until one says yes, so an unknown
        name and a wrong password go the same way.

        Raises:
            LoginDenied: No checker accepts them.
            LoginUnavailableError: None accepts them, and one could not be asked.
            UsageError: No checker understands credentials of this kind.
        """
        if isinstance(credentials, ProvenCredentials):
            return credentials.name
        asked = [each for each in self._checkers if type(credentials) in each.credential_types]
        if not asked:
            raise UsageError(f"no checker of this portal takes {type(credentials).__name__}")
        denied: LoginDenied | None = None
        unavailable: LoginUnavailableError | None = None
        for each in asked:
            try:
                name: str = await _settled(each.check(credentials))
                return name
            except LoginDenied as error:
                denied = denied or error
            except LoginUnavailableError as error:
                unavailable = unavailable or error
        if unavailable is not None:
            raise unavailable
        raise denied or LoginDenied()

    async def login(
        self,
        credentials: Credentials,
        interface: Callable[..., T] | type[T],
        *,
        act_as: str = "",
    ) -> AvatarSession[T]:
        """Check credentials and open the avatar of whom they are of.

        Args:
            credentials: What the peer showed.
            interface: What the avatar is wanted as.
            act_as: Whom the user wants to act as (SASL's authorization identity); empty
                for itself. The realm must allow it.

        Raises:
            LoginDenied: The credentials are not good, or the user may not act so.
            LoginUnavailableError: That cannot be found out now.
            UsageError: No checker takes such credentials, or no realm has the interface.
        """
        realm = self._realm(interface)
        name = await self.check(credentials)
        other = name
        if act_as:
            try:
                other = prepare_name(act_as)
            except MalformedError as error:
                raise LoginDenied(f"cannot act as that: {error}") from None
            if other != name and not await _settled(realm.may_act_as(name, other)):
                raise LoginDenied(f"may not act as {other[:MAX_NAME]!r}")
        avatar = await _settled(realm.open_avatar(other, interface))
        return AvatarSession(avatar.value, other, name, interface, avatar.logout or _nothing)

    def _realm(self, interface: Any) -> IRealm:
        for each in self._realms:
            if interface in each.interfaces:
                return each
        raise UsageError(f"no realm of this portal has avatars as {interface!r}")


async def _settled(result: Any) -> Any:
    """A result, awaited where it wants to be. (`Any`: realms and checkers may be either.)"""
    return await result if inspect.isawaitable(result) else result


def _nothing() -> None:
    """The logout of an avatar that has none."""
