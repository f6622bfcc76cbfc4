"""Fuzz target: no octets make an engine raise, and its promises hold on all of them."""

from __future__ import annotations

from sennit.core.engine import NoEvent
from sennit.ftp.engine import ClientEngine, ServerEngine
from sennit.ftp.events import KeyAsked
from sennit.ftp.limits import Limits

SEEDS = [b"GET motd\r\nGET other\nQUIT\r\n", b"+hello\r\n-no\r\n"]


def fuzz(data: bytes) -> None:
    """Both sides take whatever comes."""
    server = ServerEngine(Limits(max_line=64))
    server.receive_data(data)
    server.receive_eof()
    while not isinstance(event := server.next_event(), NoEvent):
        if isinstance(event, KeyAsked):
            assert b"\n" not in event.key
            server.accept_key(event.key.replace(b"\r", b""))
    for piece in server.data_to_send():
        assert piece.endswith(b"\r\n")

    client = ClientEngine(Limits(max_line=64))
    client.send_get(b"motd")
    client.receive_data(data)
    client.receive_eof()
    answers = 0
    while not isinstance(client.next_event(), NoEvent):
        answers += 1
    assert answers <= 2
