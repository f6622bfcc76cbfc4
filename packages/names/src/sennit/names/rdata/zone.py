"""What a zone says of itself as a whole: CSYNC (RFC 7477) and ZONEMD (RFC 8976)."""

from __future__ import annotations

from typing import Final

from sennit.names.errors import DNSUsageError
from sennit.names.rdata.base import Rdata
from sennit.names.rdata.bitmap import Types
from sennit.names.rdata.fields import Hex, Uint8, Uint16, Uint32

__all__ = ["CSYNC", "ZONEMD"]

_DIGESTS: Final = {1: 48, 2: 64}
"""Octets of a digest, by its algorithm (RFC 8976 §5.3)."""


class CSYNC(Rdata, rdtype=62):
    """Which records of the zone its parent should copy (RFC 7477 §2).

    Attributes:
        serial: Of the SOA that it goes with.
        flags: 1 at once, 2 only while the serial is at least `serial`.
        types: Types to copy, ascending.
    """

    serial: Uint32
    flags: Uint16
    types: Types


class ZONEMD(Rdata, rdtype=63):
    """A digest of the whole zone (RFC 8976 §2)."""

    rule = "RFC 8976 §2.2.4"

    serial: Uint32
    scheme: Uint8
    algorithm: Uint8
    digest: Hex

    def validate(self) -> None:
        """A digest is as long as those of its algorithm are."""
        size = _DIGESTS.get(self.algorithm) if self.scheme == 1 else None
        if len(self.digest) < 12 or size not in {None, len(self.digest)}:
            raise DNSUsageError(
                f"a digest has {size or 'at least 12'} octets, not {len(self.digest)}"
            )
