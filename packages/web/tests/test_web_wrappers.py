"""What stands around handlers: origins, names, error pages, hosts, rewriting, metrics."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core.address import InternetAddress
from sennit.core.deferred import Deferred, succeed
from sennit.core.ops.metrics import Registry
from sennit.core.testing.clock import Clock
from sennit.core.testing.memory import RecordingTransport
from sennit.web import (
    AccessLog,
    HTTPError,
    HTTPServer,
    Request,
    Resource,
    Response,
    Site,
    WebUsageError,
    html,
    http_server,
    text,
)
from sennit.web.accesslog import SeveralLogs
from sennit.web.crossorigin import cors
from sennit.web.errorpages import error_pages
from sennit.web.metrics import RequestMetrics
from sennit.web.requestids import RequestIDFilter, current_request_id, request_ids
from sennit.web.rewriting import (
    Redirect,
    Rewrite,
    canonical_host,
    https_only,
    rewrite,
    trailing_slash,
)
from sennit.web.virtualhosts import host_name, hosts
from sennit.web.wrappers import ask, then, wrap

if TYPE_CHECKING:
    from sennit.web.server import Answer, Handler


@pytest.fixture
def clock() -> Iterator[Clock]:
    with Clock(1000.0) as found:
        yield found


class Answered:
    """What came back."""

    def __init__(self, octets: bytes) -> None:
        head, _, self.body = octets.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1])
        self.fields = [tuple(each.split(": ", 1)) for each in lines]

    def all(self, name: str) -> list[str]:
        return [value for each, value in self.fields if each == name]

    def get(self, name: str) -> str | None:
        found = self.all(name)
        return ", ".join(found) if found else None


class Peer:
    """Asks a server, each time over a new connection."""

    def __init__(self, clock: Clock, handler: Any, host: str = "192.0.2.1", **options: Any) -> None:
        self.clock = clock
        made = isinstance(handler, HTTPServer)
        self.server: HTTPServer = handler if made else http_server(handler, **options)
        self.server.clock = clock
        self.host = host

    def ask(
        self, path: str = "/", method: str = "GET", body: bytes = b"", **fields: str
    ) -> Answered:
        transport = RecordingTransport(
            self.server.build_protocol(None), peer=InternetAddress(self.host, 5000)
        )
        given = {"Host": "example.com", **{n.replace("_", "-"): v for n, v in fields.items()}}
        if body:
            given["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        octets = f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body
        self.clock.call_soon(transport.receive, octets)
        self.clock.pump()
        return Answered(transport.take())


def hello(request: Request) -> Response:
    return text("Hello")


def at_once(request: Request) -> Response:
    return text(request.path)


def by_deferred(request: Request) -> Deferred[Response]:
    return succeed(text(request.path))


async def by_coroutine(request: Request) -> Response:
    return text(request.path)


WAYS = pytest.mark.parametrize("handler", [at_once, by_deferred, by_coroutine])


# ── then ──────────────────────────────────────────────────────────────────────


def marking(handler: Handler) -> Handler:
    def call(request: Request) -> Answer:
        def change(response: Response) -> Response:
            response.add_header("x-seen", str(response.status))
            return response

        return then(ask(handler, request), change)

    return call


def marking_later(handler: Handler) -> Handler:
    def call(request: Request) -> Answer:
        async def change(response: Response) -> Response:
            response.add_header("x-seen", str(response.status))
            return response

        return then(ask(handler, request), change)

    return call


@WAYS
@pytest.mark.parametrize("wrapper", [marking, marking_later])
def test_an_answer_is_changed_whichever_way_it_comes(
    clock: Clock, handler: Any, wrapper: Any
) -> None:
    answer = Peer(clock, wrap(handler, [wrapper, wrapper])).ask("/a")
    assert (answer.body, answer.all("x-seen")) == (b"/a", ["200", "200"])


def raise_at_once(request: Request) -> Response:
    raise HTTPError(418)


def raise_by_deferred(request: Request) -> Deferred[Response]:
    failing: Deferred[Response] = Deferred()
    failing.errback(HTTPError(418))
    return failing


async def raise_by_coroutine(request: Request) -> Response:
    raise HTTPError(418)


@pytest.mark.parametrize("handler", [raise_at_once, raise_by_deferred, raise_by_coroutine])
def test_an_error_that_is_an_answer_is_changed_too(clock: Clock, handler: Any) -> None:
    answer = Peer(clock, marking(handler)).ask()
    assert (answer.status, answer.all("x-seen")) == (418, ["418"])


def test_an_answer_piece_by_piece_is_left_alone(clock: Clock) -> None:
    def pieces(request: Request) -> None:
        writer = request.start(200, {"content-length": "2"})
        writer.send(b"ok")
        writer.end()

    async def pieces_later(request: Request) -> None:
        pieces(request)

    for handler in (pieces, pieces_later):
        answer = Peer(clock, wrap(handler, [marking])).ask()
        assert (answer.body, answer.all("x-seen")) == (b"ok", [])


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="a Task begins at once since Python 3.12")
def test_a_coroutine_that_is_never_awaited_leaves_no_warning(clock: Clock) -> None:
    """The client's octets turn out bad in the segment that brought the request."""
    everything: list[Any] = [
        marking,
        RequestMetrics(registry=Registry()),
        request_ids(),
        error_pages({500: "x"}),
    ]
    server = http_server(wrap(by_coroutine, everything), clock=clock)
    transport = RecordingTransport(server.build_protocol(None))
    octets = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"
    clock.call_soon(transport.receive, octets)
    clock.pump()
    assert transport.take().startswith(b"HTTP/1.1 400 ")


