"""Data connections of the server: who may open them, what passes over them.

`DataPort` is where a client may connect to after PASV or EPSV: it listens on the address by which
the client reached us, on a port of its own, and takes one connection, from that client's address;
others are closed and the waiting goes on (RFC 2577 §5). `connect_to_client` is the way of PORT and
EPRT. Either makes a `DataConnection`, which reads nothing before the transfer has begun, so that
what a client sends ahead waits in the kernel, where TLS, if there is any, will find it.

Receiving, octets are read into buffers that are lent to the transport: a small one first, then
large ones. `DataConnection.take` gives them when as many have come as one writing should have, or
the end; while they are written the next come, and if those are too many, reading pauses. Where
who writes can do so, it takes the next ones by itself (``draining.py``).

Sources: RFC 959 §3.2, §3.3; RFC 2428; RFC 2577 §3, §5; RFC 4217 §10 (TLS), §10.2 (resumption).
Elsewhere: what is sent and received (``transfers.py``).
"""

from __future__ import annotations

import errno
import os
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from sennit.core.deferred import Deferred
from sennit.core.errors import ConnectError, ConnectionLost, SennitError, TLSError
from sennit.core.policy.pacing import RateLimit
from sennit.core.transport.binding import tcp_sockets
from sennit.core.transport.listening import Listener
from sennit.ftp.draining import GATHERED, Drain
from sennit.ftp.errors import TransferError
from sennit.ftp.grammar import same_host
from sennit.ftp.ports import any_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sennit.core.interfaces import (
        IDelayedCall,
        IListener,
        IReactor,
        IStreamProtocol,
        IStreamTransport,
    )
    from sennit.core.policy.bucket import TokenBucket
    from sennit.core.transport.tls import ServerTLS

__all__ = ["DataConnection", "DataPort", "connect_to_client", "make_connection"]

FIRST_BUFFER: Final = 64 * 1024
"""Octets of the buffer that an upload begins with: most files fit, and it costs little."""
MOST_FIRST: Final = 16
"""Such buffers that wait for the next upload."""
BACKLOG: Final = 8
"""Connections that wait for a data port: the client's, and those of strangers."""
SOON: Final = 0.05
"""Seconds until the poller watches a data port to which nobody has connected."""
PER_READ: Final = 256 * 1024
"""Octets received at a time, so that nobody starves the loop."""


_FIRST: Final[list[memoryview[int]]] = []


