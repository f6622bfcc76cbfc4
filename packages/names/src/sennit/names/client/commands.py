"""``sennit dig``: questions on the command line, with dig's words.

Only the help stands here; arguments are read in ``digging.py``, and asked in ``digrun.py``, which
are loaded when there is something to ask.
"""

from __future__ import annotations

from sennit.core.errors import MissingExtraError

try:
    import click
except ImportError as error:  # pragma: no cover - tested in a process without it
    raise MissingExtraError(__name__, "sennit-names", "service") from error

__all__ = ["dig"]

_HELP = """\b
Where to, and what (dashes and pluses as in dig(1)):
  @SERVER     address, name, or URL: @9.9.9.9, @tls://9.9.9.9#dns.quad9.net,
              @https://dns.example/dns-query; else the servers of resolv.conf
  -x ADDRESS  the name of an address          -p PORT     port
  -t TYPE     type, also ixfr=SERIAL          -b ADDRESS  address to ask from
  -c CLASS    class                           -4, -6      one family alone
  -q NAME     name, where it looks like a type
  -y KEY      sign with hmac-sha256:name:base64 (TSIG); -k FILE reads it

\b
How it is asked:
  +tcp +tls +https[=PATH] +https-get   transports     +tls-ca[=FILE] +tls-hostname=NAME
  +dnssec +cd +noedns +bufsize=N +nsid +subnet=NET    +cookie[=HEX] +nocookie +padding=N
  +ednsopt=CODE[:HEX] +keepalive +expire              +norecurse +noadflag +aaflag +opcode=N
  +time=SECONDS +tries=N +retry=N +ignore +keepopen   +search +ndots=N +nofail +nobadcookie
  +trace      from the root's servers, as SERVER knows them, to the answer
  +validate   check signatures (DNSSEC); +anchor=FILE for other anchors than the root's

\b
How it is shown:
  +short +json +multiline +noall +answer +authority +additional +question +comments
  +ttlid +ttlunits +class +stats +cmd +qr +identify +onesoa; +no… for each

\b
Exit status, as dig has it:
  0 an answer, whatever it says   1 a mistake in the arguments
  9 no answer                     8 a file cannot be read   10 a fault of this program

\b
Examples: sennit dig example.org mx +short
          sennit dig @192.0.2.53 example.org axfr
          sennit dig @tls://9.9.9.9#dns.quad9.net www.example.org https +json
          sennit dig -x 192.0.2.7 +trace
"""


@click.command(
    "dig",
    short_help="Ask name servers, with dig's words",
    epilog=_HELP,
    context_settings={
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
        "max_content_width": 100,
    },
)
@click.argument(
    "arguments", nargs=-1, type=click.UNPROCESSED, metavar="[@SERVER] NAME [TYPE] [+OPTION]…"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON (RFC 8427), as +json does.")
def dig(arguments: tuple[str, ...], as_json: bool) -> int:
    """Ask name servers, with dig's words.

    Several questions may stand one after the other, each with options of its own.
    """
    from sennit.core.reactor.base import run
    from sennit.names.client.digging import parse_arguments
    from sennit.names.client.digrun import Digger
    from sennit.names.errors import DNSUsageError

    words = [each for each in arguments if each != "--json"]
    if as_json or len(words) != len(arguments):
        words.insert(0, "+json")
    try:
        queries = parse_arguments(words)
    except DNSUsageError as error:
        click.echo(f"sennit dig: {error}", err=True)
        return 1
    except OSError as error:
        click.echo(f"sennit dig: {error.filename}: {error.strerror}", err=True)
        return 8

    async def main(reactor: object) -> int:
        del reactor  # the running one, which all below finds
        return await Digger(click.echo, arguments).run(queries)

    return run(main)
