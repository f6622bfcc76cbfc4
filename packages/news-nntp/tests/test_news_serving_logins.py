"""Logins, and TLS in the middle of a connection."""

from __future__ import annotations

import logging
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

import pytest
from news_scripts import certificates
from news_serving import FakeIntake, Talk, factory

from sennit.core.auth.checkers import MemoryUsers
from sennit.core.auth.credentials import PasswordCredentials
from sennit.core.auth.limits import LoginLimits
from sennit.core.auth.portal import Portal, Realm
from sennit.core.auth.sasl.channel import Channel
from sennit.core.auth.sasl.client import ClientIdentity, Reply, authenticate
from sennit.core.endpoint.connect import open_stream
from sennit.core.endpoint.listen import serve
from sennit.core.errors import ConnectionLost, LoginUnavailableError
from sennit.news.access import NOBODY, Access

if TYPE_CHECKING:
    from sennit.core.testing.network import MemoryNetwork

SERVER, CLIENT = certificates()


class Doors:
    """A portal of two users, that remembers who has left."""

    def __init__(self) -> None:
        self.left: list[str] = []
        realm = Realm()

        @realm.provides(Access, logout=lambda access: self.left.append(access.name))
        def open_access(name: str) -> Access:
            return Access("*", "misc.*", name=name)

        users = MemoryUsers({"alice": "wonderland", "bob smith": "two words"})
        self.portal = Portal(realm, [users])


def talking(doors: Doors | None = None, **options: Any) -> Talk:
    """A client whose passwords may go in clear, who must log in."""
    options.setdefault("login_in_clear", True)
    options.setdefault("access", NOBODY)
    options.setdefault("intake", FakeIntake())
    return Talk(factory(portal=(doors or Doors()).portal, **options))


def test_who_logs_in_may_do_what_the_portal_says() -> None:
    doors = Doors()
    talk = talking(doors)
    assert talk.code(b"GROUP misc.test") == 480
    assert talk.code(b"POST") == 480
    assert talk.code(b"AUTHINFO USER alice") == 381
    assert talk.code(b"AUTHINFO PASS wonderland") == 281

    assert talk.code(b"GROUP misc.test") == 211
    assert talk.code(b"POST") == 340
    assert talk.code(b"From: a@b\r\nNewsgroups: misc.test\r\nSubject: x\r\n\r\nx\r\n.\r\n") == 240
    assert talk.code(b"AUTHINFO USER alice") == 502
    talk.say(b"QUIT")
    talk.clock.call_soon(talk.transport.lose)
    talk.clock.pump()
    assert doors.left == ["alice"]
    talk.clock.advance(100.0)
    assert talk.transport.close_reason == "clean"


def test_names_and_passwords_may_have_blanks() -> None:
    """RFC 4643 §3.1."""
    talk = talking()

    assert talk.say(b"AUTHINFO USER bob smith\r\nAUTHINFO PASS two words\r\n").endswith(
        b"281 Welcome\r\n"
    )


def test_a_wrong_password_is_told_from_nothing() -> None:
    talk = talking()
    answers: list[bytes] = []
    for name, password in ((b"alice", b"wrong"), (b"nobody", b"wrong"), (b"\xff", b"wrong")):
        talk.say(b"AUTHINFO USER " + name)
        assert talk.say(b"AUTHINFO PASS " + password) == b""
        talk.clock.advance(1.0)
        answers.append(talk.transport.take())

    assert answers[0] == answers[1] == b"481 Login failed\r\n"
    assert answers[2].startswith(b"481 Login failed\r\n")


def test_three_logins_fail_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    """HARDENING nntp-7: 482, 481, then 400 and the end."""
    caplog.set_level(logging.INFO, "sennit.news")
    talk = talking()
    assert talk.code(b"AUTHINFO PASS early") == 482
    for _ in range(3):
        assert not talk.transport.closed
        talk.say(b"AUTHINFO USER alice\r\nAUTHINFO PASS wr0ng\r\n")
        talk.clock.advance(1.0)

    assert talk.transport.take() == b"481 Login failed\r\n400 Too many failed logins\r\n"
    assert talk.transport.closed
    assert "wr0ng" not in caplog.text


def test_an_address_that_fails_too_often_is_not_heard_for_a_while() -> None:
    limits = LoginLimits(per_address=1)
    doors = Doors()
    talk = talking(doors, login_limits=limits)
    clock = talk.clock
    talk.say(b"AUTHINFO USER alice\r\nAUTHINFO PASS wrong\r\n")
    clock.advance(1.0)
    assert talk.transport.take().startswith(b"481 ")
    other = Talk(
        factory(portal=doors.portal, login_in_clear=True, login_limits=limits), clock=clock
    )
    other.say(b"AUTHINFO USER alice")

    assert other.say(b"AUTHINFO PASS wonderland") == b"400 Too many failed logins\r\n"
    assert other.transport.closed
    third = Talk(
        factory(portal=doors.portal, login_in_clear=True, login_limits=limits), clock=clock
    )
    assert third.say(b"AUTHINFO SASL PLAIN =") == b"400 Too many failed logins\r\n"


