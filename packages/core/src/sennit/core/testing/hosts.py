"""The hosts of a network in memory: addresses, what is bound to them, and who vanishes.

`Host` is made by `MemoryNetwork.host`. In a ``with`` block of it, and in all that is begun
there (callbacks, Tasks, the protocols of a server), `serve` and `connect` are that host's.
"""

from __future__ import annotations

import errno
import os
import socket
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextvars import Context, Token
    from types import TracebackType
    from typing import Final, ParamSpec, Self, TypeVar

    from sennit.core.testing.network import MemoryNetwork
    from sennit.core.testing.streams import MemoryListener
    from sennit.core.testing.udp import MemoryDatagramTransport
    from sennit.core.transport.memory import MemoryTransport

    P = ParamSpec("P")
    R = TypeVar("R")

__all__ = ["ANY", "FIRST_FREE_PORT", "Host", "family_of", "here", "is_loopback"]

FIRST_FREE_PORT: Final = 49152
"""Where ports that nobody chose begin (RFC 6335 §6)."""
LAST_PORT: Final = 65535
ANY: Final = frozenset({"", "0.0.0.0", "::"})
"""Addresses that stand for all of a host's."""

_here: ContextVar[Host | None] = ContextVar("sennit_memory_host", default=None)


def here() -> Host | None:
    """The host whose program runs in this context."""
    return _here.get()


def family_of(address: str) -> int:
    """``AF_INET`` or ``AF_INET6``; ``AF_UNSPEC`` for what is no address but a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, address.partition("%")[0])
        except (OSError, ValueError):
            continue
        return family
    return socket.AF_UNSPEC


def is_loopback(address: str) -> bool:
    """Whether this is each host's own: 127.0.0.0/8, ::1 (RFC 6890)."""
    return address == "::1" or (address.startswith("127.") and bool(family_of(address)))


class Host:
    """One machine of a `MemoryNetwork`.

    Args:
        network: Where it is.
        addresses: Its own; each host has 127.0.0.1 and ::1 beside.
        name: How messages call it, and a name to connect to.
    """

    def __init__(self, network: MemoryNetwork, addresses: tuple[str, ...], name: str) -> None:
        self.network = network
        self.addresses = addresses
        self.name = name
        self.vanished = False
        self.listeners: dict[tuple[str, int] | str, MemoryListener] = {}
        self.sockets: list[MemoryDatagramTransport] = []
        self.transports: set[MemoryTransport] = set()
        self._next_port = FIRST_FREE_PORT
        self._tokens: list[Token[Host | None]] = []

    def __repr__(self) -> str:
        """Name and addresses."""
        gone = " vanished" if self.vanished else ""
        return f"<Host {self.name} {' '.join(self.addresses)}{gone}>"

    # ── whose program runs ────────────────────────────────────────────────────

    def __enter__(self) -> Self:
        """Run the block as this host's program."""
        self._tokens.append(_here.set(self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Be it no longer."""
        _here.reset(self._tokens.pop())

    def run(self, fn: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call `fn` as this host's program, and give what it returns."""
        return self.context().run(fn, *args, **kwargs)

    def context(self) -> Context:
        """A copy of the present context in which this host's program runs."""
        context = copy_context()
        context.run(_here.set, self)
        return context

    # ── addresses and ports ───────────────────────────────────────────────────

    def owns(self, address: str) -> bool:
        """Whether one may bind to `address` here."""
        return address in ANY or address in self.addresses or is_loopback(address)

    def source_for(self, destination: str) -> str:
        """The address from which this host sends to another.

        Raises:
            OSError: It has none of that family.
        """
        if is_loopback(destination):
            return destination
        family = family_of(destination)
        for address in self.addresses:
            if family_of(address) in {family, socket.AF_UNSPEC} or not family:
                return address
        kind = "IPv6" if family == socket.AF_INET6 else "IPv4"
        raise OSError(errno.ENETUNREACH, f"{destination}: {self.name} has no {kind} address")

    def bind(self, address: str, port: int, taken: Iterable[tuple[str, int]]) -> int:
        """See that a port is free, or choose one.

        Raises:
            OSError: It is taken, or the address is not this host's.
        """
        if not self.owns(address):
            code = errno.EADDRNOTAVAIL
            raise OSError(code, f"cannot listen on {address}:{port}: {os.strerror(code)}")
        if not port:
            return self.free_port()
        if any(port == each[1] and _overlap(address, each[0]) for each in taken):
            code = errno.EADDRINUSE
            raise OSError(code, f"cannot listen on {address}:{port}: {os.strerror(code)} already")
        return port

    def free_port(self) -> int:
        """A port that nobody has had yet."""
        self._next_port += 1
        if self._next_port > LAST_PORT:
            self._next_port = FIRST_FREE_PORT + 1
        return self._next_port - 1

    def lookups(self, address: str, port: int) -> Iterator[tuple[str, int]]:
        """The keys under which somebody who receives at an address may be found."""
        yield address, port
        yield ("::" if family_of(address) == socket.AF_INET6 else "0.0.0.0"), port
        yield "", port

    # ── being there, and not ──────────────────────────────────────────────────

    def vanish(self) -> None:
        """Be gone as when the cable is pulled: nothing comes or goes, and nobody is told.

        Peers of its connections hear nothing any more; they can write until the link and
        their buffer are full. Only their own time-outs can tell them.
        """
        self.vanished = True
        self.network.look_at_gates()

    def come_back(self, *, rebooted: bool = False) -> None:
        """Be there again: what peers sent meanwhile arrives.

        Args:
            rebooted: It knows nothing of its connections any more: its own ends are lost,
                and peers get a reset for what they sent or send (RFC 9293 §3.5.2).
        """
        if rebooted:
            for each in list(self.transports):
                each.forget()
        self.vanished = False
        self.network.look_at_gates()


def _overlap(one: str, other: str) -> bool:
    if one == other or "" in (one, other):
        return True
    if one in ANY or other in ANY:
        return (":" in one) == (":" in other)
    return False
