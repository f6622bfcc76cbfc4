"""EXTERNAL (RFC 4422 appendix A): the peer is known already, by certificate or by the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.core.auth.sasl.engine import ClientExchange, ServerExchange
from sennit.core.auth.sasl.events import CredentialsGiven, Respond
from sennit.core.auth.sasl.grammar import prepare_name, text_of

if TYPE_CHECKING:
    from sennit.core.auth.credentials import Credentials
    from sennit.core.auth.sasl.events import ClientEvent, ServerEvent

__all__ = ["ExternalClient", "ExternalServer"]


class ExternalServer(ServerExchange):
    """The server's side of EXTERNAL.

    Args:
        known: What the channel says of the peer: `CertificateCredentials` or
            `PeerCredentials`; ``None`` when it says nothing, which fails.
    """

    name = "EXTERNAL"

    def __init__(self, known: Credentials | None) -> None:
        super().__init__()
        self._known = known

    def _received(self, response: bytes | None) -> ServerEvent:
        act_as = prepare_name(text_of(response)) if response else ""
        if self._known is None:
            return self._fail("nothing is known of the peer")
        return CredentialsGiven(self._known, act_as)


class ExternalClient(ClientExchange):
    """The client's side of EXTERNAL.

    Args:
        act_as: Whom to act as; empty for whom the channel shows.

    Raises:
        MalformedError: Nobody can be called so.
    """

    name = "EXTERNAL"

    def __init__(self, act_as: str = "") -> None:
        super().__init__()
        self._message = prepare_name(act_as).encode() if act_as else b""

    def _begin(self) -> ClientEvent:
        return Respond(self._message)
