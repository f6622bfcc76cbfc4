"""Convenience bases for protocols, and what turns a callable into a factory.

A protocol needs no base at all: any object with asyncio's method names will do
(`sennit.core.interfaces.IStreamProtocol`). `Protocol` saves writing the five
that one seldom needs, and remembers its transport.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from sennit.core.address import Address
    from sennit.core.datagram_interfaces import (
        IDatagramProtocol,
        IDatagramProtocolFactory,
        IDatagramTransport,
    )
    from sennit.core.interfaces import (
        IProcessTransport,
        IProtocolFactory,
        IStreamProtocol,
        IStreamTransport,
    )
    from sennit.core.transport.reaping import ProcessStatus

    DatagramFactory: TypeAlias = IDatagramProtocolFactory | Callable[[], IDatagramProtocol]
    ProtocolFactory: TypeAlias = IProtocolFactory | Callable[[], IStreamProtocol]

__all__ = [
    "DatagramProtocol",
    "ProcessProtocol",
    "Protocol",
    "adapt_datagram_factory",
    "adapt_factory",
]


class Protocol:
    """A stream protocol that does nothing yet.

    Attributes:
        transport: The transport, from `connection_made` on.
    """

    transport: IStreamTransport

    def connection_made(self, transport: IStreamTransport) -> None:
        """The connection stands; octets may be written from now on."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Octets have come, in order, cut anywhere."""

    def eof_received(self) -> bool | None:
        """The peer will send no more.

        Returns:
            True to keep the way out open (half-close), else the transport closes
            once all that was written has left.
        """
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has gone; called once, last.

        Args:
            exc: Why, or ``None`` when it was closed in good order.
        """

    def pause_writing(self) -> None:
        """More waits to be sent than the high-water mark; a producer should pause."""

    def resume_writing(self) -> None:
        """The way out is below the low-water mark again."""


class ProcessProtocol:
    """What a child process is told of, and tells; this one does nothing yet.

    Descriptors are the child's numbers: 0 its standard input, 1 its standard
    output, 2 its standard error.

    Attributes:
        transport: The process, from `connection_made` on.
    """

    transport: IProcessTransport

    def connection_made(self, transport: IProcessTransport) -> None:
        """The program runs; nothing of what it says has been read yet."""
        self.transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """The child has written octets to its descriptor `fd`, cut anywhere."""

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """The pipe at the child's descriptor `fd` is closed; called once for each.

        Args:
            fd: The child's number of it.
            exc: Why, or ``None`` when it was closed in good order.
        """

    def pause_writing(self, fd: int) -> None:
        """More waits to be read by the child at `fd` than the high-water mark."""

    def resume_writing(self, fd: int) -> None:
        """There is room again."""

    def process_exited(self, status: ProcessStatus) -> None:
        """The process is gone; what it wrote last may still be on its way. Called once."""

    def process_ended(self, status: ProcessStatus) -> None:
        """The process is gone and so are its pipes: the last call, made once.

        When another process holds a pipe open (a grandchild), it is closed five
        seconds after the exit.
        """


class DatagramProtocol:
    """A protocol of datagrams that does nothing yet.

    A protocol that has a method ``datagram_received_on_path(data, path)`` gets that
    called in the place of `datagram_received`, with a `sennit.core.address.DatagramPath`:
    on a host with several addresses an answer by ``transport.send_on_path(data, path)``
    leaves from the one that was asked (RFC 1122 §4.1.3.5).

    Attributes:
        transport: The transport, from `connection_made` on.
    """

    transport: IDatagramTransport

    def connection_made(self, transport: Any) -> None:
        """Datagrams may be sent from now on. (`Any`: a protocol may narrow it.)"""
        self.transport = transport

    def datagram_received(self, data: bytes, peer: Any) -> None:
        """A datagram has come, whole.

        Args:
            data: Its octets, none for an empty one.
            peer: Who sent it, as `socket` says it: host and port (with flow and
                scope for IPv6), a Unix socket's path, ``None`` for one without.
        """

    def error_received(self, exc: OSError) -> None:
        """The network or the system says something of a datagram; that ends nothing.

        Args:
            exc: A `sennit.core.errors.DatagramError`, which knows the peer.
        """

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is closed; called once, last.

        Args:
            exc: Why, or ``None`` when it was closed in good order.
        """

    def pause_writing(self) -> None:
        """More waits to be sent than the high-water mark; a producer should pause."""

    def resume_writing(self) -> None:
        """The way out is below the low-water mark again."""


def adapt_datagram_factory(
    factory: DatagramFactory,
) -> Callable[[Address | None], IDatagramProtocol]:
    """The call that makes the protocol of a datagram socket.

    Args:
        factory: An `IDatagramProtocolFactory`, or any callable without arguments
            that returns a protocol (a class most often).

    Returns:
        A function of the address that the socket is bound to.

    Raises:
        TypeError: It is neither.
    """
    build = getattr(factory, "build_datagram_protocol", None)
    if build is not None and not isinstance(factory, type):
        return build  # type: ignore[no-any-return]  # found by name, typed by its interface
    if callable(factory):
        call = factory

        def build_without_address(local: Address | None) -> IDatagramProtocol:
            return call()

        return build_without_address
    raise TypeError(
        f"{factory!r} builds no datagram protocols: give a callable without arguments "
        "or an object with build_datagram_protocol(local)"
    )


def adapt_factory(factory: ProtocolFactory) -> Callable[[Address | None], IStreamProtocol | None]:
    """The one call a listener makes per connection.

    Args:
        factory: An `IProtocolFactory`, or any callable without arguments that
            returns a protocol (a class most often).

    Returns:
        A function of the peer's address that returns a protocol, or ``None`` to
        refuse the connection.

    Raises:
        TypeError: It is neither.
    """
    build = getattr(factory, "build_protocol", None)
    if build is not None and not isinstance(factory, type):
        return build  # type: ignore[no-any-return]  # found by name, typed by IProtocolFactory
    if callable(factory):
        call = factory

        def build_without_peer(peer: Address | None) -> IStreamProtocol | None:
            return call()

        return build_without_peer
    raise TypeError(
        f"{factory!r} builds no protocols: give a callable without arguments "
        "or an object with build_protocol(peer)"
    )
