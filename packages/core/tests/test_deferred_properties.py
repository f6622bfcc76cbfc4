"""Random programs of callbacks, firings and cancels, against a plain model of the rules.

The model keeps, for each Deferred, a list of what is to be done and works it
off by recursion: slow, and short enough to be believed.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import Any, Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from sennit.core.deferred import Deferred

COUNT = 5
TOKENS = itertools.count(1)

Kind = Literal["add", "raise", "err", "pass", "catch", "both", "finally", "wait", "cancel_in"]
Verb = Literal["add", "fire", "fail", "cancel"]
Step = tuple[Verb, int, Kind, int]


class NumberedError(Exception):
    """An error with a number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


KINDS: list[Kind] = ["add", "raise", "err", "pass", "catch", "both", "finally", "cancel_in"]


def addition(number: int, choice: int, tag: int) -> Step:
    """Return a step that adds to one Deferred.

    Waiting is where the difficult cases are, so it is half of all; it is for a
    later Deferred mostly, so that rings are rare.
    """
    if choice < len(KINDS):
        return ("add", number, KINDS[choice], tag)
    if choice < 2 * len(KINDS):
        return ("add", number, "wait", min(number + 1 + tag % COUNT, COUNT - 1))
    return ("add", number, "wait", tag)


def program_of(begin: list[tuple[int, int, int]], then: list[tuple[int, int, int]]) -> list[Step]:
    """Return a program: chains for all, then firings, cancels and additions in any order."""
    program = [addition(*numbers) for numbers in begin]
    for number, choice, tag in then:
        if choice < 12:
            verbs: list[Verb] = ["fire", "fire", "fail", "cancel"]
            program.append((verbs[choice % 4], number, "add", tag))
        else:
            program.append(addition(number, (choice * 7 + tag) % 17, tag))
    return program


numbers = st.tuples(st.integers(0, COUNT - 1), st.integers(0, 16), st.integers(0, COUNT - 1))


Result = tuple[bool, object]


def plain(result: Result | None) -> object:
    """Reduce a result to what can be compared."""
    if result is None:
        return None
    ok, what = result
    if ok:
        return ("value", what)
    return ("error", type(what).__name__, getattr(what, "number", None))


@dataclass
class Model:
    """One Deferred by the book."""

    number: int
    log: list[object]
    others: list[Model]
    todo: list[tuple[str, int, Any]] = field(default_factory=list[tuple[str, int, Any]])
    fired: bool = False
    result: Result | None = None
    source: Model | None = None
    running: bool = False
    asked: bool = False
    forgiven: bool = False
    token: int = 0

    def waiters(self) -> list[Model]:
        return [each for kind, tag, each in self.todo if kind == "waiter" and each.token == tag]

    def add(self, kind: str, tag: int) -> None:
        self.todo.append((kind, tag, None))
        if self.result is not None and not self.running:
            self.run(self.result)

    def fire(self, result: Result) -> bool:
        if self.fired:
            forgiven, self.forgiven = self.forgiven, False
            return forgiven
        self.fired = True
        self.run(result)
        return True

    def run(self, result: Result) -> None:
        woken: list[tuple[Model, Result]] = []
        self.walk(result, woken)
        while woken:
            model, result = woken.pop(0)
            model.walk(result, woken)

    def walk(self, result: Result, woken: list[tuple[Model, Result]]) -> None:
        self.result = None
        self.running = True
        while self.todo:
            kind, tag, waiter = self.todo.pop(0)
            ok, what = result
            name = (self.number, kind, tag)
            if kind == "waiter":
                if waiter.token == tag:
                    waiter.source = None
                    waiter.token = 0
                    waiter.running = True
                    woken.append((waiter, result))
            elif kind == "finally":
                self.log.append(name)
            elif ok and kind in ("add", "both"):
                self.log.append((name, what))
                result = (True, tag)
            elif ok and kind == "raise":
                self.log.append(name)
                result = (False, NumberedError(tag))
            elif (kind in ("err", "both") and not ok) or (
                kind == "catch" and isinstance(what, NumberedError)
            ):
                self.log.append((name, "error"))
                result = (True, tag)
            elif kind == "pass" and not ok:
                self.log.append(name)
            elif kind == "cancel_in" and ok:
                self.log.append(name)
                self.asked = True
            elif kind == "wait" and ok:
                self.log.append(name)
                other = self.others[tag]
                if other is self:
                    result = (False, TypeError())
                    continue
                if self.asked:
                    self.asked = False
                    if other.waiters():
                        result = (False, asyncio.CancelledError())
                        continue
                    other.cancel()
                if other.result is not None:
                    result = other.result
                    continue
                self.source = other
                self.running = False
                self.token = next(TOKENS)
                other.todo.append(("waiter", self.token, self))
                return
        self.running = False
        self.asked = False
        self.result = result

    def cancel(self) -> None:
        target: Model = self
        passed: list[Model] = [target]
        while target.source is not None:
            source = target.source
            if len(source.waiters()) > 1:
                target.source = None
                target.token = 0
                target.run((False, asyncio.CancelledError()))
                return
            target = source
            if target in passed:
                return
            passed.append(target)
        if target.running:
            target.asked = True
        elif not target.fired:
            target.fired = True
            target.forgiven = True
            target.run((False, asyncio.CancelledError()))


