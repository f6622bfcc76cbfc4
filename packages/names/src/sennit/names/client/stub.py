"""The stub resolver: asks the servers that this host was given, and believes what they say.

A look-up goes through the names that the search list makes of what was asked, and for each
through special names, the hosts file, the cache, and then the servers: in their order, those
that failed lately last, each with its own time limit, the list `attempts` times over, all of it
within one limit. The same question is asked once at a time, whoever wants its answer (RFC 5452
§5, HARDENING dns-8). An answer that is signed is validated where there is a validator; else the
servers' own word (AD) is passed on where they are trusted for it.

Sources: RFC 1034 §5.3, RFC 2308 (negative answers), RFC 6761, resolv.conf(5), hosts(5).
Not here: recursion from the root (``sennit.names.resolver``).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from sennit.core.reactor.base import current_reactor
from sennit.names.client.answers import (
    MAX_ALIASES,
    MAX_TTL,
    Lookup,
    follow,
    negative_ttl,
    read_answer,
)
from sennit.names.client.exchange import Upstream
from sennit.names.client.hosts import HOSTS, MAX_SIZE, HostsFile, parse_hosts
from sennit.names.client.lookups import Lookups
from sennit.names.client.resolvconf import RESOLV_CONF, ResolvConf, Watched, parse_resolv_conf
from sennit.names.client.reverse import address_of
from sennit.names.client.servers import Server, server_from_text
from sennit.names.client.sharing import Shared
from sennit.names.client.special import special_rdatas
from sennit.names.codes import (
    EDE,
    Rcode,
    RRClass,
    RRType,
    class_from_text,
    type_from_text,
    type_text,
)
from sennit.names.dnssec.verdict import Security
from sennit.names.edns import EDNS
from sennit.names.errors import (
    DNSProtocolError,
    DNSUsageError,
    LookupFailedError,
    LookupTimeoutError,
    NoDataError,
    NoSuchNameError,
    TSIGError,
    UnreachableError,
    ValidationError,
)
from sennit.names.message import AD, CD, RD, TC, Message, Question, RRset
from sennit.names.name import Name
from sennit.names.rdata.address import AAAA, A
from sennit.names.rdata.basic import PTR

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from sennit.core.reactor.base import Reactor
    from sennit.core.transport.tls import ClientTLS
    from sennit.names.dnssec.verdict import Verdict
    from sennit.names.interfaces import IValidator
    from sennit.names.rdata import Rdata
    from sennit.names.tsig import Key

__all__ = ["CACHE_SIZE", "LIMIT", "StubResolver"]

LIMIT: Final = 15.0
"""Seconds for a look-up, whatever its servers do."""
CACHE_SIZE: Final = 1000
"""Answers that are kept."""
MAX_AT_ONCE: Final = 200
"""Questions that are with servers at one time; more wait for their turn, within their own limit.
Each has a socket, and a server's socket holds some hundred datagrams."""
FAILURE_TTL: Final = 5
"""Seconds that it is kept that servers fail, or that what they say is bogus (RFC 9520 §3.2)."""
FIRST_BACK_OFF: Final = 1.0
"""Seconds for which a server that failed is asked after the others; doubled each time."""
LAST_BACK_OFF: Final = 60.0


class _Kept(NamedTuple):
    """An answer that may be given again.

    Attributes:
        message: The answer.
        secure: What is believed of its authenticity.
        began: When it came.
        until: When it is too old.
        bogus: Why it is not believed at all, in words and as a number (RFC 8914).
    """

    message: Message
    secure: bool
    began: float
    until: float
    bogus: tuple[str, int] | None = None


class _Health:
    """How a server has done lately."""

    __slots__ = ("failures", "until")

    def __init__(self) -> None:
        self.failures = 0
        self.until = 0.0

    def failed(self, now: float) -> None:
        if now < self.until:
            return  # one of several questions that were under way together
        self.failures = min(self.failures + 1, 10)
        self.until = now + min(FIRST_BACK_OFF * 2 ** (self.failures - 1), LAST_BACK_OFF)

    def answered(self) -> None:
        self.failures = 0
        self.until = 0.0


