"""The types of RFC 1035 that everybody uses, and those that have the form of TXT."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, Self

from sennit.names.errors import MessageFormatError
from sennit.names.name import read_name
from sennit.names.rdata.base import Rdata, cut_off
from sennit.names.rdata.fields import CompressedName, Seconds, Text, Texts, Uint16, Uint32

if TYPE_CHECKING:
    from sennit.names.name import Name
    from sennit.names.wire import Writer

__all__ = [
    "AVC",
    "CNAME",
    "HINFO",
    "MX",
    "NINFO",
    "NS",
    "PTR",
    "RESINFO",
    "SOA",
    "SPF",
    "TXT",
    "WALLET",
]

_TIMERS: Final = Struct(">5I")


class _Target(Rdata):
    """Data that are one name, which most messages have many of."""

    target: CompressedName

    @classmethod
    def read(cls, wire: bytes, position: int, end: int, names: dict[int, Name]) -> Self:
        """The name, which must end where the data do."""
        name, behind = read_name(wire, position, names)
        if behind != end:
            raise MessageFormatError("data that are more than a name", rule="RFC 1035 §3.2.1")
        self: Self = object.__new__(cls)
        self.target = name
        self._wire = None
        return self

    def write(self, writer: Writer) -> None:
        """Append the name."""
        writer.name(self.target)


class NS(_Target, rdtype=2):
    """A name server of the zone (RFC 1035 §3.3.11)."""


class CNAME(_Target, rdtype=5):
    """The canonical name of an alias (RFC 1035 §3.3.1)."""


class SOA(Rdata, rdtype=6):
    """The start of a zone of authority (RFC 1035 §3.3.13).

    Attributes:
        mname: The primary server.
        rname: The mailbox of who is responsible.
        serial: The version of the zone, compared by RFC 1982.
        refresh: Seconds until a secondary looks again.
        retry: Seconds until it tries again.
        expire: Seconds after which it has to stop answering.
        minimum: Seconds that a negative answer may be cached (RFC 2308 §4).
    """

    mname: CompressedName
    rname: CompressedName
    serial: Uint32
    refresh: Seconds
    retry: Seconds
    expire: Seconds
    minimum: Seconds

    @classmethod
    def read(cls, wire: bytes, position: int, end: int, names: dict[int, Name]) -> Self:
        """By hand what the declaration says: negative answers have one each."""
        mname, position = read_name(wire, position, names)
        rname, position = read_name(wire, position, names)
        if position + 20 != end:
            raise MessageFormatError("SOA data of another length", rule="RFC 1035 §3.3.13")
        self: Self = object.__new__(cls)
        self.mname = mname
        self.rname = rname
        self.serial, self.refresh, self.retry, self.expire, self.minimum = _TIMERS.unpack_from(
            wire, position
        )
        self._wire = None
        return self


class PTR(_Target, rdtype=12):
    """A pointer to another name (RFC 1035 §3.3.12)."""


class HINFO(Rdata, rdtype=13):
    """Processor and system of a host (RFC 1035 §3.3.2); the answer to ANY (RFC 8482 §4.2)."""

    cpu: Text
    os: Text


class MX(Rdata, rdtype=15):
    """A mail exchange (RFC 1035 §3.3.9); the lowest preference is tried first."""

    preference: Uint16
    exchange: CompressedName

    @classmethod
    def read(cls, wire: bytes, position: int, end: int, names: dict[int, Name]) -> Self:
        """By hand what the declaration says, since most messages of mail have several."""
        if position + 2 >= end:
            raise cut_off()
        name, behind = read_name(wire, position + 2, names)
        if behind != end:
            raise MessageFormatError("MX data of another length", rule="RFC 1035 §3.3.9")
        self: Self = object.__new__(cls)
        self.preference = wire[position] << 8 | wire[position + 1]
        self.exchange = name
        self._wire = None
        return self

    def write(self, writer: Writer) -> None:
        """Append preference and name."""
        writer.out += self.preference.to_bytes(2, "big")
        writer.name(self.exchange)


class TXT(Rdata, rdtype=16):
    """Text strings (RFC 1035 §3.3.14).

    Attributes:
        strings: Tuple of octets, each at most 255.
    """

    strings: Texts


class SPF(TXT, rdtype=99):
    """Who may send a domain's mail; TXT has it now (RFC 7208 §3.1)."""


class AVC(TXT, rdtype=258):
    """What an application is like, for classifiers of traffic (registered by Cisco)."""


class NINFO(TXT, rdtype=56):
    """The state of a zone (registered beside RKEY)."""


class RESINFO(TXT, rdtype=261):
    """What a resolver can do (RFC 9606)."""


class WALLET(TXT, rdtype=262):
    """The address of a wallet (registered by the Bitcoin community)."""