# ── other origins ─────────────────────────────────────────────────────────────

APP = "https://app.example"
ALLOW = "access-control-allow-origin"


def test_an_allowed_origin_is_named_and_others_are_not(clock: Clock) -> None:
    peer = Peer(clock, cors([APP], expose=["x-total"])(hello))
    answer = peer.ask(Origin=APP)
    assert (answer.get(ALLOW), answer.get("vary")) == (APP, "origin")
    assert answer.get("access-control-expose-headers") == "x-total"
    for origin in (
        "https://evil.example",
        "https://app.example.evil",
        "null",
        "http://app.example",
    ):
        refused = peer.ask(Origin=origin)
        assert (refused.status, refused.get(ALLOW), refused.get("vary")) == (200, None, "origin")
    assert peer.ask().get("vary") == "origin"


def test_a_preflight_is_answered_before_the_handler(clock: Clock) -> None:
    peer = Peer(clock, cors([APP], methods=["GET", "PUT"], headers=["X-Token"])(raise_at_once))
    asked: dict[str, Any] = {"Origin": APP, "Access_Control_Request_Method": "PUT"}
    answer = peer.ask(method="OPTIONS", **asked, Access_Control_Request_Headers="x-token")
    assert (answer.status, answer.get(ALLOW)) == (204, APP)
    assert answer.get("access-control-allow-methods") == "GET, PUT"
    assert answer.get("access-control-allow-headers") == "X-Token"
    assert answer.get("access-control-max-age") == "600"
    changes: tuple[dict[str, Any], ...] = (
        {"Origin": "https://evil.example"},
        {"Access_Control_Request_Method": "DELETE"},
        {"Access_Control_Request_Headers": "x-token, x-other"},
    )
    for changed in changes:
        refused = peer.ask(method="OPTIONS", **{**asked, **changed})
        assert (refused.status, refused.get(ALLOW)) == (204, None)
    assert peer.ask(method="OPTIONS", Origin=APP).status == 418


def test_every_origin_is_told_so_by_a_star_but_never_with_credentials(clock: Clock) -> None:
    answer = Peer(clock, cors("*")(hello)).ask(Origin=APP)
    assert (answer.get(ALLOW), answer.get("vary")) == ("*", None)
    with pytest.raises(ValueError, match="credentials"):
        cors("*", credentials=True)

    def ours(origin: str) -> bool:
        return origin.endswith(".example")

    answer = Peer(clock, cors(allow=ours, credentials=True)(hello)).ask(Origin=APP)
    assert (answer.get(ALLOW), answer.get("access-control-allow-credentials")) == (APP, "true")


