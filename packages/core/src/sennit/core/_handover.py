"""Changing over: to another protocol on the same connection, or to TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from sennit.core._driver import EOF, GONE, STALLED, SUSPENDED, TIMED, Driver, has_timers
from sennit.core._faultlog import log_fault
from sennit.core.deferred import Deferred, fail
from sennit.core.errors import ConnectionLost, ProtocolError, TLSError, UsageError

if TYPE_CHECKING:
    from collections import deque

    from sennit.core.engine import Engine
    from sennit.core.interfaces import IStreamProtocol

__all__ = ["Handover"]

EngineT = TypeVar("EngineT", bound="Engine[Any]")


class Handover(Driver[EngineT]):
    """A driver whose connection may go on as something else."""

    _stash: Any = None  # an event that was taken and must wait for the next turn
    _server_side = True
    _later: dict[int, deque[Any]]  # events whose exchange is busy, by exchange

    def switch_protocol(self, protocol: IStreamProtocol) -> None:
        """Send what is queued, then give the connection to another protocol.

        What the engine has not read goes to its `data_received`, and if the peer sends no
        more, it is told of that too. This protocol
        hears of the connection no more; the handler that calls this should end. Whoever
        waits here for room or for input gets `ConnectionLost` (reason ``switched``).

        Raises:
            ConnectionLost: The connection has gone.
            UsageError: The engine has given events behind the one that changes over,
                which nobody would see: it must say PAUSED until `release`.
        """
        if self._held & GONE:
            raise self._lost or ConnectionLost()
        if self._stash is not None or self._later:
            raise UsageError("events wait here that the next protocol would not see")
        self.flush()
        rest = self.engine.release() + self._unparsed
        self._leave()
        self._stash = None
        was_paused = self._reading_paused
        self._held |= GONE
        self._lost = lost = ConnectionLost(
            "the connection was given to another protocol", "switched"
        )
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if was_paused:
            # Before the rest is read: the other may pause for what it finds in there.
            self.transport.resume_reading()
        if rest:
            protocol.data_received(rest)
        if self._held & EOF and not self.transport.is_closing():
            # The transport has told us, and tells nobody twice.
            self._stays = bool(self.transport.get_protocol().eof_received())
            if not self._stays:
                self.transport.close()
        self._fail_writers(lost)
        self._given_away(lost)

    def _given_away(self, error: ConnectionLost) -> None:
        """The connection is another protocol's: nobody shall wait for more of it here."""

    async def start_tls(
        self,
        context: Any,
        engine: EngineT,
        *,
        server_hostname: str | None = None,
        handshake_timeout: float = 10.0,
    ) -> None:
        """Send what is queued, talk TLS from here on, and go on with a fresh engine.

        Nothing that was said in clear may count (RFC 3207 §4.2), so nothing is
        carried over; the old engine is released.

        Args:
            context: A `ServerTLS` or `ClientTLS` of `sennit.core.transport.tls`, or
                an `ssl.SSLContext` on asyncio's transports. (`Any`: TLS is an extra.)
            engine: What goes on.
            server_hostname: Whose certificate a client expects.
            handshake_timeout: Seconds for the whole handshake.

        Raises:
            ProtocolError: The peer sent octets before the handshake: the
                connection is aborted (CVE-2011-0411 and its kin).
            TLSError: The handshake failed.
        """
        self.flush()
        ahead = self._taken_ahead()
        if self.engine.release() or self._unparsed or self._stash is not None or ahead:
            fault = ProtocolError(
                "octets in clear after the command that starts TLS", "RFC 3207 §4.2"
            )
            if self._server_side:
                log_fault(type(self).__qualname__, self._peer(), fault.rule, fault)
            self._abort("error")
            raise fault
        self.engine = engine
        if self._reading_paused:
            self._reading_paused = False
            self.transport.resume_reading()
        timed = TIMED if has_timers(engine) else 0
        self._backlog = 0
        self._held = self._held & ~(TIMED | STALLED) | timed | SUSPENDED
        if self._out is self.transport:
            self.transport = self._out = await self.transport.start_tls(
                context,
                server_side=self._server_side,
                server_hostname=server_hostname,
                handshake_timeout=handshake_timeout,
            )
        else:
            await self._start_foreign_tls(context, server_hostname, handshake_timeout)
        self._held &= ~SUSPENDED
        if timed:
            engine.handle_timeout(self._time())
        self.proceed()

    def stop_tls(
        self, *, timeout: float = 5.0, answered: bool = True, hold: float = 0.0
    ) -> Deferred[None]:
        """Send what is queued, end TLS, and talk in clear from here on; with the same engine.

        To be called within the event that asks for it: what comes under TLS behind that ends
        the connection. What the engine has read ahead by then is for its own rules to refuse.

        Args:
            timeout: Seconds until the peer has ended it as well.
            answered: Whether it has to (`ITLSTransport.stop_tls`).
            hold: Seconds for which it may be first to do so.

        Returns:
            Fires when both have, and the engine goes on.

        Fails with:
            ConnectionLost: The connection went first, or the peer did not end TLS.
            ProtocolError: Octets were there that came behind: the connection is aborted.
            UsageError: It is no TLS, or asyncio's, which cannot go back.
        """
        stop: Any = getattr(self.transport, "stop_tls", None)  # `Any`: none of asyncio's has it
        if stop is None:
            return fail(UsageError("only TLS of sennit.core can end before the connection"))
        self.flush()
        if self._unparsed or self._stash is not None or self._taken_ahead():
            fault = ProtocolError("octets after the command that ends TLS", "RFC 8446 §6.1")
            if self._server_side:
                log_fault(type(self).__qualname__, self._peer(), fault.rule, fault)
            self._abort("error")
            return fail(fault)
        if self._reading_paused:
            self._reading_paused = False
            self.transport.resume_reading()
        self._held |= SUSPENDED

        def stopped(transport: Any) -> None:
            self.transport = self._out = transport
            self._held &= ~SUSPENDED
            self.proceed()

        ended = stop(timeout=timeout, answered=answered, hold=hold)
        done: Deferred[None] = ended.add_callback(stopped)
        return done

    def _taken_ahead(self) -> bool:
        """Whether something said in clear was understood already, and waits to be dealt with."""
        return False

    async def _start_foreign_tls(
        self, context: Any, server_hostname: str | None, handshake_timeout: float
    ) -> None:
        """asyncio's loops do that, not their transports."""
        import asyncio

        from sennit.core._foreign_out import ForeignOut

        # `Any`: asyncio asks for its own classes, which these have the shape of.
        start: Any = asyncio.get_running_loop().start_tls
        try:
            transport = await start(
                self.transport,
                self,
                context,
                server_side=self._server_side,
                server_hostname=server_hostname,
                ssl_handshake_timeout=handshake_timeout,
            )
        except OSError as error:  # the ssl module's, and its time-outs, are of that kind
            reason = str(error) or "the connection was lost"
            whom = server_hostname or self._peer()
            failed = TLSError(f"TLS handshake with {whom} failed: {reason}", reason)
            if self._server_side:
                log_fault(type(self).__qualname__, self._peer(), "RFC 8446 §4", failed)
            raise failed from error
        self.transport = transport
        self._out = ForeignOut(transport)
