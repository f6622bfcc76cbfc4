"""One call of a client, from the first try to the answer that its caller sees.

Between both may lie redirects, a login that the server asked for, and tries that
failed; `Exchange` goes through them, one request at a time, and keeps what each of
them may know: credentials and cookies stay with the origin they are for, content is
sent again only where it can be had again, and one deadline holds for all.

Deliberately elsewhere: connections (``pool.py``), and each of the rules (``redirects.py``,
``auth.py``, ``cookies.py``, ``retries.py``).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from sennit.core.errors import ConnectError, ConnectionLost
from sennit.web.client.challenges import parse_challenges
from sennit.web.client.headers import Headers, has_field
from sennit.web.client.limits import ClientTimeouts
from sennit.web.client.messages import IDEMPOTENT, OutgoingRequest
from sennit.web.client.progress import Meter, metered
from sennit.web.client.redirects import REDIRECTS, RedirectError, TooManyRedirectsError, follow
from sennit.web.client.response import ClientResponse
from sennit.web.errors import RequestTimeoutError, UnansweredError, WebProtocolError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sennit.web.client.auth import Auth
    from sennit.web.client.cookies import CookieJar
    from sennit.web.client.headers import Field
    from sennit.web.client.messages import Content, IncomingResponse
    from sennit.web.client.progress import OnProgress
    from sennit.web.client.retries import Retries
    from sennit.web.client.uploads import Upload
    from sennit.web.client.urls import URL

    Sender = Callable[[OutgoingRequest], Awaitable[IncomingResponse]]
    OnRequest = Callable[[OutgoingRequest], Awaitable[object] | object]
    OnResponse = Callable[[ClientResponse], Awaitable[object] | object]
    OnInformational = Callable[[int, Headers], object]

__all__ = ["Exchange"]

MAX_ANSWERS = 2
"""Challenges that are answered in one call: a nonce may turn out stale once."""
MAX_STALE = 2
"""Closed connections in a row that one call may meet; the next is most likely a new one."""


class Exchange:
    """One call.

    Args:
        send: Sends one request; the pool's.
        method: Of the first request.
        url: Of the first request.
        headers: Its fields, without cookies and login.
        upload: Its content.
        auth: The login for its origin.
        cookies: The jar, which all responses fill.
        own_cookies: Cookies of this call, for its origin only.
        timeouts: How long each request waits; its total holds for the whole call.
        max_redirects: How many are followed; 0 to give the first to the caller.
        retries: What is tried again.
        progress: Told of the upload.
        on_request: Called before each request, which it may change.
        on_response: Called with each response.
        on_informational: Called with each interim response (1xx).
        extensions: For the connection (see `OutgoingRequest`).
        response_options: For `ClientResponse`.
    """

    def __init__(
        self,
        send: Sender,
        method: str,
        url: URL,
        headers: list[Field],
        upload: Upload | None,
        *,
        auth: Auth | None,
        cookies: CookieJar | None,
        own_cookies: bytes | None,
        timeouts: ClientTimeouts,
        max_redirects: int,
        retries: Retries | None,
        progress: OnProgress | None,
        on_request: Sequence[OnRequest],
        on_response: Sequence[OnResponse],
        on_informational: OnInformational | None,
        extensions: dict[str, Any] | None,
        response_options: dict[str, Any],
    ) -> None:
        self._send = send
        self._method = method
        self._url = url
        self._headers: list[Field] = headers
        self._upload = upload
        self._auth = None if has_field(headers, b"authorization") else auth
        self._cookies = cookies
        self._own_cookies = own_cookies
        self._timeouts = timeouts
        self._max_redirects = max_redirects
        self._retries = retries
        self._progress = progress
        self._on_request = on_request
        self._on_response = on_response
        self._on_informational = on_informational
        self._extensions = extensions
        self._response_options = response_options
        self._history: list[ClientResponse] = []
        self._authorization: bytes | None = None
        self._answers = 0
        self._attempts = 0
        self._stale = 0
        self._read = False
        self._clock = asyncio.get_running_loop().time
        self._started = self._clock()

    async def run(self, *, read: bool = False) -> ClientResponse:
        """The answer.

        Args:
            read: Whether to read its content too, so that what fails on the way is
                tried again like everything else.
        """
        self._read = read
        if self._auth is not None:
            self._authorization = await self._auth.authorize(self._method, self._url)
        while True:
            try:
                response = await self._once()
                try:
                    if await self._goes_on(response):
                        continue
                    if self._read:
                        await response.read()
                    return response
                except BaseException:
                    await response.aclose()
                    raise
            except (ConnectionLost, ConnectError, RequestTimeoutError, WebProtocolError) as error:
                await self._wait_after(error)

    # ── one request ───────────────────────────────────────────────────────────

    async def _once(self) -> ClientResponse:
        upload = self._upload
        request = OutgoingRequest(
            self._method,
            self._url,
            self._fields(),
            None,
            length=None if upload is None else upload.length,
            timeouts=self._remaining(),
            on_informational=self._informed if self._on_informational is not None else None,
            extensions=self._extensions,
        )
        for hook in self._on_request:
            await _settled(hook(request))
        if upload is not None:
            request.body = self._content(upload)
        incoming = await self._send(request)
        response = ClientResponse(
            incoming,
            started=self._started,
            clock=self._clock,
            history=tuple(self._history),
            **self._response_options,
        )
        if self._cookies is not None:
            self._cookies.receive(self._url, response.headers.values_of(b"set-cookie"))
        try:
            for each in self._on_response:
                await _settled(each(response))
        except BaseException:
            await response.aclose()
            raise
        return response

    def _fields(self) -> list[Field]:
        fields = list(self._headers)
        if self._authorization is not None:
            fields.append((b"authorization", self._authorization))
        if not has_field(fields, b"cookie"):
            kept = None if self._cookies is None else self._cookies.field(self._url)
            found = [each for each in (kept, self._own_cookies) if each]
            if found:
                fields.append((b"cookie", b"; ".join(found)))
        return fields

    def _content(self, upload: Upload) -> Content:
        if self._progress is None:
            return upload.open()
        return metered(upload.pieces(), Meter(self._progress, upload.length, self._clock))

    def _informed(self, status: int, headers: list[Field]) -> None:
        if self._on_informational is not None:
            self._on_informational(status, Headers(headers))

    def _left(self) -> float | None:
        """Seconds until the deadline of the call."""
        total = self._timeouts.total
        return None if total is None else total - (self._clock() - self._started)

    def _remaining(self) -> ClientTimeouts:
        left = self._left()
        own = self._timeouts
        if left is None or not (self._history or self._attempts or self._answers or self._stale):
            return own  # the first request: all of the time is its
        if left <= 0:
            raise self._late()
        return ClientTimeouts(
            connect=own.connect,
            read=own.read,
            write=own.write,
            pool=own.pool,
            total=left,
            expect=own.expect,
        )

    def _late(self) -> RequestTimeoutError:
        return RequestTimeoutError(
            "total", self._timeouts.total or 0.0, f"{self._method} {self._url}"
        )

    # ── what comes after it ───────────────────────────────────────────────────

    async def _wait_after(self, error: BaseException) -> None:
        """Wait before the next try, or let the failure out."""
        retries = self._retries
        if not self._sendable():
            raise error
        if self._met_closed_connection(error):
            return
        if retries is None:
            raise error
        if isinstance(error, RequestTimeoutError) and error.phase == "total":
            raise error
        delay = retries.after_error(self._method, error, self._attempts)
        left = self._left()
        if delay is None or (left is not None and delay >= left):
            raise error
        self._attempts += 1
        await asyncio.sleep(delay)

    def _met_closed_connection(self, error: BaseException) -> bool:
        """Whether the server had just closed the connection, so that another one will do.

        The pool repeats such a request by itself (RFC 9112 §9.3.1), but not when its
        content comes in pieces, which only we can have again.
        """
        if (
            self._upload is None
            or self._stale >= MAX_STALE
            or not isinstance(error, UnansweredError)
            or not (error.untouched or self._method in IDEMPOTENT)
        ):
            return False
        self._stale += 1
        return True

    async def _goes_on(self, response: ClientResponse) -> bool:
        """Whether there is another request to send, which is prepared then."""
        status = response.status
        if self._auth is not None and self._authorization is not None and status != 401:
            info = response.headers.values_of(b"authentication-info")
            self._auth.accepted(self._url, info[0] if info else None)
        if status == 401 and await self._answers_challenge(response):
            return True
        if status in REDIRECTS and self._max_redirects:
            location = response.headers.values_of(b"location")
            if location:
                await self._redirect(response, location[0])
                return True
        retries = self._retries
        if retries is not None:
            delay = (
                retries.after_status(
                    self._method, status, response.headers.get("retry-after"), self._attempts
                )
                if self._sendable()
                else None
            )
            left = self._left()
            if delay is not None and (left is None or delay < left):
                self._attempts += 1
                await response.discard()
                await asyncio.sleep(delay)
                return True
            if not self._attempts:
                retries.succeeded()
        return False

    def _sendable(self) -> bool:
        """Whether the content can be had (again)."""
        return self._upload is None or self._upload.available

    async def _answers_challenge(self, response: ClientResponse) -> bool:
        if self._auth is None or self._answers >= MAX_ANSWERS or not self._sendable():
            return False
        challenges = parse_challenges(response.headers.values_of(b"www-authenticate"))
        if self._answers and not any(
            each.parameters.get("stale", "").lower() == "true" for each in challenges
        ):
            return False
        answer = await self._auth.answer(self._method, self._url, challenges)
        if answer is None:
            return False
        self._answers += 1
        self._authorization = answer
        await response.discard()
        return True

    async def _redirect(self, response: ClientResponse, location: bytes) -> None:
        if len(self._history) >= self._max_redirects:
            raise TooManyRedirectsError(
                f"more than {self._max_redirects} redirects, the last from {self._url}", self._url
            )
        step = follow(self._method, self._url, self._headers, response.status, location)
        if not step.keeps_content:
            self._upload = None
        elif not self._sendable():
            raise RedirectError(
                f"redirected with content that can be sent only once ({response.status})", self._url
            )
        if not step.same_origin:
            self._auth = self._authorization = self._own_cookies = None
        self._method, self._url, self._headers = step.method, step.url, step.headers
        self._history.append(response)
        self._answers = 0
        if self._auth is not None:
            # A proof of Digest is for one address.
            self._authorization = await self._auth.authorize(self._method, self._url)
        await response.discard()


async def _settled(value: object) -> None:
    """What a hook returned, waited for where that can be."""
    if hasattr(value, "__await__"):
        await cast("Awaitable[object]", value)
