"""Fuzz target: no octets of a server make a client raise what it does not say; its bounds hold."""

from __future__ import annotations

import re
from contextlib import suppress

from sennit.core.engine import CLOSED, PAUSED, NoEvent, PeerFault
from sennit.news.client_engine import (
    BlockReceived,
    ClientEngine,
    Command,
    Responded,
    ResponseBegun,
    command,
)
from sennit.news.client_replies import (
    Capabilities,
    parse_active,
    parse_counts,
    parse_created,
    parse_date_reply,
    parse_description,
    parse_format,
    parse_found,
    parse_header,
    parse_overview,
    parse_selected,
)
from sennit.news.display import article_fields, article_lines
from sennit.news.errors import NNTPProtocolError
from sennit.news.limits import ClientLimits

_ARTICLE = (
    b"220 1 <a@b>\r\nSubject: =?utf-8?b?w7w=?=\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
    b"--x\r\n\r\ntext\r\n--x--\r\n.\r\n"
)
_OVERVIEW = b"224 o\r\n1\ts\tf\td\t<a@b>\t<c@d> <e@f>\t10\t1\tXref: x a:1\r\n.\r\n"
_BEGIN = b"200 hi\r\n101 c\r\nVERSION 2\r\nOVER MSGID\r\n.\r\n211 1 1 2 a.b\r\n"

SEEDS = [
    _BEGIN + b"220 1 <a@b>\r\na: b\r\n\r\n..\r\n.\r\n" + _OVERVIEW + b"340 go\r\n240 ok\r\n",
    b"201 hi\r\n500 what\r\n411 no\r\n423 no\r\n423 no\r\n480 who\r\n400 bye\r\n",
    _BEGIN + _ARTICLE + b"224 o\r\n.\r\n206 on\r\n\x2b\x49\x2d\x2e\x01\x00",
    _BEGIN + b"220 1 <a@b>\r\n.\r\n224 o\r\n.\r\n382 go\r\n",
]

_PARSERS = (
    parse_active, parse_counts, parse_created, parse_date_reply, parse_description, parse_found,
    parse_header, parse_overview, parse_selected,
)  # fmt: skip
_MAX_BLOCK = 200
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""What a terminal obeys, or takes for the end of a line."""


def fuzz(data: bytes) -> None:
    """Ask for all kinds of things, and take whatever comes, in three pieces."""
    engine = ClientEngine(ClientLimits(max_line=128, max_block=_MAX_BLOCK, max_ratio=10))
    waiting = [
        command("CAPABILITIES"),
        command("GROUP", "a.b"),
        command("ARTICLE", "1"),
        command("OVER", "1-"),
        Command(b"X\r\n", "X", article=b"x\r\n", alone=True, deflates=True, hands_over=True),
        command("DATE"),
    ]
    blocks = [0]
    third = max(len(data) // 3, 1)
    for piece in (data[:third], data[third : 2 * third], data[2 * third :], b""):
        engine.receive_data(piece)
        if not piece:
            engine.receive_eof()
        while not isinstance(event := engine.next_event(), NoEvent):
            while waiting and engine.can_send(waiting[0]):
                engine.send_command(waiting.pop(0))
            if isinstance(event, PeerFault):
                assert isinstance(event.error, NNTPProtocolError)
            elif isinstance(event, ResponseBegun):
                blocks.append(0)
            elif isinstance(event, (BlockReceived, Responded)):
                blocks[-1] += len(event.data or b"")
                assert blocks[-1] <= _MAX_BLOCK
                if event.data:
                    _understand(event.data)
                if isinstance(event, Responded):
                    blocks.append(0)
        engine.data_to_send()
    assert engine.next_event() in (CLOSED, PAUSED)
    engine.release()
    assert engine.next_event() is CLOSED


def _understand(octets: bytes) -> None:
    """Read them as whatever a response may be."""
    lines = octets.split(b"\r\n")
    for line in lines[:3]:
        for parse in _PARSERS:
            with suppress(NNTPProtocolError):
                parse(line)
    assert Capabilities(lines).known
    names = parse_format(lines)
    with suppress(NNTPProtocolError):
        row = parse_overview(lines[0], names)
        shown = (row.subject, row.author, row.date, row.references, row.size, row.lines)
        assert len(shown) == 6
        assert all(row.field(name) is not None for name in names[:7])
    for name, content in article_fields(octets, everything=True):
        assert not _OBEYED.search(name + content)
    for text in article_lines(octets):
        assert not _OBEYED.search(text.replace("\t", ""))
