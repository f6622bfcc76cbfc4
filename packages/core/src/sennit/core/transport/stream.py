"""A stream transport over a socket: the hot path of everything.

Reading: the poller's event calls `_on_event`, which receives at most `READ_SIZE` at
a time (much larger buffers are mapped and unmapped by the allocator for every message)
and hands them to the protocol.

Writing is `sennit.core.transport.sending`.

While reading is paused, nothing is unregistered until an event shows up; then the
descriptor waits for the peer's end alone, once. So a pause between two messages
costs no system call, and a peer that resets cannot spin the loop.

The sockets of one connection are closed at the end of the turn that ended it,
never inside: a number that is reused within one batch of events would get the
events of its predecessor.
"""

from __future__ import annotations

import os
import socket
import struct
from functools import partial

from sennit.core._implements import implements
from sennit.core.address import Address, address_from_socket
from sennit.core.errors import ConnectionAborted, ConnectionDone, ConnectionLost
from sennit.core.protocol import Protocol
from sennit.core.reactor.pollers import ERROR, HANGUP, ONCE, PEER_CLOSED, READ, WRITE
from sennit.core.transport.flow import HARD_LIMIT, HIGH_WATER, LOW_WATER
from sennit.core.transport.sending import (
    CLOSING,
    CORKED,
    FRESH,
    GONE,
    LOOSE,
    NO_MEMORY,
    NOT_EMPTYING,
    OPEN,
    RETRY,
    Sending,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as RawSocket  # noqa: N812 - it is a type
    from collections.abc import Callable
    from contextvars import Context
    from typing import Any, Final
    from typing import Protocol as _Protocol

    from sennit.core.deferred import Deferred
    from sennit.core.interfaces import IStreamProtocol, IStreamTransport
    from sennit.core.reactor.base import Reactor

    class Owner(_Protocol):
        """Who counts the connection."""

        def connection_gone(self, transport: SocketTransport) -> None: ...


__all__ = ["READ_SIZE", "SocketTransport"]

READ_SIZE: Final = 96 * 1024
"""Octets received at a time: 64 KiB, as many peers write at once, with what frames them; and
less than malloc maps anew for each message (128 KiB)."""
READS_PER_TURN: Final = 4
"""Full reads of one connection in one turn, so that nobody starves the others."""

_LINGER_RESET = struct.pack("ii", 1, 0)


class _Nobody(Protocol):
    """Who a transport delivers to once its connection has gone."""


_NOBODY = _Nobody()


@implements("IStreamTransport")
class SocketTransport(Sending):
    """One connection of a stream socket.

    Args:
        reactor: Who waits for its descriptor.
        sock: A connected, non-blocking socket, from now on this object's own.
        protocol: Who is delivered to.
        peer: The peer's address as `accept` gave it, if it did.
        owner: Is told when the connection has gone.
        context: Where the protocol's methods are called; ``None`` for the empty one.
    """

    __slots__ = (
        "__weakref__",
        "_buffer_updated",
        "_data_received",
        "_error",
        "_get_buffer",
        "_handler",
        "_owner",
        "_peer",
        "_recv",
    )

    _buffer_updated: Callable[[int], object]
    _get_buffer: Callable[[int], Any]
    _data_received: Callable[[bytes], object]

    def __init__(
        self,
        reactor: Reactor,
        sock: RawSocket,
        protocol: IStreamProtocol,
        peer: object = None,
        owner: Owner | None = None,
        context: Context | None = None,
    ) -> None:
        # Written out, and not passed on to the bases: it is most of an accept.
        self._high = HIGH_WATER
        self._low = LOW_WATER
        self._hard = HARD_LIMIT
        self._pressing = False
        self._waiters = None
        self._reactor = reactor
        self._sock = sock
        self._fd = sock.fileno()
        self._recv = sock.recv
        self._send = sock.send
        self._peer = peer
        self._owner = owner
        self._context = context
        self._close_reason: str | None = None
        self._out: list[Any] = []  # of bytes, memoryview or FilePiece
        self._size = 0
        self._mask = 0
        self._registered = 0
        self._state = OPEN
        self._cork = LOOSE
        self._answer = b""
        self._queued = False
        self._emptying = NOT_EMPTYING
        self._reading = True
        self._eof_in = False
        self._unheard = False
        self._error: ConnectionLost | None = None
        self._handler: Callable[[int], object]
        if context is not None or hasattr(protocol, "get_buffer"):
            self.set_protocol(protocol)
        else:
            self._protocol = protocol
            self._data_received = protocol.data_received
            self._handler = self._on_event

    def start(self) -> None:
        """Tell the protocol that it is connected, then begin to read."""
        context = self._context
        made = self._protocol.connection_made
        try:
            if context is None:
                self._deliver(made, self)
            else:
                context.run(self._deliver, made, self)
        except (KeyboardInterrupt, SystemExit):
            # Nothing is registered yet that would end it with the reactor.
            self.abort()
            raise
        if self._state != GONE:
            # Only now: a connection that says its word and closes is never registered.
            wanted = READ if self._reading else PEER_CLOSED | ONCE
            try:
                self._watch(self._mask | wanted)
            except OSError as error:
                self._failed(error)

    def _deliver(self, method: Callable[..., object], *args: Any) -> object:
        """Call a method of the protocol, then send what it wrote."""
        self._cork = CORKED if self._out or self._state else FRESH
        result: object = None
        try:
            result = method(*args)
        except (KeyboardInterrupt, SystemExit):
            self._keep_answer()
            raise
        except BaseException as error:
            self._protocol_failed(error, getattr(method, "__name__", "its method"))
        finally:
            self._cork = LOOSE
        if self._answer:
            self._send_answer()
        elif self._out:
            self._flush()
        return result

    def __repr__(self) -> str:
        """Class, ends and state."""
        state = self._close_reason or "open"
        return f"<{type(self).__name__} {self.local} - {self.peer} {state}>"

    # ── who it is between ─────────────────────────────────────────────────────

    @property
    def local(self) -> Address | None:
        """This end's address; ``None`` once the socket is closed."""
        try:
            return address_from_socket(self._sock.getsockname())
        except OSError:
            return None

    @property
    def peer(self) -> Address | None:
        """The other end's address; ``None`` where it was never asked for and is gone."""
        if self._peer is None:
            try:
                self._peer = self._sock.getpeername()
            except OSError:
                return None
        return address_from_socket(self._peer)

    @property
    def accepted_from(self) -> object:
        """The peer as `accept` gave it (`IPeerLimits` counts by that)."""
        return self._peer

    def accepted_for(self, peer: object) -> None:
        """A proxy said who the peer is; `accepted_from` and `peer` are that from now on."""
        self._peer = peer

    @property
    def close_reason(self) -> str | None:
        """Why the connection ended or is ending; ``None`` while it is open."""
        return self._close_reason

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """asyncio's questions: ``peername``, ``sockname``, ``socket``, ``reactor``."""
        if name == "peername":
            return default if self.peer is None else self._peer
        if name == "reactor":
            return self._reactor
        from sennit.core.transport.peek import socket_info

        return socket_info(self, name, default)

    # ── protocol ──────────────────────────────────────────────────────────────

    def get_protocol(self) -> IStreamProtocol:
        """Who is delivered to."""
        return self._protocol

    def set_protocol(self, protocol: IStreamProtocol) -> None:
        """Deliver to `protocol` from now on (its `connection_made` is the caller's affair)."""
        self._protocol = protocol
        get_buffer = getattr(protocol, "get_buffer", None)
        if get_buffer is not None:
            self._get_buffer = get_buffer
            lender: Any = protocol  # asyncio's other kind of protocol
            updated: Callable[[int], object] = lender.buffer_updated
            self._buffer_updated = updated
            # For what was received for its predecessor in the turn that put it here.
            self._data_received = partial(_fill, get_buffer, updated)
            handler: Callable[[int], object] = self._on_event_buffered
        else:
            self._data_received = protocol.data_received
            handler = self._on_event
        if self._context is not None:
            # `run` takes a function and its arguments, which mypy wants at once.
            handler = partial(self._context.run, handler)  # type: ignore[call-arg]
        self._handler = handler
        if self._registered:
            self._reactor.handlers[self._fd] = handler

    def _protocol_failed(self, error: BaseException, method: str) -> None:
        """A method of the protocol has raised: that ends its connection, nothing else."""
        self._reactor.report(error, f"in {type(self._protocol).__qualname__}.{method} of {self!r}")
        self._lose(ConnectionAborted(f"{method} failed", "error"), "error")

    # ── reading ───────────────────────────────────────────────────────────────

    def _on_event(self, mask: int) -> None:
        """Receive, deliver, send the answer: the whole of an echo without another call of ours."""
        if mask != READ and not self._go_on_reading(mask):
            return
        if not self._reading:
            self._park()
            return
        # What a slot holds is loaded first and called then: called as a method of
        # `self` it would be looked for in the class each time.
        receive = self._recv
        try:
            data = receive(READ_SIZE)
        except BlockingIOError:
            return
        except (OSError, MemoryError) as error:
            self._not_received(error)
            return
        if not data:
            self._on_eof()
            return
        self._cork = CORKED if self._out or self._state else FRESH
        deliver = self._data_received
        try:
            deliver(data)
        except (KeyboardInterrupt, SystemExit):
            self._keep_answer()
            raise
        except BaseException as error:
            self._protocol_failed(error, "data_received")
        finally:
            self._cork = LOOSE
        answer = self._answer
        if answer:
            self._answer = b""
            send = self._send
            try:
                sent = send(answer)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self._answer_not_sent(answer, error)
                return
            if sent != len(answer):
                self._refused(answer, sent)
            elif self._state:
                self._drained()
        elif self._out:
            self._flush()
        if len(data) == READ_SIZE:
            self._read_on()

    def _send_answer(self) -> None:
        """Send what the protocol wrote, as `_on_event` does it in place."""
        answer = self._answer
        self._answer = b""
        send = self._send
        try:
            sent = send(answer)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._answer_not_sent(answer, error)
            return
        if sent != len(answer):
            self._refused(answer, sent)
        elif self._state:
            self._drained()

    def _keep_answer(self) -> None:
        """The program is interrupted: what was written leaves if the loop turns again."""
        if self._answer:
            self._queue_answer()
        if self._out and not self._queued:
            self._flush_soon()

    def _read_on(self) -> None:
        """There was as much as one read takes: a few more, without asking the poller."""
        for _ in range(READS_PER_TURN - 1):
            if not self._reading or not self._mask & READ:
                return
            try:
                data = self._recv(READ_SIZE)
            except BlockingIOError:
                return
            except (OSError, MemoryError) as error:
                self._not_received(error)
                return
            if not data:
                self._on_eof()
                return
            self._deliver(self._data_received, data)
            if len(data) < READ_SIZE:
                return

    def _on_event_buffered(self, mask: int) -> None:
        """The same for a protocol that lends its buffer (asyncio's `BufferedProtocol`).

        Where its `buffer_updated` returns ``True`` it expects more to be there, or the end: that
        is tried at once then, without asking the poller.
        """
        if mask != READ and not self._go_on_reading(mask):
            return
        if not self._reading:
            self._park()
            return
        if self._receive_lent():
            for _ in range(READS_PER_TURN - 1):
                if not self._receive_lent():
                    return

    def _receive_lent(self) -> bool:
        """Receive once; whether to go on, as the protocol said by ``True``."""
        try:
            buffer = _lent(self._get_buffer)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._protocol_failed(error, "get_buffer")
            return False
        if not self._reading:
            return False
        try:
            got = self._sock.recv_into(buffer)
        except BlockingIOError:
            return False
        except (OSError, MemoryError) as error:
            self._not_received(error)
            return False
        if not got:
            self._on_eof()
            return False
        # It is another one with each protocol, and holds none, as this frame must not.
        handler = self._handler
        more = self._deliver(self._buffer_updated, got) is True
        return more and self._handler is handler and self.is_reading() and self._mask & READ != 0

    def _not_received(self, error: OSError | MemoryError) -> None:
        """Receiving has failed: wanting memory it is tried again in a while, else that is it."""
        if isinstance(error, OSError) and error.errno not in NO_MEMORY:
            self._failed(error)
            return
        # Left to itself the poller would tell of the same octets again and again.
        self._watch(self._mask & WRITE | PEER_CLOSED | ONCE)
        self._reactor.call_later(RETRY, self._receive_again)

    def _receive_again(self) -> None:
        if self._reading and not self._eof_in and not self._mask & READ:
            self._watch(self._mask & WRITE | READ)

    def _go_on_reading(self, mask: int) -> bool:
        """Deal with all but READ; whether there may be something to receive."""
        if mask & WRITE:
            self._on_writable()
        if self._state == GONE:
            return False
        if (self._eof_in and mask & (ERROR | HANGUP)) or (not self._reading and mask & ERROR):
            # Nobody would receive, so the error would come again and again.
            code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._failed(OSError(code, os.strerror(code)) if code else None)
            return False
        if mask & (PEER_CLOSED | HANGUP) and not self._reading:
            # The peer's end, behind octets that nobody wants yet: remembered by
            # the kernel, and delivered after them. Waiting for a reset is left.
            self._watch(ONCE | (self._mask & WRITE))
            return False
        return bool(mask & (READ | ERROR | HANGUP))

    def _park(self) -> None:
        """Octets came while paused: wait for nothing but the peer's end, and that once."""
        if self._mask & READ:
            self._watch(self._mask & WRITE | PEER_CLOSED | ONCE)

    def _on_eof(self) -> None:
        self._eof_in = True
        try:
            eof_received = self._protocol.eof_received
        except AttributeError as error:
            # Left to itself the end would be reported again and again.
            self._protocol_failed(error, "eof_received")
            return
        keep = self._deliver(eof_received)
        if self._state == GONE:
            return
        if keep and self._state == OPEN:
            self._watch(self._mask & WRITE | ONCE)
        else:
            self.close()

    def pause_reading(self) -> None:
        """Call `data_received` no more until `resume_reading`."""
        self._reading = False

    def resume_reading(self) -> None:
        """Go on reading."""
        if not self._reading and self._state < CLOSING:
            self._reading = True
            if not self._eof_in and not self._mask & READ:
                self._watch(self._mask & WRITE | READ)

    def is_reading(self) -> bool:
        """Whether octets would be delivered now."""
        return self._reading and not self._eof_in

    def _watch(self, mask: int) -> None:
        if mask & WRITE:
            # With ONCE the writable event would be the last.
            mask &= ~ONCE
            if not mask & READ:
                mask &= ~PEER_CLOSED
        self._mask = mask
        registered = self._registered
        if mask != registered:
            if registered:
                self._reactor.rewatch(self._fd, mask)
            else:
                self._reactor.watch(self._fd, mask, self._handler)
            self._registered = mask

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
        return self._state >= CLOSING

    def close(self, reason: str = "clean") -> None:
        """Send what is queued, then close. No more is received."""
        if self._state >= CLOSING:
            return
        self._close_reason = reason
        self._state = CLOSING
        self._cork = self._cork and CORKED
        self._reading = False
        if self._out:
            if not self._cork and not self._queued and not self._mask & WRITE:
                self._flush_soon()
        elif not self._answer:  # which is about to be sent
            self._lose(None, reason)

    def abort(self, reason: str = "aborted") -> None:
        """Close now and throw away what is queued; a TCP peer sees a reset."""
        if self._state != GONE:
            self._lose(ConnectionAborted(f"aborted: {reason}", reason), reason)

    def _ended_out(self) -> None:
        """The way out is closed; with the way in that is all of the connection."""
        if self._eof_in:
            self.close()

    def reactor_stopped(self) -> None:
        """The reactor ends, and so does every connection that is left."""
        self.abort("drained")

    def _failed(self, error: OSError | None) -> None:
        """The kernel says that the connection is broken."""
        lost = ConnectionLost(str(error) if error else "the peer has gone", "reset")
        lost.__cause__ = error
        self._lose(lost, "reset")

    def _lose(self, error: ConnectionLost | None, reason: str) -> None:
        """The connection is over; the protocol learns it at the end of this turn."""
        if self._state == GONE:
            return
        self._state = GONE
        self._cork = self._cork and CORKED
        self._answer = b""
        self._reading = False
        self._pressing = True  # there will be no room any more (`writable`)
        if self._close_reason is None or error is not None:
            self._close_reason = reason
        if self._registered:
            self._mask = self._registered = 0
            self._reactor.unwatch(self._fd)
        self._error = error
        context = self._context
        finish = self.finish if context is None else partial(context.run, self.finish)
        self._reactor.ended(finish)

    def _why_gone(self) -> ConnectionLost | None:
        if self._state != GONE:
            return None
        return ConnectionLost("the connection has gone", self._close_reason or "lost")

    def _hear_last_words(self) -> None:
        """Deliver what the peer said before it stopped listening.

        A server that refuses an upload answers, and closes with octets unread: the next
        ``send`` fails, while the answer is here already.
        """
        for _ in range(READS_PER_TURN):
            try:
                data = self._recv(READ_SIZE)
            except OSError:
                return
            if not data:
                return
            try:
                self._data_received(data)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                self._reactor.report(
                    error, f"in {type(self._protocol).__qualname__}.data_received of {self!r}"
                )
                return

    def finish(self) -> None:
        """The reactor's call at the end of the turn in which the connection was lost."""
        if self._unheard:
            self._hear_last_words()
        error, self._error = self._error, None
        sock = self._sock
        if error is not None and error.reason != "reset":
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            except OSError:
                pass
        meter = self._reactor.meter
        if meter is not None:
            meter.closing(self, sock)
        sock.close()
        out = self._out
        protocol, self._protocol = self._protocol, _NOBODY
        # The bound methods hold socket, protocol and this object in a ring.
        self._data_received = self._get_buffer = self._buffer_updated = _forgotten
        self._handler = _forgotten
        if self._waiters:
            self._wake_waiters(error or ConnectionDone())
        if out:
            self._out = []
            self._size = 0
            for piece in out:
                if not isinstance(piece, (bytes, memoryview)):
                    piece.fail(error or ConnectionDone())
        owner, self._owner = self._owner, None
        try:
            protocol.connection_lost(error)
        except (KeyboardInterrupt, SystemExit):
            if owner is not None:
                owner.connection_gone(self)
            raise
        except BaseException as failure:
            self._reactor.report(failure, f"in {type(protocol).__qualname__}.connection_lost")
        if owner is not None:
            owner.connection_gone(self)


def _lent(get_buffer: Callable[[int], Any]) -> memoryview:
    """The buffer a protocol lends, as octets."""
    buffer = memoryview(get_buffer(-1)).cast("B")
    if not buffer:
        raise RuntimeError("get_buffer() returned an empty buffer")
    return buffer


def _fill(get_buffer: Callable[[int], Any], updated: Callable[[int], object], data: bytes) -> None:
    """Put octets that were received already into the buffers a protocol lends."""
    left = memoryview(data)
    while left:
        buffer = _lent(get_buffer)
        size = min(len(buffer), len(left))
        buffer[:size] = left[:size]
        left = left[size:]
        updated(size)


def _forgotten(data: object) -> Any:
    """What is left in the place of the bound methods when the connection has gone."""
