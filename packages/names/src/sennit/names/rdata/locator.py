"""Identifiers and locators: NID, L32, L64, LP (RFC 6742), EUI48 and EUI64 (RFC 7043)."""

from __future__ import annotations

from sennit.names.rdata.base import Rdata
from sennit.names.rdata.fields import IPv4, Locator64, Octets6, Octets8, PlainName, Uint16

__all__ = ["EUI48", "EUI64", "L32", "L64", "LP", "NID"]


class NID(Rdata, rdtype=104):
    """A node's identifier, eight octets, ``0014:4fff:ff20:ee64`` in text (RFC 6742 §2.1)."""

    preference: Uint16
    node_id: Locator64


class L32(Rdata, rdtype=105):
    """A locator of 32 bits, as text in the form of an IPv4 address (RFC 6742 §2.2)."""

    preference: Uint16
    locator: IPv4


class L64(Rdata, rdtype=106):
    """A locator of 64 bits, eight octets (RFC 6742 §2.3)."""

    preference: Uint16
    locator: Locator64


class LP(Rdata, rdtype=107):
    """The name that has the locators (RFC 6742 §2.4)."""

    preference: Uint16
    target: PlainName


class EUI48(Rdata, rdtype=108):
    """An EUI-48 address, six octets, ``00-00-5e-00-53-2a`` in text (RFC 7043 §3)."""

    address: Octets6


class EUI64(Rdata, rdtype=109):
    """An EUI-64 address, eight octets (RFC 7043 §4)."""

    address: Octets8
