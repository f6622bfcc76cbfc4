"""What the server asks of whoever knows the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sennit.core.interfaces import Interface

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import TypeAlias

    from sennit.names.dnssec.verdict import Verdict
    from sennit.names.message import Message, Question
    from sennit.names.name import Name
    from sennit.names.request import Request

    Answer: TypeAlias = "Message | bytes | None"
    """A message, its octets as they are to be sent, or nothing (no answer at all)."""
    Fetch: TypeAlias = "Callable[[Name, int], Awaitable[Message]]"
    """Asks for the records of a name and type, with their signatures, unvalidated."""

__all__ = ["IResponder", "IValidator"]


class IResponder(Interface):
    """Answers queries: an authority, a resolver, or a choice between them."""

    def respond(
        self, request: Request
    ) -> Answer | Awaitable[Answer] | AsyncIterator[Message | bytes]:
        """The answer, at once where it is at hand; several messages for a zone transfer.

        An exception becomes SERVFAIL and a line in the log.
        """
        ...

    def quick(self, wire: bytes, size: int, peer: object) -> bytes | None:
        """The answer to a plain query that came in one piece, from its octets; the hot path.

        Args:
            wire: The query. Nothing of it has been looked at.
            size: Octets that an answer may have without EDNS saying more.
            peer: Who asks.

        Returns:
            The whole answer, or ``None`` for all that is not plain or not at hand, which then
            goes the long way through `respond`.
        """
        ...


class IValidator(Interface):
    """Says what of an answer is proven by signatures."""

    async def validate(self, message: Message, question: Question, fetch: Fetch) -> Verdict:
        """What is found of an answer. Whatever a peer sent, it is a verdict, no exception.

        Args:
            message: The answer, with its signatures and proofs.
            question: What it answers.
            fetch: Gets DS and DNSKEY records. What it raises as a `DNSError` makes the answer
                bogus.
        """
        ...
