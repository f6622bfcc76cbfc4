"""Type A both ways: lines as they are kept here, and as they travel, in pieces.

Here a line ends with LF, on the wire with CRLF. `ToNetwork` and `FromNetwork` take the octets
of a file piece by piece; where they are cut makes no difference. What is left of the last piece
comes out of `finish`.

Sending, an LF that has its CR already is not given a second one: files written elsewhere arrive
as they are, not with an empty line after each. Receiving, only CRLF is an end of line; a CR or
an LF alone is data. All other octets pass as they are: RFC 2640 §2.1 leaves what is in files to
those who exchange them.

Sources: RFC 959 §3.1.1.1 (ASCII type), RFC 1123 §4.1.2.2 and RFC 854 (end of line of the NVT).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sennit.core.interfaces import Buffer

__all__ = ["FromNetwork", "ToNetwork"]


class ToNetwork:
    """Makes octets of a file those that are sent."""

    __slots__ = ("_after_cr",)

    def __init__(self) -> None:
        self._after_cr = False

    def convert(self, data: Buffer) -> bytes:
        """Give the next octets to send."""
        octets = bytes(data)
        if not octets:
            return b""
        head = b""
        if self._after_cr and octets[0] == 0x0A:
            head, octets = b"\n", octets[1:]
        self._after_cr = octets.endswith(b"\r")
        return head + octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")

    def finish(self) -> bytes:
        """Give what was held back: nothing."""
        return b""


class FromNetwork:
    """Makes octets that came those of a file."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def convert(self, data: Buffer) -> bytes:
        """Give the next octets to keep; a CR at the end waits for what follows it."""
        octets = self._held + bytes(data)
        if octets.endswith(b"\r"):
            self._held, octets = b"\r", octets[:-1]
        else:
            self._held = b""
        return octets.replace(b"\r\n", b"\n")

    def finish(self) -> bytes:
        """Give what was held back: a CR that ends the file."""
        held, self._held = self._held, b""
        return held
