"""`FTPClient` in memory: against a server that says what it is told, and against ours."""

from __future__ import annotations

import asyncio
import io
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from packages.ftp.tests.talking import FILES, HOST, factory
from sennit.core import serve
from sennit.core.deferred import Deferred
from sennit.core.endpoint.connect import open_stream
from sennit.core.errors import ConnectError, ConnectionLost, ProtocolError, TLSError
from sennit.core.stream import stream_handler
from sennit.core.transport.memory_link import Link
from sennit.core.transport.tls import ClientTLS, ServerTLS
from sennit.ftp.client import FTPClient
from sennit.ftp.errors import (
    FTPError,
    FTPPermanentError,
    FTPProtocolError,
    FTPTransientError,
    FTPUsageError,
    TransferError,
)
from sennit.ftp.limits import ClientLimits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from sennit.core.stream import Stream
    from sennit.core.testing.clock import Clock
    from sennit.core.testing.network import MemoryNetwork

    Main = Callable[[FTPClient], Awaitable[None]]

ISSUER = trustme.CA()
MADE = ISSUER.issue_cert("localhost", HOST)
TRUST = ISSUER.cert_pem.bytes()

LOGIN: dict[str, bytes] = {
    "USER": b"331 who\r\n",
    "PASS": b"230 in\r\n",
    "FEAT": b"211-Features\r\n SIZE\r\n MDTM\r\n211 End\r\n",
    "TYPE": b"200 ok\r\n",
    "QUIT": b"221 bye\r\n",
}


class Stub:
    """A server that says what it is told, and opens one data connection at a time.

    Args:
        answers: What it says to a line, or to all that begin with a word; before ``data`` or
            ``hold`` it opens the data connection.
        data: What it sends over data connections.
        hold: Leave data connections open.
        patter: Say that it goes on after a file, every 200 s, and not that it has ended.
        greeting: What it says first.
    """

    def __init__(
        self,
        answers: Mapping[str, bytes] | None = None,
        *,
        data: bytes = b"",
        hold: bool = False,
        patter: bool = False,
        greeting: bytes = b"220 hello\r\n",
    ) -> None:
        self.answers = {**LOGIN, **(answers or {})}
        self.heard: list[str] = []
        self.data = data
        self.hold = hold
        self.patter = patter
        self.greeting = greeting
        self.came: Deferred[Stream] = Deferred()
        self.got: list[bytes] = []

    async def handle(self, stream: Stream) -> None:
        """One control connection."""
        await stream.send_all(self.greeting)
        while True:
            line = (await stream.read_line()).decode("utf-8", "surrogateescape")
            self.heard.append(line)
            word = line.partition(" ")[0]
            answer = self.answers.get(line, self.answers.get(word))
            if answer is None and word == "EPSV":
                answer = b"229 here (|||%d|)\r\n" % await self.listen()
            if b"%d,%d" in (answer or b""):
                answer = (answer or b"") % divmod(await self.listen(), 256)
            await stream.send_all(answer or b"500 what?\r\n")
            if word in ("RETR", "MLSD", "LIST", "NLST") and (answer or b"").startswith(b"150"):
                data = await self.came
                await data.send_all(self.data)
                if not self.hold:
                    await data.aclose()
                    while self.patter:
                        await asyncio.sleep(200)
                        await stream.send_all(b"150 soon\r\n")
                    await stream.send_all(b"226 done\r\n")
            elif word == "STOR" and (answer or b"").startswith(b"150"):
                data = await self.came
                while piece := await data.receive_some():
                    self.got.append(piece)
                await data.aclose()
                await stream.send_all(b"226 done\r\n")

    async def listen(self) -> int:
        """A port for data."""
        self.came = Deferred()

        async def accept(stream: Stream) -> None:
            self.came.callback(stream)
            await stream.wait_closed()

        server = await serve(f"tcp://{HOST}:0", stream_handler(accept))
        return server.port


