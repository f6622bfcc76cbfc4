"""How much a peer may send, ask and wait: one place for all that it controls."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ClientLimits", "Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server takes from one client, and how long it waits.

    Attributes:
        max_line: Octets of a command, CRLF included (RFC 3977 §3.1); a longer one is refused.
        max_response: Octets of AUTHINFO SASL and of a response within it, CRLF included; any line
            that has more ends the connection.
        max_article: Octets of an article that comes; the rest of a longer one is thrown away.
        max_discarded: Octets of such an article that are read before the connection is closed.
        max_streamed: Articles, offered or sent, that may wait for their answers (RFC 4644).
        max_streamed_octets: Octets of articles that may wait so; one of any length always may.
        max_ratio: Octets that deflated ones may become each, after the first MiB (RFC 8054).
        login: Seconds in which a client has to log in, where nothing goes without.
        idle: Seconds without a command after which the connection is closed.
        progress: Seconds without an octet while an article comes or an answer leaves.
        listed_at_once: Lines of a list that are made before others have their turn.
    """

    max_line: int = 512
    max_response: int = 16_384
    max_article: int = 1024 * 1024
    max_discarded: int = 64 * 1024 * 1024
    max_streamed: int = 100
    max_streamed_octets: int = 4 * 1024 * 1024
    max_ratio: int = 100
    login: float = 60.0
    idle: float = 600.0
    progress: float = 60.0
    listed_at_once: int = 500


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
