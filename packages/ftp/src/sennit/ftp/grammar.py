"""Lines in and out: stateless.

The protocol of the template, to be replaced by the real one. A client says ``GET key`` or
``QUIT``, a server answers each by one line, ``+value`` or ``-reason``; lines end in CRLF, a bare
LF is taken as well.
"""

from __future__ import annotations

from sennit.ftp.errors import FTPProtocolError, FTPUsageError

__all__ = ["answer_line", "command_line", "parse_answer", "parse_command"]


def _refuse_line_ends(text: bytes, what: str) -> None:
    # Else a value could pass for further lines.
    if any(end in text for end in (b"\r", b"\n", b"\0")):
        raise FTPUsageError(f"{what} is not one line: {text[:64]!r}")


def command_line(word: bytes, key: bytes = b"") -> bytes:
    """Make a command.

    Raises:
        FTPUsageError: The key would be more than one word of one line.
    """
    _refuse_line_ends(key, "a key")
    if b" " in key:
        raise FTPUsageError(f"a key has no spaces: {key[:64]!r}")
    return word + b" " + key + b"\r\n" if key else word + b"\r\n"


def parse_command(line: bytes) -> tuple[bytes, bytes]:
    """Take a command apart, into its word in capitals and its key.

    Raises:
        FTPProtocolError: There is no such command, or it lacks its key.
    """
    word, _, key = line.partition(b" ")
    word = word.upper()
    if word == b"GET" and key and b" " not in key and b"\0" not in key:
        return word, key
    if word == b"QUIT" and not key:
        return word, key
    raise FTPProtocolError(f"not a command: {line[:64]!r}", "GET key, or QUIT")


def answer_line(text: bytes, *, granted: bool) -> bytes:
    """Make an answer.

    Raises:
        FTPUsageError: The text is more than one line.
    """
    _refuse_line_ends(text, "an answer")
    return (b"+" if granted else b"-") + text + b"\r\n"


def parse_answer(line: bytes) -> tuple[bool, bytes]:
    """Take an answer apart: whether it grants, and its text.

    Raises:
        FTPProtocolError: It begins with neither sign.
    """
    if line[:1] not in {b"+", b"-"}:
        raise FTPProtocolError(f"not an answer: {line[:64]!r}", "+value, or -reason")
    return line[:1] == b"+", line[1:]
