"""A checker of ASGI servers, from the specification: a strange application, and its client.

`app` is hosted by the server to be checked; `check` drives it over sockets and looks at
what the server told the application and the client. What the application saw of a
request it keeps under the ``x-case`` of that request, for ``/report`` to tell.

Source: ASGI 3.0 with HTTP & WebSocket message format 2.5, lifespan 2.0, and extensions.
Run by hand: ``python asgi_checker.py PORT``.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

__all__ = ["CASES", "app", "check"]

# ── the application ───────────────────────────────────────────────────────────

_seen: dict[str, list[Any]] = {}
_life: list[str] = []


def _plain(value: Any) -> Any:
    """A value as JSON can have it: octets as text, one character each."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, dict):
        table = cast("dict[str, Any]", value)
        return {key: _plain(each) for key, each in table.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in cast("list[Any]", value)]
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


async def _answer(send: Any, content: bytes = b"", status: int = 200, *headers: Any) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": content})


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The application that is hosted."""
    if scope["type"] == "lifespan":
        _life.append((await receive())["type"])
        if "state" in scope:
            scope["state"]["shared"] = {"count": 0}
        await send({"type": "lifespan.startup.complete"})
        _life.append((await receive())["type"])
        await send({"type": "lifespan.shutdown.complete"})
        return
    headers = dict(scope["headers"])
    seen = _seen.setdefault(headers.get(b"x-case", b"").decode(), [])
    if scope["type"] == "websocket":
        await _websocket(scope, receive, send, seen)
        return
    name = scope["path"].strip("/").split("/")[0]
    if name == "report":
        found = _seen.get(scope["query_string"].decode(), [])
        await _answer(send, json.dumps(_plain(found)).encode())
        return
    handler: Any = globals().get(f"do_{name}")
    if handler is None:
        seen.append(_plain(scope))
        await _answer(send, json.dumps(_plain(scope)).encode())
        return
    try:
        await handler(scope, receive, send, seen)
    except BaseException as error:
        seen.append({"raised": type(error).__name__, "oserror": isinstance(error, OSError)})
        raise
    seen.append("ended")


async def do_echo(scope: Any, receive: Any, send: Any, seen: list[Any]) -> None:
    content = b""
    while True:
        message = await receive()
        seen.append(_plain(message))
        if message["type"] != "http.request":
            return
        content += message.get("body", b"")
        if not message.get("more_body", False):
            break
    await _answer(send, content)


async def do_wait(scope: Any, receive: Any, send: Any, seen: list[Any]) -> None:
    while True:
        message = await receive()
        seen.append(message["type"])
        if message["type"] == "http.disconnect":
            return


async def do_after(scope: Any, receive: Any, send: Any, seen: list[Any]) -> None:
    await receive()
    await _answer(send, b"whole")
    seen.append((await receive())["type"])
    await send({"type": "http.response.body", "body": b"more"})
    seen.append("ignored")


async def do_stream(scope: Any, receive: Any, send: Any, seen: list[Any]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(5000):
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
    seen.append("sent all")


async def do_raise(scope: Any, receive: Any, send: Any, seen: list[Any]) -> None:
    when = scope["path"].split("/")[2]
    if when != "first":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"b")]})
    if when == "between":
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        await asyncio.sleep(0.05)
    raise RuntimeError("on purpose: secret")


async def do_return(scope: Any, receive: Any, send: Any, seen: list[Any]) -> None:
    if scope["path"].split("/")[2] == "between":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})


async def do_order(scope: Any, receive: Any, send: Any, seen: list[Any]) -> None:
    if scope["path"].split("/")[2] == "twice":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x"})


async def do_headers(scope: Any, receive: Any, send: Any, seen: list[Any]) -> None:
    await _answer(
        send,
        b"hello",
        200,
        (b"set-cookie", b"a=1"),
        (b"x-other", b"x"),
        (b"set-cookie", b"b=2"),
        (b"transfer-encoding", b"chunked"),
    )


async def do_length(scope: Any, receive: Any, send: Any, seen: list[Any]) -> None:
    announced = (b"content-length", b"10")
    await send({"type": "http.response.start", "status": 200, "headers": [announced]})
    await send({"type": "http.response.body", "body": b"hello", "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def do_head(scope: Any, receive: Any, send: Any, seen: list[Any]) -> None:
    await _answer(send, b"hello", 200, (b"content-length", b"5"))


async def do_empty(scope: Any, receive: Any, send: Any, seen: list[Any]) -> None:
    await _answer(send, b"", 204)


async def do_late(scope: Any, receive: Any, send: Any, seen: list[Any]) -> None:
    await asyncio.sleep(0.3)
    seen.append((await receive())["type"])
    await _answer(send)


async def do_extensions(scope: Any, receive: Any, send: Any, seen: list[Any]) -> None:
    there: dict[str, Any] = scope.get("extensions") or {}
    if "http.response.early_hint" in there:
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
    trailers = "http.response.trailers" in there
    start = {"type": "http.response.start", "status": 200, "headers": [(b"trailer", b"x-sum")]}
    await send({**start, "trailers": True} if trailers else start)
    await send({"type": "http.response.body", "body": b"one", "more_body": True})
    await send({"type": "http.response.body", "body": b"two"})
    if trailers:
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"2")]})


async def do_path(scope: Any, receive: Any, send: Any, seen: list[Any]) -> None:
    if "http.response.pathsend" not in (scope.get("extensions") or {}):
        await _answer(send, b"unsupported")
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.pathsend", "path": os.path.abspath(__file__)})


async def _websocket(scope: Any, receive: Any, send: Any, seen: list[Any]) -> None:
    seen.append(_plain(scope))
    seen.append((await receive())["type"])
    if scope["path"] == "/deny":
        await send({"type": "websocket.close"})
        return
    if scope["path"] == "/page":
        if "websocket.http.response" in (scope.get("extensions") or {}):
            await send({"type": "websocket.http.response.start", "status": 418, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b"teapot"})
        else:
            await send({"type": "websocket.close"})
        return
    chosen = (scope.get("subprotocols") or [None])[-1]
    await send({"type": "websocket.accept", "subprotocol": chosen, "headers": [(b"x-a", b"b")]})
    if scope["path"] == "/fail":
        raise RuntimeError("on purpose")
    while True:
        message = await receive()
        seen.append(_plain(message))
        if message["type"] != "websocket.receive":
            return
        kind = "text" if message.get("text") is not None else "bytes"
        await send({"type": "websocket.send", kind: message[kind]})


# ── the client ────────────────────────────────────────────────────────────────


class WrongError(AssertionError):
    """The server did something else than the specification says."""


def expect(condition: object, what: object) -> None:
    """Fail unless something holds."""
    if not condition:
        raise WrongError(str(what))


class Server:
    """Where the application is hosted.

    Args:
        port: At 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self._case = time.monotonic_ns()

    def next_case(self) -> str:
        """A name for a request."""
        self._case += 1
        return str(self._case)

    def connect(self) -> socket.socket:
        """A connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def talk(self, data: bytes) -> bytes:
        """Send octets; everything that comes until the server closes."""
        with self.connect() as sock:
            sock.sendall(data)
            return read_all(sock)

    def ask(
        self,
        target: str,
        *headers: str,
        method: str = "GET",
        content: bytes = b"",
        case: str = "",
        version: str = "1.1",
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """One request on a connection of its own."""
        return parse(self.talk(request(target, *headers, method=method, content=content, case=case,
                                       version=version)), method)  # fmt: skip

    def report(self, case: str) -> list[Any]:
        """What the application has seen of a case; waits for its end."""
        deadline = time.monotonic() + 10
        while True:
            _, _, content = self.ask(f"/report?{case}")
            found: list[Any] = json.loads(content)
            if found and found[-1] == "ended":
                return found
            if found and isinstance(found[-1], dict) and "raised" in found[-1]:
                return found
            if time.monotonic() > deadline:
                raise WrongError(f"the application has seen {found} and has not ended")
            time.sleep(0.02)


def request(
    target: str,
    *headers: str,
    method: str = "GET",
    content: bytes = b"",
    case: str = "",
    version: str = "1.1",
    close: bool = True,
) -> bytes:
    """The octets of a request."""
    lines = [f"{method} {target} HTTP/{version}", "Host: checker.example", f"X-Case: {case}"]
    if content and not any(each.lower().startswith("transfer") for each in headers):
        lines.append(f"Content-Length: {len(content)}")
    if close:
        lines.append("Connection: close")
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + content


def read_all(sock: socket.socket) -> bytes:
    """Everything until the end; what a reset leaves of it."""
    found = b""
    try:
        while data := sock.recv(65536):
            found += data
    except ConnectionResetError:
        found += b"<reset>"
    return found


def parse(data: bytes, method: str = "GET") -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and content of the last response in `data`.

    Raises:
        WrongError: Its framing is broken: it was cut.
    """
    while data.startswith(b"HTTP/1.1 1"):
        data = data.partition(b"\r\n\r\n")[2]
    head, found, rest = data.partition(b"\r\n\r\n")
    expect(found, f"no response: {data[:80]!r}")
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ")[1])
    headers = [(n.lower(), v.strip()) for n, _, v in (line.partition(":") for line in lines[1:])]
    if method == "HEAD" or status in (204, 304):
        expect(not rest, f"content where none belongs: {rest[:80]!r}")
        return status, headers, b""
    values = dict(headers)
    if values.get("transfer-encoding") == "chunked":
        content = b""
        while True:
            line, found, rest = rest.partition(b"\r\n")
            expect(found and line, "cut inside chunks")
            size = int(line.split(b";")[0], 16)
            if not size:
                headers += [
                    (n.lower(), v.strip())
                    for n, _, v in (
                        each.partition(":")
                        for each in rest.decode("latin-1").split("\r\n")
                        if ":" in each
                    )
                ]
                return status, headers, content
            expect(len(rest) >= size + 2, "cut inside a chunk")
            content += rest[:size]
            rest = rest[size + 2 :]
    if "content-length" in values:
        expect(len(rest) == int(values["content-length"]), f"{len(rest)} octets of content")
    expect(not rest.endswith(b"<reset>"), "reset")
    return status, headers, rest


