"""Multicast: join and leave, sources, reach, loop and interface, in both families.

What the kernel of a machine refuses (no route to a group on any interface) is skipped,
with what it said; what has no need of a route is tested everywhere.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.errors import UsageError
from sennit.core.protocol import DatagramProtocol
from sennit.core.reactor.base import Reactor
from sennit.core.transport.multicast import is_multicast

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

GROUP4, OTHER4 = "239.192.7.7", "239.192.7.8"
GROUP6, OTHER6 = "ff01::5e:1", "ff01::5e:2"
"""Of this host alone: by scope 1 (RFC 4291 §2.7), and by a TTL of 0 (RFC 1112 §6.1)."""


def run(main: Callable[[Reactor], Coroutine[Any, Any, None]]) -> None:
    reactor = Reactor()
    try:
        reactor.run(main)
        assert reactor.handlers == {}
    finally:
        reactor.close()


class Member(DatagramProtocol):
    def __init__(self) -> None:
        self.came: list[bytes] = []
        self.peers: list[Any] = []
        self.waiting = asyncio.Event()

    def datagram_received(self, data: bytes, peer: Any) -> None:
        self.came.append(data)
        self.peers.append(peer)
        self.waiting.set()

    async def until(self, data: bytes) -> None:
        """Wait until this has come."""
        async with asyncio.timeout(10):
            while data not in self.came:
                await self.waiting.wait()
                self.waiting.clear()


def interface6() -> str:
    """An interface that takes datagrams for groups of IPv6."""
    refusals: list[str] = []
    for index, name in socket.if_nameindex():
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            try:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
                sock.sendto(b"", (GROUP6, 9))
            except OSError as error:
                refusals.append(f"{name}: {error.strerror}")
            else:
                return name
    pytest.skip(f"no interface takes datagrams for groups of IPv6: {'; '.join(refusals)}")


def interface4() -> str:
    """An interface, not the loopback's, that takes datagrams for groups of IPv4."""
    refusals: list[str] = []
    for index, name in socket.if_nameindex():
        if name == "lo":
            continue  # it gives back all that it is given
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                value = struct.pack("@4s4si", bytes(4), bytes(4), index)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, value)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)
                sock.connect((GROUP4, 9))
                # Without an address of its own it would borrow another one's.
                if sock.getsockname()[0].startswith(("127.", "0.")):
                    raise OSError(errno.EADDRNOTAVAIL, "it has no address")
                sock.send(b"")
            except OSError as error:
                refusals.append(f"{name}: {error.strerror}")
            else:
                return name
    pytest.skip(f"no interface takes datagrams for groups of IPv4: {'; '.join(refusals)}")


FAMILIES = [
    pytest.param((GROUP4, OTHER4, lambda: "127.0.0.1"), id="IPv4"),
    pytest.param((GROUP6, OTHER6, interface6), id="IPv6"),
]


async def listen(reactor: Reactor, *args: Any, **options: Any) -> tuple[Any, Member]:
    listener = await reactor.listen_multicast(Member, *args, ttl=0, **options)
    transport = listener.transports[0]
    return transport, transport.get_protocol()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_member_of_a_group_at_a_port_hears_it(family: Any) -> None:
    group, other, find = family
    interface = find()

    async def main(reactor: Reactor) -> None:
        first, one = await listen(reactor, 0, [group], interface=interface)
        port = first.local.port
        second, two = await listen(reactor, port, [group], interface=interface)
        _, stranger = await listen(reactor, port, [other], interface=interface)
        first.sendto(b"to all", (group, port))
        await one.until(b"to all")
        await two.until(b"to all")
        second.sendto(b"to others", (other, port))
        await stranger.until(b"to others")
        # Who has joined one group hears that one, whatever others on the host have joined.
        assert (one.came, two.came, stranger.came) == (
            [b"to all"],
            [b"to all"],
            [b"to others"],
        )

    run(main)


@pytest.mark.parametrize("family", FAMILIES)
def test_who_leaves_hears_no_more(family: Any) -> None:
    group, other, find = family
    interface = find()

    async def main(reactor: Reactor) -> None:
        transport, member = await listen(reactor, 0, [group, other], interface=interface)
        port = transport.local.port
        transport.leave_group(group, interface=interface)
        for data, to in ((b"unheard", group), (b"heard", other)):
            transport.sendto(data, (to, port))
        await member.until(b"heard")
        assert member.came == [b"heard"]
        transport.join_group(group, interface=interface)
        transport.sendto(b"again", (group, port))
        await member.until(b"again")

    run(main)


