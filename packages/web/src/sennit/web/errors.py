"""What the web package raises on purpose.

::

    WebError (core.SennitError)
    ├── WebProtocolError (core.ProtocolError)   the peer broke a rule; `status` answers it
    │   └── CutShortError                       the connection ended inside a message
    ├── WebUsageError (ValueError)              a call that the state or the protocol forbids
    ├── BodyTooLargeError                       content is larger than its reader takes
    ├── RequestTimeoutError (TimeoutError)      a request took too long; `phase` says where
    └── UnansweredError (core.ConnectionLost)   the connection ended before any answer

A client's requests fail also with what core says of connections: `ConnectError`,
`TLSError`, `ConnectionLost`, and `PoolFullError` when too many wait.
"""

from __future__ import annotations

from sennit.core.errors import ConnectionLost, ProtocolError, SennitError

__all__ = [
    "BodyTooLargeError",
    "CutShortError",
    "RequestTimeoutError",
    "UnansweredError",
    "WebError",
    "WebProtocolError",
    "WebUsageError",
]


class WebError(SennitError):
    """Whatever this package raises on purpose."""


class WebProtocolError(WebError, ProtocolError):
    """The peer broke a rule of HTTP.

    Attributes:
        rule: The rule, such as ``RFC 9112 §6.3``.
        status: The status that answers it.
    """

    def __init__(self, message: str, rule: str = "", status: int = 400) -> None:
        ProtocolError.__init__(self, message, rule)
        self.status = status


class CutShortError(WebProtocolError):
    """The connection ended in the midst of a message (RFC 9112 §8): what came is not all of it."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message, "RFC 9112 §8", status)


class WebUsageError(WebError, ValueError):
    """The caller asked for what the protocol, or the state of the exchange, forbids."""


class BodyTooLargeError(WebError):
    """Content is larger than its reader takes.

    Attributes:
        limit: The octets that would have been taken.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} octets of content")
        self.limit = limit


_AWAITED = {
    "connect": "connection",
    "read": "octets of an answer",
    "write": "progress in sending",
    "pool": "free connection",
    "total": "whole answer",
}


class RequestTimeoutError(WebError, TimeoutError):
    """A request took too long.

    Attributes:
        phase: What it waited for: ``connect``, ``read``, ``write``, ``pool`` or ``total``.
        seconds: How long it was to wait.
    """

    def __init__(self, phase: str, seconds: float, what: str) -> None:
        super().__init__(f"no {_AWAITED[phase]} within {seconds:g} s: {what}")
        self.phase = phase
        self.seconds = seconds


class UnansweredError(WebError, ConnectionLost):
    """The connection ended, or gave the request back, before any octet of an answer.

    Attributes:
        untouched: Whether the server surely has not acted on the request (RFC 9113
            §8.7), so that it may be sent again whatever its method.
    """

    def __init__(self, message: str, reason: str = "lost", *, untouched: bool = False) -> None:
        ConnectionLost.__init__(self, message, reason)
        self.untouched = untouched
