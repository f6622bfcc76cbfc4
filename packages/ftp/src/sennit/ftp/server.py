"""The server's side of a connection: the engine on whatever transport turns up."""

from __future__ import annotations

from sennit.core.driver import EngineProtocol, handles
from sennit.core.interfaces import adapt
from sennit.core.policy.timeouts import Timeouts
from sennit.ftp.engine import ServerEngine
from sennit.ftp.events import KeyAsked, ServerEvent
from sennit.ftp.interfaces import IDirectory
from sennit.ftp.limits import Limits

__all__ = ["FTPServerFactory", "FTPServerProtocol"]


class FTPServerProtocol(EngineProtocol[ServerEngine, ServerEvent]):
    """One connection: what is asked goes to the directory, its answer to the engine.

    Args:
        directory: Knows what there is.
        limits: What the connection is allowed.
    """

    def __init__(self, directory: IDirectory, limits: Limits | None = None) -> None:
        super().__init__(ServerEngine(limits))
        self._directory = directory

    @handles(KeyAsked)
    async def look_up(self, event: KeyAsked) -> None:
        """Ask the directory."""
        value = await self._directory.lookup(event.key)
        if value is None:
            self.engine.reject_key(b"nothing of that name")
        else:
            self.engine.accept_key(value)


class FTPServerFactory:
    """Builds a protocol per connection.

    Args:
        directory: Knows what there is; anything that adapts to `IDirectory`.
        limits: What each connection is allowed.
    """

    def __init__(self, directory: object, limits: Limits | None = None) -> None:
        self._directory = adapt(IDirectory, directory)
        self._limits = Limits() if limits is None else limits

    def build_protocol(self, peer: object) -> Timeouts:
        """Build one for a new connection, that does not wait for ever."""
        protocol = FTPServerProtocol(self._directory, self._limits)
        return Timeouts(protocol, idle=self._limits.idle)
