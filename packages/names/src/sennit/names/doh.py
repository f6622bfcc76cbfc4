"""DNS over HTTPS, the server's side: a query in a request, its answer in the response.

`DoHHandler` is an `IHTTPHandler` (``sennit.core.http``), so that any web server can have it at a
path, ``/dns-query`` by custom; this package knows none. It asks a `DNSServer`, by its responder
and with its limits, keys and padding; or servers elsewhere, to which it forwards.

GET has the query in ``dns=``, in base64url, POST has it as content of type
``application/dns-message``. A response may be cached for as long as its shortest TTL says, an
answer that something does not exist for as long as its SOA says (RFC 2308 §5).

Sources: RFC 8484, RFC 9110 §15. Not here: connections, HTTP/2, TLS (a web server's).
"""

from __future__ import annotations

import base64
import binascii
import re
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final

from zope.interface import implementer

from sennit.core.http import HTTPAnswer, IHTTPHandler
from sennit.names.codes import Rcode
from sennit.names.errors import DNSError, DNSUsageError, MessageFormatError
from sennit.names.message import Message
from sennit.names.rdata.basic import SOA
from sennit.names.serving.queries import error_reply
from sennit.names.serving.running import running_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sennit.core.http import HTTPQuestion
    from sennit.names.client.exchange import Upstream
    from sennit.names.server import DNSServer

__all__ = ["MEDIA_TYPE", "DoHHandler", "Forwarder", "dns_handler", "fresh_for"]

MEDIA_TYPE: Final = b"application/dns-message"
"""The type of queries and answers (RFC 8484 §6)."""
MAX_MESSAGE: Final = 0xFFFF
"""Octets of a message."""
_ENCODED: Final = re.compile(r"[A-Za-z0-9_-]*\Z", re.ASCII)
"""base64url without padding (RFC 8484 §6)."""
_ALLOWED: Final = (b"allow", b"GET, HEAD, POST, OPTIONS")
_SERVFAIL: Final = int(Rcode.SERVFAIL)
_CACHED: Final = (int(Rcode.NOERROR), int(Rcode.NXDOMAIN))


@implementer(IHTTPHandler)
class DoHHandler:
    """Answers DNS over HTTPS.

    Args:
        source: A `DNSServer`; a function of none that gives one, or ``None`` while there is
            none; or a `Forwarder`.
    """

    max_content = MAX_MESSAGE

    def __init__(self, source: DNSServer | Forwarder | Callable[[], DNSServer | None]) -> None:
        self._source = source

    def __repr__(self) -> str:
        return f"<DoHHandler of {self._source!r}>"

    def answer(self, question: HTTPQuestion) -> HTTPAnswer | Awaitable[HTTPAnswer]:
        """The answer to a request: a DNS message, or why there is none."""
        method = question.method
        if method in ("GET", "HEAD"):
            query = _query_of(question.query)
        elif method == "POST":
            kind = question.header(b"content-type").partition(b";")[0].strip().lower()
            if kind != MEDIA_TYPE:
                return _refused(415, f"content has to be of type {MEDIA_TYPE.decode()}")
            query = question.content
        elif method == "OPTIONS":
            return HTTPAnswer(204, [_ALLOWED], b"")
        else:
            return _refused(405, "queries come by GET and POST", _ALLOWED)
        if query is None:
            return _refused(400, "a query by GET is dns= and base64url without padding")
        if len(query) > MAX_MESSAGE:
            return _refused(413, f"a query has at most {MAX_MESSAGE} octets")
        if len(query) < 12 or query[2] & 0x80:
            return _refused(400, "that is no DNS query")
        source: Any = self._source  # one of three
        if callable(source):
            source = source()
        if source is None:
            return _refused(503, "the DNS server does not run")
        answer = source.answer(query, question.peer)
        if isawaitable(answer):
            return self._later(answer)
        return _response(answer)

    async def _later(self, answer: Awaitable[bytes | None]) -> HTTPAnswer:
        return _response(await answer)

    async def aclose(self) -> None:
        """Close connections to servers elsewhere; a server of this process is not its own."""
        if isinstance(self._source, Forwarder):
            await self._source.aclose()


