"""The client against servers of others: nginx, and one of aiohttp in a process of its own."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from sennit.core.errors import ConnectionLost
from sennit.web import Client, CookieJar, DigestAuth, StatusError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from sennit.core import Reactor
    from sennit.web.client.progress import Progress

pytestmark = pytest.mark.interop

MIB = 1024 * 1024
HERE = Path(__file__).parent


# ── nginx ─────────────────────────────────────────────────────────────────────

NGINX = """
daemon off; master_process off; pid {root}/nginx.pid; error_log {root}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off; client_body_temp_path {root}/b; proxy_temp_path {root}/p;
    fastcgi_temp_path {root}/f; scgi_temp_path {root}/s; uwsgi_temp_path {root}/u;
    types {{ text/plain txt; }}
    server {{
        listen unix:{root}/nginx.sock; server_name localhost; root {root}/files;
        client_max_body_size 64m;
        location /private {{ auth_basic "in"; auth_basic_user_file {root}/users; }}
        location /static {{ gzip_static on; }}
        location /packed {{ gzip on; gzip_types text/plain; gzip_min_length 1; }}
        location /moved301 {{ return 301 /page.txt; }}
        location /moved307 {{ return 307 http://localhost/page.txt; }}
        location /away {{ return 302 http://localhost:81/; }}
        location /busy {{ return 503; }}
        location /slow {{ limit_rate 200k; }}
    }}
}}
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    for name in ("private", "static", "packed", "slow"):
        (folder / name).mkdir(parents=True)
    (folder / "page.txt").write_text("a page\n")
    (folder / "private" / "page.txt").write_text("private\n")
    (folder / "static" / "page.txt").write_text("plain\n")
    (folder / "static" / "page.txt.gz").write_bytes(gzip.compress(b"packed before\n"))
    (folder / "packed" / "page.txt").write_text("packed now\n" * 100)
    (folder / "slow" / "big.bin").write_bytes(os.urandom(MIB))
    (folder / "big.bin").write_bytes(os.urandom(20 * MIB))
    return folder


@pytest.fixture
async def nginx(tmp_path: Path, files: Path) -> AsyncIterator[Client]:
    """A client of an nginx that listens on a Unix socket."""
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed")
    (tmp_path / "users").write_text("me:{PLAIN}secret\n")
    (tmp_path / "nginx.conf").write_text(NGINX.format(root=tmp_path))
    process = subprocess.Popen(
        ["nginx", "-e", str(tmp_path / "error.log"), "-p", str(tmp_path), "-c",
         str(tmp_path / "nginx.conf")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    path = tmp_path / "nginx.sock"
    try:
        deadline = time.monotonic() + 10
        while not path.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        async with Client("http://localhost/", unix=str(path)) as client:
            yield client
    finally:
        process.terminate()
        process.communicate(timeout=10)


async def test_nginx_lets_in_who_knows_the_password(nginx: Client) -> None:
    assert (await nginx.get("private/page.txt")).status == 401
    assert (await nginx.get("private/page.txt", auth=("me", "wrong"))).status == 401
    response = await nginx.get("private/page.txt", auth=("me", "secret"))
    assert response.text == "private\n"
    assert (await nginx.get("http://me:secret@localhost/private/page.txt")).ok


async def test_nginx_sends_elsewhere(nginx: Client) -> None:
    response = await nginx.get("moved301")
    assert (response.text, [each.status for each in response.history]) == ("a page\n", [301])
    assert (await nginx.get("moved307")).text == "a page\n"
    assert (await nginx.get("moved301", follow_redirects=False)).status == 301


async def test_nginx_packs_what_was_packed_before_and_what_was_not(nginx: Client) -> None:
    for path, wanted in (
        ("static/page.txt", "packed before\n"),
        ("packed/page.txt", "packed now\n" * 100),
    ):
        response = await nginx.get(path)
        assert (response.headers["content-encoding"], response.text) == ("gzip", wanted)
    plain = await nginx.get("static/page.txt", headers={"Accept-Encoding": "identity"})
    assert plain.text == "plain\n"


async def test_a_large_file_of_nginx_comes_whole(
    nginx: Client, files: Path, tmp_path: Path
) -> None:
    seen: list[Progress] = []
    await nginx.download("big.bin", tmp_path / "big.bin", progress=seen.append)
    assert (tmp_path / "big.bin").read_bytes() == (files / "big.bin").read_bytes()
    assert (seen[-1].done, seen[-1].total, seen[-1].finished) == (20 * MIB, 20 * MIB, True)
    with pytest.raises(StatusError, match="404"):
        await nginx.download("none", tmp_path / "none")


async def test_a_download_from_nginx_goes_on(nginx: Client, files: Path, tmp_path: Path) -> None:
    """RFC 9110 §14.2, §13.1.5, by a server that is not ours."""
    path = tmp_path / "big.bin"

    def give_up(progress: Progress) -> None:
        if progress.done > 200_000:
            raise ConnectionLost("somebody pulled the cable")

    with pytest.raises(ConnectionLost, match="cable"):
        await nginx.download("slow/big.bin", path, resume=True, progress=give_up)
    got = (tmp_path / "big.bin.part").stat().st_size
    assert 100_000 < got < MIB
    response = await nginx.download("big.bin", path, resume=True)
    assert response.status == 200, "another URL begins anew"
    (tmp_path / "big.bin.part").write_bytes((files / "big.bin").read_bytes()[:MIB])
    etag = response.headers["etag"]
    note = {"url": "http://localhost/big.bin", "condition": etag}
    (tmp_path / "big.bin.part.json").write_text(json.dumps(note))
    response = await nginx.download("big.bin", path, resume=True)
    assert response.status == 206
    assert path.read_bytes() == (files / "big.bin").read_bytes()
    (tmp_path / "big.bin.part").write_bytes(b"something else")
    note["condition"] = '"of another file"'
    (tmp_path / "big.bin.part.json").write_text(json.dumps(note))
    response = await nginx.download("big.bin", path, resume=True)
    assert response.status == 200
    assert path.read_bytes() == (files / "big.bin").read_bytes()


# ── aiohttp ───────────────────────────────────────────────────────────────────


@pytest.fixture
def origin() -> Iterator[str]:
    """The address of the server in ``aiohttp_origin.py``."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "aiohttp_origin.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
    finally:
        process.communicate(timeout=10)


async def test_aiohttp_gets_its_cookies_back(origin: str) -> None:
    sets = [
        "plain=1",
        'quoted="a b"; Path=/',
        "deep=2; Path=/cookies",
        "elsewhere=3; Path=/other",
        "secure=4; Secure",
        "foreign=5; Domain=example.com",
        "over=6; Max-Age=0",
        "dated=7; Expires=Wed, 09 Jun 2100 10:18:14 GMT",
        "__Host-x=8; Path=/",
        "__Host-y=9; Path=/; Secure",
    ]
    async with Client(origin) as client:
        await client.get("cookies", params={"set": sets})
        assert (await client.get("cookies")).json() == {
            "plain": "1",
            "quoted": "a b",
            "deep": "2",
            "secure": "4",
            "dated": "7",
            "__Host-y": "9",
        }
        await client.get("cookies", params={"set": "plain=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"})
        assert "plain" not in (await client.get("cookies")).json()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_and_we_read_each_others_cookies(
    origin: str, tmp_path: Path, reactor: Reactor
) -> None:
    """curl judges what a server sets as we do, and reads our file as we read its."""

    def curl(*arguments: str) -> dict[str, str]:
        ran = subprocess.run(
            ["curl", "-sS", *arguments], capture_output=True, check=True, timeout=20
        )
        found: dict[str, str] = json.loads(ran.stdout)
        return found

    sets = [
        "plain=1",
        "kept=2; Max-Age=600",
        "deep=3; Path=/cookies; HttpOnly",
        "elsewhere=4; Path=/other",
        "foreign=5; Domain=example.com",
        "secure=6; Secure",
    ]
    query = "&".join(f"set={quote(each)}" for each in sets)
    theirs, ours = str(tmp_path / "curl.txt"), tmp_path / "ours.txt"
    await reactor.defer_to_thread(curl, "-c", theirs, f"{origin}cookies?{query}")
    told = await reactor.defer_to_thread(curl, "-b", theirs, f"{origin}cookies")
    jar = CookieJar()
    jar.load(theirs)
    async with Client(origin, cookies=jar) as client:
        assert (await client.get("cookies")).json() == told
    async with Client(origin) as client:
        await client.get("cookies", params={"set": sets})
        own = (await client.get("cookies")).json()
        assert client.cookies is not None
        client.cookies.save(ours, session=True)
    assert own == told == {"plain": "1", "kept": "2", "deep": "3", "secure": "6"}
    assert await reactor.defer_to_thread(curl, "-b", str(ours), f"{origin}cookies") == told


async def test_aiohttp_reads_our_forms(origin: str, tmp_path: Path) -> None:
    path = tmp_path / 'na"me.txt'
    path.write_text("from a file")

    async def pieces() -> AsyncIterator[bytes]:
        yield b"piece by "
        yield b"piece"

    async with Client(origin) as client:
        fields = (await client.post("form", data={"a b": "ü&=", "n": [1, 2]})).json()
        assert [each[::3] for each in fields] == [["a b", "ü&="], ["n", "1"], ["n", "2"]]
        found = (
            await client.post(
                "form",
                data={"field": "value", "ü": "ü"},
                files={"f": path, "g": ("g.html", b"<p>"), "h": ("h", pieces(), "text/x-own")},
            )
        ).json()
    assert found == [
        ["field", None, None, "value"],
        ["ü", None, None, "ü".encode().decode("latin-1")],
        # %22 is how browsers write a quotation mark; whoever reads it may undo that.
        ["f", found[2][1], "text/plain; charset=utf-8", "from a file"],
        ["g", "g.html", "text/html; charset=utf-8", "<p>"],
        ["h", "h", "text/x-own", "piece by piece"],
    ]
    assert found[2][1] in ('na"me.txt', "na%22me.txt")


@pytest.mark.parametrize("algorithm", ["SHA-256", "SHA-512-256", "MD5"])
async def test_digest_is_verified_by_another_hand(origin: str, algorithm: str) -> None:
    async with Client(origin, auth=DigestAuth("me", "secret", allow_md5=True)) as client:
        url = f"digest?algorithm={algorithm}"
        answers = [await client.post(url, content=b"x") for _ in range(7)]
        assert {each.status for each in answers} == {200}
        await client.post("forget")
        assert (await client.get(url)).status == 200, "the nonce was stale"
    async with Client(origin, auth=DigestAuth("me", "wrong", allow_md5=True)) as client:
        assert (await client.get(url)).status == 401


async def test_events_are_followed_over_lost_connections(origin: str) -> None:
    async with Client(origin) as client:
        events = client.events("events")
        found = [(each.id, each.event, each.data) async for each in events]
    assert found == [(f"{n}", "count", f"{n}\nü") for n in range(1, 10)]
    assert events.retry == 0.02


@pytest.mark.parametrize("status", [301, 303, 307, 308])
async def test_content_goes_along_as_it_should(origin: str, tmp_path: Path, status: int) -> None:
    path = tmp_path / "up"
    path.write_bytes(b"x" * 100_000)
    digest = hashlib.sha256(b"x" * 100_000).hexdigest()
    async with Client(origin) as client:
        response = await client.post(
            "moved", params={"status": status, "to": "/upload"}, content=path
        )
    kept = status in (307, 308)
    assert response.json() == (
        [100_000, digest, "100000", "POST"]
        if kept
        else [0, hashlib.sha256().hexdigest(), None, "GET"]
    )


async def test_uploads_of_known_and_unknown_length_arrive(origin: str, tmp_path: Path) -> None:
    path = tmp_path / "up"
    path.write_bytes(os.urandom(3 * MIB))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()

    async def pieces() -> AsyncIterator[bytes]:
        with path.open("rb") as file:
            while data := file.read(100_000):
                yield data

    seen: list[Progress] = []
    size = str(3 * MIB)
    async with Client(origin) as client:
        for options, length in (
            ({"content": path}, size),
            ({"content": path, "upload_progress": seen.append}, size),
            ({"content": pieces()}, None),
            ({"content": pieces(), "length": 3 * MIB}, size),
        ):
            given: dict[str, Any] = options
            found = (await client.put("upload", **given)).json()
            assert found == [3 * MIB, digest, length, "PUT"]
    assert seen[-1].done == 3 * MIB


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_what_aiohttp_packs_is_unpacked(origin: str, coding: str) -> None:
    async with Client(origin) as client:
        response = await client.get("download", params={"mib": 1, "coding": coding})
        assert response.headers["content-encoding"] == coding
        assert response.content == bytes(range(256)) * 4096


# ── memory ────────────────────────────────────────────────────────────────────

_MEMORY = """
import asyncio, resource, sys
from pathlib import Path
from sennit.core import run
from sennit.web import Client

MIB = 1024 * 1024
origin, mib, what, path = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]

async def pieces():
    block = bytes(range(256)) * 256
    for _ in range(mib * 16):
        yield block

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

async def main(reactor):
    async with Client(origin) as client:
        await client.get("download", params={"mib": 1})
        await client.put("upload", content=bytes(MIB))
        before = peak()
        if what == "down":
            total = 0
            async with client.stream("GET", "download", params={"mib": mib}) as response:
                async for chunk in response:
                    total += len(chunk)
        elif what == "save":
            response = await client.download(f"download?mib={mib}&length=1", path)
            total = Path(path).stat().st_size
        elif what == "iterable":
            total = (await client.put("upload", content=pieces())).json()[0]
        elif what == "file":
            total = (await client.put("upload", content=Path(path))).json()[0]
        else:
            response = await client.put("upload", files={"f": Path(path), "g": ("g", pieces())})
            total = response.json()[0] // 2
    print(total // MIB, peak() - before)

run(main)
"""
GROWTH = 24
"""MiB by which a process may grow for a transfer of any size."""


def _transfer(origin: str, mib: int, what: str, path: Path) -> None:
    if what in ("file", "form"):
        with path.open("wb") as file:
            file.truncate(mib * MIB)
    ran = subprocess.run(
        [sys.executable, "-c", _MEMORY, origin, str(mib), what, str(path)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    total, grown = map(int, ran.stdout.split())
    assert total == mib
    assert grown < GROWTH, f"{grown} MiB for {mib}"


WAYS = ["down", "save", "iterable", "file", "form"]


@pytest.mark.parametrize("what", WAYS)
def test_memory_does_not_grow_with_what_is_sent_and_received(
    origin: str, tmp_path: Path, what: str
) -> None:
    _transfer(origin, 48, what, tmp_path / "file")


@pytest.mark.soak
@pytest.mark.parametrize("what", WAYS)
def test_memory_does_not_grow_with_a_gibibyte(origin: str, tmp_path: Path, what: str) -> None:
    _transfer(origin, 1024, what, tmp_path / "file")
