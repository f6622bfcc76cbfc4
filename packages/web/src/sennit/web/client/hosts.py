"""The pool's books on one host: its connections, and the requests that wait for one.

A *host* is what connections can be shared for: scheme, name and port, or the proxy
that forwards. `Host` counts and remembers; it decides nothing and does no I/O
(``pool.py`` does), so that every rule of the pool stands in one place.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from sennit.core.deferred import Deferred

if TYPE_CHECKING:
    from sennit.core.interfaces import IDelayedCall
    from sennit.web.client.connection import ClientConnection
    from sennit.web.client.dialling import Way

__all__ = ["Host", "Waiter"]


class Waiter:
    """A request that waits for a connection.

    Attributes:
        done: Fires with the connection it may use, or fails.
        given: The connection once it has one, to be given back if nobody takes it.
        fresh: Whether only a connection that has served nobody will do.
        timer: Of its time-out, if it has one.
    """

    __slots__ = ("done", "fresh", "given", "timer")

    def __init__(self, *, fresh: bool) -> None:
        self.done: Deferred[ClientConnection] = Deferred()
        self.given: ClientConnection | None = None
        self.fresh = fresh
        self.timer: IDelayedCall | None = None

    def give(self, connection: ClientConnection) -> None:
        """Here is one."""
        self.given = connection
        self.leave()
        self.done.callback(connection)

    def fail(self, error: BaseException) -> None:
        """There will be none."""
        self.leave()
        if not self.done.called:
            self.done.errback(error)

    def leave(self) -> None:
        """It waits no more."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Host:
    """One host.

    Args:
        way: How connections to it are made.
        streams: Requests side by side on one connection, where its server allows more.

    Attributes:
        way: As given.
        idle: Connections without work, the one that worked last at the end.
        shared: Connections of HTTP/2, on which there may be room beside what is open.
        waiting: Requests that wait, in the order in which they came.
        count: Connections there are, those under way included.
        dials: Connections under way: what gives each up.
        multiplexed: Whether its server speaks HTTP/2; ``None`` while that is not known.
    """

    __slots__ = (
        "_streams",
        "count",
        "dials",
        "idle",
        "multiplexed",
        "shared",
        "waiting",
        "way",
    )

    def __init__(self, way: Way, streams: int) -> None:
        self.way = way
        self._streams = streams
        self.idle: list[ClientConnection] = []
        self.shared: list[ClientConnection] = []
        self.waiting: deque[Waiter] = deque()
        self.count = 0
        self.dials: list[Deferred[ClientConnection]] = []
        self.multiplexed: bool | None = None if way.may_multiplex else False

    def __repr__(self) -> str:
        return f"<Host {self.way}: {self.count} connections, {len(self.waiting)} waiting>"

    def with_room(self) -> ClientConnection | None:
        """A shared connection that takes one more request."""
        for connection in self.shared:
            if self.room_on(connection) > 0:
                return connection
        return None

    def room_on(self, connection: ClientConnection) -> int:
        """Requests that may begin on one of its connections."""
        room = connection.room
        if connection.version != b"2":
            return room
        return min(room, self._streams - connection.busy)

    @property
    def wants_dial(self) -> bool:
        """Whether what is under way will not do for those who wait."""
        waiting = len(self.waiting)
        if not waiting:
            return False
        if self.multiplexed is not False:
            # One is enough until it is known what the server speaks, and how much it takes.
            return not self.dials
        return waiting > len(self.dials)
