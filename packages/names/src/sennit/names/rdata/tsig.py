"""The signature of a message: TSIG (RFC 8945 §4.2)."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Annotated, Any

from sennit.names.codes import BADSIG, rcode_text
from sennit.names.errors import DNSUsageError, PresentationError
from sennit.names.rdata.base import Rdata, cut_off
from sennit.names.rdata.fields import LowerName, Uint16

if TYPE_CHECKING:
    from sennit.names.name import Name
    from sennit.names.presentation import Tokens
    from sennit.names.wire import Writer

__all__ = ["TSIG"]

_MOST_TIME = (1 << 48) - 1


class _Uint48:
    """Seconds since 1970, in six octets."""

    def read(self, wire: bytes, position: int, end: int, names: dict[int, Name]) -> tuple[int, int]:
        behind = position + 6
        if behind > end:
            raise cut_off()
        return int.from_bytes(wire[position:behind], "big"), behind

    def write(self, value: int, writer: Writer) -> None:
        writer.out += value.to_bytes(6, "big")

    def parse(self, tokens: Tokens) -> int:
        return tokens.number(_MOST_TIME)

    def format(self, value: int, origin: Name | None) -> str:
        return str(value)

    def check(self, value: Any) -> int:
        if not isinstance(value, int) or not 0 <= value <= _MOST_TIME:
            raise DNSUsageError(f"a time from 0 to {_MOST_TIME} is needed, not {value!r}")
        return value


class _Counted:
    """Octets with their number, of two octets, before them; in text number and base64."""

    def read(
        self, wire: bytes, position: int, end: int, names: dict[int, Name]
    ) -> tuple[bytes, int]:
        begin = position + 2
        behind = begin + int.from_bytes(wire[position:begin], "big")
        if begin > end or behind > end:
            raise cut_off()
        return wire[begin:behind], behind

    def write(self, value: bytes, writer: Writer) -> None:
        writer.out += len(value).to_bytes(2, "big") + value

    def parse(self, tokens: Tokens) -> bytes:
        length = tokens.number(0xFFFF)
        if not length:
            return b""
        text = tokens.text()
        try:
            value = base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            raise PresentationError(f"{text[:60]!r} is not base64") from None
        if len(value) != length:
            raise PresentationError(f"{length} octets are said, and {len(value)} follow")
        return value

    def format(self, value: bytes, origin: Name | None) -> str:
        return f"{len(value)} {base64.b64encode(value).decode('ascii')}".rstrip()

    def check(self, value: Any) -> bytes:
        if not isinstance(value, bytes) or len(value) > 0xFFFF:
            raise DNSUsageError(f"at most 65535 octets are needed, not {value!r:.80}")
        return value


Time48 = Annotated[int, _Uint48()]
"""Seconds since 1970, in six octets."""
Counted = Annotated[bytes, _Counted()]
"""Octets behind their number."""


class TSIG(Rdata, rdtype=250):
    """Who vouches for a message, and the proof.

    Attributes:
        algorithm: Its name, as a domain name.
        time_signed: Seconds since 1970 when it was made.
        fudge: Seconds by which clocks may differ.
        mac: The proof; empty in answers that cannot be signed.
        original_id: Id of the message when it was signed; forwarders may change it.
        error: 0, or why the request's own TSIG was not taken (an extended response code).
        other: The server's time, six octets, where `error` is BADTIME.
    """

    algorithm: LowerName
    time_signed: Time48
    fudge: Uint16
    mac: Counted
    original_id: Uint16
    error: Uint16
    other: Counted

    def __repr__(self) -> str:
        error = "BADSIG" if self.error == BADSIG else rcode_text(self.error)
        return (
            f"TSIG({str(self.algorithm)!r}, time_signed={self.time_signed}, fudge={self.fudge}, "
            f"mac={self.mac.hex()!r}, original_id={self.original_id}, error={error})"
        )