def against(
    clock: Clock,
    network: MemoryNetwork,
    made: Any,
    main: Main | None,
    url: str = f"ftp://u:p@{HOST}/",
    *,
    at: str = f"tcp://{HOST}:21",
    served: Mapping[str, Any] | None = None,
    **options: Any,
) -> None:
    """Run a client against a server; `main` is ``None`` where connecting must fail by itself."""
    if isinstance(made, Stub):
        made = stream_handler(made.handle)

    async def run(_: object) -> None:
        server = await network.host(HOST).run(serve, at, made, **(served or {}))
        try:
            async with FTPClient.connect(url, **options) as ftp:
                if main is not None:
                    await main(ftp)
        finally:
            await server.close(0)

    clock.run(run)


# ── login ─────────────────────────────────────────────────────────────────────


def test_login_says_what_it_must_in_order(clock: Clock, memory_network: MemoryNetwork) -> None:
    stub = Stub(
        {
            "FEAT": b"211-Features\r\n UTF8\r\n211 End\r\n",
            "OPTS": b"200 ok\r\n",
            "CWD": b"250 ok\r\n",
            "PASS": b"332 account\r\n",
            "ACCT": b"230 in\r\n",
        }
    )

    async def main(ftp: FTPClient) -> None:
        assert ftp.features == {"UTF8": ""}
        assert ftp.welcome == "hello"
        assert not ftp.secure

    against(clock, memory_network, stub, main, f"ftp://u:p@{HOST}/a%20b", account="acc")
    assert stub.heard == ["USER u", "PASS p", "ACCT acc", "FEAT", "OPTS UTF8 ON", "CWD a b", "QUIT"]


def test_nobody_in_particular_is_anonymous(clock: Clock, memory_network: MemoryNetwork) -> None:
    stub = Stub({"USER": b"230 in\r\n", "FEAT": b"500 what?\r\n"})
    against(clock, memory_network, stub, None, f"ftp://{HOST}/")
    assert stub.heard == ["USER anonymous", "FEAT", "QUIT"]


@pytest.mark.parametrize(
    ("answers", "greeting", "kind"),
    [
        ({"PASS": b"530 no\r\n"}, b"220 hi\r\n", FTPPermanentError),
        ({"PASS": b"332 account\r\n"}, b"220 hi\r\n", FTPError),
        ({}, b"421 too many\r\n", FTPTransientError),
        ({}, b"HTTP/1.1 400 Bad Request\r\n", FTPProtocolError),
        ({"USER": b"230-" + b"x\r\n" * 200}, b"220 hi\r\n", FTPProtocolError),
        ({"USER": b"331 " + b"x" * 5000}, b"220 hi\r\n", FTPProtocolError),
    ],
)
def test_a_login_that_fails_says_why(
    clock: Clock,
    memory_network: MemoryNetwork,
    answers: dict[str, bytes],
    greeting: bytes,
    kind: type[Exception],
) -> None:
    """HARDENING ftp-8: an endless reply of many lines is an error."""
    with pytest.raises(kind) as raised:
        against(clock, memory_network, Stub(answers, greeting=greeting), None)
    assert "'p'" not in str(raised.value)


