"""Dynamic update (RFC 2136): what must hold, what changes, who may, and what is answered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packages.names.tests.transfer_zones import (
    ORIGIN,
    anything,
    change,
    messages_of,
    record,
    request,
    soa,
    zone,
)
from sennit.names.codes import Opcode, Rcode, RRType
from sennit.names.errors import DNSUsageError, MessageFormatError
from sennit.names.message import Message, Question, Record
from sennit.names.name import Name
from sennit.names.rdata import GenericRdata
from sennit.names.rdata.address import A
from sennit.names.transfer.access import AccessList
from sennit.names.update.apply import work_out
from sennit.names.update.message import Update
from sennit.names.update.policy import Policy
from sennit.names.update.update import UpdatableZone, Updates
from sennit.names.update.view import View
from sennit.names.zone.zone import Changes, Zone

if TYPE_CHECKING:
    from pathlib import Path

    from sennit.names.request import Request

ALL = Policy(["grant loopback zonesub ANY"])


def texts(given: Zone) -> set[str]:
    return {each.to_text(ORIGIN) for each in given.records() if each.rdtype != RRType.SOA}


def applied(update: Update | Message, given: Zone | None = None) -> tuple[int, Zone]:
    """Work an update out over a zone, and make it; what it was answered, and the zone."""
    given = given or zone()
    message = update.message() if isinstance(update, Update) else update
    message = Message.from_wire(message.to_wire())
    view = View(given)
    rcode = work_out(view, message, anything)
    if changes := view.changes():
        given.apply(changes)
    return rcode, given


def update() -> Update:
    return Update(ORIGIN)


# ── prerequisites (RFC 2136 §3.2) ─────────────────────────────────────────────


@pytest.mark.parametrize(
    ("asked", "rcode"),
    [
        (update().require("www"), Rcode.NOERROR),
        (update().require("nothing"), Rcode.NXDOMAIN),
        (update().require_absent("nothing"), Rcode.NOERROR),
        (update().require_absent("www"), Rcode.YXDOMAIN),
        (update().require("www", "A"), Rcode.NOERROR),
        (update().require("www", "MX"), Rcode.NXRRSET),
        (update().require_absent("www", "MX"), Rcode.NOERROR),
        (update().require_absent("www", "A"), Rcode.YXRRSET),
        (update().require("www", "A", "192.0.2.80"), Rcode.NOERROR),
        (update().require("www", "A", "192.0.2.81"), Rcode.NXRRSET),
        (update().require("www", "A", "192.0.2.80", "192.0.2.81"), Rcode.NXRRSET),
        (update().require("@", "NS", "ns2.example.org.", "ns1.example.org."), Rcode.NOERROR),
        (update().require("@", "NS", "ns1.example.org."), Rcode.NXRRSET),
    ],
)
def test_prerequisites_decide(asked: Update, rcode: int) -> None:
    asked.add("new", 60, "A", "192.0.2.9")

    found, changed = applied(asked)

    assert found == rcode
    assert ("new 60 IN A 192.0.2.9" in texts(changed)) is (rcode == Rcode.NOERROR)


def raw(
    *,
    prerequisite: Record | None = None,
    changed: Record | None = None,
) -> Message:
    return Message(
        1,
        opcode=Opcode.UPDATE,
        questions=[Question(ORIGIN, RRType.SOA)],
        answers=[prerequisite] if prerequisite else [],
        authority=[changed] if changed else [],
    )


def empty(name: str, rdtype: int, rdclass: int, ttl: int = 0) -> Record:
    return Record(Name(name, ORIGIN), rdtype, ttl, GenericRdata(rdtype, b""), rdclass)


@pytest.mark.parametrize(
    ("bad", "rcode"),
    [
        (record("www 60 A 192.0.2.80"), Rcode.FORMERR),  # a TTL
        (empty("www", 1, 255, 60), Rcode.FORMERR),
        (empty("www.example.net.", 1, 255), Rcode.NOTZONE),
        (Record(Name("www", ORIGIN), 1, 0, A("192.0.2.80"), 255), Rcode.FORMERR),  # data
        (Record(Name("www", ORIGIN), 1, 0, A("192.0.2.80"), 254), Rcode.FORMERR),
        (Record(Name("www", ORIGIN), 1, 0, A("192.0.2.80"), 3), Rcode.FORMERR),  # class CH
        (empty("www", 252, 255), Rcode.FORMERR),  # AXFR is no type that there may be
    ],
)
def test_prerequisites_that_are_none_are_formerr_or_notzone(bad: Record, rcode: int) -> None:
    assert applied(raw(prerequisite=bad))[0] == rcode


# ── what is looked at before anything changes (§3.4.1) ────────────────────────


@pytest.mark.parametrize(
    ("bad", "rcode"),
    [
        (record("www.example.net. 60 A 192.0.2.80"), Rcode.NOTZONE),
        (empty("www", 1, 255, 60), Rcode.FORMERR),
        (Record(Name("www", ORIGIN), 1, 0, A("192.0.2.80"), 255), Rcode.FORMERR),
        (Record(Name("www", ORIGIN), 1, 60, A("192.0.2.80"), 254), Rcode.FORMERR),
        (Record(Name("www", ORIGIN), 1, 60, A("192.0.2.80"), 3), Rcode.FORMERR),
        (empty("www", 252, 255), Rcode.FORMERR),
        (empty("www", 255, 254), Rcode.FORMERR),
        (Record(Name("www", ORIGIN), 255, 60, GenericRdata(255, b"x")), Rcode.FORMERR),
        (Record(Name("www", ORIGIN), 0, 60, GenericRdata(0, b"x")), Rcode.FORMERR),
    ],
)
def test_changes_that_are_none_refuse_the_whole_update(bad: Record, rcode: int) -> None:
    message = raw(changed=bad)
    message.authority.insert(0, record("new 60 A 192.0.2.1"))

    found, changed = applied(message)

    assert found == rcode
    assert changed == zone()


# ── changes (§3.4.2) ──────────────────────────────────────────────────────────


def test_records_are_added_and_the_serial_moves_on() -> None:
    rcode, changed = applied(update().add("new", 60, "A", "192.0.2.1", "192.0.2.2"))

    assert rcode == Rcode.NOERROR
    assert changed.serial == 2
    assert texts(changed) - texts(zone()) == {"new 60 IN A 192.0.2.1", "new 60 IN A 192.0.2.2"}


def test_what_is_there_already_changes_nothing() -> None:
    _, changed = applied(update().add("www", 300, "A", "192.0.2.80"))

    assert changed.serial == 1
    assert changed.version == 0


def test_another_ttl_is_that_of_the_whole_set() -> None:
    """RFC 2136 §3.4.2.2, RFC 2181 §5.2."""
    _, changed = applied(update().add("www", 60, "A", "192.0.2.81"))

    rrset = changed.rrset(Name("www", ORIGIN), 1)
    assert rrset is not None
    assert (rrset.ttl, len(rrset)) == (60, 2)
    assert changed.serial == 2


NOTHING: set[str] = set()


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        (update().delete("www"), {"www 300 IN A 192.0.2.80", "www 300 IN AAAA 2001:db8::80"}),
        (update().delete("www", "A"), {"www 300 IN A 192.0.2.80"}),
        (update().delete("www", "A", "192.0.2.80"), {"www 300 IN A 192.0.2.80"}),
        (update().delete("www", "A", "192.0.2.99"), NOTHING),
        (update().delete("nothing"), NOTHING),
        (update().delete("www", "MX"), NOTHING),
        # The apex keeps its SOA and NS (§3.4.2.3), and its last NS (§3.4.2.4).
        (update().delete("@"), NOTHING),
        (update().delete("@", "NS"), NOTHING),
        (update().delete("@", "SOA"), NOTHING),
        (update().delete("@", "NS", "ns1.example.org."), {"@ 3600 IN NS ns1"}),
        (
            update().delete("@", "NS", "ns1.example.org.").delete("@", "NS", "ns2.example.org."),
            {"@ 3600 IN NS ns1"},
        ),
    ],
)
def test_records_are_deleted(change: Update, gone: set[str]) -> None:
    rcode, changed = applied(change)

    assert rcode == Rcode.NOERROR
    assert texts(zone()) - texts(changed) == gone
    assert changed.serial == (2 if gone else 1)


def test_services_of_one_address_and_protocol_take_each_others_place() -> None:
    """RFC 2136 §1.1.5, §3.4.2.2: WKS is told apart by less than its data."""
    asked = update().add("www", 60, "WKS", "192.0.2.80 tcp 25", "192.0.2.80 udp 53")

    _, changed = applied(asked)
    rcode, changed = applied(update().add("www", 60, "WKS", "192.0.2.80 tcp 80"), changed)

    assert rcode == Rcode.NOERROR
    found = changed.rrset(Name("www", ORIGIN), RRType.WKS)
    assert found is not None
    assert sorted(map(str, found.rdatas)) == ["192.0.2.80 17 53", "192.0.2.80 6 80"]


def test_a_cname_is_alone() -> None:
    """RFC 2136 §3.4.2.2: what cannot stand there is passed over without a word."""
    rcode, changed = applied(
        update()
        .add("www", 60, "CNAME", "mail.example.org.")
        .add("alias", 60, "CNAME", "www.example.org.")
        .add("alias", 60, "A", "192.0.2.1")
        .add("alias", 60, "CNAME", "mail.example.org.")
    )

    assert rcode == Rcode.NOERROR
    assert texts(changed) - texts(zone()) == {"alias 60 IN CNAME mail"}


def test_a_dname_is_not_beside_a_delegation() -> None:
    _, changed = applied(
        update().add("sub", 60, "NS", "ns1.example.org.").add("sub", 60, "DNAME", "example.net.")
    )

    assert texts(changed) - texts(zone()) == {"sub 60 IN NS ns1"}


def test_an_soa_is_taken_when_it_is_newer() -> None:
    old = raw(changed=soa(1))
    new = raw(changed=soa(77))
    elsewhere = raw(changed=Record(Name("www", ORIGIN), 6, 60, soa(99).rdata))

    assert applied(old)[1].serial == 1
    assert applied(new)[1].serial == 77
    assert applied(elsewhere)[1].serial == 1
    both = raw(changed=soa(77))
    both.authority.append(record("new 60 A 192.0.2.1"))
    assert applied(both)[1].serial == 77


def test_a_serial_at_the_end_of_its_circle_moves_on() -> None:
    _, changed = applied(update().add("new", 60, "A", "192.0.2.1"), zone(0xFFFFFFFF))

    assert changed.serial == 1


def test_more_records_than_there_may_be_are_refused_and_nothing_changes() -> None:
    """100 in an RRset, 100 types (HARDENING dns-13)."""
    many = update()
    for number in range(101):
        many.add("new", 60, "A", f"192.0.2.{number}")

    rcode, changed = applied(many)

    assert rcode == Rcode.REFUSED
    assert changed == zone()


def test_changes_of_one_update_see_each_other() -> None:
    _, changed = applied(
        update().add("a", 60, "A", "192.0.2.1").delete("a").add("a", 60, "AAAA", "::1")
    )

    assert texts(changed) - texts(zone()) == {"a 60 IN AAAA ::1"}


def test_a_change_and_its_undoing_leave_the_version() -> None:
    _, changed = applied(update().add("a", 60, "A", "192.0.2.1").delete("a", "A", "192.0.2.1"))

    assert changed.version == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "@", "www"]),
            st.sampled_from(["A", "NS", "CNAME", "TXT"]),
            st.sampled_from(["add", "delete", "delete_all", "delete_name"]),
            st.integers(0, 3),
            st.sampled_from([60, 300]),
        ),
        max_size=12,
    )
)
@settings(max_examples=120)
def test_whatever_is_asked_leaves_a_zone(
    steps: list[tuple[str, str, str, int, int]],
) -> None:
    """`Zone.apply` takes all that is worked out: none of it would be no zone."""
    asked = update()
    for name, rdtype, what, number, ttl in steps:
        data = {
            "A": f"192.0.2.{number}",
            "NS": f"ns{number}.example.org.",
            "CNAME": f"c{number}.example.org.",
            "TXT": f"t{number}",
        }[rdtype]
        if what == "add":
            asked.add(name, ttl, rdtype, data)
        elif what == "delete":
            asked.delete(name, rdtype, data)
        elif what == "delete_all":
            asked.delete(name, rdtype)
        else:
            asked.delete(name)

    rcode, changed = applied(asked)

    assert rcode == Rcode.NOERROR
    assert Zone.from_records(ORIGIN, changed.records()) == changed


# ── who may ───────────────────────────────────────────────────────────────────


def may(rules: list[str], asked: Request, name: str, rdtype: int = 1) -> bool:
    return Policy(rules).allows(asked, Name(name, ORIGIN), rdtype)


@pytest.mark.parametrize(
    ("rule", "name", "rdtype", "allowed"),
    [
        ("grant k.example zonesub", "www", 1, True),
        ("grant k.example zonesub", "@", RRType.SOA, False),
        ("grant k.example zonesub", "@", RRType.NS, False),
        ("grant k.example zonesub ANY", "@", RRType.SOA, True),
        ("grant k.example zonesub A AAAA", "www", RRType.TXT, False),
        ("grant k.example name www.example.org", "www", 1, True),
        ("grant k.example name www.example.org", "a.www", 1, False),
        ("grant k.example subdomain www.example.org", "a.www", 1, True),
        ("grant k.example subdomain www.example.org", "www", 1, True),
        ("grant k.example wildcard *.www.example.org", "www", 1, False),
        ("grant k.example wildcard *.www.example.org", "a.www", 1, True),
        ("grant * zonesub", "www", 1, True),
        ("grant other.example zonesub", "www", 1, False),
        ("grant k.example self", "k.example.", 1, True),
        ("grant k.example self", "a.k.example.", 1, False),
        ("grant k.example selfsub", "a.k.example.", 1, True),
        ("grant 192.0.2.0/24 zonesub", "www", 1, True),
        ("grant 198.51.100.1 zonesub", "www", 1, False),
        ("deny k.example zonesub", "www", 1, False),
    ],
)
def test_rules_say_who_may_change_what(rule: str, name: str, rdtype: int, allowed: bool) -> None:
    asked = request(update().message(), host="192.0.2.1", key="K.example")

    assert may([rule], asked, name, rdtype) is allowed


def test_the_first_rule_that_fits_decides() -> None:
    asked = request(update().message(), key="k.example")
    rules = ["deny k.example name www.example.org", "grant * zonesub"]

    assert not may(rules, asked, "www")
    assert may(rules, asked, "mail")
    assert not may(["grant * zonesub"], request(update().message()), "mail")


@pytest.mark.parametrize(
    "rule",
    ["", "grant k", "allow k zonesub", "grant k name", "grant k wildcard x", "grant k zonesub NOPE",
     "grant 10.0.0.0/8 self", "grant k everything"],
)  # fmt: skip
def test_a_rule_that_is_none_is_refused(rule: str) -> None:
    with pytest.raises(ValueError):
        Policy([rule])


async def answered(
    message: Message, policy: Policy, given: Zone | None = None, key: str | None = None
) -> tuple[int, Zone]:
    holder = UpdatableZone(given or zone(), policy=policy)
    updates = Updates([holder])
    found = await messages_of(updates.respond(request(message, key=key)))
    await updates.aclose()
    return found[0].rcode, holder.zone


async def test_strangers_are_refused_before_they_learn_anything() -> None:
    asked = update().require("nothing").add("new", 60, "A", "192.0.2.1").message()

    assert (await answered(asked, Policy()))[0] == Rcode.REFUSED
    assert (await answered(asked, ALL))[0] == Rcode.NXDOMAIN


async def test_one_change_that_is_not_allowed_refuses_them_all() -> None:
    policy = Policy(["grant k.example name a.example.org"])
    asked = update().add("a", 60, "A", "192.0.2.1").add("b", 60, "A", "192.0.2.1").message()

    rcode, changed = await answered(asked, policy, key="k.example")

    assert rcode == Rcode.REFUSED
    assert changed == zone()


async def test_deleting_a_name_needs_a_right_to_all_that_it_has() -> None:
    policy = Policy(["grant k.example zonesub A"])

    both = await answered(update().delete("www").message(), policy, key="k.example")
    one = await answered(update().delete("ns1").message(), policy, key="k.example")

    assert both[0] == Rcode.REFUSED
    assert one[0] == Rcode.NOERROR


@pytest.mark.parametrize(
    ("questions", "rcode"),
    [
        ([], Rcode.FORMERR),
        ([Question(ORIGIN, RRType.A)], Rcode.FORMERR),
        ([Question(ORIGIN, RRType.SOA)] * 2, Rcode.FORMERR),
        ([Question(Name("example.net"), RRType.SOA)], Rcode.NOTAUTH),
        ([Question(ORIGIN, RRType.SOA, 3)], Rcode.NOTAUTH),
    ],
)
async def test_the_zone_section_names_one_zone_of_ours(
    questions: list[Question], rcode: int
) -> None:
    """RFC 2136 §3.1."""
    message = Message(1, opcode=Opcode.UPDATE, questions=questions)

    assert (await answered(message, ALL))[0] == rcode


async def test_updates_of_a_copy_are_passed_on_where_that_is_allowed() -> None:
    """RFC 2136 §6."""
    passed: list[Message] = []

    async def forward(asked: Request) -> Message:
        passed.append(asked.message)
        return asked.message.reply(Rcode.YXDOMAIN)

    message = update().add("new", 60, "A", "192.0.2.1").message()
    for allowed, rcode in ((AccessList(["loopback"]), 6), (AccessList(), 5)):
        updates = Updates(forward=forward, forward_for=allowed, forwarded=lambda name: True)
        assert (await messages_of(updates.respond(request(message))))[0].rcode == rcode
    assert len(passed) == 1


# ── the line of updates ───────────────────────────────────────────────────────


async def test_updates_that_wait_see_those_before_them() -> None:
    holder = UpdatableZone(zone(), policy=ALL)
    first = update().require_absent("new").add("new", 60, "A", "192.0.2.1").message()

    codes = await asyncio.gather(*(holder.update(first, anything) for _ in range(3)))

    assert codes == [Rcode.NOERROR, Rcode.YXDOMAIN, Rcode.YXDOMAIN]
    assert holder.zone.serial == 2
    await holder.aclose()


async def test_every_update_is_a_version_that_ixfr_can_tell() -> None:
    holder = UpdatableZone(zone(), policy=ALL)

    await asyncio.gather(
        *(
            holder.update(update().add(f"h{number}", 60, "A", "192.0.2.1").message(), anything)
            for number in range(5)
        )
    )

    assert [each.old for each in holder.history.since(1, 6) or ()] == [1, 2, 3, 4, 5]
    await holder.aclose()


async def test_who_goes_away_before_the_answer_harms_nobody_else() -> None:
    holder = UpdatableZone(zone(), policy=ALL)

    async def one(name: str) -> int:
        return await holder.update(update().add(name, 60, "A", "192.0.2.1").message(), anything)

    first, second = asyncio.create_task(one("a")), asyncio.create_task(one("b"))
    await asyncio.sleep(0)
    first.cancel()

    assert await second == Rcode.NOERROR
    assert "b 60 IN A 192.0.2.1" in texts(holder.zone)
    await holder.aclose()
    assert await one("c") == Rcode.SERVFAIL


async def test_a_change_by_a_program_that_fails_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    holder = UpdatableZone(zone(), policy=ALL)

    def fail(view: View) -> int:
        view.add(record("a 60 A 192.0.2.1"))
        raise LookupError("boom")

    def work(view: View) -> int:
        view.add(record("b 60 A 192.0.2.1"))
        return Rcode.NOERROR

    codes = await asyncio.gather(holder.edit(fail), holder.edit(work))

    assert list(codes) == [Rcode.SERVFAIL, Rcode.NOERROR]
    assert texts(holder.zone) - texts(zone()) == {"b 60 IN A 192.0.2.1"}
    assert "boom" in caplog.text
    await holder.aclose()


async def test_more_updates_than_may_wait_are_servfail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sennit.names.update.update.MAX_WAITING", 2)
    holder = UpdatableZone(zone(), policy=ALL)
    message = update().add("a", 60, "A", "192.0.2.1").message()

    codes = await asyncio.gather(*(holder.update(message, anything) for _ in range(4)))

    assert codes.count(Rcode.SERVFAIL) == 2
    await holder.aclose()


# ── messages ──────────────────────────────────────────────────────────────────


def test_an_update_is_made_of_names_whole_and_relative() -> None:
    message = (
        Update("example.org")
        .require("www.example.org", "A")
        .replace("www", 60, "A", "192.0.2.1")
        .delete("old.example.org.", "TXT", "x")
        .message(9)
    )

    assert Message.from_wire(message.to_wire()) == message
    assert message.id == 9
    assert message.opcode == Opcode.UPDATE
    assert {each.name for each in (*message.answers, *message.authority)} == {
        Name("www.example.org"),
        Name("old.example.org"),
    }
    assert [each.rdclass for each in message.authority] == [255, 1, 254]


@pytest.mark.parametrize(
    "make",
    [
        lambda: update().add("www.example.net.", 60, "A", "192.0.2.1"),
        lambda: update().add("www", -1, "A", "192.0.2.1"),
        lambda: update().add("www", 60, "A"),
        lambda: update().add("www", 60, "ANY", "x"),
        lambda: update().add("www", 60, "MX", A("192.0.2.1")),
        lambda: update().add("www", 60, "A", "192.0.2.1\n192.0.2.2"),
        lambda: update().add("a\nb c", 60, "A", "192.0.2.1").add("", 60, "A", "192.0.2.1"),
    ],
)
def test_what_cannot_be_is_refused_where_it_is_asked_for(make: object) -> None:
    with pytest.raises((DNSUsageError, ValueError)):
        make()  # type: ignore[operator]  # they are functions


@given(st.binary(max_size=120))
@settings(max_examples=80)
def test_no_octets_make_an_update_raise(tail: bytes) -> None:
    head = raw().to_wire()
    for counts in (b"\0\1\0\0", b"\0\0\0\1", b"\0\1\0\1"):
        wire = head[:6] + counts + head[10:] + tail
        try:
            message = Message.from_wire(wire)
        except MessageFormatError:
            continue
        applied(message)


def test_changes_of_a_zone_are_told_by_their_soas() -> None:
    view = View(zone())
    view.add(record("new 60 A 192.0.2.1"))

    assert view.changes() == change(1, 2, [], ["new 60 A 192.0.2.1"])
    with pytest.raises(DNSUsageError):
        view.commit()


# ── changes that others make or complete ──────────────────────────────────────


def counted(found: Zone, changes: Changes) -> Changes:
    """What a signer does: something of its own for all that changes."""
    names = sorted({each.name for each in changes.added if each.rdtype != RRType.SOA})
    more = [Record(each, 65280, 60, GenericRdata(65280, b"s")) for each in names]
    return Changes(changes.removed, changes.added + more)


async def test_a_change_is_completed_before_anybody_sees_it() -> None:
    holder = UpdatableZone(zone(), policy=ALL)
    holder.complete = counted
    seen: list[int] = []
    holder.zone.on_change.append(lambda found, changes: seen.append(len(changes.added)))

    codes = await asyncio.gather(
        *(
            holder.update(update().add(name, 60, "A", "192.0.2.1").message(), anything)
            for name in ("a", "b")
        ),
        holder.update(update().require("nothing").message(), anything),
    )

    assert list(codes) == [Rcode.NOERROR, Rcode.NOERROR, Rcode.NXDOMAIN]
    assert {"a 60 IN TYPE65280 \\# 1 73", "b 60 IN A 192.0.2.1"} <= texts(holder.zone)
    assert seen == [5]  # both in one: the SOA, two addresses, two of what was added to them
    assert len(holder.history) == 1
    await holder.aclose()


async def test_others_have_their_turn_while_a_change_is_made_or_completed() -> None:
    """Signatures by the thousand take seconds."""
    holder = UpdatableZone(zone(), policy=ALL)
    loop = asyncio.get_running_loop()

    def turn() -> None:
        """What would never end in the loop's own thread."""
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(5)

    def complete(found: Zone, changes: Changes) -> Changes:
        turn()
        return changes

    def make(found: Zone) -> Changes:
        turn()
        return change(found.serial, found.serial + 1, [], ["x 60 A 192.0.2.1"])

    holder.complete = complete
    new = update().add("a", 60, "A", "192.0.2.1").message()
    assert await holder.update(new, anything) == Rcode.NOERROR
    assert await holder.change(make) is True
    await holder.aclose()


