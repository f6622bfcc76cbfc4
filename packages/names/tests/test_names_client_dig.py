"""``sennit dig``: its arguments, its exit statuses, traces, transfers and JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from packages.names.tests.client_servers import records, serve, zone_answers
from sennit.names.client.commands import dig as command
from sennit.names.client.digging import Dig, parse_arguments
from sennit.names.client.digrun import Digger
from sennit.names.codes import OptionCode, Rcode, RRClass, RRType
from sennit.names.edns import Option
from sennit.names.errors import DNSUsageError
from sennit.names.message import AD, CD, RD, Message
from sennit.names.tsig import Key

if TYPE_CHECKING:
    from pathlib import Path

    from sennit.core.testing.clock import Clock
    from sennit.core.testing.network import MemoryNetwork


def one(text: str) -> Dig:
    (found,) = parse_arguments(text.split())
    return found


# ── arguments ─────────────────────────────────────────────────────────────────


def test_the_parts_of_a_question_come_in_whatever_order() -> None:
    for text in (
        "@192.0.2.1 a.example mx ch",
        "mx a.example ch @192.0.2.1",
        "-t mx -c ch a.example @192.0.2.1",
    ):
        found = one(text)
        assert (found.name, found.rdtype, found.rdclass) == ("a.example", RRType.MX, RRClass.CH)
        assert found.server == "192.0.2.1"


def test_without_a_name_the_root_is_asked_about() -> None:
    found = one("@192.0.2.1")
    assert (found.name, found.rdtype) == (".", RRType.NS)


def test_several_questions_have_options_of_their_own() -> None:
    """Options before the first name are for all of them."""
    words = ["+tcp", "@192.0.2.1", "a.example", "+short", "b.example", "mx", "+notcp"]
    first, second = parse_arguments(words)
    assert (first.transport, first.short, first.rdtype) == ("tcp", True, RRType.A)
    assert (second.transport, second.short, second.rdtype) == ("udp", False, RRType.MX)
    assert first.server == second.server == "192.0.2.1"


def test_options_may_be_cut_while_they_are_told_apart() -> None:
    assert one("a.example +norec").flags & RD == 0
    assert one("a.example +dnss").dnssec
    with pytest.raises(DNSUsageError, match=r"\+time"):
        one("a.example +ti=1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-x 192.0.2.7", {"name": "7.2.0.192.in-addr.arpa.", "rdtype": 12}),
        ("-q mx -t a", {"name": "mx", "rdtype": 1}),
        ("a.example ixfr=7", {"rdtype": 251, "serial": 7, "transport": "tcp"}),
        ("a.example axfr", {"transport": "tcp"}),
        ("a.example -p 5300 -4", {"port": 5300, "family": 4}),
        ("a.example -b 127.0.0.2", {"local": "127.0.0.2"}),
        ("a.example +cd +noad +norec", {"flags": CD}),
        ("a.example", {"flags": AD | RD, "payload": 1232, "cookie": b""}),
        ("a.example +bufsize=4096", {"payload": 4096}),
        ("a.example +nocookie", {"cookie": None}),
        ("a.example +cookie=0102030405060708", {"cookie": bytes(range(1, 9))}),
        ("a.example +nsid", {"options": [Option(OptionCode.NSID)]}),
        ("a.example +subnet=0", {"options": [Option(OptionCode.ECS, b"\0\1\0\0")]}),
        ("a.example +ednsopt=65001:abcd", {"options": [Option(65001, b"\xab\xcd")]}),
        ("a.example +padding", {"padding": 128}),
        ("a.example +https=/q", {"transport": "https", "path": "/q"}),
        ("a.example +https-get", {"transport": "https", "method": "GET"}),
        ("a.example +time=2 +tries=1", {"timeout": 2.0, "tries": 1}),
        ("a.example +retry=4", {"tries": 5}),
        ("a.example +noall", {"stats": False, "command": False}),
        ("a.example -y hmac-sha256:k:c2VjcmV0", {"key": Key("k", b"secret")}),
        ("a.example +opcode=NOTIFY", {"opcode": 4}),
        ("a.example +anchor=/dev/null", {"validate": True, "anchors": ("", "/dev/null")}),
    ],
)
def test_an_option_says_what_it_says(text: str, expected: dict[str, object]) -> None:
    found = one(text)
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a.example +nonsense", "is no option"),
        ("a.example +dnsec", r"\+dnssec"),
        ("a.example -Z", "there are -x"),
        ("a.example -p", "needs something"),
        ("a.example -p 99999", "a port"),
        ("a.example +subnet", r"\+subnet=192"),
        ("a.example +cookie=xyz", "hexadecimal"),
        ("a..example", "no name"),
        ("-x a.example", "address"),
        ("a.example ixfr", "serial"),
        ("a.example -y nonsense", "algorithm:name:base64"),
        ("a.example -t NONSENSE", "no type"),
    ],
)
def test_mistakes_say_what_would_be_right(text: str, what: str) -> None:
    with pytest.raises(DNSUsageError, match=what):
        one(text)


@given(st.lists(st.text(max_size=20).filter(lambda word: word[:2] != "-k"), max_size=6))
def test_no_arguments_break_the_reading(words: list[str]) -> None:
    try:
        parse_arguments(words)
    except (DNSUsageError, OSError):
        pass


# ── statuses ──────────────────────────────────────────────────────────────────


def test_exit_statuses_are_those_of_dig(tmp_path: Path) -> None:
    runner = CliRunner()

    def status(*words: str) -> tuple[int, str]:
        done = runner.invoke(command, list(words), standalone_mode=False)
        return int(done.return_value or 0), done.output + done.stderr

    code, text = status("a.example", "+nonsense")
    assert (code, "is no option" in text) == (1, True)
    code, text = status("a.example", "-k", str(tmp_path / "none"))
    assert (code, "No such file" in text) == (8, True)
    code, text = status("a.example", f"+anchor={tmp_path / 'none'}")
    assert (code, "No such file" in text) == (8, True)
    help_text = runner.invoke(command, ["--help"]).output
    assert "sennit dig example.org mx +short" in help_text
    assert "+trace" in help_text


# ── running ───────────────────────────────────────────────────────────────────

ZONE = zone_answers("www.example.org 60 A 192.0.2.7", "alias.example.org 60 CNAME www.example.org.")


def run(clock: Clock, text: str) -> tuple[int, list[str]]:
    said: list[str] = []
    words = text.split()
    status = clock.run(lambda _: Digger(said.append, words).run(parse_arguments(words)))
    return status, said


def test_a_short_answer_is_data_alone(clock: Clock, memory_network: MemoryNetwork) -> None:
    serve(memory_network, ZONE)
    status, said = run(clock, "@10.0.0.53 alias.example.org +short")
    assert (status, said) == (0, ["www.example.org.", "192.0.2.7"])


def test_silence_is_status_nine_after_so_many_tries(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    server = serve(memory_network, lambda query: None)
    status, said = run(clock, "@10.0.0.53 a.example +time=2 +tries=2 +nocmd")
    assert status == 9
    assert said[-1] == ";; no servers could be reached"
    assert sum("timed out" in each for each in said) == 2
    assert len(server.asked) == 2
    assert clock.time() == pytest.approx(4)


def test_a_cut_answer_is_said_and_asked_for_again(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    server = serve(memory_network, lambda query: query.reply(flags=0x0200), over_tcp=ZONE)
    status, said = run(clock, "@10.0.0.53 www.example.org")
    assert status == 0
    assert ";; Truncated, retrying in TCP mode." in said
    assert any("(TCP)" in each for each in said)
    assert server.ways == ["udp", "tcp"]


def test_json_is_that_of_rfc_8427(clock: Clock, memory_network: MemoryNetwork) -> None:
    serve(memory_network, ZONE)
    status, said = run(clock, "@10.0.0.53 +json www.example.org")
    assert status == 0
    (text,) = said
    found = json.loads(text)
    assert (found["QNAME"], found["QTYPEname"], found["RCODE"]) == ("www.example.org.", "A", 0)
    (answer,) = found["answerRRs"]
    assert (answer["NAME"], answer["rdataA"], answer["RDATAHEX"]) == (
        "www.example.org.",
        "192.0.2.7",
        "c0000207",
    )
    status, said = run(clock, "@10.0.0.54 +json www.example.org")
    assert status == 9
    assert "error" in json.loads(said[0])


def test_a_trace_goes_from_the_root_to_the_answer(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    def answered(
        query: Message, answers: str = "", authority: str = "", additional: str = ""
    ) -> Message:
        reply = query.reply()
        reply.answers += records(*filter(None, [answers]))
        reply.authority += records(*filter(None, [authority]))
        reply.additional += records(*filter(None, [additional]))
        return reply

    def root(query: Message) -> Message:
        glue = "ns.root.example 60 A 10.0.0.53"
        if query.question.rdtype == RRType.NS:
            return answered(query, ". 60 NS ns.root.example.", "", glue)
        if str(query.question.name) == "ns.org.example.":
            return answered(query, "ns.org.example 60 A 10.0.0.54")
        return answered(query, "", "org 60 NS ns.org.example.")  # without glue

    def org(query: Message) -> Message:
        glue = "ns.example.org 60 A 10.0.0.55"
        return answered(query, "", "example.org 60 NS ns.example.org.", glue)

    serve(memory_network, root)
    serve(memory_network, org, "10.0.0.54")
    leaf = serve(memory_network, ZONE, "10.0.0.55")
    status, said = run(clock, "@10.0.0.53 www.example.org +trace")
    assert status == 0
    steps = [each for each in said if each.startswith(";; Received")]
    assert [each.split(" from ")[1].split("#")[0] for each in steps] == [
        "10.0.0.53",
        "10.0.0.53",
        "10.0.0.54",
        "10.0.0.55",
    ]
    assert "www.example.org.\t60\tIN\tA\t192.0.2.7" in said
    assert not leaf.queries[0].flags & RD


def test_each_step_of_a_trace_is_in_its_json(clock: Clock, memory_network: MemoryNetwork) -> None:
    def answer(query: Message) -> Message:
        reply = query.reply()
        if query.question.rdtype == RRType.NS:
            reply.answers += records(". 60 NS ns.example.")
            reply.additional += records("ns.example 60 A 10.0.0.53")
        else:
            reply.answers += records("www.example.org 60 A 192.0.2.7")
        return reply

    serve(memory_network, answer)
    status, said = run(clock, "@10.0.0.53 www.example.org +trace +json")
    assert status == 0
    first, last = json.loads("\n".join(said))
    assert first["answerRRs"][0]["TYPEname"] == "NS"
    assert last["answerRRs"][0]["rdataA"] == "192.0.2.7"


def test_an_answer_without_a_question_is_validated_for_what_was_asked(
    clock: Clock, memory_network: MemoryNetwork
) -> None:
    """A server that could not read the question need not repeat it."""

    def failing(query: Message) -> Message:
        reply = query.reply(Rcode.SERVFAIL)
        reply.questions = []
        return reply

    serve(memory_network, failing)
    status, said = run(clock, "@10.0.0.53 www.example.org +validate +nofail")
    assert status == 0
    assert any(each.startswith(";; VALIDATION: indeterminate") for each in said)


def test_referrals_that_go_round_end(clock: Clock, memory_network: MemoryNetwork) -> None:
    def round_about(query: Message) -> Message:
        reply = query.reply()
        glue = records("ns.example 60 A 10.0.0.53")
        section = reply.answers if query.question.rdtype == RRType.NS else reply.authority
        section += records(". 60 NS ns.example.")
        reply.additional += glue
        return reply

    serve(memory_network, round_about)
    status, said = run(clock, "@10.0.0.53 www.example.org +trace")
    assert status == 9
    assert "referrals" in said[-1]