@pytest.mark.parametrize(
    "options",
    [
        {"origins": ["app.example"]},
        {"origins": ["https://app.example/"]},
        {"origins": ["*"]},
        {"methods": ["GET\r\nX: y"]},
        {"headers": ["a b"]},
    ],
)
def test_what_cannot_be_an_origin_is_refused(options: Any) -> None:
    with pytest.raises(ValueError, match=r"origin|name"):
        cors(**options)


# ── names of requests ─────────────────────────────────────────────────────────


@WAYS
def test_a_request_gets_a_name_of_ours(clock: Clock, handler: Any) -> None:
    peer = Peer(clock, request_ids()(handler))
    first, second = peer.ask(X_Request_Id="forged"), peer.ask()
    names = [each.get("x-request-id") for each in (first, second)]
    assert len({*names, "forged"}) == 3
    assert all(name and len(name) == 24 for name in names)


def test_a_trusted_peer_names_requests_itself_if_the_name_is_one(clock: Clock) -> None:
    peer = Peer(clock, request_ids(trusted=["192.0.2.0/24"])(hello))
    assert peer.ask(X_Request_Id="abc-1").get("x-request-id") == "abc-1"
    assert peer.ask(X_Request_Id="a b").get("x-request-id") != "a b"
    assert peer.ask(X_Request_Id="x" * 200).get("x-request-id") != "x" * 200
    other = Peer(clock, peer.server, "198.51.100.1")
    assert other.ask(X_Request_Id="abc-1").get("x-request-id") != "abc-1"


def test_the_name_is_known_below_the_handler_and_to_the_log(clock: Clock) -> None:
    records: list[logging.LogRecord] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger = logging.getLogger("test_web_wrappers")
    keeping = Keeping()
    keeping.addFilter(RequestIDFilter())
    logger.addHandler(keeping)

    async def deep(request: Request) -> Response:
        waiting: Deferred[None] = Deferred()
        clock.call_later(0, waiting.callback, None)
        await waiting
        logger.warning("here")
        return text(current_request_id())

    def shallow(request: Request) -> Response:
        return text(current_request_id())

    try:
        for handler in (deep, shallow):
            answer = Peer(clock, request_ids(make=lambda: "made")(handler)).ask()
            assert answer.body == b"made"
    finally:
        logger.removeHandler(keeping)
    assert [getattr(each, "request_id", "") for each in records] == ["made"]
    assert current_request_id() == ""


# ── error pages ───────────────────────────────────────────────────────────────


def failing(request: Request) -> Response:
    raise RuntimeError("the password is secret")


def failing_by_deferred(request: Request) -> Deferred[Response]:
    found: Deferred[Response] = Deferred()
    found.errback(RuntimeError("the password is secret"))
    return found


async def failing_later(request: Request) -> Response:
    raise RuntimeError("the password is secret")


@pytest.mark.parametrize("handler", [failing, failing_by_deferred, failing_later])
def test_a_failure_gets_its_page_and_its_line_in_the_log(
    clock: Clock, handler: Any, caplog: pytest.LogCaptureFixture
) -> None:
    pages = error_pages({500: "<p>{status} {reason} at {path}; style {color:red}"})
    answer = Peer(clock, pages(handler)).ask("/<script>")
    assert answer.status == 500
    assert answer.body == (b"<p>500 Internal Server Error at /&lt;script&gt;; style {color:red}")
    assert b"secret" not in answer.body
    assert "RuntimeError" in caplog.text


@pytest.mark.parametrize("handler", [raise_at_once, raise_by_deferred, raise_by_coroutine])
def test_errors_get_their_pages_and_keep_their_headers(clock: Clock, handler: Any) -> None:
    def teapot(request: Request, status: int) -> Response:
        return html(f"<h1>{status}</h1>")

    site = Site(wrappers=[error_pages({418: teapot, 405: "{status}"}, default="other {status}")])
    site.route("/tea")(handler)
    peer = Peer(clock, site)
    answer = peer.ask("/tea")
    assert (answer.status, answer.body) == (418, b"<h1>418</h1>")
    refused = peer.ask("/tea", "PUT")
    assert (refused.status, refused.body) == (405, b"405")
    assert refused.get("allow") == "GET, HEAD, OPTIONS"
    assert peer.ask("/none").body == b"other 404"


