"""Our RPC with others': the standard library's XML-RPC, jsonrpclib, and WebSockets of our own."""

from __future__ import annotations

import threading
import xmlrpc.client
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer

import pytest

from sennit.core import serve
from sennit.web import Site
from sennit.web.client.api import Client
from sennit.web.rpc.errors import RPCError
from sennit.web.rpc.exposing import Methods
from sennit.web.rpc.jsonrpc import JSONRPC, JSONRPCClient
from sennit.web.rpc.jsonrpc_peer import JSONRPCPeer
from sennit.web.rpc.xmlrpc import XMLRPC, XMLRPCClient
from sennit.web.websocket.client import connect_websocket
from sennit.web.websocket.server import WebSocketResource

if TYPE_CHECKING:
    from sennit.core import Reactor
    from sennit.web.websocket.websocket import WebSocket

pytestmark = pytest.mark.interop

# `Any`: it has no types.
jsonrpclib: Any = pytest.importorskip("jsonrpclib.jsonrpc", reason="jsonrpclib is not installed")
jsonrpclib_server: Any = pytest.importorskip("jsonrpclib.SimpleJSONRPCServer")
jsonrpclib_config: Any = pytest.importorskip("jsonrpclib.config")

NOON = datetime(2026, 2, 3, 12, 0, 1)  # noqa: DTZ001 - XML-RPC has no time zones
VALUES: dict[str, Any] = {
    "whole": [0, -1, 2**31 - 1], "number": [1.5, -2.25e-7, 1e20], "text": "<&>\n\u20ac\U0001f600",
    "yes": True, "nothing": None, "octets": b"\x00\xff" * 1000, "when": NOON, "empty": [{}, [], ""],
}  # fmt: skip


def methods() -> Methods:
    made = Methods()

    @made.method
    async def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @made.method
    def echo(value: object) -> object:
        return value

    @made.method
    def refuse() -> None:
        raise RPCError(7, "no more")

    return made


# ── XML-RPC ───────────────────────────────────────────────────────────────────


async def test_the_standard_librarys_client_calls_us(reactor: Reactor) -> None:
    site = Site()
    site.put_child("rpc", XMLRPC(methods()))

    def talk(port: int) -> None:
        proxy = xmlrpc.client.ServerProxy(
            f"http://127.0.0.1:{port}/rpc", allow_none=True, use_builtin_types=True
        )
        with proxy as found:
            server: Any = found  # whatever is on the other side
            assert server.add(1, 2) == 3
            assert server.echo(VALUES) == VALUES
            assert "add" in server.system.listMethods()
            assert server.system.methodHelp("add") == "Add two numbers."
            assert server.system.methodSignature("add") == [["int", "int", "int"]]
            with pytest.raises(xmlrpc.client.Fault) as caught:
                server.refuse()
            assert (caught.value.faultCode, caught.value.faultString) == (7, "no more")
            with pytest.raises(xmlrpc.client.Fault, match="a whole number is expected"):
                server.add("1", 2)
            calls: Any = xmlrpc.client.MultiCall(server)
            calls.add(1, 2)
            calls.add(3, 4)
            assert tuple(calls()) == (3, 7)

    async with serve("tcp://127.0.0.1:0", site) as server:
        await reactor.defer_to_thread(talk, server.port)


def plus(a: int, b: int) -> int:
    return a + b


def same(value: object) -> object:
    return value


