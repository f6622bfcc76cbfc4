"""One session, as handlers see it: a mapping of what is remembered.

What is in it must have a JSON form: nothing from outside is ever unpickled. It is saved
after the handler has answered, and only if it was changed; `Session.touch` says so where
a value was changed inside (a list that grew).

Two requests of one client at a time both work on copies: the one that is saved last wins,
wholly. A session that one of them has ended stays ended, whatever the other saves.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sennit.web.sessions.interfaces import Record

__all__ = ["Session"]

_USER = "_user"


class Session(MutableMapping[str, Any]):
    """What is remembered of a client. (`Any`: values that have a JSON form.)

    Attributes:
        new: Whether nothing is remembered of it yet.
        created: When it began, seconds since the epoch.
        changed: Whether it is to be saved.
        ended: Whether it is to be forgotten.
        rotated: Whether it is to get a new name.
    """

    __slots__ = ("_data", "changed", "created", "ended", "new", "rotated")

    def __init__(self, record: Record | None, now: float) -> None:
        self._data: dict[str, Any] = {} if record is None else record.data
        self.created = now if record is None else record.created
        self.new = record is None
        self.changed = False
        self.ended = False
        self.rotated = False

    def __repr__(self) -> str:
        # Values may be secrets; names are the application's own.
        return f"<Session of {self.user!r}: {', '.join(sorted(self._data))}>"

    def __getitem__(self, key: str) -> Any:
        return self._data[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if type(key) is not str:
            raise TypeError(f"a key is a str, not {key!r:.100}")
        self._data[key] = value
        self.changed = True

    def __delitem__(self, key: str) -> None:
        del self._data[key]
        self.changed = True

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    @property
    def data(self) -> dict[str, Any]:
        """All of it, for who saves it."""
        return self._data

    @property
    def user(self) -> str | None:
        """Who has logged in; ``None`` for nobody."""
        name: str | None = self._data.get(_USER)
        return name

    def touch(self) -> None:
        """Save it, though nobody can see that it was changed."""
        self.changed = True

    def rotate(self) -> None:
        """Give it a new name, and let the old one lead nowhere.

        Do so whenever what the client may do changes: a name that somebody else knew or
        planted before (session fixation) is worth nothing afterwards.
        """
        self.rotated = True
        self.changed = True

    def log_in(self, user: str) -> None:
        """Somebody has logged in: remember who, under a new name, its time beginning anew."""
        self._data[_USER] = user
        self.ended = False
        self.created = 0.0
        self.rotate()

    def log_out(self) -> None:
        """Forget all of it; another begins with the next thing that is put in."""
        self._data.clear()
        self.changed = False
        self.ended = True
        self.created = 0.0
