"""The client against servers that people run: BIND, NSD, Knot and Unbound, and beside dig."""

from __future__ import annotations

import asyncio
import base64
import re
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import trustme

from packages.names.tests.interop.peers import Daemon, Peers, program
from sennit.core import ClientTLS
from sennit.core.testing.loopback import free_port
from sennit.names.client.digging import parse_arguments
from sennit.names.client.digrun import Digger
from sennit.names.client.exchange import Upstream
from sennit.names.client.stream import StreamClient, TLSProfile, public_key_pin
from sennit.names.client.stub import StubResolver
from sennit.names.client.transfers import axfr, ixfr, notify, transfer, update
from sennit.names.codes import Rcode
from sennit.names.edns import EDNS
from sennit.names.errors import (
    NoDataError,
    NoSuchNameError,
    ResponseError,
    TransferError,
    TSIGError,
    UnreachableError,
)
from sennit.names.message import Message
from sennit.names.tsig import Key
from sennit.names.update.message import Update

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.interop

LONG = " ".join(f'"{letter * 200}"' for letter in "abcdefgh")
ZONE = f"""\
$TTL 3600
@ SOA ns root 1 7200 3600 86400 300
@ NS ns
ns A 127.0.0.1
@ MX 20 mx2
@ MX 10 mx1
mx1 A 192.0.2.25
mx2 A 192.0.2.26
www 600 A 192.0.2.7
www AAAA 2001:db8::7
alias CNAME www
text TXT "hello world" "; and \\"more\\""
long TXT {LONG}
_xmpp-client._tcp SRV 0 5 5222 www
strange TYPE65280 \\# 4 01020304
a\\.dot TXT "escaped"
"""
KEY = Key("client.key", b"0123456789abcdef0123456789abcdef")
KINDS = ("named", "nsd", "knotd")


@pytest.fixture(scope="module")
def servers(module_peers: Peers) -> dict[str, Daemon]:
    """One of each that has zones, and Unbound in front of one."""
    found = {kind: getattr(module_peers, kind)({"example.org": ZONE}) for kind in KINDS}
    zone = found["nsd"]
    found["unbound"] = module_peers.unbound(
        server=' local-zone: "org." nodefault\n domain-insecure: "example.org"\n',
        extra=f"stub-zone:\n name: example.org\n stub-addr: {zone.host}@{zone.port}\n",
    )
    return found


# ── look-ups ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("way", ["udp", "tcp"])
@pytest.mark.parametrize("kind", KINDS)
async def test_typed_look_ups_of_a_zone(kind: str, way: str, servers: dict[str, Daemon]) -> None:
    daemon = servers[kind]
    async with StubResolver([f"{way}://{daemon.host}:{daemon.port}"], hosts=None) as resolver:
        assert await resolver.addresses("www.example.org") == ["2001:db8::7", "192.0.2.7"]
        assert [str(each) for each in await resolver.mx("example.org")] == [
            "10 mx1.example.org.",
            "20 mx2.example.org.",
        ]
        (place,) = await resolver.srv("_xmpp-client._tcp.example.org")
        assert (place.port, str(place.target)) == (5222, "www.example.org.")
        assert await resolver.txt("text.example.org") == [b'hello world; and "more"']
        assert (await resolver.soa("example.org")).serial == 1
        assert [str(each) for each in await resolver.ns("example.org")] == ["ns.example.org."]
        found = await resolver.lookup("alias.example.org")
        assert str(found.canonical_name) == "www.example.org."
        with pytest.raises(NoSuchNameError):
            await resolver.a("none.example.org")
        with pytest.raises(NoDataError):
            await resolver.aaaa("mx1.example.org")
        with pytest.raises(ResponseError, match="REFUSED"):
            await resolver.a("www.example.net")


@pytest.mark.parametrize("kind", KINDS)
async def test_what_does_not_fit_a_datagram_comes_over_tcp(
    kind: str, servers: dict[str, Daemon]
) -> None:
    daemon = servers[kind]
    upstream = Upstream(f"{daemon.host}:{daemon.port}")
    answer = await upstream.ask(Message.query("long.example.org", 16, edns=EDNS()))
    await upstream.aclose()
    assert upstream.transport == "tcp"
    assert len(answer.answers) == 1


