"""No octets make the reader of listings raise, and where they are cut changes nothing."""

from __future__ import annotations

from sennit.ftp.listing import DEFAULT_FACTS, fact_lines, is_speakable, list_lines
from sennit.ftp.listing_reader import ListingReader

NOW = 1_772_366_400.0

SEEDS = (
    b"total 4\r\n-rw-r--r--   1 ftp ftp  12 Nov 28 20:17 a b\r\n",
    b"lrwxrwxrwx 1 r r 1 Jan  1  2020 l -> x\n- [RW] me 5 Jan 16 18:53   x\n",
    b"crw-rw-rw-+ 1 root root 1, 3 2020-01-02 03:04:05.000 +0100 null\n",
    b"02-11-20  10:15AM       <DIR>          d\r\n2020-02-11  22:15   12,345 f\r\n",
    b"+i8388621.48594,m825718503,r,s280,\tdjb.html\r\n+/,up755,\td\r\n",
    b"type=file;size=5;modify=20200102030405.6;perm=adfrw;unique=1g2;UNIX.mode=0644; a b\r\n",
    b"type=cdir; .\r\ntype=OS.unix=slink:/x; l\r\n no facts\r\n",
)


def fuzz(data: bytes) -> None:
    """Read `data` whole and cut; what was read can be written, and is read as the same."""
    for facts in (False, True):
        whole, cut = ListingReader(NOW, facts=facts), ListingReader(NOW, facts=facts)
        entries = whole.receive_data(data) + whole.finish()
        pieces = [data[at : at + 7] for at in range(0, len(data), 7)]
        again = [entry for piece in pieces for entry in cut.receive_data(piece)] + cut.finish()
        assert [each.name for each in entries] == [each.name for each in again]
        assert whole.skipped == cut.skipped
        assert not any("/" in each.name or each.name in {"", ".", ".."} for each in entries)
        told = [each for each in entries if is_speakable(each.name) and each.kind != "link"]
        list_lines(entries, NOW)
        back = ListingReader(NOW, facts=True).receive_data(fact_lines(told, DEFAULT_FACTS))
        assert [(each.name, each.kind) for each in back] == [(e.name, e.kind) for e in told]
