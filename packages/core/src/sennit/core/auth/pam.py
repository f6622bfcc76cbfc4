"""Unix users, by PAM: whoever may log in on this machine, or what its service file says.

Through python-pam (extra `pam`): of the libraries that call libpam it is the one that
is still released, is written in Python alone, and asks for the account's state
(expired, locked) after the password.

PAM modules block, and some wait on purpose after a wrong password, so each login has a
thread of a small pool for itself. To check the passwords of others ``pam_unix`` needs
root, or membership in the group ``shadow``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from zope.interface import implementer

from sennit.core.auth.checkers import prepared
from sennit.core.auth.credentials import Credentials, PasswordCredentials
from sennit.core.auth.interfaces import IChecker
from sennit.core.auth.passwords import HashingThreads
from sennit.core.errors import LoginDenied, LoginUnavailableError, MissingExtraError

try:
    import pam as _library  # type: ignore[import-untyped, unused-ignore]  # it carries no types
except ImportError as error:  # pragma: no cover - tested in a process without it
    raise MissingExtraError("PAM", "sennit-core", "pam") from error

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PAMUsers"]

THREADS: Final = 8
"""Logins at one time: they mostly wait."""

_library_any: Any = _library  # Any: the library carries no types
_UNAVAILABLE: Final = frozenset({1, 2, 3, 4, 5, 9, 26})
"""Codes of libpam for what is not the user's fault: modules, memory, the service file
(PAM_OPEN_ERR, SYMBOL_ERR, SERVICE_ERR, SYSTEM_ERR, BUF_ERR, AUTHINFO_UNAVAIL, ABORT)."""


@implementer(IChecker)
class PAMUsers:
    """Checks names and passwords against PAM.

    Args:
        service: The file in ``/etc/pam.d`` that says how.
        threads: Where PAM is waited for.
    """

    credential_types: tuple[type[Credentials], ...] = (PasswordCredentials,)

    def __init__(self, service: str = "login", *, threads: HashingThreads | None = None) -> None:
        self.service = service
        self._threads = threads or HashingThreads(THREADS)

    async def check(self, credentials: PasswordCredentials) -> str:
        """The name, when PAM accepts the password and the account may be used now."""
        name, password = prepared(credentials)
        code, reason = await self._threads.run(_authenticate, name, password, self.service)
        if code == 0:
            return name
        if code in _UNAVAILABLE:
            import logging

            logging.getLogger("sennit").error("PAM (%s) cannot say: %s", self.service, reason)
            raise LoginUnavailableError("PAM cannot say")
        raise LoginDenied(f"PAM: {reason}")

    def close(self) -> None:
        """End the threads."""
        self._threads.close()


def _authenticate(name: str, password: bytes, service: str) -> tuple[int, str]:
    """PAM's code and what it means."""
    conversation = _library_any.PamAuthenticator()
    authenticate: Callable[..., bool] = conversation.authenticate
    # No credentials of this process are set: it goes on as the user that it is.
    good = authenticate(name, password, service=service, resetcreds=False)
    code = int(conversation.code or 0)
    return (0 if good else code or 7), str(conversation.reason)
