"""What goes wrong with a WebSocket, and whose fault it is.

::

    WebError
    ├── WebSocketProtocolError (ProtocolError)   the peer broke a rule; `code` was its answer
    ├── WebSocketClosedError                     nothing can be sent or received any more
    └── WebSocketRefusedError                    the server answered the handshake with a no
"""

from __future__ import annotations

from sennit.core.errors import ProtocolError
from sennit.web.errors import WebError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["WebSocketClosedError", "WebSocketProtocolError", "WebSocketRefusedError"]


class WebSocketProtocolError(WebError, ProtocolError):
    """The peer broke a rule of WebSocket.

    Attributes:
        rule: The rule, such as ``RFC 6455 §5.1``.
        code: The status code of the Close frame that answers it.
    """

    def __init__(self, message: str, rule: str = "", code: int = 1002) -> None:
        ProtocolError.__init__(self, message, rule)
        self.code = code


class WebSocketClosedError(WebError):
    """The WebSocket is closed, or is closing: nothing more comes, nothing can be sent.

    Attributes:
        code: How it closed; 1006 without a Close frame of the peer, 1005 with one that
            gave no code.
        reason: What the peer said of it.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        said = f" ({reason})" if reason else ""
        super().__init__(f"the WebSocket is closed: {code}{said}")
        self.code = code
        self.reason = reason


class WebSocketRefusedError(WebError):
    """The server did not agree to speak WebSocket.

    Attributes:
        status: What it answered; 101 (or 200, in HTTP/2) when it agreed to something
            that was not asked.
        headers: List of (lower-case name, value) octet pairs of the answer.
    """

    def __init__(
        self, message: str, status: int, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = list(headers)
