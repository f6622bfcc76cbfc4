"""``[users.NAME]`` in a configuration, and the command that writes a file of users."""

from __future__ import annotations

import io
import sqlite3
import subprocess
import sys
import types
from typing import TYPE_CHECKING, Annotated

import pytest

from sennit.core.auth.checkers import MemoryUsers, PasswordChecker
from sennit.core.auth.credentials import PasswordCredentials
from sennit.core.auth.portal import Realm
from sennit.core.errors import ConfigError, LoginDenied
from sennit.core.plugin import ServicePlugin
from sennit.core.reactor.base import run
from sennit.core.service import loading
from sennit.core.service.cli import main
from sennit.core.service.config import Listen, ServiceConfig, listen_on, refers
from sennit.core.service.tree import Service, ServiceContext

if TYPE_CHECKING:
    from pathlib import Path

    from sennit.core.auth.portal import Portal
    from sennit.core.reactor.base import Reactor


class DoorConfig(ServiceConfig, frozen=True, kw_only=True):
    """A door.

    Attributes:
        users: Who may pass.
    """

    listen: list[Listen] = listen_on("tcp://127.0.0.1:0")
    users: Annotated[str, refers("users")]


PORTALS: list[Portal] = []


def build_door(config: DoorConfig, context: ServiceContext) -> Service:
    PORTALS.append(context.portal(config.users, Realm()))
    return Service(context.name)


DOOR = ServicePlugin("door", "A door", config=DoorConfig, build=build_door)


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> None:
    PORTALS.clear()

    def find(name: str) -> ServicePlugin:
        return DOOR

    monkeypatch.setattr(loading, "find_service", find)


def portal_of(folder: Path, users: str, environ: dict[str, str] | None = None) -> Portal:
    text = f'[service.front]\ntype = "door"\nusers = "staff"\n[users.staff]\n{users}\n'
    (folder / "sennit.toml").write_text(text)
    loading.load(folder / "sennit.toml", environ=environ).build()
    return PORTALS[-1]


def passwd(monkeypatch: pytest.MonkeyPatch, line: str, *arguments: str) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO(line))
    return main(["passwd", *arguments])


