"""`Stream`: a connection as something to read from and write to, for coroutines.

Octets come from the transport into a bounded buffer (`StreamProtocol`), which
pauses reading when it is full, and leave it by `receive_some`, `read_exactly`,
`read_until` …, whichever suits. Writing waits for room (`send_all`). It runs over
any stream transport: TCP, Unix, TLS, memory.

A server of coroutines is ``serve(url, stream_handler(handle))``: each connection
owns one Task of ``async handle(stream)``, which is cancelled when the connection
goes, and whose end closes it. A client is ``await open_stream(url)``.

Reading is linear in the octets that come, however finely they are cut: a search
goes on where it stopped, and octets are taken from the buffer's front without
moving the rest.

Not here: copying from one thing to another (``_pump.py``, offered here as
`pump`), fan-out (``broadcast.py``, offered here as `Broadcast`).
"""

from __future__ import annotations

from sennit.core._pump import pump
from sennit.core._waiting import is_cancellation
from sennit.core.broadcast import Broadcast
from sennit.core.deferred import Deferred, succeed
from sennit.core.errors import (
    ConnectionDone,
    ConnectionLost,
    EndOfStreamError,
    ProtocolError,
    UsageError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
    from types import TracebackType
    from typing import IO, Any, Final, Self, TypeAlias

    from sennit.core.address import Address
    from sennit.core.interfaces import Buffer, IStreamTransport

    Handler: TypeAlias = Callable[["Stream"], Coroutine[Any, Any, object]]

__all__ = [
    "CLOSE_TIMEOUT",
    "MAX_LINE",
    "RECEIVE_BUFFER",
    "Broadcast",
    "Stream",
    "StreamProtocol",
    "pump",
    "stream_handler",
]

RECEIVE_BUFFER: Final = 64 * 1024
"""Octets that wait to be read, past which the transport is paused (plus one read of its)."""
MAX_LINE: Final = 16_384
"""Octets of one line, or of what `read_until` looks through, unless said otherwise."""
SEND_SIZE: Final = 64 * 1024
"""Octets that `send_all` hands over at a time."""
CLOSE_TIMEOUT: Final = 30.0
"""Seconds that `Stream.aclose` gives the peer to read what was sent."""


class StreamProtocol:
    """The protocol under a `Stream`: a bounded buffer, and who waits for it to fill.

    Args:
        handler: ``async handler(stream)``, begun when the connection stands and
            owned by it; ``None`` where somebody else holds the stream.
        receive_buffer: Octets that may wait to be read.

    Attributes:
        size: Octets that wait to be read.
        eof: Whether the peer has sent its last octet.
        gone: Whether the connection has gone.
    """

    __slots__ = (
        "__weakref__",
        "_bound",
        "_buffer",
        "_chunk",
        "_closed",
        "_draining",
        "_error",
        "_handler",
        "_limit",
        "_need",
        "_paused",
        "_stream",
        "_task",
        "_waiter",
        "eof",
        "gone",
        "size",
        "transport",
    )

    transport: IStreamTransport

    def __init__(
        self, handler: Handler | None = None, *, receive_buffer: int = RECEIVE_BUFFER
    ) -> None:
        if receive_buffer < 1:
            raise ValueError("a buffer without room would never be read")
        self._handler = handler
        self._limit = self._bound = receive_buffer
        self._buffer = bytearray()
        # While the buffer is empty a piece that comes is kept as it is: most are taken whole.
        self._chunk = b""
        self._need = 0
        self._waiter: Deferred[None] | None = None
        self._paused = False
        self._draining = False
        self._error: Exception | None = None
        self._closed: list[Deferred[None]] = []
        self._task: Deferred[Any] | None = None
        self._stream: Stream | None = None
        self.size = 0
        self.eof = False
        self.gone = False

    @property
    def stream(self) -> Stream:
        """What reads from it (from `connection_made` on)."""
        return self._stream or Stream._of(self)

    # ── what the transport calls ──────────────────────────────────────────────

    def connection_made(self, transport: IStreamTransport) -> None:
        """The connection stands: begin the handler."""
        self.transport = transport
        self._stream = Stream._of(self)
        if self._handler is not None:
            handler, self._handler = self._handler, None
            self._task = Deferred.from_coroutine(handler(self.stream))
            self._task.add_callbacks(self._handled, self._handler_failed)

    def data_received(self, data: bytes) -> None:
        """Octets have come: keep them, and wake who waits for so many."""
        if self._buffer:
            self._buffer += data
        elif self._chunk:
            self._buffer += self._chunk
            self._buffer += data
            self._chunk = b""
        else:
            self._chunk = data
        self.size = size = self.size + len(data)
        if self._waiter is not None and size >= self._need:
            self._wake()
        if self.size >= self._bound and not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        """The peer sends no more; the way out stays open until the stream is closed."""
        self.eof = True
        self._wake()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has gone: who waits learns it, the handler is cancelled."""
        self.gone = True
        self._error = exc
        self._stream = None  # which holds this object, and who reads on holds it
        self._wake()
        closed, self._closed = self._closed, []
        for waiter in closed:
            waiter.callback(None)
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        """The transport counts; `Stream.send_all` asks it."""

    def resume_writing(self) -> None:
        """Likewise."""

    def drain(self) -> None:
        """The server closes: the handler sees the end of the stream once it has read the rest."""
        if self._task is None:
            self.transport.close("drained")
            return
        self.transport.pause_reading()
        self._draining = True
        self.eof = True
        self._wake()

    # ── the handler ───────────────────────────────────────────────────────────

    def _handled(self, value: object) -> None:
        self._task = None
        self.transport.close("drained" if self._draining else "clean")

    def _handler_failed(self, error: BaseException) -> None:
        self._task = None
        if self.gone:
            if isinstance(error, ConnectionLost) or is_cancellation(error):
                return  # that is how it learned that the connection has gone
        elif is_cancellation(error):
            self.transport.abort()
            return
        elif isinstance(error, EndOfStreamError):
            self.transport.abort("error")
            return
        elif isinstance(error, ConnectionLost) and self.transport.is_closing():
            return  # likewise, from a write in the very turn: `connection_lost` is on its way
        if isinstance(error, ProtocolError):
            # The peer's fault, and news to the operator at most.
            import logging

            logging.getLogger("sennit").info("%s broke a rule: %s", self.transport.peer, error)
            self.transport.close("error")
            return
        reactor = self.transport.get_extra_info("reactor")
        where = f"in the handler of {self.transport!r}"
        if hasattr(reactor, "report"):
            reactor.report(error, where)
        else:
            from sennit.core.reactor.lifecycle import log_error

            log_error(error, where)
        self.transport.abort("error")

    # ── what the stream calls ─────────────────────────────────────────────────

    def find(self, separator: bytes, start: int) -> int:
        """Where `separator` stands in what waits, -1 when it does not."""
        return (self._buffer or self._chunk).find(separator, start)

    def take(self, most: int) -> bytes:
        """The next octets, `most` at most."""
        if self._chunk:
            if most >= len(self._chunk):
                data, self._chunk = self._chunk, b""
                self._taken(len(data))
                return data
            self._buffer += self._chunk
            self._chunk = b""
        if most >= len(self._buffer):
            data = bytes(self._buffer)
            self._buffer.clear()
        else:
            with memoryview(self._buffer) as view:
                data = bytes(view[:most])
            del self._buffer[:most]
        self._taken(len(data))
        return data

    def _taken(self, size: int) -> None:
        self.size -= size
        if self._paused and self.size <= self._limit // 2 and not self.eof and not self.gone:
            self._paused = False
            self.transport.resume_reading()

    async def fill(self, need: int) -> None:
        """Wait until `need` octets are there, or will never be.

        Raises:
            UsageError: Somebody else is waiting.
        """
        if self._waiter is not None:
            raise UsageError("two coroutines read from one stream at the same time")
        if self.size >= need or self.eof or self.gone:
            return
        self._need = need
        self._bound = max(self._limit, need)
        if self._paused:
            self._paused = False
            self.transport.resume_reading()
        self._waiter = waiter = Deferred[None]()
        try:
            await waiter
        finally:
            self._waiter = None
            self._bound = self._limit

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.fired:
            waiter.callback(None)

    def check(self) -> None:
        """Raise what the connection was lost by.

        Raises:
            ConnectionLost: It has gone.
        """
        if self.gone:
            reason = self.transport.close_reason or "clean"
            if self._error is None:
                raise ConnectionDone(reason=reason)
            lost = ConnectionLost(str(self._error), reason)
            lost.__cause__ = self._error
            raise lost

    def wait_closed(self) -> Deferred[None]:
        """Fires when the connection has gone."""
        if self.gone:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._closed.remove)
        self._closed.append(waiter)
        return waiter

    def take_over(self, transport: IStreamTransport) -> None:
        """Be the protocol of a transport that stands already."""
        transport.set_protocol(self)
        self.transport = transport


class Stream:
    """One connection, read and written by coroutines.

    One coroutine reads and one writes at a time; they may be two. As a context
    manager it is closed at the end of the block, and aborted if that raised.

    Args:
        transport: A transport that stands; its protocol is replaced. (Servers
            use `stream_handler`, clients `sennit.core.open_stream`.)
        receive_buffer: Octets that may wait to be read.
    """

    __slots__ = ("__weakref__", "_protocol")

    def __init__(
        self, transport: IStreamTransport, *, receive_buffer: int = RECEIVE_BUFFER
    ) -> None:
        self._protocol = StreamProtocol(receive_buffer=receive_buffer)
        self._protocol._stream = self
        self._protocol.take_over(transport)

    @classmethod
    def _of(cls, protocol: StreamProtocol) -> Self:
        stream = cls.__new__(cls)
        stream._protocol = protocol
        return stream

    def __repr__(self) -> str:
        """What it runs over."""
        return f"<{type(self).__name__} over {self.transport!r}>"

    @property
    def transport(self) -> IStreamTransport:
        """What it runs over; after `start_tls` the TLS transport."""
        return self._protocol.transport

    @property
    def local(self) -> Address | None:
        """This end's address."""
        return self.transport.local

    @property
    def peer(self) -> Address | None:
        """The other end's address."""
        return self.transport.peer

    @property
    def close_reason(self) -> str | None:
        """Why the connection ended or is ending; ``None`` while it is open."""
        return self.transport.close_reason

    # ── reading ───────────────────────────────────────────────────────────────

    async def receive_some(self, max_octets: int = 65536) -> bytes:
        """Wait for octets.

        Args:
            max_octets: How many at most, from 1 on.

        Returns:
            What there is, one octet at least; empty when the peer has ended.

        Raises:
            ConnectionLost: The connection broke, or was closed by this side.
            ValueError: `max_octets` is less than 1.
        """
        if max_octets < 1:
            raise ValueError(f"cannot receive {max_octets} octets")
        protocol = self._protocol
        if not protocol.size:
            await protocol.fill(1)
            if not protocol.size:
                if protocol.eof:
                    return b""
                protocol.check()
        return protocol.take(max_octets)

    async def read_exactly(self, octets: int) -> bytes:
        """Wait for so many octets, and return them.

        The receive buffer grows to that size if need be: check a number that
        the peer has sent before it comes here.

        Raises:
            EndOfStreamError: The peer ended first; `partial` is what came.
            ConnectionLost: The connection broke first.
            ValueError: `octets` is negative.
        """
        if octets < 0:
            raise ValueError(f"cannot read {octets} octets")
        protocol = self._protocol
        if protocol.size < octets:
            await protocol.fill(octets)
            if protocol.size < octets:
                self._ended(f"{octets} octets")
        return protocol.take(octets) if octets else b""

    async def read_until(self, separator: bytes, limit: int = MAX_LINE) -> bytes:
        """Wait for a separator; return the octets before it.

        Args:
            separator: Octets that end what is read; they are taken from the
                stream and not returned.
            limit: Octets before the separator at most.

        Raises:
            ProtocolError: No separator within `limit` octets. They are still there.
            EndOfStreamError: The peer ended first; `partial` is what came.
            ConnectionLost: The connection broke first.
            ValueError: `separator` is empty.
        """
        if not separator:
            raise ValueError("an empty separator separates nothing")
        protocol = self._protocol
        searched = 0
        while True:
            at = protocol.find(separator, searched)
            if at > limit or (at < 0 and protocol.size >= limit + len(separator)):
                raise ProtocolError(f"no {separator!r} within {limit} octets", "limit:line")
            if at >= 0:
                data = protocol.take(at) if at else b""
                protocol.take(len(separator))
                return data
            searched = max(0, protocol.size - len(separator) + 1)
            need = protocol.size + 1
            await protocol.fill(need)
            if protocol.size < need:
                self._ended(repr(separator))

    async def read_line(self, limit: int = MAX_LINE, *, end: bytes | None = None) -> bytes:
        r"""Wait for a line; return it without its end.

        Args:
            limit: Octets of the line at most, its end not counted.
            end: What ends a line, such as ``b"\r\n"``; when left out, a line
                feed, and a carriage return before it is taken off.

        Raises:
            ProtocolError: The line is longer.
            EndOfStreamError: The peer ended before the line did; `partial` is
                empty when it had not begun.
            ConnectionLost: The connection broke first.
        """
        if end is not None:
            return await self.read_until(end, limit)
        line = await self.read_until(b"\n", limit + 1)
        line = line.removesuffix(b"\r")
        if len(line) > limit:
            raise ProtocolError(f"no line end within {limit} octets", "limit:line")
        return line

    async def lines(
        self, limit: int = MAX_LINE, *, end: bytes | None = None
    ) -> AsyncIterator[bytes]:
        """The lines up to the end of the stream (see `read_line`); one left open is an error."""
        while True:
            try:
                line = await self.read_line(limit, end=end)
            except EndOfStreamError as error:
                if error.partial:
                    raise
                return
            yield line

    def _ended(self, awaited: str) -> None:
        """Say that what was awaited will not come."""
        protocol = self._protocol
        if not protocol.eof:
            protocol.check()
        partial = protocol.take(protocol.size) if protocol.size else b""
        raise EndOfStreamError(
            f"the stream ended after {len(partial)} octets, before {awaited}", partial
        )

    def __aiter__(self) -> Self:
        """Octets as they come, up to the end of the stream."""
        return self

    async def __anext__(self) -> bytes:
        """The next octets."""
        data = await self.receive_some()
        if not data:
            raise StopAsyncIteration
        return data

    # ── writing ───────────────────────────────────────────────────────────────

    async def send_all(self, data: Buffer) -> None:
        """Send octets; wait for room before and after.

        Raises:
            ConnectionLost: The connection is closed or has broken.
        """
        transport = self._check_open()
        size = len(data) if type(data) is bytes else memoryview(data).nbytes
        if size <= SEND_SIZE:
            await transport.writable()
            transport.write(data)
            await transport.writable()
            return
        with memoryview(data) as whole, whole.cast("B") as view:
            for at in range(0, size, SEND_SIZE):
                await transport.writable()
                transport = self._check_open()
                transport.write(view[at : at + SEND_SIZE].tobytes())
        await transport.writable()

    async def send_pieces(self, pieces: Iterable[Buffer]) -> None:
        """`send_all` of several pieces, which leave together."""
        transport = self._check_open()
        await transport.writable()
        transport.writelines(pieces)
        await transport.writable()

    async def send_file(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> int:
        """Send a piece of a file, by the kernel where that works; the octets sent.

        Raises:
            ConnectionLost: The connection is closed or has broken.
        """
        return await self._check_open().sendfile(file, offset, count)

    async def send_eof(self) -> None:
        """Say that nothing more will be sent; reading goes on."""
        self._check_open().write_eof()

    def _check_open(self) -> IStreamTransport:
        protocol = self._protocol
        protocol.check()
        transport = protocol.transport
        if transport.is_closing():
            reason = transport.close_reason or "clean"
            raise ConnectionDone(f"the connection is closing ({reason})", reason)
        return transport

    # ── TLS ───────────────────────────────────────────────────────────────────

    async def start_tls(
        self,
        context: Any,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        handshake_timeout: float = 10.0,
    ) -> None:
        """Talk TLS from here on.

        Octets that came in clear and were not read are a forgery or a mistake:
        the connection is aborted.

        Args:
            context: A `ServerTLS` or `ClientTLS`.
            server_side: Whether this end is the server.
            server_hostname: The name a client expects to talk to.
            handshake_timeout: Seconds for the handshake in total.

        Raises:
            ProtocolError: Octets in clear were left over.
            TLSError: The handshake failed; the connection has gone.
            ConnectionLost: The connection broke.
        """
        protocol = self._protocol
        transport = self._check_open()
        if protocol.size:
            transport.abort("error")
            raise ProtocolError("octets in clear follow the start of TLS", "limit:starttls")
        protocol.transport = await transport.start_tls(
            context,
            server_side=server_side,
            server_hostname=server_hostname,
            handshake_timeout=handshake_timeout,
        )

    # ── the end ───────────────────────────────────────────────────────────────

    async def aclose(self, *, timeout: float = CLOSE_TIMEOUT) -> None:
        """Send what is left, close, and wait until the connection has gone.

        Args:
            timeout: Seconds after which it is aborted, as it is when this
                coroutine is cancelled.
        """
        protocol = self._protocol
        if protocol.gone:
            return
        transport = protocol.transport
        transport.close()
        reactor = transport.get_extra_info("reactor")
        if reactor is None:
            from sennit.core.reactor.base import current_reactor

            reactor = current_reactor()
        timer = reactor.call_later(timeout, transport.abort, "timeout")
        try:
            await protocol.wait_closed()
        except BaseException:
            transport.abort()
            raise
        finally:
            timer.cancel()

    def close(self) -> None:
        """Send what is left and close, without waiting for it."""
        self.transport.close()

    def abort(self, reason: str = "aborted") -> None:
        """Close now, throw away what was not sent."""
        self.transport.abort(reason)

    def wait_closed(self) -> Deferred[None]:
        """Fires when the connection has gone, whoever ended it."""
        return self._protocol.wait_closed()

    async def __aenter__(self) -> Self:
        """The stream, closed at the end of the block."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """`aclose`, or `abort` when the block raised."""
        if error is None:
            await self.aclose()
        else:
            self.abort()


class _StreamFactory:
    """Makes the protocols of `stream_handler`."""

    __slots__ = ("_handler", "_receive_buffer")

    def __init__(self, handler: Handler, receive_buffer: int) -> None:
        self._handler = handler
        self._receive_buffer = receive_buffer

    def build_protocol(self, peer: Address | None) -> StreamProtocol:
        return StreamProtocol(self._handler, receive_buffer=self._receive_buffer)

    def __repr__(self) -> str:
        return f"stream_handler({getattr(self._handler, '__qualname__', self._handler)!s})"


def stream_handler(handler: Handler, *, receive_buffer: int = RECEIVE_BUFFER) -> _StreamFactory:
    """A factory whose connections are each handled by a coroutine.

    The connection owns the handler: it is cancelled when the connection goes,
    and the connection is closed when it returns. What it raises is logged once
    and ends its connection only; a `ProtocolError` is the peer's fault, and one
    line at level INFO. When the server drains, the handler sees the end of the
    stream after the octets that had come.

    Args:
        handler: ``async handler(stream)``.
        receive_buffer: Octets of each connection that may wait to be read.

    Returns:
        An `IProtocolFactory`, for `sennit.core.serve`.
    """
    return _StreamFactory(handler, receive_buffer)
