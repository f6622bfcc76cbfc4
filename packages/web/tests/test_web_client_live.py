"""The client on the real pool, and a network in memory: what only shows with connections."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.protocol import Protocol
from sennit.web import Client, Request, Response, Retries, Site, fetch, redirect, text
from sennit.web.errors import BodyTooLargeError, RequestTimeoutError, UnansweredError
from sennit.web.server import HTTPServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from sennit.core.testing.clock import Clock
    from sennit.core.testing.network import MemoryNetwork
    from sennit.web.client.progress import Progress

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
URL = "http://example/"


class Tired(Protocol):
    """Answers one request on a connection, and closes it when it sees another."""

    seen: list[bytes]

    def __init__(self, seen: list[bytes]) -> None:
        self.seen = seen
        self.answered = False
        self._received = b""

    def data_received(self, data: bytes) -> None:
        if self.answered:
            self.transport.abort()
            return
        self._received += data
        if self._received.endswith((b"\r\n\r\n", b"END", b"--\r\n")):
            self.seen.append(self._received)
            self.answered = True
            self.transport.write(OK)


def play(clock: Clock, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    clock.run(lambda _: main())


def test_content_is_sent_again_when_the_server_had_just_closed(
    clock: Clock, memory_network: MemoryNetwork, tmp_path: Path
) -> None:
    """RFC 9112 §9.3.1: the pool repeats what it can, and we what only we can have again."""
    seen: list[bytes] = []
    memory_network.listen("example:80", lambda: Tired(seen))
    path = tmp_path / "up"
    path.write_bytes(b"x" * 1000 + b"END")
    told: list[int] = []

    class Pieces:
        def __aiter__(self) -> AsyncIterator[bytes]:
            return self._iterate()

        async def _iterate(self) -> AsyncIterator[bytes]:
            yield b"piece END"

    def note(progress: Progress) -> None:
        told.append(progress.done)

    async def once() -> AsyncIterator[bytes]:
        yield b"piece END"

    async def main() -> None:
        async with Client(URL) as client:
            await client.get("")
            assert (await client.put("", content=path)).text == "ok"
            assert (await client.put("", content=path, upload_progress=note)).text == "ok"
            assert (await client.put("", content=Pieces(), length=9)).text == "ok"
            assert (await client.put("", files={"f": path})).text == "ok"
            with pytest.raises(UnansweredError):
                await client.put("", content=once(), length=9)
            await client.get("")
            with pytest.raises(UnansweredError):
                await client.post("", content=path)

    play(clock, main)
    assert [each.partition(b" ")[0] for each in seen] == [b"GET", *[b"PUT"] * 4, b"GET"]
    assert told[-1] == 1003


def _site() -> Site:
    site = Site()

    @site.route("/echo", methods=("POST", "PUT"))
    async def echo(request: Request) -> Response:
        return Response(await request.read())

    @site.route("/moved", methods=("GET", "POST"))
    async def moved(request: Request) -> Response:
        return redirect("/echo", 307)

    @site.route("/cookie")
    async def cookie(request: Request) -> Response:
        return text(request.header("cookie") or "none", headers={"Set-Cookie": "a=1"})

    return site


def test_a_conversation_with_our_own_server_takes_one_connection(
    clock: Clock, memory_network: MemoryNetwork, tmp_path: Path
) -> None:
    server = HTTPServer(_site().handle)
    made: list[object] = []

    def build() -> Any:
        made.append(1)
        return server.build_protocol(None)

    memory_network.listen("example:80", build)
    path = tmp_path / "up"
    path.write_bytes(b"x" * 100_000)

    async def main() -> None:
        async with Client(URL) as client:
            assert (await client.get("cookie")).text == "none"
            assert (await client.get("cookie")).text == "a=1"
            response = await client.post("moved", content=path)
            assert len(response.content) == 100_000
            assert [each.status for each in response.history] == [307]
            form = await client.post("echo", data={"a": "b c"}, files={"f": path})
            assert len(form.content) > 100_000
            assert (await client.get("none")).status == 404

    play(clock, main)
    # A redirect before its content was taken costs the connection, nothing else does.
    assert len(made) <= 2


def test_a_call_ends_at_its_deadline_wherever_it_is(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    class Slow(Protocol):
        def data_received(self, data: bytes) -> None:
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nslow")

    memory_network.listen("example:80", Slow)
    began = clock.time()

    async def main() -> None:
        async with Client(URL, retries=Retries(5)) as client:
            with pytest.raises(RequestTimeoutError, match="whole answer within 7 s"):
                await client.get("", timeout=7)

    play(clock, main)
    assert clock.time() - began == pytest.approx(7)


class Endless(Protocol):
    """Begins an answer of a gigabyte, to every request."""

    def __init__(self, status: bytes = b"200 OK") -> None:
        self.status = status

    def data_received(self, data: bytes) -> None:
        head = b"HTTP/1.1 %b\r\nLocation: /next\r\ncontent-length: 1000000000\r\n\r\n"
        self.transport.write(head % self.status + b"x" * 1000)


def test_whoever_stops_reading_gives_the_connection_up(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    made: list[Endless] = []

    def build() -> Endless:
        made.append(Endless())
        return made[-1]

    memory_network.listen("example:80", build)

    async def main() -> None:
        async with Client(URL, max_content=500) as client:
            async with client.stream("GET", "") as response:
                async for _ in response:
                    break
            with pytest.raises(BodyTooLargeError):
                await client.get("")
            with pytest.raises(RuntimeError, match="enough"):
                async with client.stream("GET", "") as response:
                    raise RuntimeError("enough")

    play(clock, main)
    clock.pump()
    assert len(made) == 3
    assert all(each.transport.is_closing() for each in made)


def test_a_redirect_with_much_to_say_is_not_heard_out(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    answers = [Endless(b"302 Found"), Tired([])]
    memory_network.listen("example:80", lambda: answers.pop(0))

    async def main() -> None:
        response = await fetch(URL)
        assert (response.text, str(response.url)) == ("ok", URL + "next")

    play(clock, main)
    assert answers == []


class Odd(Protocol):
    """Sends a redirect, then the rest of its content late, or never."""

    def __init__(self, *, cuts: bool) -> None:
        self._cuts = cuts

    def data_received(self, data: bytes) -> None:
        head = b"HTTP/1.1 302 Found\r\nlocation: /next\r\ncontent-length: 9\r\n\r\n"
        self.transport.write(head + b"go")
        if self._cuts:
            asyncio.get_running_loop().call_later(0.5, self.transport.abort)


@pytest.mark.parametrize("cuts", [False, True])
def test_what_a_redirect_says_besides_is_not_waited_for(
    clock: Clock, memory_network: MemoryNetwork, cuts: bool
) -> None:
    """Only where to go matters, whether the rest comes late, or broken."""
    answers: list[Protocol] = [Odd(cuts=cuts), Tired([])]
    memory_network.listen("example:80", lambda: answers.pop(0))
    began = clock.time()

    async def main() -> None:
        assert (await fetch(URL)).text == "ok"

    play(clock, main)
    assert clock.time() - began <= 1.0


def test_many_calls_at_once_share_a_client(clock: Clock, memory_network: MemoryNetwork) -> None:
    server = HTTPServer(_site().handle)
    memory_network.listen("example:80", lambda: server.build_protocol(None))

    async def main() -> None:
        async with Client(URL) as client:

            async def one(number: int) -> bytes:
                return (await client.post("echo", content=b"%d" % number)).content

            found = await asyncio.gather(*[one(number) for number in range(50)])
            assert found == [b"%d" % number for number in range(50)]

    play(clock, main)


def test_who_is_cancelled_leaves_nothing_open(clock: Clock, memory_network: MemoryNetwork) -> None:
    made: list[Protocol] = []

    def build() -> Protocol:
        made.append(Silent())
        return made[-1]

    memory_network.listen("example:80", build)

    async def main() -> None:
        async with Client(URL, retries=3) as client:
            task = asyncio.ensure_future(client.get(""))
            await asyncio.sleep(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    play(clock, main)
    clock.pump()
    assert [each.transport.is_closing() for each in made] == [True]


class Silent(Protocol):
    """Says nothing."""

    def data_received(self, data: bytes) -> None: ...
