"""The web service with applications: what it loads, when, what it says when it cannot."""

from __future__ import annotations

import asyncio
import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from sennit.core import ClientTLS, connect
from sennit.core.auth.passwords import HashingThreads, InlineHashing, PasswordHasher
from sennit.core.errors import ConfigError
from sennit.core.protocol import Protocol
from sennit.core.reactor.base import Reactor
from sennit.core.service.loading import NodeConfig, load
from sennit.core.service.node import Node
from sennit.core.service.tree import StartError
from sennit.web.hosting.contents import KINDS
from sennit.web.hosting.reloading import ENVIRONMENT, Reloader, own_files, report_files
from sennit.web.service import WebService

APP = """
    seen = []

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            seen.append("startup")
            scope["state"]["greeting"] = "Hello"
            await send({"type": "lifespan.startup.complete"})
            await receive()
            seen.append("shutdown")
            await send({"type": "lifespan.shutdown.complete"})
            return
        text = f"{scope['state']['greeting']} {scope['root_path']}{scope['path']}"
        if scope["path"].endswith("slow"):
            seen.append("slow")
            while (await receive())["type"] != "http.disconnect":
                pass
            seen.append("left")
            return
        plain = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": plain})
        await send({"type": "http.response.body", "body": text.encode() * 200})

    def make():
        return app

    async def lazy(scope, receive, send):
        if scope["type"] == "lifespan":
            raise ValueError("no")

    async def refuses(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    async def breaks(scope, receive, send):
        await receive()
        raise KeyError("settings")

    def wsgi(environ, start_response):
        start_response("200 OK", [])
        return [f"wsgi {environ['wsgi.multiprocess']}".encode()]

    number = 5
"""

