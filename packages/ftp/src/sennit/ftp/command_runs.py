"""What the commands of ``sennit ftp`` do.

Every failure becomes one line that says what to do next, and an exit status. What servers say is
escaped before a terminal shows it. Progress goes to standard error, where that is a terminal.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sennit.core.errors import (
    ConnectError,
    ConnectionLost,
    MissingExtraError,
    ProtocolError,
    SennitError,
    TLSError,
    UsageError,
)

try:
    import click
except ImportError as error:  # pragma: no cover - tested in a process without it
    raise MissingExtraError(__name__, "sennit-ftp", "service") from error

from sennit.core.auth.netrc import read_netrc
from sennit.core.ops.records import escape
from sennit.core.reactor.base import run
from sennit.core.service.showing import transfer_bars
from sennit.ftp.client import FTPClient
from sennit.ftp.errors import (
    DifferentError,
    FTPPermanentError,
    FTPReplyError,
    TransferError,
)
from sennit.ftp.url import FTPURL, parse_url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from typing import Literal

    from sennit.core.transport.tls import ClientTLS
    from sennit.ftp.client_transfers import OnProgress
    from sennit.ftp.interfaces import Entry
    from sennit.ftp.mirror import Mirrored, Step

__all__ = ["Options", "run_get", "run_ls", "run_mirror", "run_mkdir", "run_put", "run_rm"]

REFUSED, NO_CONNECTION, NO_TLS, HERE, PARTLY = 1, 3, 4, 5, 6
MOST_PARALLEL: Final = 64
"""Connections of a mirror: no server has more for one address."""


@dataclass
class Options:
    """The commands' options, by the names that ``commands.py`` gives them."""

    tls: bool = False
    insecure: bool = False
    ca: str | None = None
    active: bool = False
    account: str | None = None
    proxy: str | None = None
    quiet: bool = False
    resume: bool = False
    ascii: bool = False
    check: str | None = None
    as_json: bool = False
    directory: bool = False
    parallel: int = 4
    delete: bool = False
    retries: int = 3


# ── the commands ──────────────────────────────────────────────────────────────


def run_get(url: str, local: str | None, options: Options) -> int:
    """Fetch a file."""
    where = _where(url)
    name = where.path.rpartition("/")[2]
    if not name:
        raise click.UsageError(f"{where} names a directory: sennit ftp mirror fetches those")
    if local is None:
        # What a URL calls a file is no more to be trusted than what a server calls it.
        if name in (".", "..") or os.path.basename(name) != name:
            raise click.UsageError("that name cannot be one here: say where to")
        local = name
    elif local != "-" and os.path.isdir(local):
        local = os.path.join(local, name)
    target = local

    async def work(ftp: FTPClient) -> None:
        with _progress(name, options) as progress:
            await ftp.get(
                where.path,
                sys.stdout.buffer if target == "-" else target,
                resume=options.resume and target != "-",
                ascii=options.ascii or where.type == "a",
                check=options.check,
                on_progress=progress,
            )

    return _run(where, options, work)


def run_put(local: str, url: str, options: Options) -> int:
    """Send a file."""
    where = _where(url)
    path = where.path
    if not path or path.endswith("/"):
        if local == "-":
            raise click.UsageError("standard input has no name: end the URL with one")
        path += os.path.basename(local)

    async def work(ftp: FTPClient) -> None:
        with _progress(path.rpartition("/")[2], options) as progress:
            await ftp.put(
                sys.stdin.buffer if local == "-" else local,
                path,
                resume=options.resume,
                ascii=options.ascii or where.type == "a",
                check=options.check,
                on_progress=progress,
            )

    return _run(where, options, work)


def run_ls(url: str, options: Options) -> int:
    """List a directory, or a file."""
    where = _where(url)
    show = _as_json if options.as_json else _as_line

    async def work(ftp: FTPClient) -> None:
        try:
            async with aclosing(ftp.iterate(where.path)) as batches:  # `| head` ends it early
                async for entries in batches:
                    for entry in entries:
                        click.echo(show(entry))
        except FTPPermanentError:
            # It may be a file, which MLSD does not list.
            try:
                entry = await ftp.stat(where.path)
            except FTPReplyError:
                entry = None
            if entry is None or entry.kind == "dir":
                raise
            click.echo(show(entry))
        if ftp.skipped and not options.quiet:
            click.echo(f"sennit ftp: {ftp.skipped} lines could not be read", err=True)

    return _run(where, options, work)