@pytest.mark.usefixtures("door")
def test_two_services_that_name_the_same_users_have_the_same_checker(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("alice:!\n")
    (tmp_path / "sennit.toml").write_text(
        '[users.staff]\ntype = "file"\nfile = "users"\n'
        '[service.a]\ntype = "door"\nusers = "staff"\n[service.b]\ntype = "door"\nusers = "staff"\n'
    )
    config = loading.load(tmp_path / "sennit.toml")
    config.build()
    assert isinstance(config.checker("staff"), PasswordChecker)
    assert PORTALS[0]._checkers == PORTALS[1]._checkers == [config.checker("staff")]


@pytest.mark.usefixtures("door")
async def test_users_in_the_configuration_itself_log_in(tmp_path: Path) -> None:
    portal = portal_of(
        tmp_path, 'type = "memory"\npasswords = {alice = {env = "ALICE"}}', {"ALICE": "wonder"}
    )
    assert isinstance(portal._checkers[0], MemoryUsers)
    assert await portal.check(PasswordCredentials("alice", "wonder")) == "alice"


@pytest.mark.usefixtures("door")
@pytest.mark.sennit(leaks=True)
async def test_users_of_a_database_log_in(tmp_path: Path) -> None:
    """Over the real pool; its connections are closed by the reactor's end."""
    from sennit.core.auth.hashes import ScryptPolicy

    entry = ScryptPolicy().hash(b"wonder", bytes(16))
    database = sqlite3.connect(tmp_path / "users.db")
    database.execute("CREATE TABLE users (name TEXT PRIMARY KEY, entry TEXT)")
    database.execute("INSERT INTO users VALUES ('alice', ?)", (entry,))
    database.commit()
    database.close()
    portal = portal_of(tmp_path, 'type = "sql"\nconnect = "users.db"\nhash = "scrypt"')
    assert await portal.check(PasswordCredentials("alice", "wonder")) == "alice"
    with pytest.raises(LoginDenied):
        await portal.check(PasswordCredentials("alice", "wander"))


@pytest.mark.usefixtures("door")
def test_parameters_are_marked_as_the_driver_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PEP 249: psycopg has %s; a question mark would fail at the first login, not before."""
    driver = types.ModuleType("driver_of_a_test")
    monkeypatch.setitem(sys.modules, driver.__name__, driver)
    monkeypatch.setattr(driver, "paramstyle", "pyformat", raising=False)
    asked: list[str] = []

    class Raw:
        rowcount = 0
        description = None

        def cursor(self) -> Raw:
            return self

        def execute(self, sql: str, parameters: object = None) -> None:
            asked.append(sql)

        def commit(self) -> None: ...
        def rollback(self) -> None: ...
        def close(self) -> None: ...

    def connect(dsn: str) -> Raw:
        return Raw()

    monkeypatch.setattr(driver, "connect", connect, raising=False)
    table = 'type = "sql"\nhash = "scrypt"\ndriver = "driver_of_a_test"\nconnect = "x"\n'

    async def log_in(reactor: Reactor) -> None:
        portal = portal_of(tmp_path, table)
        with pytest.raises(LoginDenied):
            await portal.check(PasswordCredentials("alice", "wonder"))

    run(log_in)
    assert asked == ["SELECT entry FROM users WHERE name = %s"]
    for good in ("SELECT e FROM u WHERE n = %s", "SELECT e FROM u WHERE n = %s AND tags ? 'in'"):
        portal_of(tmp_path, f'{table}lookup = "{good}"')
    with pytest.raises(ConfigError, match="lookup: driver_of_a_test marks parameters by %s, not"):
        portal_of(tmp_path, f'{table}lookup = "SELECT e FROM u WHERE n = ?"')


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize(
    ("users", "message"),
    [
        ("", "[users.staff] key 'type' is missing; it is a kind of users (installed are file"),
        ('type = "fille"', '[users.staff] type: found "fille", which is not installed'),
        ('type = "file"', "[users.staff] key 'file' is missing"),
        ('type = "file"\nfile = "none"', "[users.staff] file: expected a file that is there"),
        ('type = "file"\nfile = "bad"', "bad:2: expected NAME:HASH, found no colon"),
        ('type = "file"\nfile = "bad"\nmemory = 1', "[users.staff] memory: expected"),
        ('type = "sql"', "[users.staff] expected either connect or connect_from"),
        ('type = "sql"\nconnect = "x"\ndriver = "no_such"', "[users.staff] driver: cannot be"),
    ],
)
def test_a_mistake_in_a_table_of_users_is_named_with_its_place(
    tmp_path: Path, users: str, message: str
) -> None:
    (tmp_path / "bad").write_text("#\nalice\n")
    with pytest.raises(ConfigError) as caught:
        portal_of(tmp_path, users)
    assert message in str(caught.value)


@pytest.mark.usefixtures("door")
def test_a_service_that_names_users_who_are_not_there_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "sennit.toml").write_text('[service.front]\ntype = "door"\nusers = "staff"\n')
    with pytest.raises(ConfigError, match=r"no \[users.staff\]"):
        loading.load(tmp_path / "sennit.toml")


def test_the_command_adds_changes_verifies_locks_and_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "users")
    options = ("--hash", "scrypt")
    assert passwd(monkeypatch, "one\n", file, "alice", *options) == 0
    assert passwd(monkeypatch, "one\n", file, "alice", "--verify", *options) == 0
    assert passwd(monkeypatch, "two\n", file, "alice", "--scram", "SCRAM-SHA-1", *options) == 0
    assert passwd(monkeypatch, "one\n", file, "alice", "--verify", *options) == 1
    assert passwd(monkeypatch, "two\n", file, "nobody", "--verify", *options) == 1
    assert passwd(monkeypatch, "three\n", file, "alice", *options) == 0
    assert " SCRAM-SHA-1$" in (tmp_path / "users").read_text()
    assert passwd(monkeypatch, "", file, "alice", "--lock") == 0
    assert passwd(monkeypatch, "three\n", file, "alice", "--verify", *options) == 1
    assert passwd(monkeypatch, "", file, "alice", "--remove") == 0
    assert (tmp_path / "users").read_text() == ""
    said = capsys.readouterr()
    assert said.out.split("\n")[:4] == ["alice added", "right", "alice changed", "wrong"]
    assert "three" not in said.out + said.err


@pytest.mark.parametrize(
    ("line", "arguments", "message"),
    [
        ("\n", ("alice",), "this cannot be a password"),
        ("x" * 2000 + "\n", ("alice",), "this cannot be a password: a password of more than"),
        ("x\n", ("a:b",), "no user can be called 'a:b'"),
        ("x\n", ("bob", "--remove"), "there is no such file"),
    ],
)
def test_the_command_says_what_is_wrong(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    assert passwd(monkeypatch, line, str(tmp_path / "users"), *arguments) == 1
    assert message in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "users").exists()


def test_a_folder_that_cannot_be_written_is_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert passwd(monkeypatch, "x\n", "/proc/none/users", "alice", "--hash", "scrypt") == 1
    assert "users" in capsys.readouterr().err


def test_importing_the_engines_loads_nothing_that_does_io() -> None:
    code = (
        "import sys, sennit.core.auth.sasl.scram, sennit.core.auth.sasl.plain;"
        "bad = {'socket', 'ssl', 'asyncio', 'selectors', 'threading', 'zope.interface', 'OpenSSL'};"
        "sys.exit(sorted(bad & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
