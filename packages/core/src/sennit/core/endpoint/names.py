"""Names to addresses, in threads of their own: a slow look-up keeps no other work waiting.

A reactor that has a `resolver` asks that one instead, without threads and with the same limits.
The system's resolver cannot be interrupted, and may take half a minute when no name server
answers. So each look-up has a limit here, after which its caller hears of a failure while the
thread is left to itself (HARDENING fault-8).
"""

from __future__ import annotations

import socket
from functools import partial

from sennit.core.errors import (
    NameLookupError,
    NoRecordsError,
    PoolFullError,
    UnknownNameError,
    UsageError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final, TypeAlias

    from sennit.core.deferred import Deferred
    from sennit.core.ops.instruments import Meter
    from sennit.core.reactor.base import Reactor
    from sennit.core.resolver import IResolver

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
    reactor: Reactor,
    host: str,
    port: int,
    family: int = socket.AF_UNSPEC,
    *,
    by_system: bool = False,
) -> Deferred[list[Found]]:
    """What `socket.getaddrinfo` has for stream sockets, out of a thread or the reactor's resolver.

    Args:
        reactor: Whose threads, or resolver.
        host: The name.
        port: What stands in the addresses.
        family: Of the addresses, `socket.AF_INET` and its like.
        by_system: Ask the system, whatever resolver the reactor has.

    Fails with `OSError` (`socket.gaierror` with ``EAI_AGAIN`` after `LOOK_UP_SECONDS`), or
    `UnicodeError` for what cannot be a name.
    """
    resolver = None if by_system else reactor.resolver
    if resolver is not None:
        from sennit.core.resolver import is_by_system

        if is_by_system():
            resolver = None
    if resolver is None:
        found, give_up = _in_thread(reactor, host, port, family)
    else:
        found, give_up = _by_resolver(reactor, resolver, host, port, family)

    def expire() -> None:
        if not found.called:
            give_up()
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


def _in_thread(
    reactor: Reactor, host: str, port: int, family: int
) -> tuple[Deferred[list[Found]], Callable[[], object]]:
    """The look-up under way, and what gives it up."""
    pool = reactor.resolver_threads
    if pool is None:
        from sennit.core.threads import ThreadPool

        pool = reactor.resolver_threads = ThreadPool(
            RESOLVER_THREADS, "sennit-resolver", queue=RESOLVER_QUEUE
        )
    found = pool.defer(reactor, socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
    return found, partial(pool.forget, found)


def _by_resolver(
    reactor: Reactor, resolver: IResolver, host: str, port: int, family: int
) -> tuple[Deferred[list[Found]], Callable[[], object]]:
    """The same, of a resolver that needs no threads."""
    from sennit.core.deferred import Deferred

    if reactor.names_awaited >= RESOLVER_QUEUE:
        raise PoolFullError(f"{RESOLVER_QUEUE} look-ups of names wait already")
    asking = Deferred.from_coroutine(_addresses(resolver, host, port, family))
    found: Deferred[list[Found]] = Deferred(lambda _: asking.cancel())
    reactor.names_awaited += 1

    def answered(value: list[Found]) -> None:
        reactor.names_awaited -= 1
        if not found.called:
            found.callback(value)

    def failed(error: BaseException) -> None:
        reactor.names_awaited -= 1
        if not found.called:
            found.errback(error)

    asking.add_callbacks(answered, failed)
    return found, asking.cancel


async def _addresses(resolver: IResolver, host: str, port: int, family: int) -> list[Found]:
    try:
        addresses = await resolver.addresses(host, family)
    except NoRecordsError as error:
        raise socket.gaierror(_NO_DATA, str(error)) from error
    except UnknownNameError as error:
        raise socket.gaierror(socket.EAI_NONAME, str(error)) from error
    except NameLookupError as error:
        raise socket.gaierror(socket.EAI_AGAIN, str(error)) from error
    except UsageError as error:
        raise UnicodeError(f"{host!r:.300} is no name: {error}") from error
    found: list[Found] = []
    for each in addresses:
        if ":" in each:
            found.append((socket.AF_INET6, socket.SOCK_STREAM, 6, "", (each, port, 0, 0)))
        else:
            found.append((socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)))
    return found


_NO_DATA: Final = getattr(socket, "EAI_NODATA", socket.EAI_NONAME)


def _measure(reactor: Reactor, meter: Meter, found: Deferred[list[Found]]) -> None:
    began = reactor.time()

    def done(value: list[Found]) -> list[Found]:
        meter.looked_up(reactor.time() - began, None)
        return value

    def failed(error: BaseException) -> BaseException:
        meter.looked_up(reactor.time() - began, error)
        return error  # which stays one

    found.add_callbacks(done, failed)
