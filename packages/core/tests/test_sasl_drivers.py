"""Whole exchanges: what is offered, what is chosen, and both sides over a pair of queues."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import trustme

from sennit.core.address import InternetAddress
from sennit.core.auth.checkers import (
    AnonymousChecker,
    CertificateChecker,
    MemoryUsers,
    TokenChecker,
)
from sennit.core.auth.credentials import CertificateCredentials, PeerCredentials
from sennit.core.auth.portal import Portal, Realm
from sennit.core.auth.sasl.channel import Channel, channel_of
from sennit.core.auth.sasl.client import (
    ABORT,
    ClientIdentity,
    Reply,
    SASLError,
    authenticate,
    choose,
)
from sennit.core.auth.sasl.server import (
    SASLAbortedError,
    SASLLogin,
    SASLMalformedError,
    SASLServer,
    UnknownMechanismError,
)
from sennit.core.endpoint.connect import connect
from sennit.core.endpoint.listen import serve
from sennit.core.endpoint.proxy_header import ProxyHeader
from sennit.core.endpoint.socks import SocksRules, SocksServer
from sennit.core.errors import LoginDenied, LoginUnavailableError, UsageError
from sennit.core.protocol import Protocol
from sennit.core.testing.clock import Clock
from sennit.core.transport.memory import memory_pair
from sennit.core.transport.tls import ClientTLS, ServerTLS, client_protocol, server_protocol

if TYPE_CHECKING:
    from pathlib import Path

    from sennit.core.auth.interfaces import IChecker
    from sennit.core.interfaces import IStreamTransport

CLEAR = Channel()
PRIVATE = Channel(True)
BOUND = Channel(True, {"tls-exporter": b"x" * 32, "tls-server-end-point": b"y" * 32})


class Mailbox:
    """An avatar."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def portal_of(*checkers: IChecker) -> Portal:
    realm = Realm(may_act_as=lambda name, other: (name, other) == ("root", "alice"))
    realm.provides(Mailbox, logout=Mailbox.close)(Mailbox)
    return Portal(realm, checkers or [MemoryUsers({"alice": "wonder", "root": "toor"})])


class Wire:
    """Both drivers side by side; ``with_success`` as protocols that have room there."""

    def __init__(self, server: SASLServer, channel: Channel, with_success: bool = False) -> None:
        self._server = server
        self._channel = channel
        self._with_success = with_success
        self._to_server: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._to_client: asyncio.Queue[Reply] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self.login: SASLLogin[Mailbox] | None = None
        self.error: LoginDenied | None = None
        self.said: list[bytes | None] = []

    async def _ask(self, challenge: bytes) -> bytes | None:
        self._to_client.put_nowait(Reply("challenge", challenge))
        return await self._to_server.get()

    async def _serve(self, mechanism: str, initial: bytes | None) -> None:
        try:
            self.login = await self._server.authenticate(
                mechanism,
                self._channel,
                Mailbox,
                self._ask,
                initial=initial,
                data_with_success=self._with_success,
            )
        except LoginDenied as error:
            self.error = error
            self._to_client.put_nowait(Reply("failure", text=str(error)))
        else:
            self._to_client.put_nowait(Reply("success", self.login.data))

    async def talk(self, mechanism: str | None, data: bytes | None) -> Reply:
        self.said.append(data)
        if mechanism == ABORT:
            self._to_server.put_nowait(None)
        elif mechanism is not None:
            self._task = asyncio.create_task(self._serve(mechanism, data))
        else:
            self._to_server.put_nowait(data)
        reply = await self._to_client.get()
        if reply.kind != "challenge" and self._task is not None:
            await self._task
        return reply

    async def run(self, identity: ClientIdentity) -> str:
        offered = self._server.offered(self._channel)
        return await authenticate(identity, offered, self._channel, self.talk)


# ── what is offered and chosen ────────────────────────────────────────────────


def test_passwords_are_offered_on_private_channels_alone_and_the_strongest_first() -> None:
    """HARDENING defaults 13: no credentials in clear unless switched on by name."""
    server = SASLServer(portal_of())

    assert server.offered(CLEAR) == ["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"]
    assert server.offered(PRIVATE) == [*server.offered(CLEAR), "PLAIN", "LOGIN"]
    assert server.offered(BOUND)[:3] == [
        "SCRAM-SHA-512-PLUS",
        "SCRAM-SHA-256-PLUS",
        "SCRAM-SHA-1-PLUS",
    ]
    assert "PLAIN" in SASLServer(portal_of(), in_clear=True).offered(CLEAR)


