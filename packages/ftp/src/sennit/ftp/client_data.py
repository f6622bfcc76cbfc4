"""The client's data connections: opened either way, perhaps over TLS, read or written.

`connect_passive` goes to the host of the control connection, whatever a reply says; `Expected`
listens for the server, and takes nobody who comes from elsewhere. TLS begins when the server has
said that the transfer begins, and offers the session of the control connection (RFC 4217 §10.2).

A transfer that stands still is ended: `DataConnection` looks now and then whether octets have
moved while it waited for the other end. How long the caller takes between two calls is his own
affair.

Sources: RFC 959 §3.2, §3.3; RFC 2428; RFC 2577 §5; RFC 4217 §8, §10.
Not here: the commands that make the server ready (``client.py``).
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from sennit.core.deferred import Deferred
from sennit.core.endpoint.connect import connect
from sennit.core.errors import ConnectionLost
from sennit.core.policy.timeouts import output_mark
from sennit.core.reactor.base import current_reactor
from sennit.core.stream import StreamProtocol
from sennit.ftp.progress import ProgressWatch

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import IO

    from sennit.core.address import Address
    from sennit.core.endpoint.tunnel import Via
    from sennit.core.interfaces import Buffer, IListener
    from sennit.core.stream import Stream
    from sennit.core.transport.tls import ClientTLS

__all__ = ["BATCH", "DataConnection", "Expected", "Transfer", "connect_passive"]

BATCH: Final = 1024 * 1024
"""Octets that are read, written to a file or sent from one at a time."""
_CLOSING: Final = 5.0
"""Seconds that the end of a connection may take of which all has been used."""


class DataConnection:
    """One data connection.

    Args:
        stream: Connected.
        progress: Seconds that it may stand still.
    """

    def __init__(self, stream: Stream, progress: float) -> None:
        self.stream = stream
        self._moved = 0  # octets
        self._watch = ProgressWatch(
            current_reactor(),
            progress,
            lambda: (self._moved, output_mark(stream.transport)),
            lambda: stream.abort("idle"),
        )
        self._watch.excused = True  # nobody waits for the other end yet

    async def start_tls(self, tls: ClientTLS, server_hostname: str, timeout: float) -> None:
        """Talk TLS from here on.

        Raises:
            TLSError: The handshake failed.
            ProtocolError: The server has sent in clear.
        """
        await self.stream.start_tls(tls, server_hostname=server_hostname, handshake_timeout=timeout)

    async def receive(self, octets: int = BATCH) -> bytes:
        """The next octets; nothing at the end.

        Raises:
            ConnectionLost: It broke, or stood still for too long (reason ``idle``).
        """
        with self._watched():
            data = await self.stream.receive_some(octets)
        self._moved += len(data)
        return data

    async def send(self, data: Buffer) -> None:
        """Send octets.

        Raises:
            ConnectionLost: As for `receive`.
        """
        with self._watched():
            await self.stream.send_all(data)
        self._moved += len(data)

    async def send_file(self, file: IO[bytes], offset: int, octets: int) -> int:
        """Send a piece of a file; how much of it there was.

        Raises:
            ConnectionLost: As for `receive`.
        """
        with self._watched():
            sent = await self.stream.send_file(file, offset, octets)
        self._moved += sent
        return sent

    async def end_sending(self) -> None:
        """Say that this was all, which to the server is the end of the file.

        The connection stands until the server has confirmed: whoever closes before has it reset
        if anything came meanwhile, the tickets of TLS 1.3 say, and what had not arrived is lost.
        """
        await self.stream.send_eof()

    @property
    def lost(self) -> str | None:
        """How the connection ended, if that was not this side's doing."""
        return self.stream.close_reason

    async def close(self) -> None:
        """It is not needed any more."""
        self._watch.stop()
        await self.stream.aclose(timeout=_CLOSING)

    def abort(self) -> None:
        """Close now: to a server that receives, a connection that is reset is no end of a file."""
        self._watch.stop()
        self.stream.abort()

    @contextmanager
    def _watched(self) -> Generator[None, None, None]:
        """Wait for the other end, which is not to blame for how long that took to come to."""
        watch = self._watch
        watch.forgive()
        watch.excused = False
        try:
            yield
        finally:
            watch.excused = True


class Transfer:
    """A transfer under way.

    Attributes:
        data: The data connection.
        octets: How many have been received.
        finished: Whether the other end has sent all.
        cut: Whether TLS ended without its end: only a size that fits makes such a file whole.
    """

    def __init__(self, data: DataConnection) -> None:
        self.data = data
        self.octets = 0
        self.finished = False
        self.cut = False

    async def receive(self) -> bytes:
        """The next octets; nothing at the end."""
        try:
            octets = await self.data.receive()
        except ConnectionLost as error:
            if error.reason != "truncated":
                raise
            self.cut = True
            octets = b""
        self.octets += len(octets)
        self.finished = not octets
        return octets


_receiving = partial(StreamProtocol, receive_buffer=BATCH)


async def connect_passive(
    host: str, port: int, *, timeout: float, progress: float, via: Via | None = None
) -> DataConnection:
    """Connect to where the server listens.

    Args:
        host: That of the control connection.
        port: That of the server's reply.
        timeout: Seconds until the connection stands.
        progress: Seconds that it may stand still.
        via: The proxies that the control connection goes through.

    Raises:
        ConnectError: It cannot be reached.
    """
    shown = f"[{host}]" if ":" in host else host
    protocol = await connect(f"tcp://{shown}:{port}", _receiving, timeout=timeout, via=via)
    return DataConnection(protocol.stream, progress)


class Expected:
    """A port at which the server is to connect: active mode.

    Args:
        server: The address that it must come from.

    Attributes:
        port: The port, once `listen` is done.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._listener: IListener | None = None
        self._came: Deferred[Stream] = Deferred()
        self.port = 0

    async def listen(self, host: str) -> None:
        """Listen at an address of this end.

        Raises:
            OSError: It cannot be.
        """
        self._listener = listener = await current_reactor().listen_tcp(self, 0, host)
        self.port = listener.port

    def build_protocol(self, peer: Address | None) -> StreamProtocol | None:
        """Take the first connection of the server, and nobody else's (RFC 2577 §5)."""
        if self._came.fired or getattr(peer, "host", None) != self._server:
            return None
        return _Accepted(self._came)

    async def accepted(self, progress: float) -> DataConnection:
        """The server's connection, once it has come."""
        try:
            stream = await self._came
        finally:
            self.close()
        return DataConnection(stream, progress)

    def close(self) -> None:
        """Listen no more; harmless when it was closed."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()


class _Accepted(StreamProtocol):
    """The protocol of a connection that came.

    Args:
        came: Fires with its stream.
    """

    def __init__(self, came: Deferred[Stream]) -> None:
        super().__init__(receive_buffer=BATCH)
        self._told = came

    def connection_made(self, transport: Any) -> None:
        """The first of them is taken."""
        super().connection_made(transport)
        if self._told.fired:
            transport.abort()
        else:
            self._told.callback(self.stream)
