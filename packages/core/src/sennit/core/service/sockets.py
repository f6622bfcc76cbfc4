"""Listening sockets that outlive who listens.

A node gives its reactor a source of listening sockets (`Reactor.socket_source`). Whoever
listens gets a copy of the socket of its place, so that a service may listen where the one
that it replaces still does: both accept from one queue of the kernel, and no moment
refuses a connection. When the last of them has closed its copy, the place is free again
and the file of a Unix socket goes.

`LocalSockets` makes them in this process. Under a supervisor the same object lives there,
and `SupervisedSockets` asks it over a socket pair; the descriptor comes as SCM_RIGHTS
(unix(7)). So a supervisor needs to know of no service, and a worker that has given up its
privileges can still be given a privileged port that its configuration names.
"""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Asker", "LocalSockets", "SocketServer", "SupervisedSockets"]

LONGEST: Final = 8192
"""Octets of one question or answer."""

PATIENCE: Final = 10.0
"""Seconds after which a supervisor that does not answer is given up."""

Sockets = list[socket.socket]
Key = tuple[object, ...]


class _Place:
    """The socket or sockets of one place, and how many use them."""

    __slots__ = ("sockets", "unlink", "users")

    def __init__(self, sockets: Sockets, unlink: tuple[str, tuple[int, int]] | None) -> None:
        self.sockets = sockets
        self.unlink = unlink
        self.users = 0


class Asker:
    """Who asks for sockets, to tell places apart where the address does not.

    That is so at port 0, where everybody gets a port of its own; there the service and
    the order in which it asks are the name of the place.
    """

    __slots__ = ("_counts", "owner", "worker")

    def __init__(self, worker: int = 0) -> None:
        self.worker = worker
        self.owner = ""
        self._counts: dict[Key, int] = {}

    def preparing(self, owner: str) -> None:
        """The sockets that are asked for next are for this service."""
        self.owner = owner
        self._counts.clear()

    def key(self, kind: str, host: str, port: int, *more: object) -> Key:
        """The name of a place."""
        if port:
            return (kind, host, port, *more)
        key = (kind, host, *more, self.owner)
        count = self._counts[key] = self._counts.get(key, 0) + 1
        return (*key, count)


class LocalSockets:
    """Makes sockets, and remembers them while anybody listens there.

    Attributes:
        asker: Who asks now.
    """

    def __init__(self) -> None:
        self._places: dict[Key, _Place] = {}
        self.asker = Asker()

    def preparing(self, owner: str) -> None:
        """The sockets that are asked for next are for this service."""
        self.asker.preparing(owner)

    @property
    def places(self) -> tuple[Key, ...]:
        """Where anybody listens."""
        return tuple(self._places)

    def close(self) -> None:
        """Close every socket; nobody is to share them any more."""
        for key in list(self._places):
            self._forget(key)

    # ── what `Reactor.socket_source` has ──────────────────────────────────────

    def tcp(
        self, host: str, port: int, backlog: int, reuse_port: bool
    ) -> tuple[Sockets, Callable[[], object]]:
        """Listening at a numeric `host`, or at every interface where it is empty."""
        from sennit.core.transport.binding import tcp_sockets

        key = self.asker.key("tcp", host, port)
        return self._shared(
            key, lambda: tcp_sockets(host, port, backlog=backlog, reuse_port=reuse_port)
        )

    def unix(self, path: str, backlog: int, mode: int) -> tuple[Sockets, Callable[[], object]]:
        """Listening at a path, whose file goes with the last user."""
        from sennit.core.transport.binding import unix_socket

        return self._shared(
            ("unix", path), lambda: [unix_socket(path, backlog=backlog, mode=mode)], path
        )

    def fd(self, number: int) -> tuple[Sockets, Callable[[], object]]:
        """A copy of an inherited socket; the descriptor itself stays for the next."""
        return [socket.socket(fileno=os.dup(number))], _nothing

    def udp(self, host: str, port: int, reuse_port: bool) -> tuple[Sockets, Callable[[], object]]:
        """One datagram socket; a service that replaces another takes over its queue."""
        from sennit.core.transport.udp import udp_socket

        key = self.asker.key("udp", host, port, self.asker.worker)
        return self._shared(key, lambda: [udp_socket(host, port, reuse_port=reuse_port)])

    def _shared(
        self, key: Key, make: Callable[[], Sockets], path: str | None = None
    ) -> tuple[Sockets, Callable[[], object]]:
        place = self._places.get(key)
        if place is None:
            sockets = make()
            for each in sockets:
                # Blocking or not is one flag of all copies, in every process, and `dup` sets
                # it anew: a worker that others are faster than would wait in `accept`.
                each.setblocking(False)
            unlink = None
            if path is not None and not path.startswith("@"):
                found = os.lstat(path)
                unlink = path, (found.st_dev, found.st_ino)
            place = self._places[key] = _Place(sockets, unlink)
        copies = [each.dup() for each in place.sockets]
        place.users += 1
        waiting = [place]

        def release() -> None:
            if waiting:
                self._release(key, waiting.pop())

        return copies, release

    def _release(self, key: Key, place: _Place) -> None:
        place.users -= 1
        if not place.users and self._places.get(key) is place:
            self._forget(key)

    def _forget(self, key: Key) -> None:
        place = self._places.pop(key)
        for each in place.sockets:
            each.close()
        if place.unlink is not None:
            path, inode = place.unlink
            try:
                found = os.lstat(path)
                # Only what we made: somebody else may listen there by now.
                if (found.st_dev, found.st_ino) == inode:
                    os.unlink(path)
            except OSError:
                pass


