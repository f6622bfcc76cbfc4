"""What a request costs above and below the parser, system calls apart.

`gate+above` is everything of ours on hello: gate, engine, driver, request, routing,
response, on a transport that throws octets away. `h11` is h11 alone on the same
request and response. The two are measured in one run, so that their ratio holds on
any machine; on the machine that the bound was named on h11 costs 41 µs, which makes
11 µs a ratio of 0.27.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tools.benchmark import Benchmark, main

GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"

request = Benchmark("request", operations=20_000, operation="request", references=["h11"])


class Nowhere:
    """A transport that takes octets and does nothing."""

    peer = None

    def write(self, data: bytes) -> None:
        pass

    def sendfile(self) -> None:
        pass

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default

    def get_write_buffer_size(self) -> int:
        return 0


def _ask(count: int, engine: Any) -> None:
    from sennit.core.testing.clock import Clock
    from sennit.web import Request, Response, Site, text

    options: dict[str, Any] = {} if engine is None else {"engine": engine}
    with Clock() as clock:
        site = Site(clock=clock, **options)

        @site.route("/")
        def root(request: Request) -> Response:
            return text("hello world")

        protocol = site.build_protocol(None)
        protocol.connection_made(Nowhere())
        received = protocol.data_received
        for _ in range(count):
            received(GET)


@request.code("gate+above")
def gate_and_above(count: int) -> None:
    from sennit.web.http1.engine import DateLine, HTTP1ServerEngine
    from sennit.web.limits import Limits

    class NoParser:
        def begin(self, head: object) -> None:
            pass

        def content(self, piece: bytes, wire: bytes) -> bytes:
            return piece

    def engine(limits: Limits, date: DateLine) -> HTTP1ServerEngine:
        return HTTP1ServerEngine(NoParser(), limits, date)

    _ask(count, engine)


@request.code("all with h11")
def all_with_h11(count: int) -> None:
    _ask(count, None)


@request.code("gate")
def gate_alone(count: int) -> None:
    from sennit.web.http1.framing import Gate
    from sennit.web.limits import Limits

    gate = Gate(Limits())
    for _ in range(count):
        gate.receive(GET)
        gate.next_head()


@request.code("h11", requires=["h11"])
def h11_alone(count: int) -> None:
    import h11

    connection = h11.Connection(h11.SERVER)
    for _ in range(count):
        connection.receive_data(GET)
        connection.next_event()
        connection.next_event()
        headers = [
            (b"date", b"Sun, 06 Nov 1994 08:49:37 GMT"),
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"11"),
        ]
        connection.send(h11.Response(status_code=200, headers=headers))
        connection.send(h11.Data(data=b"hello world"))
        connection.send(h11.EndOfMessage())
        connection.start_next_cycle()


request.at_most("gate+above", 0.27, of="h11")

if __name__ == "__main__":
    main(request)
