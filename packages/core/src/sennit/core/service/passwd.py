"""``sennit passwd FILE USER``: users of a file, added, changed, verified, removed.

A password comes from a prompt that shows nothing, or from standard input; never from
the command line, which everybody on the machine can read.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sennit.core.errors import MissingExtraError, SennitError, UsageError

try:
    import click
except ImportError as error:  # pragma: no cover - tested in a process without it
    raise MissingExtraError(__name__, "sennit-core", "cli") from error

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.core.auth.passwords import PasswordHasher

__all__ = ["passwd"]


@click.command(
    epilog="Example: sennit passwd users.txt alice",
    help="Add USER to FILE, or change its password; FILE is made when there is none.",
)
@click.argument("file", type=click.Path(dir_okay=False), metavar="FILE")
@click.argument("user", metavar="USER")
@click.option("--verify", "action", flag_value="verify", help="Say whether a password is right.")
@click.option("--remove", "action", flag_value="remove", help="Take the user out.")
@click.option("--lock", "action", flag_value="lock", help="Let the user in no more.")
@click.option("--stdin", "piped", is_flag=True, help="Read the password from standard input.")
@click.option(
    "--scram",
    multiple=True,
    type=click.Choice(["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"]),
    help="Make keys for this mechanism, too; may be given again.",
)
@click.option(
    "--hash",
    "kind",
    type=click.Choice(["argon2id", "scrypt"]),
    default="argon2id",
    show_default=True,
    help="The kind of hash.",
)
def passwd(
    file: str, user: str, action: str | None, piped: bool, scram: tuple[str, ...], kind: str
) -> int:
    """Add, change, verify or remove a user of a file."""
    from sennit.core.auth.hashes import Argon2Policy, ScryptPolicy
    from sennit.core.auth.passwords import PasswordHasher
    from sennit.core.auth.sasl.grammar import MalformedError, prepare_name, prepare_password
    from sennit.core.auth.userfile import entry_of

    path = Path(file)
    try:
        name = prepare_name(user)
        if ":" in name or name.startswith("#"):
            raise MalformedError("a colon, or a # at its beginning")
    except MalformedError as error:
        raise UsageError(f"no user can be called {user!r}: {error}") from None
    if action in ("verify", "remove", "lock") and not path.exists():
        raise UsageError(f"{file}: there is no such file")
    if action == "remove":
        _changed(_set(path, name, lambda old: None), name, file)
        click.echo(f"{name} removed")
        return 0
    if action == "lock":
        _changed(_set(path, name, lambda old: old and "!" + old.lstrip("!")), name, file)
        click.echo(f"{name} locked; a new password opens it again")
        return 0
    policy = Argon2Policy() if kind == "argon2id" else ScryptPolicy()
    hasher = PasswordHasher(policy, scram=scram)
    if action == "verify":
        return _verify(hasher, path, name, _password(piped, confirm=False), entry_of(path, name))
    password = _password(piped, confirm=True)
    try:
        prepare_password(password)
    except MalformedError as error:
        raise UsageError(f"this cannot be a password: {error}") from None

    def made(old: str | None) -> str:
        locked = old is None or old.startswith(("!", "*"))
        return hasher.make_entry(password, None if locked else old)

    was_there = _set(path, name, made, create=True)
    click.echo(f"{name} {'changed' if was_there else 'added'}")
    return 0


def _set(
    path: Path, name: str, make: Callable[[str | None], str | None], *, create: bool = False
) -> bool:
    from sennit.core.auth.userfile import set_entry

    try:
        return set_entry(path, name, make, create=create)
    except OSError as error:
        raise SennitError(f"{path} cannot be written: {error.strerror}") from None


def _verify(hasher: PasswordHasher, path: Path, name: str, password: str, entry: str | None) -> int:
    if entry is not None and entry.startswith(("!", "*")):
        entry = None
    good = hasher.verify(password, entry)
    click.echo("right" if good else "wrong")
    return 0 if good else 1


def _changed(was_there: bool, name: str, file: str) -> None:
    if not was_there:
        raise UsageError(f"{file} has no user {name!r}")


def _password(piped: bool, *, confirm: bool) -> str:
    if piped or not sys.stdin.isatty():
        line = sys.stdin.readline(4096)
        return line.removesuffix("\n").removesuffix("\r")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=confirm)
    return password
