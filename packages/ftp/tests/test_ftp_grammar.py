"""Command lines, Telnet's octets among them, hosts and ports, replies: the server's grammar."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sennit.ftp.errors import FTPProtocolError, FTPUsageError
from sennit.ftp.grammar import (
    CommandLine,
    HostPort,
    passive_reply,
    quoted,
    read_command,
    read_eprt,
    read_number,
    read_port,
    reply,
    same_host,
    strip_telnet,
)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"NOOP", CommandLine("NOOP", None)),
        (b"noop", CommandLine("NOOP", None)),
        (b"NOOP ", CommandLine("NOOP", None)),
        (b"RETR a b", CommandLine("RETR", "a b")),
        (b"RETR  a ", CommandLine("RETR", " a ")),
        ("CWD é/日".encode(), CommandLine("CWD", "é/日")),
        (b"PASS \xff\r", CommandLine("PASS", "\ufffd\r")),
    ],
)
def test_a_line_is_a_verb_and_what_stands_behind_one_blank(
    line: bytes, command: CommandLine
) -> None:
    assert read_command(line) == command


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"", 500),
        (b" NOOP", 500),
        (b"AB", 500),
        (b"ABCDEFGHI", 500),
        (b"NO\0P", 500),
        (b"\x16\x03\x01", 500),
        (b"RETR a\rb", 501),
        (b"RETR a\nb", 501),
        (b"RETR a\0b", 501),
        (b"RETR \xff", 501),
        (b"RETR \xed\xa0\x80", 501),
    ],
)
def test_what_is_no_command_is_refused(line: bytes, code: int) -> None:
    """CR, LF and NUL are errors, and names are UTF-8 (RFC 2640 §2.2)."""
    with pytest.raises(FTPProtocolError) as caught:
        read_command(line)
    assert caught.value.reply_code == code
    assert caught.value.rule


@pytest.mark.parametrize(
    ("line", "left", "answer"),
    [
        (b"NOOP", b"NOOP", b""),
        (b"\xff\xf4\xff\xf2ABOR", b"ABOR", b""),  # IP, DM (RFC 959 §4.1.3)
        (b"\xf2ABOR", b"\xf2ABOR", b""),
        (b"RETR a\xff\xffb", b"RETR a\xffb", b""),
        (b"RETR a\xffb", b"RETR a\xffb", b""),
        (b"RETR a\xff", b"RETR a\xff", b""),
        (b"\xff\xfb\x01NOOP", b"NOOP", b"\xff\xfe\x01"),  # WILL: DONT
        (b"\xff\xfd\x03NOOP", b"NOOP", b"\xff\xfc\x03"),  # DO: WONT
        (b"\xff\xfc\x03\xff\xfe\x03NOOP", b"NOOP", b""),  # WONT, DONT: as it is
        (b"NO\xff\xfa\x18\x00xx\xff\xf0OP", b"NOOP", b""),  # a subnegotiation
        (b"NOOP\xff\xfa\x18", b"NOOP", b""),
        (b"NOOP\xff\xfb", b"NOOP", b""),
    ],
)
def test_telnet_is_taken_out_and_its_options_are_declined(
    line: bytes, left: bytes, answer: bytes
) -> None:
    """RFC 1123 §4.1.2.12."""
    assert strip_telnet(line) == (left, answer)


def test_a_line_full_of_telnet_is_no_command() -> None:
    """A storm of offers kept the loop: lines that are read at once held 87 000 of them."""
    offer = b"\xff\xfb\x01"
    assert strip_telnet(offer * 64 + b"NOOP") == (b"NOOP", b"\xff\xfe\x01" * 64)
    with pytest.raises(FTPProtocolError, match="Telnet") as caught:
        strip_telnet(offer * 1300 + b"NOOP")
    assert caught.value.reply_code == 500


@given(st.binary(max_size=60))
def test_no_line_makes_more_than_it_is(line: bytes) -> None:
    left, answer = strip_telnet(line)

    assert len(left) + len(answer) <= len(line)
    try:
        verb, argument = read_command(left)
    except FTPProtocolError:
        return
    assert verb.isalpha()
    assert argument is None or verb == "PASS" or not set(argument) & {"\r", "\n", "\0"}


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("18446", 18446), ("9" * 18, 10**18 - 1)],
)
def test_a_number_is_up_to_18_digits(text: str, number: int) -> None:
    assert read_number(text) == number


@pytest.mark.parametrize("text", ["", "-1", "+1", " 1", "1 ", "1_0", "0x1", "٣", "9" * 19])
def test_anything_else_is_no_number(text: str) -> None:
    assert read_number(text) is None


def test_port_is_six_octets() -> None:
    assert read_port("10,0,0,5,4,1") == HostPort("10.0.0.5", 1025)


@pytest.mark.parametrize(
    "text", ["", "1,2,3,4,5", "1,2,3,4,5,6,7", "256,0,0,1,4,1", "1,2,3,4,5,a", "1,2,3,4,5,-6"]
)
def test_anything_else_is_no_port(text: str) -> None:
    assert read_port(text) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("|1|132.235.1.2|6275|", ("1", "132.235.1.2", 6275)),  # RFC 2428 §2
        ("|2|1080::8:800:200C:417A|5282|", ("2", "1080::8:800:200c:417a", 5282)),
        ("!3!some where!1!", ("3", "some where", 1)),
    ],
)
def test_eprt_has_a_family_an_address_and_a_port(text: str, found: tuple[str, str, int]) -> None:
    assert read_eprt(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "|",
        "|1|1.2.3.4|5",
        "|1|1.2.3|5|",
        "|1|::1|5|",
        "|2|1.2.3.4|5|",
        "|2|fe80::1%eth0|5|",
        "|1|1.2.3.4|65536|",
        "|1|1.2.3.4|x|",
        "|x|1.2.3.4|5|",
        "|1|1.2.3.4|5|6|",
        " 1 1.2.3.4 5 ",
    ],
)
def test_anything_else_is_no_eprt(text: str) -> None:
    assert read_eprt(text) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
        ("::1", "0:0:0:0:0:0:0:1", True),
        ("fe80::1%eth0", "fe80::1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("host", "127.0.0.1", False),
        ("", "127.0.0.1", False),
    ],
)
def test_an_address_is_one_however_it_is_written(one: str, other: str, same: bool) -> None:
    assert same_host(one, other) is same


def test_replies_have_a_line_or_several() -> None:
    """RFC 959 §4.2; lines between begin with a blank, as FEAT has them (RFC 2389 §3.2)."""
    assert reply(200, ("Fine",)) == b"200 Fine\r\n"
    assert reply(211, ("Extensions:", "MDTM", "200 x", "End")) == (
        b"211-Extensions:\r\n MDTM\r\n 200 x\r\n211 End\r\n"
    )
    assert reply(257, (quoted('/a"b'),)) == b'257 "/a""b"\r\n'


@pytest.mark.parametrize("text", ["a\rb", "a\nb", "a\0b"])
def test_a_line_of_a_reply_cannot_pass_for_several(text: str) -> None:
    with pytest.raises(FTPUsageError):
        reply(200, (text,))
    with pytest.raises(FTPUsageError):
        reply(200, ("a", text, "b"))
    with pytest.raises(FTPUsageError):
        reply(20, ("a",))


def test_passive_replies() -> None:
    assert passive_reply("10.0.0.5", 1025, extended=False) == (
        b"227 Entering Passive Mode (10,0,0,5,4,1)\r\n"
    )
    assert passive_reply("::1", 6446, extended=True) == (
        b"229 Entering Extended Passive Mode (|||6446|)\r\n"
    )
