"""No text of a zone makes its entries raise anything but a presentation error."""

from __future__ import annotations

from sennit.names.codes import type_from_text
from sennit.names.errors import PresentationError
from sennit.names.name import Name
from sennit.names.presentation import Tokens, split, unescape
from sennit.names.rdata import parse_rdata

ORIGIN = Name("example.")
SEEDS = (
    b"@ SOA ns hostmaster ( 1 ; serial\n 2h 3m 4w 5 )\n  NS ns\nns A 192.0.2.1\n",
    b'a TXT "a\\"b" c\\032d "\\000"\na MX 10 mail\n',
    b'b HTTPS 1 . alpn="h2,h3" key667="hello\\210qoo"\n',
    b"c TYPE731 \\# 6 abcdef ( 01 23 45 )\n",
    b"d RRSIG A 8 2 60 20300101000000 20290101000000 1 example. AQID\nd NSEC e A TYPE1234\n",
)


def fuzz(data: bytes) -> None:
    """Take `data` as the lines of a zone: owner, type, data."""
    try:
        for entry in split(data.decode("utf-8", "replace").split("\n"), "zone"):
            assert entry.tokens
            assert entry.line > 0
            for token in entry.tokens:
                unescape(token.text)
            tokens = Tokens(entry.tokens, ORIGIN)
            if not entry.blank:
                tokens.name()
            rdtype = tokens.said(type_from_text)
            rdata = parse_rdata(rdtype, tokens)
            again = Tokens(next(iter(split([f"x {rdata}"]))).tokens, ORIGIN)
            again.name()
            assert str(parse_rdata(rdtype, again)) == str(rdata)
    except PresentationError as error:
        assert str(error)  # noqa: PT017 - no test
