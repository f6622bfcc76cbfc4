"""ANONYMOUS (RFC 4505): nobody in particular, with a trace for the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sennit.core.auth.credentials import AnonymousCredentials
from sennit.core.auth.sasl.engine import ClientExchange, ServerExchange
from sennit.core.auth.sasl.events import CredentialsGiven, Respond
from sennit.core.auth.sasl.grammar import MalformedError, prepare, text_of

if TYPE_CHECKING:
    from sennit.core.auth.sasl.events import ClientEvent, ServerEvent

__all__ = ["MAX_TRACE", "AnonymousClient", "AnonymousServer"]

MAX_TRACE: Final = 255
"""Characters of a trace (RFC 4505 §2)."""


def _trace(text: str) -> str:
    """A trace, checked. Its profile (RFC 4505 §3) maps nothing and prohibits what SASLprep does."""
    if len(text) > MAX_TRACE:
        raise MalformedError(f"a trace of more than {MAX_TRACE} characters (RFC 4505 §2)")
    if text:
        prepare(text)
    return text


class AnonymousServer(ServerExchange):
    """The server's side of ANONYMOUS."""

    name = "ANONYMOUS"

    def _received(self, response: bytes | None) -> ServerEvent:
        return CredentialsGiven(AnonymousCredentials(_trace(text_of(response or b""))), "")


class AnonymousClient(ClientExchange):
    """The client's side of ANONYMOUS.

    Args:
        trace: A mail address, or anything else that the server may log.

    Raises:
        MalformedError: It cannot be a trace.
    """

    name = "ANONYMOUS"

    def __init__(self, trace: str = "") -> None:
        super().__init__()
        self._message = _trace(trace).encode()

    def _begin(self) -> ClientEvent:
        return Respond(self._message)
