r"""Lines: octets up to a line end, with a limit, and raw octets in between.

The line end is CRLF unless said otherwise; then CR, LF and NUL inside a line are
errors, since two programs that disagree on where a line ends can be played
against each other. ``delimiter=None`` takes LF, with or without CR before it, for
protocols whose peers do both.
"""

from __future__ import annotations

from sennit.core.framing.octets import FramedProtocol, Octets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["MAX_LINE", "LineDecoder", "LineProtocol", "encode_line"]

MAX_LINE: Final = 16_384
"""Octets of one line, its end not counted."""


class LineDecoder(Octets):
    r"""Cuts octets into lines.

    Args:
        delimiter: What ends a line; ``None`` for LF, a CR before it taken off.
        max_line: Octets of a line at most, its end not counted.
        forbidden: Octets that must not stand in a line; CR, LF and NUL when
            left out and lines end in CRLF, else none.
    """

    __slots__ = ("_delimiter", "_forbidden", "_most", "_overhead", "_take_off", "max_line")

    def __init__(
        self,
        delimiter: bytes | None = b"\r\n",
        *,
        max_line: int = MAX_LINE,
        forbidden: bytes | None = None,
    ) -> None:
        if delimiter == b"":
            raise ValueError("an empty delimiter ends nothing")
        if max_line < 0:
            raise ValueError(f"max_line ({max_line}) counts octets")
        super().__init__()
        self._take_off = delimiter is None
        self._delimiter = b"\n" if delimiter is None else delimiter
        # Octets that may wait without an end: the line, and an end that lacks its last octet.
        self._overhead = 1 if delimiter is None else len(delimiter) - 1
        self.max_line = max_line
        if forbidden is None:
            forbidden = b"\r\n\0" if delimiter == b"\r\n" else b""
        self._forbidden = tuple(bytes((octet,)) for octet in forbidden)

    def next_line(self) -> bytes | None:
        """The next line without its end; ``None`` until there is one.

        Raises:
            ProtocolError: It is too long, or holds a forbidden octet.
        """
        if self._error is not None:
            self._check()
        data = self._data
        if not data:
            return None
        start = self._start
        at = data.find(self._delimiter, self._searched)
        if at < 0:
            size = len(data) - start
            if size > self.max_line + self._overhead:
                self._broken(f"no line end in {self.max_line} octets", "limit:line")
            self._searched = max(start, len(data) - len(self._delimiter) + 1)
            return None
        # `_cut`, written out: this is what a protocol of lines spends its time on.
        line = data[start:at]
        if type(line) is not bytes:
            line = bytes(line)
        self._start = self._searched = after = at + len(self._delimiter)
        if after == len(data):
            self._data = b""
            self._start = self._searched = 0
        if self._take_off and line[-1:] == b"\r":
            line = line[:-1]
        if len(line) > self.max_line:
            self._broken(f"a line of more than {self.max_line} octets", "limit:line")
        for octet in self._forbidden:
            if octet in line:
                self._broken(f"{octet!r} inside a line", "line-end")
        return line


def encode_line(line: bytes, delimiter: bytes = b"\r\n") -> bytes:
    r"""A line with its end.

    Raises:
        ValueError: It holds CR, LF, NUL or the delimiter, and would be more than
            one line to somebody.
    """
    if b"\n" in line or b"\r" in line or b"\0" in line or delimiter in line:
        raise ValueError(f"a line cannot hold a line end or NUL: {line[:80]!r}")
    return line + delimiter


class LineProtocol(FramedProtocol):
    r"""A protocol of lines, which may switch to raw octets and back.

    A subclass defines `line_received`, and `raw_received` if it switches.

    Attributes:
        delimiter: What ends a line; ``None`` for LF or CRLF (then CRLF is sent).
        max_line: Octets of a line at most.
        forbidden: Octets that a line must not hold (see `LineDecoder`).
    """

    delimiter: bytes | None = b"\r\n"
    max_line: int = MAX_LINE
    forbidden: bytes | None = None

    def __init__(self) -> None:
        super().__init__()
        self._raw = False

    def _make_decoder(self) -> LineDecoder:
        self._lines = LineDecoder(self.delimiter, max_line=self.max_line, forbidden=self.forbidden)
        return self._lines

    def _hand_out(self) -> bool:
        if self._raw:
            data = self._lines.take()
            if data:
                self.raw_received(data)
            return bool(data)
        line = self._lines.next_line()
        if line is None:
            return False
        self.line_received(line)
        return True

    def line_received(self, line: bytes) -> None:
        """A line has come.

        Args:
            line: Its octets, without the line end.
        """

    def raw_received(self, data: bytes) -> None:
        """Octets have come in raw mode, cut anywhere.

        Args:
            data: The octets. Those that belong to the lines that follow are
                given back by ``set_line_mode(rest)``.
        """

    def set_raw_mode(self) -> None:
        """From here on octets come to `raw_received`, beginning with those after this line."""
        self._raw = True
        self._go_on()

    def set_line_mode(self, rest: bytes = b"") -> None:
        """From here on lines come again.

        Args:
            rest: Octets that `raw_received` was given and did not want.
        """
        self._raw = False
        self._lines.unread(rest)
        self._go_on()

    def _go_on(self) -> None:
        if not self._handing_out and self._lines.waiting:
            self._hand_out_all()

    def send_line(self, line: bytes) -> None:
        """Send a line.

        Raises:
            ValueError: It holds a line end or NUL.
        """
        self.transport.write(encode_line(line, self.delimiter or b"\r\n"))
