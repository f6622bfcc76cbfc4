"""Log records with fixed fields, as one line each: text for people, or JSON.

A record says its fields with ``extra``::

    log.info("refused", extra={"service": "site", "peer": peer, "phase": "handshake"})

The fields are `FIELDS`; whatever else a record carries is not written. Text is time,
level, service, peer, message, then ``name=value`` of the other fields; JSON is one
object with ``time``, ``level``, ``logger``, ``message``, the fields that are there,
and of an exception its lines.

Controls are written as escapes and a field has at most 1 KiB, so that nobody
forges a line or clears a terminal (HARDENING core-19, CWE-117). What repeats is
counted instead of repeated.

Not here: where lines go (``sennit.core.service.logs``, ``output``).
"""

from __future__ import annotations

import json
import logging
import re
import time
import traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

__all__ = ["FIELDS", "JSONFormatter", "RepeatFilter", "TextFormatter", "escape", "formatter"]

FIELD: Final = 1024
"""Octets of one field, escapes included."""

TRACEBACK_LINES: Final = 60
"""Lines of one traceback; the first and the last are kept."""

FIELDS: Final = (
    "service",
    "peer",
    "connection",
    "protocol",
    "phase",
    "rule",
    "reason",
    "duration",
    "worker",
)
"""Attributes of a record that are written, beside message, level, logger and time.

``service`` is a name in the configuration, ``connection`` a number, ``phase`` what was under
way, ``rule`` what a peer broke, ``reason`` why a connection ended, ``duration`` seconds.
"""

# Controls of ASCII and of Latin-1 (0x9b begins an escape sequence by itself), the
# separators that some programs take for line ends, what turns writing around
# (U+202A…), and lone surrogates, which no file can hold.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def escape(text: str, limit: int = FIELD) -> str:
    """`text` on one line, without controls, in at most `limit` octets of UTF-8.

    Backslashes stay as they are: this is for reading, not for reading back.
    """
    if not text.isprintable():
        # What is longer is cut anyway; escapes make it no shorter.
        text = _UNSAFE.sub(_escaped, text[: limit + 1])
    if len(text) * 4 <= limit:
        return text
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit:
        return text
    return data[: limit - 3].decode("utf-8", "ignore") + "…"


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    short = {9: "\\t", 10: "\\n", 13: "\\r"}.get(code)
    if short is not None:
        return short
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class TextFormatter(logging.Formatter):
    """Time, level, service, peer, message, ``name=value`` …, on one line.

    A value with blanks or quotes in it stands in quotes, so that fields can be told
    apart. A traceback follows on lines that begin with four blanks and a bar, so
    that none of them can be taken for a record.
    """

    def format(self, record: logging.LogRecord) -> str:
        service = getattr(record, "service", None) or _short(record.name)
        peer = getattr(record, "peer", None)
        parts = [
            _time(record.created),
            f"{record.levelname:<7}",
            _word(service),
            "-" if peer is None else _word(peer),
            escape(_message(record)),
        ]
        for name in FIELDS[2:]:
            value = getattr(record, name, None)
            if value is not None:
                shown = f"{value:.3f}" if isinstance(value, float) else _word(value)
                parts.append(f"{name}={shown}")
        line = " ".join(parts)
        return line + "".join(f"\n    | {each}" for each in _exception(record))


class JSONFormatter(logging.Formatter):
    """One JSON object per line; its text is ASCII, so that every reader agrees on it.

    ``time`` (UTC, RFC 3339, milliseconds), ``level`` in small letters, ``logger``,
    ``message``, the `FIELDS` that the record has, and ``exception``: the lines of a
    traceback. Numbers and booleans among the fields stay what they are.
    """

    def format(self, record: logging.LogRecord) -> str:
        shown: dict[str, object] = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "logger": escape(record.name),
            "message": escape(_message(record)),
        }
        for name in FIELDS:
            value = getattr(record, name, None)
            if value is not None:
                shown[name] = _plain(value)
        lines = _exception(record)
        if lines:
            shown["exception"] = lines
        return json.dumps(shown, separators=(",", ":"))


def formatter(form: str) -> logging.Formatter:
    """The formatter of a form: ``text`` or ``json``.

    Raises:
        ValueError: There is no such form.
    """
    if form == "json":
        return JSONFormatter()
    if form == "text":
        return TextFormatter()
    raise ValueError(f"a log is 'text' or 'json', not {form!r}")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:
        # A log call that was written wrong still says where it was.
        return f"{record.msg!r} with {record.args!r} cannot be formatted: {error!r}"


def _short(name: str) -> str:
    """A logger's name where no service was named."""
    return name.removeprefix("sennit.core.").removeprefix("sennit.") or "-"


def _text(value: object) -> str:
    try:
        return escape(str(value))
    except Exception as error:
        return f"<{type(error).__name__}>"


def _word(value: object) -> str:
    """A field that can be told from its neighbours: in quotes when it has blanks or quotes."""
    text = _text(value)
    if not text:
        return "-"
    if " " in text or '"' in text:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text


def _plain(value: object) -> object:
    """A field for JSON."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        # Larger ones are not exact numbers to every reader (RFC 8259 section 6).
        return value if -(2**53) < value < 2**53 else str(value)
    if isinstance(value, float):
        # No infinity, no NaN in JSON.
        return round(value, 6) if abs(value) < 1e15 else str(value)
    return _text(value)


def _time(when: float) -> str:
    whole = time.gmtime(when)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', whole)}.{int(when % 1 * 1000):03d}Z"


def _exception(record: logging.LogRecord) -> list[str]:
    """The lines of a record's traceback, each escaped."""
    if record.exc_info and record.exc_info[1] is not None:
        return _shortened(traceback.format_exception(record.exc_info[1]))
    if record.exc_text:
        return _shortened([record.exc_text])
    return []


def _shortened(parts: list[str]) -> list[str]:
    lines = [escape(line) for part in parts for line in part.rstrip("\n").split("\n")]
    if len(lines) > TRACEBACK_LINES:
        half = TRACEBACK_LINES // 2
        left_out = len(lines) - 2 * half
        lines = [*lines[:half], f"… {left_out} lines …", *lines[-half:]]
    return lines


class RepeatFilter(logging.Filter):
    """Lets the first records of a kind pass, counts the others.

    Records are of one kind when logger, level, service and the message before its
    arguments are the same. Access logs (loggers whose name ends in ``.access``) are
    not counted: every line of theirs is an event of its own.

    Args:
        burst: Records of one kind that pass in one `interval`.
        interval: Seconds.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        burst: int = 20,
        interval: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._burst = burst
        self._interval = interval
        self._clock = clock
        self._kinds: dict[tuple[Any, ...], list[float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write it; one that follows a pause says what was left out."""
        if record.name.endswith(".access"):
            return True
        now = self._clock()
        # Any object may be logged; what cannot be a key is of its type's kind.
        given: object = record.msg
        message = given if isinstance(given, str) else type(given).__qualname__
        kind = (record.name, record.levelno, getattr(record, "service", None), message)
        entry = self._kinds.pop(kind, None)
        if entry is None or now - entry[0] >= self._interval:
            if entry is not None and entry[1] > self._burst:
                left_out = int(entry[1]) - self._burst
                record.msg = f"{_message(record)} ({left_out} more like this were left out)"
                record.args = None
            entry = [now, 0.0]
        entry[1] += 1
        # Put back at the end: the front is what was not seen for longest.
        self._kinds[kind] = entry
        while len(self._kinds) > 512:
            del self._kinds[next(iter(self._kinds))]
        return entry[1] <= self._burst
