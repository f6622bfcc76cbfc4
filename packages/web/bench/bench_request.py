"""What a request costs above and below the parser, system calls apart.

`all` is everything of ours on hello: gate, engine, driver, request, routing,
response, on a transport that throws octets away; `all with h11` and `all with
httptools` the same with a parser behind the gate. `gate` is the gate alone, `h11` and
`httptools` the libraries alone (h11 writes the response too, httptools cannot). The
three are measured in one run, so that their ratios hold on any machine; on the
machine that the bound was named on h11 costs 41 µs, which makes 11 µs a ratio of 0.27.
``browser`` is the same with the ten fields that a browser sends.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tools.benchmark import Benchmark, main

GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"

BROWSER = (
    b"GET /a/page.html?x=1 HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    b"Chrome/126.0.0.0 Safari/537.36\r\nAccept: text/html,application/xhtml+xml,"
    b"application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    b"Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\n"
    b"Cookie: session=0123456789abcdef0123456789abcdef\r\n\r\n"
)

request = Benchmark("request", operations=20_000, operation="request", references=["h11"])
browser = Benchmark("browser", operations=10_000, operation="request", references=["h11"])


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


def _ask(count: int, octets: bytes, engine: Any) -> None:
    from sennit.core.testing.clock import Clock
    from sennit.web import Request, Response, Site, text

    options: dict[str, Any] = {} if engine is None else {"engine": engine}
    with Clock() as clock:
        site = Site(clock=clock, **options)

        @site.route("/")
        @site.route("/a/page.html")
        def root(request: Request) -> Response:
            return text("hello world")

        protocol = site.build_protocol(None)
        protocol.connection_made(Nowhere())
        received = protocol.data_received
        for _ in range(count):
            received(octets)


def _declare(benchmark: Benchmark, octets: bytes) -> None:
    @benchmark.code("all")
    def with_the_gate(count: int) -> None:
        _ask(count, octets, None)

    @benchmark.code("all with h11")
    def all_with_h11(count: int) -> None:
        from sennit.web import H11ServerEngine

        _ask(count, octets, H11ServerEngine)

    @benchmark.code("all with httptools", requires=["httptools"])
    def all_with_httptools(count: int) -> None:
        from sennit.web import HTTPToolsServerEngine

        _ask(count, octets, HTTPToolsServerEngine)

    @benchmark.code("gate")
    def gate_alone(count: int) -> None:
        from sennit.web.http1.framing import Gate
        from sennit.web.limits import Limits

        gate = Gate(Limits())
        for _ in range(count):
            gate.receive(octets)
            gate.next_head()

    @benchmark.code("httptools", requires=["httptools"])
    def httptools_alone(count: int) -> None:
        import httptools

        class Collect:
            def on_url(self, url: bytes) -> None:
                self.url = url

            def on_message_begin(self) -> None:
                self.headers: list[tuple[bytes, bytes]] = []

            def on_header(self, name: bytes, value: bytes) -> None:
                self.headers.append((name.lower(), value))

            def on_message_complete(self) -> None:
                self.method = parser.get_method()
                self.keep = parser.should_keep_alive()

        parser: Any = httptools.HttpRequestParser(Collect())  # its stubs lag behind
        for _ in range(count):
            parser.feed_data(octets)

    @benchmark.code("h11", requires=["h11"])
    def h11_alone(count: int) -> None:
        import h11

        connection = h11.Connection(h11.SERVER)
        for _ in range(count):
            connection.receive_data(octets)
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


_declare(request, GET)
_declare(browser, BROWSER)
request.at_most("all", 0.27, of="h11")

if __name__ == "__main__":
    main(request, browser)
