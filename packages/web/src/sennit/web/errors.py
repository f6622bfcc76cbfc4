"""What the web package raises on purpose.

::

    WebError (core.SennitError)
    ├── WebProtocolError (core.ProtocolError)   the peer broke a rule; `status` answers it
    └── WebUsageError (ValueError)              a call that the state or the protocol forbids
"""

from __future__ import annotations

from sennit.core.errors import ProtocolError, SennitError

__all__ = ["WebError", "WebProtocolError", "WebUsageError"]


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


class WebUsageError(WebError, ValueError):
    """The caller asked for what the protocol, or the state of the exchange, forbids."""
