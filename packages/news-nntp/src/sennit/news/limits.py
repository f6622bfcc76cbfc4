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
    """What a client takes from a server, and how long it waits.

    Attributes:
        max_line: Octets of a response's first line, CRLF included (RFC 3977 §3.1).
        max_listed_line: Octets of one line of a list or overview.
        max_article: Octets of an article that is read as a whole, not as a stream.
        max_block: Octets of other blocks that are read as a whole: capabilities, help.
        max_pipelined: Commands under way at a time.
        max_ratio: Octets that deflated ones may become each, after the first MiB (RFC 8054).
        connect: Seconds until the connection stands.
        opening: Seconds for all from there until commands may be given: TLS, greeting, login.
        progress: Seconds without an octet from a server that owes some.
    """

    max_line: int = 512
    max_listed_line: int = 65_536
    max_article: int = 8 * 1024 * 1024
    max_block: int = 1024 * 1024
    max_pipelined: int = 100
    max_ratio: int = 100
    connect: float = 30.0
    opening: float = 60.0
    progress: float = 60.0
