"""dig, kdig, drill and dnsperf against our server, and named beside it for its cookies."""

from __future__ import annotations

import asyncio
import re
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from packages.names.tests.interop.peers import Response, dig, drill, kdig, run_tool
from sennit.core import ServerTLS, open_stream, serve
from sennit.names import Record, RRType, ServerLimits
from sennit.names.message import AA, Message
from sennit.names.rdata.address import A
from sennit.names.rdata.basic import TXT
from sennit.names.request import Request
from sennit.names.server import DNSServer
from sennit.names.serving.cookies import Cookies
from sennit.names.serving.listening import serve_dns
from sennit.names.tsig import Key, Keyring

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from packages.names.tests.interop.peers import Peers

pytestmark = pytest.mark.interop

KEY = Key("test.key.", bytes(range(32)))
Where = tuple[str, int]


class Zone:
    """A for every name; under ``large`` more than fits, under ``late`` once another is given."""

    quick: Any = None

    def __init__(self) -> None:
        self.other = asyncio.Event()

    def respond(self, request: Request) -> Any:
        name = request.message.question.name
        reply = request.message.reply(flags=AA)
        if b"large" in name.labels:
            reply.answers = [
                Record(name, RRType.TXT, 60, TXT((bytes((65 + n,)) * 200,))) for n in range(20)
            ]
        else:
            reply.answers = [Record(name, RRType.A, 60, A("192.0.2.1"))]
        if b"late" in name.labels:
            return self._late(reply)
        self.other.set()
        return reply

    async def _late(self, reply: Message) -> Message:
        await self.other.wait()
        return reply


@pytest.fixture
async def server() -> AsyncIterator[Where]:
    dns = DNSServer(
        Zone(), keys=Keyring([KEY]), nsid=b"here", identity={"id.server.": "number one"}
    )
    async with serve_dns(dns, "127.0.0.1", 0) as running:
        yield "127.0.0.1", running.port


@pytest.fixture
async def encrypted(tmp_path: Path) -> AsyncIterator[tuple[Where, Path]]:
    authority = trustme.CA()
    made = authority.issue_cert("dns.test")
    made.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "cert.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = ServerTLS(str(tmp_path / "cert.pem"))
    async with serve("tls://127.0.0.1:0", DNSServer(Zone()), tls=tls) as running:
        yield ("127.0.0.1", running.port), tmp_path / "ca.pem"


async def asked(tool: Any, server: Where, name: str, *words: str, rdtype: str = "A") -> Response:
    response: Response = await asyncio.to_thread(tool, server, name, rdtype, *words)
    return response


@pytest.mark.parametrize("tool", [dig, kdig, drill])
async def test_every_tool_gets_its_answer(server: Where, tool: Any) -> None:
    found = await asked(tool, server, "www.example")

    assert found.status == "NOERROR"
    assert {"qr", "aa", "rd"} <= found.flags
    assert found.data == ["192.0.2.1"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["+tcp"], "(TCP)"),
        (["+noedns"], "192.0.2.1"),
        (["+nsid"], '("here")'),
        (["+cookie"], "(good)"),
        (["+tcp", "+keepalive"], "TCP KEEPALIVE: 10.0 secs"),
        (["+dnssec"], "flags: do; udp: 1232"),
        (["+bufsize=512"], "192.0.2.1"),
        (["+edns=1", "+noednsneg"], "status: BADVERS"),
        (["+opcode=15"], "status: NOTIMP"),
        (["+opcode=2", "+noedns"], "status: NOTIMP"),
        (["+header-only"], "(good)"),  # RFC 7873 §5.4
        (["+header-only", "+noedns"], "status: FORMERR"),
        (["+cdflag"], "cd"),
        (["+subnet=192.0.2.0/24"], "192.0.2.1"),
        (["+padding=64"], "192.0.2.1"),
    ],
)
async def test_dig_is_told_what_it_asks_for(server: Where, words: list[str], told: str) -> None:
    found = await asked(dig, server, "www.example", *words)
    assert told in found.text
    assert "malformed" not in found.text
    assert "WARNING: EDNS query" not in found.text or "NOTIMP" in told


async def test_an_answer_that_does_not_fit_is_asked_for_again_by_tcp(server: Where) -> None:
    for tool in (dig, kdig, drill):
        found = await asked(tool, server, "large.example", rdtype="TXT")
        assert len(found.answer) == (20 if tool is not drill else len(found.answer))
    cut = await asked(dig, server, "large.example", "+ignore", "+noedns", rdtype="TXT")
    assert "tc" in cut.flags
    assert cut.status == "NOERROR"


async def test_dig_keeps_a_connection_for_several_queries(server: Where) -> None:
    text = await asyncio.to_thread(
        run_tool, "dig", "-p", str(server[1]), f"@{server[0]}", "+tcp", "+keepopen",
        "+tries=1", "a.example", "b.example", "c.example",
    )  # fmt: skip
    assert text.count("status: NOERROR") == 3