def test_what_a_handler_says_itself_stays(clock: Clock) -> None:
    def own(request: Request) -> Response:
        return text("mine", 404)

    assert Peer(clock, error_pages({404: "page"})(own)).ask().body == b"mine"
    with pytest.raises(WebUsageError):
        error_pages({200: "fine"})


# ── hosts ─────────────────────────────────────────────────────────────────────


def named(name: str) -> Callable[[Request], Response]:
    return lambda request: text(name)


def test_each_host_has_its_site(clock: Clock) -> None:
    site = Site(wrappers=[marking])
    site.route("/")(named("site"))
    handler = hosts(
        {
            "a.example": site,
            "*.b.example": named("b"),
            "x.b.example": named("x"),
            "*.c.b.example": named("c"),
            "[::1]": named("six"),
        }
    )
    peer = Peer(clock, handler)
    for host, body in {
        "a.example": b"site",
        "A.Example.:8080": b"site",
        "x.b.example": b"x",
        "y.b.example": b"b",
        "y.c.b.example": b"c",
        "y.z.b.example": b"b",
        "[::1]:80": b"six",
    }.items():
        assert peer.ask(Host=host).body == body
    assert peer.ask(Host="a.example").all("x-seen") == ["200"]
    for host in ("b.example", "evil.example", "xa.example", "example", ""):
        assert peer.ask(Host=host).status == 421
    assert Peer(clock, hosts({"a": hello}, unknown=404)).ask(Host="b").status == 404
    assert Peer(clock, hosts({"a": hello}, default=named("d"))).ask(Host="b").body == b"d"


@pytest.mark.parametrize("name", ["", "a b", "a/b", "*", "a.*.b", "http://a"])
def test_what_is_no_host_is_refused(name: str) -> None:
    with pytest.raises(WebUsageError):
        hosts({name: hello})
    with pytest.raises(WebUsageError):
        hosts({"a.example": hello, "A.example.": hello})
    with pytest.raises(WebUsageError):
        hosts({}, unknown=200)
    assert host_name("A.example.:80") == "a.example"


# ── rewriting ─────────────────────────────────────────────────────────────────

RULES = [
    Rewrite("/blog/{year:int}/{rest:path}", "/archive/{year}/{rest}"),
    Rewrite("/tag/{name}", "/tags/{name}/all"),
    Redirect("/old/{rest:path}", "/new/{rest}"),
    Redirect("/away/{x}", "https://other.example/{x}?a=b", 302),
    Redirect("/same/{x}", "/same/{x}"),
    Redirect("/up/{rest:path}", "/{rest}", 301),
]


def test_paths_are_rewritten_and_the_query_stays(clock: Clock) -> None:
    site = Site(wrappers=[rewrite(RULES)])

    @site.route("/{rest:path}")
    def shown(request: Request) -> Response:
        return text(f"{request.raw_path}?{request.query_string}")

    peer = Peer(clock, site)
    assert peer.ask("/blog/2024/a%20b/c?q=1").body == b"/archive/2024/a%20b/c?q=1"
    assert peer.ask("/blog/x/a").body == b"/blog/x/a?"
    assert peer.ask("/same/x").body == b"/same/x?"
    assert peer.ask("/%zz").status == 404
    moved = peer.ask("/old/a%20b?q=1")
    assert (moved.status, moved.get("location")) == (308, "/new/a%20b?q=1")
    away = peer.ask("/away/%2Fx?q=1")
    assert (away.status, away.get("location")) == (302, "https://other.example/%2Fx?a=b")


def test_an_encoded_slash_stays_one(clock: Clock) -> None:
    def shown(request: Request) -> Response:
        return text(request.raw_path)

    peer = Peer(clock, rewrite(RULES)(shown))
    assert peer.ask("/tag/a%2Fb").body == b"/tags/a%2Fb/all"


@pytest.mark.parametrize("path", ["/up//evil.example/x", "/up///evil.example"])
def test_no_path_leads_to_another_host(clock: Clock, path: str) -> None:
    location = Peer(clock, rewrite(RULES)(hello)).ask(path).get("location")
    assert location is not None
    assert not location.startswith("//")


