"""SASL on a client: the best mechanism that both sides have, and the whole exchange.

::

    identity = ClientIdentity("alice", password="wonderland")
    channel = channel_of(self.transport)
    await authenticate(identity, offered, channel, talk)

where ``talk(mechanism, data)`` is a coroutine function of the strand's: it sends the
mechanism's name with its initial response at first (``data`` may be ``None``), later a
response (``mechanism`` is ``None``), and gives what the server answers: a `Reply`.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from sennit.core.auth.sasl.anonymous import AnonymousClient
from sennit.core.auth.sasl.cram_md5 import CramMD5Client
from sennit.core.auth.sasl.events import Failed, Respond, SaltedPasswordNeeded
from sennit.core.auth.sasl.external import ExternalClient
from sennit.core.auth.sasl.login import LoginClient
from sennit.core.auth.sasl.oauth import OAuthBearerClient, XOAuth2Client
from sennit.core.auth.sasl.plain import PlainClient
from sennit.core.auth.sasl.scram import BINDINGS, ScramClient
from sennit.core.errors import LoginDenied, ProtocolError, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable

    from sennit.core.auth.sasl.channel import Channel
    from sennit.core.auth.sasl.engine import ClientExchange

__all__ = [
    "ABORT",
    "ClientIdentity",
    "Reply",
    "SASLError",
    "authenticate",
    "begin",
    "choose",
]

PREFERENCE: Final = (
    "EXTERNAL",
    "SCRAM-SHA-512-PLUS",
    "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-1-PLUS",
    "SCRAM-SHA-512",
    "SCRAM-SHA-256",
    "SCRAM-SHA-1",
    "OAUTHBEARER",
    "XOAUTH2",
    "CRAM-MD5",
    "PLAIN",
    "LOGIN",
    "ANONYMOUS",
)
"""The strongest first."""

_IN_CLEAR: Final = frozenset({"PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"})

ABORT: Final = "*"
"""What ``talk`` gets as its mechanism when the exchange is to be ended."""


class SASLError(ProtocolError):
    """The server broke the mechanism's rules, or could not prove that it knows the password."""


class ClientIdentity:
    """Who logs in, and with what.

    Args:
        name: The user; empty for EXTERNAL and ANONYMOUS.
        password: For SCRAM, PLAIN, LOGIN and CRAM-MD5.
        token: For OAUTHBEARER and XOAUTH2.
        external: Whether the connection itself shows who we are.
        anonymous: The trace to give when nothing else is wanted; ``None`` for never.
        act_as: Whom to act as; empty for oneself.
        host: The server, as it was asked for (OAUTHBEARER).
        port: Likewise.
        mechanisms: What may be used; all but CRAM-MD5 when left out.
        in_clear: Show passwords and tokens on connections that anybody can read.
    """

    def __init__(
        self,
        name: str = "",
        *,
        password: str | None = None,
        token: str | None = None,
        external: bool = False,
        anonymous: str | None = None,
        act_as: str = "",
        host: str = "",
        port: int = 0,
        mechanisms: Collection[str] | None = None,
        in_clear: bool = False,
    ) -> None:
        self.name = name
        self.password = password
        self.token = token
        self.external = external
        self.anonymous = anonymous
        self.act_as = act_as
        self.host = host
        self.port = port
        self.mechanisms = mechanisms
        self.in_clear = in_clear

    def __repr__(self) -> str:
        return f"<ClientIdentity {self.name!r}>"


class Reply:
    """What a server answered.

    Attributes:
        kind: ``challenge``, ``success`` or ``failure``.
        data: Octets, decoded; of a success ``None`` where none came with it.
        text: What it said to a failure, for people.
    """

    __slots__ = ("data", "kind", "text")

    def __init__(self, kind: str, data: bytes | None = None, text: str = "") -> None:
        if kind not in ("challenge", "success", "failure"):
            raise UsageError(f"a reply is challenge, success or failure, not {kind!r}")
        self.kind = kind
        self.data = data
        self.text = text


def choose(identity: ClientIdentity, offered: Iterable[str], channel: Channel) -> str:
    """The strongest mechanism that the server offers, the identity has and the channel allows.

    Raises:
        UsageError: There is none; the message says what stood in the way.
    """
    there = {each.upper() for each in offered}
    hidden: list[str] = []
    for name in PREFERENCE:
        if name not in there or not _fits(name, identity, channel):
            continue
        if name in _IN_CLEAR and not (channel.private or identity.in_clear):
            hidden.append(name)
            continue
        return name
    if hidden:
        raise UsageError(f"{', '.join(hidden)} would show the secret; use TLS, or allow in_clear")
    offers = ", ".join(sorted(there)) or "none"
    raise UsageError(f"no mechanism in common; the server offers {offers}")


