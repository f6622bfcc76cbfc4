"""Zones that BIND's and ldns's tools signed, sound and broken: what we find, and what others do."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from packages.names.tests.interop.peers import Daemon, Peers, delv, dig, run_tool
from packages.names.tests.interop.signed_zones import Child, Hierarchy, Line
from sennit.names.codes import EDE, RRType, type_from_text
from sennit.names.dnssec.validation import Validator
from sennit.names.dnssec.verdict import Security, Verdict
from sennit.names.message import Question, Record
from sennit.names.name import Name
from sennit.names.rdata.dnssec import DS, RRSIG

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.interop


def _without_signatures(text: str) -> str:
    """A zone file without its RRSIG records, but for that of the keys."""
    kept = r"^\S*[ \t]+\d+[ \t]+(IN[ \t]+)?RRSIG[ \t]+(?!DNSKEY)[^(\n]*(\([^)]*\))?.*\n"
    return re.sub(kept, "", text, flags=re.MULTILINE)


def _other_address(text: str) -> str:
    return text.replace("192.0.2.2", "192.0.2.66")


def _wrong_digest(text: str) -> str:
    return re.sub(r"[0-9A-Fa-f]{8}\s*$", "00000000\n", text)


def _unknown_digest(text: str) -> str:
    return re.sub(r"(DS \d+ \d+) 2 ", r"\1 250 ", text)


def _unknown_algorithm(text: str) -> str:
    return re.sub(r"(DS \d+) \d+ ", r"\1 100 ", text)


OPT_OUT = ("-3", "AABB", "-A")
SOUND = {
    "rsa": Child("RSASHA256"),
    "rsa512": Child("RSASHA512", ("-3", "-")),
    "p256": Child(sign=("-3", "-")),
    "p384": Child("ECDSAP384SHA384"),
    "ed25519": Child("ED25519", ("-3", "AABBCCDD", "-H", "10")),
    "ed448": Child("ED448"),
    "optout": Child(sign=OPT_OUT),
    "ldns": Child("ECDSAP256SHA256", ldns=True),
    "ldns3": Child("RSASHA256", ("-n", "-t", "3", "-s", "abcd"), ldns=True),
}
INSECURE = {
    "plain": Child(""),
    "digest": Child(ds=_unknown_digest),
    "unknown": Child(ds=_unknown_algorithm),
    "iterations": Child(sign=("-3", "AA", "-H", "51")),
}
BROKEN = {
    "expired": Child(sign=("-P", "-s", "20240101000000", "-e", "20240201000000")),
    "future": Child(sign=("-P", "-s", "20380101000000", "-e", "20380110000000")),
    "wrongds": Child(ds=_wrong_digest),
    "stripped": Child(edit=_without_signatures),
    "tampered": Child(edit=_other_address),
}


class Setting(NamedTuple):
    hierarchy: Hierarchy
    server: Daemon
    line: Line


@pytest.fixture(scope="module")
def setting(module_peers: Peers, tmp_path_factory: pytest.TempPathFactory) -> Setting:
    folder = tmp_path_factory.mktemp("zones")
    hierarchy = Hierarchy(folder, {**SOUND, **INSECURE, **BROKEN})
    server = module_peers.named(dict(hierarchy.files))
    return Setting(hierarchy, server, Line(server.host, server.port))


def _validate(
    setting: Setting, name: str, rdtype: str = "A", validator: Validator | None = None
) -> Verdict:
    number = type_from_text(rdtype)
    message = setting.line.resolve(Name(name), number)
    return asyncio.run(
        (validator or Validator(setting.hierarchy.anchors, now=time.time)).validate(
            message, Question(Name(name), number), setting.line.fetch
        )
    )


QUESTIONS = {
    "a": "A",
    "A": "TXT",
    "upper": "A",
    "x.wild": "TXT",
    "x.y.wild": "TXT",
    "x.wild ": "A",
    "alias": "A",
    "nothing": "A",
    "not.even.this": "A",
    "a ": "AAAA",
    "ent": "A",
    "": "DNSKEY",
    " ": "DS",
    "  ": "MX",
    "alias2": "A",
    "a.dname": "A",
    "nothing.dname": "A",
    "zz.*.wild": "A",
}
"""Beneath each sound zone; all proven."""


@pytest.mark.parametrize("label", SOUND)
def test_all_of_a_sound_zone_is_secure(setting: Setting, label: str) -> None:
    validator = Validator(setting.hierarchy.anchors, now=time.time)
    for question, rdtype in QUESTIONS.items():
        name = f"{question.strip()}.{label}.test".lstrip(".")
        verdict = _validate(setting, name, rdtype, validator)
        opted_out = label == "optout" and question.strip() in (
            "nothing",
            "not.even.this",
            "x.wild",
            "x.y.wild",
            "zz.*.wild",
        )
        expected = Security.INSECURE if opted_out else Security.SECURE
        assert verdict.security is expected, (name, rdtype, verdict)
        assert 0 < verdict.ttl <= 3600
    for name in (f"toplain.{label}.test", f"a.unsigned.{label}.test"):
        verdict = _validate(setting, name, "A", validator)
        if name.startswith("toplain"):
            assert verdict.security is Security.INSECURE, verdict
            assert verdict.links[0].security is Security.SECURE


@pytest.mark.parametrize("label", INSECURE)
def test_what_nobody_can_prove_is_insecure(setting: Setting, label: str) -> None:
    for name, rdtype in ((f"a.{label}.test", "A"), (f"nothing.{label}.test", "A")):
        verdict = _validate(setting, name, rdtype)
        if label == "iterations" and name.startswith("a."):
            assert verdict.security is Security.SECURE  # nothing had to be hashed for it
            continue
        assert verdict.security is Security.INSECURE, verdict
        codes = {
            "digest": EDE.UNSUPPORTED_DS_DIGEST_TYPE,
            "unknown": EDE.UNSUPPORTED_DNSKEY_ALGORITHM,
            "iterations": EDE.UNSUPPORTED_NSEC3_ITERATIONS,
        }
        assert verdict.info_code == codes.get(label)
    delegation = _validate(setting, f"{label}.test", "DS")
    assert delegation.security is Security.SECURE


@pytest.mark.parametrize(
    ("label", "code"),
    [
        ("expired", EDE.SIGNATURE_EXPIRED),
        ("future", EDE.SIGNATURE_NOT_YET_VALID),
        ("wrongds", EDE.DNSKEY_MISSING),
        ("stripped", EDE.RRSIGS_MISSING),
        ("tampered", EDE.DNSSEC_BOGUS),
    ],
)
def test_what_was_tampered_with_is_bogus(setting: Setting, label: str, code: int) -> None:
    verdict = _validate(setting, f"a.{label}.test")
    assert verdict.security is Security.BOGUS
    assert verdict.info_code == code, verdict


DENYING = frozenset(map(int, (RRType.NSEC, RRType.NSEC3)))


@pytest.mark.parametrize("label", ["rsa", "p256", "ldns", "ldns3"])
@pytest.mark.parametrize("question", ["nothing", "ent", "x.wild", "a.unsigned"])
def test_proofs_that_are_left_out_or_exchanged_prove_nothing(
    setting: Setting, label: str, question: str
) -> None:
    name = Name(f"{question}.{label}.test")
    rdtype = RRType.TXT if question == "x.wild" else RRType.A
    if question == "a.unsigned":
        name, rdtype = name.parent, RRType.DS
    validator = Validator(setting.hierarchy.anchors, now=time.time)
    other = setting.line.ask(f"a.{label}.test", RRType.MX)

    def judged(replace: list[Record]) -> Verdict:
        message = setting.line.ask(name, rdtype)
        message.authority = [
            each
            for each in message.authority
            if each.rdtype not in DENYING
            and not (isinstance(each.rdata, RRSIG) and each.rdata.type_covered in DENYING)
        ] + replace
        question = Question(name, rdtype)
        return asyncio.run(validator.validate(message, question, setting.line.fetch))

    assert judged([]).security is Security.BOGUS
    replayed = [each for each in other.authority if each.rdtype in {*DENYING, RRType.RRSIG}]
    assert judged(replayed).security is Security.BOGUS
    own = setting.line.ask(name, rdtype).authority
    assert judged([each for each in own if each.rdtype != RRType.SOA]).security is Security.SECURE


def test_unbound_and_delv_come_to_the_same_verdicts(
    setting: Setting, module_peers: Peers, tmp_path: Path
) -> None:
    anchors = setting.hierarchy.folder / "anchors"
    trusted = "".join(f' trust-anchor: "{line}"\n' for line in anchors.read_text().splitlines())
    stub = f"stub-zone:\n name: test\n stub-addr: 127.0.0.1@{setting.server.port}\n"
    resolver = module_peers.unbound(
        server=f'{trusted} module-config: "validator iterator"\n val-log-level: 2\n'
        ' val-nsec3-keysize-iterations: "1024 50 2048 50 4096 50"\n'
        " local-zone: test. nodefault\n",
        extra=stub,
    )
    key = tmp_path / "key"
    record = setting.hierarchy.anchors.of(Name("test"))[0]
    assert isinstance(record, DS)
    key.write_text(
        f'trust-anchors {{ "test." static-ds {record.key_tag} {record.algorithm} '
        f'{record.digest_type} "{record.digest.hex()}"; }};\n'
    )
    validator = Validator(setting.hierarchy.anchors, now=time.time)
    for label in (*SOUND, *INSECURE, *BROKEN):
        questions = ["a", "nothing", "x.wild", "alias2"] if label in SOUND else ["a", "nothing"]
        for question in questions:
            name = f"{question}.{label}.test"
            rdtype = "TXT" if question == "x.wild" else "A"
            ours = _validate(setting, name, rdtype, validator)
            theirs = dig((resolver.host, resolver.port), name, rdtype, "+dnssec", check=False)
            found = (
                Security.BOGUS
                if theirs.status == "SERVFAIL"
                else Security.SECURE
                if "ad" in theirs.flags
                else Security.INSECURE
            )
            assert ours.security is found, (name, ours, theirs.text)
    for label in ("p256", "ed448", "plain", "expired", "rsa"):
        name = f"nothing.{label}.test" if label == "rsa" else f"a.{label}.test"
        ours = _validate(setting, name, "A", validator)
        text = delv((setting.server.host, setting.server.port), key, "test", name)
        found = (
            Security.SECURE
            if "fully validated" in text
            else Security.INSECURE
            if "unsigned answer" in text
            else Security.BOGUS
        )
        assert ours.security is found, (name, ours, text)


def test_sennit_dig_says_what_it_found(setting: Setting) -> None:
    """``+validate``, with an anchor of one's own, straight from the servers."""
    anchors = setting.hierarchy.folder / "anchors"
    for name, said in (
        ("a.p256.test", "secure"),
        ("nothing.ed25519.test", "secure"),
        ("a.plain.test", "insecure"),
        ("a.expired.test", "bogus (the signature of expired.test. DNSKEY has expired)"),
    ):
        text = run_tool(
            *("sennit", "dig", f"@{setting.server.host}", "-p", str(setting.server.port)),
            *(name, "+validate", f"+anchor={anchors}", "+tcp"),
        )
        assert f"VALIDATION: {said}" in text, text
