"""``sennit news``: list, read and post netnews, approve it, and look after a store of it.

Commands that ask a server take ``--server``, or its URL in front; those that look after a store
take ``--store``. Results go to standard output, as tables or with ``--json``; how far something is,
and what went wrong, to standard error. What others wrote is escaped before a terminal sees it.

Not here: options and errors (``command_options.py``), articles as text (``display.py``), commands
for a store (``store_commands.py``), those of moderators (``moderator_commands.py``); ``sennit news
serve`` is the runner's.
"""

from __future__ import annotations

import sys
from contextlib import suppress
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
    progress_bar,
    server_options,
    show_article,
    show_json,
    split_server,
    store_option,
)
from sennit.news.errors import NewsError, NNTPReplyError
from sennit.news.moderator_commands import MODERATOR_COMMANDS
from sennit.news.store_commands import STORE_COMMANDS, show_groups, summary

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from sennit.news.client import NNTPClient
    from sennit.news.client_replies import Overview
    from sennit.news.interfaces import Group
    from sennit.news.pull import Pulled

__all__ = ["news"]

SHOWN = 20
"""Articles of a group that are shown, unless others are asked for."""
_MOST = 500_000
"""Groups, or numbers of articles, that one command shows."""
_DESCRIBED = 1000
"""Characters of a group's description that are shown."""


@click.group(
    epilog="Example: sennit news list nntp://localhost:1119/",
    help="List, read and post netnews, and look after a store of it.",
)
def news() -> None:
    """The group; its commands do the work."""


for each in (*STORE_COMMANDS, *MODERATOR_COMMANDS):
    news.add_command(each)


# ── list ──────────────────────────────────────────────────────────────────────


