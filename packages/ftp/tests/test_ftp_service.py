"""From a table of the configuration to a service that answers, or to what is wrong with it."""

from __future__ import annotations

from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from sennit.core.endpoint.connect import open_stream
from sennit.core.errors import ConfigError
from sennit.core.plugin import find_service
from sennit.core.service.loading import load
from sennit.core.service.options import attribute_help
from sennit.core.service.tree import StartError
from sennit.core.transport.tls import ClientTLS
from sennit.ftp.client import FTPClient
from sennit.ftp.config import FTPConfig, LimitsTable, UserTable
from sennit.ftp.errors import FTPPermanentError
from sennit.ftp.interfaces import IFileStore
from sennit.ftp.plugin import ftp
from sennit.ftp.service import FTPService, sample_files, try_ftp

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from sennit.core.reactor.base import Reactor
    from sennit.core.stream import Stream

LISTEN = 'listen = ["tcp://127.0.0.1:0"]\n'
CLEAR = 'users = "people"\nrequire_tls = false\n'
USERS = '[users.people]\ntype = "file"\nfile = "people"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One with a directory to serve, users and a certificate."""
    (tmp_path / "public").mkdir()
    (tmp_path / "public/hello.txt").write_text("Hello.\n")
    (tmp_path / "home/ann").mkdir(parents=True)
    (tmp_path / "people").write_text("ann:!\n")  # nobody knows her password
    certificate = trustme.CA().issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "cert.pem")
    return tmp_path


def built(folder: Path, text: str, more: str = "") -> FTPService:
    file = folder / "sennit.toml"
    file.write_text(f'[service.files]\ntype = "ftp"\n{text}{more}')
    _, services = load(file).build()
    found = services["files"]
    assert isinstance(found, FTPService)
    return found


@asynccontextmanager
async def running(
    folder: Path, reactor: Reactor, text: str, more: str = ""
) -> AsyncGenerator[Stream, None]:
    """A control connection to a service that runs."""
    service = built(folder, LISTEN + text, more)
    await service.start(reactor)
    try:
        async with await open_stream(service.urls[0].replace("ftp://", "tcp://")) as stream:
            assert (await stream.read_line()).startswith(b"220 ")
            yield stream
    finally:
        await service.stop()


async def said(stream: Stream, *commands: str) -> list[str]:
    """The last line of the reply to each command."""
    found: list[str] = []
    for each in commands:
        await stream.send_all(each.encode() + b"\r\n")
        while (line := (await stream.read_line()).decode())[3:4] != " " or not line[:3].isdigit():
            pass
        found.append(line)
    return found


def codes(replies: list[str]) -> list[str]:
    return [each[:3] for each in replies]


def test_the_plugin_knows_its_parts_and_is_found() -> None:
    assert ftp.config_type() is FTPConfig
    assert find_service("ftp") is ftp
    assert set(sample_files()) == {"files/hello.txt"}


@pytest.mark.parametrize("struct", [FTPConfig, LimitsTable, UserTable])
def test_every_key_has_its_help(struct: type[FTPConfig | LimitsTable | UserTable]) -> None:
    helps = attribute_help(struct)
    assert [each for each in struct.__struct_fields__ if not helps.get(each)] == []


async def test_without_users_anybody_may_fetch_and_nobody_may_write(
    folder: Path, reactor: Reactor
) -> None:
    async with running(folder, reactor, 'root = "public"\n') as stream:
        replies = await said(
            stream, "USER ftp", "PASS me@", "SIZE hello.txt", "DELE hello.txt", "MKD new"
        )
    assert codes(replies) == ["331", "230", "213", "550", "550"]
    assert (folder / "public/hello.txt").exists()


async def test_strangers_may_leave_files_where_there_is_a_place_for_them(
    folder: Path, reactor: Reactor
) -> None:
    (folder / "public/in").mkdir()
    async with running(folder, reactor, 'root = "public"\nincoming = "/in"\n') as stream:
        replies = await said(
            stream, "USER ftp", "PASS me@", "CWD /in", "MKD x", "MLST /in", "MLST /hello.txt"
        )
        # There may be files stored in the one, and none in the other.
        assert codes(await said(stream, "EPSV", "STOR /new")) == ["229", "550"]
        assert codes(replies) == ["331", "230", "250", "550", "250", "250"]