def test_only_what_the_portal_has_checkers_for_is_offered() -> None:
    server = SASLServer(portal_of(AnonymousChecker()))
    assert server.offered(BOUND) == ["ANONYMOUS"]

    server = SASLServer(portal_of(CertificateChecker(), TokenChecker(lambda token: None)))
    known = Channel(True, known=CertificateCredentials(b""))
    assert server.offered(known) == ["EXTERNAL", "OAUTHBEARER", "XOAUTH2"]
    assert server.offered(PRIVATE) == ["OAUTHBEARER", "XOAUTH2"]


def test_cram_md5_must_be_named() -> None:
    assert "CRAM-MD5" not in SASLServer(portal_of()).offered(PRIVATE)
    assert SASLServer(portal_of(), ["CRAM-MD5"]).offered(CLEAR) == ["CRAM-MD5"]
    with pytest.raises(UsageError, match="DIGEST-MD5"):
        SASLServer(portal_of(), ["DIGEST-MD5"])


def test_a_client_chooses_the_strongest_and_shows_nothing_in_clear() -> None:
    alice = ClientIdentity("alice", password="wonder")

    assert choose(alice, ["PLAIN", "scram-sha-1", "SCRAM-SHA-256"], CLEAR) == "SCRAM-SHA-256"
    assert choose(alice, ["SCRAM-SHA-1-PLUS", "SCRAM-SHA-512"], BOUND) == "SCRAM-SHA-1-PLUS"
    assert choose(alice, ["SCRAM-SHA-1-PLUS", "PLAIN"], PRIVATE) == "PLAIN"
    with pytest.raises(UsageError, match="PLAIN would show the secret"):
        choose(alice, ["PLAIN"], CLEAR)
    with pytest.raises(UsageError, match="offers CRAM-MD5"):
        choose(alice, ["CRAM-MD5"], BOUND)
    assert "wonder" not in repr(alice)


# ── whole exchanges ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("with_success", [False, True])
@pytest.mark.parametrize(
    "mechanism",
    ["SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN"],
)
async def test_every_mechanism_of_passwords_logs_in(mechanism: str, with_success: bool) -> None:
    wire = Wire(SASLServer(portal_of(), [mechanism]), BOUND, with_success)

    assert await wire.run(ClientIdentity("alice", password="wonder", mechanisms=[mechanism]))

    assert wire.login is not None
    assert wire.login.session.avatar.name == "alice"
    await wire.login.session.logout()
    await wire.login.session.logout()
    assert wire.login.session.avatar.closed == 1


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "CRAM-MD5", "PLAIN", "LOGIN"])
@pytest.mark.parametrize("name", ["alice", "nobody"])
async def test_a_wrong_password_and_an_unknown_user_get_the_same_answer(
    mechanism: str, name: str
) -> None:
    """HARDENING core-14, core-15."""
    wire = Wire(SASLServer(portal_of(), [mechanism]), PRIVATE)

    with pytest.raises(LoginDenied, match=r"^authentication failed$"):
        await wire.run(ClientIdentity(name, password="wrong", mechanisms=[mechanism]))
    assert str(wire.error) == "authentication failed"


async def test_acting_as_another_needs_the_realms_leave() -> None:
    """HARDENING core-16: the authorization identity of somebody else."""
    for mechanism in ("PLAIN", "SCRAM-SHA-256"):
        server = SASLServer(portal_of(), [mechanism])
        wire = Wire(server, PRIVATE)
        await wire.run(ClientIdentity("root", password="toor", act_as="alice"))
        assert wire.login is not None
        assert wire.login.session.name == "alice"
        assert wire.login.session.authenticated == "root"
        wire = Wire(server, PRIVATE)
        with pytest.raises(LoginDenied):
            await wire.run(ClientIdentity("alice", password="wonder", act_as="root"))
        assert wire.error is not None
        assert "may not act as" in wire.error.reason


