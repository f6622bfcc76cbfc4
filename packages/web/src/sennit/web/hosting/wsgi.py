"""Hosting WSGI applications: each request in a thread of a pool, its octets through the loop.

The loop reads requests and writes answers; a thread runs the application. What it
yields goes to the loop piece by piece, and the thread is kept waiting while the
client does not keep up. ``wsgi.input`` asks the loop for the next octets and waits
for them; content that is small is there before a thread is taken, so that a slow
client does not hold one. When all threads are at work requests wait in a queue,
and beyond that they are answered 503 (HARDENING app-3).

When a client leaves, its application is not asked for more: iteration stops at the
next piece and the iterable is closed.

Source: PEP 3333. Not here: which application (``loading.py``), content under way
(``pieces.py``).
"""

from __future__ import annotations

import io
import logging
import os
import re
import stat
import threading
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote_to_bytes

from sennit.core.deferred import Deferred
from sennit.core.engine import FilePart
from sennit.core.errors import PoolFullError
from sennit.core.reactor.base import current_reactor
from sennit.core.threads import ThreadPool, blocking_call_from_thread
from sennit.web.errors import WebProtocolError, WebUsageError
from sennit.web.grammar import REASONS
from sennit.web.hosting.pieces import (
    ClientDisconnectedError,
    Pieces,
    cut_answer,
    ends_of,
    mounted_at,
    named,
)
from sennit.web.resource import Resource
from sennit.web.response import Response, error_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import IO

    from sennit.core._inbox import Inbox
    from sennit.core.reactor.base import Reactor
    from sennit.web.bodies import GuardedInbox
    from sennit.web.request import Request
    from sennit.web.server import Answer

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
    Environ = dict[str, Any]  # Any: what PEP 3333 and applications put there
    Write = Callable[[bytes], None]
    Application = Callable[[Environ, Any], Iterable[bytes]]

__all__ = ["WSGI", "ErrorStream", "FileWrapper", "Input"]

THREADS: Final = 20
"""Requests that are worked on at one time."""
QUEUE: Final = 100
"""Requests that wait for a thread; one more is answered 503."""
SMALL: Final = 64 * 1024
"""Octets of content that are read before a thread is taken."""
AHEAD: Final = 256 * 1024
"""Octets that an application may be ahead of its client."""
RETRY_AFTER: Final = 1
"""Seconds after which a client may try again when no thread was free."""

_HOP_BY_HOP: Final = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
    "transfer-encoding", "upgrade",
})  # fmt: skip
_STATUS: Final = re.compile(r"([2-5][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*)")

_log = logging.getLogger("sennit.web.wsgi")


