"""A stream transport over a socket: the hot path of everything.

Reading: the poller's event calls `_on_event`, which receives at most 64 KiB at a
time (larger buffers are mapped and unmapped by the allocator for every message)
and hands them to the protocol.

Writing: what a protocol writes while its `data_received` runs leaves in one
``send`` right after it; what is written from elsewhere leaves once, at the end of
the turn. Writability is asked for only when the kernel has refused something.

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
from contextvars import copy_context
from functools import partial

from sennit.core._implements import implements
from sennit.core.address import Address, address_from_socket
from sennit.core.errors import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    LimitReachedError,
    ReactorError,
)
from sennit.core.protocol import Protocol
from sennit.core.reactor.calls import DelayedCall
from sennit.core.reactor.pollers import ERROR, HANGUP, ONCE, PEER_CLOSED, READ, WRITE
from sennit.core.transport.flow import FlowControl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as RawSocket  # noqa: N812 - it is a type
    from collections.abc import Callable, Iterable
    from contextvars import Context
    from typing import IO, Any, Final, Protocol as _Protocol

    from sennit.core.deferred import Deferred
    from sennit.core.interfaces import Buffer, IStreamProtocol, IStreamTransport
    from sennit.core.reactor.base import Reactor
    from sennit.core.transport.filepiece import FilePiece

    class Owner(_Protocol):
        """Who counts the connection."""

        def connection_gone(self, transport: SocketTransport) -> None: ...


__all__ = ["READ_SIZE", "SocketTransport"]

READ_SIZE: Final = 64 * 1024
"""Octets received at a time."""
READS_PER_TURN: Final = 4
"""Full reads of one connection in one turn, so that nobody starves the others."""
JOIN_BELOW: Final = 16 * 1024
"""Octets up to which several pieces are joined for one ``send``; above, ``sendmsg``."""
PIECES_AT_ONCE: Final = 512
"""Pieces of one ``sendmsg`` (IOV_MAX is 1 024 on Linux)."""

_OPEN, _HALF, _CLOSING, _GONE = 0, 1, 2, 3
# _HALF: write_eof was called. Whatever is not _OPEN refuses to be written to.
_LINGER_RESET = struct.pack("ii", 1, 0)


class _Nobody(Protocol):
    """Who a transport delivers to once its connection has gone."""


_NOBODY = _Nobody()


@implements("IStreamTransport")
class SocketTransport(FlowControl):
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
        "_close_reason",
        "_context",
        "_corked",
        "_data_received",
        "_eof_in",
        "_fd",
        "_get_buffer",
        "_handler",
        "_mask",
        "_out",
        "_owner",
        "_peer",
        "_queued",
        "_reactor",
        "_reading",
        "_recv",
        "_send",
        "_size",
        "_sock",
        "_state",
    )

    def __init__(
        self,
        reactor: Reactor,
        sock: RawSocket,
        protocol: IStreamProtocol,
        *,
        peer: object = None,
        owner: Owner | None = None,
        context: Context | None = None,
    ) -> None:
        FlowControl.__init__(self)
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
        self._state = _OPEN
        self._corked = False
        self._queued = False
        self._reading = True
        self._eof_in = False
        self._handler: Callable[[int], object]
        self.set_protocol(protocol)

    def start(self) -> None:
        """Tell the protocol that it is connected, then begin to read.

        Raises:
            OSError: The poller cannot watch the socket.
        """
        self._mask = READ
        self._reactor.watch(self._fd, READ, self._handler)
        self._corked = True
        try:
            if self._context is None:
                self._protocol.connection_made(self)
            else:
                self._context.run(self._protocol.connection_made, self)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._protocol_failed(error, "connection_made")
        finally:
            self._corked = False
        if self._out:
            self._flush()

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
    def close_reason(self) -> str | None:
        """Why the connection ended or is ending; ``None`` while it is open."""
        return self._close_reason

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """asyncio's questions: ``peername``, ``sockname``, ``socket``, ``reactor``."""
        if name == "peername":
            return default if self.peer is None else self._peer
        if name == "sockname":
            try:
                return self._sock.getsockname()
            except OSError:
                return default
        if name == "socket":
            if self._state == _GONE:
                return default
            from sennit.core.transport.peek import SocketView

            return SocketView(self._sock)
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
        get_buffer = getattr(protocol, "get_buffer", None)
        if get_buffer is not None:
            self._get_buffer = get_buffer
            self._buffer_updated = protocol.buffer_updated  # type: ignore[attr-defined]  # a pair
            handler: Callable[[int], object] = self._on_event_buffered
        else:
            self._data_received = protocol.data_received
            handler = self._on_event
        if self._context is not None:
            handler = partial(self._context.run, handler)
        self._handler = handler
        if self._mask:
            self._reactor.handlers[self._fd] = handler

    def _protocol_failed(self, error: BaseException, method: str) -> None:
        """A method of the protocol has raised: that ends its connection, nothing else."""
        self._reactor.report(
            error, f"in {type(self._protocol).__qualname__}.{method} of {self!r}"
        )
        self._lose(ConnectionAborted(f"{method} failed", "error"), "error")

    # ── reading ───────────────────────────────────────────────────────────────

    def _on_event(self, mask: int) -> None:
        """Receive, deliver, send the answer: the whole of an echo without another call of ours."""
        if mask != READ and not self._go_on_reading(mask):
            return
        if not self._reading:
            self._park()
            return
        try:
            data = self._recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._failed(error)
            return
        if not data:
            self._on_eof()
            return
        self._corked = True
        try:
            self._data_received(data)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._protocol_failed(error, "data_received")
        finally:
            self._corked = False
        out = self._out
        if out:
            if len(out) == 1 and self._mask == READ and type(out[0]) is bytes:
                answer = out.pop()
                try:
                    sent = self._send(answer)
                except BlockingIOError:
                    sent = 0
                except OSError as error:
                    self._failed(error)
                    return
                if sent == len(answer):
                    self._size = 0
                    if self._state or self._pressing:
                        self._drained()
                else:
                    self._refused(answer, sent)
            else:
                self._flush()
        if len(data) == READ_SIZE:
            self._read_on()

    def _read_on(self) -> None:
        """There was as much as one read takes: a few more, without asking the poller."""
        for _ in range(READS_PER_TURN - 1):
            if not self._reading or not self._mask & READ:
                return
            try:
                data = self._recv(READ_SIZE)
            except BlockingIOError:
                return
            except OSError as error:
                self._failed(error)
                return
            if not data:
                self._on_eof()
                return
            self._corked = True
            try:
                self._data_received(data)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                self._protocol_failed(error, "data_received")
            finally:
                self._corked = False
            if self._out:
                self._flush()
            if len(data) < READ_SIZE:
                return

    def _on_event_buffered(self, mask: int) -> None:
        """The same for a protocol that lends its buffer (asyncio's `BufferedProtocol`)."""
        if mask != READ and not self._go_on_reading(mask):
            return
        if not self._reading:
            self._park()
            return
        try:
            buffer = self._get_buffer(-1)
            got = self._sock.recv_into(buffer)
        except BlockingIOError:
            return
        except OSError as error:
            self._failed(error)
            return
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._protocol_failed(error, "get_buffer")
            return
        if not got:
            self._on_eof()
            return
        self._corked = True
        try:
            self._buffer_updated(got)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._protocol_failed(error, "buffer_updated")
        finally:
            self._corked = False
        if self._out:
            self._flush()

    def _go_on_reading(self, mask: int) -> bool:
        """Deal with all but READ; whether there may be something to receive."""
        if mask & WRITE:
            self._on_writable()
        if self._mask == 0:
            return False
        if mask & (ERROR | HANGUP) and (not self._reading or self._eof_in):
            # Nobody would receive, so the error would come again and again.
            if mask & ERROR or self._eof_in:
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
        self._corked = True
        keep: object = False
        try:
            keep = self._protocol.eof_received()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._protocol_failed(error, "eof_received")
        finally:
            self._corked = False
        if self._out:
            self._flush()
        if self._mask == 0:
            return
        if keep and self._state == _OPEN:
            self._watch(self._mask & WRITE | ONCE)
        else:
            self.close()

    def pause_reading(self) -> None:
        """Call `data_received` no more until `resume_reading`."""
        self._reading = False

    def resume_reading(self) -> None:
        """Go on reading."""
        if not self._reading and self._state < _CLOSING:
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
        if mask != self._mask:
            self._mask = mask
            self._reactor.rewatch(self._fd, mask)

    # ── writing ───────────────────────────────────────────────────────────────

    def write(self, data: Buffer) -> None:
        """Queue octets; ignored after the loss.

        Raises:
            TypeError: `data` is not bytes-like.
            ReactorError: After `write_eof`.
        """
        if type(data) is not bytes:
            data = _owned(data)
        if self._state or not data:
            if self._state == _HALF:
                raise ReactorError("write after write_eof")
            return
        self._out.append(data)
        self._size = size = self._size + len(data)
        if size > self._high:
            self._pressed()
        elif not self._corked and not self._queued:
            self._queued = True
            self._reactor.flush_later(self._flush)

    def writelines(self, pieces: Iterable[Buffer]) -> None:
        """`write` each piece; they leave together where they can."""
        for piece in pieces:
            self.write(piece)

    def _pressed(self) -> None:
        """Above the high mark: send at once what the kernel takes, then look again."""
        if not self._mask & WRITE:
            self._flush()
        if self._size > self._high and self._state != _GONE:
            self._pause()
            if self._size > self._hard:
                self._lose(
                    LimitReachedError(
                        f"{self._size} octets wait for a peer that does not read",
                        "limit:write-buffer",
                    ),
                    "limit:write-buffer",
                )

    def _flush(self) -> None:
        """Send what is queued, until the kernel refuses."""
        self._queued = False
        out = self._out
        if self._mask & WRITE or not out or self._state == _GONE:
            return
        try:
            if len(out) == 1 and type(out[0]) is bytes:
                data = out.pop()
                try:
                    sent = self._send(data)
                except BlockingIOError:
                    sent = 0
                if sent != len(data):
                    self._refused(data, sent)
                    return
                self._size = 0
            else:
                self._send_many()
        except BlockingIOError:
            pass
        except OSError as error:
            self._failed(error)
            return
        if out:
            self._wait_to_send()
        elif self._state or self._pressing:
            self._drained()

    def _refused(self, data: bytes, sent: int) -> None:
        """The kernel took only `sent` octets of the one piece there was."""
        self._out.append(memoryview(data)[sent:] if sent else data)
        self._size -= sent
        self._wait_to_send()

    def _wait_to_send(self) -> None:
        self._watch(self._mask | WRITE)
        if self._size > self._high:
            self._pause()

    def _send_many(self) -> None:
        """Send pieces until the queue is empty or the kernel takes less than it was given."""
        out = self._out
        while out:
            first = out[0]
            if not isinstance(first, (bytes, memoryview)):
                if not self._send_file_piece(first):
                    return
                continue
            pieces = out
            for at, piece in enumerate(out):
                if at == PIECES_AT_ONCE or not isinstance(piece, (bytes, memoryview)):
                    pieces = out[:at]
                    break
            if len(pieces) == 1:
                given = len(first)
                sent = self._send(first)
            elif self._size <= JOIN_BELOW:
                data = b"".join(pieces)
                given = len(data)
                sent = self._send(data)
            else:
                given = sum(map(len, pieces))
                sent = self._sock.sendmsg(pieces)
            self._size -= sent
            if sent == given:
                del out[: len(pieces)]
                continue
            at = 0
            while sent >= len(out[at]):
                sent -= len(out[at])
                at += 1
            del out[:at]
            if sent:
                out[0] = memoryview(out[0])[sent:]
            return

    def _send_file_piece(self, piece: FilePiece) -> bool:
        """Send of a file what the kernel takes; whether the piece is done with."""
        if piece.by_kernel:
            left = piece.send_by_kernel(self._fd)
        else:
            block = piece.next_block()
            if block:
                piece.advance(self._send(block))
            left = bool(block)
        if left:
            # One bite a turn, so that a fast peer does not keep the loop.
            return False
        self._out.pop(0)
        piece.finish()
        return True

    def _on_writable(self) -> None:
        """The kernel takes octets again."""
        mask = self._mask
        # Taken off here, but not in the poller yet: the kernel may refuse again.
        self._mask = mask & ~WRITE
        self._flush_on(mask)

    def _flush_on(self, mask: int) -> None:
        out = self._out
        try:
            self._send_many()
        except BlockingIOError:
            pass
        except OSError as error:
            self._mask = mask
            self._failed(error)
            return
        self._mask = mask
        if not out:
            rest = mask & ~WRITE
            self._watch(rest if rest & READ else rest | PEER_CLOSED | ONCE)
            if self._state or self._pressing:
                self._drained()
        elif self._pressing:
            self._relieved(self._size)

    def _drained(self) -> None:
        """Everything has left: go on with what waited for that."""
        if self._state == _CLOSING:
            self._lose(None, self._close_reason or "clean")
            return
        if self._state == _HALF:
            self._shut_out()
        self._relieved(0)

    def get_write_buffer_size(self) -> int:
        """Octets that wait to be sent (those of files not counted)."""
        return self._size

    def sendfile(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> Deferred[int]:
        """Send a piece of a file, in order with `write`, by ``sendfile(2)`` where that works.

        Args:
            file: Open for reading, until the Deferred has fired.
            offset: Octet to begin at.
            count: Octets to send; all up to the end when left out.

        Returns:
            Fires with the octets sent, fewer than `count` if the file ended first.
        """
        from sennit.core.transport.filepiece import FilePiece

        piece = FilePiece(file, offset, count)
        if self._state != _OPEN:
            piece.fail(ConnectionLost("the connection is closed", self._close_reason or "lost"))
            return piece.done
        self._out.append(piece)
        self._pause()  # a file on its way is enough: producers wait until it has left
        if not self._corked and not self._queued:
            self._queued = True
            self._reactor.flush_later(self._flush)
        return piece.done

    def can_write_eof(self) -> bool:
        """Sockets can."""
        return True

    def write_eof(self) -> None:
        """Close the way out once all that was written has left."""
        if self._state == _OPEN:
            self._state = _HALF
            if not self._out:
                self._shut_out()

    def _shut_out(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._failed(error)
            return
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
        return self._state >= _CLOSING

    def close(self, reason: str = "clean") -> None:
        """Send what is queued, then close. No more is received."""
        if self._state >= _CLOSING:
            return
        self._close_reason = reason
        self._state = _CLOSING
        self._reading = False
        if self._out:
            if not self._corked and not self._queued and not self._mask & WRITE:
                self._queued = True
                self._reactor.flush_later(self._flush)
        else:
            self._lose(None, reason)

    def abort(self, reason: str = "aborted") -> None:
        """Close now and throw away what is queued; a TCP peer sees a reset."""
        if self._state != _GONE:
            self._lose(ConnectionAborted(f"aborted: {reason}", reason), reason)

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
        if self._state == _GONE:
            return
        self._state = _GONE
        self._reading = False
        if self._close_reason is None or error is not None:
            self._close_reason = reason
        if self._mask:
            self._mask = 0
            self._reactor.unwatch(self._fd)
        self._reactor.queue(DelayedCall(self._finish, (error,), self._context))

    def _finish(self, error: ConnectionLost | None) -> None:
        sock = self._sock
        if error is not None and error.reason != "reset":
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            except OSError:
                pass
        sock.close()
        out, self._out = self._out, []
        self._size = 0
        protocol, self._protocol = self._protocol, _NOBODY
        # The bound methods hold socket, protocol and this object in a ring.
        self._data_received = self._get_buffer = self._buffer_updated = _NOBODY.data_received
        self._handler = _forgotten
        if self._waiters:
            self._wake_waiters(error or ConnectionDone())
        for piece in out:
            if not isinstance(piece, (bytes, memoryview)):
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


def _forgotten(mask: int) -> None:
    """The handler of a connection that has gone."""


def _owned(data: Buffer) -> bytes | memoryview:
    """`data` in a form that nobody else changes, not copied where that is sure already."""
    if isinstance(data, memoryview):
        if data.readonly and type(data.obj) is bytes and data.contiguous:
            return data if data.format == "B" else data.cast("B")
        return data.tobytes()
    if isinstance(data, (bytes, bytearray)):
        return bytes(data)
    raise TypeError(f"octets are written as bytes, not {type(data).__name__}")


def connection_context() -> Context | None:
    """The context for a connection that is being made here; ``None`` when it is empty."""
    return copy_context() or None
