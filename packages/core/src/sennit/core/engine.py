"""The engine contract: what every protocol's state machine offers, and knows nothing beyond.

An engine turns octets into events and calls into octets. It knows no socket,
clock, file, reactor, Deferred or coroutine, so that tests, fuzzers and
benchmarks can hold it by itself. `sennit.core.driver.EngineProtocol` binds one
to a transport.

The verbs (`Engine`, and `ServerEngine` for servers):

``receive_data(data)``, ``receive_eof()``
    Octets and the end of them go in. Nothing comes back, nothing is raised.
``next_event()``
    The next thing the peer said, or why there is nothing: `NEED_DATA` (more
    octets may make one), `PAUSED` (the open exchange has to be answered first,
    more octets would not help), `CLOSED` (nothing will ever come again, and
    what `data_to_send` still gives is the last). It never raises on what the
    peer sent: a broken rule is a `PeerFault` whose reply is queued already.
    After ``receive_eof()`` it ends in `CLOSED` once what was asked is answered.
``data_to_send()``
    What to send, in order: octets, never copied together, and file parts (`FilePart`).
    Each piece is given once; an empty list when there is nothing.
``next_timeout()``, ``handle_timeout(now)``
    When the engine wants to be told the time (monotonic seconds, absolute), and
    the telling, which does what is due by then. Time comes in by no other way:
    the driver also tells it when the connection begins and before each
    `receive_data`, so `handle_timeout` must be harmless when nothing is due. An
    engine without timers takes both from `Untimed` and costs nothing.
``close()``
    Begin nothing new: say good-bye if the protocol has words for it, finish what
    is open, then `CLOSED`.
``release()``
    End the engine, and hand over the octets it has not read (STARTTLS, upgrades).
``can_send(command)``, ``send_command(command)``, ``cancel(exchange)`` (clients)
    Whether a command may leave now (a greeting has come, pipelining is allowed);
    queue it, and say its exchange (`SOLE` where replies come in order); give a
    command up, if the protocol has a way.
``internal_error(exchange)`` (servers)
    Queue the protocol's "this side failed" for an exchange, whatever of its answer
    has left already (then most protocols can only end the exchange or close).

Every event says its `exchange`; where there is only one at a time that is `SOLE`.
While a command waits for its answer the engine holds back the next *command of
that exchange*; what belongs to the open one, and every other exchange, still
comes out. Events say by their base what they are:

* a plain event begins an exchange: a handler is started for it;
* `Belongs`: octets of a body, a continuation line, IMAP's DONE. It goes to the
  inbox of its exchange's handler. The last of them derives from `Ends`;
* `Interrupts`: a reset. It cancels the handler of its exchange;
* `PeerFault`: see there.

A client's engine uses the same words: the command opens the exchange, what
`Belongs` to it are parts of the reply, the one that `Ends` it is the reply (or the
end of it), one that `Interrupts` it means that there will be none, and a plain
event is what nobody asked for.

Sources: none; this is the house's own contract. Not here: I/O of any kind.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from sennit.core.address import DatagramPath
from sennit.core.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO

    from sennit.core.interfaces import Buffer

__all__ = [
    "CLOSED",
    "CONNECTION",
    "NEED_DATA",
    "PAUSED",
    "SOLE",
    "Belongs",
    "ClientEngine",
    "DatagramEngine",
    "Ends",
    "Engine",
    "Event",
    "FilePart",
    "Interrupts",
    "NoEvent",
    "Outgoing",
    "PeerFault",
    "ServerEngine",
    "Untimed",
]

E_co = TypeVar("E_co", covariant=True)
C_contra = TypeVar("C_contra", contravariant=True)

Outgoing = tuple[bytes | bytearray | memoryview, DatagramPath]
"""A datagram with its way: where it goes, and where it leaves from."""

SOLE: Final = 0
"""The exchange of a protocol that has one at a time."""
CONNECTION: Final = -1
"""The exchange of what concerns the connection as a whole."""


class NoEvent(Enum):
    """Why `next_event` has nothing. Compare by identity, or ask for the type."""

    NEED_DATA = "need data"
    PAUSED = "paused"
    CLOSED = "closed"

    def __repr__(self) -> str:
        return self.name


NEED_DATA: Final = NoEvent.NEED_DATA
"""Octets that may still come are needed for the next event."""
PAUSED: Final = NoEvent.PAUSED
"""What is open must be answered before anything else comes out."""
CLOSED: Final = NoEvent.CLOSED
"""There will be no more events; close when everything has been sent."""


class Event(Protocol):
    """What every event has."""

    @property
    def exchange(self) -> int:
        """The exchange it is of: `SOLE`, `CONNECTION`, or the protocol's own number."""
        ...


class Belongs:
    """Base of events that belong to an open exchange, and go to its handler's inbox.

    One that carries octets keeps them in an attribute `data`, which is what
    `EngineProtocol.body` hands to the handler, and what its limits count.
    """

    __slots__ = ()


class Ends(Belongs):
    """Base of events after which nothing more of the peer belongs to the exchange."""

    __slots__ = ()


