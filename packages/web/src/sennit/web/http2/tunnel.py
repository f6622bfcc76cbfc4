"""One stream of an HTTP/2 connection as a transport: for WebSocket, and for what CONNECT joins.

A protocol that was written for a connection of its own runs on it unchanged: it
writes octets that become DATA frames, and is paused when their window, or the
connection, is full. What it closes is the stream; the connection goes on.

Sources: RFC 8441 §5; RFC 9113 §8.5. Not here: who answers the CONNECT (``server.py``),
or sends it (``client.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sennit.core._implements import implements
from sennit.core.deferred import Deferred, fail, succeed
from sennit.core.engine import FilePart
from sennit.core.errors import ConnectionDone, ConnectionLost, UsageError
from sennit.core.transport.flow import FlowControl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import IO, Protocol

    from sennit.core.address import Address
    from sennit.core.interfaces import Buffer, IStreamProtocol, IStreamTransport

    class Sender(Protocol):
        """What is asked of the engine of either side."""

        def is_open(self, exchange: int) -> bool: ...
        def send_body(self, exchange: int, data: Buffer | FilePart) -> None: ...
        def end_body(self, exchange: int) -> None: ...
        def end_tunnel(self, exchange: int) -> None: ...
        def reset(self, exchange: int) -> None: ...
        def waiting(self, exchange: int) -> int: ...
        def may_send(self, exchange: int) -> bool: ...
        @property
        def roomy(self) -> list[int]: ...


__all__ = ["Carrying", "StreamTransport"]


class Carrying:
    """What a connection of either side does for the streams that it carries."""

    transport: IStreamTransport
    _rooms: dict[int, list[Deferred[None]]]
    """Who waits for room, by stream."""

    def _sender(self) -> Sender:
        raise TypeError("each side has its own engine")  # pragma: no cover

    def _flush_soon(self) -> None:
        """Let leave what was queued, with what else is queued in this turn of the loop."""
        raise TypeError("each side sends in its own way")  # pragma: no cover

    def call_soon(self, fn: Callable[[], object]) -> object:
        """Call it in the next turn."""
        raise TypeError("each side has its own clock")  # pragma: no cover

    def reading_on(self, exchange: int) -> None:
        """The protocol on a stream reads again."""
        raise TypeError("each side reads in its own way")  # pragma: no cover

    def left_on(self, exchange: int) -> None:
        """The protocol on a stream has heard of the end."""

    def send_on(self, exchange: int, data: Buffer | FilePart) -> int:
        """Queue content of a stream, and let it leave soon; octets that wait there now."""
        engine = self._sender()
        if engine.is_open(exchange):
            engine.send_body(exchange, data)
            self._flush_soon()
        return engine.waiting(exchange)

    def end_on(self, exchange: int, *, whole: bool) -> None:
        """Our side has ended; `whole`: the peer's is of no interest any more."""
        engine = self._sender()
        if engine.is_open(exchange):
            engine.end_body(exchange)
        if whole:
            engine.end_tunnel(exchange)
        self._flush_soon()

    def cut_on(self, exchange: int) -> None:
        """Give a stream up."""
        self._sender().reset(exchange)
        self._flush_soon()

    def waiting_on(self, exchange: int) -> int:
        """Octets of its content that wait."""
        return self._sender().waiting(exchange)

    def when_roomy(self, exchange: int) -> Deferred[None] | None:
        """Fires when more may be queued; ``None``: it may be now."""
        if self._sender().may_send(exchange):
            return None
        waiter: Deferred[None] = Deferred()
        self._rooms.setdefault(exchange, []).append(waiter)
        return waiter

    def _wake(self) -> None:
        """Tell those who wait that there is room again."""
        roomy = self._sender().roomy
        while roomy:
            for waiter in self._rooms.pop(roomy.pop(), ()):
                if not waiter.fired:
                    waiter.callback(None)

    def _fail_rooms(self, error: ConnectionLost) -> None:
        """The connection has gone."""
        rooms, self._rooms = self._rooms, {}
        for waiters in rooms.values():
            for waiter in waiters:
                if not waiter.fired:
                    waiter.errback(error)