CASES: dict[str, Callable[[Server], None]] = {}
"""What is checked, by name."""


def case(fn: Callable[[Server], None]) -> Callable[[Server], None]:
    CASES[fn.__name__] = fn
    return fn


@case
def a_scope_has_what_the_specification_lists(server: Server) -> None:
    status, _, content = server.ask("/scope/a%20b?x=%20&y", "X-One: 1", "x-one: 2", case="s")
    scope = json.loads(content)
    expect(status == 200, status)
    expect(scope["type"] == "http", scope["type"])
    expect(scope["asgi"]["version"] == "3.0", scope["asgi"])
    expect(scope["asgi"].get("spec_version", "2.0") >= "2.3", scope["asgi"])
    expect(scope["http_version"] == "1.1", scope["http_version"])
    expect(scope["method"] == "GET", scope["method"])
    expect(scope["scheme"] == "http", scope["scheme"])
    expect(scope["path"] == "/scope/a b", scope["path"])
    expect(scope["raw_path"] == "/scope/a%20b", scope["raw_path"])
    expect(scope["query_string"] == "x=%20&y", scope["query_string"])
    expect(scope.get("root_path", "") == "", scope.get("root_path"))
    expect([v for n, v in scope["headers"] if n == "x-one"] == ["1", "2"], scope["headers"])
    expect(all(n == n.lower() for n, _ in scope["headers"]), scope["headers"])
    expect(scope["client"][0] == "127.0.0.1" and scope["client"][1] > 0, scope["client"])
    expect(scope["server"] == ["127.0.0.1", server.port], scope["server"])


