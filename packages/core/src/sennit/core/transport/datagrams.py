"""A transport for datagrams: what UDP and Unix datagram sockets share.

Reading: the poller's event receives a batch of datagrams, each handed to the
protocol as it comes. The batch grows while the kernel's queue is long and shrinks
to one when it is not, so that a lone datagram does not pay for finding out that
there is no second. At most 64 datagrams and 256 KiB are read in one turn.

Writing: a datagram is given to the kernel there and then. Only what the kernel
refuses is queued; while something waits, what follows waits behind it. Past the
hard limit of that queue datagrams are dropped, and counted: the network would do
the same, a program's memory must not grow instead.

Errors: a datagram socket serves many peers. So an ICMP error is told to
`error_received`, with the peer it is about (Linux keeps a queue of them per socket,
IP_RECVERR), and ends nothing; the same with an exception of the protocol, which is
logged. What the caller does wrong (a datagram too long, a name instead of an
address) is raised at the call.

Sources: RFC 768, RFC 1122 §4.1.3 (ICMP errors, and the address that was asked).
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from contextvars import Context
from functools import partial

from sennit.core._implements import implements
from sennit.core.address import DatagramPath, address_from_socket
from sennit.core.errors import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    DatagramError,
)
from sennit.core.reactor.pollers import ERROR, HANGUP, READ, WRITE
from sennit.core.transport.datagram_sending import (
    BROKEN,
    DROP_LIMIT,
    NO_MEMORY,
    WARN_EVERY,
    DatagramSending,
)
from sennit.core.transport.flow import HIGH_WATER, LOW_WATER
from sennit.core.transport.sending import CLOSING, GONE, OPEN, RETRY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Final
    from typing import Protocol as _Protocol

    from sennit.core.address import Address
    from sennit.core.interfaces import IDatagramProtocol
    from sennit.core.reactor.base import Reactor
    from sennit.core.reactor.calls import TimedCall

    class Owner(_Protocol):
        """Who counts the transport."""

        def connection_gone(self, transport: DatagramTransport) -> None: ...


__all__ = ["DROP_LIMIT", "MAX_DATAGRAM", "DatagramTransport"]

MAX_DATAGRAM: Final = 65535
"""Octets of the longest datagram that is received, unless asked otherwise; UDP has none longer."""
DATAGRAMS_PER_TURN: Final = 64
"""Datagrams read in one turn, so that nobody starves the others."""
MOST_DOUBT: Final = 64
"""Lone datagrams after which a second one is looked for, however often there was none."""
OCTETS_PER_TURN: Final = 256 * 1024
"""Octets read in one turn."""
_LONG: Final = OCTETS_PER_TURN // DATAGRAMS_PER_TURN
"""Octets of a datagram from which on octets are counted at all."""
ERRORS_PER_TURN: Final = 64
"""Errors of the network told in one turn."""
NOBODY: Final = object()
"""The known peer of a transport that knows none yet."""


class _Forgotten:
    """Who a transport delivers to once it has gone."""

    def connection_made(self, transport: object) -> None: ...
    def datagram_received(self, data: bytes, peer: object) -> None: ...
    def error_received(self, exc: object) -> None: ...
    def connection_lost(self, exc: object) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


_FORGOTTEN = _Forgotten()


@implements("IDatagramTransport")
class DatagramTransport(DatagramSending):
    """One datagram socket.

    Args:
        reactor: Who waits for its descriptor.
        sock: A non-blocking datagram socket, from now on this object's own.
        protocol: Who is delivered to.
        connected: Whether the socket was connected to one peer.
        max_size: Octets of the longest datagram to receive; longer ones are
            dropped, counted, and told to `error_received`.
        owner: Is told when the transport has gone.
        context: Where the protocol's methods are called; ``None`` for the empty one.
    """

    __slots__ = (
        "__weakref__",
        "_batch",
        "_close_reason",
        "_datagram_received",
        "_doubt",
        "_error",
        "_fd",
        "_handler",
        "_local",
        "_max_size",
        "_owner",
        "_patience",
        "_reading",
        "_receive",
        "_registered",
        "_room",
        "_unlink",
    )

    def __init__(
        self,
        reactor: Reactor,
        sock: socket.socket,
        protocol: IDatagramProtocol,
        *,
        connected: bool = False,
        max_size: int = MAX_DATAGRAM,
        owner: Owner | None = None,
        context: Context | None = None,
    ) -> None:
        super().__init__()
        self._high = HIGH_WATER
        self._low = LOW_WATER
        self._hard = DROP_LIMIT
        self._reactor = reactor
        self._sock = sock
        self._fd = sock.fileno()
        self._receive = sock.recvfrom
        self._send = sock.send
        self._sendto = sock.sendto
        self._connected = connected
        self._peer: object = sock.getpeername() if connected else None
        # Whom the last datagram came from: an address that needs no second look.
        self._known: object = None if connected else NOBODY
        self._local: Address | None = None
        self._max_size = max_size
        # One octet more than is taken, which shows that a datagram is longer.
        self._room = max_size + 1
        self._owner = owner
        self._context = context
        self._close_reason: str | None = None
        self._error: ConnectionLost | None = None
        self._out = deque()
        self._size = 0
        self._wants = 0
        self._registered = 0
        self._state = OPEN
        self._reading = True
        self._batch: int = 1
        self._doubt = 1
        self._patience = 0
        self._retry: TimedCall | None = None
        self._drops: dict[str, int] | None = None
        self._warned = -WARN_EVERY
        self._unlink: Callable[[], object] | None = None
        self._handler: Callable[[int], object]
        self._datagram_received: Callable[[bytes, Any], object]
        self.set_protocol(protocol)

    def start(self) -> None:
        """Tell the protocol that it may send, then begin to read.

        Raises:
            BaseException: `connection_made` did; the transport is aborted.
        """
        made = self._protocol.connection_made
        try:
            if self._context is None:
                made(self)
            else:
                self._context.run(made, self)
            if self._state == OPEN:
                self._join_reactor()
                self._watch(READ if self._reading else 0)
        except BaseException:
            self.abort("error")
            raise

    def _join_reactor(self) -> None:
        """Be told of its end, and be counted if somebody counts."""
        self._reactor.dependants.add(self)
        meter = self._reactor.meter
        if meter is not None:
            meter.datagrams_begin(self)

    def __repr__(self) -> str:
        """Class, ends and state."""
        ends = f"{self.local} - {self.peer}" if self._connected else f"{self.local}"
        return f"<{type(self).__name__} {ends} {self._close_reason or 'open'}>"

    def when_closed(self, fn: Callable[[], object]) -> None:
        """Call `fn` once the socket is closed (one function at most)."""
        self._unlink = fn

    # ── who it is between ─────────────────────────────────────────────────────

    @property
    def local(self) -> Address | None:
        """The address it is bound to; ``None`` once the socket is closed without being asked."""
        if self._state != GONE:
            try:
                self._local = address_from_socket(self._sock.getsockname())
            except OSError:
                pass
        return self._local

    @property
    def close_reason(self) -> str | None:
        """Why the transport ended or is ending; ``None`` while it is open."""
        return self._close_reason

    @property
    def drops(self) -> Mapping[str, int]:
        """Datagrams dropped so far, by reason.

        ``limit:write-buffer``: more wait to be sent than the hard limit allows.
        ``limit:datagram-size``: longer than `max_size` when received.
        """
        return dict(self._drops or {})

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """asyncio's questions: ``peername``, ``sockname``, ``socket``, ``reactor``."""
        if name == "peername":
            return self._peer if self._connected else default
        if name == "reactor":
            return self._reactor
        from sennit.core.transport.peek import socket_info

        return socket_info(self, name, default)

    # ── protocol ──────────────────────────────────────────────────────────────

    def get_protocol(self) -> IDatagramProtocol:
        """Who is delivered to."""
        return self._protocol

    def set_protocol(self, protocol: IDatagramProtocol) -> None:
        """Deliver to `protocol` from now on (its `connection_made` is the caller's affair)."""
        self._protocol = protocol
        on_path = getattr(protocol, "datagram_received_on_path", None)
        if on_path is None:
            self._datagram_received = protocol.datagram_received
        else:
            self._prepare_paths(on_path)
        handler = self._reader()
        if self._context is not None:
            # `run` takes a function and its arguments, which mypy wants at once.
            handler = partial(self._context.run, handler)  # type: ignore[call-arg]
        self._handler = handler
        if self._registered:
            self._reactor.handlers[self._fd] = handler

    def _prepare_paths(self, on_path: Callable[[bytes, DatagramPath], object]) -> None:
        """Deliver with both ends of the way; here this end is always the same."""
        local = address_from_socket(self._sock.getsockname())

        def deliver(data: bytes, peer: Any) -> None:
            on_path(data, DatagramPath(peer, local))

        self._datagram_received = deliver

    def _protocol_failed(self, error: BaseException, method: str) -> None:
        """A method of the protocol has raised: that is logged, and the others are served."""
        from sennit.core._faultlog import log_bug

        log_bug(type(self._protocol).__qualname__, self, method, error)

    def _tell_error(self, error: OSError) -> None:
        """Hand the protocol an error that ends nothing."""
        try:
            self._protocol.error_received(error)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as failure:
            self._protocol_failed(failure, "error_received")

    def _error_about(self, error: OSError, peer: object = None) -> OSError:
        """The house's form of an error of the system."""
        found = DatagramError(error.errno, error.strerror or str(error), peer=peer)
        found.__cause__ = error
        return found

    # ── reading ───────────────────────────────────────────────────────────────

    def _reader(self) -> Callable[[int], object]:
        """What receives for the protocol of now."""
        return self._on_event

    def _on_event(self, mask: int) -> None:
        """Receive a batch and deliver it; what is answered meanwhile leaves at once."""
        if mask != READ and not self._go_on_reading(mask):
            return
        if not self._reading:
            self._park()
            return
        # What a slot holds is loaded first and called then: called as a method of
        # `self` it would be looked for in the class each time.
        receive, deliver = self._receive, self._datagram_received
        room, connected = self._room, self._connected
        batch = self._batch
        if batch == 1:
            # The same for one, spared what is there for more than one.
            try:
                data, peer = receive(room)
            except BlockingIOError:
                return
            except (OSError, MemoryError) as error:
                self._receive_failed(error)
                return
            if self._patience:
                self._patience -= 1
            else:
                self._batch = 2
            if len(data) == room:
                self._too_long(peer)
                return
            if not connected:
                self._known = peer
            try:
                deliver(data, peer)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                self._protocol_failed(error, "datagram_received")
            return
        most = self._max_size
        long = min(most, _LONG)
        octets = 0
        for taken in range(batch):
            try:
                data, peer = receive(room)
            except BlockingIOError:
                self._batch = max(taken, 1)
                if batch == 2:
                    # There was no second one: look for it again, but ever less often.
                    self._doubt = self._patience = min(2 * self._doubt, MOST_DOUBT)
                return
            except (OSError, MemoryError) as error:
                if not self._receive_failed(error):
                    return
                continue
            if len(data) > long:
                octets += len(data)
                if len(data) > most:
                    self._too_long(peer)
                    if not self._reading:
                        return
                    continue
            if not connected:
                self._known = peer
            try:
                deliver(data, peer)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                self._protocol_failed(error, "datagram_received")
            if octets >= OCTETS_PER_TURN or not self._reading:
                return
        if batch < DATAGRAMS_PER_TURN:
            self._doubt = 1
            self._batch = batch * 2

    def _go_on_reading(self, mask: int) -> bool:
        """Deal with all but READ; whether there may be something to receive."""
        if mask & WRITE:
            self._on_writable()
        if self._state == GONE:
            return False
        if mask & (ERROR | HANGUP):
            if not self._take_errors():
                # Left alone it would be reported again and again.
                code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    self._tell_error(self._error_about(OSError(code, os.strerror(code))))
            return self._state != GONE and bool(mask & READ)
        return bool(mask & READ)

    def _receive_failed(self, error: OSError | MemoryError) -> bool:
        """What was to be received is an error; whether to go on."""
        if isinstance(error, MemoryError) or error.errno in NO_MEMORY:
            # Left to itself the poller would tell of the same datagram again and again.
            self._watch(self._wants & ~READ)
            self._reactor.call_later(RETRY, self._receive_again)
            return False
        if error.errno in BROKEN:
            self._broken(error)
            return False
        if not self._take_errors():
            self._tell_error(self._error_about(error, self._peer))
        return self._state != GONE and self._reading

    def _receive_again(self) -> None:
        if self._reading and not self._wants & READ:
            self._watch(self._wants | READ)

    def _take_errors(self) -> int:
        """Tell the protocol what the network has said of datagrams that were sent; how many."""
        return 0

    def _too_long(self, peer: object) -> None:
        """A datagram that was cut is worth nothing."""
        self._count_drop("limit:datagram-size")
        problem = f"a datagram longer than {self._max_size} octets was dropped"
        self._tell_error(DatagramError(errno.EMSGSIZE, problem, peer=peer))

    def pause_reading(self) -> None:
        """Leave datagrams in the kernel's queue, which drops what it has no room for."""
        self._reading = False

    def resume_reading(self) -> None:
        """Go on reading."""
        if not self._reading and self._state < CLOSING:
            self._reading = True
            if not self._wants & READ:
                self._watch(self._wants | READ)

    def is_reading(self) -> bool:
        """Whether datagrams would be delivered now."""
        return self._reading

    def _park(self) -> None:
        """Something came that nobody wants yet: wait for it no more."""
        # Some pollers call an error readable.
        if not self._take_errors():
            self._watch(self._wants & ~READ)

    def _watch(self, mask: int) -> None:
        self._wants = mask
        registered = self._registered
        if mask != registered:
            if not registered:
                self._reactor.watch(self._fd, mask, self._handler)
            elif mask:
                self._reactor.rewatch(self._fd, mask)
            else:
                self._reactor.unwatch(self._fd)
            self._registered = mask

    # ── the end ───────────────────────────────────────────────────────────────

    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called or the socket has gone."""
        return self._state >= CLOSING

    def close(self, reason: str = "clean") -> None:
        """Send what is queued, then close. No more is received."""
        if self._state >= CLOSING:
            return
        self._close_reason = reason
        self._state = CLOSING
        self._reading = False
        if not self._out:
            self._lose(None, reason)

    def abort(self, reason: str = "aborted") -> None:
        """Close now and throw away what is queued."""
        if self._state != GONE:
            self._lose(ConnectionAborted(f"aborted: {reason}", reason), reason)

    def reactor_stopped(self) -> None:
        """The reactor ends, and so does every transport that is left."""
        self.abort("drained")

    def _broken(self, error: OSError) -> None:
        """The descriptor is not ours any more: the one error that ends a transport."""
        lost = ConnectionLost(str(error), "error")
        lost.__cause__ = error
        self._lose(lost, "error")

    def _lose(self, error: ConnectionLost | None, reason: str) -> None:
        """The transport is over; the protocol learns it at the end of this turn."""
        if self._state == GONE:
            return
        if self._close_reason is None or error is not None:
            self._close_reason = reason
        _ = self.local  # asked for while it can be
        self._state = GONE
        self._reading = False
        self._pressing = True  # there will be no room any more (`writable`)
        self._wants = 0
        if self._registered:
            self._registered = 0
            self._reactor.unwatch(self._fd)
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._reactor.dependants.discard(self)
        self._error = error
        context = self._context
        self._reactor.ended(self.finish if context is None else partial(context.run, self.finish))

    def _why_gone(self) -> ConnectionLost | None:
        if self._state != GONE:
            return None
        return ConnectionLost("the transport is closed", self._close_reason or "lost")

    def finish(self) -> None:
        """The reactor's call at the end of the turn in which the transport was closed."""
        error, self._error = self._error, None
        meter = self._reactor.meter
        if meter is not None:
            meter.datagrams_end(self)
        self._sock.close()
        if self._unlink is not None:
            self._unlink()
            self._unlink = None
        protocol, self._protocol = self._protocol, _FORGOTTEN
        # The bound methods hold socket, protocol and this object in a ring.
        self._datagram_received = _FORGOTTEN.datagram_received
        self._handler = _FORGOTTEN.connection_made
        out, self._out = self._out, deque()
        self._size = 0
        for _, _, ancillary in out:
            self._discard(ancillary)
        if self._waiters:
            self._wake_waiters(error or ConnectionDone())
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
