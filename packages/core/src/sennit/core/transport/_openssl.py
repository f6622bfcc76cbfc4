"""The one place that imports pyOpenSSL, and what of its C library we call ourselves.

`OpenSSL.SSL` is used wherever it can do the thing. It cannot do five, for which
its binding is called directly:

* read several records into one buffer (`SSL_read`): a quarter of the cost of receiving;
* answer a failed SNI or ALPN choice with the right alert, without a traceback on
  standard error (`SSL_CTX_set_tlsext_servername_callback`, `SSL_CTX_set_alpn_select_cb`);
* say whether a session was resumed (`SSL_session_reused`);
* say why a chain was refused (`SSL_get_verify_result`);
* tell sessions of one client from those of others, in a context that is in use
  (`SSL_CTX_set_session_id_context`).
"""

from __future__ import annotations

import threading

from sennit.core.errors import MissingExtraError

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from OpenSSL import SSL
    from OpenSSL._util import ffi as _ffi
    from OpenSSL._util import lib as _lib
except ImportError as error:
    raise MissingExtraError("TLS", "sennit-core", "tls") from error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

__all__ = [
    "ERROR_WANT_READ",
    "SCRATCH",
    "SSL",
    "describe_error",
    "ffi",
    "lib",
    "scratch",
    "serialization",
    "verify_problem",
    "x509",
]

ffi: Any = _ffi
"""cffi's view of the library; it carries no types."""
lib: Any = _lib

SCRATCH: Final = 128 * 1024
"""Octets of the buffer that plaintext is read into: more than one read of the transport below."""
ERROR_WANT_READ: Final = 2
"""``SSL_ERROR_WANT_READ``."""

_REASONS: Final = {
    "http request": "the peer speaks plain HTTP",
    "https proxy request": "the peer speaks plain HTTP (CONNECT)",
    "wrong version number": "the peer does not speak TLS",
    "packet length too long": "the peer does not speak TLS",
    "unsupported protocol": "no TLS version in common",
    "no shared cipher": "no cipher suite in common",
    "callback failed": "the name asked for by SNI was refused",
    "no application protocol": "no application protocol (ALPN) in common",
    "peer did not return a certificate": "the peer showed no certificate",
    "unexpected eof while reading": "the peer ended without close_notify",
}


class _Scratch(threading.local):
    """One buffer per thread: the library reads with the interpreter's lock released."""

    def __init__(self) -> None:
        self.buffer: Any = ffi.new("char[]", SCRATCH)


_scratch = _Scratch()


def scratch() -> Any:
    """This thread's buffer of `SCRATCH` octets, free whenever no call of ours is under way."""
    return _scratch.buffer


def describe_error(error: BaseException) -> str:
    """What went wrong, in a few words for people (never octets of the peer)."""
    if isinstance(error, SSL.Error):
        entries: Any = error.args[0] if error.args else ()
        if isinstance(entries, (list, tuple)) and entries:
            last: Any = entries[-1]  # pyright: ignore[reportUnknownVariableType]
            reason = str(last[-1]) if isinstance(last, tuple) else str(last)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            return _REASONS.get(reason, reason)
        return str(error) or "the connection is broken"
    return f"{type(error).__name__}: {error}"


def verify_problem(connection: SSL.Connection) -> str | None:
    """Why the peer's chain of certificates was refused; ``None`` when it was not."""
    code = lib.SSL_get_verify_result(connection._ssl)
    if code == 0:
        return None
    text: str = ffi.string(lib.X509_verify_cert_error_string(code)).decode("ascii", "replace")
    return text