def run_mirror(source: str, target: str, options: Options) -> int:
    """Make one tree like another."""
    upload = "://" in target
    if upload == ("://" in source):
        raise click.UsageError("one of SOURCE and TARGET is a URL, the other a directory here")
    where = _where(target if upload else source)
    local = source if upload else target
    if upload and not os.path.isdir(local):
        raise click.UsageError(f"{local} is no directory")
    if not 1 <= options.parallel <= MOST_PARALLEL or options.retries < 0:
        raise click.UsageError(f"--parallel is 1 to {MOST_PARALLEL}, --retries 0 at least")
    results: list[Mirrored] = []

    async def work(ftp: FTPClient) -> None:
        with _steps(options) as tell:
            results.append(
                await ftp.mirror(
                    *((Path(local), where.path) if upload else (where.path, Path(local))),
                    parallel=options.parallel,
                    delete=options.delete,
                    retries=options.retries,
                    on_step=tell,
                )
            )

    status = _run(where, options, work)
    for result in results:
        for path, error in result.failures:
            click.echo(f"sennit ftp: {escape(path)}: {escape(str(error))}", err=True)
        if not options.quiet:
            click.echo(
                f"{result.copied} files moved ({result.octets} octets), {result.same} the same, "
                f"{result.removed} removed, {result.left} left out, {result.failed} failed",
                err=True,
            )
        if result.failed and not status:
            kinds = (FileExistsError, IsADirectoryError)
            more = (
                "; --delete replaces what is a file in one tree and a directory in the other"
                if any(isinstance(error, kinds) for _, error in result.failures)
                else ""
            )
            click.echo(f"sennit ftp: not all is there: the same command goes on{more}", err=True)
            status = PARTLY
    return status


def run_rm(url: str, options: Options) -> int:
    """Remove a file, or an empty directory."""
    where = _where(url)

    async def work(ftp: FTPClient) -> None:
        await (ftp.rmdir if options.directory else ftp.remove)(where.path)

    return _run(where, options, work)


def run_mkdir(url: str, options: Options) -> int:
    """Make a directory."""
    where = _where(url)
    return _run(where, options, lambda ftp: ftp.mkdir(where.path))


# ── connecting ────────────────────────────────────────────────────────────────


def _where(url: str) -> FTPURL:
    try:
        return parse_url(url)
    except UsageError as error:
        raise click.UsageError(str(error)) from error


def _run(where: FTPURL, options: Options, work: Callable[[FTPClient], Awaitable[None]]) -> int:
    """Connect, work, say good-bye; the exit status."""
    server = _with_password(replace(where, path="", type=""))

    async def main(_: object) -> None:
        tls: Literal["explicit"] | None = (
            "explicit" if options.tls and where.scheme == "ftp" else None
        )
        async with FTPClient.connect(
            server,
            tls=tls,
            client_tls=_trust(options) if tls or where.scheme != "ftp" else None,
            account=options.account,
            active=options.active,
            via=options.proxy,
        ) as ftp:
            await work(ftp)

    try:
        run(main)
    except BrokenPipeError:
        raise
    except (SennitError, OSError) as error:
        status, advice = _explain(error, where)
        click.echo(f"sennit ftp: {escape(str(error))}{advice}", err=True)
        return status
    return 0


def _trust(options: Options) -> ClientTLS:
    from sennit.core.transport.tls import ClientTLS

    return ClientTLS(trust=options.ca, verify=not options.insecure)


def _with_password(where: FTPURL) -> FTPURL:
    """The URL with what it lacks: from ~/.netrc, else asked for where a user is named."""
    if where.password is not None:
        return where
    found = _from_netrc(where)
    if found is not None:
        return found
    if where.user in (None, "anonymous", "ftp"):
        return where
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"there is no password for {where.user}: put it into the URL or into ~/.netrc"
        )
    asked: str = click.prompt(f"Password of {where.user}", hide_input=True, err=True)
    return replace(where, password=asked)