class Interrupts:
    """Base of events that cancel the handler of their exchange."""

    __slots__ = ()


class PeerFault:
    """The peer broke a rule; the reply is queued already.

    The driver deals with it: one log line, and the error for whoever reads from
    the exchange's inbox. Nothing has to be handled, though a protocol may.

    Args:
        error: What was broken; its text quotes the peer with `repr`, truncated.
        exchange: The exchange in which it happened.
    """

    __slots__ = ("error", "exchange")

    def __init__(self, error: ProtocolError, exchange: int = SOLE) -> None:
        self.error = error
        self.exchange = exchange

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.error!r}, exchange={self.exchange})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return (
            self.exchange == other.exchange
            and type(self.error) is type(other.error)
            and self.error.args == other.error.args
            and self.error.rule == other.error.rule
        )

    __hash__ = None  # type: ignore[assignment]  # compared by what it says, never kept in sets


class FilePart:
    """Octets of a file among what is to be sent; the driver sends them by ``sendfile``.

    The engine counts `length` and never touches `file`.

    Args:
        file: Open for reading until the part has left.
        offset: Octet to begin at.
        length: Octets, all of which must be there: a file that turns out shorter
            ends the connection, since the peer was told otherwise.
        close_file: Whether the driver closes `file` once this part has left or
            the connection has gone.
    """

    __slots__ = ("close_file", "file", "length", "offset")

    def __init__(
        self, file: IO[bytes], offset: int, length: int, *, close_file: bool = False
    ) -> None:
        if offset < 0 or length < 0:
            raise ValueError(f"offset ({offset}) and length ({length}) count octets, from zero")
        self.file = file
        self.offset = offset
        self.length = length
        self.close_file = close_file

    def __repr__(self) -> str:
        return f"FilePart({self.file!r}, {self.offset}, {self.length})"

    def __len__(self) -> int:
        return self.length


class Engine(Protocol[E_co]):
    """One side of a conversation, without I/O. The module's docstring tells the verbs."""

    def receive_data(self, data: bytes) -> None:
        """Take octets from the peer, cut anywhere."""

    def receive_eof(self) -> None:
        """The peer sends no more."""

    def next_event(self) -> E_co | NoEvent:
        """The next event, or why there is none. Never raises on what the peer sent."""
        ...

    def data_to_send(self) -> Sequence[Buffer | FilePart]:
        """A list of what to send now, in order; each piece is given once."""
        ...

    def next_timeout(self) -> float | None:
        """The time at which `handle_timeout` wants to be called; ``None`` for never."""
        ...

    def handle_timeout(self, now: float) -> None:
        """It is `now`: do what is due."""

    def close(self) -> None:
        """Begin nothing new; `CLOSED` once what is open has been answered."""

    def release(self) -> bytes:
        """End, and return the octets that were received and not read."""
        ...


class ServerEngine(Engine[E_co], Protocol[E_co]):
    """The side that answers."""

    def internal_error(self, exchange: int) -> None:
        """Queue the reply that says that this side failed, in whatever state the exchange is."""


class ClientEngine(Engine[E_co], Protocol[C_contra, E_co]):
    """The side that asks."""

    def can_send(self, command: C_contra) -> bool:
        """Whether `send_command` may be called with it now."""
        ...

    def send_command(self, command: C_contra) -> int:
        """Queue a command; its exchange.

        Raises:
            ValueError: It cannot be said in this protocol (CR, LF or NUL in it, say).
        """
        ...

    def cancel(self, exchange: int) -> bool:
        """Give up the command sent last of this exchange.

        Returns:
            True: the protocol was told, and nothing more of the exchange will come
            out. False: there is no way, its reply will come and is thrown away.
        """
        ...


class DatagramEngine(Protocol[E_co]):
    """A conversation in datagrams, with any number of peers (driven by ``datagram_driver.py``).

    It has the verbs of `ServerEngine`, save that datagrams come and go with their paths.
    """

    def receive_datagram(self, data: bytes, path: DatagramPath, now: float) -> None:
        """Take a datagram that came by `path` at the time `now`."""

    def next_event(self) -> E_co | NoEvent:
        """The next event, or why there is none. Never raises on what a peer sent."""
        ...

    def datagrams_to_send(self) -> Sequence[Outgoing]:
        """What to send now, in order, each with its path; each is given once."""
        ...

    def next_timeout(self) -> float | None:
        """The time at which `handle_timeout` wants to be called; ``None`` for never."""
        ...

    def handle_timeout(self, now: float) -> None:
        """It is `now`: do what is due."""

    def internal_error(self, exchange: int) -> None:
        """Queue the reply that says that this side failed, if the protocol has one."""

    def close(self) -> None:
        """Begin nothing new; `CLOSED` once what is open has been answered."""


class Untimed:
    """For engines without timers: the driver neither asks for the time nor tells it."""

    __slots__ = ()

    def next_timeout(self) -> float | None:
        """There is no timer."""
        return None

    def handle_timeout(self, now: float) -> None:
        """Nothing is ever due."""
