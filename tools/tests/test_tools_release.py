"""Versions and changelogs of one package at a time."""

from __future__ import annotations

import pytest

from tools import release


@pytest.mark.parametrize(
    ("current", "wanted", "becomes"),
    [
        ("0.1.0", "major", "1.0.0"),
        ("0.1.3", "minor", "0.2.0"),
        ("0.1.3", "patch", "0.1.4"),
        ("0.2.0rc1", "patch", "0.2.0"),
        ("0.1.0", "0.2.0rc1", "0.2.0rc1"),
    ],
)
def test_a_version_is_given_in_full_or_by_the_part_that_grows(
    current: str, wanted: str, becomes: str
) -> None:
    assert release.next_version(current, wanted) == becomes


@pytest.mark.parametrize("wanted", ["0.1.0", "0.0.9", "tomorrow"])
def test_a_version_has_to_be_later(wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        release.next_version("0.1.0", wanted)


def test_an_unknown_package_is_refused_with_those_that_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        release.main(["nonesuch", "minor"])

    assert ended.value.code == 2
    assert "core" in capsys.readouterr().err
