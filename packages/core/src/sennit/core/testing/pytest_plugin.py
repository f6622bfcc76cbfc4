"""pytest: tests that are coroutines, on a Sennit reactor, and nothing left behind.

A test written as ``async def`` runs on a reactor of its own, as do fixtures
written as ``async def`` (with ``yield`` or without) that it uses. When it has
passed, what it left behind fails it: connections, listeners, timers, Tasks,
descriptors of sockets, pipes and the like, threads, child processes, and errors of
Deferreds and Tasks that nobody handled.

Fixtures: ``reactor``, ``clock``, ``memory_network``, ``loopback_pair``, ``conversation``.

Options: ``--sennit-poller`` picks the poller, ``--sennit-seed`` the chance of memory
networks (by the name of the test otherwise, and told when it fails). In the ini file:
``sennit_timeout`` (seconds for one test, 30) and ``sennit_mode``: ``auto`` takes every
asynchronous test that no other plugin asks for, ``strict`` only those that are marked
``sennit``. The marker may say ``timeout=`` (seconds) and ``leaks=True`` (let it leave
behind what it likes).

A test belongs to another plugin if it is marked ``asyncio``, ``anyio``, ``trio`` or
``tornado``, uses ``anyio_backend``, is an item of another class than pytest's own,
or if pytest-asyncio or anyio were set to take all. Plain tests are not touched, but for
one thing that all have: what a driver writes to the log is limited per minute, and each
test begins with nothing written.

The module is loaded with every run of pytest in an environment that has
sennit-core, so it imports nothing of Sennit before a test needs it.
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING
from zlib import crc32

try:
    import pytest
except ImportError as error:
    from sennit.core.errors import MissingExtraError

    raise MissingExtraError("the pytest plugin", "sennit-core", "testing") from error

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from typing import Any, Final

    from sennit.core.interfaces import IStreamProtocol
    from sennit.core.reactor.base import Reactor
    from sennit.core.testing._session import Session
    from sennit.core.testing.clock import Clock
    from sennit.core.testing.conversation import Conversation
    from sennit.core.testing.loopback import LoopbackPair
    from sennit.core.testing.network import MemoryNetwork

__all__ = [
    "clock",
    "conversation",
    "loopback_pair",
    "memory_network",
    "pytest_addoption",
    "pytest_configure",
    "pytest_fixture_setup",
    "pytest_pyfunc_call",
    "pytest_runtest_makereport",
    "pytest_runtest_setup",
    "pytest_runtest_teardown",
    "reactor",
]

_OTHERS: Final = ("asyncio", "anyio", "trio", "tornado", "twisted", "curio")
_TIMEOUT: Final = "30"
_POLLERS: Final = ("epoll", "kqueue", "poll", "select")

_session = pytest.StashKey["Session"]()
_failed = pytest.StashKey[bool]()
_seed = pytest.StashKey[int]()
_being_set_up = pytest.StashKey["Session | None"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    parser.getgroup("sennit").addoption(
        "--sennit-poller",
        choices=_POLLERS,
        default=None,
        help="poller of the reactors that tests run on (default: the platform's best)",
    )
    parser.getgroup("sennit").addoption(
        "--sennit-seed",
        type=int,
        default=None,
        help="seed of memory networks (default: by the test's name; told when the test fails)",
    )
    parser.addini("sennit_timeout", "seconds for one asynchronous test", default=_TIMEOUT)
    parser.addini(
        "sennit_mode",
        "auto: run asynchronous tests that no other plugin asks for; strict: only marked ones",
        default="auto",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, check the options."""
    config.addinivalue_line(
        "markers",
        "sennit(timeout=None, leaks=False): run this test on a Sennit reactor, at most so many "
        "seconds; leaks=True lets it leave things behind",
    )
    mode = config.getini("sennit_mode")
    if mode not in {"auto", "strict"}:
        raise pytest.UsageError(f"sennit_mode is auto or strict, not {mode!r}")
    _seconds(config.getini("sennit_timeout"), "sennit_timeout")


def _seconds(value: Any, what: str) -> float:
    """A number of seconds out of an ini file or a marker (hence Any)."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if not seconds > 0:
        raise pytest.UsageError(f"{what} is a number of seconds above 0, not {value!r}")
    return seconds


# ── whose test is it? ─────────────────────────────────────────────────────────


def _is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(inspect.unwrap(_plain(function)))


def _plain(function: Any) -> Any:
    """The function behind Hypothesis's wrapper, which is a plain one."""
    inner = getattr(getattr(function, "hypothesis", None), "inner_test", None)
    return function if inner is None else inner


