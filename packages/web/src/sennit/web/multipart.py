"""multipart/form-data taken apart at its boundaries, without I/O; names of files made harmless.

Octets go in through `MultipartReader.receive_data`, which gives back what they complete:
a part's headers, its octets, its end. The cutting at boundaries is python-multipart's
(extra ``forms``); what may stand between them, and how much of it, is decided here
(HARDENING h1-17).

Sources: RFC 7578 (multipart/form-data), RFC 2046 §5.1 (boundaries), RFC 9110 §5.6.6
(parameters), the HTML standard of WHATWG (what browsers escape in names). Not here:
where the content stays (``forms.py``), what the client sends (``client/multipart.py``).
"""

from __future__ import annotations

import logging
import re
from typing import Final

from sennit.core.errors import MissingExtraError
from sennit.web.errors import WebProtocolError

__all__ = [
    "FormError",
    "FormLimits",
    "MultipartReader",
    "PartBegun",
    "PartData",
    "PartEnded",
    "parse_parameters",
    "safe_file_name",
]

# Belongs to no tree of loggers, and lets nothing through.
_silent = logging.Logger("sennit.web.multipart", logging.CRITICAL + 1)  # noqa: LOG001 - just so
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]*[0-9A-Za-z'()+_,\-./:=?]").fullmatch
_PARAMETER = re.compile(
    r'[ \t]*;[ \t]*([!#$%&\'*+\-.^_`|~0-9A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^;" \t]*))', re.DOTALL
).match
_PART_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_PART_VALUE = re.compile(rb"[\t -~\x80-\xff]*").fullmatch
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# What WHATWG's form encoding escapes in names and file names, and nothing else.
_ESCAPED = {"%22": '"', "%0D": "\r", "%0d": "\r", "%0A": "\n", "%0a": "\n"}
_ESCAPES = re.compile("|".join(_ESCAPED))


class FormError(WebProtocolError):
    """A form that is none, or too large; `status` answers it."""

    def __init__(self, message: str, rule: str = "RFC 7578 §4", status: int = 400) -> None:
        super().__init__(message, rule, status)


class FormLimits:
    """What a form may have; sizes in octets.

    Attributes:
        parts: Parts of a multipart form.
        part_headers: All header lines of one part.
        boundary: The boundary (RFC 2046 §5.1.1 allows 70).
        fields: Fields that are no uploads.
        field_octets: Names and values of all fields together.
        memory: Content of one upload that is kept in memory; beyond it goes to a file.
        memory_in_all: Likewise, of all uploads of a form.
        file_name: A file's name as it is offered.
    """

    __slots__ = (
        "boundary",
        "field_octets",
        "fields",
        "file_name",
        "memory",
        "memory_in_all",
        "part_headers",
        "parts",
    )

    def __init__(
        self,
        *,
        parts: int = 1000,
        part_headers: int = 8 * 1024,
        boundary: int = 70,
        fields: int = 1000,
        field_octets: int = 1024 * 1024,
        memory: int = 1024 * 1024,
        memory_in_all: int = 8 * 1024 * 1024,
        file_name: int = 255,
    ) -> None:
        self.parts = parts
        self.part_headers = part_headers
        self.boundary = boundary
        self.fields = fields
        self.field_octets = field_octets
        self.memory = memory
        self.memory_in_all = memory_in_all
        self.file_name = file_name


class PartBegun:
    """A part's headers have come.

    Attributes:
        name: Of the field.
        raw_file_name: As it was sent, unquoted; ``None`` for what is no upload.
        headers: Values by lower-case name.
    """

    __slots__ = ("headers", "name", "raw_file_name")

    def __init__(self, name: str, raw_file_name: str | None, headers: dict[str, str]) -> None:
        self.name = name
        self.raw_file_name = raw_file_name
        self.headers = headers


class PartData:
    """Octets of the part that began last.

    Attributes:
        data: The octets; never empty.
    """

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class PartEnded:
    """The part that began last is whole."""

    __slots__ = ()


_ENDED: Final = PartEnded()


class MultipartReader:
    """Octets of a multipart/form-data in, parts out. No I/O.

    Args:
        boundary: As Content-Type has it.
        limits: What it may have.

    Raises:
        FormError: The boundary is none.
        MissingExtraError: python-multipart is not installed.
    """

    def __init__(self, boundary: str, limits: FormLimits | None = None) -> None:
        limits = limits or FormLimits()
        if not boundary or len(boundary) > limits.boundary or _BOUNDARY(boundary) is None:
            raise FormError(f"a boundary cannot be {boundary!r:.100}", "RFC 2046 §5.1.1")
        try:
            from python_multipart.exceptions import FormParserError
            from python_multipart.multipart import MultipartParser
        except ImportError as error:
            raise MissingExtraError("multipart/form-data", "sennit-web", "forms") from error
        self._limits = limits
        self._broken = FormParserError
        self._events: list[PartBegun | PartData | PartEnded] = []
        self._parts = 0
        self._header_octets = 0
        self._field = bytearray()
        self._value = bytearray()
        self._headers: dict[str, str] = {}
        self._done = False
        self._first = b"--" + boundary.encode("ascii")
        self._begun: bytes | None = b""  # what came, until it is enough to tell
        self._parser = MultipartParser(
            self._first[2:],
            {
                "on_part_begin": self._part_begun,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_ended,
                "on_headers_finished": self._headers_ended,
                "on_part_data": self._part_data,
                "on_part_end": self._part_ended,
                "on_end": self._all_ended,
            },
            max_header_size=limits.part_headers,
        )
        # It warns of each broken form; here the error says it, once, to who asked.
        self._parser.logger = _silent

    def receive_data(self, data: bytes) -> list[PartBegun | PartData | PartEnded]:
        """What these octets complete.

        Raises:
            FormError: The form is broken, or too large; nothing more is to be given to it.
        """
        if self._done:
            # An epilogue says nothing (RFC 2046 §5.1.1).
            return []
        events: list[PartBegun | PartData | PartEnded] = []
        self._events = events
        if self._begun is not None:
            data = self._begun + data
            if len(data) < len(self._first):
                self._begun = data
                return events
            # Nobody sends a preamble in a form, and parsers differ in how they skip it.
            if not data.startswith(self._first):
                raise FormError("a form that does not begin with its boundary", "RFC 2046 §5.1.1")
            self._begun = None
        try:
            self._parser.write(data)
        except self._broken as error:
            raise FormError(f"a form that is broken: {str(error)!r:.200}") from None
        return events

    def receive_eof(self) -> None:
        """No more octets come.

        Raises:
            FormError: The closing boundary has not come.
        """
        if not self._done:
            raise FormError("a form that ends before its closing boundary", "RFC 2046 §5.1.1")

    def _part_begun(self) -> None:
        self._parts += 1
        if self._parts > self._limits.parts:
            raise FormError(f"more than {self._limits.parts} parts", status=413)
        self._headers = {}
        self._header_octets = 0

    def _count(self, octets: int) -> None:
        self._header_octets += octets
        if self._header_octets > self._limits.part_headers:
            raise FormError(f"a part with more than {self._limits.part_headers} octets of headers")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._value += data[start:end]

    def _header_ended(self) -> None:
        name, value = bytes(self._field), bytes(self._value)
        self._field.clear()
        self._value.clear()
        # Two more for the colon and the end, so that empty lines are no way round the limit.
        self._count(2)
        if _PART_NAME(name) is None or _PART_VALUE(value) is None:
            raise FormError(f"a header of a part cannot be {name!r:.50}: {value!r:.50}")
        key = name.decode("ascii").lower()
        if key in self._headers:
            raise FormError(f"a part with two {key!r:.50}")
        self._headers[key] = value.decode("utf-8", "replace").strip(" \t")

    def _headers_ended(self) -> None:
        headers = self._headers
        kind, parameters = parse_parameters(headers.get("content-disposition", ""))
        name = parameters.get("name")
        if kind != "form-data" or name is None:
            raise FormError("a part that does not say which field it is of", "RFC 7578 §4.2")
        if headers.get("content-transfer-encoding", "binary").lower() not in (
            "7bit",
            "8bit",
            "binary",
        ):
            raise FormError("a part with a transfer encoding", "RFC 7578 §4.7")
        self._events.append(PartBegun(_unescape(name), parameters.get("filename"), headers))

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if end > start:
            self._events.append(PartData(bytes(data[start:end])))

    def _part_ended(self) -> None:
        self._events.append(_ENDED)

    def _all_ended(self) -> None:
        self._done = True


def parse_parameters(value: str) -> tuple[str, dict[str, str]]:
    """The first word of a field such as Content-Type, in lower case, and its parameters.

    Names are in lower case, quoted values unquoted. Of a Windows path in quotes the
    backslashes stay: browsers do not escape them.

    Raises:
        FormError: Two parameters of one name, or something that is none.
    """
    kind, _, _ = value.partition(";")
    found: dict[str, str] = {}
    at = len(kind)
    while at < len(value):
        match = _PARAMETER(value, at)
        if match is None:
            if value[at:].strip(" \t;"):
                raise FormError(f"no parameter: {value[at:]!r:.100}", "RFC 9110 §5.6.6")
            break
        at = match.end()
        name = match[1].lower()
        if name in found:
            raise FormError(f"two parameters {name!r:.50}", "RFC 9110 §5.6.6")
        quoted = match[2]
        found[name] = (
            match[3] if quoted is None else quoted.replace('\\"', '"').replace("\\\\", "\\")
        )
    return kind.strip(" \t").lower(), found


def _unescape(name: str) -> str:
    return _ESCAPES.sub(lambda match: _ESCAPED[match[0]], name) if "%" in name else name


def safe_file_name(raw: str, limit: int = 255) -> str:
    """The last component of a file's name, whatever system the client runs; empty for none.

    Control characters are left out, and what is too long is cut, its ending kept.

    Args:
        raw: As the client sent it.
        limit: Octets in UTF-8.
    """
    name = _CONTROLS.sub("", re.split(r"[/\\]", _unescape(raw))[-1]).strip()
    if name in (".", ".."):
        return ""
    # A drive without a slash behind it: ``C:x`` is a file in the drive's own folder.
    if len(name) > 1 and name[1] == ":" and name[0].isalpha():
        name = name[2:]
    octets = name.encode("utf-8", "replace")
    if len(octets) > limit:
        stem, dot, ending = name.rpartition(".")
        tail = (dot + ending).encode("utf-8", "replace") if stem and len(ending) <= 16 else b""
        if len(tail) >= limit:
            tail = b""
        octets = octets[: limit - len(tail)].decode("utf-8", "ignore").encode() + tail
        name = octets.decode("utf-8", "ignore")
    return "" if name in (".", "..") else name
