"""Where services are: SRV."""

from __future__ import annotations

from sennit.names.rdata.base import Rdata
from sennit.names.rdata.fields import LowerName, Uint16

__all__ = ["SRV"]


class SRV(Rdata, rdtype=33):
    """The place of a service (RFC 2782); a target of ``.`` says that there is none."""

    priority: Uint16
    weight: Uint16
    port: Uint16
    target: LowerName
