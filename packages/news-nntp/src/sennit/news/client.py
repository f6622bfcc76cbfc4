"""`NNTPClient`: one connection to a news server, for coroutines.

::

    async with NNTPClient.connect("nntps://news.example.org/") as news:
        group = await news.group("comp.lang.python")
        async for row in news.over(group.high - 20, group.high):
            print(row.number, row.subject)
        async for article in news.fetch(range(group.high - 20, group.high + 1)):
            ...

What is short comes whole, what may be long comes as it is read: lists, overviews and articles by
`open_article` take no more memory for being long. Commands may be given before others are
answered; a server that asks for a login first (480) gets one, once, and the command again.

A connection that breaks stays broken: who wants another one opens it.

Sources: RFC 3977 §6–§8, RFC 2980 (XOVER, XHDR, XPAT), RFC 4644 (CHECK, TAKETHIS), RFC 6048 (LIST).
Not here: what comes before the first command (``client_opening.py``); what may be long
(``client_reading.py``).
"""

from __future__ import annotations

import asyncio
import re
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Final

from sennit.core.auth.sasl.client import ClientIdentity
from sennit.core.endpoint.connect import connect
from sennit.core.errors import ConnectError
from sennit.news.client_connection import NNTPClientProtocol, refusal
from sennit.news.client_engine import command
from sennit.news.client_opening import open_session, parse_url
from sennit.news.client_reading import Reading
from sennit.news.client_replies import parse_date_reply, parse_found, parse_selected
from sennit.news.client_session import which
from sennit.news.errors import NNTPProtocolError, NNTPUsageError
from sennit.news.grammar import is_message_id
from sennit.news.limits import ClientLimits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator
    from datetime import datetime
    from email.message import Message
    from types import TracebackType
    from typing import Any

    from sennit.core.deferred import Deferred
    from sennit.core.reactor.base import Reactor
    from sennit.core.transport.tls import ClientTLS
    from sennit.news.client_connection import Response
    from sennit.news.interfaces import Group

__all__ = ["Connecting", "NNTPClient", "Offered"]

_MENTIONED: Final = re.compile(rb"<[!-=?-~]+>")
_FIRST_ID: Final = re.compile(rb"(?im)^message-id:[ \t]*(<[^>\s]+>)")


class Offered(Enum):
    """What a server makes of an article that it is offered (RFC 3977 §6.3.2, RFC 4644 §2)."""

    WANTED = "wanted"
    """Send it (CHECK: 238)."""
    TAKEN = "taken"
    """It has it now (IHAVE: 235, TAKETHIS: 239)."""
    UNWANTED = "unwanted"
    """It has it, or wants none such (IHAVE: 435, CHECK: 438)."""
    LATER = "later"
    """Not now: offer it again (IHAVE: 436, CHECK: 431)."""
    REJECTED = "rejected"
    """It has looked at it, and does not take it, now or later (IHAVE: 437, TAKETHIS: 439)."""


_CHECK: Final = {238: Offered.WANTED, 431: Offered.LATER, 438: Offered.UNWANTED}
_TAKETHIS: Final = {239: Offered.TAKEN, 439: Offered.REJECTED}
_IHAVE: Final = {
    235: Offered.TAKEN,
    435: Offered.UNWANTED,
    436: Offered.LATER,
    437: Offered.REJECTED,
}


