"""Endpoints as URLs: where to listen, where to connect.

========================  ====================================================
``tcp://127.0.0.1:80``    TCP; ``tcp://:80`` listens on every interface, of both
                          families; ``tcp://[::1]:80`` is IPv6
``tls://example.org:443`` TLS over TCP
``unix:run/web.sock``     a Unix socket; ``unix:@name`` in Linux' abstract space
``tls+unix:run/web.sock`` TLS over a Unix socket
``fd:3``                  a listening socket inherited as descriptor 3
``systemd:web``           sockets that a service manager passes, by name
``haproxy+tcp://:80``     behind a proxy that sends PROXY headers
``socks5+tcp://…``        through a proxy, ``?proxy=HOST:PORT``
========================  ====================================================

``tls+fd:``, ``tls+systemd:`` and what else there is stands in the table of schemes.

Options follow a question mark: ``tcp://:80?backlog=100&reuse_port=yes``,
``unix:web.sock?mode=660``. Each scheme is a row in `sennit.core.endpoint.schemes`; one
that is not there is asked for among the entry points of ``sennit.endpoints``.
"""

from __future__ import annotations

import re

from sennit.core.endpoint.schemes import PREFIXES, SCHEMES, TABLE
from sennit.core.errors import EndpointSyntaxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from sennit.core.endpoint.schemes import OptionKind, Prefix, Scheme

__all__ = ["SCHEMES", "Endpoint", "parse_endpoint"]

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
        row: What its scheme means; of a wrapped one the wrapped scheme's. ``None``
            while the plugin that knows it is not loaded.
        prefix: What wraps it, for ``PREFIX+SCHEME:…``.
        inner: The endpoint that is wrapped, with the options that are not the prefix's.
    """

    __slots__ = (
        "fd",
        "host",
        "inner",
        "options",
        "path",
        "port",
        "prefix",
        "row",
        "scheme",
        "url",
    )

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
        row: Scheme | None = None,
        prefix: Prefix | None = None,
        inner: Endpoint | None = None,
    ) -> None:
        self.url = url
        self.scheme = scheme
        self.host = host
        self.port = port
        self.path = path
        self.fd = fd
        self.options = dict(options or {})
        self.row = row
        self.prefix = prefix
        self.inner = inner

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
        return self.row is not None and self.row.secure

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


def parse_endpoint(url: str, row: Scheme | None = None) -> Endpoint:
    """Take a URL apart.

    Args:
        url: The URL.
        row: What its scheme means, where that is not in the table: a plugin's row.
            Without it an unknown scheme's body becomes the `Endpoint.path` as it is.

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
    known = TABLE.get(scheme) or row
    options = _parse_options(url, query, known)
    if known is not None:
        return _parse_body(url, known, body, options)
    first, _, inner = scheme.partition("+")
    prefix = PREFIXES.get(first)
    if prefix is None:
        return Endpoint(url, scheme, path=body, options=options)
    return _parse_wrapped(url, scheme, prefix, inner, body, options)


def _parse_wrapped(
    url: str, scheme: str, prefix: Prefix, name: str, body: str, options: Mapping[str, str]
) -> Endpoint:
    """``PREFIX+SCHEME:…``: the inner endpoint, and the prefix's own options taken out."""
    if name not in prefix.inner:
        known = ", ".join(f"{prefix.name}+{each}" for each in prefix.inner)
        raise EndpointSyntaxError(url, f"there is no {scheme!r}; there are {known}")
    own = {key: value for key, value in options.items() if key in prefix.options}
    others = {key: value for key, value in options.items() if key not in prefix.options}
    query = "&".join(f"{key}={value}" for key, value in others.items())
    row = TABLE[name]
    for key in others:
        if key not in row.options:
            _unknown_option(url, key, scheme, {**prefix.options, **row.options})
    inner = _parse_body(f"{name}:{body}{'?' if query else ''}{query}", row, body, others, url)
    endpoint = Endpoint(
        url,
        scheme,
        host=inner.host,
        port=inner.port,
        path=inner.path,
        fd=inner.fd,
        options=options,
        row=row,
        prefix=prefix,
        inner=inner,
    )
    for key in own:
        _check_option(endpoint, key, prefix.options[key])
    return endpoint


def _parse_body(
    url: str, row: Scheme, body: str, options: Mapping[str, str], whole: str = ""
) -> Endpoint:
    """What follows the scheme, by its row; errors quote the `whole` URL."""
    shown, scheme = whole or url, row.name
    host, port, path, fd = "", 0, "", -1
    for name in options:
        if name not in row.options:
            _unknown_option(shown, name, scheme, row.options)
    if row.form == "authority":
        host, port = _parse_authority(shown, shown.partition(":")[0], body)
    elif row.form == "number":
        if not re.fullmatch(r"[0-9]{1,6}", body, re.ASCII):
            raise EndpointSyntaxError(
                shown, f"write the number of a descriptor, such as {scheme}:3"
            )
        fd = int(body)
    elif row.form == "path":
        path = body[2:] if body.startswith("//") else body
        if not path or path == "@":
            example = "/usr/bin/cat" if scheme == "process" else "run/web.sock"
            raise EndpointSyntaxError(shown, f"write a path, such as {scheme}:{example}")
    else:
        path = body
    endpoint = Endpoint(
        url, scheme, host=host, port=port, path=path, fd=fd, options=options, row=row
    )
    try:
        for name in options:
            _check_option(endpoint, name, row.options[name])
    except EndpointSyntaxError as error:
        raise EndpointSyntaxError(shown, error.problem) from None
    return endpoint


def _unknown_option(url: str, name: str, scheme: str, options: Mapping[str, OptionKind]) -> None:
    known = ", ".join(options) or "none"
    raise EndpointSyntaxError(url, f"no option {name!r} for {scheme}; there are: {known}")


def _check_option(endpoint: Endpoint, name: str, kind: OptionKind) -> None:
    """An option that can be read, whoever reads it later."""
    if kind == "number":
        endpoint.number(name, 0)
    elif kind == "octal":
        endpoint.number(name, 0, base=8, most=0o777)
    elif kind == "flag":
        endpoint.flag(name)


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


def _parse_options(url: str, query: str, row: Scheme | None) -> dict[str, str]:
    options: dict[str, str] = {}
    for item in filter(None, query.split("&")):
        name, equals, value = item.partition("=")
        if not equals:
            raise EndpointSyntaxError(url, f"option {name!r} has no value: write {name}=…")
        if name in options:
            if row is None or row.options.get(name) != "texts":
                raise EndpointSyntaxError(url, f"option {name!r} is given twice")
            value = f"{options[name]}\n{value}"
        options[name] = value
    return options
