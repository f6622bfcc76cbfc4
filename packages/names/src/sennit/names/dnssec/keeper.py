"""Keeps the trust anchors of a zone up to date: asks, tells the validator, writes a file.

`AnchorKeeper.refresh` is to be called when `AnchorKeeper.next_refresh` says so; whoever holds
the timers does that. Its file is replaced as a whole, so that it is never half there, and is
read when the keeper is made: what was learned goes before what is built in or configured.

Sources: RFC 5011 §2.3 (when to ask). Not here: the rules (``tracking.py``).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from sennit.names.codes import RRType
from sennit.names.dnssec.reading import Answer
from sennit.names.dnssec.tracking import KeyTracker
from sennit.names.errors import DNSError, DNSUsageError, ValidationError
from sennit.names.zone.writer import replace_with_lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from sennit.names.dnssec.validation import Validator
    from sennit.names.interfaces import Fetch
    from sennit.names.name import Name

__all__ = ["AnchorKeeper"]

_log = logging.getLogger("sennit.names.dnssec")


class AnchorKeeper:
    """The anchors of one zone, followed by RFC 5011.

    Args:
        validator: Whose anchors they are.
        zone: The zone; what is believed of it now is where it begins.
        path: Its file; made when something is learned. Nothing is kept when left out.
        now: Seconds of the wall clock.

    Raises:
        DNSUsageError: The file is there and is none of a keeper's.
    """

    def __init__(
        self, validator: Validator, zone: Name, path: str | Path | None, now: Callable[[], float]
    ) -> None:
        self._validator = validator
        self._path = None if path is None else Path(path)
        self._now = now
        self.tracker = self._read(zone)
        self.next_refresh = now()
        self._apply()

    def _read(self, zone: Name) -> KeyTracker:
        validator = self._validator
        if self._path is not None and self._path.exists():
            try:
                tracker = KeyTracker.from_json(self._path.read_text(), validator.algorithms)
            except (UnicodeDecodeError, DNSUsageError) as error:
                raise DNSUsageError(f"{self._path}: {error}") from error
            if tracker.zone != zone:
                raise DNSUsageError(f"{self._path} is about {tracker.zone}, not {zone}")
            return tracker
        return KeyTracker(zone, validator.anchors.of(zone), validator.algorithms)

    def _apply(self) -> None:
        self._validator.anchors.replace(self.tracker.zone, self.tracker.anchors())
        self._validator.forget()

    async def refresh(self, fetch: Fetch) -> list[str]:
        """Ask for the zone's keys and take what they tell; what has changed, in words.

        What fails is logged, and leads to a sooner `next_refresh`.
        """
        tracker = self.tracker
        try:
            answer = Answer(await fetch(tracker.zone, RRType.DNSKEY))
            rrset = answer.answers.get((tracker.zone, int(RRType.DNSKEY)))
            if rrset is None:
                raise ValidationError(f"{tracker.zone} shows no DNSKEY")
            said = tracker.observe(rrset, answer.signatures(rrset), self._now())
        except DNSError as error:
            _log.warning("the trust anchors of %s were not refreshed: %s", tracker.zone, error)
            tracker.failed()
            said = []
        self.next_refresh = self._now() + tracker.refresh_in
        if said:
            for each in said:
                _log.info("%s", each)
            self._apply()
            self._save()
        return said

    def _save(self) -> None:
        if self._path is None:
            return
        try:
            replace_with_lines(self._path, [self.tracker.to_json() + "\n"])
        except OSError as error:
            # What was learned holds while this runs; it is learned again after the next start.
            _log.error("the trust anchors of %s are not kept: %s", self.tracker.zone, error)
