"""What ``[users.NAME]`` can be told, by its ``type``. Only the runner imports this."""

from __future__ import annotations

from typing import Annotated, Literal

from sennit.core.auth.sqlusers import LOOKUP, UPDATE
from sennit.core.service.config import File, Meta, Secret, Table

__all__ = [
    "FileUsersConfig",
    "HashedUsersConfig",
    "MemoryUsersConfig",
    "PAMUsersConfig",
    "SQLUsersConfig",
]


class HashedUsersConfig(Table, kw_only=True, frozen=True):
    """What all have that keep hashes.

    Attributes:
        hash: The kind that new entries have; others are replaced at a login.
        memory: KiB that one hash of argon2id takes.
        passes: Passes of argon2id over that memory.
        scram: Mechanisms that new entries have keys for, besides the hash.
        iterations: Of these keys; the client pays for them.
        hash_threads: Hashes at one time; 0 is the number of processors less one.
    """

    hash: Literal["argon2id", "scrypt"] = "argon2id"
    memory: Annotated[int, Meta(ge=1024, le=1_048_576)] = 19_456
    passes: Annotated[int, Meta(ge=1, le=100)] = 2
    scram: list[Literal["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"]] = []
    iterations: Annotated[int, Meta(ge=4096, le=1_000_000)] = 100_000
    hash_threads: Annotated[int, Meta(ge=0, le=64)] = 0


class FileUsersConfig(HashedUsersConfig, kw_only=True, frozen=True):
    """Users in a file.

    Attributes:
        file: The file, NAME:HASH lines.
    """

    file: File


class SQLUsersConfig(HashedUsersConfig, kw_only=True, frozen=True):
    """Users in a table of a database.

    Attributes:
        driver: The DB-API 2 module: sqlite3, psycopg.
        connect: What its connect function is given: a file, or a connection string.
        connect_from: The same where it has a password in it.
        lookup: Statement that gives a user's entry; its parameter is the name. Parameters
            are marked as the driver does it: ? for sqlite3, %s for psycopg.
        update: Statement with the new entry, the name and the old entry; "" for none.
        size: Connections at most.
    """

    driver: Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")] = "sqlite3"
    connect: str | None = None
    connect_from: Secret | None = None
    lookup: str = LOOKUP
    update: str = UPDATE
    size: Annotated[int, Meta(ge=1, le=100)] = 4

    def __post_init__(self) -> None:
        """Check what belongs together."""
        if (self.connect is None) == (self.connect_from is None):
            raise ValueError("expected either connect or connect_from")


class PAMUsersConfig(Table, kw_only=True, frozen=True):
    """The users of this machine.

    Attributes:
        service: The file in /etc/pam.d that says how.
    """

    service: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]+$")] = "login"


class MemoryUsersConfig(Table, kw_only=True, frozen=True):
    """A few users, in the configuration itself.

    Attributes:
        passwords: Name = where the password is: {env = "NAME"}, {file = "path"}.
    """

    passwords: dict[str, Secret]
