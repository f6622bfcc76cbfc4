"""All that a client or an upstream server can make too large, in one place."""

from __future__ import annotations

__all__ = ["ResolverLimits"]


class ResolverLimits:
    """What the resolver takes from others, and does for them; sizes in octets, times in seconds.

    Attributes:
        question_time: Time for one question, all that it leads to included.
        question_queries: Upstream queries for one question.
        restarts: Aliases (CNAME, DNAME) followed for one question.
        depth: Questions within questions: addresses of servers of servers.
        ns_lookups: Names of servers whose addresses are looked up per delegation.
        ns_addresses: Addresses taken of one server's name.
        ns_names: Names of servers kept of a delegation.
        zone_fetches: Questions at work at one zone's servers; others are refused meanwhile.
        jobs: Questions at work in all.
        client_jobs: Questions at work for one client (an IPv4 address or IPv6 /56).
        spoofed: Wrong answers to one query after which it goes over TCP; told to the exchange.
        rrset: Records of one RRset; a larger one is not believed.
        types: Types kept at one name.
        minimised: Queries with less than the whole name (RFC 9156 §2.3).
        single_labels: The first of these add one label each (RFC 9156 §2.3).
        cache_entries: RRsets in the cache.
        cache_octets: Octets in the cache, estimated.
        tails: Prebuilt answers.
        servers: Servers whose times and habits are remembered.
        denials: NSEC and NSEC3 records kept per zone.
        denial_zones: Zones of which such records are kept.
        min_ttl: Least time that data are kept.
        max_ttl: Most time that data are kept.
        max_negative_ttl: Most time that the absence of data is kept (RFC 2308 §5).
        failure_ttl: Time that a failure is kept (RFC 9520 §3.2).
        bogus_ttl: Most time that data are kept whose signatures are wrong.
        stale: Time that data are kept past their end (RFC 8767); 0 for not at all.
        stale_ttl: TTL given to clients with such data.
        client_wait: Time after which a client gets them (RFC 8767 §5).
    """

    __slots__ = (
        "bogus_ttl",
        "cache_entries",
        "cache_octets",
        "client_jobs",
        "client_wait",
        "denial_zones",
        "denials",
        "depth",
        "failure_ttl",
        "jobs",
        "max_negative_ttl",
        "max_ttl",
        "min_ttl",
        "minimised",
        "ns_addresses",
        "ns_lookups",
        "ns_names",
        "question_queries",
        "question_time",
        "restarts",
        "rrset",
        "servers",
        "single_labels",
        "spoofed",
        "stale",
        "stale_ttl",
        "tails",
        "types",
        "zone_fetches",
    )

    def __init__(
        self,
        *,
        question_time: float = 10.0,
        question_queries: int = 32,
        restarts: int = 11,
        depth: int = 6,
        ns_lookups: int = 5,
        ns_addresses: int = 6,
        ns_names: int = 13,
        zone_fetches: int = 200,
        jobs: int = 2000,
        client_jobs: int = 200,
        spoofed: int = 20,
        rrset: int = 100,
        types: int = 100,
        minimised: int = 10,
        single_labels: int = 4,
        cache_entries: int = 200_000,
        cache_octets: int = 100 * 1024 * 1024,
        tails: int = 50_000,
        servers: int = 10_000,
        denials: int = 1000,
        denial_zones: int = 200,
        min_ttl: int = 0,
        max_ttl: int = 86400,
        max_negative_ttl: int = 10800,
        failure_ttl: float = 5.0,
        bogus_ttl: float = 60.0,
        stale: float = 86400.0,
        stale_ttl: int = 30,
        client_wait: float = 1.8,
    ) -> None:
        self.question_time = question_time
        self.question_queries = question_queries
        self.restarts = restarts
        self.depth = depth
        self.ns_lookups = ns_lookups
        self.ns_addresses = ns_addresses
        self.ns_names = ns_names
        self.zone_fetches = zone_fetches
        self.jobs = jobs
        self.client_jobs = client_jobs
        self.spoofed = spoofed
        self.rrset = rrset
        self.types = types
        self.minimised = minimised
        self.single_labels = single_labels
        self.cache_entries = cache_entries
        self.cache_octets = cache_octets
        self.tails = tails
        self.servers = servers
        self.denials = denials
        self.denial_zones = denial_zones
        self.min_ttl = min_ttl
        self.max_ttl = max_ttl
        self.max_negative_ttl = max_negative_ttl
        self.failure_ttl = failure_ttl
        self.bogus_ttl = bogus_ttl
        self.stale = stale
        self.stale_ttl = stale_ttl
        self.client_wait = client_wait
