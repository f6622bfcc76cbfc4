"""What the driver costs per exchange: a trivial engine behind it, and behind hand-written glue.

The engine answers each received piece with the same octets, and the transport
throws them away, so what is left is `data_received` → `receive_data` →
`next_event` → dispatch → handler → `data_to_send` → `write`.
"""

from __future__ import annotations

from typing import Any

from sennit.core.driver import EngineProtocol, handles
from sennit.core.engine import NEED_DATA, SOLE, NoEvent, Untimed
from sennit.core.reactor.base import Reactor
from tools.benchmark import Benchmark, main


class Asked:
    __slots__ = ("data", "exchange")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.exchange = SOLE


class TrivialEngine(Untimed):
    def __init__(self) -> None:
        self._in: bytes | None = None
        self._out: list[bytes] = []

    def receive_data(self, data: bytes) -> None:
        self._in = data

    def receive_eof(self) -> None:
        pass

    def close(self) -> None:
        pass

    def next_event(self) -> Asked | NoEvent:
        data = self._in
        if data is None:
            return NEED_DATA
        self._in = None
        return Asked(data)

    def answer(self, data: bytes) -> None:
        self._out.append(data)

    def data_to_send(self) -> list[bytes]:
        out = self._out
        if out:
            self._out = []
        return out

    def release(self) -> bytes:
        return b""

    def internal_error(self, exchange: int) -> None:
        raise AssertionError


class Sink:
    """A transport that throws everything away."""

    def write(self, data: bytes) -> None:
        pass

    def writelines(self, pieces: Any) -> None:
        pass

    def sendfile(self, *args: Any) -> None:
        pass

    def is_closing(self) -> bool:
        return False


class Glue:
    """The same by hand, for one engine that does nothing unusual."""

    def __init__(self) -> None:
        self.engine = TrivialEngine()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        engine = self.engine
        engine.receive_data(data)
        while (event := engine.next_event()) is not NEED_DATA:
            if type(event) is Asked:
                self.asked(event)
        pieces = engine.data_to_send()
        if pieces:
            self.transport.write(pieces[0])

    def asked(self, event: Asked) -> None:
        self.engine.answer(event.data)


class Plain(EngineProtocol[TrivialEngine, Asked]):
    def __init__(self) -> None:
        super().__init__(TrivialEngine())

    @handles(Asked)
    def asked(self, event: Asked) -> None:
        self.engine.answer(event.data)


class Coroutine(EngineProtocol[TrivialEngine, Asked]):
    def __init__(self) -> None:
        super().__init__(TrivialEngine())

    @handles(Asked)
    async def asked(self, event: Asked) -> None:
        self.engine.answer(event.data)


driver = Benchmark("driver", operation="exchange", operations=300_000)


def _drive(protocol: Any, n: int) -> None:
    protocol.connection_made(Sink())
    received = protocol.data_received
    for _ in range(n):
        received(b"octets")


@driver.code("glue")
def glue(n: int) -> None:
    """Hand-written."""
    _drive(Glue(), n)


@driver.code("plain")
def plain(n: int) -> None:
    """A plain method as handler."""
    _drive(Plain(), n)


@driver.code("coroutine")
def coroutine(n: int) -> None:
    """A coroutine that does not wait, on the reactor's loop."""

    def begin(reactor: Reactor) -> None:
        reactor.call_soon(_drive, Coroutine(), n)
        reactor.call_soon(reactor.stop)

    Reactor().run(begin)


@driver.code("push")
def push(n: int) -> None:
    """Sending what nobody asked for."""
    protocol = Plain()
    protocol.connection_made(Sink())
    answer = protocol.engine.answer
    for _ in range(n):
        protocol.push(answer, b"octets")


driver.limit("plain", "glue + 1.5 us", lambda median: median["glue"] + 1.5)

if __name__ == "__main__":
    main(driver)
