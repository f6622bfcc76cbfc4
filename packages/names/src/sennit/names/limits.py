"""All that a client of the server can make too large, too many or too slow, in one place."""

from __future__ import annotations

from sennit.names.errors import DNSUsageError

__all__ = ["ServerLimits"]


class ServerLimits:
    """What the server takes from its clients, and gives them.

    Attributes:
        payload: Octets of an answer in one datagram at most, and the size of datagrams that
            clients are told we take (RFC 9715 §3.2). A client that says less gets less.
        message: Seconds for a whole message on a connection, from its first octet.
        idle: Seconds that a connection is kept without anything under way (RFC 7766 §6.2.3).
        write: Seconds without progress of what is sent on a connection.
        in_flight: Queries that are worked on at one time on one connection; behind them
            nothing more is read.
        datagrams_in_flight: Queries that are worked on at one time on one UDP socket; one
            more is answered SERVFAIL.
        per_address: Connections from one IPv4 address or IPv6 /64.
        connections: Connections in all; one more takes the place of the one that has been idle
            for longest.
        rate: Answers a second that one network gets over UDP of one kind (the same name, what
            a zone does not have, errors); 0 for no such limit.
        network_rate: Answers a second that one network gets over UDP in all; 0 likewise.
        slip: Every so manieth answer beyond the rate is sent with TC, so that a client whose
            address was not forged asks by TCP; the others are dropped. 0 drops all of them.
        rates: Rates that are remembered; beyond, those used longest ago are forgotten.
        ipv4_prefix: Bits of an IPv4 address that make one network for the rates.
        ipv6_prefix: Bits of an IPv6 address likewise.
        count_loopback: Whether `rate` and `per_address` hold for loopback, too.

    Raises:
        DNSUsageError: A number cannot be.
    """

    __slots__ = (
        "connections",
        "count_loopback",
        "datagrams_in_flight",
        "idle",
        "in_flight",
        "ipv4_prefix",
        "ipv6_prefix",
        "message",
        "network_rate",
        "payload",
        "per_address",
        "rate",
        "rates",
        "slip",
        "write",
    )

    def __init__(
        self,
        *,
        payload: int = 1232,
        message: float = 10.0,
        idle: float = 10.0,
        write: float = 10.0,
        in_flight: int = 32,
        datagrams_in_flight: int = 1000,
        per_address: int = 25,
        connections: int = 150,
        rate: float = 20.0,
        network_rate: float = 1000.0,
        slip: int = 2,
        rates: int = 50_000,
        ipv4_prefix: int = 24,
        ipv6_prefix: int = 56,
        count_loopback: bool = False,
    ) -> None:
        if not 512 <= payload <= 65_507:
            raise DNSUsageError(f"a datagram's payload is 512 to 65507 octets, not {payload}")
        if min(message, idle, write) <= 0:
            raise DNSUsageError("message, idle and write are seconds above 0")
        if min(in_flight, datagrams_in_flight, per_address, connections, rates) < 1:
            raise DNSUsageError("a limit below 1 lets nobody in")
        if min(rate, network_rate, slip) < 0:
            raise DNSUsageError("rate, network_rate and slip are 0 or more")
        if not (0 <= ipv4_prefix <= 32 and 0 <= ipv6_prefix <= 128):
            raise DNSUsageError("a prefix has 0 to 32 bits in IPv4, 0 to 128 in IPv6")
        self.payload = payload
        self.message = message
        self.idle = idle
        self.write = write
        self.in_flight = in_flight
        self.datagrams_in_flight = datagrams_in_flight
        self.per_address = per_address
        self.connections = connections
        self.rate = rate
        self.network_rate = network_rate
        self.slip = slip
        self.rates = rates
        self.ipv4_prefix = ipv4_prefix
        self.ipv6_prefix = ipv6_prefix
        self.count_loopback = count_loopback
