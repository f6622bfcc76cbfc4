"""``[admin]``: how a running node is operated."""

from __future__ import annotations

# At run time: msgspec resolves the annotations of Structs.
from pathlib import Path

from sennit.core.service.config import Listen, Table

__all__ = ["DEFAULT_SOCKET", "AdminConfig"]

DEFAULT_SOCKET = "run/admin.sock"
"""Where the admin socket is, seen from the configuration file, when it is not said."""


class AdminConfig(Table, kw_only=True, frozen=True):
    """How a running node is operated: ``[admin]``.

    Attributes:
        socket: Unix socket for commands such as `sennit status`; beside the
            configuration file when the path is relative.
        listen: Where /livez, /readyz and /metrics are served, as plain HTTP.
        metrics: Count connections, octets, turns and the like; without it only
            what is counted anyway is shown.
    """

    socket: Path = Path(DEFAULT_SOCKET)
    listen: list[Listen] = []
    metrics: bool = True

    def socket_in(self, folder: Path) -> Path:
        """Where the socket is, for a configuration file in `folder`."""
        return folder / self.socket