async def test_tokens_certificates_and_nobody_log_in() -> None:
    known = Channel(True, known=CertificateCredentials(b"der"))
    server = SASLServer(
        portal_of(
            TokenChecker(lambda token: "alice" if token.token == "good" else None),
            CertificateChecker(lambda der: "alice"),
            AnonymousChecker("guest"),
        )
    )
    for identity, name in (
        (ClientIdentity("alice", token="good", mechanisms=["OAUTHBEARER"]), "alice"),
        (ClientIdentity("alice", token="good", mechanisms=["XOAUTH2"]), "alice"),
        (ClientIdentity(external=True), "alice"),
        (ClientIdentity(anonymous="me@example.org"), "guest"),
    ):
        wire = Wire(server, known)
        await wire.run(identity)
        assert wire.login is not None
        assert wire.login.session.name == name
    for mechanism in ("OAUTHBEARER", "XOAUTH2"):
        with pytest.raises(LoginDenied, match="status"):
            await Wire(server, known).run(
                ClientIdentity("alice", token="bad", mechanisms=[mechanism])
            )


async def test_a_token_that_is_not_the_named_users_is_refused() -> None:
    server = SASLServer(portal_of(TokenChecker(lambda token: "mallory")))
    with pytest.raises(LoginDenied):
        await Wire(server, PRIVATE).run(ClientIdentity("alice", token="good"))


async def nobody_is_asked(challenge: bytes) -> bytes | None:
    raise AssertionError("nothing was to be asked")


async def test_a_malformed_message_and_an_abort_have_errors_of_their_own() -> None:
    """HARDENING core-16: both are denials, so both count as tries."""
    server = SASLServer(portal_of())
    with pytest.raises(SASLMalformedError):
        await server.authenticate("PLAIN", PRIVATE, Mailbox, nobody_is_asked, initial=b"no NUL")

    async def aborting(challenge: bytes) -> bytes | None:
        return None

    with pytest.raises(SASLAbortedError):
        await server.authenticate("PLAIN", PRIVATE, Mailbox, aborting)
    for name in ("PLAIN", "SCRAM-SHA-256-PLUS", "GSSAPI", "\xff"):
        with pytest.raises(UnknownMechanismError):
            await server.authenticate(name, CLEAR, Mailbox, nobody_is_asked)


async def test_an_abort_after_the_servers_proof_leaves_no_session() -> None:
    mailboxes: list[Mailbox] = []
    realm = Realm()

    @realm.provides(Mailbox, logout=Mailbox.close)
    def make(name: str) -> Mailbox:
        mailboxes.append(Mailbox(name))
        return mailboxes[-1]

    server = SASLServer(Portal(realm, [MemoryUsers({"alice": "wonder"})]), ["SCRAM-SHA-256"])
    wire = Wire(server, CLEAR)

    async def talk(mechanism: str | None, data: bytes | None) -> Reply:
        if data == b"":
            mechanism, data = ABORT, None
        return await wire.talk(mechanism, data)

    with pytest.raises(LoginDenied):
        await authenticate(
            ClientIdentity("alice", password="wonder"), ["SCRAM-SHA-256"], CLEAR, talk
        )
    assert [each.closed for each in mailboxes] == [1]


async def test_a_server_that_claims_success_is_not_believed() -> None:
    """HARDENING core-17."""
    replies = [Reply("success")]

    async def talk(mechanism: str | None, data: bytes | None) -> Reply:
        return replies.pop(0)

    with pytest.raises(SASLError, match="not proved itself"):
        await authenticate(
            ClientIdentity("alice", password="wonder"), ["SCRAM-SHA-256"], CLEAR, talk
        )


async def test_a_client_that_gives_up_says_so() -> None:
    said: list[str | None] = []

    async def talk(mechanism: str | None, data: bytes | None) -> Reply:
        said.append(mechanism)
        return Reply("challenge", b"r=wrong,s=AAAA,i=1")

    with pytest.raises(SASLError, match="begin with ours"):
        await authenticate(
            ClientIdentity("alice", password="wonder"), ["SCRAM-SHA-256"], CLEAR, talk
        )
    assert said == ["SCRAM-SHA-256", ABORT]


async def test_a_checker_that_cannot_say_is_no_denial() -> None:
    class Broken(MemoryUsers):
        async def check(self, credentials: object) -> str:
            raise LoginUnavailableError("the database is away")

    server = SASLServer(portal_of(Broken({"alice": "wonder"})))
    with pytest.raises(LoginUnavailableError):
        await server.authenticate(
            "PLAIN", PRIVATE, Mailbox, nobody_is_asked, initial=b"\0alice\0wonder"
        )


# ── connections ───────────────────────────────────────────────────────────────


