"""The types of RFC 1035 that everybody uses, and those that have the form of TXT."""

from __future__ import annotations

from sennit.names.rdata.base import Rdata
from sennit.names.rdata.fields import CompressedName, Seconds, Text, Texts, Uint16, Uint32

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


class NS(Rdata, rdtype=2):
    """A name server of the zone (RFC 1035 §3.3.11)."""

    target: CompressedName


class CNAME(Rdata, rdtype=5):
    """The canonical name of an alias (RFC 1035 §3.3.1)."""

    target: CompressedName


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


class PTR(Rdata, rdtype=12):
    """A pointer to another name (RFC 1035 §3.3.12)."""

    target: CompressedName


class HINFO(Rdata, rdtype=13):
    """Processor and system of a host (RFC 1035 §3.3.2); the answer to ANY (RFC 8482 §4.2)."""

    cpu: Text
    os: Text


class MX(Rdata, rdtype=15):
    """A mail exchange (RFC 1035 §3.3.9); the lowest preference is tried first."""

    preference: Uint16
    exchange: CompressedName


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
