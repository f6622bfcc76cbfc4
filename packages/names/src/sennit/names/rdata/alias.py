"""Whole subtrees under another name: DNAME."""

from __future__ import annotations

from sennit.names.rdata.base import Rdata
from sennit.names.rdata.fields import LowerName

__all__ = ["DNAME"]


class DNAME(Rdata, rdtype=39):
    """Redirects what is beneath its owner (RFC 6672 §2.1)."""

    target: LowerName
