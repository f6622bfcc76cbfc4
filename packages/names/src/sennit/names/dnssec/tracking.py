"""Trust anchors that follow the keys of their zone as these are rolled (RFC 5011), without I/O.

A `KeyTracker` is shown the zone's DNSKEY records each time they are asked for. Records that a
key it believes has signed move its keys from state to state; `anchors` is what to believe now,
`refresh_in` when to ask again. Times are seconds of the wall clock, since a new key waits for a
month and the program may not run all the while; `to_json` is what to keep of it.

==========  ==============================================================================
state       what it means, and what ends it
==========  ==============================================================================
``pending``   seen, and not believed before it was there for 30 days; gone, it is forgotten
``valid``     believed
``missing``   believed still, and not there; it may come back
``revoked``   there with its REVOKE flag, signed by itself: never believed again
==========  ==============================================================================

A revoked key is forgotten 30 days after it was seen last. Sources: RFC 5011 §2 to §5.
Not here: files and fetching (``keeper.py``).
"""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from sennit.names.dnssec.anchors import anchors_from_text
from sennit.names.dnssec.canonical import seconds_left
from sennit.names.dnssec.digests import ds_matches
from sennit.names.dnssec.limits import Work
from sennit.names.dnssec.numbers import ALGORITHMS, REVOKE, SEP
from sennit.names.dnssec.signatures import ZoneKeys, is_zone_key, verify_rrset
from sennit.names.errors import DNSUsageError, ValidationError
from sennit.names.name import Name
from sennit.names.rdata.dnssec import DNSKEY, DS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from sennit.names.message import RRset
    from sennit.names.rdata.dnssec import RRSIG

__all__ = ["HOLD", "KeyState", "KeyTracker", "TrackedKey"]

DAY: Final = 86_400
HOLD: Final = 30 * DAY
"""Seconds that a new key waits, and that a revoked one is remembered (RFC 5011 §2.4.1, §2.4.2)."""
HOUR: Final = 3600
MAX_TRACKED: Final = 32
"""Keys of a zone that are followed; new ones beyond are passed over."""


class KeyState(Enum):
    """Where a key stands (RFC 5011 §4.2); what is not known is ``Start``, or ``Removed``."""

    PENDING = "pending"
    VALID = "valid"
    MISSING = "missing"
    REVOKED = "revoked"


class TrackedKey:
    """A key that is followed.

    Attributes:
        record: Its DNSKEY, without the REVOKE flag.
        state: Where it stands.
        since: When it came there.
        until: When a pending key may be believed, or a revoked one is forgotten.
    """

    __slots__ = ("record", "since", "state", "until")

    def __init__(self, record: DNSKEY, state: KeyState, since: float, until: float = 0.0) -> None:
        self.record = record
        self.state = state
        self.since = since
        self.until = until

    def move(self, state: KeyState, now: float, until: float = 0.0) -> None:
        """Come to another state."""
        self.state, self.since, self.until = state, now, until

    def __repr__(self) -> str:
        return f"<TrackedKey {self.record.key_tag} {self.state.value}>"


