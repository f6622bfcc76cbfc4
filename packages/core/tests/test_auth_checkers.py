"""Checkers and stores of users: files, databases, functions, certificates; portals; limits."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from zope.interface.verify import verifyObject

from sennit.core.auth import interfaces
from sennit.core.auth.checkers import (
    AnonymousChecker,
    CallableChecker,
    CertificateChecker,
    MemoryUsers,
    PasswordChecker,
    PeerChecker,
    TokenChecker,
    certificate_name,
)
from sennit.core.auth.credentials import (
    AnonymousCredentials,
    CertificateCredentials,
    PasswordCredentials,
    PeerCredentials,
    ProvenCredentials,
)
from sennit.core.auth.hashes import Argon2Policy, HashError
from sennit.core.auth.limits import LoginLimits
from sennit.core.auth.passwords import InlineHashing, PasswordHasher
from sennit.core.auth.portal import Portal, Realm
from sennit.core.auth.sqlusers import SQLUsers
from sennit.core.auth.userfile import PasswordFile, change_users, parse_users, set_entry
from sennit.core.errors import (
    ConfigError,
    LoginDenied,
    LoginUnavailableError,
    TooManyTriesError,
    UsageError,
)
from sennit.core.testing.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HASHER = PasswordHasher(Argon2Policy(64, 1), iterations=4096, threads=InlineHashing())
SHADOW = (
    "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnI"
    "FNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"
)


def users_file(folder: Path, text: str = "") -> Path:
    file = folder / "users"
    alice = HASHER.make_entry("wonder")
    file.write_text(text or f"# staff\nalice:{alice}\n\nbob:{SHADOW}\ncarol:!\n")
    return file


async def denied(checker: interfaces.IChecker, name: str, password: str) -> str:
    """Why, as the log will have it; the message must never tell."""
    with pytest.raises(LoginDenied, match=r"^authentication failed$") as caught:
        found = checker.check(PasswordCredentials(name, password))
        assert not isinstance(found, str)
        await found
    return caught.value.reason


class Database:
    """sqlite3 behind the small interface, without threads."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:")
        self.connection.execute("CREATE TABLE users (name TEXT PRIMARY KEY, entry TEXT)")

    async def fetch_one(self, sql: str, parameters: Sequence[object] = ()) -> Any:
        return self.connection.execute(sql, tuple(parameters)).fetchone()

    async def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        return self.connection.execute(sql, tuple(parameters)).rowcount


# ── contracts ─────────────────────────────────────────────────────────────────


def test_what_is_declared_is_provided(tmp_path: Path) -> None:
    file = PasswordFile(users_file(tmp_path))
    for checker in (
        PasswordChecker(file, HASHER),
        MemoryUsers({}),
        CallableChecker(lambda each: None),
        TokenChecker(lambda each: None),
        CertificateChecker(),
        PeerChecker(),
        AnonymousChecker(),
    ):
        assert verifyObject(interfaces.IChecker, checker)
    assert verifyObject(interfaces.IKeySource, PasswordChecker(file, HASHER))
    assert verifyObject(interfaces.IKeySource, MemoryUsers({}))
    assert verifyObject(interfaces.IUserStore, file)
    database = Database()
    assert verifyObject(interfaces.IUserStore, SQLUsers(database))
    database.connection.close()
    assert verifyObject(interfaces.IRealm, Realm())


# ── files ─────────────────────────────────────────────────────────────────────


async def test_users_of_a_file_log_in_and_others_do_not(tmp_path: Path) -> None:
    checker = PasswordChecker(PasswordFile(users_file(tmp_path)), HASHER)

    assert await checker.check(PasswordCredentials("alice", "wonder")) == "alice"
    assert await denied(checker, "alice", "Wonder") == "wrong password"
    assert await denied(checker, "carol", "!") == "no such user"
    assert await denied(checker, "dave", "x") == "no such user"
    for name, password in (
        ("alice", ""),
        ("alice", "x" * 1_048_576),
        ("n" * 65_536, "x"),
        ("ali\0ce", "wonder"),
        ("alice", "won\0der"),
        ("", "x"),
        ("\ud800", "x"),
    ):
        assert (await denied(checker, name, password)).startswith("refused unhashed")


