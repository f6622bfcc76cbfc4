"""Refreshes trust anchors while a resolver runs: each zone's keys when their time has come.

An `AnchorRefresh` has an `AnchorKeeper` for each zone with an anchor, whose files stand in one
folder: ``root.json``, ``example.org.json``. It sleeps until the first of them is due.

Sources: RFC 5011 §2.3. Not here: what is learned from the answers (``tracking.py``).
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sennit.names.dnssec.keeper import AnchorKeeper

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.names.dnssec.validation import Validator
    from sennit.names.interfaces import Fetch
    from sennit.names.name import Name

__all__ = ["AnchorRefresh"]

LONGEST_SLEEP: Final = 3600.0
"""Seconds after which the wall clock is looked at again: it may be put right meanwhile."""
SHORTEST_SLEEP: Final = 1.0

_log = logging.getLogger("sennit.names.dnssec")


class AnchorRefresh:
    """Keeps all anchors of a validator up to date.

    Args:
        validator: Whose anchors they are.
        folder: Folder of their files; made where it is missing, when something begins.
        fetch: Asks for keys, past whatever is cached.
        now: Seconds of the wall clock.

    Raises:
        DNSUsageError: A file is there and is none of a keeper's.
        OSError: A file cannot be read.

    Attributes:
        keepers: They.
    """

    def __init__(
        self,
        validator: Validator,
        folder: str | Path,
        fetch: Fetch,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._folder = Path(folder)
        self._fetch = fetch
        self._now = now
        self.keepers = [
            AnchorKeeper(validator, zone, self._folder / _file_of(zone), now)
            for zone in validator.anchors
        ]
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, with what is due now."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            _log.error("trust anchors are not kept: %s", error)
        self._task = asyncio.get_running_loop().create_task(self._run(), name="trust anchors")

    async def _run(self) -> None:
        while self.keepers:
            for keeper in self.keepers:
                if keeper.next_refresh <= self._now():
                    try:
                        await keeper.refresh(self._fetch)
                    except Exception:
                        _log.exception(
                            "while the anchors of %s were refreshed", keeper.tracker.zone
                        )
                        keeper.next_refresh = self._now() + LONGEST_SLEEP
            due = min(each.next_refresh for each in self.keepers) - self._now()
            await asyncio.sleep(max(SHORTEST_SLEEP, min(due, LONGEST_SLEEP)))

    async def aclose(self) -> None:
        """Stop. Harmless when done."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])


def _file_of(zone: Name) -> str:
    text = "root" if zone.is_root else str(zone).lower().rstrip(".").replace("/", "\\047")
    return f"{text}.json"
