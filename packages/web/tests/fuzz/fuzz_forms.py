"""No octets make a form, a cookie or a field's parameters raise anything but what they say."""

from __future__ import annotations

from sennit.web.cookies import parse_cookies
from sennit.web.multipart import (
    FormError,
    FormLimits,
    MultipartReader,
    PartBegun,
    PartData,
    parse_parameters,
    safe_file_name,
)

_PART = b'--XX\r\nContent-Disposition: form-data; name="a"'

SEEDS = (
    _PART + b"\r\n\r\n1\r\n--XX--\r\n",
    _PART + b'; filename="b.png"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n--XX--',
    _PART + b"\r\n\r\n\r\n--X\r\n--XX \r\n--XX--",
    b'form-data; name="a\\"b"; filename=c',
    b'SID=31d4d96e407aad42; lang="en-US"; a',
)


def _take_apart(pieces: list[bytes]) -> list[object] | None:
    reader = MultipartReader("XX", FormLimits(parts=8, part_headers=300))
    found: list[object] = []
    try:
        for piece in pieces:
            for event in reader.receive_data(piece):
                if isinstance(event, PartData):
                    before = found.pop() if found and isinstance(found[-1], bytes) else b""
                    assert isinstance(before, bytes)
                    found.append(before + event.data)
                elif isinstance(event, PartBegun):
                    found.append((event.name, event.raw_file_name))
                else:
                    found.append(None)
        reader.receive_eof()
    except FormError:
        return None
    return found


def fuzz(data: bytes) -> None:
    """Take `data` for a form, for a field, and for cookies."""
    whole = _take_apart([data])
    assert _take_apart([data[at : at + 1] for at in range(len(data))]) == whole
    text = data.decode("utf-8", "replace")
    try:
        parse_parameters(text)
    except FormError:
        pass
    name = safe_file_name(text)
    assert not {"/", "\\", "\0"} & set(name)
    assert name not in (".", "..")
    parse_cookies(data)
