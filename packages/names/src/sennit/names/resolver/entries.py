"""What the cache holds: answers with their proofs, absences, failures, delegations.

An `Entry` is one link of an answer: the records of a name and type (or the alias in their
place) with their signatures, or the absence of a type or name with the SOA and NSEC records
that came with it (RFC 2308), or that nobody could be asked (RFC 9520). A `Delegation` is what a
parent zone says of a child's servers: its glue is used to reach them and for nothing else.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from sennit.names.codes import RRType, type_text
from sennit.names.dnssec.verdict import Security

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sennit.names.message import Record
    from sennit.names.name import Name
    from sennit.names.rdata import Rdata

__all__ = ["CNAME_TYPE", "DNAME_TYPE", "Credibility", "Delegation", "Entry", "Kind", "covered_type"]

CNAME_TYPE: Final = int(RRType.CNAME)
DNAME_TYPE: Final = int(RRType.DNAME)
"""The types of aliases."""


class Kind(IntEnum):
    """What an entry says."""

    RECORDS = 0
    NODATA = 1
    NXDOMAIN = 2
    FAILURE = 3


class Credibility(IntEnum):
    """How far data may be believed, the more the higher (RFC 2181 §5.4.1)."""

    ADDITIONAL = 1
    AUTHORITY = 2
    ANSWER = 3
    AUTHORITATIVE_AUTHORITY = 4
    AUTHORITATIVE_ANSWER = 5


def covered_type(signature: Rdata) -> int:
    """The type that an RRSIG covers: its first two octets (RFC 4034 §3.1.1)."""
    return int.from_bytes(signature.wire[:2], "big")


class Entry:
    """One link of an answer.

    Args:
        kind: What it says.
        name: Of whom.
        rdtype: Type of its records: what was asked for, or CNAME or DNAME in its place.
        ttl: Seconds it may be kept, as received.
        rdatas: Data of its records.
        signatures: Data of the RRSIGs that cover them.
        authority: The SOA and NSEC records of an absence with their signatures; the NSEC
            records that prove a wildcard's answer.
        rank: How far it may be believed.
        zone: The zone whose servers said it.
        reason: Why nobody answered (`sennit.names.codes.EDE`).
        text: The same in words, for operators.

    Attributes:
        expires: When it ends; set by the cache.
        security: What validation found.
        hits: How often it was used.
        size: Octets it takes, estimated.
        source: The server that said it.
        stays: Whether a failure is one of the name's, worth remembering.
    """

    __slots__ = (
        "authority",
        "expires",
        "hits",
        "kind",
        "name",
        "rank",
        "rdatas",
        "rdtype",
        "reason",
        "security",
        "signatures",
        "size",
        "source",
        "stays",
        "text",
        "ttl",
        "zone",
    )

    def __init__(
        self,
        kind: Kind,
        name: Name,
        rdtype: int,
        ttl: float,
        *,
        rdatas: Sequence[Rdata] = (),
        signatures: Sequence[Rdata] = (),
        authority: Sequence[Record] = (),
        rank: Credibility = Credibility.AUTHORITATIVE_ANSWER,
        zone: Name | None = None,
        reason: int = 0,
        text: str = "",
    ) -> None:
        self.kind = kind
        self.name = name
        self.rdtype = rdtype
        self.ttl = ttl
        self.rdatas = tuple(rdatas)
        self.signatures = tuple(signatures)
        self.authority = tuple(authority)
        self.rank = rank
        self.zone = zone
        self.reason = reason
        self.text = text
        self.expires = 0.0
        self.security = Security.UNCHECKED
        self.hits = 0
        self.size = 0
        self.source: tuple[str, int] | None = None
        self.stays = True

    def remaining(self, now: float) -> int:
        """Whole seconds that are left."""
        return max(0, int(self.expires - now))

    def __repr__(self) -> str:
        return f"<Entry {self.name} {type_text(self.rdtype)} {self.kind.name} {self.ttl:g} s>"


class Delegation:
    """What a parent says of a child zone's servers.

    Args:
        zone: The child.
        servers: Names of its servers.
        glue: Addresses that came with the referral, by name.
        ttl: Seconds it may be kept.
        addresses: Addresses and ports of servers that an operator named (stub zones).

    Attributes:
        expires: When it ends; set by the cache.
        size: Octets it takes, estimated.
    """

    __slots__ = ("addresses", "expires", "glue", "servers", "size", "ttl", "zone")

    def __init__(
        self,
        zone: Name,
        servers: Sequence[Name],
        glue: Mapping[Name, tuple[str, ...]],
        ttl: float,
        *,
        addresses: Sequence[tuple[str, int]] = (),
    ) -> None:
        self.zone = zone
        self.servers = tuple(servers)
        self.glue = dict(glue)
        self.ttl = ttl
        self.addresses = tuple(addresses)
        self.expires = 0.0
        self.size = 0

    def __repr__(self) -> str:
        return f"<Delegation of {self.zone} to {', '.join(map(str, self.servers))}>"
