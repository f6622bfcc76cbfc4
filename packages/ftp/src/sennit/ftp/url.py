"""URLs of FTP, taken apart.

``ftp://user:password@host:port/path`` is in clear unless the program says otherwise, ``ftps://``
has TLS from the first octet, ``ftpes://`` begins it by AUTH TLS.

A path is relative to where the login leads; ``//path`` or ``/%2Fpath`` begins at the root (RFC
1738 §3.2.2). A password never shows in what people or logs see of a URL.

Sources: RFC 1738 §3.2, RFC 3986 §2.1, §3.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from sennit.ftp.errors import FTPUsageError

if TYPE_CHECKING:
    from typing import Literal

__all__ = ["FTPURL", "parse_url"]

_URL: Final = re.compile(
    r"(ftp|ftps|ftpes)://"
    r"(?:([^@/]*)@)?"
    r"(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([^\s\[\]:/?#@]+))"
    r"(?::([0-9]{1,5}))?"
    r"(?:/(.*))?",
    re.IGNORECASE | re.DOTALL,
)
_TYPE: Final = re.compile(r";type=([aidAID])\Z")
_BROKEN: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class FTPURL:
    """A URL, taken apart.

    Attributes:
        scheme: ``ftp``, ``ftps`` or ``ftpes``.
        host: Name or address, without brackets.
        port: 21, or 990 for ``ftps``, where the URL says none.
        user: ``None`` where the URL says none.
        password: Likewise; no representation shows it.
        path: Decoded; without the slash that separates it from the host.
        type: ``a``, ``i`` or ``d`` of ``;type=``; empty without it.
    """

    scheme: Literal["ftp", "ftps", "ftpes"]
    host: str
    port: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    path: str = ""
    type: str = ""

    def __str__(self) -> str:
        """The URL without its password, fit to be shown."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _default_port(self.scheme) else f":{self.port}"
        user = "" if self.user is None else f"{quote(self.user, safe='')}@"
        path = quote(self.path, safe="/", errors="surrogateescape")
        return f"{self.scheme}://{user}{host}{port}/{path}"


def _default_port(scheme: str) -> int:
    return 990 if scheme == "ftps" else 21


def parse_url(text: str) -> FTPURL:
    """Take a URL apart.

    Raises:
        FTPUsageError: It is none of FTP's, or holds CR, LF or NUL, encoded or not.
    """
    match = _URL.fullmatch(text)
    if match is None:
        # Its text may hold a password, so it is not quoted.
        raise FTPUsageError("no URL of FTP: ftp://[USER[:PASSWORD]@]HOST[:PORT]/[PATH]")
    scheme = match[1].lower()
    host, path = match[3] or match[4], match[6] or ""
    kind = _TYPE.search(path)
    if kind is not None:
        path = path[: kind.start()]
    port = int(match[5]) if match[5] else _default_port(scheme)
    if not 0 < port < 65536:
        raise FTPUsageError(f"a port is a number from 1 to 65535, not {port}")
    user, colon, password = (match[2] or "").partition(":")
    return FTPURL(
        scheme,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # the expression has it so
        host,
        port,
        _decode(user, "user") if match[2] is not None else None,
        _decode(password, "password") if colon else None,
        _decode(path, "path"),
        kind[1].lower() if kind else "",
    )


def _decode(text: str, what: str) -> str:
    if _BROKEN.search(text) is not None:
        raise FTPUsageError(f"the URL's {what} has a % that begins no octet; write %25")
    decoded = unquote(text, errors="surrogateescape")
    if any(each in decoded for each in "\r\n\0"):
        raise FTPUsageError(f"the URL's {what} holds CR, LF or NUL")
    return decoded
