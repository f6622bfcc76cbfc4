"""Ports of data connections that nobody has named."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from sennit.core.reactor.base import current_reactor
from sennit.core.transport.binding import DYNAMIC
from sennit.ftp.data import DataConnection, DataPort
from sennit.ftp.ports import any_port, free_choice

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """What Linux tells of its ports."""
    (tmp_path / "ip_local_port_range").write_text("32768\t60999\n")
    (tmp_path / "ip_local_reserved_ports").write_text("\n")
    return tmp_path


def test_they_are_those_that_the_system_hands_out(settings: Path) -> None:
    assert free_choice(str(settings)) == range(32_768, 61_000)


def test_they_are_never_those_of_services(settings: Path) -> None:
    (settings / "ip_local_port_range").write_text("1 60999\n")
    assert free_choice(str(settings)) == range(1024, 61_000)


@pytest.mark.parametrize("text", ["", "no numbers", "1 2 3"])
def test_a_system_that_does_not_tell_has_the_dynamic_ones(settings: Path, text: str) -> None:
    (settings / "ip_local_port_range").write_text(text)
    assert free_choice(str(settings)) == DYNAMIC
    assert free_choice(str(settings / "missing")) == DYNAMIC


def test_where_some_are_reserved_the_kernel_chooses(settings: Path) -> None:
    """RFC 6056 §3.2."""
    (settings / "ip_local_reserved_ports").write_text("50000-50100\n")
    assert not free_choice(str(settings))


def test_the_kernel_searches_when_luck_does_not_help(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = list(any_port())
    assert tried[-1] == 0
    assert all(each in free_choice() for each in tried[:-1])
    monkeypatch.setattr("sennit.ftp.ports.free_choice", lambda: range(0))
    assert list(any_port()) == [0]


async def test_a_port_that_somebody_has_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        taken = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        monkeypatch.setattr("sennit.ftp.ports.free_choice", lambda: range(taken, taken + 1))
        port = DataPort(current_reactor(), "127.0.0.1", lambda: DataConnection(1))
        stack.callback(port.close)
        assert port.listen("127.0.0.1") != taken
