"""Which of several targets to try first: MX, SRV, SVCB and HTTPS.

What these functions do not know is passed in: `below(n)` gives a random number from 0 to n-1.

Sources: RFC 5321 §5.1 (MX), RFC 7505 (null MX), RFC 2782 (SRV), RFC 9460 (SVCB, HTTPS), RFC 9461.
Not here: asking (``lookups.py``).
"""

from __future__ import annotations

import secrets
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final, NamedTuple

from sennit.names.errors import MessageFormatError
from sennit.names.name import Name, read_name
from sennit.names.rdata.basic import MX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sennit.names.rdata import Rdata
    from sennit.names.rdata.service import SRV

    Below = Callable[[int], int]

__all__ = [
    "ServiceBinding",
    "implicit_mx",
    "is_null_mx",
    "order_mx",
    "order_services",
    "order_srv",
    "read_service",
    "usable_services",
]

MANDATORY, ALPN, NO_DEFAULT_ALPN, PORT, IPV4HINT, ECH, IPV6HINT, DOHPATH = range(8)
_UNDERSTOOD: Final = frozenset(range(8))
"""Keys that a service may say are mandatory, since what they say is in `ServiceBinding`."""


# ── MX ────────────────────────────────────────────────────────────────────────


def is_null_mx(records: Iterable[MX]) -> bool:
    """Whether they say that the domain takes no mail: one record, of the root (RFC 7505 §3)."""
    found = list(records)
    return len(found) == 1 and found[0].exchange.is_root


def order_mx(records: Iterable[MX], below: Below = secrets.randbelow) -> list[MX]:
    """The lowest preference first, those alike in random order (RFC 5321 §5.1)."""
    return [each for _, each in sorted(_shuffled(records, below), key=lambda pair: pair[0])]


def _shuffled(records: Iterable[MX], below: Below) -> list[tuple[int, MX]]:
    left = list(records)
    found: list[tuple[int, MX]] = []
    while left:
        each = left.pop(below(len(left)))
        found.append((each.preference, each))
    return found


# ── SRV ───────────────────────────────────────────────────────────────────────


def order_srv(records: Iterable[SRV], below: Below = secrets.randbelow) -> list[SRV]:
    """The lowest priority first; among those alike each comes with the chance of its weight.

    Empty where there is one record with the target ``.``: the service is not offered (RFC 2782).
    """
    groups: dict[int, list[SRV]] = {}
    for each in records:
        groups.setdefault(each.priority, []).append(each)
    found: list[SRV] = []
    for priority in sorted(groups):
        # RFC 2782: those of weight 0 stand first, so that they are chosen with a small chance.
        left = sorted(groups[priority], key=lambda each: each.weight > 0)
        while left:
            chosen = below(sum(each.weight for each in left) + 1)
            running = 0
            for at, each in enumerate(left):
                running += each.weight
                if running >= chosen:
                    found.append(left.pop(at))
                    break
    if len(found) == 1 and found[0].target.is_root:
        return []
    return [each for each in found if not each.target.is_root]


# ── SVCB and HTTPS ────────────────────────────────────────────────────────────


class ServiceBinding(NamedTuple):
    """A record of SVCB or HTTPS, its parameters read.

    Attributes:
        priority: 0 for an alias; of others the lowest is tried first.
        target: Where the service is; the owner's name where the record has ``.``.
        alpn: Protocols it speaks (RFC 9460 §7.1), the default one included.
        port: Port, where it is not the scheme's own.
        ipv4hint: Addresses to try before the target's are known.
        ipv6hint: The same.
        ech: Configuration of Encrypted Client Hello.
        dohpath: Template of a DoH server (RFC 9461 §5).
        parameters: All of them by number, as octets.
    """

    priority: int
    target: Name
    alpn: tuple[bytes, ...] = ()
    port: int | None = None
    ipv4hint: tuple[str, ...] = ()
    ipv6hint: tuple[str, ...] = ()
    ech: bytes | None = None
    dohpath: str | None = None
    parameters: Mapping[int, bytes] = {}

    @property
    def is_alias(self) -> bool:
        """Whether it sends to another name's records (RFC 9460 §2.4.2)."""
        return self.priority == 0


