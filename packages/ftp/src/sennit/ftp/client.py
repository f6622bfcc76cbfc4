"""The client's side of a connection, and the one call that most programs need."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from sennit.core.deferred import Deferred
from sennit.core.endpoint.connect import connect
from sennit.core.engine import CLOSED, NoEvent, PeerFault
from sennit.core.errors import ConnectionDone, ConnectionLost
from sennit.core.protocol import Protocol
from sennit.ftp.engine import ClientEngine
from sennit.ftp.errors import FTPRefusedError

if TYPE_CHECKING:
    from sennit.ftp.limits import Limits

__all__ = ["FTPClientProtocol", "get"]


class FTPClientProtocol(Protocol):
    """One connection to a server; commands may be given before earlier ones are answered.

    Args:
        limits: What the server is allowed.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._engine = ClientEngine(limits)
        self._waiting: deque[Deferred[bytes]] = deque()

    def get(self, key: bytes) -> Deferred[bytes]:
        """Ask what `key` stands for.

        Returns:
            Fires with the value; fails with `FTPRefusedError` when the server knows none,
            `FTPProtocolError` when its answer is none, `ConnectionLost` when it went away.

        Raises:
            FTPUsageError: The key is not one word, or `close` was called.
        """
        self._engine.send_get(key)
        # Cancelling gives up the answer; its place in the order stays.
        answer: Deferred[bytes] = Deferred()
        self._waiting.append(answer)
        self._send()
        return answer

    def close(self) -> None:
        """Say good-bye; what waits is still answered."""
        self._engine.close()
        self._send()

    def data_received(self, data: bytes) -> None:
        """Give each answer to who waits for it."""
        self._engine.receive_data(data)
        while not isinstance(event := self._engine.next_event(), NoEvent):
            if isinstance(event, PeerFault):
                self._fail(event.error)
                self.transport.abort()
                return
            answer = self._waiting.popleft()
            if answer.fired:
                continue
            if event.granted:
                answer.callback(event.text)
            else:
                answer.errback(FTPRefusedError(event.text.decode("ascii", "replace")))
        if event is CLOSED:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is answered any more."""
        if exc is None:
            self._fail(ConnectionDone())
        elif isinstance(exc, ConnectionLost):
            self._fail(exc)
        else:
            lost = ConnectionLost(str(exc))
            lost.__cause__ = exc
            self._fail(lost)

    def _send(self) -> None:
        self.transport.writelines(self._engine.data_to_send())

    def _fail(self, error: Exception) -> None:
        while self._waiting:
            answer = self._waiting.popleft()
            if not answer.fired:
                answer.errback(error)


async def get(url: str, key: bytes, *, limits: Limits | None = None) -> bytes:
    """Ask the server at `url` (``tcp://127.0.0.1:2121``) for one value.

    Raises:
        FTPRefusedError: The server knows none.
        FTPProtocolError: What it says is no answer.
        ConnectError: There is no server.
        ConnectionLost: It went away before it answered.
    """
    protocol = await connect(url, partial(FTPClientProtocol, limits))
    try:
        return await protocol.get(key)
    finally:
        protocol.close()
