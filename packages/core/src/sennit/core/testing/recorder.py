r"""Recording a conversation: around either side's protocols, or as a proxy between two others.

::

    recorder = Recorder(secrets=[rb"AUTH PLAIN (\S+)"])
    async with serve("tcp://127.0.0.1:2525", recorder.around_server(Mail)):
        ...
    recorder.save("conversations/mail.txt")

What the file looks like, and how it is played: ``conversation.py``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sennit.core.policy.wrapper import ProtocolWrapper, TransportWrapper, WrappingFactory
from sennit.core.testing.conversation import ANYTHING, Conversation, Step, escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from typing import Any, Literal

    from sennit.core.deferred import Deferred as _Deferred
    from sennit.core.endpoint.listen import Server
    from sennit.core.interfaces import Buffer, IStreamProtocol, IStreamTransport
    from sennit.core.protocol import ProtocolFactory
    from sennit.core.stream import Stream
    from sennit.core.testing.conversation import Side

__all__ = ["Recorder"]


class Recorder:
    """Records one conversation.

    Args:
        secrets: Regular expressions of what must not be in the file: their groups, or all
            that matches where they have none, are replaced by ``…``. They see all that
            one side says at a time, before the other speaks.
        about: For the first line of the file.
    """

    def __init__(
        self, *, secrets: Iterable[bytes | re.Pattern[bytes]] = (), about: str = ""
    ) -> None:
        self._secrets = [re.compile(each) for each in secrets]
        self._about = about
        self._events: list[tuple[Side, str, float, bytes]] = []
        self._began: float | None = None
        self._now: Callable[[], float] = _no_time

    def __repr__(self) -> str:
        """How much there is."""
        return f"<Recorder of {len(self._events)} events>"

    # ── where to listen ───────────────────────────────────────────────────────

    def around_server(self, factory: ProtocolFactory) -> WrappingFactory:
        """A factory of servers' protocols that are recorded (one connection, the first)."""
        return WrappingFactory(factory, lambda protocol: self._wear(protocol, "server"))

    def around_client(self, factory: ProtocolFactory) -> WrappingFactory:
        """A factory of clients' protocols that are recorded (one connection, the first)."""
        return WrappingFactory(factory, lambda protocol: self._wear(protocol, "client"))

    def _wear(self, protocol: IStreamProtocol, side: Side) -> IStreamProtocol:
        return _Recorded(protocol, self, side)

    def proxy(self, url: str, target: str, **options: Any) -> Server:
        """A server at `url` that passes the connection on to `target`, and records it.

        Args:
            url: Where the client shall connect to.
            target: Where the server is.
            options: For `sennit.core.connect`, such as ``tls``.
        """
        from sennit.core.endpoint.connect import open_stream
        from sennit.core.endpoint.listen import serve
        from sennit.core.stream import StreamProtocol, pump

        async def pass_on(stream: Stream) -> None:
            import asyncio

            async with await open_stream(target, **options) as there, asyncio.TaskGroup() as both:
                both.create_task(pump(stream, there, end=True))
                both.create_task(pump(there, stream, end=True))

        return serve(url, self.around_server(lambda: StreamProtocol(pass_on)))

    # ── what is heard ─────────────────────────────────────────────────────────

    def begin(self, reactor: Any) -> bool:
        """A connection stands (`Any`: a reactor or a clock); whether it is the first."""
        if self._began is not None:
            return False
        self._now = reactor.time
        self._began = self._now()
        return True

    def add(self, side: Side, kind: str, data: bytes = b"") -> None:
        """Something was said."""
        if kind in {"end", "reset"} and any(
            each[0] == side and each[1] in {"end", "reset"} for each in self._events
        ):
            return
        self._events.append((side, kind, self._now() - (self._began or 0.0), data))

    # ── what becomes of it ────────────────────────────────────────────────────

    @property
    def conversation(self) -> Conversation:
        """What was recorded so far."""
        steps: list[Step] = []
        at = 0
        while at < len(self._events):
            side, kind, when, data = self._events[at]
            at += 1
            if kind != "data":
                ends: Literal["end", "reset"] = "end" if kind == "end" else "reset"
                steps.append(Step(side, ends, when))
                continue
            run = [(when, data)]
            while at < len(self._events) and self._events[at][:2] == (side, "data"):
                run.append(self._events[at][2:])
                at += 1
            steps += self._lines(side, run)
        return Conversation(steps, about=self._about)

    def save(self, path: str | Path) -> None:
        """Write the file."""
        self.conversation.save(path)

    def _lines(self, side: Side, run: list[tuple[float, bytes]]) -> list[Step]:
        """What one side said at a time, a step for each line of text."""
        whole = b"".join(data for _, data in run)
        hidden = self._hidden(whole)
        starts: list[tuple[int, float]] = []
        size = 0
        for when, data in run:
            starts.append((size, when))
            size += len(data)
        steps: list[Step] = []
        at = 0
        for line in whole.splitlines(keepends=True) if whole.isascii() else _cut(whole):
            when = max(when for start, when in starts if start <= at)
            text = ""
            position = at
            for start, end in hidden:
                if start >= at + len(line) or end <= at:
                    continue
                text += escape(whole[position : max(start, position)], inside=True)
                if not text.endswith(ANYTHING):
                    text += ANYTHING
                position = min(end, at + len(line))
            text += escape(whole[position : at + len(line)])
            steps.append(Step(side, "data", when, text))
            at += len(line)
        return steps

    def _hidden(self, octets: bytes) -> list[tuple[int, int]]:
        """Where secrets are, in order and apart."""
        spans: list[tuple[int, int]] = []
        for secret in self._secrets:
            for match in secret.finditer(octets):
                groups = range(1, secret.groups + 1) if secret.groups else (0,)
                taken = [match.span(each) for each in groups]
                spans += [(start, end) for start, end in taken if end > start]
        found: list[tuple[int, int]] = []
        for start, end in sorted(spans):
            if found and start <= found[-1][1]:
                found[-1] = (found[-1][0], max(end, found[-1][1]))
            else:
                found.append((start, end))
        return found


