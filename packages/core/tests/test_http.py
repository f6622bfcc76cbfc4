"""Finding an HTTP client, whoever brings it."""

from __future__ import annotations

from typing import Any

import pytest

from sennit.core import http
from sennit.core.http import HTTP_CLIENTS, HTTPAnswer, IHTTPClient, http_client
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
