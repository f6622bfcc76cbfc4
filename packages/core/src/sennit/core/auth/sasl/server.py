"""SASL on a server: which mechanisms are offered on a connection, and the whole exchange.

A strand makes one `SASLServer` per service, asks it for the mechanisms of a
connection, and lets `SASLServer.authenticate` talk::

    sasl = SASLServer(portal)
    …
    channel = channel_of(self.transport)
    greeting = " ".join(sasl.offered(channel))  # PLAIN under TLS alone, the strongest first
    …
    login = await sasl.authenticate(name, channel, IMailbox, ask, initial=initial)

where ``ask(challenge)`` is a coroutine function of the strand's: it sends a challenge
in the protocol's words (base64, continuation line) and gives the client's response,
decoded, or ``None`` when the client aborts. What fails is raised: `SASLMalformedError`
and `SASLAbortedError` where protocols have words of their own for that, else
`LoginDenied`. Tries and delays are `sennit.core.auth.limits`'.
"""

from __future__ import annotations

import secrets
import socket
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from sennit.core.auth.credentials import (
    AnonymousCredentials,
    PasswordCredentials,
    TokenCredentials,
)
from sennit.core.auth.sasl.anonymous import AnonymousServer
from sennit.core.auth.sasl.channel import Channel
from sennit.core.auth.sasl.cram_md5 import CramMD5Server
from sennit.core.auth.sasl.events import (
    Challenge,
    CredentialsGiven,
    KeysNeeded,
    SecretNeeded,
    Succeeded,
)
from sennit.core.auth.sasl.external import ExternalServer
from sennit.core.auth.sasl.login import LoginServer
from sennit.core.auth.sasl.oauth import OAuthBearerServer, XOAuth2Server
from sennit.core.auth.sasl.plain import PlainServer
from sennit.core.auth.sasl.scram import ScramServer
from sennit.core.errors import LoginDenied, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sennit.core.auth.portal import AvatarSession, Portal
    from sennit.core.auth.sasl.engine import ServerExchange

__all__ = [
    "DEFAULT_MECHANISMS",
    "SASLAbortedError",
    "SASLLogin",
    "SASLMalformedError",
    "SASLServer",
    "UnknownMechanismError",
]

DEFAULT_MECHANISMS: Final = (
    "EXTERNAL",
    "SCRAM-SHA-512-PLUS",
    "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-1-PLUS",
    "SCRAM-SHA-512",
    "SCRAM-SHA-256",
    "SCRAM-SHA-1",
    "OAUTHBEARER",
    "XOAUTH2",
    "PLAIN",
    "LOGIN",
    "ANONYMOUS",
)
"""What is offered where the portal has checkers for it; the strongest first.

CRAM-MD5 must be named: its server keeps passwords in clear."""

_IN_CLEAR: Final = frozenset({"PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"})
"""Mechanisms that show a secret to whoever listens."""

T = TypeVar("T")


class SASLMalformedError(LoginDenied):
    """A message broke the grammar of its mechanism; it counts as a try."""


class SASLAbortedError(LoginDenied):
    """The client ended the exchange (``*``)."""


class UnknownMechanismError(LoginDenied):
    """A mechanism that is not offered on this connection."""


class SASLLogin(Generic[T]):
    """A login by SASL.

    Attributes:
        session: Its avatar.
        mechanism: How it was done.
        data: To be sent along with the word of success; ``None`` when there is nothing,
            or when it was sent as a last challenge.
    """

    __slots__ = ("data", "mechanism", "session")

    def __init__(self, session: AvatarSession[T], mechanism: str, data: bytes | None) -> None:
        self.session = session
        self.mechanism = mechanism
        self.data = data

    def __repr__(self) -> str:
        return f"<SASLLogin {self.mechanism} {self.session!r}>"


