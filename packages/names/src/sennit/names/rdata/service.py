"""Where services are, and what leads to them: SRV, NAPTR, URI, KX, AFSDB, RT, PX, DSYNC."""

from __future__ import annotations

from typing import Annotated

from sennit.names.errors import DNSUsageError
from sennit.names.rdata.base import Rdata
from sennit.names.rdata.fields import (
    LowerName,
    Mnemonic,
    PlainName,
    RestText,
    Text,
    TypeNumber,
    Uint16,
)

__all__ = ["AFSDB", "DSYNC", "KX", "NAPTR", "PX", "RT", "SRV", "URI"]

Scheme = Annotated[int, Mnemonic(1, {"NULL": 0, "NOTIFY": 1}, spoken=True)]


class SRV(Rdata, rdtype=33):
    """The place of a service (RFC 2782); a target of ``.`` says that there is none."""

    priority: Uint16
    weight: Uint16
    port: Uint16
    target: LowerName


class NAPTR(Rdata, rdtype=35):
    """A step of rewriting a name into another, or into a URI (RFC 3403 §4)."""

    order: Uint16
    preference: Uint16
    flags: Text
    services: Text
    regexp: Text
    replacement: LowerName


class URI(Rdata, rdtype=256):
    """A URI of a service (RFC 7553 §4)."""

    rule = "RFC 7553 §4.4"

    priority: Uint16
    weight: Uint16
    target: RestText

    def validate(self) -> None:
        """There is a URI."""
        if not self.target:
            raise DNSUsageError("the target is empty")


class KX(Rdata, rdtype=36):
    """A host that exchanges keys for its owner (RFC 2230)."""

    preference: Uint16
    exchanger: LowerName


class AFSDB(Rdata, rdtype=18):
    """A server of AFS or DCE (RFC 1183 §1)."""

    subtype: Uint16
    hostname: LowerName


class RT(Rdata, rdtype=21):
    """A host on the way to its owner (RFC 1183 §3.3)."""

    preference: Uint16
    intermediate: LowerName


class PX(Rdata, rdtype=26):
    """A mapping between mail addresses and X.400 (RFC 2163 §4)."""

    preference: Uint16
    map822: LowerName
    mapx400: LowerName


class DSYNC(Rdata, rdtype=66):
    """Where a parent takes notifications of changed CDS and CSYNC (RFC 9859 §2).

    Attributes:
        covered: The type whose changes are told.
        scheme: 1 is NOTIFY.
        port: Of the target.
        target: The host.
    """

    covered: TypeNumber
    scheme: Scheme
    port: Uint16
    target: PlainName