def _cut(octets: bytes) -> list[bytes]:
    """Lines of what is no text: at line feeds, and not too long."""
    return re.findall(rb"[^\n]{1,64}\n?|\n", octets)


def _no_time() -> float:
    return 0.0


class _Recorded(ProtocolWrapper):
    """A protocol whose conversation is recorded."""

    __slots__ = ("_other", "_recorder", "_recording", "_side")

    def __init__(self, wrapped: IStreamProtocol, recorder: Recorder, side: Side) -> None:
        super().__init__(wrapped)
        self._recorder = recorder
        self._recording = False
        self._side: Side = side
        self._other: Side = "client" if side == "server" else "server"

    def connection_made(self, transport: IStreamTransport) -> None:
        """Begin."""
        self._recording = self._recorder.begin(transport.get_extra_info("reactor"))
        if self._recording:
            recorded: Any = _RecordedTransport(transport, self._recorder, self._side)
            self.wrapped.connection_made(recorded)
        else:
            self.wrapped.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """The other side speaks."""
        if self._recording:
            self._recorder.add(self._other, "data", bytes(data))
        self.wrapped.data_received(data)

    def eof_received(self) -> bool | None:
        """The other side says no more."""
        if self._recording:
            self._recorder.add(self._other, "end")
        return self.wrapped.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has gone."""
        if self._recording and exc is None:
            # Closed for it because the other side had ended, if not by itself.
            self._recorder.add(self._side, "end")
        elif self._recording and getattr(exc, "reason", "") == "reset":
            self._recorder.add(self._other, "reset")
        self.wrapped.connection_lost(exc)


class _RecordedTransport(TransportWrapper):
    """A transport whose protocol's words are recorded."""

    __slots__ = ("_recorder", "_side")

    def __init__(self, wrapped: IStreamTransport, recorder: Recorder, side: Side) -> None:
        super().__init__(wrapped)
        self._recorder = recorder
        self._side: Side = side

    def write(self, data: Buffer) -> None:
        """This side speaks."""
        octets = bytes(data)
        if octets and not self.wrapped.is_closing():
            self._recorder.add(self._side, "data", octets)
        self.wrapped.write(octets)

    def writelines(self, pieces: Iterable[Buffer]) -> None:
        """This side speaks."""
        self.write(b"".join(bytes(each) for each in pieces))

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> _Deferred[int]:
        """This side says what is in a file (`Any`: open for reading)."""
        here = file.tell()
        file.seek(offset)
        octets = file.read(-1 if count is None else count)
        file.seek(here)
        self._recorder.add(self._side, "data", octets)
        return self.wrapped.sendfile(file, offset, count)

    def write_eof(self) -> None:
        """This side says no more."""
        self._recorder.add(self._side, "end")
        self.wrapped.write_eof()

    def close(self, reason: str = "clean") -> None:
        """This side ends the connection."""
        if not self.wrapped.is_closing():
            self._recorder.add(self._side, "end")
        self.wrapped.close(reason)

    def abort(self, reason: str = "aborted") -> None:
        """This side breaks the connection."""
        if not self.wrapped.is_closing():
            self._recorder.add(self._side, "reset")
        self.wrapped.abort(reason)
