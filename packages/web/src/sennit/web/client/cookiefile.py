"""Cookies in a text file: the tab-separated lines that curl and wget read and write.

One cookie a line: domain, whether hosts below it get it too, path, whether only over
TLS, the second since the epoch when it ends (0 for with the session), name, value;
``#HttpOnly_`` before the domain where scripts must not see it. SameSite and the time
of creation have no place in it.

Source: curl's documentation of cookie files (docs/HTTP-COOKIES).
"""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Final

from sennit.web.client.cookies import Cookie
from sennit.web.client.saving import destination, is_special

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["read_cookies", "write_cookies"]

_HEAD: Final = b"# Netscape HTTP Cookie File\n# Written by Sennit; curl and wget read it too.\n\n"
_HTTP_ONLY: Final = b"#HttpOnly_"
_MAX_FILE: Final = 32 * 1024 * 1024


def write_cookies(path: str | os.PathLike[str], cookies: Iterable[Cookie]) -> None:
    """Write cookies to a file that appears whole or not at all, for its owner alone.

    A value with a tab in it cannot be written, and is left out. Where a link leads to is
    replaced and not the link; a device (``/dev/null``, for a jar that nobody keeps) is written to.
    """
    lines = [_HEAD]
    for each in cookies:
        fields = (
            (b"" if each.host_only else b".") + each.domain.encode("ascii"),
            b"FALSE" if each.host_only else b"TRUE",
            each.path.encode("latin-1"),
            b"TRUE" if each.secure else b"FALSE",
            b"%d" % (0 if each.expires is None else int(each.expires)),
            each.name,
            each.value,
        )
        if not any(b"\t" in field for field in fields):
            lines.append((_HTTP_ONLY if each.http_only else b"") + b"\t".join(fields) + b"\n")
    target = destination(path)
    if is_special(target):
        with open(target, "wb") as device:
            device.writelines(lines)
        return
    # mkstemp's files are for their owner alone.
    fd, name = tempfile.mkstemp(dir=os.path.dirname(target) or ".", prefix=".cookies-")
    try:
        with os.fdopen(fd, "wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def read_cookies(path: str | os.PathLike[str]) -> list[Cookie]:
    """Read such a file; lines that are no cookie are passed over.

    Raises:
        OSError: It cannot be read.
        ValueError: There are lines in it and none of them is a cookie, or it is too large.
    """
    with open(path, "rb") as file:
        text = file.read(_MAX_FILE + 1)
    if len(text) > _MAX_FILE:
        raise ValueError(f"{os.fspath(path)!r} is too large to be a file of cookies")
    found: list[Cookie] = []
    odd = 0
    for line in text.split(b"\n"):
        line = line.rstrip(b"\r")
        http_only = line.startswith(_HTTP_ONLY)
        if http_only:
            line = line[len(_HTTP_ONLY) :]
        elif not line or line.startswith(b"#"):
            continue
        cookie = _read_line(line, http_only)
        if cookie is None:
            odd += 1
        else:
            found.append(cookie)
    if odd and not found:
        raise ValueError(f"{os.fspath(path)!r} is no file of cookies")
    return found


def _read_line(line: bytes, http_only: bool) -> Cookie | None:
    fields = line.split(b"\t")
    if len(fields) == 6:
        fields.append(b"")  # curl leaves an empty value out
    if len(fields) != 7 or any(octet < 32 or octet == 127 for octet in b"".join(fields)):
        return None
    domain, below, path, secure, expires, name, value = fields
    try:
        host = domain.decode("ascii").removeprefix(".").lower()
        end = int(expires)
    except ValueError:
        return None
    if not host or not path.startswith(b"/") or b";" in name + value or b"=" in name:
        return None
    return Cookie(
        name,
        value,
        host,
        path.decode("latin-1"),
        host_only=below.upper() != b"TRUE",
        expires=float(end) if end > 0 else None,
        secure=secure.upper() == b"TRUE",
        http_only=http_only,
    )
