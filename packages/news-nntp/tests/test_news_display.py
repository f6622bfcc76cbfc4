"""Articles for people: decoded where they can be, and never obeyed by a terminal."""

from __future__ import annotations

import pytest

from sennit.news.display import article_fields, article_lines, field_text, harmless

HEAD = b"Subject: s\r\n"


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (b" plain ", "plain"),
        (b"=?utf-8?q?Gr=C3=BC=C3=9Fe?= here", "Grüße here"),
        (b"=?iso-8859-1?b?/A==?=", "ü"),
        (b"=?unknown?q?x?=", "=?unknown?q?x?="),
        (b"=?ut\xfff?q?x?=", "=?ut\ufffdf?q?x?="),
        (b"=?utf-8?b?@@@?=", "=?utf-8?b?@@@?="),
        ("8-bit ü".encode(), "8-bit ü"),
        (b"\xff", "\ufffd"),
        (b"folded\r\n content\tand tab", "folded content and tab"),
        (b"\x1b[2J", r"\x1b[2J"),
        (b"=?utf-8?q?=1B=5B2J=0D=0AX?=", r"\x1b[2J X"),
        ("\u202etxet".encode(), r"\u202etxet"),
    ],
)
def test_the_content_of_a_field_is_decoded_and_harmless(content: bytes, shown: str) -> None:
    assert field_text(content) == shown


def test_tabs_stay_and_long_lines_are_cut() -> None:
    assert harmless("a\tb\x00") == "a\tb\\x00"
    assert len(harmless("x" * 100_000)) < 20_000


def test_fields_are_those_that_readers_look_at_or_all() -> None:
    octets = (
        b"Path: x\r\nsubject: one\r\nFrom: a\r\n b\r\nrubbish\r\nSubject: two\r\n\r\nbody: x\r\n"
    )
    assert article_fields(octets) == [("From", "a b"), ("subject", "one")]
    assert article_fields(octets, everything=True) == [
        ("Path", "x"),
        ("subject", "one"),
        ("From", "a b"),
        ("Subject", "two"),
    ]


def body(octets: bytes) -> list[str]:
    return list(article_lines(octets))


@pytest.mark.parametrize(
    "parameters", [b'x="' + b";" * 100_000, b"a=b;" * 100_000, b"x;\r\n " * 100_000]
)
def test_parameters_without_end_are_not_looked_at(parameters: bytes) -> None:
    """Python's parser takes minutes for these."""
    octets = HEAD + b"Content-Type: text/plain; " + parameters + b"\r\n\r\n=3D\r\n"
    assert body(octets) == ["=3D"]


def test_a_plain_body_is_shown_line_by_line() -> None:
    assert body(HEAD + b"\r\none\r\n\r\ntwo \x07\r\n") == ["one", "", r"two \x07"]
    assert body(HEAD + b"\r\n") == [""]
    assert body(b"no head at all") != []


@pytest.mark.parametrize(
    ("fields", "octets", "lines"),
    [
        (b"Content-Type: text/plain; charset=iso-8859-1\r\n", b"\xfc\r\n", ["ü"]),
        (b"Content-Type: text/plain; charset=none-such\r\n", "ü\r\n".encode(), ["ü"]),
        (b'Content-Type: text/plain; charset="a\0b"\r\n', "ü\r\n".encode(), ["ü"]),
        (b"Content-Transfer-Encoding: quoted-printable\r\n", b"a=3Db=\r\nc\r\n", ["a=bc"]),
        (b"Content-Transfer-Encoding: base64\r\n", b"aGk=\r\n", ["hi"]),
        (b"Content-Transfer-Encoding: base64\r\n", b"!!!\r\n", ["!!!"]),
        (
            b"Content-Type: image/png; name=x.png\r\n",
            b"\x89PNG\r\n",
            ["[image/png x.png, not shown]"],
        ),
    ],
)
def test_a_body_is_decoded_as_its_head_says(fields: bytes, octets: bytes, lines: list[str]) -> None:
    assert body(HEAD + fields + b"\r\n" + octets) == lines


def test_parts_of_text_are_shown_and_others_named() -> None:
    octets = HEAD + (
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\nfirst\r\n--b\r\n'
        b'Content-Type: application/x; name="\x1b.exe"\r\n\r\nbinary\r\n--b\r\n\r\nlast\r\n'
        b"--b--\r\n"
    )
    assert body(octets) == ["first", r"[application/x \x1b.exe, not shown]", "", "last"]


def test_parts_within_parts_without_end_are_shown_all_the_same() -> None:
    octets = HEAD
    for depth in range(1200):
        octets += b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (depth, depth)
    assert body(octets + b"\r\nend\r\n")


def test_no_more_parts_than_some_are_looked_at() -> None:
    octets = (
        HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 1000
    )
    assert len(body(octets)) <= 200
