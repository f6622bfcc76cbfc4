"""Protocols worn around protocols, and transports shown in place of transports.

A `ProtocolWrapper` stands between a transport and the protocol it wraps. By
itself it passes everything through, as the wrapped protocol's own methods, so
what a policy does not look at costs nothing. A `TransportWrapper` does the same
downwards, for a policy on what is written.
"""

from __future__ import annotations

from sennit.core._implements import implements
from sennit.core.protocol import adapt_factory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sennit.core.address import Address
    from sennit.core.interfaces import IStreamProtocol, IStreamTransport
    from sennit.core.protocol import ProtocolFactory

__all__ = ["ProtocolWrapper", "TransportWrapper", "WrappingFactory"]


class ProtocolWrapper:
    """A protocol that passes everything on to another one.

    A subclass overrides what it wants to see, and calls ``self.wrapped``. What
    else the wrapped protocol has (``drain``, ``get_buffer`` …) is found here too.

    Args:
        wrapped: The protocol inside.
    """

    __slots__ = ("__weakref__", "wrapped")

    def __init__(self, wrapped: IStreamProtocol) -> None:
        self.wrapped = wrapped

    def __repr__(self) -> str:
        """Both."""
        return f"<{type(self).__name__} around {self.wrapped!r}>"

    def __getattr__(self, name: str) -> Any:
        """What the wrapped protocol has."""
        if name == "wrapped":
            raise AttributeError(name)  # before __init__, in a copy for instance
        return getattr(self.wrapped, name)

    def connection_made(self, transport: IStreamTransport) -> None:
        """The connection stands."""
        self.wrapped.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Octets have come."""
        self.wrapped.data_received(data)

    def eof_received(self) -> bool | None:
        """The peer sends no more."""
        return self.wrapped.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has gone."""
        self.wrapped.connection_lost(exc)

    def pause_writing(self) -> None:
        """Too much waits to be sent."""
        self.wrapped.pause_writing()

    def resume_writing(self) -> None:
        """There is room again."""
        self.wrapped.resume_writing()


@implements("IStreamTransport")
class TransportWrapper:
    """A transport that passes everything on to another one.

    A subclass overrides what it wants to see. The protocol that is set on it is
    the wrapped one's, by way of `set_protocol`.

    Args:
        wrapped: The transport below.
    """

    __slots__ = ("__weakref__", "wrapped")

    def __init__(self, wrapped: IStreamTransport) -> None:
        self.wrapped = wrapped

    def __repr__(self) -> str:
        """Both."""
        return f"<{type(self).__name__} over {self.wrapped!r}>"

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            """What the transport below has."""
            if name == "wrapped":
                raise AttributeError(name)
            return getattr(self.wrapped, name)


class WrappingFactory:
    """A factory whose protocols wear another one.

    Args:
        factory: Makes the protocols inside.
        wrap: Puts one protocol into its wrapper.
    """

    def __init__(
        self, factory: ProtocolFactory, wrap: Callable[[IStreamProtocol], IStreamProtocol]
    ) -> None:
        self._factory = factory
        self._build = adapt_factory(factory)
        self._wrap = wrap

    def __repr__(self) -> str:
        """The factory inside."""
        return f"<{type(self).__name__} of {self._factory!r}>"

    def __getattr__(self, name: str) -> Any:
        """What the factory inside has, such as its words for a refused connection."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._factory, name)

    def build_protocol(self, peer: Address | None) -> IStreamProtocol | None:
        """A wrapped protocol, or ``None`` where the factory inside refuses."""
        protocol = self._build(peer)
        return None if protocol is None else self._wrap(protocol)
