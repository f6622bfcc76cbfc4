"""A request as its handler sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, unquote_to_bytes

from sennit.core.errors import LimitReachedError
from sennit.web.errors import WebProtocolError, WebUsageError
from sennit.web.events import CHUNKED, BodyEnded
from sennit.web.response import HTTPError, MissingFieldError, Response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sennit.core._inbox import Inbox
    from sennit.core.address import Address
    from sennit.core.driver import Body
    from sennit.core.engine import FilePart
    from sennit.core.interfaces import Buffer, IStreamTransport
    from sennit.web.answering import ResponseWriter
    from sennit.web.bodies import GuardedInbox
    from sennit.web.connection import HTTPConnection
    from sennit.web.decoding import ContentDecoder
    from sennit.web.events import RequestHead
    from sennit.web.forms import Form, FormLimits
    from sennit.web.response import HeadersIn
    from sennit.web.sessions.session import Session

__all__ = ["Fields", "Request", "decode_segments"]

V = TypeVar("V")

MAX_FIELDS = 1000
"""Fields of a query that are looked at; with more the request is refused (400)."""


class Fields(dict[str, V]):
    """What came by name; asking for what did not come is answered 400, unless it is caught."""

    __slots__ = ()

    def __missing__(self, name: str) -> V:
        raise MissingFieldError(name)


class Request:
    """One request.

    Attributes:
        connection: What it came over. (`Any` in its type: of whichever version.)
        head: All that the engine said of it, in octets.
        segments: The path's segments, decoded; a resource tree consumes them.
    """

    __slots__ = (
        "_body",
        "_coded",
        "_decoder",
        "_limit",
        "_params",
        "_segments",
        "_state",
        "connection",
        "head",
    )

    # Not there until they are set: hardly a request has either.
    _coded: int  # its length before the decoder
    _decoder: ContentDecoder
    _limit: int

    def __init__(self, head: RequestHead, connection: HTTPConnection[Any, Any]) -> None:
        self.head = head
        self.connection = connection
        self._segments: list[str] | None = None
        self._body: Body | None = None
        self._params: dict[str, Any] | None = None
        self._state: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.head.path[:64]!r}>"

    @property
    def method(self) -> str:
        """The method; methods are case-sensitive."""
        return self.head.method.decode("ascii")

    @property
    def raw_path(self) -> str:
        """The path as it was sent, percent-encoded, without the query."""
        return self.head.path.partition(b"?")[0].decode("ascii")

    @property
    def path(self) -> str:
        """The path, decoded; octets that are no UTF-8 are replaced.

        To be looked at, not to be opened: an encoded slash is a slash here.
        `segments` keeps them apart.
        """
        return unquote_to_bytes(self.head.path.partition(b"?")[0]).decode("utf-8", "replace")

    @property
    def segments(self) -> list[str]:
        """The path's segments, each decoded by itself.

        Raises:
            HTTPError: 404, a segment is no UTF-8 or not well encoded.
        """
        if self._segments is None:
            self._segments = decode_segments(self.head.path.partition(b"?")[0])
        return self._segments

    @segments.setter
    def segments(self, value: list[str]) -> None:
        self._segments = value

    @property
    def query_string(self) -> str:
        """The query as it was sent."""
        return self.head.path.partition(b"?")[2].decode("ascii")

    @property
    def query(self) -> Fields[list[str]]:
        """Values of the query's fields by name.

        ``request.query["page"][0]`` is answered 400 where there is no such field.

        Raises:
            HTTPError: 400, there are too many.
        """
        found = self.query_string
        if not found:
            return Fields()
        try:
            return Fields(parse_qs(found, keep_blank_values=True, max_num_fields=MAX_FIELDS))
        except ValueError:
            raise HTTPError(400) from None

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """List of (lower-case name, value) octet pairs, in the order they came."""
        return self.head.headers

    def header(self, name: str) -> str | None:
        """The value of a header, ``None`` if it did not come.

        Several of one name are joined by commas, as RFC 9110 §5.3 has it.
        """
        wanted = name.lower().encode("latin-1")
        found = [value for each, value in self.head.headers if each == wanted]
        return b", ".join(found).decode("latin-1") if found else None

    @property
    def host(self) -> str:
        """The authority that was asked for, empty if none was."""
        return (self.head.host or b"").decode("ascii")

    @property
    def version(self) -> str:
        """``1.1``, ``1.0`` or ``2``."""
        return self.head.version.decode("ascii")

    @property
    def scheme(self) -> str:
        """``https`` or ``http``: what the connection is, or as a trusted proxy says."""
        if self._state is not None and "scheme" in self._state:
            scheme: str = self._state["scheme"]
            return scheme
        return "https" if self.connection.secure else "http"

    @property
    def params(self) -> dict[str, Any]:
        """What the path's parameters were, by name. (`Any`: as their types convert them.)"""
        if self._params is None:
            self._params = {}
        return self._params

    @params.setter
    def params(self, value: dict[str, Any]) -> None:
        self._params = value

    @property
    def state(self) -> dict[str, Any]:
        """What wrappers of the handler leave for it. (`Any`: their own affair.)"""
        if self._state is None:
            # The log sees it, too.
            self._state = self.head.notes = {}
        return self._state

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that came, by name (``cookies.py``)."""
        from sennit.web.cookies import parse_cookies

        found = [value for name, value in self.head.headers if name == b"cookie"]
        return parse_cookies(b"; ".join(found)) if found else {}

    @property
    def session(self) -> Session:
        """What is remembered of this client from one request to the next.

        Raises:
            WebUsageError: No `sennit.web.with_sessions` stands around the handler.
        """
        found: Session | None = None if self._state is None else self._state.get("session")
        if found is None:
            raise WebUsageError("no sessions here: put with_sessions(store) around the handler")
        return found

    @property
    def user(self) -> str | None:
        """The name of who has logged in (`sennit.web.require_login`); ``None`` for nobody."""
        name: str | None = None if self._state is None else self._state.get("user")
        return name

    @property
    def secure(self) -> bool:
        """Whether it came over TLS, to here or to a trusted proxy in front."""
        return self.scheme == "https"

    @property
    def peer(self) -> Address | None:
        """Who asks; behind a trusted proxy whom that saw, ``None`` where it would not tell."""
        if self._state is not None and "peer" in self._state:
            peer: Address | None = self._state["peer"]
            return peer
        return self.connection.peer

    def came_from(self, peer: Address | None, scheme: str = "", host: str = "") -> None:
        """Believe what a proxy in front says (``proxy/forwarded.py``).

        ``request.connection.peer`` is still who is connected.

        Args:
            peer: Who asked it.
            scheme: How; empty where it does not say.
            host: For what authority; likewise.
        """
        self.state["peer"] = peer
        if scheme:
            self.state["scheme"] = scheme
        if host:
            self.head.host = host.encode("ascii")

    @property
    def transport(self) -> IStreamTransport:
        """What it came over."""
        return self.connection.transport

    @property
    def body(self) -> Body:
        """The content: ``async for chunk in request.body``.

        Asking for it tells a client that waits for 100-continue to go on.

        Raises:
            HTTPError: 413, it is longer than `limit`; 415, it has a content coding that
                nobody undoes (`sennit.web.decode_requests`, or `encoded_body`).
        """
        if self._body is None:
            if self.head.encoded and self.head.length:
                raise HTTPError(415, {"accept-encoding": "identity"})
            self._begin()
        assert self._body is not None
        return self._body

    @property
    def encoded_body(self) -> Body:
        """The content as it came, for who hands it on: in whatever coding the header names.

        Raises:
            HTTPError: 413, it is longer than `limit`.
        """
        if self._body is None:
            self._begin()
        assert self._body is not None
        return self._body

    def _begin(self) -> None:
        """Have the content come."""
        connection, head = self.connection, self.head
        limit, decoder = self._checked()
        body = connection.body(head)
        if decoder is not None or limit < connection.limits.body:
            from sennit.web.bodies import guarded

            body = guarded(body, limit, decoder)
        self._body = body
        if not (head.length if decoder is None else self._coded):
            # No event would ever end it.
            body.finish(BodyEnded(head.exchange, []))
        connection.go_on(head)

    def _checked(self) -> tuple[int, ContentDecoder | None]:
        """The limit and the decoder of the content, which is not known to be too long."""
        limit = self.limit
        decoder: ContentDecoder | None = getattr(self, "_decoder", None)
        if (self.head.length if decoder is None else self._coded) > limit:
            raise HTTPError(413)
        if decoder is not None and decoder.limit is None:
            decoder.limit = limit
        return limit, decoder

    def inbox(self) -> Inbox[Any] | GuardedInbox:
        """The events of the content, for who hosts applications and hands them on.

        The client is not told to go on.

        Raises:
            HTTPError: 413, it is longer than `limit`.
        """
        connection, head = self.connection, self.head
        limit, decoder = self._checked()
        if decoder is None and limit >= connection.limits.body:
            return connection.inbox(head)
        from sennit.web.bodies import GuardedInbox, guarded

        return GuardedInbox(guarded(connection.body(head), limit, decoder), head.exchange)

    @property
    def limit(self) -> int:
        """Octets of content that are taken; a route may have a limit of its own."""
        own: int | None = getattr(self, "_limit", None)
        return self.connection.body_limit if own is None else own

    @limit.setter
    def limit(self, value: int) -> None:
        self._limit = value

    def decode(self, decoder: ContentDecoder) -> None:
        """Take the content coding off the content, which is then as if it had none.

        A decoder without a limit of its own gets that of the content.

        Raises:
            WebUsageError: The content was asked for already.
        """
        if self._body is not None:
            raise WebUsageError("the content was asked for already")
        head = self.head
        self._decoder = decoder
        head.headers = [
            each for each in head.headers if each[0] not in (b"content-encoding", b"content-length")
        ]
        head.encoded = False
        # How long it is decoded only its end will tell.
        self._coded = head.length
        head.length = CHUNKED

    def rewrite(self, path: str) -> None:
        """Go on as if another path had been asked for; the query stays.

        Args:
            path: Percent-encoded.
        """
        _, mark, query = self.head.path.partition(b"?")
        self.head.path = path.encode("ascii") + mark + query
        self._segments = None

    async def read(self, limit: int = 1024 * 1024) -> bytes:
        """All of the content.

        Args:
            limit: Octets at most.

        Raises:
            HTTPError: 413, there are more.
        """
        length = self.head.length
        if length == 0:
            return b""
        if length > limit:
            raise HTTPError(413)
        try:
            return await self.body.read(limit)
        except LimitReachedError as error:
            raise HTTPError(413) from error

    async def json(self, limit: int = 1024 * 1024, *, depth: int = 64) -> Any:
        """The value that the content is in JSON. (`Any`: whatever JSON has.)

        Content that does not say it is JSON is refused: pages of other sites can send any
        other kind without being asked first (``cors``).

        Args:
            limit: Octets at most.
            depth: Values within values.

        Raises:
            HTTPError: 415, it is said to be something else; 400, it is no JSON (RFC 8259:
                no NaN, no name twice in an object); 413, there is too much of it.
        """
        from sennit.web.rpc.json_grammar import read_json

        kind = (self.header("content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/json" and not kind.endswith("+json"):
            raise HTTPError(415)
        try:
            return read_json(await self.read(limit), depth=depth)
        except WebProtocolError as error:
            raise HTTPError(400, None, str(error)) from error

    async def form(self, limits: FormLimits | None = None) -> Form:
        """The form that was sent; use it as ``async with await request.form() as form``.

        Args:
            limits: What it may have (``forms.py``).

        Raises:
            HTTPError: 415, it is none; 400, it is broken; 413, it is too large.
        """
        from sennit.web.forms import FormError, read_form

        try:
            return await read_form(self.header("content-type"), self.body, limits)
        except FormError as error:
            raise HTTPError(error.status, None, str(error)) from error

    # ── answering piece by piece ──────────────────────────────────────────────

    def start(
        self, status: int = 200, headers: HeadersIn = None, *, reason: bytes | None = None
    ) -> ResponseWriter:
        """Begin the answer; its content is given to what this returns.

        The handler gives ``None`` when that is done.

        Args:
            status: Three digits, not interim.
            headers: A ``Content-Length`` among them says how much content comes.
            reason: Instead of the usual reason phrase.

        Raises:
            WebUsageError: The request was answered already.
            ValueError: Something cannot be sent; nothing was.
        """
        octets = Response(headers=headers).headers
        return self.connection.start_response(self.head, status, octets, reason=reason)

    def reply(
        self,
        status: int,
        headers: list[tuple[bytes, bytes]],
        body: Buffer | FilePart | Sequence[Buffer | FilePart] = b"",
        *,
        reason: bytes | None = None,
    ) -> None:
        """Give a whole answer at once and go on; the handler gives ``None`` then.

        Args:
            status: Three digits, not interim.
            headers: (name, value) octet pairs.
            body: The whole content.
            reason: Instead of the usual reason phrase.

        Raises:
            WebUsageError: The request was answered already, or `headers` contradict `body`.
            ValueError: Something cannot be sent; nothing was.
        """
        self.connection.reply(self.head, status, headers, body, reason=reason)

    def inform(self, status: int, headers: HeadersIn = None) -> None:
        """Send an interim response, before the answer (RFC 9110 §15.2).

        Raises:
            WebUsageError: The status is not interim, or the answer has begun.
            ValueError: A header cannot be sent.
        """
        self.connection.inform(self.head, status, Response(headers=headers).headers)

    def early_hints(self, *links: str) -> None:
        """Send 103 with ``Link`` fields, so that the client can fetch ahead (RFC 8297).

        Args:
            links: Such as ``</style.css>; rel=preload; as=style``.
        """
        self.inform(103, [("link", link) for link in links])


def decode_segments(path: bytes) -> list[str]:
    """The segments of a path that begins with a slash, each percent-decoded.

    Raises:
        HTTPError: 404, one is not well encoded, no UTF-8, or holds a NUL.
    """
    try:
        if b"%" not in path:
            return path.decode("ascii").split("/")[1:]
        found: list[str] = []
        for segment in path.split(b"/")[1:]:
            if b"%" in segment:
                for part in segment.split(b"%")[1:]:
                    int(part[:2], 16)
                    if not part[:2].isalnum() or len(part) < 2:
                        raise HTTPError(404)
            found.append(unquote_to_bytes(segment).decode("utf-8"))
    except ValueError:
        raise HTTPError(404) from None
    if any("\0" in segment for segment in found):
        raise HTTPError(404)
    return found
