"""Names to addresses, in threads of their own: a slow look-up keeps no other work waiting."""

from __future__ import annotations

import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, TypeAlias

    from sennit.core.deferred import Deferred
    from sennit.core.reactor.base import Reactor

    # Family, kind, protocol, canonical name, address; Any: the `socket` module's own.
    Found: TypeAlias = tuple[Any, Any, int, str, Any]

__all__ = ["look_up"]

RESOLVER_THREADS: Final = 8
"""Look-ups at one time."""


def look_up(
    reactor: Reactor, host: str, port: int, family: int = socket.AF_UNSPEC
) -> Deferred[list[Found]]:
    """`socket.getaddrinfo` for stream sockets, in a thread.

    Fails with `OSError`, or `UnicodeError` for what cannot be a name.
    """
    if reactor.resolver_threads is None:
        from sennit.core.threads import ThreadPool

        reactor.resolver_threads = ThreadPool(RESOLVER_THREADS, "sennit-resolver")
    return reactor.resolver_threads.defer(
        reactor, socket.getaddrinfo, host, port, family, socket.SOCK_STREAM
    )
