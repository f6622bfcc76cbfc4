"""What the checkers make of a Deferred: this module is checked as much as run."""

from __future__ import annotations

from typing import assert_type

from sennit.core.deferred import Deferred, Outcome, fail, gather, race, succeed


def measure(text: str) -> Deferred[int]:
    return succeed(len(text))


async def encode(text: str, times: int) -> bytes:
    return (text * times).encode()


def scale(text: str, times: int, *, by: float) -> float:
    return len(text) * times * by


def forget(error: BaseException) -> None:
    """Drop it."""


def pass_on(error: BaseException) -> BaseException:
    return error


def describe(error: Exception, times: int) -> str:
    return str(error) * times


def text() -> Deferred[str]:
    return succeed("text")


def test_the_type_follows_the_chain() -> None:
    assert_type(text().add_callback(len), Deferred[int])
    assert_type(text().add_callback(measure), Deferred[int])
    assert_type(text().add_callback(lambda s: s.encode()), Deferred[bytes])
    assert_type(text().add_callback(scale, 3, by=0.5), Deferred[float])
    assert_type(text().add_errback(forget), Deferred[str | None])
    assert_type(text().add_errback(pass_on), Deferred[str])
    assert_type(text().add_callbacks(len, forget), Deferred[int | None])
    assert_type(text().catch(ValueError, describe, 2), Deferred[str])
    assert_type(text().catch((ValueError, KeyError), forget), Deferred[str | None])
    assert_type(text().add_finally(lambda: 3), Deferred[str])


def test_a_coroutine_as_callback_gives_its_result() -> None:
    d: Deferred[str] = Deferred()
    encoded = d.add_callback(encode, 2)
    assert_type(encoded, Deferred[bytes])


def test_gather_and_race_keep_the_types() -> None:
    one, two = succeed(1), succeed("b")
    assert_type(gather(one, two), Deferred[tuple[int, str]])
    assert_type(gather(one, two, return_outcomes=True), Deferred[tuple[Outcome[int], Outcome[str]]])
    assert_type(race(one, succeed(2)), Deferred[tuple[int, int]])
    assert_type(gather(*[one, one]), Deferred[tuple[int, ...]])
    failed: Deferred[int] = fail(ValueError())
    failed.add_errback(forget)
