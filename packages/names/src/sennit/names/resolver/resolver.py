"""`RecursiveResolver`: answers for clients and programs, out of the cache and out of the tree.

A question goes through local zones, and then link by link through the cache, proofs of absence
that are known, and the iteration.

As a server's responder it answers those it is for, as many questions of each at a time as the
limits say; what can be answered at once is, without a coroutine, and what was answered before
is answered from octets (``tails.py``).

A question without RD is answered out of local zones, which are data of our own, and otherwise
REFUSED: a cache tells nobody what others have asked for.

Sources: RFC 1034 §4.3.1 and §5.3, RFC 4035 §3.2, RFC 5358 (recursion is for local networks),
RFC 8482 (ANY), RFC 8914 §4.21 (questions without RD), RFC 9824 §3.5 (NXNAME).
Not here: links and their validation (``following.py``), the way down (``iterate.py``).
"""

from __future__ import annotations

import logging
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

from zope.interface import implementer

from sennit.core.endpoint.networks import Networks
from sennit.core.policy.limits import address_key
from sennit.names.client.lookups import Lookups
from sennit.names.codes import EDE, Rcode, RRClass, RRType
from sennit.names.edns import EDNS, PAYLOAD
from sennit.names.errors import DNSUsageError
from sennit.names.interfaces import IResponder
from sennit.names.message import AD, CD, RD, Message, Question, Record
from sennit.names.name import Name
from sennit.names.rdata.basic import HINFO
from sennit.names.recursion import LOCAL_NETS, RecursionClients
from sennit.names.resolver.answering import (
    DROPPED,
    Found,
    addressed,
    compose,
    error_to,
    local_to,
    reply_to,
)
from sennit.names.resolver.cache import Cache
from sennit.names.resolver.carrying import Carrier
from sennit.names.resolver.following import Follower
from sennit.names.resolver.forward import Forwards, read_server
from sennit.names.resolver.hints import ROOT_HINTS
from sennit.names.resolver.iterate import Iterator
from sennit.names.resolver.limits import ResolverLimits
from sennit.names.resolver.localzones import LocalAnswer, LocalZones, default_zones
from sennit.names.resolver.querying import Upstream
from sennit.names.resolver.servers import Servers
from sennit.names.resolver.tails import Tails, plain_query

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from collections.abc import Iterator as Lines

    from sennit.core.transport.tls import ClientTLS
    from sennit.names.client.answers import Lookup
    from sennit.names.interfaces import Answer, IValidator
    from sennit.names.request import Request
    from sennit.names.resolver.forward import Targets
    from sennit.names.resolver.querying import Exchange

__all__ = ["AVOIDED", "RecursiveResolver"]

AVOIDED: Final = ("loopback", "0.0.0.0/8", "224.0.0.0/4", "ff00::/8", "::/96")
"""Addresses that no delegation may send the resolver to: its own machine, and nobody's."""

_IN: Final = int(RRClass.IN)
_ANY: Final = int(RRType.ANY)
_NXNAME: Final = int(RRType.NXNAME)
"""Stands in proofs of absence, and is no question (RFC 9824 §3.5)."""
_HINFO: Final = int(RRType.HINFO)
_NEVER: Final = frozenset({0, 41, *range(128, 255)})
"""Types that are no question for a resolver: OPT, meta data, transfers, MAILA and MAILB."""
_ANY_ANSWER: Final = HINFO(cpu=b"RFC8482", os=b"")

_log = logging.getLogger("sennit.names.resolver")


