"""PLAIN (RFC 4616): authorization identity, name and password, with NULs between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.core.auth.credentials import PasswordCredentials
from sennit.core.auth.sasl.engine import ClientExchange, ServerExchange
from sennit.core.auth.sasl.events import CredentialsGiven, Respond
from sennit.core.auth.sasl.grammar import (
    MAX_PASSWORD,
    MalformedError,
    prepare_name,
    prepare_password,
    text_of,
)

if TYPE_CHECKING:
    from sennit.core.auth.sasl.events import ClientEvent, ServerEvent

__all__ = ["PlainClient", "PlainServer", "parse_plain"]


def parse_plain(message: bytes) -> tuple[str, str, str]:
    """Authorization identity, name and password of a message (RFC 4616 §2).

    The password is as the client sent it; who checks prepares it.

    Raises:
        MalformedError: It has not exactly two NULs, is not UTF-8, or a part is
            empty, too long or prohibited.
    """
    parts = message.split(b"\0")
    if len(parts) != 3:
        raise MalformedError("not two NULs (RFC 4616 §2)")
    act_as, name, password = (text_of(part) for part in parts)
    if len(parts[2]) > MAX_PASSWORD:
        raise MalformedError(f"a password of more than {MAX_PASSWORD} octets")
    if not password:
        raise MalformedError("an empty password (RFC 4616 §2)")
    return prepare_name(act_as) if act_as else "", prepare_name(name), password


class PlainServer(ServerExchange):
    """The server's side of PLAIN."""

    name = "PLAIN"

    def _received(self, response: bytes | None) -> ServerEvent:
        act_as, name, password = parse_plain(response or b"")
        return CredentialsGiven(PasswordCredentials(name, password), act_as)


class PlainClient(ClientExchange):
    """The client's side of PLAIN.

    Args:
        name: Who logs in.
        password: In clear; the server reads it.
        act_as: Whom to act as; empty for oneself.

    Raises:
        MalformedError: A name or the password cannot be one.
    """

    name = "PLAIN"

    def __init__(self, name: str, password: str, act_as: str = "") -> None:
        super().__init__()
        other = prepare_name(act_as) if act_as else ""
        self._message = b"\0".join(
            [other.encode(), prepare_name(name).encode(), prepare_password(password)]
        )

    def _begin(self) -> ClientEvent:
        return Respond(self._message)

    def _challenged(self, challenge: bytes) -> ClientEvent:
        return self._fail("a challenge after PLAIN's only message")
