"""Answers kept as octets: what a cached answer costs when it is asked for again.

A tail is an answer without its id and question, found by the octets of the query behind the
id, in lower case: flags, counts, question, OPT. ``resolver.py`` puts id and question before it as
the client wrote them. Its TTLs are brought down once a second, or less often where they are long;
when the first of them is nearly over it is dropped, so that the long way looks at it (and fetches
what is asked for often before it ends).

Bounded in number and octets: what was least asked for in the last seconds goes first.

Sources: RFC 1035 §4.1, RFC 2181 §8, RFC 6891 §6.1.2.
"""

from __future__ import annotations

from collections import OrderedDict
from struct import Struct
from typing import Final

__all__ = ["Source", "Tail", "Tails", "Window", "plain_query"]

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
_MOST_SHARED: Final = 1000
_LONGEST_WINDOW: Final = 10
"""Seconds for which an answer's TTLs are left as they are at most."""


class Source:
    """What an answer is made of anew each second.

    Attributes:
        octets: All behind the question, as it was when it came.
        ttls: Where its TTLs stand.
        born: When it came.
        end: When it is over.
        size: Octets that the whole takes, estimated.
    """

    __slots__ = ("born", "end", "octets", "size", "ttls")

    def __init__(
        self, octets: bytes, ttls: tuple[int, ...], born: float, end: float, size: int
    ) -> None:
        self.octets = octets
        self.ttls = ttls
        self.born = born
        self.end = end
        self.size = size

    def aged(self, when: float) -> bytes:
        """The octets with the TTLs that are left at a time."""
        elapsed = int(when - self.born)
        if not elapsed:
            return self.octets
        octets = bytearray(self.octets)
        for place in self.ttls:
            (ttl,) = _TTL.unpack_from(octets, place)
            _TTL.pack_into(octets, place, max(0, ttl - elapsed))
        return bytes(octets)


class Window:
    """A time in which TTLs stay as they are at its end: less than is left, never more.

    Attributes:
        until: That end.
    """

    __slots__ = ("until",)

    def __init__(self, until: float) -> None:
        self.until = until


Tail = tuple[bytes, bytes, int | None, bytes, Window, Source]
"""An answer ready to be sent: the end of its query, from the type on; flags and counts; where the
question of the query ends, from behind; all behind the question; the window it is right in.

A tuple, its first three and the window shared by most: each object more is a miss of the
processor's caches, which is what a look-up among many costs (with objects of their own it took
three times as long).
"""


class Tails:
    """Answers ready to be sent, by query.

    Args:
        most: How many.

    Attributes:
        table: They, by what the query has behind its id, in lower case. Who takes one looks
            whether the query ends as it has to, since numbers of types and sizes have octets
            that are letters, too; and calls `renew` where its window has ended.
        octets: What they take, estimated.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._shared: dict[bytes, bytes] = {}
        self.table: OrderedDict[bytes, Tail] = OrderedDict()
        self._windows: dict[int, Window] = {}
        self.octets = 0

    def __len__(self) -> int:
        """How many there are."""
        return len(self.table)

    def renew(self, key: bytes, found: Tail, now: float) -> Tail | None:
        """An answer with the TTLs of the present window; ``None`` where it is over."""
        source = found[5]
        if now >= source.end:
            self._drop(key)
            return None
        # A hundredth of its time, so that little is lost of it.
        length = max(1, min(_LONGEST_WINDOW, int((source.end - source.born) / 100)))
        window = self._windows.get(length)
        if window is None or window.until <= now:
            window = self._windows[length] = Window(now + length)
        if source.end < window.until:
            window = Window(min(source.end, now + 1.0))
        tail = (found[0], found[1], found[2], source.aged(window.until), window, source)
        # Asked for lately, so to the end; and with the key anew, so that what is asked for at
        # one time lies together in memory.
        del self.table[key]
        self.table[key] = tail
        return tail

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
        key = query[2:].lower()
        octets = answer[behind:]
        source = Source(
            octets,
            _ttl_places(answer, behind),
            now,
            now + ttl - max(1.0, ttl * LAST) if ttl > 2 else now + ttl,
            len(key) + 2 * len(octets) + _EACH,
        )
        self._drop(key)
        exact = self._share(query[behind - 4 :])
        self.table[key] = (exact, self._share(answer[2:_HEAD]), cut, octets, _NEVER, source)
        self.octets += source.size
        while len(self.table) > self._most or self.octets > MOST_OCTETS:
            self._drop(next(iter(self.table)))

    def _share(self, octets: bytes) -> bytes:
        """The same octets, of which there is one object."""
        if len(self._shared) >= _MOST_SHARED:
            self._shared.clear()
        return self._shared.setdefault(octets, octets)

    def _drop(self, key: bytes) -> None:
        found = self.table.pop(key, None)
        if found is not None:
            self.octets -= found[5].size

    def clear(self) -> None:
        """Forget all."""
        self.table.clear()
        self.octets = 0


_NEVER: Final = Window(float("-inf"))


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
