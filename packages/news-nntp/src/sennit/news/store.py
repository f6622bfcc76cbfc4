"""The directory that needs no server: values in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import implementer

from sennit.news.errors import NNTPUsageError
from sennit.news.interfaces import IDirectory

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MemoryDirectory"]


@implementer(IDirectory)
class MemoryDirectory:
    """Values given once.

    Args:
        values: What there is; a value is one line, without its end.
    """

    def __init__(self, values: Mapping[bytes, bytes]) -> None:
        for key, value in values.items():
            # Else a value could pass for further replies.
            if any(end in value for end in (b"\r", b"\n", b"\0")):
                raise NNTPUsageError(f"the value of {key!r} is not one line: {value[:64]!r}")
        self._values = dict(values)

    async def lookup(self, key: bytes) -> bytes | None:
        """Give the value, at once."""
        return self._values.get(key)
