"""What sessions ask of a store, and what is kept in one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sennit.core.interfaces import Interface

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["MAX_TOKEN", "ISessionStore", "Record"]

MAX_TOKEN = 4096
"""Octets of what a client may show as the name of its session."""


class Record:
    """A session at rest. (`Any`: values that have a JSON form.)

    Attributes:
        data: What is remembered.
        created: When it began, seconds since the epoch.
        seen: When it was last used, about.
    """

    __slots__ = ("created", "data", "seen")

    def __init__(self, data: dict[str, Any], created: float, seen: float) -> None:
        self.data = data
        self.created = created
        self.seen = seen

    def __eq__(self, other: object) -> bool:
        if type(other) is not Record:
            return NotImplemented
        mine = (self.data, self.created, self.seen)
        return mine == (other.data, other.created, other.seen)

    __hash__ = None  # type: ignore[assignment]  # compared, never kept in sets

    def __repr__(self) -> str:
        return f"<Record of {self.created:.0f}, seen {self.seen:.0f}>"


class ISessionStore(Interface):
    """Keeps sessions, each under a token that its client shows.

    Whoever makes tokens makes them so that nobody can guess one: of 128 random bits at
    least, or signed. All methods may be called at the same time for the same token.
    """

    def load(self, token: str) -> Awaitable[Record | None]:
        """The session of a token; ``None`` for one that is not known, or whose time is over.

        Args:
            token: What a client shows: anything at all.
        """
        ...

    def save(self, token: str | None, record: Record, expires: float) -> Awaitable[str | None]:
        """Keep a session.

        Args:
            token: Of the session; ``None`` for a new one.
            record: What to keep.
            expires: When it may be forgotten, seconds since the epoch.

        Returns:
            The token from now on; ``None`` when the one given leads nowhere any more: then
            nothing was kept, lest a session that was ended comes back.

        Raises:
            ValueError: It is too large, or has no JSON form.
        """
        ...

    def delete(self, token: str) -> Awaitable[None]:
        """Forget a session, if there is one."""
        ...
