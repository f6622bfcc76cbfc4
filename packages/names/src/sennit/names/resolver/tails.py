"""Answers kept as octets: what a cached answer costs when it is asked for again.

A `Tail` is an answer without its id and question, found by the octets of the query behind the
id, in lower case: flags, counts, question, OPT. ``resolver.py`` puts id and question before it as
the client wrote them. Once a second the TTLs in it are brought down, in place; when the first of
them is nearly over it is dropped, so that the long way looks at it (and fetches what is asked for
often before it ends).

Bounded in number and octets: what was least asked for in the last seconds goes first.

Sources: RFC 1035 §4.1, RFC 2181 §8, RFC 6891 §6.1.2.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

__all__ = ["Tail", "Tails", "plain_query"]

_TTL: Final = Struct(">I")
_HEAD: Final = 12
_OPT: Final = 11
"""Octets of an OPT record without options."""
_LONGEST: Final = 1232
"""Octets of an answer that is kept."""
LAST: Final = 0.1
"""Part of its time in which an answer is looked at the long way."""
MOST_OCTETS: Final = 64 * 1024 * 1024
"""Octets of all of them, with what the interpreter takes for each."""
_EACH: Final = 500


class Tail:
    """An answer ready to be sent.

    Attributes:
        head: Flags and counts.
        exact: The end of the query, from its type on.
        tail: All behind the question.
        cut: Octets of the query behind its question, as a negative number; ``None`` for none.
        until: When its TTLs are to be brought down, or it is over.
    """

    __slots__ = ("base", "born", "cut", "end", "exact", "head", "size", "tail", "ttls", "until")

    def __init__(
        self,
        head: bytes,
        exact: bytes,
        tail: bytes,
        cut: int | None,
        ttls: tuple[int, ...],
        born: float,
        end: float,
    ) -> None:
        self.head = head
        self.exact = exact
        self.tail = tail
        self.base = tail
        self.cut = cut
        self.ttls = ttls
        self.born = born
        self.end = end
        self.until = min(born + 1.0, end)
        self.size = 0

    def age(self, now: float) -> None:
        """Bring the TTLs down to what is left."""
        elapsed = int(now - self.born)
        octets = bytearray(self.base)
        for place in self.ttls:
            (ttl,) = _TTL.unpack_from(octets, place)
            _TTL.pack_into(octets, place, max(0, ttl - elapsed))
        self.tail = bytes(octets)
        self.until = min(self.born + elapsed + 1.0, self.end)


class Tails:
    """Answers ready to be sent, by query.

    Args:
        most: How many.

    Attributes:
        table: They, by what the query has behind its id, in lower case. Who takes one looks
            whether the query ends as `Tail.exact` has it, since numbers of types and sizes
            have octets that are letters, too, and calls `renew` at `Tail.until`.
        octets: What they take, estimated.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.table: dict[bytes, Tail] = {}
        self.octets = 0

    def __len__(self) -> int:
        """How many there are."""
        return len(self.table)

    def renew(self, key: bytes, found: Tail, now: float) -> bool:
        """Bring an answer's TTLs down; whether it is still one."""
        if now >= found.end:
            self._drop(key)
            return False
        found.age(now)
        self.table[key] = self.table.pop(key)  # asked for lately
        return True

    def keep(self, query: bytes, answer: bytes, ttl: float, now: float) -> None:
        """Keep an answer to a plain query.

        Args:
            query: Its octets (`plain_query`).
            answer: The whole answer.
            ttl: Seconds until its first record ends.
            now: The time.
        """
        if ttl < 1 or len(answer) > _LONGEST or not self._most:
            return
        opt = query[11] == 1
        cut = -_OPT if opt else None
        behind = len(query) - (_OPT if opt else 0)
        tail = Tail(
            answer[2:_HEAD],
            query[behind - 4 :],
            answer[behind:],
            cut,
            _ttl_places(answer, behind),
            now,
            now + ttl - max(1.0, ttl * LAST) if ttl > 2 else now + ttl,
        )
        key = query[2:].lower()
        self._drop(key)
        tail.size = len(key) + 2 * len(tail.base) + _EACH
        self.table[key] = tail
        self.octets += tail.size
        while len(self.table) > self._most or self.octets > MOST_OCTETS:
            self._drop(next(iter(self.table)))

    def _drop(self, key: bytes) -> None:
        found = self.table.pop(key, None)
        if found is not None:
            self.octets -= found.size

    def clear(self) -> None:
        """Forget all."""
        self.table.clear()
        self.octets = 0


def plain_query(wire: bytes) -> bool:
    """Whether a query has one question and at most an OPT without options: no more than that."""
    if len(wire) < 17 or wire[4:10] != b"\0\1\0\0\0\0" or wire[2] & 0xFE or wire[10]:
        return False
    position = _HEAD
    size = len(wire)
    while length := wire[position]:
        position += 1 + length
        if length > 63 or position >= size:
            return False
    position += 5
    if not wire[11]:
        return position == size
    return (
        wire[11] == 1
        and position + _OPT == size
        and wire[position : position + 3] == b"\0\0\x29"
        and wire[position + 5 : position + 7] == b"\0\0"
        and wire[-2:] == b"\0\0"
    )


def _ttl_places(answer: bytes, begin: int) -> tuple[int, ...]:
    """Where the TTLs of an answer's records stand, behind `begin`; OPT has none."""
    places: list[int] = []
    position, size = begin, len(answer)
    while position < size:
        while (length := answer[position]) and length < 0xC0:
            position += 1 + length
        position += 2 if length else 1
        if answer[position : position + 2] != b"\0\x29":
            places.append(position + 4 - begin)
        position += 10 + (answer[position + 8] << 8 | answer[position + 9])
    return tuple(places)
