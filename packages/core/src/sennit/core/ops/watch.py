"""The watch over callbacks that keep the loop (HARDENING fault-11).

While a callback runs longer than a threshold, a thread of the watch's own looks
at the stack of the loop's thread and says, *while it is stuck*, which callback it
is and at which line of which function it is now; when the callback has ended, how
long it took. One line per place, a few a minute, then they are counted.

Without a watch, a reactor that is measured (``instruments.py``) counts such
callbacks all the same; one that is not measured does not pay for it.
"""

from __future__ import annotations

import sys
import threading
from time import monotonic
from typing import TYPE_CHECKING, Final

from sennit.core._faultlog import RateLimit
from sennit.core.errors import UsageError
from sennit.core.ops.describe import callback_name, frames_of, place

if TYPE_CHECKING:
    from types import FrameType

    from sennit.core.ops.instruments import Meter
    from sennit.core.reactor.base import Reactor

__all__ = ["BlockingWatch", "watch_blocking"]

THRESHOLD: Final = 0.1
"""Seconds that a callback may take."""

SHORTEST: Final = 0.001
"""The smallest threshold: a thread that looks more often than that costs more than it tells."""

AGAIN: Final = 10.0
"""A callback that is still stuck is told of again when this many times the seconds are over."""


class BlockingWatch:
    """Watches one reactor, from a thread (made by `Reactor.watch_blocking`).

    Args:
        reactor: Whose callbacks are watched.
        meter: Knows when the one that runs began.
        threshold: Seconds after which it is told of.
        limit: Decides on each line.
    """

    def __init__(
        self,
        reactor: Reactor,
        meter: Meter,
        threshold: float = THRESHOLD,
        limit: RateLimit | None = None,
    ) -> None:
        if not threshold >= SHORTEST:
            raise UsageError(f"a threshold is {SHORTEST} seconds at least, not {threshold}")
        self._reactor = reactor
        self._meter = meter
        self.threshold = threshold
        self._limit = limit or RateLimit()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        # What was told last: when that callback began, at which age, and where it was.
        self._told: tuple[float, float, str] = (0.0, 0.0, "")

    def __repr__(self) -> str:
        return f"<BlockingWatch over {self.threshold:g} s{'' if self._thread else ' stopped'}>"

    def start(self) -> None:
        """Begin to watch."""
        if self._thread is None:
            self._meter.slow = self.threshold
            self._meter.watch = self
            self._reactor.dependants.add(self)
            self._stopped.clear()
            self._thread = threading.Thread(target=self._run, name="sennit-watch", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Watch no more. Harmless when it does not."""
        thread, self._thread = self._thread, None
        if thread is not None:
            if self._meter.watch is self:
                self._meter.watch = None
            self._reactor.dependants.discard(self)
            self._stopped.set()
            thread.join(1.0)

    def reactor_stopped(self) -> None:
        """The reactor ends."""
        self.stop()

    # ── in the watch's thread ─────────────────────────────────────────────────

    def _run(self) -> None:
        wait = self._stopped.wait
        # Half of it, so that one that takes twice as long as it may is seen in any case.
        while not wait(self.threshold / 2):
            self.look(monotonic())

    def look(self, now: float) -> None:
        """See whether a callback runs too long, and say so."""
        began = self._meter.began
        if not began or now - began < self.threshold:
            return
        before, age, _ = self._told
        if began == before and now - began < age * AGAIN:
            return
        thread = self._reactor._thread
        frame = None if thread is None else sys._current_frames().get(thread)
        if frame is None or self._meter.began != began:
            return  # it ended while we looked
        callback, at = _stuck_at(frame)
        self._told = (began, now - began, at)
        del frame
        more = self._limit.admit((callback, at.rpartition(":")[0]))
        if more is None:
            return
        self._log(
            "%s keeps the loop, for %.3f s so far: it is in %s%s",
            now - began,
            callback,
            now - began,
            at,
            f" ({more} more like this were not logged)" if more else "",
        )

    # ── in the loop's thread ──────────────────────────────────────────────────

    def ended(self, callback: object, began: float, seconds: float) -> None:
        """A callback that took too long is over."""
        before, _, at = self._told
        seen = before == began
        name = callback_name(callback)
        if self._limit.admit(("ended", at if seen else name)) is None:
            return
        if seen:
            self._log("%s kept the loop for %.3f s; it was in %s", seconds, name, seconds, at)
        else:
            self._log("%s kept the loop for %.3f s", seconds, name, seconds)

    def _log(self, message: str, seconds: float, *args: object) -> None:
        import logging

        logging.getLogger("sennit.watch").warning(
            message, *args, extra={"phase": "blocking", "duration": seconds}
        )


def _stuck_at(frame: FrameType) -> tuple[str, str]:
    """The callback that a loop's stack is in, and its innermost place.

    The callback is the outermost function that is not Sennit's own; the place is
    in the innermost one, which may be a library's.
    """
    at = callback = ""
    for each in frames_of(frame):
        module = str(each.f_globals.get("__name__", ""))
        if module == "sennit.core.ops.turns":
            break
        if each.f_code.co_filename.startswith("<frozen importlib"):
            continue  # who imports is what one wants to know
        at = at or place(each)
        if not callback or not module.startswith(("sennit.core.", "asyncio.")):
            callback = place(each)
    return callback or place(frame), at or place(frame)


def watch_blocking(reactor: Reactor, threshold: float = THRESHOLD) -> BlockingWatch:
    """`Reactor.watch_blocking`."""
    from sennit.core.ops.instruments import measure

    meter = measure(reactor)
    if meter.watch is not None:
        meter.watch.stop()
    watch = BlockingWatch(reactor, meter, threshold)
    watch.start()
    return watch
