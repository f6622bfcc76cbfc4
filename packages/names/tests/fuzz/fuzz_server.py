"""No octets make the server raise, answer an answer, or answer with more than it may.

What comes is read as a datagram, as a connection cut in two ways, and as a request over HTTPS;
the responder answers everything, so that all of what finishes an answer is reached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sennit.core.address import DatagramPath
from sennit.core.http import HTTPAnswer, HTTPQuestion
from sennit.core.testing.engines import converse
from sennit.names.doh import DoHHandler
from sennit.names.edns import EDNS, Option
from sennit.names.engine import DatagramServerEngine, StreamServerEngine
from sennit.names.events import DatagramQuery
from sennit.names.limits import ServerLimits
from sennit.names.message import Message, Record
from sennit.names.rdata.address import A
from sennit.names.server import DNSServer
from sennit.names.serving.answering import Asked, Serving
from sennit.names.serving.cookies import Cookies
from sennit.names.serving.queries import kind_of, question_end, truncated_reply
from sennit.names.tsig import Key, Keyring, sign

if TYPE_CHECKING:
    from sennit.names.request import Request

PEER = ("192.0.2.1", 4444)
KEY = Key("k.example.", b"s" * 32)
_QUERY = Message.query("www.example.org", id=1)


def _with(*options: Option) -> bytes:
    message = Message.query("www.example.org", id=1)
    message.edns = EDNS(options=options, dnssec_ok=True)
    return message.to_wire()


SEEDS = (
    _QUERY.to_wire(),
    _QUERY.reply().to_wire(),
    Message.query("example.org", 252).to_wire(),
    Message.query("version.bind", 16, rdclass=3).to_wire(),
    _with(Option(10, b"c" * 8), Option(3), Option(11), Option(12, bytes(9))),
    _with(Option(10, b"c" * 24)),
    Message(2, opcode=5, questions=_QUERY.questions).to_wire(),
    Message(2, opcode=15, questions=_QUERY.questions).to_wire(),
    sign(_QUERY.to_wire(), KEY, 1_000_000)[0],
    len(_QUERY.to_wire()).to_bytes(2, "big") + _QUERY.to_wire() + b"\0\0",
)


class _All:
    """Answers everything with so many addresses."""

    quick: Any = None

    def respond(self, request: Request) -> Message:
        reply = request.message.reply()
        name = request.message.question.name
        reply.answers = [Record(name, 1, 60, A(f"192.0.2.{n}")) for n in range(60)]
        return reply


def _serving() -> Serving:
    return Serving(
        _All(),
        limits=ServerLimits(),
        keys=Keyring([KEY]),
        cookies=Cookies(b"k" * 16),
        nsid=b"here",
        identity={"version.bind": "none"},
    )


def _answered(data: bytes, transport: str) -> bytes | None:
    asked = _serving().read(data, PEER, transport, 1_000_000.0)
    answer = asked.answer() if isinstance(asked, Asked) else asked
    assert answer is None or isinstance(answer, bytes)
    return answer


def fuzz(data: bytes) -> None:
    """Hold what the server makes of `data` against what it may."""
    for transport, most in (("udp", 1232), ("tcp", 0xFFFF), ("tls", 0xFFFF), ("https", 0xFFFF)):
        answer = _answered(data, transport)
        if answer is None:
            assert len(data) < 12 or data[2] & 0x80
            continue
        assert len(answer) <= most
        assert answer[:2] == data[:2]
        read = Message.from_wire(answer)
        assert answer[2] & 0x80
        if transport == "udp" and read.edns is None and read.tsig is None:
            assert len(answer) <= 512
        assert question_end(answer) <= len(answer)
        kind_of(answer)
        truncated_reply(data)
    engine = DatagramServerEngine(53)
    engine.receive_datagram(data, DatagramPath(PEER))
    event = engine.next_event()
    if isinstance(event, DatagramQuery):
        engine.internal_error(event.exchange)
        assert len(engine.datagrams_to_send()) == 1
    whole = converse(StreamServerEngine(), [data], _echo, eof=True)
    half = len(data) // 2
    assert converse(StreamServerEngine(), [data[:half], data[half:]], _echo, eof=True) == whole
    asked = HTTPQuestion(
        "POST", "/", "", [(b"content-type", b"application/dns-message")], data, PEER, True
    )
    found = DoHHandler(DNSServer(_All())).answer(asked)
    assert isinstance(found, HTTPAnswer)
    assert found.status in (200, 400)
    by_get = HTTPQuestion("GET", "/", data.decode("latin-1"), [], b"", PEER, True)
    found = DoHHandler(DNSServer(_All())).answer(by_get)
    assert isinstance(found, HTTPAnswer)


def _echo(engine: Any, event: Any) -> None:
    engine.send_answer(event.exchange, event.wire)