def _fits(name: str, identity: ClientIdentity, channel: Channel) -> bool:
    if identity.mechanisms is not None:
        if name not in identity.mechanisms:
            return False
    elif name == "CRAM-MD5":
        return False
    if name == "EXTERNAL":
        return identity.external
    if name == "ANONYMOUS":
        return identity.anonymous is not None
    if name in ("OAUTHBEARER", "XOAUTH2"):
        return identity.token is not None and (name == "OAUTHBEARER" or bool(identity.name))
    if identity.password is None:
        return False
    if identity.act_as and name in ("LOGIN", "CRAM-MD5"):
        return False
    return not name.endswith("-PLUS") or bool(channel.bindings)


def begin(
    mechanism: str, identity: ClientIdentity, offered: Iterable[str], channel: Channel
) -> ClientExchange:
    """An exchange without I/O, for who drives it himself.

    Raises:
        MalformedError: The name, password or token cannot be one.
        UsageError: There is no such mechanism, or the identity has nothing for it.
    """
    password, token = identity.password, identity.token
    if mechanism == "EXTERNAL":
        return ExternalClient(identity.act_as)
    if mechanism == "ANONYMOUS":
        return AnonymousClient(identity.anonymous or "")
    if mechanism == "OAUTHBEARER" and token is not None:
        name = identity.act_as or identity.name
        return OAuthBearerClient(token, name, host=identity.host, port=identity.port)
    if mechanism == "XOAUTH2" and token is not None:
        return XOAuth2Client(token, identity.act_as or identity.name)
    if password is not None:
        if mechanism.startswith("SCRAM-"):
            plus = any(each.upper().endswith("-PLUS") for each in offered)
            binding = _binding(channel) if mechanism.endswith("-PLUS") else None
            return ScramClient(
                mechanism,
                identity.name,
                password,
                secrets.token_urlsafe(24),
                act_as=identity.act_as,
                binding=binding,
                could_bind=binding is None and bool(channel.bindings) and not plus,
            )
        if mechanism == "PLAIN":
            return PlainClient(identity.name, password, identity.act_as)
        if mechanism == "LOGIN":
            return LoginClient(identity.name, password)
        if mechanism == "CRAM-MD5":
            return CramMD5Client(identity.name, password)
    raise UsageError(f"nothing to log in with by {mechanism!r}")


def _binding(channel: Channel) -> tuple[str, bytes]:
    for kind in BINDINGS:
        if kind in channel.bindings:
            return kind, channel.bindings[kind]
    raise UsageError("this connection has no channel binding")


async def authenticate(
    identity: ClientIdentity,
    offered: Iterable[str],
    channel: Channel,
    talk: Callable[[str | None, bytes | None], Awaitable[Reply]],
) -> str:
    """Log in; returns the mechanism that did it.

    Args:
        identity: Who, and with what.
        offered: The mechanisms that the server named.
        channel: The connection, as `channel_of` sees it.
        talk: Sends and gives the answer, as this module says at its top. When the
            mechanism is `ABORT`, the exchange is to be ended in the protocol's words;
            its answer is not looked at.

    Raises:
        UsageError: No mechanism is in common.
        LoginDenied: The server refused.
        SASLError: The server broke the mechanism's rules, or claimed a success that it
            could not prove. Close the connection: who is there is not who should be.
    """
    names = list(offered)
    mechanism = choose(identity, names, channel)
    exchange = begin(mechanism, identity, names, channel)
    event = exchange.start()
    spoken = False
    while True:
        if isinstance(event, SaltedPasswordNeeded):
            event = exchange.supply(await _salted(event))
        elif isinstance(event, Respond):
            reply = await talk(None if spoken else mechanism, event.data)
            spoken = True
            if reply.kind == "failure":
                refusal = getattr(exchange, "refusal", None)
                said = refusal or reply.text or "authentication failed"
                raise LoginDenied("the server refused", said)
            if reply.kind == "challenge":
                event = exchange.receive(reply.data or b"")
                if isinstance(event, Failed):
                    await talk(ABORT, None)
            else:
                event = exchange.finish(reply.data)
        elif isinstance(event, Failed):
            raise SASLError(f"{mechanism}: {event.reason}", "RFC 4422 §3")
        else:
            return mechanism


async def _salted(event: SaltedPasswordNeeded) -> bytes:
    """PBKDF2 in a thread: a server may ask for a second of it."""
    import hashlib

    from sennit.core.reactor.base import current_reactor

    salted: bytes = await current_reactor().defer_to_thread(
        hashlib.pbkdf2_hmac, event.hash_name, event.password, event.salt, event.iterations
    )
    return salted