class Connecting:
    """A connection that is not there yet: ``async with`` it, or await it and close it oneself."""

    __slots__ = ("_client", "_opening")

    def __init__(self, opening: Callable[[], Coroutine[Any, Any, NNTPClient]]) -> None:
        self._opening = opening
        self._client: NNTPClient | None = None

    def __await__(self) -> Generator[Any, None, NNTPClient]:
        """Connect."""
        return self._opening().__await__()

    async def __aenter__(self) -> NNTPClient:
        """Connect."""
        self._client = await self
        return self._client

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Say good-bye, or close at once when the block raised."""
        assert self._client is not None
        if error is None:
            await self._client.aclose()
        else:
            self._client.abort()


class NNTPClient(Reading):
    """One connection to a server. `connect` makes it; see `Session` for its attributes."""

    # ── the connection ────────────────────────────────────────────────────────

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        tls: ClientTLS | str | None = None,
        user: str | None = None,
        password: str | None = None,
        identity: ClientIdentity | None = None,
        in_clear: bool = False,
        reader: bool = True,
        compress: bool = False,
        limits: ClientLimits | None = None,
        server_hostname: str | None = None,
        reactor: Reactor | None = None,
    ) -> Connecting:
        """Connect to a server, and log in where it offers that.

        Args:
            url: ``nntp://user:password@host:port/``, ``nntps://…`` for TLS from the beginning,
                or any endpoint of core's.
            tls: ``"starttls"``, or what to believe and show: with ``nntp:`` TLS begins by
                STARTTLS then, and without it nothing is said.
            user: Who logs in, when it does not stand in the URL.
            password: Likewise.
            identity: Who logs in, when it takes more than a password (certificates, tokens).
            in_clear: Show the password to whoever listens on a connection without TLS.
            reader: Ask a server that has two modes for that of readers; not so for feeds.
            compress: Deflate all, where the server can (RFC 8054). What is secret and what others
                may choose should not be said together then.
            limits: What the server is allowed.
            server_hostname: The name that the certificate must carry, when not the URL's.
            reactor: The current one when left out.

        Raises, once it is awaited:
            ConnectError: There is no connection.
            TLSError: TLS was asked for, and there is none, or nobody who is believed.
            LoginDenied: Name or password are wrong.
            NNTPReplyError: The server refuses.
            TryLaterError: The server has no time now.
            NNTPUsageError: The arguments do not fit together.
        """
        return Connecting(
            partial(
                cls._connect,
                url,
                tls,
                user,
                password,
                identity,
                in_clear=in_clear,
                reader=reader,
                compress=compress,
                limits=ClientLimits() if limits is None else limits,
                server_hostname=server_hostname,
                reactor=reactor,
            )
        )

    @classmethod
    async def _connect(
        cls,
        url: str,
        tls: ClientTLS | str | None,
        user: str | None,
        password: str | None,
        identity: ClientIdentity | None,
        *,
        in_clear: bool,
        reader: bool,
        compress: bool,
        limits: ClientLimits,
        server_hostname: str | None,
        reactor: Reactor | None,
    ) -> NNTPClient:
        address = parse_url(url)
        host = server_hostname or address.host
        starttls = _starttls(tls, secure=address.secure)
        name = user if user is not None else address.user
        secret = password if password is not None else address.password
        if identity is None and (name or secret is not None):
            if not name or secret is None:
                raise NNTPUsageError("a login is a name and a password: one of them is missing")
            identity = ClientIdentity(name, password=secret, host=host, in_clear=in_clear)
        connecting = connect(
            address.endpoint,
            partial(NNTPClientProtocol, limits),
            tls=None if isinstance(tls, str) or not address.secure else tls,
            server_hostname=server_hostname if address.secure else None,
            timeout=limits.connect,
            reactor=reactor,
        )
        try:
            protocol = await connecting
        except asyncio.CancelledError:
            # Given up: so is the connection, also one that stands by now.
            connecting.add_callbacks(NNTPClientProtocol.abort, lambda _: None)
            connecting.cancel()
            raise
        try:
            async with asyncio.timeout(limits.opening):
                known, may_post, logged_in = await open_session(
                    protocol,
                    starttls=starttls,
                    host=host,
                    identity=identity,
                    reader=reader,
                    compress=compress,
                )
        except TimeoutError as error:
            protocol.abort("timeout")
            raise ConnectError(f"{host}: no session within {limits.opening:g} s", []) from error
        except BaseException:
            protocol.abort()
            raise
        return cls(protocol, known, may_post=may_post, identity=identity, logged_in=logged_in)

    # ── short questions ───────────────────────────────────────────────────────

    async def group(self, name: str) -> Group:
        """Select a group, and tell how many articles it has (GROUP, RFC 3977 §6.1.1).

        Raises:
            NNTPTransientError: There is none (411).
        """
        return parse_selected((await self._ask(command("GROUP", name), 211)).octets)

    async def stat(self, article: int | bytes | str | None = None) -> tuple[int, bytes]:
        """Tell an article's number and Message-ID, and select it (STAT, RFC 3977 §6.2.4).

        Args:
            article: Its number, its Message-ID, or nothing for the one that is selected.

        Raises:
            NNTPTransientError: There is none (423, 430), or no group is selected (412).
        """
        return parse_found((await self._ask(command("STAT", *which(article)), 223)).octets)

    async def next(self) -> tuple[int, bytes] | None:
        """Select the next article: number and Message-ID; None behind the last (NEXT)."""
        return await self._step("NEXT", 421)

    async def last(self) -> tuple[int, bytes] | None:
        """Select the article before; None before the first (LAST)."""
        return await self._step("LAST", 422)

    async def _step(self, word: str, none: int) -> tuple[int, bytes] | None:
        response = await self._ask(command(word), 223, none)
        return None if response.code == none else parse_found(response.octets)

    async def date(self) -> datetime:
        """Tell the server's time, in UTC (DATE, RFC 3977 §7.1)."""
        return parse_date_reply((await self._ask(command("DATE"), 111)).octets)

    async def help(self) -> list[bytes]:
        """Give the lines of the server's help (RFC 3977 §7.2)."""
        return (await self._ask(command("HELP"), 100)).lines

    # ── sending articles ──────────────────────────────────────────────────────

    async def post(self, article: bytes | Message) -> bytes | None:
        """Post an article (RFC 3977 §6.3.1); its Message-ID, where it is known.

        Args:
            article: Octets with lines ended by CRLF, dots not doubled, or a message of the
                `email` package. What is missing of Message-ID, Date and Path the server adds.

        Raises:
            NNTPTransientError: One may not post (440), or this is not taken (441).
            NNTPUsageError: It has NUL, or CR or LF alone.
        """
        octets = _whole(article if isinstance(article, bytes) else _octets_of(article))
        asked = command("POST", article=octets, alone=True)
        response = await self._ask(asked, 240)
        found = _MENTIONED.search(response.octets)
        if found is not None and is_message_id(found[0]):
            return found[0]
        own = _FIRST_ID.search(octets, 0, max(octets.find(b"\r\n\r\n"), 0))
        return None if own is None else own[1]

    async def ihave(self, message_id: bytes, article: bytes) -> Offered:
        """Offer an article, and send it when it is wanted (RFC 3977 §6.3.2).

        Args:
            message_id: With its brackets.
            article: The whole, lines ended by CRLF, dots not doubled.

        Returns:
            `TAKEN`, `UNWANTED`, `LATER` or `REJECTED`.

        Raises:
            NNTPReplyError: The server takes no offers (480, 500, 502).
            NNTPUsageError: It has NUL, or CR or LF alone, or the Message-ID is none.
        """
        asked = command("IHAVE", _message_id(message_id), article=_whole(article), alone=True)
        return _IHAVE[(await self._ask(asked, *_IHAVE)).code]

    async def start_streaming(self) -> bool:
        """Whether `check` and `takethis` may be used (RFC 4644 §2.3)."""
        if self.capabilities.known:
            return "STREAMING" in self.capabilities
        response = await self._protocol.request(command("MODE STREAM", alone=True))
        return response.code == 203

    def check(self, message_id: bytes) -> Deferred[Offered]:
        """Ask whether an article is wanted: `WANTED`, `UNWANTED` or `LATER` (RFC 4644 §2.4).

        It is sent at once, behind what is under way; many may be.

        Raises:
            NNTPUsageError: The Message-ID is none.
        """
        asked = command("CHECK", _message_id(message_id))
        return self._protocol.request(asked).add_callback(
            partial(_offered, _CHECK, "CHECK", message_id)
        )

    def takethis(self, message_id: bytes, article: bytes) -> Deferred[Offered]:
        """Send an article unasked: `TAKEN` or `REJECTED` (RFC 4644 §2.5).

        It is sent at once, behind what is under way; many may be.

        Args:
            message_id: With its brackets.
            article: The whole, lines ended by CRLF, dots not doubled.

        Raises:
            NNTPUsageError: It has NUL, or CR or LF alone, or the Message-ID is none.
        """
        asked = command("TAKETHIS", _message_id(message_id), article=_whole(article), at_once=True)
        return self._protocol.request(asked).add_callback(
            partial(_offered, _TAKETHIS, "TAKETHIS", message_id)
        )

    def writable(self) -> Awaitable[None]:
        """Await it before sending more than a few articles: it waits while the way out is full."""
        return self._protocol.writable()


