"""What routing and wrappers add to a request, system calls apart.

All is measured on the request of ``bench_request.py``: `plain` is a route without
parameters and without wrappers, the reference. `parameter` has one of kind int; each wrapper
stands alone around a plain route.
`session` is of a client that shows none; `form` reads a small urlencoded one, in a Task.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tools.benchmark import Benchmark, main

applications = Benchmark(
    "applications", operations=10_000, operation="request", references=["plain"]
)

PLAIN = b"GET /plain HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
USER = b"GET /users/77 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
FORM = (
    b"POST /form HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Length: 15\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n\r\na=1&b=two+words"
)


class Nowhere:
    """A transport that takes octets and does nothing."""

    peer = None
    local = None

    def write(self, data: bytes) -> None:
        pass

    def sendfile(self) -> None:
        pass

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default

    def get_write_buffer_size(self) -> int:
        return 0


def _ask(count: int, octets: bytes, **options: Any) -> None:
    from sennit.core.testing.clock import Clock
    from sennit.web import Request, Response, Site, text

    with Clock() as clock:
        site = Site(clock=clock, **options)

        @site.route("/plain")
        def plain(request: Request) -> Response:
            return text("hello world")

        @site.route("/users/{id:int}")
        def user(request: Request, id: int) -> Response:  # noqa: A002 - the path's name
            return text("hello world")

        @site.route("/form", methods=("POST",))
        async def form(request: Request) -> Response:
            async with await request.form():
                return text("hello world")

        protocol = site.build_protocol(None)
        protocol.connection_made(Nowhere())
        received = protocol.data_received
        if octets is FORM:
            # A coroutine ends in a turn of the loop.
            for _ in range(count):
                clock.call_soon(received, octets)
                clock.pump()
        else:
            for _ in range(count):
                received(octets)


@applications.code("plain")
def plain(count: int) -> None:
    _ask(count, PLAIN)


@applications.code("parameter")
def parameter(count: int) -> None:
    _ask(count, USER)


@applications.code("request_ids")
def request_ids(count: int) -> None:
    from sennit.web import request_ids

    _ask(count, PLAIN, wrappers=[request_ids()])


@applications.code("compress (too small)")
def compress(count: int) -> None:
    from sennit.web import compress

    _ask(count, PLAIN, wrappers=[compress(["gzip"])])


@applications.code("metrics")
def metrics(count: int) -> None:
    from sennit.core.ops.metrics import Registry
    from sennit.web import RequestMetrics

    made = RequestMetrics(registry=Registry())
    _ask(count, PLAIN, wrappers=[made], access_log=made)


@applications.code("session (none shown)")
def session(count: int) -> None:
    from sennit.web import MemorySessions, with_sessions

    _ask(count, PLAIN, wrappers=[with_sessions(MemorySessions())])


@applications.code("form")
def form(count: int) -> None:
    _ask(count, FORM)


if __name__ == "__main__":
    main(applications)
