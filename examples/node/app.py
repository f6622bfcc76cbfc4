"""The application of the demo node: a chat over WebSocket, a ticking stream, uploads, JSON-RPC.

`sennit.toml` names it as ``app = "app:site"``; any program can serve the same object:
``site.run("tcp://127.0.0.1:8081")``.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

from sennit.web import Event, EventStream, Site, html, json
from sennit.web.rpc.jsonrpc import JSONRPC

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sennit.web import Request, Response, WebSocket

__all__ = ["site"]

site = Site()
rpc = JSONRPC()
site.put_child("rpc", rpc)
present: set[WebSocket] = set()

PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Sennit: an application</title>
<h1>It talks.</h1>
<p>Seconds since you came: <b id="tick">0</b></p>
<form id="chat"><input id="say" autofocus autocomplete="off"
  placeholder="Say something to every window"></form>
<ul id="said"></ul>
<script>
new EventSource("ticks").onmessage = ({data}) => document.querySelector("#tick").textContent = data;
const ws = new WebSocket(new URL("chat", location.href.replace(/^http/, "ws")));
ws.onmessage = ({data}) =>
  document.querySelector("#said").appendChild(document.createElement("li")).textContent = data;
document.querySelector("#chat").onsubmit = (event) => {
  event.preventDefault();
  const say = document.querySelector("#say");
  ws.send(say.value);
  say.value = "";
};
</script>
"""


@site.route("/")
def page(request: Request) -> Response:
    """The page that shows it all."""
    return html(PAGE)


@site.websocket("/chat", origins="same")
async def chat(ws: WebSocket) -> None:
    """What one window says, all of them hear."""
    present.add(ws)
    try:
        async for message in ws:
            await asyncio.gather(*(each.send(message) for each in present), return_exceptions=True)
    finally:
        present.discard(ws)


@site.route("/ticks")
def ticks(request: Request) -> Response:
    """The seconds, one by one, until the page is closed."""

    async def count() -> AsyncIterator[Event]:
        for second in range(1, 3600):
            await asyncio.sleep(1)
            yield Event(second, id=str(second))

    return EventStream(count())


@site.route("/upload", methods=("POST", "PUT"), limit=1 << 30)
async def upload(request: Request) -> Response:
    """How much came, and its digest; nothing is kept, whatever its size."""
    digest = hashlib.sha256()
    size = 0
    async for chunk in request.body:
        digest.update(chunk)
        size += len(chunk)
    return json({"octets": size, "sha256": digest.hexdigest()})


@site.route("/people/{number:int}", name="person")
def person(request: Request, number: int) -> Response:
    """A parameter of the path, as a number."""
    return json({"number": number, "see": site.url_for("person", number=number + 1)})


@rpc.method
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b