def read_service(owner: Name, rdata: Rdata, default_alpn: tuple[bytes, ...] = ()) -> ServiceBinding:
    """Read a record of SVCB or HTTPS.

    Args:
        owner: Its name, which a target of ``.`` stands for.
        rdata: Its data.
        default_alpn: Protocols spoken unless the record says ``no-default-alpn``: for HTTPS
            ``http/1.1`` (RFC 9460 §9.1.2).

    Raises:
        MessageFormatError: It is none (RFC 9460 §2.2: such a record makes the whole set one
            that does not count).
    """
    wire = rdata.wire
    if len(wire) < 3:
        raise MessageFormatError("a SVCB record that is cut off", rule="RFC 9460 §2.2")
    priority = int.from_bytes(wire[:2], "big")
    target, position = read_name(wire, 2, {})
    parameters = _parameters(wire, position)
    if target.is_root and priority:
        target = owner
    alpn = _alpn(parameters.get(ALPN, b""))
    if NO_DEFAULT_ALPN not in parameters:
        alpn += tuple(each for each in default_alpn if each not in alpn)
    port = parameters.get(PORT)
    return ServiceBinding(
        priority,
        target,
        alpn,
        None if port is None else int.from_bytes(port, "big"),
        _addresses(parameters.get(IPV4HINT, b""), 4),
        _addresses(parameters.get(IPV6HINT, b""), 16),
        parameters.get(ECH),
        parameters[DOHPATH].decode("utf-8", "replace") if DOHPATH in parameters else None,
        parameters,
    )


def _parameters(wire: bytes, position: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    last = -1
    while position < len(wire):
        key = int.from_bytes(wire[position : position + 2], "big")
        length = int.from_bytes(wire[position + 2 : position + 4], "big")
        position += 4 + length
        if position > len(wire) or key <= last:
            raise MessageFormatError(
                "parameters of SVCB that are cut off or not in order", rule="RFC 9460 §2.2"
            )
        found[key] = wire[position - length : position]
        last = key
    if PORT in found and len(found[PORT]) != 2:
        raise MessageFormatError("a port of SVCB that is none", rule="RFC 9460 §7.2")
    return found


def _alpn(value: bytes) -> tuple[bytes, ...]:
    found: list[bytes] = []
    position = 0
    while position < len(value):
        length = value[position]
        position += 1 + length
        if not length or position > len(value):
            raise MessageFormatError("an alpn of SVCB that is none", rule="RFC 9460 §7.1.1")
        found.append(value[position - length : position])
    return tuple(found)


def _addresses(value: bytes, size: int) -> tuple[str, ...]:
    if len(value) % size:
        raise MessageFormatError("an address hint of SVCB that is none", rule="RFC 9460 §7.3")
    kind = IPv4Address if size == 4 else IPv6Address
    return tuple(str(kind(value[at : at + size])) for at in range(0, len(value), size))


def usable_services(services: Iterable[ServiceBinding]) -> list[ServiceBinding]:
    """Those whose mandatory parameters are understood here (RFC 9460 §8)."""
    found: list[ServiceBinding] = []
    for each in services:
        mandatory = each.parameters.get(MANDATORY, b"")
        keys = {int.from_bytes(mandatory[at : at + 2], "big") for at in range(0, len(mandatory), 2)}
        if keys <= _UNDERSTOOD and MANDATORY not in keys and keys <= each.parameters.keys():
            found.append(each)
    return found


def order_services(
    services: Iterable[ServiceBinding], below: Below = secrets.randbelow
) -> list[ServiceBinding]:
    """The lowest priority first, those alike in random order (RFC 9460 §2.4.1).

    Where there is an alias among them, it alone (RFC 9460 §2.4.1: the others are ignored).
    """
    left = list(services)
    if aliases := [each for each in left if each.is_alias]:
        return [aliases[below(len(aliases))]]
    mixed: list[ServiceBinding] = []
    while left:
        mixed.append(left.pop(below(len(left))))
    return sorted(mixed, key=lambda each: each.priority)


def implicit_mx(name: Name) -> MX:
    """What a domain without MX records has instead: itself, with preference 0 (RFC 5321 §5.1)."""
    return MX(0, name)
