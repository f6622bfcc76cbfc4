"""A pool that answers from a table or by a function, for tests of the client above it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sennit.core.engine import FilePart
from sennit.web.client.api import Client
from sennit.web.client.messages import Inbox, IncomingResponse, OutgoingRequest
from sennit.web.client.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sennit.core.interfaces import IStreamProtocol, IStreamTransport
    from sennit.core.testing.clock import Clock

BASE = "http://example.com/"


class Sent:
    """What the pool was given: the request and its content, read out.

    Attributes:
        request: It.
        body: Octets of its content.
    """

    def __init__(self, request: OutgoingRequest, body: bytes) -> None:
        self.request = request
        self.body = body

    def __getitem__(self, name: str) -> str | None:
        found = [v.decode("latin-1") for n, v in self.request.headers if n == name.encode()]
        return ", ".join(found) if found else None

    @property
    def line(self) -> str:
        return f"{self.request.method} {self.request.url}"


class Answer:
    """What the pool gives back."""

    def __init__(
        self,
        status: int = 200,
        body: bytes | list[bytes] = b"",
        *,
        end: BaseException | None = None,
        trailers: list[tuple[bytes, bytes]] | None = None,
        **headers: str | list[str],
    ) -> None:
        self.status = status
        self.pieces = [body] if isinstance(body, bytes) else body
        self.end = end
        self.trailers = trailers or []
        self.headers: list[tuple[bytes, bytes]] = []
        for name, value in headers.items():
            for each in [value] if isinstance(value, str) else value:
                self.headers.append(
                    (name.lower().replace("_", "-").encode(), each.encode("latin-1"))
                )


class Source:
    """The connection's side of an inbox, of which only the end is of interest."""

    def __init__(self) -> None:
        self.abandoned = False

    def taken(self, octets: int) -> None:
        """Nothing waits."""

    def abandon(self) -> None:
        self.abandoned = True

    def take_over(self, protocol: IStreamProtocol) -> IStreamTransport:
        raise AssertionError("nobody asked for that")


class StubPool(Pool):
    """Answers by a function of what was sent, or from a list, one after the other."""

    def __init__(
        self, answers: Callable[[Sent], Answer] | Sequence[Answer | BaseException]
    ) -> None:
        super().__init__()
        self._answers = answers if callable(answers) else list(answers)
        self.sent: list[Sent] = []
        self.open: list[Source] = []

    async def send(self, request: OutgoingRequest) -> IncomingResponse:
        sent = Sent(request, await _drained(request.body))
        self.sent.append(sent)
        found = self._answers(sent) if callable(self._answers) else self._answers.pop(0)
        if isinstance(found, BaseException):
            raise found
        source = Source()
        self.open.append(source)
        inbox = Inbox(source)
        for piece in found.pieces:
            if piece:
                inbox.feed(piece)
        if found.end is None:
            inbox.finish(found.trailers)
        else:
            inbox.fail(found.end)
        length = sum(map(len, found.pieces))
        transport: Any = None
        return IncomingResponse(
            request, found.status, b"Why", b"1.1", found.headers, length, inbox, transport
        )

    @property
    def lines(self) -> list[str]:
        return [each.line for each in self.sent]

    async def aclose(self, grace: float = 0.0) -> None:
        """Nothing is open."""


async def _drained(body: object) -> bytes:
    if body is None:
        return b""
    if isinstance(body, bytes):
        return body
    if isinstance(body, FilePart):
        body.file.seek(body.offset)
        data = body.file.read(body.length)
        if body.close_file:
            body.file.close()
        return data
    pieces: Any = body
    return b"".join([bytes(piece) async for piece in pieces])


def echo(sent: Sent) -> Answer:
    """Answer with what was sent."""
    return Answer(200, sent.body, content_type="text/plain")


def client(pool: StubPool, **options: Any) -> Client:
    """A client on such a pool."""
    return Client(options.pop("base_url", BASE), pool=pool, **options)


def timed(clock: Clock, main: Callable[[], Awaitable[None]]) -> float:
    """Run `main` on the clock's time; return how long it took."""
    began = clock.time()
    clock.run(lambda _: main())
    return clock.time() - began
