"""A small hierarchy beneath ``test.``, signed by BIND's and ldns's tools, sound and broken.

`Hierarchy` writes and signs the zones into a folder; one server may serve them all. `Line` asks
such a server over TCP, as a validator's `fetch`.
"""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from packages.names.tests.interop.peers import run_tool
from sennit.names.dnssec.anchors import TrustAnchors
from sennit.names.edns import EDNS
from sennit.names.message import CD, RD, Message
from sennit.names.name import Name
from sennit.names.rdata.basic import CNAME

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Child", "Hierarchy", "Line"]

CHILD = """\
$TTL 3600
@ IN SOA ns hostmaster 1 7200 3600 1209600 300
@ NS ns
ns A 127.0.0.1
a A 192.0.2.1
a A 192.0.2.2
a TXT "text"
*.wild TXT "made from a wildcard"
x.*.wild TXT "beneath a wildcard"
b.ent A 192.0.2.3
alias CNAME a
alias2 CNAME alias.p256.test.
toplain CNAME a.plain.test.
dname DNAME p256.test.
unsigned NS ns.unsigned
ns.unsigned A 127.0.0.1
UPPER A 192.0.2.4
"""


class Child(NamedTuple):
    """How a zone beneath ``test.`` is made.

    Attributes:
        algorithm: Its mnemonic; empty for a zone that is not signed.
        sign: More words for dnssec-signzone.
        ldns: Whether ldns's tools make and sign it.
        edit: What happens to the signed zone's text before it is served.
        ds: What happens to the DS records before the parent has them.
    """

    algorithm: str = "ECDSAP256SHA256"
    sign: tuple[str, ...] = ()
    ldns: bool = False
    edit: Callable[[str], str] | None = None
    ds: Callable[[str], str] | None = None


def _stamp(seconds: float) -> str:
    return time.strftime("%Y%m%d%H%M%S", time.gmtime(time.time() + seconds))


class Hierarchy:
    """Signed zones in a folder.

    Args:
        folder: Where.
        children: Zones beneath ``test.``, by their label.

    Attributes:
        files: Files of zones, by origin.
        anchors: The trust anchor of ``test.``
    """

    def __init__(self, folder: Path, children: dict[str, Child]) -> None:
        self.folder = folder
        self.files: dict[str, Path] = {}
        delegations: list[str] = []
        for label, child in children.items():
            origin = f"{label}.test"
            delegations.append(f"{label} NS ns.{label}\nns.{label} A 127.0.0.1\n")
            ds = self._sign(origin, CHILD, child)
            delegations.append(child.ds(ds) if child.ds else ds)
        parent = (
            "$TTL 3600\n@ IN SOA ns hostmaster 1 7200 3600 1209600 300\n@ NS ns\n"
            "ns A 127.0.0.1\nhost A 192.0.2.7\n" + "".join(delegations)
        )
        ds = self._sign("test", parent, Child())
        self.anchors = TrustAnchors.from_text(ds)
        (folder / "anchors").write_text(self.anchors.to_text())

    def _sign(self, origin: str, text: str, child: Child) -> str:
        """Write and sign a zone; its DS records."""
        path = self.folder / f"{origin}.zone"
        path.write_text(text)
        self.files[origin] = path
        if not child.algorithm:
            return ""
        where = str(self.folder)
        if child.ldns:
            ksk = run_tool(
                "ldns-keygen", "-k", "-a", child.algorithm, origin, folder=self.folder
            ).strip()
            zsk = run_tool("ldns-keygen", "-a", child.algorithm, origin, folder=self.folder).strip()
            run_tool(
                "ldns-signzone", *child.sign, "-o", origin, path.name, ksk, zsk, folder=self.folder
            )
            ds = run_tool("ldns-key2ds", "-n", "-2", f"{ksk}.key", folder=self.folder)
        else:
            words: tuple[str, ...] = ("-q", "-K", where, "-a", child.algorithm)
            if child.algorithm.startswith("RSA"):
                words += ("-b", "2048")
            zsk = run_tool("dnssec-keygen", *words, origin).strip()
            ksk = run_tool("dnssec-keygen", *words, "-f", "KSK", origin).strip()
            run_tool(
                "dnssec-signzone",
                *("-q", "-S", "-K", where, "-o", origin, "-d", where, "-x"),
                *(() if "-e" in child.sign else ("-e", _stamp(14 * 86400))),
                *("-f", f"{path}.signed", *child.sign, str(path)),
            )
            ds = run_tool("dnssec-dsfromkey", "-2", f"{where}/{ksk}.key")
        signed = Path(f"{path}.signed")
        if child.edit is not None:
            signed.write_text(child.edit(signed.read_text()))
        self.files[origin] = signed
        return ds


class Line:
    """Asks a server over TCP, and remembers what it answered.

    Args:
        host: Its address.
        port: Its port.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.asked: list[tuple[str, int]] = []
        self._known: dict[tuple[Name, int], bytes] = {}

    def ask(self, name: Name | str, rdtype: int) -> Message:
        """The answer, with the records of DNSSEC."""
        whole = Name(name) if isinstance(name, str) else name
        known = self._known.get((whole, rdtype))
        if known is None:
            query = Message.query(
                whole, rdtype, id=7, flags=RD | CD, edns=EDNS(dnssec_ok=True)
            ).to_wire()
            with socket.create_connection((self.host, self.port), 5) as sock:
                sock.sendall(len(query).to_bytes(2, "big") + query)
                with sock.makefile("rb") as stream:
                    size = int.from_bytes(stream.read(2), "big")
                    known = stream.read(size)
            self._known[whole, rdtype] = known
        return Message.from_wire(known)

    def resolve(self, name: Name, rdtype: int) -> Message:
        """The answer with its aliases followed from zone to zone, as a resolver does."""
        whole = message = self.ask(name, rdtype)
        while True:
            target = name
            leads = {
                record.name: record.rdata.target
                for record in message.answers
                if isinstance(record.rdata, CNAME)
            }
            while target in leads:
                target = leads.pop(target)
            found = {record.name for record in message.answers if record.rdtype == rdtype}
            if target == name or target in found or message.authority:
                return whole
            name = target
            message = self.ask(name, rdtype)
            whole.answers += message.answers
            whole.authority += message.authority
            whole.rcode = message.rcode

    async def fetch(self, name: Name, rdtype: int) -> Message:
        """The same, as a validator asks."""
        self.asked.append((str(name), rdtype))
        await asyncio.sleep(0)
        return self.ask(name, rdtype)
