"""Octets as text: which charset, and decoding as the octets come.

A byte order mark wins over what the header says, the header over the default, which is
UTF-8; what does not fit is replaced and never raises. (WHATWG Encoding §6 "decode".)

Also the fields that say so: media types with their parameters, and links (RFC 8288 §3).
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from sennit.web.client.urls import URL

__all__ = ["Link", "TextDecoder", "charset_of", "decode_text", "parse_links"]

_CHARSET = re.compile(r""";[ \t]*charset[ \t]*=[ \t]*(?:"([^"\\]{1,80})"|([^\s;"]{1,80}))""", re.I)
_MARKS: Final = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_EVERY_OCTET: Final = bytes(range(256))
_NO_CHARSETS: Final = frozenset({"unicode_escape", "raw_unicode_escape"})
"""Escapes of Python's own, which warn of what they cannot read."""
MAX_LINKS: Final = 100


def charset_of(content_type: str) -> str | None:
    """The charset that a Content-Type names, where Python can decode it."""
    match = _CHARSET.search(content_type)
    if match is None:
        return None
    name = (match[1] or match[2]).strip().lower()
    if name.replace("-", "_") in _NO_CHARSETS:
        return None
    try:
        # Only what makes text of octets, whichever they are: "rot13", "zlib" and "idna" are
        # codecs to Python as well, and no server shall choose one.
        _EVERY_OCTET.decode(name, "replace")
    except (LookupError, ValueError):
        return None
    return codecs.lookup(name).name


class TextDecoder:
    """Decodes text as it comes.

    Args:
        charset: What the header says, or ``None``.
    """

    def __init__(self, charset: str | None) -> None:
        self._charset = charset or "utf-8"
        self._decoder: codecs.IncrementalDecoder | None = None
        self._head = b""

    def decode(self, data: bytes, *, final: bool = False) -> str:
        """The text that `data` completes."""
        if self._decoder is None:
            self._head += data
            if len(self._head) < 3 and not final:
                return ""
            data, self._head = self._head, b""
            for mark, name in _MARKS:
                if data.startswith(mark):
                    self._charset, data = name, data[len(mark) :]
                    break
            self._decoder = codecs.getincrementaldecoder(self._charset)("replace")
        return self._decoder.decode(data, final)


def decode_text(data: bytes, charset: str | None) -> str:
    """All of a text at once."""
    return TextDecoder(charset).decode(data, final=True)


class Link(NamedTuple):
    """One link of a Link field.

    Attributes:
        url: Where it leads.
        rel: Its relation types, in lower case.
        parameters: All its parameters by name in lower case.
    """

    url: URL
    rel: tuple[str, ...]
    parameters: dict[str, str]


_TARGET = re.compile(r"[ \t,]*<([^>]*)>")
_PARAMETER = re.compile(
    r"""[ \t]*;[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]*)"""
    r"""(?:[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*)))?"""
)
_ESCAPED = re.compile(r"\\(.)")


def parse_links(value: str, base: URL) -> list[Link]:
    """The links of a field (RFC 8288 §3.5), up to the first mistake in it.

    Args:
        value: The field's value, several joined by commas.
        base: What relative targets are resolved against.
    """
    found: list[Link] = []
    at = 0
    while len(found) < MAX_LINKS:
        target = _TARGET.match(value, at)
        if target is None:
            break
        at = target.end()
        parameters: dict[str, str] = {}
        while (match := _PARAMETER.match(value, at)) is not None:
            name, quoted, plain = match.groups()
            if name:
                said = plain if quoted is None else _ESCAPED.sub(r"\1", quoted)
                parameters.setdefault(name.lower(), said or "")
            at = match.end()
        try:
            url = base.join(target[1].strip())
        except ValueError:
            continue
        found.append(Link(url, tuple(parameters.get("rel", "").lower().split()), parameters))
    return found
