"""Finding an HTTP client, and what answers at a path of a site, whoever brings it."""

from __future__ import annotations

from typing import Any

import pytest

from sennit.core import http
from sennit.core.http import (
    HTTP_CLIENTS,
    WEB_HANDLERS,
    HTTPAnswer,
    HTTPQuestion,
    IHTTPClient,
    http_client,
    web_handler,
)
from sennit.core.plugin import UnknownPluginError


class Client:
    """Answers by itself."""

    def __init__(self, **options: object) -> None:
        self.options = options

    async def fetch(self, method: str, url: str, *_: Any, **__: Any) -> HTTPAnswer:
        return HTTPAnswer(200, [], f"{method} {url}".encode())

    async def aclose(self) -> None:
        pass

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


async def test_whichever_is_installed_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, Any] = {"first": Client, "second": None}

    def installed(group: str) -> dict[str, Any]:
        assert group == HTTP_CLIENTS
        return found

    def find(group: str, name: str) -> object:
        return installed(group)[name]

    monkeypatch.setattr(http, "installed", installed)
    monkeypatch.setattr(http, "find", find)

    client: IHTTPClient
    async with http_client() as client:
        answer = await client.fetch("GET", "http://example/")
        assert answer == (200, [], b"GET http://example/")
    assert isinstance(client, Client)
    assert client.options == {"tls": None}


def test_where_there_is_none_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(group: str) -> dict[str, Any]:
        return {}

    monkeypatch.setattr(http, "installed", installed)
    with pytest.raises(UnknownPluginError, match="pip install sennit-web"):
        http_client()


def test_what_answers_at_a_path_is_found_by_name_and_told_its_options(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def find(group: str, name: str) -> object:
        assert (group, name) == (WEB_HANDLERS, "echo")
        return make

    made: list[str] = []

    def make(*, word: str = "") -> object:
        made.append(word)
        return object()

    monkeypatch.setattr(http, "find", find)

    assert web_handler("echo", word="a") is not None
    assert made == ["a"]
    with pytest.raises(ValueError, match="'echo' takes no such options"):
        web_handler("echo", words="a")


def test_a_question_has_fields_by_name() -> None:
    fields = [(b"accept", b"a"), (b"accept", b"b")]
    asked = HTTPQuestion("GET", "/a", "b=c", fields, b"", ("192.0.2.1", 1), False)

    assert asked.header(b"accept") == b"a"
    assert asked.header(b"host") == b""