def _nothing() -> None:
    """Nobody counts copies of an inherited descriptor."""


# ── over a socket pair ────────────────────────────────────────────────────────


class SupervisedSockets:
    """Asks the supervisor for each socket, and waits for the answer.

    It waits without turning the loop: that is for a moment, while nothing is served yet
    or a reload is under way, and needs no asynchronous path where sockets are bound.

    Args:
        channel: This end of the socket pair.
    """

    def __init__(self, channel: socket.socket) -> None:
        channel.settimeout(PATIENCE)
        self._channel = channel
        self._last = 0

    def preparing(self, owner: str) -> None:
        """The sockets that are asked for next are for this service."""
        self._ask({"do": "preparing", "owner": owner})

    def close(self) -> None:
        """Ask no more."""
        self._channel.close()

    def tcp(
        self, host: str, port: int, backlog: int, reuse_port: bool
    ) -> tuple[Sockets, Callable[[], object]]:
        """Listening at a numeric `host`; one socket for all workers."""
        return self._get(
            {"do": "tcp", "host": host, "port": port, "backlog": backlog, "reuse": reuse_port}
        )

    def unix(self, path: str, backlog: int, mode: int) -> tuple[Sockets, Callable[[], object]]:
        """Listening at a path; one socket for all workers."""
        path = path if path.startswith("@") else os.path.abspath(path)
        return self._get({"do": "unix", "path": path, "backlog": backlog, "mode": mode})

    def fd(self, number: int) -> tuple[Sockets, Callable[[], object]]:
        """A copy of a descriptor that came through the supervisor."""
        return [socket.socket(fileno=os.dup(number))], _nothing

    def udp(self, host: str, port: int, reuse_port: bool) -> tuple[Sockets, Callable[[], object]]:
        """This worker's own among those that share the port (SO_REUSEPORT, socket(7))."""
        return self._get({"do": "udp", "host": host, "port": port})

    def _get(self, question: dict[str, object]) -> tuple[Sockets, Callable[[], object]]:
        answer, sockets = self._ask(question)
        waiting = [answer["place"]]

        def release() -> None:
            if waiting:
                try:
                    self._ask({"do": "release", "place": waiting.pop()})
                except OSError:
                    pass  # the supervisor has gone, and its sockets with it

        return sockets, release

    def _ask(self, question: dict[str, object]) -> tuple[dict[str, Any], Sockets]:
        """One question, one answer.

        Raises:
            OSError: What the supervisor met, or that it does not answer.
        """
        self._last += 1
        question["id"] = self._last
        self._channel.sendall(json.dumps(question).encode() + b"\n")
        late: list[int] = []
        while True:
            answer, sockets = self._receive()
            if answer["id"] == question["id"]:
                break
            # To a question that was given up: it came too late.
            for each in sockets:
                each.close()
            if "place" in answer:
                late.append(answer["place"])
        for place in late:
            self._ask({"do": "release", "place": place})
        if "errno" in answer:
            raise OSError(answer["errno"], answer["problem"])
        return answer, sockets

    def _receive(self) -> tuple[dict[str, Any], Sockets]:
        """One answer."""
        data = b""
        sockets: Sockets = []
        while not data.endswith(b"\n"):
            piece, fds, _, _ = socket.recv_fds(self._channel, LONGEST, 16)
            for each in fds:
                # `recv_fds` lets children inherit them.
                os.set_inheritable(each, False)
                sockets.append(socket.socket(fileno=each))
            if not piece:
                raise ConnectionResetError("the supervisor has gone")
            data += piece
        # Where several came at once the last has the descriptors, which end a read (unix(7)).
        found: dict[str, Any] = json.loads(data.splitlines()[-1])
        return found, sockets


