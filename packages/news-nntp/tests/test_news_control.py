"""What control messages do where they are to do something, and that strangers' do nothing."""

from __future__ import annotations

import pytest
from news_articles import HOST, NOW, composed

from sennit.news.control import KINDS, Control
from sennit.news.errors import NNTPProtocolError, NNTPUsageError
from sennit.news.injection import Injection
from sennit.news.intake import Intake
from sennit.news.interfaces import History
from sennit.news.locks import lock_of
from sennit.news.store.memory import MemoryStore

ID = b"<1@example.net>"
CANCEL: dict[str, str | None] = {
    "Message-ID": "<2@example.net>",
    "Control": "cancel <1@example.net>",
}
REPLACE: dict[str, str | None] = {
    "Message-ID": "<2@example.net>",
    "Supersedes": "<1@example.net>",
}


async def node(*kinds: str, key: bytes = b"key", lock_key: bytes = b"") -> Intake:
    """An intake that trusts the peer ``good``, and an issuer for ``misc.*``."""
    store = MemoryStore(host=HOST, clock=lambda: NOW)
    control = Control(
        store,
        path_host=HOST,
        kinds=kinds or KINDS,
        trusted=["good"],
        issuers={"Admin@example.org": "misc.*"},
        clock=lambda: NOW,
    )
    numbers = iter(range(100))
    intake = Intake(
        store,
        path_host=HOST,
        control=control,
        injection=Injection(HOST, trace="hash", key=key, lock_key=lock_key),
        clock=lambda: NOW,
        unique=lambda: f"u{next(numbers)}",
    )
    await intake.prepare()
    await store.create_group("misc.test")
    return intake


async def post(intake: Intake, poster: str, fields: dict[str, str | None] | None = None) -> bytes:
    octets = composed(fields, proto=True)
    return await intake.post(octets, poster=poster, host="192.0.2.7", may_approve=False)


async def known(intake: Intake, message_id: bytes = ID) -> History:
    return await intake.store.history(message_id)


@pytest.mark.parametrize("fields", [CANCEL, REPLACE], ids=["cancel", "supersedes"])
async def test_a_trusted_peer_vouches_for_whoever_posted_the_article(
    fields: dict[str, str | None],
) -> None:
    intake = await node()
    await intake.take(composed(), "anybody")

    await intake.take(composed(fields), "good")

    assert await known(intake) is History.GONE
    assert await known(intake, b"<2@example.net>") is History.PRESENT


@pytest.mark.parametrize("fields", [CANCEL, REPLACE], ids=["cancel", "supersedes"])
async def test_a_stranger_cancels_nothing(fields: dict[str, str | None]) -> None:
    """HARDENING nntp-6: another From, or a peer that nobody trusts."""
    intake = await node()
    await intake.take(composed(), "good")

    await intake.take(composed({**fields, "From": "Eve <eve@example.org>"}), "good")
    await intake.take(composed({**fields, "Message-ID": "<3@x>"}), "other")
    await intake.take(
        composed({**fields, "Message-ID": "<4@x>", "From": "ann@example.org, eve@x"}), "good"
    )

    assert await known(intake) is History.PRESENT
    assert await known(intake, b"<3@x>") is History.PRESENT, "it is kept, and not acted on"


KEY = b"sha256:" + b"a" * 43 + b"="
LOCKED: dict[str, str | None] = {"Cancel-Lock": lock_of(KEY).decode()}


@pytest.mark.parametrize("fields", [CANCEL, REPLACE], ids=["cancel", "supersedes"])
async def test_who_has_the_key_cancels_from_anywhere_and_who_has_not_from_nowhere(
    fields: dict[str, str | None],
) -> None:
    """RFC 8315 §3.5; nntp-6: with a lock, not even a trusted peer with the same From."""
    intake = await node()
    await intake.take(composed(LOCKED), "anybody")

    await intake.take(composed({**fields, "Message-ID": "<3@x>"}), "good")
    forged = {**fields, "Message-ID": "<4@x>", "Cancel-Key": LOCKED["Cancel-Lock"]}
    await intake.take(composed(forged), "good")
    assert await known(intake) is History.PRESENT

    found = {**fields, "From": "Eve <eve@example.org>", "Cancel-Key": KEY.decode()}
    await intake.take(composed(found), "other")
    assert await known(intake) is History.GONE