async def test_many_questions_at_once_over_one_connection(servers: dict[str, Daemon]) -> None:
    daemon = servers["named"]
    async with StreamClient((daemon.host, daemon.port)) as client:
        answers = await asyncio.gather(
            *[client.exchange(Message.query(f"n{n}.example.org")) for n in range(200)]
        )
    assert {each.rcode for each in answers} == {Rcode.NXDOMAIN}


async def test_unbound_answers_for_others(servers: dict[str, Daemon]) -> None:
    unbound = servers["unbound"]
    async with StubResolver([f"{unbound.host}:{unbound.port}"], hosts=None) as resolver:
        assert await resolver.a("alias.example.org") == ["192.0.2.7"]
        assert len((await resolver.txt("long.example.org"))[0]) == 1600


# ── TLS ───────────────────────────────────────────────────────────────────────


class Certificates(NamedTuple):
    """Files of a certificate for ``dns.example`` and 127.0.0.1, and who vouches for it."""

    chain: Path
    key: Path
    authority: Path
    pin: bytes


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    made = authority.issue_cert("dns.example", "127.0.0.1")
    chain, key, ca = folder / "chain.pem", folder / "key.pem", folder / "ca.pem"
    made.private_key_pem.write_to_path(str(key))
    for each in made.cert_chain_pems:
        each.write_to_path(str(chain), append=True)
    authority.cert_pem.write_to_path(str(ca))
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509 import load_pem_x509_certificate

    der = load_pem_x509_certificate(made.cert_chain_pems[0].bytes()).public_bytes(Encoding.DER)
    return Certificates(chain, key, ca, public_key_pin(der))


@pytest.fixture(scope="module")
def tls_servers(module_peers: Peers, certificates: Certificates) -> dict[str, tuple[str, int]]:
    """Servers that speak TLS too: their addresses there."""
    chain, key = certificates.chain, certificates.key
    ports = {kind: free_port() for kind in ("named", "nsd", "unbound")}
    module_peers.named(
        {"example.org": ZONE},
        options=f"listen-on port {ports['named']} tls local {{ 127.0.0.1; }};",
        extra=f'tls local {{ cert-file "{chain}"; key-file "{key}"; }};',
    )
    common = f' tls-service-key: "{key}"\n tls-service-pem: "{chain}"\n'
    module_peers.nsd(
        {"example.org": ZONE},
        server=f" ip-address: 127.0.0.1@{ports['nsd']}\n tls-port: {ports['nsd']}\n{common}",
    )
    module_peers.unbound(
        server=f" interface: 127.0.0.1@{ports['unbound']}\n tls-port: {ports['unbound']}\n{common}"
        ' local-zone: "example.org." static\n'
        ' local-data: "www.example.org. 600 A 192.0.2.7"\n',
    )
    return {kind: ("127.0.0.1", port) for kind, port in ports.items()}


@pytest.mark.parametrize("kind", ["named", "nsd", "unbound"])
async def test_dns_over_tls(
    kind: str, tls_servers: dict[str, tuple[str, int]], certificates: Certificates
) -> None:
    """RFC 7858 §4, RFC 8310: by name, by address, by pin, and with any certificate."""
    place = tls_servers[kind]
    trusting = ClientTLS(trust=certificates.authority)
    message = Message.query("www.example.org", edns=EDNS())
    for profile in (
        TLSProfile("dns.example", tls=trusting),
        TLSProfile(tls=trusting),
        TLSProfile(pins=[certificates.pin]),
        TLSProfile(opportunistic=True),
    ):
        async with StreamClient(place, profile) as client:
            for _ in range(2):
                answer = await client.exchange(message)
                assert str(answer.answers[0].rdata) == "192.0.2.7"
    for profile, why in (
        (TLSProfile("other.example", tls=trusting), "other.example"),
        (TLSProfile("dns.example"), "certificate|issuer|signed"),
        (TLSProfile(pins=[bytes(32)]), "pinned"),
    ):
        async with StreamClient(place, profile) as client:
            with pytest.raises(UnreachableError, match=why):
                await client.exchange(message)


async def test_any_certificate_will_do_but_never_clear_text(
    tls_servers: dict[str, tuple[str, int]], certificates: Certificates
) -> None:
    """RFC 8310 §5.1 lets opportunistic clients fall back: here to a server named for it alone."""
    host, port = tls_servers["named"]
    opportunistic = f"tls://{host}:{port}?opportunistic"
    other = ClientTLS(trust=certificates.authority)  # which counts for the others alone
    async with StubResolver([opportunistic], hosts=None, tls=other) as stub:
        assert await stub.a("www.example.org") == ["192.0.2.7"]
    pinned = f"tls://{host}:{port}?pin={base64.b64encode(certificates.pin).decode()}"
    async with StubResolver([pinned], hosts=None, tls=ClientTLS()) as stub:
        assert await stub.a("www.example.org") == ["192.0.2.7"]


