"""What every listener of datagrams is: transports, one per address, under a listener's verbs.

`sennit.core.transport.udp` has the one of sockets, `sennit.core.testing.udp` the one of a
network in memory.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Generic, Protocol, TypeVar

    from sennit.core.address import Address
    from sennit.core.interfaces import IDatagramProtocol

    class _Reports(Protocol):
        def report(self, error: BaseException, where: str) -> None: ...

    class Listened(Protocol):
        """What a listener needs of its transports."""

        @property
        def _reactor(self) -> _Reports: ...
        def get_protocol(self) -> IDatagramProtocol: ...
        def pause_reading(self) -> None: ...
        def resume_reading(self) -> None: ...
        def close(self, reason: str = "clean") -> None: ...
        def abort(self, reason: str = "aborted") -> None: ...

    T = TypeVar("T", bound=Listened)

    class _Listening(Generic[T]):
        """For checkers: listeners of one kind of transport."""

else:

    class _Listening:
        """At run time there is one kind."""

        def __class_getitem__(cls, item):
            return cls


__all__ = ["DatagramListening"]


class DatagramListening(_Listening["T"]):
    """Some transports of datagrams, under the verbs of a listener.

    Args:
        addresses: Where they are bound, in order.
        paused: Wait for `resume_accepting` before the first datagram is received.
        scoped: Whether somebody else (`Server`) asks `connections` to end after
            `close`; else `close` does.

    Attributes:
        on_empty: Called when the last transport has gone.
        label: The service it receives for, as metrics and commands name it.
    """

    def __init__(self, addresses: tuple[Address, ...], *, paused: bool, scoped: bool) -> None:
        self.on_empty: Callable[[], object] | None = None
        self.label = ""
        self._addresses = addresses
        self._scoped = scoped
        self._begun = not paused
        self._closed = False
        self._transports: list[T] = []
        self._alive: set[T] = set()

    def __repr__(self) -> str:
        """Where it listens."""
        return f"<{type(self).__name__} {', '.join(map(str, self._addresses))}>"

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens."""
        return self._addresses

    @property
    def port(self) -> int:
        """The port of the first address; 0 for a Unix socket."""
        return int(getattr(self._addresses[0], "port", 0))

    @property
    def transports(self) -> tuple[T, ...]:
        """One per address."""
        return tuple(self._transports)

    @property
    def connections(self) -> frozenset[T]:
        """None while it listens; after `close` the transports that have not come to an end."""
        return frozenset(self._alive) if self._closed else frozenset()

    def pause_accepting(self) -> None:
        """Leave datagrams in the queue, the kernel's where there is one."""
        for each in self._transports:
            each.pause_reading()

    def resume_accepting(self) -> None:
        """Receive (again)."""
        if not self._closed:
            self._begun = True
            for each in self._transports:
                each.resume_reading()

    def close(self) -> None:
        """Come to an end: what waits is sent, then the sockets are closed.

        A protocol with a method ``drain`` is asked to end by itself (`IDrainable`), and
        receives until it closes its transport. Closing twice is harmless.
        """
        if self._closed:
            return
        self._closed = True
        if self._scoped and self._begun:
            return
        for each in self._transports:
            drain = getattr(each.get_protocol(), "drain", None) if self._begun else None
            if drain is None:
                each.close("drained")
                continue
            try:
                drain()
            except Exception as error:
                each._reactor.report(error, f"while {each!r} was drained")
                each.abort("drained")

    def connection_gone(self, transport: T) -> None:
        """A transport of ours has ended."""
        self._alive.discard(transport)
        if self._alive:
            return
        self._closed = True
        self._let_go()
        if self.on_empty is not None:
            self.on_empty()

    def _let_go(self) -> None:
        """The last transport has gone: give back what was held beside them."""
