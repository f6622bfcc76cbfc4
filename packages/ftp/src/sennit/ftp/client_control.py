"""The client's control connection: commands one after the other, login, TLS, and transfers begun.

`FTPClientProtocol` is the engine on a transport. `Control` is what `FTPClient` stands on: it
opens the connection, logs in, finds out what the server can do, and lends a data connection for
the time of one transfer (`transfer`). One sequence of commands has the connection at a time; who
else asks waits.

A transfer that fails or is cancelled on this side is settled before anything else is asked: the
data connection is reset, the server told (ABOR) where it receives, and its replies are awaited. To
one that sends and then says nothing NOOP is said, whose answer is unlike all others. A server that
does not answer in time loses the connection: nothing is ever asked over one on which a reply could
be taken for another.

Sources: RFC 959 §5.4 (sequences), RFC 2389 (FEAT), RFC 2428 (EPSV, EPRT), RFC 2640 §3, RFC 4217
§4, §8, §12. Not here: files (``client_transfers.py``), names and listings (``client.py``).
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from sennit.core.client_driver import ClientEngineProtocol
from sennit.core.deferred import Deferred, fail
from sennit.core.endpoint.connect import connect
from sennit.core.errors import ConnectionLost, ProtocolError
from sennit.core.reactor.base import current_reactor
from sennit.ftp.client_data import DataConnection, Expected, Transfer, connect_passive
from sennit.ftp.client_engine import (
    GREETING,
    ClientEngine,
    ClientEvent,
    Command,
    Completed,
    Preliminary,
    Unasked,
)
from sennit.ftp.errors import (
    FTPPermanentError,
    FTPProtocolError,
    FTPReplyError,
    FTPUsageError,
    TransferError,
)
from sennit.ftp.limits import ClientLimits
from sennit.ftp.replies import Reply, features_of, passive_port, refusal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from typing import Self

    from sennit.core.driver import Inbox
    from sennit.core.endpoint.tunnel import Via
    from sennit.core.transport.tls import ClientTLS
    from sennit.ftp.url import FTPURL

__all__ = ["Control", "FTPClientProtocol", "is_unknown"]

ANONYMOUS: Final = "anonymous"
"""Who logs in where nobody is named (RFC 1635)."""
_NOT_KNOWN: Final = frozenset({500, 501, 502, 504, 522})
"""Replies to a command, or a form of it, that the server does not have."""
_QUIET: Final = 1.0
"""Seconds without a word on a download that was given up, after which the server is asked (NOOP)
whether it has anything to say."""


class FTPClientProtocol(ClientEngineProtocol[ClientEngine, Command, ClientEvent, Reply]):
    """One control connection.

    Args:
        limits: What the server is allowed.

    Attributes:
        farewell: The 421 with which the server left, if it did.
    """

    def __init__(self, limits: ClientLimits | None = None) -> None:
        super().__init__(ClientEngine(limits))
        self.farewell: Reply | None = None

    def combine(self, command: Command, parts: list[ClientEvent], end: ClientEvent) -> Reply:
        """The reply that ends a command."""
        return cast("Completed", end).reply

    def event_received(self, event: ClientEvent) -> None:
        """The server leaves."""
        if isinstance(event, Unasked):
            self.farewell = event.reply


class Control:
    """One login at a server (made by `FTPClient.connect`).

    Args:
        url: Where to, and who.
        tls: ``explicit`` (AUTH TLS), ``implicit``, or ``None``: in clear.
        client_tls: What to believe of the server; the system's authorities when left out.
        server_hostname: The name its certificate must carry, where that is not the URL's host.
        account: For servers that ask for one (ACCT).
        active: Have the server open data connections (EPRT, PORT).
        limits: What the server is allowed.
        via: A proxy, or several (see `sennit.core.connect`); data connections use it too.
    """

    def __init__(
        self,
        url: FTPURL,
        *,
        tls: str | None = None,
        client_tls: ClientTLS | None = None,
        server_hostname: str | None = None,
        account: str | None = None,
        active: bool = False,
        limits: ClientLimits | None = None,
        via: Via | None = None,
    ) -> None:
        if tls not in (None, "explicit", "implicit"):
            raise FTPUsageError(f"tls is 'explicit', 'implicit' or None, not {tls!r}")
        if active and via is not None:
            raise FTPUsageError("no server connects back through a proxy: leave active out")
        self.url = url
        self.limits = limits or ClientLimits()
        self._tls_mode = tls
        self._client_tls = client_tls
        self._server_hostname = server_hostname or url.host
        self._account = account
        self._active = active
        self._via = via
        self._protocol: FTPClientProtocol | None = None
        self._lock = asyncio.Lock()
        self._current: DataConnection | None = None
        self._extended = True  # EPSV and EPRT are worth a try
        self._type = ""
        self._data_tls: ClientTLS | None = None  # once TLS was taken off the control connection
        self._clears = False  # whether that is done as soon as it is open
        self.features: Mapping[str, str] = {}
        self.welcome = ""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self.url}>"

    def _again(self) -> Self:
        """One made with the same arguments."""
        made = type(self)(
            self.url,
            tls=self._tls_mode,
            client_tls=self._client_tls,
            server_hostname=self._server_hostname,
            account=self._account,
            active=self._active,
            limits=self.limits,
            via=self._via,
        )
        made._clears = self._data_tls is not None
        return made

    # ── the connection ────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Connect, talk TLS where that is asked for, log in, ask what there is.

        Raises:
            ConnectError: Nobody answers.
            TLSError: The server is not who it should be.
            FTPReplyError: It does not want us, or has no TLS.
        """
        if self._tls_mode is not None and self._client_tls is None:
            from sennit.core.transport.tls import ClientTLS

            self._client_tls = ClientTLS()
        implicit = self._tls_mode == "implicit"
        host = f"[{self.url.host}]" if ":" in self.url.host else self.url.host
        self._protocol = await connect(
            f"{'tls' if implicit else 'tcp'}://{host}:{self.url.port}",
            partial(FTPClientProtocol, self.limits),
            tls=self._client_tls if implicit else None,
            server_hostname=self._server_hostname if implicit else None,
            timeout=self.limits.connect,
            via=self._via,
        )
        try:
            greeting = await self._reply(GREETING)
            if greeting.code >= 400:
                raise refusal(greeting, "greeting")
            self.welcome = "\n".join(greeting.lines)
            if self._tls_mode == "explicit":
                await self._start_tls()
            await self._login()
            if self._tls_mode is not None:
                await self._protect_data()
            await self._ask_features()
            if self._clears:
                await self.clear_control()
        except BaseException:
            self._protocol.transport.abort()
            raise

    async def _start_tls(self) -> None:
        """AUTH TLS; there is no going on without (RFC 4217 §4)."""
        protocol, tls = self._live(), self._client_tls
        reply = await self._reply(Command("AUTH", "TLS"))
        if reply.code != 234:
            raise refusal(reply, "AUTH TLS")
        await protocol.start_tls(
            tls,
            ClientEngine(self.limits),
            server_hostname=self._server_hostname,
            handshake_timeout=self.limits.connect,
        )

    async def _login(self) -> None:
        user = self.url.user or ANONYMOUS
        password = self.url.password
        if password is None:
            password = "anonymous@" if user in (ANONYMOUS, "ftp") else ""
        word, reply = "USER", await self._reply(Command("USER", user))
        if reply.code == 331:
            word, reply = "PASS", await self._reply(Command("PASS", password))
        if reply.code == 332:
            if self._account is None:
                raise refusal(reply, f"{word} (the server wants an account)")
            word, reply = "ACCT", await self._reply(Command("ACCT", self._account))
        if reply.code not in (230, 202, 232):
            raise refusal(reply, word)

    async def _protect_data(self) -> None:
        """Data as the control connection: over TLS or not at all (RFC 4217 §9)."""
        await self.command("PBSZ", "0")
        await self.command("PROT", "P")

    async def _ask_features(self) -> None:
        reply = await self._reply(Command("FEAT"))
        self.features = features_of(reply.lines) if reply.code == 211 else {}
        if "UTF8" in self.features:
            # Those that have it on from the start may say what they like (RFC 2640 §3.1 does
            # not know the command; many servers want it).
            await self._reply(Command("OPTS", "UTF8 ON"))

    async def clear_control(self) -> None:
        """Take TLS off the control connection and leave it on data connections (CCC).

        For firewalls that must read along to let data connections pass. From then on anybody on
        the way sees commands and names, and may change both.

        Raises:
            FTPReplyError: The server says no; all stays protected.
            FTPUsageError: There is no TLS (any more).
            ConnectionLost: TLS did not come to its end.
        """
        async with self._lock:
            protocol = self._live()
            if not self.secure:
                raise FTPUsageError("there is no TLS on the control connection")
            data_tls = self._following()

            def end(reply: Reply) -> Deferred[Reply]:
                if reply.code != 200:
                    return fail(refusal(reply, "CCC"))
                # Within the octets that brought it: the end of TLS may be among them.
                ended = protocol.stop_tls(timeout=self.limits.settle)
                return ended.add_callback(lambda _: reply)

            await self._reply(Command("CCC"), end)
            self._data_tls = data_tls

    @property
    def secure(self) -> bool:
        """Whether everything goes over TLS."""
        return self._tls_mode is not None and self._data_tls is None

    @property
    def closed(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._protocol is None or self._protocol.transport.is_closing()

    def _live(self) -> FTPClientProtocol:
        if self._protocol is None:
            raise FTPUsageError("this client is not connected: `async with FTPClient.connect(…)`")
        return self._protocol

    def disconnect(self) -> None:
        """Leave at once, without a word."""
        if self._protocol is not None:
            self._protocol.transport.abort()

    async def quit(self) -> None:
        """Say QUIT and wait until the connection has gone, a few seconds at most."""
        protocol = self._protocol
        if protocol is None:
            return
        try:
            async with asyncio.timeout(self.limits.settle):
                await protocol.close()
        except TimeoutError:
            protocol.transport.abort("timeout")
        except BaseException:
            protocol.transport.abort()
            raise

    # ── commands ──────────────────────────────────────────────────────────────

    async def command(self, word: str, argument: str | None = None) -> Reply:
        """Ask something that moves no data; its reply, of 2yz or 3yz.

        Raises:
            FTPReplyError: The server says no.
            FTPUsageError: The argument is more than one line.
            ConnectionLost: The connection went.
        """
        command = Command(word, argument)
        async with self._lock:
            return await self._ask(command)

    async def _ask(self, command: Command) -> Reply:
        reply = await self._reply(command)
        if reply.code >= 400:
            raise refusal(reply, command.word)
        return reply

    async def _reply(
        self, command: Command, then: Callable[[Reply], Deferred[Reply]] | None = None
    ) -> Reply:
        """Whatever the server says to a command.

        Args:
            command: What is asked.
            then: Called with the reply before anything else is done about what came with it.
        """
        protocol = self._live()
        command.octets()  # what cannot be said fails before anything else
        waiting: Deferred[Reply] = protocol.request(command)
        if then is not None:
            waiting = waiting.add_callback(then)
        try:
            async with asyncio.timeout(self.limits.reply):
                return await waiting
        except TimeoutError:
            raise self._too_late(command, self.limits.reply) from None
        except ConnectionLost as error:
            raise self._why_lost(error) from error
        finally:
            if not waiting.fired:
                waiting.add_errback(lambda _: None)
                waiting.cancel()

    async def _next(
        self, inbox: Inbox[ClientEvent], command: Command, limit: float, *, last: bool = False
    ) -> ClientEvent:
        """The next reply to a command whose replies are read one by one, or the last."""
        try:
            async with asyncio.timeout(limit):
                event = await inbox.get()
                while last and isinstance(event, Preliminary):
                    event = await inbox.get()  # which gains the server no time
        except TimeoutError:
            raise self._too_late(command, limit) from None
        except ConnectionLost as error:
            raise self._why_lost(error) from error
        if event is None:  # pragma: no cover - a command has an end
            raise FTPProtocolError(f"no reply to {command.word}", "RFC 959 §5.4")
        return event

    def _too_late(self, command: Command, limit: float) -> ConnectionLost:
        self._live().transport.abort("timeout")
        what = command.word or "the greeting"
        return ConnectionLost(f"no reply to {what} within {limit:g} s", "timeout")

    def _why_lost(self, error: ConnectionLost) -> Exception:
        farewell = self._live().farewell
        return error if farewell is None else refusal(farewell)

    async def set_type(self, ascii_type: bool) -> None:
        """Say how files travel (TYPE), unless that was said already; within a sequence."""
        wanted = "A" if ascii_type else "I"
        if self._type != wanted:
            await self._ask(Command("TYPE", wanted))
            self._type = wanted

    # ── data connections ──────────────────────────────────────────────────────

    @asynccontextmanager
    async def transfer(
        self,
        command: Command,
        *,
        sending: bool = False,
        offset: int = 0,
        ascii_type: bool | None = False,
    ) -> AsyncGenerator[Transfer, None]:
        """One transfer: a data connection for the time of the block, which is settled after it.

        At the end of the block the connection is closed and the server's last reply awaited; a
        block that raises, or has not read all, gives the transfer up.

        Args:
            command: RETR, say.
            sending: Whether this end sends.
            offset: Where to begin (REST).
            ascii_type: Whether in type A; ``None`` for the type that is on.

        Raises:
            FTPReplyError: The server says no.
            TransferError: It did not come to its end.
        """
        command.octets()
        async with self._lock:
            if ascii_type is not None:
                await self.set_type(ascii_type)
            opened: DataConnection | Expected
            opened = await (self._expect() if self._active else self._connect_data())
            inbox: Inbox[ClientEvent] | None = None
            try:
                if offset:
                    await self._restart(offset)
                inbox = self._live().converse(command)
                event = await self._next(inbox, command, self.limits.reply)
                if not isinstance(event, Preliminary):
                    # A few servers say nothing but 226 where there is nothing to send.
                    raise refusal(cast("Completed", event).reply, command.word)
                async with asyncio.timeout(self.limits.connect):
                    if isinstance(opened, Expected):
                        opened = await opened.accepted(self.limits.progress)
                    if self._tls_mode is not None:
                        await self._protect(opened)
                transfer = Transfer(opened)
                self._current = opened
                yield transfer
                self._current = None
                if not sending and not transfer.finished:
                    # The caller has enough.
                    await self._settle(opened, inbox, sending=False)
                    return
                if sending:
                    await opened.end_sending()
                else:
                    await opened.close()  # there are servers that wait for it
                event = await self._next(inbox, command, self.limits.completion, last=True)
                end = cast("Completed", event).reply
                if end.code >= 400:
                    raise refusal(end, command.word)
                if sending and opened.lost not in (None, "clean", "reset"):
                    # Who has confirmed may end it as he likes, and some do by a reset.
                    raise TransferError(f"the data connection was lost ({opened.lost})")
                if sending:
                    await opened.close()
            except BaseException as error:
                self._current = None
                if self.closed:
                    opened.close() if isinstance(opened, Expected) else opened.abort()
                    raise
                said = await self._settle(opened, inbox, sending=sending)
                judged = self._judge(error, said, command)
                if judged is error:
                    raise
                raise judged from error

    def _judge(self, error: BaseException, said: Reply | None, command: Command) -> BaseException:
        """What a transfer that failed is to be told as."""
        if isinstance(error, TimeoutError):
            return TransferError(f"no data connection within {self.limits.connect:g} s")
        if not isinstance(error, (ConnectionLost, ProtocolError)) or isinstance(
            error, FTPProtocolError
        ):
            return error
        if said is not None and said.code >= 400:
            return refusal(said, command.word)
        if isinstance(error, ConnectionLost) and error.reason == "idle":
            return TransferError(f"nothing moved for {self.limits.progress:g} s")
        return TransferError(f"the data connection failed: {error}")

    async def _settle(
        self,
        opened: DataConnection | Expected,
        inbox: Inbox[ClientEvent] | None,
        *,
        sending: bool,
    ) -> Reply | None:
        """Give a transfer up, so that the next command gets its own reply."""
        protocol = self._live()
        said: Reply | None = None
        try:
            while inbox is not None and (event := inbox.take()) is not None:
                if isinstance(event, Completed):
                    said = event.reply
        except (ConnectionLost, ProtocolError):
            pass  # the control connection has gone, and `closed` says so
        more: list[Deferred[Reply]] = []  # what is asked beside it
        begun = inbox is not None and not inbox.ended and not self.closed
        if begun and sending:
            # The end of the connection alone might pass for the end of the file.
            more.append(protocol.request(Command("ABOR")))
        if isinstance(opened, Expected):
            opened.close()
        else:
            opened.abort()
        if not begun:
            return said

        def ask() -> None:
            if not sending:
                more.append(protocol.request(Command("NOOP")))

        asking = current_reactor().call_later(_QUIET, ask)
        try:
            async with asyncio.timeout(self.limits.settle):
                while inbox is not None and not inbox.ended:
                    event = await inbox.get()
                    if isinstance(event, Completed):
                        if sending or not more:  # else it may be NOOP's
                            said = event.reply
                    elif isinstance(event, Preliminary) and not sending:
                        # Pure-FTPd ends a file whose connection was reset by a second 150 alone,
                        # or without a word if that came before its first 128 KiB had left.
                        protocol.engine.conclude(event.reply)
                        protocol.proceed()
                for each in more:
                    await each
        except BaseException as error:
            for each in more:
                each.add_errback(lambda _: None)
            protocol.transport.abort("timeout")
            if not isinstance(error, (TimeoutError, ConnectionLost, ProtocolError)):
                raise
        finally:
            asking.cancel()
        return said

    async def _restart(self, offset: int) -> None:
        reply = await self._reply(Command("REST", str(offset)))
        if reply.code != 350:
            raise refusal(reply, "REST")

    async def _protect(self, data: DataConnection) -> None:
        tls = self._data_tls or self._following()
        await data.start_tls(tls, self._server_hostname, self.limits.connect)

    def _following(self) -> ClientTLS:
        transport: Any = self._live().transport  # Any: a TLS transport, as `open` made it
        following: ClientTLS = transport.following()
        return following

    async def _connect_data(self) -> DataConnection:
        """EPSV first, PASV where a server does not know that; to the host we talk to."""
        reply: Reply | None = None
        if self._extended:
            reply = await self._reply(Command("EPSV"))
            if reply.code in _NOT_KNOWN:
                self._extended = False
                reply = None
        if reply is None:
            reply = await self._reply(Command("PASV"))
        if reply.code not in (227, 229):
            raise refusal(reply, "EPSV" if self._extended else "PASV")
        return await connect_passive(
            self._host(),
            passive_port(reply),
            timeout=self.limits.connect,
            progress=self.limits.progress,
            via=self._via,
        )

    def _host(self) -> str:
        """Whom data connections go to: the very address, where there is no proxy between."""
        peer = self._live().transport.peer
        return self.url.host if self._via is not None else str(getattr(peer, "host", self.url.host))

    async def _expect(self) -> Expected:
        """Listen, and tell the server where: EPRT first, PORT where it does not know that."""
        local: Any = self._live().transport.local  # Any: an Internet address, as `open` connects
        host = str(local.host)
        expected = Expected(self._host())
        await expected.listen(host)
        try:
            family, plain = (2, host.partition("%")[0]) if ":" in host else (1, host)
            if self._extended:
                reply = await self._reply(Command("EPRT", f"|{family}|{plain}|{expected.port}|"))
                if reply.code not in _NOT_KNOWN:
                    if reply.code >= 300:
                        raise refusal(reply, "EPRT")
                    return expected
                self._extended = False
                if family == 2:
                    raise refusal(reply, "EPRT")
            high, low = divmod(expected.port, 256)
            await self._ask(Command("PORT", f"{plain.replace('.', ',')},{high},{low}"))
        except BaseException:
            expected.close()
            raise
        return expected


def is_unknown(error: FTPReplyError) -> bool:
    """Whether a server said that it has no such command."""
    return isinstance(error, FTPPermanentError) and error.code in _NOT_KNOWN
