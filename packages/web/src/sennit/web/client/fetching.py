"""What ``sennit fetch`` does: requests from options, answers to files and terminals.

Every failure becomes one line that says what to do next, and an exit status (curl's).
What servers say is escaped before a terminal shows it; content is given as it is,
but not to a terminal that could only be spoiled by it.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sennit.core.errors import (
    ConnectError,
    ConnectionLost,
    MissingExtraError,
    SennitError,
    TLSError,
)

try:
    import click
except ImportError as error:  # pragma: no cover - tested in a process without it
    raise MissingExtraError(__name__, "sennit-web", "service") from error

from sennit.core.ops.records import escape
from sennit.core.service.showing import transfer_bars
from sennit.web.client.api import Client
from sennit.web.client.auth import DigestAuth
from sennit.web.client.limits import ClientTimeouts
from sennit.web.client.multipart import Part
from sennit.web.client.redirects import REDIRECTS, TooManyRedirectsError
from sennit.web.client.response import StatusError
from sennit.web.errors import CutShortError, RequestTimeoutError, WebUsageError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from sennit.core.reactor.base import Reactor
    from sennit.core.transport.tls import ClientTLS
    from sennit.web.client.auth import Auth
    from sennit.web.client.cookies import CookieJar
    from sennit.web.client.messages import OutgoingRequest
    from sennit.web.client.progress import OnProgress, Progress
    from sennit.web.client.response import ClientResponse

__all__ = ["Options", "fetch_all"]

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://").match
_NOT_IN_NAMES: Final = re.compile(r"[/\\\x00-\x1f\x7f-\x9f]")
_SECRET: Final = (b"authorization", b"proxy-authorization", b"cookie")


@dataclass
class Options:
    """The command's options, by the names that `commands` gives them."""

    output: str | None = None
    remote_name: bool = False
    resume: bool = False
    include: bool = False
    head: bool = False
    fail: bool = False
    silent: bool = False
    verbose: bool = False
    method: str | None = None
    headers: Sequence[str] = ()
    data: Sequence[str] = ()
    json_: str | None = None
    forms: Sequence[str] = ()
    upload_file: str | None = None
    user: str | None = None
    digest: bool = False
    netrc: bool = False
    cookie_jar: str | None = None
    compressed: bool = False
    location: bool = False
    max_redirs: int = 10
    http: str | None = None
    proxy: str | None = None
    noproxy: bool = False
    unix_socket: str | None = None
    insecure: bool = False
    cacert: str | None = None
    cert: str | None = None
    key: str | None = None
    retry: int = 0
    max_time: float | None = None
    connect_timeout: float = 10.0
    auth: Auth | tuple[str, str] | None = field(default=None, init=False)

    @property
    def to_file(self) -> bool:
        """Whether what comes goes to a file."""
        return self.remote_name or (self.output is not None and self.output != "-")


def fetch_all(urls: Sequence[str], options: Options) -> int:
    """Fetch each URL; return the exit status.

    Raises:
        click.UsageError: The options do not fit together.
    """
    _check(urls, options)
    if options.user is not None:
        options.auth = _login(options)
    from sennit.core.reactor.base import run

    async def main(reactor: Reactor) -> int:
        return await _Fetcher(reactor, options).run(urls)

    return run(main)


def _check(urls: Sequence[str], options: Options) -> None:
    if options.output is not None and options.remote_name:
        raise click.UsageError("-o names the file, -O takes the URL's name: give one of them")
    if options.output is not None and len(urls) > 1 and options.output != "-":
        raise click.UsageError("-o is for one URL; give -O for several")
    if options.resume and not options.to_file:
        raise click.UsageError("--resume goes on with a file: give -o FILE or -O")
    bodies = (options.data, options.json_ is not None, options.forms, options.upload_file)
    if sum(map(bool, bodies)) > 1:
        raise click.UsageError("-d, --json, -F and -T: one of them is what is sent")
    if options.key is not None and options.cert is None:
        raise click.UsageError("--key belongs to --cert")
    if options.digest and options.user is None:
        raise click.UsageError("--digest needs -u NAME:PASSWORD")


