"""Fuzz target: no octets make the client's engine raise, whatever it has asked."""

from __future__ import annotations

from functools import partial

from sennit.core.engine import CLOSED, NoEvent, PeerFault
from sennit.ftp.client_engine import ClientEngine, Command, Completed, Preliminary, Unasked
from sennit.ftp.errors import FTPProtocolError
from sennit.ftp.limits import ClientLimits
from sennit.ftp.replies import Reply, features_of, hash_of, passive_port, quoted_path, size_of

SEEDS = [
    b"220-hello\r\n there\r\n220 go\r\n331 next\r\n230 in\r\n",
    b"211-Features\r\n UTF8\r\n MLST type*;size*;\r\n211 End\r\n",
    b"229 Entering Extended Passive Mode (|||6446|)\r\n150 ok\r\n226 done\r\n",
    b"227 Entering Passive Mode (127,0,0,1,4,1)\r\n425 no\r\n421 bye\r\n",
    b'257 "/a""b" is here\r\n213 12345\r\n213 SHA-256 0-9 0123456789abcdef name\r\n',
]


def _look_inside(reply: Reply) -> None:
    for read in (passive_port, quoted_path, size_of, partial(hash_of, digits=8)):
        try:
            read(reply)
        except FTPProtocolError:
            pass
    features_of(reply.lines)


def fuzz(data: bytes) -> None:
    """Whole and octet by octet it is the same, and no more is answered than was asked."""
    told: list[list[str]] = []
    for step in (max(1, len(data)), 1):
        engine = ClientEngine(ClientLimits(max_line=128, max_reply_lines=8))
        for _ in range(3):
            engine.send_command(Command("NOOP"))
        seen: list[str] = []
        for at in range(0, len(data), step):
            engine.receive_data(data[at : at + step])
            while not isinstance(event := engine.next_event(), NoEvent):
                seen.append(type(event).__name__)
                if isinstance(event, (Completed, Preliminary, Unasked)):
                    assert 1 <= len(event.reply.lines) <= 8
                    _look_inside(event.reply)
                else:
                    assert isinstance(event, PeerFault)
        engine.receive_eof()
        while not isinstance(event := engine.next_event(), NoEvent):
            seen.append(type(event).__name__)
        assert event is CLOSED
        assert seen.count("Completed") <= 3
        told.append(seen)
    assert told[0] == told[1]
