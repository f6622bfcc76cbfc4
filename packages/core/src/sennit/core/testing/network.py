"""A network in memory: hosts, what lies between them, and what goes wrong there.

Programs run on it unmodified. While a network stands, its reactor (a `Clock` most often)
sends ``tcp``, ``tls``, ``unix`` and ``udp`` endpoints here instead of to the kernel, so
`serve`, `connect`, `open_stream`, TLS and all that is built on them are tested as they are::

    with Clock() as clock:
        network = MemoryNetwork(clock, link=Link(latency=0.05))
        server = network.host("10.0.0.1", name="db.example")
        server.start(lambda: run_database())
        with network.host("10.0.0.2"):
            clock.run(use_database)

Who connects is the host in whose ``with`` block (or `Host.run`) that happens, and whatever
that begins: a server's protocols run as its host. Elsewhere it is the network's `client`.

What the network does is the `Link` between two hosts, and can change at any time: `partition`,
`heal`, `cut`, `Host.vanish`; with `Clock.call_later` by schedule. All chance comes from one
generator with a seed, so a run can be repeated.

Not here: processes, descriptors and Unix datagrams, which are the kernel's.
"""

from __future__ import annotations

import errno
import os
import random
import socket
from typing import TYPE_CHECKING

from sennit.core.deferred import Deferred, fail, maybe_deferred
from sennit.core.errors import ConnectError, UsageError
from sennit.core.testing.hosts import ANY, Host, family_of, here, is_loopback
from sennit.core.testing.post import Post
from sennit.core.testing.streams import Connecting, MemoryListener, shown
from sennit.core.testing.udp import MemoryDatagramListener, MemoryDatagramTransport
from sennit.core.transport.memory import MemoryTransport
from sennit.core.transport.memory_link import Gate, Link, Pipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextvars import Context
    from typing import Any, Final

    from sennit.core.address import Address
    from sennit.core.endpoint.listen import Server
    from sennit.core.interfaces import (
        IDatagramListener,
        IDatagramProtocol,
        IListener,
        IPeerLimits,
        IStreamProtocol,
    )
    from sennit.core.protocol import DatagramFactory, ProtocolFactory
    from sennit.core.reactor.base import Reactor
    from sennit.core.testing.clock import Clock
    from sennit.core.transport.memory_link import Cut

__all__ = ["MemoryNetwork"]

CLIENT: Final = ("192.0.2.1", "2001:db8::1")
"""Addresses of the host `MemoryNetwork.client` (RFC 5737, RFC 3849: for documentation)."""
TIMEOUT: Final = 30.0
"""Seconds for connecting."""