async def test_clear_text_is_fallen_back_to_where_it_is_named(servers: dict[str, Daemon]) -> None:
    host, port = servers["named"].host, servers["named"].port
    encrypted, clear = f"tls://{host}:{free_port()}?opportunistic", f"{host}:{port}"
    async with StubResolver([encrypted], hosts=None) as stub:
        with pytest.raises(UnreachableError):
            await stub.a("www.example.org")
    async with StubResolver([encrypted, clear], hosts=None) as stub:
        assert await stub.a("www.example.org") == ["192.0.2.7"]


async def test_everything_goes_over_ipv6(peers: Peers) -> None:
    """Names, transfers and dig's mirror, by ``::1`` and the reverse names of IPv6."""
    try:
        port = free_port("::1")
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")
    daemon = peers.nsd(
        {"example.org": ZONE},
        host="::1",
        port=port,
        server=" do-ip6: yes\n",
        zone_options=" provide-xfr: ::1 NOKEY\n",
    )
    for way in ("udp", "tcp"):
        async with StubResolver([f"{way}://[::1]:{port}"], hosts=None) as stub:
            assert await stub.addresses("www.example.org") == ["2001:db8::7", "192.0.2.7"]
            assert len((await stub.txt("long.example.org"))[0]) == 1600
    assert len([each async for each in axfr("example.org", f"[::1]:{port}")]) == 15
    ours, theirs, status, expected = await both(daemon, "www.example.org", "aaaa", "-6")
    assert ours == theirs
    assert status == expected == 0


async def test_a_resolver_over_tls_pads_its_questions(
    tls_servers: dict[str, tuple[str, int]], certificates: Certificates
) -> None:
    host, port = tls_servers["named"]
    stub = StubResolver(
        [f"tls://{host}:{port}#dns.example"],
        hosts=None,
        tls=ClientTLS(trust=certificates.authority),
    )
    async with stub:
        found = await stub.lookup("www.example.org")
        assert found.message is not None
        assert found.message.edns is not None
        # BIND pads its answers to those who padded their questions, if at all.
        assert [str(each) for each in found.rdatas] == ["192.0.2.7"]


# ── zones ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", KINDS)
async def test_a_zone_comes_as_a_stream(kind: str, servers: dict[str, Daemon]) -> None:
    daemon = servers[kind]
    where = f"{daemon.host}:{daemon.port}"
    records = [str(each) async for each in axfr("example.org", where)]
    assert records[0].startswith("example.org. 3600 IN SOA")
    assert len(records) == len(set(records)) == 15
    assert 'a\\.dot.example.org. 3600 IN TXT "escaped"' in records
    with pytest.raises(TransferError):
        async for _ in axfr("example.net", where):
            pass


async def test_changes_are_sent_signed_and_come_back_as_differences(peers: Peers) -> None:
    """RFC 2136, RFC 8945 and RFC 1995, with BIND."""
    daemon = peers.named(
        {"example.org": ZONE},
        zone_options='allow-update { key "client.key"; }; allow-transfer { key "client.key"; };',
        extra=KEY.to_file(),
    )
    where = f"{daemon.host}:{daemon.port}"
    changes = (
        Update("example.org")
        .require_absent("new.example.org")
        .add("new.example.org", 60, "A", "192.0.2.99")
        .delete("text.example.org", "TXT")
    )
    with pytest.raises(ResponseError, match="REFUSED"):
        await update(changes, where)
    await update(changes, where, key=KEY)
    with pytest.raises(ResponseError, match="YXDOMAIN"):
        await update(changes, where, key=KEY)
    stranger = Key("client.key", b"not the secret that they share!!")
    with pytest.raises(TSIGError, match="BADSIG"):
        await update(changes, where, key=stranger)

    (found,) = [each async for each in ixfr("example.org", 1, where, key=KEY)]
    assert not isinstance(found, list)
    assert [str(each.rdata) for each in found.added[1:]] == ["192.0.2.99"]
    assert [str(each.name) for each in found.removed[1:]] == ["text.example.org."]
    current = await transfer("example.org", where, 2, key=KEY)
    assert current.records == []
    assert [each async for each in ixfr("example.org", 2, where, key=KEY)] == []
    with pytest.raises((TransferError, TSIGError)):
        await transfer("example.org", where)