def _login(options: Options) -> Auth | tuple[str, str]:
    assert options.user is not None
    name, colon, password = options.user.partition(":")
    if not colon:
        password = click.prompt(f"Password of {name}", hide_input=True, err=True)
    # Servers that people reach with this know MD5 at best, often.
    return DigestAuth(name, password, allow_md5=True) if options.digest else (name, password)


class _Fetcher:
    """One run of the command."""

    def __init__(self, reactor: Reactor, options: Options) -> None:
        self._reactor = reactor
        self._options = options
        self._failed = 0

    async def run(self, urls: Sequence[str]) -> int:
        """Fetch all; the first failure is the status."""
        try:
            jar = self._jar()
            client = self._client(jar)
        except (SennitError, ValueError, OSError) as error:
            return self._tell(error, "")
        async with client:
            for url in urls:
                try:
                    await self._fetch(client, url if _SCHEME(url) else f"http://{url}")
                except BrokenPipeError:
                    raise
                except (SennitError, ValueError, OSError) as error:
                    status = self._tell(error, url)
                    self._failed = self._failed or status
        if jar is not None and self._options.cookie_jar is not None:
            try:
                jar.save(self._options.cookie_jar, session=True)
            except OSError as error:
                status = self._tell(error, "")
                self._failed = self._failed or status
        return self._failed

    def _jar(self) -> CookieJar | None:
        path = self._options.cookie_jar
        if path is None:
            return None
        from sennit.web.client.cookies import CookieJar

        jar = CookieJar()
        if os.path.exists(path):
            jar.load(path)
        return jar

    def _client(self, jar: CookieJar | None) -> Client:
        options = self._options
        http2: Any = {None: None, "1.1": False, "2": True, "prior": "always"}[options.http]
        return Client(
            cookies=jar,
            timeout=ClientTimeouts(connect=options.connect_timeout, total=options.max_time),
            follow_redirects=options.location,
            max_redirects=options.max_redirs,
            retries=options.retry or None,
            decode=options.compressed,
            http2=http2,
            proxy=options.proxy,
            tls=self._tls(),
            unix=options.unix_socket,
            netrc=options.netrc,
            trust_env=not options.noproxy,
            on_request=self._show_request if options.verbose else None,
            on_response=self._show_response,
        )

    def _tls(self) -> ClientTLS | None:
        options = self._options
        if not (options.insecure or options.cacert or options.cert):
            return None
        from sennit.core.transport.tls import ClientTLS

        return ClientTLS(
            trust=options.cacert,
            certificate=options.cert,
            key=options.key,
            verify=not options.insecure,
        )

    # ── one URL ───────────────────────────────────────────────────────────────

    async def _fetch(self, client: Client, url: str) -> None:
        options = self._options
        with self._progress(url) as progress:
            request = self._request(url, progress)
            url, method = request.pop("url"), request.pop("method")
            path = self._path(url)
            if path is not None and not options.head:
                on_progress = None if progress is None else progress.told("download")
                await client.download(
                    url, path, resume=options.resume, progress=on_progress, method=method, **request
                )
                return
            async with client.stream(method, url, **request) as response:
                if options.fail:
                    response.raise_for_status()
                await self._show(response)

    def _path(self, url: str) -> str | None:
        """The file that a URL goes to; ``None`` for standard output."""
        options = self._options
        if options.remote_name:
            from urllib.parse import unquote, urlsplit

            name = unquote(urlsplit(url).path.rpartition("/")[2])
            # Whatever it decodes to, it stays in this folder and can be seen.
            name = _NOT_IN_NAMES.sub("_", name).lstrip(".")
            if not name:
                raise WebUsageError("this URL names no file: give -o FILE")
            return name
        return options.output if options.to_file else None

    def _request(self, url: str, progress: _Bar | None) -> dict[str, Any]:
        options = self._options
        headers: list[tuple[str, str]] = []
        for line in options.headers:
            name, colon, value = line.partition(":")
            if not colon:
                raise WebUsageError(f"a header is 'NAME: VALUE', not {line!r:.100}")
            headers.append((name.strip(), value.strip()))
        made: dict[str, Any] = {"url": url, "headers": headers}
        if options.auth is not None:
            made["auth"] = options.auth
        method = "HEAD" if options.head else "GET"
        names = {name.lower() for name, _ in headers}
        if options.data:
            method = "POST"
            made["content"] = _data(options.data)
            if "content-type" not in names:
                headers.append(("content-type", "application/x-www-form-urlencoded"))
        elif options.json_ is not None:
            method = "POST"
            made["content"] = _given(options.json_)
            for name, value in (
                ("content-type", "application/json"),
                ("accept", "application/json"),
            ):
                if name not in names:
                    headers.append((name, value))
        elif options.forms:
            method = "POST"
            made["files"] = [_form(each) for each in options.forms]
        elif options.upload_file is not None:
            method = "PUT"
            made["content"] = _given(f"@{options.upload_file}")
            if url.endswith("/") and options.upload_file != "-":
                made["url"] = url + os.path.basename(options.upload_file)
        if progress is not None and method in ("POST", "PUT"):
            made["upload_progress"] = progress.told("upload")
        made["method"] = options.method or method
        return made

    async def _show(self, response: ClientResponse) -> None:
        """Write content to standard output."""
        out = sys.stdout.buffer
        guarded = sys.stdout.isatty() and self._options.output != "-"
        async for chunk in response:
            if guarded and b"\0" in chunk:
                raise WebUsageError(
                    "this is no text, and a terminal could be spoiled by it: "
                    "give -o FILE, or -o - for the terminal all the same"
                )
            # In a thread: a pager that nobody scrolls must not stop the clock.
            await self._reactor.defer_to_thread(_write, out, chunk)
        self._hint(response)

    # ── what is told ──────────────────────────────────────────────────────────

    def _show_request(self, request: OutgoingRequest) -> None:
        lines = [
            f"{request.method} {request.url.target.decode()}",
            f"host: {request.url.authority}",
        ]
        for name, value in request.headers:
            shown = value.decode("latin-1")
            if name in _SECRET:
                shown = f"{shown.partition(' ')[0] if name != b'cookie' else ''} …"
            lines.append(f"{name.decode('latin-1')}: {shown}")
        for line in lines:
            _say(f"> {escape(line, 4096)}")
        _say(">")

    def _show_response(self, response: ClientResponse) -> None:
        lines = [f"HTTP/{response.version} {response.status} {response.reason}".rstrip()]
        lines += [
            f"{name.decode('latin-1')}: {value.decode('latin-1')}"
            for name, value in response.headers.raw
        ]
        if self._options.verbose:
            for line in lines:
                _say(f"< {escape(line, 4096)}")
            _say("<")
        if (self._options.include or self._options.head) and not self._options.to_file:
            if sys.stdout.isatty():
                lines = [escape(line, 4096) for line in lines]
            text = "\r\n".join(lines) + "\r\n\r\n"
            _write(sys.stdout.buffer, text.encode("latin-1", "replace"))

    def _hint(self, response: ClientResponse) -> None:
        """Say that there is more elsewhere, to people."""
        location = response.headers.get("location")
        if (
            response.status in REDIRECTS
            and location is not None
            and not (self._options.location or self._options.silent)
            and sys.stderr.isatty()
        ):
            _say(f"sennit: it has moved to {escape(location, 1024)}; -L goes there")

    def _tell(self, error: BaseException, url: str) -> int:
        status, text = _explain(error, url, self._options)
        if not self._options.silent:
            _say(f"sennit: {escape(text, 4096)}")
        return status

    @contextmanager
    def _progress(self, url: str) -> Generator[_Bar | None]:
        """A bar on the terminal, where there is one and it is not needed otherwise."""
        options = self._options
        sends = bool(options.upload_file or options.forms or options.data)
        if options.silent or not sys.stderr.isatty() or not (options.to_file or sends):
            yield None
            return
        with _Bar(escape(url.rpartition("/")[2] or url, 40)) as bar:
            yield bar


