"""Two connections joined: what passes, what waits, and how one's end is the other's."""

from __future__ import annotations

from sennit.core.endpoint.joining import Side, Tunnel
from sennit.core.protocol import Protocol
from sennit.core.testing.clock import Clock
from sennit.core.transport.memory import MemoryPair, memory_pair

IDLE = 60.0


class Far(Protocol):
    """Who is at the outer end of a connection."""

    def __init__(self) -> None:
        self.got = b""
        self.lost = False

    def data_received(self, data: bytes) -> None:
        self.got += data

    def eof_received(self) -> bool:
        self.got += b"EOF"
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


class Scene:
    """Two people, and the two sides of a tunnel between them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.near, self.far = Side(), Side()
        self.ends = 0
        self.client, self.server = Far(), Far()
        self.tunnel = Tunnel(self.near, self.far, self.clock, IDLE, self._ended)

    def _ended(self) -> None:
        self.ends += 1

    def join(self, side: Side, who: Far) -> MemoryPair:
        return memory_pair(who, side, reactor=self.clock)


def test_octets_pass_in_both_directions() -> None:
    scene = Scene()
    client = scene.join(scene.near, scene.client)
    server = scene.join(scene.far, scene.server)
    scene.clock.pump()

    client.first.write(b"ask")
    server.first.write(b"tell")
    scene.clock.pump()

    assert (scene.server.got, scene.client.got) == (b"ask", b"tell")


def test_an_end_in_one_direction_is_passed_on_alone() -> None:
    scene = Scene()
    client = scene.join(scene.near, scene.client)
    client.first.write(b"all of it")
    client.first.write_eof()
    scene.clock.pump()
    server = scene.join(scene.far, scene.server)
    scene.clock.pump()
    assert scene.server.got == b"all of itEOF"

    server.first.write(b"answer")
    scene.clock.pump()

    assert scene.client.got == b"answer"
    assert scene.ends == 0


def test_what_came_early_does_not_make_the_tunnel_forget_that_its_way_out_is_full() -> None:
    """A client that pipelines behind its CONNECT, to a server that does not read."""
    scene = Scene()
    scene.near.data_received(bytes(200_000))
    client = scene.join(scene.near, scene.client)
    scene.clock.pump()
    server = scene.join(scene.far, scene.server)
    server.first.pause_reading()
    scene.clock.pump()
    assert scene.tunnel.begun

    assert not client.second.is_reading()

    server.first.resume_reading()
    scene.clock.pump()
    assert client.second.is_reading()
    assert scene.server.got == bytes(200_000)


def test_a_connection_that_stands_after_the_other_has_gone_is_cut() -> None:
    scene = Scene()
    server = scene.join(scene.far, scene.server)
    scene.clock.pump()
    server.first.abort()
    scene.clock.pump()
    assert scene.ends == 1

    scene.join(scene.near, scene.client)
    scene.clock.pump()

    assert scene.client.lost
    assert scene.ends == 1


def test_a_tunnel_to_a_connection_that_had_gone_before_ends_when_the_other_stands() -> None:
    clock = Clock()
    near, far = Side(), Side()
    server, client = Far(), Far()
    pair = memory_pair(server, far, reactor=clock)
    clock.pump()
    pair.first.abort()
    clock.pump()
    ends: list[int] = []
    Tunnel(near, far, clock, IDLE, lambda: ends.append(1))

    memory_pair(client, near, reactor=clock)
    clock.pump()

    assert client.lost
    assert ends == [1]


def test_a_tunnel_in_which_nothing_moves_is_cut() -> None:
    scene = Scene()
    scene.join(scene.near, scene.client)
    scene.join(scene.far, scene.server)
    scene.clock.pump()

    scene.clock.advance(2 * IDLE + 1)
    scene.clock.pump()

    assert scene.client.lost
    assert scene.server.lost
    assert scene.ends == 1
