"""Downloads that can be interrupted: what is there already is not fetched again.

While it comes a file is called ``NAME.part``, and beside it ``NAME.part.json`` keeps what
the server said of it (its ETag, or the time of its last change). The next try asks for
the rest, on condition that it is still the same (If-Range); where the server sends all
of it, or says that it has changed, it is fetched from the beginning. So it is where the
rest is of another version after all, for not every server asks for If-Range. Only what
is whole gets its name, and only one at a time writes: the part is locked (flock(2)).

Sources: RFC 9110 §14 (ranges), §13.1.5 (If-Range), §8.8 (validators).
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from sennit.core.errors import ConnectionLost
from sennit.web.client.headers import with_defaults
from sennit.web.client.options import retries_of, timeouts_of
from sennit.web.client.response import StatusError
from sennit.web.client.saving import destination, is_special, keep_mode, pour, put_in_place
from sennit.web.errors import RequestTimeoutError, WebProtocolError

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import IO

    from sennit.web.client.api import Client
    from sennit.web.client.headers import Headers
    from sennit.web.client.progress import OnProgress
    from sennit.web.client.response import ClientResponse
    from sennit.web.client.urls import URL

__all__ = ["download"]

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/(?:([0-9]{1,18})|\*)").fullmatch
_UNSATISFIED = re.compile(r"bytes \*/([0-9]{1,18})").fullmatch
_STRONG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"').fullmatch


async def download(
    client: Client,
    url: str | URL,
    path: str | os.PathLike[str],
    *,
    resume: bool,
    progress: OnProgress | None,
    options: dict[str, Any],
) -> ClientResponse:
    """Fetch a URL into a file (see `Client.download`).

    What fails on the way is tried again as the client's retries, or those of the call,
    have it; what fails before is the affair of the single call.
    """
    transfer = _Transfer(client, url, path, resume, progress, options)
    retries = retries_of(options["retries"]) if "retries" in options else client.retries
    timeouts = timeouts_of(options["timeout"], client.timeouts) if "timeout" in options else None
    total = (timeouts or client.timeouts).total
    clock = asyncio.get_running_loop().time
    began = clock()
    attempt = 0
    while True:
        response, error = await transfer.run()
        if error is None:
            return response
        delay = None
        if retries is not None:
            delay = retries.after_error(transfer.method, error, attempt)
        left = None if total is None else total - (clock() - began)
        if delay is None or (left is not None and left <= delay):
            raise error
        attempt += 1
        await asyncio.sleep(delay)
        if left is not None:
            own = timeouts or client.timeouts
            transfer.options["timeout"] = timeouts_of(left - delay, own)


class _Transfer:
    """One download, in as many tries as it takes.

    Attributes:
        method: Of its requests.
        options: Of its requests.
    """

    def __init__(
        self,
        client: Client,
        url: str | URL,
        path: str | os.PathLike[str],
        resume: bool,
        progress: OnProgress | None,
        options: dict[str, Any],
    ) -> None:
        self.method: str = options.pop("method", "GET")
        self.options = options
        self._client = client
        self._url = url
        self._path = destination(path)
        self._progress = progress
        self._part: _Part | None = None
        if resume and not is_special(self._path):
            self._part = _Part(self._path, str(client.url(url, options.get("params"))))

    async def run(self) -> tuple[ClientResponse, BaseException | None]:
        """One try: the response, and what went wrong after its head had come."""
        part = self._part
        while True:
            offset, condition = (0, "") if part is None else part.state()
            options = dict(self.options)
            if part is not None:
                # Ranges are of what is sent, so it has to be sent as it is.
                headers = with_defaults(options.get("headers"), accept_encoding="identity")
                if offset:
                    headers += [("range", f"bytes={offset}-"), ("if-range", condition)]
                options["headers"] = headers
            async with self._client.stream(self.method, self._url, **options) as response:
                if part is None:
                    _check(response)
                elif offset and _is_another(response, condition):
                    part.forget()
                    continue
                elif response.status == 416 and offset:
                    match = _UNSATISFIED(response.headers.get("content-range", ""))
                    if match is None or int(match[1]) != offset:
                        part.forget()
                        continue
                    await part.finish(offset)
                    return response, None
                else:
                    _check(response)
                try:
                    if part is None:
                        await response.save(self._path, progress=self._progress)
                    else:
                        await part.fetch(response, offset, self._progress)
                except (ConnectionLost, RequestTimeoutError, WebProtocolError) as error:
                    return response, error
            return response, None


def _check(response: ClientResponse) -> None:
    """See that the answer is the file, and no page about it."""
    if not 200 <= response.status < 300:
        raise StatusError(response)


def _is_another(response: ClientResponse, condition: str) -> bool:
    """Whether a part is of another version than the one that was asked for (RFC 9110 §15.3.7)."""
    if response.status not in (206, 416):
        return False
    field = "etag" if condition.startswith('"') else "last-modified"
    return response.headers.get(field, condition) != condition


class _Part:
    """A file that is not whole yet, and what is known of it."""

    def __init__(self, path: str, url: str) -> None:
        self._path = path
        self._url = url
        self._part = f"{path}.part"
        self._note = f"{path}.part.json"

    def state(self) -> tuple[int, str]:
        """How much is there, and the condition under which it is of use; 0 for none."""
        try:
            with open(self._note, "rb") as file:
                note: Any = json.loads(file.read(64 * 1024))  # looked at below
            size = os.stat(self._part).st_size
        except (OSError, ValueError):
            return 0, ""
        if not isinstance(note, dict):
            return 0, ""
        known = cast("dict[str, object]", note)
        condition = known.get("condition")
        if known.get("url") != self._url or not isinstance(condition, str) or not condition:
            return 0, ""
        return size, condition

    async def fetch(
        self, response: ClientResponse, offset: int, progress: OnProgress | None
    ) -> None:
        """Take in a response: the rest of the file, or all of it."""
        total: int | None = response.length
        if response.status == 206 and offset:
            match = _CONTENT_RANGE(response.headers.get("content-range", ""))
            if match is None or int(match[1]) != offset:
                raise WebProtocolError(
                    "another part of the file than was asked for", "RFC 9110 §14.4", 502
                )
            total = None if match[3] is None else int(match[3])
        elif response.status == 206:
            raise WebProtocolError(
                "a part of a file that nobody asked for", "RFC 9110 §15.3.7", 502
            )
        else:
            offset = 0
        if "content-encoding" in response.headers:
            total = None  # of what was sent, not of what comes out
        with self._locked(offset) as file:
            if not offset:
                file.truncate(0)
                keep_mode(file, self._path)
                self._write_note(response.headers)
            await pour(response.observed(progress, offset), file)
            size = os.fstat(file.fileno()).st_size
            if total is not None and size != total:
                raise WebProtocolError(
                    f"a file of {size} octets where {total} were announced", "RFC 9110 §14.4", 502
                )
            await self._put_in_place()

    @contextmanager
    def _locked(self, offset: int | None) -> Generator[IO[bytes]]:
        """The part, open at its end, while nobody else has it.

        Args:
            offset: How long it has to be; 0 or ``None`` for any length.

        Raises:
            OSError: Somebody else has it, or had it since it was looked at.
        """
        with open(self._part, "ab", buffering=0) as file:
            if not _lock(file.fileno()):
                raise self._taken()
            there = os.fstat(file.fileno())
            try:
                same = os.path.samestat(there, os.stat(self._part))
            except FileNotFoundError:
                same = False
            if not same or (offset and there.st_size != offset):
                raise self._taken()
            yield file

    def _taken(self) -> OSError:
        return BlockingIOError(
            errno.EWOULDBLOCK, "another download to the same file is under way", self._part
        )

    def _write_note(self, headers: Headers) -> None:
        """Keep what tells whether the file changed: a strong ETag, or else its date."""
        condition = headers.get("etag", "")
        if _STRONG(condition) is None:
            # A date is strong when it is old enough, which the server looks at (§8.8.2.2).
            condition = headers.get("last-modified", "")
        if "content-encoding" in headers:
            condition = ""  # nobody knows which octets of it are here
        with open(self._note, "w", encoding="utf-8") as file:
            json.dump({"url": self._url, "condition": condition}, file)

    def forget(self) -> None:
        """Begin anew."""
        with self._locked(None):
            for path in (self._note, self._part):
                try:
                    os.unlink(path)
                except FileNotFoundError:
                    pass

    async def finish(self, size: int) -> None:
        """It was whole already."""
        with self._locked(size):
            await self._put_in_place()

    async def _put_in_place(self) -> None:
        await put_in_place(self._part, self._path)
        os.unlink(self._note)


def _lock(fd: int) -> bool:
    """Take the lock of an open file, unless somebody has it."""
    try:
        import fcntl
    except ImportError:  # pragma: no cover - Windows
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # pragma: no cover - a file system that knows no locks
        pass
    return True