@case
def a_path_is_decoded_as_utf_8(server: Server) -> None:
    scope = json.loads(server.ask("/scope/%C3%A9%2F%FF", case="s")[2])
    expect(scope["path"].startswith("/scope/é/"), scope["path"])
    expect(scope["raw_path"] == "/scope/%C3%A9%2F%FF", scope["raw_path"])


@case
def an_old_version_is_told(server: Server) -> None:
    scope = json.loads(server.ask("/scope", case="s", version="1.0")[2])
    expect(scope["http_version"] == "1.0", scope["http_version"])


@case
def the_lifespan_state_is_copied_for_each_request(server: Server) -> None:
    scope = json.loads(server.ask("/scope", case="s")[2])
    expect(scope.get("state", {}).get("shared") == {"count": 0}, scope.get("state"))


@case
def content_of_known_length_is_received(server: Server) -> None:
    name = server.next_case()
    content = bytes(range(256)) * 1000
    expect(server.ask("/echo", method="POST", content=content, case=name)[2] == content, "differs")
    messages: list[dict[str, Any]] = [each for each in server.report(name) if each != "ended"]
    expect(all(each["type"] == "http.request" for each in messages), messages[-1]["type"])
    expect(not messages[-1].get("more_body", False), "the last one says that there is more")
    expect(all(each["more_body"] for each in messages[:-1]), "one before says that it is the last")


