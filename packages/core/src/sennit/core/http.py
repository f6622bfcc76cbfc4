"""HTTP for strands that are not about HTTP, whoever brings it: a client, and a place on a site.

DNS over HTTPS asks by POST, a list of trust anchors comes by GET: neither is a
reason to depend on a web package. What they need is `IHTTPClient`; `http_client`
finds one among the entry points of the group ``sennit.http_clients`` (``sennit-web``
brings ``web``)::

    async with http_client() as client:
        answer = await client.fetch("POST", url, [(b"content-type", kind)], query)

A plugin is a callable with the keywords of `http_client`, without ``name``. There is
no fallback: what the standard library has blocks a thread, speaks HTTP/1.1 without
keeping connections, and cannot be given up.

The other way round, a strand answers requests at a path of a web site, as DNS over HTTPS
does. That is an `IHTTPHandler`, found by name in the group ``sennit.web_handlers``
(``sennit-names`` brings ``dns``); a web server puts it where its configuration says. A plugin
is a callable with the options of that configuration as keywords, all of them text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sennit.core.interfaces import Interface
from sennit.core.plugin import UnknownPluginError, find, installed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Any, Final, Self

    from sennit.core.transport.tls import ClientTLS

    Field = tuple[bytes, bytes]

__all__ = [
    "HTTP_CLIENTS",
    "WEB_HANDLERS",
    "HTTPAnswer",
    "HTTPQuestion",
    "IHTTPClient",
    "IHTTPHandler",
    "http_client",
    "web_handler",
]

HTTP_CLIENTS: Final = "sennit.http_clients"
"""The entry point group of clients."""
WEB_HANDLERS: Final = "sennit.web_handlers"
"""The entry point group of what answers at a path of a site."""


class HTTPAnswer(NamedTuple):
    """What a server answered, whole.

    Attributes:
        status: Three digits.
        headers: List of (lower-case name, value) octet pairs, wire order.
        content: Its octets, content codings left as they are.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    content: bytes


class HTTPQuestion(NamedTuple):
    """What a client asks, whole.

    Attributes:
        method: Such as ``GET``.
        path: Percent-encoded, as it was sent, without the query.
        query: What followed the question mark, as it was sent; empty for none.
        headers: List of (lower-case name, value) octet pairs, wire order.
        content: Its octets, at most `IHTTPHandler.max_content`.
        peer: Who asks, as `socket` names it; behind a proxy that is believed, who asked that.
        secure: Whether it came by https.
    """

    method: str
    path: str
    query: str
    headers: list[tuple[bytes, bytes]]
    content: bytes
    peer: Any
    secure: bool

    def header(self, name: bytes) -> bytes:
        """The first field of this name (in lower case); empty where there is none."""
        return next((value for found, value in self.headers if found == name), b"")


class IHTTPHandler(Interface):
    """Answers requests at a path of a web site.

    The server has seen to framing, sizes and time; content codings are left as they are.
    """

    @property
    def max_content(self) -> int:
        """Octets of content that it takes; more are answered 413 before it is asked."""
        ...

    def answer(self, question: HTTPQuestion) -> HTTPAnswer | Awaitable[HTTPAnswer]:
        """The answer, at once where it is at hand. HEAD is answered as GET; no content leaves."""
        ...

    async def aclose(self) -> None:
        """Give back what it holds; nothing is asked any more."""


class IHTTPClient(Interface):
    """Asks servers by HTTP, over connections that it keeps."""

    async def fetch(
        self,
        method: str,
        url: str,
        headers: Sequence[Field] = (),
        content: bytes = b"",
        *,
        timeout: float = 30.0,
        limit: int = 1024 * 1024,
    ) -> HTTPAnswer:
        """Ask, and read the answer to its end. Redirects are answers as any other.

        Args:
            method: Such as ``GET``.
            url: Absolute, ``http`` or ``https``.
            headers: (name, value) octet pairs.
            content: What to send.
            timeout: Seconds for all of it.
            limit: Octets of content that are taken.

        Raises:
            ValueError: Something cannot be sent; nothing was.
            SennitError: There was no such answer, whatever the reason: of the connection,
                of what the server said, of time or size.
        """
        ...

    async def aclose(self) -> None:
        """Close its connections. Harmless when done."""

    async def __aenter__(self) -> Self:
        """The client itself."""
        ...

    async def __aexit__(self, *_: object) -> None:
        """`aclose`."""


def http_client(*, name: str | None = None, tls: ClientTLS | None = None) -> IHTTPClient:
    """A client of one's own, to be closed in the end.

    Args:
        name: Of the plugin; whichever there is when left out.
        tls: What to believe and to show; the system's trust when left out.

    Raises:
        UnknownPluginError: None is installed.
        BrokenPluginError: It cannot be loaded.
    """
    if name is None:
        name = next(iter(installed(HTTP_CLIENTS)), None)
        if name is None:
            raise UnknownPluginError(HTTP_CLIENTS, "web", "pip install sennit-web")
    make: Callable[..., IHTTPClient] = find(HTTP_CLIENTS, name)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]  # as the group promises
    return make(tls=tls)


# `Any`: an option is text; a program may give whatever else the plugin takes.
def web_handler(name: str, **options: Any) -> IHTTPHandler:
    """What answers at a path of a site, by the name of its plugin.

    Args:
        name: Such as ``dns``.
        options: The plugin's own.

    Raises:
        UnknownPluginError: None is installed of that name.
        BrokenPluginError: It cannot be loaded.
        ValueError: An option is none, or wrong.
    """
    make: Callable[..., IHTTPHandler] = find(WEB_HANDLERS, name)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]  # as the group promises
    try:
        return make(**options)
    except TypeError as error:
        raise ValueError(f"{name!r} takes no such options: {error}") from error
