"""How much a peer may send, ask and wait: one place for all that it controls."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection is allowed.

    Attributes:
        max_line: Octets of one line, its end included.
        idle: Seconds without a command after which the server closes.
    """

    max_line: int = 1024
    idle: float = 300.0
