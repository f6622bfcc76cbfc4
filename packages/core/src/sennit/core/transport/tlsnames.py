"""Host names in TLS: what SNI may carry, and whether a certificate is the host's (RFC 9525)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from sennit.core.errors import MissingExtraError, UsageError
from sennit.core.transport._openssl import x509

if TYPE_CHECKING:
    from sennit.core.transport._openssl import SSL

__all__ = ["ExpectedHost", "ascii_name", "check_peer", "server_name_problem"]

# RFC 952 and 1123, and the underscore that people use; A-labels are plain letters by then.
_LABEL: Final = re.compile(rb"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


def server_name_problem(name: bytes) -> str | None:
    """What is wrong with a name that came by SNI (RFC 6066 §3); ``None`` when nothing is."""
    if len(name) > 253:
        return "longer than 253 octets"
    labels = name.split(b".")
    if not all(map(_LABEL.fullmatch, labels)):
        return "not a host name"
    return None


class ExpectedHost:
    """Whom a client wants to talk to, and what was found instead.

    Args:
        host: A host name (also an internationalized one) or an IP address.

    Attributes:
        name: What SNI and certificates call it.
        is_address: Whether it is an IP address, which SNI does not carry.
        problem: Why the certificate is not that host's, once that is known.
        verify: Whether certificates are compared with it.

    Raises:
        UsageError: It is neither a host name nor an IP address.
    """

    __slots__ = ("_id", "is_address", "name", "problem", "verify")

    def __init__(self, host: str, *, verify: bool) -> None:
        self.problem: str | None = None
        self.verify = verify
        self._id: Any = None
        name = host.strip("[]").partition("%")[0] if ":" in host else host
        self.is_address = ":" in name or name.rpartition(".")[2].isdigit()
        self.name = name if self.is_address else ascii_name(host, host=True).decode("ascii")
        if verify:
            try:
                from service_identity.hazmat import DNS_ID, IPAddress_ID
            except ImportError as error:
                raise MissingExtraError("TLS", "sennit-core", "tls") from error
            if self.is_address:
                try:
                    self._id = IPAddress_ID(name)
                except ValueError as error:
                    raise UsageError(f"{host!r} is not an IP address") from error
            else:
                self._id = DNS_ID(self.name)

    def check(self, certificate: x509.Certificate) -> bool:
        """Whether a certificate is this host's; leaves the reason in `problem` if not."""
        from service_identity import CertificateError, VerificationError
        from service_identity.cryptography import extract_patterns
        from service_identity.hazmat import verify_service_identity

        try:
            verify_service_identity(extract_patterns(certificate), [self._id], [])
        except VerificationError:
            names = ", ".join(_all_names(certificate)[:5]) or "nobody"
            self.problem = f"the certificate is for {names[:200]}"
        except (CertificateError, ValueError) as error:
            self.problem = f"the certificate names no host as it must: {str(error)[:200]}"
        return self.problem is None


def _all_names(certificate: x509.Certificate) -> list[str]:
    """The names a certificate gives itself, fit to be shown."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    names = [*found.get_values_for_type(x509.DNSName)]
    names += [str(each) for each in found.get_values_for_type(x509.IPAddress)]
    return [ascii(name)[1:-1] for name in names]


def ascii_name(name: str, *, host: bool = False) -> bytes:
    """A name as SNI and certificates carry it: lower case, A-labels, no dot at the end."""
    name = name.rstrip(".").lower()
    if not name.isascii():
        try:
            import idna
        except ImportError as error:
            raise MissingExtraError("TLS", "sennit-core", "tls") from error
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise UsageError(f"{name!r} is not a host name: {error}") from error
    octets = name.encode("ascii")
    if server_name_problem(octets[2:] if octets[:2] == b"*." and not host else octets):
        raise UsageError(f"{name!r} is not a host name")
    return octets


def check_peer(
    connection: SSL.Connection, certificate: Any, code: int, depth: int, chain_is_good: int
) -> bool:
    """Called by the library per certificate of the chain, the peer's own (depth 0) last."""
    if not chain_is_good:
        return False
    if depth == 0:
        host = connection.get_app_data()
        if isinstance(host, ExpectedHost) and host.verify:
            try:
                return host.check(certificate.to_cryptography())
            except Exception as error:
                host.problem = f"the certificate cannot be understood ({type(error).__name__})"
                return False
    return True