class MemoryNetwork:
    """Hosts, and links between them.

    Args:
        reactor: A reactor or a `Clock`, whose turns move the octets; until `close` its
            endpoints are this network's.
        link: What lies between two hosts, each way, unless `set_link` says otherwise.
        seed: Of all chance.

    Attributes:
        client: The host of whoever is on no other.
        link: What lies between two hosts.
        random: Where chance comes from.
        seed: What it began with.
    """

    def __init__(
        self, reactor: Reactor | Clock, *, link: Link | None = None, seed: int = 0
    ) -> None:
        self.reactor = reactor
        self.link = link or Link()
        self.link.check()
        self.seed = seed
        self.random = random.Random(seed)
        self._post = Post(self)
        self._hosts: list[Host] = []
        self._names: dict[str, list[str]] = {}
        self._owners: dict[str, Host] = {}
        self._links: dict[tuple[Host, Host], Link] = {}
        self._gates: dict[tuple[Host, Host], tuple[Gate, Pipe]] = {}
        self._sides: list[tuple[frozenset[Host], frozenset[Host]]] = []
        self._chosen: tuple[Link, Link] | None = None
        self.client = self.host(*CLIENT, name="client")
        self._before: Any = reactor.network  # a reactor may have none, a clock always has one
        reactor.network = self

    def __repr__(self) -> str:
        """Its hosts, and the seed to repeat a run with."""
        return f"<MemoryNetwork of {len(self._hosts)} hosts, seed {self.seed}>"

    # ── hosts ─────────────────────────────────────────────────────────────────

    def host(self, *addresses: str, name: str = "") -> Host:
        """The host with these addresses; made when there is none.

        Args:
            addresses: Of either family; a word that is no address stands for one.
            name: To call it by, and to connect to; the first address when left out.

        Raises:
            ValueError: No address, or one that another host has.
        """
        if not addresses:
            raise ValueError("a host has at least one address")
        known = self._owners.get(addresses[0])
        if known is not None and set(addresses) <= set(known.addresses):
            return known
        for each in addresses:
            if each in self._owners:
                raise ValueError(f"{each} is an address of {self._owners[each]!r}")
            if each in ANY or is_loopback(each):
                raise ValueError(f"{each} is every host's own, or nobody's")
        made = Host(self, addresses, name or addresses[0])
        self._hosts.append(made)
        for each in addresses:
            self._owners[each] = made
        if name:
            self._names.setdefault(name, []).extend(addresses)
        return made

    def add_name(self, name: str, *addresses: str) -> None:
        """Let a name stand for addresses, as DNS would; more for one that is known."""
        self._names.setdefault(name, []).extend(addresses)

    def _look_up(self, name: str) -> list[str]:
        """The addresses of a name, or of an address.

        Raises:
            OSError: Nobody knows it.
        """
        if name in self._names:
            return list(self._names[name])
        if name == "localhost":
            return ["127.0.0.1", "::1"]
        if family_of(name) or name in self._owners or name in ANY:
            return [name]
        raise socket.gaierror(socket.EAI_NONAME, f"{name}: Name or service not known")

    def _here(self) -> Host:
        return here() or self.client

    def _host_to_bind(self, address: str) -> Host:
        """Whose program listens there: who runs now, or else whoever has the address."""
        current = here()
        if current is not None:
            return current
        if address in ANY or is_loopback(address):
            return self.client
        return self._owners.get(address) or self.host(address)

    @property
    def hosts(self) -> tuple[Host, ...]:
        """All of them."""
        return tuple(self._hosts)

    def host_to_reach(self, source: Host, address: str) -> tuple[str, Host | None]:
        """The host that an address stands for as seen from another, and its address there."""
        if address in ANY:
            address = "::1" if address == "::" else "127.0.0.1"
        return address, source if is_loopback(address) else self._owners.get(address)

    # ── links ─────────────────────────────────────────────────────────────────

    def set_link(self, one: Host, other: Host, there: Link, back: Link | None = None) -> None:
        """Say what lies between two hosts, for connections and datagrams from now on.

        Args:
            one: A host.
            other: Another one.
            there: From `one` to `other`.
            back: From `other` to `one`; the same as `there` when left out.
        """
        there.check()
        (back or there).check()
        self._links[one, other] = there
        self._links[other, one] = back or there

    def links(self, one: Host, other: Host) -> tuple[Link, Link]:
        """What lies between two hosts, there and back; nothing between a host and itself."""
        plain = Link() if one is other else self.link
        return self._links.get((one, other), plain), self._links.get((other, one), plain)

    def gate(self, source: Host, destination: Host) -> tuple[Gate, Pipe]:
        """What all pass that goes from one host to another."""
        found = self._gates.get((source, destination))
        if found is None:
            found = self._gates[source, destination] = Gate(), Pipe()
            found[0].is_open = self._passes(source, destination)
        return found

    def _passes(self, source: Host, destination: Host) -> bool:
        if source is destination:
            return True
        if source.vanished or destination.vanished:
            return False
        for one, other in self._sides:
            if (source in one and destination in other) or (source in other and destination in one):
                return False
        return True

    def look_at_gates(self) -> None:
        """Open and close the gates, as hosts and partitions are now."""
        for (source, destination), (gate, _) in self._gates.items():
            passes = self._passes(source, destination)
            if passes and not gate.is_open:
                gate.open()
            elif not passes:
                gate.close()

    def partition(self, one: Iterable[Host], other: Iterable[Host]) -> None:
        """Let nothing pass between the hosts of one side and those of the other.

        Connections stand and wait; what is sent meanwhile arrives after `heal`, and
        datagrams are lost.
        """
        self._sides.append((frozenset(one), frozenset(other)))
        self.look_at_gates()

    def heal(self) -> None:
        """Let everything pass again (vanished hosts stay so)."""
        self._sides.clear()
        self.look_at_gates()

    def cut(self, one: Host | None = None, other: Host | None = None, how: Cut = "reset") -> int:
        """Break connections now.

        Args:
            one: Only those of this host.
            other: Only those between both.
            how: ``reset``, ``close`` or ``vanish`` (see `Link`).

        Returns:
            How many.
        """
        broken = 0
        for host in self._hosts:
            for each in list(host.transports):
                far = each.other
                ends = {host, None if far is None else self._host_of(far)}
                if far is None or not {each for each in (one, other) if each} <= ends:
                    continue
                if not each.severed:
                    each.cut(how)
                    broken += 1
        return broken

    def _host_of(self, transport: MemoryTransport) -> Host | None:
        return next((each for each in self._hosts if transport in each.transports), None)

    # ── by URL ────────────────────────────────────────────────────────────────

    def serve(self, url: str, factory: Any, **options: Any) -> Server:
        """`sennit.core.serve` here, on the host that has the URL's address (made if none has).

        (`Any`: factories of streams or datagrams, as `serve` takes them.)
        """
        from sennit.core.endpoint.listen import serve

        return serve(url, factory, reactor=_as_reactor(self.reactor), **options)

    def connect(
        self,
        url: str,
        factory: Any,
        *,
        source: str | Host | None = None,
        there: Link | None = None,
        back: Link | None = None,
        **options: Any,
    ) -> Deferred[Any]:
        """`sennit.core.connect` here.

        (`Any`: the protocol is the factory's; of streams or datagrams, as `connect` takes it.)

        Args:
            url: An endpoint, or ``"host:port"``.
            factory: Makes this end's protocol.
            source: The host that connects, or an address of it, with a port where that
                matters: ``"192.0.2.7:1234"``; made when nobody has it.
            there: The link to the place; ``Link(cut_after=7)`` breaks the connection
                after seven octets. As between the hosts when left out.
            back: The link from the place.
            options: As for `sennit.core.connect`.

        Returns:
            Fires with the protocol; fails with `ConnectError` where nobody listens.
        """
        from sennit.core.endpoint.connect import connect

        if isinstance(source, str):
            address, port = _parse(source) if _has_port(source) else (source, 0)
            host = self._owners.get(address) or self.host(address)
            options["local_address"] = (address, port)
        else:
            host = source or self._here()
        if there is not None or back is not None:
            self._chosen = there or self.link, back or self.link
        try:
            if ":" in url and "/" not in url and _has_port(url):
                name, port = _parse(url)
                return host.run(
                    self.connect_tcp,
                    factory,
                    name,
                    port,
                    local_address=options.pop("local_address", None),
                    **options,
                )
            connect_here: Any = connect  # of its overloads the checkers cannot choose
            return host.run(
                connect_here, url, factory, reactor=_as_reactor(self.reactor), **options
            )
        finally:
            self._chosen = None

    def listen(
        self, address: str, factory: ProtocolFactory, *, limits: IPeerLimits | None = None
    ) -> MemoryListener:
        """Accept connections at ``"host:port"``, without a `Server`.

        Raises:
            OSError: Somebody listens there.
            ValueError: It names no host and port.
        """
        host, port = _parse(address)
        return self._listen(factory, host, port, limits, paused=False)

    # ── what a reactor asks of its network ────────────────────────────────────

    def listen_tcp(
        self,
        factory: ProtocolFactory,
        port: int,
        host: str = "",
        *,
        limits: IPeerLimits | None = None,
        paused: bool = False,
        **_options: Any,  # the kernel's: backlog, reuse_port
    ) -> Deferred[IListener]:
        """`Reactor.listen_tcp`."""

        def listen() -> IListener:
            return self._listen(factory, host, port, limits, paused=paused)

        return maybe_deferred(listen)

    def _listen(
        self,
        factory: ProtocolFactory,
        name: str,
        port: int,
        limits: IPeerLimits | None,
        *,
        paused: bool,
    ) -> MemoryListener:
        try:
            address = self._look_up(name)[0]
        except OSError:
            if here() is not None:
                raise
            address = name  # a word that stands for an address
        host = self._host_to_bind(address)
        taken = [key for key in host.listeners if not isinstance(key, str)]
        place = address, host.bind(address, port, taken)
        made = host.listeners[place] = MemoryListener(host, place, factory, limits, paused=paused)
        return made

    def connect_tcp(
        self,
        factory: ProtocolFactory,
        host: str,
        port: int,
        *,
        timeout: float = TIMEOUT,
        local_address: tuple[str, int] | None = None,
        permit: Callable[[str], bool] | None = None,
    ) -> Deferred[IStreamProtocol]:
        """`Reactor.connect_tcp`."""
        from sennit.core.endpoint.connect import builder

        make = builder(factory)
        if not 0 < port < 65536:
            raise UsageError(f"one connects to a port from 1 to 65535, not {port}")
        source = self._here()
        if here() is None and local_address is not None:
            source = self._owners.get(local_address[0], source)
        try:
            addresses = self._look_up(host)
        except OSError as error:
            if family_of(host) or "." in host:
                return fail(
                    ConnectError(f"cannot connect to {host}:{port}: {error.strerror}", [error])
                )
            addresses = [host]
        connecting = Connecting(
            self,
            source,
            make,
            shown(host, port),
            timeout=timeout,
            links=self._chosen,
            permit=permit,
        )
        targets: list[tuple[tuple[str, int] | str, Host | None]] = []
        for each in addresses:
            address, owner = self.host_to_reach(source, each)
            targets.append(((address, port), owner))
        connecting.start(targets, local_address)
        return connecting.done

    def listen_unix(
        self,
        factory: ProtocolFactory,
        path: str,
        *,
        limits: IPeerLimits | None = None,
        paused: bool = False,
        **_options: Any,  # the kernel's: backlog, mode
    ) -> Deferred[IListener]:
        """`Reactor.listen_unix`: a path is a host's own."""

        def listen() -> IListener:
            host = self._here()
            if path in host.listeners:
                code = errno.EADDRINUSE
                raise OSError(code, f"cannot listen on unix:{path}: {os.strerror(code)}")
            made = host.listeners[path] = MemoryListener(host, path, factory, limits, paused=paused)
            return made

        return maybe_deferred(listen)

    def connect_unix(
        self, factory: ProtocolFactory, path: str, *, timeout: float = TIMEOUT
    ) -> Deferred[IStreamProtocol]:
        """`Reactor.connect_unix`."""
        from sennit.core.endpoint.connect import builder

        host = self._here()
        what = f"unix:{path}"
        connecting = Connecting(
            self, host, builder(factory), what, timeout=timeout, links=self._chosen
        )
        connecting.start([(path, host)], None)
        return connecting.done

    def make_end(
        self,
        host: Host,
        far: Host,
        protocol: IStreamProtocol,
        link: Link,
        *,
        local: Address | None,
        peer: Address | None,
        owner: Any,  # whoever counts it: a listener, an attempt
        context: Context,
    ) -> MemoryTransport:
        """One end of a connection between two hosts."""
        gate, pipe = self.gate(host, far)
        made = MemoryTransport(
            self.reactor,
            protocol,
            link,
            local=local,
            peer=peer,
            owner=owner,
            context=context,
            random=self.random,
            gate=gate,
            pipe=pipe,
        )
        host.transports.add(made)
        return made

    # ── datagrams ─────────────────────────────────────────────────────────────

    def listen_udp(
        self,
        factory: DatagramFactory,
        port: int,
        host: str = "",
        *,
        broadcast: bool = False,
        max_size: int = 65535,
        paused: bool = False,
        scoped: bool = False,
        groups: Sequence[str] = (),
        shared: bool = False,
        **_options: Any,  # the kernel's: reuse_port, ttl, dual_stack
    ) -> Deferred[IDatagramListener]:
        """`Reactor.listen_udp`."""

        def listen() -> IDatagramListener:
            addresses = ["0.0.0.0", "::"] if not host else self._look_up(host)
            owner = self._host_to_bind(addresses[0])
            chosen = port
            places: list[tuple[str, int]] = []
            for each in addresses:
                taken = [one.place for one in owner.sockets if not (shared and one.shared)]
                chosen = owner.bind(each, chosen, taken)
                places.append((each, chosen))
            return MemoryDatagramListener(
                owner,
                places,
                factory,
                max_size=max_size,
                broadcast=broadcast,
                paused=paused,
                scoped=scoped,
                groups=groups,
                shared=shared,
            )

        return maybe_deferred(listen)

    def connect_udp(
        self,
        factory: DatagramFactory,
        host: str,
        port: int,
        *,
        local_address: tuple[str, int] | None = None,
        broadcast: bool = False,
        max_size: int = 65535,
        **_options: Any,  # the kernel's: ttl; and a time-out, as nothing takes time
    ) -> Deferred[IDatagramProtocol]:
        """`Reactor.connect_udp`."""
        from sennit.core.protocol import adapt_datagram_factory

        build = adapt_datagram_factory(factory)
        what = f"udp {shown(host, port)}"

        def connect() -> IDatagramProtocol:
            source = self._here()
            try:
                address, _ = self.host_to_reach(source, self._look_up(host)[0])
                local = local_address or (source.source_for(address), 0)
                place = (
                    local[0],
                    source.bind(local[0], local[1], [each.place for each in source.sockets]),
                )
            except OSError as error:
                raise ConnectError(
                    f"cannot connect to {what}: {error.strerror}", [error]
                ) from error
            context = source.context()
            protocol = context.copy().run(build, None)
            transport = MemoryDatagramTransport(
                source,
                place,
                protocol,
                context=context,
                peer=(address, port),
                broadcast=broadcast,
                max_size=max_size,
            )
            transport.start()
            return protocol

        return maybe_deferred(connect)

    @property
    def sent(self) -> int:
        """Datagrams sent so far."""
        return self._post.sent

    @property
    def lost(self) -> int:
        """Those of them that the network lost."""
        return self._post.lost

    def post(
        self, source: Host, sender: MemoryDatagramTransport, to: tuple[str, int], data: bytes
    ) -> None:
        """Carry a datagram to whom it is for: one host, all, or the members of a group."""
        self._post.post(source, sender, to, data)

    # ── the end ───────────────────────────────────────────────────────────────

    def close(self) -> None:
        """Close the listeners, abort every connection, and give the reactor back its kernel."""
        for host in self._hosts:
            for listener in list(host.listeners.values()):
                listener.close()
            for each in list(host.transports):
                each.abort()
            for bound in list(host.sockets):
                bound.abort()
        if self.reactor.network is self:
            self.reactor.network = self._before


def _has_port(address: str) -> bool:
    """Whether it is ``host:port``, and not an IPv6 address by itself."""
    return not family_of(address) and address.rpartition(":")[2].isdecimal() and ":" in address


def _parse(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit():
        raise ValueError(f"{address!r} is not host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _as_reactor(reactor: Reactor | Clock) -> Reactor:
    """A clock is a reactor by shape, as far as a network needs one."""
    return reactor  # type: ignore[return-value]  # a Clock does what is asked of it here
