"""Transfers of the server: files either way, listings, and what goes wrong; in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from packages.ftp.tests.talking import FILES, HOST, Talk, converse, factory, kept, read_all
from sennit.core import open_stream, serve
from sennit.core.errors import ConnectError, ConnectionLost
from sennit.core.stream import StreamProtocol
from sennit.ftp.limits import Limits
from sennit.ftp.store.memory import MemoryStore
from sennit.ftp.store.quota import Quota

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from sennit.core.stream import Stream
    from sennit.core.testing.clock import Clock
    from sennit.core.testing.network import MemoryNetwork
    from sennit.ftp.interfaces import Entry, FilePath
    from sennit.ftp.server import FTPServerFactory


class Meeting:
    """A server and whoever talks to it."""

    def __init__(self, clock: Clock, network: MemoryNetwork) -> None:
        self.clock = clock
        self.network = network

    def run(
        self,
        main: Callable[[Talk], Awaitable[None]],
        made: FTPServerFactory | None = None,
    ) -> None:
        """Log in and talk."""

        async def talk() -> None:
            await main(await Talk.open())

        converse(self.clock, self.network, made or factory(), talk)


@pytest.fixture
def meeting(clock: Clock, memory_network: MemoryNetwork) -> Meeting:
    return Meeting(clock, memory_network)


# ── out ───────────────────────────────────────────────────────────────────────


def test_files_are_sent_as_they_are(meeting: Meeting) -> None:
    async def main(talk: Talk) -> None:
        for name, content in FILES.items():
            assert await talk.fetch(f"RETR {name}") == content

    meeting.run(main)


@pytest.mark.parametrize(
    ("before", "octets"),
    [
        (["REST 6"], b"world\n"),
        (["REST 12"], b""),
        (["RANG 1 3"], b"ell"),
        (["RANG 8 99"], b"rld\n"),
        (["RANG 1 3", "RANG 1 0"], b"hello\nworld\n"),
        (["TYPE A"], b"hello\r\nworld\r\n"),
        (["TYPE A", "REST 8"], b"orld\r\n"),
        (["TYPE A", "RANG 5 8"], b"\r\nwo"),
    ],
)
def test_parts_of_files_are_sent(meeting: Meeting, before: list[str], octets: bytes) -> None:
    """RFC 3659 §5: in type A octets are counted as they travel."""

    async def main(talk: Talk) -> None:
        for line in before:
            await talk.ask(line)
        assert await talk.fetch("RETR motd") == octets
        # It counts for one transfer.
        assert len(await talk.fetch("RETR motd")) >= 12

    meeting.run(main)


def test_what_cannot_be_sent_says_so_before_it_begins(meeting: Meeting) -> None:
    async def main(talk: Talk) -> None:
        for line, code in (("RETR nothing", "550"), ("RETR dir", "550"), ("RETR motd", "425")):
            if code == "550":
                await talk.port()
            await talk.expect(code, line)
        await talk.port()
        await talk.expect("350", "REST 13")
        await talk.expect("554", "RETR motd")

    meeting.run(main)


def test_text_has_no_octet_behind_its_end_either(meeting: Meeting) -> None:
    """In type A that is found out while it is read."""

    async def main(talk: Talk) -> None:
        await talk.expect("200", "TYPE A")
        await talk.expect("350", "REST 14")
        assert await talk.fetch("RETR motd") == b""
        await talk.expect("350", "REST 15")
        data = await talk.data()
        await talk.expect("150", "RETR motd")
        await read_all_or_lose(data)
        assert (await talk.reply()).startswith("554")

    meeting.run(main)


# ── in ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [0, 1, 65_536, 1_000_000, 3_000_000])
def test_what_is_stored_is_what_was_sent(meeting: Meeting, size: int) -> None:
    octets = bytes(range(256)) * (size // 256 + 1)

    async def main(talk: Talk) -> None:
        assert (await talk.store("STOR new", octets[:size])).startswith("226")
        assert await talk.fetch("RETR new") == octets[:size]

    meeting.run(main)


def test_files_grow_and_are_resumed(meeting: Meeting) -> None:
    async def main(talk: Talk) -> None:
        await talk.store("APPE motd", b"more\n")
        await talk.expect("350", "REST 6")
        await talk.store("STOR motd", b"earth\n")
        assert await talk.fetch("RETR motd") == b"hello\nearth\n"
        await talk.expect("350", "REST 99")
        await talk.port()
        await talk.expect("554", "STOR motd")

    meeting.run(main)


def test_a_name_is_found_for_what_has_none(meeting: Meeting) -> None:
    """RFC 1123 §4.1.2.9: the reply tells it."""

    async def main(talk: Talk) -> None:
        data = await talk.data()
        begun = await talk.expect("150 FILE: /", "STOU")
        await data.send_all(b"x")
        await data.aclose()
        assert (await talk.reply()).startswith("226")
        assert await talk.fetch(f"RETR {begun.removeprefix('150 FILE: ')}") == b"x"
        assert "/motd" in await talk.store("STOU motd", b"y")
        assert await talk.fetch("RETR motd") == FILES["motd"]

    meeting.run(main)


def test_text_is_stored_with_our_line_ends(meeting: Meeting) -> None:
    async def main(talk: Talk) -> None:
        await talk.expect("200", "TYPE A")
        await talk.store("STOR new", b"a\r\nb\rc\r")
        await talk.port()
        await talk.expect("350", "REST 1")
        await talk.expect("554", "STOR new")
        await talk.expect("200", "TYPE I")
        assert await talk.fetch("RETR new") == b"a\nb\rc\r"

    meeting.run(main)


def test_what_does_not_fit_is_refused(meeting: Meeting) -> None:
    store = MemoryStore(FILES, quota=Quota(octets=2_000_000))

    async def main(talk: Talk) -> None:
        await talk.expect("200", "ALLO 3000000")
        await talk.port()
        await talk.expect("552", "STOR new")
        assert (await talk.store("STOR new", bytes(3_000_000))).startswith("552")
        await talk.expect("550", "SIZE new")
        await talk.port()
        await talk.expect("553", "STOR bad\x07name")

    meeting.run(main, factory(store))


@pytest.mark.parametrize(("line", "left"), [("STOR new", None), ("APPE motd", 12 + 60_000)])
def test_an_upload_that_breaks_is_not_there_but_what_grows_keeps_what_came(
    meeting: Meeting, line: str, left: int | None
) -> None:
    async def main(talk: Talk) -> None:
        data = await talk.data()
        await talk.expect("150", line)
        await data.send_all(bytes(60_000))
        await asyncio.sleep(1)  # virtual
        assert "60000 octets so far" in await talk.ask("STAT")
        data.transport.abort()
        assert (await talk.reply()).startswith("426")
        found = await talk.ask("SIZE " + line.split()[1])
        assert found.startswith("550") if left is None else found == f"213 {left}"

    meeting.run(main)


@pytest.mark.parametrize("go_on", ["REST 60000|STOR new", "APPE new"])
def test_an_upload_that_breaks_can_be_gone_on_with_where_its_part_is_kept(
    meeting: Meeting, go_on: str
) -> None:
    octets = bytes(range(256)) * 400

    async def main(talk: Talk) -> None:
        data = await talk.data()
        await talk.expect("150", "STOR new")
        await data.send_all(octets[:60_000])
        await asyncio.sleep(1)  # virtual
        data.transport.abort()
        assert (await talk.reply()).startswith("426")
        assert await talk.ask("SIZE new") == "213 60000"
        *before, line = go_on.split("|")
        for each in before:
            await talk.expect("350", each)
        assert (await talk.store(line, octets[60_000:])).startswith("226")
        assert await talk.fetch("RETR new") == octets

    meeting.run(main, factory(MemoryStore(FILES, keep_broken=True)))


@pytest.mark.parametrize("how", ["ABOR", "lost"])
def test_what_had_come_when_it_was_given_up_is_kept_as_well(meeting: Meeting, how: str) -> None:
    store = MemoryStore(FILES, keep_broken=True)

    async def main(talk: Talk) -> None:
        other = await Talk.open()
        data = await talk.data()
        await talk.expect("150", "STOR new")
        await data.send_all(bytes(2_500_000))
        await asyncio.sleep(1)  # virtual
        if how == "ABOR":
            await talk.expect("426", "ABOR")
            assert (await talk.reply()).startswith("226")
        else:
            talk.stream.transport.abort()
            await asyncio.sleep(1)
        code, size = (await other.ask("SIZE new")).split()
        assert code == "213"
        assert 1_000_000 < int(size) <= 2_500_000

    meeting.run(main, factory(store))


# ── listings ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("LIST", ["motd", "empty", "large", "dir"]),
        ("LIST dir", ["a.txt", "b.txt", ".hidden", "sub"]),
        ("LIST -la dir/", ["a.txt", "b.txt", ".hidden", "sub"]),
        ("LIST motd", ["motd"]),
        ("LIST dir/*.txt", ["a.txt", "b.txt"]),
        ("LIST dir/x*", []),
        ("NLST", ["motd", "empty", "large", "dir"]),
        ("NLST dir", ["dir/a.txt", "dir/b.txt", "dir/.hidden", "dir/sub"]),
        ("NLST dir/*.txt", ["dir/a.txt", "dir/b.txt"]),
        ("NLST dir/a.txt", ["dir/a.txt"]),
        ("MLSD", ["motd", "empty", "large", "dir"]),
        ("MLSD dir/sub", ["c"]),
    ],
)
def test_listings_have_what_there_is(meeting: Meeting, line: str, names: list[str]) -> None:
    async def main(talk: Talk) -> None:
        lines = (await talk.fetch(line)).decode().splitlines()
        assert [each.split()[-1] for each in lines] == names

    meeting.run(main)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("LIST nothing", "550"),
        ("NLST nothing", "550"),
        ("MLSD motd", "550"),
        ("LIST motd*/x", "550"),
        ("LIST -R", "550"),
        ("LIST {a,b}{a,b}", "550"),
        ("LIST nothing/*", "550"),
    ],
)
def test_listings_that_cannot_be(meeting: Meeting, line: str, code: str) -> None:
    """HARDENING ftp-4."""

    async def main(talk: Talk) -> None:
        await talk.port()
        await talk.expect(code, line)

    meeting.run(main)


def test_a_pattern_matches_so_many_names(meeting: Meeting) -> None:
    """HARDENING ftp-4."""
    store = MemoryStore({f"file{number}": b"" for number in range(50)})

    async def main(talk: Talk) -> None:
        data = await talk.data()
        await talk.expect("150", "LIST file*")
        await read_all_or_lose(data)
        assert (await talk.reply()).startswith("550")
        assert len((await talk.fetch("NLST")).splitlines()) == 50

    meeting.run(main, factory(store, limits=Limits(max_matches=49)))


class Counting(MemoryStore):
    """Has one name after the other, without end, and knows how many listings are open."""

    listings = 0

    async def list_directory(self, path: FilePath) -> AsyncIterator[Sequence[Entry]]:
        self.listings += 1
        try:
            async for batch in super().list_directory(path):
                while True:
                    yield batch
        finally:
            await asyncio.sleep(0)
            self.listings -= 1


@pytest.mark.parametrize(
    "line", ["LIST file*", "STAT dir", "NLST", "MLSD gone", "LIST file", "LIST"]
)
def test_a_listing_that_is_left_early_stays_open_nowhere(meeting: Meeting, line: str) -> None:
    store = Counting({"file1": b"", "file": b"", "dir/b": b""})

    async def main(talk: Talk) -> None:
        if line == "STAT dir":
            await talk.expect("550", line)
        else:
            data = await talk.data()
            begun = await talk.ask(line)
            if begun.startswith("150"):
                if "*" not in line:
                    await data.receive_some()
                    await talk.stream.send_all(b"ABOR\r\n")
                await read_all_or_lose(data)
                assert (await talk.reply())[0] in "245"
        assert store.listings == 0

    meeting.run(main, factory(store, limits=Limits(max_matches=49, max_status_entries=49)))


async def read_all_or_lose(stream: Stream) -> None:
    try:
        await read_all(stream)
    except ConnectionLost:
        pass


def test_the_facts_of_mlsd_are_chosen(meeting: Meeting) -> None:
    async def main(talk: Talk) -> None:
        await talk.expect("200", "OPTS MLST size;type;")
        assert await talk.fetch("MLSD dir/sub") == b"type=file;size=3; c\r\n"

    meeting.run(main)


# ── who connects ──────────────────────────────────────────────────────────────


def test_a_stranger_is_turned_away_and_the_waiting_goes_on(meeting: Meeting) -> None:
    """HARDENING ftp-2 (RFC 2577 §5)."""
    stranger = meeting.network.host("10.0.0.66")

    async def main(talk: Talk) -> None:
        port = await talk.port()
        for _ in range(3):
            with pytest.raises(ConnectError):
                await stranger.run(open_stream, f"tcp://{HOST}:{port}")
        data = await open_stream(f"tcp://{HOST}:{port}")
        await talk.expect("150", "RETR motd")
        assert await read_all(data) == FILES["motd"]
        assert (await talk.reply()).startswith("226")
        with pytest.raises(ConnectError):
            await open_stream(f"tcp://{HOST}:{port}")

    meeting.run(main)


def test_who_does_not_connect_is_waited_for_so_long(meeting: Meeting) -> None:
    """HARDENING ftp-2: 30 s, then 425."""

    async def main(talk: Talk) -> None:
        port = await talk.port()
        await talk.expect("150", "STOR new")
        begun = meeting.clock.time()
        assert (await talk.reply()).startswith("425")
        assert 30.0 <= meeting.clock.time() - begun < 31.0
        await talk.expect("550", "SIZE new")
        with pytest.raises(ConnectError):
            await open_stream(f"tcp://{HOST}:{port}")

    meeting.run(main)


def test_a_client_that_comes_late_is_waited_for(meeting: Meeting) -> None:
    async def main(talk: Talk) -> None:
        port = await talk.port()
        await talk.expect("150", "RETR motd")
        data = await open_stream(f"tcp://{HOST}:{port}")
        assert await read_all(data) == FILES["motd"]
        assert (await talk.reply()).startswith("226")

    meeting.run(main)


def test_a_port_that_is_not_used_goes_with_the_next(meeting: Meeting) -> None:
    async def main(talk: Talk) -> None:
        first = await talk.port()
        unused = await open_stream(f"tcp://{HOST}:{first}")
        second = await talk.port()
        with pytest.raises(ConnectionLost):
            await unused.receive_some()
        with pytest.raises(ConnectError):
            await open_stream(f"tcp://{HOST}:{first}")
        assert first != second

    meeting.run(main)


def test_ports_come_out_of_a_range_and_the_address_may_be_another(meeting: Meeting) -> None:
    seen: set[int] = set()

    async def main(talk: Talk) -> None:
        for _ in range(30):
            seen.add(await talk.port())
        found = await talk.expect("227", "PASV")
        assert "(198,51,100,9,195," in found

    made = factory(passive_ports=range(50_000, 50_010), public_address="198.51.100.9")
    meeting.run(main, made)
    assert seen <= set(range(50_000, 50_010))
    assert len(seen) > 3


def test_where_no_port_is_free_the_client_is_told(meeting: Meeting) -> None:
    async def main(talk: Talk) -> None:
        other = await Talk.open()
        await talk.port()
        await other.expect("425", "EPSV")
        await talk.expect("221", "QUIT")
        assert await talk.over()
        await other.port()

    meeting.run(main, factory(passive_ports=range(50_000, 50_001)))


def test_the_server_connects_to_the_client_from_the_port_below_its_own(meeting: Meeting) -> None:
    """RFC 959 §3.2."""
    came: list[Any] = []

    async def take(stream: Stream) -> None:
        came.extend([stream.peer, await read_all(stream)])

    async def main(talk: Talk) -> None:
        async with serve("tcp://192.0.2.1:5000", lambda: StreamProtocol(take)):
            await talk.expect("200", "PORT 192,0,2,1,19,136")
            await talk.expect("150", "RETR motd")
            assert (await talk.reply()).startswith("226")
        await talk.expect("200", "EPRT |1|192.0.2.1|5001|")
        await talk.expect("150", "RETR motd")
        assert (await talk.reply()).startswith("425")

    meeting.run(main)
    assert came[0][:2] == (HOST, 20)
    assert came[1] == FILES["motd"]


@pytest.mark.parametrize("line", ["PORT 10,0,0,5,0,25", "EPRT |1|10.0.0.5|2525|"])
def test_nobody_else_is_connected_to(meeting: Meeting, line: str) -> None:
    """HARDENING ftp-1."""

    async def main(talk: Talk) -> None:
        await talk.expect("504", line)
        await talk.expect("425", "RETR motd")

    meeting.run(main)


# ── in mid-transfer ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("abort", [b"ABOR\r\n", b"\xff\xf4\xff\xf2ABOR\r\n"])
@pytest.mark.parametrize("line", ["RETR large", "STOR new", "APPE motd", "RETR motd"])
def test_abor_ends_a_transfer(meeting: Meeting, abort: bytes, line: str) -> None:
    """HARDENING ftp-6: 426, then 226; all that was held is let go."""

    async def main(talk: Talk) -> None:
        if line == "RETR motd":
            await talk.port()  # and nobody connects
        else:
            data = await talk.data()
            data.transport.pause_reading()
        await talk.expect("150", line)
        await talk.stream.send_all(abort)
        assert (await talk.reply()).startswith("426")
        assert (await talk.reply()).startswith("226")
        await talk.expect("550", "SIZE new")
        assert await talk.fetch("RETR empty") == b""

    meeting.run(main)


def test_quit_waits_for_the_end_of_a_transfer(meeting: Meeting) -> None:
    """HARDENING ftp-6; RFC 959 §4.1.1."""

    async def main(talk: Talk) -> None:
        data = await talk.data()
        await talk.expect("150", "STOR new")
        await talk.stream.send_all(b"QUIT\r\n")
        await data.send_all(b"all of it")
        await data.aclose()
        assert (await talk.reply()).startswith("226")
        assert (await talk.reply()).startswith("221")
        assert await talk.over()

    meeting.run(main)


def test_a_control_connection_that_goes_takes_its_transfer_with_it(meeting: Meeting) -> None:
    """HARDENING ftp-6."""

    async def main(talk: Talk) -> None:
        data = await talk.data()
        await talk.expect("150", "STOR new")
        await data.send_all(bytes(100_000))
        talk.stream.transport.abort()
        with pytest.raises(ConnectionLost):
            await data.receive_some()
        other = await Talk.open()
        await other.expect("550", "SIZE new")

    meeting.run(main)


@pytest.mark.parametrize("line", ["RETR large", "STOR new"])
def test_a_transfer_that_stands_still_is_ended(meeting: Meeting, line: str) -> None:
    """HARDENING ftp-6: 426 after 60 s without progress; the session goes on."""

    async def main(talk: Talk) -> None:
        data = await talk.data()
        data.transport.pause_reading()
        await talk.expect("150", line)
        begun = meeting.clock.time()
        assert await talk.reply() == "426 No progress"
        assert 60.0 <= meeting.clock.time() - begun <= 91.0
        await talk.expect("200", "NOOP")

    store = MemoryStore(FILES | {"large": bytes(8 * 1024 * 1024)})
    meeting.run(main, factory(store))


def test_a_long_transfer_is_no_idling(meeting: Meeting) -> None:
    async def main(talk: Talk) -> None:
        data = await talk.data()
        await talk.expect("150", "STOR new")
        for _ in range(20):
            await data.send_all(b"x")
            await asyncio.sleep(30)  # virtual
        await data.aclose()
        assert (await talk.reply()).startswith("226")
        await talk.expect("213 20", "SIZE new")

    meeting.run(main)


def test_a_client_that_closes_a_download_gets_its_reply(meeting: Meeting) -> None:
    async def main(talk: Talk) -> None:
        data = await talk.data()
        data.transport.pause_reading()
        await talk.expect("150", "RETR large")
        data.transport.abort()
        assert (await talk.reply()).startswith("426")

    meeting.run(main, factory(MemoryStore({"large": bytes(8 * 1024 * 1024)})))


def test_a_slow_reader_costs_no_memory(meeting: Meeting) -> None:
    """HARDENING fault-15: what waits stays within the marks."""
    most = 0

    async def main(talk: Talk) -> None:
        nonlocal most
        data = await talk.data()
        data.transport.pause_reading()
        await talk.expect("150", "RETR large")
        transfer = protocols[0]._transfer
        assert transfer is not None
        assert transfer._connection is not None
        sending.append(transfer._connection.transport)
        for _ in range(20):
            await asyncio.sleep(1)  # virtual
            data.transport.resume_reading()
            await data.receive_some(1024)
            data.transport.pause_reading()
            for transport in sending:
                most = max(most, transport.get_write_buffer_size())
        talk.stream.transport.abort()

    made = factory(MemoryStore({"large": bytes(32 * 1024 * 1024)}))
    sending: list[Any] = []
    protocols = kept(made)
    meeting.run(main, made)
    assert sending
    assert most < 1024 * 1024


def test_an_abort_that_comes_while_a_whole_file_is_made_to_last_comes_too_late(
    meeting: Meeting,
) -> None:
    store = MemoryStore(FILES)
    open_writer = store.open_writer

    async def slowly(path: Any, **options: Any) -> Any:
        writer: Any = await open_writer(path, **options)
        commit = writer.commit

        async def later() -> None:
            await asyncio.sleep(5)  # virtual
            await commit()

        writer.commit = later
        return writer

    store.open_writer = slowly  # type: ignore[method-assign]  # in front of it

    async def main(talk: Talk) -> None:
        data = await talk.data()
        await talk.expect("150", "STOR new")
        await data.send_all(b"whole")
        await data.aclose()
        await asyncio.sleep(1)  # virtual
        await talk.stream.send_all(b"ABOR\r\n")
        assert (await talk.reply()).startswith("226 Done")
        assert (await talk.reply()).startswith("226 Nothing")
        assert await talk.fetch("RETR new") == b"whole"

    meeting.run(main, factory(store))
