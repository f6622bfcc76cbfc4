"""Rate limits that any protocol can wear: ``rate_limited(factory, read=1e6, write=1e6)``.

Nothing is thrown away. Who sends too fast is read from later (back-pressure by
the kernel), what is written too fast waits and pauses its producer, as with a
slow peer. A read that was made is delivered whole, so that reading may run ahead
of its rate by one read (64 KiB), which is then waited for.

A rate holds per connection; a `TokenBucket` given instead of a number is shared
by all connections that are given it, each served in the order in which it came.
"""

from __future__ import annotations

from functools import partial

from sennit.core._implements import implements
from sennit.core.deferred import Deferred
from sennit.core.errors import ConnectionLost
from sennit.core.policy.bucket import TokenBucket
from sennit.core.policy.wrapper import ProtocolWrapper, WrappingFactory
from sennit.core.transport.flow import FlowControl
from sennit.core.transport.sending import owned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import IO, Any, Final

    from sennit.core.interfaces import (
        Buffer,
        IClock,
        IDelayedCall,
        IStreamProtocol,
        IStreamTransport,
    )
    from sennit.core.protocol import ProtocolFactory

__all__ = ["PacedTransport", "RateLimit", "rate_limited"]

QUANTUM: Final = 16 * 1024
"""Octets sent at a time where there are tokens for fewer; a burst below it sets its own."""


class _File:
    """A file in the queue, sent in parts by the transport below."""

    __slots__ = ("done", "file", "left", "offset", "sent")

    def __init__(self, file: IO[bytes], offset: int, count: int | None) -> None:
        if offset < 0 or (count is not None and count < 0):
            raise ValueError(f"offset ({offset}) and count ({count}) count octets, from zero")
        self.file = file
        self.offset = offset
        self.left = count
        self.sent = 0
        # Octets announced to the peer cannot be taken back: cancelling only stops the wait.
        self.done: Deferred[int] = Deferred(lambda done: None)

    def took(self, sent: int, asked: int) -> bool:
        """`sent` octets of `asked` have left; whether that was the end."""
        self.sent += sent
        self.offset += sent
        if self.left is not None:
            self.left -= sent
        return sent < asked or self.left == 0

    def finish(self) -> None:
        """It has left, whole or up to the file's end."""
        if not self.done.called:
            self.done.callback(self.sent)

    def fail(self, error: BaseException) -> None:
        """It cannot be sent."""
        if not self.done.called:
            self.done.errback(error)


