"""How long a server of news waits: for the next command, and for the rest of a transfer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.core.policy.timeouts import Timeouts

if TYPE_CHECKING:
    from sennit.core.interfaces import IStreamTransport
    from sennit.news.server import NNTPServerProtocol

__all__ = ["Patience"]


class Patience(Timeouts):
    """`Timeouts` that wait less for who is in the midst of something.

    Args:
        wrapped: The protocol inside.
        idle: Seconds without a command.
        progress: Seconds without an octet while an article comes, or an answer leaves.
    """

    __slots__ = ("_most", "_protocol")

    def __init__(self, wrapped: NNTPServerProtocol, *, idle: float, progress: float) -> None:
        super().__init__(wrapped, idle=min(idle, progress))
        self._most = idle
        self._protocol = wrapped

    def _expire(self, transport: IStreamTransport, reason: str) -> None:
        waits = self._time() - self._last
        between = not (self._protocol.engine.in_transfer or transport.get_write_buffer_size())
        if between and waits < self._most and self._clock is not None:
            # Nothing is under way: it may think for longer.
            when = self._last + min(self._most, waits + (self._idle or self._most))
            self._timer = self._clock.call_at(when, self._look)
            return
        super()._expire(transport, "idle" if between else "stalled")