@pytest.mark.parametrize(
    ("pattern", "target"),
    [
        ("/a/{x}", "/b/{y}"),
        ("/a/{x}", "https://{x}/"),
        ("/a/{x}", "javascript:{x}"),
        ("/a/{x}", "//evil.example/{x}"),
        ("/a/{x}", "/b/{x"),
    ],
)
def test_what_is_no_target_is_refused(pattern: str, target: str) -> None:
    with pytest.raises(WebUsageError):
        Redirect(pattern, target)
    with pytest.raises(WebUsageError):
        Redirect("/a", "/b", 200)
    with pytest.raises(WebUsageError):
        Rewrite("/a", "b")


def test_clients_without_tls_are_sent_to_the_same_place_with_it(clock: Clock) -> None:
    peer = Peer(clock, https_only(exempt=["/.well-known/acme-challenge/", "/ping"])(hello))
    moved = peer.ask("/a?b=c", Host="a.example:8080")
    assert (moved.status, moved.get("location")) == (308, "https://a.example/a?b=c")
    assert peer.ask("//evil.example/x").get("location") == "https://example.com/evil.example/x"
    assert peer.ask("/.well-known/acme-challenge/x").body == b"Hello"
    assert peer.ask("/ping").body == b"Hello"
    elsewhere = Peer(clock, https_only(port=8443)(hello))
    assert elsewhere.ask("/").get("location") == "https://example.com:8443/"


def test_one_name_is_the_sites(clock: Clock) -> None:
    peer = Peer(clock, canonical_host("www.example.com", scheme="https")(hello))
    assert peer.ask(Host="WWW.example.com").body == b"Hello"
    moved = peer.ask("//evil.example?q", Host="example.com")
    assert moved.get("location") == "https://www.example.com/evil.example?q"
    for host in ("", "a/b", "u@a", "a?b"):
        with pytest.raises(WebUsageError):
            canonical_host(host)


def test_slashes_at_the_end_are_all_there_or_all_gone(clock: Clock) -> None:
    def shown(request: Request) -> Response:
        return text("here")

    less = Peer(clock, trailing_slash()(shown))
    assert less.ask("/a/?b").get("location") == "/a?b"
    assert less.ask("//evil.example/").get("location") == "/evil.example"
    assert less.ask("/").body == b"here"
    assert less.ask("//").get("location") == "/"
    assert less.ask("/a/", "POST", b"x").body == b"here"
    more = Peer(clock, trailing_slash("add")(shown))
    assert more.ask("/a").get("location") == "/a/"
    assert more.ask("//evil.example").body == b"here"
    assert more.ask("//evil").get("location") == "/evil/"
    assert more.ask("/a.txt").body == b"here"
    with pytest.raises(WebUsageError):
        trailing_slash("keep")  # type: ignore[arg-type]  # that is the point


# ── logs and metrics ──────────────────────────────────────────────────────────


def test_a_line_of_json_has_all_that_is_known(clock: Clock) -> None:
    stream = io.BytesIO()
    log = AccessLog(stream, "json", wall_clock=lambda: 784111777.25)

    async def slow(request: Request) -> Response:
        request.state["user"] = "ann"
        waiting: Deferred[None] = Deferred()
        clock.call_later(1.5, waiting.callback, None)
        await waiting
        return text("Hello")

    peer = Peer(clock, request_ids(make=lambda: "made")(slow), access_log=log)
    transport = RecordingTransport(
        peer.server.build_protocol(None), peer=InternetAddress("192.0.2.1", 1)
    )
    request = b'GET /a%22?b HTTP/1.1\r\nHost: h\r\nUser-Agent: x\xff"\x7f\xc3\xa9\r\n\r\n'
    clock.call_soon(transport.receive, request.replace(b"\x7f", b""))
    clock.advance(2)
    transport.receive(b"nonsense\r\n\r\n")
    clock.pump()
    log.close()
    first, second = stream.getvalue().splitlines()
    assert json.loads(first) == {
        "time": "1994-11-06T08:49:37.250Z",
        "client": "192.0.2.1",
        "user": "ann",
        "method": "GET",
        "target": "/a%22?b",
        "version": "1.1",
        "host": "h",
        "user_agent": 'x\\xff"é',
        "request_id": "made",
        "duration": 1.5,
        "status": 200,
        "octets": 5,
    }
    assert json.loads(second)["status"] == 400


