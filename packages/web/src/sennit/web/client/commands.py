"""``sennit fetch``: the client on the command line.

The options are those that people know from curl, with its meanings and its exit
statuses, as far as they go. What differs: a file never holds an error page, and a
download that was interrupted goes on with ``--resume``.

Only options stand here; what is done with them stands in ``fetching.py``, which is
loaded when there is something to fetch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sennit.core.errors import MissingExtraError

try:
    import click
except ImportError as error:  # pragma: no cover - tested in a process without it
    raise MissingExtraError(__name__, "sennit-web", "service") from error

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["fetch"]

_STATUSES = """\b
Exit status, as curl has it:
   0  all went well         22  the server said no (4xx, 5xx; with -f, -o or -O)
   1  something else        23  the file could not be written
   2  a mistake in options  28  it took too long
   6  no such host          35  TLS failed (60: the certificate is not believed)
   7  nobody listens        47  too many redirects
  18  it came only in part  56  the connection was lost

\b
Example: sennit fetch -L https://example.com/
         sennit fetch -O --resume https://example.com/large.iso
         sennit fetch --json '{"name": "me"}' https://example.com/api
"""


def _together(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def apply(command: Any) -> Any:  # Any: click's decorators take and give what they like
        for option in reversed(options):
            command = option(command)
        return command

    return apply


_output = _together(
    click.option("-o", "--output", metavar="FILE", help="Write to FILE; - for standard output."),
    click.option(
        "-O", "--remote-name", is_flag=True, help="Write to a file named as the URL's last part."
    ),
    click.option(
        "--resume", is_flag=True, help="Go on with a file that an earlier --resume left unfinished."
    ),
    click.option("-i", "--include", is_flag=True, help="Show the head of the answer, too."),
    click.option("-I", "--head", is_flag=True, help="Ask for the head only (HEAD)."),
    click.option("-f", "--fail", is_flag=True, help="Show no error page; end with status 22."),
    click.option("-s", "--silent", is_flag=True, help="No progress, no messages."),
    click.option("-v", "--verbose", is_flag=True, help="Say what is sent and what comes back."),
)
_request = _together(
    click.option("-X", "--request", "method", metavar="METHOD", help="Instead of GET or POST."),
    click.option(
        "-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Send a header."
    ),
    click.option(
        "-d",
        "--data",
        multiple=True,
        metavar="TEXT",
        help="Send a form's fields; @FILE for a file as it is, @- for standard input.",
    ),
    click.option("--json", "json_", metavar="TEXT", help="Send JSON; @FILE for that of a file."),
    click.option(
        "-F",
        "--form",
        "forms",
        multiple=True,
        metavar="NAME=VALUE",
        help="Send a form; NAME=@FILE for a file in it, ;type=TYPE and ;filename=NAME behind.",
    ),
    click.option("-T", "--upload-file", metavar="FILE", help="Send a file (PUT); - for stdin."),
    click.option("-u", "--user", metavar="NAME[:PASSWORD]", help="Log in; asks for a password."),
    click.option("--digest", is_flag=True, help="Log in without sending the password."),
    click.option("-n", "--netrc", is_flag=True, help="Look logins up in ~/.netrc."),
    click.option(
        "-c", "--cookie-jar", metavar="FILE", help="Keep cookies in FILE (curl's format)."
    ),
    click.option("--compressed", is_flag=True, help="Ask for compressed content; unpack it."),
)
_way = _together(
    click.option(
        "-L",
        "--location",
        is_flag=True,
        help="Follow redirects. As with curl they are not followed without it.",
    ),
    click.option("--max-redirs", default=10, show_default=True, help="How many at most."),
    click.option("--http1.1", "http", flag_value="1.1", help="Speak HTTP/1.1 only."),
    click.option("--http2", "http", flag_value="2", help="Speak HTTP/2 where it is offered."),
    click.option(
        "--http2-prior-knowledge", "http", flag_value="prior", help="Speak HTTP/2 unasked."
    ),
    click.option(
        "-x", "--proxy", metavar="URL", help="Go through a proxy: http://, https://, socks5://."
    ),
    click.option("--noproxy", is_flag=True, help="Use no proxy, whatever the environment says."),
    click.option("--unix-socket", metavar="PATH", help="Connect to a Unix socket."),
    click.option("-k", "--insecure", is_flag=True, help="Believe every certificate."),
    click.option("--cacert", metavar="FILE", help="Believe the authorities in FILE."),
    click.option("-E", "--cert", metavar="FILE", help="Show this certificate."),
    click.option("--key", metavar="FILE", help="Its private key."),
    click.option("--retry", default=0, metavar="N", help="Try again, N times at most."),
    click.option("-m", "--max-time", type=float, metavar="SECONDS", help="For each transfer."),
    click.option(
        "--connect-timeout", default=10.0, metavar="SECONDS", show_default=True, help="To connect."
    ),
)


@click.command(
    "fetch",
    short_help="Fetch URLs, send files and forms",
    epilog=_STATUSES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.argument("urls", nargs=-1, required=True, metavar="URL…")
@_output
@_request
@_way
def fetch(urls: tuple[str, ...], **given: Any) -> int:
    """Fetch URLs, send files and forms.

    A URL without a scheme is one of http://. What comes back goes to standard
    output, or with -o and -O to a file, which appears whole or not at all.
    """
    from sennit.web.client.fetching import Options, fetch_all

    return fetch_all(urls, Options(**given))
