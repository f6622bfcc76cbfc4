"""Time-outs that any protocol can wear: `with_timeouts(factory, idle=300, total=3600)`.

*Idle* means that nothing came from the peer, and that nothing which waits to be
sent made progress either: a long download is not idle while its octets leave, a
peer that stops reading is. Octets that left at once do not count: to a peer that
has silently gone one can write for a long time.

*Total* counts from the connection's beginning, whatever happens.

An event costs one reading of the clock. There is one timer per connection,
armed anew only when it goes off too early.
"""

from __future__ import annotations

from sennit.core.policy.wrapper import ProtocolWrapper, WrappingFactory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from sennit.core.interfaces import IClock, IDelayedCall, IStreamProtocol, IStreamTransport
    from sennit.core.protocol import ProtocolFactory

__all__ = ["GRACE", "Timeouts", "output_mark", "with_timeouts"]

GRACE: Final = 5.0
"""Seconds between a polite close and an abort."""


class Timeouts(ProtocolWrapper):
    """A protocol whose connection ends when it idles, or lasts too long.

    At the end of its patience it calls ``timed_out(reason)`` of the protocol
    inside, if there is one, else closes the transport with that reason; what is
    still there `GRACE` seconds later is aborted.

    Args:
        wrapped: The protocol inside.
        idle: Seconds without progress; ``None`` for no such limit. Reason ``idle``.
        total: Seconds for the whole connection; ``None`` likewise. Reason ``timeout``.
        clock: Measures them; the transport's reactor when left out.
    """

    __slots__ = ("_clock", "_deadline", "_idle", "_last", "_mark", "_time", "_timer", "_transport")

    def __init__(
        self,
        wrapped: IStreamProtocol,
        *,
        idle: float | None = None,
        total: float | None = None,
        clock: IClock | None = None,
    ) -> None:
        super().__init__(wrapped)
        for name, seconds in (("idle", idle), ("total", total)):
            if seconds is not None and not seconds > 0:
                raise ValueError(f"{name} ({seconds}) is a number of seconds above 0, or None")
        self._idle = idle
        self._deadline = total
        self._clock = clock
        self._time: Callable[[], float] = _never
        self._last = 0.0
        self._mark: object = None
        self._timer: IDelayedCall | None = None
        self._transport: IStreamTransport | None = None

    def connection_made(self, transport: IStreamTransport) -> None:
        """Begin to count, and pass it on."""
        self._transport = transport
        clock = self._clock or transport.get_extra_info("reactor")
        if clock is None:
            from sennit.core.reactor.base import current_reactor

            clock = current_reactor()
        self._clock = clock
        self._time = clock.time
        self._last = now = clock.time()
        if self._deadline is not None:
            self._deadline += now
        self._arm(clock)
        self.wrapped.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Octets have come: that is a sign of life."""
        self._last = self._time()
        self.wrapped.data_received(data)

    def resume_writing(self) -> None:
        """What waited has left: a transfer that ends now was no idling."""
        self._last = self._time()
        self._mark = None
        self.wrapped.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting, and pass it on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport = None
        self.wrapped.connection_lost(exc)

    def reset_idle(self) -> None:
        """Begin to count anew, as if octets had come."""
        self._last = self._time()

    def _arm(self, clock: IClock) -> None:
        """Wait for the nearer of the two ends."""
        when = self._deadline
        if self._idle is not None:
            idle_end = self._last + self._idle
            when = idle_end if when is None or idle_end < when else when
        self._timer = None if when is None else clock.call_at(when, self._look)

    def _look(self) -> None:
        """One of the two may be reached, or octets have come meanwhile."""
        self._timer = None
        clock = self._clock
        transport = self._current_transport()
        if transport is None or clock is None:
            return
        now = clock.time()
        if self._deadline is not None and now >= self._deadline:
            self._expire(transport, "timeout")
            return
        if self._idle is not None and now >= self._last + self._idle:
            if not _wears(transport.get_protocol(), self):
                # Another protocol has taken over: what comes is not seen here any more.
                self._idle = None
            else:
                mark = output_mark(transport) if _sends(transport) else None
                if mark is None or mark == self._mark:
                    self._expire(transport, "idle")
                    return
                # Something is on its way out: look again whether it has moved.
                self._mark = mark
                self._last = now
        self._arm(clock)

    def _current_transport(self) -> IStreamTransport | None:
        """The transport; after `start_tls` the one the protocol inside uses."""
        if self._transport is None:
            return None
        current: IStreamTransport | None = getattr(self.wrapped, "transport", None)
        return self._transport if current is None else current

    def _expire(self, transport: IStreamTransport, reason: str) -> None:
        timed_out: Callable[[str], object] | None = getattr(self.wrapped, "timed_out", None)
        clock = self._clock
        if clock is not None:
            self._timer = clock.call_later(GRACE, transport.abort, reason)
        if timed_out is None:
            transport.close(reason)
            return
        try:
            timed_out(reason)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            transport.abort(reason)
            raise


class _BufferedTimeouts(Timeouts):
    """`Timeouts` around a protocol that lends its buffer (asyncio's `BufferedProtocol`)."""

    __slots__ = ()

    def get_buffer(self, sizehint: int) -> Any:
        """The wrapped protocol's. (`Any`: whatever has a buffer.)"""
        inside: Any = self.wrapped
        return inside.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> object:
        """Octets have come: that is a sign of life."""
        self._last = self._time()
        inside: Any = self.wrapped
        more: object = inside.buffer_updated(nbytes)
        return more


def _never() -> float:
    """The time before there is a clock."""
    return 0.0


def output_mark(transport: IStreamTransport) -> object:
    """A value that changes while what waits to be sent makes progress."""
    # Foreign transports (asyncio's) have no mark; their buffer has to do.
    mark: Callable[[], object] | None = getattr(transport, "output_mark", None)
    return transport.get_write_buffer_size() if mark is None else mark()


def _sends(transport: IStreamTransport) -> bool:
    """Whether anything waits to be sent; a file on its way is not counted in octets."""
    return transport.get_write_buffer_size() > 0 or getattr(transport, "_pressing", False)


def _wears(protocol: object, wanted: object) -> bool:
    """Whether `wanted` is this protocol, or inside what is worn around it."""
    while protocol is not wanted:
        if not isinstance(protocol, ProtocolWrapper):
            return False
        protocol = protocol.wrapped
    return True


def with_timeouts(
    factory: ProtocolFactory,
    *,
    idle: float | None = None,
    total: float | None = None,
    clock: IClock | None = None,
) -> WrappingFactory:
    """A factory whose connections end when they idle, or last too long (see `Timeouts`).

    Args:
        factory: Makes the protocols inside.
        idle: Seconds without progress.
        total: Seconds for the whole connection.
        clock: Measures them; each transport's reactor when left out.

    Raises:
        ValueError: A number of seconds is not above 0.
    """
    for name, seconds in (("idle", idle), ("total", total)):
        if seconds is not None and not seconds > 0:
            raise ValueError(f"{name} ({seconds}) is a number of seconds above 0, or None")

    def wrap(protocol: IStreamProtocol) -> IStreamProtocol:
        kind = _BufferedTimeouts if hasattr(protocol, "get_buffer") else Timeouts
        return kind(protocol, idle=idle, total=total, clock=clock)

    return WrappingFactory(factory, wrap)