class Quiet(SimpleXMLRPCRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is there
        """Say nothing."""


@pytest.fixture
def in_thread() -> Iterator[Callable[[Any], int]]:
    """Serves one of the standard library's servers until the test ends; gives its port."""
    running: list[tuple[Any, threading.Thread]] = []

    def begin(server: Any) -> int:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        running.append((server, thread))
        return int(server.server_address[1])

    yield begin
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_we_call_the_standard_librarys_server(in_thread: Callable[[Any], int]) -> None:
    theirs: Any = SimpleXMLRPCServer(
        ("127.0.0.1", 0), Quiet, allow_none=True, use_builtin_types=True, logRequests=False
    )
    theirs.register_function(plus, "add")
    theirs.register_function(same, "echo")
    theirs.register_function(lambda: 1 // 0, "fail")
    theirs.register_introspection_functions()
    theirs.register_multicall_functions()
    async with XMLRPCClient(f"http://127.0.0.1:{in_thread(theirs)}/RPC2") as client:
        assert await client.call_as(int, "add", 1, 2) == 3
        assert await client.call("echo", VALUES) == VALUES
        assert "echo" in await client.list_methods()
        with pytest.raises(RPCError, match="ZeroDivisionError"):
            await client.call("fail")
        batch = client.batch()
        batch.call("add", 1, 2)
        batch.call("fail")
        good, bad = await batch.send()
        assert good.unwrap() == 3
        assert isinstance(bad.error, RPCError)


# ── JSON-RPC ──────────────────────────────────────────────────────────────────


async def test_jsonrpclib_calls_us(reactor: Reactor) -> None:
    site = Site()
    site.put_child("rpc", JSONRPC(methods()))

    def talk(port: int) -> None:
        server = jsonrpclib.ServerProxy(
            f"http://127.0.0.1:{port}/rpc", config=jsonrpclib_config.Config(version=2.0)
        )
        assert server.add(1, 2) == 3
        assert server.add(a=1, b=2) == 3
        assert server.echo({"a": [1, 2.5, None, True, "\u20ac"]}) == {
            "a": [1, 2.5, None, True, "\u20ac"]
        }
        # (A notification alone is answered with 204, which this client takes for an error.)
        with pytest.raises(jsonrpclib.ProtocolError) as caught:
            server.refuse()
        error: Any = caught.value
        assert "no more" in repr(error.args)
        calls = jsonrpclib.MultiCall(server)
        calls.add(1, 2)
        calls._notify.add(5, 6)
        calls.add(3, 4)
        assert list(calls()) == [3, 7]
        server("close")()

    async with serve("tcp://127.0.0.1:0", site) as server:
        await reactor.defer_to_thread(talk, server.port)


async def test_we_call_jsonrpclibs_server(in_thread: Callable[[Any], int]) -> None:
    theirs = jsonrpclib_server.SimpleJSONRPCServer(("127.0.0.1", 0), logRequests=False)
    heard: list[Any] = []
    theirs.register_function(plus, "add")
    theirs.register_function(heard.append, "hear")
    theirs.register_function(lambda: 1 // 0, "fail")
    url = f"http://127.0.0.1:{in_thread(theirs)}/"
    async with Client() as http, JSONRPCClient(url, client=http) as client:
        assert await client.call_as(int, "add", 1, 2) == 3
        assert await client.call("add", a=1, b=2) == 3
        await client.notify("hear", "quiet")
        with pytest.raises(RPCError):
            await client.call("fail")
        batch = client.batch()
        batch.call("add", 1, 2)
        batch.notify("hear", "again")
        batch.call("nothing")
        good, bad = await batch.send()
        assert good.unwrap() == 3
        assert isinstance(bad.error, RPCError)
        assert bad.error.code == -32601
    assert heard == ["quiet", "again"]


# ── over WebSockets ───────────────────────────────────────────────────────────


async def test_both_sides_of_a_websocket_call_each_other() -> None:
    served, ours = methods(), Methods()

    @served.method
    async def greet(peer: JSONRPCPeer) -> str:
        return "Hello " + await peer.call_as(str, "name")

    @ours.method
    def name() -> str:
        return "you"

    async def talk(ws: WebSocket) -> None:
        await JSONRPCPeer(ws, served).run()

    site = Site()
    site.put_child("rpc", WebSocketResource(talk))
    async with (
        serve("tcp://127.0.0.1:0", site) as server,
        connect_websocket(f"ws://127.0.0.1:{server.port}/rpc") as ws,
        JSONRPCPeer(ws, ours) as peer,
    ):
        assert await peer.call("greet") == "Hello you"
        assert await peer.call_as(int, "add", a=1, b=2) == 3
        with pytest.raises(RPCError, match="no more"):
            await peer.call("refuse")


async def test_a_websocket_of_others_calls_us() -> None:
    import json

    from websockets.asyncio.client import connect

    async def talk(ws: WebSocket) -> None:
        await JSONRPCPeer(ws, methods()).run()

    site = Site()
    site.put_child("rpc", WebSocketResource(talk))
    async with (
        serve("tcp://127.0.0.1:0", site) as server,
        connect(f"ws://127.0.0.1:{server.port}/rpc") as ws,
    ):
        call = {"jsonrpc": "2.0", "method": "add", "params": [1, 2], "id": "a"}
        await ws.send(json.dumps(call))
        assert json.loads(await ws.recv()) == {"jsonrpc": "2.0", "id": "a", "result": 3}
        await ws.send("{")
        assert json.loads(await ws.recv())["error"]["code"] == -32700
