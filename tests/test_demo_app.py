"""The demo node's application, asked by the client: pages, chat, events, uploads, RPC."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from sennit.core import serve
from sennit.web import Client, Site
from sennit.web.rpc.jsonrpc import JSONRPCClient

APP = Path(__file__).resolve().parent.parent / "examples/node/app.py"


def load() -> Site:
    spec = importlib.util.spec_from_file_location("demo_app", APP)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    site: Site = module.site
    return site


async def test_everything_the_application_has_answers() -> None:
    async with serve("tcp://127.0.0.1:0", load()) as server:
        base = f"http://127.0.0.1:{server.port}"
        async with Client(base_url=base) as client:
            assert "It talks." in (await client.get("/")).text
            assert (await client.get("/people/4")).json() == {"number": 4, "see": "/people/5"}
            assert (await client.get("/people/four")).status == 404
            sent = await client.put("/upload", content=b"x" * 100_000)
            assert sent.json() == {
                "octets": 100_000,
                "sha256": hashlib.sha256(b"x" * 100_000).hexdigest(),
            }
            async for event in client.events("/ticks"):
                assert event.data == "1"
                break
            async with (
                client.websocket("/chat", origin=base) as one,
                client.websocket("/chat", origin=base) as two,
            ):
                await one.send("hello")
                assert await one.receive() == "hello"
                await two.send("there")
                while await two.receive() != "there":
                    pass  # "hello", where it came early enough
                assert await one.receive() == "there"
        async with JSONRPCClient(f"{base}/rpc") as rpc:
            assert await rpc.call("add", 1, 2) == 3
