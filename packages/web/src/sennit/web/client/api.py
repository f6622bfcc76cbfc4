"""The HTTP client that programs use.

::

    async with Client(base_url="https://api.example/v1/", auth=BearerAuth(token)) as client:
        response = await client.get("people", params={"page": 2})
        people = response.raise_for_status().json()

        async with client.stream("GET", "export.csv") as response:
            async for line in response.iter_lines():
                ...

A `Client` holds a pool of connections and what its requests have in common: address,
headers, cookies, login, what is tried again. `fetch` is one request by itself.

Where things are: one call, with its redirects and logins, is an `Exchange`
(``exchange.py``); connections are the pool's (``pool.py``).

Sources: RFC 9110. HARDENING h1-23, h1-24, h1-25.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, cast

from sennit.web.client.auth import Auth, auth_of
from sennit.web.client.cookies import CookieJar
from sennit.web.client.exchange import Exchange
from sennit.web.client.headers import fields_of, has_field, left_out, merged, pairs_of, without
from sennit.web.client.limits import ClientTimeouts
from sennit.web.client.options import (
    RequestOptions,
    as_folder,
    check_known,
    content_of,
    cookie_pairs,
    default_headers,
    hooks_of,
    retries_of,
    timeouts_of,
)
from sennit.web.client.pool import Pool
from sennit.web.client.redirects import MAX_HOPS
from sennit.web.client.response import MAX_CONTENT
from sennit.web.client.retries import Retries
from sennit.web.client.uploads import encode_query
from sennit.web.client.urls import URL
from sennit.web.errors import WebUsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Literal, Self, Unpack

    from sennit.core.transport.tls import ClientTLS
    from sennit.web.client.eventsource import EventSource
    from sennit.web.client.exchange import OnRequest, OnResponse
    from sennit.web.client.headers import Field, HeadersIn
    from sennit.web.client.limits import PoolLimits, ResponseLimits
    from sennit.web.client.messages import IncomingResponse, OutgoingRequest
    from sennit.web.client.options import Hooks, Timeout
    from sennit.web.client.progress import OnProgress
    from sennit.web.client.proxies import Proxies, Proxy
    from sennit.web.client.response import ClientResponse
    from sennit.web.client.uploads import Pairs, Upload
    from sennit.web.websocket.client import ConnectingWebSocket


__all__ = ["Client", "RequestOptions", "Streaming", "fetch"]

_SECRETS: Final = (b"authorization", b"cookie", b"proxy-authorization")


class Client:
    """Asks servers, with what its requests have in common.

    Args:
        base_url: What relative URLs are resolved against, as a page's links are: its
            path counts as a folder. Login and secret headers are for its origin only.
        headers: Sent with each request, unless it has its own.
        params: Fields of the query of each request.
        auth: The login, for the origin of `base_url`, or else for that of each call.
        cookies: The jar; a mapping for cookies of `base_url`; ``False`` to keep none.
        timeout: Seconds for a whole call, or `ClientTimeouts`. When left out a call has
            no limit in all, and its parts have those of `ClientTimeouts`.
        follow_redirects: Whether to.
        max_redirects: How many in a row.
        retries: What is tried again; a number for `Retries` of so many; ``None`` for nothing.
        max_content: Octets of a response that are read whole; ``None`` for any number.
        decode: Whether content codings are asked for and taken off.
        limits: Connections at once.
        responses: What is taken from servers.
        http2: ``True`` where a server offers it, ``False`` never, ``"always"`` without
            asking; ``None`` for as ``True`` where the extra ``http2`` is installed.
        proxy: One for all, or `Proxies`.
        tls: What to believe and to show; the system's trust when left out.
        unix: Path of a Unix socket that all requests go to.
        netrc: ``True`` to look logins up in ``~/.netrc``, or the path of such a file.
        trust_env: Whether the environment may name proxies (``https_proxy``, ``no_proxy`` …).
            Off: what a program does should not hang on where it was started.
        on_request: Called with each `OutgoingRequest` before it is sent; may change its
            headers, and may be a coroutine function. One, or several.
        on_response: Likewise with each `ClientResponse`, redirects included.
        pool: Instead of one of its own; it is not closed then, and what belongs to a
            pool (limits, http2, proxy, tls, unix) is its.

    Attributes:
        cookies: The jar, or ``None``.
        headers: List of (lower-case name, value) octet pairs sent with each request.
        base_url: As given.
        retries: What is tried again.
        timeouts: How long calls wait.
        pool: The pool of connections.
    """

    def __init__(
        self,
        base_url: str | URL | None = None,
        *,
        headers: HeadersIn = None,
        params: Pairs | None = None,
        auth: Auth | tuple[str, str] | None = None,
        cookies: CookieJar | Mapping[str, str] | Literal[False] | None = None,
        timeout: Timeout = None,
        follow_redirects: bool = True,
        max_redirects: int = MAX_HOPS,
        retries: Retries | int | None = None,
        max_content: int | None = MAX_CONTENT,
        decode: bool = True,
        limits: PoolLimits | None = None,
        responses: ResponseLimits | None = None,
        http2: bool | Literal["always"] | None = None,
        proxy: str | Proxy | Proxies | None = None,
        tls: ClientTLS | None = None,
        unix: str | None = None,
        netrc: bool | str | os.PathLike[str] = False,
        trust_env: bool = False,
        on_request: Hooks = None,
        on_response: Hooks = None,
        pool: Pool | None = None,
    ) -> None:
        self.base_url = None if base_url is None else as_folder(URL.of(base_url))
        self.headers = default_headers(fields_of(headers), decode)
        self._params = params
        self._auth = auth_of(auth)
        self.cookies = self._jar(cookies)
        self.timeouts = timeouts_of(timeout, ClientTimeouts())
        self._follow_redirects = follow_redirects
        self._max_redirects = max_redirects
        self.retries = retries_of(retries)
        self._decode = decode
        self._response_options = {"decode": decode, "max_content": max_content}
        self._on_request = cast("list[OnRequest]", hooks_of(on_request))
        self._on_response = cast("list[OnResponse]", hooks_of(on_response))
        self._netrc: Callable[[str], tuple[str, str] | None] | None = None
        if netrc:
            from sennit.core.auth.netrc import read_netrc

            self._netrc = read_netrc(None if netrc is True else netrc)
        if trust_env and proxy is None:
            from sennit.web.client.proxies import proxies_from_environment

            proxy = proxies_from_environment(os.environ)
        self._owns_pool = pool is None
        self.pool = pool or Pool(
            limits=limits,
            timeouts=self.timeouts,
            responses=responses,
            tls=tls,
            http2=http2,
            proxy=proxy,
            unix=unix,
        )
        self._closed = False

    def __repr__(self) -> str:
        return f"<Client {self.base_url!s:.200}>" if self.base_url else "<Client>"

    def _jar(
        self, cookies: CookieJar | Mapping[str, str] | Literal[False] | None
    ) -> CookieJar | None:
        if cookies is False:
            return None
        if isinstance(cookies, CookieJar):
            return cookies
        jar = CookieJar()
        if cookies:
            if self.base_url is None:
                raise WebUsageError("cookies by name are for base_url: give one, or a CookieJar")
            for name, value in cookies.items():
                jar.set(name, value, domain=self.base_url.host)
        return jar

    # ── requests ──────────────────────────────────────────────────────────────

    async def request(
        self, method: str, url: str | URL, **options: Unpack[RequestOptions]
    ) -> ClientResponse:
        """Send a request and read the whole answer.

        Args:
            method: As it is sent.
            url: Absolute, or relative to `base_url`.
            options: See `RequestOptions`.

        Raises:
            ValueError: It cannot be sent; nothing was.
            ConnectError, TLSError: There is no connection to be had.
            ConnectionLost: The connection ended before the answer did.
            RequestTimeoutError: It took too long.
            WebProtocolError: The server broke a rule: `RedirectError` for a redirect that
                cannot be followed, `DecodedTooLargeError` for content that swells.
            BodyTooLargeError: There is more content than `max_content`.
        """
        return await self._perform(method, url, options, read=True)

    async def get(self, url: str | URL, **options: Unpack[RequestOptions]) -> ClientResponse:
        """`request` with GET."""
        return await self.request("GET", url, **options)

    async def head(self, url: str | URL, **options: Unpack[RequestOptions]) -> ClientResponse:
        """`request` with HEAD."""
        return await self.request("HEAD", url, **options)

    async def post(self, url: str | URL, **options: Unpack[RequestOptions]) -> ClientResponse:
        """`request` with POST."""
        return await self.request("POST", url, **options)

    async def put(self, url: str | URL, **options: Unpack[RequestOptions]) -> ClientResponse:
        """`request` with PUT."""
        return await self.request("PUT", url, **options)

    async def patch(self, url: str | URL, **options: Unpack[RequestOptions]) -> ClientResponse:
        """`request` with PATCH."""
        return await self.request("PATCH", url, **options)

    async def delete(self, url: str | URL, **options: Unpack[RequestOptions]) -> ClientResponse:
        """`request` with DELETE."""
        return await self.request("DELETE", url, **options)

    async def options(self, url: str | URL, **options: Unpack[RequestOptions]) -> ClientResponse:
        """`request` with OPTIONS."""
        return await self.request("OPTIONS", url, **options)

    def stream(self, method: str, url: str | URL, **options: Unpack[RequestOptions]) -> Streaming:
        """Send a request; its answer is there as soon as its head is, and read by the caller.

        ::

            async with client.stream("GET", url) as response:
                async for chunk in response:
                    ...
        """
        return Streaming(self, method, url, options)

    def events(
        self,
        url: str | URL,
        *,
        last_id: str = "",
        retry: float = 3.0,
        patience: int | None = None,
        silence: float | None = None,
        method: str = "GET",
        **options: Unpack[RequestOptions],
    ) -> EventSource:
        """Server-sent events, over lost connections too: ``async for event in client.events(url)``.

        Args:
            url: Where they are.
            last_id: The id of the last event that is known already.
            retry: Seconds to wait before connecting again.
            patience: Tries in a row that may fail; ``None`` for any number.
            silence: Seconds without an octet after which the connection counts as lost.
            method: Of the request.
            options: See `RequestOptions`.
        """
        from sennit.web.client.eventsource import EventSource

        return EventSource(
            self,
            url,
            last_id=last_id,
            retry=retry,
            patience=patience,
            silence=silence,
            options={**options, "method": method},
        )

    def websocket(
        self,
        url: str | URL,
        *,
        params: Pairs | None = None,
        headers: HeadersIn = None,
        auth: Auth | tuple[str, str] | None = None,
        timeout: Timeout = 20.0,
        **options: Any,
    ) -> ConnectingWebSocket:
        """Open a WebSocket with this client's headers, cookies, login and connections.

        ``async with`` what it returns, or ``await`` it (``websocket/client.py``).

        Args:
            url: ``ws://…`` or ``wss://…``, or relative to `base_url`.
            params: Fields of the query.
            headers: Fields of the request.
            auth: The login, instead of the client's.
            timeout: Seconds until it is open, or `ClientTimeouts`.
            options: Those of `connect_websocket` that are not a pool's: subprotocols, origin,
                compression, limits, timeouts, pieces, http2, engine. (`Any`: they are
                checked there.)

        Raises:
            ValueError: Something cannot be asked for; nothing was sent.
        """
        from sennit.web.websocket.client import ConnectingWebSocket

        target = self.url(url, params)
        # What is secret is for an origin, which a WebSocket shares with the pages there.
        page = URL("http" + str(target)[2:]) if target.scheme in ("ws", "wss") else target
        login = auth_of(auth) if auth is not None else self._auth_for(page, {})
        timeouts = timeouts_of(timeout, self.timeouts)

        async def ask(request: OutgoingRequest) -> IncomingResponse:
            async def send(each: OutgoingRequest) -> IncomingResponse:
                each.upgrade = request.upgrade
                return await self.pool.send(each)

            if self._closed:
                raise WebUsageError("this client is closed")
            exchange = Exchange(
                send,
                request.method,
                request.url,
                list(request.headers),
                None,
                auth=login,
                cookies=self.cookies,
                own_cookies=None,
                timeouts=timeouts,
                max_redirects=0,
                retries=None,
                progress=None,
                on_request=self._on_request,
                on_response=self._on_response,
                on_informational=None,
                extensions=request.extensions,
                response_options=self._response_options,
            )
            return (await exchange.run()).incoming

        fields = without(self._headers_for(page, headers, None), b"accept-encoding")
        return ConnectingWebSocket(ask, target, headers=fields, **options)

    async def download(
        self,
        url: str | URL,
        path: str | os.PathLike[str],
        *,
        resume: bool = False,
        progress: OnProgress | None = None,
        method: str = "GET",
        **options: Unpack[RequestOptions],
    ) -> ClientResponse:
        """Fetch a URL into a file, which appears whole or not at all.

        Args:
            url: What to fetch.
            path: Where to; what stands there is replaced, by a file with its permissions. What
                a link leads to is, and not the link; a device or a pipe is written to.
            resume: Whether what came before an interruption is kept beside it and used
                by the next try, where the server says that the file is still the same.
            progress: Called with a `Progress` now and then.
            method: Of the request.
            options: See `RequestOptions`.

        Raises:
            StatusError: The answer is not the file: every status but 2xx.
            OSError: The file cannot be written; `BlockingIOError` where another download
                with `resume` writes it.
        """
        from sennit.web.client.downloads import download

        return await download(
            self,
            url,
            path,
            resume=resume,
            progress=progress,
            options={**options, "method": method},
        )

    # ── what a request is made of ─────────────────────────────────────────────

    def url(self, url: str | URL, params: Pairs | None = None) -> URL:
        """The absolute URL of a request.

        Raises:
            ValueError: There is none.
        """
        found: URL
        if self.base_url is not None and isinstance(url, str):
            found = self.base_url.join(url)
        else:
            found = URL.of(url)
        added = "&".join(
            filter(None, (encode_query(each) for each in (self._params, params) if each))
        )
        if added:
            found = found.with_query(f"{found.query}&{added}" if found.query else added)
        return found

    async def _perform(
        self, method: str, url: str | URL, options: RequestOptions, *, read: bool = False
    ) -> ClientResponse:
        if self._closed:
            raise WebUsageError("this client is closed")
        check_known(options)
        target = self.url(url, options.get("params"))
        upload = content_of(options)
        headers = self._headers_for(target, options.get("headers"), upload)
        follow = options.get("follow_redirects", self._follow_redirects)
        own = options.get("cookies")
        timeouts = self.timeouts
        if "timeout" in options:
            timeouts = timeouts_of(options["timeout"], timeouts)
        exchange = Exchange(
            self.pool.send,
            method,
            target,
            headers,
            upload,
            auth=self._auth_for(target, options),
            cookies=self.cookies,
            own_cookies=cookie_pairs(own) if own else None,
            timeouts=timeouts,
            max_redirects=self._max_redirects if follow else 0,
            retries=retries_of(options["retries"]) if "retries" in options else self.retries,
            progress=options.get("upload_progress"),
            on_request=self._on_request,
            on_response=self._on_response,
            on_informational=options.get("on_informational"),
            extensions=options.get("extensions"),
            response_options=self._response_options,
        )
        return await exchange.run(read=read)

    def _headers_for(self, url: URL, given: HeadersIn, upload: Upload | None) -> list[Field]:
        defaults = self.headers
        if self.base_url is not None and url.origin != self.base_url.origin:
            defaults = without(defaults, *_SECRETS)
        own: list[Field] = []
        if given is None:
            headers = list(defaults)
        else:
            pairs = pairs_of(given)
            own = fields_of(pairs)
            headers = merged(without(defaults, *left_out(pairs)), own)
        if upload is not None and upload.content_type and not has_field(headers, b"content-type"):
            headers.append((b"content-type", upload.content_type))
        if has_field(headers, b"range") and not has_field(own, b"accept-encoding"):
            # A part of coded content is of no use by itself.
            headers = without(headers, b"accept-encoding")
        return headers

    def _auth_for(self, url: URL, options: RequestOptions) -> Auth | None:
        if "auth" in options:
            return auth_of(options["auth"])
        if url.username or url.password:
            return auth_of((url.username, url.password))
        if self._auth is not None:
            own = self.base_url is None or url.origin == self.base_url.origin
            return self._auth if own else None
        return None if self._netrc is None else auth_of(self._netrc(url.host))

    # ── the end ───────────────────────────────────────────────────────────────

    async def aclose(self) -> None:
        """Wait for what is open, then close the connections. Harmless when done."""
        self._closed = True
        if self._owns_pool:
            await self.pool.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


class Streaming:
    """What `Client.stream` gives: the answer for the length of an ``async with`` block."""

    __slots__ = ("_client", "_method", "_options", "_response", "_url")

    def __init__(
        self, client: Client, method: str, url: str | URL, options: RequestOptions
    ) -> None:
        self._client = client
        self._method = method
        self._url = url
        self._options = options
        self._response: ClientResponse | None = None

    async def __aenter__(self) -> ClientResponse:
        perform = self._client._perform
        self._response = await perform(self._method, self._url, self._options)
        return self._response

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        response, self._response = self._response, None
        if response is not None:
            await response.aclose()


async def fetch(
    url: str | URL, *, method: str = "GET", **options: Unpack[RequestOptions]
) -> ClientResponse:
    """One request by itself, its answer read whole.

    Who sends several keeps a `Client`, and with it the connections.

    Args:
        url: What to ask for.
        method: How.
        options: See `RequestOptions`.
    """
    async with Client() as client:
        return await client.request(method, url, **options)
