"""The resolver that other strands get of this package (`sennit.core.resolver`)."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from sennit.core.resolver import (
    CertificateAssociation,
    MailExchange,
    Records,
    ServiceBinding,
    ServiceLocation,
)
from sennit.names.client.lookups import in_digits
from sennit.names.client.reverse import reverse_name
from sennit.names.client.stub import StubResolver
from sennit.names.codes import RRType
from sennit.names.errors import NoDataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from sennit.core.reactor.base import Reactor
    from sennit.names.name import Name

__all__ = ["LentResolver", "host_of", "resolver"]


def resolver(*, servers: Sequence[str] = (), reactor: Reactor | None = None) -> LentResolver:
    """What the entry point ``names`` of ``sennit.resolvers`` names."""
    return LentResolver(StubResolver(list(servers) or None, reactor=reactor))


class LentResolver:
    """A `StubResolver` behind core's interface.

    Args:
        stub: Who is asked; closed with it.
    """

    def __init__(self, stub: StubResolver) -> None:
        self._stub = stub

    async def addresses(self, name: str, family: int = 0) -> Records[str]:
        """Addresses of a host."""
        if (address := in_digits(name)) is not None:
            if family and (family == socket.AF_INET6) != (":" in address):
                raise NoDataError(f"{name} is an address of the other family")
            return Records([address])
        if family:
            rdtype = RRType.A if family == socket.AF_INET else RRType.AAAA
            found = [await self._stub.lookup(name, int(rdtype))]
        else:
            found = await self._stub.both_families(name)
        return Records(
            (str(each) for one in found for each in one.rdatas),
            authenticated=all(each.authenticated for each in found),
        )

    async def mx(self, name: str) -> Records[MailExchange]:
        """Who takes mail for a domain."""
        from sennit.names.client.selection import is_null_mx, order_mx
        from sennit.names.rdata.basic import MX

        found = await self._stub.lookup(name, int(RRType.MX))
        records = order_mx(each for each in found.rdatas if isinstance(each, MX))
        if is_null_mx(records):
            records = []
        return Records(
            (MailExchange(each.preference, host_of(each.exchange)) for each in records),
            authenticated=found.authenticated,
        )

    async def srv(self, name: str) -> Records[ServiceLocation]:
        """Where a service is."""
        from sennit.names.client.selection import order_srv
        from sennit.names.rdata.service import SRV

        found = await self._stub.lookup(name, int(RRType.SRV))
        records = order_srv(each for each in found.rdatas if isinstance(each, SRV))
        return Records(
            (
                ServiceLocation(each.priority, each.weight, each.port, host_of(each.target))
                for each in records
            ),
            authenticated=found.authenticated,
        )

    async def txt(self, name: str) -> Records[bytes]:
        """Texts."""
        from sennit.names.rdata.basic import TXT

        found = await self._stub.lookup(name, int(RRType.TXT))
        return Records(
            (b"".join(each.strings) for each in found.rdatas if isinstance(each, TXT)),
            authenticated=found.authenticated,
        )

    async def ptr(self, address: str) -> Records[str]:
        """Names of an address."""
        from sennit.names.rdata.basic import PTR

        found = await self._stub.lookup(reverse_name(address), int(RRType.PTR))
        return Records(
            (host_of(each.target) for each in found.rdatas if isinstance(each, PTR)),
            authenticated=found.authenticated,
        )

    async def tlsa(self, name: str) -> Records[CertificateAssociation]:
        """Certificates of a service."""
        from sennit.names.rdata.certificate import TLSA

        found = await self._stub.lookup(name, int(RRType.TLSA))
        return Records(
            (
                CertificateAssociation(each.usage, each.selector, each.matching_type, each.data)
                for each in found.rdatas
                if isinstance(each, TLSA)
            ),
            authenticated=found.authenticated,
        )

    async def svcb(self, name: str, kind: str = "HTTPS") -> Records[ServiceBinding]:
        """Ways to a service."""
        rdtype = RRType.HTTPS if kind == "HTTPS" else RRType.SVCB
        found, authenticated = await self._stub.service_bindings(name, rdtype)
        return Records(
            (
                ServiceBinding(
                    each.priority,
                    host_of(each.target),
                    each.port,
                    each.alpn,
                    each.ipv6hint + each.ipv4hint,
                )
                for each in found
            ),
            authenticated=authenticated,
        )

    async def aclose(self) -> None:
        """Close connections."""
        await self._stub.aclose()

    async def __aenter__(self) -> Self:
        """The resolver itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """`aclose`."""
        await self.aclose()


def host_of(name: Name) -> str:
    """A name as others write it: without the dot at its end."""
    return str(name)[:-1] or "."
