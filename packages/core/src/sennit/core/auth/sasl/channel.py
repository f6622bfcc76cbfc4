"""What SASL asks of the connection it runs on: privacy, bindings, and who is known to be there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sennit.core.auth.credentials import CertificateCredentials, PeerCredentials
from sennit.core.auth.sasl.scram import BINDINGS
from sennit.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sennit.core.auth.credentials import Credentials

__all__ = ["Channel", "channel_of"]


class Channel:
    """A connection as SASL sees it.

    Attributes:
        private: Nobody but the peer can read it: TLS, a Unix socket, or memory.
        bindings: Channel bindings by kind; empty where there are none.
        known: Who the peer is without saying anything, for EXTERNAL.
    """

    __slots__ = ("bindings", "known", "private")

    def __init__(
        self,
        private: bool = False,
        bindings: Mapping[str, bytes] | None = None,
        known: Credentials | None = None,
    ) -> None:
        self.private = private
        self.bindings = dict(bindings or {})
        self.known = known

    def __repr__(self) -> str:
        kinds = ", ".join(self.bindings) or "no binding"
        return f"<Channel {'private' if self.private else 'in clear'}, {kinds}, {self.known!r}>"


def channel_of(transport: Any) -> Channel:
    """Look at a transport. (`Any`: an `IStreamTransport`, with TLS or without.)"""
    binding: Any = getattr(transport, "channel_binding", None)
    if binding is not None:
        certificate: bytes | None = transport.peer_certificate
        return Channel(
            True,
            _bindings(binding),
            None if certificate is None else CertificateCredentials(certificate),
        )
    header: Any = transport.get_extra_info("proxy_header")
    if transport.get_extra_info("tunnel") or (header is not None and not header.local):
        # The socket leads to a proxy: neither its privacy nor its user are the peer's.
        return Channel()
    peer = _unix_peer(transport)
    if peer is not None:
        return Channel(True, known=peer)
    # A transport in memory has no addresses.
    return Channel(getattr(transport, "peer", None) is None and transport.local is None)


def _bindings(binding: Any) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for kind in BINDINGS:
        try:
            found[kind] = binding(kind)
        except UsageError:
            continue
    return found


def _unix_peer(transport: Any) -> PeerCredentials | None:
    """What the kernel says of the peer of a Unix socket (unix(7), SO_PEERCRED)."""
    import socket
    import struct

    # A transport wrapped in another (a time-out's, a limit's) hands this on, too.
    found: Any = transport.get_extra_info("socket")
    if found is None or found.family != getattr(socket, "AF_UNIX", None):
        return None
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    try:
        _pid, uid, gid = struct.unpack("3i", found.getsockopt(socket.SOL_SOCKET, option, 12))
    except OSError:
        return None
    return PeerCredentials(uid, gid)
