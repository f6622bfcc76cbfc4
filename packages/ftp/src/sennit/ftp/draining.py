"""Large uploads that are received where they are written.

The loop receives what comes and a thread writes it. With each change between them octets leave
one core's cache for another's, and two threads want the interpreter. So the thread, when it has
written what it was brought, takes what has come meanwhile from the socket by itself, as long as
there is some and nobody else wants a thread: it never waits for a client. The loop does not read
then, and goes on behind it.

STOR of 1 GiB costs 13 to 31 % less CPU by it (``bench/README.md``).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sennit.core.threads import ThreadPool
    from sennit.ftp.data import DataConnection

__all__ = ["GATHERED", "Drain"]

GATHERED: Final = 256 * 1024
"""Octets that the loop gathers for a thread that found a whole window the last time."""
AT_ONCE: Final = 256 * 1024
"""Octets taken at a time: they are still in the core's own cache when they are written."""
MOST: Final = 8 * 1024 * 1024
"""Octets taken in one visit, so that a fast client does not keep the thread."""


class Drain:
    """Takes what has come over a connection, in a thread, while the loop does not read it.

    Args:
        connection: Which.
        descriptor: One of its socket, this object's own: whatever the loop closes meanwhile,
            nobody else gets this number.
        pool: Whose thread it is, which is left as soon as others wait for one.

    Attributes:
        error: Why nothing more comes, if the connection broke.
    """

    def __init__(
        self, connection: DataConnection, descriptor: int, pool: ThreadPool | None
    ) -> None:
        self._connection = connection
        self._descriptor = descriptor
        self._pool = pool
        self._buffer = memoryview(bytearray(AT_ONCE))
        self._left = MOST
        self.error: OSError | None = None

    def take(self) -> memoryview | None:
        """What has come, until it is asked again; ``None`` for nothing, be it the end.

        The end and an error are left for the loop to see (`error`).
        """
        connection, pool = self._connection, self._pool
        if self._left <= 0 or connection.closed or (pool is not None and pool.waiting):
            return None
        try:
            count = os.readv(self._descriptor, [self._buffer])
        except BlockingIOError:
            return None
        except OSError as error:
            self.error = error
            return None
        if not count:
            return None
        self._left -= count
        connection.received += count
        return self._buffer[:count]

    def end(self) -> None:
        """Let the loop go on reading."""
        os.close(self._descriptor)
        self._connection.drained(MOST - self._left, self.error)
