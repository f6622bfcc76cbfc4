"""Replies of servers, read from octets, and what stands in their text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.ftp.errors import FTPPermanentError, FTPProtocolError, FTPTransientError
from sennit.ftp.limits import ClientLimits
from sennit.ftp.replies import (
    Reply,
    ReplyReader,
    features_of,
    hash_of,
    name_is_safe,
    passive_port,
    quoted_path,
    refusal,
    size_of,
)

TEXT = st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"])


def read(data: bytes, *, cut: int = 0, limits: ClientLimits | None = None) -> list[Reply]:
    """All replies in some octets, which may come in pieces."""
    reader = ReplyReader(limits)
    found: list[Reply] = []
    step = cut or len(data) or 1
    for at in range(0, len(data), step):
        reader.receive(data[at : at + step])
        while (reply := reader.next_reply()) is not None:
            found.append(reply)
    return found


@pytest.mark.parametrize("cut", [0, 1, 2, 7])
@pytest.mark.parametrize(
    ("octets", "replies"),
    [
        (b"220 hello\r\n", [Reply(220, ("hello",))]),
        (b"220\r\n", [Reply(220, ("",))]),
        (b"220 \r\n331 next\r\n", [Reply(220, ("",)), Reply(331, ("next",))]),
        # RFC 959 §4.2's own example: lines between may begin as they like.
        (
            (
                b"123-First line\r\nSecond line\r\n  234 A line beginning with numbers\r\n"
                b"123 The last line\r\n"
            ),
            [
                Reply(
                    123,
                    (
                        "First line",
                        "Second line",
                        "  234 A line beginning with numbers",
                        "The last line",
                    ),
                )
            ],
        ),
        (
            b"211-Features\r\n MDTM\r\n211-SIZE\r\n200 not the end\r\n211 End\r\n",
            [Reply(211, ("Features", " MDTM", "SIZE", "200 not the end", "End"))],
        ),
        ('257 "/ä"\r\n'.encode(), [Reply(257, ('"/ä"',))]),
        (b"250 \xe4\xff\xff\r\n", [Reply(250, ("\udce4\udcff",))]),
    ],
)
def test_replies_are_read_wherever_they_are_cut(
    octets: bytes, replies: list[Reply], cut: int
) -> None:
    assert read(octets, cut=cut) == replies


@pytest.mark.parametrize(
    "octets",
    [
        b"hello\r\n",
        b"99 low\r\n",
        b"600 high\r\n",
        b"2200 long\r\n",
        b"220_no\r\n",
        b"\r\n",
        "２２０ wide\r\n".encode(),
        b"250 a\nb\r\n",
        b"250 a\rb\r\n",
        b"250 a\0b\r\n",
        b"250-x\r\na\n226 forged\r\n",
    ],
)
def test_what_is_no_reply_is_a_fault(octets: bytes) -> None:
    """HARDENING Defaults 9: a file's name in a reply must not end its line."""
    with pytest.raises(FTPProtocolError):
        read(octets)


def test_a_reply_has_a_hundred_lines_at_most() -> None:
    """HARDENING ftp-8: endless multi-line reply."""
    line = b"211-x\r\n"
    assert len(read(line * 99 + b"211 end\r\n")[0].lines) == 100
    with pytest.raises(FTPProtocolError, match="100 lines"):
        read(line * 101)
    with pytest.raises(FTPProtocolError, match="100 lines"):
        read(b"211-x\r\n" + b" y\r\n" * 200)


def test_a_line_has_a_bound_whether_its_end_comes_or_not() -> None:
    limits = ClientLimits(max_line=64)
    assert read(b"220 " + b"a" * 58 + b"\r\n", limits=limits)
    for octets in (b"220 " + b"a" * 59 + b"\r\n", b"2" * 65):
        with pytest.raises(FTPProtocolError, match="64 octets"):
            read(octets, cut=5, limits=limits)


@given(st.binary(max_size=300), st.integers(1, 9))
def test_any_octets_make_replies_or_a_fault_and_cuts_change_nothing(data: bytes, cut: int) -> None:
    def outcome(step: int) -> object:
        try:
            return read(data, cut=step, limits=ClientLimits(max_line=40, max_reply_lines=4))
        except FTPProtocolError as error:
            return error.rule

    whole, pieces = outcome(0), outcome(cut)
    assert isinstance(whole, str) == isinstance(pieces, str)
    if not isinstance(whole, str):
        assert whole == pieces


