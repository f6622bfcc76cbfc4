"""Checkers: who says whether credentials are good.

* `PasswordChecker`: names and passwords, over a store of users (`PasswordFile` of
  ``userfile.py``, `SQLUsers` of ``sqlusers.py``, or one's own);
* `MemoryUsers`: a few users and their passwords in clear, for tests and small tools;
* `CallableChecker`: a function for any kind of credentials;
* `CertificateChecker`: TLS client certificates, for EXTERNAL;
* `PeerChecker`: the processes of this machine, for EXTERNAL over Unix sockets;
* `AnonymousChecker`: everybody, as nobody in particular;
* `TokenChecker`: bearer tokens, by a function that validates them.

Unix users are in ``pam.py``.
"""

from __future__ import annotations

import hmac
import inspect
import os
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from sennit.core.auth.credentials import (
    AnonymousCredentials,
    CertificateCredentials,
    Credentials,
    PasswordCredentials,
    PeerCredentials,
    TokenCredentials,
)
from sennit.core.auth.hashes import HashError
from sennit.core.auth.interfaces import IChecker, IKeySource
from sennit.core.auth.passwords import PasswordHasher, scram_keys_of
from sennit.core.auth.sasl.grammar import MalformedError, prepare_name, prepare_password
from sennit.core.auth.sasl.keys import HASHES, MIN_ITERATIONS, ScramKeys
from sennit.core.errors import LoginDenied, LoginUnavailableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

    from sennit.core.auth.interfaces import IUserStore

__all__ = [
    "AnonymousChecker",
    "CallableChecker",
    "CertificateChecker",
    "MemoryUsers",
    "PasswordChecker",
    "PeerChecker",
    "TokenChecker",
    "certificate_name",
    "prepared",
]


def prepared(credentials: PasswordCredentials) -> tuple[str, bytes]:
    """Name and password, prepared, before anything is looked up or hashed.

    Raises:
        LoginDenied: One is too long, empty, or has what it must not.
    """
    try:
        return prepare_name(credentials.name), prepare_password(credentials.password)
    except (MalformedError, UnicodeEncodeError) as error:
        raise LoginDenied(f"refused unhashed: {error}") from None


@implementer(IChecker, IKeySource)
class PasswordChecker:
    """Checks names and passwords against a store of users.

    An old hash is replaced when its user logs in; where that fails the login is good
    all the same, and the log says so.

    Args:
        store: The users and their entries.
        hasher: Makes and checks entries.
    """

    credential_types: tuple[type[Credentials], ...] = (PasswordCredentials,)

    def __init__(self, store: IUserStore, hasher: PasswordHasher | None = None) -> None:
        self.store = store
        self.hasher = hasher or PasswordHasher()

    @property
    def key_mechanisms(self) -> tuple[str, ...]:
        """SCRAM of the kinds that new entries have keys for, or that the store has keys of."""
        return (*self.hasher.scram, *getattr(self.store, "mechanisms", ()))

    @property
    def iterations(self) -> int:
        """What users who are not there are said to have."""
        return self.hasher.iterations

    async def check(self, credentials: PasswordCredentials) -> str:
        """The name, prepared, when the password is its."""
        name, password = prepared(credentials)
        entry = await self.store.lookup(name)
        try:
            good, better = await self.hasher.check(password, entry)
        except HashError as error:
            # The file or table is at fault, not the peer: told to the log, not to it.
            _log("The entry of user %r cannot be checked: %s", name, error)
            raise LoginUnavailableError("an entry cannot be checked") from error
        if not good:
            raise LoginDenied("no such user" if entry is None else "wrong password")
        if better is not None and entry is not None:
            await self._upgrade(name, entry, better)
        return name

    async def _upgrade(self, name: str, old: str, new: str) -> None:
        try:
            if not await self.store.replace(name, old, new):
                _log("The old hash of user %r stays: it cannot be replaced there", name)
        except (OSError, LoginUnavailableError, UsageError) as error:
            _log("The old hash of user %r stays: %s", name, error)

    async def scram_keys(self, name: str, mechanism: str) -> ScramKeys | None:
        """The keys in the user's entry."""
        entry = await self.store.lookup(name)
        if entry is None:
            return None
        try:
            found = scram_keys_of(entry)
        except HashError as error:
            _log("The entry of user %r cannot be read: %s", name, error)
            return None
        return next((each for each in found if each.mechanism == mechanism), None)

    async def secret(self, name: str) -> str | None:
        """``None``: no store keeps passwords in clear."""
        return None