class StubResolver(Lookups):
    """Looks names up with the servers of ``/etc/resolv.conf``, or with those it is given.

    ::

        async with StubResolver(["tls://9.9.9.9#dns.quad9.net"]) as resolver:
            for exchange in await resolver.mx("example.org"):
                ...

    Args:
        servers: To ask, as addresses, URLs (see ``servers.py``) or `Server`. With them
            `resolv_conf` is not read.
        resolv_conf: File that names servers, search list and options; read again when it
            changes.
        hosts: Hosts file, read again when it changes; ``None`` for none.
        search: Domains that complete names; the file's when left out.
        ndots: Dots from which on a name is tried as it is first.
        timeout: Seconds to wait for one server.
        attempts: Times that the servers are gone through.
        limit: Seconds for a whole look-up.
        rotate: Begin with another server each time.
        edns: Whether questions have EDNS.
        dnssec_ok: Ask for the records of DNSSEC.
        trust_ad: Believe the servers' word that an answer is authentic (AD).
        validator: Validates answers, in the place of the servers' word.
        key: Signs each question (TSIG).
        tls: What to believe of servers over TLS and HTTPS.
        tcp: Ask over TCP at once.
        cache_size: Answers that are kept; 0 for none.
        local_address: Address to ask from.
        reactor: The current one when left out.
    """

    def __init__(
        self,
        servers: Sequence[Server | str] | None = None,
        *,
        resolv_conf: str = RESOLV_CONF,
        hosts: str | None = HOSTS,
        search: Sequence[Name | str] | None = None,
        ndots: int | None = None,
        timeout: float | None = None,
        attempts: int | None = None,
        limit: float = LIMIT,
        rotate: bool | None = None,
        edns: bool = True,
        dnssec_ok: bool = False,
        trust_ad: bool | None = None,
        validator: IValidator | None = None,
        key: Key | None = None,
        tls: ClientTLS | None = None,
        tcp: bool | None = None,
        cache_size: int = CACHE_SIZE,
        local_address: str | None = None,
        reactor: Reactor | None = None,
    ) -> None:
        if servers is not None and not servers:
            raise DNSUsageError("there is no server to ask")
        self._servers = (
            None
            if servers is None
            else [server_from_text(each) if isinstance(each, str) else each for each in servers]
        )
        self._conf = Watched(resolv_conf, parse_resolv_conf, ResolvConf())
        self._hosts = (
            None if hosts is None else Watched(hosts, parse_hosts, HostsFile(), most=MAX_SIZE)
        )
        self._search = (
            None
            if search is None
            else tuple(Name(each) if isinstance(each, str) else each for each in search)
        )
        self._ndots = ndots
        self._timeout = timeout
        self._attempts = attempts
        self._limit = limit
        self._rotate = rotate
        self._edns = edns
        self._dnssec_ok = dnssec_ok or validator is not None
        self._trust_ad = trust_ad
        self._validator = validator
        self._key = key
        self._tls = tls
        self._tcp = tcp
        self._cache_size = cache_size
        self._local = local_address
        self._reactor = reactor
        self._cache: OrderedDict[tuple[bytes, int, int], _Kept] = OrderedDict()
        self._shared: Shared[_Kept] = Shared()
        self._upstreams: list[tuple[Upstream, _Health]] = []
        self._left: list[tuple[Upstream, _Health]] = []  # out of the file, still connected
        self._made_of: ResolvConf | None = None
        self._turn = 0
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)

    def __repr__(self) -> str:
        names = ", ".join(str(each.server) for each, _ in self._upstreams)
        return f"<StubResolver {names or 'not asked yet'}>"

    # ── what is asked of it ───────────────────────────────────────────────────

    async def lookup(
        self, name: Name | str, rdtype: int | str = "A", rdclass: int | str = RRClass.IN
    ) -> Lookup:
        """The records of a name and type, with all that is known about them.

        Args:
            name: A `Name` is taken as it is, and so is text that ends in a dot; other text
                is completed by the search list.
            rdtype: Type, by number or mnemonic.
            rdclass: Class, likewise.

        Raises:
            NoSuchNameError: There is no such name.
            NoDataError: It has no such records.
            ResponseError: The servers answer with an error.
            ValidationError: The answer is bogus.
            LookupTimeoutError: Nobody answered in time.
            UnreachableError: No server can be talked to, or none says what is an answer.
            TSIGError: No answer is signed as it should be, where there is a `key`.
        """
        kind = type_from_text(rdtype) if isinstance(rdtype, str) else int(rdtype)
        among = class_from_text(rdclass) if isinstance(rdclass, str) else int(rdclass)
        try:
            async with asyncio.timeout(self._limit):
                return await self._search_for(name, kind, among)
        except TimeoutError as error:
            raise LookupTimeoutError(
                f"no answer about {name} {type_text(kind)} in {self._limit:g} s"
            ) from error

    async def query(
        self, name: Name | str, rdtype: int | str = "A", rdclass: int | str = RRClass.IN
    ) -> Message:
        """The servers' answer as it is, whatever it says; no search list, hosts file or alias.

        Raises:
            LookupTimeoutError: Nobody answered in time.
            UnreachableError: No server can be talked to.
            ValidationError: The answer is bogus.
        """
        kind = type_from_text(rdtype) if isinstance(rdtype, str) else int(rdtype)
        among = class_from_text(rdclass) if isinstance(rdclass, str) else int(rdclass)
        whole = Name(name) if isinstance(name, str) else name
        try:
            async with asyncio.timeout(self._limit):
                return (await self._get(Question(whole, kind, among))).message
        except TimeoutError as error:
            raise LookupTimeoutError(f"no answer about {name} in {self._limit:g} s") from error

    def forget(self) -> None:
        """Forget every answer that is kept, and how servers have done."""
        self._cache.clear()
        for _, health in self._upstreams:
            health.answered()

    async def aclose(self) -> None:
        """Close connections to servers. It may be asked again."""
        for upstream, _ in self._left + self._upstreams:
            await upstream.aclose()
        self._left.clear()

    async def __aenter__(self) -> Self:
        """The resolver itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """`aclose`."""
        await self.aclose()

    # ── names ─────────────────────────────────────────────────────────────────

    @property
    def configuration(self) -> ResolvConf:
        """What the file says now; its `problems` are lines that make no sense."""
        if self._servers is not None:
            return _NO_FILE
        return self._conf.get(self._now())

    @property
    def one_by_one(self) -> bool:
        """Whether a host's addresses are asked for one family after the other."""
        return self.configuration.single_request

    def _candidates(self, name: Name | str) -> Iterator[Name]:
        """The names to try, in order (resolv.conf(5): ``search``, ``ndots``)."""
        if isinstance(name, Name):
            yield name
            return
        whole = Name(name)
        conf = self.configuration
        search = conf.search if self._search is None else self._search
        if name.endswith(".") or not search:
            yield whole
            return
        ndots = conf.ndots if self._ndots is None else self._ndots
        first = len(whole) - 1 >= ndots
        if first:
            yield whole
        for domain in search:
            try:
                yield Name(name, domain)
            except DNSUsageError:
                continue  # too long with this one
        if not first:
            yield whole

    async def _search_for(self, name: Name | str, rdtype: int, rdclass: int) -> Lookup:
        if isinstance(name, str):
            # What is known without a server counts as it was written: the search list would
            # have servers asked for it, in other words (RFC 6761 §6.3, RFC 7686 §2), and the
            # hosts file comes before DNS (nsswitch.conf(5), "files dns").
            known = await self._known(Question(Name(name), rdtype, rdclass))
            if known is not None:
                return known
        failure: LookupFailedError | None = None
        for each in self._candidates(name):
            try:
                return await self._find(Question(each, rdtype, rdclass))
            except NoDataError as error:
                failure = error  # the name is there: that says more than that another is not
            except NoSuchNameError as error:
                failure = failure or error
        assert failure is not None
        raise failure

    async def _known(self, question: Question) -> Lookup | None:
        """What this host knows by itself; ``None`` for what servers are asked for."""
        if question.rdclass != RRClass.IN:
            return None
        known = special_rdatas(question.name, question.rdtype) or await self._in_hosts(question)
        if known is None:
            return None
        rrset = RRset(question.name, question.rdtype, 0, known)
        return Lookup(question, question.name, rrset, 0)

    async def _find(self, question: Question) -> Lookup:
        known = await self._known(question)
        if known is not None:
            return known
        if question.rdtype == RRType.AAAA and self.configuration.no_aaaa:
            raise NoDataError(f"{question.name} is not asked for AAAA: {self._conf.path} says so")
        asked = question
        ttl, secure, aliases = MAX_TTL, True, 0
        while True:
            kept = await self._get(asked)
            message = kept.message
            age = int(self._now() - kept.began)
            secure = secure and kept.secure
            if message.rcode == Rcode.NOERROR:
                chain = follow(message, asked, MAX_ALIASES - aliases)
                ended = chain.rdatas or negative_ttl(message, chain.name) is not None
                if chain.aliases and not ended:
                    # The server leaves the rest to us: it knows this zone alone.
                    aliases += chain.aliases
                    ttl = min(ttl, max(chain.ttl - age, 0))
                    asked = Question(chain.name, question.rdtype, question.rdclass)
                    continue
            found = read_answer(message, asked, authenticated=secure)
            left = min(ttl, max(found.ttl - age, 0), MAX_TTL)
            found.rrset.ttl = left
            return found._replace(question=question, ttl=left)

    async def _in_hosts(self, question: Question) -> tuple[Rdata, ...] | None:
        rdtype = question.rdtype
        if self._hosts is None or rdtype not in (RRType.A, RRType.AAAA, RRType.PTR):
            return None
        hosts = await self._hosts.fetch(self._now(), self._reactor or current_reactor())
        if rdtype == RRType.PTR:
            address = address_of(question.name)
            name = None if address is None else hosts.name(str(address))
            return None if name is None else (PTR(name),)
        if not hosts.has(question.name):
            return None
        # An address may have a zone (fe80::1%eth0), which records cannot say.
        addresses = [each for each in hosts.addresses(question.name, rdtype) if "%" not in each]
        if not addresses:
            raise NoDataError(
                f"{question.name} has no {type_text(rdtype)} address in {self._hosts.path}"
            )
        return tuple((A if rdtype == RRType.A else AAAA)(each) for each in addresses)

    # ── answers ───────────────────────────────────────────────────────────────

    def _now(self) -> float:
        return (self._reactor or current_reactor()).time()

    async def _get(self, question: Question) -> _Kept:
        """The answer to a question, kept or asked for."""
        key = (question.name.key, question.rdtype, question.rdclass)
        kept = self._cache.get(key)
        if kept is not None and self._now() >= kept.until:
            del self._cache[key]
            kept = None
        if kept is None:
            kept = await self._shared.run(key, lambda: self._fetch(key, question))
        else:
            self._cache.move_to_end(key)
        if kept.bogus is not None:
            raise ValidationError(*kept.bogus)
        return kept

    async def _fetch(self, key: tuple[bytes, int, int], question: Question) -> _Kept:
        message = await self._ask(question)
        seconds = _lifetime(message, question)
        bogus: tuple[str, int] | None = None
        if self._validator is not None:
            verdict = await self._validated(self._validator, message, question)
            secure = verdict.security == Security.SECURE
            if secure:
                seconds = min(seconds, verdict.ttl)  # no longer than its signatures are good
            elif verdict.security == Security.BOGUS:
                code = verdict.info_code
                bogus = (
                    f"{question}: the answer is bogus: {verdict.reason}",
                    EDE.DNSSEC_BOGUS if code is None else code,
                )
                seconds = FAILURE_TTL
        else:
            secure = self._trusting and bool(message.flags & AD)
        now = self._now()
        kept = _Kept(message, secure, now, now + seconds, bogus)
        if seconds and self._cache_size:
            self._cache[key] = kept
            while len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)
        return kept

    async def _validated(
        self, validator: IValidator, message: Message, question: Question
    ) -> Verdict:
        async def fetch(name: Name, rdtype: int) -> Message:
            return await self._ask(Question(name, rdtype, question.rdclass))

        return await validator.validate(message, question, fetch)

    @property
    def _trusting(self) -> bool:
        """Whether the servers' word (AD) is believed."""
        return self.configuration.trust_ad if self._trust_ad is None else self._trust_ad

    async def _ask(self, question: Question) -> Message:
        """Put a question to the servers."""
        conf = self.configuration
        flags = RD
        if self._validator is not None:
            flags |= CD
        elif self._trusting:
            flags |= AD  # RFC 6840 §5.7: we understand the answer's
        edns = EDNS(dnssec_ok=self._dnssec_ok) if self._edns or self._dnssec_ok else None
        message = Message(flags=flags, questions=[question], edns=edns)
        timeout = float(conf.timeout) if self._timeout is None else self._timeout
        attempts = conf.attempts if self._attempts is None else self._attempts
        failure: Exception | None = None
        refusal: Message | None = None
        for _ in range(attempts):
            silent = False
            for upstream, health in self._ordered(conf):
                try:
                    async with self._turns:
                        answer = await upstream.ask(message, timeout=timeout)
                    if answer.flags & TC:
                        # Over TCP already: half of an answer would be taken for the whole.
                        raise DNSProtocolError(f"{upstream.server} cuts answers", "RFC 2181 §9")
                except (LookupTimeoutError, UnreachableError, DNSProtocolError) as error:
                    health.failed(self._now())
                    failure, silent = error, True
                    continue
                health.answered()
                if answer.rcode in (Rcode.NOERROR, Rcode.NXDOMAIN):
                    return answer
                refusal = answer
            if not silent:
                break  # all have answered: they would say the same again
        if refusal is not None:
            return refusal
        assert failure is not None
        if isinstance(failure, DNSProtocolError) and not isinstance(failure, TSIGError):
            raise UnreachableError(f"no server gives what is an answer: {failure}") from failure
        raise failure

    def _ordered(self, conf: ResolvConf) -> list[tuple[Upstream, _Health]]:
        """The servers, those that failed lately last."""
        if not self._upstreams or self._made_of is not conf:
            self._make_upstreams(conf)
        found = self._upstreams
        if conf.rotate if self._rotate is None else self._rotate:
            self._turn = (self._turn + 1) % len(found)
            found = found[self._turn :] + found[: self._turn]
        now = self._now()
        return sorted(found, key=lambda each: each[1].until if each[1].until > now else 0.0)

    def _make_upstreams(self, conf: ResolvConf) -> None:
        wanted = self._servers
        if wanted is None:
            wanted = [server_from_text(f"[{each}]") for each in conf.servers]
        known = self._left + self._upstreams
        before = {each.server: (each, health) for each, health in known}
        self._upstreams = []
        for server in wanted:
            made = before.get(server) or (self._make_upstream(server, conf), _Health())
            self._upstreams.append(made)
        self._made_of = conf
        # What they are asked now they may still answer; their connections end when they are idle.
        self._left = [each for each in known if each not in self._upstreams and each[0].connected]

    def _make_upstream(self, server: Server, conf: ResolvConf) -> Upstream:
        return Upstream(
            server,
            key=self._key,
            tls=self._tls,
            tcp=conf.use_vc if self._tcp is None else self._tcp,
            local_address=self._local,
            reactor=self._reactor,
        )


_NO_FILE: Final = ResolvConf()
"""What counts where servers were given: the defaults."""


def _lifetime(message: Message, question: Question) -> int:
    """Seconds that an answer may be kept."""
    if message.rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
        return FAILURE_TTL
    try:
        chain = follow(message, question)
    except LookupFailedError:
        return 0
    if chain.rdatas:
        return min(chain.ttl, MAX_TTL)
    nothing = negative_ttl(message, chain.name)
    return 0 if nothing is None else min(nothing, chain.ttl)