def test_the_user_stands_in_the_third_field(clock: Clock) -> None:
    stream = io.BytesIO()
    log = AccessLog(stream, "common", wall_clock=lambda: 784111777.0)

    def known(request: Request) -> Response:
        request.state["user"] = "ann of\r\nX"
        return text("Hello")

    Peer(clock, known, access_log=log).ask()
    log.close()
    assert stream.getvalue().startswith(rb"192.0.2.1 - ann\x20of\x0d\x0aX [")


def test_several_logs_are_told_and_one_that_fails_hurts_nobody(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def request(self, *what: object) -> None:
            raise RuntimeError("full")

        refused = request

    registry = Registry()
    metrics = RequestMetrics("shop", registry)
    logs = SeveralLogs([Broken(), metrics])
    peer = Peer(clock, metrics(hello), access_log=logs)
    assert peer.ask().body == b"Hello"
    peer.ask(method="POST", body=b"x")
    peer.ask(method="BREW")
    transport = RecordingTransport(peer.server.build_protocol(None))
    clock.call_soon(transport.receive, b"nonsense\r\n\r\n")
    clock.pump()
    logs.close()
    read = {
        (each["name"], *sample["labels"].values()): sample
        for each in registry.read()
        for sample in each["samples"]
    }
    assert read["sennit_web_requests", "shop", "GET", "2xx"]["value"] == 1
    assert read["sennit_web_requests", "shop", "other", "2xx"]["value"] == 1
    assert read["sennit_web_refused", "shop", "400"]["value"] == 1
    assert read["sennit_web_sent_octets", "shop"]["value"] == 15
    assert read["sennit_web_request_seconds", "shop"]["count"] == 3
    assert read["sennit_web_handlers", "shop"]["value"] == 0
    assert "full" in caplog.text


@pytest.mark.parametrize("way", ["coroutine", "deferred"])
def test_handlers_at_work_are_counted_until_they_are_done(clock: Clock, way: str) -> None:
    registry = Registry()
    metrics = RequestMetrics(registry=registry)
    waiting: Deferred[Response] = Deferred()

    async def coroutine(request: Request) -> Response:
        return await waiting

    def deferred(request: Request) -> Deferred[Response]:
        return waiting

    handler: Any = coroutine if way == "coroutine" else deferred
    server = http_server(metrics(handler), clock=clock)
    transport = RecordingTransport(server.build_protocol(None))
    clock.call_soon(transport.receive, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    clock.pump()
    assert metrics.series.working.value == 1
    clock.call_soon(waiting.callback, text("done"))
    clock.pump()
    assert transport.take().endswith(b"done")
    assert metrics.series.working.value == 0


def test_browsers_are_told_to_stay_with_tls_over_tls_alone(clock: Clock) -> None:
    wrapper = https_only(hsts=31_536_000, subdomains=True)

    def behind_a_proxy(request: Request) -> Answer:
        request.came_from(None, request.header("x-scheme") or "")
        return wrapper(hello)(request)

    peer = Peer(clock, behind_a_proxy)
    told = peer.ask(X_Scheme="https")
    assert told.get("strict-transport-security") == "max-age=31536000; includeSubDomains"
    moved = peer.ask(X_Scheme="http")
    assert (moved.status, moved.get("strict-transport-security")) == (308, None)
    assert peer.ask(Host="").status == 400


def test_a_resource_may_be_a_hosts_site(clock: Clock) -> None:
    class Shown(Resource):
        leaf = True

        def render_get(self, request: Request) -> Response:
            return text("resource")

    assert Peer(clock, hosts({"a": Shown()})).ask(Host="a").body == b"resource"


def test_an_answer_that_has_begun_gets_no_page(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def begun(request: Request) -> None:
        writer = request.start(200)
        writer.send(b"half")
        raise RuntimeError("broken")

    server = http_server(error_pages({500: "page"})(begun), clock=clock)
    transport = RecordingTransport(server.build_protocol(None))
    clock.call_soon(transport.receive, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    clock.pump()
    assert b"page" not in transport.take()
    assert transport.is_closing()
    assert "broken" in caplog.text


# ── responses that are given many times ───────────────────────────────────────


@pytest.mark.parametrize("way", ["at once", "deferred", "coroutine"])
def test_one_response_for_many_requests_stays_what_it_was(clock: Clock, way: str) -> None:
    """What wrappers add for one client is not there for the next."""
    shared = text("Hello")
    before = list(shared.headers)

    async def later() -> Response:
        return shared

    def handler(request: Request) -> Answer:
        if way == "deferred":
            return succeed(shared)
        return later() if way == "coroutine" else shared

    peer = Peer(clock, wrap(handler, [cors(["https://a.example"]), request_ids(), marking]))
    for _ in range(2):
        answer = peer.ask("/", Origin="https://a.example")
        assert (answer.all("x-seen"), answer.all("vary")) == (["200"], ["origin"])
    assert shared.headers == before


def test_one_page_for_many_errors_stays_what_it_was(clock: Clock) -> None:
    page = html("gone")
    before = list(page.headers)

    def handler(request: Request) -> Response:
        raise HTTPError(405, {"allow": "GET"})

    peer = Peer(clock, wrap(handler, [error_pages({405: lambda request, status: page})]))
    for _ in range(2):
        assert peer.ask().all("allow") == ["GET"]
    assert (page.status, page.headers) == (200, before)


# ── rewriting: targets ────────────────────────────────────────────────────────


def test_a_parameter_in_a_query_is_one_value_of_it(clock: Clock) -> None:
    rules = [Redirect("/user/{name}", "/users?name={name}&all=1")]
    answer = Peer(clock, wrap(at_once, [rewrite(rules)])).ask("/user/a&admin=1%23+x")
    assert answer.get("location") == "/users?name=a%26admin%3D1%23%2Bx&all=1"


def test_a_rewritten_path_has_no_query_of_its_own() -> None:
    with pytest.raises(WebUsageError, match="neither query nor fragment"):
        Rewrite("/user/{name}", "/users?name={name}")
    with pytest.raises(WebUsageError, match="ASCII"):
        Redirect("/a", "https://bücher.example/")


def test_targets_may_be_written_as_they_are_read(clock: Clock) -> None:
    rules: list[Rewrite] = [Rewrite("/a", "/größe"), Redirect("/größe", "/größe")]
    answer = Peer(clock, wrap(at_once, [rewrite(rules)])).ask("/a")
    assert answer.body.decode() == "/größe"


# ── names of requests, in content ─────────────────────────────────────────────


@pytest.mark.parametrize("later", [False, True])
def test_content_that_streams_knows_its_request(clock: Clock, later: bool) -> None:
    closed: list[str] = []

    async def pieces() -> AsyncIterator[bytes]:
        try:
            for _ in range(2):
                yield current_request_id().encode()
        finally:
            closed.append(current_request_id())

    def at_once(request: Request) -> Response:
        return Response(pieces())

    async def by_and_by(request: Request) -> Response:
        return Response(pieces())

    handler: Any = by_and_by if later else at_once
    answer = Peer(clock, wrap(handler, [request_ids(make=lambda: "name")])).ask()
    assert answer.body == b"4\r\nname\r\n4\r\nname\r\n0\r\n\r\n"
    assert closed == ["name"]
    assert current_request_id() == ""


async def letters() -> AsyncIterator[Any]:
    yield "a"


@pytest.mark.parametrize("body", ["a", letters()])
def test_text_that_nobody_encoded_is_told_once(
    clock: Clock, caplog: pytest.LogCaptureFixture, body: Any
) -> None:
    server = http_server(lambda request: Response(body), clock=clock)
    transport = RecordingTransport(server.build_protocol(None))
    clock.call_soon(transport.receive, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    clock.pump()
    (record,) = caplog.records
    assert "octets" in record.getMessage()
