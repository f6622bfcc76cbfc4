"""Stream transports joined in memory: the whole contract, without a socket.

What one end writes in a turn leaves at the end of that turn, and arrives at the
other end in a later one, in pieces no larger than a socket's. Between the two
lies a link of limited capacity, as the kernel's buffers would be: when the
reader does not read, the link fills up, then the writer's buffer, then the
writer's protocol is paused, and past the hard limit the connection is aborted.

The reactor is asked for a ready queue and a flush at the end of the turn, nothing
else, so a `sennit.core.testing.clock.Clock` will do: then octets move only when
the test turns it (`Clock.pump`, `Clock.advance`).

A link can be slow, lossy and narrow, cut octets finely and break after a given octet
(`sennit.core.transport.memory_link.Link`), so that a test meets what networks do.

The way out of an end, and cuts, are in ``memory_sending.py``.
"""

from __future__ import annotations

from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING, NamedTuple, cast

from sennit.core._implements import implements
from sennit.core.errors import ConnectionAborted, ConnectionDone, ConnectionLost
from sennit.core.reactor.calls import DelayedCall
from sennit.core.transport.filepiece import FilePiece
from sennit.core.transport.memory_link import CAPACITY, READ_SIZE, Link, Way
from sennit.core.transport.memory_sending import ABORT, END, MemorySending
from sennit.core.transport.sending import CLOSING, GONE, OPEN
from sennit.core.transport.stream import _NOBODY

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context
    from random import Random
    from typing import Any
    from typing import Protocol as _Protocol

    from sennit.core.address import Address
    from sennit.core.deferred import Deferred
    from sennit.core.interfaces import IStreamProtocol, IStreamTransport
    from sennit.core.reactor.base import Reactor
    from sennit.core.testing.clock import Clock
    from sennit.core.transport.memory_link import Gate, Pipe

    class IBufferedProtocol(_Protocol):
        """One that lends its buffer (asyncio's `BufferedProtocol`)."""

        def buffer_updated(self, nbytes: int) -> object: ...

    class _Owner(_Protocol):
        """Who counts the connection."""

        def connection_gone(self, transport: Any) -> None: ...


__all__ = ["CAPACITY", "Link", "MemoryPair", "MemoryTransport", "memory_pair"]

_PLAIN = Link()


@implements("IStreamTransport")
class MemoryTransport(MemorySending):
    """One end of a connection in memory; made by `memory_pair`.

    Args:
        reactor: Whose turns move the octets: a reactor or a `Clock`.
        protocol: Who is delivered to.
        link: The way out of this end.
        local: This end's address, if it shall have one.
        peer: The other end's.
        owner: Is told when the connection has gone.
        context: Where the protocol's methods are called; ``None`` for the empty one.
        random: Where the link's chance comes from; seeded with 0 when left out.
        gate: What lets pass what leaves here, or does not.
        pipe: The narrow place of the link, where others share it.

    Raises:
        ValueError: Nothing would ever arrive over the link.
    """

    __slots__ = (
        "__weakref__",
        "_delivering",
        "_end_pending",
        "_inbox",
        "_local",
        "_owner",
        "_reading",
        "_reset_pending",
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
        random: Random | None = None,
        gate: Gate | None = None,
        pipe: Pipe | None = None,
    ) -> None:
        super().__init__()
        link.check()
        if random is None and link != _PLAIN:
            random = _seeded()
        self._random = random
        self._chunks = iter(link.chunks)
        self._severed = False
        self._way = None
        if gate is not None or not link.immediate:
            self._way = Way(reactor, link, random or _seeded(), gate, pipe)
        self._reactor = reactor
        self._protocol = protocol
        self._link = link
        self._local = local
        self._peer = peer
        self._owner = owner
        self._context = context
        self._other = None
        self._out = deque()
        self._size = 0  # of what waits in _out, files not counted
        self._cut = link.cut_after
        self._inbox: deque[bytes | memoryview] = deque()
        self._held = 0  # octets on their way here and in _inbox
        self._close_reason = None
        self._state = OPEN
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

    @property
    def other(self) -> MemoryTransport | None:
        """The other end, until this one has gone."""
        return cast("MemoryTransport | None", self._other)

    @property
    def severed(self) -> bool:
        """Whether the connection was cut: nothing goes to the other end any more."""
        return self._severed

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
        if self._state == GONE:
            return
        if isinstance(what, (bytes, memoryview)):
            self._inbox.append(what)
        elif what == END:
            self._end_pending = True
        else:
            if what == ABORT:
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
        if self._state == GONE:
            return
        if self._inbox and self._reading:
            self._deliver_data()
            if self._state == GONE:
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
        return READ_SIZE if self._other is None else self._other._next_chunk()

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
        if not self._reading and self._state == OPEN:
            self._reading = True
            self._deliver_later()

    def is_reading(self) -> bool:
        """Whether octets would be delivered now."""
        return self._reading and self._state == OPEN and not self._eof_in

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
        return self._state != OPEN

    def close(self, reason: str = "clean") -> None:
        """Send what is queued, then close. No more is received."""
        if self._state != OPEN:
            return
        self._close_reason = reason
        self._state = CLOSING
        self._reading = False
        if self._out:
            self._flush_at_end_of_turn()
        else:
            self._lose(None, reason)

    def abort(self, reason: str = "aborted") -> None:
        """Close now and throw away what is queued; the other end sees a reset."""
        if self._state != GONE:
            self._lose(ConnectionAborted(f"aborted: {reason}", reason), reason)

    def forget(self) -> None:
        """Lose the connection as a host does that is switched off: the other end is not told.

        It is answered with a reset when it sends.
        """
        self._lose(ConnectionLost("the host was switched off", "reset"), "reset")

    def _lose(self, error: ConnectionLost | None, reason: str) -> None:
        """The connection is over; the protocol learns it in the next turn."""
        if self._state == GONE:
            return
        self._state = GONE
        self._reading = False
        self._pressing = True  # there will be no room any more (`writable`)
        if self._close_reason is None or error is not None:
            self._close_reason = reason
        if self._other is not None:
            if error is None:
                self._transmit(self._other, END)
            elif reason != "reset" or isinstance(error, ConnectionAborted):
                self._transmit(self._other, ABORT)
        self._reactor.queue(DelayedCall(self._finish, (error,), self._context))

    def _why_gone(self) -> ConnectionLost | None:
        if self._state != GONE:
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


def _seeded() -> Random:
    from random import Random

    return Random(0)


def _some_reactor() -> Reactor | Clock:
    from sennit.core.errors import ReactorNotRunningError
    from sennit.core.reactor.base import current_reactor

    try:
        return current_reactor()
    except ReactorNotRunningError:
        from sennit.core.testing.clock import Clock

        return Clock()
