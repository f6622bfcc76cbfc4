"""LOGIN: name and password, each asked for; never a standard, still what some clients speak.

Source: draft-murchison-sasl-login-00. The prompts are for nobody: clients answer the
first challenge with the name and the second with the password, whatever they say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.core.auth.credentials import PasswordCredentials
from sennit.core.auth.sasl.engine import ClientExchange, ServerExchange
from sennit.core.auth.sasl.events import Challenge, CredentialsGiven, Respond
from sennit.core.auth.sasl.grammar import (
    MAX_PASSWORD,
    MalformedError,
    prepare_name,
    prepare_password,
    text_of,
)

if TYPE_CHECKING:
    from sennit.core.auth.sasl.events import ClientEvent, ServerEvent

__all__ = ["LoginClient", "LoginServer"]


class LoginServer(ServerExchange):
    """The server's side of LOGIN; an initial response is taken as the name."""

    name = "LOGIN"
    client_first = False

    def __init__(self) -> None:
        super().__init__()
        self._user: str | None = None

    def _takes_initial(self) -> bool:
        return True

    def _received(self, response: bytes | None) -> ServerEvent:
        if response is None:
            return Challenge(b"Username:")
        if self._user is None:
            self._user = prepare_name(text_of(response))
            return Challenge(b"Password:")
        if not response or len(response) > MAX_PASSWORD:
            raise MalformedError("a password that is empty or too long")
        return CredentialsGiven(PasswordCredentials(self._user, text_of(response)), "")


class LoginClient(ClientExchange):
    """The client's side of LOGIN.

    Args:
        name: Who logs in.
        password: In clear; the server reads it.

    Raises:
        MalformedError: The name or the password cannot be one.
    """

    name = "LOGIN"

    def __init__(self, name: str, password: str) -> None:
        super().__init__()
        self._answers = [prepare_password(password), prepare_name(name).encode()]

    def _challenged(self, challenge: bytes) -> ClientEvent:
        if not self._answers:
            return self._fail("a third prompt")
        return Respond(self._answers.pop())

    def _finished(self, data: bytes | None) -> ClientEvent:
        if self._answers:
            return self._fail("success before the password was asked for")
        return super()._finished(data)
