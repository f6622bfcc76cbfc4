"""What lies between the two ends of a connection in memory: a `Link`, and a `Way` over it.

A `Link` says how one direction behaves; a `Way` is one direction of one connection, which
keeps order as TCP does: what is lost comes later, and all behind it waits (RFC 9293 §3.8.1).
Chance comes from a generator that the caller seeds, so that a run can be repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random
    from typing import Any, Final, Literal

    from sennit.core.reactor.base import Reactor
    from sennit.core.testing.clock import Clock

    Cut = Literal["reset", "close", "vanish"]

__all__ = ["CAPACITY", "READ_SIZE", "Gate", "Link", "Pipe", "Way"]

CAPACITY: Final = 64 * 1024
"""Octets that are on their way or wait to be read, per direction."""
READ_SIZE: Final = 64 * 1024
"""Octets delivered at a time, as by a socket transport."""
SEGMENT: Final = 1460
"""Octets of a stream that are lost, or take their time, together (Ethernet's MTU, less headers)."""
MOST_TRIES: Final = 16
"""Times a segment is lost at most: it is late then, not gone."""


class Link(NamedTuple):
    """One direction of a connection in memory, or of the way between two hosts.

    Attributes:
        capacity: Octets it holds before the writer has to wait: the reader's window.
        chunk: Most octets handed over in one `data_received`; two numbers for a number
            between them, chosen by chance each time.
        latency: Seconds until what was sent arrives.
        cut_after: Octets after which the connection breaks (those octets still
            arrive); ``None`` for never.
        cut: How it breaks: ``reset`` (both ends see that), ``close`` (both see an end in
            good order), ``vanish`` (neither end hears of the other again: a half-open
            connection).
        jitter: Seconds by which it may take longer, by chance.
        bandwidth: Octets per second; ``None`` for no limit.
        loss: Probability from 0 to 1 that a datagram, or a segment of a stream, is lost.
            A stream sends it again.
        resend: Seconds until a stream sends again what was lost, doubled each time
            (RFC 6298 §5.5).
        reorder: Probability that a datagram is overtaken by later ones.
        reorder_by: Seconds by which it then is late.
        duplicate: Probability that a datagram arrives twice.
        mtu: Octets of the longest datagram that passes; of a segment for streams.
        chunks: Sizes of what the first calls of `data_received` are handed, at most;
            `chunk` for those after.
    """

    capacity: int = CAPACITY
    chunk: int | tuple[int, int] = READ_SIZE
    latency: float = 0.0
    cut_after: int | None = None
    cut: Cut = "reset"
    jitter: float = 0.0
    bandwidth: float | None = None
    loss: float = 0.0
    resend: float = 0.2
    reorder: float = 0.0
    reorder_by: float = 0.05
    duplicate: float = 0.0
    mtu: int | None = None
    chunks: tuple[int, ...] = ()

    @property
    def immediate(self) -> bool:
        """Whether what is sent is there at once."""
        return not (self.latency or self.jitter or self.bandwidth or self.loss)

    def check(self) -> None:
        """See that something can arrive.

        Raises:
            ValueError: Nothing ever would, or a number means nothing.
        """
        sizes = self.chunk if isinstance(self.chunk, tuple) else (self.chunk, self.chunk)
        if self.capacity < 1 or sizes[0] < 1 or sizes[1] < sizes[0] or min((1, *self.chunks)) < 1:
            raise ValueError(f"nothing would ever arrive over {self!r}")
        if (self.bandwidth is not None and self.bandwidth <= 0) or self.mtu == 0:
            raise ValueError(f"nothing would ever arrive over {self!r}")
        chances = (self.loss, self.reorder, self.duplicate)
        if min(chances) < 0 or max(chances) > 1 or min(self.latency, self.jitter, self.resend) < 0:
            raise ValueError(f"not probabilities from 0 to 1 and seconds from 0 on: {self!r}")
        if self.cut not in {"reset", "close", "vanish"}:
            raise ValueError(f"a connection is cut by reset, close or vanish, not {self.cut!r}")


class Gate:
    """Whether anything passes from one host to another; many ways go through one gate.

    Attributes:
        is_open: Whether something passes now.
        ways: The ways that have something waiting.
    """

    __slots__ = ("is_open", "ways")

    def __init__(self) -> None:
        self.is_open = True
        self.ways: list[Way] = []

    def open(self) -> None:
        """Let pass; what waited is sent again a while later."""
        self.is_open = True
        ways, self.ways = self.ways, []
        for way in ways:
            way.go_on()

    def close(self) -> None:
        """Let nothing pass, nor what is on its way."""
        self.is_open = False


class Pipe:
    """The narrow place of a way, where octets queue; connections between two hosts share one.

    Attributes:
        free_at: When the last octet that was sent will have passed.
    """

    __slots__ = ("free_at",)

    def __init__(self) -> None:
        self.free_at = 0.0

    def passed(self, now: float, size: int, bandwidth: float | None) -> float:
        """When `size` octets more will have passed."""
        if bandwidth is None:
            return now
        self.free_at = max(now, self.free_at) + size / bandwidth
        return self.free_at


class Way:
    """One direction of one connection: in order, and nothing is lost for good.

    Args:
        reactor: Whose time passes.
        link: How it behaves.
        random: Where chance comes from.
        gate: What it has to pass.
        pipe: What it shares with others.
    """

    __slots__ = (
        "_flying",
        "_gate",
        "_last",
        "_link",
        "_pipe",
        "_random",
        "_reactor",
        "_waiting",
        "dead",
    )

    def __init__(
        self,
        reactor: Reactor | Clock,
        link: Link,
        random: Random,
        gate: Gate | None = None,
        pipe: Pipe | None = None,
    ) -> None:
        self._reactor = reactor
        self._link = link
        self._random = random
        self._gate = gate or Gate()
        self._pipe = pipe or Pipe()
        self._last = 0.0
        self._flying = 0
        self._waiting: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self.dead = False

    @property
    def segment(self) -> int:
        """Octets that travel together."""
        link = self._link
        if link.bandwidth is None and not link.loss:
            return READ_SIZE
        return link.mtu or SEGMENT

    def carry(self, size: int, deliver: Callable[..., object], *args: Any) -> None:
        """Call ``deliver(*args)`` when `size` octets that are sent now arrive."""
        if self.dead:
            return
        now, link = self._reactor.time(), self._link
        when = self._pipe.passed(now, size, link.bandwidth) + link.latency
        if link.jitter:
            when += self._random.uniform(0, link.jitter)
        if link.loss and size:
            delay = link.resend
            for _ in range(MOST_TRIES):
                if self._random.random() >= link.loss:
                    break
                when += delay
                delay *= 2
        self._last = when = max(when, self._last)
        if when <= now and not self._flying:
            self._arrive(deliver, args)
        else:
            self._flying += 1
            self._reactor.call_at(when, self._landed, deliver, args)

    def _landed(self, deliver: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._flying -= 1
        self._arrive(deliver, args)

    def _arrive(self, deliver: Callable[..., object], args: tuple[Any, ...]) -> None:
        if self.dead:
            return
        if self._gate.is_open and not self._waiting:
            deliver(*args)
            return
        if not self._waiting and not self._gate.is_open:
            self._gate.ways.append(self)
        self._waiting.append((deliver, args))

    def go_on(self) -> None:
        """The gate is open again: what did not pass is sent once more, in order."""
        self._reactor.call_later(self._link.resend, self._send_again)

    def _send_again(self) -> None:
        if not self._gate.is_open:
            self._gate.ways.append(self)
            return
        waiting, self._waiting = self._waiting, []
        for deliver, args in waiting:
            if not self.dead:
                deliver(*args)
