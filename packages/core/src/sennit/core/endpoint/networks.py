"""Sets of networks, as rules name them: ``10.0.0.0/8``, ``2001:db8::/32``, ``loopback``.

IPv4 addresses written as IPv6 (``::ffff:192.0.2.1``) and those inside NAT64's
prefix (RFC 6052) count as the IPv4 address that they reach.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from sennit.core.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Final

__all__ = ["GROUPS", "Networks", "host_of"]

GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "loopback": ("127.0.0.0/8", "::1/128"),
    # RFC 1918, RFC 4193, RFC 6598 (between a provider and its customers), RFC 8215, RFC 3879.
    "private": (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "fc00::/7",
        "64:ff9b:1::/48",
        "fec0::/10",
    ),
    # RFC 3927, RFC 4291; the metadata services of hosters live here.
    "link-local": ("169.254.0.0/16", "fe80::/10"),
    # This host, addresses that embed others (::/96), multicast, reserved, documentation (RFC 6890).
    "special": (
        "0.0.0.0/8",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/96",
        "100::/64",
        "2001:db8::/32",
        "ff00::/8",
    ),
    "any": ("0.0.0.0/0", "::/0"),
}
"""Names for networks that belong together."""

_NAT64: Final = IPv6Network("64:ff9b::/96")
_6TO4: Final = IPv6Network("2002::/16")


class Networks:
    """Addresses that a rule is for.

    Args:
        names: Networks, addresses, or names of `GROUPS`; also in one text with commas.

    Raises:
        UsageError: One of them is none; the message says which.
    """

    __slots__ = ("_four", "_names", "_six")

    def __init__(self, names: str | Iterable[str]) -> None:
        self._names = tuple(names.split(",") if isinstance(names, str) else names)
        self._four: list[IPv4Network] = []
        self._six: list[IPv6Network] = []
        for name in self._names:
            for text in GROUPS.get(name, (name,)):
                self._add(text)

    def _add(self, text: str) -> None:
        try:
            network = ip_network(text)
        except ValueError as error:
            groups = ", ".join(GROUPS)
            raise UsageError(
                f"{text!r} is no network such as 10.0.0.0/8 or ::1, and none of {groups}"
            ) from error
        if isinstance(network, IPv4Network):
            self._four.append(network)
        else:
            self._six.append(network)

    def __repr__(self) -> str:
        """What it was made of."""
        return f"<Networks {','.join(self._names)}>"

    def __contains__(self, host: object) -> bool:
        """Whether an address is in one of them; a text that is no address is not."""
        return self._has(host, _embedded)

    def trusts(self, host: str) -> bool:
        """Whether a peer's address is in one of them.

        What embeds an IPv4 address is not taken for it, unless it is that (``::ffff:…``):
        who is on the same link may call itself ``2002:7f00:1::``, and is no loopback.
        """
        return self._has(host, _mapped)

    def _has(self, host: object, embedded: Callable[[IPv6Address], IPv4Address | None]) -> bool:
        try:
            address = ip_address(str(host).partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, IPv6Address):
            inside = embedded(address)
            if inside is None:
                return any(address in network for network in self._six)
            address = inside
        return any(address in network for network in self._four)


def _mapped(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address is, to a socket of both families."""
    return address.ipv4_mapped


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _6TO4:
        return address.sixtofour
    return None


def host_of(peer: Any) -> str | None:
    """The host of an internet address (an `Address`, or what `accept` gave); else ``None``.

    Args:
        peer: ``Any``, since it is the `socket` module's.
    """
    if isinstance(peer, tuple):
        fields: tuple[Any, ...] = peer  # pyright: ignore[reportUnknownVariableType]  # of a tuple, as was asked
        if len(fields) > 1:
            return str(fields[0])
    return None
