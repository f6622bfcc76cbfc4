"""Both engines of HTTP/2 talk to each other, and to h2 by itself, however it is cut."""

from __future__ import annotations

from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded
from hypothesis import given, settings
from hypothesis import strategies as st

from packages.web.tests.http2_frames import POST
from sennit.core.engine import FilePart, NoEvent, PeerFault
from sennit.core.testing.engines import cut
from sennit.web.events import BodyEnded, BodyReceived, RequestHead
from sennit.web.http1.responses import ResponseHead
from sennit.web.http2.client_engine import STREAMED, HTTP2ClientEngine
from sennit.web.http2.engine import HTTP2ServerEngine

checked = settings(max_examples=40, deadline=None, derandomize=True, database=None)
contents = st.lists(st.integers(0, 150_000), min_size=1, max_size=6)
places = st.lists(st.integers(1, 200_000), max_size=6)


def octets(engine: Any) -> bytes:
    pieces = engine.data_to_send()
    assert not any(isinstance(piece, FilePart) for piece in pieces)
    return b"".join(pieces)


def content_of(number: int, size: int) -> bytes:
    return (b"%d," % number * (size // 2 + 1))[:size]


class Echo:
    """A server that gives back what it gets, once it has it whole."""

    def __init__(self) -> None:
        self.engine = HTTP2ServerEngine()
        self.engine.handle_timeout(1000.0)
        self.come: dict[int, bytes] = {}

    def go_on(self) -> None:
        while not isinstance(event := self.engine.next_event(), NoEvent):
            assert not isinstance(event, PeerFault), event
            if isinstance(event, RequestHead):
                self.come[event.exchange] = b""
                if event.length == 0:
                    self.answer(event.exchange)
            elif isinstance(event, BodyReceived):
                self.come[event.exchange] += event.data
                self.engine.consumed(event.exchange, len(event.data))
            elif isinstance(event, BodyEnded):
                self.answer(event.exchange)

    def answer(self, exchange: int) -> None:
        self.engine.send_response(exchange, 200, [(b"x", b"%d" % exchange)], self.come[exchange])


@checked
@given(sizes=contents, places=places, streamed=st.booleans())
def test_what_is_sent_comes_back(sizes: list[int], places: list[int], streamed: bool) -> None:
    server = Echo()
    client = HTTP2ClientEngine()
    client.handle_timeout(1000.0)
    asked: dict[int, bytes] = {}
    for number, size in enumerate(sizes):
        content = content_of(number, size)
        if streamed:
            exchange = client.send_request(b"POST", b"/", b"a", length=STREAMED)
            client.send_body(exchange, content)
            client.end_body(exchange, [(b"x-end", b"1")])
        else:
            exchange = client.send_request(b"POST", b"/", b"a", [], content)
        asked[exchange] = content
    come: dict[int, bytes] = {}
    ended: list[int] = []

    for _ in range(10_000):
        sent = octets(client)
        for piece in cut(sent, places):
            server.engine.receive_data(piece)
            server.go_on()
        back = octets(server.engine)
        for piece in cut(back, places):
            client.receive_data(piece)
        while not isinstance(event := client.next_event(), NoEvent):
            assert not isinstance(event, PeerFault), event
            if isinstance(event, ResponseHead):
                come[event.exchange] = b""
            elif isinstance(event, BodyReceived):
                come[event.exchange] += event.data
                client.consumed(event.exchange, len(event.data))
            elif isinstance(event, BodyEnded):
                ended.append(event.exchange)
        if not sent and not back:
            break

    assert come == asked
    assert sorted(ended) == sorted(asked)
    assert server.engine.open_streams == 0
    assert client.room == 100


@checked
@given(sizes=contents, places=places)
def test_h2_by_itself_gets_back_what_it_sends(sizes: list[int], places: list[int]) -> None:
    server = Echo()
    client = H2Connection(H2Configuration(client_side=True, header_encoding=None))
    client.initiate_connection()
    left: dict[int, bytes] = {}
    asked: dict[int, bytes] = {}
    for number, size in enumerate(sizes):
        stream = client.get_next_available_stream_id()
        client.send_headers(stream, POST)
        left[stream] = asked[stream] = content_of(number, size)
    come: dict[int, bytes] = {}
    ended: list[int] = []

    for _ in range(10_000):
        for stream, content in list(left.items()):
            room = min(client.local_flow_control_window(stream), client.max_outbound_frame_size)
            client.send_data(stream, content[:room], end_stream=room >= len(content))
            left[stream] = content[room:]
            if room >= len(content):
                del left[stream]
        sent = client.data_to_send()
        for piece in cut(sent, places):
            server.engine.receive_data(piece)
            server.go_on()
        back = octets(server.engine)
        for event in client.receive_data(back):
            if isinstance(event, ResponseReceived):
                come[event.stream_id] = b""
            elif isinstance(event, DataReceived):
                come[event.stream_id] += event.data
                client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                ended.append(event.stream_id)
        if not sent and not back and not left:
            break

    assert come == asked
    assert sorted(ended) == sorted(asked)
