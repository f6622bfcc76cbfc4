"""What hosted applications have in common: content on its way to the client, and its end.

An application gives its content when it likes, a client takes it when it can. Between
them stand `Pieces`: the content of a `Response`, so that whatever wraps a handler
(compression, more headers) sees it as it sees any other. Who gives is kept waiting
while more than `MARK` octets wait.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from sennit.core.deferred import Deferred
from sennit.web.errors import WebError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sennit.core.engine import FilePart
    from sennit.core.interfaces import Buffer
    from sennit.web.request import Request

__all__ = [
    "MARK",
    "ClientDisconnectedError",
    "Pieces",
    "cut_answer",
    "end_of",
    "ends_of",
    "mounted_at",
    "named",
]

MARK: Final = 64 * 1024
"""Octets that may wait before whoever gives them has to."""


class ClientDisconnectedError(WebError, OSError):
    """The client has gone; nothing that is sent will arrive."""

    def __init__(self) -> None:
        super().__init__("the client has disconnected")


class Pieces:
    """The content of one response, given in pieces; iterated over by the connection.

    Args:
        on_taken: Called after a piece was taken, with its octets.
        on_leave: Called (and awaited, if it says so) when nobody will take what is left.

    Attributes:
        waiting: Octets that wait; those of files are not counted.
        left: Whether nobody takes them any more.
    """

    __slots__ = ("_ended", "_on_leave", "_on_taken", "_pieces", "_reader", "_writers", "left",
                 "waiting")  # fmt: skip

    def __init__(
        self,
        on_taken: Callable[[int], object] | None = None,
        on_leave: Callable[[], Awaitable[object] | None] | None = None,
    ) -> None:
        self.waiting = 0
        self.left = False
        self._pieces: deque[Buffer | FilePart] = deque()
        self._ended = False
        self._reader: Deferred[None] | None = None
        self._writers: list[Deferred[None]] = []
        self._on_taken = on_taken
        self._on_leave = on_leave

    def put(self, piece: Buffer | FilePart) -> None:
        """Add a piece."""
        if self.left:
            _close(piece)
            return
        self._pieces.append(piece)
        self.waiting += _size(piece)
        self._wake()

    def end(self) -> None:
        """There are no more."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        reader = self._reader
        if reader is not None:
            self._reader = None
            reader.callback(None)

    async def room(self) -> None:
        """Wait until another piece may be put."""
        while self.waiting > MARK and not self.left:
            writer: Deferred[None] = Deferred()
            self._writers.append(writer)
            try:
                await writer
            finally:
                if writer in self._writers:
                    self._writers.remove(writer)

    def _release(self) -> None:
        writers, self._writers = self._writers, []
        for writer in writers:
            if not writer.fired:
                writer.callback(None)

    # ── the connection's side ─────────────────────────────────────────────────

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> Buffer | FilePart:
        while not self._pieces:
            if self._ended:
                raise StopAsyncIteration
            self._reader = Deferred()
            await self._reader
        piece = self._pieces.popleft()
        size = _size(piece)
        self.waiting -= size
        if self._writers and self.waiting <= MARK:
            self._release()
        if self._on_taken is not None:
            self._on_taken(size)
        return piece

    async def aclose(self) -> None:
        """Nobody takes what is left (called by the connection, at the end in any case)."""
        if self.left:
            return
        self.left = True
        whole = self._ended and not self._pieces
        while self._pieces:
            _close(self._pieces.popleft())
        self.waiting = 0
        self._release()
        if self._on_leave is not None and not whole:
            leaving = self._on_leave()
            if leaving is not None:
                await leaving


def _size(piece: Any) -> int:  # Any: a FilePart is no buffer
    return 0 if hasattr(piece, "close_file") else len(piece)


def _close(piece: Any) -> None:  # Any: likewise
    if getattr(piece, "close_file", False):
        piece.file.close()


def cut_answer(request: Request) -> None:
    """End the answer to a request so that the client cannot take it for whole."""
    connection = request.connection
    if connection.engine.is_open(request.head.exchange):
        connection.engine.reset(request.head.exchange)
        connection.proceed()


# ── what a request says of its surroundings ───────────────────────────────────

End = tuple[str, int | None]
"""A host and port; or the path of a Unix socket and ``None``."""


def ends_of(request: Request) -> tuple[End | None, End | None]:
    """The client's and the server's address of the connection that a request came over."""
    return end_of(request.peer), end_of(request.connection.local)


def end_of(address: object) -> End | None:
    """An address as applications are told of it."""
    host = getattr(address, "host", None)
    if isinstance(host, str):
        port: int = getattr(address, "port", 0)
        return host, port
    path = getattr(address, "path", None)
    return (str(path), None) if path else None


def mounted_at(request: Request) -> bytes:
    """The octets of the path that resources before this one have used up."""
    path = request.head.path.partition(b"?")[0]
    # Not `segments`, which would split what nobody has asked to be split.
    segments = request._segments
    if segments is None:
        return b""
    used = path.count(b"/") - len(segments)
    at = 0
    for _ in range(used):
        at = path.find(b"/", at + 1)
        if at < 0:
            return path
    return path[:at]


def named(request: Request) -> dict[str, object]:
    """Fields of a log record that say which request it is about."""
    head = request.head
    found: dict[str, object] = {
        "request_id": request.state.get("request_id", ""),
        "peer": request.connection.client_name,
        "phase": f"{head.method.decode('latin-1')} {head.path[:200].decode('latin-1')}",
    }
    return found
