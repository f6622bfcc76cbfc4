"""Commands of ``sennit news`` that look after a store: import, expire, groups, cancel.

They open the file themselves, which one process has at a time: the node that serves it has to be
stopped, or does the same by its configuration and by control messages.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, TypeVar

from sennit.core.errors import MissingExtraError, UsageError

try:
    import click
except ImportError as error:  # pragma: no cover - tested in a process without it
    raise MissingExtraError(__name__, "sennit-news-nntp", "service") from error

from sennit.core.service.showing import show_table
from sennit.news.command_options import (
    explained,
    progress_bar,
    show_json,
    store_option,
)
from sennit.news.errors import NewsError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sennit.news.expiry import Expired
    from sennit.news.importing import Imported
    from sennit.news.interfaces import Group
    from sennit.news.store.sqlite import SQLiteStore

T = TypeVar("T")

__all__ = ["STORE_COMMANDS", "show_groups", "summary"]


def _with_store(path: str, work: Callable[[SQLiteStore], Awaitable[T]], *, there: bool = True) -> T:
    """Open a store, work, close it.

    Args:
        path: Its file.
        work: What to do with it.
        there: Whether it has to be there already: else a name misspelt would make an empty one.
    """
    if there and not os.path.exists(path):
        raise NewsError(f"{path} is not there; --store names the file of a store")
    from sennit.core.reactor.base import run
    from sennit.news.store.sqlite import SQLiteStore

    async def main(_: object) -> T:
        async with SQLiteStore.open(path) as store:
            return await work(store)

    with explained():
        return run(main)


def summary(found: Mapping[str, int], refused: Counter[str], *, as_json: bool) -> None:
    """Print what became of many articles."""
    if as_json:
        show_json({**found, "refused": dict(refused)})
        return
    click.echo(", ".join(f"{count} {name}" for name, count in found.items()))
    for reason, count in refused.most_common():
        click.echo(f"  {count} refused: {reason}")


def show_groups(groups: Sequence[Group], *, as_json: bool) -> None:
    """Print groups."""
    if as_json:
        from sennit.news.display import harmless

        show_json(
            [
                {
                    "name": harmless(group.name),
                    "articles": group.count,
                    "low": group.low,
                    "high": group.high,
                    "status": harmless(group.status),
                    "description": harmless(group.description),
                }
                for group in groups
            ]
        )
        return
    show_table(
        ("group", "articles", "numbers", "status", "description"),
        [
            (
                group.name,
                group.count,
                f"{group.low}-{group.high}" if group.low <= group.high else "-",
                group.status,
                group.description,
            )
            for group in groups
        ],
    )


# ── articles ──────────────────────────────────────────────────────────────────


@click.command(
    "import",
    epilog="Example: sennit news import archive.mbox --store news.db --group misc.test",
    help="Put the articles of an mbox file, or of a folder with a file for each, into --store.",
)
@click.argument("path", type=click.Path(exists=True), metavar="MBOX|FOLDER")
@click.option("--group", metavar="GROUP", help="Put all of it, mail too, into this group.")
@click.option("--wildmat", default="*", metavar="WILDMAT", help="Else: into which of its groups.")
@click.option("--by-date", is_flag=True, help="Articles expire by their Date, not from now on.")
@click.option(
    "--start", default=0, type=click.IntRange(0), metavar="N",
    help="Octets (of an mbox) or files (of a folder) to leave out.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@store_option
def import_articles(
    path: str,
    group: str | None,
    wildmat: str,
    by_date: bool,
    start: int,
    as_json: bool,
    store: str,
) -> int:
    """Import articles."""
    from pathlib import Path

    from sennit.news.importing import import_folder, import_mbox
    from sennit.news.wildmat import parse_wildmat

    with explained(), progress_bar("importing") as tell:
        wanted = parse_wildmat(wildmat)
        bring = import_folder if Path(path).is_dir() else import_mbox

        def progress(imported: Imported) -> None:
            tell(imported.position, imported.size, f"{imported.added} new")

        imported = _with_store(
            store,
            lambda opened: bring(
                opened,
                path,
                group=group,
                wanted=wanted,
                start=start,
                by_date=by_date,
                progress=progress,
            ),
            there=False,
        )
    found = {
        "added": imported.added,
        "filed": imported.filed,
        "known": imported.duplicates,
        "unwanted": imported.unwanted,
    }
    summary(found, imported.refused, as_json=as_json)
    return 0


@click.command(
    epilog="Example: sennit news expire --store news.db --days 30 --group 'misc.*'",
    help="Drop articles of --store that are older than --days, or more than --count in a group.",
)
@click.option("--days", type=click.FloatRange(0), metavar="N", help="Days that articles stay.")
@click.option("--count", type=click.IntRange(0), metavar="N", help="Articles that a group keeps.")
@click.option("--group", "groups", default="*", metavar="WILDMAT", help="Of which groups.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@store_option
def expire(days: float | None, count: int | None, groups: str, as_json: bool, store: str) -> int:
    """Expire articles."""
    if days is None and count is None:
        raise UsageError("say what is too old, or too much: --days N, --count N, or both")
    from sennit.news.expiry import Expiry, Rule
    from sennit.news.expiry import expire as drop_old

    with explained(), progress_bar("expiring") as tell:
        expiry = Expiry([Rule(groups, days=days, count=count)])

        def progress(done: Expired) -> None:
            # How many there are is not known before.
            tell(0, 0, f"{done.seen} seen, {done.removed} dropped")

        done = _with_store(
            store, lambda opened: drop_old(opened, expiry, time.time(), progress=progress)
        )
    if as_json:
        show_json({"seen": done.seen, "removed": done.removed, "forgotten": done.forgotten})
    else:
        click.echo(f"{done.removed} articles dropped, {done.forgotten} Message-IDs forgotten")
    return 0


@click.command(
    epilog="Example: sennit news cancel '<1@example.org>' --store news.db",
    help="Remove the article with this Message-ID from --store, and do not take it again.",
)
@click.argument("message_id", metavar="<ID>")
@store_option
def cancel(message_id: str, store: str) -> int:
    """Remove an article."""
    octets = message_id.strip("<>").encode()
    gone = _with_store(store, lambda opened: opened.remove(b"<%b>" % octets))
    click.echo("removed" if gone else "there is no such article")
    return 0 if gone else 1


# ── groups ────────────────────────────────────────────────────────────────────


@click.command(
    "groups",
    epilog="Example: sennit news groups --store news.db 'misc.*'",
    help="List the groups of --store.",
)
@click.argument("wildmat", default="*", metavar="[WILDMAT]")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@store_option
def list_groups(wildmat: str, as_json: bool, store: str) -> int:
    """List groups."""
    from sennit.news.wildmat import parse_wildmat

    wanted = parse_wildmat(wildmat)
    groups = _with_store(store, lambda opened: opened.groups())
    show_groups([group for group in groups if wanted.matches(group.name)], as_json=as_json)
    return 0


@click.command(
    "create-group",
    epilog="Example: sennit news create-group misc.test --store news.db --description 'For tests'",
    help="Make a group in --store, or change what is told of it; its articles stay.",
)
@click.argument("name", metavar="GROUP")
@click.option("--description", metavar="TEXT", help="What it is about.")
@click.option(
    "--status", type=click.Choice(["y", "n", "m"]),
    help="y: one may post (as at first); n: not here; m: moderated.",
)  # fmt: skip
@store_option
def create_group(name: str, description: str | None, status: str | None, store: str) -> int:
    """Make a group."""

    async def work(opened: SQLiteStore) -> None:
        old = await opened.group(name)
        await opened.create_group(
            name,
            status=status or ("y" if old is None else old.status),
            description=description or ("" if old is None else old.description),
            creator="sennit news" if old is None else old.creator,
        )

    _with_store(store, work, there=False)
    click.echo(f"{name} is there")
    return 0


@click.command(
    "remove-group",
    epilog="Example: sennit news remove-group misc.test --store news.db",
    help="Remove a group from --store; articles that are in no other group go, too.",
)
@click.argument("name", metavar="GROUP")
@store_option
def remove_group(name: str, store: str) -> int:
    """Remove a group."""
    gone = _with_store(store, lambda opened: opened.remove_group(name))
    click.echo("removed" if gone else f"there is no group {name}")
    return 0 if gone else 1


STORE_COMMANDS = (import_articles, expire, cancel, list_groups, create_group, remove_group)
"""All of them."""
