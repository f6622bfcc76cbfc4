"""Questions to one server over TCP or TLS: a connection that is kept, and opened again.

`StreamClient` asks one server. It connects when it is first asked, sends questions as they
come without waiting for answers (RFC 7766 §6.2.1.1), closes a connection that nothing is asked
over for a while, and opens another when that is needed. A question whose connection ended
before its answer is asked again over a new one, if something was answered over the old one: the
server may have closed it while the question was on its way (RFC 7766 §6.2.4).

Over TLS the server is authenticated, by the name or address that its certificate has, or by
pins of its public key (RFC 7858 §4.2, RFC 8310 §6); who does not want that says
``opportunistic``.

Sources: RFC 7766, RFC 7858, RFC 8310, RFC 7828 (how long the server keeps a connection).
Not here: the messages on the wire (``sennit.names.client_engine``); other servers, UDP before
it (``exchange.py``).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Final

from sennit.core.client_driver import ClientEngineProtocol
from sennit.core.deferred import Deferred
from sennit.core.endpoint.connect import connect
from sennit.core.errors import ConnectError, ConnectionLost, TLSError
from sennit.core.interfaces import ITLSTransport, adapt
from sennit.core.reactor.base import current_reactor
from sennit.names.client_engine import Answered, Event, Part, Query, StreamEngine
from sennit.names.codes import OptionCode
from sennit.names.errors import (
    DNSError,
    DNSUsageError,
    LookupTimeoutError,
    UnreachableError,
)

if TYPE_CHECKING:
    from collections.abc import Collection
    from types import TracebackType
    from typing import Self

    from sennit.core.interfaces import IDelayedCall
    from sennit.core.reactor.base import Reactor
    from sennit.core.transport.tls import ClientTLS
    from sennit.names.message import Message
    from sennit.names.tsig import Key, Verifier

__all__ = ["IDLE", "MAX_IDLE", "StreamClient", "StreamConnection", "TLSProfile", "public_key_pin"]

TIMEOUT: Final = 10.0
"""Seconds for an answer, connecting included."""
IDLE: Final = 5.0
"""Seconds that a connection is kept without questions, where the server says nothing."""
MAX_IDLE: Final = 120.0
"""Seconds at most, whatever the server says (RFC 7828 §3.2.2)."""
_AGAIN: Final = 3
"""Times that a question is asked again whose connection ended: servers close those used long."""


class TLSProfile:
    """How a server is known over TLS (RFC 8310 §5).

    Args:
        name: The name that its certificate must carry; the address that is connected to when
            left out (a certificate may name addresses, too).
        pins: SHA-256 of public keys (SubjectPublicKeyInfo) of which the server must have one,
            32 octets each. With pins and no `name` they are all that is asked for.
        tls: What to believe; the system's trust when left out.
        opportunistic: Take whatever certificate there is: nobody listens in who only listens.

    Raises:
        DNSUsageError: A pin has not 32 octets, or `opportunistic` goes with others.
    """

    __slots__ = ("name", "opportunistic", "pins", "tls")

    def __init__(
        self,
        name: str | None = None,
        *,
        pins: Collection[bytes] = (),
        tls: ClientTLS | None = None,
        opportunistic: bool = False,
    ) -> None:
        if any(len(pin) != 32 for pin in pins):
            raise DNSUsageError("a pin is the SHA-256 of a public key, 32 octets")
        if opportunistic and (pins or name or tls):
            raise DNSUsageError("an opportunistic profile verifies nothing: no name, no pins")
        self.name = name
        self.pins = frozenset(pins)
        self.tls = tls
        self.opportunistic = opportunistic

    @property
    def believes(self) -> bool:
        """Whether a certificate is held to what is believed: not where pins alone are asked for."""
        return not self.opportunistic and (not self.pins or self.name is not None)

    def context(self) -> ClientTLS:
        """What to connect with; made once."""
        if self.tls is None:
            from sennit.core.transport.tls import ClientTLS

            self.tls = ClientTLS(verify=self.believes)
        return self.tls

    def check(self, certificate: bytes | None) -> None:
        """Look whether the server's key is one of the pins.

        Raises:
            TLSError: It is none of them.
        """
        if not self.pins:
            return
        if certificate is None or public_key_pin(certificate) not in self.pins:
            raise TLSError("the server's public key is none of those pinned", "pin mismatch")


def public_key_pin(certificate: bytes) -> bytes:
    """SHA-256 of the public key (SubjectPublicKeyInfo) of a certificate in DER (RFC 7469 §2.4)."""
    from hashlib import sha256

    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509 import load_der_x509_certificate

    key = load_der_x509_certificate(certificate).public_key()
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


class StreamConnection(ClientEngineProtocol[StreamEngine, Query, Event, Answered]):
    """One connection to a server.

    Attributes:
        used: Whether an answer has come over it.
    """

    max_reply = 0x10000  # one message
    max_parse = 0x10000
    """Likewise: a record of a transfer takes 26 octets and 7 µs, and others wait for their turn."""

    def __init__(self) -> None:
        super().__init__(StreamEngine())

    @property
    def used(self) -> bool:
        """Whether an answer has come over it."""
        return self.engine.answers > 0

    @property
    def usable(self) -> bool:
        """Whether something may still be asked."""
        return self._lost is None and not self._draining and not self.transport.is_closing()

    def finish(self, query: Query) -> None:
        """All messages that answer a question have come."""
        self.engine.finish(query.exchange)
        self.proceed()

    def abort(self, reason: str = "aborted") -> None:
        """Close now."""
        self._abort(reason)


class StreamClient:
    """Asks one server over TCP, or over TLS.

    Args:
        server: Address and port.
        profile: How it is known over TLS; ``None`` for TCP in clear.
        idle: Seconds that a connection is kept without questions.
        local_address: Address to connect from.
        reactor: The current one when left out.
    """

    def __init__(
        self,
        server: tuple[str, int],
        profile: TLSProfile | None = None,
        *,
        idle: float = IDLE,
        local_address: str | None = None,
        reactor: Reactor | None = None,
    ) -> None:
        host, port = server
        self._server = server
        self._profile = profile
        self._idle = idle
        self._local = None if local_address is None else (local_address, 0)
        self._reactor = reactor
        scheme = "tcp" if profile is None else "tls"
        self._url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
        self._connection: StreamConnection | None = None
        self._opening: Deferred[StreamConnection] | None = None
        self._waiting = 0  # for `_opening`
        self._open = 0  # questions
        self._timer: IDelayedCall | None = None
        self._kept = idle
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else "idle" if self._connection is None else "connected"
        return f"<StreamClient {self._url} {state}>"

    # ── asking ────────────────────────────────────────────────────────────────

    async def exchange(
        self,
        message: Message,
        *,
        timeout: float = TIMEOUT,
        key: Key | None = None,
        received: Callable[[bytes], object] | None = None,
    ) -> Message:
        """Send a question, and wait for its answer.

        Args:
            message: The question. Its id is not used: each has its own on the wire.
            timeout: Seconds for the answer, connecting included.
            key: Sign the question with it, and take no answer that is not signed with it.
            received: Called with the octets of the answer.

        Raises:
            LookupTimeoutError: None came in time.
            UnreachableError: There is no connection to the server, or it ended first.
            DNSProtocolError: What came is no answer (`TSIGError`: is not signed as it should be).
        """
        self._begin()
        try:
            async with asyncio.timeout(timeout):
                for left in range(_AGAIN, -1, -1):
                    connection = await self._connected(timeout)
                    try:
                        return await self._ask(connection, message, key, received)
                    except ConnectionLost as error:
                        # It was closed while the question was under way: RFC 7766 §6.2.4.
                        if not left or not connection.used:
                            raise self._ended(error) from error
            raise AssertionError("the last time returns or raises")
        except TimeoutError as error:
            raise self._late(timeout) from error
        finally:
            self._end()

    async def converse(
        self,
        message: Message,
        *,
        until: Callable[[Message], bool],
        timeout: float = TIMEOUT,
        key: Key | None = None,
        received: Callable[[bytes], object] | None = None,
    ) -> AsyncGenerator[Message, None]:
        """Send a question that several messages answer (a zone transfer), and give them in order.

        Leaving before the last closes the connection, since more would come.

        Args:
            message: The question.
            until: Called with each message before it is given; whether it is the last.
            timeout: Seconds for each of them.
            key: Sign the question with it, and take no messages that are not vouched for by it.
            received: Called with the octets of each.

        Raises:
            LookupTimeoutError: The next did not come in time.
            UnreachableError: There is no connection to the server, or it ended first.
            DNSProtocolError: What came is no answer (`TSIGError`: is not signed as it should be).
        """
        self._begin()
        connection: StreamConnection | None = None
        done = False
        try:
            try:
                async with asyncio.timeout(timeout):
                    connection = await self._connected(timeout)
                    used = connection.used
                    query, verifier = self._query(message, key, several=True)
                    try:
                        inbox = connection.converse(query)
                        event = await inbox.get()
                    except ConnectionLost as error:
                        if not used:
                            raise self._ended(error) from error
                        connection = await self._connected(timeout)
                        query, verifier = self._query(message, key, several=True)
                        inbox = connection.converse(query)
                        event = await inbox.get()
                while isinstance(event, Part):
                    if verifier is not None:
                        verifier.verify(event.data, event.message, int(time.time()))
                    if received is not None:
                        received(event.data)
                    last = until(event.message)
                    if last:
                        if verifier is not None:
                            verifier.finish()
                        done = True
                        connection.finish(query)
                    self._note(event.message)
                    yield event.message
                    if done:
                        return
                    async with asyncio.timeout(timeout):
                        event = await inbox.get()
                raise self._ended(None)
            except TimeoutError as error:
                raise self._late(timeout) from error
            except ConnectionLost as error:
                raise self._ended(error) from error
        finally:
            if connection is not None and not done:
                self._forget(connection)
                connection.abort("given up")
            self._end()

    async def aclose(self) -> None:
        """Close the connection; what waits fails. Harmless when done."""
        self._closed = True
        self._stop_timer()
        if self._opening is not None:
            self._opening.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            gone = connection.finished()
            connection.abort("closed")
            await gone

    async def __aenter__(self) -> Self:
        """The client itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """`aclose`."""
        await self.aclose()

    # ── one question ──────────────────────────────────────────────────────────

    def _query(
        self, message: Message, key: Key | None, *, several: bool = False
    ) -> tuple[Query, Verifier | None]:
        """A question with an id that nobody knows, signed where there is a key."""
        if key is None:
            return Query(message, number=secrets.randbelow(0x10000), several=several), None
        from sennit.names.tsig import Verifier, sign

        wire = secrets.token_bytes(2) + message.to_wire()[2:]
        wire, mac = sign(wire, key, int(time.time()))
        return Query(message, wire, several=several), Verifier(key, mac)

    async def _ask(
        self,
        connection: StreamConnection,
        message: Message,
        key: Key | None,
        received: Callable[[bytes], object] | None,
    ) -> Message:
        query, verifier = self._query(message, key)
        reply = connection.request(query)
        try:
            answered = await reply
        finally:
            if not reply.called:
                reply.cancel()
                reply.add_errback(lambda _: None)
        if verifier is not None:
            verifier.verify(answered.data, answered.message, int(time.time()))
        self._note(answered.message)
        if received is not None:
            received(answered.data)
        return answered.message

    def _note(self, message: Message) -> None:
        """The server may say how long it keeps the connection (RFC 7828 §3.2.1)."""
        option = None if message.edns is None else message.edns.option(OptionCode.KEEPALIVE)
        if option is not None and len(option.data) == 2:
            self._kept = min(int.from_bytes(option.data, "big") / 10, MAX_IDLE)

    def _late(self, timeout: float) -> LookupTimeoutError:
        return LookupTimeoutError(f"no answer from {self._url} in {timeout:g} s")

    def _ended(self, error: BaseException | None) -> DNSError:
        return UnreachableError(f"{self._url} ended the connection without an answer: {error}")

    # ── the connection ────────────────────────────────────────────────────────

    def _begin(self) -> None:
        if self._closed:
            raise DNSUsageError("this client is closed")
        self._open += 1
        self._stop_timer()

    def _end(self) -> None:
        self._open -= 1
        if not self._open and self._connection is not None and not self._closed:
            reactor = self._reactor or current_reactor()
            self._timer = reactor.call_later(self._kept, self._let_go)

    def _let_go(self) -> None:
        self._timer = None
        connection, self._connection = self._connection, None
        if connection is not None and connection.usable:
            connection.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _forget(self, connection: StreamConnection) -> None:
        if self._connection is connection:
            self._connection = None

    async def _connected(self, timeout: float) -> StreamConnection:
        """The connection, opened where there is none."""
        connection = self._connection
        if connection is not None:
            if connection.usable:
                return connection
            self._connection = None
        if self._opening is None:
            self._kept = self._idle
            self._opening = Deferred.from_coroutine(self._connect(timeout))
        opening = self._opening
        self._waiting += 1
        try:
            connection = await opening
        finally:
            self._waiting -= 1
            if opening.called and self._opening is opening:
                self._opening = None
            elif not self._waiting and self._opening is opening:
                # Nobody waits any more.
                self._opening = None
                opening.cancel()
                opening.add_errback(lambda _: None)
        return connection

    async def _connect(self, timeout: float) -> StreamConnection:
        profile = self._profile
        connecting = connect(
            self._url,
            StreamConnection,
            tls=None if profile is None else profile.context(),
            server_hostname=None if profile is None else profile.name,
            timeout=timeout,
            local_address=self._local,
            reactor=self._reactor,
        )
        try:
            connection = await connecting
        except (ConnectError, TLSError) as error:
            raise UnreachableError(str(error)) from error
        except BaseException:
            # Given up: so is the connection, also one that stands by now.
            connecting.add_callbacks(StreamConnection.abort, lambda _: None)
            connecting.cancel()
            raise
        if profile is not None and profile.pins:
            try:
                profile.check(adapt(ITLSTransport, connection.transport).peer_certificate)
            except TLSError as error:
                connection.abort("pin mismatch")
                raise UnreachableError(f"{self._url}: {error}") from error
        if self._closed:
            connection.abort("closed")
            raise DNSUsageError("this client is closed")
        self._connection = connection
        return connection