@implementer(IChecker, IKeySource)
class MemoryUsers:
    """A few users whose passwords are at hand in clear.

    Args:
        passwords: By name.
        iterations: That clients are asked for by SCRAM. Few, since they protect nothing
            here: the passwords are at hand.
    """

    credential_types: tuple[type[Credentials], ...] = (PasswordCredentials,)
    key_mechanisms: tuple[str, ...] = (*HASHES, "CRAM-MD5")

    def __init__(self, passwords: Mapping[str, str], *, iterations: int = MIN_ITERATIONS) -> None:
        self._passwords = {
            prepare_name(name): prepare_password(password) for name, password in passwords.items()
        }
        self.iterations = iterations
        self._key = os.urandom(32)

    async def check(self, credentials: PasswordCredentials) -> str:
        """The name, when the password is its."""
        name, password = prepared(credentials)
        known = self._passwords.get(name)
        # Digests of equal length are compared, so that the length of a password is not told.
        right = hmac.compare_digest(
            self._digest(b"" if known is None else known), self._digest(password)
        )
        if known is None or not right:
            raise LoginDenied("no such user" if known is None else "wrong password")
        return name

    def _digest(self, password: bytes) -> bytes:
        return hmac.digest(self._key, password, "sha256")

    async def scram_keys(self, name: str, mechanism: str) -> ScramKeys | None:
        """Keys derived of the password; as much work where there is none."""
        password = self._passwords.get(name)
        salt = hmac.digest(self._key, f"{mechanism}\0{name}".encode(), "sha256")[:16]
        keys = ScramKeys.derive(mechanism, password or b"nobody", salt, self.iterations)
        return None if password is None else keys

    async def secret(self, name: str) -> str | None:
        """The password in clear."""
        password = self._passwords.get(name)
        return None if password is None else password.decode()


@implementer(IChecker)
class CallableChecker:
    """A function as a checker.

    Args:
        check: Takes credentials, gives a name or raises `LoginDenied`; ``None`` and ``""``
            deny, too. May be a coroutine function.
        credential_types: The kinds it takes.
    """

    def __init__(
        self,
        check: Callable[[Any], str | Awaitable[str | None] | None],
        credential_types: Iterable[type[Credentials]] = (PasswordCredentials,),
    ) -> None:
        self._check = check
        self._types = tuple(credential_types)

    @property
    def credential_types(self) -> Collection[type[Credentials]]:
        """The kinds it takes."""
        return self._types

    async def check(self, credentials: Credentials) -> str:
        """The name that the function gives; passwords of impossible size do not reach it."""
        if isinstance(credentials, PasswordCredentials):
            prepared(credentials)
        return await _named(self._check(credentials))


@implementer(IChecker)
class TokenChecker:
    """Bearer tokens (OAUTHBEARER, XOAUTH2).

    Args:
        validate: Takes `TokenCredentials`, gives the name of whom the token is of,
            ``None`` when it is no good. May be a coroutine function: it will ask the
            service that gave the token. It must not believe ``credentials.name``.
    """

    credential_types: tuple[type[Credentials], ...] = (TokenCredentials,)

    def __init__(
        self, validate: Callable[[TokenCredentials], str | Awaitable[str | None] | None]
    ) -> None:
        self._validate = validate

    async def check(self, credentials: TokenCredentials) -> str:
        """The name that the function gives."""
        return await _named(self._validate(credentials))


@implementer(IChecker)
class CertificateChecker:
    """Client certificates, whose chain the handshake has verified.

    Args:
        name_of: Gives a user's name for a certificate in DER, ``None`` for none. Left
            out, the user is named by the certificate's only mail address, else by its
            common name, as `certificate_name` says.
    """

    credential_types: tuple[type[Credentials], ...] = (CertificateCredentials,)

    def __init__(
        self, name_of: Callable[[bytes], str | Awaitable[str | None] | None] | None = None
    ) -> None:
        self._name_of = name_of or certificate_name

    async def check(self, credentials: CertificateCredentials) -> str:
        """The name that the certificate stands for."""
        return await _named(self._name_of(credentials.certificate))


@implementer(IChecker)
class PeerChecker:
    """Processes of this machine, at the other end of a Unix socket, under their users' names."""

    credential_types: tuple[type[Credentials], ...] = (PeerCredentials,)

    async def check(self, credentials: PeerCredentials) -> str:
        """The Unix user's name."""
        import pwd

        try:
            return pwd.getpwuid(credentials.uid).pw_name
        except KeyError:
            raise LoginDenied("a user of this machine who has no name") from None


@implementer(IChecker)
class AnonymousChecker:
    """Lets everybody in, under one name.

    Args:
        name: The name that the realm is asked for.
    """

    credential_types: tuple[type[Credentials], ...] = (AnonymousCredentials,)

    def __init__(self, name: str = "anonymous") -> None:
        self._name = name

    async def check(self, credentials: AnonymousCredentials) -> str:
        """The one name."""
        return self._name


def certificate_name(certificate: bytes) -> str | None:
    """Whom a certificate (DER) names: its one mail address, else its common name.

    ``None`` when it has neither, or more than one of what decides.
    """
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        parsed = x509.load_der_x509_certificate(certificate)
    except ValueError:
        return None
    try:
        alternative = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        mails = alternative.value.get_values_for_type(x509.RFC822Name)
    except x509.ExtensionNotFound:
        mails = []
    except (ValueError, x509.DuplicateExtension):
        return None
    if mails:
        return mails[0] if len(mails) == 1 else None
    names = parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else None


async def _named(result: str | Awaitable[str | None] | None) -> str:
    name = await result if inspect.isawaitable(result) else result
    if not name:
        raise LoginDenied("the credentials name nobody")
    try:
        return prepare_name(name)
    except MalformedError as error:
        raise LoginDenied(f"the credentials name nobody: {error}") from None


def _log(message: str, *args: object) -> None:
    import logging

    logging.getLogger("sennit").warning(message, *args)
