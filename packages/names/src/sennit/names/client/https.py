"""Questions over HTTPS (DoH), through whatever HTTP client is installed.

A question is the content of a POST, or, in base64url, part of a GET's target, which caches may
answer. Its id is 0 on the wire, so that the same question is the same request (RFC 8484 §4.1).
The client comes from `sennit.core.http`: ``pip install sennit-web`` brings one.

Sources: RFC 8484, RFC 8467 (padding is the caller's). Not here: HTTP.
"""

from __future__ import annotations

import asyncio
import base64
import time
from typing import TYPE_CHECKING, Final

from sennit.core.errors import SennitError
from sennit.core.http import http_client
from sennit.core.resolver import by_system
from sennit.names.client_engine import is_answer
from sennit.names.errors import (
    DNSError,
    DNSProtocolError,
    DNSUsageError,
    LookupTimeoutError,
    MessageFormatError,
    UnreachableError,
)
from sennit.names.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from sennit.core.http import IHTTPClient
    from sennit.core.transport.tls import ClientTLS
    from sennit.names.tsig import Key

__all__ = ["MEDIA_TYPE", "HTTPSClient"]

MEDIA_TYPE: Final = b"application/dns-message"
TIMEOUT: Final = 10.0


class HTTPSClient:
    """Asks one server over HTTPS.

    Args:
        url: Where, such as ``https://dns.example/dns-query``; a variable ``{?dns}`` at its end
            is left away.
        method: ``POST`` or ``GET``.
        tls: What to believe; the system's trust when left out.
        client: An HTTP client to use, which stays its owner's; one of its own when left out.

    Raises:
        DNSUsageError: No such URL or method.
    """

    def __init__(
        self,
        url: str,
        *,
        method: str = "POST",
        tls: ClientTLS | None = None,
        client: IHTTPClient | None = None,
    ) -> None:
        if method not in ("POST", "GET"):
            raise DNSUsageError(f"a question goes by POST or GET, not by {method!r}")
        url = url.removesuffix("{?dns}")
        if not url.startswith(("https://", "http://")) or not url.isascii():
            raise DNSUsageError(f"{url!r:.200} is no URL of a DoH server: write https://HOST/PATH")
        self._url = url
        self._method = method
        self._tls = tls
        self._client = client
        self._own = client is None

    async def exchange(
        self,
        message: Message,
        *,
        timeout: float = TIMEOUT,
        key: Key | None = None,
        received: Callable[[bytes], object] | None = None,
    ) -> Message:
        """Send a question, and wait for its answer.

        Args:
            message: The question. Its id is not used.
            timeout: Seconds for the answer, connecting included.
            key: Sign the question with it, and take no answer that is not signed with it.
            received: Called with the octets of the answer.

        Raises:
            UnknownPluginError: No HTTP client is installed; its text says what to install.
            LookupTimeoutError: None came in time.
            UnreachableError: There is no connection, or the server answered otherwise than 200.
            DNSProtocolError: What came is no answer.
        """
        wire, mac = b"\0\0" + message.to_wire()[2:], b""
        if key is not None:
            from sennit.names.tsig import sign

            wire, mac = sign(wire, key, int(time.time()))
        if self._client is None:
            self._client = http_client(tls=self._tls)
        headers = [(b"accept", MEDIA_TYPE)]
        url, content = self._url, b""
        if self._method == "POST":
            headers.append((b"content-type", MEDIA_TYPE))
            content = wire
        else:
            encoded = base64.urlsafe_b64encode(wire).rstrip(b"=").decode("ascii")
            url += ("&" if "?" in url else "?") + "dns=" + encoded
        try:
            async with asyncio.timeout(timeout):
                with by_system():  # the server's own name cannot be asked of it
                    answer = await self._client.fetch(
                        self._method, url, headers, content, timeout=timeout, limit=0xFFFF
                    )
        except TimeoutError as error:
            raise LookupTimeoutError(f"no answer from {self._url} in {timeout:g} s") from error
        except DNSError:
            raise
        except SennitError as error:
            raise UnreachableError(f"{self._url}: {error}") from error
        if answer.status != 200:
            raise UnreachableError(f"{self._url} answered with status {answer.status}")
        kind = dict(answer.headers).get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != MEDIA_TYPE:
            raise DNSProtocolError(
                f"{self._url} answered with {kind[:80]!r}, not a DNS message", "RFC 8484 §6"
            )
        said = Message.from_wire(answer.content)
        if not is_answer(said, message):
            raise MessageFormatError("an answer to another question", rule="RFC 8484 §4.2")
        if key is not None:
            from sennit.names.tsig import Verifier

            Verifier(key, mac).verify(answer.content, said, int(time.time()))
        if received is not None:
            received(answer.content)
        return said

    async def aclose(self) -> None:
        """Close its connections. Harmless when done."""
        client, self._client = self._client, None
        if client is not None and self._own:
            await client.aclose()

    async def __aenter__(self) -> Self:
        """The client itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """`aclose`."""
        await self.aclose()
