"""One question to one upstream server, with all that may be in the way of an answer.

The exchange itself (sockets, ids, ports, answers that do not fit) is a callable that is given;
here is what it is asked for: EDNS and what to do without it, cookies, letters of random case,
TCP behind truncation and forgery, and how long to wait.

Sources: RFC 6891 §6.2.2, §7 (servers without EDNS), RFC 7873 §5.3 (cookies), RFC 5452 §9,
RFC 7766 §5 (TCP), draft-vixie-dnsext-dns0x20 (case).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from sennit.core.errors import SennitError
from sennit.names.client.cookies import CookieJar
from sennit.names.codes import OptionCode, Rcode, RRType
from sennit.names.edns import EDNS
from sennit.names.errors import LookupTimeoutError, MessageFormatError, SpoofedError
from sennit.names.message import CD, RD, TC, Message
from sennit.names.name import trusted
from sennit.names.resolver.servers import HABIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.names.name import Name
    from sennit.names.resolver.servers import Server

__all__ = ["Budget", "Exchange", "NoAnswerError", "Upstream"]

_DNAME: Final = int(RRType.DNAME)


class Exchange(Protocol):
    """How a question gets to a server, and its answer back."""

    async def __call__(
        self,
        message: Message,
        server: tuple[str, int],
        transport: str,
        *,
        timeout: float,
        match_case: bool = False,
    ) -> Message:
        """The answer to a question.

        Args:
            message: The question; its id is chosen on the way.
            server: Address and port.
            transport: ``udp`` or ``tcp``; ``tls:NAME`` and ``https:URL`` for forwarders.
            timeout: Seconds that it may take.
            match_case: Whether letters of the answer must have the question's case.

        Raises:
            LookupTimeoutError: Nobody answered.
            SpoofedError: Somebody guesses.
            SennitError: There is no way, or the answer is none.
            OSError: Likewise.
        """
        ...


class NoAnswerError(SennitError):
    """A server was asked in vain."""


class Budget:
    """What is left of the work that one question may make (RFC 9520 §2, RFC 1034 §3.6.2).

    Attributes:
        queries: Upstream queries that may still be sent.
        deadline: When its time is over.
        shunned: Servers that gave something bogus, and are not asked again for it.
    """

    __slots__ = ("deadline", "queries", "shunned")

    def __init__(self, queries: int, deadline: float) -> None:
        self.queries = queries
        self.deadline = deadline
        self.shunned: set[tuple[str, int]] = set()

    def take(self, now: float) -> float:
        """Take one query; the seconds that it may last.

        Raises:
            NoAnswerError: Nothing is left.
        """
        left = self.deadline - now
        if self.queries <= 0:
            raise NoAnswerError("too many upstream queries for one question")
        if left <= 0:
            raise NoAnswerError("the question's time is over")
        self.queries -= 1
        return left


class Upstream:
    """Asks servers.

    Args:
        exchange: Carries messages.
        now: The time, in seconds.
        bits: So many random bits.
        mix_case: Whether letters have random case.
        dnssec: Whether records of DNSSEC are asked for.
    """

    def __init__(
        self,
        exchange: Exchange,
        now: Callable[[], float],
        bits: Callable[[int], int],
        *,
        mix_case: bool = False,
        dnssec: bool = False,
    ) -> None:
        self._exchange = exchange
        self._cookies = CookieJar()
        self._now = now
        self._bits = bits
        self._mix_case = mix_case
        self._dnssec = dnssec
        self.sent = 0
        self.timeouts = 0
        self.spoofed = 0
        self.over_tcp = 0

    async def ask(
        self,
        name: Name,
        rdtype: int,
        server: Server,
        budget: Budget,
        *,
        transport: str = "udp",
        recurse: bool = False,
    ) -> tuple[Message, str]:
        """What a server says to a question, and the transport it came by.

        Raises:
            NoAnswerError: Nothing that could be used.
        """
        plain = server.plain_until > self._now()
        tries = 0
        while True:
            tries += 1
            answer = await self._once(
                name, rdtype, server, budget, transport, recurse=recurse, plain=plain
            )
            if answer is None:
                if transport != "udp":
                    raise NoAnswerError(f"{server.address[0]} gives no answer that can be trusted")
                transport = "tcp"  # somebody guesses: there guessing does not help
            elif answer.flags & TC and transport == "udp":
                transport = "tcp"
            elif answer.rcode == Rcode.BADCOOKIE and tries < 3:
                if tries == 2:
                    transport = "tcp" if transport == "udp" else transport
            elif (
                not plain
                and answer.rcode in (Rcode.FORMERR, Rcode.NOTIMP, Rcode.BADVERS)
                and tries < 3
            ):
                plain = True
                server.plain_until = self._now() + HABIT
            elif (
                transport == "udp"
                and any(each.rdtype == _DNAME for each in answer.answers)
                and not _has_cookie(answer)
            ):
                # One forged datagram would take over all that is beneath it.
                transport = "tcp"
            else:
                return answer, transport

    async def _once(
        self,
        name: Name,
        rdtype: int,
        server: Server,
        budget: Budget,
        transport: str,
        *,
        recurse: bool,
        plain: bool,
    ) -> Message | None:
        """One message out and one in; ``None`` where forgery is afoot."""
        edns = None
        if not plain:
            shown = self._cookies.option(server.address)
            edns = EDNS(dnssec_ok=self._dnssec, options=[shown])
        asked = self._cased(name) if self._mix_case and transport == "udp" else name
        flags = (RD if recurse else 0) | (CD if recurse and self._dnssec else 0)
        query = Message.query(asked, rdtype, flags=flags, edns=edns)
        left = budget.take(self._now())
        started = self._now()
        self.sent += 1
        self.over_tcp += transport == "tcp"
        wait = server.wait() if transport == "udp" else max(2 * server.wait(), 3.0)
        try:
            answer = await self._exchange(
                query,
                server.address,
                transport,
                timeout=min(left, wait),
                match_case=asked is not name,
            )
        except SpoofedError:
            self.spoofed += 1
            return None
        except LookupTimeoutError as error:
            self.timeouts += 1
            server.failed(self._now())
            raise NoAnswerError(f"{server.address[0]} does not answer") from error
        except MessageFormatError as error:
            raise NoAnswerError(f"{server.address[0]} sends no message of DNS") from error
        except (SennitError, OSError) as error:
            server.failed(self._now())
            raise NoAnswerError(f"{server.address[0]} cannot be reached") from error
        server.answered(self._now() - started)
        return answer if self._is_its_own(server, answer, transport) else None

    def _is_its_own(self, server: Server, answer: Message, transport: str) -> bool:
        """Whether a server's answer may be its own, as far as cookies tell (RFC 7873 §5.3)."""
        if not self._cookies.received(server.address, answer):
            return False
        if _has_cookie(answer):
            server.cookies = True
        elif server.cookies and transport == "udp" and answer.edns is not None:
            # It gave us one before: this may be somebody else, and TCP will tell.
            server.cookies = False
            return False
        return True

    def _cased(self, name: Name) -> Name:
        wire = bytearray(name.key)
        bits = self._bits(len(wire))
        for index, octet in enumerate(wire):
            if 0x61 <= octet <= 0x7A and bits >> index & 1:
                wire[index] = octet - 0x20
        return trusted(bytes(wire))


def _has_cookie(answer: Message) -> bool:
    return answer.edns is not None and answer.edns.option(OptionCode.COOKIE) is not None
