"""One session with a server: asking, the login that it may ask for, responses in pieces, the end.

Sources: RFC 3977 §3.2 (responses), RFC 4643 §2.1 (480). Not here: what there is to ask
(``client.py``, ``client_reading.py``); how the session begins (``client_opening.py``).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from sennit.core.auth.sasl.client import SASLError
from sennit.news.client_connection import refusal
from sennit.news.client_engine import BlockReceived, Responded
from sennit.news.client_opening import ask_capabilities, log_in
from sennit.news.errors import NNTPProtocolError, NNTPUsageError
from sennit.news.grammar import is_message_id

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from sennit.core._inbox import Inbox
    from sennit.core.auth.sasl.client import ClientIdentity
    from sennit.news.client_connection import NNTPClientProtocol, Response
    from sennit.news.client_engine import ClientEvent, Command, ResponseBegun
    from sennit.news.client_replies import Capabilities

__all__ = ["LARGEST", "Session", "which"]

_CLOSING: Final = 5.0
"""Seconds for the good-bye."""
LARGEST: Final = 10**18
"""Above every number that an article can have."""


def which(article: int | bytes | str | None) -> tuple[str | bytes, ...]:
    """An article as commands name it: its number, its Message-ID, or nothing for the selected one.

    Raises:
        NNTPUsageError: It is neither.
    """
    if article is None:
        return ()
    if isinstance(article, int):
        if not 0 < article < LARGEST:
            raise NNTPUsageError(f"articles have numbers from 1 on, not {article}")
        return (str(article),)
    octets = article.encode() if isinstance(article, str) else article
    if not is_message_id(octets):
        raise NNTPUsageError(f"not a Message-ID: {octets[:64]!r}")
    return (octets,)


class Session:
    """One session.

    Attributes:
        capabilities: What the server says it can do.
        may_post: Whether it lets one post (RFC 3977 §5.1.1, §3.3.2).
        logged_in: Whether a login has succeeded.
    """

    def __init__(
        self,
        protocol: NNTPClientProtocol,
        capabilities: Capabilities,
        *,
        may_post: bool = True,
        identity: ClientIdentity | None = None,
        logged_in: bool = False,
    ) -> None:
        self._protocol = protocol
        self.capabilities = capabilities
        self.may_post = may_post
        self.logged_in = logged_in
        self._identity = identity
        self._entering = asyncio.Lock()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "connected"
        return f"<{type(self).__name__} {self._protocol.transport.peer} {state}>"

    @property
    def closed(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._protocol.over

    async def aclose(self) -> None:
        """Say good-bye and close. Harmless when done."""
        if self._protocol.unread:
            # The answer would come behind what nobody reads any more.
            self._protocol.abort()
        gone = self._protocol.close()
        try:
            async with asyncio.timeout(_CLOSING):
                await gone
        except TimeoutError:
            self._protocol.abort("timeout")
        except BaseException:
            self._protocol.abort()
            raise

    def abort(self) -> None:
        """Close now, without a word."""
        self._protocol.abort()

    async def _ask(self, asked: Command, *codes: int) -> Response:
        """Send a command and wait for its response, which must be one of those.

        Raises:
            NNTPReplyError: It says no.
        """
        before = self.logged_in
        response = await self._protocol.request(asked)
        if response.code == 480 and await self._log_in(before=before):
            response = await self._protocol.request(asked)
        if response.code not in codes:
            raise refusal(response.code, response.octets, asked.word)
        return response

    async def _log_in(self, *, before: bool) -> bool:
        """The server asks for a login (480): log in, unless there is nobody, or it was done.

        Args:
            before: Whether that was done before the server was asked what it refused.
        """
        async with self._entering:
            if self.logged_in:
                # By another one that was refused, meanwhile.
                return not before
            identity, self._identity = self._identity, None
            if identity is None:
                return False
            try:
                await log_in(self._protocol, self.capabilities, identity)
            except SASLError:
                # Who is there is not who should be.
                self._protocol.abort()
                raise
            self.logged_in = True
            self.capabilities = await ask_capabilities(self._protocol)
            return True

    # ── responses in pieces ───────────────────────────────────────────────────

    async def _begin(
        self, asked: Command, *codes: int
    ) -> tuple[ResponseBegun | Responded, Inbox[ClientEvent]]:
        """Send a command whose response is read as it comes: its first event, and its inbox.

        Raises:
            NNTPReplyError: The server says no.
        """
        protocol = self._protocol
        before = self.logged_in
        inbox = protocol.converse(asked)
        first = await protocol.first(inbox)
        if first.code == 480 and await self._log_in(before=before):
            inbox = protocol.converse(asked)
            first = await protocol.first(inbox)
        if first.code not in codes:
            protocol.abandon(inbox)
            raise refusal(first.code, first.text, asked.word)
        return first, inbox

    async def _pieces(
        self, first: ResponseBegun | Responded, inbox: Inbox[ClientEvent]
    ) -> AsyncGenerator[bytes, None]:
        """The block of a response, piece by piece; what is left of it is abandoned."""
        if isinstance(first, Responded):
            if first.data:
                yield first.data
            return
        try:
            async for event in inbox:
                if isinstance(event, (BlockReceived, Responded)) and event.data:
                    yield event.data
        finally:
            if not inbox.ended:
                self._protocol.abandon(inbox)

    async def _lines(
        self, first: ResponseBegun | Responded, inbox: Inbox[ClientEvent]
    ) -> AsyncGenerator[list[bytes], None]:
        """The same as lines without their CRLF, many at a time."""
        most = self._protocol.limits.max_listed_line
        rest = bytearray()
        searched = 0
        pieces = self._pieces(first, inbox)
        try:
            async for piece in pieces:
                rest += piece
                end = rest.rfind(b"\r\n", max(searched - 1, 0))
                if end >= 0:
                    lines = bytes(rest[:end]).split(b"\r\n")
                    del rest[: end + 2]
                    yield lines
                searched = len(rest)
                if searched > most:
                    raise NNTPProtocolError(
                        f"a line of more than {most} octets", "limit:listed_line"
                    )
        finally:
            await pieces.aclose()