class WSGI(Resource):
    """A WSGI application, to stand where any handler or resource stands.

    Args:
        app: The application.
        threads: Requests that are worked on at one time.
        queue: Requests that wait for a thread; one more is answered 503.
        multiprocess: Whether other processes serve the same application.

    Attributes:
        leaf: The application finds its own way below where it is mounted.
    """

    leaf = True

    def __init__(
        self,
        app: Application,
        *,
        threads: int = THREADS,
        queue: int = QUEUE,
        multiprocess: bool = False,
    ) -> None:
        self.app = app
        self.multiprocess = multiprocess
        self._threads = threads
        self._queue = queue
        self._pool: ThreadPool | None = None
        self._reactor: Reactor | None = None
        self._errors = ErrorStream()

    def __repr__(self) -> str:
        return f"<WSGI {self.app!r:.60}>"

    @property
    def pool(self) -> ThreadPool:
        """Its threads."""
        if self._pool is None:
            self._pool = ThreadPool(self._threads, "sennit-wsgi", queue=self._queue)
        return self._pool

    def close(self, wait: float = 5.0) -> None:
        """Give the threads back; whoever is at work has `wait` seconds to end."""
        pool, self._pool = self._pool, None
        if self._reactor is not None:
            self._reactor.dependants.discard(self)
            self._reactor = None
        if pool is not None:
            pool.close(wait)

    def reactor_stopped(self) -> None:
        """Its reactor ends."""
        self.close(0.0)

    def forget(self, queued: Deferred[Response | None]) -> None:
        """Do not begin what no thread has begun."""
        if self._pool is not None:
            self._pool.forget(queued)

    def __call__(self, request: Request) -> Answer:
        """Be a handler."""
        return self.render(request)

    def render(self, request: Request) -> Answer:
        """Answer with what the application says."""
        head = request.head
        if head.length == 0:
            return self._begin(request, b"")
        if 0 < head.length <= SMALL and not head.expect_continue:
            return self._read_first(request)
        return self._begin(request, None)

    async def _read_first(self, request: Request) -> Response | None:
        body = await request.encoded_body.read(SMALL)
        answer = self._begin(request, body)
        return answer if isinstance(answer, Response) else await answer

    def _begin(self, request: Request, body: bytes | None) -> Response | Deferred[Response | None]:
        reactor = self._reactor
        if reactor is None:
            reactor = self._reactor = current_reactor()
            reactor.dependants.add(self)
        run = _Run(self, request, body, reactor)
        try:
            work = self.pool.defer(reactor, run.work)
        except PoolFullError:
            return error_page(503, {"retry-after": str(RETRY_AFTER)})
        run.queued = work
        work.add_callbacks(run.returned, run.failed)
        return run.answer

    def environ(self, request: Request) -> Environ:
        """What the application is told of a request, but for its content."""
        head = request.head
        client, server = ends_of(request)
        raw, _, query = head.path.partition(b"?")
        mount = mounted_at(request)
        host, port = server or ("localhost", 80)
        if port is None:
            # A Unix socket has no port; applications make URLs of these two.
            host, port = "localhost", 443 if request.secure else 80
        environ: Environ = {
            "REQUEST_METHOD": head.method.decode("latin-1"),
            "SCRIPT_NAME": _latin(mount),
            "PATH_INFO": _latin(raw[len(mount) :]),
            "QUERY_STRING": query.decode("latin-1"),
            "REQUEST_URI": head.path.decode("latin-1"),
            "SERVER_NAME": host,
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": f"HTTP/{head.version.decode('ascii')}",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": request.scheme,
            "wsgi.errors": self._errors,
            "wsgi.multithread": self._threads > 1,
            "wsgi.multiprocess": self.multiprocess,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": FileWrapper,
            # The end of the input is told, whatever CONTENT_LENGTH says.
            "wsgi.input_terminated": True,
        }
        if client is not None:
            environ["REMOTE_ADDR"] = client[0]
            if client[1] is not None:
                environ["REMOTE_PORT"] = str(client[1])
        for name, value in head.headers:
            # A name with "_" would pass for one with "-", and Proxy for a variable of the
            # environment that programs believe (CVE-2016-5385): nobody sends them in earnest.
            if b"_" in name or name == b"proxy":
                continue
            key = name.decode("latin-1").upper().replace("-", "_")
            if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
                key = f"HTTP_{key}"
            text = value.decode("latin-1")
            if key in environ:
                # RFC 9110 §5.3; cookies have their own separator (RFC 9113 §8.2.3).
                text = f"{environ[key]}{'; ' if name == b'cookie' else ','}{text}"
            environ[key] = text
        if "HTTP_HOST" not in environ and head.host is not None:
            environ["HTTP_HOST"] = head.host.decode("latin-1")
        return environ


def _latin(path: bytes) -> str:
    """A decoded path as WSGI has it: one character per octet."""
    return (unquote_to_bytes(path) if b"%" in path else path).decode("latin-1")


