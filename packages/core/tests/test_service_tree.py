"""Services: a tree runs as a whole or leaves nothing behind."""

from __future__ import annotations

from asyncio import Event
from typing import TYPE_CHECKING, cast

import pytest
from zope.interface.verify import verifyObject

from sennit.core.errors import ConfigError, ProtocolError, UsageError
from sennit.core.interfaces import IService
from sennit.core.reactor.base import run
from sennit.core.service.tree import (
    MultiService,
    Service,
    ServiceStateError,
    StartError,
    checked,
    leaves,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sennit.core.interfaces import IReactor
    from sennit.core.reactor.base import Reactor

Log = list[str]


class Recorded(Service):
    """Writes down what is asked of it; fails where it is told to."""

    def __init__(
        self, name: str, log: Log, *children: IService, fail: tuple[str, ...] = ()
    ) -> None:
        super().__init__(name, children)
        self.log = log
        self.fails_to = fail

    def _note(self, what: str) -> None:
        self.log.append(f"{what} {self.name}")
        if what in self.fails_to:
            raise RuntimeError(f"{self.name} fails to {what}")

    async def prepare(self, reactor: IReactor) -> None:
        self._note("prepare")

    async def begin(self) -> None:
        self._note("begin")

    def close_doors(self, drain: float) -> None:
        self.log.append(f"close {self.name}")

    async def end(self, drain: float) -> None:
        self._note("end")


class Plain:
    """What somebody else's service looks like: a name, start, stop."""

    def __init__(self, name: str, log: Log) -> None:
        self.name = name
        self._log = log

    async def start(self, reactor: IReactor) -> None:
        self._log.append(f"start {self.name}")

    async def stop(self) -> None:
        self._log.append(f"stop {self.name}")


class Override(Service):
    """A Service whose start is its own."""

    def __init__(self, name: str, log: Log) -> None:
        super().__init__(name)
        self._log = log

    async def start(self, reactor: IReactor) -> None:
        self._log.append(f"start {self.name}")
        await super().start(reactor)

    async def stop(self, drain: float = 30.0) -> None:
        self._log.append(f"stop {self.name}")
        await super().stop(drain)


def in_reactor(main: Callable[[IReactor], Awaitable[None]]) -> None:
    async def adapted(reactor: Reactor) -> None:
        # The cast: a Reactor is an IReactor, though its `run` is overloaded more finely.
        await main(cast("IReactor", reactor))

    run(adapted)


def test_everything_is_prepared_before_anything_begins() -> None:
    log: Log = []

    async def main(reactor: IReactor) -> None:
        tree = Recorded("all", log, Recorded("a", log), Recorded("b", log))
        await tree.start(reactor)
        assert tree.running
        await tree.stop()
        assert not tree.running

    in_reactor(main)
    assert log == [
        *("prepare all", "prepare a", "prepare b", "begin all", "begin a", "begin b"),
        *("close all", "close a", "close b", "end b", "end a", "end all"),
    ]


def test_what_was_prepared_is_ended_in_reverse_when_a_later_one_is_refused() -> None:
    log: Log = []

    async def main(reactor: IReactor) -> None:
        children = [
            Recorded("a", log),
            Recorded("b", log),
            Recorded("c", log, fail=("prepare",)),
            Recorded("d", log),
        ]
        tree = Recorded("all", log, *children)
        with pytest.raises(RuntimeError, match="c fails to prepare"):
            await tree.start(reactor)
        assert not tree.running

    in_reactor(main)
    assert [each for each in log if each.startswith(("prepare", "begin", "end"))] == [
        *("prepare all", "prepare a", "prepare b", "prepare c", "end b", "end a", "end all")
    ]


def test_one_that_fails_to_begin_ends_the_whole_tree() -> None:
    log: Log = []

    async def main(reactor: IReactor) -> None:
        plain = Plain("p", log)
        never = Plain("never", log)
        tree = Recorded("all", log, plain, Recorded("bad", log, fail=("begin",)), never)
        with pytest.raises(RuntimeError, match="bad fails to begin"):
            await tree.start(reactor)

    in_reactor(main)
    assert log[-3:] == ["end bad", "stop p", "end all"]
    assert "start never" not in log
    assert "stop never" not in log


def test_a_tree_that_failed_can_be_started_again() -> None:
    log: Log = []

    async def main(reactor: IReactor) -> None:
        child = Recorded("a", log, fail=("prepare",))
        tree = Service("all", [child])
        with pytest.raises(RuntimeError):
            await tree.start(reactor)
        child.fails_to = ()
        await tree.start(reactor)
        assert child.running
        await tree.stop()

    in_reactor(main)


def test_a_failure_while_ending_after_a_failed_start_is_noted_on_the_first_error() -> None:
    async def main(reactor: IReactor) -> None:
        log: Log = []
        children = [Recorded("a", log, fail=("end",)), Recorded("b", log, fail=("prepare",))]
        with pytest.raises(RuntimeError, match="b fails to prepare") as caught:
            await Service("all", children).start(reactor)
        assert any("a fails to end" in note for note in caught.value.__notes__)

    in_reactor(main)


def test_every_service_is_ended_though_some_fail_to() -> None:
    log: Log = []

    async def main(reactor: IReactor) -> None:
        children = [Recorded(name, log, fail=("end",)) for name in "ab"]
        tree = Service("all", [*children, Recorded("c", log)])
        await tree.start(reactor)
        with pytest.raises(ExceptionGroup) as caught:
            await tree.stop()
        assert [str(each) for each in caught.value.exceptions] == [
            "b fails to end",
            "a fails to end",
        ]
        await tree.stop()

    in_reactor(main)
    assert log[-3:] == ["end c", "end b", "end a"]


def test_services_that_need_each_other_not_end_side_by_side() -> None:
    ended: Log = []
    waiting: Log = []
    everybody: list[Event] = []

    class Slow(Service):
        async def end(self, drain: float) -> None:
            waiting.append(self.name)
            if len(waiting) == 2:
                everybody[0].set()
            await everybody[0].wait()
            ended.append(self.name)

    async def main(reactor: IReactor) -> None:
        everybody.append(Event())
        node = MultiService("node", [Slow("a"), Slow("b")])
        await node.start(reactor)
        # Would wait for ever if the second were ended only after the first.
        await node.stop(5.0)

    in_reactor(main)
    assert sorted(ended) == ["a", "b"]


def test_a_node_asks_every_service_so_that_all_refusals_are_heard_at_once() -> None:
    log: Log = []

    class Refused(Recorded):
        async def prepare(self, reactor: IReactor) -> None:
            raise StartError(self.name, "found a port in use", key="listen", index=1)

    async def main(reactor: IReactor) -> None:
        node = MultiService("node", [Refused("a", log), Recorded("b", log), Refused("c", log)])
        with pytest.raises(ExceptionGroup) as caught:
            await node.start(reactor)
        assert [each.service for each in leaves(caught.value)] == ["a", "c"]
        assert "service 'a' listen[1]: found a port in use" in str(caught.value.exceptions[0])

    in_reactor(main)
    assert log == ["prepare b", "close b", "end b"]


def test_a_configuration_error_that_shows_while_starting_names_its_service() -> None:
    class Late(Service):
        async def prepare(self, reactor: IReactor) -> None:
            raise ConfigError("cannot be opened", key="log")

    async def main(reactor: IReactor) -> None:
        with pytest.raises(StartError) as caught:
            await MultiService("node", [Late("site")]).start(reactor)
        assert (caught.value.service, caught.value.key) == ("site", "log")

    in_reactor(main)


def test_the_drain_time_is_shared_by_services_that_end_one_after_the_other() -> None:
    seen: list[float] = []

    class Watch(Service):
        async def end(self, drain: float) -> None:
            seen.append(drain)

    async def main(reactor: IReactor) -> None:
        tree = Service("all", [Watch("a"), Watch("b")])
        await tree.start(reactor)
        await tree.stop(7.0)

    in_reactor(main)
    assert len(seen) == 2
    assert 0.0 < seen[1] <= seen[0] <= 7.0


def test_a_service_that_overrides_start_is_started_by_it() -> None:
    log: Log = []

    async def main(reactor: IReactor) -> None:
        tree = Service("all", [Override("o", log), Plain("p", log)])
        await tree.start(reactor)
        await tree.stop()

    in_reactor(main)
    assert log == ["start o", "start p", "stop p", "stop o"]


def test_starting_twice_is_refused_and_stopping_twice_is_harmless() -> None:
    async def main(reactor: IReactor) -> None:
        service = Service("s")
        await service.stop()
        await service.start(reactor)
        with pytest.raises(ServiceStateError):
            await service.start(reactor)
        with pytest.raises(ServiceStateError):
            service.add(Service("late"))
        await service.stop()
        await service.stop()
        service.add(Service("now"))
        assert [each.name for each in service.children] == ["now"]

    in_reactor(main)


def test_urls_are_those_of_the_children() -> None:
    class Reachable(Service):
        @property
        def urls(self) -> tuple[str, ...]:
            return (f"tcp://{self.name}:1",)

    assert Service("all", [Reachable("a"), Service("b"), Reachable("c")]).urls == (
        "tcp://a:1",
        "tcp://c:1",
    )


def test_a_service_keeps_its_contract() -> None:
    assert verifyObject(IService, Service("s"))


def test_a_start_error_is_no_configuration_error_until_it_is_located() -> None:
    assert not issubclass(StartError, ConfigError)
    assert str(StartError("s", "broken")) == "service 's': broken"


@pytest.mark.parametrize("error", [UsageError("no such word"), ProtocolError("no such word", "x")])
def test_what_is_wrong_with_a_part_is_said_of_its_key(error: Exception) -> None:
    def make() -> int:
        raise error

    assert checked("peer.a", lambda: 1) == 1
    with pytest.raises(ConfigError, match="no such word") as caught:
        checked("peer.a", make)
    assert caught.value.key == "peer.a"
