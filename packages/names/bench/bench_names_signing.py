"""Zones signed whole: ours against dnssec-signzone and ldns-signzone, by algorithm.

A zone of 2 000 addresses, NSEC, a KSK and a ZSK; CPU of a whole process, reading and writing of
the file included. What a signature itself costs is OpenSSL's for all of them.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tools.benchmark import Benchmark, main

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES: Final = 2_000
ORIGIN: Final = "sign.example."
ALGORITHMS: Final = {"ecdsap256": (13, "ECDSAP256SHA256"), "ed25519": (15, "ED25519")}


@cache
def prepared(algorithm: int, word: str) -> Path:
    """A folder with the zone and its keys, made once in a process."""
    del algorithm
    folder = Path(tempfile.mkdtemp(prefix="sennit-signing-"))
    lines = ["$TTL 3600", "@ SOA ns1 hostmaster 1 7200 900 1209600 300", "@ NS ns1"]
    lines += ["ns1 A 192.0.2.1"]
    lines += [f"name{n} A 192.0.2.{n % 250 + 1}" for n in range(NAMES)]
    (folder / "plain.zone").write_text("\n".join(lines) + "\n")
    for words in (["-f", "KSK"], []):
        command = ["dnssec-keygen", "-q", "-K", str(folder), "-a", word, *words, ORIGIN]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def _ours(algorithm: int, word: str) -> Callable[[int], None]:
    def run(n: int) -> None:
        import time

        from sennit.names.dnssec.keyfiles import KeyFolder
        from sennit.names.dnssec.rollover import Rollover, RolloverPolicy
        from sennit.names.dnssec.signing import ZoneSigner
        from sennit.names.name import Name
        from sennit.names.zone.writer import write_zone
        from sennit.names.zone.zonefile import read_zone

        folder = prepared(algorithm, word)
        origin, now = Name(ORIGIN), time.time()
        keys, _ = KeyFolder(folder, origin).load(now)
        policy = RolloverPolicy(algorithm=algorithm, zsk_lifetime=30 * 86400.0)
        for _ in range(max(n // NAMES, 1)):
            zone = read_zone(folder / "plain.zone", origin)
            signer = ZoneSigner(origin, Rollover(origin, policy, keys).key_set())
            zone.apply(signer.sign_whole(zone, now))
            write_zone(zone, folder / "signed.zone")

    return run


def _theirs(algorithm: int, word: str, command: list[str]) -> Callable[[int], None]:
    def run(n: int) -> None:
        folder = prepared(algorithm, word)
        keys = sorted(each.stem for each in folder.glob("K*.private"))
        words = [*command, "plain.zone", *(keys if "ldns" in command[0] else [])]
        for _ in range(max(n // NAMES, 1)):
            subprocess.run(words, cwd=folder, check=True, capture_output=True)

    return run


def _signing(name: str) -> Benchmark:
    algorithm, word = ALGORITHMS[name]
    measured = Benchmark(f"names-sign-{name}", operation="name", operations=4 * NAMES)
    measured.code("sennit")(_ours(algorithm, word))
    bind = ["dnssec-signzone", "-q", "-P", "-n", "1", "-S", "-K", ".", "-o", ORIGIN]
    bind += ["-f", "theirs.zone"]
    if shutil.which("dnssec-signzone") and shutil.which("dnssec-keygen"):
        measured.code("dnssec-signzone")(_theirs(algorithm, word, bind))
    if shutil.which("ldns-signzone") and shutil.which("dnssec-keygen"):
        ldns = ["ldns-signzone", "-f", "ldns.zone", "-o", ORIGIN]
        measured.code("ldns-signzone")(_theirs(algorithm, word, ldns))
    return measured


if __name__ == "__main__":
    main(*map(_signing, ALGORITHMS))
