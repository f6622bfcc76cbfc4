"""What a client writes as a path, and as a listing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.ftp.errors import FileUnavailableError
from sennit.ftp.paths import Pattern, resolve, split_listing, written


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", ("a", "b")),
        (".", ("a", "b")),
        ("c", ("a", "b", "c")),
        ("./c//d/", ("a", "b", "c", "d")),
        ("..", ("a",)),
        ("../..", ()),
        ("../c", ("a", "c")),
        ("/", ()),
        ("/c/../d", ("d",)),
        ("~root", ("a", "b", "~root")),
        ("c\\..\\d", ("a", "b", "c\\..\\d")),
        ("...", ("a", "b", "...")),
        ("{x,y}*", ("a", "b", "{x,y}*")),
        (" c ", ("a", "b", " c ")),
    ],
)
def test_a_path_is_names_between_slashes(text: str, path: tuple[str, ...]) -> None:
    assert resolve(text, ("a", "b")) == path


@pytest.mark.parametrize(
    "text", ["../../..", "/..", "/../../etc/passwd", "c/../../../../d", "a\0b", "x" * 5000]
)
def test_nothing_leads_above_the_root_or_is_too_long(text: str) -> None:
    """HARDENING ftp-3: as what is not there."""
    with pytest.raises(FileUnavailableError):
        resolve(text, ("a", "b"))


def test_a_path_is_as_long_as_it_is_in_full_and_in_octets() -> None:
    assert resolve("x" * 4000, ("y" * 90,))
    with pytest.raises(FileUnavailableError):
        resolve("x" * 4000, ("y" * 100,))
    with pytest.raises(FileUnavailableError):
        resolve("日" * 2000)


def test_a_path_is_not_deeper_than_directories_can_be_opened_in_no_time() -> None:
    """Sixty-four commands with two thousand names each kept the loop for two seconds."""
    assert len(resolve("a/" * 127, ("b",))) == 128
    assert resolve("a/../" * 800 + "a") == ("a",)
    with pytest.raises(FileUnavailableError):
        resolve("a/" * 128, ("b",))


@given(st.text(max_size=60), st.lists(st.sampled_from("ab"), max_size=3))
def test_no_path_has_names_that_are_none(text: str, directory: list[str]) -> None:
    try:
        path = resolve(text, tuple(directory))
    except FileUnavailableError:
        return
    for name in path:
        assert name not in ("", ".", "..")
        assert "/" not in name
        assert "\0" not in name
    assert resolve(written(path), ("elsewhere",)) == path


@pytest.mark.parametrize(
    ("argument", "text", "pattern", "options"),
    [
        (None, "", None, ""),
        ("dir", "dir", None, ""),
        ("-la", "", None, "la"),
        ("-l -a dir name", "dir name", None, "la"),
        ("*.txt", "", Pattern("*.txt"), ""),
        ("-a a/b/*", "a/b/", Pattern("*", hidden=True), "a"),
        ("/*", "/", Pattern("*"), ""),
        ("a?[b]{c}", "a?[b]{c}", None, ""),
    ],
)
def test_a_listing_has_options_a_path_and_a_pattern(
    argument: str | None, text: str, pattern: Pattern | None, options: str
) -> None:
    assert split_listing(argument) == (text, pattern, options)


@pytest.mark.parametrize("argument", ["*/../*/../*", "a*/b", "-R", "-lR dir", "-l -R *"])
def test_one_level_is_listed_and_no_more(argument: str) -> None:
    """HARDENING ftp-4 (CVE-2011-0762)."""
    with pytest.raises(FileUnavailableError):
        split_listing(argument)


@pytest.mark.parametrize(
    ("pattern", "names", "others"),
    [
        ("*", ["a", "a.b"], [".a"]),
        (".*", [".a", "."], ["a"]),
        ("*.txt", ["a.txt", "b.txt.txt"], ["a.txt2", ".txt", "txt"]),
        ("a*b*c", ["abc", "axxbxxc", "abcbc"], ["ab", "acb", "xabc"]),
        ("aa*aa", ["aaaa", "aaxaa"], ["aaa", "aa"]),
        ("**", ["a", "ab"], [".a"]),
        ("a", ["a"], ["aa", ""]),
    ],
)
def test_a_star_is_any_characters(pattern: str, names: list[str], others: list[str]) -> None:
    assert [each for each in names + others if Pattern(pattern).matches(each)] == names


def test_matching_many_stars_is_no_work() -> None:
    pattern = Pattern("a*" * 2000 + "b")

    assert not pattern.matches("a" * 4000)
