"""What other packages answer at a path of a site (`sennit.core.http.IHTTPHandler`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sennit.core import http, serve
from sennit.core.errors import ConfigError
from sennit.core.http import HTTPAnswer, HTTPQuestion
from sennit.core.plugin import UnknownPluginError
from sennit.core.service.loading import load
from sennit.web import Client, HandlerResource, Resource, Site, text
from sennit.web.handlers import mounted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from sennit.core.reactor.base import Reactor


class Echo:
    """Says back what it was asked; at ``/…/late`` in a while."""

    max_content = 10

    def __init__(self, **options: str) -> None:
        if "wrong" in options:
            raise ValueError("wrong is wrong")
        self.asked: list[HTTPQuestion] = []
        self.closed = False

    def answer(self, question: HTTPQuestion) -> HTTPAnswer | Awaitable[HTTPAnswer]:
        self.asked.append(question)
        said = f"{question.method} {question.path} {question.query}".encode()
        answer = HTTPAnswer(201, [(b"x-said", said)], b"<" + question.content + b">")
        return self._later(answer) if question.path.endswith("late") else answer

    async def _later(self, answer: HTTPAnswer) -> HTTPAnswer:
        return answer

    async def aclose(self) -> None:
        self.closed = True


async def pieces(more: bytes = b"") -> AsyncIterator[bytes]:
    yield b"01234"
    yield b"56789" + more


async def test_a_handler_answers_at_its_place_with_all_of_the_content() -> None:
    echo = Echo()
    site = Site()
    site.put_child("echo", HandlerResource(echo))
    async with (
        serve("tcp://127.0.0.1:0", site) as server,
        Client(base_url=f"http://127.0.0.1:{server.port}") as client,
    ):
        plain = await client.get("/echo?a=b")
        posted = await client.post("/echo/late", content=b"0123456789")
        piecewise = await client.post("/echo", content=pieces())
        too_long = await client.post("/echo", content=b"0123456789a")
        longer = await client.post("/echo", content=pieces(b"a"))
        headed = await client.head("/echo")
        missing = await client.get("/other")

    assert (plain.status, plain.content) == (201, b"<>")
    assert (b"x-said", b"GET /echo a=b") in list(plain.headers.raw)
    assert posted.content == piecewise.content == b"<0123456789>"
    assert too_long.status == longer.status == 413
    assert (headed.status, headed.content) == (201, b"")
    assert missing.status == 404
    first = echo.asked[0]
    assert first.peer[0] == "127.0.0.1"
    assert not first.secure
    assert len(echo.asked) == 4


async def test_handlers_stand_before_what_else_is_served() -> None:
    echo = Echo()
    handler = mounted({"/echo": echo})(lambda request: text("the rest"))
    site = Site()
    site.handler = handler
    async with (
        serve("tcp://127.0.0.1:0", site) as server,
        Client(base_url=f"http://127.0.0.1:{server.port}") as client,
    ):
        assert (await client.get("/echo?x")).status == 201
        assert (await client.get("/echo/")).text == "the rest"
        assert (await client.get("/")).text == "the rest"


@pytest.mark.parametrize("path", ["echo", "/a?b", "/ä", ""])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        mounted({path: Echo()})


def test_a_handler_is_a_leaf() -> None:
    assert HandlerResource(Echo()).leaf
    assert isinstance(HandlerResource(Echo()), Resource)


CONFIG = """
[service.site]
type = "web"
listen = ["tcp://127.0.0.1:0"]
{content}
{handlers}
"""


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Echo]:
    found: list[Echo] = []

    def find(group: str, name: str) -> Any:
        assert group == "sennit.web_handlers"
        if name != "echo":
            raise UnknownPluginError(group, name, "")

        def make(**options: str) -> Echo:
            found.append(Echo(**options))
            return found[-1]

        return make

    monkeypatch.setattr(http, "find", find)
    return found


def written(folder: Path, handlers: str, content: str = "") -> Path:
    path = folder / "sennit.toml"
    path.write_text(CONFIG.format(content=content, handlers=handlers))
    return path


@pytest.mark.parametrize("with_root", [False, True])
async def test_a_configuration_names_handlers_by_path(
    reactor: Reactor, tmp_path: Path, made: list[Echo], with_root: bool
) -> None:
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "index.html").write_text("files")
    content = 'root = "public"' if with_root else ""
    handlers = 'handlers = [{path = "/echo", handler = "echo", options = {a = "b"}}]'
    _, built = load(written(tmp_path, handlers, content)).build()
    service: Any = built["site"]
    await service.start(reactor)
    try:
        async with Client(base_url=service.urls[0].replace("tcp:", "http:")) as client:
            answers = [await client.get("/echo"), await client.get("/")]
    finally:
        await service.stop()

    assert [each.status for each in answers] == [201, 200 if with_root else 404]
    assert made[-1].closed


@pytest.mark.parametrize(
    ("handlers", "problem"),
    [
        ('handlers = [{path = "echo", handler = "echo"}]', "a path as it is asked for"),
        ('handlers = [{path = "/a", handler = "nobody"}]', "nobody"),
        ('handlers = [{path = "/a", handler = "echo", options = {wrong = "x"}}]', "wrong is wrong"),
        (
            'handlers = [{path = "/a", handler = "echo"}, {path = "/a", handler = "echo"}]',
            "twice",
        ),
        ("", "exactly one of them"),
    ],
)
def test_what_cannot_be_is_told_by_its_key(
    tmp_path: Path, made: list[Echo], handlers: str, problem: str
) -> None:
    with pytest.raises((ConfigError, ExceptionGroup)) as caught:
        load(written(tmp_path, handlers)).build()
    assert problem in str(caught.value) + str(getattr(caught.value, "exceptions", ""))
