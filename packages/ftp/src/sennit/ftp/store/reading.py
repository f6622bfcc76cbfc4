"""Files of the system that are being sent."""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING, Final, cast

from zope.interface import implementer

from sennit.ftp.errors import FTPUsageError
from sennit.ftp.interfaces import Entry, IReader
from sennit.ftp.store.root import READING, in_thread

if TYPE_CHECKING:
    from sennit.core.beneath import Descriptor

__all__ = ["FileReader"]

READ_IN_LOOP: Final = 64 * 1024
"""Octets up to which a piece of a file is read in the loop."""


@implementer(IReader)
class FileReader:
    """A file that is sent, by the kernel where it can."""

    def __init__(self, entry: Entry, file: Descriptor) -> None:
        self._entry = entry
        self._file = file
        self._closed = False
        self._reading = 0

    @property
    def entry(self) -> Entry:
        return self._entry

    @property
    def file(self) -> IO[bytes] | None:
        # It has what transports ask of a file.
        return cast("IO[bytes]", self._file)

    async def read(self, offset: int, length: int) -> bytes:
        if self._closed:
            raise FTPUsageError("this reader is closed")
        with READING:
            if length <= READ_IN_LOOP:
                return os.pread(self._file.fileno(), length, offset)
            self._reading += 1
            try:
                return await in_thread(os.pread, self._file.fileno(), length, offset)
            finally:
                self._reading -= 1
                if self._closed and not self._reading:
                    self._file.close()

    def close(self) -> None:
        self._closed = True
        # Else a thread would read another file that has got the same number.
        if not self._reading:
            self._file.close()