class DataConnection:
    """One data connection, from the moment it stands.

    Args:
        window: Octets that are gathered for one writing.
        read: Buckets that what comes is paid from.
        write: Buckets that what goes is paid from.

    Attributes:
        received: Octets that came.
        closed: Whether the connection has gone.
        error: Why it broke, if it did.
        transport: What carries it.
    """

    # An IStreamTransport; what may be asked of it depends on its kind.
    transport: Any = None

    def __init__(
        self,
        window: int,
        read: Sequence[TokenBucket] = (),
        write: Sequence[TokenBucket] = (),
    ) -> None:
        self._window = window
        self._gathered = window
        self._paces = (read, write)
        self.received = 0
        self.closed = False
        self.error: Exception | None = None
        self._receiving = False
        self._protected = False
        self._ended = False  # all has come
        self._pieces: list[bytes | memoryview] = []
        self._size = 0
        self._paused = True
        self._taker: Deferred[None] | None = None
        self._over: Deferred[None] | None = None

    def worn(self) -> IStreamProtocol:
        """The protocol to connect: this one, in what keeps it to its rates."""
        read, write = self._paces
        return RateLimit(self, read=read, write=write) if read or write else self

    # ── what the transport calls ──────────────────────────────────────────────

    def connection_made(self, transport: IStreamTransport) -> None:
        """The connection stands; nothing is read before `receive`."""
        self.transport = transport
        if not self._receiving:
            transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Octets have come."""
        self.received += len(data)
        if self._receiving:
            self._pieces.append(data)
            self._came(len(data))

    def eof_received(self) -> bool:
        """All has come: over TLS its end was announced, in clear it is the end of the stream."""
        self._ended = True
        self._wake()
        # Whoever sends is not disturbed by a client that has closed its own way out.
        return not self._receiving

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has gone."""
        self.closed = True
        if exc is not None and self.error is None:
            self.error = exc
        self._wake()
        over, self._over = self._over, None
        if over is not None and not over.fired:
            over.callback(None)

    def pause_writing(self) -> None:
        """`transport.writable` tells."""

    def resume_writing(self) -> None:
        """Likewise."""

    # ── TLS ───────────────────────────────────────────────────────────────────

    async def start_tls(self, tls: ServerTLS, timeout: float, *, must_resume: bool) -> None:
        """Protect the connection before anything passes over it.

        Raises:
            TransferError: The handshake failed, or it was not the client's own session.
        """
        self._protected = True
        try:
            self.transport = transport = await self.transport.start_tls(
                tls, server_side=True, handshake_timeout=timeout
            )
        except (TLSError, ConnectionLost) as error:
            raise TransferError(f"no TLS on the data connection: {error}") from error
        if must_resume and not transport.session_reused:
            self.abort("error")
            # Of which other session it is, or of none, cannot be told: the library takes no
            # more notice of one that is not this client's.
            raise TransferError(
                "the data connection does not resume the TLS session of its control connection; "
                "use one connection at a time, or have resume_tls = false said at the server"
            )
        if not self._receiving:
            transport.pause_reading()

    # ── receiving ─────────────────────────────────────────────────────────────

    def receive(self) -> None:
        """Begin to read; may be said before the connection stands."""
        if self._receiving:
            return
        self._receiving = True
        if self.closed:
            return
        self._paused = False
        if self.transport is not None:
            self.transport.resume_reading()

    def _came(self, size: int) -> None:
        self._size += size
        if self._size >= self._gathered:
            self._wake()
            if self._size >= 2 * self._window and not self._paused:
                self._paused = True
                self.transport.pause_reading()

    def _wake(self) -> None:
        taker, self._taker = self._taker, None
        if taker is not None and not taker.fired:
            taker.callback(None)

    async def take(self) -> list[bytes | memoryview]:
        """The next octets for one writing; none at the end.

        Raises:
            TransferError: The connection broke before its end.
        """
        while self._size < self._gathered and not self._ended and not self.closed:
            self._taker = Deferred()
            await self._taker
        if not self._ended and self.closed:
            raise TransferError(f"the data connection broke: {self.error}") from self.error
        self._cut()
        pieces, self._pieces = self._pieces, []
        self._size = 0
        if self._paused and not self.closed:
            self._paused = False
            self.transport.resume_reading()
        return pieces

    def rest(self) -> list[bytes | memoryview]:
        """What came before the connection broke, for files that grow where they are."""
        self._cut()
        pieces, self._pieces = self._pieces, []
        return pieces

    def give_back(self, pieces: Sequence[bytes | memoryview]) -> None:
        """What `take` gave is written, and will not be looked at again."""

    def drain(self) -> Drain | None:
        """Have a thread take what comes, behind what `take` gave, until the drain's end.

        Nothing is read meanwhile. ``None`` where that cannot be, or nothing more comes.
        """
        return None

    def drained(self, octets: int, error: OSError | None) -> None:
        """The drain has ended: go on reading, if the connection is whole."""

    def _cut(self) -> None:
        """In the lent buffer, part what came from what is to come."""

    # ── sending ───────────────────────────────────────────────────────────────

    async def finish(self) -> None:
        """Close, and wait until all that was written has left.

        Raises:
            TransferError: The connection broke first.
        """
        if self._ended and self._receiving:
            return  # it closes by itself
        transport = self.transport
        if not self.closed:
            waits = transport.get_write_buffer_size()
            transport.close()
            if not waits:
                # All is in the kernel's hands: what is left is to close the socket.
                self.closed = True
                return
        if not self.closed:
            self._over = Deferred()
            await self._over
        if self.error is not None:
            raise TransferError(f"the data connection broke: {self.error}") from self.error

    def abort(self, reason: str = "aborted") -> None:
        """Close now; harmless when that was done."""
        if not self.closed:
            self.transport.abort(reason)

    def mark(self) -> object:
        """A value that changes while the transfer makes progress."""
        output_mark = getattr(self.transport, "output_mark", None)
        return self.received, None if output_mark is None else output_mark()


