"""Forms that browsers send: fields and uploaded files, taken apart as they come.

`read_form` reads content piece by piece: fields stay in memory, and what an upload has
beyond `FormLimits.memory` goes to a temporary file, written in a thread. Octets of a
part are never joined with those of another, and what counts is the whole form, not each
part (HARDENING h1-17)::

    async def receive(request):
        async with await request.form() as form:
            title = form["title"]
            await form.uploads["picture"].save(folder / unique_name)

The names of files are the client's: `Upload.file_name` has the last component only, and
is a suggestion, not a path (h1-18); what was sent stands in `Upload.raw_file_name`.

Sources: RFC 7578 (multipart/form-data), the URL standard of WHATWG (urlencoded).
Multipart forms need the extra ``forms``, urlencoded ones none. Elsewhere: how a multipart
is taken apart (``multipart.py``), what the client sends (``client/multipart.py``).
"""

from __future__ import annotations

import io
import os
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qsl

from sennit.core._inbox import add_piece
from sennit.web.multipart import (
    FormError,
    FormLimits,
    MultipartReader,
    PartBegun,
    PartData,
    parse_parameters,
    safe_file_name,
)
from sennit.web.request import Fields

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable
    from types import TracebackType
    from typing import Self

    from sennit.core.interfaces import Buffer

__all__ = ["Form", "FormError", "FormLimits", "Upload", "read_form"]

T = TypeVar("T")

_TO_DISK: Final = 256 * 1024
"""Octets that are handed to a thread at a time."""


# ── what came ─────────────────────────────────────────────────────────────────


