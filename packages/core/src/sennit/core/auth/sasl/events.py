"""What an exchange of SASL says is to be done next, on either side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sennit.core.auth.credentials import Credentials

__all__ = [
    "Challenge",
    "ClientEvent",
    "CredentialsGiven",
    "Failed",
    "KeysNeeded",
    "Respond",
    "SaltedPasswordNeeded",
    "SecretNeeded",
    "ServerEvent",
    "Succeeded",
]


@dataclass(slots=True)
class Challenge:
    """The server sends this and waits for a response.

    Attributes:
        data: Octets, not yet in base64; may be empty.
    """

    data: bytes


@dataclass(slots=True)
class KeysNeeded:
    """SCRAM asks for a user's keys; answered by `supply`, with ``None`` where there are none.

    Attributes:
        name: The user, prepared.
        mechanism: Whose keys, without ``-PLUS``: ``SCRAM-SHA-256``.
    """

    name: str
    mechanism: str


@dataclass(slots=True)
class SecretNeeded:
    """A mechanism asks for a user's password in clear; answered by `supply`, ``None`` for none.

    Attributes:
        name: The user, prepared.
    """

    name: str


@dataclass(slots=True)
class CredentialsGiven:
    """The client has shown what it has; answered by `accept` or `reject`.

    Attributes:
        credentials: To be checked; `ProvenCredentials` are good already.
        act_as: Whom the client wants to act as; empty for itself.
    """

    credentials: Credentials
    act_as: str


@dataclass(slots=True)
class Succeeded:
    """The exchange is over, and good.

    Attributes:
        data: What the server sends along with its word of success, or ``None``. Where a
            protocol has no room there, it is sent as one more challenge, to which the
            client answers with an empty response (RFC 4422 §3.6).
    """

    data: bytes | None = None


@dataclass(slots=True)
class Failed:
    """The exchange is over, and the peer is not who it says, or does not speak the mechanism.

    Attributes:
        reason: Why, for the log.
        malformed: Whether a message broke the mechanism's grammar; protocols have an
            answer of their own for that.
        data: What SCRAM would say about it (``e=invalid-proof``), where a protocol can
            carry it.
        aborted: Whether the other side ended it, by the word of the protocol.
    """

    reason: str
    malformed: bool = False
    data: bytes | None = None
    aborted: bool = False


@dataclass(slots=True)
class Respond:
    """The client sends this and waits for the server.

    Attributes:
        data: Octets, not yet in base64; ``None`` when the mechanism has no initial
            response: the server is to speak first.
    """

    data: bytes | None


@dataclass(slots=True, repr=False)
class SaltedPasswordNeeded:
    """SCRAM asks for slow work: answered by `supply`, with PBKDF2 of these (RFC 5802 §2.2).

    Attributes:
        hash_name: As `hashlib` calls it.
        password: Prepared.
        salt: Of the server.
        iterations: Within the limits.
    """

    hash_name: str
    password: bytes
    salt: bytes
    iterations: int


ServerEvent = Challenge | KeysNeeded | SecretNeeded | CredentialsGiven | Succeeded | Failed
"""Every event of a server's exchange."""

ClientEvent = Respond | SaltedPasswordNeeded | Succeeded | Failed
"""Every event of a client's exchange."""