async def test_a_cookie_of_named_is_a_cookie_of_ours(peers: Peers) -> None:
    """RFC 9018: servers with one secret take each other's."""
    secret = bytes(range(16))
    zone = "@ 60 SOA ns. root. 1 2 3 4 5\n@ 60 NS ns.example.\nns 60 A 192.0.2.1\n"
    options = f'cookie-algorithm siphash24; cookie-secret "{secret.hex()}";'
    named = await asyncio.to_thread(peers.named, {"example.": zone}, options=options)
    theirs = await asked(dig, (named.host, named.port), "ns.example", "+cookie")
    made = re.search(r"COOKIE: (\w{48}) \(good\)", theirs.text)
    assert made is not None
    dns = DNSServer(Zone(), cookies=Cookies(secret, required=True))
    async with serve_dns(dns, "127.0.0.1", 0) as running:
        where = ("127.0.0.1", running.port)
        with_theirs = await asked(dig, where, "ns.example", f"+cookie={made[1]}", "+nobadcookie")
        with_none = await asked(dig, where, "ns.example", "+cookie", "+nobadcookie")
        by_itself = await asked(dig, where, "ns.example", "+cookie")
    assert with_theirs.status == "NOERROR"
    assert with_none.status == "BADCOOKIE"
    assert by_itself.status == "NOERROR"


async def test_queries_are_signed_and_wrong_keys_told(server: Where) -> None:
    good = await asked(dig, server, "www.example", "-y", KEY.to_text())
    assert good.status == "NOERROR"
    assert "Couldn't verify" not in good.text
    assert "could not be validated" not in good.text
    large = await asked(dig, server, "large.example", "-y", KEY.to_text(), rdtype="TXT")
    assert len(large.answer) == 20
    assert "could not be validated" not in large.text
    wrong = Key("test.key.", b"x" * 32)
    bad = await asyncio.to_thread(
        dig, server, "www.example", "A", "-y", wrong.to_text(), check=False
    )
    assert bad.status == "NOTAUTH"
    assert "BADSIG" in bad.text


async def test_the_identity_is_told_where_it_is_configured(server: Where) -> None:
    told = await asked(dig, server, "id.server", "-c", "CH", rdtype="TXT")
    assert told.data == ['"number one"']
    refused = await asked(dig, server, "version.bind", "-c", "CH", rdtype="TXT")
    assert refused.status == "REFUSED"


@pytest.mark.parametrize("tool", ["dig", "kdig"])
async def test_dns_over_tls_is_answered_and_padded(
    encrypted: tuple[Where, Path], tool: str
) -> None:
    """RFC 7858, RFC 8467: the certificate is verified, the answer a multiple of 468 octets."""
    where, ca = encrypted
    words = {
        "dig": ["+tls", f"+tls-ca={ca}", "+tls-hostname=dns.test", "+padding=128", "+keepopen"],
        "kdig": ["+tls", f"+tls-ca={ca}", "+tls-hostname=dns.test", "+padding"],
    }[tool]
    found = await asked(dig if tool == "dig" else kdig, where, "www.example", *words)

    assert found.data == ["192.0.2.1"]
    size = re.search(r"(?:MSG SIZE  rcvd:|Received) (\d+)", found.text)
    assert size is not None
    assert int(size[1]) % 468 == 0


async def test_dot_is_agreed_on(encrypted: tuple[Where, Path]) -> None:
    """RFC 7858 §3.1: the port says so, and ALPN where a client offers it."""
    (host, port), ca = encrypted
    for offered, agreed in ((["dot"], "dot"), ([], None)):
        context = ssl.create_default_context(cafile=str(ca))
        if offered:
            context.set_alpn_protocols(offered)
        reader, writer = await asyncio.open_connection(
            host, port, ssl=context, server_hostname="dns.test"
        )
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == agreed
        writer.write(b"\0\x1d" + Message.query("www.example", id=5).to_wire())
        size = int.from_bytes(await reader.readexactly(2), "big")
        assert Message.from_wire(await reader.readexactly(size)).id == 5
        writer.close()
        await writer.wait_closed()


async def test_dnsperf_loses_nothing_over_udp_and_tcp(server: Where) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".queries") as queries:
        queries.writelines(f"h{n}.example A\n" for n in range(100))
        queries.flush()
        for mode in ("udp", "tcp"):
            text = await asyncio.to_thread(
                run_tool, "dnsperf", "-s", server[0], "-p", str(server[1]), "-m", mode,
                "-d", queries.name, "-n", "5", "-c", "4", "-q", "50",
            )  # fmt: skip
            assert "Queries completed:    500 (100.00%)" in text
            assert "NOERROR 500 (100.00%)" in text


async def test_answers_overtake_each_other_over_one_connection(server: Where) -> None:
    """RFC 7766 §7."""
    first = Message.query("late.example", id=1).to_wire()
    second = Message.query("www.example", id=2).to_wire()
    found: list[int] = []
    async with await open_stream(f"tcp://{server[0]}:{server[1]}") as stream:
        await stream.send_pieces(
            [len(first).to_bytes(2, "big"), first, len(second).to_bytes(2, "big"), second]
        )
        for _ in range(2):
            size = int.from_bytes(await stream.read_exactly(2), "big")
            found.append(Message.from_wire(await stream.read_exactly(size)).id)
    assert found == [2, 1]


async def test_one_octet_a_second_is_let_go_and_others_are_served(server: Where) -> None:
    """HARDENING dns-7, on real sockets and with a shorter limit."""
    dns = DNSServer(Zone(), limits=ServerLimits(message=0.5, idle=0.5))
    async with serve("tcp://127.0.0.1:0", dns) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(b"\0\x20\1")
        assert await asyncio.wait_for(reader.read(), 3) == b""
        writer.close()
        found = await asked(dig, ("127.0.0.1", running.port), "www.example", "+tcp")
        assert found.data == ["192.0.2.1"]