class SASLServer:
    """Mechanisms over a portal.

    Args:
        portal: Checks what clients show, and has users' keys.
        mechanisms: What may be offered, the best first.
        in_clear: Offer PLAIN, LOGIN and tokens on connections that anybody can read.
        host: This server's name, in challenges of CRAM-MD5.
        oauth_scope: Told to clients whose token is refused.
        oauth_configuration: Likewise, the URL of the OpenID configuration.
    """

    def __init__(
        self,
        portal: Portal,
        mechanisms: Sequence[str] = DEFAULT_MECHANISMS,
        *,
        in_clear: bool = False,
        host: str | None = None,
        oauth_scope: str = "",
        oauth_configuration: str = "",
    ) -> None:
        for each in mechanisms:
            if each not in DEFAULT_MECHANISMS and each != "CRAM-MD5":
                known = ", ".join(DEFAULT_MECHANISMS)
                raise UsageError(f"there is no mechanism {each!r}, but {known}, CRAM-MD5")
        self.portal = portal
        self._mechanisms = tuple(mechanisms)
        self._in_clear = in_clear
        self._host = host
        self._scope = oauth_scope
        self._configuration = oauth_configuration
        # What users who are not there are told stays the same while this server lives.
        self._secret = secrets.token_bytes(32)

    def offered(self, channel: Channel) -> list[str]:
        """The mechanisms for this connection, the best first."""
        return [each for each in self._mechanisms if self._available(each, channel)]

    def _available(self, mechanism: str, channel: Channel) -> bool:
        portal = self.portal
        if mechanism in _IN_CLEAR and not (channel.private or self._in_clear):
            return False
        if mechanism.startswith("SCRAM-"):
            if mechanism.endswith("-PLUS") and not channel.bindings:
                return False
            return portal.has_keys(mechanism.removesuffix("-PLUS"))
        if mechanism == "CRAM-MD5":
            return portal.has_keys(mechanism)
        if mechanism == "EXTERNAL":
            return channel.known is not None and portal.understands(type(channel.known))
        kinds: dict[str, type[Any]] = {
            "PLAIN": PasswordCredentials,
            "LOGIN": PasswordCredentials,
            "OAUTHBEARER": TokenCredentials,
            "XOAUTH2": TokenCredentials,
            "ANONYMOUS": AnonymousCredentials,
        }
        return portal.understands(kinds[mechanism])

    def begin(self, mechanism: str, channel: Channel) -> ServerExchange:
        """An exchange without I/O, for who drives it himself.

        Raises:
            UnknownMechanismError: It is not offered on this connection.
        """
        name = mechanism.upper()
        if name not in self._mechanisms or not self._available(name, channel):
            raise UnknownMechanismError("a mechanism that is not offered")
        if name.startswith("SCRAM-"):
            offered = self.offered(channel)
            return ScramServer(
                name,
                secrets.token_urlsafe(24),
                self._secret,
                bindings=channel.bindings,
                plus_offered=any(each.endswith("-PLUS") for each in offered),
                iterations=self.portal.scram_iterations(name.removesuffix("-PLUS")),
            )
        if name == "CRAM-MD5":
            return CramMD5Server(secrets.token_urlsafe(24), self._host or socket.gethostname())
        if name == "EXTERNAL":
            return ExternalServer(channel.known)
        if name == "OAUTHBEARER":
            return OAuthBearerServer(self._scope, self._configuration)
        if name == "XOAUTH2":
            return XOAuth2Server(self._scope)
        if name == "PLAIN":
            return PlainServer()
        return LoginServer() if name == "LOGIN" else AnonymousServer()

    async def authenticate(
        self,
        mechanism: str,
        channel: Channel,
        interface: Callable[..., T] | type[T],
        ask: Callable[[bytes], Awaitable[bytes | None]],
        *,
        initial: bytes | None = None,
        data_with_success: bool = False,
    ) -> SASLLogin[T]:
        """Run one exchange to its end.

        Args:
            mechanism: What the client named.
            channel: The connection, as `channel_of` sees it.
            interface: What the avatar is wanted as.
            ask: Sends a challenge and gives the response; ``None`` when the client aborts.
            initial: The client's initial response, ``None`` without one.
            data_with_success: Whether the protocol has room for octets beside its word of
                success (XMPP has); else they are sent as a last challenge, which the
                client must answer with an empty response.

        Raises:
            UnknownMechanismError: The mechanism is not offered on this connection.
            SASLMalformedError: A message broke its grammar.
            SASLAbortedError: The client ended it.
            LoginDenied: The client is not who it says, or may not do what it wants.
            LoginUnavailableError: That cannot be found out now.
        """
        exchange = self.begin(mechanism, channel)
        event = exchange.receive(initial)
        session: AvatarSession[T] | None = None
        denied: LoginDenied | None = None
        while True:
            if isinstance(event, Challenge):
                event = exchange.receive(await ask(event.data))
            elif isinstance(event, KeysNeeded):
                event = exchange.supply(await self.portal.scram_keys(event.name, event.mechanism))
            elif isinstance(event, SecretNeeded):
                event = exchange.supply(await self.portal.secret(event.name))
            elif isinstance(event, CredentialsGiven):
                try:
                    session = await self.portal.login(
                        event.credentials, interface, act_as=event.act_as
                    )
                except LoginDenied as error:
                    denied = error
                    event = exchange.reject(error.reason)
                else:
                    event = exchange.accept()
            elif isinstance(event, Succeeded):
                assert session is not None  # `accept` alone leads here
                return SASLLogin(
                    session,
                    exchange.name or mechanism.upper(),
                    await self._final(event.data, session, ask, data_with_success),
                )
            elif event.malformed:
                raise SASLMalformedError(event.reason)
            elif event.aborted:
                raise SASLAbortedError(event.reason)
            else:
                raise denied or LoginDenied(event.reason)

    async def _final(
        self,
        data: bytes | None,
        session: AvatarSession[Any],
        ask: Callable[[bytes], Awaitable[bytes | None]],
        data_with_success: bool,
    ) -> bytes | None:
        """Send what belongs to the success, where the protocol has no room for it there."""
        if data is None or data_with_success:
            return data
        try:
            answer = await ask(data)
            if answer is None:
                raise SASLAbortedError("the client aborted after our proof")
            if answer:
                raise SASLMalformedError("an answer to our proof that is not empty")
        except BaseException:
            await session.logout()
            raise
        return None
