"""Two connections joined: what comes from one leaves at the other.

Octets go straight from one transport to the other: each side's reading pauses while
the other's way out is full, an end in one direction is passed on alone, and how one
connection ends is how the other does. A tunnel in which nothing moves is cut.

The two `Side` objects are the protocols of the two connections. Either may come to
its connection first: what it is sent before the tunnel begins is kept until then.

Not here: how a client asks for a tunnel (``socks.py``; HTTP's CONNECT and upgrades are
the web package's).
"""

from __future__ import annotations

from sennit.core.errors import ConnectionLost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.core.interfaces import IClock, IDelayedCall, IStreamTransport

__all__ = ["Side", "Tunnel"]


class Side:
    """One end of a tunnel: what comes here leaves at the other.

    Attributes:
        transport: Its connection, once that stands.
        tunnel: What it belongs to, while that lasts.
        other: The other end.
        stands: Whether its connection is there.
        full: Whether its way out has no room.
        over: Whether its connection, or its tunnel, has come and gone.
    """

    transport: IStreamTransport
    other: Side

    def __init__(self) -> None:
        self.tunnel: Tunnel | None = None
        self.stands = False
        self.full = False
        self.over = False
        self._early: list[bytes] = []
        self._eof = False

    def __repr__(self) -> str:
        return "<side of a tunnel>"

    def connection_made(self, transport: IStreamTransport) -> None:
        """The connection stands; it is not read before the tunnel begins."""
        self.transport = transport
        self.stands = True
        if self.over:
            # The other end broke off before this one was there.
            transport.abort()
            return
        transport.pause_reading()
        if self.tunnel is not None:
            self.tunnel.arrived()

    def data_received(self, data: bytes) -> None:
        """Octets have come."""
        tunnel = self.tunnel
        if tunnel is not None and tunnel.begun:
            tunnel.moved = True
            self.other.transport.write(data)
        else:
            self._early.append(data)

    def eof_received(self) -> bool | None:
        """The peer has ended its direction; the other may go on."""
        tunnel = self.tunnel
        if tunnel is None:
            return None
        if tunnel.begun:
            self.other.transport.write_eof()
        else:
            self._eof = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has gone."""
        self.stands = False
        self.over = True
        if self.tunnel is not None:
            self.tunnel.ended(self, exc)

    def pause_writing(self) -> None:
        """Its way out is full: the other end is not read."""
        self.full = True
        if self.tunnel is not None and self.other.stands:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """There is room again."""
        self.full = False
        if self.tunnel is not None and self.tunnel.begun:
            self.tunnel.moved = True
            self.other.transport.resume_reading()

    def hand_over(self) -> None:
        """The tunnel begins: what came before goes to the other end, then it is read."""
        early, self._early = self._early, []
        for data in early:
            self.other.transport.write(data)
        if self._eof:
            self.other.transport.write_eof()
        if not self.other.full:
            self.transport.resume_reading()


class Tunnel:
    """Two connections joined; it begins when both stand.

    Args:
        near: The one side.
        far: The other.
        clock: Tells the time, and calls back.
        idle: Seconds without an octet after which it is cut.
        on_end: Called once, when it has ended, or will never begin.

    Attributes:
        begun: Whether both connections stand and are joined.
        moved: Whether octets have moved since that was last looked at.
        on_end: As given.
    """

    def __init__(
        self,
        near: Side,
        far: Side,
        clock: IClock,
        idle: float,
        on_end: Callable[[], object] | None = None,
    ) -> None:
        self._sides = (near, far)
        near.other, far.other = far, near
        near.tunnel = far.tunnel = self
        self._clock = clock
        self._idle = idle
        self.on_end = on_end
        self.begun = False
        self.moved = True
        self._timer: IDelayedCall | None = clock.call_at(clock.time() + idle, self._look)

    def arrived(self) -> None:
        """One of the connections stands: begin if both do, end if the other has gone already."""
        near, far = self._sides
        for side in self._sides:
            if side.over:
                self.ended(side, ConnectionLost("it went before the tunnel began"))
                return
        if self.begun or not (near.stands and far.stands):
            return
        self.begun = True
        near.hand_over()
        # Its writing may have ended the tunnel already.
        if far.tunnel is self:
            far.hand_over()

    def _look(self) -> None:
        """Cut it if nothing has moved since the last look."""
        self._timer = None
        if self.moved:
            self.moved = False
            self._timer = self._clock.call_at(self._clock.time() + self._idle, self._look)
        else:
            self.abort("idle")

    def abort(self, reason: str) -> None:
        """Cut it."""
        near, far = self._sides
        if near.tunnel is not self:
            return
        for side in (near, far):
            if side.stands:
                side.transport.abort(reason)
        if near.tunnel is self and not (near.stands or far.stands):
            self.ended(near, None)

    def ended(self, side: Side, exc: Exception | None) -> None:
        """One side has gone: the other ends in the same way."""
        if side.tunnel is None:
            return
        other = side.other
        side.tunnel = other.tunnel = None
        side.over = other.over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if other.stands:
            if exc is None:
                other.transport.close()
            else:
                other.transport.abort()
        if self.on_end is not None:
            self.on_end()
