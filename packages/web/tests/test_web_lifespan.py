"""The life of an application: start-up, state, shutdown, and those who know nothing of it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from sennit.web.hosting.lifespan import Lifespan, LifespanError


class App:
    """Says what it is told to say."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.seen: list[str] = []
        self.scope: Any = None
        self.cancelled = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        for answer in self.answers:
            if isinstance(answer, BaseException):
                raise answer
            if answer == "receive":
                self.seen.append((await receive())["type"])
            elif answer == "stay":
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    self.cancelled = True
                    raise
            else:
                await send({"type": f"lifespan.{answer}", "message": "because"})


async def test_an_application_starts_and_shuts_down() -> None:
    app = App("receive", "startup.complete", "receive", "shutdown.complete")
    lifespan = Lifespan(app)
    await lifespan.startup()
    assert lifespan.supported is True
    assert app.scope["type"] == "lifespan"
    assert app.scope["asgi"] == {"version": "3.0", "spec_version": "2.0"}
    assert app.scope["state"] is lifespan.state
    await lifespan.shutdown(5.0)
    assert app.seen == ["lifespan.startup", "lifespan.shutdown"]
    await lifespan.shutdown(5.0)  # harmless


@pytest.mark.parametrize("answers", [(ValueError("what?"),), ()])
async def test_one_that_knows_nothing_of_it_is_served_all_the_same(
    answers: tuple[Any, ...],
) -> None:
    lifespan = Lifespan(App(*answers))
    await lifespan.startup()
    assert not lifespan.supported
    await lifespan.shutdown(5.0)


async def test_one_that_has_to_know_is_refused() -> None:
    with pytest.raises(LifespanError, match="has no lifespan: ValueError: what"):
        await Lifespan(App(ValueError("what?")), needed=True).startup()
    with pytest.raises(LifespanError, match="it returned at once"):
        await Lifespan(App(), needed=True).startup()


async def test_a_start_that_fails_is_told() -> None:
    with pytest.raises(LifespanError, match="because"):
        await Lifespan(App("receive", "startup.failed")).startup()
    with pytest.raises(LifespanError, match="its startup failed: KeyError"):
        await Lifespan(App("receive", KeyError("x"))).startup()


async def test_a_shutdown_that_fails_is_told() -> None:
    lifespan = Lifespan(App("receive", "startup.complete", "receive", "shutdown.failed"))
    await lifespan.startup()
    with pytest.raises(LifespanError, match="because"):
        await lifespan.shutdown(5.0)
    lifespan = Lifespan(App("receive", "startup.complete", "receive", KeyError("x")))
    await lifespan.startup()
    with pytest.raises(LifespanError, match="its shutdown failed: KeyError"):
        await lifespan.shutdown(5.0)


async def test_a_shutdown_that_takes_too_long_is_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sennit.web.hosting.lifespan.LEAST", 0.05)
    app = App("receive", "startup.complete", "receive", "stay")
    lifespan = Lifespan(app)
    await lifespan.startup()
    with pytest.raises(LifespanError, match="did not shut down"):
        await lifespan.shutdown(0.0)
    assert app.cancelled


async def test_a_start_that_is_given_up_leaves_nothing() -> None:
    app = App("receive", "stay")
    task = asyncio.ensure_future(Lifespan(app).startup())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert app.cancelled


async def test_a_life_that_ends_while_serving_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    lifespan = Lifespan(App("receive", "startup.complete", KeyError("x")))
    with caplog.at_level(logging.ERROR):
        await lifespan.startup()
        await asyncio.sleep(0)
        await lifespan.shutdown(5.0)
    assert "the application's lifespan has failed" in caplog.text


async def test_messages_in_no_order_are_refused() -> None:
    with pytest.raises(LifespanError, match=r"'lifespan\.shutdown\.complete' was not expected"):
        await Lifespan(App("receive", "shutdown.complete")).startup()
