"""Names and passwords that a user keeps for clients: the file ``~/.netrc``.

The format is that of ftp(1), which most clients read: ``machine HOST login NAME password WORD``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.core.errors import UsageError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

__all__ = ["read_netrc"]


def read_netrc(
    path: str | os.PathLike[str] | None = None,
) -> Callable[[str], tuple[str, str] | None]:
    """Read a netrc file; give what tells name and password for a host.

    Args:
        path: The file; else what NETRC names, else ``~/.netrc``. One of those two
            that is not there says nothing.

    Raises:
        UsageError: The file is none, or others can read one that was not named.
        OSError: The file cannot be read.
    """
    import netrc
    import os
    from pathlib import Path

    given = path if path is not None else os.environ.get("NETRC")
    file = Path(given) if given else Path.home() / ".netrc"
    try:
        if path is None and os.name == "posix" and file.stat().st_mode & 0o077:
            raise UsageError(f"{file}: others can read it; chmod 600 it")
        known = netrc.netrc(str(file))
    except FileNotFoundError:
        if path is not None:
            raise
        return lambda host: None
    except netrc.NetrcParseError as error:
        raise UsageError(f"{file}: {error}") from error

    def login(host: str) -> tuple[str, str] | None:
        found = known.authenticators(host)
        return None if found is None else (found[0] or found[1] or "", found[2] or "")

    return login
