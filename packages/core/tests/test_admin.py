"""The admin socket: who may speak to it, what it takes, and what it does not choke on."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.errors import SennitError, UsageError
from sennit.core.ops import admin
from sennit.core.ops.admin import (
    AdminServer,
    CommandError,
    NoNodeError,
    UnknownCommandError,
    ask,
    ask_blocking,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sennit.core.reactor.base import Reactor


class Told:
    """Says what it was told."""

    def __init__(self) -> None:
        self.cancelled = 0

    async def command(self, name: str, arguments: Mapping[str, Any]) -> object:
        if name == "echo":
            return dict(arguments)
        if name == "refuse":
            raise UsageError("not like this")
        if name == "fail":
            raise SennitError("it did not work")
        if name == "bug":
            raise RuntimeError("oh")
        if name == "odd":
            return object()
        if name == "large":
            return "x" * int(arguments["size"])
        if name == "hang":
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        raise UnknownCommandError(f"no command {name!r}")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "run" / "admin.sock")


async def test_a_command_and_its_arguments_get_there_and_its_result_comes_back(path: str) -> None:
    async with AdminServer(Told(), path):
        assert await ask(path, "echo", name="ä\n", n=[1, None]) == {"name": "ä\n", "n": [1, None]}


async def test_the_socket_is_for_its_user_alone_and_gone_in_the_end(path: str) -> None:
    async with AdminServer(Told(), path) as server:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
        assert repr(server) == f"<AdminServer {path}>"
    assert not os.path.exists(path)


@pytest.mark.parametrize(
    ("command", "kind", "text"),
    [
        ("refuse", "usage", "not like this"),
        ("fail", "failed", "it did not work"),
        ("nope", "unknown", "no command 'nope'"),
        ("odd", "failed", "not JSON"),
    ],
)
async def test_what_cannot_be_done_is_told_with_its_kind(
    path: str, command: str, kind: str, text: str
) -> None:
    async with AdminServer(Told(), path):
        with pytest.raises(CommandError, match=text) as caught:
            await ask(path, command)
        assert caught.value.kind == kind


async def test_a_bug_in_a_command_is_logged_and_ends_nothing_else(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with AdminServer(Told(), path):
        with pytest.raises(CommandError, match="internal error: RuntimeError: oh"):
            await ask(path, "bug")
        assert await ask(path, "echo") == {}
    assert [record.getMessage() for record in caplog.records] == ["command 'bug' failed"]


async def test_an_answer_beyond_the_limit_is_an_error_and_not_sent(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "MAX_ANSWER", 1000)
    async with AdminServer(Told(), path):
        with pytest.raises(CommandError, match="ask for less"):
            await ask(path, "large", size=2000)


async def talk(path: str, data: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path, limit=1 << 20)
    writer.write(data)
    writer.write_eof()
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_several_requests_of_one_connection_are_answered_in_order(path: str) -> None:
    async with AdminServer(Told(), path):
        lines = b"".join(
            json.dumps({"command": "echo", "arguments": {"n": n}}).encode() + b"\n"
            for n in range(50)
        )
        answers = [json.loads(line) for line in (await talk(path, lines)).splitlines()]
        assert answers == [{"ok": {"n": n}} for n in range(50)]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello",
        b"[]",
        b'{"command": 1}',
        b'{"command": "echo", "arguments": []}',
        b"[" * 50_000,
        b'{"a": ' + b"9" * 10_000 + b"}",
        b"\xff\xfe\x00",
    ],
    ids=["empty", "word", "list", "number", "arguments", "deep", "digits", "octets"],
)
async def test_a_line_that_is_no_request_is_refused_and_the_next_one_is_heard(
    path: str, line: bytes
) -> None:
    """HARDENING, defaults 20: depth and size of JSON are bounded."""
    async with AdminServer(Told(), path):
        answers = (await talk(path, line + b'\n{"command": "echo"}\n')).splitlines()
        assert json.loads(answers[0])["kind"] == "usage"
        assert json.loads(answers[1]) == {"ok": {}}


async def test_a_request_without_an_end_is_refused_at_its_limit(path: str) -> None:
    async with AdminServer(Told(), path):
        answer = json.loads(await talk(path, b"x" * (admin.MAX_REQUEST + 1)))
        assert "more than 65536 octets" in answer["error"]


async def test_a_client_that_goes_away_cancels_nothing_of_others(path: str) -> None:
    async with AdminServer(Told(), path):
        first = socket.socket(socket.AF_UNIX)
        first.connect(path)
        first.send(b'{"command": "echo", "arguments": {"a"')
        first.close()
        assert await ask(path, "echo", b=1) == {"b": 1}


async def test_closing_cancels_the_commands_that_run(path: str, reactor: Reactor) -> None:
    told = Told()
    server = await AdminServer(told, path).start()
    asking = asyncio.ensure_future(ask(path, "hang"))
    while not server._listener or not server._listener.connections:
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    await server.close()
    with pytest.raises(NoNodeError):
        await asking
    assert told.cancelled == 1


async def test_one_client_more_than_the_limit_is_turned_away(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "MAX_CLIENTS", 1)
    async with AdminServer(Told(), path):
        first = await asyncio.open_unix_connection(path)
        first[1].write(b'{"command": "echo"}\n')
        assert await first[0].readline()
        with pytest.raises(NoNodeError):
            await ask(path, "echo")
        first[1].close()
        await first[1].wait_closed()


async def test_a_client_that_asks_for_nothing_is_closed_after_a_while(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "IDLE", 0.01)
    async with AdminServer(Told(), path):
        reader, writer = await asyncio.open_unix_connection(path)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_an_answer_that_does_not_come_in_time_is_said_to_be_missing(path: str) -> None:
    async with AdminServer(Told(), path):
        with pytest.raises(NoNodeError, match=r"no answer within 0\.01 seconds"):
            await ask(path, "hang", timeout=0.01)


async def test_a_socket_that_is_served_is_not_taken_over_and_a_dead_one_is(path: str) -> None:
    """HARDENING fault-19: EADDRINUSE for a live socket; a stale one is replaced."""
    async with AdminServer(Told(), path):
        with pytest.raises(OSError, match="in use"):
            await AdminServer(Told(), path).start()
        assert await ask(path, "echo") == {}
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(path)
    dead.close()
    async with AdminServer(Told(), path):
        assert await ask(path, "echo") == {}


async def test_a_file_of_another_kind_is_left_alone(path: str) -> None:
    os.mkdir(os.path.dirname(path), 0o700)
    with open(path, "w") as file:
        file.write("precious")
    with pytest.raises(OSError, match="a file of that name"):
        await AdminServer(Told(), path).start()
    with open(path) as file:
        assert file.read() == "precious"


async def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(PermissionError, match="chmod go-w"):
        await AdminServer(Told(), folder / "admin.sock").start()
    folder.chmod(0o1777)  # as /tmp: nobody can put another file in its place
    async with AdminServer(Told(), folder / "admin.sock"):
        pass


async def test_a_path_that_is_too_long_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="at most 107 octets"):
        await AdminServer(Told(), tmp_path / ("x" * 200)).start()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root to be another user")
async def test_another_user_is_turned_away_whatever_the_mode_says() -> None:
    # Not in pytest's folder, which is closed to other users.
    with tempfile.TemporaryDirectory(prefix="sennit-") as folder:
        os.chmod(folder, 0o755)
        await another_user(os.path.join(folder, "admin.sock"))


async def another_user(path: str) -> None:
    async with AdminServer(Told(), path):
        os.chmod(path, 0o666)
        sock = socket.socket(socket.AF_UNIX)
        os.seteuid(65534)  # the kernel notes who connects
        try:
            sock.connect(path)
        finally:
            os.seteuid(0)
        sock.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=sock)
        writer.write(b'{"command": "echo"}\n')
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            pass
        writer.close()


# ── without a loop ────────────────────────────────────────────────────────────


async def test_a_program_without_a_loop_can_ask_too(path: str, reactor: Reactor) -> None:
    async with AdminServer(Told(), path):
        assert await reactor.defer_to_thread(ask_blocking, path, "echo", a=1) == {"a": 1}
        with pytest.raises(CommandError, match="not like this"):
            await reactor.defer_to_thread(ask_blocking, path, "refuse")
        with pytest.raises(NoNodeError, match=r"within 0\.02"):
            await reactor.defer_to_thread(lambda: ask_blocking(path, "hang", timeout=0.02))


def test_a_node_that_does_not_run_is_said_not_to(path: str) -> None:
    with pytest.raises(NoNodeError, match="there is no such socket"):
        ask_blocking(path, "status")
    os.mkdir(os.path.dirname(path))
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(path)
    dead.close()
    with pytest.raises(NoNodeError, match="nobody listens there any more"):
        ask_blocking(path, "status")


async def test_a_socket_of_something_else_is_told_apart(path: str, reactor: Reactor) -> None:
    os.mkdir(os.path.dirname(path))

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    async with await asyncio.start_unix_server(greet, path):
        with pytest.raises(NoNodeError, match="no admin socket"):
            await ask(path, "status")
        with pytest.raises(NoNodeError, match="no admin socket"):
            await reactor.defer_to_thread(ask_blocking, path, "status")


def test_arguments_beyond_the_limit_are_refused_before_anything_is_sent(path: str) -> None:
    with pytest.raises(UsageError, match="65536"):
        ask_blocking(path, "echo", text="x" * 70_000)
