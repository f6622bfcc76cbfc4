"""Library parsers behind the gate, and the engines that have one: a second opinion.

A parser sees only octets that passed the gate (``framing.py``), and what it reads
must be what the gate has read: method, target, fields and content, octet by octet.
Where the two disagree, or the library refuses, the connection ends with 400. So an
engine with a parser lets nothing through that `HTTP1ServerEngine` does not, and is
never chosen by itself: it costs what the library costs on top of the gate
(bench/README.md). They serve who wants two independent readers to agree on every
request, and the tests as oracles.

What the gate lets through, both libraries read the same way, save these, which
are smoothed over here because they are questions of taste and not of framing:

* llhttp knows a fixed list of methods, some of which are not HTTP's; the gate knows
  the grammar (RFC 9110 §9.1 leaves the list open). It is shown ``POST`` for the others.
* llhttp takes an upgrade that is offered for one that is taken, and reads nothing behind
  the head. The one offer that the gate lets be together with content is ``h2c``, which
  nobody takes; the content is then read by the gate alone.

Sources: RFC 9112; h11's and httptools' documentation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import h11

from sennit.core.errors import MissingExtraError
from sennit.web.http1.engine import HTTP1ServerEngine
from sennit.web.http1.verdict import Refused
from sennit.web.limits import Limits

if TYPE_CHECKING:
    from typing import Protocol

    from sennit.web.events import RequestHead
    from sennit.web.http1.engine import DateLine

    class Parser(Protocol):
        """A library's opinion on octets that passed the gate. It may be the stricter one."""

        def begin(self, head: RequestHead) -> None:
            """A request begins. Raises `Refused` when the library sees it otherwise."""

        def content(self, piece: bytes, wire: bytes) -> None:
            """Content octets, as the gate reads them and as they were framed.

            Raises `Refused` when the library reads others out of the frames.
            """


__all__ = ["H11Parser", "H11ServerEngine", "HTTPToolsParser", "HTTPToolsServerEngine"]


class H11Parser:
    """Reads requests with h11: a connection of it per request, since h11 is never told answers."""

    __slots__ = ("_connection", "_most")

    def __init__(self, limits: Limits) -> None:
        self._most = limits.target + limits.head + 1024
        self._connection: h11.Connection | None = None

    def begin(self, head: RequestHead) -> None:
        """Have h11 read the head, and agree."""
        connection = h11.Connection(h11.SERVER, self._most)
        connection.receive_data(head.raw)
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            raise Refused(error.error_status_hint, str(error), "RFC 9112 §2.2") from None
        if (
            not isinstance(event, h11.Request)
            or event.method != head.method
            or event.target != head.target
            or list(event.headers) != _as_h11_reads(head.headers)
        ):
            raise _disagreement()
        self._connection = connection if head.length else None

    def content(self, piece: bytes, wire: bytes) -> None:
        """Have h11 take the framing off, and agree on what is left."""
        connection = self._connection
        assert connection is not None, "content belongs to a request that has some"
        connection.receive_data(wire)
        taken = bytearray()
        try:
            while isinstance(event := connection.next_event(), h11.Data):
                taken += event.data
        except h11.RemoteProtocolError as error:
            raise Refused(error.error_status_hint, str(error), "RFC 9112 §7.1") from None
        if isinstance(event, h11.EndOfMessage):
            self._connection = None
        if bytes(taken) != piece:
            raise _disagreement()


def _as_h11_reads(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Fields as h11 gives them out: the one coding there is stands in lower case."""
    return [
        (name, value.lower() if name == b"transfer-encoding" else value) for name, value in headers
    ]


class HTTPToolsParser:
    """Reads requests with httptools, which is llhttp: a parser of it per request.

    Raises:
        MissingExtraError: The extra ``fast`` is not installed.
    """

    __slots__ = (
        "_complete",
        "_errors",
        "_make",
        "_parser",
        "_stopped",
        "_taken",
        "_target",
        "fields",
    )

    def __init__(self) -> None:
        try:
            import httptools
        except ImportError as error:
            raise MissingExtraError(__name__, "sennit-web", "fast") from error
        # `Any`: the names of its errors differ in its stubs and at run time.
        self._make: Any = httptools.HttpRequestParser
        self._errors: Any = httptools
        self._parser: Any = None
        self._target = b""
        self._taken = bytearray()
        self._complete = False
        self._stopped = False
        self.fields: list[tuple[bytes, bytes]] = []

    # What llhttp calls.

    def on_url(self, url: bytes) -> None:
        """Part of the target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field, or one of the trailers."""
        self.fields.append((name.lower(), value.strip(b" \t")))

    def on_body(self, body: bytes) -> None:
        """Octets of the content."""
        self._taken += body

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._complete = True

    # What the engine calls.

    def begin(self, head: RequestHead) -> None:
        """Have llhttp read the head, and agree."""
        self._parser = self._make(self)
        self._target = b""
        self._complete = self._stopped = False
        self.fields = []
        self._taken.clear()
        raw = head.raw
        shown = head.method
        if shown not in _METHODS:
            shown = b"POST"
            raw = shown + raw[len(head.method) :]
        self._feed(raw)
        if (
            self._target != head.target
            or self.fields != head.headers
            or self._taken
            or self._parser.get_method() != shown
            or self._complete is not (head.length == 0 or self._stopped)
        ):
            raise _disagreement()
        if self._complete:
            self._parser = None

    def content(self, piece: bytes, wire: bytes) -> None:
        """Have llhttp take the framing off, and agree on what is left."""
        if self._parser is None:
            if not self._stopped:
                raise _disagreement()
            return
        self._feed(wire)
        if bytes(self._taken) != piece:
            raise _disagreement()
        self._taken.clear()
        if self._complete:
            self._parser = None

    def _feed(self, octets: bytes) -> None:
        try:
            self._parser.feed_data(octets)
        except self._errors.HttpParserUpgrade:
            self._stopped = True
        except self._errors.HttpParserError as error:
            raise Refused(400, str(error), "RFC 9112") from None


_METHODS: Final = frozenset(
    {b"CONNECT", b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PUT", b"TRACE"}
)
"""Those that llhttp is shown as they are (RFC 9110 §9.3, RFC 5789)."""


def _disagreement() -> Refused:
    return Refused(400, "the parser does not agree", "RFC 9112 §2.2")


class H11ServerEngine(HTTP1ServerEngine):
    """One connection, read by the gate and by h11, which have to agree.

    Args:
        limits: What is too much.
        date: Whose line stands in every response.
        offer_http2: Whether a connection may begin with the preface of HTTP/2.
    """

    __slots__ = ()

    def __init__(
        self,
        limits: Limits | None = None,
        date: DateLine | None = None,
        *,
        offer_http2: bool = False,
    ) -> None:
        limits = limits or Limits()
        super().__init__(limits, date, offer_http2=offer_http2, parser=H11Parser(limits))


class HTTPToolsServerEngine(HTTP1ServerEngine):
    """One connection, read by the gate and by httptools (extra ``fast``), which have to agree.

    Args:
        limits: What is too much.
        date: Whose line stands in every response.
        offer_http2: Whether a connection may begin with the preface of HTTP/2.

    Raises:
        MissingExtraError: The extra is not installed.
    """

    __slots__ = ()

    def __init__(
        self,
        limits: Limits | None = None,
        date: DateLine | None = None,
        *,
        offer_http2: bool = False,
    ) -> None:
        super().__init__(limits, date, offer_http2=offer_http2, parser=HTTPToolsParser())