class _Bar:
    """How far it is, on the terminal."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._bars = transfer_bars()
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> _Bar:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def told(self, what: str) -> OnProgress:
        """What a transfer calls."""

        def tell(progress: Progress) -> None:
            task = self._tasks.get(what)
            if task is None:
                mark = "↑" if what == "upload" else "↓"
                task = self._tasks[what] = self._bars.add_task(f"{mark} {self._name}", total=None)
            total = progress.total
            if total is None and progress.finished:
                total = progress.done
            self._bars.update(task, completed=progress.done, total=total)

        return tell


# ── options as content ────────────────────────────────────────────────────────


def _given(text: str) -> Any:
    """What an option holds, or the file that it names with an @."""
    if text == "@-":
        return sys.stdin.buffer
    if text.startswith("@"):
        return Path(text[1:])
    return text.encode("utf-8")


def _data(values: Sequence[str]) -> Any:
    if len(values) == 1:
        return _given(values[0])
    parts = [_given(value) for value in values]
    return b"&".join(part if isinstance(part, bytes) else _contents(part) for part in parts)


def _contents(source: Any) -> bytes:
    data: bytes = source.read_bytes() if isinstance(source, Path) else source.read()
    return data


_FORM_OPTION: Final = re.compile(r";(type|filename)=([^;]*)")


def _form(text: str) -> tuple[str, Part]:
    """``name=value``, ``name=@file``, and behind that ``;type=`` and ``;filename=``."""
    name, equals, value = text.partition("=")
    if not equals:
        raise WebUsageError(f"a form's field is NAME=VALUE or NAME=@FILE, not {text!r:.100}")
    if not value.startswith("@"):
        return name, Part(value.encode("utf-8"))
    said = dict(_FORM_OPTION.findall(value))
    source = _given(_FORM_OPTION.sub("", value))
    return name, Part(source, said.get("filename"), said.get("type"))


# ── words ─────────────────────────────────────────────────────────────────────


def _say(line: str) -> None:
    click.echo(line, err=True)


def _write(out: Any, data: bytes) -> None:
    out.write(data)
    out.flush()


def _explain(error: BaseException, url: str, options: Options) -> tuple[int, str]:
    """The exit status and what to say, what to do next included."""
    where = f"{url}: " if url else ""
    if isinstance(error, StatusError):
        location = error.response.headers.get("location")
        if error.status in REDIRECTS and location is not None:
            return 22, f"{where}it has moved to {location}; -L goes there"
        return 22, f"{where}the server said {error.status} {error.response.reason}".rstrip()
    if isinstance(error, RequestTimeoutError):
        more = "--connect-timeout" if error.phase == "connect" else "--max-time"
        return 28, f"{where}{error}; {more} gives it longer"
    if isinstance(error, TooManyRedirectsError):
        return 47, f"{where}{error}; --max-redirs allows more"
    tls = _cause(error, TLSError)
    if tls is not None:
        return _explain_tls(where, tls)
    if isinstance(error, ConnectError):
        nobody = _cause(error, socket.gaierror)
        if nobody is not None:
            return 6, f"{where}there is no such host; is the name right? ({nobody})"
        return 7, f"{where}no connection: {error}"
    cut = isinstance(error, CutShortError)
    if cut or isinstance(error, ConnectionLost):
        more = "; the same command goes on from there" if options.resume else ""
        if options.to_file and not options.resume:
            more = "; with --resume it could go on from there"
        return 18 if cut else 56, f"{where}the connection was lost: {error}{more}"
    if isinstance(error, OSError) and error.filename is not None:
        name = error.filename if isinstance(error.filename, str) else repr(error.filename)
        return 23, f"{name}: {error.strerror}"
    if isinstance(error, OSError) and error.errno is not None:
        return 23, f"{where}what came could not be written: {error.strerror}"
    if isinstance(error, ValueError):
        return 2, f"{where}{error}"
    return 1, f"{where}{error}"


def _explain_tls(where: str, error: TLSError) -> tuple[int, str]:
    text = f"{where}TLS failed: {error}"
    # Of the server's, not of a file here that cannot be read.
    if "certificate" in error.reason or "name" in error.reason:
        return 60, f"{text}; --cacert FILE believes another authority, -k believes everybody"
    return 35, text


def _cause(error: BaseException, kind: type[Any]) -> Any:
    """An error of some kind: this one, what it came from, or what its attempts ended with."""
    seen: list[BaseException] = [error]
    for each in seen:
        if isinstance(each, kind):
            return each
        if isinstance(each, ConnectError):
            seen.extend(each.attempts)
        if each.__cause__ is not None and len(seen) < 50:
            seen.append(each.__cause__)
    return None
