"""curl and Redis against what applications use: cookies, forms, logins, codings, sessions."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from sennit.core import ServerTLS, serve
from sennit.core.auth.checkers import MemoryUsers
from sennit.core.auth.limits import LoginLimits
from sennit.core.auth.portal import Portal
from sennit.web import (
    MemorySessions,
    Request,
    Response,
    Site,
    compress,
    decode_requests,
    html,
    require_login,
    text,
    with_sessions,
)
from sennit.web import (
    json as json_response,
)
from sennit.web.sessions.interfaces import Record

if TYPE_CHECKING:
    from sennit.core import Reactor, Server

pytestmark = pytest.mark.interop
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="redis-server is not installed"
)

LONG = "<p>Hello, world.\n" * 2000


def curl(*arguments: str) -> str:
    ran = subprocess.run(
        ["curl", "-sS", "--max-time", "20", *arguments],
        capture_output=True,
        check=True,
        timeout=30,
    )
    return ran.stdout.decode()


def application() -> Site:
    site = Site(wrappers=[decode_requests(), compress(), with_sessions(MemorySessions())])
    portal = Portal(None, [MemoryUsers({"ann": "se:cret", "zoë": "größe"})])
    limits = LoginLimits(delay=0.0)

    @site.route("/form", methods=("POST",), limit=64 * 1024 * 1024)
    async def form(request: Request) -> Response:
        async with await request.form() as found:
            files = [
                {
                    "name": each.name,
                    "file": each.file_name,
                    "raw": each.raw_file_name,
                    "type": each.content_type,
                    "size": each.size,
                    "memory": each.in_memory,
                    "sha256": hashlib.sha256(await each.read()).hexdigest(),
                }
                for each in found.files
            ]
            return json_response({"fields": found.fields, "files": files})

    @site.route("/count")
    async def count(request: Request) -> Response:
        request.session["count"] = request.session.get("count", 0) + 1
        return text(str(request.session["count"]))

    @site.route("/cookie")
    def cookie(request: Request) -> Response:
        response = text(str(sorted(request.cookies.items())))
        response.set_cookie("plain", "a-b", secure=False)
        response.set_cookie("gone", "x", secure=False, path="/elsewhere")
        response.set_cookie("__Host-own", "y", max_age=60)
        return response

    @site.route("/long")
    def long(request: Request) -> Response:
        return html(LONG)

    @site.route("/stream")
    def stream(request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, len(LONG), 5000):
                yield LONG[at : at + 5000].encode()

        return Response(pieces(), headers={"content-type": "text/html"})

    @site.route("/read", methods=("POST",))
    async def read(request: Request) -> Response:
        return text(hashlib.sha256(await request.read()).hexdigest())

    def who(request: Request) -> Response:
        return text(f"hello {request.user}")

    basic = require_login(portal, realm="shop", limits=limits)
    site.route("/basic", wrappers=[basic])(who)
    digest = require_login(portal, "digest", realm="shop", limits=limits)
    site.route("/digest/{part}", wrappers=[digest])(who)
    return site


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serve("tcp://127.0.0.1:0", application()) as found:
        yield found


@pytest.fixture
async def safe(tmp_path: Path) -> AsyncIterator[tuple[Server, str]]:
    authority = trustme.CA()
    made = authority.issue_cert("localhost")
    made.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    (tmp_path / "cert.pem").write_bytes(b"".join(each.bytes() for each in made.cert_chain_pems))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = ServerTLS(str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))
    async with serve("tls://127.0.0.1:0", application(), tls=tls) as found:
        yield found, str(tmp_path / "ca.pem")


@needs_curl
async def test_a_form_of_curl_with_small_and_large_files(
    server: Server, reactor: Reactor, tmp_path: Path
) -> None:
    large = bytes(range(256)) * 40_000
    (tmp_path / "large.bin").write_bytes(large)
    (tmp_path / "small.txt").write_text("small")
    answer = await reactor.defer_to_thread(
        curl,
        *("-F", "title=Zoë & co", "-F", "title=second"),
        *("-F", f"one=@{tmp_path}/small.txt;type=text/plain;filename=../../etc/passwd"),
        *("-F", f'two=@{tmp_path}/large.bin;filename=a"b\\c.bin'),
        *("-F", f"raw=<{tmp_path}/small.txt"),
        f"http://127.0.0.1:{server.port}/form",
    )
    found = json.loads(answer)
    assert found["fields"] == [["title", "Zoë & co"], ["title", "second"], ["raw", "small"]]
    one, two = found["files"]
    assert (one["file"], one["raw"], one["type"]) == ("passwd", "../../etc/passwd", "text/plain")
    assert (one["size"], one["memory"]) == (5, True)
    assert two["raw"] in ("a%22b\\c.bin", 'a"b\\c.bin')  # curl since 7.81, and before
    assert two["file"] == "c.bin"
    assert (two["size"], two["memory"]) == (len(large), False)
    assert two["sha256"] == hashlib.sha256(large).hexdigest()


@needs_curl
async def test_an_urlencoded_form_of_curl(server: Server, reactor: Reactor) -> None:
    answer = await reactor.defer_to_thread(
        curl,
        *("--data-urlencode", "a=b c&d", "--data-urlencode", "e=ü"),
        f"http://127.0.0.1:{server.port}/form",
    )
    assert json.loads(answer)["fields"] == [["a", "b c&d"], ["e", "ü"]]


@needs_curl
async def test_curl_keeps_cookies_and_with_them_its_session(
    server: Server, reactor: Reactor, tmp_path: Path
) -> None:
    jar = str(tmp_path / "jar")
    url = f"http://127.0.0.1:{server.port}/count"
    counts = [await reactor.defer_to_thread(curl, "-b", jar, "-c", jar, url) for _ in range(3)]
    assert counts == ["1", "2", "3"]
    assert await reactor.defer_to_thread(curl, url) == "1"
    shown = "#HttpOnly_127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\t"
    assert shown in Path(jar).read_text()


@needs_curl
async def test_curl_obeys_the_flags_of_cookies(
    safe: tuple[Server, str], reactor: Reactor, tmp_path: Path
) -> None:
    server, authority = safe
    jar = str(tmp_path / "jar")
    arguments = ("--cacert", authority, "-b", jar, "-c", jar)
    url = f"https://localhost:{server.port}/cookie"
    connect = ("--connect-to", f"localhost:{server.port}:127.0.0.1:{server.port}")
    assert await reactor.defer_to_thread(curl, *arguments, *connect, url) == "[]"
    again = await reactor.defer_to_thread(curl, *arguments, *connect, url)
    assert again == "[('__Host-own', 'y'), ('plain', 'a-b')]"
    counted = url.replace("/cookie", "/count")
    for expected in ("1", "2"):
        assert await reactor.defer_to_thread(curl, *arguments, *connect, counted) == expected
    assert "__Host-session" in Path(jar).read_text()


@needs_curl
async def test_curl_logs_in_by_basic_over_tls_alone(
    safe: tuple[Server, str], server: Server, reactor: Reactor
) -> None:
    secure, authority = safe
    connect = ("--connect-to", f"localhost:{secure.port}:127.0.0.1:{secure.port}")
    trusted = ("--cacert", authority, *connect, "-w", " %{http_code}")
    url = f"https://localhost:{secure.port}/basic"
    for user, answer in {
        "ann:se:cret": "hello ann 200",
        "zoë:größe": "hello zoë 200",
        "ann:wrong": "401 Unauthorized\n 401",
        "nobody:x": "401 Unauthorized\n 401",
    }.items():
        got = await reactor.defer_to_thread(curl, *trusted, "--basic", "-u", user, url)
        assert got == answer
    clear = f"http://127.0.0.1:{server.port}/basic"
    code = ("-w", "%{http_code}", "-o", "/dev/null")
    got = await reactor.defer_to_thread(curl, *code, "--basic", "-u", "ann:se:cret", clear)
    assert got == "403"


@needs_curl
async def test_all_of_it_over_http2(
    server: Server, safe: tuple[Server, str], reactor: Reactor, tmp_path: Path
) -> None:
    base = f"http://127.0.0.1:{server.port}"
    jar = str(tmp_path / "jar")
    version = ("--http2-prior-knowledge", "-w", " %{http_version}")
    (tmp_path / "large.bin").write_bytes(bytes(12 * 1024 * 1024))
    answer = await reactor.defer_to_thread(
        curl, *version, "-F", f"one=@{tmp_path}/large.bin", "-F", "a=b", f"{base}/form"
    )
    found, _, spoken = answer.rpartition(" ")
    assert spoken == "2"
    assert json.loads(found)["fields"] == [["a", "b"]]
    assert json.loads(found)["files"][0]["size"] == 12 * 1024 * 1024
    cookies = ("-b", jar, "-c", jar, "-b", "other=1; third=2")
    for expected in ("1 2", "2 2"):
        got = await reactor.defer_to_thread(curl, *version, *cookies, f"{base}/count")
        assert got == expected
    for path in ("long", "stream"):
        got = await reactor.defer_to_thread(curl, *version, "--compressed", f"{base}/{path}")
        assert got == f"{LONG} 2"
    # By ALPN: curl 7.88 fails by itself when it uses a connection of prior knowledge again.
    secure, authority = safe
    connect = ("--connect-to", f"localhost:{secure.port}:127.0.0.1:{secure.port}")
    login = ("--http2", "--cacert", authority, *connect, "--digest", "-u", "ann:se:cret")
    url = f"https://localhost:{secure.port}/digest/x"
    got = await reactor.defer_to_thread(curl, *login, "-w", " %{http_version}", url)
    assert got == "hello ann 2"


@needs_curl
async def test_curl_logs_in_by_digest(server: Server, reactor: Reactor) -> None:
    base = f"http://127.0.0.1:{server.port}/digest"
    code = ("-w", " %{http_code}", "--digest")
    # The second request on the connection uses the nonce of the first, its count one up.
    got = await reactor.defer_to_thread(
        curl, *code, "-u", "ann:se:cret", f"{base}/a%20b?c=d", f"{base}/two"
    )
    assert got == "hello ann 200hello ann 200"
    got = await reactor.defer_to_thread(curl, *code, "-u", "ann:wrong", f"{base}/a")
    assert got == "401 Unauthorized\n 401"


@needs_curl
@pytest.mark.parametrize("path", ["long", "stream"])
@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
async def test_curl_decodes_what_we_compress(
    server: Server, reactor: Reactor, path: str, coding: str
) -> None:
    features = subprocess.run(["curl", "-V"], capture_output=True, check=True, timeout=10).stdout
    name = {"gzip": b"libz", "br": b"brotli", "zstd": b"zstd"}[coding]
    if name not in features:
        pytest.skip(f"this curl knows no {coding}")
    url = f"http://127.0.0.1:{server.port}/{path}"
    arguments = ("--compressed", "-H", f"Accept-Encoding: {coding}", url)
    assert await reactor.defer_to_thread(curl, *arguments) == LONG
    head = await reactor.defer_to_thread(curl, "-D", "-", "-o", "/dev/null", *arguments)
    assert f"content-encoding: {coding}" in head


@needs_curl
async def test_coded_content_of_curl_is_decoded(
    server: Server, reactor: Reactor, tmp_path: Path
) -> None:
    (tmp_path / "body.gz").write_bytes(gzip.compress(LONG.encode()))
    answer = await reactor.defer_to_thread(
        curl,
        *("--data-binary", f"@{tmp_path}/body.gz", "-H", "Content-Encoding: gzip"),
        f"http://127.0.0.1:{server.port}/read",
    )
    assert answer == hashlib.sha256(LONG.encode()).hexdigest()


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """A Redis of our own, on a socket in a folder of our own."""
    path = tmp_path / "redis.sock"
    process = subprocess.Popen(
        [
            *("redis-server", "--port", "0", "--unixsocket", str(path), "--save", ""),
            *("--appendonly", "no", "--dir", str(tmp_path), "--daemonize", "no"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(str(path))
                    break
                except OSError:
                    time.sleep(0.02)
        yield f"unix://{path}"
    finally:
        process.terminate()
        process.wait(10)


@needs_redis
async def test_redis_keeps_sessions_until_they_expire(redis_url: str, reactor: Reactor) -> None:
    from redis.asyncio import Redis

    from sennit.web.sessions.redis import RedisSessions

    now = 1_000_000.0
    record = Record({"cart": ["ä", 1, None]}, 1.0, 2.0)
    async with RedisSessions(redis_url, wall_clock=lambda: now) as store:
        token = await store.save(None, record, now + 100)
        assert token is not None
        assert await store.load(token) == record
        assert await store.load("nobody's") is None
        changed = Record({}, 1.0, 3.0)
        assert await store.save(token, changed, now + 100) == token
        assert await store.load(token) == changed
        assert await store.save("nobody's", record, now + 100) is None
        make: Any = Redis  # its types say little
        async with make.from_url(redis_url) as raw:
            (key,) = await raw.keys("*")
            assert token.encode() not in key
            assert 0 < await raw.pttl(key) <= 100_000
        await store.delete(token)
        assert await store.load(token) is None
        # A session that was ended does not come back.
        assert await store.save(token, changed, now + 100) is None
        brief = await store.save(None, record, now - 5)
        assert brief is not None
        async with make.from_url(redis_url) as raw:
            while await raw.keys("*"):
                pass
        assert await store.load(brief) is None


@needs_redis
@needs_curl
async def test_a_site_remembers_curl_in_redis(
    redis_url: str, reactor: Reactor, tmp_path: Path
) -> None:
    from sennit.web.sessions.redis import RedisSessions

    async def count(request: Request) -> Response:
        request.session["count"] = request.session.get("count", 0) + 1
        return text(str(request.session["count"]))

    jar = str(tmp_path / "jar")
    counts: list[str] = []
    async with RedisSessions(redis_url) as store:
        for _ in range(2):
            # Another server, such as another worker or machine, has the same sessions.
            site = Site(wrappers=[with_sessions(store)])
            site.route("/")(count)
            async with serve("tcp://127.0.0.1:0", site) as server:
                url = f"http://127.0.0.1:{server.port}/"
                arguments = ("-b", jar, "-c", jar, url)
                counts += [await reactor.defer_to_thread(curl, *arguments) for _ in range(2)]
    assert counts == ["1", "2", "3", "4"]