async def test_a_secondary_is_told(peers: Peers) -> None:
    daemon = peers.named(
        extra='zone "example.org" { type secondary; primaries { 127.0.0.1; }; };', answers="."
    )
    answer = await notify("example.org", f"{daemon.host}:{daemon.port}")
    assert answer.opcode == 4
    with pytest.raises(ResponseError):
        await notify("example.net", f"{daemon.host}:{daemon.port}")


# ── dig ───────────────────────────────────────────────────────────────────────


async def both(daemon: Daemon, *words: str) -> tuple[str, str, int, int]:
    """What `sennit dig` and dig print, made alike, and their statuses."""
    given = [f"@{daemon.host}", "-p", str(daemon.port), *words]
    said: list[str] = []
    status = await Digger(said.append, given).run(parse_arguments(given))
    process = await asyncio.create_subprocess_exec(
        program("dig"), *given, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    ours = "".join(line + "\n" for line in said)
    return alike(ours), alike(out.decode()), status, process.returncode or 0


def alike(text: str) -> str:
    """Without what differs from run to run, and the programs' own names."""
    text = re.sub(r"; <<>>.*", "; <<>>", text)
    text = re.sub(r"; \(\d+ servers? found\)\n", "", text)
    text = re.sub(r"id: \d+", "id: N", text)
    text = re.sub(r"COOKIE: [0-9a-f]+", "COOKIE: C", text)
    text = re.sub(r" in \d+ ms", " in N ms", text)
    text = re.sub(r"Query time: \d+", "Query time: N", text)
    text = re.sub(r"WHEN: .*", "WHEN:", text)
    text = re.sub(r"bytes \d+\)", "bytes N)", text)  # dig asks for a zone with EDNS and a cookie
    lines = text.split("\n")
    # Records of a set come in an order that the server turns.
    blocks: list[list[str]] = [[]]
    for line in lines:
        if not line or line.startswith((";", "\t")):
            blocks.append([line])
            blocks.append([])
        else:
            blocks[-1].append(line)
    return "\n".join(line for block in blocks for line in sorted(block))


@pytest.mark.parametrize(
    "words",
    [
        "example.org",
        "example.org mx",
        "www.example.org any +tcp",
        "none.example.org +norecurse",
        "alias.example.org +short",
        "text.example.org txt +noall +answer",
        "example.org soa +multiline +nocmd +nostats",
        "none.example.org +multiline +dnssec",
        "www.example.org +nottlid",
        "long.example.org txt +ignore",
        "long.example.org txt +nocmd +nostats",
        "strange.example.org TYPE65280 +nocookie",
        "www.example.net +noedns",
        "www.example.org +dnssec +nottlid +noclass",
        "www.example.org +ttlunits +nocomments +noquestion",
        "www.example.org aaaa +subnet=192.0.2.0/24 +cd",
        "-x 127.0.0.1 +bufsize=600",
        "-q www.example.org -t AAAA -c IN +noadflag",
        "example.org axfr",
        "example.org axfr +onesoa +noall +answer",
        "www.example.org version.bind txt ch",
        "www.example.org +keepopen +tcp text.example.org txt +tcp",
    ],
)
async def test_sennit_dig_prints_what_dig_prints(words: str, servers: dict[str, Daemon]) -> None:
    ours, theirs, status, expected = await both(servers["named"], *words.split(" "))
    assert ours == theirs
    assert status == expected


@pytest.fixture(scope="module")
def root(module_peers: Peers) -> Daemon:
    """The root of a small hierarchy: each zone on an address of its own, all on one port.

    dig looks servers up with the system's resolver, so they are called by what it takes for
    addresses. The last one's is not in the referral to it: the root is asked for it.
    """
    head = "$TTL 3600\n@ SOA ns root 1 7200 3600 86400 300\n"
    glue = "".join(f"127.0.0.{n}. A 127.0.0.{n}\n" for n in (2, 3, 4))
    port = free_port("127.0.0.2")
    found = module_peers.nsd(
        {".": f"{head}. NS 127.0.0.2.\ntest. NS 127.0.0.3.\n{glue}"}, host="127.0.0.2", port=port
    )
    module_peers.nsd(
        {"test": f"{head}@ NS 127.0.0.3.\nexample NS 127.0.0.4.\n"}, host="127.0.0.3", port=port
    )
    leaf = f"{head}@ NS 127.0.0.4.\nwww A 192.0.2.7\nalias CNAME www\n"
    module_peers.knotd({"example.test": leaf}, host="127.0.0.4", port=port)
    return found


@pytest.mark.parametrize(
    "words",
    [
        "www.example.test +trace",
        "none.example.test +trace",
        "alias.example.test a +trace +nodnssec +tcp",
        "www.example.test +trace +short",
        "www.example.test +trace +noall +answer",
        "www.example.test +trace +all",
        "-x 127.0.0.1 +trace +noidentify",
    ],
)
async def test_a_trace_prints_what_that_of_dig_prints(words: str, root: Daemon) -> None:
    ours, theirs, status, expected = await both(root, *words.split(" "))
    assert ours == theirs
    assert status == expected


async def test_dig_validates_what_bind_has_signed(peers: Peers, tmp_path: Path) -> None:
    """RFC 4035 §5, with anchors out of a file; and keys are shown as dig shows them."""
    (tmp_path / "zone").write_text(ZONE)
    for flags in (["-fKSK"], []):
        await tool(tmp_path, "dnssec-keygen", "-q", "-a", "ECDSAP256SHA256", *flags, "example.org")
    await tool(tmp_path, "dnssec-signzone", "-S", "-o", "example.org", "-f", "signed", "zone")
    daemon = peers.named({"example.org": tmp_path / "signed"})
    anchors = tmp_path / "dsset-example.org."
    for name in ("www.example.org", "none.example.org"):
        said = await digging(daemon, name, f"+anchor={anchors}")
        assert ";; VALIDATION: secure" in said
    elsewhere = await digging(daemon, "www.example.org", "+validate")
    assert any(each.startswith(";; VALIDATION: bogus") for each in elsewhere)
    words = ("example.org", "dnskey", "+multiline", "+noall", "+answer")
    ours, theirs, _, _ = await both(daemon, *words)
    assert sorted(ours.split("\n")) == sorted(theirs.split("\n"))


async def digging(daemon: Daemon, *words: str) -> list[str]:
    """The lines that `sennit dig` prints."""
    said: list[str] = []
    given = [f"@{daemon.host}", "-p", str(daemon.port), *words]
    await Digger(said.append, given).run(parse_arguments(given))
    return said


async def tool(folder: Path, name: str, *words: str) -> None:
    """Run a tool in a folder."""
    process = await asyncio.create_subprocess_exec(
        program(name), *words, cwd=folder, stdout=asyncio.subprocess.DEVNULL
    )
    assert await process.wait() == 0


async def test_a_pin_in_a_url_is_what_dig_goes_by(
    tls_servers: dict[str, tuple[str, int]], certificates: Certificates
) -> None:
    host, port = tls_servers["named"]
    for pin, expected in ((certificates.pin, 0), (bytes(32), 9)):
        url = f"@tls://{host}:{port}?pin={base64.b64encode(pin).decode()}"
        said: list[str] = []
        status = await Digger(said.append).run(parse_arguments([url, "www.example.org", "+short"]))
        assert status == expected
        assert ("192.0.2.7" in said) is (status == 0)


def run_dig(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("sennit"), "dig", *words], capture_output=True, text=True, timeout=20, check=False
    )


def test_dig_over_tls_signed_and_in_json(
    tls_servers: dict[str, tuple[str, int]], certificates: Certificates
) -> None:
    import json

    host, port = tls_servers["named"]
    common = [f"@{host}", "-p", str(port), "www.example.org"]
    loose = run_dig(*common, "+tls", "+short")
    assert (loose.returncode, loose.stdout) == (0, "192.0.2.7\n")
    strict = run_dig(
        *common, f"+tls-ca={certificates.authority}", "+tls-hostname=dns.example", "--json"
    )
    found: dict[str, Any] = json.loads(strict.stdout)
    assert found["answerRRs"][0]["rdataA"] == "192.0.2.7"
    assert found["transport"] == "TLS"
    wrong = run_dig(*common, f"+tls-ca={certificates.authority}", "+tls-hostname=other.example")
    assert wrong.returncode == 9
    assert "other.example" in wrong.stdout
