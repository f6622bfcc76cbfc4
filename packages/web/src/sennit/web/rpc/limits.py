"""All that the other side of a call can make too large, in one place."""

from __future__ import annotations

__all__ = ["RPCLimits"]


class RPCLimits:
    """What is taken of one message.

    Attributes:
        message: Octets of it.
        depth: Values within values.
        batch: Calls in one message.
        digits: Digits of one whole number in JSON.
        in_flight: Calls of one connection that are worked on at once (WebSocket).
    """

    __slots__ = ("batch", "depth", "digits", "in_flight", "message")

    def __init__(
        self,
        *,
        message: int = 1024 * 1024,
        depth: int = 64,
        batch: int = 100,
        digits: int = 1000,
        in_flight: int = 32,
    ) -> None:
        self.message = message
        self.depth = depth
        self.batch = batch
        self.digits = digits
        self.in_flight = in_flight
