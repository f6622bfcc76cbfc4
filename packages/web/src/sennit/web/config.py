"""What ``[service.NAME]`` with ``type = "web"`` can say."""

from __future__ import annotations

# At run time: msgspec resolves the annotations of Structs.
from typing import Annotated, Final, Literal

from sennit.core.errors import MissingExtraError

try:
    from msgspec import field

    from sennit.core.service.config import (
        Directory,
        File,
        Listen,
        Meta,
        Path,
        ServiceConfig,
        Table,
        listen_on,
        refers,
    )
except ImportError as error:  # pragma: no cover - tested in an environment without it
    raise MissingExtraError(__name__, "sennit-web", "service") from error

from sennit.web.proxy.config import UpstreamTable

__all__ = ["HandlerTable", "WebConfig"]

Octets = Annotated[int, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]


CONTENTS: Final = ("root", "asgi", "wsgi", "app", "proxy")
"""Keys of which a service has exactly one."""


class HandlerTable(Table, frozen=True, kw_only=True):
    """What answers at one path in place of what is served.

    Attributes:
        path: The path, as /dns-query.
        handler: Name of its plugin, as dns.
        options: What the plugin is told.
    """

    path: str
    handler: str
    options: dict[str, str] = {}


class WebConfig(ServiceConfig, frozen=True, kw_only=True):
    """Serve files, an application, or what other servers have.

    Exactly one of root, asgi, wsgi, app and proxy says what is served; none where there are
    handlers.

    Attributes:
        root: The folder whose files are served.
        asgi: An ASGI application, as shop.web:app, or shop.web:make_app() to call what makes it.
        wsgi: A WSGI application, likewise.
        app: A Site, resource or handler made with Sennit, likewise.
        proxy: Servers to which requests are handed on, as http://10.0.0.7:8000, perhaps with
            weight=3, most_open=50 or backup behind it.
        upstream: How they are asked.
        handlers: Paths that other packages answer, as DNS over HTTPS.
        factory: Whether what is named makes the application; the same as () behind its name.
        app_dir: Folder in which applications are looked for behind what is installed; that of
            the configuration, or the working one, when left out.
        root_path: Where an ASGI application is mounted by a proxy in front.
        lifespan: Whether an ASGI application is told of start and end; "auto" lets it not know.
        abandon_after: Seconds that an ASGI application may go on once its client has gone.
        threads: Requests that a WSGI application works on at one time.
        queue: Requests that may wait for a thread; one more is answered 503.
        reload: Start anew when a file of the application changes; for development, and not
            together with workers.
        listen: Where to listen.
        index: Names that stand for a folder, the first that is there.
        listing: Whether a folder without an index is listed.
        follow: Whether symbolic links are followed, out of the folder too.
        precompressed: Whether .br, .zst and .gz beside a file are sent in its place.
        max_age: Seconds for Cache-Control; nothing is said when left out.
        headers: Headers of every response.
        http2: Whether HTTP/2 is spoken; left out, it is where the extra http2 is installed.
        compress: Whether answers are compressed for clients that can take it.
        hosts: Host names that are answered, as example.org or *.example.org; left out, all.
        canonical_host: Host to which clients are sent that ask for another one.
        https_only: Whether clients without TLS are sent to https.
        redirects: Paths that are sent elsewhere, as "/old/{rest:path}" = "/new/{rest}".
        error_pages: HTML files for errors by status; "default" for all others.
        request_ids: Whether each request gets a name, in X-Request-ID and the logs.
        trusted_proxies: Networks whose X-Forwarded headers and request names are believed.
        users: The table [users.NAME] of those who may log in; left out, all may ask.
        login: How they do.
        realm: What browsers show to whom they ask for a password.
        login_in_clear: Whether passwords are taken without TLS, too.
        access_log: File that requests are written to; "-" for standard output.
        access_log_style: The form of its lines.
        max_target: Octets of a request target.
        max_head: Octets of a request's header fields.
        max_fields: Header fields of a request.
        max_body: Octets of a request's content.
        head_timeout: Seconds for a whole request head.
        idle_timeout: Seconds between two requests.
        write_timeout: Seconds without progress of a response.
        body_grace: Seconds before content has to come at body_rate.
        body_rate: Octets of content a second, on average.
    """

    root: Directory | None = None
    asgi: str | None = None
    wsgi: str | None = None
    app: str | None = None
    proxy: list[str] | None = None
    upstream: UpstreamTable = UpstreamTable()
    handlers: list[HandlerTable] = []
    factory: bool = False
    app_dir: Directory | None = None
    root_path: str = ""
    lifespan: Literal["auto", "on", "off"] = "auto"
    abandon_after: Seconds = 30.0
    threads: Annotated[int, Meta(ge=1, le=10_000)] = 20
    queue: Count = 100
    reload: bool = False
    listen: list[Listen] = listen_on("tcp://127.0.0.1:8080")
    index: list[str] = field(default_factory=lambda: ["index.html"])
    listing: bool = False
    follow: bool = False
    precompressed: bool = True
    max_age: Octets | None = None
    headers: dict[str, str] = {}
    http2: bool | None = None
    compress: bool = False
    hosts: list[str] = []
    canonical_host: str | None = None
    https_only: bool = False
    redirects: dict[str, str] = {}
    error_pages: dict[str, File] = {}
    request_ids: bool = False
    trusted_proxies: list[str] = []
    users: Annotated[str, refers("users")] | None = None
    login: Literal["basic", "digest"] = "basic"
    realm: str = "restricted"
    login_in_clear: bool = False
    access_log: Path | Literal["-"] | None = None
    access_log_style: Literal["common", "combined", "json"] = "combined"
    max_target: Count = 8 * 1024
    max_head: Count = 16 * 1024
    max_fields: Count = 100
    max_body: Octets = 10 * 1024 * 1024
    head_timeout: Seconds = 20.0
    idle_timeout: Seconds = 60.0
    write_timeout: Seconds = 60.0
    body_grace: Seconds = 5.0
    body_rate: Annotated[float, Meta(ge=0)] = 240.0

    def __post_init__(self) -> None:
        """Refuse what could not be sent.

        Raises:
            ValueError: Not exactly one thing is to be served; a name in `index` is a path;
                a header cannot be sent.
        """
        from sennit.web.files import acceptable
        from sennit.web.grammar import field_line

        served = [each for each in CONTENTS if getattr(self, each) is not None]
        if len(served) != 1 and not (self.handlers and not served):
            there = " and ".join(served) or f"none of {', '.join(CONTENTS)}"
            raise ValueError(f"found {there}; exactly one of them says what is served")
        if self.root_path and not self.root_path.startswith("/"):
            raise ValueError(f"root_path: found {self.root_path!r}; a path begins with a slash")
        for name in self.index:
            if not acceptable(name):
                raise ValueError(f"index: found {name!r}; a name of a file, not hidden, no path")
        for name, value in self.headers.items():
            try:
                field_line((name.encode("latin-1"), value.encode("latin-1")))
            except ValueError as error:
                raise ValueError(f"headers: {error}") from None