def test_a_server_that_says_nothing_is_given_up(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    with pytest.raises(ConnectionLost, match="greeting within 60 s"):
        against(clock, memory_network, Stub(greeting=b""), None)
    assert clock.time() == pytest.approx(60, abs=1)
    with pytest.raises(ConnectError):
        against(clock, memory_network, Stub(), None, f"ftp://{HOST}:99/")


# ── TLS ───────────────────────────────────────────────────────────────────────


def test_tls_that_was_asked_for_is_never_skipped(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """HARDENING Defaults 11."""
    for answer in (b"500 what?\r\n", b"504 no\r\n", b"200 fine\r\n"):
        stub = Stub({"AUTH": answer})
        with pytest.raises(FTPError, match="AUTH TLS"):
            against(clock, memory_network, stub, None, tls="explicit")
        assert stub.heard == ["AUTH TLS"]


@pytest.mark.parametrize("more", [b"230 you are in\r\n", b"2"])
def test_what_follows_234_in_clear_ends_the_connection(
    clock: Clock, memory_network: MemoryNetwork, more: bytes
) -> None:
    """CVE-2011-0411 and its kin."""
    stub = Stub({"AUTH": b"234 go\r\n" + more})
    with pytest.raises(ProtocolError):
        against(clock, memory_network, stub, None, tls="explicit")
    assert stub.heard == ["AUTH TLS"]


@pytest.mark.parametrize("active", [False, True])
@pytest.mark.parametrize("tls", ["explicit", "implicit"])
def test_everything_goes_over_tls_and_data_resumes_the_session(
    clock: Clock, memory_network: MemoryNetwork, tls: Any, active: bool
) -> None:
    """RFC 4217 §10.2: a server that demands it is content with any number of transfers."""
    shown = ServerTLS(MADE.cert_chain_pems[0].bytes(), MADE.private_key_pem.bytes())
    implicit = tls == "implicit"
    made = factory(tls_mode="required", tls=shown)

    async def main(ftp: FTPClient) -> None:
        assert ftp.secure
        for _ in range(3):
            there = io.BytesIO()
            await ftp.get("large", there)
            assert there.getvalue() == FILES["large"]
        for octets in (b"", b"x" * 300_000):
            await ftp.put(io.BytesIO(octets), "new")
            assert (await ftp.stat("new")).size == len(octets)
        assert "large" in [each.name for each in await ftp.ls()]

    against(
        clock,
        memory_network,
        made,
        main,
        f"ftp://u:p@{HOST}:990/" if implicit else f"ftp://u:p@{HOST}/",
        at=f"tls://{HOST}:990" if implicit else f"tcp://{HOST}:21",
        served={"tls": shown} if implicit else {},
        tls=tls,
        client_tls=ClientTLS(trust=TRUST),
        server_hostname="localhost",
        active=active,
    )


def test_a_server_that_is_another_is_not_believed(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    shown = ServerTLS(MADE.cert_chain_pems[0].bytes(), MADE.private_key_pem.bytes())
    made = factory(tls_mode="required", tls=shown)
    with pytest.raises(TLSError):
        against(
            clock,
            memory_network,
            made,
            None,
            tls="explicit",
            client_tls=ClientTLS(trust=TRUST),
            server_hostname="files.example",
        )


def test_arguments_that_contradict_each_other_are_refused() -> None:
    wrong: list[tuple[str, dict[str, Any]]] = [
        (f"ftps://{HOST}/", {"tls": "explicit"}),
        (f"ftp://{HOST}/", {"client_tls": object()}),
        (f"ftp://{HOST}/", {"tls": "sometimes"}),
        (f"ftp://{HOST}/", {"user": "a\r\nDELE x"}),
        (f"ftp://{HOST}/", {"user": "a", "password": "b\n"}),
        (f"ftp://{HOST}/", {"active": True, "via": "socks5://127.0.0.1:1"}),
        ("http://x/", {}),
    ]
    for url, options in wrong:
        with pytest.raises(FTPUsageError):
            FTPClient.connect(url, **options)


# ── data connections ──────────────────────────────────────────────────────────


def test_the_host_in_a_passive_reply_is_ignored(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """HARDENING ftp-8 (CVE-2020-8284, CVE-2021-4189); EPSV is not asked for twice."""
    stub = Stub(
        {
            "EPSV": b"500 what?\r\n",
            "PASV": b"227 Entering Passive Mode (203,0,113,7,%d,%d)\r\n",
            "RETR": b"150 comes\r\n",
            "SIZE": b"213 5\r\n",
        },
        data=b"hello",
    )
    bait = memory_network.host("203.0.113.7")
    lured: list[object] = []

    async def lure(stream: Stream) -> None:
        lured.append(stream)

    async def main(ftp: FTPClient) -> None:
        server = await bait.run(serve, "tcp://203.0.113.7:0", stream_handler(lure))
        for _ in range(2):
            there = io.BytesIO()
            assert await ftp.get("x", there) == 5
            assert there.getvalue() == b"hello"
        await server.close(0)

    against(clock, memory_network, stub, main)
    assert not lured
    assert stub.heard.count("EPSV") == 1
    assert stub.heard.count("PASV") == 2


def test_in_active_mode_nobody_but_the_server_is_let_in(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """RFC 2577 §5, seen from the client."""
    thief = memory_network.host("203.0.113.9")
    stolen: list[bytes] = []

    class Watched(Stub):
        async def listen(self) -> int:
            raise AssertionError("nobody asked for that")

        async def handle(self, stream: Stream) -> None:
            await stream.send_all(self.greeting)
            data = stream
            while True:
                line = (await stream.read_line()).decode()
                word = line.partition(" ")[0]
                if word == "EPRT":
                    port = int(line.split("|")[3])
                    client = str(stream.peer).rpartition(":")[0]
                    try:
                        other = await thief.run(open_stream, f"tcp://{client}:{port}")
                        stolen.append(await other.receive_some())
                    except ConnectError:
                        stolen.append(b"")
                    await stream.send_all(b"200 ok\r\n")
                    data = await open_stream(f"tcp://{client}:{port}")
                elif word == "RETR":
                    await stream.send_all(b"150 comes\r\n")
                    await data.send_all(b"hello")
                    await data.aclose()
                    await stream.send_all(b"226 done\r\n")
                else:
                    await stream.send_all(self.answers.get(word, b"500 what?\r\n"))

    async def main(ftp: FTPClient) -> None:
        there = io.BytesIO()
        await ftp.get("x", there)
        assert there.getvalue() == b"hello"

    against(clock, memory_network, Watched(), main, active=True)
    assert stolen == [b""]


@pytest.mark.parametrize(
    ("answers", "data", "error"),
    [
        ({"RETR": b"550 no\r\n"}, b"", FTPPermanentError),
        ({"EPSV": b"425 no\r\n"}, b"", FTPTransientError),
        ({"EPSV": b"229 nothing\r\n"}, b"", FTPProtocolError),
        ({"RETR": b"150 comes\r\n", "SIZE": b"213 9\r\n"}, b"short", TransferError),
        ({"RETR": b"150 comes\r\n", "SIZE": b"213 1\r\n"}, b"long", TransferError),
    ],
)
def test_a_file_that_does_not_come_whole_is_an_error_and_the_next_command_gets_its_reply(
    clock: Clock,
    memory_network: MemoryNetwork,
    answers: dict[str, bytes],
    data: bytes,
    error: type[Exception],
) -> None:
    stub = Stub({"PWD": b'257 "/here"\r\n', **answers}, data=data)

    async def main(ftp: FTPClient) -> None:
        with pytest.raises(error):
            await ftp.get("x", io.BytesIO())
        assert await ftp.pwd() == "/here"

    against(clock, memory_network, stub, main)


def test_a_transfer_that_stands_still_is_given_up(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """HARDENING Defaults 2: 60 s without progress."""
    stub = Stub({"RETR": b"150 comes\r\n"}, data=b"some", hold=True)

    async def main(ftp: FTPClient) -> None:
        begun = clock.time()
        with pytest.raises(TransferError, match="60 s"):
            await ftp.get("x", io.BytesIO())
        assert 60 <= clock.time() - begun < 90
        assert ftp.closed  # nothing was said of it: the connection is of no use

    against(clock, memory_network, stub, main)


def test_a_server_that_only_says_that_it_goes_on_is_given_up(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    stub = Stub({"RETR": b"150 comes\r\n"}, data=b"all", patter=True)

    async def main(ftp: FTPClient) -> None:
        with pytest.raises(ConnectionLost, match="within 300 s"):
            await ftp.get("x", io.BytesIO())
        assert clock.time() < 400

    against(clock, memory_network, stub, main)


def test_a_reader_that_takes_its_time_is_not_standing_still(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    async def main(ftp: FTPClient) -> None:
        octets = 0
        async with ftp.open_reader("large") as reader:
            async for piece in reader:
                octets += len(piece)
                await asyncio.sleep(0 if octets > 600_000 else 100)
        assert octets == len(FILES["large"])

    made = factory(limits=None)
    made.limits = made.limits.__class__(progress=1000.0, idle=5000.0)
    against(clock, memory_network, made, main)


# ── arguments and names ───────────────────────────────────────────────────────


@pytest.mark.parametrize("bad", ["a\r\nDELE b", "a\nb", "a\rb", "a\0b"])
def test_no_argument_is_more_than_one_line(
    clock: Clock, memory_network: MemoryNetwork, bad: str
) -> None:
    """HARDENING ftp-8: CR/LF in path → ValueError, before the first octet."""
    stub = Stub()

    async def main(ftp: FTPClient) -> None:
        before = list(stub.heard)
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: ftp.cwd(bad),
            lambda: ftp.mkdir(bad),
            lambda: ftp.rmdir(bad),
            lambda: ftp.remove(bad),
            lambda: ftp.rename(bad, "x"),
            lambda: ftp.rename("x", bad),
            lambda: ftp.chmod(bad, 0o644),
            lambda: ftp.stat(bad),
            lambda: ftp.size(bad),
            lambda: ftp.modified(bad),
            lambda: ftp.hash(bad),
            lambda: ftp.ls(bad),
            lambda: ftp.names(bad),
            lambda: ftp.get(bad, io.BytesIO()),
            lambda: ftp.get(bad, "never made"),
            lambda: ftp.put(io.BytesIO(b"x"), bad),
            lambda: ftp.open_reader(bad).__aenter__(),
            lambda: ftp.open_writer(bad).__aenter__(),
            lambda: ftp.command("NOOP", bad),
            lambda: ftp.command(bad),
        ]
        for call in calls:
            with pytest.raises(ValueError, match="line"):
                await call()
        assert stub.heard == before

    against(clock, memory_network, stub, main)


@pytest.mark.parametrize("way", ["NLST", "MLSD", "LIST"])
def test_names_that_lead_elsewhere_are_left_out(
    clock: Clock, memory_network: MemoryNetwork, way: str
) -> None:
    """HARDENING ftp-8: NLST ``../x`` → refused."""
    names = [".", "..", "../x", "a/b", "/etc/passwd", "good", "a\0b", "ü"]
    form = {
        "NLST": "{}\r\n",
        "MLSD": "type=file;size=1;modify=20260101000000; {}\r\n",
        "LIST": "-rw-r--r-- 1 u g 1 Jan  1  2026 {}\r\n",
    }[way]
    feat = b"211-F\r\n MLST type*;\r\n211 End\r\n" if way == "MLSD" else b"500 no\r\n"
    stub = Stub(
        {way: b"150 comes\r\n", "FEAT": feat, **({"MLSD": b"500 no\r\n"} if way == "LIST" else {})},
        data="".join(form.format(name) for name in names).encode(),
    )

    async def main(ftp: FTPClient) -> None:
        if way == "NLST":
            assert await ftp.names() == ["good", "ü"]
        else:
            assert [each.name for each in await ftp.ls()] == ["good", "ü"]
            assert ftp.skipped == 4

    against(clock, memory_network, stub, main)


@pytest.mark.parametrize(
    ("limits", "says"),
    [({"max_entries": 5}, "5 entries"), ({"max_listing": 200}, "200 octets")],
)
@pytest.mark.parametrize("way", ["NLST", "MLSD"])
def test_a_listing_without_end_is_given_up(
    clock: Clock, memory_network: MemoryNetwork, way: str, limits: dict[str, int], says: str
) -> None:
    line = b"name\r\n" if way == "NLST" else b"type=file;size=1; name\r\n"
    feat = b"211-F\r\n MLST type*;\r\n211 End\r\n"
    stub = Stub({way: b"150 comes\r\n", "FEAT": feat, "PWD": b'257 "/"\r\n'}, data=line * 100)

    async def main(ftp: FTPClient) -> None:
        with pytest.raises(FTPProtocolError, match=says):
            await (ftp.names() if way == "NLST" else ftp.ls())
        assert await ftp.pwd() == "/"

    against(clock, memory_network, stub, main, limits=ClientLimits(**limits))


def test_permission_bits_are_octal(clock: Clock, memory_network: MemoryNetwork) -> None:
    stub = Stub({"SITE": b"200 ok\r\n"})

    async def main(ftp: FTPClient) -> None:
        await ftp.chmod("a b", 0o64)
        with pytest.raises(FTPUsageError):
            await ftp.chmod("a", 0o10000)

    against(clock, memory_network, stub, main)
    assert "SITE CHMOD 064 a b" in stub.heard


def test_names_lose_the_path_that_was_asked_for(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    stub = Stub({"NLST": b"150 comes\r\n"}, data=b"pub/a\r\npub/b\r\npub/../c\r\nd")

    async def main(ftp: FTPClient) -> None:
        assert await ftp.names("pub") == ["a", "b", "d"]

    against(clock, memory_network, stub, main)


def test_a_directory_whose_name_begins_with_a_dash_is_no_option(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """Many servers hand what stands behind LIST and NLST to their ls."""
    stub = Stub({"NLST": b"150 comes\r\n", "LIST": b"150 comes\r\n"}, data=b"./-R/a\r\nb\r\n")

    async def main(ftp: FTPClient) -> None:
        assert await ftp.names("-R") == ["a", "b"]
        await ftp.ls("-R")

    against(clock, memory_network, stub, main)
    assert {"NLST ./-R", "LIST ./-R"} <= set(stub.heard)


# ── the end ───────────────────────────────────────────────────────────────────


def test_a_server_that_left_is_told_as_what_it_said(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    stub = Stub({"NOOP": b"200 ok\r\n421 idle for too long\r\n"})

    async def main(ftp: FTPClient) -> None:
        await ftp.noop()
        await asyncio.sleep(1)
        with pytest.raises(FTPTransientError, match="idle for too long"):
            await ftp.noop()
        assert ftp.closed

    against(clock, memory_network, stub, main)


def test_a_server_that_does_not_answer_quit_is_left(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    against(clock, memory_network, Stub({"QUIT": b"100 wait\r\n"}), None)
    assert clock.time() < 60


def test_a_command_that_is_not_answered_costs_the_connection(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    async def main(ftp: FTPClient) -> None:
        with pytest.raises(ConnectionLost, match="NOOP within 60 s"):
            await ftp.noop()
        with pytest.raises(ConnectionLost):
            await ftp.noop()

    against(clock, memory_network, Stub({"NOOP": b"100 wait\r\n"}), main)


def test_a_command_that_was_cancelled_leaves_its_reply_to_nobody(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    stub = Stub({"PWD": b'257 "/here"\r\n', "NOOP": b"200 ok\r\n"})

    async def main(ftp: FTPClient) -> None:
        for _ in range(3):
            task = asyncio.ensure_future(ftp.noop())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await ftp.pwd() == "/here"

    against(clock, memory_network, stub, main)


@pytest.mark.parametrize("cut", ["reset", "close"])
def test_a_connection_lost_after_any_octet_is_one_error(
    clock: Clock, memory_network: MemoryNetwork, cut: Any
) -> None:
    """HARDENING fault-7: both connections, both ways; no exception escapes, nothing hangs."""
    server = memory_network.host(HOST)
    ends = 0

    async def session() -> None:
        async with FTPClient.connect(f"ftp://u:p@{HOST}/") as ftp:
            there = io.BytesIO()
            await ftp.get("motd", there)
            assert there.getvalue() == FILES["motd"]
            await ftp.put(io.BytesIO(b"x" * 40), "new")

    async def main(_: object) -> None:
        nonlocal ends
        made = await server.run(serve, f"tcp://{HOST}:21", factory())
        for way in (0, 1):
            for after in (*range(0, 120, 1 if cut == "reset" else 7), *range(120, 700, 23)):
                broken = Link(cut_after=after, cut=cut)
                pair = (broken, Link()) if way else (Link(), broken)
                memory_network.set_link(memory_network.client, server, *pair)
                try:
                    await session()
                except (FTPError, ConnectionLost, ConnectError, ProtocolError):
                    ends += 1
        await made.close(0)

    clock.run(main)
    clock.advance(1000)
    assert ends > 30
    assert not clock.pending


# ── against our own server ────────────────────────────────────────────────────


def ours(clock: Clock, network: MemoryNetwork, main: Main, **options: Any) -> None:
    """Run a client against our server."""
    against(clock, network, factory(), main, **options)


def test_what_there_is_can_be_listed_and_asked_for(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    async def main(ftp: FTPClient) -> None:
        assert ftp.tells_facts
        assert {each.name: each.size for each in await ftp.ls() if each.kind == "file"} == {
            name: len(octets) for name, octets in FILES.items() if "/" not in name
        }
        assert [each.name for each in await ftp.ls("dir") if each.kind == "dir"] == ["sub"]
        found = await ftp.stat("dir/b.txt")
        assert (found.name, found.kind, found.size) == ("b.txt", "file", 2)
        assert (await ftp.stat("dir")).kind == "dir"
        assert set(await ftp.names("dir")) >= {"a.txt", "b.txt", "sub"}
        assert await ftp.size("large") == len(FILES["large"])
        with pytest.raises(FTPPermanentError):
            await ftp.stat("nothing")
        assert await ftp.pwd() == "/"
        await ftp.cwd("dir")
        assert await ftp.pwd() == "/dir"

    ours(clock, memory_network, main)


def test_files_and_directories_are_made_renamed_and_removed(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    async def main(ftp: FTPClient) -> None:
        await ftp.mkdir("new ü")
        assert await ftp.put(io.BytesIO(b"one"), "new ü/a") == 3
        await ftp.rename("new ü/a", "new ü/b")
        assert await ftp.set_modified("new ü/b", 1_000_000_000)
        assert await ftp.modified("new ü/b") == 1_000_000_000
        with pytest.raises(FTPPermanentError):
            await ftp.rmdir("new ü")
        await ftp.remove("new ü/b")
        await ftp.rmdir("new ü")
        assert "new ü" not in await ftp.names()

    ours(clock, memory_network, main)


@pytest.mark.parametrize("active", [False, True])
def test_files_come_and_go_whole_or_from_the_middle(
    clock: Clock, memory_network: MemoryNetwork, active: bool
) -> None:
    large = FILES["large"]
    seen: list[tuple[int, int | None]] = []

    def see(done: int, total: int | None) -> None:
        seen.append((done, total))

    async def main(ftp: FTPClient) -> None:
        there = io.BytesIO()
        assert await ftp.get("large", there, on_progress=see) == len(large)
        assert there.getvalue() == large
        assert seen[0] == (0, len(large))
        assert seen[-1] == (len(large), len(large))
        # From the middle; of another file's remains nothing stays.
        for begun, expected in ((large[:999], large), (large, large), (large + b"x", large)):
            there = io.BytesIO(begun)
            await ftp.get("large", there, resume=True)
            assert there.getvalue() == expected
        for begun in (b"", large[:7], large, large + b"x"):
            await ftp.put(io.BytesIO(begun), "up")
            assert await ftp.put(io.BytesIO(large), "up", resume=True) == len(large)
            there = io.BytesIO()
            await ftp.get("up", there)
            assert there.getvalue() == large

        async def pieces() -> AsyncGenerator[bytes | bytearray, None]:
            yield b"one"
            yield bytearray(b"two")

        await ftp.put(pieces(), "stream")
        await ftp.put(io.BytesIO(b"three"), "stream", append=True)
        there = io.BytesIO()
        await ftp.get("stream", there)
        assert there.getvalue() == b"onetwothree"

    ours(clock, memory_network, main, active=active)


def test_ends_of_lines_are_translated_in_type_a(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    async def main(ftp: FTPClient) -> None:
        there = io.BytesIO()
        await ftp.get("motd", there, ascii=True)
        assert there.getvalue() == FILES["motd"]
        await ftp.put(io.BytesIO(b"a\nb\n"), "lines", ascii=True)
        assert await ftp.size("lines") == 4
        with pytest.raises(FTPUsageError):
            await ftp.get("motd", there, ascii=True, resume=True)

    ours(clock, memory_network, main)


def test_readers_and_writers_take_octets_as_they_come(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    large = FILES["large"]

    async def main(ftp: FTPClient) -> None:
        async with ftp.open_reader("large", 10) as reader:
            assert reader.size == len(large)
            assert b"".join([piece async for piece in reader]) == large[10:]
        async with ftp.open_reader("large") as reader:
            begun = await reader.read()
            assert large.startswith(begun)
        assert await ftp.pwd() == "/"  # who leaves early leaves nothing behind
        async with ftp.open_writer("w") as writer:
            await writer.write(b"hello")
            await writer.write(b" world")
        async with ftp.open_writer("w", 6) as writer:
            await writer.write(b"there")
        there = io.BytesIO()
        await ftp.get("w", there)
        assert there.getvalue() == b"hello there"

    ours(clock, memory_network, main)


def test_a_transfer_that_is_cancelled_or_fails_here_leaves_the_connection_usable(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    async def main(ftp: FTPClient) -> None:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                async with ftp.open_writer("w") as writer:
                    await writer.write(b"x" * 1000)
                    raise ZeroDivisionError
            assert "w" not in await ftp.names()  # half a file is none

            started = asyncio.Event()

            async def send(started: asyncio.Event = started) -> None:
                async with ftp.open_writer("w") as writer:
                    await writer.write(b"x")
                    started.set()
                    await asyncio.sleep(1000)

            task = asyncio.ensure_future(send())
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await ftp.pwd() == "/"
            assert not ftp.closed

    ours(clock, memory_network, main)


def test_abort_ends_the_transfer_of_another(clock: Clock, memory_network: MemoryNetwork) -> None:
    async def main(ftp: FTPClient) -> None:
        started = asyncio.Event()

        async def send() -> None:
            async with ftp.open_writer("w") as writer:
                started.set()
                while True:
                    await writer.write(b"x")
                    await asyncio.sleep(0.1)  # virtual

        task = asyncio.ensure_future(send())
        await started.wait()
        await ftp.abort()
        with pytest.raises((FTPError, ConnectionLost)):
            await task
        assert await ftp.pwd() == "/"
        await ftp.abort()

    ours(clock, memory_network, main)


def test_a_server_without_a_word_on_a_download_given_up_is_asked_and_kept(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """As Pure-FTPd is when it was reset before its first block had left."""
    stub = Stub(
        {"RETR": b"150 here\r\n", "NOOP": b"200 yes\r\n", "PWD": b'257 "/"\r\n'},
        data=b"some",
        hold=True,
    )

    async def main(ftp: FTPClient) -> None:
        async with ftp.open_reader("huge") as reader:
            assert await reader.read() == b"some"
        assert await ftp.pwd() == "/"

    against(clock, memory_network, stub, main)
    assert stub.heard[-3:] == ["NOOP", "PWD", "QUIT"]


def test_a_listing_that_is_left_early_is_settled_by_then(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """Not whenever a collector finds it: ``sennit ftp ls … | head`` ends at once."""

    async def main(ftp: FTPClient) -> None:
        async with aclosing(ftp.iterate()) as batches:
            async for _ in batches:
                break
        assert not ftp._lock.locked()
        assert await ftp.pwd() == "/"

    ours(clock, memory_network, main)


def test_coroutines_that_share_a_client_take_turns(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    async def main(ftp: FTPClient) -> None:
        async def fetch(name: str) -> None:
            there = io.BytesIO()
            await ftp.get(name, there)
            assert there.getvalue() == FILES[name]

        await asyncio.gather(*[fetch(name) for name in ("motd", "large", "dir/a.txt")], ftp.pwd())

    ours(clock, memory_network, main)


def test_a_client_that_is_not_connected_says_so() -> None:
    client = FTPClient.connect(f"ftp://{HOST}/")._client
    with pytest.raises(FTPUsageError, match="not connected"):
        client._live()
    assert client.closed