async def test_what_is_not_acted_on_again_and_again_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """HARDENING 25: any peer may send as many as it likes, since a key counts from everywhere."""
    caplog.set_level("INFO", "sennit.news.control")
    intake = await node()
    await intake.take(composed(), "good")

    for number in range(3, 53):
        await intake.take(composed({**CANCEL, "Message-ID": f"<{number}@x>"}), "other")

    assert await known(intake) is History.PRESENT
    assert 0 < caplog.text.count("cancel of <1@example.net> is not acted on") <= 5


async def test_a_key_is_nothing_where_cancels_are_not_acted_on() -> None:
    """Defaults 23."""
    intake = await node("newgroup")
    await intake.take(composed(LOCKED), "anybody")

    await intake.take(composed({**CANCEL, "Cancel-Key": KEY.decode()}), "good")

    assert await known(intake) is History.PRESENT


async def test_a_key_to_an_article_that_is_not_there_is_not_remembered() -> None:
    """It may fit, or not: who knows? A trusted peer alone is believed."""
    intake = await node()
    await intake.take(composed({**CANCEL, "Cancel-Key": KEY.decode()}), "other")

    await intake.take(composed(LOCKED), "anybody")

    assert await known(intake) is History.PRESENT


async def test_what_was_posted_here_with_a_login_can_be_cancelled_elsewhere() -> None:
    """The lock is this server's, and so is the key in what the same user posts later."""
    here, there = await node(lock_key=b"secret"), await node()
    target = await post(here, "ann", {"Message-ID": "<9@example.net>"})
    about: dict[str, str | None] = {"Control": f"cancel {target.decode()}"}

    async def passes_on(message_id: bytes) -> None:
        article = await here.store.article(message_id)
        assert article is not None
        lines = article.octets.splitlines(True)
        await there.take(b"".join(each for each in lines if each[:5] != b"Xref:"), "other")

    await passes_on(target)
    stranger = await post(here, "eve", {**about, "Message-ID": "<10@example.net>"})
    await passes_on(stranger)
    assert await known(there, target) is await known(here, target) is History.PRESENT

    cancel = await post(here, "ann", {**about, "Message-ID": "<11@example.net>"})
    assert await known(here, target) is History.GONE
    await passes_on(cancel)
    assert await known(there, target) is History.GONE


async def test_who_has_logged_in_cancels_what_he_posted() -> None:
    intake = await node()
    first = (await post(intake, "ann")).decode()
    stranger = {"Control": f"cancel {first}"}

    await post(intake, "eve", {**stranger})
    await post(intake, "", {**stranger})
    assert await known(intake, first.encode()) is History.PRESENT

    await post(intake, "ann", {**stranger})
    assert await known(intake, first.encode()) is History.GONE


async def test_who_has_not_logged_in_cancels_nothing() -> None:
    intake = await node()
    first = (await post(intake, "")).decode()
    await post(intake, "", {"Control": f"cancel {first}"})
    assert await known(intake, first.encode()) is History.PRESENT


async def test_an_account_that_a_peer_wrote_is_not_believed() -> None:
    """Only what this server wrote itself says whose an article is."""
    intake = await node()
    first = await post(intake, "ann")
    article = await intake.store.article(first)
    assert article is not None
    forged = article.octets.replace(first, ID).replace(b"Path: ", b"Path: peer!")
    forged = b"".join(line for line in forged.splitlines(True) if not line.startswith(b"Xref"))
    await intake.take(forged, "other")

    await post(intake, "ann", {"Control": "cancel <1@example.net>"})

    assert await known(intake) is History.PRESENT


async def test_a_cancel_that_comes_first_keeps_the_article_out() -> None:
    """RFC 5537 §5.3."""
    intake = await node()
    await intake.take(composed(CANCEL), "other")
    assert await known(intake) is History.UNKNOWN
    await intake.take(composed({**CANCEL, "Message-ID": "<3@x>"}), "good")
    assert await known(intake) is History.GONE


