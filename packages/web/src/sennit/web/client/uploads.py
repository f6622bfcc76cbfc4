"""The content of a request, whatever a caller gives: octets, text, files, iterables, forms, JSON.

An `Upload` knows its type and length where they can be known, and whether it can be had
a second time, which a redirect (307, 308), a challenge (401) or a retry asks for. A file
is sent by ``sendfile`` where that goes; what comes piece by piece is asked for as fast
as the server takes it.

Sources: WHATWG URL §5 (application/x-www-form-urlencoded); RFC 8259 (JSON).
Elsewhere: forms with files (``multipart.py``).
"""

from __future__ import annotations

import io
import json as _json
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote, quote_plus, urlencode

from sennit.core.engine import FilePart
from sennit.web.errors import WebUsageError
from sennit.web.mediatypes import media_type

if TYPE_CHECKING:
    from sennit.core.interfaces import Buffer

    Source = (
        bytes | bytearray | memoryview | str | os.PathLike[str] | IO[bytes]
        | AsyncIterable[Buffer] | Iterable[Buffer]
    )  # fmt: skip
    # Text, numbers, octets, None, or several of them; whatever else is refused when it is
    # looked at. (A union would refuse dictionaries of mixed values, which checkers widen.)
    Pairs = Mapping[str, object] | Iterable[tuple[str, object]]
    Content = bytes | FilePart | AsyncIterable[Buffer]

__all__ = [
    "BytesUpload",
    "FileUpload",
    "IterableUpload",
    "Upload",
    "encode_query",
    "flattened",
    "form_upload",
    "json_upload",
    "upload_of",
]

PIECE: Final = 256 * 1024
"""Octets of a file that are read at once."""


class Upload:
    """Content of a request.

    Attributes:
        content_type: Its media type, or ``None`` for none.
        length: Octets, or ``None`` where nobody knows before the end.
        repeatable: Whether it can be had again and again.
        used: Whether it was had, in part at least.
    """

    content_type: bytes | None = None
    length: int | None = None
    repeatable: bool = True
    used: bool = False

    @property
    def available(self) -> bool:
        """Whether it can be opened now."""
        return self.repeatable or not self.used

    def open(self) -> Content:
        """The content from its beginning, in the form that is sent best.

        Raises:
            WebUsageError: It was had before, and can be had only once.
            OSError: A file cannot be opened.
        """
        raise AssertionError("a subclass says what it is")

    def pieces(self) -> AsyncIterator[Buffer]:
        """The content from its beginning, piece by piece."""
        raise AssertionError("a subclass says what it is")


class BytesUpload(Upload):
    """Octets that are all there."""

    def __init__(self, data: bytes, content_type: bytes | None = None) -> None:
        self._data = data
        self.content_type = content_type
        self.length = len(data)

    def open(self) -> Content:
        return self._data

    async def pieces(self) -> AsyncIterator[Buffer]:
        view = memoryview(self._data)
        for at in range(0, len(view), PIECE):
            yield view[at : at + PIECE]


class _OpenFile(io.FileIO):
    """A file that is closed when nobody has it any more.

    It may be sent twice, over another connection, so whoever sends it must not close
    it; and when the last one has let go of it is known to nobody but the interpreter.
    """

    def __del__(self) -> None:
        self.close()


class FileUpload(Upload):
    """A file, by its path, or open already and read from where it stands.

    Raises:
        WebUsageError: It is open for text.
        OSError: There is no such file.
    """

    def __init__(
        self, file: os.PathLike[str] | IO[bytes], content_type: bytes | None = None
    ) -> None:
        self._path: str | None = None
        self._given: IO[bytes] | None = None
        self._offset = 0
        if isinstance(file, os.PathLike):
            self._path = os.fspath(file)
            found = os.stat(self._path)
            # A pipe or a device has no size to be believed.
            regular = os.path.isfile(self._path)
            self.length = found.st_size if regular else None
            self.repeatable = regular
            content_type = content_type or media_type(os.path.basename(self._path))
        else:
            if isinstance(file.read(0), str):
                raise WebUsageError("a file to send is opened for octets: open(path, 'rb')")
            self._given = file
            if file.seekable():
                self._offset = file.tell()
                self.length = file.seek(0, os.SEEK_END) - self._offset
                file.seek(self._offset)
            else:
                self.repeatable = False
        self.content_type = content_type

    @property
    def name(self) -> str:
        """The file's own name, without folders; empty where it has none."""
        found: object = self._path if self._given is None else getattr(self._given, "name", "")
        return os.path.basename(found) if isinstance(found, str) else ""

    def _open(self) -> IO[bytes]:
        if self._given is not None:
            if not self.available:
                raise WebUsageError("this file can be read only once")
            self.used = True
            if self.length is not None:
                self._given.seek(self._offset)
            return self._given
        assert self._path is not None
        return cast("IO[bytes]", _OpenFile(self._path))

    def open(self) -> Content:
        if self.length is None or (self._given is not None and not _has_descriptor(self._given)):
            return self.pieces()
        return FilePart(self._open(), self._offset, self.length)

    async def pieces(self) -> AsyncIterator[Buffer]:
        file = self._open()
        try:
            async for piece in self._read(file):
                yield piece
        finally:
            if self._path is not None:
                file.close()

    async def _read(self, file: IO[bytes]) -> AsyncIterator[Buffer]:
        from sennit.core.reactor.base import current_reactor

        left = self.length
        while left is None or left:
            if left is None:
                # A pipe or a terminal may have nothing yet; the loop must not wait for it.
                piece = await current_reactor().defer_to_thread(file.read, PIECE)
            else:
                piece = file.read(min(PIECE, left))
                left -= len(piece)
            if not piece:
                if left:
                    raise OSError(f"the file became shorter while it was sent: {self.name!r}")
                return
            yield piece


