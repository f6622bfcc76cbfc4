"""CRAM-MD5 (RFC 2195): an HMAC of a challenge, keyed with the password.

Off unless named: the server must keep passwords in clear, and whoever listens can
guess at leisure. Here for peers that speak nothing better.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from sennit.core.auth.credentials import ProvenCredentials
from sennit.core.auth.sasl.engine import ClientExchange, ServerExchange
from sennit.core.auth.sasl.events import (
    Challenge,
    CredentialsGiven,
    Respond,
    SecretNeeded,
)
from sennit.core.auth.sasl.grammar import (
    MalformedError,
    prepare_name,
    prepare_password,
    text_of,
)

if TYPE_CHECKING:
    from sennit.core.auth.sasl.events import ClientEvent, ServerEvent
    from sennit.core.auth.sasl.keys import ScramKeys

__all__ = ["CramMD5Client", "CramMD5Server"]


def _digest(password: bytes, challenge: bytes) -> bytes:
    return hmac.new(password, challenge, "md5").hexdigest().encode("ascii")


class CramMD5Server(ServerExchange):
    """The server's side of CRAM-MD5.

    Args:
        nonce: Random text that was never used before.
        host: This server's name.
    """

    name = "CRAM-MD5"
    client_first = False

    def __init__(self, nonce: str, host: str) -> None:
        super().__init__()
        self._challenge = f"<{nonce}@{host}>".encode()
        self._user = ""
        self._given = b""

    def _received(self, response: bytes | None) -> ServerEvent:
        if response is None:
            return Challenge(self._challenge)
        name, space, digest = response.rpartition(b" ")
        if not space or len(digest) != 32:
            raise MalformedError("not a name and 32 digits (RFC 2195 §2)")
        self._user = prepare_name(text_of(name))
        # Some clients write capitals, which the RFC does not.
        self._given = digest.lower()
        return SecretNeeded(self._user)

    def _supplied(self, secret: ScramKeys | str | None) -> ServerEvent:
        known = isinstance(secret, str)
        try:
            password = prepare_password(secret) if isinstance(secret, str) else b"nobody"
        except MalformedError:
            password, known = b"nobody", False
        same = hmac.compare_digest(_digest(password, self._challenge), self._given)
        if not (same and known):
            return self._fail("wrong digest" if known else "no password is known of the user")
        return CredentialsGiven(ProvenCredentials(self._user, self.name), "")


class CramMD5Client(ClientExchange):
    """The client's side of CRAM-MD5.

    Args:
        name: Who logs in.
        password: Its password; it does not leave this side.

    Raises:
        MalformedError: The name or the password cannot be one.
    """

    name = "CRAM-MD5"

    def __init__(self, name: str, password: str) -> None:
        super().__init__()
        self._user = prepare_name(name).encode()
        self._password = prepare_password(password)
        self._answered = False

    def _challenged(self, challenge: bytes) -> ClientEvent:
        if self._answered or not challenge:
            return self._fail("a second challenge" if self._answered else "an empty challenge")
        self._answered = True
        return Respond(self._user + b" " + _digest(self._password, challenge))

    def _finished(self, data: bytes | None) -> ClientEvent:
        if not self._answered:
            return self._fail("success without a challenge")
        return super()._finished(data)