@case
def chunked_content_is_received(server: Server) -> None:
    name = server.next_case()
    chunks = b"3\r\nabc\r\n5;x=y\r\ndefgh\r\n0\r\nX-Trailer: 1\r\n\r\n"
    ask = request("/echo", "Transfer-Encoding: chunked", method="POST", content=chunks, case=name)
    expect(parse(server.talk(ask))[2] == b"abcdefgh", "differs")


@case
def a_request_without_content_has_an_empty_one(server: Server) -> None:
    name = server.next_case()
    server.ask("/echo", case=name)
    first = server.report(name)[0]
    expect(first["type"] == "http.request", first)
    expect(first.get("body", "") == "" and not first.get("more_body", False), first)


@case
def a_client_that_leaves_is_a_disconnect(server: Server) -> None:
    name = server.next_case()
    with server.connect() as sock:
        sock.sendall(request("/wait", case=name, close=False))
        deadline = time.monotonic() + 10
        while not json.loads(server.ask(f"/report?{name}")[2]):
            expect(time.monotonic() < deadline, "the application was not called")
    expect(server.report(name) == ["http.request", "http.disconnect", "ended"], "not told")


@case
def a_client_that_leaves_inside_its_content_is_a_disconnect(server: Server) -> None:
    name = server.next_case()
    with server.connect() as sock:
        sock.sendall(request("/wait", "Content-Length: 100", method="POST", case=name) + b"abc")
        deadline = time.monotonic() + 10
        while not json.loads(server.ask(f"/report?{name}")[2]):
            expect(time.monotonic() < deadline, "the application was not called")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    expect(server.report(name)[-2:] == ["http.disconnect", "ended"], "not told")


@case
def after_the_answer_comes_a_disconnect_and_messages_are_ignored(server: Server) -> None:
    name = server.next_case()
    expect(server.ask("/after", case=name)[2] == b"whole", "differs")
    found = server.report(name)
    expect(found == ["http.disconnect", "ignored", "ended"], found)


@case
def sending_after_the_client_left_raises_an_oserror(server: Server) -> None:
    """Version 2.4: an OSError of the server's own."""
    name = server.next_case()
    with server.connect() as sock:
        sock.sendall(request("/stream", case=name))
        sock.recv(1000)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    last: Any = server.report(name)[-1]
    expect(last != "ended" and last["oserror"], last)


