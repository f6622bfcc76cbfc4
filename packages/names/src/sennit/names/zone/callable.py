"""A zone whose records a function makes, when they are asked for.

The function is called with a name and a type, and gives the records of that name: all of them,
or at least those of the type, and CNAME, NS and DNAME where the name has them; an empty list for
a name without such records; ``None`` for one that does not exist. It may be a coroutine. What it
raises becomes SERVFAIL, and so does that it takes too long: a question that waits for ever would
keep its place among those that are answered at one time.

Names beneath a name that the function does not know are asked for, too: a wildcard is the record
of ``*.example.org``.
"""

from __future__ import annotations

import asyncio
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, TypeAlias

from zope.interface import implementer

from sennit.names.codes import type_from_text
from sennit.names.errors import DNSUsageError, ZoneError
from sennit.names.message import Record
from sennit.names.name import Name, trusted
from sennit.names.presentation import tokens_of
from sennit.names.rdata import Rdata, basic, parse_rdata
from sennit.names.zone.data import IZoneData
from sennit.names.zone.rules import NS, SOA, Draft, may_hold

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from sennit.names.zone.node import Node

    Given: TypeAlias = "Iterable[Record | Rdata | str] | None"
    """Records, whose owner does not matter; data, which get the zone's TTL; or text of both
    kinds: ``A 192.0.2.1``, ``60 TXT "x"``."""
    Function: TypeAlias = Callable[[Name, int], "Given | Awaitable[Given]"]

__all__ = ["CallableZone"]


@implementer(IZoneData)
class CallableZone:
    """A zone out of a function.

    Args:
        origin: Its name.
        function: Gives the records of a name; see above.
        ns: Names of its servers, relative to `origin` unless they end in a dot; left out where
            the function gives NS and SOA of `origin` itself.
        mailbox: Of who is responsible, as a name, relative likewise.
        ttl: Seconds that answers may be kept, and that there is none.
        serial: The version of its SOA.
        timeout: Seconds that a coroutine may take for one name.
    """

    def __init__(
        self,
        origin: Name | str,
        function: Function,
        *,
        ns: Sequence[str] = (),
        mailbox: str = "hostmaster",
        ttl: int = 60,
        serial: int = 1,
        timeout: float = 5.0,
    ) -> None:
        if not 0 <= ttl <= 0x7FFFFFFF:
            raise DNSUsageError(f"a TTL is 0 to 2147483647 seconds, not {ttl}")
        self.origin = Name(origin) if isinstance(origin, str) else origin
        self.rdclass = 1
        self.expired = False
        self.chain = None
        self._function = function
        self._ttl = ttl
        self._timeout = timeout
        self._apex: list[Record] = []
        if ns:
            servers = [Name(each, self.origin) for each in ns]
            soa = basic.SOA(
                mname=servers[0],
                rname=Name(mailbox, self.origin),
                serial=serial,
                refresh=7200,
                retry=600,
                expire=86_400,
                minimum=ttl,
            )
            self._apex.append(Record(self.origin, SOA, ttl, soa))
            self._apex += [Record(self.origin, NS, ttl, basic.NS(target=each)) for each in servers]

    def __repr__(self) -> str:
        return f"<CallableZone {self.origin} of {self._function!r}>"

    def get_node(self, key: bytes, rdtype: int = 255) -> Node | Awaitable[Node | None] | None:
        """What the function says of a name."""
        name = trusted(key)
        given: Any = self._function(name, rdtype)  # of whatever kind
        if isawaitable(given):
            return self._wait(name, given)
        return self._node(name, given)

    async def _wait(self, name: Name, given: Awaitable[Given]) -> Node | None:
        try:
            async with asyncio.timeout(self._timeout):
                found = await given
        except TimeoutError as error:
            raise ZoneError(f"{name}: the function took over {self._timeout:g} s") from error
        return self._node(name, found)

    def _node(self, name: Name, given: Given) -> Node | None:
        is_apex = name == self.origin
        if given is None and not is_apex:
            return None
        draft = Draft(name.wire)
        for own in self._apex if is_apex else ():
            draft.add(own.rdtype, own.ttl, own.rdata.wire)
        for each in given or ():
            record = self._record(name, each)
            may_hold(self.origin, name.key, record.rdtype)
            if record.rdtype == SOA and self._apex:
                continue  # one is enough
            draft.add(record.rdtype, record.ttl, record.rdata.wire)
        problem = draft.check(apex=is_apex)
        if problem is not None:
            raise ZoneError(f"{name}: {problem}")
        return draft.node(self.rdclass)

    def _record(self, name: Name, given: Record | Rdata | str) -> Record:
        if isinstance(given, Record):
            return given
        if isinstance(given, Rdata):
            return Record(name, given.rdtype, self._ttl, given)
        tokens = tokens_of(given, self.origin)
        first = tokens.peek()
        ttl = tokens.seconds() if first is not None and first.text[:1].isdigit() else self._ttl
        rdtype = tokens.said(type_from_text)
        # The data alone: readers look at all words that there are.
        return Record(name, rdtype, ttl, parse_rdata(rdtype, tokens))
