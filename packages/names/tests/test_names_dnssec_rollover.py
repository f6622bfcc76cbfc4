"""Keys that are replaced: at no moment does anybody hold records that do not fit each other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sennit.names.dnssec.keys import ZoneKey
from sennit.names.dnssec.rollover import (
    KeyRole,
    KeyState,
    Rollover,
    RolloverPolicy,
)
from sennit.names.errors import DNSUsageError
from sennit.names.name import Name

ORIGIN: Final = Name("example.")
START: Final = 1_700_000_000.0
HOUR: Final = 3600.0
DAY: Final = 86400.0
MAX_TTL: Final = 7200.0


@cache
def key(number: int, algorithm: int, sep: bool) -> ZoneKey:
    """Keys are dear; a test may use those of another."""
    del number
    return ZoneKey.generate(ORIGIN, algorithm, sep=sep)


def rollover(policy: RolloverPolicy) -> Rollover:
    made = {True: 0, False: 0}

    def generate(algorithm: int, sep: bool, bits: int) -> ZoneKey:
        del bits
        made[sep] += 1
        return key(made[sep], algorithm, sep)

    return Rollover(ORIGIN, policy, generate=generate)


@dataclass
class Moment:
    """What the zone and its parent had from a time on."""

    time: float
    dnskeys: frozenset[tuple[int, int]]
    key_signers: frozenset[tuple[int, int]]
    signatures: tuple[frozenset[tuple[int, int]], ...]
    ds: frozenset[tuple[int, int]]


class World:
    """A zone, its parent, and all that anybody may have cached of both."""

    def __init__(self, roll: Rollover, *, sweep: float, parent: float) -> None:
        self.roll = roll
        self.now = START
        self.sweep = sweep
        self.parent = parent
        self.history: list[Moment] = []
        self.signed: frozenset[tuple[int, int]] | None = None
        self.sweep_ends: float | None = None
        self.sweep_began = START
        self.ds: frozenset[tuple[int, int]] = frozenset()
        self.ds_at: float | None = None
        self.states: set[str] = set()

    @staticmethod
    def ids(keys: tuple[ZoneKey, ...]) -> frozenset[tuple[int, int]]:
        return frozenset((each.tag, each.algorithm) for each in keys)

    def step(self) -> None:
        roll = self.roll
        roll.step(self.now, MAX_TTL)
        self.states |= {each.state.value for each in roll.keys}
        keys = roll.key_set()
        signers = self.ids(keys.zone_signers)
        if self.signed is None:
            self.signed = signers  # signed whole before it was served
            self.ds = self.ids(tuple(each.key for each in roll.ds_wanted()))
            roll.swept(self.now, self.now)
        if signers != self.signed and self.sweep_ends is None:
            self.sweep_ends = self.now + self.sweep
            self.sweep_began = self.now
        possible: tuple[frozenset[tuple[int, int]], ...] = (self.signed, signers)
        if self.sweep_ends is not None and self.now >= self.sweep_ends:
            self.sweep_ends = None
            self.signed = signers
            possible = (signers,)
            roll.swept(self.sweep_began, self.now)
        elif self.sweep_ends is None:
            roll.swept(self.now, self.now)
        wanted = self.ids(tuple(each.key for each in roll.ds_wanted()))
        if wanted != self.ds:
            if self.ds_at is None:
                self.ds_at = self.now + self.parent
            elif self.now >= self.ds_at:
                self.ds, self.ds_at = wanted, None
                for each in roll.ds_wanted():
                    roll.ds_seen(each.key.tag, self.now)
        self.history.append(
            Moment(
                self.now,
                frozenset((each.key_tag, each.algorithm) for each in keys.dnskeys),
                self.ids(keys.key_signers),
                possible,
                self.ds,
            )
        )

    def within(self, seconds: float) -> list[Moment]:
        """What was out at any moment of the last so many seconds."""
        since = self.now - seconds
        ends = [each.time for each in self.history[1:]] + [self.now + 1]
        return [each for each, end in zip(self.history, ends, strict=True) if end > since]

    def check(self) -> None:
        """Whatever anybody has cached validates, also for who wants every algorithm."""
        policy = self.roll.policy
        all_ds = {each.ds for each in self.within(policy.ds_ttl + policy.parent_propagation)}
        key_sets = {
            (each.dnskeys, each.key_signers)
            for each in self.within(policy.key_ttl + policy.propagation)
        }
        recent = self.within(MAX_TTL + policy.propagation)
        signatures = {each for moment in recent for each in moment.signatures}
        for ds in all_ds:
            for dnskeys, key_signers in key_sets:
                assert ds & dnskeys & key_signers, (self.now - START, ds, dnskeys)
                for algorithm in {each for _, each in ds}:
                    assert any(each == algorithm for _, each in ds & dnskeys & key_signers)
                for each in signatures:
                    assert each & dnskeys, (self.now - START, each, dnskeys)
                    # RFC 4035 §2.2: each algorithm of the keys has signed.
                    assert {algorithm for _, algorithm in dnskeys} <= {
                        algorithm for _, algorithm in each
                    }, (self.now - START, each, dnskeys)

    def run(self, days: float) -> None:
        end = self.now + days * DAY
        while self.now < end:
            self.step()
            self.check()
            self.history = self.within(4 * DAY)
            times = [self.roll.next_time(MAX_TTL), self.sweep_ends, self.ds_at]
            due = min([each for each in times if each is not None], default=end)
            self.now = max(due, self.now + 1)


@pytest.mark.parametrize(
    "policy",
    [
        RolloverPolicy(zsk_lifetime=3 * DAY),
        RolloverPolicy(zsk_lifetime=4 * DAY, ksk_lifetime=8 * DAY),
        RolloverPolicy(ksk_lifetime=5 * DAY),
    ],
    ids=["zsk", "both", "one for both"],
)
@given(sweep=st.floats(0, 3 * HOUR), parent=st.floats(0, 2 * DAY))
@settings(max_examples=8)
def test_nothing_is_ever_bogus_while_keys_are_replaced(
    policy: RolloverPolicy, sweep: float, parent: float
) -> None:
    """RFC 6781 §4.1, RFC 7583."""
    world = World(rollover(policy), sweep=sweep, parent=parent)

    world.run(20)

    assert len(world.roll.removed) >= 2
    assert len(world.roll.keys) <= 4


@pytest.mark.parametrize("split", [True, False])
def test_nothing_is_ever_bogus_while_the_algorithm_is_replaced(split: bool) -> None:
    """RFC 6781 §4.1.4."""
    lifetime = 365 * DAY if split else None
    roll = rollover(RolloverPolicy(zsk_lifetime=lifetime))
    world = World(roll, sweep=HOUR, parent=5 * HOUR)
    world.run(1)

    roll.policy = roll.policy._replace(algorithm=15)
    world.run(8)

    assert {each.key.algorithm for each in roll.keys} == {15}
    assert {each.state for each in roll.keys} == {KeyState.ACTIVE}
    assert {"ahead", "published", "ready", "active", "behind"} <= world.states
    assert len(roll.removed) == (2 if split else 1)


def test_a_zone_without_keys_gets_them_at_once() -> None:
    both = rollover(RolloverPolicy(zsk_lifetime=30 * DAY))
    one = rollover(RolloverPolicy())

    assert both.step(START, MAX_TTL)
    assert one.step(START, MAX_TTL)

    assert [each.role for each in both.keys] == [KeyRole.KSK, KeyRole.ZSK]
    assert [each.role for each in one.keys] == [KeyRole.CSK]
    assert not both.step(START, MAX_TTL)
    assert one.next_time(MAX_TTL) is None
    keys = both.key_set()
    assert len(keys.dnskeys) == 2
    assert keys.cds[0].key_tag == both.keys[0].key.tag
    assert keys.cdnskeys[0].flags == 257


def test_a_key_waits_for_its_ds_however_long_that_takes() -> None:
    roll = rollover(RolloverPolicy(ksk_lifetime=10 * DAY, zsk_lifetime=1000 * DAY))
    roll.step(START, MAX_TTL)

    for day in range(1, 300):
        roll.step(START + day * DAY, MAX_TTL)

    old, new = (each for each in roll.keys if each.role is KeyRole.KSK)
    assert (old.state, new.state) == (KeyState.ACTIVE, KeyState.READY)
    assert [each.key_tag for each in roll.key_set().cds] == [new.key.tag]
    roll.ds_seen(new.key.tag, START + 300 * DAY)
    roll.step(START + 300 * DAY + HOUR, MAX_TTL)
    assert old.state is KeyState.ACTIVE
    due = roll.next_time(MAX_TTL)
    assert due is not None
    assert due == START + 301 * DAY + HOUR
    roll.step(due, MAX_TTL)
    assert roll.removed == [old]


def test_an_old_key_stays_until_all_its_signatures_are_gone() -> None:
    roll = rollover(RolloverPolicy(zsk_lifetime=10 * DAY))
    roll.step(START, MAX_TTL)
    for hour in range(24 * 12):
        roll.step(START + hour * HOUR, MAX_TTL)

    old = next(each for each in roll.keys if each.state is KeyState.RETIRED)
    roll.step(START + 100 * DAY, MAX_TTL)
    assert old in roll.keys
    roll.swept(START + 100 * DAY, START + 100 * DAY)
    roll.step(START + 100 * DAY + MAX_TTL, MAX_TTL)
    assert old in roll.keys
    roll.step(START + 100 * DAY + MAX_TTL + 300, MAX_TTL)
    assert old not in roll.keys


def test_no_other_key_waits_for_a_ds() -> None:
    roll = rollover(RolloverPolicy())
    roll.step(START, MAX_TTL)

    with pytest.raises(DNSUsageError, match="waits for its DS"):
        roll.ds_seen(roll.keys[0].key.tag, START)
