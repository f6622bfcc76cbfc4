"""Logins, and TLS in the middle of a connection: AUTHINFO, STARTTLS.

A login is tried a few times and then no more (`LoginLimits`); the answer does not tell an unknown
user from a wrong password. TLS begins with a fresh engine: nothing that was said in clear counts,
and octets that came behind STARTTLS end the connection.

Sources: RFC 4643 §2.3, §2.4; RFC 4642 §2.2; RFC 8143 §2.
"""

from __future__ import annotations

import logging
from base64 import b64encode
from typing import TYPE_CHECKING

from sennit.core._faultlog import escape
from sennit.core.auth.credentials import PasswordCredentials
from sennit.core.auth.sasl.channel import channel_of
from sennit.core.auth.sasl.server import SASLMalformedError
from sennit.core.driver import handles
from sennit.core.errors import (
    LoginDenied,
    LoginUnavailableError,
    ProtocolError,
    TooManyTriesError,
)
from sennit.news.access import Access
from sennit.news.events import PasswordGiven, SASLBegun, SASLResponse, TLSAsked
from sennit.news.serving.conversing import Conversing

if TYPE_CHECKING:
    from sennit.core.auth.portal import AvatarSession

__all__ = ["LogsIn"]

_log = logging.getLogger("sennit.news.server")


class LogsIn(Conversing):
    """The handlers of logins, and of TLS."""

    @handles(PasswordGiven)
    async def check_password(self, event: PasswordGiven) -> None:
        """AUTHINFO USER and PASS."""
        if not self._may_try():
            return
        portal = self.server.portal
        assert portal is not None  # without one there are no logins
        try:
            try:
                name, password = event.name.decode(), event.password.decode()
            except UnicodeDecodeError as error:
                raise LoginDenied("not UTF-8") from error
            login = await portal.login(PasswordCredentials(name, password), Access)
        except LoginUnavailableError as error:
            self._unavailable(event, error)
        except LoginDenied:
            await self._denied(event, 481)
        else:
            self._logged_in(event, login, "a password", None)

    @handles(SASLBegun)
    async def authenticate(self, event: SASLBegun) -> None:
        """AUTHINFO SASL."""
        if not self._may_try():
            return
        if event.mechanism == "LOGIN" and event.initial is not None:
            # The server speaks first; what is borne elsewhere has to be refused (RFC 4643 §2.4.2).
            await self._denied(event, 482)
            return
        inbox = self.inbox(event)

        async def ask(challenge: bytes) -> bytes | None:
            self.engine.challenge(event, b64encode(challenge) or b"=")
            response = await inbox.get()
            return response.data if isinstance(response, SASLResponse) else None

        sasl = self.server.sasl
        assert sasl is not None  # without one no mechanism is offered
        try:
            done = await sasl.authenticate(
                event.mechanism,
                channel_of(self.transport),
                Access,
                ask,
                initial=event.initial,
                data_with_success=True,
            )
        except LoginUnavailableError as error:
            self._unavailable(event, error)
        except SASLMalformedError:
            await self._denied(event, 482)
        except LoginDenied:
            await self._denied(event, 481)
        except ProtocolError:
            # The engine has said what was wrong with the response.
            await self._denied(None, 504)
        else:
            self._logged_in(event, done.session, done.mechanism, done.data)

    def _may_try(self) -> bool:
        try:
            self.tries.check()
        except TooManyTriesError:
            self.engine.leave("Too many failed logins")
            return False
        return True

    def _unavailable(self, event: PasswordGiven | SASLBegun, error: Exception) -> None:
        _log.error("logins cannot be checked: %s", escape(error))
        self.engine.answer(event, 403, "Logins cannot be checked now")

    async def _denied(self, event: PasswordGiven | SASLBegun | None, code: int) -> None:
        await self.tries.failed()
        if self.metrics is not None:
            self.metrics.login("refused")
        _log.info("login from %s refused", self.host or "a peer without address")
        if event is not None:
            self.engine.answer(event, code, "Login failed")
        if self.tries.exhausted:
            self.engine.leave("Too many failed logins")

    def _logged_in(
        self,
        event: PasswordGiven | SASLBegun,
        login: AvatarSession[Access],
        how: str,
        data: bytes | None,
    ) -> None:
        self.tries.succeeded()
        self.login = login
        self.stop_waiting_for_login()
        if self.metrics is not None:
            self.metrics.login("accepted")
        host = self.host or "a peer without address"
        _log.info("%s logged in from %s by %s", escape(login.name), host, how)
        access = login.avatar
        if not access.name:
            access = access.named(login.name)
        self.grant(access, known=True)
        if data:
            self.engine.answer(event, 283, b64encode(data))
        else:
            # 283 has no way to say "nothing" (RFC 4643 §3.3).
            self.engine.answer(event, 281, "Welcome")

    @handles(TLSAsked)
    async def begin_tls(self, event: TLSAsked) -> None:
        """STARTTLS."""
        tls = self.server.tls
        assert tls is not None  # else it is not offered
        self.engine.answer(event, 382, "Begin TLS")
        # It reads nothing before it is known what is offered over this TLS, and to whom.
        engine = self.fresh_engine()
        # Of all that was said in clear this alone counts (RFC 4642 §2.2.2).
        engine.session.switched = self.engine.session.switched
        await self.start_tls(tls, engine)
        self.open(secure=True)
        self.proceed()