@news.command(
    "list",
    epilog="Example: sennit news list nntp://localhost:1119/ 'comp.*,!comp.os.*'",
    help="List the groups of a server: [URL] [WILDMAT].",
)
@click.argument("what", nargs=-1, metavar="[URL] [WILDMAT]")
@click.option(
    "--new", type=click.FloatRange(0, 36_500), metavar="DAYS",
    help="Only those made in the last DAYS.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@server_options
def list_groups(
    what: tuple[str, ...], new: float | None, as_json: bool, server: str, **given: Any
) -> int:
    """List groups."""
    url, rest = split_server(what, server)
    if len(rest) > 1:
        raise UsageError("one wildmat is enough: patterns have commas between, 'comp.*,!comp.os.*'")
    wildmat = rest[0] if rest else None

    async def work(client: NNTPClient) -> int:
        groups: dict[str, Group] = {}
        async for group in _groups(client, wildmat, new):
            groups[group.name] = group
            if len(groups) > _MOST:
                raise NewsError(f"the server has more than {_MOST} groups: name some by a wildmat")
        with suppress(NNTPReplyError):  # many servers have none
            async for name, description in client.descriptions(wildmat):
                if name in groups:
                    groups[name].description = description[:_DESCRIBED]
        show_groups(list(groups.values()), as_json=as_json)
        return 0

    return asking(Server(url, **given), work)


async def _groups(
    client: NNTPClient, wildmat: str | None, new: float | None
) -> AsyncGenerator[Group, None]:
    if new is None:
        async for group in client.counts(wildmat):
            yield group
        return
    from sennit.news.wildmat import EVERYTHING, parse_wildmat

    wanted = EVERYTHING if wildmat is None else parse_wildmat(wildmat)
    since = (await client.date()).timestamp() - new * 86400
    async for group in client.newgroups(since):
        if wanted.matches(group.name):
            yield group


# ── read ──────────────────────────────────────────────────────────────────────


@news.command(
    epilog="Example: sennit news read misc.test/42 --server nntp://localhost:1119/",
    help="Show the newest articles of a GROUP, those of a range, or one article.",
)
@click.argument("what", nargs=-1, required=True, metavar="[URL] GROUP[/NUMBER|/LOW-HIGH] | <ID>")
@click.option(
    "--count", "-n", default=SHOWN, show_default=True, type=click.IntRange(1, _MOST // 2),
    metavar="N", help="Articles of a group to show.",
)  # fmt: skip
@click.option("--headers", is_flag=True, help="All header fields of an article.")
@click.option("--raw", is_flag=True, help="An article's octets as they are, into a file or pipe.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@server_options
def read(
    what: tuple[str, ...],
    count: int,
    headers: bool,
    raw: bool,
    as_json: bool,
    server: str,
    **given: Any,
) -> int:
    """Show articles."""
    url, rest = split_server(what, server)
    if len(rest) != 1:
        raise UsageError("name one thing to read: GROUP, GROUP/NUMBER, GROUP/LOW-HIGH or <ID>")
    if raw and sys.stdout.isatty():
        raise UsageError("octets of others can do things to a terminal: --raw goes into a file")
    asked = rest[0]

    async def work(client: NNTPClient) -> int:
        article: int | str
        if "@" in asked:
            article = asked if asked.startswith("<") else f"<{asked}>"
        else:
            name, _, span = asked.partition("/")
            group = await client.group(name)
            if not span.isascii() or not span.isdigit():
                low, high = _range(span, group, count)
                rows = [row async for row in client.over(low, high)] if low <= high else []
                _show_rows(rows if span else rows[-count:], as_json=as_json)
                return 0
            article = int(span)
        if raw:
            async with client.open_article(article) as stream:
                async for piece in stream:
                    sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        else:
            found = await client.article(article)
            show_article(found.octets, headers=headers, as_json=as_json)
        return 0

    return asking(Server(url, **given), work)


def _range(span: str, group: Group, count: int) -> tuple[int, int]:
    if not span:
        # Where articles are missing there are fewer, but never all of a group.
        return max(group.low, group.high - 2 * count, 1), group.high
    low, dash, high = span.partition("-")
    if not dash or not low.isdigit() or (high and not high.isdigit()) or len(span) > 36:
        raise UsageError(f"a number or a range, such as 5 or 5-9, and not {span[:64]!r}")
    first, last = max(int(low), 1), min(int(high), group.high) if high else group.high
    if last - first >= _MOST:
        raise UsageError(f"{_MOST} numbers at a time are the most, and not {span}")
    return first, last


def _show_rows(rows: list[Overview], *, as_json: bool) -> None:
    from sennit.news.display import field_text

    if as_json:
        show_json(
            [
                {
                    "number": row.number,
                    "subject": field_text(row.subject),
                    "from": field_text(row.author),
                    "date": field_text(row.date),
                    "message_id": row.message_id.decode("ascii", "replace"),
                    "references": [each.decode("ascii", "replace") for each in row.references],
                    "octets": row.size,
                    "lines": row.lines,
                }
                for row in rows
            ]
        )
        return
    show_table(
        ("number", "date", "from", "subject"),
        [
            (
                str(row.number),
                field_text(row.date)[:32],
                field_text(row.author)[:32],
                field_text(row.subject)[:100],
            )
            for row in rows
        ],
    )


# ── post ──────────────────────────────────────────────────────────────────────


@news.command(
    epilog=(
        "Example: echo Hello | sennit news post - --group misc.test --subject Hi "
        "--from 'Ann <ann@example.org>'"
    ),
    help=(
        "Post FILE (- for standard input): an article with its head, or with --group the text "
        "of one."
    ),
)
@click.argument("what", nargs=-1, required=True, metavar="[URL] FILE|-")
@click.option("--group", "groups", multiple=True, metavar="GROUP", help="Post to this group.")
@click.option("--subject", metavar="TEXT", help="With --group.")
@click.option("--from", "author", metavar="TEXT", help="With --group: 'Name <mail address>'.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@server_options
def post(
    what: tuple[str, ...],
    groups: tuple[str, ...],
    subject: str | None,
    author: str | None,
    as_json: bool,
    server: str,
    **given: Any,
) -> int:
    """Post an article."""
    url, rest = split_server(what, server)
    if len(rest) != 1:
        raise UsageError("name one file to post, or - for standard input")
    with explained(), click.open_file(rest[0], "rb") as file:
        octets = _composed(file.read(), groups, subject, author)

    async def work(client: NNTPClient) -> int:
        message_id = await client.post(octets)
        shown = "" if message_id is None else message_id.decode("ascii", "replace")
        if as_json:
            show_json({"message_id": shown or None})
        else:
            click.echo(f"posted {shown}".rstrip())
        return 0

    return asking(Server(url, **given), work)


def _composed(
    octets: bytes, groups: tuple[str, ...], subject: str | None, author: str | None
) -> bytes:
    """The article to be posted: with a head, if it is given as options."""
    if not (groups or subject or author):
        # Files have the line ends of this machine, articles CRLF.
        return octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    if not (groups and subject and author):
        raise UsageError("an article has --group, --subject and --from, or all of its head in FILE")
    from email.message import EmailMessage
    from email.policy import SMTP

    message = EmailMessage()
    try:
        message["From"] = author
        message["Newsgroups"] = ",".join(groups)
        message["Subject"] = subject
    except ValueError as error:
        raise UsageError(f"that cannot stand in a head: {error}") from error
    message.set_content(octets.decode("utf-8", "replace"), cte="8bit")
    return message.as_bytes(policy=SMTP.clone(utf8=False, cte_type="8bit"))


# ── pull ──────────────────────────────────────────────────────────────────────


@news.command(
    epilog="Example: sennit news pull nntps://news.example.org/ 'comp.*' --store news.db",
    help=(
        "Fetch what --store misses of a server's groups: [URL] WILDMAT…. Up to where each is "
        "done is noted beside --store (PATH.pulled). An article goes into all groups that are "
        "named with its first one, and into no others later: name those that share some at once."
    ),
)
@click.argument("what", nargs=-1, required=True, metavar="[URL] WILDMAT…")
@click.option(
    "--limit", type=click.IntRange(1), metavar="N",
    help="The newest N of each group; older ones are not asked for later, either.",
)  # fmt: skip
@click.option(
    "--connections", default=2, show_default=True, type=click.IntRange(1, 50), metavar="N",
    help="Connections to the server.",
)  # fmt: skip
@click.option("--by-date", is_flag=True, help="Articles expire by their Date, not from now on.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@store_option
@server_options
def pull(
    what: tuple[str, ...],
    limit: int | None,
    connections: int,
    by_date: bool,
    as_json: bool,
    store: str,
    server: str,
    **given: Any,
) -> int:
    """Pull groups."""
    url, rest = split_server(what, server)
    if not rest:
        raise UsageError("name the groups to pull; '*' for all of them")
    chosen = Server(url, **given)
    with explained(chosen):
        connect = chosen.connector()

    async def main(tell: Callable[[int, int, str], object]) -> Pulled:
        from sennit.news.pull import Marks, pull
        from sennit.news.store.sqlite import SQLiteStore

        def progress(pulled: Pulled) -> None:
            tell(pulled.done, pulled.total, f"{pulled.added} new, {pulled.group}")

        async with SQLiteStore.open(store) as opened:
            return await pull(
                opened,
                connect,
                ",".join(rest),
                name=chosen.address.endpoint,
                connections=connections,
                limit=limit,
                marks=Marks(f"{store}.pulled"),
                by_date=by_date,
                progress=progress,
            )

    from sennit.core.reactor.base import run

    with explained(chosen), progress_bar("pulling") as tell:
        pulled = run(lambda _: main(tell))
        if not pulled.groups:
            raise NewsError(
                f"no group of {chosen.address.host} is called {','.join(rest)}; "
                "sennit news list shows what there is"
            )
    summary(
        {
            "groups": pulled.groups,
            "added": pulled.added,
            "filed": pulled.filed,
            "known": pulled.known,
            "gone": pulled.gone,
            "octets": pulled.octets,
        },
        pulled.refused,
        as_json=as_json,
    )
    return 0
