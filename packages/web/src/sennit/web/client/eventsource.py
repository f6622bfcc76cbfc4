"""Server-sent events, followed over lost connections.

`EventSource` asks for the stream, gives its events, and when the connection ends asks
again, with the id of the last event, after the time that the server wants or a few
seconds, longer each time that it fails. 204 ends it; so does any other answer that is
no event stream, save those that say "later" (429 and 5xx). What fails before it was
ever connected is the caller's to know.

Source: WHATWG HTML §9.2.2-§9.2.4. Elsewhere: reading the octets (``eventstream.py``).
"""

from __future__ import annotations

import asyncio
import random
import re
from typing import TYPE_CHECKING, Any, Final

from sennit.core.errors import ConnectError, ConnectionLost
from sennit.web.client.eventstream import MAX_EVENT, EventParser
from sennit.web.client.headers import with_defaults
from sennit.web.client.limits import ClientTimeouts
from sennit.web.client.retries import parse_retry_after
from sennit.web.errors import CutShortError, RequestTimeoutError, WebProtocolError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from sennit.web.client.api import Client
    from sennit.web.client.eventstream import ServerSentEvent
    from sennit.web.client.response import ClientResponse
    from sennit.web.client.urls import URL

__all__ = ["EventSource"]

MAX_ID: Final = 4096
"""Octets of an id that is sent back."""
SHORTEST_WAIT: Final = 0.1
"""Seconds between two tries at least: a server may say ``retry: 0`` and close at once."""
LONGEST_WAIT: Final = 60.0
"""Seconds between two tries where nothing else is said."""
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]").search


class EventSource:
    """A stream of events: ``async for event in client.events(url)``.

    Args:
        client: Asks for it.
        url: Where it is.
        last_id: The id of the last event that is known already.
        retry: Seconds to wait before connecting again, until the server says otherwise.
        patience: Tries in a row that may fail before the failure is raised; ``None``
            for any number.
        silence: Seconds without an octet after which the connection counts as lost;
            ``None`` for any time, 60 where the server sends comments to keep it awake.
        max_event: Octets of one event.
        draw: A number from 0 to below 1.
        options: Of the request, as `Client.request` takes them.

    Attributes:
        last_id: The id of the last event that came.
        retry: Seconds to wait before connecting again.
        connected: Whether the stream is open now.
    """

    def __init__(
        self,
        client: Client,
        url: str | URL,
        *,
        last_id: str = "",
        retry: float = 3.0,
        patience: int | None = None,
        silence: float | None = None,
        max_event: int = MAX_EVENT,
        draw: Callable[[], float] = random.random,
        options: dict[str, Any] | None = None,
    ) -> None:
        self._client = client
        self._url = url
        self._patience = patience
        self._silence = silence
        self._max_event = max_event
        self._draw = draw
        self._options = dict(options or {})
        self._method: str = self._options.pop("method", "GET")
        self._headers = with_defaults(
            self._options.pop("headers", None), accept="text/event-stream", cache_control="no-store"
        )
        self._failures = 0
        self.last_id = last_id
        self.retry = retry
        self.connected = False

    def __repr__(self) -> str:
        return f"<EventSource {self._client.url(self._url)!s:.200}>"

    async def __aiter__(self) -> AsyncIterator[ServerSentEvent]:
        ever = False
        while True:
            wait: float | None = None
            try:
                async with self._open() as response:
                    if response.status == 204:
                        return
                    wait = self._asked_to_wait(response)
                    if wait is None:
                        ever = self.connected = True
                        async for event in self._events(response):
                            self._failures = 0
                            yield event
                    elif not ever:
                        response.raise_for_status()
                    else:
                        self._failed(None, response)
            except (ConnectionLost, ConnectError, RequestTimeoutError, WebProtocolError) as error:
                if not ever or (
                    isinstance(error, WebProtocolError) and not isinstance(error, CutShortError)
                ):
                    raise
                self._failed(error, None)
            finally:
                self.connected = False
            await asyncio.sleep(self._wait(wait))

    def _open(self) -> Any:  # an asynchronous context manager of a ClientResponse
        headers = list(self._headers)
        last_id = self.last_id.encode("utf-8")
        # An id may be anything without line breaks; a field may not, and a server that
        # cannot be told what it said has to begin anew.
        if last_id and len(last_id) <= MAX_ID and _CONTROL(last_id) is None:
            headers.append(("last-event-id", last_id))
        # What is to be tried again, and when, is decided here and not by the client's retries.
        timeouts = ClientTimeouts(read=self._silence)
        given: dict[str, Any] = {"timeout": timeouts, "retries": None, **self._options}
        given["headers"] = headers
        return self._client.stream(self._method, self._url, **given)

    async def _events(self, response: ClientResponse) -> AsyncIterator[ServerSentEvent]:
        parser = EventParser(self._max_event, self.last_id)
        async for chunk in response:
            events = parser.feed(chunk)
            if parser.retry is not None:
                self.retry = parser.retry / 1000
            for event in events:
                self.last_id = event.id
                yield event
            self.last_id = parser.last_id
            if parser.fault is not None:
                raise WebProtocolError(parser.fault, "WHATWG HTML §9.2.5", 502)

    def _asked_to_wait(self, response: ClientResponse) -> float | None:
        """``None`` for a stream; else how long to wait, below 0 where nothing is said.

        Raises:
            StatusError: An answer that is not "later".
            WebProtocolError: 200, and no event stream.
        """
        if response.status == 429 or response.status >= 500:
            import time

            value = response.headers.get("retry-after")
            asked = None if value is None else parse_retry_after(value, time.time())
            return -1.0 if asked is None else asked
        response.raise_for_status()
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if response.status != 200 or kind != "text/event-stream":
            raise WebProtocolError(
                f"{response.status} with {kind!r:.80} is no stream of events: {response.url}",
                "WHATWG HTML §9.2.3",
                502,
            )
        return None

    def _failed(self, error: BaseException | None, response: ClientResponse | None) -> None:
        self._failures += 1
        if self._patience is not None and self._failures > self._patience:
            if error is not None:
                raise error
            if response is not None:
                response.raise_for_status()

    def _wait(self, asked: float | None) -> float:
        """Seconds until the next try: what is asked for, else longer with each failure."""
        if asked is not None and asked >= 0:
            return min(asked, 24 * 3600.0) + self._draw()
        longest = max(self.retry, LONGEST_WAIT)
        base = min(longest, max(self.retry, SHORTEST_WAIT) * 2.0 ** min(self._failures, 30))
        # A server that restarts has all its listeners come back; not at one moment.
        return base * (1.0 + 0.25 * self._draw())
