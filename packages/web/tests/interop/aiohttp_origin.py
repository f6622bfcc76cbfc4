"""An aiohttp server for the client's tests: prints its port, serves until its input ends."""

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
from typing import Any

from aiohttp import web

MIB = 1024 * 1024
NONCES = {"fresh": 0}


async def cookies(request: web.Request) -> web.Response:
    """Set what is asked for; say what came."""
    answer = web.json_response(dict(request.cookies))
    for line in request.query.getall("set", []):
        answer.headers.add("Set-Cookie", line)
    return answer


async def form(request: web.Request) -> web.Response:
    """Say what aiohttp read of a form."""
    found: list[list[Any]] = []
    if request.content_type == "multipart/form-data":
        async for part in await request.multipart():
            assert not isinstance(part, type(None))
            data: Any = await part.read()  # type: ignore[union-attr]  # no nested parts are sent
            found.append(
                [part.name, part.filename, part.headers.get("Content-Type"), data.decode("latin-1")]  # type: ignore[union-attr]  # no part here has parts
            )
    else:
        found = [[name, None, None, value] for name, value in (await request.post()).items()]
    return web.json_response(found)


async def digest(request: web.Request) -> web.Response:
    """A verifier of RFC 7616, written for this test alone."""
    name = request.query["algorithm"]

    def h(text: str) -> str:
        return hashlib.new(
            {"SHA-256": "sha256", "SHA-512-256": "sha512_256", "MD5": "md5"}[name], text.encode()
        ).hexdigest()

    said = {
        key: quoted or plain
        for key, quoted, plain in re.findall(
            r'(\w+)=(?:"([^"]*)"|([^", ]+))', request.headers.get("Authorization", "")
        )
    }
    await request.read()
    nonce = f"nonce{NONCES['fresh']}"
    stale = ""
    if said:
        action = h(f"{request.method}:{request.raw_path}")
        wanted = h(
            f"{h('me:realm:secret')}:{said['nonce']}:{said['nc']}:{said['cnonce']}:auth:{action}"
        )
        if said["response"] == wanted and said["uri"] == request.raw_path:
            if said["nonce"] == nonce:
                if int(said["nc"], 16) % 3:
                    return web.Response(text=f"in {said['nc']}")
                NONCES["fresh"] += 1  # this one was used often enough
                fresh = f'nextnonce="nonce{NONCES["fresh"]}"'
                return web.Response(text="in", headers={"Authentication-Info": fresh})
            stale = ", stale=true"
    challenge = f'Digest realm="realm", qop="auth", algorithm={name}, nonce="{nonce}"{stale}'
    return web.Response(status=401, headers={"WWW-Authenticate": challenge}, text="no")


async def forget(request: web.Request) -> web.Response:
    """Take the nonce back, so that it is stale."""
    NONCES["fresh"] += 1
    return web.Response()


async def events(request: web.Request) -> web.StreamResponse:
    """Three events a connection, from where the client stands; 204 after nine."""
    begin = int(request.headers.get("Last-Event-ID", "0"))
    if begin >= 9:
        return web.Response(status=204)
    stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await stream.prepare(request)
    await stream.write(b"retry: 20\n\n")
    for number in range(begin + 1, begin + 4):
        await stream.write(f"id: {number}\nevent: count\ndata: {number}\ndata: ü\n\n".encode())
    if request.transport is not None and begin == 3:
        request.transport.abort()  # in the midst of the stream
    return stream


async def upload(request: web.Request) -> web.Response:
    """Count and digest what comes."""
    found = hashlib.sha256()
    size = 0
    async for chunk in request.content.iter_any():
        found.update(chunk)
        size += len(chunk)
    return web.json_response(
        [size, found.hexdigest(), request.headers.get("Content-Length"), request.method]
    )


async def download(request: web.Request) -> web.StreamResponse:
    """As many MiB as are asked for."""
    number = int(request.query["mib"])
    answer = web.StreamResponse()
    if "length" in request.query:
        answer.content_length = number * MIB
    if "coding" in request.query:
        answer.enable_compression(web.ContentCoding(request.query["coding"]))
    await answer.prepare(request)
    block = bytes(range(256)) * 4096
    for _ in range(number):
        await answer.write(block)
    return answer


async def moved(request: web.Request) -> web.Response:
    """Redirect as asked for; the content has to have come."""
    await request.read()
    return web.Response(
        status=int(request.query["status"]), headers={"Location": request.query["to"]}
    )


async def main() -> None:
    """Serve."""
    app = web.Application(client_max_size=4 * MIB)
    for path, handler in (
        ("/cookies", cookies),
        ("/form", form),
        ("/digest", digest),
        ("/forget", forget),
        ("/events", events),
        ("/upload", upload),
        ("/download", download),
        ("/moved", moved),
    ):
        app.router.add_route("*", path, handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server: Any = site._server
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