@pytest.mark.parametrize("family", FAMILIES)
def test_sources_are_chosen(family: Any) -> None:
    """Source-specific membership (RFC 4607, RFC 3678)."""
    group, _, find = family
    interface = find()

    async def main(reactor: Reactor) -> None:
        sender, _ = await listen(reactor, 0, [group], interface=interface)
        port = sender.local.port
        own = sender.get_protocol()
        sender.sendto(b"who am I?", (group, port))
        await own.until(b"who am I?")
        source = own.peers[0][0].partition("%")[0]
        nobody = "2001:db8::1" if ":" in group else "192.0.2.1"
        asked, heard = await listen(reactor, port, [group], interface=interface, source=source)
        _, unheard = await listen(reactor, port, [group], interface=interface, source=nobody)
        sender.sendto(b"from the source", (group, port))
        await heard.until(b"from the source")
        asked.leave_group(group, interface=interface, source=source)
        sender.sendto(b"after leaving", (group, port))
        await own.until(b"after leaving")
        assert heard.came == [b"from the source"]
        assert unheard.came == []
        index = interface if ":" in group else "lo"
        asked.join_group(group, interface=socket.if_nametoindex(index), source=source)
        asked.leave_group(group, interface=index, source=source)

    run(main)


@pytest.mark.parametrize(
    "family",
    [
        pytest.param((GROUP4, OTHER4, interface4), id="IPv4"),
        pytest.param((GROUP6, OTHER6, interface6), id="IPv6"),
    ],
)
def test_this_host_hears_itself_unless_asked_not_to(family: Any) -> None:
    group, _, find = family
    interface = find()

    async def main(reactor: Reactor) -> None:
        transport, member = await listen(reactor, 0, [group], interface=interface, loop=False)
        port = transport.local.port
        transport.sendto(b"unheard", (group, port))
        transport.set_multicast_loop(True)
        transport.sendto(b"heard", (group, port))
        await member.until(b"heard")
        assert member.came == [b"heard"]

    run(main)


def test_reach_and_interface_are_the_sockets_options() -> None:
    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_multicast(Member, 0, ttl=7, interface="127.0.0.1")
        transport: Any = listener.transports[0]
        ask = transport.get_extra_info("socket").getsockopt
        assert ask(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 7
        assert ask(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, 4) == bytes([127, 0, 0, 1])
        transport.set_multicast_ttl(0)
        assert ask(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 0
        transport.set_multicast_interface("lo")
        for bad in (-1, 256):
            with pytest.raises(UsageError, match="0 to 255 routers"):
                transport.set_multicast_ttl(bad)

        six: Any = (await reactor.listen_multicast(Member, 0, host="::", ttl=3)).transports[0]
        ask = six.get_extra_info("socket").getsockopt
        assert ask(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS) == 3
        six.set_multicast_loop(False)
        assert ask(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP) == 0
        six.set_multicast_interface(socket.if_nametoindex("lo"))
        assert ask(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF) == socket.if_nametoindex("lo")

    run(main)


def test_what_is_no_group_interface_or_source_is_refused_at_the_call() -> None:
    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_multicast(Member, 0)
        transport: Any = listener.transports[0]
        for group in ("127.0.0.1", "ff02::1", "nonsense", ""):
            with pytest.raises(UsageError, match="no multicast group"):
                transport.join_group(group)
        with pytest.raises(UsageError, match="no interface"):
            transport.join_group(GROUP4, interface="nonesuch0")
        with pytest.raises(UsageError, match="index"):
            transport.join_group(GROUP4, interface=-1)
        with pytest.raises(UsageError, match="source"):
            transport.join_group(GROUP4, source="::1")
        with pytest.raises(UsageError, match="one family"):
            reactor.listen_multicast(Member, 0, [GROUP4, GROUP6])
        with pytest.raises(UsageError, match="no multicast group"):
            reactor.listen_multicast(Member, 0, ["192.0.2.1"])

    run(main)


def test_what_the_system_refuses_says_what_was_asked() -> None:
    async def main(reactor: Reactor) -> None:
        listener = await reactor.listen_multicast(Member, 0, [GROUP4], interface="127.0.0.1")
        transport: Any = listener.transports[0]
        with pytest.raises(OSError, match=f"cannot join {GROUP4}") as told:
            transport.join_group(GROUP4, interface="127.0.0.1")
        assert told.value.errno == errno.EADDRINUSE
        with pytest.raises(OSError, match=f"cannot leave {OTHER4} from 192.0.2.1"):
            transport.leave_group(OTHER4, source="192.0.2.1", interface="127.0.0.1")

    run(main)


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        ("224.0.0.1", True),
        ("239.255.255.255", True),
        ("240.0.0.0", False),
        ("223.255.255.255", False),
        ("ff02::fb", True),
        ("ff02::fb%eth0", True),
        ("fe80::1", False),
        ("name", False),
    ],
)
def test_groups_are_told_from_other_addresses(host: str, answer: bool) -> None:
    """224.0.0.0/4 (RFC 1112 §4), ff00::/8 (RFC 4291 §2.7)."""
    assert is_multicast(host) is answer
