"""Mappings over others: what is seen through them, and that nothing beneath changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from packages.names.tests.transfer_zones import ORIGIN, record, zone
from sennit.names.name import Name
from sennit.names.zone.layer import Layer
from sennit.names.zone.zone import Changes

KEYS = st.integers(0, 5)


@given(
    st.dictionaries(KEYS, st.integers()),
    st.lists(st.tuples(st.sampled_from(["put", "drop", "pop"]), KEYS, st.integers())),
)
def test_a_layer_is_as_a_dictionary_of_its_own(
    beneath: dict[int, int], steps: list[tuple[str, int, int]]
) -> None:
    before, plain, layer = dict(beneath), dict(beneath), Layer(beneath)

    for kind, key, value in steps:
        if kind == "put":
            plain[key] = layer[key] = value
        elif kind == "pop":
            assert layer.pop(key, None) == plain.pop(key, None)
        elif key in plain:
            del plain[key], layer[key]
        else:
            try:
                del layer[key]
            except KeyError:
                continue
            raise AssertionError

    assert dict(layer) == dict(layer.items()) == plain
    assert len(layer) == len(plain)
    assert [layer.get(key, "none") for key in range(6)] == [
        plain.get(key, "none") for key in range(6)
    ]
    assert [key in layer for key in range(6)] == [key in plain for key in range(6)]
    assert beneath == before


def test_a_zone_that_was_changed_on_trial_is_as_it_was() -> None:
    found = zone()
    told: list[Changes] = []
    found.on_change.append(lambda _, changes: told.append(changes))

    trial = found.trial()
    added = [record("a.b.c 60 A 192.0.2.1"), record("cut 60 NS ns.elsewhere.")]
    trial.apply(Changes([], added))

    assert {*trial.records()} == {*found.records(), *added}
    assert trial.get(Name("b.c", ORIGIN)) is not None
    assert trial.has_beneath(Name("c", ORIGIN).key)
    assert trial.cuts == {Name("cut", ORIGIN).key}
    assert found == zone()
    assert not found.cuts
    assert not found.has_beneath(Name("c", ORIGIN).key)
    assert found.version == 0
    assert told == []
    trial.apply(Changes(added))
    assert {*trial.nodes} == {*found.nodes}
