"""Protocols that stand in front of others: a few octets first, then the connection changes hands.

A `Front` owns a connection until what has to be said in front of it was said
(a PROXY header, a proxy's consent), under one deadline; then the protocol that
was wanted is made and gets the connection, with the octets that came behind.
From there on nothing of this is in the way.
"""

from __future__ import annotations

from sennit.core.deferred import Deferred
from sennit.core.errors import ConnectionDone, ConnectionLost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sennit.core.interfaces import IClock, IDelayedCall, IStreamProtocol, IStreamTransport

__all__ = ["ClientFront", "Front", "deliver"]


class Front:
    """A protocol that gives its connection away.

    Subclasses say what to do with octets (`received`), and call `hand_over`, or `drop`.
    """

    transport: IStreamTransport
    _timer: IDelayedCall | None = None

    def connection_made(self, transport: IStreamTransport) -> None:
        """The connection stands."""
        self.transport = transport
        self.begin()

    def begin(self) -> None:
        """What to do first."""

    def received(self, data: bytes) -> None:
        """Octets have come."""

    def ended(self) -> None:
        """The peer's end came too early."""
        self.drop("truncated")

    def late(self) -> None:
        """The time is over."""
        self.drop("timeout")

    def data_received(self, data: bytes) -> None:
        """Octets have come."""
        self.received(data)

    def eof_received(self) -> bool | None:
        """The peer sends no more."""
        self.ended()
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has gone before it changed hands."""
        self.stop_waiting()

    def pause_writing(self) -> None:
        """What is said here is short."""

    def resume_writing(self) -> None:
        """What is said here is short."""

    def expect_within(self, seconds: float) -> None:
        """Call `late` then."""
        clock: IClock | None = self.transport.get_extra_info("reactor")
        if clock is None:
            from sennit.core.reactor.base import current_reactor

            clock = current_reactor()
        self._timer = clock.call_later(seconds, self.late)

    def stop_waiting(self) -> None:
        """`late` is not called any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def drop(self, reason: str) -> None:
        """End the connection at once; the peer is owed no answer."""
        self.stop_waiting()
        self.transport.abort(reason)

    def hand_over(
        self, protocol: IStreamProtocol, rest: bytes, shown: IStreamTransport | None = None
    ) -> None:
        """Give the connection to `protocol`, and then the octets that came behind.

        Args:
            protocol: Who gets it.
            rest: Octets that came and were not ours.
            shown: What it sees as its transport, when that is not the real one.
        """
        self.stop_waiting()
        transport = self.transport
        transport.set_protocol(protocol)
        protocol.connection_made(transport if shown is None else shown)
        if rest and not transport.is_closing():
            deliver(protocol, rest)


class ClientFront(Front):
    """The same for a connection that this side has opened.

    Args:
        make: Makes the protocol that gets the connection.
        timeout: Seconds until then.

    Attributes:
        done: Fires with that protocol, or fails with why there is no connection.
    """

    def __init__(self, make: Callable[[], IStreamProtocol], timeout: float) -> None:
        self._make = make
        self._timeout = timeout
        self._failure: BaseException | None = None
        self.done: Deferred[Any] = Deferred(self._not_wanted)  # Any: what `make` makes

    def connection_made(self, transport: IStreamTransport) -> None:
        """The connection stands."""
        self.transport = transport
        self.expect_within(self._timeout)
        self.begin()

    def set_timeout(self, seconds: float) -> None:
        """Less time than was said at first."""
        self._timeout = seconds

    def give(self, rest: bytes) -> None:
        """All was said: make the protocol and hand over."""
        try:
            protocol = self._make()
            self.hand_over(protocol, rest)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self.fail(error)
        else:
            if not self.done.called:
                self.done.callback(protocol)

    def fail(self, error: BaseException, reason: str = "error") -> None:
        """There will be no connection."""
        self.stop_waiting()
        if not self.done.called:
            self.done.errback(error)
        self.transport.abort(reason)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has gone before it changed hands."""
        self.stop_waiting()
        if not self.done.called:
            lost = exc if isinstance(exc, ConnectionLost) else ConnectionDone()
            self.done.errback(self.explain(lost))

    def explain(self, error: ConnectionLost) -> BaseException:
        """What to say about a connection that was lost too early."""
        return error

    def _not_wanted(self, done: Deferred[Any]) -> None:
        self.stop_waiting()
        if hasattr(self, "transport"):
            self.transport.abort("aborted")


def deliver(protocol: IStreamProtocol, data: bytes) -> None:
    """Octets for a protocol, which may lend its buffer (asyncio's `BufferedProtocol`)."""
    lender: Any = protocol  # two kinds of protocols, told apart by what they have
    if not hasattr(lender, "get_buffer"):
        protocol.data_received(data)
        return
    left = memoryview(data)
    while left:
        buffer = memoryview(lender.get_buffer(len(left))).cast("B")
        size = min(len(buffer), len(left))
        buffer[:size] = left[:size]
        left = left[size:]
        lender.buffer_updated(size)
