"""A node that goes on with a changed configuration, or changes nothing (HARDENING fault-18)."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from sennit.core.endpoint.connect import connect, open_stream
from sennit.core.endpoint.listen import serve
from sennit.core.endpoint.tunnel import Proxy
from sennit.core.errors import ConfigError, ConnectError, UsageError
from sennit.core.protocol import Protocol
from sennit.core.reactor.base import run
from sennit.core.service.loading import load
from sennit.core.service.node import Node
from sennit.core.service.restart import BackgroundService
from sennit.core.service.tree import Service
from sennit.core.stream import Stream, StreamProtocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from sennit.core.reactor.base import Reactor
    from sennit.core.service.loading import NodeConfig
    from sennit.core.service.node import Entry

ECHO = '[service.echo]\ntype = "echo"\nlisten = "tcp://127.0.0.1:0"\n'


def with_node(folder: Path, text: str, main: Callable[[Node], Awaitable[None]]) -> None:
    """Run a node on a file that `main` may change."""
    file = folder / "sennit.toml"
    file.write_text(text)

    async def bounded(reactor: Reactor) -> None:
        node = Node(load(file), reactor, read=lambda: load(file), drain=5.0)
        async with asyncio.timeout(20):
            await node.start()
            try:
                await main(node)
            finally:
                await node.stop(0.0)
        assert node.state == "stopped"

    run(bounded)


def url(node: Node, name: str = "echo") -> str:
    return node.entries[name].urls[0]


async def connect_stream(where: str) -> Stream:
    return (await connect(where, StreamProtocol)).stream


async def echoes(where: str) -> bool:
    async with await connect_stream(where) as stream:
        await stream.send_all(b"x")
        return await stream.read_exactly(1) == b"x"


def test_what_did_not_change_is_not_touched(tmp_path: Path) -> None:
    async def main(node: Node) -> None:
        before = dict(node.services)
        where = url(node)
        async with await connect_stream(where) as stream:
            (tmp_path / "sennit.toml").write_text(
                ECHO + '[service.more]\ntype = "echo"\nlisten = "tcp://127.0.0.1:0"\n'
            )
            report = await node.reload()
            assert (report.added, report.kept, report.changed, report.removed) == (
                ["more"],
                ["echo"],
                [],
                [],
            )
            await stream.send_all(b"x")
            assert await stream.read_exactly(1) == b"x"
        assert node.services["echo"] is before["echo"]
        assert await echoes(url(node, "more"))
        assert node.reloads == 1
        assert str(report) == "added more; kept echo"

    with_node(tmp_path, ECHO, main)


def test_a_changed_service_keeps_its_port_and_lets_callers_finish(tmp_path: Path) -> None:
    async def main(node: Node) -> None:
        where = url(node)
        (tmp_path / "sennit.toml").write_text(ECHO + "idle = 5.0\n")
        prepared = await node.prepare_reload()
        # Both have the socket now; the old one alone accepts.
        assert await echoes(where)
        with pytest.raises(UsageError, match="being reloaded already"):
            await node.prepare_reload()
        assert (await prepared.commit()).changed == ["echo"]
        assert url(node) == where
        assert await echoes(where)
        with pytest.raises(UsageError, match="ended already"):
            await prepared.commit()

    with_node(tmp_path, ECHO, main)


def test_a_reload_that_is_ready_when_the_end_has_begun_begins_nothing(tmp_path: Path) -> None:
    async def main(node: Node) -> None:
        before = dict(node.services)
        (tmp_path / "sennit.toml").write_text(ECHO + "idle = 5.0\n")
        prepared = await node.prepare_reload()
        node.deny()
        with pytest.raises(UsageError, match="draining"):
            await prepared.commit()
        assert node.services == before

    with_node(tmp_path, ECHO, main)


def test_a_reload_that_is_prepared_when_the_end_has_begun_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(node: Node) -> None:
        text = ECHO.replace("echo]", "more]")
        (tmp_path / "sennit.toml").write_text(ECHO + text)
        prepare = node.prepare
        made: list[Entry] = []

        async def slowly(config: NodeConfig, entries: Iterable[Entry]) -> None:
            made.extend(entries)
            await prepare(config, made)
            node.deny()

        monkeypatch.setattr(node, "prepare", slowly)
        with pytest.raises(UsageError, match="draining"):
            await node.prepare_reload()
        assert [each.configured.name for each in made] == ["more"]
        assert not made[0].urls

    with_node(tmp_path, ECHO, main)


def test_a_unix_socket_stays_through_a_reload_and_goes_with_the_last(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    text = f'[service.echo]\ntype = "echo"\nlisten = "unix:{path}"\n'

    async def main(node: Node) -> None:
        inode = path.stat().st_ino
        file = tmp_path / "sennit.toml"
        for idle in (5.0, 6.0):
            file.write_text(f"{text}idle = {idle}\n")
            await node.reload()
            assert path.stat().st_ino == inode
            assert await echoes(url(node))
        file.write_text(ECHO.replace("service.echo", "service.other"))
        report = await node.reload()
        assert (report.added, report.removed) == (["other"], ["echo"])
        assert not path.exists()

    with_node(tmp_path, text, main)


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        ECHO + "idle = -1.0\n",
        ECHO + 'idle = 5.0\n[service.b]\ntype = "echo"\nlisten = "tcp://127.0.0.1:{taken}"\n',
        ECHO + '[tls.main]\ncertificate = "none.pem"\n',
        ECHO + "[node]\nworkers = 0\n",
    ],
)
def test_whatever_is_wrong_leaves_all_as_it_was(tmp_path: Path, text: str) -> None:
    async def main(node: Node) -> None:
        before = (node.config, dict(node.services), url(node))
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            (tmp_path / "sennit.toml").write_text(text.replace("{taken}", str(port)))
            with pytest.raises(ConfigError, match=r"sennit\.toml"):
                await node.reload()
        assert (node.config, dict(node.services), url(node)) == before
        assert node.ready() == []
        assert await echoes(url(node))
        # And the next one may begin.
        (tmp_path / "sennit.toml").write_text(ECHO)
        assert (await node.reload()).kept == ["echo"]

    with_node(tmp_path, ECHO, main)


def test_an_aborted_reload_gives_its_sockets_back(tmp_path: Path) -> None:
    path = tmp_path / "new.sock"

    async def main(node: Node) -> None:
        (tmp_path / "sennit.toml").write_text(
            ECHO + f'[service.new]\ntype = "echo"\nlisten = "unix:{path}"\n'
        )
        prepared = await node.prepare_reload()
        assert path.exists()
        await prepared.abort()
        await prepared.abort()
        assert not path.exists()
        assert list(node.services) == ["echo"]
        assert await echoes(url(node))

    with_node(tmp_path, ECHO, main)


def test_stopping_ends_a_reload_that_was_prepared(tmp_path: Path) -> None:
    path = tmp_path / "new.sock"

    async def main(node: Node) -> None:
        (tmp_path / "sennit.toml").write_text(
            ECHO + f'[service.new]\ntype = "echo"\nlisten = "unix:{path}"\n'
        )
        await node.prepare_reload()
        await node.stop(0.0)
        assert not path.exists()

    with_node(tmp_path, ECHO, main)


USERS = """
[users.staff]
type = "memory"
passwords = { alice = { env = "ALICE" } }

