"""Our resolver on a tree of NSD's and Knot's servers, beside Unbound's and BIND's resolvers.

The tree is on addresses of 127/8 that are drawn for the run, at port 53. Where that is not ours to
take (it takes root, or Linux' ``net.ipv4.ip_unprivileged_port_start``) it is at another port: we
and BIND have a setting for where delegations are asked, and Unbound is told each zone's servers.
What is asked of all three has to have the same code, records and AD.
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

from packages.names.tests.interop.peers import (
    Daemon,
    Peers,
    dig,
    drill,
    kdig,
    program,
    run_tool,
)
from sennit.core import Reactor, serve
from sennit.core import run as run_reactor
from sennit.core.testing.loopback import free_port
from sennit.core.transport.tls import ClientTLS, ServerTLS
from sennit.names.codes import Rcode, RRType, rcode_text, type_from_text
from sennit.names.dnssec.anchors import TrustAnchors
from sennit.names.dnssec.validation import Validator
from sennit.names.message import AD, Message
from sennit.names.resolver.localzones import LocalZone, LocalZones
from sennit.names.resolver.resolver import RecursiveResolver
from sennit.names.server import DNSServer
from sennit.names.serving.listening import serve_dns

pytestmark = pytest.mark.interop

_SOA = "$TTL 3600\n@ IN SOA ns hostmaster 1 7200 3600 1209600 300\n"
_CHILD = """\
a A 192.0.2.1
a A 192.0.2.2
a MX 10 b
b A 192.0.2.3
deep.er.and.deeper A 192.0.2.4
*.wild TXT "made from a wildcard"
alias CNAME a
away CNAME a.signed3.example.
plainly CNAME a.plain.example.
nowhere CNAME gone
dname DNAME signed3.example.
big TXT {big}
"""


class Tree(NamedTuple):
    """What stands.

    Attributes:
        root: Address of the root's server.
        anchor: The root's DS records, as text.
        unbound: Unbound as a resolver on it.
        bind: BIND likewise.
        port: Where all servers listen.
    """

    root: str
    anchor: str
    unbound: Daemon
    bind: Daemon
    port: int


def _sign(folder: Path, origin: str, text: str, *words: str) -> tuple[Path, str]:
    """Write and sign a zone; its file, and its DS records."""
    path = folder / f"{origin.strip('.') or 'root'}.zone"
    path.write_text(text)
    where = str(folder)
    keys = ("-q", "-K", where, "-a", "ECDSAP256SHA256")
    run_tool("dnssec-keygen", *keys, origin)
    ksk = run_tool("dnssec-keygen", *keys, "-f", "KSK", origin).strip()
    run_tool(
        "dnssec-signzone", "-q", "-S", "-K", where, "-o", origin, "-d", where, "-x",
        "-f", f"{path}.signed", *words, str(path),
    )  # fmt: skip
    return Path(f"{path}.signed"), run_tool("dnssec-dsfromkey", "-2", f"{where}/{ksk}.key")


def _addresses() -> tuple[list[str], int]:
    """Addresses, and a port that is free at all of them: 53, if it is ours to take."""
    base = f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250) + 1}"
    found = [f"{base}.{last}" for last in range(1, 6)]
    for port in (53, *(free_port(found[0]) for _ in range(20))):
        if all(_is_free(each, port) for each in found):
            return found, port
    raise AssertionError("no port is free at all addresses")


def _is_free(host: str, port: int) -> bool:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(type=kind) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


@pytest.fixture(scope="module")
def tree(module_peers: Peers, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    folder = tmp_path_factory.mktemp("tree")
    (root, top, second, knot, nsd), port = _addresses()
    big = " ".join(f'"{chr(97 + i % 26) * 250}"' for i in range(12))
    child = _CHILD.format(big=big)
    signed, ds = _sign(folder, "signed.example.", f"{_SOA}@ NS ns\nns A {second}\n{child}")
    signed3, ds3 = _sign(
        folder, "signed3.example.", f"{_SOA}@ NS ns\nns A {knot}\n{child}", "-3", "-"
    )
    broken, ds_broken = _sign(folder, "broken.example.", f"{_SOA}@ NS ns\nns A {nsd}\n{child}")
    broken.write_text(broken.read_text().replace("192.0.2.2", "192.0.2.66"))
    plain = f"{_SOA}@ NS ns\nns A {nsd}\n{child}"
    glueless = f"{_SOA}@ NS ns.signed.example.\na A 192.0.2.9\n"
    top_zone, ds_top = _sign(
        folder,
        "example.",
        f"{_SOA}@ NS ns\nns A {top}\n"
        f"signed NS ns.signed\nns.signed A {second}\n{ds}"
        f"signed3 NS ns.signed3\nns.signed3 A {knot}\n{ds3}"
        f"broken NS ns.broken\nns.broken A {nsd}\n{ds_broken}"
        f"plain NS ns.plain\nns.plain A {nsd}\n"
        "glueless NS ns.signed.example.\n",
    )
    root_zone, ds_root = _sign(
        folder,
        ".",
        f"$TTL 86400\n. IN SOA ns.root. hostmaster.root. 1 7200 3600 1209600 300\n. NS ns.root.\n"
        f"ns.root. A {root}\nexample. NS ns.example.\nns.example. A {top}\n{ds_top}",
    )
    module_peers.knotd({".": root_zone}, host=root, port=port)
    module_peers.nsd({"example.": top_zone}, host=top, port=port)
    module_peers.nsd(
        {"signed.example.": signed, "glueless.example.": glueless}, host=second, port=port
    )
    module_peers.knotd({"signed3.example.": signed3}, host=knot, port=port)
    module_peers.nsd({"broken.example.": broken, "plain.example.": plain}, host=nsd, port=port)
    hints = folder / "hints"
    hints.write_text(f". 3600000 NS ns.root.\nns.root. 3600000 A {root}\n")
    (folder / "anchor").write_text(ds_root)
    unbound = module_peers.unbound(
        server=(f' root-hints: "{hints}"\n' if port == 53 else "")
        + f' trust-anchor-file: "{folder}/anchor"\n'
        ' module-config: "validator iterator"\n qname-minimisation: yes\n',
        extra=_stubs(
            {
                ".": root,
                "example.": top,
                "signed.example.": second,
                "glueless.example.": second,
                "signed3.example.": knot,
                "broken.example.": nsd,
                "plain.example.": nsd,
            },
            port,
        ),
        answers="localhost",
    )
    words = ds_root.split()
    tag, algorithm, kind, *digest = words[words.index("DS") + 1 :]
    bind_resolver = module_peers.named(
        options="recursion yes; allow-recursion { any; }; dnssec-validation yes;\n"
        f"empty-zones-enable no; port {port};\n",
        extra=f'zone "." {{ type hint; file "{hints}"; }};\n'
        f'trust-anchors {{ . static-ds {tag} {algorithm} {kind} "{"".join(digest)}"; }};\n',
        answers="a.plain.example",
    )
    return Tree(root, ds_root, unbound, bind_resolver, port)


def _stubs(servers: dict[str, str], port: int) -> str:
    """The servers of zones, for Unbound, which looks for them at port 53 alone."""
    if port == 53:
        return ""
    return "".join(
        f'stub-zone:\n name: "{zone}"\n stub-addr: {server}@{port}\n stub-prime: no\n'
        for zone, server in servers.items()
    )


QUESTIONS = [
    ("a.signed.example.", "A"),
    ("a.signed.example.", "MX"),
    ("a.signed.example.", "AAAA"),
    ("gone.signed.example.", "A"),
    ("er.and.deeper.signed.example.", "A"),
    ("deep.er.and.deeper.signed.example.", "A"),
    ("x.wild.signed.example.", "TXT"),
    ("x.y.wild.signed3.example.", "TXT"),
    ("alias.signed.example.", "A"),
    ("away.signed.example.", "A"),
    ("plainly.signed.example.", "A"),
    ("nowhere.signed.example.", "A"),
    ("a.dname.signed.example.", "A"),
    ("gone.dname.signed.example.", "A"),
    ("a.signed3.example.", "A"),
    ("gone.signed3.example.", "MX"),
    ("a.signed3.example.", "TXT"),
    ("big.signed3.example.", "TXT"),
    ("a.plain.example.", "A"),
    ("gone.plain.example.", "A"),
    ("a.glueless.example.", "A"),
    ("a.broken.example.", "A"),
    ("b.broken.example.", "A"),
    ("signed.example.", "DS"),
    ("plain.example.", "DS"),
    ("signed.example.", "DNSKEY"),
    ("signed.example.", "SOA"),
    ("signed.example.", "NS"),
    ("example.", "NS"),
    (".", "SOA"),
    ("nosuch.", "A"),
    ("nosuch.example.", "A"),
]


def _ours(tree: Tree, **options: Any) -> RecursiveResolver:
    return RecursiveResolver(
        root_hints={"ns.root.": [tree.root]},
        avoid=(),
        ipv6=False,
        port=tree.port,
        validator=Validator(TrustAnchors.from_text(tree.anchor), now=time.time),
        **options,
    )


def _summary(message: Message) -> tuple[str, bool, list[str]]:
    answers = sorted(
        f"{str(each.name).lower()} {each.rdtype} {each.rdata}".lower()
        for each in message.answers
        if each.rdtype != RRType.RRSIG
    )
    return rcode_text(message.rcode), bool(message.flags & AD), answers


def _peer(daemon: Daemon, name: str, rdtype: str) -> tuple[str, bool, list[str]]:
    found = dig((daemon.host, daemon.port), name, rdtype, "+dnssec")
    answers = sorted(
        f"{each.name} {type_from_text(each.type)} {each.data}".lower()
        for each in found.answer
        if each.type != "RRSIG"
    )
    return found.status, "ad" in found.flags, [_plain(each) for each in answers]


def _plain(text: str) -> str:
    """Without the blanks that dig puts into digests and keys."""
    words = text.split()
    if len(words) > 2 and words[1] in ("43", "48"):
        return " ".join([*words[:5], "".join(words[5:])])
    return text


def test_three_resolvers_find_the_same(tree: Tree) -> None:
    async def ask_all(_: Reactor) -> dict[tuple[str, str], tuple[str, bool, list[str]]]:
        async with _ours(tree) as ours:
            found: dict[tuple[str, str], tuple[str, bool, list[str]]] = {}
            for name, rdtype in QUESTIONS:
                message = await ours.resolve(name, type_from_text(rdtype), dnssec_ok=True)
                found[name, rdtype] = _summary(message)
            for name, rdtype in QUESTIONS:  # again, out of the cache
                message = await ours.resolve(name, type_from_text(rdtype), dnssec_ok=True)
                assert _summary(message) == found[name, rdtype]
            return found

    ours = run_reactor(ask_all)
    differences: list[str] = []
    for (name, rdtype), found in ours.items():
        code, secure, answers = found
        found = code, secure, [_plain(each) for each in answers]
        for peer in (tree.unbound, tree.bind):
            theirs = _peer(peer, name, rdtype)
            if found != theirs:
                differences.append(f"{name} {rdtype}: ours {found}, {peer.name} {theirs}")
    assert not differences, "\n".join(differences)


def test_answers_of_a_forwarder_are_validated_too(tree: Tree) -> None:
    """Unbound and BIND forward for us; what they give with CD is judged here."""

    async def ask_all(_: Reactor) -> None:
        async with _ours(tree) as alone:
            for peer in (tree.unbound, tree.bind):
                forward = {".": [f"{peer.host}:{peer.port}"]}
                async with _ours(tree, forward=forward) as ours:
                    for name, rdtype in QUESTIONS:
                        number = type_from_text(rdtype)
                        found = _summary(await ours.resolve(name, number, dnssec_ok=True))
                        wanted = _summary(await alone.resolve(name, number, dnssec_ok=True))
                        assert found == wanted, (name, rdtype, peer.name)

    run_reactor(ask_all)


def test_a_stub_zone_is_asked_of_bind(peers: Peers) -> None:
    named = peers.named({"stub.example.": f"{_SOA}@ NS ns\nns A 127.0.0.1\n*.x A 192.0.2.6\n"})

    async def ask(_: Reactor) -> None:
        stub = {"stub.example.": [f"{named.host}:{named.port}"]}
        async with RecursiveResolver(root_hints={}, stub=stub) as ours:
            assert await ours.a("any.x.stub.example") == ["192.0.2.6"]
            assert (await ours.resolve("gone.stub.example.", RRType.A)).rcode == 3

    run_reactor(ask)


async def test_forwarders_over_tls_are_known_by_their_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    chain = tmp_path / "chain.pem"
    authority.issue_cert("dns.example").private_key_and_cert_chain_pem.write_to_path(str(chain))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    local = LocalZones([LocalZone("example.", "static", ["www A 192.0.2.1"])])
    provider = DNSServer(RecursiveResolver(root_hints={}, local_zones=local))
    async with serve("tls://127.0.0.1:0", provider, tls=ServerTLS(str(chain))) as running:
        for name, good in (("dns.example", True), ("other.example", False)):
            forward = {".": [f"tls://127.0.0.1:{running.port}#{name}"]}
            believed = ClientTLS(trust=str(tmp_path / "ca.pem"))
            async with RecursiveResolver(forward=forward, tls=believed) as ours:
                found = await ours.resolve("www.example.", RRType.A)
                assert bool(found.answers) == good
                assert (found.rcode == Rcode.SERVFAIL) != good


def test_known_proofs_answer_for_other_names(tree: Tree) -> None:
    """RFC 8198: a second absent name takes no question upstream."""

    async def ask(_: Reactor) -> None:
        async with _ours(tree) as ours:
            for zone in ("signed.example.", "signed3.example."):
                await ours.resolve(f"gone1.{zone}", RRType.A)
                before = ours.statistics()
                silent = 0
                for index in range(20):
                    found = await ours.resolve(f"gone{index}x.{zone}", RRType.A, dnssec_ok=True)
                    assert found.rcode == 3
                    assert found.flags & AD
                after = ours.statistics()
                silent = 20 - (after["upstream_queries"] - before["upstream_queries"])
                assert silent >= 10, zone
            assert ours.statistics()["synthesized"] >= 20

    run_reactor(ask)


def test_the_trees_servers_see_less_than_the_whole_name(tree: Tree) -> None:
    async def ask(_: Reactor) -> int:
        async with _ours(tree) as ours:
            await ours.resolve("deep.er.and.deeper.signed.example.", RRType.A)
            return ours.statistics()["upstream_queries"]

    assert run_reactor(ask) < 20


@pytest.fixture
def served(tree: Tree) -> Iterator[tuple[tuple[str, int], Callable[[], dict[str, int]]]]:
    """Our resolver behind our server, in a thread of its own."""
    ready = threading.Event()
    done: list[Callable[[], object]] = []
    place: list[int] = []
    counts: list[dict[str, int]] = []

    def work() -> None:
        async def main(reactor: Reactor) -> None:
            import asyncio

            end = asyncio.Event()
            done.append(lambda: reactor.call_from_thread(end.set))
            async with _ours(tree) as ours:
                server = DNSServer(ours)
                async with serve_dns(server, "127.0.0.1", 0) as both:
                    place.append(both.port)
                    ready.set()
                    await end.wait()
                    counts.append(ours.statistics())

        run_reactor(main)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert ready.wait(20)
        yield ("127.0.0.1", place[0]), lambda: counts[-1]
    finally:
        for each in done:
            each()
        thread.join(20)


def test_dig_kdig_and_drill_get_answers(
    served: tuple[tuple[str, int], Callable[[], dict[str, int]]],
) -> None:
    server, _ = served
    first = dig(server, "a.signed.example.", "A", "+dnssec")
    assert first.status == "NOERROR"
    assert {"qr", "rd", "ra", "ad"} <= first.flags
    assert {each.type for each in first.answer} == {"A", "RRSIG"}
    assert kdig(server, "away.signed.example.", "A").status == "NOERROR"
    assert drill(server, "gone.signed.example.", "A").status == "NXDOMAIN"
    assert dig(server, "big.signed.example.", "TXT").status == "NOERROR"
    broken = dig(server, "a.broken.example.", "A")
    assert broken.status == "SERVFAIL"
    assert "EDE: 6" in broken.text
    assert dig(server, "a.broken.example.", "A", "+cd").status == "NOERROR"
    assert dig(server, "localhost", "A").data == ["127.0.0.1"]


def test_dnsperf_loses_nothing(
    served: tuple[tuple[str, int], Callable[[], dict[str, int]]], tmp_path: Path
) -> None:
    server, _ = served
    program("dnsperf")
    names = tmp_path / "names"
    asked = [f"{name} {rdtype}\n" for name, rdtype in QUESTIONS if "broken" not in name]
    names.write_text("".join(asked))
    text = run_tool(
        "dnsperf", "-s", server[0], "-p", str(server[1]), "-d", str(names), "-l", "1", "-c", "4",
    )  # fmt: skip
    assert "Queries lost:         0" in text, text
    assert "SERVFAIL" not in text
