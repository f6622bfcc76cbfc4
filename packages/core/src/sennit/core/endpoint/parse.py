"""Endpoints as URLs: where to listen, where to connect.

========================  ====================================================
``tcp://127.0.0.1:80``    TCP; ``tcp://:80`` listens on every interface, of both
                          families; ``tcp://[::1]:80`` is IPv6
``tls://example.org:443`` TLS over TCP
``unix:run/web.sock``     a Unix socket; ``unix:@name`` in Linux' abstract space
``tls+unix:run/web.sock`` TLS over a Unix socket
``fd:3``                  a listening socket inherited as descriptor 3
========================  ====================================================

Options follow a question mark: ``tcp://:80?backlog=100&reuse_port=yes``,
``unix:web.sock?mode=660``. A scheme that is not listed is asked for among the
entry points of ``sennit.endpoints``.
"""

from __future__ import annotations

import re

from sennit.core.errors import EndpointSyntaxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

__all__ = ["SCHEMES", "Endpoint", "parse_endpoint"]

SCHEMES: Final = ("tcp", "tls", "unix", "tls+unix", "fd")
"""The schemes that core itself knows."""

_OPTIONS: Final = {
    "tcp": ("backlog", "reuse_port"),
    "tls": ("backlog", "reuse_port"),
    "unix": ("backlog", "mode"),
    "tls+unix": ("backlog", "mode"),
    "fd": (),
}
_SCHEME = re.compile(r"[a-z][a-z0-9.-]*(?:\+[a-z][a-z0-9.-]*)*", re.ASCII)
_AUTHORITY = re.compile(
    r"(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([^\s\[\]:/?#@]*)):([0-9]{1,5})", re.ASCII
)
_CONTROLS = re.compile(r"[\x00-\x20\x7f]")


class Endpoint:
    """A URL, taken apart.

    Attributes:
        scheme: One of `SCHEMES`, or that of a plugin.
        host: Name or address, without brackets; empty for every interface.
        port: Port number; 0 for one that the system chooses, and where there is none.
        path: Of a Unix socket; for a plugin's scheme all between colon and question mark.
        fd: The descriptor of ``fd:``; -1 elsewhere.
        options: What followed the question mark.
    """

    __slots__ = ("fd", "host", "options", "path", "port", "scheme", "url")

    def __init__(
        self,
        url: str,
        scheme: str,
        *,
        host: str = "",
        port: int = 0,
        path: str = "",
        fd: int = -1,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.url = url
        self.scheme = scheme
        self.host = host
        self.port = port
        self.path = path
        self.fd = fd
        self.options = dict(options or {})

    def __str__(self) -> str:
        """The URL."""
        return self.url

    def __repr__(self) -> str:
        """The URL, marked as what it is."""
        return f"<Endpoint {self.url}>"

    def __eq__(self, other: object) -> bool:
        """Whether both are written the same way."""
        return isinstance(other, Endpoint) and other.url == self.url

    def __hash__(self) -> int:
        """As the URL's."""
        return hash(self.url)

    @property
    def secure(self) -> bool:
        """Whether it speaks TLS."""
        return self.scheme in ("tls", "tls+unix")

    def number(self, name: str, default: int, *, base: int = 10, most: int = 65535) -> int:
        """An option that is a number, from 0 to `most`.

        Raises:
            EndpointSyntaxError: It is not.
        """
        text = self.options.get(name)
        if text is None:
            return default
        number = -1
        if text.isascii() and text.isdigit() and len(text) <= 18:
            try:
                number = int(text, base)
            except ValueError:
                pass  # an 8 among octal digits
        if not 0 <= number <= most:
            limit = f"{most:o}, octal" if base == 8 else str(most)
            raise EndpointSyntaxError(
                self.url, f"option {name} is a number from 0 to {limit}, not {text!r}"
            )
        return number

    def flag(self, name: str) -> bool:
        """An option that is yes or no.

        Raises:
            EndpointSyntaxError: It is neither.
        """
        text = self.options.get(name, "no")
        if text not in ("yes", "no"):
            raise EndpointSyntaxError(self.url, f"option {name} is yes or no, not {text!r}")
        return text == "yes"


def parse_endpoint(url: str) -> Endpoint:
    """Take a URL apart.

    Raises:
        EndpointSyntaxError: It names no endpoint; the text says what would.
    """
    if _CONTROLS.search(url):
        raise EndpointSyntaxError(url, "blanks and control characters are not allowed")
    scheme, colon, rest = url.partition(":")
    if not colon or not _SCHEME.fullmatch(scheme):
        raise EndpointSyntaxError(
            url, "write SCHEME:…, such as tcp://127.0.0.1:8080 or unix:run/web.sock"
        )
    body, _, query = rest.partition("?")
    options = _parse_options(url, query)
    allowed = _OPTIONS.get(scheme)
    if allowed is None:
        return Endpoint(url, scheme, path=body, options=options)
    for name in options:
        if name not in allowed:
            known = ", ".join(allowed) or "none"
            raise EndpointSyntaxError(url, f"no option {name!r} for {scheme}; there are: {known}")
    if scheme in ("tcp", "tls"):
        host, port = _parse_authority(url, scheme, body)
        return _checked(Endpoint(url, scheme, host=host, port=port, options=options))
    if scheme == "fd":
        if not re.fullmatch(r"[0-9]{1,6}", body, re.ASCII):
            raise EndpointSyntaxError(url, "write the number of a descriptor, such as fd:3")
        return Endpoint(url, scheme, fd=int(body), options=options)
    path = body[2:] if body.startswith("//") else body
    if not path or path == "@":
        raise EndpointSyntaxError(url, f"write a path, such as {scheme}:run/web.sock")
    return _checked(Endpoint(url, scheme, path=path, options=options))


def _checked(endpoint: Endpoint) -> Endpoint:
    """An endpoint of core's own with options that can be read, whoever reads them later."""
    endpoint.number("backlog", 0)
    endpoint.number("mode", 0, base=8, most=0o777)
    endpoint.flag("reuse_port")
    return endpoint


def _parse_authority(url: str, scheme: str, body: str) -> tuple[str, int]:
    example = f"{scheme}://127.0.0.1:8080, {scheme}://[::1]:8080 or {scheme}://:8080"
    if not body.startswith("//"):
        raise EndpointSyntaxError(url, f"two slashes follow the colon: {example}")
    authority = body[2:].removesuffix("/")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        if ":" not in authority.rpartition("]")[2]:
            raise EndpointSyntaxError(url, f"the port is missing: {example}")
        raise EndpointSyntaxError(url, f"write {example}")
    if match[1] and not _is_ipv6(match[1]):
        raise EndpointSyntaxError(url, f"[{match[1]}] is no IPv6 address")
    port = int(match[3])
    if port > 65535:
        raise EndpointSyntaxError(url, f"a port is at most 65535, not {port}")
    return match[1] or match[2] or "", port


def _is_ipv6(text: str) -> bool:
    import socket

    try:
        socket.inet_pton(socket.AF_INET6, text.partition("%")[0])
    except OSError:
        return False
    return True


def _parse_options(url: str, query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for item in filter(None, query.split("&")):
        name, equals, value = item.partition("=")
        if not equals:
            raise EndpointSyntaxError(url, f"option {name!r} has no value: write {name}=…")
        if name in options:
            raise EndpointSyntaxError(url, f"option {name!r} is given twice")
        options[name] = value
    return options
