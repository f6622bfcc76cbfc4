"""Sessions in Redis, shared by the servers of several machines (extra ``redis``).

Redis forgets what has expired by itself. How durable they are is a matter of its own
settings (``appendfsync``).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from sennit.core.errors import MissingExtraError
from sennit.web.sessions.interfaces import ISessionStore, Record
from sennit.web.sessions.stores import decoded, encoded, key_of, new_token

try:
    from redis.asyncio import Redis
except ImportError as error:  # pragma: no cover - tested in an environment without it
    raise MissingExtraError(__name__, "sennit-web", "redis") from error

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

__all__ = ["RedisSessions"]


@implementer(ISessionStore)
class RedisSessions:
    """Sessions in a Redis server; use it as ``async with RedisSessions(url) as store``.

    Args:
        url: Such as ``redis://127.0.0.1:6379/0``, ``rediss://`` for TLS, or ``unix://``.
        prefix: Of its keys.
        options: Those of `redis.asyncio.Redis.from_url`. (`Any`: they are checked there.)
        wall_clock: Seconds since the epoch.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "sennit:session:",
        wall_clock: Callable[[], float] = time.time,
        **options: Any,
    ) -> None:
        # A server that is away must not hold a request for ever.
        limits: dict[str, Any] = {"socket_timeout": 5.0, "socket_connect_timeout": 5.0}
        make: Any = Redis  # its types say little
        self._redis = make.from_url(url, **{**limits, **options})
        self._prefix = prefix
        self._wall_clock = wall_clock

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._redis.aclose()

    def _key(self, token: str) -> str:
        return self._prefix + key_of(token)

    async def load(self, token: str) -> Record | None:
        """The session of a token."""
        octets = await self._redis.get(self._key(token))
        return None if octets is None else decoded(bytes(octets))

    async def save(self, token: str | None, record: Record, expires: float) -> str | None:
        """Keep it until it expires."""
        octets = encoded(record)
        left = max(1, int(1000 * (expires - self._wall_clock())))
        new = token is None
        token = token or new_token()
        # Only where there is none, or only where there is one: in one step.
        kept = await self._redis.set(self._key(token), octets, px=left, nx=new, xx=not new)
        return token if kept else None

    async def delete(self, token: str) -> None:
        """Forget it."""
        await self._redis.delete(self._key(token))
