"""A resolver for strands that are not about DNS, whoever brings it.

Mail asks for MX, XMPP for SRV: neither is a reason to depend on a package about names. What they
need is `IResolver`; `resolver` finds one among the entry points of the group
``sennit.resolvers`` (``sennit-names`` brings ``names``)::

    async with resolver() as names:
        for exchange in await names.mx("example.org"):
            ...

A plugin is a callable with the keywords of `resolver`, without ``name``. Where none is
installed there is `SystemResolver`, which knows addresses alone, by ``getaddrinfo``.

What comes is `Records`: a tuple, and whether it is authenticated (DNSSEC). What does not come is
a `sennit.core.errors.NameLookupError`: `UnknownNameError` for a name that does not exist,
`NoRecordsError` for one without such records, and for all else, which may be otherwise later,
that class itself or another one beneath it.

A reactor that is given one (``reactor.resolver = resolver()``, or ``resolver`` in a
configuration's ``[node]``) connects by names through it; see ``endpoint/names.py``. A resolver
that has to connect by name itself, to its own server, does so inside `by_system`.
"""

from __future__ import annotations

import socket
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from sennit.core.errors import NameLookupError, UnknownNameError
from sennit.core.interfaces import Interface
from sennit.core.plugin import UnknownPluginError, find, installed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from typing import Self

    from sennit.core.reactor.base import Reactor

__all__ = [
    "RESOLVERS",
    "CertificateAssociation",
    "IResolver",
    "MailExchange",
    "Records",
    "ServiceBinding",
    "ServiceLocation",
    "SystemResolver",
    "by_system",
    "is_by_system",
    "resolver",
]

RESOLVERS: Final = "sennit.resolvers"
"""The entry point group."""

T = TypeVar("T")


class Records(tuple[T, ...]):
    """What a name has, in the order in which it is to be tried.

    Attributes:
        authenticated: Whether it is proven to be what the name's owner published (DNSSEC).
    """

    authenticated: bool

    def __new__(cls, records: Iterable[T] = (), *, authenticated: bool = False) -> Self:
        """Make it of its records."""
        self = super().__new__(cls, records)
        self.authenticated = authenticated
        return self


class MailExchange(NamedTuple):
    """A host that takes mail for a domain (RFC 5321 §5.1).

    Attributes:
        preference: The lowest is tried first.
        host: Its name, without a dot at its end.
    """

    preference: int
    host: str


class ServiceLocation(NamedTuple):
    """A place where a service is (RFC 2782).

    Attributes:
        priority: The lowest is tried first.
        weight: The chance with which it comes before others of its priority; done already.
        port: Port.
        host: Name of the host, without a dot at its end.
    """

    priority: int
    weight: int
    port: int
    host: str


class CertificateAssociation(NamedTuple):
    """A certificate, or a part of one, that a service shows (TLSA, RFC 6698 §2.1).

    Attributes:
        usage: What it says: 0 and 2 of an authority, 1 and 3 of the service itself.
        selector: 0 for the whole certificate, 1 for its public key.
        matching: 0 for the octets themselves, 1 for their SHA-256, 2 for their SHA-512.
        data: The octets.
    """

    usage: int
    selector: int
    matching: int
    data: bytes


class ServiceBinding(NamedTuple):
    """A way to a service (SVCB and HTTPS, RFC 9460).

    Attributes:
        priority: The lowest is tried first.
        host: Name of the host, without a dot at its end.
        port: Port; ``None`` for the usual one.
        alpn: Application protocols.
        addresses: Addresses to begin with, before the host's own are known.
    """

    priority: int
    host: str
    port: int | None
    alpn: tuple[bytes, ...]
    addresses: tuple[str, ...]


