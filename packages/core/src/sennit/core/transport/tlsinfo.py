"""A certificate in the shape in which the standard library's ``ssl`` shows it.

For programs written for asyncio, which ask `get_extra_info("peercert")`; others take
`ITLSTransport.peer_certificate` and a library for certificates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from cryptography import x509

__all__ = ["certificate_dict"]


def certificate_dict(certificate: x509.Certificate | None) -> dict[str, Any] | None:
    """What `ssl.SSLSocket.getpeercert` says; ``None`` where there is no certificate."""
    if certificate is None:
        return None
    from cryptography import x509

    found: dict[str, Any] = {
        "subject": _distinguished(certificate.subject),
        "issuer": _distinguished(certificate.issuer),
        "version": certificate.version.value + 1,
        "serialNumber": f"{certificate.serial_number:X}",
        "notBefore": certificate.not_valid_before_utc.strftime("%b %d %H:%M:%S %Y GMT"),
        "notAfter": certificate.not_valid_after_utc.strftime("%b %d %H:%M:%S %Y GMT"),
    }
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return found
    found["subjectAltName"] = (
        *(("DNS", name) for name in names.get_values_for_type(x509.DNSName)),
        *(("IP Address", str(each)) for each in names.get_values_for_type(x509.IPAddress)),
        *(("email", name) for name in names.get_values_for_type(x509.RFC822Name)),
    )
    return found


def _distinguished(name: x509.Name) -> tuple[tuple[tuple[str, str], ...], ...]:
    return tuple(
        tuple((part.oid._name, str(part.value)) for part in relative) for relative in name.rdns
    )
