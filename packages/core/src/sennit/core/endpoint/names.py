"""Names to addresses, in threads of their own: a slow look-up keeps no other work waiting.

The system's resolver cannot be interrupted, and may take half a minute when no name server
answers. So each look-up has a limit here, after which its caller hears of a failure while the
thread is left to itself (HARDENING fault-8).
"""

from __future__ import annotations

import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, TypeAlias

    from sennit.core.deferred import Deferred
    from sennit.core.ops.instruments import Meter
    from sennit.core.reactor.base import Reactor

    # Family, kind, protocol, canonical name, address; Any: the `socket` module's own.
    Found: TypeAlias = tuple[Any, Any, int, str, Any]

__all__ = ["LOOK_UP_SECONDS", "RESOLVER_QUEUE", "RESOLVER_THREADS", "look_up"]

RESOLVER_THREADS: Final = 8
"""Look-ups at one time."""
RESOLVER_QUEUE: Final = 10_000
"""Look-ups that may wait for a thread."""
LOOK_UP_SECONDS: Final = 5.0
"""Seconds for one look-up, waiting for a thread included (HARDENING fault-8)."""


def look_up(
    reactor: Reactor, host: str, port: int, family: int = socket.AF_UNSPEC
) -> Deferred[list[Found]]:
    """`socket.getaddrinfo` for stream sockets, in a thread.

    Fails with `OSError` (`socket.gaierror` with ``EAI_AGAIN`` after `LOOK_UP_SECONDS`), or
    `UnicodeError` for what cannot be a name.
    """
    pool = reactor.resolver_threads
    if pool is None:
        from sennit.core.threads import ThreadPool

        pool = reactor.resolver_threads = ThreadPool(
            RESOLVER_THREADS, "sennit-resolver", queue=RESOLVER_QUEUE
        )
    found = pool.defer(reactor, socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)

    def expire() -> None:
        if not found.called:
            pool.forget(found)
            found.errback(
                socket.gaierror(
                    socket.EAI_AGAIN,
                    f"no answer about {host!r} from the name servers in {LOOK_UP_SECONDS:g} s",
                )
            )

    timer = reactor.call_later(LOOK_UP_SECONDS, expire)
    if reactor.meter is not None:
        _measure(reactor, reactor.meter, found)
    return found.add_finally(timer.cancel)


def _measure(reactor: Reactor, meter: Meter, found: Deferred[list[Found]]) -> None:
    began = reactor.time()

    def done(value: list[Found]) -> list[Found]:
        meter.looked_up(reactor.time() - began, None)
        return value

    def failed(error: BaseException) -> BaseException:
        meter.looked_up(reactor.time() - began, error)
        return error  # which stays one

    found.add_callbacks(done, failed)
