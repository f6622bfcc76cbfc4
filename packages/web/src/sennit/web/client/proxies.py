"""Proxies of a client: which there are, and which one a URL goes through.

An HTTP proxy forwards requests for ``http`` (absolute-form targets, RFC 9112
§3.2.2) and opens tunnels for everything over TLS (CONNECT, RFC 9110 §9.3.6); a
SOCKS proxy opens tunnels for all. How tunnels are opened is core's
(``sennit.core.endpoint.tunnel``).

The environment's variables (``http_proxy``, ``https_proxy``, ``all_proxy``,
``no_proxy``) are read as curl reads them (curl(1), ENVIRONMENT), and only where a
program asks for that. ``HTTP_PROXY`` in capitals is not looked at where a CGI
program runs, since there it is a field of the request (CVE-2016-5385).
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Final

from sennit.core.endpoint.tunnel import Proxy as Tunnel
from sennit.web.client.urls import URL
from sennit.web.errors import WebUsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sennit.core.transport.tls import ClientTLS

__all__ = ["Proxies", "Proxy", "proxies_from_environment"]

_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_KIN: Final[Mapping[str, str]] = {"ws": "http", "wss": "https"}


class Proxy:
    """One proxy.

    Args:
        url: ``http://host:port``, ``https://host:port`` or ``socks5://host:port``; a login
            may stand before the host, as in the environment's variables.
        username: What to log in with; instead of the URL's.
        password: Likewise; never shown.
        tls: How to talk TLS to an ``https`` proxy; the system's trust when left out.

    Raises:
        ValueError: The URL names no proxy.

    Attributes:
        scheme: ``http``, ``https`` or ``socks5``. (SOCKS proxies look names up
            themselves, which others call ``socks5h``.)
        host: Where it is.
        port: Likewise.
        place: Both, as they are written.
        tls: As given.
        authorization: What Proxy-Authorization says to an HTTP proxy (RFC 7617), or ``None``.
    """

    __slots__ = ("authorization", "host", "place", "port", "scheme", "tls", "tunnel")

    def __init__(
        self,
        url: str,
        username: str | None = None,
        password: str | None = None,
        *,
        tls: ClientTLS | None = None,
    ) -> None:
        scheme, separator, rest = url.partition("://")
        scheme = scheme.lower()
        if not separator:
            scheme, rest = "http", url  # as curl has it
        if scheme not in _PORTS:
            raise WebUsageError(f"a proxy is http://, https:// or socks5://, not {scheme!r:.40}")
        place = URL("http://" + rest)
        if place.target != b"/":
            raise WebUsageError(f"a proxy has no path: {place}")
        self.scheme = "socks5" if scheme == "socks5h" else scheme
        self.host = place.host
        # A port of 80 that was written is one that was not, to the reader of URLs.
        written = place.port != 80 or rest.rpartition("@")[2].partition("/")[0].endswith(":80")
        self.port = place.port if written else _PORTS[scheme]
        self.tls = tls
        username = username if username is not None else place.username or None
        password = password if password is not None else place.password
        name = f"[{self.host}]" if ":" in self.host else self.host
        self.place = f"{name}:{self.port}"
        kind = {"socks5": "socks5", "http": "http-connect", "https": "http-connect+tls"}
        self.tunnel = Tunnel(
            f"{kind[self.scheme]}://{self.place}",
            username,
            password if username is not None else None,
            tls=tls,
        )
        self.authorization: bytes | None = None
        if username is not None and self.forwards:
            if ":" in username:
                raise WebUsageError("a user name with a colon cannot be sent (RFC 7617 §2)")
            self.authorization = b"Basic " + b64encode(f"{username}:{password}".encode())

    @property
    def forwards(self) -> bool:
        """Whether it takes requests for ``http`` as they are, without a tunnel."""
        return self.scheme != "socks5"

    def __repr__(self) -> str:
        """Kind and place; nothing of the login."""
        return f"<Proxy {self.scheme}://{self.place}>"


class Proxies:
    """Chooses a proxy by URL.

    Args:
        by_scheme: Proxies by the scheme of the URL that is asked for; ``all`` is for
            the schemes that have none of their own. ``ws`` goes where ``http`` goes.
        bypass: Hosts asked without a proxy: names (their subdomains too), addresses,
            networks (``10.0.0.0/8``), each with a port if need be; ``*`` for all.
    """

    def __init__(self, by_scheme: Mapping[str, Proxy], bypass: Iterable[str] = ()) -> None:
        self._by_scheme = dict(by_scheme)
        self._bypass = [_rule(each.strip()) for each in bypass if each.strip()]

    def choose(self, url: URL) -> Proxy | None:
        """The proxy for a URL; ``None`` to go there directly."""
        if url.unix is not None:
            return None
        scheme = _KIN.get(url.scheme, url.scheme)
        proxy = self._by_scheme.get(scheme) or self._by_scheme.get("all")
        if proxy is None or any(_covers(rule, url) for rule in self._bypass):
            return None
        return proxy


def _rule(text: str) -> str:
    """A rule as hosts are written: in lower case, names beyond ASCII as A-labels."""
    if text.isascii():
        return text.lower()
    name, colon, port = text.partition(":")
    labels = name.removeprefix("*").strip(".")
    try:
        return URL(f"http://{labels}").host + colon + port
    except ValueError:
        return text.lower()  # which no host is


def _covers(rule: str, url: URL) -> bool:
    if rule == "*":
        return True
    if "/" in rule or ":" in url.host or url.host.rpartition(".")[2].isdigit():
        return _covers_address(rule, url)
    name, colon, port = rule.partition(":")
    if colon and port != str(url.port):
        return False
    name = name.removeprefix("*").strip(".")
    host = url.host.rstrip(".")
    return bool(name) and (host == name or host.endswith("." + name))


def _covers_address(rule: str, url: URL) -> bool:
    """Whether a rule means the address that the URL has for a host."""
    import ipaddress  # few programs have such rules

    port = ""
    if rule.startswith("["):
        rule, _, port = rule[1:].partition("]")
        port = port.removeprefix(":")
    elif rule.count(":") == 1:
        rule, _, port = rule.partition(":")
    if port and port != str(url.port):
        return False
    try:
        return ipaddress.ip_address(url.host) in ipaddress.ip_network(rule, strict=False)
    except ValueError:
        return False


def proxies_from_environment(environ: Mapping[str, str]) -> Proxies:
    """What the variables say: `os.environ`, or another such mapping.

    Raises:
        ValueError: One of them names no proxy.
    """
    found: dict[str, Proxy] = {}
    for scheme in ("http", "https", "all"):
        name = f"{scheme}_proxy"
        text = environ.get(name)
        if text is None and not (scheme == "http" and "REQUEST_METHOD" in environ):
            text = environ.get(name.upper())
        if text:
            try:
                found[scheme] = Proxy(text)
            except ValueError as error:
                raise WebUsageError(f"the variable {name}: {error}") from error
    bypass = environ.get("no_proxy", environ.get("NO_PROXY", ""))
    return Proxies(found, bypass.split(","))
