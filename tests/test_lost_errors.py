"""An error that nobody handled fails the test that lost it: the workspace's conftest.py."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CONFTEST = Path(__file__).resolve().parent.parent / "conftest.py"


def test_a_plain_test_that_loses_an_error_fails_and_not_the_next(pytester: pytest.Pytester) -> None:
    """However old the garbage is that holds it: of fixtures too, and after collections."""
    pytester.makeconftest(CONFTEST.read_text())
    pytester.makepyfile(
        """
        import asyncio
        import gc
        import logging
        import pytest
        from sennit.core.deferred import fail

        class Ring:
            def __init__(self, held):
                self.ring = self, held

        @pytest.fixture
        def ring():
            return Ring(fail(LookupError("of a fixture")))

        @pytest.mark.parametrize("generation", [None, 0, 1, 2])
        def test_lost(generation):
            Ring(fail(LookupError("of a Deferred")))
            held = Ring(fail(LookupError("held")))
            if generation is not None:
                gc.collect(generation)

        def test_lost_by_a_fixture(ring):
            pass

        def test_lost_by_a_task(caplog):
            async def main():
                async def odd():
                    raise LookupError("of a Task")
                Ring(asyncio.create_task(odd()))
                await asyncio.sleep(0)
            gc.disable()
            asyncio.run(main())
            gc.enable()

        def test_good(caplog):
            assert not caplog.records
        """
    )

    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")

    result.assert_outcomes(passed=7, errors=6)
    result.stdout.fnmatch_lines(
        ["*errors that nobody handled:*", "*Nobody handled the error of a Deferred*held*"]
    )
    result.stdout.fnmatch_lines(["*at teardown of test_lost_by_a_fixture*", "*of a fixture*"])
    result.stdout.fnmatch_lines(["*at teardown of test_lost_by_a_task*", "*never retrieved*"])