def _query_of(query: str) -> bytes | None:
    """The octets in ``dns=``; ``None`` where there are none, or it is there twice."""
    values = [each[4:] for each in query.split("&") if each.startswith("dns=")]
    if len(values) != 1 or not values[0] or not _ENCODED.match(values[0]):
        return None
    try:
        return base64.b64decode(values[0] + "=" * (-len(values[0]) % 4), b"-_", validate=True)
    except binascii.Error:
        return None


def _refused(status: int, text: str, *more: tuple[bytes, bytes]) -> HTTPAnswer:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *more]
    return HTTPAnswer(status, headers, f"{text}\n".encode())


def _response(answer: bytes | None) -> HTTPAnswer:
    if answer is None:
        return _refused(400, "there is no answer to that")
    headers = [
        (b"content-type", MEDIA_TYPE),
        (b"cache-control", b"max-age=%d" % fresh_for(answer)),
    ]
    return HTTPAnswer(200, headers, answer)


def fresh_for(answer: bytes) -> int:
    """Seconds for which an answer may be kept (RFC 8484 §5.1)."""
    try:
        message = Message.from_wire(answer)
    except MessageFormatError:
        return 0
    if message.rcode not in _CACHED:
        return 0
    ttls = [each.ttl for each in message.answers]
    if not ttls or message.rcode:
        # That something is not there is kept as long as the zone's SOA says (RFC 2308 §5).
        absent = [
            min(each.ttl, each.rdata.minimum)
            for each in message.authority
            if isinstance(each.rdata, SOA)
        ]
        ttls += absent or [0]
    return min(ttls)


class Forwarder:
    """Asks servers elsewhere, one after the other, until one answers.

    Args:
        servers: How they are written: ``127.0.0.1:5300``, ``tls://…`` (``client/servers.py``).
        timeout: Seconds for each.

    Raises:
        DNSUsageError: One of them is none, or there are none.
    """

    def __init__(self, servers: Sequence[str], *, timeout: float = 5.0) -> None:
        from sennit.names.client.exchange import Upstream

        if not servers:
            raise DNSUsageError("a forwarder needs a server to forward to")
        self._upstreams: list[Upstream] = [Upstream(each.strip()) for each in servers]
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"<Forwarder to {', '.join(str(each.server) for each in self._upstreams)}>"

    async def answer(self, query: bytes, peer: object) -> bytes | None:
        """The answer of the first server that gives one; SERVFAIL where none does."""
        del peer  # nobody elsewhere is told who asked
        try:
            message = Message.from_wire(query)
        except MessageFormatError:
            return error_reply(query, int(Rcode.FORMERR))
        if message.tsig is not None or len(message.questions) != 1:
            return error_reply(query, int(Rcode.FORMERR))
        for each in self._upstreams:
            try:
                found = await each.ask(message, timeout=self._timeout)
            except DNSError:
                continue
            found.id = message.id
            return found.to_wire()
        return message.reply(_SERVFAIL).to_wire()

    async def aclose(self) -> None:
        """Close the connections to them."""
        for each in self._upstreams:
            await each.aclose()


def dns_handler(*, service: str = "", forward: str = "") -> DoHHandler:
    """DNS over HTTPS at a path of a web site (entry point ``dns`` of ``sennit.web_handlers``).

    Args:
        service: Name of the DNS service of this node that answers; ``dns`` where `forward` is
            left out, too.
        forward: Servers to forward to instead, with commas between them.

    Raises:
        DNSUsageError: Both are given, or a server is none.
    """
    if service and forward:
        raise DNSUsageError("either a service answers, or servers to forward to")
    if forward:
        return DoHHandler(Forwarder(forward.split(",")))
    name = service or "dns"
    return DoHHandler(lambda: running_server(name))
