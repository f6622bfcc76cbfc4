"""The resolver's cache: nothing past its end or beyond its bounds, and the better word stays."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from packages.names.tests.resolver_upstream import record
from sennit.names.codes import RRType
from sennit.names.dnssec.verdict import Security
from sennit.names.message import Message
from sennit.names.name import Name
from sennit.names.rdata.address import A
from sennit.names.rdata.basic import TXT
from sennit.names.resolver.bailiwick import judge
from sennit.names.resolver.cache import Cache
from sennit.names.resolver.entries import Credibility, Delegation, Entry, Kind
from sennit.names.resolver.limits import ResolverLimits

TYPE_A = int(RRType.A)
WWW = Name("www.example.")


def address(name: Name = WWW, ttl: float = 300, last: int = 1, **more: object) -> Entry:
    data = A(f"192.0.2.{last}")
    return Entry(Kind.RECORDS, name, TYPE_A, ttl, rdatas=[data], **more)  # type: ignore[arg-type]  # as Entry takes them


def absent(name: Name = WWW, ttl: float = 60, kind: Kind = Kind.NXDOMAIN) -> Entry:
    return Entry(kind, name, TYPE_A, ttl)


def test_an_entry_is_found_until_its_end() -> None:
    cache = Cache()
    cache.put(address(), 0)
    found = cache.find(WWW, TYPE_A, 299.9)
    assert found is not None
    assert found.remaining(299.1) == 0
    assert cache.find(WWW, TYPE_A, 300) is None


def test_ttls_are_cut_to_what_the_limits_say() -> None:
    """HARDENING 21: a day at most; RFC 2308 §5: absences three hours."""
    cache = Cache(ResolverLimits(min_ttl=5))
    assert cache.put(address(ttl=10**9), 0).expires == 86400
    assert cache.put(address(ttl=1), 0).expires == 5
    assert cache.put(absent(ttl=10**9), 0).expires == 10800
    assert cache.put(absent(ttl=1, kind=Kind.NODATA), 0).expires == 5
    failed = cache.put(Entry(Kind.FAILURE, WWW, TYPE_A, 10**6), 0)
    assert failed.expires == 5


def test_a_ttl_of_nothing_is_not_kept() -> None:
    cache = Cache()
    cache.put(address(ttl=0), 0)
    assert len(cache) == 0


def test_what_is_believed_more_stays() -> None:
    """RFC 2181 §5.4.1."""
    cache = Cache()
    cache.put(address(last=1, rank=Credibility.AUTHORITATIVE_ANSWER), 0)
    kept = cache.put(address(last=2, rank=Credibility.ANSWER), 1)
    assert str(kept.rdatas[0]) == "192.0.2.1"
    kept = cache.put(address(last=3, rank=Credibility.AUTHORITATIVE_ANSWER), 2)
    assert str(kept.rdatas[0]) == "192.0.2.3"
    kept = cache.put(address(last=4, rank=Credibility.ADDITIONAL), 1000)
    assert str(kept.rdatas[0]) == "192.0.2.4"


def test_what_is_bogus_gives_way_to_whatever_comes() -> None:
    cache = Cache()
    cache.put(address(last=1), 0).security = Security.BOGUS
    kept = cache.put(address(last=2, rank=Credibility.ANSWER), 1)
    assert str(kept.rdatas[0]) == "192.0.2.2"
    assert cache.stale(WWW, TYPE_A, 2) is kept


def test_an_absent_name_takes_its_records_along_and_back() -> None:
    cache = Cache()
    cache.put(address(), 0)
    cache.put(absent(), 1)
    found = cache.find(WWW, TYPE_A, 2)
    assert found is not None
    assert found.kind is Kind.NXDOMAIN
    cache.put(address(), 3)
    found = cache.find(WWW, TYPE_A, 4)
    assert found is not None
    assert found.kind is Kind.RECORDS
    assert len(cache) == 1


def test_nothing_is_beneath_a_name_that_is_proved_absent() -> None:
    """RFC 8020; what is not proved is not believed for other names."""
    cache = Cache()
    entry = cache.put(absent(), 0)
    beneath = Name("a.b.www.example.")
    assert cache.find(beneath, TYPE_A, 1) is None
    entry.security = Security.SECURE
    assert cache.find(beneath, TYPE_A, 1) is entry


def test_a_failure_stands_beside_stale_data() -> None:
    cache = Cache()
    old = cache.put(address(ttl=10), 0)
    cache.put(Entry(Kind.FAILURE, WWW, TYPE_A, 0), 20)
    found = cache.find(WWW, TYPE_A, 21)
    assert found is not None
    assert found.kind is Kind.FAILURE
    assert cache.stale(WWW, TYPE_A, 21) is old
    assert cache.find(WWW, TYPE_A, 26) is None
    cache.put(address(), 27)
    assert len(cache) == 1


def test_stale_data_end_too() -> None:
    cache = Cache(ResolverLimits(stale=100))
    cache.put(address(ttl=10), 0)
    assert cache.stale(WWW, TYPE_A, 109) is not None
    assert cache.stale(WWW, TYPE_A, 111) is None
    assert cache.find(WWW, TYPE_A, 111) is None
    assert len(cache) == 0


def test_aliases_stand_for_all_types_but_their_own() -> None:
    cache = Cache()
    alias = record("www.example. 300 CNAME other.example.")
    entry = Entry(Kind.RECORDS, WWW, int(RRType.CNAME), 300, rdatas=[alias.rdata])
    cache.put(entry, 0)
    assert cache.find(WWW, TYPE_A, 1) is entry
    assert cache.find(WWW, int(RRType.CNAME), 1) is entry
    nodata = Entry(Kind.NODATA, WWW, int(RRType.CNAME), 300)
    cache.put(nodata, 2)
    assert cache.find(WWW, TYPE_A, 3) is None


def test_a_name_has_so_many_types() -> None:
    """HARDENING dns-13."""
    cache = Cache()
    for rdtype in range(1000, 4000):
        cache.put(Entry(Kind.NODATA, WWW, rdtype, 300), 0)
    assert len(cache) == 100
    assert cache.refused == 2900
    cache.put(address(), 0)
    assert cache.find(WWW, TYPE_A, 1) is not None


def test_the_deepest_delegation_is_found() -> None:
    cache = Cache()
    for zone, ttl in (("example.", 100), ("org.example.", 50)):
        cache.put_delegation(Delegation(Name(zone), [Name("ns.example.")], {}, ttl), 0)
    found = cache.delegation(Name("www.org.example."), 10)
    assert found is not None
    assert str(found.zone) == "org.example."
    found = cache.delegation(Name("www.org.example."), 60)
    assert found is not None
    assert str(found.zone) == "example."
    assert cache.delegation(Name("www.org.example."), 101) is None


def test_a_name_and_a_zone_can_be_forgotten() -> None:
    cache = Cache()
    for name in ("example.", "a.example.", "b.a.example.", "notexample."):
        cache.put(address(Name(name)), 0)
    assert cache.flush(Name("a.example.")) == 1
    assert cache.flush_zone(Name("example.")) == 2
    assert len(cache) == 1
    cache.clear()
    assert (len(cache), cache.octets) == (0, 0)


def test_operators_can_read_what_is_in_it() -> None:
    cache = Cache()
    cache.put(address(), 0)
    cache.put(absent(Name("gone.example.")), 0)
    server = Name("ns.example.")
    cache.put_delegation(Delegation(Name("example."), [server], {server: ("192.0.2.9",)}, 9), 0)
    lines = list(cache.dump(1))
    assert any(line.startswith("www.example. 299 IN A 192.0.2.1 ;") for line in lines)
    assert any(line.startswith("; gone.example. NXDOMAIN") for line in lines)
    assert "; example. is served by ns.example." in lines
    assert cache.statistics()["entries"] == 3


def test_the_octets_it_says_are_about_those_it_takes() -> None:
    import tracemalloc

    cache = Cache()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for index in range(2000):
            name = Name(f"h{index}.some.example.")
            cache.put(address(name, last=index % 250), 0)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.5 < cache.octets / taken < 3


def test_absences_take_no_more_octets_than_it_says() -> None:
    """Random names fill it with these, each with an SOA that came in a message of its own."""
    import tracemalloc

    cache = Cache()
    soa = record("some.example. 300 SOA ns.some.example. admin.some.example. 1 2 3 4 300")
    wires: list[bytes] = []
    for index in range(2000):
        reply = Message.query(f"h{index}.some.example.").reply(3)
        reply.authority = [soa]
        wires.append(reply.to_wire())
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for wire in wires:
            step = judge(
                Message.from_wire(wire),
                Message.from_wire(wire).question.name,
                1,
                Name("some.example."),
                ResolverLimits(),
                forwarded=True,
            )
            cache.put(step.entries[0], 0)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(cache) == 2000
    assert 1 <= cache.octets / taken < 1.5


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["put", "absent", "nodata", "fail", "delegate", "find", "stale", "flush"]),
        st.integers(0, 12),
        st.integers(0, 3),
        st.integers(0, 200),
        st.integers(0, 60),
    ),
    max_size=60,
)


@given(OPERATIONS)
def test_nothing_is_ever_found_past_its_end_or_beyond_the_bounds(
    operations: list[tuple[str, int, int, int, int]],
) -> None:
    limits = ResolverLimits(cache_entries=10, cache_octets=9000, types=3, stale=50)
    cache = Cache(limits)
    now = 0.0
    ends: dict[tuple[Name, int], float] = {}
    for what, which, kind, ttl, passes in operations:
        now += passes
        name = Name(f"n{which % 4}.n{which}.example.")
        rdtype = 1000 + kind
        if what == "put":
            text = TXT((b"x" * ttl,))
            ends[name, rdtype] = max(ends.get((name, rdtype), 0), now + ttl)
            cache.put(Entry(Kind.RECORDS, name, rdtype, ttl, rdatas=[text]), now)
        elif what == "absent":
            cache.put(Entry(Kind.NXDOMAIN, name, rdtype, ttl), now)
        elif what == "nodata":
            cache.put(Entry(Kind.NODATA, name, rdtype, ttl), now)
        elif what == "fail":
            cache.put(Entry(Kind.FAILURE, name, rdtype, ttl), now)
        elif what == "delegate":
            cache.put_delegation(Delegation(name, [name], {}, ttl), now)
        elif what == "find":
            entry = cache.find(name, rdtype, now)
            assert entry is None or entry.expires > now
            if entry is not None and entry.kind is Kind.RECORDS:
                assert now < ends[name, rdtype]
            delegation = cache.delegation(name, now)
            assert delegation is None or delegation.expires > now
        elif what == "stale":
            entry = cache.stale(name, rdtype, now)
            assert entry is None or entry.expires + limits.stale > now
        else:
            cache.flush(name)
        assert len(cache) <= limits.cache_entries
        assert cache.octets <= limits.cache_octets
    cache.flush_zone(Name("."))
    assert (len(cache), cache.octets) == (0, 0)


def test_what_decides_needs_no_socket_and_no_clock() -> None:
    program = (
        "import sys, sennit.names.resolver.cache, sennit.names.resolver.bailiwick, "
        "sennit.names.resolver.localzones, sennit.names.resolver.tails, "
        "sennit.names.resolver.servers, sennit.names.resolver.aggressive; "
        "print([n for n in ('socket', 'ssl', 'asyncio', 'selectors', 'cryptography') "
        "if n in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert found.stdout.decode().strip() == "[]"
