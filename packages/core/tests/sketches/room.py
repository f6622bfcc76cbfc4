"""A sketch of fan-out: what one member says, all others are told, encoded once."""

from __future__ import annotations

from dataclasses import dataclass

from packages.core.tests.sketches.lines import Lines, LineTooLongError
from sennit.core.driver import EngineProtocol, handles
from sennit.core.engine import CLOSED, NEED_DATA, SOLE, NoEvent, PeerFault, Untimed

MAX_LINE = 512


@dataclass(slots=True)
class Said:
    text: bytes
    exchange: int = SOLE


Event = Said | PeerFault


class RoomEngine(Untimed):
    """One member's connection."""

    def __init__(self) -> None:
        self._lines = Lines(MAX_LINE)
        self._out: list[bytes] = []
        self._over = False
        self._closed = False

    def receive_data(self, data: bytes) -> None:
        if not self._closed:
            self._lines.feed(data)

    def receive_eof(self) -> None:
        self._over = True

    def close(self) -> None:
        self._over = True

    def next_event(self) -> Event | NoEvent:
        if self._closed:
            return CLOSED
        try:
            line = self._lines.next_line()
        except LineTooLongError as error:
            self._out.append(b"! too long\r\n")
            self._lines.clear()
            self._closed = True
            return PeerFault(error)
        if line is not None:
            return Said(line)
        if self._over:
            self._closed = True
            return CLOSED
        return NEED_DATA

    @staticmethod
    def encode(text: bytes) -> bytes:
        return text + b"\r\n"

    def relay(self, octets: bytes) -> None:
        """Queue a message that was encoded already."""
        self._out.append(octets)

    def data_to_send(self) -> list[bytes]:
        out = self._out
        if out:
            self._out = []
        return out

    def release(self) -> bytes:
        self._closed = True
        self._out.clear()
        return self._lines.clear()

    def internal_error(self, exchange: int) -> None:
        self.relay(b"! internal error\r\n")


class Member(EngineProtocol[RoomEngine, Event]):
    """One member; one that does not keep up is dropped, nobody waits for it."""

    def __init__(self, members: set[Member]) -> None:
        super().__init__(RoomEngine())
        self.members = members

    def connection_made(self, transport: object) -> None:
        super().connection_made(transport)
        self.members.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.members.discard(self)
        super().connection_lost(exc)

    @handles(Said)
    def tell_all(self, event: Said) -> None:
        octets = self.engine.encode(event.text)
        for member in list(self.members):
            if not member.push(member.engine.relay, octets):
                self.members.discard(member)
                member.transport.abort("limit:too-slow")