class Upload:
    """A file that was uploaded.

    Attributes:
        name: Of the field.
        file_name: Its name without folders, fit to be shown or to be part of a name;
            empty when there is none. Two uploads may have the same.
        raw_file_name: What the client sent.
        content_type: What the client says it is, empty where it says nothing; not to be
            believed.
        headers: Of its part, by lower-case name.
        size: Octets.
    """

    __slots__ = (
        "__weakref__",
        "_closed",
        "_disk",
        "_pieces",
        "_waiting",
        "content_type",
        "file_name",
        "headers",
        "name",
        "raw_file_name",
        "size",
    )

    def __init__(self, part: PartBegun, limits: FormLimits) -> None:
        self.name = part.name
        self.raw_file_name = part.raw_file_name or ""
        self.file_name = safe_file_name(self.raw_file_name, limits.file_name)
        self.content_type = part.headers.get("content-type", "")
        self.headers = part.headers
        self.size = 0
        self._pieces: list[Buffer] = []
        self._waiting = 0  # octets in them
        self._disk: IO[bytes] | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<Upload {self.file_name[:64]!r}, {self.size} octets>"

    @property
    def in_memory(self) -> bool:
        """Whether there is no file behind it."""
        return self._disk is None

    @property
    def file(self) -> IO[bytes]:
        """Its content as an open file, for libraries that want one; reading may block."""
        if self._disk is None:
            return io.BytesIO(b"".join(self._pieces))
        self._disk.seek(0)
        return self._disk

    async def read(self) -> bytes:
        """All of it."""
        disk = self._disk
        if disk is None:
            return b"".join(self._pieces)
        return await _in_thread(_read_at, disk, 0, self.size)

    async def chunks(self, size: int = 64 * 1024) -> AsyncIterator[bytes]:
        """It piece by piece."""
        disk = self._disk
        if disk is None:
            for piece in self._pieces:
                yield bytes(piece)
            return
        for at in range(0, self.size, size):
            yield await _in_thread(_read_at, disk, at, size)

    async def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a new file.

        Args:
            path: The application's choice, not the client's.

        Raises:
            FileExistsError: There is one; nothing was touched.
            OSError: It could not be written; nothing is left of it.
        """
        await _in_thread(self._save, path)

    def _save(self, path: str | os.PathLike[str]) -> None:
        with open(path, "xb") as out:
            try:
                if self._disk is None:
                    out.writelines(self._pieces)
                    return
                for at in range(0, self.size, 1024 * 1024):
                    out.write(_read_at(self._disk, at, 1024 * 1024))
                out.flush()
            except BaseException:
                # Half a file would be taken for a whole one, and stand in the way of the next.
                os.unlink(path)
                raise

    def close(self) -> None:
        """Forget it, and its temporary file."""
        self._closed = True
        self._pieces = []
        if self._disk is not None:
            self._disk.close()

    def add(self, data: bytes) -> None:
        """Keep octets; whoever reads the form calls `spill` when it is time."""
        add_piece(self._pieces, data)
        self._waiting += len(data)
        self.size += len(data)

    @property
    def waiting(self) -> int:
        """Octets of it in memory."""
        return self._waiting

    async def spill(self) -> None:
        """Write what is in memory to the temporary file."""
        pieces, self._pieces, self._waiting = self._pieces, [], 0
        await _in_thread(self._write, pieces)

    def _write(self, pieces: list[Buffer]) -> None:
        """In the thread, which goes on when whoever waits for it is cancelled."""
        disk = self._disk
        if disk is None:
            disk = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the upload
            # Without Python's warning to those who did not say so.
            weakref.finalize(self, disk.close)
            self._disk = disk
        if self._closed:
            disk.close()
        else:
            disk.writelines(pieces)


def _read_at(file: IO[bytes], at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)


async def _in_thread(fn: Callable[..., T], *args: Any) -> T:  # Any: what fn takes
    from sennit.core.reactor.base import current_reactor

    return await current_reactor().defer_to_thread(fn, *args)


class Form(Mapping[str, str]):
    """A form: a mapping of its fields' first values, and its uploads.

    A field or an upload that is asked for and did not come is answered 400, unless
    `MissingFieldError`, a `KeyError`, is caught; ``form.get(name)`` gives ``None``.

    Attributes:
        fields: List of (name, value), in the order they came.
        files: The uploads, in the order they came.
    """

    def __init__(self) -> None:
        self.fields: list[tuple[str, str]] = []
        self.files: list[Upload] = []
        self._first: Fields[str] = Fields()

    def __repr__(self) -> str:
        return f"<Form: {len(self.fields)} fields, {len(self.files)} files>"

    def __getitem__(self, name: str) -> str:
        return self._first[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._first)

    def __len__(self) -> int:
        return len(self._first)

    def get_all(self, name: str) -> list[str]:
        """Every value of a field."""
        return [value for each, value in self.fields if each == name]

    @property
    def uploads(self) -> Fields[Upload]:
        """The first upload of each field."""
        found: Fields[Upload] = Fields()
        for each in self.files:
            found.setdefault(each.name, each)
        return found

    def add(self, name: str, value: str) -> None:
        """Add a field."""
        self.fields.append((name, value))
        self._first.setdefault(name, value)

    def close(self) -> None:
        """Forget the uploads, and their temporary files."""
        for each in self.files:
            each.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


# ── reading ───────────────────────────────────────────────────────────────────


async def read_form(
    content_type: str | None,
    content: AsyncIterable[Buffer],
    limits: FormLimits | None = None,
) -> Form:
    """Read a form of either kind.

    Args:
        content_type: The Content-Type field.
        content: What it is of.
        limits: What it may have.

    Raises:
        FormError: It is no form (415), a broken one (400), or too large (413).
        MissingExtraError: A multipart form, and python-multipart is not installed.
    """
    limits = limits or FormLimits()
    kind, parameters = parse_parameters(content_type or "")
    if kind == "multipart/form-data":
        return await _read_multipart(parameters.get("boundary", ""), content, limits)
    if kind == "application/x-www-form-urlencoded":
        return await _read_urlencoded(content, limits)
    raise FormError(f"no form: {kind!r:.100}", "RFC 9110 §15.5.16", 415)


async def _read_urlencoded(content: AsyncIterable[Buffer], limits: FormLimits) -> Form:
    pieces: list[Buffer] = []
    size = 0
    async for piece in content:
        size += len(piece)
        if size > limits.field_octets:
            raise FormError(f"more than {limits.field_octets} octets of fields", status=413)
        add_piece(pieces, piece)
    whole = b"".join(pieces)
    if whole.count(b"&") >= limits.fields:
        raise FormError(f"more than {limits.fields} fields", status=413)
    form = Form()
    text = whole.decode("utf-8", "replace")
    for name, value in parse_qsl(text, keep_blank_values=True, errors="replace"):
        form.add(name, value)
    return form


class _FieldValue:
    """A field of a multipart form whose value is coming."""

    __slots__ = ("name", "pieces")

    def __init__(self, name: str) -> None:
        self.name = name
        self.pieces: list[Buffer] = []


async def _read_multipart(
    boundary: str, content: AsyncIterable[Buffer], limits: FormLimits
) -> Form:
    reader = MultipartReader(boundary, limits)
    form = Form()
    try:
        await _fill(form, reader, content, limits)
    except BaseException:
        form.close()
        raise
    return form


async def _fill(
    form: Form, reader: MultipartReader, content: AsyncIterable[Buffer], limits: FormLimits
) -> None:
    current: Upload | _FieldValue | None = None
    octets = 0  # of all fields
    held = 0  # of all uploads that have ended in memory
    async for chunk in content:
        for event in reader.receive_data(bytes(chunk)):
            if type(event) is PartData:
                if type(current) is Upload:
                    current.add(event.data)
                elif type(current) is _FieldValue:
                    octets += len(event.data)
                    add_piece(current.pieces, event.data)
            elif type(event) is PartBegun:
                octets += len(event.name)
                if event.raw_file_name is None:
                    current = _FieldValue(event.name)
                else:
                    current = Upload(event, limits)
                    form.files.append(current)
            else:
                if type(current) is Upload:
                    to_disk = not current.in_memory or _too_much(current, held, limits)
                    if to_disk and current.waiting:
                        await current.spill()
                    held += current.waiting
                elif type(current) is _FieldValue:
                    form.add(current.name, b"".join(current.pieces).decode("utf-8", "replace"))
                    if len(form.fields) > limits.fields:
                        raise FormError(f"more than {limits.fields} fields", status=413)
                current = None
            if octets > limits.field_octets:
                raise FormError(f"more than {limits.field_octets} octets of fields", status=413)
        # Before the next piece is asked for: the client waits while the disk writes.
        if type(current) is Upload and (
            _too_much(current, held, limits) if current.in_memory else current.waiting > _TO_DISK
        ):
            await current.spill()
    reader.receive_eof()


def _too_much(upload: Upload, held: int, limits: FormLimits) -> bool:
    """Whether what there is of an upload is more than stays in memory."""
    return upload.waiting > limits.memory or held + upload.waiting > limits.memory_in_all
