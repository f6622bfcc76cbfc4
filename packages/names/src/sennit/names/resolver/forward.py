"""Forwarders and stub zones: servers that an operator chose for a zone.

A forwarder is a resolver: it is asked with RD, over UDP, TCP, TLS or HTTPS, and believed for all of
its zone. A stub zone's servers are its authorities, asked in the place of those that the parent
names.

Servers are written ``192.0.2.1``, ``192.0.2.1:5353``, ``[2001:db8::1]:53``, with ``udp://`` (as
without), ``tcp://`` or ``tls://`` before them; behind ``tls://`` may come ``#dns.example``, the
name in the certificate. ``https://`` begins a URL as of RFC 8484, whose host the system looks up.

Sources: RFC 7858 §3.1, RFC 8310 §8.1, RFC 8484 §4.1.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, TypeAlias

from sennit.names.codes import RRType
from sennit.names.errors import DNSUsageError
from sennit.names.name import Name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Forward", "Forwarder", "Forwards", "Targets", "read_server"]

_PORTS: Final = {"udp": 53, "tcp": 53, "tls": 853}
_DS: Final = int(RRType.DS)


class Forwarder:
    """A server that questions are forwarded to.

    Attributes:
        address: Host and port; for HTTPS the URL and 443.
        transport: ``udp``, ``tcp``, ``tls``, ``tls:NAME`` or ``https:URL``.
    """

    __slots__ = ("address", "transport")

    def __init__(self, address: tuple[str, int], transport: str) -> None:
        self.address = address
        self.transport = transport

    def __repr__(self) -> str:
        return f"<Forwarder {self.transport} {self.address[0]} {self.address[1]}>"


def read_server(text: str) -> Forwarder:
    """A server as it is written.

    Raises:
        DNSUsageError: It is none.
    """
    if any(octet in text for octet in "\r\n\0 "):
        raise DNSUsageError(f"{text!r} is no server")
    scheme, mark, rest = text.partition("://")
    if not mark:
        scheme, rest = "udp", text
    if scheme == "https":
        if not rest or "#" in rest:
            raise DNSUsageError(f"{text!r} is no URL")
        return Forwarder((text, 443), f"https:{text}")
    if scheme not in _PORTS:
        raise DNSUsageError(f"{text!r} begins with none of udp://, tcp://, tls://, https://")
    rest, _, name = rest.partition("#")
    if name and scheme != "tls":
        raise DNSUsageError(f"{text!r}: only tls:// has a name behind #")
    host, port = _split(rest, _PORTS[scheme], text)
    return Forwarder((host, port), f"tls:{name}" if name else scheme)


def _split(text: str, port: int, whole: str) -> tuple[str, int]:
    host, behind = text, ""
    if text.startswith("["):
        host, _, behind = text[1:].partition("]")
        behind = behind.removeprefix(":")
    elif text.count(":") == 1:
        host, _, behind = text.partition(":")
    if behind:
        if not (behind.isascii() and behind.isdigit() and 0 < int(behind[:6]) < 65536):
            raise DNSUsageError(f"{whole!r}: {behind!r} is no port")
        port = int(behind)
    try:
        return str(ip_address(host)), port
    except ValueError as error:
        raise DNSUsageError(f"{whole!r}: {host!r} is no address") from error


class Forward:
    """Where questions of a zone are forwarded to.

    Args:
        zone: The zone; the root for all questions.
        servers: Its servers.
        fallback: Whether the resolver asks the zone's own servers when none of these answers.
    """

    __slots__ = ("fallback", "servers", "zone")

    def __init__(self, zone: Name, servers: Sequence[Forwarder], *, fallback: bool = False) -> None:
        if not servers:
            raise DNSUsageError(f"no servers to forward {zone} to")
        self.zone = zone
        self.servers = tuple(servers)
        self.fallback = fallback


Targets: TypeAlias = "Iterable[str | Forwarder] | Forward"
"""Servers, as they are written or read, or a `Forward`."""


class Forwards:
    """All forwards, by zone.

    Args:
        zones: Servers by zone, as they are written, or a `Forward`.
    """

    def __init__(self, zones: Mapping[str, Targets] | Mapping[Name, Targets] | None = None) -> None:
        self._zones: dict[bytes, Forward] = {}
        for zone, servers in (zones or {}).items():
            name = Name(zone) if isinstance(zone, str) else zone
            if not isinstance(servers, Forward):
                given = [read_server(each) if isinstance(each, str) else each for each in servers]
                servers = Forward(name, given)
            self._zones[name.key] = servers

    @property
    def zones(self) -> list[Name]:
        """The zones."""
        return [each.zone for each in self._zones.values()]

    def find(self, name: Name, rdtype: int) -> Forward | None:
        """The forward of the deepest zone that holds a name."""
        if not self._zones:
            return None
        wire = name.key
        if rdtype == _DS and len(wire) > 1:
            wire = wire[1 + wire[0] :]  # the parent has it
        while True:
            found = self._zones.get(wire)
            if found is not None:
                return found
            length = wire[0]
            if not length:
                return None
            wire = wire[1 + length :]