class KeyTracker:
    """The keys of one zone, followed.

    Args:
        zone: The zone.
        initial: What is believed to begin with: DS or DNSKEY records.
        algorithms: Algorithms that count.

    Attributes:
        keys: Those that are followed.
        refresh_in: Seconds from the last look to the next one.
    """

    def __init__(
        self,
        zone: Name,
        initial: Iterable[DS | DNSKEY] = (),
        algorithms: Collection[int] = ALGORITHMS,
    ) -> None:
        self.zone = zone
        self.keys: list[TrackedKey] = []
        self.refresh_in = float(HOUR)
        self._algorithms = algorithms
        self._initial: list[DS | DNSKEY] = list(initial)

    def anchors(self) -> list[DS | DNSKEY]:
        """What is to be believed now; nothing when all keys were revoked (RFC 5011 §5)."""
        believed: list[DS | DNSKEY] = list(self._initial)
        believed += [each.record for each in self.keys if _is_believed(each)]
        return believed

    def failed(self) -> None:
        """Ask again sooner: there was no answer, or none that is proven (RFC 5011 §2.3)."""
        self.refresh_in = max(float(HOUR), min(self.refresh_in / 5, float(DAY)))

    def observe(self, rrset: RRset, signatures: Sequence[RRSIG], now: float) -> list[str]:
        """Look at the zone's DNSKEY records.

        Args:
            rrset: Them.
            signatures: The signatures that came with them.
            now: Seconds of the wall clock.

        Returns:
            What has changed, in words for a log.

        Raises:
            ValidationError: No key that is believed has signed them; nothing was changed.
        """
        now = float(now)
        work = Work()
        if len(rrset) > work.limits.keys:
            raise ValidationError(f"{self.zone} has {len(rrset)} keys")
        present = [each for each in rrset.rdatas if isinstance(each, DNSKEY)]
        said: list[str] = []
        # By its own signature alone, whoever else is believed (RFC 5011 §2.1).
        for each in present:
            if each.flags & REVOKE and self._signs(each, rrset, signatures, now):
                self._revoke(each, now, said)
        believed = [each for each in present if self._believes(each)]
        try:
            signature = verify_rrset(
                rrset,
                signatures,
                ZoneKeys(self.zone, believed),
                now=now,
                work=work,
                algorithms=self._algorithms,
            )
        except ValidationError:
            if said:
                self.failed()
                return said
            raise
        self._settle_initial(present, now, said)
        current = [each for each in present if each.flags & SEP and is_zone_key(each)]
        for key in list(self.keys):
            self._step(key, current, now, said)
        known = {_identity(each.record) for each in self.keys}
        for each in current:
            if _identity(each) not in known and len(self.keys) < MAX_TRACKED:
                until = now + max(HOLD, signature.original_ttl)
                self.keys.append(TrackedKey(each, KeyState.PENDING, now, until))
                said.append(f"key {each.key_tag} of {self.zone} is new: believed from {until:.0f}")
        window = max(seconds_left(signature, now), 0)
        interval = min(15.0 * DAY, signature.original_ttl / 2, window / 2)
        self.refresh_in = max(float(HOUR), interval)
        return said

    def _settle_initial(self, present: list[DNSKEY], now: float, said: list[str]) -> None:
        """Follow the keys that were believed to begin with, once they are seen."""
        for anchor in list(self._initial):
            for each in present:
                if is_zone_key(each) and self._is(anchor, each):
                    self._initial.remove(anchor)
                    if _identity(each) not in {_identity(key.record) for key in self.keys}:
                        self.keys.append(TrackedKey(each, KeyState.VALID, now))
                        said.append(f"key {each.key_tag} of {self.zone} is believed from the start")
                    break

    def _revoke(self, record: DNSKEY, now: float, said: list[str]) -> None:
        """Believe a key no more."""
        plain = _plain(record)
        kept = [each for each in self._initial if not self._is(each, plain)]
        changed = len(kept) < len(self._initial)
        self._initial = kept
        for key in list(self.keys):
            if _identity(key.record) != _identity(plain):
                continue
            if key.state is KeyState.REVOKED:
                key.until = now + HOLD
                continue
            changed = True
            if key.state is KeyState.PENDING:
                self.keys.remove(key)
            else:
                key.move(KeyState.REVOKED, now, now + HOLD)
        if changed:
            said.append(f"key {plain.key_tag} of {self.zone} is revoked")

    def _step(self, key: TrackedKey, current: list[DNSKEY], now: float, said: list[str]) -> None:
        """Move one key as RFC 5011 §4.1 says."""
        here = any(_identity(each) == _identity(key.record) for each in current)
        was = key.state
        if was is KeyState.PENDING and not here:
            self.keys.remove(key)
            said.append(f"key {key.record.key_tag} of {self.zone} is gone, and was never believed")
        elif was is KeyState.PENDING and now >= key.until:
            key.move(KeyState.VALID, now)
        elif was is KeyState.VALID and not here:
            key.move(KeyState.MISSING, now)
        elif was is KeyState.MISSING and here:
            key.move(KeyState.VALID, now)
        elif was is KeyState.REVOKED and now >= key.until:
            self.keys.remove(key)
        if key.state is not was:
            said.append(f"key {key.record.key_tag} of {self.zone} is {key.state.value}")

    def _believes(self, key: DNSKEY) -> bool:
        identity = _identity(key)
        return is_zone_key(key) and (
            any(_identity(each.record) == identity for each in self.keys if _is_believed(each))
            or any(self._is(each, key) for each in self._initial)
        )

    def _is(self, anchor: DS | DNSKEY, key: DNSKEY) -> bool:
        if isinstance(anchor, DS):
            return ds_matches(anchor, self.zone, key)
        return _identity(anchor) == _identity(key)

    def _signs(self, key: DNSKEY, rrset: RRset, signatures: Sequence[RRSIG], now: float) -> bool:
        """Whether a revoked key that is known signed the records that hold it."""
        plain = _plain(key)
        if not any(_identity(each.record) == _identity(plain) for each in self.keys) and not any(
            self._is(each, plain) for each in self._initial
        ):
            return False
        try:
            verify_rrset(
                rrset,
                signatures,
                ZoneKeys(self.zone, [key], revoked=True),
                now=now,
                work=Work(),
                algorithms=self._algorithms,
            )
        except ValidationError:
            return False
        return True

    # ── what is kept ──────────────────────────────────────────────────────────

    def to_json(self) -> str:
        """All of it, as text."""
        return json.dumps(
            {
                "zone": str(self.zone),
                "initial": [_entry(self.zone, each) for each in self._initial],
                "refresh_in": self.refresh_in,
                "keys": [
                    {
                        "key": _entry(self.zone, each.record),
                        "state": each.state.value,
                        "since": each.since,
                        "until": each.until,
                    }
                    for each in self.keys
                ],
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str, algorithms: Collection[int] = ALGORITHMS) -> KeyTracker:
        """What `to_json` gave.

        Raises:
            DNSUsageError: It is something else.
        """
        try:
            kept: dict[str, Any] = json.loads(text)
            tracker = cls(Name(kept["zone"]), _anchors(kept["initial"]), algorithms)
            tracker.refresh_in = float(kept["refresh_in"])
            for each in kept["keys"]:
                (record,) = _anchors([each["key"]])
                if not isinstance(record, DNSKEY):
                    raise DNSUsageError("a key that is followed is a DNSKEY")
                state = KeyState(each["state"])
                tracker.keys.append(
                    TrackedKey(record, state, float(each["since"]), float(each["until"]))
                )
        except (ValueError, KeyError, TypeError) as error:
            raise DNSUsageError(f"no keys that were followed: {error}") from error
        return tracker


def _is_believed(key: TrackedKey) -> bool:
    return key.state in (KeyState.VALID, KeyState.MISSING)


def _plain(key: DNSKEY) -> DNSKEY:
    return DNSKEY(key.flags & ~REVOKE, key.protocol, key.algorithm, key.public_key)


def _identity(key: DNSKEY) -> tuple[int, bytes]:
    """What makes a key the same, whatever its flags say."""
    return key.algorithm, key.public_key


def _entry(zone: Name, record: DS | DNSKEY) -> str:
    return f"{zone} IN {type(record).__name__} {record.to_text()}"


def _anchors(entries: Iterable[str]) -> list[DS | DNSKEY]:
    return [record for _, record in anchors_from_text("\n".join(entries))]
