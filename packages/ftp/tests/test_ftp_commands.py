"""``sennit ftp``: what its commands do, print, and say when something fails."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click
import pytest
import trustme
from click.testing import CliRunner

from packages.ftp.tests.talking import FILES, factory
from sennit.core import ServerTLS, serve
from sennit.core.auth.limits import LoginLimits
from sennit.core.protocol import Protocol
from sennit.core.reactor.base import current_reactor
from sennit.ftp.commands import ftp
from sennit.ftp.store.directory import DirectoryStore
from sennit.ftp.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sennit.core.interfaces import IStreamTransport

ISSUER = trustme.CA()
PAIR = ISSUER.issue_cert("localhost").private_key_and_cert_chain_pem.bytes()


class Said:
    """What a command did.

    Attributes:
        status: What it ends with.
        out: What it printed.
        error: What it said of failures.
    """

    def __init__(self, status: int, out: str, error: str) -> None:
        self.status = status
        self.out = out
        self.error = error


def _run(arguments: tuple[str, ...], stdin: bytes) -> Said:
    result = CliRunner().invoke(ftp, list(arguments), input=stdin, standalone_mode=False)
    error = result.exception
    if error is not None and not isinstance(error, click.ClickException):
        raise error
    if isinstance(error, click.ClickException):
        return Said(error.exit_code, result.stdout, error.format_message())
    status = result.return_value if isinstance(result.return_value, int) else 0
    return Said(status, result.stdout, result.stderr)


async def command(*arguments: str, stdin: bytes = b"") -> Said:
    """Run ``sennit ftp ARGUMENTS…``, in a thread with a reactor of its own."""
    return await current_reactor().defer_to_thread(_run, arguments, stdin)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with nothing in it, where the commands run."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    return home


@pytest.fixture
async def at() -> AsyncIterator[str]:
    """Where our server is, by name and password."""
    made = factory(MemoryStore(FILES), login_limits=LoginLimits(delay=0.0))  # nobody guesses here
    async with serve("tcp://127.0.0.1:0", made) as server:
        yield f"ftp://u:p@127.0.0.1:{server.port}"


async def test_files_are_fetched_sent_and_removed(at: str, home: Path) -> None:
    assert (await command("get", f"{at}/dir/a.txt")).status == 0
    assert (home / "a.txt").read_bytes() == b"A"
    assert (await command("get", f"{at}/motd", "-")).out.encode() == FILES["motd"]
    assert (await command("get", "--resume", f"{at}/large", str(home))).status == 0
    assert (home / "large").read_bytes() == FILES["large"]

    assert (await command("mkdir", f"{at}/new")).status == 0
    assert (await command("put", "large", f"{at}/new/")).status == 0
    assert (await command("put", "-", f"{at}/new/text", stdin=b"hello")).status == 0
    assert (await command("get", f"{at}/new/text", "-")).out == "hello"
    assert (await command("rm", f"{at}/new/text")).status == 0
    assert (await command("rm", f"{at}/new/large")).status == 0
    assert (await command("rm", "-d", f"{at}/new")).status == 0


async def test_a_directory_is_listed_for_people_and_for_programs(at: str) -> None:
    said = await command("ls", f"{at}/dir/")
    assert said.status == 0
    assert "BB" not in said.out
    assert any(line.startswith("-") and line.endswith(" b.txt") for line in said.out.splitlines())
    lines = (await command("ls", "--json", f"{at}/dir")).out.splitlines()
    found = {each["name"]: each for each in map(json.loads, lines)}
    assert found["b.txt"]["size"] == 2
    assert found["sub"]["kind"] == "dir"


async def test_a_file_is_listed_by_itself(at: str) -> None:
    said = await command("ls", f"{at}/dir/a.txt")
    assert said.status == 0
    assert said.out.split()[1] == "1"
    assert said.out.endswith(" a.txt\n")
    said = await command("ls", f"{at}/dir/nothing")
    assert said.status == 1
    assert "MLSD: 550" in said.error


async def test_who_may_leave_files_and_change_none_is_told_of_no_failure(home: Path) -> None:
    """The time of the last change cannot be kept there; the file is there all the same."""
    store = MemoryStore(permissions={"/": ["list", "create"]})
    async with serve("tcp://127.0.0.1:0", factory(store)) as server:
        (home / "x").write_bytes(b"new")
        said = await command("put", "x", f"ftp://u:p@127.0.0.1:{server.port}/")
    assert (said.status, said.error) == (0, "")
    assert (await store.stat(("x",))).size == 3


async def test_trees_are_mirrored_both_ways(tmp_path: Path, home: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (home / "site/css").mkdir(parents=True)
    (home / "site/index").write_bytes(b"hello")
    (home / "site/css/all").write_bytes(b"x" * 1000)
    async with serve("tcp://127.0.0.1:0", factory(DirectoryStore(there))) as server:
        at = f"ftp://u:p@127.0.0.1:{server.port}"
        said = await command("mirror", "site", f"{at}/")
        assert (said.status, said.out) == (0, "")
        assert said.error.startswith("2 files moved (1005 octets), 0 the same")
        said = await command("mirror", "--delete", "--parallel", "1", f"{at}/", "copy")
        assert said.status == 0
        assert (home / "copy/css/all").read_bytes() == b"x" * 1000
        (home / "copy/index").unlink()
        (home / "copy/index").mkdir()
        said = await command("mirror", "-q", f"{at}/", "copy")
        assert said.status == 6
        assert "index" in said.error
        assert "the same command goes on" in said.error


async def test_tls_is_begun_or_the_command_fails(home: Path, at: str) -> None:
    made = factory(tls_mode="required", tls=ServerTLS(PAIR))
    ISSUER.cert_pem.write_to_path(str(home / "ca.pem"))
    async with serve("tcp://127.0.0.1:0", made) as server:
        over = f"//u:p@localhost:{server.port}/motd"
        assert (await command("get", "--tls", "--ca", "ca.pem", f"ftp:{over}")).status == 0
        assert (await command("get", "--insecure", f"ftpes:{over}", "-")).status == 0
        said = await command("get", f"ftpes:{over}")
        assert said.status == 4
        assert "--ca FILE" in said.error
    said = await command("ls", "--tls", at)
    assert said.status == 4
    assert "in clear" in said.error


async def test_a_failure_says_what_to_do_next(at: str, home: Path) -> None:
    said = await command("get", f"{at}/nothing")
    assert said.status == 1
    assert "550" in said.error
    assert "sennit ftp ls" in said.error
    said = await command("ls", at.replace("u:p@", "u:wrong@"))
    assert said.status == 1
    assert "check user and password" in said.error
    said = await command("ls", "ftp://127.0.0.1:1/")
    assert said.status == 3
    assert "does it serve FTP at 1?" in said.error
    said = await command("put", "nothing", f"{at}/x")
    assert said.status == 5
    said = await command("get", f"{at}/motd", "nowhere/x")
    assert said.status == 5
    assert "directory there that it is to come into?" in said.error
    said = await command("ls", at.replace("ftp://", "ftps://"))
    assert said.status == 4
    assert "is TLS from the first octet, is" in said.error
    said = await command("put", str(home), f"{at}/x")
    assert said.status == 5
    assert "mirror is for directories" in said.error
    assert os.listdir(home) == []
    (home / "motd.part").write_bytes(b"HELLO")
    said = await command("get", "--resume", "--check", "sha-256", f"{at}/motd")
    assert said.status == 1
    assert "try again without --resume" in said.error
    assert os.listdir(home) == []


async def test_who_speaks_something_else_is_no_server_of_ftp() -> None:
    class Another(Protocol):
        def connection_made(self, transport: IStreamTransport) -> None:
            transport.write(b"SSH-2.0-OpenSSH\r\n")

    async with serve("tcp://127.0.0.1:0", Another) as server:
        said = await command("ls", f"ftp://127.0.0.1:{server.port}/")
    assert said.status == 1
    assert "is it a server of FTP that answers at 127.0.0.1:" in said.error


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("get", "http://x/"), "no URL of FTP"),
        (("get", "ftp://x/%0d%0aDELE%20x"), "CR, LF or NUL"),
        (("get", "ftp://x/dir/"), "mirror"),
        (("get", "ftp://x/.."), "say where to"),
        (("put", "-", "ftp://x/"), "has no name"),
        (("mirror", "a", "b"), "is a URL"),
        (("mirror", "ftp://x/", "ftp://y/"), "is a URL"),
        (("mirror", "nothing", "ftp://y/"), "no directory"),
        (("mirror", "--parallel", "1000000", "ftp://x/", "y"), "--parallel is 1 to 64"),
        (("ls", "ftp://me@x/"), "netrc"),
    ],
)
async def test_a_mistake_in_the_arguments_is_told(arguments: tuple[str, ...], says: str) -> None:
    said = await command(*arguments)
    assert said.status == 2
    assert says in said.error


async def test_a_password_is_looked_up_in_netrc(at: str, home: Path) -> None:
    (home / ".netrc").write_text("machine 127.0.0.1 login u password p\n")
    (home / ".netrc").chmod(0o600)
    host = at.rpartition("@")[2]
    for url in (f"ftp://{host}/motd", f"ftp://u@{host}/motd"):
        assert (await command("get", url, "-")).out.encode() == FILES["motd"]


async def test_every_command_shows_an_example() -> None:
    for name in ftp.commands:
        assert f"Example: sennit ftp {name}" in (await command(name, "--help")).out
    assert "Exit status" in (await command("--help")).out
