"""Sessions of the server: logins, files, time, the end; in memory and in virtual time."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from typing import TYPE_CHECKING

import pytest

from packages.ftp.tests.talking import FILES, HOST, Talk, converse, factory, kept, portal
from sennit.core import open_stream
from sennit.core.auth.checkers import AnonymousChecker, MemoryUsers
from sennit.core.auth.credentials import AnonymousCredentials
from sennit.core.auth.portal import Portal, Realm
from sennit.core.errors import ConnectionLost, UsageError
from sennit.core.ops.metrics import Registry
from sennit.ftp.interfaces import IFileStore
from sennit.ftp.limits import Limits
from sennit.ftp.rates import Rates
from sennit.ftp.server import FTPServerFactory
from sennit.ftp.store.memory import MemoryStore
from sennit.ftp.watching import FTPMetrics

if TYPE_CHECKING:
    from sennit.core.testing.clock import Clock
    from sennit.core.testing.network import MemoryNetwork
    from sennit.ftp.interfaces import Entry, FilePath, IReader


# ── logins ────────────────────────────────────────────────────────────────────


def test_guessing_is_slow_and_ends_the_connection(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """HARDENING ftp-5: 331 for all, 530 after a second, 421 after three tries."""

    async def main() -> None:
        talk = await Talk.open(login=False)
        for name, password in (("nobody", "p"), ("u", "wrong")):
            assert await talk.ask(f"USER {name}") == "331 And the password?"
            before = clock.time()
            assert await talk.ask(f"PASS {password}") == "530 Login incorrect"
            assert clock.time() - before >= 1.0
        await talk.expect("331", "USER u")
        await talk.expect("421", "PASS")
        assert await talk.over()

    converse(clock, memory_network, factory(), main)


def test_a_password_of_any_octets_and_length_is_just_wrong(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """HARDENING ftp-5, core-15."""

    async def main() -> None:
        talk = await Talk.open(login=False)
        await talk.expect("331", "USER u")
        await talk.stream.send_all(b"PASS \xff\xfe\x00\r\n")
        assert await talk.reply() == "530 Login incorrect"
        await talk.expect("331", "USER u")
        await talk.expect("530", "PASS " + "x" * 4000)
        await talk.stream.send_all(b"PASS " + b"x" * 1024 * 1024)
        assert (await talk.reply()).startswith("500")
        assert await talk.over()

    converse(clock, memory_network, factory(), main)


def test_a_name_is_just_wrong_where_strangers_alone_are_let_in(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """It was taken for a failure of the server's own, with a traceback for each try."""
    realm = Realm()

    @realm.provides(IFileStore)
    def open_store(name: str) -> IFileStore:
        return MemoryStore(FILES)

    made = FTPServerFactory(Portal(realm, [AnonymousChecker()]), tls_mode="off", anonymous=True)

    async def main() -> None:
        talk = await Talk.open(login=False)
        await talk.expect("331", "USER u")
        before = clock.time()
        assert await talk.ask("PASS p") == "530 Login incorrect"
        assert clock.time() - before >= 1.0
        await talk.expect("331", "USER anonymous")
        await talk.expect("230", "PASS me@example.org")

    converse(clock, memory_network, made, main)


@pytest.mark.parametrize("allowed", [True, False])
def test_nobody_in_particular_is_let_in_where_that_is_wanted(
    clock: Clock, memory_network: MemoryNetwork, allowed: bool
) -> None:
    traces: list[object] = []
    made = factory(anonymous=allowed)
    login = made.portal.login

    async def note(credentials: object, *rest: object) -> object:
        traces.append(credentials)
        return await login(credentials, *rest)  # type: ignore[arg-type]  # as they came

    made.portal.login = note  # type: ignore[method-assign, assignment]  # looks at them
    reply = "230" if allowed else "530"

    async def main() -> None:
        talk = await Talk.open(login=False)
        await talk.expect("331", "USER anonymous")
        await talk.expect(reply, "PASS me@example.org")

    converse(clock, memory_network, made, main)
    assert isinstance(traces[0], AnonymousCredentials) is allowed