def test_logins_that_cannot_be_checked_are_no_failures(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)

    class Broken:
        credential_types = (PasswordCredentials,)

        async def check(self, credentials: object) -> str:
            raise LoginUnavailableError("no database")

    realm = Realm()

    @realm.provides(Access)
    def open_access(name: str) -> Access:
        return Access(name=name)

    # Any: a checker, as the portal asks for one.
    broken: Any = Broken()
    talk = Talk(factory(portal=Portal(realm, [broken]), login_in_clear=True))
    for _ in range(5):
        talk.say(b"AUTHINFO USER a")
        assert talk.code(b"AUTHINFO PASS b") == 403
    assert talk.code(b"AUTHINFO SASL PLAIN " + b64encode(b"\0a\0b")) == 403


# ── SASL ──────────────────────────────────────────────────────────────────────


def test_sasl_plain_with_and_without_an_initial_response() -> None:
    secret = b64encode(b"\0alice\0wonderland")
    talk = talking()
    capabilities = talk.say(b"CAPABILITIES")
    assert b"\r\nAUTHINFO USER SASL\r\nSASL SCRAM-SHA-512 " in capabilities
    assert b" PLAIN LOGIN\r\n" in capabilities
    assert talk.code(b"AUTHINFO SASL PLAIN " + secret) == 281
    assert talk.code(b"GROUP misc.test") == 211

    talk = talking()
    assert talk.say(b"AUTHINFO SASL PLAIN") == b"383 =\r\n"
    assert talk.code(secret) == 281


@pytest.mark.parametrize(
    ("response", "code"),
    [
        (b"*", 481),
        (b"???", 504),
        (b64encode(b"nonsense"), 482),
        (b64encode(b"\0alice\0wrong"), 481),
        (b"=", 482),
    ],
)
def test_sasl_fails_in_its_own_words(response: bytes, code: int) -> None:
    talk = talking()
    talk.say(b"AUTHINFO SASL PLAIN")
    answer = talk.say(response)
    talk.clock.advance(1.0)
    answer += talk.transport.take()

    assert int(answer[:3]) == code
    assert answer.count(b"\r\n") == 1
    assert talk.code(b"DATE") == 111


@pytest.mark.parametrize("response", [b64encode(b"alice"), b"="])
def test_an_initial_response_where_the_server_speaks_first_is_refused(response: bytes) -> None:
    """RFC 4643 §2.4.2."""
    talk = talking()
    answer = talk.say(b"AUTHINFO SASL LOGIN " + response)
    talk.clock.advance(1.0)
    answer += talk.transport.take()

    assert answer == b"482 Login failed\r\n"
    assert talk.say(b"AUTHINFO SASL LOGIN").startswith(b"383 ")


def test_sasl_counts_as_a_try() -> None:
    talk = talking()
    for _ in range(3):
        talk.say(b"AUTHINFO SASL PLAIN " + b64encode(b"\0alice\0wrong"))
        talk.clock.advance(1.0)

    assert talk.transport.closed


def test_a_client_that_goes_within_sasl_is_missed_by_nobody() -> None:
    talk = talking()
    talk.say(b"AUTHINFO SASL LOGIN")
    talk.clock.call_soon(talk.transport.lose)
    talk.clock.pump()
    talk.clock.advance(100.0)

    assert talk.transport.errors == []


async def test_a_server_proves_itself_with_its_last_word(memory_network: MemoryNetwork) -> None:
    """283 (RFC 4643 §2.4): what SCRAM's server says at the end."""
    memory_network.host("192.0.2.1", name="server")
    server = factory(portal=Doors().portal, access=NOBODY)
    identity = ClientIdentity("alice", password="wonderland")
    async with (
        serve("tcp://192.0.2.1:119", server),
        await open_stream("tcp://192.0.2.1:119") as stream,
    ):
        await stream.read_line()

        async def talk(mechanism: str | None, data: bytes | None) -> Reply:
            words = b64encode(data or b"") or b"="
            if mechanism is not None:
                words = b"AUTHINFO SASL " + mechanism.encode() + b" " + words
            await stream.send_all(words + b"\r\n")
            code, _, rest = (await stream.read_line()).partition(b" ")
            if code == b"383":
                return Reply("challenge", b64decode(rest))
            assert code == b"283"
            return Reply("success", b64decode(rest))

        used = await authenticate(identity, ["SCRAM-SHA-256"], Channel(), talk)
        assert used == "SCRAM-SHA-256"
        await stream.send_all(b"GROUP misc.test\r\n")
        assert (await stream.read_line()).startswith(b"211")


# ── TLS ───────────────────────────────────────────────────────────────────────


