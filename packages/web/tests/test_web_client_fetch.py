"""`sennit fetch` as people run it: its output, its files, its exit status."""

from __future__ import annotations

import asyncio
import errno
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from sennit.core import ServerTLS, serve
from sennit.core.service.commands import execute
from sennit.core.testing.loopback import refusing_socket
from sennit.web import HTTPError, Request, Response, Site, StaticFiles, redirect, text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from sennit.core import Reactor, Server

    Ran = subprocess.CompletedProcess[bytes]
    Fetch = Callable[..., Any]  # a Deferred of Ran

CONTENT = bytes(range(256)) * 2000


def _site(folder: Path) -> Site:
    site = Site()
    (folder / "public").mkdir()
    (folder / "public" / "big.bin").write_bytes(CONTENT)
    (folder / "public" / "page.txt").write_text("a page\n")
    site.put_child("files", StaticFiles(folder / "public"))
    broken: list[int] = []

    @site.route("/echo", methods=("GET", "POST", "PUT", "DELETE"))
    async def echo(request: Request) -> Response:
        said = {
            "method": request.method,
            "query": request.query_string,
            "headers": {n.decode(): v.decode("latin-1") for n, v in request.headers},
            "body": (await request.read()).decode("latin-1"),
        }
        return Response(json.dumps(said).encode(), headers={"content-type": "application/json"})

    @site.route("/moved")
    async def moved(request: Request) -> Response:
        return redirect("/files/page.txt")

    @site.route("/round")
    async def round_(request: Request) -> Response:
        return redirect("/round")

    @site.route("/no")
    async def no(request: Request) -> Response:
        raise HTTPError(404)

    @site.route("/later")
    async def later(request: Request) -> Response:
        broken.append(1)
        return text("now\n") if len(broken) % 2 == 0 else text("busy\n", 503)

    @site.route("/packed")
    async def packed(request: Request) -> Response:
        if "gzip" not in (request.header("accept-encoding") or ""):
            return text("plain\n")
        return Response(gzip.compress(b"packed\n"), headers={"content-encoding": "gzip"})

    @site.route("/slow")
    async def slow(request: Request) -> Response:
        await asyncio.sleep(30)
        return text("")

    @site.route("/login")
    async def login(request: Request) -> Response:
        if request.header("authorization") != "Basic bWU6cHc=":
            raise HTTPError(401, {"WWW-Authenticate": "Basic realm=x"})
        return text("in\n")

    @site.route("/cookie")
    async def cookie(request: Request) -> Response:
        seen = request.header("cookie") or "none"
        return text(f"{seen}\n", headers={"Set-Cookie": "a=1; Max-Age=60"})

    @site.route("/evil")
    async def evil(request: Request) -> Response:
        return Response(b"", headers={"x-evil": "\x9b2J caf\xe9"})

    @site.route("/taken", methods=("PUT",))
    async def taken(request: Request) -> Response:
        return text(str(len(await request.read())))

    @site.route("/null")
    async def null(request: Request) -> Response:
        return Response(b"\0\1\2")

    return site


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serve("tcp://127.0.0.1:0", _site(tmp_path)) as found:
        yield found


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder the command runs in, with nothing of ours around it."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name == "NETRC":
            monkeypatch.delenv(name)
    return folder


@pytest.fixture
def fetch(reactor: Reactor, here: Path, monkeypatch: pytest.MonkeyPatch) -> Fetch:
    """Run the command in a thread, on a reactor of its own; its result.

    That is what a process does, without the third of a second that each takes to begin.
    """

    def run(arguments: Sequence[str], stdin: bytes) -> Ran:
        out, err = io.TextIOWrapper(io.BytesIO()), io.TextIOWrapper(io.BytesIO(), "utf-8")
        with redirect_stdout(out), redirect_stderr(err), monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            status = execute(["fetch", *arguments])
        for stream in (out, err):
            stream.flush()
        written = [stream.buffer.getvalue() for stream in (out, err)]
        return subprocess.CompletedProcess(list(arguments), status, *written)

    def begin(*arguments: str, stdin: bytes = b"") -> Any:
        return reactor.defer_to_thread(run, arguments, stdin)

    return begin


