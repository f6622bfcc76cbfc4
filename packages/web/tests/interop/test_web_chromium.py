"""A page in Chromium: WebSocket, server-sent events, upload, download, over each version of HTTP.

The page does everything by itself and posts what it saw; the browser is ended by its
process group.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from sennit.core import ServerTLS, serve
from sennit.core.deferred import Deferred
from sennit.web import Request, Response, Site, html, text
from sennit.web.compression import compress
from sennit.web.sse import Event, EventStream
from sennit.web.websocket.websocket import WebSocket

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), "")

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not BROWSER, reason="chromium is not installed"),
]

DOWNLOAD = bytes(range(251)) * 12_000
"""Three million octets."""

PAGE = """<!doctype html>
<meta charset=utf-8>
<title>Everything</title>
<script>
const hex = (buffer) =>
  [...new Uint8Array(buffer)].map((octet) => octet.toString(16).padStart(2, "0")).join("");
const sum = async (data) => hex(await crypto.subtle.digest("SHA-256", data));

function socket() {
  return new Promise((resolve, reject) => {
    const seen = [];
    const large = new Uint8Array(300000).map((_, at) => at % 251);
    const url = new URL("/chat", location.href.replace(/^http/, "ws"));
    const ws = new WebSocket(url, ["first", "second"]);
    ws.binaryType = "arraybuffer";
    ws.onerror = () => reject(new Error("the socket failed"));
    ws.onopen = () => { ws.send("grüße"); ws.send(large); };
    ws.onmessage = ({data}) => {
      seen.push(typeof data === "string" ? data : data.byteLength);
      if (seen.length === 2) ws.close(4001, "enough");
    };
    ws.onclose = ({code, wasClean}) => resolve(
      {seen, code, wasClean, protocol: ws.protocol, extensions: ws.extensions});
  });
}

function listen() {
  return new Promise((resolve) => {
    const seen = [];
    const source = new EventSource("/events");
    source.addEventListener("count", ({data, lastEventId}) => {
      seen.push([data, lastEventId]);
      if (seen.length === 5) { source.close(); resolve(seen); }
    });
  });
}

async function upload() {
  const form = new FormData();
  form.append("title", "a \\"title\\"\\r\\nof two lines");
  form.append("file", new File([new Uint8Array(2000000).fill(7)], "sevens.bin"));
  return (await fetch("/upload", {method: "POST", body: form})).json();
}

async function download() {
  const answer = await fetch("/download");
  let seen = 0;
  const parts = [];
  for (const reader = answer.body.getReader();;) {
    const {done, value} = await reader.read();
    if (done) break;
    seen += value.length;
    parts.push(value);
  }
  return {seen, sum: await sum(await new Blob(parts).arrayBuffer())};
}

async function packed() {
  const answer = await fetch("/packed");
  return {coding: answer.headers.get("content-encoding"), length: (await answer.text()).length};
}

(async () => {
  const report = {};
  try {
    [report.socket, report.events, report.upload, report.download, report.packed] =
      await Promise.all([socket(), listen(), upload(), download(), packed()]);
    report.cookie = document.cookie;
    report.spoken = performance.getEntriesByType("navigation")[0].nextHopProtocol;
  } catch (error) {
    report.error = String(error.stack || error);
  }
  await fetch("/report", {method: "POST", body: JSON.stringify(report)});
})();
</script>
"""


def make_site(reported: Deferred[dict[str, Any]]) -> Site:
    """What the page talks to."""
    site = Site()

    @site.route("/")
    def page(request: Request) -> Response:
        answer = html(PAGE)
        answer.set_cookie("seen", "yes", http_only=False)
        return answer

    @site.websocket("/chat", subprotocols=["second"], origins="same")
    async def chat(ws: WebSocket) -> None:
        async for message in ws:
            await ws.send(message)

    @site.route("/events")
    def events(request: Request) -> Response:
        last = int(request.header("last-event-id") or 0)

        async def three() -> AsyncIterator[Event]:
            for number in range(last + 1, last + 4):
                yield Event(f"number\n{number}", "count", str(number))

        # It ends after three: the browser comes back for the rest.
        return EventStream(three(), retry=0.05)

    @site.route("/upload", methods=("POST",))
    async def upload(request: Request) -> Response:
        async with await request.form() as form:
            file = form.uploads["file"]
            content = await file.read()
            told = {"name": file.file_name, "size": len(content), "sevens": content.count(7)}
            return text(json.dumps({**told, "title": form["title"]}))

    @site.route("/download")
    def download(request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, len(DOWNLOAD), 10_000):
                yield DOWNLOAD[at : at + 10_000]

        return Response(pieces())

    @site.route("/packed", wrappers=[compress()])
    def packed(request: Request) -> Response:
        return text("again and again " * 10_000)

    @site.route("/report", methods=("POST",))
    async def report(request: Request) -> Response:
        reported.callback(json.loads(await request.read()))
        return text("thank you\n")

    return site


async def browse(url: str, folder: Path, reported: Deferred[dict[str, Any]]) -> dict[str, Any]:
    """Open a page in a browser of its own until it has reported."""
    browser = await asyncio.create_subprocess_exec(
        BROWSER,
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--no-first-run", "--disable-background-networking", "--disable-sync"),
        *("--ignore-certificate-errors", f"--user-data-dir={folder}", url),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(40):
            return await reported
    finally:
        os.killpg(browser.pid, signal.SIGKILL)
        await browser.wait()


def check(report: dict[str, Any]) -> None:
    assert "error" not in report, report["error"]
    socket = report["socket"]
    assert socket["seen"] == ["grüße", 300_000]
    assert socket["code"] == 4001
    assert socket["wasClean"]
    assert socket["protocol"] == "second"
    assert socket["extensions"].startswith("permessage-deflate")
    assert report["events"] == [[f"number\n{number}", str(number)] for number in range(1, 6)]
    assert report["upload"] == {
        "name": "sevens.bin",
        "size": 2_000_000,
        "sevens": 2_000_000,
        "title": 'a "title"\r\nof two lines',
    }
    assert report["download"] == {
        "seen": len(DOWNLOAD),
        "sum": hashlib.sha256(DOWNLOAD).hexdigest(),
    }
    assert report["packed"]["coding"] in {"br", "gzip", "zstd"}
    assert report["packed"]["length"] == 160_000
    assert report["cookie"] == "seen=yes"


async def test_a_page_does_everything_over_http_1(tmp_path: Path) -> None:
    reported: Deferred[dict[str, Any]] = Deferred()
    async with serve("tcp://127.0.0.1:0", make_site(reported)) as server:
        report = await browse(f"http://127.0.0.1:{server.port}/", tmp_path, reported)
    check(report)
    assert report["spoken"] == "http/1.1"


async def test_a_page_does_everything_over_http_2(tmp_path: Path) -> None:
    """Its WebSocket too, over one stream (RFC 8441)."""
    ca = trustme.CA()
    issued = ca.issue_cert("localhost")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    tls = ServerTLS(certificate, key)
    reported: Deferred[dict[str, Any]] = Deferred()
    async with serve("tls://127.0.0.1:0", make_site(reported), tls=tls) as server:
        report = await browse(f"https://localhost:{server.port}/", tmp_path / "home", reported)
    check(report)
    assert report["spoken"] == "h2"