class _Run:
    """One request on its way through the application.

    What has a leading underscore is called in the thread, the rest in the loop.
    """

    __slots__ = ("_announced", "_begun", "_changed", "_head", "_left", "_reactor", "_waiting",
                 "_wrote", "answer", "environ", "gone", "host", "inbox", "pieces", "queued",
                 "request")  # fmt: skip

    def __init__(self, host: WSGI, request: Request, body: bytes | None, reactor: Reactor) -> None:
        self.host = host
        self.request = request
        self.answer: Deferred[Response | None] = Deferred(self.leave)
        self.queued: Deferred[Response | None] | None = None
        self.pieces: Pieces | None = None
        self.inbox: Inbox[Any] | GuardedInbox | None = None
        self.gone = False
        self.environ = host.environ(request)
        self._reactor = reactor
        self._changed: threading.Condition | None = None
        self._waiting = 0  # octets on their way to the client
        self._head: tuple[int, list[tuple[bytes, bytes]], bytes | None] | None = None
        self._announced = -1
        self._left = -1
        self._begun = False  # the answer has begun to leave
        self._wrote = False
        if body is not None:
            self.environ["wsgi.input"] = io.BytesIO(body)
        else:
            # A 100 is sent, and octets are taken, when the application reads.
            self.inbox = request.inbox()
            self.environ["wsgi.input"] = io.BufferedReader(Input(self._next_octets), SMALL)

    # ── in the loop ───────────────────────────────────────────────────────────

    def returned(self, response: Response | None) -> None:
        """The thread is done; what it returns is the whole answer, or was given before."""
        if response is not None and not self.answer.fired:
            self.answer.callback(response)
        self._over()

    def failed(self, error: BaseException) -> None:
        """The application has failed."""
        if not self.gone:
            _log.error("a WSGI application failed", exc_info=error, extra=named(self.request))
        if not self.answer.fired:
            self.answer.callback(error_page(500))
        elif self.pieces is not None and not self.pieces.left:
            cut_answer(self.request)
            self.pieces.end()
        self._over()

    def _over(self) -> None:
        self.queued = None
        if self.inbox is not None:
            self.inbox.close()

    def leave(self, _: object = None) -> None:
        """The client has gone, or takes no more."""
        self.gone = True
        if self.queued is not None:
            # Not begun yet, it never will.
            self.host.forget(self.queued)
        if self._changed is not None:
            with self._changed:
                self._changed.notify_all()

    def begin(self, response: Response) -> None:
        """Give the answer; more of its content may follow."""
        if not self.answer.fired:
            self.answer.callback(response)

    def piece(self, data: bytes) -> None:
        """More content."""
        if self.pieces is not None:
            self.pieces.put(data)

    def end(self) -> None:
        """The content is complete."""
        if self.pieces is not None:
            self.pieces.end()

    def taken(self, size: int) -> None:
        """A piece has left."""
        changed = self._changed
        if changed is not None:
            with changed:
                self._waiting -= size
                changed.notify_all()

    async def more(self) -> bytes:
        """The next octets of the request's content; none at its end."""
        inbox = self.inbox
        if inbox is None or self.gone:
            raise ClientDisconnectedError
        self.request.connection.go_on(self.request.head)
        try:
            while (event := await inbox.get()) is not None:
                data = getattr(event, "data", None)
                if data:
                    return bytes(data)
        except WebProtocolError as error:
            # Too much, or broken: the application has nothing to say to that.
            self.gone = True
            engine = self.request.connection.engine
            if not self.answer.fired and engine.is_open(self.request.head.exchange):
                self.answer.callback(error_page(error.status))
            raise ClientDisconnectedError from error
        return b""

    # ── in the thread ─────────────────────────────────────────────────────────

    def _next_octets(self) -> bytes:
        if self.gone:
            raise ClientDisconnectedError
        return blocking_call_from_thread(self._reactor, self.more)

    def work(self) -> Response | None:
        """Run the application; the answer, unless it was given while it ran."""
        if self.gone:
            return None
        result: Any = None
        try:
            result = self.host.app(self.environ, self._start_response)
            return self._send(result)
        except ClientDisconnectedError:
            return None
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def _send(self, result: Any) -> Response | None:
        if not self._wrote:
            if isinstance(result, FileWrapper):
                part = self._file_part(result)
                if part is not None:
                    return self._whole(part)
            elif isinstance(result, (list, tuple)):
                # Every block is there: nothing is delayed by sending them together.
                return self._whole(b"".join(cast("list[bytes]", result)))
        for block in result:
            if self.gone:
                return None
            if block:
                self._write(block)
        if not self._begun:
            return self._whole(b"")
        if self._left > 0 and self.environ["REQUEST_METHOD"] != "HEAD":
            raise WebUsageError(f"{self._left} octets less than Content-Length said")
        self._reactor.call_from_thread(self.end)
        return None

    def _whole(self, body: bytes | FilePart) -> Response:
        response = self._response()
        size = len(body)
        if 0 <= self._announced < size:
            raise WebUsageError(f"{size - self._announced} octets more than Content-Length said")
        if (
            self._announced > size
            and self.environ["REQUEST_METHOD"] != "HEAD"
            and response.status not in (204, 304)
        ):
            raise WebUsageError(f"{self._announced - size} octets less than Content-Length said")
        response.body = body
        return response

    def _response(self) -> Response:
        if self._head is None:
            raise WebUsageError("the application has given content without start_response")
        status, headers, reason = self._head
        response = Response(b"", status, reason=reason)
        response.headers = headers
        self._begun = True
        return response

    def _start_response(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: ExcInfo | None = None,
    ) -> Write:
        if exc_info is not None:
            try:
                if self._begun:
                    # Too late for another answer (PEP 3333, "The start_response() Callable").
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self._head is not None:
            raise WebUsageError("start_response was called before; a second call needs exc_info")
        match = _STATUS.fullmatch(status)
        if match is None:
            raise WebUsageError(f"a status is '200 OK', not {status!r:.60}")
        code = int(match[1])
        reason = match[2].encode("latin-1")
        fields: list[tuple[bytes, bytes]] = []
        announced = -1
        for name, value in headers:
            lower = name.lower()
            if lower in _HOP_BY_HOP:
                raise WebUsageError(f"{name!r:.60} is the server's own affair (PEP 3333)")
            if lower == "content-length":
                if not value.isdecimal():
                    raise WebUsageError(f"Content-Length cannot be {value!r:.40}")
                announced = int(value)
            fields.append((lower.encode("latin-1"), value.encode("latin-1")))
        self._head = code, fields, None if REASONS.get(code) == reason else reason
        self._announced = self._left = announced
        return self._write_by_hand

    def _write_by_hand(self, data: bytes) -> None:
        """What start_response returns, for applications that cannot give an iterable."""
        self._wrote = True
        if data:
            self._write(data)

    def _write(self, data: bytes) -> None:
        if type(data) is not bytes:
            raise TypeError(f"content is octets, not {type(data).__name__}")
        if self.gone:
            raise ClientDisconnectedError
        size = len(data)
        if not self._begun:
            response = self._response()
            if self._left == size:
                # All of it: there is no need for pieces.
                response.body = data
                self._left = 0
                self._reactor.call_from_thread(self.begin, response)
                return
            self._changed = threading.Condition()
            self.pieces = Pieces(self.taken, self.leave)
            response.body = self.pieces
            self._reactor.call_from_thread(self.begin, response)
        if self._left >= 0:
            if size > self._left:
                raise WebUsageError(f"{size - self._left} octets more than Content-Length said")
            self._left -= size
        changed = self._changed
        if changed is None:
            raise WebUsageError("more content than Content-Length said")
        with changed:
            while self._waiting > AHEAD and not self.gone:
                changed.wait()
            self._waiting += size
        if self.gone:
            raise ClientDisconnectedError
        self._reactor.call_from_thread(self.piece, data)

    def _file_part(self, wrapped: FileWrapper) -> FilePart | None:
        """The rest of a wrapped file, to be sent by the kernel; ``None`` for what is no file."""
        try:
            file = cast("IO[bytes]", wrapped.filelike)
            number = file.fileno()
            found = os.fstat(number)
            offset = file.tell()
        except (AttributeError, OSError, ValueError):
            return None
        length = found.st_size - offset
        if not stat.S_ISREG(found.st_mode) or length < 0:
            return None
        if self._announced >= 0:
            if self._announced > length:
                return None
            length = self._announced
        # A descriptor of our own: the application's is closed when its iterable is.
        return FilePart(open(os.dup(number), "rb", buffering=0), offset, length, close_file=True)