@pytest.fixture
def process(reactor: Reactor, here: Path) -> Fetch:
    """Run the command as a process, as people do; its result."""

    def run(*arguments: str) -> Ran:
        command = [sys.executable, "-m", "sennit.core.service.cli", "fetch", *arguments]
        return subprocess.run(command, capture_output=True, timeout=20, check=False)

    def begin(*arguments: str) -> Any:
        return reactor.defer_to_thread(run, *arguments)

    return begin


def base(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}"


async def test_content_goes_to_standard_output(
    server: Server, fetch: Fetch, process: Fetch
) -> None:
    ran = await process(f"127.0.0.1:{server.port}/files/page.txt")
    assert (ran.stdout, ran.stderr, ran.returncode) == (b"a page\n", b"", 0)
    several = await fetch(base(server) + "/files/page.txt", base(server) + "/cookie")
    assert several.stdout == b"a page\nnone\n"


async def test_requests_are_what_the_options_say(server: Server, fetch: Fetch) -> None:
    url = base(server) + "/echo"

    async def said(*arguments: str, stdin: bytes = b"") -> dict[str, Any]:
        ran = await fetch(*arguments, url + "?q=1", stdin=stdin)
        assert ran.returncode == 0, ran.stderr
        found: dict[str, Any] = json.loads(ran.stdout)
        return found

    found = await said("-d", "a=1", "-d", "b=2", "-H", "X-Own: yes", "-H", "User-Agent: me")
    assert (found["method"], found["query"], found["body"]) == ("POST", "q=1", "a=1&b=2")
    headers = found["headers"]
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert (headers["x-own"], headers["user-agent"]) == ("yes", "me")
    assert "accept-encoding" not in headers
    found = await said("--json", '{"a": 1}', "-X", "PUT")
    assert (found["method"], found["body"]) == ("PUT", '{"a": 1}')
    assert found["headers"]["content-type"] == found["headers"]["accept"] == "application/json"
    found = await said("-d", "@-", stdin=b"from a pipe")
    assert found["body"] == "from a pipe"
    assert (await said("-X", "DELETE"))["method"] == "DELETE"


async def test_files_are_sent(server: Server, fetch: Fetch, here: Path) -> None:
    (here / "up.json").write_text('{"up": 1}')
    url = base(server) + "/echo"
    ran = await fetch("-T", "up.json", url)
    found = json.loads(ran.stdout)
    assert (found["method"], found["body"]) == ("PUT", '{"up": 1}')
    assert found["headers"]["content-length"] == "9"
    ran = await fetch("-F", "f=@up.json;type=text/x-own;filename=other", "-F", "n=v;x", url)
    body = json.loads(ran.stdout)["body"]
    assert 'name="f"; filename="other"\r\nContent-Type: text/x-own\r\n\r\n{"up": 1}\r\n' in body
    assert 'name="n"\r\n\r\nv;x\r\n' in body
    ran = await fetch("-T", "none", url)
    assert (ran.returncode, ran.stderr) == (23, b"sennit: none: No such file or directory\n")


async def test_files_come_whole_or_not_at_all(server: Server, fetch: Fetch, here: Path) -> None:
    ran = await fetch("-O", base(server) + "/files/big.bin")
    assert (ran.stdout, ran.stderr, ran.returncode) == (b"", b"", 0)
    assert (here / "big.bin").read_bytes() == CONTENT
    ran = await fetch("-o", "mine", base(server) + "/no")
    assert (ran.returncode, list(here.iterdir())) == (22, [here / "big.bin"])
    assert b"the server said 404 Not Found" in ran.stderr
    ran = await fetch("-o", "mine", base(server) + "/moved")
    assert ran.returncode == 22
    assert b"it has moved to /files/page.txt; -L goes there" in ran.stderr
    ran = await fetch("-L", "-o", "mine", base(server) + "/moved")
    assert (here / "mine").read_text() == "a page\n"
    ran = await fetch("-o", "no/such/folder", base(server) + "/files/page.txt")
    assert (ran.returncode, b"No such file or directory" in ran.stderr) == (23, True)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/echo/..%2f..%2fevil", "_.._evil"),
        ("/echo/.bashrc", "bashrc"),
        ("/echo/a%1b%5b2J%0ab", "a_[2J_b"),
    ],
)
async def test_a_urls_name_stays_in_the_folder_and_can_be_seen(
    fetch: Fetch, here: Path, path: str, name: str
) -> None:
    """HARDENING h1-18: only the last component counts."""
    async with serve("tcp://127.0.0.1:0", lambda: _Fixed(b"content")) as server:
        ran = await fetch("-O", base(server) + path)
    assert ran.returncode == 0, ran.stderr
    assert (here / name).read_bytes() == b"content"
    ran = await fetch("-O", "http://127.0.0.1:1/")
    assert (ran.returncode, b"give -o FILE" in ran.stderr) == (2, True)