def test_rein_lets_another_user_come(clock: Clock, memory_network: MemoryNetwork) -> None:
    async def main() -> None:
        talk = await Talk.open()
        await talk.expect("250", "CWD dir")
        await talk.expect("220", "REIN")
        await talk.expect("530", "PWD")
        await talk.log_in()
        assert '"/"' in await talk.ask("PWD")

    converse(clock, memory_network, factory(), main)


def test_rein_takes_options_back(clock: Clock, memory_network: MemoryNetwork) -> None:
    """RFC 959 §4.1.1: all parameters are as they were in the beginning."""

    async def main() -> None:
        talk = await Talk.open()
        before = await talk.ask("FEAT")
        await talk.expect("200", "OPTS HASH MD5")
        await talk.expect("200", "OPTS MLST size;")
        assert await talk.ask("FEAT") != before
        await talk.expect("220", "REIN")
        assert await talk.ask("FEAT") == before

    converse(clock, memory_network, factory(), main)


# ── files ─────────────────────────────────────────────────────────────────────


def test_files_and_directories_are_made_renamed_and_removed(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    steps = [
        ("MKD new", '257 "/new" is there now'),
        ("MKD new", "550"),
        ("CWD new", "250"),
        ("PWD", '257 "/new" is where you are'),
        ("CDUP", "250"),
        ("CWD motd", "550"),
        ("CWD nowhere", "550"),
        ("RNFR motd", "350"),
        ("RNTO new/news", "250"),
        ("SIZE new/news", "213 12"),
        ("SIZE motd", "550"),
        ("RNFR motd", "550"),
        ("RMD new", "550"),
        ("DELE new/news", "250"),
        ("DELE new/news", "550"),
        ("RMD new", "250"),
        ("RNFR dir", "350"),
        ("RNTO ../x", "550"),
        ("MFMT 20200102030405 empty", "213 Modify=20200102030405; /empty"),
        ("MDTM empty", "213 20200102030405"),
        ("MDTM nothing", "550"),
        ("SITE CHMOD 600 empty", "200"),
        ("STAT motd", "550"),
    ]

    async def main() -> None:
        talk = await Talk.open()
        for line, reply in steps:
            await talk.expect(reply, line)

    converse(clock, memory_network, factory(site=True), main)


@pytest.mark.parametrize(
    "line",
    [
        "CWD ../../..",
        "SIZE /../../etc/passwd",
        "SIZE ~root",
        "SIZE nothing",
        "MDTM dir/../..",
        "DELE \u202e",
        "MLST nothing",
    ],
)
def test_what_is_missing_and_what_is_forbidden_are_told_alike(
    clock: Clock, memory_network: MemoryNetwork, line: str
) -> None:
    """HARDENING ftp-3."""

    async def main() -> None:
        talk = await Talk.open()
        found = await talk.ask(line)
        assert found == "550 No such file or directory, or not allowed"

    converse(clock, memory_network, factory(), main)


def test_sizes_are_told_as_they_would_travel(clock: Clock, memory_network: MemoryNetwork) -> None:
    """RFC 3659 §4."""

    async def main() -> None:
        talk = await Talk.open()
        await talk.expect("213 12", "SIZE motd")
        await talk.expect("550", "SIZE dir")
        await talk.expect("200", "TYPE A")
        await talk.expect("213 14", "SIZE motd")
        await talk.expect("213 0", "SIZE empty")
        await talk.expect("550", "SIZE large")

    made = factory(limits=Limits(max_ascii_size=1000))
    converse(clock, memory_network, made, main)


def test_hashes_are_of_files_and_parts_of_them(clock: Clock, memory_network: MemoryNetwork) -> None:
    async def main() -> None:
        talk = await Talk.open()
        digest = hashlib.sha256(FILES["motd"]).hexdigest()
        assert await talk.ask("HASH motd") == f"213 SHA-256 0-12 {digest} /motd"
        await talk.expect("200 MD5", "OPTS HASH MD5")
        await talk.expect("350", "RANG 0 4")
        assert (await talk.ask("HASH motd")).startswith(
            "213 MD5 0-5 5d41402abc4b2a76b9719d911017c592"
        )
        await talk.expect("350", "REST 13")
        await talk.expect("554", "HASH motd")
        await talk.expect("550", "HASH dir")

    converse(clock, memory_network, factory(), main)


class Coarse(MemoryStore):
    """Keeps no time before 1980, as FAT does."""

    async def set_modified(self, path: FilePath, modified: float) -> None:
        await super().set_modified(path, max(modified, 315_532_800.0))


def test_the_time_that_was_kept_is_told(clock: Clock, memory_network: MemoryNetwork) -> None:
    async def main() -> None:
        talk = await Talk.open()
        for asked, kept_one in (("19700101000000", "19800101000000"), ("20200202020202",) * 2):
            assert await talk.ask(f"MFMT {asked} motd") == f"213 Modify={kept_one}; /motd"
            await talk.expect(f"213 {kept_one}", "MDTM motd")

    converse(clock, memory_network, factory(Coarse(FILES)), main)


class Slow(MemoryStore):
    """Takes an hour to open a file."""

    async def open_reader(self, path: FilePath) -> IReader:
        await asyncio.sleep(3600)
        return await super().open_reader(path)


@pytest.mark.parametrize("before", ["", "SIZE motd\r\n"])
@pytest.mark.parametrize("line", ["HASH motd", "RETR motd"])
@pytest.mark.parametrize("later", [0.0, 1.0])
def test_what_takes_long_is_given_up_when_nobody_wants_it(
    clock: Clock, memory_network: MemoryNetwork, line: str, before: str, later: float
) -> None:
    """RFC 959 §4.1.3: ABOR is answered, and so is what it ends, begun or not."""

    async def main() -> None:
        talk = await Talk.open()
        data = await talk.data()
        abor = b"ABOR\r\n"
        await talk.stream.send_all(f"{before}{line}\r\n".encode() + (b"" if later else abor))
        if before:
            assert (await talk.reply()).startswith("213")
        if later:
            await asyncio.sleep(later)  # virtual
            await talk.stream.send_all(abor)
        assert (await talk.reply()).startswith("426")
        assert (await talk.reply()).startswith("226")
        await talk.expect("200", "NOOP")
        if line == "RETR motd":
            with pytest.raises(ConnectionLost):
                await data.receive_some()
        assert clock.time() < 3600

    converse(clock, memory_network, factory(Slow(FILES)), main)


def test_what_stands_somewhere_is_told_over_the_control_connection(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    async def main() -> None:
        talk = await Talk.open()
        facts = await talk.ask("MLST dir/a.txt")
        first, middle, last = facts.split("\n")
        assert (first, last) == ("250-Facts:", "250 End")
        assert middle.startswith(" type=file;size=1;modify=")
        assert middle.endswith("; /dir/a.txt")
        assert "type=dir;" in await talk.ask("MLST")
        listing = (await talk.ask("STAT dir")).split("\n")
        assert listing[0] == "212-Status:"
        assert [line.split()[-1] for line in listing[1:-1]] == ["a.txt", "b.txt", ".hidden", "sub"]
        assert (await talk.ask("STAT dir/a*")).count("\n") == 2
        assert (await talk.ask("STAT motd")).startswith("213-")
        await talk.expect("550", "STAT motd*/x")

    converse(clock, memory_network, factory(), main)


def test_a_directory_too_large_for_stat_is_not_told_there(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    async def main() -> None:
        talk = await Talk.open()
        await talk.expect("550", "STAT dir")

    converse(clock, memory_network, factory(limits=Limits(max_status_entries=3)), main)


def test_status_tells_who_and_how(clock: Clock, memory_network: MemoryNetwork) -> None:
    async def main() -> None:
        talk = await Talk.open(login=False)
        assert "Not logged in" in await talk.ask("STAT")
        await talk.log_in()
        status = await talk.ask("STAT")
        assert "Connected from 192.0.2.1" in status
        assert "Logged in as u" in status
        assert "TYPE I" in status

    converse(clock, memory_network, factory(), main)


def test_a_store_that_breaks_costs_a_command(
    clock: Clock, memory_network: MemoryNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(MemoryStore):
        async def stat(self, path: FilePath) -> Entry:
            raise ZeroDivisionError

    async def main() -> None:
        talk = await Talk.open()
        assert await talk.ask("SIZE motd") == "451 Something failed here"
        await talk.expect("200", "NOOP")

    converse(clock, memory_network, factory(Broken(FILES)), main)
    assert "ZeroDivisionError" in caplog.text


# ── time and numbers ──────────────────────────────────────────────────────────


def test_a_login_has_a_deadline(clock: Clock, memory_network: MemoryNetwork) -> None:
    """60 s in all, however busy the client is (HARDENING, defaults 1)."""

    async def main() -> None:
        talk = await Talk.open(login=False)
        for _ in range(59):
            await asyncio.sleep(1)  # virtual
            await talk.expect("200", "NOOP")
        assert (await talk.reply()).startswith("421")
        assert 60.0 <= clock.time() < 62.0
        assert await talk.over()

    converse(clock, memory_network, factory(), main)


def test_who_is_silent_is_let_go(clock: Clock, memory_network: MemoryNetwork) -> None:
    """300 s (HARDENING, defaults 2)."""

    async def main() -> None:
        talk = await Talk.open()
        begun = clock.time()
        assert (await talk.reply()).startswith("421")
        assert 300.0 <= clock.time() - begun < 302.0
        assert await talk.over()

    converse(clock, memory_network, factory(), main)


def test_pipelined_commands_are_answered_in_order(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    async def main() -> None:
        talk = await Talk.open()
        await talk.stream.send_all(b"SIZE motd\r\nNOOP\r\nCWD dir\r\nPWD\r\nQUIT\r\nNOOP\r\n")
        replies = [await talk.reply() for _ in range(5)]
        assert [each[:3] for each in replies] == ["213", "200", "250", "257", "221"]
        assert await talk.over()

    converse(clock, memory_network, factory(), main)


def test_whoever_asks_and_does_not_read_is_not_read(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """HARDENING fault-15: memory stays within the marks."""
    made = factory()
    protocols = kept(made)

    async def main() -> None:
        talk = await Talk.open()
        sent = 0
        for _ in range(200):
            if talk.stream.transport.get_write_buffer_size():
                break
            talk.stream.transport.write(b"HELP\r\n" * 1000)
            sent += 1000
            for _ in range(20):
                clock.call_soon(lambda: None)
            await open_stream(f"tcp://{HOST}:21")
        assert protocols[0].transport.get_write_buffer_size() < 512 * 1024
        talk.stream.transport.abort()

    converse(clock, memory_network, made, main)


# ── the end ───────────────────────────────────────────────────────────────────


def test_a_server_that_ends_says_so(clock: Clock, memory_network: MemoryNetwork) -> None:
    """HARDENING fault-4."""
    made = factory()
    protocols = kept(made)

    async def main() -> None:
        talk = await Talk.open()
        data = await talk.data()
        await talk.expect("150", "STOR new")
        protocols[0].drain()
        await data.send_all(b"whole")
        await data.aclose()
        assert (await talk.reply()).startswith("226")
        assert await talk.reply() == "421 The service closes"
        assert await talk.over()

    store = MemoryStore(FILES)
    made.portal = portal(store)
    converse(clock, memory_network, made, main)


SCRIPT = b"USER u\r\nPASS p\r\nTYPE I\r\nEPSV\r\nSIZE motd\r\nSTAT\r\nCWD dir\r\nEPSV\r\n"


@pytest.mark.parametrize("how", ["reset", "fin"])
def test_a_connection_lost_after_any_octet_takes_all_with_it(
    clock: Clock, memory_network: MemoryNetwork, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """HARDENING fault-7."""
    made = factory()
    protocols = kept(made)

    async def main() -> None:
        for at in range(len(SCRIPT)):
            stream = await open_stream(f"tcp://{HOST}:21")
            await stream.send_all(SCRIPT[:at])
            await stream.read_line()
            if how == "reset":
                stream.transport.abort()
            else:
                await stream.aclose()
        for protocol in protocols:
            await protocol.finished()

    converse(clock, memory_network, made, main)
    assert len(protocols) == len(SCRIPT)
    assert "Traceback" not in caplog.text


def test_the_user_is_logged_out_when_the_connection_goes(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    left: list[object] = []
    realm = Realm()
    store = MemoryStore(FILES)

    @realm.provides(IFileStore, logout=left.append)
    def open_store(name: str) -> IFileStore:
        return store

    made = factory()
    made.portal = Portal(realm, [MemoryUsers({"u": "p"})])

    async def main() -> None:
        talk = await Talk.open()
        await talk.expect("220", "REIN")
        assert left == [store]
        await talk.log_in()
        talk.stream.transport.abort()
        await open_stream(f"tcp://{HOST}:21")

    converse(clock, memory_network, made, main)
    assert left == [store, store]


# ── what is seen of it ────────────────────────────────────────────────────────


def test_transfers_and_logins_are_counted_and_logged(
    clock: Clock, memory_network: MemoryNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry()
    caplog.set_level(logging.INFO, "sennit.ftp")

    async def main() -> None:
        talk = await Talk.open(login=False)
        await talk.expect("331", "USER evil\x1b[2J")
        await talk.expect("530", "PASS x")
        await talk.log_in()
        await talk.fetch("RETR motd")
        await talk.store("STOR new", b"12345")

    converse(clock, memory_network, factory(metrics=FTPMetrics("ftp", registry)), main)
    found = {each["name"]: each["samples"] for each in registry.read()}
    octets = {each["labels"]["direction"]: each["value"] for each in found["sennit_ftp_octets"]}
    assert octets == {"out": 12, "in": 5}
    assert len(found["sennit_ftp_transfers"]) == 2
    assert len(found["sennit_ftp_logins"]) == 2
    lines = [record.getMessage() for record in caplog.records if record.name == "sennit.ftp"]
    assert lines == [
        "login denied of 'evil\\x1b[2J'",
        "login of 'u'",
        "RETR /motd: 226, 12 octets",
        "STOR /new: 226, 5 octets",
    ]


def test_rates_hold_per_session_and_per_user(clock: Clock, memory_network: MemoryNetwork) -> None:
    size = len(FILES["large"])

    async def main() -> None:
        talk = await Talk.open()
        begun = clock.time()
        assert len(await talk.fetch("RETR large")) == size
        first = clock.time() - begun
        assert size / 200_000 - 1.5 < first < size / 200_000 + 1.5
        begun = clock.time()
        await talk.store("STOR new", FILES["large"])
        assert size / 400_000 - 1.5 < clock.time() - begun < size / 400_000 + 2.5

    rates = Rates(download=1e6, user_download=200_000, upload=400_000)
    converse(clock, memory_network, factory(rates=rates), main)


@pytest.mark.parametrize(
    "options",
    [
        {"tls_mode": "sometimes"},
        {"passive_ports": range(0)},
        {"passive_ports": range(65_530, 65_540)},
        {"public_address": "ftp.example.org"},
        {"public_address": "::1"},
        {"banner": "two\r\nlines"},
    ],
)
def test_what_cannot_be_is_refused_at_once(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        FTPServerFactory(portal(MemoryStore()), **({"tls_mode": "off"} | options))  # type: ignore[arg-type]  # what is wrong is the point
    with pytest.raises(ValueError, match="above 0"):
        Rates(download=0)


def test_a_lost_connection_is_told_to_whoever_waits(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    async def main() -> None:
        talk = await Talk.open()
        talk.stream.transport.abort()
        with pytest.raises(ConnectionLost):
            await talk.ask("NOOP")

    converse(clock, memory_network, factory(), main)
