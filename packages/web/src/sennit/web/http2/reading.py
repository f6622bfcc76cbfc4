"""File parts among what is to be sent, read: a stretch of frames at a time.

Their frames have heads of nine octets in between, so that ``sendfile`` would take two
calls for each 16 KiB, which costs more than to read them (``bench/README.md``).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from sennit.core.engine import FilePart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sennit.core.interfaces import Buffer

__all__ = ["read_files"]


def read_files(pieces: Sequence[Buffer | FilePart]) -> list[Buffer]:
    """The same pieces, file parts read; parts that follow one another, in one go.

    Raises:
        OSError: A file cannot be read.
        EOFError: One is shorter than its parts say.
    """
    found: list[Buffer] = []
    file: Any = None
    block = memoryview(b"")
    begin = 0  # where the block lies in its file
    for place, piece in enumerate(pieces):
        if not isinstance(piece, FilePart):
            found.append(piece)
            continue
        if piece.file is not file or not begin <= piece.offset <= begin + len(block) - len(piece):
            file, begin = piece.file, piece.offset
            end = begin
            for later in pieces[place:]:
                if isinstance(later, FilePart):
                    if later.file is not file or later.offset != end:
                        break
                    end += later.length
            block = memoryview(_read(file, begin, end - begin))
        at = piece.offset - begin
        found.append(block[at : at + piece.length])
        if piece.close_file:
            piece.file.close()
            file = None
    return found


def _read(file: Any, offset: int, size: int) -> bytes:
    """Octets of a file, wherever it stands. (`Any`: whatever a `FilePart` may hold.)"""
    try:
        descriptor = file.fileno() if hasattr(os, "pread") else -1
    except (AttributeError, OSError):
        descriptor = -1  # nothing the kernel knows, such as a BytesIO
    if descriptor >= 0:
        data = os.pread(descriptor, size, offset)
        while len(data) < size:
            more = os.pread(descriptor, size - len(data), offset + len(data))
            if not more:
                break
            data += more
    else:
        file.seek(offset)
        data = file.read(size)
    if len(data) < size:
        raise EOFError(f"{file!r:.100} ends {size - len(data)} octets before it should")
    return data
