"""Files of a folder as resources: types, validators, ranges, variants, listings.

A file is opened beneath its folder (``files.py``), described by `fstat` of that
very descriptor, and sent by the kernel. Small ones are read and leave in one piece
with their head. What is missing, forbidden, hidden or a link gets the same 404.

Beside ``page.html`` may stand ``page.html.br``, ``page.html.zst`` and
``page.html.gz``: a client that takes the coding is sent that one, if it is no
older than the file itself, with an entity tag of its own (RFC 9110 §8.8.3.3).

Each file is opened and looked at for each request; no descriptor is kept, so that what
has been replaced, or has become a link, is seen at once. What is kept is what follows
from the answer of `fstat` (header lines), and for a second that a variant is not there.

Sources: RFC 9110 §8.8, §12.5.3 (Accept-Encoding), §13, §14; RFC 8615.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import time
from html import escape
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import quote_from_bytes

from sennit.core.beneath import Descriptor
from sennit.core.engine import FilePart
from sennit.web.compression import accepted_codings
from sennit.web.conditions import evaluate, parse_ranges, range_applies
from sennit.web.dates import format_date
from sennit.web.files import Folder, acceptable
from sennit.web.mediatypes import is_compressible, media_type
from sennit.web.resource import Resource
from sennit.web.response import HTTPError, Response, error_page, html, redirect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import IO

    from sennit.core.interfaces import Buffer
    from sennit.web.conditions import Ranges
    from sennit.web.files import Opened
    from sennit.web.request import Request
    from sennit.web.response import HeadersIn

    Field = tuple[bytes, bytes]

__all__ = ["StaticFiles"]

READ_BELOW: Final = 16 * 1024
"""Octets up to which a file is read at once, to leave together with its head."""
MAX_LISTED: Final = 10_000
"""Entries of a directory listing."""

_VARIANTS: Final = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}
_CODINGS: Final = tuple(_VARIANTS)
_LACKING: Final = 1.0
"""Seconds for which a variant that was not there is not looked for again."""
_KEPT: Final = 1024
"""Files of which something is kept."""
_ASKING: Final = frozenset(
    {b"if-match", b"if-modified-since", b"if-none-match", b"if-unmodified-since", b"range"}
)
"""Fields that may make another answer than the whole file."""
_CAN_SEND_DESCRIPTORS: Final = hasattr(os, "pread")
_NOWHERE: Final = frozenset(
    {
        errno.EACCES,
        errno.EINVAL,
        errno.ELOOP,
        errno.EMLINK,  # FreeBSD's word for a link that was not to be followed
        errno.ENAMETOOLONG,
        errno.ENODEV,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ENXIO,
        errno.EPERM,
    }
)
_FULL: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class StaticFiles(Resource):
    """Serves the files of a folder.

    Args:
        root: The folder.
        index: Names that stand for a folder, the first that is there.
        follow: Whether symbolic links are followed, wherever they lead.
        listing: Whether a folder without an index is listed.
        precompressed: Whether compressed variants beside the files are used.
        max_age: Seconds for ``Cache-Control``; nothing is said when left out.
        cache_control: ``Cache-Control`` by the path below the folder: patterns as of a shell,
            where ``*`` is any number of characters (slashes too), the first that fits, such as
            ``{"assets/*": "max-age=31536000, immutable", "*.html": "no-cache"}``. `max_age`
            holds for all others.
        headers: Put into each answer that sends a file.
        wall_clock: Seconds since the epoch.
    """

    leaf = True

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        index: Sequence[str] = ("index.html",),
        follow: bool = False,
        listing: bool = False,
        precompressed: bool = True,
        max_age: int | None = None,
        cache_control: Mapping[str, str] | None = None,
        headers: HeadersIn = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = Folder(root, follow=follow)
        self._index = tuple(index)
        self._listing = listing
        self._precompressed = precompressed
        self._wall_clock = wall_clock
        self._headers = [
            (b"x-content-type-options", b"nosniff"),
            *Response(headers=headers).headers,
        ]
        self._age = b"" if max_age is None else b"max-age=%d" % max_age
        self._ages = [
            (re.compile(fnmatch.translate(pattern)).match, value.encode("latin-1"))
            for pattern, value in (cache_control or {}).items()
        ]
        # By what `fstat` and the name say: entity tag, and the fields that follow.
        self._described: dict[tuple[object, ...], tuple[str, list[Field], list[Field]]] = {}
        # By path: until when, and which variants, are taken for not there.
        self._lacking: dict[tuple[str, ...], tuple[float, set[str]]] = {}

    @property
    def root(self) -> str:
        """The folder, absolute."""
        return self._folder.path

    def close(self) -> None:
        """Give the folder's descriptor back; it is opened again when it is needed."""
        self._folder.close()

    def render_get(self, request: Request) -> Response:
        """Send what the rest of the path names."""
        segments = request.segments
        if not segments:
            # A child of a tree, asked for by its name alone: as with any folder in it.
            return _with_slash(request)
        as_folder = segments[-1] == ""
        if as_folder:
            segments = segments[:-1]
        for segment in segments:
            if not acceptable(segment):
                return error_page(404)
        try:
            return self._find(request, segments, as_folder)
        except OSError as error:
            if error.errno in _NOWHERE:
                return error_page(404)
            if error.errno in _FULL:
                raise HTTPError(503, {"retry-after": "1"}) from error
            raise

    def _find(self, request: Request, segments: list[str], as_folder: bool) -> Response:
        if as_folder:
            for name in self._index:
                try:
                    return self._serve(request, [*segments, name], as_folder)
                except OSError as error:
                    if error.errno not in _NOWHERE:
                        raise
            return self._list(request, segments)
        return self._serve(request, segments, as_folder)

    def _serve(self, request: Request, segments: list[str], as_folder: bool) -> Response:
        name = segments[-1]
        kind = media_type(name)
        codings: list[str] = []
        varies = self._precompressed and is_compressible(kind)
        if varies:
            accepted = request.header("accept-encoding")
            if accepted is not None:
                codings = self._there(segments, list(accepted_codings(accepted, _CODINGS)))
        opened = self._folder.open(segments, names=[name + _VARIANTS[each] for each in codings])
        try:
            found = opened[0]
            assert found is not None
            if found.is_folder and not as_folder:
                return _with_slash(request)
            if not found.is_file:
                return error_page(404)
            coding = None
            if codings:
                found, coding = self._choose(segments, opened, codings)
            cache = self._age
            if self._ages:
                path = "/".join(segments)
                cache = next((value for fits, value in self._ages if fits(path)), cache)
            return self._send(request, found, kind, coding, varies, cache)
        finally:
            for each_opened in opened:
                if each_opened is not None:
                    each_opened.close()

    def _there(self, segments: list[str], codings: list[str]) -> list[str]:
        """Codings without those that had no variant a moment ago."""
        known = self._lacking.get(tuple(segments))
        if known is None or time.monotonic() >= known[0]:
            return codings
        return [each for each in codings if each not in known[1]]

    def _choose(
        self, segments: list[str], opened: list[Opened | None], codings: list[str]
    ) -> tuple[Opened, str | None]:
        """The variant to send, if there is one that is no older than the file; else the file."""
        found = opened[0]
        assert found is not None
        lacking = {each for each, that in zip(codings, opened[1:], strict=True) if that is None}
        if lacking:
            key = tuple(segments)
            now = time.monotonic()
            until, known = self._lacking.get(key, (0.0, lacking))
            if now < until:
                known |= lacking
            else:
                if len(self._lacking) >= _KEPT:
                    self._lacking.clear()
                self._lacking[key] = (now + _LACKING, lacking)
        for coding, variant in zip(codings, opened[1:], strict=True):
            if (
                variant is not None
                and variant.is_file
                and int(variant.stat.st_mtime) >= int(found.stat.st_mtime)
            ):
                return variant, coding
        return found, None

    def _describe(
        self, found: Opened, kind: bytes, coding: str | None, varies: bool, cache: bytes
    ) -> tuple[str, list[Field], list[Field]]:
        """Entity tag, fields of every answer, and further ones of those with content."""
        status = found.stat
        key = (
            status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev, kind, coding, cache
        )  # fmt: skip
        known = self._described.get(key)
        if known is None:
            etag = f'"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"'
            headers = [
                *self._headers,
                (b"etag", etag.encode("ascii")),
                (b"last-modified", format_date(int(status.st_mtime)).encode("ascii")),
            ]
            if cache:
                headers.append((b"cache-control", cache))
            if varies:
                headers.append((b"vary", b"accept-encoding"))
            further = [(b"accept-ranges", b"bytes")]
            if coding is not None:
                further.append((b"content-encoding", coding.encode("ascii")))
            if len(self._described) >= _KEPT:
                self._described.clear()
            known = self._described[key] = (etag, headers, further)
        return known

    def _send(
        self,
        request: Request,
        found: Opened,
        kind: bytes,
        coding: str | None,
        varies: bool,
        cache: bytes,
    ) -> Response:
        """Answer with an open file, or with what its validators make of the request."""
        etag, headers, further = self._describe(found, kind, coding, varies, cache)
        size = found.stat.st_size
        response = Response()
        ranges: Ranges | None = None
        for name, _ in request.head.headers:
            if name in _ASKING:
                modified = int(found.stat.st_mtime)
                response.status = evaluate(request, etag, modified)
                if response.status != 200:
                    response.headers += headers
                    return response if response.status == 304 else error_page(response.status)
                ranges = self._ranges(request, etag, modified, size)
                break
        if ranges is not None and not ranges:
            return error_page(416, {"content-range": f"bytes */{size}"})
        response.headers = [*headers, *further]
        if ranges is None:
            response.headers.append((b"content-type", kind))
            response.body = _content(found, 0, size)
        elif len(ranges) == 1:
            response.status = 206
            begin, length = ranges[0]
            response.headers.append((b"content-type", kind))
            response.headers.append((b"content-range", _content_range(begin, length, size)))
            response.body = _content(found, begin, length)
        else:
            response.status = 206
            self._send_several(response, found, kind, ranges)
        return response

    def _ranges(self, request: Request, etag: str, modified: int, size: int) -> Ranges | None:
        """Which octets are wanted; ``None`` for all."""
        if request.head.method != b"GET":
            return None
        asked = request.header("range")
        if asked is None or not range_applies(
            request.header("if-range"), etag, modified, self._wall_clock()
        ):
            return None
        return parse_ranges(asked, size)

    def _send_several(self, response: Response, found: Opened, kind: bytes, ranges: Ranges) -> None:
        """A multipart/byteranges body (RFC 9110 §14.6)."""
        size = found.stat.st_size
        boundary = os.urandom(12).hex().encode("ascii")
        file = _file(found)
        parts: list[Buffer | FilePart] = []
        for begin, length in ranges:
            parts.append(
                b"\r\n--%b\r\ncontent-type: %b\r\ncontent-range: %b\r\n\r\n"
                % (boundary, kind, _content_range(begin, length, size))
            )
            last = len(parts) == 2 * len(ranges) - 1
            parts.append(FilePart(file, begin, length, close_file=last))
        parts.append(b"\r\n--%b--\r\n" % boundary)
        response.headers.append((b"content-type", b"multipart/byteranges; boundary=" + boundary))
        response.body = parts

    def _list(self, request: Request, segments: list[str]) -> Response:
        opened = self._folder.open(segments)[0]
        assert opened is not None
        try:
            if not self._listing or not opened.is_folder:
                return error_page(404)
            rows: list[str] = []
            if segments:
                rows.append('<li><a href="../">../</a>')
            with os.scandir(opened.fd) as entries:
                names = sorted(
                    (not entry.is_dir(follow_symlinks=False), entry.name)
                    for _, entry in zip(range(MAX_LISTED), entries, strict=False)
                    if acceptable(entry.name) and (self._folder.follow or not entry.is_symlink())
                )
        finally:
            opened.close()
        for is_file, name in names:
            octets = os.fsencode(name)
            slash = "" if is_file else "/"
            shown = escape(octets.decode("utf-8", "replace"), quote=True)
            rows.append(f'<li><a href="./{quote_from_bytes(octets)}{slash}">{shown}{slash}</a>')
        title = escape("/" + "/".join(segments), quote=True)
        return html(
            f"<!doctype html>\n<meta charset=utf-8>\n<title>{title}</title>\n"
            f"<h1>{title}</h1>\n<ul>\n{chr(10).join(rows)}\n</ul>\n",
            headers={
                "content-security-policy": "default-src 'none'",
                "x-content-type-options": "nosniff",
            },
        )


def _content(found: Opened, begin: int, length: int) -> bytes | FilePart:
    """Octets of an open file: read when they are few, else left to the transport."""
    if length <= READ_BELOW and hasattr(os, "pread"):
        data = os.pread(found.fd, length, begin)
        if len(data) == length:
            return data
        raise EOFError("the file shrank while it was being read")
    return FilePart(_file(found), begin, length, close_file=True)


def _file(found: Opened) -> IO[bytes]:
    """An open file as a file to send from, which closes it."""
    if not _CAN_SEND_DESCRIPTORS:  # pragma: no cover - Windows
        return os.fdopen(found.take(), "rb", buffering=0)
    # It has what is asked of a file that is sent, not all that `IO` has.
    return cast("IO[bytes]", Descriptor(found.take()))


def _content_range(begin: int, length: int, size: int) -> bytes:
    return b"bytes %d-%d/%d" % (begin, begin + length - 1, size)


def _with_slash(request: Request) -> Response:
    """A folder was asked for as if it were a file: its links would lead elsewhere."""
    query = request.query_string
    return redirect(f"{request.raw_path}/{'?' + query if query else ''}", 301)