async def test_an_interrupted_download_goes_on(server: Server, fetch: Fetch, here: Path) -> None:
    url = base(server) + "/files/big.bin"
    head = (await fetch("-I", url)).stdout.decode()
    etag = next(line[6:] for line in head.split("\r\n") if line.startswith("etag: "))
    (here / "big.bin.part").write_bytes(CONTENT[:100_000])
    (here / "big.bin.part.json").write_text(json.dumps({"url": url, "condition": etag}))
    ran = await fetch("-v", "-O", "--resume", url)
    assert ran.returncode == 0, ran.stderr
    assert b"> range: bytes=100000-\n" in ran.stderr
    assert b"< HTTP/1.1 206 Partial Content\n" in ran.stderr
    assert (here / "big.bin").read_bytes() == CONTENT
    assert [each.name for each in here.iterdir()] == ["big.bin"]


async def test_heads_are_shown(server: Server, fetch: Fetch) -> None:
    ran = await fetch("-i", base(server) + "/files/page.txt")
    head, _, body = ran.stdout.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == b"a page\n"
    ran = await fetch("-I", base(server) + "/files/page.txt")
    assert b"content-length: 7\r\n" in ran.stdout
    assert ran.stdout.endswith(b"\r\n\r\n")
    ran = await fetch("-v", "-u", "me:pw", base(server) + "/evil")
    assert b"> authorization: Basic \xe2\x80\xa6\n" in ran.stderr
    assert rb"< x-evil: \x9b2J caf" in ran.stderr, "escaped, since a terminal reads it"
    assert b"bWU6cHc" not in ran.stderr


async def test_redirects_are_followed_when_told_to(server: Server, fetch: Fetch) -> None:
    assert (await fetch("-L", base(server) + "/moved")).stdout == b"a page\n"
    assert b"Moved" in (await fetch(base(server) + "/moved")).stdout
    ran = await fetch("-L", "--max-redirs", "3", base(server) + "/round")
    assert (ran.returncode, b"--max-redirs allows more" in ran.stderr) == (47, True)


async def test_statuses_say_what_went_wrong(server: Server, fetch: Fetch) -> None:
    assert (await fetch(base(server) + "/no")).returncode == 0
    ran = await fetch("-f", base(server) + "/no")
    assert (ran.returncode, ran.stdout) == (22, b"")
    ran = await fetch("-m", "0.3", base(server) + "/slow")
    assert (ran.returncode, b"--max-time gives it longer" in ran.stderr) == (28, True)
    with refusing_socket() as nobody:
        ran = await fetch(f"http://127.0.0.1:{nobody.getsockname()[1]}/")
    assert (ran.returncode, b"refused" in ran.stderr) == (7, True)
    ran = await fetch("-s", "http://nosuch.invalid/")
    assert (ran.returncode, ran.stderr) == (6, b"")
    ran = await fetch("ftp://x/")
    assert (ran.returncode, b"one cannot fetch 'ftp'" in ran.stderr) == (2, True)
    ran = await fetch(base(server) + "/no", base(server) + "/files/page.txt", "-f")
    assert (ran.returncode, ran.stdout) == (22, b"a page\n")