class IterableUpload(Upload):
    """What comes piece by piece.

    Args:
        source: An iterable, asynchronous or not, of octets. An iterator can be had once.
        length: Octets in all, where they are known.
        content_type: Its media type.
    """

    def __init__(
        self,
        source: AsyncIterable[Buffer] | Iterable[Buffer],
        length: int | None = None,
        content_type: bytes | None = None,
    ) -> None:
        self._source = source
        self.length = length
        self.content_type = content_type
        self.repeatable = not isinstance(source, (AsyncIterator, Iterator))

    def open(self) -> Content:
        return self.pieces()

    async def pieces(self) -> AsyncIterator[Buffer]:
        # When it is begun and not when it is opened: a server that answers before it has
        # seen any of it (Expect: 100-continue) leaves it as it was.
        if not self.available:
            raise WebUsageError("this content comes from an iterator, which can be had only once")
        self.used = True
        if isinstance(self._source, AsyncIterable):
            async for piece in self._source:
                if piece:
                    yield _octets(piece)
        else:
            for piece in self._source:
                if piece:
                    yield _octets(piece)


def upload_of(
    source: Source, *, length: int | None = None, content_type: bytes | None = None
) -> Upload:
    """An upload of what a caller gives as content.

    Raises:
        TypeError: It is nothing that can be sent.
    """
    if isinstance(source, str):
        return BytesUpload(source.encode("utf-8"), content_type or b"text/plain; charset=utf-8")
    if isinstance(source, bytes):
        return BytesUpload(source, content_type)
    if isinstance(source, (bytearray, memoryview)):
        return BytesUpload(bytes(source), content_type)
    if isinstance(source, os.PathLike) or (
        hasattr(source, "read") and hasattr(source, "seekable") and not _is_async_reader(source)
    ):
        return FileUpload(cast("os.PathLike[str] | IO[bytes]", source), content_type)
    given: Any = source  # what callers give is not always what they may
    if not isinstance(given, (AsyncIterable, Iterable)) or isinstance(given, Mapping):
        raise TypeError(
            "content is bytes, str, a Path, a file opened for octets, or an iterable of bytes, "
            f"not {type(source).__name__}"
        )
    return IterableUpload(cast("Iterable[Buffer]", given), length, content_type)


def json_upload(value: object) -> Upload:
    """A value as JSON (RFC 8259: no NaN, no infinity).

    Raises:
        ValueError, TypeError: It has no JSON form.
    """
    text = _json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return BytesUpload(text.encode("utf-8"), b"application/json")


def form_upload(pairs: Pairs) -> Upload:
    """Fields as browsers send a form without files."""
    text = urlencode(list(flattened(pairs)), quote_via=quote_plus)
    return BytesUpload(text.encode("ascii"), b"application/x-www-form-urlencoded")


def encode_query(pairs: Pairs) -> str:
    """A query string; a space becomes ``%20``, which everybody reads."""
    return urlencode(list(flattened(pairs)), quote_via=quote)


def flattened(pairs: Pairs) -> Iterator[tuple[str, str | bytes]]:
    """Name and value of each field; a list under a name gives several, ``None`` gives none.

    Raises:
        TypeError: They are no pairs, or a value is neither text nor a number.
    """
    if isinstance(pairs, (str, bytes)):
        raise TypeError(f"fields are a mapping or pairs of name and value, not {pairs!r:.100}")
    items = cast("Mapping[str, object]", pairs).items() if isinstance(pairs, Mapping) else pairs
    for name, value in items:
        for each in _several(value):
            if each is None:
                continue
            if isinstance(each, bool):
                yield name, "true" if each else "false"
            elif isinstance(each, (str, bytes)):
                yield name, each
            elif isinstance(each, (int, float)):
                yield name, str(each)
            else:
                raise TypeError(f"field {name!r} is text or a number, not {type(each).__name__}")


def _several(value: object) -> Iterable[object]:
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return cast("Iterable[object]", value)
    several: list[object] = [value]
    return several


def _octets(piece: object) -> Buffer:
    if not isinstance(piece, (bytes, bytearray, memoryview)):
        raise TypeError(f"content comes in pieces of bytes, not of {type(piece).__name__}")
    return cast("Buffer", piece)


def _has_descriptor(file: IO[bytes]) -> bool:
    try:
        file.fileno()
    except (OSError, AttributeError):
        return False
    return True


def _is_async_reader(source: object) -> bool:
    """An asynchronous file has `read` too, but is asked for its pieces."""
    return isinstance(source, AsyncIterable)