@implementer(IResponder)
class RecursiveResolver(Lookups):
    """A caching resolver that asks authorities, or forwarders, itself.

    Args:
        exchange: Carries questions; sockets when left out.
        root_hints: Addresses of the root's servers by name; IANA's when left out.
        forward: Servers that questions of a zone are forwarded to, by zone (``.`` for all):
            as `sennit.names.resolver.forward.read_server` takes them, or a `Forward`.
        stub: Servers of zones, by zone, asked in the place of those that their parents name.
        local_zones: Zones answered here, in the place of `default_zones`.
        validator: Validates answers; without one nobody is told AD. Negative trust anchors
            (RFC 7646) are its own.
        tls: What is believed of forwarders' certificates; the system's trust when left out.
        limits: What clients and servers may use up.
        allow: Networks of clients that it answers.
        avoid: Networks that no delegation may send it to.
        minimise: ``relaxed``, ``strict`` or ``off`` (RFC 9156).
        mix_case: Whether letters of questions have random case.
        ipv6: Whether servers are asked at addresses of IPv6.
        prefetch: Whether what is asked for is fetched again before it ends.
        port: Where servers of delegations listen.
        payload: Octets of a datagram at most, as the server has it.
        now: The time, in seconds, that only goes forward.

    Raises:
        DNSUsageError: Something of that cannot be.

    Attributes:
        cache: What it knows.
    """

    def __init__(
        self,
        *,
        exchange: Exchange | None = None,
        root_hints: Mapping[str, Iterable[str]] | None = None,
        forward: Mapping[str, Targets] | Mapping[Name, Targets] | None = None,
        stub: Mapping[str, Iterable[str]] | Mapping[Name, Iterable[str]] | None = None,
        local_zones: LocalZones | None = None,
        validator: IValidator | None = None,
        tls: ClientTLS | None = None,
        limits: ResolverLimits | None = None,
        allow: str | Iterable[str] = LOCAL_NETS,
        avoid: str | Iterable[str] = AVOIDED,
        minimise: str = "relaxed",
        mix_case: bool = False,
        ipv6: bool = True,
        prefetch: bool = True,
        port: int = 53,
        payload: int = PAYLOAD,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        if minimise not in ("relaxed", "strict", "off"):
            raise DNSUsageError(f"minimise is relaxed, strict or off, not {minimise!r}")
        self._limits = limits or ResolverLimits()
        self._now = now
        self._payload = payload
        self._carrier = None if exchange is not None else Carrier(tls)
        self.cache = Cache(self._limits)
        self._tails = Tails(self._limits.tails)
        self._table = self._tails.table
        self._servers = Servers(self._limits.servers, _chance)
        self._upstream = Upstream(
            exchange or self._carrier,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # one of them is there
            now,
            secrets.randbits,
            mix_case=mix_case,
            dnssec=validator is not None,
        )
        stubs = {
            _name(zone): tuple(read_server(each).address for each in servers)
            for zone, servers in (stub or {}).items()
        }
        forwards = Forwards(forward)
        self._iterator = Iterator(
            self.cache,
            self._servers,
            self._upstream,
            self._limits,
            now,
            hints={
                Name(server): tuple(addresses)
                for server, addresses in (ROOT_HINTS if root_hints is None else root_hints).items()
            },
            forwards=forwards,
            stubs=stubs,
            port=port,
            ipv6=ipv6,
            minimise=minimise,
            avoid=Networks(avoid),
        )
        if local_zones is None:
            local_zones = LocalZones(default_zones()).without([*stubs, *forwards.zones])
        self._local = local_zones
        self._follower = Follower(
            self.cache, self._iterator, self._limits, now, validator, prefetch=prefetch
        )
        self.allows = RecursionClients(allow).allows
        self._at_work: dict[str, int] = {}
        self.asked = 0
        self.quickly = 0
        self.refused = 0

    def __repr__(self) -> str:
        return f"<RecursiveResolver with {len(self.cache)} entries>"

    @property
    def payload(self) -> int:
        """Octets of a datagram at most that short answers go by."""
        return self._payload

    # ── for programs ──────────────────────────────────────────────────────────

    async def resolve(
        self,
        name: Name | str,
        rdtype: int,
        rdclass: int = _IN,
        *,
        dnssec_ok: bool = False,
        checking_disabled: bool = False,
    ) -> Message:
        """Answer a question.

        Args:
            name: What is asked for.
            rdtype: Its type.
            rdclass: Its class; others than IN are refused.
            dnssec_ok: Whether signatures and proofs are wanted.
            checking_disabled: Whether what is bogus is wanted all the same.

        Returns:
            The answer, `AD` in its flags where it is secure; SERVFAIL where there is none.
        """
        question = Question(_name(name), rdtype, rdclass)
        flags = CD if checking_disabled else 0
        local = self._here(question, flags)
        if isinstance(local, Message):
            if local.rcode == DROPPED:
                local.rcode = int(Rcode.REFUSED)  # a program is not left to wait
            return local
        wanted = question.name if local is None or local.target is None else local.target
        found = await self._follower.find(wanted, rdtype, check=not checking_disabled)
        return self._compose(
            found, question, flags, dnssec_ok=dnssec_ok, authentic=True, local=local
        )

    async def fetch_anew(self, name: Name, rdtype: int) -> Message:
        """What servers say now, whatever is known here, with signatures and unvalidated."""
        return await self._follower.fetch_anew(name, rdtype)

    async def lookup(self, name: Name | str, rdtype: int | str = "A", rdclass: int = _IN) -> Lookup:
        """The records of a name and type, with all that is known about them."""
        from sennit.names.client.answers import read_answer
        from sennit.names.codes import type_from_text

        number = type_from_text(rdtype) if isinstance(rdtype, str) else int(rdtype)
        message = await self.resolve(name, number, rdclass)
        secure = bool(message.flags & AD)
        return read_answer(message, message.question, authenticated=secure)

    # ── for servers ───────────────────────────────────────────────────────────

    def quick(self, wire: bytes, size: int, peer: object) -> bytes | None:
        """The answer to a plain query that was answered before, from its octets."""
        del size  # what is kept fits what its query takes
        key = wire[2:].lower()
        found = self._table.get(key)
        if found is None or not wire.endswith(found[0]):
            return None
        now = self._now()
        if now >= found[4].until:
            found = self._tails.renew(key, found, now)
            if found is None:
                return None
        if not self.allows(peer):
            return None
        self.quickly += 1
        return wire[:2] + found[1] + wire[12 : found[2]] + found[3]

    def respond(self, request: Request) -> Answer | Awaitable[Answer]:
        """The answer; at once where it is at hand."""
        self.asked += 1
        query = request.message
        question = query.question
        flags = query.flags & CD
        if not self.allows(request.peer):
            return self._refuse(request, EDE.PROHIBITED)
        local = self._here(question, flags)
        if isinstance(local, Message):
            return None if local.rcode == DROPPED else addressed(local, query)
        if not query.flags & RD:
            return self._refuse(request, EDE.NOT_AUTHORITATIVE)
        name = question.name if local is None or local.target is None else local.target
        found = self._follower.at_hand(name, question.rdtype, check=not flags)
        if found is not None:
            return self._answer(found, request, flags, local)
        return self._work(request, name, flags, local)

    def _refuse(self, request: Request, reason: int) -> Message:
        self.refused += 1
        query = request.message
        refusal = error_to(query.question, query.flags & CD, Rcode.REFUSED, reason)
        return addressed(refusal, query)

    async def _work(
        self, request: Request, name: Name, flags: int, local: LocalAnswer | None
    ) -> Answer:
        """The long way, for no more questions of a client at a time than it may have."""
        question = request.message.question
        client = _client(request.peer)
        at_work = self._at_work.get(client, 0)
        if at_work >= self._limits.client_jobs:
            self.refused += 1
            failed = error_to(question, flags, Rcode.SERVFAIL, EDE.PROHIBITED)
            return addressed(failed, request.message)
        self._at_work[client] = at_work + 1
        try:
            found = await self._follower.find(name, question.rdtype, check=not flags)
        finally:
            left = self._at_work[client] - 1
            if left:
                self._at_work[client] = left
            else:
                del self._at_work[client]
        return self._answer(found, request, flags, local)

    def _answer(
        self, found: Found, request: Request, flags: int, local: LocalAnswer | None
    ) -> Message:
        query = request.message
        message = self._compose(
            found,
            query.question,
            flags,
            dnssec_ok=request.dnssec_ok,
            authentic=request.dnssec_ok or bool(query.flags & AD),
            local=local,
        )
        addressed(message, query)
        if (
            not found.stale
            and local is None
            and found.rcode in (Rcode.NOERROR, Rcode.NXDOMAIN)
            and found.links
            and plain_query(request.wire)
        ):
            self._keep_tail(message, found, request)
        return message

    def _keep_tail(self, message: Message, found: Found, request: Request) -> None:
        """Keep an answer's octets for who asks the same in the same words."""
        now = self._now()
        edns = request.message.edns
        whole = Message(
            message.id,
            message.flags,
            rcode=message.rcode,
            questions=message.questions,
            answers=message.answers,
            authority=message.authority,
            edns=None if edns is None else EDNS(self._payload, dnssec_ok=edns.dnssec_ok),
        )
        room = 512 if edns is None else min(edns.payload, self._payload)
        wire = whole.to_wire()
        if len(wire) <= room:
            self._tails.keep(request.wire, wire, found.expires - now, now)

    # ── what is answered here ─────────────────────────────────────────────────

    def _here(self, question: Question, flags: int) -> Message | LocalAnswer | None:
        """The answer where it takes no looking up; an alias of ours that leads elsewhere."""
        rdtype = question.rdtype
        if question.rdclass != _IN:
            return error_to(question, flags, Rcode.REFUSED, EDE.NOT_SUPPORTED)
        if rdtype == _NXNAME:
            return error_to(question, flags, Rcode.FORMERR, EDE.INVALID_QUERY_TYPE)
        if rdtype in _NEVER:
            return error_to(question, flags, Rcode.NOTIMP, EDE.NOT_SUPPORTED)
        local = self._local.answer(question.name, rdtype)
        if local is not None:
            return local_to(local, question, flags) if local.target is None else local
        if rdtype == _ANY:
            message = reply_to(question, flags)
            message.answers = [Record(question.name, _HINFO, 3600, _ANY_ANSWER)]
            return message
        return None

    def _compose(
        self,
        found: Found,
        question: Question,
        flags: int,
        *,
        dnssec_ok: bool,
        authentic: bool,
        local: LocalAnswer | None,
    ) -> Message:
        message = compose(
            found,
            question,
            dnssec_ok=dnssec_ok,
            # What is added here nobody has signed.
            authentic=authentic and not flags & CD and local is None,
            flags=flags,
            now=self._now(),
            stale_ttl=self._limits.stale_ttl,
        )
        if local is not None and message.rcode != Rcode.SERVFAIL:
            message.answers[:0] = local.answers
        return message

    # ── operators ─────────────────────────────────────────────────────────────

    def flush(self, name: Name | str) -> int:
        """Forget all about a name; how many entries went."""
        whole = _name(name)
        self._tails.clear()
        self._follower.denials.flush(whole)
        return self.cache.flush(whole)

    def flush_zone(self, zone: Name | str) -> int:
        """Forget all about a zone and what is beneath it; how many entries went."""
        whole = _name(zone)
        self._tails.clear()
        self._follower.denials.flush(whole)
        return self.cache.flush_zone(whole)

    @property
    def local_zones(self) -> LocalZones:
        """What is answered here; others may be put in its place at any time."""
        return self._local

    @local_zones.setter
    def local_zones(self, zones: LocalZones) -> None:
        self._local = zones
        # Octets of whole answers, which came before anybody looks here.
        self._tails.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._tails.clear()
        self._follower.denials.clear()
        self.cache.clear()

    def dump(self) -> Lines[str]:
        """What is in the cache, line by line."""
        return self.cache.dump(self._now())

    def statistics(self) -> dict[str, int]:
        """Counts, by name."""
        return {
            **self.cache.statistics(),
            **self._servers.statistics(self._now()),
            "asked": self.asked,
            "quick": self.quickly,
            "tails": len(self._tails),
            "refused": self.refused + self._iterator.refused,
            "joined": self._iterator.joined,
            "at_work": self._iterator.jobs,
            "upstream_queries": self._upstream.sent,
            "upstream_timeouts": self._upstream.timeouts,
            "upstream_tcp": self._upstream.over_tcp,
            "upstream_spoofed": self._upstream.spoofed,
            "prefetched": self._follower.prefetched,
            "stale": self._follower.gave_stale,
            "synthesized": self._follower.denials.used,
        }

    async def aclose(self) -> None:
        """Give up what is under way, and close connections. Harmless when done."""
        await self._follower.aclose()
        await self._iterator.aclose()
        if self._carrier is not None:
            await self._carrier.aclose()

    async def __aenter__(self) -> RecursiveResolver:
        """The resolver itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """`aclose`."""
        await self.aclose()


def _name(name: Name | str) -> Name:
    return Name(name) if isinstance(name, str) else name


def _chance() -> float:
    return secrets.randbits(32) / (1 << 32)


def _client(peer: Any) -> str:
    """What a client's questions are counted under. (`Any`: as `socket` names it.)"""
    return address_key(peer, 32, 56) if isinstance(peer, tuple) else ""
