"""How much a peer may send, ask and wait: one place for all that it controls."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ClientLimits", "Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection is allowed.

    Attributes:
        max_line: Octets of one line, its end included.
        idle: Seconds without a command after which the server closes.
    """

    max_line: int = 1024
    idle: float = 300.0


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """What a client allows its server.

    Attributes:
        connect: Seconds until a connection stands, TLS included; of data connections likewise.
        reply: Seconds until a command is answered; the greeting likewise.
        progress: Seconds that a transfer may stand still.
        max_line: Octets of one line of a reply, its end included.
        max_reply_lines: Lines of one reply.
        max_listing_line: Octets of one line of a listing.
    """

    connect: float = 30.0
    reply: float = 60.0
    progress: float = 60.0
    max_line: int = 4096
    max_reply_lines: int = 100
    max_listing_line: int = 16_384
