"""The admin socket: commands to a running program, as lines of JSON over a Unix socket.

A request is one line, ``{"command": "status", "arguments": {"name": "site"}}``,
and so is its answer: ``{"ok": …}``, or ``{"error": "…", "kind": "usage"}``.
Requests of one connection are answered one after the other, in order. What
answers is any object with ``async command(name, arguments)`` (`Administered`):
a node (``commands.py``), or a supervisor that asks its workers.

The socket is for the user that runs the program, and root: its mode is 0600, its
folder must be one that nobody else can write to, and on Linux the peer's user is
checked too (SO_PEERCRED). A socket file that is there already is replaced when
nobody listens on it any more (HARDENING fault-19).

`ask` is the client for coroutines, `ask_blocking` the one for commands, which
loads neither reactor nor asyncio.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import struct
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from sennit.core.errors import (
    ConnectionLost,
    EndOfStreamError,
    ProtocolError,
    SennitError,
    UsageError,
)

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Awaitable, Mapping

    from sennit.core.reactor.base import Reactor
    from sennit.core.stream import Stream
    from sennit.core.transport.listening import Listener

__all__ = [
    "AdminError",
    "AdminServer",
    "Administered",
    "CommandError",
    "NoNodeError",
    "UnknownCommandError",
    "ask",
    "ask_blocking",
    "check_path",
]

MAX_REQUEST: Final = 64 * 1024
"""Octets of one request."""

MAX_ANSWER: Final = 32 * 1024 * 1024
"""Octets of one answer."""

MAX_CLIENTS: Final = 16
"""Connections at one time; one more is closed at once."""

IDLE: Final = 60.0
"""Seconds that a client may wait before its next request."""

LONGEST_PATH: Final = 107
"""Octets of a socket's path (unix(7): 108 with the NUL at the end)."""


class AdminError(SennitError):
    """Something with the admin socket went wrong."""