def _offered(
    meanings: dict[int, Offered], word: str, message_id: bytes, response: Response
) -> Offered:
    meaning = meanings.get(response.code)
    if meaning is None:
        raise refusal(response.code, response.octets, word)
    said = response.words[:1]
    if said and said[0] != message_id and said[0][:1] == b"<":
        # Responses and commands have lost each other (RFC 4644 §2.4.1 has it there for that).
        raise NNTPProtocolError(
            f"{word} {message_id!r} is answered for {said[0][:64]!r}", "RFC 4644 §2.4"
        )
    return meaning


def _starttls(tls: ClientTLS | str | None, *, secure: bool) -> ClientTLS | None:
    """What to believe when TLS begins in the middle; None when it does not."""
    if isinstance(tls, str) and tls != "starttls":
        raise NNTPUsageError(f"tls is None, 'starttls' or a ClientTLS, not {tls[:32]!r}")
    if secure:
        if isinstance(tls, str):
            raise NNTPUsageError("nntps: is TLS from the beginning: leave out 'starttls'")
        return None
    if isinstance(tls, str):
        from sennit.core.transport.tls import ClientTLS

        return ClientTLS()
    return tls


def _message_id(octets: bytes) -> bytes:
    if not is_message_id(octets):
        raise NNTPUsageError(f"not a Message-ID: {octets[:64]!r}")
    return octets


def _octets_of(message: Message) -> bytes:
    from email.policy import SMTP

    return message.as_bytes(policy=SMTP.clone(max_line_length=None))


def _whole(article: bytes) -> bytes:
    """An article that can be sent: NUL and lone line ends are no text (RFC 5536 §2.2)."""
    if not article.endswith(b"\r\n"):
        article += b"\r\n"
    ends = article.count(b"\r\n")
    if article.count(b"\n") != ends or article.count(b"\r") != ends or b"\0" in article:
        raise NNTPUsageError("an article has no NUL, and no CR or LF but in CRLF")
    return article
