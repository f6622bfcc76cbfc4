"""Names and passwords out of ``~/.netrc``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from sennit.core.auth.netrc import read_netrc

if TYPE_CHECKING:
    from pathlib import Path


def test_netrc_tells_the_login_of_a_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "netrc"
    file.write_text("machine example.org login me password secret\n")
    file.chmod(0o600)
    monkeypatch.setenv("NETRC", str(file))
    login = read_netrc()
    assert login("example.org") == ("me", "secret")
    assert login("elsewhere.example") is None


def test_a_netrc_that_is_not_there_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert read_netrc()("example.org") is None
    with pytest.raises(FileNotFoundError):
        read_netrc(tmp_path / "none")


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_a_netrc_that_others_can_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "netrc"
    file.write_text("machine a login b password c\n")
    file.chmod(0o644)
    monkeypatch.setenv("NETRC", str(file))
    with pytest.raises(ValueError, match="chmod 600"):
        read_netrc()
    file.write_text("nonsense here\n")
    with pytest.raises(ValueError, match="netrc"):
        read_netrc(file)