class IResolver(Interface):
    """Looks names up. Names are text, in any case, with or without a dot at their end."""

    async def addresses(self, name: str, family: int = 0) -> Records[str]:
        """Addresses of a host, IPv6 first; of one family where `socket.AF_INET` … is given.

        Raises:
            UnknownNameError: There is no such name.
            NoRecordsError: It has no addresses (of this family).
            NameLookupError: Nobody can say now.
        """
        ...

    async def mx(self, name: str) -> Records[MailExchange]:
        """Who takes mail for a domain; empty where it says that nobody does (RFC 7505).

        A domain without MX records takes mail itself (RFC 5321 §5.1): `NoRecordsError`, and the
        rest is the caller's.
        """
        ...

    async def srv(self, name: str) -> Records[ServiceLocation]:
        """Where a service is, ``_xmpp-client._tcp.example.org``; empty where it is not offered."""
        ...

    async def txt(self, name: str) -> Records[bytes]:
        """Texts, the strings of each put together."""
        ...

    async def ptr(self, address: str) -> Records[str]:
        """Names of an address, without dots at their ends."""
        ...

    async def tlsa(self, name: str) -> Records[CertificateAssociation]:
        """Certificates of a service, ``_25._tcp.mx.example.org``.

        They count only where they are `Records.authenticated` (RFC 6698 §4.1).
        """
        ...

    async def svcb(self, name: str, kind: str = "HTTPS") -> Records[ServiceBinding]:
        """Ways to a service; `kind` is ``HTTPS`` or ``SVCB``."""
        ...

    async def aclose(self) -> None:
        """Close its connections. Harmless when done."""

    async def __aenter__(self) -> Self:
        """The resolver itself."""
        ...

    async def __aexit__(self, *_: object) -> None:
        """`aclose`."""


def resolver(
    *,
    name: str | None = None,
    servers: Sequence[str] = (),
    reactor: Reactor | None = None,
) -> IResolver:
    """A resolver of one's own, to be closed in the end.

    Args:
        name: Of the plugin, or ``system``; whichever there is when left out.
        servers: Whom to ask; those of this host when left out.
        reactor: Whose time and sockets it uses; the current one when left out.

    Raises:
        UnknownPluginError: There is none of that name.
        BrokenPluginError: It cannot be loaded.
        ValueError: The system's resolver cannot be given servers.
    """
    if name is None:
        name = next(iter(installed(RESOLVERS)), "system")
    if name == "system":
        if servers:
            raise UnknownPluginError(RESOLVERS, "names", "pip install sennit-names")
        return SystemResolver(reactor=reactor)
    make: Callable[..., IResolver] = find(RESOLVERS, name)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]  # as the group promises
    return make(servers=servers, reactor=reactor)


class SystemResolver:
    """Addresses by ``getaddrinfo``, in threads; for other records there is nobody to ask.

    Args:
        reactor: Whose threads to use; the current one when left out.
    """

    def __init__(self, *, reactor: Reactor | None = None) -> None:
        self._reactor = reactor

    async def addresses(self, name: str, family: int = 0) -> Records[str]:
        """Addresses of a host, in the system's order."""
        from sennit.core.endpoint.names import look_up
        from sennit.core.reactor.base import current_reactor

        looking = look_up(self._reactor or current_reactor(), name, 0, family, by_system=True)
        try:
            found = await looking
        except socket.gaierror as error:
            text = f"{name}: {error.strerror or error}"
            if error.errno == socket.EAI_NONAME:
                raise UnknownNameError(text) from error
            raise NameLookupError(text) from error
        except UnicodeError as error:
            raise UnknownNameError(f"{name!r:.300} is no name: {error}") from error
        return Records(dict.fromkeys(str(each[4][0]) for each in found))

    async def mx(self, name: str) -> Records[MailExchange]:
        """Nobody to ask."""
        raise _missing(name)

    async def srv(self, name: str) -> Records[ServiceLocation]:
        """Nobody to ask."""
        raise _missing(name)

    async def txt(self, name: str) -> Records[bytes]:
        """Nobody to ask."""
        raise _missing(name)

    async def ptr(self, address: str) -> Records[str]:
        """Nobody to ask."""
        raise _missing(address)

    async def tlsa(self, name: str) -> Records[CertificateAssociation]:
        """Nobody to ask."""
        raise _missing(name)

    async def svcb(self, name: str, kind: str = "HTTPS") -> Records[ServiceBinding]:
        """Nobody to ask."""
        raise _missing(name)

    async def aclose(self) -> None:
        """There is nothing to close."""

    async def __aenter__(self) -> Self:
        """The resolver itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """There is nothing to close."""


def _missing(name: str) -> UnknownPluginError:
    return UnknownPluginError(
        RESOLVERS,
        "names",
        f"{name} has to be looked up in DNS for more than addresses: pip install sennit-names",
    )


# ── connecting by name ────────────────────────────────────────────────────────

_by_system: ContextVar[bool] = ContextVar("sennit_names_by_system", default=False)


@contextmanager
def by_system() -> Generator[None, None, None]:
    """In this block, and in what it begins, names are looked up by the system.

    For resolvers, which cannot look up the names of their own servers.
    """
    token = _by_system.set(True)
    try:
        yield
    finally:
        _by_system.reset(token)


def is_by_system() -> bool:
    """Whether this runs in such a block."""
    return _by_system.get()
