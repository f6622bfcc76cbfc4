"""The commands a server knows: what they are called, what they want, who may give them.

A table, which the engine looks words up in and HELP reads out. What each does stands in
``engine.py``.

Sources: RFC 959 §5.3.1, RFC 1123 §4.1.3.1 (X forms), and those named beside their commands.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["ALIASES", "SITE_VERBS", "VERBS", "Verb"]


class Verb(NamedTuple):
    """One command.

    Attributes:
        syntax: Its argument, as HELP tells it.
        login: Whether only who has logged in may give it.
        least: Whether it must have an argument.
        most: Whether it may have one.
    """

    syntax: str = ""
    login: bool = True
    least: bool = False
    most: bool = False


def _bare(*, login: bool = True) -> Verb:
    return Verb("", login)


def _needs(syntax: str, *, login: bool = True) -> Verb:
    return Verb(syntax, login, least=True, most=True)


def _may(syntax: str, *, login: bool = True) -> Verb:
    return Verb(f"[{syntax}]", login, most=True)


VERBS: Final[dict[str, Verb]] = {
    "ABOR": _bare(login=False),
    "ACCT": _needs("account", login=False),
    "ALLO": _needs("octets"),
    "APPE": _needs("path"),
    "AUTH": _needs("TLS", login=False),  # RFC 4217
    "CCC": _bare(login=False),  # RFC 4217 §12.3
    "CDUP": _bare(),
    "CLNT": _may("program", login=False),
    "CWD": _needs("path"),
    "DELE": _needs("path"),
    "EPRT": _needs("|family|address|port|"),  # RFC 2428
    "EPSV": _may("family|ALL"),
    "FEAT": _bare(login=False),  # RFC 2389
    "HASH": _needs("path"),  # draft-bryan-ftpext-hash
    "HELP": _may("command", login=False),
    "HOST": _needs("name", login=False),  # RFC 7151
    "LANG": _may("language", login=False),  # RFC 2640
    "LIST": _may("path"),
    "MDTM": _needs("path"),  # RFC 3659
    "MFMT": _needs("YYYYMMDDHHMMSS path"),  # draft-somers-ftp-mfxx
    "MKD": _needs("path"),
    "MLSD": _may("path"),
    "MLST": _may("path"),
    "MODE": _needs("S"),
    "NLST": _may("path"),
    "NOOP": _bare(login=False),
    "OPTS": _needs("command [option]", login=False),
    "PASS": _may("password", login=False),
    "PASV": _bare(),
    "PBSZ": _needs("0", login=False),
    "PORT": _needs("h1,h2,h3,h4,p1,p2"),
    "PROT": _needs("C|P", login=False),
    "PWD": _bare(),
    "QUIT": _bare(login=False),
    "RANG": _needs("first last"),  # draft-bryan-ftp-range
    "REIN": _bare(login=False),
    "REST": _needs("octet"),
    "RETR": _needs("path"),
    "RMD": _needs("path"),
    "RNFR": _needs("path"),
    "RNTO": _needs("path"),
    "SITE": _needs("command"),
    "SIZE": _needs("path"),
    "SMNT": _needs("path"),
    "STAT": _may("path", login=False),
    "STOR": _needs("path"),
    "STOU": _may("path"),
    "STRU": _needs("F"),
    "SYST": _bare(login=False),
    "TYPE": _needs("A|I|L 8"),
    "USER": _needs("name", login=False),
}
"""All of them, by their words."""

ALIASES: Final = {"XCUP": "CDUP", "XCWD": "CWD", "XMKD": "MKD", "XPWD": "PWD", "XRMD": "RMD"}
"""Words of RFC 775, which RFC 1123 §4.1.3.1 has servers know."""

SITE_VERBS: Final = {"CHMOD": "mode path", "HELP": ""}
"""What stands behind SITE."""