[users.others]
type = "memory"
passwords = { bob = { env = "BOB" } }

[service.proxy]
type = "socks"
listen = "tcp://127.0.0.1:0"
allow = ["loopback"]
users = "staff"

[service.second]
type = "socks"
listen = "tcp://127.0.0.1:0"
users = "others"
"""


def test_users_that_changed_reach_the_services_that_refer_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was shut out of a table must not be let in until the next restart."""
    monkeypatch.setattr("sennit.core.service.socks.LoginLimits", lambda: None)
    monkeypatch.setenv("ALICE", "old")
    monkeypatch.setenv("BOB", "wonder")

    async def main(node: Node) -> None:
        async with serve("tcp://127.0.0.1:0", Protocol) as target:

            async def comes_in(password: str) -> bool:
                proxy = Proxy(url(node, "proxy").replace("tcp:", "socks5:"), "alice", password)
                try:
                    async with await open_stream(target.urls[0], via=proxy):
                        return True
                except ConnectError:
                    return False

            assert await comes_in("old")
            others = node.config.checker("others")
            monkeypatch.setenv("ALICE", "new")
            report = await node.reload()
            assert (report.changed, report.kept) == (["proxy"], ["second"])
            assert not await comes_in("old")
            assert await comes_in("new")
            assert node.config.checker("others") is others
            report = await node.reload()
            assert report.kept == ["proxy", "second"]

    with_node(tmp_path, USERS, main)


