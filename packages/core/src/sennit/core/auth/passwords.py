"""Hashing passwords: which kind, in which thread, and when an old hash is replaced.

A user's *entry* is one hash or several with a space between: a slow one to verify
passwords with, and SCRAM's keys for clients that do not show theirs::

    $argon2id$v=19$m=19456,t=2,p=1$… SCRAM-SHA-256$100000:…$…:…

SCRAM's keys are made only when asked for: whoever steals an entry guesses at the
cheaper of its hashes, and PBKDF2 is cheaper than Argon2id.

Passwords are prepared by SASLprep first, so that a password typed on one keyboard is
the same as on another; one of more than 1 024 octets is refused unhashed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, TypeVar

from sennit.core.auth.hashes import Argon2Policy, ScryptPolicy, check_form, parameters_of, verify
from sennit.core.auth.sasl.grammar import MalformedError, prepare_password
from sennit.core.auth.sasl.keys import DEFAULT_ITERATIONS, HASHES, ScramKeys
from sennit.core.errors import LoginUnavailableError, PoolFullError, UsageError
from sennit.core.threads import ThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

__all__ = ["HashingThreads", "InlineHashing", "PasswordHasher", "scram_keys_of", "split_entry"]

MAX_WAITING: Final = 100
"""Logins that may wait for a thread; more are refused until there is room."""
MAX_ENTRY: Final = 4096
"""Characters of an entry."""

T = TypeVar("T")


class HashingThreads:
    """Threads for hashing, apart from all others, so that a crowd at the door stops nobody inside.

    Args:
        size: How many; the number of processors less one when left out. Each may use the
            memory of a hash.
        max_waiting: Calls that may wait for one.
    """

    def __init__(self, size: int | None = None, max_waiting: int = MAX_WAITING) -> None:
        size = size or max(1, (os.cpu_count() or 2) - 1)
        self._pool = ThreadPool(size, "sennit-hash", queue=max_waiting)

    async def run(self, fn: Callable[..., T], *args: Any) -> T:
        """Run `fn(*args)` in a thread.

        Raises:
            LoginUnavailableError: Too many wait already.
        """
        from sennit.core.reactor.base import current_reactor

        try:
            deferred = self._pool.defer(current_reactor(), fn, *args)
        except PoolFullError as error:
            raise LoginUnavailableError("too many logins at a time") from error
        return await deferred

    def close(self) -> None:
        """End the threads; what waits is dropped."""
        self._pool.close()


class InlineHashing(HashingThreads):
    """No threads: hashes are computed where they are asked for. For tests with cheap ones."""

    async def run(self, fn: Callable[..., T], *args: Any) -> T:
        """Call `fn(*args)`."""
        return fn(*args)


class PasswordHasher:
    """Makes and checks users' entries.

    Args:
        policy: The kind of hash that new entries have; an entry with another kind, or
            a cheaper one, is replaced when its user logs in. Argon2id unless given.
        scram: SCRAM mechanisms that new entries have keys for. An entry that has keys
            already keeps the kind when it is replaced.
        iterations: Of these keys.
        threads: Where hashing is done.
    """

    def __init__(
        self,
        policy: Argon2Policy | ScryptPolicy | None = None,
        *,
        scram: Sequence[str] = (),
        iterations: int = DEFAULT_ITERATIONS,
        threads: HashingThreads | None = None,
    ) -> None:
        for each in scram:
            if each not in HASHES:
                raise UsageError(f"SCRAM is {', '.join(HASHES)}, not {each!r}")
        self.policy = policy or Argon2Policy()
        self.scram = tuple(scram)
        self.iterations = iterations
        self.threads = threads or HashingThreads()
        self._dummy = self.policy.dummy(os.urandom(48))

    def make_entry(self, password: str, old: str | None = None) -> str:
        """An entry of this password; slow, for a thread.

        Args:
            password: As the user typed it.
            old: The user's entry until now, for the kinds of keys that it has.

        Raises:
            MalformedError: It cannot be a password.
        """
        return self._entry(prepare_password(password), old)

    def _entry(self, password: bytes, old: str | None) -> str:
        had = [each.mechanism for each in scram_keys_of(old)] if old is not None else []
        keys = [
            str(ScramKeys.derive(each, password, os.urandom(16), self.iterations))
            for each in sorted({*self.scram, *had})
        ]
        return " ".join([self.policy.hash(password, os.urandom(16)), *keys])

    def verify(self, password: str, entry: str | None) -> bool:
        """Whether `entry` was made of this password; slow, for a thread.

        Args:
            password: As the user typed it.
            entry: ``None`` when there is no such user: then it takes as long, and is false.

        Raises:
            HashError: The entry is none.
        """
        try:
            return self._verify(prepare_password(password), entry)
        except MalformedError:
            return False

    def _verify(self, password: bytes, entry: str | None) -> bool:
        line = self._dummy if entry is None else _decisive(split_entry(entry))
        return verify(password, line) and entry is not None

    def needs_upgrade(self, entry: str) -> bool:
        """Whether a new entry would be better: of another kind, or harder to guess."""
        lines = split_entry(entry)
        kinds = [check_form(line) for line in lines]
        if self.policy.kind not in kinds:
            return True
        if not self.policy.meets(parameters_of(lines[kinds.index(self.policy.kind)])):
            return True
        keys = {each.mechanism: each.iterations for each in scram_keys_of(entry)}
        return any(keys.get(each, 0) < self.iterations for each in self.scram)

    async def check(self, password: bytes, entry: str | None) -> tuple[bool, str | None]:
        """Check a prepared password in a thread.

        Returns:
            Whether it is right; and a new entry when the old one should be replaced.

        Raises:
            HashError: The entry is none.
            LoginUnavailableError: Too many logins wait.
        """
        return await self.threads.run(self._check, password, entry)

    def _check(self, password: bytes, entry: str | None) -> tuple[bool, str | None]:
        good = self._verify(password, entry)
        if good and entry is not None and self.needs_upgrade(entry):
            return True, self._entry(password, entry)
        return good, None


def split_entry(entry: str) -> list[str]:
    """The hashes of an entry.

    Raises:
        HashError: It has none, or one that is broken.
    """
    if len(entry) > MAX_ENTRY:
        from sennit.core.auth.hashes import HashError

        raise HashError(f"more than {MAX_ENTRY} characters")
    lines = entry.split(" ")
    for line in lines:
        check_form(line)
    return lines


def scram_keys_of(entry: str) -> list[ScramKeys]:
    """SCRAM's keys in an entry.

    Raises:
        HashError: A hash of it is broken.
    """
    return [ScramKeys.parse(each) for each in split_entry(entry) if each.startswith("SCRAM-")]


def _decisive(lines: list[str]) -> str:
    """The hash that a password is verified with: any but SCRAM's, where there is another."""
    for line in lines:
        if not line.startswith("SCRAM-"):
            return line
    return lines[0]
