"""An HTTP client for strands that are not about HTTP, whoever brings it.

DNS over HTTPS asks by POST, a list of trust anchors comes by GET: neither is a
reason to depend on a web package. What they need is `IHTTPClient`; `http_client`
finds one among the entry points of the group ``sennit.http_clients`` (``sennit-web``
brings ``web``)::

    async with http_client() as client:
        answer = await client.fetch("POST", url, [(b"content-type", kind)], query)

A plugin is a callable with the keywords of `http_client`, without ``name``. There is
no fallback: what the standard library has blocks a thread, speaks HTTP/1.1 without
keeping connections, and cannot be given up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sennit.core.interfaces import Interface
from sennit.core.plugin import UnknownPluginError, find, installed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Final, Self

    from sennit.core.transport.tls import ClientTLS

    Field = tuple[bytes, bytes]

__all__ = ["HTTP_CLIENTS", "HTTPAnswer", "IHTTPClient", "http_client"]

HTTP_CLIENTS: Final = "sennit.http_clients"
"""The entry point group."""


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
