"""Server CPU of listing a directory of 10 000 files: LIST, and MLSD where there is one."""

from __future__ import annotations

from ftp_load import ListingLoad
from ftp_servers import run, table

MANY = 10_000

LIST = table("ftp-list", ListingLoad("LIST", MANY))
MLSD = table("ftp-mlsd", ListingLoad("MLSD", MANY), twisted=False, vsftpd=False)

if __name__ == "__main__":
    run(LIST, MLSD, many=MANY)