class SocketServer:
    """The supervisor's end: answers one worker.

    Args:
        sockets: Where all workers' sockets are.
        channel: This end of the socket pair; non-blocking.
        number: The worker's number, to tell datagram sockets apart.
    """

    def __init__(self, sockets: LocalSockets, channel: socket.socket, number: int) -> None:
        self._sockets = sockets
        self._channel = channel
        self._asker = Asker(number)
        self._data = b""
        self._next = 0
        self._held: dict[int, Callable[[], object]] = {}

    def readable(self) -> bool:
        """Answer what the worker asked; false when it asks no more."""
        try:
            piece = self._channel.recv(LONGEST)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._data += piece
        while b"\n" in self._data:
            line, _, self._data = self._data.partition(b"\n")
            try:
                self._answer(json.loads(line))
            except (OSError, ValueError, KeyError, TypeError):
                # A worker that is ended right now, or out of its mind.
                return False
        return bool(piece) and len(self._data) <= LONGEST

    def close(self) -> list[Callable[[], object]]:
        """The worker has gone.

        Returns:
            What lets its places go: to be called now, or, where another worker is to follow
            it, when that listens there too.
        """
        self._channel.close()
        held, self._held = self._held, {}
        return list(held.values())

    def _answer(self, question: dict[str, Any]) -> None:
        do = question["do"]
        sockets: Sockets = []
        answer: dict[str, object] = {}
        number = question["id"]
        if do == "preparing":
            self._asker.preparing(str(question["owner"]))
        elif do == "release":
            self._held.pop(int(question["place"]), _nothing)()
        else:
            try:
                sockets, release = self._make(do, question)
            except OSError as error:
                answer = {"errno": error.errno, "problem": error.strerror or str(error)}
            else:
                self._next += 1
                self._held[self._next] = release
                answer = {"place": self._next}
        try:
            socket.send_fds(
                self._channel,
                [json.dumps({"id": number, **answer}).encode() + b"\n"],
                [each.fileno() for each in sockets],
            )
        finally:
            for each in sockets:
                each.close()

    def _make(self, do: str, question: dict[str, Any]) -> tuple[Sockets, Callable[[], object]]:
        # Workers ask at the same time, each for the services of its own.
        sockets = self._sockets
        sockets.asker = self._asker
        if do == "tcp":
            return sockets.tcp(
                str(question["host"]),
                int(question["port"]),
                int(question["backlog"]),
                bool(question["reuse"]),
            )
        if do == "unix":
            return sockets.unix(
                str(question["path"]), int(question["backlog"]), int(question["mode"])
            )
        if do == "udp":
            return sockets.udp(str(question["host"]), int(question["port"]), True)
        raise ValueError(f"there is no socket of kind {do!r}")
