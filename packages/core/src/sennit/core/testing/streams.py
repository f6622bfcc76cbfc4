"""The streams of a network in memory: who listens, and who tries to connect.

Connecting takes the time that the link takes, there and back; where nobody listens it is
refused, and where nobody answers it lasts until the time for it is over. Addresses of a name
are tried in turn, 250 ms apart (RFC 8305 §5).
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from sennit.core._implements import implements
from sennit.core.address import InternetAddress, UnixAddress
from sennit.core.deferred import Deferred
from sennit.core.errors import ConnectError
from sennit.core.protocol import adapt_factory
from sennit.core.transport.memory import MemoryTransport
from sennit.core.transport.memory_link import Link, Way
from sennit.core.transport.stream import _NOBODY

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from sennit.core.address import Address
    from sennit.core.interfaces import IPeerLimits, IStreamProtocol
    from sennit.core.protocol import ProtocolFactory
    from sennit.core.reactor.calls import DelayedCall
    from sennit.core.testing.hosts import Host
    from sennit.core.testing.network import MemoryNetwork

    Place = tuple[str, int] | str

__all__ = ["Connecting", "MemoryListener", "shown"]

ATTEMPT_DELAY: Final = 0.25
"""Seconds between the beginnings of two attempts (RFC 8305 §8)."""


def shown(host: str, port: int) -> str:
    """Host and port as a URL has them."""
    return str(InternetAddress(host, port))


@implements("IListener")
class MemoryListener:
    """A place of a host that accepts connections.

    Attributes:
        on_empty: Called when the last of its connections has gone.
        label: The service it accepts for, as metrics and commands name it.
    """

    def __init__(
        self,
        host: Host,
        place: Place,
        factory: ProtocolFactory,
        limits: IPeerLimits | None,
        *,
        paused: bool = False,
    ) -> None:
        self.on_empty: Callable[[], object] | None = None
        self.label = ""
        self._host = host
        self._place = place
        self._build = adapt_factory(factory)
        self._limits = limits
        self._context = host.context()
        self._connections: set[MemoryTransport] = set()
        self._paused = paused
        self._backlog: list[Callable[[], object]] = []

    def __repr__(self) -> str:
        """Where it listens."""
        return f"<MemoryListener {self.addresses[0]} of {self._host.name}>"

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens."""
        if isinstance(self._place, str):
            return (UnixAddress(self._place),)
        return (InternetAddress(self._place[0] or "0.0.0.0", self._place[1]),)

    @property
    def port(self) -> int:
        """Its port; 0 for a Unix socket."""
        return 0 if isinstance(self._place, str) else self._place[1]

    @property
    def connections(self) -> set[MemoryTransport]:
        """The transports it accepted and that are still there."""
        return self._connections

    def pause_accepting(self) -> None:
        """Leave new connections waiting."""
        self._paused = True

    def resume_accepting(self) -> None:
        """Go on."""
        self._paused = False
        waiting, self._backlog = self._backlog, []
        for accept in waiting:
            accept()

    def close(self) -> None:
        """Accept no more; connections that stand are not touched, those that wait refused."""
        if self._host.listeners.get(self._place) is self:
            del self._host.listeners[self._place]
        waiting, self._backlog = self._backlog, []
        for accept in waiting:
            accept()

    def accept(
        self, local: Address | None, peer: Address | None, link: Link, source: Host
    ) -> MemoryTransport | None:
        """This end of a new connection; ``None`` when it is refused."""
        if self._limits is not None and self._limits.admit(peer) is not None:
            return None
        context = self._context.copy()
        try:
            protocol = context.run(self._build, peer)
        except Exception as error:
            self._host.network.reactor.report(error, f"while {self!r} accepted")
            protocol = None
        if protocol is None:
            if self._limits is not None:
                self._limits.release(peer)
            return None
        transport = self._host.network.make_end(
            self._host, source, protocol, link, local=local, peer=peer, owner=self, context=context
        )
        self._connections.add(transport)
        return transport

    def when_accepting(self, accept: Callable[[], object]) -> None:
        """Call `accept` now, or when accepting is resumed."""
        if self._paused and self._host.listeners.get(self._place) is self:
            self._backlog.append(accept)
        else:
            accept()

    def connection_gone(self, transport: MemoryTransport) -> None:
        """A connection has ended."""
        self._host.transports.discard(transport)
        self._connections.discard(transport)
        if self._limits is not None:
            self._limits.release(transport.peer)
        if not self._connections and self.on_empty is not None:
            self.on_empty()