async def test_what_is_not_named_in_the_configuration_is_not_done() -> None:
    intake = await node("newgroup")
    await intake.take(composed(), "good")
    await intake.take(composed(CANCEL), "good")
    await intake.take(composed({**REPLACE, "Message-ID": "<3@x>"}), "good")
    assert await known(intake) is History.PRESENT


def issued(control: str, message_id: str = "<9@x>", **more: str | None) -> dict[str, str | None]:
    return {
        "From": "The Admin <admin@example.org>",
        "Approved": "admin@example.org",
        "Message-ID": message_id,
        "Control": control,
        **more,
    }


async def test_an_issuer_makes_changes_and_removes_his_groups() -> None:
    """RFC 5537 §5.2.1, §5.2.2."""
    intake = await node()
    body = b"For your newsgroups file:\r\nmisc.new\tWhat is new (Moderated)\r\n"
    await intake.take(composed(issued("newgroup misc.new moderated"), body=body), "good")
    group = await intake.store.group("misc.new")
    assert group is not None
    assert (group.status, group.description, group.creator) == (
        "m", "What is new", "admin@example.org",
    )  # fmt: skip

    await intake.take(composed(issued("newgroup misc.new", "<10@x>")), "good")
    group = await intake.store.group("misc.new")
    assert group is not None
    assert (group.status, group.description) == ("y", "What is new")

    await intake.take(composed(issued("rmgroup misc.new", "<11@x>")), "good")
    assert await intake.store.group("misc.new") is None


@pytest.mark.parametrize(
    ("fields", "peer"),
    [
        (issued("newgroup misc.new"), "other"),
        (issued("newgroup misc.new", Approved=None), "good"),
        (issued("newgroup misc.new", From="eve@example.org"), "good"),
        (issued("newgroup comp.new"), "good"),
        (issued("newgroup misc..new"), "good"),
        (issued("newgroup"), "good"),
        (issued("rmgroup control"), "good"),
        (issued("sendsys"), "good"),
        (issued("cancel"), "good"),
        (issued("cancel <9@x>"), "good"),
        (issued("supersedes <1@example.net>"), "good"),
        (issued("checkgroups", From="eve@example.org"), "good"),
    ],
)
async def test_what_is_not_an_issuers_to_do_is_not_done(
    fields: dict[str, str | None], peer: str
) -> None:
    """HARDENING nntp-6."""
    intake = await node()
    await intake.take(composed(), "good")
    before = [repr(group) for group in await intake.store.groups() if group.name != "control"]

    await intake.take(composed(fields, body=b"misc.new\tx\r\ncomp.new\tx\r\n"), peer)

    after = [repr(group) for group in await intake.store.groups() if group.name != "control"]
    assert after == before
    assert await known(intake) is History.PRESENT


async def test_checkgroups_makes_what_is_the_issuers_and_removes_nothing() -> None:
    """RFC 5537 §5.2.3."""
    intake = await node()
    body = b"misc.a\tFirst\r\nmisc.b\tSecond \x1b[2J (moderated)\r\ncomp.c\tThird\r\nbad..x\tx\r\n"
    await intake.take(composed(issued("checkgroups"), body=body), "good")
    groups = {group.name: group for group in await intake.store.groups()}
    assert sorted(groups) == ["control", "misc.a", "misc.b", "misc.test"]
    assert (groups["misc.a"].status, groups["misc.a"].description) == ("y", "First")
    assert (groups["misc.b"].status, groups["misc.b"].description) == ("m", "Second [2J")


def test_a_kind_that_there_is_not_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(NNTPUsageError, match="sendsys"):
        Control(MemoryStore(), path_host=HOST, kinds=["sendsys"], clock=lambda: NOW)
    with pytest.raises(NNTPProtocolError):
        Control(MemoryStore(), path_host=HOST, kinds=[], issuers={"a@b": "["}, clock=lambda: NOW)
