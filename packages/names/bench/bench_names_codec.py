"""Parse and build of messages: ours against dnspython, on four answers as servers give them.

Each side reads the same octets into its own message (`parse`), and writes its own message,
read before, into octets again with compression (`build`).
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from tools.benchmark import Benchmark, main

if TYPE_CHECKING:
    from collections.abc import Callable

SIGNATURE = base64.b64encode(bytes(range(64))).decode("ascii")
"""As long as one of ECDSA P-256."""


def _signed(owner: str, covered: str, labels: int, ttl: int) -> str:
    return (
        f"{owner} {ttl} RRSIG {covered} 13 {labels} {ttl} 20261231000000 20261201000000 "
        f"4711 example.org. {SIGNATURE}"
    )


ANSWERS: dict[str, tuple[str, str, list[str], list[str], list[str]]] = {
    "a": ("www.example.org.", "A", ["www.example.org. 300 A 192.0.2.80"], [], []),
    "mx": (
        "example.org.",
        "MX",
        ["example.org. 3600 MX 10 mail.example.org.", "example.org. 3600 MX 20 mx.example.net."],
        ["example.org. 86400 NS ns1.example.org.", "example.org. 86400 NS ns2.example.org."],
        [
            "mail.example.org. 3600 A 192.0.2.25",
            "mail.example.org. 3600 AAAA 2001:db8::25",
            "ns1.example.org. 86400 A 192.0.2.53",
            "ns2.example.org. 86400 A 198.51.100.53",
        ],
    ),
    "nxdomain": (
        "nosuch.example.org.",
        "A",
        [],
        [
            "example.org. 300 SOA ns1.example.org. hostmaster.example.org. 7 7200 900 1209600 300",
            _signed("example.org.", "SOA", 2, 300),
            *(
                line
                for owner, following in (
                    ("0p9mhaveqvm6t7vbl5lop2u3t2rp3tom", "2t7b4g4vsa5smi47k61mv5bv1a22bojr"),
                    ("35mthgpgcu1qg68fab165klnsnk3dpvl", "b4um86eghhds6nea196smvmlo4ors995"),
                    ("gjeqe526plbf1g8mklp59enfd789njgi", "ji6neoaepv8b5o6k4ev33abha8ht9fgc"),
                )
                for line in (
                    f"{owner}.example.org. 300 NSEC3 1 0 0 - {following} A RRSIG",
                    _signed(f"{owner}.example.org.", "NSEC3", 3, 300),
                )
            ),
        ],
        [],
    ),
    "axfr-100": (
        "example.org.",
        "AXFR",
        [
            line
            for number in range(25)
            for line in (
                f"host{number}.example.org. 3600 A 192.0.2.{number}",
                f"host{number}.example.org. 3600 AAAA 2001:db8::{number:x}",
                f"alias{number}.example.org. 3600 CNAME host{number}.example.org.",
                f'host{number}.example.org. 3600 TXT "machine number {number}"',
            )
        ],
        [],
        [],
    ),
}
"""By name: what was asked, and the lines of each section."""


def wire_of(name: str) -> bytes:
    """The octets of an answer, with an OPT record where it is no transfer."""
    from sennit.names.codes import type_from_text
    from sennit.names.edns import EDNS
    from sennit.names.message import AA, QR, Message, Question, Record
    from sennit.names.name import Name
    from sennit.names.presentation import tokens_of
    from sennit.names.rdata import parse_rdata

    def records(lines: list[str]) -> list[Record]:
        found: list[Record] = []
        for line in lines:
            owner, ttl, rdtype, data = line.split(" ", 3)
            kind = type_from_text(rdtype)
            found.append(Record(Name(owner), kind, int(ttl), parse_rdata(kind, tokens_of(data))))
        return found

    asked, rdtype, *sections = ANSWERS[name]
    answers, authority, additional = map(records, sections)
    return Message(
        4711,
        QR | AA,
        rcode=3 if name == "nxdomain" else 0,
        questions=[Question(Name(asked), type_from_text(rdtype))],
        answers=answers,
        authority=authority,
        additional=additional,
        edns=None if name.startswith("axfr") else EDNS(dnssec_ok=name == "nxdomain"),
    ).to_wire()


def _ours(name: str, build: bool) -> Callable[[int], None]:
    def run(n: int) -> None:
        from sennit.names.message import Message

        wire = wire_of(name)
        if build:
            message = Message.from_wire(wire)
            for _ in range(n):
                message.to_wire()
        else:
            read = Message.from_wire
            for _ in range(n):
                read(wire)

    return run


def _theirs(name: str, build: bool) -> Callable[[int], None]:
    def run(n: int) -> None:
        import dns.message

        wire = wire_of(name)
        if build:
            message: Any = dns.message.from_wire(wire)  # a foreign edge
            for _ in range(n):
                message.to_wire()
        else:
            read: Any = dns.message.from_wire
            for _ in range(n):
                read(wire)

    return run


def _benchmark(name: str, build: bool) -> Benchmark:
    what = "build" if build else "parse"
    operations = 500 if name == "axfr-100" else 5_000
    measured = Benchmark(f"names-{what}-{name}", operation="message", operations=operations)
    measured.code("sennit")(_ours(name, build))
    measured.code("dnspython", requires=["dns"])(_theirs(name, build))
    measured.at_most("sennit", 1 / 3, of="dnspython")
    return measured


if __name__ == "__main__":
    main(*(_benchmark(name, build) for name in ANSWERS for build in (False, True)))
