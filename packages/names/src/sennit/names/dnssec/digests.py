"""How a parent speaks of a child's key: the digests of DS records.

Sources: RFC 4034 §5.1.4, RFC 4509 (SHA-256), RFC 6605 §2 (SHA-384), RFC 8078 §4
(the CDS that asks for removal). Nothing here needs cryptography.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from sennit.names.dnssec.numbers import DigestType
from sennit.names.errors import DNSUsageError
from sennit.names.rdata.dnssec import CDS, DS

if TYPE_CHECKING:
    from sennit.names.name import Name
    from sennit.names.rdata.dnssec import DNSKEY

__all__ = ["cds_for", "ds_for", "ds_matches"]

_HASHES: Final = {
    int(DigestType.SHA1): "sha1",
    int(DigestType.SHA256): "sha256",
    int(DigestType.SHA384): "sha384",
}


def ds_for(owner: Name, key: DNSKEY, digest_type: int = DigestType.SHA256) -> DS:
    """The DS record that a parent has of a key.

    Raises:
        DNSUsageError: There is no such digest here.
    """
    return DS(key.key_tag, key.algorithm, digest_type, _digest(owner, key, digest_type))


def cds_for(owner: Name, key: DNSKEY, digest_type: int = DigestType.SHA256) -> CDS:
    """The CDS record by which a child asks its parent for that DS (RFC 7344 §3.1).

    Raises:
        DNSUsageError: There is no such digest here.
    """
    return CDS(key.key_tag, key.algorithm, digest_type, _digest(owner, key, digest_type))


def ds_matches(ds: DS | CDS, owner: Name, key: DNSKEY) -> bool:
    """Whether a DS record is of this key of `owner`. Digests that are not known match nothing."""
    return (
        ds.algorithm == key.algorithm
        and ds.digest_type in _HASHES
        and ds.key_tag == key.key_tag
        and ds.digest == _digest(owner, key, ds.digest_type)
    )


def _digest(owner: Name, key: DNSKEY, digest_type: int) -> bytes:
    name = _HASHES.get(digest_type)
    if name is None:
        raise DNSUsageError(f"there is no digest {digest_type} here: 1, 2 and 4 are known")
    return hashlib.new(name, owner.key + key.wire, usedforsecurity=False).digest()
