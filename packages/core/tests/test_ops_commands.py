"""The commands of a node, on a real one."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core import open_stream
from sennit.core.errors import ConfigError, UsageError
from sennit.core.ops.admin import UnknownCommandError, ask
from sennit.core.ops.commands import COMMANDS, NodeCommands
from sennit.core.ops.service import Operation
from sennit.core.protocol import DatagramProtocol
from sennit.core.service.loading import load
from sennit.core.service.node import Node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sennit.core.reactor.base import Reactor

FILE = """
[admin]
listen = ["tcp://127.0.0.1:0"]

[service.first]
type = "echo"
listen = ["tcp://127.0.0.1:0"]

[service.second]
type = "echo"
listen = ["tcp://127.0.0.1:0"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sennit.toml"
    path.write_text(FILE)
    return path


@pytest.fixture
async def node(reactor: Reactor, file: Path) -> AsyncIterator[Node]:
    node = Node(load(file), reactor, read=lambda: load(file), drain=1.0)
    await node.start()
    yield node
    await node.stop()


@pytest.fixture
async def commands(node: Node) -> AsyncIterator[NodeCommands]:
    commands = NodeCommands(node)
    yield commands
    commands.close()


async def tell(commands: NodeCommands, command: str, /, **arguments: Any) -> Any:
    found = await commands.command(command, arguments)
    json.dumps(found)  # every answer can be sent
    return found


async def test_status_tells_of_the_node_and_each_service(
    commands: NodeCommands, node: Node
) -> None:
    async with await open_stream(node.entries["first"].urls[0]) as stream:
        await stream.send_all(b"x")
        await stream.read_exactly(1)
        found = await tell(commands, "status")
    assert found["node"]["state"] == "running"
    assert found["node"]["uptime"] >= 0
    assert found["node"]["not_ready"] == []
    first, second = found["services"]
    assert (first["name"], first["type"], first["state"]) == ("first", "echo", "running")
    assert (first["connections"], second["connections"]) == (1, 0)
    assert first["urls"] == list(node.entries["first"].urls)
    assert first["restarts"] == 0


async def test_ready_follows_the_state_of_the_node(commands: NodeCommands, node: Node) -> None:
    assert await tell(commands, "ready") == {"ready": True, "reasons": []}
    await tell(commands, "drain", name="second")
    found = await tell(commands, "ready")
    assert not found["ready"]
    assert "'second' is drained" in found["reasons"][0]
    node.deny()
    assert (await tell(commands, "ready"))["reasons"] == ["the node is draining"]


async def test_a_starved_thread_pool_makes_a_node_not_ready(
    commands: NodeCommands, reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HARDENING fault-9."""
    from sennit.core.threads import ThreadPool

    await reactor.defer_to_thread(int)
    monkeypatch.setattr(ThreadPool, "oldest_age", property(lambda self: 11.0))
    found = await tell(commands, "ready")
    assert not found["ready"]
    assert "work waits for a thread since 11 seconds" in found["reasons"][0]


async def test_connections_are_listed_filtered_and_killed(
    commands: NodeCommands, node: Node
) -> None:
    async with await open_stream(node.entries["first"].urls[0]) as stream:
        await stream.send_all(b"hello")
        await stream.read_exactly(5)
        found = await tell(commands, "connections", service="first")
        assert found["total"] == 1
        (shown,) = found["connections"]
        assert shown["peer"] == str(stream.local)
        assert (shown["received"], shown["sent"], shown["queued"]) == (5, 5, 0)
        assert shown["state"] == "open"
        assert shown["age"] >= 0
        assert shown["close_reason"] is None
        again = await tell(commands, "connections", service="first")
        assert again["connections"][0]["id"] == shown["id"]
        for narrow in ({"service": "second"}, {"peer": "10.0.0."}, {"state": "closing"}):
            assert (await tell(commands, "connections", **narrow))["total"] == 0
        few = await tell(commands, "connections", limit=1)
        assert (few["total"], len(few["connections"])) == (2, 1)
        assert await tell(commands, "connections", kill="1-1") == {"killed": 0}
        assert await tell(commands, "connections", kill=shown["id"]) == {"killed": 1}
        with pytest.raises(ConnectionError):
            await stream.receive_some()
    found = await tell(commands, "metrics", format="json")
    (closed,) = [each for each in found if each["name"] == "sennit_connections_closed"]
    assert {"service": "first", "reason": "killed"} in [
        each["labels"] for each in closed["samples"]
    ]


async def test_metrics_are_openmetrics_or_the_older_text_or_json(commands: NodeCommands) -> None:
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    found = await tell(commands, "metrics")
    assert found["type"].startswith("application/openmetrics-text")
    names = {family.name for family in parser.text_string_to_metric_families(found["text"])}
    assert {"sennit_connections", "sennit_loop_turn_seconds", "process_cpu_seconds"} <= names
    old = await tell(commands, "metrics", accept="text/plain;version=0.0.4")
    assert old["type"].startswith("text/plain")
    assert "sennit_loop_busy_seconds_total " in old["text"]


async def test_tasks_tell_where_they_wait(commands: NodeCommands) -> None:
    async def patient() -> None:
        await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(patient(), name="patience")
    await asyncio.sleep(0)
    (shown,) = [each for each in await tell(commands, "tasks") if each["name"] == "patience"]
    assert shown["coroutine"].endswith("patient")
    assert "test_ops_commands.py:" in shown["waits"][0]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_one_service_is_drained_and_a_reload_brings_it_back(
    commands: NodeCommands, node: Node, file: Path
) -> None:
    await tell(commands, "drain", name="second")
    states = {each["name"]: each["state"] for each in (await tell(commands, "status"))["services"]}
    assert states == {"first": "running", "second": "drained"}
    report = await tell(commands, "reload")
    assert "first" in report["kept"]
    assert (await tell(commands, "ready"))["ready"]
    with pytest.raises(UsageError, match="no service 'third'"):
        await tell(commands, "drain", name="third")


async def test_a_reload_that_fails_says_so_and_changes_nothing(
    commands: NodeCommands, node: Node, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """HARDENING fault-18: the log has it too, as after a signal."""
    file.write_text(FILE + "\nbroken = 1\n")
    with pytest.raises(UsageError, match="unknown key"):
        await tell(commands, "reload")
    (record,) = (each for each in caplog.records if each.levelname == "ERROR")
    assert "unknown key" in record.getMessage()
    assert (await tell(commands, "ready"))["ready"]


async def test_a_log_level_is_changed_for_a_time(commands: NodeCommands, reactor: Reactor) -> None:
    logger = logging.getLogger("sennit.test.level")
    logger.setLevel(logging.WARNING)
    found = await tell(commands, "loglevel", level="debug", logger=logger.name, seconds=0.005)
    assert found["before"] == "warning"
    assert logger.isEnabledFor(logging.DEBUG)
    await tell(commands, "loglevel", level="info", logger=logger.name, seconds=0.005)
    while logger.isEnabledFor(logging.INFO):
        await asyncio.sleep(0.001)
    found = await tell(commands, "loglevel", logger=logger.name)
    assert found == {"logger": logger.name, "level": "warning"}
    for wrong in ({"level": "loud"}, {"level": "info", "seconds": -1}, {"logger": 5}):
        with pytest.raises(UsageError):
            await tell(commands, "loglevel", **wrong)
    await tell(commands, "loglevel", level="debug", logger=logger.name)
    commands.close()
    assert logger.level == logging.WARNING


async def test_a_dump_shows_what_is_open_and_awaited(
    commands: NodeCommands, node: Node, reactor: Reactor
) -> None:
    from sennit.core.deferred import Deferred
    from sennit.core.ops.dump import text_of

    waiting: Deferred[None] = Deferred()
    timer = reactor.call_later(1000, waiting.callback, None)
    found = await tell(commands, "dump")
    assert found["threads"][0]["name"] == threading.main_thread().name
    assert any("snapshot" in each for each in found["threads"][0]["stack"])
    assert found["deferreds"]["count"] >= 1
    assert any("Deferred.callback" in each["call"] for each in found["timers"]["first"])
    assert any(
        "TCP" in each["is"] or "socket" in each["is"] for each in found["descriptors"]["first"]
    )
    assert [each.split(" tcp")[0] for each in found["services"]["first"]] == [
        "first: running",
        "second: running",
    ]
    text = text_of(found)
    assert "timers: " in text
    assert "thread MainThread" in text
    timer.cancel()


async def test_what_is_no_command_and_no_argument_is_refused(commands: NodeCommands) -> None:
    with pytest.raises(UnknownCommandError, match="status, ready"):
        await tell(commands, "__init__")
    with pytest.raises(UsageError, match="status has no argument 'x'; it has: none"):
        await tell(commands, "status", x=1)
    for name, wrong in (
        ("metrics", {"format": "xml"}),
        ("metrics", {"accept": 5}),
        ("connections", {"state": "odd"}),
        ("connections", {"limit": "all"}),
        ("drain", {"name": 5}),
    ):
        with pytest.raises(UsageError):
            await tell(commands, name, **wrong)


async def test_a_node_is_operated_through_its_socket_and_its_endpoints(
    node: Node, tmp_path: Path
) -> None:
    async with Operation(node) as operation:
        path = tmp_path / "run" / "admin.sock"
        for name in COMMANDS:
            if name not in ("drain", "loglevel"):
                assert await ask(path, name) is not None
        async with await open_stream(operation.urls[0]) as stream:
            await stream.send_all(b"GET /readyz HTTP/1.0\r\n\r\n")
            assert b"".join([each async for each in stream]).endswith(b"\r\n\r\nready\n")
    assert not path.exists()


async def test_a_socket_that_cannot_be_made_is_told_with_its_place(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("sennit.core.ops.admin.os.makedirs", refused)
    with pytest.raises(ConfigError, match=r"cannot make '.*run/admin\.sock': name a place"):
        async with Operation(node):
            pass


async def test_a_signal_writes_a_dump_to_the_log_from_a_thread_of_its_own(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    import os
    import signal

    async with Operation(node):
        os.kill(os.getpid(), signal.SIGUSR1)
        while not any("descriptors: " in each.getMessage() for each in caplog.records):
            await asyncio.sleep(0.001)
    lines = [each.getMessage() for each in caplog.records if each.name == "sennit.dump"]
    assert lines[:2] == [f"process {os.getpid()}", "thread MainThread"]
    assert "services: 2" in lines


async def test_sockets_for_datagrams_are_listed_with_what_they_dropped(
    commands: NodeCommands, node: Node
) -> None:
    class Quiet(DatagramProtocol):
        def datagram_received(self, data: bytes, peer: Any) -> None:
            came.set()

    came = asyncio.Event()
    listener: Any = await node.reactor.listen_udp(Quiet, 0, "127.0.0.1", max_size=10)
    listener.label = "names"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for data in (b"longer than it takes", b"short"):
            sender.sendto(data, ("127.0.0.1", listener.port))
    await came.wait()
    (shown,) = (await tell(commands, "connections", service="names"))["datagrams"]
    assert shown["local"] == f"127.0.0.1:{listener.port}"
    assert (shown["received"], shown["sent"], shown["queued"]) == (2, 0, 0)
    assert shown["protocol"].endswith("Quiet")
    assert shown["drops"] == {"limit:datagram-size": 1}
    assert (await tell(commands, "connections", service="first"))["datagrams"] == []
    listener.close()