async def test_what_cannot_be_written_is_told(
    server: Server, fetch: Fetch, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    url = base(server) + "/cookie"
    with monkeypatch.context() as patch:
        patch.setattr("sennit.web.client.saving._write", full)
        ran = await fetch("-o", "x", url)
    assert (ran.returncode, b"No space left on device" in ran.stderr) == (23, True)
    assert list(here.iterdir()) == []
    (here / "folder").mkdir()
    (here / "text").write_text("no cookies\n")
    ran = await fetch("-c", "text", url)
    assert (ran.returncode, b"is no file of cookies" in ran.stderr) == (2, True)
    ran = await fetch("--cert", "none", "https://127.0.0.1:1/")
    assert (ran.returncode, b"none: No such file" in ran.stderr) == (35, True)
    assert b"--cacert" not in ran.stderr, "which would not help"
    ran = await fetch("-o", "folder", url)
    assert (ran.returncode, ran.stderr) == (23, b"sennit: folder: Is a directory\n")
    ran = await fetch("-c", "none/jar", url)
    assert (ran.returncode, ran.stdout) == (23, b"none\n")
    assert b"No such file or directory" in ran.stderr


async def test_a_connection_that_is_lost_says_what_to_do(fetch: Fetch) -> None:
    async with serve("tcp://127.0.0.1:0", lambda: _Fixed(b"x" * 10, length=100)) as server:
        ran = await fetch("-o", "x", base(server) + "/")
    assert (ran.returncode, b"with --resume it could go on" in ran.stderr) == (18, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "a", "-O", "x"], "give one of them"),
        (["-o", "a", "x", "y"], "give -O for several"),
        (["--resume", "x"], "give -o FILE or -O"),
        (["-d", "a", "--json", "b", "x"], "one of them"),
        (["--key", "k", "x"], "belongs to --cert"),
        (["--digest", "x"], "needs -u"),
        (["-H", "nonsense", "x"], "NAME: VALUE"),
        (["-H", "a: b\rc", "x"], "control octet"),
        (["-F", "nonsense", "x"], "NAME=VALUE"),
        ([], "Missing argument"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["fetch", *arguments]) == 2
    assert words in capsys.readouterr().err


async def test_logins_cookies_retries_and_codings(server: Server, fetch: Fetch, here: Path) -> None:
    assert (await fetch("-u", "me:pw", base(server) + "/login")).stdout == b"in\n"
    netrc = here / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password pw\n")
    netrc.chmod(0o600)
    assert (await fetch("-n", base(server) + "/login")).stdout == b"in\n"
    assert (await fetch("-c", "jar", base(server) + "/cookie")).stdout == b"none\n"
    assert (await fetch("-c", "jar", base(server) + "/cookie")).stdout == b"a=1\n"
    assert (await fetch("--retry", "2", base(server) + "/later")).stdout == b"now\n"
    assert (await fetch(base(server) + "/packed")).stdout == b"plain\n"
    assert (await fetch("--compressed", base(server) + "/packed")).stdout == b"packed\n"


