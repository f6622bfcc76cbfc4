"""Whole zones, differences and changes of zones, asked of a server by hand.

`axfr` and `ixfr` give what comes as a stream; `update` sends a dynamic update; `notify` tells a
server that there is a new version. The transports are TCP, or TLS where a profile is given.

Records of a transfer are worth something once it has ended well: one that breaks off raises
`TransferError` out of the stream, and what came before it is to be thrown away.

Sources: RFC 5936 (AXFR), RFC 1995 (IXFR), RFC 2136 (update), RFC 1996 (NOTIFY), RFC 9103 (transfers
over TLS). Not here: the rules of a transfer (``sennit.names.transfer.incoming``), a secondary that
goes on by itself (``sennit.names.transfer.secondary``).
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from sennit.core.reactor.base import current_reactor
from sennit.names.client.exchange import Upstream
from sennit.names.client.servers import Server, server_from_text
from sennit.names.client.stream import StreamClient
from sennit.names.codes import Opcode, Rcode, RRClass, RRType, rcode_text
from sennit.names.errors import DNSUsageError, ResponseError
from sennit.names.message import AA, Message, Question
from sennit.names.name import Name
from sennit.names.transfer.incoming import Outcome, TransferIn, TransferLimits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from sennit.core.reactor.base import Reactor
    from sennit.names.client.stream import TLSProfile
    from sennit.names.message import Record
    from sennit.names.tsig import Key
    from sennit.names.update.message import Update
    from sennit.names.zone.zone import Changes

__all__ = ["axfr", "ixfr", "notify", "transfer", "update"]

BETWEEN: Final = 30.0
"""Seconds that the next message of a transfer may take."""


def _client(
    server: Server | str, profile: TLSProfile | None, local: str | None, reactor: Reactor | None
) -> StreamClient:
    whole = server_from_text(server) if isinstance(server, str) else server
    if whole.scheme == "https":
        raise DNSUsageError("zones are transferred over TCP and TLS, not over HTTPS")
    return StreamClient(
        (whole.host, whole.port),
        profile or whole.profile(),
        local_address=local,
        reactor=reactor,
    )


async def _messages(
    incoming: TransferIn,
    server: Server | str,
    key: Key | None,
    timeout: float,
    profile: TLSProfile | None,
    local_address: str | None,
    reactor: Reactor | None,
) -> AsyncGenerator[Message, None]:
    """The messages of a transfer, each given to `incoming` first."""
    clock = reactor or current_reactor()

    def take(message: Message) -> bool:
        return incoming.receive(message, clock.time())

    async with _client(server, profile, local_address, reactor) as client:
        talk = client.converse(incoming.query(), until=take, timeout=timeout, key=key)
        async with aclosing(talk):
            async for message in talk:
                yield message


async def axfr(
    zone: Name | str,
    server: Server | str,
    *,
    key: Key | None = None,
    rdclass: int = RRClass.IN,
    timeout: float = BETWEEN,
    limits: TransferLimits | None = None,
    profile: TLSProfile | None = None,
    local_address: str | None = None,
    reactor: Reactor | None = None,
) -> AsyncGenerator[Record, None]:
    """Transfer a zone: its records as they come, the SOA first, without its repetition.

    ::

        async for record in axfr("example.org", "192.0.2.53"):
            print(record)

    Args:
        zone: Its origin.
        server: Whom to ask, ``192.0.2.53`` or ``tls://192.0.2.53#ns.example``.
        key: Signs the question; what is not signed with it is not taken (TSIG).
        rdclass: Class of the zone.
        timeout: Seconds for each message.
        limits: How much may come.
        profile: How the server is known over TLS, in the place of what `server` says.
        local_address: Address to connect from.
        reactor: The current one when left out.

    Raises:
        TransferError: It ended before its end, or broke a rule or a limit.
        LookupTimeoutError: The next message did not come in time.
        UnreachableError: There is no connection to the server, or it ended.
    """
    incoming = TransferIn(_name(zone), rdclass=int(rdclass), limits=limits)
    given = 0
    messages = _messages(incoming, server, key, timeout, profile, local_address, reactor)
    async with aclosing(messages):
        async for _ in messages:
            records = incoming.records
            while given < len(records):
                yield records[given]
                given += 1


async def transfer(
    zone: Name | str,
    server: Server | str,
    serial: int | None = None,
    *,
    key: Key | None = None,
    rdclass: int = RRClass.IN,
    timeout: float = BETWEEN,
    limits: TransferLimits | None = None,
    profile: TLSProfile | None = None,
    local_address: str | None = None,
    reactor: Reactor | None = None,
) -> TransferIn:
    """Transfer a zone, or its differences from version `serial`, to the end.

    Arguments and errors are those of `axfr`.

    Returns:
        What came: its `outcome`, and `records` or `changes`.
    """
    incoming = TransferIn(
        _name(zone), serial, incremental=serial is not None, rdclass=int(rdclass), limits=limits
    )
    messages = _messages(incoming, server, key, timeout, profile, local_address, reactor)
    async with aclosing(messages):
        async for _ in messages:
            pass
    return incoming


async def ixfr(
    zone: Name | str,
    serial: int,
    server: Server | str,
    *,
    key: Key | None = None,
    rdclass: int = RRClass.IN,
    timeout: float = BETWEEN,
    limits: TransferLimits | None = None,
    profile: TLSProfile | None = None,
    local_address: str | None = None,
    reactor: Reactor | None = None,
) -> AsyncGenerator[Changes | list[Record], None]:
    """The differences of a zone from version `serial`, oldest first, once all have come.

    Nothing comes where there is nothing newer. A server that does not keep the differences
    sends the whole zone, which comes as one list of its records.

    Arguments and errors are those of `axfr`.
    """
    incoming = await transfer(
        zone,
        server,
        serial,
        key=key,
        rdclass=rdclass,
        timeout=timeout,
        limits=limits,
        profile=profile,
        local_address=local_address,
        reactor=reactor,
    )
    if incoming.outcome == Outcome.WHOLE:
        yield incoming.records
        return
    for changes in incoming.changes:
        yield changes


async def update(
    changes: Update,
    server: Server | str,
    *,
    key: Key | None = None,
    timeout: float = 10.0,
    reactor: Reactor | None = None,
) -> Message:
    """Send a dynamic update to the primary server of a zone.

    Args:
        changes: What to change, and under which conditions.
        server: The primary.
        key: Signs it.
        timeout: Seconds for the answer, over each transport.
        reactor: The current one when left out.

    Returns:
        The server's answer: the changes are made.

    Raises:
        ResponseError: They are not; its `rcode` says why: NXRRSET and its like for a condition
            that does not hold, REFUSED, NOTAUTH, NOTZONE …
    """
    what = f"update of {changes.zone}"
    return await _said(changes.message(), server, what, key, timeout, reactor)


async def notify(
    zone: Name | str,
    server: Server | str,
    soa: Record | None = None,
    *,
    key: Key | None = None,
    timeout: float = 10.0,
    reactor: Reactor | None = None,
) -> Message:
    """Tell a server that there is a new version of a zone (RFC 1996 §3).

    Args:
        zone: Its origin.
        server: A secondary.
        soa: The zone's SOA record, which spares the server a question.
        key: Signs it.
        timeout: Seconds for the answer.
        reactor: The current one when left out.

    Raises:
        ResponseError: The server does not take it.
    """
    whole = _name(zone)
    message = Message(0, AA, opcode=Opcode.NOTIFY, questions=[Question(whole, int(RRType.SOA))])
    if soa is not None:
        message.answers.append(soa)
    return await _said(message, server, f"notification of {whole}", key, timeout, reactor)


async def _said(
    message: Message,
    server: Server | str,
    what: str,
    key: Key | None,
    timeout: float,
    reactor: Reactor | None,
) -> Message:
    upstream = Upstream(server, key=key, cookies=False, reactor=reactor)
    try:
        answer = await upstream.ask(message, timeout=timeout)
    finally:
        await upstream.aclose()
    if answer.rcode != Rcode.NOERROR:
        raise ResponseError(f"{what}: the server answered {rcode_text(answer.rcode)}", answer.rcode)
    return answer


def _name(zone: Name | str) -> Name:
    return Name(zone) if isinstance(zone, str) else zone
