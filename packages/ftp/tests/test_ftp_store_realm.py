"""Users and their directories."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from zope.interface.verify import verifyObject

from packages.ftp.tests.storing import listed, put, trial
from sennit.core import Deferred, current_reactor
from sennit.core.auth.checkers import AnonymousChecker, MemoryUsers
from sennit.core.auth.credentials import AnonymousCredentials, PasswordCredentials
from sennit.core.auth.interfaces import IRealm
from sennit.core.auth.portal import Portal
from sennit.core.errors import LoginDenied, LoginUnavailableError
from sennit.ftp import (
    DirectoryRealm,
    DirectoryStore,
    IFileStore,
    Permissions,
    Quota,
    UserFiles,
    anonymous_files,
)
from sennit.ftp.errors import FileUnavailableError, FTPUsageError, QuotaError
from sennit.ftp.store import realm as realm_module
from sennit.ftp.store.root import Root
from sennit.ftp.store.rules import PERMISSION_WORDS


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    for name in ("alice", "bob", "pub/incoming"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "alice" / "hers").write_bytes(b"alice's")
    (tmp_path / "pub" / "all").write_bytes(b"everybody's")
    before = len(os.listdir("/dev/fd"))
    yield tmp_path
    assert len(os.listdir("/dev/fd")) <= before


def test_parts_are_kept_of_users_and_not_of_strangers(tree: Path) -> None:
    @trial
    async def _() -> None:
        realm = DirectoryRealm(
            tree / "{user}",
            keep_broken=True,
            anonymous=UserFiles(tree / "pub", permissions="all"),
        )
        portal = Portal(realm, [MemoryUsers({"alice": "a"}), AnonymousChecker()])
        for who, kept in [
            (PasswordCredentials("alice", "a"), True),
            (AnonymousCredentials("x@y"), False),
        ]:
            async with await portal.login(who, IFileStore) as session:
                writer = await session.avatar.open_writer(("part",))
                await writer.write([b"half"])
                assert writer.keeps is kept
                await writer.abort()
        assert (tree / "alice" / "part").read_bytes() == b"half"
        assert not (tree / "pub" / "part").exists()


def test_a_portal_gives_each_user_his_files(tree: Path) -> None:
    @trial
    async def _() -> None:
        realm = DirectoryRealm(
            tree / "{user}", anonymous=anonymous_files(tree / "pub", incoming="/incoming")
        )
        assert verifyObject(IRealm, realm)
        portal = Portal(realm, [MemoryUsers({"alice": "a", "bob": "b"}), AnonymousChecker()])
        async with await portal.login(PasswordCredentials("alice", "a"), IFileStore) as session:
            assert set(await listed(session.avatar)) == {"hers"}
        async with await portal.login(PasswordCredentials("bob", "b"), IFileStore) as session:
            assert set(await listed(session.avatar)) == set()
            await put(session.avatar, ("his",), b"1")
        async with await portal.login(AnonymousCredentials("x@y"), IFileStore) as session:
            assert set(await listed(session.avatar)) == {"all", "incoming"}
            await put(session.avatar, ("incoming", "left"), b"2")
            for attempt in (
                session.avatar.open_writer(("all",)),
                session.avatar.open_writer(("new",)),
                session.avatar.open_reader(("incoming", "left")),
                session.avatar.make_directory(("incoming", "d")),
            ):
                with pytest.raises(FileUnavailableError):
                    await attempt
        assert (tree / "bob" / "his").exists()


def test_anonymous_users_log_in_only_where_they_see_something(tree: Path) -> None:
    @trial
    async def _() -> None:
        portal = Portal(DirectoryRealm(tree), [AnonymousChecker(), MemoryUsers({"anonymous": "x"})])
        for credentials in (AnonymousCredentials(), PasswordCredentials("anonymous", "x")):
            with pytest.raises(LoginDenied):
                await portal.login(credentials, IFileStore)

    with pytest.raises(FTPUsageError):
        DirectoryRealm(tree, anonymous=UserFiles())


NAMES = ["..", ".", "", "a/b", "../alice", "a\0", "a\nb", ".ssh", "\udcff", "x" * 256, "{user}"]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_leads_to_no_directory_but_its_own(tree: Path, name: str) -> None:
    """HARDENING ftp-3, of names of users."""

    @trial
    async def _() -> None:
        with pytest.raises(LoginDenied):
            await DirectoryRealm(tree / "{user}").open_avatar(name, IFileStore)


def test_single_users_have_what_is_said_of_them(tree: Path) -> None:
    @trial
    async def _() -> None:
        realm = DirectoryRealm(
            None,
            quota=Quota(octets=10),
            umask=0o027,
            users={
                "alice": UserFiles(tree / "alice", permissions="view"),
                "bob": UserFiles(tree / "bob", quota=Quota(octets=100), umask=0o077),
                "carol": UserFiles(tree / "pub"),
            },
        )
        alice, bob, carol = [
            await realm.open_avatar(name, IFileStore) for name in ("alice", "bob", "carol")
        ]
        with pytest.raises(FileUnavailableError):
            await put(alice.value, ("x",), b"")
        await put(bob.value, ("x",), bytes(100))
        assert (tree / "bob" / "x").stat().st_mode & 0o777 == 0o600
        with pytest.raises(QuotaError):
            await put(carol.value, ("x",), b"1")
        await put(carol.value, ("empty",), b"")
        assert (tree / "pub" / "empty").stat().st_mode & 0o777 == 0o640
        with pytest.raises(LoginDenied):
            await realm.open_avatar("dave", IFileStore)
        assert realm.may_act_as("alice", "bob") is False
        for each in (alice, bob, carol):
            assert each.logout is not None
            each.logout()


def test_those_who_have_the_same_root_are_counted_together(tree: Path) -> None:
    @trial
    async def _() -> None:
        realm = DirectoryRealm(tree / "pub", quota=Quota(octets=30))
        first, second = [await realm.open_avatar(name, IFileStore) for name in ("a", "b")]
        assert isinstance(first.value, DirectoryStore)
        assert first.value.root is second.value.root
        await put(first.value, ("x",), bytes(15))
        with pytest.raises(QuotaError):
            await put(second.value, ("y",), bytes(5))
        for each in (first, second):
            assert each.logout is not None
            each.logout()


def test_a_root_that_is_missing_is_made_where_that_is_wanted(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    @trial
    async def _() -> None:
        with caplog.at_level(logging.WARNING), pytest.raises(LoginDenied):
            await DirectoryRealm(tree / "{user}").open_avatar("new", IFileStore)
        assert "'new' has no directory" in caplog.text
        realm = DirectoryRealm(tree / "{user}", create=True)
        for _again in range(2):
            avatar = await realm.open_avatar("new", IFileStore)
            await put(avatar.value, ("x",), b"1")
            assert avatar.logout is not None
            avatar.logout()
        (tree / "file").write_bytes(b"")
        with pytest.raises(LoginDenied):
            await realm.open_avatar("file", IFileStore)
        with pytest.raises(LoginDenied):
            await DirectoryRealm(tree / "none" / "{user}", create=True).open_avatar("x", IFileStore)


def test_a_root_that_cannot_be_looked_at_is_a_matter_of_time(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    @trial
    async def _() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(os, "mkdir", broken)
            with pytest.raises(LoginUnavailableError):
                await DirectoryRealm(tree / "{user}", create=True).open_avatar("alice", IFileStore)
        with monkeypatch.context() as patched:
            patched.setattr(os, "dup", broken)
            with pytest.raises(LoginUnavailableError):
                await DirectoryRealm(tree, quota=Quota(1)).open_avatar("alice", IFileStore)


def test_what_a_crash_left_goes_when_the_first_user_comes(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tree / "alice" / ".sennit-0000000000000001.part"
    left.write_bytes(b"half")
    real = Root.clean

    @trial
    async def _() -> None:
        reactor = current_reactor()
        cleaned: Deferred[None] = Deferred()

        def clean(root: Root) -> None:
            real(root)
            reactor.call_from_thread(cleaned.callback, None)  # fails when called twice

        monkeypatch.setattr(Root, "clean", clean)
        realm = DirectoryRealm(tree / "{user}")
        for _again in range(2):
            avatar = await realm.open_avatar("alice", IFileStore)
            assert avatar.logout is not None
            avatar.logout()
        await cleaned
        assert not left.exists()


def test_a_root_that_cannot_be_looked_through_is_told_in_the_log(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Root) -> None:
        raise OSError(5, "Input/output error")

    @trial
    async def _() -> None:
        said: Deferred[str] = Deferred()

        def warn(text: str, *args: object) -> None:
            said.callback(text % args)

        monkeypatch.setattr(Root, "clean", broken)
        monkeypatch.setattr(realm_module._log, "warning", warn)
        await DirectoryRealm(tree).open_avatar("bob", IFileStore)
        assert await said == f"{tree} cannot be looked through: [Errno 5] Input/output error"


def test_no_more_roots_are_remembered_than_so_many(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(realm_module, "MOST_ROOTS", 3)

    @trial
    async def _() -> None:
        realm = DirectoryRealm(tree / "{user}", create=True)
        stays = await realm.open_avatar("stays", IFileStore)
        for number in range(10):
            avatar = await realm.open_avatar(f"u{number}", IFileStore)
            assert avatar.logout is not None
            avatar.logout()
        assert len(realm._roots) == 3
        assert str(tree / "stays") in realm._roots
        await put(stays.value, ("x",), b"1")
        assert stays.logout is not None
        stays.logout()


# ── permissions ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "given",
    ["reed", "", "read,list", {"pub": "read"}, {"/": "read", "/a/../b": "read"}, {"/a": "x"},
     {"/a/": "read", "/a": "list"}, ["read list"]],
    ids=repr,
)  # fmt: skip
def test_permissions_that_are_none_are_refused(given: str | list[str] | dict[str, str]) -> None:
    if given == "":
        assert Permissions(given).at(()) == 0
        return
    with pytest.raises(FTPUsageError):
        Permissions(given)


def test_the_nearest_directory_says_what_may_be_done() -> None:
    permissions = Permissions({"/": "view", "/a": "all", "/a/b": "nothing"})
    assert permissions.at(()) == PERMISSION_WORDS["view"]
    assert permissions.at(("x", "a")) == PERMISSION_WORDS["view"]
    assert permissions.at(("a",)) == permissions.at(("a", "c", "d")) == PERMISSION_WORDS["all"]
    assert permissions.at(("a", "b")) == permissions.at(("a", "b", "c")) == 0
    assert Permissions({"/a": "read"}).at(()) == 0
    assert Permissions.of(permissions) is permissions


@pytest.mark.parametrize(
    ("words", "file", "directory"),
    [
        ("all", "adfrw", "celmpdf"),
        ("view", "r", "el"),
        ("upload", "a", "cm"),
        (["delete", "rename"], "df", "pdf"),
        ({"write", "change"}, "w", ""),
        ("nothing", "", ""),
    ],
    ids=repr,
)
def test_letters_tell_what_may_be_done(
    words: str | list[str] | set[str], file: str, directory: str
) -> None:
    """RFC 3659 §7.5.5."""
    permissions = Permissions(words)
    assert permissions.letters(("x",), is_directory=False) == file
    assert permissions.letters(("x",), is_directory=True) == directory


def test_a_quota_is_no_less_than_nothing() -> None:
    with pytest.raises(FTPUsageError):
        Quota(octets=-1)
    assert repr(Quota(files=3)) == "Quota(octets=None, files=3)"
