"""The server's side of DNS, without I/O: over a connection, and in datagrams.

`StreamServerEngine` cuts a connection into messages, each with its length in front, and puts
answers together in the order in which they come (RFC 7766 §6.2.1.1, §7): every query is an
exchange of its own. `DatagramServerEngine` has no connection: each datagram is a query, and
its path says where the answer goes.

What makes a query is decided here by its header alone: twelve octets, and no QR. What the
query asks, and whether it can be answered at all, is read elsewhere (``serving/queries.py``),
so that octets which are answered from a table are never taken apart.

A connection whose client sends what is no query is ended; so is one whose message does not
come whole in time, and one that idles. A datagram that is no query is dropped and counted.

Sources: RFC 1035 §4.2, RFC 7766 §6-§8, RFC 7858 §3.3. Not here: limits on the number of
connections, and the progress of what is sent (``server.py``).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from sennit.core.engine import CLOSED, NEED_DATA, PAUSED, SOLE, NoEvent, PeerFault, Untimed
from sennit.core.framing.prefix import PrefixDecoder
from sennit.names.codes import Rcode
from sennit.names.errors import DNSProtocolError, DNSUsageError
from sennit.names.events import DatagramQuery, StreamQuery
from sennit.names.limits import ServerLimits
from sennit.names.serving.queries import error_reply

if TYPE_CHECKING:
    from sennit.core.address import DatagramPath
    from sennit.core.engine import Outgoing

__all__ = ["UNWANTED_PORTS", "DatagramServerEngine", "StreamServerEngine"]

UNWANTED_PORTS: Final = frozenset({0, 7, 19})
"""Ports that no client asks from: none, and services that answer whatever they get (echo,
chargen), with which an answer would begin a loop."""
_SERVFAIL: Final = int(Rcode.SERVFAIL)


class StreamServerEngine:
    """One connection as the server sees it.

    Args:
        limits: What a client may do.
    """

    __slots__ = (
        "_answered",
        "_begun",
        "_closing",
        "_count",
        "_dead",
        "_eof",
        "_frames",
        "_idle_since",
        "_limits",
        "_now",
        "_open",
        "_out",
        "_partial_since",
        "_quiet",
        "_slow",
        "_waited",
    )

    def __init__(self, limits: ServerLimits | None = None) -> None:
        self._limits = limits or ServerLimits()
        self._frames = PrefixDecoder(2, max_length=0xFFFF)
        self._open: dict[int, bytes] = {}
        self._out: list[bytes] = []
        self._count = 0
        self._eof = False
        self._closing = False  # begins nothing new
        self._dead = False  # says nothing more
        self._slow: PeerFault | None = None
        self._now = 0.0
        self._begun = False  # told the time for the first time
        self._idle_since = 0.0
        self._waited = False  # queries are open from an earlier time than this
        self._answered = False  # one of those, at a time that nobody has told yet
        self._partial_since: float | None = None
        self._quiet = True  # there is no whole message that was not given out

    @property
    def in_flight(self) -> int:
        """Queries that have no answer yet."""
        return len(self._open)

    # ── octets in, events out ─────────────────────────────────────────────────

    def receive_data(self, data: bytes) -> None:
        """Take octets of the client's."""
        if not self._dead and not self._closing:
            self._frames.receive_data(data)
            self._quiet = False
            self._idle_since = self._now

    def receive_eof(self) -> None:
        """The client sends no more; what it asked is answered."""
        self._eof = True

    def next_event(self) -> StreamQuery | PeerFault | NoEvent:
        """The next query, or why there is none."""
        if self._slow is not None:
            fault, self._slow = self._slow, None
            return fault
        if self._dead:
            return CLOSED
        if self._closing:
            return PAUSED if self._open else self._end()
        if len(self._open) >= self._limits.in_flight:
            return PAUSED
        frame = self._frames.next_frame()
        if frame is None:
            if self._eof:
                return PAUSED if self._open else self._end()
            self._quiet = True
            self._waited = bool(self._open)
            if self._partial_since is None and self._frames.waiting:
                self._partial_since = self._now
            return NEED_DATA
        self._partial_since = None
        if len(frame) < 12 or frame[2] & 0x80:
            return self._broken(frame)
        self._count += 1
        self._open[self._count] = frame
        return StreamQuery(frame, self._count)

    def _broken(self, frame: bytes) -> PeerFault:
        # What was asked before is answered; then the connection ends.
        self.close()
        if len(frame) < 12:
            problem, rule = f"a message of {len(frame)} octets", "RFC 1035 §4.1.1"
        else:
            problem, rule = "a response where queries are expected", "RFC 1035 §4.1.1"
        return PeerFault(DNSProtocolError(problem, rule=rule), SOLE)

    def _end(self) -> NoEvent:
        self._dead = True
        self._open.clear()
        self._frames.release()
        return CLOSED

    # ── answers ───────────────────────────────────────────────────────────────

    def send_answer(self, exchange: int, wire: bytes) -> None:
        """Queue the answer to a query, the only one or the last.

        Raises:
            DNSUsageError: It has been answered, or never was; or the answer is too long.
        """
        self.send_part(exchange, wire)
        del self._open[exchange]

    def send_part(self, exchange: int, wire: bytes) -> None:
        """Queue a message of several that answer a query (RFC 5936 §2.2).

        Raises:
            DNSUsageError: As of `send_answer`.
        """
        if exchange not in self._open:
            raise DNSUsageError(f"no query {exchange} waits for an answer")
        size = len(wire)
        if size > 0xFFFF:
            raise DNSUsageError(f"a message has at most 65535 octets, not {size}")
        self._out.append(size.to_bytes(2, "big") + wire)
        self._answered = self._waited

    def drop(self, exchange: int) -> None:
        """End a query without another answer; harmless where it has ended."""
        if self._open.pop(exchange, None) is not None:
            self._answered = self._waited

    def internal_error(self, exchange: int) -> None:
        """Answer SERVFAIL, unless the query was answered already."""
        wire = self._open.get(exchange)
        if wire is not None:
            self.send_answer(exchange, error_reply(wire, _SERVFAIL))

    def data_to_send(self) -> list[bytes]:
        """Answers, each with its length in front."""
        out = self._out
        if out:
            self._out = []
            if len(out) > 1:
                # One segment rather than many (RFC 7766 §8).
                return [b"".join(out)]
        return out

    # ── time and the end ──────────────────────────────────────────────────────

    def next_timeout(self) -> float | None:
        """When a message has to be whole, or the connection has idled for long enough."""
        if self._dead or self._closing:
            return None
        if self._partial_since is not None:
            return self._partial_since + self._limits.message
        if self._open or not self._quiet:
            return None
        if self._answered:
            return self._now  # which is over: it is to be told now, and idles from then on
        return self._idle_since + self._limits.idle

    def handle_timeout(self, now: float) -> None:
        """It is `now`: end the connection where its client was too slow, or idle."""
        self._now = now
        if not self._begun:
            self._begun = True
            self._idle_since = now
        due = self.next_timeout()
        if due is None or now < due:
            return
        if self._partial_since is not None:
            limit = self._limits.message
            problem = f"a message was not whole after {limit:g} s"
            self._slow = PeerFault(DNSProtocolError(problem, rule="limit:message-time"), SOLE)
            self.close()
        elif self._answered:
            self._answered = False
            self._idle_since = now
        else:
            self._end()

    def close(self) -> None:
        """Take no more queries; `CLOSED` once those under way are answered."""
        self._closing = True
        self._partial_since = None

    def release(self) -> bytes:
        """End, and hand over the octets that were not read."""
        rest = b"" if self._dead else self._frames.release()
        self._dead = True
        self._slow = None
        self._open.clear()
        self._out = []
        return rest