async def test_an_old_hash_in_a_file_is_replaced_at_a_login(tmp_path: Path) -> None:
    file = users_file(tmp_path)
    file.chmod(0o640)
    checker = PasswordChecker(PasswordFile(file), HASHER)

    assert await checker.check(PasswordCredentials("bob", "Hello world!")) == "bob"

    lines = file.read_text().split("\n")
    assert lines[0] == "# staff"
    assert lines[3].startswith("bob:$argon2id$")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["users"]
    assert await checker.check(PasswordCredentials("bob", "Hello world!")) == "bob"


async def test_a_login_is_good_although_its_hash_cannot_be_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = users_file(tmp_path)
    checker = PasswordChecker(PasswordFile(file), HASHER)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert await checker.check(PasswordCredentials("bob", "Hello world!")) == "bob"
    assert "The old hash of user 'bob' stays" in caplog.text
    assert SHADOW in file.read_text()
    assert [each.name for each in tmp_path.iterdir()] == ["users"]


async def test_a_changed_file_is_read_again_and_a_broken_one_is_not_believed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = users_file(tmp_path)
    store = PasswordFile(file)
    checker = PasswordChecker(store, HASHER)
    set_entry(file, "erin", lambda old: HASHER.make_entry("new"))
    assert await checker.check(PasswordCredentials("erin", "new")) == "erin"
    assert len(store) == 4

    file.write_text("broken\n")
    for _ in range(3):
        assert await checker.check(PasswordCredentials("erin", "new")) == "erin"
    assert caplog.text.count("Users stay as they were") == 1
    assert "expected NAME:HASH, found no colon" in caplog.text
    file.unlink()
    assert await checker.check(PasswordCredentials("erin", "new")) == "erin"