@case
def a_slow_client_keeps_the_application_waiting(server: Server) -> None:
    name = server.next_case()
    with server.connect() as sock:
        sock.sendall(request("/stream", case=name))
        sock.recv(1000)
        time.sleep(0.5)
        expect(not json.loads(server.ask(f"/report?{name}")[2]), "320 MiB are in somebody's memory")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@case
def head_has_no_content(server: Server) -> None:
    status, headers, _ = server.ask("/head", method="HEAD", case="h")
    expect(status == 200 and dict(headers)["content-length"] == "5", headers)


@case
def an_answer_without_content_has_no_framing(server: Server) -> None:
    status, headers, _ = server.ask("/empty", case="e")
    expect(status == 204 and "transfer-encoding" not in dict(headers), headers)


@case
def headers_are_kept_in_order_and_framing_is_the_servers(server: Server) -> None:
    _, headers, content = server.ask("/headers", case="h")
    expect([v for n, v in headers if n == "set-cookie"] == ["a=1", "b=2"], headers)
    expect(content == b"hello", content)
    framing = [n for n, _ in headers if n in ("content-length", "transfer-encoding")]
    expect(len(framing) == 1, headers)


def _is_500(server: Server, target: str) -> None:
    status, headers, content = server.ask(target, case="x")
    expect(status == 500, status)
    expect(b"secret" not in content and b"Traceback" not in content, content[:200])
    expect("x-a" not in dict(headers), "headers of the answer that failed")


@case
def raising_before_the_start_is_500(server: Server) -> None:
    _is_500(server, "/raise/first")


@case
def raising_before_the_content_is_500(server: Server) -> None:
    _is_500(server, "/raise/started")


@case
def returning_without_an_answer_is_500(server: Server) -> None:
    _is_500(server, "/return/first")


@case
def content_before_the_start_is_500(server: Server) -> None:
    _is_500(server, "/order/first")


@case
def starting_twice_is_500(server: Server) -> None:
    _is_500(server, "/order/twice")


def _is_cut(server: Server, target: str) -> None:
    try:
        found = server.ask(target, case="x")
    except WrongError as wrong:
        expect(any(word in str(wrong) for word in ("cut", "reset", "octets")), wrong)
    else:
        expect(found[0] == 500, f"an answer that looks whole: {found}")


@case
def raising_among_the_content_cuts_the_answer(server: Server) -> None:
    _is_cut(server, "/raise/between")


@case
def returning_among_the_content_cuts_the_answer(server: Server) -> None:
    _is_cut(server, "/return/between")


@case
def less_content_than_announced_cuts_the_answer(server: Server) -> None:
    _is_cut(server, "/length")


@case
def requests_of_one_connection_are_answered_in_order(server: Server) -> None:
    asked = request("/late", case="p", close=False) + request("/head", case="p")
    found = server.talk(asked)
    expect(found.count(b"HTTP/1.1 200") == 2 and found.endswith(b"hello"), found)


@case
def a_client_is_told_to_go_on_when_content_is_received(server: Server) -> None:
    with server.connect() as sock:
        sock.sendall(
            request("/late", "Content-Length: 3", "Expect: 100-continue", method="POST", case="c")
        )
        began = time.monotonic()
        expect(sock.recv(1000).startswith(b"HTTP/1.1 100"), "no 100")
        expect(time.monotonic() - began > 0.2, "100 before the application has asked for content")
        sock.sendall(b"abc")
        expect(parse(read_all(sock))[0] == 200, "no answer")


@case
def extensions_that_are_offered_work(server: Server) -> None:
    scope = json.loads(server.ask("/scope", case="s")[2])
    there: dict[str, Any] = scope.get("extensions") or {}
    data = server.talk(request("/extensions", "TE: trailers", case="x"))
    if "http.response.early_hint" in there:
        expect(data.startswith(b"HTTP/1.1 103 "), data[:80])
        expect(b"</a.css>; rel=preload" in data.partition(b"\r\n\r\n")[0], data[:200])
    _, headers, content = parse(data)
    expect(content == b"onetwo", content)
    if "http.response.trailers" in there:
        expect(("x-sum", "2") in headers, headers)
    content = server.ask("/path", case="x")[2]
    if "http.response.pathsend" in there:
        with open(__file__, "rb") as file:
            expect(content == file.read(), content[:80])


