"""What the driver writes to the log: escaped, bounded, and not too often.

A peer decides how often it breaks a rule, and may have a hand in the text of an
exception. So each kind of line is written a few times a minute and then counted,
and nothing that a terminal or a log file would obey gets through.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RateLimit", "escape", "log_bug", "log_fault"]

LONGEST: Final = 1024
"""Characters of a field in a log line."""
LINES: Final = 5
"""Lines of one kind per period."""
PERIOD: Final = 60.0
"""Seconds."""
MOST_KINDS: Final = 1024
"""Kinds of lines that are told apart."""


def escape(text: object) -> str:
    """`text` on one line, harmless to whoever displays it, and not endless."""
    line = str(text)
    if len(line) > LONGEST:
        line = line[:LONGEST] + "…"
    if line.isprintable():
        return line
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)


class RateLimit:
    """Lets a few lines of each kind through per period, and counts the others.

    Args:
        lines: How many.
        period: In seconds.
        time: Tells them.
    """

    def __init__(
        self, lines: int = LINES, period: float = PERIOD, time: Callable[[], float] = monotonic
    ) -> None:
        self._lines = lines
        self._period = period
        self._time = time
        self._kinds: dict[object, list[float]] = {}  # to begin, lines seen

    def admit(self, kind: object) -> int | None:
        """``None`` to suppress the line; else how many of its kind were suppressed before."""
        now = self._time()
        entry = self._kinds.get(kind)
        if entry is None:
            if len(self._kinds) >= MOST_KINDS:
                self._kinds.clear()
            self._kinds[kind] = [now, 1]
            return 0
        if now - entry[0] >= self._period:
            suppressed = max(0, int(entry[1]) - self._lines)
            entry[:] = [now, 1]
            return suppressed
        entry[1] += 1
        return 0 if entry[1] <= self._lines else None

    def forget(self) -> None:
        """Let lines of every kind through anew."""
        self._kinds.clear()


limit: Final = RateLimit()
"""The process's own."""


def _more(suppressed: int) -> str:
    return f" ({suppressed} more like this were not logged)" if suppressed else ""


def log_fault(protocol: str, peer: object, rule: str, error: BaseException) -> None:
    """One INFO line: the peer broke a rule."""
    suppressed = limit.admit((protocol, rule))
    if suppressed is None:
        return
    import logging

    logging.getLogger("sennit.peer").info(
        "%s: %s broke %s: %s%s",
        protocol,
        escape(peer),
        escape(rule or "a rule"),
        escape(error),
        _more(suppressed),
        extra={"protocol": protocol, "peer": escape(peer), "rule": escape(rule)},
    )


def log_bug(protocol: str, peer: object, where: str, error: BaseException) -> None:
    """One ERROR line with the traceback: this side failed."""
    suppressed = limit.admit((protocol, where, type(error)))
    if suppressed is None:
        return
    import logging

    logger = logging.getLogger("sennit.handler")
    if not logger.isEnabledFor(logging.ERROR):
        return
    record = logger.makeRecord(
        logger.name,
        logging.ERROR,
        "",
        0,
        "%s: %s failed for %s: %s: %s%s",
        (
            protocol,
            where,
            escape(peer),
            type(error).__name__,
            escape(error),
            _more(suppressed),
        ),
        (type(error), error, error.__traceback__),
        extra={"protocol": protocol, "peer": escape(peer), "phase": where},
    )
    # The text of an exception may be the peer's: formatters take this text as it is.
    record.exc_text = safe_traceback(error)
    logger.handle(record)


def safe_traceback(error: BaseException) -> str:
    """The traceback of `error` and its causes; frames as ever, messages escaped."""
    import traceback

    parts: list[str] = []
    seen: set[int] = set()
    step: BaseException | None = error
    while step is not None and id(step) not in seen:
        seen.add(id(step))
        lines = ["Traceback (most recent call last):\n", *traceback.format_tb(step.__traceback__)]
        lines.append(f"{type(step).__qualname__}: {escape(step)}\n")
        parts.append("".join(lines))
        step = step.__cause__ or (None if step.__suppress_context__ else step.__context__)
    return "\nwhich came of it:\n\n".join(reversed(parts)).rstrip("\n")
