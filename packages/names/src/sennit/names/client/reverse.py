"""Names of addresses: ``4.3.2.1.in-addr.arpa``, ``….ip6.arpa``, and back.

Sources: RFC 1035 §3.5 (IPv4), RFC 3596 §2.5 (IPv6), RFC 2317 (delegations of parts of an octet).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from sennit.names.errors import DNSUsageError
from sennit.names.name import Name

__all__ = ["address_of", "classless_zone", "reverse_name", "reverse_zone"]


def reverse_name(address: str | IPv4Address | IPv6Address) -> Name:
    """The name under which an address has its PTR record.

    Raises:
        DNSUsageError: It is no address.
    """
    try:
        whole = ip_address(address)
    except ValueError as error:
        raise DNSUsageError(str(error)) from None
    return Name(whole.reverse_pointer.partition("%")[0] + ".")


def address_of(name: Name) -> IPv4Address | IPv6Address | None:
    """The address whose reverse name this is; ``None`` where it is that of none."""
    labels = [each.decode("latin-1").lower() for each in name.labels]
    if len(labels) == 6 and labels[4:] == ["in-addr", "arpa"]:
        text = ".".join(reversed(labels[:4]))
    elif len(labels) == 34 and labels[32:] == ["ip6", "arpa"]:
        digits = "".join(reversed(labels[:32]))
        if len(digits) != 32:
            return None
        text = ":".join(digits[at : at + 4] for at in range(0, 32, 4))
    else:
        return None
    try:
        return ip_address(text)
    except ValueError:
        return None


def reverse_zone(network: str | IPv4Network | IPv6Network) -> Name:
    """The zone of a network's addresses, where it ends on a label: /8, /16, /24; each /4 in IPv6.

    Raises:
        DNSUsageError: It is no network, or ends within a label (see `classless_zone`).
    """
    whole = _network(network)
    step = 8 if isinstance(whole, IPv4Network) else 4
    if whole.prefixlen % step:
        raise DNSUsageError(f"{whole} ends within a label: RFC 2317 says how to delegate it")
    labels = reverse_name(whole.network_address).labels
    return Name.from_labels(labels[(whole.max_prefixlen - whole.prefixlen) // step :])


def classless_zone(network: str | IPv4Network) -> tuple[Name, dict[Name, Name]]:
    """The zone of a part of a /24, and the aliases that lead into it (RFC 2317 §4).

    Returns:
        The zone's name, ``0/25.2.0.192.in-addr.arpa``, and for each address of the network
        the reverse name whose CNAME it becomes in the parent, with its target.

    Raises:
        DNSUsageError: It is no network of IPv4 from /25 to /31.
    """
    whole = _network(network)
    if not isinstance(whole, IPv4Network) or not 25 <= whole.prefixlen <= 31:
        raise DNSUsageError(f"{whole} is no part of a /24: RFC 2317 is about /25 to /31")
    first = reverse_name(whole.network_address)
    number = first.labels[0].decode()
    zone = first.parent.child(f"{number}/{whole.prefixlen}".encode())
    aliases: dict[Name, Name] = {}
    for each in whole:
        name = reverse_name(each)
        aliases[name] = zone.child(name.labels[0])
    return zone, aliases


def _network(network: str | IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    try:
        return ip_network(network)
    except ValueError as error:
        raise DNSUsageError(str(error)) from None
