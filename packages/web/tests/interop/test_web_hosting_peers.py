"""Applications of FastAPI, Starlette, Django and Flask on our server; our checker on three servers.

What other servers do otherwise than the specification says is listed with its reason: the
checker is proved by finding it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trustme

from packages.web.tests.interop import asgi_checker
from sennit.core import serve
from sennit.core.testing.loopback import free_port
from sennit.web import Site
from sennit.web.hosting.asgi import ASGI
from sennit.web.hosting.wsgi import WSGI

pytestmark = pytest.mark.interop
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")

HERE = Path(__file__).parent
SENNIT = [sys.executable, "-m", "sennit.core.service.cli"]


# ── the checker ───────────────────────────────────────────────────────────────

STARTS_EARLY = "sends the head at once, and not when the first content is there"
RAISES = "raises on messages after the answer, which the specification has ignored"
SILENT = "drops what is sent to a client that has gone, where version 2.4 has an OSError"

OTHERS: dict[str, dict[str, str]] = {
    "sennit": {},
    "uvicorn": {
        "after_the_answer_comes_a_disconnect_and_messages_are_ignored": RAISES,
        "sending_after_the_client_left_raises_an_oserror": SILENT,
        "raising_before_the_content_is_500": STARTS_EARLY,
        "starting_twice_is_500": STARTS_EARLY,
    },
    "hypercorn": {
        "a_scope_has_what_the_specification_lists": "speaks version 2.1",
        "after_the_answer_comes_a_disconnect_and_messages_are_ignored": RAISES,
        "sending_after_the_client_left_raises_an_oserror": SILENT,
        "raising_before_the_content_is_500": STARTS_EARLY,
        "starting_twice_is_500": STARTS_EARLY,
        "a_client_is_told_to_go_on_when_content_is_received": "says so as soon as it is asked",
        "a_websocket_echoes_and_closes": "tells 1006 of a close with a code, and no reason",
    },
}


@contextmanager
def running(command: list[str], port: int) -> Generator[subprocess.Popen[bytes]]:
    """A server in a process of its own, from when it accepts until the end of the block."""
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=HERE) as process,
    ):
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        process.kill()
                        log.seek(0)
                        pytest.fail(log.read().decode())
                    time.sleep(0.02)
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(timeout=15)
                except subprocess.TimeoutExpired:
                    process.kill()


@pytest.mark.parametrize("server", OTHERS)
def test_the_checker_finds_what_is_known_and_nothing_else(server: str) -> None:
    port = free_port()
    here = f"127.0.0.1:{port}"
    command = {
        "sennit": [*SENNIT, "web", "--asgi", "asgi_checker:app", "--listen", f"tcp://{here}"],
        "uvicorn": [
            sys.executable, "-m", "uvicorn", "asgi_checker:app", "--port", str(port),
            "--log-level", "critical",
        ],
        "hypercorn": [sys.executable, "-m", "hypercorn", "asgi_checker:app", "--bind", here],
    }[server]  # fmt: skip
    with running(command, port):
        wrong = asgi_checker.check(port)
    if server == "sennit":
        assert wrong == {}
    else:
        # Other versions of them may have learnt something.
        assert set(wrong) <= set(OTHERS[server]), wrong
        assert wrong


# ── frameworks ────────────────────────────────────────────────────────────────


@pytest.fixture
async def url() -> AsyncIterator[str]:
    from packages.web.tests.interop import hosted_apps as apps

    site = Site()
    apps.told.clear()
    fastapi = ASGI(apps.fastapi_app)
    flask, django = WSGI(apps.flask_app), WSGI(apps.django_wsgi)
    site.put_child("fastapi", fastapi)
    site.put_child("starlette", ASGI(apps.starlette_app))
    site.put_child("django", ASGI(apps.django_asgi))
    site.put_child("django-wsgi", django)
    site.put_child("flask", flask)
    async with fastapi, serve("tcp://127.0.0.1:0", site) as server:
        yield f"http://127.0.0.1:{server.port}"
    flask.close()
    django.close()


LINES = "".join(f"line {number}\n" for number in range(1000))


async def test_fastapi_runs_unmodified(url: str) -> None:
    from packages.web.tests.interop import hosted_apps as apps

    async with httpx.AsyncClient(base_url=f"{url}/fastapi", timeout=20) as client:
        assert (await client.get("/items/5?q=ä")).json() == {"number": 5, "q": "ä"}
        assert (await client.get("/items/x")).status_code == 422
        assert (await client.get("/items/404")).json() == {"detail": "no such thing"}
        made = await client.post("/items", json={"name": "tea"})
        assert made.json() == {"name": "tea", "price": 1.5}
        assert (await client.get("/blocking")).json() == "Hello from a thread"
        assert (await client.get("/background")).json() == "soon"
        schema = (await client.get("/openapi.json")).json()
        assert "/items/{number}" in schema["paths"]
        page = (await client.get("/docs")).text
        assert "/fastapi/openapi.json" in page
        many = await asyncio.gather(*(client.get(f"/items/{n}") for n in range(50)))
        assert [each.json()["number"] for each in many] == [*range(50)]
    while "background" not in apps.told:
        await asyncio.sleep(0.001)
    assert apps.told[0] == "startup"


async def test_fastapi_speaks_websocket(url: str) -> None:
    from websockets.asyncio.client import connect

    async with connect(f"ws{url[4:]}/fastapi/ws/alice", proxy=None) as ws:
        await ws.send("hi")
        assert await ws.recv() == "alice: hi"


async def test_starlette_runs_unmodified(url: str) -> None:
    from websockets.asyncio.client import connect
    from websockets.typing import Subprotocol

    async with httpx.AsyncClient(base_url=f"{url}/starlette", timeout=20) as client:
        for prefix in ("", "/inner"):
            answer = await client.get(f"{prefix}/stream")
            assert answer.text == LINES
            assert answer.headers["x-middleware"] == "yes"
            assert answer.headers["content-encoding"] == "gzip"
            answer = await client.post(f"{prefix}/upload", content=b"x" * 3_000_000)
            assert answer.json() == {"size": 3_000_000, "root": f"/starlette{prefix}"}
            here = Path(__file__).with_name("hosted_apps.py").read_text()
            assert (await client.get(f"{prefix}/file")).text == here
            assert (await client.head(f"{prefix}/file")).content == b""
            assert (await client.get(f"{prefix}/fail")).status_code == 500
            ranged = await client.get(f"{prefix}/file", headers={"range": "bytes=0-9"})
            assert (ranged.status_code, len(ranged.content)) == (206, 10)
    place = f"ws{url[4:]}/starlette/inner/echo"
    async with connect(place, subprotocols=[Subprotocol("echo")], proxy=None) as ws:
        await ws.send(b"\0")
        assert await ws.recv() == b"\0"
        await ws.wait_closed()
        assert (ws.close_code, ws.close_reason) == (3000, "enough")


# A file is a plain iterator, of which Django warns under ASGI.
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators")
@pytest.mark.parametrize("kind", ["django", "django-wsgi", "flask"])
async def test_frameworks_of_forms_run_unmodified(
    url: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with httpx.AsyncClient(base_url=f"{url}/{kind}", timeout=20) as client:
        for size in (10, 3_000_000):
            answer = await client.post(
                "/form", data={"name": "tea"}, files={"file": ("a.txt", b"x" * size)}
            )
            assert answer.text == f"tea {size}"
            assert answer.cookies["seen"] == "yes"
        assert (await client.get("/stream")).text == LINES
        here = Path(__file__).with_name("hosted_apps.py").read_bytes()
        assert (await client.get("/file")).content == here
        assert (await client.get("/nowhere")).status_code == 404
        failed = await client.get("/fail")
        assert failed.status_code == 500
        assert "secret" not in failed.text
        if kind == "flask":
            assert (await client.get("/url")).text == f"{url}/flask/url?q=%C3%A4"
        else:
            told = (await client.get("/later?q=1")).text
            assert told == f"GET /{kind}/later?q=1 False"
        many = await asyncio.gather(*(client.get("/file") for _ in range(30)))
        assert all(each.content == here for each in many)


# ── the command ───────────────────────────────────────────────────────────────


def curl(*arguments: str) -> str:
    ran = subprocess.run(
        ["curl", "-sS", "--max-time", "25", *arguments], capture_output=True, check=True, timeout=30
    )
    return ran.stdout.decode()


@needs_curl
def test_the_command_serves_with_workers_tls_http2_and_a_unix_socket(tmp_path: Path) -> None:
    authority = trustme.CA()
    pair = authority.issue_cert("localhost", "127.0.0.1")
    pair.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    pair.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    plain, secure, unix = free_port(), free_port(), tmp_path / "web.sock"
    command = [
        *SENNIT, "web", "--asgi", "asgi_checker:app", "--workers", "2",
        "--listen", f"unix:{unix}", "--listen", f"tcp://127.0.0.1:{plain}",
        # Bound in this order: when the last one is there, all are.
        "--listen", f"tls://127.0.0.1:{secure}",
        "--certificate", str(tmp_path / "cert.pem"), "--key", str(tmp_path / "key.pem"),
    ]  # fmt: skip
    with running(command, secure) as process:
        assert '"scheme": "http"' in curl(f"http://127.0.0.1:{plain}/scope")
        assert '"client": null' in curl("--unix-socket", str(unix), "http://localhost/scope")
        trust = ["--cacert", str(tmp_path / "ca.pem")]
        told = curl(*trust, "--http1.1", f"https://127.0.0.1:{secure}/scope")
        assert '"http_version": "1.1"' in told
        assert '"scheme": "https"' in told
        told = curl(*trust, "--http2", "-w", "%{http_version}", f"https://127.0.0.1:{secure}/scope")
        assert '"http_version": "2"' in told
        assert told.endswith("2")
        assert f'["host", "127.0.0.1:{secure}"]' in told
        body = tmp_path / "body"
        body.write_bytes(b"y" * 500_000)
        upload = ["--data-binary", f"@{body}"]
        for version in ("--http1.1", "--http2"):
            found = curl(*trust, version, *upload, f"https://127.0.0.1:{secure}/echo")
            assert found == "y" * 500_000
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


@needs_wrk
@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_sigterm_under_load_loses_no_answer(tmp_path: Path, kind: str) -> None:
    """HARDENING fault-4: no socket error under wrk but for refused connections, exit 0."""
    (tmp_path / "zz_hello.py").write_text(
        "async def asgi(scope, receive, send):\n"
        "    if scope['type'] == 'lifespan':\n"
        "        raise ValueError\n"
        "    await send({'type': 'http.response.start', 'status': 200})\n"
        "    await send({'type': 'http.response.body', 'body': b'hello'})\n"
        "def wsgi(environ, start):\n"
        "    start('200 OK', [])\n"
        "    return [b'hello']\n"
    )
    port = free_port()
    command = [
        *SENNIT, "web", f"--{kind}", f"zz_hello:{kind}", "--app-dir", str(tmp_path),
        "--listen", f"tcp://127.0.0.1:{port}", "--drain", "5",
    ]  # fmt: skip
    with (
        running(command, port) as process,
        subprocess.Popen(
            ["wrk", "-c", "8", "-t", "1", "-d", "2", f"http://127.0.0.1:{port}/"],
            stdout=subprocess.PIPE,
        ) as load,
    ):
        time.sleep(0.7)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
        told = load.communicate(timeout=20)[0].decode()
    assert "Non-2xx" not in told
    # Connections after the end are refused; none that stood was cut or timed out.
    if "Socket errors" in told:
        errors = told.partition("Socket errors:")[2].split("\n")[0]
        assert "read 0" in errors, told
        assert "timeout 0" in errors, told


def test_a_second_signal_ends_a_request_that_hangs(tmp_path: Path) -> None:
    """HARDENING fault-5."""
    port = free_port()
    command = [
        *SENNIT, "web", "--asgi", "asgi_checker:app", "--listen", f"tcp://127.0.0.1:{port}",
    ]  # fmt: skip
    with (
        running(command, port) as process,
        socket.create_connection(("127.0.0.1", port)) as sock,
    ):
        sock.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\nX-Case: hang\r\n\r\n")
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=10)
    assert process.returncode not in (None, 0) or os.name == "nt"
