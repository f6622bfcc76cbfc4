"""Server CPU of transfers: ours, vsftpd, pyftpdlib and Twisted, plain and over TLS."""

from __future__ import annotations

from ftp_load import LARGE, SMALL, TransferLoad
from ftp_servers import run, table

RETR = table("ftp-retr", TransferLoad("RETR", amount=LARGE))
RETR.at_most("sennit", 1.2, of="vsftpd")
STOR = table("ftp-stor", TransferLoad("STOR", amount=LARGE), stores=True)
RETR_TLS = table("ftp-retr-tls", TransferLoad("RETR", tls=True, amount=LARGE), tls=True)
STOR_TLS = table("ftp-stor-tls", TransferLoad("STOR", tls=True, amount=LARGE), tls=True)
GET = table("ftp-get-small", TransferLoad("RETR", small=True, amount=SMALL))
PUT = table("ftp-put-small", TransferLoad("STOR", small=True, amount=SMALL), stores=True)
SECRET_GETS = TransferLoad("RETR", small=True, tls=True, amount=SMALL // 2)
GET_TLS = table("ftp-get-small-tls", SECRET_GETS, tls=True)
SECRET_PUTS = TransferLoad("STOR", small=True, tls=True, amount=SMALL // 2)
PUT_TLS = table("ftp-put-small-tls", SECRET_PUTS, tls=True)

if __name__ == "__main__":
    run(RETR, STOR, RETR_TLS, STOR_TLS, GET, PUT, GET_TLS, PUT_TLS)