class Input(io.RawIOBase):
    """The request's content as a file, read in the application's thread.

    Args:
        fetch: Returns the next octets, none at the end; waits for them.
    """

    def __init__(self, fetch: Callable[[], bytes]) -> None:
        super().__init__()
        self._fetch = fetch
        self._rest = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        return True

    # `Any`: a buffer that can be written to, which has no name before Python 3.12.
    def readinto(self, buffer: Any, /) -> int:
        if not self._rest and not self._ended:
            found = self._fetch()
            self._ended = not found
            self._rest = memoryview(found)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


class FileWrapper:
    """``wsgi.file_wrapper``: a file to be sent, by the kernel where that can be.

    Args:
        filelike: Anything with ``read``.
        blksize: Octets to read at a time where the kernel cannot send it.
    """

    def __init__(self, filelike: Any, blksize: int = 8192) -> None:
        self.filelike = filelike
        self.blksize = blksize
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> Iterator[bytes]:
        while block := self.filelike.read(self.blksize):
            yield block


class ErrorStream:
    """``wsgi.errors``: what is written there is logged, a record per write."""

    def __init__(self) -> None:
        self._text = ""

    def write(self, text: str) -> int:
        """Log whole lines; what is no line yet waits for its end."""
        self._text += text
        if text.endswith("\n"):
            self.flush()
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Log each."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Log what waits."""
        text, self._text = self._text.rstrip("\n"), ""
        if text:
            logging.getLogger("sennit.web.application").error("%s", text)
