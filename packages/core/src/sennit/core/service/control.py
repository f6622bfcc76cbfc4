"""What supervisor and worker say to each other: questions, answers and notices.

Each is a frame of JSON with its length in front, over a socket pair:

* ``{"ask": "prepare", "id": 7, "arguments": {…}}`` is answered by ``{"id": 7, "ok": …}``
  or ``{"id": 7, "error": "…", "kind": "failed"}``;
* ``{"tell": "ready", "arguments": {…}}`` is not.

Both ends ask and tell. When the other end has gone, whatever waits fails.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from sennit.core.deferred import Deferred, maybe_deferred
from sennit.core.errors import ConnectionLost, SennitError, UsageError
from sennit.core.framing.prefix import PrefixProtocol

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from sennit.core.reactor.base import Reactor

__all__ = ["Control", "ControlError"]

MAX_FRAME: Final = 64 * 1024 * 1024
"""Octets of one frame: the state of a hundred thousand connections fits."""


class ControlError(SennitError):
    """The other end could not do what it was asked.

    Attributes:
        kind: ``usage``, ``unknown`` or ``failed``, as at the admin socket.
    """

    def __init__(self, problem: str, kind: str = "failed") -> None:
        super().__init__(problem)
        self.kind = kind


class Control(PrefixProtocol):
    """One end.

    Args:
        reactor: Who waits for it.
        answer: ``answer(name, arguments)``: does what is asked, and returns what JSON
            takes, or an awaitable of that.
        told: ``told(name, arguments)``: takes notices.
        gone: Called when the other end has gone.
    """

    max_length = MAX_FRAME

    def __init__(
        self,
        reactor: Reactor,
        answer: Callable[[str, Mapping[str, Any]], object],
        told: Callable[[str, Mapping[str, Any]], object],
        gone: Callable[[], object],
    ) -> None:
        super().__init__()
        self._reactor = reactor
        self._answer = answer
        self._told = told
        self._gone = gone
        self._next = 0
        self._waiting: dict[int, Deferred[Any]] = {}
        self._lost = False

    def attach(self, sock: socket.socket) -> None:
        """Talk over a connected socket, which is this object's own from now on."""
        from sennit.core.transport.stream import SocketTransport

        sock.setblocking(False)
        transport = SocketTransport(self._reactor, sock, self)
        # A long answer must not end the connection, and with it the worker.
        transport.set_write_buffer_limits(hard=4 * MAX_FRAME)
        transport.start()

    def tell(self, what: str, /, **arguments: object) -> None:
        """Give notice; nothing happens when the other end has gone."""
        if not self._lost:
            self._send({"tell": what, "arguments": arguments})

    def ask(
        self, what: str, /, *, timeout: float | None = 30.0, **arguments: object
    ) -> Deferred[Any]:
        """Ask, and get the answer.

        Fails with `ControlError` where the other end could not, `ConnectionLost` where it
        has gone, `TimeoutError` where it does not answer.
        """
        waiting: Deferred[Any] = Deferred(lambda _: self._waiting.pop(number, None))
        self._next += 1
        number = self._next
        if self._lost:
            waiting.errback(ConnectionLost("the other process has gone"))
            return waiting
        self._waiting[number] = waiting
        self._send({"ask": what, "id": number, "arguments": arguments})
        return waiting if timeout is None else waiting.timeout(timeout, self._reactor)

    def close(self) -> None:
        """Say no more."""
        if not self._lost:
            self.transport.close()

    def _send(self, message: dict[str, object]) -> None:
        self.send_frame(json.dumps(message, separators=(",", ":")).encode())

    def frame_received(self, frame: bytes) -> None:
        message: dict[str, Any] = json.loads(frame)
        if "ask" in message:
            self._asked(message["id"], message["ask"], message["arguments"])
        elif "tell" in message:
            self._told(message["tell"], message["arguments"])
        else:
            waiting = self._waiting.pop(message["id"], None)
            if waiting is None or waiting.called:
                return
            if "error" in message:
                waiting.errback(ControlError(message["error"], message["kind"]))
            else:
                waiting.callback(message["ok"])

    def _asked(self, number: int, name: str, arguments: Mapping[str, Any]) -> None:
        def done(value: object) -> None:
            if not self._lost:
                try:
                    self._send({"id": number, "ok": value})
                except (TypeError, ValueError) as error:
                    self._send({"id": number, "error": f"no answer: {error}", "kind": "failed"})

        def failed(error: BaseException) -> None:
            kind = getattr(error, "kind", "usage" if isinstance(error, UsageError) else "failed")
            text = str(error) or type(error).__name__
            if not isinstance(error, (SennitError, OSError, TimeoutError)):
                self._reactor.report(error, f"while {name!r} was done")
                text = f"internal error: {type(error).__name__}: {error}"
            if not self._lost:
                self._send({"id": number, "error": text, "kind": kind})

        maybe_deferred(self._answer, name, arguments).add_callbacks(done, failed)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._lost = True
        waiting, self._waiting = self._waiting, {}
        for each in waiting.values():
            if not each.called:
                each.errback(ConnectionLost("the other process has gone"))
        self._gone()
