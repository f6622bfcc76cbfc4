"""Which of several targets to try first: MX, SRV, SVCB and HTTPS.

What these functions do not know is passed in: `below(n)` gives a random number from 0 to n-1.

Sources: RFC 5321 §5.1 (MX), RFC 7505 (null MX), RFC 2782 (SRV), RFC 9460 (SVCB, HTTPS), RFC 9461.
Not here: asking (``lookups.py``), the records' own form (``sennit.names.rdata``).
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

from sennit.names.rdata.basic import MX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sennit.names.name import Name
    from sennit.names.rdata.service import SRV
    from sennit.names.rdata.svcb import SVCB

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

MAX_PLACES: Final = 1000
"""Places of a service that are ordered, those of the lowest priority (choosing by weight costs
their number squared, and an answer may have thousands)."""
_UNDERSTOOD: Final = frozenset(range(1, 8))
"""From ``alpn`` to ``dohpath``: keys that a service may say are mandatory, since what they say is
in `ServiceBinding`."""


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
    for each in sorted(records, key=lambda each: each.priority)[:MAX_PLACES]:
        groups.setdefault(each.priority, []).append(each)
    found: list[SRV] = []
    for group in groups.values():
        # RFC 2782: those of weight 0 stand first, so that they are chosen with a small chance.
        left = sorted(group, key=lambda each: each.weight > 0)
        total = sum(each.weight for each in left)
        while left:
            chosen = below(total + 1)
            running = 0
            for at, each in enumerate(left):
                running += each.weight
                if running >= chosen:
                    total -= each.weight
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
        mandatory: Numbers of the parameters that have to be understood (RFC 9460 §8).
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
    mandatory: tuple[int, ...] = ()
    parameters: Mapping[int, bytes] = {}

    @property
    def is_alias(self) -> bool:
        """Whether it sends to another name's records (RFC 9460 §2.4.2)."""
        return self.priority == 0


def read_service(owner: Name, rdata: SVCB, default_alpn: tuple[bytes, ...] = ()) -> ServiceBinding:
    """What a record of SVCB or HTTPS says of its owner.

    Args:
        owner: Its name, which a target of ``.`` stands for.
        rdata: Its data.
        default_alpn: Protocols spoken unless the record says ``no-default-alpn``: for HTTPS
            ``http/1.1`` (RFC 9460 §9.1.2).
    """
    target = owner if rdata.target.is_root and rdata.priority else rdata.target
    alpn = rdata.alpn
    if not rdata.no_default_alpn:
        alpn += tuple(each for each in default_alpn if each not in alpn)
    return ServiceBinding(
        rdata.priority,
        target,
        alpn,
        rdata.port,
        rdata.ipv4hint,
        rdata.ipv6hint,
        rdata.ech,
        rdata.dohpath,
        rdata.mandatory,
        rdata.params,
    )


def usable_services(services: Iterable[ServiceBinding]) -> list[ServiceBinding]:
    """Those whose mandatory parameters are understood here (RFC 9460 §8)."""
    found: list[ServiceBinding] = []
    for each in services:
        keys = frozenset(each.mandatory)
        if keys <= _UNDERSTOOD and keys <= each.parameters.keys():
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