def test_a_user_who_cannot_be_added_leaves_no_file_behind(tmp_path: Path) -> None:
    """As where the library for the hash is missing: a server would start with no users."""

    def make(old: str | None) -> str:
        raise HashError("cannot be computed here")

    file = tmp_path / "users"
    with pytest.raises(HashError):
        set_entry(file, "alice", make, create=True)
    assert list(tmp_path.iterdir()) == []
    file.touch()
    with pytest.raises(HashError):
        set_entry(file, "alice", make, create=True)
    assert file.exists(), "this one was there"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("alice", "users:2: expected NAME:HASH, found no colon"),
        ("alice:secret", "users:2: user 'alice' has no hash that is known"),
        ("alice:$6$x$y", "users:2: user 'alice' has not the form of sha-crypt"),
        ("alice:!\nalice:!", "users:3: user 'alice' was there before"),
        (":!", "users:2: found an empty string"),
        ("\u2168:!", "users:2: found a name that SASLprep (RFC 4013) would change"),
    ],
)
def test_a_broken_line_is_told_with_its_number(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PasswordFile(users_file(tmp_path, "# first\n" + line + "\n"))
    assert str(caught.value).replace(f"{tmp_path}/", "").startswith(message)
    assert "secret" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        PasswordFile(tmp_path / "none")
    (tmp_path / "latin").write_bytes(b"x:!\n\xe9:!\n")
    with pytest.raises(ConfigError, match="latin:2: found octets that are not UTF-8"):
        PasswordFile(tmp_path / "latin")


def test_several_who_change_a_file_at_once_lose_nothing(tmp_path: Path) -> None:
    """HARDENING faults: the lock is on the file that has the name, whoever replaced it."""
    file = tmp_path / "users"
    names = [f"user{number}" for number in range(24)]

    def add(some: list[str]) -> None:
        for name in some:
            set_entry(file, name, lambda old: "!", create=True)

    threads = [threading.Thread(target=add, args=(names[at::4],)) for at in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    assert sorted(parse_users(file.read_text(), "users")) == sorted(names)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_change_that_would_break_the_file_is_refused(tmp_path: Path) -> None:
    file = users_file(tmp_path)
    before = file.read_text()
    with pytest.raises(ConfigError):
        change_users(file, lambda text: text + "broken\n")
    assert file.read_text() == before


# ── databases ─────────────────────────────────────────────────────────────────


async def test_users_of_a_table_log_in_and_their_hash_is_replaced() -> None:
    database = Database()
    database.connection.execute("INSERT INTO users VALUES ('bob', ?), ('eve', NULL)", (SHADOW,))
    checker = PasswordChecker(SQLUsers(database), HASHER)

    assert await checker.check(PasswordCredentials("bob", "Hello world!")) == "bob"
    (entry,) = database.connection.execute("SELECT entry FROM users WHERE name='bob'").fetchone()
    assert entry.startswith("$argon2id$")
    assert await denied(checker, "eve", "x") == "no such user"
    assert await denied(checker, "x'; DROP TABLE users; --", "x") == "no such user"
    database.connection.close()


async def test_a_database_that_is_away_is_no_denial(caplog: pytest.LogCaptureFixture) -> None:
    database = Database()
    database.connection.close()
    checker = PasswordChecker(SQLUsers(database), HASHER)

    with pytest.raises(LoginUnavailableError):
        await checker.check(PasswordCredentials("bob", "x"))
    assert "Users cannot be looked up" in caplog.text


async def test_an_entry_that_is_no_hash_is_told_to_the_log_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    database = Database()
    database.connection.execute("INSERT INTO users VALUES ('bob', 'clear')")
    checker = PasswordChecker(SQLUsers(database), HASHER)
    with pytest.raises(LoginUnavailableError):
        await checker.check(PasswordCredentials("bob", "clear"))
    assert "bob" in caplog.text
    database.connection.close()


# ── other checkers ────────────────────────────────────────────────────────────


async def test_a_function_checks_and_never_sees_a_giant() -> None:
    seen: list[str] = []

    async def check(credentials: PasswordCredentials) -> str | None:
        seen.append(credentials.name)
        return credentials.name if credentials.password == "x" else None

    checker = CallableChecker(check)
    assert await checker.check(PasswordCredentials("a", "x")) == "a"
    assert await denied(checker, "a", "y") == "the credentials name nobody"
    await denied(checker, "a", "x" * 2000)
    assert seen == ["a", "a"]


async def test_a_certificate_names_its_user() -> None:
    ca = trustme.CA()

    def der(issued: trustme.LeafCert) -> bytes:
        pem = issued.cert_chain_pems[0].bytes()
        return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)

    mail = der(ca.issue_cert("alice@example.org", common_name="Alice"))
    two = der(ca.issue_cert("a@example.org", "b@example.org"))
    plain = der(ca.issue_cert("host.example.org", common_name="carol"))
    assert certificate_name(mail) == "alice@example.org"
    assert certificate_name(two) is None
    assert certificate_name(plain) == "carol"
    assert certificate_name(b"junk") is None
    checker = CertificateChecker()
    assert await checker.check(CertificateCredentials(plain)) == "carol"
    with pytest.raises(LoginDenied):
        await checker.check(CertificateCredentials(two))


async def test_peers_of_this_machine_go_by_their_users_names() -> None:
    import pwd

    checker = PeerChecker()
    own = PeerCredentials(os.getuid(), os.getgid())
    assert await checker.check(own) == pwd.getpwuid(os.getuid()).pw_name
    with pytest.raises(LoginDenied):
        await checker.check(PeerCredentials(3_999_999_999, 0))


# ── portals ───────────────────────────────────────────────────────────────────


class Mailbox:
    """One kind of avatar."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.closed = 0


class Admin:
    """Another."""


def portal() -> Portal:
    realm = Realm(may_act_as=lambda name, other: name == "root")

    async def close(mailbox: Mailbox) -> None:
        mailbox.closed += 1

    @realm.provides(Mailbox, logout=close)
    async def make(name: str) -> Mailbox:
        if name == "barred":
            raise LoginDenied("has no mailbox")
        return Mailbox(name)

    users = MemoryUsers({"alice": "wonder", "root": "toor", "barred": "x"})
    return Portal(realm, [users, AnonymousChecker()])


async def test_a_login_gives_an_avatar_that_is_logged_out_once() -> None:
    session = await portal().login(PasswordCredentials("alice", "wonder"), Mailbox)
    async with session as entered:
        assert entered.avatar.name == entered.name == entered.authenticated == "alice"
    await session.logout()
    assert session.avatar.closed == 1
    assert session.interface is Mailbox


async def test_several_realms_have_avatars_of_their_own() -> None:
    both = portal()
    other = Realm()

    @other.provides(Admin)
    def make_admin(name: str) -> Admin:
        return Admin()

    with pytest.raises(UsageError, match="no realm"):
        await both.login(PasswordCredentials("alice", "wonder"), Admin)
    both.register_realm(other)
    session = await both.login(PasswordCredentials("alice", "wonder"), Admin)
    assert isinstance(session.avatar, Admin)
    await session.logout()


async def test_every_checker_is_asked_until_one_says_yes() -> None:
    both = portal()
    both.register(MemoryUsers({"alice": "other", "zoe": "z"}))
    for name, password in (("alice", "wonder"), ("alice", "other"), ("zoe", "z")):
        assert await both.check(PasswordCredentials(name, password)) == name
    with pytest.raises(LoginDenied):
        await both.check(PasswordCredentials("zoe", "wonder"))
    assert await both.check(AnonymousCredentials()) == "anonymous"
    with pytest.raises(UsageError, match="no checker"):
        await both.check(PeerCredentials(0, 0))


async def test_nobody_acts_as_another_without_the_realms_leave() -> None:
    """HARDENING core-16."""
    alice, root = ProvenCredentials("alice", "X"), ProvenCredentials("root", "X")
    session = await portal().login(root, Mailbox, act_as="alice")
    assert (session.name, session.authenticated) == ("alice", "root")
    assert (await portal().login(alice, Mailbox, act_as="alice")).name == "alice"
    for other in ("root", "\0", "n" * 300):
        with pytest.raises(LoginDenied):
            await portal().login(alice, Mailbox, act_as=other)
    with pytest.raises(LoginDenied):
        await portal().login(ProvenCredentials("barred", "X"), Mailbox)


def test_no_credentials_show_their_secret() -> None:
    assert "wonder" not in repr(PasswordCredentials("alice", "wonder"))


# ── limits ────────────────────────────────────────────────────────────────────


def test_a_failed_login_is_answered_after_a_second_and_the_fourth_is_not_heard() -> None:
    """HARDENING defaults 13."""
    clock = Clock()
    limits = LoginLimits(clock=clock)
    tries = limits.tries(("192.0.2.1", 1))

    async def fail() -> float:
        tries.check()
        began = clock.time()
        await tries.failed()
        return clock.time() - began

    assert [clock.run(lambda _: fail()) for _ in range(3)] == [1.0, 1.0, 1.0]
    assert tries.exhausted
    with pytest.raises(TooManyTriesError):
        tries.check()
    limits.tries(("192.0.2.1", 2)).check()


def test_an_address_that_fails_again_and_again_is_not_heard_for_a_while() -> None:
    clock = Clock()
    limits = LoginLimits(delay=0, per_address=5, window=60, clock=clock)

    def fail(host: str) -> None:
        clock.run(lambda _: limits.tries((host, 1)).failed())

    for number in range(5):
        fail(f"2001:db8::{number:x}")
        fail("127.0.0.1")
    with pytest.raises(TooManyTriesError):
        limits.tries(("2001:db8::ffff", 9)).check()
    limits.tries(("2001:db8:0:1::1", 9)).check()
    limits.tries(("127.0.0.1", 9)).check()
    limits.tries(None).check()
    clock.advance(61)
    limits.tries(("2001:db8::ffff", 9)).check()


def test_what_is_remembered_of_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sennit.core.auth.limits.MAX_REMEMBERED", 10)
    limits = LoginLimits(clock=Clock())
    for number in range(50):
        limits.count(f"10.0.0.{number}")
    assert len(limits._failures) == 10


def test_a_good_login_begins_the_connection_anew() -> None:
    clock = Clock()
    tries = LoginLimits(delay=0, clock=clock).tries(None)

    clock.run(lambda _: tries.failed())
    tries.succeeded()
    assert tries.failures == 0


def test_the_log_has_the_name_escaped(caplog: pytest.LogCaptureFixture) -> None:
    """HARDENING core-19: names are quoted by `repr`, so one line stays one."""
    with caplog.at_level(logging.WARNING):
        from sennit.core.auth.checkers import _log

        _log("The entry of user %r cannot be checked: %s", "a\r\nb\x1b[2J", "x")
    assert "\r" not in caplog.records[0].getMessage()
    assert "\x1b" not in caplog.records[0].getMessage()
