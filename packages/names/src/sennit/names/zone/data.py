"""Where the records of a zone come from: memory, or elsewhere.

`Zone` has its records in memory. What has them elsewhere (a database, a program) is an
`IZoneData`, too, and is answered from by the same algorithm: wildcards, aliases, delegations.
It hands out nodes, name by name, at once or later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.core.interfaces import Interface

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from sennit.names.name import Name
    from sennit.names.zone.chain import Chain
    from sennit.names.zone.node import Node

__all__ = ["IZoneData"]


class IZoneData(Interface):
    """The names of one zone, each with its records."""

    @property
    def origin(self) -> Name:
        """The zone's name."""
        ...

    @property
    def rdclass(self) -> int:
        """Number of its class."""
        ...

    @property
    def expired(self) -> bool:
        """Whether it may not be answered from: the answer is SERVFAIL."""
        ...

    @property
    def chain(self) -> Chain | None:
        """The order of its names, for proofs of absence; ``None`` where it gives none."""
        ...

    def get_node(self, key: bytes, rdtype: int = 255) -> Node | Awaitable[Node | None] | None:
        """The records of a name.

        Args:
            key: The name's octets in lower case; it is the zone's, or beneath it.
            rdtype: The type that is wanted of it, ANY for all; the node may have others, and
                has CNAME, DNAME and NS in any case.

        Returns:
            An empty node for a name that has no records, and names beneath it; ``None`` for one
            that does not exist.
        """
        ...