# ── WebSocket ─────────────────────────────────────────────────────────────────


def _websocket_to(server: Server, path: str, case: str, **options: Any) -> Any:
    connect: Any = import_module("websockets.sync.client").connect
    return connect(
        f"ws://127.0.0.1:{server.port}{path}",
        additional_headers={"X-Case": case},
        open_timeout=10,
        proxy=None,
        **options,
    )


@case
def a_websocket_echoes_and_closes(server: Server) -> None:
    from websockets.typing import Subprotocol

    name = server.next_case()
    asked = [Subprotocol("one"), Subprotocol("two")]
    with _websocket_to(server, "/a%20b?q", name, subprotocols=asked) as ws:
        expect(ws.subprotocol == "two", ws.subprotocol)
        expect(ws.response.headers["x-a"] == "b", ws.response.headers)
        ws.send("text")
        expect(ws.recv(10) == "text", "differs")
        ws.send(b"\0\xff")
        expect(ws.recv(10) == b"\0\xff", "differs")
        ws.close(3001, "bye")
    deadline = time.monotonic() + 10
    while (seen := json.loads(server.ask(f"/report?{name}")[2]))[-1]["type"] != (
        "websocket.disconnect"
    ):
        expect(time.monotonic() < deadline, seen)
    scope = seen[0]
    expect(scope["scheme"] == "ws", scope["scheme"])
    expect((scope["path"], scope["query_string"]) == ("/a b", "q"), scope)
    expect(scope["subprotocols"] == ["one", "two"], scope["subprotocols"])
    expect(seen[1] == "websocket.connect", seen[1])
    expect(seen[2].get("text") == "text" and seen[2].get("bytes") is None, seen[2])
    expect(seen[3].get("bytes") == "\0ÿ" and seen[3].get("text") is None, seen[3])
    expect(seen[-1]["code"] == 3001, seen[-1])
    expect(seen[-1].get("reason") == "bye", seen[-1])


@case
def a_websocket_that_is_refused_is_403(server: Server) -> None:
    _refused(server, "/deny", 403)


@case
def a_websocket_may_be_refused_with_a_page(server: Server) -> None:
    name = server.next_case()
    status = _refused(server, "/page", None, name)
    scope = json.loads(server.ask(f"/report?{name}")[2])[0]
    offered = "websocket.http.response" in (scope.get("extensions") or {})
    expect(status == (418 if offered else 403), status)


def _refused(server: Server, path: str, status: int | None, name: str = "") -> int:
    from websockets.exceptions import InvalidStatus

    try:
        with _websocket_to(server, path, name or server.next_case()):
            raise WrongError("it was accepted")
    except InvalidStatus as error:
        found: int = error.response.status_code
        expect(status is None or found == status, found)
        return found


@case
def an_application_that_fails_closes_its_websocket(server: Server) -> None:
    from websockets.exceptions import ConnectionClosed

    with _websocket_to(server, "/fail", server.next_case()) as ws:
        try:
            ws.recv(10)
        except ConnectionClosed as error:
            code = error.rcvd.code if error.rcvd else 1006
            expect(code in (1011, 1006), code)


def check(port: int) -> dict[str, str]:
    """Check a server; what is wrong by the names of the cases that fail."""
    server = Server(port)
    wrong: dict[str, str] = {}
    for name, run in CASES.items():
        try:
            run(server)
        except Exception as error:
            wrong[name] = f"{type(error).__name__}: {error}"[:300]
    return wrong


if __name__ == "__main__":
    found = check(int(sys.argv[1]))
    for each in CASES:
        print("ok  " if each not in found else "FAIL", each, found.get(each, ""))
    sys.exit(bool(found))
