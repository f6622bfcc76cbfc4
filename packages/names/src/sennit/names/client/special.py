"""Names that no server is asked for, since they have a meaning of their own.

==================  =============================================================================
``localhost``       this host, and every name beneath it (RFC 6761 §6.3)
``invalid``         does not exist (RFC 6761 §6.4)
``onion``           is Tor's, and would tell others of a visit there (RFC 7686 §2)
``local``           is for multicast DNS (RFC 6762 §3), which is not spoken here
==================  =============================================================================
"""

from __future__ import annotations

from typing import Final

from sennit.names.codes import RRType
from sennit.names.errors import NoDataError, NoSuchNameError
from sennit.names.name import Name
from sennit.names.rdata.address import AAAA, A
from sennit.names.rdata.basic import PTR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sennit.names.rdata import Rdata

__all__ = ["LOCALHOST", "special_rdatas"]

LOCALHOST: Final = Name("localhost.")
_LOOPBACK: Final = {
    int(RRType.A): A("127.0.0.1"),
    int(RRType.AAAA): AAAA("::1"),
}
_REVERSE: Final = frozenset({Name("1.0.0.127.in-addr.arpa."), Name("1." + "0." * 31 + "ip6.arpa.")})
_REFUSED: Final = {
    Name("invalid."): "never exists (RFC 6761)",
    Name("onion."): "is not looked up in DNS (RFC 7686): it is Tor's",
    Name("local."): "is not looked up in DNS (RFC 6762): it is for multicast DNS",
}


def special_rdatas(name: Name, rdtype: int) -> tuple[Rdata, ...] | None:
    """Record data of a name with a meaning of its own; ``None`` for all other names.

    Raises:
        NoSuchNameError: It is one that must not be asked for.
        NoDataError: It has no records of this type.
    """
    if name.is_below(LOCALHOST):
        found = _LOOPBACK.get(rdtype)
        if found is None:
            raise NoDataError(f"{name} is this host, which has addresses alone (RFC 6761)")
        return (found,)
    if name in _REVERSE and rdtype == RRType.PTR:
        return (PTR(LOCALHOST),)
    for top, why in _REFUSED.items():
        if name.is_below(top):
            raise NoSuchNameError(f"{name}: {str(top)[:-1]} {why}")
    return None