@implements("IStreamTransport")
class StreamTransport(FlowControl):
    """A stream, to a protocol that thinks it a connection.

    Args:
        carrier: The connection.
        exchange: The stream's number there.
        protocol: Who is delivered to; its `connection_made` is the carrier's to call.
    """

    __slots__ = ("_carrier", "_close_reason", "_eof", "_exchange", "_lost", "_paused")

    def __init__(self, carrier: Carrying, exchange: int, protocol: IStreamProtocol) -> None:
        super().__init__()
        self._carrier = carrier
        self._exchange = exchange
        self._protocol = protocol
        self._close_reason: str | None = None
        self._lost: ConnectionLost | None = None
        self._eof = False
        self._paused = False

    def __repr__(self) -> str:
        return f"<StreamTransport {self._exchange} over {self._carrier.transport!r}>"

    # ── who is at the other end ───────────────────────────────────────────────

    @property
    def local(self) -> Address | None:
        return self._carrier.transport.local

    @property
    def peer(self) -> Address | None:
        return self._carrier.transport.peer

    @property
    def close_reason(self) -> str | None:
        return self._close_reason

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._carrier.transport.get_extra_info(name, default)

    # ── out ───────────────────────────────────────────────────────────────────

    def write(self, data: Buffer) -> None:
        if self._eof and self._close_reason is None:
            raise UsageError("write after write_eof")
        if self._close_reason is None and len(data):
            # The caller may change its buffer once this returns.
            self._sent(self._carrier.send_on(self._exchange, bytes(data)))

    def writelines(self, pieces: Iterable[Buffer]) -> None:
        data = b"".join(pieces)
        if data:
            self.write(data)

    def sendfile(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> Deferred[int]:
        if count is None:
            count = file.seek(0, 2) - offset
        if self._close_reason is not None or self._eof:
            return fail(self._lost or ConnectionDone())
        if count > 0:
            self._sent(self._carrier.send_on(self._exchange, FilePart(file, offset, count)))
        done = self._carrier.when_roomy(self._exchange)
        size = count
        if done is None:
            return succeed(size)
        return done.add_callback(lambda _: size)

    def _sent(self, waiting: int) -> None:
        if waiting <= self._high or self._close_reason is not None:
            return
        if waiting > self._hard:
            self._overflow(waiting, self.peer)
            self.abort("limit:write-buffer")
            return
        if not self._pressing:
            self._pause()
            self._watch_room()

    def _watch_room(self) -> None:
        room = self._carrier.when_roomy(self._exchange)
        if room is None:
            self._relieved(0)
        else:
            room.add_callbacks(lambda _: self._watch_room(), lambda _: None)

    def get_write_buffer_size(self) -> int:
        return self._carrier.waiting_on(self._exchange)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not self._eof and self._close_reason is None:
            self._eof = True
            self._carrier.end_on(self._exchange, whole=False)

    def _why_gone(self) -> ConnectionLost | None:
        return self._lost

    def _protocol_failed(self, error: BaseException, method: str) -> None:
        self.failed(error, method)

    # ── in ────────────────────────────────────────────────────────────────────

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self._carrier.reading_on(self._exchange)

    def is_reading(self) -> bool:
        return not self._paused and self._close_reason is None

    def set_protocol(self, protocol: IStreamProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> IStreamProtocol:
        return self._protocol

    def begin(self) -> None:
        """Tell the protocol that the connection stands (the carrier calls this)."""
        try:
            self._protocol.connection_made(self)
        except Exception as error:
            self.failed(error, "connection_made")

    def deliver(self, data: bytes) -> None:
        """Octets have come (the carrier calls this, unless reading is paused)."""
        if self._close_reason is None:
            try:
                self._protocol.data_received(data)
            except Exception as error:
                self.failed(error, "data_received")

    def deliver_eof(self) -> None:
        """The peer sends no more (the carrier calls this)."""
        if self._close_reason is not None:
            return
        try:
            stays = self._protocol.eof_received()
        except Exception as error:
            self.failed(error, "eof_received")
            return
        if not stays:
            self.close()

    # ── the end ───────────────────────────────────────────────────────────────

    def is_closing(self) -> bool:
        return self._close_reason is not None

    def close(self, reason: str = "clean") -> None:
        if self._close_reason is None:
            self._close_reason = reason
            self._carrier.end_on(self._exchange, whole=True)
            self._carrier.call_soon(lambda: self.lost(None))

    def abort(self, reason: str = "aborted") -> None:
        if self._lost is None:
            first = self._close_reason is None
            self._close_reason = reason
            self._carrier.cut_on(self._exchange)
            if first:
                error = ConnectionLost("the stream was given up", reason)
                self._carrier.call_soon(lambda: self.lost(error))

    def lost(self, error: ConnectionLost | None) -> None:
        """The stream has ended; the protocol hears of it, once (the carrier calls this too)."""
        if self._lost is not None:
            return
        reason = self._close_reason
        self._lost = error or ConnectionDone("the stream was closed", reason or "clean")
        if reason is None:
            self._close_reason = self._lost.reason
        if not self._pressing:
            self._pressing = True  # whoever waits for room learns of it from now on
        self._wake_waiters(self._lost)
        try:
            self._protocol.connection_lost(error)
        except Exception as failure:
            self.failed(failure, "connection_lost")
        self._carrier.left_on(self._exchange)

    def failed(self, error: BaseException, where: str) -> None:
        """The protocol has raised: that ends its stream, nothing else."""
        from sennit.core._faultlog import log_bug

        log_bug(type(self._protocol).__qualname__, self.peer, where, error)
        self.abort("error")

    def start_tls(
        self,
        context: Any,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        handshake_timeout: float = 10.0,
    ) -> Deferred[IStreamTransport]:
        from sennit.core.transport.tls import upgrade

        return upgrade(
            self,
            context,
            server_side=server_side,
            server_hostname=server_hostname,
            handshake_timeout=handshake_timeout,
        )
