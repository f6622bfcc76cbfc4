"""Forms with files: multipart/form-data, written piece by piece.

Names and file names are written as browsers write them: UTF-8 between quotation marks,
a quotation mark as ``%22``. A line break or NUL in one of them is refused and not
escaped, since it can only be somebody's attempt to write a part of his own (HARDENING
h1-25, CVE-2023-49082). The boundary is made of 128 random bits, so that no content can
hold it but by chance.

Sources: WHATWG HTML §4.10.22.7; RFC 7578; RFC 2046 §5.1.
Elsewhere: reading such forms (the server's ``forms.py``).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from sennit.web.client.headers import fields_of
from sennit.web.client.uploads import FileUpload, Upload, flattened, upload_of
from sennit.web.errors import WebUsageError
from sennit.web.mediatypes import media_type

if TYPE_CHECKING:
    from sennit.core.interfaces import Buffer
    from sennit.web.client.headers import HeadersIn
    from sennit.web.client.uploads import Content, Pairs, Source

    # Under each name what `Part` takes, a pair or triple, a `Part`, or a list of those.
    Files = Mapping[str, object] | Iterable[tuple[str, object]]


__all__ = ["Multipart", "Part", "new_boundary"]


def new_boundary() -> str:
    """A boundary that no content holds."""
    return f"----sennit{secrets.token_hex(16)}"


class Part:
    """One part of a form.

    Args:
        content: What `upload_of` takes.
        filename: The name of the file, without folders; ``None`` for the one the file
            has, and where it has none the part is a plain field.
        content_type: Its media type; guessed by the file name when left out.
        headers: Further fields of the part.
        length: Octets of an iterable, where they are known.

    Raises:
        ValueError: A line break or NUL in any of them.
    """

    __slots__ = ("content_type", "filename", "headers", "upload")

    def __init__(
        self,
        content: Source,
        filename: str | None = None,
        content_type: str | None = None,
        *,
        headers: HeadersIn = None,
        length: int | None = None,
    ) -> None:
        kind = None if content_type is None else content_type.encode("latin-1")
        self.upload = upload_of(content, length=length, content_type=kind)
        if filename is None and isinstance(self.upload, FileUpload):
            filename = self.upload.name or "file"
        self.filename = None if filename is None else os.path.basename(filename)
        if kind is None and self.filename is not None:
            kind = media_type(self.filename)
        self.content_type = kind
        self.headers = fields_of(headers)
        if kind is not None:
            self.headers = [(b"content-type", kind), *self.headers]
            fields_of(self.headers)


class Multipart(Upload):
    """A form with files.

    Args:
        data: Plain fields.
        files: Files by field name: a path, an open file, octets, an iterable; a pair
            or triple of file name, one of those, and media type; or a `Part`.
        boundary: What stands between parts.

    Raises:
        ValueError: A line break or NUL in a name, a file name or a media type, or a
            boundary that is none.
    """

    def __init__(
        self, data: Pairs | None = None, files: Files | None = None, *, boundary: str | None = None
    ) -> None:
        boundary = new_boundary() if boundary is None else boundary
        if not (0 < len(boundary) <= 70 and boundary.isascii() and _plain(boundary)):
            raise WebUsageError(f"a boundary has 1 to 70 letters, digits and -_: {boundary!r:.100}")
        self._boundary = boundary.encode("ascii")
        self._parts: list[tuple[bytes, Upload]] = []
        for name, value in () if data is None else flattened(data):
            self._add(name, Part(value if isinstance(value, bytes) else value.encode("utf-8")))
        for name, given in () if files is None else _each(files):
            self._add(name, _part(given))
        self._end = b"--%b--\r\n" % self._boundary
        self.content_type = b"multipart/form-data; boundary=" + self._boundary
        self.repeatable = all(upload.repeatable for _, upload in self._parts)
        self.length = self._length()

    def _add(self, name: str, part: Part) -> None:
        shown = b'form-data; name="%b"' % _escaped(name, "name")
        if part.filename is not None:
            shown += b'; filename="%b"' % _escaped(part.filename, "file name")
        lines = [b"--" + self._boundary, b"Content-Disposition: " + shown]
        lines += [b"%b: %b" % (key.title(), value) for key, value in part.headers]
        self._parts.append((b"\r\n".join(lines) + b"\r\n\r\n", part.upload))

    def _length(self) -> int | None:
        total = len(self._end)
        for head, upload in self._parts:
            if upload.length is None:
                return None
            total += len(head) + upload.length + 2
        return total

    @property
    def available(self) -> bool:
        return all(upload.available for _, upload in self._parts)

    def open(self) -> Content:
        return self.pieces()

    async def pieces(self) -> AsyncIterator[Buffer]:
        for head, upload in self._parts:
            yield head
            async for piece in upload.pieces():
                yield piece
            yield b"\r\n"
        yield self._end


def _plain(boundary: str) -> bool:
    return all(each.isalnum() or each in "-_" for each in boundary)


def _escaped(text: str, what: str) -> bytes:
    if any(each in text for each in "\r\n\0"):
        raise WebUsageError(f"a line break or NUL in the {what} {text!r:.100}")
    return text.replace('"', "%22").encode("utf-8")


def _each(files: Files) -> Iterable[tuple[str, Any]]:  # Any: told apart by `_part`
    items = cast("Mapping[str, object]", files).items() if isinstance(files, Mapping) else files
    for name, given in items:
        for each in cast("list[object]", given) if isinstance(given, list) else [given]:
            yield name, each


def _part(given: Any) -> Part:
    if isinstance(given, Part):
        return given
    if isinstance(given, tuple):
        name, content, *kind = cast("Iterable[Any]", given)
        return Part(content, name, *kind)
    part = Part(given)
    if part.filename is None:
        # It was given as a file, so it goes as one: servers tell by the file name.
        return Part(given, "file")
    return part
