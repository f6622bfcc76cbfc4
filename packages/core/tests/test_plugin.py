"""Plugins: found by name, loaded when used, reported by name when broken."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from sennit.core.errors import MissingExtraError, SennitError, UsageError
from sennit.core.plugin import (
    GROUPS,
    SERVICES,
    BrokenPluginError,
    ServicePlugin,
    UnknownPluginError,
    find,
    find_service,
    installed,
    resolve,
)

if TYPE_CHECKING:
    from pathlib import Path


class Offer:
    """Distributions made of thin air, on the import path of one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self, distribution: str, group: str, entries: dict[str, str], **modules: str
    ) -> None:
        info = self.folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        )
        lines = [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        for name, text in modules.items():
            (self.folder / f"{name}.py").write_text(textwrap.dedent(text))


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Offer:
    monkeypatch.syspath_prepend(str(tmp_path))  # pyright: ignore[reportUnknownMemberType]  # pytest's own gap
    return Offer(tmp_path)


def test_core_brings_echo() -> None:
    plugin = find_service("echo")

    assert plugin.name == "echo"
    assert installed(SERVICES)["echo"].distribution == "sennit-core"


def test_listing_loads_nothing(offer: Offer) -> None:
    offer(
        "x-boom", SERVICES, {"boom": "x_boom_list:it"}, x_boom_list="raise RuntimeError('loaded')"
    )

    entry = installed(SERVICES)["boom"]

    assert (entry.distribution, entry.version, entry.target) == ("x-boom", "1.0", "x_boom_list:it")
    assert "x_boom_list" not in sys.modules


def test_a_broken_plugin_is_reported_by_name_and_the_rest_work(offer: Offer) -> None:
    offer("x-boom", SERVICES, {"boom": "x_boom:it"}, x_boom="raise RuntimeError('kaputt')")

    with pytest.raises(BrokenPluginError) as caught:
        find_service("boom")

    assert caught.value.name == "boom"
    assert caught.value.distribution == "x-boom"
    assert "RuntimeError: kaputt" in str(caught.value)
    assert find_service("echo").name == "echo"


def test_a_plugin_whose_module_is_missing_is_broken_too(offer: Offer) -> None:
    offer("x-gone", SERVICES, {"gone": "x_gone_nowhere:it"})

    with pytest.raises(BrokenPluginError, match="x_gone_nowhere"):
        find_service("gone")


def test_a_plugin_that_lacks_an_extra_says_which(offer: Offer) -> None:
    text = """
        from sennit.core.errors import MissingExtraError
        raise MissingExtraError("sennit.x", "sennit-x", "service")
    """
    offer("x-extra", SERVICES, {"extra": "x_extra:it"}, x_extra=text)

    with pytest.raises(BrokenPluginError, match=r"pip install 'sennit-x\[service\]'") as caught:
        find_service("extra")

    assert isinstance(caught.value.__cause__, MissingExtraError)


def test_an_entry_point_that_names_something_else_is_broken(offer: Offer) -> None:
    offer("x-odd", SERVICES, {"odd": "x_odd:it"}, x_odd="it = 42")

    with pytest.raises(BrokenPluginError, match="no ServicePlugin but 42"):
        find_service("odd")


def test_an_unknown_name_lists_what_is_installed() -> None:
    with pytest.raises(UnknownPluginError) as caught:
        find_service("ehco")

    assert "did you mean 'echo'?" in str(caught.value)
    assert "installed are " in str(caught.value)
    assert isinstance(caught.value, UsageError)
    assert isinstance(caught.value, SennitError)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("smtp", "pip install 'sennit-mail[service]'"),
        ("gopher", "pip install 'sennit-gopher[service]'"),
        ("jabber", "its type is 'xmpp'"),
        ("Gopher", "its type is 'gopher'"),
    ],
)
@pytest.mark.usefixtures("gopher")
def test_a_known_strand_that_is_missing_says_what_to_install(name: str, words: str) -> None:
    with pytest.raises(UnknownPluginError) as caught:
        find_service(name)

    assert words in str(caught.value)


def test_other_groups_are_found_the_same_way(offer: Offer) -> None:
    offer("x-bus", "sennit.buses", {"memory": "x_bus:make"}, x_bus="def make(): return 'bus'")

    make = find("sennit.buses", "memory")

    assert callable(make)
    assert make() == "bus"
    with pytest.raises(UnknownPluginError, match=r"plugin of sennit\.buses 'redis'"):
        find("sennit.buses", "redis")
    assert "sennit.buses" in GROUPS


def test_the_first_of_two_plugins_of_one_name_is_taken(offer: Offer) -> None:
    offer("x-echo", SERVICES, {"echo": "x_echo:it"}, x_echo="it = 1")

    assert installed(SERVICES)["echo"].distribution == "x-echo"


def test_heavy_parts_may_be_named_or_given() -> None:
    given = ServicePlugin("a", "A", config=dict, build=lambda config, context: config)
    named = ServicePlugin("b", "B", config="builtins:dict", build="builtins:print")

    assert given.config_type() is dict
    assert named.config_type() is dict
    assert given.try_commands({}, ["tcp://127.0.0.1:1"]) == []
    assert given.sample_files() == {}


def test_commands_to_try_are_made_for_addresses_that_can_be_connected_to() -> None:
    plugin = ServicePlugin(
        "w",
        "W",
        config=dict,
        build=lambda config, context: config,
        try_commands=lambda config, urls: list(urls),
    )
    urls = ["tcp://0.0.0.0:80", "tls://[::]:443", "udp://:53", "tcp://10.0.0.0:1", "unix:/run/x"]

    assert plugin.try_commands({}, urls) == [
        "tcp://127.0.0.1:80",
        "tls://[::1]:443",
        "udp://127.0.0.1:53",
        "tcp://10.0.0.0:1",
        "unix:/run/x",
    ]


def test_urls_are_shown_as_people_of_the_protocol_write_them() -> None:
    plugin = ServicePlugin(
        "w", "W", config=dict, build=lambda config, context: config, schemes={"tcp": "http"}
    )

    assert plugin.shown("tcp://127.0.0.1:80") == "http://127.0.0.1:80"
    assert plugin.shown("unix:run/x.sock") == "unix:run/x.sock"


def test_a_heavy_part_that_cannot_be_imported_is_reported_by_the_plugins_name() -> None:
    plugin = ServicePlugin("b", "B", config="builtins:nothing", build="nowhere.at:all")

    with pytest.raises(BrokenPluginError, match="plugin 'b'"):
        plugin.config_type()


def test_names_inside_an_object_resolve() -> None:
    assert resolve("os:path.join") is __import__("os").path.join


def test_plugins_and_services_need_only_the_standard_library() -> None:
    code = """
        import sys
        before = set(sys.modules)
        import sennit.core.plugin, sennit.core.service.tree, sennit.core.service.server
        import sennit.core.service.plugin, sennit.core.service.cli
        loaded = {name.partition('.')[0] for name in set(sys.modules) - before}
        print(sorted(loaded & {'msgspec', 'click', 'rich', 'zope', 'asyncio', 'OpenSSL'}))
    """

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )

    assert done.stdout.strip() == "[]"