async def test_over_tls_and_unix_sockets(fetch: Fetch, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    chain, key, trusted = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    chain.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    trusted.write_bytes(authority.cert_pem.bytes())
    site = _site(tmp_path)
    async with serve("tls://127.0.0.1:0", site, tls=ServerTLS(chain, key)) as server:
        url = f"https://127.0.0.1:{server.port}/files/page.txt"
        ran = await fetch(url)
        assert (ran.returncode, b"--cacert FILE" in ran.stderr) == (60, True)
        assert (await fetch("--cacert", str(trusted), url)).stdout == b"a page\n"
        assert (await fetch("-k", "--http1.1", url)).stdout == b"a page\n"
        ran = await fetch("-k", "--http2", "-v", url)
        assert ran.stdout == b"a page\n"
        assert b"< HTTP/2 200" in ran.stderr
        ran = await fetch("--cacert", str(tmp_path / "none"), url)
        assert ran.returncode != 0
    own = authority.issue_cert("me@example.com")
    shown = tmp_path / "me.pem"
    shown.write_bytes(b"".join(each.bytes() for each in own.cert_chain_pems))
    own_key = tmp_path / "me.key"
    own_key.write_bytes(own.private_key_pem.bytes())
    tls = ServerTLS(chain, key, client_ca=trusted, require_client_certificate=True)
    async with serve("tls://127.0.0.1:0", site, tls=tls) as server:
        url = f"https://127.0.0.1:{server.port}/files/page.txt"
        ran = await fetch(
            "--cacert", str(trusted), "--cert", str(shown), "--key", str(own_key), url
        )
        assert ran.stdout == b"a page\n"
        assert (await fetch("--cacert", str(trusted), url)).returncode in (35, 56, 60)
    path = tmp_path / "s"
    async with serve(f"unix:{path}", site):
        ran = await fetch("--unix-socket", str(path), "http://localhost/files/page.txt")
        assert ran.stdout == b"a page\n"


async def test_a_proxy_of_the_environment_is_used_unless_told_not_to(
    server: Server, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    url = base(server) + "/files/page.txt"
    assert (await fetch(url)).returncode == 7
    assert (await fetch("--noproxy", url)).stdout == b"a page\n"


async def test_whoever_has_seen_enough_may_go(server: Server, reactor: Reactor) -> None:
    command = f"{sys.executable} -m sennit.core.service.cli fetch {base(server)}/files/big.bin"

    def run() -> Ran:
        return subprocess.run(
            ["sh", "-c", f"{command} | head -c 10"], capture_output=True, timeout=20, check=False
        )

    ran = await reactor.defer_to_thread(run)
    assert (ran.stdout, ran.stderr) == (CONTENT[:10], b"")


@pytest.mark.skipif(os.name != "posix", reason="terminals")
async def test_a_terminal_sees_how_far_it_is(
    server: Server, reactor: Reactor, tmp_path: Path
) -> None:
    import pty

    def run(*arguments: str) -> tuple[str, int]:
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "sennit.core.service.cli", "fetch", *arguments]
        with subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path
        ) as ran:
            os.close(theirs)
            seen = b""
            try:
                while data := os.read(ours, 65536):
                    seen += data
            except OSError:
                pass  # how a terminal says that nobody writes any more
            os.close(ours)
            return seen.decode(), ran.wait(20)

    seen, status = await reactor.defer_to_thread(run, "-O", base(server) + "/files/big.bin")
    assert (status, (tmp_path / "big.bin").read_bytes()) == (0, CONTENT)
    assert "↓ big.bin" in seen
    assert "512.0" in seen
    seen, status = await reactor.defer_to_thread(
        run, "-T", "big.bin", "-o", "answer", base(server) + "/taken"
    )
    assert (status, (tmp_path / "answer").read_text()) == (0, "512000")
    assert "↑ taken" in seen
    seen, status = await reactor.defer_to_thread(run, base(server) + "/null")
    assert (status, "give -o FILE" in seen) == (2, True)
    seen, status = await reactor.defer_to_thread(run, base(server) + "/moved")
    assert "it has moved to /files/page.txt; -L goes there" in seen


@pytest.mark.skipif(os.name != "posix", reason="signals")
async def test_an_interrupt_keeps_what_is_there_for_the_next_try(
    reactor: Reactor, tmp_path: Path
) -> None:
    async with serve("tcp://127.0.0.1:0", lambda: _Fixed(b"x" * 1000, 10**9, stays=True)) as server:
        command = [sys.executable, "-m", "sennit.core.service.cli", "fetch", "-O", "--resume"]

        def run() -> tuple[int, bytes]:
            with subprocess.Popen(
                [*command, base(server) + "/big"], stderr=subprocess.PIPE, cwd=tmp_path
            ) as ran:
                part = tmp_path / "big.part"
                while not part.exists():
                    assert ran.poll() is None
                    time.sleep(0.01)
                ran.send_signal(signal.SIGINT)
                return ran.wait(20), b"" if ran.stderr is None else ran.stderr.read()

        assert await reactor.defer_to_thread(run) == (130, b"\nsennit: interrupted\n")
    assert (tmp_path / "big.part").stat().st_size <= 1000
    assert not (tmp_path / "big").exists()


async def test_help_shows_examples(fetch: Fetch) -> None:
    ran = await fetch("--help")
    assert ran.returncode == 0
    assert b"Example: sennit fetch -L https://example.com/" in ran.stdout


class _Fixed:
    """A server of one answer, for what no honest server would send."""

    def __init__(self, body: bytes, length: int | None = None, *, stays: bool = False) -> None:
        length = len(body) if length is None else length
        self._stays = stays
        self._answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (length, body)
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if b"\r\n\r\n" in data:
            self._transport.write(self._answer)
            if not self._stays:
                self._transport.close()

    def eof_received(self) -> bool | None:
        return None

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...
