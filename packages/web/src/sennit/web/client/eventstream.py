"""Reading text/event-stream, without I/O: octets in, server-sent events out.

`EventParser.feed` takes what came, cut anywhere, and gives the events that are
complete. It never raises on what a server sends: an event that is too large ends the
stream as a fault, `EventParser.fault`.

Source: WHATWG HTML §9.2.5 (parsing), §9.2.6 (interpreting).
Elsewhere: connecting, and connecting again (``eventsource.py``); the server's side
(``sennit.web.sse``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["EventParser", "ServerSentEvent"]

MAX_EVENT: Final = 1024 * 1024
"""Octets of one event."""
MAX_RETRY: Final = 24 * 3600 * 1000
"""Milliseconds that a server may ask to be left alone: a day."""


@dataclass(slots=True)
class ServerSentEvent:
    """One event.

    Attributes:
        data: Its lines, joined by line feeds.
        event: Its type; ``message`` where the server names none.
        id: The last id the server has given, here or before; empty where it gave none.
    """

    data: str
    event: str = "message"
    id: str = ""


class EventParser:
    """One stream of events.

    Args:
        max_event: Octets of one event at most.
        last_id: The id that the stream goes on after.

    Attributes:
        last_id: The last id that came; goes into Last-Event-ID.
        retry: Milliseconds that the server wants between connections; ``None`` for
            what the client likes.
        fault: What ended the stream before its time, or ``None``.
    """

    def __init__(self, max_event: int = MAX_EVENT, last_id: str = "") -> None:
        self._max_event = max_event
        self._line: list[bytes] = []
        self._line_size = 0
        self._begun = False
        self._after_cr = False
        self._data: list[str] = []
        self._size = 0
        self._type = ""
        self._id = last_id
        self.last_id = last_id
        self.retry: int | None = None
        self.fault: str | None = None

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """The events that are complete now that this came too."""
        found: list[ServerSentEvent] = []
        if self.fault is not None or not data:
            return found
        if self._after_cr:
            # The feed behind a return that ended the last piece belongs to it.
            self._after_cr = False
            if data.startswith(b"\n"):
                data = data[1:]
                if not data:
                    return found
        self._after_cr = data.endswith(b"\r")
        lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines[:-1]:
            if self._line:
                self._line.append(line)
                line = b"".join(self._line)
                self._line.clear()
                self._line_size = 0
            self._take(line, found)
            if self.fault is not None:
                return found
        rest = lines[-1]
        if rest:
            self._line.append(rest)
            self._line_size += len(rest)
            if self._line_size + self._size > self._max_event:
                self._fail()
        return found

    def _fail(self) -> None:
        self.fault = f"an event of more than {self._max_event} octets"
        self._line.clear()
        self._data.clear()

    def _take(self, line: bytes, found: list[ServerSentEvent]) -> None:
        if not self._begun:
            self._begun = True
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            self._dispatch(found)
            return
        self._size += len(line) + 1
        if self._size > self._max_event:
            self._fail()
            return
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id":
            if "\0" not in value:
                self._id = value
        elif name == "retry":
            if value.isascii() and value.isdigit():
                self.retry = int(value) if len(value) < 12 else MAX_RETRY
                self.retry = min(self.retry, MAX_RETRY)
        elif not name:
            self._size -= len(line) + 1  # a comment, which keeps the connection awake for ever

    def _dispatch(self, found: list[ServerSentEvent]) -> None:
        self.last_id = self._id
        data, kind = self._data, self._type
        self._data, self._type, self._size = [], "", 0
        if data:
            found.append(ServerSentEvent("\n".join(data), kind or "message", self.last_id))
