"""Where programs of others lie that are unpacked, not installed: servers in each other's way.

``.ci/run`` unpacks them, each into a folder of its own below ``$SENNIT_PEERS`` (when that is not
set: ``sennit/peers`` in the user's cache folder).
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["unpacked"]


def unpacked(package: str, program: str) -> Path | None:
    """Find a program of an unpacked package, such as ``usr/sbin/vsftpd`` of ``vsftpd``."""
    caches = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(os.environ.get("SENNIT_PEERS") or Path(caches, "sennit", "peers"))
    path = folder / package / program
    return path if path.is_file() else None