class NoNodeError(AdminError):
    """Nobody answers at an admin socket.

    Attributes:
        path: Where it was looked for.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"no running node answers at {path}: {problem}")
        self.path = path


class CommandError(AdminError):
    """The program has refused a command, or failed at it.

    Attributes:
        kind: ``usage`` when the command was wrong, ``unknown`` when there is
            none of that name, ``failed`` when it could not be done.
    """

    def __init__(self, problem: str, kind: str = "failed") -> None:
        super().__init__(problem)
        self.kind = kind


class UnknownCommandError(UsageError):
    """`Administered.command` was asked for a command that it does not have."""


class Administered(Protocol):
    """Whoever can be told commands."""

    def command(self, name: str, arguments: Mapping[str, Any]) -> Awaitable[object]:
        """Do it, and say what came of it.

        Args:
            name: The command, such as ``status``.
            arguments: Its arguments by name, as JSON has them.

        Returns:
            What `json.dumps` takes.

        Raises:
            UnknownCommandError: There is no such command.
            UsageError: Its arguments are wrong.
            SennitError: It could not be done; the text is for a person.
        """
        ...


# ── the server ────────────────────────────────────────────────────────────────


class AdminServer:
    """Answers commands at a Unix socket.

    Args:
        administered: Who does what is asked for.
        path: Where the socket is made. Its folder is made too (mode 0700) if it
            is not there.
        reactor: The current one when left out.
    """

    def __init__(
        self,
        administered: Administered,
        path: str | os.PathLike[str],
        reactor: Reactor | None = None,
    ) -> None:
        self._administered = administered
        self._path = os.fspath(path)
        self._reactor = reactor
        self._listener: Listener | None = None
        self._handlers: set[Task[Any]] = set()

    def __repr__(self) -> str:
        return f"<AdminServer {self._path}{'' if self._listener else ' closed'}>"

    @property
    def path(self) -> str:
        """Where it listens."""
        return self._path

    async def start(self) -> AdminServer:
        """Listen.

        Raises:
            OSError: Somebody listens there already (EADDRINUSE), another file is
                there (EEXIST), or the folder is not for us alone (EPERM).
        """
        from sennit.core.policy.limits import ConnectionLimits
        from sennit.core.reactor.base import current_reactor
        from sennit.core.stream import stream_handler
        from sennit.core.transport.listening import listen_unix

        reactor = self._reactor or current_reactor()
        check_path(self._path, create=True)
        factory = stream_handler(self._serve, receive_buffer=MAX_REQUEST)
        listener = await listen_unix(
            reactor,
            factory,
            self._path,
            mode=0o600,
            limits=ConnectionLimits(max_connections=MAX_CLIENTS),
        )
        self._listener = cast("Listener", listener)
        self._listener.label = "admin"
        return self

    async def close(self) -> None:
        """Remove the socket; commands that run are cancelled."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
            for transport in list(listener.connections):
                transport.abort("drained")
            # Those of connections that have gone by themselves may still be ending.
            handlers = list(self._handlers)
            for each in handlers:
                each.cancel()
            if handlers:
                from asyncio import wait

                await wait(handlers)

    async def __aenter__(self) -> AdminServer:
        """Listen."""
        return await self.start()

    async def __aexit__(self, *exc: object) -> None:
        """`close`."""
        await self.close()

    async def _serve(self, stream: Stream) -> None:
        from asyncio import current_task

        if not _may_command(stream):
            stream.abort("limit:user")
            return
        task = cast("Task[Any]", current_task())
        self._handlers.add(task)
        try:
            await self._converse(stream)
        finally:
            self._handlers.discard(task)

    async def _converse(self, stream: Stream) -> None:
        from asyncio import timeout

        while True:
            try:
                async with timeout(IDLE):
                    line = await stream.read_line(MAX_REQUEST, end=b"\n")
            except ProtocolError:
                problem = f"a request of more than {MAX_REQUEST} octets"
                await stream.send_all(_encode(_refusal(problem, "usage")))
                return
            except (EndOfStreamError, TimeoutError):
                return
            answer = _encode(await self._answer(line))
            try:
                async with timeout(IDLE):
                    await stream.send_all(answer)
            except (ConnectionLost, TimeoutError):
                return  # did not wait for it, or does not read it

    async def _answer(self, line: bytes) -> dict[str, object]:
        request = _parse_request(line)
        if isinstance(request, str):
            return _refusal(request, "usage")
        name, arguments = request
        try:
            return {"ok": await self._administered.command(name, arguments)}
        except UnknownCommandError as error:
            return _refusal(str(error), "unknown")
        except UsageError as error:
            return _refusal(str(error), "usage")
        except (SennitError, TimeoutError, OSError) as error:
            return _refusal(str(error) or type(error).__name__, "failed")
        except Exception as error:
            import logging

            logging.getLogger("sennit.admin").error("command %r failed", name[:80], exc_info=error)
            return _refusal(f"internal error: {type(error).__name__}: {error}", "failed")


def _refusal(problem: str, kind: str) -> dict[str, object]:
    return {"error": problem, "kind": kind}


def _parse_request(line: bytes) -> tuple[str, dict[str, Any]] | str:
    """Command and arguments, or what is wrong with the line."""
    try:
        request: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"a request is one line of JSON: {error}"
    if not isinstance(request, dict):
        return 'a request is an object: {"command": …, "arguments": {…}}'
    fields = cast("dict[str, Any]", request)
    name, arguments = fields.get("command"), fields.get("arguments", {})
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return '"command" is a string, "arguments" an object'
    return name, cast("dict[str, Any]", arguments)


def _encode(answer: dict[str, object]) -> bytes:
    """One line, within its limit, whatever the command has returned."""
    try:
        data = json.dumps(answer, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        data = json.dumps(_refusal(f"the answer is not JSON: {error}", "failed")).encode()
    if len(data) > MAX_ANSWER:
        problem = f"the answer has {len(data)} octets; ask for less of it"
        data = json.dumps(_refusal(problem, "failed")).encode()
    return data + b"\n"


def _may_command(stream: Stream) -> bool:
    """Whether the peer is this user or root, where the kernel tells (SO_PEERCRED, unix(7))."""
    option = getattr(socket, "SO_PEERCRED", None)
    sock = stream.transport.get_extra_info("socket")
    if option is None or sock is None:
        return True
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, option, 12))
    return uid in (0, os.geteuid())


