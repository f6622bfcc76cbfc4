"""The server's side of FTP: sessions, on whatever transport turns up.

`FTPServerFactory` has what all sessions share; each of its `FTPServerProtocol` is one control
connection, with the avatar of whoever has logged in and one data port at a time. Commands come as
events of the engine; what they ask of files goes to the user's `IFileStore`.

TLS comes by AUTH TLS, or with the connection where the endpoint is a ``tls://`` one (implicit).
Data connections that are protected have to resume the session of their control connection
(RFC 4217 §10.2), so that nobody else's are taken for the client's.

Elsewhere: the protocol (``engine.py``), transfers (``transfers.py``), data connections
(``data.py``), what single files are asked for (``lookups.py``).
"""

from __future__ import annotations

import ipaddress
import random
import socket
import time
from typing import TYPE_CHECKING, Any, Final, Literal
from weakref import WeakValueDictionary

from sennit.core._waiting import is_cancellation
from sennit.core.auth.credentials import AnonymousCredentials, PasswordCredentials
from sennit.core.auth.limits import LoginLimits
from sennit.core.deferred import Deferred
from sennit.core.driver import EngineProtocol, handles
from sennit.core.endpoint.networks import host_of
from sennit.core.errors import LoginDenied, LoginUnavailableError, TooManyTriesError, UsageError
from sennit.ftp.data import DataConnection, DataPort, make_connection
from sennit.ftp.engine import Profile, ServerEngine
from sennit.ftp.errors import StoreError
from sennit.ftp.events import (
    Answered,
    ClearAsked,
    LoginAsked,
    LogoutAsked,
    PassiveAsked,
    PathAsked,
    RenameAsked,
    ServerEvent,
    StatusAsked,
    TLSAsked,
    TransferAsked,
)
from sennit.ftp.interfaces import IFileStore
from sennit.ftp.limits import Limits
from sennit.ftp.lookups import look_up
from sennit.ftp.paths import written
from sennit.ftp.rates import UserBuckets, buckets
from sennit.ftp.transfers import UPLOADS, Transfer
from sennit.ftp.watching import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sennit.core.auth.portal import AvatarSession, Portal
    from sennit.core.interfaces import IDelayedCall, IReactor
    from sennit.core.policy.bucket import TokenBucket
    from sennit.core.transport.tls import ServerTLS
    from sennit.ftp.rates import Rates
    from sennit.ftp.watching import FTPMetrics

__all__ = ["FTPServerFactory", "FTPServerProtocol"]

GRACE: Final = 5.0
"""Seconds between saying that it is over and an abort."""
HOLD: Final = 1.0
"""Seconds for which a client may be first to end TLS after CCC."""
PORTS_TRIED: Final = 32
"""Ports of a range that are tried before it counts as exhausted."""

TLSMode = Literal["off", "optional", "required"]