def test_a_transport_in_memory_is_private_and_has_nothing_to_bind_to() -> None:
    clock = Clock()
    one = memory_pair(Protocol(), Protocol(), reactor=clock).first
    assert channel_of(one).private
    assert not channel_of(one).bindings
    clock.advance(1)


async def test_a_unix_socket_is_private_and_its_peer_known(tmp_path: Path) -> None:
    import os

    channels: list[Channel] = []

    class Look(Protocol):
        def connection_made(self, transport: IStreamTransport) -> None:
            super().connection_made(transport)
            channels.append(channel_of(transport))

    async with serve(f"unix:{tmp_path}/s", Look):
        protocol = await connect(f"unix:{tmp_path}/s", Look)
        while len(channels) < 2:
            await asyncio.sleep(0)
        protocol.transport.close()
    for channel in channels:
        assert channel.private
        assert isinstance(channel.known, PeerCredentials)
        assert channel.known.uid == os.getuid()


async def test_a_proxys_unix_socket_says_nothing_of_the_client_behind_it(tmp_path: Path) -> None:
    """Else EXTERNAL would take every client for the proxy's user, and PLAIN be shown in clear."""
    channels: list[Channel] = []

    class Look(Protocol):
        def connection_made(self, transport: IStreamTransport) -> None:
            super().connection_made(transport)
            channels.append(channel_of(transport))

    here = InternetAddress("192.0.2.1", 4000), InternetAddress("192.0.2.2", 143)
    async with serve(f"haproxy+unix:{tmp_path}/s", Look):
        for header in (ProxyHeader(*here), ProxyHeader(), ProxyHeader(local=True)):
            protocol = await connect(f"haproxy+unix:{tmp_path}/s", Protocol, proxy_header=header)
            count = len(channels)
            while len(channels) == count:
                await asyncio.sleep(0)
            protocol.transport.close()
    assert [each.private for each in channels] == [False, False, True]
    assert [each.known is None for each in channels] == [True, True, False]


async def test_a_tunnel_through_a_proxys_unix_socket_is_not_private(tmp_path: Path) -> None:
    """A client would show its password to everybody between the proxy and the target."""
    proxy = SocksServer(SocksRules(allow=["loopback"]))
    async with (
        serve("tcp://127.0.0.1:0", Protocol) as target,
        serve(f"unix:{tmp_path}/proxy", proxy),
    ):
        via = f"socks5+unix:{tmp_path}/proxy"
        protocol = await connect(target.urls[0], Protocol, via=via)
        channel = channel_of(protocol.transport)
        assert not channel.private
        assert channel.known is None
        with pytest.raises(UsageError, match="would show the secret"):
            choose(ClientIdentity("alice", password="wonder"), ["PLAIN"], channel)
        protocol.transport.close()


async def test_a_tcp_connection_is_readable_by_anybody() -> None:
    channels: list[Channel] = []

    class Look(Protocol):
        def connection_made(self, transport: IStreamTransport) -> None:
            super().connection_made(transport)
            channels.append(channel_of(transport))

    async with serve("tcp://127.0.0.1:0", Look) as server:
        protocol = await connect(server.urls[0], Look)
        protocol.transport.close()
    assert not channels[0].private
    assert channels[0].known is None


def test_both_ends_of_a_tls_connection_can_be_bound_alike(tmp_path: Path) -> None:
    """RFC 9266, RFC 5929 §4: and another connection has another binding."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    leaf = ca.issue_cert("localhost")
    leaf.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "cert.pem"))
    server_tls = ServerTLS(tmp_path / "cert.pem")
    client_tls = ClientTLS(trust=tmp_path / "ca.pem")
    seen: list[tuple[Channel, Channel]] = []
    for _ in range(2):
        clock = Clock()
        client, server = Protocol(), Protocol()
        lower, _done = client_protocol(client, client_tls, "localhost")
        memory_pair(lower, server_protocol(server, server_tls), reactor=clock)
        clock.advance(1)
        seen.append((channel_of(client.transport), channel_of(server.transport)))
        client.transport.abort()
        clock.advance(1)
    for mine, theirs in seen:
        assert mine.private
        assert set(mine.bindings) == {"tls-exporter", "tls-server-end-point"}
        assert mine.bindings == theirs.bindings
    assert seen[0][0].bindings["tls-exporter"] != seen[1][0].bindings["tls-exporter"]
    offered = SASLServer(portal_of()).offered(seen[0][1])
    assert choose(ClientIdentity("alice", password="x"), offered, seen[0][0]).endswith("-PLUS")