def check_path(path: str, *, create: bool = False) -> None:
    """See that nobody else can put a socket at `path`.

    Args:
        path: Where the socket is, or is to be.
        create: Make the folder if it is not there.

    Raises:
        OSError: The path is too long (ENAMETOOLONG), or others can write to its
            folder (EPERM).
    """
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise OSError(
            errno.ENAMETOOLONG,
            f"the path of a socket has at most {LONGEST_PATH} octets: {path}",
        )
    folder = os.path.dirname(path) or "."
    if create:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    status = os.stat(folder)
    if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        raise OSError(
            errno.EPERM,
            f"others can write to {folder}, where the admin socket is to be: chmod go-w {folder}",
        )
    if status.st_uid not in (0, os.geteuid()) and not status.st_mode & stat.S_ISVTX:
        raise OSError(errno.EPERM, f"{folder} belongs to another user (uid {status.st_uid})")


# ── the clients ───────────────────────────────────────────────────────────────


async def ask(
    path: str | os.PathLike[str],
    command: str,
    /,
    *,
    reactor: Reactor | None = None,
    timeout: float | None = 30.0,
    **arguments: Any,  # Any: whatever JSON takes
) -> Any:  # Any: whatever JSON gives
    """Tell the program at `path` a command, and wait for what comes of it.

    Args:
        path: Its admin socket.
        command: Such as ``status``.
        reactor: The current one when left out.
        timeout: Seconds to wait in all; ``None``: as long as it takes.
        arguments: Of the command.

    Raises:
        NoNodeError: Nobody answers there.
        CommandError: It was refused, or failed.
    """
    import asyncio

    from sennit.core.endpoint.connect import connect_unix
    from sennit.core.reactor.base import current_reactor
    from sennit.core.stream import StreamProtocol

    where = os.fspath(path)
    loop_reactor = reactor or current_reactor()
    request = _request(command, arguments)
    try:
        async with asyncio.timeout(timeout):
            protocol = await connect_unix(
                loop_reactor, lambda: StreamProtocol(receive_buffer=256 * 1024), where
            )
            stream = cast("StreamProtocol", protocol).stream
            try:
                await stream.send_all(request)
                line = await stream.read_line(MAX_ANSWER, end=b"\n")
            finally:
                stream.abort()
    except TimeoutError:
        raise NoNodeError(where, f"no answer within {timeout:g} seconds") from None
    except (EndOfStreamError, ConnectionLost, ProtocolError):
        raise NoNodeError(where, "it has closed the connection") from None
    except OSError as error:
        raise NoNodeError(where, error.strerror or str(error)) from error
    return _result(where, line)


def ask_blocking(
    path: str | os.PathLike[str],
    command: str,
    /,
    *,
    timeout: float | None = 30.0,
    **arguments: Any,  # Any: whatever JSON takes
) -> Any:  # Any: whatever JSON gives
    """`ask`, for programs without a loop: it keeps the calling thread until the answer is there."""
    from time import monotonic

    where = os.fspath(path)
    deadline = None if timeout is None else monotonic() + timeout
    request = _request(command, arguments)
    pieces: list[bytes] = []
    size = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.settimeout(timeout)
            sock.connect(where)
            sock.sendall(request)
            while True:
                if deadline is not None:
                    sock.settimeout(max(deadline - monotonic(), 0.001))
                piece = sock.recv(256 * 1024)
                size += len(piece)
                if not piece or size > MAX_ANSWER:
                    raise NoNodeError(where, "it has closed the connection")
                pieces.append(piece)
                if piece.endswith(b"\n"):
                    break
        except TimeoutError:
            raise NoNodeError(where, f"no answer within {timeout:g} seconds") from None
        except FileNotFoundError:
            raise NoNodeError(where, "there is no such socket") from None
        except ConnectionRefusedError:
            raise NoNodeError(where, "nobody listens there any more") from None
        except OSError as error:
            raise NoNodeError(where, error.strerror or str(error)) from error
    return _result(where, b"".join(pieces))


def _request(command: str, arguments: Mapping[str, Any]) -> bytes:
    data = json.dumps({"command": command, "arguments": arguments}).encode()
    if len(data) > MAX_REQUEST:
        raise UsageError(f"a command has at most {MAX_REQUEST} octets, arguments included")
    return data + b"\n"


def _result(path: str, line: bytes) -> Any:  # Any: whatever JSON gives
    try:
        answer: Any = json.loads(line)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict):
        fields = cast("dict[str, Any]", answer)
        if "ok" in fields:
            return fields["ok"]
        if "error" in fields:
            raise CommandError(str(fields["error"]), str(fields.get("kind", "failed")))
    raise NoNodeError(path, f"what answers is no admin socket: {line[:80]!r}")
