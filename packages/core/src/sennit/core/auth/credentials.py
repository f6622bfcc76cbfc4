"""What a peer shows to be let in. A checker says which of these kinds it understands.

None of them shows a secret in its `repr`. Names and passwords are as the peer gave
them; who checks prepares them (`sennit.core.auth.sasl.grammar.prepare_name`).
"""

from __future__ import annotations

__all__ = [
    "AnonymousCredentials",
    "CertificateCredentials",
    "Credentials",
    "PasswordCredentials",
    "PeerCredentials",
    "ProvenCredentials",
    "TokenCredentials",
]


class Credentials:
    """What all kinds have.

    Attributes:
        name: Whom they are said to be of, for logs; empty where they do not say.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name[:64]!r}>"


class PasswordCredentials(Credentials):
    """A name and a password.

    Attributes:
        password: In clear, for the checker alone.
    """

    __slots__ = ("password",)

    def __init__(self, name: str, password: str) -> None:
        super().__init__(name)
        self.password = password


class TokenCredentials(Credentials):
    """A bearer token (RFC 6750), such as OAuth gives.

    Attributes:
        token: Its octets as text, without ``Bearer``.
        name: Whom the client says it is of; a validator must not believe it.
        host: The host that the client meant to reach, where it said so.
        port: The port likewise; 0 where it did not.
    """

    __slots__ = ("host", "port", "token")

    def __init__(self, name: str, token: str, *, host: str = "", port: int = 0) -> None:
        super().__init__(name)
        self.token = token
        self.host = host
        self.port = port


class CertificateCredentials(Credentials):
    """The certificate that a TLS client showed, its chain verified in the handshake.

    Attributes:
        certificate: In DER.
    """

    __slots__ = ("certificate",)

    def __init__(self, certificate: bytes) -> None:
        super().__init__("")
        self.certificate = certificate


class PeerCredentials(Credentials):
    """What the kernel says of the process at the other end of a Unix socket.

    Attributes:
        uid: Its user's number.
        gid: Its group's number.
    """

    __slots__ = ("gid", "uid")

    def __init__(self, uid: int, gid: int) -> None:
        super().__init__("")
        self.uid = uid
        self.gid = gid


class AnonymousCredentials(Credentials):
    """Nobody in particular (RFC 4505).

    Attributes:
        trace: What the client gave as its trace: a mail address, or anything else.
    """

    __slots__ = ("trace",)

    def __init__(self, trace: str = "") -> None:
        super().__init__("")
        self.trace = trace


class ProvenCredentials(Credentials):
    """A name whose owner has proved to know its secret, in an exchange that has ended well.

    A portal takes it for true. Only the driver of such an exchange makes one
    (`sennit.core.auth.sasl.server`); never make one of what a peer merely says.

    Attributes:
        mechanism: How it was proved: ``SCRAM-SHA-256``.
    """

    __slots__ = ("mechanism",)

    def __init__(self, name: str, mechanism: str) -> None:
        super().__init__(name)
        self.mechanism = mechanism
