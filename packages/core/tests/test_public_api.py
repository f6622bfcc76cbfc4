"""What core offers by name: pinned, so that a change to it is seen in review."""

from __future__ import annotations

import subprocess
import sys

import pytest

import sennit.core

PUBLIC = set(
    """
ClientEngineProtocol ClientTLS ConfigError ConnectionLost DatagramProtocol Deferred EngineProtocol
Outcome ProcessProtocol Protocol ProtocolError Reactor SennitError Server ServerTLS Stream TLSError
__version__ adapt blocking_call_from_thread commit connect current_reactor fail gather handles
maybe_deferred new_event_loop open_process open_stdio open_stream race run run_process serve shield
stream_handler succeed
""".split()  # noqa: SIM905 - a list of words reads better
)


def test_core_offers_these_names_and_no_others() -> None:
    assert set(sennit.core.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(sennit.core, name) is not None


def test_a_misspelt_name_is_an_attribute_error() -> None:
    missing = "sreve"
    with pytest.raises(AttributeError, match=missing):
        getattr(sennit.core, missing)


def loaded_by(statement: str) -> set[str]:
    """Names of the modules that a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(found.stdout.split())


HEAVY = {"asyncio", "OpenSSL", "ssl", "dataclasses", "inspect", "logging", "zope.interface"}


def test_importing_core_loads_nothing_but_itself() -> None:
    loaded = loaded_by("import sennit.core") - loaded_by("pass")

    assert loaded <= {
        "sennit", "sennit.core", "sennit.core._version", "sennit.core.lazy", "__future__"
    }  # fmt: skip


def test_a_plain_tcp_program_loads_neither_asyncio_nor_openssl() -> None:
    """`serve` and `run` as a plain program uses them, connections included."""
    program = """
from sennit.core import Protocol, run
from sennit.core.reactor.base import Reactor

class Client(Protocol):
    def connection_made(self, transport):
        super().connection_made(transport)
        transport.write(b"x")
    def data_received(self, data):
        reactor.stop()

class Echo(Protocol):
    def data_received(self, data):
        self.transport.write(data)

reactor = Reactor()
def main(reactor):
    def listening(listener):
        reactor.connect_tcp(Client, "127.0.0.1", listener.port)
    reactor.listen_tcp(Echo, 0, "127.0.0.1").add_callback(listening)
reactor.run(main)
"""
    assert not loaded_by(program) & HEAVY
