"""Who a request came from, as proxies say it: Forwarded, and X-Forwarded-For and its kin.

A server behind a proxy sees the proxy. `trust_forwarded` makes a request say whom
the proxy saw: ``request.peer``, ``request.scheme`` and ``request.host``. Anybody can
send such fields, so they are read only where the connection comes from a network
that is trusted, and from the end on: the last entry was written by whom we see, the
one before it by whom *that* one saw, as long as they are trusted too. The first one
that is not is the client; what stands before it is its own word, and not looked at.

Proxies write one style or the other, and hand on what a client wrote in the style
that they do not. So exactly one style is read, as the operator says.

What a trusted proxy says that cannot be read is answered with 400: to ignore it
would be to take the client for the proxy, and give it the rights that this has.

`Forwarder` is the other side: the fields that a proxy of ours adds.

Sources: RFC 7239; X-Forwarded-* as practised (MDN). HARDENING default 23: off unless
asked for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from sennit.core.address import InternetAddress, UnixAddress
from sennit.core.endpoint.networks import Networks, host_of
from sennit.web.errors import WebUsageError
from sennit.web.response import HTTPError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Final

    from sennit.core.address import Address
    from sennit.web.request import Request
    from sennit.web.server import Answer, Handler
    from sennit.web.wrappers import Wrapper

    Field = tuple[bytes, bytes]

__all__ = [
    "ForwardedError",
    "Forwarder",
    "Hop",
    "Style",
    "TrustedPeers",
    "read_hops",
    "says_origin",
    "trust_forwarded",
]

Style = Literal["x-forwarded", "forwarded"]
"""``x-forwarded``: X-Forwarded-For, -Proto, -Host and -Port; ``forwarded``: RFC 7239."""

_WRITTEN: Final = frozenset({b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"})

MAX_HOPS: Final = 32
"""Entries that are read; a longer way is refused."""

_TOKEN: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PAIR: Final = re.compile(
    rf'[ \t]*(?:({_TOKEN})=(?:({_TOKEN})|"((?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*+)"))?'
    r"[ \t]*(;|,|\Z)"
).match
_NODE: Final = re.compile(
    r"(?:(unknown|_[A-Za-z0-9._-]+)|\[([0-9A-Fa-f:.]{2,45})\]|([0-9.]{7,15}))"
    r"(?::([0-9]{1,5}|_[A-Za-z0-9._-]+))?"
).fullmatch
_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
).fullmatch
_KEPT_AT_MOST: Final = 512
_SCHEMES: Final = ("http", "https")


def says_origin(name: bytes) -> bool:
    """Whether a field says where a request came from, in whichever way.

    Args:
        name: In lower case.
    """
    return name in (b"forwarded", b"x-real-ip") or name.startswith(b"x-forwarded-")


class ForwardedError(ValueError):
    """A field that cannot be read."""


class Hop:
    """One step of a request's way, as the proxy that took it says.

    Attributes:
        client: The address that it saw; empty where it would not tell.
        port: The client's port, 0 where that is not told.
        scheme: ``http`` or ``https``, or empty.
        host: The authority that was asked for, or empty.
    """

    __slots__ = ("client", "host", "port", "scheme")

    def __init__(self, client: str, port: int = 0, scheme: str = "", host: str = "") -> None:
        self.client = client
        self.port = port
        self.scheme = scheme
        self.host = host

    def __repr__(self) -> str:
        return f"Hop({self.client!r}, {self.port}, {self.scheme!r}, {self.host!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hop) and repr(self) == repr(other)

    __hash__ = None  # type: ignore[assignment]  # compared, never kept in sets


# ── reading ───────────────────────────────────────────────────────────────────


def read_hops(headers: Iterable[Field], style: Style) -> list[Hop]:
    """The way of a request, its client first.

    Of the style ``x-forwarded`` only entries from the end on are read, up to one that
    is no address: what stands before may be anybody's.

    Args:
        headers: (lower-case name, value) octet pairs.
        style: Which fields to read.

    Raises:
        ForwardedError: They cannot be read.
    """
    if style == "forwarded":
        text = _joined(headers, b"forwarded")
        return _read_forwarded(text) if text else []
    return _read_x_forwarded(headers)


def _joined(headers: Iterable[Field], name: bytes) -> str:
    return b",".join(value for each, value in headers if each == name).decode("latin-1")


def _read_forwarded(text: str) -> list[Hop]:
    """The elements of Forwarded (RFC 7239 §4)."""
    hops: list[Hop] = []
    pairs: dict[str, str] = {}
    at = 0
    while True:
        found = _PAIR(text, at)
        if found is None:
            raise ForwardedError("Forwarded cannot be read")
        at = found.end()
        name, token, quoted, mark = found.groups()
        if name is not None:
            name = name.lower()
            if name in pairs:
                raise ForwardedError(f"{name!r:.40} comes twice")
            pairs[name] = token if token is not None else re.sub(r"\\(.)", r"\1", quoted)
        if mark == ";":
            continue
        if pairs:
            hops.append(_hop(pairs))
            pairs = {}
            if len(hops) > MAX_HOPS:
                raise ForwardedError(f"more than {MAX_HOPS} steps")
        if not mark:
            return hops


def _hop(pairs: dict[str, str]) -> Hop:
    client, port = _node(pairs["for"]) if "for" in pairs else ("", 0)
    return Hop(client, port, _scheme(pairs.get("proto", "")), _host(pairs.get("host", "")))


def _node(text: str) -> tuple[str, int]:
    """Address and port of a node (RFC 7239 §6); an empty address where it is not told."""
    found = _NODE(text)
    if found is None:
        raise ForwardedError(f"no address: {text!r:.60}")
    hidden, six, four, port = found.groups()
    number = int(port) if port and port.isdigit() else 0
    if number > 65535:
        raise ForwardedError(f"no port: {text!r:.60}")
    return ("", 0) if hidden else (_address(six or four), number)


def _address(text: str) -> str:
    from ipaddress import ip_address

    try:
        return str(ip_address(text))
    except ValueError:
        raise ForwardedError(f"no address: {text!r:.60}") from None


def _scheme(text: str) -> str:
    lower = text.lower()
    if lower and lower not in _SCHEMES:
        raise ForwardedError(f"no scheme: {text!r:.40}")
    return lower


def _host(text: str) -> str:
    if text and _HOST(text) is None:
        raise ForwardedError(f"no host: {text!r:.60}")
    return text


def _read_x_forwarded(headers: Iterable[Field]) -> list[Hop]:
    headers = list(headers)
    entries = _entries(headers, b"x-forwarded-for")
    hops: list[Hop] = []
    for text in reversed(entries):
        try:
            hops.append(Hop(*_x_node(text)))
        except ForwardedError:
            if not hops:
                raise
            break
    if not hops:
        return hops
    schemes = _entries(headers, b"x-forwarded-proto")
    hosts = _entries(headers, b"x-forwarded-host")
    ports = _entries(headers, b"x-forwarded-port")
    for back, hop in enumerate(hops):
        hop.scheme = _scheme(_aligned(schemes, back, len(entries)))
        host = _host(_aligned(hosts, back, len(entries)))
        port = _aligned(ports, back, len(entries))
        if host and port and not re.search(r":[0-9]+\Z", host):
            if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
                raise ForwardedError(f"no port: {port!r:.20}")
            if port != {"http": "80", "https": "443"}.get(hop.scheme):
                host = f"{host}:{port}"
        hop.host = host
    hops.reverse()
    return hops


def _entries(headers: list[Field], name: bytes) -> list[str]:
    text = _joined(headers, name)
    entries = [each.strip(" \t") for each in text.split(",")] if text else []
    if len(entries) > MAX_HOPS:
        raise ForwardedError(f"more than {MAX_HOPS} steps")
    return entries


def _aligned(entries: list[str], back: int, steps: int) -> str:
    """The entry that belongs to a step, counted from the end.

    Many proxies replace these fields and do not add to them: a single entry is of
    the last proxy, and of all that it was trusted to see.
    """
    if not entries:
        return ""
    if len(entries) == 1 and steps != 1:
        return entries[0]
    return entries[-1 - back] if back < len(entries) else ""


def _x_node(text: str) -> tuple[str, int]:
    """Address and port of an entry: IPv6 with or without brackets, as practised."""
    if text.count(":") > 1 and not text.startswith("["):
        return _address(text), 0
    return _node(text)


# ── believing ─────────────────────────────────────────────────────────────────


class TrustedPeers:
    """Whose word counts.

    Args:
        networks: Networks and addresses, or names such as ``loopback`` and ``private``;
            ``unix`` for whoever connects to a Unix socket.

    Raises:
        UsageError: One of them is none.
    """

    __slots__ = ("_networks", "_nobody", "_unix")

    def __init__(self, networks: str | Iterable[str]) -> None:
        names = networks.split(",") if isinstance(networks, str) else list(networks)
        names = [each.strip() for each in names]
        self._unix = "unix" in names
        self._networks = Networks([each for each in names if each and each != "unix"])
        self._nobody = not any(names)

    def trusts(self, peer: Address | None) -> bool:
        """Whether a connection from there is trusted."""
        if self._nobody:
            return False
        host = host_of(peer)
        if host is None:
            return self._unix and (peer is None or isinstance(peer, UnixAddress))
        return self._networks.trusts(host)

    def trusts_host(self, host: str) -> bool:
        """Whether an address is."""
        return self._networks.trusts(host)

    def client_of(self, peer: Address | None, headers: Iterable[Field], style: Style) -> Hop | None:
        """What is to be believed of a request's way; ``None`` for what the connection says.

        Args:
            peer: Who is connected.
            headers: (lower-case name, value) octet pairs.
            style: Which fields to read.

        Raises:
            ForwardedError: Who is trusted says what cannot be read.
        """
        if not self.trusts(peer):
            return None
        found: Hop | None = None
        for hop in reversed(read_hops(headers, style)):
            found = hop
            if not hop.client or not self.trusts_host(hop.client):
                break
        return found


def trust_forwarded(networks: str | Iterable[str], *, style: Style = "x-forwarded") -> Wrapper:
    """A wrapper for a site behind proxies: requests say whom the proxies saw.

    ::

        site = Site(wrappers=[trust_forwarded(["10.0.0.0/8"])])

    It should be the outermost. ``request.peer`` is the client (``None`` where a proxy
    would not tell), ``request.scheme`` and ``request.secure`` are how it asked,
    ``request.host`` is what it asked for.

    Args:
        networks: Whom to believe: networks, ``loopback``, ``private``, ``unix`` …
        style: Which fields to read. The proxies must set these, and let none of a
            client's through: what others they let through is not looked at.

    Raises:
        UsageError: A network is none.
    """
    if style not in ("x-forwarded", "forwarded"):
        raise WebUsageError(f"a style is 'x-forwarded' or 'forwarded', not {style!r}")
    trusted = TrustedPeers(networks)

    def wrap(handler: Handler) -> Handler:
        def handle(request: Request) -> Answer:
            try:
                hop = trusted.client_of(request.peer, request.headers, style)
            except ForwardedError:
                raise HTTPError(400) from None
            if hop is not None:
                client = InternetAddress(hop.client, hop.port) if hop.client else None
                request.came_from(client, hop.scheme, hop.host)
            return handler(request)

        return handle

    return wrap


# ── writing ───────────────────────────────────────────────────────────────────


class Forwarder:
    """The fields that a proxy adds to a request.

    Args:
        styles: Which; none for a proxy that says nothing.
        trusted: Whose own fields are kept and added to; everybody else's are replaced.
    """

    def __init__(
        self,
        styles: Sequence[Style] = ("x-forwarded",),
        trusted: str | Iterable[str] = (),
    ) -> None:
        for each in styles:
            if each not in ("x-forwarded", "forwarded"):
                raise WebUsageError(f"a style is 'x-forwarded' or 'forwarded', not {each!r}")
        self._styles = tuple(styles)
        self._trusted = TrustedPeers(trusted)
        # What was made for whom: a client asks more than once, and most are strangers.
        self._made: dict[tuple[str, str, str], list[Field]] = {}

    def fields(
        self, peer: Address | None, scheme: str, host: str, headers: Iterable[Field]
    ) -> list[Field]:
        """What to send instead of the fields that say so already (`says_origin`).

        Args:
            peer: Who is connected.
            scheme: How.
            host: The authority that was asked for, checked already.
            headers: As they came.
        """
        client = host_of(peer) or ""
        if self._trusted.trusts(peer):
            before = [each for each in headers if says_origin(each[0])]
            if before:
                return self._fields(client, scheme, host, before)
        known = self._made.get((client, scheme, host))
        if known is None:
            known = self._fields(client, scheme, host, [])
            if len(self._made) >= _KEPT_AT_MOST:
                self._made.clear()
            self._made[client, scheme, host] = known
        return known

    def _fields(self, client: str, scheme: str, host: str, before: list[Field]) -> list[Field]:
        made: list[Field] = []
        if "x-forwarded" in self._styles:
            made += self._x_fields(client, scheme, host, before)
            # What else a trusted proxy says in this style goes on as it is.
            made += [
                each
                for each in before
                if each[0].startswith(b"x-forwarded-") and each[0] not in _WRITTEN
            ]
        if "forwarded" in self._styles:
            made.append((b"forwarded", self._forwarded(client, scheme, host, before)))
        return made

    def _x_fields(self, client: str, scheme: str, host: str, before: list[Field]) -> list[Field]:
        values = (
            (b"x-forwarded-for", client or "unknown"),
            (b"x-forwarded-proto", scheme),
            (b"x-forwarded-host", host),
        )
        made: list[Field] = []
        for name, value in values:
            known = _joined(before, name)
            if known and name == b"x-forwarded-for":
                value = f"{known}, {value}"
            elif known and _makes_sense(known, _scheme if name.endswith(b"proto") else _host):
                # How the client asked the first proxy, which is what the server has to know.
                value = known
            if value:
                made.append((name, value.encode("latin-1")))
        return made

    def _forwarded(self, client: str, scheme: str, host: str, before: list[Field]) -> bytes:
        node = f'"[{client}]"' if ":" in client else client or "unknown"
        element = f"for={node};proto={scheme}"
        if host:
            # Nothing in a host that was checked needs a backslash.
            element += f';host="{host}"'
        known = _joined(before, b"forwarded")
        return (f"{known}, {element}" if known else element).encode("latin-1")


def _makes_sense(text: str, read: Callable[[str], str]) -> bool:
    """Whether every entry can be read."""
    try:
        for each in text.split(","):
            read(each.strip(" \t"))
    except ForwardedError:
        return False
    return True
