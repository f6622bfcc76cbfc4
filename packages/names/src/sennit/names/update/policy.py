"""Who may change what: rules by key, address, name and type (RFC 3007 §3, §4).

Rules are tried in order, and the first that fits decides; where none fits it is refused. One is
written as in named.conf's ``update-policy``::

    grant dhcp.example. subdomain hosts.example.org. A AAAA DHCID
    deny * name www.example.org.
    grant admin.example. zonesub ANY
    grant 192.0.2.0/24 subdomain lab.example.org. A AAAA

``grant`` or ``deny``; who (the name of a key, ``*`` for any key, or a network, which may be
forged over UDP); which names; which types. The names:

* ``name NAME``: that one; ``subdomain NAME``: it and all beneath; ``zonesub``: the whole zone
* ``wildcard *.NAME``: those beneath NAME
* ``self``: the one that is called as the key is; ``selfsub``: it and all beneath (of keys
  alone: what is known of an address is no name)

Without types a rule is for all but SOA, NS, and those that signing makes (RRSIG, NSEC, NSEC3);
``ANY`` is for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sennit.core.endpoint.networks import GROUPS, Networks, host_of
from sennit.names.codes import RRType, type_from_text
from sennit.names.errors import PresentationError
from sennit.names.name import Name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sennit.names.request import Request

__all__ = ["Policy"]

_KEPT: Final = frozenset({RRType.SOA, RRType.NS, RRType.RRSIG, RRType.NSEC, RRType.NSEC3})
_WITH_NAME: Final = frozenset({"name", "subdomain", "wildcard"})
_WITHOUT: Final = frozenset({"zonesub", "self", "selfsub"})


class _Rule:
    """One rule."""

    __slots__ = ("grants", "key", "kind", "name", "networks", "types")

    def __init__(self, text: str) -> None:
        words = text.split()
        if len(words) < 3 or words[0] not in {"grant", "deny"}:
            raise PresentationError(f"{text!r:.80} is no rule: write grant|deny WHO NAMES [TYPE …]")
        self.grants = words[0] == "grant"
        self.key: Name | None = None
        self.networks: Networks | None = None
        who = words[1]
        if "/" in who or ":" in who or who in GROUPS or who.replace(".", "").isdigit():
            self.networks = Networks(who)
        elif who != "*":
            self.key = Name(who)
        self.kind = words[2]
        self.name: Name | None = None
        rest = words[3:]
        if self.kind in _WITH_NAME and rest:
            self.name = Name(rest.pop(0))
            if self.kind == "wildcard":
                if not self.name.is_wildcard:
                    raise PresentationError(f"{text!r:.80}: a wildcard begins with *.")
                self.name = self.name.parent
        elif self.kind not in _WITHOUT:
            raise PresentationError(
                f"{text!r:.80}: names are given by {', '.join(sorted(_WITH_NAME))} with a name, or "
                f"{', '.join(sorted(_WITHOUT))}"
            )
        if self.kind in {"self", "selfsub"} and self.networks is not None:
            raise PresentationError(f"{text!r:.80}: {self.kind} is of keys, which have names")
        self.types = frozenset(map(type_from_text, rest))

    def is_for(self, request: Request) -> bool:
        if self.networks is not None:
            host = host_of(request.peer)
            return host is not None and self.networks.trusts(host)
        return request.key is not None and self.key in (None, request.key)

    def fits(self, name: Name, rdtype: int, key: Name | None) -> bool:
        if self.types:
            if RRType.ANY not in self.types and rdtype not in self.types:
                return False
        elif rdtype in _KEPT:
            return False
        if self.kind == "zonesub":
            return True
        which = self.name if self.kind in _WITH_NAME else key
        if which is None:
            return False
        if self.kind in {"name", "self"}:
            return name == which
        return name.is_below(which) and (self.kind != "wildcard" or name != which)


class Policy:
    """The rules for one zone.

    Args:
        rules: Rules, in order. Without any nobody changes anything.

    Raises:
        PresentationError: One is none.
        UsageError: A network is none.
    """

    __slots__ = ("_rules", "_texts")

    def __init__(self, rules: Iterable[str] = ()) -> None:
        self._texts = tuple(rules)
        self._rules = [_Rule(each) for each in self._texts]

    def __repr__(self) -> str:
        return f"<Policy {'; '.join(self._texts) or 'nobody'}>"

    @property
    def keys(self) -> frozenset[Name]:
        """The keys that rules name."""
        return frozenset(each.key for each in self._rules if each.key is not None)

    def knows(self, request: Request) -> bool:
        """Whether any rule grants something to who asks, so that it may learn what there is."""
        return any(each.grants and each.is_for(request) for each in self._rules)

    def allows(self, request: Request, name: Name, rdtype: int) -> bool:
        """Whether who asks may change records of a type at a name."""
        for rule in self._rules:
            if rule.is_for(request) and rule.fits(name, rdtype, request.key):
                return rule.grants
        return False
