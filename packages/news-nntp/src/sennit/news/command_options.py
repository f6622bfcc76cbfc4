"""What the commands of ``sennit news`` share: which server, as whom, and what to say when it fails.

A server is named by ``--server``, by a URL in front of what is asked for, or by the variable
NNTPSERVER, as newsreaders have it. A password stands in the URL or in ``~/.netrc``, or is asked
for; never in an option, which everybody on the machine can read.
"""

from __future__ import annotations

import json
import re
import sys
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec

from sennit.core.errors import (
    ConnectError,
    ConnectionLost,
    LoginDenied,
    MissingExtraError,
    SennitError,
    TLSError,
    UsageError,
)

try:
    import click
except ImportError as error:  # pragma: no cover - tested in a process without it
    raise MissingExtraError(__name__, "sennit-news-nntp", "service") from error

from sennit.core.auth.netrc import read_netrc
from sennit.core.ops.records import escape
from sennit.news.errors import (
    NewsError,
    NNTPProtocolError,
    NNTPReplyError,
    NNTPUsageError,
    StoreError,
    TryLaterError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Sequence

    from sennit.news.client import Connecting, NNTPClient

    P = ParamSpec("P")

__all__ = [
    "Server",
    "asking",
    "explained",
    "progress_bar",
    "server_options",
    "show_article",
    "show_json",
    "split_server",
    "store_option",
]


class Server:
    """Which server, and as whom.

    Args:
        url: Its URL, a host, or empty for this machine.
        user: Who logs in.
        starttls: Whether TLS begins by STARTTLS.
        trust: A file of authorities to believe.
        in_clear: Whether a password may be shown to who listens.
        compress: Whether all is deflated.
    """

    def __init__(
        self,
        url: str,
        user: str | None,
        *,
        starttls: bool,
        trust: str | None,
        in_clear: bool,
        compress: bool,
    ) -> None:
        from sennit.news.client_opening import parse_url

        url = url or "nntp://localhost/"
        if ":" not in url or url.partition(":")[2].isdigit():
            url = f"nntp://{url}/"  # as NNTPSERVER has it
        self.url = url
        self.address = parse_url(url)
        self.user = user or self.address.user or None
        self.password = self.address.password
        self.starttls = starttls
        self.trust = trust
        self.in_clear = in_clear
        self.compress = compress

    def connector(self) -> Callable[[], Connecting]:
        """What connects; asks for the password first, if it takes one that is not there.

        Raises:
            UsageError: It cannot be asked for.
        """
        from sennit.news.client import NNTPClient

        tls: Any = None  # a ClientTLS, or the word
        if self.trust is not None:
            from sennit.core.transport.tls import ClientTLS

            tls = ClientTLS(trust=self.trust)
        elif self.starttls:
            tls = "starttls"
        self._find_password()
        return partial(
            NNTPClient.connect,
            self.url,
            tls=tls,
            user=self.user,
            password=self.password,
            in_clear=self.in_clear,
            compress=self.compress,
        )

    def _find_password(self) -> None:
        private = self.address.secure or self.starttls or self.in_clear
        if self.password is not None or (self.user is None and not private):
            return
        found = read_netrc()(self.address.host)
        if (
            found is not None
            and all(found)
            and (found[0] == self.user or (self.user is None and private))
        ):
            self.user, self.password = found
        elif self.user is not None:
            if not sys.stdin.isatty():
                raise UsageError(
                    f"there is no password for {self.user!r}: put `machine {self.address.host} "
                    f"login {self.user} password …` into ~/.netrc"
                )
            self.password = click.prompt(f"Password of {self.user}", hide_input=True, err=True)


def server_options(command: Callable[P, object]) -> Callable[P, object]:
    """Give a command the options that say which server is asked: all that `Server` takes."""
    for option in (
        click.option("--compress", is_flag=True, help="Deflate all, where the server can."),
        click.option(
            "--in-clear", is_flag=True, help="Show the password to whoever listens: without TLS."
        ),
        click.option(
            "--ca",
            "trust",
            type=click.Path(exists=True, dir_okay=False),
            metavar="FILE",
            help="Authorities to believe, instead of the system's.",
        ),
        click.option("--starttls", is_flag=True, help="Begin TLS on a connection in clear."),
        click.option("--user", "-u", metavar="NAME", help="Log in; the password is asked for."),
        click.option(
            "--server",
            "-s",
            envvar="NNTPSERVER",
            default="",
            metavar="URL",
            help="nntp://HOST:PORT/ or nntps://…; $NNTPSERVER, or this machine, when left out.",
        ),
    ):
        command = option(command)
    return command


def asking(server: Server, work: Callable[[NNTPClient], Coroutine[Any, Any, int]]) -> int:
    """Connect, work, say good-bye; what a command ends with."""
    from sennit.core.reactor.base import run

    with explained(server):
        connect = server.connector()

        async def main(_: object) -> int:
            async with connect() as client:
                return await work(client)

        return run(main)


def store_option(command: Callable[P, object]) -> Callable[P, object]:
    """Give a command the option that names a store."""
    return click.option(
        "--store",
        required=True,
        type=click.Path(dir_okay=False),
        metavar="PATH",
        help="File with the articles; import, pull and create-group make it.",
    )(command)


def split_server(given: Sequence[str], server: str) -> tuple[str, list[str]]:
    """The server, which may stand in front of what is asked for, and what is.

    What stands behind the host in a URL is asked for, too (RFC 5538 §3).
    """
    rest = list(given)
    if rest and _HOST_AND_PORT.fullmatch(rest[0]):
        return rest[0], rest[1:]
    if rest and "://" in rest[0]:
        from sennit.news.client_opening import parse_url

        server = rest.pop(0)
        path = parse_url(server).path
        if path:
            rest.insert(0, path)
    return server, rest


_HOST_AND_PORT = re.compile(r"[A-Za-z0-9.-]+:[0-9]{1,5}")
"""As NNTPSERVER has it; no group is called so."""


# ── what is said ──────────────────────────────────────────────────────────────

_HINTS = {
    400: "the server has no time now: try again later",
    411: "`sennit news list` shows which groups there are",
    420: "the group has no articles",
    423: "`sennit news read GROUP` shows which articles there are",
    430: "the server does not have it; it may have expired",
    440: "the server does not let you post; a login may help: --user NAME",
    441: "the server does not take this article, for the reason it gives",
    480: "the server wants a login: --user NAME",
    483: "the server wants TLS first: --starttls, or nntps:// in place of nntp://",
    500: "the server does not know that command: is it a news server for readers?",
    502: "the server does not let you do that",
}


@contextmanager
def explained(server: Server | None = None) -> Generator[None, None, None]:
    """Say what to do next when something fails."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever reads our output has seen enough
    except NNTPReplyError as error:
        hint = _HINTS.get(error.code)
        raise NewsError(f"{error}{f'; {hint}' if hint else ''}") from error
    except NNTPUsageError as error:
        text = str(error).replace("use nntps://, or tls='starttls', or allow in_clear", "")
        if text == str(error):
            raise
        raise NewsError(f"{text}use --starttls, nntps://, or --in-clear") from error
    except LoginDenied as error:
        raise NewsError(f"{error}: the name or the password is wrong") from error
    except TLSError as error:
        hint = "--ca FILE names an authority to believe"
        if "does not speak TLS" in error.reason:
            hint = "nntps:// is TLS from the first octet, --starttls begins it later"
        raise NewsError(f"{error}; {hint}") from error
    except ConnectError as error:
        raise NewsError(
            f"{error}; does a server run there? --server URL, or $NNTPSERVER, names another"
        ) from error
    except (ConnectionLost, TryLaterError) as error:
        whom = f"{server.address.host}: " if server is not None else ""
        raise NewsError(f"{whom}{error}; try again") from error
    except StoreError as error:
        text = str(error)
        if "open already" in text:
            text += "; a store is used by one process at a time: is a node running that serves it?"
        raise NewsError(text) from error
    except NNTPProtocolError as error:
        if server is None or "not a response" not in str(error):
            raise
        raise NewsError(f"{server.address.host}: {error}; is that a server of news?") from error
    except OSError as error:
        if isinstance(error, SennitError):
            raise
        raise NewsError(f"{error.filename or 'a file'}: {error.strerror or error}") from error


def show_json(found: object) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(found, indent=2, ensure_ascii=False))


def show_article(octets: bytes, *, headers: bool = False, as_json: bool = False) -> None:
    """Print an article, decoded and harmless."""
    from sennit.news.display import article_fields, article_lines

    fields = article_fields(octets, everything=headers or as_json)
    if as_json:
        show_json({"fields": fields, "body": list(article_lines(octets))})
        return
    for name, content in fields:
        click.echo(f"{click.style(name, bold=True)}: {content}")
    click.echo()
    for line in article_lines(octets):
        click.echo(line)


@contextmanager
def progress_bar(what: str) -> Generator[Callable[[int, int, str], object], None, None]:
    """Show how far something is, on a terminal: a function of done, total and a few words.

    A total of 0 is not known yet.
    """
    if not sys.stderr.isatty():
        yield lambda done, total, text: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(what, total=None, text="")

        def tell(done: int, total: int, text: str) -> None:
            bar.update(task, completed=done, total=total or None, text=escape(text))

        yield tell