async def test_starttls_begins_anew(memory_network: MemoryNetwork) -> None:
    """RFC 4642 §2.2: nothing that was said in clear counts; passwords are taken from here on."""
    memory_network.host("192.0.2.1", name="server")
    memory_network.add_name("news.example", "192.0.2.1")
    server = factory(portal=Doors().portal, tls=SERVER, intake=FakeIntake())
    async with (
        serve("tcp://192.0.2.1:119", server),
        await open_stream("tcp://news.example:119") as stream,
    ):
        assert (await stream.read_line()).startswith(b"201")
        await stream.send_all(b"AUTHINFO USER alice\r\nGROUP misc.test\r\nSTARTTLS\r\n")
        assert (await stream.read_line()).startswith(b"483")
        assert (await stream.read_line()).startswith(b"211")
        assert (await stream.read_line()).startswith(b"382")
        await stream.start_tls(CLIENT, server_hostname="news.example")
        await stream.send_all(b"STAT\r\nSTARTTLS\r\nCAPABILITIES\r\n")
        assert (await stream.read_line()).startswith(b"412")
        assert (await stream.read_line()).startswith(b"502")
        capabilities = await stream.read_until(b"\r\n.\r\n")
        assert b"STARTTLS" not in capabilities
        assert b"AUTHINFO USER SASL" in capabilities
        await stream.send_all(b"AUTHINFO USER alice\r\n")
        assert (await stream.read_line()).startswith(b"381")
        await stream.send_all(b"AUTHINFO PASS wonderland\r\n")
        assert (await stream.read_line()).startswith(b"281")


async def test_the_mode_of_readers_outlasts_the_beginning_of_tls(
    memory_network: MemoryNetwork,
) -> None:
    """RFC 4642 §2.2.2: the one thing said in clear that is not undone; else one is for both."""
    memory_network.host("192.0.2.1", name="server")
    memory_network.add_name("news.example", "192.0.2.1")
    access = Access("*", "*", transit=True)
    server = factory(tls=SERVER, mode="switching", access=access, intake=FakeIntake())
    async with serve("tcp://192.0.2.1:119", server):
        for before, feeds in ((b"MODE READER\r\n", False), (b"", True)):
            async with await open_stream("tcp://news.example:119") as stream:
                await stream.read_line()
                await stream.send_all(before + b"STARTTLS\r\n")
                if before:
                    assert (await stream.read_line()).startswith(b"200")
                assert (await stream.read_line()).startswith(b"382")
                await stream.start_tls(CLIENT, server_hostname="news.example")
                await stream.send_all(b"CAPABILITIES\r\n")
                capabilities = await stream.read_until(b"\r\n.\r\n")
                assert b"\r\nREADER\r\n" in capabilities
                assert (b"\r\nIHAVE\r\n" in capabilities) is feeds
                assert b"MODE-READER" not in capabilities


@pytest.mark.parametrize("tail", [b"POST\r\n", b"x", b"MODE READER\r\nQUIT\r\n"])
async def test_octets_behind_starttls_end_the_connection(
    memory_network: MemoryNetwork, tail: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING nntp-3 (CVE-2012-3523): the tail is never run."""
    caplog.set_level(logging.CRITICAL)
    memory_network.host("192.0.2.1", name="server")
    server = factory(tls=SERVER, access=Access("*", "*"), intake=FakeIntake())
    async with (
        serve("tcp://192.0.2.1:119", server),
        await open_stream("tcp://192.0.2.1:119") as stream,
    ):
        await stream.read_line()
        await stream.send_all(b"STARTTLS\r\n" + tail)
        # The reset may overtake the 382.
        with pytest.raises(ConnectionLost):
            assert (await stream.read_line()).startswith(b"382")
            await stream.read_line()


async def test_tls_from_the_start_takes_passwords(memory_network: MemoryNetwork) -> None:
    """RFC 8143: what port 563 is for."""
    memory_network.host("192.0.2.1", name="server")
    memory_network.add_name("news.example", "192.0.2.1")
    server = factory(portal=Doors().portal, tls=SERVER, access=NOBODY)
    async with (
        serve("tls://192.0.2.1:563", server, tls=SERVER),
        await open_stream("tls://news.example:563", tls=CLIENT) as stream,
    ):
        await stream.read_line()
        await stream.send_all(b"STARTTLS\r\n")
        assert (await stream.read_line()).startswith(b"502")
        await stream.send_all(b"AUTHINFO USER alice\r\n")
        assert (await stream.read_line()).startswith(b"381")
        await stream.send_all(b"AUTHINFO PASS wonderland\r\n")
        assert (await stream.read_line()).startswith(b"281")


def test_compression_is_for_who_has_logged_in() -> None:
    """Defaults 18: off, and not before a login."""
    assert talking().code(b"COMPRESS DEFLATE") == 500
    talk = talking(compress=True)
    assert talk.code(b"COMPRESS DEFLATE") == 480
    talk.say(b"AUTHINFO USER alice\r\nAUTHINFO PASS wonderland\r\n")
    capabilities = talk.say(b"CAPABILITIES")
    assert b"COMPRESS DEFLATE" in capabilities
    assert b"\r\nSASL " in capabilities
    assert talk.code(b"COMPRESS DEFLATE") == 206
