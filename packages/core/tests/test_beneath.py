"""Files beneath a folder: what is reached, and what never is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sennit.core import beneath
from sennit.core.beneath import Descriptor, Folder


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    (tmp_path / "root/a/b").mkdir(parents=True)
    (tmp_path / "root/a/b/file").write_bytes(b"inside")
    (tmp_path / "outside").mkdir()
    (tmp_path / "root/link").symlink_to(tmp_path / "outside")
    (tmp_path / "root/a/inner").symlink_to("b")
    before = len(os.listdir("/dev/fd"))
    made = Folder(tmp_path / "root")
    yield made
    made.close()
    assert len(os.listdir("/dev/fd")) == before


def test_a_directory_is_reached_name_by_name(folder: Folder) -> None:
    found = folder.descend(["a", "b"])

    assert os.stat("file", dir_fd=found).st_size == 6
    folder.leave(found)


def test_the_folder_itself_stays_open_when_it_is_left(folder: Folder) -> None:
    found = folder.descend([])
    folder.leave(found)

    assert os.stat("a", dir_fd=found)
    assert folder.descend([]) == found


@pytest.mark.parametrize("names", [["link"], ["a", "inner"], ["a", "b", "file"], ["none", "b"]])
def test_links_files_and_what_is_missing_lead_nowhere(folder: Folder, names: list[str]) -> None:
    with pytest.raises(OSError, match=names[-1] if names[0] != "none" else "none"):
        folder.descend(names)


def test_links_are_followed_on_demand(folder: Folder) -> None:
    folder.leave(folder.descend(["link"], follow=True))
    folder.leave(folder.descend(["a", "inner"], follow=True))


def test_a_directory_that_was_moved_is_the_one_that_was_opened(
    folder: Folder, tmp_path: Path
) -> None:
    found = folder.descend(["a", "b"])
    (tmp_path / "root/a").rename(tmp_path / "root/c")
    (tmp_path / "root/a").symlink_to(tmp_path / "outside")

    assert os.stat("file", dir_fd=found)
    folder.leave(found)


def test_a_folder_that_took_the_place_of_another_is_found_a_second_later(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert os.stat("a", dir_fd=folder.own())
    (tmp_path / "root").rename(tmp_path / "old")
    (tmp_path / "root/new").mkdir(parents=True)
    assert os.stat("a", dir_fd=folder.own())

    monkeypatch.setattr(beneath, "_REOPEN_AFTER", 0.0)

    assert os.stat("new", dir_fd=folder.own())


def test_a_folder_may_come_later(tmp_path: Path) -> None:
    made = Folder(tmp_path / "later")
    with pytest.raises(FileNotFoundError):
        made.own()
    (tmp_path / "later").mkdir()

    assert made.own() >= 0
    made.close()


def test_a_descriptor_is_read_from_any_octet_and_closed_once(folder: Folder) -> None:
    place = folder.descend(["a", "b"])
    file = Descriptor(os.open("file", os.O_RDONLY, dir_fd=place))
    folder.leave(place)

    assert (file.read(2), file.tell(), file.read()) == (b"in", 2, b"side")
    assert (file.seek(4), file.read(), file.seekable()) == (4, b"de", True)
    fd = file.fileno()
    assert os.fstat(fd).st_size == 6
    file.close()
    file.close()
    assert file.closed
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)