class DatagramServerEngine(Untimed):
    """The queries that come to one socket, and their answers.

    Args:
        own_port: The socket's port, from which nobody else asks.

    Attributes:
        drops: Datagrams that were dropped, by reason.
    """

    __slots__ = ("_closing", "_count", "_in", "_open", "_out", "_unwanted", "drops")

    def __init__(self, own_port: int = 0) -> None:
        self._unwanted = UNWANTED_PORTS | {own_port}
        self._in: deque[DatagramQuery] = deque()
        self._open: dict[int, DatagramQuery] = {}
        self._out: list[Outgoing] = []
        self._count = 0
        self._closing = False
        self.drops: dict[str, int] = {}

    def receive_datagram(self, data: bytes, path: DatagramPath, now: float = 0.0) -> None:
        """Take a datagram."""
        del now
        if path.peer[1] in self._unwanted:
            self.drop_for("port")
        elif len(data) < 12:
            self.drop_for("short")
        elif data[2] & 0x80:
            self.drop_for("response")
        elif not self._closing:
            self._count += 1
            query = DatagramQuery(data, self._count, path)
            self._open[self._count] = query
            self._in.append(query)

    def drop_for(self, reason: str) -> None:
        """Count a datagram that is not looked at any further."""
        self.drops[reason] = self.drops.get(reason, 0) + 1

    def next_event(self) -> DatagramQuery | NoEvent:
        """The next query, or why there is none."""
        if self._in:
            return self._in.popleft()
        return CLOSED if self._closing and not self._open else NEED_DATA

    def send_answer(self, exchange: int, wire: bytes) -> None:
        """Queue the answer to a query.

        Raises:
            DNSUsageError: It has been answered, or never was.
        """
        query = self._open.pop(exchange, None)
        if query is None:
            raise DNSUsageError(f"no query {exchange} waits for an answer")
        self._out.append((wire, query.path))

    def drop(self, exchange: int) -> None:
        """End a query without an answer; harmless where it has ended."""
        self._open.pop(exchange, None)

    def internal_error(self, exchange: int) -> None:
        """Answer SERVFAIL, unless the query was answered already."""
        query = self._open.get(exchange)
        if query is not None:
            self.send_answer(exchange, error_reply(query.wire, _SERVFAIL))

    def datagrams_to_send(self) -> list[Outgoing]:
        """Answers with their paths."""
        out = self._out
        if out:
            self._out = []
        return out

    def close(self) -> None:
        """Take no more queries; `CLOSED` once those under way are answered."""
        self._closing = True
