"""Every record type and option, as the tools of BIND, Knot and ldns read, write and print them."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from packages.names.tests.interop.peers import program
from packages.names.tests.record_data import EXAMPLES, parsed
from packages.names.tests.test_names_codec_options import VECTORS
from sennit.names.codes import type_from_text, type_text
from sennit.names.edns import EDNS, Option
from sennit.names.errors import PresentationError
from sennit.names.message import Message, Record
from sennit.names.name import Name
from sennit.names.options import edns_text
from sennit.names.presentation import Tokens, split
from sennit.names.rdata import parse_rdata

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sennit.names.rdata import Rdata

pytestmark = pytest.mark.interop

ORIGIN = Name("example.")
HEAD = "$ORIGIN example.\n$TTL 300\n@ SOA ns hostmaster 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n"


def zone(types: list[str]) -> tuple[str, list[tuple[Name, Rdata]]]:
    """A zone of examples, each at a name of its own, and what it holds."""
    lines, held = [HEAD], list[tuple[Name, "Rdata"]]()
    for mnemonic in types:
        for number, text in enumerate(EXAMPLES[mnemonic]):
            owner = Name(f"{mnemonic.lower()}{number}.example.")
            rdata = parsed(mnemonic, text)
            held.append((owner, rdata))
            lines.append(f"{owner.relative_to(ORIGIN)} {mnemonic} {rdata.to_text(ORIGIN)}\n")
    return "".join(lines), held


def read(text: str) -> dict[Name, list[Rdata]]:
    """Records that another program printed: owner, TTL, class, type, data."""
    found: dict[Name, list[Rdata]] = {}
    for entry in split(text.splitlines()):
        tokens = Tokens(entry.tokens)
        try:
            owner = tokens.name()
            tokens.seconds()
            if tokens.text() != "IN":
                continue
            rdtype = tokens.said(type_from_text)
        except PresentationError:
            continue  # lines of other kinds
        found.setdefault(owner, []).append(parse_rdata(rdtype, tokens))
    return found


def run(*words: str) -> str:
    done = subprocess.run(
        [program(words[0]), *words[1:]], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_bind_reads_a_zone_of_every_type_and_prints_what_we_read(tmp_path: Path) -> None:
    text, held = zone(sorted(set(EXAMPLES) - {"MD", "MF", "NSEC3", "RRSIG", "SIG", "SOA"}))
    # Keys of newer registries, which this BIND may have as numbers.
    text = text.replace("ohttp", "key8").replace("tls-supported-groups=29,23", "")
    text = text.replace('docpath="a,b"', "")
    path = tmp_path / "zone"
    path.write_text(text)

    printed = run("named-checkzone", "-i", "none", "-k", "ignore", "-D", "example", str(path))

    found = read(printed)
    for owner, rdata in held:
        if "docpath" in str(rdata):
            continue
        assert rdata in found[owner], f"{owner}: {rdata} and {found[owner]}"
        line = next(line for line in printed.splitlines() if line.startswith(f"{owner}\t"))
        # Word for word, but for where long words are cut, and for zeros that it leaves out.
        words = re.sub(r"(?<=[ :])0+(?=[0-9a-f]+:)", "", str(rdata)).replace(" ", "")
        assert words in line.replace(" ", "").replace("\t", ""), line


def test_nsd_takes_what_we_write(tmp_path: Path) -> None:
    unknown = {
        "AMTRELAY",
        "KEY",
        "DLV",
        "DSYNC",
        "GPOS",
        "HIP",
        "NINFO",
        "RESINFO",
        "WALLET",
        "AVC",
        "SIG",
        "APL",
    }
    single = {"SOA", "NSEC3", "RRSIG", "NSEC"}
    text, _ = zone(sorted(set(EXAMPLES) - unknown - single))
    path = tmp_path / "zone"
    path.write_text(re.sub('ohttp|tls-supported-groups=29,23|docpath="a,b"', "", text))

    run("nsd-checkzone", "example", str(path))


def test_knot_takes_what_we_write(tmp_path: Path) -> None:
    """But for types, and keys of SVCB, that it does not know by name."""
    unknown = (
        "AMTRELAY AVC DLV DSYNC GPOS HIP ISDN KEY MB MD MF MG MR NINFO NSAP PX RESINFO SIG SOA"
        " WALLET WKS X25"
    )
    text, held = zone(sorted(set(EXAMPLES) - set(unknown.split())))
    path = tmp_path / "zone"
    newer = r'dohpath="/dns-query\{\?dns\}"|ohttp|tls-supported-groups=29,23|docpath="a,b"'
    text = re.sub(newer, "", text)
    path.write_text(text)

    run("kzonecheck", "-o", "example", "-d", "off", str(path))

    # It looks at what it reads.
    path.write_text(f"{text}bad NID 10 14:4fff:ff20\n")
    with pytest.raises(AssertionError):
        run("kzonecheck", "-o", "example", "-d", "off", str(path))
    assert len(held) > 40


@pytest.fixture
def server() -> Iterator[int]:
    """Answers with the examples of the type asked for; EDNS options at ``options.example``."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                try:
                    data, peer = listening.recvfrom(4096)
                except OSError:
                    return
                if not data:
                    return
                query = Message.from_wire(data)
                asked = query.question
                reply = query.reply()
                reply.answers = [
                    Record(asked.name, asked.rdtype, 300, parsed(type_text(asked.rdtype), text))
                    for text in EXAMPLES.get(type_text(asked.rdtype), ())
                ]
                reply.edns = EDNS(4096)
                if asked.name == Name("options.example."):
                    reply.edns = OPTIONS
                listening.sendto(reply.to_wire(), peer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", listening.getsockname())
            thread.join(5)


OPTIONS = EDNS(
    options=[
        *(value.option() for value, _, said in VECTORS if said.split(":")[0] not in {"COOKIE"}),
        Option(65001, b"hey\0"),
    ]
)
NEWER = ("CHAIN", "Report-Channel", "ZONEVERSION", "DAU", "DHU", "N3U")
"""Options that dig prints as octets."""


def test_dig_prints_options_as_we_do(server: int) -> None:
    printed = run("dig", "@127.0.0.1", "-p", str(server), "options.example.", "+nocookie", "+qr")

    section = printed[printed.index("Got answer") :]
    lines = section[section.index(";; OPT") : section.index(";; QUESTION")].split("\n")
    expected = edns_text(OPTIONS).split("\n")
    for ours, theirs in zip(expected, lines, strict=False):
        if not ours.startswith(tuple(f"; {each}" for each in NEWER)):
            assert ours == theirs.rstrip()


def asked_for(mnemonic: str) -> str:
    """A name for a type; dig looks whether that of an NSEC3 is a hash."""
    label = "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom" if mnemonic == "NSEC3" else mnemonic.lower()
    return f"{label}.example."


@pytest.mark.parametrize("tool", ["dig", "kdig"])
def test_it_prints_each_type_as_we_read_it(tool: str, server: int) -> None:
    """All in one process: the octets are ours, the text is theirs."""
    types = sorted(set(EXAMPLES) - {"KEY", "SIG"})
    # By number, since not all names of types are known to each.
    asked = [word for each in types for word in (asked_for(each), f"TYPE{type_from_text(each)}")]

    printed = run(tool, "@127.0.0.1", "-p", str(server), "+noall", "+answer", "+nocookie", *asked)

    found = read(printed)
    for each in types:
        assert found.get(Name(asked_for(each))) == [
            parsed(each, text) for text in EXAMPLES[each]
        ], each
