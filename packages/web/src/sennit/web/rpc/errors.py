"""What a call may end with, other than its result.

::

    WebError
    └── RPCError                 the other side refused the call, or shall be told so
        └── MismatchError        a value is not what was declared

What breaks the protocol itself is a `sennit.web.errors.WebProtocolError`.

Sources: JSON-RPC 2.0 §5.1; "Specification for Fault Code Interoperability" (XML-RPC),
which gives the same numbers the same meanings.
"""

from __future__ import annotations

from sennit.web.errors import WebError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = [
    "APPLICATION_ERROR",
    "INTERNAL_ERROR",
    "INVALID_PARAMS",
    "INVALID_REQUEST",
    "METHOD_NOT_FOUND",
    "PARSE_ERROR",
    "TOO_BUSY",
    "MismatchError",
    "RPCError",
]

PARSE_ERROR: Final = -32700
"""What came is not JSON, or not XML."""
INVALID_REQUEST: Final = -32600
"""It is, but no call."""
METHOD_NOT_FOUND: Final = -32601
"""There is no such function, or none that may be called."""
INVALID_PARAMS: Final = -32602
"""The arguments are not what the function takes."""
INTERNAL_ERROR: Final = -32603
"""The function failed, and how is nobody's business elsewhere."""
APPLICATION_ERROR: Final = -32500
"""What an exposed function may say when it has no number of its own."""
TOO_BUSY: Final = -32000
"""As many calls as may be are being worked on (of JSON-RPC's numbers for servers)."""


class RPCError(WebError):
    """A call was refused: raised by an exposed function to say so, and by a client that was told.

    Attributes:
        code: The number; of -32768 to -32000 the protocols have their own idea.
        message: A sentence for people.
        data: More of it, for programs (JSON-RPC only).
    """

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.data = data


class MismatchError(RPCError):
    """A value is not what was declared.

    The text names kinds of values and where they stand, never the values.

    Attributes:
        where: The way to it: names of arguments and fields, indices.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(INVALID_PARAMS, problem)
        self.where: list[str | int] = []

    def __str__(self) -> str:
        return self.sentence

    @property
    def sentence(self) -> str:
        """The problem and where it is."""
        path = "".join(
            f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.where
        ).lstrip(".")
        return f"{path}: {self.message}" if path else self.message
