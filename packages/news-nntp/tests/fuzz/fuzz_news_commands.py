"""Fuzz target: no octets make a server's engine raise; its answers are lines, and it ends."""

from __future__ import annotations

from sennit.core.engine import CLOSED, PAUSED, NoEvent
from sennit.news.engine import ServerEngine
from sennit.news.events import ArticleOffered, Asked, SASLBegun, SASLResponse, TLSAsked
from sennit.news.limits import Limits
from sennit.news.session import Offers

SEEDS = [
    b"MODE READER\r\nGROUP a.b\r\nOVER 1-3\r\nARTICLE <a@b>\r\nHDR Subject 1-\r\nQUIT\r\n",
    b"CHECK <a@b>\r\nTAKETHIS <a@b>\r\na: b\r\n\r\n..x\r\n.\r\nIHAVE <c@d>\r\nx\r\n.\r\n",
    b"AUTHINFO USER a\r\nAUTHINFO PASS b\r\nAUTHINFO SASL PLAIN\r\n=\r\n*\r\nPOST\r\n.\r\n",
    b"LIST ACTIVE a.*,!b.*\r\nNEWNEWS * 20270101 000000 GMT\r\nXPAT from 1- *x* y?z\r\n",
    b" STAT <a@b>\r\n\tNEXT\r\nTAKETHIS\ta@b\r\nPOST\r\n.\r\n",
    b"COMPRESS DEFLATE\r\n\x00\x00\x00\xff\xff",
]

_OFFERS = Offers(login=True, passwords=True, mechanisms=["PLAIN"], tls=True, compress=True)


def fuzz(data: bytes) -> None:
    """Take whatever comes, in two pieces, and answer what is asked."""
    engine = ServerEngine(_OFFERS, Limits(max_article=64, max_streamed=3))
    engine.permit(reads=True, posts=True, feeds=True, known=True)
    waiting: list[Asked] = []
    login: SASLBegun | None = None
    sent: list[bytes] = []
    half = len(data) // 2
    for piece in (data[:half], data[half:], b""):
        engine.receive_data(piece)
        if not piece:
            engine.receive_eof()
        while True:
            event = engine.next_event()
            if isinstance(event, SASLBegun):
                engine.challenge(event, b"=")
                login = event
            elif isinstance(event, SASLResponse):
                assert login is not None
                engine.answer(login, 481, "no")
            elif isinstance(event, Asked):
                waiting.append(event)
            elif isinstance(event, NoEvent):
                if not waiting:
                    break
                # The last one first: answers keep their order all the same.
                _answer(engine, waiting.pop())
        sent += engine.data_to_send()
    assert engine.next_event() in (CLOSED, PAUSED)
    if not engine.session.compressed:
        assert b"".join(sent)[-2:] in (b"", b"\r\n")
    engine.release()
    assert engine.next_event() is CLOSED


def _answer(engine: ServerEngine, event: Asked) -> None:
    if isinstance(event, ArticleOffered):
        engine.answer(event, 335)
    elif isinstance(event, TLSAsked):
        engine.answer(event, 382)
    else:
        engine.answer(event, 403, "no")
