"""Stream transports joined in memory: the whole contract, without a socket.

What one end writes in a turn leaves at the end of that turn, and arrives at the
other end in a later one, in pieces no larger than a socket's. Between the two
lies a link of limited capacity, as the kernel's buffers would be: when the
reader does not read, the link fills up, then the writer's buffer, then the
writer's protocol is paused, and past the hard limit the connection is aborted.

The reactor is asked for a ready queue and a flush at the end of the turn, nothing
else, so a `sennit.core.testing.clock.Clock` will do: then octets move only when
the test turns it (`Clock.pump`, `Clock.advance`).

A link can be slow (`latency`), cut octets finely (`chunk`) and break after a
given octet (`cut_after`), so that a test meets what networks do.
"""

from __future__ import annotations

from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING, NamedTuple, cast

from sennit.core._implements import implements
from sennit.core.errors import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ReactorError,
)
from sennit.core.reactor.calls import DelayedCall
from sennit.core.transport.filepiece import FilePiece
from sennit.core.transport.flow import FlowControl
from sennit.core.transport.sending import owned as _owned
from sennit.core.transport.stream import _NOBODY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextvars import Context
    from typing import IO, Any, Final
    from typing import Protocol as _Protocol

    from sennit.core.address import Address
    from sennit.core.deferred import Deferred
    from sennit.core.interfaces import Buffer, IStreamProtocol, IStreamTransport
    from sennit.core.reactor.base import Reactor
    from sennit.core.testing.clock import Clock

    class IBufferedProtocol(_Protocol):
        """One that lends its buffer (asyncio's `BufferedProtocol`)."""

        def buffer_updated(self, nbytes: int) -> object: ...

    class _Owner(_Protocol):
        """Who counts the connection."""

        def connection_gone(self, transport: Any) -> None: ...


__all__ = ["CAPACITY", "Link", "MemoryPair", "MemoryTransport", "memory_pair"]

CAPACITY: Final = 64 * 1024
"""Octets that are on their way or wait to be read, per direction."""
READ_SIZE: Final = 64 * 1024
"""Octets delivered at a time, as by a socket transport."""

_OPEN, _CLOSING, _GONE = 0, 1, 2
_END, _RESET, _ABORT = 0, 1, 2  # what arrives besides octets


class Link(NamedTuple):
    """One direction of a connection in memory.

    Attributes:
        capacity: Octets it holds before the writer has to wait.
        chunk: Most octets handed over in one `data_received`.
        latency: Seconds until what was sent arrives.
        cut_after: Octets after which the connection breaks (both ends see a
            reset; those octets still arrive); ``None`` for never.
    """

    capacity: int = CAPACITY
    chunk: int = READ_SIZE
    latency: float = 0.0
    cut_after: int | None = None


_PLAIN = Link()