@pytest.mark.parametrize("kept", [False, True])
async def test_a_large_change_is_made_to_a_copy_and_all_of_it_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    """All signatures anew, say: whoever asks meanwhile sees the zone as it was."""
    (tmp_path / "z").write_text("")
    monkeypatch.setattr("sennit.names.update.update.LARGE", 2)
    holder = UpdatableZone(zone(), tmp_path / "z" if kept else None, policy=ALL)
    found = holder.zone
    loop, nodes = asyncio.get_running_loop(), found.nodes
    calls = 0
    real = Zone.apply

    def apply(changed: Zone, *args: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        assert changed is not found
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(5)
        real(changed, *args, **options)
        assert found.nodes is nodes

    new = update().add("a.b", 60, "A", "192.0.2.1").add("c", 60, "NS", "ns").message()
    gone = update().delete("a.b").message()
    with monkeypatch.context() as patched:
        patched.setattr(Zone, "apply", apply)
        assert await holder.update(new, anything) == Rcode.NOERROR
    assert calls == 1
    assert await holder.update(gone, anything) == Rcode.NOERROR

    plain = UpdatableZone(zone(), policy=ALL)
    assert await plain.update(new, anything) == Rcode.NOERROR
    assert await plain.update(gone, anything) == Rcode.NOERROR
    assert found == plain.zone
    assert (found.cuts, found.version, found.serial) == (
        plain.zone.cuts,
        plain.zone.version + kept,  # the journal's first look
        plain.zone.serial,
    )
    assert len(holder.history) == 2
    await holder.aclose(write=False)
    if kept:
        again = UpdatableZone(zone(), tmp_path / "z", policy=ALL)
        assert again.zone == found
        await again.aclose(write=False)


async def test_a_change_that_cannot_be_completed_is_servfail(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(found: Zone, changes: Changes) -> Changes:
        raise LookupError("no key")

    holder = UpdatableZone(zone(), policy=ALL)
    holder.complete = fail
    new = update().add("a", 60, "A", "192.0.2.1").message()
    nothing = update().delete("nothing").message()

    codes = await asyncio.gather(holder.update(new, anything), holder.update(nothing, anything))

    assert list(codes) == [Rcode.SERVFAIL, Rcode.NOERROR]
    assert holder.zone == zone()
    assert "no key" in caplog.text
    await holder.aclose()


async def test_a_change_given_as_a_whole_has_its_place_in_the_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    holder = UpdatableZone(zone(), policy=ALL)

    def make(found: Zone) -> Changes:
        return change(found.serial, found.serial + 10, [], ["x 60 A 192.0.2.1"])

    first = update().add("a", 60, "A", "192.0.2.1").message()
    last = update().require("x").add("b", 60, "A", "192.0.2.1").message()
    codes = await asyncio.gather(
        holder.update(first, anything), holder.change(make), holder.update(last, anything)
    )

    assert list(codes) == [Rcode.NOERROR, True, Rcode.NOERROR]
    assert holder.zone.serial == 13
    assert await holder.change(lambda _: Changes()) is True
    assert await holder.change(lambda _: Changes([], [record("y 60 A 192.0.2.1")])) is False
    assert "without a new serial" in caplog.text

    def fail(found: Zone) -> Changes:
        raise LookupError("boom")

    assert await holder.change(fail) is False
    await holder.aclose()


async def test_what_the_zone_does_not_take_is_not_in_its_journal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """However it fails: the next change goes on from what there is."""
    (tmp_path / "z").write_text("")
    holder = UpdatableZone(zone(), tmp_path / "z", policy=ALL)

    def broken(found: Zone) -> Changes:
        bad = Record(Name("x", ORIGIN), 99, 60, GenericRdata(99, b"s"))  # an SPF cut short
        return Changes([found.soa], [soa(9), bad])

    good = update().add("a", 60, "A", "192.0.2.1").message()
    codes = await asyncio.gather(holder.change(broken), holder.update(good, anything))
    await holder.aclose(write=False)

    assert list(codes) == [False, Rcode.NOERROR]
    again = UpdatableZone(zone(), tmp_path / "z", policy=ALL)
    assert again.zone == holder.zone
    assert again.zone.serial == 2
    await again.aclose(write=False)