class _Lending(DataConnection):
    """The same, lending its buffers: no octet is copied between kernel and writing.

    They are used again: large ones by the same upload, first ones by the next one of anybody.
    New ones have to be filled with zeros first, in memory that the kernel has filled with zeros
    before: a tenth of what a large upload costs, and all that the processor's first cache holds.
    """

    def __init__(
        self,
        window: int,
        read: Sequence[TokenBucket] = (),
        write: Sequence[TokenBucket] = (),
    ) -> None:
        super().__init__(window, read, write)
        self._buffer: memoryview[int] = memoryview(b"")
        self._filled = 0  # octets of the buffer that have been given away or wait
        self._begun = 0  # where those begin that wait
        self._full: deque[tuple[int, memoryview[int]]] = deque()  # and behind which octet each ends
        self._spare: list[memoryview[int]] = []
        self._came_in_all = 0
        self._given_back = 0

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next octets go."""
        if self._filled == len(self._buffer):
            self._cut()
            if len(self._buffer) == self._window:
                self._full.append((self._came_in_all, self._buffer))
            if self._spare:
                self._buffer = self._spare.pop()
            elif len(self._buffer):
                self._buffer = memoryview(bytearray(self._window))
            else:
                self._buffer = _first_buffer(min(FIRST_BUFFER, self._window))
            self._filled = self._begun = 0
        return self._buffer[self._filled : self._filled + PER_READ]

    def buffer_updated(self, nbytes: int) -> bool:
        """Octets have come; whether it pays to look at once for more.

        It does behind the first, which mostly are all: the end stands behind them.
        """
        self.received += nbytes
        if self._receiving:
            self._filled += nbytes
            self._came_in_all += nbytes
            self._came(nbytes)
        return self._came_in_all == nbytes

    def _cut(self) -> None:
        if self._filled > self._begun:
            self._pieces.append(self._buffer[self._begun : self._filled])
            self._begun = self._filled

    def give_back(self, pieces: Sequence[bytes | memoryview]) -> None:
        self._given_back += sum(map(len, pieces))
        full = self._full
        while full and full[0][0] <= self._given_back:
            self._spare.append(full.popleft()[1])
        if self._ended and self._given_back == self._came_in_all and len(self._buffer):
            buffer, self._buffer = self._buffer, memoryview(b"")
            self._filled = self._begun = 0
            if len(buffer) == FIRST_BUFFER and len(_FIRST) < MOST_FIRST:
                _FIRST.append(buffer)

    def drain(self) -> Drain | None:
        # PROT P may have come between EPSV and STOR: then records are what the socket has.
        if self._ended or self.closed or self._size or self._protected:
            return None
        sock = self.transport.get_extra_info("socket")
        if sock is None or not hasattr(os, "readv"):
            return None  # a network in memory
        try:
            descriptor = os.dup(sock.fileno())
        except OSError:
            return None  # there are no more
        self._paused = True
        self.transport.pause_reading()
        reactor: Any = self.transport.get_extra_info("reactor")
        return Drain(self, descriptor, None if reactor is None else reactor.thread_pool)

    def drained(self, octets: int, error: OSError | None) -> None:
        # Each visit of a thread costs as much as 256 KiB; a client that is as fast as the disk
        # has more when it comes, of another enough has to be gathered.
        fast = octets >= self._window
        self._gathered = min(GATHERED, self._window) if fast else self._window
        if self.closed:
            return
        if error is not None:
            # Told once: whoever asked again would take it for the stream's end.
            self.error = error
            self.abort("reset")
            return
        self._paused = False
        self.transport.resume_reading()


def _first_buffer(size: int) -> memoryview:
    """One that waits, or a new one: reactors in other threads may take them as well."""
    if size == FIRST_BUFFER:
        try:
            return _FIRST.pop()
        except IndexError:
            pass
    return memoryview(bytearray(size))


def make_connection(
    window: int,
    read: Sequence[TokenBucket],
    write: Sequence[TokenBucket],
    *,
    plain: bool,
) -> DataConnection:
    """The kind that is best: over TLS the octets come as pieces, whoever lends buffers."""
    kind = _Lending if plain and not read and not write else DataConnection
    return kind(window, read, write)


# ── passive ───────────────────────────────────────────────────────────────────


class DataPort:
    """Where the client may connect to, once.

    Most clients have connected before they say what they want: only a client that takes its time
    has the poller watch for it, and for strangers who would fill the queue before it.

    Args:
        reactor: Listens, and measures time.
        peer: The client's address; connections from others are closed.
        make: Makes the connection's protocol when the client has come.

    Attributes:
        receive: Whether to begin to read as soon as the client has come.
    """

    def __init__(self, reactor: IReactor, peer: str, make: Callable[[], DataConnection]) -> None:
        self._reactor = reactor
        self._peer = peer
        self._make = make
        self._listener: IListener | None = None
        self._connection: DataConnection | None = None
        self._waiter: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        self.receive = False

    def listen(self, host: str, ports: Iterable[int] | None = None) -> int:
        """Listen on one of these ports; on any that is free when left out.

        The socket is always this process's own: a supervisor has none for it.

        Raises:
            OSError: None of them is free.
        """
        reactor: Any = self._reactor
        if ports is None:
            ports = any_port() if reactor.network is None else (0,)
        trying = iter(ports)
        last = OSError("no port")
        for port in trying:
            try:
                self._listener = listener = self._listen(host, port, trying)
            except OSError as error:
                last = error
            else:
                return listener.port
        raise last

    def _listen(self, host: str, port: int, others: Iterable[int]) -> IListener:
        reactor: Any = self._reactor
        if reactor.network is None:
            sockets = tcp_sockets(host, port, others=others, backlog=BACKLOG)
            listening = Listener(reactor, sockets, self, reserve=False, paused=True)
            self._timer = reactor.call_later(SOON, listening.resume_accepting)
            return listening
        # A network in memory, which listens at once, too.
        outcome: list[Any] = []
        reactor.listen_tcp(self, port, host).add_callbacks(outcome.append, outcome.append)
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        listener: IListener = outcome[0]
        return listener

    def build_protocol(self, peer: Any) -> IStreamProtocol | None:
        """A connection has come (called by the listener)."""
        if self._connection is not None or not same_host(str(peer[0]), self._peer):
            return None
        self._connection = connection = self._make()
        if self.receive:
            connection.receive()
        self._stop_listening()
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.fired:
            # Once its transport is there.
            self._reactor.call_soon(_come, waiter)
        return connection.worn()

    async def connection(self, timeout: float) -> DataConnection:
        """The client's connection, once it has come; from then on the caller's.

        Raises:
            TransferError: It did not come in time.
        """
        if not self.came():
            if self._listener is not None:
                self._listener.resume_accepting()
            waiter: Deferred[None] = Deferred()
            self._waiter = waiter
            timer = self._reactor.call_later(timeout, _give_up, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
        connection, self._connection = self._connection, None
        assert connection is not None
        return connection

    def came(self) -> bool:
        """Whether the client has connected: most do before they say what they want."""
        if self._connection is None and isinstance(self._listener, Listener):
            self._listener.accept_now(paused=True)
        return self._connection is not None

    def _stop_listening(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def close(self) -> None:
        """Nobody may connect any more; who has, and is not wanted, is cut off."""
        self._stop_listening()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()


def _come(waiter: Deferred[None]) -> None:
    if not waiter.fired:
        waiter.callback(None)


def _give_up(waiter: Deferred[None]) -> None:
    if not waiter.fired:
        waiter.errback(TransferError("the client did not connect"))


# ── active ────────────────────────────────────────────────────────────────────


async def connect_to_client(
    reactor: IReactor,
    connection: DataConnection,
    target: tuple[str, int],
    local: tuple[str, int] | None,
    timeout: float,
) -> None:
    """Connect to where a client listens (PORT, EPRT).

    From the port below the control connection's, as RFC 959 §3.2 has it; where that is not to
    be had, from any.

    Args:
        reactor: Connects.
        connection: What is to stand there.
        target: The client's host and port.
        local: Host and port of the control connection's end here.
        timeout: Seconds.

    Raises:
        TransferError: The client cannot be reached.
    """
    ways: list[tuple[str, int] | None] = [None]
    if local is not None:
        ways = [(local[0], 0)]
        if local[1] > 1:
            ways.insert(0, (local[0], local[1] - 1))
    failure: Exception | None = None
    for way in ways:
        try:
            await reactor.connect_tcp(
                connection.worn, target[0], target[1], timeout=timeout, local_address=way
            )
            return
        except (ConnectError, OSError, SennitError) as error:
            failure = error
            if way is None or way[1] == 0 or not _is_ours(error):
                break
    raise TransferError(f"the client cannot be connected to: {failure}") from failure


def _is_ours(error: BaseException | None) -> bool:
    """Whether it was the port on this side that could not be had."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.EACCES, errno.EADDRINUSE, errno.EPERM):
            return True
        error = error.__cause__
    return False
