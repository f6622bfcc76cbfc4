"""From a table of the configuration to a service that answers."""

from __future__ import annotations

from sennit.core.plugin import find_service
from sennit.core.service.config import Listen
from sennit.news.config import NNTPConfig
from sennit.news.plugin import news
from sennit.news.service import try_commands


def test_the_plugin_knows_its_parts() -> None:
    assert news.config_type() is NNTPConfig
    assert news.name == "news"


def test_the_configuration_has_defaults() -> None:
    config = NNTPConfig()

    assert config.listen == [Listen("tcp://127.0.0.1:1119")]
    assert config.values == {}


def test_commands_to_try_name_the_port_and_a_key_that_there_is() -> None:
    [command] = try_commands(NNTPConfig(values={"other": "x"}), ["tcp://[::1]:1119"])

    assert command == "printf 'GET other\\r\\nQUIT\\r\\n' | nc ::1 1119"


def test_the_entry_point_is_this_plugin() -> None:
    """Fails until the package is installed (`hatch run` does so)."""
    assert find_service("news") is news
