"""Our own servers, for clients of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from packages.ftp.tests.interop.serving import Served, serve_in_process

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Our server without TLS."""
    yield from serve_in_process(tmp_path_factory.mktemp("plain"), "plain")


@pytest.fixture(scope="session")
def explicit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Our server, which wants TLS by AUTH."""
    yield from serve_in_process(tmp_path_factory.mktemp("explicit"), "explicit")


@pytest.fixture(scope="session")
def implicit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Our server with TLS from the first octet on."""
    yield from serve_in_process(tmp_path_factory.mktemp("implicit"), "implicit")


@pytest.fixture(scope="session")
def lenient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """As `explicit`, but any session will do for data connections."""
    yield from serve_in_process(tmp_path_factory.mktemp("lenient"), "lenient")


@pytest.fixture(params=["plain", "explicit", "implicit"])
def served(request: pytest.FixtureRequest) -> Served:
    """Each of them in turn."""
    found: Served = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["plain", "explicit"])
def plain_or_explicit(request: pytest.FixtureRequest) -> Served:
    """Those that ftplib knows of."""
    found: Served = request.getfixturevalue(request.param)
    return found
