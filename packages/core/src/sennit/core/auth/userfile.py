"""Users in a file: a line each, a name, a colon and the user's entry.

::

    # staff of the mail server
    alice:$argon2id$v=19$m=19456,t=2,p=1$…$…
    bob:$6$Xk3mLq…  SCRAM keys may stand behind, after a space
    carol:!

Empty lines and lines that begin with ``#`` are passed over and kept when the file is
rewritten. An entry that begins with ``!`` or ``*`` is locked: nobody logs in by it.
The file is read again when it has changed; one that is broken then is told of in the
log, and the users of before stay.

It is changed under a lock of the system, by a new file that takes its place: whoever
reads sees the old file or the new one, also after a crash.
"""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from zope.interface import implementer

from sennit.core.auth.hashes import HashError
from sennit.core.auth.interfaces import IUserStore
from sennit.core.auth.passwords import split_entry
from sennit.core.auth.sasl.grammar import MalformedError, prepare_name
from sennit.core.auth.sasl.keys import HASHES
from sennit.core.commit import sync_directory
from sennit.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["PasswordFile", "change_users", "entry_of", "parse_users", "set_entry"]

MAX_FILE: Final = 64 * 1024 * 1024
"""Octets of a file of users."""

_Stamp = tuple[int, int, int, int]


def parse_users(text: str, file: str) -> dict[str, str]:
    """Users and their entries.

    Raises:
        ConfigError: A line is none, with its number.
    """
    users: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, entry = line.rstrip("\r").partition(":")
        problem = ""
        if not colon:
            problem = "expected NAME:HASH, found no colon"
        else:
            try:
                if prepare_name(name) != name:
                    problem = "found a name that SASLprep (RFC 4013) would change"
                elif name in users:
                    problem = f"user {name!r} was there before"
                elif not _locked(entry):
                    split_entry(entry)
            except MalformedError as error:
                problem = f"found {error} where a name is expected"
            except HashError as error:
                problem = f"user {name!r} has {error}"
        if problem:
            raise ConfigError(problem, file=file, line=number)
        users[name] = entry
    return users


def _locked(entry: str) -> bool:
    return entry.startswith(("!", "*"))


@implementer(IUserStore)
class PasswordFile:
    """A file of users, read again whenever it has changed.

    Args:
        file: Where it is. It must be there, and good.

    Attributes:
        file: Where it is.
        mechanisms: SCRAM mechanisms that some user has keys for.

    Raises:
        ConfigError: It cannot be read, or a line is broken.
    """

    def __init__(self, file: str | Path) -> None:
        self.file = Path(file)
        self._users: dict[str, str] = {}
        self._stamp: _Stamp | None = None
        self._refused: _Stamp | None = None
        self.mechanisms: tuple[str, ...] = ()
        self._stamp = _stamp(self.file)
        self._take(parse_users(_read(self.file), str(self.file)))

    def __repr__(self) -> str:
        return f"<PasswordFile {self.file} {len(self._users)} users>"

    def __len__(self) -> int:
        return len(self._users)

    async def lookup(self, name: str) -> str | None:
        """The user's entry; the file is read first when it has changed."""
        self._refresh()
        entry = self._users.get(name)
        return None if entry is None or _locked(entry) else entry

    async def replace(self, name: str, old: str, new: str) -> bool:
        """Put a new entry in the place of the old one, in the file.

        Raises:
            OSError: The file cannot be written.
        """
        from sennit.core.reactor.base import current_reactor

        def in_thread() -> bool:
            done = False

            def change(text: str) -> str:
                nonlocal done
                changed = _with_entry(text, name, lambda entry: new if entry == old else entry)
                done = changed != text
                return changed

            change_users(self.file, change)
            return done

        done: bool = await current_reactor().defer_to_thread(in_thread)
        return done

    def _refresh(self) -> None:
        try:
            stamp = _stamp(self.file)
            if stamp in (self._stamp, self._refused):
                return
            users = parse_users(_read(self.file), str(self.file))
        except ConfigError as error:
            # Once for each state that the file is in.
            broken = _stamp_or_none(self.file)
            if broken is None or broken != self._refused:
                import logging

                logging.getLogger("sennit").error("Users stay as they were: %s", error)
            self._refused = broken
            return
        self._stamp, self._refused = stamp, None
        self._take(users)

    def _take(self, users: dict[str, str]) -> None:
        self._users = users
        heads = {line.partition("$")[0] for entry in users.values() for line in entry.split(" ")}
        self.mechanisms = tuple(sorted(heads.intersection(HASHES)))


