"""The access log: one line per request, written by a thread that may block.

The loop only appends to a list. Twice a second, or when much has gathered, the
list goes to the thread; when the thread cannot keep up (a full disk, a pipe that
nobody reads) lines are dropped and counted, and the count is written once there
is room again.

What a client supplied is escaped: quotes, backslashes, control octets and
everything beyond ASCII, so that one request is one line and a terminal that
shows it stays as it is (HARDENING core-19).

Formats: ``common`` (host, ident, user, time, request, status, octets); ``combined``, which
adds Referer and User-Agent; ``json``, an object per line with these, the host that was
asked for, the version, the seconds it took, and the name that `request_ids` gave it.

`SeveralLogs` is several of what is told of requests: an access log, metrics (``metrics.py``),
an application's own.
"""

from __future__ import annotations

import json
import re
import threading
import time
from queue import Full, Queue
from typing import IO, TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sennit.web.connection import HTTPConnection
    from sennit.web.events import RequestHead
    from sennit.web.server import RequestLog

__all__ = ["AccessLog", "SeveralLogs", "client_of"]

MAX_FIELD: Final = 1024
"""Octets of one field that are written."""
FLUSH_AFTER: Final = 0.5
"""Seconds that a line waits for others."""
BATCH: Final = 512
"""Lines that are handed over without waiting."""
BATCHES: Final = 64
"""Batches that may wait for the thread; what comes then is dropped."""

_MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip
_ODD = re.compile(rb"[^ !#-\[\]-~]")


def _escape(octets: bytes) -> str:
    octets = octets[:MAX_FIELD]
    if _ODD.search(octets) is None:
        return octets.decode("ascii")
    return _ODD.sub(lambda match: b"\\x%02x" % match[0][0], octets).decode("ascii")


def client_of(connection: HTTPConnection[Any, Any], head: RequestHead) -> str:
    """Who asked, for a log: the peer, or whom a trusted proxy in front of us saw."""
    notes: dict[str, Any] | None = getattr(head, "notes", None)
    if notes is None or "peer" not in notes:
        return connection.client_name
    return getattr(notes["peer"], "host", None) or "-"


def _user_of(head: RequestHead) -> str:
    """Who had logged in, as a field without blanks."""
    notes: dict[str, Any] | None = getattr(head, "notes", None)
    user = None if notes is None else notes.get("user")
    return _escape(str(user).encode()).replace(" ", "\\x20") if user else "-"


def _text(octets: bytes) -> str:
    """What a client supplied, for JSON, which escapes all but DEL by itself."""
    return octets[:MAX_FIELD].decode("utf-8", "backslashreplace").replace("\x7f", "\\x7f")