def _setting(config: pytest.Config, name: str) -> str:
    """An ini value of a plugin that may not be there."""
    try:
        return str(config.getini(name))
    except (KeyError, ValueError):
        return ""


def _others_take_all(config: pytest.Config) -> bool:
    """Whether another plugin was told to run every asynchronous test."""
    manager = config.pluginmanager
    if manager.hasplugin("asyncio") or manager.hasplugin("pytest_asyncio"):
        option = config.getoption("asyncio_mode", None, skip=False)
        if "auto" in {str(getattr(option, "value", option)), _setting(config, "asyncio_mode")}:
            return True
    return manager.hasplugin("anyio") and _setting(config, "anyio_mode") == "auto"


def _is_ours(item: pytest.Item) -> bool:
    """Whether this is an asynchronous test that we run."""
    if not isinstance(item, pytest.Function) or not _is_async(item.obj):
        return False
    if item.get_closest_marker("sennit") is not None:
        return True
    if item.config.getini("sennit_mode") == "strict" or type(item) is not pytest.Function:
        return False
    if any(item.get_closest_marker(name) for name in _OTHERS):
        return False
    return "anyio_backend" not in item.fixturenames and not _others_take_all(item.config)


def _session_of(item: pytest.Item) -> Session:
    """What runs coroutines for this test; made when first asked for."""
    session = item.stash.get(_session, None)
    if session is None:
        from sennit.core.testing._session import Session

        marker = item.get_closest_marker("sennit")
        options: Mapping[str, Any] = marker.kwargs if marker else {}
        timeout = options.get("timeout")
        if timeout is None:
            timeout = item.config.getini("sennit_timeout")
        session = item.stash[_session] = Session(
            poller=item.config.getoption("--sennit-poller"),
            timeout=_seconds(timeout, "timeout"),
            leaks=bool(options.get("leaks", False)),
        )
    return session


# ── running ───────────────────────────────────────────────────────────────────


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look around before the first fixture is made."""
    item.config.stash[_being_set_up] = None
    written = sys.modules.get("sennit.core._faultlog")
    if written is not None:
        written.limit.forget()
    if _is_ours(item) or _uses_reactor(item):
        item.config.stash[_being_set_up] = session = _session_of(item)
        session.look_around()


def _uses_reactor(item: pytest.Item) -> bool:
    """Whether it uses a fixture of ours that has a reactor (and not one of the same name)."""
    if not isinstance(item, pytest.Function):
        return False
    return any(
        found and found[-1].func.__module__ == __name__
        for name in ("reactor", "memory_network", "loopback_pair")
        if (found := item._fixtureinfo.name2fixturedefs.get(name))
    )


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine."""
    if not _is_ours(pyfuncitem):
        return None
    session = _session_of(pyfuncitem)
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    test = pyfuncitem.obj
    handle = getattr(test, "hypothesis", None)
    if handle is not None:
        # Hypothesis calls this once per example.
        inner = handle.inner_test

        def run_example(*args: Any, **kwargs: Any) -> None:
            session.run(inner(*args, **kwargs))

        handle.inner_test = run_example
        try:
            test(**arguments)
        finally:
            handle.inner_test = inner
    else:
        session.run(test(**arguments))
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember whether the test failed: then what it left behind is no news."""
    report = yield
    if report.outcome != "passed":
        item.stash[_failed] = True
        seed = item.stash.get(_seed, None)
        if report.failed and seed is not None:
            again = f"seed {seed}; run again with --sennit-seed={seed}"
            report.sections.append(("memory network", again))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """After the last fixture has ended: end the reactor, and look for what was left behind."""
    __tracebackhide__ = True
    try:
        result = yield
    except BaseException:
        item.stash[_failed] = True
        raise
    finally:
        session = item.stash.get(_session, None)
        if session is not None:
            del item.stash[_session]
            if isinstance(item, pytest.Function):
                # What fixtures gave would outlive this otherwise, and its errors with it.
                item.funcargs.clear()
            left = session.close(check=not item.stash.get(_failed, False))
            if left:
                pytest.fail("the test left behind:\n" + "\n".join(left), pytrace=False)
    return result


# ── asynchronous fixtures ─────────────────────────────────────────────────────


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Make a fixture that is a coroutine or an asynchronous generator on the test's reactor."""
    # Any: pytest types it as a function, and it may be a method.
    function: Any = fixturedef.func
    if not _is_our_fixture(function, request):
        session = request.config.stash.get(_being_set_up, None)
        if fixturedef.scope == "function" or session is None:
            return (yield)
        # A server, say, that a module's tests share: it begins with the first of them.
        with session.outliving():
            return (yield)
    if fixturedef.scope != "function":
        pytest.fail(
            f"the asynchronous fixture {fixturedef.argname!r} has the scope {fixturedef.scope}, "
            "but each test has a reactor of its own: use the scope function",
            pytrace=False,
        )
    session = _session_of(request.node)
    bound = function
    if request.instance is not None and hasattr(function, "__func__"):
        bound = function.__func__.__get__(request.instance)
    make = _make_generator if inspect.isasyncgenfunction(function) else _make_value
    fixturedef.func = make(session, bound)  # type: ignore[misc]  # as pytest's own plugins do
    try:
        return (yield)
    finally:
        fixturedef.func = function  # type: ignore[misc]  # as it was


