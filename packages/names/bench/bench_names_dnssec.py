"""DNSSEC: one signature verified by each algorithm, one name hashed; ours against dnspython.

Both sides verify the same RRset of two addresses with a key that was loaded before, by way of
the same library. `validate` is a whole answer of ours, keys remembered.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from tools.benchmark import Benchmark, main

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_800_000_000
ALGORITHMS = {
    "rsasha256-2048": (8, 2_000),
    "ecdsap256": (13, 1_000),
    "ecdsap384": (14, 500),
    "ed25519": (15, 1_000),
    "ed448": (16, 500),
}
"""Numbers, and operations in a round."""


RSA_KEY: Final = (
    "256 3 8 AwEAAbJdDlq3MZ+mjL76cGN8Npuf9R49PIwhNJr4cE3T1pObENW7SA9mSGkTbTHBm/IyBFoHkG5Rsd1j"
    "KI+rbcZmgpWUdgW2UUYh8+c3msG5dMi1Y+OhgVWk0I5+jYQWohwHt9/wc6w+zWnXsRIhhupLv2myaygNC2wdTJom"
    "5K6TUfPWm85/TP0uIsKUYL46yKVAgyfVBP+3rrPCZkTM7M5exmvEPwOKKvnqfwfGscSGmuqMVbg9E+gE/3KxqqNR"
    "ufxx4rZYnnKH8hUWv237Jt7WqgX74kNEuR3D7k+DRIDz4yX0iiSZBm1mUWRpxToL7HhryWl49BLk9xE8KWHNJCI5"
    "Nx8="
)
"""A key of 2048 bits, which would take longer to make than to measure."""
RSA_SIGNATURE: Final = (
    "A 8 3 3600 20270116080000 20270115070000 49821 example.org. q+vES9eg2fXOR7FrADIxjA8ahshG"
    "1cGiEXWK3lFoknr3SXgE3CRaLNiczyJVXfFSj/IX2XAxf5MYuixWCLZQU5H7MacdKQW3Zf3kf7m/rfyiQoWGC1T1"
    "ymqZZHwCn+pOnDSxekQwZZTgNkQA6rhdSusyskEk04Wi07CGEkMwPRaKFXJDMkun/vw5ern8h5VWnDQ5wft2NxlM"
    "AVB3mGO08zfTReKc2at+PYLsclcoZKILk0VKSWJQIRbTO1y1UVxP0UoyVd4TlXneeBDpn09oFprlxQBlK3s61V9E"
    "x9SpvR9OfcVmMcRyOGCuOpyKQJqzJjnPfxuOJQSdK8VmLtnF8w=="
)
"""What it signed."""


def signed(algorithm: int) -> tuple[Any, Any, Any]:  # a foreign edge uses them, too
    """An RRset, its signature, and the key's record."""
    from sennit.names.dnssec.keys import ZoneKey
    from sennit.names.message import RRset
    from sennit.names.name import Name
    from sennit.names.presentation import tokens_of
    from sennit.names.rdata import parse_rdata, rdata_from_wire

    datas = [rdata_from_wire(1, bytes((192, 0, 2, last))) for last in (1, 2)]
    rrset = RRset(Name("www.example.org"), 1, 3600, datas)
    if algorithm == 8:
        return rrset, parse_rdata(46, tokens_of(RSA_SIGNATURE)), parse_rdata(48, tokens_of(RSA_KEY))
    key = ZoneKey.generate(Name("example.org"), algorithm)
    return rrset, key.sign(rrset, NOW - 3600, NOW + 86400), key.dnskey


def _ours(algorithm: int) -> Callable[[int], None]:
    def run(n: int) -> None:
        from sennit.names.dnssec.limits import Work
        from sennit.names.dnssec.signatures import ZoneKeys, verify_rrset
        from sennit.names.name import Name

        rrset, signature, record = signed(algorithm)
        keys = ZoneKeys(Name("example.org"), [record])
        for _ in range(n):
            verify_rrset(rrset, [signature], keys, now=NOW, work=Work(), algorithms={algorithm})

    return run


def _theirs(algorithm: int) -> Callable[[int], None]:
    def run(n: int) -> None:
        import dns.dnssec
        import dns.name
        import dns.rrset

        rrset, signature, record = signed(algorithm)
        zone = dns.name.from_text("example.org.")
        theirs = dns.rrset.from_text("www.example.org.", 3600, "IN", "A", *map(str, rrset.rdatas))
        sigs: Any = dns.rrset.from_text("www.example.org.", 3600, "IN", "RRSIG", str(signature))
        keys: Any = {zone: dns.rrset.from_text("example.org.", 3600, "IN", "DNSKEY", str(record))}
        library: Any = dns.dnssec  # a foreign edge
        for _ in range(n):
            library.validate_rrsig(theirs, sigs[0], keys, now=NOW)

    return run


def _verify(name: str) -> Benchmark:
    algorithm, operations = ALGORITHMS[name]
    measured = Benchmark(f"names-verify-{name}", operation="signature", operations=operations)
    measured.code("sennit")(_ours(algorithm))
    measured.code("dnspython", requires=["dns"])(_theirs(algorithm))
    return measured


def _hash(iterations: int) -> Benchmark:
    measured = Benchmark(f"names-nsec3-{iterations}", operation="name", operations=5_000)

    @measured.code("sennit")
    def ours(n: int) -> None:
        from sennit.names.dnssec.denial import nsec3_hash, nsec3_label
        from sennit.names.name import Name

        name = Name("www.example.org")
        for _ in range(n):
            nsec3_label(nsec3_hash(name, b"\xaa\xbb", iterations))

    @measured.code("dnspython", requires=["dns"])
    def theirs(n: int) -> None:
        import dns.dnssec
        import dns.name

        name = dns.name.from_text("www.example.org.")
        for _ in range(n):
            dns.dnssec.nsec3_hash(name, "AABB", iterations, "SHA1")

    return measured


def _validate() -> Benchmark:
    measured = Benchmark("names-validate-p256", operation="answer", operations=1_000)

    def prepared() -> tuple[Any, Any, Any]:
        from packages.names.tests.signed_tree import SignedZone, Tree
        from sennit.names.message import Question
        from sennit.names.name import Name

        tree = Tree(SignedZone("test", "www A 192.0.2.1\nwww A 192.0.2.2", algorithm=13))
        return tree, tree.validator(), Question(Name("www.test"), 1)

    @measured.code("secure")
    def secure(n: int) -> None:
        tree, validator, question = prepared()
        message = tree.resolve(question.name, 1)

        async def run() -> None:
            for _ in range(n):
                await validator.validate(message, question, tree.fetch)

        asyncio.run(run())

    @measured.code("absent")
    def absent(n: int) -> None:
        from sennit.names.message import Question
        from sennit.names.name import Name

        tree, validator, _ = prepared()
        question = Question(Name("nothing.test"), 1)
        message = tree.resolve(question.name, 1)

        async def run() -> None:
            for _ in range(n):
                await validator.validate(message, question, tree.fetch)

        asyncio.run(run())

    return measured


if __name__ == "__main__":
    main(*map(_verify, ALGORITHMS), _hash(0), _hash(50), _validate())
