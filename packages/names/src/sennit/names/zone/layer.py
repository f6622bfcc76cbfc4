"""Mappings over others, so that a zone can be changed on trial at the cost of the change.

`Zone.trial` gives a zone whose nodes are a `Layer` over those that are: what is read through it
is what is beneath, but for what was put or taken away here. What is beneath must not change
meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import TypeVar

__all__ = ["Layer"]

K = TypeVar("K")
V = TypeVar("V")


class Layer(MutableMapping[K, V]):
    """A mapping that shows another one where it has nothing of its own.

    Args:
        beneath: The other one.
    """

    __slots__ = ("_beneath", "_gone", "_own")

    def __init__(self, beneath: Mapping[K, V]) -> None:
        self._beneath = beneath
        self._own: dict[K, V] = {}
        self._gone: set[K] = set()

    def __getitem__(self, key: K) -> V:
        if key in self._own:
            return self._own[key]
        if key in self._gone:
            raise KeyError(key)
        return self._beneath[key]

    def __setitem__(self, key: K, value: V) -> None:
        self._own[key] = value
        self._gone.discard(key)

    def __delitem__(self, key: K) -> None:
        if key not in self:
            raise KeyError(key)
        self._own.pop(key, None)
        if key in self._beneath:
            self._gone.add(key)

    def __iter__(self) -> Iterator[K]:
        """Those of the one beneath, then its own."""
        own, gone = self._own, self._gone
        yield from (each for each in self._beneath if each not in gone)
        yield from (each for each in own if each not in self._beneath)

    def __len__(self) -> int:
        return (
            len(self._beneath)
            - len(self._gone)
            + sum(1 for each in self._own if each not in self._beneath)
        )
