"""A zone that is to come: what is asked of it is SERVFAIL, and for nobody else to answer.

A copy of another server's zone stands here until it was first transferred. Without it a question
would be refused, as for a zone that is not ours, or be looked up elsewhere by a resolver.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import implementer

from sennit.names.zone.data import IZoneData

if TYPE_CHECKING:
    from sennit.names.name import Name
    from sennit.names.zone.chain import Chain
    from sennit.names.zone.node import Node

__all__ = ["AwaitedZone"]


@implementer(IZoneData)
class AwaitedZone:
    """A zone of which nothing is known but its name; a source of an `Authority`.

    Args:
        origin: Its name.
    """

    def __init__(self, origin: Name) -> None:
        self.origin = origin
        self.rdclass = 1
        self.expired = True
        self.chain: Chain | None = None

    def __repr__(self) -> str:
        return f"<AwaitedZone {self.origin}>"

    def get_node(self, key: bytes, rdtype: int = 255) -> Node | None:
        """Nothing: it may not be answered from."""
        del key, rdtype
        return None
