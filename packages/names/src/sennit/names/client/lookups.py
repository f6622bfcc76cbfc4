"""Typed look-ups over one method: ``await resolver.mx("example.org")``.

`Lookups` is a base for whatever can `lookup` a name and type: `StubResolver`, which asks
others, and the package's own recursive resolver. Each method gives what programs want of the
type, in the order in which it is to be tried where there is one.

Sources: RFC 5321 §5.1, RFC 7505 (mail), RFC 2782 (SRV), RFC 9460 (SVCB, HTTPS), RFC 6698 §3
(names of TLSA records).
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from sennit.names.client.reverse import reverse_name
from sennit.names.client.selection import (
    ServiceBinding,
    implicit_mx,
    is_null_mx,
    order_mx,
    order_services,
    order_srv,
    read_service,
    usable_services,
)
from sennit.names.codes import RRClass, RRType
from sennit.names.errors import (
    DNSError,
    NoDataError,
    NoSuchNameError,
    ResponseError,
)
from sennit.names.name import Name
from sennit.names.rdata.address import AAAA, A
from sennit.names.rdata.basic import CNAME, MX, NS, PTR, SOA, TXT

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    from sennit.names.client.answers import Lookup
    from sennit.names.rdata import Rdata
    from sennit.names.rdata.certificate import CAA, SSHFP, TLSA
    from sennit.names.rdata.service import NAPTR, SRV, URI

__all__ = ["Lookups", "in_digits"]

MAX_SERVICE_ALIASES: Final = 8
"""Aliases of SVCB and HTTPS that are followed (RFC 9460 §2.4.2: the client's to choose)."""


class Lookups:
    """Typed look-ups.

    All of them raise `NoSuchNameError` (no such name), `NoDataError` (no such records), and of
    the other `LookupFailedError`: `ResponseError`, `LookupTimeoutError`, `UnreachableError`,
    `ValidationError`.
    """

    @property
    def one_by_one(self) -> bool:
        """Whether a host's addresses are asked for one family after the other."""
        return False

    @abstractmethod
    async def lookup(
        self, name: Name | str, rdtype: int | str = "A", rdclass: int = RRClass.IN
    ) -> Lookup:
        """The records of a name and type, with all that is known about them."""

    async def _rdatas(self, name: Name | str, rdtype: RRType) -> tuple[Rdata, ...]:
        return (await self.lookup(name, int(rdtype))).rdatas

    # ── addresses ─────────────────────────────────────────────────────────────

    async def a(self, name: Name | str) -> list[str]:
        """Addresses of IPv4."""
        found = await self._rdatas(name, RRType.A)
        return [each.address for each in found if isinstance(each, A)]

    async def aaaa(self, name: Name | str) -> list[str]:
        """Addresses of IPv6."""
        found = await self._rdatas(name, RRType.AAAA)
        return [each.address for each in found if isinstance(each, AAAA)]

    async def addresses(self, name: Name | str) -> list[str]:
        """Addresses of both families, IPv6 first.

        An address in digits is its own. A family that has none, or whose question fails, is left
        out; only where both fail the error of the more telling one is raised.
        """
        if (address := in_digits(name)) is not None:
            return [address]
        return [str(each) for found in await self.both_families(name) for each in found.rdatas]

    async def both_families(self, name: Name | str) -> list[Lookup]:
        """What is found of a host's addresses, IPv6 first, with all that is known about them.

        Errors as of `addresses`. Both are asked for at once, unless `one_by_one` says otherwise.
        """
        kinds = (int(RRType.AAAA), int(RRType.A))
        results: list[Lookup | BaseException] = []
        for asked in [(each,) for each in kinds] if self.one_by_one else [kinds]:
            looking = [self.lookup(name, each) for each in asked]
            results += await asyncio.gather(*looking, return_exceptions=True)
        found: list[Lookup] = []
        errors: list[BaseException] = []
        for each in results:
            if isinstance(each, BaseException):
                errors.append(each)
            else:
                found.append(each)
        for error in errors:
            telling = not isinstance(error, (NoDataError, NoSuchNameError))
            if not isinstance(error, DNSError) or (telling and not found):
                raise error
        if not found:
            raise errors[-1]
        return found

    # ── mail ──────────────────────────────────────────────────────────────────

    async def mx(self, name: Name | str) -> list[MX]:
        """Mail exchanges as the zone has them, the first to be tried first."""
        found = await self._rdatas(name, RRType.MX)
        return order_mx(each for each in found if isinstance(each, MX))

    async def mail_exchanges(self, name: Name | str) -> list[MX]:
        """Where mail for a domain goes: its MX records, or itself where it has none.

        Empty where it says that it takes no mail (RFC 7505).

        Raises:
            NoSuchNameError: There is no such domain: mail to it bounces.
        """
        try:
            found = await self.mx(name)
        except NoDataError:
            whole = Name(name) if isinstance(name, str) else name
            return [implicit_mx(whole)]
        return [] if is_null_mx(found) else found

    # ── services ──────────────────────────────────────────────────────────────

    async def srv(self, name: Name | str) -> list[SRV]:
        """Places of a service (``_xmpp-client._tcp.example.org``), in the order to try them.

        Empty where the zone says that the service is not offered (RFC 2782).
        """
        from sennit.names.rdata.service import SRV

        found = await self._rdatas(name, RRType.SRV)
        return order_srv(each for each in found if isinstance(each, SRV))

    async def svcb(self, name: Name | str) -> list[ServiceBinding]:
        """Service bindings (``_dns.resolver.arpa``), aliases followed, in the order to try them."""
        return (await self.service_bindings(name))[0]

    async def https(self, name: Name | str) -> list[ServiceBinding]:
        """The same for ``https`` URLs (RFC 9460 §9); ``http/1.1`` is spoken unless excluded."""
        return (await self.service_bindings(name, RRType.HTTPS))[0]

    async def service_bindings(
        self, name: Name | str, rdtype: int = RRType.SVCB
    ) -> tuple[list[ServiceBinding], bool]:
        """What `svcb` and `https` give, and whether all of it is authenticated."""
        from sennit.names.rdata.svcb import SVCB

        default_alpn = (b"http/1.1",) if rdtype == RRType.HTTPS else ()
        asked: Name | str = name
        alias: ServiceBinding | None = None
        authenticated = True
        for _ in range(MAX_SERVICE_ALIASES):
            try:
                found = await self.lookup(asked, int(rdtype))
            except (NoDataError, NoSuchNameError):
                if alias is None:
                    raise
                # RFC 9460 §3: the name of an alias without bindings is used as it is.
                return [ServiceBinding(0, alias.target)], False
            authenticated = authenticated and found.authenticated
            owner = found.canonical_name
            chosen = order_services(
                read_service(owner, each, default_alpn)
                for each in found.rdatas
                if isinstance(each, SVCB)
            )
            if not chosen:
                raise NoDataError(f"{owner} has no service binding that can be read")
            if not chosen[0].is_alias:
                return usable_services(chosen), authenticated
            alias = chosen[0]
            if alias.target.is_root:
                return [], authenticated  # RFC 9460 §2.5.1: not available
            asked = alias.target
        raise ResponseError(f"the service bindings of {name} lead from alias to alias", 2)

    # ── the others ────────────────────────────────────────────────────────────

    async def txt(self, name: Name | str) -> list[bytes]:
        """Texts, the strings of each put together (RFC 7208 §3.3)."""
        found = await self._rdatas(name, RRType.TXT)
        return [b"".join(each.strings) for each in found if isinstance(each, TXT)]

    async def ptr(self, name: Name | str) -> list[Name]:
        """Names that a reverse name points to."""
        found = await self._rdatas(name, RRType.PTR)
        return [each.target for each in found if isinstance(each, PTR)]

    async def reverse(self, address: str | IPv4Address | IPv6Address) -> list[Name]:
        """Names of an address."""
        return await self.ptr(reverse_name(address))

    async def ns(self, name: Name | str) -> list[Name]:
        """Name servers of a zone."""
        found = await self._rdatas(name, RRType.NS)
        return [each.target for each in found if isinstance(each, NS)]

    async def soa(self, name: Name | str) -> SOA:
        """The start of authority of a zone."""
        found = await self._rdatas(name, RRType.SOA)
        for each in found:
            if isinstance(each, SOA):
                return each
        raise NoDataError(f"{name} has no SOA records")

    async def cname(self, name: Name | str) -> Name:
        """The name that another is an alias of."""
        found = await self._rdatas(name, RRType.CNAME)
        for each in found:
            if isinstance(each, CNAME):
                return each.target
        raise NoDataError(f"{name} has no CNAME records")

    async def caa(self, name: Name | str) -> list[CAA]:
        """Who may issue certificates: the records of the name, or the nearest above that has some.

        Source: RFC 8659 §3. Empty where there are none at all: everybody may.
        """
        from sennit.names.rdata.certificate import CAA

        whole = Name(name) if isinstance(name, str) else name
        for each in whole.ancestors():
            if each.is_root:
                break
            try:
                found = await self._rdatas(each, RRType.CAA)
            except (NoDataError, NoSuchNameError):
                continue
            return [each for each in found if isinstance(each, CAA)]
        return []

    async def tlsa(
        self, name: Name | str, port: int | None = None, protocol: str = "tcp"
    ) -> list[TLSA]:
        """Certificates that a service shows (DANE): of ``_443._tcp.NAME`` where a port is given.

        They count only where they are authenticated (`Lookup.authenticated`, RFC 6698 §4.1).
        """
        from sennit.names.rdata.certificate import TLSA

        if port is not None:
            whole = Name(name) if isinstance(name, str) else name
            name = whole.child(b"_" + protocol.encode("ascii")).child(b"_%d" % port)
        found = await self._rdatas(name, RRType.TLSA)
        return [each for each in found if isinstance(each, TLSA)]

    async def sshfp(self, name: Name | str) -> list[SSHFP]:
        """Fingerprints of a host's SSH keys (RFC 4255)."""
        from sennit.names.rdata.certificate import SSHFP

        found = await self._rdatas(name, RRType.SSHFP)
        return [each for each in found if isinstance(each, SSHFP)]

    async def naptr(self, name: Name | str) -> list[NAPTR]:
        """Rules of NAPTR, in the order of their numbers (RFC 3403 §4.1)."""
        from sennit.names.rdata.service import NAPTR

        found = await self._rdatas(name, RRType.NAPTR)
        rules = [each for each in found if isinstance(each, NAPTR)]
        return sorted(rules, key=lambda each: (each.order, each.preference))

    async def uri(self, name: Name | str) -> list[URI]:
        """URIs, the lowest priority first (RFC 7553)."""
        from sennit.names.rdata.service import URI

        found = await self._rdatas(name, RRType.URI)
        return sorted(
            (each for each in found if isinstance(each, URI)), key=lambda each: each.priority
        )


def in_digits(name: Name | str) -> str | None:
    """The address that a host's name is, as it is written shortest; ``None`` where it is none."""
    if isinstance(name, str):
        with suppress(ValueError):
            return str(ip_address(name))
    return None