def _is_our_fixture(function: Any, request: pytest.FixtureRequest) -> bool:
    if not (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)):
        return False
    if hasattr(function, "_force_asyncio_fixture"):
        return False  # pytest-asyncio's own
    node = request.node
    if not isinstance(node, pytest.Function):
        # Of a wider scope: ours to refuse only where nobody else could make it.
        mine = request._pyfuncitem
        return _is_ours(mine)
    if _is_async(node.obj):
        return _is_ours(node)
    return (
        node.config.getini("sennit_mode") == "auto"
        and "anyio_backend" not in node.fixturenames
        and not any(node.get_closest_marker(name) for name in _OTHERS)
        and not _others_take_all(node.config)
    )


def _make_value(session: Session, function: Callable[..., Any]) -> Callable[..., Any]:
    def make(*args: Any, **kwargs: Any) -> Any:
        return session.run(function(*args, **kwargs))

    return make


def _make_generator(session: Session, function: Callable[..., Any]) -> Callable[..., Any]:
    def make(*args: Any, **kwargs: Any) -> Generator[Any, None, None]:
        generator = function(*args, **kwargs)

        async def step() -> Any:
            return await anext(generator)

        yield session.run(step())
        try:
            session.run(step())
        except StopAsyncIteration:
            return
        session.run(generator.aclose())
        pytest.fail("an asynchronous fixture yielded more than once", pytrace=False)

    return make


# ── fixtures ──────────────────────────────────────────────────────────────────


@pytest.fixture
def reactor(request: pytest.FixtureRequest) -> Reactor:
    """A reactor for this test: the running one in ``async def`` tests, else one to be run."""
    item = request.node
    return _session_of(item).reactor(running=_is_ours(item))


@pytest.fixture
def clock() -> Generator[Clock, None, None]:
    """A virtual clock; what was reported to it and not looked at fails the test."""
    from sennit.core.testing.clock import Clock

    with Clock() as clock:
        yield clock


@pytest.fixture
def memory_network(request: pytest.FixtureRequest) -> Generator[MemoryNetwork, None, None]:
    """A network in memory, under the ``clock`` if the test uses that or is no coroutine."""
    from sennit.core.testing.network import MemoryNetwork

    item = request.node
    on_clock = "clock" in item.fixturenames or not _is_ours(item)
    clock: Clock | None = request.getfixturevalue("clock") if on_clock else None
    seed = item.config.getoption("--sennit-seed")
    if seed is None:
        seed = crc32(item.nodeid.encode())
    item.stash[_seed] = seed
    turns = _session_of(item).reactor(running=True) if clock is None else clock
    network = MemoryNetwork(turns, seed=seed)
    yield network
    network.close()
    if clock is not None:
        clock.pump()


@pytest.fixture
def conversation(request: pytest.FixtureRequest) -> Callable[[str], Conversation]:
    """Loads a recorded conversation: ``conversation("mail.txt")``.

    The file is in the directory ``conversations`` beside the test's module.
    """

    def load(name: str) -> Conversation:
        from sennit.core.testing.conversation import Conversation

        return Conversation.load(request.path.parent / "conversations" / name)

    return load


@pytest.fixture
def loopback_pair(reactor: Reactor) -> Callable[..., LoopbackPair]:
    """`sennit.core.testing.loopback.loopback_pair` on the test's reactor."""

    def connect(
        first: IStreamProtocol, second: IStreamProtocol, kind: Any = "tcp", **options: Any
    ) -> LoopbackPair:
        from sennit.core.testing.loopback import loopback_pair

        return loopback_pair(first, second, kind, reactor=reactor, **options)

    return connect
