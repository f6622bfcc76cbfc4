"""Who answers what: zones of ours first, then a resolver for those it is for.

A query for a zone transfer goes to `transfers`, any other one to `authority`; when that holds
no zone of the name, and recursion is desired by a client that may have it, to `resolver`. An
UPDATE and a NOTIFY have their own. What is for nobody is REFUSED (RFC 5358: a resolver that is
open to the world is a weapon).

All parts are optional, and each is an `IResponder`, save that `quick` need not be there.
"""

from __future__ import annotations

from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from zope.interface import implementer

from sennit.names.codes import Opcode, Rcode, RRType
from sennit.names.errors import DNSUsageError
from sennit.names.interfaces import IResponder
from sennit.names.message import RA, RD, Message
from sennit.names.recursion import LOCAL_NETS, RecursionClients

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from sennit.names.interfaces import Answer
    from sennit.names.request import Request

    _T = TypeVar("_T")

    Answers = Answer | Awaitable[Answer] | AsyncIterator[Message | bytes]
    Quick = Callable[[bytes, int, object], bytes | None]

__all__ = ["Dispatcher"]

_QUERY: Final = int(Opcode.QUERY)
_NOTIFY: Final = int(Opcode.NOTIFY)
_TRANSFERS: Final = frozenset({int(RRType.AXFR), int(RRType.IXFR)})
_REFUSED: Final = int(Rcode.REFUSED)


@implementer(IResponder)
class Dispatcher:
    """Chooses between an authority, a resolver and their helpers.

    Args:
        authority: Answers for zones; ``None`` of its `respond` says that no zone of its own
            holds the name.
        resolver: Answers for all other names.
        transfers: Answers AXFR and IXFR.
        notify: Is told that a zone has changed elsewhere.
        update: Changes zones.
        allow_recursion: Networks and addresses that the resolver answers, as `Networks`
            names them.

    Raises:
        UsageError: There is no such network.
        DNSUsageError: The parts answer in datagrams of different sizes.
    """

    # `Any`: parts are responders, of which the two last ones have no `quick`.
    def __init__(
        self,
        authority: Any = None,
        resolver: Any = None,
        transfers: Any = None,
        notify: Any = None,
        update: Any = None,
        allow_recursion: str | Iterable[str] = LOCAL_NETS,
    ) -> None:
        self._authority = authority
        self._resolver = resolver
        self._transfers = transfers
        self._notify = notify
        self._update = update
        self.allows = RecursionClients(allow_recursion).allows
        sizes = (getattr(each, "payload", None) for each in (authority, resolver))
        self._payloads = {each for each in sizes if each is not None}
        if len(self._payloads) > 1:
            raise DNSUsageError("the authority and the resolver have not the same payload")
        self._ours: Quick | None = getattr(authority, "quick", None)
        self._others: Quick | None = getattr(resolver, "quick", None)
        if resolver is None and self._ours is not None:
            # The hot path: one call less for who has only zones.
            self.quick = self._ours  # type: ignore[method-assign]  # the same call, one step shorter

    def __repr__(self) -> str:
        parts = [
            name
            for name in ("authority", "resolver", "transfers", "notify", "update")
            if getattr(self, f"_{name}") is not None
        ]
        return f"<Dispatcher to {', '.join(parts) or 'nobody'}>"

    @property
    def payload(self) -> int | None:
        """Octets of a datagram at most that short answers go by."""
        return next(iter(self._payloads), None)

    def quick(self, wire: bytes, size: int, peer: object) -> bytes | None:
        """An answer out of the zones, or out of the resolver's cache."""
        if self._ours is not None:
            answer = self._ours(wire, size, peer)
            if answer is not None:
                if self._resolver is None or not self.allows(peer):
                    return answer
                return answer[:3] + bytes((answer[3] | RA,)) + answer[4:]
        if self._others is not None and self.allows(peer):
            return self._others(wire, size, peer)
        return None

    def respond(self, request: Request) -> Answers:
        """Hand the request to whom it is for."""
        message = request.message
        if message.opcode != _QUERY:
            part = self._notify if message.opcode == _NOTIFY else self._update
            return _refused(request) if part is None else part.respond(request)
        if message.question.rdtype in _TRANSFERS:
            if self._transfers is None:
                return _refused(request)
            return self._transfers.respond(request)  # type: ignore[no-any-return]  # a responder's
        if self._authority is None:
            return self._elsewhere(request)
        answer: Answers = self._authority.respond(request)
        if answer is None:
            return self._elsewhere(request)
        if isawaitable(answer):
            return self._await(answer, request)
        return self._told(answer, request)

    async def _await(self, answer: Awaitable[Answer], request: Request) -> Answer:
        found = await answer
        if found is not None:
            return self._told(found, request)
        other: Any = self._elsewhere(request)  # of a resolver: never several messages
        return await other if isawaitable(other) else other  # type: ignore[no-any-return]

    def _told(self, answer: _T, request: Request) -> _T:
        """An answer of ours, which says whether there is recursion, too (RFC 1035 §4.1.1)."""
        if self._resolver is not None and isinstance(answer, Message) and self.allows(request.peer):
            answer.flags |= RA
        return answer

    def _elsewhere(self, request: Request) -> Answers:
        """No zone of ours holds the name."""
        if (
            self._resolver is None
            or not request.message.flags & RD
            or not self.allows(request.peer)
        ):
            return _refused(request)
        return self._resolver.respond(request)  # type: ignore[no-any-return]  # a responder's


def _refused(request: Request) -> Message:
    return request.message.reply(_REFUSED)