@implements("IStreamTransport")
class MemoryTransport(FlowControl):
    """One end of a connection in memory; made by `memory_pair`.

    Args:
        reactor: Whose turns move the octets: a reactor or a `Clock`.
        protocol: Who is delivered to.
        link: The way out of this end.
        local: This end's address, if it shall have one.
        peer: The other end's.
        owner: Is told when the connection has gone.
        context: Where the protocol's methods are called; ``None`` for the empty one.
    """

    __slots__ = (
        "__weakref__",
        "_close_reason",
        "_context",
        "_corked",
        "_cut",
        "_delivering",
        "_end_pending",
        "_eof_in",
        "_eof_out",
        "_held",
        "_inbox",
        "_link",
        "_local",
        "_other",
        "_out",
        "_owner",
        "_peer",
        "_queued",
        "_reactor",
        "_reading",
        "_reset_pending",
        "_size",
        "_state",
    )

    def __init__(
        self,
        reactor: Reactor | Clock,
        protocol: IStreamProtocol,
        link: Link = _PLAIN,
        *,
        local: Address | None = None,
        peer: Address | None = None,
        owner: _Owner | None = None,
        context: Context | None = None,
    ) -> None:
        super().__init__()
        if link.capacity < 1 or link.chunk < 1:
            raise ValueError(f"nothing would ever arrive over {link!r}")
        self._reactor = reactor
        self._protocol = protocol
        self._link = link
        self._local = local
        self._peer = peer
        self._owner = owner
        self._context = context
        self._other: MemoryTransport | None = None
        self._out: deque[bytes | memoryview | FilePiece] = deque()
        self._size = 0  # of what waits in _out, files not counted
        self._cut = link.cut_after
        self._inbox: deque[bytes | memoryview] = deque()
        self._held = 0  # octets on their way here and in _inbox
        self._close_reason: str | None = None
        self._state = _OPEN
        self._corked = False
        self._queued = False
        self._delivering = False
        self._reading = True
        self._eof_in = False
        self._eof_out = False
        self._end_pending = False
        self._reset_pending = False

    def join(self, other: MemoryTransport) -> None:
        """Become the other end of `other`; nothing is told to the protocols yet."""
        self._other = other
        other._other = self

    def start(self) -> None:
        """Tell the protocol that it is connected."""
        if self._context is None:
            self._start()
        else:
            self._context.run(self._start)

    def _start(self) -> None:
        self._call("connection_made", self._protocol.connection_made, self)

    def _call(self, method: str, fn: Callable[..., Any], *args: Any) -> Any:
        """Call the protocol; what it writes meanwhile leaves together right after."""
        self._corked = True
        try:
            return fn(*args)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._protocol_failed(error, method)
            return None
        finally:
            self._corked = False
            if self._out:
                self._flush()

    def __repr__(self) -> str:
        """Class, ends and state."""
        return (
            f"<{type(self).__name__} {self._local} - {self._peer} {self._close_reason or 'open'}>"
        )

    # ── who it is between ─────────────────────────────────────────────────────

    @property
    def local(self) -> Address | None:
        """This end's address, if it was given one."""
        return self._local

    @property
    def peer(self) -> Address | None:
        """The other end's address, if it was given one."""
        return self._peer

    @property
    def close_reason(self) -> str | None:
        """Why the connection ended or is ending; ``None`` while it is open."""
        return self._close_reason

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """asyncio's questions: ``peername``, ``sockname``, ``reactor``."""
        if name == "peername":
            return default if self._peer is None else self._peer
        if name == "sockname":
            return default if self._local is None else self._local
        if name == "reactor":
            return self._reactor
        return default

    # ── protocol ──────────────────────────────────────────────────────────────

    def get_protocol(self) -> IStreamProtocol:
        """Who is delivered to."""
        return self._protocol

    def set_protocol(self, protocol: IStreamProtocol) -> None:
        """Deliver to `protocol` from now on (its `connection_made` is the caller's affair)."""
        self._protocol = protocol

    def _protocol_failed(self, error: BaseException, method: str) -> None:
        """A method of the protocol has raised: that ends its connection, nothing else."""
        self._reactor.report(error, f"in {type(self._protocol).__qualname__}.{method} of {self!r}")
        self._lose(ConnectionAborted(f"{method} failed", "error"), "error")

    # ── reading ───────────────────────────────────────────────────────────────

    def _arrive(self, what: bytes | memoryview | int) -> None:
        """Something has come over the link: octets, the end, a reset."""
        if self._state == _GONE:
            return
        if isinstance(what, (bytes, memoryview)):
            self._inbox.append(what)
        elif what == _END:
            self._end_pending = True
        else:
            if what == _ABORT:
                # As a kernel does with what came before the reset and was not read.
                self._inbox.clear()
            self._reset_pending = True
        self._deliver_later()

    def _deliver_later(self) -> None:
        if not self._delivering:
            self._delivering = True
            self._reactor.queue(DelayedCall(self._deliver, (), self._context))

    def _deliver(self) -> None:
        self._delivering = False
        if self._state == _GONE:
            return
        if self._inbox and self._reading:
            self._deliver_data()
            if self._state == _GONE:
                return
            if self._inbox and self._reading:
                self._deliver_later()
                return
        if self._reset_pending and not (self._inbox and self._reading):
            # While paused, too: nobody can answer a peer that has gone.
            self._lose(ConnectionLost("connection reset by the other end", "reset"), "reset")
        elif self._end_pending and not self._inbox and not self._eof_in and self._reading:
            self._on_eof()

    def _deliver_data(self) -> None:
        get_buffer = getattr(self._protocol, "get_buffer", None)
        if get_buffer is None:
            data = self._take(min(READ_SIZE, self._sender_chunk()))
            self._call("data_received", self._protocol.data_received, data)
            return
        try:
            buffer = memoryview(get_buffer(-1)).cast("B")
            if not buffer:
                raise ValueError("get_buffer() returned an empty buffer")
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._protocol_failed(error, "get_buffer")
            return
        data = self._take(min(len(buffer), READ_SIZE, self._sender_chunk()))
        buffer[: len(data)] = data
        buffer.release()
        updated = cast("IBufferedProtocol", self._protocol).buffer_updated
        self._call("buffer_updated", updated, len(data))

    def _sender_chunk(self) -> int:
        return READ_SIZE if self._other is None else self._other._link.chunk

    def _take(self, most: int) -> bytes:
        """Octets from the inbox, `most` of them at most; the sender learns that there is room."""
        inbox = self._inbox
        taken: list[bytes | memoryview] = []
        size = 0
        while inbox and size < most:
            piece = inbox[0]
            if len(piece) > most - size:
                view = memoryview(piece)
                taken.append(view[: most - size])
                inbox[0] = view[most - size :]
                size = most
            else:
                taken.append(inbox.popleft())
                size += len(piece)
        self._held -= size
        other = self._other
        if other is not None and other._out:
            other._flush_soon()
        first = taken[0]
        return first if len(taken) == 1 and isinstance(first, bytes) else b"".join(taken)

    def _on_eof(self) -> None:
        self._eof_in = True
        keep = self._call("eof_received", self._protocol.eof_received)
        if not keep or self._eof_out:
            self.close()

    def pause_reading(self) -> None:
        """Call `data_received` no more until `resume_reading`."""
        self._reading = False

    def resume_reading(self) -> None:
        """Go on reading."""
        if not self._reading and self._state == _OPEN:
            self._reading = True
            self._deliver_later()

    def is_reading(self) -> bool:
        """Whether octets would be delivered now."""
        return self._reading and self._state == _OPEN and not self._eof_in

    # ── writing ───────────────────────────────────────────────────────────────

    def write(self, data: Buffer) -> None:
        """Queue octets; ignored after the loss.

        Raises:
            TypeError: `data` is not bytes-like.
            ReactorError: After `write_eof`.
        """
        piece = data if type(data) is bytes else _owned(data)
        if self._state != _OPEN:
            return
        if self._eof_out:
            raise ReactorError("write after write_eof")
        size = len(piece)
        if not size:
            return
        self._out.append(piece)
        self._size += size
        if self._size > self._high:
            self._pressed()
        else:
            self._flush_at_end_of_turn()

    def writelines(self, pieces: Iterable[Buffer]) -> None:
        """`write` each piece; they leave together where they can."""
        for piece in pieces:
            self.write(piece)

    def _flush_at_end_of_turn(self) -> None:
        if not self._corked and not self._queued:
            self._queued = True
            self._reactor.flush_later(self._flush)

    def _flush_soon(self) -> None:
        """The reader has made room (and is in a context that is not ours)."""
        if not self._queued:
            self._queued = True
            self._reactor.queue(DelayedCall(self._flush, (), self._context))

    def _pressed(self) -> None:
        """Above the high mark: send at once what the link takes, then look again."""
        self._flush()
        if self._size > self._high and self._state == _OPEN:
            self._pause()
            if self._size > self._hard:
                self._lose(self._overflow(self._size, self._peer), "limit:write-buffer")

    def _flush(self) -> None:
        """Send what is queued, as far as the link takes it."""
        self._queued = False
        other = self._other
        if other is None:
            return
        out = self._out
        while out and self._state != _GONE:
            if other._state == _GONE:
                # Octets for an end that has closed are answered with a reset.
                self._lose(ConnectionLost("the other end has closed", "reset"), "reset")
                return
            room = self._link.capacity - other._held
            if room <= 0:
                break
            data = self._next_octets(room)
            if data:
                self._transmit(other, data)
        if self._state == _GONE:
            return
        if out:
            if self._size > self._high:
                self._pause()
            elif self._size <= self._low and not any(type(each) is FilePiece for each in out):
                self._relieved(self._size)
        elif self._pressing or self._state or self._eof_out:
            self._drained()

    def _next_octets(self, room: int) -> bytes | memoryview:
        """The head of the queue, at most `room` octets; empty at the end of a file."""
        piece = self._out[0]
        if isinstance(piece, FilePiece):
            try:
                data: bytes | memoryview = piece.next_block(min(room, READ_SIZE))
            except (OSError, ValueError) as error:
                lost = ConnectionAborted(f"the file cannot be read: {error}", "error")
                lost.__cause__ = error
                self._lose(lost, "error")
                return b""
            piece.advance(len(data))
            if not data:
                self._out.popleft()
                piece.finish()
            return data
        if len(piece) <= room:
            data = self._out.popleft()  # type: ignore[assignment]  # it is `piece`, and no file
        else:
            view = memoryview(piece)
            data = view[:room]
            self._out[0] = view[room:]
        self._size -= len(data)
        return data

    def _transmit(self, other: MemoryTransport, what: bytes | memoryview | int) -> None:
        """Put octets or a sign on the link."""
        if not isinstance(what, int):
            if self._cut is not None:
                what = what[: self._cut]
                self._cut -= len(what)
            other._held += len(what)
        if isinstance(what, int) or what:
            if self._link.latency:
                self._reactor.call_later(self._link.latency, other._arrive, what)
            else:
                other._arrive(what)
        if self._cut == 0 and not isinstance(what, int):
            self._transmit(other, _RESET)
            self._lose(ConnectionLost("the connection was cut", "reset"), "reset")

    def _drained(self) -> None:
        """Everything has left: go on with what waited for that."""
        if self._state == _CLOSING:
            self._lose(None, self._close_reason or "clean")
            return
        if self._eof_out:
            self._shut_out()
        if self._state != _GONE:
            self._relieved(self._size)

    def get_write_buffer_size(self) -> int:
        """Octets that wait to be sent (those of files not counted)."""
        return self._size

    def output_mark(self) -> object:
        """A value that changes while what waits to be sent makes progress, files included."""
        first = self._out[0] if self._out else None
        return self._size, len(self._out), getattr(first, "sent", 0)

    def sendfile(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> Deferred[int]:
        """Send a piece of a file, in order with `write`; it is read as the link takes it.

        Args:
            file: Open for reading, until the Deferred has fired.
            offset: Octet to begin at.
            count: Octets to send; all up to the end when left out.

        Returns:
            Fires with the octets sent, fewer than `count` if the file ended first.
        """
        piece = FilePiece(file, offset, count)
        if self._state != _OPEN or self._eof_out:
            piece.fail(ConnectionLost("the connection is closed", self._close_reason or "lost"))
            return piece.done
        self._out.append(piece)
        # A file on its way is more than enough: producers wait until it has left.
        self._pause()
        self._flush_at_end_of_turn()
        return piece.done

    def can_write_eof(self) -> bool:
        """Memory can."""
        return True

    def write_eof(self) -> None:
        """Close the way out once all that was written has left."""
        if self._eof_out or self._state != _OPEN:
            return
        self._eof_out = True
        if not self._out:
            self._shut_out()

    def _shut_out(self) -> None:
        if self._other is not None:
            self._transmit(self._other, _END)
        if self._eof_in:
            self.close()

    # ── TLS ───────────────────────────────────────────────────────────────────

    def start_tls(
        self,
        context: Any,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        handshake_timeout: float = 10.0,
    ) -> Deferred[IStreamTransport]:
        """Talk TLS from here on (`IStreamTransport.start_tls`)."""
        from sennit.core.transport.tls import upgrade

        return upgrade(
            self,
            context,
            server_side=server_side,
            server_hostname=server_hostname,
            handshake_timeout=handshake_timeout,
        )

    # ── the end ───────────────────────────────────────────────────────────────

    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called or the connection has gone."""
        return self._state != _OPEN

    def close(self, reason: str = "clean") -> None:
        """Send what is queued, then close. No more is received."""
        if self._state != _OPEN:
            return
        self._close_reason = reason
        self._state = _CLOSING
        self._reading = False
        if self._out:
            self._flush_at_end_of_turn()
        else:
            self._lose(None, reason)

    def abort(self, reason: str = "aborted") -> None:
        """Close now and throw away what is queued; the other end sees a reset."""
        if self._state != _GONE:
            self._lose(ConnectionAborted(f"aborted: {reason}", reason), reason)

    def _lose(self, error: ConnectionLost | None, reason: str) -> None:
        """The connection is over; the protocol learns it in the next turn."""
        if self._state == _GONE:
            return
        self._state = _GONE
        self._reading = False
        self._pressing = True  # there will be no room any more (`writable`)
        if self._close_reason is None or error is not None:
            self._close_reason = reason
        if self._other is not None:
            if error is None:
                self._transmit(self._other, _END)
            elif reason != "reset":
                self._transmit(self._other, _ABORT)
        self._reactor.queue(DelayedCall(self._finish, (error,), self._context))

    def _why_gone(self) -> ConnectionLost | None:
        if self._state != _GONE:
            return None
        return ConnectionLost("the connection has gone", self._close_reason or "lost")

    def _finish(self, error: ConnectionLost | None) -> None:
        out, self._out = self._out, deque()
        self._inbox.clear()
        self._held = 0
        self._size = 0
        self._other = None
        protocol, self._protocol = self._protocol, _NOBODY
        if self._waiters:
            self._wake_waiters(error or ConnectionDone())
        for piece in out:
            if isinstance(piece, FilePiece):
                piece.fail(error or ConnectionDone())
        try:
            protocol.connection_lost(error)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as failure:
            self._reactor.report(failure, f"in {type(protocol).__qualname__}.connection_lost")
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.connection_gone(self)


class MemoryPair(NamedTuple):
    """The two ends of a connection in memory.

    Attributes:
        first: The end of the protocol given first.
        second: The other one.
        reactor: Whose turns move the octets.
    """

    first: MemoryTransport
    second: MemoryTransport
    reactor: Reactor | Clock

    def pump(self) -> None:
        """Move octets until both ends are at rest (under a `Clock`).

        Raises:
            TypeError: A real reactor turns them.
        """
        pump = getattr(self.reactor, "pump", None)
        if pump is None:
            raise TypeError("the reactor moves the octets of this pair; only a Clock is pumped")
        pump()


def memory_pair(
    first: IStreamProtocol,
    second: IStreamProtocol,
    *,
    reactor: Reactor | Clock | None = None,
    there: Link = _PLAIN,
    back: Link = _PLAIN,
    addresses: tuple[Address | None, Address | None] = (None, None),
    start: bool = True,
) -> MemoryPair:
    """Connect two protocols in memory.

    Args:
        first: A protocol.
        second: The protocol it shall talk with.
        reactor: A reactor or a `Clock`; when left out, the one that runs, or
            else a new `Clock` (found as `MemoryPair.reactor`).
        there: The way from the first to the second.
        back: The way from the second to the first.
        addresses: What the first and the second end say of themselves.
        start: Call `connection_made` of both, the first one's first.

    Returns:
        The transports; unpack it, or take `first`, `second` and `pump`.
    """
    if reactor is None:
        reactor = _some_reactor()
    context = copy_context() or None
    one = MemoryTransport(
        reactor, first, there, local=addresses[0], peer=addresses[1], context=context
    )
    other = MemoryTransport(
        reactor, second, back, local=addresses[1], peer=addresses[0], context=context
    )
    one.join(other)
    if start:
        one.start()
        other.start()
    return MemoryPair(one, other, reactor)


def _some_reactor() -> Reactor | Clock:
    from sennit.core.errors import ReactorNotRunningError
    from sennit.core.reactor.base import current_reactor

    try:
        return current_reactor()
    except ReactorNotRunningError:
        from sennit.core.testing.clock import Clock

        return Clock()
