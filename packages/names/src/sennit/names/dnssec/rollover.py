"""The life of a zone's keys: which are published, which sign, and when the next one takes over.

`Rollover` is a state machine without I/O and without a clock. `step` is told the time and does
what is due; `key_set` says how the zone is to be signed now (``signing.py``). Every wait is as
long as somebody may still have what was there before: the TTL of the DNSKEY records, the longest
TTL of the zone, that of the parent's DS, each with the time that secondaries take. Two things
are not a matter of time: signatures of an old key must all have been replaced (`swept`), and the
parent must have the DS of a new one (`ds_seen`).

::

    zone-signing key        PUBLISHED ─▶ ACTIVE ─▶ RETIRED ─▶ gone      (pre-publication)
    key-signing key         PUBLISHED ─▶ READY ─▶ ACTIVE ─▶ gone        (double signature)
    one key for both        PUBLISHED ─▶ READY ─▶ ACTIVE ─▶ RETIRED ─▶ gone
    of another algorithm    AHEAD ─▶ PUBLISHED ─▶ READY ─▶ ACTIVE ─▶ BEHIND ─▶ gone

With another algorithm its signatures come before its keys, and go behind them (RFC 6781
§4.1.4): a validator that knows both algorithms wants signatures of each one that the DNSKEY
records name.

Sources: RFC 6781 §4.1 (the kinds of rollover), RFC 7583 (their timing), RFC 7344 and RFC 8078
(CDS and CDNSKEY).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sennit.names.dnssec.digests import cds_for
from sennit.names.dnssec.keys import ZoneKey
from sennit.names.dnssec.signing import KeySet
from sennit.names.errors import DNSUsageError
from sennit.names.rdata.dnssec import CDNSKEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sennit.names.name import Name

__all__ = ["KeyRole", "KeyState", "ManagedKey", "Rollover", "RolloverPolicy"]

DAY: Final = 86400.0


class KeyRole(Enum):
    """What a key signs."""

    KSK = "ksk"
    """The keys; the parent vouches for it."""
    ZSK = "zsk"
    """All else."""
    CSK = "csk"
    """Both."""


class KeyState(Enum):
    """Where in its life a key is."""

    AHEAD = "ahead"
    """It signs the zone, and is not published yet: the first of its algorithm."""
    PUBLISHED = "published"
    """Its record is out; not everybody has it yet."""
    READY = "ready"
    """Everybody has it; the parent is asked to vouch for it."""
    ACTIVE = "active"
    """It is in use."""
    RETIRED = "retired"
    """Another one is; its record stays while there are signatures of it."""
    BEHIND = "behind"
    """Its record is gone, and its signatures stay while somebody has the record."""


class RolloverPolicy(NamedTuple):
    """Which keys a zone has, and for how long. All times in seconds.

    Attributes:
        algorithm: Of keys that are made.
        bits: Of RSA.
        ksk_lifetime: After which a key-signing key, or one for both, is replaced; ``None``: never.
        zsk_lifetime: The same of zone-signing keys; ``None``: one key does both.
        key_ttl: TTL of DNSKEY, CDS and CDNSKEY.
        propagation: Time until all secondaries have a change.
        ds_ttl: TTL of the parent's DS.
        parent_propagation: Time until all of the parent's servers have a change.
    """

    algorithm: int = 13
    bits: int = 2048
    ksk_lifetime: float | None = None
    zsk_lifetime: float | None = None
    key_ttl: int = 3600
    propagation: float = 300.0
    ds_ttl: float = DAY
    parent_propagation: float = 3600.0

    @property
    def roles(self) -> tuple[KeyRole, ...]:
        """The roles there are."""
        return (KeyRole.CSK,) if self.zsk_lifetime is None else (KeyRole.KSK, KeyRole.ZSK)

    def lifetime(self, role: KeyRole) -> float | None:
        """Seconds that a key of a role is used."""
        return self.zsk_lifetime if role is KeyRole.ZSK else self.ksk_lifetime


class ManagedKey:
    """A key and where in its life it is.

    Attributes:
        key: The key.
        role: What it signs.
        state: Where it is.
        since: When it came there: seconds since 1970.
        swept: When the last signature that is to go or come had done so; ``None``: not yet.
        ds: When the parent was seen to have its DS, and none of an older key; ``None``: not yet.
    """

    __slots__ = ("ds", "key", "role", "since", "state", "swept")

    def __init__(
        self,
        key: ZoneKey,
        role: KeyRole,
        state: KeyState,
        since: float,
        *,
        swept: float | None = None,
        ds: float | None = None,
    ) -> None:
        self.key = key
        self.role = role
        self.state = state
        self.since = since
        self.swept = swept
        self.ds = ds

    def __repr__(self) -> str:
        return f"<ManagedKey {self.key.tag} {self.role.value} {self.state.value}>"

    @property
    def is_vouched(self) -> bool:
        """Whether the parent vouches for it, or will."""
        return self.role is not KeyRole.ZSK

    @property
    def published(self) -> bool:
        """Whether its record is out."""
        return self.state not in (KeyState.AHEAD, KeyState.BEHIND)

    def to(self, state: KeyState, now: float) -> None:
        """Come to another state."""
        self.state = state
        self.since = now
        self.swept = None

    def copy(self) -> ManagedKey:
        """It, as it is now."""
        return ManagedKey(self.key, self.role, self.state, self.since, swept=self.swept, ds=self.ds)

    def state_dict(self) -> dict[str, Any]:
        """What is kept of it in a file, beside the key itself."""
        return {
            "tag": self.key.tag,
            "algorithm": self.key.algorithm,
            "role": self.role.value,
            "state": self.state.value,
            "since": self.since,
            "swept": self.swept,
            "ds": self.ds,
        }


class Rollover:
    """The keys of one zone.

    Args:
        origin: The zone's name.
        policy: Which it is to have.
        keys: Those it has.
        generate: Makes a key of an algorithm, ``generate(algorithm, sep, bits)``, other than
            those there are.

    Attributes:
        keys: Those it has, also on their way in or out.
        removed: Keys that went, for who keeps the files; to be emptied by them.
    """

    def __init__(
        self,
        origin: Name,
        policy: RolloverPolicy,
        keys: Iterable[ManagedKey] = (),
        *,
        generate: Callable[[int, bool, int], ZoneKey] | None = None,
    ) -> None:
        self.origin = origin
        self.policy = policy
        self.keys = list(keys)
        self.removed: list[ManagedKey] = []
        self._generate = generate or self._make

    def _make(self, algorithm: int, sep: bool, bits: int) -> ZoneKey:
        return ZoneKey.generate(self.origin, algorithm, sep=sep, bits=bits)

    def __repr__(self) -> str:
        return f"<Rollover {self.origin}: {self.keys!r}>"

    # ── how the zone is to be signed ──────────────────────────────────────────

    def key_set(self) -> KeySet:
        """How the zone is to be signed now."""
        keys = self.keys
        published = [each for each in keys if each.published]
        others = {each.key.algorithm for each in keys} != {self._current_algorithm()}
        zone_signers = [
            each
            for each in keys
            if each.role is not KeyRole.KSK
            and (
                each.state in (KeyState.ACTIVE, KeyState.AHEAD, KeyState.BEHIND)
                # Until the algorithm has changed, each that is named signs everything.
                or (others and each.published and self._is_alone(each))
            )
        ]
        wanted = self.ds_wanted()
        return KeySet(
            dnskeys=tuple(each.key.dnskey for each in published),
            key_signers=tuple(each.key for each in published if each.is_vouched),
            zone_signers=tuple(each.key for each in zone_signers),
            cds=tuple(cds_for(self.origin, each.key.dnskey) for each in wanted),
            cdnskeys=tuple(_cdnskey(each) for each in wanted),
            ttl=self.policy.key_ttl,
        )

    def _current_algorithm(self) -> int | None:
        return next(
            (each.key.algorithm for each in self.keys if each.state is KeyState.ACTIVE), None
        )

    def _is_alone(self, key: ManagedKey) -> bool:
        """Whether no active key of its algorithm signs in its place."""
        return not any(
            each.state is KeyState.ACTIVE
            and each.key.algorithm == key.key.algorithm
            and each.role is not KeyRole.KSK
            for each in self.keys
        )

    def ds_wanted(self) -> list[ManagedKey]:
        """The keys that the parent is to vouch for: those coming if there are, else in use."""
        ready = [each for each in self.keys if each.is_vouched and each.state is KeyState.READY]
        return ready or [
            each for each in self.keys if each.is_vouched and each.state is KeyState.ACTIVE
        ]

    def ds_seen(self, tag: int, now: float) -> None:
        """The parent has the DS of this key, and none of an older one.

        Raises:
            DNSUsageError: No key of this tag waits for that.
        """
        for each in self.keys:
            if each.key.tag == tag and each.is_vouched and each.state is KeyState.READY:
                if each.ds is None:
                    each.ds = now
                return
        raise DNSUsageError(f"{self.origin} has no key {tag} that waits for its DS")

    def shown(self, stepped: float, now: float) -> None:
        """What `step` did at a time is to be seen since another one, which came later."""
        for each in self.keys:
            if each.since == stepped:
                each.since = now

    def swept(self, began: float, now: float) -> None:
        """All of the zone is signed as `key_set` said when that was begun."""
        for each in self.keys:
            if each.swept is None and each.since <= began:
                each.swept = now

    # ── what is due ───────────────────────────────────────────────────────────

    def step(self, now: float, max_ttl: float) -> bool:
        """Do what is due; whether anything has changed.

        Args:
            now: Seconds since 1970.
            max_ttl: The longest TTL in the zone.
        """
        changed = False
        while self._begin(now) or self._go_on(now, max_ttl):
            changed = True
        return changed

    def next_time(self, max_ttl: float) -> float | None:
        """When `step` may have something to do, if nothing happens before."""
        times: list[float] = []
        for each in self.keys:
            time = self._due(each, max_ttl)
            if time is not None:
                times.append(time)
            lifetime = self.policy.lifetime(each.role)
            if each.state is KeyState.ACTIVE and lifetime is not None and not self._heir(each):
                times.append(each.since + lifetime - self._lead(each.role))
        return min(times, default=None)

    def _lead(self, role: KeyRole) -> float:
        """Seconds before the end of a key at which the next one is made."""
        return self._known_after if role is KeyRole.ZSK else 0.0

    @property
    def _known_after(self) -> float:
        """Seconds until everybody has new DNSKEY records."""
        return self.policy.key_ttl + self.policy.propagation

    def _heir(self, key: ManagedKey) -> ManagedKey | None:
        coming = (KeyState.AHEAD, KeyState.PUBLISHED, KeyState.READY)
        return next(
            (each for each in self.keys if each.role is key.role and each.state in coming), None
        )

    def _add(self, role: KeyRole, state: KeyState, now: float) -> None:
        taken = {each.key.tag for each in (*self.keys, *self.removed)}
        while True:
            key = self._generate(self.policy.algorithm, role is not KeyRole.ZSK, self.policy.bits)
            if key.tag not in taken:  # else nobody could tell their signatures apart at once
                break
        self.keys.append(ManagedKey(key, role, state, now))

    def _begin(self, now: float) -> bool:
        """Make keys that lack, and those that are to follow others."""
        policy = self.policy
        current = self._current_algorithm()
        if current is not None and current != policy.algorithm:
            if any(each.key.algorithm == policy.algorithm for each in self.keys):
                return False  # under way
            if any(each.state is not KeyState.ACTIVE for each in self.keys):
                return False  # one thing after the other
            for role in policy.roles:
                self._add(role, KeyState.AHEAD, now)
            return True
        changed = False
        for role in policy.roles:
            active = next(
                (each for each in self.keys if each.role is role and each.state is KeyState.ACTIVE),
                None,
            )
            if active is None:
                if not any(each.role is role for each in self.keys):
                    self._add(role, KeyState.ACTIVE, now)
                    changed = True
                continue
            lifetime = policy.lifetime(role)
            over = lifetime is not None and now >= active.since + lifetime - self._lead(role)
            if over and self._heir(active) is None:
                self._add(role, KeyState.PUBLISHED, now)
                changed = True
        return changed

    def _due(self, key: ManagedKey, max_ttl: float) -> float | None:
        """When a key goes on, as far as that is a matter of time; ``None`` for not yet."""
        policy = self.policy
        settled = max_ttl + policy.propagation
        if key.state is KeyState.AHEAD:
            return None if key.swept is None else key.swept + settled
        if key.state is KeyState.PUBLISHED:
            if key.role is KeyRole.ZSK and not self._is_first(key):
                return max(key.since + self._known_after, self._end_of_predecessor(key))
            return key.since + self._known_after
        if key.state is KeyState.READY:
            if key.role is KeyRole.ZSK:
                return None  # it goes on with the key that is vouched for
            return None if key.ds is None else key.ds + policy.ds_ttl + policy.parent_propagation
        if key.state is KeyState.RETIRED:
            if key.role is KeyRole.KSK:
                return key.since
            return None if key.swept is None else key.swept + settled
        if key.state is KeyState.BEHIND:
            return key.since + self._known_after
        return None

    def _is_first(self, key: ManagedKey) -> bool:
        """Whether it is of an algorithm that is not in use yet."""
        return key.key.algorithm != self._current_algorithm()

    def _end_of_predecessor(self, key: ManagedKey) -> float:
        lifetime = self.policy.lifetime(key.role) or 0.0
        return max(
            (
                each.since + lifetime
                for each in self.keys
                if each.role is key.role and each.state is KeyState.ACTIVE
            ),
            default=0.0,
        )

    def _go_on(self, now: float, max_ttl: float) -> bool:
        """Let one key go on whose time has come; whether one did."""
        for each in self.keys:
            due = self._due(each, max_ttl)
            if due is None or now < due:
                continue
            if each.state is KeyState.AHEAD:
                if any(
                    other.state is KeyState.AHEAD and (self._due(other, max_ttl) or now + 1) > now
                    for other in self.keys
                ):
                    continue  # all of an algorithm together
                for other in self.keys:
                    if other.state is KeyState.AHEAD:
                        other.to(KeyState.PUBLISHED, now)
            elif each.state is KeyState.PUBLISHED:
                if each.role is KeyRole.ZSK and not self._is_first(each):
                    self._take_over(each, KeyState.RETIRED, now)
                else:
                    each.to(KeyState.READY, now)
            elif each.state is KeyState.READY:
                first = self._is_first(each)
                if first and any(
                    other.state is KeyState.PUBLISHED and self._is_first(other)
                    for other in self.keys
                ):
                    continue
                self._take_over(each, KeyState.BEHIND if first else KeyState.RETIRED, now)
            else:
                self.keys.remove(each)
                self.removed.append(each)
            return True
        return False

    def _take_over(self, key: ManagedKey, old_state: KeyState, now: float) -> None:
        """A key, and those of its algorithm that come with it, in the place of those in use."""
        whole = old_state is KeyState.BEHIND
        coming = [
            each
            for each in self.keys
            if each is key or (whole and each.state is KeyState.READY and self._is_first(each))
        ]
        for each in self.keys:
            if each.state is KeyState.ACTIVE and (whole or each.role is key.role):
                each.to(old_state, now)
        for each in coming:
            each.to(KeyState.ACTIVE, now)


def _cdnskey(key: ManagedKey) -> CDNSKEY:
    record = key.key.dnskey
    return CDNSKEY(record.flags, record.protocol, record.algorithm, record.public_key)
