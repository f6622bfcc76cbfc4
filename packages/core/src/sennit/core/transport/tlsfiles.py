"""Reading certificates, keys and authorities: files or octets in, understood pairs out."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sennit.core.errors import TLSError
from sennit.core.transport._openssl import SSL, describe_error, serialization, x509

if TYPE_CHECKING:
    Source = bytes | str | os.PathLike[str]
    """PEM octets, or the path of a file that holds them."""
    Pair = tuple[Source, Source | None]
    """Certificate (with its chain behind it) and key; no key where one file holds both."""
    Password = bytes | str | Callable[[], bytes | str] | None

__all__ = ["Loaded", "load", "names_of", "trust_in", "use"]

_KEY: Final = re.compile(
    rb"-----BEGIN ((?:[A-Z]+ )*PRIVATE KEY)-----.*?-----END \1-----[ \t\r]*\n?", re.DOTALL
)


class Loaded(NamedTuple):
    """A certificate with its key, read and understood."""

    chain: list[x509.Certificate]
    key: Any  # one of cryptography's private keys
    where: str


def _read(source: Source, what: str) -> tuple[bytes, str]:
    """The octets and how to call them in a message."""
    if isinstance(source, bytes):
        return source, what
    path = os.fspath(source)
    try:
        with open(path, "rb") as file:
            return file.read(), f"{what} {path}"
    except OSError as error:
        raise TLSError(f"{what} {path}: {error.strerror}", "cannot be read") from error


def _certificates(source: Source, what: str) -> list[x509.Certificate]:
    data, where = _read(source, what)
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise TLSError(f"{where} holds no PEM certificate that can be read", "bad PEM") from error


def load(
    certificate: Source, key: Source | None, chain: Source | None, password: Password
) -> Loaded:
    """Read a certificate, what links it to a root, and its key.

    Raises:
        TLSError: A file is missing, half-written, encrypted with another password,
            or key and certificate do not belong together.
    """
    certificates = _certificates(certificate, "certificate")
    if chain is not None:
        certificates += _certificates(chain, "certificate chain")
    data, where = _read(certificate if key is None else key, "key")
    found = _KEY.search(data)
    if found is None:
        raise TLSError(f"{where} holds no PEM private key", "bad PEM")
    word = password() if callable(password) else password
    if isinstance(word, str):
        word = word.encode()
    # Given a word it does not need, the library refuses; one server may hold both kinds of keys.
    encrypted = b"ENCRYPTED" in found[0]
    try:
        private = serialization.load_pem_private_key(found[0], word if encrypted else None)
    except (ValueError, TypeError) as error:
        problem = "needs another password" if encrypted else "cannot be read"
        raise TLSError(f"{where} {problem}", problem) from error
    if private.public_key() != certificates[0].public_key():
        raise TLSError(
            f"{where} does not belong to {_read(certificate, 'certificate')[1]}", "key mismatch"
        )
    return Loaded(certificates, private, where)


def use(context: SSL.Context, loaded: Loaded) -> None:
    """Show a certificate on every connection of `context`.

    Raises:
        TLSError: The library does not want it (a key too short, for one).
    """
    try:
        context.use_certificate(loaded.chain[0])
        for above in loaded.chain[1:]:
            context.add_extra_chain_cert(above)
        context.use_privatekey(loaded.key)
        context.check_privatekey()
    except SSL.Error as error:
        reason = describe_error(error)
        raise TLSError(f"{loaded.where}: {reason}", reason) from error


def names_of(certificate: x509.Certificate) -> list[str]:
    """The host names a certificate is for (its SAN alone)."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [str(name) for name in found.value.get_values_for_type(x509.DNSName)]


def trust_in(context: SSL.Context, source: Source) -> list[x509.Certificate]:
    """Believe the authorities in a PEM file, PEM octets or a hashed folder."""
    if not isinstance(source, bytes) and os.path.isdir(source):
        context.load_verify_locations(None, os.fspath(source))
        return []
    authorities = _certificates(source, "authorities")
    store = context.get_cert_store()
    assert store is not None
    from OpenSSL import crypto

    for each in authorities:
        store.add_cert(crypto.X509.from_cryptography(each))
    return authorities
