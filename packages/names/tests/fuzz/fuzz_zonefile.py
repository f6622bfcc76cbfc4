"""No octets make the reader of zone files raise anything but errors of zones."""

from __future__ import annotations

from contextlib import suppress

from sennit.names.errors import ZoneError
from sennit.names.zone.check import check_zone
from sennit.names.zone.writer import zone_lines
from sennit.names.zone.zonefile import ZoneReader

_HEAD = "@ 60 SOA a b 1 1 1 1 1\n@ 60 NS a\n"

SEEDS = (
    b'$TTL 5\na A 192.0.2.1\n  TXT "x" ( y ; z\n )\n',
    b"$GENERATE 1-3/2 h${0,3,x} CNAME $.b\n*.w MX 1 a\n",
    b"$ORIGIN sub\n@ NS ns\nns AAAA ::1\nx TYPE65400 \\# 1 00\n",
    b"s SRV 1 2 3 t\nd DNAME e\n\\$x\\046 1h IN TXT \\200\n$INCLUDE x\n",
)


def fuzz(data: bytes) -> None:
    """Read `data` as the rest of a zone; what is one is written, and read as the same."""
    reader = ZoneReader("f.example.", most_generated=100, allow_include=False)
    with suppress(ZoneError):
        reader.read_lines(_HEAD.splitlines())
        reader.read_lines(data.decode("utf-8", "surrogateescape").splitlines(keepends=True))
        zone = reader.finish()
        check_zone(zone)
        again = ZoneReader("f.example.")
        again.read_lines(zone_lines(zone))
        assert again.finish() == zone