@given(
    st.integers(100, 599),
    st.lists(
        st.text(
            st.characters(exclude_characters="\r\n\0\xff", exclude_categories=["Cs"]), max_size=9
        ),
        max_size=5,
    ),
)
def test_what_is_written_is_read(code: int, lines: list[str]) -> None:
    written = "".join(f"{code}-{line}\r\n" for line in lines) + f"{code} end\r\n"

    assert read(written.encode()) == [Reply(code, (*lines, "end"))]


@pytest.mark.parametrize(
    ("reply", "port"),
    [
        (Reply(229, ("Entering Extended Passive Mode (|||6446|)",)), 6446),
        (Reply(229, ("ok (!!!1!)",)), 1),
        (Reply(227, ("Entering Passive Mode (10,0,0,5,4,1).",)), 1025),
        (Reply(227, ("=10,0,0,5,255,255",)), 65535),
        (
            Reply(
                227,
                (
                    "first",
                    " 127,0,0,1,0,21",
                ),
            ),
            21,
        ),
    ],
)
def test_a_passive_reply_gives_its_port_alone(reply: Reply, port: int) -> None:
    """HARDENING ftp-8: the host it names is nobody's business."""
    assert passive_port(reply) == port


@pytest.mark.parametrize(
    "reply",
    [
        Reply(229, ("(|||0|)",)),
        Reply(229, ("(|||65536|)",)),
        Reply(229, ("(|1|10.0.0.1|21|)",)),
        Reply(229, ("(|||٣|)",)),
        Reply(227, ("(1,2,3,4,5)",)),
        Reply(227, ("(1,2,3,4,256,1)",)),
        Reply(227, ("(1,2,3,4,0,0)",)),
        Reply(227, ("(1234,2,3,4,5,6)",)),
        Reply(227, ("",)),
    ],
)
def test_a_passive_reply_without_a_port_is_a_fault(reply: Reply) -> None:
    with pytest.raises(FTPProtocolError):
        passive_port(reply)


@pytest.mark.parametrize(
    ("text", "path"),
    [('"/a/b" is cwd', "/a/b"), ('"/a""b"', '/a"b'), ('made "" here', ""), ('x """" y', '"')],
)
def test_a_path_stands_between_quotes(text: str, path: str) -> None:
    assert quoted_path(Reply(257, (text,))) == path


@pytest.mark.parametrize("text", ["/a/b", '"/a', 'x"', '"a""'])
def test_a_path_without_its_quotes_is_a_fault(text: str) -> None:
    with pytest.raises(FTPProtocolError):
        quoted_path(Reply(257, (text,)))


@pytest.mark.parametrize("text", ["", "-1", "+1", "1_0", "0x1", "9" * 19, "1.5", "٣"])
def test_a_size_is_digits_alone(text: str) -> None:
    """HARDENING Defaults 8."""
    assert size_of(Reply(213, (" 12 ",))) == 12
    with pytest.raises(FTPProtocolError):
        size_of(Reply(213, (text,)))


def test_a_hash_is_found_where_it_stands() -> None:
    digest = "0123456789abcdef" * 4
    for end in ("49", "30000000"):  # which would be four octets in hexadecimal
        reply = Reply(213, (f"SHA-256 0-{end} {digest.upper()} name",))
        assert hash_of(reply, len(digest)) == digest
    with pytest.raises(FTPProtocolError):
        hash_of(Reply(213, ("SHA-256 0-30000000 name",)), len(digest))


def test_features_are_words_and_what_stands_behind() -> None:
    lines = ("Features:", " utf8", " REST STREAM", " MLST type*;size*;", "", "End")
    assert features_of(lines) == {"UTF8": "", "REST": "STREAM", "MLST": "type*;size*;"}
    assert features_of(("no features",)) == {}


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "../x", "a\0", "a\nb", "a\rb"])
def test_names_that_lead_elsewhere_are_not_safe(name: str) -> None:
    """HARDENING ftp-8."""
    assert not name_is_safe(name)
    assert name_is_safe("a b…")


def test_refusals_are_for_now_or_for_good() -> None:
    assert isinstance(refusal(Reply(450, ("busy",)), "RETR"), FTPTransientError)
    error = refusal(Reply(550, ("no \udce4",)), "RETR")
    assert isinstance(error, FTPPermanentError)
    assert str(error) == "RETR: 550 no \ufffd"
