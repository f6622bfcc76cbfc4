"""Commands of ``sennit news`` for moderators: held, approve, reject.

Posts to moderated groups wait in a folder beside the store of the server that took them. These
commands read that folder themselves, and so are for who may; they do not open the store. What is
approved is posted to the server like everything else, by a session of one who may approve.

Not here: the queue (``moderation.py``); who may approve (``access.py``).
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sennit.core.errors import MissingExtraError, UsageError

try:
    import click
except ImportError as error:  # pragma: no cover - tested in a process without it
    raise MissingExtraError(__name__, "sennit-news-nntp", "service") from error

from sennit.core.service.showing import show_table
from sennit.news.command_options import (
    Server,
    asking,
    explained,
    server_options,
    show_article,
    show_json,
    split_server,
)
from sennit.news.errors import DuplicateError, NewsError, NNTPTransientError, StoreError
from sennit.news.overview import header_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from sennit.news.client import NNTPClient
    from sennit.news.moderation import Held, HeldArticles

__all__ = ["MODERATOR_COMMANDS"]

_KEY: int = 12
"""Characters of a key that are shown: it may be shortened as long as it means one post."""


def _queue(folder: str) -> HeldArticles:
    from sennit.news.moderation import HeldArticles

    beside = Path(f"{folder}.held")
    path = beside if beside.is_dir() else Path(folder)
    if not path.is_dir():
        raise UsageError(
            f"{folder} is no folder: posts that wait for a moderator lie beside the server's "
            "store, for news.db in news.db.held, once there was one"
        )
    return HeldArticles(path)


async def _chosen(queue: HeldArticles, keys: Sequence[str]) -> Sequence[Held]:
    """What waits under keys, which may be shortened."""
    try:
        there = await queue.held()
    except StoreError as error:
        raise NewsError(f"{error}; it belongs to who runs the server") from error
    if not keys:
        return there
    found: list[Held] = []
    for key in keys:
        fitting = [held for held in there if held.key.startswith(key.lower())]
        if len(fitting) != 1:
            many = "nothing waits" if not fitting else "more than one post waits"
            raise UsageError(f"{many} as {key[:64]!r}; `sennit news held FOLDER` shows what does")
        found += fitting
    return list({held.key: held for held in found}.values())


def _in_queue(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    from sennit.core.reactor.base import run

    with explained():
        run(lambda _: work())


def _field(held: Held, name: str) -> str:
    from sennit.news.display import field_text

    head = held.octets.partition(b"\r\n\r\n")[0] + b"\r\n"
    return field_text(header_of(head, name))


def _since(held: Held) -> str:
    return datetime.fromtimestamp(held.when, UTC).strftime("%Y-%m-%d %H:%M")


@click.command(
    epilog="Example: sennit news held news.db.held",
    help="List the posts that wait in FOLDER for a moderator, or show those of KEY.",
)
@click.argument("folder", metavar="FOLDER")
@click.argument("keys", nargs=-1, metavar="[KEY]…")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def held(folder: str, keys: tuple[str, ...], as_json: bool) -> int:
    """List what waits."""

    async def work() -> None:
        waiting = await _chosen(_queue(folder), keys)
        if keys:
            for number, each in enumerate(waiting):
                if number and not as_json:
                    click.echo()
                show_article(each.octets, headers=True, as_json=as_json)
        elif as_json:
            show_json(
                [
                    {
                        "key": each.key,
                        "since": _since(each),
                        "group": each.group,
                        "from": _field(each, "From"),
                        "subject": _field(each, "Subject"),
                    }
                    for each in waiting
                ]
            )
        elif waiting:
            show_table(
                ("key", "since", "group", "from", "subject"),
                [
                    (
                        each.key[:_KEY],
                        _since(each),
                        each.group,
                        _field(each, "From")[:32],
                        _field(each, "Subject")[:100],
                    )
                    for each in waiting
                ],
            )
        else:
            click.echo("nothing waits")

    _in_queue(work)
    return 0


@click.command(
    epilog=(
        "Example: sennit news approve nntp://localhost:1119/ news.db.held 3f2a "
        "--as ed@example.org --user editor --in-clear"
    ),
    help="Post what waits in FOLDER as KEY to the server, approved by --as: [URL] FOLDER KEY…",
)
@click.argument("what", nargs=-1, required=True, metavar="[URL] FOLDER KEY…")
@click.option("--as", "approver", required=True, metavar="ADDRESS", help="Who approves it.")
@server_options
def approve(what: tuple[str, ...], approver: str, server: str, **given: Any) -> int:
    """Approve posts."""
    url, rest = split_server(what, server)
    if len(rest) < 2:
        raise UsageError("name the folder, and what waits there: FOLDER KEY…")
    queue = _queue(rest[0])

    async def work(client: NNTPClient) -> int:
        for each in await _chosen(queue, rest[1:]):
            message_id = _field(each, "Message-ID")

            async def post(octets: bytes, message_id: str = message_id) -> None:
                try:
                    await client.post(octets)
                except NNTPTransientError as error:
                    # Perhaps it was posted, and only the answer lost.
                    if error.code == 441 and await _is_there(client, message_id):
                        raise DuplicateError("it is there already") from error
                    raise

            await queue.approve(each.key, post, approver)
            click.echo(f"approved {message_id}")
        return 0

    return asking(Server(url, **given), work)


async def _is_there(client: NNTPClient, message_id: str) -> bool:
    try:
        await client.stat(message_id)
    except NNTPTransientError:
        return False
    return True


@click.command(
    epilog="Example: sennit news reject news.db.held 3f2a",
    help="Throw away what waits in FOLDER as KEY.",
)
@click.argument("folder", metavar="FOLDER")
@click.argument("keys", nargs=-1, required=True, metavar="KEY…")
def reject(folder: str, keys: tuple[str, ...]) -> int:
    """Throw posts away."""

    async def work() -> None:
        queue = _queue(folder)
        for each in await _chosen(queue, keys):
            await queue.reject(each.key)
            click.echo(f"rejected {_field(each, 'Message-ID')}")

    _in_queue(work)
    return 0


MODERATOR_COMMANDS = (held, approve, reject)
"""All of them."""