class AccessLog:
    """Where requests are written down.

    Args:
        stream: A binary stream, such as a file opened for appending. Written to by
            a thread of the log's own; closed by `close` if `close_stream`.
        style: ``common``, ``combined`` or ``json``.
        close_stream: Whether `close` closes it.
        wall_clock: Seconds since the epoch.

    Attributes:
        dropped: Lines that were lost because the stream did not take them.
    """

    def __init__(
        self,
        stream: IO[bytes],
        style: Literal["common", "combined", "json"] = "combined",
        *,
        close_stream: bool = False,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._stream = stream
        self._combined = style == "combined"
        self._json = style == "json"
        self._close_stream = close_stream
        self._wall_clock = wall_clock
        self._lines: list[str] = []
        self._batches: Queue[list[str] | None] = Queue(BATCHES)
        self._thread: threading.Thread | None = None
        self._second = -1
        self._stamp = ""
        self._closed = False
        self.dropped = 0

    def request(
        self, protocol: HTTPConnection[Any, Any], head: RequestHead, status: int, sent: int
    ) -> None:
        """A request was answered."""
        if self._json:
            self._write_json(protocol, head, status, sent)
            return
        line = f"{_escape(head.method)} {_escape(head.target)} HTTP/{head.version.decode('ascii')}"
        client = f"{client_of(protocol, head)} - {_user_of(head)}"
        if self._combined:
            referer = agent = b"-"
            for name, value in head.headers:
                if name == b"referer":
                    referer = value
                elif name == b"user-agent":
                    agent = value
            rest = f' "{_escape(referer)}" "{_escape(agent)}"'
            self._write(protocol, client, line, status, sent, rest)
        else:
            self._write(protocol, client, line, status, sent, "")

    def refused(self, protocol: HTTPConnection[Any, Any], status: int, sent: int) -> None:
        """Octets that were no request, or a request that broke a rule, were answered."""
        if self._json:
            self._write_json(protocol, None, status, sent)
            return
        rest = ' "-" "-"' if self._combined else ""
        self._write(protocol, f"{protocol.client_name} - -", "-", status, sent, rest)

    def _write_json(
        self,
        protocol: HTTPConnection[Any, Any],
        head: RequestHead | None,
        status: int,
        sent: int,
    ) -> None:
        now = self._wall_clock()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        line: dict[str, object] = {"time": f"{stamp}.{int(now * 1000) % 1000:03}Z"}
        if head is None:
            line["client"] = protocol.client_name
        else:
            notes: dict[str, Any] = getattr(head, "notes", None) or {}
            line |= {
                "client": client_of(protocol, head),
                "user": str(notes["user"]) if notes.get("user") else None,
                "method": _text(head.method),
                "target": _text(head.target),
                "version": _text(head.version),
                "host": _text(head.host or b""),
            }
            for name, value in head.headers:
                if name in (b"referer", b"user-agent"):
                    line[name.decode("ascii").replace("-", "_")] = _text(value)
            if notes.get("request_id"):
                line["request_id"] = notes["request_id"]
            came: float | None = getattr(head, "came", None)
            if came is not None:
                line["duration"] = round(max(0.0, protocol.time() - came), 6)
        line |= {"status": status, "octets": sent}
        self._add(protocol, json.dumps(line, separators=(",", ":")) + "\n")

    def _write(
        self,
        protocol: HTTPConnection[Any, Any],
        client: str,
        line: str,
        status: int,
        sent: int,
        rest: str,
    ) -> None:
        now = self._wall_clock()
        if int(now) != self._second:
            self._second = int(now)
            year, month, day, hour, minute, second, _, _, _ = time.gmtime(now)
            self._stamp = (
                f"[{day:02}/{_MONTHS[month - 1]}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000]"
            )
        self._add(protocol, f'{client} {self._stamp} "{line}" {status} {sent or "-"}{rest}\n')

    def _add(self, protocol: HTTPConnection[Any, Any], line: str) -> None:
        if self._closed:
            return
        lines = self._lines
        lines.append(line)
        if len(lines) == 1:
            protocol.call_later(FLUSH_AFTER, self.flush)
        elif len(lines) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Hand what has gathered to the thread."""
        lines = self._lines
        if not lines:
            return
        self._lines = []
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sennit-access-log", daemon=True)
            self._thread.start()
        if self.dropped:
            lines.insert(0, f"# {self.dropped} lines dropped so far\n")
        try:
            self._batches.put_nowait(lines)
        except Full:
            self.dropped += len(lines)

    def _run(self) -> None:
        while (lines := self._batches.get()) is not None:
            try:
                self._stream.write("".join(lines).encode("ascii"))
                self._stream.flush()
            except (OSError, ValueError):
                self.dropped += len(lines)

    def close(self, timeout: float = 2.0) -> None:
        """Write what is left, for `timeout` seconds at most, and end the thread."""
        if self._closed:
            return
        self.flush()
        self._closed = True
        thread = self._thread
        if thread is not None:
            try:
                self._batches.put(None, timeout=timeout)
            except Full:
                return
            thread.join(timeout)
            if thread.is_alive():
                return
        if self._close_stream:
            self._stream.close()


class SeveralLogs:
    """Tells several logs of every request.

    One that fails does not hurt the others, nor the answer: its failure is in the log of
    errors.

    Args:
        logs: Whatever stands in ``access_log`` of a server.
    """

    def __init__(self, logs: Iterable[RequestLog]) -> None:
        self._logs = tuple(logs)

    def request(
        self, connection: HTTPConnection[Any, Any], head: RequestHead, status: int, sent: int
    ) -> None:
        """A request was answered."""
        for each in self._logs:
            try:
                each.request(connection, head, status, sent)
            except Exception as error:
                _tell(each, error)

    def refused(self, connection: HTTPConnection[Any, Any], status: int, sent: int) -> None:
        """Octets that were no request, or a request that broke a rule, were answered."""
        for each in self._logs:
            try:
                each.refused(connection, status, sent)
            except Exception as error:
                _tell(each, error)

    def close(self) -> None:
        """Close those that can be closed."""
        for each in self._logs:
            close = getattr(each, "close", None)
            if close is not None:
                close()


def _tell(log: object, error: Exception) -> None:
    from sennit.core._faultlog import log_bug

    log_bug("HTTP", "a request", type(log).__name__, error)
