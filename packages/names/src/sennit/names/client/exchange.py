"""One server, asked by whatever way answers: UDP, TCP behind it, TLS or HTTPS.

`Upstream` is what is known of a server: its cookies, whether it speaks EDNS, its connection.
`ask` puts a question to it, and does what protocols expect of a client before an answer is one:

* an answer that was cut (TC), or twenty forged ones, are asked for again over TCP (RFC 7766 §5,
  RFC 5452);
* a server that answers FORMERR, NOTIMP or BADVERS to a question with EDNS, without an OPT of its
  own, or not at all twice in a row, is asked without it, and for a while not with it again
  (RFC 6891 §6.2.2, §7);
* BADCOOKIE is asked again with the cookie it came with, then over TCP (RFC 7873 §5.3);
* over encrypted ways questions are padded to a multiple of 128 octets (RFC 8467 §4.1).

Not here: which server, how often, and what is made of the answer (``stub.py``, and
``sennit.names.resolver`` for servers of zones).
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Final

from sennit.core.reactor.base import current_reactor
from sennit.names.client.cookies import CookieJar, with_option
from sennit.names.client.servers import Server, server_from_text
from sennit.names.client.stream import StreamClient
from sennit.names.client.udp import exchange_udp
from sennit.names.codes import OptionCode, Rcode
from sennit.names.edns import Option
from sennit.names.errors import LookupTimeoutError, SpoofedError
from sennit.names.message import TC, Message

if TYPE_CHECKING:
    from sennit.core.reactor.base import Reactor
    from sennit.core.transport.tls import ClientTLS
    from sennit.names.client.https import HTTPSClient
    from sennit.names.tsig import Key

__all__ = ["BLOCK", "WITHOUT_EDNS", "Upstream", "padded"]

BLOCK: Final = 128
"""Questions are padded to multiples of so many octets (RFC 8467 §4.1)."""
WITHOUT_EDNS: Final = 300.0
"""Seconds for which a server that does not speak EDNS is not asked with it again."""
_NO_EDNS: Final = frozenset({Rcode.FORMERR, Rcode.NOTIMP, Rcode.BADVERS})


def padded(message: Message, block: int = BLOCK) -> Message:
    """The same, with so much padding that its octets are a multiple of `block`."""
    longer = copy(message)
    longer.edns = with_option(message.edns, Option(OptionCode.PADDING))
    size = len(longer.to_wire())
    longer.edns = with_option(message.edns, Option(OptionCode.PADDING, bytes(-size % block)))
    return longer


class Upstream:
    """One server, and what is known of it.

    Args:
        server: Which, as `Server` or as text.
        key: Signs each question (TSIG).
        tcp: Whether to ask over TCP at once where the server is of ``udp`` (``use-vc``).
        padding: Whether questions are padded where they are encrypted.
        cookies: Whether cookies are sent (over UDP, in questions that have EDNS).
        ignore_cut: Take a cut answer as it is.
        tls: What to believe (``tls``, ``https``); the system's trust when left out.
        method: Of HTTP: ``POST`` or ``GET``.
        local_address: Address to ask from.
        reactor: The current one when left out.

    Attributes:
        server: Which.
        transport: What carried the last answer: ``udp``, ``tcp``, ``tls`` or ``https``.
    """

    def __init__(
        self,
        server: Server | str,
        *,
        key: Key | None = None,
        tcp: bool = False,
        padding: bool = True,
        cookies: bool = True,
        ignore_cut: bool = False,
        tls: ClientTLS | None = None,
        method: str = "POST",
        local_address: str | None = None,
        reactor: Reactor | None = None,
    ) -> None:
        self.server = server_from_text(server) if isinstance(server, str) else server
        self.transport = self.server.scheme
        self._key = key
        self._tcp = tcp or self.server.scheme != "udp"
        self._padding = padding and self.server.encrypted
        self._jar = CookieJar() if cookies and self.server.scheme == "udp" else None
        self._ignore_cut = ignore_cut
        self._tls = tls
        self._method = method
        self._local = local_address
        self._reactor = reactor
        self._stream: StreamClient | HTTPSClient | None = None
        self._plain_until = 0.0  # no EDNS before
        self._silences = 0  # questions with EDNS in a row that got no answer

    def __repr__(self) -> str:
        return f"<Upstream {self.server}>"

    async def ask(self, message: Message, *, timeout: float = 5.0) -> Message:
        """Send a question, and wait for the answer that is one.

        Args:
            message: The question. Its id is not used.
            timeout: Seconds for each way that is tried (UDP, then TCP).

        Raises:
            LookupTimeoutError: There was none in time.
            UnreachableError: The server cannot be talked to.
            DNSProtocolError: What came over a connection is no answer.
        """
        if self._padding:
            message = padded(message)
        if message.edns is None:
            return await self._put(message, timeout)
        reactor = self._reactor or current_reactor()
        if reactor.time() < self._plain_until or self._silences >= 2:
            return await self._without_edns(message, timeout, reactor)
        try:
            answer = await self._put(message, timeout)
        except LookupTimeoutError:
            if not self._tcp:  # over a stream silence says nothing of EDNS
                self._silences += 1
            raise
        self._silences = 0
        if answer.rcode in _NO_EDNS and answer.edns is None:
            return await self._without_edns(message, timeout, reactor)
        return answer

    async def _without_edns(self, message: Message, timeout: float, reactor: Reactor) -> Message:
        plain = copy(message)
        plain.edns = None
        self._silences = 0  # whatever comes: the next question has EDNS again, or is told not to
        answer = await self._put(plain, timeout)
        if answer.rcode not in _NO_EDNS:
            self._plain_until = reactor.time() + WITHOUT_EDNS
        return answer

    async def _put(self, message: Message, timeout: float) -> Message:
        """Send it by the way that this server is asked by."""
        return await (self._over_stream if self._tcp else self._over_udp)(message, timeout)

    async def _over_udp(self, message: Message, timeout: float) -> Message:
        where = (self.server.host, self.server.port)
        for _ in range(2):
            asked = message
            jar = self._jar
            if jar is not None and message.edns is not None:
                asked = copy(message)
                asked.edns = with_option(message.edns, jar.option(where))
            try:
                answer = await exchange_udp(
                    asked,
                    where,
                    timeout=timeout,
                    key=self._key,
                    local_address=self._local,
                    reactor=self._reactor,
                )
            except SpoofedError:
                break
            if jar is not None and asked is not message and not jar.received(where, answer):
                break  # it has another's cookie: over TCP nobody can say what is not asked
            self.transport = "udp"
            if answer.rcode == Rcode.BADCOOKIE:
                continue
            if answer.flags & TC and not self._ignore_cut:
                break
            return answer
        return await self._over_stream(message, timeout)

    async def _over_stream(self, message: Message, timeout: float) -> Message:
        stream = self._stream or self._open()
        answer = await stream.exchange(message, timeout=timeout, key=self._key)
        self.transport = "tcp" if self.server.scheme == "udp" else self.server.scheme
        return answer

    def _open(self) -> StreamClient | HTTPSClient:
        server = self.server
        if server.scheme == "https":
            from sennit.names.client.https import HTTPSClient

            self._stream = HTTPSClient(server.url, method=self._method, tls=self._tls)
            return self._stream
        profile = server.profile()
        if profile is not None and self._tls is not None and profile.believes:
            profile.tls = self._tls
        self._stream = StreamClient(
            (server.host, server.port),
            profile,
            local_address=self._local,
            reactor=self._reactor,
        )
        return self._stream

    @property
    def connected(self) -> bool:
        """Whether it has, or had, a connection that `aclose` ends."""
        return self._stream is not None

    async def aclose(self) -> None:
        """Close its connection; it may be asked again."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()
