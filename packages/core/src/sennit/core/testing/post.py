"""How datagrams travel on a network in memory: what is lost, late, doubled, and to whom it goes."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from sennit.core.testing.udp import EVERYBODY
from sennit.core.transport.multicast import is_multicast

if TYPE_CHECKING:
    from sennit.core.testing.hosts import Host
    from sennit.core.testing.network import MemoryNetwork
    from sennit.core.testing.udp import MemoryDatagramTransport

__all__ = ["Post"]


class Post:
    """Carries datagrams between the hosts of a network.

    Attributes:
        sent: Datagrams given to it so far.
        lost: Those of them that were lost.
    """

    def __init__(self, network: MemoryNetwork) -> None:
        self._network = network
        self.sent = 0
        self.lost = 0

    def post(
        self, source: Host, sender: MemoryDatagramTransport, to: tuple[str, int], data: bytes
    ) -> None:
        """Carry a datagram to whom it is for: one host, all, or the members of a group."""
        self.sent += 1
        address, port = to
        origin = sender.source_for(address)
        if is_multicast(address) or address == EVERYBODY:
            for host in self._network.hosts:
                if host is source and is_multicast(address) and not sender.loops:
                    continue
                self._carry(source, host, sender, origin, to, data)
            return
        address, owner = self._network.host_to_reach(source, address)
        if owner is None:
            sender.unreachable(to, errno.EHOSTUNREACH)
        else:
            self._carry(source, owner, sender, origin, (address, port), data)

    def _carry(
        self,
        source: Host,
        host: Host,
        sender: MemoryDatagramTransport,
        origin: tuple[str, int],
        to: tuple[str, int],
        data: bytes,
    ) -> None:
        link, _ = self._network.links(source, host)
        gate, pipe = self._network.gate(source, host)
        if link.mtu is not None and len(data) > link.mtu:
            text = f"Message too long: {len(data)} octets, {link.mtu} pass"
            sender.unreachable(to, errno.EMSGSIZE, text)
            return
        chance = self._network.random.random
        if not gate.is_open or (link.loss and chance() < link.loss):
            self.lost += 1
            return
        copies = 2 if link.duplicate and chance() < link.duplicate else 1
        for _ in range(copies):
            now = self._network.reactor.time()
            when = pipe.passed(now, len(data), link.bandwidth) + link.latency
            if link.jitter:
                when += self._network.random.uniform(0, link.jitter)
            if link.reorder and chance() < link.reorder:
                when += link.reorder_by
            self._network.reactor.call_at(
                when, self._arrived, source, host, sender, origin, to, data
            )

    def _arrived(
        self,
        source: Host,
        host: Host,
        sender: MemoryDatagramTransport,
        origin: tuple[str, int],
        to: tuple[str, int],
        data: bytes,
    ) -> None:
        if not self._network.gate(source, host)[0].is_open:
            self.lost += 1
            return
        address, port = to
        group = address if is_multicast(address) else None
        if group is not None or address == EVERYBODY:
            for each in list(host.sockets):
                heard = group is None or each.hears(group, origin[0])
                if each.place[1] == port and heard and each.wants(origin):
                    each.arrive(data, origin, group)
            return
        for key in host.lookups(address, port):
            for each in host.sockets:
                if each.place == key and each.wants(origin):
                    each.arrive(data, origin)
                    return
        _, back = self._network.links(source, host)
        if self._network.gate(host, source)[0].is_open:
            self._network.reactor.call_later(
                back.latency, sender.unreachable, to, errno.ECONNREFUSED
            )