class _Attempt:
    """The way to one address: a question that travels, and its answer."""

    def __init__(self, connecting: Connecting, place: Place, host: Host, source: Address) -> None:
        self.over = False
        self._race = connecting
        self._place = place
        self._host = host
        self._source = source
        network = connecting.network
        self.there, self.back = connecting.links or network.links(connecting.host, host)
        self.near = network.make_end(
            connecting.host,
            host,
            _NOBODY,
            self.there,
            local=source,
            peer=UnixAddress(place) if isinstance(place, str) else InternetAddress(*place),
            owner=self,
            context=connecting.context.copy(),
        )
        if self.near._way is not None:
            lossy = int(self.there.loss > 0)
            self.near._way.carry(lossy, self._asked)

    def connection_gone(self, transport: MemoryTransport) -> None:
        """This end has gone."""
        self._race.host.transports.discard(transport)

    def _asked(self) -> None:
        """The question has arrived."""
        if self.over:
            return
        host, place = self._host, self._place
        listener = host.listeners.get(place) if isinstance(place, str) else None
        if not isinstance(place, str):
            keys = host.lookups(*place)
            listener = next((host.listeners[key] for key in keys if key in host.listeners), None)
        if listener is None:
            self._answer(self._refused, errno.ECONNREFUSED)
        else:
            listener.when_accepting(lambda: self._accept(listener))

    def _accept(self, listener: MemoryListener) -> None:
        if self.over:
            return
        if listener not in self._host.listeners.values():
            self._answer(self._refused, errno.ECONNREFUSED)
            return
        far = listener.accept(self.near.peer, self._source, self.back, self._race.host)
        if far is None:
            self._answer(self._refused, errno.ECONNREFUSED)
            return
        self.near.join(far)
        if far._way is not None:
            far._way.carry(int(self.back.loss > 0), self._accepted)
        far.start()

    def _answer(self, answer: Callable[[int], object], code: int) -> None:
        network = self._race.network
        gate, pipe = network.gate(self._host, self._race.host)
        Way(network.reactor, self.back, network.random, gate, pipe).carry(0, answer, code)

    def _refused(self, code: int) -> None:
        if not self.over:
            self.give_up()
            self._race.failed(self, code)

    def _accepted(self) -> None:
        if not self.over:
            self.over = True
            self._race.won(self)

    def give_up(self) -> None:
        """Want no answer any more."""
        self.over = True
        self.near.abort()


class Connecting:
    """All attempts of one connection; `done` fires with the protocol."""

    def __init__(
        self,
        network: MemoryNetwork,
        host: Host,
        make: Callable[[], IStreamProtocol],
        what: str,
        *,
        timeout: float,
        links: tuple[Link, Link] | None = None,
        permit: Callable[[str], bool] | None = None,
    ) -> None:
        self.network = network
        self.host = host
        self.links = links
        self.context = host.context()
        self.done: Deferred[IStreamProtocol] = Deferred(self._cancelled)
        self._make = make
        self._what = what
        self._permit = permit
        self._targets: list[tuple[Place, Host | None]] = []
        self._source: tuple[str, int] | None = None
        self._attempts: list[_Attempt] = []
        self._errors: list[OSError] = []
        self._next: DelayedCall | None = None
        self._deadline = network.reactor.call_later(timeout, self._timed_out, timeout)

    def start(
        self, targets: list[tuple[Place, Host | None]], source: tuple[str, int] | None
    ) -> None:
        """Try these, in this order, beginning in the next turn."""
        self._targets = targets
        self._source = source
        self._next = self.network.reactor.call_soon(self._try_next)

    def _try_next(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
        while self._targets and not self.done.called:
            place, host = self._targets.pop(0)
            try:
                source = self._source_for(place)
                if host is None:
                    raise OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))
                if not isinstance(place, str) and self._permit and not self._permit(place[0]):
                    raise OSError(errno.EACCES, "not permitted")
            except OSError as error:
                self._errors.append(self._named(place, error.errno or 0, error.strerror))
                continue
            self._next = self.network.reactor.call_later(ATTEMPT_DELAY, self._try_next)
            self._attempts.append(_Attempt(self, place, host, source))
            return
        if not self.done.called and not any(not each.over for each in self._attempts):
            self._give_up()

    def _source_for(self, place: Place) -> Address:
        if isinstance(place, str):
            return UnixAddress("")
        if self._source is not None:
            return InternetAddress(self._source[0], self._source[1] or self.host.free_port())
        return InternetAddress(self.host.source_for(place[0]), self.host.free_port())

    def failed(self, attempt: _Attempt, code: int) -> None:
        """An attempt was refused."""
        self._errors.append(self._named(attempt._place, code, None))
        self._try_next()

    def won(self, attempt: _Attempt) -> None:
        """An attempt succeeded: it is the one."""
        self._clear(attempt)
        near = attempt.near
        try:
            protocol = self.context.run(self._make)
        except BaseException as error:
            near.abort()
            self.done.errback(error)
            return
        near.set_protocol(protocol)
        near.start()
        self.done.callback(protocol)

    def _named(self, place: Place, code: int, text: str | None) -> OSError:
        name = f"unix:{place}" if isinstance(place, str) else shown(*place)
        return OSError(code, f"{name}: {text or os.strerror(code)}")

    def _clear(self, winner: _Attempt | None) -> None:
        self._deadline.cancel()
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._targets.clear()
        for each in self._attempts:
            if each is not winner and not each.over:
                each.give_up()

    def _give_up(self, why: str = "") -> None:
        errors = self._errors
        if why:
            silent = [each._place for each in self._attempts if not each.over]
            errors = [*errors, *(self._named(each, errno.ETIMEDOUT, why) for each in silent)]
        self._clear(None)
        reasons = "; ".join(dict.fromkeys(str(each.strerror) for each in errors))
        error = ConnectError(f"cannot connect to {self._what}: {reasons or why}", errors)
        error.__cause__ = errors[-1] if errors else None
        self.done.errback(error)

    def _timed_out(self, timeout: float) -> None:
        if not self.done.called:
            self._give_up(f"no answer within {timeout:g} s")

    def _cancelled(self, done: Deferred[IStreamProtocol]) -> None:
        self._clear(None)