def entry_of(file: Path, name: str) -> str | None:
    """A user's entry as the file has it now, locked or not.

    Raises:
        ConfigError: The file cannot be read, or is broken.
    """
    return parse_users(_read(file), str(file)).get(name)


def set_entry(
    file: Path, name: str, make: Callable[[str | None], str | None], *, create: bool = False
) -> bool:
    """Change one user's entry, or add or remove the user.

    Args:
        file: The file.
        name: The user, prepared.
        make: Takes the old entry, ``None`` where there is none, and gives the new one;
            ``None`` takes the user out.
        create: Begin with an empty file when there is none.

    Returns:
        Whether the user was there before.

    Raises:
        OSError: It cannot be read or written.
        ConfigError: The old text or the new one is broken.
    """
    was_there = False

    def change(text: str) -> str:
        nonlocal was_there
        was_there = name in parse_users(text, str(file))
        if was_there:
            return _with_entry(text, name, make)
        entry = make(None)
        if entry is None:
            return text
        return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{name}:{entry}\n"

    change_users(file, change, create=create)
    return was_there


def change_users(file: Path, change: Callable[[str], str], *, create: bool = False) -> None:
    """Rewrite a file of users: lock, read, change, check, write beside it, sync, rename.

    Args:
        file: The file; the one a symbolic link leads to.
        change: Takes the text and gives the new one.
        create: Begin with an empty file (mode 0600) when there is none.

    Raises:
        OSError: It cannot be read or written.
        ConfigError: The old text or the new one is broken.
    """
    file = Path(os.path.realpath(file))
    was_there = file.exists()
    with _locked_file(file, create) as fd:
        try:
            _rewrite(file, fd, change)
        except BaseException:
            made = _of(os.fstat(fd))
            if not was_there and not made[3] and _stamp_or_none(file) == made:
                # Made for the lock alone, and still what stands there.
                file.unlink(missing_ok=True)
            raise


def _rewrite(file: Path, fd: int, change: Callable[[str], str]) -> None:
    """Put a new file into the place of one that is locked."""
    text = _decode(_read_all(fd), str(file))
    parse_users(text, str(file))
    changed = change(text)
    if changed == text:
        return
    parse_users(changed, str(file))
    before = os.fstat(fd)
    beside = file.with_name(f".{file.name}.{secrets.token_hex(6)}")
    new = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            with os.fdopen(new, "wb", closefd=False) as out:
                out.write(changed.encode())
                out.flush()
                if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(new, before.st_uid, before.st_gid)
                os.fchmod(new, before.st_mode & 0o777)
                os.fsync(new)
        finally:
            os.close(new)
        beside.replace(file)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_directory(file.parent)


def _with_entry(text: str, name: str, change: Callable[[str], str | None]) -> str:
    """The text with one user's entry changed; ``None`` takes the line out."""
    lines: list[str] = []
    for line in text.split("\n"):
        found, colon, entry = line.rstrip("\r").partition(":")
        if colon and found == name and not line.startswith("#"):
            changed = change(entry)
            if changed is None:
                continue
            line = f"{name}:{changed}"
        lines.append(line)
    return "\n".join(lines)


@contextmanager
def _locked_file(file: Path, create: bool) -> Generator[int, None, None]:
    """Open a file and lock it, so that it still is the one of its name."""
    import fcntl

    flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
    while True:
        fd = os.open(file, flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            # Whoever held the lock before has put another file in its place.
            named = _stamp_or_none(file)
            if named is not None and named[:2] == _of(os.fstat(fd))[:2]:
                yield fd
                return
        finally:
            os.close(fd)


def _read_all(fd: int) -> bytes:
    with os.fdopen(os.dup(fd), "rb") as file:
        return file.read(MAX_FILE + 1)


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return _decode(opened.read(MAX_FILE + 1), str(file))
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(file)) from None


def _decode(data: bytes, file: str) -> str:
    if len(data) > MAX_FILE:
        raise ConfigError(f"found more than {MAX_FILE} octets", file=file)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("found octets that are not UTF-8", file=file, line=line) from None


def _of(found: os.stat_result) -> _Stamp:
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _stamp(file: Path) -> _Stamp:
    try:
        return _of(file.stat())
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(file)) from None


def _stamp_or_none(file: Path) -> _Stamp | None:
    try:
        return _of(file.stat())
    except OSError:
        return None
