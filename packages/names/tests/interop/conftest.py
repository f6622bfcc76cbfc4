"""Servers of others for the tests of this folder; what they can do is in ``peers.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from packages.names.tests.interop.peers import Peers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[Peers]:
    """Starts named, nsd, knotd and unbound; they end with the test."""
    found = Peers(tmp_path)
    try:
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="module")
def module_peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    """The same for all tests of a module: what it starts ends with the last of them."""
    found = Peers(tmp_path_factory.mktemp("peers"))
    try:
        yield found
    finally:
        found.stop()