NATIVE = """
    from sennit.web import Resource, Response, Site, text

    site = Site()

    @site.route("/")
    def root(request):
        return text("native " + request.state.get("user", ""))

    @site.route("/none")
    def none(request):
        raise RuntimeError("secret")

    class Leaf(Resource):
        leaf = True

        def render_get(self, request):
            return text("leaf")

    leaf = Leaf()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "zz_app.py").write_text(textwrap.dedent(APP))
    (tmp_path / "zz_native.py").write_text(textwrap.dedent(NATIVE))
    before, modules = [*sys.path], {*sys.modules}
    yield tmp_path
    sys.path[:] = before
    for name in {*sys.modules} - modules:
        if name.startswith("zz_"):
            del sys.modules[name]


def write(folder: Path, *lines: str, more: str = "") -> Path:
    file = folder / "sennit.toml"
    text = '[service.site]\ntype = "web"\nlisten = "tcp://127.0.0.1:0"\n'
    file.write_text(text + "\n".join(lines) + "\n" + more)
    return file


def service(folder: Path, *lines: str, more: str = "") -> WebService:
    _, built = load(write(folder, *lines, more=more)).build()
    found = built["site"]
    assert isinstance(found, WebService)
    return found


async def get(site: Any, target: str = "/", *headers: str) -> tuple[bytes, bytes]:
    """Head and content of an answer."""
    port = int(site.urls[0].rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [f"GET {target} HTTP/1.1", *headers, "Connection: close", "", ""]
    if not any(each.startswith("Host") for each in headers):
        lines.insert(1, "Host: example.org")
    writer.write("\r\n".join(lines).encode())
    head, _, content = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head, content


@pytest.mark.parametrize("root", [True, False])
@pytest.mark.parametrize("name", ["zz_app:app", "zz_app:make()"])
async def test_an_asgi_application_is_served_from_start_to_shutdown(
    folder: Path, reactor: Reactor, root: bool, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sennit.web.service.is_root", lambda: root)
    site = service(folder, f'asgi = "{name}"', 'root_path = "/outer"')
    assert "zz_app" not in sys.modules
    await site.start(reactor)
    seen = sys.modules["zz_app"].seen
    assert seen == ["startup"]
    assert (await get(site, "/x"))[1] == b"Hello /outer/outer/x" * 200
    await site.stop()
    assert seen == ["startup", "shutdown"]


async def test_connections_end_before_the_application_does(folder: Path, reactor: Reactor) -> None:
    site = service(folder, 'asgi = "zz_app:app"')
    await site.start(reactor)
    seen = sys.modules["zz_app"].seen
    asked = asyncio.ensure_future(get(site, "/slow"))
    while "slow" not in seen:
        await asyncio.sleep(0.001)
    await site.stop(0.05)
    assert seen == ["startup", "slow", "left", "shutdown"]
    asked.cancel()


async def test_a_wsgi_application_is_served(folder: Path, reactor: Reactor) -> None:
    site = service(folder, 'wsgi = "zz_app:wsgi"', "threads = 2", "queue = 3")
    await site.start(reactor)
    assert (await get(site))[1] == b"wsgi False"
    await site.stop()


@pytest.mark.parametrize(
    ("name", "told"), [("site", b"native "), ("leaf", b"leaf"), ("root", b"native ")]
)
async def test_what_was_made_with_sennit_is_served(
    folder: Path, reactor: Reactor, name: str, told: bytes
) -> None:
    site = service(folder, f'app = "zz_native:{name}"')
    await site.start(reactor)
    assert (await get(site))[1] == told
    await site.stop()


@pytest.mark.parametrize("root", [True, False])
@pytest.mark.parametrize(
    ("line", "key", "told"),
    [
        ('asgi = "zz_nothing:app"', "asgi", "there is no module 'zz_nothing'"),
        ('asgi = "zz_app:ap"', "asgi", "did you mean 'app'?"),
        ('asgi = "zz_app:wsgi"', "asgi", "that is WSGI"),
        ('wsgi = "zz_app:app"', "wsgi", "that is ASGI"),
        ('app = "zz_app:number"', "app", "it is of type int"),
        ('asgi = "zz_app:refuses"', "asgi", "which did not start: no database"),
        ('asgi = "zz_app:breaks"', "asgi", "its startup failed: KeyError"),
        ('asgi = "zz_app:lazy"\nlifespan = "on"', "asgi", "it has no lifespan"),
    ],
)
async def test_an_application_that_cannot_be_served_is_told_with_its_place(
    folder: Path,
    reactor: Reactor,
    root: bool,
    line: str,
    key: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sennit.web.service.is_root", lambda: root)
    file = write(folder, line)
    node = Node(load(file), reactor)
    with pytest.raises(ConfigError) as caught:
        await node.start()
    assert told in str(caught.value)
    assert caught.value.file == str(file)
    assert (caught.value.table, caught.value.key, caught.value.line) == ("service.site", key, 4)


async def test_one_that_knows_no_lifespan_is_served(folder: Path, reactor: Reactor) -> None:
    for how in ("auto", "off"):
        site = service(folder, 'asgi = "zz_app:lazy"', f'lifespan = "{how}"')
        await site.start(reactor)
        await site.stop()


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "found none of root, asgi, wsgi, app, proxy; exactly one of them says what is"),
        (['asgi = "a:b"', 'wsgi = "a:b"'], "found asgi and wsgi; exactly one"),
        (['asgi = "a:b"', 'root_path = "x"'], "root_path: found 'x'"),
        (['asgi = "a:b"', "reload = true"], "reload: found true; that is for development"),
        (['asgi = "a:b"', 'hosts = ["a b"]'], "hosts: no name of a host: 'a b'"),
        (['asgi = "a:b"', 'canonical_host = "a/b"'], "canonical_host: no host: 'a/b'"),
        (['asgi = "a:b"', 'redirects = {"/a" = "b"}'], "redirects: 'b' is neither a path"),
        (['asgi = "a:b"', 'error_pages = {x = "zz_app.py"}'], "error_pages: found 'x'; a status"),
        (['asgi = "a:b"', 'error_pages = {404 = "none.html"}'], "error_pages"),
        (['asgi = "a:b"', 'trusted_proxies = ["x"]'], "trusted_proxies"),
        (['asgi = "a:b"', 'users = "nobody"'], "users"),
        (['asgi = "a:b"', "threads = 0"], "threads"),
        (['asgi = "a:b"', 'app_dir = "none"'], "app_dir"),
    ],
)
def test_a_broken_table_is_told(folder: Path, lines: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        service(folder, *lines)
    assert told in str(caught.value)
    assert "service.site" in str(caught.value)
    assert "sennit.toml:" in str(caught.value)


def test_every_kind_of_content_is_a_key() -> None:
    from sennit.web.config import CONTENTS

    assert tuple(KINDS) == CONTENTS


async def test_http2_that_is_not_installed_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sennit.web.server._can_http2", lambda: False)
    with pytest.raises(ConfigError) as caught:
        service(folder, 'asgi = "a:b"', "http2 = true")
    assert caught.value.key == "http2"
    assert "sennit-web[http2]" in str(caught.value)


# ── what stands around it ─────────────────────────────────────────────────────


async def test_what_is_configured_stands_around_the_application(
    folder: Path, reactor: Reactor
) -> None:
    (folder / "sorry.html").write_text("<p>Sorry, {status}: {request_id}")
    site = service(
        folder,
        'app = "zz_native:site"',
        "request_ids = true",
        'hosts = ["example.org", "*.example.net"]',
        'error_pages = { default = "sorry.html" }',
        'redirects = { "/old/{rest:path}" = "/new/{rest}" }',
        "compress = true",
    )
    await site.start(reactor)
    head, content = await get(site)
    assert content == b"native "
    assert b"x-request-id: " in head
    assert (await get(site, "/", "Host: a.example.net"))[0].startswith(b"HTTP/1.1 200")
    assert (await get(site, "/", "Host: other.example"))[0].startswith(b"HTTP/1.1 421")
    assert b"location: /new/a/b" in (await get(site, "/old/a/b"))[0]
    for target, status in (("/nowhere", b"404"), ("/none", b"500")):
        head, content = await get(site, target)
        assert head.startswith(b"HTTP/1.1 " + status)
        assert content.startswith(b"<p>Sorry, " + status)
        assert b"secret" not in content
    await site.stop()


async def test_answers_of_applications_are_compressed_too(folder: Path, reactor: Reactor) -> None:
    site = service(folder, 'asgi = "zz_app:app"', "compress = true")
    await site.start(reactor)
    head, content = await get(site, "/", "Accept-Encoding: gzip")
    assert b"content-encoding: gzip" in head
    assert len(content) < 200
    await site.stop()


async def test_a_proxy_that_is_trusted_says_who_asks(folder: Path, reactor: Reactor) -> None:
    (folder / "zz_who.py").write_text(
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'lifespan': raise ValueError\n"
        "    body = f\"{scope['client'][0]} {scope['scheme']}\".encode()\n"
        "    await send({'type': 'http.response.start', 'status': 200})\n"
        "    await send({'type': 'http.response.body', 'body': body})\n"
    )
    told = ("X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https")
    for lines, expected in (
        (['trusted_proxies = ["loopback"]'], b"192.0.2.7 https"),
        ([], b"127.0.0.1 http"),
    ):
        site = service(folder, 'asgi = "zz_who:app"', *lines)
        await site.start(reactor)
        assert (await get(site, "/", *told))[1] == expected
        await site.stop()


async def test_who_has_to_log_in_is_asked(
    folder: Path, reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its threads outlive a service.
    monkeypatch.setattr(HashingThreads, "run", InlineHashing.run)
    entry = PasswordHasher().make_entry("wonder")
    (folder / "users").write_text(f"alice:{entry}\n")
    (folder / "users").chmod(0o600)
    lines = ['app = "zz_native:site"', 'users = "people"', 'realm = "the shop"']
    people = '[users.people]\ntype = "file"\nfile = "users"\n'
    site = service(folder, *lines, more=people)
    await site.start(reactor)
    # Without TLS nobody is asked for a password, unless that is wanted.
    assert (await get(site))[0].startswith(b"HTTP/1.1 403")
    await site.stop()
    site = service(folder, *lines, "login_in_clear = true", more=people)
    await site.start(reactor)
    head, _ = await get(site)
    assert head.startswith(b"HTTP/1.1 401")
    assert b'realm="the shop"' in head
    _, content = await get(site, "/", "Authorization: Basic YWxpY2U6d29uZGVy")
    assert content == b"native alice"
    await site.stop()


async def test_https_only_and_one_host(folder: Path, reactor: Reactor) -> None:
    site = service(folder, 'app = "zz_native:site"', "https_only = true")
    await site.start(reactor)
    assert b"location: https://example.org/x" in (await get(site, "/x"))[0]
    await site.stop()
    site = service(folder, 'app = "zz_native:site"', 'canonical_host = "www.example.org"')
    await site.start(reactor)
    assert b"location: http://www.example.org/x" in (await get(site, "/x"))[0]
    await site.stop()


# ── reload (HARDENING fault-18) ───────────────────────────────────────────────


async def test_a_reload_starts_the_new_application_before_the_old_one_ends(
    folder: Path, reactor: Reactor
) -> None:
    file = write(folder, 'asgi = "zz_app:app"')

    def read() -> NodeConfig:
        return load(file)

    node = Node(read(), reactor, read=read, drain=5.0)
    await node.start()
    seen = sys.modules["zz_app"].seen
    write(folder, 'asgi = "zz_app:refuses"')
    with pytest.raises(ConfigError, match="no database"):
        await node.reload()
    assert seen == ["startup"]
    assert (await get(node.services["site"], "/x"))[1].startswith(b"Hello /x")

    write(folder, 'asgi = "zz_app:make()"')
    report = await node.reload()
    assert report.changed == ["site"]
    assert (await get(node.services["site"], "/y"))[1].startswith(b"Hello /y")
    while len(seen) < 3:
        await asyncio.sleep(0.001)
    assert seen == ["startup", "startup", "shutdown"]
    await node.stop()
    assert seen == ["startup", "startup", "shutdown", "shutdown"]


# ── ALPN per service ──────────────────────────────────────────────────────────


async def test_each_service_agrees_on_its_own_protocols_with_one_certificate(
    folder: Path, reactor: Reactor
) -> None:
    """HARDENING app-4: also after the certificate was reloaded."""
    authority = trustme.CA()
    file = folder / "cert.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(file))
    listen = '[{url = "tls://127.0.0.1:0", tls = "main"}]'
    text = (
        f'[tls.main]\ncertificate = "cert.pem"\n'
        f'[service.new]\ntype = "web"\nroot = "."\nlisten = {listen}\n'
        f'[service.old]\ntype = "web"\nroot = "."\nhttp2 = false\nlisten = {listen}\n'
        f'[service.echo]\ntype = "echo"\nlisten = {listen}\n'
    )
    (folder / "sennit.toml").write_text(text)
    node = Node(load(folder / "sennit.toml"), reactor)
    await node.start()
    trust = authority.cert_pem.bytes()

    async def agreed(name: str, *alpn: str) -> str | None:
        tls = ClientTLS(trust=trust, alpn=alpn)
        port = int(node.entries[name].urls[0].rpartition(":")[2])
        protocol = await connect(f"tls://localhost:{port}", Protocol, tls=tls)
        transport: Any = protocol.transport
        found: str | None = transport.alpn_protocol
        transport.abort()
        return found

    for _ in range(2):
        assert await agreed("new", "h2", "http/1.1") == "h2"
        assert await agreed("new", "http/1.1") == "http/1.1"
        assert await agreed("old", "h2", "http/1.1") == "http/1.1"
        assert await agreed("echo", "h2", "http/1.1") is None
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(file))
        node.config.server_tls("main").reload()
    await node.reload()
    assert await agreed("new", "h2", "http/1.1") == "h2"
    await node.stop()


# ── starting anew when files change ───────────────────────────────────────────

CHILD = """
import os, sys, time
from sennit.web.hosting.reloading import report_files

