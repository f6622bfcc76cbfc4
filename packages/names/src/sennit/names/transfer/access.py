"""Who may do something: by address, by key, or by both.

Written as people write it: ``192.0.2.0/24``, ``loopback``, ``key:transfer.example``, or both in
one rule, ``192.0.2.1 key:transfer.example``, which then both must hold. Nobody is allowed where
no rule says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.core.endpoint.networks import Networks, host_of
from sennit.names.errors import DNSUsageError
from sennit.names.name import Name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sennit.names.request import Request

__all__ = ["AccessList"]


class AccessList:
    """Rules of which one must hold.

    Args:
        rules: Networks or addresses (`Networks` tells which), ``key:NAME``, or both with a
            blank between.

    Raises:
        DNSUsageError: A rule is none.
        UsageError: A network is none.
    """

    __slots__ = ("_rules", "_texts")

    def __init__(self, rules: Iterable[str] = ()) -> None:
        self._texts = tuple(rules)
        self._rules: list[tuple[Networks | None, Name | None]] = []
        for text in self._texts:
            networks: Networks | None = None
            key: Name | None = None
            for word in text.split():
                if word.startswith("key:") and key is None:
                    key = Name(word[4:])
                elif networks is None and not word.startswith("key:"):
                    networks = Networks(word)
                else:
                    raise DNSUsageError(f"{text!r:.80}: a rule has one network and one key at most")
            if networks is None and key is None:
                raise DNSUsageError("an empty rule would be for everybody: write any")
            self._rules.append((networks, key))

    def __repr__(self) -> str:
        return f"<AccessList {', '.join(self._texts) or 'nobody'}>"

    def __bool__(self) -> bool:
        """Whether anybody is allowed."""
        return bool(self._rules)

    @property
    def keys(self) -> frozenset[Name]:
        """The keys that rules name."""
        return frozenset(key for _, key in self._rules if key is not None)

    def allows(self, request: Request) -> bool:
        """Whether who sent this request is allowed."""
        host = host_of(request.peer)
        return any(
            (networks is None or (host is not None and networks.trusts(host)))
            and (key is None or key == request.key)
            for networks, key in self._rules
        )
