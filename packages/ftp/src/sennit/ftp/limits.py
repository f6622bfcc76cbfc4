"""How much a peer may send, ask and wait: one place for all that it controls."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ClientLimits", "Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server allows one client.

    Attributes:
        max_line: Octets of one command line, its end included.
        max_path: Octets of one path, as it is in full.
        max_errors: Commands in a row that are none, after which the server closes.
        max_matches: Entries that one pattern of a listing may match.
        max_status_entries: Entries that STAT tells of over the control connection.
        max_ascii_size: Octets of a file that SIZE reads to tell its size in type A.
        login: Seconds until somebody has logged in, from the connection's beginning.
        idle: Seconds without a command or transfer after which the server closes.
        progress: Seconds that a transfer may stand still.
        data_connection: Seconds in which a data connection has to stand, TLS included.
        window: Octets of an upload that are gathered before they are written; twice as many
            may be in memory.
    """

    max_line: int = 4096
    max_path: int = 4096
    max_errors: int = 20
    max_matches: int = 10_000
    max_status_entries: int = 1000
    max_ascii_size: int = 16 * 1024 * 1024
    login: float = 60.0
    idle: float = 300.0
    progress: float = 60.0
    data_connection: float = 30.0
    window: int = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """What a client allows its server.

    Attributes:
        connect: Seconds until a connection stands, TLS included; of data connections likewise.
        reply: Seconds until a command is answered; the greeting likewise.
        progress: Seconds that a transfer may stand still.
        completion: Seconds until a transfer is confirmed all of whose octets have left: many of
            them may still be on their way.
        settle: Seconds until a server has said all that it has to say of a transfer that was
            given up, and until it has left after QUIT.
        max_line: Octets of one line of a reply, its end included.
        max_reply_lines: Lines of one reply.
        max_listing_line: Octets of one line of a listing.
        max_listing: Octets of one listing.
        max_entries: Entries of a listing that is had as a whole, a mirrored directory's too.
    """

    connect: float = 30.0
    reply: float = 60.0
    progress: float = 60.0
    completion: float = 300.0
    settle: float = 10.0
    max_line: int = 4096
    max_reply_lines: int = 100
    max_listing_line: int = 16_384
    max_listing: int = 256 * 1024 * 1024
    max_entries: int = 1_000_000
