"""Convenience bases for protocols, and what turns a callable into a factory.

A protocol needs no base at all: any object with asyncio's method names will do
(`sennit.core.interfaces.IStreamProtocol`). `Protocol` saves writing the five
that one seldom needs, and remembers its transport.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from sennit.core.address import Address
    from sennit.core.interfaces import IProtocolFactory, IStreamProtocol, IStreamTransport

    ProtocolFactory: TypeAlias = IProtocolFactory | Callable[[], IStreamProtocol]

__all__ = ["Protocol", "adapt_factory"]


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
