"""``stdio:``, the endpoint that is this process's standard input and output.

``serve("stdio:", factory)`` accepts one connection, which is there already, as a
program started by inetd, by ``socat EXEC:`` or in a pipe does. `open_stdio` gives it as a `Stream`.
"""

from __future__ import annotations

from contextvars import copy_context

from sennit.core.deferred import Deferred, fail, succeed
from sennit.core.errors import ConnectionAborted
from sennit.core.protocol import adapt_factory
from sennit.core.reactor.base import current_reactor
from sennit.core.transport.stdio import stdio_transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sennit.core.address import Address
    from sennit.core.endpoint.parse import Endpoint
    from sennit.core.interfaces import IPeerLimits, IReactor
    from sennit.core.protocol import ProtocolFactory
    from sennit.core.reactor.base import Reactor
    from sennit.core.stream import Stream
    from sennit.core.transport.pipes import PipeTransport
    from sennit.core.transport.stream import SocketTransport

__all__ = ["StdioListener", "connect", "listen", "open_stdio"]


class StdioListener:
    """Accepts the one connection there is (made by `listen`).

    Attributes:
        on_empty: Called when that connection has gone.
    """

    def __init__(self, reactor: Reactor, factory: ProtocolFactory, *, paused: bool) -> None:
        self._reactor = reactor
        self._build = adapt_factory(factory)
        self._waiting: list[Deferred[None]] = []
        self._accepted = False
        self._ended = False
        self._closed = False
        self.connections: set[PipeTransport | SocketTransport] = set()
        self.on_empty: Callable[[], object] | None = None
        if not paused:
            self.resume_accepting()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """There are none."""
        return ()

    @property
    def port(self) -> int:
        """There is none."""
        return 0

    def pause_accepting(self) -> None:
        """The one connection waits, if it was not accepted yet."""

    def resume_accepting(self) -> None:
        """Accept it, if that was not done yet."""
        if self._accepted or self._closed:
            return
        self._accepted = True
        protocol = self._build(None)
        if protocol is None:
            self._end()
            return
        transport = stdio_transport(
            self._reactor, protocol, owner=self, context=copy_context() or None
        )
        self.connections.add(transport)
        transport.start()

    def close(self) -> None:
        """Accept no more; the connection that stands is not touched."""
        self._closed = True

    def wait_ended(self) -> Deferred[None]:
        """Fires when the connection has gone: there will be no other."""
        if self._ended:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        return waiter

    def connection_gone(self, transport: SocketTransport) -> None:
        """It has gone (called by it)."""
        self.connections.discard(transport)
        self._end()
        if self.on_empty is not None:
            self.on_empty()

    def _end(self) -> None:
        self._ended = True
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)


def listen(
    endpoint: Endpoint,
    factory: ProtocolFactory,
    *,
    reactor: Reactor,
    limits: IPeerLimits | None,
    paused: bool,
) -> StdioListener:
    """Accept the one connection that standard input and output are (`schemes`).

    Raises:
        UsageError: They are in use already.
        OSError: One of them is closed.
    """
    # One peer that is there already is nothing that limits of peers are about.
    return StdioListener(reactor, factory, paused=paused)


def connect(
    endpoint: Endpoint,
    factory: ProtocolFactory,
    *,
    reactor: Reactor,
    timeout: float,
    local_address: tuple[str, int] | None = None,
) -> Deferred[Any]:
    """Give a protocol standard input and output (`schemes`)."""
    protocol = adapt_factory(factory)(None)
    if protocol is None:
        return fail(ConnectionAborted("the factory refused the connection", "refused"))
    try:
        transport = stdio_transport(reactor, protocol, context=copy_context() or None)
    except OSError as error:
        return fail(error)
    transport.start()
    return succeed(protocol)


async def open_stdio(*, reactor: IReactor | None = None) -> Stream:
    """Standard input and output as a stream.

    Raises:
        UsageError: They are in use as a transport already.
        OSError: One of them is closed.
    """
    from sennit.core.stream import StreamProtocol

    here: Any = reactor or current_reactor()
    protocol = StreamProtocol()
    stdio_transport(here, protocol, context=copy_context() or None).start()
    return protocol.stream
