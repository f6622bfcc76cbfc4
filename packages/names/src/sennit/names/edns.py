"""EDNS: what a message says beyond RFC 1035, in an OPT record (RFC 6891).

`EDNS` is that record taken apart: the size of datagrams that its sender takes, flags, options.
The upper bits of the response code stand in it on the wire; here the whole code is the
message's (`sennit.names.message.Message.rcode`).

An `Option` is a code and its octets. Those with a meaning of their own have a class in
``options.py``, which reads itself from `Option.data`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sennit.names.errors import DNSUsageError, MessageFormatError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["DO", "EDNS", "MAX_OPTIONS", "PAYLOAD", "Option"]

PAYLOAD: Final = 1232
"""Octets of a datagram that pass everywhere without fragments; what we say and send at most."""
DO: Final = 0x8000
"""The flag "DNSSEC answer OK" (RFC 3225 §3)."""
MAX_OPTIONS: Final = 100
"""Options that are taken in one message (HARDENING dns-5)."""


class Option:
    """An option of EDNS.

    Args:
        code: Its number in the registry of option codes.
        data: Its octets.
    """

    __slots__ = ("code", "data")

    def __init__(self, code: int, data: bytes = b"") -> None:
        if not 0 <= code <= 0xFFFF or len(data) > 0xFFFF:
            raise DNSUsageError(f"no option: code {code}, {len(data)} octets")
        self.code = code
        self.data = bytes(data)

    def __repr__(self) -> str:
        return f"Option({self.code}, {self.data!r})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Option):
            return self.code == other.code and self.data == other.data
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self.code, self.data))


class EDNS:
    """The OPT record of a message.

    Args:
        payload: Octets of a datagram that the sender takes; less than 512 count as 512.
        dnssec_ok: Whether it wants the records of DNSSEC (DO).
        options: Its options, in order.
        version: 0 is all that there is.
        flags: The other fifteen flags, none of which has a meaning.

    Raises:
        DNSUsageError: A number has no room in the record.
    """

    __slots__ = ("dnssec_ok", "flags", "options", "payload", "version")

    def __init__(
        self,
        payload: int = PAYLOAD,
        *,
        dnssec_ok: bool = False,
        options: Iterable[Option] = (),
        version: int = 0,
        flags: int = 0,
    ) -> None:
        if not (0 <= payload <= 0xFFFF and 0 <= version <= 0xFF and 0 <= flags <= 0x7FFF):
            raise DNSUsageError(f"no OPT has payload {payload}, version {version}, flags {flags}")
        self.payload = payload
        self.dnssec_ok = dnssec_ok
        self.options = tuple(options)
        self.version = version
        self.flags = flags

    def __repr__(self) -> str:
        return (
            f"EDNS({self.payload}, dnssec_ok={self.dnssec_ok}, options={self.options!r}, "
            f"version={self.version})"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, EDNS):
            return NotImplemented
        return self.write(0) == other.write(0)

    __hash__ = None  # type: ignore[assignment]  # compared by what it says, never kept in sets

    def option(self, code: int) -> Option | None:
        """The first option of this code."""
        return next((each for each in self.options if each.code == code), None)

    @classmethod
    def read(cls, payload: int, ttl: int, data: bytes) -> EDNS:
        """An OPT record whose class and TTL are these, and whose data.

        Raises:
            MessageFormatError: An option is cut off, or there are too many.
        """
        options: list[Option] = []
        position, size = 0, len(data)
        while position < size:
            if position + 4 > size:
                raise MessageFormatError("an option that is cut off", rule="RFC 6891 §6.1.2")
            code = int.from_bytes(data[position : position + 2], "big")
            length = int.from_bytes(data[position + 2 : position + 4], "big")
            position += 4 + length
            if position > size:
                raise MessageFormatError("an option past the end of OPT", rule="RFC 6891 §6.1.2")
            if len(options) >= MAX_OPTIONS:
                raise MessageFormatError(f"more than {MAX_OPTIONS} options", rule="RFC 6891 §6.1.2")
            options.append(Option(code, data[position - length : position]))
        self = cls.__new__(cls)
        self.payload = payload if payload > 512 else 512
        self.dnssec_ok = ttl & DO != 0
        self.options = tuple(options)
        self.version = ttl >> 16 & 0xFF
        self.flags = ttl & 0x7FFF
        return self

    def write(self, rcode: int) -> bytes:
        """The record's octets, with the upper bits of the response code."""
        data = b"".join(
            [
                each.code.to_bytes(2, "big") + len(each.data).to_bytes(2, "big") + each.data
                for each in self.options
            ]
        )
        ttl = (rcode >> 4) << 24 | self.version << 16 | (DO if self.dnssec_ok else 0) | self.flags
        return (
            b"\0\0\x29"
            + self.payload.to_bytes(2, "big")
            + ttl.to_bytes(4, "big")
            + len(data).to_bytes(2, "big")
            + data
        )
