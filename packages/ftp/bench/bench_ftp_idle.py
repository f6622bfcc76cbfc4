"""Memory of a session that has logged in and says nothing more, plain and over TLS.

So many that what the interpreter freed after its start does not hide what they take; vsftpd has
two processes for each, 230 KB plain and 670 KB with TLS.
"""

from __future__ import annotations

from ftp_load import IdleLoad
from ftp_servers import run, table

PLAIN = table("ftp-idle", IdleLoad(4000), vsftpd=False, measure="memory")
PLAIN.at_most_value("sennit", 12 * 1024)
TLS = table("ftp-idle-tls", IdleLoad(1000, tls=True), vsftpd=False, tls=True, measure="memory")
TLS.at_most_value("sennit", 70 * 1024)

if __name__ == "__main__":
    run(PLAIN, TLS)
