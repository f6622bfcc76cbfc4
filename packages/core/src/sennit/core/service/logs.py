"""Where log records go: as lines to a descriptor, without ever waiting.

What a line looks like is `sennit.core.ops.records`; that writing never waits is
`sennit.core.service.output`.
"""

from __future__ import annotations

import logging

from sennit.core.ops.records import RepeatFilter, TextFormatter, escape, formatter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.core.service.output import LineWriter

__all__ = ["LinesHandler", "RepeatFilter", "TextFormatter", "escape", "set_up"]


class LinesHandler(logging.Handler):
    """Formatted records to a `LineWriter`.

    Args:
        writer: Takes the lines.
    """

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one record."""
        try:
            self._writer.write(self.format(record))
        except Exception:
            self.handleError(record)


def set_up(writer: LineWriter, level: str = "info", form: str = "text") -> Callable[[], None]:
    """Send the root logger's records to `writer`.

    Args:
        writer: Takes the lines.
        level: ``debug``, ``info``, ``warning`` or ``error``.
        form: ``text`` or ``json``.

    Returns:
        What puts everything back.
    """
    handler = LinesHandler(writer)
    handler.setFormatter(formatter(form))
    handler.addFilter(RepeatFilter())
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Says on INFO what belongs to DEBUG.
    quiet = logging.getLogger("asyncio")
    quiet_before = quiet.level
    quiet.setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(True)

    def put_back() -> None:
        logging.captureWarnings(False)
        root.handlers[:], level_before = before
        root.setLevel(level_before)
        quiet.setLevel(quiet_before)

    return put_back
