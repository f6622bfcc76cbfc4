"""`pump`: everything from one thing to another, no faster than the other takes it.

Offered as ``sennit.core.stream.pump``.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
    from typing import IO, Any, Final, TypeAlias, TypeGuard

    from sennit.core.interfaces import IStreamTransport
    from sennit.core.stream import Stream

    Source: TypeAlias = (
        Stream | IStreamTransport | IO[bytes] | AsyncIterable[bytes] | Iterable[bytes]
    )
    Sink: TypeAlias = Stream | IStreamTransport | IO[bytes] | Callable[[bytes], object]

__all__ = ["CHUNK", "pump"]

CHUNK: Final = 64 * 1024
"""Octets that are under way at a time."""


async def pump(
    source: Source,
    sink: Sink,
    *,
    chunk: int = CHUNK,
    count: int | None = None,
    end: bool = False,
) -> int:
    """Send all that a source has into a sink, waiting for room before each piece.

    Never more than one piece is held here, so a sink that is slow makes the
    source wait: a stream's peer is no longer read, a generator no longer asked.

    Args:
        source: A `Stream`; a stream transport (its protocol is replaced); a
            file open for reading in binary (sent by the kernel where the sink
            can); an iterable or async iterable of octets.
        sink: A `Stream` or stream transport; a file open for writing in binary;
            a function of one piece, awaited if it returns something to await.
        chunk: Octets of a piece at most.
        count: Octets after which to stop; all up to the source's end when left out.
        end: Close the sink's way out at the end (`write_eof`, or a file's `close`).

    Returns:
        The octets sent.

    Raises:
        ConnectionLost: One of the two broke.
        ValueError: `chunk` or `count` makes no sense.
        TypeError: One of the two is none of the above.
    """
    if chunk < 1 or (count is not None and count < 0):
        raise ValueError(f"chunk ({chunk}) counts octets from 1 on, count ({count}) from 0")
    transport = _transport_of(sink)
    if transport is not None and _is_seekable(source):
        start = source.tell()
        sent = await transport.sendfile(source, start, count)
        source.seek(start + sent)
    else:
        sent = await _copy(_pieces(source, chunk, count), _writer(sink, transport))
    if end:
        if transport is not None:
            transport.write_eof()
        else:
            close: Callable[[], object] | None = getattr(sink, "close", None)
            if close is not None:
                close()
    return sent


async def _copy(pieces: AsyncIterator[bytes], write: Callable[[bytes], Any]) -> int:
    sent = 0
    async for piece in pieces:
        waiting = write(piece)
        if hasattr(waiting, "__await__"):
            await waiting
        sent += len(piece)
    return sent


async def _pieces(source: Any, chunk: int, count: int | None) -> AsyncIterator[bytes]:
    """The source's octets in pieces of at most `chunk`, at most `count` in all.

    `source` is Any: what it is, is found out here.
    """
    left = count
    ask = _asker(source)
    if ask is None:
        async for data in _items(source):
            for at in range(0, len(data), chunk):
                piece = data[at : at + chunk]
                if left is not None:
                    piece = piece[:left]
                    left -= len(piece)
                if piece:
                    yield piece
                if left == 0:
                    return
        return
    while left is None or left:
        piece = await ask(chunk if left is None else min(chunk, left))
        if not piece:
            return
        if left is not None:
            left -= len(piece)
        yield piece


def _asker(source: Any) -> Callable[[int], Awaitable[bytes]] | None:
    """How to ask `source` for at most so many octets; ``None`` when it gives what it likes."""
    if hasattr(source, "set_protocol"):
        from sennit.core.stream import Stream

        source = Stream(source)
    receive: Callable[[int], Awaitable[bytes]] | None = getattr(source, "receive_some", None)
    if receive is not None:
        return receive
    read: Callable[[int], Any] | None = getattr(source, "read", None)
    if read is None:
        return None
    if _is_seekable(source) or not hasattr(source, "fileno"):

        async def ask(octets: int) -> bytes:
            data = read(octets)
            return await data if hasattr(data, "__await__") else data  # type: ignore[no-any-return]  # read's

        return ask

    async def ask_in_thread(octets: int) -> bytes:
        # A pipe or a terminal: it may have nothing yet, and the loop must not wait for it.
        from sennit.core.reactor.base import current_reactor

        data: bytes = await current_reactor().defer_to_thread(read, octets)
        return data

    return ask_in_thread


async def _items(source: Any) -> AsyncIterator[bytes]:
    if hasattr(source, "__aiter__"):
        async for item in source:
            yield item
    elif hasattr(source, "__iter__") and not isinstance(source, (str, bytes, bytearray)):
        for item in source:
            yield item
    else:
        raise TypeError(f"no octets can be pumped out of {source!r}")


def _is_seekable(source: Any) -> TypeGuard[IO[bytes]]:
    """Whether it is a file in which one can go back and forth."""
    seekable: Callable[[], bool] | None = getattr(source, "seekable", None)
    return seekable is not None and seekable()


def _transport_of(sink: Any) -> IStreamTransport | None:
    if hasattr(sink, "writable") and hasattr(sink, "sendfile"):
        return sink  # type: ignore[no-any-return]  # known by its shape
    if hasattr(sink, "send_all"):
        return sink.transport  # type: ignore[no-any-return]  # a Stream's
    return None


def _writer(sink: Any, transport: IStreamTransport | None) -> Callable[[bytes], object]:
    """A function that takes one piece, and may return something to wait for."""
    if transport is not None:
        from sennit.core.errors import ConnectionDone

        async def send(piece: bytes) -> None:
            if transport.is_closing():
                reason = transport.close_reason or "clean"
                raise ConnectionDone(f"the sink is closed ({reason})", reason)
            transport.write(piece)
            await transport.writable()

        return send
    write: Callable[[bytes], object] | None = getattr(sink, "write", None)
    if write is not None:
        return write
    if callable(sink):
        return sink  # type: ignore[no-any-return]  # a function of one piece, as documented
    raise TypeError(f"no octets can be pumped into {sink!r}")
