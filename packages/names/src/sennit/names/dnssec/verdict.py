"""What validation found: of an answer as a whole, and of each of its links.

An answer is a chain of links: each alias on the way, and at its end the records asked for or
the proof that there are none. Each link is validated for itself, since each may come from
another zone, and since a cache keeps them one by one. The answer is worth what its worst link is.

Sources: RFC 4033 §5 (the four states), RFC 4035 §5.3.3 (how long a link may be kept), RFC 8914
(reasons). Nothing here needs cryptography.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sennit.names.message import Record, RRset
    from sennit.names.name import Name

__all__ = ["Link", "Security", "Verdict"]


class Security(IntEnum):
    """What validation found (RFC 4033 §5); the lower, the worse."""

    BOGUS = 0
    UNCHECKED = 1
    INDETERMINATE = 2
    INSECURE = 3
    SECURE = 4


class Link:
    """One link of an answer.

    Attributes:
        name: The owner; of an absence the name that is absent, or has no such type.
        rdtype: Type of the records; of an absence the type asked for.
        security: What was found.
        ttl: Seconds that it may be kept: no longer than its signatures are good.
        rrset: The records, their owner as it came; ``None`` for an absence.
        proof: The NSEC or NSEC3 records, and of an absence the SOA, that were verified for it.
        zone: The zone that signed it; ``None`` where it is not `Security.SECURE`.
        encloser: Of records made from a wildcard, the name beneath which that stands.
    """

    __slots__ = ("encloser", "name", "proof", "rdtype", "rrset", "security", "ttl", "zone")

    def __init__(
        self,
        name: Name,
        rdtype: int,
        security: Security,
        ttl: int,
        *,
        rrset: RRset | None = None,
        proof: Sequence[RRset] = (),
        zone: Name | None = None,
        encloser: Name | None = None,
    ) -> None:
        self.name = name
        self.rdtype = rdtype
        self.security = security
        self.ttl = ttl
        self.rrset = rrset
        self.proof = tuple(proof)
        self.zone = zone
        self.encloser = encloser

    def __repr__(self) -> str:
        kind = "absence" if self.rrset is None else "records"
        return f"<Link {self.name} {self.rdtype} {kind}: {self.security.name}, {self.ttl} s>"


class Verdict:
    """What was found of an answer.

    Attributes:
        security: That of its worst link; `Security.BOGUS` where validation itself failed.
        links: Its links, from the name asked for to the end; up to the first bogus one.
        info_code: Why it is not secure (`sennit.names.codes.EDE`); ``None`` where it
            is, or where nothing more is to be said.
        reason: The same in words, for people; what a peer sent is quoted in it.
    """

    __slots__ = ("info_code", "links", "reason", "security")

    def __init__(
        self,
        security: Security,
        links: Sequence[Link] = (),
        *,
        info_code: int | None = None,
        reason: str = "",
    ) -> None:
        self.security = security
        self.links = tuple(links)
        self.info_code = info_code
        self.reason = reason

    @property
    def ttl(self) -> int:
        """Seconds that the whole may be kept; 0 where there is no link."""
        return min((link.ttl for link in self.links), default=0)

    def of(self, name: Name, rdtype: int) -> Link | None:
        """The link of these records, or of their absence."""
        return next(
            (link for link in self.links if link.rdtype == rdtype and link.name == name), None
        )

    def proofs(self) -> list[Record]:
        """The records that prove absences, whose signatures were verified."""
        return [record for link in self.links for rrset in link.proof for record in rrset.records()]

    def __repr__(self) -> str:
        return f"<Verdict {self.security.name}{': ' if self.reason else ''}{self.reason}>"
