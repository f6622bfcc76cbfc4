"""Netstrings: ``5:hello,`` (https://cr.yp.to/proto/netstrings.txt).

The length is ASCII digits without a sign, blank or leading zero; how many of
them there may be follows from the limit, and is checked before they are read as
a number.
"""

from __future__ import annotations

from sennit.core.framing.octets import FramedProtocol, Octets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from sennit.core.interfaces import Buffer

__all__ = ["MAX_NETSTRING", "NetstringDecoder", "NetstringProtocol", "encode_netstring"]

MAX_NETSTRING: Final = 99_999
"""Octets of one netstring."""


class NetstringDecoder(Octets):
    """Cuts octets into netstrings.

    Args:
        max_length: Octets of one netstring at most.
    """

    __slots__ = ("_digits", "_head", "max_length")

    def __init__(self, *, max_length: int = MAX_NETSTRING) -> None:
        if max_length < 0:
            raise ValueError(f"max_length ({max_length}) counts octets")
        super().__init__()
        self.max_length = max_length
        self._digits = len(str(max_length))
        self._head = 0  # octets of length and colon of the netstring under way

    def next_netstring(self) -> bytes | None:
        """The octets of the next netstring; ``None`` until it is whole.

        Raises:
            ProtocolError: It is too long, or no netstring.
        """
        if self._error is not None:
            self._check()
        if self._size < 0 and not self._read_length():
            return None
        begin = self._start + self._head
        end = begin + self._size
        data = self._data
        if end >= len(data):
            return None
        if data[end] != 0x2C:
            self._broken(f"{bytes(data[end : end + 1])!r} where a comma ends it", "netstring")
        self._start = begin
        return self._cut(end, end + 1)

    def _read_length(self) -> bool:
        """Read digits and colon; whether they are all there."""
        start = self._start
        head = bytes(self._data[start : start + self._digits + 1])
        colon = head.find(b":")
        digits = head if colon < 0 else head[:colon]
        if not digits.isdigit():  # of bytes: ASCII digits only
            if not head:
                return False
            self._broken(f"{head!r} where a length and a colon begin it", "netstring")
        if digits[0] == 0x30 and len(digits) > 1:
            self._broken(f"the length {digits!r} has a leading zero", "netstring")
        if len(digits) > self._digits:
            self._broken(f"a length of more than {self._digits} digits", "limit:netstring")
        if colon < 0:
            return False
        size = int(digits)
        if size > self.max_length:
            self._broken(
                f"a length of {size} octets, {self.max_length} are allowed", "limit:netstring"
            )
        self._head = colon + 1
        self._size = size
        return True


def encode_netstring(data: Buffer) -> bytes:
    """`data` as a netstring."""
    return b"".join((b"%d:" % len(data), data, b","))


class NetstringProtocol(FramedProtocol):
    """A protocol of netstrings; a subclass defines `netstring_received`.

    Attributes:
        max_length: Octets of one netstring at most, either way.
    """

    max_length: int = MAX_NETSTRING

    def _make_decoder(self) -> NetstringDecoder:
        self._netstrings = NetstringDecoder(max_length=self.max_length)
        return self._netstrings

    def _hand_out(self) -> bool:
        data = self._netstrings.next_netstring()
        if data is None:
            return False
        self.netstring_received(data)
        return True

    def netstring_received(self, data: bytes) -> None:
        """A netstring has come.

        Args:
            data: Its octets, without length, colon and comma.
        """

    def send_netstring(self, data: Buffer) -> None:
        """Send octets as a netstring.

        Raises:
            ValueError: They are more than `max_length`.
        """
        if len(data) > self.max_length:
            raise ValueError(f"{len(data)} octets, {self.max_length} are allowed")
        self.transport.write(encode_netstring(data))
