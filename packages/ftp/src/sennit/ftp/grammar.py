"""What servers read and write on a control connection: command lines, replies, host and port.

Octets of one line go in, without their CRLF: `strip_telnet` takes Telnet's own commands out,
`read_command` makes a verb and an argument of the rest. `reply` makes the octets of a reply.
Nothing here keeps anything between two calls.

An argument is UTF-8 (RFC 2640 §2.2) without CR, LF and NUL; anything else is refused, so that no
name can be told to one program in two ways. RFC 2640 §3.1 lets a client send CR as CR NUL in a
name; names with control characters are not for us.

Sources: RFC 959 §4.1, §4.2, §5.3; RFC 854 (IAC); RFC 2428 §2, §3; RFC 959 §4.1.2 (PORT).
Elsewhere: paths in arguments (``paths.py``), listings (``listing.py``), the reading of replies
(``replies.py``).
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final, NamedTuple

from sennit.ftp.errors import FTPProtocolError, FTPUsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "CommandLine",
    "HostPort",
    "passive_reply",
    "quoted",
    "read_command",
    "read_eprt",
    "read_number",
    "read_port",
    "reply",
    "same_host",
    "strip_telnet",
]

IAC: Final = 255
"""Telnet: interpret as command (RFC 854); octets of data that look like it come twice."""
_FIRST_COMMAND: Final = 240  # SE; what is less behind IAC is no command
_WILL, _WONT, _DO, _DONT = 251, 252, 253, 254
MOST_TELNET: Final = 64
"""Commands of Telnet in one line. Clients send two with ABOR; 1 300 take a millisecond."""
_SB, _SE = 250, 240

_VERB: Final = re.compile(rb"[A-Za-z]{3,8}")
_DIGITS: Final = re.compile(r"[0-9]{1,18}")
_BYTES: Final = re.compile(r"([0-9]{1,3})" + r",([0-9]{1,3})" * 5)


class CommandLine(NamedTuple):
    """A command.

    Attributes:
        verb: Its word, in capitals.
        argument: What stands behind it and one blank; ``None`` where there is nothing.
    """

    verb: str
    argument: str | None


class HostPort(NamedTuple):
    """Where a client wants to be connected to (PORT, EPRT)."""

    host: str
    port: int


# ── lines that came ───────────────────────────────────────────────────────────


def strip_telnet(line: bytes) -> tuple[bytes, bytes]:
    """Take Telnet's commands out of a line.

    Interrupt and data mark, by which an ABOR is announced (RFC 959 §4.1.3), mean nothing by
    themselves; offers and requests of options are declined (RFC 1123 §4.1.2.12). IAC before
    an octet that is no command is an octet of data, as clients send it that know no Telnet.

    Returns:
        What is left of the line, and octets to answer.

    Raises:
        FTPProtocolError: It is full of them.
    """
    at = line.find(IAC)
    if at < 0:
        return line, b""
    if line.count(IAC) > 2 * MOST_TELNET:
        raise FTPProtocolError("a line full of Telnet's commands", "RFC 1123 §4.1.2.12")
    kept = bytearray()
    answer = bytearray()
    begin = 0
    end = len(line)
    while at >= 0:
        kept += line[begin:at]
        code = line[at + 1] if at + 1 < end else 0
        if code == IAC or code < _FIRST_COMMAND:
            kept.append(IAC)
            begin = at + (2 if code == IAC else 1)
        elif code in (_WILL, _DO, _WONT, _DONT):
            begin = min(at + 3, end)
            if begin == at + 3 and code in (_WILL, _DO):
                answer += bytes((IAC, _DONT if code == _WILL else _WONT, line[at + 2]))
        elif code == _SB:
            over = line.find(bytes((IAC, _SE)), at + 2)
            begin = end if over < 0 else over + 2
        else:
            begin = at + 2
        at = line.find(IAC, begin)
    kept += line[begin:]
    return bytes(kept), bytes(answer)


def read_command(line: bytes) -> CommandLine:
    """Read a line, without its end and without Telnet's commands.

    Raises:
        FTPProtocolError: It is no command (`reply_code` 500), or its argument is not UTF-8
            or holds CR, LF or NUL (501).
    """
    word, blank, rest = line.partition(b" ")
    if _VERB.fullmatch(word) is None:
        raise FTPProtocolError("a line that is no command", "RFC 959 §5.3", 500)
    verb = word.decode("ascii").upper()
    if not blank or not rest:
        return CommandLine(verb, None)
    if verb == "PASS":
        # What is no text is no password of anybody's, and is told so like any other.
        return CommandLine(verb, rest.decode("utf-8", "replace"))
    if b"\r" in rest or b"\n" in rest or b"\0" in rest:
        raise FTPProtocolError(f"CR, LF or NUL in the argument of {verb}", "RFC 959 §5.3.2", 501)
    try:
        return CommandLine(verb, rest.decode("utf-8"))
    except UnicodeDecodeError:
        raise FTPProtocolError(
            f"the argument of {verb} is not UTF-8", "RFC 2640 §2.2", 501
        ) from None


def read_number(text: str) -> int | None:
    """Read a number of 18 ASCII digits at most; ``None`` when it is none."""
    return int(text) if _DIGITS.fullmatch(text) else None


# ── hosts and ports ───────────────────────────────────────────────────────────


def read_port(text: str) -> HostPort | None:
    """Read the argument of PORT, ``h1,h2,h3,h4,p1,p2``; ``None`` when it is none."""
    found = _BYTES.fullmatch(text)
    if found is None:
        return None
    numbers = [int(each) for each in found.groups()]
    if max(numbers) > 255:
        return None
    return HostPort(".".join(map(str, numbers[:4])), numbers[4] << 8 | numbers[5])


def read_eprt(text: str) -> tuple[str, str, int] | None:
    """Read the argument of EPRT, ``|family|address|port|`` (RFC 2428 §2).

    Returns:
        The family's number, whether we know it or not, address and port; ``None`` when the
        argument cannot be understood.
    """
    mark = text[:1]
    if not "!" <= mark <= "~":
        return None
    parts = text.split(mark, 5)
    if len(parts) != 5 or parts[0] or parts[4]:
        return None
    _, family, host, digits, _ = parts
    port = read_number(digits)
    if port is None or port > 65_535 or read_number(family) is None:
        return None
    try:
        if family == "1":
            host = str(IPv4Address(host))
        elif family == "2":
            if "%" in host:
                return None
            host = str(IPv6Address(host))
    except ValueError:
        return None
    return family, host, port


def same_host(one: str, other: str) -> bool:
    """Whether two numeric addresses are of one host, however each is written."""
    return one == other or _address(one) == _address(other)


def _address(host: str) -> object:
    host = host.partition("%")[0]
    try:
        if ":" not in host:
            return IPv4Address(host)
        address = IPv6Address(host)
    except ValueError:
        return host
    return address.ipv4_mapped or address


def passive_reply(host: str, port: int, *, extended: bool) -> bytes:
    """The reply to PASV (227) or EPSV (229)."""
    if extended:
        return b"229 Entering Extended Passive Mode (|||%d|)\r\n" % port
    where = f"{host.replace('.', ',')},{port >> 8},{port & 255}"
    return f"227 Entering Passive Mode ({where})\r\n".encode()


# ── replies ───────────────────────────────────────────────────────────────────


def reply(code: int, lines: Iterable[str]) -> bytes:
    """Write a reply; each line between the first and the last begins with a blank.

    So none of them can be taken for the last (RFC 959 §4.2), and FEAT and MLST want it so.

    Raises:
        FTPUsageError: A line holds CR, LF or NUL, or the code is none.
    """
    texts = list(lines) or [""]
    for text in texts:
        if "\r" in text or "\n" in text or "\0" in text:
            raise FTPUsageError(f"a line of a reply is one line: {text[:80]!r}")
    if not 100 <= code <= 699:
        raise FTPUsageError(f"a reply has a code of three digits, not {code}")
    if len(texts) == 1:
        return f"{code} {texts[0]}\r\n".encode("utf-8", "replace")
    middle = "".join(f" {text}\r\n" for text in texts[1:-1])
    return f"{code}-{texts[0]}\r\n{middle}{code} {texts[-1]}\r\n".encode("utf-8", "replace")


def quoted(path: str) -> str:
    """A path as 257 tells it: in quotes, quotes in it doubled (RFC 959, appendix II)."""
    return '"' + path.replace('"', '""') + '"'