def _from_netrc(where: FTPURL) -> FTPURL | None:
    login = read_netrc()(where.host)
    if login is None or (where.user is not None and login[0] != where.user):
        return None
    return replace(where, user=login[0], password=login[1])


def _explain(error: Exception, where: FTPURL) -> tuple[int, str]:
    """The exit status of a failure, and what to do next."""
    if isinstance(error, FTPReplyError):
        advice = {
            530: ": check user and password",
            534: ": the server wants no TLS of this kind",
            550: ": look what is there with sennit ftp ls",
            552: ": there is not room enough for this user",
            553: ": choose another name",
        }.get(error.code, "")
        if error.command == "AUTH TLS":
            return NO_TLS, ": the server has no TLS; without --tls all goes in clear"
        if not isinstance(error, FTPPermanentError) and not advice:
            advice = ": try again later"
        return REFUSED, advice
    if isinstance(error, TLSError):
        if "does not speak TLS" in error.reason:
            return NO_TLS, f": ftps:// is TLS from the first octet, is {where.port} its port?"
        return NO_TLS, ": believe its authority with --ca FILE, or --insecure to believe anybody"
    if isinstance(error, ConnectError):
        return NO_CONNECTION, f": is {where.host} right, and does it serve FTP at {where.port}?"
    if isinstance(error, ConnectionLost):
        return NO_CONNECTION, ": try again, get and put with --resume"
    if isinstance(error, IsADirectoryError):
        return HERE, ": sennit ftp mirror is for directories"
    if isinstance(error, FileNotFoundError) and str(error.filename).endswith(".part"):
        return HERE, ": is the directory there that it is to come into?"
    if isinstance(error, OSError):
        return HERE, ""
    if isinstance(error, UsageError):
        return 2, ""
    if isinstance(error, ProtocolError):
        return REFUSED, f": is it a server of FTP that answers at {where.host}:{where.port}?"
    if isinstance(error, DifferentError):
        return REFUSED, ": try again without --resume"
    return REFUSED, ": try again with --resume" if isinstance(error, TransferError) else ""


# ── showing ───────────────────────────────────────────────────────────────────


def _as_line(entry: Entry) -> str:
    sign = {"dir": "d", "link": "l", "file": "-"}.get(entry.kind, "?")
    at = datetime.fromtimestamp(max(0.0, min(entry.modified, 253_402_300_799.0)), UTC)
    size = "" if entry.kind == "dir" or entry.size < 0 else str(entry.size)
    arrow = f" -> {escape(entry.target)}" if entry.target else ""
    return f"{sign} {size:>14} {at:%Y-%m-%d %H:%M:%S} {escape(entry.name)}{arrow}"


def _as_json(entry: Entry) -> str:
    # ASCII alone, so that nothing in a name reaches a terminal.
    return json.dumps(
        {
            "name": entry.name,
            "kind": entry.kind,
            "size": None if entry.size < 0 else entry.size,
            "modified": entry.modified,
            "mode": f"{entry.mode:03o}",
            "owner": entry.owner,
            "group": entry.group,
        }
    )


def _shows(options: Options) -> bool:
    return not options.quiet and sys.stderr.isatty()


@contextmanager
def _progress(name: str, options: Options) -> Generator[OnProgress | None, None, None]:
    """How far one file is."""
    if not _shows(options):
        yield None
        return
    with transfer_bars() as bars:
        task = bars.add_task(escape(name), total=None)

        def tell(done: int, total: int | None) -> None:
            bars.update(task, completed=done, total=total)

        yield tell


@contextmanager
def _steps(options: Options) -> Generator[Callable[[Step], None] | None, None, None]:
    """How far a mirror is: a bar for each file on its way."""
    if not _shows(options):
        yield None
        return
    with transfer_bars() as bars:
        tasks: dict[str, Any] = {}  # Any: rich's numbers

        def tell(step: Step) -> None:
            task = tasks.get(step.path)
            if step.what == "progress":
                if task is None:
                    task = tasks[step.path] = bars.add_task(escape(step.path), total=step.size)
                bars.update(task, completed=step.done, total=step.size)
            elif task is not None:
                bars.remove_task(tasks.pop(step.path))

        yield tell
