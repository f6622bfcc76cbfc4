"""From a table of the configuration to a service that answers."""

from __future__ import annotations

from sennit.core.plugin import find_service
from sennit.core.service.config import Listen
from sennit.ftp.config import FTPConfig
from sennit.ftp.plugin import ftp
from sennit.ftp.service import try_commands


def test_the_plugin_knows_its_parts() -> None:
    assert ftp.config_type() is FTPConfig
    assert ftp.name == "ftp"


def test_the_configuration_has_defaults() -> None:
    config = FTPConfig()

    assert config.listen == [Listen("tcp://127.0.0.1:2121")]
    assert config.values == {}


def test_commands_to_try_name_the_port_and_a_key_that_there_is() -> None:
    [command] = try_commands(FTPConfig(values={"other": "x"}), ["tcp://[::1]:2121"])

    assert command == "printf 'GET other\\r\\nQUIT\\r\\n' | nc ::1 2121"


def test_the_entry_point_is_this_plugin() -> None:
    """Fails until the package is installed (`hatch run` does so)."""
    assert find_service("ftp") is ftp