def add_real(
    all_of_them: list[Deferred[Any]], number: int, kind: Kind, tag: int, log: list[object]
) -> None:
    d = all_of_them[number]
    name = (number, kind, tag)

    def value(what: object) -> object:
        log.append((name, what))
        return tag

    def error(what: BaseException) -> object:
        log.append((name, "error"))
        return tag

    def boom(what: object) -> object:
        log.append(name)
        raise NumberedError(tag)

    def pass_on(what: BaseException) -> BaseException:
        log.append(name)
        return what

    def wait(what: object) -> Deferred[Any]:
        log.append(name)
        return all_of_them[tag]

    def cancel_inside(what: object) -> object:
        log.append(name)
        d.cancel()
        return what

    if kind == "add":
        d.add_callback(value)
    elif kind == "raise":
        d.add_callback(boom)
    elif kind == "err":
        d.add_errback(error)
    elif kind == "pass":
        d.add_errback(pass_on)
    elif kind == "catch":
        d.catch(NumberedError, error)
    elif kind == "both":
        d.add_callbacks(value, error)
    elif kind == "finally":
        d.add_finally(lambda: log.append(name))
    elif kind == "cancel_in":
        d.add_callback(cancel_inside)
    else:
        d.add_callback(wait)


def has_ring(models: list[Model]) -> bool:
    """Whether some wait for each other: nothing is laid down for that but that it ends."""
    for model in models:
        seen: list[Model] = []
        at: Model | None = model
        while at is not None:
            if at in seen:
                return True
            seen.append(at)
            at = at.source
    return False


@settings(max_examples=500, deadline=None)
@given(st.lists(numbers, min_size=5, max_size=20), st.lists(numbers, min_size=5, max_size=20))
def test_any_program_does_what_the_rules_say(
    begin: list[tuple[int, int, int]], then: list[tuple[int, int, int]]
) -> None:
    program = program_of(begin, then)
    log: list[object] = []
    expected: list[object] = []
    models: list[Model] = []
    for number in range(COUNT):
        models.append(Model(number, expected, models))
    real: list[Deferred[Any]] = [Deferred() for _ in range(COUNT)]
    for verb, number, kind, tag in program:
        if verb == "add":
            add_real(real, number, kind, tag, log)
            models[number].add(kind, tag)
        elif verb == "cancel":
            real[number].cancel()
            models[number].cancel()
        else:
            ok = verb == "fire"
            try:
                if ok:
                    real[number].callback(tag)
                else:
                    real[number].errback(NumberedError(tag))
                accepted = True
            except ValueError:
                accepted = False
            assert models[number].fire((ok, tag if ok else NumberedError(tag))) == accepted
        if has_ring(models):
            for d in real:
                d.cancel()
            break
        assert log == expected
        for d, model in zip(real, models, strict=True):
            outcome = d.outcome
            seen = None if outcome is None else (outcome.ok, outcome.error or outcome.value)
            assert plain(seen) == plain(model.result)
            assert d.fired == model.fired
    for d in real:
        # What is left of it must not be reported as lost after the test.
        d.add_errback(lambda error: None)
        d.cancel()
        assert d._waits >= 0
