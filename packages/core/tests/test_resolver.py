"""Looking names up, whoever does it, and connecting by name through it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core import connect, serve
from sennit.core import resolver as resolving
from sennit.core.endpoint import names
from sennit.core.endpoint.names import look_up
from sennit.core.errors import (
    ConnectError,
    NameLookupError,
    NoRecordsError,
    PoolFullError,
    UnknownNameError,
    UsageError,
)
from sennit.core.plugin import UnknownPluginError
from sennit.core.protocol import Protocol
from sennit.core.resolver import (
    RESOLVERS,
    CertificateAssociation,
    IResolver,
    MailExchange,
    Records,
    ServiceBinding,
    ServiceLocation,
    SystemResolver,
    by_system,
    resolver,
)

if TYPE_CHECKING:
    from pathlib import Path

    from sennit.core.reactor.base import Reactor


class Book:
    """Knows what it is told: addresses, or an error, by name."""

    def __init__(self, **entries: list[str] | Exception) -> None:
        self.entries = entries
        self.asked: list[tuple[str, int]] = []
        self.options: dict[str, Any] = {}
        self.pause: asyncio.Event | None = None
        self.given_up = 0

    async def addresses(self, name: str, family: int = 0) -> Records[str]:
        self.asked.append((name, family))
        if self.pause is not None:
            try:
                await self.pause.wait()
            except asyncio.CancelledError:
                self.given_up += 1
                raise
        found = self.entries.get(name.partition(".")[0], UnknownNameError(f"no {name}"))
        if isinstance(found, Exception):
            raise found
        wanted = [
            each for each in found if not family or (":" in each) == (family == socket.AF_INET6)
        ]
        if not wanted:
            raise NoRecordsError(f"{name} has no such address")
        return Records(wanted)

    async def mx(self, name: str) -> Records[MailExchange]:
        return Records([MailExchange(10, "mx." + name)], authenticated=True)

    async def srv(self, name: str) -> Records[ServiceLocation]:
        return Records()

    async def txt(self, name: str) -> Records[bytes]:
        return Records()

    async def ptr(self, address: str) -> Records[str]:
        return Records()

    async def tlsa(self, name: str) -> Records[CertificateAssociation]:
        return Records()

    async def svcb(self, name: str, kind: str = "HTTPS") -> Records[ServiceBinding]:
        return Records()

    async def aclose(self) -> None:
        pass

    async def __aenter__(self) -> Book:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


# ── which one ─────────────────────────────────────────────────────────────────


async def test_whichever_is_installed_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    book = Book()

    def make(**options: Any) -> Book:
        book.options = options
        return book

    found: dict[str, Any] = {"book": make}

    def installed(group: str) -> dict[str, Any]:
        assert group == RESOLVERS
        return found

    monkeypatch.setattr(resolving, "installed", installed)

    def find(group: str, name: str) -> object:
        return installed(group)[name]

    monkeypatch.setattr(resolving, "find", find)

    chosen: IResolver
    async with resolver(servers=["192.0.2.1"]) as chosen:
        exchanges = await chosen.mx("example.org")
    assert list(exchanges) == [(10, "mx.example.org")]
    assert exchanges.authenticated
    assert book.options == {"servers": ["192.0.2.1"], "reactor": None}


async def test_without_any_addresses_come_from_the_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def installed(group: str) -> dict[str, Any]:
        return {}

    monkeypatch.setattr(resolving, "installed", installed)
    chosen: IResolver
    async with resolver() as chosen:
        assert isinstance(chosen, SystemResolver)
        found = await chosen.addresses("localhost", socket.AF_INET)
        assert list(found) == ["127.0.0.1"]
        assert not found.authenticated
        for asking in (
            chosen.mx("a.example"),
            chosen.srv("a.example"),
            chosen.txt("a.example"),
            chosen.ptr("192.0.2.1"),
            chosen.tlsa("a.example"),
            chosen.svcb("a.example"),
        ):
            with pytest.raises(UnknownPluginError, match="pip install sennit-names"):
                await asking
    with pytest.raises(UnknownPluginError, match="pip install sennit-names"):
        resolver(servers=["192.0.2.1"])


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (socket.gaierror(socket.EAI_NONAME, "unknown"), UnknownNameError),
        (socket.gaierror(socket.EAI_AGAIN, "later"), NameLookupError),
        (UnicodeError("too long"), UnknownNameError),
    ],
)
async def test_errors_of_the_system_say_whether_to_try_again(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, expected: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(NameLookupError) as caught:
        await SystemResolver().addresses("a.example")
    assert type(caught.value) is expected


async def turns() -> None:
    """Let what was cancelled end."""
    for _ in range(3):
        await asyncio.sleep(0)


# ── connecting ────────────────────────────────────────────────────────────────


class Waits(Protocol):
    """Does nothing."""


async def test_connecting_by_name_asks_the_reactors_resolver(reactor: Reactor) -> None:
    """Both families are asked for by themselves (RFC 8305 §3)."""
    book = Book(here=["127.0.0.1"])
    reactor.resolver = book
    try:
        async with serve("tcp://127.0.0.1:0", Waits) as server:
            port = server.port
            protocol = await connect(f"tcp://here.example:{port}", Waits)
            protocol.transport.abort()
    finally:
        reactor.resolver = None
    assert set(book.asked) == {
        ("here.example", socket.AF_INET),
        ("here.example", socket.AF_INET6),
    }
    assert reactor.names_awaited == 0


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (UnknownNameError("no such host here"), "no such host here"),
        (NameLookupError("servers are silent"), "servers are silent"),
        (UsageError("a label is too long"), "not a name"),
    ],
)
async def test_what_the_resolver_says_is_why_there_is_no_connection(
    reactor: Reactor, error: Exception, text: str
) -> None:
    reactor.resolver = Book(bad=error)
    try:
        with pytest.raises(ConnectError, match=text):
            await connect("tcp://bad.example:80", Waits)
    finally:
        reactor.resolver = None


async def test_a_look_up_has_its_limit_and_is_given_up(
    reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "LOOK_UP_SECONDS", 0.02)
    book = Book(slow=["127.0.0.1"])
    book.pause = asyncio.Event()
    reactor.resolver = book
    try:
        with pytest.raises(socket.gaierror, match="no answer about"):
            await look_up(reactor, "slow.example", 80)
    finally:
        reactor.resolver = None
    await turns()
    assert book.given_up == 1
    assert reactor.names_awaited == 0


async def test_giving_up_a_look_up_gives_up_its_question(reactor: Reactor) -> None:
    book = Book()
    book.pause = asyncio.Event()
    reactor.resolver = book
    try:
        looking = look_up(reactor, "slow.example", 80)
        looking.add_errback(lambda _: None)
        await asyncio.sleep(0)
        looking.cancel()
        await turns()
    finally:
        reactor.resolver = None
    assert book.given_up == 1
    assert reactor.names_awaited == 0


async def test_no_more_look_ups_wait_than_may(
    reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "RESOLVER_QUEUE", 1)
    book = Book()
    book.pause = asyncio.Event()
    reactor.resolver = book
    try:
        first = look_up(reactor, "a.example", 80)
        with pytest.raises(PoolFullError):
            look_up(reactor, "b.example", 80)
        first.add_errback(lambda _: None)
        first.cancel()
        await turns()
    finally:
        reactor.resolver = None


async def test_a_resolver_connects_to_its_own_server_by_the_system(reactor: Reactor) -> None:
    book = Book()
    reactor.resolver = book
    try:
        with by_system():
            found = await look_up(reactor, "localhost", 80, socket.AF_INET)
        assert found[0][4] == ("127.0.0.1", 80)
    finally:
        reactor.resolver = None
    assert not book.asked


async def test_without_one_nothing_changes(reactor: Reactor) -> None:
    assert reactor.resolver is None
    found = await look_up(reactor, "localhost", 80, socket.AF_INET)
    assert found[0][4] == ("127.0.0.1", 80)


# ── in a node ─────────────────────────────────────────────────────────────────

UP = "import sys; from sennit.core.service.cli import main; sys.exit(main(['up', sys.argv[1]]))"


def test_a_node_names_its_resolver_and_a_mistake_there_is_told(tmp_path: Path) -> None:
    file = tmp_path / "sennit.toml"
    file.write_text(
        '[node]\nresolver = "nonsense"\n\n'
        '[service.talk]\ntype = "echo"\nlisten = ["tcp://127.0.0.1:0"]\n'
    )
    done = subprocess.run(
        [sys.executable, "-c", UP, str(file)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert "sennit.toml:2: [node] resolver:" in done.stderr
    assert "'nonsense' is not installed" in done.stderr