class RateLimit(ProtocolWrapper):
    """A protocol that is read from, and writes, no faster than some rates.

    Args:
        wrapped: The protocol inside.
        read: Buckets that every octet received is taken from.
        write: Buckets that every octet sent is taken from.
        clock: Measures; the transport's reactor when left out.
    """

    __slots__ = ("_clock", "_paced", "_read", "_write")

    def __init__(
        self,
        wrapped: IStreamProtocol,
        *,
        read: Iterable[TokenBucket] = (),
        write: Iterable[TokenBucket] = (),
        clock: IClock | None = None,
    ) -> None:
        super().__init__(wrapped)
        self._read = tuple(read)
        self._write = tuple(write)
        self._clock = clock
        self._paced: PacedTransport | None = None

    def connection_made(self, transport: IStreamTransport) -> None:
        """Put the protocol on a transport that keeps to the rates."""
        clock = self._clock or transport.get_extra_info("reactor")
        if clock is None:
            from sennit.core.reactor.base import current_reactor

            clock = current_reactor()
        self._paced = PacedTransport(transport, self, clock, self._read, self._write)
        self.wrapped.connection_made(self._paced)

    def data_received(self, data: bytes) -> None:
        """Octets have come: pay for them, and deliver them."""
        paced = self._paced
        if paced is not None:
            paced.received(len(data))
        self.wrapped.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing waits any more."""
        paced, self._paced = self._paced, None
        if paced is not None:
            paced.lost(exc)
        self.wrapped.connection_lost(exc)

    def pause_writing(self) -> None:
        """The transport below is full."""
        if self._paced is not None:
            self._paced.lower_full()

    def resume_writing(self) -> None:
        """It has room again."""
        if self._paced is not None:
            self._paced.lower_free()


class _BufferedRateLimit(RateLimit):
    """`RateLimit` around a protocol that lends its buffer (asyncio's `BufferedProtocol`)."""

    __slots__ = ()

    def get_buffer(self, sizehint: int) -> Any:
        """The wrapped protocol's. (`Any`: whatever has a buffer.)"""
        inside: Any = self.wrapped
        return inside.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> object:
        """Octets have come: pay for them, and deliver them."""
        if self._paced is not None:
            self._paced.received(nbytes)
        inside: Any = self.wrapped
        more: object = inside.buffer_updated(nbytes)
        return more


@implements("IStreamTransport")
class PacedTransport(FlowControl):
    """A transport on which octets leave, and are read, no faster than some rates.

    Made by `RateLimit`. What it does not do itself the transport below does.
    """

    __slots__ = (
        "_clock",
        "_close_reason",
        "_eof",
        "_gone",
        "_granted",
        "_holding",
        "_lower_full",
        "_out",
        "_owner",
        "_read",
        "_size",
        "_timer",
        "_under_way",
        "_wanted",
        "_write",
        "wrapped",
    )

    def __init__(
        self,
        wrapped: IStreamTransport,
        owner: RateLimit,
        clock: IClock,
        read: tuple[TokenBucket, ...],
        write: tuple[TokenBucket, ...],
    ) -> None:
        super().__init__()
        self.wrapped = wrapped
        self._protocol = owner.wrapped
        self._owner = owner
        self._clock = clock
        self._read = read
        self._write = write
        self._wanted = True
        self._holding: IDelayedCall | None = None
        self._timer: IDelayedCall | None = None
        self._out: list[bytes | memoryview | _File] = []
        self._size = 0
        self._granted = 0
        self._lower_full = False
        self._under_way = False
        self._eof = False
        self._close_reason: str | None = None
        self._gone: ConnectionLost | None = None

    def __repr__(self) -> str:
        """Both."""
        return f"<{type(self).__name__} over {self.wrapped!r}>"

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            """What the transport below has."""
            if name == "wrapped":
                raise AttributeError(name)
            return getattr(self.wrapped, name)

    # ── reading ───────────────────────────────────────────────────────────────

    def received(self, count: int) -> None:
        """`count` octets have come: wait, if that was too fast."""
        now = self._clock.time()
        wait = 0.0
        for bucket in self._read:
            wait = max(wait, bucket.take(count, now))
        if wait > 0 and self._holding is None:
            self._holding = self._clock.call_later(wait, self._paid)
            self.wrapped.pause_reading()

    def _paid(self) -> None:
        self._holding = None
        if self._wanted:
            self.wrapped.resume_reading()

    def pause_reading(self) -> None:
        """Call `data_received` no more until `resume_reading`."""
        self._wanted = False
        self.wrapped.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading, once what came was paid for."""
        self._wanted = True
        if self._holding is None:
            self.wrapped.resume_reading()

    def is_reading(self) -> bool:
        """Whether octets would be delivered now."""
        return self._wanted and self._holding is None and self.wrapped.is_reading()

    # ── writing ───────────────────────────────────────────────────────────────

    def write(self, data: Buffer) -> None:
        """Queue octets; they leave in order, at the rate."""
        if self._ended():
            return
        piece = owned(data)
        if not piece:
            return
        if self._passes(len(piece)):
            self.wrapped.write(piece)
            return
        self._out.append(piece)
        self._size += len(piece)
        self._go_on()
        size = self._size
        if size > self._hard:
            error = self._overflow(size, self.wrapped.peer)
            self.abort(error.reason)
        elif size > self._high:
            self._pause()

    def writelines(self, pieces: Iterable[Buffer]) -> None:
        """`write` them."""
        self.write(b"".join(pieces))

    def sendfile(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> Deferred[int]:
        """Send a piece of a file, in order with `write`, at the rate."""
        if not self._write:
            return self.wrapped.sendfile(file, offset, count)
        piece = _File(file, offset, count)
        if self._ended():
            piece.fail(ConnectionLost("the connection is closed", self.close_reason or "lost"))
            return piece.done
        self._out.append(piece)
        self._pause()
        self._go_on()
        return piece.done

    def _ended(self) -> bool:
        """Whether nothing more may be written; a close that waits is not known below yet."""
        return self._gone is not None or self._eof or self._close_reason is not None

    def _passes(self, count: int) -> bool:
        """Whether `count` octets may be handed down now; they are paid for then."""
        if not self._write:
            return True
        if self._out or self._under_way or self._lower_full:
            return False
        now = self._clock.time()
        for bucket in self._write:
            if bucket.available(now) < count:
                return False
        for bucket in self._write:
            bucket.take(count, now)
        return True

    def _allowance(self, wanted: int) -> int:
        """Octets of `wanted` that may leave now; 0 if that must wait, and a timer is set.

        They are paid for at once, and sent when that is no debt any more: who shares
        a bucket takes turns by it.
        """
        if not self._granted:
            now = self._clock.time()
            least = min(int(bucket.burst) or 1 for bucket in self._write)
            there = min(int(bucket.available(now)) for bucket in self._write)
            self._granted = min(wanted, max(there, min(QUANTUM, least)))
            wait = max(bucket.take(self._granted, now) for bucket in self._write)
            # A rounding error must not become a wait of nothing, for ever.
            if wait > 1e-9:
                self._timer = self._clock.call_later(wait, self._due)
                return 0
        return min(self._granted, wanted)

    def _due(self) -> None:
        self._timer = None
        self._go_on()

    def _go_on(self) -> None:
        """Send what is paid for."""
        if self._timer is not None:
            return
        while self._out and not self._under_way and not self._lower_full and self._gone is None:
            head = self._out[0]
            if isinstance(head, _File):
                if head.left == 0:
                    del self._out[0]
                    head.finish()
                    self._relieved(self._size)
                    continue
                allowed = self._allowance(QUANTUM if head.left is None else head.left)
                if allowed:
                    self._send_part(head, allowed)
                return
            allowed = min(self._allowance(self._size), len(head))
            if not allowed:
                return
            self._granted -= allowed
            self._size -= allowed
            if allowed == len(head):
                del self._out[0]
                self.wrapped.write(head)
            else:
                view = memoryview(head)
                self._out[0] = view[allowed:]
                self.wrapped.write(view[:allowed])
            self._relieved(self._size)
        if not self._out and not self._under_way:
            self._drained()

    def _send_part(self, piece: _File, count: int) -> None:
        """Send some octets of a file, and look again when they have left."""
        self._under_way = True
        self._granted -= count
        part = self.wrapped.sendfile(piece.file, piece.offset, count)
        part.add_callbacks(
            partial(self._part_sent, piece, count), partial(self._part_failed, piece)
        )

    def _part_sent(self, piece: _File, count: int, sent: int) -> None:
        self._under_way = False
        if piece.took(sent, count):
            if self._out and self._out[0] is piece:
                del self._out[0]
            piece.finish()
            if not self._holds_files():
                self._relieved(self._size)
        self._go_on()

    def _part_failed(self, piece: _File, error: BaseException) -> None:
        self._under_way = False
        if self._out and self._out[0] is piece:
            del self._out[0]
        piece.fail(error)

    def _drained(self) -> None:
        """All that was written has been handed down."""
        if self._close_reason is not None:
            reason, self._close_reason = self._close_reason, None
            self.wrapped.close(reason)
        elif self._eof:
            self._eof = False
            self.wrapped.write_eof()

    def lower_full(self) -> None:
        """The transport below has more than it can send."""
        self._lower_full = True
        self._pause()

    def lower_free(self) -> None:
        """It has room again."""
        self._lower_full = False
        self._go_on()
        if not self._lower_full and not self._holds_files():
            self._relieved(self._size)

    def _relieved(self, size: int) -> None:
        if not self._lower_full:
            super()._relieved(size)

    def _holds_files(self) -> bool:
        return any(isinstance(each, _File) for each in self._out)

    def _why_gone(self) -> ConnectionLost | None:
        return self._gone

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None, *, hard: int | None = None
    ) -> None:
        """Marks of what waits here; the transport below has its own, and the same."""
        super().set_write_buffer_limits(high, low, hard=hard)
        self.wrapped.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Octets that wait to be sent, here and below."""
        return self._size + self.wrapped.get_write_buffer_size()

    def output_mark(self) -> object:
        """A value that changes while what waits to be sent makes progress."""
        below: Callable[[], object] | None = getattr(self.wrapped, "output_mark", None)
        mark = self.wrapped.get_write_buffer_size() if below is None else below()
        return self._size, len(self._out), mark

    # ── ends ──────────────────────────────────────────────────────────────────

    def write_eof(self) -> None:
        """Close the way out once all that was written has left."""
        self._eof = True
        if not self._out and not self._under_way:
            self._drained()

    def close(self, reason: str = "clean") -> None:
        """Send what is queued, at the rate, then close."""
        if self._out or self._under_way:
            if self._close_reason is None:
                self._close_reason = reason
                self._wanted = False
                self.wrapped.pause_reading()
        else:
            self.wrapped.close(reason)

    def abort(self, reason: str = "aborted") -> None:
        """Close now, throw away what is queued."""
        self.wrapped.abort(reason)

    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called or the connection has gone."""
        return self._close_reason is not None or self.wrapped.is_closing()

    @property
    def close_reason(self) -> str | None:
        """Why the connection ended or is ending; ``None`` while it is open."""
        return self._close_reason or self.wrapped.close_reason

    def lost(self, exc: Exception | None) -> None:
        """The connection has gone (called by `RateLimit`)."""
        lost = (
            exc if isinstance(exc, ConnectionLost) else ConnectionLost("the connection is closed")
        )
        self._gone = lost
        for timer in (self._timer, self._holding):
            if timer is not None:
                timer.cancel()
        self._timer = self._holding = None
        out, self._out, self._size = self._out, [], 0
        for piece in out:
            if isinstance(piece, _File) and not piece.done.called:
                piece.fail(lost)
        self._pressing = True
        self._wake_waiters(lost)

    # ── protocols and TLS ─────────────────────────────────────────────────────

    def get_protocol(self) -> IStreamProtocol:
        """Who is delivered to."""
        return self._protocol

    def set_protocol(self, protocol: IStreamProtocol) -> None:
        """Deliver to `protocol` from now on."""
        self._protocol = protocol
        self._owner.wrapped = protocol

    def start_tls(self, context: Any, **options: Any) -> Deferred[IStreamTransport]:
        """Talk TLS from here on, at the same rates; fires with this transport."""
        return self.wrapped.start_tls(context, **options).add_callback(self._moved)

    def stop_tls(self, **options: Any) -> Deferred[IStreamTransport]:
        """Talk in clear from here on, at the same rates; fires with this transport."""
        below: Any = self.wrapped  # a transport of TLS, or it fails as that would
        moving: Deferred[IStreamTransport] = below.stop_tls(**options).add_callback(self._moved)
        return moving

    def _moved(self, transport: IStreamTransport) -> IStreamTransport:
        self.wrapped = transport
        self._lower_full = False
        if not self._wanted or self._holding is not None:
            transport.pause_reading()
        return self  # type: ignore[return-value]  # what is missing is found below


def rate_limited(
    factory: ProtocolFactory,
    *,
    read: float | TokenBucket | None = None,
    write: float | TokenBucket | None = None,
    total: TokenBucket | None = None,
    clock: IClock | None = None,
) -> WrappingFactory:
    """A factory whose connections keep to rates, in octets per second.

    Args:
        factory: Makes the protocols inside.
        read: Rate at which each connection is read; a `TokenBucket` is shared by all.
        write: Rate at which each may write; likewise.
        total: A bucket that all octets of all connections, both ways, are taken from.
        clock: Measures; each transport's reactor when left out.

    Raises:
        ValueError: A rate is not above 0.
    """

    def buckets(rate: float | TokenBucket | None) -> list[TokenBucket]:
        found = (
            [] if rate is None else [rate if isinstance(rate, TokenBucket) else TokenBucket(rate)]
        )
        return found if total is None else [*found, total]

    for each in (read, write):
        buckets(each)  # a rate that cannot be is told now

    def wrap(protocol: IStreamProtocol) -> IStreamProtocol:
        kind = _BufferedRateLimit if hasattr(protocol, "get_buffer") else RateLimit
        return kind(protocol, read=buckets(read), write=buckets(write), clock=clock)

    return WrappingFactory(factory, wrap)
