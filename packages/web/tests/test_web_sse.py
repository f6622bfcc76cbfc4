"""Server-sent events: their octets, streams that stay alive, hubs with many listeners."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.core.deferred import Deferred
from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.web import Request, Response, http_server
from sennit.web.sse import COMMENT, Event, EventHub, EventStream


@pytest.fixture
def clock() -> Iterator[Clock]:
    with Clock() as found:
        yield found


class Listener:
    """A browser that listens."""

    def __init__(self, clock: Clock, handler: Callable[[Request], Any], seen: str = "") -> None:
        self.clock = clock
        server = http_server(handler, clock=clock)
        self.transport = RecordingTransport(server.build_protocol(None))
        field = f"Last-Event-ID: {seen}\r\n" if seen else ""
        request = f"GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n".encode()
        clock.call_soon(self.transport.receive, request)
        clock.pump()
        self.head, _, rest = self.transport.take().partition(b"\r\n\r\n")
        streams = b"text/event-stream" in self.head
        self.first = self.joined(rest) if streams else rest

    @staticmethod
    def joined(content: bytes) -> bytes:
        found = b""
        while content:
            size, _, content = content.partition(b"\r\n")
            found += content[: int(size, 16)]
            content = content[int(size, 16) + 2 :]
        return found

    def heard(self) -> bytes:
        """What came since."""
        self.clock.pump()
        return self.joined(self.transport.take())


# ── octets ────────────────────────────────────────────────────────────────────


def test_an_event_is_written_as_the_standard_has_it() -> None:
    assert Event("a").encoded == b"data: a\n\n"
    assert Event("a\nb\r\nc\rd\n").encoded == b"data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"
    whole = Event("ä", event="news", id="7", retry=1.5)
    assert whole.encoded == "event: news\nid: 7\nretry: 1500\ndata: ä\n\n".encode()


@pytest.mark.parametrize(
    "fields",
    [
        {"event": "a\ndata: b"},
        {"event": "a\r"},
        {"id": "1\n\n"},
        {"id": "1\0"},
        {"retry": -1},
        {"retry": float("nan")},
    ],
)
def test_nothing_is_smuggled_into_a_field(fields: Any) -> None:
    with pytest.raises(ValueError, match=r"event|id|retry"):
        Event("x", **fields)


@given(st.text())
def test_data_is_data_whatever_it_says(data: str) -> None:
    """Read as a browser reads (HTML §9.2.6): each line is data, and one event comes out."""
    lines = Event(data).encoded.decode("utf-8").split("\n")
    assert lines[-2:] == ["", ""]
    assert all(line.startswith("data: ") and "\r" not in line for line in lines[:-2])


# ── one stream ────────────────────────────────────────────────────────────────


class Source:
    """Events that a test gives one by one."""

    def __init__(self) -> None:
        self.asked: Deferred[object] | None = None
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[object]:
        try:
            while True:
                self.asked = Deferred()
                value = await self.asked
                if value is None:
                    return
                yield value
        finally:
            self.closed = True

    def give(self, clock: Clock, value: object) -> None:
        """Let the next one happen."""
        assert self.asked is not None
        clock.call_soon(self.asked.callback, value)
        clock.pump()


def test_a_stream_sends_events_as_they_happen_and_comments_in_between(clock: Clock) -> None:
    source = Source()
    listener = Listener(clock, lambda request: EventStream(source, retry=3))
    assert b"content-type: text/event-stream" in listener.head
    assert b"cache-control: no-store" in listener.head
    assert listener.first == b"retry: 3000\n\n"
    source.give(clock, "one")
    assert listener.heard() == b"data: one\n\n"
    source.give(clock, Event("two", id="2"))
    assert listener.heard() == b"id: 2\ndata: two\n\n"
    clock.advance(14)
    assert listener.heard() == b""
    clock.advance(2)
    assert listener.heard() == COMMENT
    source.give(clock, "three")
    assert listener.heard() == b"data: three\n\n"
    source.give(clock, None)
    assert listener.transport.take() == b"0\r\n\r\n"
    assert source.closed


def test_a_source_is_ended_when_the_client_goes(clock: Clock) -> None:
    source = Source()
    listener = Listener(clock, lambda request: EventStream(source))
    assert listener.first == COMMENT
    clock.call_soon(listener.transport.lose)
    clock.pump()
    assert source.closed


def test_a_source_that_fails_cuts_the_stream(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing() -> AsyncIterator[str]:
        yield "one"
        raise RuntimeError("broken source")

    listener = Listener(clock, lambda request: EventStream(failing()))
    assert listener.first.endswith(b"data: one\n\n")
    assert listener.transport.is_closing()
    assert "broken source" in caplog.text


# ── many listeners ────────────────────────────────────────────────────────────


def test_all_who_listen_are_told_the_same_octets(clock: Clock) -> None:
    hub = EventHub()
    listeners = [Listener(clock, hub.listen) for _ in range(3)]
    assert len(hub) == 3

    def tell() -> None:
        assert hub.send("news") == 3
        hub.send(Event("more", event="kind"))

    clock.call_soon(tell)
    for listener in listeners:
        assert listener.heard() == b"data: news\n\nevent: kind\ndata: more\n\n"
    clock.advance(15)
    assert [each.heard() for each in listeners] == [COMMENT] * 3
    clock.call_soon(listeners[0].transport.lose)
    clock.pump()
    assert len(hub) == 2
    clock.call_soon(hub.close)
    clock.pump()
    assert listeners[1].transport.take() == b"0\r\n\r\n"
    assert Listener(clock, hub.listen).head.startswith(b"HTTP/1.1 503 ")


def test_who_does_not_keep_up_is_ended_and_the_others_go_on(clock: Clock) -> None:
    hub = EventHub(limit=10)
    slow, quick = Listener(clock, hub.listen), Listener(clock, hub.listen)
    slow.transport.block()
    told = 0
    for number in range(13):
        clock.call_soon(hub.send, "x" * 70_000 if number == 0 else str(number))
        told += len(quick.heard())
    assert hub.ended == 1
    assert len(hub) == 1
    assert told > 70_000


def test_who_comes_back_gets_what_it_missed(clock: Clock) -> None:
    hub = EventHub(history=3)
    clock.call_soon(lambda: [hub.send(str(n)) for n in range(5)])
    clock.pump()
    fresh = Listener(clock, hub.listen)
    assert fresh.first == COMMENT
    clock.call_soon(hub.send, "5")
    heard = fresh.heard().decode()
    number = heard.partition("\n")[0].removeprefix("id: ")
    prefix = number.partition("-")[0]
    assert heard == f"id: {number}\ndata: 5\n\n"
    assert Listener(clock, hub.listen, number).first == COMMENT
    missed = Listener(clock, hub.listen, f"{prefix}-4").first.decode()
    assert missed == f"{COMMENT.decode()}id: {prefix}-5\ndata: 4\n\nid: {prefix}-6\ndata: 5\n\n"
    forgotten = Listener(clock, hub.listen, "of-another-life").first
    assert forgotten.count(b"data: ") == 3


def test_there_is_an_end_to_how_many_listen(clock: Clock) -> None:
    hub = EventHub(listeners=1, retry=3)
    first = Listener(clock, hub.listen)
    assert first.first == b"retry: 3000\n\n"
    second = Listener(clock, hub.listen)
    assert second.head.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 3" in second.head


def test_a_stream_to_head_has_no_content(clock: Clock) -> None:
    def handler(request: Request) -> Response:
        return EventStream(Source())

    server = http_server(handler, clock=clock)
    transport = RecordingTransport(server.build_protocol(None))
    clock.call_soon(transport.receive, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    clock.pump()
    assert transport.take().endswith(b"\r\n\r\n")


def test_a_source_that_nobody_listened_to_is_ended_too(clock: Clock) -> None:
    """It may have subscribed to something when it was made."""

    class Subscribed:
        closed = False

        def __aiter__(self) -> Subscribed:
            return self

        async def __anext__(self) -> object:
            raise AssertionError("HEAD takes no content")

        async def aclose(self) -> None:
            self.closed = True

    source = Subscribed()
    server = http_server(lambda request: EventStream(source), clock=clock)
    transport = RecordingTransport(server.build_protocol(None))
    clock.call_soon(transport.receive, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    clock.pump()
    assert source.closed


def test_nothing_is_told_between_what_was_missed_and_what_is_heard(clock: Clock) -> None:
    hub = EventHub(history=3)

    def handler(request: Request) -> Response:
        response = hub.listen(request)
        hub.send("meanwhile")
        return response

    assert b"data: meanwhile" in Listener(clock, handler, "of-another-life").first
