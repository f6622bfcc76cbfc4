"""A server that a zone is copied from, what it is asked first, and how it stands with a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.core.endpoint.networks import Networks, host_of
from sennit.names.client.servers import server_from_text
from sennit.names.client.stream import StreamClient
from sennit.names.codes import Rcode, RRType, rcode_text
from sennit.names.edns import EDNS
from sennit.names.errors import DNSUsageError, MessageFormatError, TransferError
from sennit.names.message import AA, Message
from sennit.names.options import Expire, found
from sennit.names.rdata.basic import SOA

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sennit.core.reactor.base import Reactor
    from sennit.core.transport.tls import ClientTLS
    from sennit.names.client.servers import Server
    from sennit.names.message import Record
    from sennit.names.name import Name
    from sennit.names.request import Request
    from sennit.names.tsig import Key

__all__ = ["Primary", "ZoneStatus", "ask_soa"]


class Primary:
    """A server that has a zone first.

    Args:
        server: As `sennit.names.client.servers` has it: an address, ``udp://…`` (SOA over UDP,
            transfers over TCP), ``tcp://…``, or ``tls://…`` (all of it over TLS, RFC 9103).
        key: Signs what is asked, and must sign what is answered.
        tls: What to believe; the system's trust when left out.

    Raises:
        DNSUsageError: It is no server that zones come from.
    """

    __slots__ = ("_networks", "key", "server", "tls")

    def __init__(
        self, server: Server | str, key: Key | None = None, *, tls: ClientTLS | None = None
    ) -> None:
        self.server = server_from_text(server) if isinstance(server, str) else server
        if self.server.scheme == "https":
            raise DNSUsageError("zones are not transferred over HTTPS")
        self.key = key
        self.tls = tls
        self._networks = Networks(self.server.host)

    def sent(self, request: Request) -> bool:
        """Whether a request came from it, signed as agreed."""
        host = host_of(request.peer)
        return (
            host is not None
            # An IPv4 address may be written as IPv6 where a socket takes both.
            and self._networks.trusts(host)
            and (self.key is None or self.key.name == request.key)
        )

    def __repr__(self) -> str:
        return f"<Primary {self.server}{'' if self.key is None else f' {self.key.name}'}>"

    def client(self, reactor: Reactor | None) -> StreamClient:
        """A connection to it, made when it is used."""
        profile = self.server.profile()
        if profile is not None:
            if self.tls is not None:
                profile.tls = self.tls
            # Zones are given to those alone who agree on it (RFC 9103 §7.1).
            profile.tls = profile.context().offering(["dot"])
        return StreamClient((self.server.host, self.server.port), profile, reactor=reactor)


async def ask_soa(
    zone: Name, ask: Callable[[Message], Awaitable[Message]]
) -> tuple[Record, int | None]:
    """The SOA record that a primary has, and what it says of EXPIRE (RFC 7314).

    Args:
        zone: Origin of the zone.
        ask: Gives a primary's answer to a question.

    Raises:
        TransferError: It has no such zone.
        DNSError: There is no answer.
    """
    query = Message.query(zone, int(RRType.SOA), flags=0, edns=EDNS(options=[Expire().option()]))
    answer = await ask(query)
    if answer.rcode in {Rcode.FORMERR, Rcode.NOTIMP} and answer.edns is None:
        query.edns = None  # it knows no EDNS
        answer = await ask(query)
    if answer.rcode != Rcode.NOERROR:
        raise TransferError(f"SOA: {rcode_text(answer.rcode)}", rcode=answer.rcode)
    if not answer.flags & AA:
        raise TransferError("it has no authority for the zone", rule="RFC 1034 §4.3.5")
    for each in answer.answers:
        if each.name == zone and isinstance(each.rdata, SOA):
            return each, _expire_said(answer)
    raise TransferError("it has no SOA of the zone", rule="RFC 1034 §4.3.5")


def _expire_said(answer: Message) -> int | None:
    """What an answer says of EXPIRE; ``None`` for nothing, or nothing that makes sense."""
    try:
        option = found(answer.edns, Expire)
    except MessageFormatError:
        return None
    return None if option is None else option.seconds


class ZoneStatus:
    """How it stands with a copy, for people.

    Attributes:
        zone: The zone.
        serial: Version of the copy; ``None`` for none.
        state: ``missing``, ``current`` or ``expired``.
        checked: Seconds since a primary confirmed it; ``None`` for never.
        next_check: Seconds until the next look.
        expires: Seconds until it may not be used any more.
        error: What went wrong last, empty when all is well.
    """

    __slots__ = ("checked", "error", "expires", "next_check", "serial", "state", "zone")

    def __init__(
        self,
        zone: Name,
        serial: int | None,
        state: str,
        checked: float | None,
        next_check: float,
        expires: float | None,
        error: str,
    ) -> None:
        self.zone = zone
        self.serial = serial
        self.state = state
        self.checked = checked
        self.next_check = next_check
        self.expires = expires
        self.error = error

    def __repr__(self) -> str:
        return f"<ZoneStatus {self.zone} {self.state} {self.serial}: {self.error or 'well'}>"