async def test_no_password_is_heard_in_clear_unless_that_was_asked_for(
    folder: Path, reactor: Reactor
) -> None:
    people = 'users = "people"\nroot = "home/{user}"\ntls = "main"\n'
    more = USERS + '[tls.main]\ncertificate = "cert.pem"\n'
    async with running(folder, reactor, people, more) as stream:
        assert codes(await said(stream, "USER ann", "PASS plain")) == ["530", "503"]
        assert codes(await said(stream, "AUTH TLS")) == ["234"]
    clear = people.replace('tls = "main"\n', "require_tls = false\n")
    async with running(folder, reactor, clear, USERS) as stream:
        assert codes(await said(stream, "USER ann")) == ["331"]


@pytest.mark.parametrize("allowed", [False, True])
async def test_tls_stays_on_control_connections_unless_that_was_asked_for(
    folder: Path, reactor: Reactor, allowed: bool
) -> None:
    text = LISTEN + 'root = "public"\ntls = "main"\n' + "clear_control = true\n" * allowed
    service = built(folder, text, '[tls.main]\ncertificate = "cert.pem"\n')
    await service.start(reactor)
    try:
        async with FTPClient.connect(
            service.urls[0].replace("tcp:", "ftp:"),
            tls="explicit",
            client_tls=ClientTLS(verify=False),
        ) as client:
            with nullcontext() if allowed else pytest.raises(FTPPermanentError):
                await client.clear_control()
            assert client.secure is not allowed
            assert [each.name for each in await client.ls()] == ["hello.txt"]
    finally:
        await service.stop()


@pytest.mark.parametrize("kept", [False, True])
async def test_parts_of_broken_uploads_are_kept_if_that_was_asked_for(
    folder: Path, reactor: Reactor, kept: bool
) -> None:
    service = built(folder, CLEAR + 'root = "home/{user}"\n' + "keep_broken = true\n" * kept, USERS)
    made: Any = service._factory  # as its class knows it
    avatar = await made.portal._realms[0].open_avatar("ann", IFileStore)
    writer = await avatar.value.open_writer(("part",))
    await writer.write([b"half"])
    await writer.abort()
    avatar.logout()

    assert (folder / "home" / "ann" / "part").exists() is kept


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "root: say which directory anybody may fetch from, or name users"),
        ('root = "public"\nanonymous = "public"\n', "root: without users anonymous is all"),
        (CLEAR, "root: users need a directory"),
        ('users = "people"\nroot = "home"\n', "tls: passwords are not to pass in clear"),
        ('root = "public"\npassive_ports = "9-1"\n', "passive_ports: expected LOW-HIGH"),
        ('root = "public"\nanonymos = 1\n', "anonymos"),
        ('root = "public"\numask = "888"\n', "umask"),
        ('root = "public"\nuser = {ann = {}}\n', "user: needs users"),
        ('root = "public"\npublic_address = "here"\n', "public_address"),
        ('root = "public"\nbanner = "a\\nb"\n', "banner: is one line"),
        (CLEAR + 'root = "public"\npermissions = {"/" = ["everything"]}\n', "] permissions: no"),
        (CLEAR + 'root = "public"\nincoming = "/in"\n', "incoming"),
    ],
)
def test_what_cannot_be_is_told_with_its_key(folder: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        built(folder, text, USERS)

    assert words in str(caught.value)


def test_check_looks_for_the_directories(folder: Path) -> None:
    with pytest.raises(StartError, match="nowhere is no directory"):
        built(folder, 'root = "nowhere"\n').examine()
    table = CLEAR + 'root = "home/{user}"\nuser = {eve = {root = "x"}}\n'
    with pytest.raises(StartError, match="x is no directory"):
        built(folder, table, USERS).examine()


async def test_it_does_not_start_without_its_directory(folder: Path, reactor: Reactor) -> None:
    with pytest.raises(StartError, match="nowhere"):
        await built(folder, LISTEN + 'root = "nowhere"\n').start(reactor)


def test_commands_to_try_list_what_there_is(folder: Path) -> None:
    config = FTPConfig(root=folder)

    assert try_ftp(config, ["tcp://127.0.0.1:2121", "tls://[::1]:990", "unix:x"]) == [
        "sennit ftp ls ftp://127.0.0.1:2121/",
        "sennit ftp ls ftps://[::1]:990/",
    ]
    with_users = FTPConfig(root=folder, users="people", tls="main")
    assert try_ftp(with_users, ["tcp://127.0.0.1:21"]) == [
        "sennit ftp ls ftpes://NAME@127.0.0.1:21/"
    ]