sys.path.append(os.getcwd())
try:
    import zz_child
except BaseException as error:
    report_files(error)
    raise SystemExit(7)
report_files()
print(zz_child.text, file=open("said", "a"), flush=True)
time.sleep(60)
"""


async def test_a_changed_file_starts_the_child_anew_and_a_broken_one_waits(
    tmp_path: Path, reactor: Reactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run.py").write_text(CHILD)
    (tmp_path / "inner").mkdir()
    inner = tmp_path / "inner" / "deep.py"
    inner.write_text("word = 'one'\n")
    (tmp_path / "zz_child.py").write_text(
        "import sys; sys.path.append('inner'); import deep; text = deep.word\n"
    )
    monkeypatch.chdir(tmp_path)
    told: list[str] = []
    reloader = Reloader([sys.executable, "run.py"], tmp_path, tell=told.append)
    reloader._list = str(tmp_path / "files.json")
    running = asyncio.ensure_future(reloader._main(reactor))

    async def until(what: Any) -> None:
        async with asyncio.timeout(20):
            while not what():
                await asyncio.sleep(0.01)

    def said() -> list[str]:
        file = tmp_path / "said"
        return file.read_text().split() if file.exists() else []

    try:
        await until(lambda: said() == ["one"] and str(inner) in reloader._files)
        # Known to the child alone; it lies in no folder that is watched.
        await until(lambda: reloader._observer is not None and reloader._observer.started.fired)
        inner.write_text("word = 'second'\n")
        await until(lambda: said() == ["one", "second"])
        (tmp_path / "zz_child.py").write_text("def (\n")
        await until(lambda: told and "waiting for a change" in told[-1])
        assert "status 7" in told[-1]
        (tmp_path / "zz_child.py").write_text("text = 'third'\n")
        await until(lambda: said() == ["one", "second", "third"])
    finally:
        reloader._stop()
        await running
    assert any("deep.py has changed" in each for each in told)


def test_a_child_tells_its_own_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report_files()  # nobody asked: nothing happens
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "list"))
    broken = tmp_path / "broken.py"
    broken.write_text("def (\n")
    with pytest.raises(SyntaxError) as caught:
        compile(broken.read_text(), str(broken), "exec")
    found = own_files(caught.value)
    report_files(caught.value)
    assert str(broken) in found
    assert os.path.realpath(__file__) in found
    assert not any("site-packages" in each for each in found)
    assert os.path.realpath(os.__file__) not in found
    assert str(broken) in (tmp_path / "list").read_text()


def test_a_start_error_has_its_key() -> None:
    assert StartError("site", "x", key="asgi").key == "asgi"
