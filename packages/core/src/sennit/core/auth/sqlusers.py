"""Users in a database: two statements, in whatever way the driver marks parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zope.interface import implementer

from sennit.core.auth.interfaces import IUserStore
from sennit.core.errors import LoginUnavailableError

if TYPE_CHECKING:
    from sennit.core.auth.interfaces import ISQLDatabase

__all__ = ["LOOKUP", "UPDATE", "SQLUsers"]

LOOKUP: Final = "SELECT entry FROM users WHERE name = ?"
"""Finds a user's entry."""
UPDATE: Final = "UPDATE users SET entry = ? WHERE name = ? AND entry = ?"
"""Replaces it, unless it is another one by now."""


@implementer(IUserStore)
class SQLUsers:
    """A table of users and their entries (`sennit.core.auth.passwords`).

    Args:
        database: Runs the statements: a `sennit.core.database.Pool`, or what has its
            ``fetch_one`` and ``execute``.
        lookup: Gives the entry of the user who is the only parameter.
        update: Takes the new entry, the name and the old entry, in this order, and changes
            nothing unless the old one is still there. ``None``: nothing is ever replaced.
    """

    def __init__(
        self,
        database: ISQLDatabase,
        lookup: str = LOOKUP,
        update: str | None = UPDATE,
    ) -> None:
        self._database = database
        self._lookup = lookup
        self._update = update

    async def lookup(self, name: str) -> str | None:
        """The first column of the row; ``None`` for no row, NULL, or a locked entry."""
        try:
            row = await self._database.fetch_one(self._lookup, (name,))
        except Exception as error:
            # Every driver has a family of its own, and all of it means the same here.
            import logging

            logging.getLogger("sennit").error("Users cannot be looked up: %s", error)
            raise LoginUnavailableError("users cannot be looked up") from error
        if row is None or row[0] is None:
            return None
        entry = row[0]
        text = entry.decode("utf-8", "replace") if isinstance(entry, bytes) else str(entry)
        return None if text.startswith(("!", "*")) else text

    async def replace(self, name: str, old: str, new: str) -> bool:
        """Run the update; whether it changed a row (true where the driver does not say)."""
        if self._update is None:
            return False
        try:
            changed = await self._database.execute(self._update, (new, name, old))
        except Exception as error:
            raise LoginUnavailableError(f"the entry cannot be replaced: {error}") from error
        return bool(changed != 0)