def test_a_drained_service_comes_back_with_a_reload(tmp_path: Path) -> None:
    async def main(node: Node) -> None:
        await node.drain("echo")
        assert node.ready() == ["service 'echo' is drained"]
        with pytest.raises(UsageError, match="there is no service 'other'; there are: echo"):
            await node.drain("other")
        assert (await node.reload()).changed == ["echo"]
        assert node.ready() == []
        assert await echoes(url(node))

    with_node(tmp_path, ECHO, main)


def test_settings_of_the_process_are_named_as_waiting_for_a_restart(tmp_path: Path) -> None:
    async def main(node: Node) -> None:
        (tmp_path / "sennit.toml").write_text("[node]\nworkers = 2\n" + ECHO)
        report = await node.reload()
        assert report.later == ["[node] workers"]
        assert "only a restart takes up [node] workers" in str(report)

    with_node(tmp_path, ECHO, main)


# ── certificates ──────────────────────────────────────────────────────────────


def issue(folder: Path, authority: trustme.CA, name: str) -> None:
    issued = authority.issue_cert("localhost", "127.0.0.1", common_name=name)
    issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "both.pem"))


async def shown(node: Node, reactor: Reactor, authority: trustme.CA) -> str:
    """The common name of the certificate that the node shows."""
    port = int(url(node).rpartition(":")[2])
    context = ssl.create_default_context()
    authority.configure_trust(context)

    def ask() -> str:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as sock,
            context.wrap_socket(sock, server_hostname="localhost") as tls,
        ):
            found = tls.getpeercert()
            assert found is not None
            # typeshed has one type for all of its values.
            subject: Any = found["subject"]
            ((name, value),) = subject[-1]
            assert name == "commonName"
            return str(value)

    return await reactor.defer_to_thread(ask)


def test_certificates_are_read_anew_and_connections_stand(tmp_path: Path) -> None:
    authority = trustme.CA()
    issue(tmp_path, authority, "first")
    text = (
        '[tls.main]\ncertificate = "both.pem"\n[service.echo]\ntype = "echo"\n'
        'listen = {url = "tls://127.0.0.1:0", tls = "main"}\n'
    )

    async def main(node: Node) -> None:
        service = node.services["echo"]
        assert await shown(node, node.reactor, authority) == "first"
        issue(tmp_path, authority, "second")
        report = await node.reload()
        assert (report.kept, report.certificates) == (["echo"], ["main"])
        assert node.services["echo"] is service
        assert await shown(node, node.reactor, authority) == "second"

        (tmp_path / "both.pem").write_text("broken")
        with pytest.raises(ConfigError, match=r"\[tls\.main\]"):
            await node.reload()
        assert await shown(node, node.reactor, authority) == "second"

    with_node(tmp_path, text, main)


# ── services that fail, and files of their own ────────────────────────────────


def test_a_service_may_read_its_files_anew_or_stop_the_reload(tmp_path: Path) -> None:
    async def main(node: Node) -> None:
        service = node.services["echo"]
        assert isinstance(service, Service)
        done: list[str] = []
        problem: list[Exception] = [ConfigError("the zone is broken", key="idle")]

        async def prepare_reload() -> Callable[[], object]:
            if problem:
                raise problem.pop()
            return lambda: done.append("put")

        service.prepare_reload = prepare_reload  # type: ignore[method-assign]  # a service that has files
        with pytest.raises(ConfigError, match=r"\[service\.echo\] idle: the zone is broken"):
            await node.reload()
        assert done == []
        await node.reload()
        assert done == ["put"]

    with_node(tmp_path, ECHO, main)


def test_a_service_that_fails_is_started_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(node: Node) -> None:
        first = node.services["echo"]
        assert isinstance(first, Service)

        first.fail(RuntimeError("the disk is gone"))

        (why,) = node.ready()
        assert why == "service 'echo' is restarting: RuntimeError: the disk is gone"
        while node.ready():
            await asyncio.sleep(0.02)
        assert node.services["echo"] is not first
        assert node.entries["echo"].tree.restarts == 1
        assert await echoes(url(node))

    with_node(tmp_path, ECHO, main)
    assert "failed; it is started again in" in caplog.text


def test_work_in_the_background_that_fails_is_the_services_failure() -> None:
    failures: list[BaseException] = []

    class Work(BackgroundService):
        async def run(self) -> None:
            raise OSError("no more")

    async def main(reactor: Reactor) -> None:
        service = Work("work")
        service.on_failure = lambda which, error: failures.append(error)
        await service.start(reactor)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await service.stop(0.0)

    run(main)
    assert [str(each) for each in failures] == ["no more"]
