"""``sennit ftp``: files of FTP servers on the command line.

Only options stand here; what is done with them stands in ``command_runs.py``, which is loaded
when there is something to do. ``sennit ftp serve`` is the runner's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sennit.core.errors import MissingExtraError

try:
    import click
except ImportError as error:  # pragma: no cover - tested in a process without it
    raise MissingExtraError(__name__, "sennit-ftp", "service") from error

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ftp"]

_ABOUT = """\b
URLs: ftp://[USER[:PASSWORD]@]HOST[:PORT]/PATH, ftps:// for TLS from the first octet,
      ftpes:// (or --tls) for TLS by AUTH TLS. PATH begins where the login leads, //PATH
      at the root. A password that is missing is looked up in ~/.netrc, then asked for.

\b
Exit status:
   0  all went well            3  no connection, or it was lost
   1  the server said no       4  TLS: no, or not believed
   2  a mistake in options     5  a file here   6  a mirror is not complete
"""


@click.group(epilog=_ABOUT)
def ftp() -> None:
    """Fetch, send, list and mirror files of FTP servers."""


def _connection(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that all commands have. (`Any`: click's decorators give what they like.)"""
    for option in reversed(
        (
            click.option("--tls", is_flag=True, help="TLS by AUTH TLS, or not at all."),
            click.option("--insecure", is_flag=True, help="Believe every certificate."),
            click.option("--ca", metavar="FILE", help="Believe the authorities in FILE."),
            click.option("--active", is_flag=True, help="Have the server open data connections."),
            click.option("--account", metavar="NAME", help="For servers that ask for one."),
            click.option("--proxy", metavar="URL", help="Such as socks5://127.0.0.1:1080."),
            click.option("-q", "--quiet", is_flag=True, help="No progress, no messages."),
        )
    ):
        command = option(command)
    return command


_resume = click.option("--resume", is_flag=True, help="Go on behind what the server has.")
_ascii = click.option("--ascii", is_flag=True, help="Translate ends of lines (type A).")
_check = click.option(
    "--check",
    type=click.Choice(["sha-256", "sha-512", "sha-1", "md5"]),
    help="Compare hashes afterwards, where the server can.",
)


@ftp.command(epilog="Example: sennit ftp get --resume ftp://ftp.example/pub/large.iso")
@click.argument("url")
@click.argument("local", required=False)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with NAME.part, which stays when a try fails; without that with NAME, as other "
    "programs left it, unless it is longer or older than the server's file.",
)
@_ascii
@_check
@_connection
def get(url: str, local: str | None, **options: Any) -> int:
    """Fetch a file, to LOCAL or under its own name; - for standard output."""
    from sennit.ftp.command_runs import Options, run_get

    return run_get(url, local, Options(**options))


@ftp.command(epilog="Example: sennit ftp put report.pdf ftpes://me@files.example/inbox/")
@click.argument("local")
@click.argument("url")
@_resume
@_ascii
@_check
@_connection
def put(local: str, url: str, **options: Any) -> int:
    """Send a file; to a URL that ends in / under its own name. - is standard input."""
    from sennit.ftp.command_runs import Options, run_put

    return run_put(local, url, Options(**options))


@ftp.command("ls", epilog="Example: sennit ftp ls --json ftp://ftp.example/pub/")
@click.argument("url")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@_connection
def list_(url: str, **options: Any) -> int:
    """List a directory, or a file."""
    from sennit.ftp.command_runs import Options, run_ls

    return run_ls(url, Options(**options))


@ftp.command(epilog="Example: sennit ftp mirror --delete ftps://me@files.example/site site")
@click.argument("source")
@click.argument("target")
@click.option("--parallel", default=4, show_default=True, help="Files side by side.")
@click.option("--delete", is_flag=True, help="Remove what SOURCE does not have.")
@click.option(
    "--retries", default=3, show_default=True, help="Further tries of what may work later."
)
@_connection
def mirror(source: str, target: str, **options: Any) -> int:
    """Make TARGET like SOURCE, one of which is a URL; only what has changed is moved."""
    from sennit.ftp.command_runs import Options, run_mirror

    return run_mirror(source, target, Options(**options))


@ftp.command(epilog="Example: sennit ftp rm ftp://me@files.example/old.txt")
@click.argument("url")
@click.option("-d", "--directory", is_flag=True, help="An empty directory, not a file.")
@_connection
def rm(url: str, **options: Any) -> int:
    """Remove a file."""
    from sennit.ftp.command_runs import Options, run_rm

    return run_rm(url, Options(**options))


@ftp.command(epilog="Example: sennit ftp mkdir ftp://me@files.example/new")
@click.argument("url")
@_connection
def mkdir(url: str, **options: Any) -> int:
    """Make a directory."""
    from sennit.ftp.command_runs import Options, run_mkdir

    return run_mkdir(url, Options(**options))
