"""What a server is called: ``udp://9.9.9.9``, ``tls://1.1.1.1#dns.example``, ``https://…``.

========================  =====================================================================
``9.9.9.9``, ``udp://…``  UDP, and TCP where an answer does not fit; port 53
``tcp://…``               TCP alone; port 53
``tls://…``               DNS over TLS, port 853; behind ``#`` the name in its certificate, else
                          the certificate must name the address; ``?pin=BASE64`` pins its key,
                          ``?opportunistic`` takes any certificate (RFC 8310 §5), but never
                          goes on in clear text, which another server in the list may
``https://…``             DNS over HTTPS; ``/dns-query`` where no path is given
========================  =====================================================================

Servers are addresses in digits, since names are what they are asked for; only ``https`` may have
a name, which the HTTP client looks up by itself.
"""

from __future__ import annotations

import base64
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from sennit.names.errors import DNSUsageError

if TYPE_CHECKING:
    from sennit.names.client.stream import TLSProfile

__all__ = ["PORTS", "Server", "server_from_text"]

PORTS: Final = {"udp": 53, "tcp": 53, "tls": 853, "https": 443}


class Server(NamedTuple):
    """One server, and how it is talked to.

    Attributes:
        scheme: ``udp``, ``tcp``, ``tls`` or ``https``.
        host: Address in digits; a name for ``https`` alone.
        port: Port.
        url: The whole, for ``https``; else empty.
        name: The name in its certificate (``tls``).
        pins: Its public keys (`sennit.names.client.stream.TLSProfile`).
        opportunistic: Whether any certificate will do.
    """

    scheme: str
    host: str
    port: int
    url: str = ""
    name: str | None = None
    pins: frozenset[bytes] = frozenset()
    opportunistic: bool = False

    def __str__(self) -> str:
        """As it is written."""
        if self.url:
            return self.url
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}" + (f"#{self.name}" if self.name else "")

    @property
    def encrypted(self) -> bool:
        """Whether nobody on the way can read."""
        return self.scheme in ("tls", "https")

    def profile(self) -> TLSProfile | None:
        """How it is known over TLS; ``None`` for others than ``tls``."""
        if self.scheme != "tls":
            return None
        from sennit.names.client.stream import TLSProfile

        return TLSProfile(self.name, pins=self.pins, opportunistic=self.opportunistic)


def server_from_text(text: str, *, port: int | None = None) -> Server:
    """A server as it is written.

    Args:
        text: An address, ``ADDRESS:PORT``, ``[ADDRESS]:PORT`` or a URL.
        port: Port where the text has none; the scheme's own when left out.

    Raises:
        DNSUsageError: It is none.
    """
    if "://" not in text:
        return _plain(text, port)
    try:
        parts = urlsplit(text)
        given = parts.port
    except ValueError as error:
        raise DNSUsageError(f"{text!r:.200} is no server: {error}") from None
    scheme = parts.scheme
    host = parts.hostname or ""
    if scheme not in PORTS:
        raise DNSUsageError(
            f"{text!r:.200} is no server: there are udp://, tcp://, tls:// and https://"
        )
    if parts.username is not None:
        # What stands there may be a password: it is not repeated.
        raise DNSUsageError(f"a server has no login: write {scheme}://ADDRESS")
    if any(mark.isspace() or not mark.isprintable() for mark in text):
        raise DNSUsageError(f"{text!r:.200} is no server: write {scheme}://ADDRESS")
    number = given if given is not None else port or PORTS[scheme]
    if not host or not 0 < number < 65536:
        raise DNSUsageError(f"{text!r:.200} is no server: it has no host, or no such port")
    if scheme == "https":
        whole = text.partition("#")[0]
        if parts.path in ("", "/"):
            where = parts.netloc if given is not None or port is None else f"{parts.netloc}:{port}"
            whole = f"https://{where}/dns-query" + (f"?{parts.query}" if parts.query else "")
        return Server("https", host, number, whole)
    _check_address(host, text)
    if parts.path not in ("", "/") or (scheme != "tls" and (parts.query or parts.fragment)):
        raise DNSUsageError(f"{text!r:.200}: nothing may follow the address and port")
    pins, opportunistic = _tls_options(parts.query, text)
    return Server(scheme, host, number, "", parts.fragment or None, pins, opportunistic)


def _tls_options(query: str, text: str) -> tuple[frozenset[bytes], bool]:
    pins: set[bytes] = set()
    opportunistic = False
    for key, value in parse_qsl(query.replace("+", "%2B"), keep_blank_values=True):
        if key == "pin":
            try:
                pin = base64.b64decode(value, validate=True)
            except ValueError:
                pin = b""
            if len(pin) != 32:
                raise DNSUsageError(f"{text!r:.200}: a pin is the base64 of a SHA-256")
            pins.add(pin)
        elif key == "opportunistic" and not value:
            opportunistic = True
        else:
            raise DNSUsageError(f"{text!r:.200}: there are ?pin=BASE64 and ?opportunistic")
    return frozenset(pins), opportunistic


def _plain(text: str, port: int | None) -> Server:
    host, number = text, port or PORTS["udp"]
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        if rest:
            number = _port(rest, text)
    elif text.count(":") == 1:
        host, _, rest = text.partition(":")
        number = _port(":" + rest, text)
    _check_address(host, text)
    return Server("udp", host, number)


def _port(rest: str, text: str) -> int:
    digits = rest[1:]
    if rest[:1] == ":" and digits.isascii() and digits.isdigit() and len(digits) <= 5:
        number = int(digits)
        if 0 < number < 65536:
            return number
    raise DNSUsageError(f"{text!r:.200} has no port from 1 to 65535 behind its address")


def _check_address(host: str, text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(host)
    except ValueError:
        raise DNSUsageError(
            f"{text!r:.200} is no server: a server is given by its address in digits, "
            "such as 9.9.9.9, tls://9.9.9.9#dns.example or https://dns.example/dns-query"
        ) from None
