"""Addresses: A (RFC 1035 §3.4.1) and AAAA (RFC 3596 §2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from sennit.names.errors import MessageFormatError, PresentationError
from sennit.names.name import Name
from sennit.names.presentation import address_text, packed_address
from sennit.names.rdata.base import Rdata
from sennit.names.wire import Writer

if TYPE_CHECKING:
    from sennit.names.presentation import Tokens

__all__ = ["AAAA", "A"]


class _Address(Rdata):
    """What both have in common; kept as octets, which is what is looked up and sent."""

    __slots__ = ("packed",)
    compresses = False

    packed: bytes
    size: ClassVar[int]

    def __init__(self, address: str | bytes) -> None:
        packed = packed_address(address) if isinstance(address, str) else bytes(address)
        if len(packed) != self.size:
            raise PresentationError(f"{address!r:.60} is no address of {self.size} octets")
        self.packed = self._wire = packed

    @property
    def address(self) -> str:
        """The address in text."""
        return address_text(self.packed)

    @classmethod
    def read(cls, wire: bytes, position: int, end: int, names: dict[int, Name]) -> Self:
        """The octets, which must be as many as an address has."""
        if end - position != cls.size:
            raise MessageFormatError(
                f"{cls.__name__} data of {end - position} octets", rule="RFC 1035 §3.4.1"
            )
        self: Self = object.__new__(cls)
        self.packed = self._wire = wire[position:end]
        return self

    def write(self, writer: Writer) -> None:
        """Append the octets."""
        writer.out += self.packed

    @classmethod
    def parse(cls, tokens: Tokens) -> Self:
        """The one token there is, an address in text."""
        text = tokens.text()
        tokens.expect_end()
        return cls(text)

    def to_text(self, origin: Name | None = None) -> str:
        """The address."""
        del origin
        return self.address

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address!r})"


class A(_Address, rdtype=1, init=False):
    """An IPv4 address.

    Attributes:
        packed: Its four octets.
        address: In text, ``192.0.2.1``.
    """

    __slots__ = ()
    size = 4


class AAAA(_Address, rdtype=28, init=False):
    """An IPv6 address.

    Attributes:
        packed: Its sixteen octets.
        address: In text, ``2001:db8::1`` (RFC 5952).
    """

    __slots__ = ()
    size = 16
