"""Where on earth a host is: LOC (RFC 1876).

Latitude and longitude are thousandths of a second of arc from 2**31, the equator and the prime
meridian; altitude is centimetres from 100 000 m below the WGS 84 ellipsoid. Sizes are one
digit and a power of ten, in centimetres.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Self

from sennit.names.errors import DNSUsageError, PresentationError
from sennit.names.rdata.base import Rdata
from sennit.names.rdata.fields import Uint8, Uint32

if TYPE_CHECKING:
    from sennit.names.name import Name
    from sennit.names.presentation import Tokens

__all__ = ["LOC"]

_MIDDLE: Final = 1 << 31
_DEGREE: Final = 3_600_000
_GROUND: Final = 10_000_000
"""Centimetres from the lowest altitude to the ellipsoid."""
_SIZES: Final[tuple[int, ...]] = (0x12, 0x16, 0x13)
"""1 m, 10 000 m and 10 m: what is meant where text says nothing (RFC 1876 §3)."""
_METRES: Final = re.compile(r"([+-]?)(\d{1,8})(?:\.(\d{1,2}))?m?", re.ASCII)
_SECONDS: Final = re.compile(r"(\d{1,2})(?:\.(\d{1,3}))?", re.ASCII)


class LOC(Rdata, rdtype=29):
    """A place (RFC 1876 §2).

    Attributes:
        version: 0.
        size: Diameter of what is there, as a digit and an exponent of centimetres.
        horizontal: Its precision, likewise.
        vertical: The altitude's precision, likewise.
        latitude: Thousandths of a second from 2**31, north is more.
        longitude: Likewise, east is more.
        altitude: Centimetres from 100 000 m below the ellipsoid.
    """

    rule = "RFC 1876 §2"

    version: Uint8
    size: Uint8
    horizontal: Uint8
    vertical: Uint8
    latitude: Uint32
    longitude: Uint32
    altitude: Uint32

    def validate(self) -> None:
        """All are what they can be."""
        if self.version:
            raise DNSUsageError(f"version {self.version}, of which nothing is known")
        for each in (self.size, self.horizontal, self.vertical):
            # Nothing times a power of ten would be a second form of 0, which text cannot tell.
            if each >> 4 > 9 or each & 0xF > 9 or 0 < each < 0x10:
                raise DNSUsageError("a size that is no digit and power of ten")
        if abs(self.latitude - _MIDDLE) > 90 * _DEGREE:
            raise DNSUsageError("a latitude beyond a pole")
        if abs(self.longitude - _MIDDLE) > 180 * _DEGREE:
            raise DNSUsageError("a longitude beyond 180 degrees")

    @classmethod
    def parse(cls, tokens: Tokens) -> Self:
        """Such as ``52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m``."""
        latitude = _MIDDLE + _angle(tokens, 90, "NS")
        longitude = _MIDDLE + _angle(tokens, 180, "EW")
        altitude = _GROUND + _centimetres(tokens.text())
        if not 0 <= altitude <= 0xFFFFFFFF:
            raise PresentationError("an altitude from -100000.00 to 42849672.95 m is needed")
        sizes: list[int] = list(_SIZES)
        for index in range(3):
            if tokens.at_end:
                break
            sizes[index] = _size(_centimetres(tokens.text()))
        tokens.expect_end()
        return cls(0, sizes[0], sizes[1], sizes[2], latitude, longitude, altitude)

    def to_text(self, origin: Name | None = None) -> str:
        """Such as ``52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m``."""
        del origin  # there are no names in it
        height = self.altitude - _GROUND
        return (
            f"{_angle_text(self.latitude, 'NS')} {_angle_text(self.longitude, 'EW')} "
            f"{'-' if height < 0 else ''}{abs(height) // 100}.{abs(height) % 100:02d}m "
            f"{_size_text(self.size)} {_size_text(self.horizontal)} {_size_text(self.vertical)}"
        )


def _angle(tokens: Tokens, most: int, sides: str) -> int:
    """Degrees, minutes and seconds, of which the latter may be missing, and a side."""
    value = tokens.number(most) * _DEGREE
    word = tokens.text().upper()
    if word not in sides:
        if not (word.isascii() and word.isdigit() and len(word) <= 2 and int(word) < 60):
            raise PresentationError(f"{word!r:.40} are no minutes, and none of {'/'.join(sides)}")
        value += int(word) * 60_000
        word = tokens.text().upper()
        if word not in sides:
            found = _SECONDS.fullmatch(word)
            if found is None or int(found[1]) > 59:
                raise PresentationError(f"{word!r:.40} are no seconds")
            value += int(found[1]) * 1000 + int((found[2] or "").ljust(3, "0"))
            word = tokens.text().upper()
    if len(word) != 1 or word not in sides:
        raise PresentationError(f"{word!r:.40} is none of {'/'.join(sides)}")
    if value > most * _DEGREE:
        raise PresentationError(f"more than {most} degrees")
    return value if word == sides[0] else -value


def _angle_text(value: int, sides: str) -> str:
    value -= _MIDDLE
    side = sides[value < 0]
    seconds, thousandths = divmod(abs(value), 1000)
    minutes, seconds = divmod(seconds, 60)
    degrees, minutes = divmod(minutes, 60)
    return f"{degrees} {minutes} {seconds}.{thousandths:03d} {side}"


def _centimetres(text: str) -> int:
    found = _METRES.fullmatch(text)
    if found is None:
        raise PresentationError(f"{text!r:.40} are no metres")
    value = int(found[2]) * 100 + int((found[3] or "").ljust(2, "0"))
    return -value if found[1] == "-" else value


def _size(centimetres: int) -> int:
    if not 0 <= centimetres <= 9_000_000_000:
        raise PresentationError("a size from 0 to 90000000 m is needed")
    exponent = 0
    while centimetres > 9:
        centimetres //= 10
        exponent += 1
    return centimetres << 4 | exponent


def _size_text(size: int) -> str:
    digit, exponent = size >> 4, size & 0xF
    if exponent >= 2:
        return f"{digit * 10 ** (exponent - 2)}m"
    return f"0.{digit * 10**exponent:02d}m"
