"""Programs of other frameworks, as people write them, for our server to host."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Annotated, Any

import flask
from fastapi import BackgroundTasks, Body, FastAPI, HTTPException, WebSocket
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse as StarletteFile
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket as StarletteWebSocket

# ── FastAPI ───────────────────────────────────────────────────────────────────

told: list[str] = []


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncGenerator[dict[str, Any]]:
    told.append("startup")
    yield {"greeting": "Hello"}
    told.append("shutdown")


class Item(BaseModel):
    name: str
    price: float = 1.5


fastapi_app = FastAPI(lifespan=_life)


@fastapi_app.get("/items/{number}")
async def item(number: int, q: str | None = None) -> dict[str, Any]:
    if number == 404:
        raise HTTPException(404, "no such thing")
    return {"number": number, "q": q}


@fastapi_app.post("/items")
async def make_item(item: Annotated[Item, Body()]) -> Item:
    return item


@fastapi_app.get("/blocking")
def blocking(request: Request) -> str:
    """Runs in a thread of anyio's."""
    time.sleep(0.01)
    return f"{request.state.greeting} from a thread"


@fastapi_app.get("/background")
async def background(tasks: BackgroundTasks) -> str:
    async def later() -> None:
        await asyncio.sleep(0.01)
        told.append("background")

    tasks.add_task(later)
    return "soon"


@fastapi_app.websocket("/ws/{name}")
async def chat(socket: WebSocket, name: str) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(f"{name}: {text}")


# ── Starlette ─────────────────────────────────────────────────────────────────


async def _stream(request: Request) -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        for number in range(1000):
            yield f"line {number}\n"
            if number % 100 == 0:
                await asyncio.sleep(0)

    return StreamingResponse(lines(), media_type="text/plain")


async def _upload(request: Request) -> JSONResponse:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return JSONResponse({"size": size, "root": request.scope["root_path"]})


async def _file(request: Request) -> StarletteFile:
    return StarletteFile(__file__)


async def _fail(request: Request) -> PlainTextResponse:
    raise RuntimeError("secret")


async def _echo(socket: StarletteWebSocket) -> None:
    await socket.accept(subprotocol="echo")
    await socket.send_bytes(await socket.receive_bytes())
    await socket.close(3000, "enough")


class _Headers(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["x-middleware"] = "yes"
        return response


_routes = [
    Route("/stream", _stream),
    Route("/upload", _upload, methods=["POST"]),
    Route("/file", _file),
    Route("/fail", _fail),
    WebSocketRoute("/echo", _echo),
]
starlette_app = Starlette(
    routes=[Mount("/inner", routes=_routes), *_routes],
    middleware=[Middleware(_Headers), Middleware(GZipMiddleware)],
)


# ── Django ────────────────────────────────────────────────────────────────────

# `Any`: Django has no types.
_django: Any = import_module("django")
_settings: Any = import_module("django.conf").settings
_http: Any = import_module("django.http")
_urls: Any = import_module("django.urls")


def _django_form(request: Any) -> Any:
    uploaded = request.FILES.get("file")
    size = uploaded.size if uploaded else 0
    response = _http.HttpResponse(f"{request.POST.get('name')} {size}")
    response.set_cookie("seen", "yes")
    return response


def _django_stream(request: Any) -> Any:
    def lines() -> Iterator[str]:
        for number in range(1000):
            yield f"line {number}\n"

    async def later_lines() -> AsyncIterator[str]:
        for line in lines():
            yield line

    # Django warns of a plain iterator under ASGI.
    found = later_lines() if type(request).__name__ == "ASGIRequest" else lines()
    return _http.StreamingHttpResponse(found, content_type="text/plain")


async def _django_later(request: Any) -> Any:
    await asyncio.sleep(0.01)
    return _http.HttpResponse(f"{request.method} {request.get_full_path()} {request.is_secure()}")


def _django_file(request: Any) -> Any:
    return _http.FileResponse(open(__file__, "rb"))


def _django_fail(request: Any) -> Any:
    raise RuntimeError("secret")


urlpatterns = [
    _urls.path("form", _django_form),
    _urls.path("stream", _django_stream),
    _urls.path("later", _django_later),
    _urls.path("file", _django_file),
    _urls.path("fail", _django_fail),
]

if not _settings.configured:
    _settings.configure(
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="for tests",
        LOGGING_CONFIG=None,
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    )
    _django.setup()

django_asgi: Any = import_module("django.core.asgi").get_asgi_application()
django_wsgi: Any = import_module("django.core.wsgi").get_wsgi_application()


# ── Flask ─────────────────────────────────────────────────────────────────────

flask_app = flask.Flask(__name__)


@flask_app.post("/form")
def flask_form() -> flask.Response:
    size = len(flask.request.files["file"].read())
    response = flask.make_response(f"{flask.request.form['name']} {size}")
    response.set_cookie("seen", "yes")
    return response


@flask_app.get("/stream")
def flask_stream() -> flask.Response:
    def lines() -> Iterator[str]:
        for number in range(1000):
            yield f"line {number}\n"

    return flask.Response(lines(), mimetype="text/plain")


@flask_app.get("/file")
def flask_file() -> flask.Response:
    return flask.send_file(__file__)


@flask_app.get("/url")
def flask_url() -> str:
    return flask.url_for("flask_url", _external=True, q="ä")


@flask_app.get("/fail")
def flask_fail() -> str:
    raise RuntimeError("secret")