class FTPServerProtocol(EngineProtocol[ServerEngine, ServerEvent]):
    """One control connection.

    Made by `FTPServerFactory`.

    Args:
        factory: What all connections share.
        peer: The client's address.

    Attributes:
        limits: What the client may do.
        tls: What protects data connections; ``None`` before TLS stands.
        local: The control connection's end here.
    """

    linger = 2.0

    def __init__(self, factory: FTPServerFactory, peer: Any) -> None:
        super().__init__(
            ServerEngine(factory.limits, factory.profile, peer=host_of(peer) or ""),
            clock=factory.clock,
        )
        self._factory = factory
        self.limits = factory.limits
        self.tls: ServerTLS | None = None
        self.local: tuple[str, int] | None = None
        self._session: AvatarSession[IFileStore] | None = None
        self._port: DataPort | None = None
        self._transfer: Transfer | None = None
        self._download: Sequence[TokenBucket] = ()
        self._upload: Sequence[TokenBucket] = ()
        self._user_buckets: UserBuckets | None = None
        self._watch: IDelayedCall | None = None
        self._since = 0.0  # when the login's deadline began
        self._last = 0.0  # when the client was heard of last
        self._leaving: IDelayedCall | None = None

    # ── the connection ────────────────────────────────────────────────────────

    def connection_made(self, transport: Any) -> None:
        """Begin to count, and greet."""
        self.transport = transport
        engine = self.engine
        engine.peer = host_of(transport.peer) or engine.peer
        self._tries = self._factory.login_limits.tries(transport.peer)
        local = transport.local
        if hasattr(local, "port"):
            self.local = (local.host, local.port)
        over_tls = transport.get_extra_info("sennit.tls")
        if over_tls is not None:
            tls: ServerTLS = over_tls.server_tls
            tls.tickets_wait = True
            self.tls = tls
            engine.stands_over_tls()
        else:
            _hear_urgent_data(transport)
        self._since = self._last = now = self._time()
        self._watch = self._find_clock().call_at(
            now + min(self.limits.login, self.limits.idle), self._look
        )
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Octets have come: a sign of life."""
        self._last = self._time()
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has gone, and what belongs to it goes."""
        for timer in (self._watch, self._leaving):
            if timer is not None:
                timer.cancel()
        self._watch = self._leaving = None
        super().connection_lost(exc)
        self._close_port()
        if self._session is not None:
            self.finished().add_callback(lambda _: self._log_out())

    def _look(self) -> None:
        """Is the login due, or has the client been silent for too long?"""
        self._watch = None
        if self.gone or self.transport.is_closing():
            return
        now = self._time()
        if self.busy:
            self._last = now
        idle = self._last + self.limits.idle
        login = self._since + self.limits.login
        if not self.engine.logged_in and now >= login:
            self._dismiss("You have not logged in", "timeout")
            return
        if now >= idle:
            self._dismiss("You have been silent for too long", "idle")
            return
        when = idle if self.engine.logged_in else min(idle, login)
        self._watch = self._find_clock().call_at(when, self._look)

    def _dismiss(self, text: str, reason: str) -> None:
        log.info("%s", text, extra={"peer": self._peer(), "phase": "session", "reason": reason})
        self._leaving = self._find_clock().call_at(self._time() + GRACE, self._cut_off, reason)
        self.engine.leave(text)
        self.timed_out(reason)

    def _cut_off(self, reason: str) -> None:
        self._leaving = None
        self.transport.abort(reason)

    @property
    def gone(self) -> bool:
        """Whether the control connection has gone."""
        return self._lost is not None

    @property
    def reactor(self) -> IReactor:
        """Who listens, connects and measures time."""
        clock: Any = self._find_clock()  # the transport's reactor, or what a test gave
        reactor: IReactor = clock
        return reactor

    @property
    def must_resume(self) -> bool:
        """Whether data connections have to resume the session of this one."""
        return self._factory.must_resume

    def wall_clock(self) -> float:
        """POSIX seconds, for listings."""
        return self._factory.wall_clock()

    @property
    def store(self) -> IFileStore:
        """The files of whoever has logged in."""
        if self._session is None:
            raise StoreError("Log in first")
        return self._session.avatar

    # ── who ───────────────────────────────────────────────────────────────────

    @handles(Answered)
    def note(self, event: Answered) -> None:
        """Nothing is left to do, but that who leaves needs no port any more."""
        if event.verb == "QUIT":
            self._close_port()

    @handles(LoginAsked)
    async def log_in(self, event: LoginAsked) -> None:
        """Ask the portal; who may not come in learns it after a while, and not why."""
        factory = self._factory
        credentials: AnonymousCredentials | PasswordCredentials
        if event.anonymous and factory.anonymous:
            credentials = AnonymousCredentials(event.password)
        else:
            credentials = PasswordCredentials(event.user, event.password)
        outcome = "denied"
        try:
            self._tries.check()
            if not factory.portal.understands(type(credentials)):
                # Whoever gives a name where only strangers are let in has none of ours.
                raise LoginDenied
            session = await factory.portal.login(credentials, IFileStore)
        except TooManyTriesError:
            outcome = "too many"
            self.engine.reject_login("Too many logins have failed", code=421)
        except LoginDenied:
            await self._tries.failed()
            if self._tries.exhausted:
                self.engine.reject_login("Login incorrect, and that was the last try", code=421)
            else:
                self.engine.reject_login()
        except LoginUnavailableError:
            outcome = "unavailable"
            self.engine.reject_login("That cannot be found out now", code=451)
        else:
            self._tries.succeeded()
            if self.gone:
                await session.logout()
                return
            outcome = "accepted"
            self._session = session
            self._set_rates(session.name)
            self.engine.accept_login()
        if factory.metrics is not None:
            factory.metrics.logged_in(outcome)
        if log.isEnabledFor(20):
            log.info(
                "%s of %r",
                "login" if outcome == "accepted" else f"login {outcome}",
                event.user[:255],
                extra={"peer": self._peer(), "phase": "login"},
            )

    def _set_rates(self, name: str) -> None:
        rates = self._factory.rates
        if rates is None:
            return
        users = self._factory.user_buckets
        shared = users.get(name)
        if shared is None:
            shared = users[name] = UserBuckets(rates)
        self._user_buckets = shared  # which lives as long as sessions have it
        self._download = (*buckets(rates.download), *shared.download)
        self._upload = (*buckets(rates.upload), *shared.upload)

    @handles(LogoutAsked)
    async def reinitialize(self, event: LogoutAsked) -> None:
        """REIN: as if the client had just come."""
        await self._begin_anew()
        self.engine.reply(220, "Ready for another user")

    async def _begin_anew(self) -> None:
        """Nobody is logged in any more, and nothing waits for a client."""
        self._close_port()
        await self._end_session()
        self._since = self._time()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = self._find_clock().call_at(self._since + self.limits.login, self._look)

    async def _end_session(self) -> None:
        session, self._session = self._session, None
        self._user_buckets = None
        self._download = self._upload = ()
        if session is not None:
            await session.logout()

    def _log_out(self) -> None:
        Deferred.from_coroutine(self._end_session())

    # ── TLS ───────────────────────────────────────────────────────────────────

    @handles(TLSAsked)
    async def begin_tls(self, event: TLSAsked) -> None:
        """AUTH TLS: nothing that was said before counts (RFC 4217 §4)."""
        factory = self._factory
        if factory.tls is None:
            self.engine.reply(431, "There is no certificate")
            return
        await self._begin_anew()
        self.engine.accept_tls()
        tls = factory.tls.for_one_client()
        engine = ServerEngine(
            factory.limits,
            factory.profile,
            peer=self.engine.peer,
            secure=True,
            private=event.private,
            greeting=False,
        )
        await self.start_tls(tls, engine)
        # This client has its ticket now. One more would stand unread where it only sends.
        tls.tickets_wait = True
        self.tls = tls

    @handles(ClearAsked)
    def end_tls(self, event: ClearAsked) -> Deferred[None] | None:
        """CCC: the control connection goes on in clear, data connections as they were.

        Most clients end TLS by themselves, and lftp takes a close_notify that comes along with
        the reply for the end of the connection: so they are first. Others (curl's passive mode)
        wait for the server's, answer nothing and go on in clear: whoever is silent may be so for
        as long as he may at any other time.
        """
        peer = self._peer()
        if not self.engine.accept_clear():
            log.info("Commands behind CCC", extra={"peer": peer, "phase": "session"})
            return None
        log.info("TLS is taken off", extra={"peer": peer, "phase": "session"})
        _hear_urgent_data(self.transport)

        def failed(error: BaseException) -> None:
            # The connection has gone; where that cancels this, it does not say why.
            why = self._lost or error
            log.info("TLS was not ended: %s", why, extra={"peer": peer, "phase": "session"})

        ended = self.stop_tls(timeout=self.limits.idle, answered=False, hold=HOLD)
        return ended.add_errback(failed)

    # ── data connections ──────────────────────────────────────────────────────

    def new_connection(self, *, plain: bool) -> DataConnection:
        """A data connection that keeps to the user's rates."""
        window = self.limits.window
        return make_connection(window, self._upload, self._download, plain=plain)

    @handles(PassiveAsked)
    def listen(self, event: PassiveAsked) -> None:
        """PASV and EPSV: a port of its own for each transfer."""
        self._close_port()
        local = self.local
        if local is None:
            self.engine.reply(425, "There is no address to connect to")
            return
        plain = not self.engine.private
        port = DataPort(self.reactor, self.engine.peer, lambda: self.new_connection(plain=plain))
        try:
            number = port.listen(local[0], self._factory.some_ports())
        except OSError:
            log.warning("No port is free for a data connection", extra={"peer": self._peer()})
            self.engine.reply(425, "No port is free")
            return
        self._port = port
        self.engine.accept_passive(self._factory.public_address or local[0], number)

    def _close_port(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            port.close()

    @handles(TransferAsked)
    async def transfer(self, event: TransferAsked) -> None:
        """Move a file or a listing."""
        port, self._port = self._port, None
        if event.target is not None and port is not None:
            port.close()
            port = None
        self._transfer = transfer = Transfer(self, event, port)
        begun = self._time()
        try:
            await transfer.run()
        finally:
            self._transfer = None
            self._last = now = self._time()
            self._tell(event, transfer, now - begun)

    def _tell(self, event: TransferAsked, transfer: Transfer, duration: float) -> None:
        metrics = self._factory.metrics
        verb = event.verb
        if metrics is not None:
            metrics.transferred(verb, transfer.code, transfer.octets, inward=verb in UPLOADS)
        if log.isEnabledFor(20):
            log.info(
                "%s %s: %d, %d octets%s",
                verb,
                written(event.path),
                transfer.code,
                transfer.octets,
                f" ({transfer.trouble})" if transfer.trouble else "",
                extra={
                    "peer": self._peer(),
                    "phase": "transfer",
                    "protocol": "FTPS" if event.protected else "FTP",
                    "duration": duration,
                },
            )

    def _never_began(self, handler: Any, coroutine: Any) -> None:
        """What ABOR ended before its first step is answered like what it ended later."""
        if not (handler.begun or self.gone):
            self._close_port()
            self.engine.abandon(handler.event)
        super()._never_began(handler, coroutine)

    # ── files ─────────────────────────────────────────────────────────────────

    @handles(PathAsked)
    async def answer(self, event: PathAsked) -> None:
        """Whatever is asked of one file or directory."""
        try:
            await look_up(self, event)
        except StoreError as error:
            self.engine.reply(error.code, str(error))
        except BaseException as error:
            # HASH may take long, and ABOR ends it.
            if is_cancellation(error) and not self.gone:
                self.engine.abandon(event)
            raise

    @handles(RenameAsked)
    async def rename(self, event: RenameAsked) -> None:
        """RNTO."""
        try:
            await self.store.rename(event.source, event.target)
        except StoreError as error:
            self.engine.reply(error.code, str(error))
        else:
            self.engine.reply(250, "Renamed")

    @handles(StatusAsked)
    def tell_status(self, event: StatusAsked) -> None:
        """STAT, perhaps in mid-transfer."""
        engine = self.engine
        lines = ["Status:", f"Connected from {engine.peer or 'somewhere'}"]
        lines.append(f"Logged in as {_printable(engine.user)}" if engine.user else "Not logged in")
        lines.append(engine.settings)
        transfer = self._transfer
        if transfer is not None:
            lines.append(f"{transfer.verb}: {transfer.octets} octets so far")
        engine.send_status(*lines, "End of status")


class FTPServerFactory:
    """What the sessions of one server share; makes their protocols.

    Args:
        portal: Lets users in, and has their files: avatars of `IFileStore`.
        limits: What each client may do.
        tls: Certificates for AUTH TLS.
        tls_mode: ``required``: nobody logs in or transfers without TLS, AUTH or implicit.
            ``optional`` and ``off`` let passwords pass in clear.
        must_resume: Whether protected data connections have to resume the session of their
            control connection.
        passive_ports: Ports for data connections; any free one when left out.
        public_address: The IPv4 address that PASV tells, where it is another one (NAT).
        clear_control: Whether clients may take TLS off their control connections once they have
            logged in (CCC): then anybody on the way reads, and may change, what is said there.
        active: Whether clients may be connected to (PORT, EPRT).
        anonymous: Whether ``anonymous`` and ``ftp`` are let in as nobody in particular.
        banner: The greeting's text.
        site: Whether there is SITE CHMOD.
        hashes: Algorithms of HASH, the preferred first.
        hosts: Names that HOST may give.
        login_limits: How often logins may fail.
        rates: Octets per second.
        metrics: Counts.
        clock: Measures time; the transport's reactor when left out.
        wall_clock: POSIX seconds.

    Raises:
        UsageError: TLS is required and there is none; an address that is none; no ports.
    """

    own_tls_sessions = True
    """Implicit TLS: `sennit.core.transport.tls.TLSFactory` asks."""

    def __init__(
        self,
        portal: Portal,
        *,
        limits: Limits | None = None,
        tls: ServerTLS | None = None,
        tls_mode: TLSMode = "required",
        must_resume: bool = True,
        passive_ports: range | None = None,
        public_address: str | None = None,
        clear_control: bool = False,
        active: bool = True,
        anonymous: bool = False,
        banner: str = "FTP at your service",
        site: bool = False,
        hashes: Iterable[str] = ("SHA-256", "SHA-512", "SHA-1", "MD5"),
        hosts: Iterable[str] = (),
        login_limits: LoginLimits | None = None,
        rates: Rates | None = None,
        metrics: FTPMetrics | None = None,
        clock: Any = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        if tls_mode not in ("off", "optional", "required"):
            raise UsageError(f"tls_mode is off, optional or required, not {tls_mode!r}")
        if passive_ports is not None and not (
            passive_ports and min(passive_ports) > 0 and max(passive_ports) < 65_536
        ):
            raise UsageError(f"passive_ports are ports, not {passive_ports!r}")
        if public_address is not None:
            try:
                ipaddress.IPv4Address(public_address)
            except ValueError:
                raise UsageError(
                    f"public_address is an IPv4 address, not {public_address!r}"
                ) from None
        if any(ord(each) < 32 for each in banner):
            raise UsageError("the banner is one line")
        self.portal = portal
        self.limits = limits or Limits()
        self.tls = None if tls_mode == "off" else tls
        self.must_resume = must_resume
        self.public_address = public_address
        self.anonymous = anonymous and portal.understands(AnonymousCredentials)
        self.profile = Profile(
            banner=banner,
            tls=self.tls is not None,
            require_tls=tls_mode == "required",
            clear_control=clear_control,
            active=active,
            site=site,
            hashes=tuple(each.upper() for each in hashes),
            hosts=tuple(each.lower() for each in hosts),
        )
        self.login_limits = login_limits or LoginLimits(clock=clock)
        self.rates = rates
        self.user_buckets: WeakValueDictionary[str, UserBuckets] = WeakValueDictionary()
        self.metrics = metrics
        self.clock = clock
        self.wall_clock = wall_clock
        self._ports = passive_ports
        self._random = random.SystemRandom()

    def build_protocol(self, peer: Any) -> FTPServerProtocol:
        """Make one for a new connection."""
        return FTPServerProtocol(self, peer)

    def refusal(self, reason: str) -> bytes:
        """What a connection is told that is one too many."""
        return b"421 Too many connections\r\n"

    def some_ports(self) -> Sequence[int] | None:
        """Ports to try for a data connection, in an order that nobody can guess; ``None``: any."""
        ports = self._ports
        if ports is None:
            return None
        return self._random.sample(ports, min(len(ports), PORTS_TRIED))


def _hear_urgent_data(transport: Any) -> None:
    """Leave urgent octets among the others: some clients say ABOR, or its end, by them."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        except OSError:
            pass  # a Unix socket, or the connection has gone


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text[:255])
