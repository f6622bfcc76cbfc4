"""What the sketches share: complete lines out of octets, with a limit."""

from __future__ import annotations

from sennit.core.errors import ProtocolError


class LineTooLongError(ProtocolError):
    """No line end in sight."""


class Lines:
    """Lines that end in CRLF, and octets that are counted."""

    def __init__(self, limit: int) -> None:
        self._buffer = bytearray()
        self._limit = limit
        self._looked = 0

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next_line(self) -> bytes | None:
        """A line without its end, or None; raises for one that is too long."""
        end = self._buffer.find(b"\r\n", max(0, self._looked - 1), self._limit + 2)
        if end < 0:
            self._looked = min(len(self._buffer), self._limit + 2)
            if len(self._buffer) >= self._limit + 2:
                raise LineTooLongError(f"a line of more than {self._limit} octets", "sketch §1")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        self._looked = 0
        return line

    def take(self, most: int) -> bytes:
        data = bytes(self._buffer[:most])
        del self._buffer[:most]
        self._looked = 0
        return data

    def __len__(self) -> int:
        return len(self._buffer)

    def clear(self) -> bytes:
        return self.take(len(self._buffer))
