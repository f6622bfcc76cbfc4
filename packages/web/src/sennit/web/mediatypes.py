"""Media types by file name: the same on every machine, whatever its system's tables say."""

from __future__ import annotations

import mimetypes
from typing import Final

__all__ = ["is_compressible", "media_type"]

_OURS: Final = {
    ".avif": "image/avif",
    ".css": "text/css",
    ".csv": "text/csv",
    ".html": "text/html",
    ".ico": "image/vnd.microsoft.icon",
    ".js": "text/javascript",
    ".json": "application/json",
    ".jsonld": "application/ld+json",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".mp4": "video/mp4",
    ".otf": "font/otf",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".txt": "text/plain",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xml": "text/xml",
    ".zst": "application/zstd",
}
_CODED: Final = {
    "br": "application/x-brotli",
    "bzip2": "application/x-bzip2",
    "compress": "application/x-compress",
    "gzip": "application/gzip",
    "xz": "application/x-xz",
}
_INCOMPRESSIBLE: Final = ("image/", "video/", "audio/", "font/woff")
_PACKED: Final = frozenset(_CODED.values()) | {"application/zip", "application/zstd"}

_table = mimetypes.MimeTypes(filenames=())
for _ending, _kind in _OURS.items():
    _table.add_type(_kind, _ending)
_kept: dict[str, bytes] = {}


def media_type(name: str) -> bytes:
    """The Content-Type of a file, by its name; text is taken for UTF-8.

    A packed file is sent as what it is, not as what it holds: nobody asked for a
    content coding.
    """
    ending = name[name.rfind(".") :].lower() if "." in name else ""
    found = _kept.get(ending)
    if found is None:
        kind, coding = _table.guess_type(f"x{ending}", strict=True)
        if coding is not None:
            kind = _CODED.get(coding)
        kind = kind or "application/octet-stream"
        if kind.startswith("text/"):
            kind += "; charset=utf-8"
        found = kind.encode("ascii")
        if len(_kept) < 256:
            _kept[ending] = found
    return found


def is_compressible(kind: bytes) -> bool:
    """Whether it is worth to look for a compressed variant of such a file."""
    text = kind.decode("ascii")
    return text == "image/svg+xml" or not (text.startswith(_INCOMPRESSIBLE) or text in _PACKED)
